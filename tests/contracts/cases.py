"""One line a method: what the contract suite runs over, and what the catalog and the docs table are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from paredown.artifacts import (
    QUANTITIES,
    Artifact,
    Budget,
    Checkpoint,
    DistilledSet,
    EmbeddingMatrix,
    ExampleIds,
    Exported,
    MaskSet,
    NeighborGraph,
    Pool,
    Pruned,
    PruningStrategy,
    Report,
    Row,
    ScoreTable,
    Selection,
    Trained,
    TrainingDynamics,
)
from paredown.artifacts.ids import NATIVE
from paredown.artifacts.whitening import Whitening

# For the methods that take a function by name.
LOGITS = "tests.contracts.functions:label_logit"
FIRST = "tests.contracts.functions:lowest_ids"

# For the probes that train networks of their own.
TINY = {"name": "simple-cnn", "channels": [4]}
BRIEF = {"steps": 2, "batch_size": 8, "objective": "squared-error"}

SCORES = str(Path(__file__).with_name("scores.csv"))
CENTROIDS = str(Path(__file__).with_name("centroids.npy"))

SCORERS: list[dict[str, Any]] = [
    {"name": "aspect-ratio"},
    {"name": "aum"},
    {"name": "aum", "of": "probabilities"},
    {"name": "cal", "neighbors": 3},
    {"name": "caption-length"},
    {"name": "caption-length", "unit": "characters"},
    {"name": "cluster", "centroids": CENTROIDS},
    {"name": "column", "column": "brightness", "important": "low"},
    {"name": "confidence"},
    {"name": "correctness"},
    {"name": "dual", "epochs": 10, "window": 4},
    {"name": "dual", "epochs": 10, "window": 4, "keep": 0.3},
    {"name": "dynamic-uncertainty", "window": 4},
    {"name": "dynamic-uncertainty", "window": 4, "last_window": True},
    {"name": "dynamic-uncertainty", "window": 4, "until": "best"},
    {"name": "el1n"},
    {"name": "el2n"},
    {"name": "el2n", "bn": "batch"},
    {"name": "el2n", "bn": "recalibrated"},
    {"name": "entropy"},
    {"name": "forgetting"},
    {"name": "forgetting", "never_learned": "zero"},
    {"name": "forgetting", "never_learned": "infinite"},
    {"name": "function", "function": LOGITS},
    {"name": "grand"},
    {"name": "grand", "bn": "batch"},
    {"name": "grand-last-layer"},
    {"name": "image-size"},
    {"name": "imported", "path": SCORES, "important": "high"},
    {"name": "input-norm"},
    {"name": "loss"},
    {"name": "margin-max"},
    {"name": "margin-sum"},
    {"name": "nearest-similarity"},
    {"name": "prototypicality", "clusters": 3},
    {"name": "random"},
    {"name": "recorded-mean"},
    {"name": "recorded-mean", "quantity": "probability-margin"},
    {"name": "recorded-mean", "quantity": "margin", "first": 1, "last": 5},
    {"name": "spectral"},
    {"name": "spectral", "until": "best"},
    {"name": "tdds", "window": 4},
    {"name": "variability"},
]

SELECTORS: list[dict[str, Any]] = [
    {"name": "bins"},
    {"name": "bins", "budget": "proportional", "picker": {"name": "highest"}},
    {"name": "bins", "picker": {"name": "d2"}},
    {"name": "bins", "budget": "coverage"},
    {"name": "ccs"},
    {"name": "ccs", "strata": 7, "budget": "coverage", "picker": {"name": "lowest"}},
    {"name": "ccs", "strata": 3, "budget": "proportional", "picker": {"name": "d2"}},
    {"name": "ccs", "compat": "published"},
    {"name": "d2"},
    {"name": "d2", "forward": "none", "scale": "none"},
    {"name": "d2", "forward": "product", "reverse": "absolute", "power": 1},
    {"name": "classes", "classes": [0, 2]},
    {"name": "craig"},
    {"name": "facility-location"},
    {"name": "facility-location", "neighbors": 3, "optimizer": "naive"},
    {"name": "facility-location", "optimizer": "stochastic", "epsilon": 0.3},
    {"name": "facility-location", "dense": True},
    {"name": "function", "function": FIRST},
    {"name": "glister"},
    {"name": "glister", "validation": 0.5, "rate": 0.5, "picks": 1},
    {"name": "grad-match"},
    {"name": "graph-cut"},
    {"name": "graph-cut", "optimizer": "stochastic"},
    {"name": "graph-cut", "diversity": 0.9, "dense": True},
    {"name": "herding"},
    {"name": "highest"},
    {"name": "highest-magnitude"},
    {"name": "k-center"},
    {"name": "k-center", "start": "first"},
    {"name": "k-center", "start": "random"},
    {"name": "lowest"},
    {"name": "lowest-magnitude"},
    {"name": "moderate"},
    {"name": "moderate", "center": "mean"},
    {"name": "near-duplicates"},
    {"name": "near-duplicates", "threshold": 0.3, "keep": "central"},
    {"name": "near-duplicates", "threshold": 0.3, "keep": "first"},
    {"name": "random"},
    {"name": "random", "legacy_seed": 4426},
    {"name": "saturated-coverage"},
    {"name": "saturated-coverage", "saturation": 0.4, "optimizer": "stochastic"},
    {"name": "saturated-coverage", "saturation": 0.4, "dense": True},
    {"name": "threshold", "at_least": -0.5},
    {"name": "threshold", "at_least": -0.5, "at_most": 1.0},
    {"name": "weighted"},
    {"name": "window"},
    {"name": "window", "offset": 0.5},
]

ATTACKS: list[dict[str, Any]] = [
    {"name": "apgd", "steps": 10},
    {"name": "apgd", "steps": 10, "norm": "l2", "eps": 0.5, "loss": "dlr", "restarts": 2},
    {"name": "apgd", "steps": 10, "loss": "targeted-dlr", "best": "clean"},
    {"name": "autoattack", "eps": 0.5},
    {"name": "autoattack", "eps": 0.5, "norm": "l2"},
    {"name": "carlini-wagner", "steps": 20, "searches": 2},
    {"name": "carlini-wagner", "steps": 20, "searches": 2, "eps": 0.3},
    {"name": "deepfool", "steps": 10},
    {"name": "deepfool", "steps": 10, "norm": "linf", "eps": 0.02},
    {"name": "fgsm"},
    {"name": "fgsm", "norm": "l2", "eps": 0.5},
    {"name": "fgsm", "start": "random", "step": 1.25},
    {"name": "pgd"},
    {"name": "pgd", "norm": "l2", "eps": 0.5, "step": 0.1},
    {"name": "pgd", "loss": "dlr", "restarts": 3},
    {"name": "pgd", "loss": "carlini-wagner", "early_stop": True},
    {"name": "pgd", "loss": "margin", "start": "clean", "momentum": 0.5},
    {"name": "square", "queries": 50},
    {"name": "square", "queries": 50, "norm": "l2", "eps": 0.5},
]

INDEXES: list[dict[str, Any]] = [
    {"name": "exact"},
    {"name": "ivf"},
    {"name": "ivf", "lists": 40, "probes": 12},
    {"name": "ivf", "codes": 8},
    {"name": "ivf", "lists": 5, "probes": 2, "codes": 4},
]

EXTRAPOLATIONS: list[dict[str, Any]] = [
    {"name": "graph-network", "width": 32, "steps": 200},
    {"name": "graph-network", "width": 32, "steps": 200, "batch_size": 64, "dropout": 0.2},
    {"name": "kernel-ridge"},
    {"name": "kernel-ridge", "landmarks": 60},
    {"name": "nearest-mean"},
    {"name": "nearest-mean", "neighbors": 5, "weights": "distance"},
    {"name": "nearest-mean", "neighbors": 5, "weights": "exponential"},
    {"name": "nearest-mean", "index": {"name": "ivf"}},
]

DISTILLERS: list[dict[str, Any]] = [
    {"name": "feature-regression", "model": {"name": "widening-convnet", "width": 4}, "steps": 3, "batch_size": 8},
    {
        "name": "feature-regression",
        "model": {"name": "convnet", "width": 4, "depth": 1},
        "steps": 4,
        "batch_size": 50,
        "online_networks": 2,
        "online_steps": 1,
        "augmentation": {"name": "infinite-semantic", "epsilon": 0, "keep_hardest": 1, "reduction": "half-sum"},
        "learn_labels": False,
        "flips": True,
    },
]

PROBES: list[dict[str, Any]] = [
    {"name": "accuracy"},
    {"name": "accuracy", "by_class": False},
    {"name": "attacked-accuracy", "attacks": [{"name": "fgsm"}, {"name": "pgd", "steps": 3}]},
    {"name": "class-balance"},
    {"name": "class-balance", "by_class": False},
    {"name": "cost", "batches": [1], "repeats": 3},
    {"name": "cost", "batches": []},
    {"name": "class-incremental", "model": TINY, "training": BRIEF, "networks": 2},
    {"name": "coverage"},
    {"name": "coverage", "sample": 5},
    {"name": "label-robustness", "model": TINY, "training": BRIEF, "networks": 2},
    {"name": "label-robustness", "model": TINY, "training": BRIEF, "networks": 1, "full": 0.9, "weight": 0.3},
    {"name": "membership", "attacks": ["threshold", "logistic-regression"]},
    {"name": "membership", "attacks": ["nearest-neighbors"], "loss": "squared-error", "examples": 20},
    {"name": "overlap"},
    {"name": "redundancy"},
    {"name": "redundancy", "sample": 5},
    {"name": "robust-accuracy", "attacks": [{"name": "fgsm"}, {"name": "deepfool", "steps": 5}], "by_class": True},
    {"name": "robust-accuracy", "norm": "l2", "eps": 0.1, "checks": True},
]

SEARCHERS: list[dict[str, Any]] = [
    {"name": "cma-es"},
    {"name": "ddpg", "hidden": 8, "warm_up": 3, "updates": 2, "batch": 8, "memory": 4},
    {"name": "erk"},
    {"name": "global-magnitude"},
    {"name": "lamp"},
    {"name": "random"},
    {"name": "tpe", "start": 3},
    {"name": "uniform"},
]

PHASE: dict[str, Any] = {"steps": 3, "batch_size": 8, "optimizer": {"name": "sgd", "lr": 0.05}}
ATTACKED: dict[str, Any] = PHASE | {"objective": {"name": "fast", "attack": {"name": "fgsm"}}}
PRUNERS: list[dict[str, Any]] = [
    {"name": "admm", "regularize": ATTACKED, "retrain": PHASE, "every": 1},
    {"name": "hydra", "score": ATTACKED, "fine_tune": PHASE},
    {"name": "hydra", "score": PHASE, "fine_tune": PHASE, "freeze_bn": True, "grouped": False},
    {"name": "hydra", "score": PHASE, "fine_tune": PHASE, "compat": "published"},
    {"name": "magnitude", "fine_tune": None},
    {"name": "magnitude", "gradual": PHASE, "fine_tune": ATTACKED, "every": 2, "power": 2},
    {"name": "magnitude", "ranking": "lamp", "fine_tune": PHASE},
]

# Sources that need no file; those that read files are held to the contract beside the files that their tests write.
SOURCES: list[dict[str, Any]] = [
    {"name": "digits"},
    {"name": "digits", "split": "test"},
    {"name": "generated-mixtures", "base": {"name": "synthetic", "n": 40}, "count": 30},
    {"name": "synthetic", "n": 40},
    {"name": "synthetic", "n": 40, "stored": True},
    {"name": "synthetic", "n": 40, "whiten": "zca"},
    {"name": "synthetic-pairs", "n": 40},
    {"name": "synthetic-sentences", "n": 40},
    {"name": "synthetic-sentences", "n": 40, "noise": {"name": "label-noise", "fraction": 0.5}},
    {"name": "synthetic", "n": 40, "noise": {"name": "label-noise", "fraction": 0.5}},
]


def artifacts() -> list[Artifact]:
    """Gives one or two of each noun."""
    ids = ExampleIds.of_pool(Pool(("a", "b"), 30, "0" * 64))
    native = np.zeros(30, NATIVE)
    native["low"] = np.arange(30)
    uids = ExampleIds(native, Pool(("uids",), 30, "1" * 64))
    draw = np.random.default_rng(0).random
    epochs = [{name: draw(30, np.float32) for name in QUANTITIES} for _ in range(3)]
    weights = {"weight": draw((3, 4), np.float32), "steps": np.array(7)}
    checkpoint = Checkpoint({"name": "convnet"}, shape=(3, 8, 8), classes=3, weights=weights, step=7)
    dynamics = TrainingDynamics(ids, epochs)
    table = ScoreTable(ids, draw(30), name="el2n", important="high", low=0.0, high=2**0.5)
    square = np.eye(12, dtype=np.float32)
    whitening = Whitening((0.5,) * 3, (0.25,) * 3, np.zeros((2, 2, 3), np.float32), square + 0.1, square)
    learnt, kinds = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "ids": ids.take(np.array([7, 1, 3]))}, ("cat", "dog")
    return [
        DistilledSet(draw((3, 3, 4, 4), np.float32), draw((3, 2), np.float32), classes=kinds, step=5, **learnt),
        DistilledSet(
            draw((3, 3, 2, 2), np.float32),
            draw((3, 2), np.float32),
            classes=kinds,
            whitening=whitening,
            step=5,
            asked={"distiller": {"name": "feature-regression"}},
            notes={"mirrored": True},
            **learnt,
        ),
        dynamics,
        TrainingDynamics(ids, [{"correct": np.ones(30, np.float32)}], quantities=("correct",), source="evaluation"),
        table,
        ScoreTable.mean([table, ScoreTable(ids, draw(30), name="el2n", important="high", low=0.0, high=2**0.5)]),
        ScoreTable(uids, np.full(30, np.inf), name="forgetting", important="high", low=0.0, high=np.inf),
        EmbeddingMatrix(ids, draw((30, 5), np.float32), metric="cosine", normalised=False),
        NeighborGraph.from_arrays(ids, (np.arange(30)[:, None] + np.array([1, 2, 5])) % 30, draw((30, 3))),
        Selection(ids.take(np.array([4, 2, 9])), base=30, asked={"selector": {"name": "highest"}}),
        Selection(
            uids.take(np.arange(6)),
            base=30,
            stratum=np.arange(6) % 2,
            weight=np.linspace(0.5, 1, 6),
            asked={"count": 6},
        ),
        checkpoint,
        Trained(
            checkpoint, TrainingDynamics(ids, epochs, best_epoch=3), validation=uids.take(np.arange(5)), best_epoch=3
        ),
        Trained(checkpoint, dynamics, [Checkpoint({}, shape=(3, 8, 8), classes=3, weights=weights, step=0)]),
        PruningStrategy({"body.stem": 1.0, "body.linear": 0.3}, granularity="channel", fingerprint="ab12"),
        PruningStrategy(
            {"body.stem": 0.1, "body.linear": 1 / 3},
            granularity="weight",
            fingerprint="ab12",
            measure="uniform",
            budget=Budget("parameters", 0.5, 0.49),
            notes=["a note"],
        ),
        MaskSet(
            {"body.stem": draw((3, 4, 3, 3)) > 0.5, "body.linear": draw((2, 3)) > 0.5},
            fingerprint="ab12",
            made={"pruner": "magnitude"},
        ),
        Pruned(
            Checkpoint(
                {}, shape=(3, 8, 8), classes=2, weights={"body.linear.weight": np.eye(2, dtype=np.float32)}, step=3
            ),
            MaskSet({"body.linear": np.eye(2, dtype=bool)}, fingerprint="ab12"),
        ),
        Exported(
            {"network.onnx": np.arange(40, dtype=np.uint8), "network.pt2": np.arange(30, dtype=np.uint8)},
            about={"network.onnx": {"difference": 1e-6, "opset": 20}},
            shape=(3, 8, 8),
            classes=3,
            checkpoint=checkpoint.digest(),
        ),
        Report([Row("accuracy", 0.5, 10, 0.1, "a:test", "ab12"), Row("accuracy", 0.4, 1, None, "a:test", "cd", "cat")]),
    ]
