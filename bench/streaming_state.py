"""The things that the hourly close is measured against: the same rules as streaming state, each as its users write it.

Every variant reads the same sightings as a file stream, batch by batch, keeps its state across batches, and gives the
counts of the hour once a mark says that the hour is over. The three that keep the rules must give the counts that
`close` gives, or nothing is measured. None of them is part of the product; docs/decisions/0002 says why.
"""

import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle

from bench.plain_rules import PlainGround, Rules, booked, in_order
from bench.synthetic import MadeUpHour
from movement.advance import HOUR_MS, SIGHTING_SCHEMA, advance, empty_carry_over
from movement.ground import Ground
from movement.sighting import Side

COLUMNS = "token binary, event_time bigint, cell int, side tinyint"
COUNTED = "zone int, direction tinyint, count bigint"
BUCKETS = 8
MARK_AFTER_MS = HOUR_MS + 15 * 60_000
"""How far past the hour's end the mark stands: every movement has settled and every late row has come."""

Counts = Counter[tuple[int, int]]
"""(zone, direction) -> movements of the hour."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A folder of sightings, a file a batch, the mark last; and what its rules need to know."""

    folder: Path
    state: Path
    ground: Ground
    hour_start_ms: int
    k: int

    def read(self, spark: SparkSession) -> DataFrame:
        return spark.readStream.schema(COLUMNS).option("maxFilesPerTrigger", 1).parquet(str(self.folder))

    @property
    def hour_end_ms(self) -> int:
        return self.hour_start_ms + HOUR_MS


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to keep streaming state, and in words what it does and leaves out."""

    name: str
    does: str
    run: Callable[[SparkSession, Stream], Counts]
    keeps_the_rules: bool = True
    on_rocksdb: bool = True


def write_stream(hour: MadeUpHour, folder: Path) -> None:
    """The slots of an hour as plain files that a stream reads one a batch, in order, and a mark in every bucket."""
    folder.mkdir(parents=True)
    mark = pl.DataFrame(
        {
            "token": [bytes([256 * bucket // BUCKETS]) + bytes(15) for bucket in range(BUCKETS)],
            "event_time": [hour.hour_start_ms + HOUR_MS + MARK_AFTER_MS] * BUCKETS,
            "cell": [-1] * BUCKETS,
            "side": [int(Side.ENDED)] * BUCKETS,
        },
        schema=SIGHTING_SCHEMA,
    )
    for number, rows in enumerate([*hour, mark]):
        path = folder / f"batch-{number:05}.parquet"
        rows.write_parquet(path)
        os.utime(path, (1_700_000_000 + number,) * 2)  # Spark takes the oldest file first


# Per token: the textbook job


class TokenState(StatefulProcessor):
    """The rows of one token, kept in a value; a timer for who may have moved counts them when the hour has settled.

    Every rule of `advance` holds. The rows of the whole token-day are kept where a carry-over would do, which for one
    hour is the less to write. A token that was only ever seen at home costs one read and one write a batch, no timer.
    """

    def __init__(self, ground: PlainGround, hour_start_ms: int, k: int) -> None:
        self.ground, self.hour_start_ms, self.k = ground, hour_start_ms, k

    def init(self, handle: StatefulProcessorHandle) -> None:
        self.handle = handle
        self.rows = handle.getValueState("rows", "rows array<struct<at:bigint,cell:int,side:int>>")

    def handleInputRows(self, key: Any, rows: Iterator[Row], timerValues: Any) -> Iterator[Row]:  # noqa: N802, N803
        known = self.rows.get()
        before = list(known[0]) if known is not None else []
        news = [(row.event_time, row.cell, row.side) for row in rows]
        self.rows.update(([*before, *news],))
        if any(side for _, _, side in news) and not any(side for _, _, side in before):
            self.handle.registerTimer(self.hour_start_ms + 2 * HOUR_MS)
        return iter(())

    def handleExpiredTimer(self, key: Any, timerValues: Any, expiredTimerInfo: Any) -> Iterator[Row]:  # noqa: N802, N803
        known = self.rows.get()
        rows = in_order((at, cell, side) for at, cell, side in known[0]) if known is not None else []
        for at, zone, direction in booked(rows, self.ground, Rules(k=self.k)):
            if at == self.hour_start_ms:
                yield Row(zone=zone, direction=direction, count=1)

    def close(self) -> None:
        pass


def per_token(spark: SparkSession, stream: Stream) -> Counts:
    """`transformWithState` on Rows, grouped by token, event-time timers behind a watermark of 15 min."""
    rows = stream.read(spark).withColumn("at", F.timestamp_millis("event_time")).withWatermark("at", "15 minutes")
    processor = TokenState(_plain(stream.ground), stream.hour_start_ms, stream.k)
    counted = rows.groupBy("token").transformWithState(processor, COUNTED, "Append", "EventTime")
    return _collected(counted, stream)


def _plain(ground: Ground) -> PlainGround:
    pairs = zip(
        (ground.overlapping // ground.cells).tolist(), (ground.overlapping % ground.cells).tolist(), strict=True
    )
    zones = ground.cell_zone.tolist()
    points = frozenset(ground.is_crossing_point.nonzero()[0].tolist())
    return PlainGround(zones, zones, points, frozenset(pairs))


# Per bucket: what a team arrives at when the textbook job is too slow


class BucketState(StatefulProcessor):
    """The chunks of one bucket of tokens as they came, in a list; `advance` over all of them when the mark comes."""

    def __init__(self, ground: Ground, hour_start_ms: int, k: int) -> None:
        self.ground, self.hour_start_ms, self.k = ground, hour_start_ms, k

    def init(self, handle: StatefulProcessorHandle) -> None:
        self.chunks = handle.getListState("chunks", "chunk binary")

    def handleInputRows(self, key: Any, rows: Iterator[Any], timerValues: Any) -> Iterator[Any]:  # noqa: N802, N803
        table = pl.concat([_of_pandas(part) for part in rows])
        news = table.filter(pl.col("event_time") < self.hour_start_ms + HOUR_MS)
        if news.height:
            self.chunks.appendValue((_packed(news),))
        if news.height < table.height:  # the mark
            chunks = [_unpacked(chunk) for (chunk,) in self.chunks.get()]
            yield _settled(chunks, self.ground, self.hour_start_ms, self.k).to_pandas()

    def close(self) -> None:
        pass


def per_bucket(spark: SparkSession, stream: Stream) -> Counts:
    """`transformWithStateInPandas`, grouped by the first bits of the token."""
    bucket = F.expr(f"cast(conv(hex(substring(token, 1, 1)), 16, 10) as int) * {BUCKETS} div 256")
    processor = BucketState(stream.ground, stream.hour_start_ms, stream.k)
    counted = (
        stream.read(spark)
        .withColumn("bucket", bucket)
        .groupBy("bucket")
        .transformWithStateInPandas(processor, COUNTED, "Append", "None")
    )
    return _collected(counted, stream)


def _of_pandas(rows: Any) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "token": pl.Series(pa.array(rows["token"], pa.binary())),
            **{name: rows[name].to_numpy() for name in ("event_time", "cell", "side")},
        }
    ).cast(dict(SIGHTING_SCHEMA))  # type: ignore[arg-type]


# In the driver: no state store at all


def in_the_driver(spark: SparkSession, stream: Stream) -> Counts:
    """`foreachBatch`: every batch as Arrow into the driver, kept in a file a batch; `advance` there at the mark."""
    counts: Counts = Counter()
    stream.state.mkdir(parents=True)

    def take_in(rows: DataFrame, batch: int) -> None:
        table = pl.from_arrow(rows.toArrow())
        assert isinstance(table, pl.DataFrame)
        news = table.filter(pl.col("event_time") < stream.hour_end_ms)
        if news.height:
            news.write_ipc(stream.state / f"{batch:05}.arrow")
        if news.height < table.height:
            chunks = [pl.read_ipc(path) for path in sorted(stream.state.glob("*.arrow"))]
            settled = _settled(chunks, stream.ground, stream.hour_start_ms, stream.k)
            counts.update({(zone, direction): count for zone, direction, count in settled.iter_rows()})

    _run(stream.read(spark), stream, take_in)
    return counts


# SQL: what needs no code, and does not know a movement


def sql_window(spark: SparkSession, stream: Stream) -> Counts:
    """A tumbling window a token: its first and its last row of the hour, in the state store of Spark's own aggregate."""
    moment = F.struct("event_time", "side", "cell")
    rows = stream.read(spark).withColumn("at", F.timestamp_millis("event_time")).withWatermark("at", "15 minutes")
    ends = (
        rows.groupBy(F.window("at", "1 hour"), "token")
        .agg(F.min(moment).alias("first"), F.max(moment).alias("last"))
        .filter((F.col("first.side") == int(Side.ABROAD)) != (F.col("last.side") == int(Side.ABROAD)))
    )
    zones = stream.ground.cell_zone.tolist()
    seen: Counts = Counter()

    def take_in(rows: DataFrame, batch: int) -> None:
        for row in rows.collect():
            leaves = row["last"]["side"] == int(Side.ABROAD)
            home = row["first" if leaves else "last"]
            if home["cell"] >= 0 and zones[home["cell"]] >= 0:
                seen[zones[home["cell"]], int(leaves)] += 1

    _run(ends, stream, take_in, mode="append")
    return seen


VARIANTS: Sequence[Variant] = (
    Variant(
        "per_token",
        "transformWithState on Rows, a state a token in RocksDB, event-time timers; all rules; rows later than the "
        "watermark are dropped by other tokens' clocks",
        per_token,
    ),
    Variant(
        "per_bucket",
        f"transformWithStateInPandas, {BUCKETS} buckets of tokens, chunks in a list state in RocksDB, advance at the mark; "
        "all rules",
        per_bucket,
    ),
    Variant(
        "in_the_driver",
        "foreachBatch, Arrow to the driver, a plain file a batch, advance at the mark; all rules; one machine, no cipher, "
        "no manifest, no digest",
        in_the_driver,
        on_rocksdb=False,
    ),
    Variant(
        "sql_window",
        "tumbling window aggregate a token, Spark SQL only, RocksDB; first and last row of the hour, so at most one "
        "movement a token-hour; no flips, no crossing points, no bound over the day, no previous network: other counts",
        sql_window,
        keeps_the_rules=False,
    ),
)


def run_variant(spark: SparkSession, variant: Variant, stream: Stream) -> Counts:
    """The counts of a variant from empty state; its state store is set for this query only."""
    store = "RocksDBStateStoreProvider" if variant.on_rocksdb else "HDFSBackedStateStoreProvider"
    spark.conf.set(
        "spark.sql.streaming.stateStore.providerClass", f"org.apache.spark.sql.execution.streaming.state.{store}"
    )
    spark.conf.set("spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled", "true")
    return variant.run(spark, stream)


def _collected(counted: DataFrame, stream: Stream) -> Counts:
    counts: Counts = Counter()

    def take_in(rows: DataFrame, batch: int) -> None:
        for row in rows.groupBy("zone", "direction").agg(F.sum("count").alias("count")).collect():
            counts[row["zone"], row["direction"]] += row["count"]

    _run(counted, stream, take_in, mode="append")
    return counts


def _run(rows: DataFrame, stream: Stream, take_in: Callable[[DataFrame, int], None], mode: str = "append") -> None:
    query = (
        rows.writeStream.foreachBatch(take_in)
        .outputMode(mode)
        .option("checkpointLocation", str(stream.state / "checkpoint"))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()


def _settled(chunks: Sequence[pl.DataFrame], ground: Ground, hour_start_ms: int, k: int) -> pl.DataFrame:
    """The counts of an hour with nothing before it, once the hour after it has settled it."""
    rows = pl.concat([pl.DataFrame(schema=SIGHTING_SCHEMA), *chunks])
    step = advance(empty_carry_over(), rows, ground, hour_start_ms=hour_start_ms, k=k)
    quiet = pl.DataFrame(schema=SIGHTING_SCHEMA)
    return advance(step.carry_over, quiet, ground, hour_start_ms=hour_start_ms + HOUR_MS, k=k).counts


def _packed(table: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.write_ipc(buffer)
    return buffer.getvalue()


def _unpacked(content: bytes) -> pl.DataFrame:
    return pl.read_ipc(io.BytesIO(content))
