"""The ledger: one draw a window, ever; fail closed when what a token-day rests on is lost."""

import sqlite3
import threading
from datetime import timedelta

import pytest

from ingest.release import HOUR, Level, Release
from privacy.ledger import DayClosed, LedgerRefused
from tests.privacy.builders import (
    COUNTS,
    DAY,
    POLICY,
    STRICTER,
    CountingNoise,
    NoNoise,
    open_day,
    open_ledger,
    release,
    tell_day,
    tell_hours,
)
from tests.privacy.ledger_life import BROKEN, broken, live_through


def test_a_window_is_drawn_once_and_read_again_ever_after(tmp_path):
    noise = CountingNoise()
    ledger = open_ledger(tmp_path)
    lineage = open_day(ledger)
    first = release(ledger, lineage, noise)
    again = release(ledger, lineage, noise, counts=[0] * len(COUNTS))
    ledger.close()
    restarted = release(open_ledger(tmp_path), lineage, noise)
    assert first.document == again.document == restarted.document
    assert noise.draws == 1


def test_what_is_published_is_the_noisy_draw_above_the_threshold(tmp_path):
    class Shifted(CountingNoise):
        def draw(self, counts):
            return [count + 5 for count in counts]

    ledger = open_ledger(tmp_path)
    entry = release(ledger, open_day(ledger), Shifted(), counts=(200, 0, 44, 45, 0, 0))
    values = [count.value for count in Release.model_validate(entry.document).counts]
    assert values == [205, None, None, 50, None, None]


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
        {"policy": STRICTER},
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
    noise = CountingNoise(STRICTER)
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
        "UPDATE release SET noisy = '[1, 2, 3, 4, 5, 6]' WHERE number = 1",
        "UPDATE release SET noisy = NULL WHERE number = 1",
        "UPDATE release SET level = 'border-day' WHERE number = 2",
        "DELETE FROM release WHERE number = 1",
        "UPDATE chain SET link = hex(zeroblob(32)) WHERE number = 3",
        "UPDATE chain SET document = replace(document, '\"suppressed\":', '\"suppressed\":1')",
        "DELETE FROM chain WHERE number = 4",
        "DELETE FROM chain WHERE number = (SELECT max(number) FROM chain)",
        "UPDATE charge SET rho = '1/10'",
        "UPDATE token_day SET lineage = 'live-other'",
        "UPDATE token_day SET grid_id = 'sha256:' || hex(zeroblob(32))",
        "UPDATE token_day SET closed_because = 'a reason'",
    ],
)
def test_verify_finds_what_was_tampered_with(tmp_path, damage):
    ledger = open_ledger(tmp_path)
    lineage = open_day(ledger)
    tell_hours(ledger, lineage, CountingNoise())
    tell_day(ledger, lineage, CountingNoise())
    assert ledger.verify().faults == ()
    ledger.close()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as database:
        database.execute(damage)
    assert open_ledger(tmp_path).verify().faults


@pytest.mark.parametrize("column", ["noisy", "sums"])
@pytest.mark.parametrize("level", ["sector-day", "border-day", "zone-hour"])
def test_verify_makes_every_estimate_again(tmp_path, level, column):
    ledger = open_ledger(tmp_path)
    lineage = open_day(ledger)
    tell_hours(ledger, lineage, CountingNoise())
    tell_day(ledger, lineage, CountingNoise())
    ledger.close()
    if (level, column) == ("zone-hour", "sums"):
        return
    with sqlite3.connect(tmp_path / "ledger.sqlite") as database:
        changed = "replace(noisy, '[', '[9')" if column == "noisy" else "'[]'"
        database.execute(f"UPDATE release SET {column} = {changed} WHERE level = ?", (level,))
    assert open_ledger(tmp_path).verify().faults


def test_a_ledger_of_an_earlier_format_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE meta (carrier TEXT NOT NULL, mode TEXT NOT NULL, begun_at TEXT)")
        database.execute("CREATE TABLE release (number INTEGER PRIMARY KEY, chain TEXT)")
    with pytest.raises(LedgerRefused, match="another format"):
        open_ledger(tmp_path)
    with sqlite3.connect(path) as database:
        assert [row[0] for row in database.execute("SELECT name FROM sqlite_master")] == ["meta", "release"]


def test_a_new_ledger_does_not_open_a_day_that_an_earlier_one_may_have_spoken_of(tmp_path):
    ledger = open_ledger(tmp_path)
    begun = ledger.begun_at(DAY + HOUR * 5, 2)
    with pytest.raises(LedgerRefused, match="before this ledger"):
        open_day(ledger)
    assert open_day(ledger, day=begun)


@pytest.mark.parametrize("left", [(Level.ZONE_HOUR, DAY + HOUR * 3), (Level.BORDER_DAY, DAY)])
def test_a_ledger_older_than_what_has_left_closes_the_day_instead_of_drawing_again(tmp_path, left):
    outbox = set()
    ledger = open_ledger(tmp_path, has_left=lambda level, window: (level, window) in outbox)
    lineage, noise = open_day(ledger), CountingNoise()
    first = release(ledger, lineage, noise)
    outbox |= {(Level.ZONE_HOUR, DAY), left}
    for hour in (1, 2, 3):
        with pytest.raises(DayClosed, match="has left"):
            release(ledger, lineage, noise, window=DAY + HOUR * hour)
    assert release(ledger, lineage, noise).digest == first.digest
    assert noise.draws == 1


def test_all_releases_of_a_grid_and_level_have_one_length(tmp_path):
    from ingest.release import canonical_json

    ledger = open_ledger(tmp_path)
    lineage = open_day(ledger)
    sizes = {
        len(canonical_json(release(ledger, lineage, NoNoise(), window=DAY + HOUR * hour, counts=counts).document))
        for hour, counts in enumerate(([0] * 6, [50] * 6, [123456] * 6, COUNTS))
    }
    sizes.add(len(canonical_json(ledger.release_null(DAY + HOUR * 4, turn_hour_utc=2).document)))
    assert len(sizes) == 1


def test_whatever_happens_a_window_is_drawn_once_and_the_budget_holds():
    live_through(sequences=200)


@pytest.mark.parametrize("name", BROKEN)
def test_the_lives_of_a_ledger_catch_one_that_is_broken(name):
    with broken(name), pytest.raises((AssertionError, sqlite3.IntegrityError)):
        live_through(sequences=2_500, shorten=False)  # found after a few hundred, and then it ends
