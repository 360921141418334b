"""`PruningStrategy`: how much of each layer is kept, by the layers' names, for one architecture."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, cast, get_args

import numpy as np

from paredown.artifacts.base import Artifact, write_json
from paredown.artifacts.layers import GRANULARITIES, Granularity, Layer, fingerprint, searched
from paredown.errors import ArtifactError, MethodError

FILE = "strategy.json"
CostKind = Literal["parameters", "macs", "latency"]


@dataclass(frozen=True)
class Budget:
    """What the network may cost, as a share of the dense one's.

    Args:
        kind: what is counted: parameters (weights of prunable layers), multiplications and additions, or seconds.
        wanted: the share that was asked for.
        got: the share that the strategy costs; none where it was not computed.
        accounting: `structural`, or `published` where shortcuts were charged as the published search did.
    """

    kind: CostKind
    wanted: float
    got: float | None = None
    accounting: Literal["structural", "published"] = "structural"

    def __post_init__(self) -> None:
        if self.kind not in get_args(CostKind):
            raise MethodError(f"Budget(kind={self.kind!r}): what is counted is parameters, macs or latency.")
        if not 0 < self.wanted <= 1:
            raise MethodError(f"Budget(wanted={self.wanted}): a share of the dense cost lies above 0 and is at most 1.")


class PruningStrategy(Artifact):
    """A kept share for every layer.

    Args:
        shares: the share of its units that each layer keeps, in (0, 1], by name in module order. A layer's units are
            its weights (`weight`, `2:4`), its input channels (`channel`) or its filters (`filter`).
        granularity: `weight`, `channel`, `filter` or `2:4` (two of every four weights along the input).
        fingerprint: of the architecture, as `artifacts.layers.fingerprint` gives it.
        measure: what made the shares, or what ranks the units: `uniform`, `ddpg`, `lamp`, …
        budget: what they were to cost and what they cost, if there was a budget.
        notes: what else a reader should know, as data that JSON can hold.

    Raises:
        MethodError: a share outside (0, 1], which would empty a layer or keep more than there is; no layer; another
            granularity.
    """

    def __init__(
        self,
        shares: Mapping[str, float],
        *,
        granularity: Granularity,
        fingerprint: str,
        measure: str = "",
        budget: Budget | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.shares = {str(name): float(share) for name, share in shares.items()}
        self.granularity = granularity
        self.fingerprint = fingerprint
        self.measure = measure
        self.budget = budget
        self.notes = tuple(notes)
        if granularity not in GRANULARITIES:
            raise MethodError(
                f"PruningStrategy(granularity={granularity!r}): a granularity is {', '.join(GRANULARITIES[:-1])} or "
                f"{GRANULARITIES[-1]}."
            )
        if not self.shares:
            raise MethodError("PruningStrategy: it names no layer. Give a share for every layer of the network.")
        for name, share in self.shares.items():
            if not (math.isfinite(share) and 0 < share <= 1):
                raise MethodError(
                    f"PruningStrategy: layer '{name}' keeps {share:g} of its {_units(granularity)}s; a share lies "
                    "above 0, because an empty layer passes nothing on, and is at most 1."
                )
            if granularity == "2:4" and share not in (0.5, 1.0):
                raise MethodError(
                    f"PruningStrategy: layer '{name}' keeps {share:g}; a pattern of 2 in 4 keeps 0.5, and a layer "
                    "without it 1."
                )

    @classmethod
    def uniform(
        cls, layers: Sequence[Layer], share: float, *, granularity: Granularity, first: float | None = None
    ) -> Self:
        """Gives the same share to every layer.

        Args:
            layers: of the network, in module order.
            share: of every layer, but those that read the image in channel mode.
            granularity: what is pruned.
            first: the share of layers that read the image. None keeps all in channel mode, where they have as many
                inputs as an image has colours, and `share` in the others.
        """
        opening = (1.0 if granularity == "channel" else share) if first is None else first
        shares = {layer.name: share if layer.reads else opening for layer in layers}
        if granularity == "2:4":
            shares = {layer.name: 0.5 if layer.shape[1] % 4 == 0 else 1.0 for layer in layers}
        return cls(shares, granularity=granularity, fingerprint=fingerprint(layers), measure="uniform")

    @classmethod
    def from_list(
        cls,
        layers: Sequence[Layer],
        ratios: Sequence[float],
        *,
        granularity: Granularity,
        order: Literal["published", "module"] = "published",
        measure: str = "",
        budget: Budget | None = None,
        notes: Sequence[str] = (),
    ) -> Self:
        """Makes a strategy of a bare list of kept shares, as the papers store them.

        Args:
            layers: of the network that the list is for, in module order.
            ratios: kept shares; in channel mode none for projections, which keep what their block's first layer keeps.
            granularity: what the list prunes.
            order: `published` (a projection before its block) or `module`, as modules are registered.
            measure: what made the shares.
            budget: what they were to cost.
            notes: what else a reader should know.

        Raises:
            MethodError: too many or too few of them, or one outside (0, 1].
        """
        places = searched(layers, granularity)
        if order == "module":
            places = tuple(sorted(places))
        if len(ratios) != len(places):
            raise MethodError(
                f"PruningStrategy.from_list: {len(ratios)} shares, and a list in {granularity} mode has {len(places)} "
                f"for this architecture of {len(layers)} layers"
                + (" (projections have none)" if len(places) < len(layers) else "")
                + ". Use the list that was made for this architecture and mode."
            )
        found = {layers[place].name: float(ratio) for place, ratio in zip(places, ratios, strict=True)}
        shares = {layer.name: found[layer.name if layer.name in found else layer.beside] for layer in layers}
        return cls(
            shares,
            granularity=granularity,
            fingerprint=fingerprint(layers),
            measure=measure,
            budget=budget,
            notes=notes,
        )

    def to_list(self, layers: Sequence[Layer]) -> list[float]:
        """Gives the bare list in published order; in channel mode projections have no entry.

        Raises:
            MethodError: the layers are of another architecture.
        """
        self.refuse_other(layers)
        return [self.shares[layers[place].name] for place in searched(layers, self.granularity)]

    def refuse_other(self, layers: Sequence[Layer]) -> None:
        """Raises MethodError unless the layers are those that the strategy was made for."""
        names = [layer.name for layer in layers]
        if missing := [name for name in names if name not in self.shares]:
            raise MethodError(
                f"The strategy is for another architecture: it has no share for '{missing[0]}' ({len(self.shares)} "
                f"layers in the strategy, {len(layers)} in the network). Use a strategy made for this network."
            )
        if more := [name for name in self.shares if name not in set(names)]:
            raise MethodError(
                f"The strategy is for another architecture: it names '{more[0]}', which this network has not. "
                "Use a strategy made for this network."
            )
        if self.fingerprint != fingerprint(layers):
            raise MethodError(
                "The strategy is for another architecture: the layers have the same names and other shapes "
                f"(fingerprint {self.fingerprint}, and this network's is {fingerprint(layers)}). "
                "Use a strategy made for this network."
            )

    @classmethod
    def from_json(cls, path: str | Path) -> Self:
        """Reads a `strategy.json` alone, such as one that was copied out of its folder.

        Raises:
            ArtifactError: there is none, or it is damaged.
        """
        path = Path(path)
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(told, list):
                raise ArtifactError(
                    f"{path}: a bare list of {len(told)} shares, which names no layer. Make a strategy of it by "
                    "PruningStrategy.from_list, which checks it against the network, and save that."
                )
            return cls._of(told)
        except FileNotFoundError as error:
            raise ArtifactError(f"{path}: there is no such file.") from error
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise ArtifactError(f"{path}: no strategy that names layers, or damaged ({error!r}).") from error

    @classmethod
    def _of(cls, told: Mapping[str, Any]) -> Self:
        return cls(
            {row["layer"]: row["keep"] for row in told["layers"]},
            granularity=cast(Granularity, told["granularity"]),
            fingerprint=str(told["fingerprint"]),
            measure=str(told["measure"]),
            budget=None if told["budget"] is None else Budget(**told["budget"]),
            notes=told["notes"],
        )

    def header(self) -> dict[str, Any]:
        return {
            "granularity": self.granularity,
            "fingerprint": self.fingerprint,
            "measure": self.measure,
            "budget": None if self.budget is None else asdict(self.budget),
            "notes": list(self.notes),
            "names": list(self.shares),
        }

    def arrays(self) -> Iterable[tuple[str, np.ndarray]]:
        yield "keep", np.array(list(self.shares.values()), np.float64)

    def write(self, folder: Path) -> None:
        told = self.header()
        del told["names"]
        told["layers"] = [{"layer": name, "keep": share} for name, share in self.shares.items()]
        write_json(folder / FILE, told)

    @classmethod
    def read(cls, folder: Path, header: Mapping[str, Any]) -> Self:
        return cls.from_json(folder / FILE)

    def describe(self) -> str:
        shares = list(self.shares.values())
        how = f", {self.measure}" if self.measure else ""
        cost = ""
        if self.budget is not None:
            got = "" if self.budget.got is None else f"{self.budget.got:.4g} of the {self.budget.kind} for "
            cost = f", {got}a budget of {self.budget.wanted:g}"
        return (
            f"keeps {min(shares):.3g} to {max(shares):.3g} of the {_units(self.granularity)}s of {len(shares)} layers"
            f"{how}{cost}{''.join(f'; {note}' for note in self.notes)}"
        )


def _units(granularity: Granularity) -> str:
    return {"weight": "weight", "2:4": "weight", "channel": "input channel", "filter": "filter"}[granularity]
