"""What the application is told at start: where it listens, who may sign in, which clock is right."""

import ipaddress
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

from api.intake import BODY_LIMIT_BYTES

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class SettingRefused(ValueError):
    """A deployment that must not start; the message names the setting, the value found and the rule."""


def utc_now() -> datetime:
    """This instant."""
    return datetime.now(UTC)


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine only.

    >>> is_loopback("127.0.0.1"), is_loopback("::ffff:127.0.0.1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What the operator owes the public: who it is, whom to complain to, how to opt out, and when it ends."""

    operator: str | None = None
    complaints: str | None = None
    authority: str | None = None  # the supervisory authority
    opt_out: str | None = None
    ends_on: date | None = None
    carrier_ledgers: Mapping[str, str] = field(default_factory=dict)  # carrier -> where it publishes its own ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """How the application runs.

    `clock` tells which hour of the border it is (a replay hands in its own); `credential_clock` tells real seconds, so
    that a replay cannot keep a credential alive. With `sign_in="closed"` only public routes answer.
    """

    bind_host: str = "127.0.0.1"
    sign_in: Literal["development", "closed"] = "closed"
    static_dir: Path = Path(__file__).parent / "static"
    stale_after: timedelta = timedelta(hours=4)
    notice: Notice = Notice()
    body_limit_bytes: int = BODY_LIMIT_BYTES
    clock: Callable[[], datetime] = utc_now
    credential_clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        if self.sign_in not in ("development", "closed"):
            raise SettingRefused(f"sign_in is {self.sign_in!r}: it is development or closed")
        if self.sign_in == "development" and not is_loopback(self.bind_host):
            raise SettingRefused(
                f"bind_host is {self.bind_host!r}: the development sign-in listens on this machine only"
            )
        if not 0 < self.body_limit_bytes <= BODY_LIMIT_BYTES:
            raise SettingRefused(f"body_limit_bytes is {self.body_limit_bytes}: at most {BODY_LIMIT_BYTES}")
