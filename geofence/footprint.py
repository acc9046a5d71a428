"""Footprints: the ground a cell may serve, as mass on the tiles of a metric raster.

A footprint is clipped by nothing. It reaches over the border line as far as the cell does, for radio does (notes/telecom.md,
section 8). A tile is an eighth of the cell's range or so, whatever the range: what is large is seen coarsely, and tiles that
a zone's edge cuts are shared out by area.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pyproj import Geod

from geofence.metres import Plane
from geofence.propagation import FootprintModel, Shape, path_loss_exponent, serving_weight

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

TILES_IN_A_RANGE = 10
"""A cell's tile is the power of two of a metre by which its range is more than half as many tiles, and at most as many."""
WINDOW = 24
"""Tiles to a side of the window that holds a footprint: 21 across, and begun at a multiple of four."""
CHUNK = 1_500
WHOLE = 1 << 24
"""The mass of a footprint in units: whole numbers, so that no sum of them depends on its order."""

_EARTH = Geod(ellps="WGS84")
_SMOOTH_SAMPLES = 2
_EDGED_SAMPLES = 4


@dataclass(frozen=True, slots=True, eq=False)
class Masts:
    """Where the cells of a plan stand on a plane and how they look: arrays of one length; angles from the plane's north."""

    x: Floats
    y: Floats
    range_m: Floats
    bearing_deg: Floats
    beamwidth_deg: Floats  # 360: all round, or not known
    exponent: Floats

    @property
    def level(self) -> Ints:
        """The raster level of each cell: its tiles are 2^level metres wide."""
        return np.ceil(np.log2(self.range_m / TILES_IN_A_RANGE)).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Weighed:
    """Some cells' footprints before any ground is known. All are of one raster level.

    `cells`: which rows of the plan; `x`, `y`: the first tile of each window; `weight`: (cell, WINDOW, WINDOW) by y and x.
    """

    cells: Ints
    level: int
    x: Ints
    y: Ints
    weight: Floats


@dataclass(frozen=True, eq=False)
class Footprints:
    """All footprints of a plan: `level` and first tile `x`, `y` of every window, and its `mass` in units of 1/WHOLE.

    `mass` is (cell, WINDOW, WINDOW), uint32; that of a cell sums to WHOLE.
    """

    level: Ints
    x: Ints
    y: Ints
    mass: NDArray[np.uint32]

    @cached_property
    def halved(self) -> NDArray[np.uint32]:
        """The same on tiles of the next level."""
        return _halved(self.mass)

    @cached_property
    def quartered(self) -> NDArray[np.uint32]:
        """The same on tiles two levels up."""
        return _halved(self.halved)


def masts(plan: pl.DataFrame, plane: Plane, model: FootprintModel) -> Masts:
    """The cells of a plan on a plane; azimuths count from true north, and a null `height_m` is the model's."""
    lon, lat, reach = (plan[name].to_numpy() for name in ("lon", "lat", "range_m"))
    azimuth = plan["azimuth_deg"].cast(pl.Float64).fill_null(0.0).to_numpy()
    beam = plan["beamwidth_deg"].cast(pl.Float64).fill_null(360.0).to_numpy()
    height = plan["height_m"] if "height_m" in plan.columns else pl.Series([None] * plan.height)
    end_lon, end_lat, _ = _EARTH.fwd(lon, lat, azimuth, reach)
    x, y = plane.xy(lon, lat)
    end_x, end_y = plane.xy(np.asarray(end_lon), np.asarray(end_lat))
    return Masts(
        x,
        y,
        reach,
        np.degrees(np.arctan2(end_x - x, end_y - y)),
        np.where(plan["azimuth_deg"].is_null().to_numpy(), 360.0, beam),
        path_loss_exponent(height.cast(pl.Float64).fill_null(model.height_m).to_numpy()),
    )


def weighed(cells: Masts, model: FootprintModel) -> Iterator[Weighed]:
    """The weights of all cells' footprints, in chunks of cells of one kind and level that stand near each other."""
    all_round = cells.beamwidth_deg >= 360.0
    level = cells.level
    order = np.lexsort((cells.x // 20_000, cells.y // 20_000, level, all_round))
    kind = level[order] * 2 + all_round[order]
    for some in np.split(order, np.flatnonzero(np.diff(kind)) + 1):
        for start in range(0, len(some), CHUNK):
            chosen = some[start : start + CHUNK]
            yield _weights(cells, chosen, int(level[chosen[0]]), bool(all_round[chosen[0]]), model)


def _weights(cells: Masts, chosen: Ints, level: int, all_round: bool, model: FootprintModel) -> Weighed:
    width = 2.0**level
    x, y, reach = cells.x[chosen], cells.y[chosen], cells.range_m[chosen]
    first_x, first_y = ((np.floor((at - reach) / width).astype(np.int64) >> 2) << 2 for at in (x, y))
    edged = all_round or model.shape is Shape.SECTOR
    samples = _EDGED_SAMPLES if edged else _SMOOTH_SAMPLES
    steps = (np.arange(WINDOW * samples) + 0.5) / samples
    east = (first_x[:, None] + steps) * width - x[:, None]
    north = (first_y[:, None] + steps) * width - y[:, None]
    distance2 = north[:, :, None] ** 2 + east[:, None, :] ** 2
    weight = np.zeros(distance2.shape)
    inside = distance2 <= (reach**2)[:, None, None]
    if all_round:
        weight[inside] = 1.0
    else:
        cell, row, column = np.nonzero(inside)
        distance = np.sqrt(distance2[inside])
        bearing = np.degrees(np.arctan2(east[cell, column], north[cell, row]))
        off_axis = np.abs((bearing - cells.bearing_deg[chosen][cell] + 180.0) % 360.0 - 180.0)
        beam = cells.beamwidth_deg[chosen][cell]
        if model.shape is Shape.SECTOR:
            # A beam narrower than the samples lie apart is as wide as they do.
            narrowest = np.degrees(np.arctan2(width / samples, distance))
            weight[inside] = off_axis <= np.maximum(beam / 2, narrowest)
        else:
            exponent = cells.exponent[chosen][cell]
            weight[inside] = serving_weight(distance / reach[cell], off_axis, beam, exponent, model)
    tiled = weight.reshape(len(chosen), WINDOW, samples, WINDOW, samples).sum(axis=(2, 4))
    return Weighed(chosen, level, first_x, first_y, tiled)


def in_units(share: Floats) -> NDArray[np.uint32]:
    """Shares of a whole (cell, …) as whole numbers that sum to WHOLE; the largest share takes what rounding leaves.

    >>> in_units(np.array([[0.5, 0.25, 0.25]])).tolist()
    [[8388608, 4194304, 4194304]]
    """
    flat = share.reshape(len(share), -1)
    units = np.rint(flat * WHOLE).astype(np.int64)
    rows = np.arange(len(units))
    units[rows, np.argmax(units, axis=1)] += WHOLE - units.sum(axis=1)
    return units.reshape(share.shape).astype(np.uint32)


def _halved(mass: NDArray[np.uint32]) -> NDArray[np.uint32]:
    across = mass.shape[1] // 2
    halved: NDArray[np.uint32] = mass.reshape(len(mass), across, 2, across, 2).sum(axis=(2, 4), dtype=np.uint32)
    return halved
