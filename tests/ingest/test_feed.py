"""Feed marks and the token-day."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
