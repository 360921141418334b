"""On a GPU attacks stay in their ball and fool the network about as often as on a CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.contracts.cases import ATTACKS
from tests.robust_digits import EPS, digits, robust_network
from torch import Tensor

from paredown.attacks import quick_ensemble, worst_case
from paredown.attacks.base import AbstractAttack
from paredown.attacks.losses import margin
from paredown.method import build

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]


@pytest.mark.parametrize("case", ATTACKS, ids=str)
def test_attacks_stay_in_their_ball(case: dict[str, Any]) -> None:
    if case["name"] == "autoattack":
        pytest.importorskip("pyautoattack")
    attack: AbstractAttack = build("attack", case)
    network = robust_network().cuda()
    try:
        x, y = (part.cuda() for part in digits(32))
        state = torch.cuda.get_rng_state()
        moved = attack(network, x, y)
        assert moved.device == x.device and torch.equal(state, torch.cuda.get_rng_state())
        change = (moved - x).flatten(1)
        far = change.abs().amax() if attack.norm == "linf" else change.norm(dim=1).amax()
        assert float(far) <= attack.ball.eps + 1e-6
        with torch.no_grad():
            before, after = margin(network(x), y), margin(network(moved), y)
        assert float(after[before < 0].mean()) >= float(before[before < 0].mean()) - 1e-5
    finally:
        network.cpu()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_as_many_fall_as_on_a_cpu(norm: Any) -> None:
    def left(device: str) -> Tensor:
        network = robust_network().to(device)
        try:
            x, y = (part.to(device) for part in digits(200))
            return worst_case(network, quick_ensemble(norm, EPS[norm]), x, y).robust.cpu()
        finally:
            network.cpu()

    assert abs(int(left("cpu").sum()) - int(left("cuda").sum())) <= 2
