"""Masks: the vectors of the specification, a slow oracle, counts and ties."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.unit.sparsity.networks import narrow

from paredown.artifacts import PruningStrategy
from paredown.errors import MethodError
from paredown.sparsity.layers import layers_of
from paredown.sparsity.masks import (
    above_threshold,
    admm_projection,
    hydra_kept,
    input_norms,
    kept_of,
    magnitude_masks,
    mask_of,
    mask_set,
    output_norms,
    percentile,
    projection,
    ranks,
    reshaped_norms,
    search_kept,
    spread,
    top,
    two_in_four,
    weights_of,
)

SCORES = torch.tensor(
    [[0.50, -0.10, 0.30], [-0.90, 0.20, -0.70], [0.05, 0.60, -0.40], [0.80, -0.25, 0.15]], dtype=torch.float64
)
numbers = arrays.arrays(np.float64, st.integers(1, 40), elements=st.integers(-4, 4).map(float))


@pytest.mark.parametrize(
    ("share", "hydra", "search", "admm"),
    [(0.5, 6, 6, 6), (0.3, 4, 3, 4), (0.25, 3, 3, 3), (0.1, 2, 1, 2), (0.9, 11, 10, 10)],
)
def test_counts_of_the_three_published_rules(share: float, hydra: int, search: int, admm: int) -> None:
    assert int(mask_of(SCORES, share, counting="hydra").sum()) == hydra
    assert int(mask_of(SCORES, share, counting="search").sum()) == search
    assert int(admm_projection(SCORES, share)[1].sum()) == admm


def test_half_of_them() -> None:
    kept = {0.50, -0.90, -0.70, 0.60, -0.40, 0.80}
    for counting in ("exact", "hydra", "search"):
        assert set(SCORES[mask_of(SCORES, 0.5, counting=counting)].tolist()) == kept  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("units", "share", "kept"), [(10, 0.9, 10), (12, 0.1, 2), (1728, 0.01, 18), (36864, 0.1, 3687), (5120, 0.01, 52)]
)
def test_floats_in_hydras_counts(units: int, share: float, kept: int) -> None:
    assert hydra_kept(units, share) == kept


@pytest.mark.parametrize(
    ("channels", "share", "kept"),
    [(3, 0.5, 2), (3, 0.1, 0), (5, 0.5, 2), (64, 0.1, 6), (16, 0.1, 2), (2048, 0.2475586, 507)],
)
def test_channels_in_hydras_counts(channels: int, share: float, kept: int) -> None:
    assert hydra_kept(channels, share, "channel") == kept
    assert kept_of(channels, share) == max(kept, 1)  # ours leaves no layer empty


@given(numbers, st.integers(0, 40))
def test_the_largest_by_magnitude_and_the_first_of_equal_ones(values: np.ndarray, count: int) -> None:
    scores = torch.from_numpy(values)
    if count > len(values):
        with pytest.raises(MethodError, match=r"there are \d+ scores"):
            top(scores, count)
        return
    first = sorted(range(len(values)), key=lambda place: (-abs(values[place]), place))[:count]
    assert sorted(torch.nonzero(top(scores, count))[:, 0].tolist()) == sorted(first)
    assert torch.equal(ranks(scores) < count, top(scores, count))


@given(numbers, st.floats(0.01, 1.0))
def test_counts_are_exact_and_no_layer_is_empty(values: np.ndarray, share: float) -> None:
    scores = torch.from_numpy(values)
    exact = int(mask_of(scores, share).sum())
    assert exact == kept_of(len(values), share) >= 1
    assert abs(exact - share * len(values)) <= max(0.5, 1 - share * len(values)) + 1e-9
    assert int(mask_of(scores, share, counting="hydra").sum()) == hydra_kept(len(values), share)
    # The published search keeps ties.
    assert int(mask_of(scores, share, counting="search").sum()) >= search_kept(len(values), share)


def test_ties_in_the_published_search() -> None:
    scores = torch.tensor([1.0, -1.0, 0.5, 1.0])
    assert above_threshold(scores, 2).tolist() == [True, True, False, True]
    assert top(scores, 2).tolist() == [True, True, False, False]


@given(numbers, st.floats(0.01, 1.0))
def test_projecting_twice_changes_nothing_more(values: np.ndarray, share: float) -> None:
    weight = torch.from_numpy(np.resize(values, (4, 6, 1, 1)))
    for kind in ("weight", "channel", "filter"):
        once, kept = projection(weight, share, kind)  # type: ignore[arg-type]
        twice, again = projection(once, share, kind)  # type: ignore[arg-type]
        assert torch.equal(once, twice)
        assert torch.equal(once, weight * kept) and int(again.sum()) == int(kept.sum())


@given(numbers, st.floats(0.01, 1.0))
def test_the_published_projection_zeroes_below_and_freezes_at_the_percentile(values: np.ndarray, share: float) -> None:
    weight = torch.from_numpy(np.resize(values, (4, 6)))
    border = np.percentile(np.abs(weight.numpy()), 100 * (1 - share))
    found, mask = admm_projection(weight, share)
    assert percentile(weight, 1 - share) == border
    assert torch.equal(found, torch.where(weight.abs() < border, 0.0, weight))
    assert torch.equal(mask, weight.abs() > border)


def test_the_specified_projection() -> None:
    weight = torch.tensor([[0.9, -0.2, 0.05], [-0.4, 0.7, 0.1], [0.3, -0.6, 0.02], [-0.15, 0.8, -0.5]])
    assert percentile(weight, 0.5) == pytest.approx(0.35)
    expected = torch.tensor([[0.9, 0, 0], [-0.4, 0.7, 0], [0, -0.6, 0], [0, 0.8, -0.5]])
    assert torch.equal(admm_projection(weight, 0.5)[0], expected)
    assert torch.equal(projection(weight, 0.5)[0], expected)


def test_few_channels_are_kept_and_frozen() -> None:
    # Three colours at one half: the middle one equals the percentile.
    weight = torch.tensor([[1.0, 2.0, 3.0]]).view(1, 3, 1, 1)
    found, mask = admm_projection(weight, 0.5, "channel")
    assert found.flatten().tolist() == [0, 2, 3] and mask.flatten().tolist() == [False, False, True]
    # Nothing to prune: the smallest is frozen all the same.
    assert admm_projection(weight, 1.0, "channel")[1].flatten().tolist() == [False, True, True]


def test_norms_of_channels_and_filters() -> None:
    weight = torch.arange(24.0).view(2, 3, 2, 2) - 11
    slow = [sum(abs(float(weight[o, c, i, j])) for o in range(2) for i in range(2) for j in range(2)) for c in range(3)]
    assert input_norms(weight).tolist() == slow
    assert output_norms(weight, 2).tolist() == pytest.approx(
        [math.sqrt(float((weight[o] ** 2).sum())) for o in range(2)]
    )
    assert input_norms(weight[:, :, 0, 0]).shape == (3,)
    square = weight[:, :2]
    assert torch.equal(reshaped_norms(square), output_norms(square))  # as many filters as channels


def test_units_become_weights() -> None:
    channels = spread(torch.tensor([True, False, True]), (2, 3, 1, 2), "channel")
    assert channels.shape == (2, 3, 1, 2) and channels[:, 1].sum() == 0 and channels.sum() == 8
    filters = spread(torch.tensor([True, False]), (2, 3), "filter")
    assert filters.tolist() == [[True] * 3, [False] * 3]


@given(st.integers(0, 100))
def test_two_in_four(seed: int) -> None:
    weight = torch.from_numpy(np.random.default_rng(seed).integers(-3, 4, (3, 8, 2, 2)).astype(np.float32))
    mask = two_in_four(weight)
    fours = mask.movedim(1, -1).reshape(-1, 4)
    assert (fours.sum(1) == 2).all()
    held = weight.abs().movedim(1, -1).reshape(-1, 4)
    for kept, values in zip(fours, held, strict=True):
        first = sorted(range(4), key=lambda place: (-float(values[place]), place))[:2]
        assert sorted(torch.nonzero(kept)[:, 0].tolist()) == sorted(first)


def test_two_in_four_fits_sparse_matrix_units() -> None:
    mask = two_in_four(torch.randn(32, 64, generator=torch.Generator().manual_seed(0)))
    assert (mask.view(32, 16, 4).sum(2) == 2).all()
    with pytest.raises(MethodError, match=r"a multiple of four input channels, and this layer has 6"):
        two_in_four(torch.ones(2, 6))


@pytest.mark.parametrize("granularity", ["weight", "channel", "filter", "2:4"])
def test_masks_of_a_network_by_magnitude(granularity: Any) -> None:
    made = narrow("resnet18")
    layers = layers_of(made)
    strategy = PruningStrategy.uniform(layers, 0.5, granularity=granularity)
    masks = magnitude_masks(weights_of(made, layers), layers, strategy)
    held = mask_set(masks, strategy.fingerprint)
    for layer in layers:
        units = {"weight": layer.weights, "channel": layer.shape[1], "filter": layer.outputs, "2:4": layer.weights}
        kept = kept_of(units[granularity], strategy.shares[layer.name]) * (layer.weights // units[granularity])
        assert held.counts()[layer.name] == (kept, layer.weights)
    assert strategy.shares["body.stem"] == (1.0 if granularity in ("channel", "2:4") else 0.5)


def test_a_strategy_for_another_network() -> None:
    made, other = narrow("resnet18"), narrow("vgg16_bn")
    layers = layers_of(made)
    strategy = PruningStrategy.uniform(layers_of(other), 0.5, granularity="weight")
    with pytest.raises(MethodError, match=r"for another architecture: it has no share for 'body.stem'"):
        magnitude_masks(weights_of(made, layers), layers, strategy)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_kinds_of_numbers(kind: torch.dtype) -> None:
    scores = torch.tensor([3.0, -5.0, 1.0, 4.0, -2.0], dtype=kind)
    assert top(scores, 2).tolist() == [False, True, False, True, False]


@given(st.integers(0, 100), st.integers(0, 24))
def test_however_scores_lie_in_memory(seed: int, count: int) -> None:
    held = torch.from_numpy(np.random.default_rng(seed).integers(-3, 4, (4, 3, 2, 2)).astype(np.float32))
    views = [held[::2], held[:2].transpose(0, 2), held[:2].expand(2, 2, 3, 2, 2)[0]]
    views += [held[:2].contiguous(memory_format=torch.channels_last), held[2:]]
    for view in views:
        assert torch.equal(top(view, count), top(view.clone(memory_format=torch.contiguous_format), count))


def test_scores_that_are_no_numbers() -> None:
    with pytest.raises(MethodError, match=r"A score is NaN"):
        top(torch.tensor([1.0, float("nan")]), 1)
    with pytest.raises(MethodError, match=r"A score is NaN"):
        ranks(torch.tensor([float("inf"), float("nan")]))
    assert top(torch.tensor([1.0, float("-inf"), float("inf")]), 1).tolist() == [False, True, False]
