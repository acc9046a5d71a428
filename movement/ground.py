"""The ground that movements happen on: which zone a cell belongs to, and which footprints overlap."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

INLAND = -1
"""The zone of a cell in no zone, and the cell of a roaming row."""


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """Cells and zones as arrays, so that a rule is a lookup.

    `cell_zone[c]` is the zone of cell c or INLAND; `is_crossing_point[z]` says what zone z is; `overlapping` holds the
    ordered pairs of overlapping footprints as a * cells + b, sorted. A cell always overlaps itself.
    """

    cell_zone: NDArray[np.int32]
    is_crossing_point: NDArray[np.bool_]
    overlapping: NDArray[np.int64]

    @property
    def cells(self) -> int:
        """How many cells the plan holds."""
        return len(self.cell_zone)

    def zones_of(self, cells: NDArray[np.int32]) -> NDArray[np.int32]:
        """The zone of each cell; INLAND for a roaming row's cell."""
        return np.where(cells >= 0, self.cell_zone[np.maximum(cells, 0)], INLAND).astype(np.int32)

    def overlap(self, a: NDArray[np.int32], b: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Whether the footprints of each pair of cells overlap."""
        keys = a.astype(np.int64) * self.cells + b
        found = np.searchsorted(self.overlapping, keys)
        known = np.zeros(len(keys), dtype=bool)
        inside = found < len(self.overlapping)
        known[inside] = self.overlapping[found[inside]] == keys[inside]
        same: NDArray[np.bool_] = (a == b) & (a >= 0)
        return same | known


def make_ground(cell_zone: NDArray[np.int32], is_crossing_point: NDArray[np.bool_], pairs: NDArray[np.int32]) -> Ground:
    """A ground from the zone per cell, the kind per zone and an (n, 2) array of overlapping cells, each order given."""
    pairs = pairs.reshape(-1, 2).astype(np.int64)
    keys = np.unique(
        np.concatenate([pairs[:, 0] * len(cell_zone) + pairs[:, 1], pairs[:, 1] * len(cell_zone) + pairs[:, 0]])
    )
    return Ground(cell_zone.astype(np.int32), is_crossing_point.astype(np.bool_), keys)
