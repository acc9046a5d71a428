"""Masts that fail and masts that are switched on: what it does to a simulated day, and what the element alarms say of it.

An incident is laid over a finished day: rows of everybody else stay what they are without it, to the last bit. So what
an incident does to counts is the difference of two simulations.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geofence.grid import ZoneGrid
from ingest.alarms import Alarm, AlarmKind
from ingest.attachment import EventType
from ingest.release import format_utc
from simulator.diary import CODE, DAY_S, NONE, OWN, Networks
from simulator.radio import NO_CELL, Rows
from simulator.rates import ARRIVAL, DEPARTURE, SimulationRefused
from simulator.serving import Serving
from simulator.spots import Ints, SpotKind, Spots

Floats = NDArray[np.float64]

ALARM_SOURCE = "oss-simulated"
FALLS_WITHIN_M = 6_000.0  # of the line: farther away no network across is heard (notes/telecom.md, section 7)
FALLS_ACROSS = 0.5  # of phones that near, out of reach of their own network: those that may roam
SCAN_S = (30.0, 180.0)
HOME_AGAIN_S = (60.0, 3_600.0)  # a network across is left at the next retry
FLIP_S = 3_600.0
BACK_MEAN_S = 120.0  # thousands are back in minutes
REGISTERS_MEAN_S, REGISTERS_WITHIN_S = 1_200.0, 3 * 3_600.0


@dataclass(frozen=True, slots=True)
class SiteOutage:
    """The mast that serves most people of a zone falls silent; those who lost it come back together at its repair."""

    zone_id: str
    starts_at: datetime
    hours: float = 2.0
    reattaching: int = 5_000


@dataclass(frozen=True, slots=True)
class NewSite:
    """The mast that serves most people of a zone was not there before: at its start they register on it anew."""

    zone_id: str
    starts_at: datetime
    registering: int = 1_500


Incident = SiteOutage | NewSite


@dataclass(frozen=True, slots=True, eq=False)
class Disturbed:
    """What incidents leave of a day's rows.

    kept: flags by row of `rows`; cell: by row, re-served where the own cell was silent; added: rows of those who lost or
    found a mast, with `devices` new devices numbered on from the day's. fallen: false movements, by (hour, zone,
    direction): phones that fell onto a network across for more than an hour.
    """

    kept: NDArray[np.bool_]
    cell: NDArray[np.int32]
    added: Rows
    devices: int
    fallen: Ints
    plan: pl.DataFrame
    alarms: tuple[Alarm, ...]


def parse_outage(text: str, day_start: datetime) -> SiteOutage:
    """The outage that `ZONE,HOURS-FROM-THE-TURN,HOURS,DEVICES` asks for; raises SimulationRefused for anything else.

    >>> from datetime import UTC
    >>> parse_outage("belt-07,6.5,2,5000", datetime(2026, 3, 1, 20, tzinfo=UTC)).starts_at.isoformat()
    '2026-03-02T02:30:00+00:00'
    """
    zone_id, after, hours, devices = _asked(text, 4)
    return SiteOutage(zone_id, day_start + timedelta(hours=float(after)), float(hours), int(devices))


def parse_new_site(text: str, day_start: datetime) -> NewSite:
    """The new site that `ZONE,HOURS-FROM-THE-TURN,DEVICES` asks for; raises SimulationRefused for anything else."""
    zone_id, after, devices = _asked(text, 3)
    return NewSite(zone_id, day_start + timedelta(hours=float(after)), int(devices))


def _asked(text: str, parts: int) -> list[str]:
    found = [part.strip() for part in text.split(",")]
    numbers = [part.replace(".", "", 1).isdigit() for part in found[1:]]
    if len(found) != parts or not all(numbers) or not found[-1].isdigit():
        raise SimulationRefused(
            "an incident is a zone, hours from the turn, the outage's hours, and devices, with commas"
        )
    return found


def disturb(
    rows: Rows,
    incidents: Sequence[Incident],
    *,
    grid: ZoneGrid,
    plan: pl.DataFrame,
    spots: Spots,
    serving: Serving,
    networks: Networks,
    day_start: datetime,
    devices: int,
    rng: np.random.Generator,
) -> Disturbed:
    """A day's rows under incidents, each at a mast of its own.

    Raises SimulationRefused for a zone without a mast that is left, and for a time that is not that day.
    """
    kept, cell = np.ones(len(rows.at), dtype=np.bool_), rows.cell.copy()
    fallen = np.zeros((24, len(grid.zones), 2), dtype=np.int64)
    added: list[Rows] = []
    alarms: list[Alarm] = []
    first = devices
    taken: set[int] = set()
    zone_ids = [zone.zone_id for zone in grid.zones]
    for incident in incidents:
        if incident.zone_id not in zone_ids:
            raise SimulationRefused("an incident names a zone that the grid does not have")
        zone = zone_ids.index(incident.zone_id)
        at = (incident.starts_at - day_start) / timedelta(seconds=1)
        if not 0 < at < DAY_S:
            raise SimulationRefused("an incident begins within the token-day")
        mast = _busiest_mast(zone, spots, serving, taken)
        taken.add(mast)
        silent = serving.site == mast
        names = frozenset(_names(plan.filter(pl.Series(silent))))
        element = f"site-{mast}"
        match incident:
            case SiteOutage():
                until = min(at + incident.hours * 3_600.0, DAY_S)
                crowd, fell = _back_at_once(
                    incident.reattaching, zone, silent, at, until, spots, serving, networks, rng
                )
                ends_at = incident.starts_at + timedelta(hours=incident.hours)
                alarms.append(Alarm(ALARM_SOURCE, element, AlarmKind.OUTAGE, incident.starts_at, None, names))
                alarms.append(Alarm(ALARM_SOURCE, element, AlarmKind.RESTORED, ends_at, None, names))
                since = at
            case NewSite():
                crowd, fell = _found_anew(incident.registering, zone, silent, at, spots, serving, networks, rng)
                alarms.append(Alarm(ALARM_SOURCE, element, AlarmKind.NEW_SITE, incident.starts_at, None, names))
                opened = pl.when(pl.Series(silent)).then(incident.starts_at).otherwise("valid_from")
                plan = plan.with_columns(opened.cast(pl.Datetime("us", "UTC")).alias("valid_from"))
                since, until = 0.0, at
        hit = np.flatnonzero((cell != NO_CELL) & silent[np.maximum(cell, 0)] & (rows.at >= since) & (rows.at < until))
        hit = hit[rows.spot[hit] >= 0]
        other = serving.draw_without(rng, rows.spot[hit], silent)
        cell[hit] = other
        kept[hit[other < 0]] = False
        cell[hit[other < 0]] = rows.cell[hit[other < 0]]
        fallen += fell(len(grid.zones))
        count = int(crowd.device.max()) + 1 if len(crowd.device) else 0
        added.append(replace(crowd, device=crowd.device + first))
        first += count
    together = Rows(*(np.concatenate([getattr(part, name) for part in added]) for name in Rows.__slots__))
    order = np.lexsort((together.at, together.device))
    together = Rows(*(getattr(together, name)[order] for name in Rows.__slots__))
    return Disturbed(kept, cell, together, first - devices, fallen, plan, tuple(alarms))


def write_alarms(alarms: Sequence[Alarm], folder: Path) -> Path:
    """The alarms as `alarms.ndjson` in a folder, one a line, as `ingest.alarms.read_alarms` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "alarms.ndjson"
    lines = []
    for alarm in sorted(alarms, key=lambda alarm: alarm.starts_at):
        line = {"source": alarm.source, "element": alarm.element, "kind": str(alarm.kind)}
        line["starts_at"] = format_utc(alarm.starts_at)
        if alarm.ends_at is not None:
            line["ends_at"] = format_utc(alarm.ends_at)
        cells = {} if alarm.cells is None else {"cells": sorted(alarm.cells)}
        lines.append(json.dumps(line | cells) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


class _Fallen:
    """Phones that were on a network across for a while, as the false movements that the rules make of them."""

    def __init__(self, zone: Ints, left_s: Floats, back_s: Floats) -> None:
        self.zone, self.left_s, self.back_s = zone, left_s, back_s

    def __call__(self, zones: int) -> Ints:
        count = np.zeros((24, zones, 2), dtype=np.int64)
        stands = (self.back_s - self.left_s > FLIP_S) & (self.zone >= 0)
        for direction, at in ((DEPARTURE, self.left_s), (ARRIVAL, self.back_s)):
            counts = stands & (at >= 0) & (at < DAY_S)
            np.add.at(count[..., direction], ((at[counts] // 3_600).astype(np.int64), self.zone[counts]), 1)
        return count


def _busiest_mast(zone: int, spots: Spots, serving: Serving, taken: set[int]) -> int:
    """The mast that serves most people who live in a zone."""
    villages = spots.of(SpotKind.VILLAGE, zone)
    likely = np.diff(serving.up_to[villages], axis=1, prepend=0.0) * spots.people[villages][:, None]
    served = np.bincount(serving.site[serving.cell[villages]].ravel(), likely.ravel(), int(serving.site.max()) + 1)
    served[list(taken)] = 0.0
    if not served.max() > 0:
        raise SimulationRefused("an incident names a zone that has no mast left")
    return int(np.argmax(served))


def _names(plan: pl.DataFrame) -> list[str]:
    return [f"{rat}/{plmn}/{cell_id}" for rat, plmn, cell_id in plan.select("rat", "plmn", "cell_id").iter_rows()]


def _crowd(
    count: int, zone: int, silent: NDArray[np.bool_], spots: Spots, serving: Serving, rng: np.random.Generator
) -> tuple[Ints, NDArray[np.int32], NDArray[np.int32]]:
    """Where people of a zone live whom a mast serves, on which of its cells, and what would serve them without it."""
    homes = spots.of(SpotKind.VILLAGE, zone)
    by_mast = np.diff(serving.up_to[homes], axis=1, prepend=0.0) * silent[serving.cell[homes]]
    weight = by_mast.sum(axis=1) * spots.people[homes]
    spot = rng.choice(homes, count, p=weight / weight.sum())
    own = serving.draw_without(rng, spot, ~silent)
    strongest = serving.cell[spot, np.argmax(silent[serving.cell[spot]], axis=1)]
    return spot, np.where(own >= 0, own, strongest), serving.draw_without(rng, spot, silent)


def _back_at_once(
    count: int,
    zone: int,
    silent: NDArray[np.bool_],
    at: float,
    until: float,
    spots: Spots,
    serving: Serving,
    networks: Networks,
    rng: np.random.Generator,
) -> tuple[Rows, _Fallen]:
    """Those who lost their mast: on another, out of reach or on a network across until it is back."""
    spot, own, other = _crowd(count, zone, silent, spots, serving, rng)
    device, nobody = np.arange(count), np.full(count, NONE)
    lost = other < 0
    near = spots.from_line_m[spot] < FALLS_WITHIN_M
    falls = lost & near & (rng.random(count) < FALLS_ACROSS)
    network = networks.draw_across(rng, count)
    before = rng.uniform(max(0.0, at - 3_000), at, count)
    left = at + rng.uniform(*SCAN_S, count)
    back = until + np.where(falls, rng.uniform(*HOME_AGAIN_S, count), rng.gamma(2.0, BACK_MEAN_S / 2, count))
    names = np.where(falls & (rng.random(count) < 0.5), network, NONE)
    request, update = CODE[EventType.SERVICE_REQUEST], CODE[EventType.REGISTRATION_UPDATE]
    attach, roams = CODE[EventType.ATTACH], CODE[EventType.ROAMING_REGISTRATION]
    moved = np.flatnonzero(~lost)
    fell = np.flatnonzero(falls)
    parts = [
        _rows(device, before, request, OWN, nobody, own, spot),
        _rows(device[moved], left[moved], update, OWN, nobody[moved], other[moved], spot[moved]),
        _rows(device[fell], left[fell], roams, network[fell], nobody[fell], np.full(len(fell), NO_CELL), spot[fell]),
        _rows(device, back, np.where(lost, attach, update), OWN, names, own, spot),
    ]
    return _joined(parts), _Fallen(np.where(falls, spots.zone[spot], -1), left, back)


def _found_anew(
    count: int,
    zone: int,
    silent: NDArray[np.bool_],
    at: float,
    spots: Spots,
    serving: Serving,
    networks: Networks,
    rng: np.random.Generator,
) -> tuple[Rows, _Fallen]:
    """Those whom a new mast serves from its start: on another, out of reach or on a network across before."""
    spot, own, other = _crowd(count, zone, silent, spots, serving, rng)
    device, nobody = np.arange(count), np.full(count, NONE)
    lost = other < 0
    falls = lost & (spots.from_line_m[spot] < FALLS_WITHIN_M) & (rng.random(count) < FALLS_ACROSS)
    network = networks.draw_across(rng, count)
    before = rng.uniform(max(0.0, at - 6 * 3_600), max(at - 3_700.0, at / 2), count)
    found = at + np.minimum(rng.exponential(REGISTERS_MEAN_S, count), REGISTERS_WITHIN_S)
    names = np.where(falls & (rng.random(count) < 0.5), network, NONE)
    request, update = CODE[EventType.SERVICE_REQUEST], CODE[EventType.REGISTRATION_UPDATE]
    attach, roams = CODE[EventType.ATTACH], CODE[EventType.ROAMING_REGISTRATION]
    there = np.flatnonzero(~lost)
    fell = np.flatnonzero(falls)
    parts = [
        _rows(device[there], before[there], request, OWN, nobody[there], other[there], spot[there]),
        _rows(device[fell], before[fell], roams, network[fell], nobody[fell], np.full(len(fell), NO_CELL), spot[fell]),
        _rows(device, found, np.where(lost, attach, update), OWN, names, own, spot),
    ]
    # Nobody saw them leave: only the coming home is one too many.
    return _joined(parts), _Fallen(np.where(falls, spots.zone[spot], -1), np.full(count, -2 * DAY_S), found)


def _rows(
    device: Ints,
    at: Floats,
    kind: Ints | int,
    network: Ints | int,
    previous: Ints,
    cell: NDArray[np.int32] | Ints,
    spot: Ints,
) -> Rows:
    count = len(device)
    return Rows(
        device,
        at,
        np.broadcast_to(np.asarray(kind, dtype=np.int64), count),
        np.broadcast_to(np.asarray(network, dtype=np.int64), count),
        previous,
        cell.astype(np.int32),
        np.where(cell == NO_CELL, -1, spot),
    )


def _joined(parts: Sequence[Rows]) -> Rows:
    whole = Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in Rows.__slots__))
    today = (whole.at >= 0) & (whole.at < DAY_S)
    return Rows(*(getattr(whole, name)[today] for name in Rows.__slots__))
