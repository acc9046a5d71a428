"""What Kafka deleted before it was read: found by offsets, told by a person, and recorded as hours that are not complete.

The stream stops at such a gap. `tidemark edge record-gap` commits a batch record without rows for it; from then on the
records behind the gap are read, and every window that may lack rows goes out with `feed.complete` false.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ingest.kafka import Held, RecordsGone, Topic, TransactionOpen, check_topic, held_records, oldest_times
from ingest.release import HOUR
from ingest.token_day import DELETE_AFTER, HOURS_IN_DAY, folder_name, hour_start
from jobs.kafka_settings import KafkaSettings
from jobs.kafka_source import OffsetRange, ReadSoFar, batch_record, range_key, read_so_far
from jobs.tables import EdgeFolder

_LATENESS = timedelta(minutes=15)
_RUNBOOK = "a person who knows of it runs `tidemark edge record-gap`, and the edge goes on behind it"
_KEPT = HOUR * HOURS_IN_DAY + DELETE_AFTER
"""Longer than this after its beginning no hour of a token-day can be told any more."""


class RecordsLost(RecordsGone):
    """Records are gone from Kafka before they were read; names the offsets and what a person does about it."""


@dataclass(frozen=True, slots=True)
class Gap:
    """The offsets of a partition that nobody can read any more."""

    partition: int
    start: int
    end: int


def find_gaps(ends: Mapping[int, int], held: Mapping[int, Held]) -> list[Gap]:
    """The offsets between what was read of a topic (`ends`) and the oldest that is left.

    A partition that is not in `ends` was added after the first run on the topic: everything of it was to be read.

    >>> find_gaps({0: 5, 1: 5}, {0: Held(7, 9), 1: Held(2, 9), 2: Held(3, 9)})
    [Gap(partition=0, start=5, end=7), Gap(partition=2, start=0, end=3)]
    """
    return [
        Gap(partition, ends.get(partition, 0), there.oldest)
        for partition, there in sorted(held.items())
        if ends.get(partition, 0) < there.oldest
    ]


def check_nothing_lost(read: ReadSoFar, topic: Topic, held: Mapping[int, Held]) -> None:
    """Raise RecordsLost unless the topic still holds everything from where the committed batches end."""
    if _is_another(read, topic):
        raise RecordsLost(
            f"topic {topic.name} is not the one that was read before (it was made again, or the setting changed): what was "
            f"left on the old one is lost; {_RUNBOOK}"
        )
    if not read.topic_ids:
        return  # Nothing was to be read yet.
    ends = read.ends
    for gap in find_gaps(ends, held):
        raise RecordsLost(
            f"topic {topic.name}, partition {gap.partition}: offsets {gap.start} to {gap.end - 1} were deleted before they "
            f"were read (retention was passed); {_RUNBOOK}"
        )
    for partition, there in held.items():
        if there.end < ends.get(partition, 0):
            raise RecordsLost(
                f"topic {topic.name}, partition {partition} ends at offset {there.end} and was read up to "
                f"{ends[partition]}: the broker has lost records, and their offsets are given out again. Make the topic "
                f"anew; then {_RUNBOOK}"
            )


def check_all_stable(read: ReadSoFar, topic: Topic, held: Mapping[int, Held]) -> None:
    """Raise TransactionOpen unless everything was read that was written when the topic was asked what it holds (`held`).

    What lies behind an open transaction may be older than the feed marks say: they are not to be believed before it ends.
    """
    for partition, there in sorted(held.items()):
        if (end := max(there.oldest, read.ends.get(partition, 0))) < there.written:
            raise TransactionOpen(_held_back(topic, partition, end, there))


def held_back(topic: Topic, held: Mapping[int, Held]) -> str | None:
    """A sentence on the first partition that an open transaction holds back, or None."""
    found = ((partition, there) for partition, there in sorted(held.items()) if there.held_back)
    return next((_held_back(topic, partition, there.end, there) for partition, there in found), None)


def _held_back(topic: Topic, partition: int, end: int, there: Held) -> str:
    return (
        f"topic {topic.name}, partition {partition} is held back at offset {end} of {there.written} by a transaction that is "
        "open: windows wait, and feed marks are not believed, until it ends"
    )


def record_gap(settings: KafkaSettings, folder: EdgeFolder, *, now: datetime, dry_run: bool = False) -> dict[str, Any]:
    """Commit what is lost as a batch without rows, and say what it is: partitions with offsets, and hours."""
    login = settings.client_login
    topic = check_topic(settings.bootstrap, settings.topic, login)
    records = folder.records()
    read = read_so_far(records, topic)
    held = held_records(settings.bootstrap, topic, login)
    gaps = find_gaps(read.ends, held) if read.topic_ids else []
    another = _is_another(read, topic)
    partitions = sorted(held) if another else [gap.partition for gap in gaps]
    hours: list[datetime] = []
    if partitions:
        times = oldest_times(settings.bootstrap, topic, partitions, login)
        behind = max(times.get(partition, now) for partition in partitions)
        before = read_until(records, topic, None if another else partitions, folder.covered_until)
        hours = lost_hours(before, behind, now=now)
        ranges = [
            OffsetRange(topic.name, number, read.ends.get(number, 0), held[number].oldest) for number in partitions
        ]
        if not dry_run:
            record = batch_record(topic, ranges) | {"rows": [], "files": [], "grounds": {}}
            told = [folder_name(hour) for hour in hours]
            folder.commit(f"gap-{range_key(topic.topic_id, ranges)}", {**record, "lost_hours": told})
    return {
        "topic": topic.name,
        "another_topic_than_before": another,
        "gaps": [{"partition": gap.partition, "first": gap.start, "last": gap.end - 1} for gap in gaps],
        "hours_not_complete": [folder_name(hour) for hour in hours],
        "recorded": bool(partitions) and not dry_run,
    }


def read_until(
    records: Iterable[Mapping[str, Any]], topic: Topic, partitions: Iterable[int] | None, covered_until: datetime | None
) -> datetime | None:
    """An instant that every lost record came after: what is lost was written behind what was read.

    It is the earliest of these partitions' last hours, without `partitions` of all that were ever read; none is earlier
    than up to when the source was read whole. None: nothing is known of one of them.
    """
    last: dict[str, datetime] = {}
    for record in records:
        for source, hour in _read_hours(record):
            last[source] = max(_hour(hour), last.get(source, _hour(hour)))
    sources = list(last) if partitions is None else [f"{topic.name}/{partition}" for partition in partitions]
    floor = [] if covered_until is None else [covered_until]
    known = [max([*floor, *([last[source]] if source in last else [])], default=None) for source in sources]
    return min((at for at in known if at is not None), default=None) if None not in known else None


def _read_hours(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The partitions and hours of which a batch of records says something: rows that were read, or what was lost."""
    if "kafka" in record:
        yield from ((row["source"], row["hour"]) for row in record["rows"] if row["hour"] is not None)
        for name, partition, *_ in record["kafka"]["ranges"]:
            yield from ((f"{name}/{partition}", hour) for hour in record["lost_hours"] or ())


def lost_hours(before: datetime | None, behind: datetime, *, now: datetime) -> list[datetime]:
    """The hours of event_time that records written after `before` and up to `behind` may have had.

    Hours that can no longer be told are left out. Without `before` it is every hour that still can: rows come by Kafka to a
    live edge only.
    """
    oldest = now - _KEPT
    hour, hours = hour_start(oldest if before is None else max(before - _LATENESS, oldest)), []
    while hour <= behind:
        hours.append(hour)
        hour += HOUR
    return hours


def _is_another(read: ReadSoFar, topic: Topic) -> bool:
    """Whether topics were read before, and this is none of them."""
    return bool(read.topic_ids) and topic.topic_id not in read.topic_ids


def _hour(name: str) -> datetime:
    return datetime.fromisoformat(f"{name.removesuffix('Z')}:00+00:00")
