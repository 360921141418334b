"""Which statistics batch normalisation uses while a network is scored; in every mode they are constants.

- `running`: the checkpoint's own, gathered while it trained. The original's choice. At initialisation they are mean 0
  and variance 1, which turns normalisation off, and scores then follow the norm of the input (Kirsch 2023).
- `batch`: those of a block of about 500 examples, as in training. The blocks are fixed by the ids of the data, never by
  the inference batch, so that neither the batch size nor the order of the rows can change a score.
- `recalibrated`: over all the data that is scored, un-augmented: for each layer the mean and variance over the same
  blocks together, each block passing the layers before under its own statistics.

Because they are constants, no example's score (or gradient) depends on its neighbours in an inference batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from paredown.errors import MethodError
from paredown.scoring.draws import uniform_by_id

Statistics = Literal["running", "batch", "recalibrated"]

BLOCK = 500
"""Examples whose statistics are taken together; part of the definition of `batch` and `recalibrated`."""


def blocks(keys: np.ndarray) -> list[np.ndarray]:
    """Gives positions in blocks of about `BLOCK`, equal in size, mixed by id so that sorted data mixes its classes.

    Args:
        keys: the ids, shape (N,).
    """
    order = np.argsort(uniform_by_id(keys, 0, "statistics"), kind="stable")
    return np.array_split(order, -(-len(keys) // BLOCK))


def normalisations(network: nn.Module) -> list[_BatchNorm]:
    """Gives the batch normalisation layers.

    Raises:
        MethodError: one keeps no running statistics, so that it would mix the examples of an inference batch.
    """
    found = {name: module for name, module in network.named_modules() if isinstance(module, _BatchNorm)}
    for name, module in found.items():
        if module.running_mean is None or module.running_var is None:
            raise MethodError(
                f"Layer '{name}' normalises by the batch it happens to be in, because track_running_stats is off, so a "
                "score would depend on the batch. Turn track_running_stats on."
            )
    return list(found.values())


@contextmanager
def restored(network: nn.Module) -> Iterator[None]:
    """Puts the network into inference mode, and afterwards gives back its modes and statistics as they were."""
    modes = [(module, module.training) for module in network.modules()]
    kept = [
        (buffer, buffer.clone())
        for module in normalisations(network)
        for buffer in (module.running_mean, module.running_var)
        if buffer is not None
    ]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for buffer, before in kept:
            buffer.copy_(before)


@torch.no_grad()
def calibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Sets the statistics of every normalisation layer to those of some batches together.

    The network is in inference mode. The variance is the biased one, which is what training normalises by.

    Args:
        network: changed in place.
        batches: inputs of the network; each passes the layers under its own statistics.
    """
    layers = normalisations(network)
    sums: dict[_BatchNorm, tuple[int, Tensor, Tensor]] = {}

    def gather(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(module, _BatchNorm)
        values = inputs[0].detach().float()
        axes = [axis for axis in range(values.ndim) if axis != 1]
        variance, mean = torch.var_mean(values, axes, correction=0)
        size = values.numel() // values.shape[1]
        _write(module, mean, variance)
        # Whole-data moments on the host in float64: a mean of squares in float32 would lose the variance.
        mean, variance = mean.cpu().double(), variance.cpu().double()
        count, first, second = sums.get(module, (0, torch.zeros_like(mean), torch.zeros_like(mean)))
        sums[module] = (count + size, first + size * mean, second + size * (variance + mean**2))

    hooks = [layer.register_forward_pre_hook(gather) for layer in layers]
    try:
        for batch in batches:
            network(batch)
    finally:
        for hook in hooks:
            hook.remove()
    for module, (count, first, second) in sums.items():
        mean = first / count
        _write(module, mean, (second / count - mean**2).clamp_min(0))


def _write(module: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    assert module.running_mean is not None and module.running_var is not None
    module.running_mean.copy_(mean)
    module.running_var.copy_(variance)
