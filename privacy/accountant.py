"""What the budget means: epsilon at delta for days, carriers and groups, by dp-accounting's privacy loss distributions.

Two readings are made of each case and the larger is published: the discrete mechanism itself, for the device that moves
its counts furthest, and the Gaussian mechanism of the whole budget that the policy grants. OpenDP's conversion from zCDP
holds for any mechanism of that rho; it stands beside them and is looser.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ingest.release import Level
from privacy.policy import ReleasePolicy

_DISCRETISATION = 1e-4  # at 1e-3 the same mechanism reads 1.003 (notes/privacy.md, section 1)


@dataclass(frozen=True, slots=True)
class Case:
    """Something to be reckoned: so many token-days at so many carriers, and how many devices move as one."""

    days: int = 1
    carriers: int = 1
    group: int = 1

    @property
    def device_days(self) -> int:
        """How often the day's budget is spent."""
        return self.days * self.carriers

    @property
    def words(self) -> str:
        """The case in plain words.

        >>> Case(days=7, carriers=2).words
        'one device, 7 days, 2 carriers'
        """
        who = "one device" if self.group == 1 else f"a group of {self.group} together"
        return f"{who}, {_many(self.days, 'day')}, {_many(self.carriers, 'carrier')}"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a case costs: rho of zCDP, and epsilon at the policy's delta in three readings."""

    case: Case
    rho: float
    delta: float
    epsilon: float  # published: the larger of the next two
    epsilon_mechanism: float
    epsilon_budget: float
    epsilon_opendp: float


CASES = (
    *(Case(days=days) for days in (1, 7, 30, 365)),
    *(Case(days=days, carriers=2) for days in (1, 7, 30, 365)),
    *(Case(group=group) for group in (2, 5, 10, 20, 30)),
)


def epsilon(rho: float, delta: float, *, days: int = 1) -> float:
    """The epsilon of `days` device-days at `rho` each, for one delta in total.

    Gaussian mechanisms compose into one Gaussian mechanism, so the privacy loss distribution is that of noise
    1 / sqrt(2 rho days) on sensitivity 1.
    """
    from dp_accounting import GaussianDpEvent
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant(value_discretization_interval=_DISCRETISATION)
    accountant.compose(GaussianDpEvent(noise_multiplier=1 / math.sqrt(2 * rho * days)))
    return float(accountant.get_epsilon(delta))


def mechanism_epsilon(policy: ReleasePolicy, case: Case) -> float:
    """The epsilon of the discrete Gaussian itself on all three levels, for the device (or group) that moves them furthest.

    Furthest is 2k zone-hour cells by one each, and in each day level one cell a direction by k.
    """
    from dp_accounting.pld import privacy_loss_distribution

    whole = None
    for level in Level:
        moved, by = (2 * policy.k, 1) if level is Level.ZONE_HOUR else (2, policy.k)
        cell = privacy_loss_distribution.from_discrete_gaussian_mechanism(
            sigma=policy.sigma_at(level), sensitivity=by * case.group, value_discretization_interval=_DISCRETISATION
        )
        part = cell.self_compose(moved * case.device_days)
        whole = part if whole is None else whole.compose(part)
    assert whole is not None
    return float(whole.get_epsilon_for_delta(policy.delta))


def cost(policy: ReleasePolicy, case: Case) -> Cost:
    """What a case costs under a policy. g devices that move as one cost g^2 as much rho."""
    from privacy.mechanism import zcdp_epsilon

    rho = policy.rho_day * case.device_days * case.group**2
    by_mechanism, by_budget = mechanism_epsilon(policy, case), epsilon(rho, policy.delta)
    return Cost(
        case, rho, policy.delta, max(by_mechanism, by_budget), by_mechanism, by_budget, zcdp_epsilon(rho, policy.delta)
    )


def cost_table(policy: ReleasePolicy, cases: Iterable[Case] = CASES) -> list[Cost]:
    """What every case costs under a policy."""
    return [cost(policy, case) for case in cases]


def _many(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")
