"""`python -m tests.campaigns.canary`: 1,000 tokens are planted in a day; after the key turn none of them is anywhere.

A real edge on a real Spark takes the day in and closes some hours. The search finds every planted token then, by opening the
sealed files with the day's key, and none without it. Once more the edge is held while it writes, searched, and killed. When
the clock has passed the turn by two hours nothing is found in the whole state folder, nor in what the processes have said;
nor is the day's key, nor an exact count of a zone; and a copy of the encrypted files from before the turn is as silent.
"""

import argparse
import base64
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")

from bench.machine import provenance
from ingest.release import canonical_json
from jobs.closing import NO_LEAVES
from jobs.keys import read_key
from jobs.sealed import _file_key
from jobs.tables import CarryOver, EdgeFolder
from tests.campaigns.kills import HOUR, REPOSITORY, config
from tests.campaigns.search import Wanted, search, spellings
from tests.jobs.border import CELLS, DAY, OWN, device_day, write_parquet

HOURS = 6
HELD_AT = "before-commit"


def main() -> int:
    """Print what was found where as one JSON object; exit code 1 if something must not be there, or the search is blind."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.canary", description=__doc__)
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tidemark-canary-"))
    try:
        report = campaign(folder, asked.tokens, asked.seed, spark_edge)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps({**provenance(asked.seed), **report}, indent=1))
    return 1 if report["faults"] else 0


def campaign(folder, tokens, seed, run_edge):
    """What the search finds before the turn, while the edge writes, and after; `run_edge(settings, hold)` runs it once."""
    began = time.monotonic()
    settings, planted = planted_day(folder, tokens, seed)
    root, said = folder / "edge", folder / "said"
    said.mkdir()
    wanted = Wanted(planted)
    faults = [] if sees(folder / "plain", planted, wanted) else ["the search does not see what is planted in the open"]

    covers(folder, DAY + HOUR * HOURS)
    run_edge(settings, said, held=True)
    while_writing = search(root, wanted)
    run_edge(settings, said)
    locked, opened = search(root, wanted), search(root, wanted, keys_of=root)
    seen = {name for found in opened.values() for name, _ in found}
    if len(seen) != tokens:
        faults.append("the search before the turn does not find every token")
    if while_writing or locked:
        faults.append("a token lies in the open before the turn")

    edge = EdgeFolder(root)
    covers(folder, DAY + HOUR * 25 + timedelta(minutes=30))
    run_edge(settings, said)
    backup, key, records = folder / "backup", read_key(root, DAY), carry_over_records(edge)
    counts, guesses = exact_totals(records), bare_digests(records)
    counts_opened = search(root, counts, keys_of=root)
    files = [file for record in edge.records() for file in record["files"]]
    files += [file.document() for record in records.values() for file in record.files]
    file_keys = {f"file key {number}": _file_key(key, bytes.fromhex(f["salt"])) for number, f in enumerate(files)}
    shutil.copytree(root, backup, ignore=shutil.ignore_patterns("keys"))
    covers(folder, DAY + HOUR * 26 + timedelta(minutes=20))
    run_edge(settings, said)

    keys = Wanted({"the day's key": key, **file_keys})
    after, in_backup = search(root, wanted, keys_of=root), search(backup, wanted, keys_of=root)
    in_words = search(said, wanted)
    key_left = search(root, keys) | search(backup, keys) | search(said, keys)
    counts_left = search(root, counts) | search(said, counts)
    counts_in_backup = search(backup, counts)
    border_totals_left = border_totals(root)
    if border_totals_left:
        faults.append("how many crossed in an hour is left")
    if names(counts_opened) != names_of(counts):
        faults.append("the search before the turn does not find the exact counts")
    if edge.token_days() or not list(edge.releases.glob("*-day_*.json")):
        faults.append("the day has not come to its end")
    for fault, found in (
        ("a token is left after the turn", after),
        ("a token can be read from a copy made before the turn", in_backup),
        ("a token was said", in_words),
        ("the day's key is left", key_left),
        ("exact counts of zones are left", counts_left),
        ("exact counts of zones can be read from a copy made before the turn", counts_in_backup),
    ):
        if found:
            faults.append(fault)
    return {
        "planted_tokens": tokens,
        "spellings_of_each": len(spellings(bytes(16))),
        "found_before_the_turn_with_the_key": len(seen),
        "found_before_the_turn_without_it": names(locked),
        "found_while_writing_without_it": names(while_writing),
        "found_after_the_turn": names(after),
        "found_in_a_backup_after_the_turn": names(in_backup),
        "found_in_output_and_logs": names(in_words),
        "bytes_searched_after": sum(path.stat().st_size for path in root.rglob("*") if path.is_file()),
        "bytes_of_backup": sum(path.stat().st_size for path in backup.rglob("*") if path.is_file()),
        "bytes_said": sum(path.stat().st_size for path in said.rglob("*") if path.is_file()),
        "key_found_after": names(key_left),
        "keys_searched_for": 1 + len(file_keys),
        "exact_totals_found_before_the_turn_with_the_key": names(counts_opened),
        "exact_totals_left": where(counts_left),
        "exact_totals_in_a_backup": where(counts_in_backup),
        "digests_left_that_confirm_a_guess_of_exact_totals": names(search(root, guesses)),
        "exact_border_totals_left": border_totals_left,
        "faults": faults,
        "wall_seconds": round(time.monotonic() - began),
    }


def names(found):
    return len({name for here in found.values() for name, _ in here})


def where(found):
    return dict(Counter(path.split("/")[0] for path in found))


def border_totals(root):
    """Hours of which a record that outlives the day says how many movements were counted."""
    found = [json.loads(path.read_bytes()) for path in (root / "numbers").glob("*.json")]
    return sum(bool(tally["counted"]) for numbers in found for tally in numbers.values())


def planted_day(folder, tokens, seed):
    """The settings of an edge, and the tokens of its day by name: sighted, refused, and in a file that is damaged."""
    chance, planted, rows = random.Random(seed), {}, []
    for number in range(tokens):
        day = device_day(chance, HOURS - 1)
        token = day[0]["token"]
        planted[f"token {number}"] = base64.b32decode(token.upper() + "======")
        at = DAY + timedelta(seconds=number * 18_000 // tokens)
        sound = {
            "token": token,
            "event_time": at,
            "ingest_time": at + timedelta(seconds=1),
            "event_type": "attach",
            "rat": "EUTRA",
            "plmn": OWN,
            "cell_id": chance.choice(CELLS),
            "previous_plmn": None,
            "domain": "domestic",
        }
        rows += [*day, sound, {**sound, "event_type": "teleport"}, {**sound, "cell_id": token}]
    write_parquet(sorted(rows, key=lambda row: row["ingest_time"]), folder / "feed", files=4)
    damaged = folder / "feed" / "part-9.parquet"
    damaged.write_bytes((folder / "feed" / "part-0.parquet").read_bytes()[:-9])
    settings = config(
        folder,
        2,
        DAY - timedelta(days=1),
        f'source = "{folder / "feed"}"',
        f'marks = "{folder / "marks"}"',
        "replay = true",
        "most_refused = 1.0",
    )
    return settings, planted


def covers(folder, until):
    (folder / "marks").mkdir(exist_ok=True)
    line = {"source": "core", "partition": 0, "covers_until": f"{until:%Y-%m-%dT%H:%M:%SZ}"}
    (folder / "marks" / "core.ndjson").write_text(json.dumps(line) + "\n")


def sees(folder, planted, wanted):
    """Whether every spelling is found in the open, and inside of what is compressed."""
    import gzip
    import sqlite3

    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    names = iter(planted.items())
    asked = set()
    for number, way in enumerate(spellings(bytes(16))):
        name, secret = next(names)
        plain = b"x" * number + spellings(secret)[way] + b"y"
        (folder / f"{number}").write_bytes(plain)
        (folder / f"{number}.gz").write_bytes(gzip.compress(plain))
        for codec in ("zstd", "lz4"):
            with pa.CompressedOutputStream(str(folder / f"{number}.{codec}"), codec) as stream:
                stream.write(plain)
        table = pa.table({"bytes": pa.array([plain])})
        pq.write_table(table, folder / f"{number}.parquet", compression="zstd")
        with sqlite3.connect(folder / f"{number}.sqlite") as database:
            database.execute("CREATE TABLE one (content BLOB)")
            database.execute("INSERT INTO one VALUES (?)", (plain,))
        asked |= {(f"{number}{ending}", name, way) for ending in ("", ".gz", ".zstd", ".lz4", ".parquet", ".sqlite")}
    found = {(path, name, way) for path, here in search(folder, wanted).items() for name, way in here}
    return asked <= found


def carry_over_records(edge):
    """hour -> what its close left, for whoever has the day's key."""
    hours = [DAY + HOUR * number for number in range(25)]
    return {hour: edge.carry_over_record(DAY, hour) for hour in hours if edge.carry_over(DAY, hour).exists()}


def exact_totals(records):
    """The exact counts of the day so far, after every hour, as a record would write them."""
    found = {canonical_json(left.totals) for left in records.values() if sum(count for *_, count in left.totals) >= 20}
    return Wanted({}, plain={f"totals {number}": totals for number, totals in enumerate(sorted(found))})


def bare_digests(records):
    """What a guess of the exact counts could be confirmed by: their digest when nobody is remembered."""
    bare = {CarryOver(NO_LEAVES, left.totals, (), (), {}).digest.removeprefix("sha256:") for left in records.values()}
    return Wanted({}, plain={digest: digest.encode() for digest in bare})


def names_of(wanted):
    """How many things are searched for."""
    return len({name for needles in wanted.needles.values() for _, name, _ in needles})


def spark_edge(settings, said, *, held=False):
    """`tidemark edge run` with all that it says kept; `held`: stopped dead before it makes a batch part of the table."""
    marker = settings.parent / "reached"
    environment = {**os.environ, **({"TIDEMARK_HOLD": f"{HELD_AT}:{marker}"} if held else {})}
    with (said / f"{time.monotonic_ns()}.log").open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs.cli", "edge", "run", "--json", "--config", str(settings)],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 300
            while held and not marker.exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            if held and not marker.exists():
                raise RuntimeError("the edge never came to where it is held")
            if not held and process.wait(300) != 0:
                raise RuntimeError("the edge failed")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


if __name__ == "__main__":
    sys.exit(main())
