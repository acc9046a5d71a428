"""Whether the service runs, and the sign-in for development."""

from datetime import UTC, datetime
from importlib.metadata import version

from fastapi import APIRouter, Request, Response

from api.answers import Liveness, Readiness, SignedIn, SignIn, VersionAnswer
from api.door import StrictRoute
from api.identity import COOKIE, LIFETIME_S, DevelopmentSignIn, caller_named
from api.intake import Fault
from api.problems import Problem
from api.standing import standing_of
from api.store import StoreFault
from api.wire import TheSettings, TheStore, answer, given, problems
from ingest.release import format_utc

router = APIRouter(tags=["service"], route_class=StrictRoute)
development = APIRouter(prefix="/dev", tags=["service"], route_class=StrictRoute, include_in_schema=False)


@router.get(
    "/livez",
    operation_id="readLiveness",
    summary="Whether the process answers",
    response_model=Liveness,
    responses=given("It does.", {"status": "alive"}) | problems("unknown_parameter"),
)
def read_liveness() -> Response:
    """Says nothing of the store."""
    return answer({"status": "alive"}, cache="no-store")


@router.get(
    "/readyz",
    operation_id="readReadiness",
    summary="Whether the store answers, and how fresh it is",
    response_model=Readiness,
    responses=given(
        "It does.",
        {"status": "ready", "watermark": "2026-03-02T06:00:00Z", "degraded": False, "degraded_reasons": []},
    )
    | problems("not_ready", "unknown_parameter"),
)
def read_readiness(store: TheStore, settings: TheSettings) -> Response:
    """Freshness is told and fails nothing."""
    try:
        known = standing_of(store, now=settings.clock(), stale_after=settings.stale_after).document()
    except StoreFault:
        raise Problem("not_ready") from None
    shown = {name: known[name] for name in ("watermark", "degraded", "degraded_reasons")}
    return answer({"status": "ready"} | shown, cache="no-store")


@router.get(
    "/version",
    operation_id="readVersion",
    summary="What runs",
    response_model=VersionAnswer,
    responses=given("The version.", {"version": "0.1.0", "api": "v1"}) | problems("unknown_parameter"),
)
def read_version() -> Response:
    """The version of the package and of the API."""
    return answer({"version": version("tidemark"), "api": "v1"}, cache="no-store")


@development.post("/sign-in", operation_id="signInForDevelopment", response_model=SignedIn)
def sign_in_for_development(request: Request, body: SignIn) -> Response:
    """A credential for a role, for 15 minutes, on this machine only; also set as a cookie for the page."""
    sign_in: DevelopmentSignIn = request.app.state.sign_in
    caller = caller_named(body.role)
    if caller is None:
        raise Problem("invalid_request", Fault("/role", "a role of this service"))
    credential, expires_at = sign_in.mint(caller)
    response = answer(
        {
            "credential": credential,
            "role": caller.name,
            "expires_at": format_utc(datetime.fromtimestamp(expires_at, UTC)),
        },
        cache="no-store",
    )
    response.set_cookie(COOKIE, credential, max_age=LIFETIME_S, httponly=True, samesite="strict")
    return response
