"""What must hold of a zone grid before anything is counted in it (design.md, section 4.3).

Nothing is ever repaired: a grid that breaks a rule is refused with the zone and the rule. Sizes were capped when the
grid was read (`grid.py`), so validity is asked only of geometry that can be answered for quickly.

Border length is measured in steps of 50 m along the line; a step counts for the zone nearest to its middle, and for
no other. The zone may lie off by the line's own error (150 m typically, 450 m at p95): up to 500 m, but by no more than
three times the distance that its nearest quarter of steps keeps, and 50 m; so the line that runs on beyond a zone's end
adds little. 150 m are forgiven.
"""

import json
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geofence.border import Border, ordered_chain
from geofence.bundled_files import bundled_collection
from geofence.grid import GridError, ZoneGrid, ZoneKind
from geofence.metres import plane_around, stations
from geofence.rules import GridRule
from geofence.side import beside, ground_abroad

STEP_M = 50.0
REACH_M = 500.0
LINE_ERROR_M = 150.0
STRIP_DEPTH_M = 50_000.0
MIN_BELT_BORDER_M = 10_000.0
MIN_CROSSING_POINT_BORDER_M = 2_000.0
MAX_AREA_M2 = 2_500e6
MIN_WIDTH_M = 500.0
MAX_APART_M = 50_000.0
# Edges rounded apart by a metre over 20 km still touch; more is an overlap.
TOUCH_M2 = 20_000.0
MAX_EDGE_MEETINGS = 200_000
OUTLINE_NEAR_DEG = 0.02
SIDE_TOLERANCE_M = 60.0
"""The line is taken this coarsely where only its sides are asked for; 500 m are forgiven there."""


def check_zone_grid(grid: ZoneGrid, border_line: Any | None) -> None:
    """Nothing, if the grid keeps every rule; otherwise GridError with the first zone and rule broken.

    Without a border line the rules that need one (inside the strip, border length) cannot be asked and are not.
    """
    for zone in grid.zones:
        if not zone.geometry.is_valid:
            raise GridError(zone.zone_id, GridRule.VALID)
    shapes = np.array([zone.geometry for zone in grid.zones], dtype=object)
    plane = plane_around(shapes)
    line = None
    if border_line is not None:
        # Zones on the other side of the world cannot be told on one plane with the line.
        plane = plane_around(border_line)
        line = plane.to_metres(border_line)
    ground = plane.to_metres(shapes)
    if line is not None:
        _check_near_the_line(grid, ground, line)
    for zone, area in zip(grid.zones, shapely.area(ground), strict=True):
        if area > MAX_AREA_M2:
            raise GridError(zone.zone_id, GridRule.AREA)
    _check_width(grid, ground)
    _check_parts_together(grid, ground)
    _check_no_overlap(grid, ground)
    if line is not None:
        _check_home_side(grid, ground, line)
        _check_border_lengths(grid, ground, line)


def check_home_country(grid: ZoneGrid, border: Border, home: str | None = None) -> None:
    """Nothing, if the zones lie in the country that is home; otherwise GridError.

    Home is said by the grid or given; where it is not, nothing can be asked. A country that we hold is known by
    its outline; else country a lies to the left of the line as it is drawn.
    """
    said = grid.document.get("home", home)
    if said is None:
        return
    if said not in (border.a, border.b) or (home is not None and home != said):
        raise GridError(None, GridRule.HOME_COUNTRY)
    shapes = np.array([zone.geometry for zone in grid.zones], dtype=object)
    outline = _outline(said)
    if outline is not None and shapely.dwithin(outline, border.line, OUTLINE_NEAR_DEG):
        shapely.prepare(outline)
        inside = shapely.contains(outline, shapely.point_on_surface(shapes))
        wrong = inside.mean() < 0.5
    else:
        plane = plane_around(border.line)
        tree = shapely.STRtree(plane.to_metres(shapes))
        left, right = (
            len(np.unique(tree.query(shapely.points(places), predicate="within")[0]))
            for places in beside(plane.to_metres(border.line), 250.0, 100.0)
        )
        wrong = (left < right) if said == border.a else (right < left)
    if wrong:
        raise GridError(None, GridRule.HOME_COUNTRY)


def grid_gap_m(grid: ZoneGrid, border_line: Any) -> int:
    """The longest stretch of a border, in metres, beside which the grid has no zone."""
    plane = plane_around(border_line)
    shapes = np.array([zone.geometry for zone in grid.zones], dtype=object)
    return round(longest_gap_m(plane.to_metres(border_line), plane.to_metres(shapes)))


def longest_gap_m(line: Any, ground: NDArray[Any]) -> float:
    """The longest stretch of the line beside which there is no zone, in metres; all on one plane in metres.

    A stretch counts where no zone lies within 150 m, the line's own error, of its steps of 25 m.

    >>> line = shapely.LineString([(0, 0), (10_000, 0)])
    >>> longest_gap_m(line, np.array([shapely.box(0, 0, 4_000, 900), shapely.box(6_300, 0, 10_000, 900)]))
    2000.0
    """
    longest = 0.0
    tree = shapely.STRtree(ground)
    for part in shapely.get_parts(line):
        positions, lengths = stations(part, STEP_M / 2)
        bare = np.ones(len(positions), dtype=bool)
        bare[tree.query(shapely.points(positions), predicate="dwithin", distance=LINE_ERROR_M)[0]] = False
        ends = np.flatnonzero(np.diff(np.concatenate([[0], bare.astype(int), [0]])))
        longest = max([longest, *(float(lengths[a:b].sum()) for a, b in zip(ends[::2], ends[1::2], strict=True))])
    return longest


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
        raise GridError(zone.zone_id, GridRule.NEAR_THE_LINE)


def _check_width(grid: ZoneGrid, ground: NDArray[Any]) -> None:
    # Where area / perimeter exceeds a radius, a circle of that radius fits in; the search is for doubtful zones only.
    doubtful = np.flatnonzero(shapely.area(ground) <= MIN_WIDTH_M / 2 * shapely.length(ground))
    for ix in doubtful.tolist():
        circle = shapely.maximum_inscribed_circle(ground[ix], tolerance=STEP_M)
        if circle.length + STEP_M < MIN_WIDTH_M / 2:
            raise GridError(grid.zones[ix].zone_id, GridRule.WIDTH)


def _check_parts_together(grid: ZoneGrid, ground: NDArray[Any]) -> None:
    for zone, shape in zip(grid.zones, ground, strict=True):
        parts = shapely.get_parts(shape)
        if len(parts) == 1:
            continue
        one, other = shapely.STRtree(parts).query(parts, predicate="dwithin", distance=MAX_APART_M)
        reached, border = np.zeros(len(parts), dtype=bool), np.array([0])
        while len(border):
            reached[border] = True
            border = np.setdiff1d(other[np.isin(one, border)], np.flatnonzero(reached))
        if not reached.all():
            raise GridError(zone.zone_id, GridRule.PARTS_TOGETHER)


def _check_no_overlap(grid: ZoneGrid, ground: NDArray[Any]) -> None:
    one, other = shapely.STRtree(ground).query(ground, predicate="intersects")
    for a, b in zip(one.tolist(), other.tolist(), strict=True):
        if a >= b:
            continue
        # Entangled outlines first: neither their intersection nor a relate predicate may be asked for.
        if _edges_meet_often(ground[a], ground[b]) or shapely.intersection(ground[a], ground[b]).area > TOUCH_M2:
            raise GridError(grid.zones[b].zone_id, GridRule.NO_OVERLAP)


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
            raise GridError(zone.zone_id, GridRule.BELT_BORDER)
        if zone.kind is ZoneKind.CROSSING_POINT and length + LINE_ERROR_M < MIN_CROSSING_POINT_BORDER_M:
            raise GridError(zone.zone_id, GridRule.CROSSING_POINT_BORDER)


def _check_home_side(grid: ZoneGrid, ground: NDArray[Any], line: Any) -> None:
    chain = shapely.simplify(ordered_chain(line), SIDE_TOLERANCE_M)
    far_side = ground_abroad(chain, ground, STRIP_DEPTH_M)
    # Ground abroad begins at the line; along most of it there is none only if zones lie on both sides.
    places, _ = stations(line, 1_000.0)
    away = shapely.get_parts(far_side)
    found = shapely.STRtree(away).query(shapely.points(places), predicate="dwithin", distance=3 * SIDE_TOLERANCE_M)
    if len(np.unique(found[0])) < 0.75 * len(places):
        raise GridError(None, GridRule.ONE_SIDE)
    abroad = shapely.buffer(far_side, -REACH_M)
    over = shapely.area(shapely.intersection(ground, abroad))
    for zone, beyond, area in zip(grid.zones, over.tolist(), shapely.area(ground).tolist(), strict=True):
        if beyond > 0.02 * area:
            raise GridError(zone.zone_id, GridRule.HOME_SIDE)


def _outline(iso2: str) -> Any:
    for feature in bundled_collection("countries.geojson")["features"]:
        if feature["properties"]["iso2"] == iso2:
            return shapely.from_geojson(json.dumps(feature["geometry"]))
    return None
