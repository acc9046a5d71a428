"""`python -m tests.campaigns.crash_points`: the edge dies at a random step, again and again, and must lose nothing.

Every start is an edge in a process of its own that calls `os._exit(137)` at a step drawn by its seed: before or after a named
milestone, a write to the disk, a rename, a link or a deletion. Then the edge is started again, and may die again. At the end
its table, its exact counts and its releases are held against the plain oracle and against a run that nothing disturbed. One
run in six goes on to the day's own levels and to the deletion of its tables.
Spark has no part in this: its tasks run in the process (`tests.jobs.one_process`); kills of Spark are in `kills.py`.
`--break NAME` takes one guard of the edge away, to show that the campaign would find what it is there for.

A start is forked from a process that has read the code and started no thread that it needs: nothing here may use Polars
outside a fork that does nothing else.
"""

import argparse
import json
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import pyarrow.parquet.encryption

import jobs.edge
from bench.machine import provenance
from geofence.border import bundled_borders
from jobs.edge import open_edge, place_cells, run_close, run_sight
from jobs.tables import EdgeFolder
from privacy.policy import ReleasePolicy
from tests.campaigns import witness
from tests.campaigns.breaks import BREAKS
from tests.campaigns.marked import Marked
from tests.jobs import one_process
from tests.movement import oracle

DIED, HUNG = 137, -1
FEEDS, WINDOWS, HOURS = 4, 4, 5
DAY = datetime(2026, 3, 2, 2, tzinfo=UTC)  # as in tests.jobs.border, which reads a table when it is imported
NOW = datetime(2026, 3, 10, tzinfo=UTC)
LONGEST_S = 180.0
WHOLE_DAY_EVERY = 6
AT_THE_END = 160
"""About how many steps the day's own levels and the deletion of its tables take."""
_READ = (pyarrow.parquet.encryption, oracle)  # so that no fork has to


def main() -> int:
    """Print what became of the runs as one JSON object; exit code 1 if anything was lost, doubled or wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.crash_points", description=__doc__)
    parser.add_argument("--crashes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--break", dest="broken", choices=sorted(BREAKS), help="a guard to take away")
    parser.add_argument("--small", action="store_true", help="one feed, and no whole token-days")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tidemark-crashes-"))
    try:
        facts = undisturbed(folder, feeds=1, kinds=[False]) if asked.small else undisturbed(folder)
        report = campaign(folder, facts, asked.crashes, asked.seed, asked.workers, asked.broken)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps({**provenance(asked.seed), **report}, indent=1))
    return 1 if report["wrong_runs"] or report["crashes"] < asked.crashes else 0


def undisturbed(folder, feeds=FEEDS, kinds=(False, True)):
    """What runs come to that nothing disturbs: (feed, whether to the end of the token-day) -> their facts."""
    # Read once here, so that no fork has to.
    bundled_borders()
    Marked(ReleasePolicy())
    facts = {}
    for feed_number in range(feeds):
        for whole in kinds:
            room = folder / f"calm-{feed_number}-{whole:d}"
            if in_a_process(lambda room=room, number=feed_number, whole=whole: calm(room, number, whole)):
                raise RuntimeError("the undisturbed run failed, or differs from the oracle: nothing can be measured")
            facts[feed_number, whole] = pickle.loads((room / "facts").read_bytes())  # noqa: S301 - written by a fork of this process
    return facts


def campaign(folder, facts, crashes, seed, workers, broken=None):
    """Runs until there were as many crashes as asked for; with a guard taken away, until something was wrong."""
    began = time.perf_counter()
    found, number, waiting = [], 0, {}
    while True:
        crashed = sum(run["crashes"] for run in found)
        enough = crashed >= crashes or number >= 4 * crashes + 20
        enough |= broken is not None and any(run["wrong"] for run in found)
        if not waiting and enough:
            break
        while not enough and len(waiting) < workers and crashed + len(waiting) < crashes + workers:
            room, whole = folder / f"run-{number}", (0, True) in facts and number % WHOLE_DAY_EVERY == 0
            process = started(
                lambda room=room, number=number, whole=whole: disturbed(room, seed, number, whole, facts, broken)
            )
            waiting[process] = room, number, whole
            number += 1
        ended, status = os.wait()
        if ended not in waiting:
            continue
        room, run_number, whole = waiting.pop(ended)
        told = room / "told.json"
        if status or not told.exists():
            result = {"crashes": 0, "points": [], "wrong": ["the run itself failed"], "seconds": []}
        else:
            result = json.loads(told.read_text())
        found.append({**result, "run": run_number, "whole_day": whole})
        shutil.rmtree(room, ignore_errors=True)
    seconds = [second for run in found for second in run["seconds"]]
    faults = Counter(fault for run in found for fault in run["wrong"])
    return {
        "broken": broken,
        "runs": len(found),
        "runs_of_a_whole_token_day": sum(run["whole_day"] for run in found),
        "crashes": sum(run["crashes"] for run in found),
        "crashes_by_step": dict(sorted(Counter(point for run in found for point in run["points"]).items())),
        "wrong_runs": sum(bool(run["wrong"]) for run in found),
        "faults": dict(faults),
        "wrong_run_numbers": sorted(run["run"] for run in found if run["wrong"])[:20],
        "lost_sightings": faults[witness.LOST],
        "doubled_sightings": faults[witness.DOUBLED],
        "wrong_counts": faults[witness.WRONG],
        "second_digests": faults[witness.SECOND],
        "recovery_seconds": {"median": round(median(seconds), 2), "max": round(max(seconds), 2)} if seconds else None,
        "wall_seconds": round(time.perf_counter() - began),
    }


def started(work):
    """A process that does some work; its number."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    try:
        work()
        sys.stdout.flush()
        os._exit(0)
    except BaseException:  # noqa: BLE001 - a fork must not run on as its parent
        traceback.print_exc()
        os._exit(1)


def in_a_process(work, longest_s=LONGEST_S):
    """The exit status of a process that does some work; nothing of it stays here but what it wrote. HUNG: it never ended."""
    process, deadline = started(work), time.monotonic() + longest_s
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return HUNG
        time.sleep(0.005)


# One edge


def settings_of(room, source):
    from tests.jobs.border import edge_settings

    return edge_settings(room, source=source, marks=room / "marks", state=room / "edge")


def one_run(room, calm_room, milestone):
    """What `tidemark edge run` does once, with marks for noise so that the counts can be compared."""
    jobs.edge.sight = lambda run: one_process.sight_at_once(run, files_per_batch=2)
    settings, spark = settings_of(room, calm_room / "feed"), one_process.OneProcess()
    placed = pickle.loads((calm_room / "placed").read_bytes())  # noqa: S301 - as above
    with EdgeFolder(settings.state).held():
        run_sight(spark, settings, placed, milestone, now=NOW)
        edge = open_edge(settings, placed, milestone)
        edge = replace(edge, noise=Marked(edge.noise.policy), noise_under=Marked)
        run_close(spark, settings, edge, now=NOW, progress=lambda _: None)


def write_marks(room, whole):
    hours, minutes = (26, 20) if whole else (WINDOWS + 1, 20)
    until = (DAY + timedelta(hours=hours, minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    (room / "marks").mkdir(parents=True)
    line = {"source": "core", "partition": 0, "covers_until": until}
    (room / "marks" / "core.ndjson").write_text(json.dumps(line) + "\n")


def calm(room, feed_number, whole):
    """An undisturbed run, held against the oracle: what the disturbed ones must come to, and how many steps there are."""
    from tests.jobs.border import feed, write_parquet
    from tests.jobs.edge_run import EdgeRun

    rows = feed(seed=700 + feed_number, devices=60, hours=HOURS)
    write_parquet(rows, room / "feed", files=5)
    write_marks(room, whole)
    settings = settings_of(room, room / "feed")
    (room / "placed").write_bytes(pickle.dumps(place_cells(settings)))
    steps = Steps(None)
    with steps:
        one_run(room, room, steps.milestone)
    root = room / "edge"
    counts = EdgeRun(None, room, source=room / "feed").plain(rows)[: 24 if whole else WINDOWS]
    facts = {
        "steps": steps.taken,
        "oracle": counts,
        "day_sum": sum(map(sum, counts)),
        "rows": witness.rows(root),
        "sightings": None if whole else witness.sightings(root),
        "room": room,
    }
    wrong = faults_here(room, facts)
    if wrong or facts["day_sum"] < 20:
        raise RuntimeError(f"the undisturbed run: {wrong}")
    (room / "facts").write_bytes(pickle.dumps(facts))


def faults_here(room, truth):
    return witness.faults_of(
        room / "edge",
        truth["oracle"],
        truth["rows"],
        truth["sightings"],
        truth["day_sum"] if truth["sightings"] is None else None,
    )


def disturbed(room, seed, number, whole, facts, broken):
    """A run that dies, once or more often, and what was found at its end."""
    chance = random.Random(f"{seed}-{number}")
    truth = facts[chance.randrange(len({feed for feed, _ in facts})), whole]
    write_marks(room, whole)
    crashes, points, seconds, wrong, known = 0, [], [], [], {}
    for attempt in range(20):
        # The first time anywhere; later anywhere in what is left, or nowhere.
        at = None if attempt and chance.random() < 0.5 else step_of(chance, truth["steps"], whole)
        began = time.perf_counter()
        status = in_a_process(lambda at=at: one_time(room, truth["room"], at, broken))
        took = time.perf_counter() - began
        if status == DIED:
            crashes += 1
            points.append((room / "died-at").read_text())
        elif status:
            wrong.append("a start never ended" if status == HUNG else "a start after a crash failed")
            break
        said = witness.said(room / "edge")
        if witness.contradicted(known, said):
            wrong.append(witness.SECOND)
            break
        known = said
        if status == 0:
            seconds += [took] if attempt else []
            break
    told = {"crashes": crashes, "points": points, "seconds": seconds, "wrong": wrong}
    (room / "told.json").write_text(json.dumps(told))
    if not wrong and in_a_process(lambda: judged(room, truth, told)):
        (room / "told.json").write_text(json.dumps({**told, "wrong": ["the edge's folder cannot be judged"]}))


def judged(room, truth, told):
    (room / "told.json").write_text(json.dumps({**told, "wrong": faults_here(room, truth)}))


def step_of(chance, steps, whole):
    if whole and chance.random() < 0.5:
        return chance.randrange(max(1, steps - AT_THE_END), steps + 1)
    return chance.randrange(1, steps + 1)


def one_time(room, calm_room, at, broken):
    if broken is not None:
        BREAKS[broken]()
    steps = Steps(at, room / "died-at")
    with steps:
        one_run(room, calm_room, steps.milestone)


class Steps:
    """Counts what reaches the disk and what is a milestone, and dies at one of them."""

    def __init__(self, dies_at, told=None):
        self.dies_at, self.told, self.taken = dies_at, told, 0
        self.kept = {}

    def __enter__(self):
        for name in ("fsync", "rename", "link", "unlink", "rmdir"):
            self.kept[name] = getattr(os, name)
            setattr(os, name, self._watched(name))
        return self

    def __exit__(self, *_):
        for name, plain in self.kept.items():
            setattr(os, name, plain)

    def milestone(self, point):
        self._step(point)

    def _watched(self, name):
        plain = self.kept[name]

        def watched(*args, **kwargs):
            self._step(f"before {name}")
            result = plain(*args, **kwargs)
            self._step(f"after {name}")
            return result

        return watched

    def _step(self, name):
        self.taken += 1
        if self.taken == self.dies_at:
            self.told.write_text(name)
            os._exit(DIED)


if __name__ == "__main__":
    sys.exit(main())
