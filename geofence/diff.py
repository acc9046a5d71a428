"""What changes between two versions of a zone grid: zones that came, went, moved, or changed what they are."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

from geofence.grid import GridError, Zone, ZoneGrid
from geofence.metres import plane_around
from geofence.rules import GridRule
from ingest.release import format_utc

SAME_M2 = 1.0
"""Ground that differs by less is the same ground, written with other decimals."""


@dataclass(frozen=True, slots=True)
class ZoneChange:
    """One zone of both versions that is not the same in both: what changed, and the km2 that it gained and lost."""

    zone_id: str
    changed: tuple[str, ...]
    gained_km2: float
    lost_km2: float


@dataclass(frozen=True, slots=True)
class GridDiff:
    """The difference of two zone grids; `moved_km2` is the ground that is counted in another zone than before."""

    takes_effect: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[ZoneChange, ...]
    unchanged: int
    moved_km2: float


def diff_grids(before: ZoneGrid, after: ZoneGrid) -> GridDiff:
    """What the later grid changes; it takes effect at its `valid_from`, the turn of a token-day, and never earlier.

    Raises GridError if the later one does not begin after the earlier one, or turns the token-day at another hour.
    """
    if after.turn_hour_utc != before.turn_hour_utc:
        raise GridError(None, GridRule.SAME_TURN)
    if after.valid_from <= before.valid_from and after.grid_id != before.grid_id:
        raise GridError(None, GridRule.LATER)
    old = {zone.zone_id: zone for zone in before.zones}
    new = {zone.zone_id: zone for zone in after.zones}
    plane = plane_around(np.array([zone.geometry for zone in (*before.zones, *after.zones)], dtype=object))
    ground = {
        (version, zone_id): plane.to_metres(zone.geometry)
        for version, zones in (("old", old), ("new", new))
        for zone_id, zone in zones.items()
    }
    changes = []
    for zone_id in sorted(old.keys() & new.keys()):
        here, there = ground["old", zone_id], ground["new", zone_id]
        gained, lost = (float(shapely.difference(*pair).area) for pair in ((there, here), (here, there)))
        changed = _fields_changed(old[zone_id], new[zone_id])
        if max(gained, lost) > SAME_M2:
            changed = (*changed, "geometry")
        if changed:
            changes.append(ZoneChange(zone_id, changed, round(gained / 1e6, 3), round(lost / 1e6, 3)))
    return GridDiff(
        takes_effect=format_utc(after.valid_from),
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(changes),
        unchanged=len(old.keys() & new.keys()) - len(changes),
        moved_km2=round(_moved_m2(ground, old, new) / 1e6, 3),
    )


def _fields_changed(old: Zone, new: Zone) -> tuple[str, ...]:
    return tuple(name for name in ("sector_id", "kind", "name") if getattr(old, name) != getattr(new, name))


def _moved_m2(ground: dict[tuple[str, str], Any], old: dict[str, Zone], new: dict[str, Zone]) -> float:
    """Ground that lies in a zone before and after, but not in the same one."""
    names, shapes = list(new), [ground["new", zone_id] for zone_id in new]
    tree = shapely.STRtree(shapes)
    moved = 0.0
    for zone_id in old:
        here = ground["old", zone_id]
        for ix in tree.query(here, predicate="intersects"):
            if names[ix] != zone_id:
                moved += float(shapely.intersection(here, shapes[ix]).area)
    return moved
