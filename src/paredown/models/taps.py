"""Where to look into a network: its last linear layer and what goes into it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paredown.errors import MethodError


def last_linear(module: nn.Module) -> nn.Linear:
    """Gives the last linear layer that the module registers, which in the networks of this field makes the logits.

    Raises:
        MethodError: there is no linear layer.
    """
    found = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    if not found:
        raise MethodError(
            f"{_called(module)}: it has no nn.Linear layer, so there are no penultimate features to look at. "
            "Let the network end in one."
        )
    return found[-1]


def features(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Gives the penultimate features, which are what the last linear layer sees, and the logits.

    Args:
        module: takes `x`, gives logits.
        x: (B, C, H, W).

    Returns:
        Features (B, F) and logits (B, classes).

    Raises:
        MethodError: the last linear layer does not make the logits, so that its input means something else.
    """
    seen: list[tuple[Tensor, Tensor]] = []
    handle = last_linear(module).register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    try:
        logits = module(x)
    finally:
        handle.remove()
    if len(seen) != 1 or seen[0][0].dim() != 2 or not _same(seen[0][1], logits):
        raise MethodError(
            f"{_called(module)}: its last nn.Linear layer does not make the logits from one vector an example, so the "
            "penultimate features cannot be told. Register that layer last and call it once."
        )
    return seen[0][0], logits


def _same(output: Tensor, logits: Tensor) -> bool:
    return output is logits or (output.shape == logits.shape and torch.equal(output, logits))


def _called(module: nn.Module) -> str:
    return type(getattr(module, "body", module)).__name__
