"""The border line: 25 bundled land borders, or a line of your own."""

import json
import math
import re
import unicodedata
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import LineString, MultiLineString

from geofence.bundled_files import bundled_collection
from geofence.metres import plane_around
from geofence.rules import BorderRule, Rule
from geofence.vector_file import VectorFileError, is_table, read_collection, read_geojson

MAX_LINE_VERTICES = 500_000
MAX_PIECES = 500
MAX_ACROSS_M = 6_000_000.0
MAX_SELF_CROSSINGS = 200
MAX_EDGES_NEAR = 100
"""How many edges the box of an edge meets at most, on average; a real line, however it winds, meets 3 to 6."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,23}")
SHARED_EDGE_M = 500.0
"""How far apart the outlines of two countries may be drawn and still be one border."""
SHORTEST_PIECE_M = 1_500.0


class BorderError(ValueError):
    """A border, or what zones are built from beside it, refused; the message is the rule and its name."""

    def __init__(self, rule: str, *, feature: str | None = None) -> None:
        named = f"{rule} [{rule.label}]" if isinstance(rule, Rule) else rule
        super().__init__(f"{feature}: {named}" if feature else named)
        self.feature = feature
        self.rule = rule


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
    bundled: bool = False


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
        raise BorderError(BorderRule.BORDER)
    try:
        document = read_collection(path) if is_table(path) else read_geojson(path)
    except VectorFileError as refused:
        raise BorderError(refused.rule) from None
    feature, attribution = document, document.get("attribution")
    if document.get("type") == "FeatureCollection":
        features = document.get("features")
        if isinstance(features, list) and len(features) == 2:
            feature = _between(*features)
        elif isinstance(features, list) and len(features) == 1:
            feature = features[0]
        else:
            raise BorderError(BorderRule.ONE_OR_TWO)
    elif document.get("type") in ("LineString", "MultiLineString"):
        feature = {"type": "Feature", "properties": {}, "geometry": document}
    border = _border(feature, attribution, path.stem)
    _check_shape(border)
    return border


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
        raise BorderError(BorderRule.SHARED_EDGE)
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
        raise BorderError(BorderRule.TWO_COUNTRIES)
    try:
        ground = shapely.from_geojson(json.dumps(geometry))
    except (shapely.errors.ShapelyError, ValueError, RecursionError):
        raise BorderError(BorderRule.CLOSED_RINGS) from None
    positions = shapely.get_coordinates(ground)
    if len(positions) > MAX_LINE_VERTICES:
        raise BorderError(BorderRule.VERTICES)
    if len(positions) == 0:
        raise BorderError(BorderRule.CLOSED_RINGS)
    if not np.isfinite(positions).all():
        raise BorderError(BorderRule.FINITE)
    if (np.abs(positions) > (180, 90)).any():
        raise BorderError(BorderRule.IN_RANGE)
    if not ground.is_valid:
        raise BorderError(BorderRule.VALID_COUNTRY)
    return ground


def slug(name: str) -> str:
    """An ASCII name fit for an id.

    >>> slug("Vĩnh Xương (Sông Tiền)")
    'vinh-xuong-song-tien'
    """
    plain = unicodedata.normalize("NFKD", name.replace("đ", "d").replace("Đ", "D"))
    ascii_only = plain.encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_only).strip("-")[:48].strip("-")


def ordered_chain(line: LineString | MultiLineString) -> LineString | MultiLineString:
    """One line along the whole border: its pieces end to end, gaps bridged straight; planar coordinates.

    A closed piece, the border of an enclave, has no end that another could follow: such rings come after the chain,
    each a part of its own.

    >>> ordered_chain(MultiLineString([[(0, 0), (1, 0)], [(3, 0), (2, 0)]])).wkt
    'LINESTRING (0 0, 1 0, 2 0, 3 0)'
    """
    merged = shapely.get_parts(shapely.line_merge(line))
    pieces = sorted(merged, key=lambda piece: (-piece.length, piece.coords[0]))
    rings = [piece for piece in pieces if piece.is_closed]
    waiting = [np.asarray(piece.coords) for piece in pieces if not piece.is_closed]
    if not waiting:
        return rings[0] if len(rings) == 1 else MultiLineString(rings)
    chain = waiting.pop(0)
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
    whole = LineString(shapely.remove_repeated_points(LineString(chain)))
    return MultiLineString([whole, *rings]) if rings else whole


@lru_cache(maxsize=1)
def _bundled() -> dict[str, Border]:
    collection = bundled_collection("borders.geojson")
    borders = [
        replace(_border(feature, collection["attribution"], ""), bundled=True) for feature in collection["features"]
    ]
    return {border.border_id: border for border in borders}


def _border(feature: Any, attribution: object, fallback_id: str) -> Border:
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        raise BorderError(BorderRule.ONE_FEATURE)
    properties = feature.get("properties") or {}
    if not isinstance(properties, dict):
        raise BorderError(BorderRule.PROPERTIES)
    said = {key: _text(properties.get(key)) for key in ("id", "a", "b", "licence", "source", "name")}
    border_id, a, b = said["id"] or slug(fallback_id)[:24] or "own", said["a"] or "A", said["b"] or "B"
    if not all(NAME.fullmatch(name) for name in (border_id, a, b)) or a == b:
        raise BorderError(BorderRule.NAMES)
    licence = said["licence"] or "not stated"
    return Border(
        border_id=border_id,
        a=a,
        b=b,
        line=_line(feature.get("geometry")),
        attribution=_text(attribution) or f"border line: {licence}",
        licence=licence,
        source=said["source"] or "not stated",
        name=said["name"],
    )


def _text(value: object) -> str:
    """A text as it may be handed on: empty where there is none, or where it is none that can be printed."""
    text = str(value) if isinstance(value, str | int) else ""
    return text if text.isprintable() and len(text) <= 500 else ""


def said_by(document: dict[str, Any], what: str) -> str:
    """What a collection wants shown with it: its attribution, else its licence, else that it says nothing.

    >>> said_by({"licence": "CC0"}, "roads")
    'roads: CC0'
    """
    return f"{what}: {_text(document.get('attribution')) or _text(document.get('licence')) or 'not stated by the supplier'}"


def _line(geometry: Any) -> LineString | MultiLineString:
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind not in ("LineString", "MultiLineString"):
        raise BorderError(BorderRule.LINE)
    parts = geometry.get("coordinates") if kind == "MultiLineString" else [geometry.get("coordinates")]
    if not isinstance(parts, list) or not parts:
        raise BorderError(BorderRule.LINE_LIST)
    arrays = []
    for part in parts:
        try:
            positions = np.asarray(part, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            raise BorderError(BorderRule.POSITION) from None
        if positions.ndim != 2 or positions.shape[1] != 2 or len(positions) < 2:
            raise BorderError(BorderRule.LINE_LENGTH)
        if not np.isfinite(positions).all():
            raise BorderError(BorderRule.FINITE)
        if (np.abs(positions) > (180, 90)).any():
            raise BorderError(BorderRule.IN_RANGE)
        arrays.append(positions)
    if sum(len(positions) for positions in arrays) > MAX_LINE_VERTICES:
        raise BorderError(BorderRule.VERTICES)
    line = MultiLineString(arrays) if len(arrays) > 1 else LineString(arrays[0])
    if line.length == 0:
        raise BorderError(BorderRule.HAS_LENGTH)
    return line


def _check_shape(border: Border) -> None:
    """Nothing, if a line of your own is one that geometry can be asked about; asked of no bundled line."""
    plane = plane_around(border.line)
    line = plane.to_metres(border.line)
    west, south, east, north = line.bounds
    if not np.hypot(east - west, north - south) <= MAX_ACROSS_M:
        raise BorderError(BorderRule.EXTENT)
    if _entangled(line):
        raise BorderError(BorderRule.NOT_ENTANGLED)
    if len(shapely.get_parts(shapely.line_merge(line))) > MAX_PIECES:
        raise BorderError(BorderRule.PIECES)


def _entangled(line: Any) -> bool:
    """Whether a line crosses itself so often that cutting ground along it would take minutes."""
    edges = []
    for part in shapely.get_parts(line):
        vertices = shapely.get_coordinates(part)
        edges.append(np.stack([vertices[:-1], vertices[1:]], axis=1))
    shapes = shapely.linestrings(np.concatenate(edges))
    tree = shapely.STRtree(shapes)
    met, crossed = 0, 0
    for start in range(0, len(shapes), 1_000):
        one, other = tree.query(shapes[start : start + 1_000])
        met += len(one)
        if met > MAX_EDGES_NEAR * (start + 1_000):
            return True
        apart = other > one + start + 1
        crossed += int(shapely.crosses(shapes[one[apart] + start], shapes[other[apart]]).sum())
        if crossed > MAX_SELF_CROSSINGS:
            return True
    return False
