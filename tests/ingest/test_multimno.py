"""Event files in the schema of Eurostat's multimno: what is taken over, what is declared, what is never invented."""

import hashlib
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from ingest.attachment import Refusal
from ingest.door import judge_rows
from ingest.files import FileFormat
from ingest.multimno import Multimno
from ingest.read import FileDamaged, read_rows
from tests.ingest.feeds import rows_of

BRONZE = pa.schema(
    [
        ("user_id", pa.binary()),
        ("timestamp", pa.string()),
        ("mcc", pa.int32()),
        ("mnc", pa.string()),
        ("plmn", pa.int32()),
        ("cell_id", pa.string()),
        ("latitude", pa.float32()),
        ("longitude", pa.float32()),
        ("loc_error", pa.float32()),
        ("ingest_time", pa.timestamp("us", "UTC")),
    ]
)
ROW = {
    "user_id": b"a" * 26,
    "timestamp": "2026-03-02 12:00:00",
    "mcc": 452,
    "mnc": "04",
    "plmn": None,
    "cell_id": "452040104858980",
    "latitude": 10.9,
    "longitude": 106.5,
    "ingest_time": datetime(2026, 3, 2, 5, 0, 7, tzinfo=UTC),
}


def declared(folder, **changes):
    (folder / "ids.csv").write_text("multimno_cell_id,rat,cell_id\n452040104858980,EUTRA,0a0008a\n")
    return Multimno(
        **{
            "serving_plmn": "452-04",
            "event_type": "service_request",
            "cells": folder / "ids.csv",
            "time_zone": "Asia/Ho_Chi_Minh",
            "ingest_time": "ingest_time",
            **changes,
        }
    )


def rows(folder, *given, schema=BRONZE, **changes):
    pq.write_table(pa.Table.from_pylist(list(given), schema), folder / "events.parquet")
    return rows_of(folder / "events.parquet", FileFormat.MULTIMNO, declared(folder, **changes))


def verdict(folder, **changes):
    (found,) = judge_rows(rows(folder, {**ROW, **changes})).to_list()
    return found


def test_a_row_at_home_is_what_the_carrier_declares(tmp_path):
    found = rows(tmp_path, ROW)
    assert judge_rows(found).to_list() == [None]
    assert found.drop("event_time", "ingest_time").row(0, named=True) == {
        "token": "a" * 26,
        "event_type": "service_request",
        "rat": "EUTRA",
        "plmn": "452-04",
        "cell_id": "0a0008a",
        "previous_plmn": None,
        "domain": "domestic",
        "layout_refusal": None,
    }
    assert found["event_time"].to_list() == [datetime(2026, 3, 2, 5, tzinfo=UTC)]


def test_a_subscriber_abroad_is_a_registration_on_the_network_visited(tmp_path):
    found = rows(tmp_path, {**ROW, "plmn": 45601, "cell_id": None}, {**ROW, "plmn": 310004, "cell_id": None})
    assert judge_rows(found).to_list() == [None, None]
    assert found["event_type"].to_list() == ["roaming_registration"] * 2
    assert found["plmn"].to_list() == ["456-01", "310-004"]
    assert found["domain"].to_list() == ["domestic"] * 2


def test_whose_sim_it_is_stays_domestic_or_inbound(tmp_path):
    found = rows(tmp_path, {**ROW, "mcc": 456}, {**ROW, "mcc": 262})
    assert found["domain"].to_list() == ["inbound", "inbound"]
    assert not any("456" in str(value) or "262" in str(value) for value in found.row(0))


def test_the_lasting_hash_of_multimno_is_never_a_token(tmp_path):
    digest = hashlib.sha256(b"452040123456789").digest()
    assert verdict(tmp_path, user_id=digest) == Refusal.TOKEN.value
    assert verdict(tmp_path, user_id=digest.hex().encode()) == Refusal.TOKEN.value
    assert verdict(tmp_path, user_id=b"\xff" * 26) == Refusal.TOKEN.value
    assert verdict(tmp_path, user_id=None) == Refusal.MISSING_FIELD.value


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cell_id": "999999999999999"}, Refusal.CELL_ID),
        ({"cell_id": None}, Refusal.CELL_MISSING),
        ({"plmn": 45601}, Refusal.CELL_ON_ROAMING_ROW),
        ({"plmn": 4561, "cell_id": None}, Refusal.PLMN),
        ({"mcc": None}, Refusal.MISSING_FIELD),
        ({"timestamp": "2026-03-02T12:00:00Z"}, Refusal.TIME),
        ({"timestamp": None}, Refusal.TIME),
        ({"ingest_time": None}, Refusal.TIME),
        ({"timestamp": "2026-03-02 11:00:00"}, Refusal.LATE),
    ],
)
def test_a_row_that_says_too_little_is_refused_and_not_completed(tmp_path, changes, reason):
    assert verdict(tmp_path, **changes) == reason.value


@pytest.mark.parametrize("kind", [pa.timestamp("ns"), pa.timestamp("us", "UTC"), pa.timestamp("us")])
def test_the_wall_clock_in_a_silver_timestamp_is_read_in_the_zone_that_is_declared(tmp_path, kind):
    silver = BRONZE.set(BRONZE.get_field_index("timestamp"), pa.field("timestamp", kind))
    found = rows(tmp_path, {**ROW, "timestamp": datetime(2026, 3, 2, 12)}, schema=silver)  # noqa: DTZ001
    assert found["event_time"].to_list() == [datetime(2026, 3, 2, 5, tzinfo=UTC)]


def test_a_replay_may_say_that_rows_arrived_when_they_happened(tmp_path):
    schema = BRONZE.remove(BRONZE.get_field_index("ingest_time"))
    found = rows(tmp_path, ROW, schema=schema, ingest_time="timestamp")
    assert found["ingest_time"].to_list() == found["event_time"].to_list()
    assert declared(tmp_path, ingest_time="timestamp").is_arrival_made_up


@pytest.mark.parametrize(
    "schema",
    [
        BRONZE.append(pa.field("imsi", pa.string())),
        BRONZE.remove(BRONZE.get_field_index("ingest_time")),
        BRONZE.remove(BRONZE.get_field_index("plmn")),
        BRONZE.set(0, pa.field("user_id", pa.int64())),
        BRONZE.set(2, pa.field("mcc", pa.string())),
        BRONZE.set(9, pa.field("ingest_time", pa.timestamp("us"))),
    ],
)
def test_a_file_of_another_schema_is_refused_whole(tmp_path, schema):
    with pytest.raises(FileDamaged, match="file_schema"):
        rows(tmp_path, schema=schema)


def test_without_what_is_declared_a_file_says_too_little_to_be_read(tmp_path):
    rows(tmp_path, ROW)
    with pytest.raises(FileDamaged, match="file_schema"):
        list(read_rows(tmp_path / "events.parquet", FileFormat.MULTIMNO))


@pytest.mark.parametrize(
    "changes",
    [{"serving_plmn": "45204"}, {"event_type": "roaming_cancel"}, {"time_zone": "Hanoi"}, {"guess": 1}],
)
def test_a_declaration_that_cannot_be_meant_does_not_start(tmp_path, changes):
    with pytest.raises(ValidationError):
        declared(tmp_path, **changes)
