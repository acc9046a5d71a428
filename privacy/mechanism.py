"""The discrete Gaussian of OpenDP on the whole public grid: the only place where noise is made."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import opendp.prelude as dp

from ingest.release import Level
from privacy.policy import ReleasePolicy

dp.enable_features("contrib")


class BudgetExceeded(RuntimeError):
    """The mechanism would cost more than the policy grants; nothing was drawn."""


@lru_cache(maxsize=64)
def _measurement(sigma: float, cells: int) -> Any:
    return dp.m.make_gaussian(
        dp.vector_domain(dp.atom_domain(T="i64"), size=cells), dp.l2_distance(T="f64"), scale=sigma
    )


class DiscreteGaussian:
    """Integer counts in, integer noisy counts out, at one level; every cell at once, zeros included, never seeded."""

    def __init__(self, policy: ReleasePolicy, level: Level = Level.ZONE_HOUR) -> None:
        self.policy = policy
        self.level = level

    def at(self, level: Level) -> "DiscreteGaussian":
        """The same policy's noise for another level."""
        return DiscreteGaussian(self.policy, level)

    @property
    def rho(self) -> float:
        """zCDP that one token-day can cost at this level, by OpenDP's own map."""
        return self._cost(cells=1)

    def _cost(self, cells: int) -> float:
        return float(_measurement(self.policy.sigma_at(self.level), cells).map(self.policy.l2_at(self.level)))

    def draw(self, counts: Sequence[int]) -> list[int]:
        """The counts with noise; raises BudgetExceeded before drawing if the level's share is overrun.

        The 24 vectors of a token-day are one measurement with the day's L2, so the cost is that of a day, not of a call.
        """
        cost, granted = self._cost(len(counts)), self.policy.rho_at(self.level)
        if cost > granted:
            raise BudgetExceeded(f"the mechanism costs rho {cost}; the policy grants {granted}")
        measurement = _measurement(self.policy.sigma_at(self.level), len(counts))
        return [int(value) for value in measurement([int(count) for count in counts])]


def zcdp_epsilon(rho: float, delta: float) -> float:
    """The epsilon of `rho` at delta by OpenDP's own conversion, which holds for any mechanism of that rho and is loose."""
    measurement = dp.c.make_zCDP_to_approxDP(_measurement(1.0, 1))
    profile = measurement.map((2 * rho) ** 0.5)  # type: ignore[no-untyped-call]
    return float(profile.epsilon(delta))
