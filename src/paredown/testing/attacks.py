"""The contract of an attack."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from paredown.attacks import AbstractAttack
from paredown.attacks.losses import margin
from paredown.models import Network
from paredown.rng import stream
from paredown.testing.promises import check_plain, promise

IMAGES, CLASSES = 12, 5
SLACK = 1e-6
"""What rounding may add to a distance, in units of [0, 1] pixels."""


def check_attack(attack: AbstractAttack) -> None:
    """Checks an attack.

    - It is plain data: `build` gives it back from `plain()`.
    - Its images lie in the ball (but for 1e-6) and in [0, 1], have the shape and dtype of the clean ones, and carry no
      gradient; in float32 and in float64.
    - Rightly classified examples do not come out more surely right: neither their accuracy nor their mean margin rises.
    - The network keeps its weights, gradients, flags, modes and batch statistics, in inference and in training mode.
    - The same seed gives the same; torch's own random numbers go on as if nothing had been drawn; images and labels are
      only read.
    - A radius of 0 gives the clean images; no images give none.

    Raises:
        BrokenPromise: one of these does not hold.
    """
    check_plain(attack)
    for dtype in (torch.float32, torch.float64):
        _check_images(attack, dtype)
    _check_network(attack, training=False)
    _check_network(attack, training=True)
    _check_drawing(attack)
    network, x, y = _example()
    name = type(attack).__name__
    still = replace(attack, eps=0.0)(network, x, y)  # type: ignore[type-var]
    promise(torch.equal(still, x), name, "with a radius of 0 it does not give the clean images")
    none = attack(network, x[:0], y[:0])
    promise(none.shape == x[:0].shape, name, f"of no images it gives shape {tuple(none.shape)}")


def _check_images(attack: AbstractAttack, dtype: torch.dtype) -> None:
    name = type(attack).__name__
    network, x, y = _example(dtype)
    images, labels = x.clone(), y.clone()
    moved = attack(network, images, labels, seed=3)
    promise(torch.equal(images, x) and torch.equal(labels, y), name, "it writes into the images or labels")
    same = moved.shape == x.shape and moved.dtype == x.dtype
    promise(same, name, f"of {x.dtype} images it gives {moved.dtype} of shape {tuple(moved.shape)}")
    promise(not moved.requires_grad, name, "its images carry a gradient")
    promise(bool(((moved >= 0) & (moved <= 1)).all()), name, "its images leave [0, 1], or are not numbers")
    change = (moved - x).flatten(1)
    far = change.abs().amax(dim=1) if attack.norm == "linf" else change.norm(dim=1)
    promise(float(far.max()) <= attack.ball.eps + SLACK, name, f"it leaves its ball: {float(far.max()):g} away")
    with torch.no_grad():
        before, after = margin(network(x), y), margin(network(moved), y)
    right = before < 0
    promise(bool((after[right] < 0).sum() <= right.sum()), name, "it raises accuracy")
    risen = float(after[right].mean()) >= float(before[right].mean()) - SLACK
    promise(risen, name, "rightly classified examples come out more surely right than they went in")


def _check_network(attack: AbstractAttack, *, training: bool) -> None:
    name = f"{type(attack).__name__}, of a network in {'training' if training else 'inference'} mode"
    network, x, y = _example()
    network.train(training)
    parameters = list(network.parameters())
    parameters[0].requires_grad_(False)
    for number, parameter in enumerate(parameters[1:]):
        parameter.grad = torch.full_like(parameter, float(number))
    state = {key: value.clone() for key, value in network.state_dict().items()}
    modes, flags = [m.training for m in network.modules()], [p.requires_grad for p in parameters]
    tracked = [m.track_running_stats for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    attack(network, x, y)
    same = all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    promise(same, name, "it changes weights or batch statistics")
    promise(modes == [m.training for m in network.modules()], name, "it changes modes")
    promise(flags == [p.requires_grad for p in parameters], name, "it changes which weights need a gradient")
    known = tracked == [m.track_running_stats for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    promise(known, name, "it changes whether batch statistics are gathered")
    kept = parameters[0].grad is None and all(
        p.grad is not None and bool((p.grad == number).all()) for number, p in enumerate(parameters[1:])
    )
    promise(kept, name, "it writes into the gradients of weights")


def _check_drawing(attack: AbstractAttack) -> None:
    name = type(attack).__name__
    network, x, y = _example()
    state = torch.random.get_rng_state()
    first = attack(network, x, y, seed=7)
    promise(torch.equal(state, torch.random.get_rng_state()), name, "it draws from torch's own random numbers")
    promise(torch.equal(first, attack(network, x, y, seed=7)), name, "the same seed gives other images")


def _example(dtype: torch.dtype = torch.float32) -> tuple[Network, Tensor, Tensor]:
    """A network in inference mode, images that touch the box, and labels of which one in four is not the network's."""
    rng = stream(0, "contract", "attack")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.SiLU(), nn.Flatten(), nn.Linear(54, CLASSES)
        )
        nn.init.normal_(body[1].running_mean, 0, 0.3)  # type: ignore[arg-type]
    network = Network(body, shape=(3, 8, 8), classes=CLASSES, mean=(0.5,) * 3, std=(0.25,) * 3).to(dtype).eval()
    levels = rng.integers(0, 256, (IMAGES, 3, 8, 8)).clip(30, 225) - 30
    x = torch.from_numpy(levels / 195).to(dtype)
    with torch.no_grad():
        y = network(x).argmax(dim=1)
    y[::4] = (y[::4] + 1) % CLASSES
    return network, x, y
