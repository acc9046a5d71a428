"""How far the service's word reaches: watermark, coverage, degraded. Carried by every list answer."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from api.answers import DegradedReason
from api.store import CoverageRecord, Store
from ingest.release import format_utc


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known at an instant, and every reason to doubt a quiet answer."""

    watermark: datetime | None
    coverage: CoverageRecord
    reasons: tuple[DegradedReason, ...]
    detections: int
    at: datetime

    def fingerprint(self) -> list[str]:
        """What changes when the standing does, the clock aside; for entity tags."""
        return [repr(self.watermark), repr(self.coverage), repr(self.reasons), repr(self.detections)]

    def document(self) -> dict[str, Any]:
        """The part of an answer that says it."""
        coverage = self.coverage
        present = [name for name in coverage.expected if name in coverage.present]
        return {
            "watermark": spelled(self.watermark),
            "coverage": {
                "window_start": spelled(coverage.window_start),
                "expected": len(coverage.expected),
                "present": len(present),
                "missing": [name for name in coverage.expected if name not in coverage.present],
                "incomplete": list(coverage.incomplete),
                "simulated": coverage.simulated,
            },
            "degraded": bool(self.reasons),
            "degraded_reasons": [reason.value for reason in self.reasons],
            "generated_at": format_utc(self.at),
        }


def standing_of(store: Store, *, now: datetime, stale_after: timedelta) -> Standing:
    """The standing of a store at an instant."""
    # Read first: a detection that comes in between makes an entity tag too old, never too new.
    detections = store.detections()
    watermark, coverage = store.watermark(), store.coverage()
    reasons = degraded_reasons(watermark, coverage, now, stale_after)
    return Standing(watermark, coverage, reasons, detections, now)


def degraded_reasons(
    watermark: datetime | None, coverage: CoverageRecord, now: datetime, stale_after: timedelta
) -> tuple[DegradedReason, ...]:
    """Every reason why a quiet answer may not mean a quiet border."""
    doubts = {
        DegradedReason.NO_DETECTION: watermark is None,
        DegradedReason.STALE_WATERMARK: watermark is not None and now - watermark > stale_after,
        DegradedReason.NO_CARRIER: not coverage.expected,
        DegradedReason.CARRIER_MISSING: not set(coverage.expected) <= set(coverage.present),
        DegradedReason.FEED_INCOMPLETE: bool(coverage.incomplete),
    }
    return tuple(reason for reason, holds in doubts.items() if holds)


def spelled(at: datetime | None) -> str | None:
    """An instant as the wire spells it, or null."""
    return None if at is None else format_utc(at)
