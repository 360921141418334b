"""GraNd the slow and obvious way: one example at a time, one ordinary backward pass each."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def squared_norms_one_by_one(network: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Gives the squared gradient norm of each example and parameter, float64 (B,)."""
    parameters = {name: value for name, value in network.named_parameters() if value.requires_grad}
    rows: dict[str, list[Tensor]] = {name: [] for name in parameters}
    for image, label in zip(x, y, strict=True):
        one_loss = functional.cross_entropy(network(image[None]), label[None])
        gradients = torch.autograd.grad(one_loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            rows[name].append(gradient.double().square().sum())
    return {name: torch.stack(norms) for name, norms in rows.items()}
