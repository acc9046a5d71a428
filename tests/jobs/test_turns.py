"""Turns of the edge without Spark: what is away is waited for, anything else ends the run, windows are told all the same."""

from threading import Event
from types import SimpleNamespace

import pytest
from pyspark.errors import PySparkException

import jobs.turns
from ingest.kafka import KafkaUnreachable
from jobs.sight import SightStopped
from jobs.turns import TURNS_WITHOUT_REASON, Asked, take_turns
from tests.jobs.edge_run import QUIET, ROWS, EdgeRun


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
