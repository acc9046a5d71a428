"""The shapes of what the service answers, closed like the contracts: a field that is not here is not served."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr

from api.alert import Acted, Alert, Disposition, Version
from ingest.release import Contract, Digest, Direction, Level, Name, UtcHour


class DegradedReason(StrEnum):
    """Why an empty or quiet answer may not mean that nothing is unusual."""

    NO_DETECTION = "no_detection"
    STALE_WATERMARK = "stale_watermark"
    NO_CARRIER = "no_carrier"
    CARRIER_MISSING = "carrier_missing"
    FEED_INCOMPLETE = "feed_incomplete"


class Coverage(Contract):
    """Who should have spoken of the newest window that was looked at, and who did."""

    window_start: UtcHour | None
    expected: StrictInt
    present: StrictInt
    missing: tuple[Name, ...]
    incomplete: Annotated[tuple[Name, ...], Field(description="spoke, but of a feed with gaps")]
    simulated: Annotated[StrictBool, Field(description="a replay or a simulation, not the border")]


class Answer(Contract):
    """What every list answer carries, so that nothing unusual is never mistaken for nothing known."""

    watermark: Annotated[UtcHour | None, Field(description="detection has looked at everything before this")]
    coverage: Coverage
    degraded: StrictBool
    degraded_reasons: tuple[DegradedReason, ...]
    generated_at: UtcHour


class Link(Contract):
    """Where to go on."""

    rel: Literal["self", "next"]
    href: StrictStr


class Page(Answer):
    """A list answer that goes on elsewhere. `next` is linked while more is waiting; `next_cursor` is always there."""

    next_cursor: Annotated[StrictStr | None, Field(description="hand it back as `since` or `cursor`")]
    links: tuple[Link, ...]


class AlertPage(Page):
    """Alerts in the order in which their revisions were recorded."""

    items: tuple[Alert, ...]


class AlertEvent(Contract):
    """Who did what to an alert, and when."""

    revision: StrictInt
    at: UtcHour
    who: Acted
    act: Literal["opened", "revised", "acknowledged", "closed"]
    disposition: Disposition | None


class AlertAnswer(Answer):
    """One alert as it stands, and its history."""

    alert: Alert
    history: tuple[AlertEvent, ...]


class PublishedCount(Contract):
    """What one carrier published of one zone, direction and hour."""

    carrier: Name
    zone_id: Name
    sector_id: StrictStr
    kind: Literal["belt", "crossing_point"]
    direction: Direction
    window_start: UtcHour
    window_end: UtcHour
    value: Annotated[StrictInt | None, Field(description="null: below the threshold, which is not zero")]
    state: Literal["published", "below_threshold"]
    interval: Annotated[tuple[float, float] | None, Field(description="value -/+ 1.96 sigma; never below 0")]
    sigma: float
    threshold: StrictInt
    feed_complete: StrictBool
    simulated: StrictBool
    release_digest: Digest


class CountPage(Page):
    """Published counts by window, carrier, zone and direction."""

    items: tuple[PublishedCount, ...]


State = Literal["usual", "unusual", "unusual_drop", "below_threshold", "degraded", "no_coverage", "not_judged"]


class Expectation(Contract):
    """What was expected of one zone, direction and hour over all carriers, and what was seen."""

    zone_id: Name
    direction: Direction
    window_start: UtcHour
    window_end: UtcHour
    expected: float | None
    lower: float | None
    upper: float | None
    observed: Annotated[StrictInt | None, Field(description="null: below the threshold, or no coverage; see state")]
    excess: float | None
    state: State
    abstained: Annotated[StrictStr | None, Field(description="why a complete hour is not judged")]
    model_version: Version
    policy_version: Version


class ExpectationPage(Page):
    """Expectations by window, zone and direction."""

    items: tuple[Expectation, ...]


class ZoneState(Contract):
    """The newest word on one zone and direction."""

    state: State
    window_start: UtcHour | None
    expected: float | None
    lower: float | None
    upper: float | None
    observed: StrictInt | None
    excess: float | None


class ZoneProperties(Contract):
    """A zone; its states are there for callers who may read alerts, else null."""

    zone_id: Name
    sector_id: StrictStr
    kind: Literal["belt", "crossing_point"]
    name: StrictStr
    state: Annotated[State | None, Field(description="of its two directions the one that matters more")]
    arrival: ZoneState | None
    departure: ZoneState | None


class ZoneFeature(Contract):
    """A zone as a GeoJSON feature."""

    type: Literal["Feature"]
    id: Name
    properties: ZoneProperties
    geometry: dict[str, Any] | None


class ZoneCollection(Answer):
    """The zone grid in force as GeoJSON (RFC 7946), WGS84."""

    type: Literal["FeatureCollection"]
    grid_id: Digest
    valid_from: StrictStr
    turn_hour_utc: StrictInt
    attribution: Any
    states_shown: Annotated[StrictBool, Field(description="whether the caller may see states")]
    features: tuple[ZoneFeature, ...]


class LedgerLevel(Contract):
    """What one level of releases has cost of a token-day, and its weakest protection that day."""

    level: Level
    releases: StrictInt
    lineages: Annotated[StrictInt, Field(description="runs of the mechanism over the day; more than one costs again")]
    rho: float
    sigma: float
    threshold: StrictInt
    k: StrictInt
    delta: float
    policy_ids: tuple[Name, ...]


class LedgerDigest(Contract):
    """One release by its digest."""

    level: Level
    window_start: UtcHour
    digest: Digest


class LedgerDay(Contract):
    """One carrier's token-day: what was said of it and what that cost one device's privacy at most."""

    carrier: Name
    token_day_start: UtcHour
    token_day_end: UtcHour
    simulated: StrictBool
    releases: StrictInt
    incomplete_feeds: StrictInt
    cells: StrictInt
    suppressed: StrictInt
    suppressed_share: float
    rho_spent: float
    rho_day: float
    within_budget: StrictBool
    levels: tuple[LedgerLevel, ...]
    digests: tuple[LedgerDigest, ...]


class LedgerPage(Page):
    """The privacy ledger, newest token-days first."""

    unit: StrictStr
    items: tuple[LedgerDay, ...]


class ReceiptAnswer(Contract):
    """What a carrier is told of a release that stands."""

    outcome: Literal["accepted", "same_digest"]
    carrier: Name
    level: Level
    window_start: UtcHour
    digest: Digest
    received_at: UtcHour


class Acknowledgement(Contract):
    """A desk takes note of an alert, at the revision it read."""

    revision: Annotated[StrictInt, Field(ge=1, le=2**31 - 1)]


class Closing(Contract):
    """A desk closes an alert, at the revision it read, with what it turned out to be."""

    revision: Annotated[StrictInt, Field(ge=1, le=2**31 - 1)]
    disposition: Disposition


class SignIn(Contract):
    """The role a developer takes: `planner`, `command`, `analyst`, `auditor`, `public` or `carrier:<name>`."""

    role: Annotated[StrictStr, Field(max_length=80)]


class SignedIn(Contract):
    """A development credential."""

    credential: StrictStr
    role: StrictStr
    expires_at: UtcHour


class Liveness(Contract):
    """The process answers."""

    status: Literal["alive"]


class Readiness(Contract):
    """The store answers. Freshness is told, and fails nothing: an old watermark is no reason to be restarted."""

    status: Literal["ready"]
    watermark: UtcHour | None
    degraded: StrictBool
    degraded_reasons: tuple[DegradedReason, ...]


class VersionAnswer(Contract):
    """What runs."""

    version: StrictStr
    api: Literal["v1"]


class FaultAnswer(Contract):
    """One broken rule and where."""

    pointer: StrictStr
    rule: StrictStr


class ProblemAnswer(Contract):
    """RFC 9457: what is wrong, and never what was sent."""

    type: StrictStr
    title: StrictStr
    status: StrictInt
    code: StrictStr
    correlation_id: StrictStr
    errors: tuple[FaultAnswer, ...] = ()
