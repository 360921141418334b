"""The outer step: learnt images and labels move against the error of a regression on a network's features of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from paredown.distillation.features import Extractor
from paredown.distillation.lamb import Lamb
from paredown.distillation.loss import Parts, outer_loss
from paredown.distillation.real import RealImages
from paredown.distillation.semantic import InfiniteSemantic
from paredown.training.optimizers import set_rate
from paredown.training.resume import optimizer_tensors, restore_optimizer
from paredown.training.schedules import Cosine

SCHEDULE = Cosine(floor=0.1)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What was learnt after some steps.

    Args:
        images: shape (n, C, H, W).
        labels: shape (n, classes).
        step: after how many.
    """

    images: Tensor
    labels: Tensor
    step: int


class Prototypes:
    """The images and labels that are learnt, and the optimizer that moves them.

    Args:
        images: what they begin as, float32 (n, C, H, W).
        labels: theirs, float32 (n, classes).
        learn_labels: move them too.
        lr: of LAMB at the first step.
        steps: over which it falls to a tenth of that, by half a cosine.
    """

    def __init__(self, images: Tensor, labels: Tensor, *, learn_labels: bool, lr: float, steps: int) -> None:
        # In the format in which convolutions are fastest, so that no step has to change it.
        held = torch.empty_like(images, memory_format=torch.channels_last).copy_(images)
        self.images, self.labels = held.requires_grad_(), labels.clone().requires_grad_(learn_labels)
        self.lr, self.steps = lr, steps
        self.optimizer = Lamb([part for part in (self.images, self.labels) if part.requires_grad], lr=lr)

    def rate(self, step: int) -> float:
        """Gives the rate of a step, numbered from 1."""
        return self.lr * SCHEDULE.share(step, self.steps)

    def move(self, step: int) -> None:
        """Moves images and labels against their gradients, which are gone afterwards."""
        set_rate(self.optimizer, self.rate(step))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def snapshot(self, step: int) -> Snapshot:
        """Gives a copy of what is learnt."""
        return Snapshot(self.images.detach().clone(), self.labels.detach().clone(), step)

    def tensors(self) -> dict[str, Tensor]:
        """Gives everything that the steps so far have made."""
        return {"images": self.images, "labels": self.labels} | optimizer_tensors(self.optimizer)

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes back what `tensors` gave."""
        self.images.copy_(tensors["images"])
        self.labels.copy_(tensors["labels"])
        restore_optimizer(self.optimizer, tensors)


@dataclass(frozen=True, eq=False)
class Outer:
    """What an outer step minimises.

    Args:
        prototypes: over these.
        extractor: gives features.
        real: the batches that are predicted.
        augmentation: which of a batch count, and how.
        ridge: of the regression.
        margin: hold labels to a margin.
        mirrored: the regression sees mirror images too.
        hardness: how hard each row of the data is, shape (N,); none takes the regression's error.
    """

    prototypes: Prototypes
    extractor: Extractor
    real: RealImages
    augmentation: InfiniteSemantic
    ridge: float = 1e-6
    margin: bool = True
    mirrored: bool = False
    hardness: Tensor | None = None

    def gradients(self, step: int, body: nn.Module) -> tuple[Tensor, Parts, Tensor]:
        """Gives images and labels their gradients.

        Args:
            step: numbered from 1; says which batch.
            body: the network that gives the features.

        Returns:
            The loss, its parts, and the centred labels of the batch.

        Raises:
            MethodError: on a CPU, where the regression breaks down; a GPU is not waited for, and the loss is NaN.
        """
        self.extractor.load(body)
        images, aims, rows = self.real.batch(step - 1)
        targets = self.extractor.of(images)
        support = self.extractor.with_gradient(self.prototypes.images, mirrored=self.mirrored)
        labels = self.prototypes.labels
        loss, parts = outer_loss(
            support,
            torch.cat([labels, labels]) if self.mirrored else labels,
            targets,
            aims,
            augmentation=self.augmentation,
            ridge=self.ridge,
            margin=self.margin,
            hardness=None if self.hardness is None else self.hardness[rows],
            wait=support.device.type == "cpu",
        )
        loss.backward()
        return loss.detach(), parts, aims
