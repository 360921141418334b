"""Accuracy: how many examples a network classifies rightly, in all and by class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from paredown.data.dataset import LearnableDataset
from paredown.data.loader import runs
from paredown.errors import MethodError
from paredown.evaluation.base import AbstractProbe
from paredown.models.build import inputs
from paredown.runtime import Runtime


def places(logits: Tensor, labels: Tensor) -> Tensor:
    """Gives the place of the label among the logits, 0 for the largest; of equal logits the lower class stands first.

    Args:
        logits: shape (B, C).
        labels: int64 (B,).

    Returns:
        int64, shape (B,).
    """
    own = logits.gather(1, labels[:, None])
    before = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    # Ties must not count as right: a network whose logits are all equal knows nothing.
    return ((logits > own) | ((logits == own) & before)).sum(dim=1)


@dataclass(frozen=True)
class Accuracy(AbstractProbe):
    """Accuracy: the share of examples whose label has the largest logit, with top-5, mean loss, and accuracy by class.

    Metrics: `accuracy`; `balanced-accuracy`, the mean over the classes, where they are not equally frequent; `top-5`
    where there are more than five classes; `loss`, the mean cross-entropy. The spread is the standard error over the
    examples, √(p (1 - p) / n) for a share p.

    Args:
        by_class: give the accuracy of each class too, as groups named for the classes.
    """

    version: ClassVar[int] = 2

    by_class: bool = True

    def measure(
        self, network: nn.Module, data: LearnableDataset, *, runtime: Runtime, seed: int
    ) -> list[Mapping[str, Any]]:
        place, loss = outcomes(network, data, np.arange(len(data)), batch_size=runtime.batch_size)
        rows = [_share("accuracy", place < 1)]
        if even := balanced("balanced-accuracy", place < 1, data.labels):
            rows.append(even)
        if len(data.classes) > 5:
            rows.append(_share("top-5", place < 5))
        error = float(loss.std(ddof=1) / math.sqrt(len(loss))) if len(loss) > 1 else None
        rows.append({"metric": "loss", "value": float(loss.mean()), "n": len(loss), "spread": error})
        if self.by_class:
            for number, name in enumerate(data.classes):
                members = data.labels == number
                if members.any():
                    rows.append({**_share("accuracy", place[members] < 1), "group": name})
        return rows


def balanced(metric: str, right: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Gives the mean over classes of their accuracies as a figure; nothing where all classes are equally frequent.

    Its standard error is √(Σ_c p_c (1 - p_c) / n_c) / C, of the C classes that occur.

    Args:
        metric: its name.
        right: whether each example is classified rightly, bool (N,).
        labels: of the examples.
    """
    sizes = np.bincount(labels)
    there = np.flatnonzero(sizes)
    sizes = sizes[there]
    if len(set(sizes.tolist())) < 2:
        return {}
    shares = np.array([right[labels == label].mean() for label in there])
    spread = float(np.sqrt((shares * (1 - shares) / sizes).sum()) / len(there))
    return {"metric": metric, "value": float(shares.mean()), "n": len(right), "spread": spread}


def _share(metric: str, right: np.ndarray) -> Mapping[str, Any]:
    share, n = float(right.mean()), len(right)
    return {"metric": metric, "value": share, "n": n, "spread": math.sqrt(share * (1 - share) / n) if n > 1 else None}


def outcomes(
    network: nn.Module, data: LearnableDataset, rows: np.ndarray, *, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Gives the place of the label of each of some rows and its cross-entropy, both of shape (len(rows),).

    Args:
        network: left as it was.
        data: un-augmented.
        rows: which of its examples.
        batch_size: examples at once.
    """
    modes = [(module, module.training) for module in network.modules()]
    examples = inputs(network, data)
    place, loss = np.empty(len(rows), np.int64), np.empty(len(rows))
    network.eval()
    try:
        with torch.no_grad():
            batches = list(runs(len(rows), batch_size))
            for batch, (x, y) in zip(batches, examples.batches(rows[batch] for batch in batches), strict=True):
                logits = network(x).float()
                _check(logits, data)
                place[batch] = places(logits, y).cpu().numpy()
                loss[batch] = functional.cross_entropy(logits, y, reduction="none").cpu().numpy()
    finally:
        for module, training in modes:
            module.training = training
    return place, loss


def _check(logits: Tensor, data: LearnableDataset) -> None:
    if logits.shape[1] != len(data.classes):
        raise MethodError(
            f"Accuracy: the network knows {logits.shape[1]} classes and {data.name} has {len(data.classes)}. "
            "Evaluate on the data that it was trained for."
        )
    if not torch.isfinite(logits).all():
        raise MethodError(
            "Accuracy: the network gives logits that are not finite, so it has no accuracy. "
            "Its training diverged: look at the loss, and lower the learning rate."
        )
