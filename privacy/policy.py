"""The release policy: what a device-day may cost and below what nothing is said. Stricter is free, weaker does not start.

A policy is data with a name, a date and a reason, not a setting: it is fixed for a token-day, a change takes effect at a
turn, and every policy that ever ruled stands in the public ledger.
"""

import hashlib
import math
import re
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any

from ingest.release import Level, canonical_json

MAX_RHO_DAY = 0.0280
"""zCDP of one device-day at one carrier: epsilon 1.0 at delta 1e-6 (notes/privacy.md, section 1)."""
SHARES = {Level.ZONE_HOUR: 0.8, Level.SECTOR_DAY: 0.1, Level.BORDER_DAY: 0.1}
"""How the day's budget is split over the levels."""
MAX_DELTA = 1e-6
MAX_K = 2
MIN_THRESHOLD = 50
MIN_THRESHOLD_DAY = 150


class WeakerPolicy(ValueError):
    """A policy below a floor; names the setting, the value found and the floor."""


class PolicyUnreadable(ValueError):
    """A policy file that says something else than a policy; names the key."""


@dataclass(frozen=True, slots=True)
class ReleasePolicy:
    """How counts are bounded, blurred and suppressed at each level; fixed for a token-day."""

    policy_id: str = "default-1"
    rho_day: float = MAX_RHO_DAY
    sigma: float = 9.45  # standard deviation of the noise on a zone-hour count
    delta: float = MAX_DELTA
    k: int = MAX_K  # movements counted per direction and token-day
    threshold: int = MIN_THRESHOLD  # noisy zone-hour values below it are suppressed
    sigma_sector_day: float = 37.8
    sigma_border_day: float = 37.8
    threshold_day: int = MIN_THRESHOLD_DAY  # noisy day values below it are suppressed
    proposed_by: str = ""
    approved_by: str = ""
    dated: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        floors = [
            ("rho_day", self.rho_day, 0 < self.rho_day <= MAX_RHO_DAY, f"at most {MAX_RHO_DAY}"),
            ("delta", self.delta, 0 < self.delta <= MAX_DELTA, f"at most {MAX_DELTA}"),
            ("k", self.k, 1 <= self.k <= MAX_K, f"1 to {MAX_K}"),
            ("threshold", self.threshold, self.threshold >= MIN_THRESHOLD, f"at least {MIN_THRESHOLD}"),
            (
                "threshold_day",
                self.threshold_day,
                self.threshold_day >= MIN_THRESHOLD_DAY,
                f"at least {MIN_THRESHOLD_DAY}",
            ),
        ]
        self._hold(floors)
        least = {level: self.l2_at(level) / math.sqrt(2 * self.rho_at(level)) for level in Level}
        self._hold(
            (name, found, least[level] <= found < math.inf, f"at least {least[level]:.4f} for this rho_day and k")
            for name, found, level in (
                ("sigma", self.sigma, Level.ZONE_HOUR),
                ("sigma_sector_day", self.sigma_sector_day, Level.SECTOR_DAY),
                ("sigma_border_day", self.sigma_border_day, Level.BORDER_DAY),
            )
        )

    @staticmethod
    def _hold(floors: Iterable[tuple[str, float, bool, str]]) -> None:
        for name, found, kept, floor in floors:
            if not kept:
                raise WeakerPolicy(f"policy.{name} is {found}; it must be {floor}")

    def l2_at(self, level: Level) -> float:
        """How far one device-day can move the day's counts of a level, in L2.

        Zone-hours: 2k cells by one each. A day level: one cell a direction by k each, which moves further.
        """
        return math.sqrt(2 * self.k) if level is Level.ZONE_HOUR else math.sqrt(2) * self.k

    def rho_at(self, level: Level) -> float:
        """The level's share of the day's budget."""
        return self.rho_day * SHARES[level]

    def sigma_at(self, level: Level) -> float:
        """The standard deviation of the noise drawn at a level."""
        return {
            Level.ZONE_HOUR: self.sigma,
            Level.SECTOR_DAY: self.sigma_sector_day,
            Level.BORDER_DAY: self.sigma_border_day,
        }[level]

    def threshold_at(self, level: Level) -> int:
        """Below what a noisy value of a level is suppressed."""
        return self.threshold if level is Level.ZONE_HOUR else self.threshold_day

    @property
    def l2(self) -> float:
        """How far one device-day can move the day's zone-hour counts."""
        return self.l2_at(Level.ZONE_HOUR)

    @property
    def rho_level(self) -> float:
        """The zone-hour level's share of the day's budget."""
        return self.rho_at(Level.ZONE_HOUR)

    def document(self) -> dict[str, Any]:
        """The policy as the ledger records it."""
        return asdict(self)

    @property
    def digest(self) -> str:
        """`sha256:…` of the policy as the ledger records it."""
        return "sha256:" + hashlib.sha256(canonical_json(self.document())).hexdigest()

    def mechanism(self, level: Level = Level.ZONE_HOUR) -> dict[str, Any]:
        """The policy as a release states it (design.md, section 4.4); a day level's `sigma` is what its estimates give."""
        stated = {
            "name": "discrete_gaussian",
            "sigma": self.sigma_at(level),
            "rho_day": self.rho_day,
            "rho_level": self.rho_at(level),
            "delta": self.delta,
            "k": self.k,
            "threshold": self.threshold_at(level),
            "policy_id": self.policy_id,
        }
        if level is Level.ZONE_HOUR:
            return stated
        return {**stated, "noise_sigma": self.sigma_at(level), "estimate": "weighted_least_squares"}


_READ_AS: dict[Any, tuple[type, ...]] = {float: (float, int), int: (int,), str: (str,)}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


def read_policy(path: Path) -> ReleasePolicy:
    """The policy in a TOML file; raises PolicyUnreadable, or WeakerPolicy with the setting, its value and the floor.

    `policy_id`, `proposed_by`, `dated` and `reason` must be there; what else is left out is the default.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise PolicyUnreadable("a policy file is TOML in UTF-8") from None
    known = {field.name: _READ_AS[field.type] for field in fields(ReleasePolicy)}
    for name in ("policy_id", "proposed_by", "dated", "reason"):
        if not found.get(name):
            raise PolicyUnreadable(f"policy.{name}: a policy says who proposes it, when, and why, under its own name")
    if type(found["dated"]) is date:
        found["dated"] = found["dated"].isoformat()
    for name, value in found.items():
        if name not in known:
            raise PolicyUnreadable("a policy file holds a key that no policy has")
        if isinstance(value, bool) or not isinstance(value, known[name]):
            raise PolicyUnreadable(f"policy.{name}: of another type")
    if not _NAME.fullmatch(found["policy_id"]):
        raise PolicyUnreadable("policy.policy_id: up to 64 letters, digits, dots, dashes and underscores")
    floats = {name: float(value) for name, value in found.items() if known[name] == (float, int)}
    return ReleasePolicy(**{**found, **floats})
