"""A small run of the crash points, and proof that it finds what it is there to find."""

import json
import subprocess
import sys

import pytest

from tests.campaigns import witness


def run(*words):
    """A small campaign, in a process of its own: it forks, and this one has all the threads of a test run."""
    command = [sys.executable, "-m", "tests.campaigns.crash_points", "--small", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_an_edge_that_dies_anywhere_loses_nothing_and_says_nothing_twice():
    status, report = run("--crashes", "12")
    assert report["faults"] == {}
    assert report["crashes"] >= 12
    assert status == 0


# Remove the guard and the campaign tells.
@pytest.mark.parametrize(
    ("guard", "fault"),
    [
        ("draw-again", witness.SECOND),
        ("batch-by-chance", witness.DOUBLED),
        ("commit-before-adopt", witness.LOST),
    ],
)
def test_a_guard_that_is_gone_is_missed(guard, fault):
    status, report = run("--crashes", "60", "--break", guard)
    assert report["faults"][fault] >= 1
    assert status == 1
