"""What a carrier's feed does to rows: delays, doubles, wrong clocks, wrong cells (notes/telecom.md, section 6)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.diary import DAY_S
from simulator.radio import NO_CELL, Rows

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

DELAY_SHARES = (0.92, 0.07, 0.009, 0.001)  # prompt, in files, late, replayed
PROMPT_S, PROMPT_SPREAD = 12.0, 0.9
MAST_SPREAD, QUEUE_SPREAD = 0.6, 0.5  # what of it all rows of a mast share, and the rows of one burst
QUEUE_S = 60.0
FILE_S = 300.0
EXACT_DOUBLES, OTHER_CELL_DOUBLES = 0.012, 0.003
NULL_CELLS, MALFORMED_CELLS, UNPLANNED_CELLS, REUSED_CELLS = 0.02, 0.006, 0.01, 0.002
LEADING_MASTS, BROKEN_MASTS, WRONG_ZONE_MASTS = 0.15, 0.004, 0.002
INTACT, NULL, MALFORMED, UNPLANNED = range(4)


@dataclass(frozen=True, slots=True, eq=False)
class Delivered:
    """Rows as delivered, ordered by ingest: indices into `rows`, times in whole milliseconds from the turn, cells."""

    row: Ints
    event_ms: Ints
    ingest_ms: Ints
    cell: NDArray[np.int32]
    cell_fault: NDArray[np.int8]


@dataclass(frozen=True, slots=True, eq=False)
class Masts:
    """What is wrong with each mast's rows on one day; all columns are by mast, seconds."""

    far: Floats  # of the logarithm of the prompt delay
    in_files: NDArray[np.bool_]
    steady_s: Floats
    jump_s: Floats
    since_s: Floats
    until_s: Floats


def draw_masts(sites: int, rng: np.random.Generator) -> Masts:
    """Some masts run seconds ahead or behind, a few are broken for hours, fewer still hold a wrong time zone."""
    prompt, batched, _, _ = DELAY_SHARES
    fate = rng.random(sites)
    steady = np.where(fate < LEADING_MASTS, rng.uniform(-2, 2, sites), rng.normal(0, 0.05, sites))
    broken = (fate >= LEADING_MASTS) & (fate < LEADING_MASTS + BROKEN_MASTS)
    zoned = (fate >= LEADING_MASTS + BROKEN_MASTS) & (fate < LEADING_MASTS + BROKEN_MASTS + WRONG_ZONE_MASTS)
    jump = np.zeros(sites)
    jump[broken] = rng.uniform(40, 300, int(broken.sum())) * rng.choice([-1.0, 1.0], int(broken.sum()))
    jump[zoned] = rng.choice([-7.0, -1.0, 1.0, 7.0], int(zoned.sum())) * 3_600
    since = rng.uniform(0, 18, sites) * 3_600
    return Masts(
        far=MAST_SPREAD * rng.standard_normal(sites),
        in_files=rng.random(sites) < batched / (prompt + batched),
        steady_s=steady,
        jump_s=jump,
        since_s=since,
        until_s=since + rng.uniform(1, 5, sites) * 3_600,
    )


def deliver(rows: Rows, site_of_cell: Ints, masts: Masts, rng: np.random.Generator) -> Delivered:
    """Rows as the door gets them; one whose clock puts it outside the token-day is another token's: left out."""
    count = len(rows.at)
    on_cell = rows.cell != NO_CELL
    site = site_of_cell[np.maximum(rows.cell, 0)]
    event_s = rows.at + np.where(on_cell, _clock_error_s(rows.at, site, masts), 0.0)
    ingest_s = rows.at + _delay_s(rows, site, on_cell, masts, rng)
    cell = rows.cell.copy()
    reused = on_cell & (rng.random(count) < REUSED_CELLS)
    cell[reused] = rng.integers(0, len(site_of_cell), int(reused.sum()))
    u = rng.random(count)
    edges = np.cumsum([NULL_CELLS, MALFORMED_CELLS, UNPLANNED_CELLS])
    fault = np.where(on_cell, np.array([NULL, MALFORMED, UNPLANNED, INTACT])[np.searchsorted(edges, u)], INTACT)

    twice = np.flatnonzero(rng.random(count) < EXACT_DOUBLES)
    elsewhere = np.flatnonzero(on_cell & (rng.random(count) < OTHER_CELL_DOUBLES))
    # The neighbour of a row in the plan is another sector of the same mast, as a double of one message would name.
    row = np.concatenate([np.arange(count), twice, elsewhere])
    ingest_s = ingest_s[row]
    ingest_s[count + len(twice) :] += rng.exponential(0.5, len(elsewhere))
    cell = cell[row]
    other = cell[count + len(twice) :]
    cell[count + len(twice) :] = np.where(other % 3 == 2, other - 1, other + 1) % len(site_of_cell)

    event_ms = np.floor(event_s[row] * 1_000).astype(np.int64)
    ingest_ms = np.floor(ingest_s * 1_000).astype(np.int64)
    today = np.flatnonzero((event_ms >= 0) & (event_ms < DAY_S * 1_000))
    order = today[np.argsort(ingest_ms[today], kind="stable")]
    return Delivered(row[order], event_ms[order], ingest_ms[order], cell[order], fault[row[order]].astype(np.int8))


def _delay_s(rows: Rows, site: Ints, on_cell: NDArray[np.bool_], masts: Masts, rng: np.random.Generator) -> Floats:
    """Prompt rows take a lognormal while, part of it their mast's; some masts' rows wait for the five-minute file."""
    at, count = rows.at, len(rows.at)
    prompt, batched, late, _ = DELAY_SHARES
    parts = np.ones(count, dtype=np.bool_)
    parts[1:] = (rows.device[1:] != rows.device[:-1]) | (np.diff(at) > QUEUE_S)
    queue = np.cumsum(parts) - 1
    noise = rng.standard_normal(count, dtype=np.float32) * np.sqrt(PROMPT_SPREAD**2 - MAST_SPREAD**2 - QUEUE_SPREAD**2)
    noise = noise + (QUEUE_SPREAD * rng.standard_normal(int(parts.sum()), dtype=np.float32))[queue]
    delay = np.exp(np.log(PROMPT_S) + np.where(on_cell, masts.far[site], 0.0) + noise).astype(np.float64)
    delay = np.where(masts.in_files[site] & on_cell, FILE_S - at % FILE_S, delay)
    fate = rng.random(count)
    held = fate < late
    delay[held] = np.exp(np.log(25 * 60.0) + 0.8 * rng.standard_normal(int(held.sum())))
    replayed = fate >= prompt + batched + late
    delay[replayed] = rng.uniform(2, 24, int(replayed.sum())) * 3_600
    return np.asarray(delay)


def _clock_error_s(at: Floats, site: Ints, masts: Masts) -> Floats:
    wrong = (at >= masts.since_s[site]) & (at < masts.until_s[site])
    return np.asarray(masts.steady_s[site] + np.where(wrong, masts.jump_s[site], 0.0))
