"""Real removal: from a network with masks to a smaller one that gives the same logits.

A channel goes when no layer reads it: then it matters no longer what is written to it, not even the β that a batch
normalisation still adds where every weight of a filter is masked. A filter whose weights are masked while another layer
goes on reading it gives such a constant, and stays; padding makes that constant differ at the border, so that no bias
could stand for it. Which channels belong together is read off the network itself (`sparsity.groups`), when it is
compacted and again when it is loaded, so that a compacted checkpoint needs no other library.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from paredown.artifacts.checkpoint import Checkpoint
from paredown.artifacts.masks import MaskSet
from paredown.errors import MethodError
from paredown.method import build
from paredown.models.build import AbstractModel, checkpoint_of, load
from paredown.rng import stream
from paredown.sparsity.apply import masked
from paredown.sparsity.groups import groups_of, kept_channels
from paredown.sparsity.layers import layers_of
from paredown.sparsity.removal import take_out

TOLERANCE = 1e-5
"""How far logits may lie apart, as a share of the largest; in float64, where rounding is far below it."""


@dataclass(frozen=True)
class Compacted(AbstractModel):
    """An architecture without some of its channels.

    Args:
        base: the architecture that channels were taken from.
        kept: how many channels stay of what a layer writes, by its name in the base; layers that write to the same
            channels are named by the first of them, and of what is not named all stay.
    """

    base: AbstractModel
    kept: Mapping[str, int] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.base.takes != "images":
            raise MethodError(
                f"Compacted(base={self.base.name}): it takes {self.base.takes}, and channels are followed through "
                "networks for images only."
            )
        for name, count in self.kept.items():
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise MethodError(f"Compacted(kept={{{name}: {count}}}): at least one channel of each layer stays.")

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Gives the base with the first channels of each group: freshly initialised as the base is."""
        body = self.base.build(shape, classes)
        layers, groups = layers_of(body, shape), groups_of(body, shape)
        sizes = {group.writers[0]: group.size for group in groups}
        for name, count in self.kept.items():
            if not count <= sizes.get(name, 0):
                has = f"writes {sizes[name]} channels" if name in sizes else "begins no channels that could go"
                raise MethodError(
                    f"Compacted(kept={{{name}: {count}}}): in {self.base.name} '{name}' {has}. "
                    "Name the model that the channels were taken from."
                )
        counts = [self.kept.get(group.writers[0], group.size) for group in groups]
        kept = [torch.arange(group.size, device="cpu") < count for group, count in zip(groups, counts, strict=True)]
        take_out(body, layers, groups, kept)
        return body


def compacted(checkpoint: Checkpoint, masks: MaskSet) -> Checkpoint:
    """Gives the network without its masked channels: the logits of the masked network, from fewer numbers.

    What single weights are masked besides become 0. Where no whole channel is masked the architecture stays as it was.

    Args:
        checkpoint: of images; also one that is compacted already, with masks made for it.
        masks: of its layers; a layer without a mask keeps all.

    Returns:
        A checkpoint like any other, whose model is `Compacted`.

    Raises:
        MethodError: the masks are for another architecture or keep nothing of some channels; channels cannot be
            followed through an operation, which is named; the network's own code counts on their number.
        ArtifactError: the weights do not fit the model.
    """
    network = load(checkpoint)
    layers, groups = layers_of(network), groups_of(network)
    masked(network, masks).remove()
    whole = MaskSet(
        {layer.name: masks.masks.get(layer.name, np.ones(layer.shape, bool)) for layer in layers},
        fingerprint=masks.fingerprint,
    )
    kept = [torch.from_numpy(stays) for stays in kept_channels(whole, layers, groups)]
    model: AbstractModel = build("model", checkpoint.model)
    if all(bool(stays.all()) for stays in kept):
        return checkpoint_of(network, model, checkpoint.step)
    images = torch.from_numpy(stream(0, "compaction", "images").random((2, *checkpoint.shape)))
    expected = _logits(network, images)
    take_out(network, layers, groups, kept)
    _check(network, images, expected)
    counts = {
        group.writers[0].removeprefix("body."): int(stays.sum()) for group, stays in zip(groups, kept, strict=True)
    }
    # Of a compacted network the counts replace those that it has: one base, however often channels were taken.
    small = replace(model, kept=counts) if isinstance(model, Compacted) else Compacted(model, counts)
    return checkpoint_of(network, small, checkpoint.step)


def _logits(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return copy.deepcopy(network).double()(images)


def _check(network: nn.Module, images: Tensor, expected: Tensor) -> None:
    """Compares with the masked network: code that counts on numbers of channels would give something else."""
    why = "the removal failed"
    try:
        found = _logits(network, images)
        away = float((found - expected).abs().max() / expected.abs().max().clamp_min(1.0))
        why = f"its logits lie {away:.1g} from those of the masked one"
    except (RuntimeError, ValueError) as error:
        away, why = float("inf"), str(error).strip().splitlines()[0][:160]
    if not away <= TOLERANCE:
        raise MethodError(
            f"{type(getattr(network, 'body', network)).__name__} cannot be compacted, because its code counts on its "
            f"number of channels ({why}). Keep the masked network, or write it without such numbers."
        )
