"""What a step of a recipe is, and what `$name` means.

`$name` is anything written above it: a dial, a data source, or a step. `$step.part` is a part of what a step made. A
repeated step is the list of its results, and `$step-0` the first of them, by the name of its link in the run's folder.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

R = TypeVar("R")
REFERENCE = re.compile(r"\$([A-Za-z][\w-]*)(?:\.([A-Za-z]\w*))?")


class Several(list[Any]):
    """The results of a repeated step: inside a list they stand side by side with the rest of it."""


class Origin(Protocol):
    """Where a value comes from: a result of a step."""

    @property
    def link(self) -> str:
        """The name of the result."""

    @property
    def varied(self) -> Mapping[str, Any]:
        """What tells it from the other results of its step."""


@dataclass(frozen=True)
class Step:
    """A verb with its arguments.

    Args:
        name: what it is called in the recipe.
        verb: the verb's name.
        arguments: what it is given, with `$name` still in it.
        repeat: the arguments that take one value after the other; with several, every combination is made.
    """

    name: str
    verb: str
    arguments: Mapping[str, Any]
    repeat: Mapping[str, Any] = field(default_factory=dict)

    def variations(
        self, look_up: Callable[[str], Any], origin: Callable[[Any], Origin | None]
    ) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Gives, each time the step is made, the arguments that differ, and what tells this time from the others.

        Every combination is made, the last name fastest, except those that contradict themselves: a selection drawn
        with seed 1 and a training with seed 2 do not go together, as one name means one thing.

        Args:
            look_up: gives what a `$name` stands for.
            origin: gives which result of which step a value is, or none.
        """
        lists = [resolve(values, look_up) for values in self.repeat.values()]
        # One value from the command line (`keep=0.3`) is a list of one.
        for combination in itertools.product(*(part if isinstance(part, list) else [part] for part in lists)):
            variation = dict(zip(self.repeat, combination, strict=True))
            varied = _told_apart(variation, origin)
            if varied is not None:
                yield variation, varied


def resolve(value: Any, look_up: Callable[[str], Any]) -> Any:
    """Puts in place of each `$name` what it stands for; several results in a list are spread into it."""
    if isinstance(value, str) and value.startswith("$"):
        return look_up(value)
    if isinstance(value, Mapping):
        return {key: resolve(part, look_up) for key, part in value.items()}
    if isinstance(value, list):
        spread: list[Any] = []
        for part in value:
            got = resolve(part, look_up)
            spread += got if isinstance(got, Several) else [got]
        return spread
    return value


def part_of_each(results: list[Any], part: str | None, *, repeated: bool) -> Any:
    """Gives what `$step` or `$step.part` stands for: one result, or several.

    Args:
        results: what the step made, once for each variation.
        part: which part of each, or none for the whole.
        repeated: whether the recipe repeats the step; then even a single result is a list.
    """
    parts = [result if part is None else getattr(result, part) for result in results]
    flat = [entry for one in parts for entry in (one if isinstance(one, list) else [one])]
    return Several(flat) if repeated or len(flat) != 1 else flat[0]


def one_of(results: Mapping[str, list[R]], name: str) -> list[R] | None:
    """Gives the one result that `step-0` names, in a list; none where there is no such step or no such result."""
    step, _, number = name.rpartition("-")
    if step not in results or not number.isdecimal() or int(number) >= len(results[step]):
        return None
    return [results[step][int(number)]]


def short(value: Any) -> str:
    """Gives plain data in a few characters: `window(offset=0.2)`, `highest`, `0.5`."""
    if not isinstance(value, Mapping):
        return ", ".join(short(part) for part in value) if isinstance(value, list) else str(value)
    rest = [
        f"{key}={short(part)}"
        for key, part in value.items()
        if key not in ("name", "version") and part not in (None, [])
    ]
    return str(value.get("name", "")) + (f"({', '.join(rest)})" if rest else "")


def where(lines: Mapping[tuple[str, ...], int], place: tuple[str, ...]) -> str:
    """Gives the beginning of a fault: the line and the place, as exactly as it is known."""
    known = next((place[:size] for size in range(len(place), 0, -1) if place[:size] in lines), ())
    return (f"line {lines[known]}, " if known else "") + ".".join(place) + ": "


def _told_apart(variation: Mapping[str, Any], origin: Callable[[Any], Origin | None]) -> dict[str, Any] | None:
    told: dict[str, Any] = {}
    for name, value in variation.items():
        source = origin(value)
        own = {name: value} if source is None else dict(source.varied) | {name: source.link}
        if any(told.get(key, part) != part for key, part in own.items()):
            return None
        told |= own
    return told
