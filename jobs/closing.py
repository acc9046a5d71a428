"""What one task of `close` does: the rows of some neighbouring buckets in, their counts and next carry-over out.

It runs in a worker, on Polars and Arrow alone. Nothing of a row goes back to the driver: counts, a tally, digests and the
record of the carry-over file that the task wrote.
"""

import hashlib
import json
import secrets
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ingest.release import canonical_json
from jobs.disk import sync
from jobs.grounds import GroundStore, read_ground
from jobs.keys import KeyMissing, read_key
from jobs.scrub import silenced
from jobs.sealed import SealBroken, SealedFile, read_sealed, token_bytes, write_sealed
from jobs.staging import alone_on_a_core
from movement.advance import CARRY_OVER_SCHEMA, SIGHTING_SCHEMA, advance

CLOSED_SCHEMA = "closed string"
LEAVES = 256
NO_LEAVES = ("",) * LEAVES
ROWS_PER_STEP = 1_000_000
"""Sightings and memories that a task holds at once, unless one bucket alone has more."""
ROWS_WORTH_A_STEP = 50_000
"""Starting a task costs as much as closing about this many rows."""
_PLAIN = [name for name in CARRY_OVER_SCHEMA.names() if name not in ("token", "pending")]


@dataclass(frozen=True, slots=True)
class HourOrder:
    """What every task of a close is told: the files of an hour and those of the carry-over, and what they are closed with."""

    root: Path
    day: datetime
    hour: datetime
    ground: str
    buckets: int
    k: int
    sightings: tuple[SealedFile, ...]
    memories: tuple[SealedFile, ...]  # paths from the root on
    leaves: tuple[str, ...]  # of the memories

    @property
    def folder(self) -> Path:
        """Where the tasks write the next carry-over."""
        return self.root / "staging" / "close"

    @property
    def rows(self) -> list[int]:
        """Sightings and memories of each bucket."""
        counts = np.zeros(self.buckets, np.int64)
        for file in (*self.sightings, *self.memories):
            counts += file.buckets
        return [int(count) for count in counts]


@dataclass(frozen=True, slots=True)
class StepDone:
    """What a task gives back; `damaged` says which of its files was not what its record says."""

    counts: tuple[tuple[int, int, int], ...] = ()  # zone, direction, count
    tally: Mapping[str, int] | None = None
    leaves: Mapping[int, str] | None = None
    file: SealedFile | None = None
    damaged: str | None = None

    def to_json(self) -> str:
        """As one line of text; carries no row."""
        said = {
            "counts": self.counts,
            "tally": self.tally,
            "leaves": self.leaves and [[byte, leaf] for byte, leaf in self.leaves.items()],
            "file": self.file and self.file.document(),
            "damaged": self.damaged,
        }
        return canonical_json(said).decode()

    @classmethod
    def from_json(cls, text: str) -> "StepDone":
        """What `to_json` said."""
        said: dict[str, Any] = json.loads(text)
        return cls(
            counts=tuple((zone, direction, count) for zone, direction, count in said["counts"]),
            tally=said["tally"],
            leaves=None if said["leaves"] is None else dict(said["leaves"]),
            file=None if said["file"] is None else SealedFile.of(said["file"]),
            damaged=said["damaged"],
        )


def steps_of(rows: Sequence[int], cores: int) -> list[range]:
    """Neighbouring buckets put together: as many steps as cores where that is worth it, more where they would be large.

    >>> steps_of([10, 10, 10, 10], cores=2)
    [range(0, 4)]
    >>> steps_of([900_000, 900_000, 100_000, 100_000], cores=2)
    [range(0, 1), range(1, 4)]
    """
    ends = list(accumulate(rows))
    total = ends[-1]
    count = max(-(-total // ROWS_PER_STEP), min(cores, total // ROWS_WORTH_A_STEP), min(total, 1))
    cuts = [0, *(bisect_right(ends, total * step // count) for step in range(1, count)), len(rows)]
    return [range(start, stop) for start, stop in pairwise(cuts) if sum(rows[start:stop])]


def close_task(
    order: HourOrder, steps: Sequence[range]
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The task as `mapInArrow` runs it: one row of CLOSED_SCHEMA for each step whose number comes in."""

    @silenced
    def task(numbers: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        alone_on_a_core()
        for batch in numbers:
            for number in batch.column(0).to_pylist():
                done = close_step(order, steps[number])
                yield pa.RecordBatch.from_pydict({"closed": [done.to_json()]})

    return task


def close_step(order: HourOrder, buckets: range) -> StepDone:
    """Settle the hour before with some buckets of the hour: `movement.advance` on what lies in them."""
    try:
        key = read_key(order.root, order.day)
        sightings = _rows_of(order.root / "sightings", order.sightings, key, SIGHTING_SCHEMA, buckets)
    except (KeyMissing, SealBroken):
        return StepDone(damaged="sightings")
    try:
        memories = _rows_of(order.root, order.memories, key, CARRY_OVER_SCHEMA, buckets).sort("token")
    except SealBroken:
        return StepDone(damaged="carry-over")
    mine = bytes_of(buckets, order.buckets)
    if leaf_digests(memories, mine) != {byte: order.leaves[byte] for byte in mine}:
        return StepDone(damaged="carry-over")
    ground = read_ground(GroundStore(order.root).of(order.ground)).ground
    step = advance(memories, sightings, ground, hour_start_ms=int(order.hour.timestamp()) * 1000, k=order.k)
    file = None
    if step.carry_over.height:
        order.folder.mkdir(parents=True, exist_ok=True)
        path = order.folder / f"{secrets.token_hex(8)}.parquet"
        file = write_sealed(step.carry_over, path, key, order.buckets)
        sync(order.folder)
    return StepDone(
        counts=tuple(step.counts.select("zone", "direction", "count").iter_rows()),
        tally=asdict(step.tally),
        leaves=leaf_digests(step.carry_over, mine),
        file=file,
    )


def _rows_of(room: Path, files: Sequence[SealedFile], key: bytes, schema: pl.Schema, buckets: range) -> pl.DataFrame:
    read = [read_sealed(room, file, key, schema, buckets.start, buckets.stop) for file in files]
    return pl.concat([pl.DataFrame(schema=schema), *read])


def bytes_of(buckets: range, count: int) -> range:
    """The first bytes of the tokens in some neighbouring buckets out of `count`.

    >>> bytes_of(range(1, 2), 64)
    range(4, 8)
    >>> [bytes_of(range(b, b + 1), 3) for b in range(3)]
    [range(0, 86), range(86, 171), range(171, 256)]
    """
    return range(-(-buckets.start * LEAVES // count), -(-buckets.stop * LEAVES // count))


def leaf_digests(carry_over: pl.DataFrame, first_bytes: range) -> dict[int, str]:
    """A digest of the plain content of a carry-over (sorted by token) for each first byte of its tokens; "" for none.

    It depends on the content alone: not on how many files hold it, on their encryption, or on how a library writes it.
    """
    tokens = token_bytes(carry_over["token"])
    lengths = carry_over["pending"].list.len().to_numpy().astype(np.int64)
    plain: list[NDArray[Any]] = [tokens, lengths, *(carry_over[name].to_numpy() for name in _PLAIN)]
    listed = carry_over.select("pending").explode("pending", empty_as_null=False, keep_nulls=False)
    waiting = listed["pending"].struct.unnest()
    pending = [column.cast(_stored(column.dtype)).to_numpy() for column in waiting.iter_columns()]
    rows = np.searchsorted(tokens[:, 0], np.arange(LEAVES + 1))
    ends = np.append(0, np.cumsum(lengths))[rows]
    leaves = {}
    for byte in first_bytes:
        start, stop = rows[byte], rows[byte + 1]
        content = hashlib.sha256()
        for column in plain:
            content.update(np.ascontiguousarray(column[start:stop]).data)
        for column in pending:
            content.update(np.ascontiguousarray(column[ends[byte] : ends[byte + 1]]).data)
        leaves[byte] = content.hexdigest() if stop > start else ""
    return leaves


def _stored(dtype: pl.DataType) -> pl.DataType | type[pl.DataType]:
    return pl.Int8 if dtype == pl.Boolean else dtype
