"""A border at night to look at: a store with some days of releases, what was expected, and alerts.

The figures are drawn from a seed and mean nothing; they only fill the page with every state that it must show.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from api.intake import ReleaseRefused, accept_many
from api.store import Store
from ingest.release import HOUR, Release, format_utc, seal

CARRIERS = ("carrier-a", "carrier-b")
DIRECTIONS = ("arrival", "departure")
SIGMA, THRESHOLD = 9.45, 50
SHARES = (0.55, 0.45)
MECHANISM = {
    "name": "discrete_gaussian",
    "sigma": SIGMA,
    "rho_day": 0.028,
    "rho_level": 0.0224,
    "delta": 1e-6,
    "k": 2,
    "threshold": THRESHOLD,
    "policy_id": "policy-1",
}


@dataclass(frozen=True, slots=True)
class Surge:
    """More movement than usual in some zones, for the hours before the watermark."""

    zone_ids: tuple[str, ...]
    direction: str
    factor: float
    hours: int
    ended_hours_ago: int = 0


def seed(
    path: Path,
    grid: Mapping[str, Any],
    watermark: datetime,
    *,
    hours: int = 72,
    surges: tuple[Surge, ...] = (),
    silent: tuple[str, ...] = (),
    incomplete_hours_ago: tuple[int, ...] = (),
    carriers: tuple[str, ...] = CARRIERS,
) -> Store:
    """A store with `hours` of releases and expectations up to the watermark, and an alert for each surge.

    A zone in `silent` has a drop; in `incomplete_hours_ago` the second carrier's feed had gaps. Only `carriers` speak.
    """
    chance = random.Random(7)
    store = Store(f"sqlite:///{path}", accept_lineages={"simulated"})
    store.put_grid(grid)
    for carrier in CARRIERS:
        store.put_carrier(carrier, carrier.title())
    zones = {feature["properties"]["zone_id"]: feature["properties"] for feature in grid["features"]}
    usual = {
        zone_id: chance.choice((400, 700, 1100))
        if zone["kind"] == "crossing_point"
        else chance.choice((50, 120, 220, 330))
        for zone_id, zone in zones.items()
    }
    for surge in surges:
        usual |= {zone_id: max(usual[zone_id], 220) for zone_id in surge.zone_ids}
    usual |= dict.fromkeys(silent, 420)

    releases: list[Release] = []
    expectations: list[dict[str, Any]] = []
    for i in range(hours):
        start = watermark - (hours - i) * HOUR
        ago = hours - 1 - i
        local_hour = (start.hour + 7) % 24
        rhythm = 0.55 + 0.45 * math.sin((local_hour - 7) / 24 * 2 * math.pi)
        incomplete = ago in incomplete_hours_ago
        counts: dict[tuple[str, str], list[int | None]] = {}
        for zone_id, zone in sorted(zones.items()):
            for direction in DIRECTIONS:
                expected = usual[zone_id] * rhythm
                mean = expected
                if zone_id in silent and ago == 0:
                    mean *= 0.25
                for surge in surges:
                    within = surge.ended_hours_ago <= ago < surge.ended_hours_ago + surge.hours
                    if zone_id in surge.zone_ids and direction == surge.direction and within:
                        mean = mean * surge.factor + 150
                noisy = [
                    round(chance.gauss(mean * share, math.sqrt(mean * share + SIGMA**2 + (0.08 * mean) ** 2)))
                    for share in SHARES
                ]
                published = [value if value >= THRESHOLD else None for value in noisy]
                counts[zone_id, direction] = published
                expectations.append(
                    _expectation(zone, direction, start, expected, published, incomplete, len(carriers))
                )
        for n, carrier in enumerate(carriers):
            releases.append(_release(grid, carrier, n, start, counts, complete=not (incomplete and n == 1)))
    for outcome in accept_many(store, releases, carrier=None, now=watermark + timedelta(minutes=84)):
        if isinstance(outcome, ReleaseRefused):
            raise outcome
    digests = [release.digest for release in releases[-2:]]
    alerts = [alert(zones, surge, watermark, usual, digests, f"a-{n:016x}") for n, surge in enumerate(surges, 1)]
    store.save_detection(expectations=expectations, alerts=alerts, recorded_at=watermark + timedelta(minutes=84))
    return store


def alert(
    zones: Mapping[str, Mapping[str, Any]],
    surge: Surge,
    watermark: datetime,
    usual: Mapping[str, float],
    digests: list[str],
    alert_id: str,
    **changes: Any,
) -> dict[str, Any]:
    """The alert that a surge gives."""
    expected = round(sum(usual[zone_id] for zone_id in surge.zone_ids) * surge.hours * 0.55)
    observed = round(expected * surge.factor + 150 * surge.hours * len(surge.zone_ids))
    excess, sd = observed - expected, math.sqrt(observed) + SIGMA * surge.hours
    end = watermark - surge.ended_hours_ago * HOUR
    interval = round(1.96 * sd)
    return {
        "alert_id": alert_id,
        "sector_id": zones[surge.zone_ids[0]]["sector_id"],
        "zone_ids": list(surge.zone_ids),
        "direction": surge.direction,
        "window_start": format_utc(end - surge.hours * HOUR),
        "window_end": format_utc(end),
        "status": "closed" if surge.ended_hours_ago else "open",
        "closed_by": "system" if surge.ended_hours_ago else None,
        "observed": {"value": observed, "interval": [observed - interval, observed + interval]},
        "expected": {"value": expected, "interval": [round(expected * 0.75), round(expected * 1.25)]},
        "excess": {"value": excess, "interval": [excess - interval, excess + interval]},
        "probability": "over 75 %" if surge.factor > 2 else "50-75 %",
        "severity": "very_high" if surge.factor > 2.5 else "high" if surge.factor > 1.5 else "moderate",
        "reasons": [
            f"{excess // surge.hours} more {surge.direction}s than the {expected // surge.hours} expected in the strongest "
            "hour, 6.2 times what noise and ordinary scatter explain; recent days raise the expectation by 4 %.",
            f"Flagged in {surge.hours} hours so far.",
            f"{len(surge.zone_ids) - 1} touching zones are unusual as well; the surroundings and official crossing points "
            "leave the expectation as it is.",
            "The calendar (hour, weekday, holidays, season) lowers the expectation by 12 %.",
            "2 of 2 carriers reported a complete feed; feed and noise leave the expectation as it is.",
        ],
        "coverage": {"expected": 2, "present": 2},
        "model_version": "m-20260301",
        "policy_version": "p-1",
        "release_digests": digests,
    } | changes


def _expectation(
    zone: Mapping[str, Any],
    direction: str,
    start: datetime,
    expected: float,
    published: list[int | None],
    incomplete: bool,
    speaking: int,
) -> dict[str, Any]:
    sd = math.sqrt(expected + 2 * SIGMA**2 + (0.11 * expected) ** 2)
    values = [value for value in published[:speaking] if value is not None]
    whole = len(values) == len(CARRIERS)
    observed: int | None = sum(values) if whole else None
    crossing = zone["kind"] == "crossing_point"
    if speaking == 0:
        state = "no_coverage"
    elif incomplete or speaking < len(CARRIERS):
        state = "degraded"
    elif crossing:
        state = "not_judged"
    elif observed is None:
        state = "unusual_drop" if expected > 180 else "below_threshold"
    else:
        state = "unusual" if observed - expected > max(60, 30 + 4 * sd) else "usual"
    shown = observed if state not in ("degraded", "no_coverage") else None
    judged = state in ("usual", "unusual")
    return {
        "zone_id": zone["zone_id"],
        "direction": direction,
        "window_start": start,
        "expected": expected,
        "lower": max(expected - 1.96 * sd, 0.0),
        "upper": expected + 1.96 * sd,
        "sd": sd,
        "observed": shown,
        "excess": shown - expected if shown is not None and judged else None,
        "tail_p": 0.5 if judged else None,
        "state": state,
        "abstained": "crossing_point" if crossing and state == "not_judged" else None,
        "model_version": "m-20260301",
        "policy_version": "p-1",
    }


def _release(
    grid: Mapping[str, Any],
    carrier: str,
    n: int,
    start: datetime,
    counts: Mapping[tuple[str, str], list[int | None]],
    *,
    complete: bool,
) -> Release:
    return seal(
        {
            "carrier": carrier,
            "grid_id": grid["grid_id"],
            "level": "zone-hour",
            "window_start": format_utc(start),
            "window_end": format_utc(start + HOUR),
            "mechanism": MECHANISM,
            "lineage": "simulated-night",
            "counts": [
                {"zone_id": zone_id, "direction": direction, "value": values[n]}
                for (zone_id, direction), values in sorted(counts.items())
            ],
            "feed": {"complete": complete},
        }
    )
