"""Writes the page's offline basemap: land, water, border lines, names; small GeoJSON files for drawing only.

    node deploy/vendor/vendor.mjs --keep FOLDER
    python deploy/vendor/basemap.py --world FOLDER/world-atlas --water NATURAL_EARTH

`--world` holds `land-10m.json` and `land-110m.json` (world-atlas), `--water` holds `rivers.geojson` and `lakes.geojson`
(Natural Earth 10m, with `name` and `scalerank`); all else comes from `geofence/bundled`. What it writes is committed.
"""

import argparse
import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import box, mapping, shape

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "geofence" / "bundled"
TARGET = ROOT / "api" / "static" / "basemap"

OSM = "© OpenStreetMap contributors"
GEONAMES = "GeoNames"
NATURAL_EARTH = "Natural Earth"
COAST_DEG, WATER_DEG = 0.004, 0.003
SMALLEST_ISLAND_DEG2 = 0.0004
LEAST_PEOPLE = 500
NAMED_WITHIN_DEG = 0.9


def land_of(topology: dict[str, Any]) -> Any:
    """The land of a quantised TopoJSON (https://github.com/topojson/topojson-specification) as one geometry."""
    (scale_x, scale_y), (shift_x, shift_y) = topology["transform"]["scale"], topology["transform"]["translate"]
    arcs = []
    for steps in topology["arcs"]:
        x = y = 0
        arc = []
        for dx, dy in steps:
            x, y = x + dx, y + dy
            arc.append((x * scale_x + shift_x, y * scale_y + shift_y))
        arcs.append(arc)

    def ring(numbers: list[int]) -> list[tuple[float, float]]:
        points: list[tuple[float, float]] = []
        for number in numbers:
            arc = arcs[number] if number >= 0 else arcs[~number][::-1]
            points += arc[1:] if points else arc
        return points

    polygons = [
        shapely.Polygon(ring(rings[0]), [ring(hole) for hole in rings[1:]])
        for geometry in topology["objects"]["land"]["geometries"]
        for rings in geometry["arcs"]
    ]
    return shapely.union_all(shapely.make_valid(polygons))


def feature(geometry: Any, **properties: Any) -> dict[str, Any]:
    """A GeoJSON feature for drawing: three decimals, about 100 m."""
    drawn = mapping(shapely.set_precision(geometry, 0.001))
    return {"type": "Feature", "properties": properties, "geometry": json.loads(json.dumps(drawn), parse_float=_short)}


def _short(number: str) -> float:
    return round(float(number), 3)


def polygons_of(geometry: Any) -> Any:
    """The areas of a geometry, without islands too small to see."""
    parts = [part for part in shapely.get_parts(geometry) if part.geom_type == "Polygon"]
    return shapely.MultiPolygon([part for part in parts if part.area > SMALLEST_ISLAND_DEG2])


def read(path: Path) -> list[dict[str, Any]]:
    """The features of a GeoJSON file."""
    features: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["features"]
    return features


def write(name: str, attribution: str, licence: str, features: Iterable[dict[str, Any]]) -> None:
    """Write one layer, one feature a line."""
    lines = [json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in features]
    head = json.dumps({"attribution": attribution, "licence": licence}, ensure_ascii=False)[1:-1]
    text = f'{{"type":"FeatureCollection",{head},"features":[\n' + ",\n".join(lines) + "\n]}\n"
    (TARGET / name).write_text(text, encoding="utf-8")
    print(f"{name}: {len(lines)} features, {len(text.encode()) // 1000} kB")


def main() -> None:
    """Build every layer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--water", type=Path, required=True)
    asked = parser.parse_args()
    TARGET.mkdir(parents=True, exist_ok=True)

    countries = read(BUNDLED / "countries.geojson")
    rooms = sorted({tuple(country["properties"]["clip_bbox"]) for country in countries})
    near = shapely.union_all([box(*room) for room in rooms])

    fine = land_of(json.loads((asked.world / "land-10m.json").read_text()))
    coarse = land_of(json.loads((asked.world / "land-110m.json").read_text()))
    land = [polygons_of(shapely.simplify(shapely.intersection(fine, box(*room)), COAST_DEG)) for room in rooms]
    land.append(polygons_of(shapely.difference(coarse, near)))
    write("land.geojson", NATURAL_EARTH, "public domain", [feature(one) for one in land])

    water = [
        feature(cut, name=one["properties"]["name"] or "", rank=int(one["properties"]["scalerank"] or 9))
        for name in ("lakes", "rivers")
        for one in read(asked.water / f"{name}.geojson")
        if not (cut := shapely.simplify(shapely.intersection(shape(one["geometry"]), near), WATER_DEG)).is_empty
    ]
    write("water.geojson", NATURAL_EARTH, "public domain", water)

    lines = read(BUNDLED / "borders_web.geojson")
    borders = [feature(shape(line["geometry"]), id=line["properties"]["id"]) for line in lines]
    write("borders.geojson", OSM, "ODbL-1.0", borders)

    named = []
    outlines = {country["properties"]["iso2"]: shape(country["geometry"]) for country in countries}
    names = {country["properties"]["iso2"]: country["properties"]["name"] for country in countries}
    for line in lines:
        # A country is named beside each of its borders, and on land: the outlines reach out to sea.
        beside = shapely.intersection(shapely.buffer(shape(line["geometry"]), NAMED_WITHIN_DEG), fine)
        for iso2 in (line["properties"]["a"], line["properties"]["b"]):
            room = max(shapely.get_parts(shapely.intersection(beside, outlines[iso2])), key=lambda part: part.area)
            centre = shapely.Point(shapely.maximum_inscribed_circle(room, 0.02).coords[0])
            named.append(feature(centre, name=names[iso2], rank=0))
    seen = set()
    for name in ("cities_sea.csv", "places.csv"):
        for row in csv.DictReader((BUNDLED / name).read_text(encoding="utf-8").splitlines()):
            people = int(row["population"])
            if row["geonameid"] not in seen and people >= LEAST_PEOPLE:
                seen.add(row["geonameid"])
                rank = 1 if people >= 300_000 else 2 if people >= 50_000 else 3 if people >= 10_000 else 4
                named.append(
                    feature(shapely.Point(float(row["longitude"]), float(row["latitude"])), name=row["name"], rank=rank)
                )
    write("names.geojson", f"{GEONAMES}; {OSM}", "CC-BY-4.0; ODbL-1.0", named)


if __name__ == "__main__":
    main()
