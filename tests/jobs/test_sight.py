"""Taking files in: whose they are, how they are cut, what a damaged one costs, and what counts once it is written."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.attachment import AttachmentRefused, judge_timed
from ingest.files import FileFormat
from ingest.token_day import folder_name, hour_start, hours_of, instant_of
from jobs.close import close_window
from jobs.edge import drop_folder
from jobs.sight import Piece, SightStopped, Source, sight_files, tasks_of
from jobs.tables import batch_key
from tests.jobs.border import DAY, SCHEMA
from tests.jobs.edge_run import HOUR, ROWS, EdgeRun, LiveRun


def put(rows, path, row_group=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path, row_group_size=row_group or len(rows))


def spoil(path):
    """Damage the data of a Parquet file; head and footer still look well."""
    content = bytearray(path.read_bytes())
    third = len(content) // 3
    content[third : third + 3000] = bytes(3000)
    path.write_bytes(content)


# Whose rows


def test_rows_are_told_by_source_and_hour_and_add_up_exactly(one_process, tmp_path):
    run = EdgeRun(one_process, tmp_path)
    put(ROWS[::3], run.settings.source / "core" / "0" / "a.parquet")
    put(ROWS[1::3], run.settings.source / "core" / "1" / "a.parquet")
    put(ROWS[2::3], run.settings.source / "a.parquet")
    run.sight()
    (record,) = run.folder.records()
    assert record["inputs"] == ["a.parquet", "core/0/a.parquet", "core/1/a.parquet"]
    table = {}
    for entry in record["rows"]:
        table.setdefault((entry["source"], entry["hour"]), {})[entry["what"]] = entry["rows"]
    assert {source for source, _ in table} == {"core/0", "core/1", "files"}
    for fates in table.values():
        received = fates.pop("received")
        assert received == sum(fates.values())
    for source, rows in (("core/0", ROWS[::3]), ("files", ROWS[2::3])):
        late = sum(verdict(row) == "late" for row in rows)
        assert sum(fates.get("refused:late", 0) for (name, _), fates in table.items() if name == source) == late > 0
    first = sum(hour_start(row["event_time"]) == DAY for row in ROWS[::3])
    assert sum(table["core/0", folder_name(DAY)].values()) == first


def verdict(row):
    try:
        judge_timed(row, row["event_time"], row["ingest_time"])
    except AttachmentRefused as refused:
        return refused.reason.value
    return None


def test_files_beside_the_sub_folders_are_the_only_expected_sources(one_process, tmp_path):
    run = LiveRun(one_process, tmp_path, ROWS)
    run.at(DAY + HOUR, covers=DAY)
    assert {entry["source"] for record in run.folder.records() for entry in record["rows"]} == {"core/0"}


def test_a_file_counts_once_its_marker_is_there(one_process, tmp_path):
    run = EdgeRun(one_process, tmp_path, commit_marker=".done")
    put(ROWS[::2], run.settings.source / "a.parquet")
    put(ROWS[1::2], run.settings.source / "b.parquet")
    (run.settings.source / "a.parquet.done").touch()
    assert run.sight()["received"] == len(ROWS[::2])
    (run.settings.source / "b.parquet.done").touch()
    assert run.sight()["received"] == len(ROWS)


def test_what_begins_with_a_dot_or_a_line_is_no_file_of_the_source(tmp_path):
    for name in (".a.parquet", "_b.parquet", "_part/c.parquet", "sub/d.parquet", "e.ndjson"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert Source(tmp_path, FileFormat.PARQUET).files() == [tmp_path / "sub" / "d.parquet"]


# In pieces


@given(rows=st.lists(st.integers(1, 3_000_000), max_size=60), cores=st.integers(1, 16))
def test_every_piece_is_dealt_to_one_task_and_no_task_has_much_more_than_it_should(rows, cores):
    pieces = [Piece(Path("a"), str(at), "s", FileFormat.PARQUET, None, None, n) for at, n in enumerate(rows)]
    tasks = tasks_of(pieces, cores)
    assert sorted(int(piece.name) for task in tasks for piece in task) == list(range(len(rows)))
    loads = [sum(piece.rows for piece in task) for task in tasks]
    assert all(loads)
    assert max(loads, default=0) <= 2_000_000 + max(rows, default=0)
    assert len(tasks) >= min(cores, sum(rows) // 50_000, len(rows))


def test_a_file_in_many_pieces_gives_what_it_gives_whole(one_process, tmp_path, monkeypatch):
    whole, cut = EdgeRun(one_process, tmp_path / "whole"), EdgeRun(one_process, tmp_path / "cut")
    for run in (whole, cut):
        put(ROWS, run.settings.source / "a.parquet", row_group=100)
    tally = whole.sight()
    monkeypatch.setattr("jobs.sight.ROWS_PER_TASK", 150)
    monkeypatch.setattr("jobs.staging.MOST_ROWS_HELD", 70)
    assert cut.sight() == tally
    (few,), (many,) = whole.folder.records(), cut.folder.records()
    assert few["rows"] == many["rows"]
    assert len(many["files"]) > 2 * len(few["files"])
    rows = [
        sorted(run.folder.read_sightings(DAY, record["files"]).rows()) for run, record in ((whole, few), (cut, many))
    ]
    assert rows[0] == rows[1]


# Damaged


def test_nothing_of_a_damaged_file_counts_also_where_its_other_pieces_are_sound(one_process, tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.sight.ROWS_PER_TASK", 100)
    run, clean = EdgeRun(one_process, tmp_path / "run"), EdgeRun(one_process, tmp_path / "clean")
    put(ROWS[::2], run.settings.source / "a.parquet")
    put(ROWS[::2], clean.settings.source / "a.parquet")
    put(ROWS[1::2], run.settings.source / "b.parquet", row_group=50)
    spoil(run.settings.source / "b.parquet")
    tally = run.sight()
    assert tally.pop("file_damaged") == 1
    assert tally == clean.sight()
    edges = [either.edge() for either in (run, clean)]
    counted = [close_window(one_process, edge, DAY + HOUR) and edge.noise.seen for edge in edges]
    assert counted[0] == counted[1]
    assert not list(run.folder.staging.rglob("*.parquet"))


def lost_of(run):
    return [record["lost_hours"] for record in run.folder.records() if record["files_refused"]]


def test_a_damaged_file_costs_the_hours_that_its_source_sent_beside_it(one_process, tmp_path):
    run = EdgeRun(one_process, tmp_path)
    early = [row for row in ROWS if row["ingest_time"] < DAY + HOUR * 2]
    late = [row for row in ROWS if row["event_time"] > DAY + HOUR * 4]
    put(early, run.settings.source / "core" / "a.parquet")
    put(early, run.settings.source / "core" / "b.parquet")
    put(late, run.settings.source / "edge" / "a.parquet")
    spoil(run.settings.source / "core" / "b.parquet")
    run.sight()
    (lost,) = lost_of(run)
    assert lost == ["2026-03-02T02Z", "2026-03-02T03Z"]
    assert run.folder.lost([DAY + HOUR])
    assert not run.folder.lost([DAY + HOUR * 5])


def test_a_live_file_alone_may_have_held_anything_of_its_token_day(one_process, tmp_path):
    run = LiveRun(one_process, tmp_path, [])
    lonely = run.settings.source / "a.parquet"
    put(ROWS, lonely)
    spoil(lonely)
    at = (DAY + HOUR * 5).timestamp()
    os.utime(lonely, (at, at))
    run.sight(DAY + HOUR * 6)
    (lost,) = lost_of(run)
    assert lost == [folder_name(DAY + HOUR * hour) for hour in range(24)]


def test_a_live_file_with_others_beside_it_costs_what_is_fresh_as_well(one_process, tmp_path):
    assert lost_beside_another(LiveRun(one_process, tmp_path, []), covered=DAY + HOUR * 5.25) == [0, 4, 5]


def lost_beside_another(run, covered=None):
    """The hours that a damaged file costs which landed at half past five, beside one of the first hour."""
    if covered is not None:
        run.covers(covered)
        run.sight(DAY + HOUR * 5.25)
    put([row for row in ROWS if row["ingest_time"] < DAY + HOUR], run.settings.source / "a.parquet")
    put(ROWS, run.settings.source / "b.parquet")
    spoil(run.settings.source / "b.parquet")
    at = (DAY + HOUR * 5.5).timestamp()
    os.utime(run.settings.source / "b.parquet", (at, at))
    run.sight(DAY + HOUR * 6)
    (lost,) = lost_of(run)
    return [(instant_of(hour) - DAY) // HOUR for hour in lost]


def test_a_damaged_file_costs_every_hour_since_the_source_was_last_vouched_for(one_process, tmp_path):
    assert lost_beside_another(LiveRun(one_process, tmp_path, []), covered=DAY + HOUR * 2.1) == [0, 1, 2, 3, 4, 5]


def test_a_damaged_file_of_a_source_that_was_never_vouched_for_costs_all_that_may_still_come(one_process, tmp_path):
    assert lost_beside_another(LiveRun(one_process, tmp_path, [])) == [0, 1, 2, 3, 4, 5]
    just_turned = LiveRun(one_process, tmp_path / "turned", [])
    lonely = just_turned.settings.source / "a.parquet"
    put(ROWS, lonely)
    spoil(lonely)
    at = (DAY + HOUR * 25).timestamp()
    os.utime(lonely, (at, at))
    just_turned.sight(DAY + HOUR * 25)
    (lost,) = lost_of(just_turned)
    assert lost == [folder_name(DAY + HOUR * hour) for hour in range(48)]


def test_rows_that_come_after_their_hour_was_closed_make_it_incomplete(one_process, tmp_path):
    """Hour 2 was closed without them: what rests on it is no longer called complete, and neither is the day."""
    missing = [row for row in ROWS if hour_start(row["event_time"]) == DAY + HOUR * 2]
    run = LiveRun(one_process, tmp_path, [row for row in ROWS if row not in missing])
    run.at(DAY + HOUR * 3.5, covers=DAY + HOUR * 3.25)
    told = run.at(DAY + HOUR * 4.5, covers=DAY + HOUR * 4.25)
    assert [entry.document["feed"]["complete"] for entry in told] == [True]
    assert not run.folder.lost([DAY + HOUR * 2])
    put(missing, run.settings.source / "missed.parquet")
    told = run.at(DAY + HOUR * 5.5, covers=DAY + HOUR * 5.25)
    assert [record["lost_hours"] for record in run.folder.records() if record["lost_hours"]] == [["2026-03-02T04Z"]]
    assert [entry.document["feed"]["complete"] for entry in told] == [False]
    assert run.folder.lost(hours_of(DAY))


def test_rows_that_come_between_a_killed_close_and_the_next_make_their_hour_incomplete(one_process, tmp_path):
    """Hour 2 was frozen without them, and its close died before it left anything: the freeze holds all the same."""
    missing = [row for row in ROWS if hour_start(row["event_time"]) == DAY + HOUR * 2]
    run = LiveRun(one_process, tmp_path, [row for row in ROWS if row not in missing])
    run.at(DAY + HOUR * 2.5, covers=DAY + HOUR * 2.25)
    whole = run.used
    run.used = replace(whole, milestone=dies_at("before-carry-over"))
    with pytest.raises(Killed):
        run.at(DAY + HOUR * 3.5, covers=DAY + HOUR * 3.25)
    run.used = whole
    put(missing, run.settings.source / "missed.parquet")
    told = run.at(DAY + HOUR * 3.6, covers=DAY + HOUR * 3.25)
    assert [entry.document["feed"]["complete"] for entry in told] == [False]
    assert [row["rows"] for row in run.rows_of("2026-03-02T04Z") if row["what"] == "sighting"]


class Killed(BaseException):
    """What a kill looks like from inside."""


def dies_at(point):
    def milestone(name):
        if name == point:
            raise Killed

    return milestone


def test_a_batch_that_only_repeats_what_was_read_misses_nothing(one_process, tmp_path, monkeypatch):
    run = EdgeRun(one_process, tmp_path, ROWS)
    run.sight()
    close_window(one_process, run.edge(), DAY)
    # A checkpoint that was lost: the same files in other batches.
    files = drop_folder(run.settings).files()
    monkeypatch.setattr(
        "jobs.edge.sight",
        lambda told: [sight_files(told, batch_key(told.source.folder, [one]), [one]) for one in files],
    )
    run.sight()
    assert [record["lost_hours"] for record in run.folder.records()] == [[]] * 4


def test_a_file_that_is_there_again_as_another_one_stops_the_edge(one_process, tmp_path):
    run = EdgeRun(one_process, tmp_path, commit_marker=".done")
    path = run.settings.source / "a.parquet"
    put(ROWS[::2], path)
    path.with_name("a.parquet.done").touch()
    run.sight()
    os.utime(path)
    path.with_name("a.parquet.done").write_text("touched")
    run.sight()  # the same file, and another marker
    put(ROWS, path)
    with pytest.raises(SightStopped, match="never written again under its name"):
        run.sight()
    assert len(run.folder.records()) == 1


def test_rows_of_a_token_day_that_is_to_be_deleted_are_not_taken_in(one_process, tmp_path):
    """The run says to the door which token-days it may still open, and what lies ahead of its clock."""
    for number, (now, days) in enumerate({24: [DAY], 25.99: [DAY], 26: [], 27: []}.items()):
        run = LiveRun(one_process, tmp_path / str(number), [])
        put(ROWS[:500], run.settings.source / "a.parquet")
        run.sight(DAY + HOUR * now)
        assert run.folder.token_days() == days
    early = LiveRun(one_process, tmp_path / "early", [])
    put(ROWS[:500], early.settings.source / "a.parquet")
    assert early.sight(DAY - HOUR).get("sighting", 0) == 0


def test_a_lonely_file_of_a_replay_may_have_held_anything_at_all(one_process, tmp_path):
    run = EdgeRun(one_process, tmp_path)
    put(ROWS[:500], run.settings.source / "a.parquet")
    spoil(run.settings.source / "a.parquet")
    run.sight()
    assert lost_of(run) == [None]
    assert run.folder.lost([DAY + HOUR * 999])


# What is written


def test_a_staged_file_that_no_task_gave_back_is_never_adopted(one_process, tmp_path, monkeypatch):
    from jobs import sight as driver

    staged = driver._staged

    def with_a_ghost(rows, order, tables):
        found = staged(rows, order, tables)
        real = next(order.folder.rglob("*.parquet"))
        real.with_name("ghost.parquet").write_bytes(real.read_bytes())  # written by a try that died
        return found

    monkeypatch.setattr(driver, "_staged", with_a_ghost)
    run = EdgeRun(one_process, tmp_path, ROWS)
    run.sight()
    listed = {file["path"] for record in run.folder.records() for file in record["files"]}
    there = {path.relative_to(run.folder.sightings).as_posix() for path in run.folder.sightings.rglob("*.parquet")}
    assert there == listed
    assert not run.folder.staging.exists() or not list(run.folder.staging.rglob("*.parquet"))


@pytest.mark.parametrize("point", ["before-write", "after-write", "before-commit", "after-commit"])
def test_a_crash_at_any_point_of_a_batch_loses_and_doubles_nothing(point, one_process, tmp_path, monkeypatch):
    run = EdgeRun(one_process, tmp_path, ROWS)

    def crash(reached):
        if reached == point:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tests.jobs.edge_run.QUIET", crash)
        with pytest.raises(KeyboardInterrupt):
            run.sight()
    assert bool(run.folder.records()) == (point == "after-commit")
    tally = run.sight()
    assert tally["received"] == len(ROWS)
    kept = run.folder.read_sightings(DAY, [file for record in run.folder.records() for file in record["files"]])
    assert kept.height == tally["sighting"] + tally["roaming_kept"]
    there = sum(1 for _ in run.folder.sightings.rglob("*.parquet"))
    assert there == sum(len(record["files"]) for record in run.folder.records())


def test_a_batch_record_holds_numbers_and_no_row(one_process, tmp_path):
    run = EdgeRun(one_process, tmp_path, ROWS)
    run.sight()
    text = json.dumps(run.folder.records())
    tokens = {row["token"] for row in ROWS}
    assert not any(token in text for token in tokens)
    assert len(tokens) == 150
