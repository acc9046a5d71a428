"""A live edge as days go by: what it waits for, when it speaks, what changes at the turn and what is gone after it."""

import shutil
from datetime import timedelta

import pytest

from ingest.release import Level
from jobs.edge import ClockAhead, keep_house, run_close
from jobs.milestone import milestones
from tests.jobs.border import DAY, ELSEWHERE, feed
from tests.jobs.edge_run import HOUR, ROWS, LiveRun, is_null, windows

NEXT = DAY + HOUR * 24


def test_an_hour_waits_for_its_feed_marks_and_then_goes_out_as_null(one_process, tmp_path):
    run = LiveRun(one_process, tmp_path, ROWS)
    due = DAY + HOUR + timedelta(minutes=80)
    assert run.at(due, covers=DAY + HOUR * 2 + timedelta(minutes=14)) == []
    assert run.at(due - timedelta(minutes=1), covers=DAY + HOUR * 2 + timedelta(minutes=15)) == []
    (entry,) = run.at(due)
    assert entry.document["feed"]["complete"] is True
    nulls = run.at(DAY + HOUR * 2 + timedelta(hours=6, minutes=80))
    assert windows(nulls) == [1]
    assert is_null(nulls[0])
    later = run.at(DAY + HOUR * 9, covers=DAY + HOUR * 12)
    assert windows(later) == list(range(2, 7))
    assert run.used.noise.seen == [run.plain(ROWS)[hour] for hour in (0, 2, 3, 4, 5, 6)]


def test_marks_that_come_after_the_source_was_read_vouch_for_nothing(one_process, tmp_path):
    run = LiveRun(one_process, tmp_path, ROWS)
    run.covers(DAY + timedelta(minutes=10))
    run.sight(DAY + HOUR * 3)
    run.covers(DAY + HOUR * 5)
    assert run.close(run.used, DAY + HOUR * 3) == []


def test_a_day_without_a_row_is_told_like_any_other(one_process, tmp_path):
    run = LiveRun(one_process, tmp_path, [])
    entries = run.at(DAY + HOUR * 4, covers=DAY + HOUR * 4)
    assert windows(entries) == [0, 1]
    assert run.used.noise.seen == [[0] * 6] * 2


def test_a_live_edge_deletes_by_the_wall_clock_whatever_else_fails(one_process, tmp_path):
    run = LiveRun(one_process, tmp_path, ROWS)
    run.at(DAY + HOUR * 3, covers=DAY + HOUR * 4)
    shutil.rmtree(run.settings.marks)  # no marks, no Spark: only the clock
    told = keep_house(run.used, now=DAY + HOUR * 26, progress=lambda _: None)
    assert windows(told) == list(range(1, 24))
    assert all(map(is_null, told))
    assert not list(run.folder.root.rglob("*.parquet"))


def test_a_clock_far_ahead_mutes_nobody_and_deletion_waits_for_no_word(one_process, tmp_path):
    """A machine that wakes up years ahead would say null of every hour until then, and could say nothing else ever after."""
    run = LiveRun(one_process, tmp_path, ROWS)
    run.at(DAY + HOUR * 3, covers=DAY + HOUR * 4)
    newest = run.used.ledger.newest_window()
    with pytest.raises(ClockAhead, match="edge trust-clock"):
        keep_house(run.used, now=DAY + timedelta(days=4000), progress=lambda _: None)
    assert run.folder.token_days() == []
    assert run.used.ledger.newest_window() == newest
    assert windows(keep_house(run.used, now=DAY + HOUR * 26, progress=lambda _: None)) == list(range(1, 24))


def test_after_a_long_pause_somebody_says_that_the_clock_is_right(one_process, tmp_path):
    run = LiveRun(one_process, tmp_path, [])
    run.at(DAY + HOUR * 3, covers=DAY + HOUR * 3)
    awake = DAY + timedelta(days=5)
    with pytest.raises(ClockAhead):
        run_close(one_process, run.settings, run.used, now=awake, progress=lambda _: None)
    run.folder.trust_clock(awake)
    told = run_close(one_process, run.settings, run.used, now=awake, progress=lambda _: None)
    assert len(windows(told)) == 23 + 4 * 24 - 8  # the last token-day's wait for their marks
    assert all(map(is_null, told))


# What changes at the turn


def two_days():
    """Rows of two token-days, the second one's an hour for hour copy under other tokens."""
    later = feed(seed=12, devices=120)
    for row in later:
        row["event_time"], row["ingest_time"] = row["event_time"] + HOUR * 24, row["ingest_time"] + HOUR * 24
    return sorted(ROWS + later, key=lambda row: row["ingest_time"])


def test_other_networks_and_a_stricter_policy_wait_for_the_turn(one_process, tmp_path):
    run = LiveRun(one_process, tmp_path, two_days())
    run.at(DAY + HOUR * 3, covers=DAY + HOUR * 3)
    before = run.placed
    stricter = run.settings.policy.model_copy(update={"policy_id": "stricter", "threshold": 80})
    run.change(networks_across=[ELSEWHERE], policy=stricter)
    entries = run.at(DAY + HOUR * 26 - timedelta(minutes=1), covers=DAY + HOUR * 26)
    assert windows(entries)[-1] == 23
    assert run.used.noise.seen == run.plain(ROWS)
    assert {entry.document["mechanism"]["policy_id"] for entry in entries} == {"default-1"}
    entries = run.at(NEXT + HOUR * 8, covers=NEXT + HOUR * 8)
    assert {entry.document["mechanism"]["policy_id"] for entry in entries} == {"stricter"}
    pins = run.folder.grounds.pins()
    assert pins[NEXT].ground == run.used.current.ground
    assert run.used.noise.seen[24:] != [[0] * 6] * len(run.used.noise.seen[24:])
    assert before.grid.grid_id == run.placed.grid.grid_id


def test_a_file_of_two_token_days_is_sighted_on_the_ground_of_each(one_process, tmp_path):
    rows = two_days()
    run = LiveRun(one_process, tmp_path, rows)
    run.at(DAY + HOUR * 2, covers=DAY + HOUR * 2)
    run.change(networks_across=[ELSEWHERE])
    run.at(NEXT + HOUR, covers=NEXT + HOUR)  # one file: the rest of the first day, and an hour of the second
    grounds = [record["grounds"] for record in run.folder.records() if len(record["grounds"]) == 2]
    assert len(grounds) == 1
    assert len(set(grounds[0].values())) == 2


def test_a_grid_that_is_not_valid_yet_leaves_the_last_one_in_force(one_process, tmp_path):
    run = LiveRun(one_process, tmp_path, two_days())
    run.at(DAY + HOUR * 3, covers=DAY + HOUR * 3)
    run.change(grid_valid_from=NEXT + HOUR * 24, networks_across=[ELSEWHERE])
    run.at(DAY + HOUR * 26 - timedelta(minutes=1), covers=DAY + HOUR * 26)
    entries = run.at(NEXT + HOUR * 4, covers=NEXT + HOUR * 4)
    assert windows(entries)[-1] == 25
    pins = run.folder.grounds.pins()
    assert pins[NEXT].ground != run.used.current.ground


def test_grounds_that_no_day_rests_on_go_with_the_last_of_their_days(one_process, tmp_path):
    run = LiveRun(one_process, tmp_path, two_days())
    run.at(DAY + HOUR * 3, covers=DAY + HOUR * 3)
    run.change(networks_across=[ELSEWHERE])
    run.at(NEXT + HOUR, covers=NEXT + HOUR)
    stored = [path for path in (run.folder.root / "grounds").iterdir() if path.is_dir()]
    assert len(stored) == 2
    run.at(NEXT + HOUR * 3, covers=NEXT + HOUR * 3)
    assert [path.name for path in stored if path.exists()] == [run.used.current.ground.removeprefix("sha256:")]


# The day's own levels


def test_the_day_levels_are_told_once_after_the_last_hour(one_process, tmp_path):
    run = LiveRun(one_process, tmp_path, ROWS)
    run.at(DAY + HOUR * 24, covers=DAY + HOUR * 24)
    entries = run.at(NEXT + HOUR + timedelta(minutes=20), covers=NEXT + HOUR * 2)
    assert windows(entries) == [22, 23]
    assert [entry.level for entry in entries[2:]] == [Level.SECTOR_DAY, Level.BORDER_DAY]
    drawn = run.used.noise.levels[Level.BORDER_DAY].seen
    assert sum(drawn[0]) == sum(map(sum, run.used.noise.seen)) > 50
    assert run.at(NEXT + HOUR + timedelta(minutes=21)) == []
    names = sorted(path.name for path in run.folder.releases.glob("*-day_*.json"))
    assert names == ["carrier-a_border-day_2026-03-02T02Z.json", "carrier-a_sector-day_2026-03-02T02Z.json"]


def test_day_levels_that_a_crash_kept_back_are_told_by_the_next_run(one_process, tmp_path):
    run = LiveRun(one_process, tmp_path, ROWS)
    run.at(DAY + HOUR * 24, covers=DAY + HOUR * 24)

    def crash(point):
        if point == "before-day-commit":
            raise KeyboardInterrupt

    run.used.ledger._milestone = crash
    with pytest.raises(KeyboardInterrupt):
        run.at(NEXT + HOUR + timedelta(minutes=20), covers=NEXT + HOUR * 2)
    run.used.ledger._milestone = milestones(None)
    told = run_close(
        one_process, run.settings, run.used, now=NEXT + HOUR + timedelta(minutes=25), progress=lambda _: None
    )
    assert [entry.level for entry in told] == [Level.SECTOR_DAY, Level.BORDER_DAY]
    assert sum(run.used.noise.levels[Level.BORDER_DAY].seen[-1]) == sum(map(sum, run.used.noise.seen)) > 50
