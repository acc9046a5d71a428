"""How long a nation's border plan takes to be put into its zones: 60,000 cells on 200 zones by default.

A made-up plan along a real border: masts in towns, in the country and far out, to 30 km inland; three sectors on each and
four layers, no two of one reach, one mast in ten all round. The grid is built first and is no part of the figure.

    python -m bench.locate [--cells 60000] [--zones 200] [--border US-MX --home US] [--shape propagation|sector]
"""

import argparse
import json
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import shapely

from bench.machine import measured, provenance
from geofence.border import read_border
from geofence.build import build_zone_grid
from geofence.cell_plan import checked_cell_plan
from geofence.grid import ZoneGrid
from geofence.locate import locate_cells
from geofence.metres import plane_around
from geofence.propagation import FootprintModel, Shape

SEED = 5
VALID_FROM = datetime(2026, 6, 24, 20, tzinfo=UTC)
LAYERS = {"GERA": 1.2, "UTRA": 0.8, "EUTRA": 1.0, "NR": 0.6}
# Share of masts, range of the widest layer in metres: towns, country, far out (notes/telecom.md, section 10).
SETTINGS = ((0.5, 700.0, 2_500.0), (0.35, 3_000.0, 7_000.0), (0.15, 8_000.0, 25_000.0))
INLAND_M = 30_000.0


def main() -> None:
    """Locate a made-up plan and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=60_000)
    parser.add_argument("--zones", type=int, default=200)
    parser.add_argument("--border", default="US-MX")
    parser.add_argument("--home", default="US")
    parser.add_argument("--shape", default=Shape.PROPAGATION.value, choices=[shape.value for shape in Shape])
    asked = parser.parse_args()
    border = read_border(asked.border)
    km = float(plane_around(border.line).to_metres(border.line).length) / 1_000
    length_m = max(10_000.0, math.floor(km / asked.zones * 10) * 100.0)
    grid = build_zone_grid(border, asked.home, valid_from=VALID_FROM, turn_hour_utc=20, length_m=length_m)
    plan = made_up_plan(grid, asked.cells)
    with measured() as cost:
        located = locate_cells(
            plan,
            grid,
            border.line,
            require_crossing_point_cells=False,
            model=FootprintModel(shape=Shape(asked.shape)),
        )
    row: dict[str, Any] = {
        **provenance(SEED),
        "border": border.border_id,
        "shape": asked.shape,
        "cells": located.cells.height,
        "zones": len(grid.zones),
        "in_zones": int((located.cells["zone"] >= 0).sum()),
        "overlapping_pairs": located.overlaps.height // 2,
        "seconds": round(cost.wall_s, 1),
        "cpu_seconds": round(cost.cpu_s, 1),
        "peak_memory_gb": round(cost.peak_rss_gb, 2),
    }
    print(json.dumps(row))


def made_up_plan(grid: ZoneGrid, cells: int) -> pl.DataFrame:
    """A checked plan of so many cells on masts in the zones and up to 30 km around them."""
    rng = np.random.default_rng(SEED)
    zones = np.array([zone.geometry for zone in grid.zones], dtype=object)
    plane = plane_around(zones)
    ground = plane.to_metres(zones)
    sites = -(-cells // (3 * len(LAYERS)))
    in_zone = rng.integers(0, len(ground), sites)
    beside = shapely.get_coordinates(shapely.point_on_surface(ground))[in_zone]
    towns = rng.random(sites) < SETTINGS[0][0]
    away = np.where(towns, 4_000.0, INLAND_M)[:, None] * rng.uniform(-1, 1, (sites, 2))
    setting = np.where(towns, 0, rng.choice([1, 2], sites, p=[0.7, 0.3]))
    low, high = (np.array([row[column] for row in SETTINGS])[setting] for column in (1, 2))
    reach = rng.uniform(low, high)
    lon, lat = shapely.get_coordinates(plane.to_degrees(shapely.points(beside + away))).T
    first_azimuth, all_round = rng.integers(0, 120, sites), rng.random(sites) < 0.1
    at, layer, sector = (
        part.ravel() for part in np.meshgrid(np.arange(sites), np.arange(len(LAYERS)), np.arange(3), indexing="ij")
    )
    digits = {"GERA": 8, "UTRA": 7, "EUTRA": 7, "NR": 9}
    rats = list(LAYERS)
    factor = np.array(list(LAYERS.values()))[layer] * rng.uniform(0.9, 1.1, len(at))
    directed = ~all_round[at]
    raw = pl.DataFrame(
        {
            "rat": [rats[one] for one in layer],
            "plmn": ["452-04"] * len(at),
            "cell_id": [
                f"{site * 8 + side + 1:0{digits[rats[one]]}x}"
                for site, one, side in zip(at, layer, sector, strict=True)
            ],
            "lon": np.round(lon[at], 6),
            "lat": np.round(lat[at], 6),
            "azimuth_deg": np.where(directed, (first_azimuth[at] + 120.0 * sector) % 360.0, np.nan),
            "beamwidth_deg": np.where(directed, 65.0, np.nan),
            "range_m": np.round(reach[at] * factor),
        }
    ).with_columns(
        pl.col("azimuth_deg", "beamwidth_deg").fill_nan(None),
        valid_from=pl.lit(None, pl.String),
        valid_to=pl.lit(None, pl.String),
    )
    return checked_cell_plan(raw.head(cells))


if __name__ == "__main__":
    main()
