"""Kafka as the edge runs it: rows in once the topic was checked, releases and refusal counts out."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from ingest.columns import ColumnMap
from ingest.kafka import (
    Held,
    Topic,
    check_topic,
    ensure_topics,
    held_records,
    publish_refusals,
    publish_release,
    registry_schemas,
)
from ingest.release import Release
from jobs.kafka_gap import check_all_stable, check_nothing_lost
from jobs.kafka_settings import KafkaSettings
from jobs.kafka_source import KafkaSource, ReadSoFar, begin, read_so_far, sight_topic
from jobs.left import note_left
from jobs.settings import EdgeSettings
from jobs.sight import Sighting
from jobs.stop import leave_to_speak
from jobs.tables import EdgeFolder, write_whole

CLOCKS_AGREE_WITHIN = timedelta(minutes=5)
"""How far the brokers' clock may be ahead of this machine's: a record timed later than that is no record of now."""
TRANSACTIONS_END_WITHIN_S = 10.0
"""How long a turn waits for transactions that are open: producers' are over in a moment, unless one has died in it."""


def sight_kafka(run: Sighting, kafka: KafkaSettings, columns: ColumnMap | None, read: ReadSoFar | None) -> None:
    """Check the topic, then bring everything that it holds now into the sightings table.

    Raises TopicRefused, RecordsLost, KafkaUnreachable or SightStopped; TransactionOpen when all is read that may be read,
    and something is behind it that feed marks read before this may cover.
    """
    login = kafka.client_login
    topic = check_topic(kafka.bootstrap, kafka.topic, login)
    if read is None:
        read = read_so_far(run.folder.records(), topic)
    held = held_records(kafka.bootstrap, topic, login)
    begin(run.folder, topic, held, read)
    check_nothing_lost(read, topic, held)
    _let_transactions_end(kafka, topic, held)
    if run.admission is not None:
        # Records go on coming while the run begins, and their clock is the brokers'.
        latest = run.admission.not_after + CLOCKS_AGREE_WITHIN
        run = replace(run, admission=replace(run.admission, not_after=latest))
    if kafka.registry is not None:
        # A worker's words would be buried: whether the registry answers at all is asked from here.
        registry_schemas(kafka.registry, kafka.registry_login)(1)
    source = KafkaSource(
        bootstrap=kafka.bootstrap,
        topic=topic,
        login=login,
        java_login=kafka.java_login,
        records_per_batch=kafka.records_per_batch,
        registry=kafka.registry,
        registry_login=kafka.registry_login,
        columns=columns,
    )
    try:
        sight_topic(run, source, read)
    except (PySparkException, Py4JError):
        # Spark buries the reason: what a worker came too late for is seen from here as well.
        check_nothing_lost(read, topic, held_records(kafka.bootstrap, topic, login))
        raise
    check_all_stable(read, topic, held)


def _let_transactions_end(kafka: KafkaSettings, topic: Topic, held: Mapping[int, Held]) -> None:
    """Wait a moment until everything that was written can be read."""
    until, now = time.monotonic() + TRANSACTIONS_END_WITHIN_S, held
    while any(now[number].end < there.written for number, there in held.items()) and time.monotonic() < until:
        time.sleep(0.5)
        now = held_records(kafka.bootstrap, topic, kafka.client_login)


def make_topics(settings: EdgeSettings, *, partitions: int, replication: int) -> dict[str, Any]:
    """Make the topics that the settings name and that are not there; raises TopicRefused if the one of events is no good."""
    kafka = settings.kafka
    assert kafka is not None
    login = kafka.client_login
    made = ensure_topics(
        kafka.bootstrap,
        login,
        attachments=kafka.topic,
        marks=kafka.marks_topic,
        releases=kafka.releases_topic,
        refusals=kafka.refusals_topic,
        partitions=partitions,
        replication=replication,
    )
    return {"made": made, "partitions": check_topic(kafka.bootstrap, kafka.topic, login).partitions}


def send_releases(kafka: KafkaSettings, folder: EdgeFolder) -> int:
    """Put every release of the outbox that is not on the releases topic yet there, in order; how many those were.

    At least once: a crash may send the same bytes twice, and intake knows a release by its digest. Raises EdgeStopped and
    KafkaUnreachable; what did not leave waits in the outbox.
    """
    if kafka.releases_topic is None:
        return 0
    sent = 0
    for path in sorted(folder.releases.glob("*.json")):
        receipt = folder.root / "sent" / path.name
        if receipt.exists():
            continue
        release = Release.model_validate_json(path.read_bytes())
        with leave_to_speak(folder.root):
            publish_release(kafka.bootstrap, release, kafka.client_login, topic=kafka.releases_topic)
            note_left(folder.root, release.digest, to=f"kafka:{kafka.releases_topic}")
        write_whole(receipt, release.digest.encode("ascii"))
        sent += 1
    return sent


def send_refusals(kafka: KafkaSettings, folder: EdgeFolder) -> int:
    """Put the refusal counts of every batch that was not told yet on the carrier's own topic; how many batches those were.

    How many rows met which reason, and never what was refused. At least once, under the batch's name.
    """
    if kafka.refusals_topic is None:
        return 0
    told = folder.root / "told"
    known = set(told.read_text(encoding="ascii").split()) if told.exists() else set()
    # A batch may have moved to the past while the brokers were away.
    batches = {path.stem: path for room in (folder.past_batches, folder.batches) for path in room.glob("*.json")}
    new = sorted(batches.keys() - known)
    for batch in new:
        refused = refusals(json.loads(batches[batch].read_bytes()))
        if refused:
            publish_refusals(kafka.bootstrap, batch, refused, kafka.client_login, topic=kafka.refusals_topic)
    if new:
        write_whole(told, " ".join(sorted(batches)).encode("ascii"))
    return len(new)


def refusals(record: Mapping[str, Any]) -> dict[str, int]:
    """How many rows of a batch were refused by which reason."""
    counted: Counter[str] = Counter()
    rows: Iterable[Mapping[str, Any]] = record["rows"]
    for entry in rows:
        kind, _, reason = entry["what"].partition(":")
        if kind == "refused":
            counted[reason] += entry["rows"]
    return dict(counted)
