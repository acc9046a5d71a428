"""Feed marks: up to when a source has delivered everything, by a trusted clock (design.md, section 4.1)."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
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
    """All marks in the `*.ndjson` files of a folder; a last line that is still being written is left for later."""
    return [
        parse_mark(line)
        for path in sorted(folder.glob("*.ndjson"))
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]
        if line.strip()
    ]


def covered_until(
    marks: Iterable[FeedMark], expected: Collection[str] = (), *, not_after: datetime | None = None
) -> datetime | None:
    """The instant up to which every partition of every source has delivered; None while one has said nothing.

    `expected` names partitions as `source/number`; without it those that have marks are all there are. A mark from
    after `not_after` vouches for no more than that.
    """
    latest: dict[str, datetime] = dict.fromkeys(expected, _NEVER)
    for mark in marks:
        name = f"{mark.source}/{mark.partition}"
        until = mark.covers_until if not_after is None else min(mark.covers_until, not_after)
        latest[name] = max(until, latest.get(name, _NEVER))
    until = min(latest.values(), default=_NEVER)
    return None if until == _NEVER else until


_NEVER = datetime.min.replace(tzinfo=UTC)
