"""`make bench-kafka`: the edge on a real broker of this machine: how fast, and whether it keeps up.

`backlog`: `sight` from a topic full of JSON lines, in rows per CPU second of the driver, the JVM and its Python workers (not
of the broker), beside `sight` of the very same rows from Parquet in the same run, and what each stage alone reaches.
`steady`: a producer at a steady rate, `tidemark edge run` and the broker share the cores for some minutes, while two hours of
made-up sightings fall due and are closed: the backlog over time, its slope, and what was produced against what was received.
"""

import argparse
import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

# Set before Polars is there: a thread a core is Spark's to give.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

import numpy as np
import polars as pl
import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from bench.growth import hour_of, write_hour
from bench.machine import process_cpu_s, provenance, warm
from geofence.border import read_border
from geofence.build import build_zone_grid
from geofence.cell_plan import write_cell_plan
from geofence.grid import neighbours, write_zone_grid
from ingest.files import FileFormat
from ingest.kafka import check_topic, ensure_topics, held_records
from ingest.lines import parse_table
from ingest.release import HOUR
from ingest.token_day import folder_name, hour_start, token_day_start
from jobs.edge import Placed, current_pin, open_edge, place_cells, run_sight
from jobs.kafka_jars import connector_jars
from jobs.kafka_settings import KafkaSettings
from jobs.kafka_source import KafkaSource, OffsetRange, read_so_far, read_tables
from jobs.milestone import milestones
from jobs.settings import EdgeSettings
from jobs.spark import edge_session
from jobs.tables import EdgeFolder
from simulator.events import simulate_events
from simulator.network import simulate_network

SEED = 1
OWN, ACROSS = "452-04", ("456-01", "456-06")
SOURCES = ("core/0",)
TEMPLATES = 200_000
"""Lines that the producer sends over and over, each time with the time of day."""
BROKER = Path(__file__).parent.parent / "deploy" / "kafka" / "broker.sh"
SIGHTINGS_SHARE = 0.85
"""Of rows in the simulated feed, which holds a border's cells and few others."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker of the bench's own."""

    folder: Path
    port: int

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return int((self.folder / "broker.pid").read_text())


def main() -> None:
    """Print the figures as one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m bench.kafka", description=__doc__)
    parser.add_argument("--section", action="append", choices=["backlog", "steady"], help="this one only")
    parser.add_argument("--backlog", type=float, default=2.0, help="million rows for `backlog`")
    parser.add_argument("--rate", type=int, default=20_000, help="events a second for `steady`")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=int, default=10, help="seconds from turn to turn of the edge")
    parser.add_argument(
        "--hour", type=float, help="million sightings in each of the two hours that are closed meanwhile"
    )
    parser.add_argument("--folder", type=Path, help="where everything is kept (default: a temporary folder)")
    asked = parser.parse_args()
    # In the long run every sighting is closed once: so many are closed in this run as it brings.
    hour = asked.hour if asked.hour is not None else asked.rate * asked.minutes * 60 * SIGHTINGS_SHARE / 2e6
    folder = Path(tempfile.mkdtemp(prefix="tidemark-bench-", dir=asked.folder))
    sections = asked.section or ["backlog", "steady"]
    report: dict[str, Any] = dict(provenance(SEED))
    try:
        with broker(folder / "kafka") as running:
            if "backlog" in sections:
                report["backlog"] = measure_backlog(folder / "backlog", running, round(asked.backlog * 1e6))
            if "steady" in sections:
                report["steady"] = measure_steady(
                    folder / "steady", running, asked.rate, asked.minutes * 60, asked.every, round(hour * 1e6)
                )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(report, indent=1))


@contextmanager
def broker(folder: Path) -> Iterator[Broker]:
    """A real broker on free ports of the loopback interface, with its data in a folder."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [str(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    words = ["--port", ports[0], "--controller-port", ports[1], "--data", str(folder)]
    subprocess.run([str(BROKER), "start", *words], check=True)
    try:
        yield Broker(folder, int(ports[0]))
    finally:
        subprocess.run([str(BROKER), "stop", *words], check=True)


# What both sections stand on


def settings_for(folder: Path, running: Broker | None, topic: str, day: datetime, **changes: Any) -> EdgeSettings:
    """A live edge on the bundled border, whose token-day begins at `day`; grid and cell plan are written to the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    line = read_border("VN-KH")
    valid_from = day - timedelta(days=2)
    grid = build_zone_grid(line, "VN", valid_from=valid_from, turn_hour_utc=day.hour)
    write_zone_grid(grid, folder / "grid.geojson")
    write_cell_plan(simulate_network(grid, line, plmn=OWN, seed=SEED), folder / "cells.csv")
    kafka = KafkaSettings(bootstrap=running.bootstrap, topic=topic, marks_topic=f"{topic}-marks") if running else None
    stated: dict[str, Any] = {
        "carrier": "bench",
        "own_networks": [OWN],
        "networks_across": list(ACROSS),
        "border": "VN-KH",
        "zone_grid": folder / "grid.geojson",
        "cell_plan": folder / "cells.csv",
        "kafka": kafka,
        "sources": list(SOURCES),
        "state": folder / "edge",
    }
    return EdgeSettings(**{**stated, **changes})


def rows_of_a_border(settings: EdgeSettings, rows: int) -> pl.DataFrame:
    """Rows of a simulated border's day in no order, without their times."""
    placed, line = place_cells(settings), read_border("VN-KH")
    made = simulate_events(
        placed.grid,
        simulate_network(placed.grid, line, plmn=OWN, seed=SEED),
        line,
        token_day_start=token_day_start(datetime.now(UTC), placed.grid.turn_hour_utc),
        carrier_share=0.45,
        own_plmn=OWN,
        across_plmns=ACROSS,
        surges=(),
        seed=SEED,
        neighbours=neighbours(placed.grid),
        scale=0.01,
    ).events
    return made.drop("event_time", "ingest_time").sample(rows, with_replacement=True, seed=SEED)


def as_lines(rows: pl.DataFrame, times: pl.Series) -> pl.Series:
    """Rows with these event times as the lines that a carrier's producer writes."""
    texts = times.dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
    timed = rows.select("token", texts.alias("event_time"), *(name for name in rows.columns if name != "token"))
    return timed.select(line=pl.struct(pl.all()).struct.json_encode())["line"]


def make_topics(running: Broker, topic: str) -> None:
    ensure_topics(running.bootstrap, attachments=topic, marks=f"{topic}-marks", releases=None, refusals=None)


# A backlog


def measure_backlog(folder: Path, running: Broker, rows: int) -> dict[str, Any]:
    """Rows per CPU second of `sight` from a topic and from Parquet, and of the stages on their way."""
    topic, now = "backlog", datetime.now(UTC)
    make_topics(running, topic)
    settings = settings_for(folder, running, topic, hour_start(now) - HOUR)
    table = rows_of_a_border(settings, rows)
    times = pl.Series([now], dtype=pl.Datetime("us", "UTC")).new_from_index(0, rows)
    times = times - pl.Series(np.random.default_rng(SEED).integers(1_000, 240_000, rows)).cast(pl.Duration("ms"))
    produce(running, topic, as_lines(table, times))
    feed = folder / "feed"
    feed.mkdir()
    landed = table.with_columns(event_time=times, ingest_time=pl.lit(now))
    for number in range(4):
        landed.gather_every(4, number).write_parquet(feed / f"part-{number}.parquet")
    by_file = settings_for(
        folder,
        None,
        topic,
        hour_start(now) - HOUR,
        source=feed,
        format=FileFormat.PARQUET,
        marks=folder / "marks",
        state=folder / "edge-by-file",
    )
    (folder / "marks").mkdir()
    spark = edge_session(master="local[*]", scratch=folder / "scratch", jars=connector_jars())
    try:
        found = check_topic(running.bootstrap, topic)
        # Cells are placed once in the life of a run, whatever it reads.
        from_topic, from_files = (
            warm(partial(sight_anew, spark, one, place_cells(one)))[0] for one in (settings, by_file)
        )
        connector = warm(partial(to_arrow, spark, running, topic))[0]
        alone = stages(settings, KafkaSource(running.bootstrap, found), rows)
    finally:
        spark.stop()
    tallies = [told(EdgeFolder(one.state)) for one in (settings, by_file)]
    if tallies[0] != tallies[1]:
        raise RuntimeError(f"the topic and the files disagree: {tallies}")
    return {
        "rows": rows,
        "kept": tallies[0].get("sighting", 0) + tallies[0].get("roaming_kept", 0),
        "sight_from_kafka_rows_per_cpu_s": round(rows / from_topic.cpu_s),
        "sight_from_kafka_rows_per_s": round(rows / from_topic.wall_s),
        "sight_from_parquet_rows_per_cpu_s": round(rows / from_files.cpu_s),
        "kafka_to_parquet": round(from_files.cpu_s / from_topic.cpu_s, 3),
        "profile_rows_per_cpu_s": {
            "the_tasks_reading_alone": alone["read"],
            "parsing_alone": alone["parse"],
            "reading_and_parsing": alone["both"],
            "sparks_connector_into_arrow_alone": round(rows / connector.cpu_s),
        },
    }


def produce(running: Broker, topic: str, lines: pl.Series) -> None:
    """Put lines on a topic as fast as they go, over all partitions alike."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": running.bootstrap, "linger.ms": 20, "compression.type": "lz4"})
    for number, line in enumerate(lines):
        while True:
            try:
                producer.produce(topic, line.encode(), partition=number % 4)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush(120)


def sight_anew(spark: SparkSession, settings: EdgeSettings, placed: Placed) -> None:
    """Everything that the source holds, into an empty folder."""
    shutil.rmtree(settings.state, ignore_errors=True)
    now = datetime.now(UTC) + timedelta(seconds=1)
    run_sight(spark, settings, placed, milestones(None), now=now)


def to_arrow(spark: SparkSession, running: Broker, topic: str) -> None:
    """The yardstick: the connector's own way of reading, with a worker that only counts what it gets."""
    records = spark.read.format("kafka").option("kafka.bootstrap.servers", running.bootstrap).option("subscribe", topic)
    large = {"kafka.max.poll.records": "20000", "kafka.max.partition.fetch.bytes": str(8 << 20)}
    loaded = records.options(**large).load().select("partition", "value", "timestamp", "timestampType")
    loaded.mapInArrow(_count, "rows long").agg(F.sum("rows")).collect()


def _count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield pa.RecordBatch.from_pydict({"rows": [sum(batch.num_rows for batch in batches)]})


def stages(settings: EdgeSettings, source: KafkaSource, rows: int) -> dict[str, int]:
    """Rows per CPU second of what a task does before it judges, alone in this process."""
    from ingest.kafka import read_offsets

    end = rows // 4
    piece = OffsetRange(source.topic.name, 0, 0, end)
    read = partial(read_offsets, source.bootstrap, piece.topic, 0, 0, end)
    lines = pl.concat([some.values for some in read()]).head(200_000)
    both = partial(read_tables, source, [[piece]], iter([pa.RecordBatch.from_pydict({"task": [0]})]))
    return {
        "read": round(end / _cpu_s(lambda: sum(len(some.values) for some in read()))),
        "parse": round(len(lines) / _cpu_s(lambda: parse_table(lines))),
        "both": round(end / _cpu_s(lambda: sum(table.height for _, table in both()))),
    }


def _cpu_s(act: Callable[[], object]) -> float:
    """CPU seconds of this process for an act, with the garbage collector off as in a task."""
    gc.disable()
    try:
        began = time.process_time()
        act()
        return time.process_time() - began
    finally:
        gc.enable()


def told(folder: EdgeFolder) -> dict[str, int]:
    """What became of all rows."""
    found: dict[str, int] = {}
    for record in folder.records():
        for entry in record["rows"]:
            if entry["source"] != "made-up":
                found[entry["what"]] = found.get(entry["what"], 0) + entry["rows"]
    return found


# A steady rate


def measure_steady(
    folder: Path, running: Broker, rate: int, seconds: float, every_s: int, hour_rows: int
) -> dict[str, Any]:
    """The edge as the command runs it, fed at a steady rate on the cores that it shares with producer and broker."""
    topic, now = "steady", datetime.now(UTC)
    make_topics(running, topic)
    # The first window of a token-day that began in time falls due at once: two hours are closed while rows come in.
    day = hour_start(now - timedelta(hours=2, minutes=25))
    settings = settings_for(folder, running, topic, day)
    due = fill_hours(settings, day, hour_rows) if hour_rows else 0
    stamp = pl.Series([datetime(2000, 1, 1, tzinfo=UTC)]).new_from_index(0, TEMPLATES)
    lines = as_lines(rows_of_a_border(settings, TEMPLATES), stamp)
    (folder / "templates.ndjson").write_text("\n".join(lines), encoding="ascii")
    config = folder / "tidemark.toml"
    config.write_text(_as_toml(settings), encoding="utf-8")
    words = [
        sys.executable,
        "-m",
        "jobs.cli",
        "edge",
        "run",
        "--every",
        str(every_s),
        "--json",
        "--config",
        str(config),
    ]
    log = folder / "edge.log"
    with log.open("wb") as sink:
        edge = subprocess.Popen(words, stdout=sink, stderr=subprocess.STDOUT)
        producer = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "bench.kafka_producer",
                running.bootstrap,
                topic,
                str(folder),
                str(rate),
                str(seconds),
            ]
        )
        try:
            watched = _watch(
                settings, running, topic, {"edge": edge.pid, "broker": running.pid, "producer": producer.pid}
            )
            points = []
            while producer.poll() is None:
                if edge.poll() is not None:
                    raise RuntimeError(f"the edge ended: {log.read_text()[-2000:]}")
                points.append(next(watched))
                time.sleep(5)
            drained_from = time.monotonic()
            while next(watched)["backlog"] and time.monotonic() - drained_from < 600:
                time.sleep(1)
            drained_s = time.monotonic() - drained_from
            edge.send_signal(signal.SIGTERM)
            ended = edge.wait(300)
        finally:
            for process in (producer, edge):
                if process.poll() is None:
                    process.kill()
                    process.wait()
    sent = json.loads((folder / "produced.json").read_text())
    fates = told(EdgeFolder(settings.state))
    received = fates.pop("received", 0)
    turns = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    settled = [point for point in points if point["at_s"] >= min(90.0, seconds / 3)]
    return {
        "rate_asked": rate,
        "rate_produced": round(sent["produced"] / sent["seconds"]),
        "seconds": round(sent["seconds"]),
        "turn_every_s": every_s,
        "turns": len(turns),
        "turn_seconds_max": max((turn["seconds"] for turn in turns), default=None),
        "sightings_closed_meanwhile": due,
        "windows_released": sum(len(turn["windows_released"]) for turn in turns),
        "backlog": [[point["at_s"], point["backlog"]] for point in points],
        "backlog_max_s_of_stream": round(max(point["backlog"] for point in settled) / rate, 1),
        "backlog_slope_rows_per_s": _slope(settled, every_s),
        "drained_s": round(drained_s, 1),
        "produced": sent["produced"],
        "received": received,
        "unaccounted": sent["produced"] - received,
        "received_less_fates": received - sum(fates.values()),
        "edge_ended": ended,
        **_load(settled),
    }


def fill_hours(settings: EdgeSettings, day: datetime, rows: int) -> int:
    """Put two hours of made-up sightings into the edge's tables, each as a batch, and begin its ledger with their day."""
    placed, folder = place_cells(settings), EdgeFolder(settings.state)
    pin = current_pin(settings, placed)
    edge = open_edge(settings, placed, milestones(None))
    edge.ledger.begun_at(day - HOUR, edge.turn_hour_utc)
    edge.ledger.close()
    folder.grounds.pin(day, pin)
    for at in (day, day + HOUR):
        files = write_hour(folder, hour_of(rows, folder, pin, at, SEED), day, at, pin.buckets)
        made = sum(file.rows for file in files)
        stated = [
            {"source": "made-up", "hour": folder_name(at), "what": what, "rows": made}
            for what in ("received", "sighting")
        ]
        record = {"inputs": [], "files_refused": {}, "lost_hours": [], "rows": stated}
        grounds = {folder_name(day): pin.ground}
        folder.commit(
            f"made-up-{folder_name(at)}", {**record, "files": [f.document() for f in files], "grounds": grounds}
        )
    return 2 * rows


def _watch(settings: EdgeSettings, running: Broker, topic: str, pids: dict[str, int]) -> Iterator[dict[str, float]]:
    """Records that are on the topic and in no committed batch, and the CPU seconds of each process, whenever asked."""
    began, found, folder = time.monotonic(), check_topic(running.bootstrap, topic), EdgeFolder(settings.state)
    used = {name: process_cpu_s([pid]) for name, pid in pids.items() if name == "broker"}
    while True:
        held = held_records(running.bootstrap, found)
        ends = read_so_far(folder.records(), found).ends
        backlog = sum(there.end - ends.get(partition, 0) for partition, there in held.items())
        spent = {name: process_cpu_s([pid]) - used.get(name, 0.0) for name, pid in pids.items()}
        at_s = round(time.monotonic() - began, 1)
        print(f"{at_s:7.1f} s  backlog {backlog:9,d}", file=sys.stderr, flush=True)
        yield {"at_s": at_s, "backlog": backlog, "read": sum(ends.values()), **spent}


def _load(points: list[dict[str, float]]) -> dict[str, Any]:
    """Cores that each process used once things had settled, and the rows that the edge took in for a CPU second."""
    first, last = points[0], points[-1]
    seconds = last["at_s"] - first["at_s"]
    if not seconds:
        return {}
    used = {name: round((last[name] - first[name]) / seconds, 3) for name in ("edge", "broker", "producer")}
    return {
        "cores_used": used,
        "edge_rows_per_cpu_s": round((last["read"] - first["read"]) / max(last["edge"] - first["edge"], 0.01)),
    }


def _slope(points: list[dict[str, float]], every_s: int) -> float | None:
    """Rows a second by which the backlog grows: of what is left after turns, since between them it must rise."""
    lowest: dict[int, dict[str, float]] = {}
    for point in points:
        span = int(point["at_s"] // (2 * every_s))
        lowest[span] = min(lowest.get(span, point), point, key=lambda one: one["backlog"])
    points = list(lowest.values())
    if len(points) < 3:
        return None
    at, backlog = ([point[name] for point in points] for name in ("at_s", "backlog"))
    return round(float(np.polyfit(at, backlog, 1)[0]), 1)


def _as_toml(settings: EdgeSettings) -> str:
    assert settings.kafka is not None
    edge = {
        name: getattr(settings, name)
        for name in (
            "carrier",
            "own_networks",
            "networks_across",
            "border",
            "zone_grid",
            "cell_plan",
            "sources",
            "state",
        )
    }
    kafka = {name: getattr(settings.kafka, name) for name in ("bootstrap", "topic", "marks_topic", "records_per_batch")}

    def spelled(section: dict[str, Any]) -> list[str]:
        return [f"{name} = {json.dumps(value, default=str)}" for name, value in section.items()]

    return "\n".join(["[edge]", *spelled(edge), "[edge.kafka]", *spelled(kafka)]) + "\n"


if __name__ == "__main__":
    main()
