"""Upward consistency: sector-days and border-days that agree with each other and use the noisy hours that exist already.

Weighted least squares of three noisy readings of the same totals: the hours of a sector's zones, the sector-day's own
draw and the border-day's own draw. It reads noisy values only, so it is post-processing and costs nothing; the hours
themselves are never revised. Nothing is clipped: an estimate may be negative, and is then below every threshold.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from privacy.levels import PublicCells, sums

_ROUNDING_VARIANCE = 1 / 12


@dataclass(frozen=True, slots=True)
class Estimate:
    """A whole number, and the standard deviation of its error: noise and rounding."""

    value: int
    sigma: float


@dataclass(frozen=True, slots=True)
class DayEstimates:
    """One estimate for each sector-day and border-day cell; a border-day is the sum of its sector-days."""

    sector_day: tuple[Estimate, ...]
    border_day: tuple[Estimate, ...]


@dataclass(frozen=True, slots=True)
class Sigmas:
    """Standard deviations of the noise of a zone-hour, a sector-day and a border-day cell."""

    zone_hour: float
    sector_day: float
    border_day: float


def estimate_day(
    cells: PublicCells,
    sigmas: Sigmas,
    *,
    hours: Sequence[Sequence[int]] | None,
    sector_day: Sequence[int],
    border_day: Sequence[int],
) -> DayEstimates:
    """The day's estimates from the noisy hours (each over all zone-hour cells) and the noisy draws of the two day levels.

    `hours` is None when an hour of the day went out without a draw: what was counted in it may be anything, so the other
    hours cannot tell the total. The estimate of a sector is the mean of its readings, each weighted by the inverse of
    its variance, moved by its share of what the border's own reading says beyond the sum of the sectors; shares go by
    variance, which is least squares for a total of independent parts.
    """
    own = 1 / sigmas.sector_day**2
    if hours is None:
        means, variances = [float(noisy) for noisy in sector_day], [1 / own] * len(sector_day)
    else:
        summed = sums([sum(hour) for hour in zip(*hours, strict=True)], cells.sector_of, len(sector_day))
        weights = [1 / (zones * len(hours) * sigmas.zone_hour**2) for zones in cells.zones_in]
        means = [
            (own * noisy + weight * by_hours) / (own + weight)
            for noisy, weight, by_hours in zip(sector_day, weights, summed, strict=True)
        ]
        variances = [1 / (own + weight) for weight in weights]

    sectors: list[Estimate | None] = [None] * len(means)
    borders = []
    for place, noisy in enumerate(border_day):
        parts = [i for i, border in enumerate(cells.border_of) if border == place]
        spread, own_variance = sum(variances[i] for i in parts), sigmas.border_day**2
        beyond = noisy - sum(means[i] for i in parts)
        for i in parts:
            share = variances[i] / (spread + own_variance)
            variance = variances[i] - variances[i] * share
            sectors[i] = Estimate(round(means[i] + share * beyond), _sd(variance + _ROUNDING_VARIANCE))
        # Rounded parts, not a rounded whole: what is published adds up.
        total = sum(sector.value for i in parts if (sector := sectors[i]) is not None)
        variance = spread * own_variance / (spread + own_variance)
        borders.append(Estimate(total, _sd(variance + len(parts) * _ROUNDING_VARIANCE)))
    return DayEstimates(tuple(sector for sector in sectors if sector is not None), tuple(borders))


def _sd(variance: float) -> float:
    return round(math.sqrt(variance), 4)
