"""Planted surges: the only positives of a simulation, with their truth.

Sizes, lengths and shapes are a fixed plan; the seed decides only where and when. So nobody can pick a seed that makes
the surges easy, and two seeds are compared on the same set of sizes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import polars as pl

from geofence.grid import ZoneGrid, ZoneKind
from ingest.release import HOUR, Direction
from simulator.rates import DIRECTIONS, Ints, SimulationRefused, whole_hour

Shape = Literal["burst", "ramp"]
BETWEEN_SURGES = timedelta(hours=48)  # in one zone, so that one surge never hides another
FIRST_ZONE_SHARE = 0.6
TRIES = 10_000


@dataclass(frozen=True, slots=True)
class SurgeSize:
    """What is fixed before the seed is drawn: countable movements over all carriers, hours, shape, zones."""

    size: int
    hours: int
    shape: Shape
    zones: Literal[1, 2] = 1


# Sizes of notes/telecom.md, section 10, that the floors of design.md, section 6, do not hide by intent.
SURGE_PLAN: tuple[SurgeSize, ...] = (
    SurgeSize(100, 1, "burst"),
    SurgeSize(100, 2, "ramp"),
    SurgeSize(150, 1, "burst"),
    SurgeSize(150, 2, "burst"),
    SurgeSize(200, 1, "burst"),
    SurgeSize(200, 2, "ramp"),
    SurgeSize(200, 3, "burst", 2),
    SurgeSize(300, 2, "burst"),
    SurgeSize(300, 3, "ramp"),
    SurgeSize(300, 2, "burst", 2),
    SurgeSize(500, 2, "burst"),
    SurgeSize(500, 4, "ramp", 2),
)


@dataclass(frozen=True, slots=True)
class Surge:
    """A planted crowd: `size` movements over `hours` hours from `window_start`, in one or two neighbouring zones."""

    surge_id: str
    zone_ids: tuple[str, ...]
    direction: Direction
    window_start: datetime
    hours: int
    size: int
    shape: Shape

    @property
    def window_end(self) -> datetime:
        """End of its last hour."""
        return self.window_start + self.hours * HOUR

    def by_zone_hour(self) -> Ints:
        """Movements by (zone of zone_ids, hour); they add up to size.

        >>> from datetime import UTC
        >>> at = datetime(2026, 3, 1, tzinfo=UTC)
        >>> Surge("s", ("a", "b"), Direction.ARRIVAL, at, 2, 100, "ramp").by_zone_hour().tolist()
        [[20, 40], [13, 27]]
        """
        over_hours = np.ones(self.hours) if self.shape == "burst" else np.arange(1, self.hours + 1)
        over_zones = np.array([1.0]) if len(self.zone_ids) == 1 else np.array([FIRST_ZONE_SHARE, 1 - FIRST_ZONE_SHARE])
        weight = np.outer(over_zones, over_hours / over_hours.sum()).ravel()
        # Rounding the running total keeps the sum exact.
        whole = np.diff(np.rint(np.cumsum(weight) * self.size), prepend=0.0)
        return np.asarray(whole, dtype=np.int64).reshape(len(over_zones), self.hours)


def place_surges(
    grid: ZoneGrid,
    neighbours: Mapping[str, Sequence[str]],
    *,
    start: datetime,
    end: datetime,
    seed: int,
    plan: Sequence[SurgeSize] = SURGE_PLAN,
) -> tuple[Surge, ...]:
    """One surge for every size of the plan, within [start, end), in belt zones that touch no crossing-point zone.

    Raises SimulationRefused if the span or the border is too small to keep them apart.
    """
    rng = np.random.default_rng([seed, 10])
    kind = {zone.zone_id: zone.kind for zone in grid.zones}
    belt = [z for z in kind if kind[z] is ZoneKind.BELT]
    away = [z for z in belt if all(kind[other] is ZoneKind.BELT for other in neighbours.get(z, ()))]
    # A short border may have a crossing point beside every zone.
    eligible = away or belt
    total_hours = int((whole_hour(end) - whole_hour(start)) / HOUR)
    placed: list[Surge] = []
    for number, wanted in enumerate(plan, start=1):
        for _ in range(TRIES):
            zone = eligible[rng.integers(len(eligible))]
            pairs = [other for other in neighbours.get(zone, ()) if other in eligible]
            last = total_hours - wanted.hours
            if last < 0 or (wanted.zones == 2 and not pairs):
                continue
            zone_ids = (zone,) if wanted.zones == 1 else (zone, pairs[rng.integers(len(pairs))])
            surge = Surge(
                surge_id=f"surge-{number:02d}",
                zone_ids=zone_ids,
                direction=DIRECTIONS[rng.integers(2)],
                window_start=whole_hour(start) + int(rng.integers(0, last + 1)) * HOUR,
                hours=wanted.hours,
                size=wanted.size,
                shape=wanted.shape,
            )
            if not any(_too_close(surge, other, neighbours) for other in placed):
                placed.append(surge)
                break
        else:
            raise SimulationRefused("the span and the border are too small to keep the planned surges apart")
    return tuple(sorted(placed, key=lambda surge: (surge.window_start, surge.surge_id)))


def surge_truth(surges: Sequence[Surge]) -> pl.DataFrame:
    """Columns surge_id, zone_ids, direction, window_start, hours, size, shape."""
    rows = [
        {
            "surge_id": surge.surge_id,
            "zone_ids": list(surge.zone_ids),
            "direction": str(surge.direction),
            "window_start": surge.window_start,
            "hours": surge.hours,
            "size": surge.size,
            "shape": surge.shape,
        }
        for surge in surges
    ]
    return pl.DataFrame(
        rows,
        schema={
            "surge_id": pl.String,
            "zone_ids": pl.List(pl.String),
            "direction": pl.String,
            "window_start": pl.Datetime("us", "UTC"),
            "hours": pl.Int64,
            "size": pl.Int64,
            "shape": pl.String,
        },
    )


def surge_movements(surges: Sequence[Surge], zone_ids: Sequence[str], start: datetime, hours: int) -> list[Ints]:
    """For each surge its movements within the window, shape (hour, zone, direction)."""
    index = {zone_id: ix for ix, zone_id in enumerate(zone_ids)}
    planted = []
    for surge in surges:
        block = np.zeros((hours, len(zone_ids), 2), dtype=np.int64)
        first = int((surge.window_start - whole_hour(start)) / HOUR)
        for zone_id, by_hour in zip(surge.zone_ids, surge.by_zone_hour(), strict=True):
            if zone_id not in index:
                raise SimulationRefused("a surge names a zone that the grid does not have")
            for hour, movements in enumerate(by_hour, start=first):
                if 0 <= hour < hours:
                    block[hour, index[zone_id], DIRECTIONS.index(surge.direction)] += movements
        planted.append(block)
    return planted


def share_of_surge(whole: Ints, surge_id: str, shares: Mapping[str, float], seed: int) -> Ints:
    """How many of a surge each carrier sees, shape (carrier, ...): every phone has one carrier, by market share."""
    seen = []
    for carrier, share in shares.items():
        rng = np.random.default_rng([seed, 11, *surge_id.encode(), 0, *carrier.encode()])
        # Exact share with a random last phone, so that a surge's size at a carrier is not left to luck.
        exact = whole * share
        seen.append(np.floor(exact) + (rng.random(whole.shape) < exact % 1))
    return np.stack(seen).astype(np.int64)


def _too_close(surge: Surge, other: Surge, neighbours: Mapping[str, Sequence[str]]) -> bool:
    around = {zone for zone_id in surge.zone_ids for zone in (zone_id, *neighbours.get(zone_id, ()))}
    if around.isdisjoint(other.zone_ids):
        return False
    return surge.window_start < other.window_end + BETWEEN_SURGES and (
        other.window_start < surge.window_end + BETWEEN_SURGES
    )
