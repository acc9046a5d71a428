"""Avro records that lie side by side, each in its known place, decoded field by field for all of them at once.

Flat records of text, enums, whole numbers, instants and nulls only, which is all that the contract knows. Nothing is read
past the end of a record, and a record counts only if it ends where it should.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ingest.avro_schema import WrittenField
from ingest.columns import ColumnKind
from ingest.spelling import Bytes, Positions, text_views
from ingest.texts import texts_of

_LONGEST = 10
"""Bytes of the longest whole number."""


@dataclass(frozen=True, slots=True, eq=False)
class SideBySide:
    """Decoded records: a column a field, which records came apart, and which of those hold text that is not UTF-8."""

    columns: Mapping[str, pl.Series]
    sound: NDArray[np.bool_]
    not_utf8: NDArray[np.bool_]


def decode_side_by_side(block: Bytes, at: Positions, end: Positions, fields: Sequence[WrittenField]) -> SideBySide:
    """The records from `at` up to `end` in a block (with SPARE bytes behind it); `at` is not before the fourth byte."""
    at, sound = at.copy(), np.ones(len(at), bool)
    not_utf8, columns = np.zeros(len(at), bool), dict[str, pl.Series]()
    for field in fields:
        absent = np.zeros(len(at), bool)
        if field.null_branch is not None:
            branch = _numbers(block, at, end, sound)
            absent = branch == field.null_branch
            sound &= (branch == 0) | (branch == 1)
        if field.kind is not ColumnKind.TEXT:
            columns[field.name] = pl.Series(_numbers(block, at, end, sound, absent)).set(_mask(absent | ~sound), None)
            continue
        number = _numbers(block, at, end, sound, absent)
        if field.symbols is not None:
            sound &= absent | ((number >= 0) & (number < len(field.symbols)))
            words = pl.Series(field.symbols, dtype=pl.String)
            columns[field.name] = words.gather(np.where(absent | ~sound, 0, number)).set(_mask(absent | ~sound), None)
            continue
        sound &= absent | ((number >= 0) & (number <= end - at))
        size = np.where(absent | ~sound, 0, number).astype(np.int32)
        texts = _texts(block, at, size).set(_mask(absent | ~sound), None)
        not_utf8 |= texts.is_null().to_numpy() & ~absent & sound
        columns[field.name] = texts
        at += size
    sound &= at == end
    return SideBySide(columns, sound, not_utf8)


def _numbers(
    block: Bytes, at: Positions, end: Positions, sound: NDArray[np.bool_], absent: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """The whole number at each place, which is moved behind it; seven bits a byte, the sign in the lowest bit.

    Where there is none (`absent`) nothing is read. Where it runs over the end of its record, the record is no longer sound.
    """
    raw = np.zeros(len(at), np.uint64)
    more = sound if absent is None else sound & ~absent
    for shift in range(0, 7 * _LONGEST, 7):
        inside = more & (at < end)
        sound &= inside | ~more
        byte = block[np.where(inside, at, 0)]
        raw |= np.where(inside, (byte & 127).astype(np.uint64) << np.uint64(shift), np.uint64(0))
        at += inside
        more = inside & (byte > 127)
        if not more.any():
            break
    sound &= ~more
    return (raw >> np.uint64(1)).view(np.int64) ^ -(raw & np.uint64(1)).view(np.int64)


def _texts(block: Bytes, at: Positions, size: NDArray[np.int32]) -> pl.Series:
    views = text_views(block, np.minimum(at, len(block) - 16), size)
    return texts_of(pa.Array.from_buffers(pa.binary_view(), len(at), [None, pa.py_buffer(views), pa.py_buffer(block)]))


def _mask(rows: NDArray[np.bool_]) -> pl.Series:
    return pl.Series(rows)
