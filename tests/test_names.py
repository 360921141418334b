"""One word a thing: names that say nothing, or that could mean two things, are not used."""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "paredown"
# Empty words for "the rest of the code", and words for a share that leave open whether it is kept or removed.
EMPTY = {"util", "utils", "helper", "helpers", "manager", "core", "common"}
AMBIGUOUS = {("prune", "rate"), ("pruning", "rate"), ("prune", "ratio"), ("pruning", "ratio")}


def words(name: str) -> list[str]:
    """Gives the words of a snake_case or CamelCase name, in small letters."""
    return re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())


def forbidden(name: str) -> bool:
    parts = words(name)
    return bool(EMPTY & set(parts)) or any(pair in AMBIGUOUS for pair in pairwise(parts))


def names(tree: ast.AST) -> set[str]:
    """Gives the classes, functions, parameters and fields of a module."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


def test_no_forbidden_name_is_used() -> None:
    wrong = []
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE)
        wrong += [
            f"{place}: {name}"
            for name in sorted({*place.with_suffix("").parts, *names(ast.parse(path.read_text()))})
            if forbidden(name)
        ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", ["utils", "ScoreManager", "prune_rate", "pruningRatio", "_data_helpers"])
def test_a_forbidden_name_is_seen(name: str) -> None:
    assert forbidden(name)


@pytest.mark.parametrize("name", ["score", "keep", "rate", "corrupt", "commonality", "keep_rate"])
def test_a_word_of_the_field_is_not(name: str) -> None:
    assert not forbidden(name)
