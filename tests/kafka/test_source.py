"""`sight` from a real topic, held against the same rows from files; nothing lost, nothing counted twice."""

import json
import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest

import jobs.kafka_edge
from ingest import kafka
from ingest.files import FileFormat
from ingest.kafka import (
    KafkaUnreachable,
    Records,
    RecordsGone,
    RegistryUnreachable,
    TransactionOpen,
    check_topic,
    publish_mark,
    read_offsets,
)
from ingest.marks import FeedMark
from jobs.kafka_gap import RecordsLost, record_gap
from jobs.kafka_source import (
    KafkaSource,
    OffsetRange,
    OffsetsRefused,
    batch_ranges,
    follow,
    pieces,
    range_key,
    rows_of,
)
from jobs.sight import SightStopped
from tests.ingest.feeds import TIMED, avro_message, avro_record
from tests.jobs.edge_run import EdgeRun
from tests.kafka.edge import HOUR, KafkaEdge, as_file, lines_of_now


@pytest.fixture
def edge(spark, tmp_path, broker, topic):
    broker.make_topic(f"{topic}-marks", partitions=1)
    return KafkaEdge(spark, tmp_path, broker, topic)


def by_file(spark, folder, records):
    """The same records through a file: what became of the rows, and the sightings."""
    run = EdgeRun(
        spark, folder, format=FileFormat.NDJSON, most_refused=1.0, grid_valid_from=datetime(2026, 3, 1, 2, tzinfo=UTC)
    )
    as_file(records, run.settings.source / "feed.ndjson")
    tally = run.sight()
    kept = []
    for day in run.folder.token_days():
        kept += run.folder.read_sightings(day, [f for r in run.folder.records() for f in r["files"]]).rows()
    return tally, sorted(kept)


class Killed(Exception):
    """Stands for a process that ends here."""


def dying(point):
    def reached(name):
        if name == point:
            raise Killed(name)

    return reached


# The rows


@pytest.mark.spark
def test_a_topic_gives_the_very_rows_that_files_give_even_if_its_broker_is_killed(broker, topic, edge, spark, tmp_path):
    lines, later = lines_of_now(seed=3, devices=120), lines_of_now(seed=4, devices=60)
    broker.produce(topic, lines)
    edge.sight()
    broker.kill()
    broker.run("start")
    broker.produce(topic, later)
    edge.sight()
    tally, kept = by_file(spark, tmp_path / "by-file", broker.records(topic))
    assert edge.tally == tally
    assert edge.kept == kept
    assert edge.tally["received"] == len(lines) + len(later)
    assert len(kept) > 300
    assert edge.refused["late"] > 100
    assert edge.refused["not_utf8"] > 0


@pytest.mark.spark
def test_the_records_time_counts_and_what_the_line_claims_does_not(broker, topic, edge):
    line = json.loads(lines_of_now(seed=3, devices=1, garbage=0)[0])
    now = datetime.now(UTC)

    def said(event_time, ingest_time):
        at = event_time.isoformat().replace("+00:00", "Z")
        return json.dumps({**line, "event_time": at, "ingest_time": ingest_time}).encode()

    long_ago = datetime(2026, 3, 2, 5, tzinfo=UTC)
    rows = [
        said(long_ago, "2026-03-02T05:00:00Z"),
        said(now, "2026-03-02T05:00:00Z"),
        said(now, "yesterday"),
        said(now, 1772427600),
        said(datetime(2099, 1, 1, tzinfo=UTC), "2099-01-01T00:00:00Z"),
        None,
    ]
    broker.produce(topic, rows)
    edge.sight()
    assert edge.refused == {"late": 1, "wrong_type": 1, "not_json": 1, "future": 1}
    assert edge.tally["received"] == len(rows)
    hours = {entry["hour"] for record in edge.folder.records() for entry in record["rows"]}
    assert all(
        hour is None or abs(datetime.fromisoformat(hour[:13] + ":00:00+00:00") - now) < 2 * HOUR for hour in hours
    )


@pytest.mark.spark
def test_a_record_that_its_producer_timed_is_refused_though_the_topics_setting_is_right_by_now(broker, topic, edge):
    broker.set_topic(topic, "message.timestamp.type", "CreateTime")
    broker.produce(topic, lines_of_now(seed=3, devices=3, garbage=0)[:5])
    broker.set_topic(topic, "message.timestamp.type", "LogAppendTime")
    broker.produce(topic, lines_of_now(seed=3, devices=3, garbage=0)[:2])
    edge.sight()
    assert edge.refused == {"time": 5}
    assert edge.tally["received"] == 7


@pytest.mark.spark
def test_rows_that_come_twice_and_out_of_order_make_no_other_sightings(broker, topic, edge, spark, tmp_path):
    lines = lines_of_now(seed=8, devices=40, garbage=0)
    broker.produce(topic, lines)
    edge.sight()
    once = set(edge.kept)
    again = lines * 2
    random.Random(8).shuffle(again)
    broker.produce(topic, again)
    edge.sight()
    assert set(edge.kept) == once
    assert edge.tally["received"] == 3 * len(lines)


@pytest.mark.spark
def test_too_many_bad_rows_stop_the_edge_and_nothing_of_the_batch_counts(broker, topic, spark, tmp_path):
    broker.make_topic(f"{topic}-marks", partitions=1)
    edge = KafkaEdge(spark, tmp_path, broker, topic, most_refused=0.5)
    broker.produce(topic, [b"{"] * 1500)
    with pytest.raises(SightStopped, match=r"100% of a batch's rows.*edge\.most_refused"):
        edge.sight()
    assert edge.ranges == []


@pytest.mark.spark
def test_avro_messages_are_read_with_their_registrys_schemas_and_timed_by_the_broker(
    broker, topic, spark, tmp_path, registry
):
    broker.make_topic(f"{topic}-marks", partitions=1)
    section = {"value": "avro", "registry": f"http://127.0.0.1:{registry.server_port}"}
    edge = KafkaEdge(spark, tmp_path, broker, topic, kafka=section)
    untimed = avro_record(ingest_time=None)
    registry.schemas[9] = {"schema": json.dumps(untimed)}
    present = avro_message({**TIMED, "event_time": datetime.now(UTC)}, untimed, 9)
    # What a message claims of its arrival is ignored, as in a line.
    long_ago = avro_message(TIMED)
    broker.produce(topic, [present, present, long_ago, b"{}", None])
    edge.sight()
    assert edge.refused == {"late": 1, "undecodable": 2}
    assert edge.tally["received"] == 5


@pytest.mark.spark
def test_a_registry_that_does_not_answer_stops_the_edge_and_refuses_no_row(broker, topic, spark, tmp_path, registry):
    broker.make_topic(f"{topic}-marks", partitions=1)
    registry.status = 503
    section = {
        "value": "avro",
        "registry": f"http://127.0.0.1:{registry.server_port}",
        "registry_client": {"max.retries": "0"},
    }
    broker.produce(topic, [avro_message(TIMED)])
    edge = KafkaEdge(spark, tmp_path, broker, topic, kafka=section)
    with pytest.raises(RegistryUnreachable, match="503"):
        edge.sight()
    assert edge.ranges == []


def test_a_line_longer_than_the_contract_allows_is_refused_by_its_length_and_a_time_that_nobody_set_is_none():
    (line,) = lines_of_now(seed=3, devices=1, garbage=0)[:1]
    at = datetime(2026, 3, 2, 5, tzinfo=UTC)
    values = pl.Series([line, None, line + b" " * 9000], dtype=pl.Binary)
    rows = rows_of(Records(values, pl.Series([at, None, at], dtype=pl.Datetime("ms", "UTC"))))
    assert rows["layout_refusal"].to_list() == [None, "not_json", "line_too_long"]
    assert rows["ingest_time"].to_list() == [at, None, at]


# What was read


@pytest.mark.spark
def test_batches_name_what_they_read_without_gap_or_overlap(broker, topic, spark, tmp_path):
    broker.make_topic(f"{topic}-marks", partitions=1)
    edge = KafkaEdge(spark, tmp_path, broker, topic, kafka={"records_per_batch": 1000})
    lines = lines_of_now(seed=5, devices=250)
    broker.produce(topic, lines)
    edge.sight()
    assert len(edge.folder.records()) >= 3
    for before, after in pairwise(edge.ranges):
        assert after[1] == (before[2] if after[0] == before[0] else 0)
    assert sum(end - start for _, start, end in edge.ranges) == len(lines) == edge.tally["received"]


@pytest.mark.spark
@pytest.mark.parametrize("point", ["after-write", "before-commit", "after-commit"])
def test_a_run_that_dies_in_a_batch_loses_nothing_and_doubles_nothing(broker, topic, spark, tmp_path, point):
    broker.make_topic(f"{topic}-marks", partitions=1)
    broker.produce(topic, lines_of_now(seed=5, devices=20))
    with pytest.raises(Killed):
        KafkaEdge(spark, tmp_path, broker, topic, milestone=dying(point)).sight()
    broker.produce(topic, lines_of_now(seed=6, devices=20))
    edge = KafkaEdge(spark, tmp_path, broker, topic).sight()
    tally, kept = by_file(spark, tmp_path / "by-file", broker.records(topic))
    assert edge.tally == tally
    assert edge.kept == kept


@pytest.mark.spark
def test_a_quiet_topic_makes_no_batch_but_where_it_begins_is_known(broker, topic, edge):
    edge.sight().sight()
    assert edge.ranges == []
    assert len(edge.folder.records()) == 1


def test_the_name_of_a_batch_is_what_it_reads():
    ranges = (OffsetRange("rows", 0, 0, 5), OffsetRange("rows", 1, 0, 7))
    assert range_key("id", ranges) == range_key("id", reversed(ranges))
    assert range_key("id", ranges) != range_key("made-again", ranges)
    assert range_key("id", ranges) != range_key("id", ranges[:1])


def test_a_batch_that_does_not_follow_what_was_read_is_refused():
    assert follow({0: 5}, (OffsetRange("rows", 0, 5, 9), OffsetRange("rows", 1, 0, 9)))
    with pytest.raises(OffsetsRefused, match="read up to offset 5 and would be read on from 4"):
        follow({0: 5}, (OffsetRange("rows", 0, 4, 9),))
    with pytest.raises(OffsetsRefused, match="read up to offset 0 and would be read on from 3"):
        follow({0: 5}, (OffsetRange("rows", 1, 3, 9),))


def test_a_long_range_is_cut_into_pieces_that_hold_it_all():
    cut = pieces([OffsetRange("rows", 0, 3, 10), OffsetRange("rows", 1, 0, 2)], at_most=3)
    assert [(one.partition, one.start, one.end) for one in cut] == [(0, 3, 6), (0, 6, 9), (0, 9, 10), (1, 0, 2)]


def test_a_checkpoint_without_offsets_is_refused(tmp_path):
    with pytest.raises(OffsetsRefused, match="holds no offsets"):
        batch_ranges(tmp_path, 0)


def test_a_source_shows_no_login(broker, topic):
    login = {"sasl.password": "open-sesame"}
    source = KafkaSource(broker.bootstrap, check_topic(broker.bootstrap, topic), login, login, registry_login=login)
    assert "open-sesame" not in repr(source)


# Marks


@pytest.mark.spark
def test_a_run_remembers_how_far_the_marks_vouched_before_it_read(broker, topic, edge):
    before = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
    edge.sight()
    assert edge.folder.covered_until is None
    publish_mark(broker.bootstrap, FeedMark("core", 0, before), topic=f"{topic}-marks")
    edge.sight()
    assert edge.folder.covered_until == before


@pytest.mark.spark
def test_an_open_transaction_holds_the_marks_back_until_it_has_ended(broker, topic, edge, monkeypatch):
    monkeypatch.setattr(jobs.kafka_edge, "TRANSACTIONS_END_WITHIN_S", 0.5)
    rows = lines_of_now(seed=3, devices=5, garbage=0)
    with broker.open_transaction(topic, rows, partition=1):
        broker.produce(topic, rows)
        publish_mark(broker.bootstrap, FeedMark("core", 0, datetime.now(UTC)), topic=f"{topic}-marks")
        with pytest.raises(TransactionOpen, match="partition 1 is held back at offset 0 of"):
            edge.sight()
        assert edge.folder.covered_until is None
    edge.sight()
    assert edge.folder.covered_until is not None
    assert edge.tally["received"] == 2 * len(rows)


# What Kafka deleted


@pytest.mark.spark
def test_records_deleted_unread_from_a_partition_that_was_never_read_stop_the_edge(broker, topic, edge):
    edge.sight()
    broker.produce(topic, lines_of_now(seed=9, devices=5))
    broker.forget(topic)
    later = lines_of_now(seed=10, devices=5)
    broker.produce(topic, later)
    with pytest.raises(RecordsLost, match=r"offsets 0 to \d+ were deleted"):
        edge.sight()
    assert record_gap(edge.settings.kafka, edge.folder, now=datetime.now(UTC))["recorded"]
    edge.sight()
    assert edge.tally["received"] == len(later)


@pytest.mark.spark
def test_records_deleted_unread_stop_the_edge_until_a_person_has_recorded_the_gap(broker, topic, edge):
    broker.produce(topic, lines_of_now(seed=9, devices=5))
    publish_mark(
        broker.bootstrap, FeedMark("core", 0, datetime.now(UTC) - timedelta(seconds=1)), topic=f"{topic}-marks"
    )
    edge.sight()
    read = edge.tally["received"]
    broker.produce(topic, lines_of_now(seed=9, devices=5))
    broker.forget(topic)
    later = lines_of_now(seed=10, devices=5)
    broker.produce(topic, later)
    with pytest.raises(RecordsLost, match="tidemark edge record-gap"):
        edge.sight()

    now, section = datetime.now(UTC), edge.settings.kafka
    looked = record_gap(section, edge.folder, now=now, dry_run=True)
    assert not looked["recorded"]
    with pytest.raises(RecordsLost):
        edge.sight()
    told = record_gap(section, edge.folder, now=now)
    assert told["gaps"] == looked["gaps"] != []
    assert set(told["hours_not_complete"]) >= {f"{now:%Y-%m-%dT%HZ}"}
    assert len(told["hours_not_complete"]) <= 3
    edge.sight()
    assert edge.tally["received"] == read + len(later)
    assert edge.folder.lost([now.replace(minute=0, second=0, microsecond=0)])
    assert not edge.folder.lost([now.replace(minute=0, second=0, microsecond=0) - 5 * HOUR])
    assert record_gap(section, edge.folder, now=now) == {
        "topic": topic,
        "another_topic_than_before": False,
        "gaps": [],
        "hours_not_complete": [],
        "recorded": False,
    }


@pytest.mark.spark
def test_a_topic_that_was_made_again_stops_the_edge_until_a_person_has_recorded_it(broker, topic, edge):
    broker.produce(topic, lines_of_now(seed=9, devices=5))
    edge.sight()
    read = edge.tally["received"]
    broker.delete_topic(topic)
    broker.make_again(topic)
    later = lines_of_now(seed=10, devices=5)
    broker.produce(topic, later)
    with pytest.raises(RecordsLost, match="not the one that was read before"):
        edge.sight()
    told = record_gap(edge.settings.kafka, edge.folder, now=datetime.now(UTC))
    assert told["another_topic_than_before"]
    assert told["recorded"]
    assert told["hours_not_complete"]
    edge.sight()
    assert edge.tally["received"] == read + len(later)


def test_records_that_are_gone_when_a_task_comes_for_them_are_named(broker, topic):
    broker.produce(topic, [b"a"] * 10)
    broker.forget(topic)
    broker.produce(topic, [b"a"] * 10)
    with pytest.raises(RecordsGone, match="partition 0 no longer holds offset 0"):
        list(read_offsets(broker.bootstrap, topic, 0, 0, 5))


def test_a_task_reads_exactly_its_offsets_though_a_transaction_left_holes(broker, topic):
    broker.produce_transaction(topic, [b"kept"] * 3, partition=0)
    broker.produce_transaction(topic, [b"given up"] * 3, partition=0, commit=False)
    broker.produce_transaction(topic, [b"kept too"] * 3, partition=0)

    def read(start, end):
        return [value for some in read_offsets(broker.bootstrap, topic, 0, start, end) for value in some.values]

    end = broker.end_of(topic, 0)
    assert end == 12  # each transaction ends in a record of its own
    assert read(0, end) == [b"kept"] * 3 + [b"kept too"] * 3
    assert read(1, 9) == [b"kept"] * 2 + [b"kept too"]
    assert read(3, 8) == []


def test_a_broker_that_is_away_when_a_task_comes_is_named_without_a_login(broker, topic, monkeypatch):
    monkeypatch.setattr(kafka, "ANSWER_WITHIN_S", 2.0)
    login = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "a",
        "sasl.password": "sesame",
    }
    with pytest.raises(KafkaUnreachable, match="partition 0: nothing came") as failed:
        list(read_offsets("127.0.0.1:1", topic, 0, 0, 5, login))
    assert "sesame" not in str(failed.value)
