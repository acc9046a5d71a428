"""The carrier's own eyes: how the feed is, whether every row is accounted for, and what needs a person."""

import json
import os
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pytest

import jobs.edge
import jobs.status
from ingest.kafka import Held, KafkaUnreachable, Topic
from ingest.marks import FeedMark
from ingest.release import HOUR
from ingest.token_day import folder_name
from jobs.equations import CLOSE, JOIN, MOVEMENTS, TABLE, unaccounted_rows, unaccounted_sightings
from jobs.kafka_settings import KafkaSettings
from jobs.standing import needs_a_person, source_health, token_days_at_rest, waiting_hours
from jobs.status import edge_standing, recent_records, topic_standing
from jobs.stop import Stop, stop
from movement.advance import Tally
from tests.jobs.border import DAY, write_parquet
from tests.jobs.edge_run import ROWS, EdgeRun, LiveRun
from tests.jobs.one_process import OneProcess, sight_at_once
from tests.jobs.told import ToldEdge

NOW = DAY + HOUR * 8


def rows(*counted, source="core"):
    """Rows of batch records as (hour of the day, what, how many)."""
    return [
        {"source": source, "hour": folder_name(DAY + HOUR * hour), "what": what, "rows": n} for hour, what, n in counted
    ]


def mark(hours, source="core", partition=0):
    return FeedMark(source, partition, DAY + timedelta(hours=hours))


# Sources


def test_shares_are_of_what_a_source_delivered_in_the_last_day():
    counted = rows((6, "received", 200), (6, "refused:late", 10), (6, "unknown_cell", 4), (6, "outside_belt", 186))
    (health,) = source_health([*counted, *rows((-30, "received", 900), (-30, "refused:late", 900))], [], now=NOW)
    assert (health.received, health.late_share, health.unknown_cell_share) == (200, 0.05, 0.02)


def test_a_probe_whose_marks_go_on_while_its_rows_stop_is_silent():
    seen = rows((3, "received", 200), (4, "received", 1))
    assert not source_health(seen, [mark(6.9)], now=NOW)[0].silent
    assert source_health(seen, [mark(7)], now=NOW)[0].silent
    assert not source_health(seen, [], now=NOW)[0].silent
    assert not source_health(seen, [mark(7), mark(5, partition=1)], now=NOW)[0].silent  # the marks have stopped as well


def test_a_source_is_known_by_its_own_name_or_with_its_partition():
    seen = rows((4, "received", 1), source="core/1")
    assert source_health(seen, [mark(7), mark(7.5, partition=1)], now=NOW)[0].covers_until == DAY + timedelta(hours=7.5)


def test_every_partition_of_a_topic_is_spoken_for_by_all_marks():
    seen = [
        *rows((6, "received", 9), source="cell-attachments/0"),
        *rows((4, "received", 9), source="cell-attachments/1"),
    ]
    found = source_health(seen, [mark(7), mark(8, "register")], now=NOW, topic="cell-attachments")
    assert [health.silent for health in found] == [False, True]


# Equations


def test_every_row_that_was_received_has_one_fate_in_its_hour_and_source():
    whole = [
        (4, "received", 10),
        (4, "refused:late", 1),
        (4, "sighting", 2),
        (4, "roaming_kept", 1),
        (4, "roaming_other", 1),
    ]
    whole += [(4, "outside_belt", 4), (4, "unknown_cell", 1)]
    assert unaccounted_rows(rows(*whole)) == []
    # Neither another hour nor another source makes up for a row that is missing.
    moved = [*rows(*whole[:-1]), *rows((5, "unknown_cell", 1))]
    assert [(one.equation, one.hour, one.rows) for one in unaccounted_rows(moved)] == [
        (JOIN, "2026-03-02T06Z", 1),
        (JOIN, "2026-03-02T07Z", -1),
    ]
    elsewhere = [*rows(*whole[:-1]), *rows((4, "unknown_cell", 1), source="register")]
    assert {one.source for one in unaccounted_rows(elsewhere)} == {"core", "register"}


def test_a_fate_that_nobody_knows_accounts_for_nothing():
    assert unaccounted_rows(rows((4, "received", 3), (4, "refused:whim", 3)))[0].rows == 3


TALLY = Tally(
    sightings=10,
    distinct=8,
    duplicate=2,
    candidates=5,
    counted=2,
    flip=2,
    outside_6h=1,
    pending_before=1,
    pending_after=1,
)
NUMBERS = {"2026-03-02T06Z": {**asdict(TALLY), "after_freeze": 3}}
KEPT = rows((4, "sighting", 9), (4, "roaming_kept", 4))


def test_every_sighting_and_movement_is_accounted_for_in_the_close():
    assert unaccounted_sightings(KEPT, NUMBERS, DAY) == []


@pytest.mark.parametrize(
    ("name", "equation"),
    [("after_freeze", TABLE), ("distinct", CLOSE), ("pending_before", MOVEMENTS), ("over_k", MOVEMENTS)],
)
def test_one_sighting_or_movement_too_many_is_found(name, equation):
    (hour, tally), *_ = NUMBERS.items()
    assert [one.equation for one in unaccounted_sightings(KEPT, {hour: {**tally, name: tally[name] + 1}}, DAY)] == [
        equation
    ]


# Waiting


def test_a_window_waits_for_the_marks_that_are_behind_and_says_which():
    marks = [mark(6), mark(4, "register")]
    found = waiting_hours(DAY + HOUR * 2, marks, ["core/0", "register/0", "probe/3"], now=NOW, stop=None)
    assert [one.window_start for one in found] == [DAY + HOUR * hour for hour in (2, 3, 4, 5)]
    assert "probe/3, register/0 do not reach 2026-03-02T06:15:00Z" in found[0].why
    assert "core/0" in found[3].why
    assert found[0].null_at == DAY + HOUR * 3 + timedelta(minutes=80, hours=6)


def test_a_window_whose_marks_are_there_waits_for_the_next_run_and_one_that_is_stopped_for_a_person():
    due = (DAY + HOUR * 5, [mark(8)], ["core/0"])
    assert [one.why for one in waiting_hours(*due, now=NOW, stop=None)] == ["the next run of the edge tells it"]
    assert [one.why for one in waiting_hours(*due, now=NOW, stop=Stop(None, None, None))] == ["the stop switch is on"]
    assert waiting_hours(DAY + HOUR * 7, [mark(8)], [], now=NOW, stop=None) == []
    assert waiting_hours(None, [mark(8)], [], now=NOW, stop=None) == []


def test_a_token_day_has_to_be_gone_two_hours_after_its_turn():
    (kept,) = token_days_at_rest([DAY], now=DAY + HOUR * 26)
    (late,) = token_days_at_rest([DAY], now=DAY + HOUR * 26 + timedelta(seconds=1))
    assert (kept.delete_by, kept.overdue, late.overdue) == (DAY + HOUR * 26, False, True)


# The whole


@pytest.fixture
def edge(tmp_path):
    told = ToldEdge(tmp_path)
    told.marks_reach(7)
    told.took_in("a", ("core", 5, "received", 100), ("core", 5, "outside_belt", 100))
    for hour in range(6):
        told.tell(hour)
    told.folder.write_covered_until(DAY + HOUR * 7)
    yield told
    told.ledger.close()


def standing_of(edge, now=NOW):
    covered = edge.folder.root / "COVERED"
    os.utime(covered, (now.timestamp() - 60,) * 2)
    return replace(edge_standing(edge.settings, now=now), free_share=0.5)  # of whatever machine this is


def test_an_edge_that_looks_after_itself_needs_nobody(edge):
    standing = standing_of(edge)
    assert needs_a_person(standing) == []
    document = json.loads(json.dumps(standing.document()))
    assert document["sources"][0]["received"] == 100
    assert document["hours_waiting"] == []
    assert document["incomplete_windows"] == {}


def test_looking_changes_nothing(edge):
    def contents():
        files = (path for path in edge.folder.root.rglob("*") if path.is_file())
        return {path: path.read_bytes() for path in files if not path.name.startswith("ledger")}

    before, said = contents(), edge.ledger.entries()
    standing_of(edge)
    assert contents() == before
    assert edge.ledger.entries() == said


def needs_after(edge, *, now=NOW):
    return " ".join(needs_a_person(standing_of(edge, now)))


def test_a_stop_is_said_with_who_and_why(edge):
    stop(edge.settings.state, "odd counts", now=NOW)
    assert "odd counts" in needs_after(edge)
    assert "tidemark edge start" in needs_after(edge)


def test_an_equation_that_does_not_hold_is_said(edge):
    edge.took_in("b", ("core", 6, "received", 7), ("core", 6, "outside_belt", 6))
    assert "1 unaccounted for in `received = " in needs_after(edge)


def test_a_silent_probe_is_said_to_the_carrier_and_no_release_knows_of_it(edge):
    edge.marks_reach(8)
    assert "its probe may be silent" in needs_after(edge)
    assert edge.tell(6).document["feed"] == {"complete": True}


def test_marks_that_stay_away_are_said_with_the_hour_of_the_null(edge):
    said = needs_after(edge, now=DAY + HOUR * 9.5)
    assert "core/0 do not reach 2026-03-02T10:15:00Z" in said
    assert "2026-03-02T16:20:00Z the first goes out as all null" in said


def test_refused_files_and_rows_are_said_with_what_to_do(edge):
    edge.took_in("b", files_refused={"file_damaged": 2})
    edge.took_in("c", ("core", 6, "received", 10), ("core", 6, "refused:late", 10))
    edge.took_in("d", ("core", 6, "received", 10), ("core", 6, "unknown_cell", 10))
    edge.took_in("e", ("core", 6, "received", 10), ("core", 6, "refused:future", 10))
    said = needs_after(edge)
    assert "2 file_damaged" in said
    assert "edge.cell_plan" in said
    assert "15 minutes late" in said
    assert "clock is wrong" in said


def test_alarms_that_cannot_be_read_or_stand_too_long_are_said(edge):
    alarm = {"source": "oss", "element": "site-7", "kind": "outage", "starts_at": "2026-03-01T05:00:00Z"}
    (edge.settings.alarms / "a.ndjson").write_text(json.dumps(alarm) + "\n{}\n")
    said = needs_after(edge)
    assert "a.ndjson:2: an alarm has source" in said
    assert "outage of site-7 (oss) stands since 2026-03-01T05:00:00Z" in said


def test_a_day_that_was_not_deleted_is_said_first_of_all(edge):
    edge.folder.day(DAY).mkdir(parents=True)
    standing = standing_of(edge, DAY + HOUR * 27)
    assert needs_a_person(standing)[0].startswith(
        "Token-day 2026-03-02T02:00:00Z had to be deleted by 2026-03-03T04:00:00Z"
    )


def test_a_release_that_is_not_the_ledgers_is_said(edge):
    (edge.folder.releases / "planted.json").write_text('{"digest": "sha256:planted"}')
    assert "the ledger does not know this release" in needs_after(edge)


def test_an_edge_that_does_not_run_is_said(edge):
    os.utime(edge.folder.root / "COVERED", ((NOW - HOUR * 3).timestamp(),) * 2)
    standing = edge_standing(edge.settings, now=NOW)
    assert any("has not taken anything in since" in need for need in needs_a_person(standing))


def test_brokers_that_do_not_answer_are_said_and_the_rest_is_shown(edge, monkeypatch):
    def unreachable(*_):
        raise KafkaUnreachable("topic feed-marks could not be read: no answer")

    for name in ("read_marks_topic", "check_topic"):
        monkeypatch.setattr(jobs.status, name, unreachable)
    topics = KafkaSettings(bootstrap="broker:9092")
    edge.settings = edge.settings.model_copy(update={"kafka": topics, "source": None, "marks": None})
    said = needs_after(edge)
    assert "feed marks cannot be read" in said
    assert "topic of events cannot be read" in said


def test_records_that_kafka_deleted_unread_are_said_with_the_command(edge, monkeypatch):
    topic = Topic("cell-attachments", "id", 1)
    record = {"topic_id": "id", "ranges": [["cell-attachments", 0, 0, 5]]}
    edge.took_in("b", kafka=record)
    monkeypatch.setattr(jobs.status, "check_topic", lambda *_: topic)
    settings = KafkaSettings(bootstrap="broker:9092")
    monkeypatch.setattr(jobs.status, "held_records", lambda *_: {0: Held(5, 12)})
    assert topic_standing(settings, edge.folder).records_unread == 7
    monkeypatch.setattr(jobs.status, "held_records", lambda *_: {0: Held(7, 12)})
    (lost,) = topic_standing(settings, edge.folder).lost
    assert "record-gap" in lost


def test_a_token_day_that_is_closed_and_a_full_disk_are_said(edge):
    edge.ledger.close_day(DAY, "a sightings file is gone")
    standing = replace(standing_of(edge), free_share=0.02)
    said = " ".join(needs_a_person(standing))
    assert "says nothing more: a sightings file is gone" in said
    assert "Make room" in said


def test_a_window_that_was_not_told_as_complete_says_why(edge):
    edge.tell(6, complete=False)
    (edge.folder.root / "feed.ndjson").write_text('{"window_start": "2026-03-02T08:00:00Z", "doubts": ["alarm"]}\n')
    assert standing_of(edge).incomplete == {DAY + HOUR * 6: ("alarm",)}


def test_old_records_are_left_aside(edge):
    old = edge.folder.batches / "a.json"
    os.utime(old, (datetime(2026, 2, 1, tzinfo=UTC).timestamp(),) * 2)
    assert list(recent_records(edge.folder, since=DAY)) == []


# On a whole edge


def test_on_an_edge_that_ran_every_equation_holds_and_nothing_is_left_over(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs.edge, "sight", sight_at_once)
    bad = [{**row, "domain": "KH"} for row in ROWS[:300]]
    run = LiveRun(OneProcess(), tmp_path, sorted(ROWS + bad, key=lambda row: row["ingest_time"]))
    for hour in range(1, 9):
        run.at(DAY + HOUR * hour + timedelta(minutes=20), covers=DAY + HOUR * hour + timedelta(minutes=16))
    late = [row for row in ROWS if row["event_time"] < DAY + HOUR * 2]
    write_parquet(late, run.settings.source / "again", files=1)  # what was said before, after its hours were closed
    now = DAY + HOUR * 8 + timedelta(minutes=40)
    run.at(now)
    standing = edge_standing(run.settings, now=now)
    assert standing.unaccounted == ()
    assert sum(source.received for source in standing.sources) == len(ROWS) + len(bad) + len(late)
    assert {source.source for source in standing.sources} == {"core/0", "again"}
    assert 0 < standing.duplicate_share < 0.1
    tallies = run.folder.hour_numbers(DAY)
    assert sum(tally["after_freeze"] for tally in tallies.values()) > 0
    assert [day.token_day for day in standing.token_days] == [DAY]
    assert standing.bytes_by_room["sightings"] > 0
    run.used.ledger.close()


def test_rows_of_the_hour_after_the_turn_are_the_next_days(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs.edge, "sight", sight_at_once)
    later = [{**row, **{name: row[name] + HOUR * 24 for name in ("event_time", "ingest_time")}} for row in ROWS]
    run = LiveRun(OneProcess(), tmp_path, ROWS + later)
    run.at(DAY + HOUR * 8, covers=DAY + HOUR * 8)
    for hour in (25, 25.5, 28):  # the day's last window waits for the hour after the turn; then the day is deleted
        run.at(DAY + HOUR * hour, covers=DAY + HOUR * hour)
        standing = edge_standing(run.settings, now=DAY + HOUR * hour)
        assert standing.unaccounted == ()
    assert folder_name(DAY + HOUR * 24) in run.folder.hour_numbers(DAY)
    assert [day.token_day for day in standing.token_days] == [DAY + HOUR * 24]
    run.used.ledger.close()


def test_the_last_day_of_a_replay_is_that_of_its_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs.edge, "sight", sight_at_once)
    run = EdgeRun(OneProcess(), tmp_path, ROWS)
    run.sight()
    edge = run.edge()
    run.close(edge)
    standing = edge_standing(run.settings, now=datetime.now(UTC))  # months after its rows
    assert [source.received for source in standing.sources] == [len(ROWS)]
    assert (standing.waiting, standing.unaccounted, standing.token_days) == ((), (), ())
    edge.ledger.close()
