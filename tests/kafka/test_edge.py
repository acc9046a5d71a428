"""The edge and the centre joined by Kafka: releases leave once and are taken in once; a broker that dies ends no run."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Producer

from geofence.grid import read_zone_grid
from ingest.kafka import publish_mark, publish_release
from ingest.marks import FeedMark
from ingest.release import Release
from jobs.centre import CentreNotReady, consume, open_store
from jobs.kafka_edge import make_topics, send_refusals, send_releases
from jobs.kafka_settings import CentreKafkaSettings
from jobs.settings import CentreSettings
from jobs.stop import EdgeStopped, start, stop
from jobs.tables import EdgeFolder
from tests.jobs.border import FIXTURES
from tests.jobs.test_centre import release
from tests.kafka.edge import KafkaEdge, lines_of_now

NOW = datetime(2026, 3, 3, tzinfo=UTC)
START = datetime(2026, 3, 1, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def grid():
    return read_zone_grid(FIXTURES / "network_a_zones.geojson", turn_hour_utc=2, valid_from=START)


def centre_of(folder, broker, topic, carrier="carrier-a"):
    kafka = CentreKafkaSettings(bootstrap=broker.bootstrap, topics={topic: carrier}, group=f"centre-of-{topic}")
    return CentreSettings(
        store=f"sqlite:///{folder / 'centre.sqlite'}", accept_lineages=["live", "replay"], kafka=kafka
    )


def store_of(settings, grid):
    store = open_store(settings)
    store.put_grid(grid.document)
    for carrier in ("carrier-a", "carrier-b"):
        store.put_carrier(carrier, carrier)
    return store


# Releases


def test_releases_leave_once_and_are_taken_in_once_however_often_they_come(broker, topic, grid, tmp_path):
    edge = KafkaEdge(None, tmp_path / "edge", broker, "rows", kafka={"releases_topic": topic})
    documents = [release(grid, START + timedelta(hours=hour), {}) for hour in range(3)]
    edge.folder.releases.mkdir(parents=True)
    for number, document in enumerate(documents):
        (edge.folder.releases / f"{number}.json").write_text(json.dumps(document))
    settings = centre_of(tmp_path, broker, topic)
    store = store_of(settings, grid)
    assert send_releases(edge.settings.kafka, edge.folder) == 3
    assert send_releases(edge.settings.kafka, edge.folder) == 0
    assert consume(store, settings, now=NOW, quiet_s=1) == {"accepted": 3}
    assert consume(store, settings, now=NOW, quiet_s=1) == {}
    for receipt in (edge.folder.root / "sent").iterdir():
        receipt.unlink()  # as if the process had died before it could remember
    assert send_releases(edge.settings.kafka, edge.folder) == 3
    assert consume(store, settings, now=NOW, quiet_s=1) == {"same_digest": 3}


def test_a_release_of_another_carrier_is_refused_on_a_carriers_topic(broker, topic, grid, tmp_path):
    settings = centre_of(tmp_path, broker, topic, carrier="carrier-b")
    publish_release(broker.bootstrap, Release.model_validate(release(grid, START, {})), topic=topic)
    (outcome,) = consume(store_of(settings, grid), settings, now=NOW, quiet_s=1).items()
    assert outcome[0].startswith("refused:")
    assert outcome[1] == 1


def test_nothing_leaves_by_kafka_while_the_stop_switch_is_on(broker, topic, grid, tmp_path):
    edge = KafkaEdge(None, tmp_path, broker, "rows", kafka={"releases_topic": topic})
    edge.folder.releases.mkdir(parents=True)
    (edge.folder.releases / "0.json").write_text(json.dumps(release(grid, START, {})))
    stop(edge.folder.root, "a test", now=NOW)
    with pytest.raises(EdgeStopped):
        send_releases(edge.settings.kafka, edge.folder)
    assert broker.records(topic) == []
    start(edge.folder.root, "over", now=NOW)
    assert send_releases(edge.settings.kafka, edge.folder) == 1
    assert len(broker.records(topic)) == 1


def test_a_centre_without_topics_says_what_to_set(tmp_path):
    settings = CentreSettings(store=f"sqlite:///{tmp_path / 'centre.sqlite'}")
    with pytest.raises(CentreNotReady, match=r"centre\.kafka"):
        consume(open_store(settings), settings, now=NOW)


# Refusal counts


def test_refusals_leave_as_counts_by_reason_once_for_each_batch(broker, topic, tmp_path):
    edge = KafkaEdge(None, tmp_path, broker, "rows", kafka={"refusals_topic": topic})
    rows = [
        {"source": "rows/0", "hour": "2026-03-02T05Z", "what": what, "rows": count}
        for what, count in (("received", 10), ("refused:late", 2), ("refused:not_json", 1), ("sighting", 7))
    ]
    edge.folder.commit("0a", {"rows": [*rows, {**rows[1], "hour": None}], "files": []})
    edge.folder.commit("0b", {"rows": rows[:1], "files": []})
    assert send_refusals(edge.settings.kafka, edge.folder) == 2
    assert send_refusals(edge.settings.kafka, edge.folder) == 0
    (record,) = broker.records(topic)
    assert json.loads(record.value()) == {"batch": "0a", "refused": {"late": 4, "not_json": 1}}


# The command


def settings_file(folder, broker, topic, **kafka):
    now = datetime.now(UTC)
    lines = [
        "[edge]",
        'carrier = "carrier-a"',
        'own_networks = ["204-99"]',
        'networks_across = ["206-98"]',
        f'border = "{FIXTURES}/network_a_border.geojson"',
        f'zone_grid = "{FIXTURES}/network_a_zones.geojson"',
        f'cell_plan = "{FIXTURES}/network_a_cells.csv"',
        "turn_hour_utc = 2",
        f'grid_valid_from = "{now - timedelta(days=3):%Y-%m-%d}T02:00:00Z"',
        'sources = ["core/0"]',
        'state = "state"',
        'master = "local[2]"',
        'driver_memory = "1g"',
        "most_refused = 1.0",
        "[edge.kafka]",
        f'bootstrap = "{broker.bootstrap}"',
        f'topic = "{topic}"',
        f'marks_topic = "{topic}-marks"',
        *(f'{name} = "{value}"' for name, value in kafka.items()),
    ]
    path = folder / "tidemark.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def command(*words, **environment):
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@contextmanager
def running(config):
    """`tidemark edge run --every 1`, ended by SIGTERM; gives its process, whose output is JSON lines."""
    words = [sys.executable, "-m", "jobs.cli", "edge", "run", "--every", "1", "--json", "--config", str(config)]
    log = config.parent / "edge.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(words, stdout=sink, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def until(true, seconds=180):
    """Wait for something that happens in another process."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.2)


def received(folder):
    return sum(entry["rows"] for record in folder.records() for entry in record["rows"] if entry["what"] == "received")


@pytest.mark.spark
def test_the_edge_runs_on_while_its_broker_is_killed_and_ends_when_told(broker, topic, tmp_path):
    config, folder = settings_file(tmp_path, broker, topic), EdgeFolder(tmp_path / "state")
    broker.make_topic(f"{topic}-marks", partitions=1)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "enable.idempotence": True, "log_level": 0})
    failed = []

    def produce(lines):
        for line in lines:
            producer.produce(topic, line, on_delivery=lambda error, _: error and failed.append(error.name()))
            producer.poll(0)

    first, second, third = (lines_of_now(seed=seed, devices=100) for seed in (1, 2, 3))
    with running(config) as process:
        produce(first)
        producer.flush(60)
        until(lambda: folder.batches.exists() and received(folder) == len(first))
        # One process a folder: another driver is told so, and has done nothing.
        answer = command("edge", "run", "--config", config)
        assert answer.returncode == 2
        assert "another process" in answer.stderr
        produce(second)
        broker.kill()
        produce(third)
        until(lambda: '"away": "' in (tmp_path / "edge.log").read_text(), seconds=240)
        broker.run("start")
        assert producer.flush(120) == 0
        assert failed == []
        publish_mark(
            broker.bootstrap, FeedMark("core", 0, datetime.now(UTC) - timedelta(seconds=5)), topic=f"{topic}-marks"
        )
        until(lambda: received(folder) >= len(first) + len(second) + len(third) and folder.covered_until is not None)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert received(folder) == len(first) + len(second) + len(third) == len(broker.records(topic))
    assert "Traceback" not in (tmp_path / "edge.log").read_text()


def test_topics_are_made_and_checked_by_a_command(broker, topic, tmp_path):
    config = settings_file(tmp_path, broker, f"{topic}-own", releases_topic=f"{topic}-releases")
    answer = command("edge", "make-topics", "--replication", 1, "--partitions", 3, "--json", "--config", config)
    assert json.loads(answer.stdout)["made"] == [f"{topic}-own", f"{topic}-own-marks", f"{topic}-releases"]
    again = KafkaEdge(None, tmp_path, broker, f"{topic}-own", kafka={"releases_topic": f"{topic}-releases"})
    assert make_topics(again.settings, partitions=9, replication=1) == {"made": [], "partitions": 3}


def test_a_gap_is_recorded_by_a_command_that_has_the_folder_for_itself(broker, topic, tmp_path):
    config, folder = settings_file(tmp_path, broker, topic), EdgeFolder(tmp_path / "state")
    answer = command("edge", "record-gap", "--json", "--config", config)
    assert json.loads(answer.stdout)["recorded"] is False
    with folder.held():
        refused = command("edge", "record-gap", "--config", config)
    assert refused.returncode == 2
    assert "another process" in refused.stderr


def test_a_secret_in_the_settings_file_is_refused_by_its_name_and_one_from_the_environment_is_never_shown(
    broker, topic, tmp_path
):
    config = settings_file(tmp_path, broker, topic)
    plain = config.read_text()
    config.write_text(plain + '[edge.kafka.client]\nsasl.password = "open-sesame"\n')
    refused = command("settings", "show", "--config", config)
    assert refused.returncode == 2
    assert "edge.kafka.client.sasl.password" in refused.stderr
    assert "sesame" not in refused.stderr + refused.stdout
    config.write_text(plain)
    secret = json.dumps({"security.protocol": "SASL_PLAINTEXT", "sasl.password": "open-sesame"})
    shown = command("settings", "show", "--config", config, TIDEMARK_EDGE__KAFKA__CLIENT=secret)
    assert "edge.kafka.client.sasl.password" in shown.stdout
    assert "sesame" not in shown.stderr + shown.stdout
