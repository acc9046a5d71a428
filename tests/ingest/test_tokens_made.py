"""Tokens from subscriber ids: the day's key, who is left out, and what of a row goes on."""

import io
import os
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.attachment import TOKEN_PATTERN
from ingest.day_keys import KeyRefused, key_file, read_day_key, turn_keys
from ingest.times import TimeForm
from ingest.tokenise import (
    Columns,
    LeftOut,
    ListRefused,
    RowsRefused,
    make_token,
    read_csv_rows,
    read_ndjson_rows,
    read_prefixes,
    read_subscribers,
    subscriber_digits,
    tokenise,
    write_csv_rows,
)

TURN = 20
NOBODY, BY_IMSI = LeftOut(), Columns("imsi")
DAY = datetime(2026, 3, 1, TURN, tzinfo=UTC)
NEXT = DAY + timedelta(days=1)
ROW = {"imsi": "452040123456789", "event_time": "2026-03-02T05:00:00Z", "plmn": "452-04", "imei": "352099001761481"}


def made(*rows, left_out=NOBODY, columns=BY_IMSI, keys=None):
    keys = {DAY: b"k" * 32, NEXT: b"n" * 32} if keys is None else keys
    counts = Counter()
    return list(tokenise(rows, columns, TURN, keys.get, left_out, counts)), dict(counts)


@given(st.binary(min_size=16, max_size=64), st.from_regex("[0-9]{5,15}", fullmatch=True))
def test_a_token_keeps_to_the_contract_and_says_the_same_each_time(key, subscriber):
    token = make_token(key, subscriber)
    assert token == make_token(key, subscriber)
    assert len(token) == 26
    assert set(token) <= set("abcdefghijklmnopqrstuvwxyz234567")
    assert subscriber not in token


def test_a_token_is_the_hmac_of_the_standard():
    # RFC 4231, test case 2, has text that is no number; its key and our function must give its first 128 bits.
    assert make_token(b"Jefe", "what do ya want for nothing?") == _base32("5bdcc146bf60754e6a042426089575c7")


def _base32(digits):
    value, letters = int(digits, 16) << 2, "abcdefghijklmnopqrstuvwxyz234567"
    return "".join(letters[value >> shift & 31] for shift in range(125, -1, -5))


def test_the_event_decides_the_day_and_another_day_is_another_token():
    late = {**ROW, "event_time": "2026-03-02T19:59:59Z"}
    after = {**ROW, "event_time": "2026-03-02T20:00:00Z"}
    (first, second, third), _ = made(ROW, late, after)
    assert first["token"] == second["token"] != third["token"]


def test_only_what_the_contract_knows_goes_on():
    (row,), _ = made(ROW)
    assert row.keys() == {"token", "event_time", "plmn"}
    assert ROW["imsi"] not in str(row)
    assert ROW["imei"] not in str(row)


def test_one_subscriber_written_in_two_ways_is_one_token():
    (first, second), _ = made({**ROW, "imsi": "84912345678"}, {**ROW, "imsi": "+84912345678"})
    assert first["token"] == second["token"]


def test_who_opted_out_and_what_is_a_machine_never_appears():
    left_out = LeftOut(
        opted_out=read_subscribers(["452040000000001\n", "\n", "+84912345678\n"], "opted out"),
        machines=read_subscribers(["452040000000002"], "machines"),
        machine_prefixes=read_prefixes(["4520499"], "prefixes"),
    )
    ids = ["452040000000001", "84912345678", "452040000000002", "452049900000003", "452040000000004"]
    rows, counts = made(*({**ROW, "imsi": one} for one in ids), left_out=left_out)
    assert counts == {"opted_out": 2, "machine": 2, "written": 1}
    assert [row["token"] for row in rows] == [make_token(b"k" * 32, "452040000000004")]


@pytest.mark.parametrize("line", ["Nguyen", "45204-123", "12"])
def test_a_list_with_a_line_that_is_no_subscriber_is_refused_without_repeating_it(line):
    with pytest.raises(ListRefused, match="line 2 of opted out") as refused:
        read_subscribers(["452040000000001", line], "opted out")
    assert line not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"imsi": ""}, "no_subscriber"),
        ({"imsi": "unknown"}, "no_subscriber"),
        ({"event_time": "2026-03-02T05:00:00"}, "no_time"),
        ({"event_time": "2026-02-28T05:00:00Z"}, "no_key"),
        ({"plmn": ["452-04"]}, "unreadable"),
    ],
)
def test_a_row_that_no_token_can_be_made_for_is_counted_and_left_out(changes, reason):
    assert made({**ROW, **changes}) == ([], {reason: 1})


def test_a_time_is_read_as_it_was_declared():
    columns = Columns("imsi", time_form=TimeForm.EPOCH_MS)
    rows, _ = made({**ROW, "event_time": "1772427600000"}, columns=columns)
    assert rows[0]["token"] == made(ROW)[0][0]["token"]
    assert made({**ROW, "event_time": "1772427600"}, columns=columns)[1] == {"no_key": 1}  # seconds: 1970


def test_an_open_quote_takes_no_other_row_with_it():
    text = (
        'imsi,event_time,plmn\n"452040123456789,2026-03-02T05:00:00Z,452-04\n' + ",".join(list(ROW.values())[:3]) + "\n"
    )
    rows, counts = made(*read_csv_rows(io.StringIO(text), Columns("imsi"))[1])
    assert counts == {"unreadable": 1, "written": 1}
    out = io.StringIO()
    write_csv_rows(iter(rows), ["event_time", "plmn"], out)
    assert out.getvalue().splitlines()[0] == "token,event_time,plmn"
    assert ROW["imsi"] not in out.getvalue()


def test_an_object_with_a_key_twice_is_unreadable():
    text = '{"imsi":"452040123456789","imsi":"452040123456780","event_time":"2026-03-02T05:00:00Z"}\n[1]\n'
    assert made(*read_ndjson_rows(io.StringIO(text))) == ([], {"unreadable": 2})


def test_a_csv_without_the_columns_that_are_needed_is_refused():
    with pytest.raises(RowsRefused):
        read_csv_rows(io.StringIO("msisdn,event_time\n"), Columns("imsi"))


def test_subscriber_ids_are_digits():
    assert subscriber_digits("452 04 0123456789") is None
    assert TOKEN_PATTERN.startswith("[a-z2-7]")


# Keys


def test_keys_are_made_ahead_and_deleted_when_their_day_cannot_come_back(tmp_path):
    keys = tmp_path / "keys"
    assert turn_keys(keys, DAY + timedelta(hours=1), TURN).made == (DAY, NEXT)
    first = read_day_key(keys, DAY)
    assert first is not None
    assert turn_keys(keys, DAY + timedelta(hours=5), TURN) == turn_keys(keys, DAY + timedelta(hours=6), TURN)
    assert read_day_key(keys, DAY) == first != read_day_key(keys, NEXT)
    turned = turn_keys(keys, NEXT + timedelta(minutes=30), TURN)
    assert turned.deleted == ()
    assert read_day_key(keys, DAY) == first
    turned = turn_keys(keys, NEXT + timedelta(minutes=30, seconds=1), TURN)
    assert turned.deleted == (DAY,)
    assert read_day_key(keys, DAY) is None
    assert all(first not in path.read_bytes() for path in keys.iterdir())


def test_no_other_file_is_taken_for_an_old_key(tmp_path):
    (tmp_path / "server.key").write_text("not ours")
    turn_keys(tmp_path, DAY, TURN)
    assert turn_keys(tmp_path, DAY, TURN - 1).deleted == ()
    assert (tmp_path / "server.key").read_text() == "not ours"


def test_a_key_is_its_owners_alone(tmp_path):
    turn_keys(tmp_path, DAY, TURN)
    path = key_file(tmp_path, DAY)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(KeyRefused, match="0600"):
        read_day_key(tmp_path, DAY)


def test_a_key_that_is_short_or_behind_a_link_is_refused(tmp_path):
    path = key_file(tmp_path, DAY)
    path.write_bytes(b"k" * 15)
    path.chmod(0o600)
    with pytest.raises(KeyRefused, match="16 bytes"):
        read_day_key(tmp_path, DAY)
    os.link(path, tmp_path / "elsewhere")
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyRefused, match="link"):
        read_day_key(tmp_path, DAY)
