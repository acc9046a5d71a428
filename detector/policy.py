"""Who decided from when on what counts as unusual, and where flags are allowed at all.

Thresholds are no settings but dated, reasoned data; arming is a recorded legal basis that runs out. Two lines stand: a
flag's tail probability, and its rarity (detector/triage.py), of the border and of each sector. Anyone who may propose can
tighten them alone; a loosening names a second person.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any, Final, Self

from ingest.release import canonical_json, format_utc

MAX_TAIL_P: Final = 1e-3  # no policy may call something unusual that happens more often than this by chance
LEAST_RARITY: Final = 0.0  # no policy asks for more than one clean alert per zone-month, by its own reckoning
MIN_HISTORY_DAYS: Final = 14
HOURS_PER_MONTH: Final = 730.5
MAX_ARMED: Final = timedelta(days=180)


def _refuse_naive(**times: datetime) -> None:
    for name, at in times.items():
        if at.tzinfo is None:
            raise ValueError(f"{name} is an aware time")


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of the thresholds: stricter than the limits of this file or refused."""

    tail_p: float  # a flag's observed value is at most this probable under its expectation
    min_history_days: int
    proposed_by: str
    approved_by: str | None
    reason: str
    valid_from: datetime
    previous: str | None = None  # policy_version that this one follows
    least_rarity: float | None = None  # -log10 of clean alerts per zone-month; None: the tail probability alone decides
    sector_rarity: Mapping[str, float] = field(default_factory=dict)  # by sector, in the place of least_rarity

    def __post_init__(self) -> None:
        _refuse_naive(valid_from=self.valid_from)
        if not 0 < self.tail_p <= MAX_TAIL_P:
            raise ValueError(f"tail_p lies above 0 and at most at {MAX_TAIL_P}")
        if self.min_history_days < MIN_HISTORY_DAYS:
            raise ValueError(f"min_history_days is at least {MIN_HISTORY_DAYS}")
        rarities = [*self.sector_rarity.values(), *([] if self.least_rarity is None else [self.least_rarity])]
        if not all(LEAST_RARITY <= rarity < math.inf for rarity in rarities):
            raise ValueError(f"a least rarity is a number of at least {LEAST_RARITY}")
        if self.sector_rarity and self.least_rarity is None:
            raise ValueError("sectors have a least rarity of their own only beside that of the border")
        if not self.proposed_by or not self.reason:
            raise ValueError("a policy names who proposed it and why")
        if self.approved_by == self.proposed_by:
            raise ValueError("a policy is approved by a second person")

    @property
    def policy_version(self) -> str:
        """`p-` and twelve hex digits of the digest of the content."""
        return "p-" + hashlib.sha256(canonical_json(self._content())).hexdigest()[:12]

    def document(self) -> dict[str, Any]:
        """The policy as JSON, version included."""
        return {"policy_version": self.policy_version, **self._content()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The policy of a JSON document; refuses one whose version is not that of its content."""
        # A document older than a threshold does without it.
        content = {each.name: document[each.name] for each in fields(cls) if each.name in document}
        policy = cls(**{**content, "valid_from": datetime.fromisoformat(content["valid_from"])})
        if policy.policy_version != document["policy_version"]:
            raise ValueError("a policy's version is that of its content")
        return policy

    def rarity_of(self, sector_id: str) -> float | None:
        """The least rarity of a flag in this sector; None where the tail probability alone decides."""
        return self.sector_rarity.get(sector_id, self.least_rarity)

    def _content(self) -> dict[str, Any]:
        content = {**asdict(self), "valid_from": format_utc(self.valid_from)}
        if self.least_rarity is None:
            del content["least_rarity"], content["sector_rarity"]
        else:
            content["sector_rarity"] = dict(sorted(self.sector_rarity.items()))
        return content


class LooseningRefused(ValueError):
    """Thresholds that let more through need a second person; names what would be looser."""


def loosened(before: Policy, after: Policy) -> list[str]:
    """What lets more through in the second policy than in the first; empty for a tightening.

    A rarity means the same under every model (clean alerts per zone-month), so policies of different models compare by
    it; where neither has one, their tail probabilities do. The first rarity after a tail probability is no loosening.
    """
    looser = []
    if after.min_history_days < before.min_history_days:
        looser.append("min_history_days")
    if before.least_rarity is None or after.least_rarity is None:
        if before.least_rarity is not None:
            looser.append("rarity")
        elif after.tail_p > before.tail_p and after.least_rarity is None:
            looser.append("tail_p")
        return looser
    if after.tail_p > before.tail_p:
        looser.append("tail_p")
    pairs = [("rarity", before.least_rarity, after.least_rarity)]
    for sector in sorted({*before.sector_rarity, *after.sector_rarity}):
        old, new = (each.sector_rarity.get(sector) for each in (before, after))
        border = before.least_rarity, after.least_rarity
        pairs.append((f"rarity {sector}", border[0] if old is None else old, border[1] if new is None else new))
    return [*looser, *(name for name, old, new in pairs if new < old - _EQUAL)]


def succeed(before: Policy | None, after: Policy) -> Policy:
    """The second policy, if it may follow the first; raises LooseningRefused without a second person where it is looser."""
    if before is not None and after.approved_by is None and (looser := loosened(before, after)):
        raise LooseningRefused(f"a second person approves a looser policy: {', '.join(looser)}")
    return after


def not_looser(before: Policy | None, after: Policy) -> Policy:
    """The second policy with everything that would be looser than in the first left as strict as it was there."""
    if before is None or not loosened(before, after):
        return after
    kept = replace(
        after,
        min_history_days=max(before.min_history_days, after.min_history_days),
        tail_p=after.tail_p if before.least_rarity is None else min(before.tail_p, after.tail_p),
    )
    if after.least_rarity is None:
        # A short history ranks nothing: the border's rarity stays, which then takes no flag away, and the stricter tail.
        return replace(kept, tail_p=min(before.tail_p, after.tail_p))
    if before.least_rarity is None:
        return kept
    sectors = {*before.sector_rarity, *after.sector_rarity}
    return replace(
        kept,
        least_rarity=max(before.least_rarity, after.least_rarity),
        sector_rarity={
            sector: max(before.rarity_of(sector) or LEAST_RARITY, after.rarity_of(sector) or LEAST_RARITY)
            for sector in sectors
        },
    )


_EQUAL: Final = 1e-9


# --- slow control ---

CONTROL_REASON: Final = "slow control"
CONTROL_GAIN: Final = 0.5
CONTROL_STEP: Final = 0.1  # of rarity, at most, each time: a quarter more or fewer alerts
CONTROL_REACH: Final = (-0.3, 0.6)  # around where the trained policy stood: half the alerts more, or a quarter left
_CONTROL_LEAST_EXPECTED: Final = 3.0  # alerts that the budget would bring, before anything is concluded
_SECTOR_PRIOR_ALERTS: Final = 10.0


def controlled(
    policy: Policy,
    trained: Policy,
    false_alerts: Mapping[str, float],
    zone_months: Mapping[str, float],
    *,
    budget: float,
    valid_from: datetime,
    proposed_by: str,
    approved_by: str | None,
) -> Policy:
    """The policy after one slow step of integral control; the same policy where there is nothing to conclude.

    `false_alerts` are those of each sector over its `zone_months`, level shifts and registered events left out. The step
    of a sector is CONTROL_GAIN x log10(false alerts over those that the budget would bring), both with a prior, at most
    CONTROL_STEP, and stays within CONTROL_REACH of the trained policy. Without a second person only tightening steps are
    taken. Neither the floor nor the limits of this file move.
    """
    if policy.least_rarity is None or trained.least_rarity is None:
        return policy
    border_due, border_seen = budget * sum(zone_months.values()), sum(false_alerts.values())
    if border_due < _CONTROL_LEAST_EXPECTED:
        return policy

    def stepped(now: float, at_first: float, seen: float, due: float) -> float:
        step = CONTROL_GAIN * math.log10(max(seen, 0.3) / due)
        bounded = min(max(step, -CONTROL_STEP if approved_by else 0.0), CONTROL_STEP)
        low, high = at_first + CONTROL_REACH[0], at_first + CONTROL_REACH[1]
        return round(max(min(max(now + bounded, low), high), LEAST_RARITY, now if approved_by is None else 0.0), 4)

    border_ratio = max(border_seen, 0.3) / border_due
    sectors = {}
    for sector in sorted({*policy.sector_rarity, *zone_months}):
        # A sector with little time of its own follows the border.
        due = budget * zone_months.get(sector, 0.0) + _SECTOR_PRIOR_ALERTS
        seen = false_alerts.get(sector, 0.0) + _SECTOR_PRIOR_ALERTS * border_ratio
        now, at_first = policy.rarity_of(sector), trained.rarity_of(sector)
        assert now is not None
        assert at_first is not None
        sectors[sector] = stepped(now, at_first, seen, due)
    border = stepped(policy.least_rarity, trained.least_rarity, border_seen, border_due)
    if border == policy.least_rarity and all(sectors[s] == policy.rarity_of(s) for s in sectors):
        return policy
    return replace(
        policy,
        least_rarity=border,
        sector_rarity=sectors,
        proposed_by=proposed_by,
        approved_by=approved_by,
        reason=f"{CONTROL_REASON}: {border_seen:.0f} false alerts where {border_due:.1f} were due",
        valid_from=valid_from,
        previous=policy.policy_version,
    )


@dataclass(frozen=True, slots=True)
class Arming:
    """The record without which no zone of a sector may be flagged."""

    sector_id: str
    legal_basis: str
    impact_assessment: str
    armed_from: datetime
    expires_at: datetime

    def __post_init__(self) -> None:
        _refuse_naive(armed_from=self.armed_from, expires_at=self.expires_at)
        if not self.legal_basis.strip() or not self.impact_assessment.strip():
            raise ValueError("a sector is armed with a legal basis and an impact assessment")
        if not timedelta(0) < self.expires_at - self.armed_from <= MAX_ARMED:
            raise ValueError(f"a sector is armed for at most {MAX_ARMED.days} days")
