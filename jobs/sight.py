"""`sight`: from cell-attachment files to the sightings table, as a stateless stream.

At least once: a batch that is read again writes the same rows under the same name, and equal rows change nothing later.
Spark's stream says which files are new; the batch record in the edge's folder says what is part of the table.
"""

import json
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException, StreamingQueryException
from pyspark.sql import DataFrame, Observation, SparkSession

from ingest.files import ENDINGS, FileFormat, FileRefusal, file_refusal, is_damaged
from jobs.door import ROW_SCHEMA, Admission, admit, decide, locate, read_files, sightings, tallies
from jobs.milestone import Milestone
from jobs.tables import EdgeFolder, batch_key
from movement.sighting import Networks

FEWEST_TO_JUDGE = 1000
"""Rows of a batch below which a share of bad ones says nothing."""


class SightStopped(RuntimeError):
    """The source is not what it should be; nothing more is taken in until a person has looked."""


@dataclass(frozen=True, slots=True)
class Source:
    """A drop folder of cell-attachment files of one format; a file appears in it whole, by rename."""

    folder: Path
    format: FileFormat

    def files(self) -> list[Path]:
        """The files that are there now."""
        return sorted(
            path
            for path in self.folder.iterdir()
            if path.name.endswith(ENDINGS[self.format]) and not path.name.startswith(("_", "."))
        )


@dataclass(frozen=True, slots=True)
class Sighting:
    """What every batch of a run is sighted with."""

    spark: SparkSession
    source: Source
    plan: DataFrame
    networks: Networks
    turn_hour_utc: int
    ground: str  # digest of cell plan, zone grid and networks
    folder: EdgeFolder
    admission: Admission | None  # None: a replay
    most_refused: float  # share of a batch's rows
    milestone: Milestone


def sight(run: Sighting, *, files_per_batch: int = 64) -> None:
    """Bring everything that the source holds now into the sightings table, then stop.

    Raises SightStopped if too many rows are refused, or if a file that was there has not been read.
    """
    there = run.source.files()
    # Two patterns in one glob: Spark's filter takes alternatives.
    glob = "*{" + ",".join(ENDINGS[run.source.format]) + "}"
    stream = (
        run.spark.readStream.option("maxFilesPerTrigger", files_per_batch)
        .option("pathGlobFilter", glob)
        # Spark forgets files a week older than the newest one; ours are never too old to be read, or counted as late.
        .option("maxFileAge", "36500d")
    )
    rows = (
        stream.schema(ROW_SCHEMA).parquet(str(run.source.folder))
        if run.source.format is FileFormat.PARQUET
        else stream.text(str(run.source.folder))
    )

    stopped: list[SightStopped] = []

    def take_in(_: DataFrame, batch: int) -> None:
        # Batch ids begin again when a checkpoint is lost: the batch is named after the files that it reads.
        files = files_of_batch(run.folder.checkpoint, batch)
        key = batch_key(files)
        if files and not run.folder.committed(key):
            try:
                _commit(run, key, files)
            except SightStopped as stop:
                stopped.append(stop)
                raise

    query = (
        rows.writeStream.foreachBatch(take_in)
        .option("checkpointLocation", str(run.folder.checkpoint))
        .trigger(availableNow=True)
        .start()
    )
    try:
        query.awaitTermination()
    except StreamingQueryException:
        if stopped:
            raise stopped[0] from None  # Spark would bury the reason under its own
        raise
    unread = {path.name for path in there} - run.folder.read_inputs()
    if unread:
        raise SightStopped(
            f"{len(unread)} files of the source were not read: a file is never written again under its name"
        )


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


def _commit(run: Sighting, key: str, files: list[Path]) -> None:
    refused: Counter[str] = Counter()
    readable = []
    for file in files:
        broken = file_refusal(file, run.source.format)
        if broken is None:
            readable.append(file)
        else:
            refused[broken.value] += 1
    run.milestone("before-write")
    try:
        tally = _write(run, key, readable)
    except (Py4JJavaError, PySparkException):
        damaged = {file for file in readable if is_damaged(file, run.source.format)}
        if not damaged:
            raise
        refused[FileRefusal.DAMAGED.value] += len(damaged)
        tally = _write(run, key, [file for file in readable if file not in damaged])
    _stop_if_too_many_are_bad(tally, run.most_refused)
    written = run.folder.adopt(key)
    run.milestone("after-write")
    record = {
        "inputs": sorted(file.name for file in files),
        "files_refused": dict(refused),
        "lost_files": sum(refused[lost.value] for lost in (FileRefusal.DAMAGED, FileRefusal.GONE)),
        "rows": tally,
        "files": written,
        "ground": run.ground,
    }
    run.folder.commit(key, record)


def _stop_if_too_many_are_bad(tally: dict[str, int], most_refused: float) -> None:
    received = tally.get("received", 0)
    bad = sum(count for name, count in tally.items() if name.startswith("refused:")) + tally.get("unknown_cell", 0)
    if received >= FEWEST_TO_JUDGE and bad > most_refused * received:
        raise SightStopped(
            f"{bad / received:.0%} of a batch's rows are refused or on unknown cells; edge.most_refused is {most_refused}"
        )


def _write(run: Sighting, key: str, files: list[Path]) -> dict[str, int]:
    """Write the kept rows of the files to the staging folder; give the tallies of the same pass."""
    staged = run.folder.staging / key
    shutil.rmtree(staged, ignore_errors=True)
    if not files:
        return {}
    watched = Observation()
    (
        read_files(run.spark, files, run.source.format)
        .transform(admit, run.admission)
        .transform(locate, run.plan)
        .transform(decide, run.networks)
        .observe(watched, *tallies())
        .transform(sightings, run.turn_hour_utc)
        .write.partitionBy("token_day", "hour")
        .option("compression", "zstd")
        .parquet(str(staged))
    )
    return {name: int(count) for name, count in watched.get.items() if count}
