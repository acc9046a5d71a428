"""A real broker for the tests: the one that `make kafka` starts, on free ports with a folder of its own."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import OFFSET_END, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.kafka.authority import certify

KAFKA = Path(__file__).parent.parent.parent / "deploy" / "kafka"
TRUSTED = {"message.timestamp.type": "LogAppendTime", "retention.ms": "86400000"}
USERNAME, PASSWORD = "carrier-login", 'open "sesame" \\ now'
SECURE = """
listeners=BROKER://127.0.0.1:{port},SECURE://127.0.0.1:{secure_port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=BROKER://127.0.0.1:{port},SECURE://127.0.0.1:{secure_port}
listener.security.protocol.map=BROKER:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location={shown}
listener.name.secure.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {account};
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [open_.getsockname()[1] for open_ in sockets]
    for open_ in sockets:
        open_.close()
    return ports


@dataclass(frozen=True)
class Broker:
    """Once `secure` was called, with a second listener by TLS and a login beside the open one."""

    folder: Path
    port: int
    controller_port: int
    secure_port: int

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def secure_bootstrap(self) -> str:
        return f"127.0.0.1:{self.secure_port}"

    def login(self, mechanism: str, password: str = PASSWORD) -> dict[str, str]:
        """How a client logs in on the second listener, in librdkafka's names."""
        return {
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self.folder / "ca.pem"),
            "sasl.mechanism": mechanism,
            "sasl.username": USERNAME,
            "sasl.password": password,
        }

    def secure(self) -> None:
        """Write the broker's certificate and the second listener's properties."""
        _, shown = certify(self.folder)
        escaped = PASSWORD.replace("\\", "\\\\").replace('"', '\\"')
        stated = SECURE.format(
            port=self.port,
            secure_port=self.secure_port,
            controller_port=self.controller_port,
            shown=shown,
            # A properties file takes one level of backslashes away.
            account=f'user_{USERNAME}="{escaped}"'.replace("\\", "\\\\"),
        )
        (self.folder / "extra.properties").write_text(stated)

    def add_scram_login(self) -> None:
        credential = UserScramCredentialUpsertion(
            USERNAME, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), PASSWORD.encode()
        )
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        admin.alter_user_scram_credentials([credential])[USERNAME].result(30)

    def run(self, act: str) -> None:
        ports = ["--port", str(self.port), "--controller-port", str(self.controller_port)]
        extra = self.folder / "extra.properties"
        where = ["--data", str(self.folder), *(["--extra", str(extra)] if extra.exists() else [])]
        subprocess.run([str(KAFKA / "broker.sh"), act, *ports, *where], check=True, timeout=300)

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

    def make_again(self, name: str) -> None:
        """Make a topic that was deleted a moment ago: its name is free a moment later."""
        for _ in range(50):
            try:
                self.make_topic(name)
                return
            except KafkaException:
                time.sleep(0.1)
        raise AssertionError("the topic could not be made again")

    def set_topic(self, name: str, setting: str, value: str) -> None:
        resource = ConfigResource(ResourceType.TOPIC, name)
        resource.add_incremental_config(ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET))
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        admin.incremental_alter_configs([resource])[resource].result(30)

    def end_of(self, name: str, partition: int) -> int:
        """The offset that the next record gets."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "test"})
        _, end = consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=30)
        consumer.close()
        return end

    def produce_transaction(self, topic: str, values: list[bytes], partition: int, commit: bool = True) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap, "transactional.id": "test", "log_level": 0})
        producer.init_transactions(30)
        producer.begin_transaction()
        for value in values:
            producer.produce(topic, value=value, partition=partition)
        producer.flush(30)
        (producer.commit_transaction if commit else producer.abort_transaction)(30)

    @contextmanager
    def open_transaction(self, topic: str, values: list[bytes], partition: int) -> Iterator[None]:
        """A transaction with these values, written and open for as long as this is; committed then."""
        producer = Producer(
            {"bootstrap.servers": self.bootstrap, "transactional.id": f"open-{topic}"[:200], "log_level": 0}
        )
        producer.init_transactions(30)
        producer.begin_transaction()
        for value in values:
            producer.produce(topic, value=value, partition=partition)
        producer.flush(30)
        yield
        producer.commit_transaction(30)

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
