"""The ledger's memory under attack: asked again, lost, restored, differenced, measured by size and time."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from bench.audit.finding import Broken, Finding, Size
from bench.audit.harness import from_tests
from ingest.release import HOUR, Level, canonical_json, format_utc
from ingest.token_day import HOURS_IN_DAY, hours_of
from privacy.draw import draw_hour
from privacy.ledger import DayClosed, Entry, Ledger, LedgerRefused
from privacy.levels import public_cells
from privacy.mechanism import DiscreteGaussian
from privacy.policy import ReleasePolicy

TURN = 2
CARRIER = "carrier-a"
ZONES = (("z1", "north", "belt"), ("z2", "north", "crossing_point"), ("z3", "south", "belt"))
CELLS = public_cells(ZONES).zone_hour
DAY = datetime.fromisoformat("2026-03-02T02:00:00Z")
GRID = "sha256:" + "1" * 64
POLICY = ReleasePolicy()
_COUNT = 400


@contextmanager
def room() -> Iterator[Path]:
    """A folder of its own, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="tidemark-audit-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ledger_in(folder: Path, build: type[Ledger] = Ledger, **more: Any) -> Ledger:
    """A ledger in a folder; it does not wait for the disk, for here only processes end."""
    ledger = build(folder / "ledger.sqlite", carrier=CARRIER, mode="live", **more)
    ledger._db.execute("PRAGMA synchronous = OFF")
    return ledger


def open_day(ledger: Ledger, lineage: str | None = None, day: datetime = DAY, **changes: Any) -> str:
    """The lineage of a token-day opened on the audit's grid."""
    fixed: dict[str, Any] = {"grid_id": GRID, "plan_digest": "sha256:p", "policy": POLICY, "cells": CELLS}
    return ledger.open_day(day, lineage_on_disk=lineage, **{**fixed, "zones": list(ZONES), **changes})


def tell(ledger: Ledger, lineage: str, window: datetime, counts: list[int], day: datetime = DAY) -> Entry:
    """The release of one window."""
    ledger.freeze(day, window + HOUR, {"files": []})
    return ledger.release(
        window,
        counts,
        turn_hour_utc=TURN,
        lineage=lineage,
        carry_over_digest=f"sha256:{format_utc(window)}",
        complete=True,
        noise=DiscreteGaussian(POLICY),
    )


# Restart averaging


class Redraws(Ledger):
    """Forgets at every start what it said."""

    def __init__(self, path: Path, **named: Any) -> None:
        super().__init__(path, **named)
        self._db.execute("DELETE FROM release")


def restart_averaging(size: Size) -> Finding:
    """One window asked for again after every restart, and the answers averaged."""
    restarts = size.share(0.001, 50)
    values, error = _answers(Ledger, restarts)
    others, smaller = _answers(Redraws, restarts)
    return Finding(
        "restart averaging",
        f"{values} answer in {restarts:,} restarts; the average is off by {error:.2f}",
        "1 answer",
        values == 1,
        (Broken("draws again", f"{others:,} answers; the average is off by {smaller:.2f}", others > 1),),
    )


def _answers(build: type[Ledger], restarts: int) -> tuple[int, float]:
    """How many different answers there were, and the root mean square error of their average."""
    answers, total = set(), np.zeros(len(CELLS))
    with room() as folder:
        ledger = ledger_in(folder, build)
        lineage = open_day(ledger)
        for _ in range(restarts):
            ledger.close()
            ledger = ledger_in(folder, build)
            entry = tell(ledger, open_day(ledger, lineage), DAY, [_COUNT] * len(CELLS))
            answers.add(entry.digest)
            total += [count["value"] for count in entry.document["counts"]]
        ledger.close()
    return len(answers), float(np.sqrt(((total / restarts - _COUNT) ** 2).mean()))


# Losses

_TOLD_BEFORE = 9


def losses(size: Size) -> Finding:
    """Everything that keeps the bound, lost in the middle of a token-day: how much is drawn of that day afterwards."""
    broken = from_tests("privacy.ledger_life").broken
    kinds: dict[str, tuple[Callable[[Path], int], str]] = {
        "tables": (_lose_the_tables, "trusts tables that begin anew"),
        "ledger": (_lose_the_ledger, "never closes a token-day"),
        "both": (_lose_both, "begins in the middle of a token-day"),
        "restored ledger": (_restore, "does not look at what has left"),
    }
    drawn, builds = {}, []
    for kind, (lose, name) in kinds.items():
        with room() as folder:
            drawn[kind] = lose(folder)
        with room() as folder, broken(name):
            again = lose(folder)
        builds.append(Broken(f"{kind}: {name}", f"{again} windows drawn", again > 0))
    return Finding(
        "lost ledger, lost tables and carry-over, restored ledger",
        "; ".join(f"{kind}: {number}" for kind, number in drawn.items()) + " windows drawn afterwards",
        "0 until the next token-day",
        not any(drawn.values()),
        tuple(builds),
    )


def _tell_until(ledger: Ledger, lineage: str, hours: range) -> int:
    """How many of these hours of the token-day were drawn."""
    for hour in hours:
        tell(ledger, lineage, DAY + HOUR * hour, [_COUNT] * len(CELLS))
    return len(hours)


def _drawn_after(ledger: Ledger, lineage_on_disk: str | None) -> int:
    """How many windows of the rest of the token-day are drawn."""
    drawn = 0
    for hour in range(_TOLD_BEFORE, HOURS_IN_DAY):
        window = DAY + HOUR * hour
        with suppress(LedgerRefused):
            try:
                lineage_on_disk = open_day(ledger, lineage_on_disk)
                drawn += tell(ledger, lineage_on_disk, window, [_COUNT] * len(CELLS)).digest != ""
            except DayClosed:
                ledger.release_null(window, turn_hour_utc=TURN)
    return drawn


def _begun(folder: Path, **more: Any) -> tuple[Ledger, str]:
    ledger = ledger_in(folder, **more)
    ledger.begun_at(DAY - HOUR, TURN)
    lineage = open_day(ledger)
    _tell_until(ledger, lineage, range(_TOLD_BEFORE))
    return ledger, lineage


def _lose_the_tables(folder: Path) -> int:
    ledger, _ = _begun(folder)
    return _drawn_after(ledger, None)


def _lose_the_ledger(folder: Path) -> int:
    _, lineage = _begun(folder)
    fresh = ledger_in(folder / "fresh")
    fresh.begun_at(DAY - HOUR, TURN)  # at its best it does not even know that it is new
    return _drawn_after(fresh, lineage)


def _lose_both(folder: Path) -> int:
    _begun(folder)
    fresh = ledger_in(folder / "fresh")
    fresh.begun_at(DAY + HOUR * _TOLD_BEFORE, TURN)
    return _drawn_after(fresh, None)


def _restore(folder: Path) -> int:
    ledger, lineage = _begun(folder)
    left = {(entry.level, entry.window_start) for entry in ledger.entries()}
    copy = folder / "copy"
    copy.mkdir()
    ledger._db.execute("VACUUM INTO ?", (str(copy / "ledger.sqlite"),))
    # One more window is drawn and leaves; then the copy comes back.
    left.add((Level.ZONE_HOUR, tell(ledger, lineage, DAY + HOUR * _TOLD_BEFORE, [_COUNT] * len(CELLS)).window_start))
    return _drawn_after(ledger_in(copy, has_left=lambda level, window: (level, window) in left), lineage)


# What may change in the middle of a day


class TakesAnyDay(Ledger):
    """Takes another grid or policy in the middle of a token-day, and days that overlap."""

    def open_day(self, day_start: datetime, *, lineage_on_disk: str | None, **fixed: Any) -> str:
        try:
            return super().open_day(day_start, lineage_on_disk=lineage_on_disk, **fixed)
        except LedgerRefused:
            self._db.execute(
                "UPDATE token_day SET grid_id = ?, policy = ?",
                (fixed["grid_id"], canonical_json(fixed["policy"].document()).decode()),
            )
            return str(lineage_on_disk)

    def _refuse_overlap(self, day_start: datetime) -> None:
        pass


def changes_in_the_day(size: Size) -> Finding:
    """Another grid, another policy and another turn asked for in the middle of a token-day; then their differences."""
    ours, theirs = _second_views(Ledger), _second_views(TakesAnyDay)
    return Finding(
        "policy-, grid- and turn-change differencing",
        f"{ours} products of a token-day on a second grid, policy or turn",
        "0: a change waits for the turn",
        ours == 0,
        (Broken("takes what it is given", f"{theirs}", theirs > 0),),
    )


def _second_views(build: type[Ledger]) -> int:
    """How many releases speak of hours of a token-day on another ground than its first."""
    changes: list[dict[str, Any]] = [
        {"grid_id": "sha256:" + "2" * 64},
        {"policy": ReleasePolicy(policy_id="stricter", threshold=80)},
        {"day": DAY + HOUR * 3},
    ]
    found = 0
    for change in changes:
        with room() as folder:
            ledger = ledger_in(folder, build)
            lineage = open_day(ledger)
            _tell_until(ledger, lineage, range(6))
            with suppress(LedgerRefused):
                open_day(ledger, None if "day" in change else lineage, **change)
            grounds = {(day["token_day"], day["grid_id"], canonical_json(day["policy"])) for day in ledger.days()} | {
                (format_utc(DAY), GRID, canonical_json(POLICY.document()))
            }
            found += len(grounds) - 1
            ledger.close()
    return found


# Size and time

_NAMES_OF_TIME = ("duration", "elapsed", "took", "seconds", "cpu", "_ms", "_at", "drawn_at")


class Unpadded(Ledger):
    """Says its releases as short as they are."""

    def _insert(self, day: Any, release: Any, noisy: Any, sums: Any = None) -> None:
        super()._insert(day, release.model_copy(update={"pad": None}), noisy, sums)


def sizes_and_times(size: Size) -> Finding:
    """What the length and the time of a release tell of what is inside."""
    sizes, named = _sizes(Ledger)
    others, _ = _sizes(Unpadded)
    most = max(len(lengths) for lengths in sizes.values())
    loose = max(len(lengths) for lengths in others.values())
    related = _time_against_noise(size.share(0.002, 100))
    return Finding(
        "size and release time",
        f"{most} length a level ({', '.join(f'{level}: {min(found)} B' for level, found in sizes.items())}); "
        f"{len(named)} durations in what leaves",
        "1 length a level, no duration",
        most == 1 and not named,
        (
            Broken("without the pad", f"{loose} lengths", loose > 1),
            Broken("a planted `took_ms`", "1 duration", len(_durations({"counts": [{"took_ms": 3}]})) == 1),
        ),
        f"Rank correlation of the time of a draw with its largest noise {related:+.2f} (not gated: nothing leaves at the "
        "time of a draw, but at a fixed minute after the hour).",
    )


def _sizes(build: type[Ledger]) -> tuple[dict[str, set[int]], list[str]]:
    """The lengths of releases by level, of quiet, busy and untold days, and the names in them that speak of durations."""
    lengths: dict[str, set[int]] = {level.value: set() for level in Level}
    named: list[str] = []
    with room() as folder:
        ledger = ledger_in(folder, build)
        for number, count in enumerate((0, 50, 1_000, 123_456, None)):
            day = DAY + timedelta(days=number)
            lineage = open_day(ledger, day=day)
            for window in hours_of(day):
                if count is None:
                    ledger.release_null(window, turn_hour_utc=TURN)
                else:
                    tell(ledger, lineage, window, [count + place for place in range(len(CELLS))], day)
            if count is None:
                ledger.release_day_null(day)
            else:
                totals = [HOURS_IN_DAY * (count + place) for place in range(len(CELLS))]
                noise = DiscreteGaussian(POLICY)
                ledger.release_day(day, totals, lineage=lineage, complete=number % 2 == 0, noise=noise)
        for entry in ledger.entries():
            lengths[entry.level.value].add(len(canonical_json(entry.document)))
            named += _durations(entry.document)
        for link in ledger.chain():
            named += _durations(link.document)
        ledger.close()
    return lengths, named


def _durations(node: Any) -> list[str]:
    """Names in a document that speak of how long something took, or when it was done."""
    if isinstance(node, list):
        return [name for part in node for name in _durations(part)]
    if not isinstance(node, dict):
        return []
    here = [name for name in node if any(word in name.lower() for word in _NAMES_OF_TIME)]
    return here + [name for part in node.values() for name in _durations(part)]


def _time_against_noise(draws: int) -> float:
    """The rank correlation of how long a draw of a whole grid takes with its largest noise."""
    noise, took, largest = DiscreteGaussian(POLICY), [], []
    for _ in range(draws):
        began = time.perf_counter()
        drawn = draw_hour([_COUNT] * 200, noise)
        took.append(time.perf_counter() - began)
        largest.append(max(abs(value - _COUNT) for value in drawn.noisy))
    return float(spearmanr(took, largest).statistic)
