"""What was published less what was expected, by series and hour: what the second look and the level shift rule read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from detector.calendar import CALENDAR_FEATURES
from detector.features import cells_of, span
from detector.flag import sighted
from detector.likelihood import Bools, Dispersion, Floats, hazard

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Hours:
    """Zone-hours with their expectation as series x hour, a series being one zone and direction.

    observed is nan where nothing was published or a feed was incomplete; residual is what was published less the
    expectation, of a `null` the mean below its threshold; 0 where nothing is known. variance: noise, counts, expectation.
    """

    series: pl.DataFrame  # zone_id, sector_id, kind, direction
    start: datetime
    observed: Floats
    noise: Floats
    sigma: Floats
    expected: Floats
    spread: Floats
    residual: Floats
    variance: Floats
    told: Floats  # 0..1, how much of a whole count each hour tells: a `null` tells less
    known: Bools
    suppressed: Bools
    calendar: Mapping[str, Floats]  # by hour
    around: "Around"

    @property
    def pull(self) -> Floats:
        """How hard each hour pulls on a log factor over the expectation; 0 where nothing is known."""
        return np.asarray(np.where(self.known, self.residual * self.expected / self.variance, 0.0))

    @property
    def weight(self) -> Floats:
        """The information behind each pull."""
        return np.asarray(np.where(self.known, self.told * self.expected**2 / self.variance, 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class Around:
    """Who stands around a series: neighbours of its direction, its sector's rest, its crossing points, the border."""

    neighbours: tuple[tuple[int, ...], ...]
    touching: csr_array
    group: Ints  # of a belt: its sector and direction
    groups: int
    lane: Ints  # its direction
    belt: Bools
    opposite: Ints  # -1: none


def hours_of(
    rows: pl.DataFrame, neighbours: Mapping[str, Sequence[str]], dispersion: Dispersion, shares: Sequence[float]
) -> Hours:
    """The hours of dense rows (HISTORY_SCHEMA, CALENDAR_FEATURES, expected, spread)."""
    table = rows.sort("zone_id", "direction", "window_start")
    series = table.select("zone_id", "sector_id", "kind", "direction").unique(maintain_order=True)
    shape = (series.height, table.height // max(series.height, 1))
    observed, noise = sighted(table)
    cells = cells_of(table, shares)
    expected = table["expected"].to_numpy()
    complete = table["complete"].to_numpy()
    residual, told, known = residual_of(
        cells.value, cells.bound, cells.censored, cells.mean(expected), cells.variance(expected, dispersion)
    )
    known &= complete
    sigma = table["sigma"].fill_null(0.0).to_numpy()
    spread = table["spread"].to_numpy()

    def block(column: Any) -> Any:
        return np.asarray(column).reshape(shape)

    first, _ = span(table)
    return Hours(
        series=series,
        start=first,
        observed=block(np.where(complete, observed, np.nan)),
        noise=block(noise),
        sigma=block(sigma),
        expected=block(expected),
        spread=block(spread),
        residual=block(np.where(known, residual, 0.0)),
        variance=block(sigma**2 + dispersion.variance(expected) + spread**2 + 1.0),
        told=block(told),
        known=block(known),
        suppressed=block(table["suppressed"].to_numpy()),
        calendar={name: table[name].head(shape[1]).cast(pl.Float64).to_numpy() for name in CALENDAR_FEATURES},
        around=_around(series, neighbours),
    )


def residual_of(
    value: Floats, bound: Floats, censored: Bools, mean: Floats, variance: Floats
) -> tuple[Floats, Floats, Bools]:
    """What carriers together published less what was expected, how much that tells (0..1), and whether all are known.

    A `null` is the mean below its bound; it tells as much as the likelihood bends there.
    """
    sd = np.sqrt(variance)
    by_carrier, tells = value - mean, np.ones_like(mean)
    at = np.nonzero(censored)
    z = (bound[at] - mean[at]) / sd[at]
    pull = hazard(z)
    by_carrier[at] = -sd[at] * pull
    tells[at] = np.clip(pull * (pull + z), 0.0, 1.0)
    total = by_carrier.sum(axis=0)
    return total, (tells * variance).sum(axis=0) / variance.sum(axis=0), np.isfinite(total)


def _around(series: pl.DataFrame, neighbours: Mapping[str, Sequence[str]]) -> Around:
    rows = list(series.select("zone_id", "sector_id", "kind", "direction").iter_rows())
    at = {(zone, direction): row for row, (zone, _, _, direction) in enumerate(rows)}
    belt = np.array([kind == "belt" for _, _, kind, _ in rows])
    near = tuple(
        tuple(at[n, direction] for n in neighbours.get(zone, ()) if (n, direction) in at and belt[at[n, direction]])
        for zone, _, _, direction in rows
    )
    left = [row for row, others in enumerate(near) for _ in others]
    right = [other for others in near for other in others]
    groups = {key: n for n, key in enumerate(sorted({(sector, direction) for _, sector, _, direction in rows}))}
    lanes = {key: n for n, key in enumerate(sorted({direction for *_, direction in rows}))}
    others = {direction: [d for d in lanes if d != direction] for direction in lanes}
    return Around(
        neighbours=near,
        touching=csr_array((np.ones(len(left)), (left, right)), shape=(len(rows), len(rows))),
        group=np.array([groups[sector, direction] for _, sector, _, direction in rows]),
        groups=len(groups),
        lane=np.array([lanes[direction] for *_, direction in rows]),
        belt=belt,
        opposite=np.array(
            [next((at[zone, d] for d in others[direction] if (zone, d) in at), -1) for zone, *_, direction in rows]
        ),
    )


def running(array: Floats) -> Floats:
    """Sums from the first hour up to before each hour; one column more than the array."""
    return np.concatenate([np.zeros((array.shape[0], 1)), array.cumsum(axis=1)], axis=1)


def between(running: Floats, rows: Ints, last: Ints, count: int) -> Floats:
    """The sum of `count` hours that end with `last`, of these rows."""
    end = np.maximum(last + 1, 0)
    return np.asarray(running[rows, end] - running[rows, np.maximum(end - count, 0)])
