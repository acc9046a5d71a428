"""What one task of `sight` does: tables of rows in, staged sightings files and tallies out.

It runs in a worker, on Polars and Arrow alone. Rows are judged, located and decided by `movement.sight_rows`; what is kept is
written, encrypted and in buckets, to the staging folder, and only numbers and file records go back to the driver. A file
under staging that no task gave back was written by a try that died, and is never adopted.
"""

import json
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from ingest.door import Admission
from ingest.release import canonical_json
from ingest.token_day import folder_name
from jobs.disk import sync
from jobs.grounds import GroundStore, Pin, choose_pin, read_lookup
from jobs.keys import make_key
from jobs.scrub import silenced
from jobs.sealed import SealedFile, write_sealed
from movement.advance import SIGHTING_SCHEMA
from movement.sight_rows import SIGHTED_SCHEMA, sight_rows

MOST_ROWS_HELD = 2_000_000
"""Sightings that a task holds in memory before it writes them; about 100 MB."""
STAGED_SCHEMA = "staged string"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOURS_IN_DAY = 24
_DAY_US = timedelta(days=1) // timedelta(microseconds=1)

Tables = Callable[[Iterator[pa.RecordBatch]], Iterator[tuple[str, pl.DataFrame]]]
"""What a task's Arrow batches stand for: tables of rows (ingest.rows.ROW_TABLE), each with the name of its source."""


class InputRefused(ValueError):
    """An input that cannot be taken in, of which no row may be in the table; names it and the reason."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name, self.reason = name, reason


@dataclass(frozen=True, slots=True)
class BatchOrder:
    """What every task of a batch is told."""

    root: Path
    key: str
    turn_hour_utc: int
    pins: Mapping[datetime, Pin]
    current: Pin
    current_valid_from: datetime
    admission: Admission | None

    @property
    def folder(self) -> Path:
        """Where the tasks of the batch write."""
        return self.root / "staging" / self.key

    def pin_of(self, day_start: datetime) -> Pin:
        """What a token-day rests on."""
        return choose_pin(day_start, self.pins, self.current, self.current_valid_from)


@dataclass(frozen=True, slots=True)
class Staged:
    """What a task gives back: file records, rows by (source, hour or None, what), and the inputs that it had to refuse."""

    files: tuple[SealedFile, ...] = ()
    rows: Mapping[tuple[str, str | None, str], int] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """As one line of text; carries no row."""
        rows = [[*key, count] for key, count in self.rows.items()]
        files = [file.document() for file in self.files]
        return canonical_json({"files": files, "rows": rows, "refused": dict(self.refused)}).decode()

    @classmethod
    def from_json(cls, text: str) -> "Staged":
        """What `to_json` said."""
        said = json.loads(text)
        return cls(
            files=tuple(SealedFile.of(file) for file in said["files"]),
            rows={(source, hour, what): count for source, hour, what, count in said["rows"]},
            refused=said["refused"],
        )


def stage_task(order: BatchOrder, tables: Tables) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The task as `mapInArrow` runs it: one row of STAGED_SCHEMA a partition."""

    @silenced
    def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        alone_on_a_core()
        staged = stage(order, tables(batches))
        yield pa.RecordBatch.from_pydict({"staged": [staged.to_json()]})

    return task


def alone_on_a_core() -> None:
    """Settle into a worker: one thread, and files for this account only."""
    os.umask(0o077)
    pa.set_cpu_count(1)


def stage(order: BatchOrder, tables: Iterable[tuple[str, pl.DataFrame]]) -> Staged:
    """Judge, locate and decide every row; write what is kept. An input that must be refused ends the try."""
    rows: Counter[tuple[str, str | None, str]] = Counter()
    files: list[SealedFile] = []
    held: list[pl.DataFrame] = []
    try:
        for source, table in tables:
            for ground, part in _by_ground(table, order):
                sighted = sight_rows(part, read_lookup(GroundStore(order.root).of(ground)), order.admission)
                for hour, what, count in sighted.tallies.iter_rows():
                    rows[source, None if hour is None else folder_name(hour_at(hour)), what] += count
                held.append(sighted.sightings)
            if sum(map(len, held)) >= MOST_ROWS_HELD:
                files += _write(order, held)
                held = []
        files += _write(order, held)
    except InputRefused as refused:
        return Staged(refused={refused.name: refused.reason})
    return Staged(tuple(files), dict(rows))


def _by_ground(rows: pl.DataFrame, order: BatchOrder) -> Iterator[tuple[str, pl.DataFrame]]:
    """The rows of each ground: that of the token-day in which they happened, or seem to have."""
    turned = rows["event_time"].to_physical() - order.turn_hour_utc * (_DAY_US // _HOURS_IN_DAY)
    days = (turned // _DAY_US).alias("day")
    grounds = {day: _ground_of(day, order) for day in days.unique()}
    names = sorted(set(grounds.values()))
    if len(names) == 1:
        yield names[0], rows
        return
    places = days.replace_strict(
        pl.Series(list(grounds), dtype=days.dtype),
        pl.Series([names.index(ground) for ground in grounds.values()], dtype=pl.Int32),
    )
    for place, name in enumerate(names):
        yield name, rows.filter(places == place)


def _ground_of(day: int | None, order: BatchOrder) -> str:
    # What no day holds will be refused on any ground.
    if day is None or not -_MOST_DAYS < day < _MOST_DAYS:
        return order.current.ground
    return order.pin_of(_EPOCH + timedelta(days=day, hours=order.turn_hour_utc)).ground


_MOST_DAYS = 100_000


def _write(order: BatchOrder, held: list[pl.DataFrame]) -> list[SealedFile]:
    """The held sightings as staged files, one an hour."""
    files = []
    for (hour,), rows in pl.concat([SIGHTED_SCHEMA.to_frame(), *held]).partition_by("hour", as_dict=True).items():
        at = hour_at(hour)
        day = day_of(hour, order.turn_hour_utc)
        relative = f"token_day={folder_name(day)}/hour={folder_name(at)}/{secrets.token_hex(8)}.parquet"
        path = order.folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        key = make_key(order.root, day)
        file = write_sealed(rows.select(SIGHTING_SCHEMA.names()), path, key, order.pin_of(day).buckets)
        sync(path.parent)
        files.append(replace(file, path=relative))
    return files


def hour_at(hour: int) -> datetime:
    """The instant at which an hour starts that is told in whole hours since 1970."""
    return _EPOCH + timedelta(hours=hour)


def day_of(hour: int, turn_hour_utc: int) -> datetime:
    """The start of the token-day in which such an hour lies.

    >>> day_of(24 * 20_000 + 1, turn_hour_utc=2).isoformat()
    '2024-10-03T02:00:00+00:00'
    """
    return hour_at((hour - turn_hour_utc) // _HOURS_IN_DAY * _HOURS_IN_DAY + turn_hour_utc)


def record_rows(rows: Mapping[tuple[str, str | None, str], int]) -> list[dict[str, Any]]:
    """Tallies as a batch's record keeps them."""
    told = sorted(rows.items(), key=lambda entry: (entry[0][0], entry[0][1] or "", entry[0][2]))
    return [{"source": source, "hour": hour, "what": what, "rows": count} for (source, hour, what), count in told]
