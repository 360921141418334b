"""GraNd, its parts and the logits, against the arrays of the original system."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from tests.oracles.grand import squared_norms_one_by_one
from torch import nn

from paredown.models import Network, ResNet18, ResNet50, SimpleCnn, network
from paredown.scoring.errors import el2n
from paredown.scoring.gradients import Grand, LastLayerGrand, gradient_norms

EXACT = {"rtol": 1e-5, "atol": 1e-6}
# Squares differ by twice as much as norms. In ResNet-50's float32 a rectifier whose input rounds to the other side of 0
# moved one entry by 0.003 (one image at a time against float64), in either system; the norm of all does not see it.
PER_PARAMETER = {"grand_resnet50_lowres": 5e-3}
OURS = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
THEIRS = {ours: theirs for theirs, ours in OURS.items()}


def their_name(ours: str, *, convolutions_then_dense: bool = False) -> str | None:
    """Gives the original's path of a parameter or statistic; None for what it does not keep."""
    *layer, leaf = ours.removeprefix("body.").split(".")
    if leaf == "num_batches_tracked" or ours in ("mean", "std"):
        return None
    place = ".".join(layer)
    if place == "linear":
        path = "Dense_0"
    elif place == "stem":
        path = "conv_init"
    elif place == "stem_norm":
        path = "bn_init"
    elif found := re.fullmatch(r"convs\.(\d+)", place):
        path = f"Conv_{found[1]}"
    else:
        found = re.fullmatch(r"blocks\.(\d+)\.(conv|norm|shortcut\.)(\d)", place)
        assert found, ours
        block, sort, number = int(found[1]), found[2], int(found[3])
        if sort == "shortcut.":
            part = "conv_proj" if number == 0 else "norm_proj"
        else:
            part = f"{'Conv' if sort == 'conv' else 'BatchNorm'}_{number - 1}"
        path = f"ResNetBlock_{block}/{part}"
    kernel = leaf == "weight" and ("onv" in path or "Dense" in path)
    return f"{path}/{'kernel' if kernel else 'scale' if leaf == 'weight' else THEIRS[leaf]}"


def names(net: Network, bottleneck: bool) -> dict[str, str]:
    """Gives the original's path of each of our entries that it has."""
    both = {ours: their_name(ours) for ours in net.state_dict()}
    block = "BottleneckResNetBlock_" if bottleneck else "ResNetBlock_"
    return {ours: theirs.replace("ResNetBlock_", block) for ours, theirs in both.items() if theirs is not None}


def to_torch(array: np.ndarray) -> torch.Tensor:
    """From HWIO or [in, out] to torch's order."""
    order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim)
    return torch.from_numpy(np.array(array if order is None else array.transpose(order)))


def recipe(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """Gives the weights that the original's arrays were made with, from the recipe beside them; shapes are theirs."""
    random = np.random.RandomState(seed)
    made = {}
    for statistics in (False, True):
        for path in sorted(path for path in shapes if path.endswith(("/mean", "/var")) == statistics):
            leaf, shape = path.rpartition("/")[2], shapes[path]
            if leaf == "kernel":
                drawn = random.standard_normal(shape) * np.sqrt(1 / np.prod(shape[:-1]))
            elif leaf == "scale":
                drawn = 1 + 0.2 * random.standard_normal(shape)
            elif leaf == "bias":
                drawn = 0.1 * random.standard_normal(shape)
            elif leaf == "mean":
                drawn = 0.3 * random.standard_normal(shape)
            else:
                drawn = 0.5 + random.rand(*shape)
            made[path] = drawn.astype(np.float32)
    return made


def their_shape(value: torch.Tensor) -> tuple[int, ...]:
    shape = tuple(value.shape)
    return {4: (*shape[2:], *shape[1::-1]), 2: shape[::-1]}.get(len(shape), shape)


def blank(model, side: int, classes: int) -> Network:
    """A network that takes images as they are, as the arrays were made without normalisation."""
    return network(model, (3, side, side), classes, mean=(0.0,) * 3, std=(1.0,) * 3).eval()


def fill(net: Network, arrays: Mapping[str, np.ndarray], bottleneck: bool) -> dict[str, str]:
    known = names(net, bottleneck)
    state = net.state_dict()
    net.load_state_dict(state | {ours: to_torch(arrays[theirs]) for ours, theirs in known.items()})
    assert set(known.values()) == set(arrays)
    return known


def filled_by_recipe(net: Network, seed: int, bottleneck: bool) -> dict[str, str]:
    known = names(net, bottleneck)
    state = net.state_dict()
    return fill(net, recipe({theirs: their_shape(state[ours]) for ours, theirs in known.items()}, seed), bottleneck)


def inputs(seed: int, count: int, side: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.RandomState(seed + 1000)
    images = random.standard_normal((count, side, side, 3)).astype(np.float32)
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(random.randint(0, classes, count))


CASES = {
    "grand_tiny_basic": (ResNet18(stages=(1, 1), width=4, padding="same"), 1, 8, 5, 6),
    "grand_tiny_bottleneck": (ResNet50(stages=(1, 1), width=3, padding="same"), 2, 8, 5, 6),
    "grand_tiny_odd": (ResNet18(stages=(1, 1), width=4, padding="same"), 3, 7, 5, 6),
    "grand_tiny_simplecnn": (SimpleCnn(channels=(4, 6), padding="same"), 4, 8, 5, 6),
    "grand_resnet18_lowres": (ResNet18(padding="same"), 5, 32, 10, 4),
    "grand_resnet50_lowres": (ResNet50(padding="same"), 6, 32, 10, 4),
}


@pytest.mark.parametrize("case", CASES)
def test_grand_is_the_originals(case: str, golden) -> None:
    model, seed, side, classes, count = CASES[case]
    arrays = golden("diet", case)
    net = blank(model, side, classes)
    known = filled_by_recipe(net, seed, isinstance(model, ResNet50))
    x, y = inputs(seed, count, side, classes)
    np.testing.assert_array_equal(x.permute(0, 2, 3, 1).numpy(), arrays["X_nhwc"])
    np.testing.assert_array_equal(y.numpy(), arrays["labels"])

    found = gradient_norms(net, x, y)
    assert found.general == ()
    logits = net(x)
    np.testing.assert_allclose(logits.detach().numpy(), arrays["logits"], **EXACT)
    np.testing.assert_allclose(el2n(logits, y).detach().numpy(), arrays["el2n"], **EXACT)
    np.testing.assert_allclose(found.total().sqrt().numpy(), arrays["grand_f64accum"], rtol=1e-5)
    np.testing.assert_allclose(Grand().values(net, x, y).numpy(), arrays["grand"], rtol=1e-5)
    by_theirs = {known[ours]: squared for ours, squared in found.squared.items()}
    for position, theirs in enumerate(arrays["sqnorm_names"]):
        np.testing.assert_allclose(
            by_theirs[str(theirs)].numpy(),
            arrays["sqnorm_per_param"][:, position],
            rtol=PER_PARAMETER.get(case, 2e-5),
            err_msg=str(theirs),
        )


@pytest.mark.parametrize("case", ["grand_tiny_basic", "grand_tiny_bottleneck", "grand_tiny_simplecnn"])
def test_the_recipe_gives_the_stored_weights(case: str, golden) -> None:
    model, seed, side, classes, _ = CASES[case]
    arrays = golden("diet", case)
    stored = {key.partition(":")[2]: value for key, value in arrays.items() if key.startswith(("param:", "stat:"))}
    made = recipe({path: value.shape for path, value in stored.items()}, seed)
    assert set(names(blank(model, side, classes), isinstance(model, ResNet50)).values()) == set(stored)
    for path, value in stored.items():
        np.testing.assert_array_equal(made[path], value, err_msg=path)


@pytest.mark.parametrize("case", ["grand_resnet18_lowres", "grand_resnet50_lowres"])
def test_the_recipe_gives_weights_of_the_stored_digest(case: str, golden) -> None:
    model, seed, side, classes, _ = CASES[case]
    arrays = golden("diet", case)
    net = blank(model, side, classes)
    state = net.state_dict()
    known = names(net, isinstance(model, ResNet50))
    made = recipe({theirs: their_shape(state[ours]) for ours, theirs in known.items()}, seed)
    for sort in ("param", "stat"):
        for path, digest in zip(arrays[f"{sort}_names"], arrays[f"{sort}_sha256"], strict=True):
            assert hashlib.sha256(made[str(path)].tobytes()).hexdigest() == digest, path


@pytest.mark.parametrize("case", CASES)
def test_closed_forms_are_the_one_by_one_gradients_on_the_recipes_nets(case: str) -> None:
    model, seed, side, classes, count = CASES[case]
    net = blank(model, side, classes)
    filled_by_recipe(net, seed, isinstance(model, ResNet50))
    x, y = inputs(seed, min(count, 3), side, classes)
    in_float32 = gradient_norms(net, x, y)
    net, x = net.double(), x.double()
    found, slow = gradient_norms(net, x, y), squared_norms_one_by_one(net, x, y)
    assert list(found.squared) == list(slow)
    for name, expected in slow.items():
        np.testing.assert_allclose(found.squared[name].numpy(), expected.numpy(), rtol=1e-11, err_msg=name)
    np.testing.assert_allclose(in_float32.total().sqrt().numpy(), found.total().sqrt().numpy(), rtol=1e-5)


def test_of_softmax_regression_it_is_el2n_times_the_norm_of_the_input(golden) -> None:
    arrays = golden("diet", "grand_linear")
    weights, bias, x, y = (torch.from_numpy(arrays[key]) for key in ("W", "b", "X", "labels"))
    net = nn.Linear(*weights.shape)
    net.load_state_dict({"weight": weights.T, "bias": bias})
    for scorer in (Grand(), LastLayerGrand()):
        np.testing.assert_allclose(scorer.values(net, x, y).detach().numpy(), arrays["grand"], rtol=1e-5)
    np.testing.assert_allclose(el2n(net(x), y).detach().numpy(), arrays["el2n"], rtol=1e-5)
