"""Official crossing points, each with how well its position is known."""

from dataclasses import dataclass

from geofence.bundled_files import bundled_rows


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
