"""A source of images whose labels a network gives: generated or collected images that come without any."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, cast

import numpy as np
import torch

from paredown.artifacts import Checkpoint, open_artifact
from paredown.artifacts.stored import part_of
from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import AbstractImages
from paredown.data.device import choose
from paredown.data.loader import runs
from paredown.data.source import AbstractSource
from paredown.errors import DataError, MethodError
from paredown.models.build import inputs, load, refuse_other_form

BATCH = 512


@dataclass(frozen=True)
class PseudoLabelled(AbstractSource):
    """Images with the labels that a network gives them: the class of the largest logit of each un-augmented image.

    As Carmon et al. 2019, Unlabeled Data Improves Adversarial Robustness, section 3. The network runs in inference mode
    and float32, each time that the data are opened; `write_generated` keeps millions of labels for good. Ids are those
    of the images.

    Args:
        images: where they come from, such as `{name: generated-images, path: unlabelled.npz}`; labels that stand there
            are not looked at.
        checkpoint: the folder of a checkpoint, or of a training.
        split: train; such labels are for training.
        noise: label noise on top.
    """

    splits: ClassVar[tuple[str, ...]] = ("train",)

    images: AbstractSource
    checkpoint: str
    split: Literal["train"] = "train"
    noise: LabelNoise | None = None

    def __post_init__(self) -> None:
        if self.images.noise is not None:
            raise MethodError(
                "PseudoLabelled(images=…): the labels of the images are not looked at, so noise in them does nothing. "
                "Give noise to pseudo-labelled itself, or leave it out."
            )

    def read(self, workers: int) -> AbstractImages:
        checkpoint = cast(Checkpoint, part_of(open_artifact(self.checkpoint), Checkpoint))
        data = self.images.unlabelled(workers)
        if not isinstance(data, AbstractImages):
            raise DataError(f"PseudoLabelled(images=…): {data.name} has {data.noun}, and only images are labelled.")
        refuse_other_form(checkpoint, data)
        labels = labels_by(checkpoint, data, workers)
        # Labels of another machine may differ where two logits are nearly equal, so the data are told apart by them.
        told = {"checkpoint": checkpoint.digest(), "labels": hashlib.sha256(labels.tobytes()).hexdigest()}
        return replace(data, labels=labels, settings={**data.settings, "pseudo-labels": told})  # type: ignore[type-var]


@torch.inference_mode()
def labels_by(checkpoint: Checkpoint, data: AbstractImages, workers: int = 0) -> np.ndarray:
    """Gives the class of the largest logit of each image, int64 (N,), from the first GPU where there is one."""
    network = load(checkpoint, choose("auto"))
    there = inputs(network, data, workers=workers)
    return torch.cat([network(x).argmax(1) for x, _ in there.batches(runs(len(data), BATCH))]).cpu().numpy()
