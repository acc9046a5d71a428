"""The sections for Kafka: a login is read from where secrets belong, used, and shown nowhere."""

import json

import pytest

from ingest.kafka_login import LoginRefused
from jobs.kafka_settings import CentreKafkaSettings, KafkaSettings, secrets_in_the_open

HERE = {"bootstrap": "127.0.0.1:9092"}


def test_a_login_is_used_and_not_shown():
    settings = KafkaSettings(**HERE, client={"sasl.password": "open-sesame"})
    assert settings.client_login == {"sasl.password": "open-sesame"}
    shown = repr(settings) + str(settings.client) + json.dumps(settings.model_dump(mode="json"))
    assert "open-sesame" not in shown


def test_toml_needs_no_quotes_around_kafkas_names():
    nested = {"security": {"protocol": "SSL"}, "socket": {"keepalive": {"enable": True}, "timeout": {"ms": 100}}}
    assert KafkaSettings(**HERE, client=nested).client_login == {
        "security.protocol": "SSL",
        "socket.keepalive.enable": "true",
        "socket.timeout.ms": "100",
    }


def test_what_is_stated_wins_over_the_file(tmp_path):
    file = tmp_path / "client.properties"
    file.write_text("security.protocol=SASL_SSL\nsasl.password=old\n")
    settings = KafkaSettings(**HERE, client={"sasl.password": "new"}, client_file=file)
    assert settings.client_login == {"security.protocol": "SASL_SSL", "sasl.password": "new"}


def test_javas_login_is_its_own_or_the_translated_one():
    client = {"security.protocol": "SSL"}
    assert KafkaSettings(**HERE, client=client).java_login == {"security.protocol": "SSL"}
    own = KafkaSettings(**HERE, client=client, java={"security.protocol": "SASL_SSL"})
    assert own.java_login == {"security.protocol": "SASL_SSL"}
    with pytest.raises(LoginRefused, match=r"edge\.kafka\.client: debug .*edge\.kafka\.java_file"):
        _ = KafkaSettings(**HERE, client={"debug": "all"}).java_login


def test_a_certificate_and_its_key_in_two_files_are_the_same_login_in_java(tmp_path):
    for name in ("own", "key"):
        (tmp_path / f"{name}.pem").write_text(f"text of {name}")
    own, key = tmp_path / "own.pem", tmp_path / "key.pem"
    client = {"security.protocol": "SSL", "ssl.certificate.location": str(own), "ssl.key.location": str(key)}
    settings = KafkaSettings(**HERE, client=client)
    assert settings.client_login == client
    assert settings.java_login == {
        "security.protocol": "SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.certificate.chain": "text of own",
        "ssl.keystore.key": "text of key",
    }
    key.unlink()
    with pytest.raises(LoginRefused, match=r"ssl\.key\.location: the file cannot be read"):
        _ = settings.java_login


def test_a_login_file_that_is_not_there_is_refused_by_the_settings_name(tmp_path):
    settings = KafkaSettings(**HERE, client_file=tmp_path / "nowhere")
    with pytest.raises(LoginRefused, match=r"edge\.kafka\.client_file: the file cannot be read"):
        _ = settings.client_login


@pytest.mark.parametrize(
    "changes",
    [
        {"bootstrap": "edge:secret@host:9092"},
        {"topic": "no such topic"},
        {"value": "avro"},
        {"registry": "http://127.0.0.1"},
        {"value": "avro", "registry": "http://edge:secret@127.0.0.1"},
        {"surplus": 1},
    ],
)
def test_settings_that_cannot_run_are_refused_without_a_value(changes):
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        KafkaSettings(**{**HERE, **changes})
    assert "secret" not in str([error["msg"] for error in refused.value.errors(include_input=False)])


def test_a_secret_in_a_settings_file_is_found_by_its_name_however_it_is_nested():
    section = {
        "client": {"sasl.password": "x", "security": {"protocol": "SSL"}},
        "java": {"sasl": {"jaas": {"config": "x"}}},
        "registry_client": {"basic.auth.user.info": "x", "ssl.key.pem": "x"},
    }
    assert secrets_in_the_open(section) == [
        "client.sasl.password",
        "java.sasl.jaas.config",
        "registry_client.basic.auth.user.info",
        "registry_client.ssl.key.pem",
    ]


def test_the_centre_reads_a_topic_for_each_carrier():
    settings = CentreKafkaSettings(**HERE, topics={"releases-a": "carrier-a"}, client={"sasl.password": "open-sesame"})
    assert settings.client_login == {"sasl.password": "open-sesame"}
    assert "open-sesame" not in repr(settings)
