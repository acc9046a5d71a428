"""`advance`, hour by hour, against the plain oracle and against stories."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from movement.advance import HOUR_MS, SIGHTING_SCHEMA, advance, empty_carry_over
from movement.sighting import Side
from tests.movement.oracle import ARRIVAL, DEPARTURE, counted_cells, counts_of_day
from tests.movement.token_days import (
    ABROAD,
    DAY,
    ENDED,
    FROM_ABROAD,
    FROM_ELSEWHERE,
    GROUND,
    HOME,
    MINUTE,
    ORACLE,
    day_counts,
    token_days,
)

TOKEN = b"t" * 16


def minutes(*rows):
    return {TOKEN: [(DAY + round(minute * MINUTE), cell, int(side)) for minute, cell, side in rows]}


def cells_counted(*rows):
    """(hour, zone, direction) of all that is counted of one token, seen at some minutes: (minute, cell, side)."""
    counts, _, _ = day_counts(minutes(*rows))
    return [((at - DAY) // HOUR_MS, zone, direction) for at, zone, direction in sorted(counts)]


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


@given(st.one_of(walks(), sightings(60), token_days(40)))
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


MS = 1 / MINUTE


def test_every_limit_is_inclusive_to_the_millisecond():
    flip = [(0, 0, HOME), (1, -1, ABROAD)]
    assert cells_counted(*flip, (61, 0, HOME)) == []
    assert cells_counted(*flip, (61 + MS, 0, HOME)) == [(0, 0, DEPARTURE), (1, 0, ARRIVAL)]
    assert cells_counted((0, 3, HOME), (1, 0, HOME), (60, -1, ABROAD)) == [(1, 2, DEPARTURE)]
    assert cells_counted((0, 3, HOME), (1, 0, HOME), (60 + MS, -1, ABROAD)) == [(1, 0, DEPARTURE)]
    assert cells_counted((0, 0, HOME), (360, -1, ABROAD)) == [(6, 0, DEPARTURE)]
    assert cells_counted((0, 0, HOME), (360 + MS, -1, ABROAD)) == []


def test_a_duplicate_that_names_another_cell_stands_beside_it():
    """Of two cells at one instant the later in order is the home side of a departure, the first that of an arrival."""
    assert cells_counted((10, 2, HOME), (10, 0, HOME), (20, -1, ABROAD)) == [(0, 1, DEPARTURE)]
    assert cells_counted((10, -1, ABROAD), (20, 2, HOME), (20, 0, HOME)) == [(0, 0, ARRIVAL)]
    assert cells_counted((10, 3, HOME), (10, 6, HOME), (20, 0, HOME), (30, -1, ABROAD)) == [(0, 3, DEPARTURE)]


def test_what_is_pending_at_the_turn_counts_as_it_stands():
    late = 24 * 60 - 10
    assert cells_counted((late, 0, HOME), (late + 5, -1, ABROAD)) == [(23, 0, DEPARTURE)]
    assert cells_counted((late, 0, HOME), (late + 5, -1, ABROAD), (late + 9, 0, HOME)) == []


def test_who_is_abroad_at_the_turn_arrives_only_by_name():
    assert cells_counted((10, 0, HOME)) == []
    assert cells_counted((10, 0, FROM_ABROAD)) == [(0, 0, ARRIVAL)]


@pytest.mark.parametrize("minute", [0, 25, 45, 55, 58, 59])
def test_an_hour_edge_between_rows_changes_nothing(minute):
    """The same hour and a half at six places of the clock: only the hour that is counted moves."""
    walk = [(0, -1, ABROAD), (1, 0, HOME), (40, 3, HOME), (80, 0, HOME), (81, -1, ABROAD), (145, 2, HOME)]
    counted = cells_counted(*((minute + at, cell, side) for at, cell, side in walk))
    arrived, left, back = ((minute + at) // 60 for at in (1, 81, 145))
    assert counted == sorted([(arrived, 2, ARRIVAL), (left, 2, DEPARTURE), (back, 1, ARRIVAL)])


def test_the_first_sighting_of_a_token_is_no_movement():
    assert cells_counted((10, 0, HOME)) == []
    assert cells_counted((10, -1, ABROAD)) == []


def test_an_arrival_has_no_limit_of_time_within_the_token_day():
    assert cells_counted((0, -1, ABROAD), (23 * 60, 0, HOME)) == [(23, 0, ARRIVAL)]


def test_a_crossing_point_before_a_flip_does_not_vouch_after_it():
    flipped = [(0, 3, HOME), (5, 0, HOME), (10, -1, ABROAD), (12, 0, HOME)]
    assert cells_counted(*flipped, (40, -1, ABROAD)) == [(0, 0, DEPARTURE)]
    assert cells_counted((0, 3, HOME), (5, 0, HOME), (40, -1, ABROAD)) == [(0, 2, DEPARTURE)]


def test_a_named_network_after_abroad_is_an_ordinary_arrival_however_soon_it_is_named_again():
    rows = [(0, -1, ABROAD), (1, 0, FROM_ABROAD), (3, 2, HOME), (10, -1, ABROAD), (30, 0, FROM_ABROAD)]
    assert cells_counted(*rows) == [(0, 0, ARRIVAL), (0, 1, DEPARTURE)]
    _, tally, _ = day_counts(minutes(*rows))
    assert (tally.candidates, tally.same_zone_hour) == (3, 1)


def test_repeats_slide():
    named = [(at, cell, FROM_ABROAD) for at, cell in ((0, 0), (50, 2), (100, 0), (150, 2))]
    assert cells_counted(*named) == [(0, 0, ARRIVAL)]
    assert cells_counted(*named, (211, 0, FROM_ABROAD)) == [(0, 0, ARRIVAL), (3, 0, ARRIVAL)]


def test_a_registration_written_after_its_return_stands_before_it():
    as_written = [(10, 0, HOME), (30, 2, FROM_ABROAD), (31.5, -1, ABROAD), (32, 2, HOME)]
    as_lived = [(10, 0, HOME), (30, -1, ABROAD), (30 + MS, 2, FROM_ABROAD), (32, 2, HOME)]
    assert cells_counted(*as_written) == cells_counted(*as_lived) == [(0, 0, DEPARTURE), (0, 1, ARRIVAL)]


def test_a_registration_later_than_ninety_seconds_is_a_departure():
    rows = [(10, 0, HOME), (30, 1, FROM_ABROAD), (31.5 + MS, -1, ABROAD)]
    assert cells_counted(*rows) == [(0, 0, DEPARTURE)]


def test_an_idle_phone_after_a_flip_with_a_late_registration_has_not_moved():
    assert cells_counted((10, 0, HOME), (30, 1, FROM_ABROAD), (30.5, -1, ABROAD), (95, 0, HOME)) == []


def test_a_return_is_owed_one_registration():
    """Written late and then again: the second one is a departure."""
    rows = [(10, 0, HOME), (30, 1, FROM_ABROAD), (30.5, -1, ABROAD), (31, -1, ABROAD)]
    assert cells_counted(*rows) == [(0, 0, DEPARTURE)]
    in_time = [(10, 0, HOME), (20, -1, ABROAD), (30, 1, FROM_ABROAD), (30.5, -1, ABROAD)]
    assert cells_counted(*in_time) == [(0, 0, DEPARTURE)]


def test_a_late_registration_without_a_name_on_the_return_is_a_departure():
    """Nothing tells it from a phone that has just left; whoever is heard of again within the hour has not moved."""
    assert cells_counted((10, 0, HOME), (30, 1, HOME), (30.5, -1, ABROAD)) == [(0, 0, DEPARTURE)]
    assert cells_counted((10, 0, HOME), (30, 1, HOME), (30.5, -1, ABROAD), (60, 1, HOME)) == []


def test_a_late_registration_of_the_hour_before_is_no_departure():
    rows = [(10, 0, HOME), (59.5, 2, FROM_ABROAD), (60.5, -1, ABROAD), (200, 2, HOME)]
    assert cells_counted(*rows) == [(0, 1, ARRIVAL)]


def test_a_pair_cancels_across_two_zones():
    assert cells_counted((10, 1, HOME), (20, -1, ABROAD), (30, 2, HOME)) == []


def test_an_inland_home_side_takes_part_in_cancelling():
    assert cells_counted((10, 3, HOME), (20, -1, ABROAD), (30, 4, HOME)) == []
    assert cells_counted((10, 3, HOME), (20, -1, ABROAD), (30, 5, HOME)) == [(0, 2, DEPARTURE)]


def test_a_silent_departure_cancels_before_it_is_dropped():
    """The return to where it was last heard of takes the silent departure with it, or would be an arrival of its own."""
    assert cells_counted((0, 0, HOME), (400, -1, ABROAD), (430, 0, HOME)) == []
    assert cells_counted((0, 0, HOME), (400, -1, ABROAD), (430, 2, HOME)) == [(7, 1, ARRIVAL)]


def test_of_two_crossing_points_the_nearer_in_time_vouches():
    assert cells_counted((0, 3, HOME), (10, 6, HOME), (20, 0, HOME), (30, -1, ABROAD)) == [(0, 3, DEPARTURE)]
    assert cells_counted((0, -1, ABROAD), (5, 0, HOME), (10, 6, HOME), (20, 3, HOME)) == [(0, 3, ARRIVAL)]


def test_what_repeats_in_a_zone_hour_does_not_use_up_the_bound():
    arrive = [(0, -1, ABROAD), (1, 0, HOME), (2, -1, ENDED)]
    rows = [(start + at, cell, side) for start in (0, 10, 120, 240) for at, cell, side in arrive]
    assert cells_counted(*rows) == [(0, 0, ARRIVAL), (2, 0, ARRIVAL)]


def test_cancelled_pairs_do_not_use_up_the_bound():
    flips = [row for at in (0, 10, 20) for row in ((at, -1, ABROAD), (at + 5, 0, HOME))]
    trips = [
        (20 + 240 * trip + at, cell, side) for trip in (1, 2) for at, cell, side in ((0, -1, ABROAD), (90, 0, HOME))
    ]
    assert [direction for _, _, direction in cells_counted((-0.0, 0, HOME), *flips, *trips)].count(ARRIVAL) == 2


def test_a_row_outside_its_hour_is_refused():
    row = pl.DataFrame([(TOKEN, DAY, 0, 0)], schema=SIGHTING_SCHEMA, orient="row")
    with pytest.raises(ValueError, match="outside the hour"):
        advance(empty_carry_over(), row, GROUND, hour_start_ms=DAY + HOUR_MS, k=2)
