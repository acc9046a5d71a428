"""Exponential smoothing after STL (R's package `forecast`, Hyndman et al.), on a subset of zones: a model of its class is too
slow for all of them (about 0.3 CPU-seconds a series and week).

Each series is fitted anew every week on the eight weeks before (robust STL with a season of a week, simple exponential
smoothing of what remains) and forecast a week ahead; a `null` is half its carrier's threshold. Ranked by the negative
binomial tail of its own residuals, under the product's floor. Debian: `apt-get install r-cran-forecast`.
"""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from bench.detection.methods import SEASONAL_NAIVE, ClassicalScorer, by_tail, series_until, taken
from bench.detection.series import Floats, floor_of
from bench.detection.worlds import World

SCRIPT: Final = Path(__file__).with_name("ets.R")
WEEK: Final = 168
FITTED_WEEKS: Final = 8


@cache
def missing() -> str | None:
    """Why the package cannot be asked; None if it can."""
    if shutil.which("Rscript") is None:
        return "R is not installed (apt-get install r-cran-forecast)"
    asked = ["Rscript", "-e", "suppressMessages(library(forecast))"]
    if subprocess.run(asked, capture_output=True, check=False).returncode:
        return "R has no package `forecast` (apt-get install r-cran-forecast)"
    return None


@dataclass(frozen=True, slots=True, eq=False)
class Ets:
    """STL + ETS on some zones; of the others it says nothing."""

    zones: tuple[str, ...]
    name: str = "STL + ETS + NB"

    def fit(self, world: World) -> "EtsScorer":
        """Its spread is that of the seasonal-naive residuals: fitting a quarter more would take as long again."""
        base = SEASONAL_NAIVE.fit(world)
        return EtsScorer(self.zones, base)


@dataclass(frozen=True, slots=True, eq=False)
class EtsScorer:
    """-log10 of the tail probability over the forecast."""

    zones: tuple[str, ...]
    base: ClassicalScorer
    threshold: float | None = None

    def __call__(self, world: World, first: datetime, last: datetime) -> pl.DataFrame:
        """Scores of its zones."""
        series = series_until(world, last)
        since, until = series.at(first), series.at(last) + 1
        rows = np.nonzero(series.key["zone_id"].is_in(self.zones).to_numpy())[0]
        starts = [at for at in range(since, until, WEEK) if at >= FITTED_WEEKS * WEEK]
        tasks = [(row, at) for row in rows for at in starts]
        expected = np.full(series.value.shape, np.nan)
        if tasks:
            forecast = _ask(np.stack([series.value[row, at - FITTED_WEEKS * WEEK : at] for row, at in tasks]))
            for (row, at), week in zip(tasks, forecast, strict=True):
                part = slice(at, min(at + WEEK, until))
                expected[row, part] = np.maximum(week[: part.stop - at], 0.5)
        may_flag = floor_of(series, expected, self.base.own)
        score = np.full(expected.shape, -np.inf)
        score[may_flag] = by_tail(taken(series, may_flag), expected[may_flag], self.base.whole)
        return series.scores(first, last, expected, score, may_flag)


def _ask(windows: Floats) -> Floats:
    """The next week of each row."""
    reason = missing()
    if reason:
        raise RuntimeError(reason)
    with tempfile.TemporaryDirectory(prefix="tidemark-ets-") as name:
        folder = Path(name)
        windows.astype(np.float64).tofile(folder / "counts")
        sizes = [str(n) for n in (windows.shape[1], windows.shape[0])]
        asked = ["Rscript", str(SCRIPT), str(folder / "counts"), *sizes, str(folder / "answer")]
        subprocess.run(asked, check=True, capture_output=True)
        return np.fromfile(folder / "answer").reshape(windows.shape[0], WEEK)
