"""A history as matrices of series x hour, the way that classical methods read it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from bench.detection.planting import HOUR_SPAN
from detector.features import span
from detector.flag import MIN_EXCESS, passes_floor, sighted
from detector.likelihood import Dispersion

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
SCORE_COLUMNS: Final = ("zone_id", "direction", "window_start", "score", "may_flag", "observed", "expected", "excess")


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Belt series in rows, hours in columns.

    value: the sum over carriers, a `null` as half its threshold, nan where incomplete. observed, noise: what a floor
    looks at (detector.flag.sighted), nan where nothing was published. sigma: known noise of all carriers.
    """

    key: pl.DataFrame  # zone_id, direction
    start: datetime
    value: Floats
    observed: Floats
    noise: Floats
    sigma: Floats
    complete: Bools

    def at(self, window: datetime) -> int:
        """The column of a window."""
        return int((window - self.start) / HOUR_SPAN)

    def scores(self, first: datetime, last: datetime, expected: Floats, score: Floats, may_flag: Bools) -> pl.DataFrame:
        """SCORE_COLUMNS of the hours in which this method may flag, from the first to the last window."""
        part = np.zeros(self.value.shape[1], dtype=bool)
        part[self.at(first) : self.at(last) + 1] = True
        row, column = np.nonzero(may_flag & part[None, :])
        observed, mean = self.observed[row, column], expected[row, column]
        windows = pl.Series([self.start]).cast(pl.Datetime("us", "UTC"))[0]
        return pl.DataFrame(
            {
                "zone_id": self.key["zone_id"].gather(row),
                "direction": self.key["direction"].gather(row),
                "window_start": pl.Series(column, dtype=pl.Int64) * 3_600_000_000,
                "score": score[row, column],
                "may_flag": np.ones(row.size, dtype=bool),
                "observed": observed,
                "expected": mean,
                "excess": observed - mean,
            }
        ).with_columns((pl.lit(windows) + pl.duration(microseconds=pl.col("window_start"))).alias("window_start"))


def read_series(history: pl.DataFrame) -> Series:
    """The belt series of a history (HISTORY_SCHEMA, dense), sorted by zone and direction; those never spoken of left out."""
    belt = history.filter(pl.col("kind") == "belt").sort("zone_id", "direction", "window_start")
    spoken = belt.group_by("zone_id", "direction").agg((pl.col("carriers_present").max() > 0).alias("_spoken"))
    belt = belt.join(spoken.filter("_spoken"), on=["zone_id", "direction"], how="semi", maintain_order="left")
    key = belt.select("zone_id", "direction").unique(maintain_order=True)
    first, last = span(belt)
    shape = (key.height, int((last - first) / HOUR_SPAN) + 1)
    complete = belt["complete"].to_numpy()
    nulls = belt.select(
        (pl.col("carrier_values").is_null().fill_null(value=True)).alias("none"),
        pl.col("threshold").cast(pl.Float64).alias("whole"),
        pl.col("carrier_values").list.len().cast(pl.Float64).alias("number"),
        pl.col("carrier_values").list.drop_nulls().list.len().cast(pl.Float64).alias("said"),
        pl.col("known_sum").cast(pl.Float64).fill_null(0.0).alias("known"),
    )
    missing = (nulls["number"] - nulls["said"]).to_numpy()
    half = nulls["whole"].to_numpy() / np.maximum(nulls["number"].to_numpy(), 1.0) / 2
    value = nulls["known"].to_numpy() + np.where(missing > 0, missing * half, 0.0)
    observed, noise = sighted(belt)
    return Series(
        key=key,
        start=first,
        value=np.where(complete, value, np.nan).reshape(shape),
        observed=np.where(complete, observed, np.nan).reshape(shape),
        noise=noise.reshape(shape),
        sigma=belt["sigma"].fill_null(0.0).to_numpy().reshape(shape),
        complete=complete.reshape(shape),
    )


def floor_of(series: Series, expected: Floats, dispersion: Dispersion) -> Bools:
    """Where the product's floor lets a method flag that has this expectation and this spread."""
    answer = np.zeros(series.value.shape, dtype=bool)
    at = np.nonzero(np.isfinite(series.observed) & np.isfinite(expected) & (series.observed - expected >= MIN_EXCESS))
    mean = np.maximum(expected[at], 0.0)
    answer[at] = passes_floor(
        series.observed[at], mean, series.sigma[at], np.maximum(series.noise[at], 1e-3), np.zeros(mean.size), dispersion
    )
    return answer
