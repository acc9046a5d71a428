"""The fine fidelity: one token-day of cell-attachment events of one carrier, in the contract of design.md, section 4.1.

Movement numbers are drawn from the same law, and by the same draw, as the zone-hour counts; here each one becomes a
device that makes it. Tokens are random: there is no subscriber behind them and no key.
"""

import base64
import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from geofence.border import Border
from geofence.grid import ZoneGrid
from geofence.grid import neighbours as touching_zones
from ingest.attachment import Domain
from ingest.release import HOUR
from simulator.diary import DAY_S, DEVICE_CLASSES, TYPES, Diary, Networks, write_bystanders, write_movers
from simulator.feed import MALFORMED, NULL, UNPLANNED, Delivered, deliver
from simulator.ground import Ground, survey
from simulator.radio import NO_CELL, Rows, emit
from simulator.rates import ARRIVAL, DEPARTURE, Ints, TrafficLaw, draw_law, draw_movements, whole_hour
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
    truth: zone_id, direction, window_start, one column for each movement class, movements, and cancelled (changes of
    network that the flip rule must take out; a departure and an arrival for each flip).
    trace: device, class, at_s, spot, cell of every undisturbed row on a cell, for the realism gates only;
    spots: lon, lat, zone, from_line_m, nearest_mast_m. Neither is ever written.
    """

    token_day_start: datetime
    events: pl.DataFrame
    marks: pl.DataFrame
    truth: pl.DataFrame
    trace: pl.DataFrame
    spots: pl.DataFrame


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
    ground: Ground | None = None,
    progress: Callable[[float], None] | None = None,
) -> SimulatedEvents:
    """24 hours of device events from `token_day_start`, which is the turn of the token-day.

    `scale` thins the bystanders in number and the movers in what they say far from the line; movements are never
    thinned, so truth is the law's at any scale. `law` defaults to the grid's law of the same seed, as in `counts`.
    """
    start = whole_hour(token_day_start)
    if start.hour != grid.turn_hour_utc:
        raise ValueError("a token-day starts at the turn hour of the grid")
    if not 0 < scale <= 1:
        raise ValueError("a scale lies in (0, 1]")
    tell = progress or (lambda _: None)
    rng = np.random.default_rng([seed, 40, start.toordinal(), *own_plmn.encode()])
    ground = ground or survey(grid, border)
    law = law or draw_law(grid, neighbours or touching_zones(grid), seed=seed)
    shares = {own_plmn: carrier_share}
    by_class = draw_movements(law, start, 24, shares)[0]
    planted = np.zeros_like(by_class[:1])
    for surge, whole in zip(surges, surge_movements(surges, law.zone_ids, start, 24), strict=True):
        planted[0] += share_of_surge(whole, surge.surge_id, shares, seed)[0]
    movements = np.concatenate([by_class, planted])
    tell(0.05)

    spots = lay_out_spots(ground, rng)
    serving = serving_cells(ground, plan, spots.xy, rng)
    tell(0.15)
    networks = Networks(own_plmn, tuple(across_plmns), tuple(elsewhere_plmns))
    diary = Diary()
    write_movers(diary, movements, spots, networks, rng, talk=max(scale, LEAST_TALK))
    flips = write_bystanders(diary, spots, networks, rng, share=carrier_share * scale)
    tell(0.35)
    rows = emit(diary, serving, rng)
    tell(0.6)
    delivered = deliver(rows, serving.site, rng)
    tell(0.7)
    events = _events(diary, rows, delivered, plan, networks, start, rng)
    tell(0.95)
    sim = SimulatedEvents(
        token_day_start=start,
        events=events,
        marks=_marks(start),
        truth=truth_table(law.zone_ids, start, movements).with_columns(cancelled=_cancelled(flips, movements)),
        trace=_trace(diary, rows),
        spots=_spot_table(ground, spots, serving),
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
    """Random tokens in the contract's grammar: 128 bits as 26 letters of base32."""
    raw = rng.bytes(16 * count)
    return pl.Series(
        [base64.b32encode(raw[at : at + 16])[:26].decode().lower() for at in range(0, len(raw), 16)], dtype=pl.String
    )


def _events(
    diary: Diary,
    rows: Rows,
    delivered: Delivered,
    plan: pl.DataFrame,
    networks: Networks,
    start: datetime,
    rng: np.random.Generator,
) -> pl.DataFrame:
    row = delivered.row
    device = rows.device[row]
    inbound = np.concatenate(diary.inbound)[device]
    names = pl.Series(list(networks.names), dtype=pl.String)
    own_cell = delivered.cell != NO_CELL
    cell = pl.Series(delivered.cell.astype(np.int64))
    cell = cell.set(pl.Series(~own_cell), None)
    named = pl.Series(np.where(delivered.cell_fault == NULL, NO_CELL, delivered.cell).astype(np.int64))
    named = named.set(named < 0, None)
    epoch_us = int(start.timestamp()) * 1_000_000
    events = pl.DataFrame(
        {
            "token": _tokens(diary.devices, rng).gather(device),
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
    return events.with_columns(cell_id=_faulty_cells(events["cell_id"], events["rat"], delivered.cell_fault, rng))


def _faulty_cells(cell_id: pl.Series, rat: pl.Series, fault: np.ndarray, rng: np.random.Generator) -> pl.Series:
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
        for cell, pick in zip(cell_id.gather(malformed), rng.integers(0, len(spellings), len(malformed)), strict=True)
    ]
    # Upper case changes nothing in an id without letters; such a row is then simply well formed.
    width = {"GERA": 8, "UTRA": 7, "EUTRA": 7, "NR": 9}
    fresh = [
        f"{number % 16 ** width[layer]:0{width[layer]}x}"
        for layer, number in zip(rat.gather(unplanned), rng.integers(0, 2**36, len(unplanned)).tolist(), strict=True)
    ]
    if not wrong and not fresh:
        return cell_id
    at = np.concatenate([malformed, unplanned])
    order = np.argsort(at)
    return cell_id.scatter(at[order], pl.Series([*wrong, *fresh]).gather(order))


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


def _cancelled(flips: Sequence[tuple[Ints, np.ndarray, np.ndarray]], movements: Ints) -> pl.Series:
    _, hours, zones, _ = movements.shape
    count = np.zeros((hours, zones, 2), dtype=np.int64)
    for zone, abroad, back in flips:
        for direction, at in ((DEPARTURE, abroad), (ARRIVAL, back)):
            today = at < DAY_S
            np.add.at(count[..., direction], ((at[today] // 3_600).astype(np.int64), zone[today]), 1)
    return pl.Series(count.ravel())


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
