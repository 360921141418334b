"""Masks and projections of non-uniform robust pruning, against an independent model of the published code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import GOLDEN

from paredown.sparsity.masks import (
    admm_projection,
    hydra_kept,
    input_norms,
    kept_of,
    mask_of,
    percentile,
    projection,
    reshaped_norms,
)

Golden = Callable[[str, str], Mapping[str, np.ndarray]]


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    path = GOLDEN / "robust-prune" / "golden.json"
    if not path.exists():
        pytest.skip("arrays of the original code are not on this machine: robust-prune/golden.json")
    return json.loads(path.read_text())


@pytest.mark.parametrize("share", [0.5, 0.3, 0.25, 0.1, 0.9])
def test_masks_of_weights(golden: Golden, share: float) -> None:
    arrays = golden("robust-prune", "mask_weight")
    scores = torch.from_numpy(arrays["scores"])

    def told(kind: str) -> np.ndarray:
        return arrays[f"{kind}_k{share}"]

    assert np.array_equal(mask_of(scores, share, counting="hydra").numpy(), told("hydra_mask") == 1)
    assert np.array_equal(mask_of(scores, share, counting="search").numpy(), told("topk_threshold_mask") == 1)
    found, mask = admm_projection(scores, share)
    assert np.array_equal(mask.numpy(), told("admm_mask") == 1)
    assert np.array_equal(found.numpy(), told("admm_Z"))
    assert percentile(scores, 1 - share) == pytest.approx(float(told("admm_percentile")), abs=1e-12)


def test_counts(known: dict[str, Any]) -> None:
    for case, told in known["floor_traps"].items():
        units, share = (float(part.partition("=")[2]) for part in case.split(","))
        assert hydra_kept(int(units), share) == told["reference_kept"]
        assert kept_of(int(units), share) == told["round_kept"]
    for case, told in known["channel_round"].items():
        units, share = (float(part.partition("=")[2]) for part in case.split(","))
        assert hydra_kept(int(units), share, "channel") == told
        assert kept_of(int(units), share) == max(told, 1)


def test_norms_of_channels(known: dict[str, Any]) -> None:
    told = known["channel_example"]
    weight = torch.tensor(told["weight"], dtype=torch.float64)
    assert input_norms(weight, 1).tolist() == pytest.approx(told["l1"], abs=1e-9)
    assert reshaped_norms(weight).tolist() == pytest.approx(told["l1_buggy"], abs=1e-9)
    assert input_norms(weight, 2).tolist() == pytest.approx(told["l2"], abs=1e-6)
    kept = mask_of(input_norms(weight), 2 / 3, "channel", shape=weight.shape)
    assert kept[0, :, 0, 0].tolist() == [True, True, False]
    found, mask = admm_projection(weight, 0.5, "channel")
    assert percentile(input_norms(weight, 2), 0.5) == pytest.approx(told["admm_percentile50"], abs=1e-12)
    assert mask[0, :, 0, 0].tolist() == [bool(kept) for kept in told["admm_keep"]]
    # The channel at the percentile keeps its weights and trains no more.
    assert torch.equal(found[:, :2], weight[:, :2]) and not found[:, 2].any()


def test_projections_of_an_admm_run(golden: Golden) -> None:
    arrays = golden("robust-prune", "admm")
    share = 1 - float(arrays["prune"])
    weights, dual = arrays["W"], np.zeros_like(arrays["W"][0])
    for step, (weight, told) in enumerate(zip(weights, arrays["Z"], strict=True)):
        at = torch.from_numpy(weight + (dual if step else 0))
        found, _ = admm_projection(at, share)
        np.testing.assert_allclose(found.numpy(), told, atol=1e-12)
        dual = dual + weight - found.numpy() if step else dual
        np.testing.assert_allclose(dual, arrays["U"][step], atol=1e-12)
        again, _ = projection(found, share)
        assert torch.equal(projection(again, share)[0], again)
