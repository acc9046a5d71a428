"""What is known about a zone-hour before it is looked at: its usual level, its past, its surroundings, its calendar.

Everything a zone-hour is told about its own direction ends at least 24 hours before it; an excess two hours ago would
raise what is expected now and so hide itself (notes/detection.md, 3.6). Of the last hours, the one at hand included, it
is told only about *others*: its sector and the border without the zones within two steps of it, so that a crowd that
spreads over neighbours does not explain itself; the official crossing points; the opposite direction.

A `null` is never filled with a number. Levels are the most probable ones given what was published and that the rest
lay below its bound, each drawn towards a wider level: hour of week -> hour of day -> zone -> zones around -> PRIOR_LEVEL.
So a zone that is always null ends near the prior, with a wide spread, and not at zero.

A *factor* is a logarithm: by how much a group of zone-hours stood above its levels, weighed by what each of them tells
through noise and suppression, drawn towards 0 where they tell little.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Final, NamedTuple, Self, cast

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from detector.calendar import CALENDAR_FEATURES, Calendar, calendar_features
from detector.combine import HISTORY_SCHEMA
from detector.likelihood import PRIOR_DISPERSION, Bools, Cells, Dispersion, Floats, gradient_hessian, hazard

OWN_FEATURES: Final = (
    "log_level",
    "level_spread",
    "log_zone_level",
    "own_yesterday",
    "own_last_week",
    "own_24h",
    "own_72h",
    "own_7d",
    "own_28d",
    "own_scatter",
    "published_share_28d",
    "remembered",
)
SURROUNDING_FEATURES: Final = (
    "neighbours_level",
    "neighbours_24h",
    "sector_now",
    "sector_6h",
    "sector_24h",
    "sector_72h",
    "official_now",
    "official_6h",
    "official_24h",
    "region_now",
    "region_24h",
    "opposite_now",
    "opposite_4h",
    "opposite_11h",
    "opposite_6h",
    "opposite_24h",
    "opposite_around_now",
    "opposite_around_6h",
)
PLACE_FEATURES: Final = ("crossing_point", "departure")
FEED_FEATURES: Final = ("carriers", "noise_sd", "complete_share_7d")
FEATURES: Final = OWN_FEATURES + SURROUNDING_FEATURES + CALENDAR_FEATURES + PLACE_FEATURES + FEED_FEATURES

LOOKBACK_DAYS: Final = 120  # history wanted before the first hour that is judged; more changes nothing that matters

PRIOR_LEVEL: Final = 10.0  # movements an hour where nothing is known
PRIOR_LOG_SD: Final = 1.0
_AROUND_LOG_SD: Final = 0.9  # how much a zone differs from those around it
_HOUR_OF_DAY_LOG_SD: Final = 0.5  # from the rhythm of its sector
_HOUR_OF_WEEK_LOG_SD: Final = 0.4
_FACTOR_PRECISION: Final = 4.0  # a factor is drawn to zero as by a prior of sd 0.5
_FACTOR_RANGE: Final = (-2.0, 1.6)
_REACTION: Final = Dispersion(
    phi=1.3, kappa=0.1
)  # zones differ from one another, so no hour tells more than this lets it
_REACTION_CLIP_SD: Final = 6.0
_WEEKS: Final = 12
_ZONE_KAPPA: Final = 1.0  # hours of the day differ much around the level of the whole zone
_OUTLIER_SD: Final = 3.0
_OUTLIER_WEEKS: Final = 5
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

    table: pl.DataFrame  # HISTORY_SCHEMA, sorted
    windows: pl.Series  # its hours
    series: pl.DataFrame  # zone_id, sector_id, kind, direction
    hours: int
    cells: Cells
    seen: Bools  # rows of the cells that count: complete, with something said

    def block(self, column: Floats | Bools) -> Floats:
        """A column of the history as series x hour."""
        return np.asarray(column, dtype=float).reshape(self.series.height, self.hours)


@dataclass(frozen=True, slots=True)
class Memory:
    """What the days around the lunar new year did to each zone and direction in the years behind: log factors over its
    level, one for each of LUNAR_DAYS; and to each kind of place, for zones that were not there."""

    zones: Mapping[str, tuple[float, ...]]  # by "zone_id|direction"
    places: Mapping[str, tuple[float, ...]]  # by "kind|direction"

    def __post_init__(self) -> None:
        for curve in (*self.zones.values(), *self.places.values()):
            if len(curve) != len(LUNAR_DAYS) or not np.isfinite(curve).all() or np.abs(curve).max() > 2.0:
                raise ValueError("a memory has a log factor of at most 2 for each of its days")

    def log_factor(self, series: pl.DataFrame, days: npt.NDArray[np.floating[Any]]) -> Floats:
        """Series x hour, for the days from the lunar new year of each hour; 0 outside LUNAR_DAYS."""
        nothing = (0.0,) * len(LUNAR_DAYS)
        curves = [
            self.zones.get(f"{zone}|{way}", self.places.get(f"{kind}|{way}", nothing))
            for zone, _, kind, way in series.iter_rows()
        ]
        padded = np.pad(np.array(curves).reshape(-1, len(LUNAR_DAYS)), ((0, 0), (0, 1)))
        at = np.where(np.abs(days) <= LUNAR_DAYS[-1], days - LUNAR_DAYS[0], len(LUNAR_DAYS)).astype(int)
        return np.asarray(padded[:, at])

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "zones": {k: list(v) for k, v in self.zones.items()},
            "places": {k: list(v) for k, v in self.places.items()},
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """From its JSON."""
        return cls(*({k: tuple(v) for k, v in document[part].items()} for part in ("zones", "places")))


LUNAR_DAYS: Final = range(-20, 21)
_PLACE_PRECISION: Final = 10.0
_ZONE_PRECISION: Final = 6.0  # a zone differs from its kind by a log factor of sd 0.4
_DAY_CERTAINTY: Final = 60.0  # whole days differ by 0.13 whatever is counted
_NEAR_DAYS: Final = (0.4, 0.8, 1.0, 0.8, 0.4)


def _sums_by_day(days: npt.NDArray[np.floating[Any]], score: Floats, information: Floats) -> tuple[Floats, Floats]:
    """Both added up by day of LUNAR_DAYS: series x day."""
    member = (days[:, None] == np.array(LUNAR_DAYS)).astype(float)
    return score @ member, information @ member


def _by_place(panel: Panel, score: Floats, information: Floats) -> Memory:
    key = [f"{kind}|{way}" for _, _, kind, way in panel.series.iter_rows()]
    places = {}
    for place in sorted(set(key)):
        at = np.array([one == place for one in key])
        places[place] = _curve(score[at].sum(axis=0), information[at].sum(axis=0), _PLACE_PRECISION)
    return Memory({}, places)


def _by_zone(panel: Panel, place: Memory, score: Floats, information: Floats) -> Memory:
    """How much of what the feast does to its kind it does to each zone: one share for all days and both directions, drawn
    towards 1, so that a season that happened to fall on it is not taken for it."""
    capped = information / np.maximum(information / _DAY_CERTAINTY, 1.0)
    weight = capped / np.maximum(information, _NOTHING)
    shared = np.array([place.places[f"{kind}|{way}"] for _, _, kind, way in panel.series.iter_rows()])
    names = panel.series["zone_id"].to_list()
    pull: dict[str, float] = dict.fromkeys(names, 0.0)
    certainty = dict(pull)
    for name, by_day, seen, curve in zip(names, score * weight, capped, shared, strict=True):
        pull[name] += float(by_day @ curve)
        certainty[name] += float(seen @ curve**2)
    zones = {}
    for (zone, _, _, way), curve in zip(panel.series.iter_rows(), shared, strict=True):
        if certainty[zone] > 0:
            share = float(np.clip(1.0 + pull[zone] / (certainty[zone] + _ZONE_PRECISION), 0.0, 2.0))
            zones[f"{zone}|{way}"] = tuple(round(float(v), 4) for v in np.clip(share * curve, -2.0, 2.0))
    return Memory(zones, place.places)


def _curve(score: Floats, information: Floats, precision: float) -> tuple[float, ...]:
    above = np.log1p(np.maximum(score / (information + precision), -0.86))
    return tuple(round(float(v), 4) for v in np.clip(above, *_FACTOR_RANGE))


def add_features(
    history: pl.DataFrame,
    neighbours: Mapping[str, Sequence[str]],
    calendar: Calendar,
    shares: Sequence[float],
    *,
    memory: Memory | None = None,
    since: datetime | None = None,
) -> pl.DataFrame:
    """The history with FEATURES, `level` (where the expectation starts), `history_days` and `shift_z` beside it, sorted
    by zone, direction and window; only the hours from `since` on, where it is given.

    `shares` are the carriers' shares of all movements, in the order of their names (`carrier_shares`).
    `history` is dense, as `combine` gives it: each zone and direction has every hour from the first to the last.
    Degraded hours take no part in any level. `history_days` counts the complete days seen of that zone and direction
    before the hour. `shift_z` is how many standard deviations the week that ended 24 hours before stands above its
    levels, taken as one: a new cell shows there. Asking for the last hours alone costs a small part of asking for all.
    `memory` is what earlier years taught of these zones (`learn_memory`); levels take it in.
    """
    panel, around, lead, start, levels = _prepared(history, neighbours, shares, since)
    return _with_factors(panel, around, lead, start, levels, calendar, memory)


def add_features_and_memory(
    history: pl.DataFrame, neighbours: Mapping[str, Sequence[str]], calendar: Calendar, shares: Sequence[float]
) -> tuple[pl.DataFrame, Memory]:
    """As `add_features`, with the memory that the same history teaches; what a training begins with."""
    panel, around, lead, start, levels = _prepared(history, neighbours, shares, None)
    days = calendar_features(panel.windows, calendar)["days_from_lunar_new_year"].to_numpy()
    level = np.exp(levels[0])
    score, information = _score(panel, level, lead)
    kept = _sums_by_day(days, score, information)
    place = _by_place(panel, *kept)
    rescored = _score(panel, level * np.exp(place.log_factor(panel.series, days)), lead)
    memory = _by_zone(panel, place, *_sums_by_day(days, *rescored))
    return _with_factors(panel, around, lead, start, levels, calendar, memory), memory


Levels = tuple[Floats, Floats, Floats]


def _prepared(
    history: pl.DataFrame, neighbours: Mapping[str, Sequence[str]], shares: Sequence[float], since: datetime | None
) -> tuple[Panel, "Surroundings", int, int, Levels]:
    panel = _panel(history, shares)
    start = 0 if since is None else min(max(int((since - span(history)[0]).total_seconds()) // 3600, 0), panel.hours)
    lead = max(start - _FACTOR_HOURS, 0)  # levels are wanted from here on, for the factors of the first hour
    around = _surroundings(panel.series, neighbours)
    return panel, around, lead, start, _levels(panel, around, lead)


def _with_factors(
    panel: Panel,
    around: "Surroundings",
    lead: int,
    start: int,
    levels: Levels,
    calendar: Calendar,
    memory: Memory | None,
) -> pl.DataFrame:
    hours, cut, table = panel.hours, start - lead, panel.table
    by_hour = calendar_features(panel.windows.slice(lead), calendar)
    log_level, spread, log_zone_level = levels
    remembered = np.zeros_like(log_level)
    if memory is not None:
        remembered = memory.log_factor(panel.series, by_hour["days_from_lunar_new_year"].to_numpy())
    log_level = log_level + remembered
    level = np.exp(log_level)
    score, information = _score(panel, level, lead)
    seen = panel.block(panel.seen)

    def past(array: Floats, *, first: int, count: int) -> Floats:
        return trailing(array, stride=1, first=first, count=count)[:, -log_level.shape[1] :][:, cut:]

    def factor(of: Callable[[Floats], Floats]) -> Floats:
        """The log factor by which some group of cells stood above its level."""
        above = of(score) / (of(information) + _FACTOR_PRECISION)
        return np.clip(np.log1p(np.maximum(above, -0.86)), *_FACTOR_RANGE)

    def since_24h(count: int) -> Floats:
        return factor(lambda a: past(a, first=24, count=count))

    def now(matrix: csr_array, first: int = 0, count: int = 1) -> Floats:
        return factor(lambda a: np.asarray(matrix @ past(a, first=first, count=count)))

    scatter, told = _scatter(level, score, information)
    columns: dict[str, Floats] = {
        "log_level": log_level[:, cut:],
        "level_spread": spread[:, cut:],
        "log_zone_level": log_zone_level[:, cut:],
        "own_yesterday": since_24h(1),
        "own_last_week": factor(lambda a: past(a, first=168, count=1)),
        "own_24h": since_24h(24),
        "own_72h": since_24h(72),
        "own_7d": since_24h(168),
        "own_28d": since_24h(672),
        "own_scatter": 0.5
        * np.log(
            np.maximum(past(scatter * told, first=24, count=672) + _USUAL_SCATTER * _SCATTER_TOLD, 1.0)
            / (past(told, first=24, count=672) + _SCATTER_TOLD)
        ),
        "published_share_28d": past(
            panel.block(table["value"].is_not_null().to_numpy() & panel.seen), first=24, count=672
        )
        / np.maximum(past(seen, first=24, count=672), 1.0),
        "neighbours_level": np.asarray(around.neighbours @ log_level[:, cut:])
        / np.maximum(np.asarray(around.neighbours.sum(axis=1)), 1.0)[:, None],
        "neighbours_24h": now(around.neighbours, 24, 24),
        "sector_now": now(around.sector),
        "sector_6h": now(around.sector, 0, 6),
        "sector_24h": now(around.sector, 0, 24),
        "sector_72h": now(around.sector, 0, 72),
        "official_now": now(around.official),
        "official_6h": now(around.official, 0, 6),
        "official_24h": now(around.official, 0, 24),
        "region_now": now(around.region),
        "region_24h": now(around.region, 0, 24),
        "opposite_now": now(around.opposite),
        "opposite_4h": now(around.opposite, 2, 3),
        "opposite_11h": now(around.opposite, 8, 4),
        "opposite_6h": now(around.opposite, 0, 6),
        "opposite_24h": now(around.opposite, 0, 24),
        "opposite_around_now": now(around.opposite_around),
        "opposite_around_6h": now(around.opposite_around, 0, 6),
        "remembered": remembered[:, cut:],
        "complete_share_7d": past(seen, first=24, count=168) / 168.0,
    }
    by_hour = by_hour.slice(cut)
    if start:
        table = table.filter(pl.col("window_start") >= panel.windows[start])
    return table.with_columns(
        *(pl.Series(name, values.ravel(), dtype=pl.Float32) for name, values in columns.items()),
        *(pl.Series(name, np.tile(by_hour[name].to_numpy(), panel.series.height)) for name in CALENDAR_FEATURES),
        pl.Series("level", level[:, cut:].ravel(), dtype=pl.Float64),
        pl.Series("history_days", (past(seen, first=1, count=hours) / 24.0).ravel(), dtype=pl.Float64),
        pl.Series(
            "shift_z",
            (past(score, first=24, count=168) / np.sqrt(past(information, first=24, count=168) + 1.0)).ravel(),
            dtype=pl.Float64,
        ),
        (pl.col("kind") == "crossing_point").cast(pl.Float32).alias("crossing_point"),
        (pl.col("direction") == "departure").cast(pl.Float32).alias("departure"),
        pl.col("carriers_expected").cast(pl.Float32).alias("carriers"),
        pl.col("sigma").cast(pl.Float32).alias("noise_sd"),
    )


_FACTOR_HOURS: Final = 24 + 672  # how far back the factors of an hour reach
_USUAL_SCATTER: Final = 0.05  # relative variance of the counts of an hour around their level
_SCATTER_TOLD: Final = 3000.0  # a zone's own scatter is drawn towards the usual as by some thirty busy hours
_SCATTER_LEAST_LEVEL: Final = 50.0
_SCATTER_CLIP: Final = 9.0


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


def trailing(array: Floats, *, stride: int, first: int, count: int, since: int = 0) -> Floats:
    """For each hour t from `since` on the sum of array[t - first - k x stride] for k in 0..count-1; hours before the first
    are zero.

    >>> trailing(np.array([[1.0, 2.0, 3.0, 4.0]]), stride=2, first=1, count=2)
    array([[0., 1., 2., 4.]])
    """
    series, hours = array.shape
    short = -hours % stride
    padded = np.pad(array, ((0, 0), (0, short))) if short else array
    running = padded.reshape(series, -1, stride).cumsum(axis=1).reshape(series, -1)
    answer = np.zeros((series, hours - since))
    for sign, back in ((1.0, first), (-1.0, first + count * stride)):
        begins = max(since - back, 0)
        number = hours - back - begins
        if number > 0:
            answer[:, -number:] += sign * running[:, begins : begins + number]
    return answer


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


def _levels(panel: Panel, around: "Surroundings", lead: int) -> tuple[Floats, Floats, Floats]:
    """Log level of the hour of the week, its sd, and the log level of the zone, each from hours at least 24 h back; of
    the hours from `lead` on."""
    cells = panel.cells
    value = _without_outliers(panel)
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

    # Four weeks of all hours; four weeks of this hour of the day; twelve weeks of this hour of the week.
    whole = sums(lambda a: trailing(a, stride=1, first=24, count=672, since=lead))
    alone, alone_sd = censored_level(whole, cells.share, float(np.log(PRIOR_LEVEL)), PRIOR_LOG_SD, kappa=_ZONE_KAPPA)
    zone, _ = censored_level(
        whole, cells.share, _of_those_around(alone, alone_sd, around), PRIOR_LOG_SD, kappa=_ZONE_KAPPA
    )
    of_day = sums(lambda a: trailing(a, stride=24, first=24, count=28, since=lead))
    hour_of_day, _ = censored_level(
        of_day,
        cells.share,
        zone + _rhythm(of_day, cells.share, zone, around),
        _HOUR_OF_DAY_LOG_SD,
        kappa=PRIOR_DISPERSION.kappa,
    )
    hour_of_week, spread = censored_level(
        sums(lambda a: trailing(a, stride=168, first=168, count=_WEEKS, since=lead)),
        cells.share,
        hour_of_day,
        _HOUR_OF_WEEK_LOG_SD,
        kappa=PRIOR_DISPERSION.kappa,
    )
    return hour_of_week, spread, zone


def _of_those_around(log_level: Floats, sd: Floats, around: "Surroundings") -> Floats:
    """The log level that a zone may be given for a start: that of the zones of its kind around it, the better known the
    more, drawn towards PRIOR_LEVEL."""
    weight = 1.0 / (sd**2 + _AROUND_LOG_SD**2)
    prior = float(np.log(PRIOR_LEVEL))
    above = np.asarray(around.like @ (weight * (log_level - prior)))
    return np.asarray(prior + above / (np.asarray(around.like @ weight) + 1.0))


def _rhythm(of_day: Sequence[Sums], shares: Floats, zone: Floats, around: "Surroundings") -> Floats:
    """By how much this hour of the day lies above the level of the whole day in the zones of the sector of one kind."""
    score, information = np.zeros_like(zone), np.zeros_like(zone)
    level = np.exp(zone)
    for carrier, share in zip(of_day, shares, strict=True):
        mean = share * level
        number = np.maximum(carrier.published + carrier.censored, _NOTHING)
        variance = carrier.noise / number + PRIOR_DISPERSION.phi * mean + 0.3 * mean**2
        sd = np.sqrt(variance)
        score += (carrier.value - carrier.published * mean) * mean / variance
        information += carrier.published * mean**2 / variance
        at = np.nonzero(carrier.censored > _NOTHING)
        z = (carrier.bound[at] / carrier.censored[at] - mean[at]) / sd[at]
        pull, relative = hazard(z), mean[at] / sd[at]
        score[at] -= carrier.censored[at] * pull * relative
        information[at] += carrier.censored[at] * np.maximum(pull * (pull + z), 0.0) * relative**2
    above = np.asarray(around.like @ score) / (np.asarray(around.like @ information) + _FACTOR_PRECISION)
    return np.clip(np.log1p(np.maximum(above, -0.86)), *_FACTOR_RANGE)


def _without_outliers(panel: Panel) -> Floats:
    """What was published, cut where it lies far from the median of the same hour of the weeks before.

    A week without a word takes no part; with fewer than three that speak nothing is cut. A `null` stands at its bound.
    """
    cells = panel.cells
    answer = np.empty_like(cells.value)
    for c in range(cells.share.size):
        filled = panel.block(np.where(cells.censored[c], cells.bound[c], cells.value[c]))
        filled[~panel.block(panel.seen).astype(bool)] = np.nan
        weeks = np.stack([_shifted(filled, 168 * week) for week in range(1, _OUTLIER_WEEKS + 1)])
        known = np.isfinite(weeks).sum(axis=0)
        weeks.sort(axis=0)  # nan last
        middle = np.maximum(known - 1, 0) // 2
        usual = np.take_along_axis(weeks, middle[None], axis=0)[0]
        reach = _OUTLIER_SD * np.sqrt(
            panel.block(cells.noise_variance[c]) + PRIOR_DISPERSION.variance(np.maximum(usual, 1.0))
        )
        sure = (known >= 3) & np.isfinite(reach)
        low, high = np.where(sure, usual - reach, -np.inf), np.where(sure, usual + reach, np.inf)
        answer[c] = np.clip(cells.value[c], low.ravel(), high.ravel())
    return answer


def _shifted(array: Floats, hours: int) -> Floats:
    """The array some hours later; nan before."""
    answer = np.full_like(array, np.nan)
    answer[:, hours:] = array[:, : max(array.shape[1] - hours, 0)]
    return answer


def _scatter(level: Floats, score: Floats, information: Floats) -> tuple[Floats, Floats]:
    """Each busy hour's relative variance around its level beyond noise and chance, and the weight it deserves."""
    use = (level >= _SCATTER_LEAST_LEVEL) & (information > _NOTHING)
    inverse = 1.0 / np.maximum(information, _NOTHING)
    squared = np.minimum(score**2 * inverse, _SCATTER_CLIP) * inverse
    return np.where(use, squared - inverse + _REACTION.kappa, 0.0), np.where(use, information**2, 0.0)


def _score(panel: Panel, level: Floats, lead: int) -> tuple[Floats, Floats]:
    """Each zone-hour's pull on a factor over its level, and the information behind it, from hour `lead` on; zero where
    nothing was seen."""
    at = np.nonzero(panel.block(panel.seen)[:, lead:].ravel() > 0)[0]
    series, hour = np.divmod(at, level.shape[1])
    cells, expected = panel.cells.take(series * panel.hours + lead + hour), level.ravel()[at]
    score, information = np.zeros(level.size), np.zeros(level.size)
    variance = cells.variance(expected, _REACTION)
    gradient, information[at] = gradient_hessian(np.log(expected), cells, variance, clip_sd=_REACTION_CLIP_SD)
    score[at] = -gradient
    return score.reshape(level.shape), information.reshape(level.shape)


class Surroundings(NamedTuple):
    """Who counts as what to whom: series x series matrices of 0 and 1, of the same direction unless said."""

    neighbours: csr_array
    like: csr_array  # zones of the same kind in the sector, itself included
    sector: csr_array  # all other zones of the sector but those within two steps, and its crossing points
    official: csr_array  # crossing points of the sector, else of the border
    region: csr_array  # belts of other sectors, else of the border, but those within two steps
    opposite: csr_array
    opposite_around: csr_array  # the opposite direction of the touching zones


def _surroundings(series: pl.DataFrame, neighbours: Mapping[str, Sequence[str]]) -> Surroundings:
    zone, sector, kind, direction = (np.array(series[name].to_list()) for name in series.columns)
    same_direction = direction[:, None] == direction[None, :]
    same_zone = zone[:, None] == zone[None, :]
    same_sector = sector[:, None] == sector[None, :]
    index: dict[str, list[int]] = {}
    for at, name in enumerate(zone):
        index.setdefault(str(name), []).append(at)

    def reached(steps: int) -> Bools:
        answer = np.zeros(same_zone.shape, dtype=bool)
        for name, mine in index.items():
            found = {name}
            for _ in range(steps):
                found |= {near for one in found for near in neighbours.get(one, ())}
            theirs = [at for other in found - {name} for at in index.get(other, ())]
            answer[np.ix_(mine, theirs)] = True
        return answer

    touching, near = reached(1), reached(2)
    gate = (kind == "crossing_point")[None, :]
    is_official = gate & same_direction & ~same_zone
    in_sector = is_official & same_sector
    official = np.where(in_sector.any(axis=1)[:, None], in_sector, is_official)
    of_sector = (~gate & same_sector & same_direction & ~same_zone & ~near) | in_sector
    region = ~gate & same_direction & ~same_zone & ~near
    elsewhere = region & ~same_sector
    region = np.where(elsewhere.any(axis=1)[:, None], elsewhere, region)
    like = same_direction & same_sector & (kind[:, None] == kind[None, :])
    opposite = same_zone & ~same_direction
    parts = (touching & same_direction, like, of_sector, official, region, opposite, touching & ~same_direction)
    return Surroundings(*(csr_array(part.astype(float)) for part in parts))


def _panel(history: pl.DataFrame, shares: Sequence[float]) -> Panel:
    table = history.select(list(HISTORY_SCHEMA))
    first, last = span(table)
    hours = int((last - first).total_seconds()) // 3600 + 1
    # `combine` gives it in order; sorting a million rows costs more than looking.
    series = _series(table, hours)
    if series is None:
        table = table.sort("zone_id", "direction", "window_start")
        series = _series(table, hours)
    if series is None:
        raise ValueError("a history has every hour of every zone and direction exactly once")
    if _carriers(table) != len(shares):
        raise ValueError("there is one share for each carrier that is expected")
    windows = table["window_start"].head(hours)
    return Panel(table, windows, series, hours, cells_of(table, shares), table["complete"].to_numpy())


def _series(table: pl.DataFrame, hours: int) -> pl.DataFrame | None:
    """The series of a table that has, zone by zone and direction by direction, every hour once and in order; else None."""
    if table.height % hours:
        return None
    windows = table["window_start"].to_physical().to_numpy().reshape(-1, hours)
    key = ["zone_id", "direction"]
    series, ends = table.gather_every(hours), table.gather_every(hours, hours - 1)
    in_order = (windows == windows[0]).all() and (np.diff(windows[0]) > 0).all()
    if not in_order or not series.select(key).equals(ends.select(key)):
        return None
    names = series.select(key).rows()
    if any(one >= other for one, other in pairwise(names)) or windows[0, -1] - windows[0, 0] != (hours - 1) * _HOUR_US:
        return None
    return series.select("zone_id", "sector_id", "kind", "direction")


_HOUR_US: Final = 3_600_000_000


def _carriers(table: pl.DataFrame) -> int:
    expected = table["carriers_expected"].unique().to_list()
    if len(expected) != 1:
        raise ValueError("a history expects the same carriers in all its hours")
    return int(expected[0])
