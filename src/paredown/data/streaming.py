"""Stored images where the network is: decoded ahead of it by threads, augmented on the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from paredown.data.augment import AbstractAugmentation, draws, windows
from paredown.data.dataset import PLAIN
from paredown.data.loader import WHOLE, AbstractInputs, unit
from paredown.data.normalised import Normalised
from paredown.data.squares import BoxesOf
from paredown.data.stored_images import RUN, StoredImages, cores

AHEAD = 4
"""Batches that are decoded, or being decoded, before they are asked for."""


class _Job(NamedTuple):
    """A batch to be decoded: which images, the numbers drawn for each where they are cut at random, whose share."""

    positions: np.ndarray
    drawn: np.ndarray | None = None
    least: float = 1.0
    share: slice = WHOLE

    def boxes(self, run: slice) -> BoxesOf | None:
        """Gives what makes windows of a run of images, once their sizes are known; none for the middle of each."""
        if self.drawn is None:
            return None
        drawn = self.drawn[self.share][run]
        return lambda sizes: windows(drawn, sizes, least=self.least)


class Streamed(AbstractInputs):
    """Images of a data set that stay encoded, batch by batch on a device.

    Pillow decodes and resizes outside Python's lock, so threads share the work; they write into the batch's own memory,
    which is pinned where the device is a GPU, so that copying it waits for nothing. Random numbers are drawn for a
    whole batch before it is dealt to the threads: no example depends on their number.

    Args:
        data: what to read.
        device: where batches are wanted.
        workers: threads that decode; 0 takes one a core.
    """

    def __init__(self, data: StoredImages, device: str | torch.device, workers: int = 0) -> None:
        self.data, self.device = data, torch.device(device)
        self.workers = workers or cores()
        self._labels = torch.from_numpy(data.labels).to(self.device)

    def labels(self, positions: np.ndarray) -> Tensor:
        index = torch.from_numpy(np.ascontiguousarray(positions, dtype=np.int64))
        return self._labels.index_select(0, index.to(self.device, non_blocking=True))

    def batch(self, positions: np.ndarray) -> tuple[Tensor, Tensor]:
        return next(self.batches([positions]))

    def batches(self, parts: Iterable[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        """Gives images as float32 (B, C, H, W) in [0, 1], channels_last in memory, and labels, int64 (B,)."""
        return ((unit(images), self.labels(job.positions)) for job, images in self._decoded(map(_Job, parts)))

    def augmented(self, positions: np.ndarray, augmentation: AbstractAugmentation | None, seed: int) -> Tensor:
        return next(self.ahead([(positions, seed)], augmentation))

    def ahead(
        self, parts: Iterable[tuple[np.ndarray, int]], augmentation: AbstractAugmentation | None, share: slice = WHOLE
    ) -> Iterator[Tensor]:
        asked = augmentation or PLAIN
        generators: deque[torch.Generator] = deque()

        def jobs() -> Iterator[_Job]:
            for positions, seed in parts:
                generator = torch.Generator().manual_seed(seed)
                generators.append(generator)
                drawn = None if asked.area is None else draws(len(positions), generator)
                yield _Job(positions, drawn, asked.area or 1.0, share)

        for _, images in self._decoded(jobs()):
            generator = generators.popleft()
            if asked.normalised:
                yield self.normalised.augmented(unit(images), asked, generator)
            else:
                yield unit(asked.finish(images, generator))

    @cached_property
    def normalised(self) -> Normalised:
        """What a network's first layer makes of these images, and its inverse."""
        return Normalised(self.data, self.device)

    def _decoded(self, jobs: Iterator[_Job]) -> Iterator[tuple[_Job, Tensor]]:
        """Gives the images of each batch on the device, uint8 (B, C, H, W) as a channels_last view."""
        waiting: deque[tuple[_Job, Tensor, list[Future[None]]]] = deque()
        with ThreadPoolExecutor(self.workers, thread_name_prefix="decode") as pool:
            try:
                for job in jobs:
                    waiting.append(self._begin(pool, job))
                    if len(waiting) > AHEAD:
                        yield self._finish(*waiting.popleft())
                while waiting:
                    yield self._finish(*waiting.popleft())
            finally:
                # Someone has stopped looking, or an image is damaged: what nobody waits for is not begun.
                for _, _, tasks in waiting:
                    for task in tasks:
                        task.cancel()

    def _begin(self, pool: ThreadPoolExecutor, job: _Job) -> tuple[_Job, Tensor, list[Future[None]]]:
        count, (channels, height, width) = len(job.positions), self.data.shape
        pinned = self.device.type == "cuda"
        images = torch.empty((count, height, width, channels), dtype=torch.uint8, pin_memory=pinned)
        into, positions = images.numpy()[job.share], job.positions[job.share]
        runs = [slice(start, start + RUN) for start in range(0, len(positions), RUN)]
        tasks = [pool.submit(self.data.decode, positions[run], into[run], job.boxes(run)) for run in runs]
        return job, images, tasks

    def _finish(self, job: _Job, images: Tensor, tasks: list[Future[None]]) -> tuple[_Job, Tensor]:
        try:
            for task in tasks:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
        return job, images.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
