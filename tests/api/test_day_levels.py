"""Stories of the day levels at the centre: the same door, their own floors, their own cells."""

from datetime import timedelta
from typing import Any

import pytest

from api.intake import ReleaseFloor, ReleaseRefused, accept_release
from api.store import Store
from ingest.release import Level, format_utc, seal
from tests.api.builders import DAY_START, MORNING, a_client, day_content, mechanism, release

AFTER = DAY_START + timedelta(days=1, minutes=80)


def a_day(level: str = "sector-day", **changes: Any) -> Any:
    return seal(day_content(level, **changes))


def refusal(store: Store, content: dict[str, Any], now: Any = AFTER) -> ReleaseRefused:
    with pytest.raises(ReleaseRefused) as refused:
        accept_release(store, seal(content), carrier="carrier-a", now=now)
    return refused.value


def test_a_day_goes_in_whole_with_the_deviation_of_every_cell(store: Store) -> None:
    content = day_content()
    content["counts"][2] |= {"value": 812, "sigma": 30.5}
    accept_release(store, seal(content), carrier="carrier-a", now=AFTER)
    rows = store.day_counts(Level.SECTOR_DAY, DAY_START, AFTER)
    assert [(row["sector_id"], row["kind"], row["direction"], row["value"], row["sigma"]) for row in rows] == [
        (count["sector_id"], count["kind"], count["direction"], count["value"], count["sigma"])
        for count in content["counts"]
    ]


def test_the_border_has_no_sector(store: Store) -> None:
    accept_release(store, a_day("border-day"), carrier="carrier-a", now=AFTER)
    rows = store.day_counts(Level.BORDER_DAY, DAY_START, AFTER)
    assert {row["sector_id"] for row in rows} == {""}
    assert len(rows) == 4
    assert store.day_counts(Level.SECTOR_DAY, DAY_START, AFTER) == []


def test_days_do_not_show_among_the_hours(store: Store) -> None:
    accept_release(store, release(), carrier=None, now=AFTER)
    accept_release(store, a_day(), carrier=None, now=AFTER)
    assert store.newest_window_start() == MORNING
    assert store.coverage().window_start == MORNING
    assert len(store.counts_rows(DAY_START, AFTER)["value"]) == 8
    client = a_client(store, "planner", clock=lambda: AFTER)
    assert {item["window_start"] for item in client.get("/v1/counts").json()["items"]} == {format_utc(MORNING)}


@pytest.mark.parametrize(
    ("weaker", "pointer"),
    [
        ({"threshold": 149}, "/mechanism/threshold"),
        ({"noise_sigma": 37.7}, "/mechanism/noise_sigma"),
        ({"k": 3}, "/mechanism/k"),
        ({"rho_day": 0.0281}, "/mechanism/rho_day"),
        ({"rho_level": 0.0029}, "/mechanism/rho_level"),  # more than its share: three levels would overrun the day
    ],
)
def test_a_day_mechanism_weaker_than_the_policy_is_refused(store: Store, weaker: dict[str, Any], pointer: str) -> None:
    content = day_content()
    refused = refusal(store, content | {"mechanism": content["mechanism"] | weaker})
    assert (refused.reason, refused.faults[0].pointer) == ("weaker_mechanism", pointer)


def test_a_day_costs_what_its_own_noise_costs(store: Store) -> None:
    # One device moves a cell of a day by k, not by one: k squared over the square of the noise that was drawn.
    content = day_content()
    assert refusal(store, content | {"mechanism": content["mechanism"] | {"rho_level": 0.0014}}).reason == (
        "mechanism_inconsistent"
    )


def test_a_day_speaks_of_a_whole_token_day_and_of_no_other_span(store: Store) -> None:
    late = DAY_START + timedelta(hours=1)
    span = {"window_start": format_utc(late), "window_end": format_utc(late + timedelta(days=1))}
    assert refusal(store, day_content() | span, now=AFTER + timedelta(days=1)).reason == "not_a_token_day"
    assert refusal(store, day_content(), now=DAY_START + timedelta(hours=23)).reason == "window_open"
    assert refusal(store, day_content(), now=DAY_START + timedelta(hours=25, minutes=14)).reason == "window_unsettled"


def test_every_cell_of_the_grid_is_spoken_of_at_every_level(store: Store) -> None:
    content = day_content()
    assert refusal(store, content | {"counts": content["counts"][:-1]}).reason == "missing_zone"
    other = [count | {"sector_id": "west"} if count["sector_id"] == "south" else count for count in content["counts"]]
    assert refusal(store, content | {"counts": other}).reason == "unknown_zone"


def test_an_hour_of_a_days_shape_is_refused_with_a_place_and_no_names_of_shapes(store: Store) -> None:
    client = a_client(store, "carrier:carrier-a", clock=lambda: AFTER)
    document = a_day().document()
    document["counts"][0]["value"] = "many"
    problem = client.post("/v1/releases", json=document).json()
    assert problem["errors"] == [{"pointer": "/counts/0/value", "rule": "int_type"}]


def test_the_floor_of_the_days_can_only_be_made_stricter() -> None:
    assert ReleaseFloor(threshold_day=200, sigma_day=40.0).threshold_at(Level.BORDER_DAY) == 200
    for weaker in ({"threshold_day": 149}, {"sigma_day": 37.0}):
        with pytest.raises(ValueError, match="weaker than the design's floor"):
            ReleaseFloor(**weaker)


def test_old_days_are_deleted_with_their_releases(store: Store) -> None:
    accept_release(store, a_day(), carrier=None, now=AFTER)
    gone = store.purge(now=AFTER + timedelta(days=731))
    assert (gone["day_count"], gone["release"]) == (6, 1)


def test_the_three_levels_of_a_day_add_up_to_its_budget(store: Store) -> None:
    accept_release(store, release(mechanism=mechanism(rho_level=0.0224)), carrier=None, now=AFTER)
    for level in ("sector-day", "border-day"):
        accept_release(store, a_day(level), carrier=None, now=AFTER)
    (day,) = a_client(store).get("/v1/privacy/ledger").json()["items"]
    assert [(level["level"], level["rho"], level["noise_sigma"]) for level in day["levels"]] == [
        ("border-day", 0.0028, 37.8),
        ("sector-day", 0.0028, 37.8),
        ("zone-hour", 0.0224, 9.45),
    ]
    assert (day["rho_spent"], day["epsilon_spent"], day["within_budget"]) == (pytest.approx(0.028), 1.0, True)
