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

TABLES = (".gpkg", ".shp", ".fgb", ".parquet")
"""Endings that are read here; every other file is taken for GeoJSON."""
MAX_TABLE_BYTES = 256 * 2**20
MAX_FEATURES = 10_000
_WGS84 = CRS.from_user_input("OGC:CRS84")


class VectorFileError(ValueError):
    """A geometry file refused; the message is the rule."""


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


def read_features(path: Path) -> list[dict[str, Any]]:
    """The features of a file's only layer as GeoJSON objects in WGS84, longitude first, without height."""
    if not path.is_file():
        raise VectorFileError("the file exists")
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise VectorFileError(f"a geometry file holds at most {MAX_TABLE_BYTES // 2**20} MiB")
    crs, geometries, fields = _parquet(path) if path.suffix.lower() == ".parquet" else _ogr(path)
    if not 1 <= len(geometries) <= MAX_FEATURES:
        raise VectorFileError(f"a geometry file has 1 to {MAX_FEATURES:,} features")
    if crs is None:
        raise VectorFileError("a geometry file states its coordinate system (CRS)")
    if any(shape is None for shape in geometries):
        raise VectorFileError("every feature has a geometry")
    placed = _in_degrees(geometries, crs)
    names = list(fields)
    return [
        {
            "type": "Feature",
            "properties": {name: _plain(fields[name][ix]) for name in names if _plain(fields[name][ix]) is not None},
            "geometry": json.loads(shapely.to_geojson(shape)),
        }
        for ix, shape in enumerate(placed)
    ]


def _ogr(path: Path) -> tuple[str | None, Any, dict[str, Any]]:
    try:
        layers = pyogrio.list_layers(path)
        if len(layers) != 1:
            raise VectorFileError("a geometry file has one layer")
        meta, _, geometries, columns = pyogrio.raw.read(path, force_2d=True, datetime_as_string=True)
        shapes = shapely.from_wkb(geometries)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, shapely.errors.ShapelyError):
        raise VectorFileError("a geometry file is whole and of the format that its name says") from None
    return meta["crs"], shapes, dict(zip(meta["fields"], columns, strict=True))


def _parquet(path: Path) -> tuple[Any, Any, dict[str, Any]]:
    try:
        table = pq.read_table(path)
        said = json.loads((table.schema.metadata or {}).get(b"geo", b"null"))
        if not isinstance(said, dict):
            raise VectorFileError("a Parquet file of geometries is GeoParquet")
        name = said["primary_column"]
        column = said["columns"][name]
        if column["encoding"] != "WKB":
            raise VectorFileError("the geometries of a GeoParquet file are encoded as WKB")
        shapes = shapely.force_2d(shapely.from_wkb(table.column(name).to_pylist()))
    except VectorFileError:
        raise
    except (OSError, ValueError, KeyError, TypeError, shapely.errors.ShapelyError):
        raise VectorFileError("a geometry file is whole and of the format that its name says") from None
    # Said by the GeoParquet standard: an absent crs is longitude and latitude on WGS84, a null one is unknown.
    crs = column.get("crs", "OGC:CRS84")
    return crs, shapes, {other: table.column(other).to_pylist() for other in table.column_names if other != name}


def _in_degrees(shapes: Any, crs: Any) -> Any:
    try:
        there = Transformer.from_crs(CRS.from_user_input(crs), _WGS84, always_xy=True)
    except CRSError:
        raise VectorFileError("the coordinate system (CRS) is one that is known") from None
    moved = shapely.transform(np.asarray(shapes, dtype=object), there.transform, interleaved=False)
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise VectorFileError("every position can be told in longitude and latitude")
    return moved


def _plain(value: Any) -> Any:
    """A field's value as JSON has it; None for what is absent."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
