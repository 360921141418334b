"""One step of feature regression with infinite semantic augmentation, line by line as the equations read.

The oracle of `distillation.py`: float32, images as (N, C, H, W), autograd through everything, the real batch in one
piece, the products of the augmentation computed once more for the neighbours. Nothing of paredown is used.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class Network(nn.Module):
    """The widening ConvNet with batch normalisation before every convolution but the first."""

    def __init__(self, width: int, depth: int, classes: int) -> None:
        super().__init__()
        channels = [3, *(width * 2**block for block in range(depth))]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(channels))
        self.norms = nn.ModuleList(nn.BatchNorm2d(c, momentum=0.9) for c in channels[1:-1])
        self.classify = nn.Linear(channels[-1] * (32 // 2**depth) ** 2, classes)

    def features(self, x: Tensor) -> Tensor:
        for block, conv in enumerate(self.convs):
            if block:
                x = self.norms[block - 1](x)
            x = functional.avg_pool2d(functional.relu(conv(x)), 2)
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))


def outer_loss(
    network: Network, x: Tensor, y: Tensor, targets: Tensor, aims: Tensor, *, epsilon: float, topk: float
) -> Tensor:
    """The loss over learnt images x and labels y, given features and labels of a real batch."""
    support = network.features(torch.cat([x, x.flip(3)]))
    labels = torch.cat([y, y])
    gram = support @ support.T
    gram = gram + 1e-6 * torch.trace(gram) / len(gram) * torch.eye(len(gram))
    weights = torch.linalg.solve(gram, labels)

    def predicted(features: Tensor) -> Tensor:
        return (features @ support.T) @ weights

    hardness = (0.5 * (predicted(targets) - aims) ** 2).sum(1).detach()
    kept = hardness.argsort(descending=True, stable=True)[: int(topk * len(aims))]
    h, t = targets[kept], aims[kept]
    unit = h / h.norm(dim=1, keepdim=True)
    near = (unit @ unit.T).topk(2, dim=1).indices[:, 1]
    a = predicted(h) - t
    b = predicted(h - h[near]) - (t - t[near])
    losses = (a**2 + epsilon * a * b + epsilon**2 / 3 * b**2).mean(dim=1)
    best = y.topk(2, dim=1).values
    margin = -torch.minimum(best[:, 0] - best[:, 1], torch.tensor(1 / y.shape[1]))
    return losses.mean() + margin.mean()


class Step:
    """The state of a distillation with one network, and its steps.

    Args:
        network: of the pool.
        x: learnt images (n, 3, 32, 32).
        y: learnt labels (n, C).
        steps: of the whole distillation.
    """

    def __init__(self, network: Network, x: Tensor, y: Tensor, *, steps: int) -> None:
        self.network, self.steps = network, steps
        self.learnt = [x.clone().requires_grad_(), y.clone().requires_grad_()]
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.learnt]
        self.adam = torch.optim.Adam(network.parameters(), lr=3e-4)
        self.step = 0

    def targets(self, images: Tensor) -> Tensor:
        self.network.eval()
        with torch.no_grad():
            return self.network.features(images)

    def outer(self, targets: Tensor, aims: Tensor, *, epsilon: float, topk: float) -> float:
        loss = outer_loss(self.network, *self.learnt, targets, aims, epsilon=epsilon, topk=topk)
        gradients = torch.autograd.grad(loss, self.learnt)
        rate = 3e-4 * (0.9 * 0.5 * (1 + math.cos(math.pi * self.step / self.steps)) + 0.1)
        self.step += 1
        with torch.no_grad():
            for p, g, (m, v) in zip(self.learnt, gradients, self.moments, strict=True):
                m.mul_(0.9).add_(g, alpha=0.1)
                v.mul_(0.999).addcmul_(g, g, value=0.001)
                u = (m / (1 - 0.9**self.step)) / ((v / (1 - 0.999**self.step)).sqrt() + 1e-6)
                p.sub_(rate * p.norm() / u.norm() * u)
        return float(loss.detach())

    def online(self) -> None:
        self.network.train()
        x, y = (p.detach() for p in self.learnt)
        loss = (0.5 * (self.network(x) - y) ** 2).sum(1).mean()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
