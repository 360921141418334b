"""A network that holds its zeros: masked weights are 0 and stay 0, at the cost of a dense network.

The zeros are written once. From then on every gradient of a masked weight is 0, so that no optimizer that moves along
gradients and decays weights moves it: SGD with momentum, Adam and AdamW leave 0 at 0 if they begin after the masks, and
one that remembers gradients from before needs `zero` after each step. Names of parameters stay as they were, so that
checkpoints, averages and resumed trainings know nothing of masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from paredown.artifacts.masks import MaskSet
from paredown.errors import MethodError


class Masked:
    """Masks at work on a network; `remove` ends it and leaves plain weights with exact zeros.

    Args:
        network: whose weights are masked, in place.
        masks: by layer.

    Raises:
        MethodError: the masks are for another architecture.
    """

    def __init__(self, network: nn.Module, masks: MaskSet | Mapping[str, Tensor]) -> None:
        self.network = network
        self.weights = weights_under(network, masks)
        self.masks = {name: _tensor(masks[name], weight) for name, weight in self.weights.items()}
        self.zero()
        self._hooks = [
            # The mask is bound by its default: a closure would see the last one.
            weight.register_hook(lambda grad, mask=self.masks[name]: grad * mask)
            for name, weight in self.weights.items()
            if weight.requires_grad
        ]

    def zero(self) -> None:
        """Writes the zeros again, after something other than an optimizer has changed the weights."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.mul_(self.masks[name])

    def remove(self) -> nn.Module:
        """Ends the masking; the weights are plain, and 0 where they were masked."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self.zero()
        return self.network


def masked(network: nn.Module, masks: MaskSet | Mapping[str, Tensor]) -> Masked:
    """Masks a network's weights, in place: they become 0 and their gradients too, until `remove`.

    Args:
        network: any.
        masks: by layer, of the weights' shapes.

    Raises:
        MethodError: the masks are for another architecture.
    """
    return Masked(network, masks)


@contextmanager
def zeroed(network: nn.Module, masks: MaskSet | Mapping[str, Tensor]) -> Iterator[nn.Module]:
    """Lends the network with its masked weights at 0, and gives them back as they were.

    Raises:
        MethodError: the masks are for another architecture.
    """
    weights = weights_under(network, masks)
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    try:
        with torch.no_grad():
            for name, weight in weights.items():
                weight.mul_(_tensor(masks[name], weight))
        yield network
    finally:
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(before[name])


def zeros_hold(network: nn.Module, masks: MaskSet) -> bool:
    """Says whether every masked weight of a network is exactly 0."""
    weights = weights_under(network, masks)
    return not any(bool(weight.detach().cpu().numpy()[~masks[name]].any()) for name, weight in weights.items())


def weights_under(network: nn.Module, masks: MaskSet | Mapping[str, Tensor]) -> dict[str, nn.Parameter]:
    """Gives the network's weights that masks are for, by layer.

    Raises:
        MethodError: the network has no such layer, or its weight has another shape.
    """
    held = {
        name.removesuffix(".weight"): value for name, value in network.named_parameters() if name.endswith(".weight")
    }
    named = masks.masks if isinstance(masks, MaskSet) else masks
    for name, mask in named.items():
        if name not in held:
            raise MethodError(
                f"The masks are for another architecture: they name '{name}', which this network has not. "
                "Use masks made for this network."
            )
        if tuple(held[name].shape) != tuple(mask.shape):
            raise MethodError(
                f"The masks are for another architecture: that of '{name}' has shape {tuple(mask.shape)}, and the "
                f"weight {tuple(held[name].shape)}. Use masks made for this network."
            )
    return {name: held[name] for name in named}


def _tensor(mask: np.ndarray | Tensor, weight: Tensor) -> Tensor:
    """Gives a mask as numbers of the weight's kind: the product of a number and a bool is far slower."""
    held = torch.from_numpy(mask) if isinstance(mask, np.ndarray) else mask
    return held.to(device=weight.device, dtype=weight.dtype)
