"""Why radio and position tell the same walks differently: the fewest named causes under which one becomes the other.

network_a has the truth by position as sums a zone-hour, and radio walk by walk. Which walk was told differently cannot be
read off; but a walk can be told differently in a few ways only, each with a physical limit (`CAUSES`). An integer programme
picks the cheapest telling of each walk under which the sums of radio become the sums of the truth. What no telling within the
limits brings about is left over, and is counted. So a cause found here is a sufficient one, not one that was witnessed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix

from bench.plain_rules import ARRIVAL, DEPARTURE, HOUR_MS

MINUTE_MS = 60_000
REACH_MS = 20 * MINUTE_MS
"""How long a walker may be served from the wrong side: 1.7 km at 5 km/h, the middle range of the sample's cells."""
STEPS_MS = tuple(minutes * MINUTE_MS for minutes in (-20, -15, -10, -5, -3, -2, -1, 0, 1, 2, 3, 5, 10, 15, 20))
AS_RADIO = "as radio"
HOUR = "served across the line: another hour"
PAIRS = "served across the line: other pairs within 60 min"
ZONE = "the zone of the mast, not of the crossing"
BEGINS = "begins on the other side"
ENDS = "ends on the other side"
CAUSES = {AS_RADIO: 0.0, HOUR: 1.0, PAIRS: 1.5, ZONE: 1.0, BEGINS: 3.0, ENDS: 3.0}
"""What may be different about a walk, and what it costs to suppose so, a walk."""
LIMIT_OF_CAUSE = {
    HOUR: "departures at most 20 min sooner or later than radio says, arrivals likewise",
    PAIRS: "the same; which movements are left after cancelling changes",
    ZONE: "one zone on",
    BEGINS: "one more change of side in the first 20 min, in a zone in which radio saw the walk",
    ENDS: "one more change of side in the last 20 min, in a zone in which radio saw the walk",
}

Change = tuple[int, int, int]
"""A change of side: ms since 1970 UTC, direction, zone."""
Sums = Counter[tuple[int, int, int]]
"""(hour start in ms, zone, direction) -> movements."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One token-day of a walk: every change of side that radio saw, when it begins and ends, where it is then.

    `first_zone`, `last_zone`: the zone of the first and the last home sighting; None if the walk begins or ends abroad.
    """

    changes: tuple[Change, ...]
    begins_at: int
    ends_at: int
    first_zone: int | None
    last_zone: int | None


Walk = Sequence[Copy]


@dataclass(frozen=True, slots=True)
class Telling:
    """One way in which a walk may have gone: what its copies then add to the sums, under which cause, at what cost."""

    cause: str
    cost: float
    sums: Mapping[tuple[int, int, int], int]


@dataclass(frozen=True, slots=True)
class Explained:
    """What every cause adds to or takes from the sums of radio, how many walks it is about, and what is left over."""

    parts: dict[str, Sums]
    walks: Counter[str]
    left_over: Sums

    @property
    def left(self) -> int:
        """How many movements are left over, added up without signs."""
        return sum(map(abs, self.left_over.values()))


def settled(changes: Sequence[Change]) -> list[Change]:
    """What is left when opposite changes within 60 min cancel, like brackets, left to right."""
    left: list[Change] = []
    for change in changes:
        if left and left[-1][1] != change[1] and change[0] - left[-1][0] <= HOUR_MS:
            left.pop()
        else:
            left.append(change)
    return left


def shifted(changes: Sequence[Change], sooner_ms: int, later_ms: int) -> list[Change]:
    """The changes with every departure sooner and every arrival later; two that meet are none."""
    moved: list[Change] = []
    for at, direction, zone in changes:
        at += later_ms if direction == ARRIVAL else -sooner_ms
        if moved and moved[-1][0] >= at:
            moved.pop()
        else:
            moved.append((at, direction, zone))
    return moved


def walks_of(copies: Iterable[tuple[object, Copy]]) -> list[Walk]:
    """The copies of the same walk together; `copies` come with what is the same in all copies of a walk."""
    together: dict[object, list[Copy]] = defaultdict(list)
    for key, copy in copies:
        together[key].append(copy)
    return [tuple(walk) for walk in together.values()]


def tellings(walk: Walk, beside: Mapping[int, Sequence[int]]) -> list[Telling]:
    """Every way in which a walk may have gone, the cheapest for each outcome; `beside`: the zones that touch a zone."""
    cheapest: dict[frozenset[tuple[tuple[int, int, int], int]], Telling] = {}
    plain = [settled(copy.changes) for copy in walk]
    for cause, extra, ways in _ways(walk, plain):
        sums = Sums((at // HOUR_MS * HOUR_MS, zone, direction) for left in ways for at, direction, zone in left)
        key = frozenset(sums.items())
        cost = CAUSES[cause] + extra
        if key not in cheapest or cheapest[key].cost > cost:
            cheapest[key] = Telling(cause, cost, sums)
    for telling in list(cheapest.values()):
        for zone, other in {(cell[1], other) for cell in telling.sums for other in beside.get(cell[1], ())}:
            for direction in (ARRIVAL, DEPARTURE):
                sums = Sums()
                for (hour, at_zone, way), n in telling.sums.items():
                    sums[hour, other if (at_zone, way) == (zone, direction) else at_zone, way] += n
                key = frozenset(sums.items())
                cost = telling.cost + CAUSES[ZONE]
                if key not in cheapest or cheapest[key].cost > cost:
                    cheapest[key] = Telling(ZONE if telling.cause == AS_RADIO else telling.cause, cost, sums)
    return list(cheapest.values())


def _ways(walk: Walk, plain: Sequence[Sequence[Change]]) -> Iterator[tuple[str, float, list[list[Change]]]]:
    """Cause, cost beside the cause's own, and what is left of each copy."""
    yield AS_RADIO, 0.0, [list(left) for left in plain]
    for sooner, later in product(STEPS_MS, STEPS_MS):
        if sooner or later:
            ways = [settled(shifted(copy.changes, sooner, later)) for copy in walk]
            same = all(
                [one[1:] for one in left] == [one[1:] for one in was] for left, was in zip(ways, plain, strict=True)
            )
            yield HOUR if same else PAIRS, (abs(sooner) + abs(later)) / REACH_MS / 2, ways
    zones = {zone for copy in walk for zone in (copy.first_zone, copy.last_zone, *(one[2] for one in copy.changes))}
    for zone, after in product(zones - {None}, STEPS_MS):
        if zone is None or after < 0:
            continue
        begins, ends = [], []
        for copy in walk:
            first = DEPARTURE if copy.first_zone is None else ARRIVAL
            last = ARRIVAL if copy.last_zone is None else DEPARTURE
            begins.append(settled(sorted([(copy.begins_at + after, first, zone), *copy.changes])))
            ends.append(settled(sorted([*copy.changes, (copy.ends_at - after, last, zone)])))
        yield BEGINS, after / REACH_MS / 2, begins
        yield ENDS, after / REACH_MS / 2, ends


def explain_sums(told: Sequence[Sequence[Telling]], truth: Mapping[tuple[int, int, int], int]) -> Explained:
    """The cheapest tellings, one a walk, under which the walks add up to the truth, and what is left over of it.

    `told`: of each walk its tellings, radio's own first. Raises RuntimeError if the programme gives no answer in 5 min.
    """
    cells = sorted({*truth, *(cell for ways in told for telling in ways for cell in telling.sums)})
    row_of = {cell: row for row, cell in enumerate(cells)}
    flat = [(number, telling) for number, ways in enumerate(told) for telling in ways]
    entries = [
        (row_of[cell], column, n) for column, (_, telling) in enumerate(flat) for cell, n in telling.sums.items()
    ]
    entries += [(len(cells) + number, column, 1) for column, (number, _) in enumerate(flat)]
    width = len(flat)
    for row in range(len(cells)):
        entries += [(row, width + row, 1), (row, width + len(cells) + row, -1)]
    rows, columns, values = zip(*entries, strict=True)
    shape = (len(cells) + len(told), width + 2 * len(cells))
    matrix = coo_matrix((values, (rows, columns)), shape=shape)
    wanted = np.array([truth.get(cell, 0) for cell in cells] + [1] * len(told), float)
    cost = np.array([telling.cost for _, telling in flat] + [1.0] * (2 * len(cells)))
    whole = np.array([1] * width + [0] * (2 * len(cells)))
    upper = np.array([1.0] * width + [np.inf] * (2 * len(cells)))
    found = milp(
        cost,
        constraints=LinearConstraint(matrix, wanted, wanted),
        integrality=whole,
        bounds=Bounds(0, upper),
        options={"time_limit": 300, "mip_rel_gap": 0.01},
    )
    if found.x is None:
        raise RuntimeError(f"no telling found: {found.message}")
    parts: dict[str, Sums] = {cause: Sums() for cause in CAUSES}
    counted: Counter[str] = Counter()
    left_over = Sums(dict(truth))
    for (number, telling), taken in zip(flat, found.x[:width], strict=True):
        if taken > 0.5:
            as_radio = told[number][0].sums
            counted[telling.cause] += 1
            for cell in {*telling.sums, *as_radio}:
                parts[telling.cause][cell] += as_radio.get(cell, 0) - telling.sums.get(cell, 0)
            left_over.subtract(telling.sums)
    return Explained(parts, counted, Sums({cell: -n for cell, n in left_over.items() if n}))
