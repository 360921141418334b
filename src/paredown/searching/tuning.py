"""A short training of a pruned network inside a search."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from paredown.data.dataset import LearnableDataset
from paredown.data.loader import AbstractInputs
from paredown.models.build import AbstractNetwork
from paredown.sparsity.apply import masked
from paredown.training.begin import Examples
from paredown.training.devices import Place
from paredown.training.feed import Feed
from paredown.training.learner import Learner
from paredown.training.training import Training


def tune(
    network: nn.Module,
    masks: Mapping[str, Tensor],
    training: Training,
    *,
    inputs: AbstractInputs,
    data: LearnableDataset,
    rows: np.ndarray,
    seed: int,
    place: Place,
) -> None:
    """Trains a pruned network on, in place; what is masked stays 0, and the last weights count, not their average.

    Every strategy sees the same batches with the same augmentation.

    Args:
        network: pruned.
        masks: of its layers; none where channels were taken out.
        training: a short one.
        inputs: the examples where the network is.
        data: the examples; its augmentation is the default.
        rows: which of them to train on.
        seed: of order, augmentation and attacks.
        place: device and precision.
    """
    plan = training.plan(kept=len(rows), whole=len(rows))
    feed = Feed(inputs, Examples(np.sort(rows)), training, training.augmentation_of(data), seed=seed, place=place)
    held = masked(network, masks) if masks else None
    with torch.random.fork_rng([place.device] if place.device.type == "cuda" else []):
        learner = Learner(cast(AbstractNetwork, network), training, plan, seed=seed, place=place, compiled=False)
        step = 0
        while step < plan.steps:
            batches = list(islice(feed.epoch(step // plan.per_epoch), plan.steps - step))
            for chosen, images in zip(batches, feed.whole(batches, step + 1, looked_at=feed.mine), strict=True):
                step += 1
                x, y, _, weights = feed.share(chosen, images)
                learner.take(step, x, y, count=len(chosen), weights=weights)
    if held is not None:
        held.remove()
    network.eval()
