"""What the contribution bound leaves out, and that the product's own rules leave out just that."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movement.sighting import Side
from privacy.bound import CROSSERS, bias_curve, undercount, undercount_at
from tests.movement.test_advance import DAY, MINUTE, day_counts

shares_of = st.lists(st.floats(0.01, 1), min_size=2, max_size=9).map(lambda found: [0.0, *found])


@given(shares=shares_of, k=st.integers(1, 6))
def test_the_bias_of_a_day_is_the_mean_of_its_moments(shares, k):
    moments = [undercount_at(shares, k, (step + 0.5) / 400) for step in range(400)]
    assert sum(moments) / 400 == pytest.approx(undercount(shares, k), abs=1e-4)


@given(shares=shares_of, k=st.integers(1, 6))
def test_a_wider_bound_leaves_out_less_and_later_hours_lose_more(shares, k):
    assert undercount(shares, k + 1) <= undercount(shares, k) + 1e-12
    assert undercount_at(shares, k, 0.9) >= undercount_at(shares, k, 0.1) - 1e-12
    assert undercount_at(shares, k, 0.0) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", CROSSERS)
def test_the_curve_is_what_devices_drawn_from_it_lose(name):
    """20,000 devices, fixed seed; the bound is five standard errors of the share."""
    shares, rng = CROSSERS[name], random.Random(3)
    made = rng.choices(range(len(shares)), weights=shares, k=20_000)
    for bias in bias_curve({name: shares}, [2]):
        lost = sum(max(n - 2, 0) for n in made) / sum(made)
        assert lost == pytest.approx(bias.undercount, abs=0.02)


def test_every_share_is_of_devices_that_cross_at_all():
    for shares in CROSSERS.values():
        assert shares[0] == 0
        assert sum(shares) == pytest.approx(1, abs=1e-6)


def test_the_movement_rules_leave_out_what_the_curve_says():
    """Devices with one to six arrivals each through the product's own rules, against the closed form."""
    shares = [0.0, 0.4, 0.2, 0.2, 0.1, 0.05, 0.05]
    tokens, number = {}, 0
    for arrivals, share in enumerate(shares):
        for _ in range(round(share * 40)):
            trips = [(minute, side) for trip in range(arrivals) for minute, side in _trip(trip * 3 * 60 + number % 7)]
            tokens[number.to_bytes(16, "big")] = [(DAY + at * MINUTE, cell, int(side)) for at, (cell, side) in trips]
            number += 1
    made = sum(n * round(share * 40) for n, share in enumerate(shares))
    for k in (1, 2, 3):
        counts, _, _ = day_counts(tokens, k=k)
        assert 1 - sum(counts.values()) / made == pytest.approx(undercount(shares, k))


def _trip(minute):
    """Abroad, home in a belt an hour and a half later, and away by air, so that nothing leaves by land."""
    return [(minute, (-1, Side.ABROAD)), (minute + 90, (0, Side.HOME)), (minute + 100, (-1, Side.ENDED))]
