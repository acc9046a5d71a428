"""The application: routes, who may ask, how it refuses, and the page it serves."""

from functools import partial
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from api.description import describe
from api.identity import DevelopmentSignIn
from api.intake import ReleaseRefused
from api.problems import on_http_exception, on_invalid_request, on_release_refused
from api.rim import Rim
from api.routes import alerts, counts, estimates, ledger, releases, service, zones
from api.settings import ApiSettings
from api.store import Store

DESCRIPTION = """\
Movement at a land border, in aggregate: noisy, thresholded counts by zone and hour, and alerts where a zone-hour is
unusual. There is no route, field or parameter for a device, and none can be asked for.

* **Polling**: keep `next_cursor`, hand it back, show `If-None-Match`.
* **Quiet is not blind**: every list says its `watermark`, its `coverage` and whether it is `degraded`.
* **Refusals** are problems (RFC 9457) that name the rule and the place, and never repeat what was sent.
"""

TAGS = [
    {"name": "desks", "description": "Command centres: alerts, acknowledged and closed."},
    {"name": "planners", "description": "Counts and expectations by zone and hour."},
    {"name": "carriers", "description": "Releases, pushed once."},
    {"name": "public", "description": "Without sign-in: the zone grid and the privacy ledger."},
    {"name": "service", "description": "Whether the service runs."},
]


def create_app(store: Store, settings: ApiSettings) -> FastAPI:
    """The application over a store."""
    app = assemble(settings)
    app.state.store = store
    return app


def assemble(settings: ApiSettings) -> FastAPI:
    """The application without a store: enough to describe itself."""
    in_development = settings.sign_in == "development"
    app = FastAPI(
        title="Tidemark",
        version=version("tidemark"),
        description=DESCRIPTION,
        openapi_url="/v1/openapi.json",
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        exception_handlers={
            HTTPException: on_http_exception,
            RequestValidationError: on_invalid_request,
            ReleaseRefused: on_release_refused,
        },
    )
    app.add_middleware(Rim, loopback_only=in_development, body_limit_bytes=settings.body_limit_bytes)
    app.state.settings = settings
    app.state.sign_in = DevelopmentSignIn(settings.credential_clock) if in_development else None
    routers = [rooms.router for rooms in (alerts, counts, estimates, releases, zones, ledger, service)]
    for router in routers:
        app.include_router(router)
    if in_development:
        app.include_router(service.development)
    if settings.static_dir.is_dir():
        app.frontend("/", directory=settings.static_dir, fallback=None, check_dir=False)
    described = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    app.openapi = partial(describe, app, described)  # type: ignore[method-assign]
    return app
