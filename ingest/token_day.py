"""The token-day: the 24 UTC hours for which one key makes tokens (design.md, section 4.1)."""

from datetime import UTC, datetime, timedelta

from ingest.release import HOUR, format_utc

HOURS_IN_DAY = 24
DELETE_AFTER = timedelta(hours=2)
"""How long after the turn token-level tables may still exist."""


def token_day_start(at: datetime, turn_hour_utc: int) -> datetime:
    """The start of the token-day that an instant lies in; the turn is the same whole UTC hour all year.

    >>> token_day_start(datetime(2026, 3, 2, 19, 59, tzinfo=UTC), 20).isoformat()
    '2026-03-01T20:00:00+00:00'
    """
    shifted = at.astimezone(UTC) - timedelta(hours=turn_hour_utc)
    return shifted.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(hours=turn_hour_utc)


def hour_start(at: datetime) -> datetime:
    """The start of the whole UTC hour that an instant lies in."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def hours_of(day_start: datetime) -> list[datetime]:
    """The starts of the 24 hours of a token-day, in order."""
    return [day_start + HOUR * hour for hour in range(HOURS_IN_DAY)]


def folder_name(at: datetime) -> str:
    """An instant as a folder is named after it: no colon, sorts by time.

    >>> folder_name(datetime(2026, 3, 2, 5, tzinfo=UTC))
    '2026-03-02T05Z'
    """
    return format_utc(at)[:13] + "Z"


def instant_of(name: str) -> datetime:
    """The instant that a folder is named after.

    >>> instant_of("2026-03-02T05Z").isoformat()
    '2026-03-02T05:00:00+00:00'
    """
    return datetime.strptime(name, "%Y-%m-%dT%HZ").replace(tzinfo=UTC)
