"""`sight`: from cell-attachment files to the sightings table, as a stateless stream.

At least once: a batch that is read again writes the same rows under the same name, and equal rows change nothing later.
Spark's stream says which files are new; the batch record in the edge's folder says what is part of the table.
"""

import json
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import polars as pl
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Observation, SparkSession

from ingest.files import PATTERNS, FileFormat, FileRefusal, file_refusal, is_damaged
from jobs.door import ROW_SCHEMA, admit, decide, locate, plan_table, read_files, sightings, tallies
from jobs.milestone import Milestone
from jobs.tables import EdgeFolder, batch_key
from movement.sighting import Networks


@dataclass(frozen=True, slots=True)
class Source:
    """A drop folder of cell-attachment files of one format; a file appears in it whole, by rename."""

    folder: Path
    format: FileFormat

    def files(self) -> list[Path]:
        """The files that are there now."""
        return sorted(path for path in self.folder.glob(PATTERNS[self.format]) if not path.name.startswith(("_", ".")))


def sight(
    spark: SparkSession,
    source: Source,
    cells: pl.DataFrame,
    networks: Networks,
    *,
    turn_hour_utc: int,
    folder: EdgeFolder,
    milestone: Milestone,
    files_per_batch: int = 64,
) -> None:
    """Bring everything that the source holds now into the sightings table, then stop."""
    plan = plan_table(spark, cells)

    def take_in(_: DataFrame, batch: int) -> None:
        # Batch ids begin again when a checkpoint is lost: the batch is named after the files that it reads.
        files = files_of_batch(folder.checkpoint, batch)
        key = batch_key(files)
        if files and not folder.committed(key):
            _commit(spark, key, files, source.format, plan, networks, turn_hour_utc, folder, milestone)

    stream = spark.readStream.option("maxFilesPerTrigger", files_per_batch).option(
        "pathGlobFilter", PATTERNS[source.format]
    )
    rows = (
        stream.schema(ROW_SCHEMA).parquet(str(source.folder))
        if source.format is FileFormat.PARQUET
        else stream.text(str(source.folder))
    )
    query = (
        rows.writeStream.foreachBatch(take_in)
        .option("checkpointLocation", str(folder.checkpoint))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()


def files_of_batch(checkpoint: Path, batch: int) -> list[Path]:
    """The files that a batch of the stream stands for, by Spark's own record of its offsets and sources.

    The batch's rows are read from these files again, each checked, so that a damaged one is refused and not the batch.
    """
    last = _log_offset(checkpoint, batch)
    first = _log_offset(checkpoint, batch - 1) + 1 if batch else 0
    paths = set()
    for record in (checkpoint / "sources" / "0").iterdir():
        if not record.name.startswith("."):
            # The first line is the format's version; a compacted record repeats older ones.
            for line in record.read_text(encoding="utf-8").splitlines()[1:]:
                entry = json.loads(line)
                if first <= entry["batchId"] <= last:
                    paths.add(Path(unquote(urlparse(entry["path"]).path)))
    return sorted(paths)


def _log_offset(checkpoint: Path, batch: int) -> int:
    lines = (checkpoint / "offsets" / str(batch)).read_text(encoding="utf-8").splitlines()
    return int(json.loads(lines[2])["logOffset"])


def _commit(
    spark: SparkSession,
    key: str,
    files: list[Path],
    file_format: FileFormat,
    plan: DataFrame,
    networks: Networks,
    turn_hour_utc: int,
    folder: EdgeFolder,
    milestone: Milestone,
) -> None:
    refused: Counter[str] = Counter()
    readable = []
    for file in files:
        broken = file_refusal(file, file_format)
        if broken is None:
            readable.append(file)
        else:
            refused[broken.value] += 1
    milestone("before-write")
    try:
        tally = _write(spark, key, readable, file_format, plan, networks, turn_hour_utc, folder)
    except (Py4JJavaError, PySparkException):
        damaged = {file for file in readable if is_damaged(file, file_format)}
        if not damaged:
            raise
        refused[FileRefusal.DAMAGED.value] += len(damaged)
        intact = [file for file in readable if file not in damaged]
        tally = _write(spark, key, intact, file_format, plan, networks, turn_hour_utc, folder)
    written = folder.adopt(key)
    milestone("after-write")
    folder.commit(key, {"files_read": len(files), "files_refused": dict(refused), "rows": tally, "files": written})


def _write(
    spark: SparkSession,
    key: str,
    files: list[Path],
    file_format: FileFormat,
    plan: DataFrame,
    networks: Networks,
    turn_hour_utc: int,
    folder: EdgeFolder,
) -> dict[str, Any]:
    """Write the kept rows of the files to the staging folder; give the tallies of the same pass."""
    staged = folder.staging / key
    shutil.rmtree(staged, ignore_errors=True)
    if not files:
        return {}
    watched = Observation()
    (
        read_files(spark, files, file_format)
        .transform(admit)
        .transform(locate, plan)
        .transform(decide, networks)
        .observe(watched, *tallies())
        .transform(sightings, turn_hour_utc)
        .write.partitionBy("token_day", "hour")
        .option("compression", "zstd")
        .parquet(str(staged))
    )
    return {name: int(count) for name, count in watched.get.items() if count}
