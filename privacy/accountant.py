"""What the budget means: zCDP said as (epsilon, delta), by dp-accounting's privacy loss distributions."""

import math


def epsilon(rho: float, delta: float, *, days: int = 1) -> float:
    """The epsilon of `days` device-days at `rho` each, for one delta in total.

    Gaussian mechanisms compose into one Gaussian mechanism, so the privacy loss distribution is that of noise
    1 / sqrt(2 rho days) on sensitivity 1; discretisation 1e-4 (notes/privacy.md, section 1).
    """
    from dp_accounting import GaussianDpEvent
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant(value_discretization_interval=1e-4)
    accountant.compose(GaussianDpEvent(noise_multiplier=1 / math.sqrt(2 * rho * days)))
    return float(accountant.get_epsilon(delta))
