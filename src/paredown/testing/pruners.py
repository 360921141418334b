"""The contract of a pruner."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from paredown.artifacts import Checkpoint, Granularity, Pruned, PruningStrategy
from paredown.data import ImageDataset
from paredown.models import ConvNet, SmallResNet, checkpoint_of, load
from paredown.pruning.base import AbstractPruner
from paredown.pruning.pruned import pruned
from paredown.runtime import Runtime
from paredown.sparsity.apply import zeros_hold
from paredown.sparsity.groups import groups_of
from paredown.sparsity.layers import layers_of
from paredown.testing.promises import check_plain, example_data, promise

QUIET = Runtime(device="cpu", precision="float32", progress=False)
KEEP = 0.5


def check_pruner(pruner: AbstractPruner, granularities: Sequence[Granularity] = ("weight", "channel")) -> None:
    """Checks a pruner.

    - It is plain data: `build` gives it back from `plain()`.
    - Masks are of the network's layers; as many weights stay as the strategy says, none of them in an empty layer; what
      is masked is 0, and the checkpoint loads.
    - Where it goes by groups, all layers that read a channel agree on it.
    - The network that it was given is left alone; torch's and numpy's own random numbers go on as if nothing had been
      drawn.
    - The same seed gives the same; called again on its folder it gives what is there.

    Args:
        pruner: with short trainings.
        granularities: those that it takes.

    Raises:
        BrokenPromise: one of these does not hold.
    """
    check_plain(pruner)
    data = example_data()
    for granularity in granularities:
        for model in (ConvNet(width=4), SmallResNet(width=4)):
            made = model.start(data, 0)
            _check(pruner, granularity, data, checkpoint_of(made, model, 0))


def _check(pruner: AbstractPruner, granularity: Granularity, data: ImageDataset, checkpoint: Checkpoint) -> None:
    name = type(pruner).__name__
    network = load(checkpoint)
    layers = layers_of(network)
    strategy = PruningStrategy.uniform(layers, KEEP, granularity=granularity)
    before = checkpoint.digest()
    states = torch.random.get_rng_state(), str(np.random.get_state(legacy=False))

    def run(folder: Path) -> Pruned:
        asked = {"selection": None, "seed": 7, "runtime": QUIET}
        return pruned(checkpoint, strategy, data, pruner, **asked, folder=folder)  # type: ignore[arg-type]

    with tempfile.TemporaryDirectory() as place:
        found = run(Path(place) / "one").in_memory()
        promise(torch.equal(states[0], torch.random.get_rng_state()), name, "it draws from torch's own random numbers")
        same = states[1] == str(np.random.get_state(legacy=False))
        promise(same, name, "it draws from numpy's own random numbers")
        promise(run(Path(place) / "one") == found, name, "called again on its folder it gives something else")
        promise(run(Path(place) / "two") == found, name, "the same seed gives something else")
    promise(Checkpoint.digest(checkpoint) == before, name, "it changes the network that it was given")
    masks = found.masks
    promise(list(masks.masks) == [layer.name for layer in layers], name, "its masks are not of the network's layers")
    promise(all(mask.any() for mask in masks.masks.values()), name, "it leaves a layer empty")
    promise(zeros_hold(load(found.checkpoint), masks), name, "masked weights are not 0")
    promise(masks.fingerprint == strategy.fingerprint, name, "its masks are for another architecture")
    if granularity == "weight":
        wanted = sum(round(layer.weights * KEEP) for layer in layers)
        promise(abs(masks.kept - wanted) <= len(layers), name, f"it keeps {masks.kept} weights, and {wanted} may stay")
    if granularity != "channel" or not pruner.grouped:
        return
    for group in groups_of(network):
        reading = []
        for place_of in group.readers:
            span = slice(place_of.offset, place_of.offset + group.size * place_of.repeat)
            reading.append(masks.inputs(place_of.module)[span].reshape(group.size, place_of.repeat))
        agreed = all(
            np.array_equal(one.any(1), reading[0].any(1)) and (one.any(1) == one.all(1)).all() for one in reading
        )
        promise(agreed, name, "layers that read the same channels keep others of them")
        count = int(reading[0].any(1).sum())
        promise(
            count == max(1, round(group.size * KEEP)), name, f"it keeps {count} of {group.size} channels of a group"
        )
