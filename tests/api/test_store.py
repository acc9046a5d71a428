"""Stories of the store: what is put in comes out, once, in order and in UTC."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from api.alert import Disposition, TransitionRefused
from api.store import AlertFilter, RevisionStale, Store, StoreRefused
from ingest.release import HOUR, format_utc
from tests.api.builders import (
    GRID_ID,
    MORNING,
    NOW,
    a_store,
    alert,
    every_expectation,
    expectation,
    grid_document,
    policy,
    with_releases,
)


def revisions(store: Store, after: int = 0) -> list[tuple[str, int]]:
    page = store.alerts_page(AlertFilter(), snapshot=None, after=after, limit=1000)
    return [(document["alert_id"], document["revision"]) for document in page.documents]


def test_an_instant_goes_in_with_any_offset_and_comes_out_in_utc(store: Store) -> None:
    hanoi = timezone(timedelta(hours=7))
    armed_from = datetime(2026, 3, 2, 12, 0, 0, 123456, hanoi)
    store.put_arming(
        "north",
        legal_basis="act 1",
        impact_assessment="file 1",
        armed_from=armed_from,
        expires_at=armed_from + timedelta(days=180),
    )
    (row,) = store.armings()
    assert row["armed_from"] == armed_from
    assert row["armed_from"].tzinfo is UTC


def test_a_naive_instant_is_refused(store: Store) -> None:
    with pytest.raises(Exception, match="aware"):
        store.save_expectations([expectation(window_start=MORNING.replace(tzinfo=None))])


def test_an_arming_lasts_180_days_at_most_and_names_its_basis(store: Store) -> None:
    too_long = {"armed_from": MORNING, "expires_at": MORNING + timedelta(days=180, seconds=1)}
    in_time = {"armed_from": MORNING, "expires_at": MORNING + timedelta(days=1)}
    with pytest.raises(StoreRefused, match="180"):
        store.put_arming("north", legal_basis="act 1", impact_assessment="file 1", **too_long)
    with pytest.raises(StoreRefused, match="legal basis"):
        store.put_arming("north", legal_basis=" ", impact_assessment="file 1", **in_time)


def test_a_policy_is_dated_and_never_rewritten(store: Store) -> None:
    store.put_policy(policy(), recorded_at=NOW)
    store.put_policy(policy(), recorded_at=NOW)
    later = policy(policy_version="p-2", previous="p-1", valid_from=format_utc(MORNING))
    store.put_policy(later, recorded_at=NOW)
    assert store.active_policy(MORNING - HOUR) == policy()
    assert store.active_policy(MORNING) == later
    assert store.active_policy(datetime(2020, 1, 1, tzinfo=UTC)) is None
    with pytest.raises(StoreRefused, match="rewritten"):
        store.put_policy(policy(tail_p=1e-3), recorded_at=NOW)


def test_the_bundle_that_was_put_last_serves(store: Store) -> None:
    assert store.active_bundle() is None
    store.put_bundle("m-1", {"digest": "1"}, recorded_at=NOW)
    store.put_bundle("m-2", {"digest": "2"}, recorded_at=NOW)
    assert store.active_bundle() == {"digest": "2"}
    store.put_bundle("m-1", {"digest": "1"}, recorded_at=NOW)
    assert store.active_bundle() == {"digest": "1"}


def test_the_grid_in_force_is_the_newest_that_was_valid(store: Store) -> None:
    newer = "sha256:" + "7b" * 32
    store.put_grid(grid_document(grid_id=newer, valid_from=format_utc(MORNING)))
    active, before = store.active_grid(), store.active_grid(MORNING - HOUR)
    assert active is not None
    assert before is not None
    assert (active.grid_id, before.grid_id) == (newer, GRID_ID)
    assert before.document == grid_document()
    assert store.active_grid(datetime(2020, 1, 1, tzinfo=UTC)) is None


def test_a_token_day_turns_at_the_grids_hour(store: Store) -> None:
    grid = store.active_grid()
    assert grid is not None
    assert grid.token_day_start(datetime(2026, 3, 2, 19, tzinfo=UTC)) == datetime(2026, 3, 1, 20, tzinfo=UTC)
    assert grid.token_day_start(datetime(2026, 3, 2, 20, tzinfo=UTC)) == datetime(2026, 3, 2, 20, tzinfo=UTC)


def test_a_grid_without_its_columns_is_refused_by_the_missing_key(store: Store) -> None:
    with pytest.raises(StoreRefused, match="turn_hour_utc"):
        store.put_grid({name: value for name, value in grid_document().items() if name != "turn_hour_utc"})


def test_saying_the_same_again_is_no_revision(store: Store) -> None:
    digest = with_releases(store)[0].digest
    assert len(store.save_alerts([alert(digest)], recorded_at=NOW)) == 1
    assert store.save_alerts([alert(digest, revision=7)], recorded_at=NOW + HOUR) == []
    assert revisions(store) == [("a-1", 1)]


def test_the_store_numbers_the_revisions(store: Store) -> None:
    digest = with_releases(store)[0].digest
    store.save_alerts([alert(digest, revision=40)], recorded_at=NOW)
    (written,) = store.save_alerts([alert(digest, revision=1, severity="very_high")], recorded_at=NOW)
    assert (written["revision"], written["severity"]) == (2, "very_high")
    assert revisions(store) == [("a-1", 1), ("a-1", 2)]


def test_an_alert_rests_on_releases_that_are_here(store: Store) -> None:
    with pytest.raises(StoreRefused, match="rests on releases"):
        store.save_alerts([alert("sha256:" + "00" * 32)], recorded_at=NOW)
    assert revisions(store) == []


def test_an_alert_on_a_simulated_release_is_marked_simulated(tmp_path: Path) -> None:
    from api.intake import accept_release
    from tests.api.builders import release

    store = a_store(tmp_path, lineages=("simulated",))
    sent = release(lineage="simulated-1")
    accept_release(store, sent, carrier=None, now=NOW)
    (written,) = store.save_alerts([alert(sent.digest, simulated=False)], recorded_at=NOW)
    assert written["simulated"] is True


def test_an_acknowledgement_survives_new_figures(store: Store) -> None:
    digest = with_releases(store)[0].digest
    store.save_alerts([alert(digest)], recorded_at=NOW)
    store.acknowledge_alert("a-1", revision=1, who="command", at=NOW)
    (written,) = store.save_alerts([alert(digest, severity="very_high")], recorded_at=NOW)
    assert (written["status"], written["revision"]) == ("acknowledged", 3)


def test_a_closed_alert_is_never_changed_by_the_detector(store: Store) -> None:
    digest = with_releases(store)[0].digest
    store.save_alerts([alert(digest)], recorded_at=NOW)
    store.close_alert("a-1", revision=1, disposition=Disposition.FEED_FAULT, who="command", at=NOW)
    assert store.save_alerts([alert(digest, severity="very_high")], recorded_at=NOW) == []
    assert store.open_alerts() == []


def test_an_alert_that_closed_by_itself_may_be_told_what_it_was_once(store: Store) -> None:
    digest = with_releases(store)[0].digest
    store.save_alerts([alert(digest)], recorded_at=NOW)
    store.save_alerts([alert(digest, status="closed", closed_by="system")], recorded_at=NOW)
    told = store.close_alert("a-1", revision=2, disposition=Disposition.EXPECTED_EVENT, who="command", at=NOW)
    assert (told["disposition"], told["closed_by"]) == ("expected_event", "command")
    with pytest.raises(TransitionRefused):
        store.close_alert("a-1", revision=3, disposition=Disposition.FEED_FAULT, who="command", at=NOW)


def test_of_two_desks_the_second_is_told(store: Store) -> None:
    digest = with_releases(store)[0].digest
    store.save_alerts([alert(digest)], recorded_at=NOW)
    store.acknowledge_alert("a-1", revision=1, who="command", at=NOW)
    with pytest.raises(RevisionStale):
        store.close_alert("a-1", revision=1, disposition=Disposition.UNEXPLAINED, who="command", at=NOW)


def test_a_detection_that_fails_moves_no_watermark(store: Store) -> None:
    with_releases(store)
    with pytest.raises(StoreRefused):
        store.save_detection(expectations=every_expectation(), alerts=[alert("sha256:" + "00" * 32)], recorded_at=NOW)
    assert store.watermark() is None


def test_expectations_of_the_same_hour_are_replaced(store: Store) -> None:
    store.save_expectations([expectation(state="usual")])
    store.save_expectations([expectation(state="unusual", tail_p=1e-9)])
    (row,) = store.latest_states()
    assert row["state"] == "unusual"
    assert store.watermark() == MORNING + HOUR


def test_what_is_older_than_the_retention_goes_and_numbers_are_not_given_out_again(store: Store) -> None:
    digest = with_releases(store, MORNING, MORNING - HOUR)[0].digest
    store.save_detection(expectations=every_expectation(), alerts=[alert(digest)], recorded_at=NOW)
    store.close_alert("a-1", revision=1, disposition=Disposition.UNEXPLAINED, who="command", at=NOW)
    assert sum(store.purge(now=NOW).values()) == 0
    gone = store.purge(now=MORNING + timedelta(days=730, minutes=-30))
    assert gone == {
        "zone_count": 16,
        "day_count": 0,
        "release": 2,
        "expectation": 0,
        "alert_zone": 0,
        "alert_revision": 0,
        "alert_event": 0,
        "alert": 0,
    }
    gone = store.purge(now=MORNING + timedelta(days=731))
    assert gone["release"] == 2
    assert gone["alert_revision"] == 2
    assert (revisions(store), store.newest_seq()) == ([], 2)


def test_an_open_alert_is_kept_whatever_its_age(store: Store) -> None:
    digest = with_releases(store)[0].digest
    store.save_alerts([alert(digest)], recorded_at=NOW)
    store.purge(now=MORNING + timedelta(days=3000))
    assert [document["alert_id"] for document in store.open_alerts()] == ["a-1"]


def test_the_database_is_opened_for_many_readers_and_keeps_its_keys(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    with store._read() as connection:
        told = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "foreign_keys", "busy_timeout")
        ]
    assert told == ["wal", 1, 30_000]
    with pytest.raises(StoreRefused, match="in-memory"):
        Store("sqlite://")


def test_opening_a_store_again_loses_nothing(tmp_path: Path) -> None:
    first = a_store(tmp_path)
    digest = with_releases(first)[0].digest
    first.save_alerts([alert(digest)], recorded_at=NOW)
    first.close()
    again = Store(f"sqlite:///{tmp_path / 'centre.db'}")
    assert again.newest_seq() == 1
    assert [row["carrier_id"] for row in again.carriers()] == ["carrier-a", "carrier-b"]


def test_a_database_fault_does_not_tell_its_parameters(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    with create_engine(f"sqlite:///{tmp_path / 'centre.db'}").begin() as connection:
        connection.execute(text("DROP TABLE arming"))
    with pytest.raises(Exception, match="no such table") as fault:
        store.put_arming(
            "north-sector-name",
            legal_basis="act 1",
            impact_assessment="file 1",
            armed_from=MORNING,
            expires_at=NOW,
        )
    assert "north-sector-name" not in str(fault.value)
