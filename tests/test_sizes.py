"""A module is read in one sitting."""

from __future__ import annotations

from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "paredown"
CAP = 350


def test_no_module_is_over_the_cap() -> None:
    lengths = {path.relative_to(SOURCE): len(path.read_text().splitlines()) for path in SOURCE.rglob("*.py")}
    long = {str(path): length for path, length in lengths.items() if length > CAP}
    assert not long, f"over {CAP} lines: {long}. Split by idea, not by size."


def test_the_tree_is_two_folders_deep() -> None:
    deep = [str(path) for path in SOURCE.rglob("*.py") if len(path.relative_to(SOURCE).parts) > 2]
    assert not deep, f"deeper than package/module.py: {deep}"
