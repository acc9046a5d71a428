"""The public privacy ledger: what was said of each token-day, and what that may have cost one device's privacy."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from api import examples
from api.answers import LedgerPage
from api.cursor import filter_mark, read_cursor, write_cursor
from api.door import StrictRoute
from api.settings import Notice
from api.store import DAY, Document, Store
from api.wire import (
    ID_PATTERN,
    UNCHANGED,
    Cursor,
    Instant,
    TheSettings,
    TheStanding,
    TheStore,
    answer,
    given,
    instant_of,
    link_header,
    links,
    not_modified,
    problems,
    seconds_of,
    spelled_times,
    weak_etag,
)
from ingest.release import format_utc
from privacy.curve import gaussian_epsilon, upwards
from privacy.policy import MAX_DELTA, MAX_K, MAX_RHO_DAY, MIN_THRESHOLD, MIN_THRESHOLD_DAY

router = APIRouter(prefix="/v1/privacy", tags=["public"], route_class=StrictRoute)

UNIT = "all events of one token in one token-day at one carrier; token-days and carriers add up"
VERIFIER = "verify_ledger.py"
COMMAND = f"python {VERIFIER} LEDGER RELEASES --centre PAGES"
COMPOSITION_FILE = Path(__file__).parents[1] / "composition.json"
_ROUNDING = 1e-9
_CACHE = "public, max-age=60"


@router.get(
    "/ledger",
    operation_id="readPrivacyLedger",
    summary="Releases, policies and budget of every carrier's token-days",
    response_model=LedgerPage,
    responses=given("A page of token-days.", examples.LEDGER_PAGE)
    | UNCHANGED
    | problems("invalid_request", "unknown_parameter", "repeated_parameter", "cursor_invalid"),
)
def read_privacy_ledger(
    request: Request,
    store: TheStore,
    settings: TheSettings,
    standing: TheStanding,
    carrier: Annotated[str | None, Query(pattern=ID_PATTERN, description="one carrier")] = None,
    since: Annotated[Instant | None, Query(description="token-days that began then or later; RFC 3339")] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 30,
) -> Response:
    """Newest token-days first. The hours of a day are one run of the mechanism: its rho is charged once, not per hour.

    Every page also says what was in force and what it means: policies, composition, how to verify, whom to turn to.
    """
    mark = filter_mark({"list": "ledger", "carrier": carrier, "since": since})
    before = None
    if cursor is not None:
        seconds, name = read_cursor(cursor, mark, int, str)
        before = (instant_of(seconds), name)
    today, notice = settings.clock().date(), settings.notice
    # Read first: a release that comes in between makes the tag too old, never too new.
    fingerprint = store.ledger_fingerprint()
    etag = weak_etag(mark, cursor, limit, fingerprint, standing.fingerprint(), notice_of(notice, today), repr(notice))
    unchanged = not_modified(request, etag, _CACHE)
    if unchanged is not None:
        return unchanged
    days = store.ledger_days(carrier=carrier, since=since, before=before, limit=limit + 1)
    incidents = store.incidents_by_day()
    more = len(days) > limit
    next_cursor = write_cursor(mark, seconds_of(days[limit - 1][0]), days[limit - 1][1]) if more else None
    found = links(request, next_cursor)
    return answer(
        {
            "unit": UNIT,
            "since": None if since is None else format_utc(since),
            "promise": promise(),
            "policies": policies_now(request, store, carrier, fingerprint),
            "composition": composition(),
            "verification": verification(settings.static_dir, notice),
            "notice": notice_of(notice, today),
            "items": [ledger_day(*day, incidents=incidents.get(day[:2], 0)) for day in days[:limit]],
            "next_cursor": next_cursor,
            "links": found,
        }
        | standing.document(),
        cache=_CACHE,
        headers={"ETag": etag} | link_header(found),
    )


def ledger_day(
    token_day_start: datetime, carrier: str, releases: Sequence[Document], *, incidents: int = 0
) -> dict[str, Any]:
    """One carrier's token-day from its release rows, which come ordered by level."""
    levels = [ledger_level(level, list(rows)) for level, rows in groupby(releases, key=lambda row: str(row["level"]))]
    spent = sum(level["rho"] for level in levels)
    rho_day, delta = min(row["rho_day"] for row in releases), max(row["delta"] for row in releases)
    cells, suppressed = sum(row["cells"] for row in releases), sum(row["suppressed"] for row in releases)
    return {
        "carrier": carrier,
        "token_day_start": format_utc(token_day_start),
        "token_day_end": format_utc(token_day_start + DAY),
        "simulated": any(row["simulated"] for row in releases),
        "releases": len(releases),
        "incomplete_feeds": sum(not row["feed_complete"] for row in releases),
        "incidents": incidents,
        "cells": cells,
        "suppressed": suppressed,
        "suppressed_share": round(suppressed / cells, 4),
        "rho_spent": spent,
        "rho_day": rho_day,
        "epsilon_spent": epsilon_of(spent, delta),
        "within_budget": spent <= rho_day + _ROUNDING,
        "grid_ids": sorted({row["grid_id"] for row in releases}),
        "lineages": sorted({row["lineage"] for row in releases}),
        "levels": levels,
        "digests": [spelled_times({name: row[name] for name in _RELEASE}) for row in releases],
    }


_RELEASE = ("level", "window_start", "digest", "policy_id", "cells", "suppressed", "feed_complete")


def ledger_level(level: str, releases: Sequence[Document]) -> dict[str, Any]:
    """What one level cost of a token-day: each lineage is one run of the mechanism and is charged once."""
    runs = _by_lineage(releases)
    return {
        "level": level,
        "releases": len(releases),
        "lineages": len(runs),
        "rho": sum(max(row["rho_level"] for row in rows) for rows in runs.values()),
        "sigma": min(row["sigma"] for row in releases),
        "noise_sigma": min(row["noise_sigma"] for row in releases),
        "threshold": min(row["threshold"] for row in releases),
        "k": max(row["k"] for row in releases),
        "delta": max(row["delta"] for row in releases),
        "policy_ids": sorted({row["policy_id"] for row in releases}),
    }


def _by_lineage(releases: Iterable[Document]) -> dict[str, list[Document]]:
    runs: dict[str, list[Document]] = {}
    for row in releases:
        runs.setdefault(row["lineage"], []).append(row)
    return runs


def policies_of(stated: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every policy that was in force, from what the releases of each token-day state; a change begins a new one.

    `stated` comes ordered by carrier, token-day and level. Two policies within one day, which no honest ledger has,
    show as two changes.
    """
    found: list[dict[str, Any]] = []
    for (carrier, start, policy_id), rows in groupby(
        sorted(stated, key=lambda row: (row["carrier"], row["token_day_start"], row["policy_id"])),
        key=lambda row: (row["carrier"], row["token_day_start"], row["policy_id"]),
    ):
        day = list(rows)
        levels = [_policy_level(row) for row in day]
        rho_day, delta = max(row["rho_day"] for row in day), max(row["delta"] for row in day)
        said = {
            "rho_day": rho_day,
            "epsilon_day": epsilon_of(rho_day, delta),
            "delta": delta,
            "k": max(row["k"] for row in day),
        }
        last = found[-1] if found and found[-1]["carrier"] == carrier else None
        if last is not None and last["policy_id"] == policy_id and _agree(last, said, levels):
            last["last_token_day"] = format_utc(start)
            last["levels"] = list({row["level"]: row for row in [*last["levels"], *levels]}.values())
            continue
        found.append(
            {
                "carrier": carrier,
                "policy_id": policy_id,
                "takes_effect": format_utc(start),
                "last_token_day": format_utc(start),
                "previous": None if last is None else last["policy_id"],
                **said,
                "levels": levels,
            }
        )
    return sorted(found, key=lambda policy: (policy["takes_effect"], policy["carrier"]))


def policies_now(request: Request, store: Store, carrier: str | None, fingerprint: object) -> list[dict[str, Any]]:
    """The policies of a carrier, or of all: these are kept until something is said, since anyone may ask at any rate."""
    if carrier is not None:
        return policies_of(store.release_policies(carrier=carrier))
    kept: tuple[object, list[dict[str, Any]]] | None = getattr(request.app.state, "ledger_policies", None)
    if kept is None or kept[0] != fingerprint:
        kept = (fingerprint, policies_of(store.release_policies()))
        request.app.state.ledger_policies = kept
    return kept[1]


def _policy_level(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"level": row["level"], "rho": row["rho_level"], "sigma": row["sigma"], "threshold": row["threshold"]}


def _agree(last: Mapping[str, Any], said: Mapping[str, Any], levels: Sequence[Mapping[str, Any]]) -> bool:
    # A day of which nothing but hours was said yet agrees with one that has all three levels.
    known = {row["level"]: row for row in last["levels"]}
    return all(last[name] == value for name, value in said.items()) and all(
        known.get(row["level"], row) == row for row in levels
    )


@lru_cache(maxsize=4096)
def epsilon_of(rho: float, delta: float) -> float:
    """The epsilon of a cost as it is published."""
    return upwards(gaussian_epsilon(rho, delta))


def promise() -> dict[str, Any]:
    """The floors that no policy goes below (design.md, section 6)."""
    return {
        "rho_day": MAX_RHO_DAY,
        "delta": MAX_DELTA,
        "epsilon_day": epsilon_of(MAX_RHO_DAY, MAX_DELTA),
        "k": MAX_K,
        "threshold": MIN_THRESHOLD,
        "threshold_day": MIN_THRESHOLD_DAY,
    }


@lru_cache(maxsize=1)
def composition() -> dict[str, Any]:
    """How costs add up: the accountant's own table for the promise, made by `python -m bench.documents`."""
    table: dict[str, Any] = json.loads(COMPOSITION_FILE.read_text(encoding="utf-8"))
    return table


def verification(static_dir: Path, notice: Notice) -> dict[str, Any]:
    """How anyone re-checks this ledger."""
    served = static_dir / VERIFIER
    digest = hashlib.sha256(served.read_bytes()).hexdigest() if served.is_file() else None
    return {
        "verifier": None if digest is None else f"/{VERIFIER}",
        "verifier_sha256": digest,
        "command": COMMAND,
        "carrier_ledgers": [{"carrier": name, "href": at} for name, at in sorted(notice.carrier_ledgers.items())],
    }


def notice_of(notice: Notice, today: date) -> dict[str, Any]:
    """What the operator says of itself."""
    return {
        "operator": notice.operator,
        "complaints": notice.complaints,
        "authority": notice.authority,
        "opt_out": notice.opt_out,
        "ends_on": None if notice.ends_on is None else notice.ends_on.isoformat(),
        "ended": notice.ends_on is not None and today > notice.ends_on,
    }
