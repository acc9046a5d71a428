"""Stories of refusals: every one is a problem, and none repeats what was sent."""

import asyncio
import logging
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.answers import ProblemAnswer
from api.problems import PROBLEMS
from api.settings import ApiSettings, SettingRefused
from api.store import Store
from tests.api.builders import SECRET, a_client, release, sign_in

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def client(store: Store) -> TestClient:
    return a_client(store, "command")


@pytest.fixture
def carrier(store: Store) -> TestClient:
    return a_client(store, "carrier:carrier-a")


def is_problem(answer: Any, status: int, code: str) -> bool:
    problem = ProblemAnswer.model_validate(answer.json())
    return (
        (answer.status_code, problem.status, problem.code) == (status, status, code)
        and answer.headers["content-type"] == "application/problem+json"
        and answer.headers["x-correlation-id"] == problem.correlation_id
        and answer.headers["cache-control"] == "no-store"
        and SECRET not in answer.text
        and SECRET not in str(answer.headers)
    )


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", f"/v1/{SECRET}", 404, "not_found"),
        ("GET", f"/v1/alerts/{SECRET}", 404, "not_found"),
        ("GET", f"/v1/alerts/{SECRET}%20", 422, "invalid_request"),
        ("GET", f"/v1/alerts/..%2f{SECRET}", 404, "not_found"),
        ("GET", f"/v1/alerts?sector={SECRET}", 422, "unknown_parameter"),
        ("GET", f"/v1/alerts?{SECRET}=1", 422, "unknown_parameter"),
        ("GET", f"/v1/alerts?token={SECRET}", 422, "unknown_parameter"),
        ("GET", f"/v1/counts?device={SECRET}", 422, "unknown_parameter"),
        ("GET", f"/v1/counts?bucket=15min&zone_id={SECRET}", 422, "unknown_parameter"),
        ("GET", f"/livez?imsi={SECRET}", 422, "unknown_parameter"),
        ("GET", f"/v1/alerts?sector_id=a&sector_id={SECRET}", 422, "repeated_parameter"),
        ("GET", f"/v1/alerts?limit={SECRET}x", 422, "invalid_request"),
        ("GET", f"/v1/alerts?limit={SECRET * 400}", 422, "invalid_request"),
        ("GET", f"/v1/alerts?status={SECRET}", 422, "invalid_request"),
        ("GET", f"/v1/alerts?zone_id={SECRET}%00", 422, "invalid_request"),
        ("GET", f"/v1/alerts?since={SECRET}", 422, "cursor_invalid"),
        ("GET", f"/v1/privacy/ledger?cursor={SECRET}", 422, "cursor_invalid"),
        ("GET", f"/v1/privacy/ledger?carrier={SECRET}!", 422, "invalid_request"),
        ("DELETE", f"/v1/alerts?x={SECRET}", 405, "method_not_allowed"),
        ("PUT", f"/v1/alerts/{SECRET}", 405, "method_not_allowed"),
        ("GET", f"/v1/alerts/{SECRET}/close", 405, "method_not_allowed"),
        ("POST", f"/v1/privacy/ledger?x={SECRET}", 405, "method_not_allowed"),
    ],
)
def test_what_is_refused_is_not_repeated(client: TestClient, method: str, path: str, status: int, code: str) -> None:
    assert is_problem(client.request(method, path), status, code)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (f'{{"{SECRET}": 1}}', 422, "invalid_request"),
        (f'{{"carrier": "{SECRET}!"}}', 422, "invalid_request"),
        (f'{{"carrier": "a", "carrier": "{SECRET}"}}', 422, "duplicate_key"),
        (f'{{"value": NaN, "x": "{SECRET}"}}', 422, "not_finite"),
        (f'{{"value": {SECRET}99999}}', 422, "not_finite"),
        (f'"{SECRET}"', 422, "invalid_request"),
        (f'["{SECRET}"]', 422, "invalid_request"),
        (f'{{"{SECRET}', 422, "not_json"),
        ("", 422, "invalid_request"),
    ],
)
def test_a_body_that_is_refused_is_not_repeated(carrier: TestClient, body: str, status: int, code: str) -> None:
    assert is_problem(carrier.post("/v1/releases", content=body, headers=JSON), status, code)


def test_a_release_is_told_where_it_breaks_its_contract(carrier: TestClient) -> None:
    counts = [{"zone_id": "belt-01", "direction": "arrival", "value": SECRET, "msisdn": SECRET}]
    answer = carrier.post("/v1/releases", json=release().document() | {"counts": counts, "imsi": SECRET})
    assert is_problem(answer, 422, "invalid_request")
    assert {("", "unknown_field"), ("/counts/0", "unknown_field"), ("/counts/0/value", "int_type")} <= {
        (error["pointer"], error["rule"]) for error in answer.json()["errors"]
    }


def test_a_digest_that_does_not_match_is_refused_by_its_rule(carrier: TestClient) -> None:
    answer = carrier.post("/v1/releases", json=release().document() | {"digest": "sha256:" + "00" * 32})
    assert is_problem(answer, 422, "invalid_request")
    assert [error["rule"] for error in answer.json()["errors"]] == ["the digest is not that of the content"]


def test_a_pushed_release_is_answered_with_a_receipt(carrier: TestClient) -> None:
    sent = release().document()
    first, again = carrier.post("/v1/releases", json=sent), carrier.post("/v1/releases", json=sent)
    other = carrier.post("/v1/releases", json=release(values={("belt-02", "arrival"): 77}).document())
    assert (first.status_code, first.json()["outcome"]) == (201, "accepted")
    assert (again.status_code, again.json()["outcome"]) == (200, "same_digest")
    assert is_problem(other, 409, "second_digest")
    assert first.json()["digest"] == sent["digest"]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "application/json; charset=utf-16", "multipart/form-data", ""]
)
def test_a_body_that_is_not_json_is_refused_by_its_type(carrier: TestClient, kind: str) -> None:
    answer = carrier.post("/v1/releases", content=b"{}", headers={"Content-Type": kind})
    assert is_problem(answer, 415, "unsupported_media_type")


def test_a_body_that_says_its_size_is_cut_before_it_is_read(carrier: TestClient) -> None:
    assert is_problem(carrier.post("/v1/releases", content=b" " * 2_000_001, headers=JSON), 413, "too_large")


def test_a_body_that_hides_its_size_is_cut_while_it_comes(store: Store) -> None:
    client = a_client(store)
    bearer = sign_in(client, "carrier:carrier-a")
    read, sent = [0], []

    async def endless() -> dict[str, Any]:
        read[0] += 100_000
        return {"type": "http.request", "body": b" " * 100_000, "more_body": True}

    async def hear(message: Any) -> None:
        sent.append(message)

    headers = {"host": "localhost", "content-type": "application/json", "authorization": f"Bearer {bearer}"}
    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/releases",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 50000),
    }
    asyncio.run(client.app(scope, endless, hear))  # type: ignore[arg-type]
    assert sent[0]["status"] == 413
    assert read[0] == 2_100_000


def test_a_wrong_method_says_which_are_right(client: TestClient) -> None:
    assert client.delete("/v1/alerts").headers["allow"] == "GET"
    assert client.get("/v1/releases").headers["allow"] == "POST"


def test_a_fault_of_ours_is_told_by_an_id_and_logged_without_its_words(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(self: Store) -> int:
        raise RuntimeError(f"the row of {SECRET}")

    client = a_client(store, "command")
    monkeypatch.setattr(Store, "newest_seq", breaks)
    with caplog.at_level(logging.DEBUG):
        answer = client.get("/v1/alerts")
    assert is_problem(answer, 500, "server_fault")
    assert answer.json()["correlation_id"] in caplog.text
    assert "RuntimeError" in caplog.text
    assert SECRET not in caplog.text


def test_a_store_that_does_not_answer_is_not_ready_but_alive(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    def breaks(self: Store) -> int:
        raise OperationalError("SELECT 1", {}, Exception(SECRET))

    monkeypatch.setattr(Store, "detections", breaks)
    client = a_client(store)
    assert is_problem(client.get("/readyz"), 503, "not_ready")
    assert client.get("/livez").status_code == 200


def test_a_correlation_id_is_ours_and_never_the_callers(client: TestClient) -> None:
    answer = client.get("/livez", headers={"X-Correlation-Id": SECRET})
    assert SECRET not in str(answer.headers)
    assert len(answer.headers["x-correlation-id"]) == 36


def test_every_answer_carries_the_security_headers(client: TestClient) -> None:
    for path in ("/livez", "/v1/alerts", "/v1/nothing", "/"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_a_sign_in_body_is_closed_too(store: Store) -> None:
    client = a_client(store)
    assert is_problem(client.post("/dev/sign-in", json={"role": "planner", "as": SECRET}), 422, "invalid_request")
    assert sign_in(client, "planner")


def test_the_cap_on_bodies_can_only_be_lowered(store: Store) -> None:
    small = a_client(store, "command", body_limit_bytes=40)
    assert is_problem(small.post("/v1/alerts/a-1/close", json={"revision": 1, "x": "y" * 40}), 413, "too_large")
    with pytest.raises(SettingRefused, match="body_limit_bytes"):
        ApiSettings(body_limit_bytes=2_000_001)


def test_a_code_has_one_status_and_one_sentence() -> None:
    assert all(400 <= status < 600 and title.endswith(".") for status, title in PROBLEMS.values())
