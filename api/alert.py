"""The alert as it is stored and served (design.md, section 4.5), and how its life may go.

An alert speaks of zones, hours and counts. Its schema is closed: there is no key for a device, and none can be added
by a caller.
"""

import re
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, StrictBool, StrictInt, StrictStr, model_validator

from ingest.release import Contract, Digest, Direction, Name, UtcHour

_LONG_NUMBER = re.compile(r"\d{7}|\.\d{4}")
_ALERT_ID = re.compile(r"\ba-[0-9a-f]{16}\b")

Acted = Annotated[StrictStr, Field(pattern=r"^[a-z]{1,20}(:[A-Za-z0-9][A-Za-z0-9._-]{0,63})?$")]
Version = Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9:._+-]{0,95}$")]


class AlertStatus(StrEnum):
    """Where an alert stands; it closes by itself or by a disposition."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    CLOSED = "closed"


class Severity(StrEnum):
    """How many movements too many, and how sure."""

    MODERATE = "moderate"
    HIGH = "high"
    VERY_HIGH = "very_high"


class Disposition(StrEnum):
    """What an alert turned out to be. One coded list, no free text, so no one can be described in it."""

    CONFIRMED_UNUSUAL = "confirmed_unusual"
    EXPECTED_EVENT = "expected_event"
    ROAMING_SPILL = "roaming_spill"
    FEED_FAULT = "feed_fault"
    RELIEF_NEED = "relief_need"
    UNEXPLAINED = "unexplained"


def _without_long_numbers(text: str) -> str:
    # A sentence about a zone needs no seven digits in a row; a subscriber number does. Nor does a band need 17 digits.
    # A sentence may name another alert, whose id is hex.
    if _LONG_NUMBER.search(_ALERT_ID.sub("", text)):
        raise ValueError("a sentence or band holds no number of seven digits or four decimals")
    return text


Band = Annotated[StrictStr, Field(min_length=1, max_length=40), AfterValidator(_without_long_numbers)]
Reason = Annotated[StrictStr, Field(min_length=1, max_length=300), AfterValidator(_without_long_numbers)]


class Estimate(Contract):
    """A number of movements and the interval it is believed to lie in."""

    value: int | float
    interval: tuple[int | float, int | float]

    @model_validator(mode="after")
    def _lies_the_right_way_round(self) -> Self:
        if self.interval[0] > self.interval[1]:
            raise ValueError("an interval begins at its lower end")
        return self


class CarrierCoverage(Contract):
    """How many carriers should have spoken of the alert's windows, and how many did."""

    expected: Annotated[StrictInt, Field(ge=0)]
    present: Annotated[StrictInt, Field(ge=0)]


class Alert(Contract):
    """Unusual movement in neighbouring zones and hours of one sector and direction."""

    alert_id: Name
    revision: Annotated[StrictInt, Field(ge=1, description="counts up; assigned by the centre's store")] = 1
    status: AlertStatus = AlertStatus.OPEN
    exercise: Annotated[StrictBool, Field(description="an exercise, run the whole way and marked as one")] = False
    simulated: Annotated[StrictBool, Field(description="rests on a replay or simulation")] = False
    sector_id: Name
    zone_ids: Annotated[tuple[Name, ...], Field(min_length=1)]
    direction: Direction
    window_start: UtcHour
    window_end: UtcHour
    observed: Estimate
    expected: Estimate
    excess: Estimate
    probability: Annotated[
        Band,
        Field(description="chance that this is a real surge, at the base rate that the model bundle states: a band"),
    ]
    severity: Severity
    reasons: Annotated[tuple[Reason, ...], Field(max_length=12)] = ()
    coverage: CarrierCoverage
    model_version: Version
    policy_version: Version
    disposition: Disposition | None = None
    closed_by: Annotated[Acted | None, Field(description="the role that closed it, or `system`")] = None
    release_digests: Annotated[tuple[Digest, ...], Field(min_length=1, description="the releases it rests on")]

    @model_validator(mode="after")
    def _covers_whole_hours(self) -> Self:
        if self.window_start.timestamp() % 3600 or self.window_end.timestamp() % 3600:
            raise ValueError("an alert covers whole UTC hours")
        if self.window_end <= self.window_start:
            raise ValueError("an alert ends after it starts")
        if len(set(self.zone_ids)) != len(self.zone_ids):
            raise ValueError("an alert names each zone once")
        return self

    def document(self) -> dict[str, Any]:
        """The alert as its JSON document."""
        return self.model_dump(mode="json")


class TransitionRefused(ValueError):
    """The alert's status does not allow the act."""


def acknowledged(alert: Alert) -> Alert:
    """The alert once a desk has taken note of it; only an open one can be."""
    if alert.status is not AlertStatus.OPEN:
        raise TransitionRefused("only an open alert is acknowledged")
    return alert.model_copy(update={"status": AlertStatus.ACKNOWLEDGED})


def closed(alert: Alert, disposition: Disposition, who: str) -> Alert:
    """The alert with its disposition. One that closed by itself may still be told what it was, once."""
    if alert.disposition is not None:
        raise TransitionRefused("an alert is given its disposition once")
    return alert.model_copy(update={"status": AlertStatus.CLOSED, "disposition": disposition, "closed_by": who})


def revised(current: Alert, detected: Alert) -> Alert:
    """The current alert with what the detector now says of it; what a desk did stands.

    A closed alert is told to its end, and an acknowledgement survives new figures.
    """
    if current.status is AlertStatus.CLOSED:
        return current
    keeps_note = current.status is AlertStatus.ACKNOWLEDGED and detected.status is AlertStatus.OPEN
    return detected.model_copy(
        update={
            "revision": current.revision,
            "status": current.status if keeps_note else detected.status,
            "disposition": None,
        }
    )
