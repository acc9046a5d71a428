"""What methods find and what they raise besides, held against one another.

A method is reduced to what any threshold needs: the scores of the clean test span in which it may flag, and for every
planted surge the scores from its first hour to LATE after its last. False alerts are flags merged as the product merges
them (GAP_HOURS, touching zones, one sector and direction).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bench.detection.methods import Scorer
from bench.detection.planting import HOUR_SPAN
from bench.detection.worlds import SIGMA, World
from detector.alerts import GAP_HOURS
from detector.backtest import LATE
from detector.calibrate import HOURS_PER_MONTH

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

BUDGET: Final = 0.1  # false alerts per zone-month
PREVALENCE: Final = 0.25  # surges per zone-month, stated: for the share of alerts that are real
BACKGROUNDS: Final = ((0.0, 8.0), (8.0, 30.0), (30.0, 50.0), (50.0, 100.0), (100.0, np.inf))
RESAMPLES: Final = 1000
Hits = tuple[Floats, Floats, Floats, Floats]
_NONE: Final = np.zeros(0)


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Zone-hours that a method may flag, sorted by nothing in particular."""

    zone: npt.NDArray[np.str_]
    direction: npt.NDArray[np.str_]
    hour: Ints  # since the world's test span began
    score: Floats

    def at_least(self, threshold: float) -> Bools:
        """Which of them are flags at a threshold."""
        return np.asarray(self.score >= threshold)


@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """One method on one world.

    best: each surge's highest score, -inf where it may not be flagged at all. hits: for each surge (hours after its
    first, score, excess, movements planted) of its candidates.
    """

    name: str
    clean: Candidates
    held: Candidates | None  # of the hold-out, where its threshold is to come from
    own_threshold: float | None
    best: Floats
    hits: tuple[Hits, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Surges:
    """The planted surges of all copies of a world: one row each, in the order of `Reduced.best`.

    table: PLANTED_SCHEMA, background (true mean of its peak zone over its hours), snr (size over the sd of all its
    zone-hours, noise included), copy.
    """

    table: pl.DataFrame


def candidates(scores: pl.DataFrame, origin: datetime) -> Candidates:
    """The scores of zone-hours that may be flagged."""
    rows = scores.filter("may_flag")
    hour = ((rows["window_start"] - origin).dt.total_hours()).to_numpy().astype(np.int64)
    return Candidates(
        rows["zone_id"].to_numpy().astype(str),
        rows["direction"].to_numpy().astype(str),
        hour,
        rows["score"].cast(pl.Float64).to_numpy(),
    )


def alert_labels(
    found: Candidates, flagged: Bools, neighbours: Mapping[str, Sequence[str]], sectors: Mapping[str, str]
) -> Ints:
    """For each flagged candidate the number of its alert: as `detector.alerts.group_flags`, without the frames."""
    at = np.nonzero(flagged)[0]
    if not at.size:
        return np.zeros(0, dtype=np.int64)
    order = at[np.lexsort((found.zone[at], found.hour[at]))]
    lanes: dict[tuple[str, str], list[int]] = {}
    for position, row in enumerate(order):
        lanes.setdefault((str(found.zone[row]), str(found.direction[row])), []).append(position)
    hour = found.hour[order]
    left: list[Ints] = []
    right: list[Ints] = []
    for (zone, direction), members in lanes.items():
        mine = np.array(members)
        for other in (zone, *(n for n in neighbours.get(zone, ()) if n < zone and sectors.get(n) == sectors[zone])):
            theirs = np.array(lanes.get((other, direction), []), dtype=np.int64)
            if not theirs.size:
                continue
            low = np.searchsorted(hour[theirs], hour[mine] - GAP_HOURS - 1, side="left")
            high = np.searchsorted(hour[theirs], hour[mine] + GAP_HOURS + 1, side="right")
            number = high - low
            left.append(np.repeat(mine, number))
            right.append(
                theirs[np.concatenate([np.arange(a, b, dtype=np.int64) for a, b in zip(low, high, strict=True)])]
            )
    a, b = (np.concatenate(part) if part else np.zeros(0, dtype=np.int64) for part in (left, right))
    graph = coo_array((np.ones(a.size), (a, b)), shape=(order.size, order.size))
    _, labels = connected_components(graph, directed=False)
    answer = np.empty(found.zone.size, dtype=np.int64)
    answer[order] = labels
    return answer[at]


def alerts_at(
    found: Candidates, threshold: float, neighbours: Mapping[str, Sequence[str]], sectors: Mapping[str, str]
) -> int:
    """How many alerts a threshold makes."""
    labels = alert_labels(found, found.at_least(threshold), neighbours, sectors)
    return int(labels.max()) + 1 if labels.size else 0


def alerts_by_zone(found: Candidates, threshold: float, world: "World") -> Ints:
    """How many alerts begin in each belt zone, in the order of World.belts."""
    flagged = found.at_least(threshold)
    labels = alert_labels(found, flagged, world.neighbours, sectors_of(world))
    at = np.nonzero(flagged)[0]
    _, first = np.unique(labels[np.argsort(found.hour[at], kind="stable")], return_index=True)
    zones = found.zone[at][np.argsort(found.hour[at], kind="stable")][first]
    return np.array([(zones == zone).sum() for zone in world.belts], dtype=np.int64)


def matched_threshold(
    found: Candidates, allowed: float, neighbours: Mapping[str, Sequence[str]], sectors: Mapping[str, str]
) -> float:
    """The lowest threshold that makes at most `allowed` alerts; -inf where even all of them are not too many."""
    if alerts_at(found, -np.inf, neighbours, sectors) <= allowed:
        return -np.inf
    scores = np.unique(found.score)[::-1]  # highest first
    low, high = 0, scores.size  # the first `low` distinct scores fit
    while low < high:
        middle = (low + high + 1) // 2
        if alerts_at(found, float(scores[middle - 1]), neighbours, sectors) <= allowed:
            low = middle
        else:
            high = middle - 1
    return float(scores[low - 1]) if low else np.inf


def sectors_of(world: World) -> dict[str, str]:
    """The sector of every zone."""
    return dict(world.counts.zones.select("zone_id", "sector_id").iter_rows())


def zone_months(world: World, first: datetime | None = None, last: datetime | None = None) -> float:
    """Complete belt zone-months of the test span (or of the windows named), one direction."""
    rows = world.history.filter(
        (pl.col("kind") == "belt")
        & pl.col("complete")
        & pl.col("window_start").is_between(first or world.hold_until, last or world.last_window)
    )
    return rows.height / max(len(world.directions), 1) / HOURS_PER_MONTH


def surges_of(copies: Sequence[World]) -> Surges:
    """All planted surges, with the background at their peak and their window's signal-to-noise ratio."""
    tables = []
    for copy, world in enumerate(copies):
        cells = (
            world.truth.select(
                "surge_id",
                "direction",
                "window_start",
                "peak_zone",
                pl.col("zone_ids").alias("zone_id"),
                pl.int_ranges(0, "hours").alias("after"),
            )
            .explode("zone_id")
            .explode("after")
            .with_columns(pl.col("window_start") + pl.duration(hours=pl.col("after")))
            .join(world.true_mean, on=["zone_id", "direction", "window_start"], how="left")
        )
        noise = SIGMA**2 * len(world.counts.carriers)
        of_surge = cells.group_by("surge_id").agg(
            pl.col("mean").filter(pl.col("zone_id") == pl.col("peak_zone")).mean().alias("background"),
            (noise + pl.col("mean") + pl.col("kappa") * pl.col("mean") ** 2).sum().sqrt().alias("sd"),
        )
        tables.append(
            world.truth.join(of_surge, on="surge_id", how="left", maintain_order="left")
            .with_columns((pl.col("size") / pl.col("sd")).alias("snr"), pl.lit(copy).alias("copy"))
            .drop("sd")
        )
    return Surges(pl.concat(tables))


def reduce(name: str, scorer: Scorer, world: World, copies: Sequence[World], *, with_hold_out: bool = True) -> Reduced:
    """A fitted method on a clean world and its planted copies."""
    origin = world.hold_until
    clean = candidates(scorer(world, origin, world.last_window), origin)
    held = None
    if scorer.threshold is None and with_hold_out:
        held = candidates(scorer(world, world.learn_until, origin - HOUR_SPAN), origin)
    best, hits = surge_scores(scorer, copies)
    return Reduced(name, clean, held, scorer.threshold, best, hits)


def surge_scores(scorer: Scorer, copies: Sequence[World]) -> tuple[Floats, tuple[Hits, ...]]:
    """`best` and `hits` of a Reduced."""
    best: list[float] = []
    hits: list[Hits] = []
    for copy in copies:
        rows = scorer(copy, copy.hold_until, copy.last_window).filter("may_flag")
        lanes = {
            (str(zone), str(direction)): part.sort("window_start")
            for (zone, direction), part in rows.partition_by("zone_id", "direction", as_dict=True).items()
        }
        for surge in copy.truth.iter_rows(named=True):
            last = surge["window_start"] + (surge["hours"] - 1) * HOUR_SPAN + LATE
            parts = [
                lanes[zone, surge["direction"]].filter(pl.col("window_start").is_between(surge["window_start"], last))
                for zone in surge["zone_ids"]
                if (zone, surge["direction"]) in lanes
            ]
            mine = pl.concat(parts) if parts else rows.clear()
            if mine.is_empty():
                best.append(-np.inf)
                hits.append((_NONE, _NONE, _NONE, _NONE))
                continue
            score = mine["score"].cast(pl.Float64).to_numpy()
            best.append(float(score.max()))
            after = (mine["window_start"] - surge["window_start"]).dt.total_hours().to_numpy().astype(float)
            planted = np.array(
                [
                    copy.planted.get((surge["surge_id"], zone, int(hour)), 0)
                    for zone, hour in zip(mine["zone_id"].to_list(), after, strict=True)
                ],
                dtype=float,
            )
            hits.append((after, score, mine["excess"].cast(pl.Float64).to_numpy(), planted))
    return np.array(best), tuple(hits)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """All methods on one world: what the figures are made of."""

    world: World
    surges: Surges
    zone_months: float
    held_zone_months: float
    methods: Mapping[str, Reduced]

    def alerts(self, method: str, threshold: float) -> Ints:
        """False alerts of a method in the clean test span at a threshold, by zone."""
        return alerts_by_zone(self.methods[method].clean, threshold, self.world)

    def matched(self, method: str, budget: float = BUDGET) -> float:
        """The threshold that the budget leaves on the test span itself: fair between methods, optimistic for each."""
        clean = self.methods[method].clean
        return matched_threshold(clean, budget * self.zone_months, self.world.neighbours, sectors_of(self.world))

    def chosen_before(self, method: str, budget: float = BUDGET) -> float:
        """The threshold as it stood before the test span: the method's own, else the budget's on the hold-out."""
        reduced = self.methods[method]
        if reduced.own_threshold is not None:
            return reduced.own_threshold
        assert reduced.held is not None
        return matched_threshold(
            reduced.held, budget * self.held_zone_months, self.world.neighbours, sectors_of(self.world)
        )

    def found(self, method: str, threshold: float) -> Bools:
        """Which surges a method finds at a threshold."""
        best = self.methods[method].best
        return np.asarray((best >= threshold) & np.isfinite(best))


def interval(values: Floats) -> list[float]:
    """The middle 95 % of resampled values."""
    known = values[np.isfinite(values)]
    return [round(float(v), 4) for v in np.quantile(known, (0.025, 0.975))] if known.size else [float("nan")] * 2


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """The surges of several runs together: which were found by whom, at thresholds laid run by run."""

    table: pl.DataFrame  # Surges.table of all runs, run
    found: Mapping[str, Bools]
    false_alerts: Mapping[str, tuple[Ints, ...]]  # by run and zone
    zone_months: Floats  # by run

    def alerts(self, method: str) -> int:
        """All false alerts of a method."""
        return int(sum(by_zone.sum() for by_zone in self.false_alerts[method]))

    def recall(self, method: str, where: Bools | None = None) -> dict[str, Any]:
        """The share found, with a bootstrap interval over surges, and how many there were."""
        found = self.found[method] if where is None else self.found[method][where]
        if not found.size:
            return {"value": None, "interval": None, "surges": 0}
        random = np.random.default_rng(1)
        draws = random.binomial(found.size, found.mean(), RESAMPLES) / found.size
        return {"value": round(float(found.mean()), 4), "interval": interval(draws), "surges": int(found.size)}

    def ratio(self, method: str, to: str, where: Bools | None = None) -> dict[str, Any]:
        """Recall of one method over another's, by a paired bootstrap over the same surges."""
        mine, theirs = (self.found[name] if where is None else self.found[name][where] for name in (method, to))
        if not mine.size or not theirs.any():
            return {"value": None, "interval": None, "surges": int(mine.size), "found": int(mine.sum())}
        random = np.random.default_rng(1)
        picked = random.integers(mine.size, size=(RESAMPLES, mine.size))
        draws = mine[picked].sum(axis=1) / np.maximum(theirs[picked].sum(axis=1), 1)
        value = float(mine.sum() / theirs.sum())
        return {"value": round(value, 4), "interval": interval(draws), "surges": int(mine.size)}

    def resampled_rates(self, method: str, draws: int = RESAMPLES) -> Floats:
        """False alerts per zone-month, with the zones of all runs drawn anew, with replacement."""
        by_zone = np.concatenate(self.false_alerts[method])
        picked = np.random.default_rng(1).integers(by_zone.size, size=(draws, by_zone.size))
        return np.asarray(by_zone[picked].sum(axis=1) / self.zone_months.sum())

    def false_rate(self, method: str) -> dict[str, Any]:
        """False alerts per zone-month, with a bootstrap interval over zones."""
        number, months = self.alerts(method), float(self.zone_months.sum())
        by_run = zip(self.false_alerts[method], self.zone_months, strict=True)
        return {
            "value": round(number / months, 4),
            "interval": interval(self.resampled_rates(method)),
            "alerts": number,
            "zone_months": round(months, 1),
            "by_run": [round(float(by_zone.sum() / of), 4) for by_zone, of in by_run],
        }

    def precision(self, method: str, prevalence: float = PREVALENCE) -> float:
        """The share of alerts that are real, if `prevalence` surges like these happen per zone-month."""
        real = prevalence * float(self.found[method].mean())
        false = self.alerts(method) / float(self.zone_months.sum())
        return real / max(real + false, 1e-12)

    def background(self, low: float, high: float) -> Bools:
        """Which surges fell on a background of [low, high) movements an hour."""
        at = self.table["background"].to_numpy()
        return np.asarray((at >= low) & (at < high))


def pool(runs: Sequence[Run], methods: Sequence[str], *, chosen_before: bool = False, budget: float = BUDGET) -> Pooled:
    """All runs together, every run at its own threshold."""
    found: dict[str, list[Bools]] = {name: [] for name in methods}
    false: dict[str, list[Ints]] = {name: [] for name in methods}
    for run in runs:
        for name in methods:
            threshold = run.chosen_before(name, budget) if chosen_before else run.matched(name, budget)
            found[name].append(run.found(name, threshold))
            false[name].append(run.alerts(name, threshold))
    return Pooled(
        table=pl.concat([run.surges.table.with_columns(pl.lit(at).alias("run")) for at, run in enumerate(runs)]),
        found={name: np.concatenate(parts) for name, parts in found.items()},
        false_alerts={name: tuple(parts) for name, parts in false.items()},
        zone_months=np.array([run.zone_months for run in runs]),
    )
