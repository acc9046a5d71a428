"""The ground under a simulated border, in metres: zones, line, places and roads on the home side."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geofence.border import Border
from geofence.bundled_files import bundled_collection, bundled_rows
from geofence.grid import ZoneGrid, ZoneKind
from geofence.metres import Plane, plane_around

Floats = NDArray[np.float64]

INLAND_M = (12_000.0, 60_000.0)
DOORS_PER_ZONE = 3
DOOR_FROM_LINE_M = (200.0, 1_500.0)
BY_THE_LINE_M = 500.0
UNLISTED_POPULATION = 800.0  # GeoNames says 0 for a sixth of the places


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """Positions are (x, y) on `plane`; `from_line_m` is the distance to the border line."""

    plane: Plane
    zones: tuple[Any, ...]  # polygons in metres, in the grid's order
    crossing_point: NDArray[np.bool_]
    line: Any
    places: Floats  # home-side places, (n, 2)
    population: Floats
    roads: Any  # home-side roads of true shape, one multi-line, may be empty
    doors: tuple[
        Floats, ...
    ]  # by zone: where people cross; local openings in a belt, one gate in a crossing-point zone

    def from_line_m(self, xy: Floats) -> Floats:
        """Distance of each position to the border line."""
        return np.asarray(shapely.distance(shapely.points(xy), self.line))

    def lon_lat(self, xy: Floats) -> tuple[Floats, Floats]:
        """Degrees of positions in metres."""
        degrees = shapely.get_coordinates(self.plane.to_degrees(shapely.points(xy)))
        return degrees[:, 0], degrees[:, 1]

    def scatter(self, rng: np.random.Generator, zone: int, count: int) -> Floats:
        """`count` positions uniform in a zone."""
        shape = self.zones[zone]
        west, south, east, north = shape.bounds
        found: list[Floats] = []
        missing = count
        while missing > 0:
            tries = int(missing * 1.2 * (east - west) * (north - south) / shape.area) + 8
            xy = np.column_stack([rng.uniform(west, east, tries), rng.uniform(south, north, tries)])
            inside = xy[shapely.contains_xy(shape, xy[:, 0], xy[:, 1])][:missing]
            found.append(inside)
            missing -= len(inside)
        return np.concatenate(found) if found else np.zeros((0, 2))


def survey(grid: ZoneGrid, border: Border) -> Ground:
    """The ground of a grid: what of the bundled places and roads lies on its home side.

    Home is the country of most places inside the zones. A grid far from all bundled places gets none of them, and the
    simulation then spreads people and sites evenly.
    """
    shapes = np.array([zone.geometry for zone in grid.zones], dtype=object)
    plane = plane_around(shapes)
    zones = plane.to_metres(shapes)
    shapely.prepare(zones)
    strip = shapely.union_all(zones)
    around = strip.buffer(INLAND_M[1])
    line = shapely.simplify(plane.to_metres(border.line), 30.0)
    line = shapely.intersection(line, around)
    if line.is_empty:
        line = shapely.boundary(strip)
    # Cut to pieces: distances to many short lines through one prepared geometry are fast.
    shapely.prepare(line)

    places, population = _home_places(plane, zones, around)
    at_home = _on_home_side(places, strip, line)
    places, population = places[at_home], population[at_home]
    crossing_point = np.array([zone.kind is ZoneKind.CROSSING_POINT for zone in grid.zones], dtype=np.bool_)
    bare = Ground(plane, tuple(zones), crossing_point, line, places, population, _roads(plane, strip.buffer(2e3)), ())
    return replace(bare, doors=_doors(bare))


def _doors(ground: Ground) -> tuple[Floats, ...]:
    """Up to three places by the line in every zone, far from other zones and from each other where there is room.

    Where the tracks are belongs to the ground, not to a simulation's seed. At a crossing point all three are one gate.
    """
    rng = np.random.default_rng(0)
    outlines = shapely.simplify(np.array(ground.zones, dtype=object), 100.0)
    tree = shapely.STRtree(outlines)
    found: list[Floats] = []
    for zone, shape in enumerate(ground.zones):
        xy = ground.scatter(rng, zone, 600)
        from_line = ground.from_line_m(xy)
        near = (from_line > DOOR_FROM_LINE_M[0]) & (from_line < DOOR_FROM_LINE_M[1])
        # A zone may hold only a corner of the border.
        xy = xy[near] if near.any() else xy[np.argsort(from_line)[:10]]
        clear = np.full(len(xy), 6_000.0)
        for other in tree.query(shape.buffer(6_000.0)).tolist():
            if other != zone:
                clear = np.minimum(clear, shapely.distance(shapely.points(xy), outlines[other]))
        chosen = [int(np.argmax(clear))]
        if ground.crossing_point[zone]:
            chosen = np.argsort(distances_m(xy, xy[chosen])[:, 0])[:DOORS_PER_ZONE].tolist()
        while len(chosen) < min(DOORS_PER_ZONE, len(xy)):
            apart = distances_m(xy, xy[chosen]).min(axis=1)
            chosen.append(int(np.argmax(np.minimum(clear, apart))))
        found.append(xy[chosen])
    return tuple(found)


def distances_m(xy: Floats, to: Floats) -> Floats:
    """All distances, shape (len(xy), len(to))."""
    return np.asarray(np.hypot(xy[:, None, 0] - to[None, :, 0], xy[:, None, 1] - to[None, :, 1]))


def _home_places(plane: Plane, zones: Any, around: Any) -> tuple[Floats, Floats]:
    rows = bundled_rows("places.csv")
    lon = np.array([float(row["longitude"]) for row in rows])
    lat = np.array([float(row["latitude"]) for row in rows])
    x, y = plane.xy(lon, lat)
    near = np.isfinite(x) & np.isfinite(y)
    near[near] = shapely.contains_xy(around, x[near], y[near])
    points = shapely.points(np.column_stack([x, y])[near])
    rows = [row for row, kept in zip(rows, near, strict=True) if kept]
    inside, _ = shapely.STRtree(zones).query(points, predicate="within")
    votes = Counter(rows[at]["countrycode"] for at in inside.tolist())
    if not votes:
        return np.zeros((0, 2)), np.zeros(0)
    home = votes.most_common(1)[0][0]
    at_home = {
        row["geonameid"]: (float(px), float(py), float(row["population"]) or UNLISTED_POPULATION)
        for row, px, py in zip(rows, x[near], y[near], strict=True)
        if row["countrycode"] == home
    }
    listed = np.array(list(at_home.values()))
    return listed[:, :2], listed[:, 2]


def _on_home_side(places: Floats, strip: Any, line: Any) -> NDArray[np.bool_]:
    """Which places lie in the zones, or behind them: the nearest ground of the zones is not their edge by the line."""
    points = shapely.points(places)
    to_strip = shapely.shortest_line(points, strip)
    ends = shapely.get_point(to_strip, 1)
    return np.asarray(shapely.contains(strip, points) | (shapely.distance(ends, line) > BY_THE_LINE_M))


def _roads(plane: Plane, ground: Any) -> Any:
    parts: list[Any] = []
    west, south, east, north = shapely.total_bounds(plane.to_degrees(ground))
    for feature in bundled_collection("roads_near_borders.geojson")["features"]:
        # The other class is straightened over up to 190 km and says nothing of where a road runs.
        if feature["properties"]["class"] != "short":
            continue
        for part in feature["geometry"]["coordinates"]:
            lon, lat = np.array(part)[:, 0], np.array(part)[:, 1]
            if lon.max() >= west and lon.min() <= east and lat.max() >= south and lat.min() <= north:
                parts.append(shapely.LineString(part))
    if not parts:
        return shapely.MultiLineString()
    return shapely.intersection(plane.to_metres(shapely.MultiLineString(parts)), ground)
