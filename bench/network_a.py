"""The edge on network_a, beside the truth: `python -m bench.network_a --sample FOLDER [--explain | --only-explain] [--json]`.

The sample is made by a network simulator that is not ours; its README says how. Without `--explain` this program knows
of a run only what the edge releases. With it, the exact counts are made a second time, outside the edge, by plain
Python and by `movement.advance`: that is done for this one synthetic file, known by its digest, and for no other feed.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import dist
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import shapely

from bench.machine import provenance
from bench.plain_rules import (
    ARRIVAL,
    DEPARTURE,
    HOUR_MS,
    Cancelling,
    PlainGround,
    Row,
    Rules,
    booked,
    cancel,
    in_order,
    movements_of,
    put_right,
    zone_booked,
)
from bench.radio_and_position import (
    AS_RADIO,
    CAUSES,
    LIMIT_OF_CAUSE,
    Copy,
    Explained,
    Sums,
    Telling,
    Walk,
    explain_sums,
    tellings,
    walks_of,
)
from geofence.cell_plan import read_cell_plan
from geofence.grid import ZoneGrid, ZoneKind
from geofence.metres import plane_around
from ingest.attachment import LATENESS, Domain, EventType
from ingest.release import HOUR, Level, format_utc
from ingest.token_day import hours_of
from jobs.edge import Placed, edge_report, open_edge, place_cells, run_close, run_sight
from jobs.milestone import milestones
from jobs.settings import EdgeSettings, read_settings
from movement.advance import DIRECTIONS, SIGHTING_SCHEMA, advance, empty_carry_over
from movement.ground import INLAND, make_ground
from movement.sighting import Networks, Place, Side, side_of
from privacy.ledger import Entry

EXAMPLE = Path(__file__).resolve().parent.parent / "docs" / "examples" / "network_a.toml"
DAY_START = datetime(2026, 3, 2, 2, tzinfo=UTC)
EVENTS_SHA256 = "f85d8135de6a05be37f2403ab37259b5e400ed7903759cdc8f4267ef604d437e"
"""Of events.parquet. Exact counts are made from this file only: it is public and about nobody."""
TRUTHS = ("position_crossings", "settled_60min", "counted_k2")

Cell = tuple[str, str, str]
"""Window start as on the wire, zone_id, direction."""
Counts = Mapping[Cell, int]


class SampleRefused(ValueError):
    """The folder does not hold the sample that this program is about."""


# The edge, as it runs


def edge_settings(sample: Path, state: Path) -> EdgeSettings:
    """The settings of docs/examples/network_a.toml, for a sample that lies elsewhere and a state folder of their own."""
    settings = read_settings(EXAMPLE).edge
    assert settings is not None
    changed = {
        "zone_grid": sample / "zones.geojson",
        "cell_plan": sample / "cells.csv",
        "source": sample,
        "state": state,
    }
    return settings.model_copy(update=changed)


def run_edge(settings: EdgeSettings, placed: Placed, tell: Callable[[str], None]) -> tuple[list[Entry], dict[str, Any]]:
    """Every release of one run of the real edge, and what may be said of the run as a whole."""
    from jobs.spark import edge_session

    quiet = milestones(None)
    edge = open_edge(settings, placed, quiet)
    began = time.perf_counter()
    spark = edge_session(
        master=settings.master, scratch=settings.state / "scratch", driver_memory=settings.driver_memory
    )
    try:
        started = time.perf_counter()
        run_sight(spark, settings, placed, quiet, now=datetime.now(UTC))
        sighted = time.perf_counter()
        entries = run_close(
            spark,
            settings,
            edge,
            now=datetime.now(UTC),
            progress=lambda entry: tell(f"released {format_utc(entry.window_start)}"),
        )
        closed = time.perf_counter()
    finally:
        spark.stop()
    report = edge_report(edge, entries)
    seconds = {"spark": started - began, "sight": sighted - started, "close": closed - sighted}
    return entries, {
        "events_read": report["events_read"],
        "refused_by_reason": report["refused_by_reason"],
        "windows_released": len(report["windows_released"]),
        "values_published": report["values_published"],
        "share_suppressed": report["share_suppressed"],
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
    }


@dataclass(frozen=True, slots=True)
class PublishedCell:
    """One value that left the edge, and the truth of its zone-hour and direction."""

    window: str
    zone_id: str
    direction: str
    released: int
    sigma: float
    position_crossings: int
    settled_60min: int
    counted_k2: int


def published(entries: Sequence[Entry], truth: Mapping[str, Counts]) -> list[PublishedCell]:
    """Every value of a zone-hour that is not null, in the order of the releases."""
    found = []
    for entry in entries:
        if entry.document["level"] != Level.ZONE_HOUR.value:
            continue
        for count in entry.document["counts"]:
            if count["value"] is not None:
                cell = (format_utc(entry.window_start), count["zone_id"], count["direction"])
                sigma = entry.document["mechanism"]["sigma"]
                found.append(
                    PublishedCell(*cell, count["value"], sigma, *(truth[name].get(cell, 0) for name in TRUTHS))
                )
    return found


def read_truth(sample: Path) -> dict[str, Counts]:
    """Each column of truth.csv by zone-hour and direction; what is not listed is zero."""
    table = pl.read_csv(sample / "truth.csv").with_columns(pl.col("hour").str.slice(0, 19) + "Z")
    return {
        name: {
            (hour, zone, direction): n
            for hour, zone, direction, n in table.select("hour", "zone_id", "direction", name).iter_rows()
        }
        for name in TRUTHS
    }


# The exact counts, made again outside the edge


def undelayed(rows: Sequence[Row]) -> list[Row]:
    """The rows with every registration abroad before the return that names it, as the token lived it.

    The home register writes a registration abroad up to a minute late; a token that was back sooner has its return first.
    In this sample each return carries previous_plmn, so that the n-th registration belongs before the n-th return.
    """
    returns = [row[0] for row in rows if row[2] == Side.HOME_FROM_ABROAD]
    abroad = [row[0] for row in rows if row[2] == Side.ABROAD]
    moved = [min(at, back - 1) for at, back in zip(abroad, returns, strict=False)] + abroad[len(returns) :]
    return in_order(
        [*(row for row in rows if row[2] != Side.ABROAD), *((at, INLAND, int(Side.ABROAD)) for at in moved)]
    )


# The ladder


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to count, and the column of the truth that it is held against.

    `lived`: with the rows as they happened, every registration abroad before its return.
    """

    name: str
    beside: str
    rules: Rules
    lived: bool = False


_BARE = Rules(
    late_registrations=False,
    previous_plmn=False,
    cancelling=Cancelling.NONE,
    six_hours=False,
    footprint_zones=False,
    crossing_points=False,
    once_a_zone_hour=False,
    k=None,
)
_CANCELLED = replace(_BARE, cancelling=Cancelling.ALL)
_PUT_RIGHT = replace(_CANCELLED, late_registrations=True)
_READ = replace(_PUT_RIGHT, previous_plmn=True)
_OVERLAPPING = replace(_READ, cancelling=Cancelling.OVERLAPPING)
_SIX_HOURS = replace(_OVERLAPPING, six_hours=True)
_FOOTPRINT = replace(_SIX_HOURS, footprint_zones=True)
_CROSSING_POINT = replace(_FOOTPRINT, crossing_points=True)
_ONCE = replace(_CROSSING_POINT, once_a_zone_hour=True)
LADDER: tuple[Rung | str, ...] = (
    "position_crossings",
    Rung(
        "radio: every change of network is a movement, rows as they happened", "position_crossings", _BARE, lived=True
    ),
    Rung("the same, rows by event_time", "position_crossings", _BARE),
    Rung("the same, late registrations put right", "position_crossings", replace(_BARE, late_registrations=True)),
    "settled_60min",
    Rung(
        "radio, all opposite pairs within 60 min cancel, rows as they happened", "settled_60min", _CANCELLED, lived=True
    ),
    Rung("+ rows by event_time", "settled_60min", _CANCELLED),
    Rung("+ late registrations put right", "settled_60min", _PUT_RIGHT),
    Rung("+ previous_plmn is read", "settled_60min", _READ),
    Rung("+ only pairs with overlapping footprints cancel", "settled_60min", _OVERLAPPING),
    Rung("+ no departure after 6 h of silence", "settled_60min", _SIX_HOURS),
    Rung("+ zone by largest footprint share, inland books nothing", "settled_60min", _FOOTPRINT),
    Rung("+ crossing-point rule", "settled_60min", _CROSSING_POINT),
    "counted_k2",
    Rung("+ one per zone-hour and direction", "counted_k2", _ONCE),
    Rung("+ the first two per direction: the exact counts", "counted_k2", Rules()),
)
"""From the truth to the exact counts, one rule more on each rung; a bare name is a column of the truth."""
WITHOUT = (
    Rung("nothing: the exact counts", "counted_k2", Rules()),
    Rung("the delay of registrations abroad", "counted_k2", Rules(), lived=True),
    Rung("late registrations put right", "counted_k2", Rules(late_registrations=False)),
    Rung("previous_plmn", "counted_k2", Rules(previous_plmn=False)),
    Rung("cancelling", "counted_k2", Rules(cancelling=Cancelling.NONE)),
    Rung("the footprint test of cancelling", "counted_k2", Rules(cancelling=Cancelling.ALL)),
    Rung("the 6 h rule", "counted_k2", Rules(six_hours=False)),
    Rung("zones by footprint: the zone nearest to the mast", "counted_k2", Rules(footprint_zones=False)),
    Rung("the crossing-point rule", "counted_k2", Rules(crossing_points=False)),
    Rung("one per zone-hour", "counted_k2", Rules(once_a_zone_hour=False)),
    Rung("the first two per direction", "counted_k2", Rules(k=None)),
)
"""What is counted when one rule is taken out and all others hold."""


def require_the_sample(sample: Path) -> None:
    """Refuse every feed but the public one; raises SampleRefused."""
    with (sample / "events.parquet").open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != EVENTS_SHA256:
            raise SampleRefused("exact counts are made for the public sample only; events.parquet is another file")


def sightings_of(settings: EdgeSettings, placed: Placed) -> pl.DataFrame:
    """The sightings of the sample (SIGHTING_SCHEMA, not sorted), by the rules of the door and of `side_of`, without Spark."""
    networks = Networks(frozenset(settings.own_networks), frozenset(settings.networks_across))
    rows = pl.read_parquet(settings.drop_folder / "events.parquet").join(
        placed.located.cells.select("rat", "plmn", "cell_id", "cell", "zone"), on=("rat", "plmn", "cell_id"), how="left"
    )
    delay = pl.col("ingest_time") - pl.col("event_time")
    place = (
        pl.when(pl.col("cell_id").is_null())
        .then(pl.lit(Place.NONE.value))
        .when(pl.col("zone").is_null())
        .then(pl.lit(Place.UNKNOWN.value))
        .when(pl.col("zone") >= 0)
        .then(pl.lit(Place.BELT.value))
        .otherwise(pl.lit(Place.INLAND.value))
    )
    keys = ("event_type", "domain", "plmn", "previous_plmn", "place")
    rows = rows.filter(delay.is_between(timedelta(0), LATENESS)).with_columns(place.alias("place"))
    kinds = rows.select(keys).unique()
    sides = []
    for event_type, domain, plmn, previous_plmn, where in kinds.iter_rows():
        serving, previous = networks.network_of(plmn), networks.network_of(previous_plmn)
        decision = side_of(EventType(event_type), Domain(domain), serving, previous, Place(where))
        sides.append(None if decision.side is None else int(decision.side))
    kinds = kinds.with_columns(pl.Series("side", sides, pl.Int8))
    return (
        rows.join(kinds, on=keys, how="inner", nulls_equal=True)
        .filter(pl.col("side").is_not_null())
        .select(
            pl.col("token").cast(pl.Binary),
            pl.col("event_time").dt.epoch("ms"),
            pl.col("cell").fill_null(INLAND).cast(pl.Int32),
            "side",
        )
        .cast(dict(SIGHTING_SCHEMA))  # type: ignore[arg-type]
    )


def plain_ground(settings: EdgeSettings, placed: Placed) -> PlainGround:
    """The located plan as the plain rules look it up."""
    cells = placed.located.cells.sort("cell")
    masts = read_cell_plan(settings.cell_plan).select("rat", "plmn", "cell_id", "lon", "lat")
    stood = cells.join(masts, on=("rat", "plmn", "cell_id"), how="left", maintain_order="left")
    lon, lat = stood["lon"].to_numpy(), stood["lat"].to_numpy()
    zones = np.array([zone.geometry for zone in placed.grid.zones], dtype=object)
    plane = plane_around(zones)
    x, y = plane.xy(lon, lat)
    away = shapely.distance(shapely.points(x, y)[None, :], plane.to_metres(zones)[:, None])
    return PlainGround(
        footprint_zone=cells["zone"].to_list(),
        mast_zone=away.argmin(axis=0).tolist(),
        crossing_points=frozenset(
            ix for ix, zone in enumerate(placed.grid.zones) if zone.kind is ZoneKind.CROSSING_POINT
        ),
        overlapping=frozenset(placed.located.overlaps.iter_rows()),
        masts_m=list(zip(x.tolist(), y.tolist(), strict=True)),
    )


def token_days(sightings: pl.DataFrame) -> list[list[Row]]:
    """The rows of each token-day in order, without the token."""
    grouped = sightings.group_by("token").agg("event_time", "cell", "side")
    return [in_order(zip(*lists, strict=True)) for lists in grouped.select("event_time", "cell", "side").iter_rows()]


def counted(days: Iterable[Sequence[Row]], ground: PlainGround, grid: ZoneGrid, rules: Rules) -> Counts:
    """The counts by zone-hour and direction under some rules."""
    total: Counter[tuple[int, int, int]] = Counter()
    for rows in days:
        total.update(booked(rows, ground, rules))
    return {_cell(grid, at, zone, direction): n for (at, zone, direction), n in total.items()}


def advanced(sightings: pl.DataFrame, placed: Placed) -> Counts:
    """The exact counts once more, by `movement.advance` hour by hour: what the edge adds noise to."""
    cells = placed.located.cells.sort("cell")
    points = np.array([zone.kind is ZoneKind.CROSSING_POINT for zone in placed.grid.zones])
    ground = make_ground(cells["zone"].to_numpy(), points, placed.located.overlaps.to_numpy())
    carry_over = empty_carry_over()
    found = {}
    for hour in [*hours_of(DAY_START), DAY_START + 24 * HOUR]:
        start = int(hour.timestamp() * 1000)
        seen = sightings.filter(pl.col("event_time").is_between(start, start + HOUR_MS, closed="left"))
        step = advance(carry_over, seen, ground, hour_start_ms=start, k=2)
        carry_over = step.carry_over
        for zone, direction, count in step.counts.select("zone", "direction", "count").iter_rows():
            found[_cell(placed.grid, start - HOUR_MS, zone, direction)] = count
    return found


def explain(settings: EdgeSettings, placed: Placed, truth: Mapping[str, Counts]) -> dict[str, Any]:
    """The ladder from the truth to the exact counts, every rule taken out alone, and the cells with most in them."""
    require_the_sample(settings.drop_folder)
    ground, grid = plain_ground(settings, placed), placed.grid
    sightings = sightings_of(settings, placed)
    days = token_days(sightings)
    lived = [undelayed(rows) for rows in days]

    def count(rung: Rung) -> Counts:
        return counted(lived if rung.lived else days, ground, grid, rung.rules)

    found = [(rung, truth[rung] if isinstance(rung, str) else count(rung)) for rung in LADDER]
    exact = found[-1][1]
    beside = neighbours(grid)
    told = [tellings(walk, beside) for walk in walks_seen(lived, ground)]
    settled = _sums(truth["settled_60min"], grid)
    explained = explain_sums(told, settled)
    steps = contributions(explained, found, truth, grid)
    return {
        "sightings": sightings.height,
        "token_days": len(days),
        "advance_gives_the_same_counts": advanced(sightings, placed) == exact,
        "ladder": [
            summed(f"**truth: {rung}**", counts, None, grid)
            if isinstance(rung, str)
            else summed(rung.name, counts, truth[rung.beside], grid)
            for rung, counts in found
        ],
        "contributions": [contribution_row(name, part) for name, part in steps.items()],
        "unexplained": unexplained(steps, truth["counted_k2"], exact),
        "walks": {
            "with a change of side": len(told),
            **{cause: explained.walks[cause] for cause in CAUSES},
        },
        "controls": list(controls(told, settled, explained, grid)),
        "zone_hours": by_zone_hour(truth, exact, steps),
        "without": [summed(rung.name, count(rung), truth[rung.beside], grid) for rung in WITHOUT],
        "cells": largest_cells(
            truth, {name: counts for rung, counts in found for name, rules in _SHOWN if _rules(rung) == rules}
        ),
        "facts": facts(days, lived, ground),
    }


RADIO_ALONE = "radio, all opposite pairs within 60 min cancel, rows as they happened"
_LEFT_OVER = "**unexplained**"


def walks_seen(lived: Sequence[Sequence[Row]], ground: PlainGround) -> list[Walk]:
    """The walks that ever change side, each with its copies; zones are those of the masts.

    Copies of a walk have the same home rows, counted from the first of them; whoever is never seen at home is left out.
    """

    def copies() -> Iterator[tuple[object, Copy]]:
        for rows in lived:
            home = [(at, cell) for at, cell, side in rows if side != Side.ABROAD]
            if home:
                changes = [
                    (one.at, one.direction, ground.mast_zone[one.cell]) for one in movements_of(rows, ground, _BARE)
                ]
                ends = [None if row[2] == Side.ABROAD else ground.mast_zone[row[1]] for row in (rows[0], rows[-1])]
                same = tuple((at - home[0][0], cell) for at, cell in home)
                yield same, Copy(tuple(changes), rows[0][0], rows[-1][0], *ends)

    return [walk for walk in walks_of(copies()) if any(copy.changes for copy in walk)]


def neighbours(grid: ZoneGrid) -> dict[int, list[int]]:
    """The zones that touch each zone."""
    shapes = [zone.geometry for zone in grid.zones]
    return {
        one: [other for other in range(len(shapes)) if other != one and shapes[one].intersects(shapes[other])]
        for one in range(len(shapes))
    }


def controls(
    told: Sequence[Sequence[Telling]], truth: Sums, explained: Explained, grid: ZoneGrid
) -> Iterator[dict[str, Any]]:
    """The same explanation asked of two untruths: how many walks it must tell otherwise, and what is left over."""
    ends = [number for number, zone in enumerate(grid.zones) if zone.kind is ZoneKind.BELT]
    swapped = {ends[0]: ends[-1], ends[-1]: ends[0]}
    later = Sums({(at + HOUR_MS, zone, way): n for (at, zone, way), n in truth.items()})
    exchanged = Sums({(at, swapped.get(zone, zone), way): n for (at, zone, way), n in truth.items()})
    asked = {
        "the truth": explained,
        "untrue: an hour later": explain_sums(told, later),
        "untrue: the two belts exchanged": explain_sums(told, exchanged),
    }
    for name, found in asked.items():
        changed = sum(n for cause, n in found.walks.items() if cause != AS_RADIO)
        yield {"explained": name, "walks told otherwise": changed, "of": len(told), "movements left over": found.left}


def _sums(counts: Counts, grid: ZoneGrid) -> Sums:
    zones = {zone.zone_id: number for number, zone in enumerate(grid.zones)}
    found = Sums()
    for (window, zone_id, direction), n in counts.items():
        start = datetime.fromisoformat(window)
        way = DEPARTURE if direction == DIRECTIONS[DEPARTURE].value else ARRIVAL
        found[int(start.timestamp() * 1000), zones[zone_id], way] += n
    return found


def contributions(
    explained: Explained,
    found: Sequence[tuple[Rung | str, Counts]],
    truth: Mapping[str, Counts],
    grid: ZoneGrid,
) -> dict[str, Counts]:
    """What every rule and every cause adds to each zone-hour on the way from `counted_k2` to the exact counts.

    Raises AssertionError if the parts do not add up to the difference in every zone-hour: only what `left_over` holds may
    be without a name, and it is a part as well.
    """

    def named(sums: Sums) -> Counts:
        return {_cell(grid, *cell): n for cell, n in sums.items() if n}

    steps: dict[str, Counts] = {
        "the bound of the truth itself (`counted_k2` to `settled_60min`)": difference(
            truth["counted_k2"], truth["settled_60min"]
        )
    }
    steps |= {cause: named(part) for cause, part in explained.parts.items() if cause != AS_RADIO}
    steps[_LEFT_OVER] = named(explained.left_over)
    start = [isinstance(rung, Rung) and rung.name == RADIO_ALONE for rung, _ in found].index(True)
    counted_so_far = found[start][1]
    for rung, counts in found[start + 1 :]:
        if isinstance(rung, Rung):
            steps[rung.name.removeprefix("+ ")] = difference(counted_so_far, counts)
            counted_so_far = counts
    whole = Counter[Cell]()
    for part in steps.values():
        for cell, n in part.items():
            whole[cell] += n
    wanted = difference(truth["counted_k2"], found[-1][1])
    assert {cell: n for cell, n in whole.items() if n} == wanted, "the parts do not add up to the difference"
    return steps


def difference(before: Counts, after: Counts) -> Counts:
    """What is more or less in each cell afterwards, without the cells where nothing is."""
    gaps = {cell: after.get(cell, 0) - before.get(cell, 0) for cell in {*before, *after}}
    return {cell: n for cell, n in gaps.items() if n}


def contribution_row(name: str, part: Counts) -> dict[str, Any]:
    """A part of the difference in numbers: its sums with their signs, and over all zone-hours without."""
    kind = "no cause within the limits" if name == _LEFT_OVER else "a rule taken in, all else as before"
    row: dict[str, Any] = {"part": name, "limit": LIMIT_OF_CAUSE.get(name, kind)}
    for direction in DIRECTIONS:
        row[direction.value] = sum(n for cell, n in part.items() if cell[2] == direction.value)
    row["zone-hours added up without signs"] = sum(map(abs, part.values()))
    return row


def unexplained(steps: Mapping[str, Counts], truth: Counts, exact: Counts) -> dict[str, float]:
    """How much of the difference has no name: in movements, and as a share of what one may hold it against."""
    left = sum(map(abs, steps[_LEFT_OVER].values()))
    by_radio = [part for cause, part in steps.items() if cause in CAUSES]
    apart = {
        "share of the truth's movements": sum(truth.values()),
        "share of all parts": sum(abs(n) for part in steps.values() for n in part.values()),
        "share of the difference": sum(map(abs, difference(truth, exact).values())),
        "share of radio instead of position": left + sum(abs(n) for part in by_radio for n in part.values()),
    }
    return {"movements": left, **{name: round(left / whole, 4) if whole else 0.0 for name, whole in apart.items()}}


def by_zone_hour(truth: Mapping[str, Counts], exact: Counts, steps: Mapping[str, Counts]) -> list[dict[str, Any]]:
    """Every zone-hour with anything in it: the truth's three columns, the exact count, and every part of the difference."""
    moved = {name: part for name, part in steps.items() if part}
    cells = {cell for counts in (*truth.values(), exact) for cell, n in counts.items() if n}
    return [
        {
            **dict(zip(("window", "zone", "direction"), (cell[0][11:16], *cell[1:]), strict=True)),
            **{name: truth[name].get(cell, 0) for name in TRUTHS},
            "recovered": exact.get(cell, 0),
            **{name: part.get(cell, 0) for name, part in moved.items()},
        }
        for cell in sorted(cells, key=lambda cell: (cell[1], cell[2], cell[0]))
    ]


_SHOWN = (("all cancel", _READ), ("footprints", _OVERLAPPING), ("crossing points", _CROSSING_POINT), ("exact", Rules()))


def _rules(rung: Rung | str) -> Rules | None:
    return rung.rules if isinstance(rung, Rung) else None


def _cell(grid: ZoneGrid, at: int, zone: int, direction: int) -> Cell:
    window = format_utc(datetime.fromtimestamp(at / 1000, UTC))
    return window, grid.zones[zone].zone_id if zone >= 0 else "inland", DIRECTIONS[direction].value


def summed(name: str, counts: Counts, beside: Counts | None, grid: ZoneGrid) -> dict[str, Any]:
    """The totals of some counts, and how far they lie from the truth beside them, added up without signs.

    `apart`: over zone-hours and directions; `apart, zones`: the hours added up first; `apart, hours`: the zones.
    """
    row: dict[str, Any] = {"counted": name}
    for direction in DIRECTIONS:
        row[direction.value] = sum(n for cell, n in counts.items() if cell[2] == direction.value)
    for zone in grid.zones:
        for direction in DIRECTIONS:
            of_zone = [n for cell, n in counts.items() if cell[1:] == (zone.zone_id, direction.value)]
            row[f"{zone.zone_id} {direction.value}"] = sum(of_zone)
    ways: dict[str, Callable[[Cell], tuple[str, ...]]] = {
        "apart": lambda cell: cell,
        "apart, zones": lambda cell: cell[1:],
        "apart, hours": lambda cell: (cell[0], cell[2]),
    }
    for way, part in ways.items():
        gap = Counter[tuple[str, ...]]()
        for sign, side in ((1, counts), (-1, beside or {})):
            for cell, n in side.items():
                gap[part(cell)] += sign * n
        row[way] = "" if beside is None else sum(map(abs, gap.values()))
    return row


def largest_cells(truth: Mapping[str, Counts], shown: Mapping[str, Counts]) -> list[dict[str, Any]]:
    """The zone-hours with 50 or more in the settled truth or in the exact counts, on some rungs between them."""
    cells = {cell for counts in (truth["settled_60min"], shown["exact"]) for cell, n in counts.items() if n >= 50}
    columns = {**truth, **shown}
    return [
        {
            **dict(zip(("window", "zone", "direction"), cell, strict=True)),
            **{name: counts.get(cell, 0) for name, counts in columns.items()},
        }
        for cell in sorted(cells)
    ]


def facts(days: Sequence[Sequence[Row]], lived: Sequence[Sequence[Row]], ground: PlainGround) -> dict[str, float]:
    """What the sample holds that the rules turn on."""
    found = Counter[str]()
    apart_m, apart_min, home_cells = [], [], set()
    for rows, happened in zip(days, lived, strict=True):
        found["token-days that begin abroad"] += happened[0][2] == Side.ABROAD
        found["token-days that end abroad"] += happened[-1][2] == Side.ABROAD
        found["registrations abroad"] += sum(row[2] == Side.ABROAD for row in rows)
        found["rows with a foreign previous_plmn"] += sum(row[2] == Side.HOME_FROM_ABROAD for row in rows)
        found["of these written before their registration abroad"] += sum(
            row[2] == Side.HOME_FROM_ABROAD and before[2] != Side.ABROAD for before, row in pairwise(rows)
        )
        crossed = movements_of(happened, ground, _BARE)
        home_cells |= {one.cell for one in crossed}
        stays = [back.at - gone.at for gone, back in pairwise(crossed) if gone.direction == DEPARTURE]
        found["stays abroad that end"] += len(stays)
        found["of these at most 60 s long"] += sum(stay <= 60_000 for stay in stays)
        movements = movements_of(rows, ground, Rules())
        found["movements derived"] += len(movements)
        unnamed = replace(Rules(), previous_plmn=False)
        found["of these from previous_plmn alone"] += len(movements) - len(movements_of(rows, ground, unnamed))
        found["registrations left out because the hour turned"] += len(rows) - len(put_right(rows))
        found["of these with an inland home side"] += sum(ground.footprint_zone[one.cell] < 0 for one in movements)
        found["of these departures after more than 6 h of silence"] += sum(
            one.silence > 6 * HOUR_MS for one in movements
        )
        left = cancel(movements, ground, Cancelling.OVERLAPPING)
        found["movements left after cancelling"] += len(left)
        found["of these taken into a crossing point from elsewhere"] += sum(
            zone_booked(one, ground, Rules()) != ground.footprint_zone[one.cell] for one in left
        )
        for one, other in pairwise(left):
            if one.direction != other.direction and other.at - one.at <= HOUR_MS:
                apart_m.append(dist(ground.masts_m[one.cell], ground.masts_m[other.cell]))
                apart_min.append((other.at - one.at) / 60_000)
    found["neighbours left that differ from a cancelled pair by their footprints only"] = len(apart_m)
    return {
        **found,
        "median distance of their masts, m": round(float(np.median(apart_m))),
        "median time between them, min": round(float(np.median(apart_min)), 1),
        "cells that were ever the home side of a movement": len(home_cells),
    }


# Showing it


def markdown(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """A Markdown table, numbers to the right.

    >>> list(markdown(["zone", "n"], [["a", 1]]))
    ['| zone | n |', '|---|---:|', '| a | 1 |']
    """
    listed = [list(row) for row in rows]
    right = [any(isinstance(row[place], int | float) for row in listed) for place in range(len(columns))]
    yield f"| {' | '.join(columns)} |"
    yield f"|{'|'.join('---:' if numeric else '---' for numeric in right)}|"
    for row in listed:
        yield f"| {' | '.join(map(str, row))} |"


def totals(cells: Sequence[PublishedCell], truth: Mapping[str, Counts]) -> list[dict[str, Any]]:
    """Per direction: published values added up, the truth of the same cells, and the truth of all cells."""
    rows = []
    for direction in DIRECTIONS:
        some = [cell for cell in cells if cell.direction == direction.value]
        whole = {name: sum(n for cell, n in truth[name].items() if cell[2] == direction.value) for name in TRUTHS}
        rows.append(
            {
                "direction": direction.value,
                "cells": len(some),
                "released": sum(cell.released for cell in some),
                "sd of the sum": round(sum(cell.sigma**2 for cell in some) ** 0.5, 1),
                **{name: sum(getattr(cell, name) for cell in some) for name in TRUTHS},
                **{f"{name}, all cells": n for name, n in whole.items()},
            }
        )
    return rows


def report_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The report as Markdown."""
    yield "<!-- written by python -m bench.network_a -->"
    yield ", ".join(f"{name} {value}" for name, value in report["machine"].items()) + "."
    if "run" in report:
        run = report["run"]
        read = f"{run['events_read']:,} events read, refused: {run['refused_by_reason'] or 'none'}"
        released = f"{run['windows_released']} windows released, {run['values_published']} values published"
        yield ""
        yield f"{read}; {released}, {run['share_suppressed']:.1%} suppressed."
        yield "Seconds: " + ", ".join(f"{name} {value}" for name, value in run["seconds"].items()) + "."
        for title, rows in (("Published cells", report["published"]), ("Totals", report["totals"])):
            yield from _section(title, rows)
    if "explained" in report:
        explained = report["explained"]
        yield ""
        yield "Exact counts, made outside the edge from the public synthetic sample by plain Python;"
        yield f"`movement.advance` gives the same counts: {'yes' if explained['advance_gives_the_same_counts'] else 'NO'}."
        yield from _section("The ladder", explained["ladder"])
        yield from _section("The difference, part by part", explained["contributions"])
        yield from _section("Unexplained", [{"of": name, "number": n} for name, n in explained["unexplained"].items()])
        yield from _section("Walks", [{"told": name, "walks": n} for name, n in explained["walks"].items()])
        yield from _section("The same asked of untruths", explained["controls"])
        yield from _section("Every zone-hour", explained["zone_hours"])
        yield from _section("One rule taken out at a time", explained["without"])
        yield from _section("Zone-hours of 50 and more", explained["cells"])
        yield from _section("Facts", [{"fact": name, "number": n} for name, n in explained["facts"].items()])


def _section(title: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield ""
    yield f"### {title}"
    yield ""
    if rows:
        yield from markdown(list(rows[0]), (list(row.values()) for row in rows))
    else:
        yield "None."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the edge on the sample and print what came out beside the truth."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.network_a", description="The edge on network_a, beside the truth."
    )
    parser.add_argument(
        "--sample", type=Path, required=True, help="folder with events.parquet, cells.csv, zones.geojson"
    )
    parser.add_argument("--explain", action="store_true", help="rule by rule, from the truth to the exact counts")
    parser.add_argument("--only-explain", action="store_true", help="the same without a run of the edge")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of Markdown")
    parser.add_argument("--out", type=Path, help="write the Markdown to this file as well")
    given = parser.parse_args(arguments)

    def tell(what: str) -> None:
        sys.stderr.write(what + "\n")

    try:
        if given.explain or given.only_explain:
            require_the_sample(given.sample)
        truth = read_truth(given.sample)
    except (OSError, SampleRefused) as refused:
        parser.error(str(refused))
    with tempfile.TemporaryDirectory(prefix="network-a-") as scratch:
        settings = edge_settings(given.sample.resolve(), Path(scratch) / "edge")
        placed = place_cells(settings)
        ran = None if given.only_explain else run_edge(settings, placed, tell)
    report: dict[str, Any] = {
        "machine": {**provenance(None), "noise": "never seeded", "run_at": format_utc(datetime.now(UTC))}
    }
    if ran is not None:
        entries, run = ran
        cells = published(entries, truth)
        report |= {"run": run, "published": [asdict(cell) for cell in cells], "totals": totals(cells, truth)}
    if given.explain or given.only_explain:
        tell("counting again, rule by rule")
        report["explained"] = explain(settings, placed, truth)
    text = "\n".join(report_lines(report)) + "\n"
    sys.stdout.write(json.dumps(report) + "\n" if given.json else text)
    if given.out is not None:
        given.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
