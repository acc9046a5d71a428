"""The coarse fidelity: months of zone-hour counts for several carriers, published as releases.

The noise here is drawn from a seeded generator, so that a simulation can be repeated. It stands in for the product's
mechanism (privacy/mechanism.py), which is never seeded; nothing here is ever applied to real counts, and its lineage
says `simulated-`.
"""

import gzip
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geofence.grid import ZoneGrid
from ingest.release import HOUR, Level, canonical_json, format_utc
from simulator.rates import (
    ARRIVAL,
    DEPARTURE,
    DIRECTIONS,
    Ints,
    MovementClass,
    SimulationRefused,
    TrafficLaw,
    draw_law,
    draw_movements,
    whole_hour,
)
from simulator.surges import Surge, share_of_surge, surge_movements
from simulator.truth import CLASS_COLUMNS, truth_table

# The defaults of design.md, section 6.
SIMULATED_MECHANISM: Mapping[str, Any] = {
    "name": "discrete_gaussian",
    "sigma": 9.45,
    "rho_day": 0.028,
    "rho_level": 0.0224,
    "delta": 1e-6,
    "k": 2,
    "threshold": 50,
    "policy_id": "default-1",
}
Flags = NDArray[np.bool_]
OUTAGES_PER_CARRIER_MONTH = 1.0  # each of 1-6 h (notes/telecom.md, section 6)
UNRELEASED_SHARE = 0.2  # of outages that also stop the edge: the window goes out as all null


@dataclass(frozen=True, slots=True)
class SimulatedCounts:
    """Releases as the carriers would push them, and the truth behind them, which is never pushed.

    truth: carrier, zone_id, direction, window_start, one column for each movement class, movements (their sum): what
    the movement rules would count, so an outage shows in it.
    outages: carrier, sector_id, window_start, hours, unreleased.
    """

    releases: Iterator[dict[str, Any]]
    truth: pl.DataFrame
    outages: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Outage:
    """Hours in which a carrier's network failed in one sector, as its element alarms tell."""

    carrier: str
    sector_id: str
    first_hour: int
    hours: int
    service_left: float  # share of movements still seen
    unreleased: bool


def simulate_counts(
    grid: ZoneGrid,
    neighbours: Mapping[str, Sequence[str]],
    *,
    start: datetime,
    end: datetime,
    carriers: Mapping[str, float],
    surges: Sequence[Surge],
    seed: int,
    law: TrafficLaw | None = None,
    outages_per_month: float = OUTAGES_PER_CARRIER_MONTH,
    progress: Callable[[float], None] | None = None,
) -> SimulatedCounts:
    """Zone-hour counts of [start, end) for carriers (name -> market share), releases sorted by window, then carrier.

    The releases are made as they are read; `progress` is called with the share done.
    """
    law = law or draw_law(grid, neighbours, seed=seed)
    start, end = whole_hour(start), whole_hour(end)
    hours = int((end - start) / HOUR)
    if hours < 1:
        raise SimulationRefused("a simulation ends after it starts")
    drawn = draw_movements(law, start, hours, carriers)
    planted = np.zeros((len(carriers), hours, len(grid.zones), 2), dtype=np.int64)
    for surge, whole in zip(surges, surge_movements(surges, law.zone_ids, start, hours), strict=True):
        planted += share_of_surge(whole, surge.surge_id, carriers, seed)
    by_class = np.concatenate([drawn, planted[:, None]], axis=1)
    outages = _draw_outages(grid, list(carriers), hours, seed, outages_per_month)
    complete, unreleased = _suffer(by_class, outages, grid, list(carriers))
    rng = np.random.default_rng([seed, 20])
    sigma = float(SIMULATED_MECHANISM["sigma"])
    published = by_class.sum(axis=1) + simulated_noise(rng, sigma, planted.shape)
    lineages = [f"simulated-{rng.bytes(12).hex()}" for _ in carriers]
    return SimulatedCounts(
        releases=_releases(grid, start, list(carriers), lineages, published, complete, unreleased, progress),
        truth=pl.concat(
            [
                truth_table(law.zone_ids, start, seen).insert_column(0, pl.lit(carrier).alias("carrier"))
                for carrier, seen in zip(carriers, by_class, strict=True)
            ]
        ),
        outages=_outage_table(outages, start),
    )


def write_releases(releases: Iterable[dict[str, Any]], folder: Path, *, compress: bool = True) -> list[Path]:
    """NDJSON files, one release a line, one file a month of window start: `releases-2026-01.ndjson[.gz]`."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    lines: list[bytes] = []
    month = ""

    def close_month() -> None:
        if not lines:
            return
        path = folder / f"releases-{month}.ndjson{'.gz' if compress else ''}"
        text = b"\n".join(lines) + b"\n"
        # No time stamp inside, so the same seed gives the same bytes.
        path.write_bytes(gzip.compress(text, compresslevel=1, mtime=0) if compress else text)
        written.append(path)
        lines.clear()

    for release in releases:
        if release["window_start"][:7] != month:
            close_month()
            month = release["window_start"][:7]
        lines.append(canonical_json(release))
    close_month()
    return written


def simulated_noise(rng: np.random.Generator, sigma: float, shape: tuple[int, ...]) -> Ints:
    """Seeded discrete Gaussian noise, for simulation only: P(x) proportional to exp(-x^2 / (2 sigma^2))."""
    reach = int(12 * sigma)
    support = np.arange(-reach, reach + 1)
    weight = np.cumsum(np.exp(-(support**2) / (2 * sigma**2)))
    return np.asarray(np.searchsorted(weight / weight[-1], rng.random(shape), side="right") - reach, dtype=np.int64)


def _draw_outages(grid: ZoneGrid, carriers: Sequence[str], hours: int, seed: int, per_month: float) -> list[Outage]:
    rng = np.random.default_rng([seed, 21])
    sectors = sorted({zone.sector_id for zone in grid.zones})
    outages = []
    for carrier in carriers:
        for _ in range(rng.poisson(per_month * hours / (24 * 30.44))):
            outages.append(
                Outage(
                    carrier=carrier,
                    sector_id=sectors[rng.integers(len(sectors))],
                    first_hour=int(rng.integers(hours)),
                    hours=int(rng.integers(1, 7)),
                    service_left=float(rng.uniform(0, 0.5)),
                    unreleased=bool(rng.random() < UNRELEASED_SHARE),
                )
            )
    return outages


def _suffer(by_class: Ints, outages: Sequence[Outage], grid: ZoneGrid, carriers: Sequence[str]) -> tuple[Flags, Flags]:
    """Apply outages to the counts; which (carrier, hour) is complete, and which goes out as all null."""
    _, _, hours, _, _ = by_class.shape
    complete = np.ones((len(carriers), hours), dtype=np.bool_)
    unreleased = np.zeros_like(complete)
    local = CLASS_COLUMNS.index(MovementClass.LOCAL)
    residue = CLASS_COLUMNS.index(MovementClass.FLIP_RESIDUE)
    for outage in outages:
        at = carriers.index(outage.carrier)
        span = slice(outage.first_hour, min(outage.first_hour + outage.hours, hours))
        complete[at, span] = False
        unreleased[at, span] |= outage.unreleased
        zones = np.array([ix for ix, zone in enumerate(grid.zones) if zone.sector_id == outage.sector_id])
        counts = by_class[at]  # (class, hour, zone, direction), not a copy
        usual = counts[local, span][:, zones].mean(axis=0).astype(np.int64)
        counts[:, span, zones] = (counts[:, span, zones] * outage.service_left).astype(np.int64)
        # Phones fall onto the network across at failure and come back at repair: false, in hours known as bad.
        counts[residue, span.start, zones, DEPARTURE] += usual[:, DEPARTURE]
        counts[residue, span.stop - 1, zones, ARRIVAL] += usual[:, ARRIVAL]
    return complete, unreleased


def _releases(
    grid: ZoneGrid,
    start: datetime,
    carriers: Sequence[str],
    lineages: Sequence[str],
    published: Ints,
    complete: Flags,
    unreleased: Flags,
    progress: Callable[[float], None] | None,
) -> Iterator[dict[str, Any]]:
    threshold = SIMULATED_MECHANISM["threshold"]
    # Sorted by (zone, direction) as the contract wants: zones are sorted in the grid, arrival comes before departure.
    cells = [(zone.zone_id, str(direction)) for zone in grid.zones for direction in DIRECTIONS]
    order = sorted(range(len(carriers)), key=lambda at: carriers[at])
    hours = published.shape[1]
    for hour in range(hours):
        window_start, window_end = format_utc(start + hour * HOUR), format_utc(start + (hour + 1) * HOUR)
        for at in order:
            silent = unreleased[at, hour]
            values = published[at, hour].ravel().tolist()
            content: dict[str, Any] = {
                "carrier": carriers[at],
                "counts": [
                    {
                        "direction": direction,
                        "value": None if silent or value < threshold else value,
                        "zone_id": zone_id,
                    }
                    for (zone_id, direction), value in zip(cells, values, strict=True)
                ],
                "feed": {"complete": bool(complete[at, hour])},
                "grid_id": grid.grid_id,
                "level": str(Level.ZONE_HOUR),
                "lineage": lineages[at],
                "mechanism": dict(SIMULATED_MECHANISM),
                "window_end": window_end,
                "window_start": window_start,
            }
            # What ingest.release.seal does, without validating each of ten thousand: a test validates a sample.
            content["digest"] = "sha256:" + hashlib.sha256(canonical_json(content)).hexdigest()
            yield content
        if progress is not None and (hour % 24 == 23 or hour == hours - 1):
            progress((hour + 1) / hours)


def _outage_table(outages: Sequence[Outage], start: datetime) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "carrier": [outage.carrier for outage in outages],
            "sector_id": [outage.sector_id for outage in outages],
            "window_start": [start + outage.first_hour * HOUR for outage in outages],
            "hours": [outage.hours for outage in outages],
            "unreleased": [outage.unreleased for outage in outages],
        },
        schema={
            "carrier": pl.String,
            "sector_id": pl.String,
            "window_start": pl.Datetime("us", "UTC"),
            "hours": pl.Int64,
            "unreleased": pl.Boolean,
        },
    ).sort("window_start", "carrier")
