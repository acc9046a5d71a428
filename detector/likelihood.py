"""How well an expected count explains what was published, noise and suppression included.

A published value is a normal quasi-likelihood around the expected count. A `null` is a value known only to be below its
bound, and at least what other carriers published of the same zone-hour. Variance = known noise + phi x expected +
kappa x expected^2. The score is the log of the expected count.

The variance is worked out from the expected count at hand and then *held* while the derivative is taken (iterative
re-weighting, as in any quasi-likelihood). Held, both halves balance exactly: the pull of the published values upwards
and that of the censored ones downwards have mean zero at the true level. Differentiated, they would not.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls
from scipy.special import log_ndtr

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CLIP_SD: Final = 4.0  # one cell pulls with at most this many standard deviations
RAW_RANGE: Final = (-7.0, 12.0)  # log counts: 0.001 .. 160,000 an hour
_LOG_SQRT_2PI: Final = 0.5 * float(np.log(2.0 * np.pi))


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
    """What was published of some zone-hours, as equally long arrays."""

    value: Floats  # nan where censored
    low: Floats  # a censored value is at least this; -inf where no carrier published; read only where censored
    bound: Floats  # a censored value lies below it; read only where censored
    censored: Bools
    noise_variance: Floats

    def take(self, rows: npt.NDArray[np.int64]) -> "Cells":
        """The same cells, only these rows."""
        return Cells(self.value[rows], self.low[rows], self.bound[rows], self.censored[rows], self.noise_variance[rows])


def upper_tail_hazard(z: Floats) -> Floats:
    """Normal density over upper tail at z: the mean of a standard normal known to be above z."""
    return np.asarray(np.exp(-0.5 * z * z - _LOG_SQRT_2PI - log_ndtr(-z)))


def log_between(a: Floats, b: Floats) -> Floats:
    """log of P(a <= Z < b) of a standard normal, exact in both tails; a may be -inf."""
    # In the upper tail both ends are mirrored, where the logarithms still tell them apart.
    mirrored = a > 0
    near, far = np.where(mirrored, -a, b), np.where(mirrored, -b, a)
    log_near = log_ndtr(near)
    return np.asarray(log_near + np.log1p(-np.exp(log_ndtr(far) - log_near)))


def censored_pull(expected: Floats, sd: Floats, low: Floats, bound: Floats) -> tuple[Floats, Floats]:
    """How a cell known to lie in [low, bound) pulls on its expectation, in sd, and the curvature of that pull.

    The pull is minus the mean of the standardised residual inside the interval: positive where the expectation is too
    high. The curvature (its information, in 1/sd^2) is never negative: the likelihood is log-concave.
    """
    a, b = (low - expected) / sd, (bound - expected) / sd
    log_mass = log_between(a, b)
    at_a = np.exp(-0.5 * a * a - _LOG_SQRT_2PI - log_mass)
    at_b = np.exp(-0.5 * b * b - _LOG_SQRT_2PI - log_mass)
    pull = at_b - at_a
    curvature = b * at_b - np.where(np.isfinite(a), a, 0.0) * at_a + pull**2
    return pull, np.clip(curvature, 0.0, 1.0)


def expected_count(raw: Floats) -> Floats:
    """The expected count behind a raw score, kept inside RAW_RANGE."""
    return np.asarray(np.exp(np.clip(raw, *RAW_RANGE)))


def negative_log_likelihood(raw: Floats, cells: Cells, variance: Floats) -> Floats:
    """Of each cell, at a held variance, without the terms that do not depend on the score."""
    expected = expected_count(raw)
    published = 0.5 * (cells.value - expected) ** 2 / variance
    sd = np.sqrt(variance)
    at = np.nonzero(cells.censored)
    published[at] = -log_between((cells.low[at] - expected[at]) / sd[at], (cells.bound[at] - expected[at]) / sd[at])
    return np.asarray(published)


def gradient_hessian(raw: Floats, cells: Cells, variance: Floats, *, clip_sd: float = CLIP_SD) -> tuple[Floats, Floats]:
    """First and second derivative of the negative log-likelihood by the raw score, at a held variance.

    The gradient is exact up to the clip. The second derivative is that by the expected count times expected^2
    (Gauss-Newton), which is positive everywhere where the exact one is not.
    """
    expected, sd = expected_count(raw), np.sqrt(variance)
    pull, curvature = _pull_and_curvature(expected, sd, cells)
    gradient = np.clip(pull, -clip_sd, clip_sd) * expected / sd
    return gradient, np.maximum(curvature * expected**2 / variance, 1e-9)


def standardised_residual(expected: Floats, variance: Floats, cells: Cells) -> tuple[Floats, Floats]:
    """(value - expected) in standard deviations, clipped, and its information.

    For a censored cell it is the mean that such a residual has within its bounds. Mean zero when the expectation is true.
    """
    pull, curvature = _pull_and_curvature(expected, np.sqrt(variance), cells)
    return -np.clip(pull, -CLIP_SD, CLIP_SD), curvature


def _pull_and_curvature(expected: Floats, sd: Floats, cells: Cells) -> tuple[Floats, Floats]:
    pull = (expected - cells.value) / sd
    curvature = np.ones_like(expected)
    at = np.nonzero(cells.censored)
    pull[at], curvature[at] = censored_pull(expected[at], sd[at], cells.low[at], cells.bound[at])
    return pull, curvature


PRIOR_DISPERSION: Final = Dispersion(phi=1.3, kappa=0.03)
_PRIOR_CELLS: Final = 300.0


def estimate_dispersion(expected: Floats, cells: Cells, threshold: Floats) -> Dispersion:
    """phi and kappa by moments on published cells whose expectation lies above the threshold.

    Lower cells are published only when they happen to be high, so they would tell of the selection instead; for the
    rest the squared residual is corrected for the part cut off below. Squared residuals count for at most CLIP_SD^2
    variances, so that a surge does not pass for spread. A few pseudo-cells at PRIOR_DISPERSION keep a quiet border,
    which has few such cells, from extremes.
    """
    use = ~cells.censored & (expected >= threshold) & np.isfinite(cells.value)
    mean, noise = expected[use], cells.noise_variance[use]
    squared = (cells.value[use] - mean) ** 2
    bound = threshold[use] - 0.5
    found = PRIOR_DISPERSION
    pseudo = np.array([30.0, 100.0, 300.0])
    pseudo_target = PRIOR_DISPERSION.variance(pseudo)
    for _ in range(6):
        variance = noise + found.variance(mean)
        z = (bound - mean) / np.sqrt(variance)
        # For a normal cut off below z: E[residual^2] = variance x (1 + z x density / upper tail).
        kept = 1.0 + z * upper_tail_hazard(z)
        target = np.minimum(squared, CLIP_SD**2 * variance) / np.maximum(kept, 0.1) - noise
        weight = 1.0 / variance
        pseudo_weight = np.sqrt(_PRIOR_CELLS / 3) / (90.0 + pseudo_target)
        design = np.concatenate(
            [
                np.stack([mean, mean**2], axis=1) * weight[:, None],
                np.stack([pseudo, pseudo**2], 1) * pseudo_weight[:, None],
            ]
        )
        answer, _ = nnls(design, np.concatenate([target * weight, pseudo_target * pseudo_weight]))
        found = Dispersion(float(answer[0]), float(answer[1]))
    return found
