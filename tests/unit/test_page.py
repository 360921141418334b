"""The report: its words say what the numbers say, and its one file is whole, safe and the same every time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from paredown.artifacts.ids import NATIVE
from paredown.errors import DataError
from paredown.page import (
    DataMap,
    Findings,
    Kept,
    Measure,
    Outcome,
    Provenance,
    Selector,
    Step,
    Suspects,
    write_page,
)

SECTIONS = (
    "accuracy", "curve", "selections", "scores", "map", "classes", "pictures", "suspects", "cost", "provenance",
)  # fmt: skip


def outcomes(
    full: list[float], chosen: list[float], random: list[float], fraction: float = 0.3, **rest: Any
) -> tuple[Outcome, ...]:
    """One outcome a seed for each arm, from accuracies in percent."""
    arms = (("full", 1.0, full), ("chosen", fraction, chosen), ("random", fraction, random))
    return tuple(
        Outcome(arm, share, seed, value / 100, **rest)
        for arm, share, values in arms
        for seed, value in enumerate(values)
    )


def small(results: tuple[Outcome, ...], size: int = 60, **fields: Any) -> Findings:
    """Findings with nothing but what is required."""
    return Findings(
        **{
            "data": "tiny",
            "labels": np.arange(size) % 3,
            "classes": ("ant", "bee", "cat"),
            "outcomes": results,
            "kept": (Kept(0.3, np.arange(round(0.3 * size))),),
            "scorer": "EL2N",
            "selectors": (Selector("chosen", "EL2N", "Highest: the largest values first."),),
            "budget": "steps",
            **fields,
        }
    )


def whole(size: int = 60, **fields: Any) -> Findings:
    """Findings with every part, at two fractions."""
    draw = np.random.default_rng(3)
    timed: dict[str, Any] = {"steps": 500, "epochs": 10.0, "by_class": (0.9, 0.8, 0.7)}
    results = (
        *outcomes([95, 96, 95], [93, 93, 94], [90, 91, 90], seconds=20.0, **timed),
        *outcomes([], [89, 90, 89], [85, 86, 84], 0.1, seconds=20.0, **timed),
    )
    confidence = draw.random(size)
    order = np.argsort(confidence)
    return small(
        results,
        size,
        **{
            "kept": (Kept(0.3, order[: round(0.3 * size)]), Kept(0.1, order[: round(0.1 * size)])),
            "scores": 1 - confidence,
            "never_learned": confidence < 0.05,
            "map": DataMap(confidence, draw.random(size) / 2, np.round(confidence, 1), "10 epochs"),
            "images": draw.integers(0, 256, (size, 8, 8, 3), dtype=np.uint8),
            "suspects": Suspects(
                order[:10], "low confidence", np.arange(size) % 3, confidence < 0.1, np.arange(size) % 2
            ),
            "measures": tuple(
                Measure(arm, share, metric, value + share, other)
                for share in (0.3, 0.1)
                for arm, other in (("chosen", "random"), ("random", "chosen"), ("random", "random"))
                for metric, value, other in (("coverage", 2.0, ""), ("shared", 0.0, other))
            ),
            "steps": (
                Step("full", "train", 20.0, False, ("chosen",), "train-01"),
                Step("el2n", "score", 4.0, True, ("chosen",)),
            ),
            "provenance": Provenance("pare down tiny", {"paredown": "0.1.0"}, "CPU", 2, "2026-07-14", "a91c"),
            "shape": (3, 8, 8),
            "test": "tiny:test",
            "test_size": 400,
            **fields,
        },
    )


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


class Page(HTMLParser):
    """What a test asks of a page: ids, references, elements, text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.ids: list[str] = []
        self.references: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._raw = False
        self.feed(self.source)
        self.text = plain(re.sub(r"\s+", " ", self.text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        self._raw = tag in ("style", "script")
        if given.get("id"):
            self.ids.append(str(given["id"]))
        self.references += [str(given[name]) for name in ("src", "href", "srcset", "action") if given.get(name)]

    def handle_endtag(self, tag: str) -> None:
        self._raw = False

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.text += data


@pytest.fixture
def page(tmp_path: Path) -> Callable[[Findings], Page]:
    return lambda findings: Page(write_page(findings, tmp_path / "out" / "report.html"))


def test_one_seed_comes_with_a_warning(page: Callable[[Findings], Page]) -> None:
    shown = page(small(outcomes([90.0], [91.0], [89.0])))
    assert "One seed shows no spread" in shown.text
    assert "one seed, so no interval" in shown.text


def test_every_section_is_there_and_nothing_is_fetched(page: Callable[[Findings], Page]) -> None:
    shown = page(whole())
    assert set(SECTIONS) <= set(shown.ids)
    assert 'class="missing"' not in shown.source
    assert "http://" not in shown.source
    assert "https://" not in shown.source
    assert all(reference.startswith(("#", "data:")) for reference in shown.references)
    assert "default-src 'none'" in shown.source


def test_ids_are_unique_and_every_reference_inside_the_page_meets_one(page: Callable[[Findings], Page]) -> None:
    shown = page(whole())
    assert len(shown.ids) == len(set(shown.ids))
    inside = re.findall(r"url\(#([^)]+)\)", shown.source) + [r[1:] for r in shown.references if r.startswith("#")]
    assert inside
    assert set(inside) <= set(shown.ids)


def test_pictures_have_words_and_tables_have_heads(page: Callable[[Findings], Page]) -> None:
    shown = page(whole())
    pictures = [given for tag, given in shown.tags if tag == "img"]
    assert len(pictures) > 20
    assert all(given["alt"] for given in pictures)
    assert all(given.get("aria-label") for _, given in shown.tags if given.get("class") == "drawing")
    heads = [given for tag, given in shown.tags if tag == "th"]
    assert all(given.get("scope") in ("col", "row", "colgroup") for given in heads)


def test_the_accuracies_of_every_arm_stand_in_the_table(page: Callable[[Findings], Page]) -> None:
    text = page(whole()).text
    for words in ("30 % chosen by EL2N", "random 30 %", "10 % chosen by EL2N", "all of the data", "95.3 %", "93.3 %"):
        assert words in text
    assert "chosen 30 % − random 30 %" in text
    assert "+3.0" in text
    assert "At 10 % (89.3 % ± 0.6) it loses 6.0 points against all of it" in text


@pytest.mark.parametrize(
    ("without", "section", "says"),
    [
        ({"scores": None}, "scores", "No scores were given"),
        ({"map": None}, "map", "No training dynamics were recorded"),
        ({"images": None}, "pictures", "The examples have no pictures."),
        ({"suspects": None}, "suspects", "No search for label errors"),
        ({"steps": ()}, "cost", "times were not given"),
        ({"provenance": None}, "provenance", "was not given"),
        ({"measures": ()}, "selections", "The selections themselves were not measured"),
        ({"kept": (Kept(0.3, np.arange(18)),)}, "curve", "Only one fraction was kept"),
    ],
)
def test_what_is_missing_is_left_out_with_a_line_that_says_why(
    page: Callable[[Findings], Page], without: dict[str, Any], section: str, says: str
) -> None:
    assert says in page(whole(**without)).text
    reason = page(whole(**without, why_missing={section: "Texts have none <here>."}))
    assert "Texts have none <here>." in reason.text
    assert set(SECTIONS) <= set(reason.ids)


def test_the_least_that_is_allowed_gives_a_page(page: Callable[[Findings], Page]) -> None:
    shown = page(small(outcomes([], [80.0], [])))
    assert shown.source.count('class="missing"') == 8


def test_names_are_escaped(page: Callable[[Findings], Page]) -> None:
    bad = "</script><script>alert('x')</script>"
    keys = np.array([f"dir/<b>&{i}.png" for i in range(60)])
    shown = page(whole(classes=(bad, '"><img src=x onerror=y>', "$x$ %"), data=bad, scorer="<i>", keys=keys,
                       selectors=(Selector("chosen", "<i>", "<i>"),)))  # fmt: skip
    assert "<script>alert" not in shown.source
    assert "<i>" not in re.sub(r"<script>.*?</script>", "", shown.source, flags=re.DOTALL)
    assert "dir/<b>" not in shown.source
    assert sum(tag == "script" for tag, _ in shown.tags) == 2
    assert bad in shown.text


def map_data(shown: Page) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="map-data">(.*?)</script>', shown.source, re.DOTALL)
    assert found
    return json.loads(found[1], parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_the_map_holds_what_its_points_need(page: Callable[[Findings], Page]) -> None:
    findings = whole()
    scores = np.array(findings.scores)
    scores[7] = np.inf
    assert findings.map is not None
    confidence = findings.map.confidence.copy()
    confidence[3] = np.nan
    shown = page(replace(findings, scores=scores, map=replace(findings.map, confidence=confidence)))
    data = map_data(shown)
    assert sum(tag == "circle" for tag, _ in shown.tags) == 59 + 1
    assert sorted(map(int, data["key"])) == [i for i in range(60) if i != 3]
    assert data["score"][data["key"].index("7")] is None
    assert sorted(data["picture"]) == list(range(59))
    for key, mask in zip(data["key"], data["kept"], strict=True):
        assert mask == sum(int(key in map(str, kept.positions)) << bit for bit, kept in enumerate(findings.kept))
    assert "1 were never presented" in shown.text


def test_native_ids_are_written_as_hexadecimal(page: Callable[[Findings], Page]) -> None:
    keys = np.array([(1, i) for i in range(60)], dtype=NATIVE)
    assert f"{1:016x}{59:016x}" in map_data(page(whole(keys=keys)))["key"]


def test_a_large_map_shows_a_sample_and_says_so_below_five_megabytes(page: Callable[[Findings], Page]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (512, 32, 32, 3), dtype=np.uint8)
    shown = page(whole(50_000, images=lambda positions: noise[positions % 512], shape=(3, 32, 32)))
    assert len(shown.source) < 5_000_000
    number = len(map_data(shown)["key"])
    assert 300 < number <= 1500
    assert f"{number:,} points, drawn at random from 50,000" in shown.text


def test_many_classes_are_cut_to_the_extremes(page: Callable[[Findings], Page]) -> None:
    names = tuple(f"class {i}" for i in range(100))
    shown = page(whole(2000, classes=names, labels=np.arange(2000) % 100, outcomes=outcomes([90], [89], [88], steps=1)
                       + outcomes([], [80], [80], 0.1), suspects=None))  # fmt: skip
    assert "70 between them are left out" in shown.text
    assert "80 others are left out" in shown.text


def test_injected_noise_lets_the_list_be_checked(page: Callable[[Findings], Page]) -> None:
    corrupted = np.zeros(60, dtype=bool)
    corrupted[:12] = True
    found = Suspects(np.array([0, 1, 2, 30]), "low confidence", corrupted=corrupted)
    text = page(whole(suspects=found)).text
    assert "3 of the 4 listed (75.0 %) do carry a wrong label, where drawing at random would give 20.0 %" in text
    assert "they are 25.0 % of the 12 wrong labels" in text


def test_the_same_findings_give_the_same_bytes_and_matplotlib_is_left_alone(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    first, second = (write_page(whole(), tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second
    assert dict(mpl.rcParams) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]


@pytest.mark.parametrize(
    "scores", [np.zeros(60), np.arange(60) ** 6 / 1e6, np.where(np.arange(60) < 50, np.nan, 1.0)], ids=str
)
def test_odd_scores_are_drawn_all_the_same(page: Callable[[Findings], Page], scores: np.ndarray) -> None:
    assert "histogram-wide" in page(whole(scores=scores)).source


def test_grey_and_large_pictures_are_shown(page: Callable[[Findings], Page]) -> None:
    draw = np.random.default_rng(1)
    assert page(whole(images=draw.integers(0, 256, (60, 28, 28, 1), dtype=np.uint8))).source.count("<img") > 20
    large = page(whole(images=draw.integers(0, 256, (60, 200, 100, 3), dtype=np.uint8)))
    assert {(given["width"], given["height"]) for tag, given in large.tags if tag == "img"} == {("32", "64")}


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"kept": ()}, "nothing was kept"),
        ({"kept": (Kept(0.2, np.arange(12)),)}, "no training on the 0.2 kept by 'chosen'"),
        ({"kept": (Kept(0.3, np.arange(12), "d2"),)}, "'chosen' stands among the selectors or in what was kept"),
        ({"kept": (Kept(0.3, np.array([0, 60])),)}, "is not among the 60 examples"),
        ({"scores": np.zeros(59)}, r"Findings\(scores=…\): 59 values for 60 examples"),
        ({"map": DataMap(np.zeros(60), np.zeros(61), np.zeros(60))}, r"map\.variability=…\): 61 values"),
        ({"suspects": Suspects(np.arange(3), "x", clean=np.zeros(4))}, r"suspects\.clean=…\): 4 values"),
    ],
)
def test_findings_that_do_not_fit_together_are_refused(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(DataError, match=match):
        whole(**wrong)


def several(**fields: Any) -> Findings:
    """Findings that compare two selectors at two fractions."""
    found = whole()
    timed: dict[str, Any] = {"steps": 500, "epochs": 10.0, "by_class": (0.9, 0.8, 0.7)}
    results = [replace(o, arm="d2") if o.arm == "chosen" else o for o in found.outcomes]
    results += [
        Outcome("ccs <i>", share, seed, value / 100, **timed)
        for share, values in ((0.3, (90, 91.5, 89.8)), (0.1, (80, 81, 79)))
        for seed, value in enumerate(values)
    ]
    kept = [replace(kept, arm="d2") for kept in found.kept]
    kept += [Kept(0.3, np.arange(18), "ccs <i>"), Kept(0.1, np.arange(6), "ccs <i>")]
    measures = [
        Measure("d2", 0.3, "class balance", 0.98765),
        Measure("d2", 0.3, "own metric", 1234.5),
        *(Measure("random", 0.3, "class balance", value) for value in (0.9, 1.0)),
        *(Measure(one, 0.3, "shared", 0.25, other) for one, other in (("d2", "ccs <i>"), ("ccs <i>", "d2"))),
    ]
    arms = ("d2", "ccs <i>")
    return replace(
        found,
        **{
            "outcomes": tuple(results),
            "kept": tuple(kept),
            "selectors": (Selector("d2", "d2", "D2: messages."), Selector("ccs <i>", "ccs <i>", "CCS: strata.")),
            "measures": tuple(measures),
            "steps": (Step("full", "train", 20.0, False, arms), Step("graph", "connect", 4.0, False, ("d2",))),
            **fields,
        },
    )


def test_several_selectors_stand_beside_each_other(page: Callable[[Findings], Page]) -> None:
    shown = page(several())
    assert len(shown.ids) == len(set(shown.ids))
    assert "<i>" not in re.sub(r"<script>.*?</script>", "", shown.source, flags=re.DOTALL)
    for words in (
        "Of two ways of choosing 30 % of tiny, one beats a random 30 %: d2 by 3.0 points.",
        "d2 trains to 93.3 % ± 0.6 and ccs <i> to 90.4 %",
        "Four comparisons with random are made here",
        "At 10 %, one beats a random 10 %: d2 by 4.3 points; one is worse: ccs <i> by 5.0 points.",
        "Chosen by d2D2: messages.",
        "Chosen by ccs <i>CCS: strata.",
        "30 % chosen by d2",
        "d2 30 % − random 30 %",
        "d2 30 % − ccs <i> 30 %",
        "ccs <i> 10 % − all of the data",
        "kept by ccs <i> at 10 %",
        "What ccs <i> kept has scores from",
        "share of it kept by",
        "Of the 10 listed, this many are kept: by d2",
        "Choosing cost 24 s by d2 and 20 s by ccs <i>",
    ):
        assert words in shown.text, words


def test_the_measures_stand_in_a_table_and_what_two_share_in_another(page: Callable[[Findings], Page]) -> None:
    shown = page(several())
    assert "class balanceown metric" in shown.text
    assert "30 % chosen by d20.9881,234" in shown.text
    assert "random 30 %0.950–" in shown.text, "the mean over draws"
    assert "Shared images at 30 %, of the smaller selection" in shown.text
    assert "d2–25 %" in shown.text
    assert "entropy of the class shares over that of the data" in shown.text


def test_each_selector_has_a_colour_and_a_button_on_the_map(page: Callable[[Findings], Page]) -> None:
    data = map_data(page(several()))
    assert data["choices"] == [
        "by d2 at 30\u00a0%",
        "by d2 at 10\u00a0%",
        "by ccs <i> at 30\u00a0%",
        "by ccs <i> at 10\u00a0%",
    ]
    assert data["colours"] == ["chosen", "chosen", "second", "second"]
    assert max(data["kept"]) < 16


def test_more_selectors_than_colours_are_drawn_all_the_same(page: Callable[[Findings], Page]) -> None:
    arms = [f"s{i}" for i in range(9)]
    results = tuple(Outcome(arm, 0.3, seed, 0.9) for arm in [*arms, "random"] for seed in range(2))
    kept = tuple(Kept(share, np.arange(6), arm) for arm in arms for share in (0.3,))
    shown = page(
        whole(outcomes=results, kept=kept, selectors=tuple(Selector(arm, arm) for arm in arms), measures=(), steps=())
    )
    assert "of nine ways of choosing 30 % of tiny, none clearly beats a random 30 %" in shown.text


def test_robust_accuracy_has_a_section_of_its_own_where_every_network_was_attacked(
    page: Callable[[Findings], Page],
) -> None:
    clean = whole()
    attacked = tuple(replace(one, robust=one.accuracy / 2) for one in clean.outcomes)
    shown = page(replace(clean, outcomes=attacked, threat="linf 8/255", attacked=100))
    text = plain(shown.text)
    assert "robustness" in shown.ids and "within linf 8/255; 100 of them were attacked" in text
    assert "Under attack (linf 8/255): 30 % of tiny, chosen by EL2N, cannot be told from all of it" in text
    assert "47.7 %" in text and "95.3 %" in text
    assert len(shown.ids) == len(set(shown.ids))
    some = (replace(attacked[0], robust=None), *attacked[1:])
    for partly in (clean, replace(clean, outcomes=some, threat="linf 8/255")):
        assert "robustness" not in page(partly).ids


def test_sentences_have_no_pixels(page: Callable[[Findings], Page]) -> None:
    text = page(whole(noun="sentences", shape=None, images=None, why_missing={"pictures": "Texts are not shown."})).text
    assert "tiny: 60 sentences in 3 classes" in text
    assert "pixels" not in text
    assert "Texts are not shown." in text
