"""The register of known crowds and the slow control of thresholds, on a real store."""

from datetime import UTC, datetime, timedelta

import pytest

from api.store import Store
from detector.policy import Policy
from detector.register import EventRefused
from geofence.grid import read_zone_grid
from jobs.centre import CentreNotReady, adjust_policy, register_event
from tests.jobs.border import FIXTURES

START = datetime(2026, 3, 1, 2, tzinfo=UTC)
NOW = START + timedelta(days=60)
POLICY = Policy(
    tail_p=1e-3,
    min_history_days=14,
    proposed_by="ana",
    approved_by="binh",
    reason="trained",
    valid_from=START,
    least_rarity=1.0,
)


@pytest.fixture
def grid():
    return read_zone_grid(FIXTURES / "network_a_zones.geojson", turn_hour_utc=2, valid_from=START)


@pytest.fixture
def store(tmp_path, grid):
    store = Store(f"sqlite:///{tmp_path / 'centre.sqlite'}")
    store.put_grid(grid.document)
    yield store
    store.close()


def register(store, sector_id, **changes):
    said = {
        "zone_ids": (),
        "starts_at": NOW,
        "ends_at": NOW + timedelta(days=1),
        "kind": "festival",
        "registered_by": "planner",
        "reason": "boat race",
        "now": NOW,
    }
    return register_event(store, sector_id=sector_id, **{**said, **changes})


def test_a_registered_event_is_kept_as_it_was_said_and_by_whom(store, grid):
    sector = grid.zones[0].sector_id
    said = register(store, sector)
    assert register(store, sector) == said
    (event,) = store.events_ending_after(NOW)
    assert event.document() == said
    assert (event.registered_by, event.registered_at) == ("planner", NOW)
    assert store.events_ending_after(NOW + timedelta(days=2)) == []


def test_an_event_of_an_unknown_place_or_kind_is_refused(store, grid):
    sector = grid.zones[0].sector_id
    for sector_id, changes in (("nowhere", {}), (sector, {"zone_ids": ("nowhere",)}), (sector, {"kind": "war"})):
        with pytest.raises(EventRefused):
            register(store, sector_id, **changes)
    assert store.events_ending_after(START) == []


def judged(store, grid, *, days):
    belts = [zone for zone in grid.zones if zone.kind == "belt"]
    store.save_expectations(
        {
            "zone_id": zone.zone_id,
            "direction": direction,
            "window_start": NOW - timedelta(hours=hour),
            "state": "usual",
            "model_version": "m-1",
            "policy_version": POLICY.policy_version,
        }
        for zone in belts
        for direction in ("arrival", "departure")
        for hour in range(1, 24 * days + 1)
    )
    return len(belts) * 24 * days / 730.5


def test_a_month_without_false_alerts_loosens_only_with_a_second_person(store, grid):
    store.put_policy(POLICY.document(), recorded_at=START)
    months = judged(store, grid, days=28)
    budget = 5.0 / months  # five alerts were due
    alone = adjust_policy(store, proposed_by="ana", approved_by=None, now=NOW, budget=budget)
    assert sum(alone["zone_months"].values()) == pytest.approx(months)
    assert alone["changed"] is False
    both = adjust_policy(store, proposed_by="ana", approved_by="binh", now=NOW, budget=budget)
    assert both["changed"] is True
    in_force = Policy.from_document(store.active_policy(NOW))
    assert 0.8 < in_force.least_rarity < 1.0
    assert (in_force.previous, in_force.approved_by) == (POLICY.policy_version, "binh")
    # One step a week.
    soon = adjust_policy(store, proposed_by="ana", approved_by="binh", now=NOW + timedelta(days=3), budget=budget)
    assert soon["changed"] is False


def test_there_is_nothing_to_control_before_a_training(store):
    with pytest.raises(CentreNotReady, match="train"):
        adjust_policy(store, proposed_by="ana", approved_by=None, now=NOW)
