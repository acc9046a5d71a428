"""The two things the centre does with a history: learn what is usual from it (`train`), and judge it (`detect`)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl

from detector.alerts import FLAG_SCHEMA, Alert, merge
from detector.calendar import CALENDAR_FEATURES, Calendar
from detector.calibrate import (
    BUDGET_PER_ZONE_MONTH,
    HOURS_PER_MONTH,
    choose_tail_p,
    clean_scores,
    probability_bands,
    scored,
)
from detector.features import (
    FEED_FEATURES,
    LOOKBACK_DAYS,
    OWN_FEATURES,
    SURROUNDING_FEATURES,
    add_features,
    carrier_shares,
    cells_of,
    span,
)
from detector.flag import EXPECTATION_SCHEMA, State, judge
from detector.likelihood import PRIOR_DISPERSION, Cells, Dispersion, estimate_dispersion, negative_log_likelihood
from detector.model import ROUNDS, Bundle, contributions, predict, seal_bundle, train_booster
from detector.policy import MIN_HISTORY_DAYS, Arming, Policy
from ingest.release import format_utc

TRAINING_ROWS: Final = 200_000
SHORTEST_TRAINING: Final = timedelta(days=42)
_HELD_OUT_SHARE: Final = 0.2
_HELD_OUT_LEAST: Final = timedelta(days=21)
_WARM_DAYS: Final = 14.0  # rows before this have levels that are mostly prior

_CONTRIBUTION_GROUPS: Final = {
    "past_factor": OWN_FEATURES,
    "surroundings_factor": SURROUNDING_FEATURES,
    "calendar_factor": CALENDAR_FEATURES,
    "feed_factor": FEED_FEATURES,
}


@dataclass(frozen=True, slots=True)
class Trained:
    """A new bundle and the thresholds that belong to it."""

    bundle: Bundle
    policy: Policy


@dataclass(frozen=True, slots=True)
class Detection:
    """What was found: every zone-hour judged, and the alerts that are new or changed."""

    expectations: pl.DataFrame  # EXPECTATION_SCHEMA
    alerts: list[Alert]


def train(
    history: pl.DataFrame,
    neighbours: Mapping[str, Sequence[str]],
    calendar: Calendar,
    *,
    proposed_by: str,
    approved_by: str | None,
    reason: str,
    previous: str | None = None,
    known_unusual: pl.DataFrame | None = None,
    budget: float = BUDGET_PER_ZONE_MONTH,
    rows: int = TRAINING_ROWS,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Trained:
    """A bundle and a policy from a history (HISTORY_SCHEMA, dense) of at least SHORTEST_TRAINING.

    The last fifth (three weeks at least) is held out: a model that has not seen it gives the spread, the thresholds and
    the probability bands; the model that is served then learns from all of it. `known_unusual` (zone_id, direction,
    window_start) are zone-hours that people have confirmed as unusual: nothing is learned from them and they are no
    false alerts. The policy is valid from the end of the history. Same history and seed: same bundle.
    """
    shares = carrier_shares(history)
    table = add_features(history, neighbours, calendar, shares)
    start, last = span(table)
    end = last + timedelta(hours=1)
    if end - start < SHORTEST_TRAINING:
        raise ValueError(f"training needs at least {SHORTEST_TRAINING.days} days of history")
    if known_unusual is not None:
        table = table.join(
            known_unusual, on=["zone_id", "direction", "window_start"], how="anti", maintain_order="left"
        )
    usable = table.filter(
        pl.col("complete")
        & (pl.col("value").is_not_null() | pl.col("suppressed"))
        & (pl.col("history_days") >= _WARM_DAYS)
    )
    held_from = end - max(_HELD_OUT_LEAST, (end - start) * _HELD_OUT_SHARE)
    earlier, later = (
        usable.filter(part) for part in (pl.col("window_start") < held_from, pl.col("window_start") >= held_from)
    )
    if earlier.is_empty() or later.is_empty():
        raise ValueError("training needs complete hours before and after the hold-out begins")

    random = np.random.default_rng(seed)
    first = _fit(_sample(earlier, rows, random), shares, PRIOR_DISPERSION, seed=seed, rounds=rounds)
    later = _with_expectation(later, predict(first, later))
    cells = cells_of(later, shares)
    dispersion = estimate_dispersion(later["expected"].to_numpy(), cells)

    held_out = scored(later)
    clean = clean_scores(held_out, dispersion)
    tail_p = choose_tail_p(clean, held_out.zone_months, neighbours, budget=budget)
    bands = probability_bands(held_out, clean, tail_p, neighbours, dispersion, shares, seed=seed)
    booster = _fit(_sample(usable, rows, random), shares, dispersion, seed=seed, rounds=rounds)
    bundle = seal_bundle(
        booster,
        usable.gather(np.linspace(0, usable.height - 1, 32).astype(int)),
        dispersion=dispersion,
        shares=shares,
        calibration=bands,
        metrics=_metrics(later, cells, dispersion),
        training_window={"start": format_utc(start), "end": format_utc(end), "held_out_from": format_utc(held_from)},
        seed=seed,
    )
    policy = Policy(
        tail_p=tail_p,
        min_history_days=MIN_HISTORY_DAYS,
        proposed_by=proposed_by,
        approved_by=approved_by,
        reason=reason,
        valid_from=end,
        previous=previous,
    )
    return Trained(bundle, policy)


def detect(
    history: pl.DataFrame,
    bundle: Bundle,
    policy: Policy,
    armings: Sequence[Arming],
    neighbours: Mapping[str, Sequence[str]],
    calendar: Calendar,
    existing_alerts: Iterable[Mapping[str, Any]],
    *,
    first_window: datetime,
    last_window: datetime,
    exercise: bool = False,
    simulated: bool = False,
) -> Detection:
    """Every zone-hour from the first to the last window, both included, judged; and the alerts that this changes.

    `history` should begin LOOKBACK_DAYS before the first window; `existing_alerts` are all that are not closed,
    however long ago their last window (else they would never close), and the closed ones that overlap the windows
    judged. Hours of unfinished alerts before the first window are judged again, so that an alert is always rebuilt whole;
    they are not in the answer's expectations.
    """
    alerts = [dict(alert) for alert in existing_alerts]
    unfinished = [datetime.fromisoformat(alert["window_start"]) for alert in alerts if alert["status"] != "closed"]
    judged_from = min([first_window, *unfinished])
    recent = history.filter(pl.col("window_start").is_between(judged_from - timedelta(days=LOOKBACK_DAYS), last_window))
    table = add_features(recent, neighbours, calendar, bundle.shares).filter(pl.col("window_start") >= judged_from)
    rows = _with_expectation(table, predict(bundle.booster, table))
    judged = judge(rows, bundle.dispersion, policy, armings, bundle.model_version)
    changed = merge(
        _flags(judged, bundle),
        judged,
        alerts,
        neighbours,
        bundle.calibration,
        judged_from=judged_from,
        first_window=first_window,
        now_window=last_window,
        exercise=exercise,
        simulated=simulated,
    )
    expectations = judged.filter(pl.col("window_start") >= first_window).select(list(EXPECTATION_SCHEMA))
    return Detection(expectations, changed)


def _fit(table: pl.DataFrame, shares: Sequence[float], dispersion: Dispersion, *, seed: int, rounds: int) -> Any:
    return train_booster(table, cells_of(table, shares), dispersion, seed=seed, rounds=rounds)


def _sample(table: pl.DataFrame, rows: int, random: np.random.Generator) -> pl.DataFrame:
    if table.height <= rows:
        return table
    return table.gather(np.sort(random.choice(table.height, rows, replace=False)))


def _with_expectation(table: pl.DataFrame, expected: Any) -> pl.DataFrame:
    """The table with `expected` and `spread`, its uncertainty: that of the level it corrects, in movements."""
    return table.with_columns(
        pl.Series("expected", expected),
        pl.Series("spread", expected * np.minimum(table["level_spread"].to_numpy(), 1.0).astype(float)),
    )


def _flags(judged: pl.DataFrame, bundle: Bundle) -> pl.DataFrame:
    flags = judged.filter(pl.col("state") == State.UNUSUAL)
    if flags.is_empty():
        return pl.DataFrame(schema=FLAG_SCHEMA)
    parts = contributions(bundle.booster, flags)
    factors = [
        pl.Series(group, np.exp(np.sum([parts[name] for name in names], axis=0)))
        for group, names in _CONTRIBUTION_GROUPS.items()
    ]
    return flags.with_columns(factors).select(pl.col(name).cast(kind) for name, kind in FLAG_SCHEMA.items())


def _metrics(later: pl.DataFrame, cells: Cells, dispersion: Dispersion) -> dict[str, float]:
    """How the expectation did on hours it had not seen, beside the plain level it starts from."""
    expected, level = later["expected"].to_numpy(), later["level"].to_numpy()
    variance = cells.variance(expected, dispersion)
    z = (cells.value - cells.mean(expected)) / np.sqrt(variance)
    return {
        "held_out_rows": float(later.height),
        "held_out_zone_months": float(later.height / 2 / HOURS_PER_MONTH),
        "published_share": float(np.mean(~cells.censored)),
        "mean_loss": float(np.mean(negative_log_likelihood(np.log(expected), cells, variance))),
        "mean_loss_of_level": float(np.mean(negative_log_likelihood(np.log(level), cells, variance))),
        "share_above_3_sd": float(np.sum(z > 3) / z.size),
    }
