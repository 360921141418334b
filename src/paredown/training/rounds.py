"""A round over examples between epochs: in evaluation mode, un-augmented, attacked where that is asked for.

Blocks have a fixed size and what is drawn for one follows its first row: no number depends on how many examples the
runtime would take at once, nor on how many processes share the round.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from paredown.attacks import AbstractAttack
from paredown.data.loader import AbstractInputs, runs
from paredown.rng import key
from paredown.training.devices import Place


class Block(NamedTuple):
    """What a round gives of some examples.

    Args:
        rows: where they stand among those that were asked for, int64 (B,).
        labels: int64 (B,).
        clean: logits of the examples, shape (B, C).
        adversarial: logits of what the attack reached, shape (B, C); none without one.
    """

    rows: np.ndarray
    labels: Tensor
    clean: Tensor
    adversarial: Tensor | None


def round_over(
    network: nn.Module,
    inputs: AbstractInputs,
    positions: np.ndarray,
    *,
    block: int,
    attack: AbstractAttack | None,
    draws: tuple[int, str, int],
    place: Place,
) -> Iterator[Block]:
    """Gives the logits of this process's share of some examples, block by block, in float32 and without gradient.

    The attack looks at the network in evaluation mode, in the precision of training.

    Args:
        network: left in training mode.
        inputs: what is looked at.
        positions: which rows of it.
        block: examples a block.
        attack: what moves them; none looks at them as they are.
        draws: seed, name and epoch, which with a block's first row are the key of what the attack draws.
        place: where it runs.
    """
    shares = list(islice(runs(len(positions), block), place.rank, None, place.processes))
    network.eval()
    try:
        for rows, (x, y) in zip(shares, inputs.batches(positions[rows] for rows in shares), strict=True):
            with torch.no_grad():
                clean = network(x)
            adversarial = None
            if attack is not None:
                with place.autocast():
                    moved = attack(network, x, y, seed=key(*draws, int(rows[0])))
                with torch.no_grad():
                    adversarial = network(moved)
            yield Block(rows, y, clean, adversarial)
    finally:
        network.train()
