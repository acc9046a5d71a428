"""What travels with the package says where it came from."""

import doctest
import importlib
import re
from importlib.resources import files

import pytest

from geofence.bundled_files import bundled_collection, bundled_rows, bundled_text

NAMES = sorted(file.name for file in (files("geofence") / "bundled").iterdir() if file.name != "LICENCES.md")
COLLECTIONS = [name for name in NAMES if name.endswith(".geojson")]
MODULES = (
    "border build bundled_files cell_plan check crossing_points footprint grid locate metres roads rules sectors side".split()  # noqa: SIM905
)


def test_every_bundled_file_has_its_line_in_the_licence_page() -> None:
    listed = re.findall(r"^\| ([a-z_]+\.[a-z]+) \|[^|]+\|[^|]+\|([^|]+)\|([^|]+)\|$", bundled_text("LICENCES.md"), re.M)
    assert sorted(name for name, licence, show in listed if licence.strip() and show.strip()) == NAMES


@pytest.mark.parametrize("name", COLLECTIONS)
def test_every_bundled_feature_names_its_source_and_licence(name: str) -> None:
    collection = bundled_collection(name)
    assert collection["attribution"]
    assert all(one["properties"]["source"] and one["properties"]["licence"] for one in collection["features"])


def test_every_bundled_crossing_point_names_its_source_and_a_known_licence() -> None:
    rows = bundled_rows("crossing_points.csv")
    assert len(rows) == 64
    assert all(row["source_note"] and row["licence"].startswith(("ODbL-1.0", "CC0")) for row in rows)


def test_no_bundled_file_is_too_large_to_carry() -> None:
    assert max(len(bundled_text(name).encode()) for name in NAMES) < 3_600_000


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"geofence.{name}")).failed == 0
