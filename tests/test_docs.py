"""The documentation is true: its Python runs, its links lead somewhere, its commands and recipes are accepted.

The line above a block may hold a comment that the page does not show: `<!-- not run: reason -->`;
`<!-- needs: library -->` for one that runs, alone, where that library is installed; `<!-- file: name.py -->` for one
that the reader is told to save.
"""

from __future__ import annotations

import doctest
import importlib
import re
import shlex
import sys
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from paredown import Recipe
from paredown.cli import main
from paredown.recipe import packaged

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])
MODULES = sorted(path for path in (ROOT / "src").rglob("*.py") if ">>> " in path.read_text())
BLOCK = re.compile(r"(?:<!-- (not run|needs|file): ([^\n]*?) -->\n\s*)?^( *)```(\w+)[^\n]*\n(.*?)^\3```$", re.S | re.M)


RUN = ("", "file")


class Block(NamedTuple):
    line: int
    language: str
    mark: str
    about: str
    text: str


def blocks(page: Path, language: str) -> list[Block]:
    """Gives the fenced blocks of one language, with what the comment above says."""
    text = page.read_text()
    found = [
        Block(text[: hit.start(5)].count("\n") + 1, hit[4], hit[1] or "", hit[2] or "", textwrap.dedent(hit[5]))
        for hit in BLOCK.finditer(text)
    ]
    return [block for block in found if block.language == language]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def run(page: Path, chosen: list[Block], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs blocks one after the other in one namespace, in an empty folder, with the page's line numbers."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in chosen:
        if block.mark == "file":
            (folder / block.about).write_text(block.text)
            # A page may reuse a file's name: what another page saved under it is forgotten afterwards.
            monkeypatch.delitem(sys.modules, Path(block.about).stem, raising=False)
        else:
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", [p for p in PAGES if any(b.mark in RUN for b in blocks(p, "python"))], ids=named)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(page, [block for block in blocks(page, "python") if block.mark in RUN], tmp_path, monkeypatch)


NEEDING = [(page, block) for page in PAGES for block in blocks(page, "python") if block.mark == "needs"]


# What an optional library deprecates within itself is not ours to mend.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("page", "block"), NEEDING, ids=[f"{named(page)}:{block.line}" for page, block in NEEDING])
def test_python_for_an_optional_library_runs(
    page: Path, block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(block.about)
    run(page, [block], tmp_path, monkeypatch)


def test_what_is_not_run_says_why() -> None:
    silent = [named(page) for page in PAGES for b in blocks(page, "python") if b.mark == "not run" and len(b.about) < 5]
    assert not silent


def recipes(page: Path) -> list[Block]:
    """Gives the blocks that are whole recipes, and no part of one."""
    return [block for block in blocks(page, "yaml") if re.search(r"^steps:", block.text, re.M)]


@pytest.mark.parametrize("page", [p for p in PAGES if recipes(p)], ids=named)
def test_the_recipes_of_a_page_are_accepted(page: Path, tmp_path: Path) -> None:
    for block in recipes(page):
        (tmp_path / "recipe.yaml").write_text(block.text)
        Recipe.read(tmp_path / "recipe.yaml").check()


def test_every_recipe_of_the_package_is_listed() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text()
    assert not [name for name in packaged() if f"`{name}`" not in page]


def commands(page: Path) -> list[list[str]]:
    """Gives the words of every `pare …` that a page shows, in blocks and in sentences."""
    shown = [line for block in blocks(page, "bash") for line in block.text.splitlines()]
    shown += re.findall(r"`(pare [^`]+)`", page.read_text())
    lines = [line.partition(" #")[0] for line in shown if line.startswith("pare ")]
    return [shlex.split(line.replace("…", "WORD"))[1:] for line in lines]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=named)
def test_the_commands_of_a_page_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = []
    for name, *words in commands(page):
        if name.startswith("-") or not name.isalpha() or name.isupper():
            continue
        assert main([name, "--help"]) == 0, f"pare {name}"
        known = capsys.readouterr().out
        chosen = dict(pairwise(words))
        for flag in (word for word in words if word.startswith("--")):
            method, _, field = flag.partition(".")
            if field == "help":
                flag = method
            elif field:
                main([name, *([method, chosen[method]] if method in chosen else []), f"{method}.help"])
                known += capsys.readouterr().out
                flag = f"{method}.{field.partition('.')[0]}"
            if not re.search(rf"{re.escape(flag)}\b", known):
                wrong.append(f"pare {name} {flag}")
    assert not wrong, f"{named(page)}: {wrong}"


def anchors(page: Path) -> set[str]:
    """Gives the anchors that a page's headings make."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M), re.M)
    plain = [
        re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).replace("`", "")) for heading in headings
    ]
    return {re.sub(r"[ ]+", "-", heading.strip().lower()) for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_internal_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    assert not broken, f"{named(page)}: {broken}"


def test_what_the_pages_name_exists() -> None:
    gone = []
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
        gone += [
            f"{named(page)}: {path}"
            for path in re.findall(r"`((?:src|tests|docs|benchmarks)/[\w/.-]+)`", text)
            if not (ROOT / path).exists()
        ]
        for module, attribute in re.findall(r"`(paredown(?:\.\w+)*)(?::(\w+))?`", text):
            try:
                found = importlib.import_module(module)
            except ImportError:
                gone.append(f"{named(page)}: {module}")
            else:
                gone += [f"{named(page)}: {module}:{attribute}"] if attribute and not hasattr(found, attribute) else []
    assert not gone, "\n".join(gone)


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_the_examples_of_docstrings_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    ended = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert ended.attempted and not ended.failed
