"""The door's traps, in every format a feed may come in: each with the exact reason, and nothing else refused for it."""

import bz2
import gzip
import io
import json
import struct
import tracemalloc
import zlib

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from ingest import read
from ingest.attachment import Refusal
from ingest.avro_schema import avro_schema
from ingest.columns import ColumnMap
from ingest.files import LONGEST_LINE, FileFormat, FileRefusal
from ingest.times import TimeForm
from tests.ingest.feeds import (
    FIELDS,
    PACKED,
    TIMED,
    avro_bytes,
    avro_message,
    avro_record,
    csv_lines,
    json_line,
    lines,
    message_verdicts,
    parquet_bytes,
    rows_of,
    timed,
    verdicts,
    zstd,
)
from tests.ingest.test_attachment import GOOD

IMSI = "452040123456789"
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}


def row(**changes):
    return {**GOOD, **changes}


def instants(**changes):
    return {**TIMED, **changes}


@pytest.mark.parametrize("ending", PACKED)
def test_a_row_is_the_same_row_in_every_format(tmp_path, ending):
    contents = {
        f"a.ndjson{ending}": PACKED[ending](lines(json_line(GOOD))),
        f"a.csv{ending}": PACKED[ending](csv_lines(GOOD)),
        "a.parquet": parquet_bytes(TIMED),
        "a.avro": avro_bytes(TIMED),
    }
    tables = []
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        tables.append(rows_of(tmp_path / name, FileFormat(name.split(".")[1])))
    for table in tables[1:]:
        assert_frame_equal(table, tables[0])
    assert verdicts(tmp_path, contents["a.avro"], "a.avro") == message_verdicts(avro_message(TIMED)) == [None]


# Values: one and the same trap in the field of a row, refused alike in every format.

VALUES = {
    "IMSI for a cell": ({"cell_id": IMSI}, Refusal.IDENTITY_LIKE),
    "IMEI for a network": ({"plmn": "35209900176148"}, Refusal.IDENTITY_LIKE),
    "number in the event type": ({"event_type": f"call {IMSI}"}, Refusal.IDENTITY_LIKE),
    "IMSI for a token": ({"token": IMSI}, Refusal.TOKEN),
    "hash for a token": ({"token": "a" * 64}, Refusal.TOKEN),
    "token in capitals": ({"token": "A" * 26}, Refusal.TOKEN),
    "token with a line end": ({"token": "a" * 26 + "\t"}, Refusal.TOKEN),
    "full-width digits": ({"plmn": "４５２-04"}, Refusal.PLMN),
    "right to left": ({"event_type": "\u202eattach"}, Refusal.EVENT_TYPE),
    "NUL": ({"domain": "domestic\0"}, Refusal.DOMAIN),
    "country for a domain": ({"domain": "KH"}, Refusal.DOMAIN),
    "nested text": ({"event_type": '{"a": {"a": 1}}'}, Refusal.EVENT_TYPE),
    "unknown technology": ({"rat": "LTE"}, Refusal.RAT),
    "cell of another technology": ({"cell_id": "0a0008a01"}, Refusal.CELL_ID),
    "no cell": ({"cell_id": None}, Refusal.CELL_MISSING),
    "cell on a roaming row": ({"event_type": "roaming_cancel"}, Refusal.CELL_ON_ROAMING_ROW),
    "year 2099": ({"event_time": "2099-01-01T00:00:00Z"}, Refusal.FUTURE),
    "both in 2100": ({"event_time": "2100-01-01T00:00:00Z", "ingest_time": "2100-01-01T00:00:00Z"}, Refusal.TIME),
    "1970": ({"event_time": "1970-01-01T00:00:00Z"}, Refusal.TIME),
    "a quarter of an hour and a bit": ({"event_time": "2026-03-02T04:45:07.249Z"}, Refusal.LATE),
}


@pytest.mark.parametrize(("changes", "reason"), VALUES.values(), ids=VALUES)
def test_a_trap_in_a_value_refuses_its_row_alone_and_alike_in_every_format(tmp_path, changes, reason):
    good, bad = TIMED, timed(row(**changes))
    expected = [reason.value, None]
    found = {
        "ndjson": verdicts(tmp_path, lines(json_line(row(**changes)), json_line(GOOD)), "a.ndjson"),
        "csv": verdicts(tmp_path, csv_lines(row(**changes), GOOD), "a.csv"),
        "parquet": verdicts(tmp_path, parquet_bytes(bad, good), "a.parquet"),
        "avro": verdicts(tmp_path, avro_bytes(bad, good), "a.avro"),
        "message": message_verdicts(avro_message(bad), avro_message(good)),
    }
    assert found == dict.fromkeys(found, expected)


# Layouts: traps in how a row or file is laid out. Lines lose the row, files with one layout for all rows are refused whole.


def mapped(**changes):
    return ColumnMap(fields={name: name for name in FIELDS}, **changes)


def parquet_with(names, columns):
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, names=names), sink)
    return sink.getvalue()


def parquet_twice():
    table = pq.read_table(io.BytesIO(parquet_bytes(TIMED)))
    return parquet_with([*table.column_names, "plmn"], [*table.columns, table["plmn"]])


def parquet_not_utf8():
    table = pq.read_table(io.BytesIO(parquet_bytes(TIMED, TIMED)))
    broken = pa.array([b"452-\xff", b"452-04"], pa.binary()).view(pa.string())
    columns = [broken if name == "plmn" else table[name] for name in table.column_names]
    return parquet_with(table.column_names, columns)


def avro_twice():
    schema = avro_schema()
    schema["fields"].append({"name": "plmn", "type": "string"})
    return _container(json.dumps(schema).encode())


def _container(schema, *blocks, codec=b"null", sync=b"s" * 16):
    entries = [(b"avro.schema", schema), (b"avro.codec", codec)]
    head = b"Obj\x01" + _long(len(entries)) + b"".join(_text(one) for entry in entries for one in entry) + b"\0" + sync
    return head + b"".join(_long(count) + _text(packed) + sync for count, packed in blocks)


def _long(number):
    number, written = (number << 1) ^ (number >> 63), b""
    while number > 127:
        number, written = number >> 7, written + bytes([number & 127 | 128])
    return written + bytes([number])


def _text(raw):
    return _long(len(raw)) + raw


SCHEMA = json.dumps(avro_schema()).encode()
IDENTITY = avro_record(imsi="string")
EPOCH_MS = mapped(times={"event_time": TimeForm.EPOCH_MS})
EPOCH_S = mapped(times={"event_time": TimeForm.EPOCH_S})
EPOCH_US = mapped(times={"event_time": TimeForm.EPOCH_US})
AT_S = 1_772_427_600

LAYOUTS = {
    # An identity, or a key that the contract does not know
    "ndjson: imsi": ("a.ndjson", lines(json_line(row(imsi=IMSI)), json_line(GOOD)), [Refusal.UNKNOWN_FIELD, None]),
    "ndjson: IMSI, null": ("a.ndjson", lines(json_line(row(IMSI=None))), [Refusal.UNKNOWN_FIELD]),
    "ndjson: imsi inside": ("a.ndjson", lines(json_line(row(plmn={"imsi": IMSI}))), [Refusal.WRONG_TYPE]),
    "csv: imsi": ("a.csv", csv_lines(row(imsi=IMSI)), FileRefusal.SCHEMA),
    "csv: imsi, mapped": ("a.csv", csv_lines(row(imsi=IMSI)), FileRefusal.SCHEMA, mapped()),
    "parquet: imsi": ("a.parquet", parquet_bytes(instants(imsi=IMSI)), FileRefusal.SCHEMA),
    "parquet: imsi, mapped": ("a.parquet", parquet_bytes(instants(imsi=IMSI)), FileRefusal.SCHEMA, mapped()),
    "avro: imsi": ("a.avro", avro_bytes(instants(imsi=IMSI), schema=IDENTITY), FileRefusal.SCHEMA),
    "csv: position": ("a.csv", csv_lines(row(lon="106.5")), FileRefusal.SCHEMA),
    # A key twice
    "ndjson: key twice": ("a.ndjson", lines(json_line(GOOD)[:-1] + b', "plmn": "452-04"}'), [Refusal.DUPLICATE_KEY]),
    "csv: key twice": ("a.csv", csv_lines(GOOD).replace(b"domain\n", b"plmn\n"), FileRefusal.SCHEMA),
    "parquet: key twice": ("a.parquet", parquet_twice(), FileRefusal.SCHEMA),
    "avro: key twice": ("a.avro", avro_twice(), FileRefusal.SCHEMA),
    # A key too few
    "ndjson: no token": ("a.ndjson", lines(b'{"plmn": "452-04"}'), [Refusal.MISSING_FIELD]),
    "csv: no token": ("a.csv", csv_lines({**GOOD, "token": ""}), [Refusal.MISSING_FIELD]),
    "csv: no token column": ("a.csv", csv_lines({name: GOOD[name] for name in FIELDS[1:]}), FileRefusal.SCHEMA),
    "avro: no token field": ("a.avro", _container(json.dumps(avro_record(token=None)).encode()), FileRefusal.SCHEMA),
    # NaN, numbers and other types
    "ndjson: NaN": ("a.ndjson", lines(json_line(row(token=float("nan")))), [Refusal.WRONG_TYPE]),
    "ndjson: 1e999": ("a.ndjson", lines(json_line(GOOD).replace(b'"EUTRA"', b"1e999")), [Refusal.WRONG_TYPE]),
    "ndjson: 3,000 digits": ("a.ndjson", lines(b'{"token": ' + b"9" * 3000 + b"}"), [Refusal.WRONG_TYPE]),
    "ndjson: true": ("a.ndjson", lines(json_line(row(rat=True))), [Refusal.WRONG_TYPE]),
    "csv: NaN": ("a.csv", csv_lines(row(token="NaN")), [Refusal.TOKEN]),
    "parquet: NaN": (
        "a.parquet",
        parquet_bytes(instants(token=float("nan")), token=pa.float64()),
        FileRefusal.SCHEMA,
    ),
    "avro: NaN": (
        "a.avro",
        avro_bytes(instants(token=float("nan")), schema=avro_record(token="double")),
        FileRefusal.SCHEMA,
    ),
    "avro: bytes": ("a.avro", avro_bytes(instants(token=b"a"), schema=avro_record(token="bytes")), FileRefusal.SCHEMA),
    # Seconds, milliseconds, microseconds
    "ndjson: seconds": ("a.ndjson", lines(json_line(row(event_time=AT_S))), [Refusal.WRONG_TYPE]),
    "ndjson: seconds in text": ("a.ndjson", lines(json_line(row(event_time=str(AT_S)))), [Refusal.TIME]),
    "csv: seconds": ("a.csv", csv_lines(row(event_time=AT_S)), [Refusal.TIME]),
    "csv: seconds for ms": ("a.csv", csv_lines(row(event_time=AT_S)), [Refusal.TIME], EPOCH_MS),
    "csv: ms": ("a.csv", csv_lines(row(event_time=AT_S * 1000)), [None], EPOCH_MS),
    "csv: us for ms": ("a.csv", csv_lines(row(event_time=AT_S * 10**6)), [Refusal.TIME], EPOCH_MS),
    "csv: ms for seconds": ("a.csv", csv_lines(row(event_time=AT_S * 1000)), [Refusal.TIME], EPOCH_S),
    "csv: ms for us": ("a.csv", csv_lines(row(event_time=AT_S * 1000)), [Refusal.TIME], EPOCH_US),
    "csv: text for ms": ("a.csv", csv_lines(GOOD), [Refusal.TIME], EPOCH_MS),
    "csv: minus": ("a.csv", csv_lines(row(event_time=-AT_S)), [Refusal.TIME], EPOCH_S),
    "csv: 1.7e9": ("a.csv", csv_lines(row(event_time="1.7724276e9")), [Refusal.TIME], EPOCH_S),
    "csv: 30 digits": ("a.csv", csv_lines(row(event_time="1" * 30)), [Refusal.TIME], EPOCH_S),
    "parquet: number": (
        "a.parquet",
        parquet_bytes(instants(event_time=AT_S), event_time=pa.int64()),
        FileRefusal.SCHEMA,
    ),
    "parquet: seconds for ms": (
        "a.parquet",
        parquet_bytes(instants(event_time=AT_S), event_time=pa.int64()),
        [Refusal.TIME],
        EPOCH_MS,
    ),
    "parquet: seconds": (
        "a.parquet",
        parquet_bytes(instants(event_time=AT_S), event_time=pa.int64()),
        [None],
        EPOCH_S,
    ),
    "parquet: us for ms": (
        "a.parquet",
        parquet_bytes(instants(event_time=AT_S * 10**6), event_time=pa.timestamp("ms", "UTC")),
        [Refusal.TIME],
    ),
    "parquet: us for ms, mapped": (
        "a.parquet",
        parquet_bytes(instants(event_time=AT_S * 10**6), event_time=pa.timestamp("ms", "UTC")),
        [Refusal.TIME],
        mapped(),
    ),
    "avro: number": (
        "a.avro",
        avro_bytes(instants(event_time=AT_S), schema=avro_record(event_time="long")),
        FileRefusal.SCHEMA,
    ),
    "avro: seconds for ms": (
        "a.avro",
        avro_bytes(instants(event_time=AT_S), schema=avro_record(event_time=MILLIS)),
        [Refusal.TIME],
    ),
    "avro: us for ms": (
        "a.avro",
        avro_bytes(instants(event_time=AT_S * 10**6), schema=avro_record(event_time=MILLIS)),
        [Refusal.TIME],
    ),
    "avro: ms": (
        "a.avro",
        avro_bytes(instants(event_time=AT_S * 1000), schema=avro_record(event_time=MILLIS)),
        [None],
    ),
    # Local time
    "ndjson: local time": ("a.ndjson", lines(json_line(row(event_time="2026-03-02T05:00:00"))), [Refusal.TIME]),
    "csv: local time": ("a.csv", csv_lines(row(event_time="2026-03-02 05:00:00")), [Refusal.TIME]),
    "parquet: local time": (
        "a.parquet",
        parquet_bytes(instants(), event_time=pa.timestamp("us")),
        FileRefusal.SCHEMA,
    ),
    "parquet: local time, mapped": (
        "a.parquet",
        parquet_bytes(instants(), event_time=pa.timestamp("us")),
        FileRefusal.SCHEMA,
        mapped(),
    ),
    "avro: local time": (
        "a.avro",
        avro_bytes(
            instants(event_time=AT_S * 1000),
            schema=avro_record(event_time={"type": "long", "logicalType": "local-timestamp-millis"}),
        ),
        FileRefusal.SCHEMA,
    ),
    "avro: local time in text": (
        "a.avro",
        avro_bytes(instants(event_time="2026-03-02T05:00:00"), schema=avro_record(event_time="string")),
        [Refusal.TIME],
    ),
    "avro: time in text": (
        "a.avro",
        avro_bytes(instants(event_time=GOOD["event_time"]), schema=avro_record(event_time="string")),
        [None],
    ),
    # Bytes that are no text
    "ndjson: not UTF-8": (
        "a.ndjson",
        lines(json_line(GOOD).replace(b"452-04", b"452-\xff"), json_line(GOOD)),
        [Refusal.NOT_UTF8, None],
    ),
    "ndjson: overlong": ("a.ndjson", lines(json_line(GOOD).replace(b"452", b"\xc0\xb4")), [Refusal.NOT_UTF8]),
    "ndjson: surrogate": ("a.ndjson", lines(json_line(row(plmn="\ud800"))), [Refusal.NOT_UTF8]),
    "csv: not UTF-8": ("a.csv", csv_lines(GOOD, GOOD).replace(b"452-04", b"452-\xff", 1), [Refusal.NOT_UTF8, None]),
    "csv: header not UTF-8": ("a.csv", csv_lines(GOOD).replace(b"plmn", b"plm\xff"), FileRefusal.SCHEMA),
    "parquet: not UTF-8": ("a.parquet", parquet_not_utf8(), [Refusal.NOT_UTF8, None]),
    "parquet: not UTF-8, mapped": ("a.parquet", parquet_not_utf8(), [Refusal.NOT_UTF8, None], mapped()),
    "avro: not UTF-8": (
        "a.avro",
        avro_bytes(TIMED, TIMED).replace(b"452-04", b"452-\xff4", 1),
        [Refusal.NOT_UTF8, None],
    ),
    "ndjson: byte order mark": ("a.ndjson", b"\xef\xbb\xbf" + lines(json_line(GOOD)), FileRefusal.BYTE_ORDER_MARK),
    "csv: byte order mark": ("a.csv", b"\xef\xbb\xbf" + csv_lines(GOOD), FileRefusal.BYTE_ORDER_MARK),
    "csv: UTF-16": ("a.csv", csv_lines(GOOD).decode().encode("utf-16-le"), FileRefusal.SCHEMA),
    # Too long, too deep
    "ndjson: 10 MB": (
        "a.ndjson",
        lines(json_line(row(plmn="4" * 10**7)), json_line(GOOD)),
        [Refusal.LINE_TOO_LONG, None],
    ),
    "csv: 10 MB": ("a.csv", csv_lines(row(plmn="4" * 10**7), GOOD), [Refusal.LINE_TOO_LONG, None]),
    "avro: 10 MB": ("a.avro", avro_bytes(instants(domain="x" * 10**7)), [Refusal.DOMAIN]),
    "ndjson: 17 MB": ("a.ndjson.gz", gzip.compress(b" " * (LONGEST_LINE + 1)), FileRefusal.LINE_TOO_LONG),
    "csv: 17 MB": ("a.csv.gz", gzip.compress(csv_lines(GOOD) + b"4" * (LONGEST_LINE + 1)), FileRefusal.LINE_TOO_LONG),
    "csv: header of 17 MB": ("a.csv.gz", gzip.compress(b"x" * (LONGEST_LINE + 1)), FileRefusal.LINE_TOO_LONG),
    "avro: 17 MB": ("a.avro", avro_bytes(instants(domain="x" * 17 * 2**20)), FileRefusal.DAMAGED),
    "ndjson: deep": ("a.ndjson", lines(b"[" * 4000, json_line(GOOD)), [Refusal.NOT_JSON, None]),
    "ndjson: deeper": ("a.ndjson", lines(b"[" * 100_000), [Refusal.LINE_TOO_LONG]),
    "parquet: nested": (
        "a.parquet",
        parquet_bytes(instants(plmn={"plmn": "452-04"}), plmn=pa.struct([("plmn", pa.string())])),
        FileRefusal.SCHEMA,
    ),
    "avro: nested": (
        "a.avro",
        _container(json.dumps(avro_record(plmn={"type": "array", "items": "string"})).encode()),
        FileRefusal.SCHEMA,
    ),
    "avro: schema of brackets": ("a.avro", _container(b"[" * 100_000), FileRefusal.SCHEMA),
    "ndjson: gzip in gzip": ("a.ndjson.gz", gzip.compress(gzip.compress(b"{}", mtime=0)), [Refusal.NOT_UTF8]),
    "csv: gzip in gzip": ("a.csv.gz", gzip.compress(gzip.compress(b"{}", mtime=0)), FileRefusal.SCHEMA),
    # Cut
    "ndjson: cut gzip": ("a.ndjson.gz", gzip.compress(lines(json_line(GOOD)) * 1000)[:-9], FileRefusal.DAMAGED),
    "ndjson: cut zstd": ("a.ndjson.zst", zstd(lines(json_line(GOOD)) * 1000)[:-9], FileRefusal.DAMAGED),
    "csv: cut gzip": ("a.csv.gz", gzip.compress(csv_lines(*[GOOD] * 1000))[:-9], FileRefusal.DAMAGED),
    "csv: cut zstd": ("a.csv.zst", zstd(csv_lines(*[GOOD] * 1000))[:-9], FileRefusal.DAMAGED),
    "csv: no gzip": ("a.csv.gz", csv_lines(GOOD), FileRefusal.DAMAGED),
    "csv: empty": ("a.csv", b"", FileRefusal.SCHEMA),
    "parquet: cut": ("a.parquet", parquet_bytes(TIMED)[:-9], FileRefusal.DAMAGED),
    "parquet: cut, mapped": ("a.parquet", parquet_bytes(TIMED)[:-9], FileRefusal.DAMAGED, mapped()),
    "parquet: empty": ("a.parquet", b"", FileRefusal.DAMAGED),
    "avro: cut": ("a.avro", avro_bytes(TIMED)[:-9], FileRefusal.DAMAGED),
    "avro: cut in its block": ("a.avro", avro_bytes(TIMED)[:-40], FileRefusal.DAMAGED),
    "avro: cut in its header": ("a.avro", avro_bytes(TIMED)[:100], FileRefusal.DAMAGED),
    "avro: another sync": ("a.avro", avro_bytes(TIMED)[:-1] + b"?", FileRefusal.DAMAGED),
    "avro: empty": ("a.avro", b"", FileRefusal.DAMAGED),
    "avro: more rows than bytes": ("a.avro", _container(SCHEMA, (1000, b"\0" * 9)), FileRefusal.DAMAGED),
    "avro: bytes to spare": ("a.avro", _container(SCHEMA, (0, b"\0" * 9)), FileRefusal.DAMAGED),
    "avro: fewer rows than none": ("a.avro", _container(SCHEMA, (-1, b"")), FileRefusal.DAMAGED),
    "avro: unknown codec": ("a.avro", _container(SCHEMA, codec=b"brotli"), FileRefusal.SCHEMA),
    "avro: huge header": ("a.avro", b"Obj\x01\x02" + _long(1 << 40), FileRefusal.DAMAGED),
    # CSV alone
    "csv: a value too few": ("a.csv", csv_lines(GOOD, GOOD).replace(b",domestic", b"", 1), [Refusal.UNDECODABLE, None]),
    "csv: a value too many": (
        "a.csv",
        csv_lines(GOOD, GOOD).replace(b"domestic", b"domestic,", 1),
        [Refusal.UNDECODABLE, None],
    ),
    "csv: an empty line": ("a.csv", csv_lines(GOOD).replace(b"\n", b"\n\n", 1), [Refusal.UNDECODABLE, None]),
    "csv: an open quote": (
        "a.csv",
        csv_lines(GOOD, GOOD).replace(b"\na", b'\n"a', 1),
        [Refusal.UNDECODABLE, None],
    ),
    "csv: a quote inside": ("a.csv", csv_lines(GOOD, GOOD).replace(b"452", b'4"52', 1), [Refusal.UNDECODABLE, None]),
    "csv: a carriage return inside": (
        "a.csv",
        csv_lines(GOOD, GOOD).replace(b"452", b"4\r52", 1),
        [Refusal.UNDECODABLE, None],
    ),
    "csv: Windows line ends": ("a.csv", csv_lines(GOOD).replace(b"\n", b"\r\n"), [None]),
    "csv: no end of the last line": ("a.csv", csv_lines(GOOD)[:-1], [None]),
    "csv: header only": ("a.csv", csv_lines(GOOD).partition(b"\n")[0], []),
    "csv: other delimiter": ("a.csv", csv_lines(GOOD).replace(b",", b";"), FileRefusal.SCHEMA),
}


@pytest.mark.parametrize("trap", LAYOUTS.values(), ids=LAYOUTS)
def test_a_trap_in_the_layout_has_its_own_reason(tmp_path, trap):
    name, content, expected, *layout = trap
    found = verdicts(tmp_path, content, name, *layout)
    if isinstance(expected, list):
        expected = [reason and reason.value for reason in expected]
        # Which row stands where is not promised of lines that are refused; which reasons there are is.
        assert sorted(map(str, found)) == sorted(map(str, expected))
    else:
        assert found == expected.value


@pytest.mark.parametrize(
    "types",
    [
        {"event_time": pa.int64()},
        {"event_time": pa.timestamp("us", "Asia/Shanghai")},
        {"event_time": pa.timestamp("ns", "UTC")},
        {"token": pa.binary()},
    ],
)
@pytest.mark.parametrize("layout", [None, mapped()])
def test_a_parquet_file_of_other_types_is_refused_whole(tmp_path, types, layout):
    table = pq.read_table(io.BytesIO(parquet_bytes(TIMED)))
    columns = [table[name].cast(types.get(name, table.schema.field(name).type)) for name in table.column_names]
    content = parquet_with(table.column_names, columns)
    assert verdicts(tmp_path, content, "a.parquet", layout) == FileRefusal.SCHEMA.value


MESSAGES = {
    "identity field": (avro_record(imsi="string"), instants(imsi=IMSI), Refusal.UNKNOWN_FIELD),
    "no token field": (avro_record(token=None), TIMED, Refusal.MISSING_FIELD),
    "number for a time": (avro_record(event_time="long"), instants(event_time=AT_S), Refusal.WRONG_TYPE),
    "seconds for ms": (avro_record(event_time=MILLIS), instants(event_time=AT_S), Refusal.TIME),
    "bytes for a token": (avro_record(token="bytes"), instants(token=b"a" * 26), Refusal.WRONG_TYPE),
    "10 MB": (avro_schema(), instants(domain="x" * 10**7), Refusal.LINE_TOO_LONG),
}


@pytest.mark.parametrize(("schema", "bad", "reason"), MESSAGES.values(), ids=MESSAGES)
def test_a_message_of_a_wrong_schema_has_its_own_reason(schema, bad, reason):
    assert message_verdicts(avro_message(bad, schema), schema=schema) == [reason.value]


def test_a_broken_message_spoils_no_other(tmp_path):
    good = avro_message(TIMED)
    broken = [b"", b"{}", good[:-1], good + b"\0", b"\1" + good[1:], avro_message(TIMED, number=8)]
    refused = message_verdicts(*(message for one in broken for message in (one, good)))
    assert refused == [Refusal.UNDECODABLE.value, None] * len(broken)
    assert message_verdicts(good.replace(b"452-04", b"452-\xff\xff"), good) == [Refusal.NOT_UTF8.value, None]


# Bombs


def peak(act) -> int:
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("codec", "pack"),
    [
        (b"deflate", lambda raw: zlib.compress(raw, 9, wbits=-15)),
        (b"zstandard", zstd),
        (b"bzip2", bz2.compress),
        (b"snappy", lambda raw: pa.compress(raw, codec="snappy", asbytes=True) + struct.pack(">I", zlib.crc32(raw))),
    ],
)
def test_a_block_that_unpacks_to_more_than_a_block_is_stopped_before_it_has(tmp_path, codec, pack):
    packed = pack(bytes(200 << 20))
    content = _container(SCHEMA, (1, packed), codec=codec)
    found = []
    assert peak(lambda: found.append(verdicts(tmp_path, content, "a.avro"))) < (64 << 20) + 2 * len(packed)
    assert found == [FileRefusal.DAMAGED.value]


@pytest.mark.parametrize("name", ["a.ndjson.gz", "a.csv.gz", "a.ndjson.zst", "a.csv.zst"])
def test_a_packed_line_without_an_end_is_stopped(tmp_path, name):
    content = PACKED[name[name.rindex(".") :]](bytes(300 << 20))
    found = []
    assert peak(lambda: found.append(verdicts(tmp_path, content, name))) < 128 << 20
    assert found == [FileRefusal.LINE_TOO_LONG.value]


def test_a_row_group_that_unpacks_to_more_than_memory_should_hold_is_not_opened(tmp_path, monkeypatch):
    content = parquet_bytes(*[TIMED] * 2000)
    monkeypatch.setattr(read, "LARGEST_ROW_GROUP", pq.read_metadata(io.BytesIO(content)).row_group(0).total_byte_size)
    assert verdicts(tmp_path, content, "a.parquet") == [None] * 2000
    monkeypatch.setattr(read, "LARGEST_ROW_GROUP", read.LARGEST_ROW_GROUP - 1)
    assert verdicts(tmp_path, content, "a.parquet") == FileRefusal.DAMAGED.value


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
def test_avro_is_read_as_it_was_packed(tmp_path, codec):
    content = avro_bytes(*[TIMED] * 3000, codec=codec)
    assert verdicts(tmp_path, content, "a.avro") == [None] * 3000


@pytest.mark.parametrize(
    ("codec", "pack"),
    [
        (b"zstandard", zstd),
        (b"snappy", lambda raw: pa.compress(raw, codec="snappy", asbytes=True) + struct.pack(">I", zlib.crc32(raw))),
    ],
)
def test_avro_of_other_writers_is_read_too(tmp_path, codec, pack):
    sink = io.BytesIO()
    for _ in range(3):
        fastavro.schemaless_writer(sink, avro_schema(), TIMED)
    content = _container(SCHEMA, (3, pack(sink.getvalue())), codec=codec)
    assert verdicts(tmp_path, content, "a.avro") == [None] * 3


@pytest.mark.parametrize("at", range(0, 60, 7))
def test_a_damaged_block_is_refused_or_judged_and_never_a_fault(tmp_path, at):
    content = bytearray(avro_bytes(*[TIMED] * 3))
    for byte in (0, 1, 127, 128, 255):
        content[-80 - at] = byte
        found = verdicts(tmp_path, bytes(content), "a.avro")
        assert found == FileRefusal.DAMAGED.value or len(found) == 3
