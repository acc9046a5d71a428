"""Files are read piece by piece, whole or not at all."""

import gzip
import json
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from ingest import read
from ingest.avro_rows import _unpacked
from ingest.door import judge_rows
from ingest.files import LONGEST_LINE, FileFormat, FileRefusal
from ingest.read import FileDamaged, parts, read_rows
from ingest.rows import LAYOUT, ROW_TABLE
from tests.ingest.test_attachment import GOOD
from tests.jobs.border import SCHEMA, feed, ndjson_lines

LINE = json.dumps(GOOD).encode()


def rows_of(path, kind=FileFormat.NDJSON, **asked):
    tables = list(read_rows(path, kind, **asked))
    assert all(table.schema == ROW_TABLE for table in tables)
    return pl.concat([ROW_TABLE.to_frame(), *tables])


def written(path, content):
    path.write_bytes(content)
    return path


def reason(path, kind=FileFormat.NDJSON):
    with pytest.raises(FileDamaged) as damaged:
        rows_of(path, kind)
    assert damaged.value.__cause__ is None
    assert str(path.parent) not in str(damaged.value)
    return damaged.value.reason


def zstd(content):
    return pa.compress(content, codec="zstd", asbytes=True)


@pytest.mark.parametrize(("ending", "pack"), [("", bytes), (".gz", gzip.compress), (".zst", zstd)])
def test_lines_are_the_same_rows_however_they_are_packed(tmp_path, ending, pack):
    lines = ndjson_lines(feed(3, 20))
    rows = rows_of(written(tmp_path / f"a.ndjson{ending}", pack(b"\n".join(lines) + b"\n")))
    as_stated = pl.DataFrame([{**row, LAYOUT: None} for row in feed(3, 20)], schema=ROW_TABLE)
    assert_frame_equal(rows, as_stated)


def test_lines_are_the_same_rows_in_blocks_of_any_size(tmp_path, monkeypatch):
    lines = [LINE, b"", b"{", LINE + b"\r", b" " * 300, b"\xff", LINE]
    path = written(tmp_path / "a.ndjson", b"\n".join(lines))
    whole = rows_of(path)
    assert whole.height == len(lines)
    for size in (1, 2, 7, len(LINE), len(LINE) + 1, 1000):
        monkeypatch.setattr(read, "BLOCK", size)
        assert_frame_equal(rows_of(path), whole)


def test_the_end_of_the_last_line_is_no_row(tmp_path):
    assert [rows_of(written(tmp_path / "a.ndjson", raw)).height for raw in (b"", LINE, LINE + b"\n", b"\n")] == [
        0,
        1,
        1,
        1,
    ]


def test_no_table_is_larger_than_a_reader_may_give(tmp_path, monkeypatch):
    monkeypatch.setattr(read, "ROWS_AT_ONCE", 100)
    lines = written(tmp_path / "a.ndjson", b"\n" * 1050)
    pq.write_table(pa.Table.from_pylist(feed(3, 20), SCHEMA), tmp_path / "a.parquet")
    for path, kind in ((lines, FileFormat.NDJSON), (tmp_path / "a.parquet", FileFormat.PARQUET)):
        heights = [table.height for table in read_rows(path, kind)]
        assert max(heights) <= 100 < sum(heights)


def test_a_line_of_ten_megabytes_is_refused_and_the_others_are_read(tmp_path):
    path = written(tmp_path / "a.ndjson.gz", gzip.compress(LINE + b"\n" + b"[" * (10 << 20) + b"\n" + LINE))
    assert judge_rows(rows_of(path)).to_list() == [None, "line_too_long", None]


@pytest.mark.parametrize("end", [b"", b"\n{}\n", b"\n" + b" " * 100_000 + b"\n"])
def test_a_line_that_no_memory_should_hold_refuses_its_file(tmp_path, end):
    assert (
        reason(written(tmp_path / "a.ndjson", b"{}\n" + b" " * (LONGEST_LINE + 1) + end)) is FileRefusal.LINE_TOO_LONG
    )
    packed = gzip.compress(b"\0" * (LONGEST_LINE * 4))
    assert reason(written(tmp_path / "bomb.ndjson.gz", packed)) is FileRefusal.LINE_TOO_LONG


def test_a_byte_order_mark_refuses_its_file(tmp_path):
    assert reason(written(tmp_path / "a.ndjson", b"\xef\xbb\xbf" + LINE)) is FileRefusal.BYTE_ORDER_MARK


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".zst", zstd)])
@pytest.mark.parametrize("damage", [lambda raw: raw[:-9], lambda raw: raw[: len(raw) // 2], lambda raw: raw + b"more"])
def test_a_packed_file_that_is_cut_or_padded_is_refused_whole(tmp_path, ending, pack, damage):
    path = written(tmp_path / f"a.ndjson{ending}", damage(pack(b"\n".join([LINE] * 5000))))
    assert reason(path) is FileRefusal.DAMAGED


def test_a_plain_file_under_the_name_of_a_packed_one_is_refused_whole(tmp_path):
    assert reason(written(tmp_path / "a.ndjson.gz", LINE)) is FileRefusal.DAMAGED
    assert reason(written(tmp_path / "a.ndjson.zst", LINE)) is FileRefusal.DAMAGED


def test_a_file_that_is_gone_is_said_to_be_gone_and_a_fault_of_the_disk_rises(tmp_path):
    for kind in (FileFormat.NDJSON, FileFormat.PARQUET):
        assert reason(tmp_path / "nothing", kind) is FileRefusal.GONE
    with pytest.raises(IsADirectoryError):
        rows_of(tmp_path)


# Parquet


def parquet(path, rows, schema=SCHEMA, **options):
    pq.write_table(pa.Table.from_pylist(rows, schema), path, **options)
    return path


def test_a_parquet_file_is_the_rows_that_were_written(tmp_path):
    rows = feed(3, 20)
    path = parquet(tmp_path / "a.parquet", rows, row_group_size=50)
    as_stated = pl.DataFrame([{**row, LAYOUT: None} for row in rows], schema=ROW_TABLE)
    assert_frame_equal(rows_of(path, FileFormat.PARQUET), as_stated)
    assert parts(path, FileFormat.PARQUET) == -(-len(rows) // 50)
    pieces = [
        rows_of(path, FileFormat.PARQUET, part=range(at, at + 1)) for at in range(parts(path, FileFormat.PARQUET))
    ]
    assert_frame_equal(pl.concat(pieces), as_stated)


def test_a_parquet_file_without_dictionaries_is_the_same_rows(tmp_path):
    rows = feed(3, 20)
    large = pa.schema([field.with_type(pa.large_string()) if field.type == pa.string() else field for field in SCHEMA])
    paths = [
        parquet(tmp_path / "a.parquet", rows),
        parquet(tmp_path / "b.parquet", rows, use_dictionary=False, version="1.0"),
        parquet(tmp_path / "c.parquet", rows, large, use_dictionary=["token"], store_schema=False),
    ]
    first, *others = [rows_of(path, FileFormat.PARQUET) for path in paths]
    for other in others:
        assert_frame_equal(first, other)


def test_a_nullable_column_may_be_absent(tmp_path):
    names = [name for name in SCHEMA.names if name not in ("rat", "cell_id", "previous_plmn")]
    path = parquet(tmp_path / "a.parquet", feed(3, 5), pa.schema([SCHEMA.field(name) for name in reversed(names)]))
    rows = rows_of(path, FileFormat.PARQUET)
    assert rows.select("rat", "cell_id", "previous_plmn").null_count().row(0) == (rows.height,) * 3
    assert rows["token"].null_count() == 0


def not_utf8(*texts):
    """An Arrow column that calls bytes text without looking, as a careless writer does."""
    return pa.array(texts, pa.binary()).view(pa.string())


@pytest.mark.parametrize("name", ["token", "plmn", "previous_plmn"])
@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}])
def test_a_text_that_is_no_utf8_refuses_its_row_and_no_other(tmp_path, name, options):
    at = datetime(2026, 3, 2, 5, tzinfo=UTC)
    good = {**GOOD, "event_time": at, "ingest_time": at}
    table = pa.Table.from_pylist([good] * 3, SCHEMA)
    texts = not_utf8(
        str(good[name] or "452-04").encode(), b"\xff" * 26, None if name == "previous_plmn" else b"\xed\xa0\x80"
    )
    path = tmp_path / "a.parquet"
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, texts), path, **options)
    rows = rows_of(path, FileFormat.PARQUET)
    assert judge_rows(rows).to_list() == [None, "not_utf8", None if name == "previous_plmn" else "not_utf8"]
    assert rows[name].to_list()[1] is None


@pytest.mark.parametrize("unit", ["ms", "us"])
def test_a_time_that_no_calendar_holds_is_no_time(tmp_path, unit):
    kind = pa.timestamp(unit, "UTC")
    schema = pa.schema([field.with_type(kind) if pa.types.is_timestamp(field.type) else field for field in SCHEMA])
    columns = {name: pa.array([GOOD[name]] * 4, pa.string()) for name in schema.names if name in GOOD}
    wild = pa.array([2**63 - 1, -(2**63), 0, 1_772_427_600_000 * (1000 if unit == "us" else 1)], pa.int64()).view(kind)
    columns |= {"event_time": wild, "ingest_time": wild}
    pq.write_table(pa.table(columns, schema), tmp_path / "a.parquet")
    rows = rows_of(tmp_path / "a.parquet", FileFormat.PARQUET)
    assert judge_rows(rows).to_list() == ["time", "time", "time", None]


def test_a_parquet_file_with_another_schema_is_refused_whole(tmp_path):
    schema = SCHEMA.append(pa.field("imsi", pa.string()))
    assert reason(parquet(tmp_path / "a.parquet", [], schema), FileFormat.PARQUET) is FileRefusal.SCHEMA


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_a_cut_parquet_file_is_refused_whole(tmp_path, kept):
    raw = parquet(tmp_path / "a.parquet", feed(3, 20)).read_bytes()
    cut = written(tmp_path / "cut.parquet", raw[: int(len(raw) * kept)])
    assert reason(cut, FileFormat.PARQUET) is FileRefusal.DAMAGED
    with pytest.raises(FileDamaged):
        parts(cut, FileFormat.PARQUET)


def test_a_parquet_file_damaged_inside_is_refused_or_read_but_breaks_nothing(tmp_path):
    raw = parquet(tmp_path / "a.parquet", feed(3, 20)).read_bytes()
    refused = 0
    for at in range(4, len(raw) // 2, 97):
        path = written(tmp_path / "hurt.parquet", raw[:at] + b"\xff\xff\xff" + raw[at + 3 :])
        try:
            judge_rows(rows_of(path, FileFormat.PARQUET))
        except FileDamaged:
            refused += 1
    assert refused > 0


@pytest.mark.parametrize("fault", [pa.ArrowMemoryError, pa.ArrowCancelled])
def test_a_shortage_of_memory_is_no_fault_of_the_file(fault, tmp_path, monkeypatch):
    def short(*_, **__):
        raise fault("short of memory")

    monkeypatch.setattr("ingest.read.pq.read_metadata", short)
    with pytest.raises(fault):
        list(read_rows(tmp_path / "a.parquet", FileFormat.PARQUET))
    with pytest.raises(fault):
        parts(tmp_path / "a.parquet", FileFormat.PARQUET)
    monkeypatch.setattr("ingest.avro_rows.pa.decompress", short)
    with pytest.raises(fault):
        _unpacked(b"\x01abcd", "snappy")
