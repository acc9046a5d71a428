"""An opened token-day: what it rests on until its end, and the releases that are made under it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ingest.release import Level, Release, format_utc, padded, seal
from privacy.levels import Cell, Zone, public_cells
from privacy.policy import ReleasePolicy
from privacy.upward import Estimate

_NAMES = {Level.SECTOR_DAY: ("sector_id", "kind", "direction"), Level.BORDER_DAY: ("kind", "direction")}


@dataclass(frozen=True, slots=True)
class OpenDay:
    """What a token-day rests on, as it was fixed when it opened."""

    start: datetime
    lineage: str
    grid_id: str
    policy: ReleasePolicy
    cells: tuple[Cell, ...]  # zone-hour cells in the order of their counts
    zones: tuple[Zone, ...] | None  # None: the day has no day levels
    closed_because: str | None


def seal_hour(
    carrier: str, day: OpenDay, window_start: datetime, values: Sequence[int | None], *, complete: bool
) -> Release:
    """The release of one hour."""
    counts = [
        {"zone_id": zone_id, "direction": direction, "value": value}
        for (zone_id, direction), value in zip(day.cells, values, strict=True)
    ]
    return _seal(carrier, day, Level.ZONE_HOUR, window_start, day.policy.mechanism(), counts, complete)


def seal_day(
    carrier: str,
    day: OpenDay,
    level: Level,
    values: Sequence[int | None],
    estimates: Sequence[Estimate],
    *,
    complete: bool,
) -> Release:
    """The release of one day level; each count says the deviation of its own estimate, published or not."""
    cells = public_cells(day.zones or ()).at(level)
    counts = [
        {**dict(zip(_NAMES[level], cell, strict=True)), "value": value, "sigma": estimate.sigma}
        for cell, value, estimate in zip(cells, values, estimates, strict=True)
    ]
    mechanism = {**day.policy.mechanism(level), "sigma": max(estimate.sigma for estimate in estimates)}
    return _seal(carrier, day, level, day.start, mechanism, counts, complete)


def _seal(
    carrier: str,
    day: OpenDay,
    level: Level,
    window_start: datetime,
    mechanism: dict[str, Any],
    counts: list[dict[str, Any]],
    complete: bool,
) -> Release:
    return seal(
        padded(
            {
                "carrier": carrier,
                "grid_id": day.grid_id,
                "level": level.value,
                "window_start": format_utc(window_start),
                "window_end": format_utc(window_start + level.span),
                "mechanism": mechanism,
                "lineage": day.lineage,
                "counts": counts,
                "feed": {"complete": complete},
            }
        )
    )
