"""The README's map names every module of the package, with a phrase each, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "paredown"


def mapped() -> dict[str, str]:
    """Gives path → phrase from the ```tree block of the README."""
    block = re.search(r"```tree\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert block, "README.md has no ```tree block"
    folder, found = "", {}
    for line in block[1].splitlines()[1:]:
        name, _, phrase = line.strip().partition(" ")
        if name.endswith("/"):
            folder = name
        elif name:
            found[(folder if line.startswith("    ") else "") + name] = phrase.strip()
    return found


def test_the_map_is_the_tree() -> None:
    files = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py")}
    files -= {name for name in files if name.endswith("/__init__.py")}
    missing, gone = sorted(files - set(mapped())), sorted(set(mapped()) - files)
    assert not missing, f"README.md's map lacks: {missing}"
    assert not gone, f"README.md's map names what is not there: {gone}"


def test_each_module_has_a_phrase() -> None:
    bare = [name for name, phrase in mapped().items() if len(phrase) < 8]
    assert not bare, f"no phrase in README.md's map for: {bare}"
