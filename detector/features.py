"""What is known about a zone-hour before it is looked at: its usual level, its past, its surroundings, its calendar.

Everything a zone-hour is told about its own direction ends at least 24 hours before it; an excess two hours ago would
raise what is expected now and so hide itself (notes/detection.md, 3.6). Of the same hour it is told only about *other*
places: the official crossing points, the far part of the border, the opposite direction.

A `null` is never filled with a number. Levels are the most probable ones given what was published and that the rest
lay below its bound, each drawn towards a wider level: hour of week -> hour of day -> zone -> PRIOR_LEVEL. So a zone
that is always null ends near the prior, with a wide spread, and not at zero.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, cast

import numpy as np
import polars as pl

from detector.calendar import CALENDAR_FEATURES, Calendar, calendar_features
from detector.combine import HISTORY_SCHEMA
from detector.likelihood import PRIOR_DISPERSION, Bools, Cells, Floats, censored_pull, standardised_residual

OWN_FEATURES: Final = (
    "log_level",
    "level_spread",
    "log_zone_level",
    "own_yesterday",
    "own_last_week",
    "own_24h",
    "own_7d",
    "published_share_28d",
)
SURROUNDING_FEATURES: Final = (
    "neighbours_level",
    "neighbours_24h",
    "official_now",
    "official_24h",
    "region_now",
    "region_24h",
    "opposite_now",
    "opposite_24h",
)
PLACE_FEATURES: Final = ("crossing_point", "departure")
FEED_FEATURES: Final = ("carriers", "noise_sd", "complete_share_7d")
FEATURES: Final = OWN_FEATURES + SURROUNDING_FEATURES + CALENDAR_FEATURES + PLACE_FEATURES + FEED_FEATURES

LOOKBACK_DAYS: Final = 120  # history wanted before the first hour that is judged; more changes nothing that matters

PRIOR_LEVEL: Final = 10.0  # movements an hour where nothing is known
PRIOR_LOG_SD: Final = 1.0
_HOUR_OF_DAY_LOG_SD: Final = 0.8
_HOUR_OF_WEEK_LOG_SD: Final = 0.4
_FACTOR_PRECISION: Final = 4.0  # a log factor is drawn to zero as by a prior of sd 0.5
_ZONE_KAPPA: Final = 1.0  # hours of the day differ much around the level of the whole zone
_OUTLIER_SD: Final = 3.0


class Sums(NamedTuple):
    """What a censored level needs to know of a set of cells: counts and sums, each series x hour."""

    published: Floats
    value: Floats
    below: Floats  # suppressed by every carrier
    below_bound: Floats
    between: Floats  # suppressed by some, published by others
    between_low: Floats
    between_bound: Floats
    noise: Floats  # variance, of all the cells


@dataclass(frozen=True, slots=True)
class Panel:
    """The history as matrices: one row per zone and direction (series), one column per hour."""

    series: pl.DataFrame  # zone_id, sector_id, kind, direction
    value: Floats  # nan where not published
    low: Floats  # -inf where no carrier published
    bound: Floats
    noise: Floats  # variance
    published: Bools
    censored: Bools


def add_features(history: pl.DataFrame, neighbours: Mapping[str, Sequence[str]], calendar: Calendar) -> pl.DataFrame:
    """The history with FEATURES, `level` (the offset of the model), `history_days` beside it, sorted by zone,
    direction and window.

    `history` is dense, as `combine` gives it: each zone and direction has every hour from the first to the last.
    Degraded hours take no part in any level. `history_days` counts the complete days seen of that zone and direction
    before the hour.
    """
    table = history.select(list(HISTORY_SCHEMA)).sort("zone_id", "direction", "window_start")
    panel = _panel(table)
    hours = panel.value.shape[1]

    log_level, spread, log_zone_level = _levels(panel)
    level = np.exp(log_level)
    score, information = _score(panel, level)
    seen = (panel.published | panel.censored).astype(float)
    surroundings = _surroundings(panel.series, neighbours)

    def past(array: Floats, *, first: int, count: int) -> Floats:
        return trailing(array, stride=1, first=first, count=count)

    def factor(of: Callable[[Floats], Floats]) -> Floats:
        """The log factor by which some group of cells stood above its level: one scoring step towards it."""
        return of(score) / (of(information) + _FACTOR_PRECISION)

    def last_day(array: Floats) -> Floats:
        return past(array, first=24, count=24)

    columns: dict[str, Floats] = {
        "log_level": log_level,
        "level_spread": spread,
        "log_zone_level": log_zone_level,
        "own_yesterday": factor(lambda a: past(a, first=24, count=1)),
        "own_last_week": factor(lambda a: past(a, first=168, count=1)),
        "own_24h": factor(last_day),
        "own_7d": factor(lambda a: past(a, first=24, count=168)),
        "published_share_28d": past(panel.published.astype(float), first=24, count=672)
        / np.maximum(past(seen, first=24, count=672), 1.0),
        "neighbours_level": surroundings.neighbours
        @ log_level
        / np.maximum(surroundings.neighbours.sum(axis=1), 1.0)[:, None],
        "neighbours_24h": factor(lambda a: surroundings.neighbours @ last_day(a)),
        "official_now": factor(lambda a: surroundings.official @ a),
        "official_24h": factor(lambda a: surroundings.official @ last_day(a)),
        "region_now": factor(lambda a: surroundings.region @ a),
        "region_24h": factor(lambda a: surroundings.region @ last_day(a)),
        "opposite_now": factor(lambda a: surroundings.opposite @ a),
        "opposite_24h": factor(lambda a: surroundings.opposite @ last_day(a)),
        "complete_share_7d": past(seen, first=24, count=168) / 168.0,
    }
    by_hour = calendar_features(table["window_start"].head(hours), calendar)
    return table.with_columns(
        *(pl.Series(name, values.ravel(), dtype=pl.Float32) for name, values in columns.items()),
        *(pl.Series(name, np.tile(by_hour[name].to_numpy(), panel.series.height)) for name in CALENDAR_FEATURES),
        pl.Series("level", level.ravel(), dtype=pl.Float64),
        pl.Series("history_days", (past(seen, first=1, count=hours) / 24.0).ravel(), dtype=pl.Float64),
        (pl.col("kind") == "crossing_point").cast(pl.Float32).alias("crossing_point"),
        (pl.col("direction") == "departure").cast(pl.Float32).alias("departure"),
        pl.col("carriers_expected").cast(pl.Float32).alias("carriers"),
        pl.col("sigma").cast(pl.Float32).alias("noise_sd"),
    )


def cells_of(table: pl.DataFrame) -> Cells:
    """What was published of each row of a history.

    A published value is a whole number, so one below its bound lies below bound - 1/2.
    """
    known = table["known_sum"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    some_published = table["known_sigma"].fill_null(0.0).to_numpy() > 0
    return Cells(
        value=table["value"].cast(pl.Float64).fill_null(np.nan).to_numpy(),
        low=np.where(some_published, known - 0.5, -np.inf),
        bound=table["censor_bound"].cast(pl.Float64).fill_null(np.nan).to_numpy() - 0.5,
        censored=table["suppressed"].to_numpy(),
        noise_variance=(table["sigma"].fill_null(0.0) ** 2).to_numpy(),
    )


def span(table: pl.DataFrame) -> tuple[datetime, datetime]:
    """The first and the last window of a history; refuses an empty one."""
    if table.is_empty():
        raise ValueError("a history has at least one hour")
    return cast(datetime, table["window_start"].min()), cast(datetime, table["window_start"].max())


def trailing(array: Floats, *, stride: int, first: int, count: int) -> Floats:
    """For each hour t the sum of array[t - first - k x stride] for k in 0..count-1; hours before the first are zero.

    >>> trailing(np.array([[1.0, 2.0, 3.0, 4.0]]), stride=2, first=1, count=2)
    array([[0., 1., 2., 4.]])
    """
    series, hours = array.shape
    padded = np.pad(array, ((0, 0), (0, -hours % stride))).reshape(series, -1, stride)
    running = padded.cumsum(axis=1).reshape(series, -1)[:, :hours]
    return _later(running, first) - _later(running, first + count * stride)


def censored_level(
    sums: Sums, prior_log: Floats | float, prior_log_sd: float, *, kappa: float
) -> tuple[Floats, Floats]:
    """The most probable log level of sets of cells, some censored, and its standard deviation.

    The prior is log-normal. Newton steps with positive information, so every step climbs; where nothing was seen the
    prior stands.
    """
    number = sums.published + sums.below + sums.between
    noise = np.where(number > 0, sums.noise / np.maximum(number, 1e-9), 1.0)
    intervals = []
    for count, low, bound in (
        (sums.below, None, sums.below_bound),
        (sums.between, sums.between_low, sums.between_bound),
    ):
        at = np.nonzero(count > 1e-9)
        n = count[at]
        intervals.append((at, n, np.full(n.size, -np.inf) if low is None else low[at] / n, bound[at] / n))
    log_level = np.broadcast_to(np.asarray(prior_log, dtype=float), number.shape).copy()
    information = np.empty_like(log_level)
    for _ in range(_NEWTON_STEPS):
        level = np.exp(log_level)
        variance = noise + PRIOR_DISPERSION.phi * level + kappa * level**2
        slope = (sums.value - sums.published * level) * level / variance
        information = sums.published * level**2 / variance
        for at, n, low, bound in intervals:
            mean, sd = level[at], np.sqrt(variance[at])
            pull, curvature = censored_pull(mean, sd, low, bound)
            slope[at] -= n * pull * mean / sd
            information[at] += n * curvature * (mean / sd) ** 2
        slope -= (log_level - prior_log) / prior_log_sd**2
        information += 1.0 / prior_log_sd**2
        log_level = np.clip(log_level + np.clip(slope / information, -0.7, 0.7), -3.0, 11.0)
    return log_level, 1.0 / np.sqrt(information)


_NEWTON_STEPS: Final = 6


def _levels(panel: Panel) -> tuple[Floats, Floats, Floats]:
    """Log level of the hour of the week, its sd, and the log level of the zone, each from hours at least 24 h back.

    Twice: the first pass finds what is an outlier for its time, the second sees outliers cut at that.
    """
    first, _, _ = _levels_once(panel, panel.value)
    level = np.exp(first)
    sd = np.sqrt(panel.noise + PRIOR_DISPERSION.variance(level))
    return _levels_once(panel, np.clip(panel.value, level - _OUTLIER_SD * sd, level + _OUTLIER_SD * sd))


def _levels_once(panel: Panel, value: Floats) -> tuple[Floats, Floats, Floats]:
    between = panel.censored & np.isfinite(panel.low)
    below = panel.censored & ~between

    def where(mask: Bools, values: Floats) -> Floats:
        return np.where(mask, values, 0.0)

    sums = Sums(
        published=panel.published.astype(float),
        value=where(panel.published, value),
        below=below.astype(float),
        below_bound=where(below, panel.bound),
        between=between.astype(float),
        between_low=where(between, panel.low),
        between_bound=where(between, panel.bound),
        noise=where(panel.published | panel.censored, panel.noise),
    )
    # Four weeks of all hours; four weeks of this hour of the day; eight weeks of this hour of the week, +- 1 h.
    zone, _ = censored_level(
        Sums(*(trailing(a, stride=1, first=24, count=672) for a in sums)),
        float(np.log(PRIOR_LEVEL)),
        PRIOR_LOG_SD,
        kappa=_ZONE_KAPPA,
    )
    hour_of_day, _ = censored_level(
        Sums(*(trailing(a, stride=24, first=24, count=28) for a in sums)),
        zone,
        _HOUR_OF_DAY_LOG_SD,
        kappa=PRIOR_DISPERSION.kappa,
    )
    hour_of_week, spread = censored_level(
        Sums(*(trailing(_smooth(a), stride=168, first=168, count=8) for a in sums)),
        hour_of_day,
        _HOUR_OF_WEEK_LOG_SD,
        kappa=PRIOR_DISPERSION.kappa,
    )
    return hour_of_week, spread, zone


def _smooth(array: Floats) -> Floats:
    return 0.5 * _later(array, 1) + array + 0.5 * np.pad(array[:, 1:], ((0, 0), (0, 1)))


def _later(array: Floats, hours: int) -> Floats:
    return np.pad(array, ((0, 0), (hours, 0)))[:, : array.shape[1]]


def _score(panel: Panel, level: Floats) -> tuple[Floats, Floats]:
    """Each cell's pull on a log factor over its level, and the information behind it; zero where nothing was seen."""
    seen = np.nonzero((panel.published | panel.censored).ravel())[0]
    cells = Cells(
        panel.value.ravel(), panel.low.ravel(), panel.bound.ravel(), panel.censored.ravel(), panel.noise.ravel()
    ).take(seen)
    mean = level.ravel()[seen]
    score, information = np.zeros(level.size), np.zeros(level.size)
    variance = cells.noise_variance + PRIOR_DISPERSION.variance(mean)
    residual, curvature = standardised_residual(mean, variance, cells)
    score[seen] = residual * mean / np.sqrt(variance)
    information[seen] = curvature * mean**2 / variance
    return score.reshape(level.shape), information.reshape(level.shape)


class Surroundings(NamedTuple):
    """Who counts as what to whom: series x series matrices of 0 and 1, same direction but for `opposite`."""

    neighbours: Floats
    official: Floats  # crossing points of the sector, else of the border
    region: Floats  # all other belt zones but the neighbours
    opposite: Floats


def _surroundings(series: pl.DataFrame, neighbours: Mapping[str, Sequence[str]]) -> Surroundings:
    zone, sector, kind, direction = (np.array(series[name].to_list()) for name in series.columns)
    same_direction = direction[:, None] == direction[None, :]
    same_zone = zone[:, None] == zone[None, :]
    touching = np.array([[other in neighbours.get(one, ()) for other in zone] for one in zone], dtype=bool)
    is_official = (kind == "crossing_point")[None, :] & same_direction & ~same_zone
    in_sector = is_official & (sector[:, None] == sector[None, :])
    official = np.where(in_sector.any(axis=1)[:, None], in_sector, is_official)
    region = (kind == "belt")[None, :] & same_direction & ~same_zone & ~touching
    as_floats = [m.astype(float) for m in (touching & same_direction, official, region, same_zone & ~same_direction)]
    return Surroundings(*as_floats)


def _panel(table: pl.DataFrame) -> Panel:
    series = table.select("zone_id", "sector_id", "kind", "direction").unique().sort("zone_id", "direction")
    first, last = span(table)
    hours = int((last - first).total_seconds()) // 3600 + 1
    if (
        table.height != series.height * hours
        or table.select("zone_id", "direction", "window_start").is_duplicated().any()
    ):
        raise ValueError("a history has every hour of every zone and direction exactly once")
    shape = (series.height, hours)

    cells = cells_of(table)
    complete = table["complete"].to_numpy()
    return Panel(
        series=series,
        value=cells.value.reshape(shape),
        low=cells.low.reshape(shape),
        bound=cells.bound.reshape(shape),
        noise=cells.noise_variance.reshape(shape),
        published=(complete & np.isfinite(cells.value)).reshape(shape),
        censored=(complete & cells.censored).reshape(shape),
    )
