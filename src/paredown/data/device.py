"""The device that a name stands for, and whether it is fast in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from paredown.errors import MethodError


def choose(name: str) -> torch.device:
    """Gives the device of a name; `auto` is a GPU where there is one.

    Raises:
        MethodError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise MethodError(f"Runtime(device={name!r}): there is no such device here. Use auto or cpu.") from error
    return device


@contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """Lets torch use so many cores of a CPU, and gives them back at the end; none leaves it as it is."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fast_bfloat16(device: torch.device) -> bool:
    """Says whether products of matrices in bfloat16, and training by them, are faster than in float32 there.

    A GPU since Ampere; a CPU with AMX or AVX512-BF16 (convnet, small-resnet and resnet18 at 28×28 and 32×32 train 1.6
    to 2 times as fast there as in float32, `benchmarks/recording.py`). Other CPUs only emulate it.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, test, lambda: False)() for test in tests)
    return False
