"""The ledger: one draw a window, ever; fail closed when what a token-day rests on is lost."""

import sqlite3
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ingest.release import HOUR, Direction, Release
from privacy.ledger import DayClosed, Ledger, LedgerRefused
from privacy.mechanism import DiscreteGaussian
from privacy.policy import ReleasePolicy

DAY = datetime(2026, 3, 2, 2, tzinfo=UTC)
CELLS = [(zone, direction) for zone in ("z1", "z2") for direction in Direction]
GRID = "sha256:" + "1" * 64
POLICY = ReleasePolicy()


class CountingNoise:
    """The real mechanism, and how often it was asked."""

    def __init__(self, policy=POLICY):
        self._mechanism = DiscreteGaussian(policy)
        self.policy, self.rho, self.draws = policy, self._mechanism.rho, 0

    def draw(self, counts):
        self.draws += 1
        return self._mechanism.draw(counts)


def open_ledger(tmp_path, **changes):
    return Ledger(tmp_path / "ledger.sqlite", **{"carrier": "carrier-a", "mode": "live", **changes})


def open_day(ledger, lineage=None, day=DAY, policy=POLICY, grid=GRID, plan="sha256:p"):
    return ledger.open_day(day, lineage_on_disk=lineage, grid_id=grid, plan_digest=plan, policy=policy, cells=CELLS)


def release(ledger, lineage, noise, window=DAY, counts=(200, 0, 60, 10), digest="sha256:c"):
    ledger.freeze(DAY, window + HOUR, {"files": []})
    return ledger.release(
        window,
        counts,
        turn_hour_utc=2,
        lineage=lineage,
        carry_over_digest=digest,
        complete=True,
        noise=noise,
    )


def test_a_window_is_drawn_once_and_read_again_ever_after(tmp_path):
    noise = CountingNoise()
    ledger = open_ledger(tmp_path)
    lineage = open_day(ledger)
    first = release(ledger, lineage, noise)
    again = release(ledger, lineage, noise, counts=(0, 0, 0, 0))
    ledger.close()
    restarted = release(open_ledger(tmp_path), lineage, noise)
    assert first.document == again.document == restarted.document
    assert noise.draws == 1


def test_what_is_published_is_the_noisy_draw_above_the_threshold(tmp_path):
    class Shifted(CountingNoise):
        def draw(self, counts):
            return [count + 5 for count in counts]

    ledger = open_ledger(tmp_path)
    entry = release(ledger, open_day(ledger), Shifted(), counts=(200, 0, 44, 45))
    values = [count.value for count in Release.model_validate(entry.document).counts]
    assert values == [205, None, None, 50]


def test_eight_racing_closers_say_one_thing(tmp_path):
    ledger = open_ledger(tmp_path)
    lineage = open_day(ledger)
    ledger.freeze(DAY, DAY + HOUR, {"files": []})
    noises = [CountingNoise() for _ in range(8)]
    digests = []

    def close(noise):
        digests.append(release(open_ledger(tmp_path), lineage, noise).digest)

    threads = [threading.Thread(target=close, args=(noise,)) for noise in noises]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(digests)) == 1
    assert len(digests) == 8
    assert sum(noise.draws for noise in noises) == 1


def test_a_crash_before_the_commit_leaves_nothing_said(tmp_path):
    class Crash(BaseException):
        pass

    def crash(point):
        if point == "before-ledger-commit":
            raise Crash

    noise = CountingNoise()
    ledger = open_ledger(tmp_path, milestone=crash)
    lineage = open_day(ledger)
    with pytest.raises(Crash):
        release(ledger, lineage, noise)
    ledger.close()
    calm = open_ledger(tmp_path)
    assert calm.entry(DAY) is None
    assert release(calm, lineage, noise).digest
    assert calm.verify().faults == ()


def test_windows_are_released_in_order(tmp_path):
    ledger = open_ledger(tmp_path)
    lineage = open_day(ledger)
    release(ledger, lineage, CountingNoise(), window=DAY + HOUR)
    with pytest.raises(LedgerRefused, match="in order"):
        release(ledger, lineage, CountingNoise(), window=DAY)


def test_another_lineage_may_not_speak(tmp_path):
    ledger = open_ledger(tmp_path)
    open_day(ledger)
    with pytest.raises(LedgerRefused, match="lineage"):
        release(ledger, "live-someone-else", CountingNoise())


def test_lost_tables_close_the_day(tmp_path):
    ledger = open_ledger(tmp_path)
    lineage = open_day(ledger)
    release(ledger, lineage, CountingNoise())
    with pytest.raises(DayClosed):
        open_day(ledger, lineage=None)
    with pytest.raises(DayClosed):
        open_day(ledger, lineage=lineage)
    with pytest.raises(DayClosed):
        release(ledger, lineage, CountingNoise(), window=DAY + HOUR)


def test_a_lost_ledger_closes_the_day_and_the_next_day_opens(tmp_path):
    lineage = open_day(open_ledger(tmp_path))
    fresh = open_ledger(tmp_path / "restored")
    with pytest.raises(DayClosed):
        open_day(fresh, lineage=lineage)
    entry = fresh.release_null(DAY, turn_hour_utc=2)
    assert all(count["value"] is None for count in entry.document["counts"])
    assert entry.document["feed"] == {"complete": False}
    assert open_day(fresh, day=DAY + timedelta(days=1)) != lineage


@pytest.mark.parametrize(
    "changes",
    [
        {"grid": "sha256:" + "2" * 64},
        {"plan": "sha256:q"},
        {"policy": ReleasePolicy(policy_id="stricter", threshold=80)},
    ],
)
def test_grid_plan_and_policy_wait_for_the_turn(tmp_path, changes):
    ledger = open_ledger(tmp_path)
    lineage = open_day(ledger)
    with pytest.raises(LedgerRefused, match="only at the turn"):
        open_day(ledger, lineage=lineage, **changes)


def test_a_dearer_mechanism_than_the_budget_is_refused_before_it_draws(tmp_path):
    class Dear(CountingNoise):
        def __init__(self):
            super().__init__()
            self.rho = POLICY.rho_level * 1.01

    noise = Dear()
    ledger = open_ledger(tmp_path)
    with pytest.raises(LedgerRefused, match="budget"):
        release(ledger, open_day(ledger), noise)
    assert noise.draws == 0
    assert ledger.entry(DAY) is None


def test_the_day_is_charged_once_for_all_its_windows(tmp_path):
    ledger = open_ledger(tmp_path)
    lineage, noise = open_day(ledger), CountingNoise()
    for hour in range(24):
        release(ledger, lineage, noise, window=DAY + HOUR * hour)
    (day,) = ledger.days()
    assert day["rho_charged"] == pytest.approx(noise.rho)
    assert ledger.verify().releases == 24


def test_token_days_do_not_overlap(tmp_path):
    ledger = open_ledger(tmp_path)
    open_day(ledger)
    for hours in (-23, -1, 6, 23):
        with pytest.raises(LedgerRefused, match="overlap"):
            open_day(ledger, day=DAY + HOUR * hours)
    assert open_day(ledger, day=DAY + HOUR * 24)


def test_a_ledger_speaks_from_its_first_whole_token_day_on(tmp_path):
    ledger = open_ledger(tmp_path)
    assert ledger.begun_at(DAY + HOUR * 5, 2) == DAY + HOUR * 24
    assert ledger.begun_at(DAY + HOUR * 99, 2) == DAY + HOUR * 24


def test_noise_of_another_policy_is_refused(tmp_path):
    noise = CountingNoise(ReleasePolicy(policy_id="stricter", threshold=80))
    ledger = open_ledger(tmp_path)
    with pytest.raises(LedgerRefused, match="policy"):
        release(ledger, open_day(ledger), noise)
    assert noise.draws == 0


def test_counts_that_leave_out_a_cell_are_refused(tmp_path):
    ledger = open_ledger(tmp_path)
    with pytest.raises(ValueError, match="whole public grid"):
        release(ledger, open_day(ledger), CountingNoise(), counts=(200, 0, 60))


def test_the_first_reason_for_closing_a_day_stays(tmp_path):
    ledger = open_ledger(tmp_path)
    open_day(ledger)
    ledger.close_day(DAY, "the first")
    ledger.close_day(DAY, "the second")
    assert ledger.days()[0]["closed_because"] == "the first"


def test_the_first_manifest_of_an_hour_stays(tmp_path):
    ledger = open_ledger(tmp_path)
    open_day(ledger)
    first = ledger.freeze(DAY, DAY + HOUR, {"files": [1]})
    assert ledger.freeze(DAY, DAY + HOUR, {"files": [1, 2]}) == first


def test_an_hour_does_not_close_to_another_carry_over(tmp_path):
    ledger = open_ledger(tmp_path)
    open_day(ledger)
    ledger.freeze(DAY, DAY, {"files": []})
    ledger.settle(DAY, DAY, "sha256:a")
    ledger.settle(DAY, DAY, "sha256:a")
    with pytest.raises(LedgerRefused):
        ledger.settle(DAY, DAY, "sha256:b")


def test_a_ledger_serves_one_carrier_and_one_mode(tmp_path):
    open_ledger(tmp_path)
    with pytest.raises(LedgerRefused):
        open_ledger(tmp_path, mode="replay")
    with pytest.raises(LedgerRefused):
        open_ledger(tmp_path, carrier="carrier-b")


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE release SET document = replace(document, '\"complete\":true', '\"complete\":false')",
        "UPDATE release SET digest = 'sha256:' || hex(zeroblob(32))",
        "UPDATE release SET noisy = '[1, 2, 3, 4]'",
        "UPDATE release SET chain = hex(zeroblob(32))",
        "DELETE FROM release WHERE number = 1",
        "UPDATE token_day SET rho_charged = '1/10'",
        "UPDATE token_day SET lineage = 'live-other'",
    ],
)
def test_verify_finds_what_was_tampered_with(tmp_path, damage):
    ledger = open_ledger(tmp_path)
    lineage = open_day(ledger)
    for hour in range(3):
        release(ledger, lineage, CountingNoise(), window=DAY + HOUR * hour)
    assert ledger.verify().faults == ()
    ledger.close()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as database:
        database.execute(damage)
    assert open_ledger(tmp_path).verify().faults


class LedgerLife(RuleBasedStateMachine):
    """Restarts, replays, losses and races in any order: what was said stays said, and nothing is drawn twice."""

    @initialize(tmp=st.just(None))
    def begin(self, tmp):
        import tempfile
        from pathlib import Path

        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.ledger, self.noise = open_ledger(self.path), CountingNoise()
        self.lineage, self.on_disk, self.said = None, None, {}
        self.hour = 0

    @rule()
    def open_the_day(self):
        try:
            self.lineage = open_day(self.ledger, lineage=self.on_disk)
            self.on_disk = self.lineage
        except DayClosed:
            self.lineage = None

    @rule(back=st.integers(0, 3))
    def close_an_hour(self, back):
        if self.lineage is None:
            return
        window = DAY + HOUR * max(self.hour - back, 0)
        try:
            entry = release(self.ledger, self.lineage, self.noise, window=window)
        except LedgerRefused:
            return
        assert self.said.setdefault(window, entry.digest) == entry.digest
        self.hour = min(self.hour + 1, 23)

    @rule()
    def restart(self):
        self.ledger.close()
        self.ledger = open_ledger(self.path)

    @rule()
    def lose_the_tables(self):
        self.on_disk = None

    @rule()
    def null_a_window(self):
        if self.ledger.days():
            window = DAY + HOUR * self.hour
            entry = self.ledger.release_null(window, turn_hour_utc=2)
            assert self.said.setdefault(window, entry.digest) == entry.digest

    @invariant()
    def one_digest_a_window_and_no_second_draw(self):
        if hasattr(self, "ledger"):
            assert {entry.window_start: entry.digest for entry in self.ledger.entries()} == self.said
            assert self.noise.draws <= len(self.said)
            assert self.ledger.verify().faults == ()

    def teardown(self):
        if hasattr(self, "ledger"):
            self.ledger.close()
            self.folder.cleanup()


TestLedgerLife = LedgerLife.TestCase
TestLedgerLife.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
