"""The public ledger: the chain as a document for strangers, what it must keep, and how it meets what a centre was told.

Nothing here knows a count. The document holds policies, token-days, charges, and for each release its digest and how
many of its cells were suppressed.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any

from ingest.release import DAY, HOUR, Level, format_utc
from privacy.chain import GENESIS, Link, digest_of, link_of
from privacy.policy import ReleasePolicy

FORMAT = "tidemark-public-ledger/1"
_ROUNDED_UP = Fraction(1, 10**9)  # OpenDP rounds what a measurement costs upwards, by less than this


def public_ledger(carrier: str, mode: str, chain: Iterable[Link]) -> dict[str, Any]:
    """The public ledger document of a carrier's chain."""
    entries = [
        {"number": entry.number, "document": entry.document, "digest": entry.digest, "link": entry.link}
        for entry in chain
    ]
    head = entries[-1]["link"] if entries else GENESIS
    return {"format": FORMAT, "carrier": carrier, "mode": mode, "head": head, "entries": entries}


class NoPublicLedger(ValueError):
    """What was read is no public ledger document; says why."""


def read_public_ledger(content: bytes) -> tuple[str, list[Link]]:
    """The carrier and the chain of a public ledger document; raises NoPublicLedger."""
    try:
        document = json.loads(content)
    except ValueError:
        raise NoPublicLedger("a public ledger is one JSON document in UTF-8") from None
    return chain_of(document)


def chain_of(document: object) -> tuple[str, list[Link]]:
    """The carrier and the chain in a public ledger document; raises NoPublicLedger. Whether it is sound is not asked."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise NoPublicLedger(f"a public ledger document says format {FORMAT}")
    try:
        chain = [Link(e["number"], dict(e["document"]), e["digest"], e["link"]) for e in document["entries"]]
        if document["head"] != (chain[-1].link if chain else GENESIS):
            raise NoPublicLedger("the head is the link of the last entry")
        return str(document["carrier"]), chain
    except (KeyError, TypeError):
        raise NoPublicLedger("an entry has number, document, digest and link") from None


@dataclass(slots=True)
class _Reading:
    """What the entries read so far have established."""

    policies: dict[str, ReleasePolicy] = field(default_factory=dict)
    ruling: str | None = None
    days: dict[str, dict[str, Any]] = field(default_factory=dict)
    charges: dict[str, dict[str, Fraction]] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    said: set[tuple[str, str]] = field(default_factory=set)


def public_faults(chain: Iterable[Link]) -> list[str]:
    """Every rule that the public facts alone break: the chain, policies, budgets, one release a level and window."""
    faults, previous, reading = [], GENESIS, _Reading()
    for place, entry in enumerate(chain, start=1):
        where = f"entry {place}"
        if entry.number != place:
            faults.append(f"{where}: entries are numbered without gaps")
        if digest_of(entry.document) != entry.digest or link_of(previous, entry.digest) != entry.link:
            faults.append(f"{where}: the chain is broken")
        previous = entry.link
        try:
            faults += [f"{where}: {fault}" for fault in _RULES[entry.document["kind"]](entry.document, reading)]
        except (KeyError, TypeError, ValueError):
            faults.append(f"{where}: not an entry of a public ledger")
    return faults


def _policy(entry: Mapping[str, Any], reading: _Reading) -> Iterator[str]:
    policy = ReleasePolicy(**entry["policy"])  # a weaker one than the floors raises
    if policy.digest != entry["policy_digest"]:
        yield "the digest is not that of the policy"
    if entry["previous"] != reading.ruling:
        yield "a policy names the one that it follows"
    if any(entry["takes_effect"] <= day for day in reading.days):
        yield "a policy takes effect at the turn to a new token-day"
    reading.policies[policy.digest] = policy
    reading.ruling = policy.digest


def _token_day(entry: Mapping[str, Any], reading: _Reading) -> Iterator[str]:
    if entry["token_day"] in reading.days:
        yield "a token-day is opened once"
    opens = datetime.fromisoformat(entry["token_day"])
    if any(abs(opens - datetime.fromisoformat(day)) < DAY for day in reading.days if day != entry["token_day"]):
        yield "token-days do not overlap"
    if entry["policy_digest"] != reading.ruling:
        yield "a token-day rests on the policy in force"
    reading.days[entry["token_day"]] = dict(entry)


def _charge(entry: Mapping[str, Any], reading: _Reading) -> Iterator[str]:
    day, level = entry["token_day"], Level(entry["level"])
    policy = reading.policies[reading.days[day]["policy_digest"]]
    rho, before = Fraction(entry["rho"]), reading.charges.setdefault(day, {})
    if level.value in before:
        yield "a level is charged once a token-day"
    if (entry["sigma"], entry["l2"]) != (policy.sigma_at(level), policy.l2_at(level)):
        yield "the noise is not that of the policy"
    own = Fraction(round(entry["l2"] ** 2)) / (2 * Fraction(entry["sigma"]) ** 2)
    if not 0 <= rho - own <= _ROUNDED_UP:
        yield "the charge is not what the noise costs"
    before[level.value] = before.get(level.value, Fraction(0)) + rho
    if rho > Fraction(policy.rho_at(level)) or sum(before.values()) > Fraction(policy.rho_day):
        yield "the charge is beyond the budget"


def _release(entry: Mapping[str, Any], reading: _Reading) -> Iterator[str]:
    day, level = entry["token_day"], Level(entry["level"])
    start, opened = datetime.fromisoformat(entry["window_start"]), datetime.fromisoformat(day)
    if (level.value, entry["window_start"]) in reading.said:
        yield "a level and window are spoken of once"
    reading.said.add((level.value, entry["window_start"]))
    if entry["cells"] != reading.days[day]["cells"][level.value] or not 0 <= entry["suppressed"] <= entry["cells"]:
        yield "a release covers the whole public grid"
    inside = (
        opened <= start < opened + DAY and not (start - opened) % HOUR if level is Level.ZONE_HOUR else start == opened
    )
    if not inside or entry["window_end"] != format_utc(start + level.span):
        yield "a window lies in its token-day"
    if entry["drawn"]:
        if level.value not in reading.charges.get(day, {}):
            yield "noise was drawn that was not charged"
        if day in reading.closed:
            yield "nothing is drawn of a closed token-day"
    elif entry["suppressed"] != entry["cells"] or entry["complete"]:
        yield "a release without a draw says nothing"


def _closed(entry: Mapping[str, Any], reading: _Reading) -> Iterator[str]:
    if entry["token_day"] not in reading.days:
        yield "only an opened token-day is closed"
    reading.closed.add(entry["token_day"])


_RULES = {"policy": _policy, "token-day": _token_day, "charge": _charge, "release": _release, "closed": _closed}


def reconcile(chain: Iterable[Link], told: Mapping[tuple[str, datetime], str]) -> list[str]:
    """Where a carrier's chain and what a centre keeps of its releases differ; `told` maps level and window to a digest.

    A centre that knows more than the chain, or something else, shows a ledger that was restored or written anew. What
    the chain holds and the centre was not told yet is no fault.
    """
    said = {
        (entry.document["level"], datetime.fromisoformat(entry.document["window_start"])): entry.document[
            "release_digest"
        ]
        for entry in chain
        if entry.document.get("kind") == "release"
    }
    faults = []
    for (level, window), digest in sorted(told.items()):
        where = f"{level} {format_utc(window)}"
        if (level, window) not in said:
            faults.append(f"{where}: the centre was told what the ledger does not know")
        elif said[level, window] != digest:
            faults.append(f"{where}: the centre was told something else than the ledger says")
    return faults
