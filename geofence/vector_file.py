"""Geometry files as carriers and authorities have them: GeoJSON, GPKG, Shapefile, FlatGeobuf and GeoParquet.

Everything is given as plain GeoJSON values in WGS84, so that what reads a border or a zone grid judges one thing only,
by the same rules whatever the file was. A file that does not say its coordinate system is refused, not guessed.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pyogrio
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from geofence.rules import FileRule

TABLES = (".gpkg", ".shp", ".fgb", ".parquet")
"""Endings that are read here; every other file is taken for GeoJSON."""
MAX_TABLE_BYTES = 64 * 2**20
MAX_TABLE_VERTICES = 1_000_000
MAX_GEOJSON_BYTES = 32 * 2**20
MAX_OBJECTS = 100_000
MAX_FEATURES = 10_000
_WGS84 = CRS.from_user_input("OGC:CRS84")


class VectorFileError(ValueError):
    """A geometry file refused; the message is the rule and its name."""

    def __init__(self, rule: FileRule) -> None:
        super().__init__(f"{rule} [{rule.label}]")
        self.rule = rule


def is_table(path: Path) -> bool:
    """Whether a file is one of the formats that `read_features` reads.

    >>> is_table(Path("zones.gpkg")), is_table(Path("zones.geojson"))
    (True, False)
    """
    return path.suffix.lower() in TABLES


def is_wgs84(document: dict[str, Any]) -> bool:
    """Whether a GeoJSON document is in WGS84: it says nothing of a coordinate system, or says just that.

    >>> is_wgs84({"crs": {"type": "name", "properties": {"name": "EPSG:3857"}}})
    False
    """
    crs = document.get("crs")
    if crs is None:
        return True
    named = crs.get("properties") if isinstance(crs, dict) else None
    return isinstance(named, dict) and named.get("name") in ("urn:ogc:def:crs:OGC:1.3:CRS84", "OGC:CRS84")


def read_collection(path: Path) -> dict[str, Any]:
    """A geometry file of any of the formats as one GeoJSON FeatureCollection in WGS84, its features a list of objects.

    A bare feature or geometry in GeoJSON is a collection of one. What the features are is not judged here.
    """
    if is_table(path):
        return {"type": "FeatureCollection", "features": read_features(path)}
    document = read_geojson(path)
    features = document.get("features")
    if document.get("type") == "FeatureCollection" and isinstance(features, list):
        return document
    one = document if document.get("type") == "Feature" else {"type": "Feature", "properties": {}, "geometry": document}
    kept = {key: value for key, value in document.items() if key in ("attribution", "licence")}
    return {**kept, "type": "FeatureCollection", "features": [one]}


def read_geojson(path: Path) -> dict[str, Any]:
    """The JSON object in a GeoJSON file in WGS84."""
    if not path.is_file():
        raise VectorFileError(FileRule.THERE)
    if path.stat().st_size > MAX_GEOJSON_BYTES:
        raise VectorFileError(FileRule.GEOJSON_SIZE)
    raw = path.read_bytes()
    # Counted before anything is built of it: brackets are what costs time and memory.
    if raw.count(b"[") > 2 * MAX_TABLE_VERTICES or raw.count(b"{") > MAX_OBJECTS:
        raise VectorFileError(FileRule.FILE_VERTICES)
    try:
        document = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        raise VectorFileError(FileRule.ONE_DOCUMENT) from None
    if not isinstance(document, dict):
        raise VectorFileError(FileRule.GEOJSON)
    if not is_wgs84(document):
        raise VectorFileError(FileRule.WGS84)
    return document


def read_features(path: Path) -> list[dict[str, Any]]:
    """The features of a file's only layer as GeoJSON objects in WGS84, longitude first, without height."""
    if not path.is_file():
        raise VectorFileError(FileRule.THERE)
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise VectorFileError(FileRule.FILE_SIZE)
    crs, geometries, fields = _parquet(path) if path.suffix.lower() == ".parquet" else _ogr(path)
    if not 1 <= len(geometries) <= MAX_FEATURES:
        raise VectorFileError(FileRule.FILE_FEATURES)
    if crs is None:
        raise VectorFileError(FileRule.CRS_STATED)
    if any(shape is None for shape in geometries):
        raise VectorFileError(FileRule.EVERY_GEOMETRY)
    if shapely.get_num_coordinates(geometries).sum() > MAX_TABLE_VERTICES:
        raise VectorFileError(FileRule.FILE_VERTICES)
    placed = _in_degrees(geometries, crs)
    try:
        written = [json.loads(shape) for shape in shapely.to_geojson(placed)]
    except (shapely.errors.ShapelyError, ValueError):  # a curve, say
        raise VectorFileError(FileRule.WHOLE) from None
    columns = {name: [_plain(value) for value in values] for name, values in fields.items()}
    return [
        {
            "type": "Feature",
            "properties": {name: values[ix] for name, values in columns.items() if values[ix] is not None},
            "geometry": geometry,
        }
        for ix, geometry in enumerate(written)
    ]


def _ogr(path: Path) -> tuple[str | None, Any, dict[str, Any]]:
    try:
        layers = pyogrio.list_layers(path)
        if len(layers) == 0:
            raise VectorFileError(FileRule.WHOLE)
        if len(layers) > 1:
            raise VectorFileError(FileRule.ONE_LAYER)
        meta, _, geometries, columns = pyogrio.raw.read(
            path, force_2d=True, datetime_as_string=True, max_features=MAX_FEATURES + 1
        )
        shapes = shapely.from_wkb(geometries)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, shapely.errors.ShapelyError):
        raise VectorFileError(FileRule.WHOLE) from None
    return meta["crs"], shapes, dict(zip(meta["fields"], columns, strict=True))


def _parquet(path: Path) -> tuple[Any, Any, dict[str, Any]]:
    try:
        file = pq.ParquetFile(path)
        # Packed, a file of a few kB may hold gigabytes; its footer says how much it will be.
        groups = [file.metadata.row_group(group) for group in range(file.metadata.num_row_groups)]
        if sum(group.total_byte_size for group in groups) > MAX_TABLE_BYTES:
            raise VectorFileError(FileRule.FILE_SIZE)
        if file.metadata.num_rows > MAX_FEATURES:
            raise VectorFileError(FileRule.FILE_FEATURES)
        table = file.read(use_threads=False)
        said = json.loads((table.schema.metadata or {}).get(b"geo", b"null"))
        if not isinstance(said, dict):
            raise VectorFileError(FileRule.GEOPARQUET)
        name = said["primary_column"]
        column = said["columns"][name]
        if column["encoding"] != "WKB":
            raise VectorFileError(FileRule.GEOPARQUET)
        shapes = shapely.force_2d(shapely.from_wkb(table.column(name).to_pylist()))
    except VectorFileError:
        raise
    except (OSError, ValueError, KeyError, TypeError, shapely.errors.ShapelyError):
        raise VectorFileError(FileRule.WHOLE) from None
    # Said by the GeoParquet standard: an absent crs is longitude and latitude on WGS84, a null one is unknown.
    crs = column.get("crs", "OGC:CRS84")
    return crs, shapes, {other: table.column(other).to_pylist() for other in table.column_names if other != name}


def _in_degrees(shapes: Any, crs: Any) -> Any:
    try:
        there = Transformer.from_crs(CRS.from_user_input(crs), _WGS84, always_xy=True)
    except CRSError:
        raise VectorFileError(FileRule.CRS_KNOWN) from None
    moved = shapely.transform(np.asarray(shapes, dtype=object), there.transform, interleaved=False)
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise VectorFileError(FileRule.TO_DEGREES)
    return moved


def _plain(value: Any) -> Any:
    """A field's value as JSON has it; None for what is absent."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
