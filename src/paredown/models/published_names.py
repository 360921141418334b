"""Names of layers in the code that robust pruning was published with, and what they are called here.

HYDRA (Sehwag et al., NeurIPS 2020) and what was built on it name ResNets as torchvision does, with `shortcut` and
`linear`; wide ResNets as TRADES does (Zhang et al., ICML 2019). VGG has the same names here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from paredown.models.build import AbstractModel
from paredown.models.resnet import ResNet18, ResNet34, ResNet50
from paredown.models.torchvision_names import ours
from paredown.models.wide_resnet import WideResNet

Value = TypeVar("Value")

WIDE = re.compile(r"block(\d)\.layer\.(\d+)\.(\w+)\.(.+)")
WIDE_INNER = {
    "bn1": "batchnorm_0",
    "conv1": "conv_0",
    "bn2": "batchnorm_1",
    "conv2": "conv_1",
    "convShortcut": "shortcut",
}
WIDE_PARTS = {"conv1": "init_conv", "bn1": "batchnorm", "fc": "logits"}
NEVER_RUN = "sub_block1."
SCORES = "popup_scores"


def renamed(model: AbstractModel, weights: Mapping[str, Value]) -> dict[str, Value]:
    """Gives weights under the names that a model has for them; names of other code stay as they are.

    What no forward pass uses is left out: the copy of a stage that wide ResNets carry, and scores of pruning, which
    mean nothing in a network that was trained whole.

    Args:
        model: the architecture.
        weights: by the names of a published file, without what all of them begin with.
    """
    held = {name: value for name, value in weights.items() if not name.endswith(SCORES)}
    if isinstance(model, WideResNet) and "block1.layer.0.conv1.weight" in held:
        return {_wide(name): value for name, value in held.items() if not name.startswith(NEVER_RUN)}
    if isinstance(model, ResNet18 | ResNet34 | ResNet50) and "layer1.0.conv1.weight" in held:
        return {ours(name, model.stages): value for name, value in held.items()}
    return held


def _wide(name: str) -> str:
    if hit := WIDE.fullmatch(name):
        return f"layer.{int(hit[1]) - 1}.block.{hit[2]}.{WIDE_INNER.get(hit[3], hit[3])}.{hit[4]}"
    first, _, rest = name.partition(".")
    return f"{WIDE_PARTS.get(first, first)}.{rest}"
