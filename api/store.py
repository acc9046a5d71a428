"""The centre's store: what carriers released, what the detector said of it, and who did what about it.

One code path for SQLite (the default, WAL) and PostgreSQL; what differs between them is in `_open`, `_insert` and
`_begin`. Plain values go in and out: columns as lists, documents as dictionaries.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    and_,
    create_engine,
    delete,
    event,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from api import schema
from api.alert import Alert, AlertStatus, Disposition, acknowledged, closed, revised
from detector.expand import MarketFactor
from detector.policy import HOURS_PER_MONTH
from detector.register import RegisteredEvent
from ingest.release import HOUR, Count, Direction, Level, Release, SectorCount, ZoneCount

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

DAY = timedelta(days=1)
RETENTION = timedelta(days=730)
LIVE = frozenset({"live"})
_REVISIONS = "alert_revision"
_DETECTIONS = "detection"
_BUSY_MS = 30_000
_JUDGED = ("usual", "unusual", "unusual_drop", "below_threshold")

_COUNT_COLUMNS = (
    "carrier",
    "zone_id",
    "sector_id",
    "kind",
    "direction",
    "window_start",
    "value",
    "sigma",
    "threshold",
    "feed_complete",
    "release_digest",
)

_FACTOR = ("carrier", "valid_from", "factor", "factor_sd", "proposed_by", "approved_by", "reason")

Document = dict[str, Any]
Columns = dict[str, list[Any]]


StoreFault = SQLAlchemyError
"""What the database raises when it does not answer."""


class StoreRefused(ValueError):
    """What was handed to the store breaks one of its rules; the message names the rule."""


class AlertUnknown(LookupError):
    """No alert has this id."""


class RevisionStale(ValueError):
    """Someone else changed the alert first."""


@dataclass(frozen=True, slots=True)
class ZoneGridRecord:
    """A stored zone grid: what intake needs of it, and its GeoJSON document."""

    grid_id: str
    valid_from: datetime
    turn_hour_utc: int
    document: Document

    def cells(self, level: Level) -> frozenset[tuple[str, ...]]:
        """What a release of this level speaks of: every cell of the grid, empty or not."""
        zones = [feature["properties"] for feature in self.document["features"]]
        keys = {
            Level.ZONE_HOUR: ("zone_id",),
            Level.SECTOR_DAY: ("sector_id", "kind"),
            Level.BORDER_DAY: ("kind",),
        }[level]
        places = {tuple(str(zone[key]) for key in keys) for zone in zones}
        return frozenset((*place, direction.value) for place in places for direction in Direction)

    def token_day_start(self, at: datetime) -> datetime:
        """When the token-day that holds this instant began."""
        turn = at.astimezone(UTC).replace(hour=self.turn_hour_utc, minute=0, second=0, microsecond=0)
        return turn if turn <= at else turn - DAY


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of one release: kept now, known already, or at odds with the one that was first."""

    outcome: Literal["accepted", "same_digest", "other_digest"]
    digest: str
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFilter:
    """Which alerts are asked for; None asks for all."""

    sector_id: str | None = None
    zone_id: str | None = None
    direction: str | None = None
    status: str | None = None
    severity: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountFilter:
    """Which counts or expectations are asked for; None asks for all, times are half open."""

    start: datetime
    end: datetime
    zone_id: str | None = None
    sector_id: str | None = None
    direction: str | None = None
    carrier: str | None = None


@dataclass(frozen=True, slots=True)
class AlertPage:
    """Some alerts in the order of their sequence numbers, and how far the log reached when they were read."""

    documents: tuple[Document, ...]
    last_seq: int
    newest_seq: int
    more: bool


@dataclass(frozen=True, slots=True)
class CoverageRecord:
    """Who should have spoken of a window, and who did."""

    window_start: datetime | None
    expected: tuple[str, ...]
    present: tuple[str, ...]
    incomplete: tuple[str, ...]
    simulated: bool


def _open(url: URL) -> Engine:
    """An engine whose SQLite connections keep their transactions to themselves.

    The Python driver's own implicit BEGIN comes too late for a read-then-write, so it is switched off and `_begin`
    says when. Parameters stay out of error messages.
    """
    engine = create_engine(url, hide_parameters=True)
    if engine.dialect.name == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise StoreRefused("an in-memory database has no second reader; name a file")

        @event.listens_for(engine, "connect")
        def _set_up(connection: Any, _record: object) -> None:
            connection.isolation_level = None
            for pragma in (
                f"busy_timeout={_BUSY_MS}",
                "journal_mode=WAL",
                "foreign_keys=ON",
                "synchronous=FULL",
                "cache_size=-65536",
                "temp_store=MEMORY",
            ):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            writes = connection.get_execution_options().get("writes", False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _insert(table: Table, dialect: str) -> "sqlite.Insert | postgresql.Insert":
    """The dialect's own INSERT, which knows ON CONFLICT."""
    if dialect == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


def upsert(table: Table, dialect: str) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT that replaces the row with the same primary key."""
    statement = _insert(table, dialect)
    keys = [column.name for column in table.primary_key]
    values = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=values)


def insert_once(table: Table, dialect: str) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT that leaves a row with the same primary key as it is."""
    return _insert(table, dialect).on_conflict_do_nothing(index_elements=list(table.primary_key))


def _load(document: str) -> Document:
    loaded: Document = json.loads(document)
    return loaded


def _dump(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, sort_keys=True, allow_nan=False)


def _count_row(count: Count) -> Document:
    row: Document = {"direction": count.direction.value, "value": count.value}
    if isinstance(count, ZoneCount):
        return row | {"zone_id": count.zone_id}
    sector_id = count.sector_id if isinstance(count, SectorCount) else ""
    return row | {"sector_id": sector_id, "kind": count.kind, "sigma": count.sigma}


class Store:
    """The tables of the centre behind named acts; every writing act is one transaction.

    `accept_lineages` says which releases this store is for: `live` alone, or also `replay` and `simulated`.
    """

    def __init__(self, url: str, *, accept_lineages: Iterable[str] = LIVE) -> None:
        self.accept_lineages = frozenset(accept_lineages)
        if not self.accept_lineages <= {"live", "replay", "simulated"}:
            raise StoreRefused("accept_lineages holds live, replay or simulated")
        self._engine = _open(make_url(url))
        self._dialect = self._engine.dialect.name
        with self._write() as connection:
            schema.metadata.create_all(connection)
            counters = [{"name": name, "value": 0} for name in (_REVISIONS, _DETECTIONS)]
            connection.execute(insert_once(schema.counter, self._dialect), counters)

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with self._engine.connect() as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Let go of every connection."""
        self._engine.dispose()

    # Carriers and grids.

    def put_carrier(self, carrier_id: str, name: str, *, share: float | None = None, active: bool = True) -> None:
        """Record a carrier; an active one is expected to speak of every window."""
        if share is not None and not 0 < share <= 1:
            raise StoreRefused("a carrier's share lies in (0, 1]")
        row = {"carrier_id": carrier_id, "name": name, "share": share, "active": active}
        with self._write() as connection:
            connection.execute(upsert(schema.carrier, self._dialect), row)

    def carriers(self) -> list[Document]:
        """The active carriers by id: `carrier_id, name, share`."""
        table = schema.carrier.c
        statement = select(table.carrier_id, table.name, table.share).where(table.active).order_by(table.carrier_id)
        with self._read() as connection:
            return [dict(row._mapping) for row in connection.execute(statement)]

    def put_grid(self, document: Mapping[str, Any]) -> None:
        """Record a zone grid, in force from its `valid_from`; one with the same `valid_from` goes out of force."""
        try:
            grid = {
                "grid_id": document["grid_id"],
                "valid_from": datetime.fromisoformat(document["valid_from"]),
                "turn_hour_utc": document["turn_hour_utc"],
                "document": _dump(document),
                "active": True,
            }
            zones = [
                {"grid_id": document["grid_id"]}
                | {key: feature["properties"][key] for key in ("zone_id", "sector_id", "kind", "name")}
                for feature in document["features"]
            ]
        except KeyError as missing:
            raise StoreRefused(f"a zone grid document has the key {missing}") from None
        if grid["valid_from"].tzinfo is None:
            raise StoreRefused("a zone grid's valid_from has an offset")
        table = schema.zone_grid
        with self._write() as connection:
            connection.execute(update(table).where(table.c.valid_from == grid["valid_from"]).values(active=False))
            connection.execute(upsert(table, self._dialect), grid)
            connection.execute(upsert(schema.zone, self._dialect), zones)

    def grids(self) -> list[ZoneGridRecord]:
        """The zone grids in force, past ones included, oldest first."""
        grid = schema.zone_grid.c
        with self._read() as connection:
            rows = connection.execute(select(schema.zone_grid).where(grid.active).order_by(grid.valid_from)).all()
        return [ZoneGridRecord(row.grid_id, row.valid_from, row.turn_hour_utc, _load(row.document)) for row in rows]

    def active_grid(self, at: datetime | None = None) -> ZoneGridRecord | None:
        """The zone grid in force at an instant; without one, the newest."""
        return grid_in_force(self.grids(), at)

    # Releases and counts.

    def accept(self, releases: Sequence[tuple[Release, ZoneGridRecord, bool]], *, now: datetime) -> list[Stored]:
        """Keep releases that passed the door, each with its grid and whether it is simulated; what became of each.

        One transaction: every release goes in whole. One whose window is known already changes nothing, and with
        another digest leaves an incident behind.
        """
        with self._write() as connection:
            return [self._accept_one(connection, *release, now) for release in releases]

    def _accept_one(
        self, connection: Connection, release: Release, grid: ZoneGridRecord, simulated: bool, now: datetime
    ) -> Stored:
        key = {"carrier": release.carrier, "level": release.level.value, "window_start": release.window_start}
        mechanism = release.mechanism
        row = key | {
            "window_end": release.window_end,
            "token_day_start": grid.token_day_start(release.window_start),
            "grid_id": release.grid_id,
            "digest": release.digest,
            "lineage": release.lineage,
            "sigma": mechanism.sigma,
            "noise_sigma": mechanism.drawn_sigma,
            "threshold": mechanism.threshold,
            "rho_day": mechanism.rho_day,
            "rho_level": mechanism.rho_level,
            "delta": mechanism.delta,
            "k": mechanism.k,
            "policy_id": mechanism.policy_id,
            "feed_complete": release.feed.complete,
            "simulated": simulated,
            "cells": len(release.counts),
            "suppressed": sum(count.value is None for count in release.counts),
            "received_at": now,
        }
        if connection.execute(insert_once(schema.release, self._dialect), row).rowcount:
            counts = schema.zone_count if release.level is Level.ZONE_HOUR else schema.day_count
            connection.execute(counts.insert(), [key | _count_row(count) for count in release.counts])
            return Stored("accepted", release.digest, now)
        table = schema.release.c
        first = connection.execute(
            select(table.digest, table.received_at).where(
                table.carrier == key["carrier"], table.level == key["level"], table.window_start == key["window_start"]
            )
        ).one()
        if first.digest == release.digest:
            return Stored("same_digest", first.digest, first.received_at)
        connection.execute(
            schema.incident.insert(),
            key | {"at": now, "kind": "second_digest", "kept_digest": first.digest, "refused_digest": release.digest},
        )
        return Stored("other_digest", first.digest, first.received_at)

    def incidents(self) -> list[Document]:
        """Every incident, oldest first."""
        with self._read() as connection:
            rows = connection.execute(select(schema.incident).order_by(schema.incident.c.incident_id))
            return [dict(row._mapping) for row in rows]

    def counts_rows(self, start: datetime, end: datetime, *, level: Level = Level.ZONE_HOUR) -> Columns:
        """The counts of all carriers whose windows start in [start, end), as equally long columns.

        `carrier, zone_id, sector_id, kind, direction, window_start, value (None: suppressed), sigma, threshold,
        feed_complete, release_digest`, ordered by window, carrier, zone and direction. Equal values share one object,
        so a million rows stay small.
        """
        release, count, zone = schema.release.c, schema.zone_count.c, schema.zone.c
        columns: Columns = {name: [] for name in _COUNT_COLUMNS}
        spoken = select(
            release.window_start,
            release.carrier,
            release.grid_id,
            release.sigma,
            release.threshold,
            release.feed_complete,
            release.digest,
        ).where(release.level == level.value, release.window_start >= start, release.window_start < end)
        cells = (
            select(count.window_start, count.carrier, count.zone_id, count.direction, count.value)
            .where(count.level == level.value, count.window_start >= start, count.window_start < end)
            .order_by(count.window_start, count.carrier, count.zone_id, count.direction)
        )
        with self._read() as connection:
            places = {
                (row[0], row[1]): tuple(row[1:])
                for row in connection.execute(select(zone.grid_id, zone.zone_id, zone.sector_id, zone.kind))
            }
            releases = {(row[0], row[1]): tuple(row) for row in connection.execute(spoken)}
            directions = {direction.value: direction.value for direction in Direction}
            for part in connection.execute(cells).partitions(50_000):
                windows, carriers, zone_ids, across, values = zip(*part, strict=True)
                said = [releases[key] for key in zip(windows, carriers, strict=True)]
                placed = [places[one[2], zone_id] for one, zone_id in zip(said, zone_ids, strict=True)]
                shared = (
                    [one[1] for one in said],
                    [place[0] for place in placed],
                    [place[1] for place in placed],
                    [place[2] for place in placed],
                    [directions[direction] for direction in across],
                    windows,
                    values,
                    [one[3] for one in said],
                    [one[4] for one in said],
                    [one[5] for one in said],
                    [one[6] for one in said],
                )
                for column, more in zip(columns.values(), shared, strict=True):
                    column += more
        return columns

    def counts_page(
        self, asked: CountFilter, *, after: tuple[datetime, str, str, str] | None, limit: int
    ) -> list[Document]:
        """At most `limit` published counts after a place in the order (window, carrier, zone, direction)."""
        with self._read() as connection:
            return [dict(row._mapping) for row in connection.execute(counts_statement(asked, after, limit))]

    def day_counts(self, level: Level, start: datetime, end: datetime) -> list[Document]:
        """What carriers published of the token-days that begin in [start, end), by day, carrier, sector, kind, direction.

        `window_start, carrier, level, sector_id` (empty for the whole border)`, kind, direction, value, sigma`.
        """
        table = schema.day_count
        statement = (
            select(table)
            .where(table.c.level == level.value, table.c.window_start >= start, table.c.window_start < end)
            .order_by(*(table.c[name] for name in ("window_start", "carrier", "sector_id", "kind", "direction")))
        )
        with self._read() as connection:
            return [dict(row._mapping) for row in connection.execute(statement)]

    def day_counts_page(
        self, level: Level, asked: CountFilter, *, after: tuple[datetime, str, str, str, str] | None, limit: int | None
    ) -> list[Document]:
        """At most `limit` counts of a day level after a place in the order (day, carrier, sector, kind, direction)."""
        with self._read() as connection:
            statement = day_counts_statement(level, asked, after, limit)
            return [dict(row._mapping) for row in connection.execute(statement)]

    def newest_window_start(self, level: Level = Level.ZONE_HOUR) -> datetime | None:
        """When the newest window of a level that any carrier spoke of began."""
        table = schema.release.c
        statement = select(func.max(table.window_start)).where(table.level == level.value)
        with self._read() as connection:
            newest: datetime | None = connection.execute(statement).scalar_one()
            return newest

    def digests_told(self, carrier: str) -> dict[tuple[str, datetime], str]:
        """The digest of every release that a carrier's windows stand with here, by level and window."""
        table = schema.release.c
        statement = select(table.level, table.window_start, table.digest).where(table.carrier == carrier)
        with self._read() as connection:
            return {(row.level, row.window_start): row.digest for row in connection.execute(statement)}

    # Market factors.

    def put_factor(self, factor: MarketFactor, *, recorded_at: datetime) -> None:
        """Record a market factor, in force from its date; once recorded it is never rewritten, only followed."""
        table = schema.market_factor
        row = {name: getattr(factor, name) for name in _FACTOR}
        with self._write() as connection:
            if connection.execute(insert_once(table, self._dialect), row | {"recorded_at": recorded_at}).rowcount:
                return
            same = and_(table.c.carrier == factor.carrier, table.c.valid_from == factor.valid_from)
            known = connection.execute(select(*(table.c[name] for name in _FACTOR)).where(same)).one()
            if dict(known._mapping) != row:
                raise StoreRefused("a market factor is never rewritten: record the next one, valid from a later date")

    def factors(self) -> list[MarketFactor]:
        """Every market factor, by carrier and date."""
        table = schema.market_factor.c
        statement = select(*(table[name] for name in _FACTOR)).order_by(table.carrier, table.valid_from)
        with self._read() as connection:
            return [MarketFactor(**row._mapping) for row in connection.execute(statement)]

    # Expectations, alerts and what they rest on.

    def save_detection(
        self,
        *,
        expectations: Iterable[Mapping[str, Any]],
        alerts: Iterable[Mapping[str, Any]],
        recorded_at: datetime,
    ) -> list[Document]:
        """Record one detection run whole; gives the alert revisions that are new.

        One transaction, so the watermark never passes a window whose alerts are not there yet.
        """
        with self._write() as connection:
            self._write_expectations(connection, expectations)
            return self._write_alerts(connection, alerts, recorded_at)

    def save_expectations(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Record expectations, replacing those of the same zone, direction and window.

        Moves the watermark: with alerts at hand use `save_detection`.
        """
        with self._write() as connection:
            self._write_expectations(connection, rows)

    def save_alerts(self, documents: Iterable[Mapping[str, Any]], *, recorded_at: datetime) -> list[Document]:
        """Record the alerts that say something new, each as the next revision; gives those revisions.

        The store numbers the revisions, whatever number a document holds, and refuses an alert that rests on releases
        it does not have. A closed alert is never changed.
        """
        with self._write() as connection:
            return self._write_alerts(connection, documents, recorded_at)

    def _write_expectations(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        names = [column.name for column in schema.expectation.columns]
        batch = [{name: row.get(name) for name in names} for row in rows]
        if batch:
            connection.execute(upsert(schema.expectation, self._dialect), batch)
            _count_up(connection, _DETECTIONS)

    def _write_alerts(
        self, connection: Connection, documents: Iterable[Mapping[str, Any]], recorded_at: datetime
    ) -> list[Document]:
        _counter(connection, _REVISIONS, lock=True)  # one writer at a time, on both databases
        written = []
        for document in documents:
            detected = self._resting(connection, Alert.model_validate(document))
            current = self._alert(connection, detected.alert_id)
            if current is None:
                alert = detected.model_copy(update={"revision": 1, "disposition": None})
                written.append(self._write_revision(connection, alert, recorded_at, "detector", "opened"))
                continue
            alert = revised(current, detected)
            if alert != current:
                act = "closed" if alert.status is AlertStatus.CLOSED else "revised"
                written.append(self._write_revision(connection, _next(alert), recorded_at, "detector", act))
        return written

    def _resting(self, connection: Connection, alert: Alert) -> Alert:
        """The alert, if the releases it rests on are here; simulated if one of them is."""
        release = schema.release.c
        digests = set(alert.release_digests)
        rows = connection.execute(select(release.digest, release.simulated).where(release.digest.in_(digests))).all()
        if {row.digest for row in rows} != digests:
            raise StoreRefused("an alert rests on releases of this store")
        return alert.model_copy(update={"simulated": alert.simulated or any(row.simulated for row in rows)})

    def _alert(self, connection: Connection, alert_id: str) -> Alert | None:
        statement = select(schema.alert.c.document).where(schema.alert.c.alert_id == alert_id)
        document = connection.execute(statement).scalar_one_or_none()
        return None if document is None else Alert.model_validate_json(document)

    def _write_revision(
        self,
        connection: Connection,
        alert: Alert,
        recorded_at: datetime,
        who: str,
        act: str,
    ) -> Document:
        document = alert.document()
        seq = _count_up(connection, _REVISIONS)
        shared = {
            "alert_id": alert.alert_id,
            "seq": seq,
            "revision": alert.revision,
            "document": _dump(document),
            "status": alert.status.value,
            "sector_id": alert.sector_id,
            "direction": alert.direction.value,
            "severity": alert.severity.value,
        }
        window = {"window_start": alert.window_start, "window_end": alert.window_end}
        connection.execute(upsert(schema.alert, self._dialect), shared | window)
        connection.execute(schema.alert_revision.insert(), shared | {"recorded_at": recorded_at})
        connection.execute(schema.alert_zone.insert(), [{"seq": seq, "zone_id": zone_id} for zone_id in alert.zone_ids])
        connection.execute(
            schema.alert_event.insert(),
            {
                "alert_id": alert.alert_id,
                "revision": alert.revision,
                "at": recorded_at,
                "who": who,
                "act": act,
                "disposition": alert.disposition and alert.disposition.value,
            },
        )
        return document

    def acknowledge_alert(self, alert_id: str, *, revision: int, who: str, at: datetime) -> Document:
        """The alert after a desk took note of it.

        Raises AlertUnknown, RevisionStale (someone was first) or TransitionRefused.
        """
        with self._write() as connection:
            alert = acknowledged(self._at_revision(connection, alert_id, revision))
            return self._write_revision(connection, _next(alert), at, who, "acknowledged")

    def close_alert(
        self, alert_id: str, *, revision: int, disposition: Disposition, who: str, at: datetime
    ) -> Document:
        """The alert after it was given its disposition. Raises as `acknowledge_alert` does."""
        with self._write() as connection:
            alert = closed(self._at_revision(connection, alert_id, revision), disposition, who)
            return self._write_revision(connection, _next(alert), at, who, "closed")

    def _at_revision(self, connection: Connection, alert_id: str, revision: int) -> Alert:
        _counter(connection, _REVISIONS, lock=True)
        alert = self._alert(connection, alert_id)
        if alert is None:
            raise AlertUnknown("no alert has this id")
        if alert.revision != revision:
            raise RevisionStale("the alert has a newer revision")
        return alert

    def open_alerts(self) -> list[Document]:
        """The alerts that are not closed, newest windows first."""
        table = schema.alert.c
        statement = (
            select(table.document)
            .where(table.status != AlertStatus.CLOSED.value)
            .order_by(table.window_end.desc(), table.alert_id)
        )
        with self._read() as connection:
            return [_load(document) for document in connection.execute(statement).scalars()]

    def alerts_ending_after(self, at: datetime) -> list[Document]:
        """The alerts, closed ones included, whose windows end after an instant, oldest windows first."""
        table = schema.alert.c
        statement = select(table.document).where(table.window_end > at).order_by(table.window_start, table.alert_id)
        with self._read() as connection:
            return [_load(document) for document in connection.execute(statement).scalars()]

    def alert_history(self, alert_id: str) -> tuple[Document, list[Document]]:
        """An alert as it stands, and who did what to it when; raises AlertUnknown."""
        alert, happened = schema.alert.c, schema.alert_event.c
        with self._read() as connection:
            document = connection.execute(select(alert.document).where(alert.alert_id == alert_id)).scalar_one_or_none()
            if document is None:
                raise AlertUnknown("no alert has this id")
            rows = connection.execute(
                select(happened.revision, happened.at, happened.who, happened.act, happened.disposition)
                .where(happened.alert_id == alert_id)
                .order_by(happened.revision)
            ).all()
        return _load(document), [dict(row._mapping) for row in rows]

    def alerts_page(self, asked: AlertFilter, *, snapshot: int | None, after: int, limit: int) -> AlertPage:
        """At most `limit` alerts past the sequence number `after`, in order.

        With a snapshot: each alert once, as it stood when the log had reached that number. Without: every revision.
        A snapshot of -1 is taken now.
        """
        with self._read() as connection:
            newest = _counter(connection, _REVISIONS)
            reached = newest if snapshot is None or snapshot < 0 else min(snapshot, newest)
            statement = alerts_statement(asked, reached, after, limit + 1, newest_only=snapshot is not None)
            rows = connection.execute(statement).all()
        shown = rows[:limit]
        return AlertPage(
            documents=tuple(_load(row.document) for row in shown),
            last_seq=shown[-1].seq if shown else after,
            newest_seq=reached,
            more=len(rows) > limit,
        )

    def newest_seq(self) -> int:
        """The sequence number of the newest alert revision."""
        with self._read() as connection:
            return _counter(connection, _REVISIONS)

    def detections(self) -> int:
        """How often expectations were recorded; changes whenever a state may have."""
        with self._read() as connection:
            return _counter(connection, _DETECTIONS)

    def watermark(self) -> datetime | None:
        """The end of the newest window that detection has looked at; None when it never ran."""
        with self._read() as connection:
            newest = connection.execute(select(func.max(schema.expectation.c.window_start))).scalar_one()
        return None if newest is None else newest + HOUR

    def coverage(self) -> CoverageRecord:
        """Who spoke of the window at the watermark; before any detection, of the newest window released."""
        release, carrier = schema.release.c, schema.carrier.c
        with self._read() as connection:
            window = connection.execute(select(func.max(schema.expectation.c.window_start))).scalar_one()
            if window is None:
                hours = select(func.max(release.window_start)).where(release.level == Level.ZONE_HOUR.value)
                window = connection.execute(hours).scalar_one()
            expected = connection.execute(
                select(carrier.carrier_id).where(carrier.active).order_by(carrier.carrier_id)
            ).scalars()
            rows = connection.execute(
                select(release.carrier, release.feed_complete, release.simulated)
                .where(release.window_start == window, release.level == Level.ZONE_HOUR.value)
                .order_by(release.carrier)
            ).all()
            return CoverageRecord(
                window_start=window,
                expected=tuple(expected),
                present=tuple(row.carrier for row in rows),
                incomplete=tuple(row.carrier for row in rows if not row.feed_complete),
                simulated=any(row.simulated for row in rows),
            )

    def expectations_page(
        self, asked: CountFilter, *, after: tuple[datetime, str, str] | None, limit: int
    ) -> list[Document]:
        """At most `limit` expectations after a place in the order (window, zone, direction)."""
        with self._read() as connection:
            return [dict(row._mapping) for row in connection.execute(expectations_statement(asked, after, limit))]

    def latest_states(self) -> list[Document]:
        """The expectations of the window at the watermark."""
        table = schema.expectation
        newest = select(func.max(table.c.window_start)).scalar_subquery()
        statement = select(table).where(table.c.window_start == newest).order_by(table.c.zone_id, table.c.direction)
        with self._read() as connection:
            return [dict(row._mapping) for row in connection.execute(statement)]

    # The public ledger.

    def ledger_days(
        self,
        *,
        carrier: str | None,
        since: datetime | None = None,
        before: tuple[datetime, str] | None = None,
        limit: int,
    ) -> list[tuple[datetime, str, list[Document]]]:
        """At most `limit` pairs of token-day and carrier, newest first, each with its release rows.

        `since` leaves out token-days that began before it; `before` is the place in the order to go on from.
        """
        with self._read() as connection:
            days = connection.execute(ledger_statement(carrier, since, before, limit)).all()
            return [
                (day.token_day_start, day.carrier, self._ledger_rows(connection, day.token_day_start, day.carrier))
                for day in days
            ]

    def _ledger_rows(self, connection: Connection, token_day_start: datetime, carrier: str) -> list[Document]:
        table = schema.release
        statement = select(table).where(table.c.token_day_start == token_day_start, table.c.carrier == carrier)
        rows = [dict(row._mapping) for row in connection.execute(statement)]
        # Sorted here: asked to sort, SQLite would walk all of the carrier's releases along the primary key.
        return sorted(rows, key=lambda row: (row["level"], row["window_start"]))

    def ledger_fingerprint(self) -> tuple[int, datetime | None, int]:
        """What changes whenever the ledger may have: how many releases, when the newest came, how many incidents."""
        release, incident = schema.release.c, schema.incident.c
        with self._read() as connection:
            releases = connection.execute(select(func.count(), func.max(release.received_at))).one()
            incidents = connection.execute(select(func.count(incident.incident_id))).scalar_one()
            return releases[0], releases[1], incidents

    def incidents_by_day(self) -> dict[tuple[datetime, str], int]:
        """How often each carrier tried to say something else of a window of a token-day."""
        release, incident = schema.release, schema.incident
        same = and_(*(incident.c[name] == release.c[name] for name in ("carrier", "level", "window_start")))
        day = (release.c.token_day_start, release.c.carrier)
        statement = select(*day, func.count()).select_from(incident.join(release, same)).group_by(*day)
        with self._read() as connection:
            return {(row[0], row[1]): row[2] for row in connection.execute(statement)}

    def release_policies(self, *, carrier: str | None = None) -> list[Document]:
        """What the releases of each token-day and level state of their policy, oldest first, carriers by name.

        `carrier, token_day_start, level, policy_id, rho_day, rho_level, delta, k, sigma` (of the noise drawn) and
        `threshold`; equal statements once.
        """
        table = schema.release.c
        statement = (
            select(
                table.carrier,
                table.token_day_start,
                table.level,
                table.policy_id,
                table.rho_day,
                table.rho_level,
                table.delta,
                table.k,
                table.noise_sigma.label("sigma"),
                table.threshold,
            )
            .distinct()
            .order_by(table.carrier, table.token_day_start, table.level, table.policy_id)
        )
        if carrier is not None:
            statement = statement.where(table.carrier == carrier)
        with self._read() as connection:
            return [dict(row._mapping) for row in connection.execute(statement)]

    # Policies, armings, model bundles.

    def put_policy(self, document: Mapping[str, Any], *, recorded_at: datetime) -> None:
        """Record a thresholds policy, in force from its `valid_from`; once recorded it is never rewritten.

        The document holds `policy_version, valid_from, proposed_by, approved_by, reason, previous` and its thresholds.
        """
        row = {key: document[key] for key in ("policy_version", "proposed_by", "approved_by", "reason", "previous")}
        row |= {"valid_from": datetime.fromisoformat(document["valid_from"]), "document": _dump(document)}
        if not (row["proposed_by"] or "").strip() or not (row["reason"] or "").strip():
            raise StoreRefused("a policy names who proposed it and why")
        table = schema.policy.c
        with self._write() as connection:
            known = connection.execute(
                select(table.document).where(table.policy_version == row["policy_version"])
            ).scalar_one_or_none()
            if known is None:
                connection.execute(schema.policy.insert(), row | {"recorded_at": recorded_at})
            elif known != row["document"]:
                raise StoreRefused("a policy version is never rewritten")

    def active_policy(self, at: datetime) -> Document | None:
        """The document of the thresholds policy in force at an instant."""
        table = schema.policy.c
        statement = select(table.document).where(table.valid_from <= at).order_by(table.valid_from.desc()).limit(1)
        with self._read() as connection:
            document = connection.execute(statement).scalar_one_or_none()
        return None if document is None else _load(document)

    def policy(self, version: str) -> Document | None:
        """The document of a thresholds policy by its version."""
        table = schema.policy.c
        with self._read() as connection:
            document = connection.execute(
                select(table.document).where(table.policy_version == version)
            ).scalar_one_or_none()
        return None if document is None else _load(document)

    def judged_zone_months(self, start: datetime, end: datetime) -> dict[str, float]:
        """By sector, the zone-months from start to end in which zone-hours were judged; both directions count as one."""
        table, zone = schema.expectation.c, schema.zone.c
        grid = self.active_grid(end)
        if grid is None:
            return {}
        statement = (
            select(zone.sector_id, func.count())
            .join_from(
                schema.expectation, schema.zone, (zone.zone_id == table.zone_id) & (zone.grid_id == grid.grid_id)
            )
            .where(table.window_start >= start, table.window_start < end, table.state.in_(_JUDGED))
            .group_by(zone.sector_id)
        )
        with self._read() as connection:
            return {sector: hours / 2 / HOURS_PER_MONTH for sector, hours in connection.execute(statement)}

    def put_arming(
        self, sector_id: str, *, legal_basis: str, impact_assessment: str, armed_from: datetime, expires_at: datetime
    ) -> None:
        """Arm a sector: on a recorded legal basis and impact assessment, and for at most 180 days."""
        if not legal_basis.strip() or not impact_assessment.strip():
            raise StoreRefused("a sector is armed on a recorded legal basis and impact assessment")
        if not armed_from < expires_at <= armed_from + schema.ARMING_LIMIT:
            raise StoreRefused("an arming ends after it starts and within 180 days")
        row = {
            "sector_id": sector_id,
            "legal_basis": legal_basis,
            "impact_assessment": impact_assessment,
            "armed_from": armed_from,
            "expires_at": expires_at,
        }
        with self._write() as connection:
            connection.execute(upsert(schema.arming, self._dialect), row)

    def armings(self) -> list[Document]:
        """Every arming: `sector_id, armed_from, expires_at, legal_basis, impact_assessment`."""
        table = schema.arming
        with self._read() as connection:
            rows = connection.execute(select(table).order_by(table.c.sector_id, table.c.armed_from))
            return [dict(row._mapping) for row in rows]

    def put_event(self, event: RegisteredEvent, *, recorded_at: datetime) -> None:
        """Record a known crowd; once recorded it is never rewritten, and the same again changes nothing."""
        row = {
            "event_id": event.event_id,
            "sector_id": event.sector_id,
            "starts_at": event.starts_at,
            "ends_at": event.ends_at,
            "registered_by": event.registered_by,
            "document": _dump(event.document()),
            "recorded_at": recorded_at,
        }
        with self._write() as connection:
            connection.execute(insert_once(schema.registered_event, self._dialect), row)

    def events_ending_after(self, at: datetime) -> list[RegisteredEvent]:
        """The known crowds that end after an instant, by their start."""
        table = schema.registered_event.c
        statement = select(table.document).where(table.ends_at > at).order_by(table.starts_at, table.event_id)
        with self._read() as connection:
            rows = connection.execute(statement).scalars()
            return [RegisteredEvent.from_document(_load(row)) for row in rows]

    def put_bundle(self, version: str, record: Mapping[str, Any], *, recorded_at: datetime) -> None:
        """Record a model bundle and serve it from now on; the one before stays, to roll back to."""
        table = schema.model_bundle
        row = {"version": version, "record": _dump(record), "recorded_at": recorded_at, "active": True}
        with self._write() as connection:
            connection.execute(update(table).where(table.c.active).values(active=False))
            connection.execute(upsert(table, self._dialect), row)

    def active_bundle(self) -> Document | None:
        """The record of the model bundle that serves."""
        table = schema.model_bundle.c
        with self._read() as connection:
            record = connection.execute(select(table.record).where(table.active)).scalar_one_or_none()
        return None if record is None else _load(record)

    # Retention.

    def purge(self, *, now: datetime, retention: timedelta = RETENTION) -> dict[str, int]:
        """Delete what is older than the retention, by window; how many rows of each table went.

        Sequence numbers are never given out again, so cursors outlive the rows.
        """
        if retention <= timedelta(0):
            raise StoreRefused("retention is a positive span")
        before = now - retention
        doomed: list[tuple[Table, ColumnElement[bool]]] = [
            (schema.zone_count, schema.zone_count.c.window_start < before),
            (schema.day_count, schema.day_count.c.window_start < before),
            (schema.release, schema.release.c.window_start < before),
            (schema.expectation, schema.expectation.c.window_start < before),
        ]
        alert, revision = schema.alert.c, schema.alert_revision.c
        old = select(alert.alert_id).where(alert.window_end < before, alert.status == AlertStatus.CLOSED.value)
        old_seqs = select(revision.seq).where(revision.alert_id.in_(old))
        doomed += [
            (schema.alert_zone, schema.alert_zone.c.seq.in_(old_seqs)),
            (schema.alert_revision, revision.alert_id.in_(old)),
            (schema.alert_event, schema.alert_event.c.alert_id.in_(old)),
            (schema.alert, alert.alert_id.in_(old)),
        ]
        with self._write() as connection:
            return {table.name: connection.execute(delete(table).where(where)).rowcount for table, where in doomed}


def grid_in_force(grids: Sequence[ZoneGridRecord], at: datetime | None) -> ZoneGridRecord | None:
    """The newest of the grids that was valid at an instant; without one, the newest of all."""
    valid = [grid for grid in grids if at is None or grid.valid_from <= at]
    return max(valid, key=lambda grid: grid.valid_from, default=None)


def _count_up(connection: Connection, name: str) -> int:
    """The next number of a counter.

    Its row stays locked until commit, so numbers become visible in their order: a poller who has seen n will never be
    shown a later-coming n - 1. A bare database sequence would not do, as it is drawn before, not at, the commit.
    """
    counter = schema.counter
    drawn = update(counter).where(counter.c.name == name).values(value=counter.c.value + 1).returning(counter.c.value)
    return int(connection.execute(drawn).scalar_one())


def _counter(connection: Connection, name: str, *, lock: bool = False) -> int:
    statement = select(schema.counter.c.value).where(schema.counter.c.name == name)
    return int(connection.execute(statement.with_for_update() if lock else statement).scalar_one())


def _next(alert: Alert) -> Alert:
    return alert.model_copy(update={"revision": alert.revision + 1})


def _past(columns: Sequence[ColumnElement[Any]], place: Sequence[Any]) -> ColumnElement[bool]:
    """Rows past a place in the order of the columns; spelled out, as the databases plan row values unequally."""
    steps = [
        and_(*(column == value for column, value in zip(columns[:i], place[:i], strict=True)), columns[i] > place[i])
        for i in range(len(columns))
    ]
    return and_(columns[0] >= place[0], or_(*steps))


def alerts_statement(
    asked: AlertFilter, reached: int, after: int, limit: int, *, newest_only: bool
) -> Select[tuple[int, str]]:
    """The alert revisions in (after, reached] that match, in order; of each alert all of them or only the newest."""
    table = schema.alert_revision
    statement = select(table.c.seq, table.c.document).where(table.c.seq > after, table.c.seq <= reached)
    for name in ("sector_id", "direction", "status", "severity"):
        value = getattr(asked, name)
        if value is not None:
            statement = statement.where(table.c[name] == value)
    if asked.zone_id is not None:
        zone = schema.alert_zone.c
        statement = statement.where(exists().where(zone.seq == table.c.seq, zone.zone_id == asked.zone_id))
    if newest_only:
        later = schema.alert_revision.alias("later")
        statement = statement.where(
            ~exists().where(later.c.alert_id == table.c.alert_id, later.c.seq > table.c.seq, later.c.seq <= reached)
        )
    return statement.order_by(table.c.seq).limit(limit)


def counts_statement(asked: CountFilter, after: tuple[datetime, str, str, str] | None, limit: int) -> Select[Any]:
    """The published counts that match, ordered by window, carrier, zone and direction."""
    release, count, zone = schema.release, schema.zone_count, schema.zone
    joined = count.join(
        release,
        and_(
            release.c.carrier == count.c.carrier,
            release.c.level == count.c.level,
            release.c.window_start == count.c.window_start,
        ),
    ).join(zone, and_(zone.c.grid_id == release.c.grid_id, zone.c.zone_id == count.c.zone_id))
    order = (count.c.window_start, count.c.carrier, count.c.zone_id, count.c.direction)
    statement = (
        select(
            count.c.carrier,
            count.c.zone_id,
            zone.c.sector_id,
            zone.c.kind,
            count.c.direction,
            count.c.window_start,
            release.c.window_end,
            count.c.value,
            release.c.sigma,
            release.c.threshold,
            release.c.feed_complete,
            release.c.simulated,
            release.c.digest.label("release_digest"),
        )
        .select_from(joined)
        .where(
            count.c.level == Level.ZONE_HOUR.value,
            count.c.window_start >= asked.start,
            count.c.window_start < asked.end,
        )
    )
    for column, value in (
        (count.c.carrier, asked.carrier),
        (count.c.zone_id, asked.zone_id),
        (zone.c.sector_id, asked.sector_id),
        (count.c.direction, asked.direction),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if after is not None:
        statement = statement.where(_past(order, after))
    return statement.order_by(*order).limit(limit)


def day_counts_statement(
    level: Level, asked: CountFilter, after: tuple[datetime, str, str, str, str] | None, limit: int | None
) -> Select[Any]:
    """The published counts of a day level that match, ordered by day, carrier, sector, kind and direction."""
    release, count = schema.release, schema.day_count
    same = and_(*(count.c[name] == release.c[name] for name in ("carrier", "level", "window_start")))
    order = tuple(count.c[name] for name in ("window_start", "carrier", "sector_id", "kind", "direction"))
    statement = (
        select(
            *order,
            count.c.level,
            release.c.window_end,
            count.c.value,
            count.c.sigma,
            release.c.threshold,
            release.c.feed_complete,
            release.c.simulated,
            release.c.digest.label("release_digest"),
        )
        .select_from(count.join(release, same))
        .where(
            count.c.level == level.value,
            count.c.window_start >= asked.start,
            count.c.window_start < asked.end,
        )
    )
    for name in ("carrier", "sector_id", "direction"):
        value = getattr(asked, name)
        if value is not None:
            statement = statement.where(count.c[name] == value)
    if after is not None:
        statement = statement.where(_past(order, after))
    return statement.order_by(*order).limit(limit)


def expectations_statement(asked: CountFilter, after: tuple[datetime, str, str] | None, limit: int) -> Select[Any]:
    """The expectations that match, ordered by window, zone and direction."""
    table = schema.expectation
    order = (table.c.window_start, table.c.zone_id, table.c.direction)
    statement = select(table).where(table.c.window_start >= asked.start, table.c.window_start < asked.end)
    if asked.zone_id is not None:
        statement = statement.where(table.c.zone_id == asked.zone_id)
    if asked.direction is not None:
        statement = statement.where(table.c.direction == asked.direction)
    if asked.sector_id is not None:
        zone = schema.zone.c
        statement = statement.where(exists().where(zone.zone_id == table.c.zone_id, zone.sector_id == asked.sector_id))
    if after is not None:
        statement = statement.where(_past(order, after))
    return statement.order_by(*order).limit(limit)


def ledger_statement(
    carrier: str | None, since: datetime | None, before: tuple[datetime, str] | None, limit: int
) -> Select[tuple[datetime, str]]:
    """The token-days of each carrier, newest first, carriers by name within one."""
    table = schema.release.c
    statement = select(table.token_day_start, table.carrier).distinct()
    if carrier is not None:
        statement = statement.where(table.carrier == carrier)
    if since is not None:
        statement = statement.where(table.token_day_start >= since)
    if before is not None:
        day, name = before
        statement = statement.where(
            or_(table.token_day_start < day, and_(table.token_day_start == day, table.carrier > name))
        )
    return statement.order_by(table.token_day_start.desc(), table.carrier).limit(limit)
