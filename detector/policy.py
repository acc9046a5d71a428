"""Who decided from when on what counts as unusual, and where flags are allowed at all.

Thresholds are no settings but dated, reasoned data; arming is a recorded legal basis that runs out.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final, Self

from ingest.release import canonical_json, format_utc

MAX_TAIL_P: Final = 1e-3  # no policy may call something unusual that happens more often than this by chance
MIN_HISTORY_DAYS: Final = 14
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

    def __post_init__(self) -> None:
        _refuse_naive(valid_from=self.valid_from)
        if not 0 < self.tail_p <= MAX_TAIL_P:
            raise ValueError(f"tail_p lies above 0 and at most at {MAX_TAIL_P}")
        if self.min_history_days < MIN_HISTORY_DAYS:
            raise ValueError(f"min_history_days is at least {MIN_HISTORY_DAYS}")
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
        content = {field.name: document[field.name] for field in fields(cls)}
        policy = cls(**{**content, "valid_from": datetime.fromisoformat(content["valid_from"])})
        if policy.policy_version != document["policy_version"]:
            raise ValueError("a policy's version is that of its content")
        return policy

    def _content(self) -> dict[str, Any]:
        return {**asdict(self), "valid_from": format_utc(self.valid_from)}


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
