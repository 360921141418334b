"""Checkpoints that others published as a dictionary of weights: read without running code, renamed, and checked."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from paredown.artifacts.checkpoint import Checkpoint
from paredown.errors import ArtifactError, MethodError
from paredown.models.build import AbstractModel, load
from paredown.models.published_names import renamed

INSIDE = ("model_state_dict", "state_dict", "model", "net")
"""Names under which training scripts put the weights beside other things; averaged weights are the first of them."""
WRAPPED = re.compile(r"^(?:module\.)?(?:\d+\.)?")
"""What `DataParallel` and a `Sequential` around the network put before each name."""


def load_published(
    path: str | Path,
    model: AbstractModel,
    *,
    shape: tuple[int, int, int],
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    step: int = 0,
) -> Checkpoint:
    """Gives a checkpoint from a published file of weights, such as those of robust wide ResNets.

    Such files hold no normalisation: there it is a constant of the code. `WideResNet`, `PreActSwish` and `Vgg16Bn` have
    the names of published ones, those of HYDRA and TRADES are translated, and prefixes such as `module.0.` taken off.

    Args:
        path: `.safetensors`, or what `torch.save` wrote; of that only tensors are read, no code is run.
        model: the architecture.
        shape: channels, height and width of one image.
        classes: how many logits it gives.
        mean: per channel, in units of [0, 1] pixels.
        std: per channel, in the same units; ones and zeros for a network that sees raw pixels.
        step: after how many optimiser steps, where that is known.

    Raises:
        ArtifactError: the file is missing, damaged, no dictionary of weights, or of another architecture.
        MethodError: the normalisation does not fit the channels.
    """
    if len(mean) != shape[0] or len(std) != shape[0] or min(std) <= 0:
        raise MethodError(
            f"load_published(mean={tuple(mean)}, std={tuple(std)}): {shape[0]} channels need so many means and "
            "deviations above 0. The code that was published with the weights has them."
        )
    path = Path(path).expanduser()
    weights = {f"body.{name}": array for name, array in renamed(model, _unwrapped(path, _read(path))).items()}
    weights |= {
        "mean": np.array(mean, np.float32).reshape(-1, 1, 1),
        "std": np.array(std, np.float32).reshape(-1, 1, 1),
    }
    checkpoint = Checkpoint(model.plain(), shape=shape, classes=classes, weights=weights, step=step)
    try:
        load(checkpoint)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: not of this architecture. {error}") from error
    return checkpoint


def _read(path: Path) -> Mapping[str, Any]:
    """Gives what the file holds."""
    if not path.is_file():
        raise ArtifactError(f"{path}: there is no such file. Download the weights first.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ArtifactError(
            f"{path}: it holds more than tensors, and reading that would run its code, or it is no file of torch. "
            "Save its state dict alone."
        ) from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path}: damaged, truncated or no file of weights. Download it again.") from error
    for name in INSIDE:
        if isinstance(held, Mapping) and isinstance(held.get(name), Mapping):
            held = held[name]
    if not isinstance(held, Mapping) or not held or not all(isinstance(value, Tensor) for value in held.values()):
        raise ArtifactError(
            f"{path}: no dictionary from names to weights, bare or under one of {', '.join(INSIDE)}. "
            "Save the network's state dict alone."
        )
    return held


def _unwrapped(path: Path, held: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Gives arrays by names without what all of them begin with."""
    prefixes = {WRAPPED.match(name)[0] for name in held}  # type: ignore[index]
    prefix = prefixes.pop() if len(prefixes) == 1 else ""
    found = {}
    for name, value in held.items():
        value = value.detach()
        array = (value.float() if value.is_floating_point() else value).cpu().numpy()
        if not np.isfinite(array).all():
            raise ArtifactError(f"{path}: '{name}' holds numbers that are not finite. Download the weights again.")
        found[name.removeprefix(prefix)] = np.array(array)
    return found
