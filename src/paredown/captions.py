"""How a report names what was used: the words of a method's docstring, its settings, its paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paredown import catalog
from paredown.artifacts import ScoreTable, Selection


def settings(identity: Mapping[str, Any]) -> str:
    """Gives a method with its fields, those that are off left out."""
    fields = []
    for name, part in identity.items():
        if name in ("name", "version") or part in (None, False, 0, [], ""):
            continue
        value = settings(part) if isinstance(part, Mapping) else _radius(part) if name == "eps" else part
        value = f"{value:g}" if isinstance(value, float) else value
        fields.append(name if part is True else f"{name} {value}")
    return identity["name"] + (f" ({', '.join(fields)})" if fields else "")


def _radius(eps: float) -> str:
    """`8/255` for what are whole grey levels."""
    levels = 255 * eps
    return f"{round(levels)}/255" if abs(levels - round(levels)) < 1e-6 else f"{eps:g}"


def training_words(identity: Mapping[str, Any]) -> str:
    """Gives the settings of a training in a line."""
    length = f"{identity['steps']} steps" if identity["steps"] else f"{identity['epochs']} epochs of the whole data"
    parts = [
        f"{length} of {identity['batch_size']} examples",
        settings(identity["optimizer"]),
        f"{settings(identity['schedule'])} schedule",
    ]
    # Trainings stored before these fields existed lack them.
    if identity.get("objective", {}).get("name", "cross-entropy") != "cross-entropy":
        parts.insert(1, f"{settings(identity['objective'])} objective")
    if identity["label_smoothing"]:
        parts.append(f"label smoothing {identity['label_smoothing']:g}")
    if identity.get("clip"):
        parts.append(f"gradients clipped to norm {identity['clip']:g}")
    if identity.get("mixing"):
        parts.append(f"{settings(identity['mixing'])} of extra data into every batch")
    if identity["average"]:
        parts.append(f"weights averaged with decay {identity['average']:g}")
    return "; ".join(parts)


def title(kind: str, plain: Mapping[str, Any]) -> str:
    """What people call a method: the beginning of its docstring (`EL2N: the L2 norm of …`), else its name."""
    title, colon, _ = _first_line(kind, plain).partition(": ")
    return title if colon and len(title) < 30 else plain["name"]


def _first_line(kind: str, plain: Mapping[str, Any]) -> str:
    return (catalog.find(kind, plain["name"]).__doc__ or "").strip().partition("\n")[0]


def _in_words(kind: str, plain: Mapping[str, Any]) -> str:
    sense = _first_line(kind, plain).partition(": ")[2] or _first_line(kind, plain)
    chosen = settings(plain).partition(" (")[2]
    return sense.rstrip(".") + (f" ({chosen}" if chosen else "")


def scorer_words(table: ScoreTable) -> str:
    """Gives what a score measures, its settings, its direction and its paper."""
    marks = {"high": "High is important", "low": "Low is important", "none": "It has no direction"}[table.important]
    runs = f"; mean of {table.runs} trainings" if table.runs > 1 else ""
    paper = f" {table.paper}." if table.paper else ""
    return f"{_in_words('scorer', table.notes['scorer'])}{runs}. {marks}.{paper}"


def chosen_by(selection: Selection, table: ScoreTable | None) -> str:
    """What completes "chosen by …": the score where the selector only puts it in order, else the selector."""
    plain = selection.asked["selector"]
    ordered = getattr(catalog.find("selector", plain["name"]), "needs", None) == frozenset({"values"})
    return title("scorer", table.notes["scorer"]) if table is not None and ordered else title("selector", plain)


def selector_words(selection: Selection) -> str:
    """Gives how a selection was made."""
    shares = "; the same share of each class" if selection.asked["by_class"] else ""
    inside = "; within an earlier selection" if selection.asked["within"] else ""
    plain = selection.asked["selector"]
    return f"{title('selector', plain)}: {_in_words('selector', plain)}{shares}{inside}."
