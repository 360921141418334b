"""Flags to arguments: a flag is a parameter's name, a method's field is `--parameter.field`, a list repeats its flag.

Nothing is converted here. What was typed becomes plain data, and `Store.make` reads it exactly as it reads a recipe or
a call from Python; so a value means the same behind every door and is refused in the same words.
"""

from __future__ import annotations

import argparse
import inspect
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from itertools import pairwise
from typing import Any, NoReturn

import yaml

from paredown import catalog, method
from paredown.errors import ParedownError, did_you_mean
from paredown.method import Method
from paredown.reading import OF_DATA
from paredown.rehearsal import kind_of
from paredown.runtime import Runtime
from paredown.verbs import Verb

HIDDEN = argparse.SUPPRESS


class CommandError(ParedownError):
    """A command line that cannot be understood."""


class Flags(argparse.ArgumentParser):
    """The flags of one command; a fault is one sentence and no usage is printed over it."""

    def __init__(self, command: str, about: str, words: str = "") -> None:
        usage = " ".join(f"pare {command} {words} [--flag value …]".split())
        super().__init__(f"pare {command}", usage, about, allow_abbrev=False, formatter_class=_Plain)

    def error(self, message: str) -> NoReturn:
        missing = re.fullmatch(r"the following arguments are required: (.*)", message)
        if missing:
            raise CommandError(f"{self.prog} needs {missing[1]}. See: {self.prog} --help")
        flag = re.fullmatch(r"argument (\S+): expected (?:one|at least one) argument", message)
        raise CommandError(f"{self.prog}: {flag[1]} needs a value." if flag else f"{self.prog}: {message}.")

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Reads the words of a command line.

        Raises:
            CommandError: a flag that does not exist, that lacks its value, or that is missing.
        """
        words = [_underscored(word) for word in words]
        for flag in dict.fromkeys(word.partition("=")[0] for word in words if re.match(r"--\w+\.", word)):
            self._field(flag)
        for flag in (word.partition("=")[0] for word in words if re.match("-[a-z-]", word)):
            # Before argparse, which would first miss what the misspelt flag was meant to be.
            if flag not in self._option_string_actions:
                hint = did_you_mean(flag, [text for text in self._option_string_actions if text.startswith("--")])
                raise CommandError(f"{self.prog} has no flag '{flag}'.{hint or f' See: {self.prog} --help'}")
        known, unknown = self.parse_known_intermixed_args(words)
        if unknown:
            raise CommandError(f"{self.prog} does not know what to do with '{unknown[0]}'. See: {self.prog} --help")
        return known

    def _field(self, flag: str) -> None:
        # Fields are not known before the method is chosen; the method itself refuses those that it does not have.
        parameter = flag[2:].partition(".")[0]
        gathers = isinstance(self._option_string_actions.get(f"--{parameter}"), Gather)
        if gathers and flag not in self._option_string_actions:
            self.add_argument(flag, dest=flag[2:], action=Gather, default=HIDDEN, nargs="?", const="true", help=HIDDEN)


class Gather(argparse.Action):
    """Gathers `--scorer el2n --scorer.bn batch` into `[{"name": "el2n", "bn": "batch"}]`, in the order typed."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, option: str | None = None
    ) -> None:
        parameter, *path = self.dest.split(".")
        gathered = list(getattr(namespace, parameter, None) or [])
        if not path and (not gathered or "name" in gathered[-1]):
            gathered.append({"name": value})
        elif not path:
            gathered[-1] = {"name": value} | gathered[-1]
        else:
            gathered = gathered or [{}]
            _put(gathered[-1], path, scalar(str(value)))
        setattr(namespace, parameter, gathered)


class _Plain(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)


def scalar(text: str) -> Any:
    """Gives a word of a command line as a recipe would hold it: `0.5` a number, `[1, 2]` a list, `8/255` text."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if isinstance(value, int | float | list | dict | None) else text


def add_verb(flags: Flags, verb: Verb[Any, Any], words: Sequence[str]) -> None:
    """Adds a flag for each parameter of a verb, with the help of its docstring."""
    about = described(verb.function.__doc__)
    for name, parameter in verb.parameters.items():
        needed, text = parameter.default is inspect.Parameter.empty, about.get(name, "")
        if kind_of(name) or name in OF_DATA:
            add_method(flags, name, text, words, required=needed)
        elif parameter.annotation == "bool":
            flags.add_argument(f"--{name}", nargs="?", const="true", help=text, metavar="true|false")
        else:
            many = " (repeat the flag for several)" if "Sequence" in str(parameter.annotation) else ""
            flags.add_argument(
                f"--{name}", action="append", required=needed, help=text + many, metavar=_metavar(parameter)
            )


def add_method(flags: Flags, name: str, text: str, words: Sequence[str], *, required: bool = False) -> None:
    """Adds `--name` for a method, which also takes `--name.field`; `--help` shows the fields of the one chosen."""
    kind = kind_of(name) or "data"
    listed = f" (`pare list {kind}`; the fields of one: `--{name} NAME --help`)"
    if catalog.default_class(kind):
        listed = f" (its fields: `--{name}.help`)"
    flags.add_argument(f"--{name}", action=Gather, required=required, help=_percent(text + listed), metavar="NAME")
    chosen = _chosen(words, name) if {"-h", "--help"} & set(words) else None
    for field, about in _fields(kind, chosen).items() if chosen else ():
        flags.add_argument(f"--{name}.{field}", action=Gather, default=HIDDEN, help=_percent(about), metavar="X")


def answer(words: Sequence[str]) -> list[str] | None:
    """Answers `--scorer help` (which names there are) and `--scorer el2n --scorer.help` (which fields it has)."""
    for place, word in enumerate(words):
        asked = re.fullmatch(r"--(\w+)(\.help)?", word)
        kind = (kind_of(asked[1]) or ("data" if asked[1] in OF_DATA else None)) if asked else None
        if asked and kind and (asked[2] or words[place + 1 : place + 2] == ["help"]):
            chosen = _chosen(words, asked[1]) or catalog.default_class(kind)
            if chosen is None:
                return catalog.names(kind)
            return [f"  --{asked[1]}.{field}  {about}" for field, about in _fields(kind, chosen).items()]
    return None


def add_runtime(flags: Flags) -> None:
    """Adds `--store`, `--runs` and a flag for each field of `Runtime`."""
    group = flags.add_argument_group("how, never what")
    group.add_argument("--store", default="store", help="folder that keeps results (default: store)", metavar="FOLDER")
    group.add_argument("--runs", default="runs", help="folder of the runs of recipes (default: runs)", metavar="FOLDER")
    about = described(Runtime.__doc__)
    for field in fields(Runtime):
        single: dict[str, Any] = {"nargs": "?", "const": "true"} if field.type == "bool" else {}
        action = "append" if str(field.type).startswith("tuple") else "store"
        default = "" if field.default in (None, ()) else f" (default: {field.default})"
        text = _percent(about.get(field.name, "") + default)
        group.add_argument(f"--{field.name}", action=action, help=text, metavar="X", **single)


def arguments(verb: Verb[Any, Any], given: argparse.Namespace) -> dict[str, Any]:
    """Gives what was typed as the arguments of a verb, in plain data; what was not typed is left out."""
    typed = {name: getattr(given, name) for name in verb.parameters if getattr(given, name) is not None}
    plain: dict[str, Any] = {}
    for name, value in typed.items():
        many = name in (*OF_DATA, "record", "probes") or "Sequence" in str(verb.parameters[name].annotation)
        value = methods(name, value) if kind_of(name) or name in OF_DATA else value
        if isinstance(value, list) and len(value) > 1 and not many:
            raise CommandError(f"pare {verb.name}: --{name} is given {len(value)} times, and it takes one value.")
        plain[name] = value[0] if isinstance(value, list) and len(value) == 1 else value
    return plain


def methods(name: str, gathered: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Gives gathered methods as plain data: a bare name where no field was typed, default methods filled in."""
    if name in OF_DATA:
        return [_source(part) for part in gathered]
    kind = str(kind_of(name))
    if name == "record":
        # What is named here are quantities, not methods: there is one way of recording.
        rest = {key: value for part in gathered for key, value in part.items() if key != "name"}
        named = [part["name"] for part in gathered if "name" in part]
        return [rest | ({"quantities": named} if named else {})] if rest else named
    return [part["name"] if set(part) == {"name"} else _filled(kind, part) for part in gathered]


def runtime(given: argparse.Namespace) -> Runtime:
    """Gives the `Runtime` that the flags ask for."""
    hints = typing.get_type_hints(Runtime)
    typed = {field.name: getattr(given, field.name) for field in fields(Runtime)}
    return Runtime(
        **{
            name: method.read(hints[name], value, f"--{name} {value}")
            for name, value in typed.items()
            if value is not None
        }
    )


def described(docstring: str | None) -> dict[str, str]:
    """Gives what the `Args:` of a docstring say of each name."""
    section = re.search(r"^ *Args:\n(.*?)(?:\n\s*\n|\Z)", inspect.cleandoc(docstring or ""), re.S | re.M)
    found: dict[str, str] = {}
    for name, text in re.findall(r"^    (\w+): (.*(?:\n     .*)*)", section[1] if section else "", re.M):
        found[name] = " ".join(text.split())
    return found


def _chosen(words: Sequence[str], name: str) -> str | None:
    named = [word for flag, word in pairwise(words) if flag == f"--{name}" and word != "help"]
    return named[-1] if named and not named[-1].startswith("-") else None


def _fields(kind: str, name: str) -> dict[str, str]:
    cls = catalog.find(kind, name)
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        return {}
    about, lines = described(cls.__doc__), {}
    for field in method.settings(cls).values():
        default = field.default.name if isinstance(field.default, Method) else field.default
        words = "" if default is MISSING else f" (default: {default})"
        lines[field.name] = about.get(field.name, "") + words
    return lines


def _put(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    *above, last = path
    for key in above:
        inner = tree.get(key, {})
        tree[key] = dict(inner) if isinstance(inner, dict) else {"name": inner}
        tree = tree[key]
    if isinstance(tree.get(last), dict) and not isinstance(value, dict):
        tree[last] = {"name": value} | tree[last]  # the field was typed before its method
    elif last in tree:
        before = tree[last] if isinstance(tree[last], list) else [tree[last]]
        tree[last] = [*before, value]
    else:
        tree[last] = value


def _filled(kind: str, part: Mapping[str, Any]) -> dict[str, Any]:
    """Names the methods in a method whose fields were typed without a name: those that stand there by default."""
    name = part.get("name", catalog.default_class(kind))
    cls = catalog.find(kind, name) if isinstance(name, str) else None
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        return dict(part)
    known, hints = method.settings(cls), method.field_types(cls)
    defaults = {field: known[field].default if field in known else None for field in part}
    return {
        field: _inner(defaults[field], getattr(hints.get(field), "kind", None), value) for field, value in part.items()
    }


def _inner(default: Any, kind: Any, value: Any) -> Any:
    """Fills in one field of a method: what was not typed is as in the method that stands there by default."""
    if not isinstance(value, dict):
        return value
    if "name" in value or not isinstance(default, Method):
        return _filled(kind, value) if isinstance(kind, str) else value
    gone = {other for field, other in default.instead.items() if value.get(field) is not None}
    kept = {field: held for field, held in default.plain().items() if field not in gone}
    hints = method.field_types(type(default))
    return kept | {
        field: _inner(getattr(default, field, None), getattr(hints.get(field), "kind", None), typed)
        for field, typed in value.items()
    }


def _source(part: Mapping[str, Any]) -> Any:
    if set(part) == {"name"}:
        return part["name"]
    name = part.get("name")
    if name is None or name in catalog.names("data") or ":" in name:
        return dict(part)
    return {"path": name} | {key: value for key, value in part.items() if key != "name"}


def _underscored(word: str) -> str:
    if not word.startswith("--"):
        return word
    flag, equals, value = word.partition("=")
    return "--" + flag[2:].replace("-", "_") + equals + value


def _metavar(parameter: inspect.Parameter) -> str:
    words = set(re.findall(r"\w+", str(parameter.annotation)))
    # What may be text and nothing else is a word, such as a kind of budget; an artifact is named by its folder.
    return "X" if words & {"int", "float"} or words <= {"str", "None", "Sequence"} else "FOLDER"


def _percent(text: str) -> str:
    return text.replace("%", "%%")
