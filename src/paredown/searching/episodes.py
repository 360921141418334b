"""The table of a search: one row an evaluation, kept on disk so that a search that was killed goes on from it.

The columns are those of the published search, which wrote them without a header: number, reward, share of the dense
cost, clean and adversarial accuracy, dense cost, cost, and the shares in the order of published lists. There are no
clock times in it, so that a resumed search leaves the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from paredown.errors import ArtifactError

FILE = "episodes.csv"


class Outcome(NamedTuple):
    """What a strategy is worth.

    Args:
        reward: what a search makes large.
        clean: accuracy on the images as they are, in [0, 1]; none where it was not measured.
        robust: accuracy under the attack.
    """

    reward: float
    clean: float | None = None
    robust: float | None = None


class Episode(NamedTuple):
    """One evaluation.

    Args:
        episode: its number, from 1.
        reward: of its strategy.
        cost_ratio: cost / dense_cost.
        clean_accuracy: in [0, 1], or none.
        adversarial_accuracy: in [0, 1], or none.
        dense_cost: of the whole network, in weights, multiplications or seconds.
        cost: of the strategy.
        shares: kept, in the order of published lists.
    """

    episode: int
    reward: float
    cost_ratio: float
    clean_accuracy: float | None
    adversarial_accuracy: float | None
    dense_cost: float
    cost: float
    shares: tuple[float, ...]


class EpisodeTable:
    """The rows of a search, in memory and, where there is a folder, in its `episodes.csv`.

    Args:
        folder: of the search; none keeps nothing on disk. A row that was cut off by a kill is removed.

    Raises:
        ArtifactError: the file is no such table.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.rows: list[Episode] = []
        self._path = None if folder is None else folder / FILE
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        kept = _whole_lines(self._path) if self._path.exists() else b""
        self.rows = list(_parsed(self._path, kept.decode()))
        if not kept:
            kept = _line(Episode._fields)
        with self._path.open("wb") as file:
            file.write(kept)

    def append(self, row: Episode) -> None:
        """Adds a row; it is with the operating system when this returns, so that killing the search keeps it."""
        self.rows.append(row)
        if self._path is not None:
            with self._path.open("ab") as file:
                file.write(_line(_texts(row)))


def read_episodes(folder: str | Path) -> list[Episode]:
    """Reads the table of a search, finished or not.

    Args:
        folder: of the search, or the file.

    Raises:
        ArtifactError: there is none, or it is damaged.
    """
    path = Path(folder)
    path = path / FILE if path.is_dir() else path
    if not path.exists():
        raise ArtifactError(f"{path}: there is no table of a search. Give the folder of one.")
    return list(_parsed(path, _whole_lines(path).decode()))


def write_episodes(rows: Iterable[Episode], path: str | Path) -> None:
    """Writes a table of rows as CSV with a header."""
    Path(path).write_bytes(_line(Episode._fields) + b"".join(_line(_texts(row)) for row in rows))


def best_of(rows: Sequence[Episode]) -> Episode:
    """Gives the row of the largest reward, the first of several."""
    return max(rows, key=lambda row: (row.reward, -row.episode))


def _texts(row: Episode) -> list[str]:
    # `repr` of a float is read back to the same bits.
    return [json.dumps(value) if isinstance(value, tuple) else "" if value is None else repr(value) for value in row]


def _line(values: Iterable[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(values)
    return out.getvalue().encode()


def _whole_lines(path: Path) -> bytes:
    held = path.read_bytes()
    return held[: held.rfind(b"\n") + 1]


def _parsed(path: Path, text: str) -> Iterator[Episode]:
    lines = csv.reader(io.StringIO(text))
    header = next(lines, None)
    if header is not None and tuple(header) != Episode._fields:
        raise ArtifactError(
            f"{path}: its header is not that of a search ({', '.join(Episode._fields)}). Give the folder of one."
        )
    for number, values in enumerate(lines, start=1):
        try:
            episode, reward, ratio, clean, robust, dense, cost, shares = values
            row = Episode(
                int(episode),
                float(reward),
                float(ratio),
                float(clean) if clean else None,
                float(robust) if robust else None,
                float(dense),
                float(cost),
                tuple(float(share) for share in json.loads(shares)),
            )
            if row.episode != number:
                raise ValueError
        except (ValueError, TypeError) as error:
            raise ArtifactError(
                f"{path}: line {number + 1} is damaged. Remove it and what follows, and search again: the lines above "
                "it are not repeated."
            ) from error
        yield row
