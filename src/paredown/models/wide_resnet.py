"""Wide ResNets and pre-activation ResNets with Swish: the networks of robust training.

The Swish family follows Gowal et al. 2020 in the form that published robust checkpoints have: names of layers, padding
at strides and initialisation, so that such checkpoints load.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from paredown.errors import MethodError
from paredown.models.build import AbstractModel

Activation = Literal["relu", "swish"]


def _activate(name: Activation, x: Tensor) -> Tensor:
    return F.silu(x) if name == "swish" else F.relu(x)


class Block(nn.Module):
    """Two 3x3 convolutions, each after normalisation and activation, beside a shortcut.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        stride: of the first convolution.
        activation: before each convolution.
        raw: whether a shortcut with weights sees the input before its activation, through a 3x3 kernel
            (pre-activation ResNets), or after it, through a 1x1 kernel (wide ResNets).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, activation: Activation, *, raw: bool = False) -> None:
        super().__init__()
        self.activation, self.stride, self.raw = activation, stride, raw
        momentum = 0.01 if activation == "swish" else 0.1
        # TensorFlow's padding at strides: one pixel at the right and at the bottom only.
        self.beyond = activation == "swish" and stride == 2
        padding = 0 if self.beyond else 1
        self.batchnorm_0 = nn.BatchNorm2d(inputs, momentum=momentum)
        self.conv_0 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=padding, bias=False)
        self.batchnorm_1 = nn.BatchNorm2d(outputs, momentum=momentum)
        self.conv_1 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut: nn.Conv2d | None = None
        if raw and (stride != 1 or inputs != outputs):
            self.shortcut = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=padding, bias=False)
        elif not raw and inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = _activate(self.activation, self.batchnorm_0(x))
        out = self.conv_0(self._padded(active))
        out = self.conv_1(_activate(self.activation, self.batchnorm_1(out)))
        if self.shortcut is None:
            return out + x
        return out + self.shortcut(self._padded(x) if self.raw else active)

    def _padded(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 1, 0, 1)) if self.beyond else x


class Group(nn.Module):
    """Blocks of one width."""

    def __init__(self, blocks: list[Block]) -> None:
        super().__init__()
        self.block = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class PreActivationNetwork(nn.Module):
    """Stem, groups of blocks, normalisation, activation, mean over positions, linear layer."""

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        stem: int,
        widths: tuple[int, ...],
        blocks: tuple[int, ...],
        activation: Activation,
        raw: bool = False,
    ) -> None:
        super().__init__()
        self.activation: Activation = activation
        self.init_conv = nn.Conv2d(channels, stem, 3, padding=1, bias=False)
        inputs, groups = stem, []
        for number, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            made = []
            for place in range(count):
                stride = 2 if number and not place else 1
                made.append(Block(inputs, width, stride, activation, raw=raw))
                inputs = width
            groups.append(Group(made))
        self.layer = nn.Sequential(*groups)
        self.batchnorm = nn.BatchNorm2d(inputs, momentum=0.01 if activation == "swish" else 0.1)
        self.logits = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer(self.init_conv(x))
        out = _activate(self.activation, self.batchnorm(out))
        return self.logits(out.mean((2, 3)))


@dataclass(frozen=True)
class WideResNet(AbstractModel):
    """WRN-d-k (Zagoruyko and Komodakis 2016): 36,479,194 parameters for depth 28, width 10 and ten classes.

    Args:
        depth: d, such that (d - 4) / 6 blocks make each of the three groups.
        width: k, the factor of the channels 16, 32 and 64.
        activation: "swish" (SiLU) as robust training prefers it (Gowal et al. 2020), or "relu".
    """

    depth: int = 28
    width: int = 10
    activation: Activation = "swish"

    def __post_init__(self) -> None:
        if self.depth < 10 or (self.depth - 4) % 6:
            nearest = max(10, 4 + 6 * round((self.depth - 4) / 6))
            raise MethodError(
                f"WideResNet(depth={self.depth}): three groups of whole blocks need a depth of 6·n + 4. "
                f"The nearest is {nearest}."
            )
        if self.width < 1:
            raise MethodError(f"WideResNet(width={self.width}): the channels need a factor of at least 1.")

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        count = (self.depth - 4) // 6
        body = PreActivationNetwork(
            shape[0],
            classes,
            stem=16,
            widths=(16 * self.width, 32 * self.width, 64 * self.width),
            blocks=(count,) * 3,
            activation=self.activation,
        )
        for layer in body.modules():
            if isinstance(layer, nn.Conv2d):
                fan = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels
                nn.init.normal_(layer.weight, std=math.sqrt(2 / fan))
        nn.init.zeros_(body.logits.bias)
        return body


@dataclass(frozen=True)
class PreActSwish(AbstractModel):
    """PreAct ResNet with Swish and 3x3 shortcuts (Gowal et al. 2020): 12,548,426 parameters for ten classes.

    Args:
        stages: blocks in each stage: (2, 2, 2, 2) is ResNet-18, (3, 4, 6, 3) is ResNet-34.
        width: channels of the first stage; each later one doubles them.
    """

    stages: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 64

    def __post_init__(self) -> None:
        if not self.stages or min(self.stages) < 1 or self.width < 1:
            raise MethodError(
                f"PreActSwish(stages={self.stages}, width={self.width}): every stage needs a block and a channel."
            )

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        return PreActivationNetwork(
            shape[0],
            classes,
            stem=self.width,
            widths=tuple(self.width * 2**stage for stage in range(len(self.stages))),
            blocks=self.stages,
            activation="swish",
            raw=True,
        )
