"""Land cover, where somebody gives it: a phone is less likely on water or in a forest than beside it, never impossible there.

None is bundled. The lakes and rivers that are bundled elsewhere are off by a kilometre and serve drawing only
(notes/geodata.md); of forest none is held.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geofence.metres import Plane
from geofence.raster import Floats, Ints, Regions
from geofence.vector_file import MAX_FEATURES, VectorFileError, read_collection
from ingest.release import canonical_json

FLOOR = 0.05
"""No ground weighs less, whatever grows or flows there (notes/telecom.md, section 8)."""
WEIGHTS = {"water": FLOOR, "forest": 0.3, "open": 1.0}
"""How likely a phone is on such ground beside open ground of the same size; proposals, no measurement."""

_KEYS = ("properties", "geometry")


class LandCoverError(ValueError):
    """A land cover refused; the message is the rule."""


@dataclass(frozen=True, slots=True)
class LandCover:
    """Polygons in WGS84, each with its weight (FLOOR to 1); what none of them covers weighs 1."""

    shapes: NDArray[Any]
    weights: tuple[float, ...]
    digest: str

    def on(self, plane: Plane) -> "CoverOnPlane":
        """The same on a plane in metres."""
        kinds = sorted(set(self.weights))
        ground = plane.to_metres(self.shapes)
        of_kind = [np.flatnonzero(np.array(self.weights) == weight) for weight in kinds]
        shapes = np.empty(len(kinds), dtype=object)
        shapes[:] = [shapely.union_all(ground[rows]) for rows in of_kind]
        return CoverOnPlane(Regions(shapes), np.array(kinds))


@dataclass(frozen=True, slots=True, eq=False)
class CoverOnPlane:
    """Land cover that can be asked by tile."""

    regions: Regions
    kinds: Floats

    def weights(self, x: Ints, y: Ints, level: int) -> Floats:
        """The mean weight of each tile; where covers lie upon each other, the mean of theirs."""
        lies = self.regions.fractions(x, y, level)
        tile = np.repeat(np.arange(len(x)), np.diff(lies.first))
        covered = np.bincount(tile, weights=lies.fraction, minlength=len(x))
        weighed = np.bincount(tile, weights=lies.fraction * self.kinds[lies.region], minlength=len(x))
        weights: Floats = (weighed + np.maximum(1.0 - covered, 0.0)) / np.maximum(covered, 1.0)
        return weights


def read_land_cover(path: Path) -> LandCover:
    """The land cover in a geometry file of any format that zones are read from: polygons with `cover`, one of WEIGHTS.

    Raises LandCoverError.
    """
    try:
        return land_cover_of(read_collection(path)["features"])
    except VectorFileError as refused:
        raise LandCoverError(str(refused)) from None


def land_cover_of(features: list[dict[str, Any]]) -> LandCover:
    """The land cover that GeoJSON features in WGS84 describe; raises LandCoverError."""
    if not 1 <= len(features) <= MAX_FEATURES:
        raise LandCoverError(f"a land cover has 1 to {MAX_FEATURES:,} polygons")
    shapes = np.empty(len(features), dtype=object)
    weights = []
    for place, feature in enumerate(features):
        properties, geometry = (feature.get(key) if isinstance(feature, dict) else None for key in _KEYS)
        cover = properties.get("cover") if isinstance(properties, dict) else None
        if not isinstance(cover, str) or cover not in WEIGHTS:
            raise LandCoverError(f"feature {place + 1}: cover is one of {', '.join(WEIGHTS)}")
        shapes[place] = _polygon(geometry, place)
        weights.append(max(WEIGHTS[cover], FLOOR))
    stated = [[weight, feature["geometry"]] for weight, feature in zip(weights, features, strict=True)]
    digest = hashlib.sha256(canonical_json({"cover": stated})).hexdigest()
    return LandCover(shapes, tuple(weights), f"sha256:{digest}")


def _polygon(geometry: Any, place: int) -> Any:
    shape = None
    if isinstance(geometry, dict) and geometry.get("type") in ("Polygon", "MultiPolygon"):
        with suppress(shapely.errors.ShapelyError, ValueError):
            shape = shapely.from_geojson(json.dumps(geometry, allow_nan=False))
    if shape is None or shape.is_empty or (np.abs(shapely.get_coordinates(shape)) > (180, 90)).any():
        raise LandCoverError(f"feature {place + 1}: a cover is a polygon of longitude and latitude")
    if not shape.is_valid:
        raise LandCoverError(f"feature {place + 1}: a cover is a simple and valid polygon")
    return shape
