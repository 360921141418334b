"""The report: what a run found (`Findings`), and one self-contained HTML page that shows it."""

from paredown.page.findings import (
    DataMap,
    Findings,
    Kept,
    Measure,
    Outcome,
    Provenance,
    Selector,
    Step,
    Suspects,
)
from paredown.page.render import write_page
from paredown.page.wording import distilled, headline, under_attack, verdict

__all__ = [
    "DataMap",
    "Findings",
    "Kept",
    "Measure",
    "Outcome",
    "Provenance",
    "Selector",
    "Step",
    "Suspects",
    "distilled",
    "headline",
    "under_attack",
    "verdict",
    "write_page",
]
