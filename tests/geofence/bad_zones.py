"""Zone files that must be refused: each a way in which a file can be wrong, and the rule that says so.

Every file holds a planted word and a planted number; no refusal may repeat them.
"""

import json
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from geofence.rules import FileRule, GridRule, Rule

from .builders import KM_EAST, KM_NORTH, LON, box, document, feature

PLANTED_WORD = "zq7planted"
PLANTED_NUMBER = "7713195"
Ring = list[list[float]]


@dataclass(frozen=True, slots=True)
class BadZones:
    """One bad file: how it is written below a folder, the rule that refuses it, and what the command is asked beside it."""

    title: str
    rule: Rule
    write: Callable[[Path], Path]
    options: tuple[str, ...] = field(default=())
    long_border: bool = False


def lines(folder: Path) -> dict[bool, Path]:
    """The two border lines that the files are checked against: of 24 km, and (True) of 150 km; home is west, country A."""
    paths = {}
    for long, north_km in ((False, 24.0), (True, 150.0)):
        line = [[LON, 50.79213], [LON, 50.79213 + north_km * KM_NORTH]]
        paths[long] = folder / f"line-{long}.geojson"
        paths[long].write_text(json.dumps({"type": "LineString", "coordinates": line}))
    return paths


def good() -> dict[str, Any]:
    """A document that keeps every rule, with the plants in it."""
    south = feature("south", box(-10, 0, 0, 12), name=f"South {PLANTED_WORD}", source=PLANTED_WORD)
    north = feature("north", box(-10, 12, 0, 24), name=f"North {PLANTED_WORD}")
    for one in (south, north):
        one["geometry"]["coordinates"][0][0][0] = one["geometry"]["coordinates"][0][-1][0] = 5.9577 + 7713195e-12
    return document(south, north, attribution=PLANTED_WORD)


def _raw(content: bytes, name: str = "zones.geojson") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    return write


def _but(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Path]:
    """The good document, changed."""

    def write(folder: Path) -> Path:
        whole = good()
        change(whole)
        return _raw(json.dumps(whole).encode())(folder)

    return write


def _text(old: str, new: str) -> Callable[[Path], Path]:
    """The good document's text, with a piece of it replaced once."""

    def write(folder: Path) -> Path:
        text = json.dumps(good())
        assert old in text
        return _raw(text.replace(old, new, 1).encode())(folder)

    return write


def _shape(coordinates: Any, kind: str = "Polygon", **more: Any) -> Callable[[Path], Path]:
    """The good document with another geometry for its southern zone, which is then its only one."""

    def change(whole: dict[str, Any]) -> None:
        whole["features"] = whole["features"][:1]
        whole["features"][0]["geometry"] = {"type": kind, "coordinates": coordinates, **more}

    return _but(change)


def _zones(*features: dict[str, Any], **members: Any) -> Callable[[Path], Path]:
    return _but(lambda whole: whole.update({"features": list(features), **members}))


def _said(**properties: Any) -> Callable[[Path], Path]:
    """The good document with other properties of its southern zone; None takes one away."""

    def change(whole: dict[str, Any]) -> None:
        said = whole["features"][0]["properties"]
        said.update(properties)
        for key in [key for key, value in said.items() if value is None]:
            del said[key]

    return _but(change)


def _members(**members: Any) -> Callable[[Path], Path]:
    def change(whole: dict[str, Any]) -> None:
        whole.update(members)
        for key in [key for key, value in whole.items() if value is None]:
            del whole[key]

    return _but(change)


def _moved(change: Callable[[float, float], list[float]]) -> Callable[[Path], Path]:
    """The good document with every position changed."""

    def move(whole: dict[str, Any]) -> None:
        for one in whole["features"]:
            one["geometry"]["coordinates"] = [
                [change(*position) for position in ring] for ring in one["geometry"]["coordinates"]
            ]

    return _but(move)


def _hole(*rings: Ring) -> Callable[[Path], Path]:
    return _shape([box(-10, 0, 0, 12)[0], *rings])


def _star(points: int) -> Ring:
    star = [[6.0 + 0.05 * math.cos(turn * 2.39996), 50.9 + 0.05 * math.sin(turn * 2.39996)] for turn in range(points)]
    return [*star, star[0]]


def _combs(upright: int, across: int) -> Callable[[Path], Path]:
    """Two combs woven into each other, of so many teeth each."""

    def teeth(count: int) -> list[tuple[float, float]]:
        corners = [(0.0, 1.0), (0.5, 1.0), (0.5, 0.0), (1.0, 0.0)]
        return [((tooth + aside) / count, high) for tooth in range(count) for aside, high in corners]

    up = [[6.0 + 0.09 * x, 50.82 + 0.05 * y] for x, y in teeth(upright)]
    along = [[6.01 + 0.05 * y, 50.8 + 0.09 * x] for x, y in teeth(across)]
    one = [[6.0, 50.8], *up, [6.09, 50.8], [6.0, 50.8]]
    other = [[5.99, 50.8], *along, [5.99, 50.89], [5.99, 50.8]]
    return _zones(feature("one", [one]), feature("other", [other]))


def _sieve(holes: int) -> list[Ring]:
    """A shell with many holes, the last of which lies outside."""
    side = math.isqrt(holes)
    rings = [box(-10, 0, 0, 12)[0]]
    for number in range(holes):
        west, south = -9.9 + 9.8 * (number % side) / side, 0.1 + 11.8 * (number // side) / side
        rings.append(box(west, south, west + 4 / side, south + 4 / side)[0])
    rings[-1] = box(-11, 3, -10.5, 4)[0]
    return rings


def _table(
    ending: str, change: Callable[[geopandas.GeoDataFrame], Any], crs: str | None = "EPSG:4326"
) -> Callable[[Path], Path]:
    """The good zones as a file of another format."""

    def write(folder: Path) -> Path:
        zones = [
            {**one, "properties": {key: one["properties"][key] for key in ("zone_id", "sector_id", "kind", "name")}}
            for one in good()["features"]
        ]
        frame = geopandas.GeoDataFrame.from_features(zones, crs=crs)
        changed = change(frame)
        path = folder / f"zones{ending}"
        frame = frame if changed is None else changed
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that no system is stated is the point of some
            if ending == ".parquet":
                frame.to_parquet(path)
            else:
                frame.to_file(path)
        return path

    return write


def _then(write: Callable[[Path], Path], damage: Callable[[Path], Any]) -> Callable[[Path], Path]:
    def both(folder: Path) -> Path:
        path = write(folder)
        damage(path)
        return path

    return both


def _same(_: Any) -> None:
    """The zones as they are."""


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def _second_layer(path: Path) -> None:
    geopandas.read_file(path).to_file(path, layer="second")


def _plain_parquet(folder: Path) -> Path:
    path = folder / "zones.parquet"
    pq.write_table(pa.table({"zone_id": [PLANTED_WORD]}), path)
    return path


def _parquet_of(geo: dict[str, Any], shapes: list[bytes], **columns: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "zones.parquet"
        table = pa.table({"geometry": pa.array(shapes, pa.binary()), **columns})
        pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), path, compression="zstd")
        return path

    return write


def _geo(**column: Any) -> dict[str, Any]:
    return {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": [], **column}},
    }


def _packed_bomb(folder: Path) -> Path:
    """Some kB on disk that would be 100 MB in memory."""
    shape = shapely.to_wkb(shapely.box(5.96, 50.8, 6.1, 50.9))
    names = pa.array([b"\0" * 1_000_000 + bytes([number % 250]) for number in range(100)])
    return _parquet_of(_geo(), [shape] * 100, zone_id=names)(folder)


def _many_vertices(folder: Path) -> Path:
    turns = np.linspace(0, 2 * math.pi, 1_000_050)
    ring = np.stack([6.0 + 0.05 * np.cos(turns), 50.9 + 0.05 * np.sin(turns)], axis=1)
    return _parquet_of(_geo(), [shapely.to_wkb(shapely.polygons(ring))])(folder)


def _no_fields(frame: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    return frame.iloc[:0]


def _nested(depth: int) -> Any:
    inner: Any = PLANTED_WORD
    for _ in range(depth):
        inner = [inner]
    return inner


def _bowtie() -> Ring:
    (west, south), (east, _), (_, north), *_ = box(-10, 0, 0, 12)[0]
    return [[west, south], [east, north], [east, south], [west, north], [west, south]]


WHOLE, RING = box(-10, 0, 0, 24), box(-10, 0, 0, 12)[0]
GATE = feature("gate", box(-5, 10, 0, 11.5), kind="crossing_point")
BAD_ZONES = (
    # The file
    BadZones("an empty file", GridRule.ONE_DOCUMENT, _raw(b"")),
    BadZones("spaces only", GridRule.ONE_DOCUMENT, _raw(b" \n\t ")),
    BadZones("a file cut short", GridRule.ONE_DOCUMENT, lambda folder: _raw(json.dumps(good()).encode()[:700])(folder)),
    BadZones("two documents", GridRule.ONE_DOCUMENT, lambda folder: _raw(json.dumps(good()).encode() * 2)(folder)),
    BadZones(
        "Latin-1 text",
        GridRule.ONE_DOCUMENT,
        lambda folder: _raw(json.dumps(good()).replace("South", "S\u00fcd").encode("latin-1"))(folder),
    ),
    BadZones("UTF-16 text", GridRule.ONE_DOCUMENT, lambda folder: _raw(json.dumps(good()).encode("utf-16"))(folder)),
    BadZones(
        "a byte order mark",
        GridRule.ONE_DOCUMENT,
        lambda folder: _raw(b"\xef\xbb\xbf" + json.dumps(good()).encode())(folder),
    ),
    BadZones("a comma too many", GridRule.ONE_DOCUMENT, _text('"features": [', '"features": [,')),
    BadZones("a bomb of brackets", GridRule.ONE_DOCUMENT, _raw(b"[" * 100_000)),
    BadZones(
        "a bomb of brackets in the coordinates",
        GridRule.ONE_DOCUMENT,
        _text('"coordinates": [', '"coordinates": ' + "[" * 50_000),
    ),
    BadZones("an integer of 5,000 digits", GridRule.ONE_DOCUMENT, _text("50.79213", "5" * 5_000)),
    BadZones("8 MB of brackets", GridRule.GRID_VERTICES, _raw(b"[" + b"[]," * 2_700_000 + b"[]]")),
    BadZones("8 MB of small objects", GridRule.GRID_VERTICES, _raw(b"[" + b"{}," * 2_700_000 + b"{}]")),
    BadZones("14 MB of one text", GridRule.NAME, lambda folder: _said(name="x" * 14_000_000)(folder)),
    BadZones("more than 16 MiB", GridRule.GRID_SIZE, lambda folder: _said(name="x" * 17_000_000)(folder)),
    BadZones(
        "a member named twice",
        GridRule.MEMBER_ONCE,
        _text('"zone_id": "south"', '"zone_id": "south", "zone_id": "south"'),
    ),
    BadZones("a list", GridRule.COLLECTION, lambda folder: _raw(json.dumps([good()]).encode())(folder)),
    BadZones(
        "one feature", GridRule.COLLECTION, lambda folder: _raw(json.dumps(good()["features"][0]).encode())(folder)
    ),
    BadZones("a topology", GridRule.COLLECTION, _members(type="Topology")),
    # The coordinate system
    BadZones(
        "the old crs member with another system",
        GridRule.WGS84,
        _members(crs={"type": "name", "properties": {"name": "EPSG:3857"}}),
    ),
    BadZones(
        "the old crs member with latitude first",
        GridRule.WGS84,
        _members(crs={"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4326"}}),
    ),
    BadZones("a linked crs", GridRule.WGS84, _members(crs={"type": "link", "properties": {"href": PLANTED_WORD}})),
    BadZones("metres on a plane", GridRule.IN_RANGE, _moved(lambda lon, lat: [lon * 70_300, lat * 111_250])),
    BadZones("a GeoPackage that does not say its system", FileRule.CRS_STATED, _table(".gpkg", _same, crs=None)),
    BadZones(
        "a Shapefile without its .prj",
        FileRule.CRS_STATED,
        _then(_table(".shp", _same), lambda path: path.with_suffix(".prj").unlink()),
    ),
    BadZones(
        "GeoParquet of an unknown system",
        FileRule.CRS_KNOWN,
        _parquet_of(_geo(crs="EPSG:999999"), [shapely.to_wkb(shapely.box(5, 50, 6, 51))]),
    ),
    BadZones(
        "GeoParquet whose system is null",
        FileRule.CRS_STATED,
        _parquet_of(_geo(crs=None), [shapely.to_wkb(shapely.box(5, 50, 6, 51))]),
    ),
    BadZones(
        "metres far off the plane that is named",
        FileRule.TO_DEGREES,
        _table(".gpkg", lambda frame: frame.set_geometry(frame.translate(1e30), crs="EPSG:32632")),
    ),
    # Tables
    BadZones("a GeoPackage cut short", FileRule.WHOLE, _then(_table(".gpkg", _same), _half)),
    BadZones("a FlatGeobuf cut short", FileRule.WHOLE, _then(_table(".fgb", _same), _half)),
    BadZones("GeoParquet cut short", FileRule.WHOLE, _then(_table(".parquet", _same), _half)),
    BadZones("text named GeoPackage", FileRule.WHOLE, _raw(PLANTED_WORD.encode(), "zones.gpkg")),
    BadZones(
        "a Shapefile alone",
        FileRule.WHOLE,
        _then(_table(".shp", _same), lambda path: [path.with_suffix(end).unlink() for end in (".shx", ".dbf")]),
    ),
    BadZones("a GeoPackage of two layers", FileRule.ONE_LAYER, _then(_table(".gpkg", _same), _second_layer)),
    BadZones("a GeoPackage of no zones", FileRule.FILE_FEATURES, _table(".gpkg", _no_fields)),
    BadZones(
        "a zone without geometry",
        FileRule.EVERY_GEOMETRY,
        _table(
            ".gpkg", lambda frame: frame.set_geometry(geopandas.GeoSeries([None, frame.geometry[1]], crs=frame.crs))
        ),
    ),
    BadZones("Parquet without geometries", FileRule.GEOPARQUET, _plain_parquet),
    BadZones("a few kB that unpack to 100 MB", FileRule.FILE_SIZE, _packed_bomb),
    BadZones("a million vertices", FileRule.FILE_VERTICES, _many_vertices),
    BadZones("a table that is not there", FileRule.THERE, lambda folder: folder / "none.gpkg"),
    BadZones(
        "a column that no zone has",
        GridRule.NO_OTHER_PROPERTY,
        _table(".fgb", lambda frame: frame.assign(population=PLANTED_WORD)),
        ("--turn-hour", "2", "--valid-from", "2026-03-01T02:00:00Z"),
    ),
    # Members and times
    BadZones("a member that no grid has", GridRule.NO_OTHER_MEMBER, _members(nationality=PLANTED_WORD)),
    BadZones(
        "a member that no feature has",
        GridRule.NO_OTHER_MEMBER,
        _but(lambda whole: whole["features"][0].update(note=PLANTED_WORD)),
    ),
    BadZones("a member that no geometry has", GridRule.NO_OTHER_MEMBER, _shape([RING], crs=PLANTED_WORD)),
    BadZones("no zones", GridRule.ZONE_COUNT, _members(features=[])),
    BadZones("features that are an object", GridRule.ZONE_COUNT, _members(features={PLANTED_WORD: 1})),
    BadZones(
        "2,001 zones",
        GridRule.ZONE_COUNT,
        _members(features=[feature(f"z{number}", [RING]) for number in range(2_001)]),
    ),
    BadZones("no hour of the turn", GridRule.TURN_STATED, _members(turn_hour_utc=None)),
    BadZones("a turn at 24", GridRule.TURN_HOUR, _members(turn_hour_utc=24)),
    BadZones("a turn that is true", GridRule.TURN_HOUR, _members(turn_hour_utc=True)),
    BadZones("a turn at half past", GridRule.TURN_HOUR, _members(turn_hour_utc=2.5)),
    BadZones("a turn that the settings deny", GridRule.TURN_AGREES, _members(), ("--turn-hour", "5")),
    BadZones("no start", GridRule.START_STATED, _members(valid_from=None)),
    BadZones("a start without an offset", GridRule.START_TIME, _members(valid_from="2026-03-01T02:00:00")),
    BadZones("a start as a number", GridRule.START_TIME, _members(valid_from=1772330400)),
    BadZones("a start on 30 February", GridRule.START_TIME, _members(valid_from="2026-02-30T02:00:00Z")),
    BadZones("a start by the week", GridRule.START_TIME, _members(valid_from="2026-W09-7T02:00:00Z")),
    BadZones("a start between two turns", GridRule.START_AT_TURN, _members(valid_from="2026-03-01T04:00:00Z")),
    BadZones("a start a second late", GridRule.START_AT_TURN, _members(valid_from="2026-03-01T02:00:01Z")),
    BadZones(
        "a start at another zone's turn", GridRule.START_AT_TURN, _members(valid_from="2026-03-01T02:00:00+01:00")
    ),
    BadZones(
        "a start that the settings deny", GridRule.START_AGREES, _members(), ("--valid-from", "2026-04-01T02:00:00Z")
    ),
    BadZones("an empty attribution", GridRule.ATTRIBUTION, _members(attribution="")),
    BadZones("a grid_id of other content", GridRule.GRID_ID, _members(grid_id="sha256:" + "0" * 64)),
    BadZones(
        "a depth beyond all numbers",
        GridRule.JSON_VALUES,
        _text('"type": "FeatureCollection"', '"type": "FeatureCollection", "depth_m": 1e400'),
    ),
    # Properties
    BadZones("no properties", GridRule.PROPERTIES, _but(lambda whole: whole["features"][0].update(properties=None))),
    BadZones("no zone_id", GridRule.ZONE_ID, _said(zone_id=None)),
    BadZones("a zone_id that is a number", GridRule.ZONE_ID, _said(zone_id=7713195)),
    BadZones("a zone_id with a space", GridRule.ZONE_ID, _said(zone_id=f"a {PLANTED_WORD}")),
    BadZones("a zone_id with a slash", GridRule.ZONE_ID, _said(zone_id=f"../{PLANTED_WORD}")),
    BadZones("a zone_id of look-alike letters", GridRule.ZONE_ID, _said(zone_id="s\u043euth")),
    BadZones("a zone_id of 65 letters", GridRule.ZONE_ID, _said(zone_id="x" * 65)),
    BadZones("a zone_id that is the number of a SIM", GridRule.DIGIT_RUN, _said(zone_id="452047713195001")),
    BadZones("a name with the number of a handset", GridRule.DIGIT_RUN, _said(name="by 35771319500123")),
    BadZones("a source with a long number", GridRule.DIGIT_RUN, _said(source="452047713195001")),
    BadZones(
        "an id that is a long number",
        GridRule.DIGIT_RUN,
        _but(lambda whole: whole["features"][0].update(id=452047713195001)),
    ),
    BadZones("one zone_id twice", GridRule.ZONE_ID_ONCE, _said(zone_id="north")),
    BadZones("no sector_id", GridRule.SECTOR_ID, _said(sector_id=None)),
    BadZones("a sector_id with a line break", GridRule.SECTOR_ID, _said(sector_id=f"{PLANTED_WORD}\n")),
    BadZones("no name", GridRule.NAME, _said(name=None)),
    BadZones("a name that turns the writing", GridRule.NAME, _said(name=f"{PLANTED_WORD}\u202e")),
    BadZones("a name of 201 letters", GridRule.NAME, _said(name="x" * 201)),
    BadZones("a name that is a list", GridRule.NAME, _said(name=[PLANTED_WORD])),
    BadZones("no kind", GridRule.KIND, _said(kind=None)),
    BadZones("an unknown kind", GridRule.KIND, _said(kind=PLANTED_WORD)),
    BadZones("a property that no zone has", GridRule.NO_OTHER_PROPERTY, _said(nationality=PLANTED_WORD)),
    BadZones("properties 500 lists deep", GridRule.NO_OTHER_PROPERTY, _said(more=_nested(500))),
    BadZones("a grade that is none", GridRule.ORIGIN, _said(confidence=PLANTED_WORD)),
    BadZones("a place along the border as text", GridRule.ORIGIN, _said(border_km=PLANTED_WORD)),
    BadZones("crossing points as text", GridRule.CROSSING_POINTS, _said(crossing_points=PLANTED_WORD)),
    BadZones(
        "a crossing point with a field of its own",
        GridRule.CROSSING_POINTS,
        _said(crossing_points=[{"id": "one", "guard": PLANTED_WORD}]),
    ),
    # Geometry as it is written
    BadZones(
        "a geometry among the features",
        GridRule.FEATURES_ONLY,
        _but(lambda whole: whole["features"].append(whole["features"][0]["geometry"])),
    ),
    BadZones("a point", GridRule.POLYGON, _shape([6.0, 50.8], "Point")),
    BadZones("a line", GridRule.POLYGON, _shape(RING, "LineString")),
    BadZones(
        "a collection of geometries",
        GridRule.POLYGON,
        _shape(None, "GeometryCollection", geometries=[{"type": "Polygon", "coordinates": [RING]}]),
    ),
    BadZones("no geometry", GridRule.POLYGON, _but(lambda whole: whole["features"][0].update(geometry=None))),
    BadZones("an empty MultiPolygon", GridRule.PART_LIST, _shape([], "MultiPolygon")),
    BadZones("a polygon without coordinates", GridRule.RING_LIST, _shape(None)),
    BadZones("a polygon without rings", GridRule.RING_LIST, _shape([])),
    BadZones("a ring that is null", GridRule.POSITION_LIST, _shape([None])),
    BadZones("a ring of two positions", GridRule.RING_LENGTH, _shape([RING[:2]])),
    BadZones("a ring of no positions", GridRule.RING_LENGTH, _shape([[]])),
    BadZones("rings one level too deep", GridRule.RING_LENGTH, _shape([[RING]])),
    BadZones("a ring that is not closed", GridRule.RING_CLOSED, _shape([[*RING[:-1], [6.0, 50.8]]])),
    BadZones("positions with height", GridRule.POSITION, _moved(lambda lon, lat: [lon, lat, 12.0])),
    BadZones("positions of one number", GridRule.POSITION, _moved(lambda lon, _: [lon])),
    BadZones("NaN", GridRule.FINITE, _text("50.79213", "NaN")),
    BadZones("Infinity", GridRule.FINITE, _text("50.79213", "-Infinity")),
    BadZones("1e400", GridRule.FINITE, _text("50.79213", "1e400")),
    BadZones("a coordinate as text", GridRule.FINITE, _text("50.79213", f'"{PLANTED_WORD}"')),
    BadZones("a coordinate that is null", GridRule.FINITE, _text("50.79213", "null")),
    BadZones("a coordinate that is true", GridRule.FINITE, _text("50.79213", "true")),
    BadZones("an integer of 400 digits", GridRule.IN_RANGE, _text("50.79213", "7" * 400)),
    BadZones("latitude first, out of range", GridRule.IN_RANGE, _moved(lambda lon, lat: [lat, lon + 100])),
    BadZones("a zone of 5,001 vertices", GridRule.ZONE_VERTICES, _shape([[RING[0]] * 5_001])),
    BadZones(
        "zones of 204,918 vertices",
        GridRule.GRID_VERTICES,
        _members(features=[feature(f"z{number}", [[*[RING[0]] * 4_996, *RING[1:]]]) for number in range(41)]),
    ),
    # Geometry as it is
    BadZones("a bowtie", GridRule.VALID, _shape([_bowtie()])),
    BadZones("a star that crosses itself 4,000 times", GridRule.VALID, _shape([_star(4_000)])),
    BadZones(
        "forty stars",
        GridRule.VALID,
        _members(features=[feature(f"z{number:02d}", [_star(4_990)]) for number in range(40)]),
    ),
    BadZones("a spike out and back", GridRule.VALID, _shape([[*RING[:2], [LON + 5 * KM_EAST, 50.79213], *RING[1:]]])),
    BadZones("a ring without ground", GridRule.VALID, _shape([[RING[0]] * 5])),
    BadZones("a flat ring", GridRule.VALID, _shape([[[6.0, 50.8], [6.0, 50.9], [6.0, 50.85], [6.0, 50.8]]])),
    BadZones("a hole outside", GridRule.VALID, _hole(box(-20, 3, -15, 5)[0])),
    BadZones("a hole as large as the zone", GridRule.VALID, _hole(RING)),
    BadZones("a hole within a hole", GridRule.VALID, _hole(box(-8, 2, -2, 10)[0], box(-6, 4, -4, 8)[0])),
    BadZones("two holes that overlap", GridRule.VALID, _hole(box(-8, 2, -4, 10)[0], box(-6, 4, -2, 8)[0])),
    BadZones("a hole along the edge", GridRule.VALID, _hole(box(-8, 0, -4, 4)[0])),
    BadZones("1,156 holes, one of them outside", GridRule.ZONE_VERTICES, _shape(_sieve(1_156))),
    BadZones("961 holes, one of them outside", GridRule.VALID, _shape(_sieve(961))),
    BadZones("parts that overlap", GridRule.VALID, _shape([box(-10, 0, 0, 12), box(-5, 6, 0, 18)], "MultiPolygon")),
    BadZones("a part within a part", GridRule.VALID, _shape([WHOLE, box(-5, 6, -2, 8)], "MultiPolygon")),
    # Where it lies
    BadZones("latitude first, in range", GridRule.NEAR_THE_LINE, _moved(lambda lon, lat: [lat, lon])),
    BadZones("the southern hemisphere", GridRule.NEAR_THE_LINE, _moved(lambda lon, lat: [lon, -lat])),
    BadZones("the western hemisphere", GridRule.NEAR_THE_LINE, _moved(lambda lon, lat: [-lon, lat])),
    BadZones(
        "a zone across 180 degrees that is not cut",
        GridRule.NEAR_THE_LINE,
        _shape([[[179.9, 50.8], [-179.9, 50.8], [-179.9, 50.9], [179.9, 50.9], [179.9, 50.8]]]),
    ),
    BadZones("one vertex at 0, 0", GridRule.NEAR_THE_LINE, _shape([[*RING[:-1], [0.0, 0.0], RING[0]]])),
    BadZones("a zone 60 km inland", GridRule.NEAR_THE_LINE, _zones(feature("far", box(-70, 0, -60, 24)))),
    BadZones("a zone of 2,538 km2", GridRule.AREA, _zones(feature("wide", box(-47, -15, 0, 39)))),
    BadZones("a ribbon of 24 km by 300 m", GridRule.WIDTH, _zones(feature("ribbon", box(-0.3, 0, 0, 24)))),
    BadZones(
        "a comb of teeth 40 m wide",
        GridRule.WIDTH,
        _zones(
            feature(
                "comb",
                [
                    [
                        [5.97, 50.80],
                        *[
                            [5.97 + 0.0012 * (tooth + step), 50.801 + 0.1 * high]
                            for tooth in range(100)
                            for step, high in ((0.0, 0.0), (0.0, 1.0), (0.4, 1.0), (0.4, 0.0))
                        ],
                        [6.09, 50.801],
                        [6.09, 50.80],
                        [5.97, 50.80],
                    ]
                ],
            )
        ),
    ),
    BadZones(
        "parts 60 km apart",
        GridRule.PARTS_TOGETHER,
        _shape([box(-10, 0, 0, 12), box(-10, 72, 0, 84)], "MultiPolygon"),
        long_border=True,
    ),
    BadZones(
        "zones that overlap",
        GridRule.NO_OVERLAP,
        _zones(feature("one", box(-10, 0, 0, 12)), feature("other", box(-10, 11, 0, 24))),
    ),
    BadZones("one ground under two names", GridRule.NO_OVERLAP, _zones(feature("one", WHOLE), feature("other", WHOLE))),
    BadZones("a zone within a zone", GridRule.NO_OVERLAP, _zones(feature("one", WHOLE), GATE)),
    BadZones("two combs woven into each other", GridRule.NO_OVERLAP, _combs(1_200, 1_200)),
    BadZones("a comb of 40 teeth across one of 1,200", GridRule.NO_OVERLAP, _combs(40, 1_200)),
    BadZones(
        "zones on both sides", GridRule.ONE_SIDE, _zones(feature("home", WHOLE), feature("away", box(0, 0, 10, 24)))
    ),
    BadZones(
        "a zone across the line",
        GridRule.HOME_SIDE,
        _zones(feature("south", box(-10, 0, 0, 12)), feature("north", box(-10, 12, 5, 24))),
    ),
    BadZones(
        "zones in the other country",
        GridRule.HOME_COUNTRY,
        _zones(feature("south", box(0, 0, 10, 12)), feature("north", box(0, 12, 10, 24)), home="A"),
    ),
    BadZones("zones in another country than is asked", GridRule.HOME_COUNTRY, _members(), ("--home", "B")),
    BadZones("a home that is no side of the border", GridRule.HOME_COUNTRY, _members(home=PLANTED_WORD)),
    BadZones(
        "a belt of 9 km",
        GridRule.BELT_BORDER,
        _zones(feature("short", box(-10, 0, 0, 9)), feature("north", box(-10, 9, 0, 24))),
    ),
    BadZones("a belt 1 km back from the line", GridRule.BELT_BORDER, _zones(feature("back", box(-10, 0, -1, 24)))),
    BadZones(
        "a crossing point of 1.5 km",
        GridRule.CROSSING_POINT_BORDER,
        _zones(GATE, feature("north", box(-10, 11.5, 0, 24))),
    ),
)
