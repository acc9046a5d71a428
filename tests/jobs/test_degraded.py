"""From an element alarm inside a carrier to what the centre says: an outage is no crowd, and quiet is not blind."""

import json
import shutil
from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest
from starlette.testclient import TestClient

import jobs.edge
from api.app import create_app
from api.settings import ApiSettings
from geofence.locate import locate_cells
from ingest.alarms import Alarm, AlarmFeed, AlarmKind
from ingest.feed import Doubt
from ingest.release import Direction, format_utc, seal
from jobs.centre import open_store, run_detect, take_in
from jobs.edge import place_cells
from jobs.grounds import GroundMissing, read_cover, read_ground, read_lookup
from jobs.tables import EdgeFolder
from jobs.watch import FeedMonitor, cells_in_zones, feed_history, zone_cells
from movement.sighting import Networks
from tests.geofence.builders import LINE, cell, plan
from tests.geofence.builders import grid as two_belts
from tests.jobs.border import DAY, edge_settings
from tests.jobs.edge_run import ROWS, LiveRun
from tests.jobs.one_process import OneProcess, sight_at_once
from tests.jobs.test_centre import DAYS, HOUR, START, centre_settings, grid, release, trained, usual

__all__ = ["grid", "trained"]
BEGIN = START + timedelta(days=DAYS)
OUTAGE, CROWD, SURGE = (3, 4), 5000, 200
NETWORKS = Networks(frozenset({"204-99"}), frozenset({"206-98"}))


@pytest.fixture(scope="module")
def placed(tmp_path_factory):
    return place_cells(edge_settings(tmp_path_factory.mktemp("placed")))


class Watching:
    """An edge's monitor, a token-day and its ground."""

    def __init__(self, folder, alarms, ground):
        self.folder, self.ground = folder, ground
        self.monitor = FeedMonitor(folder, lambda: alarms)

    def complete(self, window):
        return self.monitor.complete(window, BEGIN, self.ground)

    def cells(self):
        return cells_of(self.folder, self.ground)


def cells_of(folder, ground):
    at = folder.grounds.of(ground)
    return cells_in_zones(read_lookup(at).cells, read_ground(at).zones)


@pytest.fixture
def monitor(placed, tmp_path):
    """Makes a monitor of an edge whose marks reach two days on."""
    folder = EdgeFolder(tmp_path / "edge")
    folder.write_covered_until(BEGIN + HOUR * 48)
    ground = folder.grounds.put(placed.grid, placed.located, NETWORKS)
    return lambda alarms=AlarmFeed(): Watching(folder, alarms, ground)  # noqa: B008 - frozen


def outage(monitor, share):
    """Two hours without a share of belt-north's cells."""
    cells = sorted(zone_cells(monitor().cells(), BEGIN)["belt-north"])
    first, last = OUTAGE
    out = frozenset(cells[: round(len(cells) * share)])
    alarm = Alarm("oss", "site-7", AlarmKind.OUTAGE, BEGIN + HOUR * first, BEGIN + HOUR * (last + 1), out)
    return AlarmFeed((alarm,))


def test_an_outage_of_a_part_of_a_zone_makes_its_hours_incomplete_and_inside_it_is_said_why(monitor):
    watching = monitor(outage(monitor, 0.25))
    complete = [watching.complete(BEGIN + HOUR * hour) for hour in range(8)]
    assert complete == [hour not in (3, 4, 5) for hour in range(8)]
    history = feed_history(watching.folder.root)
    assert history[BEGIN + HOUR * 4] == [Doubt.ALARM]
    assert history[BEGIN] == []


def test_an_outage_of_less_leaves_the_hours_complete(monitor):
    watching = monitor(outage(monitor, 0.1))
    assert all(watching.complete(BEGIN + HOUR * hour) for hour in range(8))


def test_cells_that_are_not_valid_yet_are_none_of_a_zone(placed):
    cells = cells_in_zones(placed.located.cells, placed.grid.zones)
    assert set(zone_cells(cells, BEGIN)) == {zone.zone_id for zone in placed.grid.zones}
    assert zone_cells(cells, BEGIN - timedelta(days=400)) == {}


def test_cells_that_the_plan_itself_switches_on_make_their_hours_incomplete(placed, monitor):
    """A quarter of a zone comes on air at half past three: phones register anew, and the plan said so beforehand."""
    watching = monitor()
    new = sorted(zone_cells(watching.cells(), BEGIN)["belt-north"])[::4]
    at = BEGIN + HOUR * 3.5
    name = pl.concat_str("rat", "plmn", "cell_id", separator="/")
    dated = pl.when(name.is_in(new)).then(pl.lit(at)).otherwise("valid_from").cast(pl.Datetime("us", "UTC"))
    located = replace(placed.located, cells=placed.located.cells.with_columns(valid_from=dated))
    watching.ground = watching.folder.grounds.put(placed.grid, located, NETWORKS)
    assert [hour for hour in range(9) if not watching.complete(BEGIN + HOUR * hour)] == [3, 4, 5, 6]


TOWN = [cell(f"{n:07x}", east_km=-8.0 - 0.02 * n, north_km=18.0, range_m=1_500.0) for n in range(1, 31)]
LONE = cell("00000f0", east_km=-2.0, north_km=18.0, range_m=3_000.0)
BESIDE = cell("00000f1", east_km=-2.2, north_km=18.0, range_m=3_500.0)


def watching_by_the_line(tmp_path, *rows, silent=()):
    """A monitor of a belt with a town of thirty cells behind it; cells are silent from half past three, for two hours."""
    folder = EdgeFolder(tmp_path / "edge")
    folder.write_covered_until(BEGIN + HOUR * 48)
    zones = two_belts()
    located = locate_cells(plan(*TOWN, *rows), zones, LINE)
    names = frozenset(f"EUTRA/204-99/{row['cell_id']}" for row in silent)
    alarm = Alarm("oss", "site-9", AlarmKind.OUTAGE, BEGIN + HOUR * 3.5, BEGIN + HOUR * 5.5, names)
    alarms = AlarmFeed((alarm,) if silent else ())
    return Watching(folder, alarms, folder.grounds.put(zones, located, NETWORKS))


def incomplete_hours(watching):
    return [hour for hour in range(9) if not watching.complete(BEGIN + HOUR * hour)]


def test_a_lone_mast_by_the_line_makes_its_hours_incomplete_however_few_of_the_cells_it_is(tmp_path):
    watching = watching_by_the_line(tmp_path, LONE, silent=[LONE])
    assert len(zone_cells(watching.cells(), BEGIN)["north"]) == 31
    assert incomplete_hours(watching) == [3, 4, 5, 6]
    assert feed_history(watching.folder.root)[BEGIN + HOUR * 3] == [Doubt.ALARM]


def test_the_same_mast_with_another_that_covers_its_ground_touches_nothing(tmp_path):
    assert incomplete_hours(watching_by_the_line(tmp_path / "one", LONE, BESIDE, silent=[LONE])) == []
    assert incomplete_hours(watching_by_the_line(tmp_path / "both", LONE, BESIDE, silent=[LONE, BESIDE])) == [
        3,
        4,
        5,
        6,
    ]


def test_a_cell_that_is_not_on_air_covers_nothing(tmp_path):
    planned = {**BESIDE, "valid_from": format_utc(BEGIN + HOUR * 30)}
    assert incomplete_hours(watching_by_the_line(tmp_path, LONE, planned, silent=[LONE])) == [3, 4, 5, 6]


def test_a_lone_mast_that_the_plan_itself_switches_is_no_crowd_either(tmp_path):
    at = format_utc(BEGIN + HOUR * 3.5)
    assert incomplete_hours(watching_by_the_line(tmp_path / "off", {**LONE, "valid_to": at})) == [3, 4]
    assert incomplete_hours(watching_by_the_line(tmp_path / "on", {**LONE, "valid_from": at})) == [3, 4, 5, 6]


def test_the_cover_is_part_of_the_ground_that_a_token_day_rests_on(tmp_path):
    watching = watching_by_the_line(tmp_path, LONE)
    at = watching.folder.grounds.of(watching.ground)
    assert len(read_cover(at).cells) == 31
    (at / "tiles.npy").write_bytes((at / "tiles.npy").read_bytes()[:-12])
    read_cover.cache_clear()
    with pytest.raises(GroundMissing):
        read_cover(at)


def test_what_was_lost_is_known_to_the_monitor(monitor):
    watching = monitor()
    record = {"inputs": [], "files_refused": {"file_damaged": 1}, "rows": [], "files": [], "grounds": {}}
    name = (BEGIN + HOUR * 2).strftime("%Y-%m-%dT%HZ")
    watching.folder.commit("a", {**record, "lost_hours": [name]})
    assert [hour for hour in range(12) if not watching.complete(BEGIN + HOUR * hour)] == list(range(1, 9))
    watching.folder.commit("b", {**record, "lost_hours": None})
    assert not watching.complete(BEGIN + HOUR * 11)


def test_an_alarm_that_comes_in_while_the_edge_runs_counts_from_then_on(spark_free_run):
    run = spark_free_run
    (first,) = run.at(DAY + HOUR + timedelta(minutes=80), covers=DAY + HOUR * 3)
    fall_silent(run, cells_of(run.folder, run.folder.grounds.pinned(DAY).ground), "belt-north")
    (second, third) = run.at(DAY + HOUR * 5, covers=DAY + HOUR * 5)[:2]
    assert [entry.document["feed"]["complete"] for entry in (first, second, third)] == [True, False, False]
    assert len(run.used.noise.seen) == 3  # what was counted is said all the same
    assert sorted(first.document) == sorted(second.document)  # and which zones it was is not


def test_an_alarm_is_held_against_the_cells_of_its_token_day_whatever_plan_the_settings_have_by_then(spark_free_run):
    run = spark_free_run
    run.at(DAY + HOUR + timedelta(minutes=80), covers=DAY + HOUR * 3)
    old = cells_of(run.folder, run.folder.grounds.pinned(DAY).ground)
    plan = pl.read_csv(run.settings.cell_plan, infer_schema=False)
    away = plan.filter(
        ~plan["cell_id"].is_in(old.filter(zone_id="belt-north")["cell"].str.split("/").list.last().to_list())
    )
    changed = run.settings.alarms.with_name("without-the-north.csv")
    away.write_csv(changed)
    run.change(cell_plan=changed)
    fall_silent(run, old, "belt-north")
    second = run.at(DAY + HOUR * 5, covers=DAY + HOUR * 5)[0]
    assert not second.document["feed"]["complete"]


def fall_silent(run, cells, zone):
    """All cells of a zone, half an hour into the token-day's second hour."""
    line = {
        "source": "oss",
        "element": "site-7",
        "kind": "outage",
        "starts_at": format_utc(DAY + HOUR * 1.5),
        "cells": sorted(zone_cells(cells, DAY)[zone]),
    }
    (run.settings.alarms / "a.ndjson").write_text(json.dumps(line) + "\n")


@pytest.fixture
def spark_free_run(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs.edge, "sight", sight_at_once)
    live = LiveRun(OneProcess(), tmp_path, ROWS)
    (tmp_path / "alarms").mkdir()
    live.change(alarms=tmp_path / "alarms")
    yield live
    live.used.ledger.close()


def hours_told(monitor, grid):
    """Eight hours of a carrier: a re-attach of 5,000 while and after a site is out, then a surge of 200."""
    for hour in range(8):
        window = BEGIN + HOUR * hour
        values = usual(window, grid)
        crowd = {3: CROWD, 4: CROWD, 5: CROWD, 7: values["belt-north", Direction.ARRIVAL] + SURGE}
        if hour in crowd:
            values["belt-north", Direction.ARRIVAL] = crowd[hour]
        told = {name: value for name, value in release(grid, window, values).items() if name != "digest"}
        yield window, seal({**told, "feed": {"complete": monitor.complete(window)}}).document()


def alerts_of(monitor, trained, grid, folder):
    shutil.copytree(trained, folder)
    settings = centre_settings(folder)
    store = open_store(settings)
    for window, document in hours_told(monitor, grid):
        take_in(store, [document], now=BEGIN + timedelta(days=1))
        run_detect(store, settings, first_window=window, last_window=window)
    return store, store.alerts_ending_after(BEGIN)


def test_an_outage_and_its_crowd_raise_no_alert_and_a_surge_beside_them_does(monitor, trained, grid, tmp_path):
    _, unknown = alerts_of(monitor(), trained, grid, tmp_path / "without")
    assert unknown[0]["window_start"] == format_utc(BEGIN + HOUR * 3)  # without its alarm the outage looks like a crowd
    store, (alert,) = alerts_of(monitor(outage(monitor, 0.25)), trained, grid, tmp_path / "with")
    assert (alert["window_start"], alert["zone_ids"]) == (format_utc(BEGIN + HOUR * 7), ["belt-north"])
    client = a_client(store, BEGIN + HOUR * 6 + timedelta(minutes=90))
    asked = {"start": format_utc(BEGIN + HOUR * 3), "end": format_utc(BEGIN + HOUR * 6)}
    counts = client.get("/v1/counts", params=asked).json()["items"]
    assert {row["feed_complete"] for row in counts} == {False}
    states = client.get("/v1/expectations", params=asked).json()["items"]
    assert {row["state"] for row in states} == {"degraded"}
    assert {row["observed"] for row in states} == {None}


def test_while_the_newest_window_is_incomplete_every_list_says_degraded(monitor, trained, grid, tmp_path):
    shutil.copytree(trained, tmp_path / "centre")
    settings = centre_settings(tmp_path / "centre")
    store = open_store(settings)
    told = dict(hours_told(monitor(outage(monitor, 0.25)), grid))
    for hour in range(5):
        take_in(store, [told[BEGIN + HOUR * hour]], now=BEGIN + timedelta(days=1))
    run_detect(store, settings, first_window=BEGIN, last_window=BEGIN + HOUR * 4)
    client = a_client(store, BEGIN + HOUR * 5 + timedelta(minutes=90))
    for listed in ("/v1/alerts", "/v1/counts"):
        answer = client.get(listed).json()
        assert (answer["degraded"], answer["degraded_reasons"]) == (True, ["feed_incomplete"])
        assert answer["coverage"]["incomplete"] == ["carrier-a"]
    assert client.get("/v1/alerts").json()["items"] == []


def a_client(store, now):
    client = TestClient(
        create_app(store, ApiSettings(sign_in="development", clock=lambda: now)),
        base_url="http://localhost:8000",
        client=("127.0.0.1", 50000),
    )
    credential = client.post("/dev/sign-in", json={"role": "command"}).json()["credential"]
    client.headers["Authorization"] = f"Bearer {credential}"
    return client
