#!/usr/bin/env python3
"""Re-checks what a carrier said about movement at a border, from its public ledger, without trusting anybody's software.

    python verify_ledger.py LEDGER [RELEASES] [--centre FILE ...] [--head LINK] [--json] [--rules]

LEDGER    the carrier's public ledger (JSON, `tidemark ledger export`), or saved pages of a centre's
          `GET /v1/privacy/ledger` (a file or a folder), if the carrier's own is not at hand: then fewer rules can be checked.
RELEASES  folder of release documents: *.json, *.ndjson, *.ndjson.gz, at any depth.
--centre  saved pages of the centre's ledger, files or folders: the two copies are held against each other.
--head    the `head` (64 hex digits) of an earlier export that you kept: what was in it must still be there.

Exit code 0: every rule that could be checked holds. 1: a rule does not hold. 2: something could not be read.
3: no rule is broken, but something is missing, so not everything could be checked.

This one file needs Python 3.9 and nothing else, not the project that it checks. It opens no connection and writes no file.
Copyright Tidemark authors; Apache-2.0.
"""
# ruff: noqa: UP017 - runs on a stranger's Python, from 3.9 on

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

Document = dict[str, Any]

FORMAT = "tidemark-public-ledger/1"
GENESIS = "0" * 64
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LEVELS = ("zone-hour", "sector-day", "border-day")
DIRECTIONS = ("arrival", "departure")
KINDS = ("belt", "crossing_point")

# The promise, written down a second time: these are the floors that no policy may go below.
MAX_RHO_DAY, MAX_DELTA, MAX_K = 0.0280, 1e-6, 2
SHARES = {"zone-hour": 0.8, "sector-day": 0.1, "border-day": 0.1}
MIN_THRESHOLD = {"zone-hour": 50, "sector-day": 150, "border-day": 150}
SIGMA_KEY = {"zone-hour": "sigma", "sector-day": "sigma_sector_day", "border-day": "sigma_border_day"}
ROUNDING = Fraction(1, 10**9)

HOLDS, BROKEN, UNREADABLE, MISSING = 0, 1, 2, 3

RULES = {
    "ledger.shape": "an entry of the ledger has the keys and kinds of value of its kind, and no others",
    "chain.number": "entries are numbered from 1 without gaps",
    "chain.digest": "the digest of an entry is that of its document",
    "chain.link": "an entry is linked to the one before it",
    "chain.head": "the head is the link of the last entry",
    "chain.kept": "what an earlier export ended with is still in the chain",
    "policy.digest": "the digest of a policy is that of its content",
    "policy.previous": "a policy names the one that it follows",
    "policy.floor": "no policy is weaker than the promise",
    "policy.noise": "a policy's noise is large enough for its share of the budget",
    "policy.boundary": "a policy takes effect at the turn to a token-day that has not begun to be counted",
    "day.once": "a token-day is opened once",
    "day.overlap": "token-days do not overlap",
    "day.policy": "a token-day rests on the policy that was in force when it began",
    "day.lineage": "a token-day's lineage says whether it was live or a replay",
    "day.known": "what is said of a token-day comes after it was opened",
    "charge.once": "a level is charged once a token-day",
    "charge.noise": "a charge is what the policy's noise costs by zero-concentrated differential privacy",
    "charge.share": "a level is charged no more than its share of the day's budget",
    "charge.day": "the levels together are charged no more than the day's budget",
    "release.once": "one release a level and window, ever",
    "release.window": "a window is one whole hour, or the whole token-day, inside its token-day",
    "release.order": "nothing is drawn of a window after a later one of its level was spoken of",
    "release.charged": "nothing is drawn that was not charged before",
    "release.closed": "nothing is drawn of a token-day after it was closed",
    "release.cells": "a release covers the whole public grid, empty cells too",
    "release.silent": "a release without a draw says nothing at all",
    "file.shape": "a release has the keys of its contract and no others: there is no room for a device",
    "file.digest": "the digest of a release is that of its content",
    "file.recorded": "every release is in the ledger, with this digest",
    "file.twice": "one release a level and window, among the files too",
    "file.carrier": "a release speaks for the carrier of the ledger",
    "file.day": "grid and lineage of a release are those of its token-day",
    "file.mechanism": "the mechanism that a release states is that of its token-day's policy",
    "file.threshold": "no published value is below the threshold",
    "file.count": "cells and suppressed cells are as many as the ledger says",
    "file.cells": "all releases of one grid and level speak of the same cells",
    "file.sigma": "a day level's stated deviation fits the noise that was drawn",
    "file.sum": "where all sector-days are published, they sum to the border-day",
    "file.size": "all releases of one grid, level and policy have one size",
    "centre.digest": "the centre keeps the digest that the carrier's ledger says",
    "centre.extra": "the centre was told nothing that the carrier's ledger does not know",
    "centre.once": "the centre keeps one release a level and window",
    "centre.budget": "the centre's account of a token-day is within the day's budget",
    "centre.floor": "the centre took in nothing weaker than the promise",
    "missing.file": "every release of the ledger is among the files",
    "missing.centre": "every release of the ledger has reached the centre",
}
GAPS = ("missing.file", "missing.centre")


class Unreadable(Exception):
    """Something cannot be read; the message says what, in a sentence."""


class Fault(NamedTuple):
    """A rule that does not hold, and where."""

    rule: str
    where: str
    found: str


# Reading


def canonical(document: Any) -> bytes:
    """The one spelling that is hashed: keys sorted, no blanks, UTF-8, no NaN."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(document: Any) -> str:
    try:
        return "sha256:" + hashlib.sha256(canonical(document)).hexdigest()
    except UnicodeEncodeError:
        return "none: half a character"


def link_of(previous: str, digest: str) -> str:
    return hashlib.sha256(f"{previous}|{digest}".encode()).hexdigest()


def _once(pairs: list[tuple[str, Any]]) -> Document:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise Unreadable("a key is given twice")
    return unique


def _no_constant(_: str) -> NoReturn:
    raise Unreadable("a number is not finite")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Unreadable("a number is not finite")
    return number


def parse(text: bytes, name: str) -> Any:
    """The JSON value of some bytes; stricter than Python's own parser, which would keep the last of two equal keys."""
    try:
        return json.loads(
            text.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite
        )
    except Unreadable as reason:
        raise Unreadable(f"{name}: {reason}") from None
    except (ValueError, RecursionError):
        raise Unreadable(f"{name}: not JSON in UTF-8") from None


def files_at(place: Path, endings: tuple[str, ...]) -> list[Path]:
    if place.is_dir():
        return sorted(path for path in place.rglob("*") if path.name.endswith(endings) and path.is_file())
    if not place.is_file():
        raise Unreadable(f"{place}: there is no such file or folder")
    return [place]


def documents_at(place: Path) -> Iterator[tuple[str, Any]]:
    """Every document below a file or folder, with a name for it."""
    for path in files_at(place, (".json", ".ndjson", ".ndjson.gz")):
        try:
            if path.name.endswith(".json"):
                yield path.name, parse(path.read_bytes(), path.name)
                continue
            with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as lines:
                for number, line in enumerate(lines, start=1):
                    if line.strip():
                        name = f"{path.name}, line {number}"
                        yield name, parse(line, name)
        except (OSError, EOFError):
            raise Unreadable(f"{path.name}: the file cannot be read to its end") from None


# Shapes: which keys there are, and what each may hold

Holds = Callable[[Any], bool]
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:00:00Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LINK = re.compile(r"[0-9a-f]{64}")
_RATIO = re.compile(r"\d{1,400}(/[1-9]\d{0,400})?")


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_whole(value: Any) -> bool:
    return type(value) is int and -(10**12) < value < 10**12


def is_number(value: Any) -> bool:
    return is_whole(value) or (type(value) is float and abs(value) < 1e12)


def is_flag(value: Any) -> bool:
    return type(value) is bool


def spelled(pattern: re.Pattern[str]) -> Holds:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def is_time(value: Any) -> bool:
    if not spelled(_TIME)(value):
        return False
    try:
        at(value)
    except ValueError:
        return False
    return True


def one_of(*values: Any) -> Holds:
    return lambda value: isinstance(value, str) and value in values


def or_null(holds: Holds) -> Holds:
    return lambda value: value is None or holds(value)


def keyed(**keys: Holds) -> Holds:
    """A document with exactly these keys."""
    return lambda value: (
        isinstance(value, dict)
        and value.keys() == keys.keys()
        and all(holds(value[key]) for key, holds in keys.items())
    )


def listed(holds: Holds) -> Holds:
    return lambda value: isinstance(value, list) and len(value) > 0 and all(holds(part) for part in value)


def is_cells(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and "zone-hour" in value
        and set(value) <= set(LEVELS)
        and all(is_whole(number) and number > 0 for number in value.values())
    )


is_digest, is_link, is_name, is_level = spelled(_DIGEST), spelled(_LINK), spelled(_NAME), one_of(*LEVELS)

POLICY = {
    "policy_id": is_name,
    "rho_day": is_number,
    "sigma": is_number,
    "delta": is_number,
    "k": is_whole,
    "threshold": is_whole,
    "sigma_sector_day": is_number,
    "sigma_border_day": is_number,
    "threshold_day": is_whole,
}
WORDS_OF_A_POLICY = {"proposed_by", "approved_by", "dated", "reason"}


def is_policy(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(POLICY) <= set(value) <= set(POLICY) | WORDS_OF_A_POLICY
        and all(holds(value[key]) for key, holds in POLICY.items())
        and all(is_text(value[key]) for key in WORDS_OF_A_POLICY & set(value))
    )


ENTRY = {
    "policy": keyed(
        kind=is_text, takes_effect=is_time, policy=is_policy, policy_digest=is_digest, previous=or_null(is_digest)
    ),
    "token-day": keyed(
        kind=is_text, token_day=is_time, lineage=is_name, grid_id=is_digest, policy_digest=is_digest, cells=is_cells
    ),
    "charge": keyed(
        kind=is_text,
        token_day=is_time,
        level=is_level,
        sigma=is_number,
        l2=is_number,
        rho=spelled(_RATIO),
        rho_level=is_number,
    ),
    "release": keyed(
        kind=is_text,
        token_day=is_time,
        level=is_level,
        window_start=is_time,
        window_end=is_time,
        release_digest=is_digest,
        cells=is_whole,
        suppressed=is_whole,
        complete=is_flag,
        drawn=is_flag,
    ),
    "closed": keyed(kind=is_text, token_day=is_time),
}

_MECHANISM = {
    "name": one_of("discrete_gaussian"),
    "sigma": is_number,
    "rho_day": is_number,
    "rho_level": is_number,
    "delta": is_number,
    "k": is_whole,
    "threshold": is_whole,
    "policy_id": is_name,
}
_DAY_MECHANISM = {**_MECHANISM, "noise_sigma": is_number, "estimate": one_of("weighted_least_squares")}
_DIRECTION, _KIND, _VALUE = one_of(*DIRECTIONS), one_of(*KINDS), or_null(is_whole)
_COUNTS = {
    "zone-hour": keyed(zone_id=is_name, direction=_DIRECTION, value=_VALUE),
    "sector-day": keyed(sector_id=is_name, kind=_KIND, direction=_DIRECTION, value=_VALUE, sigma=is_number),
    "border-day": keyed(kind=_KIND, direction=_DIRECTION, value=_VALUE, sigma=is_number),
}
_CELL_KEYS = {
    "zone-hour": ("zone_id", "direction"),
    "sector-day": ("sector_id", "kind", "direction"),
    "border-day": ("kind", "direction"),
}


def is_release(value: Any) -> bool:
    if not isinstance(value, dict) or not is_level(value.get("level")):
        return False
    level = value["level"]
    keys = {
        "carrier": is_name,
        "grid_id": is_digest,
        "level": is_level,
        "window_start": is_time,
        "window_end": is_time,
        "mechanism": keyed(**(_MECHANISM if level == "zone-hour" else _DAY_MECHANISM)),
        "lineage": is_name,
        "counts": listed(_COUNTS[level]),
        "feed": keyed(complete=is_flag),
        "digest": is_digest,
    }
    if "pad" in value:
        keys["pad"] = spelled(re.compile("0*"))
    return keyed(**keys)(value)


# Arithmetic


def at(text: str) -> datetime:
    """The instant that a UTC time names."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)


def square_l2(level: str, k: int) -> int:
    """The square of how far one device can move a day's counts: 2k cells by one each, or one cell a direction by k each."""
    return 2 * k if level == "zone-hour" else 2 * k * k


def cost(level: str, k: int, sigma: float) -> Fraction:
    """What Gaussian noise of this deviation costs in zero-concentrated differential privacy: L2^2 / (2 sigma^2)."""
    return Fraction(square_l2(level, k)) / (2 * Fraction(sigma) ** 2)


def epsilon(rho: float, delta: float) -> float:
    """The epsilon of Gaussian noise that costs rho, for one delta: the exact curve, solved by halving."""
    mu = math.sqrt(2 * rho)

    def beyond(eps: float) -> float:
        # P(N > x) = erfc(x / sqrt 2) / 2
        first = math.erfc((eps / mu - mu / 2) / math.sqrt(2)) / 2
        second = math.erfc((eps / mu + mu / 2) / math.sqrt(2)) / 2
        return first - (math.exp(eps + math.log(second)) if second > 0 else 0)

    low, high = 0.0, 1.0
    while beyond(high) > delta:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if beyond(middle) > delta else (low, middle)
    return high


def policy_faults(policy: Document) -> Iterator[tuple[str, str]]:
    """What a policy may not be."""
    floors = (
        ("rho_day", 0 < policy["rho_day"] <= MAX_RHO_DAY, f"at most {MAX_RHO_DAY}"),
        ("delta", 0 < policy["delta"] <= MAX_DELTA, f"at most {MAX_DELTA}"),
        ("k", 1 <= policy["k"] <= MAX_K, f"1 to {MAX_K}"),
        ("threshold", policy["threshold"] >= MIN_THRESHOLD["zone-hour"], f"at least {MIN_THRESHOLD['zone-hour']}"),
        (
            "threshold_day",
            policy["threshold_day"] >= MIN_THRESHOLD["sector-day"],
            f"at least {MIN_THRESHOLD['sector-day']}",
        ),
    )
    for name, kept, floor in floors:
        if not kept:
            yield "policy.floor", f"{name} is {policy[name]}; it must be {floor}"
    for level in LEVELS:
        sigma, granted = policy[SIGMA_KEY[level]], Fraction(policy["rho_day"] * SHARES[level])
        if sigma <= 0 or cost(level, max(policy["k"], 0), sigma) > granted:
            yield "policy.noise", f"noise of {sigma} costs more than the {level}'s share of the budget"


# The carrier's ledger


class Ledger:
    """A carrier's public ledger, and what its entries establish while they are read in order."""

    def __init__(self, document: Document) -> None:
        self.carrier: str = document["carrier"]
        self.mode: str = document["mode"]
        self.head: str = document["head"]
        self.entries: list[Any] = document["entries"]
        self.faults: list[Fault] = []
        self.policies: dict[str, Document] = {}
        self.in_force: list[tuple[datetime, str]] = []
        self.days: dict[str, Document] = {}
        self.charges: dict[str, dict[str, Fraction]] = {}
        self.closed: set[str] = set()
        self.releases: dict[tuple[str, str], Document] = {}
        self.links: set[str] = set()
        self._newest: dict[str, datetime] = {}

    def fault(self, rule: str, where: str, found: str) -> None:
        self.faults.append(Fault(rule, where, found))

    def check(self, kept_heads: list[str]) -> None:
        """Read every entry."""
        previous = GENESIS
        for place, entry in enumerate(self.entries, start=1):
            where = f"entry {place}"
            if not keyed(number=is_whole, digest=is_digest, link=is_link, document=lambda value: True)(entry):
                self.fault("ledger.shape", where, "it has not the keys number, digest, link and document")
                continue
            if entry["number"] != place:
                self.fault("chain.number", where, f"it is numbered {entry['number']}")
            if digest_of(entry["document"]) != entry["digest"]:
                self.fault("chain.digest", where, "its document is not the one that was recorded")
            if link_of(previous, entry["digest"]) != entry["link"]:
                self.fault("chain.link", where, "it does not follow from the entry before it")
            previous = entry["link"]
            self.links.add(previous)
            self._entry(where, entry["document"])
        if self.head != previous:
            self.fault("chain.head", "the ledger", "its head is not the link of its last entry: something was cut off")
        for head in kept_heads:
            if head != GENESIS and head not in self.links:
                self.fault("chain.kept", "the ledger", "the head that you kept is not in it any more")

    def _entry(self, where: str, document: Any) -> None:
        kind = document.get("kind") if isinstance(document, dict) else None
        if not isinstance(kind, str) or kind not in ENTRY or not ENTRY[kind](document):
            self.fault("ledger.shape", where, "it is no entry of a public ledger")
            return
        {
            "policy": self._policy,
            "token-day": self._token_day,
            "charge": self._charge,
            "release": self._release,
            "closed": self._closed,
        }[kind](where, document)

    def _policy(self, where: str, entry: Document) -> None:
        policy, effect = entry["policy"], at(entry["takes_effect"])
        if digest_of(policy) != entry["policy_digest"]:
            self.fault("policy.digest", where, "the policy is not the one that its digest names")
        if entry["previous"] != (self.in_force[-1][1] if self.in_force else None):
            self.fault("policy.previous", where, "another policy was in force before it")
        for rule, found in policy_faults(policy):
            self.fault(rule, where, f"policy {policy['policy_id']}: {found}")
        begun = max((at(day) for day in self.days), default=None)
        if begun is not None and effect < begun + DAY:
            self.fault(
                "policy.boundary", where, f"policy {policy['policy_id']} takes effect at {entry['takes_effect']}"
            )
        self.policies[entry["policy_digest"]] = policy
        self.in_force.append((effect, entry["policy_digest"]))

    def _token_day(self, where: str, entry: Document) -> None:
        day, start = entry["token_day"], at(entry["token_day"])
        if day in self.days:
            self.fault("day.once", where, f"token-day {day} was opened before")
        elif any(abs(start - at(other)) < DAY for other in self.days):
            self.fault("day.overlap", where, f"token-day {day} begins inside another")
        ruling = [digest for effect, digest in self.in_force if effect <= start]
        if not ruling or ruling[-1] != entry["policy_digest"]:
            self.fault("day.policy", where, f"token-day {day} rests on another policy than the one in force")
        if any(start < effect < start + DAY for effect, _ in self.in_force):
            self.fault("policy.boundary", where, f"a policy takes effect in the middle of token-day {day}")
        if not entry["lineage"].startswith(f"{self.mode}-"):
            self.fault("day.lineage", where, f"token-day {day} is not {self.mode}")
        self.days[day] = entry

    def _known(self, where: str, entry: Document) -> bool:
        known = entry["token_day"] in self.days
        if not known:
            self.fault("day.known", where, f"token-day {entry['token_day']} was not opened")
        return known

    def policy_of(self, day: str) -> Document | None:
        return self.policies.get(self.days[day]["policy_digest"])

    def _charge(self, where: str, entry: Document) -> None:
        day, level = entry["token_day"], entry["level"]
        policy = self.policy_of(day) if self._known(where, entry) else None
        if policy is None:
            return
        said, before = f"token-day {day}, {level}", self.charges.setdefault(day, {})
        if level in before:
            self.fault("charge.once", where, f"{said}: charged before")
        rho, sigma, k = Fraction(entry["rho"]), entry["sigma"], policy["k"]
        if sigma != policy[SIGMA_KEY[level]] or not math.isclose(entry["l2"] ** 2, square_l2(level, k), rel_tol=1e-12):
            self.fault("charge.noise", where, f"{said}: the noise is not the policy's")
        elif sigma <= 0 or k <= 0 or not -ROUNDING <= rho / cost(level, k, sigma) - 1 <= ROUNDING:
            self.fault("charge.noise", where, f"{said}: rho {float(rho):.9f} is not what noise of {sigma} costs")
        share = policy["rho_day"] * SHARES[level]
        if rho > Fraction(share) or entry["rho_level"] != share:
            self.fault("charge.share", where, f"{said}: rho {float(rho):.9f}, granted {entry['rho_level']}")
        before[level] = before.get(level, Fraction(0)) + rho
        if sum(before.values()) > Fraction(policy["rho_day"]):
            self.fault("charge.day", where, f"{said}: rho {float(sum(before.values())):.9f} of {policy['rho_day']}")

    def _release(self, where: str, entry: Document) -> None:
        level, start, end = entry["level"], at(entry["window_start"]), at(entry["window_end"])
        said = f"{level} {entry['window_start']}"
        if (level, entry["window_start"]) in self.releases:
            self.fault("release.once", where, f"{said}: spoken of before")
        else:
            if entry["drawn"] and level in self._newest and start < self._newest[level]:
                self.fault("release.order", where, f"{said}: a later window came first")
            self._newest[level] = max(start, self._newest.get(level, start))
        self.releases.setdefault((level, entry["window_start"]), entry)
        if not self._known(where, entry):
            return
        day, opened = entry["token_day"], at(entry["token_day"])
        span = HOUR if level == "zone-hour" else DAY
        inside = opened <= start < opened + DAY if level == "zone-hour" else start == opened
        if not inside or end - start != span:
            self.fault("release.window", where, f"{said}: not a window of token-day {day}")
        if entry["cells"] != self.days[day]["cells"].get(level) or not 0 <= entry["suppressed"] <= entry["cells"]:
            self.fault("release.cells", where, f"{said}: {entry['cells']} cells, {entry['suppressed']} suppressed")
        if not entry["drawn"]:
            if entry["suppressed"] != entry["cells"] or entry["complete"]:
                self.fault("release.silent", where, f"{said}: it says something without a draw")
            return
        if level not in self.charges.get(day, {}):
            self.fault("release.charged", where, f"{said}: drawn before the level was charged")
        if day in self.closed:
            self.fault("release.closed", where, f"{said}: token-day {day} was closed")

    def _closed(self, where: str, entry: Document) -> None:
        if self._known(where, entry):
            self.closed.add(entry["token_day"])


# The release documents


class Releases:
    """Release documents held against what a ledger says of them."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.digests: dict[tuple[str, str, str], str] = {}  # carrier, level, window -> digest
        self.read = 0
        self._cells: dict[tuple[str, str], list[tuple[str, ...]]] = {}
        self._sizes: dict[tuple[str, str, str, str], int] = {}
        self._days: dict[tuple[str, str], dict[str, Document]] = {}

    def fault(self, rule: str, where: str, found: str) -> None:
        self.faults.append(Fault(rule, where, found))

    def take(self, name: str, release: Any) -> bool:
        """Check what a release says by itself; whether it is one at all."""
        self.read += 1
        if not is_release(release):
            self.fault("file.shape", name, "it is no release, or holds something that a release has no room for")
            return False
        level, window, mechanism = release["level"], release["window_start"], release["mechanism"]
        where = f"{level} {window} ({name})"
        content = {key: value for key, value in release.items() if key != "digest"}
        if digest_of(content) != release["digest"]:
            self.fault("file.digest", where, "its content was changed after it was sealed")
        key = (release["carrier"], level, window)
        if self.digests.setdefault(key, release["digest"]) != release["digest"]:
            self.fault("file.twice", where, "another file says something else of the same window")
        if at(release["window_end"]) - at(window) != (HOUR if level == "zone-hour" else DAY):
            self.fault("file.shape", where, "its window is no whole hour or token-day")
        floor = max(mechanism["threshold"], MIN_THRESHOLD[level])
        small = sum(count["value"] is not None and count["value"] < floor for count in release["counts"])
        if small:
            self.fault("file.threshold", where, f"{small} published values are below {floor}")
        cells = [tuple(count[part] for part in _CELL_KEYS[level]) for count in release["counts"]]
        if cells != sorted(set(cells)) or self._cells.setdefault((release["grid_id"], level), cells) != cells:
            self.fault("file.cells", where, "its cells are not those of the grid, each once and in order")
        if "pad" in release:
            size = len(canonical(content))
            alike = (release["carrier"], release["grid_id"], level, mechanism["policy_id"])
            if self._sizes.setdefault(alike, size) != size:
                self.fault("file.size", where, "its size differs from that of the others")
        if level != "zone-hour":
            self._day_level(where, release)
        return True

    def _day_level(self, where: str, release: Document) -> None:
        mechanism, counts = release["mechanism"], release["counts"]
        # A border-day is the sum of rounded sector-days: each rounding adds a twelfth to the variance.
        most = math.sqrt(mechanism["noise_sigma"] ** 2 + 1000 / 12)
        if mechanism["sigma"] != max(count["sigma"] for count in counts) or any(
            not 0 < count["sigma"] <= most for count in counts
        ):
            self.fault(
                "file.sigma", where, f"it states {mechanism['sigma']} where {mechanism['noise_sigma']} was drawn"
            )
        pair = self._days.setdefault((release["carrier"], release["window_start"]), {})
        pair[release["level"]] = release
        if len(pair) == 2:
            self._sums(where, pair["sector-day"], pair["border-day"])

    def _sums(self, where: str, sectors: Document, border: Document) -> None:
        for count in border["counts"]:
            parts = [
                part["value"]
                for part in sectors["counts"]
                if (part["kind"], part["direction"]) == (count["kind"], count["direction"])
            ]
            known = count["value"] is not None and None not in parts
            if known and sum(parts) != count["value"]:
                self.fault(
                    "file.sum", where, f"{count['kind']} {count['direction']}: the sectors do not sum to the border"
                )

    def held_against(self, ledger: Ledger, name: str, release: Document) -> None:
        """Check a release against the ledger's word on it."""
        level, window = release["level"], release["window_start"]
        where = f"{level} {window} ({name})"
        if release["carrier"] != ledger.carrier:
            self.fault("file.carrier", where, f"it speaks for another carrier than {ledger.carrier}")
            return
        entry = ledger.releases.get((level, window))
        if entry is None or entry["release_digest"] != release["digest"]:
            self.fault(
                "file.recorded", where, "the ledger does not know it" if entry is None else "the ledger knows another"
            )
            return
        suppressed = sum(count["value"] is None for count in release["counts"])
        stated = (entry["cells"], entry["suppressed"], entry["complete"], entry["window_end"])
        if stated != (len(release["counts"]), suppressed, release["feed"]["complete"], release["window_end"]):
            self.fault("file.count", where, "cells, suppressed cells, completeness or window differ from the ledger's")
        day = ledger.days.get(entry["token_day"])
        policy = ledger.policy_of(entry["token_day"]) if day is not None else None
        if day is None or policy is None:
            return
        if (release["grid_id"], release["lineage"]) != (day["grid_id"], day["lineage"]):
            self.fault("file.day", where, "its zone grid or lineage is not that of its token-day")
        if any(release["mechanism"].get(key) != value for key, value in mechanism_of(policy, level).items()):
            self.fault("file.mechanism", where, "its mechanism is not that of the policy of its token-day")


def mechanism_of(policy: Document, level: str) -> Document:
    """What a release of a level must state under a policy."""
    return {
        "rho_day": policy["rho_day"],
        "rho_level": policy["rho_day"] * SHARES[level],
        "delta": policy["delta"],
        "k": policy["k"],
        "threshold": policy["threshold" if level == "zone-hour" else "threshold_day"],
        "policy_id": policy["policy_id"],
        "sigma" if level == "zone-hour" else "noise_sigma": policy[SIGMA_KEY[level]],
    }


# The centre's ledger


def having(**keys: Holds) -> Holds:
    """A document with at least these keys: a centre's answers may grow."""
    return lambda value: (
        isinstance(value, dict) and all(key in value and holds(value[key]) for key, holds in keys.items())
    )


_CENTRE_DAY = having(
    carrier=is_name,
    token_day_start=is_time,
    rho_day=is_number,
    levels=listed(
        having(level=is_level, rho=is_number, noise_sigma=is_number, threshold=is_whole, k=is_whole, delta=is_number)
    ),
    digests=listed(having(level=is_level, window_start=is_time, digest=is_digest)),
)


class Centre:
    """The centre's public ledger, from saved pages."""

    def __init__(self, pages: list[tuple[str, Any]]) -> None:
        self.faults: list[Fault] = []
        self.digests: dict[tuple[str, str, str], str] = {}  # carrier, level, window -> digest
        self.days: list[Document] = []
        self.starts: datetime | None = None  # the pages hold all token-days from here on; None: all there are
        reaches_back = False
        for name, page in pages:
            if not isinstance(page, dict) or not isinstance(page.get("items"), list):
                raise Unreadable(f"{name}: no page of a centre's privacy ledger")
            reaches_back |= page.get("next_cursor") is None and page.get("since") is None
            for day in page["items"]:
                self._day(name, day)
        if not reaches_back and self.days:
            self.starts = min(at(day["token_day_start"]) for day in self.days)

    def fault(self, rule: str, where: str, found: str) -> None:
        self.faults.append(Fault(rule, where, found))

    def _day(self, name: str, day: Any) -> None:
        if not _CENTRE_DAY(day):
            raise Unreadable(f"{name}: a token-day is not as a centre's privacy ledger has it")
        self.days.append(day)
        carrier = day["carrier"]
        where = f"{carrier}, token-day {day['token_day_start']}"
        for said in day["digests"]:
            key = (carrier, said["level"], said["window_start"])
            if self.digests.setdefault(key, said["digest"]) != said["digest"]:
                self.fault("centre.once", where, f"{said['level']} {said['window_start']}: two digests")
        spent = sum(level["rho"] for level in day["levels"])
        if spent > day["rho_day"] + 1e-9 or day["rho_day"] > MAX_RHO_DAY + 1e-9:
            self.fault("centre.budget", where, f"rho {spent:.6f} of {day['rho_day']}")
        for level in day["levels"]:
            name, noise, k = level["level"], level["noise_sigma"], level["k"]
            weak = level["threshold"] < MIN_THRESHOLD[name] or not 1 <= k <= MAX_K or noise <= 0
            if weak or level["delta"] > MAX_DELTA or cost(name, k, noise) > Fraction(level["rho"]) * (1 + ROUNDING):
                self.fault("centre.floor", where, f"{name}: weaker than the promise")

    def held_against(self, ledger: Ledger) -> None:
        """Compare digests with the carrier's own."""
        told = {
            (level, window): digest for (who, level, window), digest in self.digests.items() if who == ledger.carrier
        }
        for (level, window), digest in sorted(told.items()):
            entry = ledger.releases.get((level, window))
            if entry is None:
                self.fault(
                    "centre.extra", f"{level} {window}", "the centre was told of it; the ledger does not know it"
                )
            elif entry["release_digest"] != digest:
                self.fault("centre.digest", f"{level} {window}", "the centre keeps another digest than the ledger")
        for (level, window), entry in sorted(ledger.releases.items()):
            if (level, window) not in told and (self.starts is None or at(entry["token_day"]) >= self.starts):
                self.fault("missing.centre", f"{level} {window}", "it has not reached the centre, or not these pages")


# The command


def verify(
    ledger_at: Path, releases_at: Path | None, centre_at: list[Path], kept_heads: list[str]
) -> tuple[list[Fault], Document]:
    """Every rule that does not hold, and how much was checked."""
    documents = list(documents_at(ledger_at))
    if not documents:
        raise Unreadable(f"{ledger_at}: there is no JSON in it")
    name, first = documents[0]
    releases, centre, ledger = Releases(), None, None
    checked: Document = {}
    pages = [page for place in centre_at for page in documents_at(place)]
    if isinstance(first, dict) and "items" in first:
        pages += documents
    else:
        shape = keyed(
            format=one_of(FORMAT),
            carrier=is_name,
            mode=one_of("live", "replay"),
            head=is_link,
            entries=lambda value: isinstance(value, list),
        )
        if len(documents) != 1 or not shape(first):
            raise Unreadable(f"{name}: no public ledger of the format {FORMAT}")
        ledger = Ledger(first)
        ledger.check(kept_heads)
        checked.update(carrier=ledger.carrier, mode=ledger.mode, entries=len(ledger.entries), head=ledger.head)
        checked.update(token_days=len(ledger.days), releases=len(ledger.releases), policies=len(ledger.policies))
    if pages:
        centre = Centre(pages)
        checked.update(centre_token_days=len(centre.days), centre_releases=len(centre.digests))
    if releases_at is not None:
        if not releases_at.is_dir():
            raise Unreadable(f"{releases_at}: there is no such folder")
        for at_file, release in documents_at(releases_at):
            if releases.take(at_file, release):
                if ledger is not None:
                    releases.held_against(ledger, at_file, release)
                elif centre is not None:
                    _held_against_centre(releases, centre, at_file, release)
        checked["files"] = releases.read
        for level, window in [] if ledger is None else sorted(ledger.releases):
            if ledger is not None and (ledger.carrier, level, window) not in releases.digests:
                releases.fault("missing.file", f"{level} {window}", "the ledger knows it; there is no file")
    if centre is not None and ledger is not None:
        centre.held_against(ledger)
    if ledger is not None and ledger.policies:
        weakest = max(policy["rho_day"] for policy in ledger.policies.values())
        delta = max(policy["delta"] for policy in ledger.policies.values())
        if 0 < weakest <= 1 and 0 < delta < 1:
            checked["epsilon"] = {str(days): round(epsilon(weakest * days, delta), 2) for days in (1, 7, 30, 365)}
            checked["delta"] = delta
    faults = [fault for part in (ledger, releases, centre) if part is not None for fault in part.faults]
    return faults, checked


def _held_against_centre(releases: Releases, centre: Centre, name: str, release: Document) -> None:
    kept = centre.digests.get((release["carrier"], release["level"], release["window_start"]))
    if kept != release["digest"]:
        where = f"{release['level']} {release['window_start']} ({name})"
        releases.fault("file.recorded", where, "the centre keeps " + ("none" if kept is None else "another"))


_SIZES = ("entries", "token_days", "releases", "policies")


def told(faults: list[Fault], checked: Document, releases: bool) -> Iterator[str]:
    """The outcome in plain sentences."""
    if "entries" in checked:
        sizes = ", ".join(f"{name.replace('_', '-')} {checked[name]}" for name in _SIZES)
        yield f"Ledger of {checked['carrier']} ({checked['mode']}): {sizes}."
        yield f"Its head is {checked['head']}. Keep it: the next time, --head shows that nothing was cut off."
    if "centre_releases" in checked:
        yield f"The centre's ledger: {checked['centre_token_days']} token-days, {checked['centre_releases']} releases."
    yield (
        f"Release documents read: {checked['files']}."
        if releases
        else "No release documents: their content was not checked."
    )
    if "epsilon" in checked:
        spans = ", ".join(f"{days} d: {value}" for days, value in checked["epsilon"].items())
        yield f"What the budget means for one device at this carrier, by the curve of Gaussian noise: epsilon {spans}."
        yield f"One delta of {checked['delta']:g} for each. An accountant's table may lie up to half a percent above it."
    for rule in dict.fromkeys(fault.rule for fault in faults):
        found = [fault for fault in faults if fault.rule == rule]
        yield f"{'MISSING' if rule in GAPS else 'BROKEN'} {rule}: {RULES[rule]}."
        for fault in found[:10]:
            yield f"  {fault.where}: {fault.found}."
        if len(found) > 10:
            yield f"  and {len(found) - 10} more."
    if not faults:
        yield "Every rule that could be checked holds."


def outcome(faults: list[Fault]) -> int:
    if not faults:
        return HOLDS
    return MISSING if all(fault.rule in GAPS for fault in faults) else BROKEN


def main(words: list[str] | None = None) -> int:
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ledger", type=Path, metavar="LEDGER", nargs="?")
    parser.add_argument("releases", type=Path, metavar="RELEASES", nargs="?")
    parser.add_argument("--centre", type=Path, nargs="+", default=[], metavar="FILE")
    parser.add_argument("--head", action="append", default=[], metavar="LINK")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of sentences")
    parser.add_argument("--rules", action="store_true", help="print every rule and stop")
    asked = parser.parse_args(words)
    if asked.rules:
        print("\n".join(f"{name}: {rule}" for name, rule in RULES.items()))
        return HOLDS
    if asked.ledger is None:
        parser.error("which ledger? LEDGER is missing")
    if not all(is_link(head) for head in asked.head):
        parser.error("--head takes 64 hex digits")
    try:
        faults, checked = verify(asked.ledger, asked.releases, asked.centre, asked.head)
    except (Unreadable, OSError, RecursionError) as reason:
        said = str(reason) if isinstance(reason, Unreadable) else "a file cannot be read"
        print(json.dumps({"exit_code": UNREADABLE, "unreadable": said}) if asked.json else f"UNREADABLE {said}.")
        return UNREADABLE
    code = outcome(faults)
    if asked.json:
        listed_faults = [fault._asdict() for fault in faults]
        print(json.dumps({"exit_code": code, "checked": checked, "faults": listed_faults}, ensure_ascii=False))
    else:
        print("\n".join(told(faults, checked, asked.releases is not None)))
    return code


if __name__ == "__main__":
    sys.exit(main())
