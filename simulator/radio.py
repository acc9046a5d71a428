"""From diaries to rows: when a phone speaks during a stay, on which cell, and what the network calls it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.attachment import EventType
from simulator.diary import CODE, DAY_S, FIRST_LOCAL_HOUR, NONE, OWN, SILENT, Diary
from simulator.serving import Serving

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Waiting times and their shares (notes/telecom.md, section 3): bursts, sessions, idle phones. The periodic timer is not
# drawn: a phone that has been silent for as long as T3412 makes a row, at night most of all. Bursts have 4 points more than
# there: with 60 % that file's own gate for burstiness is missed by 2 %.
BURST, SESSION, IDLE, TIMER = range(4)
WAITS = (0.64, 0.29, 0.07)
WAIT_S, WAIT_SPREAD = (25.0, 360.0, 3_240.0), (1.2, 1.0, 0.8)
TIMER_S = 54 * 60.0
MORNING = (0.20, 0.10, 0.08, 0.08, 0.10, 0.35, 0.80, 1.10, 1.20, 1.25, 1.20, 1.20)
AFTERNOON = (1.10, 1.00, 1.00, 1.10, 1.30, 1.60, 2.00, 2.40, 2.50, 2.00, 1.10, 0.50)
ACTIVITY = MORNING + AFTERNOON
"""How much is said in each local hour; the busiest is about 2.2 times the mean (the same section)."""
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
    spoken, spoken_at, why = _chatter(
        start, end, stays["talk"].astype(np.float64), np.asarray(stays["entry"] != SILENT), rng
    )
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
    start: Floats, end: Floats, talk: Floats, entered: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[Ints, Floats, NDArray[np.int8]]:
    """For each spoken row its stay, time and kind of wait, ordered by stay and time.

    Sessions and idle times pass on a clock that runs with the hour's activity, bursts follow in plain seconds.
    """
    hours = np.arange(25) * 3_600.0
    curve = np.roll(np.array(ACTIVITY), -FIRST_LOCAL_HOUR) / np.mean(ACTIVITY)
    clock = np.concatenate([[0.0], np.cumsum(curve)]) * 3_600.0
    first, last = np.clip(start, 0.0, DAY_S), np.clip(end, 0.0, DAY_S)
    begins = np.interp(first, hours, clock)
    length = (np.interp(last, hours, clock) - begins) * talk
    expected = length / _mean_wait_s()
    # A wait's deviation is about three of its means; what these draws do not fill is left silent.
    tries = np.where(last > first, np.ceil(expected + 6 * np.sqrt(expected) + 4), 0).astype(np.int64)
    total = int(tries.sum())
    owner = np.repeat(np.arange(len(start)), tries)
    why = np.searchsorted(np.cumsum(WAITS)[:-1], rng.random(total, dtype=np.float32), side="right").astype(np.int8)
    wait = np.exp(
        np.log(np.array(WAIT_S, np.float32))[why]
        + np.array(WAIT_SPREAD, np.float32)[why] * rng.standard_normal(total, dtype=np.float32)
    ).astype(np.float64)
    opening = (np.cumsum(tries) - tries)[tries > 0]
    # A stay begins within a wait, and sooner within a long one.
    mean = np.array([_mean_of(SESSION), _mean_of(IDLE)])
    met = np.where(rng.random(len(opening)) < mean[0] / mean.sum(), SESSION, IDLE).astype(np.int8)
    why[opening] = met
    spread = np.array(WAIT_SPREAD)[met]
    through = np.log(np.array(WAIT_S)[met]) + spread**2 + spread * rng.standard_normal(len(opening))
    wait[opening] = np.exp(through) * rng.random(len(opening))
    burst = why == BURST
    passed = np.cumsum(np.where(burst, 0.0, wait))
    active = passed - np.repeat((passed - np.where(burst, 0.0, wait))[opening], tries[tries > 0])
    seconds = np.cumsum(np.where(burst, wait, 0.0))
    anchor = np.where(burst, 0, np.arange(total))
    anchor[opening] = opening
    since = seconds - (seconds - np.where(burst, wait, 0.0))[np.maximum.accumulate(anchor)]
    kept = np.flatnonzero(active < length[owner])
    owner, why, active, since = owner[kept], why[kept], active[kept], since[kept]
    at = np.interp(begins[owner] + active / talk[owner], clock, hours) + since / talk[owner]
    kept = np.flatnonzero(at < last[owner])
    owner, why, at = owner[kept], why[kept], at[kept]
    order = np.argsort(owner * (2 * DAY_S) + at, kind="stable")
    owner, why, at = owner[order], why[order], at[order]
    quiet, quiet_at = _timer_rows(first, last, talk, entered, owner, at, rng)
    return (
        np.concatenate([owner, quiet]),
        np.concatenate([at, quiet_at]),
        np.concatenate([why, np.full(len(quiet), TIMER, dtype=np.int8)]),
    )


def _timer_rows(
    first: Floats,
    last: Floats,
    talk: Floats,
    entered: NDArray[np.bool_],
    owner: Ints,
    at: Floats,
    rng: np.random.Generator,
) -> tuple[Ints, Floats]:
    """The periodic registrations in the silences of stays; `owner` and `at` are what is spoken, in order."""
    stays = len(first)
    # Who was there before the stay began was last heard some time before.
    since = first - np.where(entered, 0.0, rng.random(stays) * TIMER_S)
    opens = np.append(True, owner[1:] != owner[:-1]) if len(owner) else np.zeros(0, dtype=np.bool_)
    before = np.where(opens, since[owner], np.append(0.0, at[:-1]) if len(at) else at)
    final = since.copy()
    ends = np.flatnonzero(np.append(owner[1:] != owner[:-1], True)) if len(owner) else np.zeros(0, dtype=np.int64)
    final[owner[ends]] = at[ends]
    stay = np.concatenate([owner, np.arange(stays)])
    silent_from = np.concatenate([before, final])
    silent_until = np.concatenate([at, last])
    period = TIMER_S / talk[stay]
    times = np.maximum(np.ceil((silent_until - silent_from) / period) - 1, 0).astype(np.int64)
    times[last[stay] <= first[stay]] = 0
    gap = np.repeat(np.arange(len(stay)), times)
    nth = np.arange(len(gap)) - np.repeat(np.cumsum(times) - times, times) + 1
    rings = silent_from[gap] + nth * period[gap]
    heard = rings >= first[stay[gap]]
    return stay[gap][heard], rings[heard]


def _mean_wait_s() -> float:
    """The mean of the waits that pass on the clock of activity, for each row."""
    return _mean_of(SESSION) + _mean_of(IDLE)


def _mean_of(kind: int) -> float:
    return float(WAITS[kind] * WAIT_S[kind] * np.exp(WAIT_SPREAD[kind] ** 2 / 2))


def _spoken_types(why: NDArray[np.int8], rng: np.random.Generator) -> Ints:
    u = rng.random(len(why))
    kind = np.where((why == BURST) & (u < 0.08), CODE[EventType.HANDOVER], CODE[EventType.SERVICE_REQUEST])
    update = (why == TIMER) | ((why != BURST) & (u < 0.08))
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
