"""Several carriers, one history."""

from datetime import timedelta

import polars as pl
import pytest

from detector.combine import HISTORY_SCHEMA, PUBLISHED_SCHEMA, combine
from tests.detector.border import START, zone_table


def said(
    carrier: str, value: int | None, *, hour: int = 0, complete: bool = True, sigma: float = 9.45
) -> dict[str, object]:
    return {
        "carrier": carrier,
        "zone_id": "b00",
        "direction": "arrival",
        "window_start": START + timedelta(hours=hour),
        "value": value,
        "sigma": sigma,
        "threshold": 50,
        "feed_complete": complete,
        "release_digest": f"sha256:{carrier}{hour}",
    }


def history_of(*rows: dict[str, object], carriers: tuple[str, ...] = ("alpha", "beta")) -> pl.DataFrame:
    return combine(pl.DataFrame(list(rows), schema=PUBLISHED_SCHEMA), zone_table(1), carriers)


def first(history: pl.DataFrame) -> dict[str, object]:
    return history.filter(pl.col("direction") == "arrival").row(0, named=True)


def test_sums_add_unexpanded_and_noise_adds_by_variance() -> None:
    row = first(history_of(said("alpha", 60, sigma=3.0), said("beta", 70, sigma=4.0)))
    assert (row["value"], row["sigma"], row["suppressed"], row["complete"]) == (130, 5.0, False, True)
    assert row["threshold"] == 100


def test_one_null_makes_the_sum_null_and_bounds_it() -> None:
    row = first(history_of(said("beta", None), said("alpha", 60)))
    assert (row["value"], row["suppressed"]) == (None, True)
    assert (row["known_sum"], row["known_sigma"], row["censor_bound"]) == (60, 9.45, 110)
    assert row["carrier_values"] == [60, None]


def test_a_missing_carrier_is_no_zero_but_degraded() -> None:
    row = first(history_of(said("alpha", 60)))
    assert (row["carriers_expected"], row["carriers_present"], row["complete"]) == (2, 1, False)


def test_a_feed_that_calls_itself_incomplete_degrades_the_hour() -> None:
    assert first(history_of(said("alpha", 60), said("beta", 60, complete=False)))["complete"] is False


def test_an_hour_of_which_nobody_spoke_is_a_row_without_coverage() -> None:
    history = history_of(said("alpha", 60), said("alpha", 70, hour=2), carriers=("alpha",))
    silent = history.filter((pl.col("direction") == "arrival") & (pl.col("window_start") == START + timedelta(hours=1)))
    row = silent.row(0, named=True)
    assert (row["carriers_present"], row["value"], row["suppressed"], row["complete"]) == (0, None, False, False)
    assert history.schema == pl.Schema(HISTORY_SCHEMA)


def test_an_unexpected_carrier_is_left_out() -> None:
    row = first(history_of(said("alpha", 60), said("stranger", 900), carriers=("alpha",)))
    assert (row["value"], row["complete"]) == (60, True)


def test_a_carrier_that_speaks_twice_of_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="speaks once"):
        history_of(said("alpha", 60), said("alpha", 61))


def test_a_zone_outside_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="in the zone table"):
        history_of({**said("alpha", 60), "zone_id": "elsewhere"})
