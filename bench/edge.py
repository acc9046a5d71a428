"""`make bench`: how fast the edge is, as ratios to yardsticks of the same run on the same data.

`sight` from Parquet, the door included, beside Spark's bare scan of the same files; the hourly close beside the same
rules run by Polars and numpy in one process without Spark. CPU seconds count the JVM and its Python workers. The rows
are a simulated border's day, repeated under other tokens until there are enough.
"""

import argparse
import json
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from bench.machine import Cost, provenance, warm
from geofence.border import read_border
from geofence.build import build_zone_grid
from geofence.grid import ZoneGrid, ZoneKind, neighbours
from geofence.locate import LocatedPlan, locate_cells
from ingest.files import FileFormat
from jobs.close import SIGHTINGS_PER_BUCKET, advance_on_spark
from jobs.door import ROW_SCHEMA, plan_table
from jobs.milestone import milestones
from jobs.sight import Sighting, Source, sight
from jobs.spark import edge_session
from jobs.tables import EdgeFolder
from movement.advance import HOUR_MS, Step, advance, empty_carry_over
from movement.ground import Ground, make_ground
from movement.sighting import Networks
from simulator.events import simulate_events
from simulator.network import simulate_network

SEED = 1
DAY = datetime(2026, 6, 24, 20, tzinfo=UTC)
OWN, ACROSS, GROUND = "452-04", ("456-01", "456-06"), "bench"


def main() -> None:
    """Print the figures as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=3, help="how often the simulated day is repeated")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tidemark-bench-"))
    try:
        report = run(folder, asked.copies)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(report, indent=1))


def run(folder: Path, copies: int) -> dict[str, Any]:
    """All figures of one run."""
    border = read_border("VN-KH")
    grid = build_zone_grid(border, "VN", valid_from=DAY, turn_hour_utc=20)
    plan = simulate_network(grid, border, plmn=OWN, seed=SEED)
    located = locate_cells(plan, grid, border.line)
    rows = _feed(folder / "feed", grid, plan, border, copies)
    spark = edge_session(master="local[*]", scratch=folder / "scratch")
    try:
        scan = _bare_scan(spark, folder / "feed")
        sighting, edge_folder = _sight(spark, folder, located)
        closing, alone, busiest = _close(spark, edge_folder, located, grid)
    finally:
        spark.stop()
    per_cpu = {
        "bare_scan_rows_per_cpu_s": round(rows / scan.cpu_s),
        "sight_rows_per_cpu_s": round(rows / sighting.cpu_s),
        "close_sightings_per_cpu_s": round(busiest / closing.cpu_s),
        "polars_alone_sightings_per_cpu_s": round(busiest / alone.cpu_s),
    }
    return {
        **provenance(SEED),
        "rows": rows,
        "sightings_in_the_busiest_hour": busiest,
        **per_cpu,
        "sight_to_bare_scan": round(scan.cpu_s / sighting.cpu_s, 3),
        "close_to_polars_alone": round(alone.cpu_s / closing.cpu_s, 3),
    }


def _feed(folder: Path, grid: ZoneGrid, plan: pl.DataFrame, border: Any, copies: int) -> int:
    folder.mkdir(parents=True)
    day = simulate_events(
        grid,
        plan,
        border,
        token_day_start=DAY,
        carrier_share=0.45,
        own_plmn=OWN,
        across_plmns=ACROSS,
        surges=(),
        seed=SEED,
        neighbours=neighbours(grid),
        scale=0.01,
    ).events
    for copy in range(copies):
        # Another last letter but one is another token; the rows stay what they were.
        letter = "abcdefghijklmnopqrstuvwxyz"[copy]
        other = pl.col("token").str.slice(0, 24) + pl.lit(letter) + pl.col("token").str.slice(25)
        day.with_columns(other.alias("token")).write_parquet(folder / f"day-{copy}.parquet")
    return day.height * copies


def _bare_scan(spark: SparkSession, feed: Path) -> Cost:
    """Decode every column and nothing else."""
    table = spark.read.schema(ROW_SCHEMA).parquet(str(feed))
    cost, _ = warm(lambda: table.select(*(F.max(name) for name in table.columns)).collect())
    return cost


def _sight(spark: SparkSession, folder: Path, located: LocatedPlan) -> tuple[Cost, EdgeFolder]:
    edge_folder = EdgeFolder(folder / "edge")

    def work() -> None:
        shutil.rmtree(edge_folder.root, ignore_errors=True)
        sight(
            Sighting(
                spark=spark,
                source=Source(folder / "feed", FileFormat.PARQUET),
                plan=plan_table(spark, located.cells),
                networks=Networks(frozenset({OWN}), frozenset(ACROSS)),
                turn_hour_utc=20,
                ground=GROUND,
                folder=edge_folder,
                admission=None,
                most_refused=0.5,
                milestone=milestones(None),
            )
        )

    cost, _ = warm(work)
    return cost, edge_folder


def _close(spark: SparkSession, folder: EdgeFolder, located: LocatedPlan, grid: ZoneGrid) -> tuple[Cost, Cost, int]:
    """The busiest hour, closed by Spark and by one process; both from files to counts and carry-over."""
    manifests = [(folder.manifest(DAY, DAY + timedelta(hours=hour), GROUND), hour) for hour in range(24)]
    manifest, hour = max(manifests, key=lambda entry: sum(file["rows"] for file in entry[0]["files"]))
    paths = [str(folder.sightings / file["path"]) for file in manifest["files"]]
    rows = sum(file["rows"] for file in manifest["files"])
    start_ms = int(DAY.timestamp() * 1000) + hour * HOUR_MS
    ground = _ground(located, grid)

    def spread_out() -> Step:
        buckets = max(2, rows // SIGHTINGS_PER_BUCKET)
        return advance_on_spark(spark, empty_carry_over(), paths, ground, hour_start_ms=start_ms, k=2, buckets=buckets)

    def alone() -> Step:
        table = pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in paths])
        return advance(empty_carry_over(), table, ground, hour_start_ms=start_ms, k=2)

    closing, by_spark = warm(spread_out)
    by_itself, plainly = warm(alone)
    if not (by_spark.counts.equals(plainly.counts) and by_spark.carry_over.equals(plainly.carry_over)):
        raise RuntimeError("Spark and one process disagree: nothing was measured")
    return closing, by_itself, rows


def _ground(located: LocatedPlan, grid: ZoneGrid) -> Ground:
    points = np.array([zone.kind is ZoneKind.CROSSING_POINT for zone in grid.zones])
    return make_ground(located.cells.sort("cell")["zone"].to_numpy(), points, located.overlaps.to_numpy())


if __name__ == "__main__":
    main()
