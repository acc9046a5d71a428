"""Stories of the public privacy ledger: policies and their changes, what a month costs, who may be asked, what changed."""

import hashlib
import json
from datetime import date, timedelta
from typing import Any

import pytest

from api.answers import LedgerPage
from api.intake import ReleaseRefused, accept_release
from api.routes.ledger import COMPOSITION_FILE, epsilon_of, policies_of
from api.settings import ApiSettings, Notice
from api.store import Store
from ingest.release import HOUR
from privacy.accountant import Case, cost, epsilon
from privacy.policy import ReleasePolicy
from tests.api.builders import MORNING, NOW, a_client, mechanism, release, with_releases

DAY = timedelta(days=1)


def page(store: Store, path: str = "/v1/privacy/ledger", **settings: Any) -> dict[str, Any]:
    answer = a_client(store, **settings).get(path)
    assert answer.status_code == 200
    LedgerPage.model_validate(answer.json())
    document: dict[str, Any] = answer.json()
    return document


def test_every_release_names_its_policy_and_how_much_it_did_not_say(store: Store) -> None:
    sent = with_releases(store, carriers=["carrier-a"])[0]
    (day,) = page(store)["items"]
    assert day["digests"] == [
        {
            "level": "zone-hour",
            "window_start": "2026-03-02T05:00:00Z",
            "digest": sent.digest,
            "policy_id": "policy-1",
            "cells": 8,
            "suppressed": 7,
            "feed_complete": True,
        }
    ]
    assert (day["grid_ids"], day["lineages"]) == ([sent.grid_id], ["f00d"])


def test_a_change_of_policy_is_a_public_record(store: Store) -> None:
    stricter = mechanism(threshold=80, policy_id="policy-2")
    for days, stated in ((2, mechanism()), (1, stricter), (0, mechanism())):
        one = release(start=MORNING - days * DAY, mechanism=stated, lineage=f"l{days}")
        accept_release(store, one, carrier=None, now=NOW)
    policies = page(store)["policies"]
    assert [(policy["policy_id"], policy["previous"], policy["takes_effect"]) for policy in policies] == [
        ("policy-1", None, "2026-02-27T20:00:00Z"),
        ("policy-2", "policy-1", "2026-02-28T20:00:00Z"),
        ("policy-1", "policy-2", "2026-03-01T20:00:00Z"),
    ]
    assert policies[1]["levels"] == [{"level": "zone-hour", "rho": 0.0224, "sigma": 9.45, "threshold": 80}]
    assert policies[0]["epsilon_day"] == 1.0


def test_days_under_one_policy_are_one_record_with_all_levels(store: Store) -> None:
    with_releases(store, MORNING, MORNING - DAY, MORNING - 2 * DAY, carriers=["carrier-a"])
    (policy,) = page(store)["policies"]
    assert (policy["takes_effect"], policy["last_token_day"]) == ("2026-02-27T20:00:00Z", "2026-03-01T20:00:00Z")
    hour = {"carrier": "a", "policy_id": "p", "rho_day": 0.028, "delta": 1e-6, "k": 2, "rho_level": 0.1, "sigma": 1.0}
    stated = [
        hour | {"token_day_start": MORNING, "level": "zone-hour", "threshold": 50},
        hour | {"token_day_start": MORNING + DAY, "level": "border-day", "threshold": 150},
        hour | {"token_day_start": MORNING + DAY, "level": "zone-hour", "threshold": 50},
    ]
    (joined,) = policies_of(stated)
    assert {level["level"] for level in joined["levels"]} == {"zone-hour", "border-day"}


def test_two_policies_in_one_day_do_not_hide_behind_each_other(store: Store) -> None:
    for hours, name in ((0, "policy-1"), (1, "policy-2")):
        one = release(start=MORNING - hours * HOUR, mechanism=mechanism(policy_id=name))
        accept_release(store, one, carrier=None, now=NOW)
    assert [policy["policy_id"] for policy in page(store)["policies"]] == ["policy-1", "policy-2"]


def test_a_try_to_say_something_else_is_shown(store: Store) -> None:
    accept_release(store, release(), carrier=None, now=NOW)
    with pytest.raises(ReleaseRefused):
        accept_release(store, release(values={("belt-01", "arrival"): 121}), carrier=None, now=NOW)
    (day,) = page(store)["items"]
    assert (day["incidents"], day["releases"]) == (1, 1)


def test_a_reader_asks_only_for_what_began_since(store: Store) -> None:
    with_releases(store, MORNING, MORNING - DAY, MORNING - 2 * DAY, carriers=["carrier-a"])
    newest = page(store, "/v1/privacy/ledger?since=2026-03-01T20:00:00Z")
    assert [day["token_day_start"] for day in newest["items"]] == ["2026-03-01T20:00:00Z"]
    assert newest["since"] == "2026-03-01T20:00:00Z"
    assert len(newest["policies"]) == 1, "policies are told from the beginning, whatever is asked"
    client = a_client(store)
    assert client.get("/v1/privacy/ledger", params={"since": "yesterday"}).status_code == 422
    first = client.get("/v1/privacy/ledger", params={"since": "2026-02-28T00:00:00Z", "limit": 1}).json()
    other = client.get("/v1/privacy/ledger", params={"since": "2026-01-01T00:00:00Z", "cursor": first["next_cursor"]})
    assert other.json()["code"] == "cursor_invalid"


def test_the_ledger_is_304_until_something_is_said(store: Store) -> None:
    with_releases(store, carriers=["carrier-a"])
    client = a_client(store)
    answer = client.get("/v1/privacy/ledger")
    tag = {"If-None-Match": answer.headers["etag"]}
    unchanged = client.get("/v1/privacy/ledger", headers=tag)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["cache-control"] == answer.headers["cache-control"] == "public, max-age=60"
    with_releases(store, MORNING - HOUR, carriers=["carrier-a"])
    assert client.get("/v1/privacy/ledger", headers=tag).status_code == 200


@pytest.mark.parametrize("changed", ["incident", "notice", "limit"])
def test_its_entity_tag_knows_all_that_it_shows(store: Store, changed: str) -> None:
    accept_release(store, release(), carrier=None, now=NOW)
    tag = {"If-None-Match": a_client(store).get("/v1/privacy/ledger").headers["etag"]}
    path, notice = "/v1/privacy/ledger", Notice()
    if changed == "incident":
        with pytest.raises(ReleaseRefused):
            accept_release(store, release(values={("belt-01", "arrival"): 121}), carrier=None, now=NOW)
    elif changed == "notice":
        notice = Notice(complaints="privacy@example")
    else:
        path += "?limit=1"
    assert a_client(store, notice=notice).get(path, headers=tag).status_code == 200


def test_what_a_month_costs_is_the_accountants_own_table(store: Store) -> None:
    table = page(store)["composition"]
    policy = ReleasePolicy()
    assert (table["policy_id"], table["rho_day"], table["delta"]) == (policy.policy_id, policy.rho_day, policy.delta)
    shown = {(row["days"], row["carriers"], row["group"]): row for row in table["rows"]}
    assert {(days, carriers, 1) for days in (1, 7, 30, 365) for carriers in (1, 2)} <= set(shown)
    assert {group for _, _, group in shown} == {1, 2, 5, 10, 20, 30}
    for (days, carriers, group), row in shown.items():
        case = Case(days, carriers, group)
        assert row["rho"] == pytest.approx(policy.rho_day * days * carriers * group**2)
        if row["epsilon"] < 14:
            assert row["epsilon"] == round(cost(policy, case).epsilon, 2)
        # The long ones take the accountant half a minute; Gauss's own curve is below them by its rounding only.
        assert row["epsilon"] == pytest.approx(epsilon(row["rho"], policy.delta), rel=0.006, abs=0.005)


def test_an_epsilon_without_the_accountant_is_the_accountants_rounded_up() -> None:
    for rho in (0.0224, 0.028, 0.056, 0.84, 2.8):
        assert 0 <= epsilon_of(rho, 1e-6) - epsilon(rho, 1e-6) < 0.0101


def test_the_service_counts_no_epsilon_with_heavy_libraries() -> None:
    import subprocess
    import sys

    asked = "import sys, api.app; print(sorted({'dp_accounting', 'opendp', 'numpy', 'scipy'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_verifier_is_served_with_its_digest(store: Store) -> None:
    client = a_client(store, static_dir=ApiSettings().static_dir)
    told = client.get("/v1/privacy/ledger").json()["verification"]
    served = client.get(told["verifier"])
    assert served.status_code == 200
    assert hashlib.sha256(served.content).hexdigest() == told["verifier_sha256"]
    assert b"def verify(" in served.content
    assert page(store)["verification"]["verifier"] is None, "without its file it is not promised"


def test_the_operator_says_whom_to_turn_to_and_when_it_ends(store: Store) -> None:
    notice = Notice(
        operator="Border Command South",
        complaints="privacy@example",
        opt_out="ask your carrier",
        ends_on=date(2026, 3, 2),
        carrier_ledgers={"carrier-a": "https://a.example/ledger.json"},
    )
    told = page(store, notice=notice)
    assert told["notice"] == {
        "operator": "Border Command South",
        "complaints": "privacy@example",
        "authority": None,
        "opt_out": "ask your carrier",
        "ends_on": "2026-03-02",
        "ended": False,
    }
    assert told["verification"]["carrier_ledgers"] == [
        {"carrier": "carrier-a", "href": "https://a.example/ledger.json"}
    ]
    assert page(store, notice=notice, clock=lambda: NOW + DAY)["notice"]["ended"]


def test_the_table_is_committed_as_it_is_served() -> None:
    assert json.loads(COMPOSITION_FILE.read_text(encoding="utf-8"))["rows"][0] == {
        "days": 1, "carriers": 1, "group": 1, "rho": 0.028, "epsilon": 1.0,
    }  # fmt: skip
