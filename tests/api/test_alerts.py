"""Stories of the desks: polling, acknowledging, closing."""

import threading
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.answers import AlertAnswer, AlertPage
from api.store import AlertFilter, Store
from ingest.release import HOUR
from tests.api.builders import (
    MORNING,
    NOW,
    SECRET,
    ZONES,
    a_client,
    alert,
    every_expectation,
    expectation,
    with_releases,
)


@pytest.fixture
def digest(store: Store) -> str:
    return with_releases(store)[0].digest


def poll(client: TestClient, since: str | None = None, **asked: Any) -> tuple[list[dict[str, Any]], str]:
    """Everything there is after a cursor, page by page, and where to go on."""
    found: list[dict[str, Any]] = []
    while True:
        answer = client.get("/v1/alerts", params={**asked, **({} if since is None else {"since": since})}).json()
        found += answer["items"]
        since = answer["next_cursor"]
        if not any(link["rel"] == "next" for link in answer["links"]):
            return found, str(since)


def told(alerts: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(one["alert_id"], one["revision"]) for one in alerts]


def test_an_alert_is_served_as_the_contract_says(store: Store, digest: str) -> None:
    store.save_detection(expectations=every_expectation(), alerts=[alert(digest)], recorded_at=NOW)
    client = a_client(store, "command")
    page = AlertPage.model_validate(client.get("/v1/alerts").json())
    assert page.items[0].document() == alert(digest)
    one = AlertAnswer.model_validate(client.get("/v1/alerts/a-1").json())
    assert one.alert == page.items[0]
    assert [(event.who, event.act) for event in one.history] == [("detector", "opened")]


def test_without_a_cursor_each_alert_is_told_once_as_it_stands(store: Store, digest: str) -> None:
    store.save_alerts([alert(digest, "a-1"), alert(digest, "a-2")], recorded_at=NOW)
    store.acknowledge_alert("a-1", revision=1, who="command", at=NOW)
    found, _ = poll(a_client(store, "command"))
    assert told(found) == [("a-2", 1), ("a-1", 2)]


def test_with_a_cursor_every_revision_since_is_told_once_and_in_order(store: Store, digest: str) -> None:
    client = a_client(store, "command")
    store.save_alerts([alert(digest, f"a-{i}") for i in range(5)], recorded_at=NOW)
    found, cursor = poll(client, limit=2)
    assert told(found) == [(f"a-{i}", 1) for i in range(5)]
    store.acknowledge_alert("a-3", revision=1, who="command", at=NOW)
    store.save_alerts([alert(digest, "a-3", severity="moderate"), alert(digest, "a-9")], recorded_at=NOW)
    found, cursor = poll(client, cursor, limit=2)
    assert told(found) == [("a-3", 2), ("a-3", 3), ("a-9", 1)]
    assert poll(client, cursor) == ([], cursor)


def test_what_is_revised_while_the_first_pages_are_read_comes_afterwards(store: Store, digest: str) -> None:
    client = a_client(store, "command")
    store.save_alerts([alert(digest, f"a-{i}") for i in range(4)], recorded_at=NOW)
    first = client.get("/v1/alerts", params={"limit": 2}).json()
    store.acknowledge_alert("a-3", revision=1, who="command", at=NOW)
    rest, _ = poll(client, first["next_cursor"], limit=2)
    assert told(first["items"] + rest) == [("a-0", 1), ("a-1", 1), ("a-2", 1), ("a-3", 1), ("a-3", 2)]


def test_the_open_list_does_not_show_what_has_closed(store: Store, digest: str) -> None:
    store.save_alerts([alert(digest, "a-1"), alert(digest, "a-2")], recorded_at=NOW)
    store.save_alerts([alert(digest, "a-1", status="closed", closed_by="system")], recorded_at=NOW)
    found, _ = poll(a_client(store, "command"), status="open")
    assert told(found) == [("a-2", 1)]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"sector_id": "south"}, ["a-2"]),
        ({"zone_id": "belt-02"}, ["a-1"]),
        ({"direction": "departure"}, ["a-2"]),
        ({"severity": "high"}, ["a-1"]),
        ({"status": "open"}, ["a-1", "a-2"]),
        ({"sector_id": "north", "direction": "departure"}, []),
    ],
)
def test_filters_narrow_the_list(store: Store, digest: str, asked: dict[str, str], found: list[str]) -> None:
    other = alert(digest, "a-2", sector_id="south", zone_ids=["belt-03"], direction="departure", severity="moderate")
    store.save_alerts([alert(digest, "a-1"), other], recorded_at=NOW)
    alerts, _ = poll(a_client(store, "command"), **asked)
    assert [one["alert_id"] for one in alerts] == found


def test_a_cursor_belongs_to_its_filters(store: Store, digest: str) -> None:
    store.save_alerts([alert(digest)], recorded_at=NOW)
    client = a_client(store, "command")
    _, cursor = poll(client, sector_id="north")
    assert client.get("/v1/alerts", params={"since": cursor, "sector_id": "south"}).json()["code"] == "cursor_invalid"
    assert client.get("/v1/alerts", params={"since": cursor, "sector_id": "north"}).status_code == 200


@pytest.mark.parametrize("cursor", ["", "x", "WzFd", "bnVsbA", SECRET, "Wy" * 250, "é"])
def test_a_made_up_cursor_is_refused(store: Store, cursor: str) -> None:
    answer = a_client(store, "command").get("/v1/alerts", params={"since": cursor})
    assert (answer.status_code, answer.json()["code"]) == (422, "cursor_invalid")


def test_nothing_new_is_304_and_anything_new_is_not(store: Store, digest: str) -> None:
    client = a_client(store, "command")
    first = client.get("/v1/alerts")
    tag = {"If-None-Match": first.headers["etag"]}
    unchanged = client.get("/v1/alerts", headers=tag)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert client.get("/v1/alerts", headers={"If-None-Match": f'"other", {first.headers["etag"]}'}).status_code == 304
    store.save_expectations([expectation()])
    assert client.get("/v1/alerts", headers=tag).status_code == 200
    tag = {"If-None-Match": client.get("/v1/alerts").headers["etag"]}
    store.save_alerts([alert(digest)], recorded_at=NOW)
    assert client.get("/v1/alerts", headers=tag).status_code == 200


def test_growing_stale_is_something_new(store: Store, digest: str) -> None:
    clock = [NOW]
    store.save_detection(expectations=every_expectation(), alerts=[], recorded_at=NOW)
    client = a_client(store, "command", clock=lambda: clock[0])
    fresh = client.get("/v1/alerts")
    clock[0] += 5 * HOUR
    stale = client.get("/v1/alerts", headers={"If-None-Match": fresh.headers["etag"]})
    assert (fresh.json()["degraded"], stale.json()["degraded_reasons"]) == (False, ["stale_watermark"])


def test_caches_are_told_that_the_answer_depends_on_who_asks(store: Store) -> None:
    headers = a_client(store, "command").get("/v1/alerts").headers
    assert headers["vary"] == "Authorization, Cookie"
    assert headers["cache-control"] == "private, no-cache"


def test_an_empty_list_without_detection_does_not_look_quiet(store: Store, digest: str) -> None:
    answer = a_client(store, "command").get("/v1/alerts").json()
    assert (answer["items"], answer["watermark"]) == ([], None)
    assert (answer["degraded"], answer["degraded_reasons"]) == (True, ["no_detection"])


def test_a_missing_carrier_is_named(store: Store) -> None:
    with_releases(store, MORNING, carriers=["carrier-a"])
    store.save_expectations(every_expectation(state="degraded"))
    answer = a_client(store, "command").get("/v1/alerts").json()
    assert answer["degraded_reasons"] == ["carrier_missing"]
    assert (answer["coverage"]["expected"], answer["coverage"]["present"]) == (2, 1)
    assert answer["coverage"]["missing"] == ["carrier-b"]


def test_a_desk_acknowledges_and_closes(store: Store, digest: str) -> None:
    store.save_alerts([alert(digest)], recorded_at=NOW)
    client = a_client(store, "command")
    taken = client.post("/v1/alerts/a-1/acknowledge", json={"revision": 1})
    ended = client.post("/v1/alerts/a-1/close", json={"revision": 2, "disposition": "relief_need"})
    assert (taken.json()["status"], taken.json()["revision"]) == ("acknowledged", 2)
    assert (ended.json()["status"], ended.json()["disposition"]) == ("closed", "relief_need")
    history = client.get("/v1/alerts/a-1").json()["history"]
    assert [(event["revision"], event["who"], event["act"], event["disposition"]) for event in history] == [
        (1, "detector", "opened", None),
        (2, "command", "acknowledged", None),
        (3, "command", "closed", "relief_need"),
    ]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("a-1/acknowledge", {"revision": 2}, 409, "wrong_transition"),
        ("a-1/acknowledge", {"revision": 1}, 409, "revision_stale"),
        ("a-1/close", {"revision": 1, "disposition": "unexplained"}, 409, "revision_stale"),
        ("a-1/close", {"revision": 2, "disposition": SECRET}, 422, "invalid_request"),
        ("a-1/close", {"revision": 2}, 422, "invalid_request"),
        ("a-1/close", {"revision": 2, "disposition": "unexplained", "note": SECRET}, 422, "invalid_request"),
        ("a-1/close", {"revision": True, "disposition": "unexplained"}, 422, "invalid_request"),
        ("a-1/close", {"revision": "2", "disposition": "unexplained"}, 422, "invalid_request"),
        ("a-1/acknowledge", {"revision": 2, "status": "open"}, 422, "invalid_request"),
        ("a-2/acknowledge", {"revision": 1}, 404, "not_found"),
    ],
)
def test_a_wrong_act_is_refused_and_changes_nothing(
    store: Store, digest: str, path: str, body: dict[str, Any], status: int, code: str
) -> None:
    store.save_alerts([alert(digest)], recorded_at=NOW)
    store.acknowledge_alert("a-1", revision=1, who="command", at=NOW)
    answer = a_client(store, "command").post(f"/v1/alerts/{path}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert SECRET not in answer.text
    assert store.newest_seq() == 2


def test_of_many_desks_at_once_one_wins(store: Store, digest: str) -> None:
    store.save_alerts([alert(digest)], recorded_at=NOW)
    client = a_client(store, "command")
    answers: list[int] = []

    def close() -> None:
        body = {"revision": 1, "disposition": "unexplained"}
        answers.append(client.post("/v1/alerts/a-1/close", json=body).status_code)

    desks = [threading.Thread(target=close) for _ in range(6)]
    for desk in desks:
        desk.start()
    for desk in desks:
        desk.join()
    assert sorted(answers) == [200] + [409] * 5


def test_a_poller_loses_nothing_while_many_write(store: Store, digest: str) -> None:
    writers, rounds = 4, 12
    stop = threading.Event()
    seen: list[list[tuple[str, int]]] = [[], []]

    def write(name: int) -> None:
        for number in range(rounds):
            size = {"value": 300 + number, "interval": [200, 600]}
            store.save_alerts([alert(digest, f"w-{name}-{i}", observed=size) for i in range(3)], recorded_at=NOW)

    def follow(into: list[tuple[str, int]]) -> None:
        after, last_look = 0, False
        while True:
            page = store.alerts_page(AlertFilter(), snapshot=None, after=after, limit=7)
            into += [(document["alert_id"], document["revision"]) for document in page.documents]
            after = page.last_seq if page.more else page.newest_seq
            if last_look and not page.documents:
                return
            last_look = stop.is_set()

    pollers = [threading.Thread(target=follow, args=(into,)) for into in seen]
    crowd = [threading.Thread(target=write, args=(name,)) for name in range(writers)]
    for thread in pollers + crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    stop.set()
    for thread in pollers:
        thread.join()
    every = [(f"w-{w}-{i}", r) for w in range(writers) for i in range(3) for r in range(1, rounds + 1)]
    for into in seen:
        assert sorted(into) == sorted(every)
        for w in range(writers):
            mine = [revision for alert_id, revision in into if alert_id == f"w-{w}-0"]
            assert mine == list(range(1, rounds + 1))
    assert store.newest_seq() == len(every)


def test_zones_of_an_alert_are_zones(store: Store, digest: str) -> None:
    store.save_alerts([alert(digest)], recorded_at=NOW)
    found, _ = poll(a_client(store, "command"))
    assert set(found[0]["zone_ids"]) <= set(ZONES)


@pytest.mark.parametrize(
    "bend",
    [
        {"imsi": SECRET},
        {"reasons": [f"seen {SECRET}"]},
        {"probability": "0.12345678901234567"},
        {"zone_ids": []},
        {"release_digests": []},
    ],
)
def test_an_alert_has_no_room_for_anyone(store: Store, digest: str, bend: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        store.save_alerts([alert(digest) | bend], recorded_at=NOW)


def test_a_reason_may_name_another_alert(store: Store, digest: str) -> None:
    reason = "Goes on in alert a-1234567890123456."
    (written,) = store.save_alerts([alert(digest, reasons=[reason])], recorded_at=NOW)
    assert written["reasons"] == [reason]
