"""Where a training runs: one device, or several processes of `torchrun` that share each batch."""

from __future__ import annotations

import atexit
import gc
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn

from paredown.data.device import choose, fast_bfloat16
from paredown.runtime import Runtime

LARGE = 16 * 16
"""Pixels of an image from which on a CPU gains by bfloat16; 8×8 were measured to train no faster."""


@dataclass(frozen=True)
class Place:
    """One process's share of the machinery.

    Args:
        device: where its tensors lie.
        bfloat16: whether the forward pass of training runs in bfloat16.
        rank: which process this is; only number 0 writes files.
        processes: how many there are.
        accelerator: of the `accelerate` library, where there are several.
    """

    device: torch.device
    bfloat16: bool = False
    rank: int = 0
    processes: int = 1
    accelerator: Any = None

    def autocast(self) -> torch.autocast:
        """Gives the context of a forward pass that trains."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

    def spread(self, network: nn.Module) -> nn.Module:
        """Gives the network whose backward pass averages the gradients of all processes."""
        return network if self.accelerator is None else self.accelerator.prepare_model(network)

    def total(self, tensor: torch.Tensor) -> torch.Tensor:
        """Gives the sum over the processes."""
        return tensor if self.accelerator is None else self.accelerator.reduce(tensor, reduction="sum")

    def align(self, network: nn.Module) -> None:
        """Gives every process the first one's running statistics; each has updated its own by its share of a batch."""
        if self.accelerator is None:
            return
        for buffer in network.buffers():
            buffer.copy_(self.total(buffer if self.rank == 0 else torch.zeros_like(buffer)))

    def agree(self, word: bool) -> bool:
        """Gives what the first process says."""
        if self.accelerator is None:
            return word
        return bool(self.total(torch.tensor(float(word and self.rank == 0), device=self.device)) > 0)

    def wait(self) -> None:
        """Returns when every process has come here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()


@contextmanager
def place(runtime: Runtime, *, pixels: int = LARGE) -> Iterator[Place]:
    """Takes the device, and the number of threads, that a runtime asks for, and gives the threads back at the end.

    Args:
        runtime: what is asked for.
        pixels: of one image; where they are few, a CPU is not faster in bfloat16.
    """
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    # All batches have one shape, for which cuDNN may look for the fastest kernels.
    torch.backends.cudnn.benchmark = True
    try:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            yield _one_of_several(runtime, pixels)
        else:
            device = choose(runtime.device)
            yield Place(device, _wants_bfloat16(runtime, device, pixels))
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = benchmark


def _wants_bfloat16(runtime: Runtime, device: torch.device, pixels: int) -> bool:
    if runtime.precision == "auto":
        return fast_bfloat16(device) and (device.type != "cpu" or pixels >= LARGE)
    return runtime.precision == "bfloat16"


@cache
def _leave_at_exit() -> None:
    """Ends the group of processes before the interpreter: one that outlives it takes its process down, now and then."""
    atexit.register(_leave)


def _leave() -> None:
    # Networks that share gradients hold the group, and stand in cycles that only the collector breaks.
    gc.collect()
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _one_of_several(runtime: Runtime, pixels: int) -> Place:
    from accelerate import Accelerator

    _leave_at_exit()
    accelerator = Accelerator(cpu=runtime.device == "cpu")
    device = accelerator.device
    return Place(
        device,
        _wants_bfloat16(runtime, device, pixels),
        accelerator.process_index,
        accelerator.num_processes,
        accelerator,
    )


def in_words(runtime: Runtime) -> dict[str, Any]:
    """Gives the device's name, the threads, and whether training in bfloat16 is faster on it."""
    device = choose(runtime.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device} ({_processor()})"
    return {
        "device": name,
        "threads": runtime.threads or torch.get_num_threads(),
        "fast_bfloat16": fast_bfloat16(device),
    }


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
