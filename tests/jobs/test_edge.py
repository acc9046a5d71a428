"""The edge from files to releases on real Spark, held against the plain way of counting."""

import gzip
import json
import os
import shutil

import pytest

from ingest.release import Level, Release
from jobs.close import close_window
from jobs.sight import SightStopped
from jobs.tables import EdgeBusy, EdgeFolder
from tests.jobs.border import DAY, ndjson_lines, write_parquet
from tests.jobs.edge_run import HOUR, ROWS, EdgeRun, LiveRun, is_null, windows

__all__ = ["ROWS", "LiveRun", "is_null", "windows"]
pytestmark = pytest.mark.spark


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
    assert windows(entries) == list(range(24))
    assert [entry.level for entry in entries[24:]] == [Level.SECTOR_DAY, Level.BORDER_DAY]
    assert not list(run.folder.root.rglob("*.parquet"))
    assert not list(run.folder.root.rglob("*.key"))
    published = {json.loads(path.read_bytes())["digest"] for path in run.folder.releases.glob("*.json")}
    assert published == {entry.digest for entry in entries}
    assert run.close() == []


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
    assert edge.folder.lost([DAY])
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


def test_a_worker_keeps_to_one_core_and_finds_the_project(spark):
    def told(batches):
        import os

        import polars as pl
        import pyarrow as pa

        import jobs.staging

        list(batches)
        jobs.staging.alone_on_a_core()
        said = [str(pl.thread_pool_size()), str(pa.cpu_count()), os.environ["OMP_NUM_THREADS"]]
        yield pa.RecordBatch.from_pydict({"said": [" ".join(said)]})

    (row,) = spark.range(0, 1, 1, numPartitions=1).mapInArrow(told, "said string").collect()
    assert row.said == "1 1 1"
    assert spark.sparkContext.environment["POLARS_MAX_THREADS"] == "1"
