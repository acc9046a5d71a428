"""Avro object container files as the contract's columns, a few blocks at a time (Apache Avro specification 1.11).

The container is walked here, so that no length in a file makes a reader take more memory than a block may hold; the records
in a block are decoded by fastavro. A block that does not come apart damages its file, whose rows are then worth nothing.
"""

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import fastavro
import polars as pl
import pyarrow as pa

from ingest.attachment import Refusal
from ingest.avro_schema import LONGEST_SCHEMA, WrittenSchema, record_columns, written_schema
from ingest.columns import ColumnMap, SchemaRefused, layout_of, misfit, to_rows
from ingest.rows import LAYOUT

LONGEST_BLOCK = 16 << 20
"""Bytes of a block, packed or unpacked. Writers close a block after 16 to 64 kB."""
MOST_IN_BLOCK = 250_000
"""Records of a block."""
MOST_ENTRIES = 1_000
"""Entries of a header."""
_ROWS_AT_ONCE = 50_000
_MAGIC = b"Obj\x01"
_SYNC_BYTES = 16
_LOST = "�"
"""What stands for bytes that are not UTF-8. No field of the contract may hold it."""


class AvroDamaged(ValueError):
    """Bytes that are no Avro, or not to their end; says nothing of what they hold."""

    def __init__(self) -> None:
        super().__init__("an Avro file cannot be read to its end")


def avro_header(stream: BinaryIO, columns: ColumnMap | None) -> tuple[WrittenSchema, str, bytes]:
    """Schema, codec and sync marker of a container; raises AvroDamaged, or SchemaRefused where the map does not fit."""
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise AvroDamaged
    entries: dict[bytes, bytes] = {}
    while count := _long(stream):
        if count < 0:
            _long(stream)  # The size in bytes, of use to who skips it.
        for _ in range(abs(count)):
            name = _bytes(stream, LONGEST_SCHEMA)
            entries[name] = _bytes(stream, LONGEST_SCHEMA)
            if len(entries) > MOST_ENTRIES:
                raise AvroDamaged
    sync = _exactly(stream, _SYNC_BYTES)
    try:
        text, codec = entries[b"avro.schema"].decode("utf-8"), entries.get(b"avro.codec", b"null").decode("ascii")
    except (KeyError, UnicodeDecodeError):
        raise AvroDamaged from None
    schema = written_schema(text)
    if codec not in _CODECS or misfit(schema.kinds, columns):
        raise SchemaRefused
    return schema, codec, sync


def avro_rows(stream: BinaryIO, columns: ColumnMap | None = None) -> Iterator[pl.DataFrame]:
    """The rows (ROW_TABLE) of a container; raises AvroDamaged or SchemaRefused."""
    schema, codec, sync = avro_header(stream, columns)
    layout = layout_of(columns, schema.kinds)
    records: list[dict[str, Any]] = []
    while head := stream.read(1):
        count, packed = _long(stream, head), _bytes(stream, LONGEST_BLOCK)
        if not 0 <= count <= MOST_IN_BLOCK or _exactly(stream, _SYNC_BYTES) != sync:
            raise AvroDamaged
        records += _records(_unpacked(packed, codec), count, schema)
        if len(records) >= _ROWS_AT_ONCE:
            yield from _tables(records, schema, layout)
            records = []
    yield from _tables(records, schema, layout)


def _tables(records: list[dict[str, Any]], schema: WrittenSchema, layout: ColumnMap) -> Iterator[pl.DataFrame]:
    for start in range(0, len(records), MOST_IN_BLOCK):
        yield avro_table(records[start : start + MOST_IN_BLOCK], schema, layout)


def avro_table(records: list[dict[str, Any]], schema: WrittenSchema, layout: ColumnMap) -> pl.DataFrame:
    """Decoded records as rows (ROW_TABLE), one for one; a text that was not UTF-8 refuses its row."""
    columns = record_columns(records, schema, layout)
    lost = pl.any_horizontal(pl.lit(False), pl.col(pl.String).str.contains(_LOST, literal=True).fill_null(False))
    broken = pl.DataFrame(columns).select(lost).to_series()
    return not_utf8(to_rows(schema.table(columns, layout), layout), broken)


def not_utf8(rows: pl.DataFrame, broken: pl.Series) -> pl.DataFrame:
    """Rows, of which those that were not UTF-8 are refused."""
    if not broken.any():
        return rows
    return rows.with_columns(pl.when(broken).then(pl.lit(Refusal.NOT_UTF8.value)).alias(LAYOUT))


def _records(block: bytes, count: int, schema: WrittenSchema) -> list[dict[str, Any]]:
    """The records of a block. An array is written as its length, its items and a zero: the block is read as one."""
    if not count and not block:
        return []
    if count > len(block):
        raise AvroDamaged
    array = io.BytesIO(_zigzag(count) + block + b"\0")
    found = decode(array, {"type": "array", "items": schema.decoder})
    if array.read(1) or len(found) != count:
        raise AvroDamaged
    return found  # type: ignore[no-any-return]


def decode(written: io.BytesIO, schema: Any) -> Any:
    """What bytes say by a schema; raises AvroDamaged. Text that is not UTF-8 is kept with U+FFFD in it."""
    try:
        return fastavro.schemaless_reader(written, schema, None, handle_unicode_errors="replace")
    except (EOFError, ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError):
        raise AvroDamaged from None


def _unpacked(packed: bytes, codec: str) -> bytes:
    try:
        plain = _CODECS[codec](packed)
    except (MemoryError, pa.ArrowCancelled):
        raise  # Arrow calls them its own exceptions; they say nothing of the file.
    except (zlib.error, OSError, EOFError, lzma.LZMAError, pa.ArrowException, ValueError):
        raise AvroDamaged from None
    if len(plain) > LONGEST_BLOCK:
        raise AvroDamaged
    return plain


def _deflated(packed: bytes) -> bytes:
    return _to_its_end(zlib.decompressobj(-zlib.MAX_WBITS), packed)


def _bzipped(packed: bytes) -> bytes:
    return _to_its_end(bz2.BZ2Decompressor(), packed)


def _xzipped(packed: bytes) -> bytes:
    return _to_its_end(lzma.LZMADecompressor(memlimit=256 << 20), packed)


def _to_its_end(decompressor: Any, packed: bytes) -> bytes:
    plain: bytes = decompressor.decompress(packed, LONGEST_BLOCK + 1)
    if not decompressor.eof and len(plain) <= LONGEST_BLOCK:
        raise EOFError
    return plain


def _snapped(packed: bytes) -> bytes:
    # The length comes first, as in Avro but without a sign; four bytes of a checksum come last.
    size, at = 0, 0
    while at < len(packed) and at < 5:
        size |= (packed[at] & 127) << 7 * at
        at += 1
        if packed[at - 1] < 128:
            break
    if size > LONGEST_BLOCK:
        raise EOFError
    plain: bytes = pa.decompress(packed[:-4], size, codec="snappy", asbytes=True)
    if zlib.crc32(plain) != int.from_bytes(packed[-4:], "big"):
        raise EOFError
    return plain


def _zstandard(packed: bytes) -> bytes:
    with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
        return bytes(stream.read(LONGEST_BLOCK + 1))


_CODECS: dict[str, Callable[[bytes], bytes]] = {
    "null": bytes,
    "deflate": _deflated,
    "bzip2": _bzipped,
    "xz": _xzipped,
    "snappy": _snapped,
    "zstandard": _zstandard,
}


def _long(stream: BinaryIO, head: bytes = b"") -> int:
    """A whole number as Avro writes it: seven bits a byte, the sign in the lowest bit."""
    number, shift = 0, 0
    while True:
        byte = (head or _exactly(stream, 1))[0]
        head = b""
        number |= (byte & 127) << shift
        if byte < 128:
            return (number >> 1) ^ -(number & 1)
        shift += 7
        if shift > 63:
            raise AvroDamaged


def _zigzag(count: int) -> bytes:
    number, written = count << 1, bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    return bytes([*written, number])


def _bytes(stream: BinaryIO, most: int) -> bytes:
    size = _long(stream)
    if not 0 <= size <= most:
        raise AvroDamaged
    return _exactly(stream, size)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    found = stream.read(size)
    if len(found) != size:
        raise AvroDamaged
    return found
