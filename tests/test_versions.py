"""Numbers that change need a new version: each method's numbers on one tiny case, beside its identity.

An address holds a method's name, fields and `version`. If its numbers changed and its version did not, results made
before would be taken for new ones. `tests/versions.json` therefore keeps a few numbers for each identity. Raise
`version` on the class, then run `python tests/test_versions.py`: it adds what is missing and never changes the rest.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from paredown import catalog, rng
from paredown.artifacts import (
    Checkpoint,
    EmbeddingMatrix,
    ExampleIds,
    Pool,
    PruningStrategy,
    Selection,
    Trained,
    TrainingDynamics,
)
from paredown.artifacts.dynamics import ALL_QUANTITIES
from paredown.data import ImageDataset
from paredown.distillation.base import Task
from paredown.distillation.initial import begin_as
from paredown.evaluation import AbstractContrastProbe, AbstractSelectionProbe, AbstractTrainingSetProbe
from paredown.method import Method, build
from paredown.models import checkpoint_of, load, network
from paredown.models.convnet import ConvNet
from paredown.runtime import Runtime
from paredown.scoring.base import (
    AbstractFeatureScorer,
    score_data,
    score_dynamics,
    score_embeddings,
    score_features,
    score_model,
)
from paredown.searching import LayerWalk, Outcome, rollout
from paredown.selection.base import Candidates, choose
from paredown.shrinking import prune
from paredown.sparsity.layers import layers_of
from paredown.training import Constant, Passes, Sgd, Training, fit
from paredown.training.mixing import Mixture

RECORDED = Path(__file__).with_name("versions.json")
CPU = Runtime(device="cpu", precision="float32", progress=False)
# Settings where the defaults would do nothing, or where a field has no default.
SETTINGS: dict[tuple[str, str], dict[str, Any]] = {
    ("attack", "apgd"): {"steps": 10},
    ("attack", "carlini-wagner"): {"steps": 30, "searches": 3, "lr": 0.1},
    ("attack", "deepfool"): {"steps": 5},
    ("attack", "square"): {"queries": 50},
    ("augmentation", "augmentation"): {"crop": 2, "flip": True, "cutout": 3},
    ("data", "generated-mixtures"): {"base": {"name": "synthetic", "n": 40}, "count": 20},
    ("extrapolation", "graph-network"): {"width": 16, "steps": 20},
    ("noise", "label-noise"): {"fraction": 0.5},
    ("training", "training"): {"steps": 4, "batch_size": 4, "optimizer": {"name": "sgd", "lr": 0.01}},
    ("validation", "validation"): {"examples": 6},
    ("distiller", "feature-regression"): {
        "steps": 3,
        "lr": 0.01,
        "model": {"name": "widening-convnet", "width": 4, "depth": 1},
    },
    **{
        ("probe", name): {
            "model": {"name": "simple-cnn", "channels": [4]},
            "training": {"steps": 3, "batch_size": 4, "objective": "squared-error"},
            "networks": 2,
        }
        for name in ("class-incremental", "label-robustness")
    },
    ("probe", "membership"): {"attacks": ["threshold", "logistic-regression"]},
    ("model", "compacted"): {"base": {"name": "resnet18", "width": 4}, "kept": {"stem": 2, "blocks.1.conv1": 3}},
    ("probe", "attacked-accuracy"): {"attacks": [{"name": "fgsm"}, {"name": "pgd", "steps": 3}]},
    ("probe", "cost"): {"batches": []},
    ("reward", "pruned-accuracy"): {"share": 0.5, "attack": {"name": "fgsm"}, "batch": 3},
    ("walk", "layer-walk"): {"lower": 0.05},
    **{
        ("pruner", name): {
            phase: {"steps": 3, "batch_size": 4, "optimizer": {"name": "sgd", "lr": 0.01}} for phase in phases
        }
        for name, phases in {
            "admm": ("regularize", "retrain"),
            "hydra": ("score", "fine_tune"),
            "magnitude": ("gradual", "fine_tune"),
        }.items()
    },
    ("schedule", "epoch-cosine"): {"epochs": 10},
    ("scorer", "dual"): {"epochs": 5, "window": 3},
    ("scorer", "dynamic-uncertainty"): {"window": 3},
    ("scorer", "prototypicality"): {"clusters": 1},
    ("scorer", "recorded-mean"): {"quantity": "el2n"},
    ("scorer", "tdds"): {"window": 3},
    ("selector", "classes"): {"classes": [0, 2]},
    ("selector", "threshold"): {"at_least": 0.1},
}
# Selectors of gradients, which are outer products of two parts; and of weights, which are at least 0.
OF_GRADIENTS, OF_WEIGHTS = {"craig", "glister", "grad-match"}, {"weighted"}
NO_NUMBERS = {
    ("model", "factory"): "numbers of a function of the user's",
    ("scorer", "function"): "numbers of a function of the user's",
    ("selector", "function"): "numbers of a function of the user's",
    ("encoder", "sentence"): "reads files; the tests of embedding hold its numbers",
    ("model", "pretrained-text"): "reads files; the tests of models hold its numbers",
    ("model", "transformer"): "learns its vocabulary by an optional library; the tests of models hold its numbers",
    ("model", "vgg11"): "halves images five times, and these have 16 pixels; golden arrays hold its norms",
    ("data", "synthetic-sentences"): "has no images; the tests of data hold its words",
    **{
        ("encoder", name): "reads files; the tests of embedding hold its numbers"
        for name in ("clip", "pretrained-resnet", "sscd")
    },
    **{
        ("searcher", name): "needs an optional library; the tests of searching hold what it finds"
        for name in ("cma-es", "ddpg", "tpe")
    },
    ("attack", "autoattack"): "needs an optional library; the tests of attacks hold what it finds",
    ("index", "ivf"): "needs an optional library; the tests of neighbors hold its recall",
    ("encoder", "stored"): "gives what is stored; the tests of embedding hold it",
    ("scorer", "cal"): "the network here sees all examples alike; the tests of scoring hold its numbers",
    ("scorer", "cluster"): "reads files; the tests of scoring hold its numbers",
    ("scorer", "imported"): "reads files; the tests of scoring hold its numbers",
    **{
        ("scorer", name): "of columns beside the data; the tests of scoring hold its numbers"
        for name in ("aspect-ratio", "caption-length", "column", "image-size")
    },
    ("data", "synthetic-pairs"): "has no images; the tests of data hold its bytes",
    **{
        ("data", name): "reads files; the tests of data hold its bytes"
        for name in (
            "anli",
            "cifar10",
            "cifar100",
            "cinic10",
            "cub-200",
            "datacomp",
            "fashion-mnist",
            "folder",
            "generated-images",
            "hugging-face",
            "idx",
            "imagenet",
            "imagenet-resized",
            "imagenette",
            "imagewoof",
            "imdb",
            "mnist",
            "npz",
            "parquet",
            "pseudo-labelled",
            "rotten-tomatoes",
            "sentences",
            "svhn",
            "tiny-imagenet",
        )
    },
}


def drawn(name: str, *shape: int) -> np.ndarray:
    """Gives numbers in [0, 1) from raw words, which are the same in every version of numpy."""
    words = rng.stream(0, "versions", name).bit_generator.random_raw(int(np.prod(shape)))
    return ((words >> np.uint64(40)) / 2.0**24).reshape(shape)


def images(part: str = "") -> ImageDataset:
    pixels = (drawn(f"pixels{part}", 12, 8, 8, 3) * 256).astype(np.uint8)
    pool = Pool((f"versions:{part or 'train'}",), 12, ("1" if part else "0") * 16)
    return ImageDataset(
        pool.sources[0], pixels, np.arange(12) % 3, ("a", "b", "c"), ExampleIds.of_pool(pool), (0.5,) * 3, (0.25,) * 3
    )


def checkpoint() -> Checkpoint:
    """Gives a small network whose weights come from here, not from torch's initialisation."""
    made = network(ConvNet(), (3, 8, 8), 3, mean=(0.5,) * 3, std=(0.25,) * 3)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            spread = 2 * drawn(name, *weight.shape) - 1
            weight.copy_(
                torch.from_numpy(spread * (1.5 if weight.ndim > 1 else 0.5) / max(weight[0].numel(), 1) ** 0.5)
            )
    return checkpoint_of(made, ConvNet(), 1)


def of_scorer(scorer: Any) -> Iterable[float]:
    if "dynamics" in scorer.needs:
        epochs = [{name: drawn(f"{name} {e}", 6).astype(np.float32) for name in ALL_QUANTITIES} for e in range(5)]
        epochs = [epoch | {"correct": np.round(epoch["correct"])} for epoch in epochs]
        ids = ExampleIds.of_pool(Pool(("versions:train",), 6, "0" * 16))
        dynamics = TrainingDynamics(ids, epochs, quantities=ALL_QUANTITIES, source="presentations")
        return score_dynamics(scorer, dynamics)
    if "embeddings" in scorer.needs:
        matrix = EmbeddingMatrix(images().ids, drawn("vectors", 12, 4).astype(np.float32), metric="euclidean")
        return score_embeddings(scorer, matrix, runtime=CPU, seed=0)
    if isinstance(scorer, AbstractFeatureScorer):
        return score_features(scorer, load(checkpoint()), images(), runtime=CPU, seed=0)
    if "checkpoint" in scorer.needs:
        return score_model(scorer, load(checkpoint()), images(), runtime=CPU, seed=0)
    return score_data(scorer, images(), runtime=CPU, seed=0)


def of_selector(selector: Any) -> Iterable[float]:
    values = drawn("values", 12) - 0.5
    importance = np.abs(values) if selector.name in OF_WEIGHTS else values
    factors = (2, 2) if selector.name in OF_GRADIENTS else ()
    vectors = drawn("vectors", 12, 4)
    candidates = Candidates(np.arange(12), values, importance, np.arange(12) % 3, vectors, factors=factors)
    return [*choose(selector, candidates, 5), *choose(selector, candidates, 5, by_class=True)]


def of_probe(probe: Any) -> Iterable[float]:
    data, others = images(), images("others")
    chosen = [Selection(data.ids.take(np.array(rows)), base=12) for rows in ([7, 0, 3, 4], [3, 1, 7, 9, 2])]
    if isinstance(probe, AbstractTrainingSetProbe):
        with tempfile.TemporaryDirectory() as folder:
            rows = probe.measure(chosen, others, against=data, runtime=CPU, seed=0, folder=Path(folder))
        return [row["value"] for row in rows]
    if isinstance(probe, AbstractContrastProbe):
        network, rows = load(checkpoint()), np.arange(12)
        return [row["value"] for row in probe.measure(network, data, others, rows=rows, runtime=CPU, seed=0)]
    if not isinstance(probe, AbstractSelectionProbe):
        return [row["value"] for row in probe.measure(load(checkpoint()), data, runtime=CPU, seed=0)]
    matrix = EmbeddingMatrix(data.ids, drawn("vectors", 12, 4).astype(np.float32), metric="euclidean")
    rows = probe.measure(chosen[0], data, others=chosen, embeddings=matrix, runtime=CPU, seed=0)
    return [row["value"] for row in rows]


def of_optimizer(optimizer: Any) -> Iterable[float]:
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -2.0], [0.5, 3.0]]))
        layer.bias.copy_(torch.tensor([0.25, -1.0]))
    steps = optimizer.build(layer)
    for _ in range(3):
        steps.zero_grad()
        layer(torch.tensor([[1.0, 2.0]])).square().sum().backward()
        steps.step()
    return [*layer.weight.flatten().tolist(), *layer.bias.tolist()]


def of_model(model: Any) -> Iterable[float]:
    made = network(model, (3, 16, 16), 3, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0).eval()
    x = torch.from_numpy(drawn("x", 2, 3, 16, 16)).float()
    with torch.no_grad():
        return [*made(x).flatten().tolist(), float(sum(p.numel() for p in made.parameters()))]


def of_training(training: Any, recording: Any = None) -> Iterable[float]:
    with tempfile.TemporaryDirectory() as folder:
        fit(images(), ConvNet(), training, recording=recording, seed=0, runtime=CPU, folder=Path(folder))
        made = Trained.adopt(Path(folder))
        if recording is not None and made.dynamics is not None:
            return [float(np.nanmean(epoch[name])) for epoch in made.dynamics for name in made.dynamics.quantities]
        weights = made.checkpoint.weights
        return [float(np.abs(np.asarray(weights[name], dtype=np.float64)).sum()) for name in sorted(weights)]


def of_recording(recording: Any) -> Iterable[float]:
    return of_training(Training(steps=4, batch_size=4, optimizer=Sgd(lr=0.01), schedule=Constant()), recording)


def of_augmentation(augmentation: Any) -> Iterable[float]:
    pixels = torch.arange(2 * 36, dtype=torch.uint8).view(2, 1, 6, 6)
    x = pixels.float() if augmentation.normalised else pixels
    return augmentation.apply(x, torch.Generator().manual_seed(0)).flatten().tolist()


def of_data(source: Any) -> Iterable[float]:
    data = source.load()
    return [len(data), float(data.images.mean()), float(data.images[0].sum()), *data.labels[:8].tolist()]


def of_mixing(mixing: Any) -> Iterable[float]:
    mixture = Mixture(mixing, 7, seed=0)
    return np.concatenate([rows for number in range(2) for rows in mixture.epoch(number, np.arange(8), [5, 3])])


def of_index(index: Any) -> Iterable[float]:
    vectors = drawn("points", 60, 4).astype(np.float32)
    state = index.prepare(vectors, metric="euclidean", device=torch.device("cpu"), block_mb=256, folder=None)
    positions, distances = index.nearest(state, vectors[:6], 3)
    return [*positions.flatten(), *distances.flatten()]


def of_extrapolation(extrapolation: Any) -> Iterable[float]:
    vectors = drawn("points", 60, 4).astype(np.float32)
    predict = extrapolation.learn(
        vectors, drawn("values", 60), metric="euclidean", device=torch.device("cpu"), block_mb=256, seed=0
    )
    return predict(drawn("asked", 6, 4).astype(np.float32))


def of_semantic_augmentation(augmentation: Any) -> Iterable[float]:
    residuals, features = (torch.from_numpy(2 * drawn(name, 10, 4) - 1) for name in ("residuals", "features"))
    kept = augmentation.kept(residuals.square().sum(dim=1))
    return [*kept.tolist(), *augmentation.losses(residuals[kept], features[kept]).tolist()]


def of_distiller(distiller: Any) -> Iterable[float]:
    data = images()
    rows = np.arange(12)
    task = Task(data, rows, begin_as(data, rows, per_class=1, chosen=None, seed=0))
    with tempfile.TemporaryDirectory() as folder:
        made = distiller.distil(task, runtime=CPU, folder=Path(folder))
    return [*np.abs(made.images).mean(axis=(1, 2, 3)), *made.labels.flatten()]


def attackable() -> tuple[nn.Module, torch.Tensor]:
    """Gives a smooth network in float64, and images."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight.copy_(torch.from_numpy((2 * drawn(name, *weight.shape) - 1) / weight.shape[-1] ** 0.5))
    return network, torch.from_numpy(drawn("attacked", 4, 3, 8, 8))


def of_objective(objective: Any) -> Iterable[float]:
    network, x = attackable()
    seen = objective.losses(Passes(network, seed=0), x, torch.arange(4) % 3)
    seen.losses.sum().backward()
    return [*seen.losses.tolist(), *(float(weight.grad.norm()) for weight in network.parameters())]


def of_attack(attack: Any) -> Iterable[float]:
    network, x = attackable()
    with torch.no_grad():
        y = network(x).argmax(dim=1)
    change = (attack(network, x, y, seed=0) - x).flatten(1)
    return [*change.mean(dim=1).tolist(), *change.norm(dim=1).tolist()]


def of_walk(walk: Any) -> Iterable[float]:
    numbers = []
    for granularity, keep in (("channel", 0.5), ("weight", 0.3)):
        problem = walk.problem(load(checkpoint()), keep=keep, granularity=granularity)
        made = rollout(problem, drawn("actions", len(problem.steps)))
        numbers += [*made.strategy().shares.values(), made.ratio, *made.observe()]
    return numbers


def of_searcher(searcher: Any) -> Iterable[float]:
    problem = LayerWalk(lower=0.05).problem(load(checkpoint()), keep=0.4, granularity="weight")
    found = searcher.search(problem, lambda strategy: Outcome(sum(strategy.shares.values())), evaluations=4)
    return [number for row in found.episodes for number in (row.reward, *row.shares)]


def of_reward(reward: Any) -> Iterable[float]:
    problem = LayerWalk().problem(load(checkpoint()), keep=0.5)
    judge = reward.judge(load(checkpoint()), problem, images())
    outcomes = [judge(rollout(problem, [action] * len(problem.steps)).strategy()) for action in (0.2, 0.9)]
    return [number for outcome in outcomes for number in outcome if number is not None]


def of_pruner(pruner: Any) -> Iterable[float]:
    begun = checkpoint()
    strategy = PruningStrategy.uniform(layers_of(load(begun)), 0.5, granularity="channel")
    with tempfile.TemporaryDirectory() as folder:
        made = prune(begun, strategy, images(), pruner, runtime=CPU, folder=Path(folder))
        sums = [np.abs(np.asarray(array, np.float64)).sum() for _, array in sorted(made.checkpoint.weights.items())]
        return [float(total) for total in sums] + [float(kept) for kept, _ in made.masks.counts().values()]


MEASURES: dict[str, Callable[[Any], Iterable[float]]] = {
    "scorer": of_scorer,
    "selector": of_selector,
    "schedule": lambda schedule: [schedule.share(step, 100) for step in (1, 10, 31, 50, 61, 100)],
    "objective": of_objective,
    "optimizer": of_optimizer,
    "model": of_model,
    "training": of_training,
    "recording": of_recording,
    "validation": lambda validation: validation.rows(images()),
    "augmentation": of_augmentation,
    "noise": lambda noise: noise.apply(np.arange(12) % 3, 3)[0],
    "data": of_data,
    "mixing": of_mixing,
    "encoder": lambda encoder: encoder.embed(images(), checkpoint=checkpoint(), runtime=CPU).vectors[:2, :12].flatten(),
    "index": of_index,
    "extrapolation": of_extrapolation,
    "distiller": of_distiller,
    "semantic-augmentation": of_semantic_augmentation,
    "attack": of_attack,
    "walk": of_walk,
    "searcher": of_searcher,
    "pruner": of_pruner,
    "reward": of_reward,
    "probe": of_probe,
}
METHODS = [(kind, name) for kind in catalog.CATALOG for name in catalog.names(kind) if (kind, name) not in NO_NUMBERS]


def made(kind: str, name: str) -> Method:
    return build(kind, {"name": name} | SETTINGS.get((kind, name), {}))


def identity(kind: str, method: Method) -> str:
    return f"{kind} {json.dumps(method.identity(), sort_keys=True)}"


def recorded() -> dict[str, list[float]]:
    return json.loads(RECORDED.read_text()) if RECORDED.exists() else {}


@pytest.mark.parametrize(("kind", "name"), METHODS, ids=[f"{kind}-{name}" for kind, name in METHODS])
def test_numbers_change_only_with_the_version(kind: str, name: str) -> None:
    method = made(kind, name)
    known = recorded().get(identity(kind, method))
    assert known is not None, f"no numbers for {identity(kind, method)}. Run: python tests/test_versions.py"
    numbers = np.array(list(MEASURES[kind](method)), dtype=np.float64)
    np.testing.assert_allclose(
        numbers, known, rtol=1e-3, atol=1e-5, err_msg=f"{type(method).__name__} gives other numbers: raise its version"
    )


def test_every_exception_is_still_in_the_catalog() -> None:
    assert not [key for key in [*NO_NUMBERS, *SETTINGS] if key[1] not in catalog.names(key[0])]


def record() -> None:
    """Adds the numbers of identities that have none yet."""
    known = recorded()
    for kind, name in METHODS:
        method = made(kind, name)
        if identity(kind, method) not in known:
            numbers = np.array(list(MEASURES[kind](method)), dtype=np.float64)
            known[identity(kind, method)] = [float(f"{number:.6g}") for number in numbers]
    lines = [f"  {json.dumps(key)}: {json.dumps(known[key])}" for key in sorted(known)]
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    record()
