"""On a GPU the scores and the accuracy are those of a CPU, beyond rounding, whatever training switched on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.contracts.cases import SCORERS

from paredown.evaluation import Accuracy
from paredown.method import build
from paredown.runtime import Runtime
from paredown.scoring import score_model
from paredown.testing import example_data, example_network

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]
MODEL_SCORERS = [case for case in SCORERS if "checkpoint" in build("scorer", case).needs]


@pytest.mark.parametrize("case", MODEL_SCORERS, ids=str)
def test_scores_are_those_of_a_cpu(case: dict[str, Any]) -> None:
    scorer, data = build("scorer", case), example_data()
    on_cpu = score_model(scorer, example_network(), data, runtime=Runtime())
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # TF32, as training may leave it
    try:
        for batch_size in (5, 512):
            runtime = Runtime(batch_size=batch_size)
            on_gpu = score_model(scorer, example_network().to("cuda"), data, runtime=runtime)
            np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-4, atol=1e-5)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_accuracy_is_that_of_a_cpu() -> None:
    data = example_data()
    rows, others = (
        Accuracy().measure(example_network().to(device), data, runtime=Runtime(), seed=0) for device in ("cpu", "cuda")
    )
    for row, other in zip(rows, others, strict=True):
        assert row["value"] == pytest.approx(other["value"], rel=1e-3)
