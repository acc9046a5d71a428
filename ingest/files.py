"""Cell-attachment files: what a carrier's drop folder may hold, checked before Spark reads it."""

import gzip
import zlib
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from ingest.attachment import FIELD_NAMES, FIELDS, TIME_FIELDS


class FileFormat(StrEnum):
    """How events are written down."""

    PARQUET = "parquet"
    NDJSON = "ndjson"


class FileRefusal(StrEnum):
    """Why a file is refused whole."""

    DAMAGED = "file_damaged"
    SCHEMA = "file_schema"
    BYTE_ORDER_MARK = "file_byte_order_mark"


PATTERNS = {FileFormat.PARQUET: "*.parquet", FileFormat.NDJSON: "*.ndjson*"}


def file_refusal(path: Path, file_format: FileFormat) -> FileRefusal | None:
    """The rule that a file breaks by what its head and footer say, or None. Cheap: no row is read."""
    try:
        if file_format is FileFormat.PARQUET:
            return None if _is_contract(pq.read_schema(path)) else FileRefusal.SCHEMA
        with open_plain(path) as stream:
            return FileRefusal.BYTE_ORDER_MARK if stream.read(3) == b"\xef\xbb\xbf" else None
    except (OSError, EOFError, zlib.error, pa.ArrowException):
        return FileRefusal.DAMAGED


def is_damaged(path: Path, file_format: FileFormat) -> bool:
    """Whether a file cannot be read to its end. Reads all of it: asked only after a read has failed."""
    try:
        if file_format is FileFormat.PARQUET:
            source = pq.ParquetFile(path)
            for group in range(source.num_row_groups):
                source.read_row_group(group)
        else:
            with open_plain(path) as stream:
                while stream.read(1 << 20):
                    pass
    except (OSError, EOFError, zlib.error, pa.ArrowException):
        return True
    return False


def open_plain(path: Path) -> BinaryIO:
    """The bytes of a file, unpacked if its name says gzip."""
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _is_contract(schema: pa.Schema) -> bool:
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
