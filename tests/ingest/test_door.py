"""The door on tables gives every row the verdict that it gets alone, whatever it holds and wherever it comes from."""

import json
import random
from datetime import UTC, datetime, timedelta
from itertools import product

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.attachment import (
    EARLIEST,
    FIELD_NAMES,
    LATENESS,
    LATEST,
    TIME_FIELDS,
    AttachmentRefused,
    EventType,
    Rat,
    Refusal,
    judge,
    judge_timed,
    parse_line,
    parse_time,
)
from ingest.door import Admission, judge_rows
from ingest.files import FileFormat
from ingest.read import read_rows
from ingest.rows import LAYOUT, ROW_TABLE
from tests.ingest.test_attachment import GOOD
from tests.jobs.border import SCHEMA

NOW = datetime(2026, 3, 2, 5, 0, 7, 250000, tzinfo=UTC)
US = timedelta(microseconds=1)
ODD = {
    "token": [
        "",
        "A" * 26,
        "a" * 27,
        "a" * 26 + "\n",
        "a" * 25 + "8",
        None,
        "452040123456789",
        "ａ" * 26,
        "é" * 13,
        "a" * 25,
        "7" * 26,
    ],
    "event_time": [
        "2026-03-02T04:44:59Z",
        "2026-03-02T05:00:08Z",
        "2099-01-01T00:00:00Z",
        None,
        "2026-03-02T05:00:00+07:00",
    ],
    "ingest_time": ["2026-03-02T05:15:00Z", "2026-03-02T05:15:00.000001Z", "1970-01-01T00:00:00Z", None],
    "event_type": [
        "attach",
        "detach",
        "implicit_detach",
        "roaming_registration",
        "roaming_cancel",
        "sms",
        "ATTACH",
        "attach\n",
        "12345678901234",
        None,
    ],
    "rat": ["GERA", "UTRA", "NR", "nr", "LTE", "", None],
    "plmn": ["452-4", "452-040", "45204", "452-0400", "352099001761481", "４５２-04", "452-04\n", None],
    "cell_id": ["0a0008", "0a0008a0", "0a0008a00", "0A0008A", "12345678901234", "0a0008a\n", "", "٠١٢٣٤٥٦", None],
    "previous_plmn": ["456-01", "456-1", "", "45601123456789012", "x352099001761481x", None],
    "domain": ["inbound", "roamer", "KH", "", "domestic\n", None],
}
ROAMING = {**GOOD, "event_type": "roaming_registration", "rat": None, "cell_id": None}
INSTANTS = [
    NOW,
    *[NOW + away * US for away in (-1, 1)],
    *[NOW - LATENESS + away * US for away in (-1, 0, 1)],
    *[at + away * US for at in (EARLIEST, LATEST) for away in (-1, 0, 1)],
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2099, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    None,
]


def odd_rows(count):
    chance = random.Random(5)
    for _ in range(count):
        row = dict(chance.choice([GOOD, GOOD, ROAMING]))
        for name in chance.sample(list(ODD), k=chance.choice([0, 1, 1, 2, 3])):
            row[name] = chance.choice(ODD[name])
        yield row


def verdict(act, admission=None):
    """What the door in plain Python says, one row at a time."""
    try:
        event = act()
    except AttachmentRefused as refused:
        return refused.reason.value
    if admission and event.ingest_time > admission.not_after:
        return Refusal.FUTURE.value
    if admission and event.event_time < admission.not_before:
        return Refusal.LATE.value
    return None


def timed(row):
    return {**row, **{name: parse_time(row[name]) for name in TIME_FIELDS}}


def table(rows):
    return pl.DataFrame([{LAYOUT: None, **row} for row in rows], schema=ROW_TABLE)


def test_every_odd_line_gets_one_verdict(tmp_path):
    lines = [json.dumps(row, ensure_ascii=False) for row in odd_rows(3000)]
    lines += ["", "{", "[]", "7", json.dumps({**GOOD, "imsi": "1"}), json.dumps(GOOD)[:-1] + ', "rat": "NR"}']
    lines += [json.dumps({**GOOD, "plmn": "\ud800"}), json.dumps({**GOOD, "plmn": "\0"}), json.dumps(GOOD) + "\r"]
    lines += [json.dumps({**GOOD, "plmn": 7}), json.dumps(GOOD) + " " * 5000, '{"token": {"token": "a"}}']
    path = tmp_path / "odd.ndjson"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    judged = [reason for rows in read_rows(path, FileFormat.NDJSON) for reason in judge_rows(rows)]
    plain = [verdict(lambda line=line: judge(parse_line(line.encode()))) for line in lines]
    assert judged == plain
    assert len({reason for reason in plain if reason}) >= 15


def test_every_odd_parquet_row_gets_one_verdict(tmp_path):
    rows = [timed(row) for row in odd_rows(3000)]
    path = tmp_path / "odd.parquet"
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
    judged = [reason for some in read_rows(path, FileFormat.PARQUET) for reason in judge_rows(some)]
    assert judged == [verdict(lambda row=row: judge_timed(row, row["event_time"], row["ingest_time"])) for row in rows]


TEXTS = st.one_of(
    st.none(),
    st.sampled_from([value for values in ODD.values() for value in values] + list(GOOD.values())),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=28),
    st.from_regex(r"[0-9a-f-]{6,16}", fullmatch=True),
)


@st.composite
def any_rows(draw):
    row = {**draw(st.sampled_from([GOOD, ROAMING])), "event_time": NOW, "ingest_time": NOW}
    for name in draw(st.lists(st.sampled_from(FIELD_NAMES), max_size=4)):
        if name in TIME_FIELDS:
            row[name] = draw(st.sampled_from(INSTANTS))
        else:
            row[name] = draw(TEXTS | st.sampled_from(ODD[name]))
    return row


@settings(max_examples=400, deadline=None)
@given(
    st.lists(any_rows(), min_size=1, max_size=8),
    st.none() | st.builds(Admission, *[st.sampled_from([at for at in INSTANTS if at])] * 2),
)
def test_any_row_gets_the_verdict_that_it_gets_alone(rows, admission):
    alone = [
        verdict(lambda row=row: judge_timed(row, row["event_time"], row["ingest_time"]), admission) for row in rows
    ]
    assert judge_rows(table(rows), admission).to_list() == alone


def test_every_event_type_wants_the_cell_that_it_wants_alone():
    cell_ids = ["0a0008a", "0a0008a0", "0a0008a00", None]
    kinds = product(EventType, [*Rat, None], cell_ids)
    rows = [{**GOOD, "event_type": kind.value, "rat": rat, "cell_id": cell_id} for kind, rat, cell_id in kinds]
    alone = [verdict(lambda row=row: judge(row)) for row in rows]
    assert judge_rows(table(timed(row) for row in rows)).to_list() == alone
    assert {None, "cell_id", "cell_missing", "cell_on_roaming_row"} == set(alone)


@pytest.mark.parametrize(
    ("delay", "expected"),
    [(-US, "future"), (0 * US, None), (US, None), (LATENESS, None), (LATENESS + US, "late")],
)
def test_the_fifteen_minutes_are_exact_to_the_microsecond(delay, expected):
    rows = table([{**GOOD, "event_time": NOW, "ingest_time": NOW + delay}])
    assert judge_rows(rows).to_list() == [expected]


@pytest.mark.parametrize(
    ("admission", "expected"),
    [
        (Admission(NOW, NOW), None),
        (Admission(NOW - US, NOW), "future"),
        (Admission(NOW, NOW + US), "late"),
        (Admission(NOW - US, NOW + US), "future"),
    ],
)
def test_a_live_door_knows_the_time_and_which_day_is_gone(admission, expected):
    rows = table([{**GOOD, "event_time": NOW, "ingest_time": NOW}])
    assert judge_rows(rows, admission).to_list() == [expected]


@pytest.mark.parametrize("reason", Refusal)
def test_what_the_layout_was_refused_for_is_the_verdict(reason):
    rows = table(
        [{**dict.fromkeys(FIELD_NAMES), LAYOUT: reason.value}, {**GOOD, "event_time": NOW, "ingest_time": NOW}]
    )
    assert judge_rows(rows).to_list() == [reason.value, None]


def test_a_table_without_rows_has_no_verdicts():
    assert judge_rows(ROW_TABLE.to_frame()).to_list() == []


def test_a_slice_of_a_table_is_judged_by_its_own_rows():
    rows = [timed(row) for row in odd_rows(300)]
    whole = judge_rows(table(rows)).to_list()
    pieces = pl.concat([table(rows[:120]), table(rows[120:])], rechunk=False)
    assert judge_rows(pieces.slice(50, 200)).to_list() == whole[50:250]
