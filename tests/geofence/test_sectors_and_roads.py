"""A planner's own sectors, roads and crossing points."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from shapely.geometry import LineString, MultiLineString

from geofence.border import Border, BorderError, read_border
from geofence.build import build_zone_grid
from geofence.check import border_lengths
from geofence.crossing_points import CrossingPoint, bundled_crossing_points, read_crossing_points
from geofence.grid import ZoneGrid, ZoneKind
from geofence.metres import plane_around
from geofence.roads import Roads, approach, read_roads
from geofence.sectors import read_sectors

from .builders import KM_EAST, KM_NORTH, LON, START, TURN, box, feature

LINE = LineString([(LON, 50.79213), (LON, 50.79213 + 60 * KM_NORTH)])
VALLEY = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture
def border(tmp_path: Path) -> Border:
    (tmp_path / "line.geojson").write_text(json.dumps({"type": "LineString", "coordinates": list(LINE.coords)}))
    return read_border(tmp_path / "line.geojson")


def point(point_id: str, north_km: float, uncertainty_m: float = 0.0) -> CrossingPoint:
    lat = 50.79213 + north_km * KM_NORTH
    return CrossingPoint(point_id, point_id, point_id, LON, lat, uncertainty_m, "A", "", "", "", "drawn", "CC0")


def road(*km: tuple[float, float]) -> LineString:
    """A road through places given as km east of the line and north of its southern end."""
    return LineString([(LON + east * KM_EAST, 50.79213 + north * KM_NORTH) for east, north in km])


def grid(border: Border, points: tuple[CrossingPoint, ...], *roads: LineString, **asked: Any) -> ZoneGrid:
    lines = Roads(MultiLineString(list(roads)), "roads: drawn") if roads else None
    return build_zone_grid(
        border, "A", crossing_points=points, roads=lines, valid_from=START, turn_hour_utc=TURN, **asked
    )


def inland_km(built: ZoneGrid, zone_id: str) -> float:
    zone = built.zones[built.zone_ix(zone_id)]
    return (LON - zone.geometry.bounds[0]) / KM_EAST


def test_a_crossing_point_reaches_inland_along_its_road_and_no_further_than_asked(border: Border) -> None:
    straight = road((5, 20), (0, 20), (-9.5, 20))
    alone = inland_km(grid(border, (point("gate", 20),)), "line-x-gate")
    along = inland_km(grid(border, (point("gate", 20),), straight, approach_m=5_000), "line-x-gate")
    none = inland_km(grid(border, (point("gate", 20),), straight, approach_m=0), "line-x-gate")
    assert alone == pytest.approx(2.0, abs=0.15) == none
    assert along == pytest.approx(2.0 + 5.0 + 1.0, abs=0.3)


def test_an_approach_is_measured_along_the_road_and_not_as_a_crow_flies(border: Border) -> None:
    winding = road((0, 20), (-3, 20), (-3, 22), (-4, 22), (-4, 20), (-9, 20))
    built = grid(border, (point("gate", 20),), winding, approach_m=5_000)
    assert 4.5 < inland_km(built, "line-x-gate") < 6.5


def test_a_road_that_is_not_joined_to_the_crossing_point_is_left_alone(border: Border) -> None:
    elsewhere = road((-4, 21), (-9, 21))
    assert inland_km(grid(border, (point("gate", 20),), elsewhere), "line-x-gate") == pytest.approx(2.0, abs=0.15)


def test_a_road_along_the_border_takes_no_border_from_the_belt(border: Border) -> None:
    along = road((-0.5, 20), (-0.5, 35))
    built = grid(border, (point("gate", 20),), along, approach_m=10_000)
    plane = plane_around(border.line)
    ground = plane.to_metres(np.array([zone.geometry for zone in built.zones], dtype=object))
    length = border_lengths(plane.to_metres(border.line), ground)[built.zone_ix("line-x-gate")]
    assert 3_800 < length < 4_200


def test_a_road_of_two_crossing_points_belongs_to_the_better_known(border: Border) -> None:
    ring = road((0, 20), (-6, 20), (-6, 30), (0, 30))
    better, other = point("better", 20), dataclasses.replace(point("other", 30, 1_000), confidence="B")
    built = grid(border, (better, other), ring, approach_m=12_000)
    shapes = [built.zones[built.zone_ix(f"line-x-{name}")].geometry for name in ("better", "other")]
    assert shapes[0].area > shapes[1].area
    assert shapes[0].intersection(shapes[1]).area * 111_000 * 70_000 < 1_000


def test_roads_are_named_where_they_were_used(border: Border) -> None:
    built = grid(border, (point("gate", 20),), road((0, 20), (-9, 20)))
    assert "roads: drawn" in built.document["attribution"]
    assert "roads" not in grid(border, (point("gate", 20),)).document["attribution"]


def test_the_bundled_roads_widen_crossing_points_of_a_bundled_border(vn_kh_grid: ZoneGrid) -> None:
    gate = vn_kh_grid.zones[vn_kh_grid.zone_ix("VN-KH-x-moc-bai")]
    (known,) = (one for one in bundled_crossing_points("VN-KH", "VN") if one.name_ascii == "Moc Bai")
    area_m2 = plane_around(gate.geometry).to_metres(gate.geometry).area
    # The circle alone would be half abroad.
    assert area_m2 > 1.5 * (np.pi * (2_000 + known.uncertainty_m) ** 2 / 2)
    assert "scgraph_data" in vn_kh_grid.document["attribution"]


def test_a_circle_without_roads_stays_a_circle() -> None:
    circle, ground = shapely.Point(0, 0).buffer(2_000), shapely.box(-10_000, -9_000, 0, 9_000)
    line = LineString([(0, -9_000), (0, 9_000)])
    assert approach(circle, MultiLineString(), ground, line, 5_000.0).equals(circle)


def sectors_file(folder: Path, **fields: str) -> Path:
    (field,) = fields or ("name",)
    areas = [(fields.get(field, "South"), box(-30, -10, 0.2, 31)), ("North", box(-30, 31, 0.2, 80))]
    features = [{**feature("x", coordinates), "properties": {field: name}} for name, coordinates in areas]
    path = folder / "sectors.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "attribution": "drawn, CC0", "features": features}))
    return path


def test_every_zone_goes_to_the_sector_with_the_largest_share_of_it(border: Border, tmp_path: Path) -> None:
    sectors = read_sectors(sectors_file(tmp_path, district="Sông Nam"), "district")
    built = grid(border, (), length_m=20_000, sectors=sectors)
    # The middle belt runs from 20 to 40 km; the sectors meet at 31.
    assert [zone.sector_id for zone in built.zones] == ["A-north", "A-song-nam", "A-song-nam"]
    assert "sectors: drawn, CC0" in built.document["attribution"]


def test_areas_of_one_name_are_one_sector(tmp_path: Path) -> None:
    sectors = read_sectors(sectors_file(tmp_path, name="North"))
    assert [(area.short, area.name) for area in sectors.areas] == [("north", "North")]


def test_sectors_come_from_a_table_too(border: Border, tmp_path: Path) -> None:
    path = sectors_file(tmp_path)
    geopandas.read_file(path).to_file(tmp_path / "sectors.gpkg")
    from_table = read_sectors(tmp_path / "sectors.gpkg")
    assert [area.name for area in from_table.areas] == [area.name for area in read_sectors(path).areas]


def test_a_zone_that_nobody_administers_is_refused_by_its_number(border: Border, tmp_path: Path) -> None:
    path = tmp_path / "sectors.geojson"
    path.write_text(json.dumps({**feature("x", box(-30, -10, 0, 25)), "properties": {"name": "South"}}))
    with pytest.raises(BorderError, match=r"zone \d: at least half of every zone"):
        grid(border, (), sectors=read_sectors(path))


def test_the_files_of_the_guide_build() -> None:
    border = read_border(VALLEY / "valley_border.geojson")
    built = build_zone_grid(
        border,
        "AA",
        valid_from=START,
        turn_hour_utc=TURN,
        crossing_points=read_crossing_points(VALLEY / "valley_crossing_points.csv"),
        roads=read_roads(VALLEY / "valley_roads.geojson"),
        sectors=read_sectors(VALLEY / "valley_sectors.geojson", "district"),
    )
    kinds = {zone.zone_id: zone.kind for zone in built.zones}
    assert [zone_id for zone_id, kind in kinds.items() if kind is ZoneKind.CROSSING_POINT] == [
        "valley-x-high-pass",
        "valley-x-stone-bridge",
    ]
    assert {zone.sector_id for zone in built.zones} == {"AA-north-district", "AA-south-district"}
    grades = [one["properties"].get("confidence") for one in built.document["features"]]
    assert sorted(grade for grade in grades if grade) == ["A", "C"]
