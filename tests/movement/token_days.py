"""Token-days that run into every movement rule, and the small ground that they happen on."""

import numpy as np
import polars as pl
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from movement import advance as rules
from movement.advance import HOUR_MS, SIGHTING_SCHEMA
from movement.ground import INLAND, make_ground
from movement.sighting import Side
from tests.movement.oracle import OracleGround

MINUTE = 60_000
SECOND = 1_000
DAY = 20_000 * 24 * HOUR_MS
# Zones: 0 and 1 belt, 2 and 3 crossing points. Cells 0, 1 in zone 0; 2 in zone 1; 3 in zone 2; 4, 5 inland; 6 in zone 3.
CELL_ZONE = [0, 0, 1, 2, INLAND, INLAND, 3]
PAIRS = [(0, 1), (1, 2), (2, 3), (3, 4), (0, 6)]
GROUND = make_ground(np.array(CELL_ZONE), np.array([False, False, True, True]), np.array(PAIRS))
ORACLE = OracleGround(CELL_ZONE, {2, 3}, set(PAIRS))
HOME, FROM_ABROAD, FROM_ELSEWHERE, ABROAD, ENDED = Side

STEPS = (
    0,
    1,
    20 * SECOND,
    90 * SECOND,
    90 * SECOND + 1,
    5 * MINUTE,
    29 * MINUTE,
    30 * MINUTE,
    HOUR_MS - 1,
    HOUR_MS,
    HOUR_MS + 1,
    6 * HOUR_MS,
    6 * HOUR_MS + 1,
)
"""How long after a row the next one comes: what the limits are made of, exactly and a millisecond beyond."""
BEGINS = (0, 1, HOUR_MS - 90 * SECOND, HOUR_MS - 1, 50 * MINUTE, 17 * HOUR_MS, 22 * HOUR_MS + 45 * MINUTE)
SIDES = (HOME, HOME, HOME, FROM_ABROAD, FROM_ABROAD, FROM_ELSEWHERE, ABROAD, ABROAD, ABROAD, ENDED)


@st.composite
def token_days(draw, longest=24):
    """The sightings of one token-day, (at, cell, side), in which most rows are a limit away from the one before."""
    at, rows = draw(st.sampled_from(BEGINS)), []
    for _ in range(draw(st.integers(2, longest))):
        if at >= 24 * HOUR_MS:
            break
        side = draw(st.sampled_from(SIDES))
        rows.append((DAY + at, INLAND if side in (ABROAD, ENDED) else draw(st.integers(0, 6)), int(side)))
        at += draw(st.sampled_from(STEPS))
    return rows


def examples(strategy, how_many):
    """The first examples that a property of this strategy would be tried on, always the same ones."""
    drawn = []

    @given(strategy)
    @settings(
        max_examples=how_many,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def keep(example):
        drawn.append(example)

    keep()
    return drawn


def named(days):
    """Each of some token-days under a token of its own."""
    return {number.to_bytes(16, "big"): rows for number, rows in enumerate(days)}


def day_counts(tokens, ground=GROUND, k=2, by=rules):
    """(hour, zone, direction) -> count, by the hourly chain of one token-day and its closing step; tally and carry-over.

    `by`: the module whose `advance` counts.
    """
    table = pl.DataFrame(
        [(token, at, cell, side) for token, rows in tokens.items() for at, cell, side in rows],
        schema=SIGHTING_SCHEMA,
        orient="row",
    )
    carry_over, counts, tally = by.empty_carry_over(), {}, by.Tally()
    last = table["event_time"].max()
    for hour in range(0 if last is None else (last - DAY) // HOUR_MS + 2):
        start = DAY + hour * HOUR_MS
        rows = table.filter(pl.col("event_time").is_between(start, start + HOUR_MS, closed="left"))
        step = by.advance(carry_over, rows, ground, hour_start_ms=start, k=k)
        carry_over, tally = step.carry_over, tally + step.tally
        for zone, direction, count in step.counts.iter_rows():
            counts[(start - HOUR_MS, zone, direction)] = count
    return counts, tally, carry_over
