"""TLS and SASL on a real broker: the client and Spark log in by the one login that was set, and no message shows it."""

import pytest
from pyspark.errors import StreamingQueryException

from ingest import kafka
from ingest.kafka import KafkaUnreachable, check_topic, publish_mark, read_marks_topic
from ingest.kafka_login import java_settings
from ingest.marks import FeedMark
from jobs.kafka_source import KafkaSource, read_records
from tests.kafka.broker import PASSWORD, USERNAME
from tests.kafka.edge import KafkaEdge
from tests.kafka.test_topics import MORNING

MECHANISMS = ["PLAIN", "SCRAM-SHA-512"]


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_client_logs_in_and_writes_and_reads(broker, topic, mechanism):
    login = broker.login(mechanism)
    mark = FeedMark("core", 0, MORNING)
    publish_mark(broker.secure_bootstrap, mark, login, topic=topic)
    assert check_topic(broker.secure_bootstrap, topic, login).partitions == 2
    assert read_marks_topic(broker.secure_bootstrap, topic, login) == [mark]


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_client_with_a_wrong_password_is_refused_and_the_message_shows_no_login(
    broker, topic, mechanism, monkeypatch, capfd
):
    monkeypatch.setattr(kafka, "ANSWER_WITHIN_S", 3.0)
    login = broker.login(mechanism, password="not-" + PASSWORD)
    with pytest.raises(KafkaUnreachable, match="_AUTHENTICATION") as refused:
        check_topic(broker.secure_bootstrap, topic, login)
    shown = str(refused.value) + "".join(capfd.readouterr())
    assert PASSWORD not in shown
    assert USERNAME not in shown


def test_a_broker_of_an_unknown_authority_is_refused(broker, topic, monkeypatch):
    monkeypatch.setattr(kafka, "ANSWER_WITHIN_S", 3.0)
    login = broker.login("PLAIN")
    del login["ssl.ca.location"]
    with pytest.raises(KafkaUnreachable):
        check_topic(broker.secure_bootstrap, topic, login)


@pytest.mark.spark
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_edge_reads_by_tls_and_a_login_that_is_written_down_nowhere(broker, topic, spark, tmp_path, mechanism):
    broker.make_topic(f"{topic}-marks", partitions=1)
    broker.produce(topic, [b"a", b"b", b"c"])
    section = {"bootstrap": broker.secure_bootstrap, "client": broker.login(mechanism)}
    edge = KafkaEdge(spark, tmp_path, broker, topic, kafka=section).sight()
    assert edge.refused == {"not_json": 3}
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"sesame" not in written
    assert USERNAME.encode() not in written


@pytest.mark.spark
def test_spark_with_a_wrong_password_is_refused_and_the_message_shows_no_login(broker, topic, spark, tmp_path, capfd):
    found = check_topic(broker.bootstrap, topic)
    login = java_settings(broker.login("SCRAM-SHA-512", password="not-" + PASSWORD))
    source = KafkaSource(broker.secure_bootstrap, found, java_login=login)
    query = read_records(spark, source, {}).writeStream.foreachBatch(lambda records, _: records.count())
    with pytest.raises(StreamingQueryException, match=r"(?i)authentication") as refused:
        query.option("checkpointLocation", str(tmp_path)).trigger(availableNow=True).start().awaitTermination()
    shown = str(refused.value) + "".join(capfd.readouterr())
    assert "sesame" not in shown
    assert USERNAME not in shown
