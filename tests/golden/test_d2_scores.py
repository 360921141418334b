"""The scores of CCS and D2 from their own log of training, in images and in sentences.

The original adds up over epochs where the scores here are means, so sums are means times the number of epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch

from paredown.artifacts import ExampleIds, Pool, TrainingDynamics
from paredown.scoring import Aum, Correctness, Forgetting, RecordedMean, Variability, score_dynamics
from paredown.scoring.errors import confidence, entropy, loss

Golden = Callable[[str, str], Mapping[str, np.ndarray]]
QUANTITIES = ("confidence", "correct", "el2n", "probability-margin")


def quantities(p: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Gives what the recorder would, of probabilities that rounding to float16 keeps from adding up to 1."""
    one_hot = np.eye(p.shape[1], dtype=bool)[labels]
    return {
        "confidence": p[one_hot],
        "correct": p.argmax(axis=1) == labels,
        "el2n": np.linalg.norm(p - one_hot, axis=1),
        "probability-margin": p[one_hot] - np.where(one_hot, 0, p).max(axis=1),
    }


def recorded(arrays: Mapping[str, np.ndarray], without: tuple[int, ...] = ()) -> TrainingDynamics:
    """Rebuilds the dynamics from the log: steps of examples and their float16 log-probabilities."""
    targets, count = arrays["targets"], int(arrays["epoch"].max()) + 1
    epochs = [{name: np.full(len(targets), np.nan, np.float32) for name in QUANTITIES} for _ in range(count)]
    for step, epoch in enumerate(arrays["epoch"]):
        if step in without:
            continue
        rows = slice(*arrays["ptr"][step : step + 2])
        examples = arrays["idx"][rows]
        seen = quantities(np.exp(arrays["output_fp16"][rows].astype(np.float32)), targets[examples])
        for name in QUANTITIES:
            epochs[epoch][name][examples] = seen[name]
    ids = ExampleIds.of_pool(Pool(("log",), len(targets), "0" * 64))
    return TrainingDynamics(ids, epochs, quantities=QUANTITIES)


@pytest.fixture
def arrays(golden: Golden) -> Mapping[str, np.ndarray]:
    return golden("d2", "scores_cifar_nlp")


@pytest.mark.parametrize("prefix", ["", "nlp_"])
def test_scores_of_the_log(arrays: Mapping[str, np.ndarray], prefix: str) -> None:
    log = recorded(arrays)
    for key, scorer, times in [
        ("accumulated_margin", Aum(of="probabilities"), len(log)),
        ("el2n", RecordedMean("el2n", last=10), 10),
        ("correctness", Correctness(), len(log)),
        ("forgetting", Forgetting("zero"), 1),
    ]:
        scores = times * score_dynamics(scorer, log)
        np.testing.assert_allclose(scores, arrays[prefix + key], rtol=1e-5, atol=1e-5, err_msg=key)
    np.testing.assert_array_equal(log[len(log) - 1]["correct"], arrays[prefix + "last_correctness"])


def test_scores_of_the_last_checkpoint(arrays: Mapping[str, np.ndarray]) -> None:
    logits, targets = torch.from_numpy(arrays["post_logits"]), torch.from_numpy(arrays["targets"])
    np.testing.assert_allclose(entropy(logits), arrays["entropy"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(loss(logits, targets), arrays["loss"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(confidence(logits, targets), arrays["confidence"], rtol=1e-5, atol=1e-5)


def test_variance_of_sentences(arrays: Mapping[str, np.ndarray]) -> None:
    scores = score_dynamics(Variability(), recorded(arrays))
    np.testing.assert_allclose(scores, arrays["nlp_variance"], rtol=1e-5, atol=1e-5)


def test_variance_where_records_are_missing(arrays: Mapping[str, np.ndarray]) -> None:
    log = recorded(arrays, without=tuple(arrays["nlp_missing_dropped_steps"].tolist()))
    # Here a presentation that is missing does not count; the original puts a probability of 1 in its place.
    padded = [{"confidence": np.nan_to_num(epoch["confidence"], nan=1.0)} for epoch in log]
    as_the_original = TrainingDynamics(log.ids, padded, quantities=("confidence",))
    scores = score_dynamics(Variability(), as_the_original)
    np.testing.assert_allclose(scores, arrays["nlp_missing_variance"], rtol=1e-5, atol=1e-5)
    missing = np.isnan(log.matrix("confidence")).any(axis=0)
    ours = score_dynamics(Variability(), log)
    np.testing.assert_array_equal(~np.isclose(ours, scores, rtol=1e-6), missing)
