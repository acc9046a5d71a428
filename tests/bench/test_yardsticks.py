"""What the bench measures with is itself right: made-up hours, costs, the exponent, the textbook job's rules."""

import subprocess
import sys
from collections import Counter, defaultdict
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from bench.growth import exponent
from bench.machine import Processes, measured
from bench.streaming_state import Counts, TokenState, _plain, _settled
from bench.synthetic import SIGHTINGS_PER_TOKEN, made_up_hour
from movement.advance import HOUR_MS, SIGHTING_SCHEMA
from movement.ground import make_ground
from movement.sighting import Side

GROUND = make_ground(np.array([0, 0, 1, 2, -1], np.int32), np.array([False, False, True]), np.array([[0, 1], [2, 3]]))
START = 480_000 * HOUR_MS


def an_hour(rows=30_000, seed=5, slots=3, start=START):
    return made_up_hour(rows, GROUND, hour_start_ms=start, seed=seed, slots=slots)


def test_a_made_up_hour_holds_as_many_sightings_as_asked_for_and_none_outside_it():
    made = pl.concat(list(an_hour()))
    assert made.schema == SIGHTING_SCHEMA
    assert made.height == 30_000
    assert made["event_time"].is_between(START, START + HOUR_MS, closed="left").all()
    assert made["token"].n_unique() == pytest.approx(30_000 / SIGHTINGS_PER_TOKEN, rel=0.02)
    assert set(made["side"]) == set(map(int, Side))
    assert set(made.filter(pl.col("side") < Side.ABROAD)["cell"]) == {0, 1, 2, 3}  # never inland


def test_slots_follow_each_other_and_are_made_apart():
    hour = an_hour()
    ends = [(slot["event_time"].min(), slot["event_time"].max()) for slot in hour]
    assert all(last <= first for (_, last), (first, _) in pairwise(ends))
    assert hour.slot(2).equals(list(an_hour())[2])
    assert not hour.slot(2).equals(list(an_hour(seed=6))[2])


def test_the_tokens_of_an_hour_are_those_of_the_next_one():
    first, second = (set(pl.concat(list(an_hour(start=START + n * HOUR_MS)))["token"]) for n in (0, 1))
    assert len(first & second) > 0.9 * len(first)


def test_the_cost_of_a_child_is_counted_and_memory_is_seen():
    work = "x = bytearray(60_000_000); sum(range(20_000_000))"
    with measured() as cost:
        subprocess.run([sys.executable, "-c", work], check=True)
    assert cost.driver_cpu_s > 0.1
    assert cost.cpu_s == cost.driver_cpu_s
    assert cost.peak_rss_gb > Processes.now().rss_bytes / 1e9 + 0.04


def test_the_exponent_of_a_cost_that_grows_with_the_square_is_two():
    assert exponent([(1, 3.0), (4, 48.0), (16, 768.0)]) == 2
    assert exponent([(1, 3.0)]) is None


class Handle:
    """State and timers of every token, as the stateful operator keeps them."""

    def __init__(self):
        self.values, self.timers, self.key = {}, defaultdict(set), None

    def getValueState(self, name, schema):  # noqa: N802
        return SimpleNamespace(get=lambda: self.values.get(self.key), update=self._update)

    def _update(self, value):
        self.values[self.key] = value

    def registerTimer(self, at):  # noqa: N802
        self.timers[self.key].add(at)


def test_the_textbook_job_counts_what_the_close_counts():
    hour, handle = an_hour(), Handle()
    job = TokenState(_plain(GROUND), START, 2)
    job.init(handle)
    for batch in hour:
        for (token,), rows in batch.partition_by("token", as_dict=True).items():
            handle.key = token
            seen = (SimpleNamespace(**row) for row in rows.to_dicts())
            assert not list(job.handleInputRows((token,), seen, None))
    counts: Counts = Counter()
    for token, timers in handle.timers.items():
        handle.key = token
        for _ in timers:
            counts.update({(row.zone, row.direction): 1 for row in job.handleExpiredTimer((token,), None, None)})
    settled = _settled(list(hour), GROUND, START, 2)
    assert counts == {(zone, direction): count for zone, direction, count in settled.iter_rows()}
    assert 0 < len(handle.timers) < len(handle.values) / 5
