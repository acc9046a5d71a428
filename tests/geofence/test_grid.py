"""Reading a zone grid: exactly what the contract says, or refused by name of the rule."""

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofence.grid import GridError, ZoneKind, grid_from_document, neighbours, read_zone_grid, write_zone_grid

from .builders import START, TURN, box, document, feature, grid, network_a


def test_the_sample_grid_is_read_and_its_zones_are_sorted() -> None:
    sample = network_a()
    assert [zone.zone_id for zone in sample.zones] == ["belt-north", "belt-south", "gate-mid"]
    assert sample.zones[sample.zone_ix("gate-mid")].kind is ZoneKind.CROSSING_POINT


def test_a_written_grid_reads_back_equal(tmp_path: Path) -> None:
    write_zone_grid(network_a(), tmp_path / "grid.geojson")
    assert read_zone_grid(tmp_path / "grid.geojson") == network_a()


def test_the_grid_id_follows_the_content_and_not_the_order_of_keys() -> None:
    whole = document()
    turned = dict(reversed(list(whole.items())))
    assert grid_from_document(turned).grid_id == grid_from_document(whole).grid_id
    assert grid(turn_hour_utc=3, valid_from="2026-03-01T03:00:00Z").grid_id != grid_from_document(whole).grid_id


def test_a_grid_id_that_is_not_that_of_the_content_is_refused() -> None:
    with pytest.raises(GridError, match="digest of the content"):
        grid(grid_id="sha256:" + "0" * 64)


def test_what_the_file_does_not_say_is_given_and_what_it_says_is_not_overruled() -> None:
    silent = {key: value for key, value in document().items() if key not in ("turn_hour_utc", "valid_from")}
    assert grid_from_document(silent, turn_hour_utc=TURN, valid_from=START).grid_id == grid().grid_id
    with pytest.raises(GridError, match="turn_hour_utc is in the document or given"):
        grid_from_document(silent, valid_from=START)
    with pytest.raises(GridError, match="the same in the document and in the settings"):
        grid_from_document(document(), turn_hour_utc=5)
    with pytest.raises(GridError, match="the same in the document and in the settings"):
        grid_from_document(document(), valid_from=datetime(2026, 4, 1, TURN, tzinfo=UTC))


def test_a_grid_starts_at_the_turn_of_a_token_day() -> None:
    with pytest.raises(GridError, match="turn of a token-day"):
        grid(valid_from="2026-03-01T04:00:00Z")


def test_zones_that_share_an_edge_are_neighbours() -> None:
    assert neighbours(network_a()) == {
        "belt-north": ("gate-mid",),
        "belt-south": ("gate-mid",),
        "gate-mid": ("belt-north", "belt-south"),
    }


def test_two_zones_of_one_name_are_refused() -> None:
    with pytest.raises(GridError, match="used once"):
        grid(feature("a", box(-10, 0, 0, 12)), feature("a", box(-10, 12, 0, 24)))


SQUARE = box(-10, 0, 0, 12)
RING = SQUARE[0]


@pytest.mark.parametrize(
    ("coordinates", "rule"),
    [
        ([[*RING[:-1], [6.0, 50.0]]], "a ring ends where it starts"),
        ([RING[:2] + RING[:1]], "at least four positions"),
        ([[[lat, lon + 100] for lon, lat in RING]], "longitude comes first"),
        ([[[lon, lat, 12.0] for lon, lat in RING]], "without height"),
        ([[[lon, float("nan")] for lon, _ in RING]], "finite number"),
        ([[[float("inf"), lat] for _, lat in RING]], "finite number"),
        ([[[10**400, lat] for _, lat in RING]], "longitude comes first"),
        ([[[True, lat] for _, lat in RING]], "finite number"),
        ([[[str(lon), lat] for lon, lat in RING]], "finite number"),
        ([SQUARE], "at least four positions"),
        ([], "a list of rings"),
        (None, "a list of rings"),
        ([None], "a list of positions"),
        ([[RING[0]] * 5_001], "at most 5,000 vertices"),
    ],
)
def test_a_zone_is_made_of_plain_closed_rings(coordinates: Any, rule: str) -> None:
    with pytest.raises(GridError, match=rule) as refused:
        grid(feature("odd", coordinates))
    assert refused.value.feature == "odd"


@pytest.mark.parametrize(
    "changed",
    [
        {"sector_id": None},
        {"sector_id": "a b"},
        {"kind": "fence"},
        {"kind": ["belt"]},
        {"name": None},
        {"name": "a\u202eb"},
        {"name": "x" * 201},
    ],
)
def test_a_zone_says_its_sector_kind_and_name(changed: dict[str, Any]) -> None:
    with pytest.raises(GridError, match=next(iter(changed))):
        grid(feature("odd", SQUARE, **changed))


@pytest.mark.parametrize("zone_id", ["", "-a", "a b", "ä", "x" * 65, "a/b", None, 7])
def test_a_zone_id_keeps_the_grammar_and_is_not_echoed(zone_id: Any) -> None:
    with pytest.raises(GridError, match="zone_id matches") as refused:
        grid(
            {**feature("a", SQUARE), "properties": {"zone_id": zone_id, "sector_id": "s", "kind": "belt", "name": "n"}}
        )
    assert refused.value.feature == "feature 1"


@pytest.mark.parametrize(
    "geometry",
    [
        {"type": "GeometryCollection", "geometries": [{"type": "Polygon", "coordinates": SQUARE}]},
        {"type": "Point", "coordinates": [6, 50]},
        None,
    ],
)
def test_only_polygons_are_zones(geometry: Any) -> None:
    with pytest.raises(GridError, match="Polygon or a MultiPolygon"):
        grid({**feature("a", SQUARE), "geometry": geometry})


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "one JSON document"),
        ("[", "one JSON document"),
        ("[" * 100_000, "one JSON document"),
        ("[]", "FeatureCollection"),
        ('{"type": NaN}', "finite number"),
        ('{"a": 1, "a": 2}', "each member once"),
        ('{"a": "' + "x" * (16 * 2**20) + '"}', "at most 16 MiB"),
    ],
    ids=["empty", "open", "deep", "list", "nan", "twice", "large"],
)
def test_a_file_that_is_not_one_json_document_is_refused(tmp_path: Path, text: str, rule: str) -> None:
    (tmp_path / "grid.geojson").write_text(text)
    with pytest.raises(GridError, match=rule):
        read_zone_grid(tmp_path / "grid.geojson")


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"type": "Feature"}, "FeatureCollection"),
        ({"features": []}, "1 to 2,000 features"),
        ({"attribution": ""}, "attribution is text"),
        ({"turn_hour_utc": 24}, "whole hour"),
        ({"turn_hour_utc": True}, "whole hour"),
        ({"valid_from": "2026-03-01T02:00:00"}, "with an offset"),
        ({"valid_from": "0001-01-01T00:00:00+14:00"}, "with an offset"),
        ({"valid_from": 1}, "with an offset"),
    ],
)
def test_the_members_of_a_grid_keep_their_types(changed: dict[str, Any], rule: str) -> None:
    with pytest.raises(GridError, match=rule):
        grid(**changed)


def test_a_start_is_in_the_document_or_given() -> None:
    with pytest.raises(GridError, match="valid_from is in the document or given"):
        grid_from_document({key: value for key, value in document().items() if key != "valid_from"})


def test_a_grid_of_too_many_vertices_is_refused_before_any_geometry() -> None:
    long = [[*[RING[0]] * 4_998, *RING[1:3]]]
    long[0][-1] = RING[0]
    with pytest.raises(GridError, match="200,000 vertices"):
        grid(*(feature(f"z{number}", long) for number in range(41)))


@pytest.mark.parametrize("coordinates", [None, [], {}, 1])
def test_a_multipolygon_is_a_list_of_polygons(coordinates: Any) -> None:
    odd = feature("odd", SQUARE)
    odd["geometry"] = {"type": "MultiPolygon", "coordinates": coordinates}
    with pytest.raises(GridError, match="MultiPolygon is a list"):
        grid(odd)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(key=st.sampled_from(["type", "features", "turn_hour_utc", "valid_from", "attribution", "grid_id"]), value=junk)
def test_anything_in_the_place_of_a_member_is_read_or_refused_never_a_crash(key: str, value: Any) -> None:
    try:
        read = grid(**{key: value})
    except GridError:
        return
    assert json.loads(json.dumps(read.document)) == read.document


@given(place=st.sampled_from(["properties", "geometry", "coordinates", "zone_id", "kind"]), value=junk)
def test_anything_in_a_feature_is_read_or_refused_never_a_crash(place: str, value: Any) -> None:
    odd = feature("a", SQUARE)
    inner = {"coordinates": odd["geometry"], "zone_id": odd["properties"], "kind": odd["properties"]}.get(place, odd)
    inner[place] = value
    with contextlib.suppress(GridError):
        assert grid(odd).zones
