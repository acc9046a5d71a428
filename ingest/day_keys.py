"""The keys that tokens are made with: one random key a token-day, in a file of its own that only its owner may read.

A key is made shortly before its day and deleted when no row of that day can be on time any more. After that nobody, the
carrier included, can say whose token was whose, or make the same token again.
"""

import contextlib
import os
import secrets
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ingest.attachment import LATENESS
from ingest.token_day import HOURS_IN_DAY, folder_name, token_day_start

KEY_BYTES = 32
FEWEST_BYTES = 16
KEPT_AFTER = 2 * LATENESS
"""How long a key outlives its day: until the day's last row is late, and as long again to make its token."""
_DAY = timedelta(hours=HOURS_IN_DAY)
_NAME = "%Y-%m-%dT%HZ.key"


class KeyRefused(ValueError):
    """A key that no token may be made with; names the rule, never the key or its place."""


@dataclass(frozen=True, slots=True)
class KeyChange:
    """The token-days whose keys were made and deleted."""

    made: tuple[datetime, ...]
    deleted: tuple[datetime, ...]


def key_file(folder: Path, day_start: datetime) -> Path:
    """Where the key of a token-day lies."""
    return folder / f"{folder_name(day_start)}.key"


def turn_keys(folder: Path, now: datetime, turn_hour_utc: int) -> KeyChange:
    """Make the keys of this token-day and the next where there are none, and delete those of days that are over.

    To be run every hour: it does nothing twice, and leaves alone what is not named like a key.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    today = token_day_start(now, turn_hour_utc)
    made = tuple(day for day in (today, today + _DAY) if _make(key_file(folder, day)))
    over = {day: path for day, path in _keys(folder).items() if day + _DAY + KEPT_AFTER < now}
    for path in over.values():
        _shred(path)
    return KeyChange(made, tuple(over))


def read_day_key(folder: Path, day_start: datetime) -> bytes | None:
    """The key of a token-day, None if there is none; raises KeyRefused for one that others may read or that is short."""
    path = key_file(folder, day_start)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError:
        raise KeyRefused("a key lies in a file of its own, not behind a link, and its owner may read it") from None
    with os.fdopen(handle, "rb") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077 or found.st_uid != os.geteuid():
            raise KeyRefused(
                "a key's file belongs to who makes the tokens, and nobody else may read or write it (mode 0600)"
            )
        key = stream.read()
    if len(key) < FEWEST_BYTES:
        raise KeyRefused(f"a key has at least {FEWEST_BYTES} bytes")
    return key


def _keys(folder: Path) -> dict[datetime, Path]:
    """The keys in a folder by the start of their token-day."""
    found = {}
    for path in sorted(folder.glob("*.key")):
        with contextlib.suppress(ValueError):
            found[datetime.strptime(path.name, _NAME).replace(tzinfo=UTC)] = path
    return found


def _make(path: Path) -> bool:
    draft = path.with_name(f".{secrets.token_hex(8)}.draft")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, secrets.token_bytes(KEY_BYTES))
        os.fsync(handle)
    finally:
        os.close(handle)
    try:
        # A link is made once: who comes second keeps the first one's key, and never sees half of one.
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def _shred(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.write(bytes(size))
        stream.flush()
        os.fsync(stream.fileno())
    path.unlink()
