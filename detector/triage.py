"""The second look: of the hours that may be flagged, how much each looks like a surge, and how rare that is.

A surge stands out against everything around it: its own last hours and days, its sector, its crossing point, the other
direction. A season, a festival or a new cell lifts these as well. The second model learns the difference from surges
planted on hours that the first has not seen. It only ranks: an hour that the floor or the loosest tail probability refuses
(detector/flag.py) is never looked at, and a rank only ever takes a flag away.

Everything is told on one scale, the *rarity*: -log10 of how many clean alerts a zone-month brings that stand this high or
higher. An hour's rarity is that of both opinions together (tail probability and second model); beside it lies a second list,
of very large excesses, in the order of the tail probability alone and at a fifth of the budget, so that nothing huge is
demoted because it resembles no surge that was ever planted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import ndtr, ndtri

from detector.alerts import GAP_HOURS
from detector.calendar import CALENDAR_FEATURES
from detector.combine import HOUR
from detector.features import cells_of, span
from detector.flag import MIN_EXCESS, State, passes_floor, tail_probability
from detector.level_shift import level_shifts, rebased
from detector.likelihood import Bools, Dispersion, Floats
from detector.model import raw_scores, train_ranker
from detector.policy import HOURS_PER_MONTH, MAX_TAIL_P
from detector.residual import Around, Hours, Ints, between, hours_of, residual_of, running

WINDOWS_H: Final = (2, 3, 4, 6)
LEAD_H: Final = 100  # hours wanted before the first that is ranked
_SLOW_H: Final = (24, 72)  # the last day and three days, ending 7 h back
_BEFORE_H: Final = 7
_MAX_SCORE: Final = 60.0  # -log10
_FACTOR_PRECISION: Final = 4.0

# Not the date: a second model that knows it learns last year's festivals by heart.
_CALENDAR: Final = tuple(name for name in CALENDAR_FEATURES if name not in ("month", "day_of_year"))

# A larger value may never make an hour look less like a surge.
EXCESS_FEATURES: Final = (
    "score",
    "z",
    "over_floor",
    "log_excess",
    "log_ratio",
    *(f"window_{hours}h" for hours in WINDOWS_H),
    "neighbour",
    "neighbour_3h",
)
# Nor may what its whole surroundings do make it look more like one.
SHARED_FEATURES: Final = ("sector_now", "sector_6h", "official_now", "official_6h", "border_now")
OTHER_FEATURES: Final = (
    "opposite",
    "opposite_3h",
    "slow_24h",
    "slow_72h",
    "sector_72h",
    "yesterday",
    "rising",
    "log_expected",
    "relative_spread",
    "noise_sd",
    "suppressed",
    *_CALENDAR,
)
TRIAGE_FEATURES: Final = EXCESS_FEATURES + SHARED_FEATURES + OTHER_FEATURES
MONOTONE: Final = (1,) * len(EXCESS_FEATURES) + (-1,) * len(SHARED_FEATURES) + (0,) * len(OTHER_FEATURES)
_RAW: Final = ("sigma", "expected", "spread")


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Zone-hours that may be flagged: where they are (series, hour), their tail probability, TRIAGE_FEATURES as a matrix."""

    series: Ints
    hour: Ints
    tail_p: Floats
    matrix: npt.NDArray[np.float32]


def candidates(hours: Hours, dispersion: Dispersion, *, since: int = 0) -> tuple[Ints, Ints, Floats]:
    """Series, hour and tail probability of the belt hours from `since` on that pass the floor and MAX_TAIL_P."""
    excess = hours.observed - hours.expected
    with np.errstate(invalid="ignore"):
        may = (excess >= MIN_EXCESS) & hours.around.belt[:, None] & hours.known
    may[:, :since] = False
    row, hour = np.nonzero(may)
    parts = [part[row, hour] for part in (hours.observed, hours.expected, hours.sigma, hours.noise, hours.spread)]
    observed, expected, sigma, noise, spread = parts
    passes = passes_floor(observed, expected, sigma, noise, spread, dispersion)
    tail_p = np.ones(observed.size)
    at = np.nonzero(passes)
    tail_p[at] = tail_probability(observed[at], expected[at], noise[at], spread[at], dispersion)
    keep = passes & (tail_p <= MAX_TAIL_P)
    return row[keep], hour[keep], tail_p[keep]


def triage_features(hours: Hours, dispersion: Dispersion, *, since: int = 0) -> Found:
    """The hours that may be flagged, with TRIAGE_FEATURES; all of them look at the hour itself and back."""
    series, hour, tail_p = candidates(hours, dispersion, since=since)
    at = (series, hour)
    around = hours.around
    sd = np.sqrt(hours.variance)
    z = hours.residual / sd
    sums, variances = running(hours.residual), running(np.where(hours.known, hours.variance, 0.0))
    pulls, weights = running(hours.pull), running(hours.weight)

    def window(count: int, rows: Ints = series, back: int = 0) -> Floats:
        return np.asarray(
            between(sums, rows, hour - back, count) / np.sqrt(between(variances, rows, hour - back, count) + 1.0)
        )

    def own_factor(count: int, back: int) -> Floats:
        return between(pulls, series, hour - back, count) / (
            between(weights, series, hour - back, count) + _FACTOR_PRECISION
        )

    def shared(members: Bools, group: Ints, groups: int, count: int, *, own_out: bool) -> Floats:
        """The log factor of a group over some hours, the series itself and its neighbours left out."""
        parts = []
        for sums_ in (pulls, weights):
            counted = np.where(members[:, None], sums_, 0.0)
            total = np.zeros((groups, sums_.shape[1]))
            np.add.at(total, group, counted)
            answer = between(total, group[series], hour, count)
            if own_out:
                answer = (
                    answer
                    - between(counted, series, hour, count)
                    - between(around.touching @ counted, series, hour, count)
                )
            parts.append(answer)
        return np.asarray(parts[0] / (np.maximum(parts[1], 0.0) + _FACTOR_PRECISION))

    degree = max((len(others) for others in around.neighbours), default=0)
    neighbour, neighbour_3h = np.full(series.size, -3.0), np.full(series.size, -3.0)
    for d in range(degree):
        other = np.array([others[d] if d < len(others) else -1 for others in around.neighbours])[series]
        there = other >= 0
        neighbour = np.where(there, np.maximum(neighbour, z[other, hour]), neighbour)
        neighbour_3h = np.where(there, np.maximum(neighbour_3h, window(3, other)), neighbour_3h)
    other = around.opposite[series]
    across = other >= 0
    excess = hours.observed[at] - hours.expected[at]
    official = ~around.belt
    columns: dict[str, Floats] = {
        "score": np.minimum(-np.log10(tail_p), _MAX_SCORE),
        "z": excess / sd[at],
        "over_floor": excess / np.maximum(60.0, 30.0 + 1.96 * sd[at]),
        "log_excess": np.log(np.maximum(excess, 1.0)),
        "log_ratio": np.log(np.maximum(hours.observed[at], 1.0) / np.maximum(hours.expected[at], 1.0)),
        **{f"window_{count}h": window(count) for count in WINDOWS_H},
        "neighbour": neighbour,
        "neighbour_3h": neighbour_3h,
        "sector_now": shared(around.belt, around.group, around.groups, 1, own_out=True),
        "sector_6h": shared(around.belt, around.group, around.groups, 6, own_out=True),
        "official_now": shared(official, around.group, around.groups, 1, own_out=False),
        "official_6h": shared(official, around.group, around.groups, 6, own_out=False),
        "border_now": shared(around.belt, around.lane, int(around.lane.max()) + 1, 3, own_out=True),
        "opposite": np.where(across, z[other, hour], 0.0),
        "opposite_3h": np.where(across, window(3, other), 0.0),
        **{f"slow_{count}h": own_factor(count, _BEFORE_H) for count in _SLOW_H},
        "sector_72h": shared(around.belt, around.group, around.groups, 72, own_out=True),
        "yesterday": window(3, series, 23),
        "rising": z[at] - z[series, np.maximum(hour - 1, 0)],
        "log_expected": np.log(np.maximum(hours.expected[at], 1.0)),
        "relative_spread": hours.spread[at] / np.maximum(hours.expected[at], 1.0),
        "noise_sd": hours.sigma[at],
        "suppressed": hours.suppressed[at].astype(float),
        **{name: hours.calendar[name][hour] for name in _CALENDAR},
    }
    matrix = np.stack([columns[name] for name in TRIAGE_FEATURES], axis=1).astype(np.float32)
    return Found(series, hour, tail_p, matrix.reshape(series.size, len(TRIAGE_FEATURES)))


def ranked(
    judged: pl.DataFrame, hours: Hours, ranking: "Ranking", least: Mapping[str, float], dispersion: Dispersion
) -> pl.DataFrame:
    """The judged hours with `rarity` (null where no flag is possible); flags below their sector's least are taken away.

    What is taken away is usual, or below the threshold where a carrier was, as it would have been told without the flag.
    Nothing that was no flag becomes one.
    """
    found = triage_features(hours, dispersion, since=_hours_between(hours.start, span(judged)[0]))
    key = ["zone_id", "direction", "window_start"]
    rarities = _named(hours, found).with_columns(pl.Series("rarity", ranking.of(found)))
    demoted = (pl.col("state") == State.UNUSUAL) & (
        pl.col("rarity").is_null()
        | (pl.col("rarity") < pl.col("sector_id").replace_strict(dict(least), return_dtype=pl.Float64))
    )
    hidden = demoted & pl.col("suppressed")
    return judged.join(
        rarities.select(*key, "rarity"), on=key, how="left", maintain_order="left", validate="1:1"
    ).with_columns(
        pl.when(hidden)
        .then(pl.lit(str(State.BELOW_THRESHOLD)))
        .when(demoted)
        .then(pl.lit(str(State.USUAL)))
        .otherwise("state")
        .alias("state"),
        *(pl.when(~hidden).then(name).alias(name) for name in ("observed", "excess", "tail_p")),
    )


def _named(hours: Hours, found: Found) -> pl.DataFrame:
    """zone_id, sector_id, direction, window_start, tail_p of hours that may be flagged."""
    windows = pl.Series([hours.start] * found.hour.size, dtype=HOUR) + pl.Series(found.hour * 3_600_000_000).cast(
        pl.Duration("us")
    )
    return hours.series[found.series].select(
        "zone_id", "sector_id", "direction", windows.alias("window_start"), pl.Series("tail_p", found.tail_p)
    )


def _hours_between(start: datetime, end: datetime) -> int:
    return int((end - start).total_seconds()) // 3600


# --- planted surges ---

PLANTED_SIZES: Final = (50.0, 900.0)  # movements over all hours and zones, even in their logarithm
PLANTED_HOURS: Final = (1, 1, 1, 2, 2, 3, 4, 6, 8, 12)
PLANTED_PER_ZONE_MONTH: Final = 5.0
TWO_ZONES: Final = 0.4  # of all surges
FIRST_ZONE_SHARE: Final = 0.6
_SLOT_H: Final = 48  # a surge has two days of its series to itself
_MAIN_SHARE: Final = 0.3  # of its excess, for an hour to count as part of a surge


@dataclass(frozen=True, slots=True, eq=False)
class PlantedSet:
    """Planted surges of one set: which surge (number) put how many movements into which series and hour; their sizes."""

    surge: Ints
    series: Ints
    hour: Ints
    movements: Ints
    size: Floats  # by surge


def draw_surges(hours: Hours, random: np.random.Generator, *, since: int) -> PlantedSet:
    """Surges somewhere in the belts from the hour `since` on: even, rising or falling, 1 to 12 h, one zone or two."""
    around = hours.around
    count = hours.expected.shape[1]
    slots = max((count - since - max(PLANTED_HOURS)) // _SLOT_H, 0)
    belts = np.nonzero(around.belt)[0]
    chance = PLANTED_PER_ZONE_MONTH / 2 / (730.5 / _SLOT_H)
    row, slot = np.nonzero(random.random((belts.size, slots)) < chance)
    number = row.size
    first = since + slot * _SLOT_H + random.integers(0, _SLOT_H - max(PLANTED_HOURS), number)
    low, high = PLANTED_SIZES
    size = np.round(low * (high / low) ** random.random(number))
    lasts = random.choice(np.array(PLANTED_HOURS), number)
    shape = random.integers(0, 3, number)
    two = random.random(number) < TWO_ZONES
    parts: list[tuple[int, int, int, int]] = []
    for n in range(number):
        at = np.arange(int(lasts[n])) + 0.5
        curve = np.ones(at.size) if shape[n] == 0 else at if shape[n] == 1 else at[::-1]
        home = int(belts[row[n]])
        near = around.neighbours[home]
        zones = [(home, 1.0)]
        if two[n] and near:
            other = near[int(random.integers(len(near)))]
            zones = [(home, FIRST_ZONE_SHARE), (other, 1.0 - FIRST_ZONE_SHARE)]
        for zone, share in zones:
            drawn = random.poisson(size[n] * share * curve / curve.sum())
            parts += [(n, zone, int(first[n]) + k, int(m)) for k, m in enumerate(drawn) if m]
    table = np.array(parts, dtype=np.int64).reshape(-1, 4)
    return PlantedSet(table[:, 0], table[:, 1], table[:, 2], table[:, 3], size)


def planted(
    hours: Hours,
    rows: pl.DataFrame,
    surges: PlantedSet,
    dispersion: Dispersion,
    shares: Sequence[float],
    random: np.random.Generator,
) -> Hours:
    """The hours with the surges in them, as carriers would have published them.

    `rows` are those that `hours` was made of, sorted alike. A suppressed count first gets a value as its expectation has
    it below the threshold; what then stays below it is suppressed again.
    """
    width = hours.expected.shape[1]
    touched, where = np.unique(surges.series * width + surges.hour, return_inverse=True)
    extra = np.bincount(where, surges.movements, touched.size)
    chosen = rows[touched]
    cells, expected = cells_of(chosen, shares), hours.expected.ravel()[touched]
    mean, variance = cells.mean(expected), cells.variance(expected, dispersion)
    sd = np.sqrt(variance)
    below = random.random(mean.shape) * ndtr((cells.bound - mean) / sd)
    background = np.where(cells.censored, mean + sd * ndtri(np.maximum(below, 1e-300)), cells.value)
    counts = np.round(background + random.binomial(extra.astype(np.int64), cells.share[:, None] * np.ones_like(mean)))
    with np.errstate(invalid="ignore"):
        shown = counts >= cells.bound
    value = np.where(shown, counts, np.nan)
    residual, told, _ = residual_of(value, cells.bound, ~shown, mean, variance)
    some = shown.any(axis=0)
    known = hours.known.ravel()[touched]

    def put(name: str, values: Any) -> Any:
        whole = getattr(hours, name).copy().ravel()
        whole[touched] = np.where(known, values, whole[touched])
        return whole.reshape(hours.expected.shape)

    return replace(
        hours,
        observed=put("observed", np.where(some, np.where(shown, counts, 0.0).sum(axis=0), np.nan)),
        noise=put("noise", np.sqrt((cells.noise_variance * shown).sum(axis=0))),
        residual=put("residual", residual),
        told=put("told", told),
        suppressed=put("suppressed", ~shown.all(axis=0)),
    )


# --- what is learned from them ---

VERY_LARGE_SHARE: Final = 0.2  # of the budget: 0.02 of 0.1 alerts per zone-month
BASE_RATE_PER_ZONE_MONTH: Final = 0.5  # real surges, stated, not measured
_LEAST_POSITIVES, _LEAST_NEGATIVES, _LEAST_ALERTS = 300, 100, 12
_MOST_PLANTED: Final = 6000  # surges, over all sets
FOLDS: Final = 4
BLOCK_H: Final = 730
_TIE_BREAK: Final = 0.02  # of the tail score, on the log-odds
_RARE: Final = 20  # alerts at the top that say how the scale goes on above them
_REACH_H: Final = GAP_HOURS + 1


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A stretch of held-out time: dense rows with a lead of LEAD_H before the hour `since`, and the part that is unmarked.

    masked: series x hour, true where nothing may be learned (confirmed surges, hours not judged). `fold` names the model
    that has not seen it.
    """

    rows: pl.DataFrame
    hours: Hours
    since: int
    masked: Bools
    fold: int

    @property
    def zone_months(self) -> float:
        """Belt zone-months from `since` on that count."""
        return self._months(self.hours.around.belt)

    def months_of(self, sector_id: str) -> float:
        """Those of one sector."""
        return self._months(self.hours.around.belt & (self.hours.series["sector_id"] == sector_id).to_numpy())

    def _months(self, rows: Bools) -> float:
        usable = (self.hours.known & ~self.masked)[rows, self.since :]
        return float(usable.sum()) / max(len(set(self.hours.around.lane.tolist())), 1) / HOURS_PER_MONTH


@dataclass(frozen=True, slots=True)
class Scale:
    """How rare a score is: knots of score (rising) and rarity, and how fast rarity rises above the last."""

    score: tuple[float, ...]
    rarity: tuple[float, ...]
    slope: float

    def __post_init__(self) -> None:
        knots = np.array([self.score, self.rarity], dtype=float)
        if not knots.size or not np.isfinite([*knots.ravel(), self.slope]).all() or (np.diff(knots) < 0).any():
            raise ValueError("a scale rises and its knots are finite")

    def of(self, score: Floats) -> Floats:
        """-log10 of the clean alerts per zone-month that stand as high or higher."""
        above = np.maximum(score - self.score[-1], 0.0) * self.slope
        return np.asarray(np.interp(score, self.score, self.rarity) + above)


def scale_of(score: Floats, alerts: Ints, zone_months: float) -> Scale:
    """The scale of clean scores: `score` falling, `alerts` the number of alerts that the first so many make."""
    count = np.maximum.accumulate(alerts)
    first = np.nonzero(np.diff(count, prepend=0) > 0)[0]  # where each further alert begins
    at = first[np.unique(np.clip(np.round(np.geomspace(1, first.size, 60)).astype(int) - 1, 0, first.size - 1))]
    top = min(_RARE, max(first.size // 3, 1))
    beyond = score[first[:top]] - score[first[top - 1]]
    spread = max(float(beyond.mean()) if top > 1 else 1.0, 1e-3)
    keep = at[count[at] >= top][::-1]
    return Scale(
        tuple(float(x) for x in score[keep]),
        tuple(float(x) for x in -np.log10(count[keep] / zone_months)),
        float(1.0 / (spread * np.log(10.0))),
    )


def alerts_by_rank(series: Ints, hour: Ints, order: Ints, around: Around) -> Ints:
    """How many alerts the first 1, 2, 3 ... zone-hours of an order make, merged as detector.alerts merges flags."""
    parent: dict[tuple[int, int], tuple[int, int]] = {}

    def root(of: tuple[int, int]) -> tuple[int, int]:
        while parent[of] != of:
            parent[of] = parent[parent[of]]
            of = parent[of]
        return of

    answer = np.zeros(order.size, dtype=np.int64)
    alerts = 0
    for rank, at in enumerate(order):
        row, now = int(series[at]), int(hour[at])
        parent[row, now] = (row, now)
        alerts += 1
        for other in (row, *(n for n in around.neighbours[row] if around.group[n] == around.group[row])):
            for then in range(now - _REACH_H, now + _REACH_H + 1):
                if (other, then) in parent and (mine := root((row, now))) != (theirs := root((other, then))):
                    parent[mine] = theirs
                    alerts -= 1
        answer[rank] = alerts
    return answer


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The second model and the scales; `booster`, `triage` and `both` are None where there was too little to learn from."""

    booster: Any
    tail: Scale
    triage: Scale | None = None
    both: Scale | None = None  # of the mean of the two rarities

    def of(self, found: Found) -> Floats:
        """The rarity of each hour: of both models' opinions together, the very large ones at their own budget."""
        return self.fused(None if self.booster is None else triage_score(self.booster, found), found)

    def fused(self, score: Floats | None, found: Found) -> Floats:
        """The rarity, if the second model's scores are known already."""
        if score is None or self.both is None:
            return self.tail.of(tail_score(found))
        very_large = self.tail.of(tail_score(found)) + np.log10(VERY_LARGE_SHARE)
        return np.asarray(np.maximum(self.both.of(self.mean(score, found)), very_large))

    def mean(self, score: Floats, found: Found) -> Floats:
        """The mean of the rarities that each model alone gives.

        Measured against the second model alone and against the higher of the two: as good where the second model adds
        something, and never far below the tail where it does not.
        """
        assert self.triage is not None
        return np.asarray((self.triage.of(score) + self.tail.of(tail_score(found))) / 2.0)

    def document(self) -> dict[str, Any]:
        """The scales as JSON."""
        scales = {"tail": self.tail, "triage": self.triage, "both": self.both}
        return {name: None if scale is None else asdict(scale) for name, scale in scales.items()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any], booster: Any) -> Self:
        """The ranking of a bundle; a bundle without the second model ranks by the tail alone."""

        def scale(name: str) -> Scale | None:
            part = document[name]
            return part and Scale(tuple(part["score"]), tuple(part["rarity"]), float(part["slope"]))

        tail = scale("tail")
        if tail is None:
            raise ValueError("a ranking has a scale of tail scores")
        return cls(None, tail) if booster is None else cls(booster, tail, scale("triage"), scale("both"))


def tail_score(found: Found) -> Floats:
    """-log10 of the tail probability; it has no ties but at 300."""
    return np.asarray(-np.log10(found.tail_p))


def triage_score(booster: Any, found: Found) -> Floats:
    """Log-odds of the second model; ties are broken by the tail score."""
    if not found.series.size:
        return np.zeros(0)
    return raw_scores(booster, found.matrix) + _TIE_BREAK * np.minimum(tail_score(found), _MAX_SCORE)


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What held-out hours and the surges planted on them gave; scores are those of models that have not seen them.

    clean: zone_id, sector_id, direction, window_start, tail_p, rarity of every hour that may be flagged. planted: one row a
    surge: size, rarity (its best, -inf where it may not be flagged), tail_score.
    """

    ranking: Ranking
    clean: pl.DataFrame
    planted: pl.DataFrame
    planted_hours: pl.DataFrame  # surge, rarity of each hour of a surge that may be flagged
    surge_hours: float  # zone-hours that a planted surge has, on average
    alerts: tuple[Floats, Ints]  # rarities of clean hours, falling, and how many alerts the first so many make
    alerts_by_sector: Mapping[str, tuple[Floats, Ints, float]]  # the same, and the sector's zone-months
    zone_months: float
    golden: npt.NDArray[np.float32]  # some rows of TRIAGE_FEATURES


def rebased_hours(
    rows: pl.DataFrame, neighbours: Mapping[str, Sequence[str]], dispersion: Dispersion, shares: Sequence[float]
) -> tuple[pl.DataFrame, Hours]:
    """Dense rows, sorted by zone, direction and window, and their hours, level shifts taken in; with `level_shift`."""
    table = rows.sort("zone_id", "direction", "window_start")
    hours = hours_of(table, neighbours, dispersion, shares)
    shift = level_shifts(hours, table)
    table = rebased(table, shift)
    return table, hours_of(table, neighbours, dispersion, shares) if shift.any() else hours


def blocks_of(
    rows: pl.DataFrame,
    masked: str,
    neighbours: Mapping[str, Sequence[str]],
    dispersion: Dispersion,
    shares: Sequence[float],
    *,
    first: datetime,
    folds: int = FOLDS,
) -> list[Block]:
    """Dense held-out rows from `first` on, in blocks of about BLOCK_H hours, the folds taking turns."""
    start, last = span(rows)
    whole = _hours_between(first, last) + 1
    number = max(round(whole / BLOCK_H), 1)
    edges = [first + timedelta(hours=whole * n // number) for n in range(number + 1)]
    blocks = []
    for n, (since, until) in enumerate(pairwise(edges)):
        lead = max(since - timedelta(hours=LEAD_H), start)
        part = rows.filter((pl.col("window_start") >= lead) & (pl.col("window_start") < until))
        part, hours = rebased_hours(part, neighbours, dispersion, shares)
        mask = part[masked].to_numpy().reshape(hours.expected.shape)
        block = Block(part, hours, _hours_between(lead, since), mask, n % folds)
        if block.zone_months > 0:
            blocks.append(block)
    return blocks


def learn_ranking(
    blocks: Sequence[Block], dispersion: Dispersion, shares: Sequence[float], *, seed: int
) -> Learned | None:
    """The ranking of held-out blocks; None where they hold too few hours that may be flagged to lay any scale."""
    random = np.random.default_rng([seed, 7])
    zone_months = sum(block.zone_months for block in blocks)
    sets = max(1, min(6, int(_MOST_PLANTED / max(PLANTED_PER_ZONE_MONTH * zone_months, 1.0))))
    clean: list[Found] = []
    drawn: list[tuple[int, Found, Ints, Bools, PlantedSet]] = []
    for number, block in enumerate(blocks):
        clean.append(_kept(triage_features(block.hours, dispersion, since=block.since), ~block.masked))
        for _ in range(sets):
            surges = draw_surges(block.hours, random, since=block.since)
            if not surges.series.size:
                continue
            with_surges = planted(block.hours, block.rows, surges, dispersion, shares, random)
            found = triage_features(with_surges, dispersion, since=block.since)
            width = block.hours.expected.shape[1]
            key, mine = found.series * width + found.hour, surges.series * width + surges.hour
            order = np.argsort(mine, kind="stable")
            place = np.clip(np.searchsorted(mine[order], key), 0, order.size - 1)
            at = order[place]
            hit = mine[at] == key
            excess = with_surges.observed[found.series, found.hour] - with_surges.expected[found.series, found.hour]
            main = hit & (surges.movements[at] >= _MAIN_SHARE * excess)
            keep = np.nonzero(hit)[0]
            drawn.append((number, _taken(found, keep), surges.surge[at][keep], main[keep], surges))
    if sum(found.series.size for found in clean) < _LEAST_ALERTS:
        return None
    scores = _crossed(blocks, clean, drawn, seed=seed)
    return _laid(blocks, clean, drawn, scores, zone_months)


def _kept(found: Found, usable: Bools) -> Found:
    return _taken(found, np.nonzero(usable[found.series, found.hour])[0])


def _taken(found: Found, at: Ints) -> Found:
    return Found(found.series[at], found.hour[at], found.tail_p[at], found.matrix[at])


Drawn = tuple[int, Found, Ints, Bools, PlantedSet]


def _training(
    blocks: Sequence[Block], clean: Sequence[Found], drawn: Sequence[Drawn], without: int | None
) -> tuple[Any, Any]:
    """Matrix and labels of the blocks of all folds but one."""
    use = [block.fold != without for block in blocks]
    nothing = [found.matrix for found, used in zip(clean, use, strict=True) if used]
    surges = [found.matrix[main] for number, found, _, main, _ in drawn if use[number]]
    empty = np.zeros((0, len(TRIAGE_FEATURES)), dtype=np.float32)
    negatives, positives = np.concatenate([empty, *nothing]), np.concatenate([empty, *surges])
    labels = np.concatenate([np.zeros(len(negatives)), np.ones(len(positives))])
    return np.concatenate([negatives, positives]), labels


def _crossed(
    blocks: Sequence[Block], clean: Sequence[Found], drawn: Sequence[Drawn], *, seed: int
) -> tuple[Any, list[Floats], list[Floats]] | None:
    """The booster of all blocks, and each block's and set's scores by one that has not seen the block."""
    matrix, labels = _training(blocks, clean, drawn, None)
    folds = sorted({block.fold for block in blocks})
    if labels.sum() < _LEAST_POSITIVES or (1 - labels).sum() < _LEAST_NEGATIVES or len(folds) < 2:
        return None
    of_clean: list[Floats] = [np.zeros(0)] * len(clean)
    of_drawn: list[Floats] = [np.zeros(0)] * len(drawn)
    for fold in folds:
        booster = train_ranker(*_training(blocks, clean, drawn, fold), TRIAGE_FEATURES, MONOTONE, seed=seed)
        for n, block in enumerate(blocks):
            if block.fold == fold:
                of_clean[n] = triage_score(booster, clean[n])
        for n, (number, found, *_) in enumerate(drawn):
            if blocks[number].fold == fold:
                of_drawn[n] = triage_score(booster, found)
    return train_ranker(matrix, labels, TRIAGE_FEATURES, MONOTONE, seed=seed), of_clean, of_drawn


def _laid(
    blocks: Sequence[Block],
    clean: Sequence[Found],
    drawn: Sequence[Drawn],
    scores: tuple[Any, list[Floats], list[Floats]] | None,
    zone_months: float,
) -> Learned:
    around = blocks[0].hours.around
    # Hours of different blocks lie apart, so that no alert reaches from one into the next.
    hour = np.concatenate([found.hour + 100_000 * n for n, found in enumerate(clean)])
    series = np.concatenate([found.series for found in clean])

    def scale(values: Floats) -> Scale:
        order = np.argsort(-values, kind="stable")
        return scale_of(values[order], alerts_by_rank(series, hour, order, around), zone_months)

    tail = scale(np.concatenate([tail_score(found) for found in clean]))
    ranking = Ranking(None, tail)
    if scores is not None:
        ranking = Ranking(scores[0], tail, scale(np.concatenate(scores[1])))
        means = [ranking.mean(score, found) for score, found in zip(scores[1], clean, strict=True)]
        ranking = replace(ranking, both=scale(np.concatenate(means)))
    parts = []
    for n, (block, found) in enumerate(zip(blocks, clean, strict=True)):
        rarity = ranking.fused(None if scores is None else scores[1][n], found)
        parts.append(_named(block.hours, found).with_columns(pl.Series("rarity", rarity)))
    rarities = np.concatenate([part["rarity"].to_numpy() for part in parts])
    sector = np.concatenate([part["sector_id"].to_numpy() for part in parts])

    def counted(at: Ints) -> tuple[Floats, Ints]:
        order = at[np.argsort(-rarities[at], kind="stable")]
        return rarities[order], np.maximum.accumulate(alerts_by_rank(series, hour, order, around))

    rows, hourly = [], []
    offset = 0
    for n, (_, found, surge, _, surges) in enumerate(drawn):
        rarity = ranking.fused(None if scores is None else scores[2][n], found)
        best, best_tail = np.full(surges.size.size, -np.inf), np.full(surges.size.size, -np.inf)
        np.maximum.at(best, surge, rarity)
        np.maximum.at(best_tail, surge, ranking.tail.of(tail_score(found)))
        rows.append(pl.DataFrame({"size": surges.size, "rarity": best, "tail_rarity": best_tail}))
        hourly.append(pl.DataFrame({"surge": surge + offset, "rarity": rarity}))
        offset += surges.size.size
    matrix = np.concatenate([found.matrix for found in clean])
    return Learned(
        ranking=ranking,
        clean=pl.concat(parts),
        planted=pl.concat([pl.DataFrame(schema=_PLANTED_SCHEMA), *rows]),
        planted_hours=pl.concat([pl.DataFrame(schema=_PLANTED_HOURS_SCHEMA), *hourly]),
        surge_hours=sum(surges.series.size for *_, surges in drawn) / max(offset, 1),
        alerts=counted(np.arange(series.size)),
        alerts_by_sector={
            name: (*counted(np.nonzero(sector == name)[0]), sum(block.months_of(name) for block in blocks))
            for name in np.unique(sector).tolist()
        },
        zone_months=zone_months,
        golden=matrix[np.linspace(0, len(matrix) - 1, min(32, len(matrix))).astype(int)],
    )


_PLANTED_SCHEMA: Final = {"size": pl.Float64, "rarity": pl.Float64, "tail_rarity": pl.Float64}
_PLANTED_HOURS_SCHEMA: Final = {"surge": pl.Int64, "rarity": pl.Float64}
