"""Sentences: in memory, from tables of every form, by the datasets library, and made by formula."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown.data import LabelNoise, SentenceDataset, open_data
from paredown.data.sentences import Texts
from paredown.data.source import held_out
from paredown.errors import DataError, MethodError

TEXTS = [f"sentence number {row}, “quoted”, it's\nlong" for row in range(20)]
LABELS = [row % 2 for row in range(20)]
NAMES = {"huggingface": json.dumps({"info": {"features": {"label": {"names": ["bad", "good"]}}}})}


def opened(data: Any, **fields: Any) -> SentenceDataset:
    found = open_data(data, **fields)
    assert isinstance(found, SentenceDataset)
    return found


def every(data: SentenceDataset) -> list[Any]:
    return data.read(np.arange(len(data)))


def write(file: Path, table: dict[str, list[Any]], metadata: dict[str, str] | None = None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = pa.table(table).replace_schema_metadata(metadata)
    if file.suffix == ".parquet":
        pq.write_table(rows, file)
    elif file.suffix == ".arrow":
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, rows.schema) as stream:
            stream.write_table(rows)
    elif file.suffix in (".csv", ".tsv"):
        pa.csv.write_csv(rows, file, pa.csv.WriteOptions(delimiter="\t" if file.suffix == ".tsv" else ","))
    elif file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows.to_pylist()))
    else:
        file.write_text(json.dumps(rows.to_pylist()))
    return file


# In memory -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.text(max_size=20), min_size=1, max_size=20))
def test_texts_come_back_as_they_were(texts: list[str]) -> None:
    stored = Texts.of(texts)
    rows = np.arange(len(texts))[::-1]
    readable = [text.encode("utf-8", "replace").decode() for text in texts]
    assert stored.read(rows) == readable[::-1]
    assert stored.lengths.sum() == len(stored.content)


def test_sentences_of_ones_own() -> None:
    data = SentenceDataset.from_lists(TEXTS, LABELS, name="mine", classes=["bad", "good"])
    assert (data.noun, data.shape, data.form, len(data)) == ("sentences", (1,), "sentences", 20)
    assert data.read(np.array([3, 0])) == [TEXTS[3], TEXTS[0]] and data[4] == (TEXTS[4], 0)
    assert data.shown(np.array([1])) == ["sentence number 1, “quoted”, it's long"]
    pairs = SentenceDataset.from_lists(TEXTS, LABELS, pairs=TEXTS[::-1], name="mine")
    assert pairs.shape == (2,) and pairs[0] == ((TEXTS[0], TEXTS[19]), 0) and "pairs of sentences" in repr(pairs)
    again = SentenceDataset.from_lists(TEXTS, LABELS, name="mine")
    changed = SentenceDataset.from_lists([*TEXTS[:-1], "else"], LABELS, name="mine")
    moved = SentenceDataset.from_lists([TEXTS[0] + TEXTS[1][:1], TEXTS[1][1:], *TEXTS[2:]], LABELS, name="mine")
    prints = {d.ids.pool.fingerprint for d in (data, again, pairs, changed, moved)}
    assert len(prints) == 4 and data.ids.pool == again.ids.pool


def test_label_noise_leaves_sentences_and_ids() -> None:
    data = SentenceDataset.from_lists(TEXTS, LABELS)
    noisy = data.with_noise(LabelNoise(fraction=0.5))
    assert every(noisy) == every(data) and noisy.ids.pool == data.ids.pool
    assert noisy.corrupted is not None and noisy.corrupted.sum() == 10
    np.testing.assert_array_equal(noisy.clean_labels, data.labels)
    assert noisy.identity() != data.identity()
    with pytest.raises(MethodError, match="already has noisy labels"):
        noisy.with_noise(LabelNoise())


@pytest.mark.parametrize(
    ("texts", "labels", "sentence"),
    [
        ([], [], "there are no sentences"),
        (["a"], [0, 1], "1 sentences, 2 labels and 2 ids do not pair up"),
        (["a", "b"], [0.5, 1.0], "labels are one whole number a sentence"),
        (["a", "b"], [0, -1], "label -1 of row 1 is out of range"),
    ],
)
def test_what_is_no_data_set_is_refused(texts: list[str], labels: list[Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        SentenceDataset.from_lists(texts, labels)


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".jsonl", ".json", ".csv", ".tsv"])
def test_every_form_of_file_gives_the_same_pool(tmp_path: Path, suffix: str) -> None:
    plain = SentenceDataset.from_lists(TEXTS, LABELS)
    whole = opened(str(write(tmp_path / f"all{suffix}", {"text": TEXTS, "label": LABELS})), split="all")
    assert every(whole) == every(plain) and whole.labels.tolist() == LABELS and whole.classes == ("0", "1")
    first = opened(str(write(tmp_path / "other" / "all.jsonl", {"text": TEXTS, "label": LABELS})), split="all")
    assert whole.ids.pool == first.ids.pool
    train, test = opened(str(tmp_path / f"all{suffix}")), opened(str(tmp_path / f"all{suffix}"), split="test")
    assert (len(train), len(test)) == (16, 4)
    assert every(train) == [TEXTS[row] for row in held_out(plain.labels, "train")]


def test_parts_shards_pairs_and_the_names_of_classes(tmp_path: Path) -> None:
    for shard in (1, 0):
        rows = slice(shard * 10, shard * 10 + 10)
        table = {"premise": TEXTS[rows], "hypothesis": TEXTS[::-1][rows], "label": LABELS[rows]}
        write(tmp_path / f"train-{shard:05d}-of-00002.parquet", table, NAMES)
    write(tmp_path / "validation.parquet", {"premise": ["a"], "hypothesis": ["b"], "label": [1]}, NAMES)
    data, test = opened(str(tmp_path)), opened(str(tmp_path), split="test")
    assert data.shape == (2,) and data[0][0] == (TEXTS[0], TEXTS[19]) and data.classes == ("bad", "good")
    assert data.name == f"{tmp_path.name}:train" and test.name.endswith(":validation") and test[0] == (("a", "b"), 1)
    alone = opened(str(tmp_path), text_column="hypothesis")
    assert alone.shape == (1,) and alone[0][0] == TEXTS[19]
    (tmp_path / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(DataError, match="shard 00000 of 2 is missing"):
        open_data(str(tmp_path))


def test_labels_may_be_words_and_noise_is_for_training(tmp_path: Path) -> None:
    kinds = ["dog", "cat"] * 10
    folder = tmp_path / "pets"
    write(folder / "train.csv", {"review": TEXTS, "class": kinds})
    write(folder / "test.csv", {"review": TEXTS[:1], "class": ["dog"]})
    data = opened(str(folder), noise={"fraction": 0.2})
    assert data.classes == ("cat", "dog") and data.corrupted is not None and data.corrupted.sum() == 4
    assert opened(str(folder), split="test").labels.tolist() == [1]
    with pytest.raises(DataError, match="noise is for training labels"):
        open_data(str(folder), split="test", noise={"fraction": 0.2})


def test_a_folder_of_images_with_a_table_beside_it_stays_one(tmp_path: Path) -> None:
    from paredown.data.source import find_source

    write(tmp_path / "labels.csv", {"text": TEXTS, "label": LABELS})
    assert find_source(str(tmp_path)).name == "sentences"
    (tmp_path / "train" / "cat").mkdir(parents=True)
    assert find_source(str(tmp_path)).name == "folder"


@pytest.mark.parametrize(
    ("table", "fields", "sentence"),
    [
        ({"text": ["a", None], "label": [0, 1]}, {}, r"the text of row 1 in data.jsonl is missing from column 'text'"),
        ({"text": ["a", "b"], "label": [0, 3]}, {"label_column": "lable"}, "no column 'lable'. Did you mean 'label'"),
        ({"text": ["a", "b"], "label": [0, 1]}, {"text_column": "txt"}, "no column 'txt'. Did you mean 'text'"),
        ({"text": ["a", "b"], "label": [0, 1]}, {"pair_column": "txt"}, "no column 'txt'. Did you mean 'text'"),
        ({"words": ["a", "b"], "label": [0, 1]}, {}, r"none of the columns \(words, label\) is called like texts. Set"),
        ({"text": ["a", "b"], "mark": [0, 1]}, {}, r"none of the columns .* like labels. Set label_column"),
        ({"text": [1, 2], "label": [0, 1]}, {}, "column 'text' of type int64 does not hold text"),
        ({"text": ["a", "b"], "label": [0.5, 1]}, {}, "the label of row 0 is 0.5 in column 'label'"),
        ({"text": ["a", "b"], "label": [0, -2]}, {}, "label -2 of row 1 is out of range"),
        ({"text": ["a", "b"], "label": [0, 2]}, {}, r"class 1 \('1'\) has no example"),
        ({"text": ["a", "b"], "label": [-1, -1]}, {}, "data.jsonl has no labels"),
    ],
)
def test_faults_name_the_row_or_the_column(
    tmp_path: Path, table: dict[str, list[Any]], fields: dict[str, Any], sentence: str
) -> None:
    file = write(tmp_path / "data.jsonl", table)
    with pytest.raises(DataError, match=sentence):
        open_data(str(file), split="all", **fields)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", '{"text": "a", "label": 0}\n{"text"', r"a.jsonl cannot be read as jsonl \(line 2 is no JSON"),
        ("a.jsonl", "[1, 2]", "row 0 is not an object with names and values"),
        ("a.json", "[", r"a.json cannot be read as json"),
        ("a.csv", "text,label\na,0,5\n", "a.csv cannot be read as csv"),
        ("a.arrow", "no arrow", "a.arrow cannot be read as arrow"),
        ("a.jsonl", "", "none of the columns"),
    ],
)
def test_damaged_files_are_told(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=sentence):
        open_data(str(tmp_path / name))


def test_an_empty_folder_names_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the folder holds no \.parquet or \.arrow or \.jsonl"):
        open_data({"name": "sentences", "path": str(tmp_path)})


# Published -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own place for published data, and none but it."""
    monkeypatch.setenv("PAREDOWN_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_rotten_tomatoes_and_imdb_lie_in_the_usual_places(shelf: Path) -> None:
    for place, part in (("rotten_tomatoes", "train"), ("rotten_tomatoes", "test"), ("imdb/plain_text", "train")):
        write(shelf / place / f"{part}-00000-of-00001.parquet", {"text": TEXTS, "label": LABELS})
    write(shelf / "imdb/plain_text/unsupervised-00000-of-00001.parquet", {"text": TEXTS, "label": [-1] * 20})
    data = opened("rotten-tomatoes")
    assert data.name == "rotten-tomatoes:train" and data.classes == ("neg", "pos") and every(data) == TEXTS
    assert len(opened("imdb")) == 20 and len(opened("rotten-tomatoes", split="test")) == 20
    with pytest.raises(DataError, match="no split 'validation', only test, train"):
        open_data("rotten-tomatoes", split="validation")


def test_anli_has_three_rounds_of_which_one_is_read(shelf: Path) -> None:
    for turn in (1, 2, 3):
        for part in ("train", "dev", "test"):
            table = {
                "uid": ["x"] * 6,
                "premise": [f"{part} of {turn}"] * 6,
                "hypothesis": list("abcdef"),
                "label": [0, 1, 2] * 2,
                "reason": [""] * 6,
            }
            write(shelf / "anli" / "plain_text" / f"{part}_r{turn}-00000-of-00001.parquet", table)
    assert opened("anli")[0] == (("train of 3", "a"), 0)
    data = opened("anli", split="validation", round=1)
    assert data[1] == (("dev of 1", "b"), 1) and data.classes == ("entailment", "neutral", "contradiction")


def test_what_is_nowhere_says_where_to_put_it(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def unreachable(*_: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(DataError, match=r"Imdb: not found in .*imdb, and the datasets library does not give .*no netw"):
        open_data("imdb")
    with pytest.raises(DataError, match=r"Imdb\(path=.*there is no such folder"):
        open_data("imdb", path=str(shelf / "gone"))


def test_the_datasets_library_serves_what_it_knows(
    tmp_path: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    rows = datasets.Dataset.from_dict({"sentence": TEXTS, "label": LABELS}, features=features)
    parts = datasets.DatasetDict({"train": rows.select(range(10, 20)), "validation": rows.select([3])})
    parts.save_to_disk(str(tmp_path / "saved"))
    data = opened({"name": "hugging-face", "repository": str(tmp_path / "saved")})
    assert every(data) == TEXTS[10:] and data.classes == ("no", "yes") and data.name == "saved:train"
    assert every(opened(str(tmp_path / "saved"), split="test")) == [TEXTS[3]]

    asked: list[Any] = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *names: asked.append(names) or parts)
    again = opened({"name": "hugging-face", "repository": "someone/saved", "config": "small"})
    assert asked == [("someone/saved", "small")] and again.ids.pool == data.ids.pool
    rounds = datasets.DatasetDict(
        {
            name: datasets.Dataset.from_dict({"premise": [name] * 3, "hypothesis": list("abc"), "label": [0, 1, 2]})
            for name in ("train_r1", "train_r3", "dev_r3", "test_r3")
        }
    )
    monkeypatch.setattr(datasets, "load_dataset", lambda *names: rounds)
    assert opened("anli")[0] == (("train_r3", "a"), 0) and opened("anli", split="validation")[0][0][0] == "dev_r3"


def test_synthetic_sentences_can_be_told_by_their_words() -> None:
    train, test = opened("synthetic-sentences", clarity=0.4), opened("synthetic-sentences", clarity=0.4, split="test")
    counts: dict[str, np.ndarray] = {}
    for text, label in zip(every(train), train.labels, strict=True):
        for word in text.split():
            counts.setdefault(word, np.ones(4))[label] += 1
    told = [
        int(
            np.sum(
                [np.log(counts.get(word, np.ones(4)) / counts.get(word, np.ones(4)).sum()) for word in text.split()], 0
            ).argmax()
        )
        for text in every(test)
    ]
    assert 0.8 < (np.array(told) == test.labels).mean() < 1
    with pytest.raises(MethodError, match=r"SyntheticSentences\(clarity=0.9\)"):
        open_data("synthetic-sentences", clarity=0.9)
    with pytest.raises(MethodError, match=r"SyntheticSentences\(n=1\): at least 4"):
        open_data("synthetic-sentences", n=1)


def test_synthetic_sentences_stay_as_they_are() -> None:
    # Scores made on one machine belong to the same sentences on another.
    assert every(opened("synthetic-sentences"))[0] == FIRST_SENTENCE


FIRST_SENTENCE = "bachago basepu bahumi banora bachaba bagopu bagono bachaka banora bagozu bachahu"
