"""The column map: where a feed that is not laid out like the contract keeps each of the contract's fields.

It is data in the carrier's settings, checked once at birth. Nothing is guessed: a column of the file that is neither mapped
nor named under `ignore` refuses the file, and how a number counts time is declared.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ingest.attachment import FIELD_NAMES, FIELDS, TIME_FIELDS, Refusal
from ingest.cell_id import CellIdForm, spell_cell_ids
from ingest.rows import LAYOUT, ROW_TABLE
from ingest.times import TimeForm, epoch_instants, instants

NEVER_CONSTANT = frozenset({"token", "event_time", "ingest_time", "cell_id"})
_PATTERNS = {field.name: field.pattern for field in FIELDS if field.pattern is not None}
_REQUIRED = frozenset(field.name for field in FIELDS if not field.nullable)
_IDENTITIES = ("imsi", "msisdn", "imei", "supi", "suci", "gpsi", "iccid")
"""No part of an ignored column's name: a file that carries identities is refused, not thinned."""

Column = Annotated[str, Field(min_length=1, max_length=200)]


class ColumnKind(StrEnum):
    """What a column of a typed file (Parquet, Avro) holds."""

    WRITTEN = "written"
    """Text in which everything is written down, numbers and times too: CSV."""
    TEXT = "text"
    INSTANT = "instant"
    NUMBER = "number"
    OTHER = "other"


class SchemaRefused(ValueError):
    """A file whose columns are not those that its layout names; says nothing of what it holds."""

    def __init__(self) -> None:
        super().__init__("a file does not have the columns that are expected")


class ColumnMap(BaseModel):
    """Which column of a file holds which field, and how it writes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fields: dict[str, Column] = Field(description="field of the contract -> column of the file")
    constants: dict[str, str] = Field(
        default={}, description="field that the file has no column for -> every row's value"
    )
    values: dict[str, dict[str, str]] = Field(default={}, description="field -> the file's word -> the contract's word")
    times: dict[str, TimeForm] = Field(default={}, description="event_time, ingest_time -> how they are written")
    cell_ids: CellIdForm = Field(default=CellIdForm.CONTRACT, description="how cell_id is written")
    ignore: frozenset[Column] = Field(default=frozenset(), description="columns of the file that are never read")
    delimiter: str = Field(default=",", pattern=r"^[,;|\t]$", description="CSV only")
    nulls: tuple[str, ...] = Field(default=("",), description="texts that stand for null, CSV only")

    @model_validator(mode="after")
    def _says_where_every_field_is(self) -> Self:
        given = [*self.fields, *self.constants]
        if not set(given) <= set(FIELD_NAMES):
            raise ValueError(f"fields and constants name fields of the contract: {', '.join(FIELD_NAMES)}")
        if len(given) != len(set(given)):
            raise ValueError("a field has a column or a constant, not both")
        # Kafka gives the time of arrival itself; a file without it is refused when it is read.
        if missing := _REQUIRED - {*given, "ingest_time"}:
            raise ValueError(f"no column for {', '.join(sorted(missing))}")
        if NEVER_CONSTANT & self.constants.keys():
            raise ValueError(f"{', '.join(sorted(NEVER_CONSTANT))} differ from row to row")
        if not self.times.keys() <= set(TIME_FIELDS):
            raise ValueError(f"times says how {' and '.join(TIME_FIELDS)} are written")
        if not self.values.keys() <= (self.fields.keys() & _PATTERNS.keys()) - {"token"}:
            raise ValueError(
                "values translates the words of fields that have a column; a token or a time is taken as it is"
            )
        for name, words in (*((name, [word]) for name, word in self.constants.items()), *_targets(self.values)):
            if not all(re.fullmatch(_PATTERNS[name], word) for word in words):
                raise ValueError(f"a word for {name} is not one of the contract's")
        if self.ignore & set(self.fields.values()):
            raise ValueError("a column is mapped or ignored, not both")
        if any(identity in _letters(column) for column in self.ignore for identity in _IDENTITIES):
            raise ValueError("a column of identities cannot be ignored: it must not be in the file")
        return self

    @property
    def is_arrival_made_up(self) -> bool:
        """Whether a row is said to have arrived when it happened, so that none is ever late."""
        return self.fields.get("ingest_time") == self.fields["event_time"]

    @property
    def columns(self) -> tuple[str, ...]:
        """The file's columns that are read, each once."""
        return tuple(dict.fromkeys(self.fields.values()))


def layout_of(columns: ColumnMap | None, found: Mapping[str, object]) -> ColumnMap:
    """The map to read a file by: the one given, or for a file of the contract's own columns those that it has."""
    if columns is not None:
        return columns
    return ColumnMap(fields={name: name for name in FIELD_NAMES if name in found or name in _REQUIRED})


def misfit(kinds: Mapping[str, ColumnKind], columns: ColumnMap | None, *, timed: bool = True) -> Refusal | None:
    """Why a file or message with these columns cannot be read by the map; None if all that is mapped is there and no more.

    `timed` says that the arrival has to be in it: a Kafka record brings its own.
    """
    layout = layout_of(columns, kinds)
    wanted = {
        name: column for name, column in layout.fields.items() if timed or name != "ingest_time" or column in kinds
    }
    if not kinds.keys() <= {*layout.columns, *layout.ignore}:
        return Refusal.UNKNOWN_FIELD
    if not set(wanted.values()) <= kinds.keys() or (timed and "ingest_time" not in wanted):
        return Refusal.MISSING_FIELD
    for name, column in wanted.items():
        if kinds[column] not in {ColumnKind.WRITTEN, *_kinds_taken(name, layout)}:
            return Refusal.WRONG_TYPE
    return None


def to_rows(table: pl.DataFrame, layout: ColumnMap) -> pl.DataFrame:
    """The contract's rows (ROW_TABLE) in a table that holds the layout's columns as texts, whole numbers or instants.

    A word without a translation is left as it is, so that the door refuses it by its field's reason. A constant `rat`
    belongs to rows with a cell only.
    """
    columns = {name: _read(table[column], name, layout) for name, column in layout.fields.items()}
    if layout.cell_ids is CellIdForm.DECIMAL and "cell_id" in columns:
        written = columns["cell_id"]
        rats = columns.get("rat", pl.repeat(layout.constants.get("rat"), table.height, dtype=pl.String, eager=True))
        columns["cell_id"] = pl.select(pl.coalesce(spell_cell_ids(rats, written), written.cast(pl.String))).to_series()
    cells = columns.get("cell_id", pl.Series([None], dtype=pl.String))
    for name, word in layout.constants.items():
        constant = pl.repeat(word, table.height, dtype=pl.String, eager=True)
        columns[name] = constant.set(cells.is_null(), None) if name == "rat" else constant
    absent = [pl.lit(None, ROW_TABLE[name]).alias(name) for name in (*FIELD_NAMES, LAYOUT) if name not in columns]
    rows = pl.DataFrame([column.alias(name) for name, column in columns.items()])
    return rows.with_columns(absent).select(ROW_TABLE.names()).cast(ROW_TABLE)


def refused(reason: str, rows: int) -> pl.DataFrame:
    """So many rows that could not be taken apart: nothing but their reason."""
    return pl.DataFrame({LAYOUT: pl.repeat(reason, rows, dtype=pl.String, eager=True)}).select(
        *[pl.lit(None, ROW_TABLE[name]).alias(name) for name in FIELD_NAMES], LAYOUT
    )


def _read(column: pl.Series, name: str, layout: ColumnMap) -> pl.Series:
    if name in TIME_FIELDS:
        if isinstance(column.dtype, pl.Datetime):
            return column.cast(ROW_TABLE[name])
        form = layout.times.get(name, TimeForm.RFC_3339)
        return instants(column) if form is TimeForm.RFC_3339 else epoch_instants(column, form)
    words = layout.values.get(name)
    return column.replace(words) if words else column


def _kinds_taken(name: str, layout: ColumnMap) -> frozenset[ColumnKind]:
    if name in TIME_FIELDS:
        if name not in layout.times:
            return frozenset({ColumnKind.INSTANT, ColumnKind.TEXT})
        return frozenset({ColumnKind.TEXT if layout.times[name] is TimeForm.RFC_3339 else ColumnKind.NUMBER})
    if name == "cell_id" and layout.cell_ids is CellIdForm.DECIMAL:
        return frozenset({ColumnKind.TEXT, ColumnKind.NUMBER})
    return frozenset({ColumnKind.TEXT})


def _targets(values: Mapping[str, Mapping[str, str]]) -> list[tuple[str, list[str]]]:
    return [(name, list(words.values())) for name, words in values.items()]


def _letters(name: str) -> str:
    return re.sub("[^a-z]", "", name.lower())
