"""No edge count leaves the carrier: walk everything that leaves, by every way, and find releases and nothing else."""

import ast
import json
import re
import threading
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import ingest.kafka
from ingest.attachment import Refusal
from ingest.files import FileRefusal
from ingest.kafka import REFUSALS, RELEASES, publish_refusals, publish_release
from ingest.release import Release, canonical_json
from jobs.left import what_left
from jobs.push import push_releases
from jobs.stop import start, stop
from movement.advance import Tally
from tests.jobs.border import DAY
from tests.jobs.test_status import standing_of
from tests.jobs.told import ToldEdge

ROOT = Path(__file__).parents[2]
COUNTED = [70001237, 70001249, 70001273, 70001281, 70001303]
"""Figures of the edge that no release has by chance."""
WORDS = ("core/0", "probe-7", "site-7", "odd counts", "refused:", "unknown_cell", "silent", "duplicate")
"""What the edge says inside of its sources, elements, people and rows."""


@pytest.fixture
def edge(tmp_path):
    """An edge that has counted, refused, lost, stopped and told."""
    told = ToldEdge(tmp_path, centre_url="http://127.0.0.1:1")
    first, second, third, fourth, fifth = COUNTED
    told.marks_reach(7)
    told.took_in("a", ("probe-7", 5, "received", first), ("probe-7", 5, "refused:late", second))
    told.took_in("b", ("probe-7", 5, "unknown_cell", third), files_refused={"file_damaged": fourth})
    numbers = told.folder.root / "numbers" / "token_day=2026-03-02T02Z.json"
    numbers.parent.mkdir()
    tally = {**asdict(Tally(sightings=fifth, duplicate=fifth)), "after_freeze": fifth}
    numbers.write_text(json.dumps({"2026-03-02T04Z": tally}))
    alarm = {"source": "oss", "element": "site-7", "kind": "outage", "starts_at": "2026-03-02T05:00:00Z"}
    (told.settings.alarms / "a.ndjson").write_text(json.dumps(alarm) + "\n")
    stop(told.settings.state, "odd counts", now=DAY)
    start(told.settings.state, "odd counts no more", now=DAY)
    told.folder.write_covered_until(DAY)
    for hour in range(4):
        told.tell(hour, complete=hour != 2)
    yield told
    told.ledger.close()


class Centre:
    """A centre that keeps every byte that it is sent."""

    def __init__(self):
        self.got = got = []

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                got.append((self.path, dict(self.headers), body))
                self.send_response(201)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


class Topics:
    """A producer that keeps every record that it is given."""

    def __init__(self):
        self.got = []

    def __call__(self, config):
        return self

    def produce(self, topic, *, key, value, headers, on_delivery):
        self.got.append((topic, key, value, headers))
        on_delivery(None, None)

    def flush(self, *_):
        return 0


def no_count_in(content):
    text = content.decode()
    assert not [number for number in COUNTED if str(number) in text]
    assert not [word for word in WORDS if word in text]


def is_a_release_and_nothing_else(content):
    release = Release.model_validate_json(content)
    assert canonical_json(release.document()) == content
    no_count_in(content)


def test_what_leaves_by_the_outbox_is_releases(edge):
    outside = edge.outside()
    assert len(outside) == 4
    for name, content in outside.items():
        assert re.fullmatch(r"carrier-a_zone-hour_\d{4}-\d\d-\d\dT\d\dZ\.json", name)
        is_a_release_and_nothing_else(content)


def test_what_leaves_by_a_push_is_releases(edge):
    centre = Centre()
    settings = edge.settings.model_copy(update={"centre_url": centre.url})
    assert push_releases(settings, "credential")["pushed"] == 4
    centre.server.shutdown()
    assert [body for _, _, body in centre.got] == [content for _, content in sorted(edge.outside().items())]
    for path, headers, body in centre.got:
        assert path == "/v1/releases"
        is_a_release_and_nothing_else(body)
        own = {name.lower() for name in headers} - {"host", "user-agent", "accept", "accept-encoding", "connection"}
        assert own == {"authorization", "content-type", "content-length"}
        no_count_in(json.dumps(headers).encode())


def test_what_leaves_by_the_release_topic_is_releases(edge, monkeypatch):
    topics = Topics()
    monkeypatch.setattr(ingest.kafka, "Producer", topics)
    for entry in edge.ledger.entries():
        publish_release("broker:9092", Release.model_validate(entry.document))
    assert len(topics.got) == 4
    for topic, key, value, headers in topics.got:
        assert topic == RELEASES
        assert re.fullmatch(rb"carrier-a\|zone-hour\|2026-03-02T\d\d:00:00Z", key)
        assert headers == [("schema-version", b"1")]
        is_a_release_and_nothing_else(value)


def test_the_refusal_topic_stays_inside_and_has_room_for_reasons_only(monkeypatch):
    topics = Topics()
    monkeypatch.setattr(ingest.kafka, "Producer", topics)
    reasons = {reason.value: 1 for reason in (*Refusal, *FileRefusal)}
    publish_refusals("broker:9092", "batch", reasons)
    ((topic, _, value, _),) = topics.got
    assert topic == REFUSALS != RELEASES
    assert json.loads(value) == {"batch": "batch", "refused": reasons}
    for told in ({"received": 7}, {"unknown_cell": 7}, {"late": "452040123456789"}, {"late": True}):
        with pytest.raises(ValueError, match="reasons"):
            publish_refusals("broker:9092", "batch", told)
    assert len(topics.got) == 1


def test_what_left_shows_the_outside_and_nothing_of_the_inside(edge):
    shown = [one.row() for one in what_left(edge.folder, edge.ledger)]
    assert [row["document"] for row in shown] == [json.loads(body) for _, body in sorted(edge.outside().items())]
    no_count_in(json.dumps(shown).encode())


def test_the_figures_are_there_for_the_carrier(edge):
    """The walk above means something only if the edge knows what it looks for."""
    inside = json.dumps(standing_of(edge).document())
    assert all(str(number) in inside for number in (COUNTED[0], COUNTED[1], COUNTED[2], COUNTED[3]))


CLIENTS = {"httpx2", "httpx", "requests", "urllib.request", "http.client", "socket", "smtplib", "ftplib", "aiohttp"}
DOORS = {"jobs/push.py"}
"""Where bytes of the edge go out by the network; Kafka's client is held to its one file by import-linter."""
INWARD = {"ingest/kafka.py": {"registry_schemas"}}
"""Functions that fetch something in, and send nothing of the edge."""


def test_the_push_is_the_only_door_to_the_network():
    found = set()
    for folder in ("ingest", "geofence", "movement", "privacy", "jobs"):
        for path in (ROOT / folder).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            for top in ast.parse(path.read_text(encoding="utf-8")).body:
                if getattr(top, "name", None) in INWARD.get(name, set()):
                    continue
                for node in ast.walk(top):
                    modules = [node.module] if isinstance(node, ast.ImportFrom) else []
                    modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                    found |= {name for module in modules if module in CLIENTS}
    assert found == DOORS


def test_what_makes_a_release_never_reads_what_the_status_reads():
    """The status looks at everything; nothing that lets a release leave may look at the status."""
    for name in ("jobs/push.py", "jobs/left.py", "jobs/close.py", "jobs/edge.py", "jobs/watch.py", "ingest/feed.py"):
        tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
        brought = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not brought & {"jobs.status", "jobs.standing", "jobs.equations"}, name
