"""The door in Spark and the door in plain Python give every row the same verdict."""

import base64
import json
import random
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F

from ingest.attachment import FIELD_NAMES, AttachmentRefused, judge, judge_timed, parse_line, parse_time
from ingest.files import FileFormat
from jobs.door import admit, read_files, unbase32
from tests.ingest.test_attachment import GOOD
from tests.jobs.border import SCHEMA, token

pytestmark = pytest.mark.spark

ODD = {
    "token": ["", "A" * 26, "a" * 27, "a" * 26 + "\n", "a" * 25 + "8", None, "452040123456789", "ａ" * 26],
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
        None,
    ],
    "rat": ["GERA", "UTRA", "NR", "nr", "LTE", "", None],
    "plmn": ["452-4", "452-040", "45204", "452-0400", "352099001761481", "４５２-04", None],
    "cell_id": ["0a0008", "0a0008a0", "0a0008a00", "0A0008A", "12345678901234", "0a0008a\n", "", None],
    "previous_plmn": ["456-01", "456-1", "", "45601123456789012", None],
    "domain": ["inbound", "roamer", "KH", "", None],
}


def odd_rows(count):
    chance = random.Random(5)
    for _ in range(count):
        row = dict(GOOD)
        for name in chance.sample(list(ODD), k=chance.choice([0, 1, 1, 2, 3])):
            row[name] = chance.choice(ODD[name])
        yield row


def verdict(act):
    try:
        act()
    except AttachmentRefused as refused:
        return refused.reason.value
    return None


def test_every_odd_line_gets_one_verdict(spark, tmp_path):
    lines = [json.dumps(row, ensure_ascii=False) for row in odd_rows(3000)]
    lines += ["", "{", "[]", "7", json.dumps({**GOOD, "imsi": "1"}), json.dumps(GOOD)[:-1] + ', "rat": "NR"}']
    lines += [json.dumps({**GOOD, "plmn": "\ud800"}), json.dumps({**GOOD, "plmn": "\0"}), json.dumps(GOOD) + "\r"]
    lines += [json.dumps({**GOOD, "plmn": 7}), json.dumps(GOOD) + " " * 5000, '{"token": {"token": "a"}}']
    path = tmp_path / "odd.ndjson"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    judged = read_files(spark, [path], FileFormat.NDJSON).coalesce(1).transform(admit).select("refusal").collect()
    plain = [verdict(lambda line=line: judge(parse_line(line.encode()))) for line in lines]
    assert [row.refusal for row in judged] == plain
    assert len({reason for reason in plain if reason}) >= 15


def test_every_odd_parquet_row_gets_one_verdict(spark, tmp_path):
    rows = [
        {**row, **{name: parse_time(row[name]) for name in ("event_time", "ingest_time")}} for row in odd_rows(3000)
    ]
    path = tmp_path / "odd.parquet"
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
    judged = read_files(spark, [path], FileFormat.PARQUET).transform(admit).select("refusal").collect()
    plain = [verdict(lambda row=row: judge_timed(row, row["event_time"], row["ingest_time"])) for row in rows]
    assert [row.refusal for row in judged] == plain


def test_bytes_that_are_no_utf8_are_refused(spark, tmp_path):
    path = tmp_path / "bytes.ndjson"
    path.write_bytes(json.dumps(GOOD).encode().replace(b"handover", b"hand\xffver") + b"\n")
    (row,) = read_files(spark, [path], FileFormat.NDJSON).transform(admit).select("refusal", *FIELD_NAMES).collect()
    assert row.refusal == "not_utf8"


def test_a_token_is_kept_as_the_16_bytes_that_it_spells(spark):
    tokens = [token(random.Random(seed)) for seed in range(200)] + ["a" * 26, "7" * 25 + "4"]
    table = spark.createDataFrame([(text,) for text in tokens], "token string")
    kept = [bytes(row.raw) for row in table.select(unbase32(F.col("token")).alias("raw")).collect()]
    assert kept == [base64.b32decode(text.upper() + "======") for text in tokens]


def test_times_are_the_same_instants_in_both_doors():
    assert parse_time("2026-03-02T12:00:00.000001+07:00") == datetime(2026, 3, 2, 5, 0, 0, 1, tzinfo=UTC)
