"""The register of known crowds: what planners announce explains unusual movement instead of alerting a desk again.

A festival, a convoy, a match: whoever knows of it says where, when, which kind and why, and signs with a name. What is
unusual then and there still becomes an alert, so that nothing is hidden, but one that names the event in its reasons and
is born acknowledged, so that no desk is called (docs/decisions/0012-registered-crowds-explain.md). An event moves no
threshold.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Self

import polars as pl

from ingest.release import canonical_json, format_utc

MAX_LASTS: Final = timedelta(days=14)
AROUND: Final = timedelta(hours=3)  # before and after, in which people come and go
MAX_REASON: Final = 160


class EventKind(StrEnum):
    """What kind of crowd is known; one coded list."""

    FESTIVAL = "festival"
    MARKET = "market"
    SPORT = "sport"
    PILGRIMAGE = "pilgrimage"
    PUBLIC_WORKS = "public_works"
    ORGANISED_TRANSPORT = "organised_transport"
    EXERCISE = "exercise"
    OTHER = "other"


class EventRefused(ValueError):
    """A registered event that breaks a rule; the message names the rule."""


@dataclass(frozen=True, slots=True)
class RegisteredEvent:
    """A known crowd: in a whole sector, or in the zones named, from a start to an end."""

    sector_id: str
    zone_ids: tuple[str, ...]  # empty: all belts of the sector
    starts_at: datetime
    ends_at: datetime
    kind: EventKind
    registered_by: str
    registered_at: datetime
    reason: str

    def __post_init__(self) -> None:
        times = (self.starts_at, self.ends_at, self.registered_at)
        for kept, rule in (
            (all(at.tzinfo is not None for at in times), "an event's times have an offset"),
            (bool(self.sector_id.strip()), "an event names its sector"),
            (bool(self.registered_by.strip()), "an event names who registered it"),
            (0 < len(self.reason.strip()) <= MAX_REASON, f"an event says why in at most {MAX_REASON} characters"),
            (len(set(self.zone_ids)) == len(self.zone_ids), "an event names each zone once"),
        ):
            if not kept:
                raise EventRefused(rule)
        if not timedelta(0) < self.ends_at - self.starts_at <= MAX_LASTS:
            raise EventRefused(f"an event lasts for at most {MAX_LASTS.days} days")

    @property
    def event_id(self) -> str:
        """`e-` and twelve hex digits of the digest of the content."""
        return "e-" + hashlib.sha256(canonical_json(self._content())).hexdigest()[:12]

    def document(self) -> dict[str, Any]:
        """The event as JSON, id included."""
        return {"event_id": self.event_id, **self._content()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The event of a JSON document; refuses one whose id is not that of its content."""
        starts_at, ends_at, registered_at = (
            datetime.fromisoformat(document[name]) for name in ("starts_at", "ends_at", "registered_at")
        )
        event = cls(
            document["sector_id"],
            tuple(document["zone_ids"]),
            starts_at,
            ends_at,
            EventKind(document["kind"]),
            document["registered_by"],
            registered_at,
            document["reason"],
        )
        if event.event_id != document["event_id"]:
            raise EventRefused("an event's id is that of its content")
        return event

    def covers(self, sector_id: str, zone_ids: Iterable[str], start: datetime, end: datetime) -> bool:
        """Whether it explains all of these zones from start to end, AROUND its own time included."""
        in_place = sector_id == self.sector_id and (not self.zone_ids or set(zone_ids) <= set(self.zone_ids))
        return in_place and self.starts_at - AROUND <= start and end <= self.ends_at + AROUND

    def sentence(self) -> str:
        """What an alert says of it.

        >>> from datetime import UTC
        >>> at = datetime(2026, 5, 1, 6, tzinfo=UTC)
        >>> RegisteredEvent("s", (), at, at + timedelta(hours=9), EventKind.MARKET, "ana", at, "fair").sentence()
        'market, 2026-05-01T06:00Z to 2026-05-01T15:00Z'
        """
        kind = self.kind.value.replace("_", " ")
        start, end = (f"{format_utc(at)[:16]}Z" for at in (self.starts_at, self.ends_at))
        return f"{kind}, {start} to {end}"

    def _content(self) -> dict[str, Any]:
        return {
            "sector_id": self.sector_id,
            "zone_ids": sorted(self.zone_ids),
            "starts_at": format_utc(self.starts_at),
            "ends_at": format_utc(self.ends_at),
            "kind": self.kind.value,
            "registered_by": self.registered_by,
            "registered_at": format_utc(self.registered_at),
            "reason": self.reason,
        }


def explanations(events: Sequence[RegisteredEvent], rows: pl.DataFrame) -> list[str | None]:
    """For each row (sector_id, zone_id, window_start) the sentence of the event that explains it, first registered first."""
    known = sorted(events, key=lambda event: (event.registered_at, event.event_id))
    hour = timedelta(hours=1)
    return [
        next((event.sentence() for event in known if event.covers(sector, [zone], window, window + hour)), None)
        for sector, zone, window in rows.select("sector_id", "zone_id", "window_start").iter_rows()
    ]
