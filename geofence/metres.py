"""Metres for measuring, degrees for exchange: one equal-area plane around a place.

The Lambert azimuthal equal-area projection keeps areas exact, so shares of a footprint and areas of a zone mean what
they say, and lengths to 0.3 % within 1,000 km of its centre (75 m in a belt of 25 km, half of what the border line
itself is uncertain by).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer


@lru_cache(maxsize=32)
def _transformers(lon: float, lat: float) -> tuple[Transformer, Transformer]:
    plane = f"+proj=laea +lat_0={lat} +lon_0={lon} +datum=WGS84 +units=m +no_defs"
    there = Transformer.from_crs("EPSG:4326", plane, always_xy=True)
    back = Transformer.from_crs(plane, "EPSG:4326", always_xy=True)
    return there, back


@dataclass(frozen=True, slots=True)
class Plane:
    """An equal-area plane in metres, centred on (lon, lat)."""

    lon: float
    lat: float

    def to_metres(self, geometry: Any) -> Any:
        """The geometry (or array of them) on the plane, from degrees.

        >>> square = shapely.box(106, 11, 106.01, 11.01)
        >>> round(Plane(106, 11).to_metres(square).area / 1e6, 2)
        1.21
        """
        there, _ = _transformers(self.lon, self.lat)
        moved = shapely.transform(geometry, there.transform, interleaved=False)
        lon = shapely.get_coordinates(geometry)[:, 0]
        return _each(_seam_closed, moved) if (np.abs(lon) >= 180).any() else moved

    def to_degrees(self, geometry: Any) -> Any:
        """The geometry (or array of them) in degrees, from metres on the plane; polygons are cut at 180 degrees."""
        _, back = _transformers(self.lon, self.lat)
        moved = shapely.transform(geometry, back.transform, interleaved=False)
        lon = shapely.get_coordinates(moved)[:, 0]
        return _each(_cut_at_180, moved) if len(lon) and np.ptp(lon) > 180 else moved

    def xy(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions on the plane, in metres."""
        there, _ = _transformers(self.lon, self.lat)
        x, y = there.transform(lon, lat)
        return x, y


def plane_around(geometry: Any) -> Plane:
    """The plane centred on the middle of a geometry's bounds, to the tenth of a degree.

    What spans more than half the globe lies across the meridian of 180 degrees.

    >>> plane_around(shapely.linestrings([(179, 65), (-178, 65)]))
    Plane(lon=-179.5, lat=65.0)
    """
    west, south, east, north = shapely.total_bounds(geometry)
    if east - west > 180:
        lon = shapely.get_coordinates(geometry)[:, 0] % 360
        west, east = lon.min(), lon.max()
    middle = (west + east) / 2
    return Plane(round(float(middle - 360 if middle > 180 else middle), 1), round(float(south + north) / 2, 1))


def _each(change: Any, geometry: Any) -> Any:
    if isinstance(geometry, shapely.Geometry):
        return change(geometry)
    changed = np.empty(len(geometry), dtype=object)
    changed[:] = [change(one) for one in geometry]
    return changed


def _seam_closed(ground: Any) -> Any:
    """Ground that was cut at 180 degrees, on the plane, made one again."""
    return (
        shapely.union_all(shapely.get_parts(ground), grid_size=0.01) if ground.geom_type == "MultiPolygon" else ground
    )


def _cut_at_180(ground: Any) -> Any:
    """A polygon across 180 degrees as GeoJSON wants it (RFC 7946, section 3.1.9): cut there."""
    west, _, east, _ = ground.bounds
    if ground.geom_type not in ("Polygon", "MultiPolygon") or not east - west > 180:
        return ground
    whole = shapely.transform(ground, lambda positions: np.stack([positions[:, 0] % 360, positions[:, 1]], axis=1))
    halves = [shapely.intersection(whole, shapely.box(start, -90, start + 180, 90)) for start in (0, 180)]
    halves[1] = shapely.transform(halves[1], lambda positions: positions - (360, 0))
    parts = [part for half in halves for part in shapely.get_parts(half) if part.geom_type == "Polygon"]
    return parts[0] if len(parts) == 1 else shapely.multipolygons(parts)


def stations(line: Any, step_m: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions at the middle of every step of about `step_m` along a line, and each step's length.

    >>> positions, lengths = stations(shapely.LineString([(0, 0), (100, 0)]), 50.0)
    >>> positions.tolist(), lengths.tolist()
    ([[25.0, 0.0], [75.0, 0.0]], [50.0, 50.0])
    """
    positions, lengths = [], []
    for part in shapely.get_parts(line):
        vertices = shapely.get_coordinates(part)
        along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(vertices, axis=0).T))])
        steps = max(1, round(along[-1] / step_m))
        at = (np.arange(steps) + 0.5) * along[-1] / steps
        positions.append(np.stack([np.interp(at, along, vertices[:, 0]), np.interp(at, along, vertices[:, 1])], axis=1))
        lengths.append(np.full(steps, along[-1] / steps))
    return np.concatenate(positions), np.concatenate(lengths)
