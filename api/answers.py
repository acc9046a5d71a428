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


class PublishedDayCount(Contract):
    """What one carrier published of a sector's or the border's belts or crossing points over a token-day."""

    carrier: Name
    sector_id: Annotated[StrictStr | None, Field(description="null: the whole border")]
    kind: Literal["belt", "crossing_point"]
    direction: Direction
    window_start: UtcHour
    window_end: UtcHour
    value: Annotated[StrictInt | None, Field(description="null: below the threshold, which is not zero")]
    state: Literal["published", "below_threshold"]
    interval: Annotated[tuple[float, float] | None, Field(description="value -/+ 1.96 sigma; never below 0")]
    sigma: Annotated[float, Field(description="of this estimate, which joins the day's own draw with its hours")]
    threshold: StrictInt
    feed_complete: StrictBool
    simulated: StrictBool
    release_digest: Digest


class CountPage(Page):
    """Published counts of one level by window, carrier, place and direction."""

    level: Level
    items: tuple[PublishedCount, ...] | tuple[PublishedDayCount, ...]


class Bounded(Contract):
    """A number of movements with its 95 % bounds; `value` null means that only the bounds are known."""

    value: float | None
    sd: float
    at_least: float
    at_most: Annotated[float | None, Field(description="null: a carrier said nothing, so it may be anything")]


class Estimate(Contract):
    """One sector's or the border's belts or crossing points over a token-day and all carriers."""

    sector_id: Annotated[StrictStr | None, Field(description="null: the whole border")]
    kind: Literal["belt", "crossing_point"]
    direction: Direction
    window_start: UtcHour
    window_end: UtcHour
    counted: Annotated[Bounded, Field(description="the carriers' counts added up")]
    market: Annotated[Bounded | None, Field(description="the same for everybody; null: a market factor is missing")]
    carriers_expected: StrictInt
    carriers_present: StrictInt
    suppressed: Annotated[StrictInt, Field(description="carriers that were below their threshold")]
    complete: StrictBool
    simulated: StrictBool


class MarketFactorAnswer(Contract):
    """For how many movements of everybody one counted movement of a carrier stands: who says so, since when, why."""

    carrier: Name
    factor: float
    factor_sd: float
    valid_from: UtcHour
    proposed_by: StrictStr
    approved_by: Annotated[StrictStr, Field(description="empty: no second name yet")]
    reason: StrictStr


class EstimateAnswer(Answer):
    """Token-days over all carriers, for planning. No alert rests on any of this."""

    level: Literal["sector-day", "border-day"]
    factors: tuple[MarketFactorAnswer, ...]
    items: tuple[Estimate, ...]


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
    sigma: Annotated[float, Field(description="standard deviation of the published values")]
    noise_sigma: Annotated[float, Field(description="standard deviation of the noise drawn")]
    threshold: StrictInt
    k: StrictInt
    delta: float
    policy_ids: tuple[Name, ...]


class LedgerRelease(Contract):
    """One release by its digest: whose policy it was made under, and how much of it was not said."""

    level: Level
    window_start: UtcHour
    digest: Digest
    policy_id: Name
    cells: StrictInt
    suppressed: StrictInt
    feed_complete: StrictBool


class LedgerDay(Contract):
    """One carrier's token-day: what was said of it and what that cost one device's privacy at most."""

    carrier: Name
    token_day_start: UtcHour
    token_day_end: UtcHour
    simulated: StrictBool
    releases: StrictInt
    incomplete_feeds: StrictInt
    incidents: Annotated[StrictInt, Field(description="tries to say something else of a window; all were refused")]
    cells: StrictInt
    suppressed: StrictInt
    suppressed_share: float
    rho_spent: float
    rho_day: float
    epsilon_spent: Annotated[float, Field(description="of one device, at the day's delta, by the Gaussian curve")]
    within_budget: StrictBool
    grid_ids: tuple[Digest, ...]
    lineages: tuple[Name, ...]
    levels: tuple[LedgerLevel, ...]
    digests: tuple[LedgerRelease, ...]


class LedgerPolicyLevel(Contract):
    """How one level's counts are blurred and suppressed."""

    level: Level
    rho: float
    sigma: Annotated[float, Field(description="standard deviation of the noise drawn")]
    threshold: StrictInt


class LedgerPolicy(Contract):
    """A release policy as a carrier's releases state it, from the token-day on which it took effect."""

    carrier: Name
    policy_id: Name
    takes_effect: UtcHour
    last_token_day: UtcHour
    previous: Annotated[Name | None, Field(description="the policy that it followed; null for the first")]
    rho_day: float
    epsilon_day: Annotated[float, Field(description="of one device-day, at delta, by the Gaussian curve")]
    delta: float
    k: Annotated[StrictInt, Field(description="movements counted per direction and token-day")]
    levels: tuple[LedgerPolicyLevel, ...]


class Promise(Contract):
    """What every policy keeps at least, whoever runs this."""

    rho_day: float
    delta: float
    epsilon_day: float
    k: Annotated[StrictInt, Field(description="movements counted per direction and token-day, at most")]
    threshold: Annotated[StrictInt, Field(description="noisy zone-hour values below it are never published")]
    threshold_day: Annotated[StrictInt, Field(description="noisy day values below it are never published")]


class CompositionRow(Contract):
    """What the promise means over days, carriers, or a group that moves as one: at most, at the policy's bound."""

    days: StrictInt
    carriers: StrictInt
    group: StrictInt
    rho: float
    epsilon: float


class Composition(Contract):
    """How the cost of token-days adds up, for the weakest policy that the promise allows; a stricter one costs less."""

    policy_id: Name
    rho_day: float
    delta: Annotated[float, Field(description="one delta for each row as a whole")]
    method: StrictStr
    rows: tuple[CompositionRow, ...]


class CarrierLedger(Contract):
    """Where a carrier publishes its own ledger."""

    carrier: Name
    href: StrictStr


class Verification(Contract):
    """How anyone checks this page against the carriers' own ledgers."""

    verifier: Annotated[StrictStr | None, Field(description="one file of plain Python, served here")]
    verifier_sha256: StrictStr | None
    command: StrictStr
    carrier_ledgers: tuple[CarrierLedger, ...]


class NoticeAnswer(Contract):
    """Who runs this, whom to complain to, how to opt out, and when it ends. Null: the operator has not said."""

    operator: StrictStr | None
    complaints: StrictStr | None
    authority: StrictStr | None
    opt_out: StrictStr | None
    ends_on: Annotated[StrictStr | None, Field(description="the last day of this deployment, ISO 8601")]
    ended: StrictBool


class LedgerPage(Page):
    """The privacy ledger, newest token-days first."""

    unit: StrictStr
    since: Annotated[UtcHour | None, Field(description="token-days that began before it were not asked for")]
    promise: Promise
    policies: Annotated[tuple[LedgerPolicy, ...], Field(description="every policy that was in force, oldest first")]
    composition: Composition
    verification: Verification
    notice: NoticeAnswer
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
