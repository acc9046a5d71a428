"""Cell lists of others as a cell plan: OpenCelliD, Mozilla, multimno."""

import gzip

import polars as pl
import pytest

from geofence.cell_plan import CellPlanError, read_cell_plan
from geofence.multimno import read_multimno_cells
from geofence.opencellid import LIST_COLUMNS, read_opencellid
from ingest.multimno import MultimnoRefused

LTE = "LTE,452,4,1201,10485898,91,106.512,10.921,2300,14,1,1406204196,1700000000,0"


def cell_list(path, *lines, header=True):
    text = "\n".join([",".join(LIST_COLUMNS), *lines] if header else lines) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_every_technology_is_spelled_as_the_contract_spells_it(tmp_path):
    path = cell_list(
        tmp_path / "452.csv",
        "GSM,452,4,1201,138,,106.5,10.9,900,14,1,1406204196,1700000000,0",
        "UMTS,452,4,1201,10485898,91,106.5,10.9,900,14,1,1406204196,1700000000,0",
        LTE,
        "NR,452,4,1201,68719476735,91,106.5,10.9,900,14,1,1406204196,1700000000,0",
    )
    plan = read_opencellid(path, ["452-04"]).plan
    assert plan.select("rat", "cell_id").rows() == [
        ("GERA", "04b1008a"),
        ("UTRA", "0a0008a"),
        ("EUTRA", "0a0008a"),
        ("NR", "fffffffff"),
    ]
    assert plan["plmn"].unique().to_list() == ["452-04"]


def test_the_digits_of_a_network_code_are_those_that_were_asked_for(tmp_path):
    path = cell_list(tmp_path / "list.csv", LTE, LTE.replace("452,4,", "452,5,"))
    assert read_opencellid(path, ["452-004"]).plan["plmn"].to_list() == ["452-004"]
    with pytest.raises(CellPlanError, match="cannot be told apart"):
        read_opencellid(path, ["452-04", "452-004"])


def test_a_list_without_a_header_and_packed_reads_the_same(tmp_path):
    plain = read_opencellid(cell_list(tmp_path / "a.csv", LTE), ["452-04"]).plan
    packed = read_opencellid(cell_list(tmp_path / "a.csv.gz", LTE, header=False), ["452-04"]).plan
    assert plain.equals(packed)


def test_entries_that_no_plan_can_hold_are_left_out_by_reason(tmp_path):
    path = cell_list(
        tmp_path / "list.csv",
        LTE,
        LTE.replace("LTE", "CDMA"),
        LTE.replace("LTE", "UMTS").replace("10485898", "138"),  # the CI alone: two RNCs may both have it
        LTE.replace("LTE", "GSM"),
        LTE.replace("10485898", "268435456"),
        LTE.replace("106.512,10.921", "0,0"),
        LTE.replace("10485898", "7").replace(",2300,", ",0,"),
        LTE.replace("1201", "1202").replace("1700000000", "1600000000"),
    )
    found = read_opencellid(path, ["452-04"])
    assert found.left_out == {"cell_number": 3, "technology": 1, "position": 1, "range": 1, "seen_elsewhere_later": 1}
    assert found.plan.height == 1
    assert read_opencellid(path, ["452-04"], range_m=2000).plan["range_m"].to_list() == [2300, 2000]


def test_a_plan_made_from_a_list_is_read_back_as_it_was(tmp_path):
    plan = read_opencellid(cell_list(tmp_path / "list.csv", LTE), ["452-04"]).plan
    plan.write_csv(tmp_path / "cells.csv", datetime_format="%Y-%m-%dT%H:%M:%SZ")
    assert read_cell_plan(tmp_path / "cells.csv").equals(plan)


@pytest.mark.parametrize("line", ["LTE,452,4", LTE + ",9", ""])
def test_a_file_that_is_no_cell_list_is_refused(tmp_path, line):
    with pytest.raises(CellPlanError):
        read_opencellid(cell_list(tmp_path / "list.csv", line, header=False), ["452-04"])


NETWORK = {
    "cell_id": ["45204120100138", "452040104858980"],
    "latitude": [10.921, 10.95],
    "longitude": [106.512, 106.6],
    "altitude": [4.0, 4.0],
    "directionality": [0, 1],
    "azimuth_angle": [None, 120.0],
    "horizontal_beam_width": [46.0, 65.0],
    "range": [2300.0, 4000.0],
    "technology": ["GSM", "LTE"],
    "valid_date_start": ["2026-01-01T00:00:00", "2026-01-01T00:00:00"],
    "valid_date_end": [None, "2026-06-01T00:00:00"],
}
IDS = "multimno_cell_id,rat,cell_id\n45204120100138,GERA,04b1008a\n452040104858980,EUTRA,0a0008a\n"


def multimno_cells(folder, ids=IDS, **changes):
    pl.DataFrame({**NETWORK, **changes}).write_parquet(folder / "network.parquet")
    (folder / "ids.csv").write_text(ids)
    return read_multimno_cells(
        folder / "network.parquet", plmn="452-04", cells=folder / "ids.csv", time_zone="Asia/Ho_Chi_Minh"
    )


def test_a_multimno_network_file_is_a_cell_plan(tmp_path):
    plan = multimno_cells(tmp_path)
    assert plan.select("rat", "cell_id", "azimuth_deg", "beamwidth_deg", "range_m").rows() == [
        ("GERA", "04b1008a", None, None, 2300.0),
        ("EUTRA", "0a0008a", 120.0, 65.0, 4000.0),
    ]
    assert plan["valid_from"][0].isoformat() == "2025-12-31T17:00:00+00:00"
    assert plan["valid_to"].is_null().to_list() == [True, False]


def test_the_height_of_an_antenna_is_taken_over_where_multimno_says_it(tmp_path):
    assert "height_m" not in multimno_cells(tmp_path).columns
    assert multimno_cells(tmp_path, antenna_height=[0.0, 42.5])["height_m"].to_list() == [None, 42.5]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"technology": ["GSM", "WIMAX"]}, "row 2: technology is one of"),
        ({"technology": ["GSM", "5G"]}, "row 2: the table of cells gives a cell its own technology"),
        ({"cell_id": ["45204120100138", "9"]}, "row 2: every cell is in the table of cells"),
        ({"azimuth_angle": [None, None]}, "row 2: a cell with a direction has an azimuth"),
        ({"valid_date_start": ["2026-01-01T00:00:00Z", None]}, "valid_date_start is a time"),
        ({"antenna_height": [30.0, -4.0]}, "row 2: height_m is at least 1"),
        ({"cell_id": ["45204120100138"] * 2, "technology": ["GSM", "GSM"]}, "row 2: a cell is listed once"),
    ],
)
def test_a_multimno_network_file_that_breaks_a_rule_is_refused_by_it(tmp_path, changes, rule):
    with pytest.raises(CellPlanError, match=rule):
        multimno_cells(tmp_path, **changes)


@pytest.mark.parametrize(
    ("ids", "rule"),
    [
        (IDS + "7,EUTRA,0A0008A\n", "row 3: cell_id is spelled"),
        (IDS + "45204120100138,GERA,04b1008b\n", "row 1: a multimno_cell_id is listed once"),
        ("cell,rat,cell_id\n", "the columns"),
    ],
)
def test_a_table_of_cells_that_breaks_a_rule_is_refused_by_it(tmp_path, ids, rule):
    with pytest.raises(MultimnoRefused, match=rule):
        multimno_cells(tmp_path, ids)
