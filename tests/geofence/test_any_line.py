"""Zones beside lines of every kind of shape: rivers, meanders, enclaves, coast ends, triple points, 180 degrees."""

import math
from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import LineString, MultiLineString, Polygon

from geofence.border import Border, BorderError
from geofence.build import build_zone_grid
from geofence.check import border_lengths, check_home_country, check_zone_grid, longest_gap_m
from geofence.grid import ZoneGrid, grid_from_document
from geofence.metres import Plane, plane_around

from .builders import START, TURN

SPECK_M2 = 50_000.0


def own(plane: Plane, *pieces: np.ndarray) -> Border:
    """A border of your own, drawn in metres on a plane."""
    lines = [LineString(piece) for piece in pieces]
    drawn = lines[0] if len(lines) == 1 else MultiLineString(lines)
    return Border("own", "AA", "BB", plane.to_degrees(drawn), "made for a test", "CC0")


def built(border: Border, home: str, depth_m: float = 5_000.0, length_m: float = 15_000.0) -> ZoneGrid:
    return build_zone_grid(
        border, home, depth_m=depth_m, length_m=length_m, valid_from=START, turn_hour_utc=TURN, crossing_points=()
    )


def assert_well_cut(border: Border, grid: ZoneGrid, depth_m: float = 5_000.0) -> tuple[np.ndarray, object]:
    """No overlap, no gap, no sliver, enough border, not too far from the line; gives ground and line in metres."""
    check_zone_grid(grid, border.line)
    plane = plane_around(border.line)
    ground = plane.to_metres(np.array([zone.geometry for zone in grid.zones], dtype=object))
    line = plane.to_metres(border.line)
    one, other = shapely.STRtree(ground).query(ground, predicate="intersects")
    assert shapely.area(shapely.intersection(ground[one[one < other]], ground[other[one < other]])).sum() < 1_000
    assert longest_gap_m(line, ground) <= 50
    assert min(part.area for shape in ground for part in shapely.get_parts(shape)) > SPECK_M2
    assert border_lengths(line, ground).min() > 9_850
    reach = shapely.distance(shapely.points(shapely.get_coordinates(ground)), line).max()
    assert reach < 1.02 * depth_m + 100
    return ground, line


def share_inside(ground: np.ndarray, side: Polygon) -> float:
    return float(shapely.area(shapely.intersection(ground, side)).sum() / shapely.area(ground).sum())


bends = st.lists(st.floats(-1, 1), min_size=8, max_size=14)
homes = st.sampled_from(["AA", "BB"])


@settings(max_examples=6, deadline=None)
@given(
    bends=bends, wave_m=st.sampled_from([900.0, 2_500.0, 6_000.0]), home=homes, lat=st.sampled_from([-46, 0, 21, 69])
)
def test_a_river_with_bends_of_every_size(bends: list[float], wave_m: float, home: str, lat: int) -> None:
    x = np.linspace(0, 70_000, 1_400)
    y = sum(bend * wave_m * np.sin(x / (wave_m * (1 + place))) for place, bend in enumerate(bends))
    y = y / max(1.0, len(bends) / 4)
    plane = Plane(101.0, float(lat))
    border = own(plane, np.stack([x, y], axis=1))
    grid = built(border, home)
    ground, _ = assert_well_cut(border, grid)
    # The line runs east, so country AA is what lies north of it.
    edge = np.stack([x, y], axis=1)
    north = Polygon(np.concatenate([[[-40_000, y[0]]], edge, [[110_000, y[-1]], [110_000, 60_000], [-40_000, 60_000]]]))
    here = plane.to_metres(plane_around(border.line).to_degrees(ground))
    inside = share_inside(here, north)
    assert inside > 0.95 if home == "AA" else inside < 0.05
    check_home_country(grid_from_document(grid.document), border)


@settings(max_examples=6, deadline=None)
@given(swing=st.sampled_from([1.4, 1.9, 2.0, 2.1]), loop_m=st.sampled_from([2_000.0, 8_000.0, 25_000.0]), home=homes)
def test_meanders_that_nearly_meet_themselves(swing: float, loop_m: float, home: str) -> None:
    # The sine-generated curve (Langbein and Leopold 1966): from 2.2 on its loops would cut themselves off.
    along = np.arange(0, 90_000, min(50.0, loop_m / 60))
    heading = swing * np.sin(2 * math.pi * along / loop_m)
    step = np.stack([np.cos(heading), np.sin(heading)], axis=1) * (along[1] - along[0])
    edge = np.cumsum(step, axis=0)
    assert LineString(edge).is_simple
    border = own(Plane(30.0, 45.0), edge)
    assert_well_cut(border, built(border, home))


@settings(max_examples=6, deadline=None)
@given(
    radius_km=st.sampled_from([3.0, 8.0, 30.0]),
    bulge=st.floats(0, 0.3),
    home=homes,
    first=st.integers(0, 359),
    lat=st.sampled_from([-29.0, 12.0]),
)
def test_an_enclave_has_zones_within_or_round_it(
    radius_km: float, bulge: float, home: str, first: int, lat: float
) -> None:
    turn = np.radians(np.arange(360) + first)
    radius = radius_km * 1_000 * (1 + bulge * np.cos(3 * turn))
    ring = np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)
    border = own(Plane(28.0, lat), np.concatenate([ring, ring[:1]]))
    grid = built(border, home)
    ground, line = assert_well_cut(border, grid)
    # Drawn against the clock: country AA lies within.
    inside = share_inside(ground, Polygon(line))
    assert inside > 0.98 if home == "AA" else inside < 0.02


@settings(max_examples=6, deadline=None)
@given(gap_km=st.sampled_from([2.0, 6.0, 12.0]), radius_km=st.sampled_from([2.0, 5.0]), home=homes)
def test_an_enclave_beside_the_border_it_belongs_to(gap_km: float, radius_km: float, home: str) -> None:
    turn = np.radians(np.arange(0, 361, 3))
    ring = np.stack([radius_km * np.cos(turn), gap_km + radius_km + radius_km * np.sin(turn)], axis=1) * 1_000
    # The main line runs west, so country AA lies south of it; the enclave north of it belongs to AA too.
    ring[-1] = ring[0]
    main = np.array([[40_000.0, 0.0], [-40_000.0, 0.0]])
    border = own(Plane(89.0, 26.0), main, ring)
    grid = built(border, home)
    ground, _ = assert_well_cut(border, grid)
    south = shapely.union(shapely.box(-60_000, -60_000, 60_000, 0), Polygon(ring))
    here = Plane(89.0, 26.0).to_metres(plane_around(border.line).to_degrees(ground))
    inside = share_inside(here, south)
    assert inside > 0.98 if home == "AA" else inside < 0.02


@settings(max_examples=6, deadline=None)
@given(bends=bends, home=homes, cut=st.booleans())
def test_a_line_across_180_degrees(bends: list[float], home: str, cut: bool) -> None:
    x = np.linspace(-35_000, 35_000, 300)
    y = 1_500 * sum(bend * np.sin(x / (3_000.0 * (1 + place))) for place, bend in enumerate(bends)) / len(bends)
    plane = Plane(180.0, 66.0)
    drawn = own(plane, np.stack([x, y], axis=1))
    lon, lat = shapely.get_coordinates(drawn.line).T
    west = lon > 0
    assert 0 < west.sum() < len(lon)
    if cut:  # as RFC 7946 has it
        ends = [[180.0, lat[west][-1]]], [[-180.0, lat[west][-1]]]
        halves = [np.stack([lon[part], lat[part]], axis=1) for part in (west, ~west)]
        border = replace(
            drawn, line=MultiLineString([np.vstack([halves[0], ends[0]]), np.vstack([ends[1], halves[1]])])
        )
    else:
        border = drawn
    grid = built(border, home)
    assert_well_cut(border, grid)
    for zone in grid.zones:
        for part in shapely.get_parts(zone.geometry):
            assert part.bounds[2] - part.bounds[0] < 2, "a part lies on one side of 180 degrees"
    if not cut:
        check_home_country(grid_from_document(grid.document), border)
    shapes = [plane.to_metres(zone.geometry) for zone in grid.zones]
    middle = shapely.union_all(shapes).centroid.y
    assert middle > 500 if home == "AA" else middle < -500


@settings(max_examples=6, deadline=None)
@given(
    lakes=st.lists(
        st.tuples(st.floats(0.15, 0.85), st.sampled_from([1_000.0, 8_000.0, 20_000.0])), min_size=1, max_size=2
    ),
    home=homes,
)
def test_a_line_that_breaks_at_lakes_and_ends_at_coasts(lakes: list[tuple[float, float]], home: str) -> None:
    x = np.linspace(0, 120_000, 1_200)
    y = 1_000 * np.sin(x / 4_000)
    dry = np.ones(len(x), dtype=bool)
    for place, width_m in lakes:
        dry &= np.abs(x - place * 120_000) > width_m / 2
    pieces = [
        piece for piece in np.split(np.arange(len(x)), np.flatnonzero(np.diff(dry.astype(int))) + 1) if dry[piece].all()
    ]
    border = own(Plane(27.5, 58.0), *(np.stack([x[piece], y[piece]], axis=1) for piece in pieces))
    assert_well_cut(border, built(border, home))


def test_pieces_drawn_in_two_directions_are_refused() -> None:
    one, other = np.array([[0.0, 0.0], [30_000.0, 0.0]]), np.array([[60_000.0, 0.0], [30_500.0, 0.0]])
    border = own(Plane(20.0, 40.0), one, other)
    with pytest.raises(BorderError, match="drawn one way"):
        built(border, "AA")


def test_zones_do_not_reach_beyond_a_triple_point() -> None:
    # Three countries meet at the origin; the border to the north of it is ours, the ground south of it a third's.
    border = own(Plane(107.0, 15.0), np.array([[0.0, 40_000.0], [0.0, 0.0]]))
    grid = built(border, "BB")
    ground, line = assert_well_cut(border, grid)
    assert float(shapely.get_coordinates(ground)[:, 1].min()) > line.bounds[1] - 5_200
