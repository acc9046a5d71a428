"""Which cells count as one place: masts close together, or footprints with more than a quarter of their mass in common.

The mass in common is the sum over all tiles of the smaller of the two masses. On coarser tiles that sum is never smaller, so
most pairs are done with after a look at a handful of tiles.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
import shapely
from numpy.typing import NDArray

from geofence.footprint import WHOLE, WINDOW, Footprints

Ints = NDArray[np.int64]
Units = NDArray[np.uint32]

SAME_MAST_M = 300.0
OVERLAP = 0.25
TRIMMED = 0.025
"""The box that a footprint is first judged by leaves this much of its mass outside on each side: two boxes that do not
touch then have at most 0.2 in common."""
_CELLS_AT_ONCE = 2_000


def overlapping(prints: Footprints, x: NDArray[np.float64], y: NDArray[np.float64]) -> pl.DataFrame:
    """Every ordered pair of different cells (a, b: Int32, sorted) that count as one place; x, y: their masts."""
    masts = shapely.points(x, y)
    near = np.stack(shapely.STRtree(masts).query(masts, predicate="dwithin", distance=SAME_MAST_M))
    found = [near[:, near[0] < near[1]]]
    likely = list(_likely(prints, x, y))
    pairs = np.concatenate(likely, axis=1) if likely else np.zeros((2, 0), dtype=np.int64)
    found.append(pairs[:, _in_common(prints, pairs)])
    a, b = np.concatenate(found, axis=1)
    order = np.lexsort((np.concatenate([b, a]), np.concatenate([a, b])))
    ordered = np.stack([np.concatenate([a, b]), np.concatenate([b, a])])[:, order].astype(np.int32)
    return pl.DataFrame({"a": ordered[0], "b": ordered[1]})


def _likely(prints: Footprints, x: NDArray[np.float64], y: NDArray[np.float64]) -> Iterator[Ints]:
    """Pairs (a < b) on different masts whose coarsest tiles do not rule it out."""
    boxes = _boxes(prints)
    tree = shapely.STRtree(boxes)
    for start in range(0, len(boxes), _CELLS_AT_ONCE):
        a, b = tree.query(boxes[start : start + _CELLS_AT_ONCE])
        a = a + start
        kept = a < b
        a, b = a[kept], b[kept]
        kept = np.hypot(x[a] - x[b], y[a] - y[b]) > SAME_MAST_M
        pairs = np.stack([a[kept], b[kept]]).astype(np.int64)
        yield pairs[:, _not_ruled_out(prints, pairs, steps_up=2)]


def _boxes(prints: Footprints) -> NDArray[np.object_]:
    """Around each footprint, but for a little of its mass on every side."""
    edges = []
    for axis, first in ((1, prints.x), (2, prints.y)):
        held = np.cumsum(prints.mass.sum(axis=axis, dtype=np.int64), axis=1)
        low = (held <= TRIMMED * WHOLE).sum(axis=1)
        high = (held < (1 - TRIMMED) * WHOLE).sum(axis=1) + 1
        edges += [(first + low) * 2.0**prints.level, (first + high) * 2.0**prints.level]
    west, east, south, north = edges
    boxes: NDArray[np.object_] = shapely.box(west, south, east, north)
    return boxes


def _in_common(prints: Footprints, pairs: Ints) -> NDArray[np.bool_]:
    """Whether the footprints of each pair have more than a quarter of their mass in common."""
    kept = np.arange(pairs.shape[1])
    for steps_up in (1, 0):
        kept = kept[_not_ruled_out(prints, pairs[:, kept], steps_up=steps_up)]
    result = np.zeros(pairs.shape[1], dtype=bool)
    result[kept] = True
    return result


def _not_ruled_out(prints: Footprints, pairs: Ints, *, steps_up: int) -> NDArray[np.bool_]:
    """Which pairs still have more than a quarter in common on tiles some levels above those of the coarser cell.

    Where the levels lie so far apart that the finer footprint is not held at that level, the nearest one below is taken.
    """
    swapped = prints.level[pairs[0]] > prints.level[pairs[1]]
    fine, coarse = np.where(swapped, pairs[::-1], pairs)
    apart = prints.level[coarse] - prints.level[fine]
    above = np.maximum(np.minimum(steps_up, 2 - apart), 0)
    result = np.zeros(len(fine), dtype=bool)
    kind = apart * 3 + above
    for one in np.unique(kind):
        chosen = np.flatnonzero(kind == one)
        here, there, steps = fine[chosen], coarse[chosen], int(one % 3)
        common = _common(_raised(prints, here, int(one // 3) + steps), _raised(prints, there, steps))
        result[chosen] = common > OVERLAP * WHOLE
    return result


class _Windows:
    """Windows of some tiles a side, each at a place of its own; a pair is a place in `of` each."""

    def __init__(self, mass: Units, x: Ints, y: Ints, of: Ints) -> None:
        self.mass, self.x, self.y, self.of = mass, x, y, of


def _raised(prints: Footprints, cells: Ints, steps: int) -> _Windows:
    """The windows of cells on tiles so many levels up."""
    if steps <= 2:
        mass = (prints.mass, prints.halved, prints.quartered)[steps]
        return _Windows(mass, prints.x[cells] >> steps, prints.y[cells] >> steps, cells)
    # Far smaller than the other: its window is a few tiles of that level, and not begun at a multiple of them.
    own, back = np.unique(cells, return_inverse=True)
    size = (WINDOW >> steps) + 2
    along = []
    for first in (prints.y[own], prints.x[own]):
        place = ((first[:, None] + np.arange(WINDOW)) >> steps) - (first >> steps)[:, None]
        along.append((place[:, None, :] == np.arange(size)[None, :, None]).astype(np.float64))
    raised = along[0] @ prints.mass[own].astype(np.float64) @ along[1].transpose(0, 2, 1)
    return _Windows(np.rint(raised).astype(np.uint32), prints.x[own][back] >> steps, prints.y[own][back] >> steps, back)


def _common(one: _Windows, other: _Windows) -> Ints:
    """The sum of the smaller masses of each pair of windows; those at one distance from each other are cut alike."""
    size, other_size = one.mass.shape[1], other.mass.shape[1]
    shift_x, shift_y = other.x - one.x, other.y - one.y
    common = np.zeros(len(shift_x), dtype=np.int64)
    meets = (shift_x < size) & (shift_x > -other_size) & (shift_y < size) & (shift_y > -other_size)
    met = np.flatnonzero(meets)
    key = (shift_y[met] + other_size) * (size + other_size) + shift_x[met] + other_size
    order = np.argsort(key, kind="stable")
    for some in np.split(met[order], np.flatnonzero(np.diff(key[order])) + 1):
        if not len(some):
            continue
        rows, other_rows = _cut(int(shift_y[some[0]]), size, other_size)
        columns, other_columns = _cut(int(shift_x[some[0]]), size, other_size)
        for start in range(0, len(some), 20_000):
            part = some[start : start + 20_000]
            here = one.mass[one.of[part], rows, columns]
            there = other.mass[other.of[part], other_rows, other_columns]
            common[part] = np.minimum(here, there).sum(axis=(1, 2), dtype=np.int64)
    return common


def _cut(shift: int, size: int, other_size: int) -> tuple[slice, slice]:
    """The stretch that two windows share, in the first and in the second, which begins `shift` tiles later."""
    begin, end = max(0, shift), min(size, shift + other_size)
    return slice(begin, end), slice(begin - shift, end - shift)
