"""The tables of the centre: releases, counts, expectations, alerts and who changed them.

No column names, keys or counts a device; there is no column to put one in (design.md, section 1). A test walks these
tables for it.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECOND_US = 1_000_000

ARMING_LIMIT = timedelta(days=180)


@lru_cache(maxsize=8192)
def _instant(microseconds: int) -> datetime:
    # A million counts share a few thousand windows.
    return _EPOCH + timedelta(seconds=microseconds // _SECOND_US, microseconds=microseconds % _SECOND_US)


class UtcDateTime(TypeDecorator[datetime]):
    """A UTC instant: aware in, aware UTC out, on both databases.

    PostgreSQL keeps `timestamptz`. SQLite has no time type and hands naive text back, so there it is a whole number of
    microseconds since 1970, which sorts, compares and loads faster: `datetime(x / 1000000, 'unixepoch')` reads it.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """An integer on SQLite, `timestamptz` elsewhere."""
        return dialect.type_descriptor(BigInteger() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """The stored spelling of an instant; a naive one is refused."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a stored time is aware")
        return (value - _EPOCH) // _MICROSECOND if dialect.name == "sqlite" else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """The instant as aware UTC."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return _instant(value)
        instant: datetime = value
        return instant.astimezone(UTC)


_ID = String(64)
_DIGEST = String(71)
_VERSION = String(96)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

carrier = Table(
    "carrier",
    metadata,
    Column("carrier_id", _ID, primary_key=True),
    Column("name", String(120), nullable=False),
    Column("share", Double, comment="market share, 0..1; null when not known"),
    Column("active", Boolean, nullable=False, comment="an active carrier is expected in every window"),
)

zone_grid = Table(
    "zone_grid",
    metadata,
    Column("grid_id", _DIGEST, primary_key=True),
    Column("valid_from", UtcDateTime, nullable=False),
    Column("turn_hour_utc", Integer, nullable=False, comment="the UTC hour at which a token-day turns"),
    Column("document", Text, nullable=False, comment="the GeoJSON FeatureCollection"),
    Column("active", Boolean, nullable=False),
    CheckConstraint("turn_hour_utc BETWEEN 0 AND 23", name="turn_hour"),
)

zone = Table(
    "zone",
    metadata,
    Column("grid_id", _DIGEST, ForeignKey("zone_grid.grid_id"), primary_key=True),
    Column("zone_id", _ID, primary_key=True),
    Column("sector_id", _ID, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("name", String(200), nullable=False),
)

release = Table(
    "release",
    metadata,
    Column("carrier", _ID, ForeignKey("carrier.carrier_id"), primary_key=True),
    Column("level", String(16), primary_key=True),
    Column("window_start", UtcDateTime, primary_key=True),
    Column("window_end", UtcDateTime, nullable=False),
    Column("token_day_start", UtcDateTime, nullable=False, comment="the token-day that the budget is charged to"),
    Column("grid_id", _DIGEST, ForeignKey("zone_grid.grid_id"), nullable=False),
    Column("digest", _DIGEST, nullable=False),
    Column("lineage", _ID, nullable=False),
    Column("sigma", Double, nullable=False, comment="of what is published; of a day level the largest of its cells'"),
    Column(
        "noise_sigma", Double, nullable=False, comment="of the noise that was drawn: what the cost is reckoned from"
    ),
    Column("threshold", Integer, nullable=False),
    Column("rho_day", Double, nullable=False),
    Column("rho_level", Double, nullable=False),
    Column("delta", Double, nullable=False),
    Column("k", Integer, nullable=False),
    Column("policy_id", _ID, nullable=False),
    Column("feed_complete", Boolean, nullable=False),
    Column("simulated", Boolean, nullable=False, comment="a replay or a simulation, never a live feed"),
    Column("cells", Integer, nullable=False, comment="zone x direction cells in the release"),
    Column("suppressed", Integer, nullable=False, comment="cells published as null"),
    Column("received_at", UtcDateTime, nullable=False),
    Index(None, "window_start", "carrier", "level"),
    Index(None, "token_day_start", "carrier"),
    Index(None, "digest"),
)

# The key begins with the window: counts arrive, are read, listed and purged by time, and each is then one range.
zone_count = Table(
    "zone_count",
    metadata,
    Column("window_start", UtcDateTime, primary_key=True),
    Column("carrier", _ID, primary_key=True),
    Column("level", String(16), primary_key=True),
    Column("zone_id", _ID, primary_key=True),
    Column("direction", String(9), primary_key=True),
    Column("value", Integer, comment="null means below the threshold, not zero"),
    ForeignKeyConstraint(
        ["carrier", "level", "window_start"],
        ["release.carrier", "release.level", "release.window_start"],
        ondelete="CASCADE",
    ),
    sqlite_with_rowid=False,
)

day_count = Table(
    "day_count",
    metadata,
    Column("window_start", UtcDateTime, primary_key=True),
    Column("carrier", _ID, primary_key=True),
    Column("level", String(16), primary_key=True),
    Column("sector_id", _ID, primary_key=True, comment="empty for the whole border"),
    Column("kind", String(16), primary_key=True),
    Column("direction", String(9), primary_key=True),
    Column("value", Integer, comment="null means below the threshold, not zero"),
    Column("sigma", Double, nullable=False, comment="standard deviation of this published value"),
    ForeignKeyConstraint(
        ["carrier", "level", "window_start"],
        ["release.carrier", "release.level", "release.window_start"],
        ondelete="CASCADE",
    ),
    sqlite_with_rowid=False,
)

market_factor = Table(
    "market_factor",
    metadata,
    Column("carrier", _ID, ForeignKey("carrier.carrier_id"), primary_key=True),
    Column("valid_from", UtcDateTime, primary_key=True),
    Column("factor", Double, nullable=False, comment="movements of everybody that one counted movement stands for"),
    Column("factor_sd", Double, nullable=False),
    Column("proposed_by", String(120), nullable=False),
    Column("approved_by", String(120), nullable=False, comment="a second name; empty where no one approved it yet"),
    Column("reason", Text, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
    CheckConstraint("factor >= 1 AND factor_sd > 0", name="factor"),
)

expectation = Table(
    "expectation",
    metadata,
    Column("zone_id", _ID, primary_key=True),
    Column("direction", String(9), primary_key=True),
    Column("window_start", UtcDateTime, primary_key=True),
    Column("expected", Double),
    Column("lower", Double),
    Column("upper", Double),
    Column("sd", Double),
    Column("observed", Integer),
    Column("excess", Double),
    Column("tail_p", Double),
    Column("state", String(16), nullable=False),
    Column("abstained", String(16), comment="why a complete zone-hour is not judged"),
    Column("model_version", _VERSION, nullable=False),
    Column("policy_version", _VERSION, nullable=False),
    Index(None, "window_start", "zone_id", "direction"),
    sqlite_with_rowid=False,
)

alert = Table(
    "alert",
    metadata,
    Column("alert_id", _ID, primary_key=True),
    Column("seq", BigInteger, nullable=False, comment="the sequence number of its newest revision"),
    Column("revision", Integer, nullable=False),
    Column("document", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("sector_id", _ID, nullable=False),
    Column("direction", String(9), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("window_start", UtcDateTime, nullable=False),
    Column("window_end", UtcDateTime, nullable=False),
    Index(None, "status"),
)

alert_revision = Table(
    "alert_revision",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("alert_id", _ID, ForeignKey("alert.alert_id", ondelete="CASCADE"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("document", Text, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
    Column("status", String(16), nullable=False),
    Column("sector_id", _ID, nullable=False),
    Column("direction", String(9), nullable=False),
    Column("severity", String(16), nullable=False),
    UniqueConstraint("alert_id", "revision"),
    Index(None, "alert_id", "seq"),
)

alert_zone = Table(
    "alert_zone",
    metadata,
    Column("seq", BigInteger, ForeignKey("alert_revision.seq", ondelete="CASCADE"), primary_key=True),
    Column("zone_id", _ID, primary_key=True),
    sqlite_with_rowid=False,
)

alert_event = Table(
    "alert_event",
    metadata,
    Column("alert_id", _ID, ForeignKey("alert.alert_id", ondelete="CASCADE"), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("who", String(120), nullable=False, comment="the role that acted, or `detector`"),
    Column("act", String(24), nullable=False),
    Column("disposition", String(24)),
)

incident = Table(
    "incident",
    metadata,
    Column("incident_id", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("carrier", _ID, nullable=False),
    Column("level", String(16), nullable=False),
    Column("window_start", UtcDateTime, nullable=False),
    Column("kept_digest", _DIGEST, nullable=False),
    Column("refused_digest", _DIGEST, nullable=False),
)

model_bundle = Table(
    "model_bundle",
    metadata,
    Column("version", _VERSION, primary_key=True),
    Column("record", Text, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
    Column("active", Boolean, nullable=False),
)

policy = Table(
    "policy",
    metadata,
    Column("policy_version", _VERSION, primary_key=True),
    Column("document", Text, nullable=False),
    Column("valid_from", UtcDateTime, nullable=False),
    Column("proposed_by", String(120), nullable=False),
    Column("approved_by", String(120), comment="a second name; null where no one approved it yet"),
    Column("reason", Text, nullable=False),
    Column("previous", _VERSION, ForeignKey("policy.policy_version")),
    Column("recorded_at", UtcDateTime, nullable=False),
    UniqueConstraint("valid_from"),
)

arming = Table(
    "arming",
    metadata,
    Column("sector_id", _ID, primary_key=True),
    Column("armed_from", UtcDateTime, primary_key=True),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("legal_basis", Text, nullable=False),
    Column("impact_assessment", Text, nullable=False),
    CheckConstraint("expires_at > armed_from", name="ends_after_start"),
)

registered_event = Table(
    "registered_event",
    metadata,
    Column("event_id", _ID, primary_key=True),
    Column("sector_id", _ID, nullable=False),
    Column("starts_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    Column("registered_by", String(120), nullable=False, comment="the planner or desk that knows of the crowd"),
    Column("document", Text, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
    Index(None, "ends_at"),
    CheckConstraint("ends_at > starts_at", name="ends_after_start"),
)

counter = Table(
    "counter",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)
