"""Published strategies: bare lists of kept shares in `strategies/*.json`, read for a network and checked.

The files belong to Zhao et al., "Non-uniform adversarially robust pruning" (AutoML 2022). They name an architecture,
then `channel` or `weight`, then an id, then a list. The id begins with a code of the target rate; `uni` is the uniform
baseline, `lamp` and `erk` are baselines of side files. Some of what is stored is faulty, and each fault is named in the
strategy's notes:

- The code that read the lists for ResNet-50 in weight mode took the last projection one place too early, so that what
  was published was pruned by other shares than the list says.
- Two lists of ResNet-18 keep more than their target.
- A uniform list holds one share that is another.
- LAMP's and ERK's lists of ResNet-18 at the rates 0.01 and 0.001 stand in module order and not in that of all others.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paredown.artifacts.layers import Granularity, Layer, list_order
from paredown.artifacts.strategy import Budget, PruningStrategy
from paredown.errors import ArtifactError, MethodError, did_you_mean
from paredown.sparsity.cost import cost_of, dense, published_target, ratio

RATES: dict[tuple[str, str], float] = {
    ("channel", "05"): 0.5,
    ("channel", "01"): 0.1,
    ("channel", "010"): 0.1,
    ("weight", "010"): 0.1,
    ("weight", "001"): 0.01,
    ("weight", "0001"): 0.001,
}
"""The target rate that the first part of an id stands for."""

LOWER = {("channel", 0.5): 0.1, ("channel", 0.1): 0.05}
"""The lower bound of the shares in the published searches, by which they charged projections."""

RESNET50_PROJECTIONS = (1, 11, 24, 43)
BASELINES = ("uni", "lamp", "erk")
SLACK = 0.03
"""What a list may be over its target before it is called faulty: rounding and bounds cost up to 1.4 %."""


def read_published(
    path: str | Path,
    layers: Sequence[Layer],
    *,
    arch: str,
    granularity: Granularity,
    run: str,
    as_applied: bool = False,
) -> PruningStrategy:
    """Reads one strategy of a published file.

    Args:
        path: of `CIFAR10.json`, `SVHN.json` or `imagenet.json`.
        layers: of the network that it is for, in module order.
        arch: as the file names it: `vgg16_bn`, `resnet18`, `wrn_28_4` or `ResNet50`.
        granularity: `channel` or `weight`.
        run: the id, such as `05_0` or `010_uni`.
        as_applied: gives what the published code made of a ResNet-50's list, shifted by its fault, instead of what the
            list says.

    Raises:
        ArtifactError: the file is missing, damaged, or has no such strategy.
        MethodError: the list is for another architecture.
    """
    ratios = _entry(Path(path), (arch, granularity, run))
    code, _, rest = run.partition("_")
    rate = RATES.get((granularity, code))
    measure = next((name for name in BASELINES if rest.startswith(name)), "published-search")
    measure = "uniform" if measure == "uni" else measure
    notes = [f"{arch} {granularity} {run} of {Path(path).name}"]
    in_modules = measure in ("lamp", "erk") and code in ("001", "0001") and any(layer.shortcut for layer in layers)
    if in_modules:
        notes.append(f"the list {run} stands in module order, while all others name a projection before its block")
    if granularity == "weight" and _projections(layers) == RESNET50_PROJECTIONS:
        shifted = applied_to_resnet50(ratios)
        notes += _shift(layers, ratios, shifted)
        ratios = shifted if as_applied else ratios
    if measure == "uniform":
        notes += _strangers(ratios)
    made = PruningStrategy.from_list(
        layers,
        ratios,
        granularity=granularity,
        order="module" if in_modules else "published",
        measure=measure,
        notes=notes,
    )
    return made if rate is None else _with_budget(layers, made, rate)


def _entry(path: Path, keys: tuple[str, str, str]) -> list[float]:
    try:
        held: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: there is no such file. Download the published strategies first.") from error
    except (ValueError, OSError) as error:
        raise ArtifactError(
            f"{path}: damaged, or no JSON ({str(error).splitlines()[0]}). Download it again."
        ) from error
    for place, name in enumerate(keys):
        if not isinstance(held, dict) or name not in held:
            known = sorted(held) if isinstance(held, dict) else []
            hint = did_you_mean(name, known) or f" There are: {', '.join(known) or 'none'}."
            raise ArtifactError(f"{path}: it has no '{name}'{f' under {keys[place - 1]}' if place else ''}.{hint}")
        held = held[name]
    if not isinstance(held, list) or not all(isinstance(value, int | float) for value in held):
        raise ArtifactError(f"{path}: {' '.join(keys)} is no list of numbers. Download the file again.")
    return [float(value) for value in held]


def _projections(layers: Sequence[Layer]) -> tuple[int, ...]:
    return tuple(place for place, position in enumerate(list_order(layers)) if layers[position].shortcut)


def applied_to_resnet50(ratios: Sequence[float]) -> list[float]:
    """Gives the list that says what the published code made of a ResNet-50's list in weight mode.

    It looked for the last projection's share one entry early and left that entry among the convolutions' too, so that
    from there on every layer had the share of the one before it; the last convolution's share was lost.

    Raises:
        MethodError: the list has another length.
    """
    if len(ratios) != 54:
        raise MethodError(f"A ResNet-50 has 54 shares in weight mode, and this list has {len(ratios)}.")
    last = RESNET50_PROJECTIONS[-1]
    return [*ratios[:last], *ratios[last - 1 : -2], ratios[-1]]


def _shift(layers: Sequence[Layer], ratios: Sequence[float], shifted: Sequence[float]) -> list[str]:
    if list(ratios) == list(shifted):
        return []
    places, total = list_order(layers), sum(layer.weights for layer in layers)
    listed, applied = (
        sum(layers[place].weights * share for place, share in zip(places, shares, strict=True)) / total
        for shares in (ratios, shifted)
    )
    return [
        "the published code read this list one entry late from the last stage on, so that the published network kept "
        f"{applied:.2%} of the weights and the list keeps {listed:.2%}"
    ]


def _strangers(ratios: Sequence[float]) -> list[str]:
    # The first layer's share is another on purpose in some files.
    usual = Counter(ratios).most_common(1)[0][0]
    return [
        f"entry {place} of this uniform list is {share:g} and all others are {usual:g}"
        for place, share in enumerate(ratios)
        if place and share != usual
    ]


def _with_budget(layers: Sequence[Layer], made: PruningStrategy, rate: float) -> PruningStrategy:
    """Gives the strategy with the budget that its id promises, in the published accounting; a note if it is over."""
    kind = made.granularity
    accounting = "published" if kind == "channel" else "structural"
    cost = cost_of(layers, made.shares, kind, accounting=accounting, lower=LOWER.get((kind, rate)))  # type: ignore[arg-type]
    got = ratio(layers, cost)
    wanted = published_target(layers, rate, kind) / dense(layers).total("parameters")
    over = [f"the list keeps {got:.2%} of the weights, and its target is {wanted:.2%}"]
    return PruningStrategy(
        made.shares,
        granularity=kind,
        fingerprint=made.fingerprint,
        measure=made.measure,
        budget=Budget("parameters", wanted, got, accounting),  # type: ignore[arg-type]
        notes=(*made.notes, *(over if got > wanted * (1 + SLACK) else [])),
    )
