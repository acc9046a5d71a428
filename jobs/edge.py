"""The edge as it runs inside a carrier: sight what came in, close what is due, publish what the ledger holds, delete."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from pyspark.sql import SparkSession

from geofence.border import read_border
from geofence.cell_plan import read_cell_plan
from geofence.check import check_zone_grid
from geofence.grid import ZoneGrid, ZoneKind, read_zone_grid
from geofence.locate import LocatedPlan, locate_cells
from ingest.marks import covered_until, read_marks
from ingest.release import HOUR, canonical_json, format_utc
from ingest.token_day import DELETE_AFTER, HOURS_IN_DAY, hours_of, token_day_start
from jobs.close import Edge, close_window
from jobs.milestone import Milestone
from jobs.settings import EdgeSettings
from jobs.sight import Source, sight
from jobs.tables import EdgeFolder, write_whole
from movement.ground import make_ground
from movement.sighting import Networks
from privacy.ledger import Entry, Ledger
from privacy.mechanism import DiscreteGaussian

ROWS_ARRIVE_WITHIN = timedelta(minutes=15)
RELEASE_AFTER = timedelta(minutes=80)
"""A window is released this long after its end: 60 min to settle, 15 for late rows, 5 to run."""
WAIT_FOR_MARKS = timedelta(hours=6)
_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Placed:
    """The carrier's cells on the zone grid, as read and checked from its settings."""

    grid: ZoneGrid
    located: LocatedPlan


def place_cells(settings: EdgeSettings) -> Placed:
    """The zone grid and the located cell plan; raises GridError, BorderError or CellPlanError with the rule broken."""
    border = read_border(settings.border)
    grid = read_zone_grid(settings.zone_grid, turn_hour_utc=settings.turn_hour_utc, valid_from=settings.grid_valid_from)
    check_zone_grid(grid, border.line)
    return Placed(grid, locate_cells(read_cell_plan(settings.cell_plan), grid, border.line))


def open_edge(settings: EdgeSettings, placed: Placed, milestone: Milestone) -> Edge:
    """The edge with its ledger open."""
    folder = EdgeFolder(settings.state)
    mode = "replay" if settings.replay else "live"
    crossing_points = np.array([zone.kind is ZoneKind.CROSSING_POINT for zone in placed.grid.zones])
    cells = placed.located.cells.sort("cell")
    return Edge(
        folder=folder,
        ledger=Ledger(folder.ledger, carrier=settings.carrier, mode=mode, milestone=milestone),
        ground=make_ground(cells["zone"].to_numpy(), crossing_points, placed.located.overlaps.to_numpy()),
        zone_ids=tuple(zone.zone_id for zone in placed.grid.zones),
        grid_id=placed.grid.grid_id,
        plan_digest=placed.located.digest,
        turn_hour_utc=placed.grid.turn_hour_utc,
        noise=DiscreteGaussian(settings.policy.policy()),
        milestone=milestone,
    )


def run_sight(spark: SparkSession, settings: EdgeSettings, placed: Placed, milestone: Milestone) -> None:
    """Bring everything that the source holds now into the sightings table."""
    sight(
        spark,
        Source(settings.source, settings.format),
        placed.located.cells,
        Networks(frozenset(settings.own_networks), frozenset(settings.networks_across)),
        turn_hour_utc=placed.grid.turn_hour_utc,
        folder=EdgeFolder(settings.state),
        milestone=milestone,
    )


def covered(settings: EdgeSettings) -> datetime | None:
    """Up to when the source has delivered: by its feed marks, or for a replay without marks all that its files hold."""
    if settings.marks is not None:
        return covered_until(read_marks(settings.marks))
    return _END_OF_TIME if settings.replay else None


def run_close(
    spark: SparkSession, settings: EdgeSettings, edge: Edge, *, now: datetime, progress: Callable[[Entry], None]
) -> list[Entry]:
    """Close and publish every due window in order, publish what an earlier run left, delete what has outlived its day.

    `now` is the trusted clock; a replay's clock is its feed marks.
    """
    entries = []
    until = covered(settings)
    clock = until if settings.replay and until is not None else now
    for entry in edge.ledger.entries(unpublished=True):
        publish(edge, entry)
    begun = edge.ledger.begun_at(clock) if not settings.replay else None
    for day in _days(edge, clock):
        for window in hours_of(day):
            if edge.ledger.entry(window) is not None or (begun is not None and window < begun):
                continue
            end = window + HOUR
            if clock - end < RELEASE_AFTER:
                break
            if until is not None and until - ROWS_ARRIVE_WITHIN >= end + HOUR:
                entry = close_window(spark, edge, window)
            elif clock - end >= RELEASE_AFTER + WAIT_FOR_MARKS or _outlived(day, clock):
                entry = edge.ledger.release_null(window, cells=edge.cells, turn_hour_utc=edge.turn_hour_utc)
            else:
                break  # Windows are released in order: the next ones wait for this one's marks.
            publish(edge, entry)
            entries.append(entry)
            progress(entry)
        if _outlived(day, clock):
            delete_day(edge, day)
    return entries


def _days(edge: Edge, clock: datetime) -> list[datetime]:
    """Every token-day from the first with sightings to the present one: a day without a row is told as well."""
    seen = edge.folder.token_days()
    if not seen:
        return []
    days = [seen[0]]
    last = seen[-1] if clock == _END_OF_TIME else max(seen[-1], token_day_start(clock, edge.turn_hour_utc))
    while days[-1] < last:
        days.append(days[-1] + HOUR * HOURS_IN_DAY)
    return days


def publish(edge: Edge, entry: Entry) -> None:
    """Let a stored release leave: a file in the outbox, whole or not at all."""
    edge.milestone("before-publish")
    if not entry.published:
        name = f"{edge.ledger.carrier}_{entry.document['level']}_{format_utc(entry.window_start).replace(':', '')}.json"
        write_whole(edge.folder.releases / name, canonical_json(entry.document))
        edge.ledger.mark_published(entry)


def delete_day(edge: Edge, day: datetime) -> None:
    """Delete a token-day's token-level tables; its windows have all been told, as counts or as null."""
    edge.folder.delete_day(day)
    edge.ledger.forget_manifests(day)


def _outlived(day: datetime, clock: datetime) -> bool:
    return clock - day >= HOUR * HOURS_IN_DAY + DELETE_AFTER


def ledger_of(settings: EdgeSettings) -> Ledger:
    """The ledger of an edge; raises LedgerRefused if it was made for another carrier or mode."""
    return Ledger(
        EdgeFolder(settings.state).ledger, carrier=settings.carrier, mode="replay" if settings.replay else "live"
    )


def edge_report(edge: Edge, entries: Sequence[Entry]) -> dict[str, Any]:
    """What a run did, for the carrier's own eyes: these are exact figures and never leave the carrier."""
    tally = row_tally(edge.folder)
    refused = {name.removeprefix("refused:"): n for name, n in tally.items() if name.startswith(("refused:", "file_"))}
    values = [count["value"] for entry in entries for count in entry.document["counts"]]
    return {
        "events_read": tally.get("received", 0),
        "refused_by_reason": refused,
        "rows": {name: n for name, n in sorted(tally.items()) if ":" not in name and not name.startswith("file_")},
        "windows_released": [format_utc(entry.window_start) for entry in entries],
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
        total.update(record["rows"])
        total.update(record["files_refused"])
    return dict(total)
