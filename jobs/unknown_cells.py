"""Which cells a feed names that the plan does not know, and how many rows came from such cells; for the carrier's own eyes.

The two are never told together. Rows are counted by hour and source, without a cell; cells are named without a count, a
time, a source or an order of coming. A cell's key is part of the carrier's network and says nothing of anybody; how many rows
came over one seldom used cell in one hour would.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from geofence.cell_plan import KEY
from ingest.door import judge_rows
from ingest.files import FileFormat, Layout
from ingest.read import FileDamaged, read_rows
from ingest.token_day import folder_name, hour_start
from jobs.feed_check import FeedUnknown, format_of
from movement.sight_rows import RECEIVED
from movement.sighting import Fate

MOST_LISTED = 10_000
"""Beyond so many cells it is the plan that is missing, not some of its cells."""
NOT_IN_PLAN, NOT_VALID = "not in the plan", "not valid at the time"
_ON_CELLS = frozenset({Fate.SIGHTING.value, Fate.OUTSIDE_BELT.value, Fate.UNKNOWN_CELL.value})


def rows_on_unknown_cells(
    rows: Iterable[Mapping[str, Any]], *, now: datetime, span: timedelta
) -> list[dict[str, str | int | float]]:
    """Per hour and source the rows received and those on cells that are unknown or were not valid, of the span before now.

    `rows` are those of batch records (source, hour, what, rows). `share` is of the accepted rows that name a cell or
    should.
    """
    since = folder_name(hour_start(now - span))
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for row in rows:
        if row["hour"] is not None and row["hour"] >= since:
            of_hour = counts.setdefault((row["hour"], row["source"]), {})
            of_hour[row["what"]] = of_hour.get(row["what"], 0) + row["rows"]
    found: list[dict[str, str | int | float]] = []
    for (hour, source), what in sorted(counts.items()):
        unknown = what.get(Fate.UNKNOWN_CELL.value, 0)
        on_cells = sum(count for name, count in what.items() if name in _ON_CELLS)
        found.append(
            {
                "hour": hour,
                "source": source,
                "received": what.get(RECEIVED, 0),
                "on_unknown_cells": unknown,
                "share": round(unknown / on_cells, 4) if on_cells else 0.0,
            }
        )
    return found


def cells_not_known(
    files: Sequence[Path], kind: FileFormat | None, layout: Layout | None, plan: pl.DataFrame
) -> tuple[pl.DataFrame, bool]:
    """The cells that accepted rows of some files name and a checked plan does not hold then, and whether that is all.

    Columns rat, plmn, cell_id, why (NOT_IN_PLAN or NOT_VALID); sorted by key, at most MOST_LISTED. Raises FeedUnknown
    for a file that cannot be read.
    """
    found = pl.DataFrame(schema={**dict.fromkeys(KEY, pl.String), "why": pl.String})
    for path in files:
        of_file = kind or format_of(path)
        try:
            if of_file is None:
                raise FileDamaged
            for rows in read_rows(path, of_file, layout):
                found = pl.concat([found, _not_known(rows, plan)]).unique()
        except FileDamaged as damaged:
            raise FeedUnknown(f"a file cannot be read: {damaged.reason.value}") from None
        if found.height > MOST_LISTED:
            break
    ordered = found.sort(*KEY, "why")
    return ordered.head(MOST_LISTED), ordered.height <= MOST_LISTED


def _not_known(rows: pl.DataFrame, plan: pl.DataFrame) -> pl.DataFrame:
    named = rows.filter(judge_rows(rows).is_null() & pl.col("cell_id").is_not_null()).select(*KEY, "event_time")
    named = named.unique().with_row_index("row")
    held = named.join(plan.select(*KEY, "valid_from", "valid_to"), on=list(KEY), how="inner")
    valid = held.filter(
        (pl.col("valid_from").is_null() | (pl.col("valid_from") <= pl.col("event_time")))
        & (pl.col("valid_to").is_null() | (pl.col("valid_to") > pl.col("event_time")))
    )
    missed = named.join(valid, on="row", how="anti")
    in_plan = pl.col("row").is_in(held["row"].unique().implode())
    why = pl.when(in_plan).then(pl.lit(NOT_VALID)).otherwise(pl.lit(NOT_IN_PLAN)).alias("why")
    return missed.select(*KEY, why)
