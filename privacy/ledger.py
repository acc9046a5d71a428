"""The release ledger: the carrier's memory of what it said, and the only way to say anything.

One SQLite file inside the carrier. A window is drawn, checked and stored in one transaction and published from the stored
row; a restart re-reads and never draws again. What a token-day rests on (lineage, grid, plan, policy) is fixed when it
opens; if that is lost or differs the day is closed, and nothing more is said until the next one.
"""

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from ingest.release import HOUR, Direction, Level, Release, canonical_json, format_utc, seal
from ingest.token_day import HOURS_IN_DAY, token_day_start
from privacy.policy import ReleasePolicy
from privacy.suppression import suppress

MODES = ("live", "replay")
_GENESIS = "0" * 64
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (carrier TEXT NOT NULL, mode TEXT NOT NULL, begun_at TEXT);
CREATE TABLE IF NOT EXISTS token_day (
  token_day TEXT PRIMARY KEY, lineage TEXT NOT NULL, grid_id TEXT NOT NULL, plan_digest TEXT NOT NULL,
  policy TEXT NOT NULL, cells TEXT NOT NULL, rho_charged TEXT NOT NULL DEFAULT '0', closed_because TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS closed_hour (
  hour_start TEXT NOT NULL, token_day TEXT NOT NULL REFERENCES token_day, manifest TEXT NOT NULL,
  carry_over_digest TEXT, PRIMARY KEY (token_day, hour_start)
) STRICT;
CREATE TABLE IF NOT EXISTS release (
  number INTEGER PRIMARY KEY, carrier TEXT NOT NULL, level TEXT NOT NULL, window_start TEXT NOT NULL,
  token_day TEXT NOT NULL REFERENCES token_day, noisy TEXT, document TEXT NOT NULL, digest TEXT NOT NULL,
  chain TEXT NOT NULL, published INTEGER NOT NULL DEFAULT 0, UNIQUE (carrier, level, window_start)
) STRICT;
"""


class LedgerRefused(RuntimeError):
    """The ledger does not let this be said; the message names the rule."""


class DayClosed(LedgerRefused):
    """The token-day lost what it rests on; its remaining windows go out as all null."""


class Noise(Protocol):
    """What draws: `privacy.mechanism.DiscreteGaussian`, or a test's own."""

    policy: ReleasePolicy

    @property
    def rho(self) -> float: ...

    def draw(self, counts: Sequence[int]) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored release: the only thing that is ever published for its window."""

    number: int
    window_start: datetime
    document: dict[str, Any]
    digest: str
    published: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found: how much was checked, and every rule that does not hold."""

    releases: int
    token_days: int
    faults: tuple[str, ...]


def _no_milestone(_: str) -> None:
    """Nobody watches where the process stands."""


class Ledger:
    """One carrier's ledger; raises LedgerRefused when opened for another carrier or mode than it was made for."""

    def __init__(
        self, path: Path, *, carrier: str, mode: str, milestone: Callable[[str], None] = _no_milestone
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"a ledger's mode is one of {MODES}")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.carrier, self.mode, self._milestone = carrier, mode, milestone
        self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.executescript(_SCHEMA)
        with self._transaction():
            made_for = self._db.execute("SELECT carrier, mode FROM meta").fetchone()
            if made_for is None:
                self._db.execute("INSERT INTO meta VALUES (?, ?, NULL)", (carrier, mode))
            elif made_for != (carrier, mode):
                raise LedgerRefused("this ledger was made for another carrier or mode")

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
        return datetime.fromisoformat(row[0]).astimezone(UTC)

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
    ) -> str:
        """The lineage of a token-day, made when the day is first opened; raises DayClosed or LedgerRefused.

        `lineage_on_disk` is the lineage found beside the day's sightings. Both must be new, or both the same: a ledger
        without its tables, or tables without their ledger, have lost the bound that they kept. Before the first hour is
        closed nothing was counted, so nothing can be lost. `cells` is the whole public grid in the order of its counts.
        """
        day = format_utc(day_start)
        fixed = (grid_id, plan_digest, canonical_json(policy.document()).decode(), canonical_json(cells).decode())
        with self._transaction():
            row = self._db.execute(
                "SELECT lineage, grid_id, plan_digest, policy, cells, closed_because FROM token_day WHERE token_day = ?",
                (day,),
            ).fetchone()
            if row is None:
                self._refuse_overlap(day_start)
                lineage = f"{self.mode}-{secrets.token_hex(12)}"
                lost = None if lineage_on_disk is None else "the ledger does not know the lineage of the tables"
                self._db.execute(
                    "INSERT INTO token_day VALUES (?, ?, ?, ?, ?, ?, '0', ?)", (day, lineage, *fixed, lost)
                )
            else:
                lineage, lost = row[0], row[5]
                if lost is None and row[1:5] != fixed:
                    raise LedgerRefused("zone grid, cell plan and policy change only at the turn of the token-day")
                begun = self._db.execute("SELECT 1 FROM closed_hour WHERE token_day = ? LIMIT 1", (day,)).fetchone()
                if lost is None and lineage_on_disk != lineage and (begun or lineage_on_disk is not None):
                    lost = "the tables of this token-day are gone or are others"
                    self._close_day(day, lost)
        if lost is not None:
            raise DayClosed(lost)
        return str(lineage)

    def _refuse_overlap(self, day_start: datetime) -> None:
        # Another turn hour would open a day inside a day, and a device-day could be counted in both.
        span = HOUR * HOURS_IN_DAY
        around = (format_utc(day_start - span), format_utc(day_start + span))
        if self._db.execute("SELECT 1 FROM token_day WHERE token_day > ? AND token_day < ? LIMIT 1", around).fetchone():
            raise LedgerRefused("token-days do not overlap: the turn hour of a ledger stays")

    def close_day(self, day_start: datetime, because: str) -> None:
        """Say nothing more of this token-day; the first reason stays."""
        with self._transaction():
            self._close_day(format_utc(day_start), because)

    def _close_day(self, day: str, because: str) -> None:
        self._db.execute(
            "UPDATE token_day SET closed_because = coalesce(closed_because, ?) WHERE token_day = ?", (because, day)
        )

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

    # What is said

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
        day = token_day_start(window_start, turn_hour_utc)
        with self._transaction():
            stored = self._stored(window_start)
            if stored is not None:
                return stored
            grid_id, policy, cells = self._may_speak(window_start, day, lineage)
            if len(counts) != len(cells):
                raise ValueError("counts cover the whole public grid, zeros included")
            if policy != noise.policy:
                raise LedgerRefused("the noise is not that of the policy fixed for this token-day")
            self._charge(day, Fraction(noise.rho), Fraction(policy.rho_level))
            noisy = noise.draw(counts)
            values = [suppress(value, policy.threshold) for value in noisy]
            release = self._seal(window_start, values, cells, grid_id, policy, lineage, complete)
            self._settle(format_utc(day), format_utc(window_start + HOUR), carry_over_digest)
            self._insert(window_start, day, release, noisy)
            self._milestone("before-ledger-commit")
        self._milestone("after-ledger-commit")
        stored = self._stored(window_start)
        assert stored is not None
        return stored

    def release_null(self, window_start: datetime, *, turn_hour_utc: int) -> Entry:
        """The constant release of a window that cannot be told: all null, feed incomplete. It draws and costs nothing.

        It speaks of the grid, policy and lineage that its token-day was opened with.
        """
        day = token_day_start(window_start, turn_hour_utc)
        with self._transaction():
            stored = self._stored(window_start)
            if stored is not None:
                return stored
            row = self._db.execute(
                "SELECT lineage, grid_id, policy, cells FROM token_day WHERE token_day = ?", (format_utc(day),)
            ).fetchone()
            if row is None:
                raise LedgerRefused("the token-day was never opened")
            policy, cells = ReleasePolicy(**json.loads(row[2])), json.loads(row[3])
            release = self._seal(window_start, [None] * len(cells), cells, row[1], policy, row[0], complete=False)
            self._insert(window_start, day, release, noisy=None)
        stored = self._stored(window_start)
        assert stored is not None
        return stored

    def _may_speak(
        self, window_start: datetime, day: datetime, lineage: str
    ) -> tuple[str, ReleasePolicy, list[tuple[str, str]]]:
        row = self._db.execute(
            "SELECT lineage, grid_id, policy, closed_because, cells FROM token_day WHERE token_day = ?",
            (format_utc(day),),
        ).fetchone()
        if row is None:
            raise LedgerRefused("the token-day was never opened")
        if row[3] is not None:
            raise DayClosed(row[3])
        if row[0] != lineage:
            raise LedgerRefused("the lineage is not that of the token-day")
        newest = self.newest_window()
        if newest is not None and window_start <= newest:
            raise LedgerRefused("windows are released in order; this one is older than the newest")
        return str(row[1]), ReleasePolicy(**json.loads(row[2])), json.loads(row[4])

    def _charge(self, day: datetime, cost: Fraction, granted: Fraction) -> None:
        # One measurement with the day's L2: the level is charged once a token-day, with its first window.
        if cost > granted:
            raise LedgerRefused("the level's share of the day's budget does not cover the mechanism")
        self._db.execute(
            "UPDATE token_day SET rho_charged = ? WHERE token_day = ? AND rho_charged IN ('0', ?)",
            (str(cost), format_utc(day), str(cost)),
        )
        charged = self._db.execute(
            "SELECT rho_charged FROM token_day WHERE token_day = ?", (format_utc(day),)
        ).fetchone()
        if Fraction(charged[0]) != cost:
            raise LedgerRefused("the budget of this token-day was charged for another mechanism")

    def _seal(
        self,
        window_start: datetime,
        values: Sequence[int | None],
        cells: Sequence[tuple[str, str]],
        grid_id: str,
        policy: ReleasePolicy,
        lineage: str,
        complete: bool,
    ) -> Release:
        return seal(
            {
                "carrier": self.carrier,
                "grid_id": grid_id,
                "level": Level.ZONE_HOUR.value,
                "window_start": format_utc(window_start),
                "window_end": format_utc(window_start + HOUR),
                "mechanism": policy.mechanism(),
                "lineage": lineage,
                "counts": [
                    {"zone_id": zone_id, "direction": direction, "value": value}
                    for (zone_id, direction), value in zip(cells, values, strict=True)
                ],
                "feed": {"complete": complete},
            }
        )

    def _insert(self, window_start: datetime, day: datetime, release: Release, noisy: list[int] | None) -> None:
        previous = self._db.execute("SELECT chain FROM release ORDER BY number DESC LIMIT 1").fetchone()
        chain = _link(previous[0] if previous else _GENESIS, release.digest)
        self._db.execute(
            "INSERT INTO release (carrier, level, window_start, token_day, noisy, document, digest, chain) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.carrier,
                release.level.value,
                format_utc(window_start),
                format_utc(day),
                None if noisy is None else json.dumps(noisy),
                canonical_json(release.document()).decode(),
                release.digest,
                chain,
            ),
        )

    def _stored(self, window_start: datetime) -> Entry | None:
        row = self._db.execute(
            "SELECT number, window_start, document, digest, published FROM release "
            "WHERE carrier = ? AND level = ? AND window_start = ?",
            (self.carrier, Level.ZONE_HOUR, format_utc(window_start)),
        ).fetchone()
        return None if row is None else _entry(row)

    # What was said

    def entries(self, *, unpublished: bool = False) -> list[Entry]:
        """The stored releases, oldest first; only those not yet published if asked."""
        only = "WHERE published = 0" if unpublished else ""
        rows = self._db.execute(
            f"SELECT number, window_start, document, digest, published FROM release {only} ORDER BY number"
        )
        return [_entry(row) for row in rows]

    def mark_published(self, entry: Entry) -> None:
        """Remember that the release has left."""
        self._db.execute("UPDATE release SET published = 1 WHERE number = ?", (entry.number,))

    def newest_window(self) -> datetime | None:
        """The newest window that something was said of; what is older and unsaid stays unsaid."""
        newest = self._db.execute(
            "SELECT max(window_start) FROM release WHERE carrier = ? AND level = ?", (self.carrier, Level.ZONE_HOUR)
        ).fetchone()[0]
        return None if newest is None else datetime.fromisoformat(newest).astimezone(UTC)

    def entry(self, window_start: datetime) -> Entry | None:
        """What was said of the window, or None."""
        return self._stored(window_start)

    def days(self) -> list[dict[str, Any]]:
        """What every token-day rests on and what it was charged."""
        rows = self._db.execute(
            "SELECT token_day, lineage, grid_id, policy, rho_charged, closed_because FROM token_day ORDER BY token_day"
        )
        names = ("token_day", "lineage", "grid_id", "policy", "rho_charged", "closed_because")
        return [
            {**dict(zip(names, row, strict=True)), "policy": json.loads(row[3]), "rho_charged": float(Fraction(row[4]))}
            for row in rows
        ]

    def forget_manifests(self, day_start: datetime) -> None:
        """Drop the file manifests of a token-day whose tables are deleted."""
        self._db.execute("UPDATE closed_hour SET manifest = '{}' WHERE token_day = ?", (format_utc(day_start),))

    def verify(self) -> Verdict:
        """Re-check every release against its contract, digest, chain, policy, budget and lineage."""
        faults: list[str] = []
        days = {day["token_day"]: day for day in self.days()}
        for name, day in days.items():
            if day["rho_charged"] > ReleasePolicy(**day["policy"]).rho_level:
                faults.append(f"token-day {name}: charged more than its level's share")
        chain, count = _GENESIS, 0
        rows = self._db.execute(
            "SELECT window_start, token_day, document, digest, chain, noisy FROM release ORDER BY number"
        )
        for window, day_name, document, digest, link, noisy in rows:
            count += 1
            chain = _link(chain, digest)
            if chain != link:
                faults.append(f"window {window}: the chain is broken")
                chain = link
            faults += [f"window {window}: {fault}" for fault in _faults(document, digest, noisy, days.get(day_name))]
        return Verdict(count, len(days), tuple(faults))


def _faults(document: str, digest: str, noisy: str | None, day: dict[str, Any] | None) -> list[str]:
    try:
        release = Release.model_validate_json(document)
    except ValueError:
        return ["the release breaks its contract"]
    faults = [] if release.digest == digest else ["the digest differs from the stored one"]
    if day is None:
        return [*faults, "its token-day is unknown"]
    policy = ReleasePolicy(**day["policy"])
    if (release.lineage, release.grid_id) != (day["lineage"], day["grid_id"]):
        faults.append("lineage or grid differ from those of the token-day")
    if release.mechanism.model_dump() != policy.mechanism():
        faults.append("the mechanism is not that of the policy")
    said = [count.value for count in release.counts]
    stored = [None] * len(said) if noisy is None else [suppress(value, policy.threshold) for value in json.loads(noisy)]
    if said != stored:
        faults.append("the published values are not the stored draw")
    return faults


def _link(previous: str, digest: str) -> str:
    return hashlib.sha256(f"{previous}|{digest}".encode()).hexdigest()


def _entry(row: tuple[Any, ...]) -> Entry:
    return Entry(row[0], datetime.fromisoformat(row[1]).astimezone(UTC), json.loads(row[2]), row[3], bool(row[4]))
