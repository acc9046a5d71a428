"""Farrington flexible, computed by R's own package `surveillance` (Noufaily et al. 2013), in a process of its own.

Fed hourly: a period is a week, eight periods back (b), one hour either side (w), trend and re-weighting as by default,
threshold by the negative binomial plug-in at alpha 0.001, score the package's exceedance (observed - expected) / (upper -
expected). A `null` is half its carrier's threshold, 25. As nothing below the floor may be flagged, only hours are fitted
that stand at least SHARE_OF_FLOOR of the floor over the median of their own reference hours: the others would need an
expectation far below that median to pass. A fit takes 12 ms, so its threshold is only matched on the test span.

Debian: `apt-get install r-cran-surveillance`. Where R is absent the method is left out, and `missing()` says why.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final

import holidays
import numpy as np
import polars as pl

from bench.detection.methods import SEASONAL_NAIVE, ClassicalScorer, same_hour_of_week, series_until
from bench.detection.planting import HOUR_SPAN, Ints
from bench.detection.series import Floats, Series, floor_of
from bench.detection.worlds import World
from detector.calendar import Calendar, lunar_new_years
from detector.flag import MIN_EXCESS, excess_floor
from detector.likelihood import Dispersion

SCRIPT: Final = Path(__file__).with_name("farrington.R")
ALPHA, WEEKS, HALF_WINDOW = 0.001, 8, 1
SHARE_OF_FLOOR: Final = 0.75
ROWS: Final = 168 * WEEKS + HALF_WINDOW + 2


@cache
def missing() -> str | None:
    """Why the package cannot be asked; None if it can."""
    if shutil.which("Rscript") is None:
        return "R is not installed (apt-get install r-cran-surveillance)"
    asked = ["Rscript", "-e", "suppressMessages(library(surveillance))"]
    if subprocess.run(asked, capture_output=True, check=False).returncode:
        return "R has no package `surveillance` (apt-get install r-cran-surveillance)"
    return None


@dataclass(frozen=True, slots=True, eq=False)
class Farrington:
    """farringtonFlexible; with a holiday term, an offset that says how much more or less there is on such days."""

    name: str = "Farrington flexible"
    holiday_term: bool = False

    def fit(self, world: World) -> "FarringtonScorer":
        """The spread for the floor, and what holidays did to the whole border in the time before the test span."""
        before = series_until(world, world.hold_until - HOUR_SPAN)
        spread = SEASONAL_NAIVE.fit(world)
        assert isinstance(spread, ClassicalScorer)
        factors = _holiday_factors(before, world.calendar) if self.holiday_term else None
        return FarringtonScorer(spread.own, factors)


@dataclass(frozen=True, slots=True, eq=False)
class FarringtonScorer:
    """The package's exceedance score of the hours that could pass the floor."""

    own: Dispersion
    factors: Mapping[str, float] | None
    threshold: float | None = None

    def __call__(self, world: World, first: datetime, last: datetime) -> pl.DataFrame:
        """Scores of the hours asked for, of the world's focus only if it has one."""
        series = series_until(world, last)
        row, column = self._worth_fitting(series, world, first, last)
        expected, score = np.full(series.value.shape, np.nan), np.full(series.value.shape, -np.inf)
        if row.size:
            windows = np.stack([series.value[r, c - ROWS + 1 : c + 1] for r, c in zip(row, column, strict=True)])
            population = None
            if self.factors is not None:
                factor = np.array([self.factors[kind] for kind in day_kinds(series, world.calendar)])
                population = np.stack([factor[c - ROWS + 1 : c + 1] for c in column])
            answer = _ask(windows, population)
            expected[row, column], score[row, column] = answer[:, 0], answer[:, 1]
        may_flag = floor_of(series, expected, self.own) & np.isfinite(score)
        return series.scores(first, last, expected, score, may_flag)

    def _worth_fitting(self, series: Series, world: World, first: datetime, last: datetime) -> tuple[Ints, Ints]:
        lags = [168 * week + off for week in range(1, WEEKS + 1) for off in (-1, 0, 1)]
        since, until = max(series.at(first), ROWS), series.at(last) + 1
        asked = np.zeros(series.value.shape, dtype=bool)
        if world.focus is None:
            asked[:, since:until] = True
        else:
            place = {key: at for at, key in enumerate(series.key.iter_rows())}
            for zone, direction, window in world.focus.iter_rows():
                at = series.at(window)
                if since <= at < until and (zone, direction) in place:
                    asked[place[zone, direction], at] = True
        asked &= np.isfinite(series.observed) & (series.observed >= SHARE_OF_FLOOR * MIN_EXCESS)
        row, column = np.nonzero(asked)
        reference = np.stack([series.value[row, column - lag] for lag in lags])
        known = np.isfinite(reference).sum(axis=0) >= 2 * WEEKS
        median = np.array(
            [np.median(part[np.isfinite(part)]) if ok else 0.0 for part, ok in zip(reference.T, known, strict=True)]
        )
        sd = np.sqrt(series.sigma[row, column] ** 2 + self.own.variance(median))
        keep = known & (series.observed[row, column] - median >= SHARE_OF_FLOOR * excess_floor(sd))
        return row[keep], column[keep]


def day_kinds(series: Series, calendar: Calendar) -> list[str]:
    """What kind of day each hour belongs to."""
    hours = series.value.shape[1]
    windows = pl.datetime_range(
        series.start, series.start + (hours - 1) * HOUR_SPAN, "1h", eager=True, time_unit="us", time_zone="UTC"
    )
    days = windows.dt.convert_time_zone(calendar.time_zone).dt.date().to_list()
    known = {day: _kind(day, calendar) for day in set(days)}
    return [known[day] for day in days]


def _kind(day: date, calendar: Calendar) -> str:
    years = (day.year - 1, day.year, day.year + 1)
    if calendar.home == "VN":
        since = min(((day - first).days for first in lunar_new_years(years)), key=abs)
        if -12 <= since <= 15:
            return "before lunar" if since < 0 else "lunar" if since <= 3 else "after lunar"
    for country in (calendar.home, *calendar.across):
        listed = holidays.country_holidays(country, years=years)
        if day in listed:
            return "holiday"
        if day + timedelta(days=1) in listed:
            return "eve"
    return "ordinary"


def _holiday_factors(series: Series, calendar: Calendar) -> dict[str, float]:
    kinds = np.array(day_kinds(series, calendar))
    usual = same_hour_of_week(series, 8)
    known = np.isfinite(usual) & np.isfinite(series.value)
    factors = {}
    for kind in ("ordinary", "holiday", "eve", "before lunar", "lunar", "after lunar"):
        at = known & (kinds == kind)[None, :]
        factors[kind] = float(series.value[at].sum() / usual[at].sum()) if at.any() and kind != "ordinary" else 1.0
    return factors


def _ask(windows: Floats, population: Floats | None) -> Floats:
    """Expected and score of each row's last hour; nan where the package gave none."""
    reason = missing()
    if reason:
        raise RuntimeError(reason)
    with tempfile.TemporaryDirectory(prefix="tidemark-farrington-") as name:
        folder = Path(name)
        windows.astype(np.float64).tofile(folder / "counts")
        if population is not None:
            population.astype(np.float64).tofile(folder / "population")
        subprocess.run(
            [
                "Rscript",
                str(SCRIPT),
                str(folder / "counts"),
                str(folder / "population") if population is not None else "-",
                *(str(n) for n in (windows.shape[1], windows.shape[0], ALPHA, WEEKS, HALF_WINDOW)),
                str(folder / "answer"),
            ],
            check=True,
            capture_output=True,
        )
        return np.fromfile(folder / "answer").reshape(windows.shape[0], 2)
