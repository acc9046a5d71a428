"""Cell plans that are refused, each with the rule that names why. Every broken value is a marker that must not be echoed."""

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from geofence.cell_plan import COLUMNS, MAX_CELLS

HEADER = ",".join(COLUMNS)
GOOD = {
    "rat": "EUTRA",
    "plmn": "204-99",
    "cell_id": "0000001",
    "lon": "6.05",
    "lat": "50.9",
    "azimuth_deg": "",
    "beamwidth_deg": "",
    "range_m": "1000",
    "valid_from": "",
    "valid_to": "",
}
IDENTITY = "452040987654321"
TIME = "2026-01-01T00:00:00Z"


@dataclass(frozen=True)
class BadPlan:
    """A plan's name, its file and the beginning of the rule; `markers` are in the file and may be nowhere else."""

    name: str
    path: Path
    rule: str
    markers: tuple[str, ...] = ()


def bad_plans(folder: Path) -> Iterator[BadPlan]:
    """Every bad plan, each written into the folder just before it is given."""
    for number, (name, changed, rule) in enumerate(BROKEN_ROWS):
        rows = [line(), line(**{"cell_id": "0000002", **changed}), line(cell_id="0000003")]
        yield _written(folder, f"{number:02d}-{name}", "csv", text(*rows), rule, tuple(changed.values()))
    for name, content, rule, *markers in BROKEN_TEXTS:
        yield _written(folder, name, "csv", content() if callable(content) else content, rule, tuple(markers))
    for name, change, rule, *markers in BROKEN_TABLES:
        path = folder / f"{name}.parquet"
        change(_table()).write_parquet(path)
        yield BadPlan(name, path, rule, tuple(markers))
    whole = folder / "whole.parquet"
    _table().write_parquet(whole)
    for name, content, rule, *markers in (
        ("parquet-cut-short", whole.read_bytes()[:-40], READABLE),
        ("parquet-with-damaged-pages", _damaged(whole.read_bytes()), READABLE),
        ("parquet-that-is-text", text(line()), READABLE),
        ("parquet-that-is-empty", b"", READABLE),
    ):
        yield _written(folder, name, "parquet", content, rule, tuple(markers))
    yield _written(folder, "an-archive", "csv.gz", gzip.compress(text(line())), "a cell plan is a .csv or a .parquet")
    yield _written(folder, "a-spreadsheet", "xlsx", b"PK\x03\x04" + text(line()), "a cell plan is a .csv or a .parquet")


def line(**changed: str) -> str:
    """One line of a plan."""
    return ",".join({**GOOD, **changed}.values())


def text(*lines: str, header: str = HEADER) -> bytes:
    """A plan as a CSV file has it."""
    return ("\n".join([header, *lines]) + "\n").encode()


def _written(folder: Path, name: str, ending: str, content: bytes, rule: str, markers: tuple[str, ...] = ()) -> BadPlan:
    path = folder / f"{name}.{ending}"
    path.write_bytes(content)
    return BadPlan(name, path, rule, markers)


def _table() -> pl.DataFrame:
    numbers = {name: float(GOOD[name] or "nan") for name in ("lon", "lat", "azimuth_deg", "beamwidth_deg", "range_m")}
    row = {**GOOD, **numbers, "valid_from": datetime(2026, 1, 1, tzinfo=UTC), "valid_to": None}
    table = pl.DataFrame({name: [value] * 3 for name, value in row.items()}).fill_nan(None)
    return table.with_columns(
        pl.Series("cell_id", ["0000001", "0000002", "0000003"]), pl.col("valid_to").cast(pl.Datetime("us", "UTC"))
    )


def _damaged(content: bytes) -> bytes:
    return content[:4] + b"\xff" * 200 + content[204:]


def _too_many() -> bytes:
    row = (line() + "\n").encode()
    return text() + row * (MAX_CELLS + 1)


def _changed(**columns: Any) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda table: table.with_columns(**columns)


READABLE = "a cell plan is a readable table"
COLUMNS_RULE = "the columns of a cell plan are"
FIELDS = "a line of a cell plan has as many fields"
BEAM = {"azimuth_deg": "90", "beamwidth_deg": "65"}
BROKEN_ROWS: list[tuple[str, dict[str, str], str]] = [
    ("unknown-rat", {"rat": "LTEMARK"}, "rat is one of"),
    ("rat-in-lower-case", {"rat": "eutra"}, "rat is one of"),
    ("no-rat", {"rat": ""}, "rat is one of"),
    ("formula-as-rat", {"rat": '=HYPERLINK("x")'.replace('"', "'")}, "rat is one of"),
    ("mnc-of-one-digit", {"plmn": "204-9"}, "plmn is MCC-MNC"),
    ("mnc-of-four-digits", {"plmn": "204-0099"}, "plmn is MCC-MNC"),
    ("plmn-without-its-dash", {"plmn": "20499"}, "plmn is MCC-MNC"),
    ("identity-as-plmn", {"plmn": IDENTITY}, "plmn is MCC-MNC"),
    ("cell-id-in-upper-case", {"cell_id": "00000AB"}, "cell_id is lower-case"),
    ("cell-id-too-short", {"cell_id": "00a1"}, "cell_id is lower-case"),
    ("cell-id-of-another-rat", {"cell_id": "00000a1f"}, "cell_id is lower-case"),
    ("cell-id-as-a-number", {"cell_id": "0x00a1b"}, "cell_id is lower-case"),
    ("identity-as-cell-id", {"cell_id": IDENTITY}, "cell_id is lower-case"),
    ("longitude-out-of-range", {"lon": "181.25"}, "lon lies within 180"),
    ("longitude-not-a-number", {"lon": "nan"}, "lon lies within 180"),
    ("longitude-with-a-comma", {"lon": "6;05"}, "lon is a number"),
    ("longitude-in-degrees-and-minutes", {"lon": "6d03m"}, "lon is a number"),
    ("latitude-out-of-range", {"lat": "-90.5"}, "lat lies within 90"),
    ("latitude-infinite", {"lat": "inf"}, "lat lies within 90"),
    ("no-latitude", {"lat": ""}, "lat lies within 90"),
    ("no-position", {"lon": "0", "lat": "0"}, "a cell does not stand at 0, 0"),
    ("axes-swapped", {"lon": "50.9", "lat": "6.05"}, "longitude comes first"),
    ("axes-swapped-in-the-tropics", {"lon": "10.91", "lat": "106.2"}, "lat lies within 90"),
    ("azimuth-above-360", {"azimuth_deg": "365.5", "beamwidth_deg": "65"}, "azimuth_deg lies within"),
    ("azimuth-below-0", {"azimuth_deg": "-12.5", "beamwidth_deg": "65"}, "azimuth_deg lies within"),
    ("beam-below-0", {"azimuth_deg": "90", "beamwidth_deg": "-65.5"}, "beamwidth_deg is above 0"),
    ("beam-of-0", {"azimuth_deg": "90", "beamwidth_deg": "0"}, "beamwidth_deg is above 0"),
    ("beam-without-azimuth", {"beamwidth_deg": "65.25"}, "a cell with a beamwidth below 360 has an azimuth"),
    ("azimuth-without-beam", {"azimuth_deg": "123.25"}, "a cell with an azimuth has a beamwidth"),
    ("range-of-0", {"range_m": "0"}, "range_m is at least 1"),
    ("range-over-its-cap", {"range_m": "120001"}, "range_m is at least 1"),
    ("identity-as-range", {"range_m": IDENTITY}, "range_m is at least 1"),
    ("range-in-words", {"range_m": "2 km"}, "range_m is a number"),
    ("formula-as-range", {"range_m": "=1+1000"}, "range_m is a number"),
    ("no-range", {"range_m": ""}, "range_m is at least 1"),
    ("naive-time", {"valid_from": "2026-01-01T00:00:00"}, "valid_from is an RFC 3339 time"),
    ("date-without-time", {"valid_from": "2026-01-01"}, "valid_from is an RFC 3339 time"),
    ("day-that-is-none", {"valid_to": "2026-02-30T00:00:00Z"}, "valid_to is an RFC 3339 time"),
    ("epoch-seconds", {"valid_to": "1767225600"}, "valid_to is an RFC 3339 time"),
    ("identity-as-time", {"valid_to": IDENTITY}, "valid_to is an RFC 3339 time"),
    ("time-before-2000", {"valid_from": "1970-01-01T00:00:00Z"}, "valid_from lies between 2000 and 2100"),
    ("ends-before-it-begins", {"valid_from": TIME, "valid_to": "2025-12-31T23:00:00Z"}, "valid_from comes before"),
]
BROKEN_TEXTS: list[tuple[Any, ...]] = [
    ("empty", b"", "a cell plan has at least one cell"),
    ("header-only", text(), "a cell plan has at least one cell"),
    ("a-column-missing", text("EUTRA,204-99", header="rat,plmn"), COLUMNS_RULE),
    ("a-further-column", text(line() + f",{IDENTITY}", header=HEADER + ",imsi"), COLUMNS_RULE, IDENTITY),
    ("a-column-twice", text(line() + ",6.0", header=HEADER + ",lon"), COLUMNS_RULE),
    ("columns-in-upper-case", text(line(), header=HEADER.upper()), COLUMNS_RULE),
    ("semicolons", text(line()).replace(b",", b";"), COLUMNS_RULE),
    ("no-header", (line() + "\n").encode(), COLUMNS_RULE, "50.9"),
    ("packed-under-another-name", gzip.compress(text(line())), COLUMNS_RULE),
    ("byte-order-mark", b"\xef\xbb\xbf" + text(line()), "a cell plan is UTF-8 without a byte order mark"),
    ("utf-16", text(line()).decode().encode("utf-16"), "a cell plan is UTF-8 without a byte order mark"),
    ("latin-1", text(line(rat="MÄRK")).decode().encode("latin-1"), READABLE, "RK"),
    ("a-field-too-few", text(line(), line().rsplit(",", 1)[0]), FIELDS),
    ("a-field-too-many", text(line(), line() + ",marker"), FIELDS, "marker"),
    ("a-blank-line", text(line(), "", line(cell_id="0000002")), FIELDS),
    ("line-break-in-quotes", text(line(), line(cell_id='"00000\n02"')), FIELDS, "00000"),
    ("comma-in-quotes", text(line(), line(cell_id='"0000,02"')), FIELDS, "0000,02"),
    ("cut-short", text(line(), line(cell_id="0000002"))[:-1], "the last line of a cell plan ends"),
    ("line-of-10-megabytes", text(line(), line(rat="x" * 10_000_000)), "a line of a cell plan is at most", "xxxx"),
    ("row-twice", text(line(), line()), "a cell is listed once"),
    ("too-many-rows", _too_many, f"a cell plan holds at most {MAX_CELLS:,} cells"),
    (
        "at-two-places-at-once",
        text(line(valid_from=TIME), line(valid_to="2026-02-01T00:00:00Z", lon="6.01")),
        "a cell is listed once",
        "6.01",
    ),
    (
        "height-below-the-ground",
        text(line() + ",-30.5", header=HEADER + ",height_m"),
        "height_m is at least 1",
        "-30.5",
    ),
]
BROKEN_TABLES: list[tuple[Any, ...]] = [
    ("table-with-a-further-column", _changed(msisdn=pl.lit("84912345678")), COLUMNS_RULE, "84912345678"),
    ("table-without-a-column", lambda table: table.drop("valid_to"), COLUMNS_RULE),
    ("table-without-rows", lambda table: table.clear(), "a cell plan has at least one cell"),
    ("table-with-cell-ids-as-numbers", _changed(cell_id=pl.int_range(pl.len())), "cell_id is text"),
    ("table-with-categories", _changed(rat=pl.col("rat").cast(pl.Categorical)), "rat is text"),
    ("table-with-a-truth-value", _changed(lon=pl.lit(True)), "lon is a number"),
    ("table-with-a-list", _changed(range_m=pl.concat_list("range_m", "lon")), "range_m is a number"),
    ("table-with-a-struct", _changed(lat=pl.struct("lat", "lon")), "lat is a number"),
    ("table-with-naive-times", _changed(valid_from=pl.lit(datetime(2026, 1, 1))), "valid_from is an RFC 3339"),  # noqa: DTZ001
    ("table-with-dates", _changed(valid_to=pl.lit(datetime(2026, 1, 1).date())), "valid_to is an RFC 3339"),  # noqa: DTZ001
    ("table-with-nothing-as-range", _changed(range_m=pl.lit(None)), "range_m is at least 1"),
    ("table-with-a-row-twice", lambda table: pl.concat([table, table]), "a cell is listed once"),
]
