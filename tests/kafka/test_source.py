"""`sight`'s rows from a real topic, held against the same rows from files."""

import json
import random
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from pyspark.sql import Observation

from ingest.files import FileFormat
from ingest.kafka import check_topic
from jobs.door import admit, decide, locate, plan_table, read_files, sightings, tallies
from jobs.edge import place_cells
from jobs.kafka_source import (
    KafkaSource,
    OffsetsRefused,
    as_record,
    attachments,
    batch_ranges,
    committed_ranges,
    range_key,
    read_records,
)
from tests.jobs.border import NETWORKS, edge_settings, feed, ndjson_lines

pytestmark = pytest.mark.spark
TURN_HOUR_UTC = 2
GARBAGE = [b"", b"\xff", b"{", b"[]", b'{"token": NaN}', b'{"imsi": "204990123456789"}', b'{"token": "' + b"a" * 9000]


def lines_of_now(seed, devices):
    """A feed's lines as late as they were, counted back from this moment, without ingest_time; some of them garbage."""
    now, random_ = datetime.now(UTC), random.Random(seed)
    lines = []
    for row in feed(seed, devices):
        at = now - (row["ingest_time"] - row["event_time"])
        (line,) = ndjson_lines([{**{k: v for k, v in row.items() if k != "ingest_time"}, "event_time": at}])
        lines.append(line)
        if random_.random() < 0.02:
            lines.append(random_.choice(GARBAGE))
    return lines


def as_file(records, path):
    """What a carrier would have written had it stamped each line with its record's time itself."""
    lines = []
    for record in records:
        at = datetime.fromtimestamp(record.timestamp()[1] / 1000, UTC)
        try:
            row = json.loads(record.value())
            lines.append(ndjson_lines([{**row, "ingest_time": at}])[0])
        except (ValueError, TypeError):
            lines.append(record.value())
    path.write_bytes(b"".join(line + b"\n" for line in lines))


class Sight:
    """The steps of `sight` over a source: what became of every row, and the rows that were kept."""

    def __init__(self, spark, plan):
        self.spark, self.plan, self.tally, self.kept, self.batches = spark, plan, {}, [], []

    def take(self, rows):
        watched = Observation()
        kept = (
            rows.transform(admit)
            .transform(locate, self.plan)
            .transform(decide, NETWORKS)
            .observe(watched, *tallies())
            .transform(sightings, TURN_HOUR_UTC)
            .collect()
        )
        self.kept += [tuple(row) for row in kept]
        for name, count in watched.get.items():
            self.tally[name] = self.tally.get(name, 0) + count

    def file(self, path):
        self.take(read_files(self.spark, [path], FileFormat.NDJSON))
        return self

    def topic(self, source, checkpoint, records_per_batch=1_000_000, starting=()):
        def take_in(records, batch):
            self.batches.append(batch_ranges(checkpoint, batch))
            self.take(attachments(records))

        stream = read_records(self.spark, source, records_per_batch=records_per_batch, starting=starting)
        query = stream.writeStream.foreachBatch(take_in).option("checkpointLocation", str(checkpoint))
        query.trigger(availableNow=True).start().awaitTermination()
        return self


@pytest.fixture(scope="module")
def plan(spark, tmp_path_factory):
    return plan_table(spark, place_cells(edge_settings(tmp_path_factory.mktemp("edge"))).located.cells)


@pytest.fixture
def source(broker, topic):
    found = check_topic(broker.bootstrap, topic)
    return KafkaSource(broker.bootstrap, found.name, found.topic_id, found.partitions)


def test_a_topic_gives_the_very_rows_that_files_give_even_if_its_broker_is_killed(
    broker, topic, source, spark, plan, tmp_path
):
    checkpoint = tmp_path / "checkpoint"
    lines, later = lines_of_now(seed=3, devices=120), lines_of_now(seed=4, devices=60)
    broker.produce(topic, lines)
    by_topic = Sight(spark, plan).topic(source, checkpoint)
    broker.kill()
    broker.run("start")
    broker.produce(topic, later)
    by_topic.topic(source, checkpoint)
    as_file(broker.records(topic), tmp_path / "feed.ndjson")
    by_file = Sight(spark, plan).file(tmp_path / "feed.ndjson")
    assert by_topic.tally == by_file.tally
    assert sorted(by_topic.kept) == sorted(by_file.kept)
    assert by_topic.tally["received"] == len(lines) + len(later)
    assert len(by_topic.kept) > 300
    assert by_topic.tally["refused:late"] > 100
    assert by_topic.tally["refused:not_utf8"] > 0


def test_the_records_time_counts_and_what_the_line_claims_does_not(broker, topic, source, spark, plan, tmp_path):
    line = json.loads(lines_of_now(seed=3, devices=1)[0])
    at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    long_ago = {**line, "event_time": "2026-03-02T05:00:00Z", "ingest_time": "2026-03-02T05:00:00Z"}
    present = {**line, "event_time": at, "ingest_time": "2026-03-02T05:00:00Z"}
    muddled = {**line, "event_time": at, "ingest_time": "yesterday"}
    no_text = {**line, "event_time": at, "ingest_time": 1772427600}
    broker.produce(topic, [json.dumps(row).encode() for row in (long_ago, present, muddled, no_text)] + [None])
    tally = Sight(spark, plan).topic(source, tmp_path / "checkpoint").tally
    refused = {name: count for name, count in tally.items() if name.startswith("refused:") and count}
    assert refused == {"refused:late": 1, "refused:wrong_type": 1, "refused:not_json": 1}
    assert tally["received"] == 5


def test_a_record_that_its_producer_timed_is_refused(broker, spark, plan):
    broker.make_topic("timed-by-its-producer", config={})
    broker.produce("timed-by-its-producer", lines_of_now(seed=3, devices=3)[:1])
    stored = spark.read.format("kafka").option("kafka.bootstrap.servers", broker.bootstrap)
    sight = Sight(spark, plan)
    sight.take(attachments(stored.option("subscribe", "timed-by-its-producer").load()))
    assert (sight.tally["received"], sight.tally["refused:time"]) == (1, 1)


def test_batches_name_what_they_read_without_gap_or_overlap(broker, topic, source, spark, plan, tmp_path):
    lines = lines_of_now(seed=5, devices=60)
    broker.produce(topic, lines)
    sight = Sight(spark, plan).topic(source, tmp_path / "checkpoint", records_per_batch=len(lines) // 2)
    assert len(sight.batches) >= 2
    read = sorted(entry for ranges in sight.batches for entry in ranges)
    for before, after in pairwise(read):
        assert after.start == (before.end if after.partition == before.partition else 0)
    assert sum(entry.end - entry.start for entry in read) == len(lines) == sight.tally["received"]
    keys = [range_key(source.topic_id, ranges) for ranges in sight.batches]
    assert len(set(keys)) == len(keys)
    assert range_key("made-again", sight.batches[0]) != keys[0]


def test_a_lost_checkpoint_goes_on_where_the_committed_batches_end(broker, topic, source, spark, plan, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    broker.produce(topic, lines_of_now(seed=5, devices=20))
    first = Sight(spark, plan).topic(source, checkpoint)
    records = [{"kafka": as_record(source.topic_id, ranges)} for ranges in first.batches] + [{"files": []}]
    shutil.rmtree(checkpoint)
    later = lines_of_now(seed=6, devices=5)
    broker.produce(topic, later)
    starting = committed_ranges(records, source.topic_id)
    assert committed_ranges(records, "made-again") == []
    # A partition of which nothing was committed begins at its oldest record.
    only_one = [entry for entry in starting if entry.partition == 0]
    unread = sum(entry.end for entry in starting if entry.partition == 1)
    again = Sight(spark, plan).topic(source, checkpoint, starting=only_one)
    assert again.tally["received"] == len(later) + unread < first.tally["received"] + len(later)


def test_records_that_kafka_deleted_unread_stop_the_stream(broker, topic, source, spark, plan, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    broker.produce(topic, lines_of_now(seed=9, devices=5))
    Sight(spark, plan).topic(source, checkpoint)
    broker.produce(topic, lines_of_now(seed=9, devices=5))
    broker.forget(topic)
    broker.produce(topic, lines_of_now(seed=9, devices=5))
    with pytest.raises(Exception, match=r"(?i)data.?loss"):
        Sight(spark, plan).topic(source, checkpoint)


def test_a_checkpoint_without_offsets_is_refused(tmp_path):
    with pytest.raises(OffsetsRefused, match="holds no offsets"):
        batch_ranges(tmp_path, 0)


def test_a_source_shows_no_setting(source):
    secret = replace(source, settings={"sasl.jaas.config": "open-sesame"})
    assert "open-sesame" not in repr(secret)
