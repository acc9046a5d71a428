"""Where the thresholds and the probability bands come from: hours that the model has not seen in training.

The tail probability of the policy is the loosest one that keeps held-out hours within the alert budget. The bands say
how likely an alert of some score is to be a real surge: surges are planted on the same held-out hours, and what they
score is weighed against what the hours score by themselves, at a stated base rate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from scipy.optimize import isotonic_regression
from scipy.special import ndtr, ndtri

from detector.alerts import group_flags
from detector.features import cells_of
from detector.flag import passes_floor, sighted, tail_probability
from detector.likelihood import Bools, Dispersion, Floats
from detector.policy import HOURS_PER_MONTH as HOURS_PER_MONTH
from detector.policy import LEAST_RARITY, MAX_TAIL_P
from detector.triage import Learned

BUDGET_PER_ZONE_MONTH: Final = 0.1  # false alerts
BASE_RATE_PER_ZONE_MONTH: Final = 0.5  # real surges, stated, not measured
UNMARKED_PER_ZONE_MONTH: Final = 0.25  # real surges that a history holds while nobody has marked any; stated as well
PLANTED_SIZES: Final = (60, 100, 200, 400)
PLANTED_HOURS: Final = (1, 2, 3, 4)
_PLANTED: Final = 4000
_BAND_STEPS: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)  # of -log10 p above that of the policy
_LABELS: Final = ((0.75, "over 75 %"), (0.5, "50-75 %"), (0.25, "25-50 %"), (0.0, "under 25 %"))
_MIN_TAIL_P: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Scored:
    """Held-out belt hours with their expectation, and how much of the border's time they are."""

    rows: pl.DataFrame  # HISTORY_SCHEMA, expected, spread; complete hours only
    zone_months: float


def scored(rows: pl.DataFrame) -> Scored:
    """The complete belt hours among these rows."""
    belt = rows.filter((pl.col("kind") == "belt") & pl.col("complete"))
    directions = belt["direction"].n_unique() or 1
    return Scored(belt, belt.height / directions / HOURS_PER_MONTH)


def clean_scores(held_out: Scored, dispersion: Dispersion) -> pl.DataFrame:
    """The held-out hours that pass the floor, with `tail_p`."""
    observed, noise = sighted(held_out.rows)
    published = np.isfinite(observed)
    rows = held_out.rows.filter(pl.Series(published))
    passes, tail_p = _floor_and_tail(rows, observed[published], noise[published], dispersion)
    return rows.with_columns(pl.Series("tail_p", tail_p)).filter(pl.Series(passes))


def choose_tail_p(
    clean: pl.DataFrame,
    zone_months: float,
    neighbours: Mapping[str, Sequence[str]],
    *,
    budget: float = BUDGET_PER_ZONE_MONTH,
) -> float:
    """The loosest tail probability at which clean hours make at most `budget` alerts per zone-month.

    `clean` are hours that pass the floor, with tail_p. The answer lies halfway (in log) between the last score that
    fits and the first that does not, and never above MAX_TAIL_P. Where the held-out time is too short to allow even three
    alerts, it is also no looser than the budget spread evenly over the zone's hours.
    """
    allowed = budget * zone_months
    cap = MAX_TAIL_P if allowed >= 3 else min(MAX_TAIL_P, budget / (2 * HOURS_PER_MONTH))
    candidates = clean.filter(pl.col("tail_p") <= cap).sort("tail_p")
    scores = candidates["tail_p"].to_numpy()
    low, high = 0, scores.size  # the first `low` fit
    while low < high:
        middle = (low + high + 1) // 2
        if len(group_flags(candidates.head(middle), neighbours)) <= allowed:
            low = middle
        else:
            high = middle - 1
    if low == scores.size:
        return cap
    fits = scores[low - 1] if low else scores[low] / 100.0
    return float(np.clip(np.sqrt(fits * scores[low]), _MIN_TAIL_P, cap))


def probability_bands(
    held_out: Scored,
    clean: pl.DataFrame,
    tail_p: float,
    neighbours: Mapping[str, Sequence[str]],
    dispersion: Dispersion,
    shares: Sequence[float],
    *,
    seed: int,
) -> dict[str, Any]:
    """The bands of an alert's score, each with the probability that it is a real surge; JSON for the bundle.

    probability = base rate x share of planted surges in the band / (that + clean alerts per zone-month in the band),
    made monotone. About one alert is added to the clean ones, thinning out as the square root of the tail probability
    does and never below a twentieth of an alert in a band: no held-out time is long enough to be certain. Sizes and
    hours of the planted surges are even mixes of PLANTED_SIZES and PLANTED_HOURS.
    """
    starts = [float(-np.log10(tail_p)) + step for step in _BAND_STEPS]
    edges = np.array([*starts, np.inf])
    sizes, planted = plant(held_out, dispersion, shares, seed=seed)
    flagged = clean.filter(pl.col("tail_p") <= tail_p)
    alerts = np.array([-np.log10(group["tail_p"].to_numpy().min()) for group in group_flags(flagged, neighbours)])
    share = np.histogram(planted, edges)[0] / max(planted.size, 1)
    unseen = np.maximum(-np.diff([*(10.0 ** (-step / 2) for step in _BAND_STEPS), 0.0]), 0.05)
    clean_rate = (np.histogram(alerts, edges)[0] + unseen) / max(held_out.zone_months, 1e-9)
    real = BASE_RATE_PER_ZONE_MONTH * share
    probability = np.maximum.accumulate(real / np.maximum(real + clean_rate, 1e-12))
    return {
        "base_rate_per_zone_month": BASE_RATE_PER_ZONE_MONTH,
        "zone_months": held_out.zone_months,
        "planted": int(planted.size),
        "planted_found_by_size": {
            str(size): float(np.mean(planted[sizes == size] >= starts[0]))
            for size in PLANTED_SIZES
            if (sizes == size).any()
        },
        "bands": [
            {
                "score_from": start,
                "planted_share": float(share[i]),
                "clean_alerts_per_zone_month": float(clean_rate[i]),
                "probability": float(probability[i]),
                "label": next(label for least, label in _LABELS if probability[i] >= least),
            }
            for i, start in enumerate(starts)
        ],
    }


def plant(held_out: Scored, dispersion: Dispersion, shares: Sequence[float], *, seed: int) -> tuple[Floats, Floats]:
    """Sizes of surges planted on held-out hours and the best score of each (0 where no hour passes the floor).

    A planted surge adds an even Poisson stream to consecutive hours, split over the carriers by their shares. A
    suppressed count first gets a value as its expectation has it below the threshold; what then stays below it is
    suppressed again.
    """
    rows = held_out.rows
    random = np.random.default_rng(seed)
    longest = max(PLANTED_HOURS)
    key = ["zone_id", "direction"]
    whole = rows.select(
        (pl.col("window_start").shift(1 - longest).over(key) - pl.col("window_start")).dt.total_hours() == longest - 1
    ).to_series()
    begins = np.nonzero(whole.fill_null(value=False).to_numpy())[0]
    if not begins.size:
        return np.zeros(0), np.zeros(0)
    start = random.choice(begins, _PLANTED)
    size = random.choice(PLANTED_SIZES, _PLANTED)
    lasts = random.choice(PLANTED_HOURS, _PLANTED)
    best = np.zeros(_PLANTED)
    for hour in range(longest):
        chosen = rows[start + hour]
        cells, expected = cells_of(chosen, shares), chosen["expected"].to_numpy()
        mean, sd = cells.mean(expected), np.sqrt(cells.variance(expected, dispersion))
        below = random.random(mean.shape) * ndtr((cells.bound - mean) / sd)
        background = np.where(cells.censored, mean + sd * ndtri(np.maximum(below, 1e-300)), cells.value)
        surge = random.poisson(np.where(hour < lasts, size / lasts, 0.0) * cells.share[:, None])
        counts = np.round(background + surge)
        shown = counts >= cells.bound
        observed, noise = (counts * shown).sum(axis=0), np.sqrt((cells.noise_variance * shown).sum(axis=0))
        passes, tail_p = _floor_and_tail(chosen, observed, np.maximum(noise, 1e-3), dispersion)
        shows = passes & shown.any(axis=0) & (hour < lasts)
        best = np.maximum(best, np.where(shows, -np.log10(tail_p), 0.0))
    return size.astype(float), best


def _floor_and_tail(
    rows: pl.DataFrame, observed: Floats, noise: Floats, dispersion: Dispersion
) -> tuple[Bools, Floats]:
    expected, spread, sigma = (rows[name].to_numpy() for name in ("expected", "spread", "sigma"))
    passes = passes_floor(observed, expected, sigma, noise, spread, dispersion)
    tail_p = np.ones(observed.size)
    at = np.nonzero(passes)
    tail_p[at] = tail_probability(observed[at], expected[at], noise[at], spread[at], dispersion)
    return passes, tail_p


# --- with a ranking (detector/triage.py) ---

SECTOR_PRIOR_ZONE_MONTHS: Final = 240.0  # of the whole border's threshold, beside a sector's own clean time
SECTOR_REACH: Final = 0.3  # a sector's threshold differs from the border's by at most a factor of two in alerts
_BAND_RARITIES: Final = (0.0, 0.15, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)  # above the policy's
_KNOTS: Final = 40


def choose_rarity(learned: Learned, *, budget: float, unmarked: float) -> tuple[float, dict[str, float]]:
    """The least rarity of a flag, and each sector's own, that keep held-out hours within `budget` alerts per zone-month.

    Clean hours hold real surges that nobody marked, `unmarked` per zone-month; those that would be found are no false
    alerts, so they are allowed on top. A sector's own threshold is drawn towards the border's as by
    SECTOR_PRIOR_ZONE_MONTHS and stays within SECTOR_REACH of it.
    """
    found = np.sort(learned.planted["rarity"].to_numpy())

    def recall(rarity: Floats) -> Floats:
        return np.asarray(1.0 - np.searchsorted(found, rarity) / max(found.size, 1))

    def least(rarities: Floats, alerts: Floats, zone_months: float) -> float | None:
        fits = alerts <= (budget + unmarked * recall(rarities)) * zone_months
        over = np.nonzero(~fits)[0]
        if not over.size:
            return None
        first = int(over[0])
        # Halfway between the last that fits and the first that does not; scores that are equal fall together.
        return float((rarities[max(first - 1, 0)] + rarities[first]) / 2) if first else float(rarities[0] + 0.3)

    whole = least(learned.alerts[0], learned.alerts[1].astype(float), learned.zone_months)
    border = max(LEAST_RARITY, -float(np.log10(budget)) if whole is None else whole)
    by_sector = {}
    for sector, (rarities, alerts, zone_months) in learned.alerts_by_sector.items():
        own = least(rarities, alerts.astype(float), zone_months)
        weight = zone_months / (zone_months + SECTOR_PRIOR_ZONE_MONTHS)
        moved = weight * (0.0 if own is None else own - border)
        by_sector[sector] = max(LEAST_RARITY, border + float(np.clip(moved, -SECTOR_REACH, SECTOR_REACH)))
    return border, by_sector


def ranked_bands(
    learned: Learned, neighbours: Mapping[str, Sequence[str]], least: float, *, unmarked: float, directions: int = 2
) -> dict[str, Any]:
    """How likely a rarity is a real surge, of an alert (bands) and of one zone-hour (`hours`); JSON for the bundle.

    Isotonic regression of planted surges, weighed to BASE_RATE_PER_ZONE_MONTH, against clean alerts, and of their hours
    against clean hours, all by models that have not seen them. Unmarked surges among the clean are taken out by weight.
    """
    surges = learned.planted["rarity"].to_numpy()
    each = BASE_RATE_PER_ZONE_MONTH * learned.zone_months / max(surges.size, 1)
    order = np.sort(surges)

    def clean_weight(rarity: Floats) -> Floats:
        """Of a clean alert: less the surges that nobody marked."""
        rate = np.interp(rarity, learned.alerts[0][::-1], learned.alerts[1][::-1] / learned.zone_months)
        recall = 1.0 - np.searchsorted(order, rarity) / max(order.size, 1)
        return np.asarray(np.clip(1.0 - unmarked * recall / np.maximum(rate, 1e-9), 0.2, 1.0))

    peaks = np.array([group["rarity"].to_numpy().max() for group in group_flags(learned.clean, neighbours)])
    found = surges[np.isfinite(surges)]
    alert = _isotonic(found, each, peaks, clean_weight(peaks))
    of_hour = learned.planted_hours["rarity"].to_numpy()
    clean = learned.clean["rarity"].to_numpy()
    hour = _isotonic(of_hour, each, clean, clean_weight(clean))
    all_hours = directions * HOURS_PER_MONTH * learned.zone_months
    missed = max(BASE_RATE_PER_ZONE_MONTH * learned.zone_months * learned.surge_hours - each * of_hour.size, 0.0)
    bands = []
    for step in _BAND_RARITIES:
        # The middle of the band stands for it; the last has no end.
        probability = float(np.interp(least + step + 0.1, *alert))
        label = next(label for lowest, label in _LABELS if probability >= lowest)
        bands.append({"score_from": least + step, "probability": probability, "label": label})
    return {
        "base_rate_per_zone_month": BASE_RATE_PER_ZONE_MONTH,
        "unmarked_per_zone_month": unmarked,
        "zone_months": learned.zone_months,
        "planted": int(surges.size),
        "planted_found": float(np.mean(surges >= least)),
        "planted_found_by_tail_alone": float(np.mean(learned.planted["tail_rarity"].to_numpy() >= least)),
        "ranking": learned.ranking.document(),
        "hours": {"rarity": list(hour[0]), "probability": list(hour[1]), "other": missed / max(all_hours, 1.0)},
        "bands": bands,
    }


def hour_probability(rarity: Floats, calibration: Mapping[str, Any]) -> Floats:
    """The probability that a zone-hour of this rarity is part of a real surge; nan (no flag was possible) is `other`."""
    hours = calibration["hours"]
    values = np.asarray(rarity, dtype=float)
    return np.asarray(
        np.where(np.isnan(values), hours["other"], np.interp(values, hours["rarity"], hours["probability"]))
    )


def _isotonic(real: Floats, each: float, clean: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Knots of score and probability: rising, at most _KNOTS of them."""
    score = np.concatenate([real, clean])
    label = np.concatenate([np.ones(real.size), np.zeros(clean.size)])
    weights = np.concatenate([np.full(real.size, each), weight])
    order = np.argsort(score, kind="stable")
    # One clean hour more, at the very top: no held-out time is long enough to be certain.
    label, weights = np.append(label[order], 0.0), np.append(weights[order], 0.5)
    fitted = isotonic_regression(label, weights=weights).x[:-1]
    score = score[order]
    at = np.unique(np.linspace(0, score.size - 1, _KNOTS).astype(int))
    return score[at], fitted[at]
