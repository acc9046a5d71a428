"""What the levels say together: differences between all published products, and released minus true."""

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache, partial
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import chi2

from bench.audit.builds import BareDays, OneNoise, Quieter
from bench.audit.crossing import DAY_MS, Row, counted, sightings
from bench.audit.drawing import BASE, Floats, drawers, pieces
from bench.audit.finding import Broken, Finding, Size
from bench.audit.loss import claimed_mu
from bench.audit.memory import CELLS, DAY, ZONES, ledger_in, open_day, room, tell
from ingest.release import HOUR, Level
from ingest.token_day import HOURS_IN_DAY
from movement.advance import HOUR_MS
from movement.ground import INLAND
from movement.sighting import Side
from privacy.bound import undercount
from privacy.draw import draw_day, draw_hour
from privacy.levels import day_totals, public_cells
from privacy.mechanism import DiscreteGaussian
from privacy.policy import MAX_RHO_DAY, ReleasePolicy

PUBLIC = public_cells(ZONES)
_PIECE = 50
_DOUBT = 0.01
"""That any of all pairs' bounds is wrong."""


# Differences between all pairs of published products


def differencing(size: Size) -> Finding:
    """Every product of a token-day and every difference and sum of two of them, and the best mixture of all."""
    claim, days = claimed_mu(MAX_RHO_DAY), size.share(0.004, 240)
    with drawers(size.workers) as run:
        found = {
            build.__name__: _surest(np.concatenate(run(partial(_errors, build), [(n,) for n in pieces(days, _PIECE)])))
            for build in (DiscreteGaussian, OneNoise, BareDays)
        }
    pairs, mixture, number = found["DiscreteGaussian"]
    names = {"OneNoise": "day levels with the hours' noise", "BareDays": "the day levels as counted"}
    return Finding(
        "differencing of three levels and their estimates",
        f"mu at least {pairs:.3f} in the worst of {number:,} products, sums and differences, "
        f"{mixture:.3f} in the best mixture of all ({days:,} token-days)",
        f"at most {claim:.4f}",
        max(pairs, mixture) <= claim,
        tuple(
            Broken(name, f"mu at least {max(found[build][:2]):.3f}", max(found[build][:2]) > claim)
            for build, name in names.items()
        ),
        "Products: every zone-hour, a sector's hours added up, and the published estimates of sector-day and border-day. "
        "The mixture is learned from one half of the token-days and measured on the other.",
    )


def _errors(build: type[DiscreteGaussian], days: int) -> Floats:
    """What every product of so many token-days is off by: one row a token-day, one column a product."""
    noise = build(ReleasePolicy())
    rows = []
    for _ in range(days):
        counts = [[BASE] * len(CELLS) for _ in range(HOURS_IN_DAY)]
        hours = [draw_hour(hour, noise).noisy for hour in counts]
        drawn = draw_day(PUBLIC, [HOURS_IN_DAY * BASE] * len(CELLS), hours, noise)
        by_sector = day_totals(PUBLIC, [sum(cell) for cell in zip(*hours, strict=True)])[0]
        said = [
            *(value for hour in hours for value in hour),
            *by_sector,
            *(estimate.value for estimate in (*drawn.estimates.sector_day, *drawn.estimates.border_day)),
        ]
        rows.append(said)
    return np.array(rows, float) - _true_products()


def _true_products() -> Floats:
    by_sector, by_border = day_totals(PUBLIC, [HOURS_IN_DAY * BASE] * len(CELLS))
    return np.array([BASE] * HOURS_IN_DAY * len(CELLS) + by_sector + by_sector + by_border, float)


@lru_cache(maxsize=1)
def _moves() -> tuple[Floats, ...]:
    """For arrivals and for departures: by how much each product moves (columns) with a movement at each place (rows).

    A place is a cell of an hour: there a device counts once.
    """
    products = len(_true_products())
    sectors, hours_end = len(PUBLIC.sector_day), HOURS_IN_DAY * len(CELLS)
    by_direction: dict[str, list[Floats]] = {}
    for hour in range(HOURS_IN_DAY):
        for place, cell in enumerate(CELLS):
            sector = PUBLIC.sector_of[place]
            row = np.zeros(products)
            row[hour * len(CELLS) + place] = 1
            row[hours_end + sector] = row[hours_end + sectors + sector] = 1
            row[hours_end + 2 * sectors + PUBLIC.border_of[sector]] = 1
            by_direction.setdefault(cell[1], []).append(row)
    return tuple(np.array(rows) for _, rows in sorted(by_direction.items()))


def _furthest(mixtures: Floats) -> Floats:
    """How far the device that moves a mixture of products (columns) furthest moves it, within its bound."""
    k = ReleasePolicy().k
    up, down = np.zeros(mixtures.shape[1]), np.zeros(mixtures.shape[1])
    for moves in _moves():
        shifts = np.sort(moves @ mixtures, axis=0)
        up += np.maximum(shifts[-k:], 0).sum(axis=0)
        down += np.maximum(-shifts[:k], 0).sum(axis=0)
    return np.maximum(up, down)


def _surest(errors: Floats) -> tuple[float, float, int]:
    """Lower bounds of mu: in the worst single product, sum or difference of two, and in the best mixture; how many."""
    days, products = errors.shape
    covariance = np.cov(errors, rowvar=False)
    spread = np.diag(covariance)
    number = products + products * (products - 1)
    widest = _widest(days, number)
    worst = 0.0
    singles = np.eye(products)
    worst = max(worst, float((_furthest(singles) / _sd(spread * widest)).max()))
    a, b = np.array(list(combinations(range(products), 2))).T
    for sign in (1, -1):
        for part in np.array_split(np.arange(len(a)), 20):
            mixtures = singles[:, a[part]] + sign * singles[:, b[part]]
            variance = spread[a[part]] + spread[b[part]] + 2 * sign * covariance[a[part], b[part]]
            worst = max(worst, float((_furthest(mixtures) / _sd(variance * widest)).max()))
    return worst, _mixture(errors), number


def _widest(days: int, tries: int) -> float:
    """By how much a true variance may exceed the one found, in none of so many tries, surely."""
    return float((days - 1) / chi2.ppf(_DOUBT / tries, days - 1))


def _sd(variance: Floats) -> Floats:
    # What is nought but for rounding tells nothing: a difference that no device moves.
    return np.sqrt(np.maximum(variance, 1e-9))


def _mixture(errors: Floats) -> float:
    """A lower bound of mu in the mixture that tells best, for one device whose cells are known."""
    half = len(errors) // 2
    k = ReleasePolicy().k
    # In the same zone, an hour apart: the next place of a direction is another zone.
    device = np.sum([moves[[step * len(ZONES) for step in range(k)]].sum(axis=0) for moves in _moves()], axis=0)
    told = np.flatnonzero(device)
    # The other hours of the sector stand in their sum; what the device does not move helps only through that.
    learned = np.cov(errors[:half, told], rowvar=False)
    weights = np.linalg.pinv(learned, rcond=1e-10) @ device[told]
    unseen = errors[half:, told] @ weights
    return float(device[told] @ weights / np.sqrt(unseen.var(ddof=1) * _widest(len(unseen), 1)))


# Released minus true

SHARES = (0.0, 0.997, 0.0, 0.003)
"""Movements a direction and token-day of the simulated devices: one, or three, of which the bound leaves out one."""
_DEVICES_A_DAY = 10_000
_KINDS_OF_DAY = 3
_WHOLE_ROUNDS = 4 * _KINDS_OF_DAY * HOURS_IN_DAY  # every hour of every kind of day equally often


@dataclass(frozen=True, slots=True)
class _Off:
    """Released minus true, and by how many standard errors its mean misses the published bias."""

    level: Level
    mean: float
    bias: float
    standard_error: float
    sd: float
    sigma: float
    number: int

    @property
    def sound(self) -> bool:
        return abs(self.mean - self.bias) <= 3 * self.standard_error and abs(self.sd / self.sigma - 1) <= 0.03

    def words(self) -> str:
        missed = (self.mean - self.bias) / self.standard_error
        return (
            f"{self.level.value} {self.mean:+.2f} (bias {self.bias:+.2f}, {missed:+.1f} se), "
            f"sd {self.sd / self.sigma - 1:+.1%} of sigma"
        )


def released_minus_true(size: Size) -> Finding:
    """A simulated carrier's windows, as they are released, against what its devices did."""
    windows = size.share(0.005, 96)
    ours = _through_the_ledger(DiscreteGaussian, ReleasePolicy().k, windows, size)
    mass = _through_the_draws(DiscreteGaussian, ReleasePolicy().k, windows, size)
    builds = {
        "sigma 5 % low": _through_the_draws(Quieter, ReleasePolicy().k, windows, size),
        "one movement counted, two stated": _through_the_draws(DiscreteGaussian, 1, windows, size),
    }
    everything = [ours[0], *mass]
    return Finding(
        "released minus true",
        "; ".join(off.words() for off in everything)
        + f" ({windows:,} windows through the ledger, {windows:,} token-days of both day levels through its draws)",
        "mean within 3 standard errors of the published bias, sd within 3 % of sigma, all levels",
        all(off.sound for off in everything),
        tuple(
            Broken(name, "; ".join(off.words() for off in found), not all(off.sound for off in found))
            for name, found in builds.items()
        ),
        "Sample of the day levels through the ledger itself (not gated, too few): "
        + "; ".join(off.words() for off in ours[1:])
        + ".",
    )


@lru_cache(maxsize=4)
def _carrier_days(seed: int, k: int) -> list[tuple[Floats, Floats]]:
    """Some token-days of a carrier: (hours, cells) of what its devices did and of what `advance` counts of it."""
    days = []
    for rows, true in _device_days(seed):
        found = np.zeros_like(true)
        for (hour, zone, direction), n in counted(rows, k=k)[0].items():
            found[hour, 2 * zone + direction] = n
        days.append((true, found))
    return days


@lru_cache(maxsize=1)
def _device_days(seed: int) -> list[tuple[pl.DataFrame, Floats]]:
    """Some token-days of devices: their sightings, and their movements by hour and cell.

    A device arrives or departs at distinct hours in any zone; its track ends after each movement, so that nothing but
    the bound leaves a movement out.
    """
    draw = np.random.default_rng([seed, 17])
    days = []
    for _ in range(_KINDS_OF_DAY):
        rows: list[Row] = []
        true = np.zeros((HOURS_IN_DAY, len(CELLS)))
        for direction in (0, 1):
            # As many of each as the shares say, so that the bound leaves out what it is said to.
            number = np.repeat(np.arange(len(SHARES)), np.round(np.array(SHARES) * _DEVICES_A_DAY).astype(int))
            for movements in number:
                token = draw.bytes(16)
                for hour in draw.permutation(HOURS_IN_DAY)[:movements]:
                    zone = int(draw.integers(len(ZONES)))
                    true[hour, 2 * zone + direction] += 1
                    rows += _crossing(token, int(hour), zone, direction)
        days.append((sightings(rows), true))
    return days


def _crossing(token: bytes, hour: int, zone: int, direction: int) -> list[Row]:
    """One movement in the middle of an hour, and the end of its track."""
    at = DAY_MS + hour * HOUR_MS + HOUR_MS // 2
    sides = [(INLAND, Side.ABROAD), (zone, Side.HOME)] if direction == 0 else [(zone, Side.HOME), (INLAND, Side.ABROAD)]
    return [
        *((token, at + step, cell, int(side)) for step, (cell, side) in enumerate(sides)),
        (token, at + 2, INLAND, int(Side.ENDED)),
    ]


def _through_the_draws(build: type[DiscreteGaussian], k: int, days: int, size: Size) -> list[_Off]:
    with drawers(size.workers) as run:
        parts = run(partial(_drawn_days, build, k, size.seed), [(n,) for n in pieces(days, _WHOLE_ROUNDS)])
    found: dict[Level, Floats] = {
        level: np.concatenate([part[level] for part in parts]) for level in (Level.SECTOR_DAY, Level.BORDER_DAY)
    }
    hours = np.concatenate([part[Level.ZONE_HOUR] for part in parts])
    mean = np.mean([true for true, _ in _carrier_days(size.seed, k)], axis=(0, 1))
    return [_off(level, errors_, mean) for level, errors_ in [(Level.ZONE_HOUR, hours), *found.items()]]


def _drawn_days(build: type[DiscreteGaussian], k: int, seed: int, days: int) -> dict[Level, Floats]:
    """(released - true) by level, one row a token-day; of the zone-hours those of one hour a token-day."""
    noise = build(ReleasePolicy())
    kinds = _carrier_days(seed, k)
    errors: dict[Level, list[Floats]] = {level: [] for level in Level}
    for number in range(days):
        true, found = kinds[number % len(kinds)]
        hours = [draw_hour(hour, noise).noisy for hour in found.astype(int).tolist()]
        drawn = draw_day(PUBLIC, found.sum(axis=0).astype(int).tolist(), hours, noise)
        by_sector, by_border = day_totals(PUBLIC, true.sum(axis=0).astype(int).tolist())
        at = number // len(kinds) % HOURS_IN_DAY
        errors[Level.ZONE_HOUR].append(np.array(hours[at]) - true[at])
        errors[Level.SECTOR_DAY].append(np.array([e.value for e in drawn.estimates.sector_day]) - by_sector)
        errors[Level.BORDER_DAY].append(np.array([e.value for e in drawn.estimates.border_day]) - by_border)
    return {level: np.array(rows, float) for level, rows in errors.items()}


def _through_the_ledger(build: type[DiscreteGaussian], k: int, windows: int, size: Size) -> list[_Off]:
    kinds = _carrier_days(size.seed, k)
    errors: dict[Level, list[Floats]] = {level: [] for level in Level}
    with room() as folder:
        ledger = ledger_in(folder)
        for number in range(-(-windows // HOURS_IN_DAY)):
            true, found = kinds[number % len(kinds)]
            day = DAY + timedelta(days=number)
            lineage = open_day(ledger, day=day)
            for hour in range(HOURS_IN_DAY):
                entry = tell(ledger, lineage, day + HOUR * hour, found[hour].astype(int).tolist(), day)
                errors[Level.ZONE_HOUR].append(_values(entry.document) - true[hour])
            totals = found.sum(axis=0).astype(int).tolist()
            noise = build(ReleasePolicy())
            said = ledger.release_day(day, totals, lineage=lineage, complete=True, noise=noise)
            for entry, counts in zip(said, day_totals(PUBLIC, true.sum(axis=0).astype(int).tolist()), strict=True):
                errors[entry.level].append(_values(entry.document) - counts)
        ledger.close()
    mean = np.mean([true for true, _ in kinds], axis=(0, 1))
    return [_off(level, np.array(rows, float), mean) for level, rows in errors.items()]


def _values(document: dict[str, Any]) -> Floats:
    # A suppressed value would be nan and show as a mean of nan: here every count lies far above its threshold.
    return np.array([count["value"] for count in document["counts"]], np.float64)


def _off(level: Level, errors: Floats, mean: Floats) -> _Off:
    """How far off a level is, cell by cell, put together in units of each cell's own sigma."""
    sums = _summed(level)
    lost = undercount(SHARES, ReleasePolicy().k)
    bias = -lost * sums * mean.mean()
    sigma = np.array(_stated_sigmas(level))
    scores = (errors - bias) / sigma
    # Cells of one draw are independent, but those of a day level share the hours' and the border's readings.
    by_row = scores.mean(axis=1)
    unit = float(sigma.mean())
    return _Off(
        level,
        float(errors.mean()),
        float(bias.mean()),
        float(by_row.std(ddof=1) / np.sqrt(len(by_row))) * unit,
        float(scores.std()) * unit,
        unit,
        errors.size,
    )


def _summed(level: Level) -> Floats:
    """How many zone-hour cells each cell of a level sums."""
    if level is Level.ZONE_HOUR:
        return np.ones(len(CELLS))
    sectors = np.array(PUBLIC.zones_in, float) * HOURS_IN_DAY
    if level is Level.SECTOR_DAY:
        return sectors
    return np.bincount(PUBLIC.border_of, weights=sectors).astype(np.float64)


@lru_cache(maxsize=3)
def _stated_sigmas(level: Level) -> tuple[float, ...]:
    """The standard deviation that a release of the level states for each cell."""
    policy = ReleasePolicy()
    if level is Level.ZONE_HOUR:
        return (policy.sigma,) * len(CELLS)
    nothing = [[0] * len(CELLS)] * HOURS_IN_DAY
    estimates = draw_day(PUBLIC, [0] * len(CELLS), nothing, DiscreteGaussian(policy)).estimates
    return tuple(e.sigma for e in (estimates.sector_day if level is Level.SECTOR_DAY else estimates.border_day))
