"""One real broker for all tests here."""

import re
import socket

import pytest

from jobs.kafka_jars import connector_jars
from tests.ingest.test_registry import registry  # noqa: F401 - a fixture
from tests.kafka.broker import Broker, free_ports


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    started = Broker(tmp_path_factory.mktemp("kafka"), *free_ports(3))
    started.secure()
    started.run("start")
    started.add_scram_login()
    yield started
    started.run("stop")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", started.port), timeout=5)


@pytest.fixture
def topic(broker, request):
    """A topic of the test's own, with the broker's clock and two partitions."""
    return broker.make_topic(re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:200])


@pytest.fixture(scope="session")
def spark(spark):
    """The session of all tests, certainly with the connector."""
    connector_jars()
    return spark
