"""Published sentences: Rotten Tomatoes, IMDB, Adversarial NLI, and whatever the `datasets` library finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from paredown.data.corrupt import LabelNoise
from paredown.data.locate import locate
from paredown.data.sentences import SentenceDataset
from paredown.data.source import AbstractSource
from paredown.data.tables import PART_WORDS, Tables, find_parts
from paredown.data.text import read_sentences
from paredown.errors import DataError, MissingExtra, require


@dataclass(frozen=True)
class RottenTomatoes(AbstractSource):
    """Rotten Tomatoes of Pang and Lee 2005: sentences of film reviews, half of them for and half against the film.

    Args:
        path: folder of the Parquet files; None searches the usual places, then asks the `datasets` library.
        split: train, test, or validation where the files part it from train.
        noise: label noise for the training rows.
    """

    noun: ClassVar[str] = "sentences"
    splits: ClassVar[tuple[str, ...]] = ()

    path: str | None = None
    split: str = "train"
    noise: LabelNoise | None = None

    def read(self, workers: int) -> SentenceDataset:
        return _published(
            self,
            folders=("rotten_tomatoes", "rotten-tomatoes"),
            repository="cornell-movie-review-data/rotten_tomatoes",
            columns=("text", None, "label"),
            classes=("neg", "pos"),
        )


@dataclass(frozen=True)
class Imdb(AbstractSource):
    """IMDB of Maas et al. 2011: 25000 and 25000 film reviews of some 230 words, half of them for and half against.

    Args:
        path: folder of the Parquet files; None searches the usual places, then asks the `datasets` library.
        split: train or test.
        noise: label noise for the training rows.
    """

    noun: ClassVar[str] = "sentences"

    path: str | None = None
    split: Literal["train", "test"] = "train"
    noise: LabelNoise | None = None

    def read(self, workers: int) -> SentenceDataset:
        return _published(
            self,
            folders=("imdb",),
            repository="stanfordnlp/imdb",
            columns=("text", None, "label"),
            classes=("neg", "pos"),
        )


@dataclass(frozen=True)
class Anli(AbstractSource):
    """Adversarial NLI of Nie et al. 2020: does a premise entail a hypothesis that was written to mislead a network?

    Args:
        path: folder of the Parquet files; None searches the usual places, then asks the `datasets` library.
        split: train, validation (published as "dev") or test.
        round: of the three in which it was collected, each against a better network.
        noise: label noise for the training rows.
    """

    noun: ClassVar[str] = "sentences"
    splits: ClassVar[tuple[str, ...]] = ("train", "validation", "test")

    path: str | None = None
    split: Literal["train", "validation", "test"] = "train"
    round: Literal[1, 2, 3] = 3
    noise: LabelNoise | None = None

    def read(self, workers: int) -> SentenceDataset:
        return _published(
            self,
            folders=("anli",),
            repository="facebook/anli",
            columns=("premise", "hypothesis", "label"),
            classes=("entailment", "neutral", "contradiction"),
            of=lambda name: f"_r{self.round}" in name,
        )


@dataclass(frozen=True)
class HuggingFace(AbstractSource):
    """Any sentences by their name on Hugging Face: the `datasets` library looks into its cache, then downloads them.

    Args:
        repository: the name there (`stanfordnlp/sst2`), or a folder that `save_to_disk` wrote.
        config: which configuration, where there are several.
        split: train, test, or another part.
        text_column: where the sentences are; None takes the first column with a usual name.
        pair_column: where the second sentence of each pair is; None takes the usual partner of the first column where
            that was not named.
        label_column: where the labels are; None takes the first column with a usual name.
        noise: label noise for the training rows.
    """

    noun: ClassVar[str] = "sentences"
    splits: ClassVar[tuple[str, ...]] = ()

    repository: str
    config: str | None = None
    split: str = "train"
    text_column: str | None = None
    pair_column: str | None = None
    label_column: str | None = None
    noise: LabelNoise | None = None

    @property
    def where(self) -> str:
        return f"HuggingFace(repository={self.repository!r})"

    def read(self, workers: int) -> SentenceDataset:
        parts, tables = _by_library(self.where, self.repository, self.config)
        stem = self.repository.rstrip("/").rpartition("/")[2]
        columns = (self.text_column, self.pair_column, self.label_column)
        return read_sentences(self, parts, tables, stem=stem, columns=columns)


def _published(
    source: AbstractSource,
    *,
    folders: Sequence[str],
    repository: str,
    columns: tuple[str | None, str | None, str | None],
    classes: Sequence[str],
    of: Callable[[str], bool] = lambda name: True,
) -> SentenceDataset:
    """Reads a split from Parquet files in the usual places, or from what the `datasets` library gives.

    Args:
        source: asks, and makes the data set.
        folders: names of its folder below the usual places.
        repository: its name on Hugging Face.
        columns, classes: as in `read_sentences`.
        of: which file names, or splits of the library, belong to it.
    """
    where, path = source.where, getattr(source, "path", None)

    def find(folder: Path) -> dict[str, list[Path]] | None:
        if not any(True for _ in folder.rglob("*.parquet")):
            return None
        found = {part: [file for file in files if of(file.name)] for part, files in find_parts(where, folder).items()}
        return {part: files for part, files in found.items() if files} or None

    tables = Tables(where)
    try:
        parts = locate(where, path=path, folders=folders, find=find, wants="its Parquet files (train-….parquet, …)")
    except DataError as missing:
        if path is not None:
            raise
        try:
            parts, tables = _by_library(where, repository, None, of=of)
        except (DataError, MissingExtra) as fault:
            looked = str(missing).partition(", and it has")[0]
            raise DataError(f"{looked}, and {str(fault).removeprefix(where + ': ')}") from fault
    return read_sentences(source, parts, tables, stem=source.name, columns=columns, classes=classes, official=True)


def _by_library(
    where: str, repository: str, config: str | None, *, of: Callable[[str], bool] = lambda name: True
) -> tuple[dict[str, list[Path]], Tables]:
    """Gives the parts of a data set that the `datasets` library has or downloads, as tables in memory."""
    datasets: Any = require("datasets", "text")
    try:
        if (Path(repository) / "dataset_dict.json").exists() or (Path(repository) / "dataset_info.json").exists():
            loaded = datasets.load_from_disk(repository)
        else:
            loaded = datasets.load_dataset(repository, config)
    except Exception as error:  # a library that downloads can fail in any way
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise DataError(
            f"{where}: the datasets library does not give '{repository}' ({reason}). Check the name, or put its "
            "Parquet files into a folder and give the path."
        ) from error
    splits = dict(loaded) if isinstance(loaded, dict) else {"all": loaded}
    held: dict[Path, Any] = {}
    parts: dict[str, list[Path]] = {}
    for split, rows in splits.items():
        if of(split):
            metadata = rows.features.arrow_schema.metadata
            held[Path(split)] = rows.with_format("arrow")[:].replace_schema_metadata(metadata)
            word = split.partition("_")[0]
            part = next((part for part, words in PART_WORDS.items() if word in words), split)
            parts.setdefault(part, []).append(Path(split))
    return parts, Tables(where, held)
