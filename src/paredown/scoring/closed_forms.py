"""Squared norms of every single example's gradient, from what went into a layer and what comes back to its output.

Let the batch loss be the sum of the examples' losses, and let no layer mix examples. Then the signal g, the derivative
of that sum by a layer's output, holds for each example its own, and the norm of the example's weight gradient follows:

- linear, input h: ‖g‖² ‖h‖², bias ‖g‖².
- convolution or linear over T positions, U the D inputs and G the C signals at each: ‖G Uᵀ‖_F² ("direct", T·D·C
  products) or Σ_{t,t'} (UᵀU ∘ GᵀG) ("Gram", about T²·(D + C)), whichever is cheaper. Bias: ‖Σ_t G_t‖².
- normalisation with normalised input x̂: Σ_c (Σ_t g x̂)², bias Σ_c (Σ_t g)².
- embedding of the tokens v_t: Σ_{t,t'} [v_t = v_t'] ⟨g_t, g_t'⟩.

"Ghost norm" of Goodfellow 2015 (arXiv 1510.01799), for convolutions Bu et al. 2022 (arXiv 2205.10683). Here UᵀU of a
convolution is read off the Gram matrix of its pixels, which spares the unfolding and most of the products.

Each function takes the arguments of the torch function that it belongs to and gives the norms as a function of g.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from paredown.errors import MethodError

Norms = Callable[[Tensor], dict[str, Tensor]]
"""From the signal at the output to {"weight": (B,), "bias": (B,)}, float64."""

# What an element of a Gram matrix and a weight of a single example's gradient cost beside the products that make them,
# in products: both are written to memory and read again. Measured on a CPU; a wrong guess costs time, never exactness.
ELEMENT = 60
WEIGHT = 300


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Norms:
    """Gives the norms of `functional.linear`; all dimensions between the first and the last are positions."""

    def norms(signal: Tensor) -> dict[str, Tensor]:
        if input.dim() == 2:
            squared = _squared(signal)
            return {"weight": squared * _squared(input), "bias": squared}
        at, back = input.flatten(1, -2).mT, signal.flatten(1, -2).mT
        return {"weight": _outer(at, back), "bias": _squared(back.sum(2))}

    return norms


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Norms | None:
    """Gives the norms of `functional.conv2d`; None for an image without a batch."""
    if input.dim() != 4:
        return None
    kernel, steps, spread = _pair(weight.shape[2:]), _pair(stride), _pair(dilation)
    channels, outputs = weight.shape[1], len(weight) // groups

    def norms(signal: Tensor) -> dict[str, Tensor]:
        examples, _, high, wide = signal.shape
        padded = _padded(input, kernel, spread, padding)
        pixels = padded.reshape(examples * groups, channels, *padded.shape[2:])
        back = signal.reshape(examples * groups, outputs, high * wide)
        if kernel == (1, 1):
            squared = _outer(pixels[:, :, :: steps[0], :: steps[1]].flatten(2), back)
        elif _gram_is_cheaper(kernel, pixels.shape, (outputs, high, wide)):
            squared = _agreement(_windows(pixels, kernel, steps, spread, (high, wide)), back.mT @ back)
        else:
            squared = _convolved(padded, signal, weight, steps, spread, examples * groups)
        return {"weight": squared.view(examples, groups).sum(1), "bias": _squared(signal.sum((2, 3)))}

    return norms


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Norms:
    """Gives the norms of `functional.batch_norm` in inference mode, where the statistics are constants.

    Raises:
        MethodError: it normalises by the batch, so that no example has a gradient of its own.
    """
    if training or running_mean is None or running_var is None:
        raise MethodError(
            "Grand: a batch normalisation uses the statistics of the batch it sees, so an example has no gradient of "
            "its own. Put the network into inference mode, with running statistics."
        )
    mean, variance = running_mean.detach(), running_var.detach()

    def norms(signal: Tensor) -> dict[str, Tensor]:
        # One normalisation in which each channel of each example is a channel: its weight gradients are these sums.
        examples = len(signal)
        as_channels = (1, examples * len(mean), -1)
        ones = torch.ones_like(mean).repeat(examples)
        scale, shift = torch.ops.aten.native_batch_norm_backward(
            signal.reshape(as_channels),
            input.reshape(as_channels),
            ones,
            mean.repeat(examples),
            variance.repeat(examples),
            None,
            None,
            False,
            eps,
            (False, True, True),
        )[1:]
        return {"weight": _squared(scale.view(examples, -1)), "bias": _squared(shift.view(examples, -1))}

    return norms


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Norms | None:
    """Gives the norms of `functional.layer_norm`; None where the normalised part takes in the batch."""
    if input.dim() <= len(normalized_shape):
        return None

    def norms(signal: Tensor) -> dict[str, Tensor]:
        normalised = functional.layer_norm(input, list(normalized_shape), None, None, eps)
        kept = (len(signal), -1, *normalized_shape)
        return {
            "weight": _squared((signal * normalised).reshape(kept).sum(1)),
            "bias": _squared(signal.reshape(kept).sum(1)),
        }

    return norms


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Norms:
    """Gives the norms of `functional.group_norm`."""

    def norms(signal: Tensor) -> dict[str, Tensor]:
        return _by_channel(signal, functional.group_norm(input, num_groups, None, None, eps))

    return norms


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Norms:
    """Gives the norms of `functional.instance_norm`, with its own statistics or running ones."""

    def norms(signal: Tensor) -> dict[str, Tensor]:
        # Running statistics only matter where they are used; passed along otherwise, they would be updated.
        mean, variance = (None, None) if use_input_stats else (running_mean, running_var)
        normalised = functional.instance_norm(input, mean, variance, None, None, use_input_stats, momentum, eps)
        return _by_channel(signal, normalised)

    return norms


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Norms | None:
    """Gives the norms of `functional.embedding`; None where its gradient depends on the other examples."""
    if max_norm is not None or scale_grad_by_freq:
        return None

    def norms(signal: Tensor) -> dict[str, Tensor]:
        tokens = input.reshape(len(input), -1)
        back = signal.reshape(*tokens.shape, -1)
        if padding_idx is not None:
            back = back * (tokens != padding_idx)[:, :, None]
        return {"weight": _agreement(back @ back.mT, (tokens[:, :, None] == tokens[:, None]).to(back.dtype))}

    return norms


FORMS: dict[Callable[..., Tensor], Callable[..., Norms | None]] = {
    functional.linear: linear,
    functional.conv2d: conv2d,
    functional.batch_norm: batch_norm,
    functional.layer_norm: layer_norm,
    functional.group_norm: group_norm,
    functional.instance_norm: instance_norm,
    functional.embedding: embedding,
}


def _squared(values: Tensor) -> Tensor:
    """Σ of squares over all but the first dimension, float64, (B,)."""
    return values.flatten(1).double().square().sum(1)


def _squared_rows(values: Tensor) -> Tensor:
    """The same of large arrays (B, R, S): float32 within a row, float64 over rows, (B,)."""
    return torch.linalg.vector_norm(values, dim=2).double().square().sum(1)


def _by_channel(signal: Tensor, normalised: Tensor) -> dict[str, Tensor]:
    back, at = (part.reshape(*part.shape[:2], -1) for part in (signal, normalised))
    return {"weight": _squared((back * at).sum(2)), "bias": _squared(back.sum(2))}


def _outer(at: Tensor, back: Tensor) -> Tensor:
    """‖G Uᵀ‖_F² for U (B, D, T) and G (B, C, T), by the cheaper of the two ways; float64, (B,)."""
    inputs, positions, outputs = at.shape[1], at.shape[2], back.shape[1]
    if positions**2 * (inputs + outputs) < positions * inputs * outputs:
        return _agreement(at.mT @ at, back.mT @ back)
    return _squared_rows(back @ at.mT)


def _agreement(first: Tensor, second: Tensor) -> Tensor:
    """Σ over T x T of the product of two Gram matrices; rounding may leave a zero slightly negative."""
    return torch.linalg.vecdot(first, second).double().sum(1).clamp_min(0)


def _gram_is_cheaper(kernel: tuple[int, int], pixels: Sequence[int], signal: Sequence[int]) -> bool:
    """Whether the Gram path of one example's convolution costs less than its weight gradient."""
    (_, channels, rows, columns), (outputs, high, wide) = pixels, signal
    inside, positions = (rows * columns) ** 2, (high * wide) ** 2
    elements = inside + kernel[0] * (high * columns) ** 2 + kernel[1] * positions
    weights = channels * kernel[0] * kernel[1] * outputs
    gram = inside * channels + positions * outputs + ELEMENT * elements
    return gram < (high * wide + WEIGHT) * weights


def _windows(
    pixels: Tensor,
    kernel: tuple[int, int],
    steps: tuple[int, int],
    spread: tuple[int, int],
    outputs: tuple[int, int],
) -> Tensor:
    """UᵀU of a convolution, (N, T, T): inner products of windows are sums of inner products of pixels."""
    count, _, high, wide = pixels.shape
    flat = pixels.flatten(2)
    gram = (flat.mT @ flat).view(count, high, wide, high, wide)
    rows = [_every(offset * spread[0], steps[0], outputs[0]) for offset in range(kernel[0])]
    columns = [_every(offset * spread[1], steps[1], outputs[1]) for offset in range(kernel[1])]
    by_row = _sum([gram[:, part, :, part] for part in rows])
    return _sum([by_row[:, :, part, :, part] for part in columns]).flatten(3).flatten(1, 2)


def _every(start: int, step: int, count: int) -> slice:
    return slice(start, start + step * (count - 1) + 1, step)


def _sum(parts: list[Tensor]) -> Tensor:
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total


def _convolved(
    padded: Tensor, signal: Tensor, weight: Tensor, steps: tuple[int, int], spread: tuple[int, int], groups: int
) -> Tensor:
    """‖G Uᵀ‖_F² of each example and group: the weight gradient of one convolution in which every example is a group."""
    outputs = signal.shape[0] * signal.shape[1] // groups
    gradient = torch.ops.aten.convolution_backward(
        signal.reshape(1, -1, *signal.shape[2:]),
        padded.reshape(1, -1, *padded.shape[2:]),
        weight.new_empty(1).expand(groups * outputs, *weight.shape[1:]),  # only its shape is read
        None,
        steps,
        (0, 0),
        spread,
        False,
        (0, 0),
        groups,
        (False, True, False),
    )[1]
    return _squared_rows(gradient.view(groups, outputs, -1))


def _padded(
    input: Tensor, kernel: tuple[int, int], spread: tuple[int, int], padding: str | int | Sequence[int]
) -> Tensor:
    """The input with its padding; where "same" is uneven, the odd pixel stands last."""
    if padding == "valid":
        return input
    if isinstance(padding, str):
        high, wide = (step * (size - 1) for step, size in zip(spread, kernel, strict=True))
        return functional.pad(input, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
    high, wide = _pair(padding)
    return functional.pad(input, (wide, wide, high, high)) if high or wide else input


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    return (value[0], value[0]) if len(value) == 1 else (value[0], value[1])
