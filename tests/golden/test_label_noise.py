"""Label noise of the original data-diet code: the same rows, the same labels, under ids that stay.

The original sorts rows by class before it draws, and again afterwards; its arrays therefore start from sorted labels.
The second sort is what paredown does not do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from paredown.data import LabelNoise

Golden = Callable[[str, str], Mapping[str, np.ndarray]]


@pytest.mark.parametrize(("fraction", "seed"), [(0.25, 0), (0.5, 1), (1.0, 2)])
def test_the_permutation_is_that_of_the_original(golden: Golden, fraction: float, seed: int) -> None:
    arrays = golden("diet", "sort_and_label_noise")
    clean, stem = arrays["clean_sorted_labels"], f"noise_frac{fraction}_seed{seed}"
    noisy, mask = LabelNoise("permutation", fraction, seed).apply(clean, int(clean.max()) + 1)
    np.testing.assert_array_equal(noisy, arrays[f"{stem}_labels_by_original_row"])
    assert set(np.flatnonzero(mask)) <= set(arrays[f"{stem}_chosen"].tolist())
    np.testing.assert_array_equal(mask, noisy != clean)


def test_the_order_that_the_original_worked_in_is_a_stable_sort_by_class(golden: Golden) -> None:
    arrays = golden("diet", "sort_and_label_noise")
    order = np.argsort(arrays["labels"], kind="stable")
    np.testing.assert_array_equal(order, arrays["sorted_ids_stable"])
    np.testing.assert_array_equal(arrays["labels"][order], arrays["clean_sorted_labels"])
