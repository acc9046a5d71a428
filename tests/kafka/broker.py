"""A real broker for the tests: the one that `make kafka` starts, on free ports with a folder of its own."""

import os
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import OFFSET_END, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

KAFKA = Path(__file__).parent.parent.parent / "deploy" / "kafka"
TRUSTED = {"message.timestamp.type": "LogAppendTime"}


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [open_.getsockname()[1] for open_ in sockets]
    for open_ in sockets:
        open_.close()
    return ports


@dataclass(frozen=True)
class Broker:
    folder: Path
    port: int
    controller_port: int

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def run(self, act: str) -> None:
        ports = ["--port", str(self.port), "--controller-port", str(self.controller_port)]
        subprocess.run([str(KAFKA / "broker.sh"), act, *ports, "--data", str(self.folder)], check=True, timeout=300)

    def kill(self) -> None:
        os.kill(int((self.folder / "broker.pid").read_text()), signal.SIGKILL)

    def make_topic(self, name: str, partitions: int = 2, config: dict[str, str] | None = None) -> str:
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        wanted = NewTopic(name, partitions, 1, config=TRUSTED if config is None else config)
        admin.create_topics([wanted])[name].result(30)
        return name

    def delete_topic(self, name: str) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        admin.delete_topics([name])[name].result(30)

    def forget(self, name: str, partitions: int = 2) -> None:
        """Delete every record that is there, as retention does."""
        ends = [TopicPartition(name, partition, OFFSET_END) for partition in range(partitions)]
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for outcome in admin.delete_records(ends).values():
            outcome.result(30)

    def produce(self, topic: str, values: list[bytes | None], **settings) -> None:
        producer = Producer(
            {"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "log_level": 0, **settings}
        )
        failed = []
        for value in values:
            producer.produce(topic, value=value, on_delivery=lambda error, _: error and failed.append(error.name()))
            producer.poll(0)
        assert producer.flush(60) == 0
        assert failed == []

    def records(self, topic: str, partitions: int = 2) -> list:
        """Every record of a topic, by partition and offset."""
        consumer = Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": "test", "enable.auto.commit": False, "log_level": 0}
        )
        found = []
        for partition in range(partitions):
            here = TopicPartition(topic, partition, 0)
            _, end = consumer.get_watermark_offsets(here, timeout=30)
            consumer.assign([here])
            while end > 0 and (not found or found[-1].partition() != partition or found[-1].offset() < end - 1):
                message = consumer.poll(30)
                assert message is not None
                assert message.error() is None
                found.append(message)
        consumer.close()
        return found
