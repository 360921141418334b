"""paredown: pares down what it takes to train, the data and the network, and shows the proof.

The verbs are functions (`train`, `score`, `embed`, `connect`, `extrapolate`, `select`, `distill`, `search`, `prune`,
`export`, `evaluate`), the nouns are artifacts (`ScoreTable`, `Selection`, …), and a method is a value handed to a verb.
Names are imported when they are first used, so that importing the package costs nothing and needs no torch.
"""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paredown.artifacts import (
        Checkpoint,
        DistilledSet,
        EmbeddingMatrix,
        ExampleIds,
        Exported,
        NeighborGraph,
        Pruned,
        Report,
        ScoreTable,
        Selection,
        Trained,
        TrainingDynamics,
    )
    from paredown.data import open_data
    from paredown.recipe import Recipe
    from paredown.runtime import Runtime
    from paredown.store import Store
    from paredown.training import Recorder
    from paredown.verbs import (
        compact,
        connect,
        distill,
        embed,
        evaluate,
        export,
        extrapolate,
        prune,
        score,
        search,
        select,
        train,
    )

_HOMES = {
    "paredown.verbs": (
        "train",
        "score",
        "embed",
        "connect",
        "extrapolate",
        "select",
        "distill",
        "search",
        "prune",
        "compact",
        "export",
        "evaluate",
    ),
    "paredown.artifacts": (
        "Checkpoint",
        "DistilledSet",
        "EmbeddingMatrix",
        "ExampleIds",
        "Exported",
        "NeighborGraph",
        "Pruned",
        "Report",
        "ScoreTable",
        "Selection",
        "Trained",
        "TrainingDynamics",
    ),
    "paredown.data": ("open_data",),
    "paredown.recipe": ("Recipe",),
    "paredown.runtime": ("Runtime",),
    "paredown.store": ("Store",),
    "paredown.training": ("Recorder",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__version__ = metadata.version("paredown")

__all__ = [
    "Checkpoint",
    "DistilledSet",
    "EmbeddingMatrix",
    "ExampleIds",
    "Exported",
    "NeighborGraph",
    "Pruned",
    "Recipe",
    "Recorder",
    "Report",
    "Runtime",
    "ScoreTable",
    "Selection",
    "Store",
    "Trained",
    "TrainingDynamics",
    "compact",
    "connect",
    "distill",
    "embed",
    "evaluate",
    "export",
    "extrapolate",
    "open_data",
    "prune",
    "score",
    "search",
    "select",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'paredown' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
