"""Element alarms and planned work: which hours a carrier's own network makes doubtful (design.md, sections 4.4 and 7).

When masts fall silent their phones fall onto the network across the border, and come back at the repair: false
departures, then false arrivals. Whoever watches the network knows of it from the network's own alarms. Nothing here is
derived from devices, and no line of an alarm has room for a count of them.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from ingest.attachment import CELL_ID_PATTERNS, EARLIEST, IDENTITY_PATTERN, LATEST, PLMN_PATTERN, parse_time
from ingest.release import HOUR

AFTER_RESTORE = timedelta(minutes=60)
"""A phone on a network across tries its home network again every 60 minutes by default (TS 23.122; notes on telecom)."""
NEW_SITE = timedelta(hours=3)
"""By then every phone in reach of a new site has registered anew: the periodic timers end at about three hours."""
SHARE_OF_A_ZONE = 0.2
"""A zone is touched when this share of its cells is: about two sites of ten. One site is out somewhere at any time."""
MOST_CELLS = 10_000
MOST_LINE_BYTES = 1 << 20


class AlarmRefused(ValueError):
    """An alarm that breaks its contract; names the rule."""


class AlarmKind(StrEnum):
    """What happened to an element, or is going to."""

    OUTAGE = "outage"
    RESTORED = "restored"
    PLANNED_WORK = "planned_work"
    NEW_SITE = "new_site"


@dataclass(frozen=True, slots=True)
class Alarm:
    """One statement about one element. `cells` are `rat/plmn/cell_id`; None: the whole feed rests on this element."""

    source: str
    element: str
    kind: AlarmKind
    starts_at: datetime
    ends_at: datetime | None = None  # of an outage: None while it lasts
    cells: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class AlarmFeed:
    """What an alarm feed says now. A line that cannot be read could be about anything, so it is not passed over."""

    alarms: tuple[Alarm, ...] = ()
    unread: tuple[str, ...] = ()  # `file:line: rule`


@dataclass(frozen=True, slots=True)
class _Span:
    """A time in which some cells, or all of them (None), are not what they usually are; open while `until` is None."""

    since: datetime
    until: datetime | None
    cells: frozenset[str] | None

    def touches(self, hour: datetime) -> bool:
        return self.since < hour + HOUR and (self.until is None or hour < self.until)


_ALWAYS = {"source", "element", "kind", "starts_at"}
_KEYS = _ALWAYS | {"ends_at", "cells"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}")
_CELL = re.compile("|".join(f"{rat}/(?:{PLMN_PATTERN})/(?:{cell})" for rat, cell in CELL_ID_PATTERNS.items()))
_IDENTITY = re.compile(IDENTITY_PATTERN)


def parse_alarm(line: str) -> Alarm:
    """The alarm that one NDJSON line states; raises AlarmRefused.

    >>> line = '{"source": "oss", "element": "site-7", "kind": "outage", "starts_at": "2026-03-02T05:10:00Z"}'
    >>> parse_alarm(line).ends_at is None
    True
    """
    if len(line) > MOST_LINE_BYTES:
        raise AlarmRefused("an alarm is at most one mebibyte long")
    try:
        fields = json.loads(line, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise AlarmRefused("an alarm is one JSON object a line, no key twice") from None
    if not isinstance(fields, dict) or not _ALWAYS <= fields.keys() <= _KEYS:
        raise AlarmRefused("an alarm has source, element, kind, starts_at, may have ends_at, cells, and nothing else")
    source, element = _name(fields["source"]), _name(fields["element"])
    if fields["kind"] not in list(AlarmKind):
        raise AlarmRefused(f"kind is one of {', '.join(AlarmKind)}")
    kind = AlarmKind(fields["kind"])
    starts_at = _time(fields["starts_at"])
    ends_at = None if fields.get("ends_at") is None else _time(fields["ends_at"])
    if kind in (AlarmKind.RESTORED, AlarmKind.NEW_SITE) and ends_at is not None:
        raise AlarmRefused("restored and new_site are instants: they have no ends_at")
    if kind is AlarmKind.PLANNED_WORK and ends_at is None:
        raise AlarmRefused("planned_work has an ends_at")
    if ends_at is not None and ends_at <= starts_at:
        raise AlarmRefused("ends_at comes after starts_at")
    return Alarm(source, element, kind, starts_at, ends_at, _cells(fields.get("cells")))


def read_alarms(folder: Path) -> AlarmFeed:
    """All alarms in the `*.ndjson` files of a folder; a last line that is still being written is left for later.

    It raises nothing: what cannot be read is named, and then no window is called complete.
    """
    if not folder.is_dir():
        return AlarmFeed(unread=("the folder of the alarm feed is not there",))
    alarms, unread = [], []
    for path in sorted(folder.glob("*.ndjson")):
        try:
            lines = path.read_bytes().split(b"\n")[:-1]
        except OSError:
            unread.append(f"{path.name}: the file cannot be read")
            continue
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                alarms.append(parse_alarm(line.decode("utf-8")))
            except UnicodeDecodeError:
                unread.append(f"{path.name}:{number}: an alarm is UTF-8")
            except AlarmRefused as refused:
                unread.append(f"{path.name}:{number}: {refused}")
    return AlarmFeed(tuple(alarms), tuple(unread))


def degraded_hours(
    alarms: Iterable[Alarm],
    zone_cells: Mapping[str, Collection[str]],
    hours: Iterable[datetime],
    *,
    share: float = SHARE_OF_A_ZONE,
) -> frozenset[datetime]:
    """Those of the hours in which an alarm touches at least `share` of the cells of any one zone.

    `zone_cells` names the cells (`rat/plmn/cell_id`) of every zone. An outage touches every hour that it or the 60 minutes
    after its end lie in; planned work likewise; a new site its first three hours; an alarm without cells all zones.
    """
    found = touched_cells(alarms, hours)
    return frozenset(hour for hour, out in found.items() if out is None or _most_of_a_zone(out, zone_cells) >= share)


def touched_cells(alarms: Iterable[Alarm], hours: Iterable[datetime]) -> dict[datetime, frozenset[str] | None]:
    """Per hour the cells that alarms touch in it (`rat/plmn/cell_id`); None: all of them. The spans of `degraded_hours`."""
    spans = _spans(alarms)
    touched: dict[datetime, frozenset[str] | None] = {}
    for hour in hours:
        met = [span.cells for span in spans if span.touches(hour)]
        named = [cells for cells in met if cells is not None]
        touched[hour] = frozenset[str]().union(*named) if len(named) == len(met) else None
    return touched


def _most_of_a_zone(out: frozenset[str], zone_cells: Mapping[str, Collection[str]]) -> float:
    """The largest share of the cells of any one zone; -1 if none of them is among those that are out."""
    shares = (len(out.intersection(cells)) / len(cells) for cells in zone_cells.values() if len(cells))
    return max((share for share in shares if share > 0), default=-1.0)


def open_outages(alarms: Iterable[Alarm]) -> list[Alarm]:
    """The outages that nothing has ended yet, oldest first."""
    return sorted(
        (outage for outage in _outages(alarms) if outage.ends_at is None),
        key=lambda outage: (outage.starts_at, outage.source, outage.element),
    )


def _spans(alarms: Iterable[Alarm]) -> list[_Span]:
    alarms = list(alarms)
    cells_of = {(alarm.source, alarm.element): alarm.cells for alarm in alarms if alarm.cells is not None}
    spans = []
    for outage in _outages(alarms):
        until = None if outage.ends_at is None else outage.ends_at + AFTER_RESTORE
        spans.append(_Span(outage.starts_at, until, outage.cells))
    for alarm in alarms:
        if alarm.kind is AlarmKind.PLANNED_WORK and alarm.ends_at is not None:
            spans.append(_Span(alarm.starts_at, alarm.ends_at + AFTER_RESTORE, alarm.cells))
        elif alarm.kind is AlarmKind.NEW_SITE:
            spans.append(_Span(alarm.starts_at, alarm.starts_at + NEW_SITE, alarm.cells))
        elif alarm.kind is AlarmKind.RESTORED:
            # What is repaired is what an earlier line named; a repair of something unheard of is the whole feed's.
            cells = alarm.cells if alarm.cells is not None else cells_of.get((alarm.source, alarm.element))
            spans.append(_Span(alarm.starts_at, alarm.starts_at + AFTER_RESTORE, cells))
    return spans


def _outages(alarms: Iterable[Alarm]) -> list[Alarm]:
    """Every outage once, with its end: the latest one stated, else the first repair of its element, else None."""
    alarms = list(alarms)
    repairs: dict[tuple[str, str], list[datetime]] = {}
    for alarm in alarms:
        if alarm.kind is AlarmKind.RESTORED:
            repairs.setdefault((alarm.source, alarm.element), []).append(alarm.starts_at)
    stated: dict[tuple[str, str, datetime, frozenset[str] | None], list[datetime]] = {}
    for alarm in alarms:
        if alarm.kind is AlarmKind.OUTAGE:
            ends = stated.setdefault((alarm.source, alarm.element, alarm.starts_at, alarm.cells), [])
            ends += [] if alarm.ends_at is None else [alarm.ends_at]
    outages = []
    for (source, element, starts_at, cells), ends in stated.items():
        repaired = [at for at in repairs.get((source, element), []) if at >= starts_at]
        ends_at = max(ends) if ends else min(repaired, default=None)
        outages.append(Alarm(source, element, AlarmKind.OUTAGE, starts_at, ends_at, cells))
    return outages


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if any(times > 1 for times in Counter(name for name, _ in pairs).values()):
        raise ValueError
    return dict(pairs)


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value) or _IDENTITY.search(value):
        raise AlarmRefused("source and element are short opaque names, without blanks or long runs of digits")
    return value


def _time(value: object) -> datetime:
    at = parse_time(value) if isinstance(value, str) else None
    if at is None or not EARLIEST <= at < LATEST:
        raise AlarmRefused("starts_at and ends_at are RFC 3339 with offset, from 2000 to 2100")
    return at


def _cells(value: object) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not 0 < len(value) <= MOST_CELLS:
        raise AlarmRefused(f"cells is a list of 1 to {MOST_CELLS} cells; without it the whole feed is meant")
    if not all(isinstance(cell, str) and _CELL.fullmatch(cell) for cell in value):
        raise AlarmRefused("a cell is rat/plmn/cell_id, each as in the cell plan")
    return frozenset(value)
