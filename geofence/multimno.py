"""Network files in the schema of Eurostat's multimno (1.0.0, commit 0bae998) as a cell plan.

Taken over are position, direction, beam, range (metres there too), validity and, where the file has it, the antenna's height;
the rest of the schema is about radio. It
names no network, so the carrier's own is declared; its `cell_id` has no set form, so the same table of cells as for events
says what each one is (`ingest.multimno`).
"""

from pathlib import Path

import polars as pl

from geofence.cell_plan import CellPlanError, checked_cell_plan
from ingest.attachment import Rat
from ingest.multimno import read_multimno_ids
from ingest.times import wall_clock_instants

TECHNOLOGIES = {"GSM": Rat.GERA, "UMTS": Rat.UTRA, "LTE": Rat.EUTRA, "5G": Rat.NR}
_HEIGHT = "antenna_height"
_READ = (
    "cell_id",
    "latitude",
    "longitude",
    "directionality",
    "azimuth_angle",
    "horizontal_beam_width",
    "range",
    "technology",
    "valid_date_start",
    "valid_date_end",
)


def read_multimno_cells(path: Path, *, plmn: str, cells: Path, time_zone: str) -> pl.DataFrame:
    """The cell plan in a multimno network file: one day's Parquet file, bronze or silver. Raises CellPlanError.

    Its validity dates are wall-clock times of `time_zone`. A cell that the table of cells does not know refuses the plan, as
    does one whose technology there is another.
    """
    ids = read_multimno_ids(cells).rename({"cell_id": "spelled"})
    try:
        optional = [_HEIGHT] if _HEIGHT in pl.read_parquet_schema(path) else []
        found = pl.read_parquet(path, columns=[*_READ, *optional])
    except pl.exceptions.PolarsError:
        raise CellPlanError(None, f"a multimno network file is Parquet with {', '.join(_READ)}") from None
    table = found.join(ids, left_on="cell_id", right_on="multimno_cell_id", how="left", maintain_order="left")
    technology = pl.col("technology").replace_strict(
        {name: rat.value for name, rat in TECHNOLOGIES.items()}, default=None
    )
    for rule, kept in {
        "technology is one of " + ", ".join(TECHNOLOGIES): technology.is_not_null(),
        "every cell is in the table of cells": pl.col("spelled").is_not_null(),
        "the table of cells gives a cell its own technology": technology == pl.col("rat"),
        "directionality is 0 or 1": pl.col("directionality").is_in([0, 1]),
        "a cell with a direction has an azimuth": (pl.col("directionality") == 0)
        | pl.col("azimuth_angle").is_not_null(),
    }.items():
        broken = table.select(~kept.fill_null(False)).to_series()
        if broken.any():
            raise CellPlanError(int(broken.arg_max() or 0) + 1, rule)
    directed = pl.col("directionality") == 1
    valid = {name: wall_clock_instants(table[f"valid_date_{end}"], time_zone) for name, end in _VALIDITY.items()}
    for name, end in _VALIDITY.items():
        if (table[f"valid_date_{end}"].is_not_null() & valid[name].is_null()).any():
            raise CellPlanError(None, f"valid_date_{end} is a time of the zone that is declared")
    plan = table.select(
        "rat",
        pl.lit(plmn).alias("plmn"),
        pl.col("spelled").alias("cell_id"),
        pl.col("longitude").alias("lon"),
        pl.col("latitude").alias("lat"),
        pl.when(directed).then(pl.col("azimuth_angle")).alias("azimuth_deg"),
        pl.when(directed).then(pl.col("horizontal_beam_width")).alias("beamwidth_deg"),
        pl.col("range").alias("range_m"),
        *(valid[name].alias(name) for name in _VALIDITY),
        # A height of 0 is none: it is what a table of numbers has where nothing was filled in.
        *(pl.when(pl.col(name) != 0).then(pl.col(name)).alias("height_m") for name in optional),
    )
    return checked_cell_plan(plan)


_VALIDITY = {"valid_from": "start", "valid_to": "end"}
