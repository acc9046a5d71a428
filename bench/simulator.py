"""The simulated border held against its sources, against itself and against the movement rules, and its speed.

    python -m bench.simulator --section gates|fidelities|booking|outage|speed [--json]

The truth of a simulation is read here and nowhere in the product. What the edge would count comes from the functions that
the edge runs: `movement.sight_rows` on the rows, `movement.advance` on the sightings, hour by hour. Which movement became
what is told by `bench.plain_rules`, token by token, and the two must count alike or nothing is printed.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.machine import Processes, provenance
from bench.plain_rules import ARRIVAL, DEPARTURE, PlainGround, Row, Rules, cancel, in_order, movements_of, zone_booked
from geofence.border import Border, read_border
from geofence.build import build_zone_grid
from geofence.grid import ZoneGrid, ZoneKind, neighbours
from geofence.locate import LocatedPlan, locate_cells
from ingest.alarms import SHARE_OF_A_ZONE, degraded_hours
from ingest.release import HOUR
from ingest.rows import ROW_TABLE
from jobs.watch import bare_hours
from movement.advance import advance, empty_carry_over
from movement.ground import Ground as Cells
from movement.ground import make_ground
from movement.sight_rows import Lookup, sight_rows
from movement.sighting import Networks, Side
from simulator.carrier_day import CarrierDay, simulate_day, simulate_days
from simulator.carriers import Carrier, networks_across, three_carriers
from simulator.counts import simulate_counts
from simulator.events import SimulatedEvents
from simulator.ground import Ground, survey
from simulator.incidents import SiteOutage
from simulator.rates import countries
from simulator.realism import realism_gates

SEED = 1
TURN_HOUR_UTC = 20
DAY = datetime(2026, 6, 24, TURN_HOUR_UTC, tzinfo=UTC)
BORDERS = ("VN-KH", "VN-LA", "VN-CN")
K = 2
HOUR_MS = 3_600_000
MATCHED_WITHIN_MS = HOUR_MS
GATE_SEEDS = (1, 2, 3)
NEVER_SEEN, FALSE = "no row of it", "false"
FATES = ("cancelled", "over 6 h", "inland", "same hour", "over k", NEVER_SEEN)
Counts = NDArray[np.int64]


class Disagreement(RuntimeError):
    """Two tellings of the movement rules count differently: nothing is printed."""


@dataclass(frozen=True, slots=True)
class Place:
    """A border to simulate on."""

    line: Border
    grid: ZoneGrid
    ground: Ground
    across: tuple[str, ...]

    @property
    def crossing_points(self) -> NDArray[np.bool_]:
        """Flags by zone."""
        return np.array([zone.kind is ZoneKind.CROSSING_POINT for zone in self.grid.zones])

    def ask(self, carrier: Carrier, day: datetime, seed: int, scale: float) -> CarrierDay:
        """A carrier's day here."""
        return CarrierDay(self.grid, self.line, carrier, day, seed, scale=scale, across_plmns=self.across)


@cache
def place_of(border_id: str) -> Place:
    """A bundled border with Vietnam at home and belts of the usual size."""
    line = read_border(border_id)
    grid = build_zone_grid(line, "VN", valid_from=DAY - timedelta(days=200), turn_hour_utc=TURN_HOUR_UTC)
    return Place(line, grid, survey(grid, line), networks_across(countries(grid)[1]))


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """What an edge knows: its plan on the grid, and its networks."""

    located: LocatedPlan
    cells: Cells
    lookup: Lookup

    @classmethod
    def of(cls, place: Place, carrier: Carrier, plan: pl.DataFrame) -> "Edge":
        """The edge of a carrier; its footprints are the product's, of which the simulator knows nothing."""
        located = locate_cells(plan, place.grid, place.line.line)
        cells = make_ground(
            located.cells["zone"].to_numpy(), place.crossing_points, located.overlaps.select("a", "b").to_numpy()
        )
        networks = Networks(frozenset({carrier.plmn}), frozenset(place.across))
        return cls(located, cells, Lookup(located.cells, networks))

    def sightings(self, events: pl.DataFrame) -> pl.DataFrame:
        """What the edge's own functions make of rows: admitted, located, decided."""
        rows = events.with_columns(layout_refusal=pl.lit(None, pl.String)).select(ROW_TABLE.names())
        return sight_rows(rows, self.lookup).sightings


def counted(sightings: pl.DataFrame, edge: Edge, day: datetime, zones: int) -> Counts:
    """Movements by (hour, zone, direction) as the close counts them, hour by hour."""
    by_hour = sightings.partition_by("hour", as_dict=True, include_key=False)
    found = np.zeros((24, zones, 2), dtype=np.int64)
    carried = empty_carry_over()
    first = int(day.timestamp()) // 3_600
    none = sightings.drop("hour").clear()
    for hour in range(25):
        part = by_hour.get((first + hour,), none) if hour < 24 else none
        step = advance(carried, part, edge.cells, hour_start_ms=(first + hour) * HOUR_MS, k=K)
        carried = step.carry_over
        if hour:
            counts = step.counts
            np.add.at(
                found[hour - 1], (counts["zone"].to_numpy(), counts["direction"].to_numpy()), counts["count"].to_numpy()
            )
    return found


# Gates


def gates(seeds: Sequence[int], scale: float, borders: Sequence[str]) -> dict[str, Any]:
    """Every gate on several borders and seeds: the lowest and the highest figure, and how many pass."""
    tables = []
    for border in borders:
        place = place_of(border)
        for seed in seeds:
            asked = place.ask(three_carriers("VN")[0], DAY, seed, scale)
            sim = simulate_day(asked, place.ground)
            found = realism_gates(sim, sim.network, place.ground, asked.law())
            tables.append(found.with_columns(border=pl.lit(border), seed=pl.lit(seed)))
    whole = pl.concat(tables)
    summary = whole.group_by("gate", "low", "high", "source", maintain_order=True).agg(
        lowest=pl.col("measured").min(), highest=pl.col("measured").max(), passed=pl.col("passed").sum(), of=pl.len()
    )
    failed = whole.filter(~pl.col("passed")).select("gate", "border", "seed", "measured")
    return {"gates": summary.to_dicts(), "failed": failed.to_dicts()}


# The two fidelities


def fidelities(days: int, scale: float, borders: Sequence[str], seed: int) -> dict[str, Any]:
    """What the rules count of simulated events beside the coarse fidelity's counts of the same carrier, zones and days."""
    carrier = three_carriers("VN")[0]
    fine, coarse, kinds = [], [], []
    for border in borders:
        place = place_of(border)
        zones = len(place.grid.zones)
        edge: Edge | None = None
        found = []
        for number in range(days):
            day = DAY + timedelta(days=number)
            sim = simulate_day(place.ask(carrier, day, seed, scale), place.ground)
            edge = edge or Edge.of(place, carrier, sim.plan)
            found.append(counted(edge.sightings(sim.events), edge, day, zones))
        fine.append(np.stack(found))
        coarse.append(coarse_counts(place, carrier, DAY, days, seed))
        kinds.append(place.crossing_points)
    return compared(
        np.concatenate(fine, axis=2),
        np.concatenate(coarse, axis=2),
        np.concatenate(kinds),
    )


def coarse_counts(place: Place, carrier: Carrier, start: datetime, days: int, seed: int) -> Counts:
    """The coarse fidelity's true counts, by (day, hour, zone, direction)."""
    made = simulate_counts(
        place.grid,
        neighbours(place.grid),
        start=start,
        end=start + timedelta(days=days),
        carriers={carrier.name: carrier.share},
        surges=(),
        seed=seed,
        outages_per_month=0.0,
    )
    return made.truth["movements"].to_numpy().reshape(days, 24, len(place.grid.zones), 2)


def compared(fine: Counts, coarse: Counts, crossing_point: NDArray[np.bool_]) -> dict[str, Any]:
    """Ratios, fine to coarse. Arrays are by (day, hour, zone, direction).

    `variance_ratio` is of the deviations from each zone-hour's mean over the days, all zones together; it says nothing
    that the mean says. Both fidelities are of the same days: between other days chance alone makes more difference.
    """
    hourly = fine.sum(axis=(0, 2)) / np.maximum(coarse.sum(axis=(0, 2)), 1)
    by_zone, told = fine.sum(axis=(0, 1, 3)), coarse.sum(axis=(0, 1, 3))
    busy = told / (coarse.shape[0] * 24) >= 1.0
    zone_ratio = by_zone[busy] / told[busy]

    def spread(counts: Counts) -> NDArray[np.float64]:
        return np.asarray(counts.var(axis=0, ddof=1).sum(axis=(0, 2)))

    def whole_spread(counts: Counts) -> NDArray[np.float64]:
        return np.asarray(counts.reshape(-1, *counts.shape[2:]).var(axis=0).sum(axis=1))

    of_zone = whole_spread(fine)[busy] / np.maximum(whole_spread(coarse)[busy], 1e-9)
    return {
        "zones": int(fine.shape[2]),
        "days": int(fine.shape[0]),
        "zone_hours": int(np.prod(fine.shape)),
        "mean_ratio": round(float(fine.sum() / coarse.sum()), 4),
        "mean_ratio_belts": round(float(fine[:, :, ~crossing_point].sum() / coarse[:, :, ~crossing_point].sum()), 4),
        "mean_ratio_crossing_points": round(
            float(fine[:, :, crossing_point].sum() / coarse[:, :, crossing_point].sum()), 4
        ),
        "hourly_mean_ratio": {
            name: [round(float(ratio), 3) for ratio in hourly[:, way]]
            for way, name in ((ARRIVAL, "arrival"), (DEPARTURE, "departure"))
        },
        "hours_within_3_percent": f"{int((np.abs(hourly - 1) <= 0.03).sum())} of {hourly.size}",
        "variance_ratio": round(float(spread(fine).sum() / spread(coarse).sum()), 4),
        "zones_busier_than_1_an_hour": int(busy.sum()),
        "mean_ratio_by_zone_p10_p50_p90": quantiles(zone_ratio),
        "variance_ratio_by_zone_p10_p50_p90": quantiles(of_zone),
        "zones_with_mean_within_3_percent": f"{int((np.abs(zone_ratio - 1) <= 0.03).sum())} of {int(busy.sum())}",
        "zones_with_variance_ratio_in_0.8_1.25": f"{int(((of_zone >= 0.8) & (of_zone <= 1.25)).sum())} of {int(busy.sum())}",
    }


def quantiles(values: NDArray[np.float64]) -> list[float]:
    """The 10th, 50th and 90th percentile."""
    return [round(float(q), 3) for q in np.quantile(values, (0.1, 0.5, 0.9))] if len(values) else []


# Booking


@dataclass(frozen=True, slots=True)
class Told:
    """What the rules make of one change of side: its instant, way, fate, and zone if it was counted."""

    at: int
    direction: int
    fate: str
    zone: int


def tell(rows: Sequence[Row], ground: PlainGround, rules: Rules) -> list[Told]:
    """Every change of side of one token-day with what became of it; the counted ones are those of `plain_rules.booked`."""
    found = movements_of(rows, ground, rules)
    left = {id(movement) for movement in cancel(found, ground, rules.cancelling)}
    told: list[Told] = []
    spent, seen = [0, 0], set()
    for movement in found:
        zone = zone_booked(movement, ground, rules)
        where = (movement.at // HOUR_MS, zone, movement.direction)
        if id(movement) not in left:
            fate = "cancelled"
        elif movement.silence > 6 * HOUR_MS:
            fate = "over 6 h"
        elif zone < 0:
            fate = "inland"
        elif where in seen:
            fate = "same hour"
        elif spent[movement.direction] >= K:
            fate = "over k"
        else:
            fate = "counted"
            spent[movement.direction] += 1
            seen.add(where)
        told.append(Told(movement.at, movement.direction, fate, zone))
    return told


def booking(scale: float, borders: Sequence[str], seed: int) -> dict[str, Any]:
    """Three carriers, one day: what each true movement was booked as, and what was counted without one."""
    matrix: Counter[tuple[str, str]] = Counter()
    flips: Counter[str] = Counter()
    by_class: Counter[tuple[str, str]] = Counter()
    for border in borders:
        place = place_of(border)
        for carrier in three_carriers("VN"):
            sim = simulate_day(place.ask(carrier, DAY, seed, scale), place.ground)
            _book(sim, place, carrier, matrix, flips, by_class)
    return rates(matrix, flips, by_class)


def _book(
    sim: SimulatedEvents,
    place: Place,
    carrier: Carrier,
    matrix: Counter[tuple[str, str]],
    flips: Counter[str],
    by_class: Counter[tuple[str, str]],
) -> None:
    edge = Edge.of(place, carrier, sim.plan)
    sightings = edge.sightings(sim.events)
    told = {
        device: tell(rows, ground, Rules())
        for ground in [plain_ground(edge, place)]
        for device, rows in rows_by_device(sightings, sim.tokens)
    }
    agree(told, counted(sightings, edge, DAY, len(place.grid.zones)), DAY)
    beside = touching(place.grid)
    points = place.crossing_points
    day_ms = int(DAY.timestamp()) * 1000
    of_device = sim.crossings.sort("device", "at_s").partition_by("device", as_dict=True)
    taken: set[tuple[int, int]] = set()
    for (device,), true in of_device.items():
        mine = told.get(int(device), [])
        for at_s, zone, direction, kind in true.select("at_s", "zone", "direction", "class").iter_rows():
            at = day_ms + round(at_s * 1000)
            near = [
                (abs(one.at - at), one.fate != "counted", place_in)
                for place_in, one in enumerate(mine)
                if one.direction == direction
                and abs(one.at - at) <= MATCHED_WITHIN_MS
                and (int(device), place_in) not in taken
            ]
            is_point = "crossing point" if points[zone] else "belt"
            if not near:
                found = NEVER_SEEN
            else:
                chosen = min(near)[2]
                taken.add((int(device), chosen))
                one = mine[chosen]
                found = one.fate if one.fate != "counted" else where_booked(zone, one.zone, beside, points)
            matrix[is_point, found] += 1
            by_class[kind, found] += 1
    flipping = {int(device) for device in sim.flips["device"].unique()}
    flips["flips"] += sim.flips.height
    for device, mine in told.items():
        for place_in, one in enumerate(mine):
            if one.fate == "counted" and (device, place_in) not in taken:
                matrix[FALSE, "crossing point" if points[one.zone] else "belt"] += 1
                flips["counted of devices that flip"] += device in flipping
                flips["counted of others"] += device not in flipping


def where_booked(true: int, booked: int, beside: Mapping[int, set[int]], points: NDArray[np.bool_]) -> str:
    """The column of the matrix for a counted movement."""
    if true == booked:
        return "same zone"
    kind = "crossing point" if points[booked] else "belt"
    return f"{'neighbouring' if booked in beside[true] else 'other'} {kind}"


def rates(matrix: Counter[tuple[str, str]], flips: Counter[str], by_class: Counter[tuple[str, str]]) -> dict[str, Any]:
    """The matrix and the rates that have targets."""
    columns = (
        "same zone",
        *(f"{n} {k}" for n in ("neighbouring", "other") for k in ("belt", "crossing point")),
        *FATES,
    )
    table = {row: {column: matrix[row, column] for column in columns} for row in ("belt", "crossing point")}
    true = {row: sum(table[row].values()) for row in table}
    counted_of = {row: true[row] - sum(table[row][fate] for fate in FATES) for row in table}
    right = sum(table[row]["same zone"] for row in table)
    to_point = table["crossing point"]["same zone"] + sum(
        table[row][f"{near} crossing point"] for row in table for near in ("neighbouring", "other")
    )
    from_point = table["crossing point"]["same zone"] + sum(
        table["crossing point"][f"{near} crossing point"] for near in ("neighbouring", "other")
    )
    counted_false = flips["counted of devices that flip"]
    whole_false = sum(matrix[FALSE, kind] for kind in ("belt", "crossing point"))
    return {
        "matrix": table,
        "false": {kind: matrix[FALSE, kind] for kind in ("belt", "crossing point")},
        "movements": sum(true.values()),
        "zone_right_of_counted": share(right, sum(counted_of.values())),
        "zone_right_of_true": share(right, sum(true.values())),
        "zone_right_of_counted_belt": share(table["belt"]["same zone"], counted_of["belt"]),
        "zone_right_of_counted_crossing_point": share(
            table["crossing point"]["same zone"], counted_of["crossing point"]
        ),
        "booked_to_a_crossing_point_rightly": share(from_point, to_point + matrix[FALSE, "crossing point"]),
        "crossing_point_traffic_booked_to_one": share(from_point, counted_of["crossing point"]),
        "flips": flips["flips"],
        "flips_counted_as_movement": share(counted_false, 2 * flips["flips"]),
        "counted_without_a_movement": share(whole_false, sum(counted_of.values()) + whole_false),
        "by_class": {
            kind: {column: by_class[kind, column] for column in columns if by_class[kind, column]}
            for kind in sorted({kind for kind, _ in by_class})
        },
        "targets": {
            "zone_right": 0.90,
            "booked_to_a_crossing_point_rightly": 0.95,
            "flips_counted_as_movement": 0.02,
        },
    }


def share(part: int, whole: int) -> float:
    """A share to four digits."""
    return round(part / max(whole, 1), 4)


def touching(grid: ZoneGrid) -> dict[int, set[int]]:
    """Per zone the zones that touch it, by index."""
    index = {zone.zone_id: ix for ix, zone in enumerate(grid.zones)}
    return {index[zone]: {index[other] for other in others} for zone, others in neighbours(grid).items()}


def plain_ground(edge: Edge, place: Place) -> PlainGround:
    """The ground for the plain rules."""
    zones = edge.located.cells.sort("cell")["zone"].to_list()
    pairs = frozenset(edge.located.overlaps.select("a", "b").iter_rows())
    return PlainGround(zones, zones, frozenset(np.flatnonzero(place.crossing_points).tolist()), pairs)


def rows_by_device(sightings: pl.DataFrame, tokens: pl.Series) -> Iterator[tuple[int, list[Row]]]:
    """The sightings, in the order of the rules, of every device that was ever seen abroad or said to come from there."""
    from ingest.tokens import token_bytes

    numbers = pl.DataFrame({"token": token_bytes(tokens), "device": np.arange(len(tokens))})
    named = sightings.join(numbers, on="token", how="inner").select("device", "event_time", "cell", "side")
    crossing = named.filter(pl.col("side").is_in([int(Side.ABROAD), int(Side.HOME_FROM_ABROAD)]))["device"].unique()
    of_them = named.join(crossing.to_frame(), on="device", how="semi").sort("device")
    device = of_them["device"].to_numpy()
    columns = [of_them[name].to_list() for name in ("event_time", "cell", "side")]
    edges = np.flatnonzero(np.diff(device, prepend=-1, append=-1))
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        yield int(device[start]), in_order(zip(*(column[start:end] for column in columns), strict=True))


def agree(told: Mapping[int, Sequence[Told]], edge_counts: Counts, day: datetime) -> None:
    """Raise Disagreement unless the plain telling counts what the edge counts, cell by cell."""
    plain = np.zeros_like(edge_counts)
    first = int(day.timestamp()) // 3_600
    for mine in told.values():
        for one in mine:
            if one.fate == "counted":
                plain[one.at // HOUR_MS - first, one.zone, one.direction] += 1
    if not np.array_equal(plain, edge_counts):
        raise Disagreement(f"{int(np.abs(plain - edge_counts).sum())} of {int(edge_counts.sum())} movements differ")


# An outage


def outage(border: str, seed: int, scale: float) -> dict[str, Any]:
    """A mast out for two hours and 5,000 phones back at once, in one belt after another: what is counted more.

    An hour is told as degraded when the alarmed cells are a fifth of a zone's, or when they leave ground by the line bare;
    `price` is how often that is so of any one mast.
    """
    place = place_of(border)
    carrier = three_carriers("VN")[0]
    asked = place.ask(carrier, DAY, seed, scale)
    usual = simulate_day(asked, place.ground)
    edge = Edge.of(place, carrier, usual.plan)
    zones = len(place.grid.zones)
    without = counted(edge.sightings(usual.events), edge, DAY, zones)
    belts = np.flatnonzero(~place.crossing_points)
    busiest = belts[np.argsort(-without.sum(axis=(0, 2))[belts])][:: max(1, len(belts) // 6)][:6]
    named = edge.located.cells.filter(pl.col("zone") >= 0).select(
        "zone", cell=pl.concat_str("rat", "plmn", "cell_id", separator="/")
    )
    cells = {
        place.grid.zones[zone].zone_id: frozenset(held) for zone, held in named.group_by("zone").agg("cell").iter_rows()
    }
    told = []
    for zone in busiest.tolist():
        failed = SiteOutage(place.grid.zones[zone].zone_id, DAY + 6 * HOUR)
        sim = simulate_day(replace(asked, incidents=(failed,)), place.ground)
        with_it = counted(edge.sightings(sim.events), edge, DAY, zones)
        hours = [DAY + hour * HOUR for hour in range(24)]
        by_share = degraded_hours(sim.alarms, cells, hours)
        by_cover = bare_hours(edge.located.cells, edge.located.cover, sim.alarms, hours)
        degraded = by_share | by_cover
        more = with_it - without
        told.append(
            {
                "zone": failed.zone_id,
                "reattaching": failed.reattaching,
                "rows_more": sim.events.height - usual.events.height,
                "counted_more": int(more[more > 0].sum()),
                "of_which_in_hours_called_complete": int(
                    sum(more[hour][more[hour] > 0].sum() for hour, at in enumerate(hours) if at not in degraded)
                ),
                "most_in_one_zone_hour": int(more.max()),
                "fell_onto_a_network_across": int(sim.truth["fallen"].sum()),
                "degraded_hours": len(degraded),
                "of_which_by_share_of_a_zone": len(by_share),
                "of_which_by_bare_ground": len(by_cover),
                "alarms": [str(alarm.kind) for alarm in sim.alarms],
            }
        )
    return {"border": border, "outages": told, "price": price(edge.located, cells, usual.network)}


def price(located: LocatedPlan, zone_cells: Mapping[str, frozenset[str]], network: pl.DataFrame) -> dict[str, Any]:
    """What share of masts makes hours incomplete by its own outage: of all, and of those that serve ground by the line."""
    mast = network.select("rat", "plmn", "cell_id", mast=pl.struct("lon", "lat").rank("dense"))
    of = located.cells.join(mast, on=["rat", "plmn", "cell_id"], how="inner").sort("cell")
    names = of.select(pl.concat_str("rat", "plmn", "cell_id", separator="/")).to_series()
    cell, number = of["cell"].to_numpy().astype(np.int64), of["mast"].to_numpy()
    tiles = np.arange(len(located.cover.tiles))
    found = Counter[str]()
    for one in np.unique(number):
        out, silent = cell[number == one], frozenset(names.filter(pl.Series(number == one)))
        bare = located.cover.is_bare(out, cell[number != one])
        share_of_a_zone = max(len(silent & held) / len(held) for held in zone_cells.values())
        found["masts"] += 1
        found["by the line"] += bool(located.cover.reached(out, tiles).any())
        found["a fifth of a zone"] += share_of_a_zone >= SHARE_OF_A_ZONE
        found["bare ground"] += bare
        found["either"] += bare or share_of_a_zone >= SHARE_OF_A_ZONE
    return {
        "masts": found["masts"],
        "by_the_line": found["by the line"],
        **{
            f"touch_by_{name.replace(' ', '_')}": {
                "masts": found[name],
                "of_all": share(found[name], found["masts"]),
                "of_those_by_the_line": share(found[name], found["by the line"]),
            }
            for name in ("a fifth of a zone", "bare ground", "either")
        },
    }


# Speed


def speed(scale: float, border: str, seed: int, processes: int) -> dict[str, Any]:
    """Events a minute from the order to the files, by wall and by CPU second, one process and a carrier a process."""
    place = place_of(border)
    orders = [place.ask(carrier, DAY, seed, scale) for carrier in three_carriers("VN")]
    began, cpu = time.perf_counter(), time.process_time()
    sim = simulate_day(orders[0], place.ground)
    drawn = {"events": sim.events.height, "wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}
    found = {"drawn, one carrier, one process": per_minute(drawn)}
    for many in sorted({1, processes}):
        folder = Path(tempfile.mkdtemp(prefix="tidemark-simulated-"))
        try:
            began, before = time.perf_counter(), Processes.now()
            events = sum(one.events for one in simulate_days(orders, folder, processes=many))
            after = Processes.now()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        wall = time.perf_counter() - began
        name = f"to files, three carriers, {many} process{'es' if many > 1 else ''}"
        found[name] = per_minute({"events": events, "wall_s": wall, "cpu_s": after.driver_cpu_s - before.driver_cpu_s})
    return found


def per_minute(cost: dict[str, float]) -> dict[str, float]:
    """The cost with events a minute, in millions."""
    return {
        "events": cost["events"],
        "wall_s": round(cost["wall_s"], 1),
        "cpu_s": round(cost["cpu_s"], 1),
        "million_events_a_minute": round(cost["events"] / cost["wall_s"] * 60 / 1e6, 1),
        "million_events_a_cpu_minute": round(cost["events"] / max(cost["cpu_s"], 1e-9) * 60 / 1e6, 1),
    }


# What is printed


def markdown(section: str, found: dict[str, Any]) -> str:
    """A section for people."""
    if section == "gates":
        lines = ["| gate | measured | should lie in | of notes/telecom.md | passed |", "|---|---|---|---|---|"]
        lines += [
            f"| {row['gate']} | {row['lowest']:.4g} .. {row['highest']:.4g} | {row['low']:g} .. {row['high']:g} "
            f"| {row['source']} | {row['passed']} of {row['of']} |"
            for row in found["gates"]
        ]
        failed = [
            f"{row['gate']}: {row['measured']:.4g} on {row['border']}, seed {row['seed']}" for row in found["failed"]
        ]
        return "\n".join([*lines, "", "Out of range: " + ("; ".join(failed) or "none") + "."])
    if section == "booking":
        columns = list(found["matrix"]["belt"])
        lines = [f"| true \\ booked | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        lines += [
            f"| {row} | " + " | ".join(f"{count:,}" for count in found["matrix"][row].values()) + " |"
            for row in found["matrix"]
        ]
        rest = {name: value for name, value in found.items() if name not in ("matrix", "by_class")}
        return "\n".join([*lines, "", *(f"* {name}: {value}" for name, value in rest.items())])
    return "\n".join(f"* {name}: {json.dumps(value)}" for name, value in found.items())


def main() -> None:
    """Print one section, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--section", choices=["gates", "fidelities", "booking", "outage", "speed"], action="append")
    parser.add_argument("--borders", nargs="*", default=list(BORDERS))
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--scale", type=float, default=None, help="share of bystanders; the section's own by default")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    first = asked.borders[0]
    sections: dict[str, tuple[float, Callable[[float], dict[str, Any]]]] = {
        "gates": (0.02, lambda scale: gates(GATE_SEEDS, scale, asked.borders)),
        "fidelities": (0.002, lambda scale: fidelities(asked.days, scale, asked.borders, asked.seed)),
        "booking": (0.01, lambda scale: booking(scale, asked.borders, asked.seed)),
        "outage": (0.002, lambda scale: outage(first, asked.seed, scale)),
        "speed": (0.1, lambda scale: speed(scale, first, asked.seed, asked.processes)),
    }
    report: dict[str, Any] = {"provenance": provenance(asked.seed), "borders": asked.borders}
    for name in asked.section or list(sections):
        usual, measure = sections[name]
        report[name] = measure(usual if asked.scale is None else asked.scale)
        if not asked.json:
            print(
                f"\n{name}, {', '.join(asked.borders)}, {json.dumps(report['provenance'])}\n\n{markdown(name, report[name])}"
            )
    if asked.json:
        print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
