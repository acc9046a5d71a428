"""One login, two spellings; no message holds a value."""

import pytest

from ingest.kafka_login import LoginRefused, java_settings, parse_properties

PASSWORD = 'open "sesame" \\ now'


def login(**changes):
    stated = {
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": "/etc/ca.pem",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "edge",
        "sasl.password": PASSWORD,
    }
    return {name: value for name, value in {**stated, **changes}.items() if value is not None}


def test_a_password_login_over_tls_is_the_same_in_javas_names():
    assert java_settings(login()) == {
        "security.protocol": "SASL_SSL",
        "ssl.truststore.location": "/etc/ca.pem",
        "ssl.truststore.type": "PEM",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required "
        'username="edge" password="open \\"sesame\\" \\\\ now";',
    }


def test_a_login_by_certificate_is_the_same_in_javas_names():
    assert java_settings({"security.protocol": "SSL", "ssl.certificate.pem": "chain", "ssl.key.pem": "key"}) == {
        "security.protocol": "SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.certificate.chain": "chain",
        "ssl.keystore.key": "key",
    }


def test_both_words_for_the_mechanism_mean_the_same():
    stated = login(**{"sasl.mechanism": None, "sasl.mechanisms": "SCRAM-SHA-512"})
    assert java_settings(stated) == java_settings(login())


def test_no_host_name_check_is_spelled_as_nothing_in_java():
    assert java_settings({"ssl.endpoint.identification.algorithm": "none"}) == {
        "ssl.endpoint.identification.algorithm": ""
    }


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ssl.keystore.location": "/etc/store.p12"}, "ssl.keystore.location"),
        ({"sasl.mechanism": "GSSAPI"}, "sasl.mechanism"),
        ({"sasl.username": None}, "sasl.username"),
    ],
)
def test_what_has_no_translation_is_refused_by_name_without_a_value(changes, named):
    with pytest.raises(LoginRefused, match=named) as refused:
        java_settings(login(**changes))
    assert "sesame" not in str(refused.value)
    assert "/etc" not in str(refused.value)


def test_a_properties_file_is_taken_as_it_stands():
    text = "# the login\n\nsasl.password = a=b # c\nssl.ca.location=/etc/ca.pem\n"
    assert parse_properties(text) == {"sasl.password": "a=b # c", "ssl.ca.location": "/etc/ca.pem"}


@pytest.mark.parametrize("text", ["a=1\nopen-sesame", "a=1\n=open-sesame", "a=1\na=open-sesame"])
def test_a_line_of_a_properties_file_that_is_no_setting_is_refused_by_number(text):
    with pytest.raises(LoginRefused, match="line 2") as refused:
        parse_properties(text)
    assert "sesame" not in str(refused.value)
