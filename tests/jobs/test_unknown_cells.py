"""Cells that the plan does not know: rows by hour and source, or keys alone, never both."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingest.files import FileFormat
from jobs.feed_check import FeedUnknown
from jobs.unknown_cells import NOT_IN_PLAN, NOT_VALID, cells_not_known, rows_on_unknown_cells
from tests.geofence.builders import cell, plan

NOW = datetime(2026, 3, 2, 12, 30, tzinfo=UTC)
TOKENS = ["abcdefghijklmnopqrstuvwxyz", "bbcdefghijklmnopqrstuvwxyz"]


def row(token: str = TOKENS[0], at: str = "09:10", **changed: Any) -> dict[str, Any]:
    event = {
        "token": token,
        "event_time": f"2026-03-02T{at}:00Z",
        "ingest_time": f"2026-03-02T{at}:09Z",
        "event_type": "attach",
        "rat": "EUTRA",
        "plmn": "204-99",
        "cell_id": "0000001",
        "domain": "domestic",
    }
    return {**event, **changed}


def feed(folder: Path, *rows: dict[str, Any]) -> list[Path]:
    path = folder / "rows.ndjson"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return [path]


def test_keys_are_named_once_whoever_and_however_many_named_them(tmp_path: Path) -> None:
    known = plan(cell("0000001"), cell("0000002", valid_to="2026-03-02T09:00:00Z"))
    one = feed(tmp_path, row(), row(cell_id="0000002"), row(cell_id="00000ff"), row(cell_id="0000002", at="08:10"))
    found, is_all = cells_not_known(one, FileFormat.NDJSON, None, known)
    assert found.rows() == [
        ("EUTRA", "204-99", "0000002", NOT_VALID),
        ("EUTRA", "204-99", "00000ff", NOT_IN_PLAN),
    ]
    assert is_all
    many = [row(token, f"09:{minute}", cell_id="00000ff") for token in TOKENS for minute in range(10, 60)]
    again, _ = cells_not_known(feed(tmp_path, *many, row(cell_id="0000002")), FileFormat.NDJSON, None, known)
    assert again.equals(found)


def test_a_refused_row_names_no_cell(tmp_path: Path) -> None:
    refused = row(cell_id="00000ff", imsi="204990123456789")
    found, _ = cells_not_known(feed(tmp_path, refused, row()), FileFormat.NDJSON, None, plan(cell("0000001")))
    assert found.is_empty()


def test_a_damaged_file_is_said_and_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(FeedUnknown, match="cannot be read"):
        cells_not_known([tmp_path / "rows.parquet"], FileFormat.PARQUET, None, plan(cell("0000001")))


def test_rows_are_told_by_hour_and_source_and_name_no_cell() -> None:
    def tally(hour: str, source: str, **what: int) -> list[dict[str, Any]]:
        return [{"source": source, "hour": hour, "what": name, "rows": rows} for name, rows in what.items()]

    records = [
        *tally("2026-03-02T09Z", "oss/0", received=100, sighting=60, outside_belt=20, unknown_cell=20),
        *tally("2026-03-02T09Z", "oss/0", received=10, unknown_cell=10),
        *tally("2026-03-02T10Z", "oss/1", received=5, roaming_kept=5),
        *tally("2026-02-27T10Z", "oss/1", received=5, unknown_cell=5),
    ]
    found = rows_on_unknown_cells(records, now=NOW, span=timedelta(hours=24))
    assert found == [
        {"hour": "2026-03-02T09Z", "source": "oss/0", "received": 110, "on_unknown_cells": 30, "share": 0.2727},
        {"hour": "2026-03-02T10Z", "source": "oss/1", "received": 5, "on_unknown_cells": 0, "share": 0.0},
    ]
