"""docs/operate-the-edge.md says what the commands say: every example in it is run, in order, on one edge."""

import re
import shlex
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

import jobs.cli
import jobs.left
import jobs.status
from ingest.alarms import parse_alarm
from ingest.release import HOUR
from jobs.left import OUTBOX, note_left
from tests.jobs.border import DAY, FIXTURES
from tests.jobs.told import COUNTS, ToldEdge

GUIDE = (Path(__file__).parents[2] / "docs" / "operate-the-edge.md").read_text(encoding="utf-8")
NOW = DAY + HOUR * 8
SETTINGS = f"""
[edge]
carrier = "carrier-a"
own_networks = ["204-99"]
networks_across = ["206-98"]
border = "{FIXTURES / "network_a_border.geojson"}"
zone_grid = "{FIXTURES / "network_a_zones.geojson"}"
cell_plan = "{FIXTURES / "network_a_cells.csv"}"
turn_hour_utc = 2
source = "feed"
marks = "marks"
alarms = "alarms"
sources = ["core/0"]
state = "edge"
centre_url = "https://centre.example"
"""


@pytest.fixture
def edge(tmp_path, monkeypatch):
    """The edge of the guide, with its settings file where the commands run."""
    told = ToldEdge(tmp_path)
    told.marks_reach(7)
    told.took_in("a", ("core", 6, "received", 200), ("core", 6, "refused:late", 1), ("core", 6, "unknown_cell", 3))
    told.took_in("b", ("core", 6, "outside_belt", 196))
    (told.folder.root / "feed.ndjson").write_text('{"doubts": ["alarm"], "window_start": "2026-03-02T04:00:00Z"}\n')
    for hour in range(6):
        monkeypatch.setattr(jobs.left, "_now", lambda hour=hour: DAY + HOUR * (hour + 1) + timedelta(minutes=80))
        entry = told.tell(hour, complete=hour != 2, counts=COUNTS)
        note_left(told.folder.root, entry.digest, to=OUTBOX)
    (told.settings.state / "receipts").mkdir()
    for path in told.folder.releases.glob("*.json"):
        (told.settings.state / "receipts" / path.name).write_text("{}")
    told.folder.write_covered_until(DAY + HOUR * 7)
    (tmp_path / "tidemark.toml").write_text(SETTINGS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(jobs.cli, "_now", lambda: NOW)
    monkeypatch.setattr(jobs.status.shutil, "disk_usage", lambda _: SimpleNamespace(free=60, total=100))
    yield told
    told.ledger.close()


def examples():
    """Each command of the guide's console blocks, and what it is said to print."""
    for block in re.findall(r"```console\n(.*?)```", GUIDE, re.DOTALL):
        yield from re.findall(r"^\$ (.*?)$\n(.*?)(?=^\$ |\Z)", block, re.DOTALL | re.MULTILINE)


def printed_by(command, capsys, monkeypatch):
    program, *words = shlex.split(command)
    assert program == "tidemark"
    monkeypatch.setattr(sys, "argv", [program, *words])
    with pytest.raises(SystemExit) as ended:
        jobs.cli.main()
    out = capsys.readouterr()
    said = "\n".join(line.rstrip() for line in (out.out + out.err).splitlines())
    return said + "\n", ended.value.code or 0


def test_every_example_prints_what_the_guide_says(edge, capsys, monkeypatch):
    ran = 0
    for command, expected in examples():
        said, _ = printed_by(command, capsys, monkeypatch)
        pattern = re.escape(expected).replace("…", ".*?")
        assert re.fullmatch(pattern, said, re.DOTALL), f"$ {command}\n{said}"
        ran += 1
    assert ran >= 6


def test_the_exit_codes_are_those_of_the_table(edge, capsys, monkeypatch):
    assert printed_by("tidemark edge status", capsys, monkeypatch)[1] == 0
    assert printed_by("tidemark edge left", capsys, monkeypatch)[1] == 0
    printed_by("tidemark edge stop --reason x", capsys, monkeypatch)
    assert printed_by("tidemark edge status --json", capsys, monkeypatch)[1] == 1
    printed_by("tidemark edge start --reason x", capsys, monkeypatch)
    (edge.folder.releases / "planted.json").write_text('{"digest": "sha256:planted"}')
    assert printed_by("tidemark edge left --all", capsys, monkeypatch)[1] == 1


def test_the_guides_alarm_is_an_alarm():
    (line,) = re.findall(r"```json\n(.*?)\n```", GUIDE, re.DOTALL)
    assert parse_alarm(line).element == "site-0412"
