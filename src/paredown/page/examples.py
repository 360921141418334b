"""Single examples on the page: the two ends of each class, and likely label errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from paredown.page.findings import Findings
from paredown.page.thumbnails import Thumbnail, thumbnails
from paredown.page.wording import joined, percent

PICTURES = 240
PICTURE_CLASSES = 20
SUSPECTS = 24
LETTERS = 280
"""Of a text, at most; on the map, where there are many, half as many."""


@dataclass(frozen=True)
class Example:
    """One picture or text of the page with what is said about it."""

    picture: Thumbnail | None
    alt: str
    lines: tuple[str, ...]
    kept: bool
    text: str = ""


@dataclass(frozen=True)
class ClassPictures:
    """The lowest- and highest-scored examples of one class, from the outside in."""

    name: str
    lowest: list[Example]
    highest: list[Example]


def by_class(findings: Findings) -> dict[str, Any] | None:
    """The lowest- and highest-scored examples of each class; nothing without scores, or without pictures and texts."""
    if (findings.images is None and findings.texts is None) or findings.scores is None:
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
    assert findings.scores is not None
    looks = zip(positions, _pictures(findings, positions), texts(findings, positions), strict=True)
    examples = []
    for place, (position, picture, text) in enumerate(looks, start=1):
        name, score = findings.classes[findings.labels[position]], findings.scores[position]
        state = "kept" if kept[position] else "left out"
        alt = f"{name}, {end} score no. {place}: {score:.3g}, id {key(findings, position)}, {state}"
        examples.append(Example(picture, alt, (), bool(kept[position]), text))
    return examples


def _pictures(findings: Findings, positions: np.ndarray) -> list[Thumbnail | None]:
    return [None] * len(positions) if findings.images is None else list(thumbnails(findings.images, positions))


def texts(findings: Findings, positions: np.ndarray, letters: int = LETTERS) -> list[str]:
    """The texts at some positions, each cut to so many letters; empty for data that have none."""
    if findings.texts is None:
        return [""] * len(positions)
    return [text if len(text) <= letters else text[: letters - 1].rstrip() + "…" for text in findings.texts(positions)]


def suspects(findings: Findings) -> dict[str, Any] | None:
    """Likely label errors, with what is said about each and about all of them; nothing where none were looked for."""
    found = findings.suspects
    if found is None:
        return None
    kept = findings.is_kept(findings.main)
    first = found.positions[:SUSPECTS]
    examples = []
    for position, picture, text in zip(first, _pictures(findings, first), texts(findings, first), strict=True):
        lines = [f"labelled {findings.classes[findings.labels[position]]}"]
        if found.suggested is not None:
            lines.append(f"looks like {findings.classes[found.suggested[position]]}")
        if found.corrupted is not None and found.clean is not None:
            wrong = bool(found.corrupted[position])
            lines.append(
                f"was {findings.classes[found.clean[position]]} before noise" if wrong else "not touched by the noise"
            )
        alt = f"id {key(findings, position)}: {', '.join(lines)}, {'kept' if kept[position] else 'left out'}"
        examples.append(Example(picture, alt, (*lines, f"id {key(findings, position)}"), bool(kept[position]), text))
    total = len(found.positions)
    words = [f"{total:,} of {len(findings):,} {findings.noun} are listed, by {found.by}."]
    if found.corrupted is not None and total:
        right, all_wrong = int(found.corrupted[found.positions].sum()), int(found.corrupted.sum())
        words.append(
            f"Label noise was injected here, so the list can be checked: {right:,} of the {total:,} listed"
            f" ({percent(right / total)}) do carry a wrong label, where drawing at random would give"
            f" {percent(all_wrong / len(findings))}; they are {percent(right / max(1, all_wrong))}"
            f" of the {all_wrong:,} wrong labels."
        )
    if total:
        also = {one.arm: int(findings.is_kept(one)[found.positions].sum()) for one in findings.at_main}
        if findings.several:
            by = joined([f"{findings.name(arm)} {count:,}" for arm, count in also.items()])
            words.append(f"Of the {total:,} listed, this many are kept: by {by}.")
        else:
            count = also[findings.main.arm]
            words.append(f"{count:,} of the {total:,} listed ({percent(count / total)}) are among the kept.")
    return {"examples": examples, "words": words, "total": total}


def key(findings: Findings, position: int | np.integer[Any]) -> str:
    """The id of an example, as people write it."""
    if findings.keys is None:
        return str(int(position))
    own = findings.keys[position]
    # A native id is two 64-bit halves, written as people know it: 32 hexadecimal digits.
    return f"{own['high']:016x}{own['low']:016x}" if isinstance(own, np.void) else str(own)
