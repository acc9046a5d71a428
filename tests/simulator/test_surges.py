"""Planted surges."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from geofence.grid import ZoneKind, neighbours
from simulator.surges import SURGE_PLAN, Surge, SurgeSize, place_surges, share_of_surge, surge_movements, surge_truth
from tests.simulator.small_border import small_grid

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)


def placed(seed: int) -> tuple[Surge, ...]:
    return place_surges(small_grid(), neighbours(small_grid()), start=START, end=END, seed=seed)


def test_sizes_are_fixed_before_the_seed_is_drawn() -> None:
    plans = [
        Counter((surge.size, surge.hours, surge.shape, len(surge.zone_ids)) for surge in placed(seed))
        for seed in (1, 2, 3)
    ]
    wanted = Counter((size.size, size.hours, size.shape, size.zones) for size in SURGE_PLAN)
    assert plans == [wanted] * 3


def test_the_seed_decides_where_and_when() -> None:
    assert placed(1) == placed(1)
    assert placed(1) != placed(2)


def test_surges_keep_away_from_crossing_points_and_within_the_span() -> None:
    beside = neighbours(small_grid())
    kind = {zone.zone_id: zone.kind for zone in small_grid().zones}
    for surge in placed(4):
        assert surge.window_start >= START
        assert surge.window_end <= END
        for zone_id in surge.zone_ids:
            assert kind[zone_id] is ZoneKind.BELT
            assert all(kind[other] is ZoneKind.BELT for other in beside[zone_id])
        if len(surge.zone_ids) == 2:
            assert surge.zone_ids[1] in beside[surge.zone_ids[0]]


def test_every_phone_of_a_surge_is_planted_once() -> None:
    zone_ids = [zone.zone_id for zone in small_grid().zones]
    hours = int((END - START).total_seconds() // 3600)
    for surge, planted in zip(placed(5), surge_movements(placed(5), zone_ids, START, hours), strict=True):
        assert surge.by_zone_hour().sum() == surge.size
        assert planted.sum() == surge.size
        seen = share_of_surge(planted, surge.surge_id, {"a": 0.5, "b": 0.3, "c": 0.2}, seed=5)
        assert abs(int(seen.sum()) - surge.size) <= 3 * surge.hours * len(surge.zone_ids)


def test_a_span_too_short_for_the_plan_is_refused() -> None:
    plan = [SurgeSize(100, 4, "ramp")] * 80
    with pytest.raises(ValueError, match="too small"):
        place_surges(
            small_grid(), neighbours(small_grid()), start=START, end=datetime(2026, 1, 2, tzinfo=UTC), seed=1, plan=plan
        )


def test_truth_lists_what_was_planted() -> None:
    surges = placed(6)
    truth = surge_truth(surges)
    assert truth["surge_id"].n_unique() == len(SURGE_PLAN)
    assert truth["size"].to_list() == [surge.size for surge in surges]
