"""Ground by the line: which cells reach it, and what is bare when some of them are silent."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geofence.cover import MAY_SERVE, TILE_M, Cover
from geofence.locate import locate_cells

from .builders import LINE, box, cell, feature, grid, plan

TILE_KM2 = TILE_M**2 / 1e6


def cover(*rows: dict[str, object]) -> Cover:
    """The cover of cells whose ids sort as they are given."""
    named = [{**row, "cell_id": f"{number:07x}"} for number, row in enumerate(rows, start=1)]
    zones = grid(feature("whole", box(-10, 0, 0, 24)))
    return locate_cells(plan(*named), zones, LINE).cover


def bare_km2(ground: Cover, *silent: int) -> float:
    on_air = [number for number in range(len(ground.cells)) if number not in silent]
    return ground.bare_km2(np.array(silent, dtype=np.int64), np.array(on_air, dtype=np.int64)).get(0, 0.0)


def test_a_cell_alone_leaves_bare_what_it_may_have_served() -> None:
    ground = cover(cell(east_km=-3.0, north_km=12.0, range_m=1_500.0))
    assert bare_km2(ground, 0) == pytest.approx(math.pi * (1.5 * MAY_SERVE) ** 2, rel=0.1)


def test_of_two_cells_that_cover_the_same_ground_one_may_be_out() -> None:
    here, beside = (cell(east_km=east, north_km=12.0, range_m=3_000.0) for east in (-3.0, -3.1))
    wide = cell(east_km=-3.0, north_km=12.0, range_m=4_000.0)
    assert not cover(here, wide).is_bare(np.array([0]), np.array([1]))
    assert cover(here, wide).is_bare(np.array([0, 1]), np.array([], dtype=np.int64))
    assert 0 < bare_km2(cover(here, beside), 0) < bare_km2(cover(here), 0) / 3


def test_a_beam_that_looks_away_covers_nothing_but_the_ground_behind_its_mast() -> None:
    lone = cell(east_km=-2.0, north_km=12.0, range_m=1_500.0)
    beam = {"east_km": -5.9, "north_km": 12.0, "range_m": 6_000.0, "beamwidth_deg": 65}
    facing, away = (cell(**beam, azimuth_deg=azimuth) for azimuth in (90, 270))
    assert bare_km2(cover(lone, away), 0) > 0.9 * bare_km2(cover(lone), 0)
    assert bare_km2(cover(lone, facing), 0) < 0.1 * bare_km2(cover(lone), 0)


def test_all_round_covers_more_than_the_same_range_with_a_beam() -> None:
    lone = cell(east_km=-3.0, north_km=12.0, range_m=2_000.0)
    north = cell(east_km=-3.0, north_km=12.0, range_m=3_000.0, azimuth_deg=0, beamwidth_deg=65)
    half = bare_km2(cover(lone, north), 0) / bare_km2(cover(lone), 0)
    assert 0.3 < half < 0.8
    assert bare_km2(cover(lone, cell(east_km=-3.0, north_km=12.0, range_m=3_000.0)), 0) == 0.0


def test_ground_far_from_the_line_and_ground_abroad_are_not_looked_at() -> None:
    assert bare_km2(cover(cell(east_km=-9.0, north_km=12.0, range_m=2_000.0)), 0) == 0.0
    on_the_line = cover(cell(east_km=0.0, north_km=12.0, range_m=2_000.0))
    assert bare_km2(on_the_line, 0) == pytest.approx(math.pi * (2 * MAY_SERVE) ** 2 / 2, rel=0.1)


def test_tiles_are_the_ground_of_the_zones_by_the_line() -> None:
    tiles = cover(cell()).tiles
    assert len(tiles) * TILE_KM2 == pytest.approx(6 * 24, rel=0.03)
    assert len({tuple(tile) for tile in tiles.tolist()}) == len(tiles)


MANY = cover(*(cell(east_km=-1.0 - n % 4, north_km=2.0 + 1.5 * n, range_m=1_000.0 + 300 * (n % 5)) for n in range(12)))


@settings(deadline=None, max_examples=40)
@given(st.sets(st.integers(0, 11), min_size=1), st.integers(0, 11))
def test_the_more_cells_are_silent_the_more_ground_is_bare(silent: set[int], one_more: int) -> None:
    assert bare_km2(MANY, *silent) <= bare_km2(MANY, *silent | {one_more})
