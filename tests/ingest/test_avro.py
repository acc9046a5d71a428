"""Avro, however it was written: messages decoded side by side say what fastavro says of them one by one."""

import io
import json
import random

import fastavro
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ingest import avro_messages
from ingest.attachment import FIELD_NAMES, FIELDS, TIME_FIELDS, Refusal
from ingest.avro_messages import Messages, Readable
from ingest.avro_schema import avro_schema, written_schema
from ingest.columns import ColumnKind, ColumnMap, SchemaRefused
from tests.ingest.feeds import TIMED, avro_message, avro_record

NULLABLE = {field.name for field in FIELDS if field.nullable}
WORDS = {"type": "enum", "name": "words", "symbols": ["handover", "attach", "domestic"]}
TIMES = [{"type": "long", "logicalType": f"timestamp-{unit}"} for unit in ("millis", "micros")]


@st.composite
def schemas(draw):
    """A schema of the contract's fields, written in one of the many ways that mean the same."""
    fields = []
    for name in draw(st.permutations(FIELD_NAMES)):
        kind = draw(st.sampled_from(TIMES if name in TIME_FIELDS else ["string", {"type": "string"}]))
        if name == "event_type" and draw(st.booleans()):
            kind = WORDS
        if name in NULLABLE or draw(st.booleans()):
            kind = draw(st.sampled_from([["null", kind], [kind, "null"]]))
        fields.append({"name": name, "type": kind})
    return {"type": "record", "name": "row", "fields": fields}


def records(schema):
    def value(field):
        kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
        choices = []
        for kind in kinds:
            if kind == "null":
                choices.append(st.none())
            elif isinstance(kind, dict) and kind["type"] == "long":
                choices.append(st.integers(-(2**63), 2**63 - 1))
            elif isinstance(kind, dict) and kind["type"] == "enum":
                choices.append(st.sampled_from(kind["symbols"]))
            else:
                choices.append(st.one_of(st.sampled_from(["452-04", "a" * 26, "0a0008a", ""]), st.text(max_size=40)))
        return st.one_of(choices)

    return st.fixed_dictionaries({field["name"]: value(field) for field in schema["fields"]})


def bare(schema):
    """The schema without what makes instants of numbers, to write any number."""
    return json.loads(
        json.dumps(schema)
        .replace(', "logicalType": "timestamp-millis"', "")
        .replace(', "logicalType": "timestamp-micros"', "")
    )


def rows_of(schema, messages):
    texts = {7: json.dumps(schema)}
    return Messages(texts.get).rows(pl.Series(messages, dtype=pl.Binary))


def one_by_one(schema, messages):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(avro_messages.Readable, "is_flat", property(lambda _: False))
        return rows_of(schema, messages)


@given(schemas().flatmap(lambda schema: st.tuples(st.just(schema), st.lists(records(schema), min_size=1, max_size=6))))
@settings(max_examples=150, deadline=None)
def test_messages_side_by_side_are_what_they_are_one_by_one(drawn):
    schema, given_records = drawn
    plain = fastavro.parse_schema(bare(schema))
    messages = [avro_message(record, plain) for record in given_records]
    found = rows_of(schema, messages)
    assert_frame_equal(found, one_by_one(schema, messages))
    assert found.height == len(messages)
    for name in set(FIELD_NAMES) - set(TIME_FIELDS):
        assert found[name].to_list() == [record[name] for record in given_records]


@given(st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_a_broken_message_is_refused_or_says_what_it_says_alone(random_: random.Random):
    message = bytearray(avro_message(TIMED))
    for _ in range(random_.randint(1, 3)):
        message[random_.randrange(5, len(message))] = random_.choice([0, 1, 2, 3, 52, 127, 128, 200, 255])
    broken = bytes(message[: random_.choice([len(message), random_.randrange(5, len(message))])])
    good = avro_message(TIMED)
    found = rows_of(avro_schema(), [good, broken, good])
    assert found["layout_refusal"].to_list()[::2] == [None, None]
    if found["layout_refusal"][1] is None:
        assert_frame_equal(found.slice(1, 1), one_by_one(avro_schema(), [broken]))


def test_an_ignored_field_may_be_anything():
    schema = avro_record(cells={"type": "array", "items": "double"})
    columns = ColumnMap(fields={name: name for name in FIELD_NAMES}, ignore=frozenset({"cells"}))
    texts = {7: json.dumps(schema)}
    messages = [avro_message({**TIMED, "cells": [1.0, 2.0]}, schema), b"\0\0\0\0\7broken"]
    rows = Messages(texts.get, columns).rows(pl.Series(messages, dtype=pl.Binary))
    assert rows["layout_refusal"].to_list() == [None, Refusal.UNDECODABLE.value]
    assert rows["token"].to_list() == [TIMED["token"], None]


def test_no_messages_are_no_rows():
    assert rows_of(avro_schema(), []).height == 0


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (["string"], ColumnKind.OTHER),
        (["null", "string", "long"], ColumnKind.OTHER),
        ({"type": "fixed", "size": 16, "name": "sixteen"}, ColumnKind.OTHER),
        ({"type": "long", "logicalType": "timestamp-nanos"}, ColumnKind.OTHER),
        ({"type": "string", "logicalType": "uuid"}, ColumnKind.OTHER),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4}, ColumnKind.OTHER),
        ("int", ColumnKind.NUMBER),
        (WORDS, ColumnKind.TEXT),
    ],
)
def test_a_type_that_the_contract_does_not_know_is_none_of_its_kinds(kind, expected):
    schema = written_schema(json.dumps({"type": "record", "name": "row", "fields": [{"name": "a", "type": kind}]}))
    assert schema.kinds == {"a": expected}
    assert Readable(schema, None).is_flat is (expected is not ColumnKind.OTHER)


@pytest.mark.parametrize(
    "text",
    ["", "{", '"string"', "[]", '{"type": "record"}', '{"type": "record", "name": "a", "fields": [1]}', "[" * 10**5],
)
def test_a_text_that_is_no_schema_of_a_record_is_refused(text):
    with pytest.raises(SchemaRefused):
        written_schema(text)


def test_the_contracts_own_schema_is_read_back(tmp_path):
    schema = written_schema(json.dumps(avro_schema()))
    assert [field.name for field in schema.fields] == list(FIELD_NAMES)
    sink = io.BytesIO()
    fastavro.writer(sink, avro_schema(), [TIMED])
    assert next(fastavro.reader(io.BytesIO(sink.getvalue()))) == TIMED
