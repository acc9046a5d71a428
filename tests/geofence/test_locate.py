"""From a cell plan and a grid to the zone of each cell."""

import json
import random
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geofence.border import Border
from geofence.cell_plan import CellPlanError, read_cell_plan
from geofence.grid import GridError, ZoneGrid
from geofence.land_cover import LandCoverError, land_cover_of
from geofence.locate import LocatedPlan, coverage_document, locate_cells
from geofence.propagation import FootprintModel, Shape

from .builders import FIXTURES, LINE, box, cell, feature, grid, network_a, plan


def located(*rows: dict[str, object], zones: ZoneGrid | None = None) -> LocatedPlan:
    return locate_cells(plan(*rows), zones or grid(), LINE)


def test_a_cell_belongs_to_the_zone_with_the_largest_share() -> None:
    found = located(cell("0000001", north_km=11.5), cell("0000002", north_km=12.5), cell("0000003", east_km=-10.8))
    zones = grid()
    assert found.cells["zone"].to_list() == [zones.zone_ix("south"), zones.zone_ix("north"), -1]
    assert found.cells["share"].to_list() == pytest.approx([0.80, 0.80, 0.90], abs=0.05)


def test_a_footprint_reaches_over_the_line_and_says_so() -> None:
    on_the_line, inside = located(cell("0000001", east_km=0.0), cell("0000002", east_km=-3.0)).cells.iter_rows(
        named=True
    )
    # Half of the ground, and ground abroad weighs half.
    assert on_the_line["share_abroad"] == pytest.approx(1 / 3, abs=0.01)
    assert on_the_line["zone"] >= 0
    assert inside["share_abroad"] == 0.0


def test_what_lies_abroad_does_not_vote_for_inland() -> None:
    row = cell(east_km=-0.1, azimuth_deg=90, beamwidth_deg=40, range_m=5_000)
    (found,) = located(row).cells.iter_rows(named=True)
    assert found["share_abroad"] > 0.6
    assert found["zone"] >= 0


def test_a_cell_wholly_abroad_has_no_zone() -> None:
    (found,) = located(cell(east_km=20.0)).cells.iter_rows(named=True)
    assert (found["zone"], found["share"], found["share_abroad"]) == (-1, 0.0, 1.0)


def test_a_crossing_point_without_a_cell_is_refused_when_asked() -> None:
    rows = plan(cell(north_km=4.0))
    with pytest.raises(GridError, match="at least one cell") as refused:
        locate_cells(rows, network_a(), LINE)
    assert refused.value.feature == "gate-mid"
    assert locate_cells(rows, network_a(), LINE, require_crossing_point_cells=False).cells.height == 1


def test_the_sample_network_is_located_with_every_crossing_point_heard() -> None:
    found = locate_cells(read_cell_plan(FIXTURES / "network_a_cells.csv"), network_a(), LINE)
    assert found.cells.height == 184
    assert set(found.cells["zone"]) == {-1, 0, 1, 2}
    assert found.cells["cell"].to_list() == list(range(184))


def test_cells_on_one_mast_overlap_even_back_to_back() -> None:
    back = [cell(f"000000{n}", azimuth_deg=n * 180, beamwidth_deg=60) for n in range(2)]
    near = cell("0000002", east_km=-3.0 + 0.25, azimuth_deg=90, beamwidth_deg=60)
    far = cell("0000003", east_km=-3.0 - 0.35, azimuth_deg=270, beamwidth_deg=60)
    pairs = set(located(*back, near, far).overlaps.iter_rows())
    assert {(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)} == pairs


@pytest.mark.parametrize(("apart_km", "overlap"), [(1.1, True), (1.4, False)])
def test_footprints_overlap_when_more_than_a_quarter_is_common(apart_km: float, overlap: bool) -> None:
    # Two discs of 1 km: the lens is a quarter of a disc when their middles are 1.265 km apart.
    pairs = located(cell("0000001"), cell("0000002", east_km=-3.0 - apart_km)).overlaps
    assert pairs.height == (2 if overlap else 0)


def test_a_small_cell_inside_a_large_one_is_another_place() -> None:
    small = cell("0000002", east_km=-4.0, range_m=400.0)
    assert located(cell("0000001"), small).overlaps.is_empty()


def test_two_validities_of_a_cell_are_two_rows() -> None:
    moved = "2026-02-01T00:00:00Z"
    found = located(cell(valid_from=moved, north_km=18.0), cell(valid_to=moved))
    assert found.cells["valid_from"].to_list()[0] is None
    assert found.cells["zone"].to_list() == [grid().zone_ix("south"), grid().zone_ix("north")]


def test_the_digest_names_the_plan_and_the_grid_whatever_the_order() -> None:
    rows = [cell(f"000000{n}", north_km=2.0 + n) for n in range(8)]
    first = located(*rows)
    random.Random(5).shuffle(rows)
    shuffled = located(*rows)
    assert shuffled.digest == first.digest
    assert shuffled.cells.equals(first.cells)
    assert shuffled.overlaps.equals(first.overlaps)
    assert located(*rows[:-1]).digest != first.digest
    assert located(*rows, zones=grid(feature("one", box(-10, 0, 0, 24)))).digest != first.digest


def test_what_is_published_of_a_plan_counts_nothing() -> None:
    zones = network_a()
    said = coverage_document(locate_cells(read_cell_plan(FIXTURES / "network_a_cells.csv"), zones, LINE), zones)
    assert json.loads(json.dumps(said)) == said
    shares = {"purity", "share_other_zones", "share_inland", "share_abroad"}
    assert [set(zone) for zone in said["zones"]] == [{"zone_id", "has_cells", "next_door", *shares}] * 3
    assert all(0 <= zone[name] <= 1 for zone in said["zones"] for name in shares)


def test_cells_along_a_real_border_are_told_home_from_abroad(vn_kh: Border, vn_kh_grid: ZoneGrid) -> None:
    # Bavet in Cambodia; Moc Bai's customs; Tay Ninh town, 16 km inland.
    places = {"0000001": (106.14, 11.08), "0000002": (106.18, 11.073), "0000003": (106.10, 11.31)}
    rows = plan(*(cell(cell_id, lon=lon, lat=lat) for cell_id, (lon, lat) in places.items()))
    found = locate_cells(rows, vn_kh_grid, vn_kh.line, require_crossing_point_cells=False).cells
    assert found["zone"].to_list() == [-1, vn_kh_grid.zone_ix("VN-KH-x-moc-bai"), -1]
    assert found["share_abroad"].to_list() == pytest.approx([1.0, 0.2, 0.0], abs=0.1)


def test_more_of_a_panel_lies_before_it_than_behind_it() -> None:
    # 5 km west of the line; 'south' and 'north' meet at 12 km.
    north, south = (
        locate_cells(plan(cell(north_km=12.0, azimuth_deg=way, beamwidth_deg=65, range_m=3_000.0)), grid(), LINE)
        for way in (0, 180)
    )
    assert [found.cells["zone"][0] for found in (north, south)] == [grid().zone_ix("north"), grid().zone_ix("south")]
    assert north.cells["share"][0] == pytest.approx(south.cells["share"][0], abs=0.02)
    assert 0.80 < north.cells["share"][0] < 0.97


def test_no_footprint_ends_at_the_line_and_a_far_one_reaches_far_over_it() -> None:
    far = cell(east_km=-1.0, azimuth_deg=90, beamwidth_deg=65, range_m=30_000.0)
    with_side, without = (
        locate_cells(plan(far), grid(), LINE, model=FootprintModel(side_weight=weight)).cells["share_abroad"][0]
        for weight in (0.5, 1.0)
    )
    assert without > 0.75
    # Ground abroad weighs half, and is still there.
    assert with_side == pytest.approx(0.5 * without / (0.5 * without + 1 - without), abs=1e-4)


def test_the_side_prior_moves_no_cell_between_zone_and_inland() -> None:
    rows = plan(*(cell(f"{n:07x}", east_km=-12.0 + n / 2, range_m=6_000.0) for n in range(24)))
    zones = [
        locate_cells(rows, grid(), LINE, model=FootprintModel(side_weight=weight)).cells["zone"].to_list()
        for weight in (0.05, 1.0)
    ]
    assert zones[0] == zones[1]


def test_a_taller_antenna_serves_farther_out() -> None:
    low, high = (cell(f"000000{n}", azimuth_deg=270, beamwidth_deg=65, range_m=12_000.0) for n in range(2))
    rows = plan(low, high).with_columns(height_m=pl.Series([15.0, 120.0]))
    found = locate_cells(rows, grid(), LINE).cells
    # Looking inland from 3 km off the line: the zones end at 10 km.
    assert found["share"][1] < found["share"][0] - 0.01
    assert locate_cells(rows.drop("height_m"), grid(), LINE).cells["share"].n_unique() == 1


def test_water_and_forest_weigh_less_and_never_nothing() -> None:
    lake = {"properties": {"cover": "water"}, "geometry": {"type": "Polygon", "coordinates": box(-10, 6, 0, 24)}}
    dry, wet = (
        locate_cells(plan(cell(north_km=6.0)), grid(), LINE, land_cover=cover)
        for cover in (None, land_cover_of([lake]))
    )
    between = grid(feature("dry", box(-10, 0, 0, 6)), feature("wet", box(-10, 6, 0, 12)))
    held = locate_cells(plan(cell(north_km=6.0)), between, LINE, land_cover=land_cover_of([lake])).shares
    assert held["share"].to_list() == pytest.approx([1 / 1.05, 0.05 / 1.05], abs=0.01)
    assert dry.digest != wet.digest
    with pytest.raises(LandCoverError, match="cover is one of"):
        land_cover_of([{**lake, "properties": {"cover": "mud"}}])


def test_what_a_zone_counts_may_belong_next_door_and_it_says_how_much() -> None:
    # A circle of 2 km round 1 km north of where the zones meet, and one well inside 'south'.
    found = located(
        cell("0000001", east_km=-5.0, north_km=13.0, range_m=2_000.0), cell("0000002", east_km=-5.0, north_km=6.0)
    )
    north, south = coverage_document(found, grid())["zones"]
    beyond = (2 * np.pi / 3 - np.sqrt(3) / 2) / (2 * np.pi)  # a disc's part beyond half its radius
    assert north["next_door"] == {"south": pytest.approx(beyond, abs=0.01)}
    assert north["purity"] == pytest.approx(1 - beyond, abs=0.01)
    assert (south["purity"], south["next_door"]) == (1.0, {})


def test_purity_is_of_the_cells_that_are_valid_then() -> None:
    turn = "2026-03-01T00:00:00Z"
    found = located(
        cell(east_km=-5.0, north_km=13.0, range_m=2_000.0, valid_to=turn),
        cell(east_km=-5.0, north_km=18.0, range_m=2_000.0, valid_from=turn),
    )
    before, after = (
        coverage_document(found, grid(), at=datetime(2026, month, 15, tzinfo=UTC))["zones"][0]["purity"]
        for month in (2, 3)
    )
    assert before < 0.85
    assert after == 1.0


def test_the_digest_covers_the_model() -> None:
    digests = {
        locate_cells(plan(cell()), grid(), LINE, model=model).digest
        for model in (FootprintModel(), FootprintModel(shape=Shape.SECTOR), FootprintModel(side_weight=0.4))
    }
    assert len(digests) == 3


def test_a_plan_of_another_place_is_refused() -> None:
    with pytest.raises(CellPlanError, match="longitude comes first"):
        locate_cells(plan(cell(lon=50.9, lat=6.05)), grid(), LINE)


placed = st.tuples(
    st.floats(-30, 30), st.floats(-5, 29), st.none() | st.floats(0, 360), st.floats(1, 360), st.floats(50, 20_000)
)


@settings(max_examples=25, deadline=None)
@given(st.lists(placed, min_size=1, max_size=12))
def test_shares_are_shares_and_overlap_is_mutual(cells: list[tuple[float, float, float | None, float, float]]) -> None:
    rows = [
        cell(
            f"{n:07x}",
            east_km=east,
            north_km=north,
            azimuth_deg=way,
            beamwidth_deg=None if way is None else beam,
            range_m=reach,
        )
        for n, (east, north, way, beam, reach) in enumerate(cells)
    ]
    found = located(*rows)
    assert found.cells.filter((pl.col("share") < 0) | (pl.col("share_abroad") < 0)).is_empty()
    assert (found.cells["share"] + found.cells["share_abroad"]).max() <= 1 + 1e-9
    pairs = set(found.overlaps.iter_rows())
    assert {(b, a) for a, b in pairs} == pairs
    assert all(a != b for a, b in pairs)
    assert len(pairs) == found.overlaps.height
