"""Building zones from a border line."""

import dataclasses
import json
import re
from datetime import datetime
from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import LineString

from geofence.border import Border, BorderError, read_border
from geofence.build import build_zone_grid
from geofence.bundled_files import bundled_collection
from geofence.check import border_lengths, grid_gap_m
from geofence.crossing_points import bundled_crossing_points
from geofence.grid import NAME, GridError, ZoneGrid, ZoneKind, grid_from_document
from geofence.metres import plane_around, stations

from .builders import START, TURN


def on_the_plane(grid: ZoneGrid, border: Border) -> tuple[np.ndarray, LineString]:
    shapes = np.array([zone.geometry for zone in grid.zones], dtype=object)
    plane = plane_around(shapes)
    return plane.to_metres(shapes), plane.to_metres(border.line)


def overlap_m2(ground: np.ndarray) -> float:
    one, other = shapely.STRtree(ground).query(ground, predicate="intersects")
    apart = one < other
    return float(shapely.area(shapely.intersection(ground[one[apart]], ground[other[apart]])).sum())


def own_border(line: LineString) -> Border:
    return Border("own", "AA", "BB", line, "made for a test", "CC0")


def test_the_zones_of_vietnam_and_cambodia_cover_the_line_without_overlap(vn_kh: Border, vn_kh_grid: ZoneGrid) -> None:
    ground, line = on_the_plane(vn_kh_grid, vn_kh)
    assert border_lengths(line, ground).sum() == pytest.approx(line.length, rel=0.01)
    _, gap = shapely.STRtree(ground).query_nearest(
        shapely.points(stations(line, 50.0)[0]), return_distance=True, all_matches=False
    )
    assert np.percentile(gap, 99) < 50
    assert gap.max() < 250
    assert overlap_m2(ground) < 1_000


def test_the_zones_are_of_a_size_that_counts_can_speak_of(vn_kh: Border, vn_kh_grid: ZoneGrid) -> None:
    ground, line = on_the_plane(vn_kh_grid, vn_kh)
    belt = np.array([zone.kind is ZoneKind.BELT for zone in vn_kh_grid.zones])
    length = border_lengths(line, ground)
    assert 40 <= belt.sum() <= 60
    assert length[belt].min() >= 10_000
    assert length[~belt].min() >= 2_000
    assert shapely.area(ground).max() < 2_500e6
    assert shapely.get_num_coordinates(ground).max() < 400
    assert len(json.dumps(vn_kh_grid.document)) < 300_000


def test_the_zones_lie_in_vietnam_only(vn_kh: Border, vn_kh_grid: ZoneGrid) -> None:
    abroad = [
        shapely.from_geojson(json.dumps(one["geometry"]))
        for one in bundled_collection("countries.geojson")["features"]
        if one["properties"]["iso2"] in ("KH", "LA")
    ]
    shapes = shapely.union_all([zone.geometry for zone in vn_kh_grid.zones])
    assert shapes.intersection(shapely.union_all(abroad)).area / shapes.area < 0.005


def test_every_crossing_point_lies_in_one_zone_with_room_for_its_uncertainty(vn_kh_grid: ZoneGrid) -> None:
    plane = plane_around([zone.geometry for zone in vn_kh_grid.zones])
    gates = [zone for zone in vn_kh_grid.zones if zone.kind is ZoneKind.CROSSING_POINT]
    for point in bundled_crossing_points("VN-KH", "VN"):
        here = plane.to_metres(shapely.Point(point.lon, point.lat))
        around = [plane.to_metres(gate.geometry) for gate in gates]
        nearest = min(around, key=here.distance)
        assert here.distance(nearest) < 100
        reach = shapely.distance(here, shapely.points(shapely.get_coordinates(nearest))).max()
        assert reach > 0.9 * (2_000 + point.uncertainty_m)


def test_every_zone_says_where_it_comes_from(vn_kh_grid: ZoneGrid) -> None:
    assert "OpenStreetMap" in vn_kh_grid.document["attribution"]
    assert vn_kh_grid.document["licence"] == "ODbL-1.0"
    for one in vn_kh_grid.document["features"]:
        said = one["properties"]
        assert said["source"]
        assert said["licence"]
        if said["kind"] == "crossing_point":
            assert said["confidence"] in "ABC"
            assert all(
                point["source"] and point["licence"] and point["confidence"] for point in said["crossing_points"]
            )


def test_names_and_sectors_can_be_read(vn_kh_grid: ZoneGrid) -> None:
    ids = [zone.zone_id for zone in vn_kh_grid.zones]
    assert "VN-KH-x-moc-bai" in ids
    assert all(NAME.fullmatch(zone_id) for zone_id in ids)
    assert vn_kh_grid.zones[vn_kh_grid.zone_ix("VN-KH-x-moc-bai")].sector_id == "VN-tay-ninh"
    belts = [one["properties"] for one in vn_kh_grid.document["features"] if one["properties"]["kind"] == "belt"]
    assert all(re.fullmatch(r"VN-KH-\d{3}", belt["zone_id"]) for belt in belts)
    assert all(before["border_km"] < after["border_km"] for before, after in pairwise(belts))


def test_building_twice_gives_one_grid_id() -> None:
    border = read_border("PL-LT")
    first, second = (build_zone_grid(border, "PL", valid_from=START, turn_hour_utc=TURN) for _ in range(2))
    assert first.grid_id == second.grid_id
    assert grid_from_document(json.loads(json.dumps(first.document))) == first


def test_the_two_countries_of_a_border_have_zones_that_do_not_overlap() -> None:
    border = read_border("PL-LT")
    sides = [build_zone_grid(border, home, valid_from=START, turn_hour_utc=TURN) for home in ("PL", "LT")]
    pl_side, lt_side = (shapely.union_all([zone.geometry for zone in side.zones]) for side in sides)
    assert pl_side.intersection(lt_side).area / pl_side.area < 0.02


def test_a_border_over_a_wide_lake_has_zones_on_its_banks_only() -> None:
    border = read_border("EE-RU")
    grid = build_zone_grid(border, "EE", valid_from=START, turn_hour_utc=TURN)
    ground, line = on_the_plane(grid, border)
    assert border_lengths(line, ground).sum() == pytest.approx(line.length, rel=0.01)


def test_a_spit_between_two_meanders_is_not_simplified_away() -> None:
    border = read_border("PL-BY")
    grid = build_zone_grid(border, "BY", valid_from=START, turn_hour_utc=TURN)
    assert grid_gap_m(grid, border.line) <= 50


def test_crossing_points_that_cannot_be_told_apart_share_a_zone() -> None:
    border = read_border("PL-LT")
    at = border.line.interpolate(0.5, normalized=True)
    near = dataclasses.replace(bundled_crossing_points("VN-KH")[0], id="one", name_ascii="One", lon=at.x, lat=at.y)
    other = dataclasses.replace(near, id="two", name_ascii="Two", lon=at.x + 0.005, uncertainty_m=2_000, confidence="C")
    grid = build_zone_grid(border, "PL", valid_from=START, turn_hour_utc=TURN, crossing_points=(near, other))
    gates = [one["properties"] for one in grid.document["features"] if one["properties"]["kind"] == "crossing_point"]
    assert [gate["zone_id"] for gate in gates] == ["PL-LT-x-one"]
    assert [point["id"] for point in gates[0]["crossing_points"]] == ["one", "two"]
    assert gates[0]["confidence"] == "C"


def test_home_is_to_the_left_of_a_line_drawn_by_its_first_country() -> None:
    border = own_border(LineString([(6.1, 50.0), (6.1, 50.5)]))
    for home, west in (("AA", True), ("BB", False)):
        grid = build_zone_grid(border, home, valid_from=START, turn_hour_utc=TURN)
        assert all((zone.geometry.centroid.x < 6.1) is west for zone in grid.zones)


@settings(max_examples=15, deadline=None)
@given(
    wander=st.lists(st.floats(-0.12, 0.12), min_size=6, max_size=12),
    depth_m=st.sampled_from([3_000, 10_000, 20_000]),
    home=st.sampled_from(["AA", "BB"]),
)
def test_whatever_way_a_line_wanders_its_zones_cover_it_and_never_overlap(
    wander: list[float], depth_m: int, home: str
) -> None:
    border = own_border(LineString([(6.0 + aside, 50.0 + 0.1 * step) for step, aside in enumerate(wander)]))
    grid = build_zone_grid(border, home, depth_m=depth_m, valid_from=START, turn_hour_utc=TURN)
    ground, line = on_the_plane(grid, border)
    assert overlap_m2(ground) < 1_000
    assert border_lengths(line, ground).sum() == pytest.approx(line.length, rel=0.01)
    vertices = shapely.points(shapely.get_coordinates(ground))
    assert shapely.distance(vertices, line).max() < depth_m * 1.02 + 100


@pytest.mark.parametrize("asked", [{"depth_m": 100}, {"depth_m": 60_000}, {"length_m": 5_000}])
def test_a_belt_too_thin_too_deep_or_too_short_is_refused(asked: dict[str, float]) -> None:
    with pytest.raises(BorderError):
        build_zone_grid(read_border("PL-LT"), "PL", valid_from=START, turn_hour_utc=TURN, **asked)


def test_home_is_one_of_the_two_countries() -> None:
    with pytest.raises(BorderError, match="one of the two countries"):
        build_zone_grid(read_border("PL-LT"), "VN", valid_from=START, turn_hour_utc=TURN)


def test_a_start_without_an_offset_is_refused() -> None:
    with pytest.raises(GridError, match="offset"):
        build_zone_grid(read_border("PL-LT"), "PL", valid_from=datetime(2026, 3, 1, 2), turn_hour_utc=TURN)  # noqa: DTZ001
