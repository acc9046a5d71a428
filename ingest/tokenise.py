"""Tokens from subscriber ids, at the carrier and before anything of Tidemark sees a row.

A token is the first 128 bits of HMAC-SHA256 of the subscriber id under the key of the event's token-day (RFC 2104, cut as its
section 5 allows), in 26 letters of base32. Rows of machine SIMs and of people who opted out are left out before a token is
made. Of a row only what the contract knows goes on, and what the carrier names.
"""

import base64
import csv
import hashlib
import hmac
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TextIO

from ingest.attachment import FIELD_NAMES, parse_time
from ingest.times import TimeForm
from ingest.token_day import token_day_start
from ingest.tokens import TOKEN_BYTES

Row = dict[str, str | int | None]
WRITTEN = "written"
_SUBSCRIBER = re.compile(r"\+?([0-9]{5,15})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {
    TimeForm.EPOCH_S: timedelta(seconds=1),
    TimeForm.EPOCH_MS: timedelta(milliseconds=1),
    TimeForm.EPOCH_US: timedelta(microseconds=1),
}


class ListRefused(ValueError):
    """A list of subscribers or prefixes that cannot be relied on; names the line and the rule, never the entry."""


class RowsRefused(ValueError):
    """Rows that no token can be made for at all: the columns are not there, or must not be."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Whose rows no token is made for: by the digits of the subscriber id, the machines also by how these begin."""

    opted_out: frozenset[str] = frozenset()
    machines: frozenset[str] = frozenset()
    machine_prefixes: tuple[str, ...] = ()

    def reason(self, subscriber: str) -> str | None:
        """Why no token is made for a subscriber, or None."""
        if subscriber in self.opted_out:
            return "opted_out"
        if subscriber in self.machines or subscriber.startswith(self.machine_prefixes):
            return "machine"
        return None


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a row holds what a token is made from, and what else of it goes on."""

    subscriber: str
    time: str = "event_time"
    time_form: TimeForm = TimeForm.RFC_3339
    keep: frozenset[str] = frozenset(FIELD_NAMES)

    def kept(self, names: Iterable[str]) -> list[str]:
        """Of these columns those that go on, without the subscriber's."""
        return [name for name in names if name in self.keep and name not in (self.subscriber, "token")]


def make_token(key: bytes, subscriber: str) -> str:
    """The token of a subscriber on the day of a key.

    >>> make_token(b"\\x0b" * 20, "452040123456789")
    'yuf3rkst3ajfxpy2dytm6s2cz4'
    """
    digest = hmac.digest(key, subscriber.encode("ascii"), hashlib.sha256)[:TOKEN_BYTES]
    return base64.b32encode(digest).decode("ascii").rstrip("=").lower()


def subscriber_digits(text: str) -> str | None:
    """The digits of an IMSI or of a number in international form, by which one subscriber is always the same; None else.

    >>> subscriber_digits("+84912345678") == subscriber_digits("84912345678")
    True
    """
    found = _SUBSCRIBER.fullmatch(text.strip())
    return found[1] if found else None


def read_subscribers(lines: Iterable[str], name: str) -> frozenset[str]:
    """A list of subscriber ids, one a line; raises ListRefused, because who cannot be found cannot be left out."""
    return frozenset(_entries(lines, name, subscriber_digits))


def read_prefixes(lines: Iterable[str], name: str) -> tuple[str, ...]:
    """A list of how subscriber ids begin, one a line, digits only; raises ListRefused."""
    return tuple(_entries(lines, name, lambda text: text if re.fullmatch("[0-9]{1,15}", text) else None))


def tokenise(
    rows: Iterable[Mapping[str, Any] | None],
    columns: Columns,
    turn_hour_utc: int,
    key_of: Callable[[datetime], bytes | None],
    left_out: LeftOut,
    counts: Counter[str],
) -> Iterator[Row]:
    """The rows that go on, with their tokens; `counts` says what became of every row. A row that is None was unreadable."""
    keys: dict[datetime, bytes | None] = {}
    for row in rows:
        outcome = _outcome(row, columns, turn_hour_utc, key_of, keys, left_out)
        counts[WRITTEN if isinstance(outcome, dict) else outcome] += 1
        if isinstance(outcome, dict):
            yield outcome


def read_csv_rows(
    stream: TextIO, columns: Columns, delimiter: str = ","
) -> tuple[list[str], Iterator[dict[str, str] | None]]:
    """Names and rows of a CSV with a header; raises RowsRefused if the columns that are needed are not in it."""
    header = _values(stream.readline(), delimiter)
    if not {columns.subscriber, columns.time} <= set(header) or len(set(header)) != len(header):
        raise RowsRefused("the header has the columns of subscriber and time, each name once")
    lines = (_values(line, delimiter) for line in stream)
    return header, (dict(zip(header, values, strict=True)) if len(values) == len(header) else None for values in lines)


def _values(line: str, delimiter: str) -> list[str]:
    """The values of one line; none if a quote is left open, so that it takes no other line with it."""
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []


def read_ndjson_rows(stream: TextIO) -> Iterator[dict[str, Any] | None]:
    """The objects of NDJSON lines; a line that is none, or has a key twice, is None."""
    for line in stream:
        try:
            row = json.loads(line, object_pairs_hook=_once)
        except (ValueError, RecursionError):
            row = None
        yield row if isinstance(row, dict) else None


def write_csv_rows(rows: Iterator[Row], names: Collection[str], stream: TextIO) -> None:
    """Rows as CSV with a header: the token, then these columns."""
    writer = csv.DictWriter(stream, ["token", *names], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def write_ndjson_rows(rows: Iterator[Row], stream: TextIO) -> None:
    """Rows as NDJSON."""
    for row in rows:
        stream.write(json.dumps(row, separators=(",", ":")) + "\n")


def _outcome(
    row: Mapping[str, Any] | None,
    columns: Columns,
    turn_hour_utc: int,
    key_of: Callable[[datetime], bytes | None],
    keys: dict[datetime, bytes | None],
    left_out: LeftOut,
) -> Row | str:
    kept = {} if row is None else {name: row[name] for name in columns.kept(row)}
    if row is None or not all(value is None or type(value) in (str, int) for value in kept.values()):
        return "unreadable"
    written = row.get(columns.subscriber)
    subscriber = subscriber_digits(written) if isinstance(written, str) else None
    if subscriber is None:
        return "no_subscriber"
    if reason := left_out.reason(subscriber):
        return reason
    at = _instant(row.get(columns.time), columns.time_form)
    if at is None:
        return "no_time"
    day = token_day_start(at, turn_hour_utc)
    if day not in keys:
        keys[day] = key_of(day)
    key = keys[day]
    return "no_key" if key is None else {"token": make_token(key, subscriber), **kept}


def _instant(written: object, form: TimeForm) -> datetime | None:
    if not isinstance(written, str | int) or isinstance(written, bool):
        return None
    text = str(written)
    if form is TimeForm.RFC_3339:
        return parse_time(text)
    try:
        return _EPOCH + int(text) * _UNITS[form] if re.fullmatch("[0-9]{1,17}", text) else None
    except OverflowError:
        return None


def _entries(lines: Iterable[str], name: str, entry_of: Callable[[str], str | None]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        text = line.strip()
        entry = entry_of(text)
        if entry is not None:
            yield entry
        elif text:
            raise ListRefused(f"line {number} of {name} is none: digits only, one a line")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError
    return dict(pairs)
