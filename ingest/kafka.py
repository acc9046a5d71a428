"""Kafka as the edge and the centre use it: topics checked at start, releases out and in, feed marks, refusal counts.

The one place of the Kafka client. SASL and TLS go through as `ClientSettings`, a mapping in librdkafka's own names
(`security.protocol`, `sasl.username`, `ssl.ca.location`, …) that is handed on and never looked at, logged or shown.
What keeps a promise (acks, idempotence, when an offset is committed) is set here and wins over it.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

import polars as pl
from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

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

_AT_ONCE = 10_000
_LARGE_BITES: ClientSettings = {
    "fetch.message.max.bytes": 4 << 20,
    "fetch.max.bytes": 16 << 20,
    # What a worker holds of records that nobody has looked at yet, in kB.
    "queued.max.messages.kbytes": 32 << 10,
}
_TIMESTAMP_TYPE = "message.timestamp.type"
_LOG_APPEND_TIME = "LogAppendTime"
_HOUR_MS = 3_600_000
LONGEST_RETENTION = timedelta(hours=24)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TopicRefused(RuntimeError):
    """A topic that the edge cannot rest on; names the setting and the rule."""


class RecordsGone(RuntimeError):
    """Kafka no longer holds records that were to be read; names the topic and the partition."""


class KafkaUnreachable(RuntimeError):
    """The brokers did not answer, or not as they must; names what was asked, never a setting's value."""


class TransactionOpen(KafkaUnreachable):
    """Records are there that nobody may read yet: a producer's transaction is open; names the topic and the partition."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as its broker describes it. The id is new when a topic is deleted and made again; its name is not."""

    name: str
    topic_id: str
    partitions: int


@dataclass(frozen=True, slots=True)
class Held:
    """What a partition holds now: the records from `oldest` up to, not including, `end`.

    So many more as `held_back` are behind `end` (the last stable offset), from where on a transaction is open: nobody may
    read them yet, and some may be older than what feed marks say.
    """

    oldest: int
    end: int
    held_back: int = 0

    @property
    def written(self) -> int:
        """Up to where something was written, whether it can be read or not."""
        return self.end + self.held_back


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
    releases: str | None = RELEASES,
    refusals: str | None = REFUSALS,
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
            config={
                **trusted,
                "retention.ms": str(LONGEST_RETENTION // timedelta(milliseconds=1)),
                "segment.ms": str(_HOUR_MS),
            },
        ),
        NewTopic(marks, 1, replication, config={**trusted, "retention.ms": str(7 * 24 * _HOUR_MS)}),
    ]
    if releases is not None:
        # Never compacted: a second release with another digest must stay beside the first, where intake sees it.
        wanted.append(NewTopic(releases, 1, replication, config={**durable, "retention.ms": "-1"}))
    if refusals is not None:
        wanted.append(NewTopic(refusals, 1, replication, config={**durable, "retention.ms": str(7 * 24 * _HOUR_MS)}))
    # The client has to outlive the answers that it owes.
    heard = _Heard()
    admin, made = _admin(bootstrap, settings, heard), []
    for name, outcome in admin.create_topics(wanted, operation_timeout=ANSWER_WITHIN_S).items():
        try:
            _answer(outcome)
            made.append(name)
        except KafkaException as failed:
            if _code(failed) != KafkaError.TOPIC_ALREADY_EXISTS:
                raise KafkaUnreachable(f"topic {name} could not be made: {_reason(failed, heard)}") from None
    return made


def check_topic(bootstrap: str, topic: str, settings: ClientSettings = NO_SETTINGS) -> Topic:
    """The topic of events, if the edge can rest on it; raises TopicRefused or KafkaUnreachable.

    Its record time is the broker's clock, it keeps rows for a day at most, and it drops none while it keeps them.
    """
    heard = _Heard()
    admin = _admin(bootstrap, settings, heard)
    # A broker may hear of a new topic a moment after the controller has made it.
    until = time.monotonic() + KNOWN_WITHIN_S
    while True:
        try:
            return _checked(admin, topic)
        except KafkaException as failed:
            if _code(failed) != KafkaError.UNKNOWN_TOPIC_OR_PART:
                admin.poll(0)
                raise KafkaUnreachable(f"topic {topic} could not be described: {_reason(failed, heard)}") from None
            if time.monotonic() > until:
                raise TopicRefused(f"topic {topic} does not exist") from None
        time.sleep(0.1)


def _checked(admin: AdminClient, topic: str) -> Topic:
    described = _answer(admin.describe_topics(TopicCollection([topic]), request_timeout=ANSWER_WITHIN_S)[topic])
    resource = ConfigResource(ResourceType.TOPIC, topic)
    entries = _answer(admin.describe_configs([resource], request_timeout=ANSWER_WITHIN_S)[resource])
    found, kept_ms = entries[_TIMESTAMP_TYPE].value, int(entries["retention.ms"].value)
    if found != _LOG_APPEND_TIME:
        raise TopicRefused(
            f"topic {topic}: {_TIMESTAMP_TYPE} is {found} and must be {_LOG_APPEND_TIME}: a row's ingest_time is the "
            "broker's record time (contract 4.1), and a producer's own clock is no trusted clock"
        )
    if entries["cleanup.policy"].value != "delete":
        raise TopicRefused(
            f"topic {topic}: cleanup.policy must be delete: a compacted topic loses rows before they are read"
        )
    if not 0 <= kept_ms <= LONGEST_RETENTION / timedelta(milliseconds=1):
        raise TopicRefused(
            f"topic {topic}: retention.ms is {kept_ms} and must be {LONGEST_RETENTION // timedelta(milliseconds=1)} at most: "
            "the rows are people's days and are kept for one at most"
        )
    return Topic(topic, str(described.topic_id), len(described.partitions))


def held_records(bootstrap: str, topic: Topic, settings: ClientSettings = NO_SETTINGS) -> dict[int, Held]:
    """What each partition of a topic holds now, by its offsets, and what open transactions hold back."""
    heard = _Heard()
    admin = _admin(bootstrap, settings, heard)
    places = [TopicPartition(topic.name, partition) for partition in range(topic.partitions)]
    try:
        # The very end first: what is written between two answers is held back by nobody.
        written, oldest, ends = (
            {
                place.partition: int(_answer(outcome).offset)
                for place, outcome in admin.list_offsets(
                    dict.fromkeys(places, which), isolation_level=level, request_timeout=ANSWER_WITHIN_S
                ).items()
            }
            for which, level in (
                (OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED),  # type: ignore[no-untyped-call]
                (OffsetSpec.earliest(), IsolationLevel.READ_COMMITTED),  # type: ignore[no-untyped-call]
                (OffsetSpec.latest(), IsolationLevel.READ_COMMITTED),  # type: ignore[no-untyped-call]
            )
        )
    except KafkaException as failed:
        raise KafkaUnreachable(f"topic {topic.name}: its offsets were not given: {_reason(failed, heard)}") from None
    return {
        partition: Held(oldest[partition], ends[partition], max(0, written[partition] - ends[partition]))
        for partition in sorted(oldest)
    }


def oldest_times(
    bootstrap: str, topic: Topic, partitions: Collection[int], settings: ClientSettings = NO_SETTINGS
) -> dict[int, datetime]:
    """The record time of the oldest record of each of these partitions; a partition that holds none is not in it."""
    found: dict[int, datetime] = {}
    for message in _to_the_end(bootstrap, topic.name, settings, partitions=partitions, first_only=True):
        found[_number(message.partition())] = _record_time(message)
    return found


# Records in


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """Some records of a partition in their order: `values` (bytes) and `times`, which are null where a producer set them."""

    values: pl.Series
    times: pl.Series


def read_offsets(
    bootstrap: str, topic: str, partition: int, start: int, end: int, settings: ClientSettings = NO_SETTINGS
) -> Iterator[Records]:
    """The committed records of a partition from offset `start` up to, not including, `end`, some at a time.

    Raises RecordsGone if the partition does not hold them from `start` on, and KafkaUnreachable if nothing comes.
    """
    heard = _Heard()
    own = {"group.id": "tidemark-edge", "enable.partition.eof": True, "auto.offset.reset": "error", **_LARGE_BITES}
    consumer = _consumer(bootstrap, settings, heard, own)
    try:
        consumer.assign([TopicPartition(topic, partition, start)])
        until, at = time.monotonic() + ANSWER_WITHIN_S, start
        while at < end:
            messages = consumer.consume(_AT_ONCE, 0.5)
            if messages:
                until = time.monotonic() + ANSWER_WITHIN_S
            elif time.monotonic() > until:
                raise KafkaUnreachable(
                    f"topic {topic}, partition {partition}: nothing came in {ANSWER_WITHIN_S:.0f} s: "
                    f"{_named('no answer', heard)}"
                )
            if any(map(Message.error, messages)):
                at = max([at, *map(_end_told, messages)])
                messages = [message for message in messages if message.error() is None]
            if messages:
                at = max(at, _offset(messages[-1]) + 1)
                yield _records(messages if at <= end else [one for one in messages if _offset(one) < end])
    except KafkaException as failed:
        if _code(failed) == KafkaError._AUTO_OFFSET_RESET:
            raise RecordsGone(f"topic {topic}, partition {partition} no longer holds offset {at}") from None
        raise KafkaUnreachable(f"topic {topic} could not be read: {_reason(failed, heard)}") from None
    finally:
        consumer.close()


def _records(messages: list[Message]) -> Records:
    # By `map`, since a loop over every message would cost as much as reading it.
    values = pl.Series("value", list(map(Message.value, messages)), dtype=pl.Binary)
    stamps = list(map(Message.timestamp, messages))
    times = pl.Series("ingest_time", list(map(itemgetter(1), stamps)), dtype=pl.Int64)
    if set(map(itemgetter(0), stamps)) != {TIMESTAMP_LOG_APPEND_TIME}:
        trusted = [kind == TIMESTAMP_LOG_APPEND_TIME for kind, _ in stamps]
        times = times.set(~pl.Series(trusted, dtype=pl.Boolean), None)
    return Records(values, times.cast(pl.Datetime("ms", "UTC")))


def _end_told(message: Message) -> int:
    """The offset that a message says the partition ends at, 0 if it is a record; raises any other error."""
    error = message.error()
    if error is None:
        return 0
    if error.code() != KafkaError._PARTITION_EOF:
        raise KafkaException(error)
    return _offset(message)


def _offset(message: Message) -> int:
    return message.offset() or 0


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
    _deliver(bootstrap, settings, topic, release_key(release).encode(), canonical_json(release.document()))


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
    _deliver(bootstrap, settings, topic, batch.encode(), content)


# Releases in


def consume_releases(
    bootstrap: str,
    group: str,
    accept: Callable[[bytes], bool],
    settings: ClientSettings = NO_SETTINGS,
    *,
    topic: str = RELEASES,
    quiet_s: float = 5.0,
) -> Taken:
    """Hand every release on the topic to intake, in order, until nothing has come for `quiet_s`.

    At least once: an offset is committed after `accept` has returned, so what a crash interrupts comes again. `accept`
    takes a record's bytes and answers whether it was accepted; a refusal is intake's last word and is not asked twice,
    while an exception leaves the record for the next turn. A record without bytes, or with too many, is refused here.
    """
    heard = _Heard()
    consumer = _consumer(bootstrap, settings, heard, {"group.id": group, "auto.offset.reset": "earliest"})
    accepted = refused = 0
    try:
        consumer.subscribe([topic])
        for message in _messages(consumer, quiet_s):
            content = message.value()
            if content is not None and len(content) <= LONGEST_RELEASE and accept(content):
                accepted += 1
            else:
                refused += 1
            consumer.commit(message=message, asynchronous=False)
    except KafkaException as failed:
        raise KafkaUnreachable(f"topic {topic} could not be read: {_reason(failed, heard)}") from None
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


# Feed marks


def publish_mark(bootstrap: str, mark: FeedMark, settings: ClientSettings = NO_SETTINGS, *, topic: str = MARKS) -> None:
    """Put one feed mark on the topic, once everything that it covers is acknowledged."""
    content = {"source": mark.source, "partition": mark.partition, "covers_until": format_utc(mark.covers_until)}
    _deliver(bootstrap, settings, topic, f"{mark.source}|{mark.partition}".encode(), canonical_json(content))


def read_marks_topic(
    bootstrap: str, topic: str = MARKS, settings: ClientSettings = NO_SETTINGS, *, since: datetime | None = None
) -> list[FeedMark]:
    """The feed marks that the topic holds now, those written before `since` left out.

    Raises MarkRefused, naming the offset, for one that cannot be read. Read them *before* the rows: what a mark covers was on
    the attachments topic when the mark was written, so a read of that topic to its end, begun later, holds it. The other
    way round rows may fall in between.
    """
    return [_mark(message) for message in _to_the_end(bootstrap, topic, settings, since=since)]


def _to_the_end(
    bootstrap: str,
    topic: str,
    settings: ClientSettings,
    *,
    partitions: Collection[int] | None = None,
    first_only: bool = False,
    since: datetime | None = None,
) -> Iterator[Message]:
    """Every record that the partitions hold now (without `partitions` all of them), or the first of each.

    Those from before `since` are left out.
    """
    heard = _Heard()
    consumer = _consumer(bootstrap, settings, heard, {"group.id": "tidemark-reader", "enable.partition.eof": True})
    try:
        described = consumer.list_topics(topic, timeout=ANSWER_WITHIN_S).topics[topic]
        if described.error is not None:
            raise TopicRefused(f"topic {topic} does not exist or may not be read")
        left = set(described.partitions if partitions is None else partitions)
        begin = OFFSET_BEGINNING if since is None else (since - _EPOCH) // timedelta(milliseconds=1)
        places = [TopicPartition(topic, partition, begin) for partition in left]
        consumer.assign(places if since is None else consumer.offsets_for_times(places, timeout=ANSWER_WITHIN_S))
        until = time.monotonic() + ANSWER_WITHIN_S
        while left:
            if time.monotonic() > until:
                raise KafkaUnreachable(f"topic {topic} could not be read to its end in {ANSWER_WITHIN_S:.0f} s")
            message = consumer.poll(0.5)
            if message is None:
                continue
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                left.discard(_number(message.partition()))
                continue
            _raise_on_error(message)
            if message.partition() in left:
                yield message
                if first_only:
                    left.discard(_number(message.partition()))
            until = time.monotonic() + ANSWER_WITHIN_S
    except KafkaException as failed:
        raise KafkaUnreachable(f"topic {topic} could not be read: {_reason(failed, heard)}") from None
    finally:
        consumer.close()


def _mark(message: Message) -> FeedMark:
    """The mark in a record; it vouches for nothing later than the broker's time when it was written."""
    kind, _ = message.timestamp()
    place = f"feed mark in partition {message.partition()} at offset {message.offset()}"
    if kind != TIMESTAMP_LOG_APPEND_TIME:
        raise MarkRefused(
            f"{place}: its record time is not the broker's; the topic needs {_TIMESTAMP_TYPE}={_LOG_APPEND_TIME}"
        )
    try:
        mark = parse_mark((message.value() or b"").decode("utf-8"))
    except UnicodeDecodeError:
        raise MarkRefused(f"{place}: it is not UTF-8") from None
    except MarkRefused as refused:
        # The edge waits for marks that it can read: whoever mends the source deletes this one from the topic.
        raise MarkRefused(f"{place}: {refused}") from None
    return replace(mark, covers_until=min(mark.covers_until, _record_time(message)))


# The schema registry


class RegistryUnreachable(RuntimeError):
    """The schema registry gave no answer, or none that says whether it has a schema; names no address and no setting."""


def registry_schemas(url: str, settings: ClientSettings = NO_SETTINGS) -> Callable[[int], str | None]:
    """Asks a schema registry for the text of an Avro schema by its number; None if it has none of this number.

    `settings` are the registry client's own (`basic.auth.user.info`, `ssl.ca.location`, …). What is asked raises
    RegistryUnreachable: a message must not be refused because the registry is down.
    """
    # Half a second of imports, for those who have a registry.
    import httpx2
    from confluent_kafka.schema_registry import SchemaRegistryClient, SchemaRegistryError
    from confluent_kafka.schema_registry.error import OAuthTokenError

    client = SchemaRegistryClient({"timeout": ANSWER_WITHIN_S, **settings, "url": url})

    def schema_of(number: int) -> str | None:
        try:
            found = client.get_schema(number)
        except SchemaRegistryError as refused:
            if refused.http_status_code == 404:
                return None
            raise RegistryUnreachable(f"the schema registry answered with status {refused.http_status_code}") from None
        except (httpx2.HTTPError, OAuthTokenError, ValueError) as failed:
            raise RegistryUnreachable(f"the schema registry did not answer: {type(failed).__name__}") from None
        return found.schema_str if found.schema_type == "AVRO" else None

    return schema_of


# The client


@dataclass(slots=True)
class _Heard:
    """What a client says of its connections while it keeps trying: without it a wrong password is a time-out."""

    name: str | None = None

    def __call__(self, error: KafkaError) -> None:
        # That all brokers are down follows from what went before.
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self.name = error.name()


def _client(bootstrap: str, settings: ClientSettings, heard: _Heard, own: ClientSettings) -> dict[str, Any]:
    return {**settings, "bootstrap.servers": bootstrap, "error_cb": heard, "log_level": 0, **own}


def _admin(bootstrap: str, settings: ClientSettings, heard: _Heard) -> AdminClient:
    return AdminClient(_client(bootstrap, settings, heard, {}))


def _consumer(bootstrap: str, settings: ClientSettings, heard: _Heard, own: ClientSettings) -> Consumer:
    promised: ClientSettings = {"enable.auto.commit": False, "isolation.level": "read_committed"}
    return Consumer(_client(bootstrap, settings, heard, {**promised, **own}))


def _deliver(bootstrap: str, settings: ClientSettings, topic: str, key: bytes, content: bytes) -> None:
    promised: ClientSettings = {
        "enable.idempotence": True,
        "acks": "all",
        "message.timeout.ms": int(ANSWER_WITHIN_S * 1000),
    }
    heard = _Heard()
    producer = Producer(_client(bootstrap, settings, heard, promised))
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
        raise KafkaUnreachable(
            f"topic {topic} did not acknowledge a record in {ANSWER_WITHIN_S:.0f} s: {_named('no answer', heard)}"
        )
    if outcome[0] is not None:
        raise KafkaUnreachable(f"topic {topic} did not take a record: {_named(outcome[0].name(), heard)}")


def _answer(outcome: "Future[Any]") -> Any:
    """What an admin request brings; raises KafkaException, also where the client itself forgets to say that nothing came."""
    try:
        return outcome.result(ANSWER_WITHIN_S + 5)
    except TimeoutError:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None


def _record_time(message: Message) -> datetime:
    return _EPOCH + timedelta(milliseconds=message.timestamp()[1])


def _number(partition: int | None) -> int:
    assert partition is not None  # of a message that was read
    return partition


def _raise_on_error(message: Message) -> None:
    error = message.error()
    if error is not None:
        raise KafkaException(error)


def _error(failed: KafkaException) -> Any:
    return failed.args[0] if failed.args else None


def _code(failed: KafkaException) -> int | None:
    error = _error(failed)
    return error.code() if isinstance(error, KafkaError) else None


def _reason(failed: KafkaException, heard: _Heard) -> str:
    error = _error(failed)
    return _named(error.name() if isinstance(error, KafkaError) else "unknown", heard)


def _named(name: str, heard: _Heard) -> str:
    """Errors by their names only: their texts may quote hosts and user names."""
    return name if heard.name in (None, name) else f"{name} ({heard.name})"
