"""A scorer in a file outside the package works by its path alone, and is held to the shipped contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paredown.errors import MethodError
from paredown.method import build
from paredown.runtime import Runtime
from paredown.scoring import score_model
from paredown.testing import check_scorer, example_data, example_network

FILE = """
from dataclasses import dataclass

from torch.nn.functional import cross_entropy

from paredown.scoring import AbstractModelScorer


@dataclass(frozen=True)
class PoweredLoss(AbstractModelScorer):
    power: float = 2.0

    important, low, high = "high", 0.0, float("inf")

    def values(self, network, x, y):
        return cross_entropy(network(x), y, reduction="none") ** self.power
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_own_scores.py").write_text(FILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "my_own_scores"


def test_it_is_built_by_its_path_and_keeps_the_contract(module: str) -> None:
    scorer = build("scorer", {"name": f"{module}:PoweredLoss", "power": "1/2"})
    assert scorer.plain() == {"name": f"{module}:PoweredLoss", "power": 0.5}
    assert build("scorer", scorer.plain()) == scorer
    check_scorer(scorer)


def test_it_scores_like_one_of_ours(module: str) -> None:
    data, network = example_data(), example_network()
    own, ours = (
        score_model(build("scorer", name), network, data, runtime=Runtime())
        for name in (f"{module}:PoweredLoss", "loss")
    )
    np.testing.assert_allclose(own, ours**2, rtol=1e-6)


def test_a_wrong_path_says_so(module: str) -> None:
    with pytest.raises(MethodError, match=r"module 'my_own_scores' has no 'PowerdLoss'. Did you mean 'PoweredLoss'"):
        build("scorer", f"{module}:PowerdLoss")
    with pytest.raises(MethodError, match="no module 'my_other_scores'"):
        build("scorer", "my_other_scores:PoweredLoss")
