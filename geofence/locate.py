"""Cell -> zone: where a sighting on a cell is counted, settled once per cell plan (design.md, sections 3 and 4.3)."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import shapely
from numpy.typing import NDArray

from geofence.border import ordered_chain
from geofence.cell_plan import COLUMNS, KEY
from geofence.footprint import footprints
from geofence.grid import GridError, ZoneGrid, ZoneKind
from geofence.metres import Plane, plane_around
from geofence.side import ground_abroad, tiles
from ingest.release import canonical_json

INLAND = -1
SAME_MAST_M = 300.0
OVERLAP = 0.25
LINE_TOLERANCE_M = 20.0
CHUNK = 200_000


@dataclass(frozen=True, slots=True)
class LocatedPlan:
    """A cell plan put into the zones of a grid.

    `cells`: cell (Int32, the row's own index), rat, plmn, cell_id, zone (Int32 index into grid.zones, -1 = inland),
    share and share_abroad (Float64, of the footprint's whole mass), valid_from, valid_to; sorted by key and validity.
    `overlaps`: a, b (Int32), every ordered pair of different cells that count as one place: masts at most 300 m apart,
    or footprints whose sum of min(P) is above 0.25.
    """

    cells: pl.DataFrame
    overlaps: pl.DataFrame
    digest: str


def locate_cells(
    plan: pl.DataFrame, grid: ZoneGrid, border_line: Any, *, require_crossing_point_cells: bool = True
) -> LocatedPlan:
    """The plan's cells with the zone, or inland, that holds the largest share of each footprint.

    Mass is uniform over a footprint. What lies beyond the border line is abroad, neither zone nor inland. A cell all
    of whose mass lies abroad is given no zone. A crossing-point zone without a cell is refused when asked.
    """
    plan = plan.select(COLUMNS).sort(*KEY, "valid_from", nulls_last=False)
    zones = np.array([zone.geometry for zone in grid.zones], dtype=object)
    plane = plane_around(zones)
    ground = plane.to_metres(zones)
    shapes = footprints(plan, plane)
    whole = shapely.area(shapes)
    zone, share, among_zones = _largest_shares(shapes, whole, ground)
    share_abroad = _shares_abroad(shapes, whole, ground, plane.to_metres(border_line), plan)
    share_abroad = np.minimum(share_abroad, 1.0 - among_zones)
    share_inland = np.clip(1.0 - among_zones - share_abroad, 0.0, 1.0)
    inland = (share_inland > share) | (share <= 0.0)
    zone = np.where(inland, INLAND, zone)
    cells = plan.select(
        pl.int_range(pl.len(), dtype=pl.Int32).alias("cell"),
        *KEY,
        pl.Series("zone", zone, dtype=pl.Int32),
        pl.Series("share", np.where(inland, share_inland, share), dtype=pl.Float64),
        pl.Series("share_abroad", share_abroad, dtype=pl.Float64),
        "valid_from",
        "valid_to",
    )
    if require_crossing_point_cells:
        _refuse_silent_crossing_points(grid, zone)
    return LocatedPlan(cells, _overlaps(plan, shapes, whole, plane), plan_digest(plan, grid))


def coverage_document(located: LocatedPlan, grid: ZoneGrid) -> dict[str, Any]:
    """What may be said of how well a plan sees a grid: per zone whether it has cells, and where their mass lies.

    Plan values only: shares of ground, no count of anything. `share_in_zone` and `share_abroad` are means over the
    zone's cells, null without any.
    """
    means = {
        row["zone"]: row
        for row in located.cells.group_by("zone")
        .agg(pl.col("share").mean(), pl.col("share_abroad").mean())
        .iter_rows(named=True)
    }
    return {
        "grid_id": grid.grid_id,
        "plan": located.digest,
        "zones": [
            {
                "zone_id": zone.zone_id,
                "has_cells": ix in means,
                "share_in_zone": round(means[ix]["share"], 3) if ix in means else None,
                "share_abroad": round(means[ix]["share_abroad"], 3) if ix in means else None,
            }
            for ix, zone in enumerate(grid.zones)
        ],
    }


def plan_digest(plan: pl.DataFrame, grid: ZoneGrid) -> str:
    """`sha256:…` over the grid_id and the plan's content, whatever the order of its rows."""
    rows = [
        [value.isoformat() if isinstance(value, datetime) else value for value in row]
        for row in plan.select(COLUMNS).sort(*KEY, "valid_from", nulls_last=False).iter_rows()
    ]
    return "sha256:" + hashlib.sha256(canonical_json({"grid_id": grid.grid_id, "cells": rows})).hexdigest()


def _largest_shares(
    shapes: NDArray[Any], whole: NDArray[np.float64], ground: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Per footprint the zone with the largest share (the first of equals), that share, and all zones' together."""
    pieces = [tiles(zone, 64) for zone in ground]
    owner = np.repeat(np.arange(len(ground)), [len(part) for part in pieces])
    cell, tile, area = _met(shapes, np.concatenate(pieces))
    count = len(ground)
    pair, back = np.unique(cell * count + owner[tile], return_inverse=True)
    held = np.bincount(back, weights=area, minlength=len(pair))
    cell, zone = pair // count, pair % count
    share = np.minimum(held / whole[cell], 1.0)
    among = np.minimum(np.bincount(cell, weights=share, minlength=len(shapes)), 1.0)
    # Millionths decide, so that two equal halves do not turn on the last bit of an area.
    best = np.lexsort((zone, -np.round(share, 6), cell))
    first = best[np.unique(cell[best], return_index=True)[1]]
    largest_zone = np.full(len(shapes), INLAND, dtype=np.int64)
    largest_share = np.zeros(len(shapes))
    largest_zone[cell[first]] = zone[first]
    largest_share[cell[first]] = share[first]
    return largest_zone, largest_share, among


def _shares_abroad(
    shapes: NDArray[Any], whole: NDArray[np.float64], ground: NDArray[Any], line: Any, plan: pl.DataFrame
) -> NDArray[np.float64]:
    """Per footprint the share of its mass beyond the border line."""
    width_m = max(40_000.0, float(plan["range_m"].to_numpy().max()) + 10_000.0)
    chain = shapely.simplify(ordered_chain(line), LINE_TOLERANCE_M)
    cell, _, area = _met(shapes, tiles(ground_abroad(chain, ground, width_m), 64))
    held = np.bincount(cell, weights=area, minlength=len(shapes))
    share: NDArray[np.float64] = np.minimum(held / whole, 1.0)
    return share


def _met(
    shapes: NDArray[Any], pieces: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Which shape meets which piece, and on how much ground."""
    tree = shapely.STRtree(pieces)
    shape, piece = tree.query(shapes, predicate="intersects")
    area = np.empty(len(shape))
    shapely.prepare(pieces)
    inside = shapely.contains_properly(pieces[piece], shapes[shape])
    area[inside] = shapely.area(shapes[shape[inside]])
    cut = np.flatnonzero(~inside)
    for start in range(0, len(cut), CHUNK):
        some = cut[start : start + CHUNK]
        area[some] = shapely.area(shapely.intersection(shapes[shape[some]], pieces[piece[some]]))
    return shape, piece, area


def _refuse_silent_crossing_points(grid: ZoneGrid, zone: NDArray[np.int64]) -> None:
    heard = set(zone.tolist())
    for ix, one in enumerate(grid.zones):
        if one.kind is ZoneKind.CROSSING_POINT and ix not in heard:
            raise GridError(one.zone_id, "a crossing-point zone has at least one cell")


def _overlaps(plan: pl.DataFrame, shapes: NDArray[Any], whole: NDArray[np.float64], plane: Plane) -> pl.DataFrame:
    x, y = plane.xy(plan["lon"].to_numpy(), plan["lat"].to_numpy())
    masts = shapely.points(x, y)
    one, other = shapely.STRtree(masts).query(masts, predicate="dwithin", distance=SAME_MAST_M)
    count = len(shapes)
    near = (one * count + other)[one < other]
    bounds = shapely.bounds(shapes)
    tree = shapely.STRtree(shapes)
    found = [near]
    step = 2_000
    for start in range(0, count, step):
        a, b = tree.query(shapes[start : start + step])
        a += start
        later = a < b
        a, b = a[later], b[later]
        # The share in common is at most that of the boxes, and of the smaller footprint: most pairs end here.
        larger = np.maximum(whole[a], whole[b])
        width = np.minimum(bounds[a, 2], bounds[b, 2]) - np.maximum(bounds[a, 0], bounds[b, 0])
        height = np.minimum(bounds[a, 3], bounds[b, 3]) - np.maximum(bounds[a, 1], bounds[b, 1])
        likely = (np.minimum(width * height, np.minimum(whole[a], whole[b])) > OVERLAP * larger) & ~np.isin(
            a * count + b, near
        )
        a, b, larger = a[likely], b[likely], larger[likely]
        common = shapely.area(shapely.intersection(shapes[a], shapes[b])) / larger
        found.append((a * count + b)[common > OVERLAP])
    pairs = np.unique(np.concatenate(found))
    a, b = pairs // count, pairs % count
    return pl.DataFrame(
        {"a": np.concatenate([a, b]).astype(np.int32), "b": np.concatenate([b, a]).astype(np.int32)}
    ).sort("a", "b")
