"""What zones are built from: a border, sectors, roads and crossing points that are wrong are refused by the rule broken."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from geofence.border import BorderError, read_border
from geofence.build import build_zone_grid
from geofence.rules import BorderRule, FileRule, Rule
from jobs.cli import app

from .builders import KM_NORTH, LON, START, TURN, box, feature

PLANTED = "zq7planted"
SOUTH, NORTH = 50.79213, 50.79213 + 45 * KM_NORTH
LINE = [[LON, SOUTH], [LON, NORTH]]


@dataclass(frozen=True, slots=True)
class Bad:
    """One bad file, as which option it is given, and the rule that refuses it."""

    title: str
    rule: Rule
    content: Any
    option: str = ""
    name: str = "odd.geojson"


def line(coordinates: Any, kind: str = "LineString", **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": properties, "geometry": {"type": kind, "coordinates": coordinates}}


def collection(*features: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features)}


def country(coordinates: Any) -> dict[str, Any]:
    return {**feature("x", coordinates), "properties": {}}


def named(name: Any, coordinates: Any) -> dict[str, Any]:
    return {**feature("x", coordinates), "properties": {"name": name}}


def _scribble() -> list[list[float]]:
    return [[6.0 + 0.3 * math.cos(turn * 2.39996), 50.9 + 0.3 * math.sin(turn * 2.39996)] for turn in range(4_000)]


POINTS = "id,name,lon,lat,uncertainty_m\n"
AT = f"{LON},50.9"
WEST, ALL = box(-30, -10, 0, 60), box(-30, -10, 30, 60)
BAD = (
    # The border
    Bad("empty", FileRule.ONE_DOCUMENT, b""),
    Bad("a list", FileRule.GEOJSON, [LINE]),
    Bad("a bomb of brackets", FileRule.ONE_DOCUMENT, b"[" * 100_000),
    Bad("UTF-16", FileRule.ONE_DOCUMENT, json.dumps(line(LINE)).encode("utf-16")),
    Bad("14 MB of brackets", FileRule.FILE_VERTICES, b"[" + b"[]," * 4_700_000 + b"[]]"),
    Bad("more than 32 MiB", FileRule.GEOJSON_SIZE, b" " * (33 * 2**20)),
    Bad("another system", FileRule.WGS84, {**line(LINE), "crs": {"type": "name", "properties": {"name": "EPSG:3857"}}}),
    Bad("three features", BorderRule.ONE_OR_TWO, collection(line(LINE), line(LINE), line(LINE))),
    Bad("a bare point", BorderRule.ONE_FEATURE, {"type": "Point", "coordinates": [6, 50]}),
    Bad("properties as a list", BorderRule.PROPERTIES, {**line(LINE), "properties": [PLANTED]}),
    Bad("a name with a space", BorderRule.NAMES, line(LINE, id=f"my {PLANTED}")),
    Bad("one country twice", BorderRule.NAMES, line(LINE, a="AA", b="AA")),
    Bad("a polygon", BorderRule.LINE, line(WEST, "Polygon")),
    Bad("no line", BorderRule.LINE_LIST, line([], "MultiLineString")),
    Bad("a coordinate as text", BorderRule.POSITION, line([[PLANTED, 50], [6, 51]])),
    Bad("height", BorderRule.LINE_LENGTH, line([[6, 50, 1], [6, 51, 1]])),
    Bad("one position", BorderRule.LINE_LENGTH, line([[6, 50]])),
    Bad("NaN", BorderRule.FINITE, line([[6, math.nan], [6, 51]])),
    Bad("metres", BorderRule.IN_RANGE, line([[500_000, 5_600_000], [500_000, 5_700_000]])),
    Bad("latitude first", BorderRule.IN_RANGE, line([[11, 106], [12, 106]])),
    Bad("500,001 vertices", BorderRule.VERTICES, line([[6, 50 + number % 2] for number in range(500_001)])),
    Bad(
        "600 pieces",
        BorderRule.PIECES,
        line([[[6 + n / 1_000, 50], [6 + n / 1_000, 50.001]] for n in range(600)], "MultiLineString"),
    ),
    Bad("no length", BorderRule.HAS_LENGTH, line([[6, 50], [6, 50]])),
    Bad("a line round the world", BorderRule.EXTENT, line([[-100, 10], [0, 50], [70, 10]])),
    Bad("a scribble", BorderRule.NOT_ENTANGLED, line(_scribble())),
    Bad(
        "pieces drawn against each other",
        BorderRule.ONE_WAY,
        line([LINE, [[LON, NORTH + 0.4], [LON, NORTH + 0.01]]], "MultiLineString"),
    ),
    Bad("a line and a country", BorderRule.TWO_COUNTRIES, collection(country(WEST), line(LINE))),
    Bad("a ring that is not closed", BorderRule.CLOSED_RINGS, collection(country([WEST[0][:-1]]), country(WEST))),
    Bad(
        "a bowtie for a country",
        BorderRule.VALID_COUNTRY,
        collection(country([[[6, 50], [7, 51], [7, 50], [6, 51], [6, 50]]]), country(WEST)),
    ),
    Bad(
        "countries that are no neighbours",
        BorderRule.SHARED_EDGE,
        collection(country(WEST), country(box(40, 0, 60, 30))),
    ),
    # Sectors
    Bad("sectors that are lines", BorderRule.POLYGONS, line(LINE, name=PLANTED), "--sectors"),
    Bad(
        "a sector that crosses itself",
        BorderRule.VALID_SECTOR,
        named(PLANTED, [[[6, 50], [7, 51], [7, 50], [6, 51], [6, 50]]]),
        "--sectors",
    ),
    Bad("a sector without its name", BorderRule.SECTOR_FIELD, named(None, ALL), "--sectors"),
    Bad("a name without a Latin letter", BorderRule.SECTOR_ID, named("\u0e2d\u0e38\u0e14\u0e23", ALL), "--sectors"),
    Bad(
        "two names that make one id",
        BorderRule.SECTOR_ID,
        collection(named("Ha Noi", WEST), named("Ha-Noi", box(0, -10, 30, 60))),
        "--sectors",
    ),
    Bad(
        "sectors that overlap", BorderRule.SECTORS_APART, collection(named("one", ALL), named("two", WEST)), "--sectors"
    ),
    Bad(
        "sectors on the other side", BorderRule.IN_A_SECTOR, collection(named("one", box(1, -10, 30, 60))), "--sectors"
    ),
    Bad(
        "sectors in metres",
        BorderRule.IN_RANGE,
        named("one", [[[500_000, 5e6], [600_000, 5e6], [600_000, 6e6], [500_000, 5e6]]]),
        "--sectors",
    ),
    # Roads and crossing points
    Bad("roads that are polygons", BorderRule.ROADS, country(WEST), "--roads"),
    Bad("roads without one", BorderRule.ROADS, collection(), "--roads"),
    Bad(
        "crossing points without an id",
        BorderRule.CROSSING_POINT_COLUMNS,
        f"name,lon,lat\n{PLANTED},6,50\n",
        "--crossing-points",
        "odd.csv",
    ),
    Bad(
        "a column that no crossing point has",
        BorderRule.CROSSING_POINT_COLUMNS,
        f"{POINTS.strip()},guard\none,One,{AT},100,{PLANTED}\n",
        "--crossing-points",
        "odd.csv",
    ),
    Bad(
        "a crossing point with a column too many",
        BorderRule.CROSSING_POINT_COLUMNS,
        f"{POINTS}one,One,{AT},100,{PLANTED}\n",
        "--crossing-points",
        "odd.csv",
    ),
    Bad(
        "a crossing point known to 30 km",
        BorderRule.CROSSING_POINT,
        f"{POINTS}one,One,{AT},30000\n",
        "--crossing-points",
        "odd.csv",
    ),
    Bad(
        "a crossing point at NaN",
        BorderRule.CROSSING_POINT,
        f"{POINTS}one,One,nan,50.9,100\n",
        "--crossing-points",
        "odd.csv",
    ),
    Bad(
        "a crossing point in words",
        BorderRule.CROSSING_POINT,
        f"{POINTS}one,One,{PLANTED},50.9,100\n",
        "--crossing-points",
        "odd.csv",
    ),
    Bad(
        "one crossing point twice",
        BorderRule.CROSSING_POINT_ONCE,
        f"{POINTS}one,One,{AT},100\none,Two,{AT},100\n",
        "--crossing-points",
        "odd.csv",
    ),
    Bad(
        "a crossing point far inland",
        BorderRule.CROSSING_POINT_NEAR,
        f"{POINTS}one,One,5.5,50.9,100\n",
        "--crossing-points",
        "odd.csv",
    ),
)


def written(bad: Bad, folder: Path) -> Path:
    path = folder / bad.name
    raw = (
        bad.content
        if isinstance(bad.content, bytes)
        else bad.content
        if isinstance(bad.content, str)
        else json.dumps(bad.content)
    )
    path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    return path


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.title.replace(" ", "-"))
def test_what_zones_are_built_from_is_refused_by_its_rule_and_nothing_of_it_is_told(bad: Bad, tmp_path: Path) -> None:
    path, good = written(bad, tmp_path), tmp_path / "line.geojson"
    good.write_text(json.dumps({"type": "LineString", "coordinates": LINE}))
    words = [
        "--home",
        "A",
        "--out",
        str(tmp_path / "out.geojson"),
        "--turn-hour",
        "2",
        "--valid-from",
        "2026-03-01T02:00:00Z",
    ]
    words += [bad.option, str(path)] if bad.option else []
    done = CliRunner().invoke(app, ["zones", "build", str(good if bad.option else path), *words])
    assert isinstance(done.exception, BorderError)
    assert done.exception.rule is bad.rule
    assert f"[{bad.rule.label}]" in str(done.exception)
    assert PLANTED not in done.output + str(done.exception)
    assert not (tmp_path / "out.geojson").exists()


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        ({"home": "CC"}, BorderRule.HOME),
        ({"depth_m": 900}, BorderRule.DEPTH),
        ({"length_m": 9_000}, BorderRule.LENGTH),
        ({"approach_m": 40_000}, BorderRule.APPROACH),
    ],
)
def test_what_is_asked_of_a_build_is_within_limits(asked: dict[str, Any], rule: BorderRule, tmp_path: Path) -> None:
    (tmp_path / "line.geojson").write_text(json.dumps({"type": "LineString", "coordinates": LINE}))
    border = read_border(tmp_path / "line.geojson")
    with pytest.raises(BorderError) as refused:
        build_zone_grid(border, **{"home": "A", "valid_from": START, "turn_hour_utc": TURN, **asked})
    assert refused.value.rule is rule


def test_a_line_whose_home_side_is_only_a_ditch_has_no_home_ground(tmp_path: Path) -> None:
    turn = np.radians(np.arange(0, 361, 5))
    ring = np.stack([LON + 0.0008 * np.cos(turn), 50.8 + 0.0005 * np.sin(turn)], axis=1).tolist()
    (tmp_path / "line.geojson").write_text(json.dumps({"type": "LineString", "coordinates": [*ring[:-1], ring[0]]}))
    with pytest.raises(BorderError) as refused:
        build_zone_grid(read_border(tmp_path / "line.geojson"), "A", valid_from=START, turn_hour_utc=TURN)
    assert refused.value.rule is BorderRule.HOME_GROUND


def test_an_id_that_is_no_bundled_border_and_no_file_is_refused() -> None:
    with pytest.raises(BorderError) as refused:
        read_border("XX-YY")
    assert refused.value.rule is BorderRule.BORDER


def test_every_rule_of_a_border_has_a_story_that_breaks_it() -> None:
    told = {*(bad.rule for bad in BAD if isinstance(bad.rule, BorderRule)), BorderRule.BORDER, BorderRule.HOME_GROUND}
    told |= {BorderRule.HOME, BorderRule.DEPTH, BorderRule.LENGTH, BorderRule.APPROACH}
    assert told == set(BorderRule)
