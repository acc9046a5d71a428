"""What a zone-hour is told before it is looked at."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from detector.calendar import Calendar
from detector.features import FEATURES, add_features, carrier_shares, trailing
from tests.detector.border import START, Border, make_border

# Of the last day, a zone-hour may hear of other places only.
OF_THIS_HOUR = ("sector_now", "sector_6h", "sector_24h", "official_now", "region_now", "region_24h", "opposite_now")


@pytest.fixture(scope="module")
def small() -> Border:
    return make_border([5.0, 30.0, 60.0, 60.0, 60.0], days=40, seed=4)


def changed_at(border: Border, zone: str, hour: int) -> pl.DataFrame:
    """The features after one zone's arrivals of one hour turned out a thousand higher; true where they differ."""
    history = border.history()
    here = (
        (pl.col("zone_id") == zone)
        & (pl.col("direction") == "arrival")
        & (pl.col("window_start") == START + timedelta(hours=hour))
    )
    other = history.with_columns(
        pl.when(here).then(pl.lit(1500)).otherwise("value").alias("value"),
        pl.when(here).then(pl.lit([1500])).otherwise("carrier_values").alias("carrier_values"),
        (pl.col("suppressed") & ~here).alias("suppressed"),
    )
    before, after = (add_features(table, border.neighbours, Calendar(), (1.0,)) for table in (history, other))
    return before.select("zone_id", "direction", "window_start").with_columns(
        [(before[name].fill_nan(-9) - after[name].fill_nan(-9)).abs() > 1e-6 for name in FEATURES]
    )


def test_a_zone_hears_nothing_of_its_own_direction_younger_than_a_day(small: Border) -> None:
    hour = 30 * 24
    differs = changed_at(small, "b02", hour)
    own = differs.filter(
        (pl.col("zone_id") == "b02")
        & (pl.col("direction") == "arrival")
        & (pl.col("window_start") < START + timedelta(hours=hour + 24))
    )
    assert not own.select(pl.any_horizontal(FEATURES)).to_series().any()
    later = differs.filter(
        (pl.col("zone_id") == "b02")
        & (pl.col("direction") == "arrival")
        & (pl.col("window_start") == START + timedelta(hours=hour + 24))
    )
    assert later["own_yesterday"].item()


def test_a_crowd_over_three_touching_zones_does_not_raise_what_is_expected_of_it(small: Border) -> None:
    hour = 30 * 24
    differs = changed_at(small, "b02", hour)
    for later in (0, 5):
        now = pl.col("window_start") == START + timedelta(hours=hour + later)
        at = differs.filter(now & (pl.col("direction") == "arrival"))
        near = at.filter(pl.col("zone_id").is_in(["b00", "b01", "b03", "b04"]))
        assert not near.select(pl.any_horizontal(OF_THIS_HOUR)).to_series().any()


def test_zones_farther_off_hear_of_the_hour_at_hand(small: Border) -> None:
    hour = 30 * 24
    differs = changed_at(small, "b04", hour)
    at = differs.filter((pl.col("window_start") == START + timedelta(hours=hour)) & (pl.col("direction") == "arrival"))
    assert at.filter(pl.col("zone_id") == "b01")["region_now"].item()


def test_the_other_direction_hears_of_the_hour_at_hand(small: Border) -> None:
    hour = 30 * 24
    differs = changed_at(small, "b02", hour).filter(pl.col("window_start") == START + timedelta(hours=hour))
    leaving = differs.filter(pl.col("direction") == "departure")
    assert leaving.filter(pl.col("zone_id") == "b02")["opposite_now"].item()
    assert leaving.filter(pl.col("zone_id") == "b01")["opposite_around_now"].item()


def test_the_last_hours_alone_have_the_features_that_they_have_among_all(small: Border) -> None:
    history, since = small.history(), START + timedelta(days=39)
    every = add_features(history, small.neighbours, Calendar(), (1.0,)).filter(pl.col("window_start") >= since)
    last = add_features(history, small.neighbours, Calendar(), (1.0,), since=since)
    assert last.select("zone_id", "direction", "window_start").equals(
        every.select("zone_id", "direction", "window_start")
    )
    for name in (*FEATURES, "level", "history_days", "shift_z"):
        np.testing.assert_allclose(last[name].to_numpy(), every[name].to_numpy(), rtol=1e-5, atol=1e-5)


def test_a_zone_that_is_new_begins_at_the_level_of_those_around_it() -> None:
    busy = make_border([60.0, 60.0, 60.0, 60.0, 60.0], days=40, seed=4, crossing_levels=())
    first_days = pl.col("window_start") < START + timedelta(days=36)
    history = busy.history().with_columns(
        (pl.col("complete") & ~((pl.col("zone_id") == "b00") & first_days)).alias("complete")
    )
    table = add_features(history, busy.neighbours, Calendar(), (1.0,)).filter(
        (pl.col("zone_id") == "b00")
        & pl.col("window_start").is_between(START + timedelta(days=35), START + timedelta(days=36))
    )
    assert 15 < table["level"].mean() < 60  # PRIOR_LEVEL is 10
    rhythm = table.filter(pl.col("direction") == "arrival").sort("window_start")["level"].to_numpy()
    assert rhythm.max() > 2 * rhythm.min()


def test_a_new_cell_shows_as_a_shift_of_the_week(small: Border) -> None:
    doubled = (pl.col("zone_id") == "b03") & (pl.col("window_start") >= START + timedelta(days=33))
    history = small.history().with_columns(
        pl.when(doubled).then(pl.col(name) * 2).otherwise(name).alias(name) for name in ("value", "known_sum")
    )
    history = history.with_columns(
        pl.when(doubled)
        .then(pl.col("carrier_values").list.eval(pl.element() * 2))
        .otherwise("carrier_values")
        .alias("carrier_values")
    )
    last = add_features(history, small.neighbours, Calendar(), (1.0,)).filter(
        pl.col("window_start") == START + timedelta(days=39, hours=23)
    )
    shifted = pl.col("zone_id") == "b03"
    assert last.filter(shifted)["shift_z"].min() > 2 * last.filter(~shifted)["shift_z"].abs().max()


def test_nothing_before_an_hour_hears_of_it(small: Border) -> None:
    differs = changed_at(small, "x00", 30 * 24).filter(pl.col("window_start") < START + timedelta(days=30))
    assert not differs.select(pl.any_horizontal(FEATURES)).to_series().any()


def test_a_zone_that_is_always_null_is_expected_neither_at_zero_nor_at_the_threshold() -> None:
    border = make_border([2.0, 60.0], days=40)
    history = border.history()
    quiet = pl.col("zone_id") == "b00"
    assert history.filter(quiet)["value"].null_count() == history.filter(quiet).height
    late = add_features(history, border.neighbours, Calendar(), (1.0,)).filter(quiet).tail(24)
    assert late["level"].is_between(3, 25).all()
    assert (late["level_spread"] > 0.25).all()  # and it says that it does not know


def test_a_level_under_the_threshold_is_found_from_the_few_hours_that_show() -> None:
    border = make_border([35.0], days=70, crossing_levels=())
    table = add_features(border.history(), border.neighbours, Calendar(), (1.0,)).filter(
        pl.col("window_start") >= START + timedelta(days=60)
    )
    order = table.filter(pl.col("direction") == "arrival")
    busy = border.rates[0, 0, 60 * 24 :] > 30
    ratio = order["level"].to_numpy()[busy] / border.rates[0, 0, 60 * 24 :][busy]
    assert 0.85 < np.median(ratio) < 1.15


def test_a_degraded_hour_teaches_nothing(small: Border) -> None:
    history = small.history()
    bad = pl.col("window_start").is_between(START + timedelta(days=20), START + timedelta(days=21))
    degraded = history.with_columns((pl.col("complete") & ~bad).alias("complete"))
    absurd = degraded.with_columns(
        pl.when(bad).then(pl.lit(9000)).otherwise("value").alias("value"),
        pl.when(bad).then(pl.lit([9000])).otherwise("carrier_values").alias("carrier_values"),
    )
    first, second = (add_features(t, small.neighbours, Calendar(), (1.0,)) for t in (degraded, absurd))
    assert first.select(FEATURES).equals(second.select(FEATURES))


def test_a_history_with_a_hole_is_refused(small: Border) -> None:
    with pytest.raises(ValueError, match="exactly once"):
        add_features(small.history().slice(1), small.neighbours, Calendar(), (1.0,))


def test_shares_of_carriers_are_read_from_hours_that_all_published() -> None:
    border = make_border([20.0], days=20, crossing_levels=(500.0,), carriers=("alpha", "beta"))
    alpha, beta = carrier_shares(border.history(("alpha", "beta")))
    assert alpha + beta == pytest.approx(1)
    assert alpha == pytest.approx(0.5, abs=0.02)


def test_trailing_sums_reach_back_by_whole_strides() -> None:
    array = np.arange(30, dtype=float)[None, :]
    answer = trailing(array, stride=7, first=7, count=2)
    assert answer[0, 25] == array[0, 18] + array[0, 11]
    assert answer[0, 6] == 0
