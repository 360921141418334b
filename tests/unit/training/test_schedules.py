from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown.errors import MethodError
from paredown.method import build
from paredown.training.schedules import Constant, Cosine, Linear, OneCycle, Step, Triangular


def test_step_keeps_its_rate_at_the_drop_and_lowers_it_one_step_later() -> None:
    schedule = Step(drops=(23400,), factor=0.2)
    assert schedule.share(23400, 78000) == 1.0
    assert schedule.share(23401, 78000) == 0.2


def test_a_drop_below_one_is_a_share_of_the_training() -> None:
    by_share, by_step = Step(drops=(0.3, 0.6, 0.8)), Step(drops=(23400, 46800, 62400))
    for step in (1, 23400, 23401, 46800, 46801, 62400, 62401, 78000):
        assert by_share.share(step, 78000) == by_step.share(step, 78000)


def test_cosine_begins_with_the_whole_rate_and_ends_above_its_floor() -> None:
    schedule = Cosine(floor=0.1)
    assert schedule.share(1, 100) == 1.0
    assert schedule.share(51, 100) == pytest.approx(0.55)
    assert schedule.share(100, 100) == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi * 0.99)))


def test_cosine_without_warmup_is_torchs_cosine_annealing() -> None:
    torch = pytest.importorskip("torch")
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for step in range(1, 21):
        assert Cosine().share(step, 20) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_warmup_rises_in_a_line_to_the_whole_rate() -> None:
    schedule = Cosine(warmup=0.1)
    assert [schedule.share(step, 50) for step in range(1, 7)] == [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]
    assert Cosine(warmup=5).share(3, 50) == schedule.share(3, 50)


def test_linear_rises_and_falls_as_for_fine_tuning_transformers() -> None:
    torch = pytest.importorskip("torch")
    shares = [Linear(warmup=0.05).share(step, 100) for step in range(1, 101)]
    assert shares[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0]) and shares[-1] == pytest.approx(1 / 95)
    # The transformers library counts from 0, so that its first step has a rate of zero; after the warm-up both agree.
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    theirs = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: t / 5 if t < 5 else (100 - t) / 95)
    for step in range(1, 101):
        if step > 5:
            assert shares[step - 1] == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        theirs.step()
    assert Linear(warmup=0).share(1, 10) == 1.0 and Linear(warmup=20).share(10, 10) == 0.5


def test_triangle_peaks_once_and_ends_at_zero() -> None:
    schedule = Triangular(peak=0.25)
    shares = [schedule.share(step, 40) for step in range(1, 41)]
    assert shares.index(max(shares)) == 9 and max(shares) == 1.0
    assert shares[-1] == 0.0


@pytest.mark.parametrize(
    ("peak", "total", "expected"),
    [
        (
            0.2,
            400,
            {
                1: (0.008, 0.95),
                2: (0.0137895084, 0.9469846310),
                3: (0.0304597335, 0.9383022222),
                10: (0.2, 0.85),
                11: (0.1999967556, 0.8500016222),
                100: (0.1748511754, 0.8625744626),
                200: (0.1040269779, 0.8979867030),
                300: (0.0307282417, 0.9346362177),
                400: (8e-7, 0.95),
            },
        ),
        (
            0.4,
            100,
            {
                1: (0.016, 0.95),
                2: (0.304, 0.875),
                3: (0.3999740451, 0.8500064888),
                50: (0.2080539558, 0.8979867030),
                100: (1.6e-6, 0.95),
            },
        ),
    ],
)
def test_one_cycle_to_the_numbers_of_the_specification(peak: float, total: int, expected: dict) -> None:
    schedule = OneCycle(cycled=(0.85, 0.95))
    for step, (rate, momentum) in expected.items():
        assert peak * schedule.share(step, total) == pytest.approx(rate, abs=1e-10)
        assert schedule.momentum(step, total) == pytest.approx(momentum, abs=1e-10)
    assert OneCycle().momentum(1, total) is None


def test_one_cycle_is_torchs_where_it_has_a_warmup_and_has_one_where_torch_has_none() -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=50, pct_start=0.3)
    schedule = OneCycle(warmup=0.3, cycled=(0.85, 0.95))
    for step in range(1, 51):
        group = optimizer.param_groups[0]
        assert schedule.share(step, 50) == pytest.approx(group["lr"], abs=1e-12)
        assert schedule.momentum(step, 50) == pytest.approx(group["momentum"], abs=1e-12)
        optimizer.step()
        if step < 50:
            theirs.step()
    for total in (40, 20, 3, 2, 1):
        assert OneCycle().share(1, total) == pytest.approx(1 / 25)
        assert total == 1 or OneCycle().share(2, total) == 1.0
    assert OneCycle(warmup=10).share(10, 50) == 1.0 > OneCycle(warmup=10).share(9, 50)


@given(
    schedule=st.sampled_from(
        [
            Constant(),
            Step(),
            Cosine(),
            Cosine(warmup=0.3, floor=0.2),
            Cosine(warmup=900),
            Linear(),
            Linear(warmup=900),
            OneCycle(),
            OneCycle(warmup=0.5, begin=0.0, end=0.0),
            OneCycle(warmup=900),
            Triangular(),
            Triangular(0.0),
        ]
    ),
    total=st.integers(1, 400),
    where=st.floats(0, 1),
)
def test_every_share_lies_between_nothing_and_everything(schedule, total: int, where: float) -> None:
    step = 1 + round(where * (total - 1))
    assert 0 <= schedule.share(step, total) <= 1


def test_schedules_are_built_from_their_names() -> None:
    assert build("schedule", {"name": "cosine", "warmup": "1/20"}) == Cosine(warmup=0.05)
    assert build("schedule", "constant") == Constant()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Step(drops=(0.5, -1)), r"Step\(drops=-1\): neither a share"),
        (lambda: Step(drops=(1.5,)), r"Step\(drops=1.5\): neither a share"),
        (lambda: Step(factor=0), r"Step\(factor=0\): the rate would vanish"),
        (lambda: Cosine(warmup=-0.1), r"Cosine\(warmup=-0.1\): neither a share"),
        (lambda: Cosine(floor=2), r"Cosine\(floor=2\): a share of the rate"),
        (lambda: OneCycle(warmup=-1), r"OneCycle\(warmup=-1\): neither a share"),
        (lambda: OneCycle(end=2), r"OneCycle\(end=2\): a share of the rate"),
        (lambda: OneCycle(cycled=(0.85, 1.0)), r"OneCycle\(cycled=\(0.85, 1.0\)\): a momentum lies"),
        (lambda: Triangular(peak=2.5), r"Triangular\(peak=2.5\): neither a share"),
    ],
)
def test_what_is_no_schedule_is_refused(make, match: str) -> None:
    with pytest.raises(MethodError, match=match):
        make()
