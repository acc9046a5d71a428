"""One Spark session for all tests of the edge."""

import pytest


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    from jobs.spark import edge_session

    session = edge_session(master="local[2]", scratch=tmp_path_factory.mktemp("spark"), driver_memory="1g")
    yield session
    session.stop()
