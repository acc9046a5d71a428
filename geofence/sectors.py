"""Sectors: which part of a border a zone belongs to, by administrative polygons or by length along the line."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geofence.border import MAX_LINE_VERTICES, BorderError, said_by, slug
from geofence.bundled_files import bundled_collection
from geofence.rules import BorderRule
from geofence.vector_file import VectorFileError, read_collection

SECTOR_LENGTH_M = 100_000.0
ID_LENGTH = 36
HELD = 0.5
"""The share of a zone that must lie in the sectors of a file, all together."""
TWICE = 1.1
"""The share from which on sectors overlap; outlines drawn apart by the width of a river stay below."""


@dataclass(frozen=True, slots=True)
class Sector:
    """One administrative area; `short` is its part of a sector id, `ground` in degrees."""

    short: str
    name: str
    ground: Any


@dataclass(frozen=True, slots=True)
class Sectors:
    """The areas that sectors are taken from, and what must be shown with them."""

    areas: tuple[Sector, ...]
    attribution: str


def read_sectors(path: str | Path, field: str = "name") -> Sectors:
    """The sectors in a geometry file of polygons, named by one of its fields; areas of one name are one sector.

    Raises BorderError: other geometry, a name missing, or two names that make one id (an id keeps ASCII letters and
    digits only: where names are in another script, name a field that holds codes or romanised names).
    """
    try:
        document = read_collection(Path(path))
    except VectorFileError as refused:
        raise BorderError(refused.rule) from None
    by_name: dict[str, list[Any]] = {}
    vertices = 0
    for place, feature in enumerate(document["features"]):
        ground = _polygon(feature, place)
        vertices += int(shapely.get_num_coordinates(ground))
        if vertices > MAX_LINE_VERTICES:
            raise BorderError(BorderRule.VERTICES)
        by_name.setdefault(_name(feature, field, place), []).append(ground)
    areas = [Sector(slug(name)[:ID_LENGTH], name, shapely.union_all(parts)) for name, parts in by_name.items()]
    shorts = [area.short for area in areas]
    if "" in shorts or len(set(shorts)) < len(shorts):
        raise BorderError(BorderRule.SECTOR_ID)
    return Sectors(tuple(areas), said_by(document, "sectors"))


def bundled_sectors(home: str) -> Sectors | None:
    """The provinces of a country that we hold (a bundled file per country); None without one."""
    try:
        collection = bundled_collection(f"provinces_{home.lower()}.geojson")
    except FileNotFoundError:
        return None
    areas = tuple(
        Sector(
            slug(feature["properties"]["name_en"])[:ID_LENGTH],
            str(feature["properties"]["name"]),
            shapely.from_geojson(json.dumps(feature["geometry"])),
        )
        for feature in collection["features"]
    )
    return Sectors(areas, str(collection["attribution"]))


def sectors_by_area(shapes: NDArray[Any], sectors: Sectors, home: str) -> list[tuple[str, str]]:
    """Per zone its sector and the sector's name: the area with the largest share of it.

    Raises BorderError where less than half of a zone lies in any of them, or where they overlap: a zone nobody
    administers, or two do, would be armed by nobody, or by two.
    """
    tree = shapely.STRtree([area.ground for area in sectors.areas])
    zone, area = tree.query(shapes, predicate="intersects")
    grounds = np.array([sectors.areas[ix].ground for ix in area], dtype=object)
    met = shapely.area(shapely.intersection(shapes[zone], grounds))
    share = np.zeros((len(shapes), len(sectors.areas)))
    share[zone, area] = met / shapely.area(shapes)[zone]
    held = share.sum(axis=1)
    for number in np.flatnonzero((held < HELD) | (held > TWICE))[:1]:
        rule = BorderRule.IN_A_SECTOR if held[number] < HELD else BorderRule.SECTORS_APART
        raise BorderError(rule, feature=f"zone {number + 1}")
    chosen = [sectors.areas[int(best)] for best in share.argmax(axis=1)]
    return [(f"{home}-{area.short}", area.name) for area in chosen]


def sectors_by_length(border_id: str, middle_km: NDArray[np.float64], whole_km: float) -> list[tuple[str, str]]:
    """Per zone its sector and the sector's name: pieces of about 100 km along the line, numbered."""
    count = max(1, round(whole_km * 1_000 / SECTOR_LENGTH_M))
    places = np.clip((middle_km / whole_km * count).astype(int), 0, count - 1)
    return [(f"{border_id}-s{place + 1:02d}", f"{border_id} sector {place + 1}") for place in places]


def _polygon(feature: Any, place: int) -> Any:
    geometry = feature.get("geometry") if isinstance(feature, dict) else None
    label = f"feature {place + 1}"
    if not isinstance(geometry, dict) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
        raise BorderError(BorderRule.POLYGONS, feature=label)
    try:
        ground = shapely.from_geojson(json.dumps(geometry))
    except (shapely.errors.ShapelyError, ValueError):
        raise BorderError(BorderRule.POLYGONS, feature=label) from None
    positions = shapely.get_coordinates(ground)
    if len(positions) == 0 or not np.isfinite(positions).all() or (np.abs(positions) > (180, 90)).any():
        raise BorderError(BorderRule.IN_RANGE, feature=label)
    if not ground.is_valid:
        raise BorderError(BorderRule.VALID_SECTOR, feature=label)
    return ground


def _name(feature: dict[str, Any], field: str, place: int) -> str:
    properties = feature.get("properties")
    name = properties.get(field) if isinstance(properties, dict) else None
    name = str(name) if isinstance(name, str | int) else ""
    if not 1 <= len(name) <= 200 or not name.isprintable():
        raise BorderError(BorderRule.SECTOR_FIELD, feature=f"feature {place + 1}")
    return name
