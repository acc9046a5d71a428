"""Avro schemas: the contract as one, and what another one says of its fields (Apache Avro specification 1.11)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fastavro
import polars as pl
from fastavro.schema import SchemaParseException, UnknownType

from ingest.attachment import FIELDS
from ingest.columns import ColumnKind, ColumnMap, SchemaRefused
from ingest.times import TimeForm, epoch_instants

LONGEST_SCHEMA = 1 << 18
_INSTANTS = {"timestamp-millis": TimeForm.EPOCH_MS, "timestamp-micros": TimeForm.EPOCH_US}


def avro_schema() -> dict[str, Any]:
    """The contract as an Avro schema, from the same definition as the validator; times are counted in microseconds."""
    fields: list[dict[str, Any]] = []
    for field in FIELDS:
        kind: Any = "string" if field.pattern else {"type": "long", "logicalType": "timestamp-micros"}
        fields.append(
            {"name": field.name, "type": ["null", kind], "default": None}
            if field.nullable
            else {"name": field.name, "type": kind}
        )
    return {
        "type": "record",
        "name": "cell_attachment",
        "namespace": "tidemark",
        "doc": "Inside the carrier only. Any other field refuses the row.",
        "fields": fields,
    }


@dataclass(frozen=True, slots=True)
class WrittenField:
    """One field as records were written: what it holds, how it counts time, which branch says null, an enum's words."""

    name: str
    kind: ColumnKind
    unit: TimeForm | None = None
    null_branch: int | None = None
    symbols: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class WrittenSchema:
    """How records were written: their fields in order, and the schema by which fastavro takes them apart."""

    fields: tuple[WrittenField, ...]
    decoder: Any

    @property
    def kinds(self) -> dict[str, ColumnKind]:
        """What each field holds."""
        return {field.name: field.kind for field in self.fields}

    def table(self, columns: Mapping[str, pl.Series], layout: ColumnMap) -> pl.DataFrame:
        """The layout's columns of decoded ones: texts, whole numbers, and instants where a field counts time."""
        units = {field.name: field.unit for field in self.fields}
        return pl.DataFrame([_instants(columns[name], units[name]).alias(name) for name in layout.columns])


def written_schema(text: str) -> WrittenSchema:
    """The schema in a JSON text; raises SchemaRefused if it is none, or not one flat record.

    A field is text (string or enum), a number, an instant, or one of these or null; anything nested or else is `other`.
    """
    try:
        document = json.loads(text) if len(text) <= LONGEST_SCHEMA else None
        if not isinstance(document, dict) or document.get("type") != "record":
            raise SchemaRefused
        named: dict[str, Any] = {}
        fields = tuple(_field(field["name"], field["type"], named) for field in document["fields"])
        plain = fastavro.parse_schema(_without_logic(document))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SchemaParseException, UnknownType):
        raise SchemaRefused from None
    if len({field.name for field in fields}) != len(fields):
        raise SchemaRefused
    return WrittenSchema(fields, plain)


def record_columns(records: list[dict[str, Any]], schema: WrittenSchema, layout: ColumnMap) -> dict[str, pl.Series]:
    """The layout's columns of records that fastavro has taken apart."""
    kinds = schema.kinds
    dtypes = {name: pl.String() if kinds[name] is ColumnKind.TEXT else pl.Int64() for name in layout.columns}
    return {name: pl.Series([record[name] for record in records], dtype=dtype) for name, dtype in dtypes.items()}


def _instants(column: pl.Series, unit: TimeForm | None) -> pl.Series:
    return column if unit is None else epoch_instants(column, unit)


def _field(name: str, written: Any, named: dict[str, Any]) -> WrittenField:
    null_branch = None
    if isinstance(written, list):
        branches = [branch for branch in written if branch != "null"]
        if len(written) != 2 or len(branches) != 1:
            return WrittenField(name, ColumnKind.OTHER)
        null_branch, (written,) = written.index("null"), branches
    if isinstance(written, str):
        written = named.get(written, {"type": written})
    match written.get("type"), written.get("logicalType"):
        case "enum", _:
            named[written["name"]] = written
            return WrittenField(name, ColumnKind.TEXT, None, null_branch, tuple(written["symbols"]))
        case "string", None:
            return WrittenField(name, ColumnKind.TEXT, None, null_branch)
        case (("long" | "int"), None):
            return WrittenField(name, ColumnKind.NUMBER, None, null_branch)
        case "long", str() as logic if logic in _INSTANTS:
            return WrittenField(name, ColumnKind.INSTANT, _INSTANTS[logic], null_branch)
    return WrittenField(name, ColumnKind.OTHER)


def _without_logic(part: Any) -> Any:
    """A schema that gives the bare numbers, which are then made instants many at a time."""
    if isinstance(part, dict):
        return {
            name: _without_logic(value)
            for name, value in part.items()
            if name not in ("logicalType", "default", "aliases")
        }
    return [_without_logic(value) for value in part] if isinstance(part, list) else part
