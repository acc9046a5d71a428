"""Zones from a border line: belts along it, crossing points cut out of them, sectors by province or by length."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import LineString, MultiLineString, MultiPolygon, Polygon

from geofence.border import Border, BorderError, ordered_chain, slug
from geofence.bundled_files import bundled_collection, bundled_rows
from geofence.check import MIN_BELT_BORDER_M, border_lengths, check_zone_grid, longest_gap_m
from geofence.crossing_points import CrossingPoint, bundled_crossing_points
from geofence.grid import GridError, ZoneGrid, ZoneKind, grid_from_document
from geofence.metres import Plane, plane_around, stations
from geofence.roads import Roads, approach, bundled_roads
from geofence.rules import BorderRule, GridRule
from geofence.sectors import Sectors, bundled_sectors, sectors_by_area, sectors_by_length
from geofence.side import ground_home, ground_to_the_left, tiles
from ingest.release import format_utc

CROSSING_POINT_RADIUS_M = 2_000.0
APPROACH_M = 5_000.0
CROSSING_POINT_AT_MOST_M = 10_000.0
STEP_M = 250.0
TOLERANCES_M = (80.0, 40.0, 20.0, 10.0, 5.0, 0.0)
"""How coarsely zones are drawn: the first of these that leaves no gap. Coarser ones eat spits between two meanders."""
MAX_GAP_M = 50.0
CRUMB_M2 = 2_000_000.0
FAR_M = 15_000.0
ISLET_M2 = 50_000.0
SPECK_M2 = 100_000.0
THIRD_COUNTRY_M = 1_000.0
# A belt cut short by a crossing point joins its neighbour; the margin keeps the built grid clear of the rule itself.
SHORTEST_BELT_M = MIN_BELT_BORDER_M + 500.0
GRADES = "ABC"
ID_LENGTH = 36


@dataclass(frozen=True, slots=True)
class _Place:
    """One crossing-point zone to be: official crossing points that cannot be told apart, and the ground of all."""

    points: tuple[CrossingPoint, ...]
    ground: Any


def build_zone_grid(
    border: Border,
    home: str,
    *,
    depth_m: float = 10_000,
    length_m: float = 25_000,
    valid_from: datetime,
    turn_hour_utc: int,
    crossing_points: tuple[CrossingPoint, ...] | None = None,
    roads: Roads | None = None,
    approach_m: float = APPROACH_M,
    sectors: Sectors | None = None,
) -> ZoneGrid:
    """The zone grid of one border on its home side, checked by the rules of `check.py`.

    `crossing_points` are those of the bundled list unless given; `roads` the bundled ones for a bundled border, and
    none for a line of your own. Crossing points nearer to each other than their uncertainty share a zone: traffic
    between them could not be told apart. Sectors are those given, else the provinces that we hold, else pieces of
    about 100 km. Raises BorderError or GridError with the rule broken.
    """
    if home not in (border.a, border.b):
        raise BorderError(BorderRule.HOME)
    if not 1_000 <= depth_m <= 50_000:
        raise BorderError(BorderRule.DEPTH)
    if not MIN_BELT_BORDER_M <= length_m <= 200_000:
        raise BorderError(BorderRule.LENGTH)
    if not 0 <= approach_m <= 30_000:
        raise BorderError(BorderRule.APPROACH)
    if valid_from.tzinfo is None:
        raise GridError(None, GridRule.START_TIME)
    points = bundled_crossing_points(border.border_id) if crossing_points is None else crossing_points
    roads = bundled_roads() if roads is None and border.bundled else roads
    sectors = bundled_sectors(home) if sectors is None else sectors
    plane = plane_around(border.line)
    line = plane.to_metres(border.line)
    chain = _from_north(ordered_chain(line), plane)
    strip = _home_strip(border, home, chain, plane, depth_m)
    places = _crossing_places(points, plane, line)
    used = roads if places and approach_m > 0 else None
    if used is not None:
        places = _with_approaches(places, plane.to_metres(used.lines), tiles(strip), line, approach_m)
    ways = _belts_by_way(chain, length_m)
    faces, label = _labelled_faces(strip, chain, ways, places)
    belts = int(ways.sum())
    label = _crumbs_joined(faces, label, belts)
    label = _short_belts_joined(faces, label, ways, border, plane)
    shapes, owner = _zone_shapes(faces, label, plane, line)
    features = _features(border, home, chain, plane, places, belts, shapes, owner, sectors)
    document = {
        "type": "FeatureCollection",
        "attribution": _attribution(border, home, sectors, used),
        "licence": border.licence,
        "border_id": border.border_id,
        "home": home,
        "depth_m": depth_m,
        "length_m": length_m,
        "approach_m": approach_m if used is not None else 0,
        "valid_from": format_utc(valid_from),
        "turn_hour_utc": turn_hour_utc,
        "features": features,
    }
    grid = grid_from_document(document)
    check_zone_grid(grid, border.line)
    return grid


def _from_north(chain: Any, plane: Plane) -> Any:
    """The chain running from its northern end; numbering must not depend on how a file happens to be drawn.

    A ring begins at its northernmost place and runs clockwise; rings come from north to south after the chain.
    """
    ways, rings = [], []
    for way in shapely.get_parts(chain):
        if way.is_closed:
            ring = shapely.get_coordinates(way)[:-1]
            ring = ring[::-1] if shapely.is_ccw(shapely.linearrings(ring)) else ring
            first = int(np.argmax(ring[:, 1]))
            rings.append(LineString(np.concatenate([ring[first:], ring[: first + 1]])))
        else:
            ends = plane.to_degrees(shapely.points([way.coords[0], way.coords[-1]]))
            ways.append(way if ends[0].y >= ends[1].y else shapely.reverse(way))
    rings.sort(key=lambda ring: -float(ring.coords[0][1]))
    ways += rings
    return ways[0] if len(ways) == 1 else MultiLineString(ways)


def _belts_by_way(chain: Any, length_m: float) -> NDArray[np.int64]:
    """How many belts the chain has, and each ring."""
    lengths = shapely.length(shapely.get_parts(chain))
    belts: NDArray[np.int64] = np.maximum(1, np.rint(lengths / length_m)).astype(np.int64)
    return belts


def _home_strip(border: Border, home: str, chain: Any, plane: Plane, depth_m: float) -> Any:
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
        raise BorderError(BorderRule.HOME_GROUND)
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


def _crossing_places(points: tuple[CrossingPoint, ...], plane: Plane, line: Any) -> list[_Place]:
    """Crossing points grouped where one lies within the circle of another; the best known first."""
    if not points:
        return []
    there = plane.to_metres(shapely.points([(point.lon, point.lat) for point in points]))
    for point, away_m in zip(points, shapely.distance(there, line).tolist(), strict=True):
        if not away_m <= CROSSING_POINT_AT_MOST_M:
            raise BorderError(BorderRule.CROSSING_POINT_NEAR, feature=point.id)
    # A customs house lies inland, and what is counted is counted at the line.
    where = shapely.get_coordinates(shapely.get_point(shapely.shortest_line(line, there), 0))
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
        circle = shapely.union_all([shapely.Point(where[ix]).buffer(radius[ix], quad_segs=8) for ix in members])
        places.append(_Place(tuple(points[ix] for ix in members), shapely.difference(circle, taken)))
        taken = shapely.union(taken, circle)
    return places


def _with_approaches(places: list[_Place], roads: Any, home: NDArray[Any], line: Any, reach_m: float) -> list[_Place]:
    """The same places, each with the ground beside its approach roads; a road of two belongs to the better known."""
    circles = shapely.union_all([place.ground for place in places])
    taken: Any = Polygon()
    widened = []
    for place in places:
        whole = approach(place.ground, roads, home, line, reach_m)
        others = shapely.union(shapely.difference(circles, place.ground), taken)
        parts = shapely.get_parts(shapely.union(place.ground, shapely.difference(whole, others)))
        ground = shapely.union_all(parts[shapely.intersects(parts, shapely.buffer(place.ground, -10.0))])
        taken = shapely.union(taken, ground)
        widened.append(_Place(place.points, ground))
    return widened


def _labelled_faces(
    strip: Any, chain: Any, ways: NDArray[np.int64], places: list[_Place]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The strip cut into faces, each with its label: 0..belts-1 a belt by nearest border, then the crossing points."""
    along, belt_of = [], []
    for way, belts, before in zip(shapely.get_parts(chain), ways, np.cumsum(ways) - ways, strict=True):
        positions, _ = stations(way, min(STEP_M, way.length / belts / 4))
        along.append(positions)
        belt_of.append(before + np.arange(len(positions)) * belts // len(positions))
    beside, belt_at = shapely.points(np.concatenate(along)), np.concatenate(belt_of)
    regions = shapely.get_parts(
        shapely.voronoi_polygons(shapely.multipoints(beside), extend_to=shapely.box(*strip.bounds), ordered=True)
    )
    lines = [shapely.boundary(strip)]
    lines += [shapely.boundary(_merged(regions[belt_at == belt])) for belt in range(ways.sum())]
    lines += [shapely.boundary(place.ground) for place in places]
    noded = shapely.union_all(lines, grid_size=1.0)
    faces = shapely.get_parts(shapely.polygonize([noded]))
    inner = shapely.point_on_surface(faces)
    _, within = shapely.STRtree(inner).query(tiles(strip), predicate="intersects")
    faces, inner = faces[np.unique(within)], inner[np.unique(within)]
    _, nearest = shapely.STRtree(beside).query_nearest(inner, all_matches=False)
    label = belt_at[nearest]
    for number, place in enumerate(places):
        label[shapely.contains(place.ground, inner)] = ways.sum() + number
    return faces, label


def _merged(regions: NDArray[Any]) -> Any:
    try:
        return shapely.coverage_union_all(regions)
    except shapely.errors.GEOSException:
        # Round a ring the corners of many regions fall together in its middle, a hair apart; edges are noded later.
        return shapely.union_all(shapely.buffer(regions, 0.01, quad_segs=1))


def _crumbs_joined(faces: NDArray[Any], label: NDArray[np.int64], belts: int) -> NDArray[np.int64]:
    """Labels in which a small or far detached part of a zone goes to the zone that it touches along the longest edge."""
    for _ in range(3):
        parts: list[Any] = []
        owner: list[int] = []
        for number in np.unique(label):
            pieces = shapely.get_parts(shapely.coverage_union_all(faces[label == number]))
            parts.extend(pieces)
            owner.extend([int(number)] * len(pieces))
        shapes, owners = np.array(parts, dtype=object), np.array(owner)
        areas = shapely.area(shapes)
        ordered = np.argsort(-areas, kind="stable")
        main = {int(owner): int(ordered[np.argmax(owners[ordered] == owner)]) for owner in np.unique(owners)}
        main_of = np.array([main[int(owner)] for owner in owners])
        small = areas < np.maximum(CRUMB_M2, 0.15 * areas[main_of])
        far = shapely.distance(shapes, shapes[main_of]) > FAR_M
        tree = shapely.STRtree(shapes)
        moved = label.copy()
        inner = shapely.point_on_surface(faces)
        for ix in np.flatnonzero((small | far) & (main_of != np.arange(len(areas)))):
            beside = [near for near in tree.query(shapes[ix], predicate="touches") if owners[near] != owners[ix]]
            edges = [shapely.length(shapely.intersection(shapes[ix], shapes[near])) for near in beside]
            # A belt's ground goes to a belt where it can: a crossing point must not gain border from it.
            ranks = [(length > 0, owners[near] < belts, length) for near, length in zip(beside, edges, strict=True)]
            if edges and max(edges) > 0:
                moved[shapely.contains(shapes[ix], inner)] = owners[beside[ranks.index(max(ranks))]]
        if (moved == label).all():
            break
        label = moved
    return label


def _short_belts_joined(
    faces: NDArray[Any], label: NDArray[np.int64], ways: NDArray[np.int64], border: Border, plane: Plane
) -> NDArray[np.int64]:
    """Labels in which every belt has enough border left; a shorter one joins the shorter belt beside it.

    Beside it are the belts before and after it on its own way, unless a lake lies between; else the nearest of all.
    """
    face_border_m = border_lengths(plane.to_metres(border.line), faces)
    label = label.copy()
    way_of = np.repeat(np.arange(len(ways)), ways)
    while True:
        border_m = np.bincount(label, weights=face_border_m, minlength=len(way_of))
        present = np.unique(label[label < len(way_of)])
        if len(present) < 2:
            return label
        belt = int(present[np.argmin(border_m[present])])
        if border_m[belt] >= SHORTEST_BELT_M:
            return label
        ground = shapely.union_all(faces[label == belt])
        away_m = {
            int(other): float(shapely.distance(faces[label == other], ground).min())
            for other in present[present != belt]
        }
        way = present[way_of[present] == way_of[belt]]
        place = int(np.searchsorted(way, belt))
        beside = [int(way[near]) for near in (place - 1, place + 1) if 0 <= near < len(way)]
        near = [other for other in beside if away_m[other] <= FAR_M]
        label[label == belt] = (
            min(near, key=lambda other: border_m[other]) if near else min(away_m, key=lambda other: away_m[other])
        )


def _zone_shapes(
    faces: NDArray[Any], label: NDArray[np.int64], plane: Plane, line: Any
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Zone geometries in degrees, simplified together so that shared edges stay shared, and their labels."""
    owner = np.unique(label)
    whole = np.array([shapely.coverage_union_all(faces[label == number]) for number in owner], dtype=object)
    least_m = max(MAX_GAP_M, longest_gap_m(line, whole))
    for tolerance_m in TOLERANCES_M:
        simple = shapely.coverage_simplify(whole, tolerance_m)
        solid = np.array([_without_specks(shape) for shape in simple], dtype=object)
        if longest_gap_m(line, solid) <= least_m:
            break
    degrees = plane.to_degrees(solid)
    rounded = shapely.transform(degrees, lambda positions: np.round(positions, 5))
    return rounded, owner


def _without_specks(shape: Any) -> Any:
    parts = shapely.get_parts(shape)
    kept = [part for part in parts if part.area > SPECK_M2] or [max(parts, key=lambda part: part.area)]
    return kept[0] if len(kept) == 1 else MultiPolygon(kept)


def _features(
    border: Border,
    home: str,
    chain: Any,
    plane: Plane,
    places: list[_Place],
    belts: int,
    shapes: NDArray[Any],
    owner: NDArray[np.int64],
    areas: Sectors | None,
) -> list[dict[str, Any]]:
    middle = [_middle_km(shape, chain, plane) for shape in shapes]
    if areas is None:
        sectors = sectors_by_length(border.border_id, np.array(middle), chain.length / 1_000)
    else:
        sectors = sectors_by_area(shapes, areas, home)
    gates = _gate_ids(border.border_id, places)
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
            zone_id, kind = gates[label - belts], ZoneKind.CROSSING_POINT
            name = " / ".join(point.name for point in points)[:200]
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


def _gate_ids(border_id: str, places: list[_Place]) -> list[str]:
    """The zone_id of each crossing-point zone: by the name of its best known point, by the point's id where names agree."""
    names = [slug(place.points[0].name_ascii)[:ID_LENGTH] for place in places]
    return [
        f"{border_id}-x-{name if name and names.count(name) == 1 else place.points[0].id[:ID_LENGTH]}"
        for name, place in zip(names, places, strict=True)
    ]


def _middle_km(shape: Any, chain: Any, plane: Plane) -> float:
    """How far along the border a zone lies, in km from the northern end; rings are counted on after the chain."""
    ground = plane.to_metres(shape)
    near = shapely.buffer(ground, 300.0)
    at: list[float] = []
    weights: list[float] = []
    before_m = 0.0
    nearest = (np.inf, 0.0)
    for way in shapely.get_parts(chain):
        parts = [part for part in shapely.get_parts(shapely.intersection(way, near)) if part.length > 0]
        at += [before_m + float(way.project(part.interpolate(0.5, normalized=True))) for part in parts]
        weights += [float(part.length) for part in parts]
        nearest = min(nearest, (float(shapely.distance(way, ground)), before_m + float(way.project(ground.centroid))))
        before_m += float(way.length)
    return (float(np.average(at, weights=weights)) if sum(weights) > 0 else nearest[1]) / 1_000


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


def _attribution(border: Border, home: str, sectors: Sectors | None, roads: Roads | None) -> str:
    said = [border.attribution]
    if _towns(border.border_id, home):
        said.append("places: GeoNames, CC BY 4.0")
    said += [sectors.attribution] if sectors is not None else []
    said += [roads.attribution] if roads is not None else []
    return "; ".join(dict.fromkeys(said))[:1_000]


def _plain(shape: Any) -> dict[str, Any]:
    """A shape as GeoJSON lists of numbers."""
    polygons = [
        [shapely.get_coordinates(ring).tolist() for ring in (part.exterior, *part.interiors)]
        for part in shapely.get_parts(shape)
    ]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}
