"""Exported networks: the logits of the network, any batch, the same bytes, nothing of the machine."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.pruning.test_compact import drawn
from tests.unit.sparsity.networks import NARROW, narrow
from torch import Tensor, nn

from paredown import Runtime, Store, errors, export
from paredown.artifacts import Checkpoint, Exported
from paredown.errors import ArtifactError, MethodError, MissingExtra
from paredown.method import build
from paredown.models import checkpoint_of, load, network
from paredown.pruning import export as module
from paredown.pruning.compact import compacted
from paredown.pruning.export import exported, onnx_session

# What exporters deprecate within themselves is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")
ONNX, PROGRAM = "network.onnx", "network.pt2"


def small(name: str) -> Checkpoint:
    before = checkpoint_of(narrow(name), NARROW[name], 3)
    return compacted(before, drawn(before, 0)[0])


@pytest.mark.parametrize("name", ["resnet18", "vgg16_bn"])
def test_onnx_gives_the_logits_of_the_compacted_network(name: str) -> None:
    pytest.importorskip("onnxruntime")
    checkpoint = small(name)
    made = exported(checkpoint, ["onnx"])
    run, net = onnx_session(made.files[ONNX], threads=1), load(checkpoint)
    for count in (1, 3):
        x = torch.rand(count, *checkpoint.shape, generator=torch.Generator().manual_seed(count))
        with torch.no_grad():
            assert np.abs(run(x.numpy()) - net(x).numpy()).max() <= 1e-4
    assert made.about[ONNX]["difference"] <= 1e-4 and made.bytes_of(ONNX) == len(made.files[ONNX])
    assert exported(checkpoint, ["onnx"]) == made  # to the byte
    content = bytes(made.files[ONNX])
    assert not [word for word in (b"site-packages", b".py", b"/tmp", b"/home", b"paredown") if word in content]


def test_a_program_of_torch() -> None:
    checkpoint = small("wrn_28_4")
    made = exported(checkpoint, ["torch"])
    assert list(made.files) == [PROGRAM]
    content = bytes(made.files[PROGRAM])
    run, net = torch.export.load(io.BytesIO(content)).module(), load(checkpoint)
    x = torch.rand(4, *checkpoint.shape)
    with torch.no_grad():
        torch.testing.assert_close(run(x), net(x), atol=1e-5, rtol=1e-5)
    assert exported(checkpoint, ["torch"]) == made
    assert not [word for word in (b"site-packages", b".py", b"/tmp", b"/home") if word in content]


def test_the_verb_leaves_files(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(narrow("resnet18"), NARROW["resnet18"], 3)
    how = Runtime(progress=False)
    made = Store(tmp_path).make(export, checkpoint=checkpoint, formats="torch", runtime=how)  # type: ignore[arg-type]
    assert isinstance(made, Exported)
    path = made.path(PROGRAM)
    assert path.parent == tmp_path / str(made.address) and path.stat().st_size == made.bytes_of(PROGRAM)
    assert "network.pt2" in made.describe() and made.checkpoint == checkpoint.digest()
    with pytest.raises(ArtifactError, match=r"there is no 'network.onnx'. There are: network.pt2"):
        made.path(ONNX)
    with pytest.raises(ArtifactError, match=r"lies in memory"):
        export(checkpoint, ["torch"]).path(PROGRAM)


def test_both_formats_unless_one_is_named() -> None:
    pytest.importorskip("onnxscript")
    both = export(checkpoint_of(narrow("resnet18"), NARROW["resnet18"], 3), runtime=Runtime(progress=False))
    assert set(both.files) == {ONNX, PROGRAM}


class Depends(nn.Module):
    """Decides by what it computes."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.mean((2, 3))
        return self.linear(x if float(x.sum()) > 0 else -x)


def test_what_cannot_be_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = checkpoint_of(narrow("resnet18"), NARROW["resnet18"], 3)
    for formats, sentence in (([], "no format is asked for"), (["onxx"], "'onxx' is not a format")):
        with pytest.raises(MethodError, match=sentence):
            exported(checkpoint, formats)  # type: ignore[arg-type]
    model = build("model", {"name": "tests.unit.pruning.test_export:Depends"})
    made = network(model, (3, 4, 4), 2, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0)
    with pytest.raises(MethodError, match=r"Depends cannot be exported: .* must not depend on the values"):
        exported(checkpoint_of(made, model, 0), ["torch"])
    words = Checkpoint({"name": "transformer"}, shape=(1,), classes=2, weights={}, step=0)
    with pytest.raises(MethodError, match=r"this one takes sentences"):
        exported(words)
    monkeypatch.setattr(module, "TOLERANCE", -1.0)
    with pytest.raises(MethodError, match=r"logits of network.pt2 lie .* more than rounding"):
        exported(checkpoint, ["torch"])


def test_a_file_of_onnx_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(module, "LARGEST", 1000)
    with pytest.raises(MethodError, match=r"holds less than 2 GiB"):
        exported(checkpoint_of(narrow("resnet18"), NARROW["resnet18"], 3), ["onnx"])


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "require", lambda name, extra: errors.require(f"{name}_that_is_not_there", extra))
    with pytest.raises(MissingExtra, match=r"pip install 'paredown\[export\]'"):
        exported(checkpoint_of(narrow("resnet18"), NARROW["resnet18"], 3), ["onnx"])
