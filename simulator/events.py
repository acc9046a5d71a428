"""The fine fidelity: one token-day of cell-attachment events of one carrier, in the contract of design.md, section 4.1.

Movement numbers are drawn from the same law, and by the same draw, as the zone-hour counts; here each one becomes a
device that makes it. Tokens are random: there is no subscriber behind them and no key.
"""

import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geofence.border import Border
from geofence.grid import ZoneGrid
from geofence.grid import neighbours as touching_zones
from ingest.alarms import Alarm
from ingest.attachment import Domain
from ingest.release import HOUR
from simulator.diary import (
    DAY_S,
    DEVICE_CLASSES,
    FLIP_KINDS,
    TYPES,
    Diary,
    Networks,
    write_bystanders,
    write_movers,
)
from simulator.feed import MALFORMED, NULL, UNPLANNED, Delivered, deliver, draw_masts
from simulator.ground import Ground, survey
from simulator.incidents import Disturbed, Incident, disturb
from simulator.network import published_plan
from simulator.radio import NO_CELL, Rows, emit
from simulator.rates import (
    ARRIVAL,
    DEPARTURE,
    Ints,
    SimulationRefused,
    TrafficLaw,
    draw_law,
    draw_movements,
    whole_hour,
)
from simulator.serving import Serving, serving_cells
from simulator.spots import Spots, lay_out_spots
from simulator.surges import Surge, share_of_surge, surge_movements
from simulator.truth import truth_table

ELSEWHERE_PLMNS = ("520-03", "520-04", "525-01", "440-10", "450-05")
FEED_SOURCES = (("probe", 0), ("probe", 1), ("register", 0))
LEAST_TALK = 0.05
EVENT_SCHEMA: Mapping[str, pl.DataType] = {
    "token": pl.String(),
    "event_time": pl.Datetime("us", "UTC"),
    "ingest_time": pl.Datetime("us", "UTC"),
    "event_type": pl.String(),
    "rat": pl.String(),
    "plmn": pl.String(),
    "cell_id": pl.String(),
    "previous_plmn": pl.String(),
    "domain": pl.String(),
}


@dataclass(frozen=True, slots=True)
class SimulatedEvents:
    """A token-day of one carrier, and what is behind it.

    events: the contract's columns, ordered by ingest_time. marks: source, partition, covers_until.
    truth: zone_id, direction, window_start, one column for each movement class, movements, cancelled (changes of network
    that the flip rule must take out; a departure and an arrival for each flip) and fallen (false movements of phones that
    an outage put on a network across).
    network: the cells as they are at the end of the day; plan: what the carrier's own plan says of them, with its faults;
    alarms: what its element alarms say of the day.
    trace: device, class, at_s, spot, cell of every undisturbed row on a cell; spots: lon, lat, x_m, y_m, zone,
    from_line_m, nearest_mast_m; crossings: device, at_s, zone (index), direction, class of every movement meant to count;
    flips: device, first_s, second_s, zone, kind; tokens: by device. These five are for gates and benches, never written.
    """

    token_day_start: datetime
    events: pl.DataFrame
    marks: pl.DataFrame
    truth: pl.DataFrame
    network: pl.DataFrame
    plan: pl.DataFrame
    alarms: tuple[Alarm, ...]
    trace: pl.DataFrame
    spots: pl.DataFrame
    crossings: pl.DataFrame
    flips: pl.DataFrame
    tokens: pl.Series


def simulate_events(
    grid: ZoneGrid,
    plan: pl.DataFrame,
    border: Border,
    *,
    token_day_start: datetime,
    carrier_share: float,
    own_plmn: str,
    across_plmns: Sequence[str],
    surges: Sequence[Surge],
    seed: int,
    neighbours: Mapping[str, Sequence[str]] | None = None,
    scale: float = 1.0,
    law: TrafficLaw | None = None,
    elsewhere_plmns: Sequence[str] = ELSEWHERE_PLMNS,
    carrier: str | None = None,
    incidents: Sequence[Incident] = (),
    ground: Ground | None = None,
    progress: Callable[[float], None] | None = None,
) -> SimulatedEvents:
    """24 hours of device events from `token_day_start`, which is the turn of the token-day.

    `scale` thins the bystanders in number and the movers in what they say far from the line; movements are never
    thinned, so truth is the law's at any scale. `law` defaults to the grid's law of the same seed, as in `counts`; the
    truth is that of the counts of a carrier of the same name (`carrier`, by default `own_plmn`) and share.
    """
    start = whole_hour(token_day_start)
    if start.hour != grid.turn_hour_utc:
        raise SimulationRefused("a token-day starts at the turn hour of the grid")
    if not 0 < scale <= 1:
        raise SimulationRefused("a scale lies in (0, 1]")
    tell = progress or (lambda _: None)
    stream = [start.toordinal(), *own_plmn.encode()]
    rng = np.random.default_rng([seed, 40, *stream])
    ground = ground or survey(grid, border)
    law = law or draw_law(grid, neighbours or touching_zones(grid), seed=seed)
    shares = {carrier or own_plmn: carrier_share}
    by_class = draw_movements(law, start, 24, shares)[0]
    planted = np.zeros_like(by_class[:1])
    for surge, whole in zip(surges, surge_movements(surges, law.zone_ids, start, 24), strict=True):
        planted[0] += share_of_surge(whole, surge.surge_id, shares, seed)[0]
    movements = np.concatenate([by_class, planted])
    tell(0.05)

    # Where people live is the same for every carrier and day, where a carrier is heard the same on every day.
    spots = lay_out_spots(ground, np.random.default_rng([seed, 41]))
    serving = serving_cells(ground, plan, spots.xy, np.random.default_rng([seed, 42, *own_plmn.encode()]))
    tell(0.15)
    networks = Networks(own_plmn, tuple(across_plmns), tuple(elsewhere_plmns))
    diary = Diary()
    write_movers(diary, movements, spots, networks, rng, talk=max(scale, LEAST_TALK))
    weather = law.weather(start, 24).mean(axis=0)[law.sector_ix]
    write_bystanders(diary, spots, networks, rng, share=carrier_share * scale, weather=weather)
    tell(0.35)
    rows = emit(diary, serving, rng)
    tell(0.6)
    trace = _trace(diary, rows)
    masts = draw_masts(int(serving.site.max()) + 1, np.random.default_rng([seed, 43, *stream]))
    delivered = deliver(rows, serving.site, masts, rng)
    inbound, fallen = np.concatenate(diary.inbound), np.zeros_like(movements[0])
    alarms: tuple[Alarm, ...] = ()
    if incidents:
        own = np.random.default_rng([seed, 44, *stream])
        disturbed = disturb(
            rows,
            incidents,
            grid=grid,
            plan=plan,
            spots=spots,
            serving=serving,
            networks=networks,
            day_start=start,
            devices=diary.devices,
            rng=own,
        )
        delivered = _laid_over(delivered, disturbed, rows, deliver(disturbed.added, serving.site, masts, own))
        rows = Rows(*(np.concatenate([getattr(rows, n), getattr(disturbed.added, n)]) for n in Rows.__slots__))
        inbound = np.append(inbound, np.zeros(disturbed.devices, dtype=np.bool_))
        plan, fallen, alarms = disturbed.plan, disturbed.fallen, disturbed.alarms
    tell(0.7)
    tokens = _tokens(len(inbound), np.random.default_rng([seed, 45, *stream]))
    events = _events(inbound, tokens, rows, delivered, plan, networks, start, rng)
    tell(0.95)
    sim = SimulatedEvents(
        token_day_start=start,
        events=events,
        marks=_marks(start),
        truth=truth_table(law.zone_ids, start, movements).with_columns(
            cancelled=_cancelled(diary, movements), fallen=pl.Series(fallen.ravel())
        ),
        network=plan,
        plan=published_plan(plan, ground, seed=seed),
        alarms=alarms,
        trace=trace,
        spots=_spot_table(ground, spots, serving),
        crossings=_crossings(diary),
        flips=_flips(diary),
        tokens=tokens,
    )
    tell(1.0)
    return sim


def write_events(
    sim: SimulatedEvents,
    folder: Path,
    *,
    format: Literal["parquet", "ndjson"] = "parquet",  # noqa: A002
) -> list[Path]:
    """Drop files by hour of ingest (`attachments-20260301T20.parquet` or `.ndjson.gz`), and `marks.ndjson`.

    Neither truth nor trace is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    hourly = sim.events.with_columns(_hour=pl.col("ingest_time").dt.truncate("1h")).partition_by(
        "_hour", maintain_order=True, as_dict=True, include_key=False
    )
    for (hour,), rows in hourly.items():
        stem = f"attachments-{hour:%Y%m%dT%H}"
        if format == "parquet":
            path = folder / f"{stem}.parquet"
            rows.write_parquet(path, compression="zstd")
        else:
            path = folder / f"{stem}.ndjson.gz"
            path.write_bytes(gzip.compress(_ndjson(rows), compresslevel=1, mtime=0))
        written.append(path)
    marks = folder / "marks.ndjson"
    marks.write_bytes(_ndjson(sim.marks))
    return [*written, marks]


def _ndjson(table: pl.DataFrame) -> bytes:
    times = [name for name, dtype in table.schema.items() if isinstance(dtype, pl.Datetime)]
    return table.with_columns(pl.col(times).dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")).write_ndjson().encode()


def _tokens(count: int, rng: np.random.Generator) -> pl.Series:
    """Random tokens in the contract's grammar: 128 bits as 26 letters of base32, the last two bits of 130 zero."""
    letters = rng.integers(0, 32, (count, 26), dtype=np.uint8)
    letters[:, -1] &= 0b11100
    spelled = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", dtype=np.uint8)[letters]
    return pl.Series(spelled.view("S26").ravel().astype("U26"), dtype=pl.String)


def _events(
    inbound_devices: NDArray[np.bool_],
    tokens: pl.Series,
    rows: Rows,
    delivered: Delivered,
    plan: pl.DataFrame,
    networks: Networks,
    start: datetime,
    rng: np.random.Generator,
) -> pl.DataFrame:
    row = delivered.row
    device = rows.device[row]
    inbound = inbound_devices[device]
    names = pl.Series(list(networks.names), dtype=pl.String)
    own_cell = delivered.cell != NO_CELL
    cell = pl.Series(delivered.cell.astype(np.int64))
    cell = cell.set(pl.Series(~own_cell), None)
    named = pl.Series(np.where(delivered.cell_fault == NULL, NO_CELL, delivered.cell).astype(np.int64))
    named = named.set(named < 0, None)
    epoch_us = int(start.timestamp()) * 1_000_000
    events = pl.DataFrame(
        {
            "token": tokens.gather(device),
            "event_time": (delivered.event_ms * 1_000 + epoch_us).astype("datetime64[us]"),
            "ingest_time": (delivered.ingest_ms * 1_000 + epoch_us).astype("datetime64[us]"),
            "event_type": pl.Series([str(kind) for kind in TYPES]).gather(rows.type[row]),
            "rat": plan["rat"].gather(cell),
            "plmn": names.gather(rows.network[row]),
            "cell_id": plan["cell_id"].gather(named),
            "previous_plmn": names.gather(rows.previous[row]),
            "domain": pl.Series([str(Domain.DOMESTIC), str(Domain.INBOUND)]).gather(inbound.astype(np.int64)),
        }
    )
    events = events.with_columns(pl.col("event_time", "ingest_time").dt.replace_time_zone("UTC"))
    cell_id = _faulty_cells(events["cell_id"], events["rat"], delivered, int(rng.integers(0, 2**63)))
    return events.with_columns(cell_id=cell_id)


def _faulty_cells(cell_id: pl.Series, rat: pl.Series, delivered: Delivered, key: int) -> pl.Series:
    """Cell ids with the feed's faults; which one a row gets depends on its number alone, not on what else is delivered."""
    fault = delivered.cell_fault
    malformed, unplanned = np.flatnonzero(fault == MALFORMED), np.flatnonzero(fault == UNPLANNED)
    spellings: tuple[Callable[[str], str], ...] = (
        str.upper,
        lambda cell: "0x" + cell,
        lambda cell: cell[1:],
        lambda cell: str(int(cell, 16)),
        lambda cell: cell[:-1] + "g",
    )
    wrong = [
        spellings[pick](cell)
        for cell, pick in zip(
            cell_id.gather(malformed), _scrambled(delivered.row[malformed], key) % len(spellings), strict=True
        )
    ]
    # Upper case changes nothing in an id without letters; such a row is then simply well formed.
    width = {"GERA": 8, "UTRA": 7, "EUTRA": 7, "NR": 9}
    fresh = [
        f"{number % 16 ** width[layer]:0{width[layer]}x}"
        for layer, number in zip(
            rat.gather(unplanned), (_scrambled(delivered.row[unplanned], key) >> 8).tolist(), strict=True
        )
    ]
    if not wrong and not fresh:
        return cell_id
    at = np.concatenate([malformed, unplanned])
    order = np.argsort(at)
    return cell_id.scatter(at[order], pl.Series([*wrong, *fresh]).gather(order))


def _scrambled(numbers: Ints, key: int) -> NDArray[np.uint64]:
    """A random-looking 64-bit number for each (SplitMix64, Steele et al. 2014)."""
    mixed = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    for shift, by in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(by)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def _marks(start: datetime) -> pl.DataFrame:
    """Each source's marks at the end of every hour, past the day's last cut and no further: there is no next day.

    What is delivered later still (0.1 % of rows, replayed) is late by its own row.
    """
    end = start + timedelta(hours=26)
    hours = int((end - start) / HOUR)
    rows = [
        {"source": source, "partition": partition, "covers_until": start + hour * HOUR}
        for hour in range(1, hours + 1)
        for source, partition in FEED_SOURCES
    ]
    return pl.DataFrame(
        rows, schema={"source": pl.String, "partition": pl.Int64, "covers_until": pl.Datetime("us", "UTC")}
    )


def _cancelled(diary: Diary, movements: Ints) -> pl.Series:
    _, hours, zones, _ = movements.shape
    count = np.zeros((hours, zones, 2), dtype=np.int64)
    for flips in diary.flips:
        kind, zone = flips["kind"], flips["zone"].astype(np.int64)
        for name, usual in (("first", DEPARTURE), ("second", ARRIVAL)):
            at = flips[name].astype(np.float64)
            direction = np.where(kind == 0, usual, 1 - usual)
            today = (at >= 0) & (at < DAY_S) & (zone >= 0)
            np.add.at(count, ((at[today] // 3_600).astype(np.int64), zone[today], direction[today]), 1)
    return pl.Series(count.ravel())


def _laid_over(delivered: Delivered, disturbed: Disturbed, rows: Rows, added: Delivered) -> Delivered:
    """What is delivered of a day once incidents are laid over it; the added rows' numbers follow on the day's."""
    stays = np.flatnonzero(disturbed.kept[delivered.row])
    row = delivered.row[stays]
    moved = disturbed.cell[row] != rows.cell[row]
    ingest_ms = np.concatenate([delivered.ingest_ms[stays], added.ingest_ms])
    order = np.argsort(ingest_ms, kind="stable")
    return Delivered(
        np.concatenate([row, added.row + len(rows.at)])[order],
        np.concatenate([delivered.event_ms[stays], added.event_ms])[order],
        ingest_ms[order],
        np.concatenate([np.where(moved, disturbed.cell[row], delivered.cell[stays]), added.cell])[order],
        np.concatenate([delivered.cell_fault[stays], added.cell_fault])[order],
    )


def _crossings(diary: Diary) -> pl.DataFrame:
    moved = _columns(diary.movements, ("device", "at", "zone", "direction"))
    device = moved["device"].astype(np.int64)
    device_class = np.concatenate(diary.device_class)
    return pl.DataFrame(
        {
            "device": device,
            "at_s": moved["at"].astype(np.float64),
            "zone": moved["zone"].astype(np.int32),
            "direction": moved["direction"].astype(np.int8),
            "class": pl.Series(list(DEVICE_CLASSES)).gather(device_class[device]),
        }
    )


def _flips(diary: Diary) -> pl.DataFrame:
    flips = _columns(diary.flips, ("device", "first", "second", "zone", "kind"))
    return pl.DataFrame(
        {
            "device": flips["device"].astype(np.int64),
            "first_s": flips["first"].astype(np.float64),
            "second_s": flips["second"].astype(np.float64),
            "zone": flips["zone"].astype(np.int32),
            "kind": pl.Series(list(FLIP_KINDS)).gather(flips["kind"].astype(np.int64)),
        }
    )


def _columns(parts: Sequence[dict[str, NDArray[np.generic]]], names: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    return {name: np.concatenate([np.zeros(0), *(part[name] for part in parts)]) for name in names}


def _trace(diary: Diary, rows: Rows) -> pl.DataFrame:
    device_class = np.concatenate(diary.device_class)[rows.device]
    return pl.DataFrame(
        {
            "device": rows.device.astype(np.int32),
            "class": pl.Series(list(DEVICE_CLASSES)).gather(device_class),
            "at_s": rows.at,
            "spot": rows.spot.astype(np.int32),
            "cell": rows.cell,
        }
    )


def _spot_table(ground: Ground, spots: Spots, serving: Serving) -> pl.DataFrame:
    lon, lat = ground.lon_lat(spots.xy)
    return pl.DataFrame(
        {
            "lon": lon,
            "lat": lat,
            "x_m": spots.xy[:, 0],
            "y_m": spots.xy[:, 1],
            "zone": spots.zone,
            "from_line_m": spots.from_line_m,
            "nearest_mast_m": serving.nearest_m,
        }
    )
