"""Land cover: an optional file of water and forest, refused by rule where it is none."""

import json
from pathlib import Path
from typing import Any

import pytest

from geofence.land_cover import LandCoverError, read_land_cover

RING = [[6.0, 50.8], [6.1, 50.8], [6.1, 50.9], [6.0, 50.8]]


def lake(**changed: Any) -> dict[str, Any]:
    whole = {
        "type": "Feature",
        "properties": {"cover": "water"},
        "geometry": {"type": "Polygon", "coordinates": [RING]},
    }
    return {**whole, **changed}


def written(folder: Path, *features: Any) -> Path:
    (folder / "cover.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}))
    return folder / "cover.geojson"


def test_a_file_of_water_and_forest_is_read(tmp_path: Path) -> None:
    found = read_land_cover(written(tmp_path, lake(), lake(properties={"cover": "forest"})))
    assert found.weights == (0.05, 0.3)


@pytest.mark.parametrize(
    ("feature", "rule"),
    [
        (lake(properties={"cover": "mud"}), "cover is one of"),
        (lake(properties=None), "cover is one of"),
        ("lake", "cover is one of"),
        (lake(geometry=None), "a cover is a polygon"),
        (lake(geometry={"type": "Point", "coordinates": [6, 50]}), "a cover is a polygon"),
        (lake(geometry={"type": "Polygon", "coordinates": "6 50"}), "a cover is a polygon"),
        (lake(geometry={"type": "Polygon", "coordinates": [[[y, x * 20] for x, y in RING]]}), "a cover is a polygon"),
        (
            lake(geometry={"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}),
            "a cover is a simple and valid polygon",
        ),
    ],
)
def test_what_is_no_land_cover_is_refused_by_its_rule(tmp_path: Path, feature: Any, rule: str) -> None:
    with pytest.raises(LandCoverError, match=f"feature 2: {rule}"):
        read_land_cover(written(tmp_path, lake(), feature))


def test_no_polygon_is_no_land_cover(tmp_path: Path) -> None:
    with pytest.raises(LandCoverError, match="1 to 10,000 polygons"):
        read_land_cover(written(tmp_path))
