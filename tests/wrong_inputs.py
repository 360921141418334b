"""Wrong data, made on the spot: each function takes an empty folder and gives what a person would pass as the data.

`WRONG` lists them with words that the message must hold; unit tests open them, the acceptance test passes them to the
command line.
"""

from __future__ import annotations

import gzip
import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Wrong = Callable[[Path], Any]


def pictures(count: int, side: int = 8, *, seed: int = 0) -> np.ndarray:
    """Random colour images, uint8 (count, side, side, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format=kind)
    return buffer.getvalue()


def write_idx(file: Path, array: np.ndarray, *, cut: int = 0) -> None:
    """Writes an array as IDX, gzipped if the name ends so, less `cut` bytes at the end of the packed file."""
    content = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    stored = gzip.compress(content) if file.suffix == ".gz" else content
    file.write_bytes(stored[: len(stored) - cut])


def idx_folder(folder: Path, *, ending: str = "", labels: np.ndarray | None = None, cut: int = 0) -> Path:
    """A folder in MNIST's form: 20 training and 10 test images of 6×6, ten classes."""
    for stem, count in (("train", 20), ("t10k", 10)):
        write_idx(folder / f"{stem}-images-idx3-ubyte{ending}", pictures(count, 6)[..., 0], cut=cut)
        given = np.arange(count, dtype=np.uint8) % 10 if labels is None else labels
        write_idx(folder / f"{stem}-labels-idx1-ubyte{ending}", given)
    return folder


def cifar_binary(folder: Path, *, each: int = 10, cut: int = 0, label: int | None = None) -> Path:
    """A folder in the form of CIFAR-10's binary version, `each` images a file."""
    for number, name in enumerate([*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]):
        labels = np.arange(each, dtype=np.uint8)[:, None] % 10
        planes = pictures(each, 32, seed=number).transpose(0, 3, 1, 2).reshape(each, -1)
        if label is not None:
            labels[0] = label
        stored = np.concatenate([labels, planes], axis=1).tobytes()
        (folder / name).write_bytes(stored[: len(stored) - cut])
    return folder


def parquet_file(
    file: Path, images: list[bytes | None] | None = None, labels: list[Any] | None = None, *, metadata: Any = None
) -> Path:
    """A Parquet file in the Hugging Face form: 10 images of two classes unless given."""
    images = [encoded(image) for image in pictures(10)] if images is None else images
    labels = [row % 2 for row in range(len(images))] if labels is None else labels
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = pa.array([{"bytes": content, "path": None} for content in images], kind)
    table = pa.table({"image": column, "label": pa.array(labels)})
    pq.write_table(table.replace_schema_metadata(metadata), file)
    return file


def image_folder(folder: Path, *, classes: tuple[str, ...] = ("cat", "dog"), each: int = 5) -> Path:
    """A folder of classes with PNG files."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for position, image in enumerate(pictures(each, seed=number)):
            (folder / name / f"{position:03d}.png").write_bytes(encoded(image))
    return folder


def npz_file(file: Path, **arrays: Any) -> Path:
    """An .npz of 20 images of two classes, with arrays replaced, added, or (None) left out."""
    held = {"x": pictures(20), "y": np.arange(20) % 2} | arrays
    np.savez(file, **{key: value for key, value in held.items() if value is not None})
    return file


def no_such_path(folder: Path) -> str:
    return str(folder / "nothing" / "here.npz")


def misspelt_name(folder: Path) -> str:
    return "digts"


def unknown_split(folder: Path) -> dict[str, Any]:
    return {"name": "npz", "path": str(npz_file(folder / "data.npz")), "split": "tset"}


def unreadable_type(folder: Path) -> str:
    (folder / "data.xlsx").write_text("1,2\n")
    return str(folder / "data.xlsx")


def empty_folder(folder: Path) -> str:
    return str(folder)


def truncated_idx(folder: Path) -> str:
    return str(idx_folder(folder, cut=5))


def truncated_gzip(folder: Path) -> str:
    return str(idx_folder(folder, ending=".gz", cut=40))


def idx_length_mismatch(folder: Path) -> str:
    return str(idx_folder(folder, labels=np.arange(15, dtype=np.uint8) % 10))


def idx_label_out_of_range(folder: Path) -> dict[str, Any]:
    labels = np.arange(20, dtype=np.uint8) % 10
    labels[3] = 77
    return {"name": "mnist", "path": str(idx_folder(folder, labels=labels))}


def truncated_cifar(folder: Path) -> str:
    return str(cifar_binary(folder, cut=100))


def cifar_label_out_of_range(folder: Path) -> str:
    return str(cifar_binary(folder, label=200))


def hostile_pickle(folder: Path) -> str:
    class Hostile:
        def __reduce__(self) -> Any:
            return (print, ("this code must not run",))

    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(pickle.dumps({b"data": Hostile(), b"labels": [0]}))
    return str(folder)


def truncated_parquet(folder: Path) -> str:
    file = parquet_file(folder / "data.parquet")
    file.write_bytes(file.read_bytes()[:-50])
    return str(file)


def missing_shard(folder: Path) -> str:
    parquet_file(folder / "train-00000-of-00003.parquet")
    parquet_file(folder / "train-00002-of-00003.parquet")
    return str(folder)


def corrupt_image(folder: Path) -> str:
    images: list[bytes | None] = [encoded(image) for image in pictures(10)]
    images[7] = b"no image at all"
    return str(parquet_file(folder / "data.parquet", images))


def truncated_image(folder: Path) -> str:
    for file in (image_folder(folder / "data") / "dog").iterdir():
        file.write_bytes(file.read_bytes()[:60])
    return str(folder / "data")


def parquet_without_labels(folder: Path) -> str:
    return str(parquet_file(folder / "data.parquet", labels=[-1] * 10))


def parquet_without_label_column(folder: Path) -> str:
    pq.write_table(pa.table({"image": [encoded(image) for image in pictures(4)]}), folder / "data.parquet")
    return str(folder / "data.parquet")


def mixed_sizes(folder: Path) -> str:
    image_folder(folder / "data")
    (folder / "data" / "dog" / "001.png").write_bytes(encoded(pictures(1, 11)[0]))
    return str(folder / "data")


def empty_class(folder: Path) -> str:
    image_folder(folder / "data")
    (folder / "data" / "horse").mkdir()
    return str(folder / "data")


def gap_in_labels(folder: Path) -> str:
    return str(npz_file(folder / "data.npz", y=np.arange(20) % 2 * 2))


def nan_pixels(folder: Path) -> str:
    images = pictures(20).astype(np.float32) / 255
    images[4, 2, 2, 0] = np.nan
    return str(npz_file(folder / "data.npz", x=images))


def normalised_pixels(folder: Path) -> str:
    return str(npz_file(folder / "data.npz", x=np.random.default_rng(0).standard_normal((20, 8, 8, 3))))


def length_mismatch(folder: Path) -> str:
    return str(npz_file(folder / "data.npz", y=np.arange(19) % 2))


def npz_label_out_of_range(folder: Path) -> str:
    labels = np.arange(20) % 2
    labels[6] = -1
    return str(npz_file(folder / "data.npz", y=labels))


def npz_without_labels(folder: Path) -> str:
    return str(npz_file(folder / "data.npz", y=None))


def npz_with_objects(folder: Path) -> str:
    np.savez(folder / "data.npz", x=np.array([{}, {}], dtype=object), y=np.arange(2))
    return str(folder / "data.npz")


def truncated_npz(folder: Path) -> str:
    file = npz_file(folder / "data.npz")
    file.write_bytes(file.read_bytes()[:900])
    return str(file)


def noise_beyond_all(folder: Path) -> dict[str, Any]:
    return {"name": "digits", "noise": {"pattern": "uniform", "fraction": 1.5}}


def missing_text(folder: Path) -> str:
    (folder / "films.jsonl").write_text('{"text": "good", "label": 1}\n{"text": null, "label": 0}\n')
    return str(folder / "films.jsonl")


def broken_json_lines(folder: Path) -> str:
    (folder / "films.jsonl").write_text('{"text": "good", "label": 1}\n{"text": "ba')
    return str(folder / "films.jsonl")


def text_without_labels(folder: Path) -> str:
    (folder / "films.csv").write_text("text\ngood\nbad\n")
    return str(folder / "films.csv")


WRONG: dict[Wrong, str] = {
    no_such_path: "no such file or folder",
    misspelt_name: "Did you mean 'digits'",
    unknown_split: "no split 'tset'.*Did you mean 'test'",
    unreadable_type: "type '.xlsx' is none of those",
    empty_folder: "nothing in this folder can be read",
    truncated_idx: "train-images-idx3-ubyte has .* so it is truncated",
    truncated_gzip: "train-images-idx3-ubyte.gz is truncated",
    idx_length_mismatch: "20 images and 15 labels do not pair up",
    idx_label_out_of_range: "label 77 of row 3 .* out of range",
    truncated_cifar: "data_batch_1.bin has .* so it is truncated",
    cifar_label_out_of_range: "label 200 of row 0 .* out of range",
    hostile_pickle: "data_batch_1 is not read .*print.* Download the binary version",
    truncated_parquet: "data.parquet is truncated",
    missing_shard: "shard 00001 of 3 is missing",
    corrupt_image: "the image of row 7 in data.parquet cannot be decoded",
    truncated_image: "dog/00..png cannot be decoded",
    parquet_without_labels: "data.parquet has no labels",
    parquet_without_label_column: r"none of the columns \(image\) is called like labels",
    mixed_sizes: "dog/001.png is 11×11 and cat/00..png is 8×8. Set size=8",
    empty_class: "class 'horse' has no images",
    gap_in_labels: "class 1 .* has no example",
    nan_pixels: "NaN or infinite pixels in 1 images, the first in row 4",
    normalised_pixels: "must lie in 0…255 or 0…1",
    length_mismatch: "'x' has 20 rows and 'y' 19",
    npz_label_out_of_range: "label -1 of row 6 .* out of range",
    npz_without_labels: "no labels among its arrays",
    npz_with_objects: "pickled Python objects",
    truncated_npz: "truncated or is no .npz",
    missing_text: "the text of row 1 in films.jsonl is missing",
    broken_json_lines: "films.jsonl cannot be read .*line 2 is no JSON",
    text_without_labels: r"none of the columns \(text\) is called like labels",
    noise_beyond_all: "a share of the rows lies in 0 to 1",
}
"""Every wrong input, with a pattern that its message matches."""
