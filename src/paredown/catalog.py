"""Short names of methods: kind, then name, then `"module:Class"`.

The values are strings, so that listing or looking up a name imports nothing and one scorer does not import the others.
Whatever takes a name also takes `yourpackage.module:YourClass`; nothing has to be registered.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from paredown.errors import MethodError, did_you_mean

CATALOG: dict[str, dict[str, str]] = {
    "data": {
        "cifar10": "paredown.data.cifar:Cifar10",
        "cifar100": "paredown.data.cifar:Cifar100",
        "cinic10": "paredown.data.cinic10:Cinic10",
        "digits": "paredown.data.digits:Digits",
        "fashion-mnist": "paredown.data.idx:FashionMnist",
        "folder": "paredown.data.folder:Folder",
        "idx": "paredown.data.idx:Idx",
        "mnist": "paredown.data.idx:Mnist",
        "npz": "paredown.data.npz:Npz",
        "parquet": "paredown.data.parquet:Parquet",
        "svhn": "paredown.data.svhn:Svhn",
        "synthetic": "paredown.data.synthetic:Synthetic",
    },
    "augmentation": {"augmentation": "paredown.data.augment:Augmentation"},
    "noise": {"label-noise": "paredown.data.corrupt:LabelNoise"},
    "model": {
        "convnet": "paredown.models.convnet:ConvNet",
        "factory": "paredown.models.build:Factory",
        "preact-resnet18": "paredown.models.resnet:PreActResNet18",
        "resnet18": "paredown.models.resnet:ResNet18",
        "resnet50": "paredown.models.resnet:ResNet50",
        "simple-cnn": "paredown.models.convnet:SimpleCnn",
        "small-resnet": "paredown.models.small:SmallResNet",
    },
    "training": {"training": "paredown.training.training:Training"},
    "optimizer": {
        "sgd": "paredown.training.optimizers:Sgd",
        "adam": "paredown.training.optimizers:Adam",
        "adamw": "paredown.training.optimizers:AdamW",
    },
    "schedule": {
        "constant": "paredown.training.schedules:Constant",
        "step": "paredown.training.schedules:Step",
        "cosine": "paredown.training.schedules:Cosine",
        "triangular": "paredown.training.schedules:Triangular",
    },
    "recording": {"recording": "paredown.training.record:Recording"},
    "scorer": {
        "aum": "paredown.scoring.dynamics:Aum",
        "confidence": "paredown.scoring.errors:Confidence",
        "correctness": "paredown.scoring.dynamics:Correctness",
        "el1n": "paredown.scoring.errors:El1n",
        "el2n": "paredown.scoring.errors:El2n",
        "entropy": "paredown.scoring.errors:Entropy",
        "forgetting": "paredown.scoring.dynamics:Forgetting",
        "function": "paredown.scoring.base:FunctionScorer",
        "grand": "paredown.scoring.gradients:Grand",
        "grand-last-layer": "paredown.scoring.gradients:LastLayerGrand",
        "input-norm": "paredown.scoring.plain:InputNorm",
        "loss": "paredown.scoring.errors:Loss",
        "margin-max": "paredown.scoring.errors:MaxMargin",
        "margin-sum": "paredown.scoring.errors:SumMargin",
        "random": "paredown.scoring.plain:Random",
        "recorded-mean": "paredown.scoring.dynamics:RecordedMean",
        "variability": "paredown.scoring.dynamics:Variability",
    },
    "encoder": {
        "penultimate": "paredown.embedding.penultimate:Penultimate",
    },
    "selector": {
        "function": "paredown.selection.base:FunctionSelector",
        "highest": "paredown.selection.simple:Highest",
        "highest-magnitude": "paredown.selection.simple:HighestMagnitude",
        "lowest": "paredown.selection.simple:Lowest",
        "lowest-magnitude": "paredown.selection.simple:LowestMagnitude",
        "random": "paredown.selection.simple:Random",
        "window": "paredown.selection.simple:Window",
    },
    "index": {
        "exact": "paredown.neighbors.exact:Exact",
    },
    "probe": {
        "accuracy": "paredown.evaluation.accuracy:Accuracy",
    },
}


def names(kind: str) -> list[str]:
    """Gives the names of one kind, sorted."""
    return sorted(CATALOG[kind])


def only_class(kind: str) -> str | None:
    """Gives the one name of a kind that has a single class (`training`), for which a recipe may leave the name out."""
    return next(iter(CATALOG[kind])) if len(CATALOG[kind]) == 1 else None


def find(kind: str, name: str) -> Any:
    """Imports what a name stands for.

    Args:
        kind: a key of `CATALOG`.
        name: a name of that kind, or `module:Class` for a class of one's own.

    Raises:
        MethodError: no such name, module or class; the sentence names the nearest.
    """
    path = CATALOG[kind].get(name, name if ":" in name else "")
    if not path:
        hint = did_you_mean(name, CATALOG[kind]) or f" There are: {', '.join(names(kind))}."
        raise MethodError(f"No {kind} is called '{name}'.{hint}")
    module, _, attribute = path.partition(":")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(error.name + ".")):
            raise MethodError(
                f"{kind} '{name}': there is no module '{module}' to import. "
                "Write module:Class, with the module's folder on PYTHONPATH."
            ) from error
        raise
    for part in attribute.split("."):
        if not hasattr(found, part):
            hint = did_you_mean(part, [known for known in vars(found) if not known.startswith("_")])
            raise MethodError(f"{kind} '{name}': module '{module}' has no '{attribute}'.{hint}")
        found = getattr(found, part)
    return found


def name_of(cls: type) -> str:
    """Gives the short name of a class, or `module:Class` for one that stands outside the catalog."""
    path = f"{cls.__module__}:{cls.__qualname__}"
    for entries in CATALOG.values():
        for name, entry in entries.items():
            if entry == path:
                return name
    return path


def path_of(function: Any) -> str:
    """Gives `module:name` of a function, by which it can be imported again; text is given back as it is.

    Raises:
        MethodError: it cannot be imported by name, such as a lambda or a function inside another.
    """
    if isinstance(function, str):
        return function
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", repr(function))
    if getattr(sys.modules.get(module or ""), name, None) is not function:
        raise MethodError(
            f"{name} cannot be imported by name, and its name is what identifies a function in stored results. "
            "Define it with def at the top of a module."
        )
    return f"{module}:{name}"
