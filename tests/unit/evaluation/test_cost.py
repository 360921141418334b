"""What a network costs: counted by hand, timed with its circumstances, zeros never as speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.sparsity.networks import NARROW, narrow

from paredown import Runtime, evaluate, export
from paredown.artifacts import Checkpoint, MaskSet, Row
from paredown.data import ImageDataset
from paredown.errors import MethodError
from paredown.evaluation import Cost
from paredown.evaluation.cost import has_two_in_four
from paredown.models import checkpoint_of
from paredown.pruning.compact import compacted
from paredown.sparsity.groups import group_masks, groups_of
from paredown.sparsity.layers import layers_of
from paredown.sparsity.masks import two_in_four

QUIET = Runtime(device="cpu", precision="float32", progress=False, threads=1)
COUNTED = Cost(batches=())


def data() -> ImageDataset:
    pixels = np.zeros((5, 16, 16, 3), np.uint8)
    return ImageDataset.from_arrays(pixels, np.arange(5), classes=list("abcde"), name="blank")


def rows(checkpoint: Checkpoint, probe: Cost = COUNTED) -> dict[str, Row]:
    return {row.metric: row for row in evaluate(checkpoint, data(), [probe], runtime=QUIET).rows}


def values(checkpoint: Checkpoint) -> dict[str, float]:
    return {name: row.value for name, row in rows(checkpoint).items()}


def test_counts_of_a_dense_network(tmp_path: Path) -> None:
    made = narrow("resnet18")
    checkpoint = checkpoint_of(made, NARROW["resnet18"], 1)
    found = values(checkpoint)
    layers = layers_of(made)
    assert found["parameters"] == sum(p.numel() for p in made.parameters())
    assert found["macs"] == sum(layer.macs for layer in layers)
    assert [found[f"kept-{what}"] for what in ("parameters", "macs", "weights")] == [1, 1, 1]
    assert found["two-in-four"] == 0 and found["bytes"] == found["bytes-sparse"]
    folder = checkpoint.save(tmp_path / "saved")
    assert found["bytes"] == (folder / "weights.safetensors").stat().st_size


def test_files_are_weighed() -> None:
    pytest.importorskip("onnxscript", reason="needs the extra 'export'")
    checkpoint = checkpoint_of(narrow("resnet18"), NARROW["resnet18"], 1)
    found = rows(checkpoint, Cost(batches=(), formats=("onnx", "torch")))
    files = export(checkpoint, runtime=QUIET)
    assert found["bytes-onnx"].value == files.bytes_of("network.onnx")
    assert found["bytes-torch"].value == files.bytes_of("network.pt2")


def test_channels_that_are_gone() -> None:
    made = narrow("vgg16_bn")
    layers, groups = layers_of(made), groups_of(made)
    masks = group_masks(layers, groups, [torch.arange(group.size) % 2 == 0 for group in groups])
    held = MaskSet({name: mask.numpy() for name, mask in masks.items()}, fingerprint="")
    checkpoint = checkpoint_of(made, NARROW["vgg16_bn"], 1)
    dense, small = values(checkpoint), values(compacted(checkpoint, held))
    assert 0.3 > small["kept-parameters"] == pytest.approx(small["parameters"] / dense["parameters"])
    assert 0.3 > small["kept-macs"] == pytest.approx(small["macs"] / dense["macs"])
    assert small["kept-weights"] == 1 and small["bytes"] < 0.4 * dense["bytes"]


def test_zeros_are_storage() -> None:
    made = narrow("resnet18")
    dense = values(checkpoint_of(made, NARROW["resnet18"], 1))
    layers = layers_of(made)
    spared = 0
    with torch.no_grad():
        for layer in layers:
            weight = made.get_parameter(f"{layer.name}.weight")
            weight.view(-1)[: weight.numel() // 10 * 9] = 0
            spared += 4 * (weight.numel() // 10 * 9) - -(-weight.numel() // 8)
    sparse = values(checkpoint_of(made, NARROW["resnet18"], 1))
    assert sparse["kept-weights"] == pytest.approx(0.1, abs=0.01)
    assert sparse["bytes"] == dense["bytes"] and sparse["bytes-sparse"] == dense["bytes"] - spared
    assert [sparse[name] for name in ("parameters", "macs", "kept-macs")] == [
        dense[name] for name in ("parameters", "macs", "kept-macs")
    ]


def test_the_pattern_that_hardware_skips() -> None:
    made = narrow("wrn_28_4")
    layers = layers_of(made)
    able = [layer for layer in layers if layer.inputs % 4 == 0]
    with torch.no_grad():
        for layer in able:
            weight = made.get_parameter(f"{layer.name}.weight")
            weight *= two_in_four(weight)
    found = values(checkpoint_of(made, NARROW["wrn_28_4"], 1))
    total = sum(layer.weights for layer in layers)
    assert found["two-in-four"] == pytest.approx(sum(layer.weights for layer in able) / total)
    assert not has_two_in_four(torch.tensor([[1.0, 1, 1, 0]]))
    assert has_two_in_four(torch.tensor([[1.0, 1, 0, 0, 0, 0, 1, 1]]))
    assert not has_two_in_four(torch.zeros(2, 3))


def test_seconds_say_what_they_are_of() -> None:
    checkpoint = checkpoint_of(narrow("wrn_28_4"), NARROW["wrn_28_4"], 1)
    found = rows(checkpoint, Cost(batches=(1, 4), repeats=3))
    timed = [name for name in found if name.startswith(Cost.timed)]
    assert timed == [
        f"{what}-{batch}-{precision}"
        for precision in ("float32", "bfloat16")
        for batch in (1, 4)
        for what in ("latency", "throughput")
    ]
    for batch in (1, 4):
        latency, throughput = found[f"latency-{batch}-float32"], found[f"throughput-{batch}-float32"]
        assert latency.n == 3 and latency.spread is not None and latency.value > 0
        assert throughput.value == pytest.approx(1e3 * batch / latency.value)
        assert "cpu" in latency.data and latency.data.endswith(", 1 threads, channels last")
    assert found["macs"].data == "blank"
    other = rows(checkpoint, Cost(batches=(1,), precisions=("float32",), channels_last=False, repeats=3))
    assert other["latency-1-float32"].data.endswith("1 threads")


def test_time_is_bounded() -> None:
    found = rows(
        checkpoint_of(narrow("wrn_28_4"), NARROW["wrn_28_4"], 1),
        Cost(batches=(1,), precisions=("float32",), repeats=10**6, seconds=0.2),
    )
    assert 3 <= found["latency-1-float32"].n < 10**4


@pytest.mark.parametrize("fields", [{"batches": (0,)}, {"repeats": 2}])
def test_nothing_to_time(fields: Any) -> None:
    with pytest.raises(MethodError, match=r"Cost\(batches=.*a batch holds at least one image"):
        Cost(**fields)


def test_other_data_than_images() -> None:
    from paredown.data import open_data

    made = narrow("resnet18")
    with pytest.raises(MethodError, match=r"Cost follows an image through a network"):
        COUNTED.measure(made, open_data("synthetic-sentences", n=10), runtime=QUIET, seed=0)  # type: ignore[arg-type]
