"""Scoring with a network: nothing but the example and the network decides a value."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from paredown.artifacts.ids import ExampleIds, Pool
from paredown.artifacts.scores import Direction
from paredown.data.dataset import ImageDataset
from paredown.errors import MethodError
from paredown.method import build
from paredown.runtime import Runtime
from paredown.scoring import (
    AbstractModelScorer,
    Confidence,
    El1n,
    El2n,
    Entropy,
    FunctionScorer,
    InputNorm,
    Loss,
    MaxMargin,
    Random,
    SumMargin,
    score_data,
    score_model,
)
from paredown.scoring import statistics as bn_statistics

MODEL_SCORERS = [El2n, El1n, MaxMargin, SumMargin, Loss, Entropy, Confidence]
MODES = ["running", "batch", "recalibrated"]


def images(examples: int = 23, seed: int = 0) -> ImageDataset:
    rng = np.random.default_rng(seed)
    labels = np.sort(rng.integers(0, 3, examples))
    pixels = rng.integers(0, 256, (examples, 6, 6, 2), dtype=np.uint8)
    return ImageDataset.from_arrays(pixels, labels, classes=["a", "b", "c"])


def rows_of(data: ImageDataset, rows: np.ndarray) -> ImageDataset:
    """The same examples in another order, under their ids."""
    ids = data.ids.take(rows)
    return ImageDataset(data.name, data.images[rows], data.labels[rows], data.classes, ids, data.mean, data.std)


def network(normalised: bool = True, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Conv2d(2, 4, 3)]
    if normalised:
        layers += [nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)]
        for layer in layers[1::3]:
            assert isinstance(layer, nn.BatchNorm2d)
            nn.init.normal_(layer.running_mean, 0, 0.3)  # type: ignore[arg-type]
            nn.init.uniform_(layer.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.LazyLinear(3))


def ready(normalised: bool = True) -> nn.Module:
    made = network(normalised)
    made.eval()(torch.zeros(1, 2, 6, 6))
    return made.train()


def scored(
    scorer: AbstractModelScorer, data: ImageDataset, batch_size: int = 512, net: nn.Module | None = None
) -> np.ndarray:
    return score_model(scorer, net or ready(), data, runtime=Runtime(batch_size=batch_size))


@pytest.mark.parametrize("bn", MODES)
@pytest.mark.parametrize("kind", MODEL_SCORERS)
@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_the_batch_size_changes_nothing(kind: type, bn: str, batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bn_statistics, "BLOCK", 10)
    scorer = kind(bn=bn)
    whole = scored(scorer, images())
    assert np.ptp(whole) > 0
    np.testing.assert_allclose(scored(scorer, images(), batch_size), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bn", MODES)
@settings(max_examples=15)
@given(order=st.permutations(range(23)))
def test_permuting_examples_permutes_values(bn: str, order: list[int]) -> None:
    data, rows = images(), np.array(order)
    scorer = El2n(bn=bn)  # type: ignore[arg-type]
    shuffled = scored(scorer, rows_of(data, rows), 5)
    np.testing.assert_allclose(shuffled, scored(scorer, data)[rows], rtol=1e-4, atol=1e-6)


def test_values_are_those_of_the_network_in_inference_mode() -> None:
    data, net = images(), ready()
    x = torch.from_numpy(data.images).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        p = torch.softmax(copy.deepcopy(net).eval()(x), 1).numpy()
    expected = np.linalg.norm(p - np.eye(3)[data.labels], axis=1)
    np.testing.assert_allclose(scored(El2n(), data, net=net), expected, rtol=1e-5)


@pytest.mark.parametrize("bn", MODES)
def test_the_network_comes_back_as_it_was(bn: str) -> None:
    net = ready()
    net[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    scored(El2n(bn=bn), images(), 5, net)  # type: ignore[arg-type]
    assert [module.training for module in net.modules()] == modes
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_statistics_of_one_block_are_those_of_training_mode() -> None:
    data, net = images(), ready(normalised=True)
    x = torch.from_numpy(data.images).permute(0, 3, 1, 2).float() / 255
    training = copy.deepcopy(net).train()
    training[-2].eval()  # no dropout
    with torch.no_grad():
        p = torch.softmax(training(x), 1).numpy()
    expected = np.linalg.norm(p - np.eye(3)[data.labels], axis=1)
    # 23 examples are one block, so a block's statistics and those of all the data are the same.
    for bn in ("batch", "recalibrated"):
        np.testing.assert_allclose(scored(El2n(bn=bn), data, 4, net), expected, rtol=1e-4)  # type: ignore[arg-type]


def test_recalibrated_statistics_of_the_first_layer_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bn_statistics, "BLOCK", 7)
    data, net = images(), ready().eval()
    x = torch.from_numpy(data.images).permute(0, 3, 1, 2).float() / 255
    bn_statistics.calibrate(net, [x[torch.from_numpy(part)] for part in bn_statistics.blocks(data.ids.keys)])
    with torch.no_grad():
        first = net[0](x)
    torch.testing.assert_close(net[1].running_mean, first.mean((0, 2, 3)))
    torch.testing.assert_close(net[1].running_var, first.var((0, 2, 3), correction=0))


def test_blocks_are_even_and_mix_sorted_data() -> None:
    parts = bn_statistics.blocks(np.arange(1250))
    assert sorted(len(part) for part in parts) == [416, 417, 417]
    assert sorted(np.concatenate(parts).tolist()) == list(range(1250))
    assert all(abs((part < 625).mean() - 0.5) < 0.1 for part in parts)


@pytest.mark.parametrize("bn", ["batch", "recalibrated"])
def test_statistics_need_a_layer_that_has_them(bn: str) -> None:
    with pytest.raises(MethodError, match=rf"El2n\(bn='{bn}'\): the network has no batch normalisation"):
        scored(El2n(bn=bn), images(), net=ready(normalised=False))  # type: ignore[arg-type]


def test_a_layer_that_mixes_examples_is_refused() -> None:
    net = ready()
    net[1] = nn.BatchNorm2d(4, track_running_stats=False)
    with pytest.raises(MethodError, match=r"Layer '1' normalises by the batch it happens to be in"):
        scored(El2n(), images(), net=net)


@pytest.mark.parametrize("kind", MODEL_SCORERS)
def test_values_lie_in_the_declared_range(kind: type) -> None:
    values = scored(kind(), images(200))
    assert values.dtype == np.float64
    assert (values >= kind.low - 1e-6).all() and (values <= kind.high + 1e-6).all()


@pytest.mark.parametrize("kind", MODEL_SCORERS)
def test_plain_data_gives_the_scorer_back(kind: type) -> None:
    assert build("scorer", kind(bn="batch").plain()) == kind(bn="batch")


def test_a_diverged_network_is_refused() -> None:
    net = ready(normalised=False)
    nn.init.constant_(net[-1].bias, math.nan)
    with pytest.raises(MethodError, match=r"El2n: 23 of 23 values are not finite; the first, of id 0, is nan"):
        scored(El2n(), images(), net=net)


@dataclass(frozen=True)
class Shapeless(AbstractModelScorer):
    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0

    def values(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return network(x)


def test_one_number_an_example() -> None:
    with pytest.raises(MethodError, match=r"Shapeless gave values of shape \(23, 3\) for 23 examples"):
        scored(Shapeless(), images())


def label_logit(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return network(x).gather(1, y[:, None])[:, 0]


def drawn(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return torch.rand(len(x))


def test_a_function_is_a_scorer() -> None:
    scorer = FunctionScorer(label_logit, important="low")
    assert scored(scorer, images()).shape == (23,)
    assert build("scorer", scorer.plain()) == scorer
    assert (scorer.important, scorer.low, scorer.high) == ("low", -math.inf, math.inf)
    assert FunctionScorer(label_logit, lowest=-1, highest=2).high == 2


def test_a_function_without_a_name_is_refused() -> None:
    with pytest.raises(MethodError, match=r"<lambda> cannot be imported by name"):
        FunctionScorer(lambda network, x, y: y)


def test_what_a_scorer_draws_follows_the_seed_alone() -> None:
    first = score_model(FunctionScorer(drawn), ready(), images(), runtime=Runtime(), seed=1)
    again = score_model(FunctionScorer(drawn), ready(), images(), runtime=Runtime(), seed=1)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, score_model(FunctionScorer(drawn), ready(), images(), runtime=Runtime(), seed=2))


def test_input_norm_is_of_normalised_pixels() -> None:
    data = images()
    pixels = (data.images / 255 - np.array(data.mean)) / np.array(data.std)
    expected = np.sqrt((pixels**2).sum((1, 2, 3)))
    for batch_size in (1, 5, 512):
        got = score_data(InputNorm(), data, runtime=Runtime(batch_size=batch_size))
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_random_goes_by_id_and_seed() -> None:
    data, rows = images(), np.random.default_rng(1).permutation(23)
    first = score_data(Random(), data, runtime=Runtime(), seed=1)
    np.testing.assert_array_equal(score_data(Random(), rows_of(data, rows), runtime=Runtime(), seed=1), first[rows])
    assert not np.array_equal(score_data(Random(), data, runtime=Runtime(), seed=2), first)
    assert Random().important == "none"


def test_random_is_even_and_unrelated_between_seeds() -> None:
    big = ImageDataset.from_arrays(np.zeros((20_000, 1, 1, 1), np.uint8), np.zeros(20_000, np.int64))
    first, second = (score_data(Random(), big, runtime=Runtime(), seed=seed) for seed in (0, 1))
    assert first.min() >= 0 and first.max() < 1
    # Each of 20 bins expects 1000, standard deviation 31.
    assert np.abs(np.histogram(first, 20, (0, 1))[0] - 1000).max() < 160
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.03


def test_random_knows_sixteen_byte_ids() -> None:
    keys = np.zeros(4, dtype=[("high", "<u8"), ("low", "<u8")])
    keys["high"], keys["low"] = [0, 0, 1, 1], [0, 1, 0, 1]
    ids = ExampleIds(keys, Pool(("a",), 4, "0" * 64))
    base = images(4)
    data = ImageDataset("a", base.images, base.labels, base.classes, ids, base.mean, base.std)
    assert len(np.unique(score_data(Random(), data, runtime=Runtime()))) == 4
