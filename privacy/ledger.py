"""The release ledger: the carrier's memory of what it said, and the only way to say anything.

One SQLite file inside the carrier. A window is drawn, checked and stored in one transaction and published from the stored
row; a restart re-reads and never draws again. What a token-day rests on (lineage, grid, plan, policy) is fixed when it
opens; if that is lost or differs the day is closed, and nothing more is said until the next one.

Whatever changes what strangers may rely on (a policy, a token-day, a charge, a release, a closed day) is an entry of a
hash chain in the same transaction. The chain holds public facts only and is what `ledger export` gives away.
"""

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

from ingest.release import HOUR, Direction, Level, Release, canonical_json, format_utc
from ingest.token_day import HOURS_IN_DAY, hours_of, token_day_start
from privacy.chain import GENESIS, Link, digest_of, link_of
from privacy.draw import Noise as Noise
from privacy.draw import draw_day, draw_hour, estimates_of, published
from privacy.levels import DAY_LEVELS, PublicCells, Zone, public_cells
from privacy.open_day import OpenDay, seal_day, seal_hour
from privacy.policy import ReleasePolicy
from privacy.verify import Contents, DayRow, ReleaseRow, check
from privacy.verify import Verdict as Verdict

MODES = ("live", "replay")
FORMAT = 2
_SCHEMA = """
CREATE TABLE meta (carrier TEXT NOT NULL, mode TEXT NOT NULL, begun_at TEXT) STRICT;
CREATE TABLE token_day (
  token_day TEXT PRIMARY KEY, lineage TEXT NOT NULL, grid_id TEXT NOT NULL, plan_digest TEXT NOT NULL,
  policy TEXT NOT NULL, cells TEXT NOT NULL, zones TEXT, closed_because TEXT
) STRICT;
CREATE TABLE charge (
  token_day TEXT NOT NULL REFERENCES token_day, level TEXT NOT NULL, rho TEXT NOT NULL, PRIMARY KEY (token_day, level)
) STRICT;
CREATE TABLE closed_hour (
  hour_start TEXT NOT NULL, token_day TEXT NOT NULL REFERENCES token_day, manifest TEXT NOT NULL,
  carry_over_digest TEXT, PRIMARY KEY (token_day, hour_start)
) STRICT;
CREATE TABLE release (
  number INTEGER PRIMARY KEY, carrier TEXT NOT NULL, level TEXT NOT NULL, window_start TEXT NOT NULL,
  token_day TEXT NOT NULL REFERENCES token_day, noisy TEXT, sums TEXT, document TEXT NOT NULL, digest TEXT NOT NULL,
  published INTEGER NOT NULL DEFAULT 0, UNIQUE (carrier, level, window_start)
) STRICT;
CREATE TABLE chain (number INTEGER PRIMARY KEY, document TEXT NOT NULL, digest TEXT NOT NULL, link TEXT NOT NULL) STRICT
"""


class LedgerRefused(RuntimeError):
    """The ledger does not let this be said; the message names the rule."""


class DayClosed(LedgerRefused):
    """The token-day lost what it rests on; its remaining windows go out as all null."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored release: the only thing that is ever published for its level and window."""

    number: int
    level: Level
    window_start: datetime
    document: dict[str, Any]
    digest: str
    published: bool


def _no_milestone(_: str) -> None:
    """Nobody watches where the process stands."""


def _nothing_left(_level: Level, _window_start: datetime) -> bool:
    """Nobody keeps what has left."""
    return False


class Ledger:
    """One carrier's ledger; raises LedgerRefused when opened for another carrier or mode than it was made for.

    `has_left` says whether a release of a level and window has left the carrier already, by whatever keeps them: where
    it has and the ledger does not know of it, the ledger is older than its own words and closes the token-day.
    """

    def __init__(
        self,
        path: Path,
        *,
        carrier: str,
        mode: str,
        milestone: Callable[[str], None] = _no_milestone,
        has_left: Callable[[Level, datetime], bool] = _nothing_left,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"a ledger's mode is one of {MODES}")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.carrier, self.mode, self._milestone, self._has_left = carrier, mode, milestone, has_left
        self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        with self._transaction():
            self._prepare()
            made_for = self._db.execute("SELECT carrier, mode FROM meta").fetchone()
            if made_for is None:
                self._db.execute("INSERT INTO meta VALUES (?, ?, NULL)", (carrier, mode))
            elif made_for != (carrier, mode):
                raise LedgerRefused("this ledger was made for another carrier or mode")

    def _prepare(self) -> None:
        if self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is None:
            for statement in _SCHEMA.split(";\n"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {FORMAT}")
        elif self._db.execute("PRAGMA user_version").fetchone()[0] != FORMAT:
            raise LedgerRefused(
                "this ledger is of another format: keep the file as the record of what was said, and begin a new one "
                "in its place, which says nothing before the next token-day"
            )

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def begun_at(self, now: datetime, turn_hour_utc: int) -> datetime:
        """The first whole token-day of this ledger's life; nothing is said of what was before it. Set when first asked.

        A ledger that began in the middle of a token-day would count again what a lost one had counted already.
        """
        first = token_day_start(now, turn_hour_utc) + HOUR * HOURS_IN_DAY
        with self._transaction():
            self._db.execute("UPDATE meta SET begun_at = coalesce(begun_at, ?)", (format_utc(first),))
            row = self._db.execute("SELECT begun_at FROM meta").fetchone()
        return _instant(row[0])

    # What a token-day rests on

    def open_day(
        self,
        day_start: datetime,
        *,
        lineage_on_disk: str | None,
        grid_id: str,
        plan_digest: str,
        policy: ReleasePolicy,
        cells: Sequence[tuple[str, Direction]],
        zones: Sequence[Zone] | None = None,
    ) -> str:
        """The lineage of a token-day, made when the day is first opened; raises DayClosed or LedgerRefused.

        `lineage_on_disk` is the lineage found beside the day's sightings. Both must be new, or both the same: a ledger
        without its tables, or tables without their ledger, have lost the bound that they kept. Before the first hour is
        closed nothing was counted, so nothing can be lost. `cells` is the whole public grid in the order of its counts;
        `zones` (zone_id, sector_id, kind) says what the day levels sum, and without it the day has none.
        """
        day = format_utc(day_start)
        placed = None if zones is None else sorted((zone_id, sector, kind) for zone_id, sector, kind in zones)
        if placed is not None and [list(cell) for cell in public_cells(placed).zone_hour] != [list(c) for c in cells]:
            raise ValueError("cells are those of the zones, sorted by zone and direction")
        fixed = (
            grid_id,
            plan_digest,
            canonical_json(policy.document()).decode(),
            canonical_json(cells).decode(),
            None if placed is None else canonical_json(placed).decode(),
        )
        with self._transaction():
            row = self._db.execute(
                "SELECT lineage, closed_because, grid_id, plan_digest, policy, cells, zones FROM token_day "
                "WHERE token_day = ?",
                (day,),
            ).fetchone()
            if row is None:
                self._refuse_overlap(day_start)
                self._refuse_before_the_beginning(day)
                lineage = f"{self.mode}-{secrets.token_hex(12)}"
                self._db.execute("INSERT INTO token_day VALUES (?, ?, ?, ?, ?, ?, ?, NULL)", (day, lineage, *fixed))
                self._record_day(day, lineage, grid_id, policy, cells, placed)
                if lineage_on_disk is not None:
                    self._close_day(day, "the ledger does not know the lineage of the tables")
            else:
                lineage = str(row[0])
                if row[1] is None and (row[2:6] != fixed[:4] or (row[6] and fixed[4] and row[6] != fixed[4])):
                    raise LedgerRefused("zone grid, cell plan and policy change only at the turn of the token-day")
                begun = self._db.execute("SELECT 1 FROM closed_hour WHERE token_day = ? LIMIT 1", (day,)).fetchone()
                if lineage_on_disk != lineage and (begun or lineage_on_disk is not None):
                    self._close_day(day, "the tables of this token-day are gone or are others")
            lost = self._db.execute("SELECT closed_because FROM token_day WHERE token_day = ?", (day,)).fetchone()[0]
        if lost is not None:
            raise DayClosed(lost)
        return lineage

    def _record_day(
        self,
        day: str,
        lineage: str,
        grid_id: str,
        policy: ReleasePolicy,
        cells: Sequence[object],
        zones: Sequence[Zone] | None,
    ) -> None:
        ruling = self._newest_policy()
        if ruling != policy.digest:
            self._append(
                {
                    "kind": "policy",
                    "takes_effect": day,
                    "policy": policy.document(),
                    "policy_digest": policy.digest,
                    "previous": ruling,
                }
            )
        sizes = {Level.ZONE_HOUR.value: len(cells)}
        if zones is not None:
            sizes |= {level.value: len(public_cells(zones).at(level)) for level in DAY_LEVELS}
        self._append(
            {
                "kind": "token-day",
                "token_day": day,
                "lineage": lineage,
                "grid_id": grid_id,
                "policy_digest": policy.digest,
                "cells": sizes,
            }
        )

    def _newest_policy(self) -> str | None:
        row = self._db.execute(
            "SELECT json_extract(document, '$.policy_digest') FROM chain "
            "WHERE json_extract(document, '$.kind') = 'policy' ORDER BY number DESC LIMIT 1"
        ).fetchone()
        return None if row is None else str(row[0])

    def _refuse_overlap(self, day_start: datetime) -> None:
        # Another turn hour would open a day inside a day, and a device-day could be counted in both.
        span = HOUR * HOURS_IN_DAY
        around = (format_utc(day_start - span), format_utc(day_start + span))
        if self._db.execute("SELECT 1 FROM token_day WHERE token_day > ? AND token_day < ? LIMIT 1", around).fetchone():
            raise LedgerRefused("token-days do not overlap: the turn hour of a ledger stays")

    def _refuse_before_the_beginning(self, day: str) -> None:
        begun = self._db.execute("SELECT begun_at FROM meta").fetchone()[0]
        if begun is not None and day < begun:
            raise LedgerRefused("the token-day began before this ledger did; an earlier one may have spoken of it")

    def policy_of(self, day_start: datetime) -> ReleasePolicy | None:
        """The policy that a token-day was opened with, which rules until its end; None before it is opened."""
        day = self._day(day_start)
        return None if day is None else day.policy

    def close_day(self, day_start: datetime, because: str) -> None:
        """Say nothing more of this token-day; the first reason stays."""
        with self._transaction():
            self._close_day(format_utc(day_start), because)

    def _close_day(self, day: str, because: str) -> None:
        closed = self._db.execute(
            "UPDATE token_day SET closed_because = ? WHERE token_day = ? AND closed_because IS NULL", (because, day)
        ).rowcount
        if closed:
            # The reason stays with the carrier: it is free text, and the chain has room for rules only.
            self._append({"kind": "closed", "token_day": day})

    def _day(self, day_start: datetime) -> OpenDay | None:
        row = self._db.execute(
            "SELECT lineage, grid_id, policy, cells, zones, closed_because FROM token_day WHERE token_day = ?",
            (format_utc(day_start),),
        ).fetchone()
        if row is None:
            return None
        lineage, grid_id, policy, cells, zones, because = row
        return OpenDay(
            day_start,
            lineage,
            grid_id,
            ReleasePolicy(**json.loads(policy)),
            tuple(tuple(cell) for cell in json.loads(cells)),
            None if zones is None else tuple(tuple(zone) for zone in json.loads(zones)),
            because,
        )

    def _opened(self, day_start: datetime) -> OpenDay:
        day = self._day(day_start)
        if day is None:
            raise LedgerRefused("the token-day was never opened")
        return day

    # What an hour was closed with

    def freeze(self, day_start: datetime, hour: datetime, manifest: dict[str, Any]) -> dict[str, Any]:
        """The manifest that the hour is closed with, ever: the first one given. What lands later is ignored."""
        key = (format_utc(day_start), format_utc(hour))
        with self._transaction():
            self._db.execute(
                "INSERT INTO closed_hour (token_day, hour_start, manifest) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (*key, canonical_json(manifest).decode()),
            )
            row = self._db.execute(
                "SELECT manifest FROM closed_hour WHERE token_day = ? AND hour_start = ?", key
            ).fetchone()
        return dict(json.loads(row[0]))

    def carry_over_digest(self, day_start: datetime, hour: datetime) -> str | None:
        """The digest of the carry-over that the close of this hour gave, or None if it was not closed."""
        row = self._db.execute(
            "SELECT carry_over_digest FROM closed_hour WHERE token_day = ? AND hour_start = ?",
            (format_utc(day_start), format_utc(hour)),
        ).fetchone()
        return None if row is None else row[0]

    def settle(self, day_start: datetime, hour: datetime, carry_over_digest: str) -> None:
        """Record what the first hour of a token-day leaves behind; it settles no window of its own day."""
        with self._transaction():
            self._settle(format_utc(day_start), format_utc(hour), carry_over_digest)

    def _settle(self, day: str, hour: str, carry_over_digest: str) -> None:
        changed = self._db.execute(
            "UPDATE closed_hour SET carry_over_digest = ? WHERE token_day = ? AND hour_start = ? "
            "AND coalesce(carry_over_digest, ?) = ?",
            (carry_over_digest, day, hour, carry_over_digest, carry_over_digest),
        ).rowcount
        if changed != 1:
            raise LedgerRefused("an hour is closed once, with the manifest it was frozen with, to the same carry-over")

    # What is said of an hour

    def release(
        self,
        window_start: datetime,
        counts: Sequence[int],
        *,
        turn_hour_utc: int,
        lineage: str,
        carry_over_digest: str,
        complete: bool,
        noise: Noise,
    ) -> Entry:
        """The one release of a window: the stored one, or drawn, suppressed and stored now.

        `counts` are the exact counts over the whole public grid, in the order fixed when the day was opened. The
        carry-over digest of the hour after the window, whose close settles it, is recorded in the same transaction.
        """
        day_start = token_day_start(window_start, turn_hour_utc)
        self._refuse_what_has_left(day_start)
        with self._transaction():
            stored = self._stored(Level.ZONE_HOUR, window_start)
            if stored is not None:
                return stored
            day = self._may_speak(day_start, lineage, noise)
            newest = self.newest_window()
            if newest is not None and window_start <= newest:
                raise LedgerRefused("windows are released in order; this one is older than the newest")
            if len(counts) != len(day.cells):
                raise ValueError("counts cover the whole public grid, zeros included")
            self._charge(day, Level.ZONE_HOUR, noise)
            drawn = draw_hour(counts, noise)
            release = seal_hour(self.carrier, day, window_start, drawn.values, complete=complete)
            self._settle(format_utc(day_start), format_utc(window_start + HOUR), carry_over_digest)
            self._insert(day, release, drawn.noisy)
            self._milestone("before-ledger-commit")
        self._milestone("after-ledger-commit")
        return self._known(Level.ZONE_HOUR, window_start)

    def release_null(self, window_start: datetime, *, turn_hour_utc: int) -> Entry:
        """The constant release of a window that cannot be told: all null, feed incomplete. It draws and costs nothing.

        It speaks of the grid, policy and lineage that its token-day was opened with.
        """
        day_start = token_day_start(window_start, turn_hour_utc)
        with self._transaction():
            stored = self._stored(Level.ZONE_HOUR, window_start)
            if stored is not None:
                return stored
            day = self._opened(day_start)
            release = seal_hour(self.carrier, day, window_start, [None] * len(day.cells), complete=False)
            self._insert(day, release, noisy=None)
        return self._known(Level.ZONE_HOUR, window_start)

    # What is said of a token-day

    def release_day(
        self,
        day_start: datetime,
        totals: Sequence[int],
        *,
        lineage: str,
        complete: bool,
        noise: Noise,
        windows: Sequence[datetime] | None = None,
    ) -> tuple[Entry, Entry]:
        """The one sector-day and border-day release of a token-day: the stored ones, or drawn and stored now.

        `totals` are the exact totals per zone and direction over the `windows` (all 24 of the day if not named), in the
        order of the hours' counts. Both levels are drawn in one transaction and joined with the noisy hours of the
        windows; where one of these went out without a draw, the hours say nothing of the total and are left out.
        """
        self._refuse_what_has_left(day_start)
        with self._transaction():
            stored = self._stored_day(day_start)
            if stored is not None:
                return stored
            day = self._may_speak(day_start, lineage, noise)
            cells = _day_cells(day)
            whole = tuple(hours_of(day_start))
            newest = self.newest_window()
            if newest is None or newest < whole[-1]:
                raise LedgerRefused("a token-day is released after the last of its hours")
            if len(totals) != len(day.cells):
                raise ValueError("totals cover the whole public grid, zeros included")
            summed = whole if windows is None else tuple(sorted(set(windows)))
            if not summed or not set(summed) <= set(whole):
                raise ValueError("totals sum windows of their own token-day")
            for level in DAY_LEVELS:
                self._charge(day, level, noise.at(level))
            hours = self._drawn_hours(day_start, summed)
            drawn = draw_day(cells, totals, hours, noise)
            whole_feed = complete and summed == whole and self._hours_complete(day_start)
            of_windows = [format_utc(window) for window in summed] if hours is not None else []
            for level, noisy, estimates in (
                (Level.SECTOR_DAY, drawn.sector_day, drawn.estimates.sector_day),
                (Level.BORDER_DAY, drawn.border_day, drawn.estimates.border_day),
            ):
                values = published(estimates, day.policy.threshold_at(level))
                release = seal_day(self.carrier, day, level, values, estimates, complete=whole_feed)
                self._insert(day, release, noisy, of_windows)
            self._milestone("before-day-commit")
        self._milestone("after-day-commit")
        return self._known_day(day_start)

    def release_day_null(self, day_start: datetime) -> tuple[Entry, Entry]:
        """The constant releases of a token-day that cannot be told: all null, feed incomplete. They cost nothing."""
        with self._transaction():
            stored = self._stored_day(day_start)
            if stored is not None:
                return stored
            day = self._opened(day_start)
            cells = _day_cells(day)
            sizes = [[0] * len(cells.at(level)) for level in DAY_LEVELS]
            unread = estimates_of(cells, day.policy, None, *sizes)
            for level, estimates in zip(DAY_LEVELS, (unread.sector_day, unread.border_day), strict=True):
                release = seal_day(self.carrier, day, level, [None] * len(estimates), estimates, complete=False)
                self._insert(day, release, noisy=None)
        return self._known_day(day_start)

    def days_due(self) -> list[datetime]:
        """The token-days whose hours are all said and whose day levels are not, oldest first."""
        newest = self.newest_window()
        rows = self._db.execute(
            "SELECT token_day FROM token_day WHERE zones IS NOT NULL AND NOT EXISTS "
            "(SELECT 1 FROM release WHERE release.token_day = token_day.token_day AND level = ?) ORDER BY token_day",
            (Level.SECTOR_DAY,),
        )
        days = [_instant(row[0]) for row in rows]
        return [day for day in days if newest is not None and newest >= tuple(hours_of(day))[-1]]

    def _drawn_hours(self, day_start: datetime, windows: Sequence[datetime]) -> list[list[int]] | None:
        """The noisy values of the windows, suppressed ones included; None if one of them was never drawn."""
        rows = self._db.execute(
            "SELECT window_start, noisy FROM release WHERE level = ? AND token_day = ?",
            (Level.ZONE_HOUR, format_utc(day_start)),
        )
        noisy = {row[0]: row[1] for row in rows}
        found = [noisy.get(format_utc(window)) for window in windows]
        return None if None in found else [json.loads(values) for values in found if values is not None]

    def _hours_complete(self, day_start: datetime) -> bool:
        complete = self._db.execute(
            "SELECT count(*) FROM release WHERE level = ? AND token_day = ? AND noisy IS NOT NULL "
            "AND json_extract(document, '$.feed.complete')",
            (Level.ZONE_HOUR, format_utc(day_start)),
        ).fetchone()[0]
        return bool(complete == HOURS_IN_DAY)

    # The rules that every draw passes

    def _refuse_what_has_left(self, day_start: datetime) -> None:
        # A ledger older than what has left of the token-day was restored from a backup: it would draw again, for this
        # window or, with tables that begin anew, for one that others have told the bound of.
        day = self._day(day_start)
        if day is None or day.closed_because is not None:
            return
        said = [(Level.ZONE_HOUR, window) for window in hours_of(day_start)]
        for level, window in (*said, *((level, day_start) for level in DAY_LEVELS)):
            if self._has_left(level, window) and self._stored(level, window) is None:
                self.close_day(day_start, "the ledger does not know a release that has left")
                return

    def _may_speak(self, day_start: datetime, lineage: str, noise: Noise) -> OpenDay:
        day = self._opened(day_start)
        if day.closed_because is not None:
            raise DayClosed(day.closed_because)
        if day.lineage != lineage:
            raise LedgerRefused("the lineage is not that of the token-day")
        if day.policy != noise.policy:
            raise LedgerRefused("the noise is not that of the policy fixed for this token-day")
        return day

    def _charge(self, day: OpenDay, level: Level, noise: Noise) -> None:
        # One measurement with the day's L2: a level is charged once a token-day, with its first window.
        cost, granted = Fraction(noise.rho), Fraction(day.policy.rho_at(level))
        if cost > granted:
            raise LedgerRefused("the level's share of the day's budget does not cover the mechanism")
        name = format_utc(day.start)
        charges = self._charges(name).get(name, {})
        if level.value in charges:
            if charges[level.value] != cost:
                raise LedgerRefused("the budget of this token-day was charged for another mechanism")
            return
        if sum(charges.values(), cost) > Fraction(day.policy.rho_day):
            raise LedgerRefused("the day's budget does not cover the mechanism")
        self._db.execute("INSERT INTO charge VALUES (?, ?, ?)", (name, level.value, str(cost)))
        self._append(
            {
                "kind": "charge",
                "token_day": name,
                "level": level.value,
                "sigma": day.policy.sigma_at(level),
                "l2": day.policy.l2_at(level),
                "rho": str(cost),
                "rho_level": day.policy.rho_at(level),
            }
        )

    def _charges(self, of_day: str | None = None) -> dict[str, dict[str, Fraction]]:
        charges: dict[str, dict[str, Fraction]] = {}
        only = "WHERE token_day = ?" if of_day else ""
        rows = self._db.execute(f"SELECT token_day, level, rho FROM charge {only}", (of_day,) if of_day else ())
        for day, level, rho in rows:
            charges.setdefault(day, {})[level] = Fraction(rho)
        return charges

    def _insert(self, day: OpenDay, release: Release, noisy: list[int] | None, sums: list[str] | None = None) -> None:
        self._db.execute(
            "INSERT INTO release (carrier, level, window_start, token_day, noisy, sums, document, digest) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.carrier,
                release.level.value,
                format_utc(release.window_start),
                format_utc(day.start),
                None if noisy is None else json.dumps(noisy),
                None if sums is None else json.dumps(sums),
                canonical_json(release.document()).decode(),
                release.digest,
            ),
        )
        self._append(
            {
                "kind": "release",
                "token_day": format_utc(day.start),
                "level": release.level.value,
                "window_start": format_utc(release.window_start),
                "window_end": format_utc(release.window_end),
                "release_digest": release.digest,
                "cells": len(release.counts),
                "suppressed": sum(count.value is None for count in release.counts),
                "complete": release.feed.complete,
                "drawn": noisy is not None,
            }
        )

    def _append(self, document: dict[str, Any]) -> None:
        previous = self._db.execute("SELECT link FROM chain ORDER BY number DESC LIMIT 1").fetchone()
        digest = digest_of(document)
        self._db.execute(
            "INSERT INTO chain (document, digest, link) VALUES (?, ?, ?)",
            (canonical_json(document).decode(), digest, link_of(previous[0] if previous else GENESIS, digest)),
        )

    # What was said

    def _stored(self, level: Level, window_start: datetime) -> Entry | None:
        row = self._db.execute(
            f"SELECT {_ENTRY} FROM release WHERE carrier = ? AND level = ? AND window_start = ?",
            (self.carrier, level.value, format_utc(window_start)),
        ).fetchone()
        return None if row is None else _entry(row)

    def _known(self, level: Level, window_start: datetime) -> Entry:
        stored = self._stored(level, window_start)
        if stored is None:
            raise LedgerRefused("the ledger lost what it has just stored")
        return stored

    def _stored_day(self, day_start: datetime) -> tuple[Entry, Entry] | None:
        by_sector, by_border = (self._stored(level, day_start) for level in DAY_LEVELS)
        return None if by_sector is None or by_border is None else (by_sector, by_border)

    def _known_day(self, day_start: datetime) -> tuple[Entry, Entry]:
        by_sector, by_border = (self._known(level, day_start) for level in DAY_LEVELS)
        return by_sector, by_border

    def entries(self, *, unpublished: bool = False) -> list[Entry]:
        """The stored releases of all levels in the order they were said; only those not yet published if asked."""
        only = "WHERE published = 0" if unpublished else ""
        return [_entry(row) for row in self._db.execute(f"SELECT {_ENTRY} FROM release {only} ORDER BY number")]

    def mark_published(self, entry: Entry) -> None:
        """Remember that the release has left."""
        self._db.execute("UPDATE release SET published = 1 WHERE number = ?", (entry.number,))

    def newest_window(self) -> datetime | None:
        """The newest hour that something was said of; what is older and unsaid stays unsaid."""
        newest = self._db.execute(
            "SELECT max(window_start) FROM release WHERE carrier = ? AND level = ?",
            (self.carrier, Level.ZONE_HOUR.value),
        ).fetchone()[0]
        return None if newest is None else _instant(newest)

    def entry(self, window_start: datetime, level: Level = Level.ZONE_HOUR) -> Entry | None:
        """What was said of the window at a level, or None."""
        return self._stored(level, window_start)

    def days(self) -> list[dict[str, Any]]:
        """What every token-day rests on and what it was charged: in all, and by level."""
        charges = self._charges()
        rows = self._db.execute(
            "SELECT token_day, lineage, grid_id, policy, closed_because FROM token_day ORDER BY token_day"
        )
        return [
            {
                "token_day": day,
                "lineage": lineage,
                "grid_id": grid_id,
                "policy": json.loads(policy),
                "rho_charged": float(sum(charges.get(day, {}).values(), Fraction(0))),
                "rho_by_level": {level: float(rho) for level, rho in charges.get(day, {}).items()},
                "closed_because": because,
            }
            for day, lineage, grid_id, policy, because in rows
        ]

    def forget_manifests(self, day_start: datetime) -> None:
        """Drop the file manifests of a token-day whose tables are deleted."""
        self._db.execute("UPDATE closed_hour SET manifest = '{}' WHERE token_day = ?", (format_utc(day_start),))

    def chain(self) -> list[Link]:
        """Every entry of the chain, oldest first: public facts only."""
        rows = self._db.execute("SELECT number, document, digest, link FROM chain ORDER BY number")
        return [Link(number, json.loads(document), digest, link) for number, document, digest, link in rows]

    def contents(self) -> Contents:
        """All that the ledger holds, as plain values; noisy values included, so it stays inside."""
        charges = self._charges()
        days = self._db.execute("SELECT token_day, lineage, grid_id, policy, zones, closed_because FROM token_day")
        releases = self._db.execute(
            "SELECT level, window_start, token_day, noisy, sums, document, digest FROM release ORDER BY number"
        )
        return Contents(
            self.carrier,
            tuple(self.chain()),
            {
                day: DayRow(lineage, grid_id, policy, zones, because is not None, charges.get(day, {}))
                for day, lineage, grid_id, policy, zones, because in days
            },
            tuple(ReleaseRow(*row) for row in releases),
        )

    def verify(self) -> Verdict:
        """Re-check chain, budgets, grids, policies and every release against what was drawn."""
        return check(self.contents())


_ENTRY = "number, level, window_start, document, digest, published"


def _day_cells(day: OpenDay) -> PublicCells:
    if day.zones is None:
        raise LedgerRefused("the token-day was opened without its sectors: it has no day levels")
    return public_cells(day.zones)


def _entry(row: tuple[Any, ...]) -> Entry:
    number, level, window_start, document, digest, left = row
    return Entry(number, Level(level), _instant(window_start), json.loads(document), digest, bool(left))


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
