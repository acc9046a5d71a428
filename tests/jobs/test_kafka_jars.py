"""Spark loads the connector that was pinned, or says how to get it."""

import hashlib

import pytest

from jobs import kafka_jars
from jobs.kafka_jars import ConnectorMissing, connector_jars

JAR = "spark-sql-kafka-0-10_2.13-1.0.jar"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TIDEMARK_CACHE", str(tmp_path))
    monkeypatch.setattr(kafka_jars, "_pins", lambda: {JAR: hashlib.sha256(b"connector").hexdigest()})
    return tmp_path / "spark-kafka-1.0"


def test_a_cache_without_the_connector_says_how_to_fill_it(cache):
    with pytest.raises(ConnectorMissing, match=r"is missing.*deploy/kafka/connector\.sh.*TIDEMARK_CACHE"):
        connector_jars()


def test_a_jar_that_is_not_the_pinned_one_is_refused(cache):
    cache.mkdir()
    (cache / JAR).write_bytes(b"another")
    with pytest.raises(ConnectorMissing, match="not the file that was pinned"):
        connector_jars()


def test_the_pinned_jars_are_given(cache):
    cache.mkdir()
    (cache / JAR).write_bytes(b"connector")
    assert connector_jars() == [cache / JAR]


def test_the_committed_pins_name_one_connector():
    pins = kafka_jars._pins()
    assert kafka_jars._connector_version(pins)
    assert all(len(digest) == 64 for digest in pins.values())
