"""How well an expected count explains what was published, noise and suppression included.

Each carrier sees its share of the movements of a zone-hour. What it published is a normal quasi-likelihood around its
share of the expected count; its `null` is a value known only to lie below its threshold. Variance = known noise + phi x
expected + kappa x expected^2, expected being the carrier's share. The score is the log of the expected count.

The variance is worked out from the expected count at hand and then *held* while the derivative is taken (iterative
re-weighting, as in any quasi-likelihood). Held, both halves balance exactly: the pull of the published values upwards
and that of the censored ones downwards have mean zero at the true level. Differentiated, they would not. Carriers are
taken as independent given the expected count, which leaves that mean at zero even where they are not.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls
from scipy.special import erfcx, log_ndtr

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CLIP_SD: Final = 4.0  # one cell pulls with at most this many standard deviations
RAW_RANGE: Final = (-7.0, 12.0)  # log counts: 0.001 .. 160,000 an hour
_SQRT_2: Final = float(np.sqrt(2.0))
_SQRT_2_OVER_PI: Final = float(np.sqrt(2.0 / np.pi))


@dataclass(frozen=True, slots=True)
class Dispersion:
    """How counts spread around their expectation beyond the known noise: phi x expected + kappa x expected^2."""

    phi: float
    kappa: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.phi) and np.isfinite(self.kappa) and self.phi >= 0 and self.kappa >= 0):
            raise ValueError("phi and kappa are finite and not negative")

    def variance(self, expected: Floats) -> Floats:
        """The variance of the counts themselves, without the noise."""
        return self.phi * expected + self.kappa * expected**2


@dataclass(frozen=True, slots=True)
class Cells:
    """What each carrier published of some zone-hours: matrices, one row per carrier, one column per zone-hour."""

    value: Floats  # nan where not published
    bound: Floats  # a censored value lies below it; read only where censored
    censored: Bools
    noise_variance: Floats
    share: Floats  # of all movements, by carrier; adds up to 1

    def take(self, at: npt.NDArray[np.int64]) -> "Cells":
        """The same cells, only of these zone-hours."""
        parts = (self.value, self.bound, self.noise_variance)
        value, bound, noise = (part[:, at] for part in parts)
        return Cells(value, bound, self.censored[:, at], noise, self.share)

    def mean(self, expected: Floats) -> Floats:
        """What each carrier is expected to see."""
        return np.asarray(self.share[:, None] * expected)

    def variance(self, expected: Floats, dispersion: Dispersion) -> Floats:
        """The variance of what each carrier publishes."""
        return self.noise_variance + dispersion.variance(self.mean(expected))


def hazard(z: Floats) -> Floats:
    """Normal density over distribution function at z: minus the mean of a standard normal known to be below z."""
    return np.asarray(_SQRT_2_OVER_PI / erfcx(-z / _SQRT_2))


def expected_count(raw: Floats) -> Floats:
    """The expected count behind a raw score, kept inside RAW_RANGE."""
    return np.asarray(np.exp(np.clip(raw, *RAW_RANGE)))


def negative_log_likelihood(raw: Floats, cells: Cells, variance: Floats) -> Floats:
    """Of each zone-hour, at a held variance, without the terms that do not depend on the score."""
    mean = cells.mean(expected_count(raw))
    loss = 0.5 * (cells.value - mean) ** 2 / variance
    at = np.nonzero(cells.censored)
    loss[at] = -log_ndtr((cells.bound[at] - mean[at]) / np.sqrt(variance[at]))
    return np.asarray(loss.sum(axis=0))


def gradient_hessian(raw: Floats, cells: Cells, variance: Floats, *, clip_sd: float = CLIP_SD) -> tuple[Floats, Floats]:
    """First and second derivative of the negative log-likelihood by the raw score, at a held variance.

    The gradient is exact up to the clip. The second derivative is that by the expected count times expected^2
    (Gauss-Newton), which is positive everywhere, as the exact one is not.
    """
    mean, sd = cells.mean(expected_count(raw)), np.sqrt(variance)
    pull = (mean - cells.value) / sd
    curvature = np.ones_like(mean)
    at = np.nonzero(cells.censored)
    z = (cells.bound[at] - mean[at]) / sd[at]
    pull[at] = hazard(z)
    curvature[at] = pull[at] * (pull[at] + z)
    gradient = np.clip(pull, -clip_sd, clip_sd) * mean / sd
    hessian = np.maximum(curvature, 0.0) * mean**2 / variance
    return gradient.sum(axis=0), np.maximum(hessian.sum(axis=0), 1e-9)


PRIOR_DISPERSION: Final = Dispersion(phi=1.3, kappa=0.03)
_PRIOR_CELLS: Final = 300.0


def estimate_dispersion(expected: Floats, cells: Cells) -> Dispersion:
    """phi and kappa by moments on published cells whose expectation lies above the threshold.

    Lower cells are published only when they happen to be high, so they would tell of the selection instead; for the
    rest the squared residual is corrected for the part cut off below. Squared residuals count for at most CLIP_SD^2
    variances, so that a surge does not pass for spread. A few pseudo-cells at PRIOR_DISPERSION keep a quiet border,
    which has few such cells, from extremes.
    """
    use = np.isfinite(cells.value) & (cells.mean(expected) >= cells.bound)
    mean, noise, bound = cells.mean(expected)[use], cells.noise_variance[use], cells.bound[use]
    squared = (cells.value[use] - mean) ** 2
    pseudo = np.array([30.0, 100.0, 300.0])
    pseudo_target = PRIOR_DISPERSION.variance(pseudo)
    pseudo_weight = np.sqrt(_PRIOR_CELLS / pseudo.size) / (90.0 + pseudo_target)
    found = PRIOR_DISPERSION
    for _ in range(6):
        variance = noise + found.variance(mean)
        z = (bound - mean) / np.sqrt(variance)
        # For a normal cut off below z: E[residual^2] = variance x (1 + z x density / upper tail).
        kept = 1.0 + z * hazard(-z)
        target = np.minimum(squared, CLIP_SD**2 * variance) / np.maximum(kept, 0.1) - noise
        level = np.concatenate([mean, pseudo])
        weight = np.concatenate([1.0 / variance, pseudo_weight])
        design = np.stack([level, level**2], axis=1) * weight[:, None]
        answer, _ = nnls(design, np.concatenate([target, pseudo_target]) * weight)
        found = Dispersion(float(answer[0]), float(answer[1]))
    return found
