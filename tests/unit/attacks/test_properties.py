"""What must hold of attacks whatever the images: on linear networks, and of several attacks together."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.robust_digits import EPS, digits, robust_network
from torch import Tensor, nn

from paredown.attacks import Apgd, Ball, CarliniWagner, DeepFool, Fgsm, Pgd, Square, losses, quick_ensemble, worst_case
from paredown.attacks.base import AbstractAttack
from paredown.errors import MethodError

NORMS = st.sampled_from(["linf", "l2"])
SEEDS = st.integers(0, 2**20)


class Linear(nn.Module):
    """Logits of four classes, in float64."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        drawn = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(4, 12, generator=drawn, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


def images(seed: int, count: int = 6) -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(seed + 1)
    x = torch.rand(count, 3, 2, 2, generator=drawn, dtype=torch.float64)
    # Some pixels lie at the ends of the box.
    x = (1.4 * x - 0.2).clamp(0, 1)
    return x, torch.randint(0, 4, (count,), generator=drawn)


def loss(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return losses.cross_entropy(network(x), y)


def wrong(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return network(x).argmax(dim=1) != y


@given(seed=SEEDS, norm=NORMS, eps=st.floats(0.01, 0.5), share=st.floats(0.05, 0.5))
@settings(max_examples=30)
def test_more_steps_lower_no_loss_of_a_linear_network(seed: int, norm: Any, eps: float, share: float) -> None:
    # The cross-entropy of linear logits is convex: small steps along the gradient climb until the edge of the ball.
    network, (x, y) = Linear(seed), images(seed)
    reached = loss(network, x, y)
    for steps in (1, 2, 3, 5, 8):
        attack = Pgd(norm=norm, eps=eps, step=share * 0.1 * eps, steps=steps, start="clean")
        higher = loss(network, attack(network, x, y), y)
        assert bool((higher >= reached - 1e-9).all())
        reached = higher


@given(seed=SEEDS, norm=NORMS, eps=st.floats(0.001, 0.9))
@settings(max_examples=30)
def test_projections_are_allowed_and_final(seed: int, norm: Any, eps: float) -> None:
    ball, (x, _) = Ball(norm, eps), images(seed)
    far = x + 3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    near = ball.project(far, x)
    change = (near - x).flatten(1)
    assert float(change.abs().amax() if norm == "linf" else change.norm(dim=1).amax()) <= eps + 1e-9
    assert float(near.min()) >= 0 and float(near.max()) <= 1
    torch.testing.assert_close(ball.project(near, x), near, rtol=0, atol=1e-12)
    torch.testing.assert_close(ball.project(x, x), x, rtol=0, atol=0)
    begun = ball.draw(x, torch.Generator().manual_seed(seed))
    torch.testing.assert_close(ball.project(begun, x), begun, rtol=0, atol=1e-12)


@given(seed=SEEDS, norm=NORMS, momentum=st.sampled_from([0.0, 0.9]))
@settings(max_examples=30)
def test_stopping_early_loses_no_wrong_example(seed: int, norm: Any, momentum: float) -> None:
    # One that has fallen stays where it fell; going on could bring it back.
    network, (x, y) = Linear(seed), images(seed, 20)
    plain = Pgd(norm=norm, eps=0.1, step=0.03, steps=7, momentum=momentum)
    early = Pgd(norm=norm, eps=0.1, step=0.03, steps=7, momentum=momentum, early_stop=True)
    fallen = wrong(network, plain(network, x, y, seed=seed), y)
    assert bool((wrong(network, early(network, x, y, seed=seed), y) >= fallen).all())


@given(seed=SEEDS, norm=NORMS, name=st.sampled_from(["cross-entropy", "margin", "dlr"]))
@settings(max_examples=30)
def test_a_restart_makes_nothing_worse(seed: int, norm: Any, name: Any) -> None:
    network, (x, y) = Linear(seed), images(seed, 20)
    once, thrice = (Pgd(norm=norm, eps=0.1, step=0.05, steps=2, loss=name, restarts=n) for n in (1, 3))
    with torch.no_grad():
        lower = losses.margin(network(once(network, x, y, seed=seed)), y)
        higher = losses.margin(network(thrice(network, x, y, seed=seed)), y)
    assert bool((higher >= lower - 1e-12).all())


@given(seed=SEEDS, norm=NORMS)
@settings(max_examples=20)
def test_auto_pgd_reaches_the_corner_of_the_margin(seed: int, norm: Any) -> None:
    # Of two classes the worst case of a linear network is known: the gradient's direction, cut to the box in L∞.
    network, (x, y) = Linear(seed), images(seed)
    network.weight = nn.Parameter(network.weight[:2])
    y = y % 2
    slope = (network.weight[1 - y] - network.weight[y]).detach().view_as(x)
    x = x.clamp(0.2, 0.8)
    best = Ball(norm, 0.1).project(x + 0.1 * Ball(norm, 1).direction(slope), x)
    found = Apgd(norm=norm, eps=0.1, steps=30)(network, x, y)
    with torch.no_grad():
        worst, reached = losses.margin(network(best), y), losses.margin(network(found), y)
    fallen = reached > 0  # those that fall are given as they fell
    assert bool((fallen == (worst > 0)).all())
    torch.testing.assert_close(reached[~fallen], worst[~fallen], rtol=0, atol=1e-3)


class Watched(nn.Module):
    """Counts the images that it sees."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.sizes = network, list[int]()

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        return self.network(x)


def test_only_those_still_right_go_on() -> None:
    network, (x, y) = robust_network(), digits(80)
    eps = EPS["linf"]
    watched = Watched(network)
    worst = worst_case(watched, [Fgsm(eps=eps), Fgsm(eps=eps, start="random")], x, y)
    clean = int(worst.right.sum())
    fallen = int((worst.fooled_by == 0).sum())
    assert 0 < fallen < clean < 80
    # All once, then what is right: the gradient and its answer; then what the first attack has left.
    assert watched.sizes == [80, clean, clean, clean - fallen, clean - fallen]
    torch.testing.assert_close(worst.images[worst.robust], x[worst.robust], rtol=0, atol=0)
    assert bool((wrong(network, worst.images, y) == ~worst.robust).all())


@pytest.mark.parametrize("loss", ["cross-entropy", "targeted-dlr"])
def test_auto_pgd_takes_no_step_for_what_it_has_fooled(loss: Any) -> None:
    network, (x, y) = robust_network(), digits(60)
    watched = Watched(network)
    attack = Apgd(eps=EPS["linf"], steps=20, loss=loss, targets=3)
    moved = attack(watched, x, y)
    left = int((~wrong(network, moved, y)).sum())
    assert watched.sizes == sorted(watched.sizes, reverse=True) and watched.sizes[-1] == left < 55
    assert torch.equal(moved, attack(network, x, y))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_worst_of_several_is_no_better_than_any(norm: Any) -> None:
    network, (x, y) = robust_network(), digits(50)
    eps = EPS[norm]
    attacks: list[AbstractAttack] = [
        Fgsm(norm=norm, eps=eps),
        Pgd(norm=norm, eps=eps, step=eps / 4, start="clean"),
        *quick_ensemble(norm, eps),
    ]
    robust = worst_case(network, attacks, x, y).robust
    for attack in attacks[:2]:  # these draw nothing, so that each falls on the same digits alone
        left = ~wrong(network, attack(network, x, y), y)
        assert bool((robust <= left).all())
    alone = [float((~wrong(network, attack(network, x, y, seed=5), y)).float().mean()) for attack in attacks]
    assert float(robust.float().mean()) <= min(alone)


def test_every_example_is_robust_to_no_attack() -> None:
    network, (x, y) = robust_network(), digits(30)
    worst = worst_case(network, [], x, y)
    assert bool((worst.robust == worst.right).all())
    assert bool((worst_case(network, [Fgsm()], x[:0], y[:0]).robust == torch.zeros(0, dtype=torch.bool)).all())


def test_square_without_gradients() -> None:
    class Steps(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return robust_network()((x * 16).round() / 16)

    x, y = digits(60)
    x = (x * 255 / 17).round() * 17 / 255
    climbed = Pgd(eps=EPS["linf"], step=0.03)(Steps(), x, y)
    searched = Square(eps=EPS["linf"], queries=200)(Steps(), x, y)
    assert wrong(Steps(), searched, y).sum() > wrong(Steps(), climbed, y).sum() + 3


@pytest.mark.parametrize(
    ("attack", "sentence"),
    [
        (lambda: Pgd(eps=8), r"Pgd\(eps=8\): pixels lie in \[0, 1\].*write 8/255"),
        (lambda: Pgd(eps=-1), r"a radius is a number from 0 up"),
        (lambda: Pgd(eps=None), r"this attack needs a radius, such as 8/255"),
        (lambda: Pgd(norm="l1"), r"not a norm. Use linf or l2"),  # type: ignore[arg-type]
        (lambda: Pgd(step=2), r"Pgd\(step=2\): pixels lie in \[0, 1\]. Write 2/255"),
        (lambda: Pgd(restarts=2, start="clean"), r"every restart would be the same. Start at random"),
        (lambda: Pgd(momentum=1.0), r"a share from 0 to below 1"),
        (lambda: Fgsm(step=0), r"a step has a length above 0"),
        (lambda: Square(queries=0), r"at least one query is needed"),
        (lambda: Square(share=1.5), r"Square\(share=1.5\): a share lies above 0 and is at most 1"),
        (lambda: Apgd(targets=0), r"Apgd\(steps=100, restarts=1, targets=0\): at least one of each"),
        (lambda: DeepFool(steps=0), r"at least one round"),
        (lambda: CarliniWagner(norm="linf"), r"this attack measures in L2 only. Use norm=l2"),
        (lambda: CarliniWagner(lr=0), r"steps, searches, lr and c are above 0"),
    ],
)
def test_settings_that_cannot_be_meant(attack: Any, sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        attack()


def test_images_and_radii_of_other_units() -> None:
    network, (x, y) = robust_network(), digits(2)
    with pytest.raises(MethodError, match=r"lie from -1 to .* must lie in \[0, 1\].*first layer"):
        Pgd()(network, 2 * x - 1, y)
    with pytest.raises(MethodError, match=r"Pgd\(eps=128\): no two images of this size.*write 128/255"):
        Pgd(norm="l2", eps=128)(network, x, y)
