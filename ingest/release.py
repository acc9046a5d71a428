"""The release: one vector of noisy, thresholded counts for one closed hour (design.md, section 4.4).

Its models forbid unknown keys, which is the machine-checkable form of "there is no field for a device". The digest is
over the canonical JSON without the digest itself, so equal bytes mean equal statements.
"""

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

HOUR = timedelta(hours=1)


class Direction(StrEnum):
    """Across the border, seen from home."""

    ARRIVAL = "arrival"
    DEPARTURE = "departure"


class Level(StrEnum):
    """How finely a release speaks; nothing finer than zone x hour exists."""

    ZONE_HOUR = "zone-hour"


_RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?(?:Z|[+-]\d{2}:\d{2})", re.ASCII)


def _wire_time(value: object) -> object:
    """Accept only aware datetimes or RFC 3339 text; a number is no time, nor is one written as text."""
    if isinstance(value, datetime) or (isinstance(value, str) and _RFC_3339.fullmatch(value)):
        return value
    raise ValueError("a time is RFC 3339 text with an offset")


def format_utc(at: datetime) -> str:
    """A UTC instant as the wire spells it.

    >>> format_utc(datetime(2026, 3, 2, 5, tzinfo=UTC))
    '2026-03-02T05:00:00Z'
    """
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


UtcHour = Annotated[
    AwareDatetime,
    BeforeValidator(_wire_time),
    PlainSerializer(format_utc, return_type=str, when_used="json"),
]
Name = Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Digest = Annotated[StrictStr, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class Contract(BaseModel):
    """A closed schema: unknown keys are refused, values are never coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Mechanism(Contract):
    """How the numbers were made safe: what a reader needs to know the noise it looks through."""

    name: Literal["discrete_gaussian"]
    sigma: Annotated[StrictFloat, Field(gt=0, description="standard deviation of the published values")]
    rho_day: Annotated[StrictFloat, Field(gt=0, description="zero-concentrated DP of the whole token-day")]
    rho_level: Annotated[StrictFloat, Field(gt=0, description="zero-concentrated DP of this level for the token-day")]
    delta: Annotated[StrictFloat, Field(gt=0, lt=1)]
    k: Annotated[StrictInt, Field(ge=1, description="movements counted per direction and token-day")]
    threshold: Annotated[StrictInt, Field(ge=1, description="noisy values below it are null")]
    policy_id: Name


class ZoneCount(Contract):
    """The published count of one zone and direction; `value` null means below the threshold, not zero."""

    zone_id: Name
    direction: Direction
    value: StrictInt | None


class Feed(Contract):
    """What the carrier's own monitoring says of its feed; never derived from counts of devices."""

    complete: StrictBool


class Release(Contract):
    """What one carrier says about one closed hour. Said once, ever."""

    carrier: Name
    grid_id: Digest
    level: Level
    window_start: UtcHour
    window_end: UtcHour
    mechanism: Mechanism
    lineage: Name
    counts: Annotated[tuple[ZoneCount, ...], Field(min_length=1)]
    feed: Feed
    digest: Digest

    @model_validator(mode="after")
    def _speaks_once_of_one_closed_hour(self) -> Self:
        if self.window_start.timestamp() % 3600 or self.window_end - self.window_start != HOUR:
            raise ValueError("a window is one whole UTC hour")
        cells = [(count.zone_id, count.direction) for count in self.counts]
        if cells != sorted(set(cells)):
            raise ValueError("counts are sorted by zone and direction, each once")
        if any(count.value is not None and count.value < self.mechanism.threshold for count in self.counts):
            raise ValueError("a value below the threshold is null")
        if self.digest != release_digest(self.document()):
            raise ValueError("the digest is not that of the content")
        return self

    def document(self) -> dict[str, Any]:
        """The release as its JSON document, digest included."""
        return self.model_dump(mode="json")


def canonical_json(document: object) -> bytes:
    """The one spelling that is hashed: sorted keys, no blanks, UTF-8, no NaN."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def release_digest(document: dict[str, Any]) -> str:
    """`sha256:…` over the canonical JSON of a release document without its digest."""
    content = {key: value for key, value in document.items() if key != "digest"}
    return "sha256:" + hashlib.sha256(canonical_json(content)).hexdigest()


def seal(content: dict[str, Any]) -> Release:
    """A release from its document without digest; raises pydantic.ValidationError if it breaks the contract."""
    return Release.model_validate({**content, "digest": release_digest(content)})
