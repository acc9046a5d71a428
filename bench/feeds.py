"""`python -m bench.feeds`: what reading and judging a row costs in each format, on the same made-up rows in one run.

CPU seconds of one process with one thread, the best of three runs; reading and the door only, no cell is looked up.
"""

import argparse
import csv
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import fastavro
import numpy as np
import polars as pl

from bench.machine import provenance
from ingest.attachment import FIELD_NAMES, TIME_FIELDS, EventType
from ingest.avro_messages import Messages
from ingest.avro_schema import avro_schema
from ingest.columns import ColumnMap
from ingest.door import judge_rows
from ingest.files import FileFormat, Layout
from ingest.multimno import Multimno
from ingest.read import read_rows
from ingest.times import TimeForm

SEED = 1
TRIES = 3
_LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", np.uint8)
_START_US = 1_772_427_600_000_000
_MESSAGES_AT_ONCE = 10_000


def made_up(rows: int) -> pl.DataFrame:
    """Good rows of the contract, times as instants."""
    draw = np.random.default_rng(SEED)
    tokens = _LETTERS[draw.integers(0, 32, (rows, 26))].tobytes().decode()
    at = np.sort(draw.integers(0, 3_600_000_000, rows)) + _START_US
    delay = np.minimum(draw.lognormal(2.5, 0.9, rows) * 1e6, 8e8).astype(np.int64)
    kinds = ["service_request", "registration_update", "handover", "attach", "detach"]
    times = {"event_time": at, "ingest_time": at + delay}
    return pl.DataFrame(
        {
            "token": [tokens[start : start + 26] for start in range(0, rows * 26, 26)],
            **{name: pl.Series(value).cast(pl.Datetime("us", "UTC")) for name, value in times.items()},
            "event_type": np.array(kinds)[draw.integers(0, len(kinds), rows)],
            "rat": "EUTRA",
            "plmn": "452-04",
            "cell_id": [f"{cell:07x}" for cell in draw.integers(0x0A00000, 0x0A00000 + 20_000, rows)],
            "previous_plmn": None,
            "domain": "domestic",
        },
        schema_overrides={"previous_plmn": pl.String},
    )


def write_feeds(rows: pl.DataFrame, folder: Path) -> dict[str, tuple[Path, FileFormat, Layout | None]]:
    """The same rows in every format: its name, the file, how it is read."""
    texts = rows.with_columns(pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ") for name in TIME_FIELDS)
    epoch = rows.with_columns(pl.col(name).dt.epoch("ms") for name in TIME_FIELDS)
    mapped = ColumnMap(
        fields={name: name.upper() for name in FIELD_NAMES}, times=dict.fromkeys(TIME_FIELDS, TimeForm.EPOCH_MS)
    )
    paths = {name: folder / name for name in ("a.parquet", "a.ndjson", "a.csv", "quoted.csv", "mapped.csv", "a.avro")}
    rows.write_parquet(paths["a.parquet"], use_pyarrow=True)
    texts.write_ndjson(paths["a.ndjson"])
    texts.write_csv(paths["a.csv"])
    with paths["quoted.csv"].open("w", newline="") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(texts.columns)
        writer.writerows(texts.iter_rows())
    epoch.rename(str.upper).write_csv(paths["mapped.csv"])
    with paths["a.avro"].open("wb") as container:
        fastavro.writer(container, avro_schema(), rows.iter_rows(named=True), codec="deflate")
    return {
        "Parquet": (paths["a.parquet"], FileFormat.PARQUET, None),
        "NDJSON": (paths["a.ndjson"], FileFormat.NDJSON, None),
        "CSV": (paths["a.csv"], FileFormat.CSV, None),
        "CSV, every value quoted": (paths["quoted.csv"], FileFormat.CSV, None),
        "CSV, column map, times in ms": (paths["mapped.csv"], FileFormat.CSV, mapped),
        "Avro file, deflate": (paths["a.avro"], FileFormat.AVRO, None),
        "multimno": _write_multimno(rows, folder),
    }


def _write_multimno(rows: pl.DataFrame, folder: Path) -> tuple[Path, FileFormat, Multimno]:
    cells = (
        rows.select("cell_id").unique().with_columns(rat=pl.lit("EUTRA"), multimno_cell_id="45204" + pl.col("cell_id"))
    )
    cells.write_csv(folder / "cells.csv")
    rows.select(
        pl.col("token").cast(pl.Binary).alias("user_id"),
        pl.col("event_time").dt.strftime("%Y-%m-%d %H:%M:%S").alias("timestamp"),
        pl.lit(452, pl.Int32).alias("mcc"),
        pl.lit("04").alias("mnc"),
        pl.lit(None, pl.Int32).alias("plmn"),
        ("45204" + pl.col("cell_id")).alias("cell_id"),
        pl.lit(10.9, pl.Float32).alias("latitude"),
        pl.lit(106.5, pl.Float32).alias("longitude"),
        "ingest_time",
    ).write_parquet(folder / "multimno.parquet", use_pyarrow=True)
    layout = Multimno(
        serving_plmn="452-04",
        event_type=EventType.SERVICE_REQUEST,
        cells=folder / "cells.csv",
        time_zone="UTC",
        ingest_time="ingest_time",
    )
    return folder / "multimno.parquet", FileFormat.MULTIMNO, layout


def write_messages(rows: pl.DataFrame) -> list[pl.Series]:
    """The same rows as messages with the number of their schema, in batches."""
    schema = fastavro.parse_schema(avro_schema())
    written = []
    for row in rows.iter_rows(named=True):
        message = io.BytesIO(b"\0\0\0\0\7")
        message.seek(5)
        fastavro.schemaless_writer(message, schema, row)
        written.append(message.getvalue())
    batches = range(0, len(written), _MESSAGES_AT_ONCE)
    return [pl.Series(written[start : start + _MESSAGES_AT_ONCE], dtype=pl.Binary) for start in batches]


def rows_per_cpu_s(read: Callable[[], Iterator[pl.DataFrame]], rows: int) -> float:
    """How many rows are read and judged in a CPU second; every row must be accepted."""
    best = 0.0
    for _ in range(TRIES):
        began = time.process_time()
        accepted = sum(judge_rows(table).null_count() for table in read())
        best = max(best, rows / (time.process_time() - began))
        if accepted != rows:
            raise RuntimeError(f"{rows - accepted} of {rows} rows were refused")
    return best


def main() -> None:
    """Print the figures as one JSON object on standard output and as a table on standard error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000)
    asked = parser.parse_args()
    rows = made_up(asked.rows)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (path, kind, layout) in write_feeds(rows, Path(folder)).items():
            figures[name] = rows_per_cpu_s(lambda at=path, its=kind, by=layout: read_rows(at, its, by), rows.height)  # type: ignore[misc]
        batches, messages = write_messages(rows), Messages({7: json.dumps(avro_schema())}.get)
        figures["Avro message, schema registry"] = rows_per_cpu_s(lambda: map(messages.rows, batches), rows.height)
    for name, figure in figures.items():
        sys.stderr.write(f"{name:32} {figure:>12,.0f} rows/CPU-s {figure / figures['Parquet']:>6.2f} of Parquet\n")
    print(json.dumps({"rows": rows.height, "rows_per_cpu_s": figures, **provenance(SEED)}))


if __name__ == "__main__":
    main()
