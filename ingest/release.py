"""The release: one vector of noisy, thresholded counts for one closed hour or token-day (design.md, section 4.4).

Its models forbid unknown keys, which is the machine-checkable form of "there is no field for a device". The digest is
over the canonical JSON without the digest itself, so equal bytes mean equal statements. A `pad` may even out the sizes
of a carrier's releases of one grid and level, so that a size tells nothing of what is inside.
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
    Discriminator,
    Field,
    PlainSerializer,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
    model_validator,
)

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class Direction(StrEnum):
    """Across the border, seen from home."""

    ARRIVAL = "arrival"
    DEPARTURE = "departure"


class Level(StrEnum):
    """How finely a release speaks; nothing finer than zone x hour exists."""

    ZONE_HOUR = "zone-hour"
    SECTOR_DAY = "sector-day"
    BORDER_DAY = "border-day"

    @property
    def span(self) -> timedelta:
        """How long a window of this level lasts; a token-day has 24 hours all year."""
        return HOUR if self is Level.ZONE_HOUR else DAY


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


Kind = Literal["belt", "crossing_point"]


class Contract(BaseModel):
    """A closed schema: unknown keys are refused, values are never coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Mechanism(Contract):
    """How the numbers of a zone-hour were made safe: what a reader needs to know the noise it looks through."""

    name: Literal["discrete_gaussian"]
    sigma: Annotated[StrictFloat, Field(gt=0, description="standard deviation of the published values")]
    rho_day: Annotated[StrictFloat, Field(gt=0, description="zero-concentrated DP of the whole token-day")]
    rho_level: Annotated[StrictFloat, Field(gt=0, description="zero-concentrated DP of this level for the token-day")]
    delta: Annotated[StrictFloat, Field(gt=0, lt=1)]
    k: Annotated[StrictInt, Field(ge=1, description="movements counted per direction and token-day")]
    threshold: Annotated[StrictInt, Field(ge=1, description="noisy values below it are null")]
    policy_id: Name

    @property
    def drawn_sigma(self) -> float:
        """Standard deviation of the noise that was drawn: what the cost is reckoned from."""
        return self.sigma


class DayMechanism(Mechanism):
    """How the numbers of a day level were made safe: its own draw, joined with the noisy hours that were drawn before."""

    noise_sigma: Annotated[StrictFloat, Field(gt=0, description="standard deviation of the noise drawn for this level")]
    estimate: Literal["weighted_least_squares"]

    @property
    def drawn_sigma(self) -> float:
        """Standard deviation of the noise that was drawn: what the cost is reckoned from."""
        return self.noise_sigma


class ZoneCount(Contract):
    """The published count of one zone and direction; `value` null means below the threshold, not zero."""

    zone_id: Name
    direction: Direction
    value: StrictInt | None

    @property
    def cell(self) -> tuple[str, ...]:
        """What is counted, the time aside."""
        return (self.zone_id, self.direction)


class SectorCount(Contract):
    """The published estimate of one sector's belts or crossing points over a token-day, with its own deviation."""

    sector_id: Name
    kind: Kind
    direction: Direction
    value: StrictInt | None
    sigma: Annotated[StrictFloat, Field(gt=0, description="standard deviation of this published value")]

    @property
    def cell(self) -> tuple[str, ...]:
        """What is counted, the time aside."""
        return (self.sector_id, self.kind, self.direction)


class BorderCount(Contract):
    """The published estimate of all belts or crossing points of the border over a token-day."""

    kind: Kind
    direction: Direction
    value: StrictInt | None
    sigma: Annotated[StrictFloat, Field(gt=0, description="standard deviation of this published value")]

    @property
    def cell(self) -> tuple[str, ...]:
        """What is counted, the time aside."""
        return (self.kind, self.direction)


_COUNT_OF: dict[Level, type[ZoneCount | SectorCount | BorderCount]] = {
    Level.ZONE_HOUR: ZoneCount,
    Level.SECTOR_DAY: SectorCount,
    Level.BORDER_DAY: BorderCount,
}
_KEY_OF = {Level.ZONE_HOUR: "zone_id", Level.SECTOR_DAY: "sector_id", Level.BORDER_DAY: "kind"}


def _has(value: object, name: str) -> bool:
    return name in value if isinstance(value, dict) else hasattr(value, name)


def _count_tag(value: object) -> str:
    """The level whose counts look like this; refusals are then told against that shape alone."""
    return next((level for level, key in _KEY_OF.items() if _has(value, key)), Level.ZONE_HOUR).value


def _mechanism_tag(value: object) -> str:
    return "day" if _has(value, "noise_sigma") or _has(value, "estimate") else "hour"


Count = Annotated[
    Annotated[ZoneCount, Tag("zone-hour")]
    | Annotated[SectorCount, Tag("sector-day")]
    | Annotated[BorderCount, Tag("border-day")],
    Discriminator(_count_tag),
]
SHAPE_TAGS = frozenset({*(level.value for level in Level), "hour", "day"})
"""Parts of a pydantic error's place that name a shape and no key of the document."""


class Feed(Contract):
    """What the carrier's own monitoring says of its feed; never derived from counts of devices."""

    complete: StrictBool


class Release(Contract):
    """What one carrier says about one closed hour or token-day. Said once, ever."""

    carrier: Name
    grid_id: Digest
    level: Level
    window_start: UtcHour
    window_end: UtcHour
    mechanism: Annotated[
        Annotated[Mechanism, Tag("hour")] | Annotated[DayMechanism, Tag("day")], Discriminator(_mechanism_tag)
    ]
    lineage: Name
    counts: Annotated[tuple[Count, ...], Field(min_length=1)]
    feed: Feed
    pad: Annotated[
        StrictStr | None, Field(pattern="^0*$", description="evens out the sizes of releases of one grid and level")
    ] = None
    digest: Digest

    @model_validator(mode="after")
    def _speaks_once_of_one_closed_window(self) -> Self:
        if self.window_start.timestamp() % 3600 or self.window_end - self.window_start != self.level.span:
            raise ValueError("a window is one whole UTC hour, or of a day level 24 of them")
        is_hour = self.level is Level.ZONE_HOUR
        shape = _COUNT_OF[self.level]
        if isinstance(self.mechanism, DayMechanism) is is_hour or not all(isinstance(c, shape) for c in self.counts):
            raise ValueError("counts and mechanism are those of the level")
        cells = [count.cell for count in self.counts]
        if cells != sorted(set(cells)):
            raise ValueError("counts are sorted by what they count, each once")
        if any(count.value is not None and count.value < self.mechanism.threshold for count in self.counts):
            raise ValueError("a value below the threshold is null")
        if not is_hour and self.mechanism.sigma != max(c.sigma for c in self.counts if not isinstance(c, ZoneCount)):
            raise ValueError("the sigma of the mechanism is the largest of its counts")
        document = self.document()
        if self.pad is not None and document != padded(document):
            raise ValueError("a pad has the length that evens out the size")
        if self.digest != release_digest(document):
            raise ValueError("the digest is not that of the content")
        return self

    def document(self) -> dict[str, Any]:
        """The release as its JSON document, digest included; without a pad there is no key for one."""
        document = self.model_dump(mode="json")
        if self.pad is None:
            del document["pad"]
        return document


_WIDEST = {"value": 10, "sigma": 20, "complete": len("false")}


def padded(content: dict[str, Any]) -> dict[str, Any]:
    """A release's document with the pad that gives all releases of its grid and level one length.

    What may differ between two of them is taken as wide as it can be: values, sigmas and whether the feed is complete.
    Raises ValueError for a value that is wider still.

    >>> content = {"counts": [{"value": 73}, {"value": None}], "mechanism": {}, "feed": {"complete": True}}
    >>> padded(content)["pad"]
    '000000000000000'
    """
    stated = [("complete", content["feed"]["complete"])]
    stated += [(name, count[name]) for count in content["counts"] for name in ("value", "sigma") if name in count]
    if "noise_sigma" in content["mechanism"]:
        stated.append(("sigma", content["mechanism"]["sigma"]))
    room = [_WIDEST[name] - len(canonical_json(value)) for name, value in stated]
    if min(room) < 0:
        raise ValueError("a value is wider than a release has room for")
    return {**content, "pad": "0" * sum(room)}


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
