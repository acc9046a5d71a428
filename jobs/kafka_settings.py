"""The sections `edge.kafka` and `centre.kafka`: where the topics are, and the login, whose values are never shown.

A login is a mapping of Kafka's own names. What is secret in it comes from a properties file (`client_file`, `java_file`,
`registry_client_file`) or from the environment, as JSON (`TIDEMARK_EDGE__KAFKA__CLIENT='{"sasl.password": "…"}'`), and not
from the settings file.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from ingest.kafka_login import LoginRefused, java_settings, parse_properties

Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
Carrier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
_BOOTSTRAP = r"^[^\s@/]+:\d+(,[^\s@/]+:\d+)*$"
_SECRET = re.compile(r"password|jaas|secret|token|credential|user\.info|\bkey\.pem|keystore\.key")
_NUMBERS = {"timeout", "max.retries", "retries.wait.ms", "retries.max.wait.ms"}
"""What the registry's client takes as numbers only."""
_LOGINS = ("client", "java", "registry_client")


def _flat(stated: object, prefix: str = "") -> Any:
    """Dotted names from a table, however TOML nested them: `security.protocol` needs no quotes there."""
    if not isinstance(stated, Mapping):
        return stated
    flat: dict[str, Any] = {}
    for name, value in stated.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = _spelled(value)
    return flat


def _spelled(value: object) -> object:
    """Numbers and truth values as Kafka's clients read them."""
    return str(value).lower() if isinstance(value, bool | int | float) else value


Login = Annotated[dict[str, SecretStr], BeforeValidator(_flat)]


class KafkaSettings(BaseModel):
    """The topics of one edge. Beside the topic of events and the one of feed marks the others are optional."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bootstrap: str = Field(pattern=_BOOTSTRAP, description="host:port, more after commas")
    topic: Topic = Field(default="cell-attachments", description="cell-attachment events")
    marks_topic: Topic = Field(default="feed-marks", description="feed marks")
    releases_topic: Topic | None = Field(default=None, description="where releases leave; none: not by Kafka")
    refusals_topic: Topic | None = Field(default=None, description="refusal counts, inside the carrier; none: not sent")
    value: Literal["json", "avro"] = Field(
        default="json", description="NDJSON lines, or Avro as the registry frames it"
    )
    registry: str | None = Field(default=None, description="URL of the schema registry, for Avro values")
    records_per_batch: int = Field(default=1_000_000, ge=1_000, description="records that one batch reads at most")
    client: Login = Field(default={}, description="login in librdkafka's names")
    client_file: Path | None = Field(default=None, description="the same as a properties file")
    java: Login = Field(default={}, description="login in Java's names, where `client` cannot be translated")
    java_file: Path | None = Field(default=None, description="the same as a properties file")
    registry_client: Login = Field(default={}, description="login at the schema registry, in its client's names")
    registry_client_file: Path | None = Field(default=None, description="the same as a properties file")

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if (self.value == "avro") != (self.registry is not None):
            raise ValueError("value avro and a registry go together")
        if self.registry is not None and urlsplit(self.registry).username is not None:
            raise ValueError(
                "a login at the registry is set by registry_client_file or the environment, not in its URL"
            )
        return self

    @property
    def client_login(self) -> dict[str, str]:
        """The login as the client takes it; raises LoginRefused."""
        return _login("edge.kafka.client", self.client, self.client_file)

    @property
    def java_login(self) -> dict[str, str]:
        """The login as Spark's connector takes it: its own if there is one, else the client's, translated."""
        own = _login("edge.kafka.java", self.java, self.java_file)
        if own:
            return own
        try:
            return java_settings(_with_texts(self.client_login))
        except LoginRefused as refused:
            raise LoginRefused(f"edge.kafka.client: {refused} (edge.kafka.java or edge.kafka.java_file)") from None

    @property
    def registry_login(self) -> dict[str, str | float]:
        """The login at the schema registry; raises LoginRefused."""
        stated = _login("edge.kafka.registry_client", self.registry_client, self.registry_client_file)
        try:
            return {name: float(value) if name in _NUMBERS else value for name, value in stated.items()}
        except ValueError:
            raise LoginRefused(f"edge.kafka.registry_client: {', '.join(sorted(_NUMBERS))} are numbers") from None


class CentreKafkaSettings(BaseModel):
    """The topics by which releases come in. Each speaks for one carrier: who may write there is the broker's word."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bootstrap: str = Field(pattern=_BOOTSTRAP, description="host:port, more after commas")
    topics: dict[Topic, Carrier] = Field(min_length=1, description="topic -> the carrier whose releases it holds")
    group: Topic = Field(default="tidemark-centre", description="consumer group")
    client: Login = Field(default={}, description="login in librdkafka's names")
    client_file: Path | None = Field(default=None, description="the same as a properties file")

    @property
    def client_login(self) -> dict[str, str]:
        """The login as the client takes it; raises LoginRefused."""
        return _login("centre.kafka.client", self.client, self.client_file)


def _with_texts(login: Mapping[str, str]) -> dict[str, str]:
    """A login with its own certificate and key as texts: Java knows no two files for them. Raises LoginRefused."""
    found = dict(login)
    for name in ("ssl.certificate", "ssl.key"):
        place = found.pop(f"{name}.location", None)
        if place is not None:
            try:
                found[f"{name}.pem"] = Path(place).read_text(encoding="ascii")
            except (OSError, UnicodeDecodeError):
                raise LoginRefused(f"{name}.location: the file cannot be read as PEM") from None
    return found


def _login(name: str, stated: Login, file: Path | None) -> dict[str, str]:
    """A login's file, and over it what the settings state."""
    try:
        found = parse_properties(file.read_text(encoding="utf-8")) if file is not None else {}
    except LoginRefused as refused:
        raise LoginRefused(f"{name}_file: {refused}") from None
    except (OSError, UnicodeDecodeError):
        raise LoginRefused(f"{name}_file: the file cannot be read") from None
    return found | {setting: value.get_secret_value() for setting, value in stated.items()}


def secrets_in_the_open(section: Mapping[str, Any]) -> list[str]:
    """The names of what a `kafka` section of a settings file must not hold: secrets, which such files are not made for."""
    return [
        f"{login}.{name}"
        for login in _LOGINS
        for name in sorted(_flat(section.get(login, {})) if isinstance(section.get(login), Mapping) else ())
        if _SECRET.search(name)
    ]
