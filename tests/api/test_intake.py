"""Stories of the door for releases."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from api.intake import (
    ReleaseFloor,
    ReleaseRefused,
    accept_many,
    accept_release,
    lineage_kind,
    parse_json,
    parse_release,
)
from api.store import Store
from ingest.release import HOUR, format_utc, release_digest, seal
from tests.api.builders import (
    GRID_ID,
    MORNING,
    NOW,
    SECRET,
    a_store,
    grid_document,
    mechanism,
    release,
    release_content,
)


def refusal(store: Store, document: Any, *, carrier: str | None = None, now: Any = NOW) -> ReleaseRefused:
    with pytest.raises(ReleaseRefused) as refused:
        accept_release(store, document, carrier=carrier, now=now)
    return refused.value


def sealed(**changes: Any) -> dict[str, Any]:
    content = release_content(**changes)
    return content | {"digest": release_digest(content)}


def stored_values(store: Store) -> list[Any]:
    return store.counts_rows(MORNING - timedelta(days=9), NOW)["value"]


def test_a_release_goes_in_whole_and_comes_out_as_it_was(store: Store) -> None:
    sent = release()
    receipt = accept_release(store, sent.document(), carrier="carrier-a", now=NOW)
    columns = store.counts_rows(MORNING, MORNING + HOUR)
    assert (receipt.outcome, receipt.digest) == ("accepted", sent.digest)
    assert columns["value"] == [count.value for count in sent.counts]
    assert columns["zone_id"] == [count.zone_id for count in sent.counts]
    assert {name: column[0] for name, column in columns.items()} == {
        "carrier": "carrier-a",
        "zone_id": "belt-01",
        "sector_id": "north",
        "kind": "belt",
        "direction": "arrival",
        "window_start": MORNING,
        "value": 120,
        "sigma": 9.45,
        "threshold": 50,
        "feed_complete": True,
        "release_digest": sent.digest,
    }


def test_the_same_release_again_changes_nothing(store: Store) -> None:
    accept_release(store, release(), carrier=None, now=NOW)
    again = accept_release(store, release(), carrier=None, now=NOW + HOUR)
    assert (again.outcome, again.received_at) == ("same_digest", NOW)
    assert len(stored_values(store)) == 8


def test_a_second_word_on_a_window_is_refused_and_the_first_stays(store: Store) -> None:
    first = release(values={("belt-01", "arrival"): 120})
    second = release(values={("belt-01", "arrival"): 121})
    accept_release(store, first, carrier=None, now=NOW)
    assert refusal(store, second).reason == "second_digest"
    assert stored_values(store)[0] == 120
    (incident,) = store.incidents()
    assert (incident["kind"], incident["kept_digest"], incident["refused_digest"]) == (
        "second_digest",
        first.digest,
        second.digest,
    )


def test_a_carrier_speaks_for_itself_only(store: Store) -> None:
    assert refusal(store, release("carrier-b"), carrier="carrier-a").reason == "other_carrier"
    assert stored_values(store) == []


def test_the_name_in_the_credential_is_checked_before_the_list_of_carriers(store: Store) -> None:
    assert refusal(store, release("carrier-z"), carrier="carrier-a").reason == "other_carrier"
    assert refusal(store, release("carrier-z"), carrier="carrier-z").reason == "unknown_carrier"


def test_a_carrier_that_is_not_active_any_more_is_unknown(store: Store) -> None:
    store.put_carrier("carrier-a", "A", active=False)
    assert refusal(store, release()).reason == "unknown_carrier"


@pytest.mark.parametrize(
    ("weaker", "pointer"),
    [
        ({"rho_day": 0.0281}, "/mechanism/rho_day"),
        ({"rho_level": 0.0225}, "/mechanism/rho_level"),
        ({"delta": 1e-5}, "/mechanism/delta"),
        ({"k": 3}, "/mechanism/k"),
        ({"threshold": 49}, "/mechanism/threshold"),
        ({"sigma": 9.44}, "/mechanism/sigma"),
    ],
)
def test_a_mechanism_weaker_than_the_policy_is_refused(store: Store, weaker: dict[str, Any], pointer: str) -> None:
    refused = refusal(store, sealed(mechanism=mechanism(**weaker)))
    assert (refused.reason, [fault.pointer for fault in refused.faults]) == ("weaker_mechanism", [pointer])


def test_a_stricter_mechanism_is_welcome(store: Store) -> None:
    stricter = mechanism(sigma=19.0, rho_level=0.0056, rho_day=0.007, threshold=80, k=1)
    values = {("belt-01", "arrival"): 120}
    assert accept_release(store, seal(release_content(values=values, mechanism=stricter)), carrier=None, now=NOW)


def test_a_budget_below_what_the_noise_costs_is_refused(store: Store) -> None:
    assert refusal(store, sealed(mechanism=mechanism(rho_level=0.001))).reason == "mechanism_inconsistent"


def test_the_floor_itself_can_only_be_made_stricter() -> None:
    assert ReleaseFloor(threshold=80).threshold == 80
    with pytest.raises(ValueError, match="sigma"):
        ReleaseFloor(sigma=5.0)


@pytest.mark.parametrize(
    ("minutes_after_the_end", "reason"), [(-1, "window_open"), (0, "window_unsettled"), (74, "window_unsettled")]
)
def test_nothing_is_released_before_the_hour_has_closed_and_settled(
    store: Store, minutes_after_the_end: int, reason: str
) -> None:
    now = MORNING + HOUR + timedelta(minutes=minutes_after_the_end)
    assert refusal(store, release(), now=now).reason == reason
    assert accept_release(store, release(), carrier=None, now=MORNING + HOUR + timedelta(minutes=75))


def test_live_intake_refuses_replays_and_simulations(store: Store) -> None:
    assert refusal(store, sealed(lineage="replay-1")).reason == "lineage"
    assert refusal(store, sealed(lineage="simulated-1")).reason == "lineage"
    assert [lineage_kind(name) for name in ("replay", "replayed-1", "ab-cd")] == ["live"] * 3


def test_a_store_for_replays_marks_them(tmp_path: Path) -> None:
    store = a_store(tmp_path, lineages=("live", "replay"))
    accept_release(store, sealed(lineage="replay-1"), carrier=None, now=NOW)
    accept_release(store, sealed(start=MORNING - HOUR), carrier=None, now=NOW)
    marks = {row["window_start"]: row["simulated"] for _, _, rows in ledger(store) for row in rows}
    assert marks == {MORNING: True, MORNING - HOUR: False}


def ledger(store: Store) -> Any:
    return store.ledger_days(carrier=None, before=None, limit=9)


def test_every_zone_and_direction_of_the_grid_is_spoken_of(store: Store) -> None:
    counts = release_content()["counts"]
    strange = sorted([*counts[1:], {"zone_id": "belt-00", "direction": "arrival", "value": None}], key=str)
    strange.sort(key=lambda count: (count["zone_id"], count["direction"]))
    assert refusal(store, sealed(counts=counts[1:])).reason == "missing_zone"
    assert refusal(store, sealed(counts=strange)).reason == "unknown_zone"
    assert refusal(store, sealed(counts=[counts[0], *counts])).reason == "contract"
    assert stored_values(store) == []


def test_a_grid_counts_only_in_its_own_time(store: Store) -> None:
    newer = "sha256:" + "7b" * 32
    store.put_grid(grid_document(grid_id=newer, valid_from=format_utc(MORNING)))
    assert refusal(store, sealed(grid_id="sha256:" + "00" * 32)).reason == "unknown_grid"
    assert refusal(store, sealed(grid_id=GRID_ID)).reason == "grid_not_in_force"
    assert refusal(store, sealed(grid_id=newer, start=MORNING - HOUR)).reason == "grid_not_in_force"
    assert accept_release(store, sealed(grid_id=GRID_ID, start=MORNING - HOUR), carrier=None, now=NOW)


@pytest.mark.parametrize(
    "bend",
    [
        {"imsi": SECRET},
        {SECRET: 1},
        {"carrier": SECRET * 9},
        {"level": SECRET},
        {"window_start": SECRET},
        {"window_end": int(SECRET)},
        {"lineage": {"token": SECRET}},
        {"counts": [{"zone_id": "belt-01", "direction": "arrival", "value": SECRET}]},
        {"counts": [{"zone_id": "belt-01", "direction": "arrival", "value": 1, "msisdn": SECRET}]},
        {"digest": SECRET},
        {"feed": {"complete": SECRET}},
        {"mechanism": {"sigma": SECRET}},
    ],
)
def test_a_refusal_never_repeats_what_was_sent(store: Store, bend: dict[str, Any]) -> None:
    refused = refusal(store, sealed() | bend)
    assert refused.reason == "contract"
    assert refused.faults
    assert SECRET not in f"{refused}{refused.faults}{refused.__cause__}{refused.__context__}"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"a": 1, "a": 2}', "duplicate_key"),
        (b'{"a": [{"b": 1, "b": 1}]}', "duplicate_key"),
        (b'{"a": NaN}', "not_finite"),
        (b'{"a": -Infinity}', "not_finite"),
        (b'{"a": 1e999}', "not_finite"),
        (b'{"a": ' + b"9" * 4301 + b"}", "not_finite"),
        (b"[" * 100_000, "not_json"),
        ("{}".encode("utf-16"), "not_json"),
        (b"\xef\xbb\xbf{}", "not_json"),
        (b"\xff", "not_json"),
        (b"", "not_json"),
        (b" " * 2_000_001, "too_large"),
    ],
)
def test_json_is_read_strictly(body: bytes, reason: str) -> None:
    with pytest.raises(ReleaseRefused) as refused:
        parse_json(body)
    assert refused.value.reason == reason


def test_a_body_is_read_as_the_release_it_holds() -> None:
    assert parse_release(json.dumps(sealed()).encode()) == release()
    with pytest.raises(ReleaseRefused, match="contract"):
        parse_release(b"[]")


def test_of_many_releases_the_bad_one_is_refused_and_the_others_stay(store: Store) -> None:
    good = [release(start=MORNING - hours * HOUR) for hours in range(5)]
    other = release(start=MORNING, values={("belt-02", "arrival"): 99})
    sent: list[Any] = [good[0], sealed(lineage="replay-1"), *good[1:], good[0], other, {"carrier": SECRET}]
    outcomes = list(accept_many(store, sent, carrier=None, now=NOW, batch=3))
    told = [one.reason if isinstance(one, ReleaseRefused) else one.outcome for one in outcomes]
    assert told == ["accepted", "lineage", *["accepted"] * 4, "same_digest", "second_digest", "contract"]
    assert len(stored_values(store)) == 5 * 8


def test_a_batch_that_breaks_leaves_no_part_of_a_release(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Store._accept_one

    def breaks_on_the_second(self: Store, connection: Any, one: Any, *rest: Any) -> Any:
        stored = whole(self, connection, one, *rest)
        if one.window_start == MORNING:
            raise RuntimeError("the machine died here")
        return stored

    monkeypatch.setattr(Store, "_accept_one", breaks_on_the_second)
    with pytest.raises(RuntimeError):
        list(accept_many(store, [release(start=MORNING - HOUR), release()], carrier=None, now=NOW))
    assert stored_values(store) == []
    assert ledger(store) == []
