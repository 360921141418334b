"""The scores of the code published with DUAL, on its own logits; and its draws from the Beta distribution.

Two of its scores are left out: AUM, whose loop keeps the last epoch alone, and TDDS, whose window never moves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch

from paredown.artifacts import ExampleIds, Pool, TrainingDynamics
from paredown.scoring import Dual, DynamicUncertainty, Forgetting, score_dynamics
from paredown.scoring.errors import el2n, entropy
from paredown.scoring.windows import beta_density
from paredown.training.observations import observe

Golden = Callable[[str, str], Mapping[str, np.ndarray]]
QUANTITIES = ("confidence", "correct")


@pytest.fixture
def arrays(golden: Golden) -> Mapping[str, np.ndarray]:
    return golden("d2", "dual_peer")


def recorded(arrays: Mapping[str, np.ndarray]) -> TrainingDynamics:
    targets = torch.from_numpy(arrays["targets"]).long()
    epochs = [observe(torch.from_numpy(logits).float(), targets, QUANTITIES) for logits in arrays["logits"]]
    ids = ExampleIds.of_pool(Pool(("log",), len(targets), "0" * 64))
    return TrainingDynamics(
        ids, [{name: seen[name].numpy() for name in QUANTITIES} for seen in epochs], quantities=QUANTITIES
    )


def score_of(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Gives the one array whose key names a score and that is no mask."""
    found = [key for key in arrays if name in re.sub(r"[^a-z0-9]", "", key.lower()) and "mask" not in key.lower()]
    assert found, f"no {name} among {sorted(arrays)}"
    return arrays[min(found, key=len)]


def test_dual(arrays: Mapping[str, np.ndarray]) -> None:
    log = recorded(arrays)
    scores = score_dynamics(Dual(epochs=min(30, len(log))), log)
    np.testing.assert_allclose(scores, score_of(arrays, "dual"), rtol=1e-4, atol=1e-4)


def test_dynamic_uncertainty(arrays: Mapping[str, np.ndarray]) -> None:
    # Ten times as large there, and with the last window.
    scores = 10 * score_dynamics(DynamicUncertainty(last_window=True), recorded(arrays))
    np.testing.assert_allclose(scores, score_of(arrays, "dyn"), rtol=1e-4, atol=1e-4)


def test_forgetting_and_the_scores_of_one_epoch(arrays: Mapping[str, np.ndarray]) -> None:
    log, targets = recorded(arrays), torch.from_numpy(arrays["targets"]).long()
    np.testing.assert_array_equal(score_dynamics(Forgetting("zero"), log), score_of(arrays, "forget"))
    logits = torch.from_numpy(arrays["logits"]).float()
    np.testing.assert_allclose(el2n(logits[20], targets), score_of(arrays, "el2n"), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(entropy(logits[-1]), score_of(arrays, "entropy"), rtol=1e-4, atol=1e-4)


def test_draws_from_the_beta_distribution(arrays: Mapping[str, np.ndarray]) -> None:
    log = recorded(arrays)
    scores = score_dynamics(Dual(epochs=min(30, len(log))), log)
    given = np.asarray(arrays["beta_inputs_target_probs"], dtype=np.float64)
    if given.ndim == 2:
        given = (given if given.shape[1] == len(scores) else given.T)[:30].mean(axis=0)
    draws = [key for key in arrays if key.startswith("beta_ids_prune")]
    assert draws
    for key in draws:
        removed = float(key.removeprefix("beta_ids_prune"))
        removed = removed / 100 if removed >= 1 else removed
        count = int((1 - removed) * len(scores))
        weight = scores * beta_density(scores, given, keep=1 - removed, c_d=4.0)
        drawn = np.random.RandomState(0).choice(len(scores), count, replace=False, p=weight / weight.sum())
        agree = len(np.intersect1d(drawn, arrays[key])) / count
        # The same stream over weights that differ in the last digits: a draw may fall on the neighbour of another.
        assert agree > 0.98, f"{key}: {agree:.3f}"
