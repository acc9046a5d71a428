"""The movement rules once more, told token by token over a whole token-day: what `advance` must equal on any input.

Written from design.md, section 5, with lists and loops and no idea of hours, tables or carry-overs.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

MINUTE = 60_000
HOUR = 60 * MINUTE
LATE = 90_000
HOME, HOME_FROM_ABROAD, HOME_FROM_ELSEWHERE, ABROAD, ENDED = range(5)
ARRIVAL, DEPARTURE = 0, 1


def side_said(event_type: str, domain: str, serving: str, previous: str, place: str) -> int | None:
    """What a row says about the side of its token, by the words of design.md, section 5; None if it says nothing."""
    if event_type == "roaming_registration":
        if domain == "inbound":
            return None
        return {"own": None, "across": ABROAD, "compatriot": ENDED, "elsewhere": ENDED}[serving]
    if event_type == "roaming_cancel":
        return ENDED if domain == "inbound" else None
    if event_type == "implicit_detach" or place not in ("belt", "inland"):
        return None
    if previous == "across":
        return HOME_FROM_ABROAD
    if previous == "elsewhere":
        return HOME_FROM_ELSEWHERE
    return HOME if place == "belt" or event_type in ("attach", "detach") else None


@dataclass
class OracleGround:
    zone_of_cell: list[int]
    crossing_points: set[int]
    overlapping: set[tuple[int, int]]

    def overlap(self, a: int, b: int) -> bool:
        return a == b or (a, b) in self.overlapping or (b, a) in self.overlapping


@dataclass
class Move:
    at: int
    direction: int
    cell: int
    stay: "Stay"
    silence: int = 0
    cancelled: bool = False


@dataclass
class Stay:
    sightings: list[tuple[int, int]] = field(default_factory=list)  # (at, cell)


def order(row: tuple[int, int, int]) -> tuple[int, int, int, int]:
    at, cell, side = row
    return at, {HOME: 0, HOME_FROM_ABROAD: 0, HOME_FROM_ELSEWHERE: 0, ABROAD: 1, ENDED: 2}[side], cell, side


def as_lived(rows: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """The rows in order, and every registration abroad that was written up to 90 s after its return put before it."""
    lived: list[tuple[int, int, int]] = []
    unregistered: list[
        tuple[int, int]
    ] = []  # the returns of the last 90 s that no registration preceded, and their places
    abroad = False
    for at, cell, side in sorted(set(rows), key=order):
        unregistered = [(back_at, place) for back_at, place in unregistered if at - back_at <= LATE]
        if side == ABROAD and unregistered:
            back_at, place = unregistered[0]
            if back_at // HOUR == at // HOUR:
                lived.insert(place, (back_at, cell, side))
            unregistered = []
            continue
        if side == HOME_FROM_ABROAD and not abroad:
            unregistered.append((at, len(lived)))
        elif side != HOME:
            unregistered = []
        abroad = side == ABROAD
        lived.append((at, cell, side))
    return lived


def moves_of_token(rows: Collection[tuple[int, int, int]], ground: OracleGround) -> list[Move]:
    moves: list[Move] = []
    stay: Stay | None = None
    abroad = False
    named_at: int | None = None
    for at, cell, side in as_lived(rows):
        if side == ENDED:
            stay, abroad, named_at = None, False, None
        elif side == ABROAD:
            if stay is not None:
                last_at, last_cell = stay.sightings[-1]
                moves.append(Move(at, DEPARTURE, last_cell, stay, silence=at - last_at))
            stay, abroad = None, True
        else:
            arrives = abroad and side != HOME_FROM_ELSEWHERE
            if side == HOME_FROM_ELSEWHERE:
                stay, named_at = None, None
            if side == HOME_FROM_ABROAD:
                repeat = named_at is not None and at - named_at <= HOUR
                named_at = at
                if not abroad and not repeat:
                    flip = (
                        stay is not None
                        and at - stay.sightings[-1][0] <= HOUR
                        and ground.overlap(stay.sightings[-1][1], cell)
                    )
                    if not flip:
                        arrives, stay = True, None
            if stay is None:
                stay = Stay()
            stay.sightings.append((at, cell))
            abroad = False
            if arrives:
                moves.append(Move(at, ARRIVAL, cell, stay))
    return moves


def booked_zone(move: Move, ground: OracleGround) -> int:
    if ground.zone_of_cell[move.cell] < 0:
        return -1

    def crossing_point(cell: int) -> bool:
        return ground.zone_of_cell[cell] in ground.crossing_points

    if move.direction == DEPARTURE:
        near = [cell for at, cell in move.stay.sightings if crossing_point(cell) and 0 <= move.at - at <= HOUR]
        return ground.zone_of_cell[near[-1] if near else move.cell]
    # The arrival's own sighting opens the stay.
    near = [cell for at, cell in move.stay.sightings if crossing_point(cell) and 0 <= at - move.at <= HOUR]
    return ground.zone_of_cell[near[0] if near else move.cell]


def counts_of_day(
    tokens: dict[bytes, list[tuple[int, int, int]]], ground: OracleGround, k: int
) -> Counter[tuple[int, int, int]]:
    """(hour start, zone, direction) -> counted movements."""
    total: Counter[tuple[int, int, int]] = Counter()
    for rows in tokens.values():
        total.update(counted_cells(rows, ground, k))
    return total


def counted_cells(rows: Iterable[tuple[int, int, int]], ground: OracleGround, k: int) -> list[tuple[int, int, int]]:
    """The zone-hour cells that one token-day adds 1 to."""
    brackets: list[Move] = []
    moves = moves_of_token(list(rows), ground)
    for move in moves:
        if brackets:
            top = brackets[-1]
            if top.direction != move.direction and move.at - top.at <= HOUR and ground.overlap(top.cell, move.cell):
                top.cancelled = move.cancelled = True
                brackets.pop()
                continue
        brackets.append(move)
    counted: list[tuple[int, int, int]] = []
    spent = Counter[int]()
    for move in moves:
        if move.cancelled or move.silence > 6 * HOUR:
            continue
        zone = booked_zone(move, ground)
        cell = (move.at // HOUR * HOUR, zone, move.direction)
        if zone < 0 or cell in counted or spent[move.direction] >= k:
            continue
        spent[move.direction] += 1
        counted.append(cell)
    return counted
