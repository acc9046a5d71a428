"""`python -m tests.campaigns.kills`: SIGKILL from outside at random times, until nothing is left to do; nothing may be lost.

Real Spark and a real broker. What is killed: the driver with its whole process group, one of Spark's Python workers, or
the broker. `files`: a replay of files, started again until it has come to its end. `kafka`: a live edge that reads a topic
while a producer writes to it; every row is there once at the end, and the hours are then closed as if it were later.
In every round another driver is started on the folder of the one that runs: it must be told so, and do nothing.
At the end of each round the table, the exact counts and the releases are held against the plain oracle and an undisturbed
run. Every edge runs in a process of its own with noise that can be taken off again (`tests.campaigns.marked`).
"""

import argparse
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

os.environ.setdefault("POLARS_MAX_THREADS", "1")

from confluent_kafka import Producer

from bench.machine import provenance
from geofence.grid import ZoneKind
from ingest.kafka import publish_mark
from ingest.marks import FeedMark
from ingest.release import Direction
from ingest.token_day import hour_start, token_day_start
from jobs.edge import open_edge, place_cells, run_close
from jobs.milestone import milestones
from jobs.settings import read_settings
from jobs.tables import EdgeFolder
from privacy.ledger import Ledger
from tests.campaigns import witness
from tests.campaigns.marked import Marked
from tests.jobs.border import ACROSS, DAY, FIXTURES, OWN, feed, ndjson_lines, plainly_counted, write_parquet
from tests.jobs.edge_run import EdgeRun
from tests.jobs.one_process import OneProcess, sight_at_once
from tests.kafka.broker import Broker, free_ports

REPOSITORY = Path(__file__).parent.parent.parent
HOUR = timedelta(hours=1)
WINDOWS = 4
MOST_STARTS = 12
LONGEST_S = 300.0
KILLS_A_ROUND = 4
BUSY = 2
TWO_DRIVERS = "two drivers worked on one folder"


def main() -> int:
    """Print what became of the rounds as one JSON object; exit code 1 if anything was lost, doubled or wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--from-kafka", type=float, default=0.4, help="share of the kills in rounds that read a topic")
    parser.add_argument("--devices", type=int, default=400, help="of the feed of a round")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where everything is kept (default: a temporary folder)")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tidemark-kills-", dir=asked.folder))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        report = campaign(folder, asked.kills, asked.from_kafka, asked.devices, asked.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps({**provenance(asked.seed), **report}, indent=1))
    return 1 if report["faults"] or report["kills"] < asked.kills else 0


def campaign(folder, kills, from_kafka, devices, seed):
    """Rounds until there were as many kills as asked for."""
    began, chance, rounds = time.monotonic(), random.Random(seed), []
    by_kafka = round(kills * from_kafka)
    if kills - by_kafka:
        truth = undisturbed(folder / "calm", devices, seed)
        while (left := kills - by_kafka - done(rounds)) > 0:
            rounds.append(files_round(folder / f"files-{len(rounds)}", truth, chance, min(left, KILLS_A_ROUND)))
            tell(rounds)
    if by_kafka:
        broker = Broker(folder / "broker", *free_ports(3))
        broker.folder.mkdir(parents=True)
        (broker.folder / "extra.properties").write_text("")
        broker.run("start")
        try:
            while (left := kills - done(rounds)) > 0:
                room = folder / f"kafka-{len(rounds)}"
                rounds.append(kafka_round(room, broker, chance, min(left, KILLS_A_ROUND), devices, seed + len(rounds)))
                tell(rounds)
        finally:
            broker.run("stop")
    seconds = [second for one in rounds for second in one["seconds"]]
    faults = Counter(fault for one in rounds for fault in one["faults"])
    return {
        "rounds": len(rounds),
        "kills": done(rounds),
        "killed": dict(Counter(victim for one in rounds for victim in one["killed"])),
        "starts": sum(one["starts"] for one in rounds),
        "rows": sum(one["rows"] for one in rounds),
        "faults": dict(faults),
        "lost_sightings": faults[witness.LOST],
        "doubled_sightings": faults[witness.DOUBLED],
        "wrong_counts": faults[witness.WRONG],
        "second_digests": faults[witness.SECOND],
        "second_drivers_turned_away": len(rounds) - faults[TWO_DRIVERS],
        "recovery_seconds": {"median": round(median(seconds), 1), "max": round(max(seconds), 1)} if seconds else None,
        "wall_seconds": round(time.monotonic() - began),
    }


def done(rounds):
    return sum(len(one["killed"]) for one in rounds)


def tell(rounds):
    last = rounds[-1]
    print(f"{done(rounds)} kills; {last['kind']}: {last['killed']}, {last['faults'] or 'no fault'}", file=sys.stderr)


# One edge in a process of its own


def config(folder, turn_hour_utc, valid_from, *lines):
    """The settings of a round's edge."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tidemark.toml"
    stated = [
        "[edge]",
        'carrier = "carrier-a"',
        f'own_networks = ["{OWN}"]',
        f'networks_across = ["{ACROSS}"]',
        f'border = "{FIXTURES / "network_a_border.geojson"}"',
        f'zone_grid = "{FIXTURES / "network_a_zones.geojson"}"',
        f'cell_plan = "{FIXTURES / "network_a_cells.csv"}"',
        f"turn_hour_utc = {turn_hour_utc}",
        f'grid_valid_from = "{valid_from:%Y-%m-%dT%H:%M:%SZ}"',
        'state = "edge"',
        'master = "local[2]"',
        'driver_memory = "1g"',
        *lines,
    ]
    path.write_text("\n".join(stated) + "\n")
    return path


class Running:
    """`tidemark edge run` in a session of its own, its output in a file."""

    def __init__(self, settings, *words):
        self.log = settings.parent / "edge.log"
        command = [sys.executable, "-m", "tests.campaigns.marked", "edge", "run", "--json", *words]
        command += ["--config", str(settings)]
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
            )

    def is_over(self):
        return self.process.poll() is not None

    def ended(self, seconds=LONGEST_S):
        """Its exit code; a run that never ends is killed and has none."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def kill(self):
        """The driver, its JVM and its workers, all at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def kill_worker(self, chance):
        """One of Spark's Python workers; whether there was one."""
        workers = workers_of(self.process.pid)
        if not workers:
            return False
        try:
            os.kill(chance.choice(workers), signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True


def turned_away(running, settings, lock):
    """Whether another driver is refused while one runs: it must end with exit code 2."""
    deadline = time.monotonic() + 60
    while not (lock.exists() and is_held(lock)) and not running.is_over() and time.monotonic() < deadline:
        time.sleep(0.02)
    other = Running(settings)
    code = other.ended(120)
    # One that had ended meanwhile refuses nobody.
    return code == BUSY or running.is_over()


def is_held(lock):
    with lock.open("r") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def workers_of(root):
    """The processes that Spark's daemon has forked below a process."""
    children, words = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                words[int(entry.name)] = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        process = waiting.pop()
        below = children.get(process, [])
        waiting += below
        if b"pyspark.daemon" in words.get(process, b"") and any(b"pyspark.daemon" in words[child] for child in below):
            found += below
    return found


def strike(running, broker, victim, chance):
    """Kill something of a running edge; what it was, or None if it ended before."""
    if victim == "broker":
        broker.kill()
        return "broker"
    deadline = time.monotonic() + 15
    while victim == "worker" and not running.is_over() and time.monotonic() < deadline:
        if running.kill_worker(chance):
            return "worker"
        time.sleep(0.02)
    if running.is_over():
        return None
    running.kill()
    return "driver"


def moment(chance, seconds):
    """When to strike: three times of four while there is work, else anywhere."""
    return chance.uniform(0.4 if chance.random() < 0.75 else 0.0, 0.9) * seconds


# A replay of files


def undisturbed(folder, devices, seed):
    """What a round of files must come to: by the oracle, and by a run that nothing disturbs."""
    rows = feed(seed=seed, devices=devices, hours=5)
    write_parquet(rows, folder / "feed", files=12)
    (folder / "marks").mkdir()
    until = DAY + HOUR * (WINDOWS + 1) + timedelta(minutes=20)
    line = {"source": "core", "partition": 0, "covers_until": f"{until:%Y-%m-%dT%H:%M:%SZ}"}
    (folder / "marks" / "core.ndjson").write_text(json.dumps(line) + "\n")
    settings, began = files_config(folder, folder), time.monotonic()
    if Running(settings).ended() != 0:
        raise RuntimeError("the undisturbed run failed: nothing can be measured")
    seconds, root = time.monotonic() - began, folder / "edge"
    oracle = EdgeRun(None, folder / "oracle", source=folder / "feed").plain(rows)[:WINDOWS]
    truth = {
        "folder": folder,
        "seconds": seconds,
        "oracle": oracle,
        "rows": witness.rows(root),
        "sightings": witness.sightings(root),
    }
    wrong = witness.faults_of(root, truth["oracle"], truth["rows"], truth["sightings"])
    if wrong or sum(map(sum, oracle)) < 20:
        raise RuntimeError(f"the undisturbed run: {wrong}")
    return truth


def files_config(folder, calm):
    return config(
        folder,
        2,
        datetime(2026, 3, 1, 2, tzinfo=UTC),
        f'source = "{calm / "feed"}"',
        f'marks = "{calm / "marks"}"',
        "replay = true",
    )


def files_round(folder, truth, chance, kills):
    """An edge that is killed and started again until it has come to its end; what was found then."""
    settings, root = files_config(folder, truth["folder"]), folder / "edge"
    killed, faults, seconds, known, struck_at, starts = [], [], [], {}, None, 0
    for _ in range(MOST_STARTS):
        starts += 1
        running, struck, began = Running(settings), None, time.monotonic()
        try:
            if starts == 1 and not turned_away(running, settings, folder / "edge" / "lock"):
                faults.append(TWO_DRIVERS)
            if len(killed) < kills and not over_within(
                running, began + moment(chance, truth["seconds"]) - time.monotonic()
            ):
                struck = strike(running, None, chance.choice(["driver", "driver", "worker"]), chance)
            if struck:
                killed.append(struck)
                struck_at = time.monotonic()
            code = running.ended()
        finally:
            if not running.is_over():
                running.kill()
        now = witness.said(root)
        if witness.contradicted(known, now):
            faults.append(witness.SECOND)
        known = now
        if code == 0:
            break
        if not struck:
            faults.append("a start after a kill failed")
            break
    else:
        faults.append("it never came to its end")
    if not faults:
        seconds += [time.monotonic() - struck_at] if struck_at else []
        faults = witness.faults_of(root, truth["oracle"], truth["rows"], truth["sightings"])
    show(faults, folder)
    rows = truth["rows"]["received"]
    return {"kind": "files", "killed": killed, "starts": starts, "seconds": seconds, "faults": faults, "rows": rows}


def over_within(running, seconds):
    try:
        running.process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return False
    return True


def show(faults, folder):
    if faults:
        print((folder / "edge.log").read_text(errors="replace")[-3000:], file=sys.stderr)


# A live edge on a topic


class Feed(threading.Thread):
    """A producer of lines of this moment that goes on whatever happens to the broker, for some seconds."""

    def __init__(self, broker, topic, rows, seconds):
        super().__init__(daemon=True)
        self.rows, self.pause, self.topic, self.failed = rows, seconds / len(rows), topic, []
        self.producer = Producer(
            {
                "bootstrap.servers": broker.bootstrap,
                "enable.idempotence": True,
                "message.timeout.ms": 240_000,
                "log_level": 0,
            }
        )

    def run(self):
        for row in self.rows:
            # Shortened, so that the time on the way does not make every row late that is just in time in the file.
            ago = (row["ingest_time"] - row["event_time"]) * 0.9
            stated = {name: value for name, value in row.items() if name != "ingest_time"}
            (line,) = ndjson_lines([{**stated, "event_time": datetime.now(UTC) - ago}])
            self.producer.produce(
                self.topic, line, on_delivery=lambda error, _: error and self.failed.append(error.name())
            )
            self.producer.poll(0)
            time.sleep(self.pause)
        self.producer.flush(240)


def kafka_round(folder, broker, chance, kills, devices, seed):
    """A live edge, its workers and its broker killed while rows come in; what was found once it had read them all."""
    topic, now = f"rows-{seed}", datetime.now(UTC)
    broker.make_topic(topic)
    broker.make_topic(f"{topic}-marks", partitions=1)
    turn = (now - 9 * HOUR).hour
    settings = config(
        folder,
        turn,
        token_day_start(now - timedelta(days=3), turn),
        'sources = ["core/0"]',
        "most_refused = 1.0",
        "[edge.kafka]",
        f'bootstrap = "{broker.bootstrap}"',
        f'topic = "{topic}"',
        f'marks_topic = "{topic}-marks"',
        "records_per_batch = 1000",
    )
    root = folder / "edge"
    # It has been here for days: the windows of this token-day are due as the hours end.
    ledger = Ledger(root / "ledger.sqlite", carrier="carrier-a", mode="live")
    ledger.begun_at(now - timedelta(days=2), turn)
    ledger.close()
    publish_mark(broker.bootstrap, FeedMark("core", 0, now - timedelta(seconds=1)), topic=f"{topic}-marks")
    producer = Feed(broker, topic, feed(seed=seed, devices=devices, hours=5), seconds=15.0 * kills)
    producer.start()
    killed, faults, seconds, known, starts = [], [], [], {}, 1
    running = Running(settings, "--every", "1")
    try:
        if not turned_away(running, settings, root / "lock"):
            faults.append(TWO_DRIVERS)
        for _ in range(kills):
            time.sleep(chance.uniform(4, 22))
            struck = strike(running, broker, chance.choice(["driver", "worker", "broker"]), chance)
            struck_at = time.monotonic()
            if struck == "broker":
                time.sleep(chance.uniform(0, 4))
                broker.run("start")
            if struck:
                killed.append(struck)
            # The turn that was under way may have come to its end with what it had already.
            turns = 2
            if running.is_over():
                running, starts, turns = Running(settings, "--every", "1"), starts + 1, 1
            if turns_again(running, turns):
                seconds.append(time.monotonic() - struck_at)
            elif running.is_over():
                # A worker or a broker that was killed may have ended the run a moment later.
                running, starts = Running(settings, "--every", "1"), starts + 1
            said = witness.said(root)
            if witness.contradicted(known, said):
                faults.append(witness.SECOND)
            known = said
        producer.join(300)
        records = broker.records(topic)
        if producer.failed or len(records) != len(producer.rows):
            faults.append("the producer could not deliver")
        deadline = time.monotonic() + LONGEST_S
        while received(root) < len(records):
            if running.is_over():
                running, starts = Running(settings, "--every", "1"), starts + 1
            if time.monotonic() > deadline:
                faults.append("it never came to its end")
                break
            time.sleep(0.5)
        running.process.send_signal(signal.SIGTERM)
        if running.ended(180) != 0:
            faults.append("a run did not end when it was told")
    finally:
        if not running.is_over():
            running.kill()
    faults += faults_of_topic(folder, settings, records, known, now, turn) if not faults else []
    show(faults, folder)
    return {
        "kind": "kafka",
        "killed": killed,
        "starts": starts,
        "seconds": seconds,
        "faults": faults,
        "rows": len(records),
    }


def turns_again(running, turns):
    """Whether an edge takes so many turns to their end, in all of which its topic and Spark were there."""
    log = running.log
    before, deadline = log.read_bytes().count(b'"away": null'), time.monotonic() + LONGEST_S
    while time.monotonic() < deadline:
        if running.is_over():
            return False
        if log.read_bytes().count(b'"away": null') >= before + turns:
            return True
        time.sleep(0.1)
    return False


def received(root):
    folder = EdgeFolder(root)
    return witness.rows(root).get("received", 0) if folder.batches.exists() else 0


def faults_of_topic(folder, path, records, known, began, turn):
    """What is wrong with an edge that has read a topic to its end: the same rows as a file, and the oracle, say so."""
    rows, root = [], folder / "edge"
    for record in records:
        row = json.loads(record.value())
        event_time = datetime.fromisoformat(row["event_time"].replace("Z", "+00:00"))
        arrived = datetime.fromtimestamp(record.timestamp()[1] / 1000, UTC)
        rows.append({**row, "event_time": event_time, "ingest_time": arrived})
    # The hours are closed as if it were the end of the token-day; what is said then is held against the oracle.
    settings = read_settings(path).edge
    placed, day = place_cells(settings), token_day_start(began, turn)
    turned = day + HOUR * 25 + timedelta(minutes=30)
    edge_folder = EdgeFolder(root)
    with edge_folder.held():
        edge_folder.write_covered_until(turned)
        edge = open_edge(settings, placed, milestones(None))
        edge = replace(edge, noise=Marked(edge.noise.policy), noise_under=Marked)
        run_close(OneProcess(), settings, edge, now=turned, progress=lambda _: None)
        edge.ledger.close()
    import jobs.edge

    reference, plain = folder / "reference", jobs.edge.sight
    jobs.edge.sight = sight_at_once
    try:
        as_files = EdgeRun(
            OneProcess(),
            reference,
            rows,
            turn_hour_utc=turn,
            grid_valid_from=settings.grid_valid_from,
            most_refused=1.0,
        )
        as_files.sight()
    finally:
        jobs.edge.sight = plain
    counted = plain_hours(rows, placed, day)
    said = witness.said(root)
    of_day = {key: value for key, value in said.items() if key[0] == "zone-hour" and key[1] >= f"{day:%Y-%m-%dT%H}"}
    faults = [witness.SECOND] if witness.contradicted(known, said) else []
    first = hour_start(began - timedelta(minutes=20))
    for (_, window), (counts, _) in of_day.items():
        number = (datetime.fromisoformat(window.replace("Z", "+00:00")) - day) // HOUR
        if counts != counted[number] and (counts is not None or day + HOUR * number >= first):
            faults.append(witness.WRONG)
    if len(of_day) != 24 or not sum(map(sum, counted)):
        faults.append("windows that were not told")
    here, there = witness.sightings(root), witness.sightings(reference / "edge")
    if there - here:
        faults.append(witness.LOST)
    if here - there:
        faults.append(witness.DOUBLED)
    if witness.rows(root) != witness.rows(reference / "edge"):
        faults.append("rows unaccounted for")
    return faults


def plain_hours(rows, placed, day):
    """The exact counts of the 24 windows of a token-day by the oracle."""
    zones = placed.grid.zones
    points = {ix for ix, zone in enumerate(zones) if zone.kind is ZoneKind.CROSSING_POINT}
    counted, directions = plainly_counted(rows, placed.located, points), list(Direction)
    cells, hours = sorted((zone.zone_id, direction) for zone in zones for direction in Direction), []
    for hour in range(24):
        at = int((day + HOUR * hour).timestamp() * 1000)
        found = {
            (zones[zone].zone_id, directions[d]): count for (when, zone, d), count in counted.items() if when == at
        }
        hours.append([found.get(cell, 0) for cell in cells])
    return hours


if __name__ == "__main__":
    sys.exit(main())
