"""Files of cell-attachment events as tables of rows, a piece at a time, whatever they are written in."""

import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ingest.attachment import EARLIEST, FIELD_NAMES, LATEST, TIME_FIELDS, Refusal
from ingest.avro_rows import AvroDamaged, avro_rows
from ingest.columns import ColumnMap, SchemaRefused
from ingest.csv_rows import csv_rows
from ingest.files import (
    LONGEST_LINE,
    FileFormat,
    FileRefusal,
    Layout,
    is_contract,
    open_plain,
    rise_if_not_of_the_file,
)
from ingest.lines import parse_block
from ingest.mapped_parquet import mapped_rows
from ingest.multimno import Multimno, multimno_rows
from ingest.rows import LAYOUT, ROW_TABLE
from ingest.texts import texts_of

ROWS_AT_ONCE = 250_000
"""Rows of the largest table that a reader gives."""
LINES_AT_ONCE = 1 << 16
"""Lines of the largest table that is made of lines: what has no usual shape takes a kilobyte each while it is read."""
BLOCK = 16 << 20
"""Bytes of lines that are read at once; at most LONGEST_LINE."""
LARGEST_ROW_GROUP = 1 << 30
"""Bytes, unpacked, of a row group of Parquet; one of ten million rows has about as many."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Reader = Callable[[Path, Layout | None, range | None], Iterator[pl.DataFrame]]


class FileDamaged(ValueError):
    """A file that cannot be read to its end as what it says it is; holds the reason and never the file."""

    def __init__(self, reason: FileRefusal = FileRefusal.DAMAGED) -> None:
        super().__init__(reason.value)
        self.reason = reason


def read_rows(
    path: Path, kind: FileFormat, layout: Layout | None = None, *, part: range | None = None
) -> Iterator[pl.DataFrame]:
    """The rows of a file, or of some of its `parts`, as tables (ROW_TABLE) of at most ROWS_AT_ONCE rows.

    `layout` says where a file that is not laid out like the contract keeps what; multimno's cannot be read without.
    Raises FileDamaged where a file cannot be read on: the tables before it are then worth nothing. A fault of the disk or
    of a permission is no fault of the file and rises as OSError.
    """
    try:
        if kind in _PARQUET:
            _refuse_bomb(pq.read_metadata(path))
        yield from _READERS[kind](path, layout, part)
    except SchemaRefused:
        raise FileDamaged(FileRefusal.SCHEMA) from None
    except AvroDamaged:
        raise FileDamaged from None
    except FileNotFoundError:
        raise FileDamaged(FileRefusal.GONE) from None
    except (OSError, EOFError, zlib.error, pa.ArrowException) as fault:
        rise_if_not_of_the_file(fault)
        raise FileDamaged from None


def parts(path: Path, kind: FileFormat) -> int:
    """How many parts of a file can be read one without the other: row groups of Parquet, 1 of anything else."""
    if kind not in _PARQUET:
        return 1
    try:
        return int(pq.read_metadata(path).num_row_groups)
    except FileNotFoundError:
        raise FileDamaged(FileRefusal.GONE) from None
    except (OSError, pa.ArrowException) as fault:
        rise_if_not_of_the_file(fault)
        raise FileDamaged from None


def _refuse_bomb(metadata: pq.FileMetaData) -> None:
    groups = (metadata.row_group(at) for at in range(metadata.num_row_groups))
    if any(group.total_byte_size > LARGEST_ROW_GROUP for group in groups):
        raise FileDamaged


def line_blocks(path: Path) -> Iterator[bytes]:
    """The lines of a file, unpacked, in blocks of about BLOCK bytes; a block ends with a whole line, without its end."""
    with open_plain(path) as stream:
        block = stream.read(BLOCK)
        if block.startswith(BYTE_ORDER_MARK):
            raise FileDamaged(FileRefusal.BYTE_ORDER_MARK)
        rest = b""
        while block:
            first, last = block.find(b"\n"), block.rfind(b"\n")
            # A block holds no line longer than itself, so only what it continues can be too long.
            if len(rest) + (first if first >= 0 else len(block)) > LONGEST_LINE:
                raise FileDamaged(FileRefusal.LINE_TOO_LONG)
            if last < 0:
                rest += block
            else:
                yield rest + block[:last]
                rest = block[last + 1 :]
            block = stream.read(BLOCK)
        if rest:
            yield rest


def _read_ndjson(path: Path, _layout: Layout | None, _part: range | None) -> Iterator[pl.DataFrame]:
    for block in line_blocks(path):
        yield from parse_block(block, min(LINES_AT_ONCE, ROWS_AT_ONCE))


def _read_csv(path: Path, layout: Layout | None, _part: range | None) -> Iterator[pl.DataFrame]:
    return csv_rows(line_blocks(path), _columns(layout))


def _read_avro(path: Path, layout: Layout | None, _part: range | None) -> Iterator[pl.DataFrame]:
    with path.open("rb") as stream:
        yield from avro_rows(stream, _columns(layout))


def _read_multimno(path: Path, layout: Layout | None, part: range | None) -> Iterator[pl.DataFrame]:
    if not isinstance(layout, Multimno):
        raise SchemaRefused
    return multimno_rows(path, layout, part)


def _columns(layout: Layout | None) -> ColumnMap | None:
    return layout if isinstance(layout, ColumnMap) else None


def _read_parquet(path: Path, layout: Layout | None, part: range | None) -> Iterator[pl.DataFrame]:
    if isinstance(layout, ColumnMap):
        yield from mapped_rows(path, layout, part)
        return
    with pq.ParquetFile(path) as footer:
        if not is_contract(footer.schema_arrow):
            raise FileDamaged(FileRefusal.SCHEMA)
        metadata, names = footer.metadata, footer.schema_arrow.names
    words = [name for name in names if name not in (*TIME_FIELDS, "token")]
    with pq.ParquetFile(path, metadata=metadata, read_dictionary=words) as source:
        groups = range(metadata.num_row_groups) if part is None else part
        for batch in source.iter_batches(ROWS_AT_ONCE, row_groups=list(groups), use_threads=False):
            yield _contract_table(batch)


def _contract_table(batch: pa.RecordBatch) -> pl.DataFrame:
    """A batch of the contract's columns, as text or as words of a dictionary, as a ROW_TABLE; what is absent is null."""
    broken = np.zeros(batch.num_rows, bool)
    columns: dict[str, pl.Series] = {}
    for name in batch.schema.names:
        array = batch.column(name)
        columns[name] = _instants(array) if name in TIME_FIELDS else _texts(array, broken)
    layout = pl.lit(None, pl.String)
    if broken.any():
        layout = pl.when(pl.Series(broken)).then(pl.lit(Refusal.NOT_UTF8.value))
    absent = [pl.lit(None, pl.String).alias(name) for name in FIELD_NAMES if name not in columns]
    return pl.DataFrame(columns).with_columns(*absent, layout.alias(LAYOUT)).select(ROW_TABLE.names())


def _instants(array: pa.Array) -> pl.Series:
    """Times in microseconds; outside the contract there is none, and what cannot be counted in microseconds lies there."""
    unit = array.type
    low, high = (pa.scalar(at, unit) for at in (EARLIEST, LATEST))
    inside = pc.and_(pc.greater_equal(array, low), pc.less(array, high))
    kept = array if pc.all(inside).as_py() else pc.if_else(inside, array, pa.scalar(None, unit))
    return pl.Series(kept.cast(pa.timestamp("us", "UTC")))


def _texts(array: pa.Array, broken: NDArray[np.bool_]) -> pl.Series:
    """Texts, or words by their dictionary, as a column; marks in `broken` the rows that are not UTF-8."""
    coded = pa.types.is_dictionary(array.type)
    words = texts_of(array.dictionary if coded else array)
    texts = words.gather(pl.Series(array.indices)) if coded else words
    if words.null_count():
        broken |= (texts.is_null().to_numpy()) & array.is_valid().to_numpy(zero_copy_only=False)
    return texts


_PARQUET = frozenset({FileFormat.PARQUET, FileFormat.MULTIMNO})
_READERS: Mapping[FileFormat, Reader] = {
    FileFormat.NDJSON: _read_ndjson,
    FileFormat.PARQUET: _read_parquet,
    FileFormat.CSV: _read_csv,
    FileFormat.AVRO: _read_avro,
    FileFormat.MULTIMNO: _read_multimno,
}
