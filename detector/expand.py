"""What several carriers say of one token-day together, and what that means for the whole market: for planning only.

Counts are added with their known noise. A `null` is censored: somewhere below its carrier's threshold, not nought. A
carrier that is missing leaves the sum open above. A market factor is an explicit, dated figure with its own uncertainty;
it stands beside the sum and never takes part in a flag: flags rest on zone-hours, and a zone-hour is not taken here.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from ingest.release import Level, format_utc

INTERVAL_SD: Final = 1.96
MAX_FACTOR: Final = 100.0


class ExpansionRefused(ValueError):
    """Counts or factors that do not go together; names the rule."""


@dataclass(frozen=True, slots=True)
class CarrierCount:
    """What one carrier published of one cell and token-day."""

    carrier: str
    level: Level
    value: int | None  # None: below the threshold
    sigma: float
    threshold: int
    complete: bool


@dataclass(frozen=True, slots=True)
class MarketFactor:
    """For how many movements of everybody one counted movement of a carrier stands, when all carriers are added up.

    Who says so, since when, and why stands with it.
    """

    carrier: str
    factor: float
    factor_sd: float
    valid_from: datetime
    proposed_by: str
    approved_by: str
    reason: str

    def __post_init__(self) -> None:
        for kept, rule in (
            (1 <= self.factor <= MAX_FACTOR, f"a market factor lies between 1 and {MAX_FACTOR:.0f}"),
            (0 < self.factor_sd < math.inf, "a market factor has an uncertainty of its own, above 0"),
            (self.valid_from.tzinfo is not None, "a market factor is valid from an instant with an offset"),
            (bool(self.proposed_by.strip()), "a market factor names who proposed it"),
            (bool(self.reason.strip()), "a market factor says why"),
        ):
            if not kept:
                raise ExpansionRefused(rule)

    def document(self) -> dict[str, Any]:
        """The factor as it is kept and served."""
        return {**asdict(self), "valid_from": format_utc(self.valid_from)}


@dataclass(frozen=True, slots=True)
class Together:
    """One cell and token-day over all carriers, with 95 % bounds.

    `value` is None unless every expected carrier published; `at_most` is None if one said nothing at all.
    """

    value: float | None
    sd: float  # noise of all carriers present, and the factors' own uncertainty
    at_least: float
    at_most: float | None
    carriers_present: int
    suppressed: int
    complete: bool


def factors_in_force(factors: Iterable[MarketFactor], at: datetime) -> dict[str, MarketFactor]:
    """For each carrier the newest factor that was valid at an instant."""
    in_force: dict[str, MarketFactor] = {}
    for factor in factors:
        known = in_force.get(factor.carrier)
        if factor.valid_from <= at and (known is None or factor.valid_from > known.valid_from):
            in_force[factor.carrier] = factor
    return in_force


def together(
    counts: Sequence[CarrierCount],
    expected: Collection[str],
    factors: Mapping[str, MarketFactor] | None = None,
) -> Together:
    """All carriers' counts of one cell and token-day as one, expanded to the market if factors are given.

    The noise of carriers is independent, so variances add. The errors of factors are taken to go together, as they come
    from the same market figures, so their deviations add. Raises ExpansionRefused for more than one level, for a
    zone-hour, for a carrier that speaks twice, or for one without a factor.
    """
    spoken = [count for count in counts if count.carrier in expected]
    if any(count.level is Level.ZONE_HOUR for count in spoken) or len({count.level for count in spoken}) > 1:
        raise ExpansionRefused(
            "counts of one day level are added up; levels are not mixed, and zone-hours not expanded"
        )
    if len({count.carrier for count in spoken}) != len(spoken):
        raise ExpansionRefused("a carrier speaks once of a cell and token-day")
    by, by_sd = 1.0, 0.0
    known = ceiling = noise = known_noise = drift = known_drift = 0.0
    for count in spoken:
        if factors is not None:
            if count.carrier not in factors:
                raise ExpansionRefused("every carrier that speaks has a market factor in force")
            by, by_sd = factors[count.carrier].factor, factors[count.carrier].factor_sd
        noise += (by * count.sigma) ** 2
        if count.value is None:
            ceiling += by * count.threshold
            drift += by_sd * count.threshold
        else:
            known += by * count.value
            known_noise += (by * count.sigma) ** 2
            known_drift += by_sd * count.value
    sd, known_sd = math.sqrt(noise + (drift + known_drift) ** 2), math.sqrt(known_noise + known_drift**2)
    suppressed = sum(count.value is None for count in spoken)
    everyone = {count.carrier for count in spoken} == set(expected)
    return Together(
        value=known if everyone and not suppressed else None,
        sd=sd,
        at_least=max(known - INTERVAL_SD * known_sd, 0.0),
        at_most=known + ceiling + INTERVAL_SD * sd if everyone else None,
        carriers_present=len(spoken),
        suppressed=suppressed,
        complete=everyone and all(count.complete for count in spoken),
    )
