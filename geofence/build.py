"""Zones from a border line: belts along it, crossing points cut out of them, sectors by province or by length."""

import json
import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import LineString, MultiPolygon, Polygon

from geofence.border import Border, BorderError, ordered_chain
from geofence.bundled_files import bundled_collection, bundled_rows
from geofence.check import MIN_BELT_BORDER_M, border_lengths, check_zone_grid
from geofence.crossing_points import CrossingPoint, bundled_crossing_points
from geofence.grid import GridError, ZoneGrid, ZoneKind, grid_from_document
from geofence.metres import Plane, plane_around, stations
from geofence.side import ground_home, ground_to_the_left, tiles
from ingest.release import format_utc

CROSSING_POINT_RADIUS_M = 2_000.0
SECTOR_LENGTH_M = 100_000.0
STEP_M = 250.0
TOLERANCE_M = 80.0
CRUMB_M2 = 2_000_000.0
ISLET_M2 = 50_000.0
THIRD_COUNTRY_M = 1_000.0
# A belt cut short by a crossing point joins its neighbour; the margin keeps the built grid clear of the rule itself.
SHORTEST_BELT_M = MIN_BELT_BORDER_M + 500.0
GRADES = "ABC"


@dataclass(frozen=True, slots=True)
class _Place:
    """One crossing-point zone to be: official crossing points that cannot be told apart, and the circle round each."""

    points: tuple[CrossingPoint, ...]
    circle: Polygon | MultiPolygon


def build_zone_grid(
    border: Border,
    home: str,
    *,
    depth_m: float = 10_000,
    length_m: float = 25_000,
    valid_from: datetime,
    turn_hour_utc: int,
    crossing_points: tuple[CrossingPoint, ...] | None = None,
) -> ZoneGrid:
    """The zone grid of one border on its home side, checked by the rules of `check.py`.

    `crossing_points` are those of the bundled list unless given. Crossing points nearer to each other than their
    uncertainty share a zone: traffic between them could not be told apart.
    """
    if home not in (border.a, border.b):
        raise BorderError("home is one of the two countries of the border")
    if not 1_000 <= depth_m <= 50_000:
        raise BorderError("a belt is 1 to 50 km deep")
    if not MIN_BELT_BORDER_M <= length_m <= 200_000:
        raise BorderError("a belt is 10 to 200 km long")
    if valid_from.tzinfo is None:
        raise GridError(None, "valid_from is a time with an offset")
    points = bundled_crossing_points(border.border_id) if crossing_points is None else crossing_points
    plane = plane_around(border.line)
    chain = _from_north(ordered_chain(plane.to_metres(border.line)), plane)
    strip = _home_strip(border, home, chain, plane, depth_m)
    places = _crossing_places(points, plane)
    belts = max(1, round(chain.length / length_m))
    faces, label = _labelled_faces(strip, chain, belts, places)
    label = _crumbs_joined(faces, label, belts)
    label = _short_belts_joined(faces, label, belts, border, plane)
    shapes, owner = _zone_shapes(faces, label, plane)
    features = _features(border, home, chain, plane, places, belts, shapes, owner)
    document = {
        "type": "FeatureCollection",
        "attribution": _attribution(border, home),
        "licence": border.licence,
        "border_id": border.border_id,
        "home": home,
        "depth_m": depth_m,
        "length_m": length_m,
        "valid_from": format_utc(valid_from),
        "turn_hour_utc": turn_hour_utc,
        "features": features,
    }
    grid = grid_from_document(document)
    check_zone_grid(grid, border.line)
    return grid


def slug(name: str) -> str:
    """An ASCII name fit for an id.

    >>> slug("Vĩnh Xương (Sông Tiền)")
    'vinh-xuong-song-tien'
    """
    plain = unicodedata.normalize("NFKD", name.replace("đ", "d").replace("Đ", "D"))
    ascii_only = plain.encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_only).strip("-")[:48].strip("-")


def _from_north(chain: LineString, plane: Plane) -> LineString:
    """The chain running from its northern end; numbering must not depend on how a file happens to be drawn."""
    ends = plane.to_degrees(shapely.points([chain.coords[0], chain.coords[-1]]))
    return chain if ends[0].y >= ends[1].y else shapely.reverse(chain)


def _home_strip(border: Border, home: str, chain: LineString, plane: Plane, depth_m: float) -> Any:
    """Home ground within `depth_m` of the line, free of islets that no antenna can tell from their surroundings.

    The line itself is the edge, so that zones and footprints are cut by one and the same line. The outline of a
    bundled country only says which side is home and where a third country begins.
    """
    near = shapely.buffer(shapely.simplify(plane.to_metres(border.line), 60.0), depth_m, quad_segs=8)
    width_m = depth_m + 5_000.0
    country = _country(home, near, plane)
    if country is None:
        left = ground_to_the_left(plane.to_metres(border.line), chain, width_m)
        ground = left if home == border.a else shapely.difference(near, left)
    else:
        ground = ground_home(chain, np.array([country]), width_m)
        positions, _ = stations(border.line, 0.02)
        outline = shapely.buffer(country, THIRD_COUNTRY_M)
        reached = shapely.contains_xy(outline, *plane.xy(positions[:, 0], positions[:, 1]))
        # An outline that was clipped short of the line's end says nothing of third countries there.
        if reached.mean() > 0.98:
            ground = shapely.intersection(ground, outline)
    strip = shapely.intersection(ground, near)
    parts = [part for part in shapely.get_parts(strip) if part.geom_type == "Polygon" and part.area > ISLET_M2]
    if not parts:
        raise BorderError("there is home ground beside the line")
    return MultiPolygon(parts)


def _country(iso2: str, near: Any, plane: Plane) -> Any:
    """The ground of a bundled country near the line, on the plane; None if we hold no outline of it."""
    west, south, east, north = plane.to_degrees(shapely.box(*near.bounds).segmentize(50_000.0)).bounds
    for feature in bundled_collection("countries.geojson")["features"]:
        if feature["properties"]["iso2"] == iso2:
            outline = shapely.clip_by_rect(
                shapely.from_geojson(_as_text(feature["geometry"])), west, south, east, north
            )
            ground = shapely.intersection(shapely.simplify(plane.to_metres(outline), 50.0), near)
            return None if ground.is_empty else ground
    return None


def _as_text(geometry: dict[str, Any]) -> str:
    return json.dumps(geometry)


def _crossing_places(points: tuple[CrossingPoint, ...], plane: Plane) -> list[_Place]:
    """Crossing points grouped where one lies within the circle of another; the best known first."""
    if not points:
        return []
    where = shapely.get_coordinates(plane.to_metres(shapely.points([(point.lon, point.lat) for point in points])))
    radius = np.array([CROSSING_POINT_RADIUS_M + point.uncertainty_m for point in points])
    apart = np.hypot(where[:, None, 0] - where[None, :, 0], where[:, None, 1] - where[None, :, 1])
    together = apart <= np.maximum(radius[:, None], radius[None, :])
    group = np.arange(len(points))
    while True:
        spread = np.array([group[together[ix]].min() for ix in range(len(points))])
        if (spread == group).all():
            break
        group = spread
    places = []
    taken: Any = Polygon()
    for first in np.unique(group):
        members = np.flatnonzero(group == first)
        circle = shapely.union_all(
            [shapely.Point(where[ix]).buffer(radius[ix], quad_segs=8) for ix in members],
        )
        places.append(_Place(tuple(points[ix] for ix in members), shapely.difference(circle, taken)))
        taken = shapely.union(taken, circle)
    return places


def _labelled_faces(
    strip: Any, chain: LineString, belts: int, places: list[_Place]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The strip cut into faces, each with its label: 0..belts-1 a belt by nearest border, then the crossing points."""
    positions, _ = stations(chain, min(STEP_M, chain.length / belts / 4))
    beside = shapely.points(positions)
    belt_of = np.arange(len(beside)) * belts // len(beside)
    regions = shapely.get_parts(
        shapely.voronoi_polygons(shapely.multipoints(beside), extend_to=shapely.box(*strip.bounds), ordered=True)
    )
    lines = [shapely.boundary(strip)]
    lines += [shapely.boundary(shapely.coverage_union_all(regions[belt_of == belt])) for belt in range(belts)]
    lines += [shapely.boundary(place.circle) for place in places]
    noded = shapely.union_all(lines, grid_size=1.0)
    faces = shapely.get_parts(shapely.polygonize([noded]))
    inner = shapely.point_on_surface(faces)
    _, within = shapely.STRtree(inner).query(tiles(strip), predicate="intersects")
    faces, inner = faces[np.unique(within)], inner[np.unique(within)]
    _, nearest = shapely.STRtree(beside).query_nearest(inner, all_matches=False)
    label = belt_of[nearest]
    for number, place in enumerate(places):
        label[shapely.contains(place.circle, inner)] = belts + number
    return faces, label


def _crumbs_joined(faces: NDArray[Any], label: NDArray[np.int64], belts: int) -> NDArray[np.int64]:
    """Labels in which a small detached part of a zone goes to the zone that it touches along the longest edge."""
    for _ in range(3):
        parts: list[Any] = []
        owner: list[int] = []
        for number in np.unique(label):
            pieces = shapely.get_parts(shapely.coverage_union_all(faces[label == number]))
            parts.extend(pieces)
            owner.extend([int(number)] * len(pieces))
        shapes, owners = np.array(parts, dtype=object), np.array(owner)
        areas = shapely.area(shapes)
        largest = {int(number): areas[owners == number].max() for number in np.unique(owners)}
        tree = shapely.STRtree(shapes)
        moved = label.copy()
        inner = shapely.point_on_surface(faces)
        for ix in np.flatnonzero(areas < np.maximum(CRUMB_M2, 0.15 * np.array([largest[int(o)] for o in owners]))):
            if areas[ix] == largest[int(owners[ix])]:
                continue
            beside = [near for near in tree.query(shapes[ix], predicate="touches") if owners[near] != owners[ix]]
            edges = [shapely.length(shapely.intersection(shapes[ix], shapes[near])) for near in beside]
            if edges and max(edges) > 0:
                moved[shapely.contains(shapes[ix], inner)] = owners[beside[int(np.argmax(edges))]]
        if (moved == label).all():
            break
        label = moved
    return label


def _short_belts_joined(
    faces: NDArray[Any], label: NDArray[np.int64], belts: int, border: Border, plane: Plane
) -> NDArray[np.int64]:
    """Labels in which every belt has enough border left; a shorter one joins the shorter belt beside it."""
    face_border_m = border_lengths(plane.to_metres(border.line), faces)
    label = label.copy()
    while True:
        border_m = np.bincount(label, weights=face_border_m, minlength=belts)
        present = [int(number) for number in np.unique(label) if number < belts]
        belt = min(present, key=lambda number: border_m[number], default=None)
        if belt is None or len(present) == 1 or border_m[belt] >= SHORTEST_BELT_M:
            return label
        place = present.index(belt)
        beside = [present[near] for near in (place - 1, place + 1) if 0 <= near < len(present)]
        label[label == belt] = min(beside, key=lambda number: border_m[number])


def _zone_shapes(faces: NDArray[Any], label: NDArray[np.int64], plane: Plane) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Zone geometries in degrees, simplified together so that shared edges stay shared, and their labels."""
    owner = np.unique(label)
    whole = np.array([shapely.coverage_union_all(faces[label == number]) for number in owner], dtype=object)
    simple = shapely.coverage_simplify(whole, TOLERANCE_M)
    solid = np.array([_without_specks(shape) for shape in simple], dtype=object)
    degrees = plane.to_degrees(solid)
    rounded = shapely.transform(degrees, lambda positions: np.round(positions, 5))
    return rounded, owner


def _without_specks(shape: Any) -> Any:
    parts = shapely.get_parts(shape)
    kept = [part for part in parts if part.area > 100_000.0] or [max(parts, key=lambda part: part.area)]
    return kept[0] if len(kept) == 1 else MultiPolygon(kept)


def _features(
    border: Border,
    home: str,
    chain: LineString,
    plane: Plane,
    places: list[_Place],
    belts: int,
    shapes: NDArray[Any],
    owner: NDArray[np.int64],
) -> list[dict[str, Any]]:
    middle = [_middle_km(shape, chain, plane) for shape in shapes]
    sectors = _sectors(home, shapes, np.array(middle), chain.length / 1_000, border)
    towns = _towns(border.border_id, home)
    features, number = [], 0
    for shape, label, km, sector in zip(shapes, owner.tolist(), middle, sectors, strict=True):
        if label < belts:
            number += 1
            zone_id, kind = f"{border.border_id}-{number:03d}", ZoneKind.BELT
            name = f"{sector[1]}, km {km:.0f}{_near(towns, shape)}"
            provenance: dict[str, Any] = {"source": border.source, "licence": border.licence}
        else:
            points = places[label - belts].points
            zone_id, kind = (
                f"{border.border_id}-x-{slug(points[0].name_ascii) or slug(points[0].id)}",
                ZoneKind.CROSSING_POINT,
            )
            name = " / ".join(point.name for point in points)
            provenance = {
                "source": f"{border.source}; {points[0].source}",
                "licence": border.licence,
                "confidence": max((point.confidence for point in points), key=GRADES.index),
                "crossing_points": [
                    {
                        "id": point.id,
                        "name": point.name,
                        "lon": point.lon,
                        "lat": point.lat,
                        "uncertainty_m": point.uncertainty_m,
                        "confidence": point.confidence,
                        "source": point.source,
                        "licence": point.licence,
                    }
                    for point in points
                ],
            }
        features.append(
            {
                "type": "Feature",
                "properties": {
                    "zone_id": zone_id,
                    "sector_id": sector[0],
                    "kind": kind.value,
                    "name": name,
                    "border_km": round(km, 1),
                    **provenance,
                },
                "geometry": _plain(shape),
            }
        )
    return features


def _middle_km(shape: Any, chain: LineString, plane: Plane) -> float:
    """How far along the border a zone lies, in km from the northern end."""
    ground = plane.to_metres(shape)
    beside = shapely.intersection(chain, shapely.buffer(ground, 300.0))
    if beside.is_empty:
        return float(chain.project(ground.centroid)) / 1_000
    parts = shapely.get_parts(beside)
    at = [chain.project(part.interpolate(0.5, normalized=True)) for part in parts]
    return float(np.average(at, weights=shapely.length(parts))) / 1_000


def _sectors(
    home: str, shapes: NDArray[Any], middle_km: NDArray[np.float64], whole_km: float, border: Border
) -> list[tuple[str, str]]:
    """Per zone its sector and the sector's name: the province with the largest share of it, else about 100 km."""
    provinces = _provinces(home)
    if not provinces:
        count = max(1, round(whole_km * 1_000 / SECTOR_LENGTH_M))
        places = np.minimum((middle_km / whole_km * count).astype(int), count - 1)
        return [(f"{border.border_id}-s{place + 1:02d}", f"{border.border_id} sector {place + 1}") for place in places]
    ground = np.array([province[2] for province in provinces], dtype=object)
    overlaps = shapely.area(shapely.intersection(shapes[:, None], ground[None, :]))
    return [provinces[int(best)][:2] for best in overlaps.argmax(axis=1)]


def _provinces(home: str) -> list[tuple[str, str, Any]]:
    """The provinces of a country that we hold: sector id, name, ground in degrees (a bundled file per country)."""
    try:
        collection = bundled_collection(f"provinces_{home.lower()}.geojson")
    except FileNotFoundError:
        return []
    return [
        (
            f"{home}-{slug(feature['properties']['name_en'])}",
            str(feature["properties"]["name"]),
            shapely.from_geojson(_as_text(feature["geometry"])),
        )
        for feature in collection["features"]
    ]


def _towns(border_id: str, home: str) -> list[tuple[float, str, Any]]:
    """Populated places on the home side, largest first."""
    rows = [row for row in bundled_rows("places.csv") if row["border"] == border_id and row["countrycode"] == home]
    towns = [
        (float(row["population"]), row["name"], shapely.Point(float(row["longitude"]), float(row["latitude"])))
        for row in rows
    ]
    return sorted(towns, key=lambda town: (-town[0], town[1]))


def _near(towns: list[tuple[float, str, Any]], shape: Any) -> str:
    for _, name, position in towns:
        if shapely.intersects(shape, position):
            return f", by {name}"
    return ""


def _attribution(border: Border, home: str) -> str:
    said = [border.attribution, "places: GeoNames, CC BY 4.0"]
    if _provinces(home):
        said.append(str(bundled_collection(f"provinces_{home.lower()}.geojson")["attribution"]))
    return "; ".join(said)


def _plain(shape: Any) -> dict[str, Any]:
    """A shape as GeoJSON lists of numbers."""
    polygons = [
        [shapely.get_coordinates(ring).tolist() for ring in (part.exterior, *part.interiors)]
        for part in shapely.get_parts(shape)
    ]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}
