"""The plain rules of the bench, from which rules are taken out, are the rules of the oracle while none is."""

import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.network_a import TRUTHS, SampleRefused, edge_settings, published, require_the_sample, undelayed
from bench.plain_rules import ARRIVAL, DEPARTURE, Cancelling, PlainGround, Rules, booked, in_order
from bench.radio_and_position import (
    AS_RADIO,
    BEGINS,
    ENDS,
    PAIRS,
    ZONE,
    Copy,
    explain_sums,
    settled,
    shifted,
    tellings,
)
from bench.radio_and_position import HOUR as HOUR_CAUSE
from tests.movement.oracle import ABROAD, HOME, HOME_FROM_ABROAD, MINUTE, OracleGround, counted_cells

ZONES = [0, 0, 1, 2, -1]
GROUND = PlainGround(ZONES, [0, 1, 1, 2, 0], frozenset({1}), frozenset({(0, 1), (2, 3)}))
ORACLE_GROUND = OracleGround(ZONES, {1}, {(0, 1), (2, 3)})


def restless_rows(random_: random.Random) -> list[tuple[int, int, int]]:
    at, rows = 0, []
    for _ in range(random_.randrange(1, 25)):
        side = random_.choice([0, 0, 0, 1, 2, 3, 3, 3, 4])
        rows.append((at, random_.randrange(5) if side < ABROAD else -1, side))
        at += random_.choice([0, 30_000, MINUTE, *(m * MINUTE for m in (5, 10, 30, 60, 61, 200, 361))])
    return rows


def test_with_every_rule_in_force_the_bench_counts_what_the_oracle_counts():
    for seed in range(3_000):
        rows = restless_rows(random.Random(seed))
        assert booked(in_order(rows), GROUND, Rules()) == counted_cells(rows, ORACLE_GROUND, 2)


@pytest.mark.parametrize(
    "changed",
    [
        {"late_registrations": False},
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
    for seed in range(1_000):
        rows = in_order(restless_rows(random.Random(seed)))
        kept.update(booked(rows, GROUND, Rules()))
        without.update(booked(rows, GROUND, Rules(**changed)))
    assert kept != without


def test_a_registration_abroad_that_was_written_after_the_return_is_put_before_it():
    late = [(0, 2, HOME), (60, 2, HOME_FROM_ABROAD), (68, -1, ABROAD), (90, 2, HOME)]
    assert [side for _, _, side in undelayed(in_order(late))] == [HOME, ABROAD, HOME_FROM_ABROAD, HOME]


def walk(*changes, copies=4, first_zone=0, last_zone=0):
    """A walk whose copies begin two minutes apart: (minute, direction, zone)."""
    return tuple(
        Copy(
            tuple((round((at + 2 * shift) * MINUTE), direction, zone) for at, direction, zone in changes),
            2 * shift * MINUTE,
            round((240 + 2 * shift) * MINUTE),
            first_zone,
            last_zone,
        )
        for shift in range(copies)
    )


def truth_of(*walks):
    return Counter(
        (at // 3_600_000 * 3_600_000, zone, direction)
        for one in walks
        for copy in one
        for at, direction, zone in settled(copy.changes)
    )


def explained(walks, truth):
    return explain_sums([tellings(one, {0: [1], 1: [0]}) for one in walks], truth)


def test_walks_that_are_told_alike_need_no_cause():
    seen = [walk((30, DEPARTURE, 0)), walk((90, ARRIVAL, 1), first_zone=None)]
    found = explained(seen, truth_of(*seen))
    assert (found.walks[AS_RADIO], found.left) == (2, 0)


@pytest.mark.parametrize(
    ("seen", "true", "cause"),
    [
        (walk((62, DEPARTURE, 0)), walk((58, DEPARTURE, 0)), HOUR_CAUSE),
        (walk((10, DEPARTURE, 0), (69, ARRIVAL, 0)), walk((8, DEPARTURE, 0), (71, ARRIVAL, 0)), PAIRS),
        (walk((30, DEPARTURE, 0)), walk((30, DEPARTURE, 1)), ZONE),
        (walk((130, DEPARTURE, 0)), walk((2, ARRIVAL, 0), (130, DEPARTURE, 0), first_zone=None), BEGINS),
        (walk((30, DEPARTURE, 0), last_zone=None), walk((30, DEPARTURE, 0), (235, ARRIVAL, 0)), ENDS),
    ],
)
def test_a_walk_that_is_told_otherwise_is_told_so_by_its_cause(seen, true, cause):
    found = explained([seen], truth_of(true))
    assert found.walks == Counter({cause: 1})
    assert found.left == 0
    assert sum(abs(n) for n in found.parts[cause].values()) > 0


def test_what_no_telling_within_the_limits_brings_about_is_left_over():
    elsewhere = truth_of(walk((30, DEPARTURE, 7)))
    found = explained([walk((30, DEPARTURE, 0))], elsewhere)
    assert {cell: -n for cell, n in found.left_over.items() if n < 0} == elsewhere


def test_two_changes_that_meet_are_none():
    assert shifted([(0, DEPARTURE, 0), (60_000, ARRIVAL, 0)], -60_000, 0) == []


def test_only_zone_hours_are_laid_beside_the_truth_of_zone_hours():
    start = datetime(2026, 3, 2, 6, tzinfo=UTC)
    counts = [{"zone_id": "gate-mid", "direction": "arrival", "value": value} for value in (73, None)]
    day = [{"sector_id": "east", "kind": "belt", "direction": "arrival", "value": 900}]
    hour, whole = (
        SimpleNamespace(window_start=start, document={"level": level, "mechanism": {"sigma": 9.45}, "counts": said})
        for level, said in (("zone-hour", counts), ("sector-day", day))
    )
    (cell,) = published([hour, whole], {name: {("2026-03-02T06:00:00Z", "gate-mid", "arrival"): 70} for name in TRUTHS})
    assert (cell.released, cell.counted_k2) == (73, 70)


def test_the_example_settings_start_and_take_their_state_from_the_caller(tmp_path):
    settings = edge_settings(tmp_path / "sample", tmp_path / "edge")
    assert (settings.carrier, settings.replay, settings.marks) == ("network-a", True, None)
    assert (settings.source, settings.state) == (tmp_path / "sample", tmp_path / "edge")
    assert Path(settings.border).is_file()


def test_exact_counts_are_made_of_no_other_feed(tmp_path):
    (tmp_path / "events.parquet").write_bytes(b"a carrier's own")
    with pytest.raises(SampleRefused):
        require_the_sample(tmp_path)
