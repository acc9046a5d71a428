"""A border or a zone grid may come as GeoJSON, GPKG, Shapefile, FlatGeobuf or GeoParquet: one judgement for all."""

import json
from pathlib import Path

import geopandas
import pytest
import shapely

from geofence.border import Border, BorderError, read_border
from geofence.build import build_zone_grid
from geofence.check import check_zone_grid
from geofence.grid import GridError, read_zone_grid
from geofence.metres import stations

from .builders import LINE, START, TURN, box, document, feature, grid

FORMATS = [".gpkg", ".shp", ".fgb", ".parquet"]


def _write(table: geopandas.GeoDataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_file(path)
    return path


def _zones(crs: str | None = "EPSG:4326") -> geopandas.GeoDataFrame:
    return geopandas.GeoDataFrame.from_features(document()["features"], crs=crs)


@pytest.mark.parametrize("ending", FORMATS)
def test_a_zone_grid_of_any_format_is_the_same_grid(tmp_path: Path, ending: str) -> None:
    path = _write(_zones(), tmp_path / f"zones{ending}")
    read = read_zone_grid(path, turn_hour_utc=TURN, valid_from=START)
    check_zone_grid(read, LINE)
    by_hand = grid()
    assert [(zone.zone_id, zone.sector_id, zone.kind, zone.name) for zone in read.zones] == [
        (zone.zone_id, zone.sector_id, zone.kind, zone.name) for zone in by_hand.zones
    ]
    for one, other in zip(read.zones, by_hand.zones, strict=True):
        assert one.geometry.equals_exact(other.geometry, 1e-9, normalize=True)


@pytest.mark.parametrize("ending", FORMATS)
def test_metres_on_another_plane_are_brought_to_degrees(tmp_path: Path, ending: str) -> None:
    path = _write(_zones().to_crs("EPSG:32632"), tmp_path / f"zones{ending}")
    read = read_zone_grid(path, turn_hour_utc=TURN, valid_from=START)
    for one, other in zip(read.zones, grid().zones, strict=True):
        assert one.geometry.hausdorff_distance(other.geometry) < 1e-7


@pytest.mark.parametrize("ending", [".gpkg", ".shp", ".parquet"])
def test_a_file_that_does_not_say_its_coordinate_system_is_refused(tmp_path: Path, ending: str) -> None:
    path = _write(_zones(crs=None), tmp_path / f"zones{ending}")
    with pytest.raises(GridError, match="states its coordinate system"):
        read_zone_grid(path, turn_hour_utc=TURN, valid_from=START)


def test_geojson_of_another_coordinate_system_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "zones.geojson"
    path.write_text(json.dumps(document(crs={"type": "name", "properties": {"name": "EPSG:32632"}})))
    with pytest.raises(GridError, match="longitude and latitude on WGS84"):
        read_zone_grid(path)


@pytest.mark.parametrize("ending", FORMATS)
def test_a_damaged_file_is_refused_and_nothing_of_it_is_told(tmp_path: Path, ending: str) -> None:
    path = _write(_zones(), tmp_path / f"zones{ending}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(GridError) as refused:
        read_zone_grid(path, turn_hour_utc=TURN, valid_from=START)
    assert "south" not in str(refused.value)
    assert str(tmp_path) not in str(refused.value)


def test_two_layers_are_one_too_many(tmp_path: Path) -> None:
    path = tmp_path / "zones.gpkg"
    _zones().to_file(path, layer="one")
    _zones().to_file(path, layer="two")
    with pytest.raises(GridError, match="one layer"):
        read_zone_grid(path, turn_hour_utc=TURN, valid_from=START)


@pytest.mark.parametrize("ending", FORMATS)
def test_a_line_of_any_format_is_a_border(tmp_path: Path, ending: str) -> None:
    path = _write(
        geopandas.GeoDataFrame({"a": ["AA"], "b": ["BB"]}, geometry=[LINE], crs="EPSG:4326"), tmp_path / f"line{ending}"
    )
    border = read_border(path)
    assert (border.a, border.b) == ("AA", "BB")
    assert border.line.hausdorff_distance(LINE) < 1e-9


def _two_countries(gap_km: float = 0.0) -> dict[str, object]:
    west, east = feature("w", box(-60, -20, 0, 50)), feature("e", box(gap_km, -20, 60, 50))
    west["properties"], east["properties"] = {"iso2": "WW"}, {"iso2": "EE"}
    return {"type": "FeatureCollection", "features": [west, east]}


@pytest.mark.parametrize("gap_km", [0.0, 0.2, -0.2])
def test_two_countries_give_the_border_between_them_and_home_is_on_its_side(tmp_path: Path, gap_km: float) -> None:
    path = tmp_path / "countries.geojson"
    path.write_text(json.dumps(_two_countries(gap_km)))
    border = read_border(path)
    assert (border.border_id, border.a, border.b) == ("WW-EE", "WW", "EE")
    west, _, east, _ = border.line.bounds
    assert (west, east) == pytest.approx((6.1, 6.1), abs=0.01)
    for home, sign in (("WW", -1), ("EE", 1)):
        built = build_zone_grid(border, home, valid_from=START, turn_hour_utc=TURN, crossing_points=())
        middle = shapely.union_all([zone.geometry for zone in built.zones]).centroid.x
        assert sign * (middle - 6.1) > 0.05


def test_the_edge_of_two_bundled_countries_is_the_bundled_line(tmp_path: Path, vn_kh: Border) -> None:
    from geofence.bundled_files import bundled_collection

    features = {f["properties"]["iso2"]: f for f in bundled_collection("countries.geojson")["features"]}
    path = tmp_path / "countries.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [features["VN"], features["KH"]]}))
    border = read_border(path)
    # The outlines include the sea: the line may go on beyond the coast.
    positions, _ = stations(vn_kh.line, 0.005)
    assert shapely.distance(shapely.points(positions), border.line).max() < 0.005


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        (lambda f: [f[0], feature("e", box(40, -20, 60, 50))], "share an edge"),
        (lambda f: [*f, f[0]], "one line, or the polygons of two countries"),
        (
            lambda f: [
                f[0],
                {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [6, 50]}},
            ],
            "the polygons of two",
        ),
        (lambda f: [f[0], feature("e", [[[6, 50], [7, 51], [7, 50], [6, 51], [6, 50]]])], "simple and valid"),
    ],
)
def test_two_features_that_are_no_neighbours_are_refused(tmp_path: Path, changed, rule: str) -> None:
    path = tmp_path / "countries.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": changed(_two_countries()["features"])}))
    with pytest.raises(BorderError, match=rule):
        read_border(path)
