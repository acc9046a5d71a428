"""The close of an hour: what it leaves behind, how that is lost and found again, and that nothing depends on the tasks."""

import json
import random
import shutil
import sqlite3
from dataclasses import replace
from itertools import accumulate

import pytest

from jobs.close import close_hour, close_window, day_totals, hour_order
from jobs.edge import publish, verify_edge
from jobs.grounds import Pin
from jobs.keys import read_key
from jobs.sealed import SealedFile, seal
from movement.sighting import Networks
from tests.jobs.border import DAY, ELSEWHERE, OWN, feed, write_parquet
from tests.jobs.edge_run import HOUR, ROWS, EdgeRun, is_null
from tests.jobs.one_process import OneProcess


@pytest.fixture
def closed(one_process, tmp_path):
    """A day sighted and closed hour by hour, its tables still there."""
    run = EdgeRun(one_process, tmp_path / "closed", ROWS)
    run.sight()
    run.used = run.edge()
    run.entries = [close_window(one_process, run.used, DAY + HOUR * hour) for hour in range(24)]
    yield run
    run.used.ledger.close()


def left_by(folder, hour):
    """What the close of an hour left: its digest, its rows."""
    left = folder.carry_over_record(DAY, DAY + HOUR * hour)
    return left.digest, folder.read_carry_over_rows(DAY, DAY + HOUR * hour).rows()


def test_closing_again_from_the_same_table_leaves_the_same_content(one_process, closed, tmp_path):
    again = EdgeRun(one_process, tmp_path / "again")
    shutil.copytree(closed.folder.sightings, again.folder.sightings)
    shutil.copytree(closed.folder.batches, again.folder.batches)
    shutil.copytree(closed.folder.root / "keys", again.folder.root / "keys")
    for lineage in again.folder.sightings.glob("*/LINEAGE"):
        lineage.unlink()
    edge = again.edge()
    for hour in range(24):
        close_window(one_process, edge, DAY + HOUR * hour)
    assert edge.noise.seen == closed.used.noise.seen
    first, second = ([left_by(folder, hour) for hour in range(25)] for folder in (closed.folder, again.folder))
    assert first == second


def test_a_lost_carry_over_is_rebuilt_from_the_day(one_process, tmp_path):
    run = EdgeRun(one_process, tmp_path, ROWS)
    run.sight()
    edge = run.edge()
    for hour in range(3):
        close_window(one_process, edge, DAY + HOUR * hour)
    path = next(run.folder.carry_over(DAY, DAY + HOUR * 3).parent.glob("2026-03-02T05Z-*.parquet"))
    path.write_bytes(path.read_bytes()[:-7])
    close_window(one_process, edge, DAY + HOUR * 3)
    assert edge.noise.seen == run.plain(ROWS)[:4]


def test_a_lost_partition_closes_the_day(one_process, tmp_path):
    run = EdgeRun(one_process, tmp_path, ROWS)
    run.sight()
    edge = run.edge()
    close_window(one_process, edge, DAY)
    shutil.rmtree(run.folder.day(DAY) / "hour=2026-03-02T04Z")
    entries = [close_window(one_process, edge, DAY + HOUR * hour) for hour in (1, 2, 3)]
    assert all(value["value"] is None for entry in entries[1:] for value in entry.document["counts"])
    assert [entry.document["feed"]["complete"] for entry in entries] == [False, False, False]
    assert len(edge.noise.seen) == 1


def test_sightings_of_another_cell_plan_close_the_day(one_process, tmp_path):
    run = EdgeRun(one_process, tmp_path, ROWS)
    run.sight()
    edge = run.edge()
    pin = next((run.folder.root / "grounds").glob("*.pin"))
    networks = Networks(frozenset({OWN}), frozenset({ELSEWHERE}))
    another = run.folder.grounds.put(run.placed.grid, run.placed.located, networks)
    pin.write_text(json.dumps({"ground": another, "buckets": 64}))
    assert is_null(close_window(one_process, edge, DAY))
    assert edge.noise.seen == []


def test_a_changed_sightings_file_closes_the_day(one_process, tmp_path):
    run = EdgeRun(one_process, tmp_path, ROWS)
    run.sight()
    path = next(run.folder.day(DAY).glob("hour=2026-03-02T03Z/*.parquet"))
    path.write_bytes(path.read_bytes() + b"0")
    edge = run.edge()
    assert is_null(close_window(one_process, edge, DAY))


def test_a_restored_ledger_does_not_draw_again(one_process, tmp_path):
    run = EdgeRun(one_process, tmp_path, ROWS, marks=tmp_path / "marks")
    run.settings.marks.mkdir()
    line = {"source": "core", "partition": 0, "covers_until": "2026-03-02T07:00:00Z"}
    (run.settings.marks / "core.ndjson").write_text(json.dumps(line) + "\n")
    run.sight()
    first = run.edge()
    backup = sqlite3.connect(tmp_path / "backup.sqlite")
    entries = [publish_window(run, first, 0)]
    with sqlite3.connect(run.folder.ledger) as live:
        live.backup(backup)
    backup.close()
    entries.append(publish_window(run, first, 1))
    first.ledger.close()
    for name in ("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"):
        (run.folder.root / name).unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup.sqlite", run.folder.ledger)
    restored = run.edge()
    again = publish_window(run, restored, 1)
    assert restored.noise.seen == []
    assert is_null(again)
    left = json.loads(run.folder.outbox("carrier-a", DAY + HOUR).read_bytes())
    assert left["digest"] == entries[1].digest
    assert any("has left" in fault for fault in verify_edge(run.settings).faults)


OUTSIDE = {
    "receipts": lambda root: (root / "left.ndjson").unlink(),
    "sent": lambda root: (root / "left.ndjson").unlink(),
    "note": lambda root: None,
}


@pytest.mark.parametrize("known_by", [*OUTSIDE, "carry-over"])
def test_a_restored_ledger_does_not_draw_again_when_the_outbox_was_collected(known_by, one_process, tmp_path):
    """What has left is also known by its receipt and its note; an hour that was closed, by what its close left."""
    run = EdgeRun(one_process, tmp_path, ROWS)
    run.sight()
    first = run.edge()
    publish_window(run, first, 0)
    first.ledger.close()
    shutil.copy(run.folder.ledger, tmp_path / "backup.sqlite")
    second = run.edge()
    for hour in (1, 2):
        publish_window(run, second, hour)
    second.ledger.close()
    root = run.folder.root
    for path in run.folder.releases.iterdir():
        if known_by in ("receipts", "sent"):
            (root / known_by).mkdir(exist_ok=True)
            (root / known_by / path.name).write_text("{}")
        path.unlink()
    OUTSIDE.get(known_by, OUTSIDE["sent"])(root)
    if known_by != "carry-over":
        shutil.rmtree(run.folder.carry_overs)
    shutil.copy(tmp_path / "backup.sqlite", run.folder.ledger)
    restored = run.edge()
    assert is_null(close_window(one_process, restored, DAY + HOUR))
    assert restored.noise.seen == []


def test_a_close_that_died_before_the_ledger_knew_of_it_is_done_again(one_process, tmp_path):
    """One hour ahead is no restored ledger: it is how a crash leaves the folder."""
    run = EdgeRun(one_process, tmp_path, ROWS)
    run.sight()
    edge = run.edge()
    close_window(one_process, edge, DAY)

    def crash(reached):
        if reached == "after-carry-over":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        close_window(one_process, replace(edge, milestone=crash), DAY + HOUR)
    assert not is_null(close_window(one_process, edge, DAY + HOUR))
    assert edge.noise.seen == run.plain(ROWS)[:2]


def publish_window(run, edge, hour):
    entry = close_window(run.spark, edge, DAY + HOUR * hour)
    publish(edge, entry)
    return entry


# Nothing depends on how the work is cut


@pytest.mark.parametrize("buckets", [1, 3, 64, 256])
def test_buckets_and_tasks_change_nothing(buckets, one_process, tmp_path, closed, monkeypatch):
    monkeypatch.setattr("jobs.closing.ROWS_WORTH_A_STEP", 7)
    monkeypatch.setattr("jobs.sealed.ROWS_WORTH_A_GROUP", 5)
    run = EdgeRun(OneProcess(cores=13), tmp_path / "other", ROWS, buckets=buckets)
    run.sight()
    edge = run.edge()
    for hour in range(8):
        close_window(run.spark, edge, DAY + HOUR * hour)
    assert edge.noise.seen == closed.used.noise.seen[:8]
    assert [left_by(run.folder, hour) for hour in range(9)] == [left_by(closed.folder, hour) for hour in range(9)]
    files = [len(record_of(run, hour).files) for hour in range(8)]
    assert max(files) == min(buckets, 13)


def record_of(run, hour):
    return run.folder.carry_over_record(DAY, DAY + HOUR * hour)


def test_a_close_reads_each_row_once_whatever_the_steps(closed):
    for hour in range(6):
        tally = record_of(closed, hour).tally
        manifest = closed.folder.manifest(DAY, DAY + HOUR * hour, closed.used.current.ground)
        assert tally["sightings"] == sum(file["rows"] for file in manifest["files"])
        assert tally["sightings"] == tally["distinct"] + tally["duplicate"]


# What was left behind is lost


def damaged(path, way, chance):
    content = bytearray(path.read_bytes())
    if way == "flipped":
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif way == "cut":
        del content[chance.randrange(len(content)) :]
    elif way == "blanked":
        at = chance.randrange(len(content))
        content[at : at + 200] = bytes(len(content[at : at + 200]))
    path.write_bytes(content)


def test_no_damage_to_a_carry_over_is_taken_for_one(closed):
    """200 mutants: whatever happens to the files, the next hour is closed as if nothing had."""
    chance, rebuilt = random.Random(3), 0
    room = closed.folder.carry_over(DAY, DAY).parent
    for number in range(200):
        hour = 1 + number % 5
        told = closed.used.ledger.carry_over_digest(DAY, DAY + HOUR * hour)
        kept = {path: path.read_bytes() for path in room.iterdir()}
        record = closed.folder.carry_over(DAY, DAY + HOUR * hour)
        files = [room / file.path for file in record_of(closed, hour).files]
        way = chance.choice(["flipped", "cut", "blanked", "gone", "swapped"])
        victim = chance.choice([record, *files])
        if way == "gone":
            victim.unlink()
        elif way == "swapped":
            other = closed.folder.carry_over(DAY, DAY + HOUR * (hour - 1))
            record.write_bytes(other.read_bytes())
        else:
            damaged(victim, way, chance)
        left = closed.folder.read_carry_over(DAY, DAY + HOUR * hour, told)
        rebuilt += left is None
        settled = closed.settle(DAY + HOUR * (hour + 1))
        assert settled.left.digest == closed.used.ledger.carry_over_digest(DAY, DAY + HOUR * (hour + 1))
        for path in room.iterdir():
            path.unlink()
        for path, content in kept.items():
            path.write_bytes(content)
    assert rebuilt > 150


def test_a_carry_over_that_is_sealed_well_but_is_another_one_is_rebuilt(closed):
    """Right record, right digests of the bytes, and yet other rows in the file."""
    record = closed.folder.carry_over(DAY, DAY + HOUR * 3)
    other = replace(record_of(closed, 3), files=record_of(closed, 2).files)
    record.write_bytes(seal(json.dumps(other.document()).encode(), read_key(closed.folder.root, DAY)))
    settled = closed.settle(DAY + HOUR * 4)
    assert settled.left.digest == closed.used.ledger.carry_over_digest(DAY, DAY + HOUR * 4)


def test_a_lost_key_closes_the_day(one_process, tmp_path):
    run = EdgeRun(one_process, tmp_path, ROWS)
    run.sight()
    edge = run.edge()
    close_window(one_process, edge, DAY)
    next((run.folder.root / "keys").glob("*.key")).unlink()
    assert is_null(close_window(one_process, edge, DAY + HOUR))


# Late, twice, and in sum


def test_a_file_that_lands_after_the_freeze_is_ignored_and_counted(one_process, tmp_path):
    run = EdgeRun(one_process, tmp_path, ROWS)
    run.sight()
    edge = run.edge()
    close_window(one_process, edge, DAY)
    late = feed(seed=99, devices=30, hours=1)
    write_parquet(late, tmp_path / "late", files=1)
    (tmp_path / "late" / "part-0.parquet").rename(run.settings.source / "late.parquet")
    run.sight()
    for hour in range(1, 24):
        close_window(one_process, edge, DAY + HOUR * hour)
    numbers = run.folder.hour_numbers(DAY)
    kept = sum(rows["rows"] for rows in run.rows_of("2026-03-02T02Z") if rows["what"] in ("sighting", "roaming_kept"))
    first = numbers["2026-03-02T02Z"]
    assert first["after_freeze"] > 0
    assert kept == first["distinct"] + first["duplicate"] + first["after_freeze"]
    assert edge.noise.seen[0] == run.plain(ROWS)[0]
    run.folder.delete_day(DAY, edge.current)
    kept = run.folder.hour_numbers(DAY)
    assert {hour: tally["after_freeze"] for hour, tally in kept.items()} == {
        hour: tally["after_freeze"] for hour, tally in numbers.items()
    }


def test_how_many_moved_in_an_hour_is_forgotten_with_the_day(closed):
    room = closed.folder.carry_over(DAY, DAY).parent
    assert not any(b"counted" in path.read_bytes() or b"totals" in path.read_bytes() for path in room.iterdir())
    assert sum(tally["counted"] for tally in closed.folder.hour_numbers(DAY).values()) > 50
    closed.folder.delete_day(DAY, closed.used.current)
    kept = closed.folder.hour_numbers(DAY)
    assert len(kept) == 25
    assert {tally["counted"] for tally in kept.values()} == {tally["candidates"] for tally in kept.values()} == {0}


def test_the_day_totals_are_the_sum_of_the_windows_and_are_rebuilt_when_lost(closed):
    summed = [sum(column) for column in zip(*closed.used.noise.seen, strict=True)]
    assert sum(summed) > 50
    assert day_totals(closed.spark, closed.used, DAY) == summed
    for path in closed.folder.carry_over(DAY, DAY).parent.iterdir():
        path.unlink()
    assert day_totals(closed.spark, closed.used, DAY) == summed


def test_steps_of_one_hour_can_be_closed_without_a_ledger(closed):
    """What a bench does: the same hour from its files alone."""
    pin: Pin = closed.used.current
    carried, seen = None, []
    for hour in range(6):
        at = DAY + HOUR * hour
        files = [SealedFile.of(file) for file in closed.folder.manifest(DAY, at, pin.ground)["files"]]
        given = [] if carried is None else [carried]
        done = close_hour(closed.spark, hour_order(closed.folder, DAY, at, pin, files, *given, k=2), *given)
        carried = closed.folder.write_carry_over(DAY, at, done.left)
        seen.append(sum(count for _, _, count in done.counts))
    assert seen[1:] == [sum(counts) for counts in closed.used.noise.seen[:5]]
    assert sum(count for _, _, count in carried.totals) == list(accumulate(seen))[-1]
