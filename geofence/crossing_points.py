"""Official crossing points, each with how well its position is known."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from geofence.border import NAME, BorderError
from geofence.bundled_files import bundled_rows
from geofence.rules import BorderRule

MAX_LIST_BYTES = 2**20
MAX_UNCERTAINTY_M = 20_000.0
NEEDED = ("id", "name", "lon", "lat", "uncertainty_m")
OPTIONAL = ("name_ascii", "confidence", "source", "licence")
GRADES_M = (("A", 500.0), ("B", 2_000.0), ("C", MAX_UNCERTAINTY_M))


@dataclass(frozen=True, slots=True)
class CrossingPoint:
    """An official crossing point; its true position lies within `uncertainty_m` of (lon, lat), most likely.

    `confidence` is A (500 m or better), B (2 km) or C (2.5 to 5 km). `lon, lat` is the nearest place on the border.
    """

    id: str
    name: str
    name_ascii: str
    lon: float
    lat: float
    uncertainty_m: float
    confidence: str
    type: str
    mode: str
    status_note: str
    source: str
    licence: str


def bundled_crossing_points(border_id: str, home: str | None = None) -> tuple[CrossingPoint, ...]:
    """The listed crossing points of one border, best known first; `home` is an end of that border, e.g. VN.

    >>> bundled_crossing_points("VN-KH", "VN")[0].name_ascii
    'Moc Bai'
    """
    if home is not None and home not in border_id.split("-"):
        raise ValueError("home is one of the two countries of the border")
    points = [
        CrossingPoint(
            id=row["id"],
            name=row["name_local"],
            name_ascii=row["name_en"],
            lon=float(row["snapped_lon"]),
            lat=float(row["snapped_lat"]),
            uncertainty_m=float(row["uncertainty_m"]),
            confidence=row["confidence"],
            type=row["type"],
            mode=row["mode"],
            status_note=row["status_note"],
            source=row["source_note"],
            licence=row["licence"],
        )
        for row in bundled_rows("crossing_points.csv")
        if f"{row['a']}-{row['b']}" == border_id
    ]
    return tuple(sorted(points, key=lambda point: (point.confidence, point.uncertainty_m, point.id)))


def read_crossing_points(path: str | Path) -> tuple[CrossingPoint, ...]:
    """The crossing points in a CSV file of your own, best known first; BorderError with the row and rule if it is not one.

    Columns: id, name, lon, lat, uncertainty_m, and where they are known name_ascii, confidence, source and licence. The
    grade follows from the uncertainty where none is given.
    """
    path = Path(path)
    if path.stat().st_size > MAX_LIST_BYTES:
        raise BorderError(BorderRule.CROSSING_POINT_COLUMNS)
    try:
        rows = list(csv.DictReader(path.read_bytes().decode("utf-8").splitlines(), strict=True))
    except (ValueError, csv.Error):
        raise BorderError(BorderRule.CROSSING_POINT_COLUMNS) from None
    columns = set(rows[0]) if rows else set()
    if not set(NEEDED) <= columns <= {*NEEDED, *OPTIONAL} or any(None in row.values() or None in row for row in rows):
        raise BorderError(BorderRule.CROSSING_POINT_COLUMNS)
    points = [_crossing_point(row, f"row {number}") for number, row in enumerate(rows, start=2)]
    if len({point.id for point in points}) < len(points):
        raise BorderError(BorderRule.CROSSING_POINT_ONCE)
    return tuple(sorted(points, key=lambda point: (point.confidence, point.uncertainty_m, point.id)))


def _crossing_point(row: dict[str, str], label: str) -> CrossingPoint:
    try:
        lon, lat, uncertainty_m = (float(row[name]) for name in ("lon", "lat", "uncertainty_m"))
    except ValueError:
        lon = lat = uncertainty_m = math.nan
    texts = [row.get(name) or "" for name in ("name", *OPTIONAL)]
    grade = row.get("confidence") or next((grade for grade, limit_m in GRADES_M if uncertainty_m <= limit_m), "")
    if (
        not NAME.fullmatch(row["id"])
        or not row["name"]
        or not all(text.isprintable() and len(text) <= 200 for text in texts)
        or not (abs(lon) <= 180 and abs(lat) <= 90 and 0 <= uncertainty_m <= MAX_UNCERTAINTY_M)
        or grade not in ("A", "B", "C")
    ):
        raise BorderError(BorderRule.CROSSING_POINT, feature=label)
    return CrossingPoint(
        id=row["id"],
        name=row["name"],
        name_ascii=row.get("name_ascii") or row["name"],
        lon=lon,
        lat=lat,
        uncertainty_m=uncertainty_m,
        confidence=grade,
        type="not stated",
        mode="not stated",
        status_note="",
        source=row.get("source") or "the list given",
        licence=row.get("licence") or "not stated",
    )
