"""What carriers published, and what was expected: the two series of a chart."""

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from api import examples
from api.answers import CountPage, ExpectationPage
from api.cursor import filter_mark, read_cursor, write_cursor
from api.door import StrictRoute
from api.identity import Caller, allowed
from api.intake import Fault
from api.problems import Problem
from api.store import CountFilter, Document
from api.wire import (
    ID_PATTERN,
    Cursor,
    End,
    SectorId,
    Start,
    TheSettings,
    TheStanding,
    TheStore,
    ZoneId,
    answer,
    given,
    instant_of,
    link_header,
    links,
    problems,
    seconds_of,
    spelled_times,
)
from ingest.release import HOUR, Direction

router = APIRouter(prefix="/v1", tags=["planners"], route_class=StrictRoute)

INTERVAL_SD = 1.96
_DEFAULT_SPAN = timedelta(hours=24)
_LONGEST = 2000

CountReader = Annotated[Caller, Depends(allowed("counts:read"))]
AlertReader = Annotated[Caller, Depends(allowed("alerts:read"))]
OneDirection = Annotated[Direction | None, Query(description="across the border, seen from home")]
_LIST_PROBLEMS = problems(
    "sign_in_needed", "not_allowed", "invalid_request", "unknown_parameter", "repeated_parameter", "cursor_invalid"
)


@router.get(
    "/counts",
    operation_id="listCounts",
    summary="Published counts with their intervals",
    response_model=CountPage,
    responses=given("A page of counts.", examples.COUNT_PAGE) | _LIST_PROBLEMS,
)
def list_counts(
    request: Request,
    caller: CountReader,
    store: TheStore,
    settings: TheSettings,
    standing: TheStanding,
    carrier: Annotated[str | None, Query(pattern=ID_PATTERN, description="one carrier")] = None,
    zone_id: ZoneId = None,
    sector_id: SectorId = None,
    direction: OneDirection = None,
    start: Start = None,
    end: End = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=_LONGEST)] = 500,
) -> Response:
    """One row for each carrier, zone, direction and hour, as the carrier published it; the newest 24 hours by default.

    `value` null means below the threshold, not zero. A carrier reads its own counts only.
    """
    if caller.carrier is not None:
        if carrier not in (None, caller.carrier):
            raise Problem("not_allowed", Fault("query:carrier", "a carrier reads its own counts"))
        carrier = caller.carrier
    mark = filter_mark({"list": "counts", "of": [carrier, zone_id, sector_id, direction, start, end]})
    after = None
    if cursor is not None:
        first, last_end, at, *place = read_cursor(cursor, mark, int, int, int, str, str, str)
        start, end, after = instant_of(first), instant_of(last_end), (instant_of(at), *place)
    newest = store.newest_window_start()
    start, end = _range(start, end, settings.clock() if newest is None else newest + HOUR)
    asked = CountFilter(
        start=start, end=end, zone_id=zone_id, sector_id=sector_id, direction=direction, carrier=carrier
    )
    rows = store.counts_page(asked, after=after, limit=limit + 1)
    next_cursor = None
    if len(rows) > limit:
        last = rows[limit - 1]
        next_cursor = write_cursor(
            mark,
            *(seconds_of(at) for at in (start, end, last["window_start"])),
            *(last[name] for name in ("carrier", "zone_id", "direction")),
        )
    found = links(request, next_cursor)
    return answer(
        {"items": [_count(row) for row in rows[:limit]], "next_cursor": next_cursor, "links": found}
        | standing.document(),
        headers=link_header(found),
    )


@router.get(
    "/expectations",
    operation_id="listExpectations",
    summary="What was expected, what was seen, and the state of each hour",
    response_model=ExpectationPage,
    responses=given("A page of expectations.", examples.EXPECTATION_PAGE) | _LIST_PROBLEMS,
)
def list_expectations(
    request: Request,
    _: AlertReader,
    store: TheStore,
    settings: TheSettings,
    standing: TheStanding,
    zone_id: ZoneId = None,
    sector_id: SectorId = None,
    direction: OneDirection = None,
    start: Start = None,
    end: End = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=_LONGEST)] = 500,
) -> Response:
    """One row for each zone, direction and hour over all carriers; the 24 hours before the watermark by default.

    `lower` and `upper` enclose what usual movement would publish in 95 of 100 hours.
    """
    mark = filter_mark({"list": "expectations", "of": [zone_id, sector_id, direction, start, end]})
    after = None
    if cursor is not None:
        first, last_end, at, *place = read_cursor(cursor, mark, int, int, int, str, str)
        start, end, after = instant_of(first), instant_of(last_end), (instant_of(at), *place)
    start, end = _range(start, end, standing.watermark or settings.clock())
    asked = CountFilter(start=start, end=end, zone_id=zone_id, sector_id=sector_id, direction=direction)
    rows = store.expectations_page(asked, after=after, limit=limit + 1)
    next_cursor = None
    if len(rows) > limit:
        last = rows[limit - 1]
        next_cursor = write_cursor(
            mark,
            *(seconds_of(at) for at in (start, end, last["window_start"])),
            *(last[name] for name in ("zone_id", "direction")),
        )
    found = links(request, next_cursor)
    return answer(
        {"items": [_expectation(row) for row in rows[:limit]], "next_cursor": next_cursor, "links": found}
        | standing.document(),
        headers=link_header(found),
    )


def _range(start: datetime | None, end: datetime | None, newest_end: datetime) -> tuple[datetime, datetime]:
    """The span asked for; a cursor carries it on, because what is newest may move between two pages."""
    end = end or newest_end
    start = start or end - _DEFAULT_SPAN
    if start >= end:
        raise Problem("invalid_request", Fault("query:start", "before the end"))
    return start, end


def _count(row: Document) -> dict[str, Any]:
    value, margin = row["value"], INTERVAL_SD * row["sigma"]
    return spelled_times(row) | {
        "state": "below_threshold" if value is None else "published",
        "interval": None if value is None else [max(round(value - margin, 1), 0.0), round(value + margin, 1)],
    }


def _expectation(row: Document) -> dict[str, Any]:
    shown = {name: row[name] for name in row if name not in ("sd", "tail_p")}
    for name in ("expected", "lower", "upper", "excess"):
        shown[name] = rounded(shown[name])
    return spelled_times(shown | {"window_end": row["window_start"] + HOUR})


def rounded(value: float | None) -> float | None:
    """A number of movements without the digits that nobody can know."""
    return None if value is None else round(value, 1)
