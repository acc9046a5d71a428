"""An edge to run in a test: what its close hands over is seen before it is blurred, and rows come in as time passes."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from geofence.grid import ZoneKind
from ingest.release import Direction, Level
from jobs.close import _settle
from jobs.edge import open_edge, place_cells, row_tally, run_close, run_sight
from jobs.milestone import milestones
from jobs.tables import EdgeFolder
from privacy.mechanism import DiscreteGaussian
from tests.jobs.border import DAY, edge_settings, feed, plainly_counted, write_parquet

HOUR = timedelta(hours=1)
NOW = datetime(2026, 3, 10, tzinfo=UTC)
QUIET = milestones(None)


class NoNoise:
    """What the close hands over, seen before it is blurred. Only a test can see it."""

    def __init__(self, noise, seen=None):
        self.noise, self.policy, self.rho, self.levels = noise, noise.policy, noise.rho, {}
        self.seen = [] if seen is None else seen

    def at(self, level):
        return self.levels.setdefault(level, NoNoise(self.noise.at(level)))

    def draw(self, counts):
        self.seen.append(list(counts))
        return list(counts)


class EdgeRun:
    def __init__(self, spark, folder, rows=None, **changes):
        self.spark, self.settings = spark, edge_settings(folder, **changes)
        self.settings.source.mkdir(parents=True, exist_ok=True)
        if rows:
            write_parquet(rows, self.settings.source)
        self.placed = place_cells(self.settings)
        self.folder = EdgeFolder(self.settings.state)

    def sight(self, now=NOW):
        run_sight(self.spark, self.settings, self.placed, QUIET, now=now)
        return row_tally(self.folder)

    def edge(self):
        edge, seen = open_edge(self.settings, self.placed, QUIET), []
        return replace(
            edge,
            noise=NoNoise(edge.noise, seen),
            noise_under=lambda policy: NoNoise(DiscreteGaussian(policy), seen),
        )

    def close(self, edge=None, now=NOW):
        return run_close(self.spark, self.settings, edge or self.edge(), now=now, progress=lambda _: None)

    def settle(self, hour):
        """Close an hour again, as the window before it would."""
        return _settle(self.spark, self.used, DAY, hour)

    def rows_of(self, hour):
        """What the batch records say of the rows of an hour."""
        return [rows for record in self.folder.records() for rows in record["rows"] if rows["hour"] == hour]

    def plain(self, rows):
        zones = self.placed.grid.zones
        points = {ix for ix, zone in enumerate(zones) if zone.kind is ZoneKind.CROSSING_POINT}
        counted = plainly_counted(rows, self.placed.located, points)
        directions = list(Direction)
        cells = sorted((zone.zone_id, direction) for zone in zones for direction in Direction)
        table = []
        for hour in range(24):
            at = int((DAY + HOUR * hour).timestamp() * 1000)
            found = {(zones[zone].zone_id, directions[d]): n for (when, zone, d), n in counted.items() if when == at}
            table.append([found.get(cell, 0) for cell in cells])
        return table


ROWS = feed(seed=11, devices=150)


class LiveRun(EdgeRun):
    """A live edge whose first whole token-day is DAY, with one source that sends marks."""

    def __init__(self, spark, folder, rows):
        changes = {"replay": False, "marks": folder / "marks", "sources": ["core/0"]}
        super().__init__(spark, folder, [], **changes)
        self.rows, self.delivered = rows, DAY - HOUR
        self.settings.marks.mkdir()
        self.used = self.edge()
        self.used.ledger.begun_at(DAY - HOUR, 2)

    def change(self, **settings):
        """Other settings from now on, as after a restart."""
        self.settings = self.settings.model_copy(update=settings)
        self.used.ledger.close()
        seen, self.placed, self.used = self.used.noise.seen, place_cells(self.settings), self.edge()
        self.used.noise.seen.extend(seen)

    def covers(self, until):
        line = {"source": "core", "partition": 0, "covers_until": until.strftime("%Y-%m-%dT%H:%M:%SZ")}
        (self.settings.marks / "core.ndjson").write_text(json.dumps(line) + "\n")

    def at(self, now, covers=None):
        """One run of the edge at an instant: the entries that it gave."""
        if covers is not None:
            self.covers(covers)
        arrived = [row for row in self.rows if self.delivered < row["ingest_time"] <= now]
        if arrived:
            write_parquet(arrived, self.settings.source / ".." / "landing", files=1)
            landed = self.settings.source / ".." / "landing" / "part-0.parquet"
            landed.rename(self.settings.source / f"{now:%dT%H%M}.parquet")
        self.delivered = now
        self.sight(now)
        return self.close(self.used, now)


def windows(entries):
    return [(entry.window_start - DAY) // HOUR for entry in entries if entry.level is Level.ZONE_HOUR]


def is_null(entry):
    return not entry.document["feed"]["complete"] and all(c["value"] is None for c in entry.document["counts"])
