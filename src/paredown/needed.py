"""Which arguments of a verb its method looks at: the others are taken out, and are no part of the address.

Each function changes the bound arguments of its verb in place, and raises MethodError when something is lacking.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from paredown.errors import MethodError
from paredown.reading import as_list

if TYPE_CHECKING:
    from paredown.data.dataset import LearnableDataset


def by_training(bound: dict[str, Any]) -> None:
    """Fills in how extra data are mixed in; puts a selection of the data before one of the extra data."""
    from paredown.artifacts import Selection

    bound["training"] = bound["training"].mixed(bound["extra"] is not None)
    chosen = as_list(bound["selection"])
    of_extra = "" if bound["extra"] is None else " and one of the extra data"
    if len(chosen) > (2 if of_extra else 1):
        raise MethodError(
            f"train takes one selection of the data{of_extra}, and was given {len(chosen)}. Repeat the step over them: "
            "repeat: {selection: …}."
        )
    if all(isinstance(one, Selection) for one in chosen):
        chosen.sort(key=lambda one: one.ids.pool.fingerprint != bound["data"].ids.pool.fingerprint)
    bound["selection"] = chosen if len(chosen) > 1 else chosen[0]


def by_scorer(bound: dict[str, Any]) -> None:
    """Takes out what a scorer does not look at."""
    scorer = bound["scorer"]
    for name in ("dynamics", "checkpoint", "data", "embeddings"):
        if name not in scorer.needs:
            bound[name] = None
        elif bound[name] is None:
            needs = " and ".join(f"{need}=" for need in sorted(scorer.needs))
            raise MethodError(f"{type(scorer).__name__} needs {needs}, and score() was given no {name}.")


def by_encoder(bound: dict[str, Any]) -> None:
    """Takes out what an encoder does not look at."""
    encoder = bound["encoder"]
    if "checkpoint" not in encoder.needs:
        bound["checkpoint"] = None
    elif bound["checkpoint"] is None:
        raise MethodError(f"{type(encoder).__name__} needs checkpoint=, and embed() was given none.")


def by_selector(bound: dict[str, Any]) -> None:
    """Takes out what a selector does not look at."""
    selector = bound["selector"]
    if isinstance(bound["scores"], list):
        if len(bound["scores"]) > 1:
            raise MethodError(f"select takes one table as scores=, and was given {len(bound['scores'])}.")
        (bound["scores"],) = bound["scores"]
    if bound["fraction"] is not None and bound["count"] is not None:
        raise MethodError("select needs either fraction= or count=, and was given both.")
    if bound["fraction"] is None and bound["count"] is None and not selector.decides:
        raise MethodError("select needs either fraction= or count=, and was given neither.")
    if bound["by_class"] and bound["data"] is None:
        raise MethodError("select(by_class=True) needs data=, whose labels say the classes.")
    if not selector.draws:
        bound["seed"] = 0
    looked_at = selector.needs | selector.uses | selector.either
    if "graph" in looked_at and bound["graph"] is not None and "embeddings" not in selector.needs:
        bound["embeddings"] = None  # a graph that was given is not built again
    for column in ("embeddings", "graph", "bins"):
        others = any(bound[name] is not None for name in ("scores", "data", "graph") if name != column)
        if looked_at and column not in looked_at and others:
            bound[column] = None


def by_extrapolation(bound: dict[str, Any]) -> None:
    """Makes one of a kind a list of one, so that both are the same work."""
    bound |= {name: as_list(bound[name]) for name in ("scores", "known")}


def by_distiller(bound: dict[str, Any]) -> None:
    """Puts classes in order, as their order changes nothing; takes one table of scores."""
    if isinstance(bound["scores"], list):
        if len(bound["scores"]) > 1:
            raise MethodError(f"distill takes one table as scores=, and was given {len(bound['scores'])}.")
        (bound["scores"],) = bound["scores"]
    if bound["classes"] is not None:
        bound["classes"] = tuple(sorted(bound["classes"]))
    if bound["per_class"] < 1:
        raise MethodError(f"distill(per_class={bound['per_class']}): nothing would be learnt. Ask for at least one.")


def libraries(verb: str, bound: Mapping[str, Any]) -> dict[str, str]:
    """Gives the optional libraries that a verb needs besides those of its methods: import name → extra."""
    from paredown.artifacts.exported import ONNX

    return dict(ONNX) if verb == "export" and "onnx" in as_list(bound["formats"]) else {}


def _one(verb: str, bound: dict[str, Any], *names: str) -> None:
    """Takes a list of one for the one, where a verb takes no more."""
    for name in names:
        if isinstance(bound[name], list):
            if len(bound[name]) > 1:
                raise MethodError(f"{verb} takes one {name}, and was given {len(bound[name])}.")
            (bound[name],) = bound[name]


def by_pruner(bound: dict[str, Any]) -> None:
    """Refuses several checkpoints or selections: a pruning is of one."""
    _one("prune", bound, "checkpoint", "selection")


def by_searcher(bound: dict[str, Any]) -> None:
    """Takes out what a searcher that knows its strategy does not look at; fills in how one searches by default."""
    _one("search", bound, "checkpoint", "selection")
    if bound["searcher"].decides:
        bound["evaluations"] = 1
    elif bound["evaluations"] < 1:
        raise MethodError(f"search(evaluations={bound['evaluations']}): nothing would be found. Allow at least 1.")


def by_probes(bound: dict[str, Any]) -> None:
    """Takes out what no probe looks at."""
    probes = bound["probes"]
    if not any("embeddings" in probe.needs for probe in probes):
        bound["embeddings"] = None
    for probe in probes:
        if "against" in probe.needs and bound["against"] is None:
            raise MethodError(f"{type(probe).__name__} needs against=, and evaluate() was given none.")
    if bound["against"] is None or not any("against" in probe.needs | probe.uses for probe in probes):
        # Gone rather than none, so that the evaluations on one data set have the addresses that they always had.
        del bound["against"]
    if bound["selection"] is None or not any("selection" in probe.uses for probe in probes):
        del bound["selection"]


def learnable(verb: str, data: Any) -> LearnableDataset:
    """Gives the data, where a network can learn from them.

    Raises:
        MethodError: they have no labels.
    """
    from paredown.data.dataset import LearnableDataset

    if not isinstance(data, LearnableDataset):
        raise MethodError(f"{verb} needs labelled examples, and {data.name} has only {data.noun}. Give other data.")
    return data
