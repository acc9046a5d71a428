"""Settings: read once, from a TOML file and the environment, and handed down. Unknown keys are refused.

Order: environment (`TIDEMARK_EDGE__CARRIER=…`) over the file named by `--config` or TIDEMARK_CONFIG (else
`tidemark.toml` where the command runs) over the default. Paths in a file are relative to that file.
"""

import os
import tomllib
from datetime import datetime
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

from ingest.attachment import PLMN_PATTERN
from ingest.files import FileFormat
from privacy.policy import ReleasePolicy

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
    turn_hour_utc: int | None = Field(
        default=None, ge=0, le=23, description="only for a grid that does not fix its own"
    )
    grid_valid_from: datetime | None = Field(default=None, description="only for a grid that does not fix its own")
    source: Path = Field(description="drop folder of cell-attachment files")
    format: FileFormat = FileFormat.PARQUET
    marks: Path | None = Field(
        default=None, description="folder of feed marks; none: a replay covers what its files hold"
    )
    sources: list[str] = Field(default=[], description="partitions that must send marks, as `source/number`")
    state: Path = Field(description="the edge's own folder: tables, ledger, releases")
    replay: bool = Field(default=False, description="clock driven by feed marks, releases tagged as a replay")
    most_refused: float = Field(default=0.5, gt=0, le=1, description="share of bad rows in a batch that stops the edge")
    master: str = "local[*]"
    driver_memory: str = "3g"
    centre_url: str | None = Field(default=None, description="where `release push` sends to")
    policy: PolicySettings = PolicySettings()

    @model_validator(mode="after")
    def _can_run(self) -> Self:
        if set(self.own_networks) & set(self.networks_across):
            raise ValueError("a network is the carrier's own or across the border, not both")
        if not self.replay and (self.marks is None or not self.sources):
            raise ValueError("a live edge needs marks, and sources that send them")
        return self


class CentreSettings(_Section):
    """The authority's centre."""

    store: str = "sqlite:///var/centre.sqlite"
    models: Path = Path("var/models")
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    sign_in: Literal["development", "closed"] = "closed"
    time_zone: str = "Asia/Ho_Chi_Minh"
    holidays: list[str] = Field(default=["VN", "KH"], min_length=1, description="ISO codes, the home country first")
    accept_lineages: list[Literal["live", "replay", "simulated"]] = ["live"]


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


_PATHS = {"border", "zone_grid", "cell_plan", "source", "marks", "state", "models"}


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
            settings.edge.policy.policy()
    except ValidationError as refused:
        found = [f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in refused.errors(include_input=False)]
        raise SettingsRefused("; ".join(found)) from None
    except (SettingsError, tomllib.TOMLDecodeError) as refused:
        raise SettingsRefused(str(refused)) from None
    return settings


def _is_known(name: str) -> bool:
    section = name.removeprefix("TIDEMARK_").partition("__")[0].lower()
    return name in _OTHER_VARIABLES or section in Settings.model_fields


_OTHER_VARIABLES = {"TIDEMARK_CONFIG", "TIDEMARK_HOLD", "TIDEMARK_CREDENTIAL", "TIDEMARK_CACHE"}


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
