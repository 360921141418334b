"""Findings into one HTML file that needs nothing else: no network, no fonts, no scripts from elsewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from paredown.page import cost, figures, tables, wording
from paredown.page.findings import Findings
from paredown.page.thumbnails import Sheet, Thumbnail, sheet, thumbnails
from paredown.rng import stream

MAP_POINTS = 1500
PICTURES = 240
PICTURE_CLASSES = 20
SUSPECTS = 24

_SECTIONS = (
    ("accuracy", "Accuracy"),
    ("curve", "How much to keep"),
    ("scores", "Scores"),
    ("map", "Map of the data"),
    ("classes", "Classes"),
    ("pictures", "Lowest and highest scores"),
    ("suspects", "Likely label errors"),
    ("cost", "Time and cost"),
    ("provenance", "How this was made"),
)
_MISSING = {
    "curve": "Only one fraction was kept, so there is no curve to draw. Give --keep several times to get one.",
    "scores": "No scores were given, so there is no histogram.",
    "map": "No training dynamics were recorded, so there is no map.",
    "pictures": "The examples have no pictures.",
    "suspects": "No search for label errors was made.",
    "cost": "The steps' times were not given.",
    "provenance": "What made this run was not given.",
}


@dataclass(frozen=True)
class Example:
    """One picture of the page with what is said about it."""

    picture: Thumbnail | None
    alt: str
    lines: tuple[str, ...]
    kept: bool


@dataclass(frozen=True)
class ClassPictures:
    """The lowest- and highest-scored examples of one class, from the outside in."""

    name: str
    lowest: list[Example]
    highest: list[Example]


def write_page(findings: Findings, path: Path) -> Path:
    """Writes the report as one self-contained HTML file, beside its place first and then renamed.

    Args:
        findings: everything that the page shows.
        path: the file; its folder is made when it is not there.

    Returns:
        The path.
    """
    text = _page(findings)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".partial")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
    return path


def _page(findings: Findings) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rows, columns, left_out = tables.class_rows(findings)
    seeds, by_seed = tables.seed_rows(findings)
    accuracy = tables.accuracy_rows(findings)
    context: dict[str, Any] = {
        "title": findings.title or f"{findings.data}, pared down",
        "findings": findings,
        "share": wording.percent(findings.main.fraction, -1),
        "sections": _SECTIONS,
        "missing": {**_MISSING, **findings.why_missing},
        "verdict": wording.verdict(findings),
        "headline": wording.headline(findings),
        "caution": wording.caution(findings),
        "others": [wording.also(findings, kept) for kept in findings.kept[1:]],
        "facts": tables.facts(findings),
        "accuracy": accuracy,
        "has_steps": any(row.steps for row in accuracy),
        "has_epochs": any(row.epochs for row in accuracy),
        "pairs": tables.pair_rows(findings),
        "seeds": seeds,
        "by_seed": by_seed,
        "sampling": tables.sampling_words(findings),
        "accuracy_figure": figures.accuracies(findings),
        "accuracy_alt": tables.accuracy_alt(findings),
        "curve": figures.curve(findings) if len(findings.kept) > 1 else None,
        "scores": _scores(findings),
        "map": _map(findings),
        "class_rows": rows,
        "class_columns": columns,
        "class_scale": max(max(row.of_data, row.of_kept) for row in rows) or 1.0,
        "classes_left_out": left_out,
        "pictures": _class_pictures(findings),
        "suspects": _suspects(findings),
        "steps": cost.step_rows(findings),
        "total": cost.total_words(findings),
        "balance": cost.balance(findings),
    }
    return environment.get_template("page.html.jinja").render(context)


def _scores(findings: Findings) -> dict[str, Any] | None:
    if findings.scores is None or not np.isfinite(findings.scores).any():
        return None
    kept = findings.is_kept(findings.main)
    drawn, rooted = figures.histogram(findings.scores, kept)
    finite = findings.scores[np.isfinite(findings.scores)]
    mine = findings.scores[kept & np.isfinite(findings.scores)]
    low, middle, high = np.quantile(finite, (0, 0.5, 1))
    words = f"The scores run from {low:.3g} to {high:.3g}, half of them below {middle:.3g}."
    if len(mine):
        words += f" The kept {findings.noun} score from {mine.min():.3g} to {mine.max():.3g}, half of them below"
        words += f" {np.median(mine):.3g}."
    extra = []
    if len(finite) < len(findings):
        extra.append(f"{len(findings) - len(finite):,} without a finite score are not drawn.")
    if findings.never_learned is not None:
        number = int(findings.never_learned.sum())
        also = int((findings.never_learned & kept).sum())
        share = wording.percent(number / len(findings))
        extra.append(
            f"{number:,} of {len(findings):,} ({share}) were never classified rightly in the recorded trainings;"
            f" {also:,} of these are kept."
            if number
            else "Every one was classified rightly at least once in the recorded trainings."
        )
    return {"figure": drawn, "rooted": rooted, "words": words, "extra": extra}


def _map(findings: Findings) -> dict[str, Any] | None:
    if findings.map is None:
        return None
    place = findings.map
    known = np.flatnonzero(
        np.isfinite(place.confidence) & np.isfinite(place.variability) & np.isfinite(place.correctness)
    )
    if len(known) == 0:
        return None
    shown = known
    if len(known) > MAP_POINTS:
        shown = stream(0, "page", "map").choice(known, MAP_POINTS, replace=False)
    pictures: Sheet | None = None
    if findings.images is not None:
        pictures = sheet(findings.images, shown)
        shown = shown[: pictures.count]
    # From left to right, so that the arrow keys walk across the map; the sheet keeps the order of drawing.
    order = np.lexsort((place.confidence[shown], place.variability[shown]))
    where = shown[order]
    plane = figures.map_plane(place, cloud=len(where) < len(known))
    x, y = plane.place(place.variability[where], place.confidence[where])
    masks = [findings.is_kept(kept) for kept in findings.kept]
    kept = sum(mask[where].astype(int) << bit for bit, mask in enumerate(masks))
    data = {
        "key": [_key(findings, p) for p in where],
        "label": findings.labels[where].tolist(),
        "confidence": _rounded(place.confidence[where]),
        "variability": _rounded(place.variability[where]),
        "correctness": _rounded(place.correctness[where]),
        "kept": np.asarray(kept).tolist(),
        "fractions": [wording.percent(kept.fraction, -1) for kept in findings.kept],
        "classes": list(findings.classes),
        "score": _rounded(findings.scores[where]) if findings.scores is not None else None,
        "tone": _tones(findings.scores, where) if findings.scores is not None else None,
        "never": findings.never_learned[where].astype(int).tolist() if findings.never_learned is not None else None,
        "picture": order.tolist() if pictures is not None else None,
        "columns": pictures.columns if pictures is not None else 0,
        "rows": pictures.rows if pictures is not None else 0,
    }
    marks = ("", ' class="k"')
    points = [
        f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.6"{marks[k & 1]}/>' for a, b, k in zip(x, y, data["kept"], strict=True)
    ]
    hard = int((place.confidence[known] < 0.5).sum())
    return {
        "svg": plane.svg,
        "points": "".join(points),
        "data": data,
        "sheet": pictures,
        "shown": len(where),
        "known": len(known),
        "unknown": len(findings) - len(known),
        "hard": f"{hard:,} of {len(known):,} ({wording.percent(hard / len(known))})",
        "epochs": place.epochs,
    }


def _tones(scores: np.ndarray, where: np.ndarray) -> list[int]:
    """Which fifth of all scores each falls into, 0 to 4; 4 for a score that is not finite."""
    edges = np.quantile(scores[np.isfinite(scores)], (0.2, 0.4, 0.6, 0.8))
    return np.where(np.isfinite(scores[where]), np.searchsorted(edges, scores[where], side="right"), 4).tolist()


def _class_pictures(findings: Findings) -> dict[str, Any] | None:
    if findings.images is None or findings.scores is None:
        return None
    sizes = np.bincount(findings.labels, minlength=len(findings.classes))
    kept = findings.is_kept(findings.main)
    present = np.flatnonzero(sizes)
    shown = present
    if len(present) > PICTURE_CLASSES:
        rate = np.bincount(findings.labels[kept], minlength=len(findings.classes))[present] / sizes[present]
        shown = np.sort(present[np.argsort(-np.abs(rate - findings.main.fraction), kind="stable")[:PICTURE_CLASSES]])
    number = min(6, max(1, PICTURES // (2 * len(shown))))
    rows = []
    for c in shown:
        members = np.flatnonzero((findings.labels == c) & np.isfinite(findings.scores))
        order = members[np.argsort(findings.scores[members], kind="stable")]
        low, high = min(number, (len(order) + 1) // 2), min(number, len(order) // 2)
        rows.append(
            ClassPictures(
                findings.classes[c],
                _examples(findings, order[:low], kept, "lowest"),
                _examples(findings, order[::-1][:high], kept, "highest"),
            )
        )
    return {"rows": rows, "left_out": len(present) - len(shown)}


def _examples(findings: Findings, positions: np.ndarray, kept: np.ndarray, end: str) -> list[Example]:
    assert findings.images is not None and findings.scores is not None
    pictures = thumbnails(findings.images, positions)
    examples = []
    for place, (position, picture) in enumerate(zip(positions, pictures, strict=True), start=1):
        name, key, score = (
            findings.classes[findings.labels[position]],
            _key(findings, position),
            findings.scores[position],
        )
        state = "kept" if kept[position] else "left out"
        alt = f"{name}, {end} score no. {place}: {score:.3g}, id {key}, {state}"
        examples.append(Example(picture, alt, (), bool(kept[position])))
    return examples


def _suspects(findings: Findings) -> dict[str, Any] | None:
    found = findings.suspects
    if found is None:
        return None
    kept = findings.is_kept(findings.main)
    first = found.positions[:SUSPECTS]
    pictures: list[Thumbnail | None] = [None] * len(first)
    if findings.images is not None:
        pictures = list(thumbnails(findings.images, first))
    examples = []
    for position, picture in zip(first, pictures, strict=True):
        lines = [f"labelled {findings.classes[findings.labels[position]]}"]
        if found.suggested is not None:
            lines.append(f"looks like {findings.classes[found.suggested[position]]}")
        if found.corrupted is not None and found.clean is not None:
            wrong = bool(found.corrupted[position])
            lines.append(
                f"was {findings.classes[found.clean[position]]} before noise" if wrong else "not touched by the noise"
            )
        alt = f"id {_key(findings, position)}: {', '.join(lines)}, {'kept' if kept[position] else 'left out'}"
        examples.append(Example(picture, alt, (*lines, f"id {_key(findings, position)}"), bool(kept[position])))
    total = len(found.positions)
    words = [f"{total:,} of {len(findings):,} {findings.noun} are listed, by {found.by}."]
    if found.corrupted is not None and total:
        right, all_wrong = int(found.corrupted[found.positions].sum()), int(found.corrupted.sum())
        words.append(
            f"Label noise was injected here, so the list can be checked: {right:,} of the {total:,} listed"
            f" ({wording.percent(right / total)}) do carry a wrong label, where drawing at random would give"
            f" {wording.percent(all_wrong / len(findings))}; they are {wording.percent(right / max(1, all_wrong))}"
            f" of the {all_wrong:,} wrong labels."
        )
    if total:
        also = int(kept[found.positions].sum())
        words.append(f"{also:,} of the {total:,} listed ({wording.percent(also / total)}) are among the kept.")
    return {"examples": examples, "words": words, "total": total}


def _key(findings: Findings, position: int | np.integer[Any]) -> str:
    if findings.keys is None:
        return str(int(position))
    key = findings.keys[position]
    # A native id is two 64-bit halves, written as people know it: 32 hexadecimal digits.
    return f"{key['high']:016x}{key['low']:016x}" if isinstance(key, np.void) else str(key)


def _rounded(values: np.ndarray) -> list[float | None]:
    """Four digits after the point where that is enough, and nothing for what is not finite, which JSON cannot hold."""
    return [float(f"{v:.4g}") if math.isfinite(v) else None for v in values.tolist()]
