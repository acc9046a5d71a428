"""The edge's turns: sight, close, publish and delete, once or for as long as it is left to run.

A turn is what one run does. What stays between turns is the folder, held by this process alone, the Spark session, and what
was read of a topic. A source that is away ends no run: the windows wait for its marks, and deletion goes by the clock.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from ingest.kafka import KafkaUnreachable, RecordsGone, RegistryUnreachable, check_topic
from ingest.release import Level, format_utc
from jobs.edge import (
    Placed,
    delete_outlived,
    edge_report,
    keep_house,
    next_deletion,
    open_edge,
    place_cells,
    run_close,
    run_sight,
)
from jobs.kafka_edge import send_refusals, send_releases
from jobs.kafka_jars import connector_jars
from jobs.kafka_source import ReadSoFar, read_so_far
from jobs.milestone import Milestone
from jobs.settings import EdgeSettings
from jobs.spark import edge_session
from jobs.stop import EdgeStopped
from jobs.tables import EdgeFolder
from privacy.ledger import Entry

AWAY = (KafkaUnreachable, RegistryUnreachable, RecordsGone, PySparkException, Py4JError)
"""What may be over by the next turn. Records that are lost (RecordsLost, a RecordsGone) wait for a person: closing and
deleting go on meanwhile."""
TURNS_WITHOUT_REASON = 5
"""So many turns in a row Spark may fail without a reason that we know of; then the run ends."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run is to do: read what came in, close what is due; again every so many seconds, or once."""

    read: bool = True
    close: bool = True
    every_s: float | None = None


def take_turns(
    settings: EdgeSettings,
    asked: Asked,
    milestone: Milestone,
    *,
    tell: Tell,
    told: Callable[[dict[str, Any]], None],
    stopping: Event,
) -> None:
    """Run the edge; `told` gets a report of every turn, with exact figures that stay inside the carrier.

    Until `stopping` is set, or once. A turn that has begun is brought to its end.
    """
    folder = EdgeFolder(settings.state)
    with folder.held():
        # Deletion waits for nothing: not for cell plan and grid, not for the ledger, not for Spark.
        _delete(settings, folder)
        tell("Reading grid and cell plan")
        stamp, placed = _stamp(settings), place_cells(settings)
        entries = [] if settings.replay else _at_home(settings, placed, milestone)
        tell("Starting Spark")
        spark = edge_session(
            master=settings.master,
            scratch=folder.scratch,
            driver_memory=settings.driver_memory,
            jars=connector_jars() if settings.kafka else (),
        )
        try:
            read, unexplained = None, 0
            while True:
                began = time.monotonic()
                _delete(settings, folder)
                if _stamp(settings) != stamp:
                    stamp, placed = _stamp(settings), place_cells(settings)
                if settings.kafka is not None and read is None and asked.read:
                    read = _read(settings, folder)
                report, fault = _turn(spark, settings, placed, milestone, asked, read, entries, tell)
                entries = []
                unexplained = unexplained + 1 if isinstance(fault, PySparkException | Py4JError) else 0
                if fault is not None and (asked.every_s is None or unexplained >= TURNS_WITHOUT_REASON):
                    raise fault
                if asked.every_s is None:
                    told(report)
                    return
                told({**report, "away": None if fault is None else _name(fault)})
                if stopping.wait(_pause(settings, folder, asked.every_s - (time.monotonic() - began))):
                    return
        finally:
            spark.stop()


def _turn(
    spark: SparkSession,
    settings: EdgeSettings,
    placed: Placed,
    milestone: Milestone,
    asked: Asked,
    read: ReadSoFar | None,
    entries: list[Entry],
    tell: Tell,
) -> tuple[dict[str, Any], Exception | None]:
    """One turn's report, and what was away in it. Any other fault rises, after closing and deletion."""
    edge, began = open_edge(settings, placed, milestone), time.monotonic()
    fault: Exception | None = None
    try:
        if asked.read:
            tell("Sighting")
            try:
                run_sight(spark, settings, placed, milestone, now=datetime.now(UTC), read=read)
            except Exception as error:  # noqa: BLE001 - whatever it is: old windows are still told, and old days deleted
                fault = error
        if asked.close:
            tell("Closing hours")
            entries = entries + run_close(
                spark,
                settings,
                edge,
                now=datetime.now(UTC),
                progress=lambda entry: tell(f"Released {entry.window_start:%Y-%m-%d %H:%M}Z"),
            )
        if settings.kafka is not None:
            try:
                with suppress(EdgeStopped):
                    send_releases(settings.kafka, edge.folder)
                send_refusals(settings.kafka, edge.folder)
            except KafkaUnreachable as error:
                fault = fault or error
        if fault is not None and not isinstance(fault, AWAY):
            raise fault
        if asked.every_s is None:
            return edge_report(edge, entries), fault
        # Exact totals of all time are for `edge status`: here they would be read anew every few seconds.
        windows = [format_utc(entry.window_start) for entry in entries if entry.level is Level.ZONE_HOUR]
        return {"windows_released": windows, "seconds": round(time.monotonic() - began, 1)}, fault
    finally:
        edge.ledger.close()


def _delete(settings: EdgeSettings, folder: EdgeFolder) -> None:
    if not settings.replay:
        delete_outlived(folder, now=datetime.now(UTC))


def _pause(settings: EdgeSettings, folder: EdgeFolder, seconds: float) -> float:
    """How many seconds to wait for the next turn: no longer than until a token-day is to be deleted."""
    now = datetime.now(UTC)
    deadline = None if settings.replay else next_deletion(folder, now=now)
    if deadline is not None:
        seconds = min(seconds, (deadline - now).total_seconds())
    return max(0.0, seconds)


def _at_home(settings: EdgeSettings, placed: Placed, milestone: Milestone) -> list[Entry]:
    edge = open_edge(settings, placed, milestone)
    try:
        return keep_house(edge, now=datetime.now(UTC), progress=lambda _: None)
    finally:
        edge.ledger.close()


def _read(settings: EdgeSettings, folder: EdgeFolder) -> ReadSoFar | None:
    """What was read of the topic, once it can be asked for its id."""
    assert settings.kafka is not None
    try:
        topic = check_topic(settings.kafka.bootstrap, settings.kafka.topic, settings.kafka.client_login)
    except KafkaUnreachable:
        return None  # which the turn will say
    return read_so_far(folder.records(), topic)


def _stamp(settings: EdgeSettings) -> list[tuple[int, int] | None]:
    """When the files that cells are placed by were last written: a change takes effect from the next token-day on."""
    found = []
    for path in (settings.zone_grid, settings.cell_plan, Path(settings.border)):
        stat = path.stat() if path.is_file() else None
        found.append(None if stat is None else (stat.st_mtime_ns, stat.st_size))
    return found


def _name(fault: Exception) -> str:
    """A fault as a report may say it: our own in its words, any other by its type, since its text may hold anything."""
    return (
        str(fault) if isinstance(fault, KafkaUnreachable | RegistryUnreachable | RecordsGone) else type(fault).__name__
    )
