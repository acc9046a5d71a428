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

from geofence.vector_file import VectorFileError, is_table, is_wgs84, read_features
from ingest.release import canonical_json, format_utc

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_BYTES = 32 * 2**20
MAX_ZONES = 2_000
MAX_VERTICES = 5_000
MAX_GRID_VERTICES = 200_000
UNSTATED = "attribution not stated by the supplier of this grid"


class ZoneKind(StrEnum):
    """A belt runs along the border; a crossing point is where crossing is official."""

    BELT = "belt"
    CROSSING_POINT = "crossing_point"


class GridError(ValueError):
    """A zone grid refused: which feature, and the rule it breaks; never the value."""

    def __init__(self, feature: str | None, rule: str) -> None:
        super().__init__(f"{feature}: {rule}" if feature else rule)
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
            raise GridError(None, str(refused)) from None
        return grid_from_document(table, turn_hour_utc=turn_hour_utc, valid_from=valid_from)
    if path.stat().st_size > MAX_BYTES:
        raise GridError(None, f"a grid file holds at most {MAX_BYTES // 2**20} MiB")
    try:
        document = json.loads(path.read_bytes(), parse_constant=_refuse_constant, object_pairs_hook=_unrepeated)
    except GridError:
        raise
    except (ValueError, RecursionError):
        raise GridError(None, "a grid file is one JSON document in UTF-8") from None
    return grid_from_document(document, turn_hour_utc=turn_hour_utc, valid_from=valid_from)


def grid_from_document(
    document: object, *, turn_hour_utc: int | None = None, valid_from: datetime | None = None
) -> ZoneGrid:
    """The zone grid that a GeoJSON FeatureCollection describes.

    A grid_id that is there must be that of the content. An argument that contradicts the document is refused.
    """
    if not isinstance(document, dict) or document.get("type") != "FeatureCollection":
        raise GridError(None, "a zone grid is a GeoJSON FeatureCollection")
    if not is_wgs84(document):
        raise GridError(None, "GeoJSON is longitude and latitude on WGS84")
    features = document.get("features")
    if not isinstance(features, list) or not 1 <= len(features) <= MAX_ZONES:
        raise GridError(None, f"a zone grid has 1 to {MAX_ZONES} features")
    turn = _stated_turn(document, turn_hour_utc)
    start = _stated_start(document, valid_from, turn)
    attribution = document.get("attribution", UNSTATED)
    if not isinstance(attribution, str) or not 0 < len(attribution) <= 1_000:
        raise GridError(None, "attribution is text of 1 to 1,000 characters")
    counted = sum(_check_positions(feature, place) for place, feature in enumerate(features))
    if counted > MAX_GRID_VERTICES:
        raise GridError(None, f"a zone grid has at most {MAX_GRID_VERTICES:,} vertices")
    zones = sorted((_zone(feature, place) for place, feature in enumerate(features)), key=lambda zone: zone.zone_id)
    for before, after in pairwise(zones):
        if before.zone_id == after.zone_id:
            raise GridError(after.zone_id, "a zone_id is used once")
    whole = {
        **document,
        "attribution": attribution,
        "valid_from": format_utc(start),
        "turn_hour_utc": turn,
    }
    try:
        grid_id = grid_digest(whole)
    except (ValueError, TypeError, RecursionError):
        raise GridError(None, "a grid document holds JSON values only, and no NaN") from None
    if whole.setdefault("grid_id", grid_id) != grid_id:
        raise GridError(None, "grid_id is the digest of the content")
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
    raise GridError(None, "a coordinate is a finite number")


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise GridError(None, "a JSON object names each member once")
    return members


def _stated_turn(document: dict[str, Any], given: int | None) -> int:
    stated = document.get("turn_hour_utc", given)
    if stated is None:
        raise GridError(None, "turn_hour_utc is in the document or given")
    if type(stated) is not int or not 0 <= stated <= 23:
        raise GridError(None, "turn_hour_utc is a whole hour, 0 to 23")
    if given is not None and given != stated:
        raise GridError(None, "turn_hour_utc is the same in the document and in the settings")
    return stated


def _stated_start(document: dict[str, Any], given: datetime | None, turn: int) -> datetime:
    start = given
    if "valid_from" in document:
        try:
            start = datetime.fromisoformat(document["valid_from"])
            start = start if start.tzinfo is None else start.astimezone(UTC)
        except (TypeError, ValueError, OverflowError):
            raise GridError(None, "valid_from is an RFC 3339 time with an offset") from None
    if start is None:
        raise GridError(None, "valid_from is in the document or given")
    if start.tzinfo is None:
        raise GridError(None, "valid_from is an RFC 3339 time with an offset")
    start = start.astimezone(UTC)
    if given is not None and given != start:
        raise GridError(None, "valid_from is the same in the document and in the settings")
    if (start.hour, start.minute, start.second, start.microsecond) != (turn, 0, 0, 0):
        raise GridError(None, "valid_from is the turn of a token-day")
    return start


def _label(feature: object, place: int) -> str:
    properties = feature.get("properties") if isinstance(feature, dict) else None
    zone_id = properties.get("zone_id") if isinstance(properties, dict) else None
    return zone_id if isinstance(zone_id, str) and NAME.fullmatch(zone_id) else f"feature {place + 1}"


def _check_positions(feature: object, place: int) -> int:
    """How many vertices a feature has; refuses what is not made of plain closed rings of finite positions in range."""
    label = _label(feature, place)
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        raise GridError(label, "a grid holds features only")
    geometry = feature.get("geometry")
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if not isinstance(geometry, dict) or kind not in ("Polygon", "MultiPolygon"):
        raise GridError(label, "a zone is a Polygon or a MultiPolygon")
    vertices = 0
    for ring in _rings(geometry, label):
        vertices += len(ring)
        if vertices > MAX_VERTICES:
            raise GridError(label, f"a zone has at most {MAX_VERTICES:,} vertices")
        if len(ring) < 4:
            raise GridError(label, "a ring has at least four positions")
        for position in ring:
            if not isinstance(position, list) or len(position) != 2:
                raise GridError(label, "a position is longitude and latitude, without height")
            lon, lat = position
            if type(lon) not in (int, float) or type(lat) not in (int, float):
                raise GridError(label, "a coordinate is a finite number")
            if lon != lon or lat != lat or math.inf in (abs(lon), abs(lat)):
                raise GridError(label, "a coordinate is a finite number")
            if not (-180 <= lon <= 180 and -90 <= lat <= 90):
                raise GridError(label, "longitude comes first, within 180, then latitude, within 90")
        if ring[0] != ring[-1]:
            raise GridError(label, "a ring ends where it starts")
    return vertices


def _rings(geometry: dict[str, Any], label: str) -> Iterator[list[Any]]:
    coordinates = geometry.get("coordinates")
    polygons = coordinates if geometry["type"] == "MultiPolygon" else [coordinates]
    if not isinstance(polygons, list) or not polygons or len(polygons) > MAX_VERTICES:
        raise GridError(label, "a MultiPolygon is a list of polygons")
    for polygon in polygons:
        if not isinstance(polygon, list) or not polygon or len(polygon) > MAX_VERTICES:
            raise GridError(label, "a polygon is a list of rings")
        for ring in polygon:
            if not isinstance(ring, list):
                raise GridError(label, "a ring is a list of positions")
            yield ring


def _zone(feature: dict[str, Any], place: int) -> Zone:
    label = _label(feature, place)
    properties = feature.get("properties")
    if not isinstance(properties, dict):
        raise GridError(label, "a zone has zone_id, sector_id, kind and name")
    for key in ("zone_id", "sector_id"):
        value = properties.get(key)
        if not isinstance(value, str) or not NAME.fullmatch(value):
            raise GridError(label, f"{key} matches ^{NAME.pattern}$")
    name = properties.get("name")
    if not isinstance(name, str) or not 1 <= len(name) <= 200 or not name.isprintable():
        raise GridError(label, "name is printable text of 1 to 200 characters")
    if properties.get("kind") not in tuple(ZoneKind):
        raise GridError(label, "kind is belt or crossing_point")
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
