"""Many runs of the mechanism beside each other, in as many processes as asked.

Noise is drawn for each cell apart and never seeded, so a vector of n runs laid side by side is n runs: the same
measurement of OpenDP, with the same scale, asked for more cells. A process is begun afresh (spawned), never copied: a
copy could repeat the randomness of the one it was copied from.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from bench.audit.crossing import Cell
from ingest.release import Level
from privacy.draw import Noise, draw_day, draw_hour
from privacy.levels import PublicCells, public_cells

Floats = npt.NDArray[np.float64]
Made = TypeVar("Made")

BASE = 400
"""What the others in a cell add; far from nought, so that nothing hides behind the edge of a scale."""
PIECE = 20_000
_SIDE_BY_SIDE = 50
"""Runs of the day levels in one draw: each a border of its own. The estimates take longer where there are more."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What one device-day adds: by how much each zone-hour cell moves, and the day cell of each direction."""

    hours: tuple[int, ...]
    arrivals: int
    departures: int

    @classmethod
    def of(cls, counts: dict[Cell, int]) -> "Effect":
        """The effect of what `advance` counted; its zones lie in one sector."""
        by_direction = [sum(n for (_, _, direction), n in counts.items() if direction == which) for which in (0, 1)]
        return cls(tuple(counts[cell] for cell in sorted(counts)), *by_direction)

    def mu(self, policy_sigmas: dict[Level, float]) -> float:
        """How far it moves the noisy vector of all levels, in standard deviations."""
        day = self.arrivals**2 + self.departures**2
        moved = {Level.ZONE_HOUR: sum(n * n for n in self.hours), Level.SECTOR_DAY: day, Level.BORDER_DAY: day}
        return float(np.sqrt(sum(moved[level] / policy_sigmas[level] ** 2 for level in Level)))


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """How much each run speaks for the device being in, on the zone-hours alone and on all three levels together."""

    hours: Floats
    joint: Floats


def score_runs(noise: Noise, effect: Effect, runs: int, *, present: bool) -> Scores:
    """The best attacker's score of each of so many token-days with or without the device.

    The attacker knows everybody else and the cells that the device would move, and reads the noisy vectors themselves,
    before threshold and estimate: what is published afterwards says no more. The score is the log of the likelihood
    ratio up to a constant: each cell's surplus, weighted by the device's effect over the variance that the policy states.
    """
    policy, there = noise.policy, int(present)
    by_hour, by_all = np.empty(runs), np.empty(runs)
    weights = np.array(effect.hours, float) / policy.sigma_at(Level.ZONE_HOUR) ** 2
    cells = _borders(_SIDE_BY_SIDE)
    day = np.array([effect.arrivals, effect.departures], float)
    totals = [BASE + there * n for n in (effect.arrivals, effect.departures)]
    for start in range(0, runs, _SIDE_BY_SIDE):
        n = min(_SIDE_BY_SIDE, runs - start)
        drawn = draw_hour([BASE + there * moved for moved in effect.hours] * n, noise)
        surplus = np.array(drawn.noisy, float).reshape(n, -1) - BASE
        by_hour[start : start + n] = surplus @ weights
        # The borders beyond the last run are drawn in vain.
        days = draw_day(cells, totals * _SIDE_BY_SIDE, None, noise)
        score = by_hour[start : start + n].copy()
        for level, values in ((Level.SECTOR_DAY, days.sector_day), (Level.BORDER_DAY, days.border_day)):
            score += (_by_border(values, n) - BASE) @ day / policy.sigma_at(level) ** 2
        by_all[start : start + n] = score
    return Scores(by_hour, by_all)


def _by_border(values: list[int], borders: int) -> Floats:
    return np.array(values, float).reshape(-1, 2)[:borders]


@lru_cache(maxsize=4)
def _borders(number: int) -> PublicCells:
    """Borders of one zone each, told apart by their kind, all in one grid."""
    return public_cells([(f"z{n:03}", f"s{n:03}", f"k{n:03}") for n in range(number)])


def pieces(runs: int, piece: int = PIECE) -> list[int]:
    """The runs cut into pieces.

    >>> pieces(50_000)
    [20000, 20000, 10000]
    """
    return [min(piece, runs - start) for start in range(0, runs, piece)]


@contextmanager
def drawers(workers: int) -> Iterator[Callable[[Callable[..., Made], list[tuple[object, ...]]], list[Made]]]:
    """A function that runs a job for each of many arguments, in this process where one worker is asked."""
    if workers == 1:
        yield lambda job, arguments: [job(*each) for each in arguments]
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield lambda job, arguments: [future.result() for future in [pool.submit(job, *each) for each in arguments]]
