"""The main job on sentences begins with a model and a training that suit them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from paredown import down
from paredown.cli import main
from paredown.flags import Flags

DIALS = {"data": "digits", "keep": [0.3], "seeds": [0], "model": "small-resnet", "training": {"steps": 1000},
         "scorer": "el2n"}  # fmt: skip


def turned(*words: str) -> dict[str, Any]:
    """Gives the dials that a command line turns."""
    parser = Flags("down", "")
    down.add_dials(parser, DIALS, words)
    return down.turned(DIALS, parser.read(words))


def test_sentences_have_a_model_and_a_training_of_their_own() -> None:
    typed = turned("synthetic-sentences")
    assert typed["model"] == "transformer"
    assert typed["training"] == {
        "steps": 1000,
        "batch_size": 64,
        "optimizer": {"name": "adamw", "lr": 1e-3},
        "schedule": {"name": "linear"},
    }
    typed = turned("synthetic-sentences", "--model", "pretrained-text", "--epochs", "3", "--training.batch_size", "8")
    assert typed["model"] == "pretrained-text"
    assert typed["training"]["optimizer"]["lr"] == 2e-5
    assert typed["training"]["epochs"] == 3 and typed["training"]["batch_size"] == 8
    assert "steps" not in typed["training"]
    assert turned("digits") == {"data": "digits"}


def test_the_report_on_sentences_shows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tokenizers")
    monkeypatch.chdir(tmp_path)
    rows = [
        f'{{"text": "<b>{"good" if n % 2 else "bad"} film {n} & more</b>", "label": {n % 2}}}\n' for n in range(100)
    ]
    (tmp_path / "films.jsonl").write_text("".join(rows))
    words = "down films.jsonl --keep 0.5 --seeds 1 --epochs 3 --threads 1 --training.batch_size 20 --model transformer"
    fields = "--model.width 16 --model.heads 2 --model.depth 1 --model.vocabulary 300"
    assert main([*words.split(), *fields.split()]) == 0
    folder = tmp_path / capsys.readouterr().out.splitlines()[-1]
    page = (folder / "report.html").read_text()
    assert "80 sentences in 2 classes" in page and "images" not in page.partition("<body>")[2].partition("<script")[0]
    assert "&lt;b&gt;" in page and "<b>good" not in page and "<b>bad" not in page
    assert page.count("<blockquote title=") == 2 * 12 and 'id="map-text"' in page
    assert len((folder / "kept.txt").read_text().split()) == 40
    kept = pq.read_table(folder / "kept.parquet").to_pydict()
    assert all(
        text.startswith(f"<b>{'good' if label else 'bad'} film")
        for text, label in zip(kept["text"], kept["label"], strict=True)
    )
