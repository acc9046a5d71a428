"""The simulator from the command line."""

import json
from pathlib import Path

import polars as pl
import pytest
from shapely.geometry import mapping
from typer.testing import CliRunner, Result

from geofence.grid import write_zone_grid
from ingest.alarms import read_alarms
from ingest.marks import read_marks
from jobs.cli import app
from simulator.rates import SimulationRefused
from tests.simulator.small_border import small_border, small_grid


@pytest.fixture
def border(tmp_path: Path) -> list[str]:
    write_zone_grid(small_grid(), tmp_path / "zones.geojson")
    line = {"type": "Feature", "properties": {}, "geometry": mapping(small_border().line)}
    (tmp_path / "line.geojson").write_text(json.dumps(line))
    return [str(tmp_path / "zones.geojson"), "--border", str(tmp_path / "line.geojson"), "--day", "2026-03-02"]


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["simulate", *words])


def test_a_day_of_two_carriers_with_an_outage(border: list[str], tmp_path: Path) -> None:
    asked = ["--scale", "0.001", "--carrier", "carrier-c", "--carrier", "mine=452-07=0.1", "--outage", "B03,5,2,800"]
    result = run("events", *border, "--out", str(tmp_path / "day"), *asked, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert [one["carrier"] for one in told["carriers"]] == ["carrier-c", "mine"]
    for one in told["carriers"]:
        folder = tmp_path / "day" / one["carrier"]
        drops = sorted((folder / "feed").glob("*.parquet"))
        assert sum(pl.scan_parquet(drop).select(pl.len()).collect().item() for drop in drops) == one["events"]
        assert len(read_alarms(folder / "alarms").alarms) == 2
        assert pl.read_parquet(folder / "truth.parquet")["carrier"].unique().to_list() == [one["carrier"]]
    assert told["events"] == sum(one["events"] for one in told["carriers"])


def test_marks_of_a_written_day_can_be_read(border: list[str], tmp_path: Path) -> None:
    run("events", *border, "--out", str(tmp_path / "day"), "--scale", "0.001", "--carrier", "carrier-c", "--no-surges")
    assert read_marks(tmp_path / "day" / "carrier-c" / "feed")


def test_check_shows_every_gate_and_fails_when_one_does(border: list[str]) -> None:
    result = run("check", *border, "--scale", "0.005", "--carrier", "carrier-c")
    lines = result.stdout.splitlines()
    assert sum(line.startswith(("ok  ", "FAIL")) for line in lines) > 20
    assert result.exit_code == int(any(line.startswith("FAIL") for line in lines))


def test_counts_are_of_three_carriers_where_none_is_named(border: list[str], tmp_path: Path) -> None:
    span = ["--start", "2026-03-01", "--end", "2026-03-02", "--no-surges"]
    result = run("counts", border[0], "--out", str(tmp_path / "counts"), *span)
    assert result.exit_code == 0, result.output
    truth = pl.read_parquet(tmp_path / "counts" / "truth.parquet")
    assert truth["carrier"].unique(maintain_order=True).to_list() == ["carrier-a", "carrier-b", "carrier-c"]


def test_what_cannot_be_simulated_is_refused(border: list[str], tmp_path: Path) -> None:
    for wrong in (["--carrier", "nobody"], ["--outage", "nowhere,1,2,3"], ["--outage", "B03"]):
        result = run("events", *border, "--out", str(tmp_path / "day"), "--scale", "0.001", *wrong)
        assert isinstance(result.exception, SimulationRefused)
