"""The public ledger: what a stranger can read and re-check, and what the centre can hold against it."""

import copy
import json

import pytest

from ingest.release import HOUR, Level
from privacy.chain import GENESIS, Link, digest_of, link_of
from privacy.public import NoPublicLedger, chain_of, public_faults, public_ledger, read_public_ledger, reconcile
from tests.privacy.builders import (
    COUNTS,
    DAY,
    STRICTER,
    CountingNoise,
    open_day,
    open_ledger,
    release,
    tell_day,
    tell_hours,
)


@pytest.fixture
def ledger(tmp_path):
    told = open_ledger(tmp_path)
    lineage = open_day(told)
    tell_hours(told, lineage, CountingNoise())
    tell_day(told, lineage, CountingNoise())
    later = DAY + HOUR * 24
    lineage = open_day(told, day=later, policy=STRICTER)
    release(told, lineage, CountingNoise(STRICTER), window=later, day=later)
    told.close_day(later, "the tables of this token-day are gone or are others")
    return told


def relinked(documents):
    """A chain that is sound as a chain, whatever its entries say."""
    links, previous = [], GENESIS
    for number, document in enumerate(documents, start=1):
        digest = digest_of(document)
        previous = link_of(previous, digest)
        links.append(Link(number, document, digest, previous))
    return links


def test_the_chain_tells_every_kind_of_fact_in_order(ledger):
    kinds = [link.document["kind"] for link in ledger.chain()]
    assert kinds[:4] == ["policy", "token-day", "charge", "release"]
    assert (kinds.count("release"), kinds.count("charge"), kinds.count("policy")) == (27, 4, 2)
    assert kinds[-1] == "closed"
    assert public_faults(ledger.chain()) == []


def test_the_public_ledger_reads_back_to_its_chain(ledger):
    document = json.loads(json.dumps(public_ledger("carrier-a", "live", ledger.chain())))
    assert chain_of(document) == ("carrier-a", ledger.chain())
    assert read_public_ledger(json.dumps(document).encode()) == ("carrier-a", ledger.chain())


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"format": "other"}, "format"),
        ({"head": GENESIS}, "head"),
        ({"entries": [1]}, "entry"),
        ({"entries": 1}, "entry"),
    ],
)
def test_what_is_no_public_ledger_is_refused(ledger, changes, rule):
    document = public_ledger("carrier-a", "live", ledger.chain())
    with pytest.raises(NoPublicLedger, match=rule):
        chain_of({**document, **changes})
    with pytest.raises(NoPublicLedger, match="JSON"):
        read_public_ledger(b"{")


def test_the_public_ledger_holds_no_value_and_no_reason(ledger):
    """Every number in it is named here; a count or a draw would have no place."""
    allowed = {"number", "cells", "suppressed", "zone-hour", "sector-day", "border-day", "sigma", "l2", "rho_level"}
    allowed |= {"rho_day", "delta", "k", "threshold", "sigma_sector_day", "sigma_border_day", "threshold_day"}

    def numbers(node, name=""):
        if isinstance(node, dict):
            return {found for key, value in node.items() for found in numbers(value, key)}
        if isinstance(node, list):
            return {found for value in node for found in numbers(value, name)}
        return {name} if isinstance(node, int | float) and not isinstance(node, bool) else set()

    document = public_ledger("carrier-a", "live", ledger.chain())
    assert numbers(document) <= allowed
    assert "gone" not in json.dumps(document)


def entries(ledger):
    return [copy.deepcopy(link.document) for link in ledger.chain()]


def at(documents, kind, **named):
    """The place of the first entry of a kind that says this."""
    return next(
        i
        for i, d in enumerate(documents)
        if d["kind"] == kind and all(d[name] == value for name, value in named.items())
    )


def forged(ledger, kind, changes, **named):
    documents = entries(ledger)
    documents[at(documents, kind, **named)].update(changes)
    return documents


@pytest.mark.parametrize(
    ("kind", "named", "changes", "fault"),
    [
        ("charge", {}, {"rho": "1/100"}, "not what the noise costs"),
        ("charge", {}, {"rho": "1/10"}, "beyond the budget"),
        ("charge", {}, {"sigma": 20.0}, "not that of the policy"),
        ("charge", {"level": "border-day"}, {"level": "sector-day"}, "charged once"),
        ("charge", {}, {"level": "border-day"}, "not that of the policy"),
        ("release", {"window_start": "2026-03-02T05:00:00Z"}, {"window_start": "2026-03-02T04:00:00Z"}, "once"),
        ("release", {}, {"cells": 5, "suppressed": 1}, "whole public grid"),
        ("release", {}, {"suppressed": 99}, "whole public grid"),
        ("release", {}, {"drawn": False}, "says nothing"),
        ("release", {}, {"window_start": "2026-03-09T04:00:00Z"}, "in its token-day"),
        ("release", {"level": "sector-day"}, {"window_end": "2026-03-02T03:00:00Z"}, "in its token-day"),
        ("token-day", {"token_day": "2026-03-03T02:00:00Z"}, {"policy_digest": "sha256:0"}, "policy in force"),
        ("token-day", {"token_day": "2026-03-03T02:00:00Z"}, {"token_day": "2026-03-03T01:00:00Z"}, "overlap"),
        ("token-day", {"token_day": "2026-03-03T02:00:00Z"}, {"token_day": "2026-03-02T02:00:00Z"}, "opened once"),
        ("policy", {"takes_effect": "2026-03-03T02:00:00Z"}, {"takes_effect": "2026-03-02T02:00:00Z"}, "at the turn"),
        ("policy", {"takes_effect": "2026-03-03T02:00:00Z"}, {"previous": None}, "that it follows"),
        ("closed", {}, {"token_day": "2026-05-03T02:00:00Z"}, "only an opened"),
        ("closed", {}, {"kind": "open"}, "not an entry"),
    ],
)
def test_a_chain_that_is_sound_but_says_what_may_not_be_is_found_out(ledger, kind, named, changes, fault):
    assert public_faults(relinked(entries(ledger))) == []
    faults = public_faults(relinked(forged(ledger, kind, changes, **named)))
    assert any(fault in found for found in faults), faults


def test_a_weaker_policy_in_the_chain_is_found_out(ledger):
    documents = entries(ledger)
    documents[0]["policy"]["threshold"] = 20
    assert any("entry 1:" in fault for fault in public_faults(relinked(documents)))


@pytest.mark.parametrize("kind", ["charge", "token-day", "policy"])
def test_an_entry_that_is_left_out_is_missed(ledger, kind):
    documents = entries(ledger)
    del documents[at(documents, kind)]
    assert public_faults(relinked(documents))


def test_a_drawn_release_of_a_closed_token_day_is_found_out(ledger):
    documents = entries(ledger)
    documents.insert(at(documents, "release"), {"kind": "closed", "token_day": "2026-03-02T02:00:00Z"})
    assert any("closed token-day" in fault for fault in public_faults(relinked(documents)))


def test_a_changed_entry_breaks_the_chain_from_there_on(ledger):
    chain = ledger.chain()
    document = {**chain[4].document, "suppressed": 0}
    broken = [*chain[:4], Link(5, document, chain[4].digest, chain[4].link), *chain[5:]]
    assert public_faults(broken) == ["entry 5: the chain is broken"]


def told_of(ledger):
    return {(entry.level.value, entry.window_start): entry.digest for entry in ledger.entries()}


def test_a_centre_that_was_told_the_same_finds_no_fault_nor_one_that_was_told_less(ledger):
    told = told_of(ledger)
    assert reconcile(ledger.chain(), told) == []
    told.pop(next(iter(told)))
    assert reconcile(ledger.chain(), told) == []


def test_a_centre_sees_a_ledger_that_was_restored_from_a_backup(tmp_path, ledger):
    told = told_of(ledger)
    older = [link for link in ledger.chain() if link.number < 20]
    faults = reconcile(older, told)
    assert len(faults) == len(told) - sum(link.document["kind"] == "release" for link in older)
    assert all("does not know" in fault for fault in faults)


def test_a_centre_sees_a_ledger_that_says_something_else(ledger):
    told = told_of(ledger)
    told[Level.ZONE_HOUR.value, DAY] = "sha256:" + "0" * 64
    (fault,) = reconcile(ledger.chain(), told)
    assert fault == "zone-hour 2026-03-02T02:00:00Z: the centre was told something else than the ledger says"


def test_what_the_chain_calls_suppressed_is_what_was_published_as_null(ledger):
    for link in ledger.chain():
        if link.document["kind"] == "release" and link.document["level"] == "zone-hour":
            assert link.document["cells"] == len(COUNTS)
    said = {entry.digest: entry.document["counts"] for entry in ledger.entries()}
    for link in ledger.chain():
        if link.document["kind"] == "release":
            counts = said[link.document["release_digest"]]
            assert link.document["suppressed"] == sum(count["value"] is None for count in counts)
