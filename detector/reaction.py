"""How an expectation follows what it is told: on a log scale and by fixed weights, in front of the trees.

Trees answer with what they have seen; a festival that doubles a sector's traffic for the first time is beyond them. A
weighted sum of factors is not bound to the past: where the rest of the sector stands at twice its level, so does the
expectation. The trees then correct what is not so simple. Likewise the uncertainty of the expectation (`Uncertainty`): a
few things in plain sight say when it is likely to be wrong, and by what factor.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import polars as pl
from scipy.optimize import minimize
from scipy.special import log_ndtr

from detector.likelihood import CLIP_SD, Bools, Cells, Dispersion, Floats, expected_count, gradient_hessian, hazard

REACTION_FEATURES: Final = (
    "own_yesterday",
    "own_last_week",
    "own_24h",
    "own_72h",
    "own_7d",
    "own_28d",
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
# A small factor is mostly noise and passing; a large one is a festival, a season, a new cell. So what lies beyond FAR has
# a weight of its own.
FAR_FEATURES: Final = (
    "own_24h",
    "own_72h",
    "sector_now",
    "sector_6h",
    "sector_24h",
    "official_6h",
    "region_now",
    "opposite_now",
    "opposite_6h",
    "opposite_24h",
)
FAR: Final = 0.25
_TERMS: Final = (*REACTION_FEATURES, *(f"{name}_far" for name in FAR_FEATURES), "constant")
PLACES: Final = ("belt_arrival", "belt_departure", "crossing_point_arrival", "crossing_point_departure")
_RIDGE: Final = 20.0
_STEPS: Final = 8
_FURTHEST: Final = 2.0  # a reaction multiplies or divides by at most e^2


@dataclass(frozen=True, slots=True)
class Reaction:
    """By place, the weights of REACTION_FEATURES, of what of FAR_FEATURES lies beyond FAR, and a constant, in this order."""

    weights: Mapping[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        if set(self.weights) != set(PLACES) or any(len(w) != len(_TERMS) for w in self.weights.values()):
            raise ValueError("a reaction has a weight for each of its features and a constant, for each place")
        if not all(np.isfinite(w).all() for w in self.weights.values()):
            raise ValueError("weights are finite numbers")

    def log_factor(self, table: pl.DataFrame) -> Floats:
        """What it adds to the log level of every row of a table with FEATURES."""
        design, answer = _design(table), np.zeros(table.height)
        for place, at in _places(table).items():
            answer[at] = design[at] @ np.array(self.weights[place])
        return np.clip(answer, -_FURTHEST, _FURTHEST)

    def contributions(self, table: pl.DataFrame) -> dict[str, Floats]:
        """What each of REACTION_FEATURES adds to the log level of every row; without the constant and the limit."""
        design = _design(table)
        parts = np.zeros_like(design)
        for place, at in _places(table).items():
            parts[at] = design[at] * np.array(self.weights[place])
        answer = {name: parts[:, column] for column, name in enumerate(REACTION_FEATURES)}
        for column, name in enumerate(FAR_FEATURES, start=len(REACTION_FEATURES)):
            answer[name] = answer[name] + parts[:, column]
        return answer

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"features": list(REACTION_FEATURES), "weights": {place: list(w) for place, w in self.weights.items()}}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """From its JSON; refuses one of other features."""
        if document["features"] != list(REACTION_FEATURES):
            raise ValueError("a reaction is read with the features it was learned with")
        return cls({place: tuple(w) for place, w in document["weights"].items()})

    def moved(self, table: pl.DataFrame) -> pl.DataFrame:
        """The table with `level` where the reaction takes it, and `log_move` beside it: by how much it did."""
        log_move = self.log_factor(table)
        return table.with_columns(
            (pl.col("level") * pl.Series(np.exp(log_move))).alias("level"), pl.Series("log_move", log_move)
        )


def fit_reaction(table: pl.DataFrame, cells: Cells, dispersion: Dispersion) -> Reaction:
    """The weights that explain the cells of a table with FEATURES and `level` best, drawn towards 0; Newton steps."""
    design, offset = _design(table), np.log(table["level"].to_numpy())
    ridge = _RIDGE * np.eye(design.shape[1])
    found: dict[str, tuple[float, ...]] = {}
    for place, where in _places(table).items():
        at = np.nonzero(where)[0]
        weights = np.zeros(design.shape[1])
        rows, taken, level = design[at], cells.take(at), offset[at]
        for _ in range(_STEPS if at.size else 0):
            raw = level + np.clip(rows @ weights, -_FURTHEST, _FURTHEST)
            gradient, hessian = gradient_hessian(raw, taken, taken.variance(expected_count(raw), dispersion))
            step = np.linalg.solve(rows.T @ (hessian[:, None] * rows) + ridge, rows.T @ gradient + ridge @ weights)
            weights -= np.clip(step, -0.5, 0.5)
        found[place] = tuple(float(w) for w in weights)
    return Reaction(found)


def _design(table: pl.DataFrame) -> Floats:
    factors = table.select(pl.col(name).cast(pl.Float64) for name in REACTION_FEATURES).to_numpy()
    far = factors[:, [REACTION_FEATURES.index(name) for name in FAR_FEATURES]]
    return np.column_stack([factors, far - np.clip(far, -FAR, FAR), np.ones(table.height)])


def _places(table: pl.DataFrame) -> dict[str, Bools]:
    official, leaving = (table[name].to_numpy() > 0 for name in ("crossing_point", "departure"))
    return dict(
        zip(PLACES, (~official & ~leaving, ~official & leaving, official & ~leaving, official & leaving), strict=True)
    )


# What tells that an expectation may be wrong, each at least 0; none may lower the spread.
DOUBTS: Final = (
    "level_spread",
    "own_24h",
    "own_change",
    "own_yesterday",
    "sector_6h",
    "sector_24h",
    "sector_change",
    "opposite_4h",
    "opposite_24h",
    "log_move",
    "correction",
    "holiday",
    "near_holiday",
    "lunar_new_year",
    "lunar_feast",
    "young",
)
# What tells how far hours scatter, whichever way.
_SCATTER: Final = ("own_scatter", "log_expected")
_LEAST_LOG_VARIANCE, _MOST_LOG_VARIANCE = -7.0, 0.0  # sd 0.03 .. 1
YEARS_DIFFER: Final = 0.2  # what a zone remembers of a feast comes again within this share of its log factor
_DOUBT_RIDGE: Final = 1.0
_LEAST_CELLS: Final = 200
_LEAST_MEAN: Final = 12.0  # below it the known noise hides every misfit


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """The variance of counts around an expectation: phi x expected + variance(row) x expected^2.

    The log of `variance` is a constant plus weighted DOUBTS (weights not negative) and plain scatter.
    """

    phi: float
    constant: float
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        if set(self.weights) != {*DOUBTS, *_SCATTER} or any(self.weights[name] < 0 for name in DOUBTS):
            raise ValueError("each doubt has a weight that is not negative")
        if not (self.phi >= 0 and np.isfinite([self.phi, self.constant, *self.weights.values()]).all()):
            raise ValueError("phi, constant and weights are finite numbers")

    def variance(self, rows: pl.DataFrame) -> Floats:
        """The relative variance of each row of a table with FEATURES, `log_move`, `level` (moved) and `expected`."""
        log = self.constant + _doubts(rows) @ np.array([self.weights[name] for name in (*DOUBTS, *_SCATTER)])
        years_differ = (YEARS_DIFFER * rows["remembered"].to_numpy()) ** 2
        return np.asarray(np.exp(np.clip(log, _LEAST_LOG_VARIANCE, _MOST_LOG_VARIANCE)) + years_differ)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"phi": self.phi, "constant": self.constant, "weights": dict(self.weights)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """From its JSON."""
        return cls(document["phi"], document["constant"], dict(document["weights"]))


def _doubts(rows: pl.DataFrame) -> Floats:
    def feature(name: str) -> Floats:
        return rows[name].cast(pl.Float64).to_numpy()

    expected = np.maximum(feature("expected"), 1e-3)
    lunar = np.abs(feature("days_from_lunar_new_year"))
    holiday = np.maximum(feature("holiday_home"), feature("holiday_across"))
    near = (np.minimum(feature("days_to_holiday"), feature("days_since_holiday")) <= 1).astype(float)
    columns = {
        "level_spread": np.minimum(feature("level_spread"), 1.0),
        "own_24h": np.abs(feature("own_24h")),
        "own_change": np.abs(feature("own_24h") - feature("own_7d")),
        "own_yesterday": np.abs(feature("own_yesterday")),
        "sector_6h": np.abs(feature("sector_6h")),
        "sector_24h": np.abs(feature("sector_24h")),
        "sector_change": np.abs(feature("sector_6h") - feature("sector_72h")),
        "opposite_4h": np.abs(feature("opposite_4h")),
        "opposite_24h": np.abs(feature("opposite_24h")),
        "log_move": np.abs(feature("log_move")),
        "correction": np.abs(np.log(expected / feature("level"))),
        "holiday": holiday,
        "near_holiday": near,
        "lunar_new_year": (lunar <= 16).astype(float),
        "lunar_feast": (lunar <= 4).astype(float),
        "young": 1.0 / np.sqrt(np.maximum(feature("history_days"), 1.0)),
        "own_scatter": feature("own_scatter"),
        "log_expected": np.log(np.maximum(expected, _LEAST_MEAN)) - np.log(60.0),
    }
    return np.column_stack([columns[name] for name in (*DOUBTS, *_SCATTER)])


def fit_uncertainty(rows: pl.DataFrame, cells: Cells) -> Uncertainty:
    """The uncertainty that makes the cells of rows most likely, by a censored normal curve; of hours whose expectation has
    not seen them (else it would be too sure of itself). A surprise counts for at most CLIP_SD^2 variances."""
    expected = rows["expected"].to_numpy()
    at = np.nonzero(expected >= _LEAST_MEAN)[0]
    doubts = _doubts(rows)[at]
    design = np.column_stack([np.ones(at.size), doubts])
    cells, expected = cells.take(at), expected[at]
    mean = cells.mean(expected)
    seen = np.isfinite(cells.value)
    squared = np.where(seen, (cells.value - mean) ** 2, 0.0)
    below = np.where(cells.censored, cells.bound - mean, 0.0)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        phi, log = np.exp(parameters[0]), design @ parameters[1:]
        inside = (log > _LEAST_LOG_VARIANCE) & (log < _MOST_LOG_VARIANCE)
        relative = np.exp(np.clip(log, _LEAST_LOG_VARIANCE, _MOST_LOG_VARIANCE))
        by_phi, by_log = phi * mean, relative * mean**2
        variance = np.where(seen | cells.censored, cells.noise_variance + by_phi + by_log, 1.0)
        ratio = squared / variance
        limit = CLIP_SD**2
        # Beyond the limit the loss grows as the log does: a Cauchy-like tail, so that surges do not pass for spread.
        value = np.where(ratio < limit, ratio, limit * (1.0 + np.log(np.maximum(ratio, limit) / limit)))
        z = below / np.sqrt(variance)
        total = 0.5 * (np.log(variance) + value)[seen].sum() - log_ndtr(z[cells.censored]).sum()
        slope = np.where(seen, 0.5 * (1.0 - np.minimum(ratio, limit)) / variance, 0.0)
        slope[cells.censored] = 0.5 * (hazard(z) * z / variance)[cells.censored]
        by_row = np.where(inside, (slope * by_log).sum(axis=0), 0.0)
        gradient = np.concatenate([[(slope * by_phi).sum()], by_row @ design])
        penalty = _DOUBT_RIDGE * np.sum(parameters[2:] ** 2)
        gradient[2:] += 2 * _DOUBT_RIDGE * parameters[2:]
        return float(total + penalty), gradient

    start = np.concatenate([[np.log(1.2), np.log(0.05)], np.zeros(design.shape[1] - 1)])
    bounds = [(np.log(1.0), np.log(6.0)), (-8.0, 0.0), *[(0.0, 12.0)] * len(DOUBTS), *[(-2.0, 3.0)] * len(_SCATTER)]
    if at.size < _LEAST_CELLS:
        found = start
    else:
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 80}).x
    weights = dict(zip((*DOUBTS, *_SCATTER), (float(w) for w in found[2:]), strict=True))
    return Uncertainty(float(np.exp(found[0])), float(found[1]), weights)
