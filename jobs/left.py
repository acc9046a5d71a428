"""What left: every release that the outside has got from this edge, as it got it, when and to where.

Whatever lets a release leave writes a line to `left.ndjson` in the edge's folder, which is only ever appended to. The
content shown is that of the file in the outbox, or, when that was collected, of the ledger's row with the same digest.
"""

import json
import os
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from ingest.release import Level, canonical_json, format_utc
from jobs.tables import EdgeFolder
from privacy.ledger import Ledger

OUTBOX = "outbox"


@dataclass(frozen=True, slots=True)
class Left:
    """One release that left: to where and when, and the document as the outside has it."""

    digest: str
    ways: tuple[tuple[str, datetime], ...]  # to where, when; in the order of time
    document: dict[str, Any] | None  # None: neither the outbox nor the ledger knows it any more
    fault: str | None  # what does not fit together, or None

    def row(self) -> dict[str, Any]:
        """The release as `tidemark edge left` shows it."""
        document = self.document or {}
        counts = document.get("counts", [])
        return {
            "level": document.get("level"),
            "window_start": document.get("window_start"),
            "feed": document.get("feed"),
            "published": [count for count in counts if count["value"] is not None],
            "suppressed": sum(count["value"] is None for count in counts),
            "digest": self.digest,
            "left": [{"to": to, "at": format_utc(at)} for to, at in self.ways],
            "fault": self.fault,
            "document": self.document,
        }


def note_left(
    root: Path, digest: str, *, to: str, at: datetime | None = None, window: tuple[Level, datetime] | None = None
) -> None:
    """Remember that a release has left; once for each way it took. `window` says of which level and window it speaks."""
    if any((line["digest"], line["to"]) == (digest, to) for line in _lines(root)):
        return
    spoken = {} if window is None else {"level": window[0].value, "window_start": format_utc(window[1])}
    line = canonical_json({"at": format_utc(at or _now()), "digest": digest, "to": to, **spoken})
    with (root / "left.ndjson").open("ab") as history:
        # A blank line parts it from what a crash may have cut short.
        history.write(b"\n" + line + b"\n")
        history.flush()
        os.fsync(history.fileno())


def windows_left(root: Path) -> set[tuple[str, str]]:
    """The levels and windows of which it is noted that a release has left."""
    return {
        (line["level"], line["window_start"]) for line in _lines(root) if "level" in line and "window_start" in line
    }


def _now() -> datetime:
    return datetime.now(UTC)


def what_left(folder: EdgeFolder, ledger: Ledger, on: date | None = None) -> list[Left]:
    """Every release that left, oldest first; only those that left by some way on a UTC date, if one is given."""
    ways: dict[str, list[tuple[str, datetime]]] = {}
    for line in _lines(folder.root):
        ways.setdefault(line["digest"], []).append((line["to"], datetime.fromisoformat(line["at"]).astimezone(UTC)))
    said = {entry.digest: entry.document for entry in ledger.entries()}
    outbox = _outbox(folder.releases)
    for digest, (_, written_at) in outbox.items():
        if not any(to == OUTBOX for to, _ in ways.get(digest, [])):
            ways.setdefault(digest, []).append((OUTBOX, written_at))
    found = []
    for digest, taken in ways.items():
        document, fault = outbox[digest][0] if digest in outbox else said.get(digest), None
        if digest not in said:
            fault = "the ledger does not know this release"
        elif document != said[digest]:
            fault = "what left is not what the ledger holds"
        found.append(Left(digest, tuple(sorted(taken, key=lambda way: way[1])), document, fault))
    return sorted(
        (one for one in found if on is None or any(at.date() == on for _, at in one.ways)),
        key=lambda one: (one.ways[0][1], (one.document or {}).get("window_start", ""), one.digest),
    )


def show(found: list[Left], console: Console) -> None:
    """Print what left, a release a paragraph, each published value by its name."""
    for one in found:
        row = one.row()
        feed = "complete" if (row["feed"] or {}).get("complete") else "incomplete"
        console.print(
            f"{row['window_start']} {row['level']}, feed {feed}, {row['digest']}", soft_wrap=True, markup=False
        )
        for way in row["left"]:
            console.print(f"  {way['at']} to {way['to']}", soft_wrap=True, markup=False)
        for count in row["published"]:
            name = " ".join(str(count[key]) for key in ("zone_id", "sector_id", "kind", "direction") if key in count)
            console.print(f"  {name}: {count['value']}", soft_wrap=True, markup=False)
        console.print(f"  suppressed: {row['suppressed']}", markup=False)
        if one.fault:
            console.print(f"  fault: {one.fault}", style="bold red", markup=False)
    console.print(f"{len(found)} releases left.", markup=False)


def _outbox(releases: Path) -> dict[str, tuple[dict[str, Any], datetime]]:
    """The files of the outbox by the digest that they state: the content, and when the file was written."""
    found = {}
    for path in sorted(releases.glob("*.json")):
        document = _parsed(path.read_bytes())
        written_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        found[str(document.get("digest", path.name))] = (document, written_at)
    return found


def _parsed(content: bytes) -> dict[str, Any]:
    """A JSON object, or an empty one for bytes that are none."""
    try:
        document = json.loads(content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _lines(root: Path) -> list[dict[str, str]]:
    path = root / "left.ndjson"
    if not path.exists():
        return []
    # A line that a crash cut short says nothing; what it was about is noted again when the edge goes on.
    lines = [_parsed(line) for line in path.read_bytes().splitlines()]
    return [line for line in lines if line.keys() >= {"at", "digest", "to"}]
