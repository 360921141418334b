"""From a model, which is plain data, to a network with weights, and back to a folder.

A network takes pixels in [0, 1]; the normalisation, and the whitening where the data are whitened, is its first layer,
so that a checkpoint carries the statistics of the data that it was trained on and an attack sees pixels.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from paredown.artifacts.checkpoint import Checkpoint
from paredown.artifacts.whitening import Whitening
from paredown.catalog import find
from paredown.data.dataset import AbstractDecoded, AbstractImages, LearnableDataset
from paredown.data.distilled import DistilledImages, Learnt
from paredown.data.loader import AbstractInputs, OnDevice
from paredown.data.stored_images import StoredImages
from paredown.data.streaming import Streamed
from paredown.errors import ArtifactError, MethodError, did_you_mean
from paredown.method import Method, build
from paredown.models.whitened import WhiteningLayer
from paredown.rng import key


class AbstractModel(Method):
    """An architecture: write `build`.

    The other two methods make of it a network for some data, or for the weights of a checkpoint; a model of something
    other than images has its own.
    """

    kind: ClassVar[str] = "model"
    takes: ClassVar[str] = "images"
    """The noun of the data that it learns from."""
    usual: ClassVar[Mapping[str, Any]] = {}
    """Settings of a training that suit it better than those of `Training`; `pare down` begins with them."""

    @abstractmethod
    def build(self, shape: Any, classes: int) -> nn.Module:
        """Gives a freshly initialised network that turns normalised images, or tokens, into logits.

        Args:
            shape: channels, height and width of one image; how many sentences an example has, for text.
            classes: number of logits.
        """

    def start(self, data: LearnableDataset, seed: int) -> AbstractNetwork:
        """Gives a freshly initialised network for some data.

        Raises:
            MethodError: the model takes something else.
        """
        self.refuse_other_data(data)
        assert isinstance(data, AbstractImages)
        return network(
            self, data.shape, len(data.classes), mean=data.mean, std=data.std, whitening=data.whitening, seed=seed
        )

    def empty(self, checkpoint: Checkpoint) -> AbstractNetwork:
        """Gives a network into which the checkpoint's weights fit; its own mean nothing."""
        channels, height, width = checkpoint.shape
        ones = (1.0,) * channels
        made = network(self, (channels, height, width), checkpoint.classes, mean=ones, std=ones)
        made.whitening = WhiteningLayer.empty(checkpoint.weights)
        return made

    def refuse_other_data(self, data: LearnableDataset) -> None:
        """Raises MethodError unless the data are what the model takes."""
        if data.noun != self.takes:
            raise MethodError(
                f"{type(self).__name__} learns from {self.takes}, and {data.name} has {data.noun}. "
                f"Choose a model for {data.noun}; `pare list model` names them."
            )


@dataclass(frozen=True)
class Factory(AbstractModel):
    """Any network that a function makes, so that a model needs no class of ours.

    Args:
        target: "module:function". It is called with whichever of `shape` (C, H, W) and `classes` (or `num_classes`)
            its signature names, and gives an nn.Module that turns normalised images into logits.
        options: further arguments of the function, by name.
    """

    target: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        function = self._function()
        named = inspect.signature(function).parameters
        open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in named.values())
        for option in self.options:
            if option not in named and not open_ended:
                hint = did_you_mean(option, named) or f" It takes: {', '.join(named) or 'nothing'}."
                raise MethodError(f"Factory(target={self.target!r}): the function takes no '{option}'.{hint}")
        offered = {"shape": shape, "classes": classes, "num_classes": classes}
        body = function(**({name: value for name, value in offered.items() if name in named} | dict(self.options)))
        if not isinstance(body, nn.Module):
            raise MethodError(
                f"Factory(target={self.target!r}): the function gave {type(body).__name__}, and a network is a torch "
                "nn.Module. Return the module."
            )
        self._refuse_other_logits(body, shape, classes)
        return body

    def _function(self) -> Callable[..., Any]:
        function = find("model", self.target)
        if not callable(function):
            raise MethodError(
                f"Factory(target={self.target!r}): it is {type(function).__name__}, not a function. Name a function "
                "that gives a network."
            )
        return function

    def _refuse_other_logits(self, body: nn.Module, shape: tuple[int, int, int], classes: int) -> None:
        training = body.training
        with torch.no_grad():
            logits = body.eval()(torch.zeros(2, *shape))
        body.train(training)
        if not isinstance(logits, Tensor) or logits.shape != (2, classes):
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise MethodError(
                f"Factory(target={self.target!r}): two images gave {found}, and logits for {classes} classes have "
                f"shape {(2, classes)}. Let the function take `classes`."
            )


class AbstractNetwork(nn.Module):
    """What is trained, checkpointed and measured: from examples as they are stored to logits."""

    shape: tuple[int, ...]
    classes: int
    model: AbstractModel | None = None
    """What built it, of one that was loaded."""

    def inputs(self, data: LearnableDataset, device: torch.device, workers: int = 0) -> AbstractInputs:
        """Gives the data's examples on a device, in the form that `forward` takes.

        Args:
            data: the examples.
            device: where the network is.
            workers: threads that decode what is not in memory.
        """
        raise NotImplementedError


class Network(AbstractNetwork):
    """What is trained, checkpointed and attacked: pixels in [0, 1] are normalised, then the body gives logits.

    Args:
        body: takes normalised images (B, C, H, W), or whitened ones, gives logits (B, classes).
        shape: channels, height and width of one image.
        classes: number of logits.
        mean: per channel, in units of [0, 1] pixels.
        std: per channel, in the same units.
        whitening: what follows the normalisation, if anything.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        body: nn.Module,
        *,
        shape: tuple[int, int, int],
        classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        whitening: WhiteningLayer | None = None,
    ) -> None:
        super().__init__()
        self.whitening = whitening
        self.body = body
        self.shape, self.classes = shape, classes
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.first(x))

    def first(self, x: Tensor) -> Tensor:
        """Gives what the body takes: pixels normalised and, where the data are, whitened."""
        normalised = (x - self.mean) / self.std
        return normalised if self.whitening is None else self.whitening(normalised)

    def inputs(self, data: LearnableDataset, device: torch.device, workers: int = 0) -> AbstractInputs:
        return on_device(data, device, workers)


def inputs(module: nn.Module, data: LearnableDataset, *, workers: int = 0) -> AbstractInputs:
    """Gives the data's examples where a network is, in the form that it takes; any module that takes images will do."""
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    if isinstance(module, AbstractNetwork):
        return module.inputs(data, device, workers)
    return on_device(data, device, workers)


def on_device(data: LearnableDataset, device: torch.device, workers: int) -> AbstractInputs:
    """Gives images on a device; those that stay encoded are decoded ahead, by `workers` threads.

    Raises:
        MethodError: the data are not images.
    """
    if isinstance(data, StoredImages):
        return Streamed(data, device, workers)
    if isinstance(data, DistilledImages):
        return Learnt(data, device)
    if not isinstance(data, AbstractDecoded):
        raise MethodError(f"The network takes images, and {data.name} has {data.noun}. Use a model for {data.noun}.")
    return OnDevice(data, device)


def network(
    model: AbstractModel,
    shape: tuple[int, int, int],
    classes: int,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    whitening: Whitening | None = None,
    seed: int | None = None,
) -> Network:
    """Gives a freshly initialised network.

    Args:
        model: the architecture.
        shape: channels, height and width of one image.
        classes: number of logits.
        mean: per channel, in units of [0, 1] pixels.
        std: per channel, in the same units.
        whitening: what follows the normalisation, if anything.
        seed: of the initial weights, whatever else has drawn random numbers; None uses torch's generator as it stands.
    """
    channels = shape[0]
    if len(mean) != channels or len(std) != channels:
        raise MethodError(
            f"network(shape={tuple(shape)}): {len(mean)} means and {len(std)} deviations do not normalise "
            f"{channels} channels. Give one of each for every channel."
        )
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(key(seed, "init"))
        body = model.build(shape, classes)
    layer = None if whitening is None else WhiteningLayer.of(whitening)
    return Network(body, shape=shape, classes=classes, mean=mean, std=std, whitening=layer)


def checkpoint_of(network: AbstractNetwork, model: AbstractModel, step: int) -> Checkpoint:
    """Gives the network's weights and statistics, copied, with what is needed to build it again."""
    weights = {
        name: np.array(value.detach().cpu().contiguous().numpy()) for name, value in network.state_dict().items()
    }
    return Checkpoint(model=model.plain(), shape=network.shape, classes=network.classes, weights=weights, step=step)


def save(network: AbstractNetwork, model: AbstractModel, step: int, folder: Path) -> None:
    """Writes `weights.safetensors` and `model.json` into the folder.

    Args:
        network: the weights.
        model: what built it.
        step: optimiser steps taken; 0 is untrained.
        folder: made where it is missing.
    """
    checkpoint_of(network, model, step).save(folder)


def load(checkpoint: Checkpoint, device: str | torch.device = "cpu") -> AbstractNetwork:
    """Gives the checkpoint's network in inference mode; nothing is unpickled.

    Raises:
        ArtifactError: the weights do not fit the architecture; names the first that does not.
    """
    model = build("model", checkpoint.model)
    with torch.random.fork_rng(devices=[]):
        made = model.empty(checkpoint)
    made.model = model
    _refuse_misfit(checkpoint, made.state_dict())
    made.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in checkpoint.weights.items()})
    return made.to(device).eval()


def form_of(shape: tuple[int, ...]) -> str:
    """Gives the shape of one example in words: `images of 3×32×32`, `sentences`, `pairs of sentences`."""
    if len(shape) == 1:
        return "sentences" if shape[0] == 1 else "pairs of sentences"
    return "images of " + "×".join(map(str, shape))


def refuse_other_form(checkpoint: Checkpoint, data: LearnableDataset) -> None:
    """Raises MethodError unless the checkpoint's network takes the data's examples and knows its classes."""
    if (checkpoint.shape, checkpoint.classes) != (data.shape, len(data.classes)):
        raise MethodError(
            f"The network takes {form_of(checkpoint.shape)} in {checkpoint.classes} classes, and {data.name} has "
            f"{data.form} in {len(data.classes)} classes. Use the data that it was trained for."
        )


def _refuse_misfit(checkpoint: Checkpoint, expected: dict[str, Tensor]) -> None:
    where = f"Checkpoint(model={checkpoint.model.get('name')!r})"
    advice = "Load the weights with the model that they were trained as."
    for name, value in expected.items():
        if name not in checkpoint.weights:
            raise ArtifactError(f"{where}: the weights hold no '{name}', which the architecture has. {advice}")
        found = tuple(checkpoint.weights[name].shape)
        if found != tuple(value.shape):
            raise ArtifactError(
                f"{where}: '{name}' has shape {found}, and the architecture's has {tuple(value.shape)}. {advice}"
            )
    for name in checkpoint.weights:
        if name not in expected:
            raise ArtifactError(f"{where}: the weights hold '{name}', which the architecture lacks. {advice}")
