"""Stories of token-days as the centre serves them: each carrier's, all together, and of the whole market."""

from datetime import timedelta
from typing import Any

import pytest

from api.answers import CountPage, EstimateAnswer
from api.intake import accept_release
from api.store import Store, StoreRefused
from detector.expand import ExpansionRefused, MarketFactor
from ingest.release import format_utc, seal
from tests.api.builders import DAY_START, a_client, day_content, release

DAY = timedelta(days=1)
AFTER = DAY_START + 3 * DAY


def take_in(store: Store, carrier: str, level: str = "sector-day", day: Any = DAY_START, **values: int) -> str:
    """A token-day of a carrier; `values` name arrivals by sector, of belts."""
    content = day_content(level, carrier)
    content |= {"window_start": format_utc(day), "window_end": format_utc(day + DAY)}
    for count in content["counts"]:
        if count["kind"] == "belt" and count["direction"] == "arrival":
            count["value"] = values.get(count.get("sector_id", "border"))
    sealed = seal(content)
    accept_release(store, sealed, carrier=None, now=AFTER)
    return sealed.digest


def planner(store: Store) -> Any:
    return a_client(store, "planner", clock=lambda: AFTER)


def factor(carrier: str = "carrier-a", by: float = 1.25, sd: float = 0.1, valid_from: Any = DAY_START) -> MarketFactor:
    return MarketFactor(carrier, by, sd, valid_from, "An", "Binh", "the regulator's figures")


def belts(answer: Any, direction: str = "arrival") -> dict[Any, Any]:
    items = answer.json()["items"]
    return {i["sector_id"]: i for i in items if i["kind"] == "belt" and i["direction"] == direction}


def test_each_carriers_token_days_are_served_with_their_own_deviation(store: Store) -> None:
    digest = take_in(store, "carrier-a", north=812)
    answer = planner(store).get("/v1/counts", params={"level": "sector-day"})
    page = CountPage.model_validate(answer.json())
    assert (page.level, len(page.items)) == ("sector-day", 6)
    item = belts(answer)["north"]
    assert (item["value"], item["sigma"], item["interval"]) == (812, 34.9, [743.6, 880.4])
    assert (item["threshold"], item["release_digest"], item["window_end"]) == (150, digest, format_utc(DAY_START + DAY))
    assert belts(answer)["south"]["state"] == "below_threshold"


def test_the_border_is_served_without_a_sector(store: Store) -> None:
    take_in(store, "carrier-a", "border-day", border=4000)
    answer = planner(store).get("/v1/counts", params={"level": "border-day"})
    assert belts(answer)[None]["value"] == 4000
    assert len(answer.json()["items"]) == 4


def test_levels_do_not_mix_in_one_answer(store: Store) -> None:
    take_in(store, "carrier-a", north=812)
    take_in(store, "carrier-a", "border-day", border=4000)
    accept_release(store, release(), carrier=None, now=AFTER)
    client = planner(store)
    served = {level: client.get("/v1/counts", params={"level": level}).json() for level in (
        "zone-hour", "sector-day", "border-day")}  # fmt: skip
    assert {level: len(page["items"]) for level, page in served.items()} == {
        "zone-hour": 8, "sector-day": 6, "border-day": 4}  # fmt: skip
    assert client.get("/v1/counts").json()["items"] == served["zone-hour"]["items"]


def test_token_days_are_paged_without_gap_or_repeat(store: Store) -> None:
    for number in range(2):
        for carrier in ("carrier-a", "carrier-b"):
            take_in(store, carrier, day=DAY_START + number * DAY, north=812)
    client, items, asked = planner(store), [], {"level": "sector-day", "limit": 5}
    while True:
        page = client.get("/v1/counts", params=asked).json()
        items += page["items"]
        if page["next_cursor"] is None:
            break
        asked["cursor"] = page["next_cursor"]
    keys = [tuple(i[n] for n in ("window_start", "carrier", "sector_id", "kind", "direction")) for i in items]
    assert len(keys) == 24
    assert keys == sorted(set(keys))


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/counts", {"level": "sector-day", "zone_id": "belt-01"}),
        ("/v1/counts", {"level": "border-day", "sector_id": "north"}),
        ("/v1/counts", {"level": "zone-day"}),
        ("/v1/estimates", {"level": "zone-hour"}),
        ("/v1/estimates", {"level": "border-day", "sector_id": "north"}),
        ("/v1/estimates", {"start": "2025-01-01T00:00:00Z", "end": "2026-03-01T00:00:00Z"}),
    ],
)
def test_a_question_that_a_level_has_no_answer_to_is_refused(store: Store, path: str, asked: dict[str, str]) -> None:
    answer = planner(store).get(path, params=asked)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_carriers_are_added_with_their_noise_and_a_null_is_censored(store: Store) -> None:
    take_in(store, "carrier-a", north=812, south=500)
    take_in(store, "carrier-b", north=300)
    answer = planner(store).get("/v1/estimates")
    EstimateAnswer.model_validate(answer.json())
    north, south = belts(answer)["north"], belts(answer)["south"]
    assert north["counted"] == {"value": 1112, "sd": 49.4, "at_least": 1015.3, "at_most": 1208.7}
    assert (south["counted"]["value"], south["suppressed"]) == (None, 1)
    assert (south["counted"]["at_least"], south["counted"]["at_most"]) == (431.6, 746.7)
    assert north["market"] is None


def test_a_missing_carrier_leaves_the_sum_open(store: Store) -> None:
    take_in(store, "carrier-a", north=812)
    north = belts(planner(store).get("/v1/estimates"))["north"]
    assert (north["counted"]["value"], north["counted"]["at_most"], north["complete"]) == (None, None, False)
    assert (north["carriers_present"], north["carriers_expected"]) == (1, 2)


def test_the_market_is_shown_with_who_says_so_since_when_and_why(store: Store) -> None:
    for carrier in ("carrier-a", "carrier-b"):
        take_in(store, carrier, north=400)
        take_in(store, carrier, day=DAY_START - DAY, north=400)
        store.put_factor(factor(carrier), recorded_at=AFTER)
    answer = planner(store).get("/v1/estimates")
    told = answer.json()
    by_day = {
        i["window_start"]: i["market"]
        for i in told["items"]
        if i["sector_id"] == "north" and i["direction"] == "arrival"
    }
    assert by_day[format_utc(DAY_START - DAY)] is None  # no factor was in force yet
    assert by_day[format_utc(DAY_START)]["value"] == 1000
    assert [(f["carrier"], f["factor"], f["proposed_by"], f["reason"]) for f in told["factors"]] == [
        ("carrier-a", 1.25, "An", "the regulator's figures"),
        ("carrier-b", 1.25, "An", "the regulator's figures"),
    ]


def test_a_market_factor_is_followed_and_never_rewritten(store: Store) -> None:
    store.put_factor(factor(), recorded_at=AFTER)
    store.put_factor(factor(), recorded_at=AFTER + DAY)
    with pytest.raises(StoreRefused, match="never rewritten"):
        store.put_factor(factor(by=1.5), recorded_at=AFTER)
    store.put_factor(factor(by=1.5, valid_from=DAY_START + DAY), recorded_at=AFTER)
    assert [f.factor for f in store.factors()] == [1.25, 1.5]
    with pytest.raises(ExpansionRefused):
        factor(sd=0.0)


def test_a_carrier_does_not_read_what_others_counted(store: Store) -> None:
    take_in(store, "carrier-b", north=812)
    client = a_client(store, "carrier:carrier-a", clock=lambda: AFTER)
    assert client.get("/v1/estimates").status_code == 403
    assert client.get("/v1/counts", params={"level": "sector-day"}).json()["items"] == []
    assert a_client(store).get("/v1/estimates").status_code == 401
