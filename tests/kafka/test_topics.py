"""Topics, releases, marks and refusal counts on a real broker."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Producer

from ingest import kafka
from ingest.kafka import (
    Held,
    KafkaUnreachable,
    Taken,
    Topic,
    TopicRefused,
    check_topic,
    consume_releases,
    ensure_topics,
    held_records,
    oldest_times,
    publish_mark,
    publish_refusals,
    publish_release,
    read_marks_topic,
    release_key,
)
from ingest.marks import FeedMark, MarkRefused, covered_until
from ingest.release import canonical_json, seal
from tests.ingest.test_release import content
from tests.kafka.broker import KAFKA, TRUSTED

HOUR = timedelta(hours=1)
MORNING = datetime(2026, 3, 2, 5, tzinfo=UTC)


def release(hour=0):
    start = MORNING + HOUR * hour
    return seal({**content(), "window_start": f"{start:%FT%TZ}", "window_end": f"{start + HOUR:%FT%TZ}"})


class Intake:
    """Takes what comes, fails when told to."""

    def __init__(self, failures=0):
        self.failures, self.taken = failures, []

    def __call__(self, content):
        if self.failures:
            self.failures -= 1
            raise OSError("the store is away")
        try:
            self.taken.append(json.loads(content))
        except (ValueError, RecursionError):
            return False
        return True


def take(broker, topic, intake):
    return consume_releases(broker.bootstrap, f"intake-of-{topic}", intake, topic=topic, quiet_s=1)


def test_the_topics_that_were_made_pass_their_check(broker):
    names = {"attachments": "own-rows", "marks": "own-marks", "releases": "own-releases", "refusals": "own-refusals"}
    assert sorted(ensure_topics(broker.bootstrap, **names)) == sorted(names.values())
    assert ensure_topics(broker.bootstrap, **names) == []
    assert check_topic(broker.bootstrap, "own-rows").partitions == 4
    assert len(read_marks_topic(broker.bootstrap, "own-marks")) == 0


def test_a_topic_with_the_producers_clock_is_refused_by_its_setting(broker):
    broker.make_topic("producers-clock", config={})
    with pytest.raises(
        TopicRefused, match=r"message\.timestamp\.type is CreateTime and must be LogAppendTime.*ingest_time"
    ):
        check_topic(broker.bootstrap, "producers-clock")


@pytest.mark.parametrize(
    ("setting", "value"), [("retention.ms", "-1"), ("retention.ms", "86400001"), ("cleanup.policy", "compact")]
)
def test_a_topic_that_keeps_rows_too_long_or_thins_them_is_refused_by_its_setting(broker, setting, value):
    name = f"{setting}-is-{value}"
    broker.make_topic(name, config={**TRUSTED, setting: value})
    with pytest.raises(TopicRefused, match=rf"{setting}.* must be"):
        check_topic(broker.bootstrap, name)


def test_what_a_topic_holds_is_told_by_offset_and_by_the_time_of_its_oldest_record(broker, topic):
    before = datetime.now(UTC) - timedelta(seconds=1)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    for value in (b"gone", b"gone"):
        producer.produce(topic, value, partition=0)
    producer.flush(30)
    broker.forget(topic)
    producer.produce(topic, b"there", partition=0)
    producer.flush(30)
    found = check_topic(broker.bootstrap, topic)
    assert held_records(broker.bootstrap, found) == {0: Held(2, 3), 1: Held(0, 0)}
    times = oldest_times(broker.bootstrap, found, [0, 1])
    assert times.keys() == {0}
    assert before < times[0] < datetime.now(UTC) + timedelta(seconds=1)


def test_what_an_open_transaction_holds_back_is_told(broker, topic):
    found = check_topic(broker.bootstrap, topic)
    with broker.open_transaction(topic, [b"a", b"b"], partition=1):
        assert held_records(broker.bootstrap, found) == {0: Held(0, 0), 1: Held(0, 0, held_back=2)}
    assert held_records(broker.bootstrap, found) == {0: Held(0, 0), 1: Held(0, 3)}


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


def test_a_record_that_is_no_document_is_refused_and_stops_nothing(broker, topic, monkeypatch):
    broker.produce(topic, [b"\xff\xfe", b"{", None, b"[" * 100_000])
    monkeypatch.setattr(kafka, "LONGEST_RELEASE", 50_000)
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


def test_marks_from_before_an_instant_are_left_out(broker, topic):
    publish_mark(broker.bootstrap, FeedMark("core", 0, MORNING), topic=topic)
    time.sleep(1.1)
    since = datetime.now(UTC) - timedelta(seconds=0.5)
    assert read_marks_topic(broker.bootstrap, topic, since=since) == []
    later = FeedMark("core", 0, MORNING + HOUR)
    publish_mark(broker.bootstrap, later, topic=topic)
    assert read_marks_topic(broker.bootstrap, topic, since=since) == [later]
    assert len(read_marks_topic(broker.bootstrap, topic, since=since - timedelta(hours=1))) == 2


def test_a_mark_vouches_for_nothing_that_has_not_happened_when_it_is_written(broker, topic):
    publish_mark(broker.bootstrap, FeedMark("core", 0, datetime.now(UTC) + timedelta(days=5)), topic=topic)
    (mark,) = read_marks_topic(broker.bootstrap, topic)
    assert abs(mark.covers_until - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_mark_that_cannot_be_read_is_named_by_its_offset(broker, topic):
    broker.produce(topic, [b'{"source": "core"}'])
    with pytest.raises(MarkRefused, match=r"in partition \d at offset 0: a feed mark has source"):
        read_marks_topic(broker.bootstrap, topic)


def test_a_mark_with_the_producers_clock_is_refused(broker):
    broker.make_topic("untrusted-marks", partitions=1, config={})
    publish_mark(broker.bootstrap, FeedMark("core", 0, MORNING), topic="untrusted-marks")
    with pytest.raises(MarkRefused, match="LogAppendTime"):
        read_marks_topic(broker.bootstrap, "untrusted-marks")


@pytest.mark.parametrize(
    "asked",
    [
        lambda nowhere: check_topic(nowhere, "rows"),
        lambda nowhere: held_records(nowhere, Topic("rows", "id", 2)),
        lambda nowhere: ensure_topics(nowhere),
        lambda nowhere: read_marks_topic(nowhere, since=MORNING),
        lambda nowhere: publish_mark(nowhere, FeedMark("core", 0, MORNING)),
        lambda nowhere: consume_releases(nowhere, "group", Intake()),
    ],
    ids=["check", "offsets", "make", "marks", "write", "consume"],
)
def test_a_broker_that_is_away_is_said_to_be_so_whatever_was_asked(asked, monkeypatch):
    monkeypatch.setattr(kafka, "ANSWER_WITHIN_S", 1.0)
    with pytest.raises(KafkaUnreachable):
        asked("127.0.0.1:1")


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
