"""The course of a distillation: figures of its steps, read from the device now and then, and pictures of its images."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paredown.artifacts.pictures import film
from paredown.distillation.labels import uncapped_margin
from paredown.distillation.loss import Parts
from paredown.log import MetricsFile, open_trackers

WINDOW = 100
"""Steps between two looks, each of which waits for the device."""
FRAMES = 20
"""Pictures of a distillation, besides the first; early ones lie closer together, where more changes."""
FIGURES = ("total_loss", "kernel_loss", "label_loss", "accuracy", "top5accuracy", "grad_norm_x", "grad_norm_y")


class Course:
    """Keeps figures of some steps on the device, and writes a line about them when it looks.

    The names are those of the published code's TensorBoard logs. `metrics.jsonl` holds no clock times.

    Args:
        folder: where `metrics.jsonl` and `growth/` go.
        trackers: also tell these.
        classes: of the labels.
        device: where figures are kept.
        cursor: where an interrupted distillation stood; empty at the beginning.
    """

    def __init__(
        self, folder: Path, trackers: Sequence[str], *, classes: int, device: torch.device, cursor: Mapping[str, Any]
    ) -> None:
        self.folder = folder
        self.classes = classes
        self._values = torch.zeros(len(FIGURES), WINDOW, device=device)
        self._steps = int(cursor.get("window", 0))
        self._file = MetricsFile(folder / "metrics.jsonl", cursor=cursor.get("metrics", 0))
        self._trackers = list(open_trackers(trackers, folder).values())
        self._looked = time.monotonic()

    def head(self, header: Mapping[str, Any]) -> None:
        """Writes the first line: what is distilled."""
        self._file.append(header)

    @property
    def full(self) -> bool:
        """Whether it must be looked at."""
        return self._steps == WINDOW

    def put(self, loss: Tensor, parts: Parts, aims: Tensor, images: Tensor, labels: Tensor) -> None:
        """Takes a step.

        Args:
            loss: that was minimised.
            parts: what it is made of.
            aims: centred labels of the real batch, shape (B, C).
            images, labels: what is learnt, with gradients.
        """
        truth = aims.argmax(dim=1, keepdim=True)
        own = parts.predictions.gather(1, truth)
        places = (parts.predictions > own).sum(dim=1)
        norms = [torch.zeros_like(loss) if p.grad is None else p.grad.norm() for p in (images, labels)]
        shares = [(places < first).float().mean() for first in (1, 5)]
        column = [loss.detach(), parts.regression, parts.margin, *shares, *norms]
        self._values[:, self._steps] = torch.stack([value.float() for value in column])
        self._steps += 1

    def failed(self, step: int) -> int | None:
        """Gives the first step since the last look, up to `step`, whose loss or gradient is not finite."""
        fine = self._values[:, : self._steps].isfinite().all(dim=0).tolist()
        return step - self._steps + 1 + fine.index(False) if False in fine else None

    def look(self, step: int, *, rate: float, images: Tensor, labels: Tensor) -> str:
        """Writes a line about the steps since the last look, and gives a few words about them."""
        means = dict(zip(FIGURES, self._values[:, : self._steps].mean(dim=1).tolist(), strict=True))
        if self.classes <= 5:
            del means["top5accuracy"]
        row = {f"train/{name}": value for name, value in means.items()} | {"monitor/learning_rate": rate}
        row |= _prototypes(images.detach(), labels.detach())
        now = time.monotonic()
        speed = {"monitor/steps_per_second": self._steps / max(now - self._looked, 1e-9)}
        self._values.zero_()
        self._steps, self._looked = 0, now
        self.tell(row, step, timed=speed)
        return f"loss {means['total_loss']:.4f}, accuracy of the regression {means['accuracy']:.1%}"

    def tell(self, row: Mapping[str, float], step: int, *, timed: Mapping[str, float] | None = None) -> None:
        """Writes figures of a step into the file and to the trackers; those that a clock decides only to these."""
        self._file.append({"step": step, **row})
        for tracker in self._trackers:
            tracker.log({**row, **(timed or {})}, step)

    def picture(self, png: bytes, step: int) -> None:
        """Keeps a picture of the images after a step."""
        place = self.folder / "growth"
        place.mkdir(exist_ok=True)
        (place / f"step-{step:07d}.png").write_bytes(png)
        for tracker in self._trackers:
            tracker.show("images", png, step)

    def film(self) -> None:
        """Makes one animated picture, `growth.gif`, of those that were kept."""
        frames = [path.read_bytes() for path in sorted((self.folder / "growth").glob("step-*.png"))]
        (self.folder / "growth.gif").write_bytes(film(frames))

    def cursor(self) -> dict[str, Any]:
        """Gives where the course stands."""
        return {"metrics": self._file.cursor, "window": self._steps}

    def tensors(self) -> dict[str, Tensor]:
        """Gives the window."""
        return {"course": self._values}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the window back."""
        self._values.copy_(tensors["course"])

    def close(self) -> None:
        """Closes file and trackers."""
        self._file.close()
        for tracker in self._trackers:
            tracker.close()


def moments(steps: int) -> set[int]:
    """Gives the steps after which a picture is kept: 0, the last, and some between that lie closer at the beginning."""
    return {round(steps * (number / FRAMES) ** 2) for number in range(FRAMES + 1)}


def _prototypes(images: Tensor, labels: Tensor) -> dict[str, float]:
    """Gives how large the learnt images and labels are, and how clearly labels name a class."""
    highest, margin = labels.amax(dim=1), uncapped_margin(labels)
    row = {"x_proto_norm": images.flatten(1).norm(dim=1).mean(), "y_proto_norm": labels.norm(dim=1).mean()}
    for name, values in (("y_proto_max", highest), ("y_proto_margin", margin)):
        row |= {f"{name}_mean": values.mean(), f"{name}_max": values.amax(), f"{name}_min": values.amin()}
    return {f"proto/{name}": float(value) for name, value in row.items()}
