"""Avro messages of a topic whose schemas lie in a registry, as the contract's columns.

A message is a zero byte, the number of its schema in four bytes, and one record. It is decoded by the schema that it was
written with, and that schema is judged before any message is: one field more than the contract has refuses all its messages,
where Avro's own resolution of schemas would drop the field without a word.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest.attachment import LINE_BYTES, Refusal
from ingest.avro_columns import decode_side_by_side
from ingest.avro_rows import AvroDamaged, avro_table, decode, not_utf8
from ingest.avro_schema import WrittenSchema, written_schema
from ingest.columns import ColumnKind, ColumnMap, SchemaRefused, layout_of, misfit, to_rows
from ingest.rows import LAYOUT, ROW_TABLE
from ingest.spelling import Bytes, Positions, padded, pieces

SchemaOf = Callable[[int], str | None]
"""The text of a schema by its number, None if the registry has none of this number; raises if there is no answer."""

_FRAME_BYTES = 5


@dataclass(frozen=True, slots=True)
class Readable:
    """A schema that messages can be read by, and the map that fits it."""

    schema: WrittenSchema
    layout: ColumnMap

    @property
    def is_flat(self) -> bool:
        """Whether no field, an ignored one included, needs more than texts and whole numbers."""
        return all(field.kind is not ColumnKind.OTHER for field in self.schema.fields)


class Messages:
    """Messages as rows; remembers the schemas that it has met."""

    def __init__(self, schema_of: SchemaOf, columns: ColumnMap | None = None) -> None:
        self._schema_of = schema_of
        self._columns = columns
        self._met: dict[int, Readable | Refusal] = {}

    def rows(self, values: pl.Series) -> pl.DataFrame:
        """The rows (ROW_TABLE) of messages (bytes), one for one and in their order.

        `ingest_time` is null where a message has none: the caller sets the broker's record time. What cannot be decoded
        keeps only its reason. What the registry's client raises when there is no answer rises.
        """
        if not len(values):
            return ROW_TABLE.to_frame()
        unknown: set[int] = (
            set()
        )  # A number that the registry does not have is asked for once in a batch, and again later.
        block, at, end = _side_by_side(values)
        reasons = np.full(len(values), Refusal.UNDECODABLE.value, object)
        numbers = pieces(block, at + 1, 4).copy().view(">u4")[:, 0].astype(np.int64)
        short = end - at <= LINE_BYTES
        reasons[~short] = Refusal.LINE_TOO_LONG.value
        framed = short & (end - at >= _FRAME_BYTES) & (block[at] == 0)
        tables, places = [], []
        for number in np.unique(numbers[framed]).tolist():
            of_schema = np.flatnonzero(framed & (numbers == number))
            found = self._met_schema(number, unknown)
            if isinstance(found, Refusal):
                reasons[of_schema] = found.value
                continue
            rows, sound = _decoded(block, at[of_schema] + _FRAME_BYTES, end[of_schema], found)
            tables.append(rows)
            places.append(of_schema[sound])
        kept = np.concatenate([np.empty(0, np.int64), *places])
        lost = np.setdiff1d(np.arange(len(values)), kept)
        absent = [pl.lit(None, dtype).alias(name) for name, dtype in ROW_TABLE.items() if name != LAYOUT]
        refused = pl.DataFrame({LAYOUT: reasons[lost]}, schema={LAYOUT: pl.String}).select(*absent, LAYOUT)
        order = pl.Series("at", np.concatenate([kept, lost]))
        return pl.concat([*tables, refused]).with_columns(order).sort("at").drop("at")

    def _met_schema(self, number: int, unknown: set[int]) -> Readable | Refusal:
        if number in self._met:
            return self._met[number]
        text = None if number in unknown else self._schema_of(number)
        if text is None:
            unknown.add(number)
            return Refusal.UNDECODABLE
        self._met[number] = self._judged(text)
        return self._met[number]

    def _judged(self, text: str) -> Readable | Refusal:
        try:
            schema = written_schema(text)
        except SchemaRefused:
            return Refusal.UNDECODABLE
        refusal = misfit(schema.kinds, self._columns, timed=False)
        if refusal is not None:
            return refusal
        layout = layout_of(self._columns, schema.kinds)
        # The time of arrival is the broker's where a message does not bring it.
        fields = {name: column for name, column in layout.fields.items() if column in schema.kinds}
        return Readable(schema, layout.model_copy(update={"fields": fields}))


def _side_by_side(values: pl.Series) -> tuple[Bytes, Positions, Positions]:
    """The bytes of all messages in one block, and where each begins and ends; a null is an empty one."""
    array = values.rechunk().fill_null(b"").to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, raw = array.buffers()
    bounds = np.frombuffer(offsets, np.int64, count=len(array) + 1, offset=array.offset * 8)
    block = padded(np.frombuffer(raw or b"", np.uint8)[bounds[0] : bounds[-1]])
    return block, bounds[:-1] - bounds[0], bounds[1:] - bounds[0]


def _decoded(block: Bytes, at: Positions, end: Positions, by: Readable) -> tuple[pl.DataFrame, NDArray[np.bool_]]:
    """The rows of the records that came apart, and which those are."""
    if not by.is_flat:
        return _decoded_one_by_one(block, at, end, by)
    found = decode_side_by_side(block, at, end, by.schema.fields)
    rows = to_rows(by.schema.table(found.columns, by.layout), by.layout)
    return not_utf8(rows, pl.Series(found.not_utf8)).filter(pl.Series(found.sound)), found.sound


def _decoded_one_by_one(
    block: Bytes, at: Positions, end: Positions, by: Readable
) -> tuple[pl.DataFrame, NDArray[np.bool_]]:
    records, sound = [], np.zeros(len(at), bool)
    for place, (first, past) in enumerate(zip(at.tolist(), end.tolist(), strict=True)):
        written = io.BytesIO(block[first:past].tobytes())
        try:
            record = decode(written, by.schema.decoder)
        except AvroDamaged:
            continue
        if not written.read(1):
            records.append(record)
            sound[place] = True
    return avro_table(records, by.schema, by.layout), sound
