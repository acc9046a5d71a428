"""Reading a cell plan: all of it, or none."""

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofence.cell_plan import COLUMNS, CellPlanError, checked_cell_plan, read_cell_plan

from .builders import FIXTURES, cell, plan, raw_plan


def test_the_sample_plan_is_read() -> None:
    sample = read_cell_plan(FIXTURES / "network_a_cells.csv")
    assert sample.height == 184
    assert sample.columns == list(COLUMNS)
    assert sample["azimuth_deg"].null_count() == 88
    assert sample["valid_from"][0] == datetime(2026, 1, 1, tzinfo=UTC)


def test_csv_and_parquet_give_one_plan(tmp_path: Path) -> None:
    sample = read_cell_plan(FIXTURES / "network_a_cells.csv")
    sample.write_parquet(tmp_path / "cells.parquet")
    assert read_cell_plan(tmp_path / "cells.parquet").equals(sample)


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"rat": "LTE"}, "rat is one of"),
        ({"rat": None}, "rat is one of"),
        ({"plmn": "20499"}, "plmn is MCC-MNC"),
        ({"plmn": "204-9\n"}, "plmn is MCC-MNC"),
        ({"cell_id": "00000A1"}, "lower-case"),
        ({"cell_id": "00000a1f"}, "lower-case"),
        ({"cell_id": None}, "lower-case"),
        ({"rat": "GERA"}, "lower-case"),
        ({"rat": "NR"}, "lower-case"),
        ({"lon": 181}, "lon lies within 180"),
        ({"lon": "nan"}, "lon lies within 180"),
        ({"lat": -91}, "lat lies within 90"),
        ({"lat": None}, "lat lies within 90"),
        ({"lon": 0, "lat": 0}, "does not stand at 0, 0"),
        ({"azimuth_deg": 361, "beamwidth_deg": 65}, "azimuth_deg lies within"),
        ({"azimuth_deg": -1, "beamwidth_deg": 65}, "azimuth_deg lies within"),
        ({"azimuth_deg": 90}, "a cell with an azimuth has a beamwidth"),
        ({"azimuth_deg": 90, "beamwidth_deg": 0}, "beamwidth_deg is above 0"),
        ({"azimuth_deg": 90, "beamwidth_deg": 400}, "beamwidth_deg is above 0"),
        ({"range_m": 0}, "range_m is at least 1"),
        ({"range_m": 500_000}, "range_m is at least 1"),
        ({"range_m": None}, "range_m is at least 1"),
        ({"range_m": "inf"}, "range_m is at least 1"),
        ({"range_m": "wide"}, "range_m is a number"),
        ({"valid_from": "2026-01-01"}, "valid_from is an RFC 3339 time"),
        ({"valid_from": "2026-02-30T00:00:00Z"}, "valid_from is an RFC 3339 time"),
        ({"valid_from": "2026-01-01T00:00:00Z", "valid_to": "2026-01-01T00:00:00Z"}, "valid_from comes before"),
    ],
)
def test_a_broken_row_refuses_the_plan_by_row_and_rule_without_echo(changed: dict[str, Any], rule: str) -> None:
    with pytest.raises(CellPlanError, match=rule) as refused:
        plan(cell("0000001"), {**cell("0000002"), **changed})
    assert refused.value.row == 2
    assert not any(str(value) in str(refused.value) for value in changed.values() if len(str(value)) > 4)


def test_grammar_of_every_radio_is_known() -> None:
    rows = [("GERA", "00ff0001"), ("UTRA", "00ff001"), ("EUTRA", "00ff001"), ("NR", "00ff00001")]
    assert plan(*(cell(cell_id, rat=rat) for rat, cell_id in rows)).height == 4


def test_one_key_at_two_places_at_one_time_is_refused() -> None:
    with pytest.raises(CellPlanError, match="listed once at any one time") as refused:
        plan(cell("0000001"), cell("0000002"), cell("0000001", east_km=-8.0))
    assert refused.value.row == 3


def test_a_cell_may_move_when_its_first_place_has_ended() -> None:
    moved = "2026-02-01T00:00:00Z"
    assert plan(cell(valid_to=moved), cell(east_km=-8.0, valid_from=moved)).height == 2
    with pytest.raises(CellPlanError, match="listed once"):
        plan(cell(valid_to="2026-02-02T00:00:00+01:00"), cell(east_km=-8.0, valid_from=moved))


@pytest.mark.parametrize("text", ["", "rat,plmn\nEUTRA,204-99\n", "\xff\xfe", ",".join(COLUMNS) + "\n"])
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "cells.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(CellPlanError):
        read_cell_plan(tmp_path / "cells.csv")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cells.xlsx").write_bytes(b"PK")
    with pytest.raises(CellPlanError, match=r"a \.csv or a \.parquet file"):
        read_cell_plan(tmp_path / "cells.xlsx")


@pytest.mark.parametrize(
    ("column", "rule"),
    [
        (pl.lit(1).alias("cell_id"), "cell_id is text"),
        (pl.lit(True).alias("lon"), "lon is a number"),
        (pl.lit(1).alias("valid_from"), "valid_from is an RFC 3339 time"),
        (pl.lit(datetime(2026, 1, 1)).alias("valid_to"), "valid_to is an RFC 3339 time"),  # noqa: DTZ001
    ],
)
def test_a_parquet_column_of_another_type_is_refused(tmp_path: Path, column: pl.Expr, rule: str) -> None:
    plan(cell()).with_columns(column).write_parquet(tmp_path / "cells.parquet")
    with pytest.raises(CellPlanError, match=rule):
        read_cell_plan(tmp_path / "cells.parquet")


def test_rows_of_unequal_length_are_refused_without_echo(tmp_path: Path) -> None:
    (tmp_path / "cells.csv").write_text(",".join(COLUMNS) + "\n" + ",".join(["secret"] * 14) + "\n")
    with pytest.raises(CellPlanError) as refused:
        read_cell_plan(tmp_path / "cells.csv")
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_further_column_is_refused() -> None:
    with pytest.raises(CellPlanError, match="the columns of a cell plan"):
        checked_cell_plan(raw_plan(cell()).with_columns(pl.lit("x").alias("subscriber")))


@given(column=st.sampled_from(COLUMNS), text=st.text(max_size=12))
def test_any_text_in_any_column_is_read_or_refused_never_a_crash(column: str, text: str) -> None:
    with contextlib.suppress(CellPlanError):
        assert plan({**cell(), column: text}).height == 1
