"""The attacks that are whole campaigns of the tests: ten thousand lives of a ledger, and the search for canaries."""

import sqlite3
import time
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.audit.drawing import drawers, pieces
from bench.audit.finding import Broken, Finding, Size
from bench.audit.harness import from_tests
from bench.audit.memory import room
from jobs.milestone import milestones
from jobs.settings import read_settings

WITH_SPARK = 1_000_000
"""From so many runs on the canaries fly on a real Spark."""


def lives(size: Size) -> Finding:
    """Random sequences of restart, crash, replay, reorder, late rows, losses, policy changes and restores."""
    life = from_tests("privacy.ledger_life")
    sequences = size.share(0.01, 25)
    began = time.perf_counter()
    with drawers(size.workers) as run:
        answers = run(_first_wrong, [(n,) for n in pieces(sequences, -(-sequences // size.workers))])
    wrong = next(filter(None, answers), None)
    took = time.perf_counter() - began
    builds = []
    for name in life.BROKEN:
        with life.broken(name):
            found = _first_wrong(max(sequences // 4, 400))
        builds.append(Broken(name, found or "nothing found", found is not None))
    return Finding(
        "lives of a ledger (Hypothesis)",
        f"{wrong or 'nothing wrong'} in {sequences:,} sequences ({took:.0f} s)",
        "one digest a window, budget never exceeded, no second draw",
        wrong is None,
        tuple(builds),
    )


def _first_wrong(sequences: int) -> str | None:
    """What was found first in so many sequences, in one line; None if all was well."""
    try:
        from_tests("privacy.ledger_life").live_through(sequences=sequences, shorten=False)
    except (AssertionError, sqlite3.IntegrityError) as found:
        return str(found).splitlines()[0][:80] if str(found) else type(found).__name__
    return None


def canary(size: Size) -> Finding:
    """Planted tokens and exact counts searched byte by byte in all that an edge leaves behind and says."""
    with_spark = size.runs >= WITH_SPARK
    ours = _searched(size, from_tests("campaigns.canary").spark_edge if with_spark else _edge_here)
    tables: Any = import_module("jobs.tables")
    sound, tables.shred_key = tables.shred_key, lambda root, day: None
    try:
        kept = _searched(replace(size, runs=0), _edge_here)
    finally:
        tables.shred_key = sound
    left = ("found_after_the_turn", "found_in_a_backup_after_the_turn", "found_in_output_and_logs", "key_found_after")
    return Finding(
        "canary scan" + (" (real Spark)" if with_spark else " (Spark's tasks in this process)"),
        f"{ours['found_before_the_turn_with_the_key']} of {ours['planted_tokens']} tokens found with the key before the "
        f"turn; {sum(ours[name] for name in left)} of them or of the keys after it, in a backup or in what was said; "
        f"{len(ours['faults'])} faults",
        "all, 0, 0",
        not ours["faults"],
        (
            Broken(
                "the day's key is kept",
                f"{kept['found_in_a_backup_after_the_turn']} of {kept['planted_tokens']} tokens found in a backup",
                bool(kept["faults"]),
            ),
        ),
        f"{ours['bytes_searched_after']:,} bytes of state, {ours['bytes_said']:,} bytes of output and logs.",
    )


def _searched(size: Size, edge: Any) -> dict[str, Any]:
    with room() as folder:
        report: dict[str, Any] = from_tests("campaigns.canary").campaign(folder, size.share(0.001, 40), size.seed, edge)
    return report


class _Held(Exception):
    """The edge is stopped dead here."""


def _edge_here(path: Path, said: Path, *, held: bool = False) -> None:
    """`tidemark edge run` with the tasks of Spark run in this process."""
    edge: Any = import_module("jobs.edge")
    one_process = from_tests("jobs.one_process")
    now = from_tests("jobs.edge_run").NOW

    def hold(point: str) -> None:
        if held and point == from_tests("campaigns.canary").HELD_AT:
            raise _Held

    settings = read_settings(path).edge
    placed = edge.place_cells(settings)
    sound, edge.sight = edge.sight, one_process.sight_at_once
    try:
        with suppress(_Held):
            edge.run_sight(one_process.OneProcess(), settings, placed, hold, now=now)
            used = edge.open_edge(settings, placed, milestones(None))
            edge.run_close(one_process.OneProcess(), settings, used, now=now, progress=lambda _: None)
            used.ledger.close()
    finally:
        edge.sight = sound
