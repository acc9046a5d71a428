"""One row written down in every format, and what becomes of it."""

import csv
import gzip
import io
import json
from datetime import datetime
from pathlib import Path

import fastavro
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.attachment import FIELD_NAMES, TIME_FIELDS
from ingest.avro_messages import Messages
from ingest.avro_schema import avro_schema
from ingest.door import judge_rows
from ingest.files import FileFormat
from ingest.read import FileDamaged, read_rows
from ingest.rows import ROW_TABLE
from tests.ingest.test_attachment import GOOD

SCHEMA_ID = 7


def lines(*raw: bytes) -> bytes:
    """Lines as a file holds them."""
    return b"".join(line + b"\n" for line in raw)


def json_line(row: dict) -> bytes:
    """A row as an NDJSON line."""
    return json.dumps(row).encode()


def csv_lines(*rows: dict) -> bytes:
    """Rows as CSV with a header."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def timed(row: dict) -> dict:
    """A row whose times are instants."""
    return {name: datetime.fromisoformat(value) if name in TIME_FIELDS else value for name, value in row.items()}


def parquet_bytes(*rows: dict, **types: pa.DataType) -> bytes:
    """Rows with instants as Parquet, some columns of another type."""
    kinds = {name: pa.timestamp("us", "UTC") if name in TIME_FIELDS else pa.string() for name in rows[0]}
    schema = pa.schema(list({**kinds, **types}.items()))
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema), sink)
    return sink.getvalue()


def avro_record(**types: object) -> dict:
    """The contract's Avro schema with some fields of another type, others added, or without those whose type is None."""
    schema = avro_schema()
    kinds = {field["name"]: field["type"] for field in schema["fields"]} | types
    return {**schema, "fields": [{"name": name, "type": kind} for name, kind in kinds.items() if kind is not None]}


def avro_bytes(*rows: dict, schema: dict | None = None, codec: str = "null") -> bytes:
    """Rows with instants as an Avro container."""
    sink = io.BytesIO()
    fastavro.writer(sink, schema or avro_schema(), list(rows), codec=codec)
    return sink.getvalue()


def avro_message(row: dict, schema: dict | None = None, number: int = SCHEMA_ID) -> bytes:
    """A row with instants as a message of a topic with a schema registry."""
    sink = io.BytesIO(b"\0" + number.to_bytes(4, "big"))
    sink.seek(5)
    fastavro.schemaless_writer(sink, schema or avro_schema(), row)
    return sink.getvalue()


def message_verdicts(*messages: bytes, schema: dict | None = None, columns=None) -> list[str | None]:
    """What the door says of messages."""
    texts = {SCHEMA_ID: json.dumps(schema or avro_schema())}
    rows = Messages(texts.get, columns).rows(pl.Series(list(messages), dtype=pl.Binary))
    assert rows.schema == ROW_TABLE
    return judge_rows(rows).to_list()


def rows_of(path: Path, kind: FileFormat, layout=None) -> pl.DataFrame:
    """All rows of a file."""
    tables = list(read_rows(path, kind, layout))
    assert all(table.schema == ROW_TABLE for table in tables)
    return pl.concat([ROW_TABLE.to_frame(), *tables])


def verdicts(folder: Path, content: bytes, name: str, layout=None) -> list[str | None] | str:
    """What the door says of every row of a file with this content, or why the file is refused whole."""
    path = folder / name
    path.write_bytes(content)
    kind = next(kind for kind in FileFormat if f".{kind.value}" in name)
    try:
        return judge_rows(rows_of(path, kind, layout)).to_list()
    except FileDamaged as damaged:
        return damaged.reason.value


def zstd(content: bytes) -> bytes:
    """Packed with zstd."""
    return pa.compress(content, codec="zstd", asbytes=True)


PACKED = {"": bytes, ".gz": gzip.compress, ".zst": zstd}
TIMED = timed(GOOD)
FIELDS = FIELD_NAMES
