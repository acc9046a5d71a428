"""The movement rules once more, token by token with lists and loops, each of which may be switched off.

What `advance` is held against in the bench, and what runs where somebody keeps state a token.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from movement.sighting import Side

HOUR_MS = 3_600_000
LATE_MS = 90_000
ARRIVAL, DEPARTURE = 0, 1

Row = tuple[int, int, int]
"""A sighting: event_time in ms since 1970 UTC, cell, side."""


class Cancelling(Enum):
    """Which opposite movements within 60 min cancel."""

    NONE = "none"
    ALL = "all"
    OVERLAPPING = "overlapping"


@dataclass(frozen=True, slots=True)
class Rules:
    """The movement rules, each of which may be switched off; as made, all of them hold."""

    late_registrations: bool = True
    previous_plmn: bool = True
    cancelling: Cancelling = Cancelling.OVERLAPPING
    six_hours: bool = True
    footprint_zones: bool = True
    crossing_points: bool = True
    once_a_zone_hour: bool = True
    k: int | None = 2


@dataclass(frozen=True, slots=True)
class PlainGround:
    """Per cell the zone by footprint, the zone nearest to its mast and its mast; the crossing points; what overlaps."""

    footprint_zone: Sequence[int]
    mast_zone: Sequence[int]
    crossing_points: frozenset[int]
    overlapping: frozenset[tuple[int, int]]
    masts_m: Sequence[tuple[float, float]] = ()

    def overlap(self, a: int, b: int) -> bool:
        """Whether two cells count as one place."""
        return a == b or (a, b) in self.overlapping or (b, a) in self.overlapping


@dataclass(slots=True)
class Movement:
    """A change of side: when, which way, the home-side cell, the home sightings of its stay, the silence before."""

    at: int
    direction: int
    cell: int
    stay: list[tuple[int, int]] = field(repr=False)
    silence: int = 0
    cancelled: bool = False


_ORDER = {Side.ABROAD: 1, Side.ENDED: 2}


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Distinct rows by time, at one instant HOME before ABROAD before ENDED, then by cell."""
    return sorted(set(rows), key=lambda row: (row[0], _ORDER.get(Side(row[2]), 0), row[1], row[2]))


def put_right(rows: Iterable[Row]) -> list[Row]:
    """The rows in order, but each registration abroad before the return that it was written up to 90 s after.

    That is the earliest return of the 90 s that came while nobody knew the token to be abroad, if no registration has come
    since; if the hour turned between the two, the registration is left out.
    """
    lived: list[Row] = []
    owed: list[tuple[int, int]] = []
    abroad = False
    for at, cell, side in rows:
        owed = [one for one in owed if at - one[0] <= LATE_MS]
        if side == Side.ABROAD and owed:
            back_at, place = owed[0]
            if back_at // HOUR_MS == at // HOUR_MS:
                lived.insert(place, (back_at, cell, side))
            owed = []
            continue
        if side == Side.HOME_FROM_ABROAD and not abroad:
            owed.append((at, len(lived)))
        elif side != Side.HOME:
            owed = []
        abroad = side == Side.ABROAD
        lived.append((at, cell, side))
    return lived


def movements_of(rows: Sequence[Row], ground: PlainGround, rules: Rules) -> list[Movement]:
    """Every change of side of one token-day; `rows` are in order."""
    found: list[Movement] = []
    rows = put_right(rows) if rules.late_registrations else rows
    stay: list[tuple[int, int]] | None = None
    abroad = False
    named_at: int | None = None
    for at, cell, side in rows:
        if side == Side.ENDED:
            stay, abroad, named_at = None, False, None
            continue
        if side == Side.ABROAD:
            if stay:
                found.append(Movement(at, DEPARTURE, stay[-1][1], stay, at - stay[-1][0]))
            stay, abroad = None, True
            continue
        arrives = abroad and side != Side.HOME_FROM_ELSEWHERE
        if side == Side.HOME_FROM_ELSEWHERE:
            stay, named_at = None, None
        if side == Side.HOME_FROM_ABROAD and rules.previous_plmn:
            repeat = named_at is not None and at - named_at <= HOUR_MS
            named_at = at
            flip = stay is not None and at - stay[-1][0] <= HOUR_MS and ground.overlap(stay[-1][1], cell)
            if not (abroad or repeat or flip):
                arrives, stay = True, None
        stay = stay or []
        stay.append((at, cell))
        abroad = False
        if arrives:
            found.append(Movement(at, ARRIVAL, cell, stay))
    return found


def cancel(movements: Sequence[Movement], ground: PlainGround, cancelling: Cancelling) -> list[Movement]:
    """What is left when opposite movements within 60 min cancel like brackets, left to right."""
    if cancelling is Cancelling.NONE:
        return list(movements)
    everywhere = cancelling is Cancelling.ALL
    left: list[Movement] = []
    for movement in movements:
        if left:
            top = left[-1]
            opposite = top.direction != movement.direction and movement.at - top.at <= HOUR_MS
            if opposite and (everywhere or ground.overlap(top.cell, movement.cell)):
                left.pop()
                continue
        left.append(movement)
    return left


def zone_booked(movement: Movement, ground: PlainGround, rules: Rules) -> int:
    """The zone that a movement is booked to, or INLAND."""
    zone_of = ground.footprint_zone if rules.footprint_zones else ground.mast_zone
    if rules.crossing_points and zone_of[movement.cell] >= 0:
        leaves = movement.direction == DEPARTURE
        for at, cell in reversed(movement.stay) if leaves else movement.stay:
            if abs(at - movement.at) > HOUR_MS:
                break
            if zone_of[cell] in ground.crossing_points:
                return zone_of[cell]
    return zone_of[movement.cell]


def booked(rows: Sequence[Row], ground: PlainGround, rules: Rules) -> list[tuple[int, int, int]]:
    """(hour start in ms, zone, direction) of everything that one token-day adds."""
    found: list[tuple[int, int, int]] = []
    spent = [0, 0]
    for movement in cancel(movements_of(rows, ground, rules), ground, rules.cancelling):
        if rules.six_hours and movement.silence > 6 * HOUR_MS:
            continue
        where = (movement.at // HOUR_MS * HOUR_MS, zone_booked(movement, ground, rules), movement.direction)
        if where[1] < 0 or (rules.once_a_zone_hour and where in found):
            continue
        if rules.k is not None and spent[movement.direction] >= rules.k:
            continue
        spent[movement.direction] += 1
        found.append(where)
    return found
