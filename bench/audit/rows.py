"""Rows under attack: late ones, wrong clocks, two days of one token, and every order that rows can come in."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from bench.audit.crossing import Cell, counted
from bench.audit.finding import Broken, Finding, Size
from bench.audit.harness import from_tests
from bench.audit.memory import room
from ingest.day_keys import read_day_key, turn_keys
from ingest.rows import LAYOUT, ROW_TABLE
from ingest.token_day import HOURS_IN_DAY
from ingest.tokenise import make_token
from movement.advance import DIRECTIONS, HOUR_MS, advance
from movement.sight_rows import Lookup, sight_rows
from movement.sighting import Networks
from privacy.ledger import Ledger
from privacy.policy import ReleasePolicy

OWN, ACROSS = "204-99", "206-98"
NETWORKS = Networks(frozenset({OWN}), frozenset({ACROSS}))
LATE = timedelta(minutes=15)
K = ReleasePolicy().k
_PLAN = pl.DataFrame(
    [(number, "EUTRA", OWN, f"000000{number + 1}", number, None, None) for number in range(3)],
    schema={
        "cell": pl.Int32,
        "rat": pl.String,
        "plmn": pl.String,
        "cell_id": pl.String,
        "zone": pl.Int32,
        "valid_from": pl.Datetime("us", "UTC"),
        "valid_to": pl.Datetime("us", "UTC"),
    },
    orient="row",
)
_START = datetime.fromisoformat("2026-03-02T02:00:00Z")
_START_MS = int(_START.timestamp()) * 1000


# A neighbour's clock


def neighbours_clock(size: Size) -> Finding:
    """One device's clock goes wrong by up to half a day, also at the network element: what changes for others."""
    draw = random.Random(size.seed)
    others = [row for _ in range(size.share(0.0002, 40)) for row in _device(draw)]
    lookup = Lookup(_PLAN, NETWORKS)
    alone = _counts(others, lookup, _as_it_is)
    ours = theirs = 0
    worst = alone
    for hours in (-11, -1, -0.3, 0.3, 1, 11):
        for with_ingest in (False, True):
            odd = [_shifted(row, timedelta(hours=hours), with_ingest) for row in _device(draw)]
            ours += _changed(others, odd, lookup, _as_it_is, alone)
            seen = _changed(others, odd, lookup, _behind_a_watermark, alone)
            if seen > theirs:
                theirs, worst = seen, _counts(others + odd, lookup, _behind_a_watermark)
    total = sum(alone.values())
    return Finding(
        "neighbour's clock",
        f"{ours} counts of others changed by 12 wrong clocks ({total:,} movements of others)",
        "0",
        ours == 0,
        (
            Broken(
                "a watermark over all rows",
                f"{theirs} counts changed: {total:,} movements became {sum(worst.values()):,}",
                theirs > 0,
            ),
        ),
    )


def _device(draw: random.Random) -> list[dict[str, Any]]:
    """A device that is abroad and comes home to some cell, two times in some hours of the token-day."""
    token, at, rows = _token(draw), _START + timedelta(minutes=draw.randrange(600)), []
    for _ in range(2):
        rows += [_row(token, at, abroad=True), _row(token, at + timedelta(minutes=20), cell=draw.randrange(3))]
        at += timedelta(minutes=100 + draw.randrange(300))
    return rows


def _token(draw: random.Random) -> str:
    return make_token(draw.randbytes(16), "452040000000000")


def _row(token: str, at: datetime, *, abroad: bool = False, cell: int = 0) -> dict[str, Any]:
    return {
        "token": token,
        "event_time": at,
        "ingest_time": at + timedelta(seconds=5),
        "event_type": "roaming_registration" if abroad else "service_request",
        "rat": None if abroad else "EUTRA",
        "plmn": ACROSS if abroad else OWN,
        "cell_id": None if abroad else f"000000{cell + 1}",
        "previous_plmn": None,
        "domain": "domestic",
        LAYOUT: None,
    }


def _shifted(row: dict[str, Any], by: timedelta, with_ingest: bool) -> dict[str, Any]:
    moved = {"event_time": row["event_time"] + by}
    return {**row, **moved, **({"ingest_time": row["ingest_time"] + by} if with_ingest else {})}


Door = Callable[[pl.DataFrame], pl.DataFrame]


def _as_it_is(rows: pl.DataFrame) -> pl.DataFrame:
    return rows


def _behind_a_watermark(rows: pl.DataFrame) -> pl.DataFrame:
    """What a stream would keep whose watermark follows the newest event of all devices."""
    return rows.filter(pl.col("event_time") >= pl.col("event_time").cum_max() - LATE)


def _counts(rows: list[dict[str, Any]], lookup: Lookup, door: Door) -> Counter[Cell]:
    """What the product counts of rows that come in by the order of their true times."""
    table = pl.DataFrame(rows, schema=ROW_TABLE).sort("ingest_time", maintain_order=True)
    sighted = sight_rows(door(table), lookup).sightings
    kept = sighted.filter(pl.col("event_time").is_between(_START_MS, _START_MS + 24 * HOUR_MS, closed="left"))
    return counted(kept.drop("hour"), k=K, day_ms=_START_MS)[0]


def _changed(
    others: list[dict[str, Any]], odd: list[dict[str, Any]], lookup: Lookup, door: Door, alone: Counter[Cell]
) -> int:
    """In how many cells the count is not that of the others and that of the odd device added up."""
    together, own = _counts(others + odd, lookup, door), _counts(odd, lookup, _as_it_is)
    if door is not _as_it_is:
        own = Counter()  # a watermark that drops others: do not blame it for the odd device's own rows
        together = Counter({cell: min(n, alone[cell]) for cell, n in together.items() if alone[cell]})
    return sum(together[cell] != alone[cell] + own[cell] for cell in {*together, *alone, *own})


# The turn


def key_turn(size: Size) -> Finding:
    """The same people on two token-days: what their tokens, and what is remembered at the turn, have in common."""
    people = [f"45204{number:010d}" for number in range(size.share(0.02, 5_000))]
    ours, agree = _linked(people, turned=True)
    theirs, _ = _linked(people, turned=False)
    devices = size.share(0.0002, 25)
    straddling = _over_the_turn(size.seed, devices, remembers=False)
    carried = _over_the_turn(size.seed, devices, remembers=True)
    return Finding(
        "linkage over the key turn",
        f"{ours} of {len(people):,} tokens in common, {agree:.2%} of bits agree; "
        f"{straddling} counts of the second day change with the first",
        "0 tokens, half of the bits, 0 counts",
        ours == 0 and abs(agree - 0.5) < 4 / np.sqrt(len(people) * 128 * 4) and straddling == 0,
        (
            Broken("a key that stays", f"{theirs:,} tokens in common", theirs > 0),
            Broken("a carry-over that passes the turn", f"{carried} counts change", carried > 0),
        ),
    )


def _linked(people: list[str], *, turned: bool) -> tuple[int, float]:
    """How many tokens two token-days share, and which part of the bits of one person's two tokens agree."""
    with room() as folder:
        turn_keys(folder, _START, 2)
        days = [_START, _START + timedelta(hours=HOURS_IN_DAY) if turned else _START]
        keys = [read_day_key(folder, day) for day in days]
    first, second = ([make_token(key or b"", person) for person in people] for key in keys)
    bits = [np.unpackbits(_raw(tokens)) for tokens in (first, second)]
    return len({*first} & {*second}), float((bits[0] == bits[1]).mean())


def _raw(tokens: list[str]) -> npt.NDArray[np.uint8]:
    """The bytes of tokens: 26 letters of five bits, without the last two bits."""
    letters = np.array([list(token.encode()) for token in tokens], np.uint8)
    five = np.where(letters >= ord("a"), letters - ord("a"), letters - ord("2") + 26).astype(np.uint8)
    wide = np.unpackbits(five[:, :, None], axis=2)[:, :, 3:]
    return np.packbits(wide.reshape(len(tokens), -1)[:, :128], axis=1)


def _over_the_turn(seed: int, devices: int, *, remembers: bool) -> int:
    """How many counts of a second token-day change with the first, for tokens that a carrier failed to turn."""
    border = from_tests("jobs.border")
    rows = border.feed(seed=seed, devices=devices, hours=29)
    second = _START + timedelta(hours=HOURS_IN_DAY)
    with _closing(_remembering(int(second.timestamp()) * 1000)) if remembers else nullcontext():
        together = _second_day(rows, second)
    alone = _second_day([row for row in rows if row["event_time"] >= second], second)
    return sum(a != b for hours in zip(together, alone, strict=True) for a, b in zip(*hours, strict=True))


def _second_day(rows: list[dict[str, Any]], second: datetime) -> list[list[int]]:
    """The exact counts of the first hours of a second token-day, as the edge closes them after the last of the first."""
    with _edge(rows, cores=1) as run:
        for hour in (HOURS_IN_DAY - 1, *range(HOURS_IN_DAY, HOURS_IN_DAY + 4)):
            edge_close(run, hour)
        found: list[list[int]] = run.used.noise.seen[1:]
    return found


def _remembering(turn_ms: int) -> Callable[..., Any]:
    """`advance` that begins the token-day of a turn with what the hour before it left."""
    left: list[pl.DataFrame] = []

    def remembering(memory: pl.DataFrame, *rows: Any, hour_start_ms: int, k: int) -> Any:
        at_the_turn = hour_start_ms == turn_ms and left
        step = advance(left[-1] if at_the_turn else memory, *rows, hour_start_ms=hour_start_ms, k=k)
        if hour_start_ms == turn_ms - HOUR_MS:
            left.append(step.carry_over)
        return step

    return remembering


# Orders, duplicates and late rows, through the edge's own sight and close


def close_and_oracle(size: Size) -> Finding:
    """The edge's sight and close on shuffled and repeated rows, against a plain count token by token."""
    devices = size.share(0.0004, 40)
    wrong, cells = _wrong_cells(size.seed, devices)
    with _closing(lambda *rows, k, **named: advance(*rows, k=k + 1, **named)):
        unbounded, _ = _wrong_cells(size.seed, devices)
    with _closing(_without_a_memory):
        forgetful, _ = _wrong_cells(size.seed, devices)
    return Finding(
        "close against the plain oracle, shuffled and repeated rows",
        f"{wrong} of {cells:,} cells differ ({devices} restless devices, 24 hours)",
        "0",
        wrong == 0,
        (
            Broken("k + 1 movements", f"{unbounded} cells differ", unbounded > 0),
            Broken("hours that forget", f"{forgetful} cells differ", forgetful > 0),
        ),
    )


def _without_a_memory(memory: pl.DataFrame, rows: pl.DataFrame, *ground: Any, **named: Any) -> Any:
    return advance(memory.clear(), rows, *ground, **named)


@contextmanager
def _closing(how: Callable[..., Any]) -> Iterator[None]:
    """The edge's close with another `advance`."""
    closing: Any = import_module("jobs.closing")
    sound, closing.advance = closing.advance, how
    try:
        yield
    finally:
        closing.advance = sound


def _wrong_cells(seed: int, devices: int) -> tuple[int, int]:
    draw, border = random.Random(seed), from_tests("jobs.border")
    rows = border.feed(seed=seed, devices=devices)
    again = rows + draw.choices(rows, k=len(rows) // 3)
    draw.shuffle(again)
    with _edge(again, cores=3) as run:
        for hour in range(HOURS_IN_DAY):
            edge_close(run, hour)
        pairs = list(zip(run.used.noise.seen, run.plain(rows), strict=True))
    return sum(a != b for hour in pairs for a, b in zip(*hour, strict=True)), sum(len(hour[0]) for hour in pairs)


@contextmanager
def _edge(rows: list[dict[str, Any]], cores: int) -> Iterator[Any]:
    """The whole edge on some rows, sighted, with the tasks of Spark run in this process and its noise taken off."""
    edge_run, one_process = map(from_tests, ("jobs.edge_run", "jobs.one_process"))
    edge: Any = import_module("jobs.edge")
    sound, edge.sight = edge.sight, one_process.sight_at_once
    with room() as folder:
        try:
            run = edge_run.EdgeRun(one_process.OneProcess(cores=cores), folder, rows)
            run.sight()
            run.used = run.edge()
            yield run
            run.used.ledger.close()
        finally:
            edge.sight = sound


def edge_close(run: Any, hour: int) -> None:
    """Close one window, so many hours after the border's first token-day began."""
    close: Any = import_module("jobs.close")
    close.close_window(run.spark, run.used, _START + timedelta(hours=hour))


class NeverFreezes(Ledger):
    """Takes whatever files there are whenever it is asked, and does not know what an hour left behind."""

    def carry_over_digest(self, day_start: datetime, hour: datetime) -> str | None:
        return None

    def settle(self, day_start: datetime, hour: datetime, carry_over_digest: str) -> None:
        pass

    def freeze(self, day_start: datetime, hour: datetime, manifest: dict[str, Any]) -> dict[str, Any]:
        super().freeze(day_start, hour, manifest)
        return manifest


def late_rows(size: Size) -> Finding:
    """Rows that land after an hour was frozen: the hour closed again, without them and with them."""
    devices = size.share(0.0002, 25)
    ours = _changed_by_late_rows(Ledger, size.seed, devices)
    theirs = _changed_by_late_rows(NeverFreezes, size.seed, devices)
    return Finding(
        "late-event differencing",
        f"{ours} counts of frozen hours changed by {devices} late devices",
        "0",
        ours == 0,
        (Broken("no freeze and no digest", f"{theirs} counts changed", theirs > 0),),
        "With the freeze alone taken out the digest of the carry-over still closes the day. The row itself is refused "
        "after 15 min anyway.",
    )


def _changed_by_late_rows(build: type[Ledger], seed: int, devices: int) -> int:
    """How many counts of the first hours differ when they are settled again after late rows came in."""
    border = from_tests("jobs.border")
    with _edge(border.feed(seed=seed, devices=devices), cores=2) as run:
        run.used.ledger.__class__ = build
        for hour in range(4):
            edge_close(run, hour)
        late = border.feed(seed=seed + 1, devices=devices, hours=4)
        border.write_parquet(late, run.settings.source.parent / "late", files=1)
        (run.settings.source.parent / "late" / "part-0.parquet").rename(run.settings.source / "late.parquet")
        run.sight()
        zones = [zone.zone_id for zone in run.placed.grid.zones]
        cells = run.used.cells_of(_START)
        changed = 0
        for hour, before in enumerate(run.used.noise.seen):
            settled = run.settle(_START + timedelta(hours=hour + 1)).counts
            now = {(zones[zone], DIRECTIONS[direction]): count for zone, direction, count in settled}
            changed += sum(now.get(cell, 0) != count for cell, count in zip(cells, before, strict=True))
    return changed
