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
    LINE_TOO_LONG = "file_line_too_long"
    GONE = "file_gone"


ENDINGS = {FileFormat.PARQUET: (".parquet",), FileFormat.NDJSON: (".ndjson", ".ndjson.gz")}
LONGEST_LINE = 16 << 20
"""Bytes. A longer line would not fit a reader's memory; up to here it is refused as a line, beyond with its file."""
_CHUNK = 1 << 20


def file_refusal(path: Path, file_format: FileFormat) -> FileRefusal | None:
    """The rule that a file breaks, or None: of Parquet by its footer, of lines by their length. No row is parsed.

    A fault of the disk or of a permission is no fault of the file and rises as OSError.
    """
    try:
        if file_format is FileFormat.PARQUET:
            return None if _is_contract(pq.read_schema(path)) else FileRefusal.SCHEMA
        return _line_refusal(path)
    except FileNotFoundError:
        return FileRefusal.GONE
    except (OSError, EOFError, zlib.error, pa.ArrowException) as fault:
        _rise_if_not_of_the_file(fault)
        return FileRefusal.DAMAGED


def is_damaged(path: Path, file_format: FileFormat) -> bool:
    """Whether a file cannot be read to its end. Reads all of it: asked only after a read has failed."""
    if file_format is FileFormat.NDJSON:
        return file_refusal(path, file_format) is not None
    try:
        source = pq.ParquetFile(path)
        for group in range(source.num_row_groups):
            source.read_row_group(group)
    except (OSError, pa.ArrowException) as fault:
        _rise_if_not_of_the_file(fault)
        return True
    return False


def _line_refusal(path: Path) -> FileRefusal | None:
    with open_plain(path) as stream:
        chunk = stream.read(_CHUNK)
        if chunk.startswith(b"\xef\xbb\xbf"):
            return FileRefusal.BYTE_ORDER_MARK
        open_line = 0
        while chunk:
            first, *others = chunk.split(b"\n")
            open_line += len(first)
            if max(open_line, *map(len, others), 0) > LONGEST_LINE:
                return FileRefusal.LINE_TOO_LONG
            open_line = len(others[-1]) if others else open_line
            chunk = stream.read(_CHUNK)
    return None


def _rise_if_not_of_the_file(fault: BaseException) -> None:
    # A decoder's OSError has no errno; the system's has.
    if isinstance(fault, OSError) and fault.errno is not None:
        raise fault


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
