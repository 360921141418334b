"""Encoders from files of weights: the forward pass of the published networks, and nothing in a file is run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.photographs import as_bytes, imagenet_folder, photograph
from tests.wrong_inputs import pictures
from torch import Tensor
from torch.nn import functional

from paredown import embed
from paredown.artifacts import EmbeddingMatrix
from paredown.data import ImageDataset, Square, open_data
from paredown.embedding import PretrainedResNet, Sscd
from paredown.embedding.sscd import generalised_mean
from paredown.embedding.vision import brought, content, read_weights
from paredown.errors import DataError, MethodError
from paredown.models import ResNet18, ResNet50
from paredown.models.torchvision_names import resnet_of
from paredown.runtime import Runtime

CPU = Runtime(device="cpu", batch_size=5, progress=False)


def torchvision_state(*, deep: bool = True, fc: int | None = 16, seed: int = 0) -> dict[str, Tensor]:
    """Random weights of a ResNet-50 (or -18) in torchvision's names, written down without our network."""
    draw = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def norm(name: str, channels: int) -> None:
        state[f"{name}.weight"] = torch.rand(channels, generator=draw) + 0.5
        state[f"{name}.bias"] = torch.randn(channels, generator=draw) / 10
        state[f"{name}.running_mean"] = torch.randn(channels, generator=draw) / 10
        state[f"{name}.running_var"] = torch.rand(channels, generator=draw) + 0.5

    def conv(name: str, outputs: int, inputs: int, kernel: int) -> None:
        spread = (2 / (inputs * kernel * kernel)) ** 0.5
        state[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel, generator=draw) * spread

    conv("conv1", 64, 3, 7)
    norm("bn1", 64)
    inputs = 64
    for stage, blocks in enumerate((3, 4, 6, 3) if deep else (2, 2, 2, 2)):
        width = 64 * 2**stage
        outputs = width * (4 if deep else 1)
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}"
            shapes = (
                [(width, inputs, 1), (width, width, 3), (outputs, width, 1)]
                if deep
                else [(width, inputs, 3), (width, width, 3)]
            )
            for number, shape in enumerate(shapes, start=1):
                conv(f"{name}.conv{number}", *shape)
                norm(f"{name}.bn{number}", shape[0])
            if block == 0 and (stage > 0 or deep):
                conv(f"{name}.downsample.0", outputs, inputs, 1)
                norm(f"{name}.downsample.1", outputs)
            inputs = outputs
    if fc:
        state["fc.weight"] = torch.randn(fc, inputs, generator=draw) / inputs**0.5
        state["fc.bias"] = torch.randn(fc, generator=draw) / 10
    return state


def slow_maps(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The paper's network, function by function, straight from the names."""

    def norm(name: str, x: Tensor) -> Tensor:
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return functional.batch_norm(x, mean, variance, state[f"{name}.weight"], state[f"{name}.bias"])

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        kernel = state[f"{name}.weight"]
        return functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    x = functional.max_pool2d(functional.relu(norm("bn1", conv("conv1", x, 2))), 3, 2, 1)
    for stage in range(1, 5):
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in state:
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            deep = f"{name}.conv3.weight" in state
            out = functional.relu(norm(f"{name}.bn1", conv(f"{name}.conv1", x, 1 if deep else stride)))
            out = norm(f"{name}.bn2", conv(f"{name}.conv2", out, stride if deep else 1))
            if deep:
                out = norm(f"{name}.bn3", conv(f"{name}.conv3", functional.relu(out)))
            if f"{name}.downsample.0.weight" in state:
                x = norm(f"{name}.downsample.1", conv(f"{name}.downsample.0", x, stride))
            x = functional.relu(out + x)
            block += 1
    return x


@pytest.fixture(scope="module")
def deep() -> dict[str, Tensor]:
    return torchvision_state()


def saved(state: dict[str, Any], file: Path) -> str:
    if file.suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    return str(file)


def few(count: int = 3, side: int = 40) -> ImageDataset:
    return ImageDataset.from_arrays(pictures(count, side), np.arange(count) % 2)


# Networks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_deep", [True, False])
def test_a_resnet_in_torchvisions_names_is_built_from_its_shapes(is_deep: bool) -> None:
    state = torchvision_state(deep=is_deep, fc=None if is_deep else 7)
    made = resnet_of(state, "here")
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps = slow_maps(state, x)
        torch.testing.assert_close(made.maps(x), maps, rtol=1e-3, atol=1e-3)
        if not is_deep:
            logits = maps.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]
            torch.testing.assert_close(made(x), logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("model", "is_deep"), [(ResNet50(stem="large"), True), (ResNet18(stem="large"), False)])
def test_it_is_the_network_that_is_trained_here(model: ResNet50 | ResNet18, is_deep: bool) -> None:
    trained = model.build((3, 224, 224), 16)
    made = resnet_of(torchvision_state(deep=is_deep), "here")
    ours, theirs = trained.state_dict(), made.state_dict()
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}


def test_weights_of_another_network_are_told(deep: dict[str, Tensor]) -> None:
    with pytest.raises(DataError, match=r"here: the weights are not those of a ResNet in torchvision's names.*'a.b'"):
        resnet_of({"a.b": torch.zeros(1)}, "here")
    grouped = deep | {"layer1.0.conv2.weight": torch.zeros(128, 4, 3, 3)}
    with pytest.raises(DataError, match="wide or grouped ResNet"):
        resnet_of(grouped, "here")
    lacking = {name: value for name, value in deep.items() if name != "layer3.2.bn1.bias"}
    with pytest.raises(DataError, match=r"the weights hold no 'blocks.9.norm1.bias'"):
        resnet_of(lacking, "here")
    with pytest.raises(DataError, match=r"'linear.weight' has shape \(16, 5\), and this network needs \(16, 2048\)"):
        resnet_of(deep | {"fc.weight": torch.zeros(16, 5)}, "here")
    with pytest.raises(DataError, match=r"the weights hold 'extra.thing', which this network has not"):
        resnet_of(deep | {"extra.thing": torch.zeros(1)}, "here")


# Encoders ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["backbone", "plain"])
def test_sscd_is_trunk_generalised_mean_linear_and_length_1(deep: dict[str, Tensor], tmp_path: Path, name: str) -> None:
    state = {f"backbone.{key}": value for key, value in deep.items()} if name == "backbone" else deep
    data = few()
    matrix = Sscd(saved(state, tmp_path / "sscd.torchvision.pt"), size=64).embed(data, runtime=CPU)
    x = torch.from_numpy(data.images).permute(0, 3, 1, 2) / 255
    x = functional.interpolate(x, (64, 64), mode="bilinear", antialias=True).clamp(0, 1)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    maps = slow_maps(deep, (x - mean) / std)
    pooled = (maps.clamp(min=1e-6) ** 3).flatten(2).mean(2) ** (1 / 3)
    wanted = functional.normalize(pooled @ deep["fc.weight"].T + deep["fc.bias"])
    assert matrix.normalised and matrix.metric == "cosine" and matrix.encoder.startswith("sscd ")
    np.testing.assert_allclose(matrix.vectors, wanted, atol=1e-4)
    np.testing.assert_array_equal(matrix.ids.keys, data.ids.keys)


def test_the_generalised_mean_lies_between_mean_and_maximum() -> None:
    maps = torch.rand(2, 4, 5, 5)
    torch.testing.assert_close(generalised_mean(maps, 1), maps.mean((2, 3)))
    torch.testing.assert_close(generalised_mean(maps, 200), maps.amax((2, 3)), rtol=0.03, atol=0)
    assert torch.equal(generalised_mean(-maps, 3), generalised_mean(torch.zeros_like(maps), 3))


def test_penultimate_features_of_a_file(deep: dict[str, Tensor], tmp_path: Path) -> None:
    root = imagenet_folder(tmp_path / "photos", each=2)
    data = open_data(str(root), size=24, stored=True)
    file = saved(deep, tmp_path / "resnet50.safetensors")
    matrix = PretrainedResNet(file).embed(data, runtime=CPU)
    assert matrix.vectors.shape == (6, 2048) and not matrix.normalised and matrix.metric == "euclidean"
    seen = torch.from_numpy(data.at(Square(224, 256)).read(np.arange(6))).permute(0, 3, 1, 2) / 255  # type: ignore[attr-defined]
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    wanted = slow_maps(deep, (seen - mean) / std).mean((2, 3))
    np.testing.assert_allclose(matrix.vectors, wanted, rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def shallow_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(torchvision_state(deep=False), tmp_path_factory.mktemp("weights") / "resnet18.safetensors")


def test_shards_resume_and_may_be_half_as_large(shallow_file: str, tmp_path: Path) -> None:
    data = few(7, 32)
    encoder = Sscd(shallow_file, size=32, dtype="float16")
    whole = encoder.embed(data, runtime=CPU)
    stored = encoder.embed(data, runtime=CPU, folder=tmp_path / "made")
    assert whole.vectors.dtype == np.float16 and stored == whole and EmbeddingMatrix.open(tmp_path / "made") == whole
    full = Sscd(shallow_file, size=32).embed(data, runtime=CPU)
    np.testing.assert_allclose(full.vectors, np.asarray(whole.vectors, np.float32), atol=1e-3)


def test_bfloat16_where_it_is_asked_for(shallow_file: str) -> None:
    data = few(4, 32)
    exact, coarse = (
        Sscd(shallow_file, size=32).embed(data, runtime=Runtime(device="cpu", precision=precision, progress=False))
        for precision in ("auto", "bfloat16")
    )
    assert not np.array_equal(exact.vectors, coarse.vectors)
    np.testing.assert_allclose(exact.vectors, coarse.vectors, atol=0.05)


def test_grey_images_are_seen_in_colour(shallow_file: str) -> None:
    grey = pictures(2, 32)[..., :1]
    one = ImageDataset.from_arrays(grey, np.array([0, 1]))
    three = ImageDataset.from_arrays(np.repeat(grey, 3, axis=-1), np.array([0, 1]))
    encoder = Sscd(shallow_file, size=32)
    vectors = [encoder.embed(data, runtime=CPU).vectors for data in (one, three)]
    np.testing.assert_allclose(*vectors, atol=1e-6)


@pytest.mark.parametrize("square", [Square(32, 40), Square(48, 48, "bicubic"), Square(24, None), Square(60, 64)])
def test_images_in_memory_are_brought_to_size_as_files_are(square: Square) -> None:
    image = photograph(90, 64)
    from paredown.data.encoded import Held

    out = np.empty((1, square.size, square.size, 3), np.uint8)
    square.decode(Held((as_bytes(image, "PNG"),)), [0], out, where="here")
    x = torch.from_numpy(np.asarray(image).copy())[None].permute(0, 3, 1, 2) / 255
    np.testing.assert_allclose(brought(x, square)[0].permute(1, 2, 0) * 255, out[0], atol=3)


def test_the_content_of_the_file_is_the_identity(shallow_file: str, tmp_path: Path) -> None:
    copied = tmp_path / "copy.safetensors"
    copied.write_bytes(Path(shallow_file).read_bytes())
    assert Sscd(shallow_file).identity() == Sscd(str(copied)).identity()
    assert Sscd(shallow_file).identity() != Sscd(shallow_file, power=2).identity()
    before = content(copied)
    about = copied.stat()
    changed = bytearray(copied.read_bytes())
    changed[-1] ^= 1
    copied.write_bytes(bytes(changed))
    os.utime(copied, ns=(about.st_atime_ns, about.st_mtime_ns + 1_000_000))
    assert content(copied) != before and Sscd(str(copied)).identity() != Sscd(shallow_file).identity()


def test_the_verb_takes_the_name(shallow_file: str) -> None:
    matrix = embed({"name": "sscd", "weights": shallow_file, "size": 32}, data=few(3, 32), runtime=CPU)
    assert matrix.vectors.shape == (3, 16)


# Files ---------------------------------------------------------------------------------------------------------------


def test_a_state_dict_may_lie_under_a_key_or_in_a_folder(tmp_path: Path) -> None:
    state = {"a": torch.arange(3.0)}
    for name, held in (("plain", state), ("nested", {"state_dict": {"module.a": state["a"]}, "epoch": 3})):
        read = read_weights(saved(held, tmp_path / f"{name}.pt"), "here")
        assert list(read) == ["a"] and torch.equal(read["a"], state["a"])
    (tmp_path / "folder").mkdir()
    saved(state, tmp_path / "folder" / "model.safetensors")
    assert list(read_weights(str(tmp_path / "folder"), "here")) == ["a"]


class Harmful:
    ran = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (setattr, (Harmful, "ran", True))


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    torch.save({"a": Harmful()}, tmp_path / "harm.pt")
    with pytest.raises(DataError, match=r"harm.pt is damaged or holds more than tensors"):
        read_weights(str(tmp_path / "harm.pt"), "here")
    assert not Harmful.ran


def test_files_that_are_no_weights_are_told(tmp_path: Path, shallow_file: str) -> None:
    with pytest.raises(DataError, match=r"here: there is no such file. Download the weights"):
        read_weights(str(tmp_path / "none.pt"), "here")
    with pytest.raises(DataError, match=r"here: the folder holds none of model.safetensors"):
        read_weights(str(tmp_path), "here")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(Path(shallow_file).read_bytes()[:1000])
    with pytest.raises(DataError, match=r"cut.safetensors is damaged"):
        read_weights(str(cut), "here")
    torch.save({"epoch": 3}, tmp_path / "numbers.pt")
    with pytest.raises(DataError, match=r"numbers.pt holds no state dict"):
        read_weights(str(tmp_path / "numbers.pt"), "here")
    (tmp_path / "text.pt").write_bytes(b"hello")
    with pytest.raises(DataError, match=r"text.pt is damaged or holds more than tensors"):
        read_weights(str(tmp_path / "text.pt"), "here")


def test_what_cannot_be_embedded_is_said(shallow_file: str, tmp_path: Path, deep: dict[str, Tensor]) -> None:
    with pytest.raises(MethodError, match=r"Sscd\(size=8\): the trunk needs"):
        Sscd(shallow_file, size=8)
    with pytest.raises(MethodError, match=r"Sscd\(power=0\)"):
        Sscd(shallow_file, power=0)
    trunk = {name: value for name, value in deep.items() if not name.startswith("fc.")}
    with pytest.raises(DataError, match=r"no last layer 'fc'"):
        Sscd(saved(trunk, tmp_path / "trunk.pt")).tower()
    big = torchvision_state(deep=False) | {"fc.bias": torch.full((16,), 1e6)}
    with pytest.raises(MethodError, match=r"a vector is not finite in float16"):
        encoder = Sscd(saved(big, tmp_path / "big.safetensors"), size=32, normalise=False, dtype="float16")
        encoder.embed(few(2, 32), runtime=CPU)
