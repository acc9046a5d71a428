"""The two things the centre does with a history: learn what is usual from it (`train`), and judge it (`detect`)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl

from detector.alerts import FLAG_SCHEMA, OUTAGE_HOURS, Alert, merge
from detector.calendar import CALENDAR_FEATURES, Calendar
from detector.calibrate import (
    BUDGET_PER_ZONE_MONTH,
    HOURS_PER_MONTH,
    UNMARKED_PER_ZONE_MONTH,
    choose_rarity,
    choose_tail_p,
    clean_scores,
    hour_probability,
    probability_bands,
    ranked_bands,
    scored,
)
from detector.expectation import (
    Expectation,
    contribution_factors,
    learn_expectation,
    learn_spread,
    sample,
    with_spread,
)
from detector.features import (
    FEED_FEATURES,
    LOOKBACK_DAYS,
    OWN_FEATURES,
    SURROUNDING_FEATURES,
    Memory,
    add_features,
    add_features_and_memory,
    carrier_shares,
    cells_of,
    span,
)
from detector.flag import EXPECTATION_SCHEMA, State, judge
from detector.likelihood import PRIOR_DISPERSION, Cells, Dispersion, negative_log_likelihood
from detector.model import ROUNDS, Bundle, BundleError, seal_bundle
from detector.policy import MAX_TAIL_P, MIN_HISTORY_DAYS, Arming, Policy
from detector.reaction import Reaction, Uncertainty
from detector.register import RegisteredEvent, explanations
from detector.residual import Hours
from detector.triage import (
    FOLDS,
    LEAD_H,
    TRIAGE_FEATURES,
    Block,
    Learned,
    Ranking,
    blocks_of,
    learn_ranking,
    ranked,
    rebased_hours,
)
from ingest.release import format_utc

TRAINING_ROWS: Final = 200_000
SHORTEST_TRAINING: Final = timedelta(days=42)
_HELD_OUT_SHARE: Final = 0.2
_HELD_OUT_LEAST: Final = timedelta(days=21)
_WARM_DAYS: Final = 14.0  # rows before this have levels that are mostly prior
_CROSSED_LEAST: Final = timedelta(days=180)  # of history, for every season in it to be held out once
_CROSSED_WARM: Final = timedelta(days=56)
_CROSSED_BLOCK_H: Final = 730
_CROSSED_SHARE: Final = 0.6  # of the rows, for each of the models that are only asked about what they have not seen
_RANKED_LEAST_ZONE_MONTHS: Final = 30.0

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

    expectations: pl.DataFrame  # EXPECTATION_SCHEMA, rarity, probability (of being part of a real surge)
    alerts: list[Alert]
    level_shifts: list[dict[str, Any]]  # zone_id, direction, higher_by_percent at the last window: ask the carriers


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

    Thresholds, spread, the second model and the probability bands come from hours that their expectation has not seen: of
    a history of _CROSSED_LEAST each month in turn, by models that learned from the other months, so that no season's
    first surprise is left out; of a shorter one the last fifth (three weeks at least). The model that is served then learns
    from all of it. `known_unusual` (zone_id, direction, window_start) are zone-hours that people have confirmed as unusual:
    nothing is learned from them and they are no false alerts; without any, UNMARKED_PER_ZONE_MONTH are taken to be hidden
    in the history. The policy is valid from the end of the history. Same history and seed: same bundle.
    """
    shares = carrier_shares(history)
    table, memory = add_features_and_memory(history, neighbours, calendar, shares)
    start, last = span(table)
    end = last + timedelta(hours=1)
    if end - start < SHORTEST_TRAINING:
        raise ValueError(f"training needs at least {SHORTEST_TRAINING.days} days of history")
    table = _marked(table, known_unusual)
    usable = table.filter(
        pl.col("complete")
        & (pl.col("value").is_not_null() | pl.col("suppressed"))
        & (pl.col("history_days") >= _WARM_DAYS)
        & ~pl.col("marked")
    )
    random = np.random.default_rng(seed)

    def fit(part: pl.DataFrame, dispersion: Dispersion, share: float = 1.0) -> Expectation:
        few = sample(part, int(rows * share), random)
        return learn_expectation(few, shares, dispersion, seed=seed, rounds=rounds)

    unseen, held_from = _unseen(table, usable, start, end, fit)
    counts = (
        (pl.col("window_start") >= held_from)
        & pl.col("complete")
        & (pl.col("value").is_not_null() | pl.col("suppressed"))
        & (pl.col("history_days") >= _WARM_DAYS)
        & ~pl.col("marked")
    )
    uncertainty, dispersion = learn_spread(unseen.filter(counts), shares, seed=seed)
    unseen = with_spread(unseen, uncertainty, dispersion)
    later = unseen.filter(counts)
    cells = cells_of(later, shares)

    unmarked = UNMARKED_PER_ZONE_MONTH if known_unusual is None else 0.0
    blocks = blocks_of(unseen, "marked", neighbours, dispersion, shares, first=held_from)
    learned = learn_ranking(blocks, dispersion, shares, seed=seed) if _enough(blocks) else None
    tail_p, least, by_sector = MAX_TAIL_P, None, dict[str, float]()
    if learned is None:
        held_out = scored(later)
        clean = clean_scores(held_out, dispersion)
        tail_p = choose_tail_p(clean, held_out.zone_months, neighbours, budget=budget)
        bands = probability_bands(held_out, clean, tail_p, neighbours, dispersion, shares, seed=seed)
    else:
        least, by_sector = choose_rarity(learned, budget=budget, unmarked=unmarked)
        bands = ranked_bands(learned, neighbours, least, unmarked=unmarked)
    expectation = fit(usable, dispersion)
    bundle = seal_bundle(
        expectation.booster,
        usable.gather(np.linspace(0, usable.height - 1, 32).astype(int)),
        expectation={
            "reaction": expectation.reaction.document(),
            "uncertainty": uncertainty.document(),
            "memory": memory.document(),
        },
        triage=_second(learned),
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
        least_rarity=least,
        sector_rarity=by_sector,
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
    events: Sequence[RegisteredEvent] = (),
    exercise: bool = False,
    simulated: bool = False,
) -> Detection:
    """Every zone-hour from the first to the last window, both included, judged; and the alerts that this changes.

    `history` should begin LOOKBACK_DAYS before the first window; `existing_alerts` are all that are not closed,
    however long ago their last window (else they would never close), and the closed ones that overlap the windows
    judged. What one of the registered `events` explains is told in alerts that are born acknowledged. Hours of unfinished
    alerts before the first window are judged again, so that an alert is always rebuilt whole; they are not in the answer's
    expectations.
    """
    alerts = [dict(alert) for alert in existing_alerts]
    unfinished = [datetime.fromisoformat(alert["window_start"]) for alert in alerts if alert["status"] != "closed"]
    judged_from = min([first_window, *unfinished])
    recent = history.filter(pl.col("window_start").is_between(judged_from - timedelta(days=LOOKBACK_DAYS), last_window))
    ranks = "ranking" in bundle.calibration
    wanted = judged_from - timedelta(hours=LEAD_H) if ranks else judged_from
    table = add_features(recent, neighbours, calendar, bundle.shares, memory=_memory(bundle), since=wanted)
    rows = with_spread(_expectation(bundle).rows(table), _uncertainty(bundle), bundle.dispersion)
    hours = None
    if ranks:
        rows, hours = rebased_hours(rows, neighbours, bundle.dispersion, bundle.shares)
    at_hand = rows.filter(pl.col("window_start") >= judged_from)
    judged = judge(at_hand, bundle.dispersion, policy, armings, bundle.model_version)
    judged = judged.with_columns(_NOT_RANKED) if hours is None else _ranked(judged, hours, bundle, policy)
    changed = merge(
        _flags(judged, bundle, recent, events),
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
    expectations = judged.filter(pl.col("window_start") >= first_window).select(
        *EXPECTATION_SCHEMA, "rarity", "probability"
    )
    return Detection(expectations, changed, _shifted(judged, last_window))


def _shifted(judged: pl.DataFrame, last_window: datetime) -> list[dict[str, Any]]:
    if "level_shift" not in judged.columns:
        return []
    now = judged.filter((pl.col("window_start") == last_window) & (pl.col("level_shift") > 0))
    return [
        {"zone_id": zone, "direction": direction, "higher_by_percent": round(100 * (float(np.exp(log)) - 1))}
        for zone, direction, log in now.select("zone_id", "direction", "level_shift").sort("zone_id").iter_rows()
    ]


_NOT_RANKED: Final = (
    pl.lit(None, pl.Float64).alias("rarity"),
    pl.lit(None, pl.Float64).alias("probability"),
)


def _ranked(
    judged: pl.DataFrame,
    hours: Hours,
    bundle: Bundle,
    policy: Policy,
) -> pl.DataFrame:
    if bundle.triage is not None and bundle.document["triage"]["features"] != list(TRIAGE_FEATURES):
        raise BundleError("the second model was made for other features")
    ranking = Ranking.from_document(bundle.calibration["ranking"], bundle.triage)
    # A policy without a least rarity leaves every flag that its tail probability makes.
    sectors = judged["sector_id"].unique().to_list()
    least = {sector: -np.inf if (own := policy.rarity_of(sector)) is None else own for sector in sectors}
    after = ranked(judged, hours, ranking, least, bundle.dispersion)
    rarity = after["rarity"].fill_null(np.nan).to_numpy()
    return after.with_columns(pl.Series("probability", hour_probability(rarity, bundle.calibration)))


def _marked(table: pl.DataFrame, known_unusual: pl.DataFrame | None) -> pl.DataFrame:
    """The table with `marked`: whether people have confirmed the zone-hour as unusual."""
    if known_unusual is None:
        return table.with_columns(pl.lit(value=False).alias("marked"))
    key = ["zone_id", "direction", "window_start"]
    known = known_unusual.select(key).unique().with_columns(pl.lit(value=True).alias("marked"))
    return table.join(known, on=key, how="left", maintain_order="left").with_columns(
        pl.col("marked").fill_null(value=False)
    )


def _unseen(
    table: pl.DataFrame, usable: pl.DataFrame, start: datetime, end: datetime, fit: Callable[..., Any]
) -> tuple[pl.DataFrame, datetime]:
    """Dense rows with an expectation by a model that has not seen their month, and from when on they count."""
    if end - start >= _CROSSED_LEAST:

        def fold(of: pl.DataFrame) -> Any:
            month = (of["window_start"] - start).dt.total_hours().to_numpy() // _CROSSED_BLOCK_H
            return month % FOLDS

        mine, theirs = fold(table), fold(usable)
        parts = []
        for each in range(FOLDS):
            expectation = fit(usable.filter(pl.Series(theirs != each)), PRIOR_DISPERSION, _CROSSED_SHARE)
            parts.append(expectation.rows(table.filter(pl.Series(mine == each))))
        return pl.concat(parts).sort("zone_id", "direction", "window_start"), start + _CROSSED_WARM
    held_from = end - max(_HELD_OUT_LEAST, (end - start) * _HELD_OUT_SHARE)
    held_from -= timedelta(minutes=held_from.minute, seconds=held_from.second, microseconds=held_from.microsecond)
    earlier = usable.filter(pl.col("window_start") < held_from)
    if earlier.is_empty() or usable.filter(pl.col("window_start") >= held_from).is_empty():
        raise ValueError("training needs complete hours before and after the hold-out begins")
    part = table.filter(pl.col("window_start") >= held_from - timedelta(hours=LEAD_H))
    return fit(earlier, PRIOR_DISPERSION).rows(part), held_from


def _enough(blocks: Sequence[Block]) -> bool:
    return sum(block.zone_months for block in blocks) >= _RANKED_LEAST_ZONE_MONTHS


def _second(learned: Learned | None) -> Any:
    if learned is None or learned.ranking.booster is None:
        return None
    return learned.ranking.booster, TRIAGE_FEATURES, learned.golden


def _expectation(bundle: Bundle) -> Expectation:
    return Expectation(Reaction.from_document(bundle.expectation["reaction"]), bundle.booster)


def _uncertainty(bundle: Bundle) -> Uncertainty:
    return Uncertainty.from_document(bundle.expectation["uncertainty"])


def _memory(bundle: Bundle) -> Memory:
    return Memory.from_document(bundle.expectation["memory"])


def _flags(
    judged: pl.DataFrame, bundle: Bundle, history: pl.DataFrame, events: Sequence[RegisteredEvent]
) -> pl.DataFrame:
    flags = judged.filter(pl.col("state") == State.UNUSUAL)
    if flags.is_empty():
        return pl.DataFrame(schema=FLAG_SCHEMA)
    factors = [
        pl.Series(group, values)
        for group, values in contribution_factors(
            _expectation(bundle).contributions(flags), _CONTRIBUTION_GROUPS
        ).items()
    ]
    broken = history.filter(~pl.col("complete")).select("sector_id", "window_start").unique()
    at_fault = set(broken.iter_rows())
    outage = [
        any((sector, window - timedelta(hours=back)) in at_fault for back in range(OUTAGE_HOURS + 1))
        for sector, window in flags.select("sector_id", "window_start").iter_rows()
    ]
    flags = flags.with_columns(
        pl.Series("outage_near", outage, dtype=pl.Boolean),
        pl.Series("event", explanations(events, flags), dtype=pl.String),
        (pl.min_horizontal("days_to_holiday", "days_since_holiday") <= 1).alias("holiday"),
        pl.lit(0.0).alias("level_shift") if "level_shift" not in flags.columns else pl.col("level_shift"),
    )
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
