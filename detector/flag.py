"""Whether an hour is unusual: the tail probability of what was observed, and the floor below which nothing shows.

The floor is code, not a setting (design.md, section 6). A zone-hour may be flagged only by its own, unexpanded excess
over its own expectation: neighbours, other hours and market factors may rank flags, they never make one. Over carriers
the counts are added with weight 1 and the noise with them, so the floor rises with every carrier.

`combined sd` is read the careful way: the known noise of all carriers, the spread of the counts themselves and the
uncertainty of the expectation together. With the known noise alone, thirty people on a background of several hundred
an hour would show through the background's own scatter. Counts are skewed, so 1.96 sd still lets thirty through a
little more often than a normal curve says; therefore the floor also asks that thirty people on top of the expectation
would be seen this high in at most MAX_GROUP_SEEN of hours, on any background. The policy's tail probability stands
behind both.

Only belts are judged. A crossing point has an expectation (it explains its surroundings) but no flag: unusual
movement *away from* official crossing points is what this is about.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import numpy as np
import polars as pl
from scipy.special import betainc

from detector.combine import HOUR, Schema
from detector.likelihood import Bools, Dispersion, Floats
from detector.policy import Arming, Policy

MIN_EXCESS: Final = 60.0
HIDDEN_GROUP: Final = 30.0  # a group of this size is meant to be invisible
HIDDEN_SD: Final = 1.96
MAX_GROUP_SEEN: Final = 0.024  # of hours in which a hidden group is there
BAND_SD: Final = 1.96  # expected band: 95 % of what would be published

EXPECTATION_SCHEMA: Final[Schema] = {
    "zone_id": pl.String,
    "direction": pl.String,
    "window_start": HOUR,
    "expected": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "sd": pl.Float64,
    "observed": pl.Int64,
    "excess": pl.Float64,
    "tail_p": pl.Float64,
    "state": pl.String,
    "model_version": pl.String,
    "policy_version": pl.String,
    "abstained": pl.String,
}


class State(StrEnum):
    """What is said of a zone-hour."""

    USUAL = "usual"
    UNUSUAL = "unusual"
    UNUSUAL_DROP = "unusual_drop"
    BELOW_THRESHOLD = "below_threshold"
    DEGRADED = "degraded"
    NO_COVERAGE = "no_coverage"
    NOT_JUDGED = "not_judged"


class Abstained(StrEnum):
    """Why a zone-hour with complete releases is not judged."""

    CROSSING_POINT = "crossing_point"
    UNARMED = "unarmed"
    WARMING_UP = "warming_up"


def excess_floor(combined_sd: Floats) -> Floats:
    """The smallest excess that may show.

    >>> excess_floor(np.array([9.45, 40.0])).round(1)
    array([ 60. , 108.4])
    """
    return np.maximum(MIN_EXCESS, HIDDEN_GROUP + HIDDEN_SD * combined_sd)


def may_flag(excess: Floats, combined_sd: Floats) -> Bools:
    """Whether an own, unexpanded excess is large enough to be flagged at all, however improbable it is."""
    return np.asarray(excess >= excess_floor(combined_sd))


def passes_floor(
    observed: Floats, expected: Floats, sigma: Floats, noise: Floats, spread: Floats, dispersion: Dispersion
) -> Bools:
    """Whether what was observed may be flagged at all: excess over the floor, and no group of thirty explains it.

    `sigma` is the known noise of all carriers, `noise` that of what was observed (less where a carrier is suppressed).
    A wider spread only ever raises the floor. That an expectation may be wrong by far (`tail_probability`) plays no part
    here: it ranks what has passed.
    """
    passes = may_flag(observed - expected, np.sqrt(sigma**2 + dispersion.variance(expected) + spread**2))
    at = np.nonzero(passes)
    with_group = _scattered(observed[at] - HIDDEN_GROUP, expected[at], noise[at], spread[at] ** 2, dispersion)
    passes[at] = with_group <= MAX_GROUP_SEEN
    return passes


def tail_probability(
    observed: Floats, expected: Floats, sigma: Floats, spread: Floats, dispersion: Dispersion
) -> Floats:
    """P(X >= observed) where X is a negative binomial count plus the carriers' known noise, around a mean that may be wrong.

    The count has variance phi x mean + kappa x mean^2 (phi at least 1, as a count of independent movements has) and the
    squared uncertainty of the expectation. And sometimes the mean is not the expectation but a log-normal multiple of it,
    WRONG_LOG_SD wide: a season, a feast or a new cell that nobody foresaw lifts a busy zone by hundreds and a quiet one by
    little. That happens WRONG_SHARE of the time, whatever the spread: what nobody foresees raises no doubt. (An expectation
    whose spread is under a twentieth of it is wrong less often in proportion; one without spread is the truth.)

    The noise, a sum of discrete Gaussians, is taken at nodes a quarter of its sd apart: exact to four digits against the
    full sum at sigma 9.45. Hours less than BULK_SD above their expectation, where nothing hangs on the fourth digit, are
    answered by one negative binomial of the same mean and variance, noise included.
    """
    mean = np.maximum(expected, 1e-3)
    variance = _beyond(mean, dispersion) + spread**2
    answer = _binomial_tail(observed, mean, variance + sigma**2)
    at = np.nonzero((observed - mean > BULK_SD * np.sqrt(variance + mean + sigma**2)) | (mean < _BULK_LEAST_MEAN))[0]
    observed, mean, sigma, spread = observed[at], mean[at], sigma[at], spread[at]
    wrong = WRONG_SHARE * np.minimum(spread / (0.05 * mean), 1.0)
    total = (1.0 - wrong) * _scattered(observed, mean, sigma, spread**2, dispersion)
    unsure = np.nonzero(wrong > 0)[0]
    for multiple, weight in zip(_MULTIPLES, _MULTIPLE_WEIGHTS, strict=True):
        moved = multiple * mean[unsure]
        part = _scattered(observed[unsure], moved, sigma[unsure], (multiple * spread[unsure]) ** 2, dispersion)
        total[unsure] += wrong[unsure] * weight * part
    answer[at] = total
    return np.clip(answer, 1e-300, 1.0)


def _scattered(observed: Floats, expected: Floats, sigma: Floats, more: Floats, dispersion: Dispersion) -> Floats:
    """P(count + noise >= observed) with the count's variance raised by `more`."""
    mean = np.maximum(expected, 1e-3)
    beyond = _beyond(mean, dispersion) + more
    answer = np.zeros_like(mean)
    for node, weight in zip(_NODES, _NODE_WEIGHTS, strict=True):
        answer += weight * _binomial_tail(observed - node * sigma, mean, beyond)
    return np.clip(answer, 1e-300, 1.0)


def _binomial_tail(needed: Floats, mean: Floats, beyond: Floats) -> Floats:
    """P(X >= needed) of a negative binomial with variance mean + beyond."""
    size = mean**2 / np.maximum(beyond, 1e-4 * mean)
    return np.asarray(np.where(needed > 0, betainc(np.maximum(needed, 1e-9), size, mean / (mean + size)), 1.0))


def _beyond(mean: Floats, dispersion: Dispersion) -> Floats:
    return np.asarray((max(dispersion.phi, 1.0) - 1.0) * mean + dispersion.kappa * mean**2)


WRONG_SHARE: Final = 0.004
WRONG_LOG_SD: Final = 0.5
BULK_SD: Final = 1.5
_BULK_LEAST_MEAN: Final = 20.0
_NODES: Final = np.arange(-32, 33) / 4.0
_NODE_WEIGHTS: Final = np.exp(-0.5 * _NODES**2) / np.exp(-0.5 * _NODES**2).sum()
_ERRORS: Final = np.arange(-3, 6) * 0.8  # log errors in units of their sd
_MULTIPLES: Final = np.exp(WRONG_LOG_SD * _ERRORS)
_MULTIPLE_WEIGHTS: Final = np.exp(-0.5 * _ERRORS**2) / np.exp(-0.5 * _ERRORS**2).sum()


def judge(
    rows: pl.DataFrame, dispersion: Dispersion, policy: Policy, armings: Sequence[Arming], model_version: str
) -> pl.DataFrame:
    """The rows of a history with their expectation judged: `rows` and the columns of EXPECTATION_SCHEMA.

    `rows` has the columns of HISTORY_SCHEMA, `expected`, `spread` (uncertainty of expected) and `history_days`.
    `observed` is the published sum; where some carriers published and others stayed below their thresholds it is the
    sum of the published ones if that alone is already unusual (the size is then "at least"), else null. `excess` and
    `tail_p` are null wherever nothing is judged.
    """
    expected, spread = rows["expected"].to_numpy(), rows["spread"].to_numpy()
    sigma = rows["sigma"].fill_null(0.0).to_numpy()
    own_variance = dispersion.variance(expected) + spread**2
    sd = np.sqrt(sigma**2 + own_variance)

    whole = rows["value"].is_not_null().to_numpy()
    observed, noise = sighted(rows)
    partly = ~whole & np.isfinite(observed)
    above_threshold = partly | (observed >= rows["threshold"].cast(pl.Float64).fill_null(np.inf).to_numpy())
    bound = np.where(whole, observed, rows["censor_bound"].cast(pl.Float64).fill_null(np.nan).to_numpy() - 1.0)

    present = rows["carriers_present"].to_numpy() > 0
    complete = rows["complete"].to_numpy()
    abstained = _abstained(rows, policy, armings)
    judged = complete & np.array([reason is None for reason in abstained])

    tail_p, lower_p = np.full(rows.height, np.nan), np.full(rows.height, np.nan)
    at = np.nonzero(judged & (whole | partly))
    tail_p[at] = tail_probability(observed[at], expected[at], noise[at], spread[at], dispersion)
    at = np.nonzero(judged & (expected - bound >= MIN_EXCESS))
    lower_p[at] = 1.0 - tail_probability(bound[at] + 1.0, expected[at], sigma[at], spread[at], dispersion)

    excess = observed - expected
    may_show = passes_floor(observed, expected, sigma, noise, spread, dispersion)
    unusual = judged & above_threshold & may_show & (tail_p <= policy.tail_p)
    drop = judged & may_flag(expected - bound, sd) & (lower_p <= policy.tail_p)
    shown = whole & complete | unusual
    state = np.select(
        [~present, ~complete, ~judged, unusual, drop, ~whole],
        [State.NO_COVERAGE, State.DEGRADED, State.NOT_JUDGED, State.UNUSUAL, State.UNUSUAL_DROP, State.BELOW_THRESHOLD],
        default=State.USUAL,
    )
    return rows.with_columns(
        pl.Series("lower", np.maximum(expected - BAND_SD * sd, 0.0)),
        pl.Series("upper", expected + BAND_SD * sd),
        pl.Series("sd", sd),
        _nullable("observed", observed, shown).cast(pl.Int64),
        _nullable("excess", excess, shown & judged),
        _nullable("tail_p", tail_p, shown & judged),
        pl.Series("state", [str(s) for s in state], dtype=pl.String),
        pl.lit(model_version).alias("model_version"),
        pl.lit(policy.policy_version).alias("policy_version"),
        pl.Series("abstained", abstained, dtype=pl.String),
        pl.Series("observed_noise", noise),
    )


def sighted(rows: pl.DataFrame) -> tuple[Floats, Floats]:
    """What may be compared with an expectation, and its known noise sd: the whole sum, else what some carriers published.

    The second is no more than the whole, as the movements behind a `null` are none at least. nan where nobody published.
    """
    some_published = (rows["known_sigma"].fill_null(0.0) > 0).to_numpy()
    known_sum = rows["known_sum"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    return np.where(some_published, known_sum, np.nan), rows["known_sigma"].fill_null(0.0).to_numpy()


def _nullable(name: str, values: Floats, known: Bools) -> pl.Series:
    return pl.Series(name, np.where(known, values, np.nan)).fill_nan(None)


def _abstained(rows: pl.DataFrame, policy: Policy, armings: Sequence[Arming]) -> list[str | None]:
    ends_at = pl.col("window_start") + pl.duration(hours=1)
    armed = pl.lit(value=False)
    for arming in armings:
        armed |= (
            (pl.col("sector_id") == arming.sector_id)
            & (pl.col("window_start") >= arming.armed_from)
            & (ends_at <= arming.expires_at)
        )
    reason = (
        pl.when(pl.col("kind") != "belt")
        .then(pl.lit(str(Abstained.CROSSING_POINT)))
        .when(~armed)
        .then(pl.lit(str(Abstained.UNARMED)))
        .when(pl.col("history_days") < policy.min_history_days)
        .then(pl.lit(str(Abstained.WARMING_UP)))
    )
    return rows.select(reason.alias("abstained"))["abstained"].to_list()
