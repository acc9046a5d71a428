"""Who is asking, and what each role may do.

The sign-in in here is for development only: anyone who can reach this machine's loopback may take any role, so it
answers there and nowhere else. Its credentials live for 15 minutes and die with the process, as does their key.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from api.problems import Problem

COOKIE = "tidemark_development"
LIFETIME_S = 15 * 60

SCOPES: Mapping[str, frozenset[str]] = {
    "public": frozenset(),
    "carrier": frozenset({"releases:write", "counts:read"}),
    "planner": frozenset({"alerts:read", "counts:read"}),
    "command": frozenset({"alerts:read", "alerts:write", "counts:read"}),
    "analyst": frozenset({"alerts:read", "counts:read"}),
    "auditor": frozenset(),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking: a role, and for a carrier which one. No name of a person: roles act, not people, so far."""

    role: str
    carrier: str | None = None

    @property
    def scopes(self) -> frozenset[str]:
        """What this caller may do."""
        return SCOPES[self.role]

    @property
    def name(self) -> str:
        """The caller as histories write it."""
        return self.role if self.carrier is None else f"{self.role}:{self.carrier}"


PUBLIC = Caller("public")


def caller_named(name: str) -> Caller | None:
    """The caller behind `planner`, `carrier:north` and so on; None if there is no such role.

    >>> caller_named("carrier:north")
    Caller(role='carrier', carrier='north')
    """
    role, colon, carrier = name.partition(":")
    if role not in SCOPES or (role == "carrier") != bool(colon and carrier):
        return None
    return Caller(role, carrier or None)


class DevelopmentSignIn:
    """Mints and reads the development credentials: `payload.mac`, both base64url, HMAC-SHA-256 under a fresh key."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)

    def mint(self, caller: Caller) -> tuple[str, float]:
        """A credential for a caller and the second it expires at."""
        expires_at = self._clock() + LIFETIME_S
        payload = json.dumps({"caller": caller.name, "exp": expires_at}).encode()
        return f"{_spell(payload)}.{_spell(self._mac(payload))}", expires_at

    def read(self, credential: str) -> Caller | None:
        """The caller that a credential speaks for; None if it is not ours or has expired."""
        payload_text, _, mac_text = credential.partition(".")
        try:
            payload, mac = _unspell(payload_text), _unspell(mac_text)
        except ValueError:
            return None
        # Nothing of the payload is looked at before the MAC holds.
        if not hmac.compare_digest(mac, self._mac(payload)):
            return None
        claims = json.loads(payload)
        return caller_named(claims["caller"]) if self._clock() < claims["exp"] else None

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, payload, hashlib.sha256)


def _spell(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _unspell(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


_bearer = HTTPBearer(scheme_name="bearer", auto_error=False, description="A credential of at most 15 minutes.")
_cookie = APIKeyCookie(name=COOKIE, scheme_name="cookie", auto_error=False, description="The same, for the page.")


def caller_of(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    cookie: Annotated[str | None, Depends(_cookie)],
) -> Caller:
    """Who is asking; the public if no credential is shown. A credential that is shown must be valid."""
    credential = bearer.credentials if bearer is not None else cookie
    if credential is None:
        if "authorization" in request.headers:
            raise Problem("credential_invalid")
        return PUBLIC
    sign_in: DevelopmentSignIn | None = request.app.state.sign_in
    caller = None if sign_in is None else sign_in.read(credential)
    if caller is None:
        raise Problem("credential_invalid")
    return caller


def allowed(scope: str) -> Callable[[Caller], Caller]:
    """A dependency that gives the caller if its role holds the scope."""

    def with_scope(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
        if scope not in caller.scopes:
            raise Problem("sign_in_needed" if caller == PUBLIC else "not_allowed")
        return caller

    return with_scope
