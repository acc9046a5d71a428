"""The release policy: what a device-day may cost and below what nothing is said. Stricter is free, weaker does not start."""

import math
from dataclasses import asdict, dataclass
from typing import Any

MAX_RHO_DAY = 0.0280
"""zCDP of one device-day at one carrier: epsilon 1.0 at delta 1e-6 (notes/privacy.md, section 1)."""
ZONE_HOUR_SHARE = 0.8
MAX_DELTA = 1e-6
MAX_K = 2
MIN_THRESHOLD = 50


class WeakerPolicy(ValueError):
    """A policy below a floor; names the setting, the value found and the floor."""


@dataclass(frozen=True, slots=True)
class ReleasePolicy:
    """How zone-hour counts are bounded, blurred and suppressed; fixed for a token-day."""

    policy_id: str = "default-1"
    rho_day: float = MAX_RHO_DAY
    sigma: float = 9.45  # standard deviation of the noise on a zone-hour count
    delta: float = MAX_DELTA
    k: int = MAX_K  # movements counted per direction and token-day
    threshold: int = MIN_THRESHOLD  # noisy values below it are suppressed

    def __post_init__(self) -> None:
        least_sigma = self.l2 / math.sqrt(2 * self.rho_level)
        for name, found, kept, floor in (
            ("rho_day", self.rho_day, 0 < self.rho_day <= MAX_RHO_DAY, f"at most {MAX_RHO_DAY}"),
            ("delta", self.delta, 0 < self.delta <= MAX_DELTA, f"at most {MAX_DELTA}"),
            ("k", self.k, 1 <= self.k <= MAX_K, f"1 to {MAX_K}"),
            ("threshold", self.threshold, self.threshold >= MIN_THRESHOLD, f"at least {MIN_THRESHOLD}"),
            ("sigma", self.sigma, self.sigma >= least_sigma, f"at least {least_sigma:.4f} for this rho_day and k"),
        ):
            if not kept:
                raise WeakerPolicy(f"policy.{name} is {found}; it must be {floor}")

    @property
    def l2(self) -> float:
        """How far one device-day can move the day's zone-hour counts, in L2: 2k cells by one each."""
        return math.sqrt(2 * self.k)

    @property
    def rho_level(self) -> float:
        """The zone-hour level's share of the day's budget."""
        return self.rho_day * ZONE_HOUR_SHARE

    def document(self) -> dict[str, Any]:
        """The policy as the ledger records it."""
        return asdict(self)

    def mechanism(self) -> dict[str, Any]:
        """The policy as a release states it (design.md, section 4.4)."""
        return {
            "name": "discrete_gaussian",
            "sigma": self.sigma,
            "rho_day": self.rho_day,
            "rho_level": self.rho_level,
            "delta": self.delta,
            "k": self.k,
            "threshold": self.threshold,
            "policy_id": self.policy_id,
        }
