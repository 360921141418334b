"""Labels that a network gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.wrong_inputs import pictures
from torch import nn

from paredown import Runtime, train
from paredown.artifacts import Checkpoint
from paredown.data import ImageDataset, ImagePool, open_data, write_generated
from paredown.data.generated import GeneratedImages
from paredown.errors import DataError, MethodError, ParedownError
from paredown.models import checkpoint_of, load, network
from paredown.models.convnet import ConvNet
from paredown.models.pseudo_labelled import PseudoLabelled
from paredown.testing import check_source

IMAGES = pictures(60, 32)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network for CIFAR-10's form, and images without labels in two files."""
    folder = tmp_path_factory.mktemp("pseudo")
    body = network(ConvNet(width=4), (3, 32, 32), 10, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0).eval()
    with torch.no_grad():
        logits = body(torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255)
        last = [layer for layer in body.modules() if isinstance(layer, nn.Linear)][-1]
        # So that each class is the largest for some.
        last.weight.div_(logits.std(0)[:, None])
        last.bias.sub_(logits.mean(0)).div_(logits.std(0))
    checkpoint_of(body, ConvNet(width=4), 1).save(folder / "checkpoint")
    for number in range(2):
        np.savez(folder / f"{number}.npz", image=IMAGES[30 * number : 30 * number + 30])
    return folder


def expected(place: Path) -> list[int]:
    with torch.no_grad():
        x = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255
        return load(Checkpoint.open(place / "checkpoint"))(x).argmax(1).tolist()


def source(place: Path) -> PseudoLabelled:
    files = GeneratedImages((str(place / "0.npz"), str(place / "1.npz")))
    return PseudoLabelled(files, str(place / "checkpoint"))


def test_each_image_gets_the_class_of_its_largest_logit(place: Path) -> None:
    data = source(place).load()
    assert isinstance(data, ImagePool)
    assert data.labels.tolist() == expected(place) and set(data.labels.tolist()) == set(range(10))
    np.testing.assert_array_equal(data.read(np.arange(60)), IMAGES)
    assert data.ids.pool == source(place).images.unlabelled(0).ids.pool
    check_source(source(place))
    asked = {"name": "generated-images", "path": [str(place / "0.npz"), str(place / "1.npz")]}
    named = open_data({"name": "pseudo-labelled", "images": asked, "checkpoint": str(place / "checkpoint")})
    assert named.identity() == data.identity()


def test_labels_that_stand_there_are_not_looked_at(place: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "labelled.npz", image=IMAGES, label=np.arange(60) % 10)
    images = GeneratedImages(str(tmp_path / "labelled.npz"))
    data = PseudoLabelled(images, str(place / "checkpoint")).load()
    assert data.labels is not None and data.labels.tolist() == expected(place)
    assert data.ids.pool == images.load().ids.pool and data.identity() != images.load().identity()
    noisy = PseudoLabelled(images, str(place / "checkpoint"), noise={"fraction": 0.5})  # type: ignore[arg-type]
    assert noisy.noise is not None


def test_what_was_labelled_once_can_be_kept_and_trained_on(place: Path, tmp_path: Path) -> None:
    data = source(place).load()
    assert isinstance(data, ImagePool)
    again = open_data("generated-images", path=str(write_generated(replace(data), tmp_path / "kept.npz")))
    assert again.labels is not None and again.labels.tolist() == data.labels.tolist()
    real = ImageDataset.from_arrays(pictures(40, 32, seed=1), np.arange(40) % 10, classes=data.classes, name="real")
    made = train(
        real, {"name": "convnet", "width": 4}, {"steps": 2, "batch_size": 10}, extra=data,
        runtime=Runtime(progress=False),
    )  # fmt: skip
    assert made.checkpoint.step == 2


def test_what_cannot_be_labelled_is_refused(place: Path, tmp_path: Path) -> None:
    folder = str(place / "checkpoint")
    with pytest.raises(MethodError, match="takes images of 3×32×32 in 10 classes, and synthetic:train has"):
        open_data("pseudo-labelled", images={"name": "synthetic"}, checkpoint=folder)
    with pytest.raises(DataError, match="and only images are labelled"):
        open_data("pseudo-labelled", images={"name": "synthetic-pairs", "n": 40}, checkpoint=folder)
    with pytest.raises(MethodError, match="noise in them does nothing"):
        open_data("pseudo-labelled", images={"name": "digits", "noise": {"fraction": 0.1}}, checkpoint=folder)
    with pytest.raises(ParedownError, match="no artifact at"):
        open_data("pseudo-labelled", images={"name": "digits"}, checkpoint=str(tmp_path / "none"))
