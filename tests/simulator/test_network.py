"""The simulated cell network."""

import re

import numpy as np
import polars as pl

from geofence.grid import ZoneKind
from geofence.locate import locate_cells
from ingest.attachment import CELL_ID_PATTERNS, Rat
from simulator.network import published_plan, simulate_network
from tests.simulator.small_border import OWN, small_border, small_grid, small_ground, small_plan


def test_a_seed_gives_the_same_plan_and_carriers_differ() -> None:
    def plan(plmn: str) -> pl.DataFrame:
        return simulate_network(small_grid(), small_border(), plmn=plmn, seed=3, ground=small_ground())

    assert plan(OWN).equals(small_plan())
    assert not plan("452-02").select("lon", "lat").equals(small_plan().select("lon", "lat"))


def test_every_cell_has_a_key_of_its_own_in_the_contracts_spelling() -> None:
    plan = small_plan()
    assert plan.select("rat", "plmn", "cell_id").is_unique().all()
    for rat, cell_id in plan.select("rat", "cell_id").iter_rows():
        assert re.fullmatch(CELL_ID_PATTERNS[Rat(rat)], cell_id)


def test_masts_stand_at_home_and_reach_over_the_line() -> None:
    plan = small_plan()
    assert plan["lat"].max() < 11.0
    located = locate_cells(plan, small_grid(), small_border().line)
    assert (located.cells["share_abroad"] > 0.1).sum() > 50


def test_every_zone_has_a_cell_and_crossing_points_have_their_own() -> None:
    located = locate_cells(small_plan(), small_grid(), small_border().line, require_crossing_point_cells=True)
    zones = set(located.cells["zone"].unique()) - {-1}
    assert zones == set(range(len(small_grid().zones)))
    gates = [ix for ix, zone in enumerate(small_grid().zones) if zone.kind is ZoneKind.CROSSING_POINT]
    assert all(located.cells.filter(pl.col("zone") == gate).height >= 1 for gate in gates)


def test_a_published_plan_is_wrong_about_a_few_cells_and_never_about_which_there_are() -> None:
    plans = [published_plan(small_plan(), small_ground(), seed=seed) for seed in range(20)]
    turned = [float((plan["azimuth_deg"] != small_plan()["azimuth_deg"]).mean()) for plan in plans]
    moved = [float((plan["lon"] != small_plan()["lon"]).mean()) for plan in plans]
    assert 0.02 < np.mean(turned) < 0.04
    assert 0 < np.mean(moved) < 0.01
    for plan in plans:
        assert plan.drop("lon", "lat", "azimuth_deg").equals(small_plan().drop("lon", "lat", "azimuth_deg"))
        locate_cells(plan, small_grid(), small_border().line, require_crossing_point_cells=True)


def test_some_masts_stand_far_inland() -> None:
    ground = small_ground()
    x, y = ground.plane.xy(small_plan()["lon"].to_numpy(), small_plan()["lat"].to_numpy())
    far = ground.from_line_m(np.column_stack([x, y]))
    assert (far > 12_000).sum() >= 6
    assert far.max() < 75_000
