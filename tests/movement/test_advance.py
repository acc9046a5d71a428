"""`advance`, hour by hour, against the plain oracle and against stories."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from movement.advance import HOUR_MS, SIGHTING_SCHEMA, Tally, advance, empty_carry_over
from movement.ground import INLAND, make_ground
from movement.sighting import Side
from tests.movement.oracle import ARRIVAL, DEPARTURE, OracleGround, counted_cells, counts_of_day

MINUTE = 60_000
# Zones: 0 and 1 belt, 2 crossing point. Cells 0, 1 in zone 0; 2 in zone 1; 3 in the crossing point; 4, 5 inland.
CELL_ZONE = [0, 0, 1, 2, INLAND, INLAND]
PAIRS = [(0, 1), (1, 2), (2, 3), (3, 4)]
GROUND = make_ground(np.array(CELL_ZONE), np.array([False, False, True]), np.array(PAIRS))
ORACLE = OracleGround(CELL_ZONE, {2}, set(PAIRS))
DAY = 20_000 * 24 * HOUR_MS
TOKEN = b"t" * 16


def day_counts(tokens, ground=GROUND, k=2):
    """(hour, zone, direction) -> count, by the hourly chain of one token-day and its closing step."""
    table = pl.DataFrame(
        [(token, at, cell, side) for token, rows in tokens.items() for at, cell, side in rows],
        schema=SIGHTING_SCHEMA,
        orient="row",
    )
    carry_over, counts, tally = empty_carry_over(), {}, Tally()
    last = table["event_time"].max()
    for hour in range(0 if last is None else (last - DAY) // HOUR_MS + 2):
        start = DAY + hour * HOUR_MS
        rows = table.filter(pl.col("event_time").is_between(start, start + HOUR_MS, closed="left"))
        step = advance(carry_over, rows, ground, hour_start_ms=start, k=k)
        carry_over, tally = step.carry_over, tally + step.tally
        for zone, direction, count in step.counts.iter_rows():
            counts[(start - HOUR_MS, zone, direction)] = count
    return counts, tally, carry_over


def minutes(*rows):
    return {TOKEN: [(DAY + minute * MINUTE, cell, int(side)) for minute, cell, side in rows]}


def cells_counted(*rows):
    counts, _, _ = day_counts(minutes(*rows))
    return [((at - DAY) // HOUR_MS, zone, direction) for at, zone, direction in sorted(counts)]


HOME, FROM_ABROAD, FROM_ELSEWHERE, ABROAD, ENDED = Side


def sightings(max_size):
    times = st.one_of(
        st.integers(0, 24 * 60 - 1).map(lambda m: m * MINUTE),
        st.sampled_from([0, HOUR_MS, HOUR_MS + 1, 2 * HOUR_MS - 1, 6 * HOUR_MS, 7 * HOUR_MS, 7 * HOUR_MS + 1]),
        st.integers(0, 3 * HOUR_MS),
    )
    row = st.tuples(times, st.integers(0, 5), st.sampled_from(list(Side))).map(
        lambda r: (DAY + r[0], -1 if r[2] in (ABROAD, ENDED) else r[1], int(r[2]))
    )
    return st.lists(row, max_size=max_size)


@given(st.dictionaries(st.binary(min_size=16, max_size=16), sightings(40), max_size=4), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_the_hourly_chain_equals_the_plain_oracle_on_any_token_days(tokens, k):
    counts, _, _ = day_counts(tokens, k=k)
    assert counts == dict(counts_of_day(tokens, ORACLE, k))


ALIKE = [b"alike---" + bytes([number]) * 8 for number in range(3)]
ODD_LENGTHS = [b"a", b"a" * 15, b"a" * 16, b"a" * 26]


@pytest.mark.parametrize("names", [ALIKE, ODD_LENGTHS])
@given(st.data())
@settings(max_examples=30, deadline=None)
def test_tokens_that_are_nearly_the_same_are_told_apart(names, data):
    tokens = data.draw(st.dictionaries(st.sampled_from(names), sightings(30), min_size=2))
    counts, _, carry_over = day_counts(tokens)
    assert counts == dict(counts_of_day(tokens, ORACLE, 2))
    assert carry_over["token"].is_sorted()


@st.composite
def walks(draw):
    """A token that keeps changing side within minutes: the hardest case for cancelling."""
    at, rows = 0, []
    for _ in range(draw(st.integers(2, 60))):
        at += draw(st.sampled_from([0, 1, 5 * MINUTE, 29 * MINUTE, 30 * MINUTE, HOUR_MS, HOUR_MS + 1]))
        if at >= 24 * HOUR_MS:
            break
        side = draw(st.sampled_from([HOME, HOME, FROM_ABROAD, ABROAD, ABROAD, ENDED, FROM_ELSEWHERE]))
        rows.append((DAY + at, -1 if side in (ABROAD, ENDED) else draw(st.integers(0, 5)), int(side)))
    return rows


@given(walks())
@settings(max_examples=100, deadline=None)
def test_a_restless_token_is_counted_as_the_oracle_counts_it(rows):
    counts, tally, _ = day_counts({TOKEN: rows})
    assert counts == dict(counts_of_day({TOKEN: rows}, ORACLE, 2))
    assert tally.candidates == (
        tally.counted + tally.over_k + tally.same_zone_hour + tally.flip + tally.outside_6h + tally.inland
    )


@given(walks(), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_shuffled_and_repeated_rows_change_nothing(rows, random):
    again = rows + random.choices(rows, k=5)
    random.shuffle(again)
    assert day_counts({TOKEN: again})[0] == day_counts({TOKEN: rows})[0]


@given(st.one_of(walks(), sightings(60)))
@settings(max_examples=60, deadline=None)
def test_one_token_day_adds_at_most_four_to_the_sum_of_squares(rows):
    counts, _, _ = day_counts({TOKEN: rows})
    assert sum(count**2 for count in counts.values()) <= 4
    assert len(counted_cells(rows, ORACLE, 2)) <= 4


@given(walks(), walks())
@settings(max_examples=25, deadline=None)
def test_what_one_token_does_changes_no_count_of_another(rows, others):
    alone, _, _ = day_counts({TOKEN: rows})
    together, _, _ = day_counts({TOKEN: rows, b"o" * 16: others})
    other, _, _ = day_counts({b"o" * 16: others})
    assert together == {cell: alone.get(cell, 0) + other.get(cell, 0) for cell in alone | other}


def test_abroad_then_home_is_an_arrival_in_the_hour_of_the_home_row():
    assert cells_counted((50, -1, ABROAD), (70, 0, HOME)) == [(1, 0, ARRIVAL)]


def test_home_then_abroad_is_a_departure_from_the_last_home_zone():
    assert cells_counted((10, 0, HOME), (50, 2, HOME), (70, -1, ABROAD)) == [(1, 1, DEPARTURE)]


def test_a_flip_back_within_the_hour_is_not_two_movements():
    assert cells_counted((10, 0, HOME), (20, -1, ABROAD), (80, 1, HOME)) == []


def test_a_flip_back_a_millisecond_after_the_hour_is_two_movements():
    rows = [(DAY, 0, int(HOME)), (DAY + MINUTE, -1, int(ABROAD)), (DAY + MINUTE + HOUR_MS + 1, 0, int(HOME))]
    counts, _, _ = day_counts({TOKEN: rows})
    assert sum(counts.values()) == 2


def test_a_return_to_a_distant_cell_is_two_movements():
    assert cells_counted((10, 0, HOME), (20, -1, ABROAD), (50, 2, HOME)) == [(0, 0, DEPARTURE), (0, 1, ARRIVAL)]


def test_abroad_home_abroad_cancels_alike():
    assert cells_counted((10, -1, ABROAD), (20, 0, HOME), (50, -1, ABROAD)) == []


def test_brackets_cancel_from_the_inside():
    rows = [(0, 0, HOME), (1, -1, ABROAD), (10, 2, HOME), (20, -1, ABROAD), (40, 1, HOME)]
    assert cells_counted(*rows) == []


def test_a_departure_after_six_silent_hours_is_not_counted():
    assert cells_counted((0, 0, HOME), (360, -1, ABROAD)) == [(6, 0, DEPARTURE)]
    assert cells_counted((0, 0, HOME), (361, -1, ABROAD)) == []


def test_an_arrival_seen_at_a_crossing_point_within_the_hour_is_booked_there():
    assert cells_counted((10, -1, ABROAD), (70, 0, HOME), (130, 3, HOME)) == [(1, 2, ARRIVAL)]
    assert cells_counted((10, -1, ABROAD), (70, 0, HOME), (131, 3, HOME)) == [(1, 0, ARRIVAL)]


def test_a_departure_seen_at_a_crossing_point_within_the_hour_is_booked_there():
    assert cells_counted((10, 3, HOME), (40, 0, HOME), (70, -1, ABROAD)) == [(1, 2, DEPARTURE)]
    assert cells_counted((9, 3, HOME), (40, 0, HOME), (70, -1, ABROAD)) == [(1, 0, DEPARTURE)]


def test_a_crossing_point_of_another_stay_does_not_count():
    rows = [(0, 3, HOME), (5, -1, ABROAD), (20, 0, HOME), (50, -1, ABROAD)]
    assert (0, 2, DEPARTURE) in cells_counted(*rows)
    assert (0, 0, DEPARTURE) not in cells_counted((0, 3, HOME), (2, -1, ENDED), (20, 0, HOME), (50, 2, HOME))
    assert cells_counted((0, 3, HOME), (2, -1, ENDED), (20, 0, HOME), (50, -1, ABROAD)) == [(0, 0, DEPARTURE)]


def test_who_lands_inland_has_not_crossed_here():
    assert cells_counted((10, -1, ABROAD), (70, 5, HOME), (100, 0, HOME)) == []


def test_a_crossing_point_does_not_vouch_for_who_lands_inland():
    assert cells_counted((10, -1, ABROAD), (70, 5, HOME), (120, 3, HOME)) == []
    assert cells_counted((10, 3, HOME), (20, 5, HOME), (40, -1, ABROAD)) == []


def test_a_third_country_ends_what_was_named_before():
    rows = [(10, 0, FROM_ABROAD), (20, -1, ENDED), (65, 2, FROM_ABROAD)]
    assert cells_counted(*rows) == [(0, 0, ARRIVAL), (1, 1, ARRIVAL)]


def test_a_named_foreign_network_is_one_arrival_and_no_invented_departure():
    assert cells_counted((10, 0, HOME), (200, 0, FROM_ABROAD)) == [(3, 0, ARRIVAL)]
    assert cells_counted((10, 0, FROM_ABROAD), (40, 2, FROM_ABROAD), (90, 0, FROM_ABROAD)) == [(0, 0, ARRIVAL)]


def test_a_named_foreign_network_soon_after_an_overlapping_cell_is_a_flip():
    assert cells_counted((10, 0, HOME), (70, 1, FROM_ABROAD)) == []
    assert cells_counted((10, 0, HOME), (71, 1, FROM_ABROAD)) == [(1, 0, ARRIVAL)]
    assert cells_counted((10, 0, HOME), (60, 2, FROM_ABROAD)) == [(1, 1, ARRIVAL)]


def test_a_third_country_ends_the_track():
    assert cells_counted((10, -1, ABROAD), (20, -1, ENDED), (70, 0, HOME)) == []
    assert cells_counted((10, -1, ABROAD), (70, 0, FROM_ELSEWHERE)) == []
    assert cells_counted((10, 0, HOME), (20, -1, ENDED), (70, -1, ABROAD)) == []


def test_home_comes_before_abroad_at_one_instant():
    assert cells_counted((10, -1, ABROAD), (10, 0, HOME)) == [(0, 0, DEPARTURE)]


def test_only_the_first_two_movements_of_a_direction_count():
    rows = [row for hour in range(0, 20, 4) for row in ((hour * 60, -1, ABROAD), (hour * 60 + 120, 0, HOME))]
    counted = cells_counted(*rows)
    assert [hour for hour, _, direction in counted if direction == ARRIVAL] == [2, 6]


def test_two_arrivals_in_one_zone_hour_count_once():
    rows = [(1, -1, ABROAD), (5, 0, HOME), (10, -1, ENDED), (12, -1, ABROAD), (20, 0, HOME)]
    counts, tally, _ = day_counts(minutes(*rows))
    assert list(counts.values()) == [1]
    assert tally.same_zone_hour == 1


def test_a_row_outside_its_hour_is_refused():
    row = pl.DataFrame([(TOKEN, DAY, 0, 0)], schema=SIGHTING_SCHEMA, orient="row")
    with pytest.raises(ValueError, match="outside the hour"):
        advance(empty_carry_over(), row, GROUND, hour_start_ms=DAY + HOUR_MS, k=2)
