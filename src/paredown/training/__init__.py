"""Training: one loop, the settings that decide what it computes, and the recorder that also serves other loops."""

from __future__ import annotations

from paredown.training.callbacks import hugging_face_callback, lightning_callback
from paredown.training.loop import fit
from paredown.training.optimizers import AbstractOptimizer, Adam, AdamW, Sgd
from paredown.training.record import Recorder, Recording
from paredown.training.schedules import AbstractSchedule, Constant, Cosine, Linear, Step, Triangular
from paredown.training.training import Training

__all__ = [
    "AbstractOptimizer",
    "AbstractSchedule",
    "Adam",
    "AdamW",
    "Constant",
    "Cosine",
    "Linear",
    "Recorder",
    "Recording",
    "Sgd",
    "Step",
    "Training",
    "Triangular",
    "fit",
    "hugging_face_callback",
    "lightning_callback",
]
