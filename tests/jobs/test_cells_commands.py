"""The `cells` commands: check, locate, diff, switches; and that the settings of footprints reach them."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from geofence.cell_plan import read_cell_plan, write_cell_plan
from jobs.cli import app
from tests.geofence.builders import FIXTURES

BORDER = Path(__file__).parents[2] / "docs" / "examples" / "network_a_border.geojson"
PLAN = FIXTURES / "network_a_cells.csv"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "edge.toml"
    path.write_text(
        f"""[edge]
carrier = "a"
own_networks = ["204-99"]
networks_across = ["206-98"]
border = "{BORDER}"
zone_grid = "{FIXTURES / "network_a_zones.geojson"}"
cell_plan = "{PLAN}"
turn_hour_utc = 2
grid_valid_from = "2026-03-01T02:00:00Z"
source = "{tmp_path}"
state = "{tmp_path / "state"}"
replay = true
"""
    )
    return path


def said(*words: str | Path, code: int = 0) -> dict[str, Any]:
    """What a command says with --json."""
    result = CliRunner().invoke(app, ["cells", *map(str, words), "--json"])
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_plan_is_checked_without_an_edge(tmp_path: Path) -> None:
    assert said("check", PLAN) == {"verdict": "fit", "faults": []}
    (tmp_path / "bad.csv").write_text(PLAN.read_text().replace(",1325.0,", ",0.0,"))
    (fault,) = said("check", tmp_path / "bad.csv", code=1)["faults"]
    assert fault == {"rule": "range_m is at least 1 and at most 120,000", "rows": 1, "first": [1]}


def test_every_zone_says_how_pure_it_is(config: Path) -> None:
    zones = said("locate", "--config", config)["coverage"]["zones"]
    for zone in zones:
        parts = ("purity", "share_other_zones", "share_inland", "share_abroad")
        assert sum(zone[part] for part in parts) == pytest.approx(1.0, abs=0.002)


def test_the_model_and_the_land_cover_of_the_settings_are_those_of_the_plan(config: Path, tmp_path: Path) -> None:
    plain = said("locate", "--config", config)["plan_digest"]
    config.write_text(config.read_text() + 'footprint = "sector"\n')
    even = said("locate", "--config", config)["plan_digest"]
    lake = {
        "type": "Feature",
        "properties": {"cover": "water"},
        "geometry": {"type": "Polygon", "coordinates": [[[6.0, 50.8], [6.05, 50.8], [6.05, 50.9], [6.0, 50.8]]]},
    }
    _write_vector_file(tmp_path / "cover.gpkg", lake)
    config.write_text(config.read_text() + 'land_cover = "cover.gpkg"\n')
    assert len({plain, even, said("locate", "--config", config)["plan_digest"]}) == 3


def _write_vector_file(path: Path, feature: dict[str, Any]) -> None:
    import pyogrio
    import shapely

    shape = shapely.from_geojson(json.dumps(feature["geometry"]))
    pyogrio.raw.write(
        path,
        geometry=[shapely.to_wkb(shape)],
        field_data=[pl.Series([feature["properties"]["cover"]]).to_numpy()],
        fields=["cover"],
        geometry_type="Polygon",
        crs="EPSG:4326",
    )


def test_a_moved_mast_is_told_with_the_zone_that_it_changes(config: Path, tmp_path: Path) -> None:
    plan = read_cell_plan(PLAN)
    moved = plan.with_row_index("row").with_columns(
        pl.when(pl.col("row") == 0).then(pl.col("lon") - 0.02).otherwise(pl.col("lon")).alias("lon")
    )
    write_cell_plan(moved.drop("row"), tmp_path / "new.csv")
    found = said("diff", PLAN, tmp_path / "new.csv", "--config", config, "--at", "2026-03-02")
    assert [len(found[name]) for name in ("added", "removed", "moved", "turned")] == [0, 0, 1, 0]
    assert [zone["zone_id"] for zone in found["zones"]] == ["belt-north"]


def test_cells_that_begin_on_a_date_are_listed_with_the_hours_that_they_touch(config: Path, tmp_path: Path) -> None:
    begun = pl.lit("2026-03-02T04:00:00Z").str.to_datetime(time_zone="UTC")
    plan = read_cell_plan(PLAN).with_row_index("row")
    late = plan.with_columns(
        pl.when(pl.col("row") % 2 == 0).then(begun).otherwise(pl.col("valid_from")).alias("valid_from")
    )
    write_cell_plan(late.drop("row"), tmp_path / "new.csv")
    config.write_text(config.read_text().replace(str(PLAN), str(tmp_path / "new.csv")))
    (switch,) = said("switches", "--config", config)["switches"]
    assert switch["hour"] == "2026-03-02T04:00:00Z"
    assert switch["degraded"]
    assert set(switch["zones"]) == {"belt-north", "belt-south", "gate-mid"}
