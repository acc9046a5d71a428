"""The zone grid: which ground a count speaks of (design.md, section 4.3).

Reading refuses whatever is not exactly a collection of plain polygons, and it does so before any geometry is built:
a number out of range or a polygon of too many vertices never reaches GEOS. What lies where is checked in `check.py`.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon

from geofence.rules import GridRule, Rule
from geofence.vector_file import VectorFileError, is_table, is_wgs84, read_features
from ingest.release import canonical_json, format_utc

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
DIGIT_RUN = re.compile(r"\d{14}")
MAX_BYTES = 16 * 2**20
MAX_OBJECTS = 100_000
MAX_ZONES = 2_000
MAX_VERTICES = 5_000
MAX_GRID_VERTICES = 200_000
MAX_CROSSING_POINTS = 100
UNSTATED = "attribution not stated by the supplier of this grid"
GRID_MEMBERS = frozenset(
    {"type", "name", "crs", "bbox", "xy_coordinate_resolution", "features", "grid_id", "valid_from"}
)
GRID_MEMBERS |= {"turn_hour_utc", "attribution", "licence", "border_id", "home", "depth_m", "length_m", "approach_m"}
FEATURE_MEMBERS = frozenset({"type", "id", "bbox", "properties", "geometry"})
GEOMETRY_MEMBERS = frozenset({"type", "bbox", "coordinates"})
ZONE_PROPERTIES = frozenset({"zone_id", "sector_id", "kind", "name"})
ORIGIN_PROPERTIES = frozenset({"source", "licence", "confidence", "border_km", "crossing_points"})
CROSSING_POINT_FIELDS = frozenset({"id", "name", "lon", "lat", "uncertainty_m", "confidence", "source", "licence"})


class ZoneKind(StrEnum):
    """A belt runs along the border; a crossing point is where crossing is official."""

    BELT = "belt"
    CROSSING_POINT = "crossing_point"


class GridError(ValueError):
    """A zone grid refused: which feature, the rule that it breaks and the rule's name; never the value."""

    def __init__(self, feature: str | None, rule: str) -> None:
        named = f"{rule} [{rule.label}]" if isinstance(rule, Rule) else rule
        super().__init__(f"{feature}: {named}" if feature else named)
        self.feature = feature
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Zone:
    """A piece of ground on the home side that counts are given for."""

    zone_id: str
    sector_id: str
    kind: ZoneKind
    name: str
    geometry: Polygon | MultiPolygon


@dataclass(frozen=True, slots=True)
class ZoneGrid:
    """All zones of one border, named by their content; `zones` are sorted by zone_id."""

    grid_id: str
    valid_from: datetime
    turn_hour_utc: int
    zones: tuple[Zone, ...]
    document: dict[str, Any]

    def zone_ix(self, zone_id: str) -> int:
        """The place of a zone in `zones`; KeyError if there is none."""
        for ix, zone in enumerate(self.zones):
            if zone.zone_id == zone_id:
                return ix
        raise KeyError(zone_id)


def grid_digest(document: dict[str, Any]) -> str:
    """`sha256:…` over the canonical JSON of a grid document without its grid_id."""
    content = {key: value for key, value in document.items() if key != "grid_id"}
    return "sha256:" + hashlib.sha256(canonical_json(content)).hexdigest()


def read_zone_grid(
    path: str | Path, *, turn_hour_utc: int | None = None, valid_from: datetime | None = None
) -> ZoneGrid:
    """The zone grid in a geometry file; the two arguments fill what the file does not say.

    GeoJSON states everything; GPKG, Shapefile, FlatGeobuf and GeoParquet hold the features, one row a zone.
    """
    path = Path(path)
    if is_table(path):
        try:
            table = {"type": "FeatureCollection", "features": read_features(path)}
        except VectorFileError as refused:
            raise GridError(None, refused.rule) from None
        return grid_from_document(table, turn_hour_utc=turn_hour_utc, valid_from=valid_from)
    if path.stat().st_size > MAX_BYTES:
        raise GridError(None, GridRule.GRID_SIZE)
    raw = path.read_bytes()
    # Counted before anything is built of it: brackets are what costs time and memory.
    if raw.count(b"[") > 2 * MAX_GRID_VERTICES or raw.count(b"{") > MAX_OBJECTS:
        raise GridError(None, GridRule.GRID_VERTICES)
    try:
        # Decoded here: json would also take UTF-16, and a byte order mark.
        document = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unrepeated)
    except GridError:
        raise
    except (ValueError, RecursionError):
        raise GridError(None, GridRule.ONE_DOCUMENT) from None
    return grid_from_document(document, turn_hour_utc=turn_hour_utc, valid_from=valid_from)


def grid_from_document(
    document: object, *, turn_hour_utc: int | None = None, valid_from: datetime | None = None
) -> ZoneGrid:
    """The zone grid that a GeoJSON FeatureCollection describes.

    A grid_id that is there must be that of the content. An argument that contradicts the document is refused.
    """
    if not isinstance(document, dict) or document.get("type") != "FeatureCollection":
        raise GridError(None, GridRule.COLLECTION)
    if not is_wgs84(document):
        raise GridError(None, GridRule.WGS84)
    if not document.keys() <= GRID_MEMBERS:
        raise GridError(None, GridRule.NO_OTHER_MEMBER)
    features = document.get("features")
    if not isinstance(features, list) or not 1 <= len(features) <= MAX_ZONES:
        raise GridError(None, GridRule.ZONE_COUNT)
    turn = _stated_turn(document, turn_hour_utc)
    start = _stated_start(document, valid_from, turn)
    attribution = document.get("attribution", UNSTATED)
    if not isinstance(attribution, str) or not 0 < len(attribution) <= 1_000:
        raise GridError(None, GridRule.ATTRIBUTION)
    counted = 0
    for place, feature in enumerate(features):
        counted += _check_positions(feature, place)
        if counted > MAX_GRID_VERTICES:
            raise GridError(None, GridRule.GRID_VERTICES)
    _check_texts(document)
    zones = sorted((_zone(feature, place) for place, feature in enumerate(features)), key=lambda zone: zone.zone_id)
    for before, after in pairwise(zones):
        if before.zone_id == after.zone_id:
            raise GridError(after.zone_id, GridRule.ZONE_ID_ONCE)
    whole = {
        **document,
        "attribution": attribution,
        "valid_from": format_utc(start),
        "turn_hour_utc": turn,
    }
    try:
        grid_id = grid_digest(whole)
    except (ValueError, TypeError, RecursionError):
        raise GridError(None, GridRule.JSON_VALUES) from None
    if whole.setdefault("grid_id", grid_id) != grid_id:
        raise GridError(None, GridRule.GRID_ID)
    return ZoneGrid(grid_id, start, turn, tuple(zones), whole)


def write_zone_grid(grid: ZoneGrid, path: str | Path) -> None:
    """Write the grid's document as GeoJSON; reading it gives an equal grid."""
    text = json.dumps(grid.document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def neighbours(grid: ZoneGrid) -> dict[str, tuple[str, ...]]:
    """Per zone_id the zones that touch it (within about 2 m), sorted."""
    shapes = np.array([zone.geometry for zone in grid.zones], dtype=object)
    one, other = shapely.STRtree(shapes).query(shapes, predicate="dwithin", distance=2e-5)
    beside: dict[str, list[str]] = {zone.zone_id: [] for zone in grid.zones}
    for a, b in sorted(zip(one.tolist(), other.tolist(), strict=True)):
        if a != b:
            beside[grid.zones[a].zone_id].append(grid.zones[b].zone_id)
    return {zone_id: tuple(near) for zone_id, near in beside.items()}


def _refuse_constant(_: str) -> NoReturn:
    raise GridError(None, GridRule.FINITE)


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise GridError(None, GridRule.MEMBER_ONCE)
    return members


def _stated_turn(document: dict[str, Any], given: int | None) -> int:
    stated = document.get("turn_hour_utc", given)
    if stated is None:
        raise GridError(None, GridRule.TURN_STATED)
    if type(stated) is not int or not 0 <= stated <= 23:
        raise GridError(None, GridRule.TURN_HOUR)
    if given is not None and given != stated:
        raise GridError(None, GridRule.TURN_AGREES)
    return stated


def _stated_start(document: dict[str, Any], given: datetime | None, turn: int) -> datetime:
    start = given
    if "valid_from" in document:
        stated = document["valid_from"]
        if not isinstance(stated, str) or not TIME.fullmatch(stated):
            raise GridError(None, GridRule.START_TIME)
        try:
            start = datetime.fromisoformat(stated).astimezone(UTC)
        except (ValueError, OverflowError):
            raise GridError(None, GridRule.START_TIME) from None
    if start is None:
        raise GridError(None, GridRule.START_STATED)
    if start.tzinfo is None:
        raise GridError(None, GridRule.START_TIME)
    start = start.astimezone(UTC)
    if given is not None and given != start:
        raise GridError(None, GridRule.START_AGREES)
    if (start.hour, start.minute, start.second, start.microsecond) != (turn, 0, 0, 0):
        raise GridError(None, GridRule.START_AT_TURN)
    return start


def _label(feature: object, place: int) -> str:
    properties = feature.get("properties") if isinstance(feature, dict) else None
    zone_id = properties.get("zone_id") if isinstance(properties, dict) else None
    known = isinstance(zone_id, str) and NAME.fullmatch(zone_id) and not DIGIT_RUN.search(zone_id)
    return str(zone_id) if known else f"feature {place + 1}"


def _check_texts(document: dict[str, Any]) -> None:
    """Refuses any text, name or value, at any depth, that could hold the number of a SIM or a handset."""
    waiting: list[tuple[str | None, Any]] = [
        (None, {key: value for key, value in document.items() if key not in ("features", "grid_id")})
    ]
    for place, feature in enumerate(document["features"]):
        waiting += [(_label(feature, place), value) for key, value in feature.items() if key != "geometry"]
    while waiting:
        label, value = waiting.pop()
        if (isinstance(value, str) and DIGIT_RUN.search(value)) or (isinstance(value, int) and abs(value) >= 10**13):
            raise GridError(label, GridRule.DIGIT_RUN)
        if isinstance(value, dict):
            waiting += [(label, one) for pair in value.items() for one in pair]
        if isinstance(value, list):
            waiting += [(label, one) for one in value]


def _check_origin(properties: dict[str, Any], label: str) -> None:
    """Refuses a property that no zone has, and one that says where the zone comes from in a way that cannot be shown."""
    if not properties.keys() <= ZONE_PROPERTIES | ORIGIN_PROPERTIES:
        raise GridError(label, GridRule.NO_OTHER_PROPERTY)
    km = properties.get("border_km", 0)
    if (
        not all(_is_text(properties.get(key, "")) for key in ("source", "licence"))
        or not any(properties.get("confidence", "A") == grade for grade in "ABC")
        or type(km) not in (int, float)
        or not abs(km) < 1e6
    ):
        raise GridError(label, GridRule.ORIGIN)
    points = properties.get("crossing_points", [])
    if (
        not isinstance(points, list)
        or len(points) > MAX_CROSSING_POINTS
        or not all(isinstance(point, dict) and point.keys() <= CROSSING_POINT_FIELDS for point in points)
        or not all(type(value) in (int, float) or _is_text(value) for point in points for value in point.values())
    ):
        raise GridError(label, GridRule.CROSSING_POINTS)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 500 and value.isprintable()


def _check_positions(feature: object, place: int) -> int:
    """How many vertices a feature has; refuses what is not made of plain closed rings of finite positions in range."""
    label = _label(feature, place)
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        raise GridError(label, GridRule.FEATURES_ONLY)
    if not feature.keys() <= FEATURE_MEMBERS:
        raise GridError(label, GridRule.NO_OTHER_MEMBER)
    geometry = feature.get("geometry")
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if not isinstance(geometry, dict) or kind not in ("Polygon", "MultiPolygon"):
        raise GridError(label, GridRule.POLYGON)
    if not geometry.keys() <= GEOMETRY_MEMBERS:
        raise GridError(label, GridRule.NO_OTHER_MEMBER)
    vertices = 0
    for ring in _rings(geometry, label):
        vertices += len(ring)
        if vertices > MAX_VERTICES:
            raise GridError(label, GridRule.ZONE_VERTICES)
        if len(ring) < 4:
            raise GridError(label, GridRule.RING_LENGTH)
        for position in ring:
            if not isinstance(position, list) or len(position) != 2:
                raise GridError(label, GridRule.POSITION)
            lon, lat = position
            if type(lon) not in (int, float) or type(lat) not in (int, float):
                raise GridError(label, GridRule.FINITE)
            if lon != lon or lat != lat or math.inf in (abs(lon), abs(lat)):
                raise GridError(label, GridRule.FINITE)
            if not (-180 <= lon <= 180 and -90 <= lat <= 90):
                raise GridError(label, GridRule.IN_RANGE)
        if ring[0] != ring[-1]:
            raise GridError(label, GridRule.RING_CLOSED)
    return vertices


def _rings(geometry: dict[str, Any], label: str) -> Iterator[list[Any]]:
    coordinates = geometry.get("coordinates")
    polygons = coordinates if geometry["type"] == "MultiPolygon" else [coordinates]
    if not isinstance(polygons, list) or not polygons or len(polygons) > MAX_VERTICES:
        raise GridError(label, GridRule.PART_LIST)
    for polygon in polygons:
        if not isinstance(polygon, list) or not polygon or len(polygon) > MAX_VERTICES:
            raise GridError(label, GridRule.RING_LIST)
        for ring in polygon:
            if not isinstance(ring, list):
                raise GridError(label, GridRule.POSITION_LIST)
            yield ring


def _zone(feature: dict[str, Any], place: int) -> Zone:
    label = _label(feature, place)
    properties = feature.get("properties")
    if not isinstance(properties, dict):
        raise GridError(label, GridRule.PROPERTIES)
    for key, rule in (("zone_id", GridRule.ZONE_ID), ("sector_id", GridRule.SECTOR_ID)):
        value = properties.get(key)
        if not isinstance(value, str) or not NAME.fullmatch(value):
            raise GridError(label, rule)
    name = properties.get("name")
    if not isinstance(name, str) or not 1 <= len(name) <= 200 or not name.isprintable():
        raise GridError(label, GridRule.NAME)
    if properties.get("kind") not in tuple(ZoneKind):
        raise GridError(label, GridRule.KIND)
    _check_origin(properties, label)
    geometry = feature["geometry"]
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    parts = [Polygon(polygon[0], polygon[1:]) for polygon in polygons]
    return Zone(
        zone_id=properties["zone_id"],
        sector_id=properties["sector_id"],
        kind=ZoneKind(properties["kind"]),
        name=name,
        geometry=MultiPolygon(parts) if geometry["type"] == "MultiPolygon" else parts[0],
    )
