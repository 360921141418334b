"""Encoders whose weights lie in a file: reading it without running code, its content as identity, images as squares."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from paredown.artifacts.checkpoint import Checkpoint
from paredown.artifacts.embeddings import EmbeddingMatrix
from paredown.data.dataset import AbstractDataset, AbstractDecoded, AbstractImages
from paredown.data.device import choose
from paredown.data.loader import OnDevice, runs, unit
from paredown.data.squares import Square
from paredown.data.stored_images import IMAGENET_STATISTICS, StoredImages
from paredown.data.streaming import Streamed
from paredown.embedding.base import AbstractEncoder, assemble, made_by
from paredown.embedding.torchscript import is_torchscript, tensors_of
from paredown.errors import DataError, MethodError
from paredown.models.torchvision_names import resnet_of
from paredown.runtime import Runtime

FOLDER_FILES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin")
"""Under which names the weights lie in a folder, as Hugging Face and OpenCLIP publish them."""
NESTED = ("state_dict", "model_state_dict", "model")
"""Under which keys training code keeps the weights beside other things."""


class Tower(NamedTuple):
    """A network with weights, and what it wants to see.

    Args:
        module: takes normalised squares (B, 3, S, S), gives vectors (B, D).
        square: how an image becomes a square.
        mean, std: per channel, in units of [0, 1] pixels.
    """

    module: nn.Module
    square: Square
    mean: tuple[float, ...] = IMAGENET_STATISTICS[0]
    std: tuple[float, ...] = IMAGENET_STATISTICS[1]


class AbstractVisionEncoder(AbstractEncoder):
    """Makes one vector of each image by a network whose weights lie in a file: write `tower`.

    The content of the file, not its path, is part of the encoder's identity. Nothing is downloaded, and nothing in the
    file is run: safetensors, a torch file that holds tensors only, or the tensors of a TorchScript file. Images in
    memory are brought to size on the device, those that stay encoded as they are decoded.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"data"})

    weights: str
    normalise: bool
    dtype: Literal["float32", "float16"]

    @abstractmethod
    def tower(self) -> Tower:
        """Reads the weights and gives the network."""

    @property
    def where(self) -> str:
        """The beginning of a message."""
        return f"{type(self).__name__}(weights={self.weights!r})"

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"weights": content(weights_file(self.weights, self.where))}

    def embed(
        self,
        data: AbstractDataset,
        *,
        checkpoint: Checkpoint | None = None,
        runtime: Runtime,
        folder: Path | None = None,
    ) -> EmbeddingMatrix:
        if not isinstance(data, AbstractImages):
            raise MethodError(f"{type(self).__name__} is of images, and {data.name} has {data.noun}. Give images.")
        module, square, mean, std = self.tower()
        device = choose(runtime.device)
        module = module.to(device).eval()
        shift, scale = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (mean, std))
        half = torch.autocast(device.type, torch.bfloat16, enabled=runtime.precision == "bfloat16")

        def produce(start: int) -> Iterator[np.ndarray]:
            parts = runs(len(data), runtime.batch_size, start=start)
            for x in squares(data, square, parts, device, runtime.workers):
                with torch.inference_mode(), half:
                    vectors = module((x - shift) / scale).float()
                vectors = functional.normalize(vectors, dim=1) if self.normalise else vectors
                yield self._stored(vectors.cpu().numpy())

        return assemble(
            data.ids,
            produce,
            metric="cosine" if self.normalise else "euclidean",
            normalised=self.normalise,
            encoder=made_by(self),
            runtime=runtime,
            folder=folder,
        )

    def _stored(self, vectors: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # what does not fit is told below
            stored = vectors.astype(self.dtype, copy=False)
        if not np.isfinite(stored).all():
            raise MethodError(
                f"{self.where}: a vector is not finite in {self.dtype}, because its network gave numbers that are too "
                "large or none at all. Check that the weights belong to this encoder, or use dtype=float32."
            )
        return stored


@dataclass(frozen=True)
class PretrainedResNet(AbstractVisionEncoder):
    """The penultimate features of a ResNet for ImageNet, from a file of weights in torchvision's names.

    Of ResNet-18, -34, -50, -101 or -152, which the shapes tell; images with the shorter side at 256, the middle 224,
    bilinear. 512 or 2048 numbers an image.

    Args:
        weights: the file: safetensors, or a torch file of tensors.
        normalise: divide each vector by its length.
        dtype: how the vectors are stored.
    """

    weights: str
    normalise: bool = False
    dtype: Literal["float32", "float16"] = "float32"

    def tower(self) -> Tower:
        trunk = resnet_of(read_weights(self.weights, self.where), self.where)
        trunk.linear = nn.Identity()  # type: ignore[assignment]
        return Tower(trunk, Square(224, 256))


def squares(
    data: AbstractImages, square: Square, parts: Iterable[np.ndarray], device: torch.device, workers: int
) -> Iterator[Tensor]:
    """Gives images as squares on a device: float32 (B, 3, S, S) in [0, 1].

    Args:
        data: the images; grey ones become colour.
        square: how an image becomes a square.
        parts: positions of each batch.
        device: where they are wanted.
        workers: threads that decode what is not in memory.
    """
    if isinstance(data, StoredImages):
        yield from (x for x, _ in Streamed(data.at(square), device, workers).batches(parts))
    elif isinstance(data, AbstractDecoded):
        there = OnDevice(data, device)
        yield from (brought(unit(there.raw(part)), square) for part in parts)
    else:
        raise MethodError(f"{data.name} holds images that cannot be brought to another size. Use ImageDataset.")


def brought(images: Tensor, square: Square) -> Tensor:
    """Gives images in [0, 1], (B, C, H, W), as squares in colour, (B, 3, S, S), as `Square` does it for files."""
    images = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
    height, width = images.shape[2:]
    side, short = square.size, min(height, width)
    size = (side, side) if square.resize is None else tuple(square.resize * edge // short for edge in (height, width))
    if size != (height, width):
        images = functional.interpolate(images, size, mode=square.filter, antialias=True, align_corners=False)
    top, left = (round((edge - side) / 2) for edge in size)
    return images[:, :, top : top + side, left : left + side].clamp(0, 1)


def weights_file(path: str, where: str) -> Path:
    """Gives the file of weights that a path means: itself, or the one inside a published folder.

    Raises:
        DataError: there is none.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        found = next((place / name for name in FOLDER_FILES if (place / name).is_file()), None)
        if found is None:
            raise DataError(f"{where}: the folder holds none of {', '.join(FOLDER_FILES)}. Give the file of weights.")
        return found
    if not place.is_file():
        raise DataError(f"{where}: there is no such file. Download the weights and give the path; nothing is fetched.")
    return place


def content(file: Path) -> str:
    """Gives the sha256 of a file's content; a file that has not changed is read once."""
    about = file.stat()
    return _hashed(str(file.resolve()), about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=64)
def _hashed(path: str, size: int, changed: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_weights(path: str, where: str) -> dict[str, Tensor]:
    """Gives the tensors of a file by name; nothing in it is run.

    Args:
        path: safetensors, a torch file of tensors (alone, or under `state_dict`), TorchScript, whose program is left
            alone, or a folder with one of these.
        where: the beginning of a message.

    Raises:
        DataError: there is no file, or it holds more than tensors, or is damaged.
    """
    file = weights_file(path, where)
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise DataError(f"{where}: {file.name} is damaged ({error}). Download it again.") from error
    if is_torchscript(file):
        return tensors_of(file, where)
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no pickle can end in any of a dozen ways
        raise DataError(
            f"{where}: {file.name} is damaged or holds more than tensors, and code from files is not run. Give "
            "safetensors, or a torch file of a state dict."
        ) from error
    for key in NESTED:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise DataError(f"{where}: {file.name} holds no state dict, names with tensors. Give the file of the weights.")
    return {name.removeprefix("module."): value for name, value in found.items()}
