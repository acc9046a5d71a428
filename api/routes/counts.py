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
from api.settings import ApiSettings
from api.store import CountFilter, Document, Store
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
from ingest.release import HOUR, Direction, Level

router = APIRouter(prefix="/v1", tags=["planners"], route_class=StrictRoute)

INTERVAL_SD = 1.96
_DEFAULT_SPAN = timedelta(hours=24)
_DEFAULT_DAYS = timedelta(days=31)
_PLACE = ("carrier", "zone_id", "direction")
_DAY_PLACE = ("carrier", "sector_id", "kind", "direction")
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
    level: Annotated[
        Level, Query(description="zone-hours, or token-days of sectors or of the border")
    ] = Level.ZONE_HOUR,
    zone_id: ZoneId = None,
    sector_id: SectorId = None,
    direction: OneDirection = None,
    start: Start = None,
    end: End = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=_LONGEST)] = 500,
) -> Response:
    """One row for each carrier, place, direction and window of one level, as the carrier published it.

    The newest 24 hours by default, or the newest 31 token-days. `value` null means below the threshold, not zero. A
    carrier reads its own counts only.
    """
    if caller.carrier is not None:
        if carrier not in (None, caller.carrier):
            raise Problem("not_allowed", Fault("query:carrier", "a carrier reads its own counts"))
        carrier = caller.carrier
    hold_place(level, zone_id, sector_id)
    mark = filter_mark({"list": "counts", "of": [level, carrier, zone_id, sector_id, direction, start, end]})
    place = _PLACE if level is Level.ZONE_HOUR else _DAY_PLACE
    after: tuple[Any, ...] | None = None
    if cursor is not None:
        first, last_end, at, *names = read_cursor(cursor, mark, int, int, int, *(str for _ in place))
        start, end, after = instant_of(first), instant_of(last_end), (instant_of(at), *names)
    start, end = span_of(level, start, end, store, settings)
    asked = CountFilter(
        start=start, end=end, zone_id=zone_id, sector_id=sector_id, direction=direction, carrier=carrier
    )
    if level is Level.ZONE_HOUR:
        rows = store.counts_page(asked, after=after, limit=limit + 1)
    else:
        rows = store.day_counts_page(level, asked, after=after, limit=limit + 1)
    next_cursor = None
    if len(rows) > limit:
        last = rows[limit - 1]
        next_cursor = write_cursor(
            mark,
            *(seconds_of(at) for at in (start, end, last["window_start"])),
            *(last[name] for name in place),
        )
    found = links(request, next_cursor)
    shown = _count if level is Level.ZONE_HOUR else _day_count
    return answer(
        {
            "level": level.value,
            "items": [shown(row) for row in rows[:limit]],
            "next_cursor": next_cursor,
            "links": found,
        }
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


def hold_place(level: Level, zone_id: str | None, sector_id: str | None) -> None:
    """Refuse a place that a level does not have: it would be a filter that a caller believes in."""
    if zone_id is not None and level is not Level.ZONE_HOUR:
        raise Problem("invalid_request", Fault("query:zone_id", "zones are spoken of by the hour only"))
    if sector_id is not None and level is Level.BORDER_DAY:
        raise Problem("invalid_request", Fault("query:sector_id", "the border is spoken of as a whole"))


def span_of(
    level: Level, start: datetime | None, end: datetime | None, store: Store, settings: ApiSettings
) -> tuple[datetime, datetime]:
    """The span of windows asked for; by default the newest 24 hours, or the newest 31 token-days."""
    newest = store.newest_window_start(level)
    newest_end = settings.clock() if newest is None else newest + level.span
    return _range(start, end, newest_end, _DEFAULT_SPAN if level is Level.ZONE_HOUR else _DEFAULT_DAYS)


def hold_span(start: datetime, end: datetime, longest: timedelta) -> None:
    """Refuse a span of windows that is longer than this."""
    if end - start > longest:
        raise Problem("invalid_request", Fault("query:start", f"at most {longest.days} days before the end"))


def _range(
    start: datetime | None, end: datetime | None, newest_end: datetime, by_default: timedelta = _DEFAULT_SPAN
) -> tuple[datetime, datetime]:
    """The span asked for; a cursor carries it on, because what is newest may move between two pages."""
    end = end or newest_end
    start = start or end - by_default
    if start >= end:
        raise Problem("invalid_request", Fault("query:start", "before the end"))
    return start, end


def _count(row: Document) -> dict[str, Any]:
    value, margin = row["value"], INTERVAL_SD * row["sigma"]
    return spelled_times(row) | {
        "state": "below_threshold" if value is None else "published",
        "interval": None if value is None else [max(round(value - margin, 1), 0.0), round(value + margin, 1)],
    }


def _day_count(row: Document) -> dict[str, Any]:
    shown = {name: row[name] for name in row if name != "level"}
    return _count(shown | {"sector_id": row["sector_id"] or None})


def _expectation(row: Document) -> dict[str, Any]:
    shown = {name: row[name] for name in row if name not in ("sd", "tail_p")}
    for name in ("expected", "lower", "upper", "excess"):
        shown[name] = rounded(shown[name])
    return spelled_times(shown | {"window_end": row["window_start"] + HOUR})


def rounded(value: float | None) -> float | None:
    """A number of movements without the digits that nobody can know."""
    return None if value is None else round(value, 1)
