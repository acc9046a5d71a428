"""The edge as it runs inside a carrier: sight what came in, close what is due, publish what the ledger holds, delete."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from geofence.border import read_border
from geofence.cell_plan import read_cell_plan
from geofence.check import check_home_country, check_zone_grid
from geofence.grid import ZoneGrid, read_zone_grid
from geofence.land_cover import read_land_cover
from geofence.locate import LocatedPlan, locate_cells
from geofence.propagation import FootprintModel
from ingest.door import Admission
from ingest.kafka import read_marks_topic
from ingest.marks import FeedMark, covered_until, read_marks
from ingest.release import HOUR, Level, canonical_json, format_utc
from ingest.token_day import DELETE_AFTER, HOURS_IN_DAY, hours_of, token_day_start
from jobs.close import Edge, close_day_levels, close_window, null_day_levels, null_window
from jobs.grounds import Pin
from jobs.kafka_edge import sight_kafka
from jobs.kafka_source import ReadSoFar
from jobs.left import OUTBOX, note_left, windows_left
from jobs.milestone import Milestone
from jobs.settings import EdgeSettings
from jobs.sight import FILES, NO_FILES, Sighting, Source, sight
from jobs.stop import EdgeStopped, leave_to_speak, refuse_when_stopped, stop_in_force
from jobs.tables import EdgeFolder, write_whole
from jobs.watch import feed_monitor
from movement.sighting import Networks
from privacy.ledger import DayClosed, Entry, Ledger, LedgerRefused, Verdict
from privacy.mechanism import DiscreteGaussian

ROWS_ARRIVE_WITHIN = timedelta(minutes=15)
RELEASE_AFTER = timedelta(minutes=80)
"""A window is released this long after its end: 60 min to settle, 15 for late rows, 5 to run."""
WAIT_FOR_MARKS = timedelta(hours=6)
LONGEST_PAUSE = timedelta(days=3)
_START_OF_TIME = datetime.min.replace(tzinfo=UTC)
_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


class ClockAhead(RuntimeError):
    """The clock is far ahead of all that a live edge knows; what it would now give up could never be told again."""


@dataclass(frozen=True, slots=True)
class Placed:
    """The carrier's cells on the zone grid, as read and checked from its settings."""

    grid: ZoneGrid
    located: LocatedPlan


def place_cells(settings: EdgeSettings, cell_plan: Path | None = None) -> Placed:
    """The zone grid and the located cell plan, that of the settings or another one.

    Raises GridError, BorderError, CellPlanError or LandCoverError with the rule broken.
    """
    border = read_border(settings.border)
    grid = read_zone_grid(settings.zone_grid, turn_hour_utc=settings.turn_hour_utc, valid_from=settings.grid_valid_from)
    check_zone_grid(grid, border.line)
    check_home_country(grid, border)
    located = locate_cells(
        read_cell_plan(cell_plan or settings.cell_plan),
        grid,
        border.line,
        model=FootprintModel(shape=settings.footprint),
        land_cover=None if settings.land_cover is None else read_land_cover(settings.land_cover),
    )
    return Placed(grid, located)


def open_edge(settings: EdgeSettings, placed: Placed, milestone: Milestone) -> Edge:
    """The edge with its ledger open."""
    folder = EdgeFolder(settings.state)
    mode = "replay" if settings.replay else "live"
    # What leaves from here on is in the ledger that is open.
    left = windows_left(folder.root)

    def has_left(level: Level, window: datetime) -> bool:
        path = folder.outbox(settings.carrier, window, level)
        kept = (path, *(folder.root / room / path.name for room in ("receipts", "sent")))
        return (level.value, format_utc(window)) in left or any(there.exists() for there in kept)

    return Edge(
        folder=folder,
        ledger=Ledger(
            folder.ledger,
            carrier=settings.carrier,
            mode=mode,
            milestone=milestone,
            has_left=has_left,
        ),
        current=current_pin(settings, placed),
        current_valid_from=placed.grid.valid_from,
        turn_hour_utc=placed.grid.turn_hour_utc,
        noise=DiscreteGaussian(settings.release_policy()),
        feed=feed_monitor(folder, settings.alarms),
        milestone=milestone,
    )


def current_pin(settings: EdgeSettings, placed: Placed) -> Pin:
    """What the settings would have a token-day rest on: cell plan, zone grid and networks as one ground, and its buckets."""
    networks = Networks(frozenset(settings.own_networks), frozenset(settings.networks_across))
    return Pin(EdgeFolder(settings.state).grounds.put(placed.grid, placed.located, networks), settings.buckets)


def run_sight(
    spark: SparkSession,
    settings: EdgeSettings,
    placed: Placed,
    milestone: Milestone,
    *,
    now: datetime,
    read: ReadSoFar | None = None,
) -> None:
    """Bring everything that the source holds now into the sightings table, and remember how far it had delivered.

    `read` is what was read of a topic, kept by a run that goes on; without it the committed batches are asked.
    """
    # The marks come first: what they vouch for is then there to be read.
    until = covered(settings, now)
    folder = EdgeFolder(settings.state)
    turn = placed.grid.turn_hour_utc
    run = Sighting(
        spark=spark,
        source=NO_FILES if settings.kafka else drop_folder(settings),
        folder=folder,
        current=current_pin(settings, placed),
        current_valid_from=placed.grid.valid_from,
        turn_hour_utc=turn,
        admission=None if settings.replay else Admission(now, token_day_start(now - DELETE_AFTER, turn)),
        most_refused=settings.most_refused,
        milestone=milestone,
    )
    if settings.kafka is None:
        sight(run)
    else:
        sight_kafka(run, settings.kafka, settings.columns, read)
    if until is not None:
        folder.write_covered_until(until)


def drop_folder(settings: EdgeSettings) -> Source:
    """The drop folder as the settings describe it; files in no sub-folder are those of the only source that is expected."""
    name = settings.sources[0] if len(settings.sources) == 1 else FILES
    return Source(settings.drop_folder.absolute(), settings.format, settings.layout, name, settings.commit_marker)


def covered(settings: EdgeSettings, now: datetime) -> datetime | None:
    """Up to when the source has delivered: by its feed marks, or for a replay without marks all that its files hold."""
    marks = marks_of(settings, since=now - HOUR * HOURS_IN_DAY - DELETE_AFTER)
    if marks is None:
        return _END_OF_TIME if settings.replay else None
    return covered_until(marks, settings.sources, not_after=None if settings.replay else now)


def marks_of(settings: EdgeSettings, *, since: datetime | None = None) -> list[FeedMark] | None:
    """The feed marks of the edge's source, from their folder or topic; None if it has none.

    From a topic those written before `since` are left out: what they vouch for can no longer be told.
    """
    kafka = settings.kafka
    if kafka is not None:
        return read_marks_topic(kafka.bootstrap, kafka.marks_topic, kafka.client_login, since=since)
    return None if settings.marks is None else read_marks(settings.marks)


def run_close(
    spark: SparkSession, settings: EdgeSettings, edge: Edge, *, now: datetime, progress: Callable[[Entry], None]
) -> list[Entry]:
    """Close and publish every due window in order, and publish what an earlier run left.

    `now` is the trusted clock; a replay's clock is its feed marks, by which it also deletes. Only what `run_sight` had
    read counts as delivered. While the stop switch is on it deletes, and says nothing.
    """
    until, live = edge.folder.covered_until, not settings.replay
    entries = keep_house(edge, now=now, progress=progress) if live else []
    clock = now if live else until or _START_OF_TIME
    with suppress(EdgeStopped):
        for entry in edge.ledger.entries(unpublished=True):
            publish(edge, entry)
        for day in edge.ledger.days_due():
            entries += [_say(edge, entry, progress) for entry in close_day_levels(spark, edge, day)]
    for day in _days(edge, clock, live=live):
        with suppress(EdgeStopped):
            for entry in _tell_day(spark, edge, day, clock, until, live=live):
                entries.append(_say(edge, entry, progress))
        if settings.replay and _outlived(day, clock):
            delete_day(edge, day)
    return entries


def _tell_day(
    spark: SparkSession, edge: Edge, day: datetime, clock: datetime, until: datetime | None, *, live: bool
) -> Iterator[Entry]:
    """The windows of a token-day that are due, each as it is told, in order, and then its own levels; raises EdgeStopped."""
    for window in _untold(edge, day, clock, live=live):
        end = window + HOUR
        if clock - end < RELEASE_AFTER:
            return
        refuse_when_stopped(edge.folder.root)
        if until is not None and until - ROWS_ARRIVE_WITHIN >= end + HOUR:
            yield _close_or_null(spark, edge, window, turned=_turned(day, clock))
        elif clock - end >= RELEASE_AFTER + WAIT_FOR_MARKS:
            yield null_window(edge, window)
        else:
            return  # Windows are released in order: the next ones wait for this one's marks.
    if day in edge.ledger.days_due():
        refuse_when_stopped(edge.folder.root)
        yield from close_day_levels(spark, edge, day)


def keep_house(edge: Edge, *, now: datetime, progress: Callable[[Entry], None]) -> list[Entry]:
    """What a live edge owes before anything else and whatever else fails: deletion by the wall clock.

    Tables of every token-day that has outlived its turn by two hours go, also while the stop switch is on; its windows
    that were not told go out as null, once it is off.
    """
    # A day whose tables were deleted from the folder alone is still known by what it rested on.
    for day in sorted({*edge.folder.token_days(), *edge.folder.grounds.pins()}):
        if _outlived(day, now):
            delete_day(edge, day)
    entries: list[Entry] = []
    with suppress(EdgeStopped):
        for day in filter(lambda day: _outlived(day, now), _days(edge, now, live=True)):
            for window in _untold(edge, day, now, live=True):
                entries.append(_say(edge, null_window(edge, window), progress))
        for day in filter(lambda day: _outlived(day, now), edge.ledger.days_due()):
            entries += [_say(edge, entry, progress) for entry in null_day_levels(edge, day)]
    return entries


def _close_or_null(spark: SparkSession, edge: Edge, window: datetime, *, turned: bool) -> Entry:
    try:
        return close_window(spark, edge, window)
    except DayClosed:
        raise
    except LedgerRefused:
        # Other settings than the day was opened with: within the day somebody must put them back; after its turn
        # they are the next day's, and this one's last windows can no longer be told.
        if not turned:
            raise
        return null_window(edge, window)


def _days(edge: Edge, clock: datetime, *, live: bool) -> list[datetime]:
    """The token-days that may have windows to tell, oldest first.

    A live edge tells every day of its life, with rows or without: what is said must not depend on there being any. A
    replay tells the days that its files hold. Raises ClockAhead.
    """
    day = HOUR * HOURS_IN_DAY
    if live:
        begun, newest = edge.ledger.begun_at(clock, edge.turn_hour_utc), edge.ledger.newest_window()
        untold = begun if newest is None else max(begun, newest + HOUR)
        _refuse_clock_ahead(edge.folder, clock, untold)
        first = token_day_start(untold, edge.turn_hour_utc)
        last = token_day_start(clock, edge.turn_hour_utc)
    else:
        seen = edge.folder.token_days()
        if not seen:
            return []
        first, last = seen[0], seen[-1]
    return [first + day * number for number in range((last - first) // day + 1)]


def _refuse_clock_ahead(folder: EdgeFolder, clock: datetime, untold: datetime) -> None:
    known = max(untold, folder.covered_until or _START_OF_TIME, folder.trusted_clock or _START_OF_TIME)
    if clock - known > LONGEST_PAUSE:
        raise ClockAhead(
            "the clock is more than 3 days ahead of what this edge last said and of its feed marks: all windows between "
            "would go out as null for good. If the clock is right, say so with tidemark edge trust-clock"
        )


def _untold(edge: Edge, day: datetime, clock: datetime, *, live: bool) -> Iterator[datetime]:
    """The windows of a token-day of which nothing was said and something still may be, in order."""
    begun = edge.ledger.begun_at(clock, edge.turn_hour_utc) if live else day
    for window in hours_of(day):
        newest = edge.ledger.newest_window()
        if window >= begun and (newest is None or window > newest):
            yield window


def _say(edge: Edge, entry: Entry, progress: Callable[[Entry], None]) -> Entry:
    publish(edge, entry)
    progress(entry)
    return entry


def publish(edge: Edge, entry: Entry) -> None:
    """Let a stored release leave: a file in the outbox, whole or not at all. What has left is never overwritten.

    Raises EdgeStopped while the stop switch is on.
    """
    edge.milestone("before-publish")
    if not entry.published:
        path = edge.folder.outbox(edge.ledger.carrier, entry.window_start, entry.level)
        with leave_to_speak(edge.folder.root):
            if not path.exists():
                write_whole(path, canonical_json(entry.document))
            note_left(edge.folder.root, entry.digest, to=OUTBOX, window=(entry.level, entry.window_start))
            edge.ledger.mark_published(entry)


def delete_day(edge: Edge, day: datetime) -> None:
    """Delete a token-day's token-level tables, and what the ledger and the grounds still hold of them."""
    edge.ledger.forget_manifests(day)
    edge.folder.delete_day(day, edge.current)


def delete_outlived(folder: EdgeFolder, *, now: datetime) -> None:
    """Delete the tables of every token-day that has outlived its turn by two hours, from a live edge's folder alone."""
    for day in folder.token_days():
        if _outlived(day, now):
            folder.delete_tables(day)


def next_deletion(folder: EdgeFolder, *, now: datetime) -> datetime | None:
    """When the next token-day at rest has outlived its turn, or None if there is none."""
    due = (day + HOUR * HOURS_IN_DAY + DELETE_AFTER for day in folder.token_days())
    return min((at for at in due if at > now), default=None)


def _outlived(day: datetime, clock: datetime) -> bool:
    return clock - day >= HOUR * HOURS_IN_DAY + DELETE_AFTER


def _turned(day: datetime, clock: datetime) -> bool:
    return clock - day >= HOUR * HOURS_IN_DAY


def ledger_of(settings: EdgeSettings) -> Ledger:
    """The ledger of an edge; raises LedgerRefused if there is none, or it was made for another carrier or mode."""
    path = EdgeFolder(settings.state).ledger
    if not path.is_file():
        raise LedgerRefused("there is no ledger in this edge's folder yet")
    return Ledger(path, carrier=settings.carrier, mode="replay" if settings.replay else "live")


def verify_edge(settings: EdgeSettings) -> Verdict:
    """The ledger's own verdict, and whether what has left is what it holds."""
    ledger, folder = ledger_of(settings), EdgeFolder(settings.state)
    verdict = ledger.verify()
    entries = ledger.entries()
    said = {folder.outbox(settings.carrier, entry.window_start, entry.level).name: entry.digest for entry in entries}
    faults = list(verdict.faults)
    for path in sorted(folder.releases.glob("*.json")):
        if path.name not in said:
            faults.append(f"{path.name}: the ledger does not know this release")
        elif json.loads(path.read_bytes()).get("digest") != said[path.name]:
            faults.append(f"{path.name}: another release than the ledger's has left")
    return replace(verdict, faults=tuple(faults))


def edge_report(edge: Edge, entries: Sequence[Entry]) -> dict[str, Any]:
    """What a run did, for the carrier's own eyes: these are exact figures and never leave the carrier."""
    tally = row_tally(edge.folder)
    refused = {name.removeprefix("refused:"): n for name, n in tally.items() if name.startswith(("refused:", "file_"))}
    values = [count["value"] for entry in entries for count in entry.document["counts"]]
    return {
        "events_read": tally.get("received", 0),
        "refused_by_reason": refused,
        "rows": {name: n for name, n in sorted(tally.items()) if ":" not in name and not name.startswith("file_")},
        "stopped": stop_in_force(edge.folder.root) is not None,
        "windows_released": [format_utc(entry.window_start) for entry in entries if entry.level is Level.ZONE_HOUR],
        "day_levels_released": [
            f"{entry.level} {format_utc(entry.window_start)}" for entry in entries if entry.level is not Level.ZONE_HOUR
        ],
        "values_published": sum(value is not None for value in values),
        "share_suppressed": round(sum(value is None for value in values) / max(len(values), 1), 4),
    }


def ledger_report(settings: EdgeSettings) -> dict[str, Any]:
    """What the ledger says: token-days with their cost, windows with their digests. No noisy value below the threshold."""
    from privacy.accountant import epsilon

    ledger = ledger_of(settings)
    days = ledger.days()
    for day in days:
        policy = day["policy"]
        day["epsilon_of_the_day"] = round(epsilon(policy["rho_day"], policy["delta"]), 3)
    windows = [
        {"window_start": format_utc(entry.window_start), "digest": entry.digest, "published": entry.published}
        for entry in ledger.entries()
    ]
    return {"carrier": settings.carrier, "token_days": days, "windows": windows}


def row_tally(folder: EdgeFolder) -> dict[str, int]:
    """What became of every row that was read, over all committed batches. It never leaves the carrier."""
    total: Counter[str] = Counter()
    for record in folder.records():
        for entry in record["rows"]:
            total[entry["what"]] += entry["rows"]
        total.update(record["files_refused"])
    return dict(total)
