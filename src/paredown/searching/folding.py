"""Batch normalisation folded into the convolution before it, so that a network is attacked in fewer passes over memory.

In inference mode γ (Wx + b - μ) / √(σ² + ε) + β is a convolution with the weights s W and the bias s (b - μ) + β, where
s = γ / √(σ² + ε) (Jacob et al. 2018, section 3.2). Logits and gradients stay the same but for rounding.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

SLACK = 1e-3
"""How far logits may lie apart, as a share of the largest."""


def foldable(network: nn.Module, shape: tuple[int, ...]) -> tuple[tuple[str, str], ...]:
    """Gives names of convolutions and of the normalisations that alone read them; none where folding changes logits.

    They are seen in one pass, in which a normalisation is given the very tensor that a convolution made. Whether
    anything else reads that tensor is found by the comparison.

    Args:
        network: left as it is.
        shape: of one image.
    """
    made = copy.deepcopy(network).eval()
    names = {module: name for name, module in made.named_modules()}
    written: dict[int, tuple[nn.Conv2d, Tensor, int]] = {}
    found: list[tuple[str, str]] = []
    calls: dict[nn.Module, int] = {}

    def wrote(conv: nn.Module, _: Any, output: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        calls[conv] = calls.get(conv, 0) + 1
        written[id(output)] = (conv, output, output._version)

    def reads(norm: nn.Module, given: tuple[Tensor, ...]) -> None:
        calls[norm] = calls.get(norm, 0) + 1
        conv, output, version = written.get(id(given[0]), (None, None, 0))
        if conv is not None and output is given[0] and version == output._version:
            found.append((names[conv], names[norm]))

    for module in made.modules():
        if type(module) is nn.Conv2d:
            module.register_forward_hook(wrote)
        elif type(module) is nn.BatchNorm2d and module.running_mean is not None:
            module.register_forward_pre_hook(reads)
    images = torch.linspace(0, 1, 2 * math.prod(shape), device=next(made.parameters()).device).view(2, *shape)
    with torch.no_grad():
        expected = made(images)
        once = tuple(pair for pair in found if all(calls[made.get_submodule(name)] == 1 for name in pair))
        try:
            fold(made, once)
            apart = float((made(images) - expected).abs().max())
        except (RuntimeError, AttributeError, TypeError, ValueError):
            return ()
    return once if apart <= SLACK * float(expected.abs().max()) else ()


def fold(network: nn.Module, pairs: tuple[tuple[str, str], ...]) -> None:
    """Folds normalisations into convolutions, in place; what is left of them passes everything on.

    Args:
        network: to be used in inference mode only.
        pairs: as `foldable` gives them for a network of this architecture, with as many channels or fewer.
    """
    for conv_name, norm_name in pairs:
        conv, norm = network.get_submodule(conv_name), network.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None and norm.running_var is not None
        with torch.no_grad():
            scale = (norm.running_var + norm.eps).rsqrt()
            scale = scale if norm.weight is None else scale * norm.weight
            shift = -norm.running_mean if conv.bias is None else conv.bias - norm.running_mean
            bias = shift * scale if norm.bias is None else shift * scale + norm.bias
            conv.weight = nn.Parameter(conv.weight * scale.view(-1, 1, 1, 1), conv.weight.requires_grad)
            conv.bias = nn.Parameter(bias, conv.weight.requires_grad)
        network.set_submodule(norm_name, nn.Identity())
