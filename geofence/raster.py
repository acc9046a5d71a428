"""The metric raster that footprints lie on: square tiles on a plane, at every power of two of a metre.

A tile of level k is 2^k metres wide and has whole numbers for a place, so that tiles of different cells are the same tiles,
four of one level make one of the next, and no part of the plane is outside.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geofence.side import tiles

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NOBODY = -1
BLOCK_STEPS = 2
"""Tiles are first asked by blocks of 4 x 4, and those by blocks of 4 x 4: most ground is of one kind only."""
_MIXED = -2
_PIECE_VERTICES = 64


@dataclass(frozen=True, slots=True)
class Fractions:
    """How much of each tile lies in which region: rows of (tile, region, fraction), sorted by tile; `first` per tile."""

    first: Ints  # of tiles + 1: where a tile's rows begin and end
    region: Ints
    fraction: Floats


class Regions:
    """Ground of several kinds, asked by tile; region n is the n-th shape given, and the rest is nobody's."""

    def __init__(self, shapes: NDArray[Any]) -> None:
        pieces = [tiles(shape, _PIECE_VERTICES) for shape in shapes]
        self.count = len(shapes)
        self._pieces: NDArray[Any] = np.concatenate(pieces) if pieces else np.empty(0, dtype=object)
        self._owner = np.repeat(np.arange(len(shapes)), [len(part) for part in pieces])
        shapely.prepare(self._pieces)
        self._tree = shapely.STRtree(self._pieces)

    def fractions(self, x: Ints, y: Ints, level: int) -> Fractions:
        """How much of each tile (different ones, of one level) lies in which region."""
        owner = self._owners(x, y, level, BLOCK_STEPS)
        pure = np.flatnonzero(owner >= 0)
        mixed = np.flatnonzero(owner == _MIXED)
        boxes = _boxes(x[mixed], y[mixed], level)
        tile, piece = self._tree.query(boxes, predicate="intersects")
        area = shapely.area(shapely.intersection(boxes[tile], self._pieces[piece])) / 4.0**level
        tile, piece, area = tile[area > 0], piece[area > 0], area[area > 0]
        pair, back = np.unique(mixed[tile] * self.count + self._owner[piece], return_inverse=True)
        held = np.minimum(np.bincount(back, weights=area, minlength=len(pair)), 1.0)
        rows = np.concatenate([pure, pair // max(self.count, 1)])
        order = np.argsort(rows, kind="stable")
        first = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(x)))])
        region = np.concatenate([owner[pure], pair % max(self.count, 1)])[order]
        return Fractions(first, region, np.concatenate([np.ones(len(pure)), held])[order])

    def _owners(self, x: Ints, y: Ints, level: int, steps: int) -> Ints:
        """The region that a tile lies in wholly, NOBODY, or _MIXED for what has to be looked at closer."""
        owner = np.full(len(x), _MIXED, dtype=np.int64)
        asked = np.arange(len(x))
        if steps:
            block_x, block_y, back = unique_tiles(x >> 2, y >> 2)
            owner = self._owners(block_x, block_y, level + 2, steps - 1)[back]
            asked = np.flatnonzero(owner == _MIXED)
        boxes = _boxes(x[asked], y[asked], level)
        tile, piece = self._tree.query(boxes, predicate="intersects")
        inside = shapely.contains_properly(self._pieces[piece], boxes[tile])
        lowest, highest = np.full(len(asked), self.count), np.full(len(asked), NOBODY)
        np.minimum.at(lowest, tile, self._owner[piece])
        np.maximum.at(highest, tile, self._owner[piece])
        found = np.where(highest == NOBODY, NOBODY, _MIXED)
        # Regions may lie upon each other: wholly in one is not yet in no other.
        alone = inside & (lowest[tile] == highest[tile])
        found[tile[alone]] = self._owner[piece[alone]]
        owner[asked] = found
        return owner


def unique_tiles(x: Ints, y: Ints) -> tuple[Ints, Ints, Ints]:
    """The different tiles among many, and for each of the many its place among them.

    >>> [found.tolist() for found in unique_tiles(np.array([-3, 5, -3]), np.array([2, -9, 2]))]
    [[5, -3], [-9, 2], [1, 0, 1]]
    """
    key, back = np.unique((y << 32) + (x + (1 << 31)), return_inverse=True)
    return (key & 0xFFFFFFFF) - (1 << 31), key >> 32, back


def _boxes(x: Ints, y: Ints, level: int) -> NDArray[Any]:
    width = 2.0**level
    boxes: NDArray[Any] = shapely.box(x * width, y * width, (x + 1) * width, (y + 1) * width)
    return boxes
