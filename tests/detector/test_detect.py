"""The whole way from history to alerts, on a small border."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from detector.backtest import backtest
from detector.calendar import Calendar
from detector.calibrate import choose_tail_p
from detector.detect import Detection, Trained, detect, train
from detector.policy import Arming
from tests.detector.border import START, Border
from tests.detector.conftest import DAYS, SURGES, TRAINED_DAYS

FIRST = START + timedelta(days=TRAINED_DAYS)
LAST = START + timedelta(days=DAYS, hours=-1)


@pytest.fixture(scope="module")
def detection(
    border: Border, history: pl.DataFrame, trained: Trained, calendar: Calendar, armings: list[Arming]
) -> Detection:
    return detect(
        history,
        trained.bundle,
        trained.policy,
        armings,
        border.neighbours,
        calendar,
        [],
        first_window=FIRST,
        last_window=LAST,
        simulated=True,
    )


def test_a_surge_of_two_hundred_in_a_zone_of_twenty_is_found(detection: Detection) -> None:
    starts = (START + timedelta(hours=SURGES[0][2])).isoformat().replace("+00:00", "Z")
    (alert,) = [a for a in detection.alerts if "b03" in a["zone_ids"] and a["window_start"] == starts]
    assert alert["excess"]["interval"][0] < 200 < alert["excess"]["interval"][1]
    assert alert["release_digests"] == [f"sha256:alpha-{SURGES[0][2]}"]
    assert alert["simulated"] is True


def test_the_back_test_finds_what_was_planted_and_little_else(
    detection: Detection, truth: pl.DataFrame, border: Border
) -> None:
    result = backtest(detection.expectations, detection.alerts, truth, border.neighbours)
    assert (result.planted, result.found) == (3, 3)
    assert result.found_by_size == {"200": 1, "240": 1, "300": 1}
    assert result.false_alerts <= 2
    assert result.zone_months == pytest.approx(8 * 14 * 24 / 730.5, rel=0.01)


def test_the_expectation_is_near_the_true_rate_where_counts_show(detection: Detection, border: Border) -> None:
    busy = detection.expectations.filter((pl.col("zone_id") == "b07") & (pl.col("direction") == "arrival"))
    true = border.rates[7, 0, TRAINED_DAYS * 24 :]
    ratio = (busy.sort("window_start")["expected"].to_numpy() / true)[true > 40]
    assert 0.9 < np.median(ratio) < 1.1


def test_a_quiet_zone_is_expected_neither_at_zero_nor_at_the_threshold(detection: Detection) -> None:
    quiet = detection.expectations.filter(pl.col("zone_id") == "b00")
    assert quiet["expected"].is_between(1, 30).all()
    assert (quiet["sd"] > 9.45).all()
    assert (quiet["lower"] < 3).all()


def test_the_same_history_and_seed_give_the_same_bundle(
    border: Border, history: pl.DataFrame, trained: Trained, calendar: Calendar
) -> None:
    again = train(
        history.filter(pl.col("window_start") < FIRST),
        border.neighbours,
        calendar,
        proposed_by="trainer",
        approved_by="second",
        reason="first policy",
        rounds=60,
    )
    assert again.bundle.document == trained.bundle.document
    assert again.policy == trained.policy


def test_detecting_again_changes_nothing(
    border: Border,
    history: pl.DataFrame,
    trained: Trained,
    calendar: Calendar,
    armings: list[Arming],
    detection: Detection,
) -> None:
    again = detect(
        history,
        trained.bundle,
        trained.policy,
        armings,
        border.neighbours,
        calendar,
        detection.alerts,
        first_window=FIRST,
        last_window=LAST,
        simulated=True,
    )
    assert again.alerts == []
    assert again.expectations.equals(detection.expectations)


def test_an_alert_opened_in_one_run_is_closed_by_a_later_one(
    border: Border, history: pl.DataFrame, trained: Trained, calendar: Calendar, armings: list[Arming]
) -> None:
    flagged = START + timedelta(hours=SURGES[0][2])

    def run(last: timedelta, alerts: list[dict[str, object]]) -> list[dict[str, object]]:
        return detect(
            history.filter(pl.col("window_start") <= flagged + last),
            trained.bundle,
            trained.policy,
            armings,
            border.neighbours,
            calendar,
            alerts,
            first_window=flagged + last,
            last_window=flagged + last,
        ).alerts

    (opened,) = run(timedelta(0), [])
    assert run(timedelta(hours=3), [opened]) == []
    (closed,) = run(timedelta(hours=4), [opened])
    assert (opened["status"], closed["status"], closed["alert_id"]) == ("open", "closed", opened["alert_id"])


def test_a_degraded_border_abstains(
    border: Border, history: pl.DataFrame, trained: Trained, calendar: Calendar, armings: list[Arming]
) -> None:
    blind = history.with_columns((pl.col("complete") & (pl.col("window_start") < FIRST)).alias("complete"))
    found = detect(
        blind,
        trained.bundle,
        trained.policy,
        armings,
        border.neighbours,
        calendar,
        [],
        first_window=FIRST,
        last_window=LAST,
    )
    assert found.alerts == []
    assert found.expectations["state"].unique().to_list() == ["degraded"]


def test_an_unarmed_border_publishes_without_flags(
    border: Border, history: pl.DataFrame, trained: Trained, calendar: Calendar
) -> None:
    found = detect(
        history,
        trained.bundle,
        trained.policy,
        [],
        border.neighbours,
        calendar,
        [],
        first_window=FIRST,
        last_window=LAST,
    )
    assert found.alerts == []
    assert found.expectations["observed"].drop_nulls().len() > 0


def test_two_carriers_are_judged_together(calendar: Calendar, armings: list[Arming]) -> None:
    from tests.detector.border import make_border

    carriers = ("alpha", "beta")
    hour = 75 * 24 + 3
    border = make_border(
        [4.0, 30.0, 150.0], days=78, surges=((0, 0, hour, 1, 300),), crossing_levels=(300.0,), carriers=carriers
    )
    history = border.history(carriers)
    model = train(
        history.filter(pl.col("window_start") < FIRST),
        border.neighbours,
        calendar,
        proposed_by="trainer",
        approved_by=None,
        reason="two carriers",
        rounds=40,
    )
    found = detect(
        history,
        model.bundle,
        model.policy,
        armings,
        border.neighbours,
        calendar,
        [],
        first_window=FIRST,
        last_window=START + timedelta(days=78, hours=-1),
    )
    surge = [a for a in found.alerts if a["zone_ids"] == ["b00"]]
    assert [a["release_digests"] for a in surge] == [[f"sha256:alpha-{hour}", f"sha256:beta-{hour}"]]
    middle = found.expectations.filter((pl.col("zone_id") == "b01") & (pl.col("direction") == "arrival"))
    true = border.rates[1, 0, TRAINED_DAYS * 24 :]
    assert middle.sort("window_start")["expected"].to_numpy()[true > 40].mean() < 2 * true[true > 40].mean()


def test_too_short_a_history_is_refused(border: Border, history: pl.DataFrame, calendar: Calendar) -> None:
    with pytest.raises(ValueError, match="42 days"):
        train(
            history.filter(pl.col("window_start") < START + timedelta(days=30)),
            border.neighbours,
            calendar,
            proposed_by="a",
            approved_by="b",
            reason="too soon",
        )


def clean_flags(scores: list[float]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "zone_id": ["a"] * len(scores),
            "sector_id": ["s"] * len(scores),
            "direction": ["arrival"] * len(scores),
            "window_start": [START + timedelta(days=i) for i in range(len(scores))],
            "tail_p": scores,
        }
    )


def test_the_threshold_keeps_clean_hours_within_the_budget() -> None:
    scores = [10.0 ** -(10 - i * 0.5) for i in range(15)]  # one false alert each
    tail_p = choose_tail_p(clean_flags(scores), zone_months=50, neighbours={}, budget=0.1)
    assert sum(score <= tail_p for score in scores) == 5


def test_a_short_time_without_false_alerts_does_not_loosen_the_threshold() -> None:
    assert choose_tail_p(clean_flags([]), zone_months=100, neighbours={}) == 1e-3
    assert choose_tail_p(clean_flags([]), zone_months=5, neighbours={}) == pytest.approx(0.1 / 1461)
