"""The edge's own folder: sightings by token-day and hour, what batches were committed, carry-overs, lineages.

Everything token-level lies under `sightings/` and `carry_over/`, one folder a token-day, encrypted under the day's key in
`keys/`: a day is deleted by shredding its key and then deleting two folders. A sightings file counts only if a committed
batch lists it (design.md, section 3).
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from ingest.release import HOUR, Level, canonical_json
from ingest.token_day import HOURS_IN_DAY, folder_name, instant_of
from jobs.disk import file_digest, sync, write_whole
from jobs.equations import MOVEMENT_ENDS
from jobs.grounds import GroundStore, Pin
from jobs.keys import KeyMissing, make_key, read_key, shred_key
from jobs.sealed import SealBroken, SealedFile, read_sealed, seal, unseal
from movement.advance import CARRY_OVER_SCHEMA, SIGHTING_SCHEMA

__all__ = ["CarryOver", "EdgeBusy", "EdgeFolder", "TableDamaged", "batch_key", "file_digest", "sync", "write_whole"]


_SEALED = ".sealed"


class TableDamaged(RuntimeError):
    """A file of the edge's folder is missing or not what was recorded."""


class EdgeBusy(RuntimeError):
    """Another process works on the edge's folder."""


@dataclass(frozen=True, slots=True)
class CarryOver:
    """What the close of an hour leaves behind.

    `leaves` are digests of the content, one for each first byte of a token; `totals` are the day's exact counts so far as
    [zone, direction, count]; `sightings` names the files that the hour was closed with; `tally` adds up its rows.
    """

    leaves: tuple[str, ...]
    totals: tuple[tuple[int, int, int], ...]
    files: tuple[SealedFile, ...]
    sightings: tuple[str, ...]
    tally: Mapping[str, int]

    @property
    def digest(self) -> str:
        """`sha256:…` of content and totals: the same however many files hold them, and under whatever key."""
        return "sha256:" + hashlib.sha256(canonical_json([self.leaves, self.totals])).hexdigest()

    def document(self) -> dict[str, Any]:
        """The carry-over's own record as JSON."""
        return {
            "leaves": self.leaves,
            "totals": self.totals,
            "files": [file.document() for file in self.files],
            "sightings": self.sightings,
            "tally": dict(self.tally),
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "CarryOver":
        """The carry-over that a record describes."""
        return cls(
            leaves=tuple(document["leaves"]),
            totals=tuple((zone, direction, count) for zone, direction, count in document["totals"]),
            files=tuple(SealedFile.of(file) for file in document["files"]),
            sightings=tuple(document["sightings"]),
            tally=document["tally"],
        )


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
    def past_batches(self) -> Path:
        """Records of batches that can say nothing of a day to come: their files were deleted with their days."""
        return self.batches / "past"

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

    @property
    def grounds(self) -> GroundStore:
        return GroundStore(self.root)

    def outbox(self, carrier: str, window_start: datetime, level: Level = Level.ZONE_HOUR) -> Path:
        """The file in which a window's release leaves, or a token-day's at another level."""
        return self.releases / f"{carrier}_{level}_{folder_name(window_start)}.json"

    def day(self, day_start: datetime) -> Path:
        """The folder of a token-day's sightings."""
        return self.sightings / day_folder(day_start)

    def carry_over(self, day_start: datetime, hour: datetime) -> Path:
        """The sealed record of what the close of an hour left behind."""
        return self.carry_overs / day_folder(day_start) / f"{folder_name(hour)}{_SEALED}"

    def begin_close(self, day_start: datetime, hour: datetime) -> None:
        """Note that an hour is about to be frozen: rows of it that come from here on may be too late for it."""
        write_whole(self._begun(day_start, hour), b"")

    def close_begun(self, day_start: datetime, hour: datetime) -> bool:
        """Whether an hour was closed, or may be frozen by a close that was killed."""
        return self._begun(day_start, hour).exists() or self.carry_over(day_start, hour).exists()

    def _begun(self, day_start: datetime, hour: datetime) -> Path:
        return self.carry_over(day_start, hour).with_suffix(".begun")

    def newest_carry_over(self, day_start: datetime) -> datetime | None:
        """The newest hour of a token-day whose close left a record here, or None."""
        records = (self.carry_overs / day_folder(day_start)).glob(f"*{_SEALED}")
        return max((instant_of(path.name.removesuffix(_SEALED)) for path in records), default=None)

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
        # A draft is renamed when it is whole; one that is still there belonged to a process that was killed.
        for draft in sorted(self.root.rglob("*.draft")):
            if draft.is_dir():
                shutil.rmtree(draft)
            else:
                draft.unlink(missing_ok=True)  # it went with the folder that is a draft itself

    # Committed batches

    def committed(self, key: str) -> bool:
        """Whether the batch with this key is in the table already."""
        return any((folder / f"{key}.json").exists() for folder in (self.batches, self.past_batches))

    def commit(self, key: str, record: dict[str, Any]) -> None:
        """Make a batch part of the table: the rename of this record is the moment."""
        write_whole(self.batches / f"{key}.json", canonical_json(record))

    def records(self, *, past: bool = True) -> list[dict[str, Any]]:
        """What every committed batch held and refused; without the past, those that may still have files."""
        folders = (self.past_batches, self.batches) if past else (self.batches,)
        found = {path.name: path for folder in folders for path in folder.glob("*.json")}
        return [json.loads(found[name].read_bytes()) for name in sorted(found)]

    def token_days(self) -> list[datetime]:
        """The token-days of which something token-level is here, oldest first."""
        rooms = (self.sightings.glob("token_day=*"), self.carry_overs.glob("token_day=*"))
        folders = {path.name for room in rooms for path in room}
        folders |= {path.stem for path in (self.root / "keys").glob("token_day=*.key")}
        return sorted(instant_of(name.removeprefix("token_day=")) for name in folders)

    def manifest(self, day_start: datetime, hour: datetime, ground: str) -> dict[str, Any]:
        """The committed files of one hour, as `SealedFile.document` gives them, sorted by path.

        Raises TableDamaged if some were sighted on another ground (cell plan, grid, networks) than `ground`.
        """
        prefix = f"{day_folder(day_start)}/hour={folder_name(hour)}/"
        files = []
        for record in self.records(past=False):
            found = [file for file in record["files"] if file["path"].startswith(prefix)]
            if found and record["grounds"].get(folder_name(day_start)) != ground:
                raise TableDamaged("sightings of this hour were made with another cell plan, grid or list of networks")
            files += found
        return {"files": sorted(files, key=lambda file: str(file["path"]))}

    def lost(self, hours: Sequence[datetime]) -> bool:
        """Whether files that could not be read, or were gone, may have held rows of one of these hours."""
        names = {folder_name(hour) for hour in hours}
        lost = [record["lost_hours"] for record in self.records(past=False)]
        return any(found is None or names & set(found) for found in lost)

    def read_inputs(self) -> set[str]:
        """The names of all files that committed batches have read, from the drop folder on."""
        return {name for record in self.records() for name in record["inputs"]}

    def read_sizes(self) -> dict[str, set[int]]:
        """How many bytes each file had when it was read; an older record does not say."""
        sizes: dict[str, set[int]] = {}
        for record in self.records():
            for name, (size, _) in record.get("stats", {}).items():
                sizes.setdefault(name, set()).add(size)
        return sizes

    # How far the source had delivered when it was read

    @property
    def covered_until(self) -> datetime | None:
        """Up to when the feed marks vouched for the source before it was last read whole; None before that."""
        path = self.root / "COVERED"
        return datetime.fromisoformat(path.read_text(encoding="ascii")) if path.exists() else None

    def write_covered_until(self, until: datetime) -> None:
        """Remember what the sightings table is known to hold."""
        write_whole(self.root / "COVERED", until.isoformat().encode("ascii"))

    @property
    def trusted_clock(self) -> datetime | None:
        """The latest instant at which somebody said that the clock is right, after a long pause; None: nobody has."""
        path = self.root / "CLOCK"
        return datetime.fromisoformat(path.read_text(encoding="ascii")) if path.exists() else None

    def trust_clock(self, now: datetime) -> None:
        """Remember that the clock was right at an instant, by somebody's word."""
        write_whole(self.root / "CLOCK", now.isoformat().encode("ascii"))

    # Sealed files

    def check(self, room: Path, files: Iterable[SealedFile]) -> None:
        """Hold files to the digests of their records; raises TableDamaged. The only reading of them that checks all bytes."""
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            if not all(threads.map(partial(_is_as_recorded, room), files)):
                raise TableDamaged("a file of the edge's tables is gone or differs from its record")

    def adopt(self, key: str, staged: Iterable[SealedFile]) -> list[SealedFile]:
        """Move the files that a batch's tasks gave back into the table; what else is staged was written by a dead try."""
        for leftover in self.sightings.glob(f"token_day=*/hour=*/{key}-*.parquet"):
            leftover.unlink()
        files, folders = [], set()
        for number, file in enumerate(sorted(staged, key=lambda file: file.path)):
            path = (Path(file.path).parent / f"{key}-{number}.parquet").as_posix()
            target = self.sightings / path
            target.parent.mkdir(parents=True, exist_ok=True)
            (self.staging / key / file.path).rename(target)
            folders |= {target.parent, target.parent.parent}
            files.append(replace(file, path=path))
        for folder in folders:
            sync(folder)
        shutil.rmtree(self.staging / key, ignore_errors=True)
        return files

    def read_sightings(self, day_start: datetime, files: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
        """All rows of sightings files of one token-day (SIGHTING_SCHEMA), for whoever has its key."""
        key = read_key(self.root, day_start)
        read = [read_sealed(self.sightings, SealedFile.of(file), key, SIGHTING_SCHEMA) for file in files]
        return pl.concat([pl.DataFrame(schema=SIGHTING_SCHEMA), *read])

    # Lineage and carry-over

    def lineage(self, day_start: datetime) -> str | None:
        """The lineage written beside a token-day's sightings, or None."""
        path = self.day(day_start) / "LINEAGE"
        return path.read_text(encoding="ascii") if path.exists() else None

    def write_lineage(self, day_start: datetime, lineage: str) -> None:
        """Tie the day's tables to the ledger."""
        write_whole(self.day(day_start) / "LINEAGE", lineage.encode("ascii"))

    def day_key(self, day_start: datetime) -> bytes:
        """The key of a token-day's tables, made when it is first asked for."""
        return make_key(self.root, day_start)

    def write_carry_over(self, day_start: datetime, hour: datetime, left: CarryOver) -> CarryOver:
        """Keep what a close left: its staged files first, then the record, by whose rename they count."""
        record = self.carry_over(day_start, hour)
        record.parent.mkdir(parents=True, exist_ok=True)
        kept = []
        for number, file in enumerate(left.files):
            path = record.parent / f"{record.stem}-{file.salt[:8]}-{number}.parquet"
            Path(file.path).rename(path)
            kept.append(replace(file, path=path.name))
        sync(record.parent)
        written = replace(left, files=tuple(kept))
        # Sealed as well: totals and tally are exact counts, and a copy of the folder outlives the day.
        write_whole(record, seal(canonical_json(written.document()), self.day_key(day_start)))
        for leftover in set(record.parent.glob(f"{record.stem}-*.parquet")) - {record.parent / f.path for f in kept}:
            leftover.unlink()
        return written

    def read_carry_over(self, day_start: datetime, hour: datetime, digest: str | None) -> CarryOver | None:
        """What the close of an hour left, if it is all there and has this digest; None if it is lost."""
        try:
            left = self.carry_over_record(day_start, hour)
            if left.digest != digest:
                return None
            self.check(self.carry_over(day_start, hour).parent, left.files)
        except (FileNotFoundError, KeyMissing, SealBroken, TableDamaged):
            return None
        return left

    def carry_over_record(self, day_start: datetime, hour: datetime) -> CarryOver:
        """What the record of a carry-over says of itself; raises FileNotFoundError, KeyMissing or SealBroken."""
        content = unseal(self.carry_over(day_start, hour).read_bytes(), read_key(self.root, day_start))
        return CarryOver.of(json.loads(content))

    def read_carry_over_rows(self, day_start: datetime, hour: datetime) -> pl.DataFrame:
        """The rows of a carry-over (CARRY_OVER_SCHEMA), for whoever has its day's key."""
        room, key = self.carry_over(day_start, hour).parent, read_key(self.root, day_start)
        files = self.carry_over_record(day_start, hour).files
        read = [read_sealed(room, file, key, CARRY_OVER_SCHEMA) for file in files]
        return pl.concat([pl.DataFrame(schema=CARRY_OVER_SCHEMA), *read])

    # What a token-day leaves when it is deleted

    def delete_day(self, day_start: datetime, current: Pin) -> None:
        """Delete everything token-level of a token-day, and forget what it rested on."""
        self.delete_tables(day_start)
        self.grounds.unpin(day_start, current)

    def delete_tables(self, day_start: datetime) -> None:
        """Delete everything token-level of a token-day, its key first; what its batches held stays known as numbers only.

        It needs nothing but the folder: neither cell plan nor ledger can stand in the way of a deletion.
        """
        numbers: dict[str, dict[str, int]] = {}
        # Whatever is wrong with the day's records, it is deleted.
        with suppress(OSError, ValueError, KeyError, TypeError):
            numbers = {hour: outliving(tally) for hour, tally in self.hour_numbers(day_start).items()}
        shred_key(self.root, day_start)
        # The disk may be full of the very tables that go now.
        with suppress(OSError):
            write_whole(self._numbers(day_start), canonical_json(numbers))
        prefix, past = day_folder(day_start), day_start + HOUR * HOURS_IN_DAY
        for folder in (self.carry_overs / prefix, self.sightings / prefix):
            if folder.exists():
                shutil.rmtree(folder)
        for path in self.batches.glob("*.json"):
            try:
                record = json.loads(path.read_bytes())
                files, lost = record["files"], record["lost_hours"]
                kept = [file for file in files if not file["path"].startswith(prefix + "/")]
            except (ValueError, KeyError, TypeError):
                continue  # Whoever reads it for its rows will say that it cannot be read.
            if kept != files:
                write_whole(path, canonical_json({**record, "files": kept}))
            if not kept and lost is not None and all(hour < folder_name(past) for hour in lost):
                self.past_batches.mkdir(exist_ok=True)
                path.rename(self.past_batches / path.name)

    def hour_numbers(self, day_start: datetime) -> dict[str, dict[str, int]]:
        """What the close of each hour of a token-day found: movement.advance.Tally, and the rows that came after the freeze.

        Exact counts: they never leave the carrier. Of a day that was deleted there is what `outliving` leaves.
        """
        if self._numbers(day_start).exists():
            kept: dict[str, dict[str, int]] = json.loads(self._numbers(day_start).read_bytes())
            return kept
        prefix = day_folder(day_start)
        files = [file for record in self.records(past=False) for file in record["files"]]
        numbers = {}
        for path in sorted((self.carry_overs / prefix).glob(f"*{_SEALED}")):
            hour = path.name.removesuffix(_SEALED)
            try:
                left = self.carry_over_record(day_start, instant_of(hour))
            except (KeyMissing, SealBroken):
                continue
            there = [file for file in files if file["path"].startswith(f"{prefix}/hour={hour}/")]
            late = sum(file["rows"] for file in there if file["path"] not in left.sightings)
            numbers[hour] = {**left.tally, "after_freeze": late}
        return numbers

    def _numbers(self, day_start: datetime) -> Path:
        return self.root / "numbers" / f"{day_folder(day_start)}.json"


def day_folder(day_start: datetime) -> str:
    """How the folders and files of a token-day are called."""
    return f"token_day={folder_name(day_start)}"


def outliving(tally: Mapping[str, int]) -> dict[str, int]:
    """What of an hour's numbers may be kept when its day is deleted: its rows, and of its movements what does not cancel.

    How many crossed in an hour is said with noise or not at all. The fates are zero; `candidates` is what they left open.
    """
    ends = sum(tally[name] for name in MOVEMENT_ENDS)
    zeros = dict.fromkeys((*MOVEMENT_ENDS, "pending_before"), 0)
    rows = {name: tally[name] for name in ("sightings", "distinct", "duplicate", "after_freeze")}
    return {**rows, **zeros, "candidates": tally["candidates"] + tally["pending_before"] - ends}


def _is_as_recorded(room: Path, file: SealedFile) -> bool:
    path = room / file.path
    return path.is_file() and file_digest(path) == file.digest


def batch_key(folder: Path, files: Iterable[Path]) -> str:
    """The name of a batch, from the files it reads: the same files give the same name whatever the checkpoint says."""
    stated = []
    for path in files:
        found = path.stat() if path.exists() else None
        name = path.relative_to(folder).as_posix()
        stated.append((name, found.st_size if found else -1, found.st_mtime_ns if found else -1))
    stated.sort()
    return hashlib.sha256(canonical_json(stated)).hexdigest()[:24]
