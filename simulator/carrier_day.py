"""A simulated day of one carrier or of several, whole: its network, its events, its alarms, and the folder they go to."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import polars as pl

from geofence.border import Border
from geofence.grid import ZoneGrid, neighbours
from simulator.carriers import Carrier, networks_across
from simulator.events import SimulatedEvents, simulate_events, write_events
from simulator.ground import Ground, survey
from simulator.incidents import Incident, write_alarms
from simulator.network import simulate_network
from simulator.rates import TrafficLaw, countries, draw_law
from simulator.surges import Surge

Format = Literal["parquet", "ndjson"]


@dataclass(frozen=True, slots=True)
class CarrierDay:
    """What is asked of the simulator for one carrier and token-day; equal orders give equal days."""

    grid: ZoneGrid
    border: Border
    carrier: Carrier
    token_day_start: datetime
    seed: int
    surges: tuple[Surge, ...] = ()
    incidents: tuple[Incident, ...] = ()
    scale: float = 1.0
    across_plmns: tuple[str, ...] = ()  # those of the country across, unless given

    def law(self) -> TrafficLaw:
        """The law of movement of this grid and seed, common to all carriers and days."""
        return draw_law(self.grid, neighbours(self.grid), seed=self.seed)


@dataclass(frozen=True, slots=True)
class Written:
    """What a carrier's day left in its folder."""

    carrier: str
    events: int
    files: int
    alarms: int
    cells: int


def simulate_day(asked: CarrierDay, ground: Ground | None = None) -> SimulatedEvents:
    """The day that was asked for; its cell plan is in it. `ground`, where it is at hand, saves a survey."""
    ground = ground or survey(asked.grid, asked.border)
    plan = simulate_network(asked.grid, asked.border, plmn=asked.carrier.plmn, seed=asked.seed, ground=ground)
    return simulate_events(
        asked.grid,
        plan,
        asked.border,
        token_day_start=asked.token_day_start,
        carrier=asked.carrier.name,
        carrier_share=asked.carrier.share,
        own_plmn=asked.carrier.plmn,
        across_plmns=asked.across_plmns or networks_across(countries(asked.grid)[1]),
        surges=asked.surges,
        seed=asked.seed,
        scale=asked.scale,
        law=asked.law(),
        incidents=asked.incidents,
        ground=ground,
    )


def write_day(sim: SimulatedEvents, carrier: str, folder: Path, format: Format = "parquet") -> Written:  # noqa: A002
    """A carrier's folder: `cells.csv`, `feed/` (drop files, marks), `alarms/`, and `truth.parquet`, which no edge reads."""
    folder.mkdir(parents=True, exist_ok=True)
    sim.plan.write_csv(folder / "cells.csv", datetime_format="%Y-%m-%dT%H:%M:%SZ")
    files = write_events(sim, folder / "feed", format=format)
    write_alarms(sim.alarms, folder / "alarms")
    sim.truth.select(pl.lit(carrier).alias("carrier"), pl.all()).write_parquet(folder / "truth.parquet")
    return Written(carrier, sim.events.height, len(files), len(sim.alarms), sim.plan.height)


def simulate_days(
    asked: Sequence[CarrierDay],
    folder: Path,
    *,
    format: Format = "parquet",  # noqa: A002
    processes: int = 1,
) -> Iterator[Written]:
    """One sub-folder for each carrier, in the order asked; more processes change how long it takes and nothing else."""
    orders = [(order, folder / order.carrier.name, format) for order in asked]
    if processes <= 1:
        yield from map(_simulate_and_write, orders)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_simulate_and_write, orders)


def _simulate_and_write(order: tuple[CarrierDay, Path, Format]) -> Written:
    asked, folder, format_ = order
    return write_day(simulate_day(asked), asked.carrier.name, folder, format_)
