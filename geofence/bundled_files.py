"""The open geodata that travels with the package; its licences stand in `bundled/LICENCES.md`."""

import csv
import json
from importlib.resources import files
from typing import Any


def bundled_text(name: str) -> str:
    """The text of one bundled file."""
    return (files("geofence") / "bundled" / name).read_text(encoding="utf-8")


def bundled_collection(name: str) -> dict[str, Any]:
    """A bundled GeoJSON FeatureCollection."""
    collection: dict[str, Any] = json.loads(bundled_text(name))
    return collection


def bundled_rows(name: str) -> list[dict[str, str]]:
    """The rows of a bundled CSV file; every value stays text, so an MNC keeps its zeros."""
    return list(csv.DictReader(bundled_text(name).splitlines()))
