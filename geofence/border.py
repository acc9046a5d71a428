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

MAX_LINE_BYTES = 64 * 2**20
MAX_LINE_VERTICES = 500_000


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
    """A bundled border by its id, or the line in a GeoJSON file (a collection, a feature or a bare geometry).

    >>> read_border("VN-KH").name
    'Vietnam–Cambodia'
    """
    if str(id_or_path) in _bundled():
        return _bundled()[str(id_or_path)]
    path = Path(id_or_path)
    if not path.is_file():
        raise BorderError("a border is one of the bundled ids or the path of a GeoJSON file")
    if path.stat().st_size > MAX_LINE_BYTES:
        raise BorderError(f"a border file holds at most {MAX_LINE_BYTES // 2**20} MiB")
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise BorderError("a border file is one JSON document in UTF-8") from None
    if not isinstance(document, dict):
        raise BorderError("a border file is GeoJSON")
    feature, attribution = document, document.get("attribution")
    if document.get("type") == "FeatureCollection":
        features = document.get("features")
        if not isinstance(features, list) or len(features) != 1:
            raise BorderError("a border file holds one feature")
        feature = features[0]
    elif document.get("type") in ("LineString", "MultiLineString"):
        feature = {"type": "Feature", "properties": {}, "geometry": document}
    return _border(feature, attribution, path.stem)


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
