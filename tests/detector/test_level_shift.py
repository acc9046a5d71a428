"""What stands higher for days, in both directions and alone, is taken for a new cell."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from detector.calendar import Calendar, calendar_features
from detector.level_shift import level_shifts, rebased
from detector.likelihood import Dispersion
from detector.residual import hours_of
from tests.detector.border import START, Border, make_border

LEVELS = [40.0, 50.0, 60.0, 45.0, 55.0, 50.0]
DISPERSION = Dispersion(1.2, 0.04)
DAYS, SINCE = 20, 10
ARRIVAL, DEPARTURE = 0, 1


def lifted(*lifts: tuple[int, int], days: int = DAYS - SINCE, share: float = 0.6) -> Border:
    """Zones and directions that stand higher by a share of their level from SINCE on."""
    crowds = tuple(
        (zone, way, (SINCE + day) * 24, 24, int(24 * LEVELS[zone] * share))
        for zone, way in lifts
        for day in range(days)
    )
    return make_border(LEVELS, days=DAYS, surges=crowds)


def shifts(border: Border, *, week: float = 0.0, until: int = DAYS) -> tuple[pl.DataFrame, pl.DataFrame]:
    """zone_id, direction, day, shift; and the rows; the expectation knows of no lift."""
    history = border.history().sort("zone_id", "direction", "window_start")
    expected = border.rates[np.argsort(border.zones["zone_id"].to_list())].reshape(-1)
    lifted_zone = (pl.col("zone_id") == "b02") & (pl.col("direction") == "arrival")
    rows = history.with_columns(
        *calendar_features(history["window_start"], Calendar()).iter_columns(),
        pl.Series("expected", expected),
        pl.Series("spread", 0.05 * expected),
        pl.when(lifted_zone).then(week).otherwise(0.0).alias("own_7d"),
        pl.lit(0.0).alias("opposite_24h"),
        pl.when(lifted_zone).then(20.0 * (week > 0)).otherwise(0.0).alias("shift_z"),
    ).filter(pl.col("window_start") < START + timedelta(days=until))
    hours = hours_of(rows, border.neighbours, DISPERSION, (1.0,))
    shift = level_shifts(hours, rows)
    days = (rows["window_start"] - START).dt.total_days()
    return rows.select(
        "zone_id", "direction", "window_start", days.alias("day"), pl.Series("shift", shift.ravel())
    ), rows


def found(table: pl.DataFrame) -> set[tuple[str, str]]:
    return set(table.filter(pl.col("shift") > 0).select("zone_id", "direction").iter_rows())


def test_a_new_cell_is_suspected_after_three_days_and_not_before():
    table, _ = shifts(lifted((2, ARRIVAL), (2, DEPARTURE)))
    assert found(table) == {("b02", "arrival"), ("b02", "departure")}
    since = table.filter(pl.col("shift") > 0)["day"].min()
    assert SINCE + 2 <= since <= SINCE + 4


def test_the_expectation_starts_anew_near_the_new_level():
    table, rows = shifts(lifted((2, ARRIVAL), (2, DEPARTURE)))
    at = (table["zone_id"] == "b02") & (table["day"] >= SINCE + 6)
    after = rebased(rows, table["shift"].to_numpy())
    ratio = after.filter(at)["expected"].sum() / rows.filter(at)["expected"].sum()
    assert ratio == pytest.approx(1.6, rel=0.12)
    assert (after.filter(at)["spread"] >= rows.filter(at)["spread"]).all()


def test_a_day_of_a_crowd_is_no_level_shift():
    table, _ = shifts(lifted((2, ARRIVAL), (2, DEPARTURE), days=1, share=2.0))
    assert found(table) == set()


def test_a_festival_of_the_whole_sector_is_no_level_shift():
    table, _ = shifts(lifted(*[(zone, way) for zone in range(6) for way in (0, 1)]))
    assert found(table) == set()


def test_a_flow_in_one_direction_is_told_as_what_it_is_for_its_first_week():
    border = lifted((2, ARRIVAL))
    assert found(shifts(border)[0]) == set()
    assert found(shifts(border, week=float(np.log(1.6)))[0]) == {("b02", "arrival")}


def test_a_level_shift_is_not_seen_from_afterwards():
    border = lifted((2, ARRIVAL), (2, DEPARTURE))
    whole, _ = shifts(border)
    early, _ = shifts(border, until=SINCE + 5)
    assert whole.join(early, on=["zone_id", "direction", "window_start"], how="inner").select(
        (pl.col("shift") - pl.col("shift_right")).abs().max()
    ).item() == pytest.approx(0.0, abs=1e-9)
