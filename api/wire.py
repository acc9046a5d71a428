"""What the routes share: parameters, answers with their caching headers, and the problems a route may give."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator

from api.problems import MEDIA_TYPE, PROBLEMS, Problem
from api.settings import ApiSettings
from api.standing import Standing, standing_of
from api.store import Store
from ingest.release import format_utc

Responses = dict[int | str, dict[str, Any]]

UNCHANGED: Responses = {304: {"description": "Nothing changed since the entity tag shown."}}

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def _spelled_out(value: object) -> object:
    # Pydantic would take bare digits for seconds since 1970.
    if isinstance(value, str) and not _RFC_3339.fullmatch(value):
        raise ValueError("a time is RFC 3339 text with an offset")
    return value


def _within_reach(at: datetime) -> datetime:
    if not _EARLIEST <= at <= _LATEST:
        raise ValueError("a time from 1970 to 2200")
    return at


Instant = Annotated[AwareDatetime, BeforeValidator(_spelled_out), AfterValidator(_within_reach)]
ZoneId = Annotated[str | None, Query(pattern=ID_PATTERN, description="one zone")]
SectorId = Annotated[str | None, Query(pattern=r"^[^\x00-\x1f]{1,64}$", description="one sector")]
Start = Annotated[Instant | None, Query(description="windows that start then or later; RFC 3339")]
End = Annotated[Instant | None, Query(description="windows that start before this; RFC 3339")]
Cursor = Annotated[str | None, Query(max_length=600, description="the `next_cursor` of the page before")]


def store_of(request: Request) -> Store:
    """The store that the application was made with."""
    store: Store = request.app.state.store
    return store


def settings_of(request: Request) -> ApiSettings:
    """The settings that the application was made with."""
    settings: ApiSettings = request.app.state.settings
    return settings


TheStore = Annotated[Store, Depends(store_of)]
TheSettings = Annotated[ApiSettings, Depends(settings_of)]


def standing_now(store: TheStore, settings: TheSettings) -> Standing:
    """How far the service's word reaches now."""
    return standing_of(store, now=settings.clock(), stale_after=settings.stale_after)


TheStanding = Annotated[Standing, Depends(standing_now)]


def problems(*codes: str) -> Responses:
    """The responses entry of a route for the problems it may give."""
    by_status: Responses = {}
    for code in codes:
        status, title = PROBLEMS[code]
        entry = by_status.setdefault(
            status,
            {
                "description": title,
                "content": {
                    MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemAnswer"}, "examples": {}},
                },
            },
        )
        entry["content"][MEDIA_TYPE]["examples"][code] = {
            "value": {
                "type": f"urn:tidemark:problem:{code}",
                "title": title,
                "status": status,
                "code": code,
                "correlation_id": "6f1f3d3e-6d3f-4a67-9c50-3f6a0f6d3c11",
            }
        }
    return by_status


def given(
    description: str,
    example: Mapping[str, Any],
    *,
    status: int = 200,
    model: type[BaseModel] | None = None,
    media_type: str = "application/json",
) -> Responses:
    """The responses entry of a route for what it gives, with an example; `model` for any but its usual response."""
    entry: dict[str, Any] = {"description": description, "content": {media_type: {"example": example}}}
    return {status: entry if model is None else entry | {"model": model}}


def answer(
    document: Mapping[str, Any],
    *,
    status_code: int = 200,
    cache: str = "private, no-cache",
    media_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A JSON answer with its caching rule. It depends on who asks, so caches are told."""
    return Response(
        json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(),
        status_code=status_code,
        media_type=media_type,
        headers={"Cache-Control": cache, "Vary": "Authorization, Cookie", **(headers or {})},
    )


def weak_etag(*parts: object) -> str:
    """A weak entity tag over what an answer depends on."""
    return 'W/"' + hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:32] + '"'


def not_modified(request: Request, etag: str, cache: str = "private, no-cache") -> Response | None:
    """304 if the caller holds this answer already (RFC 9110, 13.1.2: weak comparison, a list or `*`)."""
    held = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if etag.removeprefix("W/") not in held and "*" not in held:
        return None
    return Response(
        status_code=304,
        headers={"ETag": etag, "Cache-Control": cache, "Vary": "Authorization, Cookie"},
    )


def links(request: Request, next_cursor: str | None, parameter: str = "cursor") -> list[dict[str, str]]:
    """The links of a page: itself, and the next one while more is waiting. Relative, so no host is trusted."""
    own = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    found = [{"rel": "self", "href": own}]
    if next_cursor is not None:
        on = request.url.include_query_params(**{parameter: next_cursor})
        found.append({"rel": "next", "href": f"{on.path}?{on.query}"})
    return found


def link_header(found: list[dict[str, str]]) -> dict[str, str]:
    """The links as RFC 8288 spells them."""
    return {"Link": ", ".join(f'<{link["href"]}>; rel="{link["rel"]}"' for link in found)}


def spelled_times(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose instants are spelled as on the wire."""
    return {name: format_utc(value) if isinstance(value, datetime) else value for name, value in row.items()}


def seconds_of(at: datetime) -> int:
    """Whole seconds since 1970, for cursors; a started second counts."""
    return math.ceil(at.timestamp())


def instant_of(seconds: int) -> datetime:
    """The instant that a cursor names."""
    if not 0 <= seconds <= _LATEST.timestamp():
        raise Problem("cursor_invalid")
    return datetime.fromtimestamp(seconds, UTC)
