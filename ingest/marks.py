"""Feed marks: up to when a source has delivered everything, by a trusted clock (design.md, section 4.1)."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ingest.attachment import parse_time


class MarkRefused(ValueError):
    """A feed mark that breaks its contract; names the rule."""


@dataclass(frozen=True, slots=True)
class FeedMark:
    """One source's partition has delivered all rows that arrived before `covers_until`."""

    source: str
    partition: int
    covers_until: datetime


def parse_mark(line: str) -> FeedMark:
    """The mark that one NDJSON line states; raises MarkRefused.

    >>> parse_mark('{"source": "core", "partition": 0, "covers_until": "2026-03-02T05:00:00Z"}').source
    'core'
    """
    try:
        fields = json.loads(line)
    except ValueError:
        raise MarkRefused("a feed mark is one JSON object a line") from None
    if not isinstance(fields, dict) or fields.keys() != {"source", "partition", "covers_until"}:
        raise MarkRefused("a feed mark has source, partition and covers_until, and nothing else")
    source, partition, text = fields["source"], fields["partition"], fields["covers_until"]
    covers_until = parse_time(text) if isinstance(text, str) else None
    if not isinstance(source, str) or type(partition) is not int or covers_until is None:
        raise MarkRefused("source is text, partition an integer, covers_until RFC 3339 with offset")
    return FeedMark(source, partition, covers_until)


def read_marks(folder: Path) -> list[FeedMark]:
    """All marks in the `*.ndjson` files of a folder."""
    return [
        parse_mark(line)
        for path in sorted(folder.glob("*.ndjson"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]


def covered_until(marks: Iterable[FeedMark]) -> datetime | None:
    """The instant up to which every partition of every source has delivered, or None without marks."""
    latest: dict[tuple[str, int], datetime] = {}
    for mark in marks:
        key = (mark.source, mark.partition)
        latest[key] = max(mark.covers_until, latest.get(key, mark.covers_until))
    return min(latest.values(), default=None)
