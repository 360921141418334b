"""Weights of TorchScript files: the numbers come out, the program is left alone, and SSCD's own forms agree."""

from __future__ import annotations

import io
import pickle
import re
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.tiny_sscd import TinySscd, classy_names, tiny_sscd
from tests.wrong_inputs import pictures
from torch import Tensor, nn
from torch.nn import functional

from paredown.data import ImageDataset
from paredown.embedding import Sscd
from paredown.embedding.torchscript import is_torchscript, tensors_of
from paredown.embedding.vision import read_weights
from paredown.errors import DataError
from paredown.runtime import Runtime

CPU = Runtime(device="cpu", batch_size=5, progress=False)


def scripted(module: nn.Module, file: Path, example: Tensor | None = None) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        made = torch.jit.script(module) if example is None else torch.jit.trace(module, example)
        torch.jit.save(made, str(file))
    return file


class Mixed(nn.Module):
    """Tensors of several types, some of which share their numbers, beside values that are no tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.small = nn.Linear(3, 2).half()
        self.register_buffer("turned", torch.arange(12.0).view(3, 4).T)
        self.register_buffer("every_second", torch.arange(10, dtype=torch.int32)[2:7:2])
        self.register_buffer("none", torch.empty(0))
        self.sizes, self.power = [1, 2], 3.0

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


@pytest.mark.parametrize("traced", [False, True])
def test_it_is_the_modules_state_dict(tmp_path: Path, traced: bool) -> None:
    module = Mixed().eval()
    file = scripted(module, tmp_path / "mixed.pt", torch.zeros(1, 3, 8, 8) if traced else None)
    found, state = read_weights(str(file), "here"), module.state_dict()
    assert found.keys() == state.keys()
    for name, value in state.items():
        assert found[name].dtype == value.dtype
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)


def harmful(file: Path) -> Path:
    """A TorchScript file whose index calls a function when it is unpickled."""

    class Call:
        def __reduce__(self) -> tuple[object, ...]:
            return print, ("it ran",)

    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("harm/data.pkl", pickle.dumps(Call(), protocol=2))
        archive.writestr("harm/constants.pkl", b"")
    return file


def test_nothing_of_the_file_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = harmful(tmp_path / "harm.pt")
    assert is_torchscript(file)
    with pytest.raises(DataError, match=r"here: harm.pt is TorchScript whose .* cannot be read \(it asks for .*print"):
        read_weights(str(file), "here")
    assert "it ran" not in capsys.readouterr().out


def test_damaged_files_are_told(tmp_path: Path) -> None:
    whole = scripted(Mixed(), tmp_path / "mixed.pt")
    content = io.BytesIO()
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(content, "w") as new:
        for name in old.namelist():
            if not name.endswith("data/1"):
                new.writestr(name, old.read(name))
    (tmp_path / "lacking.pt").write_bytes(content.getvalue())
    with pytest.raises(DataError, match=r"lacking.pt is TorchScript whose weights cannot be read"):
        tensors_of(tmp_path / "lacking.pt", "here")
    with pytest.raises(DataError, match=r"here: empty.pt is TorchScript without weights"):
        tensors_of(scripted(nn.ReLU(), tmp_path / "empty.pt"), "here")


def test_sscd_gives_what_its_program_gives(tmp_path: Path) -> None:
    module = tiny_sscd()
    file = scripted(module, tmp_path / "sscd.torchscript.pt")
    data = ImageDataset.from_arrays(pictures(7, 32), np.arange(7) % 2)
    matrix = Sscd(str(file), size=64).embed(data, runtime=CPU)
    x = torch.from_numpy(data.images).permute(0, 3, 1, 2) / 255
    x = functional.interpolate(x, (64, 64), mode="bilinear", antialias=True).clamp(0, 1)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        wanted = module((x - mean) / std)
    assert matrix.normalised and matrix.metric == "cosine" and matrix.width == 6
    np.testing.assert_allclose(matrix.vectors, wanted, atol=1e-5)


def test_the_square_has_320_pixels() -> None:
    assert Sscd("weights.pt").size == 320


@pytest.mark.parametrize("deep", [False, True])
def test_the_names_of_classy_vision_are_the_same_network(tmp_path: Path, deep: bool) -> None:
    data = ImageDataset.from_arrays(pictures(4, 32), np.arange(4) % 2)
    state = TinySscd(deep=deep).eval().state_dict()
    vectors = []
    for number, names in enumerate((state, classy_names(state, "block{}-"), classy_names(state, ""))):
        torch.save(names, tmp_path / f"{number}.pt")
        vectors.append(Sscd(str(tmp_path / f"{number}.pt"), size=32).embed(data, runtime=CPU).vectors)
    np.testing.assert_array_equal(vectors[1], vectors[0])
    np.testing.assert_array_equal(vectors[2], vectors[0])
    assert any(re.match(r"backbone\.blocks\.0\.block0-0\.", name) for name in classy_names(state, "block{}-"))
