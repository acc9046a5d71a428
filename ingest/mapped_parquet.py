"""Parquet files that are not laid out like the contract, by the column map of the carrier's settings."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.attachment import Refusal
from ingest.columns import ColumnKind, ColumnMap, SchemaRefused, misfit, to_rows
from ingest.rows import LAYOUT
from ingest.texts import texts_of
from ingest.times import TimeForm, epoch_instants

_ROWS_AT_ONCE = 250_000
_UNITS = {"ms": TimeForm.EPOCH_MS, "us": TimeForm.EPOCH_US}


def column_kinds(schema: pa.Schema) -> dict[str, ColumnKind]:
    """What each column holds. An instant is one with a zone that says UTC, in milliseconds or microseconds."""
    return {name: _kind(schema.field(name).type) for name in schema.names}


def is_mapped(schema: pa.Schema, columns: ColumnMap) -> bool:
    """Whether the map can read a file of this schema."""
    return len(set(schema.names)) == len(schema.names) and misfit(column_kinds(schema), columns) is None


def mapped_rows(path: Path, columns: ColumnMap, part: range | None = None) -> Iterator[pl.DataFrame]:
    """The rows (ROW_TABLE) of a file, or of some of its row groups; raises SchemaRefused. No other column is opened."""
    with pq.ParquetFile(path) as source:
        if not is_mapped(source.schema_arrow, columns):
            raise SchemaRefused
        groups = list(range(source.num_row_groups) if part is None else part)
        for batch in source.iter_batches(
            _ROWS_AT_ONCE, row_groups=groups, columns=list(columns.columns), use_threads=False
        ):
            yield _rows(batch, columns)


def _rows(batch: pa.RecordBatch, columns: ColumnMap) -> pl.DataFrame:
    found, broken = {}, pl.repeat(False, batch.num_rows, eager=True)
    for name in columns.columns:
        array = batch.column(name)
        found[name] = _series(array)
        if found[name].dtype == pl.String:
            broken = broken | (found[name].is_null() & pl.Series(array.is_valid()))
    rows = to_rows(pl.DataFrame(found), columns)
    if not broken.any():
        return rows
    return rows.with_columns(pl.when(broken).then(pl.lit(Refusal.NOT_UTF8.value)).alias(LAYOUT))


def _series(array: pa.Array) -> pl.Series:
    match _kind(array.type):
        case ColumnKind.TEXT:
            return texts_of(array)
        case ColumnKind.INSTANT:
            # By its number: what cannot be counted in microseconds is no time, and no fault of the whole file.
            return epoch_instants(pl.Series(array.view(pa.int64())), _UNITS[array.type.unit])
    return pl.Series(array)


def _kind(kind: pa.DataType) -> ColumnKind:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return ColumnKind.TEXT
    if pa.types.is_timestamp(kind) and kind.tz == "UTC" and kind.unit in _UNITS:
        return ColumnKind.INSTANT
    return ColumnKind.NUMBER if pa.types.is_integer(kind) else ColumnKind.OTHER
