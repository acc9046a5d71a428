"""One real broker and one Spark session with the Kafka connector for all tests here."""

import os
import socket
import subprocess

import pytest

from tests.kafka.broker import KAFKA, Broker, free_ports


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    started = Broker(tmp_path_factory.mktemp("kafka"), *free_ports(2))
    started.run("start")
    yield started
    started.run("stop")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", started.port), timeout=5)


@pytest.fixture
def topic(broker, request):
    """A topic of the test's own, with the broker's clock and two partitions."""
    return broker.make_topic(request.node.name.replace("_", "-")[:200])


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    from jobs.kafka_jars import connector_jars
    from jobs.spark import edge_session

    subprocess.run([str(KAFKA / "connector.sh")], check=True, stdout=subprocess.DEVNULL)
    jars = ",".join(map(str, connector_jars()))
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"--jars {jars} pyspark-shell"
    session = edge_session(master="local[2]", scratch=tmp_path_factory.mktemp("spark"), driver_memory="1g")
    yield session
    session.stop()
