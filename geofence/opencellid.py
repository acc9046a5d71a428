"""OpenCelliD and Mozilla cell lists as a cell plan (columns: mozilla/ichnaea, docs/import_export.rst, at 1bddb13).

Such a list is made of what phones reported: a position is the middle of where a cell was heard and not its mast, a range is
how far from there, and nothing is known of direction or validity. It is a stand-in where a carrier has no plan at hand, never
a better one. OpenCelliD publishes under CC BY-SA 4.0, and a plan made from it is under that licence too.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from geofence.cell_plan import COLUMNS, MAX_RANGE_M, CellPlanError, checked_cell_plan
from ingest.attachment import PLMN_PATTERN, Rat
from ingest.cell_id import spell_cell_ids

LIST_COLUMNS = (
    "radio",
    "mcc",
    "net",
    "area",
    "cell",
    "unit",
    "lon",
    "lat",
    "range",
    "samples",
    "changeable",
    "created",
    "updated",
    "averageSignal",
)
RADIOS = {"GSM": Rat.GERA, "UMTS": Rat.UTRA, "LTE": Rat.EUTRA, "NR": Rat.NR}
_WHOLE = ("mcc", "net", "area", "cell", "updated")
_DECIMAL = ("lon", "lat", "range")


@dataclass(frozen=True, slots=True)
class CellList:
    """A list as a cell plan, and how many entries of the asked networks could not be one, by reason."""

    plan: pl.DataFrame
    left_out: dict[str, int]


def read_opencellid(path: Path, networks: Collection[str], *, range_m: float | None = None) -> CellList:
    """The cells of some networks (MCC-MNC) in a CSV list, with or without a header, packed with gzip or not.

    The list writes network codes as numbers, so 4 could be 04 or 004: how many digits a network's code has is taken from
    `networks`. `range_m` stands in where the list has no range; without it such a cell is left out. One cell under several
    tracking areas is taken where it was seen last. Raises CellPlanError.
    """
    table = _of_networks(_read(path), networks)
    number = {name: pl.col(name).cast(pl.Int64, strict=False) for name in _WHOLE}
    decimal = {name: pl.col(name).cast(pl.Float64, strict=False) for name in _DECIMAL}
    reach = (
        decimal["range"] if range_m is None else pl.when(decimal["range"] > 0).then(decimal["range"]).otherwise(range_m)
    )
    entries = table.select(
        pl.col("radio").replace_strict({name: rat.value for name, rat in RADIOS.items()}, default=None).alias("rat"),
        "plmn",
        # A CI is unique only within its LAC; the other three are whole numbers already.
        pl.when(pl.col("radio") == "GSM")
        .then(pl.when(number["cell"].is_between(0, 0xFFFF)).then(number["area"] * 0x10000 + number["cell"]))
        .when((pl.col("radio") != "UMTS") | (number["cell"] > 0xFFFF))  # without its RNC a UMTS cell has no identity
        .then(number["cell"])
        .alias("number"),
        decimal["lon"].alias("lon"),
        decimal["lat"].alias("lat"),
        reach.alias("range_m"),
        number["updated"].alias("updated"),
    )
    entries = entries.with_columns(cell_id=spell_cell_ids(entries["rat"], entries["number"]))
    lon, lat = pl.col("lon"), pl.col("lat")
    stands = lon.is_between(-180, 180) & lat.is_between(-90, 90) & ((lon != 0) | (lat != 0))
    reasons = {
        "technology": pl.col("rat").is_null(),
        "cell_number": pl.col("cell_id").is_null(),
        "position": ~stands.fill_null(False),
        "range": ~pl.col("range_m").is_between(1, MAX_RANGE_M).fill_null(False),
    }
    judged = entries.with_columns(
        reason=pl.coalesce(pl.when(broken).then(pl.lit(name)) for name, broken in reasons.items())
    )
    good = judged.filter(pl.col("reason").is_null())
    latest = good.sort("updated", nulls_last=False, maintain_order=True).unique(
        ["rat", "plmn", "cell_id"], keep="last", maintain_order=True
    )
    left_out = {
        str(name): int(rows) for name, rows in judged["reason"].drop_nulls().value_counts(sort=True).iter_rows()
    }
    if good.height > latest.height:
        left_out["seen_elsewhere_later"] = good.height - latest.height
    absent = [
        pl.lit(None, pl.String).alias(name) for name in ("azimuth_deg", "beamwidth_deg", "valid_from", "valid_to")
    ]
    return CellList(checked_cell_plan(latest.with_columns(absent).select(COLUMNS)), left_out)


def _read(path: Path) -> pl.LazyFrame:
    try:
        has_header = pl.read_csv(path, n_rows=1, has_header=False, infer_schema=False).row(0)[0] == LIST_COLUMNS[0]
        table = pl.scan_csv(path, has_header=has_header, infer_schema=False)
        names = table.collect_schema().names()
    except pl.exceptions.PolarsError:
        raise CellPlanError(None, "a cell list is a readable CSV in UTF-8 with equal rows") from None
    if (has_header and tuple(names) != LIST_COLUMNS) or len(names) != len(LIST_COLUMNS):
        raise CellPlanError(None, f"the columns of a cell list are {', '.join(LIST_COLUMNS)}")
    return table.rename(dict(zip(names, LIST_COLUMNS, strict=True)))


def _of_networks(table: pl.LazyFrame, networks: Collection[str]) -> pl.DataFrame:
    """The entries of these networks, each with its `plmn`."""
    if not networks or not all(re.fullmatch(PLMN_PATTERN, plmn) for plmn in networks):
        raise CellPlanError(None, "networks are given as MCC-MNC, the MNC with its own two or three digits")
    numbers = {tuple(map(int, plmn.split("-"))): plmn for plmn in networks}
    if len(numbers) != len(set(networks)):
        raise CellPlanError(None, "two networks that a cell list writes alike cannot be told apart")
    asked = pl.DataFrame(
        [(mcc, net, plmn) for (mcc, net), plmn in numbers.items()],
        schema={"mcc_asked": pl.Int64, "net_asked": pl.Int64, "plmn": pl.String},
        orient="row",
    )
    keys = [pl.col(name).cast(pl.Int64, strict=False).alias(f"{name}_asked") for name in ("mcc", "net")]
    try:
        return table.with_columns(keys).join(asked.lazy(), on=["mcc_asked", "net_asked"], how="inner").collect()
    except pl.exceptions.PolarsError:
        raise CellPlanError(None, "a cell list is a readable CSV in UTF-8 with equal rows") from None
