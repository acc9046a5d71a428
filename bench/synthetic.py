"""Sightings of hours that never were: as many as asked for, made column by column, the same for the same seed.

Tokens are uniform; each has a cell at which it lives and is seen a few times an hour there or at a neighbour. Some cross
in an hour: at home until a moment of it and abroad after it, or the other way round, some of them back within minutes.
Every slot of an hour is a function of (seed, hour, slot), so that an hour of any length is made piece by piece.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from movement.advance import HOUR_MS, SIGHTING_SCHEMA
from movement.ground import INLAND, Ground
from movement.sighting import Side

SIGHTINGS_PER_TOKEN = 6
CROSSING_SHARE = 0.03
"""Of tokens, in an hour; several times what a border sees, so that the rules have work."""
BACK_AFTER_MS = 10 * 60_000
BACK_SHARE = 0.375
"""Of those who cross."""
ODD_SHARES = {Side.HOME_FROM_ABROAD: 0.002, Side.HOME_FROM_ELSEWHERE: 0.001, Side.ENDED: 0.003}
"""Of sightings."""
NEIGHBOUR_SHARE = 0.3
DUPLICATE_SHARE = 0.02
_NAME, _OTHER_HALF, _HOME_CELL, _FATE = range(4)


@dataclass(frozen=True, slots=True, eq=False)
class MadeUpHour:
    """An hour of `rows` sightings, given in slots of equal length as the batches of a stream would bring them."""

    rows: int
    slots: int
    seed: int
    hour_start_ms: int
    belt: NDArray[np.int32]  # the cells that tokens live at
    near: NDArray[np.int32]  # of each cell of the plan a neighbour, itself where it has none

    def __iter__(self) -> Iterator[pl.DataFrame]:
        return (self.slot(number) for number in range(self.slots))

    def slot(self, number: int) -> pl.DataFrame:
        """The sightings of one slot (SIGHTING_SCHEMA), in the order of time."""
        rows = self.rows * (number + 1) // self.slots - self.rows * number // self.slots
        draw = np.random.default_rng([self.seed, self.hour_start_ms, number])
        token = draw.integers(0, max(1, self.rows // SIGHTINGS_PER_TOKEN), rows)
        length = HOUR_MS // self.slots
        at = np.sort(draw.integers(0, length, rows)) + number * length
        side = self._side(token, at)
        odd, given = draw.random(rows), 0.0
        for other, share in ODD_SHARES.items():
            side[(odd >= given) & (odd < given + share) & (side == Side.HOME)] = other
            given += share
        lives = self.belt[(self._mixed(token, _HOME_CELL) % np.uint64(len(self.belt))).astype(np.int64)]
        there = np.where(draw.random(rows) < NEIGHBOUR_SHARE, self.near[lives], lives)
        cell = np.where(side >= Side.ABROAD, INLAND, there).astype(np.int32)
        # A row that is said twice takes the place of the next one.
        source = np.maximum(np.arange(rows) - (draw.random(rows) < DUPLICATE_SHARE), 0)
        columns = {
            "token": self._tokens(token[source]),
            "event_time": self.hour_start_ms + at[source],
            "cell": cell[source],
            "side": side[source],
        }
        made = pl.from_arrow(pa.table(columns))
        assert isinstance(made, pl.DataFrame)
        return made.cast(dict(SIGHTING_SCHEMA))  # type: ignore[arg-type]

    def _side(self, token: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.int8]:
        """HOME or ABROAD of each token at each moment of the hour."""
        fate = self._mixed(token, _FATE + self.hour_start_ms // HOUR_MS)
        crosses = (fate & np.uint64(0xFFFF)) < np.uint64(CROSSING_SHARE * 0x10000)
        turn = ((fate >> np.uint64(16)) & np.uint64(0xFFFFFFFF)).astype(np.int64) % HOUR_MS
        leaves = (fate >> np.uint64(48)) & np.uint64(1) == 1
        returns = (fate >> np.uint64(49)) < np.uint64(BACK_SHARE * 2**15)
        changed = (at >= turn) & ~(returns & (at >= turn + BACK_AFTER_MS))
        return np.where(crosses & (changed == leaves), int(Side.ABROAD), int(Side.HOME)).astype(np.int8)

    def _tokens(self, token: NDArray[np.int64]) -> pa.Array:
        words = np.stack([self._mixed(token, _NAME), self._mixed(token, _OTHER_HALF)], axis=1)
        return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(token), [None, pa.py_buffer(words)]).cast(
            pa.binary()
        )

    def _mixed(self, number: NDArray[np.int64], stream: int) -> NDArray[np.uint64]:
        """64 bits that look random for each number (splitmix64, Steele, Lea and Flood 2014)."""
        start = np.random.default_rng([self.seed, stream]).integers(2**63)
        with np.errstate(over="ignore"):
            mixed = (number.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(start)
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


def made_up_hour(rows: int, ground: Ground, *, hour_start_ms: int, seed: int, slots: int = 12) -> MadeUpHour:
    """An hour on the cells of a ground that are in a zone, which are those whose rows `sight` keeps."""
    belt = np.flatnonzero(ground.cell_zone >= 0).astype(np.int32)
    near = np.arange(ground.cells, dtype=np.int32)
    near[ground.overlapping // ground.cells] = ground.overlapping % ground.cells
    near = np.where(ground.cell_zone[near] >= 0, near, np.arange(ground.cells, dtype=np.int32))
    return MadeUpHour(rows, slots, seed, hour_start_ms, belt, near)
