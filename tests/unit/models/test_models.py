"""Architectures: sizes as specified, shapes for every image size, both paddings, both initialisations."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from paredown.errors import MethodError
from paredown.method import build
from paredown.models import ConvNet, Factory, PreActResNet18, ResNet18, ResNet34, ResNet50, SimpleCnn, SmallResNet
from paredown.models.layers import SamePad

NAMES = ["convnet", "preact-resnet18", "resnet18", "resnet34", "resnet50", "simple-cnn", "small-resnet"]
NARROW = {
    "convnet": ConvNet(width=8),
    "preact-resnet18": PreActResNet18(width=4),
    "resnet18": ResNet18(width=4),
    "resnet34": ResNet34(stages=(1, 1), width=4),
    "resnet50": ResNet50(stages=(1, 1, 1), width=4),
    "simple-cnn": SimpleCnn(channels=(4, 6)),
    "small-resnet": SmallResNet(width=4),
}


def size(body: nn.Module) -> int:
    return sum(parameter.numel() for parameter in body.parameters())


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        ("resnet18", 10, 11_173_962),
        ("resnet18", 100, 11_220_132),
        ("resnet50", 10, 23_520_842),
        ("resnet50", 100, 23_705_252),
        ("simple-cnn", 10, 288_298),
    ],
)
def test_parameter_counts_are_the_specified_ones(name: str, classes: int, parameters: int) -> None:
    assert size(build("model", name).build((3, 32, 32), classes)) == parameters


@pytest.mark.parametrize(
    ("name", "parameters"), [("resnet18", 11_689_512), ("resnet34", 21_797_672), ("resnet50", 25_557_032)]
)
def test_with_the_large_stem_they_are_the_networks_for_imagenet(name: str, parameters: int) -> None:
    with torch.device("meta"):
        body = build("model", {"name": name, "stem": "large"}).build((3, 224, 224), 1000)
    assert size(body) == parameters
    assert body.maps(torch.zeros(1, 3, 224, 224, device="meta")).shape[2:] == (7, 7)


@pytest.mark.parametrize("model", [ResNet18, ResNet34, ResNet50])
def test_the_large_stem_quarters_an_image_before_the_first_block(model: type[ResNet18]) -> None:
    small, large = (model(stages=(1,), width=4, stem=stem).build((3, 33, 40), 5) for stem in ("small", "large"))  # type: ignore[arg-type]
    x = torch.rand(2, 3, 33, 40)
    assert small.maps(x).shape[2:] == (33, 40) and large.maps(x).shape[2:] == (9, 10)
    assert large(x).shape == (2, 5)
    torch.testing.assert_close(large(x), large.linear(large.maps(x).mean((2, 3))))


@pytest.mark.parametrize(("name", "floats"), [("resnet18", 9_600), ("resnet50", 53_120)])
def test_normalisation_statistics_are_the_specified_ones(name: str, floats: int) -> None:
    body = build("model", name).build((3, 32, 32), 10)
    assert sum(buffer.numel() for key, buffer in body.named_buffers() if "running" in key) == floats


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 33, 31)])
def test_every_model_gives_logits_at_every_size(name: str, shape: tuple[int, int, int]) -> None:
    body = NARROW[name].build(shape, 7)
    assert body(torch.rand(3, *shape)).shape == (3, 7)


@pytest.mark.parametrize("name", NAMES)
def test_every_model_learns_a_batch_by_heart(name: str) -> None:
    torch.manual_seed(0)
    body = NARROW[name].build((1, 8, 8), 3)
    x, y = torch.randn(12, 1, 8, 8), torch.arange(12) % 3
    optimizer = torch.optim.Adam(body.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(body(x), y).backward()
        optimizer.step()
    assert (body(x).argmax(1) == y).float().mean() > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_plain_data_gives_the_same_model_back(name: str) -> None:
    assert build("model", NARROW[name].plain()) == NARROW[name]


@pytest.mark.parametrize("norm", ["batch", "instance", "group", "layer", "none"])
def test_convnet_takes_every_normalisation(norm: str) -> None:
    body = ConvNet(width=8, depth=3, norm=norm).build((3, 32, 32), 10)
    assert body(torch.rand(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(("side", "convolutions"), [(8, 2), (16, 2), (28, 3), (32, 3), (64, 4)])
def test_convnet_depth_follows_the_image(side: int, convolutions: int) -> None:
    body = ConvNet(width=8).build((3, side, side), 10)
    assert sum(isinstance(layer, nn.Conv2d) for layer in body.modules()) == convolutions


@pytest.mark.parametrize(("side", "pads"), [(8, (0, 1)), (7, (1, 1)), (32, (0, 1)), (1, (1, 1))])
def test_same_padding_puts_the_odd_pixel_last(side: int, pads: tuple[int, int]) -> None:
    padded = SamePad(3, 2)(torch.ones(1, 1, side, side))[0, 0]
    before, after = pads
    assert padded.shape == (side + before + after,) * 2
    assert padded[: before or None].sum() == (0 if before else side * side)
    assert padded[before : before + side, before : before + side].sum() == side * side


def test_the_two_paddings_share_weights_and_differ_on_even_sizes() -> None:
    x = torch.rand(2, 3, 8, 8)
    symmetric = ResNet18(width=4).build((3, 8, 8), 5).eval()
    same = ResNet18(width=4, padding="same").build((3, 8, 8), 5).eval()
    same.load_state_dict(symmetric.state_dict())
    assert not torch.allclose(symmetric(x), same(x))
    # Sizes 5, 3, 2 on the way down: odd ones pad alike, and the even one is the last.
    one_halving = ResNet18(stages=(1, 1), width=4).build((3, 5, 5), 5).eval()
    same = ResNet18(stages=(1, 1), width=4, padding="same").build((3, 5, 5), 5).eval()
    same.load_state_dict(one_halving.state_dict())
    torch.testing.assert_close(one_halving(x[:, :, :5, :5]), same(x[:, :, :5, :5]))


def test_lecun_initialisation_is_cut_and_starts_bottlenecks_as_their_shortcut() -> None:
    body = ResNet50(init="lecun").build((3, 32, 32), 10)
    kernel = body.blocks[0].conv2.weight
    deviation = (1 / (64 * 9)) ** 0.5
    assert kernel.std().item() == pytest.approx(deviation, rel=0.02)
    assert kernel.abs().max().item() <= 2 * deviation / 0.8796
    assert body.linear.bias.abs().max() == 0
    assert all(block.norm3.weight.abs().max() == 0 for block in body.blocks)
    assert all(block.norm2.weight.min() == 1 for block in ResNet18(init="lecun").build((3, 32, 32), 10).blocks)


def test_he_initialisation_keeps_every_scale_at_one() -> None:
    body = ResNet50().build((3, 32, 32), 10)
    assert body.blocks[0].conv2.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert all(block.norm3.weight.min() == 1 for block in body.blocks)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: ResNet18(stages=()), r"ResNet18\(stages=\(\)\): every stage needs at least one block"),
        (lambda: ResNet50(width=0), r"ResNet50\(width=0\): the first stage needs at least one channel"),
        (lambda: ConvNet(width=0), r"ConvNet\(width=0, depth=None\): there is no network without channels"),
        (lambda: SimpleCnn(channels=()), r"SimpleCnn\(channels=\(\)\): every pair of convolutions needs"),
        (lambda: SmallResNet(width=-1), r"SmallResNet\(width=-1\): the stem needs at least one channel"),
        (
            lambda: ConvNet(depth=4).build((1, 8, 8), 10),
            r"8x8 pixels cannot be halved 4 times. Use a depth of at most 3",
        ),
    ],
)
def test_nonsense_is_refused_in_words(make, sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        make()


def test_a_function_outside_the_tree_is_a_model(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "their_nets.py").write_text(
        "from torch import nn\n"
        "def flat(shape, classes, hidden=4):\n"
        "    c, h, w = shape\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(c * h * w, hidden), nn.Linear(hidden, classes))\n"
        "def fixed():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))\n"
        "def torchlike(num_classes=1000):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))\n"
        "def text():\n    return 'net'\n"
        "number = 7\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    shape = (1, 8, 8)
    assert build("model", "their_nets:flat").build(shape, 5)(torch.rand(2, *shape)).shape == (2, 5)
    wide = build("model", {"name": "their_nets:flat", "hidden": 9})
    assert wide == Factory("their_nets:flat", {"hidden": 9})
    assert size(wide.build(shape, 5)) == 64 * 9 + 9 + 9 * 5 + 5
    assert Factory("their_nets:fixed").build(shape, 3)(torch.rand(2, *shape)).shape == (2, 3)
    assert Factory("their_nets:torchlike").build(shape, 6)(torch.rand(2, *shape)).shape == (2, 6)
    assert build("model", wide.plain()) == wide and isinstance(hash(wide), int)

    for make, sentence in [
        (lambda: Factory("their_nets:fixed").build(shape, 4), r"two images gave \(2, 3\), and logits for 4 classes"),
        (lambda: Factory("their_nets:text").build(shape, 4), r"the function gave str, and a network is a torch"),
        (lambda: Factory("their_nets:number").build(shape, 4), r"it is int, not a function"),
        (lambda: Factory("their_nets:flat", {"hiden": 1}).build(shape, 4), r"no 'hiden'. Did you mean 'hidden'"),
        (lambda: Factory("their_nets:flta").build(shape, 4), r"has no 'flta'. Did you mean 'flat'"),
        (lambda: Factory("no_such_nets:flat").build(shape, 4), r"no module 'no_such_nets'"),
    ]:
        with pytest.raises(MethodError, match=sentence):
            make()
