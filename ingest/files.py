"""Cell-attachment files: what a carrier's drop folder may hold, and why a file is refused whole."""

import gzip
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from ingest.attachment import FIELD_NAMES, FIELDS, TIME_FIELDS
from ingest.columns import ColumnMap
from ingest.multimno import Multimno


class FileFormat(StrEnum):
    """How events are written down."""

    PARQUET = "parquet"
    NDJSON = "ndjson"
    CSV = "csv"
    AVRO = "avro"
    MULTIMNO = "multimno"
    """Parquet in the schema of Eurostat's multimno."""


class FileRefusal(StrEnum):
    """Why a file is refused whole."""

    DAMAGED = "file_damaged"
    SCHEMA = "file_schema"
    BYTE_ORDER_MARK = "file_byte_order_mark"
    LINE_TOO_LONG = "file_line_too_long"
    GONE = "file_gone"


ENDINGS = {
    FileFormat.PARQUET: (".parquet",),
    FileFormat.NDJSON: (".ndjson", ".ndjson.gz", ".ndjson.zst"),
    FileFormat.CSV: (".csv", ".csv.gz", ".csv.zst"),
    FileFormat.AVRO: (".avro",),
    FileFormat.MULTIMNO: (".parquet",),
}
Layout = ColumnMap | Multimno
"""Where files that are not laid out like the contract keep what."""
LONGEST_LINE = 16 << 20
"""Bytes. A longer line would not fit a reader's memory; up to here it is refused as a line, beyond with its file."""


def rise_if_not_of_the_file(fault: BaseException) -> None:
    """Let a fault of the disk, of a permission or of the memory rise: it says nothing about the file."""
    if isinstance(fault, MemoryError | pa.ArrowCancelled):
        raise fault
    # A decoder's OSError has no errno; the system's has.
    if isinstance(fault, OSError) and fault.errno is not None:
        raise fault


def open_plain(path: Path) -> BinaryIO:
    """The bytes of a file, unpacked if its name says gzip or zstd."""
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    if path.suffix == ".zst":
        return cast(BinaryIO, pa.CompressedInputStream(path.open("rb"), "zstd"))
    return path.open("rb")


def is_contract(schema: pa.Schema) -> bool:
    """Known columns only, none that must be present missing, text as text and times as instants in UTC."""
    if not set(schema.names) <= set(FIELD_NAMES) or len(set(schema.names)) != len(schema.names):
        return False
    if any(not field.nullable and field.name not in schema.names for field in FIELDS):
        return False
    for name in schema.names:
        kind = schema.field(name).type
        if name in TIME_FIELDS:
            if not (pa.types.is_timestamp(kind) and kind.tz == "UTC" and kind.unit in ("ms", "us")):
                return False
        elif not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            return False
    return True
