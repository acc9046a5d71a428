"""Who decided, and for how long."""

from dataclasses import replace
from datetime import timedelta

import pytest

from detector.policy import Arming, Policy
from tests.detector.border import START

POLICY = Policy(
    tail_p=1e-4, min_history_days=14, proposed_by="ana", approved_by="binh", reason="first", valid_from=START
)


def test_a_policy_survives_its_document() -> None:
    assert Policy.from_document(POLICY.document()) == POLICY


def test_a_changed_threshold_is_another_version() -> None:
    assert replace(POLICY, tail_p=2e-4).policy_version != POLICY.policy_version


def test_a_document_that_was_edited_is_refused() -> None:
    with pytest.raises(ValueError, match="version"):
        Policy.from_document({**POLICY.document(), "tail_p": 9e-4})


@pytest.mark.parametrize("weaker", [{"tail_p": 0.01}, {"tail_p": 0.0}, {"min_history_days": 3}, {"approved_by": "ana"}])
def test_a_weaker_policy_is_refused_at_birth(weaker: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"tail_p|min_history_days|second person"):
        replace(POLICY, **weaker)


def test_a_sector_is_armed_for_at_most_180_days() -> None:
    Arming("south", "decree", "assessment", START, START + timedelta(days=180))
    with pytest.raises(ValueError, match="180 days"):
        Arming("south", "decree", "assessment", START, START + timedelta(days=180, seconds=1))


def test_a_sector_is_not_armed_without_its_papers() -> None:
    with pytest.raises(ValueError, match="legal basis"):
        Arming("south", "decree", " ", START, START + timedelta(days=1))
