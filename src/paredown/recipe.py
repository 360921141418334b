"""A recipe: dials, data and steps, read from YAML and checked whole before anything runs.

`$name` is anything written above it: a dial, a data source, or a step (`$full.dynamics` where a step makes several
things). `repeat: {seed: [0, 1, 2]}` makes a step several times; `$step` is then the list, and `$step-0` the first of
it. Nothing else is special: no conditions, no expressions; a sweep is a loop in Python.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from paredown.errors import RecipeError, did_you_mean
from paredown.rehearsal import rehearse
from paredown.steps import Step, where

PACKAGED = Path(__file__).parent / "recipes"
SECTIONS = ("dials", "data", "steps")
NAME = re.compile(r"[A-Za-z][\w-]*")


@dataclass(frozen=True)
class Recipe:
    """What to do, in order. Reading it finds the faults of form; `check` adds those of meaning.

    Args:
        name: what its runs are called.
        text: the YAML as read.
        dials: what may be turned, with the values given to `read`.
        data: sources of data by name.
        steps: in the order in which they run.
        lines: the line of each name, by place (`("steps", "full")`).
        faults: what is wrong with its form.
    """

    name: str
    text: str
    dials: Mapping[str, Any]
    data: Mapping[str, Any]
    steps: tuple[Step, ...]
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict, repr=False)
    faults: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: str | Path, /, **dials: Any) -> Self:
        """Reads a recipe from a file, or by its name in this package (`data_diet/smoke`).

        Args:
            path: the file, or the name.
            dials: values for its dials.

        Raises:
            RecipeError: there is no such file, or it is not YAML.
        """
        path = locate(path)
        try:
            text = path.read_text(encoding="utf-8")
            tree, content = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
        except UnicodeDecodeError as error:
            raise RecipeError(f"{path} is not text, so it is not a recipe.") from error
        except yaml.YAMLError as error:
            mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
            line = f", line {mark.line + 1}" if mark else ""
            raise RecipeError(f"{path}{line}: this is not YAML ({problem or 'unreadable characters'}).") from error
        if not isinstance(content, dict) or not set(content) & set(SECTIONS):
            raise RecipeError(f"{path} is not a recipe: it has no {', '.join(SECTIONS[:-1])} or {SECTIONS[-1]}.")
        form = _Form(tree)
        read = {section: form.section(section, content.get(section)) for section in SECTIONS}
        steps = tuple(form.step(name, value) for name, value in read["steps"].items())
        form.names(content, read, dials)
        turned = {name: dials.get(name, value) for name, value in read["dials"].items()}
        return cls(_name(path), text, turned, read["data"], steps, form.lines, tuple(form.faults))

    def check(self, *, installed: bool = False) -> None:
        """Checks names, fields, values, references and order; reads no data and touches no device.

        Args:
            installed: check too that the optional libraries are there which its methods need.

        Raises:
            RecipeError: every fault, one a line.
        """
        faults = [*self.faults, *rehearse(self.dials, self.data, self.steps, self.lines, installed)]
        if len(faults) == 1:
            raise RecipeError(f"{self.name}: {faults[0]}")
        if faults:
            raise RecipeError(f"{self.name} has {len(faults)} faults:\n" + "\n".join(f"  {fault}" for fault in faults))

    def as_run(self) -> str:
        """Gives the YAML with the dials as they were turned: running it does the same again."""
        tree = yaml.compose(self.text, Loader=yaml.SafeLoader)
        for key, value in tree.value if tree is not None else ():
            if key.value == "dials" and yaml.safe_load(self.text)["dials"] != self.dials:
                turned = yaml.safe_dump(dict(self.dials), default_flow_style=True, sort_keys=False, width=100_000)
                # A block ends where the next key begins, a {…} on its own line.
                rest = self.text[value.end_mark.index :]
                return self.text[: value.start_mark.index] + turned.rstrip("\n") + "\n" + rest.lstrip("\n")
        return self.text


def locate(path: str | Path) -> Path:
    """Gives the file of a recipe: a path, or a name in this package, with or without `recipes/` and `.yaml`.

    Raises:
        RecipeError: neither is there; the sentence names the nearest recipe of the package.
    """
    if Path(path).is_file():
        return Path(path)
    name = str(path).removeprefix("recipes/").removesuffix(".yaml")
    for candidate in (PACKAGED / f"{name}.yaml", PACKAGED / name / f"{Path(name).name}.yaml"):
        if candidate.is_file() and candidate.resolve().is_relative_to(PACKAGED.resolve()):
            return candidate
    hint = did_you_mean(name, packaged()) or " `pare list recipes` names those of the package."
    raise RecipeError(f"There is no recipe at {path}.{hint}")


def packaged() -> list[str]:
    """Gives the names of the recipes that come with the package."""
    return sorted(str(path.relative_to(PACKAGED).with_suffix("")) for path in PACKAGED.rglob("*.yaml"))


def _name(path: Path) -> str:
    if not path.resolve().is_relative_to(PACKAGED.resolve()):
        return path.stem
    parts = path.resolve().relative_to(PACKAGED.resolve()).with_suffix("").parts
    return "-".join(dict.fromkeys(parts))


class _Form:
    """The form of a recipe: which names stand where, on which lines, and what is wrong with that."""

    def __init__(self, tree: yaml.Node | None) -> None:
        self.lines: dict[tuple[str, ...], int] = {}
        self.faults: list[str] = []
        self._walk(tree, ())

    def _walk(self, node: yaml.Node | None, place: tuple[str, ...]) -> None:
        # Five levels reach a verb's arguments; deeper there is nothing that a message would point at.
        if not isinstance(node, yaml.MappingNode) or len(place) > 4:
            return
        for key, value in node.value:
            here = (*place, str(key.value))
            earlier, self.lines[here] = self.lines.get(here), key.start_mark.line + 1
            if earlier is None:
                self._walk(value, here)
            else:
                self.fault(here, f"this name stands on line {earlier} already, and one of the two is lost.")

    def fault(self, place: tuple[str, ...], sentence: str) -> None:
        self.faults.append(where(self.lines, place) + sentence)

    def section(self, name: str, value: Any) -> dict[str, Any]:
        if value is None and name != "steps":
            return {}
        if not isinstance(value, dict) or not value:
            self.fault((name,), "names with values are needed here.")
            return {}
        for key in value:
            if not isinstance(key, str) or not NAME.fullmatch(key):
                self.fault((name, str(key)), "a name is letters, digits, _ and -, and begins with a letter.")
        return {str(key): part for key, part in value.items()}

    def step(self, name: str, value: Any) -> Step:
        place = ("steps", name)
        verbs = [key for key in value if key != "repeat"] if isinstance(value, dict) else []
        if len(verbs) != 1:
            self.fault(place, "a step is one verb with its arguments, and a repeat beside it where it is wanted.")
            return Step(name, "", {})
        verb, repeat = str(verbs[0]), value.get("repeat") or {}
        arguments = value[verbs[0]]
        if not isinstance(arguments, dict):
            self.fault((*place, verb), "a verb's arguments are names with values.")
            arguments = {}
        if not isinstance(repeat, dict):
            self.fault((*place, "repeat"), "repeat is the name of an argument with a list of values.")
            repeat = {}
        for key, values in repeat.items():
            if not (isinstance(values, list) and values) and not (isinstance(values, str) and values.startswith("$")):
                self.fault((*place, "repeat", str(key)), "repeat takes a list, or a $name that is one.")
            if key in arguments:
                self.fault((*place, "repeat", str(key)), f"{verb} is given {key} above already.")
        return Step(name, verb, arguments, {str(key): values for key, values in repeat.items()})

    def names(
        self, content: Mapping[Any, Any], read: Mapping[str, Mapping[str, Any]], dials: Mapping[str, Any]
    ) -> None:
        for key in content:
            if key not in SECTIONS:
                hint = did_you_mean(str(key), SECTIONS) or f" It has: {', '.join(SECTIONS)}."
                self.fault((str(key),), f"a recipe has no such part.{hint}")
        for first, second in itertools.combinations(SECTIONS, 2):
            for name in read[first].keys() & read[second].keys():
                self.fault((second, name), f"a name of {first} too, so ${name} could mean either.")
        for name in dials.keys() - read["dials"].keys():
            hint = did_you_mean(name, read["dials"]) or f" It has: {', '.join(read['dials']) or 'none'}."
            self.faults.append(f"there is no dial '{name}'.{hint}")
