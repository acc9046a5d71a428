"""The truth of a simulation as a table: movements by zone-hour, direction and class, never delivered with the rest."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import polars as pl

from simulator.rates import DIRECTIONS, LAW_CLASSES, Ints, MovementClass, whole_hour

CLASS_COLUMNS = (*LAW_CLASSES, MovementClass.SURGE)


def truth_table(zone_ids: Sequence[str], start: datetime, by_class: Ints) -> pl.DataFrame:
    """Columns zone_id, direction, window_start, one for each class, movements (their sum); zeros included.

    `by_class` has shape (class of CLASS_COLUMNS, hour, zone, direction).
    """
    _, hours, zones, _ = by_class.shape
    start = whole_hour(start).replace(tzinfo=None)
    window = np.datetime64(start, "us") + np.arange(hours) * np.timedelta64(3_600_000_000, "us")
    places, ways = pl.Series(list(zone_ids)), pl.Series([str(direction) for direction in DIRECTIONS])
    return pl.DataFrame(
        {
            "zone_id": places.gather(np.tile(np.repeat(np.arange(zones), 2), hours)),
            "direction": ways.gather(np.tile(np.arange(2), hours * zones)),
            "window_start": pl.Series(np.repeat(window, zones * 2)).dt.replace_time_zone("UTC"),
            **{str(name): by_class[at].ravel() for at, name in enumerate(CLASS_COLUMNS)},
            "movements": by_class.sum(axis=0).ravel(),
        }
    )
