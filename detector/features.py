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
from detector.likelihood import PRIOR_DISPERSION, Bools, Cells, Floats, gradient_hessian, hazard

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
_ROWS_FOR_SHARES: Final = 50


class Sums(NamedTuple):
    """What a censored level needs to know of one carrier's cells: counts and sums, each series x hour."""

    published: Floats
    value: Floats
    censored: Floats
    bound: Floats  # of the censored cells
    noise: Floats  # variance, of all the cells


@dataclass(frozen=True, slots=True)
class Panel:
    """The history in blocks of series x hour, a series being one zone and direction; cells in the same order."""

    series: pl.DataFrame  # zone_id, sector_id, kind, direction
    hours: int
    cells: Cells
    seen: Bools  # rows of the cells that count: complete, with something said

    def block(self, column: Floats | Bools) -> Floats:
        """A column of the history as series x hour."""
        return np.asarray(column, dtype=float).reshape(self.series.height, self.hours)


def add_features(
    history: pl.DataFrame,
    neighbours: Mapping[str, Sequence[str]],
    calendar: Calendar,
    shares: Sequence[float],
) -> pl.DataFrame:
    """The history with FEATURES, `level` (the offset of the model), `history_days` beside it, sorted by zone,
    direction and window.

    `shares` are the carriers' shares of all movements, in the order of their names (`carrier_shares`).
    `history` is dense, as `combine` gives it: each zone and direction has every hour from the first to the last.
    Degraded hours take no part in any level. `history_days` counts the complete days seen of that zone and direction
    before the hour.
    """
    table = history.select(list(HISTORY_SCHEMA)).sort("zone_id", "direction", "window_start")
    panel = _panel(table, shares)
    hours = panel.hours

    log_level, spread, log_zone_level = _levels(panel)
    level = np.exp(log_level)
    score, information = _score(panel, level)
    seen = panel.block(panel.seen)
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
        "published_share_28d": past(
            panel.block(table["value"].is_not_null().to_numpy() & panel.seen), first=24, count=672
        )
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


def carrier_shares(history: pl.DataFrame) -> tuple[float, ...]:
    """Each carrier's share of all movements, by name: from the zone-hours of which every carrier published.

    Where those are too few to tell, carriers count as equal. (A share by zone is work for later: issue 6.)
    """
    carriers = _carriers(history)
    rows = history.filter(pl.col("complete") & pl.col("value").is_not_null())
    if carriers == 1 or rows.height < _ROWS_FOR_SHARES:
        return (1.0 / carriers,) * carriers
    sums = [float(rows["carrier_values"].list.get(carrier).sum()) for carrier in range(carriers)]
    return tuple(each / sum(sums) for each in sums)


def cells_of(table: pl.DataFrame, shares: Sequence[float]) -> Cells:
    """What each carrier published of each row of a history; rows of which a carrier said nothing are nan there.

    A published value is a whole number, so one below the threshold lies below threshold - 1/2.
    """

    def matrix(name: str) -> Floats:
        by_carrier = [
            table[name].list.get(carrier, null_on_oob=True).cast(pl.Float64).fill_null(np.nan).to_numpy()
            for carrier in range(len(shares))
        ]
        return np.stack(by_carrier)

    value, threshold = matrix("carrier_values"), matrix("carrier_thresholds")
    return Cells(
        value=value,
        bound=threshold - 0.5,
        censored=np.isnan(value) & np.isfinite(threshold),
        noise_variance=matrix("carrier_sigmas") ** 2,
        share=np.array(shares, dtype=float),
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
    sums: Sequence[Sums], shares: Floats, prior_log: Floats | float, prior_log_sd: float, *, kappa: float
) -> tuple[Floats, Floats]:
    """The most probable log level of sets of cells, some censored, and its standard deviation.

    `sums` are those of each carrier. The prior is log-normal. Newton steps with positive information, so every step
    climbs; where nothing was seen the prior stands.
    """
    shape = sums[0].value.shape
    log_level = np.broadcast_to(np.asarray(prior_log, dtype=float), shape).copy()
    information = np.empty(shape)
    read = []
    for carrier, share in zip(sums, shares, strict=True):
        number = carrier.published + carrier.censored
        noise = np.where(number > _NOTHING, carrier.noise / np.maximum(number, _NOTHING), 1.0)
        at = np.nonzero(carrier.censored > _NOTHING)
        read.append((carrier, float(share), noise, at, carrier.bound[at] / carrier.censored[at]))
    for _ in range(_NEWTON_STEPS):
        slope = -(log_level - prior_log) / prior_log_sd**2
        information.fill(1.0 / prior_log_sd**2)
        level = np.exp(log_level)
        for carrier, share, noise, at, bound in read:
            mean = share * level
            variance = noise + PRIOR_DISPERSION.phi * mean + kappa * mean**2
            slope += (carrier.value - carrier.published * mean) * mean / variance
            information += carrier.published * mean**2 / variance
            relative = (mean / np.sqrt(variance))[at]
            z = (bound - mean[at]) / np.sqrt(variance[at])
            pull = hazard(z)
            slope[at] -= carrier.censored[at] * pull * relative
            information[at] += carrier.censored[at] * np.maximum(pull * (pull + z), 0.0) * relative**2
        log_level = np.clip(log_level + np.clip(slope / information, -0.7, 0.7), -3.0, 11.0)
    return log_level, 1.0 / np.sqrt(information)


_NOTHING: Final = 1e-9
_NEWTON_STEPS: Final = 6


def _levels(panel: Panel) -> tuple[Floats, Floats, Floats]:
    """Log level of the hour of the week, its sd, and the log level of the zone, each from hours at least 24 h back.

    Twice: the first pass finds what is an outlier for its time, the second sees outliers cut at that.
    """
    cells = panel.cells
    first, _, _ = _levels_once(panel, cells.value)
    level = np.exp(first).ravel()
    mean, reach = cells.mean(level), _OUTLIER_SD * np.sqrt(cells.variance(level, PRIOR_DISPERSION))
    return _levels_once(panel, np.clip(cells.value, mean - reach, mean + reach))


def _levels_once(panel: Panel, value: Floats) -> tuple[Floats, Floats, Floats]:
    cells = panel.cells
    published = panel.seen & np.isfinite(value)
    censored = panel.seen & cells.censored
    by_carrier = [
        Sums(
            published=panel.block(published[c]),
            value=panel.block(np.where(published[c], value[c], 0.0)),
            censored=panel.block(censored[c]),
            bound=panel.block(np.where(censored[c], cells.bound[c], 0.0)),
            noise=panel.block(np.where(panel.seen, cells.noise_variance[c], 0.0)),
        )
        for c in range(cells.share.size)
    ]

    def sums(over: Callable[[Floats], Floats]) -> list[Sums]:
        return [Sums(*(over(part) for part in carrier)) for carrier in by_carrier]

    # Four weeks of all hours; four weeks of this hour of the day; eight weeks of this hour of the week, +- 1 h.
    zone, _ = censored_level(
        sums(lambda a: trailing(a, stride=1, first=24, count=672)),
        cells.share,
        float(np.log(PRIOR_LEVEL)),
        PRIOR_LOG_SD,
        kappa=_ZONE_KAPPA,
    )
    hour_of_day, _ = censored_level(
        sums(lambda a: trailing(a, stride=24, first=24, count=28)),
        cells.share,
        zone,
        _HOUR_OF_DAY_LOG_SD,
        kappa=PRIOR_DISPERSION.kappa,
    )
    hour_of_week, spread = censored_level(
        sums(lambda a: trailing(_smooth(a), stride=168, first=168, count=8)),
        cells.share,
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
    """Each zone-hour's pull on a log factor over its level, and the information behind it; zero where nothing was seen."""
    seen = np.nonzero(panel.seen)[0]
    score, information = np.zeros(level.size), np.zeros(level.size)
    cells, expected = panel.cells.take(seen), level.ravel()[seen]
    gradient, information[seen] = gradient_hessian(np.log(expected), cells, cells.variance(expected, PRIOR_DISPERSION))
    score[seen] = -gradient
    return panel.block(score), panel.block(information)


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


def _panel(table: pl.DataFrame, shares: Sequence[float]) -> Panel:
    series = table.select("zone_id", "sector_id", "kind", "direction").unique().sort("zone_id", "direction")
    first, last = span(table)
    hours = int((last - first).total_seconds()) // 3600 + 1
    key = ["zone_id", "direction", "window_start"]
    if table.height != series.height * hours or table.select(key).is_duplicated().any():
        raise ValueError("a history has every hour of every zone and direction exactly once")
    if _carriers(table) != len(shares):
        raise ValueError("there is one share for each carrier that is expected")
    return Panel(series, hours, cells_of(table, shares), table["complete"].to_numpy())


def _carriers(table: pl.DataFrame) -> int:
    expected = table["carriers_expected"].unique().to_list()
    if len(expected) != 1:
        raise ValueError("a history expects the same carriers in all its hours")
    return int(expected[0])
