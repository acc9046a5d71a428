"""Every movement rule of docs/movement.md: the stories that tell it, and how it is taken out of the code.

A rule is taken out by a text that occurs once in a file and another in its place. What is left is run on the examples of the
property in `test_rules.py`, which must see the difference: so the property reaches every rule.
"""

from dataclasses import dataclass

ADVANCE, SIGHTING = "movement/advance.py", "movement/sighting.py"
_A, _S, _R, _T = "test_advance", "test_sighting", "test_row_stories", "test_sight_rows"


@dataclass(frozen=True)
class Rule:
    """A rule by its number in docs/movement.md."""

    number: str
    stories: tuple[str, ...]
    file: str
    text: str
    instead: str


def _story(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"tests/movement/{file}.py::{name}" for name in names)


RULES = (
    Rule(
        "1a",
        _story(_S, "test_a_row_in_the_belt_is_home_and_says_where_it_came_from"),
        SIGHTING,
        "return Decision(Fate.SIGHTING, side)",
        "return Decision(Fate.SIGHTING, side if place is Place.INLAND else Side.ENDED)",
    ),
    Rule(
        "1b",
        _story(
            _S,
            "test_an_inland_row_is_kept_only_if_it_names_a_foreign_network",
            "test_an_inland_attach_or_detach_is_kept",
        )
        + _story(_R, "test_who_lands_at_an_airport_has_not_crossed_here"),
        SIGHTING,
        "if place is Place.INLAND and side is Side.HOME and event_type not in _TELLING_INLAND:",
        "if False:",
    ),
    Rule(
        "1c",
        _story(_S, "test_an_unknown_cell_is_counted_and_never_guessed"),
        SIGHTING,
        "if place in (Place.UNKNOWN, Place.NONE):",
        "if False:",
    ),
    Rule(
        "1d",
        _story(_S, "test_an_implicit_detach_places_nobody")
        + _story(_R, "test_an_implicit_detach_an_hour_later_is_no_return"),
        SIGHTING,
        "if event_type is EventType.IMPLICIT_DETACH:",
        "if False:",
    ),
    Rule(
        "1e",
        _story(_S, "test_where_a_domestic_sim_registers_abroad"),
        SIGHTING,
        "Side.ABROAD if serving is Network.ACROSS else Side.ENDED)",
        "Side.ENDED)",
    ),
    Rule(
        "1f",
        _story(_S, "test_where_a_domestic_sim_registers_abroad")
        + _story(_R, "test_a_registration_in_a_third_country_ends_the_track"),
        SIGHTING,
        "Side.ABROAD if serving is Network.ACROSS else Side.ENDED)",
        "Side.ABROAD)",
    ),
    Rule(
        "1g",
        _story(_S, "test_a_cancel_ends_a_visiting_sims_track_and_says_nothing_of_a_domestic_one")
        + _story(_R, "test_a_visiting_sim_that_is_cancelled_has_not_left"),
        SIGHTING,
        "return Decision(Fate.ROAMING_KEPT, Side.ENDED)",
        "return Decision(Fate.ROAMING_KEPT, Side.ABROAD)",
    ),
    Rule(
        "1h",
        _story(_S, "test_a_registration_of_a_visiting_sim_is_ignored", "test_where_a_domestic_sim_registers_abroad")
        + _story(_R, "test_a_domestic_cancel_says_nothing"),
        SIGHTING,
        "if domain is Domain.DOMESTIC:",
        "if False:",
    ),
    Rule(
        "1i",
        _story(_S, "test_a_row_in_the_belt_is_home_and_says_where_it_came_from"),
        SIGHTING,
        "Network.ACROSS: Side.HOME_FROM_ABROAD, ",
        "",
    ),
    Rule(
        "1j",
        _story(_A, "test_a_third_country_ends_the_track"),
        SIGHTING,
        "Network.ELSEWHERE: Side.HOME_FROM_ELSEWHERE",
        "",
    ),
    Rule(
        "1k",
        _story(_R, "test_a_network_of_the_same_country_is_no_country_of_origin"),
        SIGHTING,
        "Network.ELSEWHERE: Side.HOME_FROM_ELSEWHERE",
        "Network.ELSEWHERE: Side.HOME_FROM_ELSEWHERE, Network.COMPATRIOT: Side.HOME_FROM_ELSEWHERE",
    ),
    Rule(
        "1l",
        _story(_R, "test_domain_is_read_row_by_row"),
        SIGHTING,
        "if domain is Domain.INBOUND or serving is Network.OWN:",
        "if serving is Network.OWN:",
    ),
    Rule(
        "2a",
        _story(_A, "test_home_comes_before_abroad_at_one_instant"),
        ADVANCE,
        "(state.astype(np.int64) << 35)",
        "((2 - state.astype(np.int64)) << 35)",
    ),
    Rule(
        "2b",
        _story(_A, "test_every_limit_is_inclusive_to_the_millisecond"),
        ADVANCE,
        "FLIP_MS = HOUR_MS\n",
        "FLIP_MS = HOUR_MS - 1\n",
    ),
    Rule(
        "2c",
        _story(_A, "test_a_duplicate_that_names_another_cell_stands_beside_it"),
        ADVANCE,
        "((cell.astype(np.int64) + 1) << 3)",
        "0",
    ),
    Rule(
        "2d",
        _story(_R, "test_a_detach_and_an_attach_at_one_instant_both_stand"),
        ADVANCE,
        "kept = first | _steps(rank[order])",
        "kept = first | _steps(key)",
    ),
    Rule(
        "2e",
        _story(
            _A,
            "test_what_is_pending_at_the_turn_counts_as_it_stands",
            "test_who_is_abroad_at_the_turn_arrives_only_by_name",
        ),
        ADVANCE,
        "settled = kept.at < hour_start_ms\n",
        "settled = kept.at < hour_start_ms - 1\n",
    ),
    Rule(
        "2f",
        _story(_A, "test_an_hour_edge_between_rows_changes_nothing"),
        ADVANCE,
        "looking=~leaves & ~vouched & _stay_is_open(rows, index),",
        "looking=np.zeros(len(index), bool),",
    ),
    Rule(
        "2g",
        _story(_A, "test_the_first_sighting_of_a_token_is_no_movement")
        + _story(_R, "test_a_visiting_sim_that_is_first_seen_without_a_previous_network_is_no_arrival"),
        ADVANCE,
        "np.where(rows.first, _ENDED, rows.state[before])",
        "np.where(rows.first, _ABROAD, rows.state[before])",
    ),
    Rule(
        "2h",
        _story(_A, "test_tokens_that_are_nearly_the_same_are_told_apart"),
        ADVANCE,
        "return np.ascontiguousarray(words.T)",
        "return np.stack([words[:, 0], words[:, 0]])",
    ),
    Rule(
        "3a",
        _story(_A, "test_home_then_abroad_is_a_departure_from_the_last_home_zone"),
        ADVANCE,
        "departure = (rows.state == _ABROAD) & ~rows.seed & (state_before == _HOME)",
        "departure = np.zeros(n, bool)",
    ),
    Rule(
        "3b",
        _story(
            _A,
            "test_abroad_then_home_is_an_arrival_in_the_hour_of_the_home_row",
            "test_an_arrival_has_no_limit_of_time_within_the_token_day",
        ),
        ADVANCE,
        "(((state_before == _ABROAD) & ~rows.from_elsewhere) | named)",
        "named",
    ),
    Rule(
        "3c",
        _story(
            _A,
            "test_a_crossing_point_of_another_stay_does_not_count",
            "test_a_crossing_point_before_a_flip_does_not_vouch_after_it",
        ),
        ADVANCE,
        "starts = first | ~home | enters",
        "starts = first",
    ),
    Rule(
        "3d",
        _story(_A, "test_a_named_network_after_abroad_is_an_ordinary_arrival_however_soon_it_is_named_again"),
        ADVANCE,
        "(((state_before == _ABROAD) & ~rows.from_elsewhere) | named)",
        "(((state_before == _ABROAD) & ~rows.from_elsewhere & ~rows.repeat) | named)",
    ),
    Rule(
        "3e",
        _story(_A, "test_a_named_foreign_network_is_one_arrival_and_no_invented_departure"),
        ADVANCE,
        "& ~rows.from_elsewhere) | named)",
        "& ~rows.from_elsewhere))",
    ),
    Rule(
        "3f",
        _story(_A, "test_a_named_foreign_network_soon_after_an_overlapping_cell_is_a_flip"),
        ADVANCE,
        "flip[asked] = (at[asked] - at[asked - 1] <= FLIP_MS)",
        "flip[asked] = False & (at[asked] - at[asked - 1] <= FLIP_MS)",
    ),
    Rule(
        "3g",
        _story(_A, "test_a_named_foreign_network_is_one_arrival_and_no_invented_departure", "test_repeats_slide"),
        ADVANCE,
        "repeat = from_abroad & has_named & (since <= FLIP_MS)",
        "repeat = np.zeros(n, bool)",
    ),
    Rule(
        "3h",
        _story(
            _A,
            "test_a_registration_written_after_its_return_stands_before_it",
            "test_an_idle_phone_after_a_flip_with_a_late_registration_has_not_moved",
            "test_a_return_is_owed_one_registration",
            "test_a_registration_later_than_ninety_seconds_is_a_departure",
            "test_a_late_registration_without_a_name_on_the_return_is_a_departure",
        ),
        ADVANCE,
        "if late.moved or late.dropped:",
        "if False:",
    ),
    Rule(
        "3i",
        _story(_A, "test_a_late_registration_of_the_hour_before_is_no_departure"),
        ADVANCE,
        '"owed_at": rows.owed_at,',
        '"owed_at": np.full(groups, _NEVER),',
    ),
    Rule(
        "3j",
        _story(_A, "test_a_third_country_ends_the_track"),
        ADVANCE,
        "((state_before == _ABROAD) & ~rows.from_elsewhere)",
        "(state_before == _ABROAD)",
    ),
    Rule(
        "3k",
        _story(_A, "test_a_third_country_ends_what_was_named_before"),
        ADVANCE,
        "begins = _latest(first | (state == _ENDED) | from_elsewhere)",
        "begins = _latest(first)",
    ),
    Rule(
        "4a",
        _story(
            _A,
            "test_a_flip_back_within_the_hour_is_not_two_movements",
            "test_a_flip_back_a_millisecond_after_the_hour_is_two_movements",
        ),
        ADVANCE,
        "if direction[i] != direction[j] and at[i] - at[j] <= FLIP_MS:",
        "if direction[i] < direction[j]:",
    ),
    Rule(
        "4b",
        _story(_A, "test_abroad_home_abroad_cancels_alike"),
        ADVANCE,
        "if direction[i] != direction[j] and",
        "if direction[i] < direction[j] and",
    ),
    Rule("4c", _story(_A, "test_a_return_to_a_distant_cell_is_two_movements"), ADVANCE, "if same_place:", "if True:"),
    Rule(
        "4d",
        _story(_A, "test_brackets_cancel_from_the_inside", "test_a_pair_cancels_across_two_zones"),
        ADVANCE,
        "gone += [open_brackets.pop(), i]",
        "gone += [open_brackets.pop(), i]; open_brackets.clear()",
    ),
    Rule(
        "4e",
        _story(_A, "test_an_inland_home_side_takes_part_in_cancelling"),
        ADVANCE,
        "if direction[i] != direction[j] and",
        "if movements.zone[i] >= 0 and direction[i] != direction[j] and",
    ),
    Rule(
        "4f",
        _story(
            _A,
            "test_a_departure_after_six_silent_hours_is_not_counted",
            "test_a_silent_departure_cancels_before_it_is_dropped",
        ),
        ADVANCE,
        "SILENCE_MS = 6 * HOUR_MS",
        "SILENCE_MS = 600 * HOUR_MS",
    ),
    Rule(
        "5a",
        _story(
            _A,
            "test_abroad_then_home_is_an_arrival_in_the_hour_of_the_home_row",
            "test_home_then_abroad_is_a_departure_from_the_last_home_zone",
        ),
        ADVANCE,
        "        at=rows.at[index],\n",
        "        at=rows.at[side],\n",
    ),
    Rule(
        "5b",
        _story(_A, "test_home_then_abroad_is_a_departure_from_the_last_home_zone"),
        ADVANCE,
        "zone=rows.zone[side],",
        "zone=rows.zone[index],",
    ),
    Rule(
        "5c",
        _story(_A, "test_a_departure_seen_at_a_crossing_point_within_the_hour_is_booked_there"),
        ADVANCE,
        "vouched = np.where(leaves, near_departure, near_arrival)",
        "vouched = np.where(leaves, False, near_arrival)",
    ),
    Rule(
        "5d",
        _story(_A, "test_an_arrival_seen_at_a_crossing_point_within_the_hour_is_booked_there"),
        ADVANCE,
        "vouched = np.where(leaves, near_departure, near_arrival)",
        "vouched = np.where(leaves, near_departure, False)",
    ),
    Rule(
        "5e",
        _story(_A, "test_a_crossing_point_of_another_stay_does_not_count"),
        ADVANCE,
        "(earlier >= rows.stay_start[side])",
        "(earlier >= 0)",
    ),
    Rule(
        "5f",
        _story(_A, "test_of_two_crossing_points_the_nearer_in_time_vouches"),
        ADVANCE,
        "earlier = _latest(vouches)[side]",
        "earlier = np.minimum(_next(vouches)[rows.stay_start[side]], side)",
    ),
    Rule(
        "5g",
        _story(
            _A,
            "test_a_crossing_point_does_not_vouch_for_who_lands_inland",
            "test_who_lands_inland_has_not_crossed_here",
        ),
        ADVANCE,
        "placed = ~settled.silent & ~inland",
        "placed = ~settled.silent & (zone >= 0)",
    ),
    Rule(
        "6a",
        _story(
            _A,
            "test_two_arrivals_in_one_zone_hour_count_once",
            "test_what_repeats_in_a_zone_hour_does_not_use_up_the_bound",
        ),
        ADVANCE,
        'table.unique(maintain_order=True, keep="first")',
        "table",
    ),
    Rule(
        "6b",
        _story(
            _A, "test_only_the_first_two_movements_of_a_direction_count", "test_cancelled_pairs_do_not_use_up_the_bound"
        ),
        ADVANCE,
        'ranked.filter(pl.col("rank") + pl.col("spent") < k)',
        "ranked",
    ),
    Rule(
        "6c",
        _story(_A, "test_one_token_day_adds_at_most_four_to_the_sum_of_squares"),
        ADVANCE,
        "np.add.at(counted, (owners, directions), 1)",
        "pass",
    ),
)
