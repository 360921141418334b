"""Measured seconds: what is said of them, and that the network is left as it was."""

from __future__ import annotations

import pytest
import torch
from tests.unit.sparsity.networks import narrow

from paredown.errors import MethodError
from paredown.sparsity.groups import groups_of
from paredown.sparsity.latency import GRID, LatencyTable, latency_of, layer_latencies
from paredown.sparsity.layers import layers_of


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_figure_says_what_it_was_measured_on(channels_last: bool) -> None:
    made = narrow("resnet18").train()
    found = latency_of(made, batch=2, repeats=3, warm_up=1, channels_last=channels_last)
    assert 0 < found.fastest <= found.seconds and found.throughput == pytest.approx(2 / found.seconds)
    assert (found.batch, found.threads, found.repeats) == (2, torch.get_num_threads(), 3)
    assert (found.device, found.dtype, found.channels_last) == ("cpu", "float32", channels_last)
    assert made.training and made.get_parameter("body.blocks.0.conv1.weight").is_contiguous()


def test_layers_alone() -> None:
    made = narrow("vgg16_bn")
    found = layer_latencies(made, repeats=2, warm_up=0)
    assert list(found) == [layer.name for layer in layers_of(made)]
    assert all(seconds > 0 for seconds in found.values())


def test_a_table_of_widths() -> None:
    made = narrow("wrn_28_4")
    layers, groups = layers_of(made), groups_of(made)
    table = LatencyTable.measure(made, repeats=1, warm_up=0)
    assert table.grid == GRID and table.threads == torch.get_num_threads()
    whole = table.of_groups(layers, groups, [group.size for group in groups])
    assert whole == pytest.approx(sum(rows[-1][-1] for rows in table.seconds.values()))
    assert table.of_groups(layers, groups, [1] * len(groups)) >= 0


def test_nothing_to_measure() -> None:
    with pytest.raises(MethodError, match=r"latency_of\(batch=0, repeats=20\)"):
        latency_of(narrow("resnet18"), batch=0)
