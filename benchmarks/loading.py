"""Images a second decoded and augmented from JPEG, and how long a training step waits for them.

Photographs of 500×375, ImageNet's usual size, are made on the spot, smooth with some noise, about 80 kB each, and held
in memory, so that no disk is timed. Three ways to 224×224 windows: image by image as Pillow's functions are usually
called (open, crop, resize, transpose, to an array, to a float tensor); the streamed batches of this package by one
thread; and by more. Beside them the middle of each image, as it is read for scores, and passes over Parquet, in the
order of the rows and shuffled. CPU time an image is of all threads together: on a busy machine it says more than images
a second. Images of 8×8 show what is left when there is nothing to decode: the share that Python's lock lets one thread
do at a time, so its inverse is the most that any number of cores can reach.

Last, trainings of ResNet-18 and -34 on the device, fed by the stream and fed the same batch again and again: what the
first takes longer is waiting. On a CPU both use the same cores, so that says nothing there.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from paredown.data import Augmentation, Square, StoredImages, Streamed, encoded, open_data
from paredown.data.augment import draws, windows
from paredown.data.encoded import Held, TableRows
from paredown.data.stored_images import cores
from paredown.method import build
from paredown.rng import key
from paredown.runtime import Runtime
from paredown.training import Training
from paredown.training.devices import Place, in_words, place
from paredown.training.learner import Learner

RESULT = Path(__file__).with_name("results") / "loading.json"
WINDOWS = Augmentation(area=0.08, flip=True)
BATCH = 64


def photographs(count: int, size: tuple[int, int]) -> tuple[bytes, ...]:
    """JPEG files, with detail at every scale."""
    draw = np.random.default_rng(0)
    made = []
    for _ in range(count):
        whole = np.zeros((size[1], size[0], 3), np.float32)
        for cells in (4, 16, 64, 256):
            coarse = draw.standard_normal((cells, cells, 3)).astype(np.float32)
            layers = [Image.fromarray(coarse[..., c]).resize(size, Image.Resampling.BICUBIC) for c in range(3)]
            whole += np.stack([np.asarray(layer) for layer in layers], axis=-1) * 40 / (cells / 16 + 1) ** 0.3
        file = io.BytesIO()
        Image.fromarray(np.clip(whole + 128, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
        made.append(file.getvalue())
    return tuple(made)


def stored(files: tuple[bytes, ...], count: int) -> StoredImages:
    """A data set of `count` images, which are those files again and again."""
    base = open_data("synthetic", n=count, stored=True)
    assert isinstance(base, StoredImages)
    return replace(base, encoded=Held(files), rows=np.arange(count) % len(files), square=Square(224, 256))


def naive(files: tuple[bytes, ...], count: int) -> None:
    """Image by image, as a loop over a data set with the usual functions does it."""
    for start in range(0, count, BATCH):
        batch = []
        for number in range(start, min(start + BATCH, count)):
            image = Image.open(io.BytesIO(files[number % len(files)])).convert("RGB")
            drawn = draws(1, torch.Generator().manual_seed(number))
            box = windows(drawn, np.array([image.size]), least=0.08)[0].tolist()
            image = image.crop(tuple(box)).resize((224, 224), Image.Resampling.BILINEAR)
            if number % 2:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            batch.append(torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255)
        torch.stack(batch)


def rate(count: int, work: Callable[[], object], *, times: int) -> dict[str, float]:
    """Images a second, and CPU milliseconds an image, the best of a few."""
    wall, cpu = [], []
    for _ in range(times):
        start = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    return {"images_per_second": count / min(wall), "cpu_ms": 1000 * min(cpu) / count}


def streamed(data: StoredImages, workers: int, *, augmented: bool) -> None:
    examples = Streamed(data, "cpu", workers)
    parts = np.arange(len(data)).reshape(-1, BATCH)
    if augmented:
        for _ in examples.ahead(((part, number) for number, part in enumerate(parts)), WINDOWS):
            pass
    else:
        for _ in examples.batches(parts):
            pass


def from_tables(files: tuple[bytes, ...], count: int, workers: int, *, times: int) -> dict[str, dict[str, float]]:
    """Passes over Parquet with row groups of 100, as Hugging Face writes images, and memory for a few of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    encoded.HELD_GROUPS = 16 << 20  # so that, as of 150 GB, hardly a group is still there when it is wanted again
    with tempfile.TemporaryDirectory() as folder:
        images = [{"bytes": files[row % len(files)], "path": ""} for row in range(count)]
        file = Path(folder) / "train.parquet"
        pq.write_table(pa.table({"image": images}), file, row_group_size=100)
        found = {}
        for name, order in (
            ("Parquet in order", np.arange(count)),
            ("Parquet shuffled", np.random.default_rng(0).permutation(count)),
        ):

            def work(order: np.ndarray = order) -> None:
                # A reader of its own each time, so that no group is held from the time before.
                data = replace(stored(files, count), encoded=TableRows("here", (file,), "image.bytes"), rows=order)
                streamed(data, workers, augmented=False)

            found[name] = rate(count, work, times=times)
    return found


def waits(name: str, data: StoredImages, workers: int, steps: int, batch: int, here: Place) -> dict[str, float]:
    """Seconds a step, fed by the stream and fed the same batch, and the share of the first that is waiting."""
    training = Training(steps=10_000, batch_size=batch)
    plan = training.plan(kept=len(data), whole=len(data))
    made = build("model", {"name": name, "stem": "large"}).start(data, 0).to(here.device)
    learner = Learner(made, training, plan, seed=0, place=here, compiled=False)
    examples = Streamed(data, here.device, workers)
    parts = [np.arange(start, start + batch) % len(data) for start in range(0, (steps + 2) * batch, batch)]
    numbered = [(part, key(0, "augment", step)) for step, part in enumerate(parts)]
    seconds = {}
    one = examples.augmented(parts[0], WINDOWS, 0)
    for way, batches in (("fed", examples.ahead(numbered, WINDOWS)), ("not fed", (one for _ in parts))):
        for step, (x, part) in enumerate(zip(batches, parts, strict=True), start=1):
            if step == 3:  # the first two choose kernels
                wait(here)
                start = time.perf_counter()
            learner.take(step, x, examples.labels(part), count=batch, weights=None)
        wait(here)
        seconds[way] = (time.perf_counter() - start) / steps
    waiting = max(0.0, 1 - seconds["not fed"] / seconds["fed"])
    return {"images_per_second": batch / seconds["fed"], "alone": batch / seconds["not fed"], "waiting": waiting}


def wait(here: Place) -> None:
    if here.device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--count", type=int, default=1024, help="images of a pass")
    parser.add_argument("--workers", type=int, action="append", help="threads; may be given several times")
    parser.add_argument("--steps", type=int, help="of each training")
    parser.add_argument("--batch", type=int, help="of each training")
    parser.add_argument("--times", type=int, default=3)
    asked = parser.parse_args()
    on_gpu = asked.device.startswith("cuda")
    steps, batch = asked.steps or (60 if on_gpu else 3), asked.batch or (256 if on_gpu else 16)
    torch.set_num_threads(1)  # of torch on the host; the threads that decode are what is timed
    files = photographs(64, (500, 375))
    data, count = stored(files, asked.count), asked.count
    rates = {"Pillow, image by image": rate(count, lambda: naive(files, count), times=asked.times)}
    for workers in sorted({1, *(asked.workers or [cores()])}):
        for way, augmented in (("windows", True), ("middle", False)):
            named = f"{way}, {workers} thread{'s' if workers > 1 else ''}"
            rates[named] = rate(
                count,
                lambda workers=workers, augmented=augmented: streamed(data, workers, augmented=augmented),  # type: ignore[misc]
                times=asked.times,
            )
    most = max(asked.workers or [cores()])
    rates |= from_tables(files, count, most, times=asked.times)
    nothing = replace(stored(photographs(64, (8, 8)), count), square=Square(8, 8))
    rates["8×8, 1 thread"] = rate(count, lambda: streamed(nothing, 1, augmented=True), times=asked.times)
    trainings = {}
    with place(Runtime(device=asked.device)) as here:
        for name in ("resnet18", "resnet34"):
            trainings[name] = waits(name, data, most, steps, batch, here)
    device = in_words(Runtime(device=asked.device))["device"]
    table = Table("way to 224×224", "images/s", "CPU ms an image", title=f"{cores()} cores, JPEG of 500×375")
    for name, value in rates.items():
        table.add_row(name, f"{value['images_per_second']:,.0f}", f"{value['cpu_ms']:.2f}")
    Console().print(table)
    table = Table("training", "images/s", "fed from memory", "waiting", title=f"{device}, {most} threads decode")
    for name, found in trainings.items():
        table.add_row(
            name, f"{found['images_per_second']:,.0f}", f"{found['alone']:,.0f}", f"{found['waiting']:.0%} of a step"
        )
    Console().print(table)
    about = {"device": device, "cores": cores(), "torch": torch.__version__, "python": platform.python_version()}
    about |= {"bytes_per_image": int(np.mean([len(file) for file in files])), "command": "python benchmarks/loading.py"}
    about["busy"] = os.getloadavg()[0] > 1.5 * cores()
    result = about | {"ways": rates, "trainings": trainings}
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
