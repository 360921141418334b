"""Cal beside its definition, one example at a time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import entropy

from paredown.errors import MethodError
from paredown.runtime import Runtime
from paredown.scoring import Cal
from paredown.scoring import contrast as module

CPU = Runtime(device="cpu")


def seen(rows: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features, logits = rng.standard_normal((rows, 4)), 3 * rng.standard_normal((rows, 5))
    return features.astype(np.float32), logits.astype(np.float32), rng.integers(0, 5, rows)


def test_cal_is_the_mean_divergence_of_the_neighbours_from_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    features, logits, labels = seen()
    p = np.exp(log_softmax(logits.astype(np.float64), axis=1))
    expected = []
    for row in range(30):
        near = np.argsort(np.linalg.norm(features - features[row], axis=1), kind="stable")
        near = near[near != row][:4]
        expected.append(np.mean([entropy(p[other], p[row]) for other in near]))
    for at_once in (module.AT_ONCE, 50):
        monkeypatch.setattr(module, "AT_ONCE", at_once)
        values = Cal(neighbors=4).of(features, logits, labels, runtime=CPU, seed=0)
        np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_neighbours_that_are_seen_alike_contrast_with_nothing() -> None:
    features, _, labels = seen(12)
    values = Cal().of(features, np.ones((12, 3), np.float32), labels, runtime=CPU, seed=0)
    np.testing.assert_allclose(values, 0, atol=1e-12)


def test_more_neighbours_than_others_are_all_the_others() -> None:
    features, logits, labels = seen(5)
    few, many = (Cal(neighbors=k).of(features, logits, labels, runtime=CPU, seed=0) for k in (4, 50))
    np.testing.assert_allclose(few, many, rtol=1e-9)


def test_what_is_refused() -> None:
    with pytest.raises(MethodError, match=r"Cal\(neighbors=0\): there is nothing to compare with"):
        Cal(neighbors=0)
    with pytest.raises(MethodError, match="Cal: a single example has no neighbours"):
        Cal().of(*seen(1), runtime=CPU, seed=0)
