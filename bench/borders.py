"""Every bundled border built and drawn: a contact sheet a border for a human eye, and what a machine can check of it.

Checked of each: every rule of `geofence.check`, overlap of zones, and the longest stretch of the line with no zone beside
it (`geofence.check.longest_gap_m`). Both home sides are built.
"""

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import shapely
from matplotlib.axes import Axes

from bench.machine import provenance
from geofence.border import Border, bundled_borders, read_border
from geofence.build import build_zone_grid
from geofence.check import check_home_country, longest_gap_m
from geofence.grid import ZoneGrid, ZoneKind
from geofence.metres import plane_around

VALID_FROM = datetime(2026, 6, 24, 20, tzinfo=UTC)
SHEETS = Path("docs/images/borders")


def main() -> None:
    """Print one row a border and side as JSON; draw the contact sheets of the first side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--border", action="append", help="only these; all 25 by default")
    parser.add_argument("--sheets", type=Path, help="folder to draw into")
    asked = parser.parse_args()
    rows = []
    for border_id in asked.border or bundled_borders():
        border = read_border(border_id)
        for home in (border.a, border.b):
            grid, row = build(border, home)
            rows.append(row)
            if asked.sheets and home == border.a:
                asked.sheets.mkdir(parents=True, exist_ok=True)
                draw(border, grid, asked.sheets / f"{border_id}.png")
    worst = {name: max(row[name] for row in rows) for name in ("longest_gap_m", "overlap_m2", "invalid", "seconds")}
    print(json.dumps({**provenance(0), "sides": len(rows), "worst": worst, "borders": rows}, indent=1))


def build(border: Border, home: str) -> tuple[ZoneGrid, dict[str, Any]]:
    """The grid of one side and its figures; raises GridError where a rule of `geofence.check` is broken."""
    began, cpu = time.perf_counter(), time.process_time()
    grid = build_zone_grid(border, home, valid_from=VALID_FROM, turn_hour_utc=20)
    check_home_country(grid, border)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    plane = plane_around(border.line)
    line = plane.to_metres(border.line)
    ground = plane.to_metres(np.array([zone.geometry for zone in grid.zones], dtype=object))
    kinds = [zone.kind for zone in grid.zones]
    row = {
        "border": border.border_id,
        "home": home,
        "km": round(line.length / 1_000),
        "zones": len(kinds),
        "crossing_points": kinds.count(ZoneKind.CROSSING_POINT),
        "sectors": len({zone.sector_id for zone in grid.zones}),
        "vertices": int(shapely.get_num_coordinates(ground).sum()),
        "invalid": int((~shapely.is_valid(ground)).sum()),
        "overlap_m2": round(overlap_m2(ground)),
        "longest_gap_m": round(longest_gap_m(line, ground)),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
    }
    return grid, row


def overlap_m2(ground: Any) -> float:
    """The ground that lies in two zones at once."""
    one, other = shapely.STRtree(ground).query(ground, predicate="intersects")
    pairs = one < other
    return float(shapely.area(shapely.intersection(ground[one[pairs]], ground[other[pairs]])).sum())


def draw(border: Border, grid: ZoneGrid, path: Path) -> None:
    """A contact sheet: the whole border, its zones by sector, crossing points filled, and the three closest looks."""
    figure = plt.figure(figsize=(11, 7.5), layout="constrained")
    grid_spec = figure.add_gridspec(3, 3)
    whole = figure.add_subplot(grid_spec[:, :2])
    _panel(whole, border, grid, None)
    whole.set_title(f"{border.name or border.border_id}: {len(grid.zones)} zones", fontsize=10)
    for place, box in enumerate(_closest_looks(grid)):
        _panel(figure.add_subplot(grid_spec[place, 2]), border, grid, box)
    figure.text(0.01, 0.005, grid.document["attribution"][:170], fontsize=5)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _panel(axes: Axes, border: Border, grid: ZoneGrid, box: tuple[float, float, float, float] | None) -> None:
    sectors = sorted({zone.sector_id for zone in grid.zones})
    colours = plt.get_cmap("tab20")
    for zone in grid.zones:
        crossing_point = zone.kind is ZoneKind.CROSSING_POINT
        fill = "black" if crossing_point else colours(sectors.index(zone.sector_id) % 20)
        for part in shapely.get_parts(zone.geometry):
            x, y = part.exterior.xy
            axes.fill(x, y, facecolor=fill, edgecolor="white", linewidth=0.4, alpha=0.75)
            for ring in part.interiors:
                axes.fill(*ring.xy, facecolor="white", edgecolor="white", linewidth=0.4)
    for part in shapely.get_parts(border.line):
        axes.plot(*part.xy, color="crimson", linewidth=0.7)
    if box is not None:
        axes.set_xlim(box[0], box[2])
        axes.set_ylim(box[1], box[3])
    middle = np.mean(axes.get_ylim())
    axes.set_aspect(1 / max(np.cos(np.radians(middle)), 0.1))
    axes.tick_params(labelsize=5)


def _closest_looks(grid: ZoneGrid) -> list[tuple[float, float, float, float]]:
    """Where to look: both ends of the numbering and the zone of the most parts or vertices."""
    zones = list(grid.zones)
    busiest = max(
        zones, key=lambda zone: (len(shapely.get_parts(zone.geometry)), shapely.get_num_coordinates(zone.geometry))
    )
    looks = []
    for zone in (zones[0], busiest, zones[-1]):
        west, south, east, north = zone.geometry.bounds
        margin = 0.3 * max(east - west, north - south)
        looks.append((west - margin, south - margin, east + margin, north + margin))
    return looks


if __name__ == "__main__":
    main()
