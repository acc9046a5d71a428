"""A small canary search, without Spark; and the proofs that it finds what it is there to find."""

import pytest

from jobs.edge import open_edge, place_cells, run_close, run_sight
from jobs.keys import shred_key
from jobs.milestone import milestones
from jobs.settings import read_settings
from jobs.tables import EdgeFolder
from tests.campaigns import canary
from tests.jobs.conftest import one_process  # noqa: F401 - a fixture
from tests.jobs.edge_run import NOW


class Held(Exception):
    """The edge is stopped dead here."""


@pytest.fixture
def run_edge(one_process):  # noqa: F811
    """`canary.spark_edge` in this process."""

    def run(path, said, *, held=False):
        def hold(point):
            if held and point == canary.HELD_AT:
                raise Held

        settings, quiet = read_settings(path).edge, milestones(None)
        placed = place_cells(settings)
        try:
            run_sight(one_process, settings, placed, hold, now=NOW)
        except Held:
            return
        edge = open_edge(settings, placed, quiet)
        run_close(one_process, settings, edge, now=NOW, progress=lambda _: None)
        edge.ledger.close()

    return run


def test_after_the_turn_no_planted_token_is_anywhere(run_edge, tmp_path):
    report = canary.campaign(tmp_path, 100, 1, run_edge)
    assert report["found_before_the_turn_with_the_key"] == 100
    assert report["found_in_a_backup_after_the_turn"] == report["found_after_the_turn"] == 0
    assert report["exact_totals_found_before_the_turn_with_the_key"] > 0
    assert report["faults"] == []


def test_a_key_that_is_kept_is_missed_by_nobody(run_edge, tmp_path, monkeypatch):
    """Without the shredding, the backup speaks."""
    monkeypatch.setattr("jobs.tables.shred_key", lambda root, day: None)
    report = canary.campaign(tmp_path, 40, 1, run_edge)
    assert report["found_in_a_backup_after_the_turn"] == 40
    assert report["key_found_after"] >= 1


def test_tables_that_are_kept_are_silent_without_their_key(run_edge, tmp_path, monkeypatch):
    monkeypatch.setattr(EdgeFolder, "delete_day", lambda self, day, *_: shred_key(self.root, day))
    report = canary.campaign(tmp_path, 40, 1, run_edge)
    assert report["found_after_the_turn"] == 0
    assert report["faults"] == ["the day has not come to its end"]
