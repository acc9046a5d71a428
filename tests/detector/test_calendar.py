"""What the calendar says."""

from datetime import UTC, datetime

import polars as pl
import pytest

from detector.calendar import Calendar, calendar_features


def features_at(*times: datetime) -> list[dict[str, float]]:
    windows = pl.Series(times, dtype=pl.Datetime("us", "UTC"))
    return calendar_features(windows, Calendar()).to_dicts()


def test_hours_are_those_of_the_border_not_of_greenwich() -> None:
    (row,) = features_at(datetime(2026, 3, 1, 20, tzinfo=UTC))  # Sunday evening, Monday 03:00 in Ho Chi Minh City
    assert (row["hour_of_day"], row["day_of_week"]) == (3, 1)


def test_days_are_counted_to_and_from_the_lunar_new_year() -> None:
    days = [
        row["days_from_lunar_new_year"]
        for row in features_at(*(datetime(2026, 2, d, 5, tzinfo=UTC) for d in (10, 17, 20)))
    ]
    assert days == [-7, 0, 3]
    assert features_at(datetime(2026, 7, 1, tzinfo=UTC))[0]["days_from_lunar_new_year"] == 30


def test_a_holiday_across_the_border_is_told_apart_from_one_at_home() -> None:
    khmer_new_year, national_day = features_at(
        datetime(2026, 4, 15, 5, tzinfo=UTC), datetime(2026, 9, 2, 5, tzinfo=UTC)
    )
    assert (khmer_new_year["holiday_home"], khmer_new_year["holiday_across"]) == (0, 1)
    assert (national_day["holiday_home"], national_day["holiday_across"]) == (1, 0)


def test_the_day_before_a_holiday_knows_it() -> None:
    (eve,) = features_at(datetime(2026, 8, 30, 5, tzinfo=UTC))
    assert (eve["holiday_home"], eve["days_to_holiday"]) == (0, 1)


def test_an_unknown_country_is_refused() -> None:
    with pytest.raises(ValueError, match="ISO code"):
        Calendar(home="Atlantis")
