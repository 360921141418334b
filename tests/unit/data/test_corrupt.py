"""Label noise: how many, which, to what."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown.data import LabelNoise
from paredown.errors import MethodError

LABELS = np.arange(200) % 5


@given(
    kind=st.sampled_from(["uniform", "asymmetric", "permutation"]), fraction=st.floats(0, 1), seed=st.integers(0, 2**31)
)
def test_the_mask_says_what_changed_and_little_else_does(kind: str, fraction: float, seed: int) -> None:
    before = LABELS.copy()
    noisy, mask = LabelNoise(kind, fraction, seed).apply(LABELS, 5)  # type: ignore[arg-type]
    np.testing.assert_array_equal(mask, noisy != LABELS)
    np.testing.assert_array_equal(LABELS, before)
    drawn = int(fraction * 200)
    assert mask.sum() <= drawn if kind == "permutation" else mask.sum() == drawn
    assert noisy.min() >= 0 and noisy.max() < 5


def test_permutation_keeps_class_totals_and_about_one_in_c_rows() -> None:
    noisy, mask = LabelNoise("permutation", 1.0, 1).apply(LABELS, 5)
    np.testing.assert_array_equal(np.bincount(noisy), np.bincount(LABELS))
    assert 0.7 < mask.mean() < 0.9


def test_uniform_reaches_every_other_class_and_asymmetric_the_next() -> None:
    uniform, _ = LabelNoise("uniform", 1.0, 0).apply(LABELS, 5)
    assert {(old, new) for old, new in zip(LABELS, uniform, strict=True)} == {
        (old, new) for old in range(5) for new in range(5) if old != new
    }
    asymmetric, _ = LabelNoise("asymmetric", 1.0, 0).apply(LABELS, 5)
    np.testing.assert_array_equal(asymmetric, (LABELS + 1) % 5)


def test_the_seed_decides() -> None:
    first, again, other = (LabelNoise("uniform", 0.3, seed).apply(LABELS, 5)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_senseless_noise_is_refused() -> None:
    with pytest.raises(MethodError, match=r"LabelNoise\(fraction=-0.1\)"):
        LabelNoise(fraction=-0.1)
    with pytest.raises(MethodError, match="no other label to give"):
        LabelNoise("uniform", 0.5).apply(np.zeros(4, int), 1)
