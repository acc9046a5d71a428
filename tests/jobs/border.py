"""A small border for the edge's tests: network_a's grid and cells, made-up devices, and the plain way to count them."""

import base64
import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from geofence.locate import LocatedPlan
from ingest.attachment import AttachmentRefused, Domain, judge_timed
from jobs.settings import EdgeSettings
from movement.sighting import Networks, Place, side_of
from tests.movement.oracle import OracleGround, counts_of_day

FIXTURES = Path(__file__).parent.parent / "fixtures"
DAY = datetime(2026, 3, 2, 2, tzinfo=UTC)
OWN, ACROSS, ELSEWHERE = "204-99", "206-98", "208-01"
CELLS = pl.read_csv(FIXTURES / "network_a_cells.csv", schema_overrides={"cell_id": pl.String})["cell_id"].to_list()
NETWORKS = Networks(frozenset({OWN}), frozenset({ACROSS}))
TIMES = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        ("token", pa.string()),
        ("event_time", TIMES),
        ("ingest_time", TIMES),
        *[(name, pa.string()) for name in ("event_type", "rat", "plmn", "cell_id", "previous_plmn", "domain")],
    ]
)


def edge_settings(folder: Path, **changes) -> EdgeSettings:
    return EdgeSettings(
        **{
            "carrier": "carrier-a",
            "own_networks": [OWN],
            "networks_across": [ACROSS],
            "border": str(FIXTURES / "network_a_border.geojson"),
            "zone_grid": FIXTURES / "network_a_zones.geojson",
            "cell_plan": FIXTURES / "network_a_cells.csv",
            "turn_hour_utc": 2,
            "grid_valid_from": datetime(2026, 3, 1, 2, tzinfo=UTC),
            "source": folder / "feed",
            "state": folder / "edge",
            "replay": True,
            **changes,
        }
    )


def token(random_: random.Random) -> str:
    return base64.b32encode(random_.randbytes(16)).decode().lower()[:26]


def device_day(random_: random.Random, hours: float) -> list[dict]:
    """One device's rows over the first hours of the token-day: restless on purpose."""
    key, at, rows = token(random_), DAY + timedelta(seconds=random_.randrange(3600)), []
    domain = random_.choice(["domestic"] * 4 + ["inbound"])
    while at < DAY + timedelta(hours=hours):
        kind = random_.choice(
            ["service_request"] * 4
            + ["handover", "registration_update", "attach", "detach", "implicit_detach"]
            + ["roaming_registration"] * 3
            + ["roaming_cancel"]
        )
        roaming = kind.startswith("roaming")
        rows.append(
            {
                "token": key,
                "event_time": at,
                "ingest_time": at + timedelta(seconds=random_.choice([0, 1, 30, 700, 900, 901])),
                "event_type": kind,
                "rat": None if roaming else "EUTRA",
                "plmn": random_.choice([ACROSS, ACROSS, ACROSS, ELSEWHERE, OWN]) if roaming else OWN,
                "cell_id": None if roaming else random_.choice([*CELLS, "0ffffff"]),
                "previous_plmn": None if roaming else random_.choice([None] * 6 + [ACROSS, ELSEWHERE, OWN]),
                "domain": domain,
            }
        )
        at += timedelta(seconds=random_.choice([0, 20, 300, 1200, 2400, 3600, 3601, 9000]))
    return rows


def feed(seed: int, devices: int, hours: float = 6) -> list[dict]:
    """Rows of many devices in the order of their arrival, with duplicates."""
    random_ = random.Random(seed)
    rows = [row for _ in range(devices) for row in device_day(random_, hours)]
    rows += random_.choices(rows, k=len(rows) // 50)
    return sorted(rows, key=lambda row: row["ingest_time"])


def write_parquet(rows: list[dict], folder: Path, files: int = 3) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        pq.write_table(pa.Table.from_pylist(rows[number::files], SCHEMA), folder / f"part-{number}.parquet")


def ndjson_lines(rows: list[dict]) -> list[bytes]:
    def spelled(value):
        return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value

    return [json.dumps({name: spelled(value) for name, value in row.items()}).encode() for row in rows]


def plainly_counted(rows: list[dict], located: LocatedPlan, crossing_points: set[int]) -> Counter:
    """(hour start in ms, zone, direction) -> movements, without Spark, tables or hours."""
    cells = {row["cell_id"]: (row["cell"], row["zone"]) for row in located.cells.iter_rows(named=True)}
    ground = OracleGround(
        located.cells.sort("cell")["zone"].to_list(), crossing_points, set(located.overlaps.iter_rows())
    )
    tokens: dict[str, list] = {}
    for row in rows:
        try:
            event = judge_timed(row, row["event_time"], row["ingest_time"])
        except AttachmentRefused:
            continue
        cell, zone = cells.get(event.cell_id, (-1, None))
        place = Place.NONE if event.cell_id is None else Place.UNKNOWN if zone is None else Place.BELT
        if place is Place.BELT and zone < 0:
            place = Place.INLAND
        serving, previous = NETWORKS.network_of(event.plmn), NETWORKS.network_of(event.previous_plmn)
        side = side_of(event.event_type, Domain(event.domain), serving, previous, place).side
        if side is not None:
            at = int(event.event_time.timestamp() * 1000)
            tokens.setdefault(event.token, []).append((at, cell, int(side)))
    return counts_of_day(tokens, ground, 2)  # type: ignore[arg-type]
