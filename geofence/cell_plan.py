"""The cell plan: where a carrier's cells stand and how far they reach (design.md, section 4.2).

Reading is strict and refuses the whole plan at the first broken rule, naming the row and the rule but no value: a
plan that is half right would put movements into the wrong zone without a word.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.attachment import CELL_ID_PATTERNS, EARLIEST, LATEST, PLMN_PATTERN, TIME_PATTERN

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
OPTIONAL_COLUMNS = ("height_m",)
"""May be there or not (docs/decisions/0010-heights-in-a-cell-plan.md); of the antenna above the ground, null = not known."""
KEY = ("rat", "plmn", "cell_id")
MAX_BYTES = 256 * 2**20
MAX_CELLS = 1_000_000
MAX_LINE_BYTES = 1_024
# Timing advance ends at 35 km in GSM, 100 km in LTE and 120 km with extended cells (3GPP TS 45.010, 36.213).
MAX_RANGE_M = 120_000.0
MAX_HEIGHT_M = 1_000.0
MOST_ROWS_NAMED = 10
"""Of each broken rule so many rows are named, whatever the plan: a report of a bad plan is as long as the list of rules."""

_TEXT = ("rat", "plmn", "cell_id")
_NUMBERS = ("lon", "lat", "azimuth_deg", "beamwidth_deg", "range_m")
_TIMES = ("valid_from", "valid_to")
_INSTANT = pl.Datetime("us", "UTC")
_ORDINARY_HEADER_BYTES = 4_096
_FAR_DEG, _NEAR_DEG = 20.0, 5.0
_EMPTY = "a cell plan has at least one cell"
_TOO_MANY = f"a cell plan holds at most {MAX_CELLS:,} cells"
_TABLE = "a cell plan is a readable table in UTF-8 with equal rows"


class CellPlanError(ValueError):
    """A cell plan refused: the row (the first below the header is 1) and the rule; never the value."""

    def __init__(self, row: int | None, rule: str) -> None:
        super().__init__(f"row {row}: {rule}" if row is not None else rule)
        self.row = row
        self.rule = rule


@dataclass(frozen=True, slots=True)
class PlanFault:
    """A rule that a cell plan breaks, in how many rows, and the first of them; no rows where it is the file's."""

    rule: str
    rows: int
    first: tuple[int, ...]


def read_cell_plan(path: str | Path) -> pl.DataFrame:
    """The cell plan in a CSV or Parquet file, in the file's order.

    Columns: rat, plmn, cell_id (text); lon, lat, azimuth_deg (null = omni), beamwidth_deg, range_m (Float64);
    valid_from, valid_to (UTC instants, null = open; a cell is valid from the first up to, not including, the second);
    height_m (Float64) where the file has it.
    """
    return checked_cell_plan(_read(Path(path)))


def checked_cell_plan(raw: pl.DataFrame) -> pl.DataFrame:
    """The plan with its proper types, if every row keeps every rule; otherwise CellPlanError."""
    typed = _typed(raw)
    for fault in _faults(raw, typed):
        raise CellPlanError(fault.first[0], fault.rule)
    return typed


def plan_faults(path: str | Path) -> list[PlanFault]:
    """Every rule that the cell plan in a file breaks, with its first rows; none: the plan is good. No value is told."""
    try:
        raw = _read(Path(path))
        return list(_faults(raw, _typed(raw)))
    except CellPlanError as refused:
        return [PlanFault(refused.rule, int(refused.row is not None), () if refused.row is None else (refused.row,))]


def write_cell_plan(plan: pl.DataFrame, path: Path) -> None:
    """Write a checked cell plan as CSV, as `read_cell_plan` reads it."""
    held = [*COLUMNS, *(name for name in OPTIONAL_COLUMNS if name in plan.columns)]
    plan.select(held).write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%SZ")


# Reading: what is refused before there are rows


def _read(path: Path) -> pl.DataFrame:
    if path.suffix not in (".csv", ".parquet"):
        raise CellPlanError(None, "a cell plan is a .csv or a .parquet file")
    if path.stat().st_size > MAX_BYTES:
        raise CellPlanError(None, f"a cell plan holds at most {MAX_BYTES // 2**20} MiB")
    try:
        return _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    except (pl.exceptions.PolarsError, pa.ArrowException, OSError):
        raise CellPlanError(None, _TABLE) from None


def _read_parquet(path: Path) -> pl.DataFrame:
    # The file's own account comes first: a few bytes can stand for more rows than any memory holds.
    stated = pq.read_metadata(path)
    if stated.num_rows > MAX_CELLS:
        raise CellPlanError(None, _TOO_MANY)
    if sum(stated.row_group(at).total_byte_size for at in range(stated.num_row_groups)) > MAX_BYTES:
        raise CellPlanError(None, f"a cell plan holds at most {MAX_BYTES // 2**20} MiB")
    _check_columns(pq.read_schema(path).names)
    return pl.read_parquet(path)


def _read_csv(path: Path) -> pl.DataFrame:
    with path.open("rb") as file:
        head = file.read(_ORDINARY_HEADER_BYTES)
        newlines, last = head.count(b"\n"), head[-1:]
        while block := file.read(1 << 20):
            newlines, last = newlines + block.count(b"\n"), block[-1:]
    if not head:
        raise CellPlanError(None, _EMPTY)
    if head.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise CellPlanError(None, "a cell plan is UTF-8 without a byte order mark")
    # The header as it is written: a reader would rename a column that comes twice, and unpack what is packed.
    header = head.split(b"\n", 1)[0].removesuffix(b"\r").decode("ascii", errors="replace")
    _check_columns([name.strip('"') for name in header.split(",")])
    if newlines > MAX_CELLS + 1:
        raise CellPlanError(None, _TOO_MANY)
    if last != b"\n":
        raise CellPlanError(None, "the last line of a cell plan ends with a line break: one that was cut short may not")
    lines = pl.read_csv(path, has_header=False, separator="\x1f", quote_char=None, infer_schema=False)
    line = lines.to_series(0).fill_null("")
    if lines.width > 1:
        raise CellPlanError(None, _TABLE)
    _refuse_line(line.str.len_bytes() > MAX_LINE_BYTES, f"a line of a cell plan is at most {MAX_LINE_BYTES:,} bytes")
    _refuse_line(
        line.str.count_matches(",", literal=True) != header.count(","),
        "a line of a cell plan has as many fields as the header, and no field holds a comma or a line break",
    )
    return pl.read_csv(path, infer_schema=False)


def _check_columns(names: list[str]) -> None:
    if not set(COLUMNS) <= set(names) <= {*COLUMNS, *OPTIONAL_COLUMNS} or len(set(names)) != len(names):
        raise CellPlanError(
            None,
            f"the columns of a cell plan are {', '.join(COLUMNS)}, each once; {', '.join(OPTIONAL_COLUMNS)} may be there",
        )


def _refuse_line(broken: pl.Series, rule: str) -> None:
    if broken.any():
        raise CellPlanError(int(broken.arg_max() or 0), rule)


# The rows


def _typed(raw: pl.DataFrame) -> pl.DataFrame:
    """The plan with its proper types, null where a value has none; raises CellPlanError for a column of another kind."""
    _check_columns(raw.columns)
    if raw.is_empty():
        raise CellPlanError(None, _EMPTY)
    if raw.height > MAX_CELLS:
        raise CellPlanError(None, _TOO_MANY)
    for name in _TEXT:
        if raw.schema[name] != pl.String:
            raise CellPlanError(None, f"{name} is text")
    return raw.select(
        *(pl.col(name) for name in _TEXT),
        *(_number(raw, name) for name in _NUMBERS),
        *(_instant(raw, name) for name in _TIMES),
        *(_number(raw, name) for name in OPTIONAL_COLUMNS if name in raw.columns),
    )


def _faults(raw: pl.DataFrame, typed: pl.DataFrame) -> Iterator[PlanFault]:
    """Every rule that a row breaks, in the order in which a plan is refused for them."""
    for name in typed.columns:
        if name not in _TEXT:
            kind = "an RFC 3339 time with an offset" if name in _TIMES else "a number"
            yield from _fault(raw[name].is_not_null() & typed[name].is_null(), f"{name} is {kind}")
    broken = typed.select((~rule.fill_null(False)).alias(text) for text, rule in _rules(typed.columns))
    for text in broken.columns:
        yield from _fault(broken[text], text)
    yield from _fault(
        _swapped(typed), "longitude comes first, then latitude: a row lies where its neighbours do when swapped"
    )
    yield from _fault(_at_two_places(typed), "a cell is listed once at any one time")


def _fault(broken: pl.Series, rule: str) -> Iterator[PlanFault]:
    rows = broken.arg_true()
    if len(rows):
        yield PlanFault(rule, len(rows), tuple(row + 1 for row in rows.head(MOST_ROWS_NAMED).to_list()))


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


def _rules(columns: list[str]) -> list[tuple[str, pl.Expr]]:
    rat, lon, lat = pl.col("rat"), pl.col("lon"), pl.col("lat")
    azimuth, beam, reach = pl.col("azimuth_deg"), pl.col("beamwidth_deg"), pl.col("range_m")
    cell = pl.any_horizontal(
        (rat == name.value) & pl.col("cell_id").str.contains(f"^(?:{pattern})$")
        for name, pattern in CELL_ID_PATTERNS.items()
    )
    timely = [
        (
            f"{name} lies between {EARLIEST.year} and {LATEST.year}",
            pl.col(name).is_null() | ((pl.col(name) >= EARLIEST) & (pl.col(name) < LATEST)),
        )
        for name in _TIMES
    ]
    height = pl.col("height_m")
    tall = [
        (
            f"height_m is at least 1 and at most {MAX_HEIGHT_M:,.0f}",
            height.is_null() | (height.is_finite() & (height >= 1) & (height <= MAX_HEIGHT_M)),
        )
    ]
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
        ("a cell with a beamwidth below 360 has an azimuth", azimuth.is_not_null() | beam.is_null() | (beam >= 360)),
        ("range_m is at least 1 and at most 120,000", reach.is_finite() & (reach >= 1) & (reach <= MAX_RANGE_M)),
        *timely,
        (
            "valid_from comes before valid_to",
            pl.col("valid_from").is_null() | pl.col("valid_to").is_null() | (pl.col("valid_from") < pl.col("valid_to")),
        ),
        *(tall if "height_m" in columns else []),
    ]


def _swapped(typed: pl.DataFrame) -> pl.Series:
    """Rows far from the middle of the plan that with their axes swapped lie near it.

    A plan whose every row is swapped is found when it is located: it stands nowhere near its grid.
    """
    lon, lat = typed["lon"], typed["lat"]
    middle_lon, middle_lat = lon.median(), lat.median()
    far = ((lon - middle_lon).abs() > _FAR_DEG) | ((lat - middle_lat).abs() > _FAR_DEG)
    near_if_swapped = ((lat - middle_lon).abs() < _NEAR_DEG) & ((lon - middle_lat).abs() < _NEAR_DEG)
    return (far & near_if_swapped).fill_null(False)


def _at_two_places(typed: pl.DataFrame) -> pl.Series:
    """Rows whose key is valid elsewhere at the same time: a CI is unique only within its LAC, and ids are re-used."""
    ordered = typed.with_row_index("row").sort(*KEY, "valid_from", "row", nulls_last=False)
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in KEY)
    until = pl.col("valid_to").shift(1)
    clash = same & (until.is_null() | pl.col("valid_from").is_null() | (until > pl.col("valid_from")))
    return ordered.with_columns(clash=clash.fill_null(False)).sort("row")["clash"]
