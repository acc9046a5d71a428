"""The roads that lead to a crossing point: a bundled few, or a file of your own.

A crossing point's zone is a circle as wide as its position is uncertain. Traffic that queues, rests or is turned back
lies further inland, along the road: followed from the edge of the circle for some kilometres, the road widens the zone.
"""

import heapq
import json
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import MultiLineString, Polygon
from shapely.ops import substring

from geofence.border import BorderError, said_by
from geofence.bundled_files import bundled_collection
from geofence.rules import BorderRule
from geofence.vector_file import VectorFileError, read_collection

HALF_WIDTH_M = 1_000.0
CLEAR_OF_LINE_M = 1_000.0
"""A road that runs along the border, nearer than this, takes no border from the belt beside it."""
JOIN_M = 1.0
MAX_PIECES = 50_000


@dataclass(frozen=True, slots=True)
class Roads:
    """Road lines in WGS84, and what must be shown with them."""

    lines: MultiLineString
    attribution: str


def read_roads(path: str | Path) -> Roads:
    """The roads in a geometry file of lines, of any format that is read here; BorderError if it holds anything else."""
    try:
        document = read_collection(Path(path))
    except VectorFileError as refused:
        raise BorderError(refused.rule) from None
    parts: list[Any] = []
    for feature in document["features"]:
        geometry = feature.get("geometry") if isinstance(feature, dict) else None
        if not isinstance(geometry, dict) or geometry.get("type") not in ("LineString", "MultiLineString"):
            raise BorderError(BorderRule.ROADS)
        try:
            parts.extend(shapely.get_parts(shapely.from_geojson(json.dumps(geometry))))
        except (shapely.errors.ShapelyError, ValueError):
            raise BorderError(BorderRule.ROADS) from None
        if len(parts) > MAX_PIECES:
            raise BorderError(BorderRule.ROADS)
    positions = shapely.get_coordinates(parts)
    if len(positions) == 0 or not np.isfinite(positions).all():
        raise BorderError(BorderRule.ROADS)
    if (np.abs(positions) > (180, 90)).any():
        raise BorderError(BorderRule.IN_RANGE)
    return Roads(MultiLineString(parts), said_by(document, "roads"))


@lru_cache(maxsize=1)
def bundled_roads() -> Roads:
    """The bundled main roads near the bundled borders; nodes are rounded to 0.001 degrees, about 100 m."""
    collection = bundled_collection("roads_near_borders.geojson")
    # The other class is straightened over up to 190 km and says nothing of where a road runs.
    short = [feature for feature in collection["features"] if feature["properties"]["class"] == "short"]
    lines = [line for feature in short for line in feature["geometry"]["coordinates"]]
    return Roads(MultiLineString(lines), f"roads: {collection['attribution']}")


def approach(circle: Any, roads: Any, ground: Any, line: Any, reach_m: float) -> Any:
    """The ground of a crossing point: its circle, and beside the roads that leave it, `reach_m` along each way.

    Roads, home ground and border line on one plane in metres. Within 1 km of the line the circle alone counts.

    >>> circle = shapely.Point(0, 0).buffer(2_000)
    >>> road = shapely.LineString([(0, 0), (-9_000, 0)])
    >>> line, ground = shapely.LineString([(0, -9_000), (0, 9_000)]), shapely.box(-10_000, -9_000, 0, 9_000)
    >>> [round(side, -3) for side in approach(circle, road, ground, line, 5_000.0).bounds]
    [-8000.0, -2000.0, 2000.0, 2000.0]
    """
    around = shapely.buffer(circle, reach_m)
    near = shapely.intersection(shapely.clip_by_rect(roads, *around.bounds), _clipped(ground, around))
    followed = _followed(shapely.difference(near, circle), shapely.boundary(circle), reach_m)
    if followed.is_empty:
        return circle
    beside = shapely.difference(
        shapely.buffer(followed, HALF_WIDTH_M, quad_segs=4),
        shapely.buffer(
            shapely.clip_by_rect(line, *shapely.buffer(around, 5_000.0).bounds), CLEAR_OF_LINE_M, quad_segs=4
        ),
    )
    joined = shapely.get_parts(shapely.union(circle, beside))
    return shapely.union_all(joined[shapely.intersects(joined, shapely.buffer(circle, -10.0))])


def _clipped(ground: Any, around: Any) -> Any:
    """The ground near a place; asked of the pieces of a strip, which are many and small."""
    return shapely.union_all(shapely.clip_by_rect(ground, *around.bounds))


def _followed(roads: Any, start: Any, reach_m: float) -> Any:
    """The stretches of road no further than `reach_m` along the road from the start (a line that they begin on)."""
    pieces = [piece for piece in shapely.get_parts(shapely.node(roads)) if piece.length > 0]
    if not pieces:
        return Polygon()
    ways: dict[tuple[int, int], list[tuple[tuple[int, int], int]]] = defaultdict(list)
    for ix, piece in enumerate(pieces):
        here, there = (_joint(piece.coords[end]) for end in (0, -1))
        ways[here].append((there, ix))
        ways[there].append((here, ix))
    joints = list(ways)
    on_start = shapely.dwithin(shapely.points(np.array(joints) * JOIN_M), start, 2 * JOIN_M)
    reached = {joint: 0.0 for joint, begins in zip(joints, on_start, strict=True) if begins}
    waiting = [(0.0, joint) for joint in reached]
    kept: list[Any] = []
    while waiting:
        gone_m, joint = heapq.heappop(waiting)
        if gone_m > reached[joint]:
            continue
        for beyond, ix in ways[joint]:
            piece = pieces[ix]
            away = piece if _joint(piece.coords[0]) == joint else shapely.reverse(piece)
            kept.append(substring(away, 0.0, reach_m - gone_m))
            at_m = gone_m + piece.length
            if at_m < reach_m and at_m < reached.get(beyond, np.inf):
                reached[beyond] = at_m
                heapq.heappush(waiting, (at_m, beyond))
    return shapely.union_all(kept)


def _joint(position: tuple[float, ...]) -> tuple[int, int]:
    return round(position[0] / JOIN_M), round(position[1] / JOIN_M)
