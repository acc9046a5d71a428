"""`feed check`: what it tells of a feed, its verdicts, and that it neither shows nor stores a row."""

import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from geofence.cell_plan import read_cell_plan
from ingest.columns import ColumnMap
from ingest.files import FileFormat
from jobs import feed_check
from jobs.cli import app
from jobs.feed_check import HashSample, check_feed
from tests.ingest.feeds import avro_bytes, csv_lines, json_line, lines, timed
from tests.jobs.border import CELLS, FIXTURES, OWN, SCHEMA

PLAN = read_cell_plan(FIXTURES / "network_a_cells.csv")
START = datetime(2026, 3, 2, 5, tzinfo=UTC)


def row(number=0, *, delay_s=7, **changes):
    at = START + timedelta(seconds=30 * number)
    return {
        "token": f"{number:026b}".replace("0", "a").replace("1", "b"),
        "event_time": at.isoformat(),
        "ingest_time": (at + timedelta(seconds=delay_s)).isoformat(),
        "event_type": "handover",
        "rat": PLAN["rat"][0],
        "plmn": OWN,
        "cell_id": CELLS[0],
        "previous_plmn": None,
        "domain": "domestic",
        **changes,
    }


def feed(folder, *rows, name="a.ndjson"):
    path = folder / name
    path.write_bytes(lines(*map(json_line, rows)))
    return path


def check(folder, *rows, **changes):
    return check_feed([feed(folder, *rows)], FileFormat.NDJSON, **{"plan": PLAN, **changes})


def test_a_good_feed_is_fit_and_told_in_shares(tmp_path):
    found = check(tmp_path, *(row(number, delay_s=number % 100) for number in range(400)))
    assert (found.verdict, found.warnings, found.rows, found.accepted) == ("fit", (), 400, 400)
    assert found.lateness_s == {"p50": 49, "p90": 89, "p99": 98}
    assert (found.first_hour, found.last_hour) == ("2026-03-02T05:00:00Z", "2026-03-02T08:00:00Z")
    assert (found.hours_covered, found.hours_missing) == (4, 0)
    assert (found.unknown_cells, found.duplicates) == (0, 0)


WARNED = {
    "late": (lambda at: row(at, delay_s=3600) if at < 3 else row(at), "are late"),
    "ahead": (lambda at: row(at, delay_s=-5) if at < 3 else row(at), "from the future"),
    "slow": (lambda at: row(at, delay_s=800), "10 minutes"),
    "malformed": (lambda at: row(at, rat="LTE") if at < 6 else row(at), "break the contract"),
    "unknown cells": (lambda at: row(at, cell_id="fffffff") if at < 6 else row(at), "does not know"),
    "sent twice": (lambda at: row(at % 90), "came before"),
    "a hole": (lambda at: row(at + 400 * (at > 50)), "hold no row"),
    "an identity": (lambda at: row(at, plmn="452040123456789") if at == 7 else row(at), "identities"),
    "an imsi field": (lambda at: row(at, imsi="452040123456789") if at == 7 else row(at), "identities"),
}


@pytest.mark.parametrize(("make", "rule"), WARNED.values(), ids=WARNED)
def test_what_a_person_should_look_at_is_a_warning(tmp_path, make, rule):
    found = check(tmp_path, *map(make, range(100)))
    assert found.verdict == "fit with warnings"
    assert [told for told in found.warnings if rule in told] == list(found.warnings)


def test_one_row_short_of_a_warning_is_none(tmp_path):
    assert check(tmp_path, *(row(at, delay_s=3600 if at < 2 else 7) for at in range(100))).verdict == "fit"


UNFIT = {
    "identities": (lambda at: row(at, plmn="452040123456789") if at < 2 else row(at), "identities"),
    "refused": (lambda at: row(at, rat="LTE") if at < 51 else row(at), "the edge would stop"),
    "unknown cells": (lambda at: row(at, cell_id="fffffff") if at < 51 else row(at), "the edge would stop"),
}


@pytest.mark.parametrize(("make", "rule"), UNFIT.values(), ids=UNFIT)
def test_what_the_edge_would_stop_for_is_not_fit(tmp_path, make, rule):
    found = check(tmp_path, *map(make, range(100)))
    assert found.verdict == "not fit"
    assert any(rule in told for told in found.not_fit)


def test_a_feed_without_rows_or_with_a_damaged_file_is_not_fit(tmp_path):
    assert check(tmp_path).not_fit == ("no row was read",)
    good = feed(tmp_path, *map(row, range(100)))
    cut = tmp_path / "cut.ndjson.gz"
    cut.write_bytes(b"\x1f\x8b")
    found = check_feed([good, cut, tmp_path / "gone.ndjson"], FileFormat.NDJSON, plan=PLAN)
    assert found.files_refused == {"file_damaged": 1, "file_gone": 1}
    assert found.rows == 100


def test_rows_before_the_damage_of_a_file_are_not_counted(tmp_path):
    whole = csv_lines(*map(row, range(3000)))
    (tmp_path / "a.csv.zst").write_bytes(pa.compress(whole, codec="zstd", asbytes=True)[:-40])
    found = check_feed([tmp_path / "a.csv.zst"], FileFormat.CSV)
    assert (found.rows, found.files_refused) == (0, {"file_damaged": 1})


def test_the_same_rows_are_told_alike_in_every_format(tmp_path):
    rows = [row(at, delay_s=1000 if at % 10 == 0 else 7) for at in range(100)]
    feed(tmp_path, *rows)
    (tmp_path / "a.csv").write_bytes(csv_lines(*rows))
    pq.write_table(pa.Table.from_pylist(list(map(timed, rows)), SCHEMA), tmp_path / "a.parquet")
    (tmp_path / "a.avro").write_bytes(avro_bytes(*map(timed, rows)))
    found = [check_feed([tmp_path / f"a.{kind}"], None, plan=PLAN) for kind in ("ndjson", "csv", "parquet", "avro")]
    assert found[0].refused == {"late": 10}
    assert all(one == found[0] for one in found)


def test_an_arrival_that_was_made_up_is_said_to_be(tmp_path):
    (tmp_path / "a.csv").write_bytes(csv_lines(*map(row, range(100))))
    columns = ColumnMap(
        fields={name: name if name != "ingest_time" else "event_time" for name in row()},
        ignore=frozenset({"ingest_time"}),
    )
    found = check_feed([tmp_path / "a.csv"], FileFormat.CSV, columns, PLAN)
    assert [told for told in found.warnings if "no arrival" in told]


# Duplicates within bounded memory


def test_the_share_of_repeats_is_exact_while_all_hashes_are_held():
    sample = HashSample()
    rows = pl.DataFrame([row(at % 60) for at in range(100)])
    sample.add(rows.head(50))
    other = HashSample()
    other.add(rows.tail(50))
    sample.merge(other)
    assert sample.repeated() == pytest.approx(0.4)
    assert sample.level == 0


def test_the_share_of_repeats_is_estimated_when_there_are_more_rows_than_may_be_held(monkeypatch):
    monkeypatch.setattr(feed_check, "MOST_SAMPLED", 2_000)
    sample = HashSample()
    for part in range(10):
        sample.add(pl.DataFrame([row((part * 2000 + at) % 16_000) for at in range(2000)]))
    assert sample.level > 0
    assert sample.kept.height <= 2_000
    # A fifth came before; 1,000 or more sampled rows tell it to within four standard deviations.
    assert sample.repeated() == pytest.approx(0.2, abs=0.06)


# The command


def test_the_command_tells_a_verdict_without_a_value_of_a_row(tmp_path):
    secret = "452040999888777"
    rows = [row(at, plmn=secret) if at < 5 else row(at) for at in range(20)]
    feed(tmp_path, *rows)
    before = sorted(tmp_path.iterdir())
    for words in ([], ["--json"]):
        done = CliRunner().invoke(app, ["feed", "check", str(tmp_path), *words])
        assert done.exit_code == 1
        told = done.output
        assert "not fit" in told
        assert secret not in told
        assert not any(one["token"] in told or CELLS[0] in told for one in rows)
    assert sorted(tmp_path.iterdir()) == before


def test_the_command_takes_format_columns_and_cells_from_the_settings(tmp_path):
    text = csv_lines(
        *({**row(at), "event_time": 1_772_427_600 + at, "ingest_time": 1_772_427_605 + at} for at in range(50))
    )
    (tmp_path / "feed.csv").write_bytes(text.replace(b",", b";"))
    config = tmp_path / "tidemark.toml"
    config.write_text(
        f"""
[edge]
carrier = "carrier-a"
own_networks = ["{OWN}"]
networks_across = ["206-98"]
border = "VN-KH"
zone_grid = "zones.geojson"
cell_plan = "{FIXTURES / "network_a_cells.csv"}"
source = "feed"
state = "state"
replay = true
format = "csv"

[edge.columns]
delimiter = ";"

[edge.columns.fields]
{"".join(f'{name} = "{name}"{chr(10)}' for name in row())}
[edge.columns.times]
event_time = "epoch_s"
ingest_time = "epoch_s"
"""
    )
    done = CliRunner().invoke(app, ["feed", "check", str(tmp_path / "feed.csv"), "--config", str(config), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["verdict"] == "fit"


def test_an_unknown_format_is_refused_by_name(tmp_path):
    done = CliRunner().invoke(app, ["feed", "check", str(tmp_path), "--format", "xlsx"])
    assert isinstance(done.exception, feed_check.FeedUnknown)
