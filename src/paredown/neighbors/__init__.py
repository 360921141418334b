"""Nearest neighbours: exact or approximate, in blocks, of vectors that need not fit into memory."""

from paredown.neighbors.approximate import Ivf
from paredown.neighbors.base import AbstractIndex, Neighbors
from paredown.neighbors.exact import Exact, nearest_neighbors
from paredown.neighbors.graph import connected

__all__ = ["AbstractIndex", "Exact", "Ivf", "Neighbors", "connected", "nearest_neighbors"]
