"""Training on sentences: learnt, recorded, interrupted, and done with the settings that fine-tuning asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from paredown import Runtime, embed, evaluate, open_data, score, select, train
from paredown.artifacts import Trained
from paredown.data import LearnableDataset, SentenceDataset
from paredown.data.augment import Augmentation
from paredown.errors import MethodError
from paredown.models import Transformer
from paredown.training import AdamW, Linear, Recording, Training, fit
from paredown.training.loop import Loop

pytest.importorskip("tokenizers")
SMALL = Transformer(width=16, depth=1, heads=2, vocabulary=400, length=24)
RATE = Training(epochs=6, batch_size=32, optimizer=AdamW(lr=5e-3), schedule=Linear())
CPU = Runtime(device="cpu", progress=False, threads=1, precision="float32")


def sentences(split: str = "train", n: int = 256) -> LearnableDataset:
    data = open_data("synthetic-sentences", n=n, classes=2, clarity=0.4, words=12, split=split)
    assert isinstance(data, SentenceDataset)
    return data


def test_from_recorded_training_to_a_subset_that_is_trained_on() -> None:
    data, test = sentences(), sentences("test", 128)
    full = train(data, SMALL, RATE, record=["confidence", "correct", "margin", "loss", "el2n"], runtime=CPU)
    assert evaluate(full.checkpoint, test, runtime=CPU).of("accuracy")[0].value > 0.8
    assert full.dynamics is not None and len(full.dynamics) == 6
    for scorer in ("forgetting", "variability", "correctness", "aum", {"name": "recorded-mean", "quantity": "el2n"}):
        assert np.ptp(score(scorer, dynamics=full.dynamics).values) > 0
    table = score("el2n", checkpoint=full.checkpoint, data=data, runtime=CPU)
    features = embed("penultimate", data=data, checkpoint=full.checkpoint, runtime=CPU)
    assert features.vectors.shape == (256, 16)
    kept = select("lowest", scores=table, data=data, fraction=0.5, by_class=True)
    again = train(data, SMALL, RATE, selection=kept, runtime=CPU)
    assert evaluate(again, test, runtime=CPU).of("accuracy")[0].value > 0.65


def test_recording_by_evaluation_sees_what_scoring_sees(tmp_path: Path) -> None:
    data = sentences(n=64)
    last = Training(steps=4, batch_size=32, optimizer=AdamW(lr=5e-3))
    fit(data, SMALL, last, recording=Recording(by="evaluation"), runtime=CPU, folder=tmp_path)
    made = Trained.adopt(tmp_path)
    assert made.dynamics is not None
    *_, epoch = made.dynamics
    table = score("el2n", checkpoint=made.checkpoint, data=data, runtime=CPU)
    np.testing.assert_allclose(epoch["el2n"], table.values, atol=1e-5)


def test_an_interrupted_training_ends_in_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, recording = sentences(n=96), Recording()
    often = Runtime(device="cpu", progress=False, threads=1, save_seconds=0)
    length = Training(steps=7, batch_size=32, optimizer=AdamW(lr=5e-3))
    fit(data, SMALL, length, recording=recording, runtime=often, folder=tmp_path / "whole")
    take = Loop._take

    def stop(self: Loop, rows: np.ndarray, whole: torch.Tensor) -> None:
        if self.step == 5:
            raise KeyboardInterrupt
        take(self, rows, whole)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_take", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(data, SMALL, length, recording=recording, runtime=often, folder=tmp_path / "stopped")
    fit(data, SMALL, length, recording=recording, runtime=often, folder=tmp_path / "stopped")
    weights = [tmp_path / run / "checkpoint" / "weights.safetensors" for run in ("whole", "stopped")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert Trained.adopt(tmp_path / "whole") == Trained.adopt(tmp_path / "stopped")


def test_dropout_draws_the_same_for_the_same_seed(tmp_path: Path) -> None:
    data, wet = sentences(n=64), Transformer(width=16, depth=1, heads=2, vocabulary=400, length=24, dropout=0.5)
    steps = Training(steps=3, batch_size=32, optimizer=AdamW())
    torch.manual_seed(1)
    first = train(data, wet, steps, seed=4, runtime=CPU)
    torch.manual_seed(2)
    assert train(data, wet, steps, seed=4, runtime=CPU) == first
    assert train(data, wet, steps, seed=5, runtime=CPU) != first


def test_an_average_of_the_weights_is_of_sentences_too() -> None:
    data = sentences(n=64)
    steps = Training(steps=3, batch_size=32, optimizer=AdamW(), average=0.9)
    assert evaluate(train(data, SMALL, steps, runtime=CPU), data, runtime=CPU).of("accuracy")


def test_neither_biases_nor_normalisation_decay() -> None:
    network = SMALL.start(sentences(n=64), 0)
    groups = AdamW(weight_decay=0.1).build(network).param_groups
    decay = {id(weight): group["weight_decay"] for group in groups for weight in group["params"]}
    for layer in network.modules():
        if isinstance(layer, nn.LayerNorm):
            assert decay[id(layer.weight)] == decay[id(layer.bias)] == 0
        elif isinstance(layer, nn.Linear):
            assert decay[id(layer.weight)] == 0.1 and decay[id(layer.bias)] == 0
        elif isinstance(layer, nn.Embedding):
            assert decay[id(layer.weight)] == 0.1


def test_sentences_are_not_augmented() -> None:
    with pytest.raises(MethodError, match="has sentences, and only images are augmented"):
        train(sentences(n=64), SMALL, Training(steps=1, augmentation=Augmentation(crop=1)), runtime=CPU)
