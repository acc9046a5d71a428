"""`sight`: from cell-attachment files to the sightings table, as a stateless stream.

At least once: a batch that is read again writes the same rows under the same name, and equal rows change nothing later.
Spark's stream says which files are new and carries the tasks; a task reads, judges and writes for itself (`jobs.staging`), so
that no row passes through the JVM. The batch record in the edge's folder says what is part of the table.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote, urlparse

import polars as pl
import pyarrow as pa
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession

from ingest.attachment import LATENESS
from ingest.door import Admission
from ingest.files import ENDINGS, FileFormat, FileRefusal, Layout
from ingest.read import FileDamaged, parts, read_rows
from ingest.release import HOUR
from ingest.token_day import HOURS_IN_DAY, folder_name, hour_start, instant_of, token_day_start
from jobs.grounds import Pin
from jobs.milestone import Milestone
from jobs.sealed import SealedFile
from jobs.staging import STAGED_SCHEMA, BatchOrder, InputRefused, Staged, Tables, record_rows, stage_task
from jobs.tables import EdgeFolder, batch_key

FEWEST_TO_JUDGE = 1000
"""Rows of a batch below which a share of bad ones says nothing."""
ROWS_PER_TASK = 1_000_000
"""About how many rows a task reads, where there are enough for every core."""
ROWS_WORTH_A_TASK = 50_000
"""Starting a task costs as much as reading about this many rows."""
FILES = "files"
"""What files are called that say of no source that they come from it."""
_BYTES_PER_ROW = {".parquet": 15, ".gz": 30, ".zst": 25}
_BYTES_PER_PLAIN_ROW = 250


class SightStopped(RuntimeError):
    """The source is not what it should be; nothing more is taken in until a person has looked."""


@dataclass(frozen=True, slots=True)
class Source:
    """A drop folder of cell-attachment files of one format; a file appears in it whole, by rename.

    `layout` says where the files keep what, if they are not laid out like the contract. A sub-folder is named after the
    source that its files come from; `name` is that of the files beside it. With a
    `commit_marker` a file counts when another one stands beside it that is called the same and the marker behind.
    """

    folder: Path
    format: FileFormat
    layout: Layout | None = None
    name: str = FILES
    commit_marker: str = ""

    def files(self) -> list[Path]:
        """The files that are there now and count."""
        endings = tuple(ending + self.commit_marker for ending in ENDINGS[self.format])
        found = [path for path in self.folder.rglob("*") if path.name.endswith(endings) and self._is_open(path)]
        return [self.meant_by(path) for path in sorted(found)]

    @property
    def glob(self) -> str:
        """What Spark looks for: two patterns in one, since its filter takes alternatives."""
        return "*{" + ",".join(ending + self.commit_marker for ending in ENDINGS[self.format]) + "}"

    def meant_by(self, path: Path) -> Path:
        """The file that a discovered file stands for: itself, or the one that it is the marker of."""
        return path.with_name(path.name.removesuffix(self.commit_marker)) if self.commit_marker else path

    def source_of(self, path: Path) -> str:
        """The name of the source that a file comes from."""
        inside = path.parent.relative_to(self.folder).as_posix()
        return self.name if inside == "." else inside

    def name_of(self, path: Path) -> str:
        """The file as records name it: from the drop folder on."""
        return path.relative_to(self.folder).as_posix()

    def _is_open(self, path: Path) -> bool:
        return not any(part.startswith(("_", ".")) for part in path.relative_to(self.folder).parts)


NO_FILES = Source(Path(os.devnull), FileFormat.NDJSON)
"""Of an edge whose rows come by Kafka."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What every batch of a run is sighted with."""

    spark: SparkSession
    source: Source
    folder: EdgeFolder
    current: Pin  # what a token-day rests on that nothing has touched yet
    current_valid_from: datetime
    turn_hour_utc: int
    admission: Admission | None  # None: a replay
    most_refused: float  # share of a batch's rows
    milestone: Milestone


@dataclass(frozen=True, slots=True)
class Piece:
    """Some parts of a file (None: all of it), and about how many rows they hold."""

    path: Path
    name: str
    source: str
    format: FileFormat
    layout: Layout | None
    part: range | None
    rows: int


class Sized(Protocol):
    """Something to read of which it is known about how many rows it has."""

    @property
    def rows(self) -> int: ...


_Sized = TypeVar("_Sized", bound=Sized)


def sight(run: Sighting, *, files_per_batch: int = 64) -> None:
    """Bring everything that the source holds now into the sightings table, then stop.

    Raises SightStopped if too many rows are refused, or if a file that was there has not been read.
    """
    there = run.source.files()
    # Only the names are wanted, whatever the files are: the tasks read them for themselves.
    found = (
        run.spark.readStream.option("maxFilesPerTrigger", files_per_batch)
        .option("pathGlobFilter", run.source.glob)
        .option("recursiveFileLookup", "true")
        # Spark forgets files a week older than the newest one; ours are never too old to be read, or counted as late.
        .option("maxFileAge", "36500d")
        .text(str(run.source.folder))
    )
    stopped: list[SightStopped] = []

    def take_in(_: DataFrame, batch: int) -> None:
        # Batch ids begin again when a checkpoint is lost: the batch is named after the files that it reads.
        files = sorted({run.source.meant_by(path) for path in files_of_batch(run.folder.checkpoint, batch)})
        key = batch_key(run.source.folder, files)
        if files and not run.folder.committed(key):
            try:
                sight_files(run, key, files)
            except SightStopped as stop:
                stopped.append(stop)
                raise

    query = (
        found.writeStream.foreachBatch(take_in)
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
    refuse_unread(run, there)


def refuse_unread(run: Sighting, there: Sequence[Path]) -> None:
    """Raise SightStopped if a file that was there has not been read, or is another one than was read under its name."""
    unread = {run.source.name_of(path) for path in there} - run.folder.read_inputs()
    unread |= {run.source.name_of(path) for path in rewritten(run.source, run.folder, there)}
    if unread:
        raise SightStopped(
            f"{len(unread)} files of the source were not read: a file is never written again under its name"
        )


def rewritten(source: Source, folder: EdgeFolder, there: Iterable[Path]) -> list[Path]:
    """The files that were read and are there again with another size."""
    sizes = folder.read_sizes()
    known = ((path, sizes.get(source.name_of(path))) for path in there)
    return [path for path, read in known if read and (now := _stat(path)) is not None and now.st_size not in read]


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except FileNotFoundError:
        return None


def files_of_batch(checkpoint: Path, batch: int) -> list[Path]:
    """The files that a batch of the stream stands for, by Spark's own record of its offsets and sources."""
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


def sight_files(run: Sighting, key: str, files: Sequence[Path]) -> None:
    """Take a batch of files in. A damaged one is refused whole: the batch is then read again without it."""
    order = batch_order(run, key)
    refused: dict[str, str] = {}
    stats = {run.source.name_of(file): found for file in files if (found := _stat(file)) is not None}
    run.milestone("before-write")
    while True:
        left = [file for file in files if run.source.name_of(file) not in refused]
        pieces, broken = _pieces(run.source, left)
        staged = [] if broken else _stage_pieces(run, order, pieces)
        broken |= {name: reason for part in staged for name, reason in part.refused.items()}
        if not broken:
            break
        refused |= broken
    lost = lost_hours(run, [file for file in files if run.source.name_of(file) in refused], staged)
    record = {
        "inputs": sorted(run.source.name_of(file) for file in files),
        "stats": {name: [found.st_size, found.st_mtime_ns] for name, found in sorted(stats.items())},
        "files_refused": dict(Counter(refused.values())),
        "lost_hours": lost,
    }
    commit_batch(run, order, staged, record)


def sight_batch(run: Sighting, key: str, rows: DataFrame, tables: Tables, record: Mapping[str, Any]) -> None:
    """Take in a batch whose rows Spark reads. `record` is what the batch's record says beside rows, files and grounds.

    `tables` says in a worker what the Arrow batches of `rows` stand for; it is handed there by pickle.
    """
    order = batch_order(run, key)
    run.milestone("before-write")
    commit_batch(run, order, _staged(rows, order, tables), record)


def batch_order(run: Sighting, key: str) -> BatchOrder:
    """What the tasks of a batch are told; its staging folder is empty."""
    order = BatchOrder(
        root=run.folder.root.absolute(),
        key=key,
        turn_hour_utc=run.turn_hour_utc,
        pins=run.folder.grounds.pins(),
        current=run.current,
        current_valid_from=run.current_valid_from,
        admission=run.admission,
    )
    shutil.rmtree(order.folder, ignore_errors=True)
    return order


def commit_batch(run: Sighting, order: BatchOrder, staged: Iterable[Staged], record: Mapping[str, Any]) -> None:
    """Make what the tasks of a batch gave back part of the table; raises SightStopped if too many rows are bad."""
    rows: Counter[tuple[str, str | None, str]] = Counter()
    files: list[SealedFile] = []
    for part in staged:
        rows.update(part.rows)
        files += part.files
    _stop_if_too_many_are_bad(rows, run.most_refused)
    run.milestone("after-write")
    grounds = {}
    for day in sorted({_token_day(file.path) for file in files}):
        grounds[folder_name(day)] = run.folder.grounds.pin(day, order.pin_of(day)).ground
    written = run.folder.adopt(order.key, files)
    run.milestone("before-commit")
    listed = {"rows": record_rows(rows), "files": [file.document() for file in written], "grounds": grounds}
    lost = _with_missed(run, record, files)
    run.folder.commit(order.key, {**record, **listed, "lost_hours": lost})
    run.milestone("after-commit")


def _with_missed(run: Sighting, record: Mapping[str, Any], files: Sequence[SealedFile]) -> list[str] | None:
    """The lost hours of a batch with those that were closed before its rows came; None: any hour.

    That files came too late is said whatever they hold. A batch that only repeats what was read before missed nothing.
    """
    lost, inputs = record["lost_hours"], set(record["inputs"])
    if lost is None or (inputs and inputs <= run.folder.read_inputs()):
        return None if lost is None else list(lost)
    hours = {Path(file.path).parent.name.removeprefix("hour="): _token_day(file.path) for file in files}
    missed = {hour for hour, day in hours.items() if run.folder.close_begun(day, instant_of(hour))}
    return sorted({*lost, *missed})


def _token_day(path: str) -> datetime:
    return instant_of(path.partition("/")[0].removeprefix("token_day="))


def _stop_if_too_many_are_bad(rows: Mapping[tuple[str, str | None, str], int], most_refused: float) -> None:
    tally: Counter[str] = Counter()
    for (_, _, what), count in rows.items():
        tally[what] += count
    received = tally["received"]
    bad = sum(count for name, count in tally.items() if name.startswith("refused:")) + tally["unknown_cell"]
    if received >= FEWEST_TO_JUDGE and bad > most_refused * received:
        raise SightStopped(
            f"{bad / received:.0%} of a batch's rows are refused or on unknown cells; edge.most_refused is {most_refused}"
        )


# Files in pieces


def _pieces(source: Source, files: Iterable[Path]) -> tuple[list[Piece], dict[str, str]]:
    """The files cut so that no piece is much larger than a task should be; and those that cannot be cut, with the reason."""
    pieces, broken = [], {}
    for file in files:
        try:
            count = parts(file, source.format)
            rows = file.stat().st_size // _BYTES_PER_ROW.get(file.suffix, _BYTES_PER_PLAIN_ROW) + 1
        except FileDamaged as damaged:
            broken[source.name_of(file)] = damaged.reason.value
            continue
        except FileNotFoundError:
            broken[source.name_of(file)] = FileRefusal.GONE.value
            continue
        name, came_from = source.name_of(file), source.source_of(file)
        whole = Piece(file.absolute(), name, came_from, source.format, source.layout, None, rows)
        step = max(1, count * ROWS_PER_TASK // rows)
        if step >= count:
            pieces.append(whole)
        else:
            cuts = [range(start, min(start + step, count)) for start in range(0, count, step)]
            pieces += [replace(whole, part=part, rows=rows * len(part) // count) for part in cuts]
    return pieces, broken


def tasks_of(pieces: Sequence[_Sized], cores: int) -> list[list[_Sized]]:
    """Pieces dealt out to tasks, the largest first to the task that has least: enough for every core, none too small."""
    total = sum(piece.rows for piece in pieces)
    wanted = max(-(-total // ROWS_PER_TASK), min(cores, -(-total // ROWS_WORTH_A_TASK)))
    tasks: list[list[_Sized]] = [[] for _ in range(min(wanted, len(pieces)))]
    loads = [0] * len(tasks)
    for piece in sorted(pieces, key=lambda piece: -piece.rows):
        least = loads.index(min(loads))
        tasks[least].append(piece)
        loads[least] += piece.rows
    return tasks


def _stage_pieces(run: Sighting, order: BatchOrder, pieces: Sequence[Piece]) -> list[Staged]:
    tasks = tasks_of(pieces, run.spark.sparkContext.defaultParallelism)
    if not tasks:
        return []
    numbers = run.spark.range(0, len(tasks), 1, numPartitions=len(tasks))
    return _staged(numbers.toDF("task"), order, partial(read_pieces, tasks))


def _staged(rows: DataFrame, order: BatchOrder, tables: Tables) -> list[Staged]:
    done = rows.mapInArrow(stage_task(order, tables), STAGED_SCHEMA).collect()
    return [Staged.from_json(row.staged) for row in done]


def read_pieces(
    tasks: Sequence[Sequence[Piece]], numbers: Iterator[pa.RecordBatch]
) -> Iterator[tuple[str, pl.DataFrame]]:
    """The tables of the tasks with these numbers; raises InputRefused for a file that cannot be taken in."""
    for batch in numbers:
        for number in batch.column(0).to_pylist():
            for piece in tasks[number]:
                try:
                    for table in read_rows(piece.path, piece.format, piece.layout, part=piece.part):
                        yield piece.source, table
                except FileDamaged as damaged:
                    raise InputRefused(piece.name, damaged.reason.value) from None


# What refused files may have held


def lost_hours(run: Sighting, refused: Sequence[Path], staged: Iterable[Staged]) -> list[str] | None:
    """The hours of which refused files may have held rows, as `folder_name` spells them; None: of any hour.

    A file may hold the hours that the rest of its source holds in the same batch and, on a live edge, what is fresh when
    it lands or was not yet vouched for when the source was last read: what was had been read before. A source of which
    nothing else was read may have sent anything of the token-day; in a replay, of any day.
    """
    seen: dict[str, set[str]] = {}
    for part in staged:
        for source, hour, what in part.rows:
            if what == "received" and hour is not None:
                seen.setdefault(source, set()).add(hour)
    lost: set[str] = set()
    for file in refused:
        beside = seen.get(run.source.source_of(file), set())
        if run.admission is None and not beside:
            return None
        lost |= beside
        if run.admission is not None:
            landed = min(_landed_at(file, run.admission.not_after), run.admission.not_after)
            known, earliest = run.folder.covered_until, run.admission.not_before
            first = earliest if known is None else hour_start(min(landed - HOUR, known) - LATENESS)
            last = hour_start(landed)
            if not beside:
                first = min(first, token_day_start(landed - LATENESS, run.turn_hour_utc))
                last = token_day_start(landed, run.turn_hour_utc) + HOUR * (HOURS_IN_DAY - 1)
            first = max(first, earliest)
            lost |= {folder_name(first + HOUR * number) for number in range((last - first) // HOUR + 1)}
    return sorted(lost)


def _landed_at(file: Path, otherwise: datetime) -> datetime:
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=file.stat().st_mtime)
    except (FileNotFoundError, OverflowError):
        return otherwise
