"""The verbs that make a network smaller; they stand in `verbs.VERBS` with the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from paredown import needed
from paredown.artifacts import Exported, Pruned, PruningStrategy
from paredown.runtime import Runtime
from paredown.verb import place_of, verb

if TYPE_CHECKING:
    from paredown.artifacts import Checkpoint, Selection
    from paredown.data.dataset import AbstractDataset
    from paredown.pruning.base import AbstractPruner
    from paredown.searching.base import AbstractSearcher
    from paredown.searching.reward import PrunedAccuracy
    from paredown.searching.walk import LayerWalk


@verb(version=1, needed=needed.by_searcher)
def search(
    checkpoint: Checkpoint | str,
    data: AbstractDataset | str | Mapping[str, Any],
    searcher: AbstractSearcher | str | Mapping[str, Any] = "cma-es",
    *,
    keep: float,
    of: str = "parameters",
    granularity: str = "channel",
    walk: LayerWalk | Mapping[str, Any] | None = None,
    reward: PrunedAccuracy | Mapping[str, Any] | None = None,
    evaluations: int = 400,
    selection: Selection | str | None = None,
    seed: int = 0,
    runtime: Runtime | None = None,
    folder: Path | None = None,
) -> PruningStrategy:
    """Searches for how much of each layer to keep under a budget.

    Args:
        checkpoint: the network, which is not changed.
        data: what it was trained on; a part is held out, on which strategies are evaluated.
        searcher: what proposes strategies, or a rule that knows one.
        keep: the budget, as a share of what the dense network costs.
        of: what is counted: parameters, macs (multiplications and additions) or latency (seconds, measured).
        granularity: channel, filter or weight.
        walk: the bounds of a layer's share, and how its cost is reckoned.
        reward: what a strategy is worth: which accuracies, on how many examples, after which treatment.
        evaluations: how many strategies are evaluated.
        selection: use these examples only.
        seed: of the searcher and of the attack.
        runtime: device, precision.
        folder: keeps `episodes.csv`, a row an evaluation, and the best strategy so far; resumes what is there.

    Returns:
        The best strategy; its budget says what it costs, its notes which evaluation it was.

    Raises:
        MethodError: a budget below the smallest that can be met, which is named, or a network whose channels cannot be
            followed.
    """
    from paredown.searching.searched import searched

    asked: dict[str, Any] = {"keep": keep, "of": of, "granularity": granularity, "walk": walk, "reward": reward}
    given: dict[str, Any] = {"evaluations": evaluations, "selection": selection, "seed": seed}
    with place_of(folder) as place:
        examples, method = needed.learnable("search", data), cast("AbstractSearcher", searcher)
        how = runtime or Runtime()
        return searched(cast("Checkpoint", checkpoint), examples, method, **asked, **given, runtime=how, folder=place)


@verb(version=1, needed=needed.by_pruner)
def prune(
    checkpoint: Checkpoint | str,
    strategy: PruningStrategy | str,
    data: AbstractDataset | str | Mapping[str, Any],
    pruner: AbstractPruner | str | Mapping[str, Any] = "hydra",
    *,
    selection: Selection | str | None = None,
    seed: int = 0,
    runtime: Runtime | None = None,
    folder: Path | None = None,
) -> Pruned:
    """Prunes a network to what a strategy keeps, and trains what is left.

    Args:
        checkpoint: the network, which is not changed.
        strategy: how much of each layer is kept, of single weights, channels, filters or two in four.
        data: what is trained on.
        pruner: how units are chosen, and how the network is trained meanwhile and afterwards: on which objective.
        selection: train on these examples only.
        seed: of the order, the augmentation and the attacks.
        runtime: device, precision.
        folder: where the trainings keep their files; resumes what is there.

    Returns:
        The network whose masked weights are 0, and the masks.

    Raises:
        MethodError: the strategy is for another architecture or would empty a layer, or the network's channels cannot
            be followed.
        ArtifactError: the checkpoint's weights are not those of its architecture.
    """
    from paredown.pruning.pruned import pruned

    parts = cast("tuple[Checkpoint, PruningStrategy]", (checkpoint, strategy))
    given: dict[str, Any] = {"selection": selection, "seed": seed, "runtime": runtime or Runtime()}
    with place_of(folder) as place:
        examples, method = needed.learnable("prune", data), cast("AbstractPruner", pruner)
        made = pruned(*parts, examples, method, **given, folder=place)
        return made if folder else made.in_memory()


@verb(version=1)
def compact(pruned: Pruned | str, *, runtime: Runtime | None = None) -> Checkpoint:
    """Takes masked channels out for real: a smaller and faster network with the logits of the masked one.

    A channel goes when no layer reads it. What single weights are masked besides stay as zeros.

    Args:
        pruned: the masked network, and its masks.

    Returns:
        A checkpoint like any other.

    Raises:
        MethodError: channels cannot be followed through an operation, which is named, or the network's own code counts
            on their number.
    """
    from paredown.pruning.compact import compacted

    whole = cast("Pruned", pruned)
    return compacted(whole.checkpoint, whole.masks)


@verb(version=1)
def export(
    checkpoint: Checkpoint | str,
    formats: Sequence[str] = ("onnx", "torch"),
    *,
    runtime: Runtime | None = None,
) -> Exported:
    """Writes a network as files that need no paredown, after holding each against the network itself.

    Args:
        checkpoint: the network, compacted or whole.
        formats: onnx, for onnxruntime and others; torch, a program of torch.export.

    Returns:
        The files with their sizes, and how far their logits lie from the network's.

    Raises:
        MethodError: a network whose operations cannot be followed, or logits that differ by more than rounding.
    """
    from paredown.pruning.export import exported

    return exported(cast("Checkpoint", checkpoint), cast("Any", formats))
