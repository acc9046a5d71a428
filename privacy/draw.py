"""What the ledger draws: exact counts in, noisy and publishable values out. Evidence and audit draw through here too.

Exact counts live in the arguments of these functions and nowhere else in this package.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ingest.release import Level
from privacy.levels import PublicCells, day_totals
from privacy.policy import ReleasePolicy
from privacy.suppression import suppress
from privacy.upward import DayEstimates, Estimate, Sigmas, estimate_day


class Noise(Protocol):
    """What draws: `privacy.mechanism.DiscreteGaussian`, or a test's own."""

    policy: ReleasePolicy

    @property
    def rho(self) -> float: ...

    def draw(self, counts: Sequence[int]) -> list[int]: ...

    def at(self, level: Level) -> "Noise":
        """The noise of the same policy at a level."""
        ...


@dataclass(frozen=True, slots=True)
class HourDraw:
    """One hour over the whole grid: the noisy values, which stay inside, and what is published of them."""

    noisy: list[int]
    values: list[int | None]


@dataclass(frozen=True, slots=True)
class DayDraw:
    """A token-day's two levels: the noisy values, which stay inside, and the estimates made of them."""

    sector_day: list[int]
    border_day: list[int]
    estimates: DayEstimates


def draw_hour(counts: Sequence[int], noise: Noise) -> HourDraw:
    """One draw of a zone-hour vector, thresholded on the noisy values."""
    noisy = noise.draw(counts)
    return HourDraw(noisy, [suppress(value, noise.policy.threshold) for value in noisy])


def draw_day(cells: PublicCells, totals: Sequence[int], hours: Sequence[Sequence[int]] | None, noise: Noise) -> DayDraw:
    """One draw of each day level from the totals per zone and direction, joined with the day's noisy hours.

    `hours` holds what was drawn of the very windows that `totals` sums, or is None if some of them were never drawn.
    """
    by_sector, by_border = day_totals(cells, totals)
    sector_day = noise.at(Level.SECTOR_DAY).draw(by_sector)
    border_day = noise.at(Level.BORDER_DAY).draw(by_border)
    return DayDraw(sector_day, border_day, estimates_of(cells, noise.policy, hours, sector_day, border_day))


def estimates_of(
    cells: PublicCells,
    policy: ReleasePolicy,
    hours: Sequence[Sequence[int]] | None,
    sector_day: Sequence[int],
    border_day: Sequence[int],
) -> DayEstimates:
    """The day's estimates from what was drawn; the same draws give the same estimates."""
    sigmas = Sigmas(policy.sigma, policy.sigma_sector_day, policy.sigma_border_day)
    return estimate_day(cells, sigmas, hours=hours, sector_day=sector_day, border_day=border_day)


def published(estimates: Sequence[Estimate], threshold: int) -> list[int | None]:
    """What is published of a day level's estimates."""
    return [suppress(estimate.value, threshold) for estimate in estimates]
