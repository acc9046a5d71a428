"""`make bench`: how fast the edge is, as ratios to yardsticks of the same run on the same rows.

Sections, each of which may be run apart: `sight` from Parquet beside Spark's bare scan of the same files and beside Polars
alone doing the same job; `close` beside Polars alone; `streaming`, the close beside the same rules as streaming state
(bench/streaming_state.py); `growth` of the close with its size; `peak`, a nation's belt at its busiest hour; `profile`, what
a task spends its time on. Costs are of the second run or later, in CPU seconds of the driver, the JVM and its Python workers.
"""

import argparse
import cProfile
import json
import os
import pstats
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Set before Polars is there: one process beside one process, a thread a core is Spark's to give.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

import polars as pl
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from bench.growth import NOTHING as NOTHING_BEFORE
from bench.growth import K, TwoHours, close_files, close_second, forget, growth, hour_of, two_hours, write_hour
from bench.machine import Cost, measured, provenance, warm
from bench.streaming_state import VARIANTS, Counts, Stream, run_variant, write_stream
from bench.synthetic import MadeUpHour
from geofence.border import read_border
from geofence.build import build_zone_grid
from geofence.grid import ZoneGrid, neighbours
from geofence.locate import LocatedPlan, locate_cells
from ingest.files import FileFormat
from ingest.read import read_rows
from ingest.release import HOUR
from jobs.close import hour_order
from jobs.closing import close_step, steps_of
from jobs.grounds import Pin, read_ground, read_lookup
from jobs.milestone import milestones
from jobs.sight import Sighting, Source, batch_order, sight
from jobs.spark import edge_session
from jobs.staging import stage
from jobs.tables import EdgeFolder
from movement.advance import advance
from movement.sight_rows import Lookup, sight_rows
from movement.sighting import Networks
from simulator.events import simulate_events
from simulator.network import simulate_network

SEED = 1
DAY = datetime(2026, 6, 24, 20, tzinfo=UTC)
OWN, ACROSS = "452-04", ("456-01", "456-06")
BUCKETS = 64
MILLION = 1_000_000
FILES = 16
TOP = 12
STREAMED = (
    # variant, sightings, sightings a batch: 40,000 is 3 s of a nation's belt at its peak, 400,000 is half a minute.
    ("per_token", 60_000, 20_000),
    ("per_bucket", 1_000_000, 40_000),
    ("sql_window", 1_000_000, 40_000),
    ("in_the_driver", 2_000_000, 40_000),
    ("per_bucket", 2_000_000, 400_000),
    ("sql_window", 2_000_000, 400_000),
    ("in_the_driver", 4_000_000, 400_000),
)


class Disagreement(RuntimeError):
    """A yardstick counts something else than the edge: nothing was measured."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many rows each section works on."""

    feed: int = 12 * MILLION
    close: int = 8 * MILLION
    streaming: float = 1.0  # share of the sightings in STREAMED
    growth: tuple[int, ...] = (1 * MILLION, 4 * MILLION, 16 * MILLION, 64 * MILLION)
    growth_runs: int = 3
    peak: int = 43 * MILLION


@dataclass(frozen=True, slots=True)
class Border:
    """The simulated border that every section stands on."""

    grid: ZoneGrid
    plan: pl.DataFrame
    located: LocatedPlan
    line: Any


@dataclass(frozen=True, slots=True)
class Bench:
    """One run: a scratch folder, a session, a border and sizes."""

    folder: Path
    spark: SparkSession
    border: Border
    sizes: Sizes

    def edge(self, name: str) -> tuple[EdgeFolder, Pin]:
        """An edge's folder with the border's ground in it."""
        folder = EdgeFolder(self.folder / name)
        networks = Networks(frozenset({OWN}), frozenset(ACROSS))
        return folder, Pin(folder.grounds.put(self.border.grid, self.border.located, networks), BUCKETS)


def main() -> None:
    """Print the figures as one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m bench.edge", description=__doc__)
    parser.add_argument("--section", action="append", choices=list(SECTIONS), help="this one only; may be repeated")
    sizes = Sizes()
    parser.add_argument("--feed", type=float, default=sizes.feed / MILLION, help="million rows for `sight`")
    parser.add_argument("--close", type=float, default=sizes.close / MILLION, help="million sightings for `close`")
    parser.add_argument("--streaming", type=float, default=sizes.streaming, help="share of the sizes of `streaming`")
    parser.add_argument("--growth", type=float, nargs="+", default=[size / MILLION for size in sizes.growth])
    parser.add_argument("--growth-runs", type=int, default=sizes.growth_runs)
    parser.add_argument("--peak", type=float, default=sizes.peak / MILLION, help="million sightings for `peak`")
    parser.add_argument("--folder", type=Path, help="where the rows are made (default: a temporary folder)")
    asked = parser.parse_args()
    sizes = Sizes(
        feed=round(asked.feed * MILLION),
        close=round(asked.close * MILLION),
        streaming=asked.streaming,
        growth=tuple(round(size * MILLION) for size in asked.growth),
        growth_runs=asked.growth_runs,
        peak=round(asked.peak * MILLION),
    )
    folder = Path(tempfile.mkdtemp(prefix="tidemark-bench-", dir=asked.folder))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # gigabytes would stay behind
    try:
        report = run(folder, sizes, asked.section or list(SECTIONS))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(report, indent=1))


def run(folder: Path, sizes: Sizes, sections: Sequence[str]) -> dict[str, Any]:
    """The figures of some sections in one run."""
    border = simulated_border()
    report: dict[str, Any] = {**provenance(SEED), "sizes": asdict(sizes)}
    spark = edge_session(master="local[*]", scratch=folder / "scratch")
    try:
        for name in sections:
            began = time.perf_counter()
            report[name] = SECTIONS[name](Bench(folder / name, spark, border, sizes))
            shutil.rmtree(folder / name, ignore_errors=True)
            report[name]["section_wall_s"] = round(time.perf_counter() - began)
            print(name, json.dumps(report[name]), file=sys.stderr, flush=True)
    finally:
        spark.stop()
    return report


def simulated_border() -> Border:
    """The bundled border with a simulated network on it."""
    line = read_border("VN-KH")
    grid = build_zone_grid(line, "VN", valid_from=DAY, turn_hour_utc=20)
    plan = simulate_network(grid, line, plmn=OWN, seed=SEED)
    return Border(grid, plan, locate_cells(plan, grid, line.line), line)


# sight


def measure_sight(bench: Bench) -> dict[str, Any]:
    """Rows per CPU second of `sight`, of Spark's bare scan, and of Polars alone at the same job."""
    feed = bench.folder / "feed"
    rows = write_feed(feed, bench.border, bench.sizes.feed)
    folder, pin = bench.edge("edge")
    table = bench.spark.read.parquet(str(feed))
    scanning, _ = warm(lambda: table.select(*(F.max(name) for name in table.columns)).collect())

    def sighted() -> None:
        for room in (folder.sightings, folder.batches, folder.checkpoint, folder.staging):
            shutil.rmtree(room, ignore_errors=True)
        sight(a_sighting(bench.spark, feed, folder, pin))

    sighting, _ = warm(sighted)
    lookup = read_lookup(folder.grounds.of(pin.ground))
    alone, kept = warm(lambda: sight_alone(sorted(feed.iterdir()), lookup, bench.folder / "alone"))
    tally = tallied(folder)
    if tally["received"] != rows or tally["sighting"] + tally["roaming_kept"] != kept:
        raise Disagreement("sight and Polars alone keep different numbers of rows")
    return {
        "rows": rows,
        "kept": kept,
        "files_bytes_per_row": round(sum(path.stat().st_size for path in feed.iterdir()) / rows, 1),
        "sight_rows_per_cpu_s": round(rows / sighting.cpu_s),
        "sight_rows_per_s": round(rows / sighting.wall_s),
        "bare_scan_rows_per_cpu_s": round(rows / scanning.cpu_s),
        "polars_alone_rows_per_cpu_s": round(rows / alone.cpu_s),
        "sight_to_bare_scan": round(scanning.cpu_s / sighting.cpu_s, 3),
        "sight_to_polars_alone": round(alone.cpu_s / sighting.cpu_s, 3),
        "costs": {"sight": sighting.rounded(), "bare_scan": scanning.rounded(), "polars_alone": alone.rounded()},
    }


def write_feed(folder: Path, border: Border, rows: int) -> int:
    """A simulated day, repeated under other tokens until there are about so many rows; gives how many there are."""
    folder.mkdir(parents=True)
    day = simulate_events(
        border.grid,
        border.plan,
        border.line,
        token_day_start=DAY,
        carrier_share=0.45,
        own_plmn=OWN,
        across_plmns=ACROSS,
        surges=(),
        seed=SEED,
        neighbours=neighbours(border.grid),
        scale=0.01,
    ).events
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    copies = max(1, round(rows / day.height))
    for copy in range(copies):
        # Two other letters near the end are another token; the rows stay what they were.
        other = pl.lit(letters[copy // len(letters)] + letters[copy % len(letters)])
        token = pl.col("token").str.slice(0, 23) + other + pl.col("token").str.slice(25)
        day.with_columns(token.alias("token")).write_parquet(folder / f"day-{copy:03}.parquet")
    return day.height * copies


def a_sighting(spark: SparkSession, feed: Path, folder: EdgeFolder, pin: Pin) -> Sighting:
    """A replay of a feed into an edge's folder."""
    return Sighting(
        spark=spark,
        source=Source(feed, FileFormat.PARQUET),
        folder=folder,
        current=pin,
        current_valid_from=DAY,
        turn_hour_utc=20,
        admission=None,
        most_refused=0.5,
        milestone=milestones(None),
    )


def sight_alone(files: Sequence[Path], lookup: Lookup, folder: Path) -> int:
    """The same job by Polars in this process: read, judge, locate, decide, write by the hour; plain files, no records."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    kept = 0
    for number, file in enumerate(files):
        sighted = pl.concat([sight_rows(rows, lookup).sightings for rows in read_rows(file, FileFormat.PARQUET)])
        kept += sighted.height
        for (hour,), rows in sighted.partition_by("hour", as_dict=True).items():
            rows.write_parquet(folder / f"{hour}-{number}.parquet", compression="lz4")
    return kept


def tallied(folder: EdgeFolder) -> dict[str, int]:
    """What became of every row that was read."""
    tally = dict.fromkeys(("received", "sighting", "roaming_kept"), 0)
    for record in folder.records():
        for entry in record["rows"]:
            tally[entry["what"]] = tally.get(entry["what"], 0) + entry["rows"]
    return tally


# close


def measure_close(bench: Bench) -> dict[str, Any]:
    """Sightings per CPU second of the close of an hour behind another one, and of Polars alone at the same rules."""
    folder, pin = bench.edge("edge")
    hours = two_hours(bench.spark, folder, pin, DAY, bench.sizes.close, SEED)
    plain = bench.folder / "plain"
    plain.mkdir()
    folder.read_sightings(DAY, [file.document() for file in hours.files]).write_parquet(plain / "sightings.parquet")
    folder.read_carry_over_rows(DAY, DAY).sort("token").write_parquet(plain / "carry_over.parquet")
    closing, closed = warm(lambda: close_second(bench.spark, hours))
    alone, counts = warm(lambda: close_alone(plain, hours, whole=True))
    in_parts, _ = warm(lambda: close_alone(plain, hours, whole=False))
    left = folder.read_carry_over_rows(DAY, hours.hour).sort("token")
    if closed.counts != counts or not left.equals(pl.read_parquet(plain / "left.parquet").sort("token")):
        raise Disagreement("close and Polars alone disagree")
    return {
        "sightings": hours.rows,
        "tokens_remembered": hours.memories,
        "movements_counted": sum(count for _, _, count in counts),
        "close_sightings_per_cpu_s": round(hours.rows / closing.cpu_s),
        "close_sightings_per_s": round(hours.rows / closing.wall_s),
        "polars_alone_sightings_per_cpu_s": round(hours.rows / alone.cpu_s),
        "polars_alone_in_parts_sightings_per_cpu_s": round(hours.rows / in_parts.cpu_s),
        "close_to_polars_alone": round(alone.cpu_s / closing.cpu_s, 3),
        "close_to_polars_alone_in_parts": round(in_parts.cpu_s / closing.cpu_s, 3),
        "costs": {
            "close": closing.rounded(),
            "polars_alone": alone.rounded(),
            "polars_alone_in_parts": in_parts.rounded(),
        },
    }


def close_alone(plain: Path, hours: TwoHours, *, whole: bool) -> tuple[tuple[int, int, int], ...]:
    """The same rules in this process: plain files in, counts and a plain carry-over out; no digest, no cipher.

    All at once, or in as many spans of tokens as the close has tasks: less at once stays in the processor's caches.
    """
    ground = read_ground(hours.folder.grounds.of(hours.pin.ground)).ground
    tables = [pl.read_parquet(plain / f"{name}.parquet") for name in ("carry_over", "sightings")]
    parts = 1 if whole else max(1, -(-(hours.rows + hours.memories) // MILLION))
    spans = [_span(table, parts) for table in tables]
    start_ms = int(hours.hour.timestamp()) * 1000
    steps = [
        advance(memories, sightings, ground, hour_start_ms=start_ms, k=K)
        for memories, sightings in zip(*spans, strict=True)
    ]
    pl.concat([step.carry_over for step in steps]).write_parquet(plain / "left.parquet", compression="lz4")
    counts = pl.concat([step.counts for step in steps]).group_by("zone", "direction").agg(pl.col("count").sum())
    return tuple(counts.sort("zone", "direction").select("zone", "direction", "count").iter_rows())


def _span(table: pl.DataFrame, parts: int) -> list[pl.DataFrame]:
    if parts == 1:
        return [table]
    first = table["token"].bin.slice(0, 1).bin.reinterpret(dtype=pl.UInt8).cast(pl.Int32) * parts // 256
    return [table.filter(first == part) for part in range(parts)]


# streaming state


def measure_streaming(bench: Bench) -> dict[str, Any]:
    """The close beside streaming state on the same sightings, both from nothing remembered to the hour's settled counts."""
    folder, pin = bench.edge("edge")
    by_name = {variant.name: variant for variant in VARIANTS}
    found: list[dict[str, Any]] = []
    for name, full_rows, batch in STREAMED:
        rows = round(full_rows * bench.sizes.streaming)
        hour = hour_of(rows, folder, pin, DAY, SEED, slots=max(1, rows // batch))
        stream_folder, state = bench.folder / "stream", bench.folder / "state"
        shutil.rmtree(stream_folder, ignore_errors=True)
        write_stream(hour, stream_folder)
        ground = read_ground(folder.grounds.of(pin.ground)).ground
        stream = Stream(stream_folder, state, ground, hour.hour_start_ms, K)

        def streamed(name: str = name, stream: Stream = stream) -> Counts:
            shutil.rmtree(stream.state, ignore_errors=True)
            return run_variant(bench.spark, by_name[name], stream)

        cost, counts = warm(streamed)
        wanted, closing = settle(bench, folder, pin, hour)
        if by_name[name].keeps_the_rules and counts != wanted:
            raise Disagreement(f"close and {name} disagree")
        found.append(
            {
                "variant": name,
                "does": by_name[name].does,
                "sightings": rows,
                "sightings_a_batch": batch,
                "counts_equal": counts == wanted,
                "sightings_per_cpu_s": round(rows / cost.cpu_s),
                "sightings_per_s": round(rows / cost.wall_s),
                "cost": cost.rounded(),
                "close_of_the_same_rows_cpu_s": round(closing.cpu_s, 2),
            }
        )
    largest = max(one["sightings"] for one in found)
    _, closing = settle(bench, folder, pin, hour_of(largest, folder, pin, DAY, SEED))
    close_rate = largest / closing.cpu_s
    rates = {(one["variant"], one["sightings_a_batch"]): one["sightings_per_cpu_s"] for one in found}
    batches = sorted({batch for name, batch in rates if name != "per_token"})
    return {
        "variants": found,
        "close_sightings": largest,
        "close_sightings_per_cpu_s": round(close_rate),
        "close_to_the_best_by_batch": {
            str(batch): round(close_rate / max(rate for (_, size), rate in rates.items() if size == batch), 2)
            for batch in batches
        },
        "close_to_per_token": round(close_rate / max(rate for (name, _), rate in rates.items() if name == "per_token")),
    }


def settle(bench: Bench, folder: EdgeFolder, pin: Pin, hour: MadeUpHour) -> tuple[Counts, Cost]:
    """The settled counts of a made-up hour with nothing before it: the hour closed, and the empty one after it."""
    files = write_hour(folder, hour, DAY, DAY, pin.buckets)

    def closed() -> Counts:
        left = close_files(bench.spark, folder, pin, DAY, DAY, files, NOTHING_BEFORE).left
        settled = close_files(bench.spark, folder, pin, DAY, DAY + HOUR, (), left)
        return Counts({(zone, direction): count for zone, direction, count in settled.counts})

    cost, counts = warm(closed)
    forget(folder)
    return counts, cost


# growth and the peak


def measure_growth(bench: Bench) -> dict[str, Any]:
    """How the cost of a close grows with its size."""
    folder, pin = bench.edge("edge")
    return growth(bench.spark, folder, pin, DAY, bench.sizes.growth, seed=SEED, runs=bench.sizes.growth_runs)


def measure_peak(bench: Bench) -> dict[str, Any]:
    """A nation's belt at its busiest hour: seconds and the memory of all processes."""
    folder, pin = bench.edge("edge")
    hours = two_hours(bench.spark, folder, pin, DAY, bench.sizes.peak, SEED)
    with measured() as cost:
        closed = close_second(bench.spark, hours)
    return {
        "sightings": hours.rows,
        "tokens_remembered": hours.memories,
        "sealed_bytes_per_sighting": round(sum(file.bytes for file in hours.files) / hours.rows, 1),
        "movements_counted": sum(count for _, _, count in closed.counts),
        **cost.rounded(),
    }


# What a task spends its time on


def measure_profile(bench: Bench) -> dict[str, Any]:
    """One task of `sight` and one of `close` run in this process under a profiler: shares of their time, by function."""
    feed = bench.folder / "feed"
    write_feed(feed, bench.border, min(bench.sizes.feed, MILLION))
    folder, pin = bench.edge("edge")
    order = batch_order(a_sighting(bench.spark, feed, folder, pin), "profiled")
    tables = [("files", table) for file in sorted(feed.iterdir()) for table in read_rows(file, FileFormat.PARQUET)]
    hours = two_hours(bench.spark, folder, pin, DAY, min(bench.sizes.close, MILLION), SEED)
    closing = hour_order(folder, DAY, hours.hour, pin, hours.files, hours.carried, k=K)
    (step,) = steps_of([1 if rows else 0 for rows in closing.rows], 1)

    def read() -> None:
        for file in sorted(feed.iterdir()):
            for _ in read_rows(file, FileFormat.PARQUET):
                pass

    return {
        "read": profiled(read),
        "sight": profiled(lambda: stage(order, tables)),
        "close": profiled(lambda: close_step(closing, step)),
    }


def profiled(act: Callable[[], object]) -> dict[str, Any]:
    """CPU seconds of a second run: the functions in which most of them passed, and the edge's own with all that they call."""
    act()
    profile = cProfile.Profile(time.process_time)
    profile.runcall(act)
    stats: Mapping[tuple[str, int, str], tuple[int, int, float, float, Any]] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in stats.values())

    def most(column: int, ours: bool) -> list[str]:
        named = {
            f"{Path(file).name}:{line} {name}": entry[column] / total
            for (file, line, name), entry in stats.items()
            if not ours or Path(file).parent.name in ("ingest", "movement", "jobs")
        }
        ranked = sorted(named.items(), key=lambda item: -item[1])[:TOP]
        return [f"{share:.0%} {name}" for name, share in ranked]

    return {"cpu_s": round(total, 2), "own_time": most(2, ours=False), "with_what_they_call": most(3, ours=True)}


SECTIONS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "sight": measure_sight,
    "close": measure_close,
    "streaming": measure_streaming,
    "growth": measure_growth,
    "peak": measure_peak,
    "profile": measure_profile,
}


if __name__ == "__main__":
    main()
