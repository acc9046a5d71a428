"""Hours of made-up sightings, written by the edge's own table writer and closed as the edge closes them, without a ledger."""

import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from math import log
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pyspark.sql import SparkSession

from bench.machine import Cost, measured
from bench.synthetic import MadeUpHour, made_up_hour
from ingest.release import HOUR
from ingest.token_day import folder_name
from jobs.close import Closed, close_hour, hour_order
from jobs.grounds import Pin, read_ground
from jobs.sealed import SealedFile, write_sealed
from jobs.tables import CarryOver, EdgeFolder, day_folder

K = 2
ROWS_PER_FILE = 2_000_000
"""The most that a task of `sight` writes into one file."""
BATCHES_AN_HOUR = 12
NOTHING = CarryOver(leaves=("",) * 256, totals=(), files=(), sightings=(), tally={})


@dataclass(frozen=True, slots=True)
class TwoHours:
    """An hour that was closed already and the one to close, in an edge's folder; `carried` is what the first left."""

    folder: EdgeFolder
    pin: Pin
    day: datetime
    files: tuple[SealedFile, ...]
    carried: CarryOver

    @property
    def hour(self) -> datetime:
        return self.day + HOUR

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def memories(self) -> int:
        """Tokens remembered from the hour before."""
        return sum(file.rows for file in self.carried.files)


def hour_of(rows: int, folder: EdgeFolder, pin: Pin, at: datetime, seed: int, slots: int | None = None) -> MadeUpHour:
    """An hour of made-up sightings on the ground of a pin."""
    ground = read_ground(folder.grounds.of(pin.ground)).ground
    start_ms = int(at.timestamp()) * 1000
    return made_up_hour(rows, ground, hour_start_ms=start_ms, seed=seed, slots=slots or files_of(rows))


def two_hours(spark: SparkSession, folder: EdgeFolder, pin: Pin, day: datetime, rows: int, seed: int) -> TwoHours:
    """Two hours of `rows` sightings each, the first of them closed."""
    before, files = (
        write_hour(folder, hour_of(rows, folder, pin, at, seed), day, at, pin.buckets) for at in (day, day + HOUR)
    )
    carried = close_files(spark, folder, pin, day, day, before, NOTHING).left
    return TwoHours(folder, pin, day, files, carried)


def write_hour(
    folder: EdgeFolder, hour: MadeUpHour, day: datetime, at: datetime, buckets: int
) -> tuple[SealedFile, ...]:
    """An hour as sealed files of the sightings table; made in processes of their own, whose memory goes with them."""
    inside = Path(day_folder(day)) / f"hour={folder_name(at)}"
    (folder.sightings / inside).mkdir(parents=True, exist_ok=True)
    write = partial(_write_file, folder.sightings, inside, hour, folder.day_key(day), buckets)
    count = min(hour.slots, files_of(hour.rows))
    slots = [range(hour.slots * number // count, hour.slots * (number + 1) // count) for number in range(count)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        return tuple(pool.map(write, slots))


def files_of(rows: int) -> int:
    """As many files as `sight` would write of an hour that comes in batches of some minutes."""
    return max(BATCHES_AN_HOUR, -(-rows // ROWS_PER_FILE))


def _write_file(room: Path, inside: Path, hour: MadeUpHour, day_key: bytes, buckets: int, slots: range) -> SealedFile:
    path = inside / f"made-up-{slots.start}.parquet"
    rows = pl.concat([hour.slot(number) for number in slots])
    return replace(write_sealed(rows, room / path, day_key, buckets), path=path.as_posix())


def close_files(
    spark: SparkSession,
    folder: EdgeFolder,
    pin: Pin,
    day: datetime,
    at: datetime,
    files: Sequence[SealedFile],
    carried: CarryOver,
) -> Closed:
    """An hour closed: digests checked, counts made, the carry-over written and adopted. All but the ledger's part."""
    folder.check(folder.sightings, files)
    closed = close_hour(spark, hour_order(folder, day, at, pin, files, carried, k=K), carried)
    return Closed(closed.counts, folder.write_carry_over(day, at, closed.left))


def close_second(spark: SparkSession, hours: TwoHours) -> Closed:
    """The second of two hours closed."""
    return close_files(spark, hours.folder, hours.pin, hours.day, hours.hour, hours.files, hours.carried)


def growth(
    spark: SparkSession, folder: EdgeFolder, pin: Pin, day: datetime, sizes: Sequence[int], *, seed: int, runs: int
) -> dict[str, Any]:
    """CPU seconds of a close per million sightings at each size, the least of some runs, and the exponent they grow by."""
    points: list[dict[str, Any]] = []
    for rows in sizes:
        hours = two_hours(spark, folder, pin, day, rows, seed)
        costs: list[Cost] = []
        for _ in range(runs):
            with measured() as cost:
                close_second(spark, hours)
            costs.append(cost)
        best = min(costs, key=lambda cost: cost.cpu_s)
        points.append(
            {
                "sightings": rows,
                "tokens_remembered": hours.memories,
                "cpu_s_per_million": round(best.cpu_s / rows * 1e6, 3),
                "runs_cpu_s": [round(cost.cpu_s, 2) for cost in costs],
                **best.rounded(),
            }
        )
        forget(folder)
    return {"points": points, "exponent": exponent([(point["sightings"], point["cpu_s"]) for point in points])}


def exponent(points: Sequence[tuple[float, float]]) -> float | None:
    """The b of cost = a x size^b that fits best in logarithms; None for a single size.

    >>> exponent([(1, 3.0), (4, 12.0), (16, 48.0)])
    1.0
    """
    if len(points) < 2:
        return None
    sizes, costs = ([log(value) for value in column] for column in zip(*points, strict=True))
    return round(float(np.polyfit(sizes, costs, 1)[0]), 3)


def forget(folder: EdgeFolder) -> None:
    """Make room: the tables go, the grounds stay."""
    for room in (folder.sightings, folder.carry_overs, folder.staging):
        shutil.rmtree(room, ignore_errors=True)
