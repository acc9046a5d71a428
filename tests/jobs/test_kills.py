"""SIGKILL from another process at each named point, then a restart: nothing lost, nothing doubled, one digest a window."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta

import pytest

from ingest.release import Release, format_utc
from jobs.milestone import POINTS
from jobs.tables import EdgeFolder
from tests.jobs.border import ACROSS, DAY, FIXTURES, OWN, feed, write_parquet

pytestmark = pytest.mark.spark
ROWS = feed(seed=23, devices=120, hours=5)
WINDOWS = 3


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    write_parquet(ROWS, folder / "feed")
    marks = folder / "marks"
    marks.mkdir()
    until = format_utc(DAY + timedelta(hours=WINDOWS + 1, minutes=20))
    (marks / "core.ndjson").write_text(json.dumps({"source": "core", "partition": 0, "covers_until": until}) + "\n")
    return folder


def config(source, folder):
    path = folder / "tidemark.toml"
    path.write_text(f"""
[edge]
carrier = "carrier-a"
own_networks = ["{OWN}"]
networks_across = ["{ACROSS}"]
border = "{FIXTURES / "network_a_border.geojson"}"
zone_grid = "{FIXTURES / "network_a_zones.geojson"}"
cell_plan = "{FIXTURES / "network_a_cells.csv"}"
turn_hour_utc = 2
grid_valid_from = "2026-03-01T02:00:00Z"
source = "{source / "feed"}"
marks = "{source / "marks"}"
state = "edge"
replay = true
master = "local[2]"
driver_memory = "1g"
""")
    return path


def edge_run(path, **environment):
    command = [sys.executable, "-m", "jobs.cli", "edge", "run", "--json", "--config", str(path)]
    return subprocess.Popen(
        command,
        env={**os.environ, **environment},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(path):
    process = edge_run(path)
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-2000:]
    return json.loads(out)


def kill_at(path, point, marker):
    process = edge_run(path, TIDEMARK_HOLD=f"{point}:{marker}")
    deadline = time.monotonic() + 240
    while not marker.exists():
        assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() < deadline, "the process never reached the point"
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def sightings(folder):
    """Every sighting of the committed table, as often as it stands there."""
    files = [file for record in folder.records() for file in record["files"]]
    return Counter(folder.read_sightings(DAY, files).iter_rows())


def said(folder):
    """What the ledger holds: window -> digest."""
    if not folder.ledger.exists():
        return {}
    with sqlite3.connect(folder.ledger) as database:
        return dict(database.execute("SELECT window_start, digest FROM release"))


@pytest.fixture(scope="module")
def undisturbed(source, tmp_path_factory):
    path = config(source, tmp_path_factory.mktemp("undisturbed"))
    report = finish(path)
    return report, EdgeFolder(path.parent / "edge")


# The day's own levels are told once a day: tests/jobs/test_token_day.py crashes there in one process.
@pytest.mark.parametrize("point", [point for point in POINTS if "day" not in point])
def test_a_kill_loses_nothing_doubles_nothing_and_says_nothing_twice(point, source, undisturbed, tmp_path):
    report, calm = undisturbed
    path = config(source, tmp_path)
    folder = EdgeFolder(tmp_path / "edge")
    kill_at(path, point, tmp_path / "reached")
    before = said(folder)
    assert len(before) == (1 if point in ("after-ledger-commit", "before-publish") else 0)
    again = finish(path)
    after = said(folder)
    assert {window: after[window] for window in before} == before
    assert sorted(after) == sorted(said(calm))
    assert len(after) == WINDOWS
    assert sightings(folder) == sightings(calm)
    assert again["rows"] == report["rows"]
    published = [Release.model_validate_json(file.read_bytes()) for file in sorted(folder.releases.glob("*.json"))]
    assert {format_utc(release.window_start): release.digest for release in published} == after
    assert not folder.scratch.exists()  # a killed process spills tokens; the next one clears up after it
    assert not folder.staging.exists()
