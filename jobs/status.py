"""`tidemark edge status`: reads off an edge how it stands, and prints it. Looking changes nothing."""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ingest.alarms import AlarmFeed, open_outages, read_alarms
from ingest.kafka import KafkaUnreachable, TopicRefused, check_topic, held_records, read_marks_topic
from ingest.marks import FeedMark, MarkRefused, read_marks
from ingest.release import HOUR, Level, format_utc
from jobs.edge import drop_folder, ledger_of
from jobs.equations import unaccounted_rows, unaccounted_sightings
from jobs.kafka_gap import RecordsLost, check_nothing_lost, held_back
from jobs.kafka_settings import KafkaSettings
from jobs.kafka_source import read_so_far
from jobs.left import what_left
from jobs.settings import EdgeSettings
from jobs.sight import rewritten
from jobs.standing import (
    SPAN,
    Standing,
    TopicStanding,
    duplicate_share,
    hour_of,
    mark_row,
    needs_a_person,
    source_health,
    token_days_at_rest,
    waiting_hours,
)
from jobs.stop import stop_in_force
from jobs.tables import EdgeFolder
from jobs.watch import feed_history
from privacy.ledger import Ledger

MOST_SHOWN = 24
REMEMBERED = timedelta(days=8)
"""How far back records of batches are read: further than any token-day lasts."""
ROOMS = (
    "sightings",
    "carry_over",
    "keys",
    "batches",
    "numbers",
    "grounds",
    "checkpoint",
    "staging",
    "scratch",
    "releases",
)


def edge_standing(settings: EdgeSettings, *, now: datetime) -> Standing:
    """How an edge stands; raises LedgerRefused if it has never run."""
    folder, ledger = EdgeFolder(settings.state), ledger_of(settings)
    records = list(recent_records(folder, since=now - REMEMBERED))
    rows = [row for _, record in records for row in record["rows"]]
    # The last 24 hours of a replay are those of its rows.
    newest = max((row["hour"] for row in rows if row["hour"] is not None), default=None)
    clock = (hour_of(newest) or now) + HOUR if settings.replay else now
    marks, marks_fault = _marks(settings)
    alarms = AlarmFeed() if settings.alarms is None else read_alarms(settings.alarms)
    days = ledger.days()
    starts = [datetime.fromisoformat(day["token_day"]).astimezone(UTC) for day in days[-3:]]
    numbers = {day: folder.hour_numbers(day) for day in starts}
    stop = stop_in_force(settings.state)
    refused = [Counter(record["files_refused"]) for at, record in records if at >= now - SPAN]
    left = what_left(folder, ledger)
    unread = _unread(settings, folder)
    disk = shutil.disk_usage(settings.state)
    first = _first_untold(ledger, days, now) if not settings.replay else None
    return Standing(
        carrier=settings.carrier,
        at=now,
        mode="replay" if settings.replay else "live",
        stop=stop,
        taken_in_until=folder.covered_until,
        last_run_at=_last_run_at(folder),
        marks=_latest(marks),
        marks_fault=marks_fault,
        sources=tuple(
            source_health(rows, marks, now=clock, topic=None if settings.kafka is None else settings.kafka.topic)
        ),
        duplicate_share=duplicate_share(numbers.values()),
        files_refused=dict(sum(refused, Counter())),
        unaccounted=tuple(
            one.sentence()
            for one in chain(
                unaccounted_rows(rows),
                chain.from_iterable(unaccounted_sightings(rows, found, day) for day, found in numbers.items()),
            )
        ),
        waiting=tuple(waiting_hours(first, marks, settings.sources, now=now, stop=stop)),
        incomplete=_incomplete(ledger, feed_history(settings.state), since=clock - SPAN),
        token_days=tuple(token_days_at_rest(folder.token_days(), now=now)),
        closed_days={day["token_day"]: day["closed_because"] for day in days[-3:] if day["closed_because"]},
        files_unread=len(unread),
        oldest_unread_at=min(map(_written_at, unread), default=None),
        topic=None if settings.kafka is None else topic_standing(settings.kafka, folder),
        releases_to_push=_to_push(settings, folder),
        left_faults=tuple(f"{one.digest}: {one.fault}" for one in left if one.fault),
        open_outages=tuple(open_outages(alarms.alarms)),
        alarms_unread=alarms.unread,
        bytes_by_room={room: _bytes(settings.state / room) for room in (*ROOMS, "ledger.sqlite")},
        free_share=round(disk.free / disk.total, 4),
    )


def topic_standing(settings: KafkaSettings, folder: EdgeFolder) -> TopicStanding:
    """How far the edge is behind its topic; brokers that do not answer are a fault that is said, not one that rises."""
    login = settings.client_login
    try:
        topic = check_topic(settings.bootstrap, settings.topic, login)
        held = held_records(settings.bootstrap, topic, login)
    except (KafkaUnreachable, TopicRefused) as refused:
        return TopicStanding(None, (), str(refused))
    read = read_so_far(folder.records(), topic)
    try:
        check_nothing_lost(read, topic, held)
    except RecordsLost as lost:
        return TopicStanding(None, (str(lost),), None)
    unread = sum(there.end - max(read.ends.get(number, 0), there.oldest) for number, there in held.items())
    return TopicStanding(unread, (), held_back(topic, held))


def show(standing: Standing, console: Console) -> None:
    """Print the standing: what needs a person first, then figures."""

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    say(f"{standing.carrier}, {standing.mode}, {format_utc(standing.at)}")
    needs = needs_a_person(standing)
    say("Needs a person:" if needs else "Nothing needs a person.")
    for need in needs:
        say(f"- {need}")
    table = Table(
        "source", "rows", "late", "ahead", "unknown cell", "newest hour", "marks until", box=None, pad_edge=False
    )
    for one in standing.sources:
        shares = [f"{share:.1%}" for share in (one.late_share, one.future_share, one.unknown_cell_share)]
        table.add_row(one.source, f"{one.received:,}", *shares, _said(one.newest_hour), _said(one.covers_until))
    console.print(table)
    refused: Counter[str] = Counter()
    for one in standing.sources:
        refused.update({what: n for what, n in one.rows.items() if what.startswith("refused:")})
    say("refused: " + (", ".join(f"{what.removeprefix('refused:')} {n:,}" for what, n in refused.items()) or "none"))
    say(f"sightings that came twice: {standing.duplicate_share:.1%}")
    say(f"ledger equations that do not hold: {len(standing.unaccounted)}")
    for mark in standing.marks:
        row = mark_row(mark, standing.at)
        say(f"mark {row['partition']}: until {row['covers_until']}, {row['minutes_behind']} min behind")
    say(f"windows that wait: {len(standing.waiting)}")
    for one_waiting in standing.waiting[:MOST_SHOWN]:
        say(f"  {format_utc(one_waiting.window_start)}: {one_waiting.why}; null at {format_utc(one_waiting.null_at)}")
    say(f"windows of the last 24 hours not told as complete: {len(standing.incomplete)}")
    for window, why in sorted(standing.incomplete.items())[-MOST_SHOWN:]:
        say(f"  {format_utc(window)}: {', '.join(why)}")
    for day in standing.token_days:
        say(f"token-day {format_utc(day.token_day)} at rest, to be deleted by {format_utc(day.delete_by)}")
    unread = f"files not read: {standing.files_unread}"
    if standing.topic is not None:
        unread = f"records not read: about {standing.topic.records_unread or 0:,}"
    say(f"{unread}; releases to push: {standing.releases_to_push}")
    used = sum(standing.bytes_by_room.values())
    say(f"disk: {used / 1e6:,.1f} MB used here, {standing.free_share:.0%} of the disk free")


def _said(at: datetime | None) -> str:
    return "-" if at is None else format_utc(at)


def recent_records(folder: EdgeFolder, *, since: datetime) -> Iterator[tuple[datetime, dict[str, Any]]]:
    """The records of batches that were committed, or touched by a deletion, since an instant; and when."""
    for room in (folder.past_batches, folder.batches):
        for path in sorted(room.glob("*.json")):
            if (at := _written_at(path)) >= since:
                yield at, json.loads(path.read_bytes())


def _first_untold(ledger: Ledger, days: Sequence[Mapping[str, Any]], now: datetime) -> datetime | None:
    """The first window of a live edge that may still be told, or None before its first token-day was opened."""
    newest = ledger.newest_window()
    if newest is not None:
        return newest + HOUR
    return datetime.fromisoformat(days[0]["token_day"]).astimezone(UTC) if days else None


def _latest(marks: Iterable[FeedMark]) -> tuple[FeedMark, ...]:
    latest: dict[tuple[str, int], FeedMark] = {}
    for mark in marks:
        known = latest.get((mark.source, mark.partition))
        if known is None or known.covers_until < mark.covers_until:
            latest[mark.source, mark.partition] = mark
    return tuple(latest[key] for key in sorted(latest))


def _incomplete(
    ledger: Ledger, history: Mapping[datetime, list[str]], *, since: datetime
) -> dict[datetime, tuple[str, ...]]:
    return {
        entry.window_start: tuple(history.get(entry.window_start) or ["told as null"])
        for entry in ledger.entries()
        if entry.level is Level.ZONE_HOUR and entry.window_start >= since and not entry.document["feed"]["complete"]
    }


def _marks(settings: EdgeSettings) -> tuple[tuple[FeedMark, ...], str | None]:
    try:
        if settings.kafka is not None:
            kafka = settings.kafka
            return tuple(read_marks_topic(kafka.bootstrap, kafka.marks_topic, kafka.client_login)), None
        return () if settings.marks is None else tuple(read_marks(settings.marks)), None
    except (KafkaUnreachable, TopicRefused, MarkRefused) as refused:
        return (), str(refused)


def _unread(settings: EdgeSettings, folder: EdgeFolder) -> tuple[Path, ...]:
    if settings.source is None or not settings.source.is_dir():
        return ()
    read, drop = folder.read_inputs(), drop_folder(settings)
    there = drop.files()
    return (*(path for path in there if drop.name_of(path) not in read), *rewritten(drop, folder, there))


def _to_push(settings: EdgeSettings, folder: EdgeFolder) -> int:
    if settings.centre_url is None:
        return 0
    return sum(not (settings.state / "receipts" / path.name).exists() for path in folder.releases.glob("*.json"))


def _last_run_at(folder: EdgeFolder) -> datetime | None:
    path = folder.root / "COVERED"
    return _written_at(path) if path.exists() else None


def _written_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _bytes(path: Path) -> int:
    """What a file, or all files of a folder, take up; what is deleted while we look takes up nothing."""
    if path.is_file():
        return path.stat().st_size
    total = 0
    for found in path.rglob("*"):
        with suppress(FileNotFoundError):
            total += found.stat().st_size if found.is_file() else 0
    return total
