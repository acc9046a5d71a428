"""The door's grammar: what is refused, by which reason, and that a refusal never repeats the row."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.attachment import FIELD_NAMES, AttachmentRefused, Refusal, json_schema, judge, parse_line

GOOD = {
    "token": "a" * 26,
    "event_time": "2026-03-02T05:00:00Z",
    "ingest_time": "2026-03-02T05:00:07.250Z",
    "event_type": "handover",
    "rat": "EUTRA",
    "plmn": "452-04",
    "cell_id": "0a0008a",
    "previous_plmn": None,
    "domain": "domestic",
}


def line(**changes) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def reason(raw: bytes) -> Refusal | None:
    try:
        judge(parse_line(raw))
    except AttachmentRefused as refused:
        return refused.reason
    return None


def test_a_good_row_is_taken_in_with_its_times_in_utc():
    event = judge(parse_line(line(event_time="2026-03-02T12:00:00.5+07:00")))
    assert event.event_time.isoformat() == "2026-03-02T05:00:00.500000+00:00"


def test_a_nullable_key_may_be_absent():
    row = {name: value for name, value in GOOD.items() if name != "previous_plmn"}
    assert reason(json.dumps(row).encode()) is None


def test_a_missing_key_refuses_the_row():
    row = {name: value for name, value in GOOD.items() if name != "plmn"}
    assert reason(json.dumps(row).encode()) is Refusal.MISSING_FIELD


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", Refusal.NOT_JSON),
        (b"[]", Refusal.NOT_JSON),
        (b'\xef\xbb\xbf{"token": "x"}', Refusal.NOT_JSON),
        (b"[" * 2000, Refusal.NOT_JSON),
        (b'{"token": "\xff"}', Refusal.NOT_UTF8),
        (b" " * 5000, Refusal.LINE_TOO_LONG),
        (b'{"token": NaN}', Refusal.WRONG_TYPE),
        (b'{"token": ' + b"9" * 3000 + b"}", Refusal.WRONG_TYPE),
        (b'{"token": {"a": {"a": 1}}}', Refusal.WRONG_TYPE),
        (b'{"token": true}', Refusal.WRONG_TYPE),
        (line()[:-1] + b', "plmn": "452-04"}', Refusal.DUPLICATE_KEY),
        (line(imsi="452040123456789"), Refusal.UNKNOWN_FIELD),
        (line(msisdn=None), Refusal.UNKNOWN_FIELD),
        (line(home_country="KH"), Refusal.UNKNOWN_FIELD),
        (line(cell_id="45204012345678"), Refusal.IDENTITY_LIKE),
        (line(plmn="352099001761481"), Refusal.IDENTITY_LIKE),
        (line(token="A" * 26), Refusal.TOKEN),
        (line(token="a" * 25), Refusal.TOKEN),
        (line(token="a" * 26 + "\n"), Refusal.TOKEN),
        (line(token="452040123456789"), Refusal.TOKEN),
        (line(event_type="sms"), Refusal.EVENT_TYPE),
        (line(rat="LTE"), Refusal.RAT),
        (line(plmn="45204"), Refusal.PLMN),
        (line(previous_plmn="456-1"), Refusal.PREVIOUS_PLMN),
        (line(domain="KH"), Refusal.DOMAIN),
        (line(cell_id="0A0008A"), Refusal.CELL_ID),
        (line(cell_id="0a0008a0"), Refusal.CELL_ID),
        (line(rat="NR"), Refusal.CELL_ID),
        (line(cell_id=None), Refusal.CELL_MISSING),
        (line(rat=None), Refusal.CELL_MISSING),
        (line(event_type="roaming_registration"), Refusal.CELL_ON_ROAMING_ROW),
        (line(event_type="roaming_cancel", rat=None), Refusal.CELL_ON_ROAMING_ROW),
        (line(event_time="2026-03-02T05:00:00"), Refusal.TIME),
        (line(event_time="2026-03-02T24:00:00Z"), Refusal.TIME),
        (line(event_time="2026-02-30T05:00:00Z"), Refusal.TIME),
        (line(event_time="2026-03-02T05:00:60Z"), Refusal.TIME),
        (line(event_time="1772427600"), Refusal.TIME),
        (line(event_time="2099-01-01T00:00:00Z"), Refusal.FUTURE),
        (line(event_time="2100-01-01T00:00:00Z", ingest_time="2100-01-01T00:00:00Z"), Refusal.TIME),
        (line(event_time="0001-01-01T00:00:00Z"), Refusal.TIME),
        (line(plmn="\ud800"), Refusal.NOT_UTF8),
        (line(event_time="2026-03-02T05:00:07.250001Z"), Refusal.FUTURE),
        (line(event_time="2026-03-02T04:45:07.249Z"), Refusal.LATE),
        (line(event_time="1970-01-01T00:00:00Z"), Refusal.TIME),
        (line(event_time="2000-01-01T00:00:00Z"), Refusal.LATE),
    ],
)
def test_a_row_that_breaks_a_rule_is_refused_by_that_rule(raw, expected):
    assert reason(raw) is expected


def test_fifteen_minutes_late_is_not_late():
    assert reason(line(event_time="2026-03-02T04:45:07.250Z")) is None


SECRET = "452040999888777"


@given(
    st.sampled_from([*FIELD_NAMES, "note", SECRET]),
    st.one_of(st.just(SECRET), st.just({"x": SECRET}), st.just([SECRET]), st.just(float(SECRET)), st.text(max_size=30)),
)
@settings(max_examples=200, deadline=None)
def test_a_refusal_never_repeats_what_was_in_the_row(name, value):
    try:
        judge(parse_line(line(**{name: value})))
    except AttachmentRefused as refused:
        told = f"{refused} {refused!r} {refused.__cause__} {refused.__context__ if not refused.__suppress_context__ else ''}"
        assert SECRET not in told


def test_the_json_schema_is_closed_and_names_every_field():
    schema = json_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(FIELD_NAMES)
