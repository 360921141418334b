"""The state of an unfinished training: one file, written beside and then renamed, so that it is whole or not there.

Cursor and tensors are one file because they must never be of different steps. No state of a random generator is in it:
every draw is a function of the seed and the step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

STATE = "resume.safetensors"


def write_state(folder: Path, tensors: Mapping[str, torch.Tensor], cursor: Mapping[str, Any]) -> None:
    """Writes tensors and cursor in place of what was there."""
    beside = folder / (STATE + ".new")
    # Copies, because the format refuses tensors that share memory, as tied weights do.
    held = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    save_file(held, beside, metadata={"cursor": json.dumps(cursor)})
    beside.replace(folder / STATE)


def read_state(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """Reads what `write_state` wrote; nothing when there is none or a power failure damaged it."""
    if not (folder / STATE).exists():
        return None
    try:
        with safe_open(folder / STATE, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["cursor"])  # noqa: SIM118
    except (SafetensorError, OSError):
        return None


def remove_state(folder: Path) -> None:
    """Removes the state: the training is finished."""
    for name in (STATE + ".new", STATE):
        (folder / name).unlink(missing_ok=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Gives the tensors of an optimizer's state under flat names."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{name}": value
        for index, slots in state.items()
        for name, value in slots.items()
        if isinstance(value, torch.Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Takes back what `optimizer_tensors` gave.

    A slot that has its parameter's shape also gets its memory format: otherwise torch would run other kernels than
    before the interruption, which differ in the last bits.
    """
    slots: dict[int, dict[str, torch.Tensor]] = {}
    parameters = [weight for group in optimizer.param_groups for weight in group["params"]]
    for path, value in tensors.items():
        kind, _, rest = path.partition(".")
        if kind != "optimizer":
            continue
        index, _, name = rest.partition(".")
        weight = parameters[int(index)]
        if value.shape == weight.shape:
            value = torch.empty_like(weight, memory_format=torch.preserve_format).copy_(value)
        slots.setdefault(int(index), {})[name] = value.detach()
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
