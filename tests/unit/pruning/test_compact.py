"""Compaction: the masked network's logits from a smaller one, which is a checkpoint like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.sparsity.networks import NARROW, WHOLE, narrow
from torch import Tensor, nn

from paredown import Runtime, evaluate, open_data, score, train
from paredown.artifacts import Checkpoint, MaskSet
from paredown.artifacts.layers import fingerprint
from paredown.errors import ArtifactError, MethodError
from paredown.evaluation import RobustAccuracy
from paredown.method import build
from paredown.models import ResNet18, ResNet50, SimpleCnn, Vgg16Bn, WideResNet, checkpoint_of, load, network
from paredown.models.build import AbstractModel
from paredown.pruning.compact import Compacted, compacted
from paredown.sparsity.apply import zeroed
from paredown.sparsity.groups import group_masks, groups_of, widths
from paredown.sparsity.layers import layers_of

QUIET = Runtime(device="cpu", precision="float32", progress=False)


def dense(name: str) -> Checkpoint:
    return checkpoint_of(narrow(name), NARROW[name], 3)


def drawn(checkpoint: Checkpoint, seed: int, keep: float = 0.5) -> tuple[MaskSet, list[int]]:
    """Gives masks by which a random part of each group's channels goes, and how many stay."""
    made = load(checkpoint)
    layers, groups = layers_of(made), groups_of(made)
    draw = torch.Generator().manual_seed(seed)
    kept = [torch.rand(group.size, generator=draw) < keep for group in groups]
    for stays in kept:
        stays[int(torch.randint(len(stays), (), generator=draw))] = True
    masks = {name: mask.numpy() for name, mask in group_masks(layers, groups, kept).items()}
    return MaskSet(masks, fingerprint=fingerprint(layers)), [int(stays.sum()) for stays in kept]


def apart(checkpoint: Checkpoint, masks: MaskSet, small: Checkpoint) -> float:
    """How far the logits of a compacted network lie from those of the masked one."""
    x = torch.rand(4, *checkpoint.shape, generator=torch.Generator().manual_seed(1))
    whole = load(checkpoint)
    with torch.no_grad(), zeroed(whole, masks):
        return float((whole(x) - load(small)(x)).abs().max())


@pytest.mark.parametrize("name", list(NARROW))
@settings(max_examples=4)
@given(seed=st.integers(0, 10**6), keep=st.sampled_from([0.1, 0.5, 0.9]))
def test_the_logits_of_the_masked_network(name: str, seed: int, keep: float) -> None:
    before = dense(name)
    masks, counts = drawn(before, seed, keep)
    small = compacted(before, masks)
    assert apart(before, masks, small) <= 1e-5
    made = load(before)
    layers = layers_of(made)
    inputs, outputs = widths(layers, groups_of(made), counts)
    left = {layer.name: (layer.inputs, layer.outputs) for layer in layers_of(load(small))}
    assert left == {layer.name: (inputs[layer.name], outputs[layer.name]) for layer in layers}
    assert small.step == 3 and small.parameters < before.parameters


@pytest.mark.parametrize(
    "model",
    [Vgg16Bn(width=16), ResNet18(width=8), WideResNet(28, 1, "relu"), ResNet50(width=4)],
    ids=lambda model: model.name,
)
def test_the_logits_of_the_masked_network_at_its_whole_depth(model: AbstractModel) -> None:
    before = checkpoint_of(narrow(model, seed=1), model, 3)
    for seed in (0, 1):
        masks, _ = drawn(before, seed)
        small = compacted(before, masks)
        assert apart(before, masks, small) <= 1e-5 and small.parameters < 0.6 * before.parameters


@pytest.mark.parametrize("name", list(NARROW))
def test_inputs_alone_decide(name: str) -> None:
    """What is written to a channel that nothing reads does not matter, the β of its normalisation included."""
    before = dense(name)
    masks, _ = drawn(before, 7)
    both = compacted(before, masks)
    columns = {}
    for layer, mask in masks.masks.items():
        kept = mask.any(axis=(0, *range(2, mask.ndim)), keepdims=True)
        columns[layer] = np.broadcast_to(kept, mask.shape).copy()
    alone = MaskSet(columns, fingerprint=masks.fingerprint)
    small = compacted(before, alone)
    assert small == both and apart(before, alone, small) <= 1e-5


@pytest.mark.parametrize("name", ["resnet18", "wrn_28_4"])
def test_layers_that_disagree_keep_what_any_of_them_reads(name: str) -> None:
    before = dense(name)
    layers = layers_of(load(before))
    draw = np.random.default_rng(0)
    masks = {}
    for layer in layers:
        columns = draw.random(layer.inputs) < 0.5
        columns[0] = True
        if layer.inputs == 3:
            columns[:] = True
        shape = (1, layer.inputs, *(1,) * (len(layer.shape) - 2))
        masks[layer.name] = np.broadcast_to(columns.reshape(shape), layer.shape).copy()
    found = MaskSet(masks, fingerprint=fingerprint(layers))
    small = compacted(before, found)
    assert apart(before, found, small) <= 1e-5 and small.parameters < before.parameters


def test_dead_filters_that_are_read_stay_with_the_constant_that_they_give() -> None:
    before = dense("resnet18")
    masks, _ = drawn(before, 3)
    rows = {}
    for layer, mask in masks.masks.items():
        kept = mask.any(axis=tuple(range(1, mask.ndim)), keepdims=True)
        rows[layer] = np.broadcast_to(kept, mask.shape).copy()
    filters = MaskSet(rows, fingerprint=masks.fingerprint)
    small = compacted(before, filters)
    assert small.model == before.model and apart(before, filters, small) == 0
    # Their inputs masked too, they go; but the network is another one, by what their β was worth.
    assert apart(before, filters, compacted(before, masks)) > 1e-3


def test_single_weights_make_nothing_smaller() -> None:
    before = dense("vgg16_bn")
    layers = layers_of(load(before))
    draw = np.random.default_rng(0)
    masks = MaskSet({layer.name: draw.random(layer.shape) < 0.8 for layer in layers}, fingerprint=fingerprint(layers))
    small = compacted(before, masks)
    assert small.model == before.model and small.parameters == before.parameters
    weight = f"{layers[0].name}.weight"
    assert np.array_equal(small.weights[weight], before.weights[weight] * masks[layers[0].name])


def test_again_and_masks_of_one_layer_alone() -> None:
    first = dense("resnet18")
    half = compacted(first, drawn(first, 0)[0])
    masks, _ = drawn(half, 1)
    quarter = compacted(half, masks)
    assert apart(half, masks, quarter) <= 1e-5
    assert quarter.model["base"] == first.model and quarter.model["name"] == "compacted"
    name = "body.blocks.0.conv2"
    columns = np.ones(layers_of(load(first))[2].shape, bool)
    columns[:, :5] = False
    one = MaskSet({name: columns}, fingerprint="")
    small = compacted(first, one)
    assert apart(first, one, small) <= 1e-5 and small.model["kept"]["blocks.0.conv1"] == 3


@pytest.mark.parametrize(
    ("name", "weights", "macs"),
    [
        ("vgg16_bn", 3_826_784, 78_890_240),
        ("resnet18", 2_792_800, 139_299_328),
        ("wrn_28_4", 1_461_208, 211_510_528),
        ("ResNet50", 6_890_080, 1_052_311_552),
    ],
)
def test_half_of_a_whole_architecture(name: str, weights: int, macs: int) -> None:
    """The specified counts (12.3), of real layers."""
    model, shape, classes = WHOLE[name]
    with torch.device("meta"):
        kept = {group.writers[0]: group.size // 2 for group in groups_of(model.build(shape, classes), shape)}
        layers = layers_of(Compacted(model, kept).build(shape, classes), shape)
    assert sum(layer.weights for layer in layers) == weights
    assert sum(layer.macs for layer in layers) == macs


@pytest.mark.parametrize("name", list(NARROW))
def test_another_library_takes_out_the_same(name: str) -> None:
    tp = pytest.importorskip("torch_pruning")
    before = dense(name)
    masks, _ = drawn(before, 5)
    made = load(before)
    modules = dict(made.named_modules())
    graph = tp.DependencyGraph().build_dependency(made, torch.zeros(1, 3, 16, 16))
    for group in groups_of(load(before)):
        writer = modules[group.writers[0]]
        place = group.readers[0]
        read = masks.inputs(place.module)[place.offset : place.offset + group.size * place.repeat]
        gone = np.flatnonzero(~read.reshape(group.size, place.repeat).any(1)).tolist()
        prune = tp.prune_conv_out_channels if isinstance(writer, nn.Conv2d) else tp.prune_linear_out_channels
        if gone:
            graph.get_pruning_group(writer, prune, idxs=gone).prune()
    small = compacted(before, masks)
    theirs = made.state_dict()
    assert theirs.keys() == small.weights.keys()
    assert all(np.array_equal(theirs[key].numpy(), small.weights[key]) for key in theirs)


def test_a_compacted_network_is_a_checkpoint_like_any_other(tmp_path: Path) -> None:
    data = open_data("synthetic", n=60)
    trained = train(data, SimpleCnn((4, 6)), {"steps": 4, "batch_size": 20}, runtime=QUIET)
    small = compacted(trained.checkpoint, drawn(trained.checkpoint, 0)[0])
    opened = Checkpoint.open(small.save(tmp_path / "small"))
    assert opened == small
    report = evaluate(opened, data, ["accuracy", RobustAccuracy(examples=10)], runtime=QUIET)
    assert report.of("accuracy") and report.of("robust-accuracy")
    assert len(score("el2n", checkpoint=opened, data=data, runtime=QUIET).values) == 60
    again = train(data, opened.model, {"steps": 2, "batch_size": 20}, runtime=QUIET)
    assert again.checkpoint.parameters == small.parameters


def test_a_new_network_of_a_compacted_architecture() -> None:
    model = build("model", {"name": "compacted", "base": {"name": "resnet18", "width": 8}, "kept": {"stem": 3}})
    how = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    first, second = (network(model, (3, 8, 8), 4, seed=seed, **how) for seed in (0, 0))
    other = network(model, (3, 8, 8), 4, seed=1, **how)
    weight = "body.stem.weight"
    assert first.get_parameter(weight).shape[0] == 3
    assert torch.equal(first.get_parameter(weight), second.get_parameter(weight))
    assert not torch.equal(first.get_parameter(weight), other.get_parameter(weight))


class Counting(nn.Module):
    """Divides by its number of channels."""

    def __init__(self, classes: int, sort: str) -> None:
        super().__init__()
        self.sort = sort
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 1)
        self.linear = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if self.sort == "shuffle":
            x = x.view(x.shape[0], 2, 2, *x.shape[2:]).transpose(1, 2).reshape(x.shape)
        return self.linear(self.second(x / (x.shape[1] if self.sort == "divide" else 1.0)).mean((2, 3)))


def counting(sort: str) -> tuple[Checkpoint, MaskSet]:
    model = build("model", {"name": "tests.unit.pruning.test_compact:Counting", "sort": sort})
    made = network(model, (3, 4, 4), 2, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0)
    column = np.ones((8, 4, 1, 1), bool)
    column[:, 1] = False
    return checkpoint_of(made, model, 0), MaskSet({"body.second": column}, fingerprint="")


def test_what_cannot_be_compacted() -> None:
    assert load(compacted(*counting("plain"))).get_parameter("body.first.weight").shape[0] == 3
    with pytest.raises(MethodError, match=r"Counting: channels cannot be followed through 'view'"):
        compacted(*counting("shuffle"))
    with pytest.raises(MethodError, match=r"Counting cannot be compacted, because its code counts .* logits lie"):
        compacted(*counting("divide"))
    checkpoint, masks = counting("plain")
    masks["body.second"][:] = False
    with pytest.raises(MethodError, match=r"The masks keep no channel of what 'body.first' writes"):
        compacted(checkpoint, masks)
    other = MaskSet({"body.third": np.ones((8, 4, 1, 1), bool)}, fingerprint="")
    with pytest.raises(MethodError, match=r"another architecture: they name 'body.third'"):
        compacted(checkpoint, other)


@pytest.mark.parametrize(
    ("plain", "sentence"),
    [
        ({"base": "transformer"}, r"Compacted\(base=transformer\): it takes sentences"),
        ({"base": "resnet18", "kept": {"stem": 0}}, r"kept=\{stem: 0\}\): at least one channel"),
        ({"base": "resnet18", "kept": {"stem": 65}}, r"in resnet18 'stem' writes 64 channels"),
        ({"base": "resnet18", "kept": {"linear": 3}}, r"'linear' begins no channels that could go"),
    ],
)
def test_a_model_that_makes_no_sense(plain: dict[str, object], sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        build("model", {"name": "compacted", **plain}).build((3, 8, 8), 10)


def test_weights_of_another_width_are_refused() -> None:
    before = dense("resnet18")
    small = compacted(before, drawn(before, 0)[0])
    model = {**small.model, "kept": {**small.model["kept"], "stem": 1}}
    wrong = Checkpoint(model, shape=small.shape, classes=small.classes, weights=small.weights, step=0)
    with pytest.raises(ArtifactError, match=r"model='compacted'\): 'body\..*' has shape"):
        load(wrong)
