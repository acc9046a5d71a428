"""A carrier's producer for the bench: lines at a steady rate, a feed mark every few seconds, and at the end how many it sent.

Its own process, so that its CPU seconds are not the edge's: `python -m bench.kafka_producer BOOTSTRAP TOPIC FOLDER RATE S`.
"""

import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer

from ingest.kafka import publish_mark
from ingest.marks import FeedMark

TEMPLATE_TIME = b"2000-01-01T00:00:00.000Z"
MARK_EVERY_S = 5.0
TICKS_A_SECOND = 20


def main() -> None:
    """Send the folder's `templates.ndjson` over and over, then write `produced.json` there."""
    bootstrap, topic, folder, rate, seconds = sys.argv[1:]
    lines = (Path(folder) / "templates.ndjson").read_bytes().split(b"\n")
    parts = [line.split(TEMPLATE_TIME) for line in lines]
    report = produce_steadily(bootstrap, topic, parts, int(rate), float(seconds))
    (Path(folder) / "produced.json").write_text(json.dumps(report), encoding="ascii")


def produce_steadily(
    bootstrap: str, topic: str, parts: list[list[bytes]], rate: int, seconds: float
) -> dict[str, float]:
    """Send so many lines a second; a line that the broker did not take ends the run."""
    failed: list[str] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error.name())

    producer = Producer(
        {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 20, "compression.type": "lz4"}
    )
    began = marked = time.monotonic()
    sent = 0
    while (elapsed := time.monotonic() - began) < seconds and not failed:
        # A row is two seconds old when it arrives.
        at = f"{datetime.now(UTC) - timedelta(seconds=2):%Y-%m-%dT%H:%M:%S}.000Z".encode()
        until = min(int(rate * elapsed) + rate // TICKS_A_SECOND, int(rate * seconds))
        while sent < until:
            head, tail = parts[sent % len(parts)]
            try:
                producer.produce(topic, head + at + tail, partition=sent % 4, on_delivery=delivered)
                sent += 1
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
        if time.monotonic() - marked > MARK_EVERY_S:
            marked, covers = time.monotonic(), datetime.now(UTC) - timedelta(seconds=1)
            producer.flush(60)
            publish_mark(bootstrap, FeedMark("core", 0, covers), topic=f"{topic}-marks")
        time.sleep(max(0.0, began + sent / rate - time.monotonic()))
    if failed or producer.flush(60):
        raise RuntimeError(f"not delivered: {failed[:3]}")
    return {"produced": sent, "seconds": time.monotonic() - began}


if __name__ == "__main__":
    main()
