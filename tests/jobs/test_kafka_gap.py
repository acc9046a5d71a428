"""What Kafka deleted unread: which offsets, and which hours they may have held."""

from datetime import UTC, datetime, timedelta

import pytest

import jobs.edge
import jobs.kafka_edge
import jobs.kafka_gap
from ingest.kafka import Held, Topic, TransactionOpen
from ingest.marks import FeedMark
from jobs.edge import place_cells, run_sight
from jobs.kafka_gap import (
    Gap,
    RecordsLost,
    check_all_stable,
    check_nothing_lost,
    find_gaps,
    held_back,
    lost_hours,
    read_until,
    record_gap,
)
from jobs.kafka_settings import KafkaSettings
from jobs.kafka_source import read_so_far
from jobs.tables import EdgeFolder
from tests.jobs.border import edge_settings
from tests.jobs.edge_run import QUIET

TOPIC = Topic("rows", "id-1", 2)
NOW = datetime(2026, 3, 2, 12, 30, tzinfo=UTC)


def at(hour, minute=0):
    return datetime(2026, 3, 2, hour, minute, tzinfo=UTC)


def batch(ends, hours, topic_id="id-1"):
    """A committed batch that read partitions up to `ends` and saw rows of these hours in each."""
    return {
        "kafka": {"topic_id": topic_id, "ranges": [["rows", partition, 0, end] for partition, end in ends.items()]},
        "rows": [
            {"source": f"rows/{partition}", "hour": f"2026-03-02T{hour:02}Z", "what": "received", "rows": 1}
            for partition in ends
            for hour in hours
        ],
        "lost_hours": [],
    }


def read(*records):
    return read_so_far(records, TOPIC)


def test_a_topic_that_holds_what_comes_next_has_no_gap():
    assert find_gaps({0: 5, 1: 5}, {0: Held(5, 9), 1: Held(0, 5), 2: Held(0, 4)}) == []
    check_nothing_lost(read(batch({0: 5}, [4])), TOPIC, {0: Held(5, 9)})
    check_nothing_lost(read({"inputs": ["a.parquet"]}), TOPIC, {0: Held(5, 9)})


class Brokers:
    """What the brokers would say of the topic, and an edge that reads it: by offsets only, without Spark."""

    def __init__(self, folder, monkeypatch):
        section = KafkaSettings(bootstrap="broker:9092", topic="rows")
        changes = {"kafka": section, "source": None, "replay": False, "sources": ["core/0"], "marks": None}
        self.settings = edge_settings(folder, **changes)
        self.folder, self.placed = EdgeFolder(self.settings.state), place_cells(self.settings)
        self.held, self.marks = {0: Held(0, 0), 1: Held(0, 0)}, []
        for module in (jobs.kafka_edge, jobs.kafka_gap):
            monkeypatch.setattr(module, "check_topic", lambda *_: TOPIC)
            monkeypatch.setattr(module, "held_records", lambda *_: self.held)
        monkeypatch.setattr(jobs.kafka_gap, "oldest_times", lambda *_: {})
        monkeypatch.setattr(jobs.edge, "read_marks_topic", lambda *_, **__: self.marks)
        monkeypatch.setattr(jobs.kafka_edge, "sight_topic", self.take_in)
        monkeypatch.setattr(jobs.kafka_edge, "TRANSACTIONS_END_WITHIN_S", 0.0)

    def take_in(self, run, source, read):
        """What the stream does: it commits the offsets that may be read."""
        ranges = {p: there.end for p, there in self.held.items() if there.end > read.ends[p]}
        if ranges:
            record = batch(ranges, [11]) | {"inputs": [], "files": [], "files_refused": {}, "grounds": {}}
            run.folder.commit(f"b-{len(self.folder.records())}", record)
            read.ends.update(ranges)

    def sight(self):
        run_sight(None, self.settings, self.placed, QUIET, now=NOW)

    def record_gap(self):
        return record_gap(self.settings.kafka, self.folder, now=NOW)


@pytest.fixture
def brokers(tmp_path, monkeypatch):
    return Brokers(tmp_path, monkeypatch)


@pytest.mark.parametrize("first_read", [0, 5])
def test_records_deleted_unread_from_a_partition_that_was_never_read_are_a_gap(brokers, first_read):
    brokers.held = {0: Held(0, first_read), 1: Held(3, 3)}
    brokers.sight()
    brokers.held = {0: Held(0, first_read), 1: Held(40, 60)}
    with pytest.raises(RecordsLost, match=r"partition 1: offsets 3 to 39 .*tidemark edge record-gap"):
        brokers.sight()
    told = brokers.record_gap()
    assert told["gaps"] == [{"partition": 1, "first": 3, "last": 39}]
    assert told["recorded"]
    brokers.sight()
    assert read(*brokers.folder.records()).ends == {0: first_read, 1: 60}


def test_what_was_deleted_before_the_first_run_is_no_gap(brokers):
    brokers.held = {0: Held(7, 9), 1: Held(40, 60)}
    assert not brokers.record_gap()["recorded"]
    brokers.sight()
    assert read(*brokers.folder.records()).ends == {0: 9, 1: 60}


def test_a_partition_that_was_added_and_lost_records_before_a_run_has_a_gap(brokers):
    brokers.sight()
    brokers.held = {**brokers.held, 2: Held(4, 9)}
    with pytest.raises(RecordsLost, match="partition 2: offsets 0 to 3 "):
        brokers.sight()


def test_a_gap_whose_beginning_nobody_knows_is_over_when_its_hours_can_no_longer_be_told(brokers):
    brokers.sight()
    brokers.held = {0: Held(0, 0), 1: Held(40, 60)}
    hours = brokers.record_gap()["hours_not_complete"]
    assert (hours[0], hours[-1]) == ("2026-03-01T10Z", "2026-03-02T12Z")
    assert brokers.folder.lost([at(12)])
    assert not brokers.folder.lost([at(13)])


# What nobody may read yet


def test_marks_are_not_believed_while_a_transaction_holds_records_back_and_are_once_it_has_ended(brokers):
    brokers.marks, brokers.held = [FeedMark("core", 0, at(10))], {0: Held(0, 5), 1: Held(0, 0)}
    brokers.sight()
    assert brokers.folder.covered_until == at(10)
    brokers.marks, brokers.held = [FeedMark("core", 0, at(11))], {0: Held(0, 9), 1: Held(0, 2, held_back=6)}
    with pytest.raises(TransactionOpen, match="partition 1 is held back at offset 2 of 8 by a transaction"):
        brokers.sight()
    assert read(*brokers.folder.records()).ends == {0: 9, 1: 2}
    assert brokers.folder.covered_until == at(10)
    brokers.held = {0: Held(0, 9), 1: Held(0, 8)}
    brokers.sight()
    assert brokers.folder.covered_until == at(11)


def test_a_transaction_that_ends_while_the_edge_reads_holds_nothing_back():
    so_far = read(batch({0: 8, 1: 5}, [4]))
    check_all_stable(so_far, TOPIC, {0: Held(0, 2, held_back=6), 1: Held(0, 5)})
    with pytest.raises(TransactionOpen):
        check_all_stable(so_far, TOPIC, {0: Held(0, 2, held_back=7), 1: Held(0, 5)})


def test_an_open_transaction_is_said_in_a_sentence():
    assert held_back(TOPIC, {0: Held(0, 5), 1: Held(0, 2)}) is None
    assert "partition 1 is held back at offset 2 of 3" in held_back(TOPIC, {0: Held(0, 5), 1: Held(0, 2, held_back=1)})


# What Kafka deleted


def test_records_deleted_unread_are_named_with_the_command_that_records_them():
    assert find_gaps({0: 5}, {0: Held(7, 9)}) == [Gap(0, 5, 7)]
    with pytest.raises(RecordsLost, match=r"partition 0: offsets 5 to 6 .*tidemark edge record-gap"):
        check_nothing_lost(read(batch({0: 5}, [4])), TOPIC, {0: Held(7, 9)})


def test_a_topic_that_was_made_again_is_named_with_the_command():
    with pytest.raises(RecordsLost, match=r"not the one that was read before.*tidemark edge record-gap"):
        check_nothing_lost(read(batch({0: 5}, [4], topic_id="old")), TOPIC, {0: Held(0, 9)})


def test_a_partition_that_ends_before_what_was_read_of_it_is_named():
    with pytest.raises(RecordsLost, match="ends at offset 4 and was read up to 5"):
        check_nothing_lost(read(batch({0: 5}, [4])), TOPIC, {0: Held(0, 4)})


def test_what_is_lost_came_after_the_last_row_that_was_read_or_after_the_marks():
    records = [batch({0: 5, 1: 5}, [3, 4]), batch({0: 9}, [6])]
    assert read_until(records, TOPIC, [0], None) == at(6)
    assert read_until(records, TOPIC, [0, 1], None) == at(4)
    assert read_until(records, TOPIC, [0, 1], at(5, 40)) == at(5, 40)
    assert read_until(records, TOPIC, [0], at(5, 40)) == at(6)
    assert read_until(records, TOPIC, None, None) == at(4)
    assert read_until(records, TOPIC, [0, 2], None) is None


def test_a_second_gap_begins_where_the_first_one_ended():
    gap = batch({0: 9}, []) | {"lost_hours": ["2026-03-02T06Z", "2026-03-02T07Z"]}
    assert read_until([batch({0: 5}, [4]), gap], TOPIC, [0], None) == at(7)


def test_the_hours_of_a_gap_reach_from_a_late_row_before_it_to_the_record_behind_it():
    assert lost_hours(at(8, 20), at(10, 5), now=NOW) == [at(8), at(9), at(10)]
    assert lost_hours(at(8, 10), at(8, 59), now=NOW) == [at(7), at(8)]
    assert lost_hours(None, at(8), now=NOW)[0] == NOW.replace(minute=0) - timedelta(hours=26)
    assert lost_hours(None, at(8), now=NOW)[-1] == at(8)


def test_hours_that_nobody_can_tell_any_more_are_left_out():
    hours = lost_hours(NOW - timedelta(days=400), NOW, now=NOW)
    assert len(hours) == 27
    assert hours[-1] == at(12)
