"""One Kafka login in two spellings: librdkafka's names, which the client takes, and Java's, which Spark's connector takes.

The common logins (TLS with a CA, mutual TLS by PEM texts, SASL PLAIN and SCRAM) are said once, in librdkafka's names, and
translated. Any other is said twice by who runs the edge. No value is ever part of a message here.
"""

from collections.abc import Mapping

_EQUAL = {
    "client.dns.lookup",
    "client.id",
    "sasl.kerberos.service.name",
    "security.protocol",
    "ssl.cipher.suites",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.password",
}
"""Names that both know, with the same values (but for the one that `_equal` names)."""
_PASSWORD_LOGINS = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}
_MECHANISM = ("sasl.mechanism", "sasl.mechanisms")
_PASSWORD = ("sasl.username", "sasl.password")
_PEM = {
    "ssl.ca.location": ("ssl.truststore.location", "ssl.truststore.type"),
    "ssl.ca.pem": ("ssl.truststore.certificates", "ssl.truststore.type"),
    "ssl.certificate.pem": ("ssl.keystore.certificate.chain", "ssl.keystore.type"),
    "ssl.key.pem": ("ssl.keystore.key", "ssl.keystore.type"),
}


class LoginRefused(ValueError):
    """A login that cannot be used as it is set; names the setting, never its value."""


def java_settings(client: Mapping[str, str]) -> dict[str, str]:
    """The same login in Java's names; raises LoginRefused for a setting that has no translation.

    >>> java_settings({"security.protocol": "SSL", "ssl.ca.location": "/etc/ca.pem"})["ssl.truststore.type"]
    'PEM'
    """
    java: dict[str, str] = {}
    mechanism = next((client[name] for name in _MECHANISM if name in client), None)
    for name, value in client.items():
        if name in _EQUAL:
            java[name] = _equal(name, value)
        elif name in _MECHANISM:
            java["sasl.mechanism"] = value
        elif name in _PEM:
            store, kind = _PEM[name]
            java |= {store: value, kind: "PEM"}
        elif name not in _PASSWORD:
            raise LoginRefused(
                f"{name} has no translation for Spark's connector: give it the whole login in Java's names"
            )
    if any(name in client for name in _PASSWORD):
        java["sasl.jaas.config"] = _jaas(mechanism, client)
    return java


def _equal(name: str, value: str) -> str:
    # Only Java spells "do not compare the host's name" as nothing.
    return "" if name == "ssl.endpoint.identification.algorithm" and value == "none" else value


def _jaas(mechanism: str | None, client: Mapping[str, str]) -> str:
    module = _PASSWORD_LOGINS.get(mechanism or "")
    if module is None:
        raise LoginRefused(f"sasl.mechanism: with a password it is one of {', '.join(_PASSWORD_LOGINS)}")
    if any(name not in client for name in _PASSWORD):
        raise LoginRefused("sasl.username and sasl.password go together")
    username, password = (_quoted(client[name]) for name in _PASSWORD)
    return f"{module} required username={username} password={password};"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def parse_properties(text: str) -> dict[str, str]:
    """Settings from a properties file: `name=value` a line, `#` begins a comment line; raises LoginRefused.

    A value is taken as it stands, without the blanks around it: there are no escapes and no continued lines.

    >>> parse_properties("# login\\nsasl.password = a=b\\n")
    {'sasl.password': 'a=b'}
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, separator, value = stripped.partition("=")
        if not separator or not name.strip() or name.strip() in found:
            raise LoginRefused(f"line {number}: each line is a name, an equals sign and a value, each name once")
        found[name.strip()] = value.strip()
    return found
