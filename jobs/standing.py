"""How an edge stands, for the carrier's own eyes: its sources, what waits and why, what needs a person.

Values and rules only; `jobs.status` reads them off an edge. These are exact figures of what came in. They are shown inside
the carrier and nothing of them is ever sent: `feed.complete`, the only word on the feed that leaves, is made elsewhere
(`ingest/feed.py`) and from no count.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

from ingest.alarms import Alarm
from ingest.marks import FeedMark
from ingest.release import HOUR, format_utc
from ingest.token_day import DELETE_AFTER, HOURS_IN_DAY, folder_name, hour_start
from jobs.edge import RELEASE_AFTER, ROWS_ARRIVE_WITHIN, WAIT_FOR_MARKS
from jobs.stop import Stop
from movement.sight_rows import RECEIVED

SPAN = timedelta(hours=24)
SILENT_AFTER = timedelta(hours=2)
MOST_LATE, MOST_FUTURE, MOST_UNKNOWN, MOST_DUPLICATE = 0.05, 0.02, 0.05, 0.10
"""About three times the shares that feeds are known to have (notes on telecom): beyond that somebody should ask."""
STANDING_OUTAGE = timedelta(hours=24)
LEAST_FREE_SHARE = 0.10
NOT_RUN_FOR = timedelta(hours=1)
UNREAD_FOR = timedelta(hours=1)
MOST_TO_PUSH = 3


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """One source over the last 24 hours. Shares are of the rows received."""

    source: str
    received: int
    rows: Mapping[str, int]
    late_share: float
    future_share: float
    unknown_cell_share: float
    newest_hour: datetime | None  # with any row, in the records that were read
    covers_until: datetime | None  # by its feed marks
    silent: bool  # its marks go on and its rows have stopped


@dataclass(frozen=True, slots=True)
class WaitingHour:
    """A window that is due and was not told."""

    window_start: datetime
    why: str
    null_at: datetime  # when it goes out as all null, if nothing changes


@dataclass(frozen=True, slots=True)
class TokenDayAtRest:
    """A token-day of which something token-level is still here."""

    token_day: datetime
    delete_by: datetime
    overdue: bool


def source_health(
    rows: Sequence[Mapping[str, Any]],
    marks: Iterable[FeedMark],
    *,
    now: datetime,
    span: timedelta = SPAN,
    topic: str | None = None,
) -> list[SourceHealth]:
    """How each source is: of the rows of batch records (source, hour, what, rows) those of the span before `now`.

    Rows without any sound time belong to no hour and are counted whenever they came. The partitions of a `topic` carry all
    sources' rows, and so the marks of all sources speak for each of them.
    """
    since = folder_name(hour_start(now - span))
    reach = _reach(marks)
    counted: defaultdict[str, Counter[str]] = defaultdict(Counter)
    newest: dict[str, str] = {}
    for row in rows:
        source, hour = row["source"], row["hour"]
        counts = counted[source]
        if hour is None or hour >= since:
            counts[row["what"]] += row["rows"]
        if hour is not None and row["what"] == RECEIVED:
            newest[source] = max(hour, newest.get(source, hour))
    found = []
    for source, counts in sorted(counted.items()):
        received = counts[RECEIVED]
        shared = topic is not None and source.startswith(f"{topic}/")
        covers_until = min(reach.values(), default=None) if shared else reach.get(source)
        newest_hour = hour_of(newest.get(source))
        found.append(
            SourceHealth(
                source,
                received,
                {what: counts[what] for what in sorted(counts) if counts[what]},
                late_share=_share(counts["refused:late"], received),
                future_share=_share(counts["refused:future"], received),
                unknown_cell_share=_share(counts["unknown_cell"], received),
                newest_hour=newest_hour,
                covers_until=covers_until,
                silent=_is_silent(newest_hour, covers_until),
            )
        )
    return found


def duplicate_share(numbers: Iterable[Mapping[str, Mapping[str, int]]]) -> float:
    """Which share of the sightings of closed hours said again what was said: known in the close only, over all sources."""
    tallies = [tally for found in numbers for tally in found.values()]
    return _share(sum(tally["duplicate"] for tally in tallies), sum(tally["sightings"] for tally in tallies))


def _reach(marks: Iterable[FeedMark]) -> dict[str, datetime]:
    """How far the marks of a source reach, by `source/partition` and, over all its partitions, by `source`."""
    partitions: dict[tuple[str, int], datetime] = {}
    for mark in marks:
        key = (mark.source, mark.partition)
        partitions[key] = max(mark.covers_until, partitions.get(key, mark.covers_until))
    reach = {f"{source}/{partition}": until for (source, partition), until in partitions.items()}
    for (source, _), until in partitions.items():
        reach[source] = min(until, reach.get(source, until))
    return reach


def _is_silent(newest_hour: datetime | None, covers_until: datetime | None) -> bool:
    if newest_hour is None or covers_until is None:
        return False
    return covers_until - (newest_hour + HOUR) >= SILENT_AFTER


def hour_of(name: str | None) -> datetime | None:
    return None if name is None else datetime.strptime(name, "%Y-%m-%dT%HZ").replace(tzinfo=UTC)


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def token_days_at_rest(days: Iterable[datetime], *, now: datetime) -> list[TokenDayAtRest]:
    """When each token-day that is still here has to be gone by."""
    found = []
    for day in days:
        delete_by = day + HOUR * HOURS_IN_DAY + DELETE_AFTER
        found.append(TokenDayAtRest(day, delete_by, now > delete_by))
    return found


def waiting_hours(
    first: datetime | None, marks: Sequence[FeedMark], expected: Sequence[str], *, now: datetime, stop: Stop | None
) -> list[WaitingHour]:
    """The windows from `first` on that are due by the clock and were not told, and what each waits for."""
    reach: dict[str, datetime | None] = dict.fromkeys(expected)
    for name, until in _reach(marks).items():
        if "/" in name:
            reach[name] = until
    found = []
    window = first
    while window is not None and window + HOUR + RELEASE_AFTER <= now:
        needed = window + HOUR * 2 + ROWS_ARRIVE_WITHIN
        behind = sorted(name for name, until in reach.items() if until is None or until < needed)
        if stop is not None:
            why = "the stop switch is on"
        elif behind:
            why = f"the feed marks of {', '.join(behind)} do not reach {format_utc(needed)} yet"
        else:
            why = "the next run of the edge tells it"
        found.append(WaitingHour(window, why, window + HOUR + RELEASE_AFTER + WAIT_FOR_MARKS))
        window += HOUR
    return found


# The whole


@dataclass(frozen=True, slots=True)
class TopicStanding:
    """How the topic of events stands: about how many records wait (offsets have holes), what is lost, what is wrong."""

    records_unread: int | None
    lost: tuple[str, ...]
    fault: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """How an edge stands at an instant: all that `edge status` shows."""

    carrier: str
    at: datetime
    mode: str
    stop: Stop | None
    taken_in_until: datetime | None  # by the marks, when the source was last read whole
    last_run_at: datetime | None
    marks: tuple[FeedMark, ...]
    marks_fault: str | None  # why the marks could not be read
    sources: tuple[SourceHealth, ...]
    duplicate_share: float
    files_refused: Mapping[str, int]
    unaccounted: tuple[str, ...]
    waiting: tuple[WaitingHour, ...]
    incomplete: Mapping[datetime, tuple[str, ...]]  # windows of the last 24 hours that were not told as complete: why
    token_days: tuple[TokenDayAtRest, ...]
    closed_days: Mapping[str, str]  # token-days that say nothing more: why
    files_unread: int
    oldest_unread_at: datetime | None
    topic: TopicStanding | None  # None: rows come as files
    releases_to_push: int
    left_faults: tuple[str, ...]
    open_outages: tuple[Alarm, ...]
    alarms_unread: tuple[str, ...]
    bytes_by_room: Mapping[str, int]
    free_share: float

    def document(self) -> dict[str, Any]:
        """The standing as JSON, with what needs a person in words."""
        return {
            "carrier": self.carrier,
            "at": format_utc(self.at),
            "mode": self.mode,
            "needs_a_person": needs_a_person(self),
            "stop": None if self.stop is None else asdict(self.stop),
            "taken_in_until": _spelled(self.taken_in_until),
            "last_run_at": _spelled(self.last_run_at),
            "marks": [mark_row(mark, self.at) for mark in self.marks],
            "sources": [_source_row(source) for source in self.sources],
            "duplicate_share": self.duplicate_share,
            "files_refused": dict(self.files_refused),
            "unaccounted": list(self.unaccounted),
            "hours_waiting": [
                {"window_start": format_utc(one.window_start), "why": one.why, "null_at": format_utc(one.null_at)}
                for one in self.waiting
            ],
            "incomplete_windows": {format_utc(window): list(why) for window, why in sorted(self.incomplete.items())},
            "token_days": [
                {"token_day": format_utc(day.token_day), "delete_by": format_utc(day.delete_by), "overdue": day.overdue}
                for day in self.token_days
            ],
            "closed_days": dict(self.closed_days),
            "backlog": {
                "files_unread": self.files_unread,
                "oldest_file_at": _spelled(self.oldest_unread_at),
                "records_unread": None if self.topic is None else self.topic.records_unread,
                "releases_to_push": self.releases_to_push,
            },
            "faults": [fault for fault in (self.marks_fault, self.topic.fault if self.topic else None) if fault],
            "left_faults": list(self.left_faults),
            "alarms": {
                "open_outages": [
                    {"source": one.source, "element": one.element, "since": format_utc(one.starts_at)}
                    for one in self.open_outages
                ],
                "unread": list(self.alarms_unread),
            },
            "disk": {"bytes": dict(self.bytes_by_room), "free_share": self.free_share},
        }


def _spelled(at: datetime | None) -> str | None:
    return None if at is None else format_utc(at)


def mark_row(mark: FeedMark, now: datetime) -> dict[str, Any]:
    return {
        "partition": f"{mark.source}/{mark.partition}",
        "covers_until": format_utc(mark.covers_until),
        "minutes_behind": round((now - mark.covers_until) / timedelta(minutes=1)),
    }


def _source_row(source: SourceHealth) -> dict[str, Any]:
    times = {"newest_hour": _spelled(source.newest_hour), "covers_until": _spelled(source.covers_until)}
    return {**asdict(source), "rows": dict(source.rows), **times}


# What needs a person


def needs_a_person(standing: Standing) -> list[str]:
    """What somebody has to do or decide, one plain sentence or two each; empty when the edge looks after itself."""
    return list(chain.from_iterable(rule(standing) for rule in _RULES))


def _stopped(standing: Standing) -> Iterator[str]:
    if standing.stop is not None:
        stop = standing.stop
        known = (
            f"since {stop.at or 'a time not written down'}, by {stop.who or 'nobody knows whom'}: {stop.reason or '-'}"
        )
        yield (
            f"The stop switch is on ({known}). Nothing leaves; deletion goes on. "
            "When the edge may speak again: tidemark edge start --reason TEXT."
        )


def _not_deleted(standing: Standing) -> Iterator[str]:
    for day in standing.token_days:
        if day.overdue:
            yield (
                f"Token-day {format_utc(day.token_day)} had to be deleted by {format_utc(day.delete_by)}. "
                "Run tidemark edge run now: it deletes before anything else, without Spark or source."
            )


def _unaccounted(standing: Standing) -> Iterator[str]:
    if standing.unaccounted:
        yield (
            f"{len(standing.unaccounted)} ledger equations do not hold, the first: {standing.unaccounted[0]}. "
            "That is a fault of the edge and not of the feed: tidemark edge stop --reason TEXT, then report it."
        )


def _wrongly_left(standing: Standing) -> Iterator[str]:
    for fault in standing.left_faults:
        yield f"{fault}. Run tidemark edge stop --reason TEXT and tidemark ledger verify."


def _not_running(standing: Standing) -> Iterator[str]:
    if standing.mode == "replay" or standing.last_run_at is None:
        return
    if standing.at - standing.last_run_at > NOT_RUN_FOR:
        yield (
            f"The edge has not taken anything in since {format_utc(standing.last_run_at)}. "
            "Look why tidemark edge run does not run, or what it refuses."
        )


def _waiting(standing: Standing) -> Iterator[str]:
    late = [one for one in standing.waiting if standing.at - one.window_start >= HOUR * 2 + RELEASE_AFTER]
    if late and standing.stop is None:
        yield (
            f"{len(standing.waiting)} windows from {format_utc(late[0].window_start)} on wait: {late[0].why}. "
            f"Ask whoever runs that source; at {format_utc(late[0].null_at)} the first goes out as all null."
        )


def _unreadable(standing: Standing) -> Iterator[str]:
    if standing.marks_fault is not None:
        yield f"The feed marks cannot be read: {standing.marks_fault}. Until they can, no hour is closed."
    if standing.topic is not None:
        if standing.topic.fault is not None:
            yield f"The topic of events cannot be read: {standing.topic.fault}."
        for lost in standing.topic.lost:
            yield f"{lost}."


def _silent(standing: Standing) -> Iterator[str]:
    for source in standing.sources:
        if source.silent and source.newest_hour is not None and source.covers_until is not None:
            yield (
                f"Source {source.source} sends marks up to {format_utc(source.covers_until)} and no rows since the hour of "
                f"{format_utc(source.newest_hour)}: its probe may be silent. If it is, send an alarm, so that the windows "
                "are not called complete."
            )


def _shares(standing: Standing) -> Iterator[str]:
    for source in standing.sources:
        name = source.source
        if source.late_share > MOST_LATE:
            yield (
                f"{source.late_share:.1%} of the rows of {name} came more than 15 minutes late and were refused: "
                "deliver sooner, in smaller files, or look for a clock that is behind."
            )
        if source.future_share > MOST_FUTURE:
            yield f"{source.future_share:.1%} of the rows of {name} are ahead of the clock: an element's clock is wrong."
        if source.unknown_cell_share > MOST_UNKNOWN:
            yield (
                f"{source.unknown_cell_share:.1%} of the rows of {name} are on cells that the cell plan does not know: "
                "bring edge.cell_plan up to date."
            )
    if standing.duplicate_share > MOST_DUPLICATE:
        yield f"{standing.duplicate_share:.1%} of all sightings came twice. They count once, but a source sends doubles."


def _files(standing: Standing) -> Iterator[str]:
    refused = sum(standing.files_refused.values())
    if refused:
        reasons = ", ".join(f"{count} {name}" for name, count in sorted(standing.files_refused.items()))
        yield (
            f"{refused} files were refused whole in the last 24 hours ({reasons}). "
            "Have them delivered again under new names; windows that were told meanwhile stay incomplete."
        )
    oldest = standing.oldest_unread_at
    if oldest is not None and standing.at - oldest > UNREAD_FOR:
        yield (
            f"{standing.files_unread} files of the drop folder are not read, the oldest of {format_utc(oldest)}: "
            "the edge does not keep up, or a file was written again under a name that was read before."
        )


def _alarms(standing: Standing) -> Iterator[str]:
    if standing.alarms_unread:
        yield (
            f"{len(standing.alarms_unread)} lines of the alarm feed cannot be read, the first: "
            f"{standing.alarms_unread[0]}. No window is called complete until they are mended or taken out."
        )
    for outage in standing.open_outages:
        if standing.at - outage.starts_at > STANDING_OUTAGE:
            yield (
                f"The outage of {outage.element} ({outage.source}) stands since {format_utc(outage.starts_at)}. "
                "If it is over, send a restored line for it."
            )


def _closed(standing: Standing) -> Iterator[str]:
    for day, because in standing.closed_days.items():
        yield (
            f"Token-day {day} says nothing more: {because}. Its windows go out as all null and the next day opens by "
            "itself; find out what happened to the edge's folder."
        )


def _room(standing: Standing) -> Iterator[str]:
    if standing.free_share < LEAST_FREE_SHARE:
        yield f"{standing.free_share:.0%} of the disk of edge.state is free. Make room before the edge has to stop."


def _push(standing: Standing) -> Iterator[str]:
    if standing.releases_to_push > MOST_TO_PUSH:
        yield (
            f"{standing.releases_to_push} releases wait to be pushed. Run tidemark release push and read what the centre "
            "answers."
        )


_RULES = (
    _stopped,
    _not_deleted,
    _unaccounted,
    _wrongly_left,
    _not_running,
    _waiting,
    _unreadable,
    _silent,
    _shares,
    _files,
    _alarms,
    _closed,
    _room,
    _push,
)
