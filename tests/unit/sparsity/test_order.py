"""Published lists: read in their order, and every fault in them named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.sparsity.networks import described

from paredown.artifacts import PruningStrategy
from paredown.artifacts.layers import searched
from paredown.errors import ArtifactError, MethodError
from paredown.sparsity.cost import cost_of, dense, published_target, ratio
from paredown.sparsity.order import applied_to_resnet50, read_published


def written(folder: Path, held: Any) -> Path:
    path = folder / "CIFAR10.json"
    path.write_text(json.dumps(held))
    return path


def test_a_published_list(tmp_path: Path) -> None:
    layers, _ = described("vgg16_bn")
    # vgg16_bn, CIFAR10, channel, 05_0: the kept inputs are 3, 64, 63, …, 507 features, 150, 166.
    entries = [
        *(1.0, 1.0, 0.984375, 1.0, 1.0, 0.9375, 0.921875, 0.9921875, 0.5175781, 0.4453125, 0.36914062, 0.23046875),
        *(0.24414062, 0.2475586, 0.5859375, 0.6484375),
    ]
    path = written(tmp_path, {"vgg16_bn": {"channel": {"05_0": entries}}})
    found = read_published(path, layers, arch="vgg16_bn", granularity="channel", run="05_0")
    kept = [round(found.shares[layer.name] * layer.shape[1]) for layer in layers]
    assert kept == [3, 64, 63, 128, 128, 240, 236, 254, 265, 228, 189, 118, 125, 507, 150, 166]
    assert found.to_list(layers) == entries
    assert found.measure == "published-search" and found.notes == ("vgg16_bn channel 05_0 of CIFAR10.json",)
    assert found.budget is not None
    assert (round(found.budget.wanted, 5), round(found.budget.got or 0, 5)) == (0.25007, 0.24178)
    assert ratio(layers, cost_of(layers, found.shares, "channel"), "macs") == pytest.approx(0.658751426725)


def test_projections_take_the_share_of_their_block_in_channel_mode(tmp_path: Path) -> None:
    layers, _ = described("resnet18")
    entries = [(number + 1) / 20 for number in range(18)]
    path = written(tmp_path, {"resnet18": {"channel": {"05_9": entries}}})
    found = read_published(path, layers, arch="resnet18", granularity="channel", run="05_9")
    for shortcut, entry in (("blocks.2", 5), ("blocks.4", 9), ("blocks.6", 13)):
        assert found.shares[f"{shortcut}.shortcut.0"] == found.shares[f"{shortcut}.conv1"] == entries[entry]
    assert found.to_list(layers) == entries


@pytest.mark.parametrize("granularity", ["weight", "channel"])
@pytest.mark.parametrize("name", ["vgg16_bn", "resnet18", "wrn_28_4", "ResNet50"])
@pytest.mark.parametrize("seed", range(3))
def test_lists_there_and_back(name: str, granularity: Any, seed: int) -> None:
    layers, _ = described(name)
    entries = (1 - np.random.default_rng(seed).random(len(searched(layers, granularity)))).tolist()
    found = PruningStrategy.from_list(layers, entries, granularity=granularity)
    assert found.to_list(layers) == entries
    assert list(found.shares) == [layer.name for layer in layers]
    if granularity == "weight":
        modules = PruningStrategy.from_list(
            layers, list(found.shares.values()), granularity=granularity, order="module"
        )
        assert modules == found


def test_the_shift_of_resnet50(tmp_path: Path) -> None:
    layers, _ = described("ResNet50")
    entries = [(number + 1) / 54 for number in range(54)]
    path = written(tmp_path, {"ResNet50": {"weight": {"010_0": entries, "010_uni": [0.1] * 54}}})
    listed = read_published(path, layers, arch="ResNet50", granularity="weight", run="010_0")
    applied = read_published(path, layers, arch="ResNet50", granularity="weight", run="010_0", as_applied=True)
    assert any("one entry late from the last stage on" in note for note in listed.notes)
    assert listed.shares["blocks.13.shortcut.0"] == entries[43]
    # The published code gave the last projection the entry before its own, which the convolution before it has too …
    assert applied.shares["blocks.13.shortcut.0"] == entries[42] == applied.shares["blocks.12.conv3"]
    # … the block's first convolution what the projection should have had, and so on; the last but one is lost.
    assert applied.shares["blocks.13.conv1"] == entries[43]
    assert applied.shares["blocks.15.conv3"] == entries[51]
    assert applied.shares["linear"] == entries[53]
    assert listed.shares["blocks.12.conv3"] == entries[42] and listed.shares["blocks.15.conv3"] == entries[52]
    uniform = read_published(path, layers, arch="ResNet50", granularity="weight", run="010_uni")
    assert len(uniform.notes) == 1  # shifted it is the same
    with pytest.raises(MethodError, match=r"54 shares in weight mode, and this list has 3"):
        applied_to_resnet50([0.1] * 3)


def test_lists_over_their_target(tmp_path: Path) -> None:
    layers, _ = described("resnet18")
    path = written(tmp_path, {"resnet18": {"weight": {"010_0": [0.175] * 21, "010_1": [0.1] * 21}}})
    over = read_published(path, layers, arch="resnet18", granularity="weight", run="010_0")
    assert over.notes[1:] == ("the list keeps 17.50% of the weights, and its target is 10.00%",)
    assert len(read_published(path, layers, arch="resnet18", granularity="weight", run="010_1").notes) == 1


def test_a_stray_share_among_equal_ones(tmp_path: Path) -> None:
    layers, _ = described("resnet18")
    stray = [0.01] * 4 + [0.1] + [0.01] * 16
    path = written(tmp_path, {"resnet18": {"weight": {"001_uni": stray}, "channel": {"05_uni": [1.0] + [0.5] * 17}}})
    found = read_published(path, layers, arch="resnet18", granularity="weight", run="001_uni")
    assert found.measure == "uniform"
    assert "entry 4 of this uniform list is 0.1 and all others are 0.01" in found.notes
    # A first layer that keeps all is no fault.
    assert len(read_published(path, layers, arch="resnet18", granularity="channel", run="05_uni").notes) == 1


def test_baselines_in_module_order(tmp_path: Path) -> None:
    layers, _ = described("resnet18")
    entries = [(number + 1) / 100 for number in range(21)]
    path = written(tmp_path, {"resnet18": {"weight": {"001_erk": entries, "010_erk": entries}}})
    modules = read_published(path, layers, arch="resnet18", granularity="weight", run="001_erk")
    assert list(modules.shares.values()) == entries and modules.measure == "erk"
    assert any("stands in module order" in note for note in modules.notes)
    listed = read_published(path, layers, arch="resnet18", granularity="weight", run="010_erk")
    assert listed.to_list(layers) == entries


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        ({"arch": "resnet81"}, r"it has no 'resnet81'. Did you mean 'resnet18'"),
        ({"granularity": "channel"}, r"it has no 'channel' under resnet18. There are: weight"),
        ({"run": "09_0"}, r"it has no '09_0' under weight. There are: "),
        ({"run": "text"}, r"resnet18 weight text is no list of numbers"),
    ],
)
def test_what_a_file_does_not_have(tmp_path: Path, run: dict[str, str], sentence: str) -> None:
    layers, _ = described("resnet18")
    path = written(tmp_path, {"resnet18": {"weight": {"text": "x", "010_long": [0.1] * 22}}})
    with pytest.raises(ArtifactError, match=sentence):
        read_published(path, layers, **({"arch": "resnet18", "granularity": "weight", "run": "010_0"} | run))  # type: ignore[arg-type]


def test_lists_and_files_that_do_not_fit(tmp_path: Path) -> None:
    layers, _ = described("resnet18")
    path = written(tmp_path, {"resnet18": {"weight": {"010_long": [0.1] * 22, "010_empty": [0.1] * 20 + [0.0]}}})
    with pytest.raises(MethodError, match=r"22 shares, and a list in weight mode has 21 for this architecture"):
        read_published(path, layers, arch="resnet18", granularity="weight", run="010_long")
    with pytest.raises(MethodError, match=r"layer 'linear' keeps 0 of its weights; a share lies above 0"):
        read_published(path, layers, arch="resnet18", granularity="weight", run="010_empty")
    with pytest.raises(ArtifactError, match=r"there is no such file"):
        read_published(tmp_path / "SVHN.json", layers, arch="resnet18", granularity="weight", run="010_0")
    path.write_text("{")
    with pytest.raises(ArtifactError, match=r"damaged, or no JSON"):
        read_published(path, layers, arch="resnet18", granularity="weight", run="010_0")


def test_the_target_of_an_id(tmp_path: Path) -> None:
    layers, _ = described("wrn_28_4")
    path = written(tmp_path, {"wrn_28_4": {"channel": {"01_0": [1.0] + [0.1] * 25}}})
    found = read_published(path, layers, arch="wrn_28_4", granularity="channel", run="01_0")
    assert found.budget is not None and found.budget.accounting == "published"
    assert found.budget.wanted == published_target(layers, 0.1, "channel") / dense(layers).total("parameters")
    assert found.budget.got == pytest.approx(0.009992, abs=5e-7)
