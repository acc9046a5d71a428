"""The public privacy ledger: what was said of each token-day, and what that may have cost one device's privacy."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from api import examples
from api.answers import LedgerPage
from api.cursor import filter_mark, read_cursor, write_cursor
from api.door import StrictRoute
from api.store import DAY, Document
from api.wire import (
    ID_PATTERN,
    Cursor,
    TheStanding,
    TheStore,
    answer,
    given,
    instant_of,
    link_header,
    links,
    problems,
    seconds_of,
)
from ingest.release import format_utc

router = APIRouter(prefix="/v1/privacy", tags=["public"], route_class=StrictRoute)

UNIT = "all events of one token in one token-day at one carrier; token-days and carriers add up"
_ROUNDING = 1e-9


@router.get(
    "/ledger",
    operation_id="readPrivacyLedger",
    summary="Releases and budget of every carrier's token-days",
    response_model=LedgerPage,
    responses=given("A page of token-days.", examples.LEDGER_PAGE)
    | problems("invalid_request", "unknown_parameter", "repeated_parameter", "cursor_invalid"),
)
def read_privacy_ledger(
    request: Request,
    store: TheStore,
    standing: TheStanding,
    carrier: Annotated[str | None, Query(pattern=ID_PATTERN, description="one carrier")] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 30,
) -> Response:
    """Newest token-days first. The hours of a day are one run of the mechanism: its rho is charged once, not per hour."""
    mark = filter_mark({"list": "ledger", "carrier": carrier})
    before = None
    if cursor is not None:
        seconds, name = read_cursor(cursor, mark, int, str)
        before = (instant_of(seconds), name)
    days = store.ledger_days(carrier=carrier, before=before, limit=limit + 1)
    more = len(days) > limit
    next_cursor = write_cursor(mark, seconds_of(days[limit - 1][0]), days[limit - 1][1]) if more else None
    found = links(request, next_cursor)
    return answer(
        {
            "unit": UNIT,
            "items": [ledger_day(*day) for day in days[:limit]],
            "next_cursor": next_cursor,
            "links": found,
        }
        | standing.document(),
        cache="public, max-age=60",
        headers=link_header(found),
    )


def ledger_day(token_day_start: datetime, carrier: str, releases: Sequence[Document]) -> dict[str, Any]:
    """One carrier's token-day from its release rows, which come ordered by level."""
    levels = [ledger_level(level, list(rows)) for level, rows in groupby(releases, key=lambda row: str(row["level"]))]
    spent = sum(level["rho"] for level in levels)
    rho_day = min(row["rho_day"] for row in releases)
    cells, suppressed = sum(row["cells"] for row in releases), sum(row["suppressed"] for row in releases)
    return {
        "carrier": carrier,
        "token_day_start": format_utc(token_day_start),
        "token_day_end": format_utc(token_day_start + DAY),
        "simulated": any(row["simulated"] for row in releases),
        "releases": len(releases),
        "incomplete_feeds": sum(not row["feed_complete"] for row in releases),
        "cells": cells,
        "suppressed": suppressed,
        "suppressed_share": round(suppressed / cells, 4),
        "rho_spent": spent,
        "rho_day": rho_day,
        "within_budget": spent <= rho_day + _ROUNDING,
        "levels": levels,
        "digests": [
            {"level": row["level"], "window_start": format_utc(row["window_start"]), "digest": row["digest"]}
            for row in releases
        ],
    }


def ledger_level(level: str, releases: Sequence[Document]) -> dict[str, Any]:
    """What one level cost of a token-day: each lineage is one run of the mechanism and is charged once."""
    runs = _by_lineage(releases)
    return {
        "level": level,
        "releases": len(releases),
        "lineages": len(runs),
        "rho": sum(max(row["rho_level"] for row in rows) for rows in runs.values()),
        "sigma": min(row["sigma"] for row in releases),
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
