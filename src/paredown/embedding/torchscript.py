"""The weights inside a TorchScript file; the program inside it is left alone.

Such a file is a zip archive: the numbers of each tensor lie in a member of their own, the program in others, and one,
`data.pkl`, says which part of the network holds which tensor under which name. That one is a pickle. It is read by a
reader that makes nothing but tensors, plain values and inert parts, whatever classes and functions it names.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paredown.errors import DataError

TYPES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
}


def is_torchscript(file: Path) -> bool:
    """Says whether a file is TorchScript, by the names of its members."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


def tensors_of(file: Path, where: str) -> dict[str, Tensor]:
    """Gives the parameters and buffers of a TorchScript file by name, as its module's `state_dict` would.

    Args:
        file: what `torch.jit.save` wrote.
        where: the beginning of a message.

    Raises:
        DataError: the file is damaged, or holds no tensors under names.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            index = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            whole = _Inert(archive, index.removesuffix("data.pkl"), archive.read(index)).load()
            found = dict(_named("", whole))
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(
            f"{where}: {file.name} is TorchScript whose weights cannot be read ({error}). Download it again, or give "
            "safetensors or a torch file of a state dict."
        ) from error
    if not found:
        raise DataError(f"{where}: {file.name} is TorchScript without weights. Give the file of the weights.")
    return found


class _Part:
    """A part of the network: its tensors and parts by name. Nothing of the file's own classes is in it."""

    held: Any = None

    def __setstate__(self, held: Any) -> None:
        self.held = held


class _Inert(pickle.Unpickler):
    """Reads what part holds which tensor, and makes nothing else."""

    def __init__(self, archive: zipfile.ZipFile, root: str, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        self.archive, self.root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Part
        if module == "torch" and name in TYPES:
            return TYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle":  # lists of numbers and the like, with their types
            return _first
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, count = pid
        numbers = bytearray(self.archive.read(f"{self.root}data/{key}"))
        return torch.frombuffer(numbers, dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype)


def _tensor(storage: Tensor, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *rest: Any) -> Tensor:
    return storage.as_strided(shape, strides, offset)


def _first(value: Any, *rest: Any) -> Any:
    return value


def _named(name: str, part: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(part, Tensor):
        yield name, part
    elif isinstance(part, _Part) and isinstance(part.held, dict):
        for inner, value in part.held.items():
            yield from _named(f"{name}.{inner}" if name else str(inner), value)
