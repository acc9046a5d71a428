"""NDJSON lines as the contract's columns, many at a time: `ingest.attachment.parse_line`, only faster.

The shapes of the lines are learnt from lines that `parse_line` accepts; lines of a learnt shape are cut where their quotes
are, and all other lines go through `parse_line` one by one.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ingest.attachment import (
    FIELD_NAMES,
    LINE_BYTES,
    TEXT_FIELDS,
    TIME_FIELDS,
    AttachmentRefused,
    Refusal,
    parse_line,
    parse_time,
)
from ingest.rows import NO_TIME, ROW_TABLE
from ingest.shape import Mould, QuotedLines, shape_of
from ingest.spelling import (
    SHORT,
    Bytes,
    Positions,
    own_views,
    padded,
    plain_times,
    text_column,
    text_views,
    time_column,
)

_SHAPES = 16
"""Shapes that are learnt in one block; a topic that many kinds of producers write to is read line by line."""
_LOOK_AT = 8
"""Lines that are looked at to learn a shape."""
_FEW = 16
"""Lines that are sooner read one by one than a shape is learnt."""
_AT_ONCE = 4096
"""Lines that are cut at once: what a processor keeps close."""
_BLOCK = 16 << 20
"""Bytes of lines that become one table."""
_NEW_LINE, _RETURN, _BACKSLASH = b"\n\r\\"
_EPOCH, _US = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_CODES = {reason: code for code, reason in enumerate(Refusal)}


def parse_table(lines: pl.Series) -> pl.DataFrame:
    """Lines (bytes) as a table (ROW_TABLE), row for row; a null is a line without a byte."""
    return parse_array(lines.to_arrow(compat_level=pl.CompatLevel.oldest()))


def parse_array(lines: pa.Array) -> pl.DataFrame:
    """`parse_table` for Arrow's own bytes (binary or large_binary)."""
    if lines.null_count:
        lines = lines.fill_null(b"")
    if not len(lines):
        return ROW_TABLE.to_frame()
    width = np.int64 if pa.types.is_large_binary(lines.type) else np.int32
    _, offsets, text = lines.buffers()
    bounds = np.frombuffer(offsets, width)[lines.offset : lines.offset + len(lines) + 1].astype(np.int64)
    raw = np.empty(0, np.uint8) if text is None else np.frombuffer(text, np.uint8)
    return pl.concat(
        [
            _parse(padded(raw[some[0] : some[-1]]), some[:-1] - some[0], some[1:] - some[0])
            for some in _runs(bounds, _BLOCK)
        ]
    )


def parse_block(block: bytes, at_most: int) -> Iterator[pl.DataFrame]:
    """Lines that are parted by line feeds, as tables (ROW_TABLE) of at most so many rows."""
    if block.count(b"\n") >= at_most:
        # Halves first: a block that is nothing but line feeds must not be laid out at once.
        half = len(block) // 2
        middle = block.rfind(b"\n", 0, half) if block.find(b"\n", half) < 0 else block.find(b"\n", half)
        yield from parse_block(block[:middle], at_most)
        yield from parse_block(block[middle + 1 :], at_most)
        return
    text = padded(block)
    end = np.append(np.flatnonzero(text[: len(block)] == _NEW_LINE), len(block))
    yield _parse(text, np.append(0, end[:-1] + 1), end)


def _runs(bounds: Positions, size: int) -> Iterator[Positions]:
    """The bounds of texts that follow each other, in runs of at most so many bytes or of one text."""
    at = 0
    while at < len(bounds) - 1:
        until = max(at + 1, int(np.searchsorted(bounds, bounds[at] + size, side="right")) - 1)
        yield bounds[at : until + 1]
        at = until


def _parse(block: Bytes, start: Positions, end: Positions) -> pl.DataFrame:
    """The lines of a block as a table: cut where their shape can be learnt, the others read by `parse_line`."""
    count = len(start)
    # A return before a line feed is space to JSON, and no part of a shape.
    trimmed = end - ((end > start) & (block[end - 1] == _RETURN))
    irregular, absent = np.ones(count, bool), np.ones((len(FIELD_NAMES), count), bool)
    views = {field.name: np.empty((count, 4), np.uint32) for field in TEXT_FIELDS}
    times = {name: np.empty(count, np.int64) for name in TIME_FIELDS}
    moulds: list[Mould] = []
    for first in range(0, count, _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        lines = QuotedLines.of(block, start[some], trimmed[some])
        asked = np.flatnonzero(_plain(block, lines.start, lines.end) & (end[some] - lines.start <= LINE_BYTES))
        at, size, irregular[some] = _positions(lines, asked, moulds)
        absent[:, some] = size < 0
        np.maximum(size, 0, out=size)
        for field, name in enumerate(FIELD_NAMES):
            if name in times:
                times[name][some] = _instants(block, at[field], size[field], absent[field, some])
            else:
                views[name][some] = text_views(block, at[field], size[field])
    refused = np.full(count, -1)
    refused[end - start > LINE_BYTES] = _CODES[Refusal.LINE_TOO_LONG]
    refused[end == start] = _CODES[Refusal.NOT_JSON]
    alone = np.flatnonzero(irregular & (refused < 0))
    rows = [_read_alone(block[start[line] : end[line]].tobytes()) for line in alone]
    refused[alone] = [-1 if isinstance(row, dict) else _CODES[row] for row in rows]
    columns = []
    for field, name in enumerate(FIELD_NAMES):
        texts = [row[name] if isinstance(row, dict) else None for row in rows]
        if name in times:
            times[name][alone] = [_microseconds(parse_time(text)) for text in texts]
            columns.append(time_column(times[name], times[name] == NO_TIME))
        else:
            views[name][alone], others = own_views(texts)
            absent[field, alone] = [text is None for text in texts]
            columns.append(text_column(views[name], absent[field], block, others))
    return pl.DataFrame(pa.RecordBatch.from_arrays([*columns, _reasons(refused)], ROW_TABLE.names()))


def _read_alone(line: bytes) -> dict[str, str | None] | Refusal:
    """A line by `parse_line`: its fields, or why it is refused."""
    try:
        return parse_line(line)
    except AttachmentRefused as refused:
        return refused.reason


def _reasons(refused: NDArray[np.int64]) -> pa.Array:
    """The column of refusals by their codes; null for the lines that have none."""
    if refused.max() < 0:
        return pa.nulls(len(refused), pa.large_string())
    codes = pa.array(refused, mask=refused < 0)
    return pa.DictionaryArray.from_arrays(codes, pa.array(_CODES, pa.large_string())).dictionary_decode()


def _positions(
    lines: QuotedLines, asked: Positions, moulds: list[Mould]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.bool_]]:
    """Per field where its text begins in each line and how long it is (-1 for a null), and which lines have no shape.

    Shapes that are not among the moulds are learnt, and added to them.
    """
    count = len(lines.start)
    at = np.full((len(FIELD_NAMES), count), SHORT)
    size = np.full((len(FIELD_NAMES), count), -1, np.int32)
    irregular = np.ones(count, bool)
    tried = 0
    while len(asked):
        if tried == len(moulds) and not _learn(lines, asked, moulds):
            break
        mould = moulds[tried]
        tried += 1
        which, begins, ends = mould.fitting(lines, asked)
        for name, begin, until in zip(mould.shape.names, begins, ends, strict=True):
            field = FIELD_NAMES.index(name)
            at[field][which], size[field][which] = begin, until - begin
        irregular[which] = False
        asked = asked[irregular[asked]]
    return at, size, irregular


def _learn(lines: QuotedLines, asked: Positions, moulds: list[Mould]) -> bool:
    """Whether a shape could be learnt from the lines asked. A few lines are not worth one."""
    if len(asked) < _FEW or len(moulds) == _SHAPES:
        return False
    for line in asked[np.linspace(0, len(asked) - 1, _LOOK_AT).astype(int)]:
        shape = shape_of(lines.block[lines.start[line] : lines.end[line]].tobytes())
        if shape is not None:
            moulds.append(Mould(shape, _AT_ONCE))
            return True
    return False


def _plain(block: Bytes, start: Positions, end: Positions) -> NDArray[np.bool_]:
    """Which lines hold nothing but printable ASCII without backslashes."""
    plain = np.ones(len(start), bool)
    text = block[start[0] : end[-1]]
    odd = ((text - np.uint8(ord(" "))) > ord("~") - ord(" ")) | (text == _BACKSLASH)
    between = int((start[1:] - end[:-1]).sum())
    if np.count_nonzero(odd) > between:
        odd_at = np.flatnonzero(odd) + start[0]
        line = np.searchsorted(start, odd_at, side="right") - 1
        plain[line[odd_at < end[line]]] = False
    return plain


def _instants(block: Bytes, at: Positions, size: NDArray[np.int32], absent: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Times in microseconds as `parse_time` reads them, or NO_TIME; an unusual spelling is read by `parse_time` itself."""
    times = plain_times(block, at, size)
    for row in np.flatnonzero((times == NO_TIME) & ~absent):
        times[row] = _microseconds(parse_time(block[at[row] : at[row] + size[row]].tobytes().decode("ascii")))
    return times


def _microseconds(at: datetime | None) -> int:
    return NO_TIME if at is None else (at - _EPOCH) // _US
