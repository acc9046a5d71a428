"""What every request passes first and every response last: loopback guard, body cap, correlation id, security headers.

A fault that nobody caught ends here: the caller gets an id, the log gets the id, the kind of fault and the place in
our code. Neither gets a message, because a message may hold what was sent.
"""

import logging
import traceback
import uuid
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import MEDIA_TYPE, PROBLEMS, Problem, problem_body
from api.settings import LOOPBACK_NAMES, is_loopback

_log = logging.getLogger("tidemark.api")

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; worker-src 'self'; img-src 'self' data:; style-src 'self'; "
        "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Unless a route says otherwise: ask again every time, so that no page mixes old and new files after an upgrade.
    "Cache-Control": "no-cache",
}

_PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def reaches_from_here(scope: Scope) -> bool:
    """Whether a request was made on this machine and for this machine.

    The peer's address alone is not enough: another site's page can send a browser to 127.0.0.1 under its own name (DNS
    rebinding), and a proxy on this machine makes the whole network look local.
    """
    headers = Headers(scope=scope)
    client = scope.get("client")
    if client is None or not is_loopback(client[0]):
        return False
    if any(name in headers for name in _PROXY_HEADERS):
        return False
    host = headers.get("host", "")
    if _hostname(f"//{host}") not in LOOPBACK_NAMES:
        return False
    origin = headers.get("origin")
    return scope["method"] in _SAFE_METHODS or origin is None or origin == f"{scope['scheme']}://{host}"


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


class Rim:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, *, loopback_only: bool, body_limit_bytes: int) -> None:
        self.app = app
        self.loopback_only = loopback_only
        self.body_limit_bytes = body_limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Guard, mark and pass on one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        correlation_id = str(uuid.uuid4())
        scope["correlation_id"] = correlation_id
        started = False
        left = self.body_limit_bytes

        async def counted() -> Message:
            # A length may be missing or a lie, so what comes is counted while it comes.
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise Problem("too_large")
            return message

        async def marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["X-Correlation-Id"] = correlation_id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if self.loopback_only and not reaches_from_here(scope):
            await _refuse(marked, "not_loopback", correlation_id)
            return
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self.body_limit_bytes:
            await _refuse(marked, "too_large", correlation_id)
            return
        try:
            await self.app(scope, counted, marked)
        except Exception as fault:  # noqa: BLE001 - the rim: nothing may pass it with a message in hand
            frames = traceback.extract_tb(fault.__traceback__)
            place = " < ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in reversed(frames[-6:]))
            _log.error("server_fault %s %s %s", correlation_id, type(fault).__name__, place)
            if not started:
                await _refuse(marked, "server_fault", correlation_id)


async def _refuse(send: Send, code: str, correlation_id: str) -> None:
    body = problem_body(code, correlation_id)
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": PROBLEMS[code][0], "headers": headers})
    await send({"type": "http.response.body", "body": body})
