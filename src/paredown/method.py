"""`Method`: a frozen dataclass whose fields are the settings of one published idea, to and from plain data.

A class is abstract (its name begins with `Abstract`, it says what kind of thing it is) or final (it is never
subclassed). To vary a method, hold another method in a field. Plain data is what recipes, command lines and manifests
hold: `{"name": "window", "offset": 0.2}`; `build` reads it back by the annotations of the fields, so that text such as
`8/255` or `5e-4` becomes the exact number that a float field means.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from abc import ABC
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import cache
from typing import Any, ClassVar, Literal, TypeVar

from paredown import catalog
from paredown.errors import MethodError, did_you_mean

M = TypeVar("M", bound="Method")


class Method(ABC):
    """One way of doing a thing, as a value: equal settings are equal methods.

    `version` rises when the numbers that a method gives change, so that artifacts made before are not taken for new
    ones.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    instead: ClassVar[Mapping[str, str]] = {}
    """Fields that stand in place of one another: giving one takes the default of the other away."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in cls.__bases__:
            if issubclass(base, Method) and base is not Method and not base.__name__.startswith("Abstract"):
                raise TypeError(
                    f"{cls.__name__} subclasses {base.__name__}, which is final. "
                    f"Hold a {base.__name__} in a field instead."
                )

    @property
    def name(self) -> str:
        """The catalog's name, or `module:Class` for a class outside it."""
        return catalog.name_of(type(self))

    @property
    def libraries(self) -> Mapping[str, str]:
        """Optional libraries that it imports when it is used: import name → the extra that brings it."""
        return {}

    def plain(self) -> dict[str, Any]:
        """Gives the name and every field, defaults included, as data that JSON can hold."""
        return {"name": self.name} | {name: to_plain(value) for name, value in self._values()}

    def identity(self) -> dict[str, Any]:
        """Gives `plain()` and the version: what tells this method apart in an address."""
        return {"name": self.name, "version": self.version} | {
            name: to_identity(value) for name, value in self._values()
        }

    def _values(self) -> Iterator[tuple[str, Any]]:
        """Gives every field and its value; a whole number in a float field is that float, however it was given."""
        hints = field_types(type(self))
        for field in _fields(type(self)):
            value = getattr(self, field.name)
            kinds = (hints[field.name], *typing.get_args(hints[field.name]))
            whole = isinstance(value, int) and not isinstance(value, bool)
            yield field.name, float(value) if whole and float in kinds and int not in kinds else value


def libraries_of(value: Any) -> dict[str, str]:
    """Gives the optional libraries of every method in a value, fields of methods included."""
    if isinstance(value, Method):
        parts: Any = [getattr(value, field.name) for field in _fields(type(value))]
        return dict(value.libraries) | libraries_of(parts)
    if isinstance(value, tuple | list):
        return {name: extra for part in value for name, extra in libraries_of(part).items()}
    return {}


def to_plain(value: Any) -> Any:
    """Gives methods, tuples and mappings as data that JSON can hold."""
    return _translate(value, lambda method: method.plain())


def to_identity(value: Any) -> Any:
    """Gives `to_plain`, with the version of each method."""
    return _translate(value, lambda method: method.identity())


def _translate(value: Any, method: Callable[[Method], Any]) -> Any:
    if isinstance(value, Method):
        return method(value)
    if isinstance(value, tuple | list):
        return [_translate(part, method) for part in value]
    if isinstance(value, Mapping):
        return {str(key): _translate(part, method) for key, part in value.items()}
    return value


def build(kind: str, value: Any) -> Any:
    """Makes a method from its name, from plain data, or gives back one that is already made.

    Args:
        kind: a key of the catalog, such as `scorer`.
        value: a method; a name; `module:Class`; or a mapping of `name` and fields (without `name` where the kind has
            one class only).

    Raises:
        MethodError: an unknown name or field, or a value that its field cannot hold.
    """
    if isinstance(value, Method):
        if getattr(type(value), "kind", None) != kind:
            raise MethodError(f"{type(value).__name__} is a {type(value).kind}, and a {kind} is needed here.")
        return value
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        raise MethodError(f"{value!r} is not a {kind}. Give a name, or a name with fields: {{name: …, field: …}}.")
    name = value.get("name", catalog.default_class(kind))
    if not isinstance(name, str):
        raise MethodError(f"A {kind} needs a name: {{name: …}}. There are: {', '.join(catalog.names(kind))}.")
    found = catalog.find(kind, name)
    rest = {str(key): part for key, part in value.items() if key != "name"}
    if not (isinstance(found, type) and issubclass(found, Method)):
        # What is not a class of methods may still serve: a model may be any function that makes a module.
        adopt = catalog.CATALOG[kind].get("factory") if callable(found) else None
        if adopt is None:
            raise MethodError(
                f"'{name}' is not a {kind}: it names a {type(found).__name__}, not a class made from Method."
            )
        return _construct(catalog.find(kind, "factory"), {"target": name, "options": rest})
    if getattr(found, "kind", None) != kind:
        raise MethodError(f"'{name}' is a {getattr(found, 'kind', 'class of no kind')}, and a {kind} is needed here.")
    return _construct(found, rest)


def settings(cls: type) -> dict[str, dataclasses.Field[Any]]:
    """Gives the fields of a method's class by name."""
    return {field.name: field for field in _fields(cls)}


@cache
def field_types(cls: type) -> dict[str, Any]:
    """Gives the resolved annotation of each field of a method's class."""
    return {name: hint for name, hint in typing.get_type_hints(cls).items() if name in settings(cls)}


def _fields(cls: type) -> tuple[dataclasses.Field[Any], ...]:
    if not dataclasses.is_dataclass(cls):
        raise MethodError(f"{cls.__name__} is not a dataclass. Write @dataclass(frozen=True) above it.")
    return dataclasses.fields(cls)


def _construct(cls: type[M], given: Mapping[str, Any]) -> M:
    if cls.__name__.startswith("Abstract"):
        raise MethodError(f"{cls.__name__} is abstract: it says what a {cls.kind} is and cannot be used as one.")
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        raise MethodError(
            f"{cls.__name__} is unfinished: it has no {', '.join(missing)}. Write what its kind asks for."
        )
    known = settings(cls)
    for key in given:
        if key not in known:
            has = f" It has: {', '.join(known)}." if known else " It has no fields."
            raise MethodError(f"{cls.__name__} has no field '{key}'.{did_you_mean(key, known) or has}")
    for field in known.values():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in given:
            raise MethodError(f"{cls.__name__} needs a value for '{field.name}'.")
    hints = field_types(cls)
    return cls(**{key: read(hints[key], part, f"{cls.__name__}({key}={part!r})") for key, part in given.items()})


def read(annotation: Any, value: Any, where: str) -> Any:
    """Reads plain data as what an annotation says.

    Args:
        annotation: int, float, bool, str, `Literal`, `X | None`, `tuple[T, ...]`, `list[T]`, a mapping, or a method's
            class.
        value: what a recipe or a command line holds; numbers may be text (`8/255`, `5e-4`).
        where: the beginning of the message, such as `Sgd(lr='fast')`.

    Raises:
        MethodError: the value is not of that sort.
    """
    origin, options = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
            if type(None) in options:
                return None
            raise MethodError(f"{where}: a value is needed.")
        faults = []
        for option in (option for option in options if option is not type(None)):
            try:
                return read(option, value, where)
            except MethodError as fault:
                faults.append(fault)
        raise faults[0]
    if origin is Literal:
        for option in options:
            if value == option or (not isinstance(option, str) and str(value) == str(option)):
                return option
        words = ", ".join(str(option) for option in options)
        raise MethodError(f"{where}: not one of {words}.{did_you_mean(str(value), [str(o) for o in options])}")
    if origin in (tuple, list):
        parts = value if isinstance(value, tuple | list) else [value]
        kinds = options if options and options[-1] is not Ellipsis else (options[0],) * len(parts) if options else ()
        if kinds and len(kinds) != len(parts):
            raise MethodError(f"{where}: {len(kinds)} values are needed, and {len(parts)} were given.")
        made = [read(kind, part, where) for kind, part in zip(kinds, parts, strict=True)] if kinds else list(parts)
        return tuple(made) if origin is tuple else made
    if origin in (dict, Mapping) or annotation in (dict, Mapping) or origin is typing.get_origin(Mapping[str, int]):
        if not isinstance(value, Mapping):
            raise MethodError(f"{where}: names with values are needed.")
        return dict(value)
    if isinstance(annotation, type) and issubclass(annotation, Method):
        made = build(annotation.kind, value)
        if not isinstance(made, annotation):
            raise MethodError(f"{where}: a {annotation.__name__} is needed.")
        return made
    return _scalar(annotation, value, where)


def _scalar(annotation: Any, value: Any, where: str) -> Any:
    if annotation is bool:
        words = {"true": True, "yes": True, "false": False, "no": False}
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in words:
            return words[value.lower()]
        raise MethodError(f"{where}: true or false is needed.")
    if annotation in (int, float):
        number = _number(value)
        if number is None:
            raise MethodError(f"{where}: not a number.")
        if annotation is float:
            return float(number)
        if number != int(number):
            raise MethodError(f"{where}: a whole number is needed.")
        return int(number)
    if annotation is str:
        if isinstance(value, Mapping | list | tuple):
            raise MethodError(f"{where}: text is needed.")
        return str(value)
    if isinstance(annotation, type) and isinstance(value, annotation):
        return value
    raise MethodError(f"{where}: {getattr(annotation, '__name__', annotation)} is needed.")


def _number(value: Any) -> int | float | Fraction | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, str):
        try:
            return Fraction(value.replace("_", ""))
        except (ValueError, ZeroDivisionError):
            return None
    return None
