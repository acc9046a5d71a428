"""Spots: the places where simulated people are, on the home side of a border."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from simulator.ground import INLAND_M, Floats, Ground, distances_m

INLAND = -1
PEOPLE_PER_KM2 = 45.0  # notes/telecom.md, section 3
LISTED_SHARE = 0.6  # of GeoNames' population, taken as spread over the place's surroundings
VILLAGES_PER_ZONE = 14
FIELDS_PER_ZONE = 5
FIELD_FROM_LINE_M = (100.0, 1_000.0)

Ints = NDArray[np.int64]


class SpotKind(IntEnum):
    """What people do at a spot."""

    VILLAGE = 0
    FIELD = 1
    OPENING = 2
    GATE = 3
    INLAND = 4
    AIRPORT = 5


@dataclass(frozen=True, slots=True, eq=False)
class Spots:
    """Positions in metres with the zone (index, -1 inland), kind, people who live there and distance to the line."""

    xy: Floats
    zone: Ints
    kind: Ints
    people: Floats
    from_line_m: Floats

    def of(self, kind: SpotKind, zone: int | None = None) -> Ints:
        """Indices of spots of a kind, in a zone if one is given."""
        chosen = self.kind == kind
        return np.flatnonzero(chosen if zone is None else chosen & (self.zone == zone))

    def travel_m(self, start: Ints, end: Ints) -> Floats:
        """Straight distance between pairs of spots."""
        return np.asarray(np.hypot(*(self.xy[start] - self.xy[end]).T))


def lay_out_spots(ground: Ground, rng: np.random.Generator) -> Spots:
    """Villages and fields in every zone, openings in belts, gates at crossing points, places and an airport inland."""
    xy: list[Floats] = []
    zone_of: list[int] = []
    kinds: list[int] = []

    def add(positions: Floats, zone: int, kind: SpotKind) -> None:
        xy.append(positions)
        zone_of.extend([zone] * len(positions))
        kinds.extend([int(kind)] * len(positions))

    for zone in range(len(ground.zones)):
        add(ground.scatter(rng, zone, VILLAGES_PER_ZONE), zone, SpotKind.VILLAGE)
        tries = ground.scatter(rng, zone, 300)
        from_line = ground.from_line_m(tries)
        near = np.flatnonzero((from_line > FIELD_FROM_LINE_M[0]) & (from_line < FIELD_FROM_LINE_M[1]))
        near = near[:FIELDS_PER_ZONE] if len(near) else np.argsort(from_line)[:FIELDS_PER_ZONE]
        add(tries[near], zone, SpotKind.FIELD)
        add(ground.doors[zone], zone, SpotKind.GATE if ground.crossing_point[zone] else SpotKind.OPENING)
    inland = _inland(ground, rng)
    # Where nothing is known of the country behind, the airport is simply the spot farthest from the line.
    far = int(np.argmax(ground.from_line_m(inland)))
    add(inland, INLAND, SpotKind.INLAND)
    add(inland[far : far + 1] + 800.0, INLAND, SpotKind.AIRPORT)

    positions = np.concatenate(xy)
    zones, kind = np.array(zone_of, dtype=np.int64), np.array(kinds, dtype=np.int64)
    return Spots(positions, zones, kind, _people(ground, positions, zones, kind), ground.from_line_m(positions))


def _inland(ground: Ground, rng: np.random.Generator) -> Floats:
    if len(ground.places):
        far = ground.from_line_m(ground.places)
        inland = ground.places[(far >= INLAND_M[0]) & (far <= INLAND_M[1])]
        if len(inland):
            return inland
    xy = np.concatenate([ground.scatter(rng, zone, 1) for zone in range(len(ground.zones))])
    # No places known: the deepest ground of the zones stands in for inland.
    return np.asarray(xy[np.argsort(-ground.from_line_m(xy))[: max(3, len(xy) // 4)]])


def _people(ground: Ground, xy: Floats, zone: Ints, kind: Ints) -> Floats:
    people = np.zeros(len(xy))
    for at, shape in enumerate(ground.zones):
        villages = np.flatnonzero((zone == at) & (kind == SpotKind.VILLAGE))
        people[villages] = PEOPLE_PER_KM2 * shape.area / 1e6 / len(villages)
    homes = np.flatnonzero((kind == SpotKind.VILLAGE) | (kind == SpotKind.INLAND))
    if len(ground.places):
        nearest = homes[np.argmin(distances_m(ground.places, xy[homes]), axis=1)]
        np.add.at(people, nearest, LISTED_SHARE * ground.population)
    people[kind == SpotKind.INLAND] = np.maximum(people[kind == SpotKind.INLAND], 1_000.0)
    return people
