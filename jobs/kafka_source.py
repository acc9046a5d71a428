"""Kafka as a source for `sight`: which records a batch reads, told by offsets, and the records as the door's rows.

Spark's connector streams the topic: it says which offsets are new, cuts them into batches, and stops. As with files, a task
reads what a batch stands for by itself, so that no row passes through the JVM.

A row's `ingest_time` is its record's time and nothing else: the broker's clock, checked record by record, because a topic's
setting may have been another one when the record was written. A line may leave `ingest_time` out; one that carries it is
held to the layout like any line, and what it says is ignored.

What was read is known by the committed batch records alone, which name their offsets. Spark's checkpoint lives for one run:
whether it was lost, or is older than what was committed, is no question.
"""

import gc
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession

from ingest.attachment import LINE_BYTES
from ingest.avro_messages import Messages
from ingest.columns import ColumnMap
from ingest.kafka import Held, Records, Topic, read_offsets, registry_schemas
from ingest.lines import parse_table
from ingest.release import canonical_json
from ingest.rows import INSTANT
from jobs.sight import ROWS_PER_TASK, Sighting, sight_batch, tasks_of
from jobs.tables import EdgeFolder

_PATIENCE = {"request.timeout.ms": "15000", "default.api.timeout.ms": "30000"}
"""How long the connector waits for a broker that is away: as long as the tasks do, where it would wait for minutes."""
_ROWS_AT_ONCE = 200_000
_BYTES_AT_ONCE = 64 << 20


@dataclass(frozen=True, slots=True)
class KafkaSource:
    """A topic of cell-attachment events, one a record, and how to get at it. No login is ever shown.

    `login` is the tasks' own, in librdkafka's names; `java_login` the connector's; `topic` is what
    `ingest.kafka.check_topic` found at start. With a `registry` values are Avro messages, without it lines of NDJSON.
    """

    bootstrap: str
    topic: Topic
    login: Mapping[str, str] = field(default_factory=dict, repr=False)
    java_login: Mapping[str, str] = field(default_factory=dict, repr=False)
    records_per_batch: int = 1_000_000
    registry: str | None = None
    registry_login: Mapping[str, str | float] = field(default_factory=dict, repr=False)
    columns: ColumnMap | None = None


@dataclass(frozen=True, slots=True, order=True)
class OffsetRange:
    """The records of one partition from `start` up to, not including, `end`. Offsets have holes."""

    topic: str
    partition: int
    start: int
    end: int

    @property
    def rows(self) -> int:
        """About how many rows there are."""
        return self.end - self.start


@dataclass(slots=True)
class ReadSoFar:
    """What committed batches have read: which topics, by id, and up to where in each partition of the one in use.

    A partition that is not named begins at 0: the first run on a topic commits where every partition of that day begins.
    A run that goes on for long keeps it and adds to it: reading every record anew each time would take ever longer.
    """

    topic_ids: set[str]
    ends: dict[int, int]


class OffsetsRefused(RuntimeError):
    """What a batch reads is not known, or does not follow what was read before."""


def begin(folder: EdgeFolder, topic: Topic, held: Mapping[int, Held], read: ReadSoFar) -> None:
    """Commit where an edge's first run on its first topic begins, as a batch of ranges without records.

    Whatever Kafka deletes from then on before it was read is a gap, also in a partition of which nothing was read yet.
    """
    if read.topic_ids:
        return
    ranges = [OffsetRange(topic.name, number, there.oldest, there.oldest) for number, there in held.items()]
    record = batch_record(topic, ranges) | {"rows": [], "files": [], "grounds": {}}
    folder.commit(f"begin-{range_key(topic.topic_id, ranges)}", record)
    read.topic_ids.add(topic.topic_id)
    read.ends.update({entry.partition: entry.end for entry in ranges})


def sight_topic(run: Sighting, source: KafkaSource, read: ReadSoFar) -> None:
    """Bring everything that the topic holds now into the sightings table, then stop; `read` says and is told what was read.

    Records that Kafka has deleted before they were read stop it: a gap is told by a person, never skipped. Raises
    SightStopped if too many rows are refused.
    """
    checkpoint = run.folder.scratch / "kafka"
    shutil.rmtree(checkpoint, ignore_errors=True)
    risen: list[Exception] = []

    def take_in(_: DataFrame, batch: int) -> None:
        try:
            ranges = follow(read.ends, batch_ranges(checkpoint, batch))
            if ranges:
                key = range_key(source.topic.topic_id, ranges)
                tasks = tasks_of(pieces(ranges), run.spark.sparkContext.defaultParallelism)
                numbers = run.spark.range(0, len(tasks), 1, numPartitions=len(tasks)).toDF("task")
                tables = partial(read_tables, source, tasks)
                sight_batch(run, key, numbers, tables, batch_record(source.topic, ranges))
                read.topic_ids.add(source.topic.topic_id)
                read.ends.update({entry.partition: entry.end for entry in ranges})
        except Exception as error:
            risen.append(error)
            raise

    query = (
        read_records(run.spark, source, read.ends)
        .writeStream.foreachBatch(take_in)
        .option("checkpointLocation", str(checkpoint))
        .trigger(availableNow=True)
        .start()
    )
    try:
        query.awaitTermination()
    except StreamingQueryException:
        if risen:
            raise risen[0] from None  # Spark would bury the reason under its own
        raise


def read_records(spark: SparkSession, source: KafkaSource, ends: Mapping[int, int]) -> DataFrame:
    """The topic as a stream: key, value, topic, partition, offset, timestamp, timestampType.

    It begins where the committed batches end (`ends`), in a partition without any at its first record.
    """
    reader = spark.readStream.format("kafka")
    for name, value in {**_PATIENCE, **source.java_login}.items():
        reader = reader.option(f"kafka.{name}", value)
    starting = {str(number): ends.get(number, 0) for number in range(source.topic.partitions)}
    return (
        reader.option("kafka.bootstrap.servers", source.bootstrap)
        .option("kafka.isolation.level", "read_committed")
        .option("groupIdPrefix", "tidemark-edge")
        .option("subscribe", source.topic.name)
        .option("startingOffsets", json.dumps({source.topic.name: starting}))
        .option("maxOffsetsPerTrigger", source.records_per_batch)
        .option("failOnDataLoss", "true")
        .option("fetchOffset.numRetries", 1)
        .load()
    )


# What a task reads


def pieces(ranges: Iterable[OffsetRange], at_most: int = ROWS_PER_TASK) -> list[OffsetRange]:
    """The ranges cut so that none is longer than a task should be."""
    return [
        replace(entry, start=start, end=min(start + at_most, entry.end))
        for entry in ranges
        for start in range(entry.start, entry.end, at_most)
    ]


def read_tables(
    source: KafkaSource, tasks: Sequence[Sequence[OffsetRange]], numbers: Iterator[pa.RecordBatch]
) -> Iterator[tuple[str, pl.DataFrame]]:
    """The rows of the tasks with these numbers, as tables of the door, each with its source: topic and partition."""
    parse = _parser(source)
    # A client's messages are many small objects; the collector would walk them over and over and find nothing to free.
    gc.disable()
    try:
        for number in (number for batch in numbers for number in batch.column(0).to_pylist()):
            for piece in tasks[number]:
                records = read_offsets(
                    source.bootstrap, piece.topic, piece.partition, piece.start, piece.end, source.login
                )
                for some in _larger(records):
                    yield f"{piece.topic}/{piece.partition}", rows_of(some, parse)
    finally:
        gc.enable()


def rows_of(records: Records, parse: Callable[[pl.Series], pl.DataFrame] = parse_table) -> pl.DataFrame:
    """Records as rows (ROW_TABLE), one for one. `ingest_time` is the record's time; without one the door refuses the row.

    A record without a value is an empty line, and as such refused.
    """
    return parse(records.values.fill_null(b"")).with_columns(ingest_time=records.times.cast(INSTANT))


def _parser(source: KafkaSource) -> Callable[[pl.Series], pl.DataFrame]:
    if source.registry is None:
        return parse_table
    return Messages(registry_schemas(source.registry, source.registry_login), source.columns).rows


def _larger(records: Iterable[Records]) -> Iterator[Records]:
    """Records in larger lots: a table costs the same work whatever it holds. A lot is bounded by its bytes as well."""
    held: list[Records] = []
    rows = size = 0
    for some in records:
        # A line too long is refused by its length: one byte more than allowed is enough to see that.
        values = some.values.bin.head(LINE_BYTES + 1)
        held.append(replace(some, values=values))
        rows, size = rows + len(values), size + int(values.bin.size().sum())
        if rows >= _ROWS_AT_ONCE or size >= _BYTES_AT_ONCE:
            yield _joined(held)
            held, rows, size = [], 0, 0
    if held:
        yield _joined(held)


def _joined(records: list[Records]) -> Records:
    values, times = ([getattr(some, name) for some in records] for name in ("values", "times"))
    return Records(pl.concat(values, rechunk=True), pl.concat(times, rechunk=True))


# What a batch reads


def batch_ranges(checkpoint: Path, batch: int) -> tuple[OffsetRange, ...]:
    """What a batch of the stream reads, by Spark's own record of its offsets; raises OffsetsRefused.

    A partition that was added since the batch before begins at 0: `failOnDataLoss` stops the stream where that is not so.
    """
    until = _logged(checkpoint / "offsets" / str(batch), line=2)
    before = checkpoint / "offsets" / str(batch - 1) if batch else checkpoint / "sources" / "0" / "0"
    since = _logged(before, line=2 if batch else 1)
    return tuple(
        sorted(
            OffsetRange(topic, int(partition), since.get(topic, {}).get(partition, 0), end)
            for topic, partitions in until.items()
            for partition, end in partitions.items()
            if end != since.get(topic, {}).get(partition, 0)
        )
    )


def follow(ends: Mapping[int, int], ranges: tuple[OffsetRange, ...]) -> tuple[OffsetRange, ...]:
    """The ranges, each of which begins where its partition was read to (`ends`); raises OffsetsRefused."""
    for entry in ranges:
        end = ends.get(entry.partition, 0)
        if entry.start != end:
            raise OffsetsRefused(
                f"partition {entry.partition} of {entry.topic} was read up to offset {end} and would be read on from "
                f"{entry.start}"
            )
    return ranges


def range_key(topic_id: str, ranges: Iterable[OffsetRange]) -> str:
    """The name of a batch, from the records that it reads: the same records give the same name.

    The topic's id is part of it, since the offsets of a topic that was deleted and made again begin anew.
    """
    stated = [[entry.topic, entry.partition, entry.start, entry.end] for entry in sorted(ranges)]
    return hashlib.sha256(canonical_json([topic_id, stated])).hexdigest()[:24]


def batch_record(topic: Topic, ranges: Iterable[OffsetRange]) -> dict[str, Any]:
    """What a batch's record says of its source: the topic and the ranges."""
    stated = [[entry.topic, entry.partition, entry.start, entry.end] for entry in sorted(ranges)]
    kafka = {"topic_id": topic.topic_id, "ranges": stated}
    return {"inputs": [], "kafka": kafka, "files_refused": {}, "lost_hours": []}


def read_so_far(records: Iterable[Mapping[str, Any]], topic: Topic) -> ReadSoFar:
    """What the committed records say was read, by the ranges that they hold of this very topic."""
    read = ReadSoFar(set(), {})
    for kafka in (record["kafka"] for record in records if "kafka" in record):
        read.topic_ids.add(kafka["topic_id"])
        if kafka["topic_id"] == topic.topic_id:
            for _, partition, _, end in kafka["ranges"]:
                read.ends[partition] = max(end, read.ends.get(partition, 0))
    return read


def _logged(path: Path, line: int) -> dict[str, dict[str, int]]:
    """Topic -> partition -> offset, from a line of a file that Spark's offset logs keep."""
    try:
        # The record of a stream's first offsets begins with a zero byte, left from an older Spark.
        lines = path.read_text(encoding="utf-8").lstrip("\0").splitlines()
        found: dict[str, dict[str, int]] = json.loads(lines[line])
    except (OSError, ValueError, IndexError):
        raise OffsetsRefused("the checkpoint holds no offsets for the batch, or its layout has changed") from None
    if not isinstance(found, dict) or not all(isinstance(partitions, dict) for partitions in found.values()):
        raise OffsetsRefused("the checkpoint's offsets are not those of a Kafka topic")
    return found
