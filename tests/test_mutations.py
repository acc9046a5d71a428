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
        "at[i] - at[j] <= FLIP_MS and same_place",
        "False",
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
        "            if stored is not None:\n                return stored\n            grid_id",
        "            grid_id",
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
        "if row[0] != lineage:",
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
        "if self.rho > self.policy.rho_level:",
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
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mutant")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "vendor"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def outcome(folder, test):
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-p", "no:cacheprovider", test]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.guard.replace(" ", "-"))
def test_without_its_guard_a_named_test_fails(copy, mutation):
    path = copy / mutation.file
    sound = path.read_text(encoding="utf-8")
    assert sound.count(mutation.text) == 1, f"{mutation.guard}: the text of this guard has moved"
    path.write_text(sound.replace(mutation.text, mutation.instead), encoding="utf-8")
    try:
        result = outcome(copy, mutation.test)
    finally:
        path.write_text(sound, encoding="utf-8")
    assert result.returncode == 1, result.stdout[-2000:] + result.stderr[-500:]
    assert "failed" in result.stdout


def test_the_named_tests_pass_on_the_sound_copy(copy):
    tests = sorted({mutation.test for mutation in MUTATIONS})
    command = [sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    result = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:]
