"""Kafka as a source for `sight`: records as the door's rows, and what a batch reads, told by offsets.

A row's `ingest_time` is its record's time and nothing else: the broker's clock, checked record by record, because a topic's
setting may have been another one when the record was written. A line may leave `ingest_time` out; one that carries it is
held to the layout like any line, and what it says is ignored.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ingest.attachment import LINE_BYTES
from ingest.release import canonical_json
from jobs.door import PARSED_SCHEMA
from jobs.lines import parse_lines

_LOG_APPEND_TIME = 1
"""`timestampType` of a record whose time the broker set."""


_OLDEST = -2
"""Spark's word for a partition's oldest record."""


@dataclass(frozen=True, slots=True)
class KafkaSource:
    """A topic of cell-attachment events as NDJSON lines, one a record.

    `settings` are the Java client's own (`security.protocol`, `sasl.jaas.config`, `ssl.truststore.location`, …), handed on
    and never shown; `topic_id` and `partitions` are what `ingest.kafka.check_topic` found at start.
    """

    bootstrap: str
    topic: str
    topic_id: str
    partitions: int
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, order=True)
class OffsetRange:
    """The records of one partition from `start` up to, not including, `end`. Offsets have holes: this counts no rows."""

    topic: str
    partition: int
    start: int
    end: int


class OffsetsRefused(RuntimeError):
    """The checkpoint does not say what a batch reads."""


def read_records(
    spark: SparkSession, source: KafkaSource, *, records_per_batch: int, starting: Iterable[OffsetRange] = ()
) -> DataFrame:
    """The topic as a stream: key, value, topic, partition, offset, timestamp, timestampType.

    Without a checkpoint it begins where the committed ranges in `starting` end, else at the oldest record. Records that
    Kafka has deleted before they were read stop the stream: a gap is told by a person, never skipped.
    """
    reader = spark.readStream.format("kafka")
    for name, value in source.settings.items():
        reader = reader.option(f"kafka.{name}", value)
    return (
        reader.option("kafka.bootstrap.servers", source.bootstrap)
        .option("kafka.isolation.level", "read_committed")
        .option("groupIdPrefix", "tidemark-edge")
        .option("subscribe", source.topic)
        .option("startingOffsets", _starting_offsets(source, starting))
        .option("maxOffsetsPerTrigger", records_per_batch)
        .option("failOnDataLoss", "true")
        .load()
    )


def attachments(records: DataFrame) -> DataFrame:
    """Records as the door's rows: the contract's columns and the layout's refusal, `ingest_time` from the record's time.

    A record whose time was set by its producer has none, and the door refuses it as `time`. A record without a value is
    refused as `not_json`.
    """
    # A line too long is refused by its length: one byte more than allowed is enough to see that.
    line = F.substring(F.coalesce(F.col("value"), F.lit(b"")), 1, LINE_BYTES + 1)
    trusted = F.when(F.col("timestampType") == _LOG_APPEND_TIME, F.col("timestamp"))
    return records.select(line.alias("line"), trusted.alias("ingest_time")).mapInArrow(parse_records, PARSED_SCHEMA)


def parse_records(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Lines with their record's time, as the contract's columns; whatever a line says of `ingest_time` is ignored."""
    for batch in batches:
        times = batch.column(1)
        for rows in parse_lines(iter([batch])):
            at = rows.schema.get_field_index("ingest_time")
            kind = rows.schema.field(at)
            yield rows.set_column(at, kind, times.cast(kind.type))


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


def range_key(topic_id: str, ranges: Iterable[OffsetRange]) -> str:
    """The name of a batch, from the records that it reads: the same records give the same name whatever the checkpoint says.

    The topic's id is part of it, since the offsets of a topic that was deleted and made again begin anew.
    """
    stated = [[entry.topic, entry.partition, entry.start, entry.end] for entry in sorted(ranges)]
    return hashlib.sha256(canonical_json([topic_id, stated])).hexdigest()[:24]


def as_record(topic_id: str, ranges: Iterable[OffsetRange]) -> dict[str, Any]:
    """A batch's ranges as its committed record keeps them."""
    return {
        "topic_id": topic_id,
        "ranges": [[entry.topic, entry.partition, entry.start, entry.end] for entry in sorted(ranges)],
    }


def committed_ranges(records: Iterable[Mapping[str, Any]], topic_id: str) -> list[OffsetRange]:
    """The ranges of this very topic in committed records (`as_record` under the key `kafka`)."""
    kept = (record["kafka"] for record in records if record.get("kafka", {}).get("topic_id") == topic_id)
    return [OffsetRange(*entry) for offsets in kept for entry in offsets["ranges"]]


def _starting_offsets(source: KafkaSource, committed: Iterable[OffsetRange]) -> str:
    """Where a stream without a checkpoint begins, as Spark reads it; with a checkpoint Spark ignores it."""
    ends: dict[str, int] = {}
    for entry in committed:
        if entry.topic == source.topic:
            ends[str(entry.partition)] = max(entry.end, ends.get(str(entry.partition), 0))
    if not ends:
        return "earliest"
    # Every partition has to be named; one of which nothing was read begins at its oldest record.
    return json.dumps({source.topic: {str(number): _OLDEST for number in range(source.partitions)} | ends})


def _logged(path: Path, line: int) -> dict[str, dict[str, int]]:
    """Topic -> partition -> offset, from a line of a file that Spark's offset logs keep."""
    try:
        # The record of a stream's first offsets begins with a zero byte, left from an older Spark.
        lines = path.read_text(encoding="utf-8").lstrip("\0").splitlines()
        found: dict[str, dict[str, int]] = json.loads(lines[line])
    except (OSError, ValueError, IndexError):
        raise OffsetsRefused(
            "the checkpoint holds no offsets for the batch; it was damaged or its layout has changed"
        ) from None
    if not isinstance(found, dict) or not all(isinstance(partitions, dict) for partitions in found.values()):
        raise OffsetsRefused("the checkpoint's offsets are not those of a Kafka topic")
    return found
