"""Cells that a plan's own validity dates switch on and off: planned work, known before anything is counted.

When many of a zone's cells come on air or go off, phones register anew or fall onto the network across the border, and that
looks like a crowd. The plan says so beforehand; nothing here is derived from devices.
"""

from collections.abc import Iterable
from datetime import datetime

import polars as pl

from ingest.alarms import AFTER_RESTORE, NEW_SITE, SHARE_OF_A_ZONE
from ingest.release import HOUR

ON, OFF = "on", "off"


def switches(cells: pl.DataFrame) -> pl.DataFrame:
    """When cells are switched on or off: at, zone_id, cell, what (`on` or `off`); sorted.

    `cells`: cell (its name), zone_id, valid_from, valid_to, one row per validity, of cells in zones. A validity that goes
    on where the one before it ends, in the same zone, switches nothing. The instant with which the whole plan begins is no
    switch either: many carriers write one and the same `valid_from` into every row of an export.
    """
    ordered = cells.sort("cell", "valid_from", nulls_last=False)
    ended = pl.col("valid_to").shift(1).over("cell")
    begins_again = pl.col("valid_from").shift(-1).over("cell")
    zone_before, zone_after = (pl.col("zone_id").shift(by).over("cell") for by in (1, -1))
    begun = None if ordered["valid_from"].null_count() else ordered["valid_from"].min()
    goes_on = (ended == pl.col("valid_from")).fill_null(False) & (zone_before == pl.col("zone_id"))
    is_followed = (begins_again == pl.col("valid_to")).fill_null(False) & (zone_after == pl.col("zone_id"))
    is_begin = pl.lit(False) if begun is None else pl.col("valid_from") == begun
    on = ordered.filter(pl.col("valid_from").is_not_null() & ~goes_on & ~is_begin)
    off = ordered.filter(pl.col("valid_to").is_not_null() & ~is_followed)
    found = [
        table.select(pl.col(at).alias("at"), "zone_id", "cell", pl.lit(what).alias("what"))
        for table, at, what in ((on, "valid_from", ON), (off, "valid_to", OFF))
    ]
    return pl.concat(found).sort("at", "zone_id", "cell", "what")


def switched_hours(
    cells: pl.DataFrame, hours: Iterable[datetime], *, share: float = SHARE_OF_A_ZONE
) -> frozenset[datetime]:
    """Those of the hours in which at least `share` of any one zone's cells are being switched.

    A cell that comes on touches its first three hours, one that goes off the hour of it and 60 minutes more, as the same
    work in an alarm feed would (`ingest.alarms`).
    """
    known = switches(cells)
    return frozenset(
        hour for hour in hours if max(_shares(cells, known, hour)["share"].to_list(), default=0.0) >= share
    )


def switched_shares(cells: pl.DataFrame, hour: datetime) -> dict[str, float]:
    """Per zone that is touched in an hour, the share of its cells that are being switched."""
    found = _shares(cells, switches(cells), hour)
    return {zone: round(share, 3) for zone, share in found.select("zone_id", "share").iter_rows()}


def switched_cells(cells: pl.DataFrame, hours: Iterable[datetime]) -> dict[datetime, frozenset[str]]:
    """Per hour the cells that are being switched in it; the spans of `switched_hours`."""
    known = switches(cells)
    return {hour: frozenset(_touched(known, hour)["cell"]) for hour in hours}


def _touched(known: pl.DataFrame, hour: datetime) -> pl.DataFrame:
    reach = pl.when(pl.col("what") == ON).then(pl.lit(NEW_SITE)).otherwise(pl.lit(AFTER_RESTORE))
    return known.filter((pl.col("at") < hour + HOUR) & (pl.col("at") + reach > hour))


def _shares(cells: pl.DataFrame, known: pl.DataFrame, hour: datetime) -> pl.DataFrame:
    end = hour + HOUR
    touched = _touched(known, hour)
    # All that stood in the zone at any time since the earliest switch that still counts.
    there = cells.filter(
        (pl.col("valid_from").is_null() | (pl.col("valid_from") < end))
        & (pl.col("valid_to").is_null() | (pl.col("valid_to") > hour - NEW_SITE))
    )
    of = there.group_by("zone_id").agg(pl.col("cell").n_unique().alias("cells"))
    changed = touched.group_by("zone_id").agg(pl.col("cell").n_unique().alias("changed"))
    return (
        changed.join(of, on="zone_id", how="inner")
        .select("zone_id", share=pl.col("changed") / pl.col("cells"))
        .sort("zone_id")
    )
