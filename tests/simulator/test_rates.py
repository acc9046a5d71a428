"""The law of movement."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import holidays
import numpy as np
import pytest

from geofence.grid import grid_from_document, neighbours
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
    assert np.median(base) < 4
    assert base.max() > 4 * base.mean()
    assert base.max() < 150


def test_most_movement_is_at_crossing_points_whatever_the_seed() -> None:
    for seed in range(8):
        local, official, _ = small_law(seed).intensity(MONDAY, 24 * 7, noise=False).sum(axis=(1, 2, 3))
        assert 0.77 <= official / (local + official) <= 0.99


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


def test_radio_follows_the_weather_and_people_do_not() -> None:
    law = small_law()
    hours = 24 * 60
    wet = law.weather(MONDAY, hours)
    assert wet.mean() == pytest.approx(1, abs=0.1)
    by_day = wet.reshape(60, 24, -1).mean(axis=1)
    assert by_day.max() > 1.8 > 0.7 > by_day.min()
    residue, calm = (law.intensity(MONDAY, hours, noise=noise)[2] for noise in (True, False))
    np.testing.assert_allclose(residue[..., 0], calm[..., 0] * wet[:, law.sector_ix])


def test_festivals_stand_in_no_calendar_and_last_for_days() -> None:
    law = small_law()
    year = law.intensity(datetime(2026, 1, 1, 17, tzinfo=UTC), 24 * 365, noise=False)[1]
    gates = np.flatnonzero(law.crossing_point)
    day = year[:, gates].sum(axis=2).reshape(365, 24, len(gates)).sum(axis=1)
    usual = np.array([np.median(day[max(0, d - 21) : d + 22], axis=0) for d in range(365)])
    listed = holidays.country_holidays("VN", years=2026) | holidays.country_holidays("KH", years=2026)
    plain = np.array([date(2026, 1, 2) + timedelta(days=d) not in listed for d in range(365)])
    plain[:75] = False  # the lunar new year
    lifted = (day > 1.45 * usual)[plain]
    assert 0 < lifted.any(axis=1).sum() < 40


def test_who_leaves_for_a_season_comes_back_at_its_end() -> None:
    law = replace(small_law(), home="XX", across="XX")  # no feasts that send people out or keep them at home
    nobody = replace(law, labour_lift=np.ones_like(law.labour_lift))
    start = datetime(2026, 1, 1, 17, tzinfo=UTC)
    by_day = [
        one.intensity(start, 24 * 200, noise=False)[0].reshape(200, 24, -1, 2).sum(axis=1) for one in (law, nobody)
    ]
    more = by_day[0] / np.maximum(by_day[1], 1e-9)
    for zone in np.flatnonzero(law.labour_lift > 1):
        opens, closes, lift = int(law.labour_opens_day[zone]), int(law.labour_closes_day[zone]), law.labour_lift[zone]
        assert more[opens - 2 : opens + 2, zone, DEPARTURE].max() == pytest.approx(lift, rel=0.05)
        assert more[closes - 2 : closes + 2, zone, ARRIVAL].max() > 1 + 0.7 * (lift - 1)
        assert more[closes, zone, DEPARTURE] == pytest.approx(1, abs=0.01)
        assert more[opens, zone, ARRIVAL] == pytest.approx(1, abs=0.01)


def test_a_border_without_crossing_points_still_has_a_law() -> None:
    document = {**small_grid().document}
    del document["grid_id"]
    document["features"] = [f for f in document["features"] if f["properties"]["kind"] == "belt"]
    grid = grid_from_document(document, turn_hour_utc=20, valid_from=datetime(2026, 1, 1, 20, tzinfo=UTC))
    law = draw_law(grid, neighbours(grid), seed=1)
    assert law.base_per_h.mean() == pytest.approx(8.0)


def test_a_country_without_listed_holidays_has_none() -> None:
    law = draw_law(small_grid(), neighbours(small_grid()), seed=1, home="XX", across="YY")
    assert np.isfinite(law.intensity(MONDAY, 48)).all()
