"""The layers of a network that can be pruned, in module order: shapes, costs, what each reads."""

from __future__ import annotations

from torch import nn

from paredown.artifacts.layers import Layer, fingerprint
from paredown.errors import MethodError
from paredown.sparsity.trace import LAYERS, Trace, traced

__all__ = ["Layer", "fingerprint", "layers_of", "shape_of"]


def layers_of(network: nn.Module, shape: tuple[int, ...] | None = None) -> tuple[Layer, ...]:
    """Gives every convolution and linear layer that an image passes, in module order.

    One pass on torch's `meta` device finds them; a module that the pass does not reach (the duplicate of a stage that
    some published networks carry) is not among them.

    Args:
        network: takes images (B, C, H, W), gives logits.
        shape: channels, height and width of one image; None asks the network.

    Raises:
        MethodError: the network does not take such images, or has no such layer.
    """
    return described(network, traced(network, shape_of(network, shape)))


def shape_of(network: nn.Module, shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """Gives the shape of one image that a network takes.

    Raises:
        MethodError: it is not told and the network does not say.
    """
    found = getattr(network, "shape", None) if shape is None else shape
    if found is None:
        raise MethodError(
            f"{type(network).__name__}: the shape of an image is needed and the network does not say. Give shape=."
        )
    return tuple(found)


def described(network: nn.Module, trace: Trace) -> tuple[Layer, ...]:
    """Gives the layers that a pass has found."""
    modules = {name: module for name, module in network.named_modules() if isinstance(module, LAYERS)}
    order = [name for name in modules if name in trace.calls]
    if not order:
        raise MethodError(f"{type(network).__name__}: it has no convolution and no linear layer, so nothing to prune.")
    found = []
    for name in order:
        module, call = modules[name], trace.calls[name]
        if isinstance(module, nn.Conv2d):
            kernel = (int(module.kernel_size[0]), int(module.kernel_size[1]))
            inputs, outputs, groups = module.in_channels, module.out_channels, module.groups
        else:
            assert isinstance(module, nn.Linear)
            kernel, inputs, outputs, groups = (1, 1), module.in_features, module.out_features, 1
        weights = kernel[0] * kernel[1] * (inputs // groups) * outputs
        found.append(
            Layer(
                name=name,
                kind="conv" if isinstance(module, nn.Conv2d) else "linear",
                kernel=kernel,
                inputs=inputs,
                outputs=outputs,
                groups=groups,
                side=call.side,
                weights=weights,
                macs=weights * call.positions,
                reads=tuple(other for other in order if other in call.reads.last),
                beside=trace.beside.get(name, ""),
            )
        )
    return tuple(found)
