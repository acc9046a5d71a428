"""From diaries to rows: when a phone speaks during a stay, on which cell, and what the network calls it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.attachment import EventType
from simulator.diary import CODE, DAY_S, NONE, OWN, SILENT, Diary
from simulator.serving import Serving

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Waiting times: bursts, sessions, the periodic timer. The shares of notes/telecom.md, section 3 (60/33/7 and 35/35/30)
# miss that file's own gate for burstiness by a little; these are bent towards bursts.
BURST, SESSION, TIMER = 0, 1, 2
BURST_S, BURST_SPREAD = 25.0, 1.2
SESSION_S, SESSION_SPREAD = 360.0, 1.0
TIMER_S = 54 * 60.0
BY_DAY, BY_NIGHT = (0.65, 0.29, 0.06), (0.42, 0.35, 0.23)
NIGHT_S = ((0.0, 2 * 3_600.0), (19 * 3_600.0, DAY_S))  # until 05:00 and from 22:00 local
EXCURSION, RESELECTION = 0.006, 0.008  # by row: one row on another cell and back; a change that lasts
NO_CELL = -1


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of a day before any fault of the feed, sorted by device and time; all columns are arrays of one length."""

    device: Ints
    at: Floats  # seconds from the turn
    type: Ints
    network: Ints
    previous: Ints
    cell: NDArray[np.int32]
    spot: Ints  # -1 for rows of the register


def emit(diary: Diary, serving: Serving, rng: np.random.Generator) -> Rows:
    """Every row that the network writes of a diary."""
    stays, notices = diary.finished()
    start, end = stays["start"].astype(np.float64), stays["end"].astype(np.float64)
    spoken, spoken_at, why = _chatter(start, end, stays["talk"].astype(np.float64), rng)
    enters = np.flatnonzero(stays["entry"] != SILENT)
    closes = np.flatnonzero(stays["closing"] != SILENT)
    stay = np.concatenate([spoken, enters, closes, notices["stay"].astype(np.int64)])
    at = np.concatenate([spoken_at, start[enters], end[closes], notices["at"].astype(np.float64)])
    heard = len(notices["at"])
    kind = np.concatenate(
        [
            _spoken_types(why, rng),
            stays["entry"][enters].astype(np.int64),
            stays["closing"][closes].astype(np.int64),
            notices["type"].astype(np.int64),
        ]
    )
    silent = len(spoken)
    previous = np.full(len(at), NONE, dtype=np.int64)
    previous[silent : silent + len(enters)] = stays["entry_previous"][enters]
    network = np.full(len(at), OWN, dtype=np.int64)
    network[len(at) - heard :] = notices["network"]
    device = np.concatenate([stays["device"][stay[: len(at) - heard]], notices["device"]]).astype(np.int64)

    today = (at >= 0) & (at < DAY_S)
    order = np.flatnonzero(today)
    order = order[np.argsort(device[order] * (2 * DAY_S) + at[order], kind="stable")]
    device, kind, network, previous, stay = (column[order] for column in (device, kind, network, previous, stay))
    at = at[order]
    cell = _cells(stays, stay, serving, rng)
    kind = _renamed_where_cell_changes(device, cell, kind, rng)
    tells = (kind == CODE[EventType.REGISTRATION_UPDATE]) & (previous == NONE) & (rng.random(len(kind)) < 0.1)
    previous = np.where(tells, OWN, previous)
    spot = np.where(stay >= 0, stays["spot"][stay].astype(np.int64), -1)
    return Rows(device, at, kind, network, previous, cell, spot)


def _chatter(
    start: Floats, end: Floats, talk: Floats, rng: np.random.Generator
) -> tuple[Ints, Floats, NDArray[np.int8]]:
    """For each spoken row its stay, time and kind of wait; nights are quieter than days."""
    stays, ats, whys = [], [], []
    night_end, night_start = NIGHT_S[0][1], NIGHT_S[1][0]
    for since, until, mix in (
        (0.0, night_end, BY_NIGHT),
        (night_end, night_start, BY_DAY),
        (night_start, DAY_S, BY_NIGHT),
    ):
        first, last = np.maximum(start, since), np.minimum(end, until)
        length = np.maximum(last - first, 0.0) * talk
        expected = length / _mean_wait(mix)
        # The wait's coefficient of variation is about 2: three of its deviations above the mean are enough.
        tries = np.where(length > 0, np.ceil(expected + 6 * np.sqrt(expected) + 4), 0).astype(np.int64)
        total = int(tries.sum())
        owner = np.repeat(np.arange(len(start)), tries)
        why = np.searchsorted(np.cumsum(mix), rng.random(total)).clip(max=TIMER).astype(np.int8)
        centre = np.array([np.log(BURST_S), np.log(SESSION_S), np.log(TIMER_S)])[why]
        spread = np.array([BURST_SPREAD, SESSION_SPREAD, 0.01])[why]
        wait = np.exp(centre + spread * rng.standard_normal(total))
        # The first wait began before the stay did.
        opening = np.cumsum(tries) - tries
        begins = opening[tries > 0]
        wait[begins] *= rng.random(len(begins))
        clock = np.cumsum(wait)
        before = np.where(opening > 0, clock[np.maximum(opening - 1, 0)], 0.0) if total else np.zeros(len(start))
        elapsed = clock - before[owner]
        kept = elapsed < length[owner]
        owner, elapsed = owner[kept], elapsed[kept]
        stays.append(owner)
        ats.append(first[owner] + elapsed / talk[owner])
        whys.append(why[kept])
    return np.concatenate(stays), np.concatenate(ats), np.concatenate(whys)


def _mean_wait(mix: tuple[float, float, float]) -> float:
    burst = BURST_S * np.exp(BURST_SPREAD**2 / 2)
    session = SESSION_S * np.exp(SESSION_SPREAD**2 / 2)
    return float(mix[0] * burst + mix[1] * session + mix[2] * TIMER_S)


def _spoken_types(why: NDArray[np.int8], rng: np.random.Generator) -> Ints:
    u = rng.random(len(why))
    kind = np.where((why == BURST) & (u < 0.08), CODE[EventType.HANDOVER], CODE[EventType.SERVICE_REQUEST])
    update = (why == TIMER) | ((why == SESSION) & (u < 0.08))
    return np.asarray(np.where(update, CODE[EventType.REGISTRATION_UPDATE], kind), dtype=np.int64)


def _cells(
    stays: dict[str, NDArray[np.generic]], stay: Ints, serving: Serving, rng: np.random.Generator
) -> NDArray[np.int32]:
    """The cell of each row: one for a stay, until the phone reselects; now and then one row elsewhere."""
    cell = np.full(len(stay), NO_CELL, dtype=np.int32)
    on_cell = np.flatnonzero(stay >= 0)
    if not len(on_cell):
        return cell
    kept_as = stays["served_as"].astype(np.int64)[stay[on_cell]]
    spot = stays["spot"].astype(np.int64)[stay[on_cell]]
    turns = np.append(True, kept_as[1:] != kept_as[:-1]) | (rng.random(len(on_cell)) < RESELECTION)
    segment = np.cumsum(turns) - 1
    chosen = serving.draw(rng, spot[turns])[segment]
    away = rng.random(len(on_cell)) < EXCURSION
    chosen[away] = serving.draw(rng, spot[away])
    cell[on_cell] = chosen
    return cell


def _renamed_where_cell_changes(device: Ints, cell: NDArray[np.int32], kind: Ints, rng: np.random.Generator) -> Ints:
    """A request on another cell than before often shows as a handover or an update of the registration."""
    changed = np.append(
        False, (device[1:] == device[:-1]) & (cell[1:] != cell[:-1]) & (cell[1:] >= 0) & (cell[:-1] >= 0)
    )
    request = changed & (kind == CODE[EventType.SERVICE_REQUEST])
    u = rng.random(len(kind))
    kind = np.where(request & (u < 0.4), CODE[EventType.HANDOVER], kind)
    return np.asarray(np.where(request & (u >= 0.4) & (u < 0.65), CODE[EventType.REGISTRATION_UPDATE], kind))
