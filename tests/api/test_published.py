"""Stories of what everyone reads: counts, expectations, zones, the public ledger."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.answers import CountPage, ExpectationPage, LedgerPage, ZoneCollection
from api.intake import accept_release
from api.store import Store
from ingest.release import HOUR, format_utc
from tests.api.builders import (
    MORNING,
    NOW,
    ZONES,
    a_client,
    a_store,
    every_expectation,
    expectation,
    mechanism,
    release,
    with_releases,
)

KEY = ("window_start", "carrier", "zone_id", "direction")


def pages(client: TestClient, path: str, **asked: Any) -> list[dict[str, Any]]:
    """Every item of a list, by following its links."""
    answer = client.get(path, params=asked).json()
    found = list(answer["items"])
    while following := [link["href"] for link in answer["links"] if link["rel"] == "next"]:
        answer = client.get(following[0]).json()
        found += answer["items"]
    return found


def test_counts_carry_their_interval_and_null_is_not_zero(store: Store) -> None:
    with_releases(store)
    answer = a_client(store, "planner").get("/v1/counts", params={"zone_id": "belt-01", "carrier": "carrier-a"})
    arrival, departure = CountPage.model_validate(answer.json()).items
    assert (arrival.value, arrival.interval, arrival.state) == (120, (101.5, 138.5), "published")
    assert (departure.value, departure.interval, departure.state) == (None, None, "below_threshold")
    assert (departure.threshold, departure.sigma, departure.window_end) == (50, 9.45, MORNING + HOUR)


def test_counts_are_paged_without_gap_or_repeat(store: Store) -> None:
    with_releases(store, *(MORNING - hours * HOUR for hours in range(3)))
    items = pages(a_client(store, "planner"), "/v1/counts", limit=5)
    keys = [tuple(item[name] for name in KEY) for item in items]
    assert len(keys) == 3 * 2 * 8
    assert keys == sorted(set(keys))


def test_a_release_that_comes_between_two_pages_does_not_move_the_span(store: Store) -> None:
    with_releases(store, MORNING - HOUR)
    client = a_client(store, "planner")
    first = client.get("/v1/counts", params={"limit": 9}).json()
    with_releases(store, MORNING)
    rest = client.get(first["links"][1]["href"]).json()
    assert len(first["items"] + rest["items"]) == 16
    assert {item["window_start"] for item in rest["items"]} == {format_utc(MORNING - HOUR)}


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"zone_id": "belt-02"}, 8),
        ({"sector_id": "south"}, 16),
        ({"direction": "arrival"}, 16),
        ({"carrier": "carrier-b"}, 16),
        ({"start": format_utc(MORNING)}, 16),
        ({"end": format_utc(MORNING)}, 16),
        ({"start": format_utc(MORNING + HOUR), "end": format_utc(MORNING + 2 * HOUR)}, 0),
        ({"start": "2026-03-02T12:00:00+07:00", "end": "2026-03-02T13:00:00+07:00"}, 16),
    ],
)
def test_counts_are_narrowed_by_their_filters(store: Store, asked: dict[str, str], count: int) -> None:
    with_releases(store, MORNING - HOUR, MORNING)
    assert len(pages(a_client(store, "planner"), "/v1/counts", **asked)) == count


@pytest.mark.parametrize(
    "asked",
    [
        {"start": "2026-03-02T05:00:00"},
        {"start": "0001-01-01T00:00:00Z"},
        {"end": "9999-12-31T23:59:59-12:00"},
        {"start": format_utc(NOW), "end": format_utc(MORNING)},
        {"start": "1772427600"},
        {"limit": "2001"},
        {"limit": "0"},
        {"direction": "sideways"},
        {"zone_id": "belt 01"},
        {"sector_id": "a\x00b"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/counts", "/v1/expectations"])
def test_a_senseless_question_is_refused(store: Store, path: str, asked: dict[str, str]) -> None:
    answer = a_client(store, "planner").get(path, params=asked)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_a_carrier_reads_its_own_counts_only(store: Store) -> None:
    with_releases(store)
    client = a_client(store, "carrier:carrier-a")
    assert {item["carrier"] for item in pages(client, "/v1/counts")} == {"carrier-a"}
    assert client.get("/v1/counts", params={"carrier": "carrier-b"}).status_code == 403


def test_expectations_are_served_without_digits_that_nobody_can_know(store: Store) -> None:
    store.save_expectations(every_expectation())
    answer = a_client(store, "planner").get("/v1/expectations", params={"zone_id": "belt-01", "direction": "arrival"})
    (item,) = ExpectationPage.model_validate(answer.json()).items
    assert (item.expected, item.excess, item.observed, item.window_end) == (101.2, 18.8, 120, MORNING + HOUR)
    assert "tail_p" not in answer.text


def test_expectations_are_paged_without_gap_or_repeat(store: Store) -> None:
    for hours in range(3):
        store.save_expectations(every_expectation(window_start=MORNING - hours * HOUR))
    items = pages(a_client(store, "planner"), "/v1/expectations", limit=5)
    keys = [(item["window_start"], item["zone_id"], item["direction"]) for item in items]
    assert len(keys) == 3 * 8
    assert keys == sorted(set(keys))


def test_a_zone_shows_the_state_that_matters_more(store: Store) -> None:
    with_releases(store)
    rows = [
        expectation("belt-01", "arrival", state="usual"),
        expectation("belt-01", "departure", state="unusual"),
        expectation("belt-02", "arrival", state="below_threshold", observed=None, excess=None),
        expectation("belt-02", "departure", state="usual"),
    ]
    store.save_expectations(rows)
    answer = a_client(store, "command").get("/v1/zones")
    grid = ZoneCollection.model_validate(answer.json())
    states = {feature.id: feature.properties.state for feature in grid.features}
    assert states == {"belt-01": "unusual", "belt-02": "usual", "belt-03": "no_coverage", "gate-01": "no_coverage"}
    assert answer.headers["content-type"] == "application/geo+json"
    assert grid.attribution == "a border that is not there"
    assert "of the grid's maker" not in answer.text


def test_the_public_sees_the_zones_and_not_their_states(store: Store) -> None:
    with_releases(store)
    store.save_expectations(every_expectation(state="unusual"))
    answer = a_client(store).get("/v1/zones")
    grid = ZoneCollection.model_validate(answer.json())
    assert [feature.id for feature in grid.features] == list(ZONES)
    assert not grid.states_shown
    assert "unusual" not in answer.text


def test_the_map_is_304_until_a_state_changes(store: Store) -> None:
    client = a_client(store, "command")
    store.save_expectations(every_expectation())
    tag = {"If-None-Match": client.get("/v1/zones").headers["etag"]}
    assert client.get("/v1/zones", headers=tag).status_code == 304
    store.save_expectations([expectation(state="unusual")])
    assert client.get("/v1/zones", headers=tag).status_code == 200


def test_without_a_grid_there_are_no_zones(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'empty.db'}")
    assert a_client(store, "command").get("/v1/zones").status_code == 404


def test_an_empty_centre_says_that_it_knows_nothing(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'empty.db'}")
    answer = a_client(store, "planner").get("/v1/counts").json()
    assert (answer["items"], answer["degraded_reasons"]) == ([], ["no_detection", "no_carrier"])


def ledger(store: Store, **asked: Any) -> list[dict[str, Any]]:
    return pages(a_client(store), "/v1/privacy/ledger", **asked)


def test_the_hours_of_a_token_day_are_charged_once(store: Store) -> None:
    with_releases(store, *(MORNING - hours * HOUR for hours in range(6)), carriers=["carrier-a"])
    LedgerPage.model_validate(a_client(store).get("/v1/privacy/ledger").json())
    (day,) = ledger(store)
    assert (day["releases"], day["cells"], day["suppressed"], day["suppressed_share"]) == (6, 48, 42, 0.875)
    assert (day["rho_spent"], day["rho_day"], day["within_budget"]) == (0.0224, 0.028, True)
    assert (day["token_day_start"], day["token_day_end"]) == ("2026-03-01T20:00:00Z", "2026-03-02T20:00:00Z")
    assert len({digest["digest"] for digest in day["digests"]}) == 6


def test_the_ledger_adds_up_to_what_was_taken_in(store: Store) -> None:
    hours = [MORNING - hours * HOUR for hours in range(40)]
    sent = with_releases(store, *hours)
    days = ledger(store, limit=2)
    assert sorted(digest["digest"] for day in days for digest in day["digests"]) == sorted(one.digest for one in sent)
    values = store.counts_rows(hours[-1], hours[0] + HOUR)["value"]
    assert sum(day["cells"] for day in days) == len(values)
    assert sum(day["suppressed"] for day in days) == sum(value is None for value in values)
    order = [(day["token_day_start"], day["carrier"]) for day in days]
    assert order == [
        (start, carrier)
        for start in sorted({start for start, _ in order}, reverse=True)
        for carrier in ("carrier-a", "carrier-b")
    ]


def test_a_lost_lineage_is_charged_again_and_shown(store: Store) -> None:
    for hours, lineage in ((0, "one"), (1, "one"), (2, "two")):
        accept_release(store, release(start=MORNING - hours * HOUR, lineage=lineage), carrier=None, now=NOW)
    (day,) = ledger(store)
    assert day["rho_spent"] == pytest.approx(0.0448)
    assert (day["levels"][0]["lineages"], day["within_budget"]) == (2, False)


def test_a_level_shows_its_weakest_protection_of_the_day(store: Store) -> None:
    strict = mechanism(sigma=19.0, threshold=80, policy_id="policy-2")
    accept_release(store, release(), carrier=None, now=NOW)
    accept_release(store, release(start=MORNING - HOUR, mechanism=strict), carrier=None, now=NOW)
    (day,) = ledger(store)
    (level,) = day["levels"]
    assert (level["sigma"], level["threshold"], level["policy_ids"]) == (9.45, 50, ["policy-1", "policy-2"])


def test_the_ledger_is_public_and_can_be_narrowed_to_a_carrier(store: Store) -> None:
    with_releases(store)
    answer = a_client(store).get("/v1/privacy/ledger", params={"carrier": "carrier-b"})
    assert answer.headers["cache-control"] == "public, max-age=60"
    assert [day["carrier"] for day in answer.json()["items"]] == ["carrier-b"]


def test_a_simulation_is_marked_wherever_it_is_read(tmp_path: Path) -> None:
    store = a_store(tmp_path, lineages=("simulated",), carriers=["carrier-a"])
    accept_release(store, release(lineage="simulated-1"), carrier=None, now=NOW)
    client = a_client(store, "planner", clock=lambda: MORNING + timedelta(hours=3))
    answer = client.get("/v1/counts").json()
    assert answer["coverage"]["simulated"]
    assert {item["simulated"] for item in answer["items"]} == {True}
    assert ledger(store)[0]["simulated"]
