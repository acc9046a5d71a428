"""The compose file says what the documents and the pinned broker say; no Docker runs here."""

import re
from pathlib import Path

import pytest
import yaml

from jobs.settings import read_settings

DEPLOY = Path(__file__).parent.parent.parent / "deploy"


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def broker(compose):
    return compose["services"]["kafka"]


def listeners(stated):
    return dict(entry.split("://") for entry in stated.split(","))


def test_the_broker_is_the_official_image_of_the_version_that_the_tests_run(broker):
    pom = (DEPLOY / "kafka" / "broker" / "pom.xml").read_text()
    (tested,) = re.findall(r"<artifactId>kafka_2\.13</artifactId>\s*<version>(.+)</version>", pom)
    assert broker["image"] == f"apache/kafka:{tested}"


def test_every_port_is_on_the_loopback_interface(compose):
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:9092:9092"]


def test_a_row_is_timed_by_the_broker_and_kept_for_a_day(broker):
    stated = broker["environment"]
    assert stated["KAFKA_LOG_MESSAGE_TIMESTAMP_TYPE"] == "LogAppendTime"
    assert stated["KAFKA_LOG_RETENTION_HOURS"] == "24"
    assert stated["KAFKA_LOG_ROLL_MS"] == "3600000"
    assert stated["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_every_listener_has_a_protocol_and_the_one_for_the_host_is_advertised_there(broker):
    stated = broker["environment"]
    opened, advertised = listeners(stated["KAFKA_LISTENERS"]), listeners(stated["KAFKA_ADVERTISED_LISTENERS"])
    protocols = dict(entry.split(":") for entry in stated["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    assert opened.keys() == protocols.keys() == advertised.keys() | {stated["KAFKA_CONTROLLER_LISTENER_NAMES"]}
    assert advertised["HOST"] == "127.0.0.1:9092"
    assert stated["KAFKA_INTER_BROKER_LISTENER_NAME"] in advertised


def test_every_environment_value_is_text(broker):
    assert {type(value) for value in broker["environment"].values()} == {str}


def test_the_edge_waits_for_the_broker_and_keeps_its_state(compose):
    edge = compose["services"]["edge"]
    assert edge["command"][:2] == ["edge", "run"]
    assert edge["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    mounted = {entry.split(":")[0] for service in compose["services"].values() for entry in service["volumes"]}
    assert compose["volumes"].keys() == {name for name in mounted if not name.startswith(".")}


def test_the_edges_settings_are_for_this_broker_and_this_volume(compose):
    edge, stated = compose["services"]["edge"], compose["services"]["kafka"]["environment"]
    settings = read_settings(DEPLOY / "edge" / "tidemark.toml").edge
    assert settings.kafka.bootstrap == listeners(stated["KAFKA_ADVERTISED_LISTENERS"])["INSIDE"]
    assert f"state:{settings.state}" in edge["volumes"]
    assert "./edge:/etc/tidemark:ro" in edge["volumes"]
    assert edge["command"][-1] == "/etc/tidemark/tidemark.toml"


def test_the_edges_image_is_built_from_a_file_that_is_here(compose):
    build = compose["services"]["edge"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve().is_file()
