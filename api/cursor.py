"""Opaque cursors: a place in a list and the filters it belongs to, so that one list's place is not tried on another."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from api.intake import ReleaseRefused, parse_json
from api.problems import Problem

_LONGEST = 600


def filter_mark(filters: Mapping[str, Any]) -> str:
    """A short mark of the filters of a list."""
    return hashlib.sha256(json.dumps(filters, sort_keys=True, default=str).encode()).hexdigest()[:16]


def write_cursor(mark: str, *place: str | int) -> str:
    """A cursor for a place in the list with these filters.

    >>> read_cursor(write_cursor("m", 7, "a"), "m", int, str)
    (7, 'a')
    """
    return base64.urlsafe_b64encode(json.dumps([mark, *place]).encode()).rstrip(b"=").decode()


def read_cursor(cursor: str, mark: str, *kinds: type[str] | type[int]) -> tuple[Any, ...]:
    """The place a cursor names; refused if it is not one of ours or belongs to other filters."""
    if len(cursor) > _LONGEST:
        raise Problem("cursor_invalid")
    try:
        content = parse_json(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, ReleaseRefused):
        raise Problem("cursor_invalid") from None
    if not isinstance(content, list) or [type(part) for part in content] != [str, *kinds] or content[0] != mark:
        raise Problem("cursor_invalid")
    if any(isinstance(part, int) and not 0 <= part < 2**62 for part in content):
        raise Problem("cursor_invalid")
    return tuple(content[1:])
