"""The bridge to AutoAttack: quiet, undisturbing, and what our quick ensemble agrees with."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
import torch
from tests.robust_digits import EPS, digits, robust_network
from torch import Tensor, nn

from paredown.attacks import Fgsm, quick_ensemble, worst_case
from paredown.attacks.autoattack import AutoAttack
from paredown.errors import MethodError, MissingExtra


@pytest.fixture
def library() -> None:
    pytest.importorskip("pyautoattack")


class First(nn.Module):
    """The robust network, of its first classes only."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        return robust_network()(x)[:, : self.classes]


def of_first(classes: int) -> tuple[Tensor, Tensor]:
    x, y = digits(120)
    return x[y < classes], y[y < classes]


def test_what_nothing_fools_comes_back_clean(library: None) -> None:
    network, (x, y) = robust_network(), digits(24)
    attack = AutoAttack(eps=0.3)
    moved = attack(network, x, y)
    with torch.no_grad():
        still = network(moved).argmax(dim=1) == y
    assert still.sum() < 4
    assert torch.equal(moved[still], x[still])
    assert float((moved - x).abs().max()) <= 0.3 + 1e-6


def test_it_says_nothing_and_lets_go_of_nothing(
    library: None, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    class Probabilities(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return robust_network()(x).softmax(dim=1)

    def trace(*_: Any) -> None:
        return None

    x, y = digits(6)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with caplog.at_level(logging.DEBUG):
            AutoAttack(eps=0.5)(Probabilities(), x, y)
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)
    assert not [record for record in caplog.records if record.name == "auto-attack"]
    assert capsys.readouterr() == ("", "")
    assert not logging.getLogger("auto-attack").disabled


def test_fewer_classes_than_targets(library: None) -> None:
    x, y = of_first(5)
    moved = AutoAttack(eps=0.4)(First(5), x[:8], y[:8])
    assert not torch.equal(moved, x[:8])
    x, y = of_first(3)
    with pytest.raises(MethodError, match=r"AutoAttack: its targeted loss compares four classes.*knows 3.*quick_ens"):
        AutoAttack(eps=0.4)(First(3), x, y)


def test_inside_the_worst_case(library: None) -> None:
    network, (x, y) = robust_network(), digits(30)
    worst = worst_case(network, [Fgsm(eps=EPS["linf"]), AutoAttack(eps=0.3)], x, y)
    assert int((worst.fooled_by == 0).sum()) > 3 and int((worst.fooled_by == 1).sum()) > 0
    assert worst.robust.sum() < 4


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    x, y = digits(2)
    with pytest.raises(MissingExtra, match=r"pyautoattack is needed.*pip install 'paredown\[autoattack\]'"):
        AutoAttack()(robust_network(), x, y)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_quick_ensemble_leaves_as_many(library: None, norm: Any) -> None:
    # Half a point of 200 digits is one digit.
    network, (x, y) = robust_network(), digits(200)
    eps = EPS[norm]
    quick = worst_case(network, quick_ensemble(norm, eps), x, y).robust
    whole = worst_case(network, [AutoAttack(norm=norm, eps=eps)], x, y).robust
    assert 60 < whole.sum() < 160
    assert abs(int(quick.sum()) - int(whole.sum())) <= 1
    assert (quick ^ whole).sum() <= 3
