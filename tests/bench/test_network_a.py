"""The plain rules of the bench, from which rules are taken out, are the rules of the oracle while none is."""

import random
from collections import Counter
from pathlib import Path

import pytest

from bench.network_a import SampleRefused, edge_settings, require_the_sample, undelayed
from bench.plain_rules import Cancelling, PlainGround, Rules, booked, in_order
from tests.movement.oracle import ABROAD, HOME, HOME_FROM_ABROAD, MINUTE, OracleGround, counted_cells

ZONES = [0, 0, 1, 2, -1]
GROUND = PlainGround(ZONES, [0, 1, 1, 2, 0], frozenset({1}), frozenset({(0, 1), (2, 3)}))
ORACLE_GROUND = OracleGround(ZONES, {1}, {(0, 1), (2, 3)})


def restless_rows(random_: random.Random) -> list[tuple[int, int, int]]:
    at, rows = 0, []
    for _ in range(random_.randrange(1, 25)):
        side = random_.choice([0, 0, 0, 1, 2, 3, 3, 3, 4])
        rows.append((at, random_.randrange(5) if side < ABROAD else -1, side))
        at += random_.choice([0, 1, 10, 30, 60, 61, 200, 361]) * MINUTE
    return rows


def test_with_every_rule_in_force_the_bench_counts_what_the_oracle_counts():
    for seed in range(3_000):
        rows = restless_rows(random.Random(seed))
        assert booked(in_order(rows), GROUND, Rules()) == counted_cells(rows, ORACLE_GROUND, 2)


@pytest.mark.parametrize(
    "changed",
    [
        {"previous_plmn": False},
        {"cancelling": Cancelling.NONE},
        {"cancelling": Cancelling.ALL},
        {"six_hours": False},
        {"footprint_zones": False},
        {"crossing_points": False},
        {"once_a_zone_hour": False},
        {"k": None},
    ],
    ids=str,
)
def test_every_rule_that_is_taken_out_changes_what_is_counted(changed):
    kept, without = Counter(), Counter()
    for seed in range(300):
        rows = in_order(restless_rows(random.Random(seed)))
        kept.update(booked(rows, GROUND, Rules()))
        without.update(booked(rows, GROUND, Rules(**changed)))
    assert kept != without


def test_a_registration_abroad_that_was_written_after_the_return_is_put_before_it():
    late = [(0, 2, HOME), (60, 2, HOME_FROM_ABROAD), (68, -1, ABROAD), (90, 2, HOME)]
    assert [side for _, _, side in undelayed(in_order(late))] == [HOME, ABROAD, HOME_FROM_ABROAD, HOME]


def test_the_example_settings_start_and_take_their_state_from_the_caller(tmp_path):
    settings = edge_settings(tmp_path / "sample", tmp_path / "edge")
    assert (settings.carrier, settings.replay, settings.marks) == ("network-a", True, None)
    assert (settings.source, settings.state) == (tmp_path / "sample", tmp_path / "edge")
    assert Path(settings.border).is_file()


def test_exact_counts_are_made_of_no_other_feed(tmp_path):
    (tmp_path / "events.parquet").write_bytes(b"a carrier's own")
    with pytest.raises(SampleRefused):
        require_the_sample(tmp_path)
