"""The same recorder inside other people's training loops: Hugging Face `Trainer` and Lightning."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from paredown.errors import DataError, require
from paredown.training.record import Recorder


def hugging_face_callback(recorder: Recorder, *, ids: str = "ids", labels: str = "labels") -> Any:
    """Gives a callback for `transformers.Trainer` that records what its training steps see.

    `Trainer` shows callbacks no logits, so the callback listens at the model's forward pass: it takes the column of
    ids out of the arguments before the model sees them, and the logits out of what the model gives. Passes in
    evaluation mode are not recorded. `TrainingArguments(remove_unused_columns=False)` is needed, since `Trainer`
    otherwise drops the ids.

    Args:
        recorder: made with the ids of the training examples.
        ids: the batch's column of ids, one whole number an example.
        labels: the batch's column of labels, one class number an example.

    Raises:
        MissingExtra: transformers is not installed.
    """
    transformers = require("transformers", "text")

    class RecordDynamics(transformers.TrainerCallback):  # type: ignore[name-defined]
        def __init__(self) -> None:
            self.batch: Any = None
            self.training = False

        def on_init_end(self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **_: Any) -> None:
            if model is None:
                return
            if args.remove_unused_columns:
                raise DataError(
                    f"hugging_face_callback(ids={ids!r}): Trainer would drop the ids, which the model does not take. "
                    "Set TrainingArguments(remove_unused_columns=False)."
                )
            model.register_forward_pre_hook(self.before, with_kwargs=True)
            model.register_forward_hook(self.after, with_kwargs=True)

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.training = True

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.training = False

        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            recorder.end_epoch()

        def before(self, model: nn.Module, args: tuple, inputs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
            rest = {name: value for name, value in inputs.items() if name != ids}
            self.batch = inputs.get(ids)
            return args, rest

        def after(self, model: nn.Module, args: tuple, inputs: dict[str, Any], output: Any) -> None:
            if not (self.training and model.training):
                return
            logits = output["logits"] if isinstance(output, dict) else output[1]
            if self.batch is None or labels not in inputs:
                missing = ids if self.batch is None else labels
                raise DataError(
                    f"hugging_face_callback: the batch has no column '{missing}'. Add it to the data set (ids: "
                    "dataset.add_column) and let the collator keep it."
                )
            recorder.update(logits, inputs[labels], self.batch)

    return RecordDynamics()


def lightning_callback(recorder: Recorder) -> Any:
    """Gives a callback for Lightning's `Trainer` that records what its training steps see.

    `training_step` gives a dictionary with `loss` and, beside it, `logits`, `labels` and `ids` of the batch.

    Args:
        recorder: made with the ids of the training examples.

    Raises:
        MissingExtra: lightning is not installed.
    """
    lightning = require("lightning.pytorch", "lightning")

    class RecordDynamics(lightning.Callback):  # type: ignore[name-defined]
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            given = outputs if isinstance(outputs, dict) else {}
            missing = [name for name in ("logits", "labels", "ids") if not torch.is_tensor(given.get(name))]
            if missing:
                raise DataError(
                    f"lightning_callback: training_step gave no {' and no '.join(missing)}. Let it return "
                    "{'loss': …, 'logits': …, 'labels': …, 'ids': …}."
                )
            recorder.update(given["logits"], given["labels"], given["ids"])

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            recorder.end_epoch()

    return RecordDynamics()
