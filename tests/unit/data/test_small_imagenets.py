"""Tiny-ImageNet, Imagenette, Imagewoof, CUB-200 and resized ImageNet, from tiny folders in their published layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.photographs import as_bytes, photograph

from paredown.data import ImageDataset, open_data
from paredown.data.imagenette import NETTE, WOOF
from paredown.errors import DataError, MethodError
from paredown.method import build
from paredown.testing import check_source

WNIDS = ("n01443537", "n01629819", "n01641577")


def opened(name: str, path: Path, **fields: object) -> ImageDataset:
    found = open_data({"name": name, "path": str(path), **fields})
    assert isinstance(found, ImageDataset)
    return found


def write(file: Path, width: int, height: int, seed: int, *, grey: bool = False) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = photograph(width, height, seed)
    file.write_bytes(as_bytes(picture.convert("L") if grey else picture))


def tiny(root: Path, *, annotations: bool = True) -> Path:
    """Two training images and one to test on a class; the first image is grey, as some of the published ones are."""
    (root / "train").mkdir(parents=True)
    (root / "wnids.txt").write_text("\n".join([WNIDS[2], WNIDS[0], WNIDS[1]]))
    (root / "words.txt").write_text(
        "n00000000\tnothing\nn01443537\tgoldfish, Carassius auratus\nn01629819\tfrog\nn01641577\tfrog, bullfrog\n"
    )
    lines = []
    for number, name in enumerate(WNIDS):
        for image in range(2):
            write(root / f"train/{name}/images/{name}_{image}.JPEG", 64, 64, 10 * number + image, grey=not number)
        (root / f"train/{name}/{name}_boxes.txt").write_text(f"{name}_0.JPEG\t0\t0\t63\t63\n")
        write(root / f"val/images/val_{2 - number}.JPEG", 64, 64, 50 + number)
        lines.append(f"val_{2 - number}.JPEG\t{name}\t0\t0\t63\t63")
    if annotations:
        (root / "val/val_annotations.txt").write_text("\n".join(lines) + "\n")
    return root


def test_tiny_imagenet_follows_the_ids(tmp_path: Path) -> None:
    train, test = (opened("tiny-imagenet", tiny(tmp_path / part), split=part) for part in ("train", "test"))
    assert train.classes == ("goldfish", "n01629819", "n01641577") == test.classes
    assert train.shape == (3, 64, 64) and train.mean == (0.4759, 0.4481, 0.3926)
    assert train.augmentation.crop == 8 and train.augmentation.flip
    np.testing.assert_array_equal(train.labels, [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(test.labels, [0, 1, 2])
    assert test.paths == ("val/images/val_2.JPEG", "val/images/val_1.JPEG", "val/images/val_0.JPEG")
    assert train.paths is not None and train.paths[2] == "train/n01629819/images/n01629819_0.JPEG"
    stored = np.asarray(Image.open(tmp_path / "train" / train.paths[2]))
    np.testing.assert_array_equal(train.images[2], stored)
    assert opened("tiny-imagenet", tmp_path / "train", whiten="zca").whiten == "zca"
    by_path = open_data(str(tmp_path / "train"))
    assert by_path.name == "tiny-imagenet:train" and by_path.ids.pool == train.ids.pool
    check_source(build("data", {"name": "tiny-imagenet", "path": str(tmp_path / "train")}))


def test_tiny_imagenet_sorted_into_folders_is_read_too(tmp_path: Path) -> None:
    root = tiny(tmp_path)
    for number, name in enumerate(WNIDS):
        (root / "val" / name / "images").mkdir(parents=True)
        (root / f"val/images/val_{number}.JPEG").rename(root / f"val/{name}/images/val_{number}.JPEG")
    (root / "val/images").rmdir()
    np.testing.assert_array_equal(opened("tiny-imagenet", root, split="test").labels, [0, 1, 2])


def test_tiny_imagenet_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAREDOWN_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"Put wnids\.txt, train/ and val/ as tiny-imagenet-200\.zip unpacks into"):
        open_data("tiny-imagenet")
    root = tiny(tmp_path / "tiny-imagenet-200", annotations=False)
    assert len(open_data("tiny-imagenet")) == 6
    with pytest.raises(DataError, match=r"val/val_annotations\.txt is missing"):
        opened("tiny-imagenet", root, split="test")
    (root / "val/val_annotations.txt").write_text("val_0.JPEG\tn09\n")
    with pytest.raises(DataError, match=r"line 1 of val_annotations\.txt names no class of wnids\.txt, but 'n09'"):
        opened("tiny-imagenet", root, split="test")
    (root / "val/val_annotations.txt").write_text(f"val_9.JPEG\t{WNIDS[0]}\n")
    with pytest.raises(DataError, match=r"val/images/val_9\.JPEG is listed and cannot be read"):
        opened("tiny-imagenet", root, split="test")
    for file in (root / "train" / WNIDS[1] / "images").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="class 'n01629819' has no images in train"):
        opened("tiny-imagenet", root)


def ten(root: Path, names: dict[str, str]) -> Path:
    for part, count in (("train", 2), ("val", 1)):
        for number, name in enumerate(names):
            for image in range(count):
                write(root / f"{part}/{name}/{name}_{image}.JPEG", 60 + 7 * image, 50, 10 * number + image)
    (root / "noisy.csv").write_text("path,label\n")
    return root


@pytest.mark.parametrize(
    ("name", "wnids", "mean", "some"),
    [
        ("imagenette", NETTE, (0.4626, 0.4588, 0.4251), (0, "tench", "n01440764")),
        ("imagewoof", WOOF, (0.4917, 0.4613, 0.3931), (4, "Border terrier", "n02093754")),
    ],
)
def test_ten_classes_of_imagenet(
    name: str, wnids: dict[str, str], mean: tuple[float, ...], some: tuple[int, str, str], tmp_path: Path
) -> None:
    root = ten(tmp_path / f"{name}2-160", wnids)
    train, test = opened(name, root, size=32), opened(name, root, split="test", size=32)
    number, word, wnid = some
    assert train.classes == tuple(wnids.values()) == test.classes and train.classes[number] == word
    assert train.paths is not None and train.paths[2 * number].startswith(f"train/{wnid}/")
    assert list(wnids) == sorted(wnids) and train.mean == mean
    assert (len(train), len(test)) == (20, 10) and train.shape == (3, 32, 32)
    assert (train.name, test.name) == (f"{name}:train", f"{name}:test")
    assert build("data", name).size == 128
    # The middle 50×50 of 60×50, each new pixel the mean of those that it stands for.
    middle = Image.open(root / train.paths[0]).convert("RGB").crop((5, 0, 55, 50))
    expected = np.asarray(middle.resize((32, 32), Image.Resampling.BOX))
    np.testing.assert_array_equal(train.images[0], expected)
    check_source(build("data", {"name": name, "path": str(root), "size": 16}))


def test_the_breeds_have_their_own_ids() -> None:
    """The published reader of another system had them shifted."""
    assert WOOF == {
        "n02086240": "Shih-Tzu", "n02087394": "Rhodesian ridgeback", "n02088364": "beagle",
        "n02089973": "English foxhound", "n02093754": "Border terrier", "n02096294": "Australian terrier",
        "n02099601": "golden retriever", "n02105641": "Old English sheepdog", "n02111889": "Samoyed",
        "n02115641": "dingo",
    }  # fmt: skip


def test_ten_classes_are_refused_in_words(tmp_path: Path) -> None:
    root = ten(tmp_path, NETTE)
    with pytest.raises(DataError, match=r"Give the folder with train/ and val/ with the ten folders n02086240"):
        opened("imagewoof", root)
    with pytest.raises(MethodError, match=r"Imagenette\(size=0\): images need a side"):
        build("data", {"name": "imagenette", "size": 0})
    (root / "train/n01440764/n01440764_0.JPEG").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"train/n01440764/n01440764_0\.JPEG cannot be decoded"):
        opened("imagenette", root)


def birds(root: Path) -> Path:
    """Five images of two kinds; numbers do not follow the order of the lines."""
    kinds = ("001.Black_footed_Albatross", "002.Laysan_Albatross")
    rows = [(3, 0, 1), (1, 1, 1), (2, 0, 0), (5, 1, 0), (4, 1, 1)]
    tables: dict[str, list[str]] = {name: [] for name in ("images", "image_class_labels", "train_test_split")}
    for image, kind, training in rows:
        file = f"{kinds[kind]}/{kinds[kind][4:]}_{image}.jpg"
        write(root / "images" / file, 50, 70, image, grey=image == 3)
        tables["images"].append(f"{image} {file}")
        tables["image_class_labels"].append(f"{image} {kind + 1}")
        tables["train_test_split"].append(f"{image} {training}")
    for name, lines in tables.items():
        (root / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (root / "classes.txt").write_text("\n".join(f"{number} {kind}" for number, kind in enumerate(kinds, 1)))
    return root


def test_birds_are_dealt_by_their_tables(tmp_path: Path) -> None:
    root = birds(tmp_path)
    train, test = opened("cub-200", root), opened("cub-200", root, split="test", size=16)
    assert train.classes == ("Black footed Albatross", "Laysan Albatross")
    np.testing.assert_array_equal(train.labels, [0, 1, 1])
    np.testing.assert_array_equal(test.labels, [0, 1])
    assert train.shape == (3, 32, 32) and test.shape == (3, 16, 16) and train.std == (0.2129, 0.2084, 0.2468)
    assert train.paths is not None and train.paths[0].endswith("Black_footed_Albatross_3.jpg")
    assert open_data(str(root)).name == "cub-200:train"
    check_source(build("data", {"name": "cub-200", "path": str(root)}))


def test_birds_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the folder holds no images/, images\.txt"):
        opened("cub-200", tmp_path)
    root = birds(tmp_path)
    table = root / "image_class_labels.txt"
    whole = table.read_text()
    table.write_text(whole.replace("2 1\n", "2 7\n"))
    with pytest.raises(DataError, match=r"image 2 \(001.Black_footed_Albatross/.*\) has no class in image_class_l"):
        opened("cub-200", root)
    table.write_text(whole.replace("2 1\n", "2\n"))
    with pytest.raises(DataError, match=r"row 3 of image_class_labels\.txt is no number with something behind it"):
        opened("cub-200", root)


def resized(root: Path, size: int = 8, *, apart: bool = False) -> Path:
    """120 training images in each of ten files, and 40 to test on."""
    draw = np.random.default_rng(0)
    labels = np.concatenate([draw.permutation(1000), np.arange(200)]) + 1
    for number in range(11):
        count = 120 if number < 10 else 40
        folder = root / f"part{number // 5}" if apart else root
        folder.mkdir(parents=True, exist_ok=True)
        name = f"train_data_batch_{number + 1}.npz" if number < 10 else "val_data.npz"
        data = draw.integers(0, 256, (count, 3 * size**2), dtype=np.uint8)
        np.savez(folder / name, data=data, labels=labels[:count], mean=data.mean(axis=0))
        labels = labels[count:] if number < 9 else np.arange(1, 41)
    return root


def test_resized_imagenet_reads_the_published_arrays(tmp_path: Path) -> None:
    root = resized(tmp_path / "one")
    train, test = (opened("imagenet-resized", root, split=split, size=8) for split in ("train", "test"))
    assert (len(train), len(test)) == (1200, 40) and train.shape == (3, 8, 8) and len(train.classes) == 1000
    with np.load(root / "train_data_batch_2.npz") as stored:
        np.testing.assert_array_equal(train.images[120:240, 2, 3, 1], stored["data"][:, 64 + 2 * 8 + 3])
        np.testing.assert_array_equal(train.labels[120:240], stored["labels"] - 1)
    assert train.classes[0] == "1" and train.mean == (0.4815, 0.4578, 0.4082)
    apart = opened("imagenet-resized", resized(tmp_path / "two", apart=True), size=8)
    assert apart.ids.pool == train.ids.pool
    check_source(build("data", {"name": "imagenet-resized", "path": str(root), "size": 8}))


def test_resized_imagenet_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = resized(tmp_path)
    with pytest.raises(DataError, match=r"'data' of train_data_batch_1\.npz is uint8 of shape \(120, 192\) beside 120"):
        opened("imagenet-resized", root)
    with monkeypatch.context() as patch:
        patch.setattr("paredown.data.imagenet_resized.memory", lambda: 1000)
        with pytest.raises(DataError, match=r"its images take .* GiB of memory, and the machine has"):
            opened("imagenet-resized", root, size=8)
    np.savez(root / "val_data.npz", data=np.zeros((2, 192), np.uint8), labels=np.array([0, 5]))
    with pytest.raises(DataError, match=r"'labels' of val_data\.npz are not whole numbers from 1 to 1000"):
        opened("imagenet-resized", root, split="test", size=8)
    np.savez(root / "val_data.npz", data=np.zeros((2, 192), np.uint8), labels=np.array([{}, 5], dtype=object))
    with pytest.raises(DataError, match=r"val_data\.npz is damaged or holds no plain array 'labels'"):
        opened("imagenet-resized", root, split="test", size=8)
    (root / "train_data_batch_7.npz").unlink()
    with pytest.raises(DataError, match=r"the files train_data_batch_1\.npz to train_data_batch_10\.npz"):
        opened("imagenet-resized", root, size=8)
