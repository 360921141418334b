"""Channels taken out of a network for real: of what writes them, what normalises them and what reads them.

Which channels go together is known from `groups`; what is kept stays in its order and keeps its numbers, so that the
network gives the logits of the one whose readers ignore the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from paredown.artifacts.layers import Layer
from paredown.sparsity.groups import Group


def take_out(network: nn.Module, layers: Sequence[Layer], groups: Sequence[Group], kept: Sequence[Tensor]) -> None:
    """Takes channels out of a network, in place; its weights are new parameters, under the same names.

    Args:
        network: any; it is its code's business not to count on numbers of channels.
        layers: of it, in module order.
        groups: of it.
        kept: for each group which channels stay, bool of shape (size,).
    """
    modules = dict(network.named_modules())
    inputs = {layer.name: _all(layer.inputs) for layer in layers}
    outputs = {layer.name: _all(layer.outputs) for layer in layers}
    norms: dict[str, Tensor] = {}
    for group, stays in zip(groups, kept, strict=True):
        stays = stays.cpu()
        for place in group.readers:
            inputs[place.module][place.offset : place.offset + group.size * place.repeat] &= stays.repeat_interleave(
                place.repeat
            )
        for name in group.writers:
            outputs[name] &= stays
        for place in group.norms:
            size = int(modules[place.module].num_features)
            whole = norms.setdefault(place.module, _all(size))
            whole[place.offset : place.offset + group.size * place.repeat] &= stays.repeat_interleave(place.repeat)
    for layer in layers:
        _narrow(modules[layer.name], inputs[layer.name], outputs[layer.name])
    for name, stays in norms.items():
        _narrow_norm(modules[name], stays)


def _all(size: int) -> Tensor:
    return torch.ones(size, dtype=torch.bool, device="cpu")  # also where a network is built without numbers


def _narrow(module: nn.Module, inputs: Tensor, outputs: Tensor) -> None:
    assert isinstance(module, nn.Conv2d | nn.Linear)
    device = module.weight.device
    rows = torch.nonzero(outputs)[:, 0].to(device)
    weight = module.weight.detach().index_select(0, rows)
    if isinstance(module, nn.Conv2d) and module.groups > 1:
        # Of grouped convolutions only depthwise ones lose channels, which they give as they read them.
        module.groups = module.groups if len(rows) == len(outputs) else len(rows)
    else:
        weight = weight.index_select(1, torch.nonzero(inputs)[:, 0].to(device))
    module.weight = nn.Parameter(weight, module.weight.requires_grad)
    if module.bias is not None:
        module.bias = nn.Parameter(module.bias.detach().index_select(0, rows), module.bias.requires_grad)
    if isinstance(module, nn.Conv2d):
        module.out_channels = len(rows)
        module.in_channels = int(inputs.sum())
    else:
        module.out_features, module.in_features = len(rows), int(inputs.sum())


def _narrow_norm(module: nn.Module, stays: Tensor) -> None:
    rows = torch.nonzero(stays)[:, 0]
    for name, value in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
        if value.dim() == 1:
            held = value.detach().index_select(0, rows.to(value.device))
            setattr(module, name, nn.Parameter(held, value.requires_grad) if isinstance(value, nn.Parameter) else held)
    cast(nn.BatchNorm2d, module).num_features = len(rows)
