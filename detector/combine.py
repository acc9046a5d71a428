"""Combine the releases of several carriers into one history of the border (design.md, section 7; notes/privacy.md, 8).

A `null` of one carrier is no zero: the sum of the zone-hour is then only known to lie below a bound. What each carrier
said stays beside the sum, so that the likelihood can read a `null` as what it is: below *that* carrier's threshold. A
carrier that
is missing, or that says its own feed was incomplete, makes the zone-hour degraded; nothing is filled in for it.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Final, cast

import polars as pl

from ingest.release import Direction

Schema = dict[str, pl.DataType | type[pl.DataType]]

HOUR: Final = pl.Datetime("us", "UTC")

PUBLISHED_SCHEMA: Final[Schema] = {
    "carrier": pl.String,
    "zone_id": pl.String,
    "direction": pl.String,
    "window_start": HOUR,
    "value": pl.Int64,  # null: below the carrier's threshold
    "sigma": pl.Float64,  # known standard deviation of this carrier's noise
    "threshold": pl.Int64,
    "feed_complete": pl.Boolean,
    "release_digest": pl.String,
}

HISTORY_SCHEMA: Final[Schema] = {
    "zone_id": pl.String,
    "sector_id": pl.String,
    "kind": pl.String,  # belt | crossing_point
    "direction": pl.String,
    "window_start": HOUR,
    "value": pl.Int64,  # sum over carriers; null when any present carrier is below its threshold
    "suppressed": pl.Boolean,  # true: somebody reported, and the sum is only known to be below `censor_bound`
    "sigma": pl.Float64,  # sqrt of the sum of the carriers' noise variances
    "threshold": pl.Int64,  # sum of the thresholds: no published sum lies below it
    "known_sum": pl.Int64,  # sum of what was published: the whole is at least about this
    "known_sigma": pl.Float64,  # noise of known_sum
    "censor_bound": pl.Int64,  # sum of (published value, else threshold): a suppressed sum lies below it
    "carriers_expected": pl.Int32,
    "carriers_present": pl.Int32,
    "complete": pl.Boolean,
    # By carrier, in the order of their names; only as long as `carriers_present`:
    "carrier_values": pl.List(pl.Int64),  # null: below that carrier's threshold
    "carrier_sigmas": pl.List(pl.Float64),
    "carrier_thresholds": pl.List(pl.Int64),
    "release_digests": pl.List(pl.String),  # of the releases of this window, sorted
}


def combine(
    published: pl.DataFrame,
    zones: pl.DataFrame,
    expected_carriers: Collection[str],
    *,
    first_window: datetime | None = None,
    last_window: datetime | None = None,
) -> pl.DataFrame:
    """The history: one row for every zone, direction and hour from the first window to the last, both included.

    `published` has the columns of PUBLISHED_SCHEMA, one row per carrier, zone, direction and window; `zones` has
    zone_id, sector_id, kind. The answer has the columns of HISTORY_SCHEMA, sorted by zone, direction and window, and
    is dense: an hour of which nobody spoke is a row with `carriers_present` 0. Counts are added unexpanded (every
    carrier weighs 1), so the noise variances add as well. A carrier that nobody expects is left out.
    """
    if not expected_carriers:
        raise ValueError("at least one carrier is expected")
    rows = published.select(pl.col(name).cast(kind) for name, kind in PUBLISHED_SCHEMA.items()).filter(
        pl.col("carrier").is_in(sorted(set(expected_carriers)))
    )
    key = ["zone_id", "direction", "window_start"]
    if rows.select("carrier", *key).is_duplicated().any():
        raise ValueError("a carrier speaks once of a zone, direction and window")
    if not rows.join(zones, on="zone_id", how="anti").is_empty():
        raise ValueError("every published zone is in the zone table")

    if rows.is_empty() and not (first_window and last_window):
        raise ValueError("a history without releases needs its first and last window named")
    start = first_window or cast(datetime, rows["window_start"].min())
    end = last_window or cast(datetime, rows["window_start"].max())
    hours = pl.datetime_range(start, end, "1h", eager=True, time_unit="us").alias("window_start").cast(HOUR)

    is_published = pl.col("value").is_not_null()
    sums = (
        rows.sort("carrier")
        .group_by(key, maintain_order=True)
        .agg(
            pl.len().cast(pl.Int32).alias("carriers_present"),
            is_published.all().alias("_all_published"),
            pl.col("feed_complete").all().alias("_feeds_complete"),
            (pl.col("sigma") ** 2).sum().sqrt().alias("sigma"),
            pl.col("threshold").sum().alias("threshold"),
            pl.col("value").sum().alias("known_sum"),
            (pl.col("sigma") ** 2).filter(is_published).sum().sqrt().alias("known_sigma"),
            pl.coalesce("value", "threshold").sum().alias("censor_bound"),
            pl.col("value").alias("carrier_values"),
            pl.col("sigma").alias("carrier_sigmas"),
            pl.col("threshold").alias("carrier_thresholds"),
        )
    )
    digests = rows.group_by("window_start").agg(pl.col("release_digest").unique().sort().alias("release_digests"))
    directions = pl.DataFrame({"direction": sorted(str(direction) for direction in Direction)})
    expected = len(set(expected_carriers))
    return (
        zones.select("zone_id", "sector_id", "kind")
        .join(directions, how="cross")
        .join(hours.to_frame(), how="cross")
        .join(sums, on=key, how="left")
        .join(digests, on="window_start", how="left")
        .with_columns(
            pl.lit(expected, pl.Int32).alias("carriers_expected"),
            pl.col("carriers_present").fill_null(0),
            pl.when("_all_published").then("known_sum").alias("value"),
            (~pl.col("_all_published")).fill_null(value=False).alias("suppressed"),
            ((pl.col("carriers_present") == expected) & pl.col("_feeds_complete"))
            .fill_null(value=False)
            .alias("complete"),
        )
        .select(pl.col(name).cast(kind) for name, kind in HISTORY_SCHEMA.items())
        .sort(key)
    )
