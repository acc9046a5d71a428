"""The carrier's monitoring of its own feed, at the moment a window is told: marks, element alarms, what is known as lost."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from geofence.switches import switched_hours
from ingest.alarms import AlarmFeed, degraded_hours, read_alarms
from ingest.feed import TRACKS_REACH_BACK, FeedWatch, doubts
from ingest.release import HOUR, canonical_json, format_utc
from jobs.grounds import ZonePlace, read_ground, read_lookup
from jobs.tables import EdgeFolder


@dataclass(frozen=True, slots=True, eq=False)
class FeedMonitor:
    """What the edge knows of its feed."""

    folder: EdgeFolder
    alarms: Callable[[], AlarmFeed]  # as they are now: an edge that runs on and on must not rest on old ones

    def complete(self, window_start: datetime, day_start: datetime, ground: str) -> bool:
        """Whether the feed of a window is complete, as its release will say; why not is noted inside the carrier.

        `ground` is the digest of what the token-day rests on: alarms are held against the cells that its rows were.
        """
        found = doubts(window_start, day_start, self.watch(window_start, day_start, ground))
        _note(self.folder.root, window_start, [doubt.value for doubt in found])
        return not found

    def watch(self, window_start: datetime, day_start: datetime, ground: str) -> FeedWatch:
        """What is known of the hours that a window rests on; raises GroundMissing."""
        at = self.folder.grounds.of(ground)
        cells = cells_in_zones(read_lookup(at).cells, read_ground(at).zones)
        first = max(day_start, window_start - TRACKS_REACH_BACK)
        feed = self.alarms()
        hours = [first + HOUR * number for number in range((window_start - first) // HOUR + 2)]
        return FeedWatch(
            covered_until=self.folder.covered_until,
            touched=degraded_hours(feed.alarms, zone_cells(cells, window_start), [window_start])
            | switched_hours(cells, [window_start]),
            lost=frozenset(hours if self.folder.lost(hours) else ()),
            alarm_unread=bool(feed.unread),
        )


def feed_monitor(folder: EdgeFolder, alarms: Path | None) -> FeedMonitor:
    """The monitor of an edge; `alarms` is the folder of its alarm feed, if it has one."""
    return FeedMonitor(folder, AlarmFeed if alarms is None else partial(read_alarms, alarms))


def cells_in_zones(cells: pl.DataFrame, zones: Sequence[ZonePlace]) -> pl.DataFrame:
    """The cells of a plan that lie in a zone, as alarms name them: cell (`rat/plmn/cell_id`), zone_id, validity.

    `cells`: rat, plmn, cell_id, zone, valid_from, valid_to, as in a LocatedPlan or a Lookup.
    """
    names = pl.DataFrame(
        {"zone": range(len(zones)), "zone_id": [zone.zone_id for zone in zones]},
        schema={"zone": pl.Int32, "zone_id": pl.String},
    )
    return cells.join(names, on="zone", how="inner").select(
        pl.concat_str("rat", "plmn", "cell_id", separator="/").alias("cell"), "zone_id", "valid_from", "valid_to"
    )


def zone_cells(cells: pl.DataFrame, at: datetime) -> Mapping[str, frozenset[str]]:
    """The cells of every zone that are valid at an instant."""
    valid = cells.filter(
        (pl.col("valid_from").is_null() | (pl.col("valid_from") <= at))
        & (pl.col("valid_to").is_null() | (pl.col("valid_to") > at))
    )
    return {zone: frozenset(found) for zone, found in valid.group_by("zone_id").agg("cell").iter_rows()}


def feed_history(root: Path) -> dict[datetime, list[str]]:
    """Of every window that was told from its rows, the doubts about its feed when it was; none: complete."""
    path = root / "feed.ndjson"
    if not path.exists():
        return {}
    told = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    return {datetime.fromisoformat(line["window_start"]).astimezone(UTC): line["doubts"] for line in told}


def _note(root: Path, window_start: datetime, found: list[str]) -> None:
    line: dict[str, Any] = {"window_start": format_utc(window_start), "doubts": found}
    with (root / "feed.ndjson").open("ab") as history:
        history.write(b"\n" + canonical_json(line) + b"\n")
        history.flush()
        os.fsync(history.fileno())
