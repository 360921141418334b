"""The search for strategies against an independent model of the published one: wall, states, reward, one update."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import GOLDEN
from tests.unit.searching.networks import TOY
from tests.unit.sparsity.networks import WHOLE, described

from paredown.artifacts import Layer, PruningStrategy
from paredown.searching import Problem, rollout
from paredown.searching.ddpg import Ddpg
from paredown.searching.reward import combined

Golden = Callable[[str, str], Mapping[str, np.ndarray]]


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    path = GOLDEN / "robust-prune" / "golden.json"
    if not path.exists():
        pytest.skip("arrays of the original code are not on this machine: robust-prune/golden.json")
    return json.loads(path.read_text())


def problem_of(layers: tuple[Layer, ...], granularity: Any, rate: float, bounds: Any, **more: Any) -> Problem:
    lower, upper = (float(bound) for bound in bounds)
    return Problem(layers, granularity, rate, 32, lower=lower, upper=upper, accounting="published", **more)


def check_rollout(case: str, arrays: Mapping[str, Any]) -> None:
    granularity = "weight" if "_weight_" in case else "channel"
    name, _, rate = case.partition(f"_{granularity}_")
    layers = TOY if name.startswith("toy") else described(name)[0]
    problem = problem_of(layers, granularity, float(rate), arrays["bounds"])
    walk = rollout(problem, np.asarray(arrays["raw"], np.float64))
    expected, ceilings = np.asarray(arrays["strategy"], float), np.asarray(arrays["ceiling"], float)
    if granularity == "channel":
        assert expected[0] == 1 and np.isnan(ceilings[0])
        expected, ceilings = expected[1:], ceilings[1:]
    np.testing.assert_allclose(walk.shares, expected, atol=1e-6)
    np.testing.assert_allclose(walk.ceilings, ceilings, atol=1e-6, rtol=1e-6)
    assert walk.ledger.cost == pytest.approx(float(arrays["est"]), rel=1e-6)
    assert walk.ratio == pytest.approx(float(arrays["ratio"]), abs=1e-6)
    assert problem.wanted == pytest.approx(float(arrays["target"]), abs=1e-6)


def test_rollouts_of_the_toy_network(known: dict[str, Any]) -> None:
    for case in ("toy_weight_0.3", "toy_channel_0.5"):
        found = {key.partition("/")[2]: value for key, value in known["toy_wall"].items() if key.startswith(case)}
        check_rollout(case, found)


def test_rollouts_of_every_network(golden: Golden) -> None:
    arrays = golden("robust-prune", "wall_rollout")
    cases = sorted({key.partition("/")[0] for key in arrays})
    assert cases
    for case in cases:
        check_rollout(
            case, {key.partition("/")[2]: value for key, value in arrays.items() if key.startswith(f"{case}/")}
        )


def test_states(golden: Golden) -> None:
    arrays = golden("robust-prune", "state_embedding")
    seen = 0
    for name in WHOLE:
        for granularity in ("weight", "channel"):
            for state in ("as_coded", "fixed"):
                key = f"{name}_{granularity}_norm_{state}"
                if key in arrays:
                    layers, _ = described(name)
                    side = 224 if name == "ResNet50" else 32
                    problem = Problem(
                        layers,
                        granularity,  # type: ignore[arg-type]
                        0.5,
                        side,
                        accounting="published",
                        state=state.replace("_", "-"),  # type: ignore[arg-type]
                    )
                    np.testing.assert_allclose(problem.rows, arrays[key], atol=1e-9)
                    seen += 1
    assert seen


def test_the_stored_strategy(known: dict[str, Any]) -> None:
    layers, _ = described("vgg16_bn")
    stored = known["example_strategy_vgg16_bn_CIFAR10_channel_05_0"]
    problem = problem_of(layers, "channel", 0.5, (0.1, 1.0))
    strategy = PruningStrategy.from_list(layers, stored, granularity="channel")
    walk = rollout(problem, problem.actions_of(strategy))
    np.testing.assert_allclose(walk.strategy().to_list(layers), stored, atol=2e-6)


def test_targets(known: dict[str, Any]) -> None:
    for name, rates in known["target_rate_channel"].items():
        layers, _ = described(name)
        for rate, expected in rates.items():
            problem = problem_of(layers, "channel", float(rate), (0.05, 1.0))
            assert problem.wanted == pytest.approx(expected, rel=1e-9)


def test_rewards(known: dict[str, Any]) -> None:
    for row in known["reward"]:
        pair = (row["acc"], row["adv"])
        assert combined(*pair, "clean") == pytest.approx(row["acc_mode"])
        assert combined(*pair, "product") == pytest.approx(row["acc_aa"])
        assert combined(*pair, "sum") == pytest.approx(row["acc_plus_aa"])


def test_noise(known: dict[str, Any]) -> None:
    for episode, expected in known["noise_sigma"].items():
        assert Ddpg().sigma(int(episode)) == pytest.approx(expected, rel=1e-9)


def test_one_update(golden: Golden) -> None:
    pytest.importorskip("stable_baselines3")
    from tests.unit.searching.test_agent import agent_of, gradients, linears

    arrays = golden("robust-prune", "ddpg_step")
    # Rates of 0 leave the networks as they are, so that the actor climbs the critic whose gradient is compared.
    agent = agent_of(hidden=4, rates=(0.0, 0.0), capacity=5)
    for network, prefix in (
        (agent.actor, "actor"),
        (agent.actor_target, "actor_t"),
        (agent.critic, "critic"),
        (agent.critic_target, "critic_t"),
    ):
        for module, (weight, bias) in zip(linears(network), layers_of(arrays, prefix), strict=True):
            module.weight.data = torch.from_numpy(weight).float()
            module.bias.data = torch.from_numpy(bias).float()
    for row in range(5):
        done = 1 - arrays["not_terminal"][row]
        agent.replay_buffer.add(arrays["s"][row], arrays["s2"][row], arrays["a"][row], arrays["r"][row], done, [{}])  # type: ignore[union-attr]
    agent.update(1, 5)
    for found, (weight, bias) in zip(
        gradients(agent.critic), layers_of(arrays, "grad_critic", sums=False), strict=True
    ):
        np.testing.assert_allclose(found[0], weight, atol=1e-6)
        np.testing.assert_allclose(found[1], bias, atol=1e-6)
    climbing = zip(gradients(agent.actor), layers_of(arrays, "grad_actor_meanQ"), strict=True)
    for found, (weight, bias) in climbing:
        np.testing.assert_allclose(-found[0], weight, atol=1e-6)
        np.testing.assert_allclose(-found[1], bias, atol=1e-6)
    moved = zip(linears(agent.critic_target), layers_of(arrays, "soft_updated_critic_t"), strict=True)
    for module, (weight, bias) in moved:
        np.testing.assert_allclose(module.weight.detach(), weight, atol=1e-6)
        np.testing.assert_allclose(module.bias.detach(), bias, atol=1e-6)


def layers_of(
    arrays: Mapping[str, np.ndarray], prefix: str, *, sums: bool = True
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Gives weights as torch has them; the critic's two first products become one of state and action together.

    Args:
        arrays: of the original's model.
        prefix: which network.
        sums: the two biases are added; of gradients either is the gradient of the sum.
    """
    if f"{prefix}/Ws" in arrays:
        weight = np.concatenate([arrays[f"{prefix}/Ws"], arrays[f"{prefix}/Wa"]]).T
        bias = arrays[f"{prefix}/bs"] + (arrays[f"{prefix}/ba"] if sums else 0)
        first = [(weight, bias)]
    else:
        first = [(arrays[f"{prefix}/W1"].T, arrays[f"{prefix}/b1"])]
    rest = [(arrays[f"{prefix}/W{number}"].T, arrays[f"{prefix}/b{number}"]) for number in (2, 3)]
    return [(np.ascontiguousarray(weight), bias) for weight, bias in (*first, *rest)]
