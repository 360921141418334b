"""Scores of logits, against the original's own numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from paredown.scoring.errors import confidence, el1n, el2n, loss, margin_max, margin_sum

Golden = Callable[[str, str], Mapping[str, np.ndarray]]


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("l2_error", el2n),
        ("l1_error", el1n),
        ("max_margin", margin_max),
        ("sum_margin", margin_sum),
        ("loss", loss),
    ],
)
def test_scores_of_logits(golden: Golden, name: str, formula: Callable[[Tensor, Tensor], Tensor]) -> None:
    arrays = golden("diet", "logit_scores")
    ours = formula(torch.from_numpy(arrays["logits"]), torch.from_numpy(arrays["labels"]))
    np.testing.assert_allclose(ours.numpy(), arrays[name], rtol=1e-5, atol=1e-6)


def test_confidence_is_the_softmax_of_the_label(golden: Golden) -> None:
    arrays = golden("diet", "logit_scores")
    ours = confidence(torch.from_numpy(arrays["logits"]), torch.from_numpy(arrays["labels"]))
    theirs = (arrays["softmax"] * arrays["onehot"]).sum(axis=1)
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-5, atol=1e-6)


def test_el2n_of_softmax_regression(golden: Golden) -> None:
    arrays = golden("diet", "grand_linear")
    logits = torch.from_numpy(arrays["X"] @ arrays["W"] + arrays["b"])
    np.testing.assert_allclose(el2n(logits, torch.from_numpy(arrays["labels"])).numpy(), arrays["el2n"], rtol=1e-5)


def test_a_mean_over_runs_is_infinite_where_one_run_is(golden: Golden) -> None:
    from paredown.artifacts import ExampleIds, Pool, ScoreTable

    arrays = golden("diet", "mean_over_runs")
    ids = ExampleIds.of_pool(Pool(("a",), arrays["per_run"].shape[1], "0" * 64))
    tables = [
        ScoreTable(ids, run, name="forgetting", important="high", low=0, high=np.inf) for run in arrays["per_run"]
    ]
    np.testing.assert_array_equal(ScoreTable.mean(tables).values, arrays["mean"])
