"""Stories of who may ask: roles, credentials, and the development sign-in that stays on this machine."""

import base64
import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.identity import LIFETIME_S, PUBLIC, SCOPES, Caller, DevelopmentSignIn, caller_named
from api.settings import ApiSettings, SettingRefused, is_loopback
from api.store import Store
from tests.api.builders import NOW, SECRET, a_client, alert, release, sign_in, with_releases

ROLES = ["public", "carrier:carrier-a", "planner", "command", "analyst", "auditor"]
ANYONE = set(ROLES)
READERS = {"planner", "command", "analyst"}


WHO_MAY = [
    ("GET", "/v1/alerts", READERS),
    ("GET", "/v1/alerts/a-1", READERS),
    ("POST", "/v1/alerts/a-1/acknowledge", {"command"}),
    ("POST", "/v1/alerts/a-1/close", {"command"}),
    ("GET", "/v1/counts", READERS | {"carrier:carrier-a"}),
    ("GET", "/v1/estimates", READERS),
    ("GET", "/v1/expectations", READERS),
    ("POST", "/v1/releases", {"carrier:carrier-a"}),
    ("GET", "/v1/privacy/ledger", ANYONE),
    ("GET", "/v1/zones", ANYONE),
    ("GET", "/livez", ANYONE),
    ("GET", "/readyz", ANYONE),
    ("GET", "/version", ANYONE),
    ("GET", "/v1/openapi.json", ANYONE),
]


@pytest.mark.parametrize(("method", "path", "may"), WHO_MAY)
def test_each_role_may_do_what_it_is_for(store: Store, method: str, path: str, may: set[str]) -> None:
    digest = with_releases(store)[0].digest
    store.save_alerts([alert(digest)], recorded_at=NOW)
    body = {"revision": 1, "disposition": "unexplained"} if path.endswith("close") else {"revision": 1}
    sent = release().document() if path == "/v1/releases" else body
    client = a_client(store)
    answers = {}
    for role in ROLES:
        signed = {"Authorization": f"Bearer {sign_in(client, role)}"}
        client.cookies.clear()
        answers[role] = client.request(method, path, json=sent if method == "POST" else None, headers=signed)
    refused = {role: 401 if role == "public" else 403 for role in ANYONE - may}
    assert {role: answer.status_code for role, answer in answers.items()} == dict.fromkeys(may, 200) | refused


def test_every_route_is_in_the_list_of_roles(store: Store) -> None:
    paths = a_client(store).get("/v1/openapi.json").json()["paths"]
    listed = {(method, path.replace("a-1", "{alert_id}")) for method, path, _ in WHO_MAY}
    served = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    assert served <= listed


def test_without_a_credential_the_answer_says_how_to_show_one(store: Store) -> None:
    answer = a_client(store).get("/v1/alerts")
    assert (answer.status_code, answer.json()["code"]) == (401, "sign_in_needed")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_carrier_cannot_release_for_another(store: Store) -> None:
    answer = a_client(store, "carrier:carrier-b").post("/v1/releases", json=release("carrier-a").document())
    assert (answer.status_code, answer.json()["code"]) == (403, "other_carrier")


@pytest.mark.parametrize("role", ["root", "carrier", "carrier:", "planner:north", SECRET])
def test_a_role_that_does_not_exist_cannot_be_taken(store: Store, role: str) -> None:
    answer = a_client(store).post("/dev/sign-in", json={"role": role})
    assert answer.status_code == 422
    assert SECRET not in answer.text


def test_a_credential_dies_after_15_minutes(store: Store) -> None:
    seconds = [1000.0]
    client = a_client(store, "command", credential_clock=lambda: seconds[0])
    seconds[0] += LIFETIME_S - 1
    assert client.get("/v1/alerts").status_code == 200
    seconds[0] += 1
    assert client.get("/v1/alerts").json()["code"] == "credential_invalid"


def test_a_credential_dies_with_the_process(store: Store) -> None:
    bearer = sign_in(a_client(store), "command")
    other_process = a_client(store)
    other_process.headers["Authorization"] = f"Bearer {bearer}"
    assert other_process.get("/v1/alerts").status_code == 401


def test_a_credential_cannot_be_bent() -> None:
    issuer = DevelopmentSignIn(lambda: 0.0)
    credential, _ = issuer.mint(Caller("planner"))
    payload, mac = credential.split(".")
    promoted = base64.urlsafe_b64encode(json.dumps({"caller": "command", "exp": 1e18}).encode()).rstrip(b"=").decode()
    assert issuer.read(credential) == Caller("planner")
    for bent in (
        f"{promoted}.{mac}",
        payload,
        f"{payload}.",
        f".{mac}",
        f"{promoted}.",
        "",
        "é.é",
        f"{payload}.{mac}A",
    ):
        assert issuer.read(bent) is None


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", "Bearer x.y", "Basic Y29tbWFuZDo=", f"Bearer {SECRET}", "bearer a b"]
)
def test_a_credential_that_is_not_ours_is_refused_even_where_none_is_needed(store: Store, header: str) -> None:
    client = a_client(store)
    for path in ("/v1/alerts", "/v1/zones"):
        answer = client.get(path, headers={"Authorization": header})
        assert answer.status_code == 401
        assert SECRET not in answer.text


def test_the_page_is_signed_in_by_a_cookie_that_scripts_cannot_read(store: Store) -> None:
    client = a_client(store)
    answer = client.post("/dev/sign-in", json={"role": "command"}, headers={"Origin": "http://localhost:8000"})
    assert {"HttpOnly", "SameSite=strict", "Max-Age=900"} <= set(answer.headers["set-cookie"].split("; "))
    assert answer.headers["cache-control"] == "no-store"
    assert client.get("/v1/alerts").status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "10.0.0.1", "centre.example", ""])
def test_the_development_sign_in_does_not_start_on_an_open_address(host: str) -> None:
    with pytest.raises(SettingRefused, match="bind_host"):
        ApiSettings(sign_in="development", bind_host=host)


def test_without_a_sign_in_nothing_but_the_public_routes_answers(store: Store) -> None:
    from api.app import create_app

    app = create_app(store, ApiSettings(static_dir=Path("no-static-files"), bind_host="0.0.0.0"))
    client = TestClient(app, base_url="https://centre.example")
    assert client.get("/v1/privacy/ledger").status_code == 200
    assert client.get("/v1/alerts").status_code == 401
    assert client.get("/v1/alerts", headers={"Authorization": "Bearer x.y"}).status_code == 401
    assert client.post("/dev/sign-in", json={"role": "command"}).status_code == 404


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("192.168.1.4", "localhost:8000"),
        ("127.0.0.1", "rebound.example"),
        ("127.0.0.1", "localhost.rebound.example"),
        ("127.0.0.1", "127.0.0.1.rebound.example:8000"),
        ("127.0.0.1", "user@localhost:8000@rebound.example"),
        ("127.0.0.1", "[::1"),
        ("127.0.0.1", ""),
    ],
)
def test_in_development_only_this_machine_is_answered(store: Store, peer: str, host: str) -> None:
    client = TestClient(a_client(store).app, base_url="http://localhost:8000", client=(peer, 50000))
    answer = client.get("/livez", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (403, "not_loopback")


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000"])
def test_in_development_this_machine_is_answered_by_any_of_its_names(store: Store, host: str) -> None:
    assert a_client(store).get("/livez", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_in_development_a_proxy_is_not_this_machine(store: Store, header: str) -> None:
    assert a_client(store).get("/livez", headers={header: "127.0.0.1"}).status_code == 403


@pytest.mark.parametrize(
    "origin", ["http://rebound.example", "null", "http://localhost:9999", "https://localhost:8000"]
)
def test_another_sites_page_cannot_act(store: Store, origin: str) -> None:
    answer = a_client(store).post("/dev/sign-in", json={"role": "command"}, headers={"Origin": origin})
    assert answer.status_code == 403


def test_loopback_is_told_from_the_world() -> None:
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "testclient", ""]))


def test_the_public_holds_no_scope() -> None:
    assert PUBLIC.scopes == frozenset()
    assert [caller_named(role) is not None for role in ROLES] == [True] * len(ROLES)
    assert {role.partition(":")[0] for role in ROLES} == set(SCOPES)
