"""The life of a ledger as a state machine: restarts, crashes, replays, late rows, losses, restores and new policies.

It does what the edge does with the real ledger and real noise, in any order, and watches from outside: what has left the
carrier, what the centre took, when noise was drawn. `live_through` runs as many lives as asked.
"""

import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ingest.release import HOUR, Level, format_utc
from ingest.token_day import hours_of, token_day_start
from privacy.ledger import DayClosed, Entry, Ledger, LedgerRefused
from privacy.policy import ReleasePolicy
from privacy.public import public_faults, reconcile
from tests.privacy.builders import CELLS, DAY, TURN, CountingNoise, open_day, open_ledger

POLICIES = [
    ReleasePolicy(),
    ReleasePolicy(policy_id="higher", threshold=80, threshold_day=200),
    ReleasePolicy(policy_id="one", k=1),
    ReleasePolicy(policy_id="half", rho_day=0.014, sigma=13.4, sigma_sector_day=53.5, sigma_border_day=53.5),
]
Key = tuple[Level, datetime]


class Crash(BaseException):
    """The process dies."""


class LedgerLife(RuleBasedStateMachine):
    """One carrier's edge and its ledger, seen from outside."""

    @initialize()
    def begin(self) -> None:
        self.room = tempfile.TemporaryDirectory()
        self.folder = Path(self.room.name)
        self.tables: dict[datetime, str] = {}  # the lineage beside each token-day's sightings
        self.outbox: dict[Key, str] = {}
        self.centre: dict[Key, str] = {}
        self.drawn_lineages: dict[datetime, set[str]] = {}
        self.bound_lost: set[datetime] = set()  # token-days whose counters are gone
        self.settings = POLICIES[0]
        self.rows = 0  # late rows change every count that is made again
        self.asked: Key | None = None  # for which the ledger is about to speak
        self.dies_at: str | None = None
        self.backups: list[Path] = []
        self.lives = 0
        self.now = DAY
        self.ledger = self.open()

    def open(self) -> Ledger:
        ledger = open_ledger(
            self.folder / f"{self.lives}",
            milestone=self.milestone,
            has_left=lambda level, window: (level, window) in self.outbox,
        )
        # Only the process dies here, never the machine: waiting for the disk would only be slow.
        ledger._db.execute("PRAGMA synchronous = OFF")
        ledger.begun_at(self.now - HOUR, TURN)
        return ledger

    def milestone(self, point: str) -> None:
        if point == self.dies_at:
            raise Crash

    def noise(self, policy: ReleasePolicy) -> CountingNoise:
        def told(level: Level) -> None:
            # The one thing that must never be: noise drawn for what has left.
            assert self.asked is not None
            day = token_day_start(self.asked[1], TURN)
            window = self.asked[1] if level is Level.ZONE_HOUR else day
            assert day not in self.bound_lost, "noise is drawn without the bound that was kept"
            assert (level, window) not in self.outbox, "a second draw"
            assert (level, window) not in self.centre, "a second draw"

        return CountingNoise(policy, told=told)

    def counts(self, window: datetime) -> list[int]:
        return [(window.hour * 37 + place * 53 + self.rows * 11) % 260 for place in range(len(CELLS))]

    # What the edge does

    def open_day(self, day: datetime) -> tuple[str, ReleasePolicy]:
        policy = self.ledger.policy_of(day) or self.settings
        lineage = open_day(self.ledger, self.tables.get(day), day=day, policy=policy)
        self.tables[day] = lineage
        return lineage, policy

    def close_window(self, window: datetime) -> Entry:
        day = token_day_start(window, TURN)
        self.asked = (Level.ZONE_HOUR, window)
        self.now = max(self.now, window + HOUR)
        try:
            lineage, policy = self.open_day(day)
            self.ledger.freeze(day, window + HOUR, {"files": [self.rows]})
            return self.ledger.release(
                window,
                self.counts(window),
                turn_hour_utc=TURN,
                lineage=lineage,
                carry_over_digest=f"sha256:{window.isoformat()}",
                complete=True,
                noise=self.noise(policy),
            )
        except DayClosed:
            return self.ledger.release_null(window, turn_hour_utc=TURN)

    def close_token_day(self, day: datetime) -> Iterable[Entry]:
        self.asked = (Level.SECTOR_DAY, day)
        try:
            lineage, policy = self.open_day(day)
            totals = [sum(counts) for counts in zip(*map(self.counts, hours_of(day)), strict=True)]
            return self.ledger.release_day(day, totals, lineage=lineage, complete=True, noise=self.noise(policy))
        except DayClosed:
            return self.ledger.release_day_null(day)

    def publish(self) -> None:
        for entry in self.ledger.entries(unpublished=True):
            key = (entry.level, entry.window_start)
            if key not in self.outbox:
                self.outbox[key] = entry.digest
                assert self.centre.setdefault(key, entry.digest) == entry.digest, "another word on a window has left"
                if any(count["value"] is not None for count in entry.document["counts"]):
                    day = token_day_start(entry.window_start, TURN)
                    self.drawn_lineages.setdefault(day, set()).add(entry.document["lineage"])
            self.ledger.mark_published(entry)

    def next_window(self) -> datetime:
        newest, begun = self.ledger.newest_window(), self.ledger.begun_at(self.now, TURN)
        return begun if newest is None else max(begun, newest + HOUR)

    # What happens to it

    @rule(hours=st.integers(1, 30))
    def run(self, hours: int) -> None:
        for _ in range(hours):
            window = self.next_window()
            self.close_window(window)
            for day in self.ledger.days_due():
                self.close_token_day(day)
            self.publish()

    @rule(
        point=st.sampled_from(["before-ledger-commit", "after-ledger-commit", "before-day-commit", "after-day-commit"])
    )
    def crash(self, point: str) -> None:
        self.dies_at = point
        with suppress(Crash):
            self.close_window(self.next_window())
            for day in self.ledger.days_due():
                self.close_token_day(day)
        self.dies_at = None
        self.restart()

    @rule()
    def restart(self) -> None:
        self.ledger.close()
        self.ledger = self.open()
        self.publish()

    @rule(back=st.integers(1, 30))
    def replay(self, back: int) -> None:
        """A window that was told is asked for again, as a replayed batch would, with whatever rows are there now."""
        window = self.next_window() - HOUR * back
        before = self.ledger.entry(window)
        with suppress(LedgerRefused):
            entry = self.close_window(window)
            assert before is None or entry.digest == before.digest

    @rule()
    def replay_a_token_day(self) -> None:
        for entry in self.ledger.entries():
            if entry.level is Level.SECTOR_DAY:
                again = tuple(self.close_token_day(entry.window_start))
                assert again[0].digest == entry.digest

    @rule(ahead=st.integers(1, 5))
    def reorder(self, ahead: int) -> None:
        """A later window is closed before an earlier one, which then stays unsaid."""
        window = self.next_window()
        later = window + HOUR * ahead
        if (
            token_day_start(later, TURN) == token_day_start(window, TURN)
            and (Level.ZONE_HOUR, window) not in self.outbox
        ):
            self.close_window(later)
            self.publish()
            with suppress(LedgerRefused):
                told = self.close_window(window)
                assert all(count["value"] is None for count in told.document["counts"])

    @rule()
    def late_rows(self) -> None:
        self.rows += 1

    @rule(policy=st.sampled_from(POLICIES))
    def change_policy(self, policy: ReleasePolicy) -> None:
        """The file changes; the token-day that is open goes on under its own policy."""
        self.settings = policy
        day = token_day_start(self.next_window(), TURN)
        ruling = self.ledger.policy_of(day)
        if ruling is not None and ruling != policy:
            try:
                open_day(self.ledger, self.tables.get(day), day=day, policy=policy)
            except LedgerRefused:
                return
            raise AssertionError("a policy changed within a token-day")

    @rule()
    def lose_the_tables(self) -> None:
        day = token_day_start(self.next_window(), TURN)
        if self.tables.pop(day, None) is not None:
            self.bound_lost.add(day)

    @rule()
    def lose_the_ledger(self) -> None:
        self.ledger.close()
        self.lives += 1
        self.ledger = self.open()

    @rule()
    def back_up(self) -> None:
        path = self.folder / f"backup-{len(self.backups)}"
        with (
            sqlite3.connect(self.folder / f"{self.lives}" / "ledger.sqlite") as source,
            sqlite3.connect(path) as target,
        ):
            source.backup(target)
        source.close()
        target.close()
        self.backups.append(path)

    @precondition(lambda self: getattr(self, "backups", None))
    @rule(which=st.integers(0, 9))
    def restore(self, which: int) -> None:
        path = self.backups[which % len(self.backups)]
        self.ledger.close()
        self.lives += 1
        home = self.folder / f"{self.lives}" / "ledger.sqlite"
        home.parent.mkdir()
        home.write_bytes(path.read_bytes())
        self.ledger = self.open()
        known = {(entry.level, entry.window_start) for entry in self.ledger.entries()}
        missing = set(self.centre) - known
        found = reconcile(self.ledger.chain(), self.told())
        assert len(found) >= len(missing), "the centre does not see that the ledger was restored"

    def told(self) -> dict[tuple[str, datetime], str]:
        return {(level.value, window): digest for (level, window), digest in self.centre.items()}

    # What always holds

    @invariant()
    def one_run_of_the_mechanism_a_token_day(self) -> None:
        assert all(len(lineages) == 1 for lineages in getattr(self, "drawn_lineages", {}).values())

    @invariant()
    def the_budget_of_every_token_day_holds(self) -> None:
        if hasattr(self, "ledger"):
            for day in self.ledger.days():
                assert day["rho_charged"] <= ReleasePolicy(**day["policy"]).rho_day

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            try:
                assert self.ledger.verify().faults == ()
                assert public_faults(self.ledger.chain()) == []
                digests: dict[Any, str] = {}
                for entry in self.ledger.entries():
                    assert digests.setdefault((entry.level, entry.window_start), entry.digest) == entry.digest
            finally:
                self.ledger.close()
                self.room.cleanup()


def live_through(sequences: int, steps: int = 15, *, shorten: bool = True) -> None:
    """Run so many lives of up to so many happenings; raises what went wrong, shortened by Hypothesis if asked."""
    run_state_machine_as_test(
        LedgerLife,
        settings=settings(
            max_examples=sequences,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink) if shorten else (Phase.generate,),
        ),
    )


def _forgets(sound: Callable[..., Entry | None]) -> Callable[..., Entry | None]:
    def stored(self: Ledger, level: Level, window_start: datetime) -> Entry | None:
        entry = sound(self, level, window_start)
        return None if entry is not None and entry.published else entry

    return stored


def _trusts_new_tables(sound: Callable[..., str]) -> Callable[..., str]:
    def open_day(self: Ledger, day_start: datetime, *, lineage_on_disk: str | None, **rest: Any) -> str:
        known = [day["lineage"] for day in self.days() if day["token_day"] == format_utc(day_start)]
        return sound(self, day_start, lineage_on_disk=known[0] if known else None, **rest)

    return open_day


BROKEN: dict[str, tuple[str, Callable[..., Any]]] = {
    "forgets what it said": ("_stored", _forgets),
    "does not look at what has left": ("_refuse_what_has_left", lambda _: lambda self, day_start: None),
    "trusts tables that begin anew": ("open_day", _trusts_new_tables),
    "never closes a token-day": ("_close_day", lambda _: lambda self, day, because: None),
    "begins in the middle of a token-day": ("_refuse_before_the_beginning", lambda _: lambda self, day: None),
}
"""Ledgers broken on purpose: a method's name and what is made of it. The lives must catch every one."""


@contextmanager
def broken(name: str) -> Iterator[None]:
    """The ledger without one of its guards, for as long as it lasts."""
    method, breaking = BROKEN[name]
    sound = getattr(Ledger, method)
    setattr(Ledger, method, breaking(sound))
    try:
        yield
    finally:
        setattr(Ledger, method, sound)
