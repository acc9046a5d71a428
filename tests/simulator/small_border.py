"""A made-up border along the parallel 11 N, home to the south of it: eighteen belts and two crossing points."""

from datetime import UTC, datetime
from functools import cache
from typing import Any

import polars as pl
from shapely.geometry import LineString

from bench.simulator import Place
from geofence.border import Border
from geofence.grid import ZoneGrid, grid_from_document
from simulator.carrier_day import CarrierDay
from simulator.carriers import Carrier
from simulator.ground import Ground, survey
from simulator.network import simulate_network

TURN_HOUR_UTC = 20
TOKEN_DAY = datetime(2026, 3, 2, TURN_HOUR_UTC, tzinfo=UTC)
OWN, ACROSS = "452-04", ("456-08", "456-01", "456-06")
WEST, SOUTH, NORTH = 103.6, 10.91, 11.0
WIDTHS = [(f"B{n:02d}", "belt", 0.2) for n in range(18)]
WIDTHS[9:9] = [("X1", "crossing_point", 0.07)]
WIDTHS[4:4] = [("X0", "crossing_point", 0.07)]


@cache
def small_grid() -> ZoneGrid:
    features, west = [], WEST
    for zone_id, kind, width in WIDTHS:
        ring = [[west, SOUTH], [west + width, SOUTH], [west + width, NORTH], [west, NORTH], [west, SOUTH]]
        features.append(
            {
                "type": "Feature",
                "properties": {
                    "zone_id": zone_id,
                    "sector_id": "west" if west < 105.5 else "east",
                    "kind": kind,
                    "name": zone_id,
                },
                "geometry": {"type": "Polygon", "coordinates": [[[round(x, 6), y] for x, y in ring]]},
            }
        )
        west = round(west + width, 6)
    document = {"type": "FeatureCollection", "features": features}
    return grid_from_document(
        document, turn_hour_utc=TURN_HOUR_UTC, valid_from=datetime(2026, 1, 1, TURN_HOUR_UTC, tzinfo=UTC)
    )


@cache
def small_border() -> Border:
    # A parallel is no straight line on a plane of metres, so it has a vertex every few kilometres.
    line = LineString([(WEST - 0.2 + 0.05 * step, NORTH) for step in range(85)])
    return Border("made-up", "AA", "BB", line, "made up", "CC0-1.0")


@cache
def small_ground() -> Ground:
    return survey(small_grid(), small_border())


@cache
def small_plan() -> pl.DataFrame:
    return simulate_network(small_grid(), small_border(), plmn=OWN, seed=3, ground=small_ground())


@cache
def small_place() -> Place:
    return Place(small_border(), small_grid(), small_ground(), ACROSS)


def small_carrier() -> Carrier:
    return Carrier("carrier-a", OWN, 0.45)


def small_day(**asked: Any) -> CarrierDay:
    usual = {"carrier": small_carrier(), "token_day_start": TOKEN_DAY, "seed": 5, "across_plmns": ACROSS}
    return CarrierDay(small_grid(), small_border(), **{**usual, **asked})
