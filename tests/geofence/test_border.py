"""The border line, bundled or your own."""

import json
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import MultiLineString

from geofence.border import BorderError, bundled_borders, ordered_chain, read_border
from geofence.crossing_points import bundled_crossing_points
from geofence.metres import plane_around

from .builders import FIXTURES, LINE


def test_all_25_bundled_borders_become_one_simple_chain() -> None:
    for border_id in bundled_borders():
        border = read_border(border_id)
        line = plane_around(border.line).to_metres(border.line)
        chain = ordered_chain(line)
        assert chain.is_simple, border_id
        assert chain.length >= line.length, border_id


def test_pieces_drawn_in_any_order_and_direction_make_the_same_chain() -> None:
    pieces = [[(0, 0), (5, 0)], [(9, 0), (6, 0)], [(10, 0), (12, 0)]]
    chain = ordered_chain(MultiLineString(pieces))
    assert chain.equals(ordered_chain(MultiLineString(pieces[::-1])))
    assert chain.length == 12


def test_a_line_of_your_own_is_read_from_a_file() -> None:
    border = read_border(FIXTURES / "network_a_border.geojson")
    assert border.border_id == "network-a"
    assert border.line.equals(LINE)


@pytest.mark.parametrize(
    "geometry",
    [
        {"type": "Point", "coordinates": [6, 50]},
        {"type": "LineString", "coordinates": [[6, 50]]},
        {"type": "LineString", "coordinates": [[6, 50], [6, 50]]},
        {"type": "LineString", "coordinates": [[6, 50, 1], [6, 51, 1]]},
        {"type": "LineString", "coordinates": [[50, 106], [51, 106]]},
        {"type": "LineString", "coordinates": [[6, float("nan")], [6, 51]]},
        {"type": "LineString", "coordinates": [["6", [50]], [6, 51]]},
        {"type": "MultiLineString", "coordinates": []},
        None,
    ],
)
def test_what_is_not_a_line_in_degrees_is_refused_without_echo(tmp_path: Path, geometry: Any) -> None:
    path = tmp_path / "line.geojson"
    path.write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": geometry}))
    with pytest.raises(BorderError) as refused:
        read_border(path)
    assert "106" not in str(refused.value)


@pytest.mark.parametrize(
    ("document", "rule"),
    [
        ([], "is GeoJSON"),
        ({"type": "FeatureCollection", "features": []}, "one line, or the polygons"),
        ({"type": "Topology"}, "one feature"),
        ({"type": "Feature", "properties": [1], "geometry": None}, "JSON object|LineString"),
    ],
)
def test_what_is_not_one_feature_is_refused(tmp_path: Path, document: Any, rule: str) -> None:
    (tmp_path / "line.geojson").write_text(json.dumps(document))
    with pytest.raises(BorderError, match=rule):
        read_border(tmp_path / "line.geojson")


def test_an_unknown_border_is_refused() -> None:
    with pytest.raises(BorderError, match="bundled ids"):
        read_border("XX-YY")


def test_crossing_points_come_best_known_first_with_source_and_grade() -> None:
    points = bundled_crossing_points("VN-KH", "VN")
    assert len(points) == 13
    assert [point.confidence for point in points] == sorted(point.confidence for point in points)
    assert all(point.source and point.licence and point.uncertainty_m > 0 for point in points)


def test_crossing_points_of_a_third_country_are_refused() -> None:
    with pytest.raises(ValueError, match="one of the two countries"):
        bundled_crossing_points("VN-KH", "TH")
