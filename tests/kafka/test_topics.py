"""Topics, releases, marks and refusal counts on a real broker."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Producer

from ingest import kafka
from ingest.kafka import (
    KafkaUnreachable,
    Taken,
    TopicRefused,
    check_topic,
    consume_releases,
    ensure_topics,
    publish_mark,
    publish_refusals,
    publish_release,
    read_marks_topic,
    release_key,
)
from ingest.marks import FeedMark, MarkRefused, covered_until
from ingest.release import canonical_json, seal
from tests.ingest.test_release import content
from tests.kafka.broker import KAFKA

HOUR = timedelta(hours=1)
MORNING = datetime(2026, 3, 2, 5, tzinfo=UTC)


def release(hour=0):
    start = MORNING + HOUR * hour
    return seal({**content(), "window_start": f"{start:%FT%TZ}", "window_end": f"{start + HOUR:%FT%TZ}"})


class Intake:
    """Takes what comes, fails when told to."""

    def __init__(self, failures=0):
        self.failures, self.taken = failures, []

    def __call__(self, document):
        if self.failures:
            self.failures -= 1
            raise OSError("the store is away")
        self.taken.append(document)
        return True


def take(broker, topic, intake):
    return consume_releases(broker.bootstrap, f"intake-of-{topic}", intake, topic=topic, quiet_s=1)


def test_the_topics_that_were_made_pass_their_check(broker):
    names = {"attachments": "own-rows", "marks": "own-marks", "releases": "own-releases", "refusals": "own-refusals"}
    assert sorted(ensure_topics(broker.bootstrap, **names)) == sorted(names.values())
    assert ensure_topics(broker.bootstrap, **names) == []
    assert check_topic(broker.bootstrap, "own-rows").partitions == 4
    assert check_topic(broker.bootstrap, "own-marks").partitions == 1


def test_a_topic_with_the_producers_clock_is_refused_by_its_setting(broker):
    broker.make_topic("producers-clock", config={})
    with pytest.raises(
        TopicRefused, match=r"message\.timestamp\.type is CreateTime and must be LogAppendTime.*ingest_time"
    ):
        check_topic(broker.bootstrap, "producers-clock")


def test_a_topic_that_is_not_there_is_refused(broker):
    with pytest.raises(TopicRefused, match="nowhere does not exist"):
        check_topic(broker.bootstrap, "nowhere")


def test_a_topic_that_was_made_again_is_another_topic(broker, topic):
    first = check_topic(broker.bootstrap, topic)
    broker.delete_topic(topic)
    time.sleep(1)
    broker.make_topic(topic)
    assert check_topic(broker.bootstrap, topic).topic_id != first.topic_id


def test_a_release_comes_out_as_it_went_in(broker, topic):
    publish_release(broker.bootstrap, release(), topic=topic)
    intake = Intake()
    assert take(broker, topic, intake) == Taken(accepted=1, refused=0)
    assert intake.taken == [release().document()]
    (record,) = broker.records(topic)
    assert record.key() == b"carrier-a|zone-hour|2026-03-02T05:00:00Z" == release_key(release()).encode()
    assert record.value() == canonical_json(release().document())
    assert record.headers() == [("schema-version", b"1")]


def test_what_intake_did_not_take_comes_again_and_what_it_took_does_not(broker, topic):
    publish_release(broker.bootstrap, release(), topic=topic)
    intake = Intake(failures=1)
    with pytest.raises(OSError, match="the store is away"):
        take(broker, topic, intake)
    assert take(broker, topic, intake).accepted == 1
    assert take(broker, topic, intake).accepted == 0
    assert len(intake.taken) == 1


def test_a_record_that_is_no_document_is_refused_and_stops_nothing(broker, topic):
    broker.produce(topic, [b"\xff\xfe", b"{", None, b"[" * 100_000])
    publish_release(broker.bootstrap, release(), topic=topic)
    assert take(broker, topic, Intake()) == Taken(accepted=1, refused=4)


def test_refusals_leave_as_counts_by_reason(broker, topic):
    publish_refusals(broker.bootstrap, "0a1b", {"late": 3, "file_damaged": 1}, topic=topic)
    (record,) = broker.records(topic)
    assert record.value() == b'{"batch":"0a1b","refused":{"file_damaged":1,"late":3}}'


def test_a_text_that_is_no_reason_does_not_leave(broker, topic):
    with pytest.raises(ValueError, match="by the contract's reasons"):
        publish_refusals(broker.bootstrap, "0a1b", {"452040123456789": 1}, topic=topic)
    assert broker.records(topic) == []


def test_marks_tell_up_to_when_every_partition_has_delivered(broker, topic):
    for partition, hours in ((0, 0), (1, 2), (0, 1)):
        publish_mark(broker.bootstrap, FeedMark("core", partition, MORNING + HOUR * hours), topic=topic)
    marks = read_marks_topic(broker.bootstrap, topic)
    assert len(marks) == 3
    assert covered_until(marks) == MORNING + HOUR


def test_a_mark_of_what_has_not_happened_yet_is_refused(broker, topic):
    publish_mark(broker.bootstrap, FeedMark("core", 0, datetime.now(UTC) + timedelta(minutes=5)), topic=topic)
    with pytest.raises(MarkRefused, match="nothing later than the broker's time"):
        read_marks_topic(broker.bootstrap, topic)


def test_a_mark_with_the_producers_clock_is_refused(broker):
    broker.make_topic("untrusted-marks", partitions=1, config={})
    publish_mark(broker.bootstrap, FeedMark("core", 0, MORNING), topic="untrusted-marks")
    with pytest.raises(MarkRefused, match="LogAppendTime"):
        read_marks_topic(broker.bootstrap, "untrusted-marks")


def test_a_failure_shows_no_setting(broker, monkeypatch, capfd):
    monkeypatch.setattr(kafka, "ANSWER_WITHIN_S", 2.0)
    login = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "carrier-login",
        "sasl.password": "open-sesame",
    }
    with pytest.raises(KafkaUnreachable) as failed:
        check_topic(broker.bootstrap, "cell-attachments", login)
    shown = str(failed.value) + "".join(capfd.readouterr())
    assert "open-sesame" not in shown
    assert "carrier-login" not in shown


def test_a_setting_cannot_weaken_how_a_release_is_sent(broker, topic, monkeypatch):
    used = {}

    class Watched(Producer):
        def __init__(self, settings):
            used.update(settings)
            super().__init__(settings)

    monkeypatch.setattr(kafka, "Producer", Watched)
    publish_release(broker.bootstrap, release(), {"acks": 0, "enable.idempotence": False}, topic=topic)
    assert (used["acks"], used["enable.idempotence"]) == ("all", True)
    assert len(broker.records(topic)) == 1


def test_a_broker_that_is_killed_loses_nothing_and_doubles_nothing(broker, topic):
    producer = Producer({"bootstrap.servers": broker.bootstrap, "enable.idempotence": True, "log_level": 0})
    acknowledged, failed = [], []

    def told(error, message):
        (failed if error else acknowledged).append(message.value())

    for number in range(20_000):
        producer.produce(topic, value=b"%d" % number, on_delivery=told)
        if number == 5_000:
            producer.flush(30)
            restart = threading.Thread(target=lambda: (broker.kill(), broker.run("start")))
            restart.start()
        producer.poll(0)
    restart.join()
    assert producer.flush(60) == 0
    assert failed == []
    assert len(acknowledged) == 20_000
    kept = [record.value() for record in broker.records(topic)]
    assert sorted(kept) == sorted(acknowledged)


def test_the_scripts_name_no_registry():
    text = "".join(path.read_text() for path in KAFKA.rglob("*") if path.is_file())
    hosts = text.replace("http://maven.apache.org/POM/4.0.0", "")
    assert "://" not in hosts.replace("BROKER://127.0.0.1:", "").replace("CONTROLLER://127.0.0.1:", "")
