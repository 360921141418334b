"""A pretrained transformer of the `transformers` library that learns to classify sentences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from paredown.artifacts.checkpoint import Checkpoint
from paredown.data.dataset import LearnableDataset
from paredown.errors import MethodError, require
from paredown.models.build import AbstractModel
from paredown.models.published import arguments, content_of, folder_of, from_library, silent, tokenizer_of
from paredown.models.tokens import SentenceNetwork, as_text
from paredown.rng import key


class Classifier(nn.Module):
    """A sequence classifier of the library, as a network from tokens to logits.

    Args:
        model: of the library.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(**arguments(x, self.model.config)).logits


@dataclass(frozen=True)
class Pretrained(AbstractModel):
    """A pretrained transformer with a new classifier on top, fine-tuned as a whole (RoBERTa, Liu et al. 2019).

    Every checkpoint holds settings and tokenizer beside its weights, so that the pretrained files are no longer needed.

    Args:
        model: a folder that `save_pretrained` wrote, whose content and not its place identifies it; or a name on
            Hugging Face, which `transformers` looks up in its cache and downloads. Weights are safetensors.
        length: tokens of an example, at most; what is longer is cut, of a pair the longer sentence first.
        revision: of the files, for a name; none takes the newest.
    """

    takes: ClassVar[str] = "sentences"
    usual: ClassVar[Mapping[str, Any]] = {
        "batch_size": 16,
        "optimizer": {"name": "adamw", "lr": 2e-5, "weight_decay": 0.0},
        "schedule": {"name": "linear"},
    }

    model: str = "roberta-base"
    length: int = 128
    revision: str | None = None

    def __post_init__(self) -> None:
        if self.length < 8:
            raise MethodError(f"Pretrained(length={self.length}): at least 8 tokens are needed.")

    def identity(self) -> dict[str, Any]:
        folder = folder_of(self.model)
        return super().identity() | ({} if folder is None else {"model": f"sha256:{content_of(folder)}"})

    def build(self, shape: Any, classes: int) -> nn.Module:
        return Classifier(self._pretrained(classes))

    def _pretrained(self, classes: int) -> Any:
        # In float32, whatever the files hold: what is fine-tuned in half precision loses small steps.
        return from_library(
            self._owner,
            "AutoModelForSequenceClassification",
            self.model,
            revision=self.revision,
            num_labels=classes,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
        ).float()

    def start(self, data: LearnableDataset, seed: int) -> SentenceNetwork:
        self.refuse_other_data(data)
        tokenizer, longest = tokenizer_of(self._owner, self.model, revision=self.revision)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(seed, "init"))
            made = self._pretrained(len(data.classes))
        longest = min(longest, made.config.max_position_embeddings)
        if self.length > longest:
            raise MethodError(f"Pretrained(length={self.length}): {self.model} takes {longest} tokens at most.")
        settings = json.dumps(made.config.to_dict() | {"_name_or_path": ""}, sort_keys=True)
        return self._network(Classifier(made), tokenizer, settings, data.shape, len(data.classes))

    def empty(self, checkpoint: Checkpoint) -> SentenceNetwork:
        transformers = require("transformers", "text")
        text = as_text(checkpoint.weights["config"])
        settings = json.loads(text)
        with silent(transformers):
            config = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
            body = Classifier(transformers.AutoModelForSequenceClassification.from_config(config).float())
        tokenizer = as_text(checkpoint.weights["tokenizer"])
        return self._network(body, tokenizer, text, checkpoint.shape, checkpoint.classes)

    @property
    def _owner(self) -> str:
        return f"Pretrained(model={self.model!r})"

    def _network(
        self, body: nn.Module, tokenizer: str, config: str, shape: tuple[int, ...], classes: int
    ) -> SentenceNetwork:
        return SentenceNetwork(
            body,
            tokenizer=tokenizer,
            shape=shape,
            classes=classes,
            length=self.length,
            pad=json.loads(config).get("pad_token_id") or 0,
            config=config,
        )
