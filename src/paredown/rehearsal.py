"""A recipe gone through without doing it: every name, field, value and reference is looked at, nothing is computed.

Each step leaves a `Promise` in place of its result, so that references are followed exactly as when it is run.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from paredown import catalog, method, needed, reading
from paredown.artifacts import DistilledSet, Pruned, Trained
from paredown.artifacts.base import read_header
from paredown.artifacts.selection import count_of
from paredown.artifacts.stored import KINDS
from paredown.errors import MethodError, ParedownError, did_you_mean, missing
from paredown.method import Method, libraries_of
from paredown.steps import REFERENCE, Step, one_of, part_of_each, resolve, where
from paredown.verbs import VERBS, Verb


@dataclass(frozen=True)
class Promise:
    """What a step will make, or a part of it; of unknown kind where a fault was found on the way."""

    kind: str = ""
    step: str = ""
    link: str = ""
    varied: Mapping[str, Any] = field(default_factory=dict)
    recorded: bool = True

    def __getattr__(self, part: str) -> Any:
        if part.startswith("_") or part not in _parts(self.kind):
            raise AttributeError(part)
        kind, many = _parts(self.kind)[part]
        promise = replace(self, kind=kind)
        return [promise] if many else promise


LOST = Promise()


def rehearse(
    dials: Mapping[str, Any],
    data: Mapping[str, Any],
    steps: Sequence[Step],
    lines: Mapping[tuple[str, ...], int],
    installed: bool = False,
) -> list[str]:
    """Gives every fault of a recipe, each with its line and place, in the order of the text.

    Args:
        dials, data, steps, lines: of the recipe.
        installed: an optional library that a method needs and that is not installed is a fault.
    """
    rehearsal = _Rehearsal(dials, data, steps, lines, installed)
    for name, value in data.items():
        rehearsal.source(("data", name), value)
    for step in steps:
        rehearsal.step(step)
    unused = [
        where(lines, ("dials", name)) + f"nothing uses this dial. Use ${name} or remove it."
        for name in dials
        if name not in rehearsal.used
    ]
    return [*unused, *dict.fromkeys(rehearsal.faults)]


class _Rehearsal:
    def __init__(
        self,
        dials: Mapping[str, Any],
        data: Mapping[str, Any],
        steps: Sequence[Step],
        lines: Mapping[tuple[str, ...], int],
        installed: bool,
    ) -> None:
        self.installed = installed
        self.known: dict[str, Any] = dict(dials)
        self.results: dict[str, tuple[list[Promise], bool]] = {}
        self.below = {*data, *(step.name for step in steps)}
        self.lines = lines
        self.faults: list[str] = []
        self.used: set[str] = set()

    def fault(self, place: tuple[str, ...], sentence: str) -> None:
        self.faults.append(where(self.lines, place) + sentence)

    def source(self, place: tuple[str, ...], value: Any) -> None:
        """Looks at a data source and makes it known."""
        resolved = resolve(value, partial(self.look_up, place))
        # A fault of the data is told here, not at every step that uses them.
        self.known[place[-1]] = resolved if not _promises(resolved) and self.opens(place, resolved) else LOST

    def opens(self, place: tuple[str, ...], value: Any) -> bool:
        """Says whether data have a source; they are not read."""
        from paredown.data.source import find_source

        try:
            for part in reading.as_list(value):
                find_source(part)
        except ParedownError as error:
            self.fault(place, str(error))
            return False
        return True

    def step(self, step: Step) -> None:
        """Looks at a step and promises its results."""
        place = ("steps", step.name)
        verb = VERBS.get(step.verb)
        if verb is None:
            if step.verb:
                hint = did_you_mean(step.verb, VERBS) or f" There are: {', '.join(VERBS)}."
                self.fault(place, f"no verb is called '{step.verb}'.{hint}")
            self.results[step.name] = ([LOST], bool(step.repeat))
            resolve(dict(step.arguments) | dict(step.repeat), partial(self.look_up, place))
            return
        repeat = list(step.variations(partial(self.look_up, (*place, "repeat")), _origin))
        if not repeat:
            self.fault((*place, "repeat"), "no two of these values go together, so the step is never made.")
        fixed = {}
        for name, value in step.arguments.items():
            here = (*place, step.verb, name)
            fixed[name] = resolve(value, partial(self.look_up, here))
        kind, promises = str(verb.function.__annotations__["return"]), []
        for number, (variation, varied) in enumerate(repeat):
            self.call(place, verb, fixed, variation)
            recorded = bool((fixed | variation).get("record"))
            promises.append(Promise(kind, step.name, f"{step.name}-{number}", varied, recorded))
        self.results[step.name] = (promises or [LOST], bool(step.repeat))

    def call(self, place: tuple[str, ...], verb: Verb[Any, Any], fixed: dict[str, Any], varied: dict[str, Any]) -> None:
        """Looks at one call of a verb: its arguments each alone, then what they need of each other."""
        bound = {name: parameter.default for name, parameter in verb.parameters.items()}
        for name, value in (fixed | varied).items():
            here = (*place, "repeat" if name in varied else verb.name, name)
            if name not in verb.parameters:
                hint = did_you_mean(name, verb.parameters) or f" It has: {', '.join(verb.parameters)}."
                self.fault(here, f"{verb.name} has no argument '{name}'.{hint}")
                continue
            bound[name] = value if LOST in _promises(value) else self.value(here, verb.parameters[name], value)
        for name, value in bound.items():
            if value is inspect.Parameter.empty:
                self.fault(place, f"{verb.name} needs {name}.")
                bound[name] = LOST
            elif value is verb.parameters[name].default:
                bound[name] = reading.read(name, value)
        if self.installed:
            for sentence in missing(libraries_of(list(bound.values())) | needed.libraries(verb.name, bound)):
                self.fault(place, sentence)
        # A method that could not be built has told its fault already, and what it needs is not known.
        if verb.needed is not None and not any(kind_of(name) and _promises(value) for name, value in bound.items()):
            try:
                verb.needed(bound)
            except ParedownError as error:
                self.fault(place, str(error))

    def value(self, place: tuple[str, ...], parameter: inspect.Parameter, value: Any) -> Any:
        """Gives an argument as the verb will see it, with no data read; says what is wrong with it."""
        name = parameter.name
        if _promises(value):
            misfit = _misfit(parameter, value)
            if misfit is not None:
                self.fault(place, misfit)
            return value
        try:
            if name in reading.OF_DATA:
                return value if self.opens(place, value) else LOST
            if _kinds(parameter):
                for folder in reading.as_list(value):
                    read_header(Path(folder))
                return value
            made = reading.read(name, value)
            if name == "fraction" and made is not None:
                count_of(made, 2**62)
            return made
        except ParedownError as error:
            for sentence in _field_faults(name, value) or [str(error)]:
                self.fault(place, sentence)
        except TypeError:
            self.fault(place, f"{name}={value!r}: an artifact is named by its folder.")
        return LOST

    def look_up(self, place: tuple[str, ...], text: str) -> Any:
        """Gives what `$name` stands for, or says why it stands for nothing."""
        match = REFERENCE.fullmatch(text)
        name, part = match.groups() if match else ("", None)
        self.used.add(name)
        if match is None:
            self.fault(place, f"'{text}' is not a reference. Write $name or $name.part.")
        elif name in self.known and part is None:
            return self.known[name]
        elif name in self.known:
            self.fault(place, f"'{text}': {name} has no parts. Write ${name}.")
        elif (found := self.results.get(name) or self.one(name)) is not None:
            promises, repeated = found
            sentence = _lacks(promises, part)
            if LOST in promises:
                return LOST
            if sentence is None:
                return part_of_each(promises, part, repeated=repeated)
            self.fault(place, f"'{text}': {sentence}")
        elif name in self.below or name.rpartition("-")[0] in self.below - self.results.keys():
            self.fault(place, f"'{text}' is written below, and a step sees only what stands above it. Move it up.")
        else:
            hint = did_you_mean(name, [*self.known, *self.results]) or " It is no dial, no data and no step."
            self.fault(place, f"nothing is called '{text}'.{hint}")
        return LOST

    def one(self, name: str) -> tuple[list[Promise], bool] | None:
        """Gives what `step-0` names: one result of a repeated step."""
        repeated = {step: promises for step, (promises, many) in self.results.items() if many}
        if LOST in repeated.get(name.rpartition("-")[0], []):
            return [LOST], False
        single = one_of(repeated, name)
        return None if single is None else (single, False)


def _origin(value: Any) -> Promise | None:
    return value if isinstance(value, Promise) and value != LOST else None


def kind_of(name: str) -> str | None:
    """Gives the kind of method that an argument takes, or none where it takes no method."""
    kind = {"record": "recording", "probes": "probe"}.get(name, name)
    return kind if kind in catalog.CATALOG and kind != "data" else None


def _kinds(parameter: inspect.Parameter) -> set[str]:
    return set(re.findall(r"\w+", str(parameter.annotation))) & KINDS.keys()


def _misfit(parameter: inspect.Parameter, value: Any) -> str | None:
    kinds, name = _kinds(parameter), parameter.name
    if name in reading.OF_DATA:
        kinds = kinds | {DistilledSet.__name__}
    for promise in _promises(value):
        fits = promise == LOST or promise.kind in kinds
        if not fits and promise.kind == "Trained":
            fits = bool(kinds & {"Checkpoint", "TrainingDynamics"})
            if "TrainingDynamics" in kinds and not promise.recorded:
                return _lacks([promise], "dynamics")
        if not fits and promise.kind == "Pruned":
            fits = bool(kinds & {"Checkpoint", "MaskSet"})
        if not fits:
            needed = " or ".join(sorted(kinds)) if kinds else "a value"
            needed = f"data or a {needed}" if name in reading.OF_DATA else needed
            return f"${promise.step} is a {promise.kind}, and {name} takes {needed}."
    if isinstance(value, list) and len(value) > 1 and "Sequence" not in str(parameter.annotation):
        return f"{name} takes one, and {len(value)} are given. Repeat the step over them: repeat: {{{name}: …}}."
    return None


def _promises(value: Any) -> list[Promise]:
    if isinstance(value, Promise):
        return [value]
    if isinstance(value, Mapping):
        return [promise for part in value.values() for promise in _promises(part)]
    return [promise for part in value for promise in _promises(part)] if isinstance(value, list) else []


def _lacks(promises: Sequence[Promise], part: str | None) -> str | None:
    promise = promises[0] if promises else LOST
    if part is None or promise == LOST:
        return None
    parts = _parts(promise.kind)
    if part not in parts:
        hint = did_you_mean(part, parts) or (f" It has: {', '.join(parts)}." if parts else "")
        return f"a {promise.kind} has no part '{part}'.{hint}"
    if part == "dynamics" and not promise.recorded:
        return f"the step records nothing. Give {promise.step} a record: [confidence, correct]."
    return None


def _parts(kind: str) -> dict[str, tuple[str, bool]]:
    """The parts of an artifact that are artifacts, with their kind and whether there are several."""
    composite = {part.__name__: part for part in (Trained, Pruned)}.get(kind)
    if composite is None:
        return {}
    parameters = inspect.signature(composite).parameters
    return {
        name: (min(kinds), "Iterable" in str(part.annotation))
        for name, part in parameters.items()
        if (kinds := _kinds(part))
    }


def _field_faults(name: str, value: Any) -> list[str]:
    """Gives a sentence for each field of a method, and of the methods in it, that is unknown or cannot be read."""
    kind = kind_of(name)
    faults = []
    for part in reading.as_list(value) if kind else []:
        faults += _faults_in(str(kind), part)
    return faults


def _faults_in(kind: str, value: Any) -> list[str]:
    if not isinstance(value, Mapping):
        return _fault_of(kind, value)
    named = value.get("name", catalog.default_class(kind))
    try:
        cls = catalog.find(kind, named) if isinstance(named, str) else None
    except MethodError as error:
        return [str(error)]
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        return _fault_of(kind, value)
    known, hints, faults = method.settings(cls), method.field_types(cls), []
    for key, part in value.items():
        if key == "name":
            continue
        inner = getattr(hints.get(key), "kind", None)
        if key not in known:
            faults += _fault_of(kind, {"name": named, key: part})
        elif isinstance(inner, str):
            faults += _faults_in(inner, part)
        else:
            try:
                method.read(hints[key], part, f"{cls.__name__}({key}={part!r})")
            except MethodError as error:
                faults.append(str(error))
    return faults or _fault_of(kind, value)


def _fault_of(kind: str, value: Any) -> list[str]:
    try:
        method.build(kind, value)
    except MethodError as error:
        return [str(error)]
    return []
