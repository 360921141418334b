"""What a step of feature regression costs in floating-point operations, part by part.

A multiplication with its addition counts as two, at padding too; activations and normalisation do not count, and
neither does what is computed again to spare memory. Counted from shapes alone, as a measure for times.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from paredown.distillation.pool import BATCH
from paredown.distillation.semantic import InfiniteSemantic
from paredown.models.taps import last_linear


@dataclass(frozen=True)
class ImageCost:
    """Operations that a network spends on one image.

    Args:
        forward: on its features.
        backward: from a gradient by its features to one by its pixels, with weights that stand still.
        training: on its part of a training step: logits, and the gradient by all weights.
        width: how many features it has.
    """

    forward: float
    backward: float
    training: float
    width: int


@dataclass(frozen=True)
class StepCost:
    """Operations of one step.

    Args:
        parts: of each part, in the order of the step.
        forward: of the features of one image.
    """

    parts: dict[str, float]
    forward: float

    @property
    def total(self) -> float:
        """Of all parts."""
        return sum(self.parts.values())

    @property
    def forwards(self) -> float:
        """How many images could be brought to their features for the same."""
        return self.total / self.forward


def image_cost(network: nn.Module, shape: tuple[int, int, int]) -> ImageCost:
    """Counts what a network spends on one image; nothing is computed.

    Args:
        network: from images to logits; it stays as it is.
        shape: channels, height and width of an image.

    Raises:
        MethodError: the network does not end in a linear layer.
    """
    body = copy.deepcopy(network).to("meta")
    last = last_linear(body)
    # Normalisation by the batch refuses a single value a channel.
    images = 2
    training = _counted(body.train(), torch.empty(images, *shape, device="meta")) / images
    head = 2.0 * last.in_features * last.out_features
    body.eval().requires_grad_(False)
    pixels = torch.empty(images, *shape, device="meta", requires_grad=True)
    forward = _counted(body, pixels.detach()) / images
    both = _counted(body, pixels) / images
    return ImageCost(forward - head, both - forward - head, training, last.in_features)


def step_cost(
    image: ImageCost,
    *,
    classes: int,
    learnt: int,
    batch: int = 1024,
    mirrored: bool = True,
    online: int = BATCH,
    augmentation: InfiniteSemantic = InfiniteSemantic(),  # noqa: B008  (frozen)
) -> StepCost:
    """Counts one step of feature regression.

    Args:
        image: of the network of the pool, by `image_cost`.
        classes: C.
        learnt: n, images that are learnt.
        batch: B, real images a step.
        mirrored: the regression sees mirror images too, so that its support N is 2n.
        online: learnt images that the network's own step sees, at most.
        augmentation: how many of the batch count, and whether they are paired.
    """
    support, width = learnt * (2 if mirrored else 1), image.width
    kept = int(augmentation.keep_hardest * batch)
    by_class = 2.0 * classes * width
    # By weights of the classes, or by the kernel between images: see `regression.predictions`.
    by_weights = width * classes * (support + batch) < batch * support * (width + classes)
    one_way = by_class * (support + batch) if by_weights else 2.0 * batch * support * (width + classes)
    parts = {
        "features of real images": batch * image.forward,
        "features of learnt images": support * image.forward,
        "gradient to learnt images": support * image.backward,
        # H Hᵀ forward; backward four products with a matrix of the size of the labels.
        "matrix of the regression": 2.0 * support**2 * width + 4 * by_class * support,
        "its solution": support**3 / 3 + 4.0 * support**2 * classes,
        "predictions": one_way + _backward_of_predictions(support, batch, classes, width, by_weights),
        "neighbours": 2.0 * kept**2 * width if augmentation.epsilon else 0.0,
        "training of the network": min(learnt, online) * image.training,
    }
    return StepCost(parts, image.forward)


def _backward_of_predictions(support: int, batch: int, classes: int, width: int, by_weights: bool) -> float:
    """Operations of the gradient by features of the support and by coefficients; real features need none."""
    if by_weights:
        return 2.0 * classes * width * (batch + 2 * support)
    return 2.0 * batch * support * (2 * classes + width)


def _counted(body: nn.Module, pixels: torch.Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        logits = body(pixels)
        if logits.requires_grad:
            logits.sum().backward()
    return float(counter.get_total_flops())
