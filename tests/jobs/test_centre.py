"""The centre's jobs on a real store: what goes in by a drop folder or a push comes out as alerts."""

import json
import shutil
import socket
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from geofence.grid import read_zone_grid
from ingest.release import Direction, format_utc, seal
from jobs.centre import CentreNotReady, open_store, read_releases, release_files, run_detect, run_train, take_in
from jobs.push import PushRefused, push_releases
from jobs.settings import CentreSettings
from privacy.policy import ReleasePolicy
from tests.jobs.border import FIXTURES, edge_settings

HOUR = timedelta(hours=1)
START = datetime(2026, 3, 1, 2, tzinfo=UTC)
DAYS = 45


def centre_settings(folder):
    return CentreSettings(
        store=f"sqlite:///{folder / 'centre.sqlite'}",
        models=folder / "models",
        accept_lineages=["live", "replay", "simulated"],
        sign_in="development",
    )


@pytest.fixture(scope="module")
def grid():
    return read_zone_grid(FIXTURES / "network_a_zones.geojson", turn_hour_utc=2, valid_from=START)


def release(grid, window, values, *, lineage="replay-1"):
    cells = sorted((zone.zone_id, direction) for zone in grid.zones for direction in Direction)
    return seal(
        {
            "carrier": "carrier-a",
            "grid_id": grid.grid_id,
            "level": "zone-hour",
            "window_start": format_utc(window),
            "window_end": format_utc(window + HOUR),
            "mechanism": ReleasePolicy().mechanism(),
            "lineage": lineage,
            "counts": [
                {"zone_id": zone, "direction": direction.value, "value": values.get((zone, direction), None)}
                for zone, direction in cells
            ],
            "feed": {"complete": True},
        }
    ).document()


def usual(window, grid):
    """A plain rhythm: 60 to 90 by the hour of the day, with a little scatter that is not noise but arithmetic."""
    wave = 60 + 25 * (6 <= window.hour <= 14) + (window.day * 7 + window.hour * 3) % 11 - 5
    return {(zone.zone_id, direction): wave for zone in grid.zones for direction in Direction if wave >= 50}


@pytest.fixture(scope="module")
def trained(grid, tmp_path_factory):
    """A centre with 45 days of history and a model, before anything unusual."""
    folder = tmp_path_factory.mktemp("centre")
    settings = centre_settings(folder)
    store = open_store(settings)
    store.put_grid(grid.document)
    store.put_carrier("carrier-a", "Carrier A")
    windows = [START + HOUR * hour for hour in range(24 * DAYS)]
    outcome = take_in(store, (release(grid, w, usual(w, grid)) for w in windows), now=START + timedelta(days=DAYS + 1))
    assert outcome == {"accepted": len(windows)}
    run_train(
        store,
        settings,
        first_window=windows[0],
        last_window=windows[-1],
        proposed_by="a",
        approved_by="b",
        reason="test",
    )
    for sector in {zone.sector_id for zone in grid.zones}:
        store.put_arming(
            sector,
            legal_basis="test",
            impact_assessment="test",
            armed_from=START,
            expires_at=START + timedelta(days=100),
        )
    store.close()
    return folder


def test_a_surge_becomes_one_alert_that_closes_by_itself_when_detection_runs_hourly(trained, grid, tmp_path):
    shutil.copytree(trained, tmp_path / "centre")
    settings = centre_settings(tmp_path / "centre")
    store = open_store(settings)
    begin, surge = START + timedelta(days=DAYS), range(5, 8)
    for hour in range(16):
        window = begin + HOUR * hour
        values = usual(window, grid)
        if hour in surge:
            values["belt-north", Direction.ARRIVAL] = 400
        take_in(store, [release(grid, window, values)], now=begin + timedelta(days=2))
        run_detect(store, settings, first_window=window, last_window=window)
        seen = store.alerts_ending_after(begin)
        assert len(seen) == (1 if hour >= 5 else 0)
    (alert,) = seen
    assert alert["zone_ids"] == ["belt-north"]
    assert alert["direction"] == "arrival"
    assert (alert["window_start"], alert["window_end"]) == (format_utc(begin + HOUR * 5), format_utc(begin + HOUR * 8))
    assert alert["status"] == "closed"
    assert store.open_alerts() == []
    assert len(alert["release_digests"]) == 3


def test_a_carrier_that_does_not_speak_makes_the_hour_degraded_and_not_calm(trained, grid, tmp_path):
    shutil.copytree(trained, tmp_path / "centre")
    settings = centre_settings(tmp_path / "centre")
    store = open_store(settings)
    window = START + timedelta(days=DAYS)
    report = run_detect(store, settings, first_window=window, last_window=window)
    assert report["alerts_changed"] == []
    assert set(report["states"]) <= {"degraded", "no_coverage"}


def test_a_carrier_that_the_model_never_learned_from_asks_for_a_new_model(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "centre")
    settings = centre_settings(tmp_path / "centre")
    store = open_store(settings)
    store.put_carrier("carrier-b", "Carrier B")
    window = START + timedelta(days=DAYS)
    with pytest.raises(CentreNotReady, match="tidemark train"):
        run_detect(store, settings, first_window=window, last_window=window)


def test_a_drop_folder_goes_in_but_for_what_is_refused(trained, grid, tmp_path):
    shutil.copytree(trained, tmp_path / "centre")
    store = open_store(centre_settings(tmp_path / "centre"))
    folder = tmp_path / "drop"
    folder.mkdir()
    good = release(grid, START + timedelta(days=DAYS), {})
    (folder / "a.json").write_text(json.dumps(good))
    (folder / "b.json").write_text("{")
    (folder / "c.ndjson").write_text(json.dumps(good) + "\n" + json.dumps({**good, "imsi": "452040123456789"}) + "\n")
    outcome = take_in(store, read_releases(release_files(folder)), now=START + timedelta(days=DAYS + 1))
    assert outcome["accepted"] == 1
    assert outcome["same_digest"] == 1
    assert sum(count for name, count in outcome.items() if name.startswith("refused:")) == 2


@pytest.fixture
def served(trained, tmp_path):
    """A real server on a free port of this machine, over a copy of the centre."""
    import uvicorn

    from api.app import create_app
    from api.settings import ApiSettings

    shutil.copytree(trained, tmp_path / "served")
    store = open_store(centre_settings(tmp_path / "served"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    clock = START + timedelta(days=DAYS + 2)
    application = create_app(store, ApiSettings(sign_in="development", clock=lambda: clock))
    server = uvicorn.Server(uvicorn.Config(application, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield store, f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


def test_a_push_brings_the_outbox_over_once_and_in_order(served, grid, tmp_path):
    store, url = served
    settings = edge_settings(tmp_path, centre_url=url)
    outbox = settings.state / "releases"
    outbox.mkdir(parents=True)
    begin = START + timedelta(days=DAYS)
    for hour in range(3):
        document = release(grid, begin + HOUR * hour, {})
        (outbox / f"carrier-a_zone-hour_{hour:02d}.json").write_text(json.dumps(document))
    assert push_releases(settings, None) == {"waiting": 3, "pushed": 3, "refused": None}
    assert push_releases(settings, None) == {"waiting": 0, "pushed": 0, "refused": None}
    shutil.rmtree(settings.state / "receipts")  # an answer that was lost: the same release again changes nothing
    assert push_releases(settings, None)["pushed"] == 3
    assert store.newest_window_start() == begin + HOUR * 2


def test_a_push_stops_at_what_the_centre_does_not_take(served, grid, tmp_path):
    _, url = served
    settings = edge_settings(tmp_path, carrier="carrier-z", centre_url=url)
    outbox = settings.state / "releases"
    outbox.mkdir(parents=True)
    (outbox / "a.json").write_text(json.dumps(release(grid, START + timedelta(days=DAYS), {})))
    report = push_releases(settings, None)
    assert report["pushed"] == 0
    assert report["refused"]["status"] == 403


def test_a_push_to_another_machine_needs_a_credential(tmp_path):
    settings = edge_settings(tmp_path, centre_url="https://centre.example")
    (settings.state / "releases").mkdir(parents=True)
    (settings.state / "releases" / "a.json").write_text("{}")
    with pytest.raises(PushRefused, match="credential"):
        push_releases(settings, None)
    with pytest.raises(PushRefused, match="https only"):
        push_releases(settings.model_copy(update={"centre_url": "http://centre.example"}), "secret")


def test_a_centre_that_does_not_answer_leaves_the_outbox_waiting(tmp_path):
    settings = edge_settings(tmp_path, centre_url="http://127.0.0.1:9")
    (settings.state / "releases").mkdir(parents=True)
    (settings.state / "releases" / "a.json").write_text("{}")
    with pytest.raises(PushRefused, match="waits in the outbox"):
        push_releases(settings, None)
