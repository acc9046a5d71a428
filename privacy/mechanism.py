"""The discrete Gaussian of OpenDP on the whole public grid: the only place where noise is made."""

from collections.abc import Sequence

import opendp.prelude as dp

from privacy.policy import ReleasePolicy

dp.enable_features("contrib")


class BudgetExceeded(RuntimeError):
    """The mechanism would cost more than the policy grants; nothing was drawn."""


class DiscreteGaussian:
    """Integer counts in, integer noisy counts out; every cell at once, zeros included, never seeded."""

    def __init__(self, policy: ReleasePolicy) -> None:
        self.policy = policy
        self._measurement = dp.m.make_gaussian(
            dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64"), scale=policy.sigma
        )

    @property
    def rho(self) -> float:
        """zCDP that one token-day can cost at this level, by OpenDP's own map."""
        return float(self._measurement.map(self.policy.l2))  # type: ignore[no-untyped-call]

    def draw(self, counts: Sequence[int]) -> list[int]:
        """The counts with noise; raises BudgetExceeded before drawing if the level's share is overrun.

        The 24 vectors of a token-day are one measurement with the day's L2, so the cost is that of a day, not of a call.
        """
        if self.rho > self.policy.rho_level:
            raise BudgetExceeded(f"the mechanism costs rho {self.rho}; the policy grants {self.policy.rho_level}")
        return [int(value) for value in self._measurement([int(count) for count in counts])]
