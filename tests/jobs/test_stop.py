"""The stop switch: one person, one file, and nothing leaves."""

import os
import pwd
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

import jobs.close
import jobs.edge
from ingest.release import HOUR
from jobs.close import close_window, null_window
from jobs.edge import keep_house, publish
from jobs.push import PushRefused, push_releases
from jobs.stop import EdgeStopped, StopRefused, StopUnsure, leave_to_speak, start, stop, stop_history, stop_in_force
from tests.jobs.border import DAY, edge_settings
from tests.jobs.edge_run import ROWS, LiveRun, is_null, windows
from tests.jobs.one_process import OneProcess, sight_at_once

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)


def may_speak(root):
    try:
        with leave_to_speak(root):
            return True
    except EdgeStopped:
        return False


def test_nothing_may_speak_from_the_stop_to_the_start(tmp_path):
    assert may_speak(tmp_path)
    stop(tmp_path, "odd counts in the north", now=NOW)
    assert not may_speak(tmp_path)
    start(tmp_path, "a cell plan was wrong; mended", now=NOW + timedelta(hours=1))
    assert may_speak(tmp_path)


def test_the_history_says_who_when_and_why_and_a_second_stop_changes_nothing(tmp_path):
    me = pwd.getpwuid(os.getuid()).pw_name
    first = stop(tmp_path, "odd counts", now=NOW)
    assert stop(tmp_path, "me too", now=NOW + timedelta(minutes=5)) == first
    assert first.who.split(",")[0] == me
    start(tmp_path, "mended", now=NOW + timedelta(hours=1))
    stop(tmp_path, "again", now=NOW + timedelta(hours=2))
    acts = [(line["act"], line["at"], line["reason"]) for line in stop_history(tmp_path)]
    assert acts == [
        ("stop", "2026-03-02T08:00:00Z", "odd counts"),
        ("start", "2026-03-02T09:00:00Z", "mended"),
        ("stop", "2026-03-02T10:00:00Z", "again"),
    ]


def test_a_file_made_by_hand_stops_as_well(tmp_path):
    (tmp_path / "STOPPED").touch()
    assert not may_speak(tmp_path)
    assert stop_in_force(tmp_path).who is None
    start(tmp_path, "who was that?", now=NOW)
    assert may_speak(tmp_path)


def test_a_switch_that_is_off_cannot_be_turned_off_and_a_reason_is_needed(tmp_path):
    with pytest.raises(StopRefused, match="off already"):
        start(tmp_path, "why not", now=NOW)
    for reason in ("", "  ", "two\nlines", "x" * 501):
        with pytest.raises(StopRefused, match="a reason"):
            stop(tmp_path, reason, now=NOW)
    with pytest.raises(StopRefused, match="no edge folder"):
        stop(tmp_path / "none", "a reason", now=NOW)
    assert stop_in_force(tmp_path) is None
    assert stop_history(tmp_path) == []


def test_a_stop_returns_only_when_what_is_just_leaving_has_left(tmp_path):
    speaking, said = threading.Event(), []

    def speak():
        with leave_to_speak(tmp_path):
            speaking.set()
            time.sleep(0.3)
            said.append("a release")

    speaker = threading.Thread(target=speak)
    speaker.start()
    speaking.wait()
    stop(tmp_path, "now", now=NOW)
    assert said == ["a release"]
    speaker.join()


def test_a_stop_that_cannot_be_sure_is_in_force_all_the_same(tmp_path):
    with leave_to_speak(tmp_path), pytest.raises(StopUnsure, match="switch is on"):
        stop(tmp_path, "now", now=NOW, speaking_s=0.05)
    assert not may_speak(tmp_path)


def test_nothing_is_pushed_while_the_switch_is_on(tmp_path):
    settings = edge_settings(tmp_path, centre_url="http://127.0.0.1:9")
    (settings.state / "releases").mkdir(parents=True)
    (settings.state / "releases" / "a.json").write_text("{}")
    stop(settings.state, "now", now=NOW)
    with pytest.raises(EdgeStopped):
        push_releases(settings, "credential")
    start(settings.state, "go on", now=NOW)
    with pytest.raises(PushRefused, match="does not answer"):  # it tries again, and nobody is there
        push_releases(settings, "credential")


# On a whole edge


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A live edge that has told its first window."""
    monkeypatch.setattr(jobs.edge, "sight", sight_at_once)
    live = LiveRun(OneProcess(), tmp_path, ROWS)
    assert windows(live.at(DAY + HOUR + timedelta(minutes=80), covers=DAY + HOUR * 2 + timedelta(minutes=15))) == [0]
    yield live
    live.used.ledger.close()


def said(run):
    """All that could be seen of the edge speaking: files, ledger rows, draws, lines of what left."""
    files = sorted(path.name for path in run.folder.releases.iterdir())
    return (
        files,
        len(run.used.ledger.entries()),
        len(run.used.noise.seen),
        (run.folder.root / "left.ndjson").read_bytes(),
    )


def test_with_the_switch_on_nothing_is_drawn_and_no_file_appears(run):
    before, taken_in = said(run), len(run.folder.records())
    stop(run.folder.root, "odd counts", now=NOW)
    assert run.at(DAY + HOUR * 8, covers=DAY + HOUR * 8) == []
    assert said(run) == before
    assert len(run.folder.records()) > taken_in  # rows are taken in as before


def test_what_waited_is_told_in_order_and_right_once_the_switch_is_off(run):
    stop(run.folder.root, "odd counts", now=NOW)
    run.at(DAY + HOUR * 8, covers=DAY + HOUR * 8)
    start(run.folder.root, "they were right", now=NOW)
    entries = run.at(DAY + HOUR * 8 + timedelta(minutes=1))
    assert windows(entries) == [1, 2, 3, 4, 5]
    assert run.used.noise.seen == run.plain(ROWS)[:6]
    assert all(entry.document["feed"]["complete"] for entry in entries)


def test_a_stop_keeps_no_token_longer_and_what_it_outlasts_goes_out_as_null(run):
    run.at(DAY + HOUR * 3, covers=DAY + HOUR * 3)
    before = said(run)
    stop(run.folder.root, "for good", now=NOW)
    assert keep_house(run.used, now=DAY + HOUR * 26, progress=lambda _: None) == []
    assert not list(run.folder.root.rglob("*.parquet"))
    assert not list((run.folder.root / "keys").glob("*.key"))
    assert said(run) == before
    start(run.folder.root, "not for good", now=NOW)
    told = keep_house(run.used, now=DAY + HOUR * 26, progress=lambda _: None)
    assert windows(told) == list(range(1, 24))
    assert all(map(is_null, told))


def test_a_release_that_a_crash_kept_from_leaving_stays_in_while_the_switch_is_on(run):
    run.covers(DAY + HOUR * 4)
    run.sight(DAY + HOUR * 4)
    close_window(run.spark, run.used, DAY + HOUR)  # and the process died before it was published
    stop(run.folder.root, "odd counts", now=NOW)
    before = said(run)
    assert run.close(run.used, DAY + HOUR * 4) == []
    assert said(run) == before
    start(run.folder.root, "they were right", now=NOW)
    run.close(run.used, DAY + HOUR * 4)
    assert len(said(run)[0]) == 2


def test_each_way_to_speak_asks_the_switch_for_itself(run):
    unpublished = run.used.ledger.entry(DAY)
    object.__setattr__(unpublished, "published", False)
    run.folder.outbox("carrier-a", DAY).unlink()
    run.covers(DAY + HOUR * 4)
    run.sight(DAY + HOUR * 4)
    stop(run.folder.root, "odd counts", now=NOW)
    before = said(run)
    for speak in (
        lambda: publish(run.used, unpublished),
        lambda: close_window(run.spark, run.used, DAY + HOUR),
        lambda: null_window(run.used, DAY + HOUR),
    ):
        with pytest.raises(EdgeStopped):
            speak()
    assert said(run) == before


def test_a_stop_that_comes_while_an_hour_is_being_closed_still_comes_first(run, monkeypatch):
    run.covers(DAY + HOUR * 4)
    run.sight(DAY + HOUR * 4)
    before, settle = said(run), jobs.close._settle

    def stopped_meanwhile(*order):
        closed = settle(*order)
        stop(run.folder.root, "now", now=NOW)
        return closed

    monkeypatch.setattr(jobs.close, "_settle", stopped_meanwhile)
    assert run.close(run.used, DAY + HOUR * 4) == []
    assert said(run) == before
