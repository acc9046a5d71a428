"""What Kafka deleted before it was read: found by offsets, told by a person, and recorded as hours that are not complete.

The stream stops at such a gap. `tidemark edge record-gap` commits a batch record without rows for it; from then on the
records behind the gap are read, and every window that may lack rows goes out with `feed.complete` false.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ingest.kafka import Held, Topic, check_topic, held_records, oldest_times
from ingest.release import HOUR
from ingest.token_day import DELETE_AFTER, HOURS_IN_DAY, folder_name, hour_start
from jobs.kafka_settings import KafkaSettings
from jobs.kafka_source import OffsetRange, ReadSoFar, batch_record, range_key, read_so_far
from jobs.tables import EdgeFolder

_LATENESS = timedelta(minutes=15)
_RUNBOOK = "a person who knows of it runs `tidemark edge record-gap`, and the edge goes on behind it"
_KEPT = HOUR * HOURS_IN_DAY + DELETE_AFTER
"""Longer than this after its beginning no hour of a token-day can be told any more."""


class RecordsLost(RuntimeError):
    """Records are gone from Kafka before they were read; names the offsets and what a person does about it."""


@dataclass(frozen=True, slots=True)
class Gap:
    """The offsets of a partition that nobody can read any more."""

    partition: int
    start: int
    end: int


def find_gaps(ends: Mapping[int, int], held: Mapping[int, Held]) -> list[Gap]:
    """The offsets between what was read (`ends`) and the oldest that is left; none for a partition never read.

    >>> find_gaps({0: 5, 1: 5}, {0: Held(7, 9), 1: Held(2, 9)})
    [Gap(partition=0, start=5, end=7)]
    """
    return [
        Gap(partition, ends[partition], there.oldest)
        for partition, there in sorted(held.items())
        if partition in ends and ends[partition] < there.oldest
    ]


def check_nothing_lost(read: ReadSoFar, topic: Topic, held: Mapping[int, Held]) -> None:
    """Raise RecordsLost unless the topic still holds everything from where the committed batches end."""
    if _is_another(read, topic):
        raise RecordsLost(
            f"topic {topic.name} is not the one that was read before (it was made again, or the setting changed): what was "
            f"left on the old one is lost; {_RUNBOOK}"
        )
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


def record_gap(settings: KafkaSettings, folder: EdgeFolder, *, now: datetime, dry_run: bool = False) -> dict[str, Any]:
    """Commit what is lost as a batch without rows, and say what it is: partitions with offsets, and hours."""
    login = settings.client_login
    topic = check_topic(settings.bootstrap, settings.topic, login)
    records = folder.records()
    read = read_so_far(records, topic)
    gaps = find_gaps(read.ends, held_records(settings.bootstrap, topic, login))
    another = _is_another(read, topic)
    partitions = range(topic.partitions) if another else [gap.partition for gap in gaps]
    hours: list[datetime] | None = []
    if partitions:
        times = oldest_times(settings.bootstrap, topic, partitions, login)
        behind = max(times.get(partition, now) for partition in partitions)
        before = read_until(records, topic, None if another else partitions, folder.covered_until)
        hours = lost_hours(before, behind, now=now)
        ranges = [OffsetRange(topic.name, gap.partition, gap.start, gap.end) for gap in gaps]
        if not dry_run:
            record = batch_record(topic, ranges) | {"rows": [], "files": [], "grounds": {}}
            told = None if hours is None else [folder_name(hour) for hour in hours]
            folder.commit(f"gap-{range_key(topic.topic_id, ranges)}", {**record, "lost_hours": told})
    return {
        "topic": topic.name,
        "another_topic_than_before": another,
        "gaps": [{"partition": gap.partition, "first": gap.start, "last": gap.end - 1} for gap in gaps],
        "hours_not_complete": None if hours is None else [folder_name(hour) for hour in hours],
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


def lost_hours(before: datetime | None, behind: datetime, *, now: datetime) -> list[datetime] | None:
    """The hours of event_time that records written after `before` and up to `behind` may have had; None for any.

    Hours that can no longer be told are left out.
    """
    if before is None:
        return None
    hour, hours = hour_start(max(before - _LATENESS, now - _KEPT)), []
    while hour <= behind:
        hours.append(hour)
        hour += HOUR
    return hours


def _is_another(read: ReadSoFar, topic: Topic) -> bool:
    """Whether topics were read before, and this is none of them."""
    return bool(read.topic_ids) and topic.topic_id not in read.topic_ids


def _hour(name: str) -> datetime:
    return datetime.fromisoformat(f"{name.removesuffix('Z')}:00+00:00")
