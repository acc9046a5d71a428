"""The simulated border against itself and against the movement rules, in small."""

from datetime import timedelta
from functools import cache

import numpy as np
import polars as pl
import pytest

import bench.simulator
from bench.simulator import Disagreement, Edge, Told, agree, booking, coarse_counts, compared, counted, fidelities, tell
from simulator.carrier_day import simulate_day
from tests.simulator.small_border import TOKEN_DAY, small_carrier, small_place

DAYS = 3


@pytest.fixture(autouse=True)
def on_a_small_border(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.simulator, "place_of", lambda _: small_place())
    monkeypatch.setattr(bench.simulator, "DAY", TOKEN_DAY)


def test_the_two_fidelities_agree() -> None:
    found = fidelities(DAYS, 0.001, ["small"], 5)
    assert found["mean_ratio"] == pytest.approx(1, abs=0.03)
    assert 0.8 <= found["variance_ratio"] <= 1.25
    assert found["zone_hours"] == DAYS * 24 * 20 * 2


def test_a_fidelity_that_sees_a_tenth_less_or_spreads_wider_does_not_agree() -> None:
    coarse = coarse_counts(small_place(), small_carrier(), TOKEN_DAY, DAYS, 5)
    points = small_place().crossing_points
    fewer = np.random.default_rng(1).binomial(coarse, 0.9)
    assert compared(fewer, coarse, points)["mean_ratio"] == pytest.approx(0.9, abs=0.01)
    mean = coarse.mean(axis=0, keepdims=True)
    wider = np.rint(mean + 1.5 * (coarse - mean)).astype(np.int64)
    assert compared(wider, coarse, points)["variance_ratio"] > 1.25


@cache
def found_of_booking() -> dict:
    return booking(0.005, ["small"], 5)


def test_movements_are_booked_where_they_were_made() -> None:
    found = found_of_booking()
    assert found["zone_right_of_counted"] >= found["targets"]["zone_right"]
    assert found["booked_to_a_crossing_point_rightly"] >= found["targets"]["booked_to_a_crossing_point_rightly"]


def test_flips_are_not_booked() -> None:
    found = found_of_booking()
    assert found["flips"] > 200
    assert found["flips_counted_as_movement"] < found["targets"]["flips_counted_as_movement"]


def test_every_true_movement_has_one_place_in_the_matrix() -> None:
    found = found_of_booking()
    assert sum(sum(row.values()) for row in found["matrix"].values()) == found["movements"]
    assert sum(sum(row.values()) for row in found["by_class"].values()) == found["movements"]


def test_a_plain_telling_that_counts_otherwise_is_noticed() -> None:
    place, carrier = small_place(), small_carrier()
    sim = simulate_day(place.ask(carrier, TOKEN_DAY, 5, 0.001), place.ground)
    edge = Edge.of(place, carrier, sim.plan)
    counts = counted(edge.sightings(sim.events), edge, TOKEN_DAY, len(place.grid.zones))
    with pytest.raises(Disagreement):
        agree({0: [Told(int(TOKEN_DAY.timestamp() * 1000), 0, "counted", 0)]}, counts, TOKEN_DAY)


def test_the_coarse_fidelity_is_the_truth_of_the_events() -> None:
    place, carrier = small_place(), small_carrier()
    day = TOKEN_DAY + timedelta(days=1)
    sim = simulate_day(place.ask(carrier, day, 5, 0.001), place.ground)
    true = sim.truth.sort("window_start", maintain_order=True)["movements"].to_numpy().reshape(24, -1, 2)
    assert np.array_equal(coarse_counts(place, carrier, day, 1, 5)[0], true)
    assert sim.crossings.filter(pl.col("at_s") < 0).is_empty()
    assert sim.crossings.height == true.sum()


def test_a_flip_is_told_as_cancelled() -> None:
    from bench.plain_rules import PlainGround, Rules
    from movement.sighting import Side

    ground = PlainGround([0, 1], [0, 1], frozenset(), frozenset())
    rows = [(0, 0, int(Side.HOME)), (60_000, -1, int(Side.ABROAD)), (600_000, 0, int(Side.HOME))]
    assert [one.fate for one in tell(rows, ground, Rules())] == ["cancelled", "cancelled"]
