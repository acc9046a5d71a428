"""`close`: one deterministic batch a clock hour, from sightings to one release.

The close of hour P is a pure function of its frozen manifest, the carry-over of P-1, the ground and the policy. It settles
and releases window P-1. Running it again gives the same bytes; the ledger decides what is said.
"""

import io
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import polars as pl
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ingest.release import HOUR, Direction
from ingest.token_day import HOURS_IN_DAY, token_day_start
from jobs.milestone import Milestone
from jobs.tables import EdgeFolder, TableDamaged, file_digest
from movement.advance import (
    CARRY_OVER_SCHEMA,
    COUNT_SCHEMA,
    DIRECTIONS,
    SIGHTING_SCHEMA,
    Step,
    Tally,
    advance,
    empty_carry_over,
)
from movement.ground import Ground
from privacy.ledger import DayClosed, Entry, Ledger, LedgerRefused, Noise

SIGHTINGS_PER_BUCKET = 500_000
_BUCKET_RESULT = "counts binary, carry_over binary, tally binary"
_SIGHTING_COLUMNS = "token binary, event_time bigint, cell int, side tinyint"
_PENDING_TYPE = (
    "array<struct<at:bigint,direction:tinyint,cell:int,zone:int,crossing_point:int,silent:boolean,looking:boolean>>"
)
_CARRY_OVER_COLUMNS = (
    "token binary, state tinyint, cell int, home_at bigint, crossing_point int, crossing_point_at bigint, "
    f"from_abroad_at bigint, arrivals tinyint, departures tinyint, pending {_PENDING_TYPE}"
)


@dataclass(frozen=True, slots=True)
class Edge:
    """What every close of a token-day rests on; fixed until the turn."""

    folder: EdgeFolder
    ledger: Ledger
    ground: Ground
    zone_ids: tuple[str, ...]
    grid_id: str
    grid_valid_from: datetime
    ground_digest: str  # of cell plan, zone grid and networks
    turn_hour_utc: int
    noise: Noise
    milestone: Milestone

    @property
    def cells(self) -> tuple[tuple[str, Direction], ...]:
        """The whole public grid, in the order in which it is drawn and published."""
        return tuple(sorted((zone_id, direction) for zone_id in self.zone_ids for direction in Direction))


def close_window(spark: SparkSession, edge: Edge, window_start: datetime) -> Entry:
    """Settle and release one window: the stored release, or one drawn now; all null if its day is closed.

    Earlier hours of the same token-day that were not closed yet are closed first, in order.
    """
    stored = edge.ledger.entry(window_start)
    if stored is not None:
        return stored
    day = token_day_start(window_start, edge.turn_hour_utc)
    try:
        lineage = open_day(edge, day)
        if edge.folder.outbox(edge.ledger.carrier, window_start).exists():
            # The ledger is older than what has left: it was restored, and would draw again.
            edge.ledger.close_day(day, "the ledger does not know a release that has left")
            raise DayClosed("the ledger does not know a release that has left")
        counts, digest = _settle(spark, edge, day, window_start + HOUR)
    except DayClosed:
        return edge.ledger.release_null(window_start, turn_hour_utc=edge.turn_hour_utc)
    return edge.ledger.release(
        window_start,
        counts,
        turn_hour_utc=edge.turn_hour_utc,
        lineage=lineage,
        carry_over_digest=digest,
        complete=not edge.folder.lost_files(day),
        noise=edge.noise,
    )


def null_window(edge: Edge, window_start: datetime) -> Entry:
    """The all-null release of a window that can no longer be told, whatever its day rests on now."""
    # Closed, or opened with other settings: null is said of the day as it was opened.
    with suppress(LedgerRefused):
        open_day(edge, token_day_start(window_start, edge.turn_hour_utc))
    return edge.ledger.release_null(window_start, turn_hour_utc=edge.turn_hour_utc)


def open_day(edge: Edge, day: datetime) -> str:
    """The lineage of a token-day, tied to its tables; raises DayClosed or LedgerRefused."""
    if day < edge.grid_valid_from:
        raise LedgerRefused("the zone grid is not valid yet on this token-day")
    lineage = edge.ledger.open_day(
        day,
        lineage_on_disk=edge.folder.lineage(day),
        grid_id=edge.grid_id,
        plan_digest=edge.ground_digest,
        policy=edge.noise.policy,
        cells=edge.cells,
    )
    if edge.folder.lineage(day) is None:
        edge.folder.write_lineage(day, lineage)
    return lineage


def _settle(spark: SparkSession, edge: Edge, day: datetime, hour: datetime) -> tuple[list[int], str]:
    """The exact counts of the window before `hour`, and the digest of the carry-over that closing `hour` leaves."""
    if hour == day:
        carry_over = empty_carry_over()
    else:
        before = hour - HOUR
        known = edge.ledger.carry_over_digest(day, before)
        path = edge.folder.carry_over(day, before)
        if known is None or not path.is_file() or file_digest(path) != known:
            # Never closed, or lost: the day's own partitions give it again, byte for byte, or the day is over.
            _, again = _settle(spark, edge, day, before)
            if known is not None and again != known:
                edge.ledger.close_day(day, "a carry-over was lost and cannot be rebuilt")
                raise DayClosed("a carry-over was lost and cannot be rebuilt")
            if known is None:
                edge.ledger.settle(day, before, again)
        carry_over = pl.read_parquet(path)
    step = _step(spark, edge, day, hour, carry_over)
    return _grid_counts(edge, step.counts), edge.folder.write_carry_over(day, hour, step.carry_over)


def _step(spark: SparkSession, edge: Edge, day: datetime, hour: datetime, carry_over: pl.DataFrame) -> Step:
    # After the last hour of a token-day there are no more of its rows: pending movements settle as they stand.
    past_the_turn = hour - day == HOUR * HOURS_IN_DAY
    try:
        manifest = {"files": []} if past_the_turn else edge.folder.manifest(day, hour, edge.ground_digest)
        frozen = edge.ledger.freeze(day, hour, manifest)
        paths = edge.folder.check(frozen)
    except TableDamaged as damaged:
        edge.ledger.close_day(day, str(damaged))
        raise DayClosed(str(damaged)) from damaged
    rows = sum(file["rows"] for file in frozen["files"])
    hour_start_ms = int(hour.timestamp() * 1000)
    return advance_on_spark(
        spark,
        carry_over,
        [str(path) for path in paths],
        edge.ground,
        hour_start_ms=hour_start_ms,
        k=edge.noise.policy.k,
        buckets=max(spark.sparkContext.defaultParallelism, -(-rows // SIGHTINGS_PER_BUCKET)),
    )


def advance_on_spark(
    spark: SparkSession,
    carry_over: pl.DataFrame,
    paths: list[str],
    ground: Ground,
    *,
    hour_start_ms: int,
    k: int,
    buckets: int,
) -> Step:
    """`movement.advance` on every core: rows and memories of a token meet in one bucket; one collect.

    The result does not depend on how many buckets there are: counts are sums and the carry-over is sorted by token.
    """
    if not paths and carry_over.is_empty():
        return advance(carry_over, pl.DataFrame(schema=SIGHTING_SCHEMA), ground, hour_start_ms=hour_start_ms, k=k)
    remembered = spark.createDataFrame(carry_over.to_arrow(), _CARRY_OVER_COLUMNS)
    seen = (
        spark.read.schema(_SIGHTING_COLUMNS).parquet(*paths) if paths else spark.createDataFrame([], _SIGHTING_COLUMNS)
    )
    parts = (
        _in_buckets(seen, buckets)
        .cogroup(_in_buckets(remembered, buckets))
        .applyInArrow(_bucket_step(ground, hour_start_ms, k), _BUCKET_RESULT)
        .collect()
    )
    counts = [_read_table(part.counts) for part in parts]
    memories = [_read_table(part.carry_over) for part in parts]
    tally = sum((Tally(**_read_table(part.tally).row(0, named=True)) for part in parts), Tally())
    total = (
        pl.concat([pl.DataFrame(schema=COUNT_SCHEMA), *counts])
        .group_by("zone", "direction")
        .agg(pl.col("count").sum())
        .sort("zone", "direction")
    )
    return Step(total, pl.concat([empty_carry_over(), *memories]).sort("token"), tally)


def _in_buckets(rows: DataFrame, buckets: int) -> Any:
    return rows.withColumn("bucket", F.pmod(F.hash("token"), F.lit(buckets))).groupBy("bucket")


def _bucket_step(ground: Ground, hour_start_ms: int, k: int) -> Callable[[pa.Table, pa.Table], pa.Table]:
    def step(seen: pa.Table, remembered: pa.Table) -> pa.Table:
        carry_over = _polars(remembered, CARRY_OVER_SCHEMA)
        sightings = _polars(seen, SIGHTING_SCHEMA)
        done = advance(carry_over, sightings, ground, hour_start_ms=hour_start_ms, k=k)
        result = (done.counts, done.carry_over, pl.DataFrame([asdict(done.tally)]))
        names = ("counts", "carry_over", "tally")
        return pa.table({name: pa.array([_write_table(t)], pa.binary()) for name, t in zip(names, result, strict=True)})

    return step


def _polars(table: pa.Table, schema: pl.Schema) -> pl.DataFrame:
    frame = pl.from_arrow(table.select(schema.names()))
    assert isinstance(frame, pl.DataFrame)
    return frame.cast(dict(schema))  # type: ignore[arg-type]


def _write_table(table: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.write_ipc(buffer)
    return buffer.getvalue()


def _read_table(content: bytes) -> pl.DataFrame:
    return pl.read_ipc(io.BytesIO(content))


def _grid_counts(edge: Edge, counts: pl.DataFrame) -> list[int]:
    """The counts over the whole public grid, zeros included, in the order of `Edge.cells`."""
    found = {
        (edge.zone_ids[zone], DIRECTIONS[direction]): count
        for zone, direction, count in counts.select("zone", "direction", "count").iter_rows()
    }
    return [found.get(cell, 0) for cell in edge.cells]
