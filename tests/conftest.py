"""One Spark session for all tests that need one: a process has one JVM, and its jars count when it starts."""

import pytest


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """A session on two cores, with the Kafka connector where it is installed (`deploy/kafka/connector.sh`)."""
    from jobs.kafka_jars import ConnectorMissing, connector_jars
    from jobs.spark import edge_session

    try:
        jars = connector_jars()
    except ConnectorMissing:
        jars = []
    scratch = tmp_path_factory.mktemp("spark")
    session = edge_session(master="local[2]", scratch=scratch, driver_memory="1g", jars=jars)
    yield session
    session.stop()
