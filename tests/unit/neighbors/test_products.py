"""Products of outer products, beside the same with every number written out."""

from __future__ import annotations

import numpy as np
import torch
from tests.oracles.gradients import distance_matrix, written_out

from paredown.neighbors import products


def parts(rows: int, seed: int = 0) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    vectors = np.random.default_rng(seed).standard_normal((rows, 8))
    both = torch.from_numpy(vectors)
    return written_out(vectors, (3, 5)), both[:, :3], both[:, 3:]


def test_inner_products_and_norms_are_those_of_the_outer_products() -> None:
    (whole, u, v), (others, a, b) = parts(6), parts(4, seed=1)
    np.testing.assert_allclose(products.inner(u, v, a, b), whole @ others.T, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(products.squared_norms(u, v), (whole**2).sum(axis=1), rtol=1e-12)


def test_distances_are_those_of_the_outer_products() -> None:
    whole, u, v = parts(7)
    np.testing.assert_allclose(products.distances(u, v, u, v), distance_matrix(whole), rtol=1e-7, atol=1e-6)


def test_sums_and_directions() -> None:
    whole, u, v = parts(7)
    summed = products.total(u, v)
    np.testing.assert_allclose(summed.reshape(-1), whole.sum(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(products.along(u, v, summed), whole @ whole.sum(axis=0), rtol=1e-12, atol=1e-12)
