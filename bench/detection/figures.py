"""What was measured of the detector, as plain JSON: one answer for each line of "must show"."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from bench.detection import ets, farrington
from bench.detection.evaluate import (
    BACKGROUNDS,
    BUDGET,
    PREVALENCE,
    Candidates,
    Pooled,
    Reduced,
    Run,
    Surges,
    alert_labels,
    alerts_by_zone,
    interval,
    matched_threshold,
    pool,
    reduce,
    sectors_of,
    surge_scores,
    surges_of,
    zone_months,
)
from bench.detection.methods import (
    ABLATIONS,
    FLOORS_ALONE,
    KEY,
    SEASONAL_NAIVE,
    Ears,
    HoltWinters,
    Method,
    Oracle,
    Product,
    ProductScorer,
    Scorer,
    armings,
)
from bench.detection.planting import HOUR_SPAN, LADDER_SIZES, PLAN, Crowd, Planted, plant_ladder, plant_plan
from bench.detection.worlds import Regime, World, plant, simulated, young
from detector.calibrate import HOURS_PER_MONTH
from detector.detect import detect
from detector.features import LOOKBACK_DAYS

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

OURS, FIRST_LOOK, ORACLE, FLOORS, FARRINGTON = (
    "tidemark",
    "tidemark, first look alone",
    "oracle",
    "floors alone",
    "Farrington flexible",
)
CALIBRATION_PREVALENCE: Final = 0.5  # surges per zone-month at which probabilities are judged
YOUNG_DAYS, YOUNG_SPAN = 14, timedelta(days=28)
VISIBLE: Final = 0.9  # a size is visible where this share of it, and of all larger ones, is found
WITHOUT_FLOORS: Final[tuple[Method, ...]] = (
    replace(SEASONAL_NAIVE, name="seasonal naive + NB, without floors", floors=False),
    Ears("EARS C2, without floors", floors=False),
)
UNEXPLAINED: Final = (Regime.FESTIVAL, Regime.LEVEL_SHIFT, Regime.DROP_OUT)


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is run."""

    copies: int = 3
    plan: tuple[Crowd, ...] = PLAN
    ladders: int = 1
    ablations: bool = True
    with_r: bool = True
    rounds: int | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A run with what only the product can tell."""

    run: Run
    copies: Sequence[World]
    scorer: ProductScorer
    is_ladder: Bools


def tell(text: str) -> None:
    """Progress, for who waits."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def measure(world: World, extent: Extent) -> Measured:
    """Every method on one world and its planted copies."""
    tell(f"{world.name}: planting")
    span = world.test_hours

    def planned(name: str) -> World:
        surges = plant_plan(
            extent.plan, world.belts, world.directions, world.neighbours, span, seed=world.seed, name=name
        )
        return plant(world, surges)

    copies = [planned(f"plan-{copy}") for copy in range(extent.copies)]
    copies += [
        plant(world, plant_ladder(world.belts, world.directions, span, seed=world.seed, name=f"ladder-{copy}"))
        for copy in range(extent.ladders)
    ]
    product = Product(rounds=extent.rounds, rows=extent.rows)
    methods: list[Method] = [Oracle(), FLOORS_ALONE, SEASONAL_NAIVE, Ears(), HoltWinters(), *WITHOUT_FLOORS]
    if extent.with_r and farrington.missing() is None:
        methods += [farrington.Farrington(), farrington.Farrington("Farrington + holiday term", holiday_term=True)]
    if extent.ablations:
        methods += [replace(product, name=name, sees=sees) for name, sees in ABLATIONS.items()]
    found: dict[str, Reduced] = {}
    tell(f"{world.name}: {product.name}")
    scorer = product.fit(world)
    found[OURS] = reduce(OURS, scorer, world, copies)
    if scorer.has_second_look:
        found[FIRST_LOOK] = reduce(FIRST_LOOK, scorer.alone(), world, copies, with_hold_out=False)
    for method in methods:
        tell(f"{world.name}: {method.name}")
        fitted: Scorer = method.fit(world)
        found[method.name] = reduce(
            method.name, fitted, world, copies, with_hold_out=not isinstance(method, farrington.Farrington | Oracle)
        )
    surges = surges_of(copies)
    run = Run(
        world=world,
        surges=surges,
        zone_months=zone_months(world),
        held_zone_months=zone_months(world, world.learn_until, world.hold_until - HOUR_SPAN),
        methods=found,
    )
    ladder = surges.table["copy"].to_numpy() >= extent.copies
    return Measured(run, copies, scorer, ladder)


def figures(measured: Sequence[Measured]) -> dict[str, Any]:
    """All figures of some worlds of one kind, pooled."""
    runs = [one.run for one in measured]
    names = list(runs[0].methods)
    ladder = np.concatenate([one.is_ladder for one in measured])
    matched = pool(runs, names)
    before_names = [
        name
        for name in names
        if all(r.methods[name].held is not None or r.methods[name].own_threshold is not None for r in runs)
    ]
    before = pool(runs, before_names, chosen_before=True)
    peak = matched.table["peak"].to_numpy()
    answer: dict[str, Any] = {
        "worlds": [run.world.name for run in runs],
        "zone_months": round(float(matched.zone_months.sum()), 1),
        "surges_of_the_plan": int((~ladder).sum()),
        "one_hour_bursts": int(ladder.sum()),
        "methods": {name: _method(matched, name, ~ladder) for name in names},
        "by_size": {
            str(size): {
                name: matched.recall(name, ~ladder & (matched.table["size"].to_numpy() == size)) for name in names
            }
            for size in sorted(set(matched.table["size"].to_numpy()[~ladder].tolist()))
        },
        "by_background": {
            _label(low, high): {name: matched.recall(name, ~ladder & matched.background(low, high)) for name in names}
            for low, high in BACKGROUNDS
        },
        "by_snr": {
            _label(low, high): {
                name: matched.recall(name, ~ladder & _between(matched.table["snr"], low, high)) for name in names
            }
            for low, high in ((0, 2), (2, 3), (3, 4), (4, 5), (5, 7), (7, np.inf))
        },
        "to_oracle": matched.ratio(OURS, ORACLE, ~ladder),
        "precision_to_oracle": _precision_ratio(matched, ~ladder),
        "above_30": {
            name: matched.ratio(OURS, name, ~ladder & matched.background(30, np.inf)) for name in names if name != OURS
        },
        "above_30_ladder": {
            name: matched.ratio(OURS, name, ladder & matched.background(30, np.inf)) for name in names if name != OURS
        },
        "floors_as_they_are": _method(whatever_passes(runs, FLOORS), FLOORS, ~ladder),
        "unseen_by_anyone": _unseen(runs, ~ladder),
        "own_policy": {
            "false_rate": before.false_rate(OURS),
            "methods": {name: _method(before, name, ~ladder) for name in before_names},
            "by_regime": by_regime(runs),
            "at_least_90_an_hour": {
                _label(low, high): {
                    name: before.recall(name, (peak >= 90) & before.background(low, high))
                    for name in before_names
                    if name in (OURS, FIRST_LOOK)
                }
                for low, high in BACKGROUNDS
            },
        },
        "at_least_90_an_hour": {
            _label(low, high): {
                name: matched.recall(name, (peak >= 90) & matched.background(low, high)) for name in names
            }
            for low, high in BACKGROUNDS
        },
        "smallest_visible": {
            _label(low, high): {
                name: smallest_visible(matched, name, ladder & matched.background(low, high)) for name in names
            }
            for low, high in BACKGROUNDS
        },
        "ordinary_time": ordinary_time(runs, names, ~ladder),
        "delay": delays(runs),
        "excess": excess_ratio(runs),
        "calibration": calibration(measured),
    }
    if FIRST_LOOK in names:
        answer["beside_first_look"] = {
            size: round(float(row[OURS]["value"]) - float(row[FIRST_LOOK]["value"]), 4)
            for size, row in answer["by_size"].items()
        }
    return answer


def whatever_passes(runs: Sequence[Run], method: str) -> Pooled:
    """The runs with every candidate of a method a flag."""
    return Pooled(
        table=pl.DataFrame(),
        found={method: np.concatenate([run.found(method, -np.inf) for run in runs])},
        false_alerts={method: tuple(run.alerts(method, -np.inf) for run in runs)},
        zone_months=np.array([run.zone_months for run in runs]),
    )


def _method(pooled: Pooled, name: str, where: Bools) -> dict[str, Any]:
    only = replace(pooled, found={name: pooled.found[name][where]})
    return {
        "recall": pooled.recall(name, where),
        "false_rate": pooled.false_rate(name),
        "precision": round(only.precision(name), 4),
    }


def _precision_ratio(pooled: Pooled, where: Bools) -> dict[str, Any]:
    """PPV over the oracle's at PREVALENCE; the interval resamples surges and zones."""
    random = np.random.default_rng(2)
    mine, theirs = pooled.found[OURS][where], pooled.found[ORACLE][where]
    at = random.integers(mine.size, size=(500, mine.size))
    drawn = []
    for name, found in ((OURS, mine), (ORACLE, theirs)):
        real = PREVALENCE * found[at].mean(axis=1)
        drawn.append(real / np.maximum(real + pooled.resampled_rates(name, 500), 1e-9))

    def precision(name: str) -> float:
        return replace(pooled, found={name: pooled.found[name][where]}).precision(name)

    return {
        "value": round(precision(OURS) / max(precision(ORACLE), 1e-9), 4),
        "interval": interval(drawn[0] / np.maximum(drawn[1], 1e-9)),
    }


def _between(column: pl.Series, low: float, high: float) -> Bools:
    values = column.to_numpy()
    return np.asarray((values >= low) & (values < high))


def _label(low: float, high: float) -> str:
    return f"{low:g} and more" if np.isinf(high) else f"{low:g} to {high:g}"


def _unseen(runs: Sequence[Run], where: Bools) -> dict[str, Any]:
    """The share of surges of which not even the oracle may flag an hour: the floors hide them from everybody."""
    best = np.concatenate([run.methods[ORACLE].best for run in runs])[where]
    size = np.concatenate([run.surges.table["size"].to_numpy() for run in runs])[where]
    return {
        "share": round(float(np.mean(~np.isfinite(best))), 4),
        "by_size": {str(s): round(float(np.mean(~np.isfinite(best[size == s]))), 4) for s in np.unique(size)},
    }


def smallest_visible(pooled: Pooled, name: str, where: Bools) -> int | None:
    """The smallest one-hour burst of which VISIBLE, and of every larger one, is found; None where none is."""
    sizes = pooled.table["size"].to_numpy()[where]
    found = pooled.found[name][where]
    smallest = None
    for size in sorted(LADDER_SIZES, reverse=True):
        at = sizes == size
        if not at.any() or found[at].mean() < VISIBLE:
            break
        smallest = size
    return smallest


def by_regime(runs: Sequence[Run], method: str = OURS) -> dict[str, Any]:
    """False alerts per zone-month in each kind of time, at the threshold chosen before; an alert belongs to the time of
    its first hour."""
    alerts: dict[str, int] = dict.fromkeys((str(regime) for regime in Regime), 0)
    months = dict.fromkeys(alerts, 0.0)
    for run in runs:
        regimes = run.world.regimes.with_columns(pl.col("regime").cast(pl.String))
        spans = regimes.filter(pl.col("zone_id").is_in(run.world.belts)).group_by("regime").len()
        for regime, hours in spans.iter_rows():
            months[regime] += hours / HOURS_PER_MONTH
        clean, threshold = run.methods[method].clean, run.chosen_before(method)
        flagged = clean.at_least(threshold)
        at = np.nonzero(flagged)[0]
        labels = alert_labels(clean, flagged, run.world.neighbours, sectors_of(run.world))
        frame = (
            pl.DataFrame(
                {
                    "alert": labels,
                    "zone_id": clean.zone[at].tolist(),
                    "hour": clean.hour[at],
                },
                schema_overrides={"zone_id": pl.String},
            )
            .sort("hour")
            .unique("alert", keep="first", maintain_order=True)
            .with_columns((pl.lit(run.world.hold_until) + pl.duration(hours=pl.col("hour"))).alias("window_start"))
            .with_columns(pl.col("window_start").cast(regimes.schema["window_start"]))
            .join(regimes, on=["zone_id", "window_start"], how="left")
        )
        for regime, number in frame.group_by("regime").len().iter_rows():
            alerts[regime] += number
    return {
        regime: {
            "alerts": alerts[regime],
            "zone_months": round(months[regime], 1),
            "rate": round(alerts[regime] / months[regime], 4) if months[regime] else None,
        }
        for regime in alerts
    }


def ordinary_time(runs: Sequence[Run], names: Sequence[str], where: Bools) -> dict[str, Any]:
    """Recall at the budget where alerts in UNEXPLAINED time do not count: unregistered festivals, the weeks after a level
    shift, drop-outs."""
    found: dict[str, list[Bools]] = {name: [] for name in names}
    false: dict[str, list[Ints]] = {name: [] for name in names}
    months = []
    for run in runs:
        regimes = run.world.regimes.with_columns(pl.col("regime").cast(pl.String))
        odd = regimes.filter(pl.col("regime").is_in([str(regime) for regime in UNEXPLAINED]))
        hours = (odd["window_start"] - run.world.hold_until).dt.total_hours().to_list()
        told = set(zip(odd["zone_id"].to_list(), hours, strict=True))
        share = 1 - odd.filter(pl.col("zone_id").is_in(run.world.belts)).height / max(
            regimes.filter(pl.col("zone_id").is_in(run.world.belts)).height, 1
        )
        months.append(run.zone_months * share)
        for name in names:
            clean = run.methods[name].clean
            keep = np.array([(z, h) not in told for z, h in zip(clean.zone, clean.hour, strict=True)], dtype=bool)
            rest = Candidates(clean.zone[keep], clean.direction[keep], clean.hour[keep], clean.score[keep])
            sectors = sectors_of(run.world)
            threshold = matched_threshold(rest, BUDGET * months[-1], run.world.neighbours, sectors)
            found[name].append(run.found(name, threshold))
            false[name].append(alerts_by_zone(rest, threshold, run.world))
    pooled = Pooled(
        table=pl.concat([run.surges.table.with_columns(pl.lit(at).alias("run")) for at, run in enumerate(runs)]),
        found={name: np.concatenate(parts) for name, parts in found.items()},
        false_alerts={name: tuple(parts) for name, parts in false.items()},
        zone_months=np.array(months),
    )
    return {
        "zone_months": round(float(sum(months)), 1),
        "methods": {name: _method(pooled, name, where) for name in names},
        "to_oracle": pooled.ratio(OURS, ORACLE, where),
    }


def on_a_subset(measured: Measured, number: int = 8) -> dict[str, Any]:
    """Recall at the budget on a few zones and their surges alone, with one method more that is too slow for all of them.

    One copy of the plan and one ladder, as fits must be made for each anew.
    """
    world = measured.run.world
    zones = tuple(world.belts[:: max(len(world.belts) // number, 1)][:number])
    chosen = [measured.copies[0], *(c for c, ladder in _by_copy(measured) if ladder)]
    table = measured.run.surges.table
    in_chosen = np.isin(table["copy"].to_numpy(), [measured.copies.index(copy) for copy in chosen])
    inside = table["zone_ids"].list.eval(pl.element().is_in(list(zones))).list.all().to_numpy()
    method = ets.Ets(zones)
    tell(f"{world.name}: {method.name} on {len(zones)} zones")
    slow = reduce(method.name, method.fit(world), world, chosen, with_hold_out=False)
    found = {slow.name: replace(slow, best=slow.best[inside[in_chosen]], hits=())}
    for name, one in measured.run.methods.items():
        keep = np.isin(one.clean.zone, zones)
        clean = Candidates(one.clean.zone[keep], one.clean.direction[keep], one.clean.hour[keep], one.clean.score[keep])
        found[name] = replace(one, clean=clean, best=one.best[in_chosen & inside], hits=())
    part = replace(
        measured.run,
        surges=Surges(table.filter(pl.Series(in_chosen & inside))),
        zone_months=measured.run.zone_months * len(zones) / len(world.belts),
        methods=found,
    )
    pooled = pool([part], list(found))
    everything = np.ones(pooled.table.height, dtype=bool)
    return {
        "zones": len(zones),
        "zone_months": round(part.zone_months, 1),
        "surges": pooled.table.height,
        "methods": {name: _method(pooled, name, everything) for name in found},
    }


def _by_copy(measured: Measured) -> list[tuple[World, bool]]:
    """The planted copies, and whether each is a ladder."""
    copy = measured.run.surges.table["copy"].to_numpy()
    return [(world, bool(measured.is_ladder[copy == at].any())) for at, world in enumerate(measured.copies)]


def delays(runs: Sequence[Run]) -> dict[str, Any]:
    """Hours from the first hour of a found surge to its first flag, at the product's own policy."""
    first = []
    for run in runs:
        threshold = run.chosen_before(OURS)
        for after, score, _, _ in run.methods[OURS].hits:
            at = after[score >= threshold]
            if at.size:
                first.append(float(at.min()))
    if not first:
        return {"mean": None, "p90": None, "surges": 0}
    return {
        "mean": round(float(np.mean(first)), 3),
        "p90": float(np.quantile(first, 0.9)),
        "surges": len(first),
    }


def excess_ratio(runs: Sequence[Run]) -> dict[str, Any]:
    """What the flagged hours of found surges are said to have beyond the usual, over what was planted in them."""
    ratios = []
    for run in runs:
        threshold = run.chosen_before(OURS)
        for _, score, excess, planted in run.methods[OURS].hits:
            at = (score >= threshold) & (planted > 0)
            if at.any():
                ratios.append(float(excess[at].sum() / planted[at].sum()))
    if not ratios:
        return {"median": None, "quartiles": None, "surges": 0}
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    return {
        "median": round(float(middle), 4),
        "quartiles": [round(float(low), 4), round(float(high), 4)],
        "surges": len(ratios),
    }


def calibration(measured: Sequence[Measured]) -> dict[str, Any] | None:
    """ECE and Brier skill of the product's probabilities by zone-hour, weighted to CALIBRATION_PREVALENCE; None where it
    gives none.

    An hour is a surge's if movements were planted in it. An hour of which nothing is said has probability 0. Clean hours
    weigh what they are; hours of surges weigh so that CALIBRATION_PREVALENCE surges of the plan begin per zone-month.
    """
    value: list[Floats] = []
    truth: list[Floats] = []
    weight: list[Floats] = []
    for one in measured:
        world = one.run.world
        clean = one.scorer.expectations(world, world.hold_until, world.last_window)
        if "probability" not in clean.columns:
            return None
        said = clean["probability"].cast(pl.Float64).fill_null(0.0).to_numpy()
        value.append(said)
        truth.append(np.zeros(said.size))
        weight.append(np.ones(said.size))
        plans = [copy for copy, ladder in _by_copy(one) if not ladder]
        number = sum(copy.truth.height for copy in plans)
        for copy in plans:
            of_surges = pl.DataFrame(
                [
                    (zone, row["direction"], row["window_start"] + after * HOUR_SPAN)
                    for row in copy.truth.iter_rows(named=True)
                    for zone in row["zone_ids"]
                    for after in range(row["hours"])
                    if copy.planted.get((row["surge_id"], zone, after), 0)
                ],
                schema={name: clean.schema[name] for name in KEY},
                orient="row",
            )
            told = of_surges.join(copy_expectations(one.scorer, copy).select(*KEY, "probability"), on=KEY, how="inner")
            part = told["probability"].cast(pl.Float64).fill_null(0.0).to_numpy()
            value.append(part)
            truth.append(np.ones(part.size))
            weight.append(np.full(part.size, CALIBRATION_PREVALENCE * one.run.zone_months / number))
    p, y, w = (np.concatenate(part) for part in (value, truth, weight))
    base = float((w * y).sum() / w.sum())
    brier = float((w * (p - y) ** 2).sum() / w.sum())
    bins = np.digitize(p, (1e-9, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9))
    table, error = [], 0.0
    for at in np.unique(bins):
        mine = bins == at
        within = float(w[mine].sum())
        claimed, real = float((w[mine] * p[mine]).sum()) / within, float((w[mine] * y[mine]).sum()) / within
        share = within / float(w.sum())
        error += share * abs(claimed - real)
        table.append({"said": round(claimed, 4), "real": round(real, 4), "share": round(share, 6)})
    return {
        "ece": round(error, 5),
        "brier_skill": round(1 - brier / (base * (1 - base)), 4),
        "base_rate": round(base, 5),
        "table": table,
    }


def copy_expectations(scorer: ProductScorer, copy: World) -> pl.DataFrame:
    """What the product says of a planted copy's test span."""
    return scorer.expectations(copy, copy.hold_until, copy.last_window)


def new_zones(measured: Measured) -> dict[str, Any]:
    """Recall in zones that had reported for YOUNG_DAYS, over that in the same zones with all their history: the same surges,
    the same model and threshold, in the first weeks of the test span."""
    world, scorer = measured.run.world, measured.scorer
    zones = world.belts[::2]
    hours = int(YOUNG_SPAN / HOUR_SPAN)
    threshold = measured.run.chosen_before(OURS)
    best: dict[str, list[bool]] = {"mature": [], "young": []}
    short = replace(world, end=min(world.end, world.hold_until + YOUNG_SPAN))
    for name, of in (("mature", short), ("young", young(short, zones, YOUNG_DAYS))):
        for copy in range(2):
            surges = plant_ladder(zones, world.directions, hours, seed=world.seed, name=f"new-{copy}")
            planted = plant(of, surges)
            scores, _ = surge_scores(scorer, [planted])
            best[name] += (scores >= threshold).tolist()
    mature, fresh = (np.array(best[name], dtype=bool) for name in ("mature", "young"))
    pooled = Pooled(
        table=pl.DataFrame(),
        found={"mature": mature, "young": fresh},
        false_alerts={},
        zone_months=np.zeros(0),
    )
    return {
        "mature": pooled.recall("mature"),
        "young": pooled.recall("young"),
        "ratio": pooled.ratio("young", "mature"),
    }


def cost(zones: int = 200, days: int = 365) -> dict[str, Any]:
    """CPU seconds of a full retrain on `zones` belts (and their crossing points) and `days` of history, and of one hour's
    detection: all features from LOOKBACK_DAYS, scores, and the reasons of five alerts."""
    tell(f"cost: {zones} zones, {days} days")
    world = simulated(7, zones=zones, months=0.1, learn_days=days - days // 6)  # its hold-out makes up for the rest
    since = world.hold_until - timedelta(days=days)
    history = world.history.filter(pl.col("window_start").is_between(since, world.hold_until, closed="left"))
    began = time.process_time()
    scorer = Product().fit(replace(world, history=history))
    retrain = time.process_time() - began
    tell(f"cost: retrained in {retrain:.0f} CPU-seconds")
    crowd = np.array([[1500]])
    surges = [Planted(f"cost-{at}", (world.belts[at * 7],), "arrival", 5, crowd, "burst") for at in range(5)]
    at = world.hold_until + 5 * HOUR_SPAN
    busy = plant(world, surges)
    recent = busy.history.filter(pl.col("window_start").is_between(at - timedelta(days=LOOKBACK_DAYS), at))
    seconds, alerts = [], 0
    for _ in range(3):
        began = time.process_time()
        found = detect(
            recent,
            scorer.trained.bundle,
            scorer.trained.policy,
            armings(world, at, at),
            world.neighbours,
            world.calendar,
            [],
            first_window=at,
            last_window=at,
        )
        seconds.append(time.process_time() - began)
        alerts = len(found.alerts)
    return {
        "belts": zones,
        "days": days,
        "rows": history.height,
        "retrain_cpu_s": round(retrain, 1),
        "hour_cpu_s": round(min(seconds), 2),
        "alerts_in_that_hour": alerts,
    }
