"""The law of movement."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from geofence.grid import neighbours
from simulator.rates import ARRIVAL, DEPARTURE, TrafficLaw, draw_law, draw_movements
from tests.simulator.small_border import small_grid

MONDAY = datetime(2025, 11, 3, 17, tzinfo=UTC)  # Tuesday 00:00 local


def small_law(seed: int = 1) -> TrafficLaw:
    return draw_law(small_grid(), neighbours(small_grid()), seed=seed)


def test_two_windows_agree_where_they_overlap() -> None:
    law = small_law()
    long = law.intensity(MONDAY, 60)
    late = law.intensity(MONDAY + timedelta(hours=41), 19)
    np.testing.assert_allclose(long[:, 41:], late, rtol=2e-3)


def test_what_goes_comes_back() -> None:
    local = small_law().intensity(MONDAY, 24 * 28)[0]
    gone, come = (local[..., direction].sum(axis=0) for direction in (DEPARTURE, ARRIVAL))
    belt = gone > 0
    np.testing.assert_allclose(come[belt], gone[belt], rtol=0.06)
    at = int(np.argmax(gone))
    # An unusual day out is an unusual evening back.
    assert np.corrcoef(local[:-3, at, DEPARTURE], local[3:, at, ARRIVAL])[0, 1] > 0.5


def test_a_closed_crossing_point_lets_nobody_through() -> None:
    law = small_law()
    official = law.intensity(MONDAY, 24)[1]
    hours = np.arange(24)
    for zone in np.flatnonzero(law.crossing_point):
        closed = (hours < law.opens_h[zone]) | (hours >= law.closes_h[zone])
        assert official[closed, zone].sum() == 0
        assert (official[~closed, zone] > 0).all()
        assert 30 < official[~closed, zone].mean() < 1_600


def test_belts_are_mostly_quiet_and_some_are_busy() -> None:
    law = small_law()
    base = law.base_per_h[~law.crossing_point] / 3  # a carrier with a third of the market
    assert base.min() >= 2
    assert base.max() <= 150
    assert (base < 50).mean() > 0.6
    assert (base > 50).any()


def test_lunar_new_year_empties_the_days_it_falls_on() -> None:
    law = small_law()
    day = 24
    before = law.intensity(datetime(2026, 2, 2, 17, tzinfo=UTC), day, noise=False)[0]
    feast = law.intensity(datetime(2026, 2, 16, 17, tzinfo=UTC), day, noise=False)[0]
    belt = ~law.crossing_point & (law.market_weekday == -1)
    assert (feast[:, belt, DEPARTURE].sum(axis=0) < 0.85 * before[:, belt, DEPARTURE].sum(axis=0)).all()


def test_draws_are_over_dispersed_around_the_law() -> None:
    law = small_law()
    hours = 24 * 14
    mean = law.intensity(MONDAY, hours)
    drawn = draw_movements(law, MONDAY, hours, {"a": 0.5})[0]
    ratio = drawn.sum() / (0.5 * mean.sum())
    assert ratio == pytest.approx(1, abs=0.02)
    busy = mean[0] * 0.5 > 20
    expected = 0.5 * mean[0] + (0.5 * mean[0]) ** 2 / law.dispersion_k[None, :, None]
    spread = ((drawn[0] - 0.5 * mean[0])[busy] ** 2 / expected[busy]).mean()
    assert spread == pytest.approx(1, abs=0.1)


def test_a_carrier_draws_the_same_whoever_else_is_simulated() -> None:
    law = small_law()
    alone = draw_movements(law, MONDAY, 30, {"b": 0.3})[0]
    among = draw_movements(law, MONDAY + timedelta(hours=6), 10, {"a": 0.5, "b": 0.3})[1]
    close = np.abs(alone[:, 6:16] - among)
    # The slow noise agrees to 1 part in 1,000, which now and then moves a draw by one.
    assert close.max() <= 1
    assert close.mean() < 0.01


@pytest.mark.parametrize("shares", [{}, {"a": 0.0}, {"a": 0.7, "b": 0.7}])
def test_shares_of_more_than_one_market_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="market shares"):
        draw_movements(small_law(), MONDAY, 1, shares)
