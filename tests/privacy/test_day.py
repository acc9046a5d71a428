"""The day levels: drawn once after the last hour, joined with the noisy hours, said as one."""

from datetime import timedelta

import pytest

from ingest.release import HOUR, Level, Release, canonical_json
from privacy.ledger import DayClosed, LedgerRefused
from privacy.levels import day_totals, public_cells, sums
from tests.privacy.builders import (
    COUNTS,
    DAY,
    POLICY,
    PUBLIC,
    STRICTER,
    TURN,
    ZONES,
    CountingNoise,
    NoNoise,
    open_day,
    open_ledger,
    release,
    tell_day,
    tell_hours,
)


def read(entry):
    return Release.model_validate(entry.document)


def values(entry):
    return {count.cell: count.value for count in read(entry).counts}


def told_day(folder, noise=None, **changes):
    ledger = open_ledger(folder)
    lineage = open_day(ledger)
    tell_hours(ledger, lineage, noise or CountingNoise())
    return ledger, lineage, tell_day(ledger, lineage, noise or CountingNoise(), **changes)


def test_the_cells_of_a_grid_are_sectors_by_kind_and_the_border_by_kind():
    assert PUBLIC.sector_day == (
        ("north", "belt", "arrival"),
        ("north", "belt", "departure"),
        ("north", "crossing_point", "arrival"),
        ("north", "crossing_point", "departure"),
        ("south", "belt", "arrival"),
        ("south", "belt", "departure"),
    )
    assert [cell[0] for cell in PUBLIC.border_day] == ["belt", "belt", "crossing_point", "crossing_point"]


def test_totals_of_zones_add_up_to_sectors_and_sectors_to_the_border():
    by_sector, by_border = day_totals(PUBLIC, COUNTS)
    assert by_sector == [200, 0, 60, 10, 90, 300]
    assert by_border == [290, 300, 60, 10]
    assert sum(by_border) == sum(COUNTS)


def test_a_zone_is_named_once():
    with pytest.raises(ValueError, match="named once"):
        public_cells([*ZONES, ("z1", "south", "belt")])
    with pytest.raises(ValueError, match="argument"):
        sums([1, 2], [0], 1)


def test_without_noise_a_day_says_the_sums_of_its_hours(tmp_path):
    _, _, (by_sector, by_border) = told_day(tmp_path, NoNoise())
    assert values(by_sector) == {
        ("north", "belt", "arrival"): 4800,
        ("north", "belt", "departure"): None,
        ("north", "crossing_point", "arrival"): 1440,
        ("north", "crossing_point", "departure"): 240,
        ("south", "belt", "arrival"): 2160,
        ("south", "belt", "departure"): 7200,
    }
    assert values(by_border)["belt", "arrival"] == 6960
    assert (by_sector.level, by_border.level) == (Level.SECTOR_DAY, Level.BORDER_DAY)


def test_a_day_is_drawn_once_and_read_again_ever_after(tmp_path):
    noise = CountingNoise()
    ledger, lineage, first = told_day(tmp_path, noise)
    again = ledger.release_day(DAY, [0] * len(COUNTS), lineage=lineage, complete=True, noise=noise)
    ledger.close()
    restarted = tell_day(open_ledger(tmp_path), lineage, noise)
    assert [e.document for e in first] == [e.document for e in again] == [e.document for e in restarted]
    assert noise.drawn.count(Level.SECTOR_DAY) == noise.drawn.count(Level.BORDER_DAY) == 1


def test_a_day_is_said_after_its_last_hour_and_not_before(tmp_path):
    ledger, noise = open_ledger(tmp_path), CountingNoise()
    lineage = open_day(ledger)
    with pytest.raises(LedgerRefused, match="after the last of its hours"):
        tell_day(ledger, lineage, noise)
    tell_hours(ledger, lineage, noise, hours=23)
    assert ledger.days_due() == []
    with pytest.raises(LedgerRefused, match="after the last of its hours"):
        tell_day(ledger, lineage, noise)
    release(ledger, lineage, noise, window=DAY + HOUR * 23)
    assert ledger.days_due() == [DAY]
    tell_day(ledger, lineage, noise)
    assert ledger.days_due() == []


def test_the_three_levels_are_charged_once_each_and_stay_within_the_day(tmp_path):
    ledger, _, _ = told_day(tmp_path)
    (day,) = ledger.days()
    assert day["rho_by_level"] == {
        "zone-hour": pytest.approx(0.022396, abs=1e-6),
        "sector-day": pytest.approx(0.0027995, abs=1e-6),
        "border-day": pytest.approx(0.0027995, abs=1e-6),
    }
    assert POLICY.rho_day - 1e-5 < day["rho_charged"] <= POLICY.rho_day
    assert ledger.verify().faults == ()


@pytest.mark.parametrize("dear", [Level.SECTOR_DAY, Level.BORDER_DAY])
def test_a_day_level_that_costs_more_than_its_share_is_refused_before_it_draws(tmp_path, dear):
    class Dear(CountingNoise):
        def at(self, level):
            found = super().at(level)
            found.rho = found.rho * 1.01 if level is dear else found.rho
            return found

    ledger, noise = open_ledger(tmp_path), Dear()
    lineage = open_day(ledger)
    tell_hours(ledger, lineage, noise)
    with pytest.raises(LedgerRefused, match="budget"):
        tell_day(ledger, lineage, noise)
    assert set(noise.drawn) == {Level.ZONE_HOUR}
    assert list(ledger.days()[0]["rho_by_level"]) == ["zone-hour"]


def test_a_day_whose_hours_were_not_all_drawn_rests_on_its_own_draw_alone(tmp_path):
    ledger, noise = open_ledger(tmp_path), NoNoise()
    lineage = open_day(ledger)
    tell_hours(ledger, lineage, noise, hours=12)
    ledger.release_null(DAY + HOUR * 12, turn_hour_utc=TURN)
    for hour in range(13, 24):
        release(ledger, lineage, noise, window=DAY + HOUR * hour)
    by_sector, by_border = tell_day(ledger, lineage, noise)
    assert values(by_sector)["north", "belt", "arrival"] == 4800  # of the hour that was never told, too
    # Two readings of 37.8 each, the sector's and the border's, over two sectors; no hours.
    assert read(by_sector).mechanism.sigma == pytest.approx(37.8 * (2 / 3) ** 0.5, abs=0.01)
    assert not read(by_border).feed.complete
    assert ledger.verify().faults == ()


def test_totals_of_fewer_windows_are_joined_with_those_hours(tmp_path):
    ledger, noise = open_ledger(tmp_path), NoNoise()
    lineage = open_day(ledger)
    tell_hours(ledger, lineage, noise, hours=23)
    ledger.release_null(DAY + HOUR * 23, turn_hour_utc=TURN)
    windows = [DAY + HOUR * hour for hour in range(23)]
    totals = [23 * count for count in COUNTS]
    (by_sector, _) = ledger.release_day(DAY, totals, lineage=lineage, complete=True, noise=noise, windows=windows)
    assert values(by_sector)["north", "belt", "arrival"] == 4600
    assert read(by_sector).mechanism.sigma < 30
    assert not read(by_sector).feed.complete
    assert ledger.verify().faults == ()


OTHER_WINDOWS = [[], [DAY - HOUR], [DAY + HOUR * 24], [DAY + timedelta(minutes=1)]]


@pytest.mark.parametrize("windows", OTHER_WINDOWS)
def test_totals_of_windows_of_another_day_are_refused(tmp_path, windows):
    ledger = open_ledger(tmp_path)
    lineage = open_day(ledger)
    tell_hours(ledger, lineage, CountingNoise())
    with pytest.raises(ValueError, match="windows of their own token-day"):
        tell_day(ledger, lineage, CountingNoise(), windows=windows)


def test_an_hour_with_a_gap_in_its_feed_makes_the_day_incomplete(tmp_path):
    ledger, noise = open_ledger(tmp_path), CountingNoise()
    lineage = open_day(ledger)
    tell_hours(ledger, lineage, noise, hours=23)
    release(ledger, lineage, noise, window=DAY + HOUR * 23, complete=False)
    assert {read(entry).feed.complete for entry in tell_day(ledger, lineage, noise)} == {False}
    whole = told_day(tmp_path / "whole")[2]
    assert {read(entry).feed.complete for entry in whole} == {True}


def test_a_closed_token_day_says_nothing_at_any_level(tmp_path):
    ledger, noise = open_ledger(tmp_path), CountingNoise()
    lineage = open_day(ledger)
    tell_hours(ledger, lineage, noise)
    ledger.close_day(DAY, "lost")
    with pytest.raises(DayClosed):
        tell_day(ledger, lineage, noise)
    entries = ledger.release_day_null(DAY)
    assert {value for entry in entries for value in values(entry).values()} == {None}
    assert {read(entry).feed.complete for entry in entries} == {False}
    assert Level.SECTOR_DAY not in noise.drawn
    assert [e.digest for e in ledger.release_day_null(DAY)] == [e.digest for e in entries]
    assert ledger.verify().faults == ()


def test_a_day_that_was_opened_without_its_sectors_has_no_day_levels(tmp_path):
    ledger, noise = open_ledger(tmp_path), CountingNoise()
    lineage = open_day(ledger, zones=None)
    tell_hours(ledger, lineage, noise)
    assert ledger.days_due() == []
    with pytest.raises(LedgerRefused, match="without its sectors"):
        tell_day(ledger, lineage, noise)


def test_zones_that_are_not_those_of_the_cells_are_refused(tmp_path):
    with pytest.raises(ValueError, match="those of the zones"):
        open_day(open_ledger(tmp_path), zones=ZONES[:2])
    ledger = open_ledger(tmp_path)
    lineage = open_day(ledger)
    moved = [("z1", "south", "belt"), *ZONES[1:]]
    with pytest.raises(LedgerRefused, match="only at the turn"):
        open_day(ledger, lineage=lineage, zones=moved)


@pytest.mark.parametrize("other", [{"lineage": "live-other"}, {"noise": CountingNoise(STRICTER)}])
def test_another_lineage_or_policy_may_not_speak_of_a_day(tmp_path, other):
    ledger = open_ledger(tmp_path)
    lineage = open_day(ledger)
    tell_hours(ledger, lineage, CountingNoise())
    with pytest.raises(LedgerRefused, match=r"lineage|policy"):
        tell_day(ledger, **{"lineage": lineage, "noise": CountingNoise(), **other})


@pytest.mark.parametrize("point", ["before-day-commit", "after-day-commit"])
def test_a_crash_says_both_day_levels_or_neither(tmp_path, point):
    class Crash(BaseException):
        pass

    def crash(reached):
        if reached == point:
            raise Crash

    ledger = open_ledger(tmp_path, milestone=crash)
    lineage = open_day(ledger)
    tell_hours(ledger, lineage, CountingNoise())
    with pytest.raises(Crash):
        tell_day(ledger, lineage, CountingNoise())
    ledger.close()
    calm = open_ledger(tmp_path)
    said = [calm.entry(DAY, level) is not None for level in (Level.SECTOR_DAY, Level.BORDER_DAY)]
    assert said == [point == "after-day-commit"] * 2
    assert calm.verify().faults == ()


def test_a_changed_policy_waits_for_the_next_token_day_and_is_on_record(tmp_path):
    ledger, _, _ = told_day(tmp_path)
    assert ledger.policy_of(DAY) == POLICY
    next_day = DAY + timedelta(days=1)
    assert ledger.policy_of(next_day) is None
    open_day(ledger, day=next_day, policy=STRICTER)
    assert (ledger.policy_of(DAY), ledger.policy_of(next_day)) == (POLICY, STRICTER)
    first, second = [link.document for link in ledger.chain() if link.document["kind"] == "policy"]
    assert (first["previous"], second["previous"]) == (None, POLICY.digest)
    assert (second["takes_effect"], second["policy"]["threshold"]) == ("2026-03-03T02:00:00Z", 80)


def test_the_size_of_a_day_release_tells_nothing(tmp_path):
    loud = told_day(tmp_path / "loud")[2]
    ledger = open_ledger(tmp_path / "quiet")
    lineage, noise = open_day(ledger), CountingNoise()
    tell_hours(ledger, lineage, noise, counts=[0] * 6, complete=False)
    quiet = ledger.release_day(DAY, [0] * 6, lineage=lineage, complete=True, noise=noise)
    for one, other in zip(loud, quiet, strict=True):
        assert one.document["counts"] != other.document["counts"]
        assert len(canonical_json(one.document)) == len(canonical_json(other.document))
