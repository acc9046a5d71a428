"""Whether a window's feed was complete, as the carrier's own monitoring knows it (design.md, section 4.4).

What it knows are instants and hours: how far the feed marks reach, which hours element alarms touch, of which hours rows
are lost. There is no count among them, and so none can be read out of `feed.complete`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from ingest.attachment import LATENESS
from ingest.release import HOUR

TRACKS_REACH_BACK = timedelta(hours=6)
"""A movement rests on sightings of six hours before it (design.md, section 5); an arrival may rest on older ones."""


class Doubt(StrEnum):
    """Why a window's feed is not called complete; for the carrier's own eyes, as a release holds the boolean only."""

    MARKS = "marks"
    ALARM = "alarm"
    UNREAD_ALARM = "unread_alarm"
    LOST_ROWS = "lost_rows"


@dataclass(frozen=True, slots=True)
class FeedWatch:
    """What the carrier's monitoring knows of a token-day's feed."""

    covered_until: datetime | None  # by the feed marks of every source
    touched: frozenset[datetime] = frozenset()  # hours that element alarms or planned work touch
    lost: frozenset[datetime] = frozenset()  # hours of which rows are known to be lost: damaged files, gaps
    alarm_unread: bool = False  # a line of the alarm feed breaks its contract and could be about any hour


def doubts(window_start: datetime, day_start: datetime, watch: FeedWatch) -> tuple[Doubt, ...]:
    """Every reason not to call the feed of a window complete.

    A window rests on the rows of its token-day from six hours before it to the hour after it, in which its movements
    settle: what was lost there is missing from the tracks.
    """
    since, settled_at = max(day_start, window_start - TRACKS_REACH_BACK), window_start + HOUR * 2
    held = {
        Doubt.MARKS: watch.covered_until is None or watch.covered_until < settled_at + LATENESS,
        Doubt.ALARM: window_start in watch.touched,
        Doubt.UNREAD_ALARM: watch.alarm_unread,
        Doubt.LOST_ROWS: any(since <= hour < settled_at for hour in watch.lost),
    }
    return tuple(doubt for doubt, holds in held.items() if holds)


def feed_complete(window_start: datetime, day_start: datetime, watch: FeedWatch) -> bool:
    """Whether the feed of a window was complete: marks cover it, no alarm touches it, nothing of it is lost."""
    return not doubts(window_start, day_start, watch)
