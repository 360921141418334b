"""Known data sets, from tiny files in the forms in which they are published."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from tests.wrong_inputs import cifar_binary, encoded, idx_folder, parquet_file, pictures, write_idx

from paredown.data import Augmentation, ImageDataset, open_data
from paredown.errors import DataError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def opened(data: object, **fields: object) -> ImageDataset:
    found = open_data(data, **fields)  # type: ignore[arg-type]
    assert isinstance(found, ImageDataset)
    return found


def test_idx_plain_and_gzipped_are_the_same_pool(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "packed" / "raw").mkdir(parents=True)
    idx_folder(tmp_path / "plain")
    idx_folder(tmp_path / "packed" / "raw", ending=".gz")
    plain = opened("mnist", path=str(tmp_path / "plain"))
    packed = opened("mnist", path=str(tmp_path / "packed"))
    assert plain.ids.pool == packed.ids.pool and plain.name == "mnist:train"
    np.testing.assert_array_equal(packed.images, pictures(20, 6)[..., :1])
    np.testing.assert_array_equal(packed.labels, np.arange(20) % 10)
    assert plain.shape == (1, 6, 6) and plain.mean == (0.1307,) and not plain.augmentation.flip
    assert len(opened("mnist", path=str(tmp_path / "plain"), split="test")) == 10


def test_fashion_mnist_has_its_names_and_constants(tmp_path: Path) -> None:
    data = opened({"name": "fashion-mnist", "path": str(idx_folder(tmp_path))})
    assert data.classes[9] == "Ankle boot" and data.std == (0.3530,)
    assert data.augmentation == Augmentation(crop=2, flip=True)


def test_any_idx_folder_opens_by_its_path(tmp_path: Path) -> None:
    data = opened(str(idx_folder(tmp_path)))
    assert data.name == f"{tmp_path.name}:train" and len(data.classes) == 10
    np.testing.assert_allclose(data.mean, (data.images / 255).mean())


def test_idx_of_another_kind_is_refused(tmp_path: Path) -> None:
    idx_folder(tmp_path)
    write_idx(tmp_path / "train-images-idx3-ubyte", np.arange(20, dtype=np.uint8))
    with pytest.raises(DataError, match="does not begin like an IDX file of 3 dimensions"):
        open_data(str(tmp_path))


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_debians_package_is_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAREDOWN_DATA", raising=False)
    data = opened("fashion-mnist", split="test")
    assert len(data) == 10000 and data.shape == (1, 28, 28)
    np.testing.assert_array_equal(np.bincount(data.labels), np.full(10, 1000))
    np.testing.assert_allclose((data.images / 255).mean(), data.mean[0], atol=2e-3)


def test_cifar10_binary_rows_are_in_batch_order(tmp_path: Path) -> None:
    data = opened(str(cifar_binary(tmp_path)))
    assert data.name == "cifar10:train" and len(data) == 50 and data.classes[3] == "cat"
    np.testing.assert_array_equal(data.images, np.concatenate([pictures(10, 32, seed=n) for n in range(5)]))
    np.testing.assert_array_equal(data.labels, np.tile(np.arange(10), 5))
    assert data.std == (0.2470, 0.2435, 0.2616) and data.augmentation == Augmentation(crop=4, flip=True)
    np.testing.assert_array_equal(opened(str(tmp_path), split="test").images, pictures(10, 32, seed=5))


@pytest.mark.parametrize("module", [b"numpy._core.multiarray", b"numpy.core.multiarray"])
def test_cifar10_python_batches_are_read_without_running_them(tmp_path: Path, module: bytes) -> None:
    for number in range(1, 6):
        planes = pictures(10, 32, seed=number).transpose(0, 3, 1, 2).reshape(10, -1)
        content = {b"data": planes, b"labels": list(range(10)), b"batch_label": b"one of five"}
        stored = pickle.dumps(content, protocol=2).replace(np.ndarray(0).__reduce__()[0].__module__.encode(), module)
        (tmp_path / f"data_batch_{number}").write_bytes(stored)
    data = opened("cifar10", path=str(tmp_path))
    np.testing.assert_array_equal(data.images[:10], pictures(10, 32, seed=1))
    np.testing.assert_array_equal(data.labels, np.tile(np.arange(10), 5))


def test_cifar10_parquet_has_the_constants_of_cifar10(tmp_path: Path) -> None:
    images = [encoded(image) for image in pictures(20, 32)]
    parquet_file(tmp_path / "train-00000-of-00001.parquet", images, [row % 10 for row in range(20)])
    data = opened("cifar10", path=str(tmp_path))
    np.testing.assert_array_equal(data.images, pictures(20, 32))
    assert data.name == "cifar10:train" and data.classes[0] == "airplane" and data.mean[0] == 0.4914


def test_cifar100_has_fine_and_coarse_labels(tmp_path: Path) -> None:
    planes = pictures(100, 32).transpose(0, 3, 1, 2).reshape(100, -1)
    labels = np.stack([np.arange(100) % 20, np.arange(100)], axis=1).astype(np.uint8)
    (tmp_path / "train.bin").write_bytes(np.concatenate([labels, planes], axis=1).tobytes())
    (tmp_path / "fine_label_names.txt").write_text("\n".join(f"kind{n}" for n in range(100)) + "\n\n")
    fine, coarse = opened(str(tmp_path)), opened(str(tmp_path), labels="coarse")
    np.testing.assert_array_equal(fine.labels, np.arange(100))
    np.testing.assert_array_equal(coarse.labels, np.arange(100) % 20)
    np.testing.assert_array_equal(fine.images, pictures(100, 32))
    assert fine.classes[7] == "kind7" and len(coarse.classes) == 20
    assert fine.ids.pool == coarse.ids.pool and fine.identity() != coarse.identity()


def test_cifar100_python_file(tmp_path: Path) -> None:
    planes = pictures(100, 32).transpose(0, 3, 1, 2).reshape(100, -1)
    content = {b"data": planes, b"fine_labels": list(range(100)), b"coarse_labels": [0] * 100}
    (tmp_path / "train").write_bytes(pickle.dumps(content, protocol=2))
    data = opened("cifar100", path=str(tmp_path))
    np.testing.assert_array_equal(data.images, pictures(100, 32))
    np.testing.assert_array_equal(data.labels, np.arange(100))


def test_svhn_calls_ten_zero(tmp_path: Path) -> None:
    from scipy.io import savemat

    labels = np.arange(1, 11, dtype=np.uint8)[:, None]
    savemat(tmp_path / "train_32x32.mat", {"X": pictures(10, 32).transpose(1, 2, 3, 0), "y": labels})
    data = opened(str(tmp_path))
    np.testing.assert_array_equal(data.images, pictures(10, 32))
    np.testing.assert_array_equal(data.labels, [1, 2, 3, 4, 5, 6, 7, 8, 9, 0])
    assert data.name == "svhn:train" and not data.augmentation.flip


def test_damaged_svhn_is_refused(tmp_path: Path) -> None:
    from scipy.io import savemat

    savemat(tmp_path / "train_32x32.mat", {"X": np.zeros((3, 3)), "y": [1]})
    with pytest.raises(DataError, match="does not hold images X"):
        open_data(str(tmp_path))
    stored = (tmp_path / "train_32x32.mat").read_bytes()
    (tmp_path / "train_32x32.mat").write_bytes(stored[:140])
    with pytest.raises(DataError, match=r"train_32x32.mat is truncated or damaged"):
        open_data(str(tmp_path))


def cinic_arrays(folder: Path, *, scale: float = 1) -> Path:
    for number, part in enumerate(("train", "valid", "test")):
        np.save(folder / f"X_{part}.npy", pictures(10, 32, seed=number) * scale)
        np.save(folder / f"Y_{part}.npy", np.arange(10)[:, None])
    return folder


@pytest.mark.parametrize("scale", [1, 1.0])
def test_cinic10_trains_on_train_and_valid(tmp_path: Path, scale: float) -> None:
    data = opened(str(cinic_arrays(tmp_path, scale=scale)))
    np.testing.assert_array_equal(data.images, np.concatenate([pictures(10, 32), pictures(10, 32, seed=1)]))
    assert data.images.dtype == np.uint8 and data.mean[0] == 0.47889522
    np.testing.assert_array_equal(opened(str(tmp_path), split="test").images, pictures(10, 32, seed=2))


@pytest.mark.parametrize(
    ("name", "array", "match"),
    [
        ("X_valid", np.full((10, 32, 32, 3), np.nan), "X_valid.npy has pixels outside"),
        ("Y_valid", np.arange(9), r"X_valid.npy has shape \(10, 32, 32, 3\) and its labels \(9,\)"),
        ("Y_valid", np.array([None] * 10), "Y_valid.npy is truncated or is no plain array"),
    ],
)
def test_wrong_cinic10_arrays_are_refused(tmp_path: Path, name: str, array: np.ndarray, match: str) -> None:
    np.save(cinic_arrays(tmp_path) / f"{name}.npy", array)
    with pytest.raises(DataError, match=match):
        open_data(str(tmp_path))


def test_cinic10_folders(tmp_path: Path) -> None:
    from paredown.data.cifar import TEN

    for number, part in enumerate(("train", "valid", "test")):
        for position, name in enumerate(TEN):
            (tmp_path / part / name).mkdir(parents=True)
            image = pictures(10, 32, seed=number)[position]
            (tmp_path / part / name / "cifar10-train-1.png").write_bytes(encoded(image))
    data = opened("cinic10", path=str(tmp_path))
    np.testing.assert_array_equal(data.images, np.concatenate([pictures(10, 32), pictures(10, 32, seed=1)]))
    assert data.paths is not None and data.paths[10] == "valid/airplane/cifar10-train-1.png"
    assert len(opened("cinic10", path=str(tmp_path), split="test")) == 10


def test_nothing_stands_in_for_a_published_part(tmp_path: Path) -> None:
    parquet_file(tmp_path / "train-00000-of-00001.parquet", None, list(range(10)))
    assert len(opened("cifar10", path=str(tmp_path), split="train")) == 10
    with pytest.raises(DataError, match="no split 'test', only train"):
        open_data("cifar10", path=str(tmp_path), split="test")
