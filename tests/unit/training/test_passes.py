"""What a step does to the network, and nothing more: passes, gradients, running statistics."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from paredown.attacks import Fgsm, Pgd
from paredown.training import CrossEntropy, Fast, Free, Madry, Mart, Passes, Trades

WEAK = Pgd(eps=0.05, step=0.02, steps=4)


class Product(torch.autograd.Function):
    """A matrix product that counts what is asked of it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, counts: Counter[str]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.counts = counts
        counts["forward"] += 1
        return x @ weight.T

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, _ = ctx.needs_input_grad
        ctx.counts.update({"images": int(of_x), "weights": int(of_weight)})
        return gradient @ weight if of_x else None, gradient.T @ x if of_weight else None, None


class Counting(nn.Module):
    """A linear layer that counts its forward passes, the gradients of its input and those of its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 64, generator=torch.Generator().manual_seed(0)))
        self.counts: Counter[str] = Counter()

    def forward(self, x: Tensor) -> Tensor:
        return Product.apply(x.flatten(1), self.weight, self.counts)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("objective", "forward", "images", "weights"),
    [
        (CrossEntropy(), 1, 0, 1),
        (Madry(attack=WEAK), 4 + 1, 4, 1),
        (Madry(attack=WEAK, clean_share=0.5), 4 + 2, 4, 2),
        (Trades(attack=WEAK), 1 + 4 + 2, 4, 2),
        (Trades(attack=WEAK, looks="evaluation"), 1 + 4 + 2, 4, 2),
        (Mart(attack=WEAK), 4 + 2, 4, 2),
        (Fast(), 1 + 1, 1, 1),
        (Fast(noise=0), 1 + 1, 1, 1),
        (Free(), 1, 1, 1),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_no_attack_computes_the_gradient_of_a_weight(objective: Any, forward: int, images: int, weights: int) -> None:
    network = Counting()
    x, y = batch()
    objective.losses(Passes(network), x, y).losses.sum().backward()
    assert network.counts == {"forward": forward, "images": images, "weights": weights}
    assert network.weight.grad is not None


def batch(count: int = 6) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.rand(count, 1, 8, 8, generator=draw), torch.arange(count) % 3


def normed(seed: int = 0) -> nn.Module:
    """A network whose running statistics are not those of the batch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(144, 3)
        )
        nn.init.normal_(network[1].running_mean, 0.0, 0.5)
    network[1].num_batches_tracked.fill_(7)
    return network.train()


LOOKS = st.sampled_from(["training", "evaluation"])


@st.composite
def objectives(draw: st.DrawFn) -> Any:
    norm = draw(st.sampled_from(["linf", "l2"]))
    eps = draw(st.floats(0.01, 0.3))
    attack = Pgd(
        norm=norm, eps=eps, step=eps / 2, steps=draw(st.integers(1, 3)), momentum=draw(st.sampled_from([0.0, 0.9]))
    )
    kind = draw(st.sampled_from([Madry, Trades, Mart, Fast, Free]))
    if kind is Madry:
        return Madry(attack=attack, clean_share=draw(st.sampled_from([0.0, 0.5])), looks=draw(LOOKS))
    if kind is Fast:
        return Fast(attack=Fgsm(norm=norm, eps=eps), noise=draw(st.sampled_from([0.0, 2.0])), looks=draw(LOOKS))
    return Free(attack=Fgsm(norm=norm, eps=eps)) if kind is Free else kind(attack=attack, looks=draw(LOOKS))


@given(objective=objectives(), seed=st.integers(0, 2**20))
@settings(max_examples=25)
def test_only_the_passes_that_train_leave_a_trace(objective: Any, seed: int) -> None:
    network, (x, y) = normed(), batch()
    plain = copy.deepcopy(network)
    weights = list(network.parameters())
    weights[0].requires_grad_(False)
    for number, weight in enumerate(weights[1:]):
        weight.grad = torch.full_like(weight, float(number))
    images, modes = x.clone(), [module.training for module in network.modules()]
    looked: list[Tensor] = []

    class Noted(Passes):
        def logits(self, *batches: Tensor) -> tuple[Tensor, ...]:
            looked.extend(part.detach().clone() for part in batches)
            return super().logits(*batches)

    change = torch.zeros_like(x)
    before = torch.random.get_rng_state()
    with torch.random.fork_rng(devices=[]):
        objective.losses(Noted(network, seed=seed, perturbation=change), x, y)
    assert torch.equal(before, torch.random.get_rng_state())
    # The clean pass, if any, and one of the moved images: as if these alone had been made.
    assert len(looked) == 1 + objective.looks_clean == int(network[1].num_batches_tracked) - 7
    assert not objective.looks_clean or torch.equal(looked[0], x)
    for part in looked:
        plain(part)
    for (name, value), expected in zip(network.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(value, expected), name
    assert torch.equal(images, x) and modes == [module.training for module in network.modules()]
    assert [weight.requires_grad for weight in weights] == [False] + [True] * (len(weights) - 1)
    assert all(bool((weight.grad == number).all()) for number, weight in enumerate(weights[1:]))  # type: ignore[union-attr]
    wide = 1 + objective.noise if isinstance(objective, Fast) and objective.noise else 1.0
    far = (looked[-1] - x).flatten(1)
    length = far.abs().amax() if objective.attack.norm == "linf" else far.norm(dim=1).amax()
    assert float(length) <= wide * objective.attack.eps + 1e-6
    assert float(looked[-1].min()) >= 0 and float(looked[-1].max()) <= 1


def test_two_updates_of_the_running_statistics_in_a_step_of_trades() -> None:
    network, (x, y) = normed(), batch()
    for number in range(1, 4):
        Trades(attack=WEAK).losses(Passes(network), x, y).losses.sum().backward()
        assert int(network[1].num_batches_tracked) == 7 + 2 * number


@pytest.mark.parametrize("looks", ["training", "evaluation"])
@pytest.mark.parametrize("kind", [Madry, Trades, Mart, Fast])
def test_an_attack_sees_the_network_in_the_mode_that_is_asked_for(kind: Any, looks: Any) -> None:
    network, (x, y) = normed(), batch()
    modes: list[bool] = []
    network[1].register_forward_pre_hook(lambda module, given: modes.append(module.training))
    objective = kind(looks=looks)
    objective.losses(Passes(network), x, y)
    trained = 1 + objective.looks_clean
    assert set(modes[:-trained]) == {looks == "training"} and modes[-trained:] == [True] * trained
