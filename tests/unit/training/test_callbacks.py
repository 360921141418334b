from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from paredown.errors import DataError, MissingExtra
from paredown.training import Recorder
from paredown.training.callbacks import hugging_face_callback, lightning_callback
from paredown.training.observations import observe

# Both libraries warn about their own dependencies, which is no business of these tests.
pytestmark = pytest.mark.filterwarnings("ignore")


class Sentences(Dataset):
    """Twenty-two sentences of six tokens, three classes, and an id apart from the position."""

    def __init__(self, columns: tuple[str, ...] = ("input_ids", "labels", "ids")) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return 22

    def __getitem__(self, row: int) -> dict[str, Any]:
        whole = {"input_ids": torch.arange(6) + row % 5, "labels": row % 3, "ids": 100 + row}
        return {name: whole[name] for name in self.columns}


def bert_trainer(folder: Path, recorder: Recorder, data: Dataset, **options: Any) -> Any:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=16,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        num_labels=3,
        max_position_embeddings=8,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    arguments = {
        "remove_unused_columns": False,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "learning_rate": 0.0,
    } | options
    return transformers.Trainer(
        model=transformers.BertForSequenceClassification(config),
        args=transformers.TrainingArguments(
            output_dir=str(folder), report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True, **arguments
        ),
        train_dataset=data,
        eval_dataset=data,
        callbacks=[hugging_face_callback(recorder)],
    )


def test_hugging_faces_trainer_is_recorded_and_its_evaluations_are_not(tmp_path: Path) -> None:
    recorder = Recorder(range(100, 122))
    trainer = bert_trainer(tmp_path, recorder, Sentences(), eval_strategy="epoch")
    trainer.evaluate()
    trainer.train()
    trainer.evaluate()
    dynamics = recorder.finish()
    assert len(dynamics) == 2
    data = Sentences()
    inputs = torch.stack([data[row]["input_ids"] for row in range(22)])
    with torch.no_grad():
        logits = trainer.model.eval()(input_ids=inputs).logits
    expected = observe(logits, torch.arange(22) % 3)
    for epoch in dynamics:  # a learning rate of zero, so every epoch saw the same network
        np.testing.assert_allclose(epoch["margin"], expected["margin"], atol=1e-5)


@pytest.mark.parametrize("missing", ["ids", "labels"])
def test_a_column_that_hugging_faces_trainer_never_got_is_named(tmp_path: Path, missing: str) -> None:
    columns = tuple(name for name in ("input_ids", "labels", "ids") if name != missing)
    trainer = bert_trainer(tmp_path, Recorder(range(100, 122)), Sentences(columns))
    with pytest.raises(DataError, match=f"the batch has no column '{missing}'"):
        trainer.train()


def test_a_trainer_that_would_drop_the_ids_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Set TrainingArguments\(remove_unused_columns=False\)"):
        bert_trainer(tmp_path, Recorder(range(22)), Sentences(), remove_unused_columns=True)


def lightning_fit(recorder: Recorder, given: tuple[str, ...]) -> tuple[nn.Linear, TensorDataset]:
    lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

    class Linear(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def training_step(self, batch: Any, number: int) -> dict[str, torch.Tensor]:
            x, labels, ids = batch
            logits = self.layer(x)
            whole = {"logits": logits, "labels": labels, "ids": ids}
            return {"loss": nn.functional.cross_entropy(logits, labels)} | {name: whole[name] for name in given}

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.0)

    data = TensorDataset(torch.randn(22, 4), torch.arange(22) % 3, torch.arange(22))
    module = Linear()
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[lightning_callback(recorder)],
    )
    trainer.fit(module, DataLoader(data, batch_size=4, shuffle=True))
    return module.layer, data


def test_lightnings_trainer_is_recorded() -> None:
    recorder = Recorder(range(22))
    layer, data = lightning_fit(recorder, ("logits", "labels", "ids"))
    dynamics = recorder.finish()
    x, labels, _ = data.tensors
    expected = observe(layer(x), labels)
    assert len(dynamics) == 2
    for epoch in dynamics:
        np.testing.assert_allclose(epoch["loss"], expected["loss"], atol=1e-6)


def test_a_lightning_step_that_gives_too_little_is_told_what_to_give() -> None:
    with pytest.raises(DataError, match="training_step gave no logits and no ids"):
        lightning_fit(Recorder(range(22)), ("labels",))


@pytest.mark.parametrize(
    ("module", "make", "match"),
    [
        ("transformers", hugging_face_callback, r"transformers is needed here.*paredown\[text\]"),
        ("lightning", lightning_callback, r"lightning is needed here.*paredown\[lightning\]"),
    ],
)
def test_a_library_that_is_not_installed_is_named(monkeypatch, module: str, make: Any, match: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"{module}.pytorch", raising=False)
    with pytest.raises(MissingExtra, match=match):
        make(Recorder(range(3)))
