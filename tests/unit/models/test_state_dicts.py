"""Published weights: files made on the spot, as training scripts write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from paredown.artifacts import Checkpoint
from paredown.errors import ArtifactError, MethodError
from paredown.models import PreActSwish, ResNet18, Vgg16Bn, WideResNet, load, load_published

MODEL = WideResNet(depth=10, width=1)
SHAPE, CLASSES = (3, 16, 16), 4
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)


@pytest.fixture(scope="module")
def body() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made = MODEL.build(SHAPE, CLASSES)
        for layer in made.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.running_mean)  # type: ignore[arg-type]
    return made.eval()


def opened(path: Path, model: Any = MODEL, **how: Any) -> Checkpoint:
    given = {"shape": SHAPE, "classes": CLASSES, "mean": MEAN, "std": STD} | how
    return load_published(path, model, **given)


def same(checkpoint: Checkpoint, body: nn.Module) -> None:
    """Checks that the checkpoint's network normalises and then does what the body does."""
    x = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    normal = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(load(checkpoint)(x), body(normal))


@pytest.mark.parametrize("prefix", ["", "module.", "module.0.", "0.", "module.1."])
@pytest.mark.parametrize("inside", ["", "model_state_dict", "state_dict"])
def test_prefixes_and_wrappings(tmp_path: Path, body: nn.Module, prefix: str, inside: str) -> None:
    held: Any = {prefix + name: value for name, value in body.state_dict().items()}
    if inside:
        others = {name: torch.zeros_like(value) for name, value in held.items()}
        held = {inside: held, "unaveraged_model_state_dict": others, "epoch": 400}
    torch.save(held, tmp_path / "weights-best.pt")
    same(opened(tmp_path / "weights-best.pt"), body)


def test_the_network_as_a_training_script_wraps_it(tmp_path: Path, body: nn.Module) -> None:
    wrapped = nn.DataParallel(nn.Sequential(body))
    torch.save({"model_state_dict": wrapped.state_dict()}, tmp_path / "weights.pt")
    checkpoint = opened(tmp_path / "weights.pt", step=7)
    same(checkpoint, body)
    assert checkpoint.step == 7 and checkpoint.model == MODEL.plain()
    checkpoint.save(tmp_path / "checkpoint")
    same(Checkpoint.open(tmp_path / "checkpoint"), body)


def test_safetensors_and_half_precision(tmp_path: Path, body: nn.Module) -> None:
    held = {f"module.{name}": value.contiguous() for name, value in body.state_dict().items()}
    save_file(held, tmp_path / "weights.safetensors")
    same(opened(tmp_path / "weights.safetensors"), body)
    half = {name: value.half() if value.is_floating_point() else value for name, value in body.state_dict().items()}
    torch.save(half, tmp_path / "half.pt")
    assert all(
        array.dtype in (np.float32, np.int64) and array.shape == opened(tmp_path / "half.pt").weights[name].shape
        for name, array in opened(tmp_path / "half.pt").weights.items()
    )


class Trap:
    """Would run code if it were unpickled."""

    def __reduce__(self) -> Any:
        return (print, ("unpickled",))


@pytest.mark.parametrize(
    ("held", "sentence"),
    [
        ({"state_dict": Trap()}, r"holds more than tensors, and reading that would run its code"),
        ({"lr": 0.1}, r"no dictionary from names to weights, bare or under one of model_state_dict, state_dict"),
        ({}, r"no dictionary from names to weights"),
        ([1, 2], r"no dictionary from names to weights"),
        ({"logits.bias": torch.tensor([float("nan")])}, r"'logits.bias' holds numbers that are not finite"),
        ({"logits.bias": torch.zeros(4)}, r"not of this architecture.*hold no 'body.init_conv.weight'"),
    ],
    ids=["code", "no weights", "empty", "list", "nan", "other"],
)
def test_files_that_hold_something_else(tmp_path: Path, held: Any, sentence: str, capsys: Any) -> None:
    torch.save(held, tmp_path / "weights.pt")
    with pytest.raises(ArtifactError, match=rf"weights\.pt: .*{sentence}"):
        opened(tmp_path / "weights.pt")
    assert capsys.readouterr().out == ""


def test_another_architecture(tmp_path: Path, body: nn.Module) -> None:
    torch.save(body.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ArtifactError, match=r"not of this architecture.*has shape"):
        opened(tmp_path / "weights.pt", PreActSwish(stages=(1, 1, 1), width=16))
    with pytest.raises(ArtifactError, match=r"'body.logits.weight' has shape \(4, 64\)"):
        opened(tmp_path / "weights.pt", classes=5)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_missing_and_damaged_files(tmp_path: Path, body: nn.Module, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(ArtifactError, match=r"there is no such file. Download the weights first"):
        opened(path)
    path.write_bytes(b"no weights at all")
    with pytest.raises(ArtifactError, match=r"no file of (weights|torch)"):
        opened(path)
    (save_file if name.endswith("safetensors") else torch.save)(dict(body.state_dict()), path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ArtifactError, match=r"damaged, truncated or no file of weights"):
        opened(path)


@pytest.mark.parametrize("how", [{"mean": (0.5,)}, {"std": (1.0, 1.0, 0.0)}])
def test_normalisation_that_does_not_fit(tmp_path: Path, how: dict[str, Any]) -> None:
    with pytest.raises(
        MethodError, match=r"load_published\(mean=.*3 channels need so many means and deviations above 0"
    ):
        opened(tmp_path / "weights.pt", **how)


def as_published(name: str) -> str:
    """Gives the name that TRADES and HYDRA have for a weight of a wide ResNet."""
    parts = {"init_conv": "conv1", "batchnorm": "bn1", "logits": "fc"}
    inner = {"batchnorm_0": "bn1", "conv_0": "conv1", "batchnorm_1": "bn2", "conv_1": "conv2"}
    steps = name.split(".")
    if steps[0] != "layer":
        return ".".join([parts[steps[0]], *steps[1:]])
    return ".".join(
        [
            f"block{int(steps[1]) + 1}",
            "layer",
            steps[3],
            inner.get(steps[4], {"shortcut": "convShortcut"}.get(steps[4], "")),
            *steps[5:],
        ]
    )


def test_names_of_robust_wide_resnets(tmp_path: Path) -> None:
    model = WideResNet(depth=10, width=2, activation="relu")
    made = model.build(SHAPE, CLASSES).eval()
    held = {f"module.{as_published(name)}": value for name, value in made.state_dict().items()}
    # The copy of the first stage that no forward pass uses, and scores of a pruning that has not begun.
    held |= {
        name.replace("block1", "sub_block1"): torch.zeros_like(value)
        for name, value in held.items()
        if "block1" in name
    }
    held |= {name.replace("weight", "popup_scores"): value for name, value in held.items() if "conv" in name}
    torch.save({"state_dict": held, "epoch": 100, "best_prec1": torch.tensor(0.5)}, tmp_path / "wrn.pth.tar")
    same(opened(tmp_path / "wrn.pth.tar", model), made)


def test_names_of_robust_resnets(tmp_path: Path) -> None:
    model = ResNet18(width=4)
    made = model.build(SHAPE, CLASSES).eval()
    held = {}
    for name, value in made.state_dict().items():
        steps = name.replace("norm", "bn").split(".")
        if steps[0] == "blocks":
            steps = [f"layer{int(steps[1]) // 2 + 1}", str(int(steps[1]) % 2), *steps[2:]]
        first = {"stem": "conv1", "stem_bn": "bn1"}.get(steps[0], steps[0])
        held[".".join([first, *steps[1:]])] = value
    assert {"conv1.weight", "bn1.bias", "layer4.1.bn2.running_var", "layer2.0.shortcut.0.weight", "linear.bias"} <= set(
        held
    )
    torch.save({"net": held}, tmp_path / "resnet18.pt")
    same(opened(tmp_path / "resnet18.pt", model), made)
    del held["layer2.0.shortcut.0.weight"]
    torch.save({"net": held}, tmp_path / "short.pt")
    with pytest.raises(ArtifactError, match=r"the weights hold no 'body.blocks.2.shortcut.0.weight'"):
        opened(tmp_path / "short.pt", model)


def test_names_of_robust_vgg(tmp_path: Path) -> None:
    model = Vgg16Bn(width=2)
    made = model.build(SHAPE, CLASSES).eval()
    torch.save({"state_dict": made.state_dict()}, tmp_path / "vgg.pth.tar")
    same(opened(tmp_path / "vgg.pth.tar", model), made)
