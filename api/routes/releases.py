"""Where carriers push their releases."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from api import examples
from api.answers import ReceiptAnswer
from api.door import StrictRoute
from api.identity import Caller, allowed
from api.intake import accept_release
from api.wire import TheSettings, TheStore, answer, given, problems
from ingest.release import Release, format_utc

router = APIRouter(prefix="/v1/releases", tags=["carriers"], route_class=StrictRoute)

CarrierCaller = Annotated[Caller, Depends(allowed("releases:write"))]


@router.post(
    "",
    operation_id="pushRelease",
    summary="Release the counts of one closed hour, once",
    status_code=201,
    response_model=ReceiptAnswer,
    responses=given("Taken in, whole.", examples.RECEIPT, status=201)
    | given(
        "Known already with this digest; nothing changed.",
        examples.RECEIPT | {"outcome": "same_digest"},
        model=ReceiptAnswer,
    )
    | problems(
        "sign_in_needed",
        "not_allowed",
        "other_carrier",
        "second_digest",
        "too_large",
        "unsupported_media_type",
        "invalid_request",
        "not_json",
        "duplicate_key",
        "not_finite",
        "unknown_carrier",
        "lineage",
        "window_open",
        "window_unsettled",
        "weaker_mechanism",
        "mechanism_inconsistent",
        "unknown_grid",
        "grid_not_in_force",
        "unknown_zone",
        "missing_zone",
        "not_a_token_day",
        "unknown_parameter",
    ),
    openapi_extra={"requestBody": {"content": {"application/json": {"example": examples.RELEASE}}}},
)
def push_release(caller: CarrierCaller, store: TheStore, settings: TheSettings, body: Release) -> Response:
    """A release goes in whole or not at all. Sending it again is safe; sending another for the same window is not:
    the first stays, the answer is 409, and the incident is recorded.
    """
    receipt = accept_release(store, body, carrier=caller.carrier, now=settings.clock())
    return answer(
        {
            "outcome": receipt.outcome,
            "carrier": body.carrier,
            "level": body.level.value,
            "window_start": format_utc(body.window_start),
            "digest": receipt.digest,
            "received_at": format_utc(receipt.received_at),
        },
        status_code=201 if receipt.outcome == "accepted" else 200,
        cache="no-store",
    )
