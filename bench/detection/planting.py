"""The surges that test a detector: another generator than those that train one (detector/, simulator/surges.py).

Sizes, lengths, shapes and zones are a plan fixed before any seed; the seed decides where, when and how the crowd falls
into the hours. Training plants even streams, flat bursts and straight ramps; here a burst decays, a crowd may peak twice,
swell slowly over half a day or spread unevenly over three zones, and its hours are drawn, not rounded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from detector.backtest import TRUTH_SCHEMA
from detector.combine import Schema

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

HOUR_SPAN: Final = timedelta(hours=1)
APART_HOURS: Final = 48  # between surges in the same or touching zones
ZONE_SPLITS: Final = {1: (1.0,), 2: (0.7, 0.3), 3: (0.5, 0.3, 0.2)}
PLANTED_SCHEMA: Final[Schema] = {**TRUTH_SCHEMA, "shape": pl.String, "peak": pl.Int64, "peak_zone": pl.String}
_TRIES: Final = 4000


@dataclass(frozen=True, slots=True)
class Crowd:
    """What is fixed before the seed: movements over all carriers, hours, shape, zones."""

    size: int
    hours: int
    shape: str
    zones: int = 1


SIZES: Final = (30, 50, 80, 120, 200, 300, 500, 800)
_WAYS: Final = (
    (1, "burst", 1),
    (2, "burst", 1),
    (3, "ramp", 1),
    (4, "double_peak", 1),
    (6, "plateau", 1),
    (12, "slow", 1),
    (2, "ramp", 2),
    (5, "burst", 3),
    (8, "double_peak", 2),
)
PLAN: Final = tuple(Crowd(size, hours, shape, zones) for size in SIZES for hours, shape, zones in _WAYS)
LADDER_SIZES: Final = (60, 70, 80, 90, 100, 120, 150, 200, 300, 400)
LADDER_EVERY_HOURS: Final = 73  # co-prime to the day and the week: every hour of both comes up


@dataclass(frozen=True, slots=True, eq=False)
class Planted:
    """One surge with its movements, shape (zone of zone_ids, hour); they add up to its size."""

    surge_id: str
    zone_ids: tuple[str, ...]
    direction: str
    first_hour: int  # after the first hour in which surges may begin
    movements: Ints
    shape: str


def weights(shape: str, hours: int) -> Floats:
    """How a crowd spreads over its hours; adds up to 1.

    >>> weights("plateau", 3).round(2).tolist()
    [0.25, 0.5, 0.25]
    """
    at = np.arange(hours) + 0.5
    curves = {
        "burst": np.exp(-1.2 * at),
        "ramp": at,
        "double_peak": np.exp(-(((at - 0.2 * hours) / (0.12 * hours)) ** 2))
        + 0.7 * np.exp(-(((at - 0.8 * hours) / (0.12 * hours)) ** 2)),
        "plateau": np.where((at < 1) | (at > hours - 1), 0.5, 1.0),
        "slow": np.sin(np.pi * at / hours),
    }
    return np.asarray(curves[shape] / curves[shape].sum())


def plant_plan(
    plan: Sequence[Crowd],
    zone_ids: Sequence[str],
    directions: Sequence[str],
    neighbours: Mapping[str, Sequence[str]],
    hours: int,
    *,
    seed: int,
    name: str,
) -> list[Planted]:
    """The crowds of a plan put somewhere into `hours` hours of these zones, each apart from the others.

    Raises ValueError where they do not fit.
    """
    random = np.random.default_rng([seed, *name.encode()])
    placed: list[Planted] = []
    for number, crowd in enumerate(plan):
        for _ in range(_TRIES):
            zones = _path(zone_ids, neighbours, crowd.zones, random)
            first = int(random.integers(0, max(hours - crowd.hours, 1)))
            if zones and not any(_close(zones, first, crowd.hours, other, neighbours) for other in placed):
                break
        else:
            raise ValueError("the span is too short and the zones are too few to keep the surges of the plan apart")
        share = np.outer(ZONE_SPLITS[len(zones)], weights(crowd.shape, crowd.hours))
        movements = random.multinomial(crowd.size, share.ravel()).reshape(share.shape)
        direction = directions[int(random.integers(len(directions)))]
        placed.append(Planted(f"{name}-{number:03d}", zones, direction, first, movements, crowd.shape))
    return placed


def plant_ladder(
    zone_ids: Sequence[str], directions: Sequence[str], hours: int, *, seed: int, name: str
) -> list[Planted]:
    """One-hour bursts of LADDER_SIZES in every zone, one every LADDER_EVERY_HOURS: how small may a surge be seen?"""
    random = np.random.default_rng([seed, *name.encode()])
    placed = []
    for zone in zone_ids:
        begins = np.arange(int(random.integers(LADDER_EVERY_HOURS)), hours - 1, LADDER_EVERY_HOURS)
        sizes = random.permutation(np.resize(np.array(LADDER_SIZES), begins.size))
        for first, size in zip(begins, sizes, strict=True):
            direction = directions[int(random.integers(len(directions)))]
            movements = np.array([[size]], dtype=np.int64)
            placed.append(Planted(f"{name}-{zone}-{first}", (zone,), direction, int(first), movements, "burst"))
    return placed


def planted_truth(surges: Sequence[Planted], start: datetime) -> pl.DataFrame:
    """The surges as PLANTED_SCHEMA: `peak` is the most that one zone gets in one hour, `peak_zone` that zone."""
    rows = [
        (
            surge.surge_id,
            list(surge.zone_ids),
            surge.direction,
            start + surge.first_hour * HOUR_SPAN,
            surge.movements.shape[1],
            int(surge.movements.sum()),
            surge.shape,
            int(surge.movements.max()),
            surge.zone_ids[int(surge.movements.max(axis=1).argmax())],
        )
        for surge in surges
    ]
    return pl.DataFrame(rows, schema=PLANTED_SCHEMA, orient="row")


def _path(
    zone_ids: Sequence[str], neighbours: Mapping[str, Sequence[str]], length: int, random: np.random.Generator
) -> tuple[str, ...]:
    """Zones each of which touches the one before; empty where the walk got stuck."""
    path = [zone_ids[int(random.integers(len(zone_ids)))]]
    while len(path) < length:
        onward = [zone for zone in neighbours.get(path[-1], ()) if zone in zone_ids and zone not in path]
        if not onward:
            return ()
        path.append(onward[int(random.integers(len(onward)))])
    return tuple(path)


def _close(
    zones: Sequence[str], first: int, hours: int, other: Planted, neighbours: Mapping[str, Sequence[str]]
) -> bool:
    around = set(zones).union(*(neighbours.get(zone, ()) for zone in zones))
    if around.isdisjoint(other.zone_ids):
        return False
    last, other_last = first + hours, other.first_hour + other.movements.shape[1]
    return first < other_last + APART_HOURS and other.first_hour < last + APART_HOURS
