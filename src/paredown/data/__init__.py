"""Data sets: where they come from, how they are read, checked, corrupted on purpose, augmented and dealt in batches."""

from paredown.data.augment import Augmentation
from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import AbstractDataset, ImageDataset, LearnableDataset
from paredown.data.loader import AbstractInputs, OnDevice, batches, epoch_order, unit
from paredown.data.pool import pooled
from paredown.data.source import AbstractSource, find_source, open_data

__all__ = [
    "AbstractDataset",
    "AbstractInputs",
    "AbstractSource",
    "Augmentation",
    "ImageDataset",
    "LabelNoise",
    "LearnableDataset",
    "OnDevice",
    "batches",
    "epoch_order",
    "find_source",
    "open_data",
    "pooled",
    "unit",
]
