"""Residual networks, for small images and for large ones.

ResNet-18, -34 and -50 (He et al., "Deep residual learning", CVPR 2016): blocks that end in a rectifier, a projection
only where shapes differ, the stride of a bottleneck on its 3x3 convolution. The small stem is a 3x3 convolution at full
resolution, without pooling, as data diet used it; the large one is the paper's, for images of ImageNet's size: a 7x7
convolution and a maximum that together quarter the image. PreAct ResNet-18 (He et al., "Identity mappings", ECCV 2016)
normalises and rectifies before each convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from paredown.errors import MethodError
from paredown.models.build import AbstractModel
from paredown.models.layers import Initialisation, Padding, conv3x3, initialise, pad3x3

Stem = Literal["small", "large"]


class Basic(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int, padding: Padding) -> None:
        super().__init__()
        self.pad = pad3x3(stride, padding)
        self.conv1 = conv3x3(inputs, channels, stride, padding)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels, 1, padding)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut = projection(inputs, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm1(self.conv1(self.pad(x))))
        return F.relu(self.norm2(self.conv2(out)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 and a widening 1x1 convolution beside a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, channels: int, stride: int, padding: Padding) -> None:
        super().__init__()
        outputs = channels * self.expansion
        self.conv1 = nn.Conv2d(inputs, channels, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.pad = pad3x3(stride, padding)
        self.conv2 = conv3x3(channels, channels, stride, padding)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, outputs, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(outputs)
        self.shortcut = projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm1(self.conv1(x)))
        out = F.relu(self.norm2(self.conv2(self.pad(out))))
        return F.relu(self.norm3(self.conv3(out)) + self.shortcut(x))


class PreActivation(nn.Module):
    """A basic block that normalises and rectifies before each convolution."""

    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int, padding: Padding) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.pad = pad3x3(stride, padding)
        self.conv1 = conv3x3(inputs, channels, stride, padding)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels, 1, padding)
        same = stride == 1 and inputs == channels
        self.shortcut = None if same else nn.Conv2d(inputs, channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(out)
        return self.conv2(F.relu(self.norm2(self.conv1(self.pad(out))))) + shortcut


def projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The shortcut: the identity where shapes agree, else a strided 1x1 convolution and its normalisation."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    """Stem, stages of residual blocks, mean over positions, linear layer."""

    def __init__(
        self,
        block: type[Basic] | type[Bottleneck] | type[PreActivation],
        stages: tuple[int, ...],
        width: int,
        padding: Padding,
        channels: int,
        classes: int,
        stem: Stem = "small",
    ) -> None:
        super().__init__()
        before, large = block is PreActivation, stem == "large"
        self.stem = nn.Conv2d(channels, width, 7, 2, 3, bias=False) if large else conv3x3(channels, width, 1, padding)
        self.pool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        self.stem_norm = nn.Identity() if before else nn.BatchNorm2d(width)
        inputs, blocks = width, []
        for stage, count in enumerate(stages):
            for position in range(count):
                stride = 2 if stage > 0 and position == 0 else 1
                blocks.append(block(inputs, width * 2**stage, stride, padding))
                inputs = width * 2**stage * block.expansion
        self.blocks = nn.Sequential(*blocks)
        self.last_norm = nn.BatchNorm2d(inputs) if before else nn.Identity()
        self.rectify_stem = not before
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.maps(x).mean((2, 3)))

    def maps(self, x: Tensor) -> Tensor:
        """Gives what the last stage makes, shape (B, F, H, W), rectified."""
        out = self.stem_norm(self.stem(x))
        out = self.blocks(self.pool(F.relu(out)) if self.rectify_stem else out)
        return out if self.rectify_stem else F.relu(self.last_norm(out))


def refuse_nonsense(
    model: AbstractModel, stages: tuple[int, ...], width: int, *, stem: Stem = "small", padding: Padding = "symmetric"
) -> None:
    """Raises MethodError for a network without blocks or channels, or a large stem with small images' padding."""
    if stem == "large" and padding == "same":
        raise MethodError(
            f"{type(model).__name__}(stem='large', padding='same'): that padding belongs to data diet's networks for "
            "small images. Use padding='symmetric'."
        )
    if not stages or min(stages) < 1:
        raise MethodError(
            f"{type(model).__name__}(stages={stages}): every stage needs at least one block, because it would pass "
            "nothing on. Give the number of blocks of each stage, such as (2, 2, 2, 2)."
        )
    if width < 1:
        raise MethodError(
            f"{type(model).__name__}(width={width}): the first stage needs at least one channel. Use a positive width."
        )


def _residual(
    block: type[Basic] | type[Bottleneck], model: ResNet18 | ResNet34 | ResNet50, channels: int, classes: int
) -> nn.Module:
    body = ResNet(block, model.stages, model.width, model.padding, channels, classes, model.stem)
    initialise(body, model.init)
    return body


@dataclass(frozen=True)
class ResNet18(AbstractModel):
    """ResNet-18: 11,173,962 parameters for 10 classes (data diet's `resnet18_lowres`); large, 11,689,512 for 1000.

    Args:
        stages: blocks in each stage; from the second on, a stage halves the image and doubles the channels.
        width: channels of the first stage.
        padding: "symmetric" as torch pads, or "same" as TensorFlow does (they differ at stride 2 on even sizes).
        init: "he" (He et al. 2015, fan-out), or "lecun" as data diet's networks began.
        stem: "small" keeps the resolution, for images of up to 64 pixels; "large" quarters it, for those of ImageNet.
    """

    stages: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 64
    padding: Padding = "symmetric"
    init: Initialisation = "he"
    stem: Stem = "small"

    def __post_init__(self) -> None:
        refuse_nonsense(self, self.stages, self.width, stem=self.stem, padding=self.padding)

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        return _residual(Basic, self, shape[0], classes)


@dataclass(frozen=True)
class ResNet34(AbstractModel):
    """ResNet-34: with the large stem 21,797,672 parameters for 1000 classes.

    Args:
        stages: blocks in each stage; from the second on, a stage halves the image and doubles the channels.
        width: channels of the first stage.
        padding: "symmetric" as torch pads, or "same" as TensorFlow does (they differ at stride 2 on even sizes).
        init: "he" (He et al. 2015, fan-out), or "lecun" as data diet's networks began.
        stem: "small" keeps the resolution, for images of up to 64 pixels; "large" quarters it, for those of ImageNet.
    """

    stages: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    padding: Padding = "symmetric"
    init: Initialisation = "he"
    stem: Stem = "small"

    def __post_init__(self) -> None:
        refuse_nonsense(self, self.stages, self.width, stem=self.stem, padding=self.padding)

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        return _residual(Basic, self, shape[0], classes)


@dataclass(frozen=True)
class ResNet50(AbstractModel):
    """ResNet-50: 23,520,842 parameters for 10 classes (data diet's `resnet50_lowres`); large, 25,557,032 for 1000.

    Args:
        stages: blocks in each stage; from the second on, a stage halves the image and doubles the channels.
        width: channels of the first stage's 3x3 convolutions; blocks give four times as many.
        padding: "symmetric" as torch pads, or "same" as TensorFlow does (they differ at stride 2 on even sizes).
        init: "he" (He et al. 2015, fan-out), or "lecun" as data diet's networks began: there the last
            normalisation of each block starts at scale 0, so that every block starts as its shortcut.
        stem: "small" keeps the resolution, for images of up to 64 pixels; "large" quarters it, for those of ImageNet.
    """

    stages: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    padding: Padding = "symmetric"
    init: Initialisation = "he"
    stem: Stem = "small"

    def __post_init__(self) -> None:
        refuse_nonsense(self, self.stages, self.width, stem=self.stem, padding=self.padding)

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        body = _residual(Bottleneck, self, shape[0], classes)
        if self.init == "lecun":
            for block in body.modules():
                if isinstance(block, Bottleneck):
                    nn.init.zeros_(block.norm3.weight)
        return body


@dataclass(frozen=True)
class PreActResNet18(AbstractModel):
    """ResNet-18 with normalisation and rectifier before each convolution (He et al., ECCV 2016).

    Args:
        stages: blocks in each stage; from the second on, a stage halves the image and doubles the channels.
        width: channels of the first stage.
    """

    stages: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 64

    def __post_init__(self) -> None:
        refuse_nonsense(self, self.stages, self.width)

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        body = ResNet(PreActivation, self.stages, self.width, "symmetric", shape[0], classes)
        initialise(body, "he")
        return body
