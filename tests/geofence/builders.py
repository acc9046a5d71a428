"""Small grids, lines and plans for the stories: a straight border along a meridian, zones to its west."""

import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from shapely.geometry import LineString

from geofence.cell_plan import COLUMNS, checked_cell_plan
from geofence.grid import ZoneGrid, grid_from_document, read_zone_grid

FIXTURES = Path(__file__).parents[1] / "fixtures"
TURN = 2
START = datetime(2026, 3, 1, TURN, tzinfo=UTC)
LON = 6.1
KM_NORTH = 1 / 111.25
KM_EAST = 1 / 70.3
LINE = LineString([(LON, 50.79213), (LON, 51.007868)])


def network_a() -> ZoneGrid:
    """The grid of the sample network: two belts and a crossing point, home to the west of longitude 6.1."""
    return read_zone_grid(FIXTURES / "network_a_zones.geojson", turn_hour_utc=TURN, valid_from=START)


def box(west_km: float, south_km: float, east_km: float, north_km: float) -> list[list[list[float]]]:
    """A rectangle as GeoJSON coordinates, in km from the south end of the line; the line itself is at 0 km east."""
    west, east = (LON + km * KM_EAST for km in (west_km, east_km))
    south, north = (50.79213 + km * KM_NORTH for km in (south_km, north_km))
    return [[[west, south], [east, south], [east, north], [west, north], [west, south]]]


def feature(zone_id: str, coordinates: Any, kind: str = "belt", **changed: Any) -> dict[str, Any]:
    """A zone's feature."""
    properties = {"zone_id": zone_id, "sector_id": "east", "kind": kind, "name": zone_id, **changed}
    return {
        "type": "Feature",
        "properties": {key: value for key, value in properties.items() if value is not None},
        "geometry": {"type": "Polygon", "coordinates": coordinates},
    }


def document(*features: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """A grid document; by default two belts of 12 km along the line."""
    zones = features or (feature("south", box(-10, 0, 0, 12)), feature("north", box(-10, 12, 0, 24)))
    whole = {
        "type": "FeatureCollection",
        "turn_hour_utc": TURN,
        "valid_from": "2026-03-01T02:00:00Z",
        "features": copy.deepcopy(list(zones)),
    }
    return {**whole, **changed}


def grid(*features: dict[str, Any], **changed: Any) -> ZoneGrid:
    """A grid of the given features."""
    return grid_from_document(document(*features, **changed))


def cell(cell_id: str = "0000001", east_km: float = -3.0, north_km: float = 6.0, **changed: Any) -> dict[str, Any]:
    """One row of a cell plan, placed in km from the south end of the line."""
    row = {
        "rat": "EUTRA",
        "plmn": "204-99",
        "cell_id": cell_id,
        "lon": LON + east_km * KM_EAST,
        "lat": 50.79213 + north_km * KM_NORTH,
        "azimuth_deg": None,
        "beamwidth_deg": None,
        "range_m": 1_000.0,
        "valid_from": None,
        "valid_to": None,
    }
    return {**row, **changed}


def raw_plan(*rows: dict[str, Any]) -> pl.DataFrame:
    """A cell plan as text, as a CSV file would give it."""
    return pl.DataFrame(
        [{key: None if value is None else str(value) for key, value in row.items()} for row in rows],
        schema=dict.fromkeys(COLUMNS, pl.String),
    )


def plan(*rows: dict[str, Any]) -> pl.DataFrame:
    """A checked cell plan."""
    return checked_cell_plan(raw_plan(*rows))
