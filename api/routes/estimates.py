"""Token-days over all carriers, and of the whole market: for planning. No alert rests on any of this."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from api import examples
from api.answers import EstimateAnswer
from api.door import StrictRoute
from api.identity import Caller, allowed
from api.intake import Fault
from api.problems import Problem
from api.routes.counts import hold_place, hold_span, rounded, span_of
from api.store import CountFilter, Document
from api.wire import End, SectorId, Start, TheSettings, TheStanding, TheStore, answer, given, problems
from detector.expand import CarrierCount, MarketFactor, Together, factors_in_force, together
from ingest.release import Direction, Level, format_utc

router = APIRouter(prefix="/v1", tags=["planners"], route_class=StrictRoute)

_LONGEST_SPAN = timedelta(days=366)

Planner = Annotated[Caller, Depends(allowed("counts:read"))]


@router.get(
    "/estimates",
    operation_id="listEstimates",
    summary="Token-days over all carriers, as counted and for the whole market",
    response_model=EstimateAnswer,
    responses=given("Token-days of sectors.", examples.ESTIMATE_ANSWER)
    | problems("sign_in_needed", "not_allowed", "invalid_request", "unknown_parameter", "repeated_parameter"),
)
def list_estimates(
    caller: Planner,
    store: TheStore,
    settings: TheSettings,
    standing: TheStanding,
    level: Annotated[Level, Query(description="sector-day or border-day")] = Level.SECTOR_DAY,
    sector_id: SectorId = None,
    direction: Annotated[Direction | None, Query(description="across the border, seen from home")] = None,
    start: Start = None,
    end: End = None,
) -> Response:
    """Carriers are added with their known noise; one below its threshold leaves bounds, one that is missing no upper one.

    `market` multiplies by dated market factors, which bring an uncertainty of their own. The newest 31 token-days by
    default, at most 366. A carrier does not read this: it would learn what others counted.
    """
    if caller.carrier is not None:
        raise Problem("not_allowed")
    if level is Level.ZONE_HOUR:
        raise Problem("invalid_request", Fault("query:level", "zone-hours are not expanded"))
    hold_place(level, None, sector_id)
    start, end = span_of(level, start, end, store, settings)
    hold_span(start, end, _LONGEST_SPAN)
    asked = CountFilter(start=start, end=end, sector_id=sector_id, direction=direction)
    rows = store.day_counts_page(level, asked, after=None, limit=None)
    expected = [carrier["carrier_id"] for carrier in store.carriers()]
    factors = [factor for factor in store.factors() if factor.carrier in expected and factor.valid_from < end]
    rows.sort(key=_cell)
    return answer(
        {
            "level": level.value,
            "factors": [factor.document() for factor in factors],
            "items": [_estimate(list(said), expected, factors) for _, said in groupby(rows, key=_cell)],
        }
        | standing.document()
    )


def _cell(row: Document) -> tuple[Any, ...]:
    return (row["window_start"], row["sector_id"], row["kind"], row["direction"])


def _estimate(rows: Sequence[Document], expected: Sequence[str], factors: Iterable[MarketFactor]) -> dict[str, Any]:
    first = rows[0]
    counts = [
        CarrierCount(
            row["carrier"], Level(row["level"]), row["value"], row["sigma"], row["threshold"], row["feed_complete"]
        )
        for row in rows
    ]
    counted = together(counts, expected)
    in_force = factors_in_force(factors, first["window_start"])
    market = together(counts, expected, in_force) if set(expected) <= set(in_force) else None
    return {
        "sector_id": first["sector_id"] or None,
        "kind": first["kind"],
        "direction": first["direction"],
        "window_start": format_utc(first["window_start"]),
        "window_end": format_utc(first["window_end"]),
        "counted": _bounded(counted),
        "market": None if market is None else _bounded(market),
        "carriers_expected": len(expected),
        "carriers_present": counted.carriers_present,
        "suppressed": counted.suppressed,
        "complete": counted.complete,
        "simulated": any(row["simulated"] for row in rows),
    }


def _bounded(found: Together) -> dict[str, float | None]:
    return {
        "value": rounded(found.value),
        "sd": round(found.sd, 1),
        "at_least": round(found.at_least, 1),
        "at_most": rounded(found.at_most),
    }
