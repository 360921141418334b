from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown.errors import MethodError
from paredown.method import build
from paredown.training.optimizers import Adam, Sgd
from paredown.training.schedules import OneCycle, Triangular
from paredown.training.training import Plan, Training


def test_thirty_epochs_are_the_default_and_saying_so_changes_nothing() -> None:
    assert Training() == Training(epochs=30) and Training(steps=5).epochs is None


def test_a_selection_keeps_the_steps_of_the_whole_data_unless_epochs_are_kept() -> None:
    by_steps = Training(epochs=10, batch_size=10).plan(kept=30, whole=100)
    by_epochs = Training(epochs=10, batch_size=10, budget="epochs").plan(kept=30, whole=100)
    assert by_steps == Plan(steps=100, per_epoch=3, batch=10)
    assert by_epochs == Plan(steps=30, per_epoch=3, batch=10)
    assert Training(steps=7, batch_size=10).plan(kept=30, whole=100).steps == 7


@pytest.mark.parametrize(("drop_last", "per_epoch"), [(True, 3), (False, 4)])
def test_an_incomplete_batch_counts_when_it_is_kept(drop_last: bool, per_epoch: int) -> None:
    training = Training(batch_size=10, drop_last=drop_last)
    assert training.plan(kept=37, whole=37).per_epoch == per_epoch


@given(kept=st.integers(1, 300), batch=st.integers(1, 200), drop_last=st.booleans())
def test_every_plan_has_steps_and_batches_that_can_be_filled(kept: int, batch: int, drop_last: bool) -> None:
    plan = Training(epochs=2, batch_size=batch, drop_last=drop_last, budget="epochs").plan(kept=kept, whole=300)
    assert plan.per_epoch >= 1 and plan.steps == 2 * plan.per_epoch
    assert plan.batch == min(batch, kept)


def test_a_training_is_built_from_plain_data_and_gives_it_back() -> None:
    plain = {"epochs": 2, "optimizer": {"name": "sgd", "lr": "1/20"}, "schedule": "triangular", "average": "none"}
    training = build("training", plain)
    assert training == Training(epochs=2, optimizer=Sgd(lr=0.05), schedule=Triangular())
    assert build("training", training.plain()) == training


def test_checkpoints_are_sorted_and_named_once() -> None:
    assert Training(checkpoints_at=(20, 0, 20)) == Training(checkpoints_at=(0, 20))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Training(epochs=1, steps=1), r"Training\(epochs=1, steps=1\): two lengths of one training"),
        (lambda: Training(epochs=0), r"Training\(epochs=0\): nothing would be trained"),
        (lambda: Training(steps=0), r"Training\(steps=0\): nothing would be trained"),
        (lambda: Training(batch_size=0), r"Training\(batch_size=0\): nothing would be trained"),
        (lambda: Training(budget="seconds"), r"Training\(budget='seconds'\): not a budget"),
        (lambda: Training(label_smoothing=1), r"Training\(label_smoothing=1\): a share lies"),
        (lambda: Training(average=1.0), r"Training\(average=1.0\): a decay lies between"),
        (
            lambda: Training(average_warmup=0.1),
            r"Training\(average=None, average_warmup=0.1\): a share of the training",
        ),
        (lambda: Training(average=0.9, average_warmup=1), r"average_warmup=1\): a share of the training"),
        (
            lambda: Training(optimizer=Adam(), schedule=OneCycle(cycled=(0.85, 0.95))),
            r"Training\(optimizer=adam, schedule=one-cycle\): the schedule changes the momentum",
        ),
        (lambda: Training(checkpoints_at=(-1,)), r"steps are counted from 0"),
        (
            lambda: Training(steps=5, checkpoints_at=(9,)).plan(kept=200, whole=200),
            r"step 9 never comes, because the training takes 5 steps",
        ),
        (
            lambda: Plan(9, 3, 10).refuse_idle(4, examples=33, drop_last=False),
            r"a batch of 3 cannot be shared by 4 processes",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(make, match: str) -> None:
    with pytest.raises(MethodError, match=match):
        make()
