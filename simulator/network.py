"""A simulated cell network of one home carrier: masts at places, along roads and over the open country of a border.

All masts stand on the home side; their footprints reach over the line. Spacings and hill tops follow notes/telecom.md,
section 10. No real, open cell list exists for these borders (notes/geodata.md, section 4).
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl
import shapely

from geofence.border import Border
from geofence.grid import ZoneGrid
from simulator.ground import INLAND_M, Floats, Ground, distances_m, survey

TOWN, RURAL, REMOTE, GATE, OPENING, INLAND = range(6)
SPACING_M = {
    TOWN: (400.0, 900.0),
    RURAL: (2_200.0, 5_000.0),
    REMOTE: (6_000.0, 11_000.0),
    GATE: (0.0, 0.0),
    OPENING: (400.0, 900.0),
}
RANGE_M = {
    TOWN: (900.0, 1_600.0),
    RURAL: (3_000.0, 6_500.0),
    REMOTE: (7_000.0, 12_000.0),
    GATE: (1_300.0, 1_900.0),
    OPENING: (2_200.0, 3_800.0),
    INLAND: (2_500.0, 6_000.0),
}
HILL_TOP_SHARE = 0.045
HILL_TOP_RANGE_M = (15_000.0, 22_000.0)
TOWN_PEOPLE_PER_KM2 = 2_500.0
TOWN_FROM_PEOPLE = 5_000.0
MOST_SITES_IN_A_TOWN = 16
LINE_ERROR_M = 150.0  # a mast nearer to the line than its error could stand abroad (notes/geodata.md, section 2)
TOWER_SPACING = 1.2  # towers that anybody may rent stand this much wider apart than one carrier's masts
RENTED_SHARE = 0.75  # of those towers, by each carrier
TURNED_SHARE, OFFICE_SHARE = 0.03, 0.005
SECTORS = 3
SECTOR_BEAM_DEG = 120.0
IN_SERVICE_SINCE = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, eq=False)
class _Sites:
    xy: Floats
    setting: Floats  # TOWN ... INLAND


def simulate_network(
    grid: ZoneGrid, border: Border, *, plmn: str, seed: int, ground: Ground | None = None
) -> pl.DataFrame:
    """A cell plan (design.md, section 4.2) of the carrier `plmn`; every crossing-point zone has a mast of its own.

    Plans of several carriers and one seed share some masts: towers that each of them rents or not.
    Columns rat, plmn, cell_id, lon, lat, azimuth_deg, beamwidth_deg, range_m, valid_from, valid_to; no omni cells.
    """
    rng = np.random.default_rng([seed, 30, *plmn.encode()])
    ground = ground or survey(grid, border)
    towers = _thinned(ground, np.random.default_rng([seed, 31]), np.zeros((0, 2)), TOWER_SPACING).xy
    strip = _thinned(ground, rng, towers[rng.random(len(towers)) < RENTED_SHARE], 1.0)
    inland = _inland_sites(ground, rng)
    xy = np.concatenate([strip.xy, inland])
    setting = np.concatenate([strip.setting, np.full(len(inland), INLAND)]).astype(np.int64)
    return _cells(ground, rng, xy, setting, plmn)


def published_plan(network: pl.DataFrame, ground: Ground, *, seed: int) -> pl.DataFrame:
    """The plan that the carrier hands to its edge: some sectors point elsewhere, some masts stand at its office.

    Rates of notes/telecom.md, section 6. A crossing point's own mast is never at the office: an edge refuses such a plan.
    """
    rng = np.random.default_rng([seed, 32, *network["plmn"][0].encode()])
    turned = rng.random(network.height) < TURNED_SHARE
    x, y = ground.plane.xy(network["lon"].to_numpy(), network["lat"].to_numpy())
    _, mast = np.unique(np.round(np.column_stack([x, y])), axis=0, return_inverse=True)
    lost = (rng.random(int(mast.max()) + 1) < OFFICE_SHARE)[mast.ravel()]
    for zone in np.flatnonzero(ground.crossing_point):
        lost &= ~shapely.contains_xy(ground.zones[zone], x, y)
    towns = ground.places if len(ground.places) else np.column_stack([x, y])
    office = towns[int(np.argmax(ground.population))] if len(ground.population) else towns[0]
    lon, lat = ground.lon_lat(office[None])
    moved = pl.Series(lost)
    return network.with_columns(
        lon=pl.when(moved).then(round(float(lon[0]), 6)).otherwise("lon"),
        lat=pl.when(moved).then(round(float(lat[0]), 6)).otherwise("lat"),
        azimuth_deg=pl.when(pl.Series(turned)).then((pl.col("azimuth_deg") + 120.0) % 360.0).otherwise("azimuth_deg"),
    )


def _door_sites(ground: Ground, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A mast by every gate and opening, in its zone and at home; gates come first."""
    order = np.argsort(~ground.crossing_point, kind="stable")
    xy, setting = [], []
    for zone in order:
        gate = bool(ground.crossing_point[zone])
        for door in ground.doors[zone][: 1 if gate else None]:
            tries = np.concatenate([door + rng.normal(0, 300.0, (12, 2)), door[None]])
            inside = shapely.contains_xy(ground.zones[zone], tries[:, 0], tries[:, 1])
            at_home = inside & (ground.from_line_m(tries) > LINE_ERROR_M)
            xy.append(tries[int(np.argmax(at_home))] if at_home.any() else door)
            setting.append(GATE if gate else OPENING)
    return np.array(xy), np.array(setting, dtype=np.float64)


def _thinned(ground: Ground, rng: np.random.Generator, rented: Floats, wider: float) -> _Sites:
    """Doors, then rented towers, then candidates in random order, each kept if no mast stands within its own spacing."""
    first_xy, first_setting = _door_sites(ground, rng)
    candidates = [_around_places(ground, rng), _along_roads(ground), _open_country(ground, rng)]
    xy = np.concatenate(candidates)
    xy = xy[rng.permutation(len(xy))]
    inside = np.zeros(len(xy), dtype=np.bool_)
    _, hits = shapely.STRtree(shapely.points(xy)).query(np.array(ground.zones, dtype=object), predicate="contains")
    inside[hits] = True
    xy = np.concatenate([rented, xy[inside & (ground.from_line_m(xy) > LINE_ERROR_M)]])
    setting = np.concatenate([first_setting, _settings(ground, xy)])
    xy = np.concatenate([first_xy, xy])
    spacing = [wider * rng.uniform(*SPACING_M[int(kind)]) for kind in setting]
    kept: list[int] = []
    kept_xy = np.empty_like(xy)
    for at, position in enumerate(xy):
        others = kept_xy[: len(kept)]
        if kept and np.min(np.hypot(others[:, 0] - position[0], others[:, 1] - position[1])) < spacing[at]:
            continue
        kept_xy[len(kept)] = position
        kept.append(at)
    return _Sites(xy[kept], setting[kept])


def _around_places(ground: Ground, rng: np.random.Generator) -> Floats:
    found = [ground.places]
    for place, people in zip(ground.places, ground.population, strict=True):
        sites = int(min(MOST_SITES_IN_A_TOWN, people / 2_500))
        if sites:
            found.append(place + rng.normal(0, _town_radius_m(people) / 1.5, (sites * 3, 2)))
    return np.concatenate(found)


def _town_radius_m(people: float) -> float:
    return float(np.sqrt(people / TOWN_PEOPLE_PER_KM2 / np.pi) * 1_000)


def _along_roads(ground: Ground) -> Floats:
    if ground.roads.is_empty:
        return np.zeros((0, 2))
    return np.asarray(shapely.get_coordinates(shapely.segmentize(ground.roads, 1_500.0)))


def _open_country(ground: Ground, rng: np.random.Generator) -> Floats:
    return np.concatenate(
        [ground.scatter(rng, zone, int(shape.area / 3e6) + 4) for zone, shape in enumerate(ground.zones)]
    )


def _settings(ground: Ground, xy: Floats) -> Floats:
    setting = np.full(len(xy), REMOTE)
    if not ground.roads.is_empty:
        setting[shapely.distance(shapely.points(xy), ground.roads) < 2_500.0] = RURAL
    if len(ground.places):
        apart = distances_m(xy, ground.places)
        setting[apart.min(axis=1) < 6_000.0] = RURAL
        towns = np.flatnonzero(ground.population >= TOWN_FROM_PEOPLE)
        if len(towns):
            radius = np.array([_town_radius_m(people) for people in ground.population[towns]])
            setting[(apart[:, towns] < radius).any(axis=1)] = TOWN
    return setting.astype(np.float64)


def _inland_sites(ground: Ground, rng: np.random.Generator) -> Floats:
    """A few masts 12-60 km from the line, so that people who come from inland have somewhere to come from."""
    if len(ground.places):
        far = ground.from_line_m(ground.places)
        inland = np.flatnonzero((far >= INLAND_M[0]) & (far <= INLAND_M[1]))
        if len(inland):
            chosen = rng.permutation(inland)[:45]
            return np.concatenate([ground.places[chosen] + rng.normal(0, 1_200, (len(chosen), 2)) for _ in range(2)])
    # No places known: straight away from the line behind some of the zones.
    found = []
    for zone in rng.permutation(len(ground.zones))[:30]:
        behind = np.asarray(ground.zones[zone].representative_point().coords[0])
        nearest = np.asarray(shapely.shortest_line(shapely.Point(behind), ground.line).coords[-1])
        away = (behind - nearest) / max(float(np.hypot(*(behind - nearest))), 1.0)
        found.append(nearest + away * rng.uniform(*INLAND_M))
    return np.array(found)


def _cells(
    ground: Ground,
    rng: np.random.Generator,
    xy: Floats,
    setting: np.ndarray,
    plmn: str,
) -> pl.DataFrame:
    sites = len(xy)
    low = np.array([RANGE_M[int(kind)][0] for kind in setting])
    high = np.array([RANGE_M[int(kind)][1] for kind in setting])
    reach = rng.uniform(low, high)
    hill = (rng.random(sites) < HILL_TOP_SHARE) & ((setting == RURAL) | (setting == REMOTE))
    reach[hill] = rng.uniform(*HILL_TOP_RANGE_M, int(hill.sum()))
    first_azimuth = rng.integers(0, 120, sites).astype(np.float64)
    lon, lat = ground.lon_lat(xy)
    layers = {
        "EUTRA": np.ones(sites, dtype=np.bool_),
        "GERA": (rng.random(sites) < 0.12) | (setting == REMOTE) & (rng.random(sites) < 0.4),
        "UTRA": rng.random(sites) < 0.04,
        "NR": (setting == TOWN) & (rng.random(sites) < 0.3),
    }
    range_factor = {"EUTRA": 1.0, "GERA": 1.15, "UTRA": 1.0, "NR": 0.7}
    first_node = {"EUTRA": int(rng.integers(0x0A000, 0xE0000)), "NR": int(rng.integers(0x100000, 0xE00000))}
    tables = []
    for rat, has in layers.items():
        at = np.repeat(np.flatnonzero(has), SECTORS)
        sector = np.tile(np.arange(SECTORS), int(has.sum()))
        match rat:
            case "EUTRA":
                ids = [f"{(first_node[rat] + s) << 8 | c + 1:07x}" for s, c in zip(at.tolist(), sector, strict=True)]
            case "NR":
                ids = [f"{(first_node[rat] + s) << 12 | c + 1:09x}" for s, c in zip(at.tolist(), sector, strict=True)]
            case "UTRA":
                ids = [f"{7 << 16 | s * 8 + c + 1:07x}" for s, c in zip(at.tolist(), sector, strict=True)]
            case _:  # location area and cell: a cell number is unique only within its area
                ids = [
                    f"{0x2000 + s // 60:04x}{(s % 60) * 8 + c + 1:04x}"
                    for s, c in zip(at.tolist(), sector, strict=True)
                ]
        tables.append(
            pl.DataFrame(
                {
                    "rat": [rat] * len(at),
                    "plmn": [plmn] * len(at),
                    "cell_id": ids,
                    "lon": np.round(lon[at], 6),
                    "lat": np.round(lat[at], 6),
                    "azimuth_deg": (first_azimuth[at] + 120.0 * sector) % 360.0,
                    "beamwidth_deg": np.full(len(at), SECTOR_BEAM_DEG),
                    "range_m": np.round(reach[at] * range_factor[rat]),
                }
            )
        )
    return (
        pl.concat(tables)
        .with_columns(
            valid_from=pl.lit(IN_SERVICE_SINCE).dt.cast_time_unit("us"),
            valid_to=pl.lit(None, dtype=pl.Datetime("us", "UTC")),
        )
        .sort("rat", "cell_id")
    )
