"""Turns of the edge without Spark: what is away is waited for, anything else ends the run, windows are told all the same."""

import sqlite3
from datetime import UTC, datetime, timedelta
from threading import Event
from types import SimpleNamespace

import pytest
from pyspark.errors import PySparkException

import jobs.turns
from geofence.cell_plan import CellPlanError
from ingest.kafka import KafkaUnreachable
from ingest.token_day import hour_start
from jobs.kafka_gap import RecordsLost
from jobs.keys import make_key
from jobs.sight import SightStopped
from jobs.turns import TURNS_WITHOUT_REASON, Asked, take_turns
from tests.jobs.border import DAY
from tests.jobs.edge_run import HOUR, QUIET, ROWS, EdgeRun, LiveRun


class Turns:
    """A replay taken in turns; `faults` are what reading comes to, turn by turn, before it goes well."""

    def __init__(self, folder, one_process, monkeypatch, faults=()):
        self.run, self.faults, self.reports, self.reads = EdgeRun(None, folder, ROWS), list(faults), [], 0
        spark = SimpleNamespace(range=one_process.range, sparkContext=one_process.sparkContext, stop=lambda: None)
        read = jobs.turns.run_sight

        def sight(*given, **named):
            self.reads += 1
            if self.faults:
                raise self.faults.pop(0)
            read(*given, **named)

        monkeypatch.setattr(jobs.turns, "edge_session", lambda **_: spark)
        monkeypatch.setattr(jobs.turns, "run_sight", sight)

    def take(self, every_s=None, turns=1):
        stopping = Event()

        def told(report):
            self.reports.append(report)
            if len(self.reports) == turns:
                stopping.set()

        take_turns(self.run.settings, Asked(every_s=every_s), QUIET, tell=lambda _: None, told=told, stopping=stopping)
        return self


def test_once_is_once_and_says_everything(tmp_path, one_process, monkeypatch):
    (report,) = Turns(tmp_path, one_process, monkeypatch).take().reports
    assert report["events_read"] == len(ROWS)
    assert len(report["windows_released"]) == 24


def test_a_source_that_is_away_is_waited_for(tmp_path, one_process, monkeypatch):
    away = KafkaUnreachable("topic rows could not be read: _TIMED_OUT")
    turns = Turns(tmp_path, one_process, monkeypatch, [away, away]).take(every_s=0.01, turns=4)
    assert [report["away"] for report in turns.reports] == [str(away), str(away), None, None]
    assert [len(report["windows_released"]) for report in turns.reports] == [0, 0, 24, 0]


def test_records_that_are_lost_end_no_run_and_windows_are_told_all_the_same(tmp_path, one_process, monkeypatch):
    turns = Turns(tmp_path, one_process, monkeypatch)
    turns.run.spark = one_process
    turns.run.sight()
    lost = RecordsLost("topic rows, partition 0: offsets 5 to 6 were deleted before they were read")
    turns.faults = [lost, lost]
    turns.take(every_s=0.01, turns=3)
    assert [report["away"] for report in turns.reports] == [str(lost), str(lost), None]
    assert len(turns.reports[0]["windows_released"]) == 24


def test_a_source_that_is_away_ends_a_run_that_was_to_be_one_turn(tmp_path, one_process, monkeypatch):
    with pytest.raises(KafkaUnreachable):
        Turns(tmp_path, one_process, monkeypatch, [KafkaUnreachable("away")]).take()


def test_a_fault_that_needs_a_person_ends_the_run_after_its_windows_were_told(tmp_path, one_process, monkeypatch):
    turns = Turns(tmp_path, one_process, monkeypatch)
    turns.run.spark = one_process
    turns.run.sight()
    turns.faults = [SightStopped("too many")]
    with pytest.raises(SightStopped):
        turns.take(every_s=0.01, turns=9)
    assert turns.reads == 1
    assert len(list(turns.run.folder.releases.glob("*zone-hour*"))) == 24


def test_a_spark_that_fails_turn_after_turn_ends_the_run_and_its_words_are_not_repeated(
    tmp_path, one_process, monkeypatch
):
    faults = [PySparkException("a value") for _ in range(TURNS_WITHOUT_REASON)]
    turns = Turns(tmp_path, one_process, monkeypatch, faults)
    with pytest.raises(PySparkException):
        turns.take(every_s=0.01, turns=99)
    assert [report["away"] for report in turns.reports] == ["PySparkException"] * (TURNS_WITHOUT_REASON - 1)


def test_another_cell_plan_is_read_when_its_file_changes(tmp_path, one_process, monkeypatch):
    turns = Turns(tmp_path, one_process, monkeypatch)
    plan = tmp_path / "cells.csv"
    plan.write_bytes(turns.run.settings.cell_plan.read_bytes())
    turns.run.settings = turns.run.settings.model_copy(update={"cell_plan": plan})
    placed, told = [], turns.reports.append
    place = jobs.turns.place_cells
    monkeypatch.setattr(jobs.turns, "place_cells", lambda settings: placed.append(1) or place(settings))
    stopping = Event()

    def report(said):
        told(said)
        if len(turns.reports) == 2:
            plan.write_bytes(b"\n".join(plan.read_bytes().splitlines()[:-1]) + b"\n")
        if len(turns.reports) == 4:
            stopping.set()

    take_turns(turns.run.settings, Asked(every_s=0.01), QUIET, tell=lambda _: None, told=report, stopping=stopping)
    assert len(placed) == 2


# Deletion comes first


def overdue(one_process, folder):
    """A live edge with tables of a day that is long past."""
    run = LiveRun(one_process, folder, ROWS)
    run.at(DAY + HOUR * 3, covers=DAY + HOUR * 3)
    run.used.ledger.close()
    assert run.folder.token_days() == [DAY]
    return run


def one_turn(settings, stopping=None, **asked):
    take_turns(
        settings,
        Asked(**asked),
        QUIET,
        tell=lambda _: None,
        told=lambda _: None,
        stopping=stopping or Event(),
    )


def nothing_left(run):
    return not list(run.folder.root.rglob("*.parquet")) and not list((run.folder.root / "keys").iterdir())


def test_a_broken_cell_plan_stands_in_the_way_of_no_deletion(one_process, tmp_path):
    run = overdue(one_process, tmp_path)
    plan = tmp_path / "broken.csv"
    plan.write_text("rat,plmn\nEUTRA,1\n")
    with pytest.raises(CellPlanError):
        one_turn(run.settings.model_copy(update={"cell_plan": plan}))
    assert nothing_left(run)


def test_a_damaged_ledger_stands_in_the_way_of_no_deletion(one_process, tmp_path):
    run = overdue(one_process, tmp_path)
    for name in ("ledger.sqlite-wal", "ledger.sqlite-shm"):
        (run.folder.root / name).unlink(missing_ok=True)
    run.folder.ledger.write_bytes(b"no ledger" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        one_turn(run.settings)
    assert nothing_left(run)


def test_every_turn_deletes_before_it_reads(one_process, tmp_path, monkeypatch):
    run = overdue(one_process, tmp_path)
    spark = SimpleNamespace(range=one_process.range, sparkContext=one_process.sparkContext, stop=lambda: None)
    there = []

    def read(*_, **__):
        there.append(nothing_left(run))
        if len(there) == 2:
            stopping.set()
        make_key(run.folder.root, DAY)  # what the next turn finds

    stopping = Event()
    monkeypatch.setattr(jobs.turns, "edge_session", lambda **_: spark)
    monkeypatch.setattr(jobs.turns, "run_sight", read)
    monkeypatch.setattr(jobs.turns, "_at_home", lambda *_: [])  # months of null windows
    one_turn(run.settings, stopping, close=False, every_s=0.01)
    assert there == [True, True]


def test_what_the_ledger_and_the_grounds_hold_of_a_day_goes_when_they_can_be_read_again(one_process, tmp_path):
    run = overdue(one_process, tmp_path)
    jobs.turns.delete_outlived(run.folder, now=DAY + HOUR * 26)
    run.used = run.edge()
    manifests = lambda: run.used.ledger._db.execute("SELECT manifest FROM closed_hour").fetchall()  # noqa: E731
    assert {manifest for (manifest,) in manifests()} != {"{}"}
    jobs.turns.keep_house(run.used, now=DAY + HOUR * 26, progress=lambda _: None)
    assert {manifest for (manifest,) in manifests()} == {"{}"}
    run.used.ledger.close()


@pytest.mark.parametrize(("every_s", "slept"), [(86400, 3600), (60, 60)])
def test_a_turn_comes_when_a_day_is_to_be_deleted_however_seldom_it_was_asked_for(
    every_s, slept, one_process, tmp_path, monkeypatch
):
    run = LiveRun(one_process, tmp_path, [])
    run.used.ledger.close()
    spark = SimpleNamespace(range=one_process.range, sparkContext=one_process.sparkContext, stop=lambda: None)
    monkeypatch.setattr(jobs.turns, "edge_session", lambda **_: spark)
    monkeypatch.setattr(jobs.turns, "_at_home", lambda *_: [])
    day = datetime.now(UTC) - timedelta(hours=25)
    make_key(run.folder.root, hour_start(day))
    waited = []
    stopping = SimpleNamespace(wait=lambda seconds: not waited.append(seconds))
    one_turn(run.settings, stopping, read=False, close=False, every_s=every_s)
    (seconds,) = waited
    assert 0 < seconds <= slept
