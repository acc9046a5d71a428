"""The door in Spark SQL: every row of every source is judged by the rules of `ingest.attachment`, and each gets one fate.

Where which rule is judged: the layout of a JSON line in Python by `parse_line` (Arrow batches), the layout of a Parquet
file by its schema before it is read; all rules on values here, from the same patterns as `judge`.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from pathlib import Path

import polars as pl
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from ingest.attachment import (
    CELL_ID_PATTERNS,
    EARLIEST,
    FIELD_NAMES,
    FIELDS,
    IDENTITY_PATTERN,
    LATENESS,
    LATEST,
    ROAMING_TYPES,
    SCREENED_FIELDS,
    TEXT_FIELDS,
    TIME_FIELDS,
    Domain,
    EventType,
    Refusal,
)
from ingest.files import FileFormat
from jobs.lines import LAYOUT, parse_lines
from movement.sighting import Fate, Network, Networks, Place, side_of

_TYPES = {name: T.TimestampType() if name in TIME_FIELDS else T.StringType() for name in FIELD_NAMES}
ROW_SCHEMA = T.StructType([T.StructField(name, _TYPES[name]) for name in FIELD_NAMES])
PARSED_SCHEMA = T.StructType([*ROW_SCHEMA.fields, T.StructField(LAYOUT, T.StringType())])


def read_files(spark: SparkSession, paths: list[Path], file_format: FileFormat) -> DataFrame:
    """The rows of checked files: the contract's columns, times as instants, and the layout's refusal if any."""
    names = [_no_pattern(path) for path in paths]
    if file_format is FileFormat.PARQUET:
        return spark.read.schema(ROW_SCHEMA).parquet(*names).withColumn(LAYOUT, F.lit(None).cast("string"))
    return spark.read.text(names).mapInArrow(parse_lines, PARSED_SCHEMA)


def _no_pattern(path: Path) -> str:
    """The path as Spark takes it for this one file, whatever its name holds."""
    return re.sub(r"([\[\]{}*?\\])", r"\\\1", str(path))


@dataclass(frozen=True, slots=True)
class Admission:
    """What a live door knows of the true time: no row may be newer than now, none of a day that is deleted already."""

    not_after: datetime
    not_before: datetime


def refusal(admission: Admission | None) -> Column:
    """The first rule that a row breaks, in the order of `ingest.attachment.judge`, or null.

    A live door judges by the true time as well; a replay's clock is its own rows.
    """
    rules: list[tuple[Column, Refusal]] = []
    for field in FIELDS:
        if not field.nullable and field.pattern is not None:
            rules.append((F.col(field.name).isNull(), Refusal.MISSING_FIELD))
    for name in SCREENED_FIELDS:
        rules.append((F.col(name).rlike(IDENTITY_PATTERN), Refusal.IDENTITY_LIKE))
    for field in TEXT_FIELDS:
        rules.append((~F.col(field.name).rlike(_whole(str(field.pattern))), field.reason))
    roaming = F.col("event_type").isin([kind.value for kind in ROAMING_TYPES])
    cell_id, rat = F.col("cell_id"), F.col("rat")
    grammar = F.lit(False)
    for technology, pattern in CELL_ID_PATTERNS.items():
        grammar = grammar | ((rat == technology.value) & cell_id.rlike(_whole(pattern)))
    event_time, ingest_time = F.col("event_time"), F.col("ingest_time")
    lateness_us = int(LATENESS.total_seconds()) * 1_000_000
    bounded = event_time.between(F.lit(EARLIEST), F.lit(LATEST)) & ingest_time.between(F.lit(EARLIEST), F.lit(LATEST))
    bounded = bounded & (event_time < F.lit(LATEST)) & (ingest_time < F.lit(LATEST))
    delay_us = F.when(bounded, F.unix_micros(ingest_time) - F.unix_micros(event_time))
    rules += [
        (roaming & (rat.isNotNull() | cell_id.isNotNull()), Refusal.CELL_ON_ROAMING_ROW),
        (~roaming & (rat.isNull() | cell_id.isNull()), Refusal.CELL_MISSING),
        (~roaming & ~grammar, Refusal.CELL_ID),
        (event_time.isNull() | ingest_time.isNull() | ~bounded, Refusal.TIME),
        (delay_us < 0, Refusal.FUTURE),
        (delay_us > lateness_us, Refusal.LATE),
    ]
    if admission is not None:
        rules.append((ingest_time > F.lit(admission.not_after), Refusal.FUTURE))
        rules.append((event_time < F.lit(admission.not_before), Refusal.LATE))
    broken = [F.when(condition, F.lit(reason.value)) for condition, reason in rules]
    return F.coalesce(F.col(LAYOUT), *broken)


def admit(rows: DataFrame, admission: Admission | None = None) -> DataFrame:
    """Every row with the rule that it breaks, or null, as `refusal`."""
    return rows.withColumn("refusal", refusal(admission)).drop(LAYOUT)


def locate(rows: DataFrame, cells: DataFrame) -> DataFrame:
    """Every row with its cell's number and zone; both null for a cell that is unknown at the event's time.

    `cells` has plan_rat, plan_plmn, plan_cell_id, cell, zone, valid_from, valid_to; the join is a broadcast left join.
    """
    valid = (
        (F.col("rat") == F.col("plan_rat"))
        & (F.col("plmn") == F.col("plan_plmn"))
        & (F.col("cell_id") == F.col("plan_cell_id"))
        & (F.col("event_time") >= F.coalesce(F.col("valid_from"), F.col("event_time")))
        & (F.col("valid_to").isNull() | (F.col("event_time") < F.col("valid_to")))
    )
    plan = ("plan_rat", "plan_plmn", "plan_cell_id", "valid_from", "valid_to")
    return rows.join(F.broadcast(cells), valid, "left").drop(*plan)


def decide(rows: DataFrame, networks: Networks) -> DataFrame:
    """Every row with its fate and, if it is kept, its side: `movement.sighting.side_of` as a lookup."""
    keys = list(product(EventType, Domain, Network, Network, Place))
    decisions = [side_of(*key) for key in keys]
    fates = F.lit([decision.fate.value for decision in decisions])
    sides = F.lit([-1 if decision.side is None else int(decision.side) for decision in decisions])
    place = (
        F.when(F.col("cell_id").isNull(), _rank(Place, Place.NONE))
        .when(F.col("zone").isNull(), _rank(Place, Place.UNKNOWN))
        .when(F.col("zone") >= 0, _rank(Place, Place.BELT))
        .otherwise(_rank(Place, Place.INLAND))
    )
    code = _position(F.col("event_type"), EventType)
    for size, part in (
        (len(Domain), _position(F.col("domain"), Domain)),
        (len(Network), _network(F.col("plmn"), networks)),
        (len(Network), _network(F.col("previous_plmn"), networks)),
        (len(Place), place),
    ):
        code = code * size + part
    fate = F.when(F.col("refusal").isNull(), F.get(fates, code))
    return rows.withColumn("fate", fate).withColumn("side", F.get(sides, code).cast("byte"))


def sightings(rows: DataFrame, turn_hour_utc: int) -> DataFrame:
    """The kept rows: token (16 bytes), event_time (ms), cell, side, and the folders they belong to."""
    kept = rows.where(F.col("fate").isin(Fate.SIGHTING.value, Fate.ROAMING_KEPT.value))
    event_time = F.col("event_time")
    turned = event_time - F.expr(f"INTERVAL {turn_hour_utc} HOURS")
    token_day = F.date_trunc("day", turned) + F.expr(f"INTERVAL {turn_hour_utc} HOURS")
    return kept.select(
        unbase32(F.col("token")).alias("token"),
        F.unix_millis(event_time).alias("event_time"),
        F.coalesce(F.col("cell"), F.lit(-1)).cast("int").alias("cell"),
        "side",
        F.date_format(token_day, "yyyy-MM-dd'T'HH'Z'").alias("token_day"),
        F.date_format(event_time, "yyyy-MM-dd'T'HH'Z'").alias("hour"),
    )


def unbase32(token: Column) -> Column:
    """The 16 bytes that 26 base32 letters spell."""
    digits = F.translate(token, "abcdefghijklmnopqrstuvwxyz234567", "0123456789abcdefghijklmnopqrstuv")

    def to_hex(start: int, length: int, width: int) -> Column:
        return F.lpad(F.conv(F.substring(digits, start, length), 32, 16), width, "0")

    # 12 letters are 60 bits; the last two hold eight bits and two of padding.
    last = F.lpad(F.hex(F.shiftright(F.conv(F.substring(digits, 25, 2), 32, 10).cast("int"), 2)), 2, "0")
    return F.unhex(F.concat(to_hex(1, 12, 15), to_hex(13, 12, 15), last))


def tallies() -> list[Column]:
    """How many rows came and what became of them, as aggregates; every row is in exactly one of them but the first."""
    columns = [F.count(F.lit(1)).alias("received")]
    columns += [F.count_if(F.col("refusal") == reason.value).alias(f"refused:{reason.value}") for reason in Refusal]
    columns += [F.count_if(F.col("fate") == fate.value).alias(fate.value) for fate in Fate]
    return columns


def plan_table(spark: SparkSession, cells: pl.DataFrame) -> DataFrame:
    """The located cell plan as Spark joins it."""
    table = cells.select(
        pl.col("rat").alias("plan_rat"),
        pl.col("plmn").alias("plan_plmn"),
        pl.col("cell_id").alias("plan_cell_id"),
        "cell",
        "zone",
        "valid_from",
        "valid_to",
    )
    return spark.createDataFrame(table.to_arrow())


def _whole(pattern: str) -> str:
    return rf"\A(?:{pattern})\z"


def _rank(words: type[Place], word: Place) -> Column:
    return F.lit(list(words).index(word))


def _position(column: Column, words: type[EventType] | type[Domain]) -> Column:
    return F.array_position(F.lit([word.value for word in words]), column) - 1


def _network(column: Column, networks: Networks) -> Column:
    kinds = list(Network)
    own_countries = sorted({plmn[:3] for plmn in networks.own})
    return (
        F.when(column.isNull(), F.lit(kinds.index(Network.NONE)))
        .when(column.isin(sorted(networks.own)), F.lit(kinds.index(Network.OWN)))
        .when(column.isin(sorted(networks.across)), F.lit(kinds.index(Network.ACROSS)))
        .when(F.substring(column, 1, 3).isin(own_countries), F.lit(kinds.index(Network.COMPATRIOT)))
        .otherwise(F.lit(kinds.index(Network.ELSEWHERE)))
    )
