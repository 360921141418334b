"""Forgetting, batch by batch and epoch by epoch, against the original's counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from paredown.artifacts import ExampleIds, Pool, TrainingDynamics
from paredown.scoring import Forgetting, ForgettingEvents, score_dynamics

Golden = Callable[[str, str], Mapping[str, np.ndarray]]


def test_batches_in_the_original_order(golden: Golden) -> None:
    arrays = golden("diet", "forgetting")
    events = ForgettingEvents(arrays["acc"].shape[1])
    for epoch, expected in enumerate(arrays["scores_after_epoch"]):
        for batch in np.flatnonzero(arrays["batch_epoch"] == epoch):
            events.update(arrays["batch_idx"][batch], arrays["batch_acc"][batch])
        np.testing.assert_array_equal(events.scores("infinite"), expected)
    np.testing.assert_array_equal(events.presentations, arrays["presentations"])
    np.testing.assert_array_equal(events.count, arrays["num_forgets"])
    np.testing.assert_array_equal(np.flatnonzero(~events.learned), arrays["never_correct"])


def test_recorded_epochs_give_the_same(golden: Golden) -> None:
    arrays = golden("diet", "forgetting")
    correct = np.full(arrays["acc"].shape, np.nan, np.float32)
    for epoch, rows, seen in zip(arrays["batch_epoch"], arrays["batch_idx"], arrays["batch_acc"], strict=True):
        correct[epoch, rows] = seen
    scores = score_dynamics(Forgetting(never_learned="infinite"), dynamics(correct))
    np.testing.assert_array_equal(scores, arrays["scores_after_epoch"][-1])


def test_every_example_once_an_epoch(golden: Golden) -> None:
    arrays = golden("diet", "forgetting_full")
    for epoch, expected in enumerate(arrays["scores_after_epoch"]):
        recorded = dynamics(arrays["acc"][: epoch + 1].astype(np.float32))
        np.testing.assert_array_equal(score_dynamics(Forgetting(never_learned="infinite"), recorded), expected)
        finite = score_dynamics(Forgetting(), recorded)
        # Ours differs on purpose in one thing: what was never learnt is the hardest by a finite number.
        np.testing.assert_array_equal(finite, np.where(np.isinf(expected), (epoch + 1) // 2 + 1, expected))


def dynamics(correct: np.ndarray) -> TrainingDynamics:
    ids = ExampleIds.of_pool(Pool(("a",), correct.shape[1], "0" * 64))
    return TrainingDynamics(ids, [{"correct": row} for row in correct], quantities=("correct",))
