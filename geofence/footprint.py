"""Footprints: the ground a cell may serve, as a sector of a circle.

A footprint is clipped by nothing. It reaches over the border line, for radio does (notes/telecom.md, section 8).
"""

from typing import Any

import numpy as np
import polars as pl
import shapely
from numpy.typing import NDArray
from pyproj import Geod

from geofence.metres import Plane

ARC_POINTS = 25
CIRCLE_POINTS = 36

_EARTH = Geod(ellps="WGS84")


def footprints(plan: pl.DataFrame, plane: Plane) -> NDArray[Any]:
    """One polygon per row of the plan, in metres on the plane; azimuths count from true north.

    >>> row = {"lon": [106.0], "lat": [11.0], "azimuth_deg": [90.0], "beamwidth_deg": [60.0], "range_m": [3000.0]}
    >>> round(float(footprints(pl.DataFrame(row), Plane(106, 11))[0].area / (np.pi * 3000**2 / 6)), 2)
    1.0
    """
    lon, lat, reach = (plan[name].to_numpy() for name in ("lon", "lat", "range_m"))
    azimuth = plan["azimuth_deg"].cast(pl.Float64).fill_null(0.0).to_numpy()
    beam = plan["beamwidth_deg"].cast(pl.Float64).fill_null(360.0).to_numpy()
    omni = plan["azimuth_deg"].is_null().to_numpy() | (beam >= 360.0)
    shapes = np.empty(plan.height, dtype=object)

    ways = np.linspace(0.0, 360.0, CIRCLE_POINTS, endpoint=False)[None, :] + np.zeros((int(omni.sum()), 1))
    x, y = _reached(lon[omni], lat[omni], ways, reach[omni], plane)
    shapes[omni] = shapely.polygons(np.stack([x, y], axis=2))

    beamed = ~omni
    spread = np.linspace(-0.5, 0.5, ARC_POINTS)[None, :] * beam[beamed, None]
    x, y = _reached(lon[beamed], lat[beamed], azimuth[beamed, None] + spread, reach[beamed], plane)
    mast_x, mast_y = plane.xy(lon[beamed], lat[beamed])
    ring = np.stack([np.column_stack([mast_x, x]), np.column_stack([mast_y, y])], axis=2)
    shapes[beamed] = shapely.polygons(ring)
    return shapes


def _reached(
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    ways: NDArray[np.float64],
    reach: NDArray[np.float64],
    plane: Plane,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where rays of length `reach` end, each mast in every one of its ways."""
    wide = [np.broadcast_to(column[:, None], ways.shape).ravel() for column in (lon, lat, reach)]
    end_lon, end_lat, _ = _EARTH.fwd(wide[0], wide[1], ways.ravel(), wide[2])
    x, y = plane.xy(np.asarray(end_lon), np.asarray(end_lat))
    return x.reshape(ways.shape), y.reshape(ways.shape)
