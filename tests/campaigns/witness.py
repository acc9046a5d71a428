"""What an edge's folder says of itself, and what is wrong with it: nothing lost, nothing counted twice, one word a window.

Whoever forks afterwards may import this: nothing here starts a thread of Polars before `sightings` is asked for.
"""

import json
import sqlite3
from collections import Counter

from jobs.edge import row_tally
from jobs.sealed import SealBroken
from jobs.tables import EdgeFolder
from tests.campaigns.marked import unmarked

LOST, DOUBLED = "sightings lost", "sightings doubled"
WRONG = "exact counts differ from the oracle"
SECOND = "a second digest for a window"


def said(root):
    """(level, window) -> (what the close handed over, digest), of every release in the ledger; null releases have None."""
    path = root / "ledger.sqlite"
    if not path.exists():
        return {}
    with sqlite3.connect(path) as database:
        try:
            rows = database.execute(
                "SELECT level, window_start, noisy, digest FROM release ORDER BY level, window_start"
            ).fetchall()
        except sqlite3.OperationalError:
            return {}  # it died before the tables were made
    return {
        (level, window): (None if noisy is None else unmarked(json.loads(noisy)), digest)
        for level, window, noisy, digest in rows
    }


def hours_of(root):
    """The exact counts of every window in order."""
    return [counts for (level, _), (counts, _) in said(root).items() if level == "zone-hour"]


def day_sums(root):
    """Level -> all that the day's own levels counted."""
    return {
        level: None if counts is None else sum(counts)
        for (level, _), (counts, _) in said(root).items()
        if level != "zone-hour"
    }


def sightings(root):
    """Every sighting of the committed table, as often as it stands there."""
    edge = EdgeFolder(root)
    found = Counter()
    for day in edge.token_days():
        prefix = f"token_day={day:%Y-%m-%dT%HZ}/"
        files = [file for record in edge.records() for file in record["files"] if file["path"].startswith(prefix)]
        if files:
            found.update((token.hex(), *others) for token, *others in edge.read_sightings(day, files).iter_rows())
    return found


def rows(root):
    """What became of every row."""
    return row_tally(EdgeFolder(root))


def faults_of(root, oracle, known_rows, known_sightings, day_sum=None):
    """What is wrong with an edge that has come to its end; empty if nothing is.

    `oracle` are the exact counts of its windows in order; `known_sightings` None: the day is over, and no table is left;
    `day_sum` then is what every day level comes to.
    """
    edge, faults = EdgeFolder(root), []
    if hours_of(root) != oracle:
        faults.append(WRONG)
    if rows(root) != known_rows:
        faults.append("rows unaccounted for")
    if known_sightings is None:
        if day_sums(root) != {"sector-day": day_sum, "border-day": day_sum}:
            faults.append("a day's own levels differ from the sum of its windows")
        if [
            path for room in ("sightings", "carry_over", "keys") for path in (root / room).rglob("*") if path.is_file()
        ]:
            faults.append("something of a day that is over is left")
    else:
        try:
            here = sightings(root)
        except SealBroken:
            here = Counter()
        if known_sightings - here:
            faults.append(LOST)
        if here - known_sightings:
            faults.append(DOUBLED)
        listed = {file["path"] for record in edge.records() for file in record["files"]}
        if listed != {path.relative_to(edge.sightings).as_posix() for path in edge.sightings.rglob("*.parquet")}:
            faults.append("files in the table that no batch lists")
    left = {}
    for path in edge.releases.glob("*.json"):
        document = json.loads(path.read_bytes())
        left[document["level"], document["window_start"]] = document["digest"]
    if left != {window: digest for window, (_, digest) in said(root).items()}:
        faults.append("what has left is not what the ledger holds")
    rooms = (edge.staging, edge.scratch)
    leftovers = [path for room in rooms for path in room.rglob("*") if path.is_file()]
    if leftovers or [path for path in root.rglob("*.draft") if path.is_file() or path.is_dir()]:
        faults.append("leftovers of a dead run")
    return faults


def contradicted(before, now):
    """Whether something that was said is not, or differently, said now."""
    return any(now.get(window, (None, None))[1] != digest for window, (_, digest) in before.items())
