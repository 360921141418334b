"""Robust accuracy of a network that is robust, of networks that hide their gradients, and of those that are refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from tests.robust_digits import EPS, robust_network
from torch import Tensor, nn

from paredown.attacks import Apgd, DeepFool, Fgsm, Pgd, Square
from paredown.data import ImageDataset
from paredown.data.digits import Digits
from paredown.errors import MethodError
from paredown.evaluation import Accuracy, RobustAccuracy
from paredown.method import build
from paredown.runtime import Runtime

CHECKS = ("check-more-steps", "check-unbounded", "check-black-box", "check-transfer", "check-gradients")


class Changed(nn.Module):
    """The robust network with something done to its logits."""

    def __init__(self, change: Any) -> None:
        super().__init__()
        self.network, self.change = robust_network(), change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self.network(x))


def held() -> ImageDataset:
    return Digits(split="test").load()


def figures(probe: RobustAccuracy, network: nn.Module | None = None, **how: Any) -> dict[Any, Mapping[str, Any]]:
    rows = probe.measure(network or robust_network(), held(), runtime=Runtime(**how), seed=0)
    known = {(row["metric"], row.get("group", "")): row for row in rows}
    assert len(known) == len(rows)
    return known


def test_figures() -> None:
    attacks = (Fgsm(), Pgd(), Apgd(steps=10), Apgd(steps=10, loss="dlr"))
    found = figures(RobustAccuracy(attacks=attacks, eps=EPS["linf"], by_class=True))
    clean = Accuracy(by_class=False).measure(robust_network(), held(), runtime=Runtime(), seed=0)[0]
    n = len(held())
    assert found["clean-accuracy", ""]["value"] == clean["value"]
    assert found["clean-accuracy", ""]["threat"] == ""
    robust = found["robust-accuracy", ""]
    assert 0.4 < robust["value"] < 0.9 and robust["n"] == n
    assert robust["spread"] == pytest.approx(math.sqrt(robust["value"] * (1 - robust["value"]) / n))
    names = ["clean-accuracy", *(f"accuracy-after-{name}" for name in ("fgsm", "pgd", "apgd", "apgd-2"))]
    left = [found[name, ""]["value"] for name in names]
    assert left == sorted(left, reverse=True) and left[0] > left[1] > left[2]
    assert left[-1] == robust["value"]
    classes = held().classes
    assert [group for metric, group in found if group] == list(classes)
    of_classes = [found["robust-accuracy", name] for name in classes]
    assert sum(row["value"] * row["n"] for row in of_classes) == pytest.approx(robust["value"] * n)


@pytest.mark.parametrize(
    ("norm", "eps", "words"),
    [
        ("linf", 8 / 255, "linf 8/255"),
        ("l2", 128 / 255, "l2 128/255"),
        ("l2", 0.7, "l2 0.7"),
        ("linf", 1, "linf 255/255"),
    ],
)
def test_the_threat_in_words(norm: Any, eps: float, words: str) -> None:
    assert RobustAccuracy(norm=norm, eps=eps).threat == words
    assert build("probe", {"name": "robust-accuracy", "norm": norm, "eps": str(eps)}).threat == words


def test_every_attack_gets_the_threat_model() -> None:
    given = (Pgd(eps=8 / 255, step=2 / 255), DeepFool(), Square(norm="linf"))
    pgd, deepfool, square = RobustAccuracy(attacks=given, norm="l2", eps=0.4).tried()
    assert (pgd.norm, pgd.eps, deepfool.eps, square.norm) == ("l2", 0.4, 0.4, "l2")
    assert isinstance(pgd, Pgd) and pgd.step == pytest.approx(0.1)  # a quarter of the radius, as it was
    assert [attack.name for attack in RobustAccuracy().tried()] == ["apgd", "apgd", "square"]


def test_on_some_examples_drawn_by_the_seed() -> None:
    probe = RobustAccuracy(attacks=(Fgsm(),), eps=EPS["linf"], examples=50)
    found = figures(probe)
    assert found["robust-accuracy", ""]["n"] == 50
    values = {probe.measure(robust_network(), held(), runtime=Runtime(), seed=seed)[1]["value"] for seed in range(5)}
    assert len(values) > 1
    everything = RobustAccuracy(attacks=(Fgsm(),), eps=EPS["linf"], examples=10**6)
    assert figures(everything)["robust-accuracy", ""]["n"] == len(held())


def test_the_runtime_changes_no_figure() -> None:
    probe = RobustAccuracy(attacks=(Fgsm(start="random"), Square(queries=20)), eps=EPS["linf"], examples=70, batch=32)
    assert figures(probe, batch_size=7) == figures(probe, batch_size=512)


def test_the_network_comes_back_as_it_was() -> None:
    network = Changed(nn.Dropout(0.5))
    network.network.eval()
    figures(RobustAccuracy(attacks=(Fgsm(),), examples=10), network)
    assert network.training and network.change.training and not network.network.training


def verdicts(network: nn.Module) -> dict[str, float]:
    found = figures(RobustAccuracy(attacks=(Fgsm(),), eps=EPS["linf"], examples=120, checks=True), network)
    assert all((found[name, ""]["n"], found[name, ""]["threat"]) == (1, "linf 0.12") for name in CHECKS)
    return {name: found[name, ""]["value"] for name in CHECKS}


def test_a_robust_network_passes_every_check() -> None:
    assert verdicts(robust_network()) == dict.fromkeys(CHECKS, 1.0)


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        # So large that the softmax is exactly 1 and its gradient 0; that of the margin is not, and finds what there is.
        (lambda z: 1e4 * z, {"check-unbounded", "check-gradients"}),
        # Steps, which are flat wherever they are.
        (lambda z: (4 * z).round() / 4, {"check-unbounded", "check-black-box", "check-transfer", "check-gradients"}),
    ],
    ids=["saturated", "quantised"],
)
def test_a_network_that_hides_its_gradients_does_not(change: Any, failed: set[str]) -> None:
    assert {name for name, value in verdicts(Changed(change)).items() if not value} >= failed


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda z: z.softmax(dim=1), r"lies in \[0, 1\] and sums to 1, so it gives probabilities.*attacks need logits"),
        (lambda z: nn.functional.dropout(z, 0.1), r"other logits for the same images.*dropout that stays on"),
        (lambda z: z[:, :7], r"the network knows 7 classes and digits:test has 10"),
        (lambda z: z / 0, r"logits that are not finite.*diverged"),
    ],
    ids=["probabilities", "random", "classes", "diverged"],
)
def test_networks_whose_figure_would_mean_nothing(change: Any, sentence: str) -> None:
    with pytest.raises(MethodError, match=rf"RobustAccuracy: .*{sentence}"):
        figures(RobustAccuracy(attacks=(Fgsm(),), examples=20), Changed(change))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"eps": 8}, r"RobustAccuracy\(eps=8\): pixels lie in \[0, 1\].*Radii in grey levels.*write 8/255"),
        ({"eps": 0}, r"RobustAccuracy\(eps=0\): nothing is attacked without a radius above 0"),
        ({"examples": 0}, r"RobustAccuracy\(examples=0\): nothing would be measured"),
        ({"batch": 0}, r"RobustAccuracy\(batch=0\): nothing would be attacked"),
        ({"norm": "l3"}, r"not a norm. Use linf or l2"),
        ({"attacks": (Fgsm(),), "norm": "l3"}, r"not a norm. Use linf or l2"),
    ],
)
def test_settings_that_cannot_be_meant(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        RobustAccuracy(**fields)


def test_grey_levels_in_l2() -> None:
    with pytest.raises(MethodError, match=r"eps=128\): no two images of this size are so far apart.*write 128/255"):
        figures(RobustAccuracy(norm="l2", eps=128, examples=5))


def test_a_single_example() -> None:
    found = figures(RobustAccuracy(attacks=(Fgsm(),), examples=1))
    assert found["robust-accuracy", ""]["spread"] is None
    assert np.isin(found["robust-accuracy", ""]["value"], [0, 1])
    assert torch.is_grad_enabled()
