"""Kafka as the edge and the centre use it: topics checked at start, releases out and in, feed marks, refusal counts.

The one place of the Kafka client. SASL and TLS go through as `ClientSettings`, a mapping in librdkafka's own names
(`security.protocol`, `sasl.username`, `ssl.ca.location`, …) that is handed on and never looked at, logged or shown.
What keeps a promise (acks, idempotence, when an offset is committed) is set here and wins over it.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]

from ingest.attachment import Refusal
from ingest.files import FileRefusal
from ingest.marks import FeedMark, MarkRefused, parse_mark
from ingest.release import Release, canonical_json, format_utc

ClientSettings = Mapping[str, str | int | float | bool]
NO_SETTINGS: ClientSettings = {}

ATTACHMENTS, MARKS, RELEASES, REFUSALS = "cell-attachments", "feed-marks", "releases", "refusal-counts"
"""The topics, by their default names."""
SCHEMA_VERSION = b"1"
LONGEST_RELEASE = 1 << 20
"""Bytes of the longest release that is read; a thousand zones need about 150 kB."""
ANSWER_WITHIN_S = 30.0
KNOWN_WITHIN_S = 2.0

_TIMESTAMP_TYPE = "message.timestamp.type"
_LOG_APPEND_TIME = "LogAppendTime"
_HOUR_MS = 3_600_000


class TopicRefused(RuntimeError):
    """A topic that the edge cannot rest on; names the setting and the rule."""


class KafkaUnreachable(RuntimeError):
    """The brokers did not answer, or not as they must; names what was asked, never a setting's value."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as its broker describes it. The id is new when a topic is deleted and made again; its name is not."""

    name: str
    topic_id: str
    partitions: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What one turn of `consume_releases` did: releases that intake accepted, and records that it refused."""

    accepted: int
    refused: int


# Topics


def ensure_topics(
    bootstrap: str,
    settings: ClientSettings = NO_SETTINGS,
    *,
    attachments: str = ATTACHMENTS,
    marks: str = MARKS,
    releases: str = RELEASES,
    refusals: str = REFUSALS,
    partitions: int = 4,
    replication: int = 1,
) -> list[str]:
    """Make the topics that are not there, with the settings that the rules need; gives the names of those made.

    A topic that is there stays as it is: `check_topic` judges it. Rows stay 24 h at most, in segments of an hour, because
    Kafka deletes closed segments only.
    """
    durable = {"min.insync.replicas": str(min(2, replication))}
    trusted = {**durable, _TIMESTAMP_TYPE: _LOG_APPEND_TIME}
    wanted = [
        NewTopic(
            attachments,
            partitions,
            replication,
            config={**trusted, "retention.ms": str(24 * _HOUR_MS), "segment.ms": str(_HOUR_MS)},
        ),
        NewTopic(marks, 1, replication, config={**trusted, "retention.ms": str(7 * 24 * _HOUR_MS)}),
        # Never compacted: a second release with another digest must stay beside the first, where intake sees it.
        NewTopic(releases, 1, replication, config={**durable, "retention.ms": "-1"}),
        NewTopic(refusals, 1, replication, config={**durable, "retention.ms": str(7 * 24 * _HOUR_MS)}),
    ]
    # The client has to outlive the answers that it owes.
    admin, made = _admin(bootstrap, settings), []
    for name, outcome in admin.create_topics(wanted, operation_timeout=ANSWER_WITHIN_S).items():
        try:
            outcome.result(ANSWER_WITHIN_S)
            made.append(name)
        except KafkaException as failed:
            if _code(failed) != KafkaError.TOPIC_ALREADY_EXISTS:
                raise KafkaUnreachable(f"topic {name} could not be made: {_reason(failed)}") from None
    return made


def check_topic(bootstrap: str, topic: str, settings: ClientSettings = NO_SETTINGS) -> Topic:
    """The topic, if its record time is the broker's clock; raises TopicRefused or KafkaUnreachable."""
    admin = _admin(bootstrap, settings)
    # A broker may hear of a new topic a moment after the controller has made it.
    until = time.monotonic() + KNOWN_WITHIN_S
    while True:
        try:
            return _checked(admin, topic)
        except KafkaException as failed:
            if _code(failed) != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise KafkaUnreachable(f"topic {topic} could not be described: {_reason(failed)}") from None
            if time.monotonic() > until:
                raise TopicRefused(f"topic {topic} does not exist") from None
        time.sleep(0.1)


def _checked(admin: AdminClient, topic: str) -> Topic:
    described = admin.describe_topics(TopicCollection([topic]), request_timeout=ANSWER_WITHIN_S)[topic].result()
    resource = ConfigResource(ResourceType.TOPIC, topic)
    entries = admin.describe_configs([resource], request_timeout=ANSWER_WITHIN_S)[resource].result()
    found = entries[_TIMESTAMP_TYPE].value
    if found != _LOG_APPEND_TIME:
        raise TopicRefused(
            f"topic {topic}: {_TIMESTAMP_TYPE} is {found} and must be {_LOG_APPEND_TIME}: a row's ingest_time is the "
            "broker's record time (contract 4.1), and a producer's own clock is no trusted clock"
        )
    return Topic(topic, str(described.topic_id), len(described.partitions))


# Releases out


def release_key(release: Release) -> str:
    """What a release speaks of, as its record's key: carrier, level and window."""
    return f"{release.carrier}|{release.level.value}|{format_utc(release.window_start)}"


def publish_release(
    bootstrap: str, release: Release, settings: ClientSettings = NO_SETTINGS, *, topic: str = RELEASES
) -> None:
    """Put one release on the topic, and return only once every in-sync replica has it; raises KafkaUnreachable.

    Called again after a failure it may leave the same bytes twice; intake knows a release by its digest.
    """
    _deliver(_producer(bootstrap, settings), topic, release_key(release).encode(), canonical_json(release.document()))


def publish_refusals(
    bootstrap: str,
    batch: str,
    refused: Mapping[str, int],
    settings: ClientSettings = NO_SETTINGS,
    *,
    topic: str = REFUSALS,
) -> None:
    """Put a batch's refusals on the carrier's own dead-letter topic: how many by reason, and never what was refused.

    Raises ValueError for a reason that the contract does not know, so that no text of a row can pass as one.
    """
    known = {reason.value for reason in (*Refusal, *FileRefusal)}
    if not refused.keys() <= known or not all(type(count) is int for count in refused.values()):
        raise ValueError("refusals are whole numbers by the contract's reasons")
    content = canonical_json({"batch": batch, "refused": dict(refused)})
    _deliver(_producer(bootstrap, settings), topic, batch.encode(), content)


# Releases in


def consume_releases(
    bootstrap: str,
    group: str,
    accept: Callable[[object], bool],
    settings: ClientSettings = NO_SETTINGS,
    *,
    topic: str = RELEASES,
    quiet_s: float = 5.0,
) -> Taken:
    """Hand every release on the topic to intake, in order, until nothing has come for `quiet_s`.

    At least once: an offset is committed after `accept` has returned, so what a crash interrupts comes again. `accept`
    takes the JSON document and answers whether it was accepted; a refusal is intake's last word and is not asked twice,
    while an exception leaves the record for the next turn. Bytes that are no JSON are refused here and not shown.
    """
    consumer = Consumer(
        {
            **settings,
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "log_level": 0,
        }
    )
    accepted = refused = 0
    try:
        consumer.subscribe([topic])
        for message in _messages(consumer, quiet_s):
            document = _document(message.value())
            if document is not None and accept(document):
                accepted += 1
            else:
                refused += 1
            consumer.commit(message=message, asynchronous=False)
    except KafkaException as failed:
        raise KafkaUnreachable(f"topic {topic} could not be read: {_reason(failed)}") from None
    finally:
        consumer.close()
    return Taken(accepted, refused)


def _messages(consumer: Consumer, quiet_s: float) -> Iterator[Message]:
    # The first record may be long in coming: a group has to form first.
    until, joined = time.monotonic() + ANSWER_WITHIN_S, False
    while time.monotonic() < until:
        message = consumer.poll(min(0.5, quiet_s))
        if not joined and consumer.assignment():
            until, joined = time.monotonic() + quiet_s, True
        if message is not None:
            _raise_on_error(message)
            yield message
            until = time.monotonic() + quiet_s
    if not joined:
        raise KafkaUnreachable(f"no partition of the topic was assigned in {ANSWER_WITHIN_S:.0f} s")


def _document(content: bytes | None) -> object | None:
    if content is None or len(content) > LONGEST_RELEASE:
        return None
    try:
        document: object = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return document


# Feed marks


def publish_mark(bootstrap: str, mark: FeedMark, settings: ClientSettings = NO_SETTINGS, *, topic: str = MARKS) -> None:
    """Put one feed mark on the topic, once everything that it covers is acknowledged."""
    content = {"source": mark.source, "partition": mark.partition, "covers_until": format_utc(mark.covers_until)}
    _deliver(_producer(bootstrap, settings), topic, f"{mark.source}|{mark.partition}".encode(), canonical_json(content))


def read_marks_topic(bootstrap: str, topic: str = MARKS, settings: ClientSettings = NO_SETTINGS) -> list[FeedMark]:
    """All feed marks that the topic holds now; raises MarkRefused for one that claims more than has happened.

    Read them *before* the rows: what a mark covers was on the attachments topic when the mark was written, so a read of
    that topic to its end, begun later, holds it. The other way round rows may fall in between.
    """
    consumer = Consumer(
        {
            **settings,
            "bootstrap.servers": bootstrap,
            "group.id": "tidemark-marks",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "log_level": 0,
        }
    )
    marks: list[FeedMark] = []
    try:
        described = consumer.list_topics(topic, timeout=ANSWER_WITHIN_S).topics[topic]
        if described.error is not None:
            raise TopicRefused(f"topic {topic} does not exist or may not be read")
        left = set(described.partitions)
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in left])
        until = time.monotonic() + ANSWER_WITHIN_S
        while left:
            if time.monotonic() > until:
                raise KafkaUnreachable(f"topic {topic} could not be read to its end in {ANSWER_WITHIN_S:.0f} s")
            message = consumer.poll(0.5)
            if message is None:
                continue
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                left.discard(message.partition())
                continue
            _raise_on_error(message)
            marks.append(_mark(message))
            until = time.monotonic() + ANSWER_WITHIN_S
    except KafkaException as failed:
        raise KafkaUnreachable(f"topic {topic} could not be read: {_reason(failed)}") from None
    finally:
        consumer.close()
    return marks


def _mark(message: Message) -> FeedMark:
    kind, at_ms = message.timestamp()
    if kind != TIMESTAMP_LOG_APPEND_TIME:
        raise MarkRefused(
            f"a feed mark's record time is the broker's: its topic needs {_TIMESTAMP_TYPE}={_LOG_APPEND_TIME}"
        )
    try:
        mark = parse_mark((message.value() or b"").decode("utf-8"))
    except UnicodeDecodeError:
        raise MarkRefused("a feed mark is UTF-8") from None
    if mark.covers_until > datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms):
        raise MarkRefused("a feed mark covers nothing later than the broker's time when it was written")
    return mark


# The client


def _admin(bootstrap: str, settings: ClientSettings) -> AdminClient:
    return AdminClient({**settings, "bootstrap.servers": bootstrap, "log_level": 0})


def _producer(bootstrap: str, settings: ClientSettings) -> Producer:
    return Producer(
        {
            **settings,
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "acks": "all",
            "message.timeout.ms": int(ANSWER_WITHIN_S * 1000),
            "log_level": 0,
        }
    )


def _deliver(producer: Producer, topic: str, key: bytes, content: bytes) -> None:
    outcome: list[KafkaError | None] = []
    producer.produce(
        topic,
        key=key,
        value=content,
        headers=[("schema-version", SCHEMA_VERSION)],
        on_delivery=lambda error, _: outcome.append(error),
    )
    producer.flush(ANSWER_WITHIN_S + 5)
    if not outcome:
        raise KafkaUnreachable(f"topic {topic} did not acknowledge a record in {ANSWER_WITHIN_S:.0f} s")
    if outcome[0] is not None:
        raise KafkaUnreachable(f"topic {topic} did not take a record: {outcome[0].name()}")


def _raise_on_error(message: Message) -> None:
    error = message.error()
    if error is not None:
        raise KafkaException(error)


def _error(failed: KafkaException) -> Any:
    return failed.args[0] if failed.args else None


def _code(failed: KafkaException) -> int | None:
    error = _error(failed)
    return error.code() if isinstance(error, KafkaError) else None


def _reason(failed: KafkaException) -> str:
    """The error's name only: its text may quote hosts and user names."""
    error = _error(failed)
    return error.name() if isinstance(error, KafkaError) else "unknown"
