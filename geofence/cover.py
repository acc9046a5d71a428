"""Cover: the ground by the border line that a plan's cells reach, and what of it is bare when some of them are silent.

Phones on ground that no cell of their own network reaches fall onto the network across, if it is heard there. One mast may
hold all the service there is along some kilometres of line and be a small share of its zone's cells. All of it is known
from the plan, the grid and the names of the silent cells; nothing here is derived from devices.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geofence.footprint import Masts
from geofence.propagation import FootprintModel

Ints = NDArray[np.int32]
Floats = NDArray[np.float64]

BY_THE_LINE_M = 6_000.0
"""Ground so near to the line is looked at: farther inland a network across is hardly heard (a proposal, no measurement)."""
TILE_M = 500
LEAST_BARE_KM2 = 3.0
"""So much ground of one zone without any cell makes an hour doubtful (decision 0013 has what other sizes cost)."""
MAY_SERVE, STILL_SERVES = 1.3, 1.15
"""Phones hold on beyond the range of a plan. A silent cell may have served as far as 1.3 of its ranges, and a cell on air is
relied on as far as 1.15 of its own (decision 0013)."""
HELD = ("x_m", "y_m", "range_m", "bearing", "beamwidth", "exponent", "behind")
"""Columns of `Cover.cells`: metres on the plane, tenths of a degree, thousandths."""


@dataclass(frozen=True, slots=True, eq=False)
class Cover:
    """Where cells stand and how they look, and the tiles of ground by the line: whole numbers, so that it has one digest.

    `cells`: (cell, 7), the columns of HELD, in the order of the plan's cells; `tiles`: (tile, 3), the middle's x and y in
    metres and the zone's number, of every TILE_M square of zone within BY_THE_LINE_M of the border line.
    """

    cells: Ints
    tiles: Ints

    def reached(self, which: NDArray[np.int64], tiles: NDArray[np.int64], *, stretch: float = 1.0) -> NDArray[np.bool_]:
        """Which of the tiles any of the cells reaches, its range taken `stretch` times; both are given by number.

        The level there is no lower than on the beam's axis at the end of the range: by the antenna's pattern a cell
        reaches a little beside its beam, and behind it about a quarter of its range.
        """
        found = np.zeros(len(tiles), dtype=np.bool_)
        if not len(which) or not len(tiles):
            return found
        at = self.tiles[tiles, :2].astype(np.float64)
        x, y, reach, bearing, beam, exponent, behind = self.cells[which].astype(np.float64).T
        tree = shapely.STRtree(shapely.points(at))
        cell, tile = tree.query(shapely.points(x, y), predicate="dwithin", distance=reach * stretch)
        east, north = at[tile, 0] - x[cell], at[tile, 1] - y[cell]
        off_deg = np.abs((np.degrees(np.arctan2(east, north)) - bearing[cell] / 10 + 180.0) % 360.0 - 180.0)
        down_db = 12.0 * (off_deg / (beam[cell] / 10)) ** 2
        share = np.maximum(10.0 ** (-down_db / (exponent[cell] / 100)), behind[cell] / 1000)
        share[beam[cell] >= 3600] = 1.0
        found[tile[np.hypot(east, north) <= reach[cell] * stretch * share]] = True
        return found

    def bare_km2(self, silent: NDArray[np.int64], on_air: NDArray[np.int64]) -> dict[int, float]:
        """Per zone the ground, in km2, that the silent cells may have served and no cell on air reaches."""
        tiles = np.arange(len(self.tiles))
        served = tiles[self.reached(silent, tiles, stretch=MAY_SERVE)]
        bare = served[~self.reached(on_air, served, stretch=STILL_SERVES)]
        zone, count = np.unique(self.tiles[bare, 2], return_counts=True)
        return {int(one): float(many) * TILE_M**2 / 1e6 for one, many in zip(zone, count, strict=True)}

    def is_bare(self, silent: NDArray[np.int64], on_air: NDArray[np.int64]) -> bool:
        """Whether the silent cells leave so much ground of any one zone bare that its phones fall onto a network across."""
        return max(self.bare_km2(silent, on_air).values(), default=0.0) >= LEAST_BARE_KM2


def cover_of(stand: Masts, ground: NDArray[Any], line: Any, model: FootprintModel) -> Cover:
    """The cover of a plan's cells on zones and beside a line, all in metres on one plane."""
    behind = 10.0 ** (-model.front_to_back_db / (10.0 * stand.exponent))
    columns = (
        stand.x,
        stand.y,
        stand.range_m,
        stand.bearing_deg * 10,
        stand.beamwidth_deg * 10,
        stand.exponent * 1000,
        behind * 1000,
    )
    return Cover(np.rint(np.column_stack(columns)).astype(np.int32), _tiles(ground, line))


def _tiles(ground: NDArray[Any], line: Any) -> Ints:
    strip = shapely.buffer(shapely.simplify(line, TILE_M / 5), BY_THE_LINE_M, quad_segs=4)
    shapely.prepare(strip)
    found = []
    for zone, shape in enumerate(ground):
        near = shapely.intersection(shape, strip)
        if near.is_empty:
            continue
        shapely.prepare(near)
        west, south, east, north = (np.floor(np.array(near.bounds) / TILE_M)).astype(np.int64)
        columns, rows = np.meshgrid(np.arange(west, east + 1), np.arange(south, north + 1))
        x, y = (axis.ravel() * TILE_M + TILE_M // 2 for axis in (columns, rows))
        inside = shapely.contains_xy(near, x, y)
        found.append(np.column_stack([x[inside], y[inside], np.full(int(inside.sum()), zone)]))
    return np.concatenate([np.zeros((0, 3)), *found]).astype(np.int32)
