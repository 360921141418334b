"""How a verb is carried out, never what it computes: device, precision, workers, folders.

`Runtime` changes at most the last bits of a result (bfloat16: more of them), so it has no way into an address; the
store writes it down beside what was made.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any, Literal

from paredown.errors import MethodError


@dataclass(frozen=True)
class Runtime:
    """Where and how fast.

    Args:
        device: `auto` (a GPU when there is one), `cpu`, `cuda`, `cuda:1`, `mps`.
        precision: `auto` takes bfloat16 for training where the device is faster with it, float32 elsewhere. Scores are
            always computed in float32.
        batch_size: examples a batch where nothing is learnt (scoring, evaluation); no result depends on it.
        workers: threads that decode images; 0 means one a core.
        threads: cores that torch may use on a CPU; none means torch's own choice.
        compile: use `torch.compile` for training.
        progress: draw a progress bar when the output is a terminal.
        block_mb: memory that a block may take where large arrays are gone through block by block (embeddings, exact
            neighbours), in MiB; no result depends on it.
        save_seconds: how often an unfinished training is saved, at most.
        trackers: also write settings and metrics to `tensorboard` or `mlflow`.
    """

    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    batch_size: int = 512
    workers: int = 0
    threads: int | None = None
    compile: bool = False
    progress: bool = True
    block_mb: int = 256
    save_seconds: float = 30.0
    trackers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise MethodError(f"Runtime(precision={self.precision!r}): not a precision. Use auto, float32 or bfloat16.")
        if self.batch_size < 1:
            raise MethodError(f"Runtime(batch_size={self.batch_size}): a batch holds at least one example.")
        if self.workers < 0:
            raise MethodError(f"Runtime(workers={self.workers}): a number of threads is not negative.")
        if self.threads is not None and self.threads < 1:
            raise MethodError(f"Runtime(threads={self.threads}): at least one thread is needed.")
        if self.block_mb < 1:
            raise MethodError(f"Runtime(block_mb={self.block_mb}): a block takes at least 1 MiB.")
        for tracker in self.trackers:
            if tracker not in ("tensorboard", "mlflow"):
                raise MethodError(f"Runtime(trackers={tracker!r}): unknown tracker. Use tensorboard or mlflow.")

    def plain(self) -> dict[str, Any]:
        """Gives the fields as plain data, for the record of how an artifact was made."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def rank() -> int:
    """Gives which of several processes of `torchrun` this is; 0, which alone writes files, where there is one."""
    return int(os.environ.get("RANK", "0"))
