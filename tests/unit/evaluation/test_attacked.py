"""Accuracy under each attack alone, and averaged over classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from tests.robust_digits import EPS, robust_network

from paredown import evaluate
from paredown.attacks import Apgd, Fgsm, Pgd
from paredown.data import ImageDataset
from paredown.data.digits import Digits
from paredown.errors import MethodError
from paredown.evaluation import Accuracy, AttackedAccuracy, RobustAccuracy
from paredown.evaluation.accuracy import balanced
from paredown.evaluation.attacked import USUAL, labels
from paredown.method import build
from paredown.models import checkpoint_of, network
from paredown.runtime import Runtime

QUIET = Runtime(progress=False)


def figures(probe: Any, data: ImageDataset | None = None, batch_size: int = 512) -> dict[str, Mapping[str, Any]]:
    held = Digits(split="test").load() if data is None else data
    rows = probe.measure(robust_network(), held, runtime=Runtime(progress=False, batch_size=batch_size), seed=0)
    known = {row["metric"]: row for row in rows}
    assert len(known) == len(rows)
    return known


def test_the_mean_over_classes() -> None:
    """The specified case (12.10)."""
    y, guessed = np.array([0, 0, 0, 0, 1, 1, 2]), np.array([0, 0, 0, 1, 1, 0, 2])
    found = balanced("balanced-accuracy", guessed == y, y)
    assert found["value"] == pytest.approx(0.75) and found["n"] == 7
    assert found["spread"] == pytest.approx(np.sqrt(0.75 * 0.25 / 4 + 0.25 / 2) / 3)
    assert balanced("balanced-accuracy", np.ones(4, bool), np.array([0, 0, 2, 2])) == {}


def test_accuracy_gives_it_where_classes_differ() -> None:
    held = Digits(split="test").load()
    found = {row["metric"]: row["value"] for row in Accuracy().measure(robust_network(), held, runtime=QUIET, seed=0)}
    by_class = Accuracy().measure(robust_network(), held, runtime=QUIET, seed=0)
    mean = np.mean([row["value"] for row in by_class if row.get("group")])
    assert found["balanced-accuracy"] == pytest.approx(mean)


@pytest.mark.parametrize("threads", [1, 2])
def test_attacks_use_the_threads_that_they_may(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    perturb = Fgsm.perturb

    def watched(self: Fgsm, *given: Any) -> torch.Tensor:
        seen.add(torch.get_num_threads())
        return perturb(self, *given)

    monkeypatch.setattr(Fgsm, "perturb", watched)
    before, data, model = torch.get_num_threads(), Digits(split="test").load(), build("model", "convnet")
    checkpoint = checkpoint_of(network(model, data.shape, 10, mean=(0.3,), std=(0.37,), seed=0), model, 0)
    probe = AttackedAccuracy(attacks=(Fgsm(),), eps=EPS["linf"], examples=20)
    evaluate(checkpoint, data, [probe], runtime=Runtime(progress=False, threads=threads))
    assert seen == {threads} and torch.get_num_threads() == before


def test_each_attack_alone() -> None:
    attacks = (Fgsm(), Pgd(steps=3), Pgd(steps=3, loss="carlini-wagner"), Apgd(steps=5))
    probe = AttackedAccuracy(attacks=attacks, eps=EPS["linf"], examples=80)
    found = figures(probe)
    names = ["fgsm", "pgd-3", "pgd-3-carlini-wagner", "apgd-5"]
    assert [name for name in found if name.startswith("accuracy-under-")] == [f"accuracy-under-{n}" for n in names]
    robust = figures(RobustAccuracy(attacks=attacks, eps=EPS["linf"], examples=80))
    assert found["clean-accuracy"]["value"] == robust["clean-accuracy"]["value"]
    for name in names:
        row = found[f"accuracy-under-{name}"]
        assert row["threat"] == "linf 0.12" and row["n"] == 80
        assert robust["robust-accuracy"]["value"] <= row["value"] + 0.03 <= found["clean-accuracy"]["value"] + 0.03
        assert found[f"balanced-accuracy-under-{name}"]["threat"] == "linf 0.12"
    assert found["accuracy-under-fgsm"]["value"] == robust["accuracy-after-fgsm"]["value"]
    assert figures(probe, batch_size=7) == found


def test_the_network_comes_back_as_it_was() -> None:
    network = torch.nn.Sequential(robust_network(), torch.nn.Dropout(0.0)).train()
    AttackedAccuracy((Fgsm(),), examples=5).measure(network, Digits(split="test").load(), runtime=QUIET, seed=0)
    assert network.training and network[1].training


def test_the_usual_attacks() -> None:
    assert labels(USUAL) == ["fgsm", "pgd-10", "pgd-20", "pgd-50", "pgd-20-carlini-wagner"]
    assert labels((Pgd(), Pgd(), Pgd())) == ["pgd-10", "pgd-10-again", "pgd-10-again2"]
    plain = build("probe", {"name": "attacked-accuracy", "attacks": [{"name": "pgd", "steps": 7}], "eps": "4/255"})
    (attack,) = plain.model_of_threat.tried()
    assert (attack.steps, attack.eps, attack.step) == (7, 4 / 255, pytest.approx(1 / 255))
    with pytest.raises(MethodError, match=r"eps=8\): pixels lie in \[0, 1\]"):
        AttackedAccuracy(eps=8)
