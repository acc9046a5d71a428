"""A small run of the kills from outside: real Spark, real processes."""

import random

import pytest

from tests.campaigns import kills

pytestmark = pytest.mark.spark


def test_a_replay_that_is_killed_while_another_driver_waits_loses_nothing(tmp_path):
    truth = kills.undisturbed(tmp_path / "calm", 60, 1)
    found = kills.files_round(tmp_path / "killed", truth, random.Random(2), 1)
    assert found["faults"] == []
    assert len(found["killed"]) == 1
    assert found["starts"] >= 2
