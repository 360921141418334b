"""Networks on sentences: tokens, and the small transformer, whose checkpoint needs nothing beside it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paredown.artifacts.checkpoint import Checkpoint
from paredown.data import ImageDataset, SentenceDataset, open_data
from paredown.errors import MethodError
from paredown.models import Transformer, features, inputs, last_linear, load, save
from paredown.models.tokens import as_text, opened
from paredown.models.transformer import learnt_tokenizer

pytest.importorskip("tokenizers")
SMALL = Transformer(width=16, depth=2, heads=2, vocabulary=400, length=12)


def sentences(*, pairs: bool = False, n: int = 40) -> SentenceDataset:
    data = open_data("synthetic-sentences", n=n, words=12)
    assert isinstance(data, SentenceDataset)
    texts = data.read(np.arange(n))
    return SentenceDataset.from_lists(texts, data.labels, pairs=texts[::-1] if pairs else None)


# Tokens --------------------------------------------------------------------------------------------------------------


def test_a_batch_is_as_long_as_its_longest_sentence() -> None:
    data = SentenceDataset.from_lists(["ba ba ba", "ba", "de " * 50], [0, 1, 0])
    network = SMALL.start(data, 0)
    made = inputs(network, data)
    x, y = made.batch(np.array([1, 0]))
    assert x.dtype == torch.int32 and x.shape == (2, 2, 5) and y.tolist() == [1, 0]
    assert x[:, 1].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]] and (x[0, 0, 3:] == network.pad).all()
    named = opened(as_text(network.tokenizer))
    assert [named.id_to_token(token) for token in x[1, 0].tolist()] == ["[CLS]", "ba", "ba", "ba", "[SEP]"]
    assert made.batch(np.array([2]))[0].shape[2] == SMALL.length


def test_of_a_pair_the_longer_sentence_is_cut_first() -> None:
    data = SentenceDataset.from_lists(["ba de"] * 2, [0, 1], pairs=["fi " * 30, "fi"])
    x, _ = inputs(SMALL.start(data, 0), data).batch(np.array([0, 1]))
    assert x.shape[2] == SMALL.length
    assert (x[0, 1] == 1).sum() == 4 and (x[0, 1] == 2).sum() == SMALL.length - 4
    assert x[1, 1].tolist() == [1, 1, 1, 1, 2, 2] + [0] * (SMALL.length - 6)


def test_many_chunks_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    data = sentences()
    network = SMALL.start(data, 0)
    whole = inputs(network, data).batch(np.arange(40))[0]
    monkeypatch.setattr("paredown.models.tokens.CHUNK", 7)
    assert torch.equal(inputs(network, data).batch(np.arange(40))[0], whole)


def test_other_data_are_refused() -> None:
    network = SMALL.start(sentences(), 0)
    images = ImageDataset.from_arrays(np.zeros((4, 8, 8), np.uint8), np.arange(4) % 2, name="dots")
    with pytest.raises(MethodError, match="takes sentences, and lists has pairs of sentences"):
        inputs(network, sentences(pairs=True))
    with pytest.raises(MethodError, match=r"takes sentences, and dots has images of 1×8×8"):
        inputs(network, images)
    with pytest.raises(MethodError, match="Transformer learns from sentences, and dots has images"):
        SMALL.start(images, 0)


# The small transformer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pairs", [False, True])
def test_a_sentence_means_the_same_beside_longer_ones(pairs: bool) -> None:
    data = sentences(pairs=pairs)
    network = SMALL.start(data, 0).eval()
    made = inputs(network, data)
    with torch.no_grad():
        together = network(made.batch(np.arange(8))[0])
        alone = torch.cat([network(made.batch(np.array([row]))[0]) for row in range(8)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_the_last_layer_sees_one_vector_a_sentence() -> None:
    data = sentences()
    network = SMALL.start(data, 0).eval()
    deep, logits = features(network, inputs(network, data).batch(np.arange(5))[0])
    assert deep.shape == (5, 16) and logits.shape == (5, 4)
    torch.testing.assert_close(last_linear(network)(deep), logits)


def test_a_checkpoint_is_whole_by_itself(tmp_path: Path) -> None:
    data, other = sentences(pairs=True), sentences(pairs=True, n=12)
    network = SMALL.start(data, 5).eval()
    save(network, SMALL, 3, tmp_path / "checkpoint")
    stored = Checkpoint.open(tmp_path / "checkpoint")
    assert stored.shape == (2,) and "pairs of sentences" in stored.describe()
    again = load(stored)
    x, _ = inputs(again, other).batch(np.arange(12))
    assert torch.equal(x, inputs(network, other).batch(np.arange(12))[0])
    assert torch.equal(again(x), network(x))


def test_the_seed_decides_the_weights_and_the_data_the_vocabulary() -> None:
    first, same, other = SMALL.start(sentences(), 0), SMALL.start(sentences(), 0), SMALL.start(sentences(), 1)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), same.state_dict().values(), strict=True))
    assert torch.equal(first.tokenizer, other.tokenizer)
    assert not torch.equal(last_linear(first).weight, last_linear(other).weight)
    assert as_text(first.tokenizer) != as_text(SMALL.start(sentences(n=12), 0).tokenizer)


def test_the_vocabulary_does_not_depend_on_the_process_nor_listing_models_on_its_library() -> None:
    program = (
        "import sys, hashlib, paredown.models; from paredown import open_data\n"
        "assert not {'tokenizers', 'transformers', 'datasets'} & sys.modules.keys()\n"
        "from paredown.models.transformer import learnt_tokenizer\n"
        "print(hashlib.sha256(learnt_tokenizer(open_data('synthetic-sentences'), 500).encode()).hexdigest())"
    )
    threads = {"RAYON_NUM_THREADS": "3", "PYTHONHASHSEED": "3", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=threads)
    data = open_data("synthetic-sentences")
    assert isinstance(data, SentenceDataset)
    assert done.stdout.strip() == hashlib.sha256(learnt_tokenizer(data, 500).encode()).hexdigest()


@pytest.mark.parametrize(
    ("field", "value"), [("width", 0), ("depth", 0), ("heads", 3), ("length", 3), ("vocabulary", 20), ("dropout", 1.0)]
)
def test_senseless_transformers_are_refused(field: str, value: Any) -> None:
    with pytest.raises(MethodError, match=rf"Transformer\(.*{field}={value}"):
        Transformer(**{field: value})


def test_numbers_change_only_with_the_version() -> None:
    data = SentenceDataset.from_lists(["ba de ba fi", "go go", "ba go"], [0, 1, 2])
    network = Transformer(width=8, depth=2, heads=2, vocabulary=300, length=8).start(data, 0).eval()
    with torch.no_grad():
        for place, weight in enumerate(network.parameters()):
            steps = torch.arange(weight.numel()).view(weight.shape)
            weight.copy_(torch.sin(steps * (0.7 + 0.1 * place)) / 2)
        logits = network(inputs(network, data).batch(np.arange(3))[0])
    np.testing.assert_allclose(logits.numpy(), LOGITS, atol=1e-5, err_msg="other numbers: raise the model's version")


LOGITS = [[1.048011, -1.229963, 0.34487], [1.030193, -1.174454, 0.273807], [1.039969, -1.181394, 0.275142]]
