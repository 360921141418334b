"""Training: one loop, the settings that decide what it computes, and the recorder that also serves other loops."""

from __future__ import annotations

from paredown.training.callbacks import hugging_face_callback, lightning_callback
from paredown.training.loop import fit
from paredown.training.mixing import Extra, Mixing
from paredown.training.objectives import AbstractObjective, CrossEntropy, Madry, Mart, Seen, Trades
from paredown.training.optimizers import AbstractOptimizer, Adam, AdamW, Sgd
from paredown.training.passes import Passes
from paredown.training.record import Recorder, Recording
from paredown.training.schedules import AbstractSchedule, Constant, Cosine, Linear, OneCycle, Step, Triangular
from paredown.training.single_step import Fast, Free
from paredown.training.soft_labels import SoftCrossEntropy, SquaredError
from paredown.training.training import Training
from paredown.training.validation import Validation

__all__ = [
    "AbstractObjective",
    "AbstractOptimizer",
    "AbstractSchedule",
    "Adam",
    "AdamW",
    "Constant",
    "Cosine",
    "CrossEntropy",
    "Extra",
    "Fast",
    "Free",
    "Linear",
    "Madry",
    "Mart",
    "Mixing",
    "OneCycle",
    "Passes",
    "Recorder",
    "Recording",
    "Seen",
    "Sgd",
    "SoftCrossEntropy",
    "SquaredError",
    "Step",
    "Trades",
    "Training",
    "Triangular",
    "Validation",
    "fit",
    "hugging_face_callback",
    "lightning_callback",
]
