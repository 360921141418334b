"""Seconds of a forward pass, measured: whole, layer by layer, and predicted for a pruned network from measured layers.

A figure means little without what it was measured on, so that every one carries the batch, the threads and the kind of
number. Zeros among weights make no pass faster; only what is removed does.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from paredown.artifacts.layers import Layer
from paredown.errors import MethodError
from paredown.sparsity.groups import Group, widths
from paredown.sparsity.layers import shape_of
from paredown.sparsity.trace import LAYERS, traced

GRID = (0.25, 0.5, 0.75, 1.0)
"""Shares of channels at which layers are measured alone; between them seconds are interpolated."""

LEAST = 3
"""Passes that are timed however long they take."""


@dataclass(frozen=True)
class Latency:
    """Seconds of one forward pass.

    Args:
        seconds: the median over repeats.
        fastest: of all repeats.
        batch: images in one pass.
        threads: of torch, on a CPU.
        repeats: passes that were timed, after the warm-up.
        device: `cpu` or the name of a GPU.
        dtype: of weights and images, such as `float32`.
        channels_last: whether channels lay innermost in memory.
        spread: half of what lies between the first and the third quarter of the repeats.
    """

    seconds: float
    fastest: float
    batch: int
    threads: int
    repeats: int
    device: str
    dtype: str
    channels_last: bool
    spread: float

    @property
    def throughput(self) -> float:
        """Images a second."""
        return self.batch / self.seconds


def latency_of(
    network: nn.Module,
    shape: tuple[int, ...] | None = None,
    *,
    batch: int = 1,
    repeats: int = 20,
    warm_up: int = 5,
    channels_last: bool = False,
    within: float = math.inf,
) -> Latency:
    """Measures a forward pass without gradients, where the network lies and in its kind of number.

    Args:
        network: takes images (B, C, H, W).
        shape: channels, height and width of one image; None asks the network.
        batch: images in one pass.
        repeats: passes that are timed.
        warm_up: passes before them, which are not.
        channels_last: lends the network and the images a memory format with channels innermost.
        within: seconds after which no further pass begins; three are timed at least.

    Raises:
        MethodError: no image or no repeat.
    """
    if batch < 1 or repeats < 1:
        raise MethodError(f"latency_of(batch={batch}, repeats={repeats}): at least one image and one pass are needed.")
    weight = next(network.parameters())
    form = torch.channels_last if channels_last else torch.contiguous_format
    images = torch.zeros(batch, *shape_of(network, shape), device=weight.device, dtype=weight.dtype)
    training = [module for module in network.modules() if module.training]
    network.eval()
    if channels_last:
        network.to(memory_format=form)  # type: ignore[call-overload]
    try:
        seconds = _timed(network, images.to(memory_format=form), repeats, warm_up, within)
    finally:
        if channels_last:
            network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        for module in training:
            module.training = True
    return Latency(
        statistics.median(seconds),
        min(seconds),
        batch,
        torch.get_num_threads(),
        len(seconds),
        torch.cuda.get_device_name(weight.device) if weight.is_cuda else "cpu",
        str(weight.dtype).removeprefix("torch."),
        channels_last,
        half_of_the_middle(seconds),
    )


def half_of_the_middle(seconds: Sequence[float]) -> float:
    """Gives half of what lies between the first and the third quarter: one slow pass hardly changes it."""
    if len(seconds) < 2:
        return 0.0
    low, _, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return (high - low) / 2


def layer_latencies(
    network: nn.Module, shape: tuple[int, ...] | None = None, *, batch: int = 1, repeats: int = 20, warm_up: int = 5
) -> dict[str, float]:
    """Gives the median seconds of every layer alone, by name in module order; what lies between layers is not in it.

    Args:
        network: takes images (B, C, H, W).
        shape: channels, height and width of one image; None asks the network.
        batch: images in one pass.
        repeats: passes that are timed.
        warm_up: passes before them, which are not.

    Raises:
        MethodError: the network does not take such images.
    """
    found = {}
    for name, module, given in _layers(network, shape):
        weight = next(module.parameters())
        images = torch.zeros(batch, *given, device=weight.device, dtype=weight.dtype)
        found[name] = statistics.median(_timed(module, images, repeats, warm_up))
    return found


@dataclass(frozen=True)
class LatencyTable:
    """Measured seconds of layers at a few widths, from which a pruned network's are predicted.

    Args:
        seconds: by layer, one row for each share of inputs and one column for each share of outputs in `grid`.
        grid: shares, rising to 1.
        batch: images in one pass.
        threads: of torch.
    """

    seconds: Mapping[str, tuple[tuple[float, ...], ...]]
    grid: tuple[float, ...]
    batch: int
    threads: int

    @classmethod
    def measure(
        cls,
        network: nn.Module,
        shape: tuple[int, ...] | None = None,
        *,
        batch: int = 1,
        repeats: int = 10,
        warm_up: int = 3,
        grid: tuple[float, ...] = GRID,
    ) -> LatencyTable:
        """Measures every layer of a network at every pair of widths; layers of the same form are measured once.

        Raises:
            MethodError: the network does not take such images.
        """
        done: dict[tuple[object, ...], tuple[tuple[float, ...], ...]] = {}
        found = {}
        for name, module, given in _layers(network, shape):
            form = (repr(module), given)
            if form not in done:
                done[form] = tuple(
                    tuple(_alone(module, given, wide, high, batch, repeats, warm_up) for high in grid) for wide in grid
                )
            found[name] = done[form]
        return cls(found, grid, batch, torch.get_num_threads())

    def of(self, layer: Layer, inputs: float, outputs: float) -> float:
        """Gives the seconds of a layer that keeps these shares of its inputs and outputs."""
        rows = self.seconds[layer.name]
        return self._between([self._between(row, outputs) for row in rows], inputs)

    def _between(self, values: Sequence[float], share: float) -> float:
        """Gives the value at a share, by straight lines; below the first share by the first line's, but not below 0."""
        grid = self.grid
        place = min(max(sum(point <= share for point in grid) - 1, 0), len(grid) - 2)
        along = (share - grid[place]) / (grid[place + 1] - grid[place])
        return max(values[place] + along * (values[place + 1] - values[place]), 0.0)

    def of_groups(self, layers: Sequence[Layer], groups: Sequence[Group], counts: Sequence[int]) -> float:
        """Gives the sum over layers when each group keeps so many channels."""
        inputs, outputs = widths(layers, groups, counts)
        return sum(
            self.of(layer, inputs[layer.name] / layer.inputs, outputs[layer.name] / layer.outputs) for layer in layers
        )


def _layers(network: nn.Module, shape: tuple[int, ...] | None) -> list[tuple[str, nn.Module, tuple[int, ...]]]:
    calls = traced(network, shape_of(network, shape)).calls
    modules = {name: module for name, module in network.named_modules() if isinstance(module, LAYERS)}
    return [(name, module, calls[name].given) for name, module in modules.items() if name in calls]


def _alone(
    module: nn.Module, given: tuple[int, ...], wide: float, high: float, batch: int, repeats: int, warm_up: int
) -> float:
    """Measures a layer of the same kind with shares of its inputs and outputs."""
    weight = next(module.parameters())
    bias = getattr(module, "bias", None) is not None
    made, inputs = module, given[0]
    if isinstance(module, nn.Conv2d) and module.groups == 1:  # a grouped convolution keeps its form
        inputs, outputs = max(1, round(wide * module.in_channels)), max(1, round(high * module.out_channels))
        made = nn.Conv2d(
            inputs,
            outputs,
            module.kernel_size,  # type: ignore[arg-type]
            module.stride,  # type: ignore[arg-type]
            module.padding,  # type: ignore[arg-type]
            module.dilation,  # type: ignore[arg-type]
            bias=bias,
        )
    elif isinstance(module, nn.Linear):
        inputs, outputs = max(1, round(wide * module.in_features)), max(1, round(high * module.out_features))
        made = nn.Linear(inputs, outputs, bias=bias)
    images = torch.zeros(batch, inputs, *given[1:], device=weight.device, dtype=weight.dtype)
    return statistics.median(_timed(made.to(weight.device, weight.dtype), images, repeats, warm_up))


def _timed(
    call: Callable[[Tensor], Tensor], images: Tensor, repeats: int, warm_up: int, within: float = math.inf
) -> list[float]:
    wait: Callable[[], object] = torch.cuda.synchronize if images.is_cuda else lambda: None
    seconds: list[float] = []
    begun = time.perf_counter()
    with torch.no_grad():
        for number in range(warm_up + repeats):
            late = time.perf_counter() - begun > within
            if late and len(seconds) >= LEAST:
                break
            wait()
            start = time.perf_counter()
            call(images)
            wait()
            if number >= warm_up or late:
                seconds.append(time.perf_counter() - start)
    return seconds
