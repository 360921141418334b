"""What can go wrong in words: each error is one or two sentences that a person can act on.

A message reads `Class(field=value): what is wrong, because why. What to do.` The command line prints the sentence and
exits with code 2; from Python the class says which kind of thing was at fault.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from types import ModuleType


class ParedownError(Exception):
    """A fault that a person can mend; its text is the whole message."""


class MethodError(ParedownError):
    """A method has a field that makes no sense, or was given something it cannot work with."""


class DataError(ParedownError):
    """A file, an image or a label is not what a data set needs."""


class PoolMismatch(ParedownError):
    """Two artifacts index different pools of examples, so their ids do not mean the same things."""


class ArtifactError(ParedownError):
    """A stored artifact is missing, truncated, of another kind or of another format."""


class RecipeError(ParedownError):
    """A recipe does not hold together; the message lists every fault, one a line."""


class StoreError(ParedownError):
    """The store cannot give or keep what was asked of it."""


class MissingExtra(ParedownError):
    """An optional library is needed and not installed."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Gives `" Did you mean 'x'?"` for the nearest known word, or nothing when none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


def require(module: str, extra: str) -> ModuleType:
    """Imports an optional library.

    Args:
        module: its import name.
        extra: the extra of this package that brings it.

    Raises:
        MissingExtra: it is not installed; the sentence names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(_lacking(module, extra)) from error


def missing(libraries: Mapping[str, str]) -> list[str]:
    """Gives a sentence for each extra of which a library is not installed; nothing is imported.

    Args:
        libraries: import name → the extra that brings it.
    """
    lacking = {extra: module for module, extra in libraries.items() if importlib.util.find_spec(module) is None}
    return [_lacking(module, extra) for extra, module in lacking.items()]


def _lacking(module: str, extra: str) -> str:
    return f"{module.partition('.')[0]} is needed here and is not installed. Run: pip install 'paredown[{extra}]'"
