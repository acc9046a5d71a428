"""Which side of the border line is home: the ground on both sides, cut along the line.

One mechanism serves bundled borders and lines of your own: a wide strip around the line is cut by the line itself
(gaps bridged, ends prolonged), and the pieces that hold the zones are home. All coordinates are metres on a plane.
"""

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import LineString, Polygon

from geofence.border import BorderError
from geofence.metres import stations
from geofence.rules import BorderRule

ASIDE_M = 30.0
AT_ODDS = 0.15
"""Share of the places beside a line that may lie on the wrong side of it, where it nearly meets itself; more is a line
whose pieces are drawn in different directions."""
TREND_M = 5_000.0
NOWHERE = Polygon()


def sides(chain: Any, width_m: float, zones: Any = NOWHERE) -> NDArray[Any]:
    """The polygons into which the line cuts the strip that reaches `width_m` to both sides of it.

    Beyond its ends an open line is carried on straight, past the given zones; a ring (an enclave) has no ends.

    >>> line = LineString([(0, 0), (0, 1000)])
    >>> len(sides(line, 500.0))
    2
    """
    # The outer edge need not be exact, and a wide buffer of a detailed line takes most of the time.
    strip = shapely.buffer(shapely.simplify(chain, max(100.0, width_m / 50)), width_m, quad_segs=4)
    ways = [way if way.is_closed else _prolonged(way, 3 * width_m, zones) for way in shapely.get_parts(chain)]
    cut = shapely.union_all([shapely.boundary(strip), *ways])
    faces = shapely.get_parts(shapely.polygonize([cut]))
    inside = shapely.contains_properly(strip, shapely.point_on_surface(faces))
    within: NDArray[Any] = faces[inside]
    return within


def ground_home(chain: Any, held: NDArray[Any], width_m: float) -> Any:
    """The ground within `width_m` of the line on the side where the given shapes lie."""
    faces, home = _faces_held(chain, held, width_m)
    return shapely.union_all(faces[home])


def ground_abroad(chain: Any, zones: NDArray[Any], width_m: float) -> Any:
    """The ground within `width_m` of the line on the far side, where the zones do not lie."""
    faces, home = _faces_held(chain, zones, width_m)
    return shapely.union_all(faces[~home])


def _faces_held(chain: Any, held: NDArray[Any], width_m: float) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    faces = sides(chain, width_m, shapely.union_all(held))
    shape, face = shapely.STRtree(faces).query(held, predicate="intersects")
    area = np.zeros(len(faces))
    np.add.at(area, face, shapely.area(shapely.intersection(held[shape], faces[face])))
    # Shapes may reach over the line by the line's own error; a home piece is filled as thickly as the fullest one.
    density = area / shapely.area(faces)
    home: NDArray[np.bool_] = density >= 0.25 * density[int(np.argmax(area))]
    return faces, home


def ground_to_the_left(line: Any, chain: Any, width_m: float) -> Any:
    """The ground within `width_m` of the line, to its left as it is drawn.

    Raises BorderError where left and right cannot be told: pieces drawn in different directions.
    """
    faces = sides(chain, width_m)
    tree = shapely.STRtree(faces)
    left, right = (
        np.bincount(tree.query(shapely.points(places), predicate="within")[1], minlength=len(faces))
        for places in beside(line, 250.0, ASIDE_M)
    )
    if np.minimum(left, right).sum() > AT_ODDS * max(1, (left + right).sum()):
        raise BorderError(BorderRule.ONE_WAY)
    return shapely.union_all(faces[left > right])


def beside(line: Any, step_m: float, aside_m: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places to the left and to the right of a line as it is drawn, one pair a step, in metres.

    >>> left, right = beside(LineString([(0, 0), (0, 1000)]), 500.0, 30.0)
    >>> left[:, 0].tolist(), right[:, 0].tolist()
    ([-30.0, -30.0], [30.0, 30.0])
    """
    lefts, rights = [], []
    for part in shapely.get_parts(line):
        _, lengths = stations(part, step_m)
        at = np.cumsum(lengths) - lengths / 2
        back, ahead = (
            shapely.get_coordinates(shapely.line_interpolate_point(part, np.clip(at + step, 0, part.length)))
            for step in (-20.0, 20.0)
        )
        along = (ahead - back) / np.maximum(np.hypot(*(ahead - back).T), 1e-9)[:, None]
        middle, across = (back + ahead) / 2, aside_m * np.stack([-along[:, 1], along[:, 0]], axis=1)
        lefts.append(middle + across)
        rights.append(middle - across)
    return np.concatenate(lefts), np.concatenate(rights)


def tiles(ground: Any, most_vertices: int = 256) -> NDArray[Any]:
    """The same ground in pieces of few vertices, so that many small shapes meet it fast.

    >>> disc = shapely.Point(0, 0).buffer(1000.0, quad_segs=500)
    >>> pieces = tiles(disc)
    >>> len(pieces) > 4, round(float(shapely.area(pieces).sum() / disc.area), 6)
    (True, 1.0)
    """
    done: list[Any] = []
    waiting = list(shapely.get_parts(ground))
    while waiting:
        piece = waiting.pop()
        if piece.is_empty or piece.area == 0:
            continue
        if shapely.get_num_coordinates(piece) <= most_vertices:
            done.append(piece)
            continue
        west, south, east, north = piece.bounds
        if east - west >= north - south:
            middle = (west + east) / 2
            halves = [(west, south, middle, north), (middle, south, east, north)]
        else:
            middle = (south + north) / 2
            halves = [(west, south, east, middle), (west, middle, east, north)]
        for half in halves:
            clipped = shapely.intersection(piece, shapely.box(*half))
            waiting.extend(part for part in shapely.get_parts(clipped) if part.geom_type == "Polygon")
    return np.array(done, dtype=object)


def _prolonged(chain: LineString, by_m: float, zones: Any) -> LineString:
    """The line with both ends carried on straight."""
    reach = min(TREND_M, chain.length / 2)
    vertices = np.asarray(chain.coords)
    inner = [np.asarray(chain.interpolate(at).coords[0]) for at in (reach, chain.length - reach)]
    before = _carried_on(chain, vertices[0], inner[0], by_m, zones)
    after = _carried_on(chain, vertices[-1], inner[1], by_m, zones)
    return LineString(np.vstack([before, vertices, after]))


def _carried_on(
    chain: LineString, end: NDArray[np.float64], inner: NDArray[np.float64], by_m: float, zones: Any
) -> NDArray[np.float64]:
    """Where the line goes on beyond its end: past the zones, not through them, and else in its own direction."""
    outward = end - inner
    trend = np.arctan2(outward[1], outward[0])
    # From the trend outwards to both sides, so that the least turn wins among equals.
    turns = np.radians(np.array([turn * side for turn in range(0, 136, 5) for side in (1, -1)][1:]))
    directions = np.stack([np.cos(trend + turns), np.sin(trend + turns)], axis=1)
    starts = end + 1.0 * directions
    rays = shapely.linestrings(np.stack([starts, end + by_m * directions], axis=1))
    through = shapely.length(shapely.intersection(rays, zones))
    through = np.where(shapely.intersects(rays, chain), through + by_m, through)
    best = int(np.argmax(through <= through.min() + 200.0))
    beyond: NDArray[np.float64] = end + by_m * directions[best]
    return beyond
