"""Devices made up for an audit, and what the product's own `advance` counts of them, hour by hour."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from movement.advance import HOUR_MS, SIGHTING_SCHEMA, advance, empty_carry_over
from movement.ground import INLAND, Ground, make_ground
from movement.sighting import Side

HOURS = 24
DAY_MS = 20_000 * HOURS * HOUR_MS
ZONES = 3
GROUND: Ground = make_ground(
    np.arange(ZONES, dtype=np.int32), np.array([False, True, False]), np.zeros((0, 2), np.int32)
)
"""Three cells, each in a zone of its own; the second zone is a crossing point. No footprints overlap."""

Cell = tuple[int, int, int]
"""Hour of the token-day, zone, direction (0 arrival, 1 departure)."""
Row = tuple[bytes, int, int, int]
"""A sighting: token, event_time in ms, cell, side."""


def sightings(rows: Iterable[Row]) -> pl.DataFrame:
    """The rows as a table (SIGHTING_SCHEMA)."""
    return pl.DataFrame(list(rows), schema=SIGHTING_SCHEMA, orient="row")


def restless(token: bytes, movements: int, every_ms: int = 62 * 60_000) -> list[Row]:
    """A token that crosses there and back, arriving first, so far apart that nothing cancels."""
    rows: list[Row] = [(token, DAY_MS, INLAND, int(Side.ABROAD))]
    for number in range(movements):
        at = DAY_MS + (number + 1) * every_ms
        home = number % 2 == 0
        rows.append((token, at, 0 if home else INLAND, int(Side.HOME if home else Side.ABROAD)))
    return rows


def counted(
    table: pl.DataFrame,
    *,
    k: int,
    forgets_at: Sequence[int] = (),
    remembered: pl.DataFrame | None = None,
    ground: Ground = GROUND,
    day_ms: int = DAY_MS,
) -> tuple[Counter[Cell], pl.DataFrame]:
    """What a token-day adds to each zone-hour, and what is remembered at its end.

    `forgets_at` names hours before which the carry-over is lost and nobody minds: the product closes the day there.
    `remembered` is what the day begins with: nothing, as at every turn, unless a broken build says otherwise.
    """
    memory, counts = empty_carry_over() if remembered is None else remembered, Counter[Cell]()
    hours = table.select(((pl.col("event_time") - day_ms) // HOUR_MS).alias("hour"))["hour"]
    parts = {key[0]: part for key, part in table.with_columns(hour=hours).partition_by("hour", as_dict=True).items()}
    nothing = SIGHTING_SCHEMA.to_frame()
    for hour in range(HOURS + 1):
        rows = parts[hour].select(SIGHTING_SCHEMA.names()) if hour in parts else nothing
        start = day_ms + hour * HOUR_MS
        step = advance(empty_carry_over() if hour in forgets_at else memory, rows, ground, hour_start_ms=start, k=k)
        memory = step.carry_over
        for zone, direction, count in step.counts.iter_rows():
            counts[hour - 1, zone, direction] += count
    return counts, memory
