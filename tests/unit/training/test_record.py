from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from paredown.artifacts.dynamics import ALL_QUANTITIES, QUANTITIES, TrainingDynamics
from paredown.artifacts.ids import ExampleIds, Pool
from paredown.errors import DataError, MethodError, PoolMismatch
from paredown.training.observations import Buffers, observe
from paredown.training.record import Recorder, Recording, plain_ids


def batch(rows: int, classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(rows, classes, generator=draw) * 3, torch.randint(0, classes, (rows,), generator=draw)


@given(rows=st.integers(1, 9), classes=st.integers(2, 6), seed=st.integers(0, 99))
def test_observations_are_their_definitions(rows: int, classes: int, seed: int) -> None:
    logits, labels = batch(rows, classes, seed)
    seen = observe(logits, labels)
    for row in range(rows):
        z, y = logits[row].double(), int(labels[row])
        p = z.softmax(0)
        others = torch.cat([z[:y], z[y + 1 :]])
        error = p - functional.one_hot(torch.tensor(y), classes)
        assert seen["confidence"][row] == pytest.approx(float(p[y]), rel=1e-5)
        assert seen["loss"][row] == pytest.approx(float(-p[y].log()), rel=1e-4, abs=1e-6)
        assert seen["margin"][row] == pytest.approx(float(z[y] - others.max()), rel=1e-5, abs=1e-6)
        assert seen["el2n"][row] == pytest.approx(float(error.norm()), rel=1e-5)
        assert seen["correct"][row] == float(z.argmax() == y)


@given(rows=st.integers(1, 9), classes=st.integers(2, 6), seed=st.integers(0, 99))
def test_what_is_recorded_on_request_is_its_definition(rows: int, classes: int, seed: int) -> None:
    logits, labels = batch(rows, classes, seed)
    earlier, _ = batch(rows, classes, seed + 100)
    before = earlier.log_softmax(1)
    before[0] = torch.nan
    seen = observe(logits, labels, ALL_QUANTITIES, before)
    for row in range(rows):
        p, y = logits[row].double().softmax(0), int(labels[row])
        others = torch.cat([p[:y], p[y + 1 :]])
        assert seen["probability-margin"][row] == pytest.approx(float(p[y] - others.max()), rel=1e-4, abs=1e-6)
        moved = (p * (p.log() - earlier[row].double().log_softmax(0))).abs().sum()
        assert row == 0 or seen["divergence"][row] == pytest.approx(float(moved), rel=1e-4, abs=1e-6)
    assert bool(seen["divergence"][0].isnan())
    five = observe(logits, labels)
    assert list(five) == list(QUANTITIES) and all(torch.equal(five[name], seen[name]) for name in five)
    assert bool(observe(logits, labels, ["divergence"])["divergence"].isnan().all())


def test_the_divergence_is_from_the_presentation_before(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = batch(4)
    later, other = logits + 1.5 * batch(4, seed=1)[0], logits + batch(4, seed=2)[0]
    monkeypatch.setattr("paredown.training.observations.PENDING", 8)
    recorder = Recorder(ids=range(4), quantities=("divergence",))
    recorder.update(logits, labels, range(4))
    recorder.update(later[:2], labels[:2], [0, 1])  # the others are absent in this epoch
    recorder.end_epoch()
    recorder.update(other, labels, range(4))
    first, second, third = (epoch["divergence"] for epoch in recorder.finish())

    def moved(now: torch.Tensor, before: torch.Tensor) -> np.ndarray:
        return observe(now, labels[: len(now)], ["divergence"], before.log_softmax(1))["divergence"].numpy()

    assert np.isnan(first).all() and np.isnan(second[2:]).all()
    np.testing.assert_allclose(second[:2], moved(later[:2], logits[:2]), atol=1e-2)
    np.testing.assert_allclose(third[:2], moved(other[:2], later[:2]), atol=1e-2)
    np.testing.assert_allclose(third[2:], moved(other, logits)[2:], atol=1e-2)


def test_an_impossible_class_diverges_by_a_finite_amount() -> None:
    recorder = Recorder(ids=range(1), quantities=("divergence",))
    for logits in ([0.0, 1e6], [1e6, 0.0]):
        recorder.update(torch.tensor([logits]), torch.tensor([0]), [0])
    assert recorder.finish()[1]["divergence"] == pytest.approx(65504, rel=1e-3)


def test_what_several_processes_remember_becomes_one() -> None:
    # Two processes in one: each sees half of an epoch, and the sum over both is taken by hand.
    halves = [Buffers(4, ("divergence",), torch.device("cpu")) for _ in range(2)]
    alone = Buffers(4, ("divergence",), torch.device("cpu"))
    logits, labels = batch(4)
    for part, rows in zip(halves, ([0, 2], [1, 3]), strict=True):
        part.put(torch.tensor(rows), logits[rows], labels[rows])
        part.values()
    alone.put(torch.arange(4), logits, labels)
    sent: list[list[torch.Tensor]] = [[], []]
    for number, part in enumerate(halves):  # what each would send
        state = part.tensors()["before"].clone()
        fresh = ~state.isnan().any(1)
        sent[number] = [state.nan_to_num(0.0).float(), fresh[:, None].float()]
    for part in halves:
        answers = iter([torch.tensor([8.0, 2.0]), sent[0][0] + sent[1][0], sent[0][1] + sent[1][1]])
        part.share(lambda _, answers=answers: next(answers))
        part.clear()
        part.put(torch.arange(4), logits + 1, labels)
    alone.values()
    alone.clear()
    alone.put(torch.arange(4), logits + 1, labels)
    for part in halves:
        assert torch.equal(part.values(), alone.values())


def test_el2n_keeps_its_digits_for_examples_that_are_nearly_certain() -> None:
    logits = torch.tensor([[30.0, 0.0, 0.0]])
    p_other = float(torch.tensor(-30.0).double().exp())
    expected = np.sqrt((2 * p_other) ** 2 + 2 * p_other**2)
    assert float(observe(logits, torch.tensor([0]))["el2n"]) == pytest.approx(expected, rel=1e-5)


def test_half_precision_logits_are_observed_in_float32_and_without_gradient() -> None:
    logits, labels = batch(3)
    logits = logits.bfloat16().requires_grad_()
    seen = observe(logits, labels)
    assert all(value.dtype == torch.float32 and not value.requires_grad for value in seen.values())
    assert torch.equal(seen["margin"], observe(logits.detach().float(), labels)["margin"])


def test_only_what_was_asked_for_is_observed() -> None:
    assert list(observe(*batch(3), quantities=["margin", "correct"])) == ["correct", "margin"]


def test_buffers_hold_nan_for_what_was_not_seen() -> None:
    buffers = Buffers(5, ("correct", "loss"), torch.device("cpu"))
    logits, labels = batch(2)
    buffers.put(torch.tensor([3, 1]), logits, labels)
    epoch = dict(zip(("correct", "loss"), buffers.values().numpy(), strict=True))
    assert np.isnan(epoch["loss"][[0, 2, 4]]).all()
    assert epoch["loss"][3] == observe(logits, labels)["loss"][0]
    buffers.clear()
    assert buffers.values().isnan().all()


def test_buffers_that_were_saved_while_batches_wait_go_on_as_before() -> None:
    whole, first, second = (Buffers(6, ALL_QUANTITIES, torch.device("cpu")) for _ in range(3))
    batches = [(torch.tensor([5, 2]), *batch(2, seed=0)), (torch.tensor([0]), *batch(1, seed=1))]
    for buffers in (whole, first):
        buffers.put(torch.tensor([0, 2]), *batch(2, seed=2))
        buffers.values()
        buffers.clear()
        buffers.put(*batches[0])
    second.restore(first.tensors())
    for buffers in (whole, second):
        buffers.put(*batches[1])
    assert torch.equal(whole.values().nan_to_num(-1.0), second.values().nan_to_num(-1.0))
    # Three were not seen, and one was seen for the first time.
    assert int(whole.values().isnan().sum()) == 3 * len(ALL_QUANTITIES) + 1


def test_many_logits_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paredown.training.observations.PENDING", 8)
    buffers = Buffers(4, ("loss",), torch.device("cpu"))
    buffers.put(torch.tensor([0]), *batch(1))
    assert "logits" in buffers.tensors()
    buffers.put(torch.tensor([1, 2]), *batch(2))
    assert list(buffers.tensors()) == ["values"]


def test_logits_that_a_loop_changes_afterwards_are_recorded_as_they_were() -> None:
    logits, labels = batch(3)
    expected = observe(logits, labels)["loss"].numpy().copy()
    recorder = Recorder(ids=range(3))
    recorder.update(logits, labels, range(3))
    logits.zero_()
    labels.zero_()
    assert np.array_equal(recorder.finish()[0]["loss"], expected)


def test_three_lines_record_a_loop_over_a_loader() -> None:
    logits, labels = batch(20)
    loader = DataLoader(
        TensorDataset(logits, labels, torch.arange(20)), batch_size=6, shuffle=True, generator=torch.Generator()
    )
    recorder = Recorder(ids=range(20))
    for _ in range(3):
        for x, y, ids in loader:
            recorder.update(x, y, ids)
    dynamics = recorder.finish()
    assert len(dynamics) == 3 and dynamics.quantities == QUANTITIES
    for epoch in dynamics:
        assert np.array_equal(epoch["margin"], observe(logits, labels)["margin"].numpy())


def test_adversarial_logits_are_recorded_beside_the_others() -> None:
    logits, labels = batch(6)
    moved, _ = batch(6, seed=1)
    quantities = ("adversarial-correct", "confidence", "adversarial-confidence")
    recorder = Recorder(ids=range(6), quantities=quantities)
    recorder.update(logits[:4], labels[:4], range(4), adversarial=moved[:4])
    recorder.update(logits[4:], labels[4:], range(4, 6), adversarial=moved[4:])
    (epoch,) = recorder.finish()
    assert list(epoch) == ["confidence", "adversarial-confidence", "adversarial-correct"]
    alone = observe(moved, labels)
    for name in ("confidence", "correct"):
        np.testing.assert_allclose(epoch[f"adversarial-{name}"], alone[name], rtol=1e-5)
    np.testing.assert_allclose(epoch["confidence"], observe(logits, labels)["confidence"], rtol=1e-6)
    for other, wrong in ((recorder, None), (Recorder(ids=range(6)), moved), (recorder, moved[:2])):
        with pytest.raises(DataError, match="adversarial logits, in the shape of the others, are needed"):
            other.update(logits, labels, range(6), adversarial=wrong)


def test_buffers_keep_adversarial_logits_that_wait_and_need_no_clean_ones() -> None:
    logits, labels = batch(3)
    whole, first, second = (Buffers(3, ("adversarial-correct",), torch.device("cpu")) for _ in range(3))
    whole.put(torch.arange(3), None, labels, logits)
    first.put(torch.arange(3), None, labels, logits)
    second.restore(first.tensors())
    assert torch.equal(whole.values(), second.values())
    assert torch.equal(whole.values()[0], observe(logits, labels)["correct"])


def test_an_incomplete_epoch_is_closed_by_the_first_id_that_returns() -> None:
    logits, labels = batch(4)
    recorder = Recorder(ids=[10, 20, 30, 40])
    recorder.update(logits[:2], labels[:2], [10, 20])
    recorder.update(logits[2:], labels[2:], [30, 10])
    first, second = recorder.finish()
    assert np.isnan(first["loss"]).tolist() == [False, False, True, True]
    assert np.isnan(second["loss"]).tolist() == [False, True, False, True]


def test_end_epoch_closes_one_and_closing_nothing_is_nothing() -> None:
    logits, labels = batch(2)
    recorder = Recorder(ids=range(4))
    recorder.end_epoch()
    recorder.update(logits, labels, torch.tensor([0, 1]))
    recorder.end_epoch()
    recorder.end_epoch()
    recorder.update(logits, labels, np.array([2, 3]))
    assert len(recorder.finish()) == 2


def test_a_copy_within_a_batch_changes_nothing() -> None:
    logits, labels = batch(3)
    recorder = Recorder(ids=range(3))
    recorder.update(torch.cat([logits, logits[:1]]), torch.cat([labels, labels[:1]]), [0, 1, 2, 0])
    (epoch,) = recorder.finish()
    assert np.array_equal(epoch["loss"], observe(logits, labels)["loss"].numpy())


def test_example_ids_of_a_pool_are_found_wherever_they_stand() -> None:
    ids = ExampleIds(np.array([7, 2, 5]), Pool(("a:train",), 9, "f" * 64))
    logits, labels = batch(2)
    recorder = Recorder(ids, quantities=("loss",))
    recorder.update(logits, labels, ids.take(np.array([2, 0])))
    dynamics = recorder.finish()
    assert dynamics.ids is ids
    assert np.isnan(dynamics[0]["loss"]).tolist() == [False, True, False]
    assert dynamics[0]["loss"][2] == observe(logits, labels)["loss"][0]


def test_a_folder_holds_the_same_as_memory(tmp_path: Path) -> None:
    logits, labels = batch(5)
    recorders = [Recorder(range(5)), Recorder(range(5), folder=tmp_path / "dynamics")]
    for recorder in recorders:
        for _ in range(2):
            recorder.update(logits, labels, range(5))
    in_memory, on_disk = (recorder.finish() for recorder in recorders)
    assert in_memory == on_disk == TrainingDynamics.open(tmp_path / "dynamics")


def test_plain_ids_that_are_equal_make_one_pool() -> None:
    assert plain_ids([3, 1]).pool == plain_ids(np.array([1, 3])).pool
    assert plain_ids(range(3)).pool != plain_ids(range(4)).pool


@pytest.mark.parametrize(
    ("update", "error", "match"),
    [
        (lambda r: r.update(*batch(2), [0, 99]), PoolMismatch, "id 99 is not among the 4 ids"),
        (lambda r: r.update(*batch(2), [0]), DataError, r"logits of shape \(2, 4\).*1 ids do not make a batch"),
        (lambda r: r.update(torch.zeros(2, 3, 4), torch.zeros(2), [0, 1]), DataError, "do not make a batch"),
        (lambda r: r.update(batch(2)[0], torch.tensor([0, 4]), [0, 1]), DataError, "labels from 0 to 4 for 4 logits"),
        (lambda r: r.finish(), DataError, "nothing was recorded"),
        (
            lambda r: r.update(*batch(1), ExampleIds(np.array([0]), Pool(("b",), 9, "0" * 64))),
            PoolMismatch,
            "The recorder's ids index",
        ),
    ],
)
def test_what_cannot_be_recorded_is_refused(update, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        update(Recorder(ids=range(4)))


@pytest.mark.parametrize(
    ("ids", "match"),
    [
        ([0, 0], "stands twice"),
        ([-1, 2], "is negative"),
        ([], "ids are whole numbers"),
        ([0.5], "ids are whole numbers"),
    ],
)
def test_what_are_no_ids_is_refused(ids, match: str) -> None:
    with pytest.raises(DataError, match=match):
        Recorder(ids=ids)


def test_recording_orders_its_quantities_and_refuses_what_it_cannot_do() -> None:
    assert Recording(quantities=("margin", "correct")) == Recording(quantities=("correct", "margin"))
    with pytest.raises(MethodError, match="'certainty' is not recorded"):
        Recording(quantities=("certainty",))
    with pytest.raises(MethodError, match=r"Recording\(by='hearsay'\): not a source"):
        Recording(by="hearsay")
    with pytest.raises(MethodError, match=r"Recording\(every=0\)"):
        Recording(every=0)
