"""NDJSON lines as the contract's columns, many at a time: `ingest.attachment.parse_line`, only faster.

Lines of one producer look alike. The order of their keys is learnt from a line that `parse_line` accepts; every line of
exactly that shape is cut by one regular expression, and all other lines go through `parse_line` one by one. A line of that
shape is flat, has known keys once each and nothing but printable ASCII without escapes, so `parse_line` could only agree.
"""

import json
from collections.abc import Iterator

import polars as pl
import pyarrow as pa

from ingest.attachment import FIELD_NAMES, LINE_BYTES, TIME_FIELDS, AttachmentRefused, parse_line, parse_time

LAYOUT = "layout_refusal"
LINE_SCHEMA = pa.schema(
    [(name, pa.timestamp("us", "UTC") if name in TIME_FIELDS else pa.string()) for name in FIELD_NAMES]
    + [(LAYOUT, pa.string())]
)
_SHAPES = 4
"""Shapes that are learnt in one batch; a topic that many kinds of producers write to is read line by line."""
_LOOK_AT = 8
"""Lines that are looked at to learn a shape."""
_VALUE = r'(?:"(?P<{name}>[ !#-\[\]-~]*)"|null)'
_PLAIN_TIME = (
    r"^[12][0-9]{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(?:\.[0-9]{1,6})?(?:Z|[+-](?:0[0-9]|1[0-4]):[0-5][0-9])$"
)
_INSTANT = pl.Datetime("us", "UTC")
_TABLE = {name: _INSTANT if name in TIME_FIELDS else pl.String for name in FIELD_NAMES} | {LAYOUT: pl.String}


def parse_lines(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Lines (the first column) as the contract's columns; a line whose layout is refused keeps only its reason."""
    for batch in batches:
        # Spark hands the bytes on as they are, UTF-8 or not.
        lines = pl.Series("line", batch.column(0).view(pa.binary()), dtype=pl.Binary)
        rows = parse_table(lines).to_arrow().cast(LINE_SCHEMA).combine_chunks()
        yield from rows.to_batches() or [pa.RecordBatch.from_pylist([], schema=LINE_SCHEMA)]


def parse_table(lines: pl.Series) -> pl.DataFrame:
    """Lines (bytes) as a table of the contract's columns and `layout_refusal`, row for row."""
    left = pl.DataFrame({"line": lines}).with_row_index("at")
    parts, shapes = [], set[tuple[str, ...]]()
    while len(shapes) < _SHAPES:
        order = _shape(left["line"].head(_LOOK_AT), shapes)
        if order is None:
            break
        shapes.add(order)
        fields = _texts(left["line"]).str.extract_groups(_pattern(order)).struct.unnest()
        fields = fields.with_columns(
            at=left["at"], fits=fields["fits"].is_not_null() & (left["line"].bin.size() <= LINE_BYTES)
        )
        parts.append(_typed(fields.filter("fits")))
        left = left.filter(~fields["fits"])
    parts.append(_one_by_one(left))
    return pl.concat(parts).sort("at").drop("at")


def _texts(lines: pl.Series) -> pl.Series:
    """The lines as text; one that is not UTF-8 is null."""
    try:
        return lines.cast(pl.String)
    except pl.exceptions.ComputeError:
        # The cast gives all or nothing, so one broken line makes its batch slower (to decode, not to parse).
        return pl.Series(lines.name, [_decoded(line) for line in lines], dtype=pl.String)


def _decoded(line: bytes) -> str | None:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _shape(lines: pl.Series, known: set[tuple[str, ...]]) -> tuple[str, ...] | None:
    """The keys, in their order, of the first line that `parse_line` accepts and that has another order than those known."""
    for line in lines:
        try:
            parse_line(line)
        except AttachmentRefused:
            continue
        order = tuple(json.loads(line))
        if order not in known:
            return order
    return None


def _pattern(order: tuple[str, ...]) -> str:
    pairs = ", ?".join(f'"{name}": ?{_VALUE.format(name=name)}' for name in order)
    return rf"^(?P<fits>\{{){pairs}\}}$"


def _typed(fields: pl.DataFrame) -> pl.DataFrame:
    """The cut texts as the contract's columns: times as instants, absent keys and the refusal null."""
    absent = [pl.lit(None, pl.String).alias(name) for name in (*FIELD_NAMES, LAYOUT) if name not in fields.columns]
    rows = fields.with_columns(absent)
    return rows.select("at", *[_instants(rows[name]) if name in TIME_FIELDS else name for name in _TABLE])


def _instants(texts: pl.Series) -> pl.Series:
    """Times as `parse_time` reads them; an unusual spelling is read by `parse_time` itself."""
    plain = texts.str.contains(_PLAIN_TIME)
    zulu = texts.str.replace("Z", "+00:00", literal=True)
    quick = zulu.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", strict=False, time_unit="us", time_zone="UTC")
    if plain.all():
        return quick
    slow = texts.set(plain.fill_null(True), None).map_elements(parse_time, return_dtype=_INSTANT)
    return pl.select(pl.when(plain).then(quick).otherwise(slow).alias(texts.name)).to_series()


def _one_by_one(left: pl.DataFrame) -> pl.DataFrame:
    rows: list[dict[str, object]] = []
    for at, line in left.iter_rows():
        try:
            row: dict[str, object] = dict(parse_line(line))
        except AttachmentRefused as refused:
            rows.append({"at": at, LAYOUT: refused.reason.value})
            continue
        for name in TIME_FIELDS:
            row[name] = parse_time(row[name])  # type: ignore[arg-type]
        rows.append({"at": at, **row})
    return pl.DataFrame(rows, schema={"at": left.schema["at"], **_TABLE})
