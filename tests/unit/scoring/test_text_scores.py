"""Scores of sentences: gradient norms in closed form, and every score of a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from paredown.data.sentences import SentenceDataset
from paredown.models.transformer import Transformer
from paredown.runtime import Runtime
from paredown.scoring.base import score_model
from paredown.scoring.errors import El2n, Entropy, Loss
from paredown.scoring.gradients import Grand, LastLayerGrand, gradient_norms

pytest.importorskip("tokenizers")
TEXTS = [
    "the film is warm and funny",
    "the film is dull",
    "dull dull dull and the plot is dull",
    "a warm plot",
    "funny",
    "the plot of the film is cold and the cast of the film is cold",
]
CPU = Runtime(device="cpu", progress=False)


def data(*, pairs: bool) -> SentenceDataset:
    return SentenceDataset.from_lists(TEXTS, [0, 1, 1, 0, 0, 1], pairs=TEXTS[::-1] if pairs else None)


def by_backward(network: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> list[float]:
    """One backward pass an example."""
    norms = []
    for one, label in zip(x.split(1), y.split(1), strict=True):
        network.zero_grad()
        functional.cross_entropy(network(one), label).backward()
        norms.append(sum(float(p.grad.double().square().sum()) for p in network.parameters()) ** 0.5)
    return norms


@pytest.mark.parametrize("pairs", [False, True])
def test_gradient_norms_of_a_transformer_have_closed_forms(pairs: bool) -> None:
    sentences = data(pairs=pairs)
    network = Transformer(width=16, depth=2, heads=2, vocabulary=300).start(sentences, 3).eval()
    x, y = network.inputs(sentences, torch.device("cpu")).batch(np.arange(6))
    found = gradient_norms(network, x, y)
    assert found.general == ()
    np.testing.assert_allclose(found.total().sqrt().numpy(), by_backward(network, x, y), rtol=1e-4)


@pytest.mark.parametrize("scorer", [El2n(), Loss(), Entropy(), LastLayerGrand(), Grand()], ids=lambda s: s.name)
def test_no_score_depends_on_the_batch(scorer: object) -> None:
    sentences = data(pairs=True)
    network = Transformer(width=16, depth=1, heads=2, vocabulary=300).start(sentences, 0)
    whole = score_model(scorer, network, sentences, runtime=CPU)  # type: ignore[arg-type]
    alone = score_model(scorer, network, sentences, runtime=Runtime(device="cpu", progress=False, batch_size=1))  # type: ignore[arg-type]
    assert whole.shape == (6,) and np.ptp(whole) > 0
    np.testing.assert_allclose(whole, alone, rtol=1e-4)


class Bag(torch.nn.Module):
    """The sum of the words' vectors."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = torch.nn.Embedding(9, 4, **options)  # type: ignore[arg-type]
        self.head = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.words(x)
        return self.head(torch.tanh(found).sum(1) if found.dim() == 3 else torch.tanh(found))


@pytest.mark.parametrize(
    ("options", "shape", "general"),
    [
        ({}, (5, 6), ()),
        ({}, (5,), ()),
        ({"padding_idx": 2}, (5, 6), ()),
        ({"scale_grad_by_freq": True}, (5, 6), ("words.weight",)),
    ],
)
def test_the_gradient_norm_of_an_embedding(options: dict[str, object], shape: tuple[int, ...], general: object) -> None:
    network = Bag(**options).eval()
    # Few words, so that most stand in a sentence several times.
    x, y = torch.randint(1, 4, shape, generator=torch.Generator().manual_seed(1)), torch.arange(5) % 3
    found = gradient_norms(network, x, y)
    assert found.general == general
    np.testing.assert_allclose(found.total().sqrt().numpy(), by_backward(network, x, y), rtol=1e-4)
