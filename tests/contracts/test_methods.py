"""Every method of the catalog keeps its contract, and catalog, cases and docs name the same methods."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.contracts.cases import (
    ATTACKS,
    DISTILLERS,
    EXTRAPOLATIONS,
    INDEXES,
    PROBES,
    PRUNERS,
    SCORERS,
    SEARCHERS,
    SELECTORS,
    SOURCES,
)

from paredown.catalog import names
from paredown.method import build
from paredown.testing import (
    check_attack,
    check_distiller,
    check_extrapolation,
    check_index,
    check_probe,
    check_pruner,
    check_scorer,
    check_searcher,
    check_selector,
    check_source,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "methods.md"


def told(case: dict[str, Any]) -> str:
    return ", ".join(str(value) if key == "name" else f"{key}={value}" for key, value in case.items())


@pytest.mark.parametrize("case", SCORERS, ids=told)
def test_scorers(case: dict[str, Any]) -> None:
    check_scorer(build("scorer", case))


@pytest.mark.parametrize("case", SELECTORS, ids=told)
def test_selectors(case: dict[str, Any]) -> None:
    check_selector(build("selector", case), most=1.0 - case.get("offset", 0.0))


@pytest.mark.parametrize("case", ATTACKS, ids=told)
def test_attacks(case: dict[str, Any]) -> None:
    if case["name"] == "autoattack":
        pytest.importorskip("pyautoattack")
    check_attack(build("attack", case))


@pytest.mark.parametrize("case", DISTILLERS, ids=lambda case: case["model"]["name"])
def test_distillers(case: dict[str, Any]) -> None:
    check_distiller(build("distiller", case))


@pytest.mark.parametrize("case", INDEXES, ids=told)
def test_indexes(case: dict[str, Any]) -> None:
    if case["name"] == "ivf":
        pytest.importorskip("faiss")
    check_index(build("index", case))


@pytest.mark.parametrize("case", EXTRAPOLATIONS, ids=told)
def test_extrapolations(case: dict[str, Any]) -> None:
    if case.get("index", {}).get("name") == "ivf":
        pytest.importorskip("faiss")
    check_extrapolation(build("extrapolation", case))


@pytest.mark.parametrize("case", PROBES, ids=told)
def test_probes(case: dict[str, Any]) -> None:
    check_probe(build("probe", case))


@pytest.mark.parametrize("case", SEARCHERS, ids=told)
def test_searchers(case: dict[str, Any]) -> None:
    if library := {"ddpg": "stable_baselines3", "tpe": "optuna", "cma-es": "cmaes"}.get(case["name"]):
        pytest.importorskip(library)
    check_searcher(build("searcher", case))


@pytest.mark.parametrize("case", PRUNERS, ids=lambda case: case["name"])
def test_pruners(case: dict[str, Any]) -> None:
    check_pruner(build("pruner", case), ("weight",) if case.get("ranking") == "lamp" else ("weight", "channel"))


@pytest.mark.parametrize("case", SOURCES, ids=told)
def test_sources(case: dict[str, Any]) -> None:
    check_source(build("data", case))


@pytest.mark.parametrize(
    ("kind", "cases"),
    [
        ("scorer", SCORERS),
        ("selector", SELECTORS),
        ("attack", ATTACKS),
        ("extrapolation", EXTRAPOLATIONS),
        ("index", INDEXES),
        ("probe", PROBES),
        ("distiller", DISTILLERS),
        ("searcher", SEARCHERS),
        ("pruner", PRUNERS),
    ],
)
def test_every_name_of_the_catalog_has_a_case(kind: str, cases: list[dict[str, Any]]) -> None:
    assert {case["name"] for case in cases} == set(names(kind))


def rows(section: str) -> dict[str, list[str]]:
    """Gives name → cells of the first table under a heading of docs/methods.md."""
    found = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.S | re.M)
    assert found, f"docs/methods.md has no section {section}"
    cells = [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in found[1].splitlines() if line[:1] == "|"
    ]
    return {cell[0].strip("`"): cell for cell in cells[2:]}


@pytest.mark.parametrize(
    ("kind", "section"),
    [
        ("scorer", "Scorers"),
        ("selector", "Selectors"),
        ("attack", "Attacks"),
        ("extrapolation", "Extrapolations"),
        ("augmentation", "Augmentations"),
        ("distiller", "Distillers"),
        ("index", "Indexes"),
        ("model", "Networks"),
        ("objective", "Objectives"),
        ("probe", "Probes"),
        ("searcher", "Searchers"),
        ("pruner", "Pruners"),
    ],
)
def test_the_docs_table_names_every_method(kind: str, section: str) -> None:
    assert sorted(rows(section)) == names(kind)


@pytest.mark.parametrize("name", names("scorer"))
def test_the_docs_table_says_what_the_scorer_says(name: str) -> None:
    case = next(case for case in SCORERS if case["name"] == name)
    scorer = build("scorer", case)
    _, _, important, span, needs, paper = rows("Scorers")[name]
    if name not in ("cluster", "column", "function", "imported", "recorded-mean"):  # theirs depend on a field
        assert important == scorer.important
        ends = re.fullmatch(r"([\[(])(.+), (.+)([\])])", span)
        assert ends, span
        values = {"-∞": float("-inf"), "∞": float("inf"), "√2": 2**0.5, "√½": 0.5**0.5}
        # What the number of classes decides has no end that a scorer could declare.
        values |= {"1 - C": float("-inf"), "log C": float("inf")}
        low, high = (values[end] if end in values else float(end) for end in ends.group(2, 3))
        assert (low, high) == (pytest.approx(scorer.low), pytest.approx(scorer.high))
    assert needs == ", ".join(sorted(scorer.needs))
    published = re.match(r".*? \d{4}", scorer.paper)
    assert paper.startswith(published[0] if published else "none")


@pytest.mark.parametrize("name", names("selector"))
def test_the_docs_table_says_what_the_selector_needs(name: str) -> None:
    case = next(case for case in SELECTORS if case["name"] == name)
    assert rows("Selectors")[name][2] == (", ".join(sorted(build("selector", case).needs)) or "nothing")
