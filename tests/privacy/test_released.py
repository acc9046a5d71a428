"""Released minus true, through the ledger itself: the mean is nought and the deviation is what the release states."""

import math
from datetime import timedelta

import pytest

from ingest.release import HOUR, Level, Release
from privacy.mechanism import DiscreteGaussian
from tests.privacy.builders import CELLS, DAY, POLICY, PUBLIC, open_day, open_ledger, release

DAYS = 30
COUNT = 400  # far above every threshold, so that nothing is suppressed and the mean is not bent


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """(released - true) / stated sigma by level, over 30 token-days of 24 windows."""
    ledger = open_ledger(tmp_path_factory.mktemp("released"))
    ledger._db.execute("PRAGMA synchronous = OFF")
    noise = DiscreteGaussian(POLICY)
    found = {level: [] for level in Level}
    for number in range(DAYS):
        day = DAY + timedelta(days=number)
        lineage = open_day(ledger, day=day)
        entries = [
            release(ledger, lineage, noise, window=day + HOUR * hour, counts=[COUNT] * len(CELLS), day=day)
            for hour in range(24)
        ]
        entries += ledger.release_day(day, [24 * COUNT] * len(CELLS), lineage=lineage, complete=True, noise=noise)
        for entry in entries:
            said = Release.model_validate(entry.document)
            for place, count in enumerate(said.counts):
                sigma = getattr(count, "sigma", said.mechanism.sigma)
                found[said.level].append((count.value - COUNT * hours_summed(said.level, place)) / sigma)
    assert ledger.verify().faults == ()
    return found


def hours_summed(level, place):
    """How many zone-hours a cell of a level sums."""
    if level is Level.ZONE_HOUR:
        return 1
    if level is Level.SECTOR_DAY:
        return 24 * PUBLIC.zones_in[place]
    return 24 * sum(n for n, at in zip(PUBLIC.zones_in, PUBLIC.border_of, strict=True) if at == place)


@pytest.mark.parametrize("level", list(Level))
def test_released_minus_true_is_what_the_release_states(scores, level):
    """Five standard errors, fixed before. Cells of a day level share the border's draw: they count as half as many."""
    z = scores[level]
    independent = len(z) if level is Level.ZONE_HOUR else len(z) / 2
    mean = math.fsum(z) / len(z)
    sd = math.sqrt(math.fsum((x - mean) ** 2 for x in z) / len(z))
    assert len(z) == DAYS * (24 * len(CELLS) if level is Level.ZONE_HOUR else len(PUBLIC.at(level)))
    assert abs(mean) < 5 / math.sqrt(independent)
    assert abs(sd - 1) < 5 / math.sqrt(2 * independent)
