"""What a network costs: numbers to store, multiplications, and seconds of a forward pass, measured.

Zeros among weights are storage and nothing else: no dense kernel skips them, so that a network with masks is timed as
the dense one that it is. Channels that were really taken out are gone from every figure.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor, nn

from paredown.artifacts.exported import FILES, ONNX, Format
from paredown.artifacts.layers import Layer
from paredown.data.dataset import LearnableDataset
from paredown.data.device import limited
from paredown.errors import MethodError
from paredown.evaluation.base import AbstractProbe
from paredown.models.build import AbstractNetwork, checkpoint_of
from paredown.pruning.compact import Compacted
from paredown.pruning.export import exported
from paredown.runtime import Runtime
from paredown.sparsity.latency import latency_of
from paredown.sparsity.layers import layers_of
from paredown.training.devices import in_words

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Cost(AbstractProbe):
    """Parameters, multiplications, bytes, and how long a batch takes.

    Metrics, of the network as it is: `parameters`, all learnable numbers; `macs`, multiplications and additions for one
    image; `kept-parameters` and `kept-macs`, as shares of the architecture that channels were taken from;
    `kept-weights`, the share of the weights of layers that are not 0; `bytes` of the weights as a file of safetensors;
    `bytes-sparse` of the same with a bit for each weight and only those that are not 0; `two-in-four`, the share of
    weights in layers whose zeros have the pattern that sparse matrix units skip; `bytes-onnx` and `bytes-torch` of a
    file of that format, where it is asked for.

    `latency-1-float32` and so on, in milliseconds: the median over passes, whose spread is half of what lies between
    their first and third quarter; `throughput-…`, images a second. They are of the device, the threads and the memory
    format that stand beside them as `data`, and differ from one measurement to the next.

    Args:
        batches: images in one pass, each timed; none times nothing.
        precisions: of weights and images.
        channels_last: whether channels lie innermost in memory.
        repeats: passes that are timed.
        seconds: after which no further pass of one batch begins; three are timed at least.
        formats: files of which the size is told, `onnx` or `torch`, as `export` writes them.
    """

    timed: ClassVar[tuple[str, ...]] = ("latency", "throughput")

    batches: tuple[int, ...] = (1, 256)
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    channels_last: bool = True
    repeats: int = 20
    seconds: float = 10.0
    formats: tuple[Format, ...] = ()

    def __post_init__(self) -> None:
        if any(batch < 1 for batch in self.batches) or self.repeats < 3:
            raise MethodError(
                f"Cost(batches={self.batches}, repeats={self.repeats}): a batch holds at least one image, and a median "
                "needs three passes."
            )

    @property
    def libraries(self) -> Mapping[str, str]:
        return ONNX if "onnx" in self.formats else {}

    def measure(
        self, network: nn.Module, data: LearnableDataset, *, runtime: Runtime, seed: int
    ) -> list[Mapping[str, Any]]:
        if data.noun != "images":
            raise MethodError(f"Cost follows an image through a network, and {data.name} has {data.noun}.")
        layers = layers_of(network, data.shape)
        counted = [*_counted(network, layers, data), *self._exported(network)]
        return [*counted, *self._timed(network, data.shape, runtime)]

    def _exported(self, network: nn.Module) -> list[Mapping[str, Any]]:
        if not self.formats:
            return []
        body = cast(AbstractNetwork, network)
        assert body.model is not None, "a loaded network knows its model"
        files = exported(checkpoint_of(body, body.model, 0), self.formats)
        sizes = {f"bytes-{name}": files.bytes_of(FILES[name]) for name in self.formats}
        return [{"metric": name, "value": float(size), "n": 1, "spread": None} for name, size in sizes.items()]

    def _timed(self, network: nn.Module, shape: tuple[int, ...], runtime: Runtime) -> list[Mapping[str, Any]]:
        figures: list[Mapping[str, Any]] = []
        device = str(next(network.parameters()).device)
        with limited(runtime.threads):
            where = in_words(Runtime(device=device))
            cores = "" if device.startswith("cuda") else f", {where['threads']} threads"
            layout = ", channels last" if self.channels_last else ""
            for precision in self.precisions:
                lent = copy.deepcopy(network).eval().to(getattr(torch, precision))
                for batch in self.batches:
                    found = latency_of(
                        lent,
                        shape,
                        batch=batch,
                        repeats=self.repeats,
                        warm_up=3,
                        channels_last=self.channels_last,
                        within=self.seconds,
                    )
                    about = {"n": found.repeats, "data": f"{where['device']}{cores}{layout}"}
                    rate, share = found.throughput, found.spread / found.seconds
                    told = f"{batch}-{precision}"
                    figures += [
                        {
                            "metric": f"latency-{told}",
                            "value": 1e3 * found.seconds,
                            "spread": 1e3 * found.spread,
                            **about,
                        },
                        {"metric": f"throughput-{told}", "value": rate, "spread": rate * share, **about},
                    ]
        return figures


def _counted(network: nn.Module, layers: tuple[Layer, ...], data: LearnableDataset) -> list[Mapping[str, Any]]:
    """What can be counted, and does not differ from one machine to the next."""
    weights = {layer.name: network.get_parameter(f"{layer.name}.weight").detach() for layer in layers}
    total, left = sum(layer.weights for layer in layers), sum(int((w != 0).sum()) for w in weights.values())
    parameters, macs = sum(p.numel() for p in network.parameters()), sum(layer.macs for layer in layers)
    whole = _whole(network, data)
    stored = {name: value.detach().cpu().contiguous().numpy() for name, value in network.state_dict().items()}
    file = len(save(stored))
    figures = {
        "parameters": parameters,
        "macs": macs,
        "kept-parameters": parameters / (whole[0] if whole else parameters),
        "kept-macs": macs / (whole[1] if whole else macs),
        "kept-weights": left / total,
        "bytes": file,
        "bytes-sparse": file - sum(_spared(weight) for weight in weights.values()),
        "two-in-four": sum(w.numel() for w in weights.values() if has_two_in_four(w)) / total,
    }
    return [{"metric": name, "value": float(value), "n": 1, "spread": None} for name, value in figures.items()]


def _whole(network: nn.Module, data: LearnableDataset) -> tuple[int, int] | None:
    """Gives parameters and multiplications of the architecture that channels were taken from."""
    model = getattr(network, "model", None)
    if not isinstance(model, Compacted):
        return None
    with torch.random.fork_rng(devices=[]):
        body = model.base.build(data.shape, len(data.classes))
    return sum(p.numel() for p in body.parameters()), sum(layer.macs for layer in layers_of(body, data.shape))


def _spared(weight: Tensor) -> int:
    """Gives how many bytes a bit for each weight and the values that are not 0 save; 0 where they are more."""
    left = int((weight != 0).sum())
    return max(0, (weight.numel() - left) * weight.element_size() - -(-weight.numel() // 8))


def has_two_in_four(weight: Tensor) -> bool:
    """Says whether of every four weights that follow each other along the input at most two are not 0.

    Args:
        weight: of a layer, shape (O, I, …).
    """
    if weight.shape[1] % 4:
        return False
    fours = (weight != 0).movedim(1, -1).reshape(-1, 4)
    return bool(np.all(fours.sum(dim=1).cpu().numpy() <= 2))
