"""The line that is never crossed, checked on the shapes themselves: no table, field or parameter names a device."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Column, MetaData, String, Table

from api import schema
from api.openapi import openapi_document
from ingest.release import Release

FORBIDDEN = {
    "token", "tokens", "device", "devices", "imsi", "msisdn", "imei", "imeisv", "supi", "suci", "gpsi", "guti", "tmsi",
    "iccid", "sim", "subscriber", "subscription", "handset", "phone", "tac", "user", "person", "nationality", "citizen",
    "country", "home", "mcc", "mnc", "plmn", "cell", "cgi", "eci", "nci", "lat", "lon", "latitude", "longitude",
    "position", "track", "sighting", "event_time", "minute", "second", "bearing", "speed",
}  # fmt: skip
ALLOWED = {"token_day"}  # a day, not a token


def forbidden(name: str) -> set[str]:
    """The forbidden words in a name, whatever its spelling: snake, kebab or camel case."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").lower()
    for allowed in ALLOWED:
        snake = re.sub(rf"(^|_){allowed}(?=_|$)", r"\1", snake)
    return FORBIDDEN & ({*snake.split("_")} | {snake})


def column_names(metadata: MetaData) -> Iterator[str]:
    for table in metadata.tables.values():
        yield table.name
        for column in table.columns:
            yield column.name


def described_names(node: Any) -> Iterator[str]:
    """Every name in an OpenAPI or JSON Schema document: properties, parameters, schemas, paths, enum values."""
    if isinstance(node, list):
        for part in node:
            yield from described_names(part)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key in ("properties", "schemas", "$defs", "paths") and isinstance(value, dict):
            for name in value:
                yield from re.split(r"[/{}]+", name.strip("/"))
        if key == "enum":
            yield from (str(choice) for choice in value)
        if key == "name" and isinstance(value, str) and "in" in node:
            yield value
        if key != "example":
            yield from described_names(value)


def test_no_table_has_a_column_for_a_device() -> None:
    names = list(column_names(schema.metadata))
    assert len(names) > 80
    assert [name for name in names if forbidden(name)] == []


def test_no_route_parameter_or_field_names_a_device() -> None:
    names = list(described_names(openapi_document()))
    assert {"alerts", "zone_id", "Alert", "below_threshold", "since"} <= set(names)
    assert [name for name in names if forbidden(name)] == []


def test_no_field_of_a_release_names_a_device() -> None:
    assert [name for name in described_names(Release.model_json_schema()) if forbidden(name)] == []


def test_every_described_object_is_closed() -> None:
    schemas = openapi_document()["components"]["schemas"]
    open_ones = [
        name
        for name, shape in schemas.items()
        if shape.get("type") == "object" and shape.get("additionalProperties") is not False
    ]
    assert open_ones == []


def test_nothing_finer_than_an_hour_can_be_asked_for() -> None:
    document = openapi_document()
    names = {p["name"] for path in document["paths"].values() for op in path.values() for p in op.get("parameters", [])}
    assert names == {
        "since", "cursor", "limit", "start", "end", "zone_id", "sector_id", "direction", "carrier", "status",
        "severity", "alert_id", "level",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["token", "subscriber_token", "deviceId", "home_country", "IMSI", "nationality"])
def test_the_walk_would_see_one(name: str) -> None:
    planted = MetaData()
    Table("zone_count", planted, Column(name, String))
    assert [column for column in column_names(planted) if forbidden(column)] == [name]
    assert any(forbidden(found) for found in described_names({"properties": {name: {"type": "string"}}}))
    assert any(forbidden(found) for found in described_names({"parameters": [{"name": name, "in": "query"}]}))
