"""The cell plan: where a carrier's cells stand and how far they reach (design.md, section 4.2).

Reading is strict and refuses the whole plan at the first broken rule, naming the row and the rule but no value: a
plan that is half right would put movements into the wrong zone without a word.
"""

from pathlib import Path

import polars as pl

from ingest.attachment import CELL_ID_PATTERNS, PLMN_PATTERN, TIME_PATTERN

COLUMNS = (
    "rat",
    "plmn",
    "cell_id",
    "lon",
    "lat",
    "azimuth_deg",
    "beamwidth_deg",
    "range_m",
    "valid_from",
    "valid_to",
)
KEY = ("rat", "plmn", "cell_id")
MAX_BYTES = 512 * 2**20
# Timing advance ends at 35 km in GSM, 100 km in LTE and 120 km with extended cells (3GPP TS 45.010, 36.213).
MAX_RANGE_M = 120_000.0

_TEXT = ("rat", "plmn", "cell_id")
_NUMBERS = ("lon", "lat", "azimuth_deg", "beamwidth_deg", "range_m")
_TIMES = ("valid_from", "valid_to")
_INSTANT = pl.Datetime("us", "UTC")


class CellPlanError(ValueError):
    """A cell plan refused: the row (the first below the header is 1) and the rule; never the value."""

    def __init__(self, row: int | None, rule: str) -> None:
        super().__init__(f"row {row}: {rule}" if row is not None else rule)
        self.row = row
        self.rule = rule


def read_cell_plan(path: str | Path) -> pl.DataFrame:
    """The cell plan in a CSV or Parquet file, in the file's order.

    Columns: rat, plmn, cell_id (text); lon, lat, azimuth_deg (null = omni), beamwidth_deg, range_m (Float64);
    valid_from, valid_to (UTC instants, null = open; a cell is valid from the first up to, not including, the second).
    """
    path = Path(path)
    if path.stat().st_size > MAX_BYTES:
        raise CellPlanError(None, f"a cell plan holds at most {MAX_BYTES // 2**20} MiB")
    try:
        if path.suffix == ".parquet":
            raw = pl.read_parquet(path)
        elif path.suffix == ".csv":
            raw = pl.read_csv(path, infer_schema=False)
        else:
            raise CellPlanError(None, "a cell plan is a .csv or a .parquet file")
    except pl.exceptions.PolarsError:
        raise CellPlanError(None, "a cell plan is a readable table in UTF-8 with equal rows") from None
    return checked_cell_plan(raw)


def checked_cell_plan(raw: pl.DataFrame) -> pl.DataFrame:
    """The plan with its proper types, if every row keeps every rule; otherwise CellPlanError."""
    if sorted(raw.columns) != sorted(COLUMNS):
        raise CellPlanError(None, f"the columns of a cell plan are {', '.join(COLUMNS)}")
    if raw.is_empty():
        raise CellPlanError(None, "a cell plan has at least one cell")
    for name in _TEXT:
        if raw.schema[name] != pl.String:
            raise CellPlanError(None, f"{name} is text")
    typed = raw.select(
        *(pl.col(name) for name in _TEXT),
        *(_number(raw, name) for name in _NUMBERS),
        *(_instant(raw, name) for name in _TIMES),
    )
    for name in (*_NUMBERS, *_TIMES):
        kind = "a number" if name in _NUMBERS else "an RFC 3339 time with an offset"
        _refuse(raw[name].is_not_null() & typed[name].is_null(), f"{name} is {kind}")
    broken = typed.select((~rule.fill_null(False)).alias(text) for text, rule in _rules())
    for text in broken.columns:
        _refuse(broken[text], text)
    _refuse_two_places(typed)
    return typed


def write_cell_plan(plan: pl.DataFrame, path: Path) -> None:
    """Write a checked cell plan as CSV, as `read_cell_plan` reads it."""
    plan.select(COLUMNS).write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%SZ")


def _number(raw: pl.DataFrame, name: str) -> pl.Expr:
    if raw.schema[name] != pl.String and not raw.schema[name].is_numeric() and raw.schema[name] != pl.Null:
        raise CellPlanError(None, f"{name} is a number")
    return pl.col(name).cast(pl.Float64, strict=False)


def _instant(raw: pl.DataFrame, name: str) -> pl.Expr:
    kind = raw.schema[name]
    if kind == pl.String:
        text = pl.col(name)
        timely = pl.when(text.str.contains(f"^(?:{TIME_PATTERN})$")).then(text)
        return timely.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False).cast(_INSTANT)
    if kind == pl.Null or (isinstance(kind, pl.Datetime) and kind.time_zone is not None):
        return pl.col(name).cast(pl.Datetime("us", getattr(kind, "time_zone", "UTC"))).dt.convert_time_zone("UTC")
    raise CellPlanError(None, f"{name} is an RFC 3339 time with an offset")


def _rules() -> list[tuple[str, pl.Expr]]:
    rat, lon, lat = pl.col("rat"), pl.col("lon"), pl.col("lat")
    azimuth, beam, reach = pl.col("azimuth_deg"), pl.col("beamwidth_deg"), pl.col("range_m")
    cell = pl.any_horizontal(
        (rat == name.value) & pl.col("cell_id").str.contains(f"^(?:{pattern})$")
        for name, pattern in CELL_ID_PATTERNS.items()
    )
    return [
        ("rat is one of " + ", ".join(name.value for name in CELL_ID_PATTERNS), rat.is_in([*CELL_ID_PATTERNS])),
        ("plmn is MCC-MNC, the MNC with its own two or three digits", pl.col("plmn").str.contains(f"^{PLMN_PATTERN}$")),
        ("cell_id is lower-case zero-padded hex: GERA 8, UTRA 7, EUTRA 7, NR 9 digits", cell),
        ("lon lies within 180", lon.is_finite() & (lon.abs() <= 180)),
        ("lat lies within 90", lat.is_finite() & (lat.abs() <= 90)),
        ("a cell does not stand at 0, 0", (lon != 0) | (lat != 0)),
        ("azimuth_deg lies within 0 and 360", azimuth.is_null() | (azimuth.is_finite() & azimuth.is_between(0, 360))),
        ("beamwidth_deg is above 0 and at most 360", beam.is_null() | (beam.is_finite() & (beam > 0) & (beam <= 360))),
        ("a cell with an azimuth has a beamwidth", azimuth.is_null() | beam.is_not_null()),
        ("range_m is at least 1 and at most 120,000", reach.is_finite() & (reach >= 1) & (reach <= MAX_RANGE_M)),
        (
            "valid_from comes before valid_to",
            pl.col("valid_from").is_null() | pl.col("valid_to").is_null() | (pl.col("valid_from") < pl.col("valid_to")),
        ),
    ]


def _refuse(broken: pl.Series, rule: str) -> None:
    if broken.any():
        raise CellPlanError(int(broken.arg_max() or 0) + 1, rule)


def _refuse_two_places(typed: pl.DataFrame) -> None:
    """A key that collides with itself in time is refused: a CI is unique only within its LAC, and ids are re-used."""
    ordered = typed.with_row_index("row").sort(*KEY, "valid_from", "row", nulls_last=False)
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in KEY)
    until = pl.col("valid_to").shift(1)
    clash = same & (until.is_null() | pl.col("valid_from").is_null() | (until > pl.col("valid_from")))
    rows = ordered.filter(clash)["row"]
    if len(rows):
        raise CellPlanError(int(rows.to_list()[0]) + 1, "a cell is listed once at any one time")
