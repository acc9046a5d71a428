"""The rules a zone grid must keep; each story breaks one."""

import math
import time

import pytest
from shapely.geometry import LineString

from geofence.check import check_zone_grid
from geofence.grid import GridError, ZoneGrid

from .builders import LINE, box, feature, grid, network_a


def refusal(odd: ZoneGrid, line: LineString | None = LINE) -> GridError:
    with pytest.raises(GridError) as refused:
        check_zone_grid(odd, line)
    return refused.value


def test_the_sample_grid_keeps_every_rule() -> None:
    check_zone_grid(network_a(), LINE)


def test_edges_may_touch() -> None:
    check_zone_grid(grid(), LINE)


def test_a_polygon_that_crosses_itself_is_refused_not_repaired() -> None:
    (west, south), (east, _), (_, north), *_ = box(-10, 0, 0, 12)[0]
    bow = [[[west, south], [east, north], [east, south], [west, north], [west, south]]]
    error = refusal(grid(feature("bow", bow)))
    assert (error.feature, error.rule) == ("bow", "a zone is simple and valid")


def test_a_star_that_would_cost_a_repair_most_of_a_minute_is_refused_at_once() -> None:
    points = [[6.0 + 0.05 * math.cos(turn * 2.39996), 50.9 + 0.05 * math.sin(turn * 2.39996)] for turn in range(4_000)]
    started = time.monotonic()
    assert refusal(grid(feature("star", [[*points, points[0]]]))).rule == "a zone is simple and valid"
    assert time.monotonic() - started < 2


def test_overlapping_zones_are_refused() -> None:
    odd = grid(feature("one", box(-10, 0, 0, 12)), feature("other", box(-10, 11, 0, 24)))
    assert refusal(odd).rule == "zones do not overlap; their edges may touch"


def test_a_zone_of_two_parts_may_not_overlap_another() -> None:
    odd = feature("two", [box(-10, 0, 0, 12), box(-12, 13, -11, 14)])
    odd["geometry"]["type"] = "MultiPolygon"
    assert refusal(grid(odd, feature("north", box(-12, 12, 0, 24)))).rule.startswith("zones do not overlap")


def test_two_combs_woven_into_each_other_are_refused_at_once() -> None:
    teeth = 1_200
    corners = [(0.0, 1.0), (0.5, 1.0), (0.5, 0.0), (1.0, 0.0)]
    steps = [((tooth + across) / teeth, depth) for tooth in range(teeth) for across, depth in corners]
    up = [[6.0 + 0.09 * x, 50.8 + 0.02 + 0.05 * y] for x, y in steps]
    along = [[6.0 + 0.01 + 0.05 * y, 50.8 + 0.09 * x] for x, y in steps]
    one = [[[6.0, 50.8], *up, [6.0 + 0.09, 50.8], [6.0, 50.8]]]
    other = [[[5.999, 50.8], *along, [5.999, 50.89], [5.999, 50.8]]]
    started = time.monotonic()
    assert refusal(grid(feature("one", one), feature("other", other)), None).rule.startswith("zones do not overlap")
    assert time.monotonic() - started < 5


def test_a_belt_with_too_little_border_is_refused() -> None:
    odd = grid(feature("short", box(-10, 0, 0, 9)), feature("north", box(-10, 9, 0, 24)))
    assert refusal(odd).rule == "a belt has at least 10 km of border"


def test_a_crossing_point_with_too_little_border_is_refused() -> None:
    gate = feature("gate", box(-5, 10, 0, 11.5), kind="crossing_point")
    odd = grid(gate, feature("north", box(-10, 11.5, 0, 24)))
    assert (refusal(odd).feature, refusal(odd).rule) == ("gate", "a crossing point has at least 2 km of border")


def test_a_zone_that_lies_back_from_the_line_has_no_border() -> None:
    assert refusal(grid(feature("back", box(-10, 0, -1, 24)))).rule == "a belt has at least 10 km of border"


def test_a_zone_that_is_too_large_is_refused() -> None:
    long = LineString([(6.1, 50.0), (6.1, 51.5)])
    assert refusal(grid(feature("wide", box(-49, -60, 0, 50))), long).rule == "a zone has at most 2,500 km2"


def test_a_zone_far_from_the_line_is_refused() -> None:
    odd = grid(feature("far", box(-70, 0, -60, 24)))
    assert refusal(odd).rule == "a zone lies within 50 km of the border line"


def test_swapped_axes_that_stay_in_range_are_caught_by_the_line() -> None:
    swapped = [[[lat, lon] for lon, lat in box(-10, 0, 0, 24)[0]]]
    assert refusal(grid(feature("turned", swapped))).rule == "a zone lies within 50 km of the border line"


def test_a_zone_across_the_line_is_refused() -> None:
    odd = grid(feature("south", box(-10, 0, 0, 12)), feature("north", box(-10, 12, 5, 24)))
    assert refusal(odd).rule == "a zone lies on the home side of the border line"


def test_zones_on_both_sides_of_the_line_are_refused() -> None:
    odd = grid(feature("home", box(-10, 0, 0, 24)), feature("away", box(0, 0, 10, 24)))
    assert "side of the border line" in refusal(odd).rule


def test_without_a_line_only_what_needs_none_is_asked() -> None:
    check_zone_grid(grid(feature("short", box(-10, 0, 0, 9))), None)
