"""What leaves a topic for good, and what stays on it: refusal counts of the edge, releases at the centre. No broker."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

import ingest.kafka
import jobs.kafka_edge
from geofence.grid import read_zone_grid
from ingest.kafka import KafkaUnreachable
from ingest.release import canonical_json
from jobs.centre import ReleasesWait, consume, open_store
from jobs.kafka_edge import send_refusals
from jobs.kafka_settings import CentreKafkaSettings, KafkaSettings
from jobs.settings import CentreSettings
from jobs.tables import EdgeFolder
from tests.jobs.border import FIXTURES
from tests.jobs.test_centre import release

START = datetime(2026, 3, 1, 2, tzinfo=UTC)
NOW = START + timedelta(days=2)


class Topics:
    """Topics with one partition, and the one consumer group that reads them: a stand-in for the client's Consumer."""

    def __init__(self, **contents):
        self.contents, self.committed = contents, dict.fromkeys(contents, 0)

    def __call__(self, _):
        return Reader(self)


class Reader:
    def __init__(self, topics):
        self.topics = topics

    def subscribe(self, names):
        (self.name,) = names
        self.at = self.topics.committed[self.name]

    def assignment(self):
        return [self.name]

    def poll(self, _):
        found = self.topics.contents[self.name][self.at : self.at + 1]
        self.at += len(found)
        return SimpleNamespace(value=lambda: found[0], error=lambda: None, place=self.at) if found else None

    def commit(self, message, asynchronous):
        assert not asynchronous
        self.topics.committed[self.name] = message.place

    def close(self):
        pass


class Centre:
    def __init__(self, folder, monkeypatch, **contents):
        self.topics = Topics(**contents)
        monkeypatch.setattr(ingest.kafka, "Consumer", self.topics)
        kafka = CentreKafkaSettings(bootstrap="broker:9092", topics={"a": "carrier-a", "b": "carrier-b"})
        store = f"sqlite:///{folder / 'centre.sqlite'}"
        self.settings = CentreSettings(store=store, accept_lineages=["live", "replay"], kafka=kafka)
        self.store = open_store(self.settings)

    def consume(self, now=NOW):
        return consume(self.store, self.settings, now=now, quiet_s=0.01)


@pytest.fixture(scope="module")
def grid():
    return read_zone_grid(FIXTURES / "network_a_zones.geojson", turn_hour_utc=2, valid_from=START)


def told(grid, hour=0, **changes):
    return canonical_json({**release(grid, START + timedelta(hours=hour), {}), **changes})


def test_a_release_that_the_centre_is_not_ready_for_stays_on_its_topic_and_comes_again(tmp_path, monkeypatch, grid):
    centre = Centre(tmp_path, monkeypatch, a=[told(grid), told(grid, 1)], b=[])
    with pytest.raises(ReleasesWait, match=r"a: unknown_carrier \(add the carrier\)"):
        centre.consume()
    centre.store.put_carrier("carrier-a", "carrier-a")
    with pytest.raises(ReleasesWait, match="a: unknown_grid"):
        centre.consume()
    centre.store.put_grid(grid.document)
    with pytest.raises(ReleasesWait, match=r"a: window_unsettled .* Taken in before: accepted 1"):
        centre.consume(now=START + timedelta(hours=2, minutes=30))
    assert centre.topics.committed["a"] == 1
    assert centre.consume() == {"accepted": 1}
    assert centre.topics.committed["a"] == 2


def test_a_release_from_before_the_grid_is_in_force_waits_for_the_grid_that_is(tmp_path, monkeypatch, grid):
    centre = Centre(tmp_path, monkeypatch, a=[told(grid, -24)], b=[])
    centre.store.put_carrier("carrier-a", "carrier-a")
    centre.store.put_grid(grid.document)
    with pytest.raises(ReleasesWait, match="a: grid_not_in_force"):
        centre.consume()
    assert centre.topics.committed["a"] == 0


def test_a_carrier_whose_releases_wait_holds_up_no_other(tmp_path, monkeypatch, grid):
    centre = Centre(tmp_path, monkeypatch, a=[told(grid, 47)], b=[told(grid)])
    for carrier in ("carrier-a", "carrier-b"):
        centre.store.put_carrier(carrier, carrier)
    centre.store.put_grid(grid.document)
    with pytest.raises(ReleasesWait, match=r"a: window_unsettled .* Taken in before: refused:other_carrier 1"):
        centre.consume()
    assert centre.topics.committed == {"a": 0, "b": 1}


def test_a_refusal_that_is_final_is_not_asked_twice(tmp_path, monkeypatch, grid):
    centre = Centre(tmp_path, monkeypatch, a=[b"{", told(grid)], b=[])
    centre.store.put_carrier("carrier-a", "carrier-a")
    centre.store.put_grid(grid.document)
    assert centre.consume() == {"refused:contract": 1, "accepted": 1}
    assert centre.consume() == {}


def test_refusal_counts_of_a_batch_that_moved_to_the_past_while_the_brokers_were_away_are_sent(tmp_path, monkeypatch):
    folder, sent, away = EdgeFolder(tmp_path), [], [True, False, False]
    kafka = KafkaSettings(bootstrap="broker:9092", refusals_topic="refusal-counts")

    def publish(_, batch, refused, *__, **___):
        if away.pop(0):
            raise KafkaUnreachable("away")
        sent.append((batch, refused))

    monkeypatch.setattr(jobs.kafka_edge, "publish_refusals", publish)
    rows = [{"source": "rows/0", "hour": "2026-03-02T05Z", "what": "refused:late", "rows": 2}]
    folder.commit("0a", {"rows": rows, "files": []})
    with pytest.raises(KafkaUnreachable):
        send_refusals(kafka, folder)
    folder.past_batches.mkdir()
    (folder.batches / "0a.json").rename(folder.past_batches / "0a.json")
    assert send_refusals(kafka, folder) == 1
    assert sent == [("0a", {"late": 2})]
    folder.commit("0b", {"rows": rows, "files": []})
    assert send_refusals(kafka, folder) == 1
    assert send_refusals(kafka, folder) == 0
    assert len(sent) == 2
