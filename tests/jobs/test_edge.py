"""The edge from files to releases on real Spark, held against the plain way of counting."""

import gzip
import json
import os
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from geofence.grid import ZoneKind
from ingest.release import Direction, Release
from jobs.close import close_window
from jobs.edge import keep_house, open_edge, place_cells, publish, row_tally, run_close, run_sight, verify_edge
from jobs.milestone import milestones
from jobs.sight import SightStopped
from jobs.tables import EdgeBusy, EdgeFolder, file_digest
from privacy.ledger import LedgerRefused
from privacy.mechanism import DiscreteGaussian
from privacy.policy import ReleasePolicy
from tests.jobs.border import DAY, edge_settings, feed, ndjson_lines, plainly_counted, write_parquet

pytestmark = pytest.mark.spark
HOUR = timedelta(hours=1)
NOW = datetime(2026, 3, 10, tzinfo=UTC)
QUIET = milestones(None)


class NoNoise:
    """What the close hands over, seen before it is blurred. Only a test can see it."""

    def __init__(self, noise):
        self.policy, self.rho, self.seen = noise.policy, noise.rho, []

    def draw(self, counts):
        self.seen.append(list(counts))
        return list(counts)


class EdgeRun:
    def __init__(self, spark, folder, rows=None, **changes):
        self.spark, self.settings = spark, edge_settings(folder, **changes)
        self.settings.source.mkdir(parents=True, exist_ok=True)
        if rows:
            write_parquet(rows, self.settings.source)
        self.placed = place_cells(self.settings)
        self.folder = EdgeFolder(self.settings.state)

    def sight(self, now=NOW):
        run_sight(self.spark, self.settings, self.placed, QUIET, now=now)
        return row_tally(self.folder)

    def edge(self):
        edge = open_edge(self.settings, self.placed, QUIET)
        noise = NoNoise(edge.noise)
        object.__setattr__(edge, "noise", noise)
        return edge

    def close(self, edge=None, now=NOW):
        return run_close(self.spark, self.settings, edge or self.edge(), now=now, progress=lambda _: None)

    def plain(self, rows):
        zones = self.placed.grid.zones
        points = {ix for ix, zone in enumerate(zones) if zone.kind is ZoneKind.CROSSING_POINT}
        counted = plainly_counted(rows, self.placed.located, points)
        directions = list(Direction)
        cells = sorted((zone.zone_id, direction) for zone in zones for direction in Direction)
        table = []
        for hour in range(24):
            at = int((DAY + HOUR * hour).timestamp() * 1000)
            found = {(zones[zone].zone_id, directions[d]): n for (when, zone, d), n in counted.items() if when == at}
            table.append([found.get(cell, 0) for cell in cells])
        return table


ROWS = feed(seed=11, devices=150)


@pytest.fixture(scope="module")
def closed(spark, tmp_path_factory):
    """A day sighted and closed hour by hour, its tables still there."""
    run = EdgeRun(spark, tmp_path_factory.mktemp("edge"), ROWS)
    run.tally = run.sight()
    run.edge_used = run.edge()
    run.entries = [close_window(spark, run.edge_used, DAY + HOUR * hour) for hour in range(24)]
    return run


def test_every_row_has_one_fate(closed):
    tally = closed.tally
    fates = ("sighting", "roaming_kept", "roaming_other", "outside_belt", "unknown_cell")
    refused = sum(count for name, count in tally.items() if name.startswith("refused:"))
    assert tally["received"] == len(ROWS) == refused + sum(tally.get(fate, 0) for fate in fates)
    assert tally["refused:late"] > 0


def test_the_counts_before_noise_are_those_of_the_plain_oracle(closed):
    assert closed.edge_used.noise.seen == closed.plain(ROWS)
    assert sum(map(sum, closed.edge_used.noise.seen)) > 50


def test_every_closed_hour_has_one_release_that_keeps_its_contract(closed):
    releases = [Release.model_validate(entry.document) for entry in closed.entries]
    assert [release.window_start for release in releases] == [DAY + HOUR * hour for hour in range(24)]
    assert all(release.lineage.startswith("replay-") for release in releases)
    assert all(len(release.counts) == 2 * len(closed.placed.grid.zones) for release in releases)


def test_closing_again_from_the_same_table_gives_the_same_bytes(closed, tmp_path):
    again = EdgeRun(closed.spark, tmp_path)
    shutil.copytree(closed.folder.sightings, again.folder.sightings)
    shutil.copytree(closed.folder.batches, again.folder.batches)
    for lineage in again.folder.sightings.glob("*/LINEAGE"):
        lineage.unlink()
    edge = again.edge()
    for hour in range(24):
        close_window(again.spark, edge, DAY + HOUR * hour)
    assert edge.noise.seen == closed.edge_used.noise.seen
    first, second = (
        {path.name: file_digest(path) for path in folder.carry_overs.rglob("*.parquet")}
        for folder in (closed.folder, again.folder)
    )
    assert first == second
    assert len(first) == 25


def test_a_lost_carry_over_is_rebuilt_from_the_day(spark, tmp_path):
    run = EdgeRun(spark, tmp_path, ROWS)
    run.sight()
    edge = run.edge()
    for hour in range(3):
        close_window(spark, edge, DAY + HOUR * hour)
    path = run.folder.carry_over(DAY, DAY + HOUR * 3)
    path.write_bytes(path.read_bytes()[:-7])
    close_window(spark, edge, DAY + HOUR * 3)
    assert edge.noise.seen == run.plain(ROWS)[:4]


def test_a_lost_partition_closes_the_day(spark, tmp_path):
    run = EdgeRun(spark, tmp_path, ROWS)
    run.sight()
    edge = run.edge()
    close_window(spark, edge, DAY)
    shutil.rmtree(run.folder.day(DAY) / "hour=2026-03-02T04Z")
    entries = [close_window(spark, edge, DAY + HOUR * hour) for hour in (1, 2, 3)]
    assert all(value["value"] is None for entry in entries[1:] for value in entry.document["counts"])
    assert [entry.document["feed"]["complete"] for entry in entries] == [False, False, False]
    assert len(edge.noise.seen) == 1


def test_the_same_feed_again_changes_nothing_and_late_files_are_ignored(spark, tmp_path):
    run = EdgeRun(spark, tmp_path, ROWS)
    run.sight()
    edge = run.edge()
    close_window(spark, edge, DAY)
    shutil.rmtree(run.folder.checkpoint)
    assert run.sight()["received"] == len(ROWS)  # a lost checkpoint: the same files are the same batch
    write_parquet(list(reversed(ROWS)), run.settings.source / ".." / "again", files=1)
    (run.settings.source / ".." / "again" / "part-0.parquet").rename(run.settings.source / "again.parquet")
    assert run.sight()["received"] == 2 * len(ROWS)  # sent twice: read twice, counted once
    for hour in range(1, 6):
        close_window(spark, edge, DAY + HOUR * hour)
    assert edge.noise.seen == run.plain(ROWS)[:6]


def test_ndjson_and_parquet_of_the_same_rows_count_alike(spark, tmp_path, closed):
    run = EdgeRun(spark, tmp_path, format="ndjson")
    lines = ndjson_lines(ROWS)
    (run.settings.source / "a.ndjson").write_bytes(b"\n".join(lines[::2]) + b"\n")
    (run.settings.source / "b.ndjson.gz").write_bytes(gzip.compress(b"\n".join(lines[1::2]) + b"\n"))
    assert run.sight() == closed.tally
    edge = run.edge()
    close_window(spark, edge, DAY + HOUR)
    assert edge.noise.seen[-1] == closed.edge_used.noise.seen[1]


def test_a_damaged_file_is_refused_whole_and_the_others_count(spark, tmp_path):
    run = EdgeRun(spark, tmp_path, ROWS)
    whole = run.settings.source / "part-0.parquet"
    content = bytearray(whole.read_bytes())
    content[100:3000] = bytes(2900)  # inside the data: head and footer still look well
    whole.write_bytes(content)
    (run.settings.source / "empty.parquet").write_bytes(b"")
    tally = run.sight()
    assert tally["file_damaged"] == 2
    assert tally["received"] == len(ROWS[1::3]) + len(ROWS[2::3])


def test_a_day_is_deleted_when_it_has_outlived_its_turn_and_leaves_only_releases(spark, tmp_path):
    run = EdgeRun(spark, tmp_path, ROWS)
    run.sight()
    entries = run.close()
    assert len(entries) == 24
    assert not list(run.folder.root.rglob("*.parquet"))
    published = sorted(run.folder.releases.glob("*.json"))
    assert len(published) == 24
    assert [json.loads(path.read_bytes())["digest"] for path in published] == [entry.digest for entry in entries]
    assert run.close() == []


class LiveRun(EdgeRun):
    """A live edge whose first whole token-day is DAY, with one source that sends marks."""

    def __init__(self, spark, folder, rows):
        changes = {"replay": False, "marks": folder / "marks", "sources": ["core/0"]}
        super().__init__(spark, folder, [], **changes)
        self.rows, self.delivered = rows, DAY - HOUR
        self.settings.marks.mkdir()
        self.used = self.edge()
        self.used.ledger.begun_at(DAY - HOUR, 2)

    def covers(self, until):
        line = {"source": "core", "partition": 0, "covers_until": until.strftime("%Y-%m-%dT%H:%M:%SZ")}
        (self.settings.marks / "core.ndjson").write_text(json.dumps(line) + "\n")

    def at(self, now, covers=None):
        """One run of the edge at an instant: the entries that it gave."""
        if covers is not None:
            self.covers(covers)
        arrived = [row for row in self.rows if self.delivered < row["ingest_time"] <= now]
        if arrived:
            write_parquet(arrived, self.settings.source / ".." / "landing", files=1)
            landed = self.settings.source / ".." / "landing" / "part-0.parquet"
            landed.rename(self.settings.source / f"{now:%dT%H%M}.parquet")
        self.delivered = now
        self.sight(now)
        return self.close(self.used, now)


def windows(entries):
    return [(entry.window_start - DAY) // HOUR for entry in entries]


def is_null(entry):
    return not entry.document["feed"]["complete"] and all(c["value"] is None for c in entry.document["counts"])


def test_an_hour_waits_for_its_feed_marks_and_then_goes_out_as_null(spark, tmp_path):
    run = LiveRun(spark, tmp_path, ROWS)
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


def test_marks_that_come_after_the_source_was_read_vouch_for_nothing(spark, tmp_path):
    run = LiveRun(spark, tmp_path, ROWS)
    run.covers(DAY + timedelta(minutes=10))
    run.sight(DAY + HOUR * 3)
    run.covers(DAY + HOUR * 5)
    assert run.close(run.used, DAY + HOUR * 3) == []


def test_a_day_without_a_row_is_told_like_any_other(spark, tmp_path):
    run = LiveRun(spark, tmp_path, [])
    entries = run.at(DAY + HOUR * 4, covers=DAY + HOUR * 4)
    assert windows(entries) == [0, 1]
    assert run.used.noise.seen == [[0] * 6] * 2


def test_a_live_edge_deletes_by_the_wall_clock_whatever_else_fails(spark, tmp_path):
    run = LiveRun(spark, tmp_path, ROWS)
    run.at(DAY + HOUR * 3, covers=DAY + HOUR * 4)
    shutil.rmtree(run.settings.marks)  # no marks, no Spark: only the clock
    told = keep_house(run.used, now=DAY + HOUR * 26, progress=lambda _: None)
    assert windows(told) == list(range(1, 24))
    assert all(map(is_null, told))
    assert not list(run.folder.root.rglob("*.parquet"))


def test_a_stricter_policy_at_the_turn_ends_the_old_day_and_opens_the_new_one(spark, tmp_path):
    run = LiveRun(spark, tmp_path, ROWS)
    run.at(DAY + HOUR * 3, covers=DAY + HOUR * 3)
    stricter = DiscreteGaussian(ReleasePolicy(policy_id="stricter", threshold=80))
    object.__setattr__(run.used, "noise", NoNoise(stricter))
    with pytest.raises(LedgerRefused, match="only at the turn"):
        run.at(DAY + HOUR * 4, covers=DAY + HOUR * 28)
    entries = run.at(DAY + HOUR * 27, covers=DAY + HOUR * 28)
    assert windows(entries) == [*range(1, 24), 24]
    assert all(map(is_null, entries[:-1]))
    assert entries[-1].document["mechanism"]["policy_id"] == "stricter"


def test_rows_and_marks_from_the_future_are_not_believed(spark, tmp_path):
    ahead = [
        {**row, "event_time": row["event_time"] + 400 * 24 * HOUR, "ingest_time": row["ingest_time"] + 400 * 24 * HOUR}
        for row in ROWS[:50]
    ]
    run = LiveRun(spark, tmp_path, [])
    write_parquet(ROWS + ahead, run.settings.source)
    run.covers(DAY + 900 * 24 * HOUR)
    tally = run.sight(DAY + HOUR * 8)
    assert tally["refused:future"] >= 45
    assert run.folder.covered_until == DAY + HOUR * 8
    assert run.folder.token_days() == [DAY]


def test_a_restored_ledger_does_not_draw_again(spark, tmp_path):
    run = EdgeRun(spark, tmp_path, ROWS, marks=tmp_path / "marks")
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


def publish_window(run, edge, hour):
    entry = close_window(run.spark, edge, DAY + HOUR * hour)
    publish(edge, entry)
    return entry


def test_sightings_of_another_cell_plan_close_the_day(spark, tmp_path):
    run = EdgeRun(spark, tmp_path, ROWS)
    run.sight()
    edge = run.edge()
    object.__setattr__(edge, "ground_digest", "sha256:another")
    assert is_null(close_window(spark, edge, DAY))
    assert edge.noise.seen == []


def test_a_changed_sightings_file_closes_the_day(spark, tmp_path):
    run = EdgeRun(spark, tmp_path, ROWS)
    run.sight()
    path = next(run.folder.day(DAY).glob("hour=2026-03-02T03Z/*.parquet"))
    path.write_bytes(path.read_bytes() + b"0")
    edge = run.edge()
    assert is_null(close_window(spark, edge, DAY))


def test_a_source_that_is_mostly_bad_stops_the_edge(spark, tmp_path):
    bad = [{**row, "domain": "KH"} for row in ROWS]
    run = EdgeRun(spark, tmp_path, bad)
    with pytest.raises(SightStopped, match=r"edge\.most_refused"):
        run.sight()
    assert run.folder.records() == []


def test_a_file_that_is_gone_or_has_an_odd_name_stops_nothing_and_is_not_called_complete(spark, tmp_path):
    run = EdgeRun(spark, tmp_path, ROWS)
    (run.settings.source / "part-0.parquet").rename(run.settings.source / "part[1]{a}.parquet")
    os.utime(run.settings.source / "part-2.parquet", (4_070_908_800, 4_070_908_800))  # a clock in 2099
    assert run.sight()["received"] == len(ROWS)
    lost = run.settings.source / "lost.parquet"
    lost.write_bytes(b"no parquet")
    run.sight()
    edge = run.edge()
    assert edge.folder.lost_files(DAY)
    assert close_window(spark, edge, DAY).document["feed"] == {"complete": False}


def test_two_processes_do_not_share_a_folder_and_leftovers_of_a_killed_one_go(tmp_path):
    folder = EdgeFolder(tmp_path / "edge")
    folder.scratch.mkdir(parents=True)
    (folder.scratch / "shuffle.data").write_bytes(b"tokens")
    (folder.staging / "k").mkdir(parents=True)
    with folder.held():
        assert not folder.scratch.exists()
        assert not folder.staging.exists()
        assert folder.root.stat().st_mode & 0o077 == 0
        with pytest.raises(EdgeBusy), EdgeFolder(tmp_path / "edge").held():
            pass


def test_spark_shows_nothing_of_what_it_counts(spark):
    conf = spark.sparkContext.getConf()
    assert conf.get("spark.ui.enabled") == "false"
    assert conf.get("spark.eventLog.enabled") == "false"
    assert spark.sparkContext.uiWebUrl is None
