"""Feed marks, drop-folder files and the token-day."""

import gzip
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.files import LONGEST_LINE, FileFormat, FileRefusal, file_refusal, is_damaged
from ingest.marks import FeedMark, MarkRefused, covered_until, parse_mark, read_marks
from ingest.token_day import hours_of, token_day_start

AT = datetime(2026, 3, 2, 5, tzinfo=UTC)


def test_the_slowest_partition_decides_what_is_covered():
    marks = [FeedMark("core", 0, AT), FeedMark("core", 0, AT + timedelta(hours=2)), FeedMark("register", 0, AT)]
    assert covered_until(marks) == AT
    assert covered_until([]) is None


def test_a_source_that_is_expected_and_silent_covers_nothing():
    assert covered_until([FeedMark("core", 0, AT)], ["core/0", "core/1"]) is None
    assert covered_until([FeedMark("core", 0, AT)], ["core/0"]) == AT


def test_a_mark_from_the_future_vouches_for_no_more_than_now():
    assert covered_until([FeedMark("core", 0, AT + timedelta(days=900))], not_after=AT) == AT


def test_a_mark_that_is_still_being_written_is_left_for_later(tmp_path):
    line = '{"source": "core", "partition": 0, "covers_until": "2026-03-02T05:00:00Z"}'
    (tmp_path / "core.ndjson").write_text(line + "\n" + line[:30])
    assert read_marks(tmp_path) == [FeedMark("core", 0, AT)]


@pytest.mark.parametrize(
    "line",
    [
        "7",
        "{",
        '{"source": "core", "partition": 0}',
        '{"source": "core", "partition": true, "covers_until": "2026-03-02T05:00:00Z"}',
        '{"source": "core", "partition": 0, "covers_until": "2026-03-02T05:00:00"}',
        '{"source": "core", "partition": 0, "covers_until": "2026-03-02T05:00:00Z", "token": "x"}',
    ],
)
def test_a_feed_mark_that_breaks_its_contract_is_refused(line):
    with pytest.raises(MarkRefused):
        parse_mark(line)


@given(st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)), st.integers(0, 23))  # noqa: DTZ001
def test_every_instant_lies_in_exactly_one_token_day_of_24_hours(at, turn):
    start = token_day_start(at, turn)
    assert start.hour == turn
    assert timedelta(0) <= at - start < timedelta(hours=24)
    assert len(hours_of(start)) == 24


COLUMNS = {
    "token": pa.string(),
    "event_time": pa.timestamp("us", "UTC"),
    "ingest_time": pa.timestamp("us", "UTC"),
    "event_type": pa.string(),
    "rat": pa.string(),
    "plmn": pa.string(),
    "cell_id": pa.large_string(),
    "previous_plmn": pa.string(),
    "domain": pa.string(),
}


def parquet(path, **changes):
    columns = {name: kind for name, kind in {**COLUMNS, **changes}.items() if kind is not None}
    pq.write_table(pa.table({name: pa.array([None] * 3, kind) for name, kind in columns.items()}), path)
    return path


def test_a_parquet_file_of_the_contract_is_read(tmp_path):
    assert file_refusal(parquet(tmp_path / "a.parquet"), FileFormat.PARQUET) is None
    assert file_refusal(parquet(tmp_path / "b.parquet", previous_plmn=None), FileFormat.PARQUET) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"imsi": pa.string()},
        {"lon": pa.float64()},
        {"plmn": None},
        {"event_time": pa.timestamp("us")},
        {"event_time": pa.int64()},
        {"event_time": pa.timestamp("us", "Asia/Shanghai")},
        {"token": pa.int64()},
        {"event_time": pa.timestamp("ns", "UTC")},
    ],
)
def test_a_parquet_file_with_another_schema_is_refused_whole(tmp_path, changes):
    assert file_refusal(parquet(tmp_path / "a.parquet", **changes), FileFormat.PARQUET) is FileRefusal.SCHEMA


def test_a_cut_file_is_refused_whole(tmp_path):
    whole = parquet(tmp_path / "a.parquet").read_bytes()
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(whole[: len(whole) // 2])
    assert file_refusal(cut, FileFormat.PARQUET) is FileRefusal.DAMAGED
    packed = tmp_path / "cut.ndjson.gz"
    packed.write_bytes(gzip.compress(b"{}\n" * 100_000)[:-20])
    assert is_damaged(packed, FileFormat.NDJSON)


def test_a_line_that_no_memory_should_hold_refuses_its_file(tmp_path):
    path = tmp_path / "a.ndjson.gz"
    path.write_bytes(gzip.compress(b"{}\n" + b" " * (LONGEST_LINE + 1) + b"\n{}\n"))
    assert file_refusal(path, FileFormat.NDJSON) is FileRefusal.LINE_TOO_LONG


def test_a_file_that_is_gone_is_said_to_be_gone_and_a_fault_of_the_disk_rises(tmp_path):
    assert file_refusal(tmp_path / "a.parquet", FileFormat.PARQUET) is FileRefusal.GONE
    with pytest.raises(IsADirectoryError):
        file_refusal(tmp_path, FileFormat.NDJSON)


def test_a_byte_order_mark_is_refused(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"\xef\xbb\xbf{}\n")
    assert file_refusal(path, FileFormat.NDJSON) is FileRefusal.BYTE_ORDER_MARK
