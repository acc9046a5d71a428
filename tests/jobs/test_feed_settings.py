"""How the edge is told what its feed looks like, and the commands that make a cell plan of somebody else's list."""

import json

import pytest
from typer.testing import CliRunner

from ingest.columns import ColumnMap
from ingest.multimno import Multimno
from jobs.cli import app
from jobs.settings import SettingsRefused, read_settings
from tests.jobs.test_cli import EDGE, settings_file

FIELDS = ("token", "event_time", "ingest_time", "event_type", "rat", "plmn", "cell_id", "domain")
COLUMNS = 'format = "csv"\n[edge.columns.fields]\n' + "".join(f'{name} = "{name.upper()}"\n' for name in FIELDS)
MULTIMNO = """format = "multimno"
[edge.multimno]
serving_plmn = "204-99"
event_type = "service_request"
cells = "ids.csv"
time_zone = "Europe/Amsterdam"
ingest_time = "seen"
"""
LIVE = EDGE.replace("replay = true", 'marks = "marks"\nsources = ["core/0"]')


def test_the_layout_is_the_column_map_or_what_is_declared_of_multimno(tmp_path):
    edge = read_settings(settings_file(tmp_path, EDGE + COLUMNS)).edge
    assert isinstance(edge.layout, ColumnMap)
    assert edge.layout.fields["token"] == "TOKEN"
    edge = read_settings(settings_file(tmp_path, EDGE + MULTIMNO)).edge
    assert isinstance(edge.layout, Multimno)
    assert edge.layout.cells == tmp_path / "ids.csv"
    assert read_settings(settings_file(tmp_path)).edge.layout is None


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (EDGE + 'format = "multimno"\n', "come together"),
        (EDGE + MULTIMNO.replace('"multimno"', '"parquet"'), "come together"),
        (EDGE + COLUMNS.replace('"csv"', '"ndjson"'), "keys of NDJSON"),
        (EDGE + COLUMNS.replace('plmn = "PLMN"\n', ""), "edge.columns.*no column for plmn"),
        (EDGE + COLUMNS.replace('ingest_time = "INGEST_TIME"\n', ""), "no column for ingest_time"),
        (LIVE + COLUMNS.replace("INGEST_TIME", "EVENT_TIME"), "time of arrival"),
        (LIVE + MULTIMNO.replace('"seen"', '"timestamp"'), "time of arrival"),
        (EDGE + COLUMNS + '[edge.columns.times]\nevent_time = "452040123456789"\n', "edge.columns.times.event_time"),
    ],
)
def test_a_feed_that_is_not_told_well_enough_does_not_start(tmp_path, text, rule):
    with pytest.raises(SettingsRefused, match=rule) as refused:
        read_settings(settings_file(tmp_path, text))
    assert "452040123456789" not in str(refused.value)


def test_a_replay_may_do_without_the_time_of_arrival(tmp_path):
    edge = read_settings(settings_file(tmp_path, EDGE + COLUMNS.replace("INGEST_TIME", "EVENT_TIME"))).edge
    assert edge.layout.is_arrival_made_up


def test_a_public_cell_list_becomes_a_plan_and_says_what_was_left_out(tmp_path):
    (tmp_path / "452.csv").write_text(
        "LTE,452,4,1201,10485898,91,106.512,10.921,2300,14,1,1406204196,1700000000,0\n"
        "CDMA,452,4,1201,138,,106.5,10.9,900,14,1,1406204196,1700000000,0\n"
    )
    words = [
        "cells",
        "import-opencellid",
        str(tmp_path / "452.csv"),
        str(tmp_path / "cells.csv"),
        "--network",
        "452-04",
    ]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert json.loads(done.stdout) == {"cells": 1, "left_out": {"technology": 1}}
    assert (tmp_path / "cells.csv").read_text().splitlines()[1].startswith("EUTRA,452-04,0a0008a,106.512,10.921,")
