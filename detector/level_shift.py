"""A zone that stands higher from one day on and stays there: most often a new cell, not people.

It would alert again and again until the levels have followed, weeks later. Where it is suspected the expectation starts
anew from the last three days, and the carrier is asked. Two things are taken for it, and both only while the rest of the
sector and the crossing points stay where they were:

* both directions of a zone stand higher on each of three days in a row, by about the same factor, as everything that a new
  cell carries does;
* one direction stands higher through a whole week, day and night, while the opposite does not move.

A flow in one direction is therefore told as what it is for its first week.
"""

from typing import Final

import numpy as np
import polars as pl

from detector.likelihood import Floats
from detector.residual import Hours, running

LEAST_LOG_FACTOR: Final = 0.14  # each day at least 15 % above expectation
LEAST_Z_A_DAY: Final = 1.5
LEAST_Z: Final = 4.0  # of the three days together
ALIKE: Final = 0.5  # the opposite direction is lifted by at least half as much; surroundings by less than half
WEEK_LEAST_LOG_FACTOR: Final = 0.22
WEEK_LEAST_Z: Final = 6.0
MOST_LOG_FACTOR: Final = 1.2
NEW_LEVEL_LOG_SD: Final = 0.12  # how far three days leave the new level open
_DAY: Final = 24
_PRECISION: Final = 4.0


def level_shifts(hours: Hours, rows: pl.DataFrame) -> Floats:
    """The log factor by which the expectation of each hour of a belt starts anew, series x hour; 0 where none is suspected.

    `rows` are those that the hours were made of (own_7d, opposite_24h, shift_z), sorted alike. All of it is past.
    """
    sums, weights = running(hours.pull), running(hours.weight)
    days = [(_trailing(sums, _DAY, 1 + _DAY * d), _trailing(weights, _DAY, 1 + _DAY * d)) for d in range(3)]
    by_day = np.stack([_log_factor(*day) for day in days])
    sure = np.min([day[0] / np.sqrt(day[1] + 1.0) for day in days], axis=0) >= LEAST_Z_A_DAY
    least = np.where(sure, by_day.min(axis=0), 0.0)
    pull, weight = (np.sum([day[part] for day in days], axis=0) for part in (0, 1))
    # The middle one of three days: one day of a crowd is no level.
    own, z = np.median(by_day, axis=0), pull / np.sqrt(weight + 1.0)
    around = hours.around
    # The opposite direction's least day, the sure ones only: a lift of both is a lift of each.
    opposite = np.where((around.opposite >= 0)[:, None], least[around.opposite], 0.0)
    both = (least >= LEAST_LOG_FACTOR) & (z >= LEAST_Z) & (opposite >= ALIKE * own)
    week, opposite_week, week_z = (
        rows[name].to_numpy().reshape(own.shape) for name in ("own_7d", "opposite_24h", "shift_z")
    )
    one = (
        (least >= LEAST_LOG_FACTOR)
        & (week >= WEEK_LEAST_LOG_FACTOR)
        & (week_z >= WEEK_LEAST_Z)
        & (np.abs(opposite_week) < ALIKE * week)
    )
    suspected = (both | one) & (_rest(hours, pull, weight) < ALIKE * own) & around.belt[:, None]
    suspected[:, : 3 * _DAY] = False
    return np.asarray(np.where(suspected, np.clip(own, 0.0, MOST_LOG_FACTOR), 0.0))


def rebased(rows: pl.DataFrame, shift: Floats) -> pl.DataFrame:
    """The rows (sorted by zone, direction, window) at their new levels: `expected`, `spread`, and `level_shift`, its log."""
    log = shift.ravel()
    if not log.any():
        return rows.with_columns(pl.lit(0.0).alias("level_shift"))
    expected, spread = (rows[name].to_numpy() * np.exp(log) for name in ("expected", "spread"))
    wider = np.sqrt(spread**2 + np.where(log > 0, NEW_LEVEL_LOG_SD * expected, 0.0) ** 2)
    return rows.with_columns(pl.Series("expected", expected), pl.Series("spread", wider), pl.Series("level_shift", log))


def _rest(hours: Hours, pull: Floats, weight: Floats) -> Floats:
    """The highest log factor of what stands around each series: its sector's other belts, its crossing points."""
    around = hours.around
    answer = np.zeros_like(pull)
    for members in (around.belt, ~around.belt):
        parts = []
        for array in (pull, weight):
            counted = np.where(members[:, None], array, 0.0)
            total = np.zeros((around.groups, array.shape[1]))
            np.add.at(total, around.group, counted)
            parts.append(total[around.group] - counted)
        answer = np.maximum(answer, _log_factor(parts[0], np.maximum(parts[1], 0.0)))
    return answer


def _log_factor(pull: Floats, weight: Floats) -> Floats:
    return np.asarray(np.log1p(np.maximum(pull / (weight + _PRECISION), -0.9)))


def _trailing(running: Floats, count: int, back: int) -> Floats:
    """For each hour the sum of `count` hours that end `back` hours before it."""
    hours = running.shape[1] - 1
    end = np.clip(np.arange(hours) - back + 1, 0, hours)
    return np.asarray(running[:, end] - running[:, np.maximum(end - count, 0)])
