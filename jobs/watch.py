"""The carrier's monitoring of its own feed, at the moment a window is told: marks, element alarms, what is known as lost."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from geofence.cover import Cover
from geofence.switches import switched_cells, switched_hours
from ingest.alarms import NEW_SITE, Alarm, AlarmFeed, degraded_hours, read_alarms, touched_cells
from ingest.feed import TRACKS_REACH_BACK, FeedWatch, doubts
from ingest.release import HOUR, canonical_json, format_utc
from jobs.grounds import ZonePlace, read_cover, read_ground, read_lookup
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
        located = read_lookup(at).cells
        cells = cells_in_zones(located, read_ground(at).zones)
        first = max(day_start, window_start - TRACKS_REACH_BACK)
        feed = self.alarms()
        hours = [first + HOUR * number for number in range((window_start - first) // HOUR + 2)]
        return FeedWatch(
            covered_until=self.folder.covered_until,
            touched=degraded_hours(feed.alarms, zone_cells(cells, window_start), [window_start])
            | switched_hours(cells, [window_start])
            | bare_hours(located, read_cover(at), feed.alarms, [window_start]),
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


def bare_hours(
    cells: pl.DataFrame, cover: Cover, alarms: Iterable[Alarm], hours: Iterable[datetime]
) -> frozenset[datetime]:
    """Those of the hours in which the cells that alarms and the plan's own dates touch leave ground by the line bare.

    `cells`: rat, plmn, cell_id, cell, zone, valid_from, valid_to, as in a LocatedPlan or a Lookup; `cell` numbers the
    rows of the cover. What an alarm without cells touches is left to `degraded_hours`.
    """
    hours = list(hours)
    named = cells.select(
        "cell",
        "valid_from",
        "valid_to",
        pl.concat_str("rat", "plmn", "cell_id", separator="/").alias("name"),
        pl.col("zone").cast(pl.String).alias("zone_id"),
    )
    alarmed = touched_cells(alarms, hours)
    switched = switched_cells(named.select(pl.col("name").alias("cell"), "zone_id", "valid_from", "valid_to"), hours)
    return frozenset(
        hour for hour in hours if _is_bare(named, cover, (alarmed[hour] or frozenset()) | switched[hour], hour)
    )


def _is_bare(named: pl.DataFrame, cover: Cover, out: frozenset[str], hour: datetime) -> bool:
    if not out:
        return False
    begins, ends = pl.col("valid_from"), pl.col("valid_to")
    is_out = pl.col("name").is_in(list(out))
    # What was switched off up to three hours ago is as bare as what comes on now.
    there = (begins.is_null() | (begins < hour + HOUR)) & (ends.is_null() | (ends > hour - NEW_SITE))
    on_air = (begins.is_null() | (begins <= hour)) & (ends.is_null() | (ends > hour))
    silent, others = (named.filter(chosen)["cell"].to_numpy() for chosen in (is_out & there, ~is_out & on_air))
    return cover.is_bare(silent, others)


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
