"""What strategies cost: both accountings, whole channels, targets."""

from __future__ import annotations

import pytest
from tests.unit.sparsity.networks import WHOLE, described

from paredown.artifacts import PruningStrategy
from paredown.errors import MethodError
from paredown.sparsity import groups as by_groups
from paredown.sparsity.cost import (
    compacted,
    cost_of,
    dense,
    kept_weights,
    masked_inputs,
    output_shares,
    published_target,
    ratio,
    readers,
)


@pytest.mark.parametrize(
    ("name", "half", "tenth", "target_half", "target_tenth"),
    [
        ("vgg16_bn", 0.250070, 0.010025, 0.25007, 0.010025),
        ("resnet18", 0.246455, 0.009940, 0.250153, 0.010055),
        ("wrn_28_4", 0.248403, 0.009992, 0.250128, 0.010046),
        ("ResNet50", 0.244111, 0.016446, 0.270168, 0.017261),
    ],
)
def test_the_published_accounting(
    name: str, half: float, tenth: float, target_half: float, target_tenth: float
) -> None:
    layers, _ = described(name)
    total = dense(layers).total("parameters")
    for share, lower, believed, target in ((0.5, 0.1, half, target_half), (0.1, 0.05, tenth, target_tenth)):
        shares = PruningStrategy.uniform(layers, share, granularity="channel").shares
        cost = cost_of(layers, shares, "channel", accounting="published", lower=lower)
        assert ratio(layers, cost) == pytest.approx(believed, abs=5e-7)
        assert published_target(layers, share, "channel") / total == pytest.approx(target, abs=5e-7)
        assert published_target(layers, share, "weight") / total == pytest.approx(share)
    with pytest.raises(MethodError, match=r"it charges projections by lower="):
        cost_of(layers, shares, "channel", accounting="published")


@pytest.mark.parametrize(
    ("name", "half", "tenth"),
    [
        ("vgg16_bn", (3_826_784, 78_890_240), (153_164, 3_267_398)),
        ("resnet18", (2_792_800, 139_299_328), (112_430, 5_581_550)),
        ("wrn_28_4", (1_461_208, 211_510_528), (60_097, 8_368_132)),
        ("ResNet50", (6_890_080, 1_052_311_552), (441_033, 50_851_596)),
    ],
)
def test_whole_channels_after_removal(name: str, half: tuple[int, int], tenth: tuple[int, int]) -> None:
    layers, groups = described(name)
    for share, expected in ((0.5, half), (0.1, tenth)):
        shares = PruningStrategy.uniform(layers, share, granularity="channel").shares
        left = compacted(layers, shares)
        assert (left.total("parameters"), left.total("macs")) == expected
        if share == 0.5:  # every width is even, so that rounding by layer and by group agree
            counts = by_groups.group_counts(groups, by_groups.group_shares(groups, shares))
            assert by_groups.compacted(layers, groups, counts) == left


@pytest.mark.parametrize(
    ("name", "tenth", "hundredth"),
    [
        ("vgg16_bn", 1_530_291, 153_035),
        ("resnet18", 1_116_445, 111_653),
        ("wrn_28_4", 584_199, 58_434),
        ("ResNet50", 2_550_318, 255_052),
    ],
)
def test_weights_by_hydras_rule(name: str, tenth: int, hundredth: int) -> None:
    layers, _ = described(name)
    for share, expected in ((0.1, tenth), (0.01, hundredth)):
        shares = PruningStrategy.uniform(layers, share, granularity="weight").shares
        assert sum(kept_weights(layers, shares, "hydra").values()) == expected


def test_the_outputs_of_a_layer_are_what_its_first_reader_reads() -> None:
    layers, _ = described("resnet18")
    first = readers(layers)
    assert first["stem"] == "blocks.0.conv1" and first["linear"] == ""
    assert first["blocks.0.conv2"] == "blocks.1.conv1"
    # Behind a block with a projection both of its ends go to the next block.
    assert first["blocks.2.conv2"] == first["blocks.2.shortcut.0"] == "blocks.3.conv1"
    assert first["blocks.1.conv2"] == "blocks.2.conv1"
    shares = {layer.name: 0.5 for layer in layers} | {"blocks.3.conv1": 0.25}
    outputs = output_shares(layers, shares)
    assert outputs["blocks.2.shortcut.0"] == 0.25 and outputs["linear"] == 1.0


def test_costs_by_granularity() -> None:
    layers, _ = described("vgg16_bn")
    shares = PruningStrategy.uniform(layers, 0.5, granularity="channel").shares
    assert ratio(layers, cost_of(layers, shares, "weight"), "macs") == pytest.approx(0.5, abs=0.01)
    assert ratio(layers, cost_of(layers, shares, "channel"), "macs") == pytest.approx(0.251411802522)
    filters = {layer.name: 0.5 for layer in layers} | {"classifier.4": 1.0}
    assert ratio(layers, cost_of(layers, filters, "filter")) == pytest.approx(0.250070052320)
    assert masked_inputs(layers, shares) == 7_652_288  # filters that feed masked inputs stay
    with pytest.raises(MethodError, match=r"Seconds are measured, not counted"):
        dense(layers).total("latency")


def test_the_dense_network_costs_all() -> None:
    for name in WHOLE:
        layers, groups = described(name)
        shares = PruningStrategy.uniform(layers, 1.0, granularity="channel").shares
        assert compacted(layers, shares) == dense(layers)
        assert by_groups.compacted(layers, groups, [group.size for group in groups]) == dense(layers)
        assert cost_of(layers, shares, "channel") == dense(layers)
