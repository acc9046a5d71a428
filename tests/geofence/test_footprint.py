"""Footprints on the raster, and what two of them have in common."""

import numpy as np
import polars as pl
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Point, Polygon

from geofence.footprint import WHOLE, WINDOW, Footprints, in_units, masts, weighed
from geofence.locate import locate_cells
from geofence.metres import Plane
from geofence.overlap import OVERLAP, overlapping
from geofence.propagation import FootprintModel, Shape, path_loss_exponent, serving_weight
from geofence.raster import Regions, unique_tiles

from .builders import LINE, cell, grid, plan

AWAY = Plane(30.0, 60.0)


def prints(rows: pl.DataFrame, plane: Plane, model: FootprintModel) -> Footprints:
    """The footprints of a plan where all ground is alike."""
    stand = masts(rows, plane, model)
    level, x, y = (np.zeros(rows.height, dtype=np.int64) for _ in range(3))
    mass = np.zeros((rows.height, WINDOW, WINDOW), dtype=np.uint32)
    for chunk in weighed(stand, model):
        mass[chunk.cells] = in_units(chunk.weight / chunk.weight.sum(axis=(1, 2), keepdims=True))
        level[chunk.cells], x[chunk.cells], y[chunk.cells] = chunk.level, chunk.x, chunk.y
    return Footprints(level, x, y, mass)


def tiles_of(found: Footprints, ix: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """East, north (m, of the middle) and mass (0..1) of the tiles of one footprint."""
    row, column = np.nonzero(found.mass[ix])
    width = 2.0 ** found.level[ix]
    east, north = (found.x[ix] + column + 0.5) * width, (found.y[ix] + row + 0.5) * width
    return east, north, found.mass[ix][row, column] / WHOLE


@pytest.mark.parametrize("shape", list(Shape))
def test_a_panel_looks_where_its_azimuth_points_far_from_the_middle_of_the_plane(shape: Shape) -> None:
    rows = plan(*(cell(f"000000{n}", azimuth_deg=n * 90.0, beamwidth_deg=60.0) for n in range(4)))
    rows = rows.with_columns(lon=pl.lit(25.0), lat=pl.lit(60.0), range_m=pl.lit(5_000.0))
    found = prints(rows, AWAY, FootprintModel(shape=shape))
    away = AWAY.to_degrees(shapely.points([_middle(found, ix) for ix in range(4)]))
    east, north = [(p.x - 25.0) * 0.5 for p in away], [p.y - 60.0 for p in away]
    bearing = np.degrees(np.arctan2(east, north)) % 360
    assert np.abs((bearing - [0, 90, 180, 270] + 180) % 360 - 180).max() < 1.5


def _middle(found: Footprints, ix: int) -> tuple[float, float]:
    east, north, mass = tiles_of(found, ix)
    return float((east * mass).sum()), float((north * mass).sum())


def test_no_mass_lies_beyond_the_range_and_none_is_lost() -> None:
    rows = plan(cell("0000001"), cell("0000002", azimuth_deg=10, beamwidth_deg=120), cell("0000003", range_m=120_000.0))
    plane = Plane(6.1, 50.9)
    found = prints(rows, plane, FootprintModel())
    assert found.mass.sum(axis=(1, 2), dtype=np.int64).tolist() == [WHOLE] * 3
    stand = masts(rows, plane, FootprintModel())
    for ix in range(3):
        east, north, _ = tiles_of(found, ix)
        reach = np.hypot(east - stand.x[ix], north - stand.y[ix])
        assert reach.max() <= stand.range_m[ix] + 2.0 ** found.level[ix]


def test_an_even_sector_is_as_its_polygon() -> None:
    rows = plan(cell(azimuth_deg=40, beamwidth_deg=65, range_m=7_300.0))
    plane = Plane(6.1, 50.9)
    model = FootprintModel(shape=Shape.SECTOR)
    stand = masts(rows, plane, model)
    east, north, mass = tiles_of(prints(rows, plane, model), 0)
    ways = np.radians(stand.bearing_deg[0] + np.linspace(-32.5, 32.5, 60))
    ring = [(stand.x[0] + 7_300 * np.sin(way), stand.y[0] + 7_300 * np.cos(way)) for way in ways]
    sector = Polygon([(stand.x[0], stand.y[0]), *ring])
    half = shapely.box(-1e7, -1e7, sector.centroid.x, 1e7)
    expected = sector.intersection(half).area / sector.area
    assert mass[east < sector.centroid.x].sum() == pytest.approx(expected, abs=0.06)
    assert mass[sector.buffer(2.0**10).contains(shapely.points(east, north))].sum() > 0.999


def test_the_narrowest_beam_has_a_footprint() -> None:
    for shape in Shape:
        found = prints(
            plan(cell(azimuth_deg=77, beamwidth_deg=0.5, range_m=9_000.0)), AWAY, FootprintModel(shape=shape)
        )
        assert found.mass.sum(dtype=np.int64) == WHOLE


def test_the_level_falls_with_distance_and_off_the_beam_and_no_further_than_the_back() -> None:
    ahead = serving_weight(np.array([0.2, 0.5, 0.9]), np.zeros(3), np.full(3, 65.0), np.full(3, 3.52), FootprintModel())
    around = serving_weight(
        np.full(4, 0.3), np.array([0.0, 32.5, 90.0, 180.0]), np.full(4, 65.0), np.full(4, 3.52), FootprintModel()
    )
    assert (np.diff(ahead) < 0).all()
    assert (np.diff(around[:3]) < 0).all()
    assert around[2] == around[3]  # 12 (90 / 65)^2 is above 20 dB already


def test_the_exponent_is_hatas() -> None:
    assert path_loss_exponent(np.array([5.0, 10.0, 30.0, 200.0, 900.0])).round(3).tolist() == [
        3.835,
        3.835,
        3.522,
        2.983,
        2.983,
    ]


def test_tiles_are_shared_out_by_area() -> None:
    zones = np.array([shapely.box(0, 0, 100, 100), shapely.box(100, 0, 130, 100)], dtype=object)
    x, y, _ = unique_tiles(*(part.ravel() for part in np.meshgrid(np.arange(-1, 3), np.arange(0, 2))))
    found = Regions(zones).fractions(x, y, 6)
    held = {
        (int(x[tile]), int(y[tile]), int(region)): float(fraction)
        for tile in range(len(x))
        for region, fraction in zip(
            found.region[found.first[tile] : found.first[tile + 1]],
            found.fraction[found.first[tile] : found.first[tile + 1]],
            strict=True,
        )
    }
    # Tiles of 64 m: the second column holds 36 m of the first zone and 28 m of the second.
    assert held[0, 0, 0] == 1.0
    assert held[1, 0, 0] == pytest.approx(36 / 64)
    assert held[1, 0, 1] == pytest.approx(28 / 64)
    assert held[1, 1, 1] == pytest.approx(28 / 64 * 36 / 64)
    assert not any(column == -1 for column, _, _ in held)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_tiles_of_every_level_agree_with_the_areas_of_shapes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = np.array([Point(*rng.uniform(-2_000, 2_000, 2)).buffer(rng.uniform(50, 900)) for _ in range(4)])
    level = int(rng.integers(4, 9))
    across = np.arange(-4_096 >> level, 4_096 >> level)
    x, y, _ = unique_tiles(*(part.ravel() for part in np.meshgrid(across, across)))
    found = Regions(shapes).fractions(x, y, level)
    area = np.bincount(found.region, found.fraction, minlength=4) * 4.0**level
    assert area == pytest.approx(shapely.area(shapes), rel=1e-6)


reaches = st.sampled_from([40.0, 300.0, 900.0, 1_500.0, 4_000.0, 9_000.0, 30_000.0])
around = st.tuples(st.floats(-9, 9), st.floats(0, 20), st.none() | st.integers(0, 359), reaches)


@settings(max_examples=40, deadline=None)
@given(st.lists(around, min_size=2, max_size=14), st.sampled_from(list(Shape)))
def test_pairs_are_those_that_a_look_at_every_tile_finds(
    cells: list[tuple[float, float, int | None, float]], shape: Shape
) -> None:
    rows = plan(
        *(
            cell(
                f"{n:07x}",
                east_km=east,
                north_km=north,
                azimuth_deg=way,
                beamwidth_deg=None if way is None else 65,
                range_m=reach,
            )
            for n, (east, north, way, reach) in enumerate(cells)
        )
    )
    plane, model = Plane(6.1, 50.9), FootprintModel(shape=shape)
    stand, found = masts(rows, plane, model), prints(rows, plane, model)
    plainly = {
        (a, b)
        for a in range(rows.height)
        for b in range(rows.height)
        if a != b
        and (
            np.hypot(stand.x[a] - stand.x[b], stand.y[a] - stand.y[b]) <= 300.0
            or _plainly_in_common(found, a, b) > OVERLAP * WHOLE
        )
    }
    pairs = overlapping(found, stand.x, stand.y)
    assert pairs.sort("a", "b").equals(pairs)
    assert set(pairs.iter_rows()) == plainly


def _plainly_in_common(found: Footprints, a: int, b: int) -> int:
    """Sum of min over tiles, tile by tile in dictionaries, on tiles of the coarser of the two levels."""
    level = int(max(found.level[a], found.level[b]))
    masses = []
    for ix in (a, b):
        held: dict[tuple[int, int], int] = {}
        steps = level - int(found.level[ix])
        for row, column in zip(*np.nonzero(found.mass[ix]), strict=True):
            place = (int(found.x[ix] + column) >> steps, int(found.y[ix] + row) >> steps)
            held[place] = held.get(place, 0) + int(found.mass[ix][row, column])
        masses.append(held)
    return sum(min(mass, masses[1].get(place, 0)) for place, mass in masses[0].items())


def test_footprints_do_not_depend_on_how_many_cells_are_weighed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = plan(
        *(
            cell(
                f"{n:07x}",
                east_km=-n / 3,
                north_km=12.0,
                azimuth_deg=n * 30 % 360,
                beamwidth_deg=65,
                range_m=700.0 + 400 * n,
            )
            for n in range(12)
        )
    )
    whole = locate_cells(rows, grid(), LINE)
    monkeypatch.setattr("geofence.footprint.CHUNK", 1)
    monkeypatch.setattr("geofence.overlap._CELLS_AT_ONCE", 3)
    one_by_one = locate_cells(rows, grid(), LINE)
    assert one_by_one.cells.equals(whole.cells)
    assert one_by_one.shares.equals(whole.shares)
    assert one_by_one.overlaps.equals(whole.overlaps)
