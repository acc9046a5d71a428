"""Messages whose schemas lie in a registry: a real HTTP server speaks the route that the client asks."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import polars as pl
import pytest

from ingest.attachment import Refusal
from ingest.avro_messages import Messages
from ingest.avro_schema import avro_schema
from ingest.columns import ColumnMap
from ingest.door import judge_rows
from ingest.kafka import RegistryUnreachable, registry_schemas
from tests.ingest.feeds import FIELDS, TIMED, avro_message, avro_record


@pytest.fixture
def registry():
    """A registry that knows `schemas` (number -> entry) and counts what it is asked."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            served.asked.append(self.path)
            number = self.path.removeprefix("/schemas/ids/")
            entry = served.schemas.get(int(number)) if number.isdecimal() else None
            status = served.status or (200 if entry else 404)
            told = entry if status == 200 else {"error_code": status * 100 + 3, "message": "not found"}
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.end_headers()
            self.wfile.write(json.dumps(told).encode())

        def log_message(self, *_):
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    served.schemas, served.asked, served.status = {7: {"schema": json.dumps(avro_schema())}}, [], None
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


AT_ONCE = {"max.retries": 0}


def schemas_of(served):
    return registry_schemas(f"http://127.0.0.1:{served.server_port}", AT_ONCE)


def bytes_series(*messages):
    return pl.Series(list(messages), dtype=pl.Binary)


def test_messages_are_decoded_by_the_schema_that_they_name_which_is_asked_for_once(registry):
    messages = Messages(schemas_of(registry))
    for _ in range(2):
        rows = messages.rows(bytes_series(*[avro_message(TIMED)] * 3))
        assert judge_rows(rows).to_list() == [None] * 3
    assert registry.asked == ["/schemas/ids/7"]


def test_messages_of_several_schemas_keep_their_order(registry):
    shorter = avro_record(previous_plmn=None, ingest_time=None)
    registry.schemas[9] = {"schema": json.dumps(shorter)}
    plmns = ["452-01", "452-02", "452-03", "452-04"]
    written = [
        avro_message({**TIMED, "plmn": plmn}, shorter if at % 2 else None, 9 if at % 2 else 7)
        for at, plmn in enumerate(plmns)
    ]
    rows = Messages(schemas_of(registry)).rows(bytes_series(*written[:2], b"broken", *written[2:]))
    assert rows["plmn"].to_list() == [*plmns[:2], None, *plmns[2:]]
    # The broker's time of arrival is set by who reads the topic.
    assert rows["ingest_time"].is_null().to_list() == [False, True, True, False, True]


def test_a_schema_that_the_registry_does_not_have_refuses_its_messages_until_it_has(registry):
    messages = Messages(schemas_of(registry))
    late = avro_message(TIMED, number=8)
    assert judge_rows(messages.rows(bytes_series(late, late))).to_list() == [Refusal.UNDECODABLE.value] * 2
    assert registry.asked == ["/schemas/ids/8"]
    registry.schemas[8] = registry.schemas[7]
    assert judge_rows(messages.rows(bytes_series(late))).to_list() == [None]


def test_a_schema_with_an_identity_refuses_its_messages(registry):
    schema = avro_record(imsi="string")
    registry.schemas[7] = {"schema": json.dumps(schema)}
    found = Messages(schemas_of(registry)).rows(
        bytes_series(avro_message({**TIMED, "imsi": "452040123456789"}, schema))
    )
    assert found["layout_refusal"].to_list() == [Refusal.UNKNOWN_FIELD.value]
    assert "452040123456789" not in str(found.to_dicts())


@pytest.mark.parametrize(
    "entry", [{"schema": "message A {}", "schemaType": "PROTOBUF"}, {"schema": '"string"'}, {"schema": "{"}]
)
def test_a_schema_that_is_no_record_of_avro_refuses_its_messages(registry, entry):
    registry.schemas[7] = entry
    found = Messages(schemas_of(registry)).rows(bytes_series(avro_message(TIMED)))
    assert found["layout_refusal"].to_list() == [Refusal.UNDECODABLE.value]


def test_a_topic_with_other_names_is_read_by_the_column_map(registry):
    names = {name: name.upper() for name in FIELDS if name != "ingest_time"}
    kinds = {field["name"]: field["type"] for field in avro_schema()["fields"]}
    schema = {**avro_schema(), "fields": [{"name": column, "type": kinds[name]} for name, column in names.items()]}
    registry.schemas[7] = {"schema": json.dumps(schema)}
    row = {column: TIMED[name] for name, column in names.items()}
    found = Messages(schemas_of(registry), ColumnMap(fields=names)).rows(bytes_series(avro_message(row, schema)))
    assert found["layout_refusal"].to_list() == [None]
    assert found["token"].to_list() == [TIMED["token"]]


@pytest.mark.parametrize("status", [500, 503, 401, 403])
def test_a_registry_that_does_not_say_stops_the_reader_and_refuses_nothing(registry, status):
    registry.status = status
    with pytest.raises(RegistryUnreachable, match=str(status)) as stopped:
        Messages(schemas_of(registry)).rows(bytes_series(avro_message(TIMED)))
    assert "127.0.0.1" not in str(stopped.value)


def test_a_registry_that_is_down_stops_the_reader(registry):
    schemas = schemas_of(registry)
    registry.shutdown()
    registry.server_close()
    with pytest.raises(RegistryUnreachable) as stopped:
        Messages(schemas).rows(bytes_series(avro_message(TIMED)))
    assert "127.0.0.1" not in str(stopped.value)
