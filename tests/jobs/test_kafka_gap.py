"""What Kafka deleted unread: which offsets, and which hours they may have held."""

from datetime import UTC, datetime, timedelta

import pytest

from ingest.kafka import Held, Topic
from jobs.kafka_gap import Gap, RecordsLost, check_nothing_lost, find_gaps, lost_hours, read_until
from jobs.kafka_source import read_so_far

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
    assert find_gaps({0: 5, 1: 5}, {0: Held(5, 9), 1: Held(0, 5), 2: Held(3, 4)}) == []
    check_nothing_lost(read(batch({0: 5}, [4])), TOPIC, {0: Held(5, 9)})
    check_nothing_lost(read({"inputs": ["a.parquet"]}), TOPIC, {0: Held(5, 9)})


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
    assert lost_hours(None, at(8), now=NOW) is None


def test_hours_that_nobody_can_tell_any_more_are_left_out():
    hours = lost_hours(NOW - timedelta(days=400), NOW, now=NOW)
    assert len(hours) == 27
    assert hours[-1] == at(12)
