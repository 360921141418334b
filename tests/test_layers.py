"""Imports point down the table of docs/architecture.md: never up, never sideways in layer 6, never in a circle.

Imports inside functions count as much as those above them; only for torch is the difference kept, because what
matters there is what starts without it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "paredown"
NO_SIDEWAYS = 6
TORCH_FROM = 3
# Conversions to torch's own classes, which only a caller who has torch asks for.
TORCH_WHEN_CALLED = {"paredown.artifacts.distilled", "paredown.artifacts.selection"}


class Import(NamedTuple):
    module: str
    target: str
    line: int
    deferred: bool
    for_types: bool


def layer_table(page: str) -> dict[str, int]:
    """Gives the layer of each unit (a package or a top-level module) from the table in the architecture page."""
    block = re.search(r"```layers\n(.*?)```", page, re.S)
    assert block, "docs/architecture.md has no ```layers block"
    rows = [line.partition("←")[0].split() for line in block[1].splitlines() if line.strip()]
    return {unit: int(number) for number, *units in rows for unit in units}


def modules(source: Path) -> dict[str, Path]:
    """Gives the file of each module under the package's folder, by dotted name."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        parts = [source.name, *path.relative_to(source).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(module: str, path: Path, known: Collection[str]) -> Iterator[Import]:
    """Gives every import of a module; a name imported from a package counts as the submodule where it is one."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]

    def visit(node: ast.AST, deferred: bool, for_types: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            inside = deferred or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            typing_only = for_types or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test))
            targets: list[str] = []
            if isinstance(child, ast.Import):
                targets = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                above = package[: len(package) - child.level + 1] if child.level else []
                base = ".".join([*above, *([child.module] if child.module else [])])
                targets = [f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in child.names]
            yield from (Import(module, target, child.lineno, inside, typing_only) for target in targets)
            yield from visit(child, inside, typing_only)

    yield from visit(ast.parse(path.read_text()), False, False)


def faults(source: Path, table: dict[str, int]) -> list[str]:
    """Gives a sentence for each import that breaks a rule, and one for a circle."""
    files = modules(source)
    name = source.name
    unit = {module: [*module.split("."), "__init__"][1] for module in files}
    wrong = [f"{part} stands in no layer of the table" for part in sorted(set(unit.values()) - set(table))]
    wrong += [f"the table names {part}, which does not exist" for part in sorted(set(table) - set(unit.values()))]
    if wrong:
        return wrong
    graph: dict[str, set[str]] = {module: set() for module in files}
    for module, path in files.items():
        own = table[unit[module]]
        for found in imports(module, path, files):
            where = f"{module}, line {found.line}"
            excused = found.for_types or (found.deferred and module in TORCH_WHEN_CALLED)
            if found.target in files:
                if found.target != module:
                    graph[module].add(found.target)
                other = table[unit[found.target]]
                if other > own:
                    wrong.append(f"{where}: {found.target} (layer {other}) is above layer {own}")
                elif other == own == NO_SIDEWAYS and unit[module] != unit[found.target]:
                    wrong.append(f"{where}: {found.target} stands beside it in layer {own}")
            elif found.target.split(".")[0] == name:
                wrong.append(f"{where}: {found.target} does not exist")
            elif found.target.split(".")[0] == "torch" and own < TORCH_FROM and not excused:
                wrong.append(f"{where}: torch below layer {TORCH_FROM}")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        wrong.append("a circle of imports: " + " → ".join(reversed(circle.args[1])))
    return wrong


def test_imports_point_down() -> None:
    found = faults(SOURCE, layer_table((ROOT / "docs" / "architecture.md").read_text()))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("file", "code", "sentence"),
    [
        ("low/a.py", "from box.high import b", r"low\.a, line 1: box\.high\.b \(layer 6\) is above layer 0"),
        ("low/a.py", "def f():\n    from ..high import b", r"line 2: box\.high\.b \(layer 6\) is above"),
        ("high/b.py", "from box.wide import c", r"box\.wide\.c stands beside it in layer 6"),
        ("low/a.py", "import torch.nn", "torch below layer 3"),
        ("low/a.py", "def f():\n    import torch", "torch below layer 3"),
        ("low/a.py", "from . import z", r"a circle of imports: box\.low\.a → box\.low\.z → box\.low\.a"),
        ("low/a.py", "import box.gone", r"box\.gone does not exist"),
        ("new/d.py", "", "new stands in no layer"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, file: str, code: str, sentence: str) -> None:
    box = tmp_path / "box"
    tree = {"low/a.py": "", "low/z.py": "import box.low.a", "high/b.py": "import torch", "wide/c.py": "", file: code}
    for name, text in tree.items():
        (box / name).parent.mkdir(parents=True, exist_ok=True)
        (box / name).with_name("__init__.py").touch()
        (box / name).write_text(text)
    (box / "__init__.py").touch()
    found = faults(box, layer_table("```layers\n 9 __init__\n 6 high wide ← beside each other\n 0 low\n```"))
    assert any(re.search(sentence, fault) for fault in found), found
