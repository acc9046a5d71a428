"""From sightings to counted movements: one hour of one token-day, as a pure function on tables.

`advance` takes what is remembered of every token (the carry-over) and the sightings of hour P; it settles the hour before
and gives its counts and the next carry-over. The rules and their order are design.md, section 5; `docs/movement.md` says
what each of them over- or under-counts. Nothing here depends on other tokens, on the order of rows or on the clock.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest.release import Direction
from movement.ground import INLAND, Ground
from movement.sighting import Side

HOUR_MS = 3_600_000
FLIP_MS = HOUR_MS
"""Two opposite movements this close, on overlapping footprints, are radio and no movement; also the crossing-point reach."""
LATE_MS = 90_000
"""A registration abroad written this soon after the return that names it stands just before that return."""
SILENCE_MS = 6 * HOUR_MS
"""A departure after a longer silence at home is not counted: nobody knows where the token was."""

SIGHTING_SCHEMA = pl.Schema({"token": pl.Binary(), "event_time": pl.Int64(), "cell": pl.Int32(), "side": pl.Int8()})
"""token: 16 bytes; event_time: ms since 1970 UTC; cell: row of the located plan or -1; side: movement.sighting.Side."""

_PENDING = pl.Struct(
    {
        "at": pl.Int64(),
        "direction": pl.Int8(),
        "cell": pl.Int32(),
        "zone": pl.Int32(),
        "crossing_point": pl.Int32(),
        "silent": pl.Boolean(),
        "looking": pl.Boolean(),
    }
)
CARRY_OVER_SCHEMA = pl.Schema(
    {
        "token": pl.Binary(),
        "state": pl.Int8(),
        "cell": pl.Int32(),
        "home_at": pl.Int64(),
        "crossing_point": pl.Int32(),
        "crossing_point_at": pl.Int64(),
        "from_abroad_at": pl.Int64(),
        "owed_at": pl.Int64(),
        "arrivals": pl.Int8(),
        "departures": pl.Int8(),
        "pending": pl.List(_PENDING),
    }
)
"""What is remembered of a token until its token-day ends, and no longer; one row a token, sorted by token."""

COUNT_SCHEMA = pl.Schema({"zone": pl.Int32(), "direction": pl.Int8(), "count": pl.Int64()})
DIRECTIONS = (Direction.ARRIVAL, Direction.DEPARTURE)
_ARRIVAL, _DEPARTURE = 0, 1

_HOME, _ABROAD, _ENDED = 0, 1, 2
_STATE_OF_SIDE = np.array([_HOME, _HOME, _HOME, _ABROAD, _ENDED], dtype=np.int8)
_NEVER = np.int64(-(2**62))
_TOKEN_BYTES = 16
_TIME_BITS, _REST_BITS = 23, 37


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the rows and candidate movements of one step; adds up exactly (notes/reliability.md, section 2)."""

    sightings: int = 0
    distinct: int = 0
    duplicate: int = 0
    candidates: int = 0
    counted: int = 0
    flip: int = 0
    outside_6h: int = 0
    inland: int = 0
    same_zone_hour: int = 0
    over_k: int = 0
    pending_before: int = 0
    pending_after: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Step:
    """The settled hour's exact counts (COUNT_SCHEMA; they stay in the closing process), the next carry-over, the tally."""

    counts: pl.DataFrame
    carry_over: pl.DataFrame
    tally: Tally


def empty_carry_over() -> pl.DataFrame:
    """What is remembered at the turn of the token-day: nothing."""
    return pl.DataFrame(schema=CARRY_OVER_SCHEMA)


def advance(carry_over: pl.DataFrame, sightings: pl.DataFrame, ground: Ground, *, hour_start_ms: int, k: int) -> Step:
    """Settle the hour before `hour_start_ms` with the sightings of the hour that starts there.

    `carry_over` (CARRY_OVER_SCHEMA) is the one that the step for the hour before gave; `sightings` (SIGHTING_SCHEMA) are
    all rows of the hour, in any order, equal rows any number of times. Raises ValueError if a row lies outside the hour.
    """
    if sightings.height:
        first, last = sightings["event_time"].min(), sightings["event_time"].max()
        if not hour_start_ms <= first <= last < hour_start_ms + HOUR_MS:  # type: ignore[operator]
            raise ValueError("a sighting lies outside the hour of its partition")
    rows = _Rows.of(carry_over, sightings, ground, hour_start_ms)
    derived = _derive(rows, ground)
    pending, pending_owner = _continue_pending(carry_over, rows)
    movements = _Movements.joined(pending, pending_owner, derived)
    kept = movements.take(_survivors(movements, ground))
    settled = kept.at < hour_start_ms
    counts, owners, directions, fates = _count(kept.take(settled), rows, k)
    following = _remember(rows, kept.take(~settled), owners, directions)
    tally = Tally(
        sightings=sightings.height,
        distinct=rows.distinct,
        duplicate=sightings.height - rows.distinct,
        candidates=len(derived.at),
        flip=len(movements.at) - len(kept.at),
        pending_before=len(pending.at),
        pending_after=int((~settled).sum()),
        **fates,
    )
    return Step(counts, following, tally)


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Seeds (one a remembered token, first) and distinct sightings, sorted by token and then by the order of rows."""

    tokens: pl.Series  # per group
    owner: NDArray[np.int64]  # group of each row
    first: NDArray[np.bool_]
    seed: NDArray[np.bool_]
    at: NDArray[np.int64]
    state: NDArray[np.int8]
    from_abroad: NDArray[np.bool_]
    from_elsewhere: NDArray[np.bool_]
    cell: NDArray[np.int32]
    zone: NDArray[np.int32]
    crossing_point: NDArray[np.int32]  # the crossing-point zone that the row vouches for, or INLAND
    crossing_point_at: NDArray[np.int64]
    from_abroad_at: NDArray[np.int64]
    counted: NDArray[np.int64]  # (groups, 2) movements counted so far today
    stay_start: NDArray[np.int64]
    stay_end: NDArray[np.int64]
    flip: NDArray[np.bool_]
    repeat: NDArray[np.bool_]
    last: NDArray[np.int64]  # last row of each group
    owed_at: NDArray[np.int64]  # of each group, the return whose registration abroad may still be written
    distinct: int  # sightings, before late ones were taken away

    @classmethod
    def of(cls, carry_over: pl.DataFrame, sightings: pl.DataFrame, ground: Ground, hour_start_ms: int) -> "_Rows":
        seeds, news = carry_over.height, sightings.height

        def seeded(name: str, otherwise: int) -> NDArray[np.int64]:
            """A column of the carry-over, and behind it what it is for a row that has just come in."""
            return np.concatenate([carry_over[name].to_numpy().astype(np.int64), np.full(news, otherwise)])

        all_tokens = pl.concat([carry_over["token"], sightings["token"]])
        new_side = sightings["side"].to_numpy()
        all_at = np.concatenate([carry_over["home_at"].to_numpy(), sightings["event_time"].to_numpy()])
        all_state = np.concatenate([carry_over["state"].to_numpy(), _STATE_OF_SIDE[new_side]])
        all_side = np.concatenate([np.full(seeds, int(Side.HOME), np.int8), new_side])
        all_cells = np.concatenate([carry_over["cell"].to_numpy(), sightings["cell"].to_numpy()])
        rank = _rank_in_token(all_at - hour_start_ms, all_state, all_cells, all_side)
        rank[:seeds] = -1
        order, first = _in_order(_words(all_tokens), rank)
        distinct = len(order) - seeds
        side = all_side[order]
        owed_at = np.append(carry_over["owed_at"].to_numpy(), _NEVER)[np.minimum(order[first], seeds)]
        late = _late_registrations(order, first, side, all_at, all_state, owed_at, hour_start_ms + HOUR_MS)
        if late.moved or late.dropped:
            all_at[order[[here for here, _ in late.moved]]] = late.stands_at
            where = late.order_of(len(order))
            order, side, first = order[where], side[where], np.delete(first, late.dropped)
        token = all_tokens.gather(order[first])
        n = len(order)
        owner = np.cumsum(first) - 1
        seed = order < seeds
        at, state, cell = all_at[order], all_state[order], all_cells[order]
        arrivals, departures = seeded("arrivals", 0)[order], seeded("departures", 0)[order]
        zone = ground.zones_of(cell)
        home = state == _HOME
        from_abroad = (side == Side.HOME_FROM_ABROAD) & ~seed
        from_elsewhere = (side == Side.HOME_FROM_ELSEWHERE) & ~seed
        in_crossing_point = home & (zone >= 0) & ground.is_crossing_point[np.maximum(zone, 0)] & ~seed
        crossing_point = np.where(in_crossing_point, zone, seeded("crossing_point", INLAND)[order]).astype(np.int32)
        crossing_point_at = np.where(in_crossing_point, at, seeded("crossing_point_at", int(_NEVER))[order])

        before = np.arange(n) - 1
        state_before = np.where(first, _ENDED, state[before]) if n else state
        named_at = np.where(from_abroad, at, seeded("from_abroad_at", int(_NEVER))[order])
        named = named_at > _NEVER
        # A track that has ended has forgotten what was named before.
        begins = _latest(first | (state == _ENDED) | from_elsewhere)
        last_named = _latest(named)
        named_before = np.where(first, -1, last_named[before]) if n else last_named
        has_named = (named_before >= 0) & (named_before >= np.where(first, 0, begins[before]))
        since = at - np.where(has_named, named_at[np.maximum(named_before, 0)], _NEVER)
        repeat = from_abroad & has_named & (since <= FLIP_MS)
        was_home = (state_before == _HOME) & ~first
        flip = np.zeros(n, bool)
        asked = np.flatnonzero(from_abroad & was_home & ~repeat)
        flip[asked] = (at[asked] - at[asked - 1] <= FLIP_MS) & ground.overlap(cell[asked - 1], cell[asked])

        enters = home & (first | ~was_home | from_elsewhere | (from_abroad & ~repeat & ~flip))
        starts = first | ~home | enters
        stay_start = _latest(starts)
        stay_end = _next(np.append(starts[1:], True)) if n else stay_start
        last = np.flatnonzero(np.append(first[1:], True)) if n else np.zeros(0, np.int64)
        return cls(
            tokens=token,
            owner=owner,
            first=first,
            seed=seed,
            at=at,
            state=state,
            from_abroad=from_abroad,
            from_elsewhere=from_elsewhere,
            cell=cell,
            zone=zone,
            crossing_point=crossing_point,
            crossing_point_at=crossing_point_at,
            from_abroad_at=named_at,
            counted=np.stack([arrivals, departures], axis=1)[first],
            stay_start=stay_start,
            stay_end=stay_end,
            flip=flip,
            repeat=repeat,
            last=last,
            owed_at=late.owed_at,
            distinct=distinct,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Movements:
    """Movements in the order in which they happened to each token."""

    owner: NDArray[np.int64]
    at: NDArray[np.int64]
    direction: NDArray[np.int8]
    cell: NDArray[np.int32]
    zone: NDArray[np.int32]
    crossing_point: NDArray[np.int32]
    silent: NDArray[np.bool_]
    looking: NDArray[np.bool_]

    def take(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> "_Movements":
        return _Movements(*(getattr(self, name)[which] for name in self.__slots__))

    @classmethod
    def joined(cls, pending: "_Movements", owner: NDArray[np.int64], derived: "_Movements") -> "_Movements":
        columns = [np.concatenate([getattr(pending, name), getattr(derived, name)]) for name in cls.__slots__]
        columns[0] = np.concatenate([owner, derived.owner])
        return cls(*columns).take(np.argsort(columns[0], kind="stable"))


def _rank_in_token(
    at: NDArray[np.int64], state: NDArray[np.int8], cell: NDArray[np.int32], side: NDArray[np.int8]
) -> NDArray[np.int64]:
    """All that a sighting says beside its token, as one number in the order of rows: time in the hour, state, cell, side."""
    # 22 bits of ms, 2 of state, 32 of cell (-1 is none), 3 of side: rows are equal where this is.
    return (at << _REST_BITS) | (state.astype(np.int64) << 35) | ((cell.astype(np.int64) + 1) << 3) | side


def _words(tokens: pl.Series) -> NDArray[np.uint64]:
    """The tokens as two words each, (2, n), in the order of their bytes; of other than 16 bytes, as their rank."""
    if tokens.len() and (tokens.bin.size() == _TOKEN_BYTES).all():
        raw = tokens.bin.reinterpret(dtype=pl.Array(pl.UInt8, _TOKEN_BYTES)).to_numpy()
        words: NDArray[np.uint64] = np.ascontiguousarray(raw).view(">u8").astype(np.uint64)
        return np.ascontiguousarray(words.T)
    ranked = tokens.unique().sort().to_frame("token").with_row_index("rank")
    ranks = tokens.to_frame("token").join(ranked, on="token", how="left", maintain_order="left")["rank"]
    return np.stack([ranks.to_numpy().astype(np.uint64), np.zeros(tokens.len(), np.uint64)])


def _in_order(words: NDArray[np.uint64], rank: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The rows in order, each distinct one once, and which of them are the first of their token.

    By the token's first word, then by token and time, then by the rest where these are equal: three sorts of few numbers
    each cost a third of one by all of them.
    """
    high, low = words
    order = _argsort(high)
    first, other = _steps(high[order]), _steps(low[order])
    if (other & ~first).any():
        order = np.lexsort((low, high))
        first, other = _steps(high[order]), _steps(low[order])
    key = (np.cumsum(first | other) << _TIME_BITS) | ((rank[order] >> _REST_BITS) + 1)
    finer = _argsort(key)
    order, key = order[finer], key[finer]
    same = ~_steps(key)
    tied = np.flatnonzero(same | np.append(same[1:], False))
    rows = order[tied]
    order[tied] = rows[np.lexsort((rank[rows], key[tied]))]
    first = _steps(key >> _TIME_BITS)
    kept = first | _steps(rank[order])
    return order[kept], first[kept]


def _argsort(values: NDArray[Any]) -> NDArray[np.int64]:
    """The order of some numbers; Polars is three times as fast at it as numpy."""
    return pl.Series(values).arg_sort().to_numpy().astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class _Late:
    """Registrations abroad that were written after the return that they belong before, by their place in the order of rows.

    `dropped`: the return lies in the hour before, whose departures are told already.
    """

    moved: list[tuple[int, int]]  # from where to where, one after the other
    stands_at: list[int]  # the instants at which these stand then
    dropped: list[int]
    owed_at: NDArray[np.int64]  # of each token, the last return before which a row of the next hour may belong

    def order_of(self, rows: int) -> NDArray[np.int64]:
        """The places of all rows but the dropped ones, in the order in which they belong."""
        where = np.arange(rows)
        for here, there in self.moved:
            where[there : here + 1] = np.roll(where[there : here + 1], 1)
        kept = np.ones(rows, bool)
        kept[self.dropped] = False
        return where[kept[where]]


def _late_registrations(
    order: NDArray[np.int64],
    first: NDArray[np.bool_],
    side: NDArray[np.int8],
    all_at: NDArray[np.int64],
    all_state: NDArray[np.int8],
    owed_at: NDArray[np.int64],
    hour_end_ms: int,
) -> _Late:
    """Every registration abroad at most 90 s after a return that came while nobody knew the token to be abroad.

    It belongs just before the earliest such return within the 90 s, if no other registration has come since. `side` is in
    order, `owed_at` is a token's last such return of the hour before. Only the rows that are not plainly at home are looked
    at, and only the tokens in which one follows another so closely are walked through.
    """
    starts = np.flatnonzero(first)
    telling = np.flatnonzero(side)
    owner = np.searchsorted(starts, telling, side="right") - 1
    told, at = side[telling], all_at[order[telling]]
    back = told == Side.HOME_FROM_ABROAD
    latest = _latest(back)
    follows = (latest >= 0) & (owner[latest] == owner)
    since = at - np.maximum(np.where(follows, at[latest], _NEVER), owed_at[owner])
    near = (told == Side.ABROAD) & (since <= LATE_MS)
    near |= back & (at >= hour_end_ms - LATE_MS)
    asked = np.unique(owner[near])
    still_owed = np.full(len(starts), _NEVER)
    late = _Late([], [], [], still_owed)
    spans = zip(np.searchsorted(owner, asked), np.searchsorted(owner, asked, side="right"), strict=True)
    for token, (begin, end) in zip(asked.tolist(), spans, strict=True):
        put_right = -1
        owed = [(int(owed_at[token]), -1)]
        for i in range(begin, end):
            row, now = int(telling[i]), int(at[i])
            owed = [one for one in owed if now - one[0] <= LATE_MS]
            if told[i] == Side.ABROAD and owed:
                stands_at, there = owed[0]
                if there < 0:
                    late.dropped.append(row)
                else:
                    late.moved.append((row, there))
                    late.stands_at.append(stands_at)
                put_right, owed = row, []
            elif told[i] == Side.HOME_FROM_ABROAD:
                abroad = not first[row] and row - 1 != put_right and all_state[order[row - 1]] == _ABROAD
                owed = [] if abroad else [*owed, (now, row)]
            else:
                owed = []
        still_owed[token] = max((when for when, _ in owed if when >= hour_end_ms - LATE_MS), default=_NEVER)
    return late


def _steps(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a value differs from the one before it; the first one does."""
    differs = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=differs[1:])
    return differs


def _latest(mark: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each row the index of the latest marked row up to it, or -1."""
    return np.maximum.accumulate(np.where(mark, np.arange(len(mark)), -1)) if len(mark) else np.zeros(0, np.int64)


def _next(mark: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each row the index of the first marked row from it on, or the number of rows."""
    n = len(mark)
    if not n:
        return np.zeros(0, np.int64)
    return np.minimum.accumulate(np.where(mark, np.arange(n), n)[::-1])[::-1]


def _derive(rows: _Rows, ground: Ground) -> _Movements:
    """Every change of side, with the crossing point that vouches for it; cancelling and counting come later."""
    n = len(rows.at)
    before = np.maximum(np.arange(n) - 1, 0)
    state_before = np.where(rows.first, _ENDED, rows.state[before]) if n else rows.state
    home = (rows.state == _HOME) & ~rows.seed
    named = rows.from_abroad & (state_before != _ABROAD) & ~rows.repeat & ~rows.flip
    arrival = home & (((state_before == _ABROAD) & ~rows.from_elsewhere) | named)
    departure = (rows.state == _ABROAD) & ~rows.seed & (state_before == _HOME)
    index = np.flatnonzero(arrival | departure)
    leaves = departure[index]
    side = np.where(leaves, index - 1, index)  # the home-side sighting

    vouches = rows.crossing_point >= 0
    earlier = _latest(vouches)[side]
    near_departure = (earlier >= rows.stay_start[side]) & (
        rows.at[index] - rows.crossing_point_at[np.maximum(earlier, 0)] <= FLIP_MS
    )
    later, near_arrival = _first_in_stay(rows, index, rows.at[index])
    vouched = np.where(leaves, near_departure, near_arrival)
    voucher = np.where(leaves, earlier, later)
    return _Movements(
        owner=rows.owner[index],
        at=rows.at[index],
        direction=leaves.astype(np.int8),
        cell=rows.cell[side],
        zone=rows.zone[side],
        crossing_point=_zone_of(rows, voucher, vouched),
        silent=leaves & (rows.at[index] - rows.at[side] > SILENCE_MS),
        looking=~leaves & ~vouched & _stay_is_open(rows, index),
    )


def _first_in_stay(
    rows: _Rows, index: NDArray[np.int64], at: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The first sighting in a crossing point from each row to the end of its stay, and whether it is near `at`."""
    n = len(rows.at)
    found = _next((rows.crossing_point >= 0) & ~rows.seed)[index] if n else index
    inside = np.minimum(found, max(n - 1, 0))
    near = (found <= rows.stay_end[index]) & (found < n)
    near &= (rows.at[inside] - at <= FLIP_MS) if n else False
    return inside, near


def _zone_of(rows: _Rows, voucher: NDArray[np.int64], vouched: NDArray[np.bool_]) -> NDArray[np.int32]:
    if not len(rows.at):
        return np.zeros(0, np.int32)
    return np.where(vouched, rows.crossing_point[np.maximum(voucher, 0)], INLAND).astype(np.int32)


def _stay_is_open(rows: _Rows, index: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the stay of each row may go on in the next hour."""
    open_stay: NDArray[np.bool_] = rows.stay_end[index] == rows.last[rows.owner[index]]
    return open_stay


def _continue_pending(carry_over: pl.DataFrame, rows: _Rows) -> tuple[_Movements, NDArray[np.int64]]:
    """The movements still pending, with what this hour adds about their crossing points; and their owners' groups."""
    listed = carry_over.select("token", "pending").explode("pending", empty_as_null=False, keep_nulls=False)
    table = listed.unnest("pending") if listed.height else None
    if table is None:
        none = np.zeros(0, np.int64)
        flags = np.zeros(0, np.bool_)
        small = np.zeros(0, np.int32)
        return _Movements(none, none, np.zeros(0, np.int8), small, small, small, flags, flags), none
    groups = pl.DataFrame({"token": rows.tokens, "owner": np.arange(len(rows.tokens))})
    owner = table.select("token").join(groups, on="token", how="left", maintain_order="left")["owner"].to_numpy()
    seeds = np.flatnonzero(rows.first)[owner]
    looking = table["looking"].to_numpy()
    at = table["at"].to_numpy()
    voucher, near = _first_in_stay(rows, seeds, at)
    vouched = looking & near
    pending = _Movements(
        owner=owner,
        at=at,
        direction=table["direction"].to_numpy(),
        cell=table["cell"].to_numpy(),
        zone=table["zone"].to_numpy(),
        crossing_point=np.where(vouched, rows.crossing_point[voucher], table["crossing_point"].to_numpy()).astype(
            np.int32
        ),
        silent=table["silent"].to_numpy(),
        looking=looking & ~vouched & _stay_is_open(rows, seeds),
    )
    return pending, owner


def _survivors(movements: _Movements, ground: Ground) -> NDArray[np.bool_]:
    """Which movements are left when opposite pairs within the hour on overlapping footprints cancel, like brackets."""
    n = len(movements.at)
    alive = np.ones(n, bool)
    if n < 2:
        return alive
    apart = (movements.owner[1:] != movements.owner[:-1]) | (movements.at[1:] - movements.at[:-1] > FLIP_MS)
    starts = np.flatnonzero(np.append(True, apart))
    ends = np.append(starts[1:], n)
    crowded = ends - starts > 1
    at, direction, cell = movements.at.tolist(), movements.direction.tolist(), movements.cell
    # Most brackets close on their neighbour: those are looked up at once.
    beside = np.append(False, _same_place(cell[:-1], cell[1:], ground)).tolist()
    gone = []
    for start, end in zip(starts[crowded].tolist(), ends[crowded].tolist(), strict=True):
        open_brackets: list[int] = []
        for i in range(start, end):
            if open_brackets:
                j = open_brackets[-1]
                if direction[i] != direction[j] and at[i] - at[j] <= FLIP_MS:
                    same_place = beside[i] if j == i - 1 else _same_place(cell[j : j + 1], cell[i : i + 1], ground)[0]
                    if same_place:
                        gone += [open_brackets.pop(), i]
                        continue
            open_brackets.append(i)
    alive[gone] = False
    return alive


def _same_place(a: NDArray[np.int32], b: NDArray[np.int32], ground: Ground) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = (a == b) | ground.overlap(a, b)
    return same


def _count(
    settled: _Movements, rows: _Rows, k: int
) -> tuple[pl.DataFrame, NDArray[np.int64], NDArray[np.int8], dict[str, int]]:
    """The counts of the settled hour within the contribution bound; who was counted, and what became of the others."""
    # Who lands inland has not crossed here, whatever crossing point is seen later.
    inland = settled.zone < 0
    zone = np.where(settled.crossing_point >= 0, settled.crossing_point, settled.zone)
    placed = ~settled.silent & ~inland
    table = pl.DataFrame(
        {"owner": settled.owner[placed], "direction": settled.direction[placed], "zone": zone[placed].astype(np.int32)}
    )
    single = table.unique(maintain_order=True, keep="first")
    spent = rows.counted[single["owner"].to_numpy(), single["direction"].to_numpy()]
    ranked = single.with_columns(
        pl.int_range(pl.len()).over("owner", "direction").alias("rank"), pl.Series("spent", spent)
    )
    counted = ranked.filter(pl.col("rank") + pl.col("spent") < k)
    counts = (
        counted.group_by("zone", "direction")
        .agg(pl.len().cast(pl.Int64).alias("count"))
        .sort("zone", "direction")
        .select(COUNT_SCHEMA.names())
    )
    fates = {
        "outside_6h": int(settled.silent.sum()),
        "inland": int((~settled.silent & inland).sum()),
        "same_zone_hour": table.height - single.height,
        "over_k": single.height - counted.height,
        "counted": counted.height,
    }
    return counts, counted["owner"].to_numpy(), counted["direction"].to_numpy(), fates


def _remember(
    rows: _Rows, pending: _Movements, owners: NDArray[np.int64], directions: NDArray[np.int8]
) -> pl.DataFrame:
    """The next carry-over: what the rules need of each token and nothing else."""
    groups = len(rows.tokens)
    counted = rows.counted.copy()
    np.add.at(counted, (owners, directions), 1)
    last = rows.last
    home = rows.state[last] == _HOME if groups else np.zeros(0, bool)
    voucher = _latest(rows.crossing_point >= 0)[last] if groups else last
    vouched = home & (voucher >= rows.stay_start[last]) if groups else home
    named = _latest(rows.from_abroad_at > _NEVER)[last] if groups else last
    begins = _latest(rows.first | (rows.state == _ENDED) | rows.from_elsewhere)[last] if groups else last
    has_named = (named >= begins) if groups else home
    tracks = pl.DataFrame(
        {
            "token": rows.tokens,
            "state": rows.state[last],
            "cell": np.where(home, rows.cell[last], INLAND).astype(np.int32),
            "home_at": np.where(home, rows.at[last], _NEVER),
            "crossing_point": _zone_of(rows, voucher, vouched) if groups else np.zeros(0, np.int32),
            "crossing_point_at": np.where(vouched, rows.crossing_point_at[np.maximum(voucher, 0)], _NEVER)
            if groups
            else np.zeros(0, np.int64),
            "from_abroad_at": np.where(has_named, rows.from_abroad_at[np.maximum(named, 0)], _NEVER)
            if groups
            else np.zeros(0, np.int64),
            "owed_at": rows.owed_at,
            "arrivals": counted[:, _ARRIVAL].astype(np.int8),
            "departures": counted[:, _DEPARTURE].astype(np.int8),
            "owner": np.arange(groups),
        }
    )
    fields = {name: getattr(pending, name) for name in _Movements.__slots__}
    waiting = (
        pl.DataFrame(fields)
        .group_by("owner", maintain_order=True)
        .agg(pl.struct([name for name in fields if name != "owner"]).alias("pending"))
    )
    return (
        tracks.join(waiting, on="owner", how="left", maintain_order="left")
        .with_columns(pl.col("pending").fill_null(pl.lit([], dtype=pl.List(_PENDING))))
        .filter(
            (pl.col("state") != _ENDED)
            | (pl.col("pending").list.len() > 0)
            | (pl.col("from_abroad_at") > int(_NEVER))
            | (pl.col("arrivals") + pl.col("departures") > 0)
        )
        .select(CARRY_OVER_SCHEMA.names())
        .cast(dict(CARRY_OVER_SCHEMA))  # type: ignore[arg-type]
    )
