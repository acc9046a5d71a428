"""The edge from files to releases on real Spark, held against the plain way of counting."""

import gzip
import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from geofence.grid import ZoneKind
from ingest.release import Direction, Release
from jobs.close import close_window
from jobs.edge import open_edge, place_cells, row_tally, run_close, run_sight
from jobs.milestone import milestones
from jobs.tables import EdgeFolder, file_digest
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
        if rows is not None:
            write_parquet(rows, self.settings.source)
        self.placed = place_cells(self.settings)
        self.folder = EdgeFolder(self.settings.state)

    def sight(self):
        run_sight(self.spark, self.settings, self.placed, QUIET)
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
    run.settings.source.mkdir(parents=True)
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


def test_an_hour_waits_for_its_feed_marks_and_then_goes_out_as_null(spark, tmp_path):
    run = EdgeRun(spark, tmp_path, ROWS, replay=False, marks=tmp_path / "marks")
    run.settings.marks.mkdir()
    mark = run.settings.marks / "core.ndjson"

    def covers(until):
        line = {"source": "core", "partition": 0, "covers_until": until.strftime("%Y-%m-%dT%H:%M:%SZ")}
        mark.write_text(json.dumps(line) + "\n")

    run.sight()
    edge = run.edge()
    covers(DAY + HOUR * 2 + timedelta(minutes=14))
    assert run.close(edge, now=DAY - HOUR) == []  # the ledger's life begins with this hour
    assert run.close(edge, now=DAY + HOUR + timedelta(minutes=80)) == []
    covers(DAY + HOUR * 2 + timedelta(minutes=15))
    assert run.close(edge, now=DAY + HOUR + timedelta(minutes=79)) == []
    (entry,) = run.close(edge, now=DAY + HOUR + timedelta(minutes=80))
    assert entry.document["feed"]["complete"] is True
    nulls = run.close(edge, now=DAY + HOUR * 2 + timedelta(hours=6, minutes=80))
    assert [entry.window_start for entry in nulls] == [DAY + HOUR]
    assert all(count["value"] is None for count in nulls[0].document["counts"])
    covers(DAY + HOUR * 12)
    later = run.close(edge, now=DAY + HOUR * 4 + timedelta(hours=5))
    assert [entry.window_start for entry in later] == [DAY + HOUR * hour for hour in range(2, 7)]
    assert edge.noise.seen == [run.plain(ROWS)[hour] for hour in (0, 2, 3, 4, 5, 6)]
