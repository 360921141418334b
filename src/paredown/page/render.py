"""Findings into one HTML file that needs nothing else: no network, no fonts, no scripts from elsewhere."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from paredown.page import cost, examples, figures, measures, tables, wording
from paredown.page.findings import BALANCED, FULL, RANDOM, Findings, Kept
from paredown.page.thumbnails import Sheet, sheet
from paredown.rng import stream

MAP_POINTS = 1500
MAP_KEPT = 30

_SECTIONS = (
    ("accuracy", "Accuracy"),
    ("robustness", "Robust accuracy"),
    ("curve", "How much to keep"),
    ("selections", "What was kept"),
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
    "selections": "The selections themselves were not measured. Evaluate them with the probes class-balance, coverage,"
    " redundancy and overlap.",
    "scores": "No scores were given, so there is no histogram.",
    "map": "No training dynamics were recorded, so there is no map.",
    "pictures": "The examples have no pictures.",
    "suspects": "No search for label errors was made.",
    "cost": "The steps' times were not given.",
    "provenance": "What made this run was not given.",
}


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
    attacked = findings.under_attack()
    context: dict[str, Any] = {
        "title": findings.title or f"{findings.data}, pared down",
        "findings": findings,
        "share": wording.percent(findings.main.fraction, -1),
        "sections": [section for section in _SECTIONS if attacked is not None or section[0] != "robustness"],
        "missing": {**_MISSING, **findings.why_missing},
        "verdict": wording.distilled(findings) or wording.verdict(findings),
        "headline": wording.headline(findings),
        "attacked": None if attacked is None else _accuracies(attacked, "robust accuracy"),
        "under_attack": wording.under_attack(findings),
        "of_real": wording.verdict(findings) if wording.distilled(findings) else "",
        "caution": wording.caution(findings),
        "others": wording.also(findings),
        "facts": tables.facts(findings),
        "accuracy": _accuracies(findings, "test accuracy"),
        "curve": figures.curve(findings) if len(findings.fractions) > 1 else None,
        "attacked_curve": None
        if attacked is None or len(findings.fractions) < 2
        else figures.curve(attacked, of="robust accuracy"),
        "colour": _colours(findings),
        "kept_words": wording.kept_words(findings),
        "headings": measures.headings(findings),
        "measured": measures.measured_rows(findings),
        "explained": measures.explained(findings),
        "shared": measures.shared(findings),
        "scores": _scores(findings),
        "map": _map(findings),
        "class_rows": rows,
        "kept_names": [findings.name(kept.arm) for kept in findings.at_main],
        "class_columns": columns,
        "class_scale": max(max(row.of_data, row.of_kept) for row in rows) or 1.0,
        "classes_left_out": left_out,
        "pictures": examples.by_class(findings),
        "suspects": examples.suspects(findings),
        "steps": cost.step_rows(findings),
        "total": cost.total_words(findings),
        "balance": cost.balance(findings),
    }
    return environment.get_template("page.html.jinja").render(context)


def _accuracies(findings: Findings, of: str) -> dict[str, Any]:
    """The figure and the tables of one kind of accuracy."""
    seeds, by_seed = tables.seed_rows(findings)
    rows = tables.accuracy_rows(findings)
    return {
        "of": of,
        "rows": rows,
        "has_steps": any(row.steps for row in rows),
        "has_epochs": any(row.epochs for row in rows),
        "pairs": tables.pair_rows(findings),
        "seeds": seeds,
        "by_seed": by_seed,
        "sampling": tables.sampling_words(findings),
        "figure": figures.accuracies(findings, of=of),
        "alt": tables.accuracy_alt(findings, of=of),
    }


def _colours(findings: Findings) -> dict[str, str]:
    """The style sheet's name for the colour of each arm that has one."""
    turns = {s.arm: figures.SELECTORS[i % len(figures.SELECTORS)] for i, s in enumerate(findings.selectors)}
    return {FULL: "full", RANDOM: "random", BALANCED: "balanced"} | turns


def _scores(findings: Findings) -> dict[str, Any] | None:
    if findings.scores is None or not np.isfinite(findings.scores).any():
        return None
    kept = findings.is_kept(findings.main)
    drawn, rooted = figures.histogram(findings, findings.scores)
    finite = findings.scores[np.isfinite(findings.scores)]
    low, middle, high = np.quantile(finite, (0, 0.5, 1))
    words = f"The scores run from {low:.3g} to {high:.3g}, half of them below {middle:.3g}."
    for one in findings.at_main:
        mine = findings.scores[findings.is_kept(one) & np.isfinite(findings.scores)]
        kept_by = (
            f"What {findings.name(one.arm)} kept has scores" if findings.several else f"The kept {findings.noun} score"
        )
        if len(mine):
            words += f" {kept_by} from {mine.min():.3g} to {mine.max():.3g}, half of them below {np.median(mine):.3g}."
    extra = []
    if len(finite) < len(findings):
        extra.append(f"{len(findings) - len(finite):,} without a finite score are not drawn.")
    if findings.never_learned is not None:
        number = int(findings.never_learned.sum())
        also = int((findings.never_learned & kept).sum())
        share = wording.percent(number / len(findings))
        extra.append(
            f"{number:,} of {len(findings):,} ({share}) were never classified rightly in the recorded trainings;"
            f" {also:,} of these are {wording.kept_words(findings)}."
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
    # One bit each in the numbers of the page's script, which have 32.
    shown_kept = findings.kept[:MAP_KEPT]
    masks = [findings.is_kept(kept) for kept in shown_kept]
    kept = sum(mask[where].astype(int) << bit for bit, mask in enumerate(masks))
    data = {
        "key": [examples.key(findings, p) for p in where],
        "label": findings.labels[where].tolist(),
        "confidence": _rounded(place.confidence[where]),
        "variability": _rounded(place.variability[where]),
        "correctness": _rounded(place.correctness[where]),
        "kept": np.asarray(kept).tolist(),
        "colours": [_colours(findings)[kept.arm] for kept in shown_kept],
        "choices": [_choice(findings, kept) for kept in shown_kept],
        "classes": list(findings.classes),
        "score": _rounded(findings.scores[where]) if findings.scores is not None else None,
        "tone": _tones(findings.scores, where) if findings.scores is not None else None,
        "never": findings.never_learned[where].astype(int).tolist() if findings.never_learned is not None else None,
        "text": examples.texts(findings, where, examples.LETTERS // 2) if findings.texts is not None else None,
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


def _choice(findings: Findings, kept: Kept) -> str:
    """What was kept, as the map's buttons say it: `at 10 %`, `by d2`, or both; nothing where there is only one."""
    by = f"by {findings.name(kept.arm)}" if findings.several else ""
    at = f"at {wording.percent(kept.fraction, -1)}" if len(findings.fractions) > 1 else ""
    return f"{by} {at}".strip()


def _tones(scores: np.ndarray, where: np.ndarray) -> list[int]:
    """Which fifth of all scores each falls into, 0 to 4; 4 for a score that is not finite."""
    edges = np.quantile(scores[np.isfinite(scores)], (0.2, 0.4, 0.6, 0.8))
    return np.where(np.isfinite(scores[where]), np.searchsorted(edges, scores[where], side="right"), 4).tolist()


def _rounded(values: np.ndarray) -> list[float | None]:
    """Four digits after the point where that is enough, and nothing for what is not finite, which JSON cannot hold."""
    return [float(f"{v:.4g}") if math.isfinite(v) else None for v in values.tolist()]
