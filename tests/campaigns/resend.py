"""`python -m tests.campaigns.resend`: a day sent twice, out of order, with duplicates and garbage, counts like the clean day.

A simulated token-day goes through two edges on one real Spark. One reads it as it was sent. The other reads every row once
in an order that is shuffled by up to 15 minutes, and then all of it again, with 2 % of the rows once more and 1 % of rows
wrong in one thing; a row that is sent again arrives later, as late as it may be. Before noise the exact counts of all
24 windows and of the day's own levels must be the same. `--sound` makes the garbage sound: then they must not be.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import numpy as np
import polars as pl

from bench.machine import provenance
from geofence.border import read_border
from geofence.build import build_zone_grid
from geofence.grid import neighbours, write_zone_grid
from ingest.attachment import LATENESS
from jobs.edge import open_edge, place_cells, run_close, run_sight
from jobs.milestone import milestones
from jobs.settings import EdgeSettings
from jobs.spark import edge_session
from jobs.tables import EdgeFolder
from simulator.events import simulate_events
from simulator.network import simulate_network
from tests.campaigns import witness
from tests.campaigns.marked import Marked

DAY = datetime(2026, 6, 24, 20, tzinfo=UTC)
OWN, ACROSS = "452-04", ["456-01", "456-06", "456-08"]
SHUFFLED_BY = timedelta(minutes=15)
DUPLICATES, GARBAGE = 0.02, 0.01
NOW = datetime(2026, 7, 1, tzinfo=UTC)
DIFFERENT = "exact counts differ from those of the clean day"


def main() -> int:
    """Print how the two edges compare as one JSON object; exit code 1 if they differ."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.resend", description=__doc__)
    parser.add_argument("--scale", type=float, default=0.003, help="share of those who go nowhere that is simulated")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sound", action="store_true", help="make the garbage sound: the counts must then differ")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tidemark-resend-"))
    try:
        settings, events = simulated(folder, asked.scale, asked.seed)
        spark = edge_session(master="local[2]", scratch=folder / "scratch", driver_memory="2g")
        try:
            report = compared(spark, settings, events, folder, seed=asked.seed, sound=asked.sound)
        finally:
            spark.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps({**provenance(asked.seed), **report}, indent=1))
    return 1 if report["faults"] else 0


def simulated(folder, scale, seed):
    """The settings of an edge on the bundled border, and a simulated token-day for it."""
    line = read_border("VN-KH")
    valid_from = DAY - timedelta(days=1)
    grid = build_zone_grid(line, "VN", valid_from=valid_from, turn_hour_utc=DAY.hour)
    write_zone_grid(grid, folder / "grid.geojson")
    plan = simulate_network(grid, line, plmn=OWN, seed=seed)
    plan.write_csv(folder / "cells.csv", datetime_format="%Y-%m-%dT%H:%M:%SZ")
    events = simulate_events(
        grid,
        plan,
        line,
        token_day_start=DAY,
        carrier_share=0.45,
        own_plmn=OWN,
        across_plmns=ACROSS,
        surges=(),
        seed=seed,
        neighbours=neighbours(grid),
        scale=scale,
    ).events
    settings = EdgeSettings(
        carrier="carrier-a",
        own_networks=[OWN],
        networks_across=ACROSS,
        border="VN-KH",
        zone_grid=folder / "grid.geojson",
        cell_plan=folder / "cells.csv",
        turn_hour_utc=DAY.hour,
        grid_valid_from=valid_from,
        source=folder / "feed",
        state=folder / "edge",
        replay=True,
    )
    return settings, events


def compared(spark, settings, events, folder, *, seed, sound=False):
    """What two edges count, of which one was sent the day as it was and the other one as in the worst of days."""
    began, chance = time.monotonic(), np.random.default_rng(seed)
    clean = edge_of(spark, settings, folder / "clean", [[events]])
    first = shuffled(events, chance)
    again = shuffled(late_as_may_be(pl.concat([events, events.sample(fraction=DUPLICATES, seed=seed)]), chance), chance)
    garbage = events.sample(fraction=GARBAGE, seed=seed + 1)
    wrong = another_day_of(garbage, seed) if sound else spoiled(garbage, chance)
    sent = shuffled(pl.concat([again, wrong]), chance)
    parts = [list(part.iter_slices(max(1, part.height // 6))) for part in (first, sent)]
    twice = edge_of(spark, settings, folder / "twice", parts)
    here, there = witness.said(clean), witness.said(twice)
    exact, tally = [{key: counts for key, (counts, _) in said.items()} for said in (here, there)], witness.rows(twice)
    hours = witness.hours_of(clean)
    received = tally.pop("received")
    faults = []
    if len(hours) != 24 or len(here) != 26 or sum(map(sum, hours)) < 50:
        faults.append("the clean day was not told whole")
    if exact[0] != exact[1]:
        faults.append(DIFFERENT)
    if received != events.height + sent.height or received != sum(tally.values()):
        faults.append("rows unaccounted for")
    return {
        "rows_sent_clean": events.height,
        "rows_sent_twice": received,
        "duplicates": again.height - events.height,
        "garbage": wrong.height,
        "refused_clean": refused(witness.rows(clean)),
        "refused_twice": refused(tally),
        "windows_compared": len(hours),
        "movements_counted": sum(map(sum, hours)),
        "windows_that_differ": sum(a != b for a, b in zip(hours, witness.hours_of(twice), strict=False)),
        "levels_that_differ": sum(exact[0][key] != exact[1].get(key) for key in exact[0] if key[0] != "zone-hour"),
        "faults": faults,
        "wall_seconds": round(time.monotonic() - began),
    }


def edge_of(spark, settings, folder, sendings):
    """The state of an edge that was sent some tables, one sending after the other, and closed the whole day then."""
    settings = settings.model_copy(update={"source": folder / "feed", "state": folder / "edge"})
    settings.source.mkdir(parents=True)
    placed, quiet = place_cells(settings), milestones(None)
    with EdgeFolder(settings.state).held():
        for number, tables in enumerate(sendings):
            for part, table in enumerate(tables):
                table.write_parquet(settings.source / f"sending-{number}-{part:03d}.parquet")
            run_sight(spark, settings, placed, quiet, now=NOW)
        # All of the day, and not so far that it would be deleted.
        EdgeFolder(settings.state).write_covered_until(token_day_end(settings, placed))
        edge = open_edge(settings, placed, quiet)
        edge = replace(edge, noise=Marked(edge.noise.policy), noise_under=Marked)
        run_close(spark, settings, edge, now=NOW, progress=lambda _: None)
        edge.ledger.close()
    return settings.state


def token_day_end(settings, placed):
    """An instant at which the last window of the first day in the table is due and its tables are still there."""
    return EdgeFolder(settings.state).token_days()[0] + timedelta(hours=25, minutes=30)


def shuffled(rows, chance):
    """Every row up to 15 minutes later in the order of sending than it was."""
    late = chance.integers(0, SHUFFLED_BY // timedelta(microseconds=1), rows.height)
    return rows[np.argsort(rows["ingest_time"].to_physical().to_numpy() + late, kind="stable")]


def late_as_may_be(rows, chance):
    """The rows as they arrive when they are sent again: later, but no later than a row may be.

    One that is refused for its time stays as it is: sent later, a row from the future would become sound.
    """
    event, ingest = (rows[name].to_physical().to_numpy() for name in ("event_time", "ingest_time"))
    room = np.where(event <= ingest, np.maximum(event + LATENESS // timedelta(microseconds=1) - ingest, 0), 0)
    later = pl.Series("ingest_time", ingest + (chance.random(rows.height) * room).astype(np.int64))
    return rows.with_columns(later.cast(rows.schema["ingest_time"]))


def spoiled(rows, chance):
    """Rows that were sound, each wrong in one thing."""
    times, text = pl.col("ingest_time"), pl.lit
    ways = [
        {"token": pl.col("token").str.to_uppercase()},
        {"token": pl.col("token").str.head(25)},
        {"token": text("204990123456789")},
        {"event_type": text("teleport")},
        {"event_type": text(None, pl.String)},
        {"event_time": times + timedelta(hours=1)},
        {"event_time": times - timedelta(minutes=15, seconds=1)},
        {"event_time": pl.lit(None, rows.schema["event_time"])},
        {"rat": text("LTE")},
        {"cell_id": text("204990123456789")},
        {"plmn": text("45204")},
        {"previous_plmn": text("4520")},
        {"domain": text("foreign")},
    ]
    way = chance.integers(0, len(ways), rows.height)
    return pl.concat([rows.filter(pl.Series(way == number)).with_columns(**made) for number, made in enumerate(ways)])


def another_day_of(rows, seed):
    """Sound rows of devices that are not there: each at home and then abroad."""
    away = rows.with_columns(
        event_time=pl.col("event_time") + timedelta(seconds=30),
        ingest_time=pl.col("event_time") + timedelta(seconds=40),
        event_type=pl.lit("roaming_registration"),
        rat=pl.lit(None, pl.String),
        cell_id=pl.lit(None, pl.String),
        previous_plmn=pl.lit(None, pl.String),
        plmn=pl.lit(sorted(p for p in rows["plmn"].unique() if p[:3] != rows["plmn"].mode()[0][:3])[0]),
        domain=pl.lit("domestic"),
    )
    return pl.concat([rows, away])


def refused(tally):
    """How many rows were refused, for whatever reason."""
    return sum(count for name, count in tally.items() if name.startswith("refused:"))


if __name__ == "__main__":
    sys.exit(main())
