"""Every statement of the store also speaks PostgreSQL; no server is needed to see that."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql.dml import Insert

from api import schema
from api.alert import Disposition
from api.store import AlertFilter, CountFilter, Store, insert_once, upsert
from ingest.release import HOUR
from tests.api.builders import (
    MORNING,
    NOW,
    a_store,
    alert,
    every_expectation,
    policy,
    with_releases,
)

DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


@pytest.fixture
def spoken(tmp_path: Path) -> Iterator[tuple[Store, list[Any]]]:
    store = a_store(tmp_path)
    statements: list[Any] = []

    @event.listens_for(store._engine, "before_execute")
    def hear(_connection: Any, statement: Any, *_: Any) -> None:
        statements.append(statement)

    yield store, statements
    store.close()


def use_everything(store: Store) -> None:
    digest = with_releases(store)[0].digest
    with_releases(store)
    store.save_detection(expectations=every_expectation(), alerts=[alert(digest)], recorded_at=NOW)
    store.acknowledge_alert("a-1", revision=1, who="command", at=NOW)
    store.close_alert("a-1", revision=2, disposition=Disposition.UNEXPLAINED, who="command", at=NOW)
    asked = AlertFilter(sector_id="north", zone_id="belt-01", direction="arrival", status="open", severity="high")
    store.alerts_page(asked, snapshot=-1, after=0, limit=5)
    store.alerts_page(asked, snapshot=None, after=0, limit=5)
    counted = CountFilter(
        start=MORNING,
        end=MORNING + HOUR,
        zone_id="belt-01",
        sector_id="north",
        direction="arrival",
        carrier="carrier-a",
    )
    store.counts_page(counted, after=(MORNING, "a", "b", "c"), limit=5)
    store.expectations_page(counted, after=(MORNING, "b", "c"), limit=5)
    store.counts_rows(MORNING, MORNING + HOUR)
    store.ledger_days(carrier="carrier-a", before=(NOW, "a"), limit=5)
    store.ledger_days(carrier=None, before=None, limit=5)
    store.put_policy(policy(), recorded_at=NOW)
    store.put_bundle("m-1", {}, recorded_at=NOW)
    store.put_arming("north", legal_basis="act", impact_assessment="file", armed_from=MORNING, expires_at=NOW)
    for ask in (
        store.carriers, store.active_grid, store.incidents, store.newest_window_start, store.open_alerts,
        store.newest_seq, store.detections, store.watermark, store.coverage, store.latest_states, store.armings,
        store.active_bundle,
    ):  # fmt: skip
        ask()
    store.active_policy(NOW)
    store.alert_history("a-1")
    store.alerts_ending_after(MORNING)
    store.purge(now=NOW)


def test_every_statement_compiles_for_postgresql(spoken: tuple[Store, list[Any]]) -> None:
    store, statements = spoken
    use_everything(store)
    assert len(statements) > 60
    for statement in statements:
        if not isinstance(statement, sqlite.Insert):
            assert str(statement.compile(dialect=DIALECT))


def test_only_upserts_differ_between_the_databases(spoken: tuple[Store, list[Any]]) -> None:
    store, statements = spoken
    use_everything(store)
    tables = {schema.metadata.tables[s.table.name] for s in statements if isinstance(s, sqlite.Insert)}
    assert schema.release in tables
    for table in tables:
        for spell in (upsert, insert_once):
            statement = spell(table, "postgresql")
            assert isinstance(statement, Insert)
            assert "ON CONFLICT" in str(statement.compile(dialect=DIALECT))


def test_the_tables_compile_for_postgresql() -> None:
    for table in schema.metadata.sorted_tables:
        told = str(CreateTable(table).compile(dialect=DIALECT))
        assert "DATETIME" not in told
        assert "WITHOUT ROWID" not in told
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=DIALECT))
    assert "TIMESTAMP WITH TIME ZONE" in str(CreateTable(schema.release).compile(dialect=DIALECT))
