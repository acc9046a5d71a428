"""`python -m bench.door`: how fast one process reads, judges and locates rows, without Spark around it.

Rows per CPU-second of one thread, from Parquet and from lines, beside the same rows taken one by one in plain Python. Lines
that have no usual shape are measured apart: each of them is read one by one, and that is what they cost.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

# Set before Polars is there: one thread.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

import polars as pl
import pyarrow as pa

from bench.edge import ACROSS, OWN, SEED, simulated_border, write_feed
from bench.machine import provenance
from ingest.attachment import AttachmentRefused, judge, parse_line
from ingest.door import judge_rows
from ingest.files import FileFormat
from ingest.lines import parse_array
from ingest.read import read_rows
from movement.sight_rows import Lookup, sight_rows
from movement.sighting import Networks

RUNS = 5
ALONE = 20_000
"""Rows that are taken one by one."""


def main() -> None:
    """Print the figures as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=500_000, help="how many rows are written as lines")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tidemark-bench-"))
    try:
        report = run(folder, asked.lines)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(report, indent=1))


def run(folder: Path, lines: int) -> dict[str, Any]:
    """All figures, each of the best of some runs: what else the machine does can only make one slower."""
    border = simulated_border()
    lookup = Lookup(border.located.cells, Networks(frozenset({OWN}), frozenset(ACROSS)))
    rows = write_feed(folder / "feed", border, 1)
    (parquet,) = (folder / "feed").iterdir()
    spelled = list(as_lines(pl.read_parquet(parquet, n_rows=lines)))
    ndjson = folder / "day.ndjson"
    ndjson.write_bytes(b"\n".join(spelled))
    records = pa.array(spelled, pa.binary())
    escaped = pa.array([line.replace(b'"domestic"', b'"\\u0064omestic"') for line in spelled[:ALONE]], pa.binary())

    def read(path: Path, kind: FileFormat) -> int:
        return sum(table.height for table in read_rows(path, kind))

    def sight(path: Path, kind: FileFormat) -> int:
        return sum(sight_rows(table, lookup).sightings.height for table in read_rows(path, kind))

    return {
        **provenance(SEED),
        "rows": rows,
        "lines": len(spelled),
        "bytes_per_line": round(ndjson.stat().st_size / len(spelled)),
        "rows_per_cpu_s": {
            "parquet_read": per_cpu_s(rows, lambda: read(parquet, FileFormat.PARQUET)),
            "parquet_sighted": per_cpu_s(rows, lambda: sight(parquet, FileFormat.PARQUET)),
            "lines_read": per_cpu_s(len(spelled), lambda: read(ndjson, FileFormat.NDJSON)),
            "lines_sighted": per_cpu_s(len(spelled), lambda: sight(ndjson, FileFormat.NDJSON)),
            "records_sighted": per_cpu_s(len(spelled), lambda: sight_rows(parse_array(records), lookup)),
            "lines_of_no_usual_shape": per_cpu_s(ALONE, lambda: judge_rows(parse_array(escaped))),
            "one_by_one": per_cpu_s(ALONE, lambda: one_by_one(spelled[:ALONE])),
        },
    }


def per_cpu_s(rows: int, act: Callable[[], object]) -> int:
    """Rows per CPU-second of the best run."""
    best = float("inf")
    for _ in range(RUNS):
        began = time.process_time()
        act()
        best = min(best, time.process_time() - began)
    return round(rows / best)


def as_lines(rows: pl.DataFrame) -> Iterator[bytes]:
    """Rows as a producer in Python writes them down."""
    for row in rows.iter_rows(named=True):
        texts = {
            name: value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
            for name, value in row.items()
        }
        yield json.dumps(texts).encode()


def one_by_one(lines: list[bytes]) -> int:
    """How many lines are accepted by the door in plain Python, which locates nothing."""
    accepted = 0
    for line in lines:
        try:
            judge(parse_line(line))
        except AttachmentRefused:
            continue
        accepted += 1
    return accepted


if __name__ == "__main__":
    main()
