"""Mutation proofs: take a guard out of a copy of the code, and a named test fails.

Every guard that keeps a promise of design.md, sections 1 and 6, stands here. A mutation is a text that occurs exactly
once; when code moves, this file says so.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("ingest", "geofence", "movement", "privacy", "detector", "api", "jobs", "simulator", "tests")


@dataclass(frozen=True)
class Mutation:
    guard: str
    file: str
    text: str
    instead: str
    test: str


MUTATIONS = [
    Mutation(
        "the contribution bound",
        "movement/advance.py",
        'ranked.filter(pl.col("rank") + pl.col("spent") < k)',
        "ranked",
        "tests/movement/test_advance.py::test_only_the_first_two_movements_of_a_direction_count",
    ),
    Mutation(
        "one movement a zone-hour and direction",
        "movement/advance.py",
        'table.unique(maintain_order=True, keep="first")',
        "table",
        "tests/movement/test_advance.py::test_two_arrivals_in_one_zone_hour_count_once",
    ),
    Mutation(
        "the counters in the carry-over",
        "movement/advance.py",
        "np.add.at(counted, (owners, directions), 1)",
        "pass",
        "tests/movement/test_advance.py::test_only_the_first_two_movements_of_a_direction_count",
    ),
    Mutation(
        "the flip rule",
        "movement/advance.py",
        "at[i] - at[j] <= FLIP_MS:",
        "False:",
        "tests/movement/test_advance.py::test_a_flip_back_within_the_hour_is_not_two_movements",
    ),
    Mutation(
        "the threshold",
        "privacy/suppression.py",
        "return noisy if noisy >= threshold else None",
        "return noisy",
        "tests/privacy/test_ledger.py::test_what_is_published_is_the_noisy_draw_above_the_threshold",
    ),
    Mutation(
        "the ledger's memory of a window",
        "privacy/ledger.py",
        "            if stored is not None:\n                return stored\n"
        "            day = self._may_speak(day_start, lineage, noise)\n            newest",
        "            day = self._may_speak(day_start, lineage, noise)\n            newest",
        "tests/privacy/test_ledger.py::test_a_window_is_drawn_once_and_read_again_ever_after",
    ),
    Mutation(
        "the order of windows",
        "privacy/ledger.py",
        "window_start <= newest:",
        "False:",
        "tests/privacy/test_ledger.py::test_windows_are_released_in_order",
    ),
    Mutation(
        "the lineage of a token-day",
        "privacy/ledger.py",
        "if day.lineage != lineage:",
        "if False:",
        "tests/privacy/test_ledger.py::test_another_lineage_may_not_speak",
    ),
    Mutation(
        "token-days that do not overlap",
        "privacy/ledger.py",
        "self._refuse_overlap(day_start)",
        "pass",
        "tests/privacy/test_ledger.py::test_token_days_do_not_overlap",
    ),
    Mutation(
        "a ledger's first whole token-day",
        "privacy/ledger.py",
        "first = token_day_start(now, turn_hour_utc) + HOUR * HOURS_IN_DAY",
        "first = token_day_start(now, turn_hour_utc)",
        "tests/privacy/test_ledger.py::test_a_ledger_speaks_from_its_first_whole_token_day_on",
    ),
    Mutation(
        "who lands inland",
        "movement/advance.py",
        "placed = ~settled.silent & ~inland",
        "placed = ~settled.silent & (zone >= 0)",
        "tests/movement/test_advance.py::test_a_crossing_point_does_not_vouch_for_who_lands_inland",
    ),
    Mutation(
        "the budget",
        "privacy/ledger.py",
        "if cost > granted:",
        "if False:",
        "tests/privacy/test_ledger.py::test_a_dearer_mechanism_than_the_budget_is_refused_before_it_draws",
    ),
    Mutation(
        "the mechanism's own check",
        "privacy/mechanism.py",
        "if cost > granted:",
        "if False:",
        "tests/privacy/test_mechanism.py::test_nothing_is_drawn_beyond_the_budget",
    ),
    Mutation(
        "the floor of the policy",
        "privacy/policy.py",
        "if not kept:",
        "if False:",
        "tests/privacy/test_mechanism.py::test_a_weaker_policy_does_not_start_and_names_the_setting",
    ),
    Mutation(
        "the lateness rule",
        "ingest/attachment.py",
        "if ingest_time - event_time > LATENESS:",
        "if False:",
        "tests/ingest/test_attachment.py::test_a_row_that_breaks_a_rule_is_refused_by_that_rule",
    ),
    Mutation(
        "identity look-alikes",
        "ingest/attachment.py",
        "if value is not None and _IDENTITY.search(value):",
        "if False:",
        "tests/ingest/test_attachment.py::test_a_row_that_breaks_a_rule_is_refused_by_that_rule",
    ),
    Mutation(
        "the lateness rule at the door",
        "ingest/door.py",
        "verdict[ingest_time - event_time > LATENESS // _US] = _LATE",
        "pass",
        "tests/ingest/test_door.py::test_the_fifteen_minutes_are_exact_to_the_microsecond",
    ),
    Mutation(
        "identity look-alikes at the door",
        "ingest/door.py",
        "verdicts[identity] = _IDENTITY_LIKE",
        "pass",
        "tests/ingest/test_door.py::test_every_odd_parquet_row_gets_one_verdict",
    ),
    Mutation(
        "a day that is gone at the door",
        "ingest/door.py",
        "verdict[event_time < to_microseconds(admission.not_before)] = _DAY_GONE",
        "pass",
        "tests/ingest/test_door.py::test_a_live_door_knows_the_time_and_which_day_is_gone",
    ),
    Mutation(
        "what stands around the values of a line",
        "ingest/shape.py",
        "fits &= same.all(axis=1)",
        "pass",
        "tests/ingest/test_lines.py::test_what_is_no_line_of_the_contract_is_refused_by_its_layout_among_usual_lines",
    ),
    Mutation(
        "a cell's validity",
        "movement/sight_rows.py",
        "(self._from[row] <= at) & (at < self._to[row])",
        "True",
        "tests/movement/test_sight_rows.py::test_a_cell_is_the_one_that_is_valid_at_the_event",
    ),
    Mutation(
        "the ledger's memory of a token-day",
        "privacy/ledger.py",
        "            if stored is not None:\n                return stored\n"
        "            day = self._may_speak(day_start, lineage, noise)\n            cells",
        "            day = self._may_speak(day_start, lineage, noise)\n            cells",
        "tests/privacy/test_day.py::test_a_day_is_drawn_once_and_read_again_ever_after",
    ),
    Mutation(
        "the last hour before the token-day",
        "privacy/ledger.py",
        "if newest is None or newest < whole[-1]:",
        "if False:",
        "tests/privacy/test_day.py::test_a_day_is_said_after_its_last_hour_and_not_before",
    ),
    Mutation(
        "a ledger older than what has left",
        "privacy/ledger.py",
        "if self._has_left(level, window) and self._stored(level, window) is None:",
        "if False:",
        "tests/privacy/test_ledger.py::test_a_ledger_older_than_what_has_left_closes_the_day_instead_of_drawing_again",
    ),
    Mutation(
        "a policy that waits for the turn",
        "privacy/ledger.py",
        "row[2:6] != fixed[:4] or",
        "",
        "tests/privacy/test_ledger.py::test_grid_plan_and_policy_wait_for_the_turn",
    ),
    Mutation(
        "a new ledger's first token-day",
        "privacy/ledger.py",
        "self._refuse_before_the_beginning(day)",
        "pass",
        "tests/privacy/test_ledger.py::test_a_new_ledger_does_not_open_a_day_that_an_earlier_one_may_have_spoken_of",
    ),
    Mutation(
        "the threshold of the day levels",
        "privacy/draw.py",
        "suppress(estimate.value, threshold)",
        "estimate.value",
        "tests/privacy/test_day.py::test_without_noise_a_day_says_the_sums_of_its_hours",
    ),
    Mutation(
        "how far a device moves a token-day",
        "privacy/policy.py",
        "else math.sqrt(2) * self.k",
        "else math.sqrt(2 * self.k)",
        "tests/privacy/test_policy.py::test_a_device_moves_a_day_level_further_than_the_hours",
    ),
    Mutation(
        "sizes that tell nothing",
        "ingest/release.py",
        '"pad": "0" * sum(room)',
        '"pad": ""',
        "tests/privacy/test_ledger.py::test_all_releases_of_a_grid_and_level_have_one_length",
    ),
    Mutation(
        "the chain of public facts",
        "privacy/public.py",
        "if digest_of(entry.document) != entry.digest or link_of(previous, entry.digest) != entry.link:",
        "if False:",
        "tests/privacy/test_public.py::test_a_changed_entry_breaks_the_chain_from_there_on",
    ),
    Mutation(
        "the charge of the noise",
        "privacy/public.py",
        "if not 0 <= rho - own <= _ROUNDED_UP:",
        "if False:",
        "tests/privacy/test_public.py::test_a_chain_that_is_sound_but_says_what_may_not_be_is_found_out",
    ),
    Mutation(
        "zone-hours that are never expanded",
        "detector/expand.py",
        "any(count.level is Level.ZONE_HOUR for count in spoken) or ",
        "",
        "tests/detector/test_expand.py::test_what_does_not_go_together_is_refused",
    ),
    Mutation(
        "a null that is censored",
        "detector/expand.py",
        "ceiling += by * count.threshold",
        "pass",
        "tests/detector/test_expand.py::test_a_null_is_censored_and_not_nought",
    ),
    Mutation(
        "the closed schema of a release",
        "ingest/release.py",
        'ConfigDict(extra="forbid"',
        'ConfigDict(extra="ignore"',
        "tests/ingest/test_release.py::test_no_part_of_a_release_has_room_for_a_device",
    ),
    Mutation(
        "the floor of flags",
        "detector/flag.py",
        "np.asarray(excess >= excess_floor(combined_sd))",
        "np.asarray(excess >= 0)",
        "tests/detector/test_flag.py::test_no_excess_below_sixty_is_flagged_however_improbable",
    ),
    Mutation(
        "one word on a window at the centre",
        "api/store.py",
        'return Stored("other_digest", first.digest, first.received_at)',
        'return Stored("same_digest", first.digest, first.received_at)',
        "tests/api/test_intake.py::test_a_second_word_on_a_window_is_refused_and_the_first_stays",
    ),
    Mutation(
        "one carry-over and no other",
        "jobs/tables.py",
        "if left.digest != digest:",
        "if False:",
        "tests/jobs/test_close.py::test_no_damage_to_a_carry_over_is_taken_for_one",
    ),
    Mutation(
        "the content of a carry-over",
        "jobs/closing.py",
        "if leaf_digests(memories, mine) != {byte: order.leaves[byte] for byte in mine}:",
        "if False:",
        "tests/jobs/test_close.py::test_a_carry_over_that_is_sealed_well_but_is_another_one_is_rebuilt",
    ),
    Mutation(
        "the key before the tables",
        "jobs/tables.py",
        "        shred_key(self.root, day_start)\n",
        "",
        "tests/jobs/test_tables.py::test_a_day_is_deleted_key_first",
    ),
    Mutation(
        "a key that is overwritten",
        "jobs/keys.py",
        "        _write(path, bytes(KEY_BYTES))\n",
        "",
        "tests/jobs/test_tables.py::test_a_shredded_key_is_overwritten_where_it_lay",
    ),
    Mutation(
        "sealed files",
        "jobs/sealed.py",
        "encryption_properties=pe.create_encryption_properties(_file_key(day_key, salt)),",
        "",
        "tests/jobs/test_tables.py::test_a_sealed_file_says_nothing_without_its_key",
    ),
    Mutation(
        "files as they were recorded",
        "jobs/tables.py",
        "return path.is_file() and file_digest(path) == file.digest",
        "return path.is_file()",
        "tests/jobs/test_tables.py::test_no_changed_byte_of_a_sealed_file_is_read_as_a_row",
    ),
    Mutation(
        "a damaged file is refused whole",
        "jobs/sight.py",
        "        if not broken:\n            break",
        "        if True:\n            break",
        "tests/jobs/test_sight.py::test_nothing_of_a_damaged_file_counts_also_where_its_other_pieces_are_sound",
    ),
    Mutation(
        "what refused files may have held",
        "jobs/sight.py",
        'record = {\n        "inputs"',
        'lost = []\n    record = {\n        "inputs"',
        "tests/jobs/test_sight.py::test_a_lonely_file_of_a_replay_may_have_held_anything_at_all",
    ),
    Mutation(
        "rows of a deleted day at the door",
        "jobs/edge.py",
        "Admission(now, token_day_start(now - DELETE_AFTER, turn))",
        "Admission(now, _START_OF_TIME)",
        "tests/jobs/test_sight.py::test_rows_of_a_token_day_that_is_to_be_deleted_are_not_taken_in",
    ),
    Mutation(
        "manifests that go with their day",
        "jobs/edge.py",
        "    edge.ledger.forget_manifests(day)\n",
        "",
        "tests/jobs/test_turns.py::test_what_the_ledger_and_the_grounds_hold_of_a_day_goes_when_they_can_be_read_again",
    ),
    Mutation(
        "deletion before everything else",
        "jobs/turns.py",
        "        _delete(settings, folder)\n        tell(",
        "        tell(",
        "tests/jobs/test_turns.py::test_a_damaged_ledger_stands_in_the_way_of_no_deletion",
    ),
    Mutation(
        "what has left an outbox that was collected",
        "jobs/edge.py",
        "in left or any(there.exists() for there in kept)",
        "in left or path.exists()",
        "tests/jobs/test_close.py::test_a_restored_ledger_does_not_draw_again_when_the_outbox_was_collected",
    ),
    Mutation(
        "a ledger that lacks a closed hour",
        "jobs/close.py",
        "        _refuse_ledger_behind(edge, day)\n",
        "",
        "tests/jobs/test_close.py::test_a_restored_ledger_does_not_draw_again_when_the_outbox_was_collected",
    ),
    Mutation(
        "rows that missed their hour",
        "jobs/sight.py",
        "return sorted({*lost, *missed})",
        "return list(lost)",
        "tests/jobs/test_sight.py::test_rows_that_come_after_their_hour_was_closed_make_it_incomplete",
    ),
    Mutation(
        "a file under a name that was read",
        "jobs/sight.py",
        "    return [path for path, read in known if",
        "    return [path for path, read in known if False and",
        "tests/jobs/test_sight.py::test_a_file_that_is_there_again_as_another_one_stops_the_edge",
    ),
    Mutation(
        "a shortage of memory is no damage",
        "jobs/sealed.py",
        "_OF_THE_MACHINE = (MemoryError, pa.ArrowCancelled)",
        "_OF_THE_MACHINE = ()",
        "tests/jobs/test_tables.py::test_a_shortage_of_memory_is_no_damage",
    ),
    Mutation(
        "the ground of a token-day",
        "jobs/grounds.py",
        "    if day_start in pins:\n        return pins[day_start]",
        "",
        "tests/jobs/test_token_day.py::test_other_networks_and_a_stricter_policy_wait_for_the_turn",
    ),
    Mutation(
        "the hour's frozen files",
        "jobs/close.py",
        "frozen = edge.ledger.freeze(day, hour, manifest)",
        "frozen = manifest",
        "tests/jobs/test_close.py::test_a_file_that_lands_after_the_freeze_is_ignored_and_counted",
    ),
    Mutation(
        "the stop switch",
        "jobs/stop.py",
        "    if stop_in_force(root) is not None:",
        "    if False:",
        "tests/jobs/test_stop.py::test_with_the_switch_on_nothing_is_drawn_and_no_file_appears",
    ),
    Mutation(
        "the stop switch before a draw",
        "jobs/close.py",
        "with leave_to_speak(edge.folder.root):\n            return edge.ledger.release(",
        "if True:\n            return edge.ledger.release(",
        "tests/jobs/test_stop.py::test_a_stop_that_comes_while_an_hour_is_being_closed_still_comes_first",
    ),
    Mutation(
        "the stop switch before a release leaves",
        "jobs/edge.py",
        "with leave_to_speak(edge.folder.root):",
        "if True:",
        "tests/jobs/test_stop.py::test_each_way_to_speak_asks_the_switch_for_itself",
    ),
    Mutation(
        "element alarms",
        "ingest/feed.py",
        "Doubt.ALARM: window_start in watch.touched,",
        "Doubt.ALARM: False,",
        "tests/ingest/test_alarms.py::test_each_doubt_alone_makes_a_window_incomplete",
    ),
    Mutation(
        "a line of the alarm feed that cannot be read",
        "ingest/feed.py",
        "Doubt.UNREAD_ALARM: watch.alarm_unread,",
        "Doubt.UNREAD_ALARM: False,",
        "tests/ingest/test_alarms.py::test_each_doubt_alone_makes_a_window_incomplete",
    ),
    Mutation(
        "ground by the line that an outage leaves bare",
        "jobs/watch.py",
        "| bare_hours(located, read_cover(at), feed.alarms, [window_start]),",
        ",",
        "tests/jobs/test_degraded.py::test_a_lone_mast_by_the_line_makes_its_hours_incomplete_however_few_of_the_cells_it_is",
    ),
    Mutation(
        "every row accounted for",
        "jobs/equations.py",
        'left[row["source"], row["hour"]] -= row["rows"]',
        'left[row["source"], row["hour"]] = 0',
        "tests/jobs/test_status.py::test_every_row_that_was_received_has_one_fate_in_its_hour_and_source",
    ),
    Mutation(
        "no column slips in beside those that are mapped",
        "ingest/columns.py",
        "if not kinds.keys() <= {*layout.columns, *layout.ignore}:",
        "if False:",
        "tests/ingest/test_feeds.py::test_a_trap_in_the_layout_has_its_own_reason",
    ),
    Mutation(
        "identities cannot be ignored",
        "ingest/columns.py",
        "if any(identity in _letters(column) for column in self.ignore for identity in _IDENTITIES):",
        "if False:",
        "tests/ingest/test_columns.py::test_a_map_that_does_not_say_where_everything_is_does_not_start",
    ),
    Mutation(
        "the schema of a message is judged",
        "ingest/avro_messages.py",
        "refusal = misfit(schema.kinds, self._columns, timed=False)",
        "refusal = None",
        "tests/ingest/test_registry.py::test_a_schema_with_an_identity_refuses_its_messages",
    ),
    Mutation(
        "a message is read to its last byte",
        "ingest/avro_columns.py",
        "sound &= at == end",
        "pass",
        "tests/ingest/test_feeds.py::test_a_broken_message_spoils_no_other",
    ),
    Mutation(
        "a registry that is down refuses no row",
        "ingest/kafka.py",
        "if refused.http_status_code == 404:",
        "if True:",
        "tests/ingest/test_registry.py::test_a_registry_that_does_not_say_stops_the_reader_and_refuses_nothing",
    ),
    Mutation(
        "who opted out gets no token",
        "ingest/tokenise.py",
        "if reason := left_out.reason(subscriber):",
        "if False:",
        "tests/ingest/test_tokens_made.py::test_who_opted_out_and_what_is_a_machine_never_appears",
    ),
    Mutation(
        "a list that cannot be read stops the token tool",
        "ingest/tokenise.py",
        '            raise ListRefused(f"line',
        '            ListRefused(f"line',
        "tests/ingest/test_tokens_made.py::test_a_list_with_a_line_that_is_no_subscriber_is_refused_without_repeating_it",
    ),
    Mutation(
        "the key of a day is its owner's alone",
        "ingest/day_keys.py",
        "found.st_mode & 0o077",
        "False",
        "tests/ingest/test_tokens_made.py::test_a_key_is_its_owners_alone",
    ),
    Mutation(
        "the key of a day goes with its day",
        "ingest/day_keys.py",
        "        _shred(path)",
        "        pass",
        "tests/ingest/test_tokens_made.py::test_keys_are_made_ahead_and_deleted_when_their_day_cannot_come_back",
    ),
    Mutation(
        "the scrubber",
        "jobs/scrub.py",
        'return _PATTERN.sub(lambda found: found["kept"] or GONE, text)',
        "return text",
        "tests/jobs/test_scrub.py::test_a_token_never_passes_whatever_stands_around_it",
    ),
    Mutation(
        "the silence about foreign faults",
        "jobs/scrub.py",
        "    if is_own(fault):\n",
        "    if True:\n",
        "tests/jobs/test_scrub.py::test_a_foreign_fault_is_told_by_kind_and_place_and_never_by_its_words",
    ),
    Mutation(
        "the fixed list of an operating system's words",
        "jobs/scrub.py",
        "fault.strerror == os.strerror(fault.errno):",
        "fault.strerror:",
        "tests/jobs/test_scrub.py::test_words_that_somebody_gives_to_an_operating_system_fault_are_not_told",
    ),
    Mutation(
        "a task that tells nothing of what it held",
        "jobs/scrub.py",
        "words = told(fault)",
        "words = str(fault)",
        "tests/jobs/test_scrub.py::test_a_task_fails_without_telling_what_it_held",
    ),
    Mutation(
        "the floor of the day levels at the centre",
        "api/intake.py",
        "mechanism.threshold < floor.threshold_at(level)",
        "mechanism.threshold < floor.threshold",
        "tests/api/test_day_levels.py::test_a_day_mechanism_weaker_than_the_policy_is_refused",
    ),
    Mutation(
        "what a day's own noise costs",
        "api/intake.py",
        "square_l2 = 2 * mechanism.k if level is Level.ZONE_HOUR else 2 * mechanism.k**2",
        "square_l2 = 2 * mechanism.k",
        "tests/api/test_day_levels.py::test_a_day_costs_what_its_own_noise_costs",
    ),
    Mutation(
        "a level's share of the day's budget",
        "api/intake.py",
        "mechanism.rho_level > share + _ROUNDING",
        "mechanism.rho_level > mechanism.rho_day",
        "tests/api/test_day_levels.py::test_a_day_mechanism_weaker_than_the_policy_is_refused",
    ),
    Mutation(
        "the public record of a policy change",
        "api/routes/ledger.py",
        'last["policy_id"] == policy_id and _agree(last, said, levels)',
        "True",
        "tests/api/test_ledger.py::test_a_change_of_policy_is_a_public_record",
    ),
    Mutation(
        "what Kafka deleted unread",
        "jobs/kafka_gap.py",
        "if ends.get(partition, 0) < there.oldest",
        "if False",
        "tests/jobs/test_kafka_gap.py::test_records_deleted_unread_are_named_with_the_command_that_records_them",
    ),
    Mutation(
        "a topic that was made again",
        "jobs/kafka_gap.py",
        "return bool(read.topic_ids) and topic.topic_id not in read.topic_ids",
        "return False",
        "tests/jobs/test_kafka_gap.py::test_a_topic_that_was_made_again_is_named_with_the_command",
    ),
    Mutation(
        "a batch that follows what was read",
        "jobs/kafka_source.py",
        "entry.start != end",
        "False",
        "tests/kafka/test_source.py::test_a_batch_that_does_not_follow_what_was_read_is_refused",
    ),
    Mutation(
        "the record's time",
        "jobs/kafka_source.py",
        ".with_columns(ingest_time=records.times.cast(INSTANT))",
        "",
        "tests/kafka/test_source.py::test_a_line_longer_than_the_contract_allows_is_refused_by_its_length_and_a_time_that_nobody_set_is_none",
    ),
    Mutation(
        "secrets that a settings file must not hold",
        "jobs/kafka_settings.py",
        "if _SECRET.search(name)",
        "if False",
        "tests/jobs/test_kafka_settings.py::test_a_secret_in_a_settings_file_is_found_by_its_name_however_it_is_nested",
    ),
    Mutation(
        "a footprint that goes on behind the line",
        "geofence/locate.py",
        "np.where(lies.region == abroad, model.side_weight, 1.0) * fraction",
        "np.where(lies.region == abroad, 0.0, 1.0) * fraction",
        "tests/geofence/test_locate.py::test_no_footprint_ends_at_the_line_and_a_far_one_reaches_far_over_it",
    ),
    Mutation(
        "unknown cells named without a count",
        "jobs/unknown_cells.py",
        "pl.concat([found, _not_known(rows, plan)]).unique()",
        "pl.concat([found, _not_known(rows, plan)])",
        "tests/jobs/test_unknown_cells.py::test_keys_are_named_once_whoever_and_however_many_named_them",
    ),
    Mutation(
        "a plan that was cut short",
        "geofence/cell_plan.py",
        'if last != b"\\n":',
        "if False:",
        "tests/geofence/test_bad_plans.py::test_each_bad_plan_is_refused_by_its_rule_without_echo",
    ),
    Mutation(
        "a property of its own on a zone",
        "geofence/grid.py",
        "if not properties.keys() <= ZONE_PROPERTIES | ORIGIN_PROPERTIES:",
        "if False:",
        "tests/geofence/test_bad_zones.py::test_a_bad_zone_file_is_refused_by_its_rule_and_nothing_of_it_is_told",
    ),
    Mutation(
        "zones drawn in the other country",
        "geofence/check.py",
        "    if wrong:\n",
        "    if False:\n",
        "tests/geofence/test_bad_zones.py::test_a_bad_zone_file_is_refused_by_its_rule_and_nothing_of_it_is_told",
    ),
]


def copied(folder):
    """A copy of the code in a folder, to take guards out of."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "vendor"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return copied(tmp_path_factory.mktemp("mutant"))


def outcome(folder, test):
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-p", "no:cacheprovider", test]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def without_guard(copy, mutation):
    """What the named test says when the guard is taken out of the copy; the copy is sound again afterwards."""
    path = copy / mutation.file
    sound = path.read_text(encoding="utf-8")
    assert sound.count(mutation.text) == 1, f"{mutation.guard}: the text of this guard has moved"
    path.write_text(sound.replace(mutation.text, mutation.instead), encoding="utf-8")
    try:
        return outcome(copy, mutation.test)
    finally:
        path.write_text(sound, encoding="utf-8")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.guard.replace(" ", "-"))
def test_without_its_guard_a_named_test_fails(copy, mutation):
    result = without_guard(copy, mutation)
    assert result.returncode == 1, result.stdout[-2000:] + result.stderr[-500:]
    assert "failed" in result.stdout


def test_the_seven_guards_of_the_promise_are_all_here():
    from tests.guards import SEVEN, chosen

    assert {name for name, _ in chosen()} == set(SEVEN)


def test_the_named_tests_pass_on_the_sound_copy(copy):
    tests = sorted({mutation.test for mutation in MUTATIONS})
    command = [sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    result = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:]
