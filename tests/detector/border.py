"""A small border that the detector has never met: its own counts, noise and threshold, apart from simulator/."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from detector.combine import PUBLISHED_SCHEMA, combine

START = datetime(2026, 3, 2, tzinfo=UTC)
SIGMA, THRESHOLD = 9.45, 50


@dataclass(frozen=True)
class Border:
    zones: pl.DataFrame
    neighbours: dict[str, tuple[str, ...]]
    published: pl.DataFrame
    rates: np.ndarray  # zone x direction x hour: the true expectation

    def history(self, carriers: tuple[str, ...] = ("alpha",)) -> pl.DataFrame:
        return combine(self.published, self.zones, carriers)


def zone_table(belts: int, crossing_points: int = 0) -> pl.DataFrame:
    names = [f"b{i:02d}" for i in range(belts)] + [f"x{i:02d}" for i in range(crossing_points)]
    return pl.DataFrame(
        {
            "zone_id": names,
            "sector_id": ["south" if int(name[1:]) * 2 < belts else "north" for name in names],
            "kind": ["belt" if name[0] == "b" else "crossing_point" for name in names],
        }
    )


def make_border(
    levels: list[float],
    *,
    days: int,
    seed: int = 1,
    crossing_levels: tuple[float, ...] = (150.0,),
    surges: tuple[tuple[int, int, int, int, int], ...] = (),  # zone, direction (0 arrival), hour, hours, size
    carriers: tuple[str, ...] = ("alpha",),
) -> Border:
    """Negative binomial counts with a daily and weekly rhythm, split over carriers, with noise, cut at the threshold."""
    random = np.random.default_rng(seed)
    zones = zone_table(len(levels), len(crossing_levels))
    hours = np.arange(days * 24)
    local = (hours + 7) % 24
    weekend = ((hours + 7) // 24 % 7 >= 5).astype(float)
    day = 0.25 + 1.5 * np.exp(-((local - 8.0) ** 2) / 10) + 1.3 * np.exp(-((local - 17.0) ** 2) / 12)
    shape = day * (1 - 0.25 * weekend) / day.mean()
    drift = np.exp(0.08 * np.sin(hours / 24 / 9.0))
    rates = np.array(
        [[lvl * shape * drift, lvl * 0.8 * np.roll(shape, 1) * drift] for lvl in [*levels, *crossing_levels]]
    )
    size = 25.0
    counts = random.negative_binomial(size, size / (size + rates))
    for zone, direction, hour, lasts, extra in surges:
        counts[zone, direction, hour : hour + lasts] += random.multinomial(extra, np.full(lasts, 1 / lasts))
    share = random.multinomial(counts.ravel(), np.full(len(carriers), 1 / len(carriers))).reshape(*counts.shape, -1)
    frames = [
        publish(zones, share[..., c] + np.round(random.normal(0, SIGMA, counts.shape)), carrier)
        for c, carrier in enumerate(carriers)
    ]
    # Zones stand in a line; crossing points touch the belts beside them.
    names = zones["zone_id"].to_list()
    touching: dict[str, set[str]] = {name: set() for name in names}
    for i in range(len(levels) - 1):
        touching[names[i]].add(names[i + 1])
        touching[names[i + 1]].add(names[i])
    neighbours = {name: tuple(sorted(near)) for name, near in touching.items()}
    return Border(zones, neighbours, pl.concat(frames), rates)


def publish(zones: pl.DataFrame, noisy: np.ndarray, carrier: str) -> pl.DataFrame:
    number, directions, hours = noisy.shape
    windows = [START + timedelta(hours=h) for h in range(hours)]
    values = noisy.ravel()
    return pl.DataFrame(
        {
            "carrier": [carrier] * values.size,
            "zone_id": np.repeat(zones["zone_id"].to_numpy(), directions * hours).tolist(),
            "direction": np.tile(np.repeat(["arrival", "departure"], hours), number).tolist(),
            "window_start": windows * (number * directions),
            "value": pl.Series(np.where(values >= THRESHOLD, values, np.nan)).fill_nan(None).cast(pl.Int64),
            "sigma": np.full(values.size, SIGMA),
            "threshold": np.full(values.size, THRESHOLD),
            "feed_complete": np.ones(values.size, dtype=bool),
            "release_digest": [f"sha256:{carrier}-{h}" for h in range(hours)] * (number * directions),
        },
        schema_overrides=PUBLISHED_SCHEMA,
    )
