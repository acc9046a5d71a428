"""Cell -> zone: where a sighting on a cell is counted, settled once per cell plan (design.md, sections 3 and 4.3)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import shapely
from numpy.typing import NDArray

from geofence.border import ordered_chain
from geofence.cell_plan import COLUMNS, KEY, OPTIONAL_COLUMNS, CellPlanError
from geofence.cover import Cover, cover_of
from geofence.footprint import WINDOW, Footprints, Masts, Weighed, in_units, masts, weighed
from geofence.grid import GridError, ZoneGrid, ZoneKind
from geofence.land_cover import CoverOnPlane, LandCover
from geofence.metres import Plane, plane_around
from geofence.overlap import overlapping
from geofence.propagation import FootprintModel
from geofence.raster import Floats, Ints, Regions, unique_tiles
from geofence.side import ground_abroad
from ingest.release import canonical_json

INLAND = -1
LINE_TOLERANCE_M = 20.0
LEAST_STRIP_M = 40_000.0
FARTHEST_M = 200_000.0
"""A plan none of whose masts stands this near to a zone is a plan of another place, or has its axes swapped."""
DECIMALS = 6
"""Shares are told in millionths: two equal halves do not turn on the last bit of an area, nor on a machine's own log."""
DEFAULT_MODEL = FootprintModel()


@dataclass(frozen=True, slots=True)
class LocatedPlan:
    """A cell plan put into the zones of a grid.

    `cells`: cell (Int32, the row's own index), rat, plmn, cell_id, zone (Int32 index into grid.zones, -1 = inland),
    share and share_abroad (Float64, of the footprint's whole mass), valid_from, valid_to; sorted by key and validity.
    `shares`: cell, zone (Int32), share (Float64) of every zone that a footprint reaches; sorted.
    `overlaps`: a, b (Int32), every ordered pair of different cells that count as one place: masts at most 300 m apart,
    or footprints whose sum of min(P) is above 0.25.
    `cover`: the ground by the line, and how the cells, in the order of their index, look at it.
    """

    cells: pl.DataFrame
    shares: pl.DataFrame
    overlaps: pl.DataFrame
    cover: Cover
    digest: str


def locate_cells(
    plan: pl.DataFrame,
    grid: ZoneGrid,
    border_line: Any,
    *,
    require_crossing_point_cells: bool = True,
    model: FootprintModel = DEFAULT_MODEL,
    land_cover: LandCover | None = None,
) -> LocatedPlan:
    """The plan's cells with the zone, or inland, that holds the largest share of each footprint.

    What lies beyond the border line is abroad, neither zone nor inland, and weighs as the model says. A cell all of whose
    mass lies abroad is given no zone. A crossing-point zone without a cell is refused when asked; so is a plan that stands
    nowhere near the grid.
    """
    plan = plan.select(*COLUMNS, *(name for name in OPTIONAL_COLUMNS if name in plan.columns))
    plan = plan.sort(*KEY, "valid_from", nulls_last=False)
    zones = np.array([zone.geometry for zone in grid.zones], dtype=object)
    plane = plane_around(zones)
    ground = plane.to_metres(zones)
    stand = masts(plan, plane, model)
    _refuse_elsewhere(stand, ground)
    line = plane.to_metres(border_line)
    among, prints = _shared_out(stand, _regions(ground, line, plan), model, land_cover, plane)
    shares, share_abroad, share_inland = among[:, :-2], among[:, -2], among[:, -1]
    zone = np.argmax(shares, axis=1)  # the first of equals
    share = shares[np.arange(len(zone)), zone]
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
    held, of_zone = np.nonzero(shares)
    reached = pl.DataFrame(
        {"cell": held.astype(np.int32), "zone": of_zone.astype(np.int32), "share": shares[held, of_zone]}
    )
    digest = plan_digest(plan, grid, model, land_cover)
    cover = cover_of(stand, ground, line, model)
    return LocatedPlan(cells, reached, overlapping(prints, stand.x, stand.y), cover, digest)


def valid_at(cells: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """The rows that are valid at an instant (valid_from, valid_to: open where null)."""
    return cells.filter(
        (pl.col("valid_from").is_null() | (pl.col("valid_from") <= at))
        & (pl.col("valid_to").is_null() | (pl.col("valid_to") > at))
    )


def coverage_document(located: LocatedPlan, grid: ZoneGrid, *, at: datetime | None = None) -> dict[str, Any]:
    """What may be said of how well a plan sees a grid: per zone whether it has cells, and where their mass lies.

    Plan values only: shares of ground, no count of anything. `purity` is the mean share of mass in the zone itself over
    the cells that are counted in it, each cell alike; `share_other_zones`, `share_inland` and `share_abroad` are the means
    of what is left, and the four sum to 1. `next_door` names the zones with at least a hundredth of it. All are null for a
    zone without cells. With `at` only cells valid then are looked at.
    """
    cells = located.cells if at is None else valid_at(located.cells, at)
    counted = cells.filter(pl.col("zone") >= 0)
    spread = (
        counted.select("cell", pl.col("zone").alias("counted_in"))
        .join(located.shares, on="cell", how="inner")
        .group_by("counted_in", "zone")
        .agg(pl.col("share").sum())
    )
    held: dict[int, dict[int, float]] = {}
    for counted_in, zone, share in spread.sort("counted_in", "zone").iter_rows():
        held.setdefault(counted_in, {})[zone] = share
    sums = counted.group_by("zone").agg(pl.len().alias("cells"), pl.col("share_abroad").sum())
    abroad = {zone: (cells, share) for zone, cells, share in sums.iter_rows()}
    return {
        "grid_id": grid.grid_id,
        "plan": located.digest,
        "zones": [
            {
                "zone_id": zone.zone_id,
                "has_cells": ix in abroad,
                **_purity(ix, held.get(ix, {}), *abroad.get(ix, (0, 0.0)), grid),
            }
            for ix, zone in enumerate(grid.zones)
        ],
    }


def _purity(ix: int, held: Mapping[int, float], cells: int, abroad: float, grid: ZoneGrid) -> dict[str, Any]:
    if not cells:
        return dict.fromkeys(("purity", "share_other_zones", "share_inland", "share_abroad", "next_door"))
    means = {zone: share / cells for zone, share in held.items()}
    own, others = means.get(ix, 0.0), sum(share for zone, share in means.items() if zone != ix)
    # Hundredths of what may lie next door; what is left of the whole is inland.
    told = {"purity": round(own, 3), "share_other_zones": round(others, 3), "share_abroad": round(abroad / cells, 3)}
    return {
        **told,
        "share_inland": round(max(0.0, 1.0 - sum(told.values())), 3),
        "next_door": {
            grid.zones[zone].zone_id: round(share, 3) for zone, share in means.items() if zone != ix and share >= 0.01
        },
    }


def plan_digest(
    plan: pl.DataFrame,
    grid: ZoneGrid,
    model: FootprintModel = DEFAULT_MODEL,
    land_cover: LandCover | None = None,
) -> str:
    """`sha256:…` over the grid_id, the footprint model, the land cover and the plan's content.

    The order of the rows does not matter.
    """
    optional = [
        pl.col(name) if name in plan.columns else pl.lit(None, pl.Float64).alias(name) for name in OPTIONAL_COLUMNS
    ]
    rows = [
        [value.isoformat() if isinstance(value, datetime) else value for value in row]
        for row in plan.select(*COLUMNS, *optional).sort(*KEY, "valid_from", nulls_last=False).iter_rows()
    ]
    stated = {
        "grid_id": grid.grid_id,
        "model": model.document(),
        "land_cover": None if land_cover is None else land_cover.digest,
        "cells": rows,
    }
    return "sha256:" + hashlib.sha256(canonical_json(stated)).hexdigest()


def _regions(ground: NDArray[Any], line: Any, plan: pl.DataFrame) -> Regions:
    """The zones and, last, all that lies beyond the border line as far as any cell reaches: never cropped at the line."""
    width_m = max(LEAST_STRIP_M, float(plan["range_m"].to_numpy().max()) + 10_000.0)
    chain = shapely.simplify(ordered_chain(line), LINE_TOLERANCE_M)
    shapes = np.empty(len(ground) + 1, dtype=object)
    shapes[:-1], shapes[-1] = ground, ground_abroad(chain, ground, width_m)
    return Regions(shapes)


def _shared_out(
    stand: Masts, regions: Regions, model: FootprintModel, land_cover: LandCover | None, plane: Plane
) -> tuple[Floats, Footprints]:
    """Per cell the shares of each zone, abroad and inland (in millionths of its mass), and all footprints."""
    count = len(stand.x)
    among = np.zeros((count, regions.count + 1))
    level, x, y = (np.zeros(count, dtype=np.int64) for _ in range(3))
    mass = np.zeros((count, WINDOW, WINDOW), dtype=np.uint32)
    cover = None if land_cover is None else land_cover.on(plane)
    for chunk in weighed(stand, model):
        held, tiled = _on_the_ground(chunk, regions, model, cover)
        whole = held.sum(axis=1)
        among[chunk.cells] = np.round(held / whole[:, None], DECIMALS)
        mass[chunk.cells] = in_units(tiled / whole[:, None, None])
        level[chunk.cells], x[chunk.cells], y[chunk.cells] = chunk.level, chunk.x, chunk.y
    return among, Footprints(level, x, y, mass)


def _on_the_ground(
    chunk: Weighed, regions: Regions, model: FootprintModel, cover: CoverOnPlane | None
) -> tuple[Floats, Floats]:
    """Per cell its mass in every zone, abroad and inland, and on every tile of its window."""
    cell, row, column = np.nonzero(chunk.weight)
    tile_x, tile_y, tile = unique_tiles(chunk.x[cell] + column, chunk.y[cell] + row)
    lies = regions.fractions(tile_x, tile_y, chunk.level)
    abroad = regions.count - 1
    weight = chunk.weight[cell, row, column]
    if cover is not None:
        weight = weight * cover.weights(tile_x, tile_y, chunk.level)[tile]
    # Zones may reach over the line by the line's own error: what is a zone's is not abroad.
    owner = np.repeat(np.arange(len(tile_x)), np.diff(lies.first))
    zoned = np.bincount(owner, weights=np.where(lies.region < abroad, lies.fraction, 0.0), minlength=len(tile_x))
    fraction = np.where(lies.region < abroad, lies.fraction, np.minimum(lies.fraction, 1.0 - zoned[owner]))
    taken = np.bincount(owner, weights=fraction, minlength=len(tile_x))
    side = np.where(lies.region == abroad, model.side_weight, 1.0) * fraction
    inland = np.clip(1.0 - taken, 0.0, 1.0)
    weighs = inland + np.bincount(owner, weights=side, minlength=len(tile_x))

    rows = np.diff(lies.first)[tile]
    entry = np.repeat(np.arange(len(tile)), rows)
    at = np.repeat(lies.first[tile] - np.cumsum(rows) + rows, rows) + np.arange(rows.sum())
    wide = regions.count + 1
    of_region = np.concatenate([cell[entry] * wide + lies.region[at], cell * wide + wide - 1])
    masses = np.concatenate([weight[entry] * side[at], weight * inland[tile]])
    held = np.bincount(of_region, masses, len(chunk.cells) * wide).astype(np.float64).reshape(-1, wide)
    tiled = np.zeros_like(chunk.weight)
    tiled[cell, row, column] = weight * weighs[tile]
    return held, tiled


def _refuse_elsewhere(stand: Masts, ground: NDArray[Any]) -> None:
    west, south, east, north = shapely.total_bounds(ground)
    off_x = np.maximum(np.maximum(west - stand.x, stand.x - east), 0.0)
    off_y = np.maximum(np.maximum(south - stand.y, stand.y - north), 0.0)
    if not (np.hypot(off_x, off_y) <= FARTHEST_M).any():
        raise CellPlanError(None, "a cell plan stands where its zone grid is: longitude comes first, then latitude")


def _refuse_silent_crossing_points(grid: ZoneGrid, zone: Ints) -> None:
    heard = set(zone.tolist())
    for ix, one in enumerate(grid.zones):
        if one.kind is ZoneKind.CROSSING_POINT and ix not in heard:
            raise GridError(one.zone_id, "a crossing-point zone has at least one cell")
