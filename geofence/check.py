"""What must hold of a zone grid before anything is counted in it (design.md, section 4.3).

Nothing is ever repaired: a grid that breaks a rule is refused with the zone and the rule. Sizes were capped when the
grid was read (`grid.py`), so validity is asked only of geometry that can be answered for quickly.

Border length is measured in steps of 50 m along the line; a step counts for the zone nearest to its middle, and for
no other. The zone may lie off by the line's own error (150 m typically, 450 m at p95): up to 500 m, but by no more than
three times the distance that its nearest quarter of steps keeps, and 50 m; so the line that runs on beyond a zone's end
adds little. 150 m are forgiven.
"""

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geofence.border import ordered_chain
from geofence.grid import GridError, ZoneGrid, ZoneKind
from geofence.metres import plane_around, stations
from geofence.side import ground_abroad, sides

STEP_M = 50.0
REACH_M = 500.0
LINE_ERROR_M = 150.0
STRIP_DEPTH_M = 50_000.0
MIN_BELT_BORDER_M = 10_000.0
MIN_CROSSING_POINT_BORDER_M = 2_000.0
MAX_AREA_M2 = 2_500e6
# Edges rounded apart by a metre over 20 km still touch; more is an overlap.
TOUCH_M2 = 20_000.0
MAX_EDGE_MEETINGS = 200_000


def check_zone_grid(grid: ZoneGrid, border_line: Any | None) -> None:
    """Nothing, if the grid keeps every rule; otherwise GridError with the first zone and rule broken.

    Without a border line the rules that need one (inside the strip, border length) cannot be asked and are not.
    """
    for zone in grid.zones:
        if not zone.geometry.is_valid:
            raise GridError(zone.zone_id, "a zone is simple and valid")
    shapes = np.array([zone.geometry for zone in grid.zones], dtype=object)
    plane = plane_around(shapes)
    ground = plane.to_metres(shapes)
    line = None if border_line is None else plane.to_metres(border_line)
    if line is not None:
        _check_near_the_line(grid, ground, line)
    for zone, area in zip(grid.zones, shapely.area(ground), strict=True):
        if area > MAX_AREA_M2:
            raise GridError(zone.zone_id, "a zone has at most 2,500 km2")
    _check_no_overlap(grid, ground)
    if line is not None:
        _check_home_side(grid, ground, line)
        _check_border_lengths(grid, ground, line)


def border_lengths(line: Any, ground: NDArray[Any]) -> NDArray[np.float64]:
    """Metres of border per zone; line and zones on one plane in metres.

    >>> line = shapely.LineString([(0, 0), (10_000, 0)])
    >>> border_lengths(line, np.array([shapely.box(0, 0, 4_000, 100), shapely.box(4_000, 0, 9_000, 100)])).tolist()
    [4000.0, 5050.0]
    """
    positions, lengths = stations(line, STEP_M)
    points = shapely.points(positions)
    (step, zone), distance = shapely.STRtree(ground).query_nearest(
        points, max_distance=REACH_M, return_distance=True, all_matches=False
    )
    reach = np.zeros(len(ground))
    for ix in np.unique(zone):
        reach[ix] = 3 * np.quantile(distance[zone == ix], 0.25) + STEP_M
    beside = distance <= reach[zone]
    total = np.zeros(len(ground))
    np.add.at(total, zone[beside], lengths[step[beside]])
    return total


def _check_near_the_line(grid: ZoneGrid, ground: NDArray[Any], line: Any) -> None:
    vertices, owner = shapely.get_coordinates(ground, return_index=True)
    west, south, east, north = line.bounds
    # Far boxes first: distances to a long line are asked only of what could be near it.
    near = (vertices >= (west - STRIP_DEPTH_M, south - STRIP_DEPTH_M)).all(axis=1)
    near &= (vertices <= (east + STRIP_DEPTH_M, north + STRIP_DEPTH_M)).all(axis=1)
    shapely.prepare(line)
    near[near] = shapely.dwithin(line, shapely.points(vertices[near]), STRIP_DEPTH_M)
    if not near.all():
        zone = grid.zones[int(owner[int(np.argmin(near))])]
        raise GridError(zone.zone_id, "a zone lies within 50 km of the border line")


def _check_no_overlap(grid: ZoneGrid, ground: NDArray[Any]) -> None:
    one, other = shapely.STRtree(ground).query(ground, predicate="intersects")
    for a, b in zip(one.tolist(), other.tolist(), strict=True):
        if a >= b:
            continue
        # Entangled outlines first: neither their intersection nor a relate predicate may be asked for.
        if _edges_meet_often(ground[a], ground[b]) or shapely.intersection(ground[a], ground[b]).area > TOUCH_M2:
            raise GridError(grid.zones[b].zone_id, "zones do not overlap; their edges may touch")


def _edges_meet_often(one: Any, other: Any) -> bool:
    """Whether two outlines are entangled so often that cutting them would take minutes; only malice draws that."""
    edges, across = (_edges(shape) for shape in (one, other))
    tree = shapely.STRtree(edges)
    met = 0
    for start in range(0, len(across), 50):
        met += tree.query(across[start : start + 50]).shape[1]
        if met > MAX_EDGE_MEETINGS:
            return True
    return False


def _edges(shape: Any) -> NDArray[Any]:
    rings = shapely.get_rings(shapely.get_parts(shape))
    parts = []
    for ring in rings:
        vertices = shapely.get_coordinates(ring)
        parts.append(np.stack([vertices[:-1], vertices[1:]], axis=1))
    edges: NDArray[Any] = shapely.linestrings(np.concatenate(parts))
    return edges


def _check_border_lengths(grid: ZoneGrid, ground: NDArray[Any], line: Any) -> None:
    for zone, length in zip(grid.zones, border_lengths(line, ground).tolist(), strict=True):
        if zone.kind is ZoneKind.BELT and length + LINE_ERROR_M < MIN_BELT_BORDER_M:
            raise GridError(zone.zone_id, "a belt has at least 10 km of border")
        if zone.kind is ZoneKind.CROSSING_POINT and length + LINE_ERROR_M < MIN_CROSSING_POINT_BORDER_M:
            raise GridError(zone.zone_id, "a crossing point has at least 2 km of border")


def _check_home_side(grid: ZoneGrid, ground: NDArray[Any], line: Any) -> None:
    chain = ordered_chain(line)
    far_side = ground_abroad(chain, ground, STRIP_DEPTH_M)
    if far_side.area < 0.25 * shapely.area(sides(chain, STRIP_DEPTH_M)).sum():
        raise GridError(None, "all zones lie on one side of the border line")
    abroad = shapely.buffer(far_side, -REACH_M)
    over = shapely.area(shapely.intersection(ground, abroad))
    for zone, beyond, area in zip(grid.zones, over.tolist(), shapely.area(ground).tolist(), strict=True):
        if beyond > 0.02 * area:
            raise GridError(zone.zone_id, "a zone lies on the home side of the border line")
