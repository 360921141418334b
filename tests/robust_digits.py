"""A small network that is robust on digits, trained on the spot: what attacks and their measurements are tried on."""

from __future__ import annotations

from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from paredown.attacks import Ball, ascend, losses
from paredown.data import ImageDataset
from paredown.data.digits import Digits
from paredown.models import Network
from paredown.rng import stream

EPS = {"linf": 0.12, "l2": 0.7}
"""Radii at which the network is right on some digits and not on others."""


@cache
def robust_network() -> Network:
    """Gives a convolutional network after six epochs of adversarial training in L∞, in inference mode."""
    data = Digits().load()
    x, y = pixels(data)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(256, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )
    network = Network(body, shape=(1, 8, 8), classes=10, mean=(0.3,), std=(0.37,))
    adam = torch.optim.Adam(network.parameters(), lr=3e-3)
    ball = Ball("linf", EPS["linf"])
    for epoch in range(6):
        order = torch.from_numpy(stream(0, "robust digits", epoch).permutation(len(x)))
        for rows in order.split(64):
            climbed = partial(losses.cross_entropy, y=y[rows])
            moved = ascend(network, x[rows], x[rows], climbed, ball=ball, step=0.05, steps=4)
            adam.zero_grad()
            functional.cross_entropy(network(moved), y[rows]).backward()
            adam.step()
    for parameter in network.parameters():
        parameter.grad = None
    return network.eval()


def pixels(data: ImageDataset, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Gives the first images as (B, C, H, W) in [0, 1], and their labels."""
    x = torch.from_numpy(data.images[:count]).permute(0, 3, 1, 2).float() / 255
    return x.contiguous(), torch.from_numpy(data.labels[:count])


def digits(count: int) -> tuple[Tensor, Tensor]:
    """Gives test images and their labels."""
    return pixels(Digits(split="test").load(), count)
