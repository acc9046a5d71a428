"""Alerts: polled without loss, acknowledged and closed by the desks that own them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from api import examples
from api.alert import Alert, AlertStatus, Severity, TransitionRefused
from api.answers import Acknowledgement, AlertAnswer, AlertPage, Closing
from api.cursor import filter_mark, read_cursor, write_cursor
from api.door import StrictRoute
from api.identity import Caller, allowed
from api.problems import Problem
from api.store import AlertFilter, AlertUnknown, RevisionStale
from api.wire import (
    ID_PATTERN,
    UNCHANGED,
    SectorId,
    TheSettings,
    TheStanding,
    TheStore,
    ZoneId,
    answer,
    given,
    link_header,
    links,
    not_modified,
    problems,
    spelled_times,
    weak_etag,
)
from ingest.release import Direction

router = APIRouter(prefix="/v1/alerts", tags=["desks"], route_class=StrictRoute)

AlertId = Annotated[str, Path(pattern=ID_PATTERN, description="the alert's id")]
Reader = Annotated[Caller, Depends(allowed("alerts:read"))]
Desk = Annotated[Caller, Depends(allowed("alerts:write"))]


@router.get(
    "",
    operation_id="listAlerts",
    summary="Alerts as they stand, then every revision since",
    response_model=AlertPage,
    responses=given("A page of alerts.", examples.ALERT_PAGE)
    | UNCHANGED
    | problems(
        "sign_in_needed", "not_allowed", "invalid_request", "unknown_parameter", "repeated_parameter", "cursor_invalid"
    ),
)
def list_alerts(
    request: Request,
    _: Reader,
    store: TheStore,
    standing: TheStanding,
    since: Annotated[
        str | None,
        Query(max_length=600, description="`next_cursor` of the answer before; filters must be the same"),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    sector_id: SectorId = None,
    zone_id: ZoneId = None,
    direction: Annotated[Direction | None, Query(description="across the border, seen from home")] = None,
    status: Annotated[AlertStatus | None, Query(description="of the revision, not of the alert today")] = None,
    severity: Annotated[Severity | None, Query()] = None,
) -> Response:
    """Without `since`: each alert once, as it stands now. With it: every revision recorded after that answer.

    Keep `next_cursor` and hand it back as `since`: no revision is missed or shown twice, however long you were away.
    Filters hold for each revision, so to learn that an alert has closed do not filter by status. An entity tag makes
    polling cheap: nothing new is a 304 without a body.
    """
    asked = AlertFilter(sector_id=sector_id, zone_id=zone_id, direction=direction, status=status, severity=severity)
    mark = filter_mark({"list": "alerts"} | asdict(asked))
    # A cursor is a phase and two numbers. snapshot: alerts as they stood at revision n, past m; log: revisions past m.
    phase, reached, after = ("snapshot", -1, 0) if since is None else read_cursor(since, mark, str, int, int)
    if phase not in ("snapshot", "log"):
        raise Problem("cursor_invalid")
    # Read before the page: a revision that comes in between makes the tag too old, never too new.
    newest = store.newest_seq()
    etag = weak_etag(mark, phase, reached, after, limit, newest, standing.fingerprint())
    unchanged = not_modified(request, etag)
    if unchanged is not None:
        return unchanged
    page = store.alerts_page(asked, snapshot=reached if phase == "snapshot" else None, after=after, limit=limit)
    if page.more and phase == "snapshot":
        next_cursor = write_cursor(mark, "snapshot", page.newest_seq, page.last_seq)
    else:
        next_cursor = write_cursor(mark, "log", 0, page.last_seq if page.more else page.newest_seq)
    waiting = page.more or newest > page.newest_seq
    found = links(request, next_cursor if waiting else None, "since")
    return answer(
        {"items": page.documents, "next_cursor": next_cursor, "links": found} | standing.document(),
        headers={"ETag": etag} | link_header(found),
    )


@router.get(
    "/{alert_id}",
    operation_id="readAlert",
    summary="One alert and its history",
    response_model=AlertAnswer,
    responses=given("The alert.", examples.ALERT_ANSWER)
    | UNCHANGED
    | problems("sign_in_needed", "not_allowed", "not_found", "invalid_request", "unknown_parameter"),
)
def read_alert(request: Request, _: Reader, store: TheStore, standing: TheStanding, alert_id: AlertId) -> Response:
    """The alert as it stands, who did what to it, and how far the service's word reaches."""
    try:
        alert, history = store.alert_history(alert_id)
    except AlertUnknown:
        raise Problem("not_found") from None
    etag = weak_etag(alert_id, alert["revision"], standing.fingerprint())
    unchanged = not_modified(request, etag)
    if unchanged is not None:
        return unchanged
    return answer(
        {"alert": alert, "history": [spelled_times(event) for event in history]} | standing.document(),
        headers={"ETag": etag},
    )


_CHANGE_PROBLEMS = problems(
    "sign_in_needed",
    "not_allowed",
    "not_found",
    "revision_stale",
    "wrong_transition",
    "too_large",
    "unsupported_media_type",
    "invalid_request",
    "not_json",
    "duplicate_key",
    "unknown_parameter",
)


@router.post(
    "/{alert_id}/acknowledge",
    operation_id="acknowledgeAlert",
    summary="Take note of an open alert",
    response_model=Alert,
    responses=given("Its next revision.", examples.ACKNOWLEDGED) | _CHANGE_PROBLEMS,
)
def acknowledge_alert(
    desk: Desk, store: TheStore, settings: TheSettings, alert_id: AlertId, body: Acknowledgement
) -> Response:
    """`revision` is the one that the desk has read: if someone was first, the answer is 409 and nothing changes."""
    with _refusals():
        alert = store.acknowledge_alert(alert_id, revision=body.revision, who=desk.name, at=settings.clock())
    return answer(alert, cache="no-store")


@router.post(
    "/{alert_id}/close",
    operation_id="closeAlert",
    summary="Close an alert with what it turned out to be",
    response_model=Alert,
    responses=given("Its next revision.", examples.CLOSED) | _CHANGE_PROBLEMS,
)
def close_alert(desk: Desk, store: TheStore, settings: TheSettings, alert_id: AlertId, body: Closing) -> Response:
    """One of six dispositions, no free text. An alert that closed by itself may still be told what it was, once."""
    with _refusals():
        alert = store.close_alert(
            alert_id, revision=body.revision, disposition=body.disposition, who=desk.name, at=settings.clock()
        )
    return answer(alert, cache="no-store")


@contextmanager
def _refusals() -> Iterator[None]:
    """What the store refuses, as problems."""
    try:
        yield
    except AlertUnknown:
        raise Problem("not_found") from None
    except RevisionStale:
        raise Problem("revision_stale") from None
    except TransitionRefused:
        raise Problem("wrong_transition") from None
