"""The edge without Spark, for the stories in which Spark has no part to play."""

import pytest

import jobs.edge
from tests.jobs.one_process import OneProcess, sight_at_once


@pytest.fixture
def one_process(monkeypatch):
    """What stands in for a Spark session; new files are found by looking."""
    monkeypatch.setattr(jobs.edge, "sight", sight_at_once)
    return OneProcess()
