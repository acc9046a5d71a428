"""The column map: checked at birth, and what it makes of a carrier's own columns."""

import csv
import io
import pickle

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest.attachment import FIELD_NAMES, Refusal, judge, parse_time
from ingest.cell_id import spell_cell_ids
from ingest.columns import ColumnMap
from ingest.csv_rows import csv_rows
from ingest.door import judge_rows
from ingest.times import TimeForm, epoch_instants, instants, wall_clock_instants
from tests.ingest.feeds import TIMED, parquet_bytes, verdicts
from tests.ingest.test_attachment import GOOD

FIELDS = {name: name.upper() for name in FIELD_NAMES if name not in ("previous_plmn", "domain")}
OURS = {"fields": FIELDS, "constants": {"domain": "domestic"}}


def column_map(**changes):
    return ColumnMap(**{**OURS, **changes})


def csv_table(text, columns=None):
    return pl.concat(list(csv_rows(iter([text.encode()]), columns)))


def line(columns, **changes):
    row = {**{column: GOOD[name] for name, column in FIELDS.items()}, **changes}
    return csv_table(",".join(row) + "\n" + ",".join(row.values()), columns)


def test_a_carriers_own_columns_are_the_contracts_rows():
    columns = column_map(
        values={"event_type": {"HO": "handover"}, "rat": {"4G": "EUTRA"}, "plmn": {"45204": "452-04"}},
        times={"event_time": "epoch_ms", "ingest_time": "epoch_us"},
        cell_ids="decimal",
        ignore={"VENDOR"},
    )
    rows = line(
        columns,
        EVENT_TYPE="HO",
        RAT="4G",
        PLMN="45204",
        EVENT_TIME="1772427600000",
        INGEST_TIME="1772427607250000",
        CELL_ID="10485898",
        VENDOR="x",
    )
    assert judge_rows(rows).to_list() == [None]
    assert rows.row(0, named=True) == {**TIMED, "cell_id": "0a0008a", "layout_refusal": None}


def test_a_map_reaches_a_worker_as_it_was():
    columns = column_map(times={"event_time": "epoch_ms"}, ignore={"VENDOR"})
    assert pickle.loads(pickle.dumps(columns)) == columns  # noqa: S301


def test_a_word_without_a_translation_is_refused_as_what_it_is():
    columns = column_map(values={"event_type": {"HO": "handover"}})
    assert judge_rows(line(columns, EVENT_TYPE="XX")).to_list() == [Refusal.EVENT_TYPE.value]


def test_words_may_change_places():
    swap = column_map(values={"event_type": {"attach": "detach", "detach": "attach"}})
    assert line(swap, EVENT_TYPE="attach")["event_type"].to_list() == ["detach"]


def test_a_constant_technology_belongs_to_rows_with_a_cell():
    columns = ColumnMap(
        fields={name: name for name in FIELD_NAMES if name not in ("rat", "previous_plmn")}, constants={"rat": "EUTRA"}
    )
    names = list(columns.fields)
    rows = [GOOD, {**GOOD, "event_type": "roaming_registration", "plmn": "456-01", "cell_id": ""}]
    text = "\n".join([",".join(names), *(",".join(row[name] for name in names) for row in rows)])
    found = csv_table(text, columns)
    assert judge_rows(found).to_list() == [None, None]
    assert found["rat"].to_list() == ["EUTRA", None]


def test_a_cell_number_that_is_none_is_refused_as_it_was_written():
    columns = column_map(cell_ids="decimal")
    for written, reason in (("268435456", "cell_id"), ("452040123456789", "identity_like"), ("0a0008a", None)):
        assert judge_rows(line(columns, CELL_ID=written)).to_list() == [reason]


def test_texts_that_stand_for_null_are_declared():
    columns = column_map(fields={**FIELDS, "previous_plmn": "LAST"}, nulls=["", "-"])
    assert line(columns, LAST="-")["previous_plmn"].to_list() == [None]
    assert judge_rows(line(column_map(fields={**FIELDS, "previous_plmn": "LAST"}), LAST="-")).to_list() == [
        "previous_plmn"
    ]


def test_a_mapped_parquet_file_is_read_and_no_other_column_is_opened(tmp_path):
    rows = [{**{column: TIMED[name] for name, column in FIELDS.items()}, "SITE": "a"}]
    content = parquet_bytes(*rows, EVENT_TIME=_us(), INGEST_TIME=_us())
    assert verdicts(tmp_path, content, "a.parquet", column_map(ignore={"SITE"})) == [None]
    assert verdicts(tmp_path, content, "a.parquet", column_map()) == "file_schema"


def _us():
    import pyarrow as pa

    return pa.timestamp("us", "UTC")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"fields": {"token": "T"}}, "no column for"),
        ({"fields": {**FIELDS, "imsi": "IMSI"}}, "name fields of the contract"),
        ({"constants": {"domain": "KH"}}, "not one of the contract's"),
        ({"constants": {"domain": "domestic", "rat": "EUTRA"}}, "not both"),
        (
            {"fields": {k: v for k, v in FIELDS.items() if k != "token"}, "constants": {"token": "a" * 26}},
            "no|row to row",
        ),
        ({"values": {"token": {"a": "b"}}}, "taken as it is"),
        ({"values": {"event_type": {"HO": "hand over"}}}, "not one of the contract's"),
        ({"times": {"event_time": "guess"}}, "times"),
        ({"times": {"plmn": "epoch_s"}}, "event_time and ingest_time"),
        ({"ignore": {"TOKEN"}}, "not both"),
        ({"ignore": {"IMSI"}}, "cannot be ignored"),
        ({"ignore": {"subscriber_msisdn_2"}}, "cannot be ignored"),
        ({"delimiter": '"'}, "delimiter"),
        ({"guess": True}, "guess"),
    ],
)
def test_a_map_that_does_not_say_where_everything_is_does_not_start(changes, rule):
    with pytest.raises(ValidationError, match=rule):
        column_map(**changes)


# CSV, whatever stands in it

WORDS = st.one_of(st.sampled_from([GOOD["token"], "452-04", "EUTRA", "", '"', ",", "a\tb"]), st.text(max_size=12))


@given(
    st.lists(st.lists(WORDS, min_size=9, max_size=9), min_size=1, max_size=8), st.sampled_from(",;|\t"), st.booleans()
)
@settings(max_examples=200, deadline=None)
def test_what_another_writer_wrote_is_read_back_or_refused_row_by_row(table, delimiter, quoted):
    stream = io.StringIO()
    writer = csv.writer(
        stream, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    )
    writer.writerow(FIELD_NAMES)
    # A line end inside a value is not of this grammar, and a file cannot hold a lone surrogate.
    table = [[" ".join(word.splitlines()).encode("utf-8", "replace").decode() for word in row] for row in table]
    writer.writerows(table)
    columns = ColumnMap(fields={name: name for name in FIELD_NAMES}, delimiter=delimiter)
    found = csv_table(stream.getvalue().removesuffix("\n"), columns)
    assert found.height == len(table)
    assert found["layout_refusal"].null_count() == len(table)
    for name, words in zip(FIELD_NAMES, zip(*table, strict=True), strict=True):
        if not name.endswith("_time"):
            assert found[name].to_list() == [word or None for word in words]


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_every_line_of_any_bytes_is_one_row(raw):
    header = ",".join(FIELD_NAMES).encode()
    tables = list(csv_rows(iter([header + b"\n" + raw])))
    assert sum(table.height for table in tables) == raw.count(b"\n") + 1
    assert all(judge_rows(table).null_count() == 0 for table in tables)


# Times and cells


@given(st.datetimes(), st.sampled_from(["Z", "+07:00", "-14:59", "+15:00", "", "+0700"]), st.integers(0, 7))
@settings(max_examples=300)
def test_times_are_read_as_the_contract_reads_them(at, offset, digits):
    text = (
        at.strftime(f"{at.year:04d}-%m-%dT%H:%M:%S")
        + (f".{at.microsecond:06d}0"[: digits + 1] if digits else "")
        + offset
    )
    assert instants(pl.Series([text])).to_list() == [parse_time(text)]


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from([TimeForm.EPOCH_S, TimeForm.EPOCH_MS, TimeForm.EPOCH_US]))
@settings(max_examples=300)
def test_a_count_is_an_instant_of_this_century_or_none(count, form):
    units = {TimeForm.EPOCH_S: 1, TimeForm.EPOCH_MS: 10**3, TimeForm.EPOCH_US: 10**6}[form]
    (found,) = epoch_instants(pl.Series([count]), form).to_list()
    assert epoch_instants(pl.Series([str(count)]), form).to_list() == [found]
    if found is None:
        assert not 946_684_800 * units <= count < 4_102_444_800 * units
    else:
        assert round(found.timestamp() * units) == count or form is TimeForm.EPOCH_US
        assert 2000 <= found.year < 2100


def test_an_hour_that_a_clock_change_repeats_or_skips_is_no_time():
    texts = pl.Series(["2026-03-29 02:30:00", "2026-10-25 02:30:00", "2026-10-25T03:30:00", "2026-10-25T03:30:00Z"])
    assert [at and at.isoformat() for at in wall_clock_instants(texts, "Europe/Madrid")] == [
        None,
        None,
        "2026-10-25T02:30:00+00:00",
        None,
    ]


@given(st.sampled_from(["GERA", "UTRA", "EUTRA", "NR"]), st.integers(0, 2**37))
def test_a_spelled_cell_keeps_to_the_grammar_of_its_technology(rat, number):
    (spelled,) = spell_cell_ids(pl.Series([rat]), pl.Series([number])).to_list()
    if spelled is not None:
        assert int(spelled, 16) == number
        assert judge({**GOOD, "rat": rat, "cell_id": spelled}).cell_id == spelled
    else:
        assert number >= 2 ** {"GERA": 32, "UTRA": 28, "EUTRA": 28, "NR": 36}[rat]
