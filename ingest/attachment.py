"""The cell-attachment event: one definition that gives the validator, the JSON Schema and the table's columns.

The row exists only inside the carrier (design.md, section 4.1). A row that breaks a rule is refused by reason and never
echoed. The rules of a field are a pattern and a few laws between fields; `ingest/door.py` applies the very same patterns to
tables, and a test holds the two to the same verdict on any row.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

LATENESS = timedelta(minutes=15)
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
"""No instant outside is a time of this contract: seconds, milliseconds and microseconds mixed up land there."""
LINE_BYTES = 4096
"""The longest line that is read; a valid row needs under 500 bytes."""


class EventType(StrEnum):
    """What the network noticed."""

    ATTACH = "attach"
    REGISTRATION_UPDATE = "registration_update"
    SERVICE_REQUEST = "service_request"
    HANDOVER = "handover"
    DETACH = "detach"
    IMPLICIT_DETACH = "implicit_detach"
    ROAMING_REGISTRATION = "roaming_registration"
    ROAMING_CANCEL = "roaming_cancel"


class Rat(StrEnum):
    """Radio access technology, by its 3GPP name."""

    GERA = "GERA"
    UTRA = "UTRA"
    EUTRA = "EUTRA"
    NR = "NR"


class Domain(StrEnum):
    """Whose subscriber: the carrier's own or a visiting SIM. Never a country."""

    DOMESTIC = "domestic"
    INBOUND = "inbound"


class Refusal(StrEnum):
    """Why a row or a file is not taken in."""

    LINE_TOO_LONG = "line_too_long"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    UNDECODABLE = "undecodable"
    """A CSV line or an Avro message that cannot be taken apart."""
    DUPLICATE_KEY = "duplicate_key"
    UNKNOWN_FIELD = "unknown_field"
    WRONG_TYPE = "wrong_type"
    MISSING_FIELD = "missing_field"
    IDENTITY_LIKE = "identity_like"
    TOKEN = "token"
    EVENT_TYPE = "event_type"
    RAT = "rat"
    PLMN = "plmn"
    CELL_ID = "cell_id"
    CELL_MISSING = "cell_missing"
    CELL_ON_ROAMING_ROW = "cell_on_roaming_row"
    PREVIOUS_PLMN = "previous_plmn"
    DOMAIN = "domain"
    TIME = "time"
    LATE = "late"
    FUTURE = "future"


class AttachmentRefused(ValueError):
    """A row that breaks the contract; holds the reason and never the row."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the contract: its pattern (anchored at both ends) or None for a time, and the reason it refuses by."""

    name: str
    pattern: str | None
    nullable: bool
    reason: Refusal


def _one_of(words: type[StrEnum]) -> str:
    return "|".join(word.value for word in words)


# 26 letters spell 130 bits; a token has 128, so the last two are padding and are not kept.
TOKEN_PATTERN = "[a-z2-7]{26}"
PLMN_PATTERN = "[0-9]{3}-[0-9]{2,3}"
TIME_PATTERN = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-](?:0[0-9]|1[0-4]):[0-5][0-9])"
)
CELL_ID_PATTERNS = {
    Rat.GERA: "[0-9a-f]{8}",
    Rat.UTRA: "[0-9a-f]{7}",
    Rat.EUTRA: "[0-9a-f]{7}",
    Rat.NR: "[0-9a-f]{9}",
}
IDENTITY_PATTERN = "[0-9]{14}"
"""Fourteen digits in a row anywhere in a field other than token and times look like an IMSI, MSISDN or IMEI."""

FIELDS = (
    Field("token", TOKEN_PATTERN, False, Refusal.TOKEN),
    Field("event_time", None, False, Refusal.TIME),
    Field("ingest_time", None, False, Refusal.TIME),
    Field("event_type", _one_of(EventType), False, Refusal.EVENT_TYPE),
    Field("rat", _one_of(Rat), True, Refusal.RAT),
    Field("plmn", PLMN_PATTERN, False, Refusal.PLMN),
    Field("cell_id", "[0-9a-f]{7,9}", True, Refusal.CELL_ID),
    Field("previous_plmn", PLMN_PATTERN, True, Refusal.PREVIOUS_PLMN),
    Field("domain", _one_of(Domain), False, Refusal.DOMAIN),
)
FIELD_NAMES = tuple(field.name for field in FIELDS)
TIME_FIELDS = tuple(field.name for field in FIELDS if field.pattern is None)
TEXT_FIELDS = tuple(field for field in FIELDS if field.pattern is not None)
SCREENED_FIELDS = tuple(field.name for field in TEXT_FIELDS if field.name != "token")
"""Fields in which a long run of digits is taken for an identity."""
ROAMING_TYPES = frozenset({EventType.ROAMING_REGISTRATION, EventType.ROAMING_CANCEL})

_PATTERNS = {field.name: re.compile(field.pattern) for field in TEXT_FIELDS if field.pattern}
_CELL_IDS = {rat: re.compile(pattern) for rat, pattern in CELL_ID_PATTERNS.items()}
_IDENTITY = re.compile(IDENTITY_PATTERN)
_TIME = re.compile(TIME_PATTERN)
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Attachment:
    """One accepted cell-attachment event; times are aware UTC."""

    token: str
    event_time: datetime
    ingest_time: datetime
    event_type: EventType
    rat: Rat | None
    plmn: str
    cell_id: str | None
    previous_plmn: str | None
    domain: Domain


def parse_line(line: bytes) -> dict[str, str | None]:
    """The fields of one NDJSON line as text, absent nullable keys as None; raises AttachmentRefused.

    Only the layout is judged here: one flat object, known keys once each, text or null. `judge` judges the values.
    """
    if len(line) > LINE_BYTES:
        raise AttachmentRefused(Refusal.LINE_TOO_LONG)
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise AttachmentRefused(Refusal.NOT_UTF8) from None
    try:
        row = _DECODER.decode(text)
    except AttachmentRefused:
        raise
    except (ValueError, RecursionError):
        raise AttachmentRefused(Refusal.NOT_JSON) from None
    if type(row) is not dict:
        raise AttachmentRefused(Refusal.NOT_JSON)
    if _REPEATED in row:
        raise AttachmentRefused(Refusal.DUPLICATE_KEY)
    if not row.keys() <= _NAMES:
        raise AttachmentRefused(Refusal.UNKNOWN_FIELD)
    if not all(value is None or type(value) is str for value in row.values()):
        raise AttachmentRefused(Refusal.WRONG_TYPE)
    if any(value is not None and _SURROGATE.search(value) for value in row.values()):
        raise AttachmentRefused(Refusal.NOT_UTF8)
    return {name: row.get(name) for name in FIELD_NAMES}


def parse_time(text: str | None) -> datetime | None:
    """The UTC instant of an RFC 3339 text with offset and at most microseconds, or None if it is none.

    >>> parse_time("2026-03-02T12:00:00+07:00")
    datetime.datetime(2026, 3, 2, 5, 0, tzinfo=datetime.timezone.utc)
    >>> parse_time("2026-03-02T12:00:00") is None
    True
    """
    if text is None or not _TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def judge(row: Mapping[str, str | None]) -> Attachment:
    """The event that a row of texts states; raises AttachmentRefused with the first rule that it breaks."""
    return judge_timed(row, parse_time(row["event_time"]), parse_time(row["ingest_time"]))


def judge_timed(row: Mapping[str, str | None], event_time: datetime | None, ingest_time: datetime | None) -> Attachment:
    """`judge` for a source whose times are already instants (Parquet)."""
    for field in FIELDS:
        if not field.nullable and field.pattern is not None and row[field.name] is None:
            raise AttachmentRefused(Refusal.MISSING_FIELD)
    for name in SCREENED_FIELDS:
        value = row[name]
        if value is not None and _IDENTITY.search(value):
            raise AttachmentRefused(Refusal.IDENTITY_LIKE)
    for field in TEXT_FIELDS:
        value = row[field.name]
        if value is not None and not _PATTERNS[field.name].fullmatch(value):
            raise AttachmentRefused(field.reason)
    event_type = EventType(_present(row, "event_type"))
    rat, cell_id = row["rat"], row["cell_id"]
    if event_type in ROAMING_TYPES:
        if rat is not None or cell_id is not None:
            raise AttachmentRefused(Refusal.CELL_ON_ROAMING_ROW)
    else:
        if rat is None or cell_id is None:
            raise AttachmentRefused(Refusal.CELL_MISSING)
        if not _CELL_IDS[Rat(rat)].fullmatch(cell_id):
            raise AttachmentRefused(Refusal.CELL_ID)
    if not all(at is not None and EARLIEST <= at < LATEST for at in (event_time, ingest_time)):
        raise AttachmentRefused(Refusal.TIME)
    assert event_time is not None
    assert ingest_time is not None
    if event_time > ingest_time:
        raise AttachmentRefused(Refusal.FUTURE)
    if ingest_time - event_time > LATENESS:
        raise AttachmentRefused(Refusal.LATE)
    return Attachment(
        _present(row, "token"),
        event_time,
        ingest_time,
        event_type,
        None if rat is None else Rat(rat),
        _present(row, "plmn"),
        cell_id,
        row["previous_plmn"],
        Domain(_present(row, "domain")),
    )


def json_schema() -> dict[str, Any]:
    """The contract as JSON Schema 2020-12, from the same definition as the validator."""
    properties: dict[str, Any] = {}
    for field in FIELDS:
        kind: dict[str, Any] = {"type": ["string", "null"] if field.nullable else "string"}
        kind["pattern"] = f"^(?:{field.pattern or TIME_PATTERN})$"
        if field.pattern is None:
            kind["format"] = "date-time"
        properties[field.name] = kind
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "cell-attachment event",
        "description": "Inside the carrier only. Any other key refuses the row.",
        "type": "object",
        "properties": properties,
        "required": [field.name for field in FIELDS if not field.nullable],
        "additionalProperties": False,
    }


def _present(row: Mapping[str, str | None], name: str) -> str:
    value = row[name]
    if value is None:
        raise AttachmentRefused(Refusal.MISSING_FIELD)
    return value


_NAMES = frozenset(FIELD_NAMES)
_REPEATED = "\0repeated"


def _flat(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        row[_REPEATED] = None
    return row


def _no_number(_: str) -> None:
    # Numbers, NaN and infinities are no field's type; the text itself is not needed and may be 4,300 digits long.
    raise AttachmentRefused(Refusal.WRONG_TYPE)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_flat, parse_float=_no_number, parse_int=_no_number, parse_constant=_no_number
)
