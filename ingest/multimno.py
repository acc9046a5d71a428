"""Event files in the schema of Eurostat's multimno, as the contract's rows.

Read from eurostat/multimno 1.0.0 (commit 0bae998, June 2025): the bronze and silver event data objects. A row there has
`user_id` (bytes), `timestamp` (bronze: text without an offset), `mcc` and `mnc` of the *subscriber's* network, `plmn` of the
network visited abroad, `cell_id` (free text), `latitude`, `longitude`, `loc_error`.

What the contract needs and multimno does not carry is declared by the carrier or stays null; nothing is guessed:

* `token`: multimno's user_id is a lasting hash. It is taken only where the carrier has put the day's token in its place.
* `ingest_time`: a column that the carrier adds. Without one it cannot be known which rows are late.
* `event_type`: one word for all rows at home. `plmn` of those: the carrier's own network.
* `rat` and `cell_id`: by a table of the carrier's, because a cell_id there names no technology and has no set form.
* `previous_plmn`: never known, so arrivals after a night abroad are missed.
* `domain`: by multimno's own rule on the subscriber's country, which goes no further.

Positions are never read: their columns stay closed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ingest.attachment import CELL_ID_PATTERNS, PLMN_PATTERN, ROAMING_TYPES, Domain, EventType, Refusal
from ingest.columns import SchemaRefused
from ingest.rows import LAYOUT, ROW_TABLE
from ingest.texts import texts_of
from ingest.times import instants, wall_clock_instants

READ = ("user_id", "timestamp", "mcc", "plmn", "cell_id")
UNREAD = frozenset(
    {"mnc", "latitude", "longitude", "loc_error", "domain", "year", "month", "day", "user_id_modulo", "is_modified"}
)
"""Columns of multimno that are left closed; `is_modified` stands in its sample files only."""
CELL_COLUMNS = ("multimno_cell_id", "rat", "cell_id")
_ROWS_AT_ONCE = 250_000


class MultimnoRefused(ValueError):
    """A table of cells that breaks its rules; names the row and the rule, never the value."""


def _is_at_home(kind: EventType) -> EventType:
    if kind in ROAMING_TYPES:
        raise ValueError("a row with a cell is no roaming row")
    return kind


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError("a time zone by its name, such as UTC or Asia/Ho_Chi_Minh") from None
    return name


class Multimno(BaseModel):
    """What the carrier declares about its multimno files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    serving_plmn: str = Field(pattern=rf"^(?:{PLMN_PATTERN})$", description="the network of all rows at home")
    event_type: Annotated[EventType, AfterValidator(_is_at_home)] = Field(description="what all rows at home are")
    cells: Path = Field(description="CSV with multimno_cell_id, rat, cell_id")
    time_zone: Annotated[str, AfterValidator(_known_zone)] = Field(description="zone of the wall clock in `timestamp`")
    ingest_time: str = Field(min_length=1, description="column with the time of arrival that the carrier adds")

    @property
    def is_arrival_made_up(self) -> bool:
        """Whether a row is said to have arrived when it happened, so that none is ever late."""
        return self.ingest_time == "timestamp"


def read_multimno_ids(path: Path) -> pl.DataFrame:
    """The carrier's table of cells: multimno_cell_id, rat, cell_id. Raises MultimnoRefused."""
    try:
        table = pl.read_csv(path, infer_schema=False)
    except pl.exceptions.PolarsError:
        raise MultimnoRefused("a table of cells is a readable CSV in UTF-8 with equal rows") from None
    if sorted(table.columns) != sorted(CELL_COLUMNS):
        raise MultimnoRefused(f"the columns of a table of cells are {', '.join(CELL_COLUMNS)}")
    spelled = pl.any_horizontal(
        (pl.col("rat") == rat.value) & pl.col("cell_id").str.contains(f"^(?:{pattern})$")
        for rat, pattern in CELL_ID_PATTERNS.items()
    )
    rules = {
        "cell_id is spelled as the contract spells it for its rat": spelled,
        "multimno_cell_id is there": pl.col("multimno_cell_id").is_not_null(),
        "a multimno_cell_id is listed once": pl.col("multimno_cell_id").is_unique(),
    }
    for rule, kept in rules.items():
        broken = table.select(~kept.fill_null(False)).to_series()
        if broken.any():
            raise MultimnoRefused(f"row {int(broken.arg_max() or 0) + 1}: {rule}")
    return table.select(CELL_COLUMNS)


def is_multimno(schema: pa.Schema, layout: Multimno) -> bool:
    """Whether a Parquet file has multimno's columns, of their types, and the carrier's own for the time of arrival."""
    names = schema.names
    if len(set(names)) != len(names) or not set(names) <= {*READ, *UNREAD, layout.ingest_time}:
        return False
    if not {*READ, layout.ingest_time} <= set(names):
        return False
    kinds = {name: schema.field(name).type for name in names}
    arrival = kinds[layout.ingest_time]
    return (
        (
            _is_text(kinds["user_id"])
            or pa.types.is_binary(kinds["user_id"])
            or pa.types.is_large_binary(kinds["user_id"])
        )
        and (_is_text(kinds["timestamp"]) or pa.types.is_timestamp(kinds["timestamp"]))
        and pa.types.is_integer(kinds["mcc"])
        and pa.types.is_integer(kinds["plmn"])
        and _is_text(kinds["cell_id"])
        and (
            layout.ingest_time == "timestamp"
            or _is_text(arrival)
            or (pa.types.is_timestamp(arrival) and arrival.tz == "UTC" and arrival.unit in ("ms", "us"))
        )
    )


def multimno_rows(path: Path, layout: Multimno, part: range | None = None) -> Iterator[pl.DataFrame]:
    """The rows (ROW_TABLE) of a multimno event file, or of some of its row groups; raises SchemaRefused."""
    ids = read_multimno_ids(layout.cells)
    with pq.ParquetFile(path) as source:
        if not is_multimno(source.schema_arrow, layout):
            raise SchemaRefused
        groups = list(range(source.num_row_groups) if part is None else part)
        columns = list(dict.fromkeys([*READ, layout.ingest_time]))
        for batch in source.iter_batches(_ROWS_AT_ONCE, row_groups=groups, columns=columns, use_threads=False):
            yield _rows(batch, layout, ids)


def _rows(batch: pa.RecordBatch, layout: Multimno, ids: pl.DataFrame) -> pl.DataFrame:
    user_id, cell_id = batch.column("user_id"), batch.column("cell_id")
    event_time = _wall_clock(batch.column("timestamp"), layout.time_zone)
    arrival = batch.column(layout.ingest_time)
    ingest_time = event_time if layout.ingest_time == "timestamp" else _instants(arrival)
    table = pl.DataFrame(
        {
            "token": texts_of(user_id),
            "has_user": pl.Series(user_id.is_valid()),
            "event_time": event_time,
            "ingest_time": ingest_time,
            "mcc": pl.Series(batch.column("mcc")),
            "plmn": pl.Series(batch.column("plmn")),
            "multimno_cell_id": texts_of(cell_id),
            "has_cell": pl.Series(cell_id.is_valid()),
        }
    ).join(ids, on="multimno_cell_id", how="left", maintain_order="left")
    home = int(layout.serving_plmn[:3])
    digits = pl.col("plmn").cast(pl.String)
    visited = pl.concat_str(digits.str.slice(0, 3), pl.lit("-"), digits.str.slice(3))
    away = (digits.str.slice(0, 3) != str(home)).fill_null(False)
    is_domestic = away | (pl.col("mcc") == home)
    domain = pl.when(is_domestic).then(pl.lit(Domain.DOMESTIC.value)).otherwise(pl.lit(Domain.INBOUND.value))
    refusal = (
        pl.when(pl.col("has_user") & pl.col("token").is_null())
        .then(pl.lit(Refusal.TOKEN.value))
        .when(away & pl.col("has_cell"))
        .then(pl.lit(Refusal.CELL_ON_ROAMING_ROW.value))
        .when(pl.col("has_cell") & pl.col("cell_id").is_null())
        .then(pl.lit(Refusal.CELL_ID.value))
    )
    return table.select(
        "token",
        "event_time",
        "ingest_time",
        pl.when(away)
        .then(pl.lit(EventType.ROAMING_REGISTRATION.value))
        .otherwise(pl.lit(layout.event_type.value))
        .alias("event_type"),
        "rat",
        pl.when(pl.col("plmn").is_null()).then(pl.lit(layout.serving_plmn)).otherwise(visited).alias("plmn"),
        "cell_id",
        pl.lit(None, pl.String).alias("previous_plmn"),
        pl.when(away | pl.col("mcc").is_not_null()).then(domain).alias("domain"),
        refusal.alias(LAYOUT),
    ).cast(ROW_TABLE)


def _wall_clock(array: pa.Array, time_zone: str) -> pl.Series:
    # Spark's own timestamps are UTC by label, but multimno puts the wall clock in them unless told to convert it.
    return wall_clock_instants(texts_of(array) if _is_text(array.type) else pl.Series(array), time_zone)


def _instants(array: pa.Array) -> pl.Series:
    return instants(texts_of(array)) if _is_text(array.type) else pl.Series(array).cast(ROW_TABLE["ingest_time"])


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
