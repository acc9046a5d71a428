"""What the calendar says about an hour: local hour of the week, public holidays, lunar new year.

Not the day of the year: with one year of history it can only be learned by heart. Seasons show in the levels.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

import holidays
import polars as pl

CALENDAR_FEATURES: Final = (
    "hour_of_day",
    "day_of_week",
    "holiday_home",
    "holiday_across",
    "days_to_holiday",
    "days_since_holiday",
    "days_from_lunar_new_year",
)
HORIZON_DAYS: Final = 7  # a holiday farther away than this is not felt
LUNAR_HORIZON_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class Calendar:
    """Whose clock and whose holidays a border lives by: the home country first, then those across."""

    time_zone: str = "Asia/Ho_Chi_Minh"
    home: str = "VN"
    across: tuple[str, ...] = ("KH",)

    def __post_init__(self) -> None:
        ZoneInfo(self.time_zone)
        for country in (self.home, *self.across):
            if country not in holidays.list_supported_countries():
                raise ValueError("a calendar country is an ISO code that the holidays package knows")


def calendar_features(windows: pl.Series, calendar: Calendar) -> pl.DataFrame:
    """One row of CALENDAR_FEATURES for every window start, in the order given.

    Distances are whole local days, cut at HORIZON_DAYS (LUNAR_HORIZON_DAYS for the lunar new year, negative before
    it). The lunar new year is that of the Vietnamese calendar.
    """
    local = windows.dt.convert_time_zone(calendar.time_zone)
    days = local.dt.date()
    known = {day: _day_features(day, calendar) for day in days.unique().to_list()}
    by_day = pl.DataFrame(
        [(day, *row) for day, row in known.items()],
        schema={"day": pl.Date, **dict.fromkeys(CALENDAR_FEATURES[2:], pl.Float32)},
        orient="row",
    )
    return (
        pl.DataFrame(
            {
                "day": days,
                "hour_of_day": local.dt.hour().cast(pl.Float32),
                "day_of_week": local.dt.weekday().cast(pl.Float32),
            }
        )
        .join(by_day, on="day", how="left", maintain_order="left")
        .select(CALENDAR_FEATURES)
    )


@cache
def lunar_new_years(years: tuple[int, ...]) -> tuple[date, ...]:
    """The first days of Tết in these years.

    >>> lunar_new_years((2026,))
    (datetime.date(2026, 2, 17),)
    """
    named = holidays.country_holidays("VN", years=years, language="en_US")
    return tuple(sorted(day for day, name in named.items() if "Lunar New Year" in name.split("; ")))


@cache
def _holidays(country: str, years: tuple[int, ...]) -> frozenset[date]:
    return frozenset(holidays.country_holidays(country, years=years))


def _day_features(day: date, calendar: Calendar) -> tuple[float, float, float, float, float]:
    years = (day.year - 1, day.year, day.year + 1)
    home = _holidays(calendar.home, years)
    across = frozenset[date]().union(*(_holidays(country, years) for country in calendar.across))
    both = home | across
    ahead = [n for n in range(HORIZON_DAYS) if day + timedelta(days=n) in both]
    behind = [n for n in range(HORIZON_DAYS) if day - timedelta(days=n) in both]
    from_lunar = min(((day - first).days for first in lunar_new_years(years)), key=abs)
    return (
        float(day in home),
        float(day in across),
        float(min(ahead, default=HORIZON_DAYS)),
        float(min(behind, default=HORIZON_DAYS)),
        float(max(-LUNAR_HORIZON_DAYS, min(LUNAR_HORIZON_DAYS, from_lunar))),
    )
