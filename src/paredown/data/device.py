"""The device that a name stands for."""

from __future__ import annotations

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
