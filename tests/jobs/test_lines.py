"""Lines cut by shape and lines parsed one by one are the same rows."""

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.attachment import FIELD_NAMES, LINE_BYTES, TIME_FIELDS, AttachmentRefused, parse_line, parse_time
from jobs import lines
from jobs.lines import LAYOUT, parse_table
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


@settings(max_examples=300, deadline=None)
@given(st.lists(odd_lines(), max_size=12))
def test_every_line_gives_the_row_that_it_gives_alone(batch):
    usual = [json.dumps(GOOD).encode()]
    assert cut(usual + batch) == [plainly(line) for line in usual + batch]


@pytest.mark.parametrize("at", TIMES)
def test_a_time_is_read_as_it_is_read_alone(at):
    batch = [json.dumps({**GOOD, "event_time": at, "ingest_time": TIMES[1]}).encode() for _ in range(2)]
    assert cut(batch) == [plainly(line) for line in batch]


def test_a_long_line_of_the_usual_shape_is_refused_by_its_length():
    usual = json.dumps(GOOD).encode()
    room = LINE_BYTES - len(usual)
    batch = [usual, *[json.dumps({**GOOD, "plmn": GOOD["plmn"] + "0" * more}).encode() for more in (room, room + 1)]]
    assert [row[LAYOUT] for row in cut(batch)] == [None, None, "line_too_long"]


def test_a_batch_without_lines_gives_no_rows():
    assert cut([]) == []


def test_the_lines_of_a_feed_need_no_parsing_one_by_one(monkeypatch):
    rows = feed(1, 50)
    batch = ndjson_lines(rows) + ndjson_lines([dict(reversed(row.items())) for row in rows])
    wanted = [plainly(line) for line in batch]
    alone = []
    monkeypatch.setattr(
        lines, "_one_by_one", lambda left, real=lines._one_by_one: (alone.append(len(left)), real(left))[1]
    )
    assert cut(batch) == wanted
    assert alone == [0]
