"""Thresholds move slowly, within limits, and only a second person lets more through."""

from dataclasses import replace
from datetime import timedelta

import pytest

from detector.policy import (
    CONTROL_STEP,
    LooseningRefused,
    Policy,
    controlled,
    loosened,
    not_looser,
    succeed,
)
from tests.detector.border import START

POLICY = Policy(
    tail_p=1e-3,
    min_history_days=14,
    proposed_by="ana",
    approved_by="binh",
    reason="trained",
    valid_from=START,
    least_rarity=1.0,
    sector_rarity={"north": 1.2, "south": 0.9},
)


def after_a_month(false, *, approved_by=None, policy=POLICY):
    return controlled(
        policy,
        POLICY,
        false,
        {"north": 50.0, "south": 50.0},
        budget=0.1,
        valid_from=START + timedelta(days=28),
        proposed_by="ana",
        approved_by=approved_by,
    )


def test_too_many_false_alerts_tighten_by_one_bounded_step():
    after = after_a_month({"north": 40.0, "south": 40.0})
    assert after.least_rarity == pytest.approx(1.0 + CONTROL_STEP)
    assert after.previous == POLICY.policy_version
    assert loosened(POLICY, after) == []


def test_the_sector_that_alerts_too_often_is_tightened_more():
    after = after_a_month({"north": 0.0, "south": 14.0})
    assert after.rarity_of("south") - 0.9 > after.rarity_of("north") - 1.2


def test_too_few_false_alerts_loosen_only_with_a_second_person():
    assert after_a_month({}) == POLICY
    after = after_a_month({}, approved_by="chi")
    assert after.least_rarity == pytest.approx(1.0 - CONTROL_STEP)
    assert succeed(POLICY, after) == after


def test_control_never_wanders_far_from_what_was_trained():
    policy = POLICY
    for _ in range(50):
        policy = after_a_month({"north": 90.0, "south": 90.0}, policy=policy)
    assert policy.least_rarity == pytest.approx(1.6)
    for _ in range(50):
        policy = after_a_month({}, policy=policy, approved_by="chi")
    assert policy.least_rarity == pytest.approx(0.7)


def test_a_short_time_concludes_nothing():
    few = {"north": 5.0, "south": 5.0}
    alone = {"budget": 0.1, "valid_from": START, "proposed_by": "ana", "approved_by": "chi"}
    assert controlled(POLICY, POLICY, {"north": 5.0}, few, **alone) == POLICY


@pytest.mark.parametrize(
    "looser",
    [
        {"least_rarity": 0.9},
        {"sector_rarity": {"north": 1.1, "south": 0.9}},
        {"sector_rarity": {"south": 0.9}},
        {"least_rarity": None, "sector_rarity": {}},
    ],
)
def test_a_loosening_names_a_second_person(looser):
    alone = replace(POLICY, approved_by=None, **looser)
    with pytest.raises(LooseningRefused, match="second person"):
        succeed(POLICY, alone)
    assert succeed(POLICY, replace(alone, approved_by="chi")).approved_by == "chi"


def test_a_tightening_stands_alone():
    tighter = replace(POLICY, approved_by=None, least_rarity=1.3, sector_rarity={"north": 1.3, "south": 1.3})
    assert succeed(POLICY, tighter) == tighter


def test_a_training_without_a_second_person_is_made_no_looser():
    proposed = replace(POLICY, approved_by=None, least_rarity=0.5, sector_rarity={"north": 1.5})
    kept = not_looser(POLICY, proposed)
    assert (kept.least_rarity, kept.rarity_of("north"), kept.rarity_of("south")) == (1.0, 1.5, 0.9)
    assert loosened(POLICY, kept) == []


def test_a_least_rarity_below_one_alert_a_zone_month_is_refused():
    with pytest.raises(ValueError, match="rarity"):
        replace(POLICY, least_rarity=-0.1)
    with pytest.raises(ValueError, match="rarity"):
        replace(POLICY, sector_rarity={"north": float("nan")})


def test_a_policy_with_rarities_survives_its_document_and_an_older_one_is_read():
    assert Policy.from_document(POLICY.document()) == POLICY
    older = replace(POLICY, least_rarity=None, sector_rarity={}).document()
    assert "least_rarity" not in older
    assert Policy.from_document(older).rarity_of("north") is None
