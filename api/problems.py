"""Every answer that is not what was asked for: RFC 9457 problems, and the one place where HTTP codes are chosen.

A problem says which rule was broken and where. It never repeats what was sent: no value, no unknown key, no path.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.intake import Fault, ReleaseRefused, faults_of

MEDIA_TYPE = "application/problem+json"

PROBLEMS: Mapping[str, tuple[int, str]] = {
    "bad_request": (400, "The request cannot be read."),
    "sign_in_needed": (401, "Sign in to ask for this."),
    "credential_invalid": (401, "The credential is not valid, or not any more."),
    "not_allowed": (403, "Your role may not do this."),
    "not_loopback": (403, "The development sign-in answers on this machine only."),
    "other_carrier": (403, "A carrier releases in its own name only."),
    "not_found": (404, "There is no such thing."),
    "method_not_allowed": (405, "This cannot be done here."),
    "revision_stale": (409, "Someone else changed the alert first; read it again."),
    "wrong_transition": (409, "The alert's status does not allow this."),
    "second_digest": (409, "The window has been spoken of already, with another digest."),
    "too_large": (413, "The body is larger than allowed."),
    "unsupported_media_type": (415, "The body is not JSON."),
    "range_not_satisfiable": (416, "The range lies outside the file."),
    "invalid_request": (422, "The request breaks a rule."),
    "unknown_parameter": (422, "A query parameter is not known."),
    "repeated_parameter": (422, "A query parameter is given more than once."),
    "cursor_invalid": (422, "The cursor is not one that this service gave out for these filters."),
    "not_json": (422, "The body is not JSON in UTF-8."),
    "duplicate_key": (422, "A key of the body is given more than once."),
    "not_finite": (422, "A number of the body is not finite, or absurdly long."),
    "contract": (422, "The release breaks its contract."),
    "unknown_carrier": (422, "The carrier is not one of this centre's."),
    "lineage": (422, "The release is a replay or a simulation, and this centre takes in live ones only."),
    "window_open": (422, "Nothing is released before the hour has closed."),
    "window_unsettled": (422, "The hour's movements have not settled yet."),
    "weaker_mechanism": (422, "The mechanism is weaker than the centre's policy."),
    "mechanism_inconsistent": (422, "The budget stated is less than the noise stated costs."),
    "unknown_grid": (422, "The zone grid is not one of this centre's."),
    "grid_not_in_force": (422, "The zone grid was not in force in this window."),
    "unknown_zone": (422, "A zone is not in the grid."),
    "missing_zone": (422, "A zone of the grid is missing."),
    "not_a_token_day": (422, "A day level speaks of a whole token-day."),
    "server_fault": (500, "Something went wrong on our side."),
    "not_ready": (503, "The store does not answer."),
}

_BY_STATUS = {
    400: "bad_request",
    401: "sign_in_needed",
    403: "not_allowed",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
    422: "invalid_request",
}


class Problem(HTTPException):
    """A refusal by its code, with the faults found."""

    def __init__(self, code: str, *faults: Fault) -> None:
        status, title = PROBLEMS[code]
        headers = {"WWW-Authenticate": 'Bearer realm="tidemark"'} if status == 401 else None
        super().__init__(status, title, headers)
        self.code = code
        self.faults = faults


def problem_body(code: str, correlation_id: str, faults: Sequence[Fault] = ()) -> bytes:
    """The JSON of a problem."""
    status, title = PROBLEMS[code]
    document: dict[str, Any] = {
        "type": f"urn:tidemark:problem:{code}",
        "title": title,
        "status": status,
        "code": code,
        "correlation_id": correlation_id,
    }
    if faults:
        document["errors"] = [{"pointer": fault.pointer, "rule": fault.rule} for fault in faults]
    return json.dumps(document).encode()


def respond(
    request: Request, code: str, faults: Sequence[Fault] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """The response for a problem; its correlation id was set at the rim."""
    correlation_id: str = request.scope.get("correlation_id", "")
    return Response(
        problem_body(code, correlation_id, faults),
        status_code=PROBLEMS[code][0],
        headers=dict(headers or {}) | {"Cache-Control": "no-store"},
        media_type=MEDIA_TYPE,
    )


async def on_http_exception(request: Request, exception: Exception) -> Response:
    """A problem, or a framework's refusal, as a problem; the framework's own words are dropped."""
    assert isinstance(exception, HTTPException)
    if isinstance(exception, Problem):
        return respond(request, exception.code, exception.faults, exception.headers)
    headers = {key: value for key, value in (exception.headers or {}).items() if key.lower() == "allow"}
    return respond(request, _BY_STATUS.get(exception.status_code, "bad_request"), (), headers)


async def on_invalid_request(request: Request, exception: Exception) -> Response:
    """FastAPI's 422, which would repeat the refused value, as place and rule only."""
    assert isinstance(exception, RequestValidationError)
    faults = []
    for error in exception.errors():
        origin, *place = error["loc"]
        if origin == "body":
            faults += faults_of([error], skip=1)
        else:
            (fault,) = faults_of([error], skip=len(error["loc"]))
            name = place[0] if place else ""
            faults.append(Fault(f"{origin}:{name}", fault.rule))
    return respond(request, "invalid_request", faults)


async def on_release_refused(request: Request, exception: Exception) -> Response:
    """A refused release as a problem; its reason is the code."""
    assert isinstance(exception, ReleaseRefused)
    return respond(request, exception.reason, exception.faults)
