"""The edge's own folder: sightings by token-day and hour, what batches were committed, carry-overs, lineages.

Everything token-level lies under `sightings/` and `carry_over/`, one folder a token-day, so that deleting a day is
deleting two folders. A sightings file counts only if a committed batch lists it (design.md, section 3).
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from ingest.release import canonical_json
from ingest.token_day import folder_name


class TableDamaged(RuntimeError):
    """A file of the edge's folder is missing or not what was recorded."""


class EdgeBusy(RuntimeError):
    """Another process works on the edge's folder."""


@dataclass(frozen=True, slots=True)
class EdgeFolder:
    """The paths of one edge's state."""

    root: Path

    @property
    def sightings(self) -> Path:
        return self.root / "sightings"

    @property
    def carry_overs(self) -> Path:
        return self.root / "carry_over"

    @property
    def batches(self) -> Path:
        return self.root / "batches"

    @property
    def staging(self) -> Path:
        return self.root / "staging"

    @property
    def checkpoint(self) -> Path:
        return self.root / "checkpoint"

    @property
    def scratch(self) -> Path:
        """Spark's spill and temporary files; emptied before and after every run."""
        return self.root / "scratch"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.sqlite"

    @property
    def releases(self) -> Path:
        return self.root / "releases"

    def outbox(self, carrier: str, window_start: datetime) -> Path:
        """The file in which a window's release leaves."""
        return self.releases / f"{carrier}_zone-hour_{folder_name(window_start)}.json"

    def day(self, day_start: datetime) -> Path:
        """The folder of a token-day's sightings."""
        return self.sightings / f"token_day={folder_name(day_start)}"

    def carry_over(self, day_start: datetime, hour: datetime) -> Path:
        """The file that the close of an hour leaves behind."""
        return self.carry_overs / f"token_day={folder_name(day_start)}" / f"{folder_name(hour)}.parquet"

    @contextmanager
    def held(self) -> Iterator[None]:
        """The folder for this process alone; raises EdgeBusy if another one has it. Leftovers of a killed one go.

        What the process writes from here on is readable by its own account only: the rows are people's days.
        """
        os.umask(0o077)
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        with (self.root / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EdgeBusy("another process runs on this edge's folder") from None
            self._sweep()
            try:
                yield
            finally:
                self._sweep()

    def _sweep(self) -> None:
        for leftover in (self.scratch, self.staging):
            if leftover.exists():
                shutil.rmtree(leftover)

    # Committed batches

    def committed(self, key: str) -> bool:
        """Whether the batch with this key is in the table already."""
        return (self.batches / f"{key}.json").exists()

    def commit(self, key: str, record: dict[str, Any]) -> None:
        """Make a batch part of the table: the rename of this record is the moment."""
        write_whole(self.batches / f"{key}.json", canonical_json(record))

    def records(self) -> list[dict[str, Any]]:
        """What every committed batch held and refused."""
        return [json.loads(path.read_bytes()) for path in sorted(self.batches.glob("*.json"))]

    def token_days(self) -> list[datetime]:
        """The token-days of which something token-level is here, oldest first."""
        folders = {path.name for room in (self.sightings, self.carry_overs) for path in room.glob("token_day=*")}
        return sorted(
            datetime.strptime(name.removeprefix("token_day="), "%Y-%m-%dT%HZ").replace(tzinfo=UTC) for name in folders
        )

    def manifest(self, day_start: datetime, hour: datetime, ground: str) -> dict[str, Any]:
        """The committed files of one hour: path, rows, bytes and digest of each, sorted.

        Raises TableDamaged if some were sighted on another ground (cell plan, grid, networks) than `ground`.
        """
        prefix = f"token_day={folder_name(day_start)}/hour={folder_name(hour)}/"
        files = []
        for record in self.records():
            found = [file for file in record["files"] if file["path"].startswith(prefix)]
            if found and record["ground"] != ground:
                raise TableDamaged("sightings of this hour were made with another cell plan, grid or list of networks")
            files += found
        return {"files": sorted(files, key=lambda file: str(file["path"]))}

    def lost_files(self, day_start: datetime) -> bool:
        """Whether files that could not be read, or were gone, may have held rows of this token-day."""
        prefix = f"token_day={folder_name(day_start)}/"
        return any(
            record["lost_files"]
            and (not record["files"] or any(file["path"].startswith(prefix) for file in record["files"]))
            for record in self.records()
        )

    def read_inputs(self) -> set[str]:
        """The names of all files that committed batches have read."""
        return {name for record in self.records() for name in record["inputs"]}

    # How far the source had delivered when it was read

    @property
    def covered_until(self) -> datetime | None:
        """Up to when the feed marks vouched for the source before it was last read whole; None before that."""
        path = self.root / "COVERED"
        return datetime.fromisoformat(path.read_text(encoding="ascii")) if path.exists() else None

    def write_covered_until(self, until: datetime) -> None:
        """Remember what the sightings table is known to hold."""
        write_whole(self.root / "COVERED", until.isoformat().encode("ascii"))

    def check(self, manifest: dict[str, Any]) -> list[Path]:
        """The files of a manifest, each as it was recorded; raises TableDamaged."""
        paths = []
        for file in manifest["files"]:
            path = self.sightings / file["path"]
            if not path.is_file() or file_digest(path) != file["digest"]:
                raise TableDamaged("a sightings file is gone or differs from its manifest")
            paths.append(path)
        return paths

    def adopt(self, key: str) -> list[dict[str, Any]]:
        """Move a staged batch's files into the table and describe them; leftovers of an earlier try are replaced."""
        for leftover in self.sightings.glob(f"token_day=*/hour=*/{key}-*.parquet"):
            leftover.unlink()
        files = []
        for number, staged in enumerate(sorted((self.staging / key).glob("token_day=*/hour=*/*.parquet"))):
            relative = staged.parent.relative_to(self.staging / key) / f"{key}-{number}.parquet"
            target = self.sightings / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            rows = pq.read_metadata(staged).num_rows
            digest, size = file_digest(staged), staged.stat().st_size
            sync(staged)
            staged.rename(target)
            files.append({"path": relative.as_posix(), "rows": rows, "bytes": size, "digest": digest})
        shutil.rmtree(self.staging / key, ignore_errors=True)
        return files

    # Lineage and carry-over

    def lineage(self, day_start: datetime) -> str | None:
        """The lineage written beside a token-day's sightings, or None."""
        path = self.day(day_start) / "LINEAGE"
        return path.read_text(encoding="ascii") if path.exists() else None

    def write_lineage(self, day_start: datetime, lineage: str) -> None:
        """Tie the day's tables to the ledger."""
        write_whole(self.day(day_start) / "LINEAGE", lineage.encode("ascii"))

    def write_carry_over(self, day_start: datetime, hour: datetime, table: pl.DataFrame) -> str:
        """Store a carry-over (sorted by token) and give its digest; the same table gives the same bytes."""
        path = self.carry_over(day_start, hour)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        pq.write_table(table.to_arrow(), draft, compression="zstd", use_dictionary=False, write_statistics=False)
        sync(draft)
        digest = file_digest(draft)
        draft.rename(path)
        sync(path.parent)
        return digest

    def delete_day(self, day_start: datetime) -> None:
        """Delete everything token-level of a token-day; what its batches held stays known as numbers only."""
        prefix = f"token_day={folder_name(day_start)}"
        for folder in (self.carry_overs / prefix, self.day(day_start)):
            if folder.exists():
                shutil.rmtree(folder)
        for path in self.batches.glob("*.json"):
            record = json.loads(path.read_bytes())
            kept = [file for file in record["files"] if not file["path"].startswith(prefix + "/")]
            if kept != record["files"]:
                write_whole(path, canonical_json({**record, "files": kept}))


def batch_key(files: Iterable[Path]) -> str:
    """The name of a batch, from the files it reads: the same files give the same name whatever the checkpoint says."""
    stated = []
    for path in files:
        found = path.stat() if path.exists() else None
        stated.append((path.name, found.st_size if found else -1, found.st_mtime_ns if found else -1))
    stated.sort()
    return hashlib.sha256(canonical_json(stated)).hexdigest()[:24]


def file_digest(path: Path) -> str:
    """`sha256:…` of a file's bytes."""
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or nothing, and a crash leaves the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".draft")
    with draft.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.rename(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Bring a file or folder entry to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
