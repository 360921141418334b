"""A descriptor network like SSCD's, a thousand times smaller: what tests save in place of the published weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

BASIC = {
    "conv1": "convolutional_block.0",
    "bn1": "convolutional_block.1",
    "conv2": "convolutional_block.3",
    "bn2": "bn",
}
DEEP = BASIC | {"bn2": "convolutional_block.4", "conv3": "convolutional_block.6", "bn3": "bn"}


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, deep: bool) -> None:
        super().__init__()
        inner = outputs // 4 if deep else outputs
        self.conv1 = nn.Conv2d(inputs, inner, 1 if deep else 3, 1 if deep else stride, 0 if deep else 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride if deep else 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        if deep:
            self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(outputs)
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        else:
            self.downsample = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(out + self.downsample(x))


class Trunk(nn.Module):
    """In torchvision's names: one block in each of four stages."""

    def __init__(self, width: int, deep: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        outputs = [width * 2**stage * (4 if deep else 1) for stage in range(4)]
        inputs = [width, *outputs[:-1]]
        self.layer1 = nn.Sequential(Block(inputs[0], outputs[0], 1, deep))
        self.layer2 = nn.Sequential(Block(inputs[1], outputs[1], 2, deep))
        self.layer3 = nn.Sequential(Block(inputs[2], outputs[2], 2, deep))
        self.layer4 = nn.Sequential(Block(inputs[3], outputs[3], 2, deep))
        self.fc = nn.Linear(outputs[3], 6)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.clamp(min=1e-6).pow(3.0).mean((2, 3)).pow(1 / 3.0))


class TinySscd(nn.Module):
    def __init__(self, *, deep: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.backbone = Trunk(4, deep)
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    nn.init.normal_(module.running_mean, 0, 0.1)  # type: ignore[arg-type]
                    nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(self.backbone(x))


def tiny_sscd() -> TinySscd:
    return TinySscd().eval()


def classy_names(state: dict[str, Tensor], block: str) -> dict[str, Tensor]:
    """Gives the same weights in Classy Vision's names, which two of its versions write differently."""
    named = {}
    deep = any("conv3" in name for name in state)
    for name, value in state.items():
        first, *rest = name.removeprefix("backbone.").split(".")
        kind = rest[-1]
        if first == "fc":
            named[f"embeddings.1.{kind}"] = value
        elif first.startswith("layer"):
            stage, inner = int(first[5:]) - 1, ".".join(rest[1:-1])
            inner = (DEEP if deep else BASIC).get(inner, inner)
            named[f"backbone.blocks.{stage}.{block.format(stage)}{rest[0]}.{inner}.{kind}"] = value
        else:
            named[f"backbone.initial_block._module.{0 if first == 'conv1' else 1}.{kind}"] = value
    return named
