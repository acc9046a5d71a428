"""A real Spark standalone cluster of two workers counts what `local[2]` counts, also when one of them is killed."""

import io
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from ingest.release import format_utc
from jobs.tables import EdgeFolder
from tests.cluster.edge_on import WINDOWS
from tests.jobs.border import ACROSS, DAY, FIXTURES, OWN, feed, write_parquet

pytestmark = pytest.mark.spark
ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "deploy" / "spark" / "cluster.sh"
HOUR = timedelta(hours=1)


def settings_file(folder: Path) -> Path:
    (folder / "tidemark.toml").write_text(f"""
[edge]
carrier = "carrier-a"
own_networks = ["{OWN}"]
networks_across = ["{ACROSS}"]
border = "{FIXTURES / "network_a_border.geojson"}"
zone_grid = "{FIXTURES / "network_a_zones.geojson"}"
cell_plan = "{FIXTURES / "network_a_cells.csv"}"
turn_hour_utc = 2
grid_valid_from = "2026-03-01T02:00:00Z"
source = "{folder.parent / "feed"}"
marks = "{folder.parent / "marks"}"
state = "edge"
replay = true
""")
    return folder / "tidemark.toml"


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    write_parquet(feed(seed=31, devices=150, hours=5), folder / "feed", files=6)
    (folder / "marks").mkdir()
    until = format_utc(DAY + HOUR * (WINDOWS + 1) + timedelta(minutes=20))
    (folder / "marks" / "core.ndjson").write_text(
        json.dumps({"source": "core", "partition": 0, "covers_until": until}) + "\n"
    )
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a cluster, its settings folder and the numbers of its processes."""
    folder = tmp_path_factory.mktemp("spark")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [str(SCRIPT), "start", "--port", port, "--workers", "2", "--cores", "1", "--folder", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        pids = {path.stem: int(path.read_text()) for path in folder.glob("*.pid")}
        yield f"spark://127.0.0.1:{port}", folder, pids
    finally:
        subprocess.run([str(SCRIPT), "stop", "--folder", str(folder)], check=True, timeout=60)


def edge_on(master: str, folder: Path, *more: str, conf: Path | None = None) -> tuple[dict, EdgeFolder]:
    folder.mkdir()
    environment = os.environ | ({"SPARK_CONF_DIR": str(conf)} if conf else {})
    command = [sys.executable, "-m", "tests.cluster.edge_on", str(settings_file(folder)), master, *more]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout), EdgeFolder(folder / "edge")


def counted(folder: EdgeFolder, hour) -> tuple[bytes, bytes]:
    """The exact counts and the plain carry-over that the close of an hour left, as bytes."""
    left = folder.carry_over_record(DAY, hour)
    plain = io.BytesIO()
    folder.read_carry_over_rows(DAY, hour).sort("token").write_ipc(plain)
    return json.dumps([left.totals, left.digest, dict(left.tally)]).encode(), plain.getvalue()


def test_two_workers_one_killed_in_the_middle_of_a_close_count_what_one_machine_counts(room, cluster):
    master, conf, pids = cluster
    _, alone = edge_on("local[2]", room / "alone")
    saw, spread = edge_on(master, room / "spread", str(pids["worker-2"]), conf=conf / "conf")
    assert saw["executors"] == 2
    assert len(saw["told"]) == WINDOWS
    # The worker was killed while it held the last task of a close that another worker had begun.
    assert saw["done_when_killed"] == saw["tasks"] - 1 > 0
    for process in saw["killed"]:
        with pytest.raises(ProcessLookupError):
            os.kill(process, signal.SIGCONT)
    for number in range(WINDOWS + 1):
        hour = DAY + HOUR * number
        assert counted(spread, hour) == counted(alone, hour)
    assert json.loads(counted(alone, hour)[0])[0], "nothing was counted"
    written = [path for room in (spread.sightings, spread.carry_overs) for path in room.rglob("*.parquet")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o600}
