"""CSV lines as the contract's columns: a header, then one line a row, by the column map of the carrier's settings.

The grammar is RFC 4180 without line breaks inside a value: a value is quoted as a whole or not at all, a quote inside is
doubled, every line has as many values as the header. A line that keeps to it can be cut in one way only; one that does not
is refused as `undecodable`, and no other line with it.
"""

import csv
import re
from collections.abc import Iterator

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from ingest.attachment import LINE_BYTES, Refusal
from ingest.columns import ColumnKind, ColumnMap, SchemaRefused, layout_of, misfit, refused, to_rows
from ingest.texts import texts_of

LONGEST_HEADER = 1 << 16
_ROWS_AT_ONCE = 250_000
_PIECE = 4 << 20


def csv_header(line: bytes, columns: ColumnMap | None) -> list[str]:
    """The names in a header, in their order; raises SchemaRefused if the map cannot read a file that begins like this."""
    delimiter = columns.delimiter if columns else ","
    try:
        text = line.removesuffix(b"\r").decode("utf-8")
        names = next(csv.reader([text], delimiter=delimiter, strict=True), [])
    except (UnicodeDecodeError, csv.Error):
        raise SchemaRefused from None
    if len(line) > LONGEST_HEADER or len(set(names)) != len(names):
        raise SchemaRefused
    if misfit(dict.fromkeys(names, ColumnKind.WRITTEN), columns):
        raise SchemaRefused
    return names


def csv_rows(blocks: Iterator[bytes], columns: ColumnMap | None = None) -> Iterator[pl.DataFrame]:
    """The rows (ROW_TABLE) in blocks of whole lines, the first of them the header; the last line end of a block is left out.

    Raises SchemaRefused. An empty file has no header and is refused too.
    """
    first = next(blocks, b"")
    header, _, rest = first.partition(b"\n")
    names = csv_header(header, columns)
    layout = layout_of(columns, dict.fromkeys(names))
    pattern = _line_pattern(len(names), layout.delimiter)
    if rest or len(first) > len(header):
        yield from _block_rows(rest, names, layout, pattern)
    for block in blocks:
        yield from _block_rows(block, names, layout, pattern)


def _block_rows(block: bytes, names: list[str], layout: ColumnMap, pattern: str) -> Iterator[pl.DataFrame]:
    for piece in _pieces(block):
        lines = _lines(piece)
        for start in range(0, len(lines), _ROWS_AT_ONCE):
            yield _rows(lines.slice(start, _ROWS_AT_ONCE), names, layout, pattern)


def _pieces(block: bytes) -> Iterator[bytes]:
    """A block in pieces of whole lines: a block of nothing but line ends is more lines than memory should hold."""
    start = 0
    while (end := block.find(b"\n", start + _PIECE)) >= 0:
        yield block[start:end]
        start = end + 1
    yield block[start:]


def _lines(piece: bytes) -> pa.Array:
    """The lines of a piece with their ends, not copied one by one."""
    text = piece + b"\n"
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n")) + 1
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    return pa.Array.from_buffers(pa.large_binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(text)])


def _rows(lines: pa.Array, names: list[str], layout: ColumnMap, pattern: str) -> pl.DataFrame:
    texts, sizes = texts_of(lines), pl.Series(pc.binary_length(lines))
    verdict = pl.select(
        pl.when(sizes > LINE_BYTES + 1)
        .then(pl.lit(Refusal.LINE_TOO_LONG.value))
        .when(texts.is_null())
        .then(pl.lit(Refusal.NOT_UTF8.value))
        .when(~texts.str.contains(pattern))
        .then(pl.lit(Refusal.UNDECODABLE.value))
    ).to_series()
    tables = [refused(reason, rows) for reason, rows in verdict.drop_nulls().value_counts().iter_rows()]
    if verdict.null_count():
        good = lines if not tables else lines.filter(verdict.is_null().to_arrow())
        tables.append(to_rows(_cut(good, names, layout), layout))
    return pl.concat(tables)


def _cut(lines: pa.Array, names: list[str], layout: ColumnMap) -> pl.DataFrame:
    """The mapped columns of lines that keep to the grammar, as text."""
    _, offsets, text = lines.buffers()
    first, past = np.frombuffer(offsets, np.int64)[[lines.offset, lines.offset + len(lines)]]
    table = arrow_csv.read_csv(
        pa.BufferReader(text.slice(first, past - first)),
        arrow_csv.ReadOptions(use_threads=False, column_names=names, block_size=int(past - first) + 1),
        arrow_csv.ParseOptions(delimiter=layout.delimiter, ignore_empty_lines=False),
        arrow_csv.ConvertOptions(
            check_utf8=False,
            column_types=dict.fromkeys(layout.columns, pa.string()),
            include_columns=list(layout.columns),
            null_values=list(layout.nulls),
            strings_can_be_null=True,
        ),
    )
    if table.num_rows != len(lines):
        # Not to be reached: the grammar leaves one way to cut a line.
        raise AssertionError("lines and rows differ in number")
    return pl.DataFrame(table)


def _line_pattern(values: int, delimiter: str) -> str:
    """A line of so many values with its end."""
    plain = rf"[^\"\r\n{re.escape(delimiter)}]*"
    value = rf"(?:{plain}|\"(?:[^\"\r\n]|\"\")*\")"
    return rf"\A{value}(?:{re.escape(delimiter)}{value}){{{values - 1}}}\r?\n\z"
