"""Flags that belong together are one alert, which grows and ends."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from detector.alerts import FLAG_SCHEMA, merge, severity
from tests.detector.border import START

NEIGHBOURS = {"a": ("b",), "b": ("a", "c"), "c": ("b",), "z": ()}
BANDS = {
    "bands": [
        {"score_from": 4.0, "probability": 0.2, "label": "under 25 %"},
        {"score_from": 6.0, "probability": 0.8, "label": "over 75 %"},
    ]
}
ALL = ("a", "b", "c", "z")

Cell = tuple[str, int]  # zone, hour


def flags_of(cells: Sequence[Cell], *, direction: str = "arrival", observed: int = 150) -> pl.DataFrame:
    rows = [
        {
            "zone_id": zone,
            "sector_id": "far" if zone == "z" else "south",
            "direction": direction,
            "window_start": START + timedelta(hours=hour),
            "observed": observed,
            "observed_noise": 9.45,
            "expected": 20.0,
            "sd": 12.0,
            "tail_p": 1e-9,
            "rarity": None,
            "suppressed": False,
            "carriers_expected": 2,
            "carriers_present": 2,
            "release_digests": [f"sha256:{hour}"],
            "past_factor": 1.2,
            "surroundings_factor": 1.0,
            "calendar_factor": 0.8,
            "feed_factor": 1.0,
            "level_shift": 0.0,
            "outage_near": False,
            "holiday": False,
            "event": None,
            "model_version": "m-1",
            "policy_version": "p-1",
        }
        for zone, hour in cells
    ]
    return pl.DataFrame(rows, schema=FLAG_SCHEMA)


def judged_until(now: int, cells: Sequence[Cell] = (), degraded: Sequence[int] = ()) -> pl.DataFrame:
    rows = [
        {
            "zone_id": zone,
            "direction": direction,
            "window_start": START + timedelta(hours=hour),
            "state": "unusual" if (zone, hour) in cells else "degraded" if hour in degraded else "usual",
        }
        for zone in ALL
        for direction in ("arrival", "departure")
        for hour in range(now + 1)
    ]
    return pl.DataFrame(rows)


def alerts_after(
    cells: Sequence[Cell],
    now: int,
    existing: Sequence[dict[str, Any]] = (),
    *,
    degraded: Sequence[int] = (),
    observed: int = 150,
) -> list[dict[str, Any]]:
    return merge(
        flags_of(cells, observed=observed),
        judged_until(now, cells, degraded),
        existing,
        NEIGHBOURS,
        BANDS,
        judged_from=START,
        now_window=START + timedelta(hours=now),
    )


def test_touching_zones_in_one_hour_are_one_alert() -> None:
    (alert,) = alerts_after([("a", 5), ("b", 5)], 5)
    assert alert["zone_ids"] == ["a", "b"]
    assert alert["observed"]["value"] == 300
    assert alert["excess"]["value"] == 260


def test_zones_that_do_not_touch_are_two_alerts() -> None:
    assert sorted(alert["zone_ids"] for alert in alerts_after([("a", 5), ("c", 5)], 5)) == [["a"], ["c"]]


def test_a_gap_of_three_hours_is_bridged_and_one_of_four_is_not() -> None:
    assert len(alerts_after([("a", 2), ("a", 6)], 6)) == 1
    assert len(alerts_after([("a", 2), ("a", 7)], 7)) == 2


def test_directions_and_sectors_stay_apart() -> None:
    both = pl.concat([flags_of([("a", 5), ("z", 5)]), flags_of([("a", 5)], direction="departure")])
    alerts = merge(
        both,
        judged_until(5),
        [],
        {**NEIGHBOURS, "a": ("b", "z"), "z": ("a",)},
        BANDS,
        judged_from=START,
        now_window=START + timedelta(hours=5),
    )
    assert len(alerts) == 3


def test_running_again_on_the_same_releases_changes_nothing() -> None:
    cells = [("a", 5), ("b", 6)]
    first = alerts_after(cells, 6)
    assert alerts_after(cells, 6, first) == []
    assert alerts_after(cells, 6) == first


def test_hour_by_hour_or_all_at_once_the_alert_has_one_name_and_one_size() -> None:
    cells = [("a", 5), ("a", 6), ("b", 7)]
    (at_once,) = alerts_after(cells, 7)
    kept: list[dict[str, Any]] = []
    for now in (5, 6, 7):
        changed = alerts_after([c for c in cells if c[1] <= now], now, kept)
        kept = changed or kept
    (grown,) = kept
    assert grown["revision"] == 3
    assert {**grown, "revision": 1} == at_once


def test_a_new_hour_is_a_new_revision_of_the_same_alert() -> None:
    (first,) = alerts_after([("a", 5)], 5)
    (second,) = alerts_after([("a", 5), ("a", 6)], 6, [first])
    assert (second["alert_id"], second["revision"]) == (first["alert_id"], 2)
    assert second["window_end"] > first["window_end"]


def test_another_size_is_a_new_revision() -> None:
    (first,) = alerts_after([("a", 5)], 5)
    (second,) = alerts_after([("a", 5)], 5, [first], observed=170)
    assert (second["revision"], second["observed"]["value"]) == (2, 170)


def test_an_acknowledged_alert_keeps_its_status_while_it_grows() -> None:
    (first,) = alerts_after([("a", 5)], 5)
    (second,) = alerts_after([("a", 5), ("b", 5)], 5, [{**first, "status": "acknowledged"}])
    assert (second["status"], second["revision"]) == ("acknowledged", 2)


def test_an_alert_closes_by_itself_after_more_than_three_usual_hours() -> None:
    (first,) = alerts_after([("a", 5)], 5)
    assert alerts_after([("a", 5)], 8, [first]) == []
    (closed,) = alerts_after([("a", 5)], 9, [first])
    assert (closed["status"], closed["closed_by"], closed["disposition"], closed["revision"]) == (
        "closed",
        "system",
        None,
        2,
    )
    assert alerts_after([("a", 5)], 30, [closed]) == []


def test_hours_without_a_judgement_close_nothing() -> None:
    (first,) = alerts_after([("a", 5)], 5)
    assert alerts_after([("a", 5)], 9, [first], degraded=[7]) == []
    assert alerts_after([("a", 5)], 10, [first], degraded=[7])[0]["status"] == "closed"


def test_an_alert_that_a_person_closed_is_not_opened_again() -> None:
    (first,) = alerts_after([("a", 5)], 5)
    closed = {**first, "status": "closed", "closed_by": "role:desk", "disposition": "expected_event"}
    assert alerts_after([("a", 5)], 6, [closed]) == []
    (after,) = alerts_after([("a", 5), ("a", 6)], 6, [closed])
    assert after["alert_id"] != first["alert_id"]
    assert after["window_start"] == "2026-03-02T06:00:00Z"


def test_two_alerts_that_grow_together_go_on_as_the_elder() -> None:
    first, second = alerts_after([("a", 3), ("c", 4)], 4)
    elder, ended = alerts_after([("a", 3), ("c", 4), ("b", 4)], 4, [first, second])
    assert (elder["alert_id"], elder["zone_ids"], elder["status"]) == (first["alert_id"], ["a", "b", "c"], "open")
    assert (ended["alert_id"], ended["status"]) == (second["alert_id"], "closed")
    assert first["alert_id"] in ended["reasons"][-1]


def test_flags_that_do_not_reach_back_to_an_open_alert_are_refused() -> None:
    (first,) = alerts_after([("a", 5)], 5)
    with pytest.raises(ValueError, match="reaches back"):
        merge(
            flags_of([("a", 6)]),
            judged_until(6),
            [first],
            NEIGHBOURS,
            BANDS,
            judged_from=START + timedelta(hours=6),
            now_window=START + timedelta(hours=6),
        )


def test_an_alert_names_the_releases_it_rests_on_and_five_reasons() -> None:
    (alert,) = alerts_after([("a", 5), ("a", 6)], 6)
    assert alert["release_digests"] == ["sha256:5", "sha256:6"]
    how_far, how_long, neighbours, calendar, feed = alert["reasons"]
    assert how_far.startswith("130 more arrivals than the 20 expected")
    assert "2 hours" in how_long
    assert neighbours.startswith("No touching zone is unusual")
    assert calendar.endswith("expectation lowered by 20 %.")
    assert feed.startswith("2 of 2 carriers")


def test_probability_is_a_band_and_severity_grows_with_size_and_certainty() -> None:
    (alert,) = alerts_after([("a", 5)], 5)
    assert alert["probability"] == "over 75 %"
    assert [severity(*case) for case in ((90, 0.9), (150, 0.5), (150, 0.9), (300, 0.9))] == [
        "moderate",
        "moderate",
        "high",
        "very_high",
    ]


def test_a_time_judged_before_opens_no_alert_again() -> None:
    elder, done = alerts_after([("a", 3), ("z", 4)], 4)
    assert done["zone_ids"] == ["z"]  # long closed, and not handed in any more
    cells = [("a", 3), ("z", 4), ("a", 6)]
    changed = merge(
        flags_of(cells),
        judged_until(6, cells),
        [elder],
        NEIGHBOURS,
        BANDS,
        judged_from=START + timedelta(hours=3),
        first_window=START + timedelta(hours=6),
        now_window=START + timedelta(hours=6),
    )
    assert [(alert["alert_id"], alert["revision"]) for alert in changed] == [(elder["alert_id"], 2)]
