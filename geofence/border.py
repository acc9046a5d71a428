"""The border line: 25 bundled land borders, or a line of your own."""

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import LineString, MultiLineString

from geofence.bundled_files import bundled_collection
from geofence.metres import plane_around
from geofence.vector_file import VectorFileError, is_table, is_wgs84, read_features

MAX_LINE_BYTES = 64 * 2**20
MAX_LINE_VERTICES = 500_000
SHARED_EDGE_M = 500.0
"""How far apart the outlines of two countries may be drawn and still be one border."""
SHORTEST_PIECE_M = 1_500.0


class BorderError(ValueError):
    """A border line refused; the message is the rule."""


@dataclass(frozen=True, slots=True)
class Border:
    """A land border between countries `a` and `b` (ISO 3166 codes), as a line in WGS84.

    The bundled lines are good to 150 m typically and 450 m at p95. On a line of your own whose countries are not
    bundled, `a` lies to the left of the line as it is drawn.
    """

    border_id: str
    a: str
    b: str
    line: LineString | MultiLineString
    attribution: str
    licence: str
    source: str = "not stated"
    name: str = ""


def bundled_borders() -> list[str]:
    """The ids of the bundled borders.

    >>> len(bundled_borders()), "VN-KH" in bundled_borders()
    (25, True)
    """
    return list(_bundled())


def read_border(id_or_path: str | Path) -> Border:
    """A bundled border by its id, or the border in a geometry file: one line, or the polygons of two countries.

    Reads GeoJSON (a collection, a feature or a bare geometry), GPKG, Shapefile, FlatGeobuf and GeoParquet.

    >>> read_border("VN-KH").name
    'Vietnam–Cambodia'
    """
    if str(id_or_path) in _bundled():
        return _bundled()[str(id_or_path)]
    path = Path(id_or_path)
    if not path.is_file():
        raise BorderError("a border is one of the bundled ids or the path of a geometry file")
    if is_table(path):
        try:
            document: Any = {"type": "FeatureCollection", "features": read_features(path)}
        except VectorFileError as refused:
            raise BorderError(str(refused)) from None
    else:
        document = _geojson(path)
    feature, attribution = document, document.get("attribution")
    if document.get("type") == "FeatureCollection":
        features = document.get("features")
        if isinstance(features, list) and len(features) == 2:
            feature = _between(*features)
        elif isinstance(features, list) and len(features) == 1:
            feature = features[0]
        else:
            raise BorderError("a border file holds one line, or the polygons of two countries")
    elif document.get("type") in ("LineString", "MultiLineString"):
        feature = {"type": "Feature", "properties": {}, "geometry": document}
    return _border(feature, attribution, path.stem)


def _geojson(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_LINE_BYTES:
        raise BorderError(f"a border file holds at most {MAX_LINE_BYTES // 2**20} MiB")
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise BorderError("a border file is one JSON document in UTF-8") from None
    if not isinstance(document, dict):
        raise BorderError("a border file is GeoJSON")
    if not is_wgs84(document):
        raise BorderError("GeoJSON is longitude and latitude on WGS84")
    return document


def _between(one: Any, other: Any) -> dict[str, Any]:
    """The border of two countries as a line: the first one's outline where the second is near, with the first on its left."""
    here, there = (_ground(feature) for feature in (one, other))
    plane = plane_around(np.array([here, there], dtype=object))
    # Rings run so that the ground lies on their left.
    rings = shapely.boundary(shapely.orient_polygons(plane.to_metres(here), exterior_cw=False))
    near = shapely.buffer(shapely.boundary(plane.to_metres(there)), SHARED_EDGE_M, quad_segs=4)
    pieces = shapely.get_parts(shapely.line_merge(shapely.intersection(rings, near), directed=True))
    kept = [piece for piece in pieces if piece.length >= SHORTEST_PIECE_M]
    if not kept:
        raise BorderError("the polygons of two countries share an edge of at least 1.5 km")
    properties = [feature.get("properties") or {} for feature in (one, other)]
    names = [str(said.get("iso2", fallback)) for said, fallback in zip(properties, "AB", strict=True)]
    return {
        "type": "Feature",
        "properties": {
            "id": "-".join(names),
            "a": names[0],
            "b": names[1],
            "licence": str(properties[0].get("licence", "not stated")),
            "source": str(properties[0].get("source", "not stated")),
        },
        "geometry": json.loads(shapely.to_geojson(plane.to_degrees(MultiLineString(kept)))),
    }


def _ground(feature: Any) -> Any:
    geometry = feature.get("geometry") if isinstance(feature, dict) else None
    if not isinstance(geometry, dict) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
        raise BorderError("a border file of two features holds the polygons of two countries")
    try:
        ground = shapely.from_geojson(json.dumps(geometry))
    except (shapely.errors.ShapelyError, ValueError):
        raise BorderError("a country is a polygon of closed rings") from None
    if shapely.get_num_coordinates(ground) > MAX_LINE_VERTICES:
        raise BorderError(f"a border has at most {MAX_LINE_VERTICES:,} vertices")
    if not ground.is_valid:
        raise BorderError("a country is a simple and valid polygon")
    if (np.abs(shapely.get_coordinates(ground)) > (180, 90)).any():
        raise BorderError("longitude comes first, within 180, then latitude, within 90")
    return ground


def ordered_chain(line: LineString | MultiLineString) -> LineString:
    """One line along the whole border: its pieces end to end, gaps bridged straight; planar coordinates.

    >>> ordered_chain(MultiLineString([[(0, 0), (1, 0)], [(3, 0), (2, 0)]])).wkt
    'LINESTRING (0 0, 1 0, 2 0, 3 0)'
    """
    merged = shapely.line_merge(line)
    pieces = sorted(shapely.get_parts(merged), key=lambda piece: (-piece.length, piece.coords[0]))
    chain = np.asarray(pieces[0].coords)
    waiting = [np.asarray(piece.coords) for piece in pieces[1:]]
    while waiting:
        # The next piece is the one whose end lies nearest to an end of what stands already.
        gaps = [
            (math.dist(chain[end], piece[tip]), ix, end, tip)
            for ix, piece in enumerate(waiting)
            for end in (0, -1)
            for tip in (0, -1)
        ]
        _, ix, end, tip = min(gaps)
        piece = waiting.pop(ix)
        if end == -1:
            chain = np.concatenate([chain, piece if tip == 0 else piece[::-1]])
        else:
            chain = np.concatenate([piece if tip == -1 else piece[::-1], chain])
    return LineString(shapely.remove_repeated_points(LineString(chain)))


@lru_cache(maxsize=1)
def _bundled() -> dict[str, Border]:
    collection = bundled_collection("borders.geojson")
    borders = [_border(feature, collection["attribution"], "") for feature in collection["features"]]
    return {border.border_id: border for border in borders}


def _border(feature: Any, attribution: object, fallback_id: str) -> Border:
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        raise BorderError("a border file holds one feature")
    properties = feature.get("properties") or {}
    line = _line(feature.get("geometry"))
    if not isinstance(properties, dict):
        raise BorderError("properties are a JSON object")
    licence = str(properties.get("licence", "not stated"))
    return Border(
        border_id=str(properties.get("id", fallback_id)),
        a=str(properties.get("a", "A")),
        b=str(properties.get("b", "B")),
        line=line,
        attribution=attribution if isinstance(attribution, str) else f"border line: {licence}",
        licence=licence,
        source=str(properties.get("source", "not stated")),
        name=str(properties.get("name", "")),
    )


def _line(geometry: Any) -> LineString | MultiLineString:
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind not in ("LineString", "MultiLineString"):
        raise BorderError("a border is a LineString or a MultiLineString")
    parts = geometry.get("coordinates") if kind == "MultiLineString" else [geometry.get("coordinates")]
    if not isinstance(parts, list) or not parts:
        raise BorderError("a border has at least one line")
    arrays = []
    for part in parts:
        try:
            positions = np.asarray(part, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            raise BorderError("a position is longitude and latitude, without height") from None
        if positions.ndim != 2 or positions.shape[1] != 2 or len(positions) < 2:
            raise BorderError("a line is two or more positions of longitude and latitude, without height")
        if not np.isfinite(positions).all():
            raise BorderError("a coordinate is a finite number")
        if (np.abs(positions) > (180, 90)).any():
            raise BorderError("longitude comes first, within 180, then latitude, within 90")
        arrays.append(positions)
    if sum(len(positions) for positions in arrays) > MAX_LINE_VERTICES:
        raise BorderError(f"a border has at most {MAX_LINE_VERTICES:,} vertices")
    line = MultiLineString(arrays) if len(arrays) > 1 else LineString(arrays[0])
    if line.length == 0:
        raise BorderError("a border has a length")
    return line
