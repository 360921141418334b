"""Groups of channels: as many as specified, as another library finds them, and exact in what they take away."""

from __future__ import annotations

import copy
import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.sparsity.networks import NARROW, WHOLE, described, narrow
from torch import Tensor, nn

from paredown.artifacts import Layer, PruningStrategy
from paredown.artifacts.layers import fingerprint
from paredown.errors import MethodError
from paredown.models import Network
from paredown.sparsity.apply import zeroed
from paredown.sparsity.groups import (
    Group,
    agreed,
    compacted,
    consistent_masks,
    group_counts,
    group_masks,
    group_scores,
    group_shares,
    groups_of,
    kept_channels,
    widths,
)
from paredown.sparsity.layers import layers_of
from paredown.sparsity.masks import mask_set, weights_of


@functools.cache
def traced(name: str) -> tuple[Network, tuple[Layer, ...], tuple[Group, ...]]:
    made = narrow(name)
    return made, layers_of(made), groups_of(made)


@pytest.mark.parametrize(
    ("name", "count", "streams"),
    [
        ("vgg16_bn", 15, []),
        ("resnet18", 12, [64, 128, 256, 512]),
        ("wrn_28_4", 16, [16, 64, 128, 256]),
        ("ResNet50", 37, [64, 256, 512, 1024, 2048]),
    ],
)
def test_the_published_architectures(name: str, count: int, streams: list[int]) -> None:
    _, groups = described(name)
    assert len(groups) == count
    # A residual stream has several writers or, right behind the stem, several readers.
    assert [group.size for group in groups if len(group.writers) > 1 or len(group.readers) > 1] == streams


def test_flattened_maps_belong_to_their_channel() -> None:
    _, groups = described("vgg16_bn")
    last = groups[12]
    assert (last.size, last.writers, last.readers) == (512, ("features.40",), (("classifier.0", 0, 4),))
    assert [place.module for place in last.norms] == ["features.41"]


@pytest.mark.parametrize("name", list(NARROW))
def test_another_library_finds_the_same(name: str) -> None:
    tp = pytest.importorskip("torch_pruning")
    made = narrow(name)
    names = {module: path for path, module in made.named_modules()}
    last = [module for module in made.modules() if isinstance(module, nn.Linear)][-1]
    graph = tp.DependencyGraph().build_dependency(made, torch.zeros(1, 3, 16, 16))
    kinds = {
        "writers": (tp.prune_conv_out_channels, tp.prune_linear_out_channels),
        "readers": (tp.prune_conv_in_channels, tp.prune_linear_in_channels),
        "norms": (tp.prune_batchnorm_out_channels,),
    }
    theirs = {
        tuple(
            frozenset(names[item.dep.target.module] for item in group.items if item.dep.handler in handlers)
            for handlers in kinds.values()
        )
        for group in graph.get_all_groups(ignored_layers=[last], root_module_types=[nn.Conv2d, nn.Linear])
    }
    ours = {
        (
            frozenset(group.writers),
            frozenset(place.module for place in group.readers),
            frozenset(place.module for place in group.norms),
        )
        for group in groups_of(made)
    }
    assert ours == theirs


@pytest.mark.parametrize("name", list(NARROW))
@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_what_a_group_loses_reaches_nothing(name: str, seed: int) -> None:
    """Whatever stands in the filters and normalisations of lost channels, the logits stay the same."""
    held, layers, groups = traced(name)
    made = copy.deepcopy(held)
    draw = torch.Generator().manual_seed(seed)
    kept = [torch.rand(group.size, generator=draw) < 0.5 for group in groups]
    for stays in kept:
        stays[int(torch.randint(len(stays), (), generator=draw))] = True
    masks = group_masks(layers, groups, kept)
    x = torch.rand(2, 3, 16, 16, generator=draw)
    modules = dict(made.named_modules())
    with zeroed(made, masks), torch.no_grad():
        expected = made(x)
        for group, stays in zip(groups, kept, strict=True):
            for writer in group.writers:
                weight = modules[writer].weight
                weight[~stays] = torch.randn(weight[~stays].shape, generator=draw) * masks[writer].any(0)
            for place in group.norms:
                gone = ~stays.repeat_interleave(place.repeat)
                modules[place.module].bias[place.offset : place.offset + len(gone)][gone] = 3.0
        torch.testing.assert_close(made(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", list(NARROW))
@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_masks_say_which_channels_stay(name: str, seed: int) -> None:
    _, layers, groups = traced(name)
    draw = np.random.default_rng(seed)
    kept = [draw.random(group.size) < 0.6 for group in groups]
    for stays in kept:
        stays[draw.integers(len(stays))] = True
    masks = mask_set(group_masks(layers, groups, [torch.from_numpy(stays) for stays in kept]), fingerprint(layers))
    found = kept_channels(masks, layers, groups)
    assert all(np.array_equal(stays, other) for stays, other in zip(kept, found, strict=True))
    left = compacted(layers, groups, [int(stays.sum()) for stays in kept])
    assert {name: kept for name, (kept, _) in masks.counts().items()} == left.parameters


def test_shares_of_a_group_are_the_mean_of_its_members() -> None:
    layers, groups = described("resnet18")
    shares = {layer.name: 0.5 for layer in layers} | {"blocks.0.conv1": 0.2, "blocks.2.shortcut.0": 0.8}
    strategy = PruningStrategy(shares, granularity="channel", fingerprint=fingerprint(layers))
    stream = next(place for place, group in enumerate(groups) if "stem" in group.writers)
    assert group_shares(groups, shares)[stream] == pytest.approx((0.2 + 0.5 + 0.5 + 0.8) / 4)
    found = agreed(layers, groups, strategy)
    readers = [place.module for place in groups[stream].readers]
    assert {found.shares[name] for name in readers} == {group_shares(groups, shares)[stream]}
    assert found.shares["stem"] == 1.0  # colours cannot go
    assert "became their mean" in found.notes[-1]
    assert agreed(layers, groups, found) == found
    with pytest.raises(MethodError, match=r"A strategy in weight mode keeps single weights"):
        agreed(layers, groups, PruningStrategy.uniform(layers, 0.5, granularity="weight"))


@pytest.mark.parametrize("granularity", ["channel", "filter"])
@pytest.mark.parametrize("name", list(NARROW))
def test_masks_by_magnitude_agree(name: str, granularity: str) -> None:
    made = narrow(name)
    layers, groups = layers_of(made), groups_of(made)
    strategy = PruningStrategy.uniform(layers, 0.5, granularity=granularity, first=1.0)  # type: ignore[arg-type]
    masks = consistent_masks(weights_of(made, layers), layers, groups, strategy)
    counts = group_counts(groups, group_shares(groups, strategy.shares, granularity))  # type: ignore[arg-type]
    found = kept_channels(mask_set(masks, ""), layers, groups)
    assert [int(stays.sum()) for stays in found] == counts
    inputs, outputs = widths(layers, groups, counts)
    for layer in layers:
        assert int(masks[layer.name].sum()) == (
            layer.kernel[0] * layer.kernel[1] * inputs[layer.name] * outputs[layer.name]
        )


def test_importance_sums_over_members_and_positions() -> None:
    _, groups = described("vgg16_bn")
    scores = {place.module: torch.arange(512.0 * 4) for group in groups for place in group.readers}
    found = group_scores(groups[12:13], scores)[0]
    assert torch.equal(found[:2], torch.tensor([0.0 + 1 + 2 + 3, 4.0 + 5 + 6 + 7]))
    both = group_scores(groups[12:13], scores, {"features.40": torch.ones(512)}, over="mean")[0]
    assert torch.equal(both, (found + 1) / 2)


class Shuffled(nn.Module):
    """Moves channels between two convolutions."""

    def __init__(self, sort: str) -> None:
        super().__init__()
        self.sort = sort
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if self.sort == "shuffle":
            x = x.view(x.shape[0], 2, 2, *x.shape[2:]).transpose(1, 2).reshape(x.shape)
        elif self.sort == "softmax":
            x = x.softmax(1)
        elif self.sort == "pad":
            x = F.pad(x, (0, 0, 0, 0, 1, 0))[:, :4]
        return self.linear(F.relu(self.second(x)).mean((2, 3))).log_softmax(1)


@pytest.mark.parametrize(
    ("sort", "operation"), [("shuffle", "view"), ("softmax", "_softmax"), ("pad", "constant_pad_nd")]
)
def test_operations_that_lose_track_are_named(sort: str, operation: str) -> None:
    made = Shuffled(sort)
    assert len(layers_of(made, (3, 4, 4))) == 3  # what layers there are is known all the same
    with pytest.raises(MethodError, match=rf"Shuffled: channels cannot be followed through '{operation}'"):
        groups_of(made, (3, 4, 4))


def test_what_comes_after_the_logits_does_not_matter() -> None:
    assert [group.size for group in groups_of(Shuffled("none"), (3, 4, 4))] == [4, 4]


class Joined(nn.Module):
    """Concatenates, scales by a gate, has a depthwise, a grouped and a scaled convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 6, 1)
        self.norm = nn.BatchNorm2d(10)
        self.gate = nn.Conv2d(10, 10, 1)
        self.each = nn.Conv2d(10, 10, 3, padding=1, groups=10)
        self.pairs = nn.Conv2d(10, 10, 1, groups=5)
        self.scale = nn.Parameter(torch.ones(8, 1, 1))
        self.after = nn.Conv2d(10, 8, 1)
        self.mixed = nn.Conv2d(8, 8, 1)
        self.group = nn.GroupNorm(2, 8)
        self.linear = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.left(x), self.right(x)], 1)
        x = self.each(self.norm(x))
        x = x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()
        x = self.after(self.pairs(x)) * self.scale
        return self.linear(self.group(self.mixed(x)).mean((2, 3)))


def test_channels_that_cannot_go_are_in_no_group() -> None:
    made = Joined()
    assert groups_of(made, (3, 4, 4)) == ()  # a depthwise convolution of a concatenation keeps both parts
    made.each = nn.Conv2d(10, 10, 1)
    groups = groups_of(made, (3, 4, 4))
    assert [(group.writers, [tuple(place) for place in group.readers]) for group in groups] == [
        (("left",), [("each", 0, 1)]),
        (("right",), [("each", 4, 1)]),
    ]
    assert [place for group in groups for place in group.norms] == [("norm", 0, 1), ("norm", 4, 1)]


class InPlace(nn.Module):
    """A residual block as much published code writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv1, self.conv2 = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 1), nn.Conv2d(6, 8, 1)
        self.downsample = nn.Conv2d(4, 8, 1)
        self.linear = nn.Linear(8 * 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu_(self.stem(x))
        out = self.conv2(F.relu(self.conv1(x), inplace=True))
        out += self.downsample(x)
        out = F.avg_pool2d(F.relu_(out), 2)
        return self.linear(out.view(out.size(0), -1))


def test_operations_in_place() -> None:
    made = InPlace()
    layers = {layer.name: layer for layer in layers_of(made, (3, 4, 4))}
    assert layers["downsample"].beside == "conv1" and layers["linear"].reads == ("conv2", "downsample")
    found = [(group.writers, [tuple(place) for place in group.readers]) for group in groups_of(made, (3, 4, 4))]
    assert found == [
        (("stem",), [("conv1", 0, 1), ("downsample", 0, 1)]),
        (("conv1",), [("conv2", 0, 1)]),
        (("conv2", "downsample"), [("linear", 0, 4)]),
    ]


class Depthwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.each = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.second, self.linear = nn.Conv2d(6, 4, 1), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.second(F.relu(self.each(F.relu(self.first(x))))).mean((2, 3)))


def test_a_depthwise_convolution_keeps_the_channels_that_it_reads() -> None:
    made = Depthwise()
    layers, groups = layers_of(made, (3, 4, 4)), groups_of(made, (3, 4, 4))
    assert [group.writers for group in groups] == [("first", "each"), ("second",)]
    strategy = PruningStrategy.uniform(layers, 0.5, granularity="channel")
    masks = consistent_masks(weights_of(made, layers), layers, groups, strategy)
    left = compacted(layers, groups, [3, 2])
    assert {name: int(mask.sum()) for name, mask in masks.items()} == left.parameters
    assert left.parameters == {"first": 9, "each": 27, "second": 6, "linear": 4}


def test_every_architecture_is_known() -> None:
    assert set(WHOLE) == set(NARROW)


def test_masks_that_keep_nothing_of_a_group() -> None:
    made = narrow("resnet18")
    layers, groups = layers_of(made), groups_of(made)
    masks = group_masks(layers, groups, [torch.ones(group.size, dtype=torch.bool) for group in groups])
    for place in groups[1].readers:
        masks[place.module][:] = False
    with pytest.raises(MethodError, match=r"The masks keep no channel of what 'body.blocks.0.conv1' writes"):
        kept_channels(mask_set(masks, ""), layers, groups)
