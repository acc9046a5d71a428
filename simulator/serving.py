"""Which cell serves where: a few likely cells for each spot, drawn, so that serving is not simply nearest.

This is not the model of `geofence.footprint`, and must not become it: a simulated border that drew its serving cells by
the very law that the edge locates them with would make the edge look right. Here every spot has shadowing of its own, a
phone keeps one of several cells that are nearly as strong, and nothing is shared but the plan's columns.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from simulator.ground import Floats, Ground, distances_m

CANDIDATES = 6
PATH_LOSS_DB_PER_DECADE = 35.0
SHADOWING_DB = 8.0  # half of its variance is common to a mast (notes/telecom.md, section 10)
POWER_DB_PER_RANGE_DECADE = 12.0  # a mast built to reach farther also sends stronger
FRONT_TO_BACK_DB = 20.0
BEAM_3DB_DEG = 65.0
LAYER_DB = {"EUTRA": 0.0, "GERA": -12.0, "UTRA": -9.0, "NR": -3.0}
STICKINESS_DB = 4.0  # how far apart levels must be before a phone clearly prefers one
OVERREACH = 1.3
CHUNK = 400


@dataclass(frozen=True, slots=True, eq=False)
class Serving:
    """Candidates of each spot, best first: `cell` rows of the plan, `up_to` their running probability."""

    cell: NDArray[np.int32]  # (spot, candidate)
    up_to: Floats
    in_reach: NDArray[np.bool_]  # (spot, candidate): within what the cell was built for, and some more
    refuge: NDArray[np.int32]  # by spot: strongest cell in reach on no candidate's mast; -1 where there is none
    site: NDArray[np.int64]  # mast of each cell
    site_xy: Floats  # by cell
    nearest_m: Floats  # by spot, to the nearest mast

    def draw(self, rng: np.random.Generator, spots: NDArray[np.int64]) -> NDArray[np.int32]:
        """A serving cell for each of many stays at spots."""
        passed = rng.random(len(spots))[:, None] > self.up_to[spots]
        return np.asarray(self.cell[spots, passed.sum(axis=1)])

    def draw_without(
        self, rng: np.random.Generator, spots: NDArray[np.int64], silent: NDArray[np.bool_]
    ) -> NDArray[np.int32]:
        """A serving cell for each of many stays while some cells (flags by cell) are silent; -1 out of all reach.

        A phone whose candidates are all silent looks on: whatever reaches it serves it. Where no candidate is in reach at
        any time, those out of reach serve, silent or not, as they do on any other day.
        """
        cell, refuge = self.cell[spots], self.refuge[spots]
        serves = self.in_reach[spots]
        serves = serves | (~serves.any(axis=1) & (refuge < 0))[:, None]
        likely = np.diff(self.up_to[spots], axis=1, prepend=0.0) * (serves & ~silent[cell])
        up_to = np.cumsum(likely, axis=1)
        whole = up_to[:, -1]
        chosen = (rng.random(len(spots)) * whole)[:, None] >= up_to
        at = np.minimum(chosen.sum(axis=1), cell.shape[1] - 1)
        left = np.where((refuge >= 0) & ~silent[np.maximum(refuge, 0)], refuge, np.int32(-1))
        return np.where(whole > 1e-9, cell[np.arange(len(spots)), at], left)


def serving_cells(ground: Ground, plan: pl.DataFrame, spots: Floats, rng: np.random.Generator) -> Serving:
    """The likely serving cells at positions in metres: distance power law, antenna pattern, layer and shadowing.

    A spot beyond the range of every cell is served by the strongest.
    """
    x, y = ground.plane.xy(plan["lon"].to_numpy(), plan["lat"].to_numpy())
    site_xy = np.column_stack([x, y])
    _, site = np.unique(np.round(site_xy), axis=0, return_inverse=True)
    site = site.ravel()
    azimuth = plan["azimuth_deg"].to_numpy()
    reach = plan["range_m"].to_numpy().astype(np.float64)
    power = POWER_DB_PER_RANGE_DECADE * np.log10(reach / 1_000)
    power = power + np.array([LAYER_DB[rat] for rat in plan["rat"]])
    count = min(CANDIDATES, len(plan))
    cells, probability, reached, refuge, nearest = [], [], [], [], []
    for first in range(0, len(spots), CHUNK):
        here = spots[first : first + CHUNK]
        apart = distances_m(here, site_xy)
        bearing = np.degrees(np.arctan2(here[:, None, 0] - x, here[:, None, 1] - y))
        off = np.abs((bearing - azimuth + 180) % 360 - 180)
        gain = np.where(np.isnan(off), 0.0, -np.minimum(12 * (off / BEAM_3DB_DEG) ** 2, FRONT_TO_BACK_DB))
        half = SHADOWING_DB * np.sqrt(0.5)
        shadow = rng.normal(0, half, (len(here), int(site.max()) + 1))[:, site] + rng.normal(0, half, apart.shape)
        level = power - PATH_LOSS_DB_PER_DECADE * np.log10(np.maximum(apart, 30.0) / 1_000) + gain + shadow
        level = np.where(apart > OVERREACH * reach, level - 60.0, level)
        best = np.argsort(-level, axis=1)[:, :count]
        strength = np.take_along_axis(level, best, axis=1)
        weight = np.exp((strength - strength[:, :1]) / STICKINESS_DB)
        cells.append(best.astype(np.int32))
        probability.append(weight / weight.sum(axis=1, keepdims=True))
        reached.append(np.take_along_axis(apart, best, axis=1) <= OVERREACH * reach[best])
        refuge.append(_refuge(level, apart <= OVERREACH * reach, site, best))
        nearest.append(apart.min(axis=1))
    up_to = np.cumsum(np.concatenate(probability), axis=1)
    up_to[:, -1] = 1.0
    return Serving(
        np.concatenate(cells),
        up_to,
        np.concatenate(reached),
        np.concatenate(refuge),
        site.ravel().astype(np.int64),
        site_xy,
        np.concatenate(nearest),
    )


def _refuge(
    level: Floats, in_reach: NDArray[np.bool_], site: NDArray[np.int64], best: NDArray[np.int64]
) -> NDArray[np.int32]:
    """By spot the strongest cell in reach on a mast that none of the candidates stands on; -1: there is none."""
    named = np.zeros((len(level), int(site.max()) + 1), dtype=np.bool_)
    np.put_along_axis(named, site[best], True, axis=1)
    free = np.where(in_reach & ~named[:, site], level, -np.inf)
    strongest = np.argmax(free, axis=1)
    return np.where(np.isfinite(free[np.arange(len(free)), strongest]), strongest, -1).astype(np.int32)
