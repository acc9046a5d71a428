"""Two versions of a zone grid: what came, what went, what changed, and when it takes effect."""

import pytest

from geofence.diff import diff_grids
from geofence.grid import GridError

from .builders import box, feature, grid

LATER = {"valid_from": "2026-03-02T02:00:00Z"}


def test_a_grid_and_itself_do_not_differ() -> None:
    diff = diff_grids(grid(), grid())
    assert (diff.added, diff.removed, diff.changed, diff.unchanged, diff.moved_km2) == ((), (), (), 2, 0.0)


def test_a_moved_edge_is_told_as_ground_gained_and_lost() -> None:
    after = grid(feature("south", box(-10, 0, 0, 14)), feature("north", box(-10, 14, 0, 24)), **LATER)
    diff = diff_grids(grid(), after)
    north, south = diff.changed
    assert (north.zone_id, north.changed, north.gained_km2) == ("north", ("geometry",), 0.0)
    assert south.lost_km2 == 0.0
    assert south.gained_km2 == pytest.approx(20, rel=0.01) == north.lost_km2 == diff.moved_km2
    assert diff.takes_effect == "2026-03-02T02:00:00Z"


def test_a_zone_that_came_and_one_that_went_are_named() -> None:
    after = grid(feature("south", box(-10, 0, 0, 12)), feature("far-north", box(-10, 12, 0, 24)), **LATER)
    diff = diff_grids(grid(), after)
    assert (diff.added, diff.removed, diff.unchanged) == (("far-north",), ("north",), 1)
    assert diff.moved_km2 == pytest.approx(120, rel=0.01)


def test_a_name_or_sector_that_changed_is_named() -> None:
    after = grid(
        feature("south", box(-10, 0, 0, 12), name="By the river"),
        feature("north", box(-10, 12, 0, 24), sector_id="west"),
        **LATER,
    )
    assert [(zone.zone_id, zone.changed) for zone in diff_grids(grid(), after).changed] == [
        ("north", ("sector_id",)),
        ("south", ("name",)),
    ]


def test_the_later_grid_must_be_later_and_turn_at_the_same_hour() -> None:
    other = feature("south", box(-10, 0, 0, 13))
    with pytest.raises(GridError, match="valid from a later token-day"):
        diff_grids(grid(), grid(other))
    with pytest.raises(GridError, match="at the same hour"):
        diff_grids(grid(), grid(other, turn_hour_utc=3, valid_from="2026-03-02T03:00:00Z"))
