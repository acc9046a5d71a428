"""Lines cut by shape and lines parsed one by one are the same rows."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import lines
from ingest.attachment import FIELD_NAMES, LINE_BYTES, TIME_FIELDS, AttachmentRefused, parse_line, parse_time
from ingest.lines import parse_array, parse_block, parse_table
from ingest.rows import LAYOUT, NO_TIME, ROW_TABLE
from ingest.spelling import SPARE, padded, plain_times
from tests.ingest.test_attachment import GOOD
from tests.jobs.border import feed, ndjson_lines

TIMES = [
    "2026-03-02T05:00:00Z",
    "2026-03-02T05:00:00.5Z",
    "2026-03-02T05:00:00.123456+07:00",
    "2026-03-02T05:00:00.123456-14:00",
    "2026-03-02T05:00:00.1234567Z",
    "2026-03-02T24:00:00Z",
    "2026-03-02T05:00:60Z",
    "2026-02-30T05:00:00Z",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00+01:00",
    "9999-12-31T23:59:59-01:00",
    "2026-03-02T05:00:00",
    "2026-03-02 05:00:00Z",
    "2026-03-02T05:00:00z",
    "2026-03-02T05:00:00,5Z",
    "2026-03-02T05:00:00.Z",
    "2026-03-02T05:00:00.5",
    "2026-03-02T05:00:00Z\n",
    "1772427600",
    "",
]
VALUES = st.one_of(
    st.none(),
    st.sampled_from(TIMES),
    st.sampled_from(list(GOOD.values())),
    st.text(max_size=6),
    st.integers(),
    st.booleans(),
)


def plainly(line):
    try:
        row = dict(parse_line(line))
    except AttachmentRefused as refused:
        return {**dict.fromkeys(FIELD_NAMES), LAYOUT: refused.reason.value}
    return {**row, **{name: parse_time(row[name]) for name in TIME_FIELDS}, LAYOUT: None}


def cut(rows):
    return list(parse_table(pl.Series("line", rows, dtype=pl.Binary)).iter_rows(named=True))


def cut_block(rows, at_most=1000):
    tables = list(parse_block(b"\n".join(rows), at_most))
    assert all(table.height <= at_most and table.schema == ROW_TABLE for table in tables)
    return [row for table in tables for row in table.iter_rows(named=True)]


@st.composite
def odd_lines(draw):
    row = dict(GOOD)
    for name in draw(st.lists(st.sampled_from(FIELD_NAMES), max_size=3)):
        row[name] = draw(VALUES)
    pairs = list(row.items())
    if draw(st.booleans()):
        pairs = draw(st.permutations(pairs))[: draw(st.integers(1, len(pairs)))]
    if draw(st.integers(0, 4)) == 0:
        pairs.append(draw(st.sampled_from([pairs[0], ("imsi", "1"), ("token", None)])))
    comma, colon = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", " : "), (",\t", ":\n")]))
    spelled = [json.dumps(name) + colon + json.dumps(value, ensure_ascii=draw(st.booleans())) for name, value in pairs]
    line = ("{" + comma.join(spelled) + "}").encode()
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(line)))
        line = line[:at] + draw(st.binary(max_size=3)) + line[at + draw(st.integers(0, 3)) :]
    return line


ROAMING = {**GOOD, "event_type": "roaming_cancel", "rat": None, "cell_id": None, "previous_plmn": "456-01"}
USUAL = [json.dumps(row).encode() for row in (GOOD, ROAMING, dict(reversed(GOOD.items()))) for _ in range(lines._FEW)]
"""Enough lines of some shapes that they are learnt."""


@pytest.fixture(params=[5, 4096], ids="{} at once".format)
def at_once(request, monkeypatch):
    """However many lines are cut at once, and however few are worth a shape, the rows are the same."""
    monkeypatch.setattr(lines, "_AT_ONCE", request.param)
    monkeypatch.setattr(lines, "_FEW", min(request.param // 5, lines._FEW))


EACH = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@EACH
@given(st.lists(odd_lines(), max_size=12), st.randoms(use_true_random=False))
def test_every_line_gives_the_row_that_it_gives_alone(at_once, odd, chance):
    batch = USUAL + odd
    chance.shuffle(batch)
    assert cut(batch) == [plainly(line) for line in batch]


SPANNERS = [
    b'"',
    b"\\",
    b"\\u0061",
    b"{",
    b"}",
    b",",
    b":",
    b" ",
    b"null",
    b"nul",
    b"\r",
    b"\t",
    b"\0",
    b"\x7f",
    b"\xff",
    b"\xc3\xa9",
]
SPANNERS += [
    b'": "',
    b'", "',
    b"7",
    b"a",
    b"\xef\xbb\xbf",
    b"[",
    b"NaN",
    b"1e999",
    b'"imsi": "1", ',
    b'"rat": "NR", ',
    b'""',
    b"",
    b"-",
]


@st.composite
def spoilt_lines(draw):
    """A line of a usual shape with a spanner or two in it: put in, put over, or two of its pieces swapped."""
    line = draw(st.sampled_from([*set(USUAL), USUAL[0].replace(b'": "', b'":"'), USUAL[0] + b"\r"]))
    for _ in range(draw(st.integers(1, 3))):
        at, over = draw(st.integers(0, len(line))), draw(st.integers(0, 12))
        if draw(st.booleans()):
            line = line[:at] + draw(st.sampled_from(SPANNERS)) + line[at + over :]
        else:
            line = line[:at] + line[at + over : at + 2 * over] + line[at : at + over] + line[at + 2 * over :]
    return line


@EACH
@given(st.lists(spoilt_lines(), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_a_spoilt_line_gives_the_row_that_it_gives_alone(at_once, spoilt, chance):
    batch = USUAL + spoilt
    chance.shuffle(batch)
    wanted = [plainly(line) for line in batch]
    assert cut(batch) == wanted
    if not any(b"\n" in line for line in batch):
        assert cut_block(batch, at_most=20) == wanted


def test_what_is_no_line_of_the_contract_is_refused_by_its_layout_among_usual_lines():
    usual = USUAL[0]
    odd = {
        usual[:-1] + b', "rat": "NR"}': "duplicate_key",
        usual[:-1] + b', "imsi": "1"}': "unknown_field",
        usual.replace(b'"domain"', b'"msisdn"'): "unknown_field",
        usual.replace(b'"domain": ', b'"domain"= '): "not_json",
        usual.replace(b'"handover"', b'{"a": {"a": 1}}'): "wrong_type",
        usual.replace(b'"handover"', b"NaN"): "wrong_type",
        usual.replace(b'"handover"', b"1e999"): "wrong_type",
        usual.replace(b'"handover"', b"9" * 3000): "wrong_type",
        usual.replace(b"handover", b"hand\xffover"): "not_utf8",
        usual.replace(b"handover", b"hand\\ud800over"): "not_utf8",
        usual.replace(b"handover", b"hand\0over"): "not_json",
        b"\xef\xbb\xbf" + usual: "not_json",
        usual + b" {}": "not_json",
        usual + usual: "not_json",
        usual[:-1]: "not_json",
        b"[" * 4000: "not_json",
        b'{"a":' * 800: "not_json",
        b"": "not_json",
        b" " * (10 << 20): "line_too_long",
        usual + b" " * LINE_BYTES: "line_too_long",
    }
    batch = [line for pair in zip(odd, USUAL, strict=False) for line in pair]
    for table in (cut(batch), cut_block(batch)):
        assert [row[LAYOUT] for row in table] == [reason for why in odd.values() for reason in (why, None)]


def test_texts_that_are_longer_than_a_view_or_no_ascii_are_kept_whole():
    odd = ["é" * 20, "x" * 13, "x" * 12, "\\u00e9" * 5, "中" * 4, "ab", ""]
    batch = USUAL + [USUAL[0].replace(b"handover", text.encode()) for text in odd] + USUAL
    assert cut(batch) == [plainly(line) for line in batch]


def test_a_file_written_on_windows_needs_no_parsing_one_by_one(monkeypatch):
    monkeypatch.setattr(lines, "_read_alone", lambda _: pytest.fail("read one by one"))
    batch = [line + b"\r" for line in USUAL]
    assert cut_block(batch) == [plainly(line) for line in batch]


def test_lines_of_a_slice_and_with_nulls_are_its_own():
    batch = pa.array([b"{", *USUAL, None, USUAL[0]], pa.binary())
    wanted = [plainly(line) for line in (*USUAL[2:], b"", USUAL[0])]
    for kind in (pa.binary(), pa.large_binary()):
        assert list(parse_array(batch.cast(kind)[3:]).iter_rows(named=True)) == wanted


def test_lines_that_do_not_fit_into_one_block_are_all_read(monkeypatch):
    monkeypatch.setattr(lines, "_BLOCK", 1000)
    batch = [*USUAL, b" " * 3000, b"", *USUAL]
    assert cut(batch) == [plainly(line) for line in batch]


@st.composite
def time_texts(draw):
    """Times, nearly."""
    text = draw(
        st.datetimes().map(datetime.isoformat)
        | st.from_regex(
            r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](\.[0-9]{0,7})?", fullmatch=True
        )
        | st.sampled_from(
            ["2024-02-29T00:00:00", "2023-02-29T00:00:00", "2000-12-31T23:59:59.999999", "1900-02-29T00:00:00"]
        )
    )
    text += draw(st.sampled_from(["Z", "Z", "+00:00", "-00:00", "+14:00", "-14:59", "+15:00", "+07:60", "z", ""]))
    if draw(st.integers(0, 2)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from([*"0123456789:-+.TZ /;@?", ""])) + text[at + draw(st.integers(0, 1)) :]
    return text


@settings(max_examples=300, deadline=None)
@given(st.lists(time_texts(), min_size=1, max_size=10))
def test_times_are_read_at_once_as_they_are_one_by_one(texts):
    at = SPARE + np.cumsum([len(text) for text in texts]) - [len(text) for text in texts]
    block = padded(bytes(SPARE) + "".join(texts).encode())
    times = plain_times(block, at, np.array([len(text) for text in texts], np.int32))
    for text, time in zip(texts, times.tolist(), strict=True):
        instant = parse_time(text)
        if time == NO_TIME:
            assert instant is None or instant.year in (1, 2, 9998, 9999)
        else:
            assert instant == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)


@pytest.mark.parametrize("at", TIMES)
def test_a_time_is_read_as_it_is_read_alone(at):
    batch = [json.dumps({**GOOD, "event_time": at, "ingest_time": TIMES[1]}).encode() for _ in range(20)]
    assert cut(batch) == [plainly(line) for line in batch]


def test_a_long_line_of_the_usual_shape_is_refused_by_its_length():
    usual = json.dumps(GOOD).encode()
    room = LINE_BYTES - len(usual)
    batch = [
        *USUAL[:20],
        *[json.dumps({**GOOD, "plmn": GOOD["plmn"] + "0" * more}).encode() for more in (room, room + 1)],
    ]
    assert [row[LAYOUT] for row in cut(batch)][-2:] == [None, "line_too_long"]


def test_a_batch_without_lines_gives_no_rows():
    assert cut([]) == []


def test_the_lines_of_a_feed_need_no_parsing_one_by_one(monkeypatch):
    rows = feed(1, 50)
    batch = ndjson_lines(rows) + ndjson_lines([dict(reversed(row.items())) for row in rows])
    wanted = [plainly(line) for line in batch]
    alone = []
    monkeypatch.setattr(lines, "_read_alone", lambda line, real=lines._read_alone: (alone.append(line), real(line))[1])
    assert cut(batch) == wanted
    assert alone == []
