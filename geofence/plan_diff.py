"""What changes between two versions of a cell plan, or between two instants of one: cells and the zones they count for."""

from dataclasses import dataclass
from datetime import datetime

import polars as pl
from pyproj import Geod

from geofence.cell_plan import KEY, OPTIONAL_COLUMNS
from geofence.grid import ZoneGrid
from geofence.locate import LocatedPlan, valid_at

MOVED_M = 10.0
"""A mast that is written nearer to where it stood has not moved: coordinates are rounded."""
_LOOKS = ("azimuth_deg", "beamwidth_deg", "range_m", *OPTIONAL_COLUMNS)


@dataclass(frozen=True, slots=True)
class Rezoned:
    """A cell of both versions that is counted elsewhere than before; None is inland or abroad."""

    cell: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class ZoneCells:
    """A zone's cells in both versions; `changed`: the share of those counted in it before or after that are not the same."""

    zone_id: str
    before: int
    after: int
    changed: float


@dataclass(frozen=True, slots=True)
class PlanDiff:
    """The difference of two plans on one grid. Cells are named `rat/plmn/cell_id`; a cell may be moved, turned and re-zoned.

    `turned`: another azimuth, beamwidth, range or height. `zones`: those in which anything changed.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    moved: tuple[str, ...]
    turned: tuple[str, ...]
    rezoned: tuple[Rezoned, ...]
    unchanged: int
    zones: tuple[ZoneCells, ...]


def cells_at(plan: pl.DataFrame, located: LocatedPlan, at: datetime) -> pl.DataFrame:
    """The cells of a plan that are valid at an instant, one row each: cell name, position, looks and zone."""
    heights = [] if "height_m" in plan.columns else [pl.lit(None, pl.Float64).alias("height_m")]
    placed = located.cells.select(*KEY, "valid_from", "valid_to", "zone").join(
        plan.with_columns(heights).select(*KEY, "valid_from", "lon", "lat", *_LOOKS),
        on=[*KEY, "valid_from"],
        how="left",
        nulls_equal=True,
        validate="1:1",
    )
    name = pl.concat_str(*KEY, separator="/").alias("name")
    return valid_at(placed, at).select(name, "lon", "lat", *_LOOKS, "zone").sort("name")


def diff_cells(before: pl.DataFrame, after: pl.DataFrame, grid: ZoneGrid) -> PlanDiff:
    """What changes from one table of `cells_at` to another, both on the same grid."""
    both = before.join(after, on="name", how="inner", suffix="_after").sort("name")
    lon, lat, lon_after, lat_after = (both[name].to_numpy() for name in ("lon", "lat", "lon_after", "lat_after"))
    _, _, apart = Geod(ellps="WGS84").inv(lon, lat, lon_after, lat_after)
    moved = pl.Series(apart, dtype=pl.Float64) > MOVED_M
    turned = both.select(pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_after")) for name in _LOOKS))
    turned_cells = turned.to_series(0)
    rezoned = both["zone"] != both["zone_after"]
    added = after.join(before, on="name", how="anti")["name"]
    removed = before.join(after, on="name", how="anti")["name"]
    changed = set(added) | set(removed) | set(both["name"].filter(moved | turned_cells | rezoned))
    return PlanDiff(
        tuple(added),
        tuple(removed),
        tuple(both["name"].filter(moved)),
        tuple(both["name"].filter(turned_cells)),
        tuple(
            Rezoned(name, _zone_id(grid, old), _zone_id(grid, new))
            for name, old, new in both.filter(rezoned).select("name", "zone", "zone_after").iter_rows()
        ),
        both.height - int((moved | turned_cells | rezoned).sum()),
        tuple(_zones(before, after, changed, grid)),
    )


def _zones(before: pl.DataFrame, after: pl.DataFrame, changed: set[str], grid: ZoneGrid) -> list[ZoneCells]:
    found = []
    for ix, zone in enumerate(grid.zones):
        old, new = (set(cells.filter(pl.col("zone") == ix)["name"]) for cells in (before, after))
        touched = (old | new) & changed
        if touched:
            share = round(len(touched) / len(old | new), 3)
            found.append(ZoneCells(zone.zone_id, len(old), len(new), share))
    return found


def _zone_id(grid: ZoneGrid, zone: int) -> str | None:
    return grid.zones[zone].zone_id if zone >= 0 else None
