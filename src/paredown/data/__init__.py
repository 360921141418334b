"""Data sets: where they come from, how they are read, checked, corrupted on purpose, augmented and dealt in batches."""

from paredown.data.augment import AbstractAugmentation, Augmentation
from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import AbstractDataset, AbstractImages, ImageDataset, LearnableDataset
from paredown.data.differentiable import SingleOperation
from paredown.data.generated import write_generated
from paredown.data.loader import AbstractInputs, OnDevice, batches, epoch_order, unit
from paredown.data.pool import ImagePool, parted, pooled
from paredown.data.sentences import SentenceDataset
from paredown.data.source import AbstractSource, find_source, open_data
from paredown.data.squares import Square
from paredown.data.stored_images import StoredImages
from paredown.data.streaming import Streamed

__all__ = [
    "AbstractAugmentation",
    "AbstractDataset",
    "AbstractImages",
    "AbstractInputs",
    "AbstractSource",
    "Augmentation",
    "ImageDataset",
    "ImagePool",
    "LabelNoise",
    "LearnableDataset",
    "OnDevice",
    "SentenceDataset",
    "SingleOperation",
    "Square",
    "StoredImages",
    "Streamed",
    "batches",
    "epoch_order",
    "find_source",
    "open_data",
    "parted",
    "pooled",
    "unit",
    "write_generated",
]
