"""Settings: read once, from a TOML file and the environment, and handed down. Unknown keys are refused.

Order: environment (`TIDEMARK_EDGE__CARRIER=…`) over the file named by `--config` or TIDEMARK_CONFIG (else
`tidemark.toml` where the command runs) over the default. Paths in a file are relative to that file.
"""

import os
import tomllib
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from geofence.propagation import Shape
from ingest.attachment import PLMN_PATTERN
from ingest.columns import ColumnMap
from ingest.files import FileFormat, Layout
from ingest.multimno import Multimno
from jobs.kafka_settings import CentreKafkaSettings, KafkaSettings, secrets_in_the_open
from privacy.policy import ReleasePolicy, read_policy

DEFAULT_FILE = Path("tidemark.toml")


class SettingsRefused(ValueError):
    """Settings that do not start; names each setting and its rule."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Plmn = Annotated[str, Field(pattern=rf"^(?:{PLMN_PATTERN})$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class PolicySettings(_Section):
    """The release policy; stricter is free, weaker does not start."""

    policy_id: Name = "default-1"
    rho_day: float = 0.0280
    sigma: float = 9.45
    delta: float = 1e-6
    k: int = 2
    threshold: int = 50
    sigma_sector_day: float = 37.8
    sigma_border_day: float = 37.8
    threshold_day: int = 150

    def policy(self) -> ReleasePolicy:
        """The policy as a value; raises privacy.policy.WeakerPolicy."""
        return ReleasePolicy(**self.model_dump())


class EdgeSettings(_Section):
    """One carrier's edge."""

    carrier: Name = Field(description="the carrier's name at the centre")
    own_networks: list[Plmn] = Field(min_length=1, description="MCC-MNC of the carrier's own networks")
    networks_across: list[Plmn] = Field(min_length=1, description="MCC-MNC of the networks across this border")
    border: str = Field(description="a bundled border's id, or a GeoJSON file with the line")
    zone_grid: Path
    cell_plan: Path
    footprint: Shape = Field(
        default=Shape.PROPAGATION,
        description="how the mass of a cell with a direction is spread: propagation or sector (docs/cells.md)",
    )
    land_cover: Path | None = Field(
        default=None, description="geometry file of water and forest (docs/cells.md); none: all ground is alike"
    )
    turn_hour_utc: int | None = Field(
        default=None, ge=0, le=23, description="only for a grid that does not fix its own"
    )
    grid_valid_from: datetime | None = Field(default=None, description="only for a grid that does not fix its own")
    source: Path | None = Field(
        default=None, description="drop folder of cell-attachment files; none: they come by Kafka"
    )
    kafka: KafkaSettings | None = Field(
        default=None, description="the topics, instead of a drop folder (docs/kafka.md)"
    )
    format: FileFormat = FileFormat.PARQUET
    columns: ColumnMap | None = Field(
        default=None, description="for csv, parquet and avro that are not laid out like the contract (docs/feeds.md)"
    )
    multimno: Multimno | None = Field(default=None, description="for format multimno: what its files do not say")
    marks: Path | None = Field(
        default=None, description="folder of feed marks; none: a replay covers what its files hold"
    )
    alarms: Path | None = Field(
        default=None, description="folder of element alarms and planned work; none: no such feed"
    )
    sources: list[str] = Field(default=[], description="partitions that must send marks, as `source/number`")
    commit_marker: str = Field(
        default="",
        pattern=r"^(\.[A-Za-z0-9_-]{1,32})?$",
        description="a file counts once another one of its name with this behind it is there; none: once it is there",
    )
    state: Path = Field(description="the edge's own folder: tables, ledger, releases")
    buckets: int = Field(
        default=64, ge=1, le=256, description="in how many parts an hour can be closed; from the next token-day on"
    )
    replay: bool = Field(default=False, description="clock driven by feed marks, releases tagged as a replay")
    most_refused: float = Field(default=0.5, gt=0, le=1, description="share of bad rows in a batch that stops the edge")
    master: str = "local[*]"
    driver_memory: str = "3g"
    centre_url: str | None = Field(default=None, description="where `release push` sends to")
    policy: PolicySettings = PolicySettings()
    policy_file: Path | None = Field(
        default=None, description="a release policy with who, when and why (TOML), instead of [edge.policy]"
    )

    def release_policy(self) -> ReleasePolicy:
        """The policy for the next token-day; raises WeakerPolicy or PolicyUnreadable with the setting and its rule."""
        return self.policy.policy() if self.policy_file is None else read_policy(self.policy_file)

    @property
    def layout(self) -> Layout | None:
        """Where the files keep what, if they are not laid out like the contract."""
        return self.columns or self.multimno

    @property
    def drop_folder(self) -> Path:
        """The source of an edge that reads files."""
        assert self.source is not None
        return self.source

    @model_validator(mode="after")
    def _comes_one_way(self) -> Self:
        if (self.source is None) == (self.kafka is None):
            raise ValueError(
                "rows come from a drop folder (source) or by Kafka (the section kafka): one of them is set"
            )
        if self.kafka is not None and self.replay:
            raise ValueError("a replay reads files: a record on a topic is timed by its broker")
        if self.kafka is not None and self.marks is not None:
            raise ValueError("rows that come by Kafka have their marks on a topic (kafka.marks_topic), not in a folder")
        return self

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if (self.format is FileFormat.MULTIMNO) != (self.multimno is not None):
            raise ValueError("format multimno and the section multimno come together")
        by_files = self.format not in (FileFormat.NDJSON, FileFormat.MULTIMNO)
        if self.columns is not None and not (by_files if self.kafka is None else self.kafka.value == "avro"):
            raise ValueError("columns is for csv, parquet and avro; the keys of NDJSON are the contract's")
        if self.kafka is None and self.columns is not None and "ingest_time" not in self.columns.fields:
            raise ValueError("columns has no column for ingest_time: only a Kafka record brings its own")
        if not self.replay and self.layout is not None and self.layout.is_arrival_made_up:
            raise ValueError("a live edge needs the time of arrival; event_time in its place is for a replay")
        return self

    @model_validator(mode="after")
    def _can_run(self) -> Self:
        if self.policy_file is not None and self.policy != PolicySettings():
            raise ValueError("the policy is in its own file or in [edge.policy], not in both")
        if set(self.own_networks) & set(self.networks_across):
            raise ValueError("a network is the carrier's own or across the border, not both")
        if not self.replay and ((self.marks is None and self.kafka is None) or not self.sources):
            raise ValueError("a live edge needs marks, and sources that send them")
        return self


class NoticeSettings(_Section):
    """What the operator owes the public; what is left out shows on the privacy page as not said."""

    operator: str | None = Field(default=None, min_length=1, max_length=200, description="who runs this")
    complaints: str | None = Field(
        default=None, min_length=1, max_length=500, description="whom to complain to, and how"
    )
    authority: str | None = Field(default=None, min_length=1, max_length=500, description="the supervisory authority")
    opt_out: str | None = Field(default=None, min_length=1, max_length=500, description="how to be left out")
    ends_on: date | None = Field(default=None, description="the last day of this deployment")
    carrier_ledgers: dict[Name, Annotated[str, Field(pattern=r"^https://[^\s\"<>]{1,300}$")]] = Field(
        default={}, description="where each carrier publishes its own ledger"
    )


class CentreSettings(_Section):
    """The authority's centre."""

    store: str = "sqlite:///var/centre.sqlite"
    models: Path = Path("var/models")
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    sign_in: Literal["development", "closed"] = "closed"
    time_zone: str = "Asia/Ho_Chi_Minh"
    holidays: list[str] = Field(default=["VN", "KH"], min_length=1, description="ISO codes, the home country first")
    kafka: CentreKafkaSettings | None = Field(default=None, description="topics by which releases come in")
    accept_lineages: list[Literal["live", "replay", "simulated"]] = ["live"]
    notice: NoticeSettings = NoticeSettings()


class Settings(BaseSettings):
    """All settings of one installation."""

    model_config = SettingsConfigDict(env_prefix="TIDEMARK_", env_nested_delimiter="__", extra="forbid", frozen=True)

    edge: EdgeSettings | None = None
    centre: CentreSettings = CentreSettings()


class _File(TomlConfigSettingsSource):
    """A TOML file whose relative paths start from where it lies."""

    def __init__(self, settings_cls: type[BaseSettings], path: Path) -> None:
        super().__init__(settings_cls, path)
        for section in (self.init_kwargs.get("edge"), self.init_kwargs.get("centre")):
            if not isinstance(section, dict):
                continue
            for name in _PATHS & section.keys():
                value = section[name]
                if isinstance(value, str) and (name != "border" or value.endswith(".geojson")):
                    section[name] = str(path.parent / value)
            kafka = section.get("kafka")
            if isinstance(kafka, dict):
                for name in _LOGIN_FILES & kafka.keys():
                    kafka[name] = str(path.parent / str(kafka[name]))
            multimno = section.get("multimno")
            if isinstance(multimno, dict) and isinstance(multimno.get("cells"), str):
                multimno["cells"] = str(path.parent / multimno["cells"])


_LOGIN_FILES = {"client_file", "java_file", "registry_client_file"}
_PATHS = {
    "border",
    "zone_grid",
    "cell_plan",
    "land_cover",
    "source",
    "marks",
    "alarms",
    "state",
    "models",
    "policy_file",
}


def config_path(config: Path | None) -> Path | None:
    """The settings file in force: the named one, TIDEMARK_CONFIG's, the one where the command runs, or none."""
    named = config or (Path(os.environ["TIDEMARK_CONFIG"]) if os.environ.get("TIDEMARK_CONFIG") else None)
    if named is not None and not named.is_file():
        raise SettingsRefused("the settings file that was named does not exist")
    return named or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)


def read_settings(config: Path | None = None) -> Settings:
    """The settings; raises SettingsRefused with each setting's name and rule, never the value."""
    path = config_path(config)
    unknown = [name for name in os.environ if name.startswith("TIDEMARK_") and not _is_known(name)]
    if unknown:
        raise SettingsRefused(f"{', '.join(sorted(unknown))}: no such setting")

    if path is not None:
        _refuse_secrets(path)

    class Read(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (env_settings, _File(settings_cls, path)) if path else (env_settings,)

    try:
        settings = Read()
        if settings.edge is not None:
            settings.edge.release_policy()
    except ValidationError as refused:
        found = [f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in refused.errors(include_input=False)]
        raise SettingsRefused("; ".join(found)) from None
    except (SettingsError, tomllib.TOMLDecodeError) as refused:
        raise SettingsRefused(str(refused)) from None
    return settings


def _refuse_secrets(path: Path) -> None:
    try:
        stated = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return  # which the reader of settings will say
    for room in ("edge", "centre"):
        section = stated.get(room)
        kafka = section.get("kafka") if isinstance(section, dict) else None
        found = secrets_in_the_open(kafka) if isinstance(kafka, dict) else []
        if found:
            raise SettingsRefused(
                f"{room}.kafka.{found[0]}: a secret is set in a properties file (client_file, java_file, "
                "registry_client_file) or by the environment, not in the settings file"
            )


def _is_known(name: str) -> bool:
    section = name.removeprefix("TIDEMARK_").partition("__")[0].lower()
    return name in _OTHER_VARIABLES or section in Settings.model_fields


_OTHER_VARIABLES = {
    "TIDEMARK_CONFIG",
    "TIDEMARK_HOLD",
    "TIDEMARK_CREDENTIAL",
    "TIDEMARK_CACHE",
    "TIDEMARK_MAVEN_MIRROR",
}


def origins(settings: Settings, config: Path | None = None) -> dict[str, tuple[Any, str]]:
    """Every setting by its dotted name: the value in force and where it comes from."""
    path = config_path(config)
    in_file = _flat(tomllib.loads(path.read_text(encoding="utf-8"))) if path else {}
    in_environment = {
        name.removeprefix("TIDEMARK_").lower().replace("__", ".") for name in os.environ if name.startswith("TIDEMARK_")
    }
    found = {}
    for name, value in _flat(settings.model_dump(mode="json")).items():
        origin = "default"
        if any(name == given or name.startswith(given + ".") for given in in_environment):
            origin = "environment"
        elif name in in_file:
            origin = "file"
        found[name] = (value, origin)
    return found


def _flat(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
