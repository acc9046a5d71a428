"""Borders to try a detector on, with the truth kept aside: one simulated, one of real counts.

A world ends with a test span that nothing has learned from. Its history is what carriers would have published: true
counts, the discrete Gaussian of design.md section 6 drawn from a seed (`simulator.counts.simulated_noise`: the same law as
the product's mechanism, by its cumulative sums, vectorised), nothing below the threshold, combined by `detector.combine`.
Surges are planted on copies (`plant`), so false alerts are counted where there are none.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

import holidays
import numpy as np
import numpy.typing as npt
import polars as pl
import shapely

from bench.detection.planting import HOUR_SPAN, PLANTED_SCHEMA, Crowd, Planted, plant_plan, planted_truth
from detector.calendar import Calendar, lunar_new_years
from detector.combine import HISTORY_SCHEMA, PUBLISHED_SCHEMA, combine
from detector.features import LOOKBACK_DAYS
from geofence.grid import Zone, ZoneGrid, ZoneKind
from simulator.carriers import MARKET_SHARES
from simulator.counts import OUTAGES_PER_CARRIER_MONTH, SIMULATED_MECHANISM, simulated_noise
from simulator.rates import DIRECTIONS, LAW_CLASSES, MovementClass, _festivals, draw_law, draw_movements

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SIGMA: Final = float(SIMULATED_MECHANISM["sigma"])
THRESHOLD: Final = int(SIMULATED_MECHANISM["threshold"])
LEARN_DAYS, HOLD_DAYS = 365, 92
TEST_LEADS: Final = timedelta(days=LOOKBACK_DAYS + 1)  # history before the test span that a planted copy carries
BELT_LEVELS: Final = (2.0, 300.0)  # mean movements an hour, log-uniform: the span of notes/detection.md
LEVEL_SHIFTS: Final = (0.25, (1.25, 1.8))  # share of belts that get a new cell, and what it does
SHIFT_FELT: Final = timedelta(days=21)
DROP_OUT_FELT_HOURS: Final = 12
SILENT_SHARE: Final = 0.2  # of outages that no alarm reports
UNLABELLED_PER_ZONE_MONTH: Final = 0.25  # surges in the year that is learned from, which nobody marked
ORDINARY_PLAN: Final = (
    Crowd(80, 2, "ramp"),
    Crowd(150, 1, "burst"),
    Crowd(200, 4, "plateau"),
    Crowd(400, 3, "ramp", 2),
)

AUCKLAND: Final = Path(__file__).parent / "data" / "auckland.parquet"
AUCKLAND_TESTS: Final = tuple(
    datetime(*at, tzinfo=UTC) for at in ((2023, 10, 1), (2024, 4, 1), (2024, 10, 1), (2025, 4, 1))
)
SMOOTHED_WEEKS: Final = 4  # before and after, for the true mean of an hour


class Regime(StrEnum):
    """What kind of time a zone-hour of the test span belongs to."""

    QUIET = "quiet"
    HOLIDAY = "holiday"
    LUNAR_NEW_YEAR = "lunar_new_year"
    FESTIVAL = "unknown_festival"
    LEVEL_SHIFT = "after_a_level_shift"
    DROP_OUT = "drop_out"


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """True counts and noise, arrays of (carrier, zone, direction, hour); what was never published."""

    start: datetime
    zones: pl.DataFrame  # zone_id, sector_id, kind
    carriers: Mapping[str, float]  # market share by name
    true: Ints
    noise: Ints
    spoken: Bools  # false: no release
    complete: Bools

    def since(self, start: datetime) -> "Counts":
        """The same from a later hour on."""
        at = int((start - self.start) / HOUR_SPAN)
        parts = {name: getattr(self, name)[..., at:] for name in ("true", "noise", "spoken", "complete")}
        return replace(self, start=start, **parts)

    def history(self) -> pl.DataFrame:
        """What the centre reads of it (HISTORY_SCHEMA)."""
        _, zones, directions, hours = self.true.shape
        windows = pl.datetime_range(
            self.start, self.start + (hours - 1) * HOUR_SPAN, "1h", eager=True, time_unit="us", time_zone="UTC"
        )
        noisy = self.true + self.noise
        key = np.indices((zones, directions, hours), dtype=np.int32).reshape(3, -1)
        frames = []
        for at, carrier in enumerate(sorted(self.carriers)):
            ix = list(self.carriers).index(carrier)
            frames.append(
                pl.DataFrame(
                    {
                        "carrier": pl.repeat(carrier, key.shape[1], eager=True),
                        "zone_id": self.zones["zone_id"].gather(key[0]),
                        "direction": pl.Series([str(way) for way in DIRECTIONS]).gather(key[1]),
                        "window_start": windows.gather(key[2]),
                        "value": noisy[ix].ravel(),
                        "sigma": pl.repeat(SIGMA, key.shape[1], eager=True),
                        "threshold": pl.repeat(THRESHOLD, key.shape[1], dtype=pl.Int64, eager=True),
                        "feed_complete": self.complete[ix].ravel(),
                        "release_digest": pl.repeat(f"d{at}", key.shape[1], eager=True),
                        "spoken": self.spoken[ix].ravel(),
                    }
                )
                .filter("spoken")
                .with_columns(pl.when(pl.col("value") >= THRESHOLD).then("value"))
                .select(list(PUBLISHED_SCHEMA))
            )
        return combine(
            pl.concat(frames), self.zones, list(self.carriers), first_window=windows[0], last_window=windows[-1]
        ).select(list(HISTORY_SCHEMA))


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """A border's history and the truth behind it.

    true_mean: zone_id, direction, window_start, mean (all carriers), kappa (variance of the count = mean + kappa x
    mean^2); of the test span. truth: PLANTED_SCHEMA. regimes: zone_id, window_start, regime, of the test span. `focus`,
    where there is one, are the zone-hours (zone_id, direction, window_start) that an answer may be limited to. planted: the
    movements of each surge by (surge_id, zone_id, hours after its first).
    """

    name: str
    history: pl.DataFrame
    true_mean: pl.DataFrame
    neighbours: Mapping[str, Sequence[str]]
    calendar: Calendar
    truth: pl.DataFrame
    learn_until: datetime
    hold_until: datetime  # the test span begins
    end: datetime
    regimes: pl.DataFrame
    counts: Counts
    seed: int
    directions: tuple[str, ...]
    focus: pl.DataFrame | None = None
    planted: Mapping[tuple[str, str, int], int] = field(default_factory=dict, repr=False)

    @property
    def belts(self) -> list[str]:
        """The zones that are judged."""
        return self.counts.zones.filter(pl.col("kind") == "belt")["zone_id"].to_list()

    @property
    def last_window(self) -> datetime:
        """The last window of the test span."""
        return self.end - HOUR_SPAN

    @property
    def test_hours(self) -> int:
        """Hours of the test span."""
        return int((self.end - self.hold_until) / HOUR_SPAN)


def plant(world: World, surges: Sequence[Planted], *, begins: datetime | None = None) -> World:
    """A copy of the world from TEST_LEADS before its test span on, with surges planted and nothing else changed.

    `first_hour` of the surges counts from `begins`, the beginning of the test span unless said.
    """
    begins = begins or world.hold_until
    since = max(begins - TEST_LEADS, world.counts.start)
    counts = _with_surges(world.counts.since(since), surges, int((begins - since) / HOUR_SPAN), world.seed)
    truth = planted_truth(surges, begins)
    around = [
        (zone, row["direction"], row["window_start"] + hour * HOUR_SPAN)
        for row in truth.iter_rows(named=True)
        for zone in row["zone_ids"]
        for hour in range(row["hours"] + 1)
    ]
    focus = pl.DataFrame(
        around,
        schema={name: HISTORY_SCHEMA[name] for name in ("zone_id", "direction", "window_start")},
        orient="row",
    ).filter(pl.col("window_start") < world.end)
    by_cell = {
        (surge.surge_id, zone, hour): int(number)
        for surge in surges
        for zone, by_hour in zip(surge.zone_ids, surge.movements, strict=True)
        for hour, number in enumerate(by_hour)
    }
    return replace(
        world,
        history=counts.history(),
        truth=truth,
        counts=counts,
        focus=focus.unique(maintain_order=True),
        planted=by_cell,
    )


def simulated(
    seed: int, *, zones: int = 40, months: float = 3.0, carriers: int = 1, learn_days: int = LEARN_DAYS
) -> World:
    """A border by the simulator's law: belts of 2 to 300 movements an hour, a crossing point to every ten of them.

    The test span begins in December, so that Christmas, New Year and the lunar new year lie in it (months >= 3). Levels
    of belts are spread evenly in log over BELT_LEVELS, whatever the law draws, so that every background is met.
    A quarter of the belts get a level shift, half of those within the test span; carriers' outages are the simulator's,
    a fifth of them unreported. Festivals are the law's own: no calendar has them.
    """
    begins = datetime(2026, 12, 1, tzinfo=UTC)
    hold = timedelta(days=HOLD_DAYS if learn_days >= LEARN_DAYS else max(21, learn_days // 4))
    start, end = begins - timedelta(days=learn_days) - hold, begins + timedelta(hours=round(months * 730.5))
    hours = int((end - start) / HOUR_SPAN)
    grid, neighbours = _line(zones)
    law = draw_law(grid, neighbours, seed=seed)
    random = np.random.default_rng([seed, 90])
    belt = ~law.crossing_point
    low, high = BELT_LEVELS
    quantile = (random.permutation(zones) + random.random(zones)) / zones
    level = law.base_per_h.copy()
    level[belt] = low * (high / low) ** quantile
    law = replace(law, base_per_h=level)

    names = [f"carrier-{letter}" for letter in "abc"][:carriers]
    shares = dict(zip(names, MARKET_SHARES if carriers == 3 else [1.0 / carriers] * carriers, strict=False))
    mean = np.moveaxis(law.intensity(start, hours), (2, 3, 1), (1, 2, 3))  # class, zone, direction, hour
    crowd_mean = mean[[LAW_CLASSES.index(c) for c in (MovementClass.LOCAL, MovementClass.OFFICIAL)]].sum(axis=0)
    whole = mean.sum(axis=0)
    drawn = np.moveaxis(draw_movements(law, start, hours, shares).sum(axis=1), (0, 2, 3, 1), (0, 1, 2, 3))

    lift, shifted = _level_shifts(random, belt, hours, int((begins - start) / HOUR_SPAN))
    true = drawn + random.binomial(drawn, (lift - 1.0)[None, :, None, :])
    outage, complete, left = _outages(random, carriers, law.sector_ix, hours)
    true = np.where(left[:, :, None, :] < 1, random.binomial(true, left[:, :, None, :]), true)
    whole, crowd_mean = whole * lift[:, None, :], crowd_mean * lift[:, None, :]
    # A silent outage is no ordinary hour: what is true there is what is left of the movements.
    seen = np.einsum("c,czh->zh", list(shares.values()), left)[:, None, :]
    kappa = (crowd_mean / np.maximum(whole, 1e-9)) ** 2 / law.dispersion_k[:, None, None]

    counts = Counts(
        start=start,
        zones=_zone_table(grid),
        carriers=shares,
        true=true,
        noise=simulated_noise(random, SIGMA, true.shape),
        spoken=np.ones(true.shape, dtype=bool),
        complete=np.broadcast_to(complete[:, None, None, :], true.shape),
    )
    days = [(start + (hour + law.utc_offset_h) * HOUR_SPAN).date() for hour in range(hours)]
    festival = (_festivals(law, days) > 1.0)[:, law.sector_ix].T
    calendar = Calendar()
    regimes = _regimes(
        counts,
        begins,
        calendar,
        {Regime.FESTIVAL: festival, Regime.LEVEL_SHIFT: shifted, Regime.DROP_OUT: outage},
    )
    world = World(
        name=f"simulated, {carriers} carrier{'s' if carriers > 1 else ''}, seed {seed}",
        history=pl.DataFrame(),
        true_mean=_means(counts, begins, whole * seen, kappa),
        neighbours=neighbours,
        calendar=calendar,
        truth=pl.DataFrame(schema=PLANTED_SCHEMA),
        learn_until=begins - hold,
        hold_until=begins,
        end=end,
        regimes=regimes,
        counts=counts,
        seed=seed,
        directions=tuple(str(way) for way in DIRECTIONS),
    )
    return _published(_polluted(world))


def auckland(seed: int, *, months: float = 6.0, learn_days: int = LEARN_DAYS) -> World:
    """Counts of passers-by at 21 sites as zones of 2 to 300 an hour: the seed picks the half-year of the test span,
    which site gets which level, the noise.

    A site is a zone, sites touch in the order of their names (no geography), only arrivals are published. Counts are
    thinned binomially to their level. The true mean is an approximation: what the same hour of the week was in the four
    weeks before *and after*, times how far the three hours before *and after* lie above theirs, nothing planted. Real
    crowds are inside and nobody marked them, so every method's false alerts are overstated.
    """
    begins = AUCKLAND_TESTS[seed % len(AUCKLAND_TESTS)]
    hold = timedelta(days=HOLD_DAYS if learn_days >= LEARN_DAYS else max(21, learn_days // 4))
    start, end = begins - timedelta(days=learn_days) - hold, begins + timedelta(hours=round(months * 730.5))
    table = pl.read_parquet(AUCKLAND).with_columns(pl.col("hour_utc").cast(pl.Datetime("us", "UTC")))
    sites = [name for name in table.columns if name != "hour_utc"]
    whole = table.select(pl.col(name).cast(pl.Float64) for name in sites).to_numpy().T
    random = np.random.default_rng([seed, 91])
    first = int((start - table["hour_utc"][0]) / HOUR_SPAN)
    part = slice(first, first + int((end - start) / HOUR_SPAN))
    low, high = BELT_LEVELS
    level = low * (high / low) ** ((random.permutation(len(sites)) + random.random(len(sites))) / len(sites))
    keep = np.minimum(level / np.nanmean(whole[:, part], axis=1), 1.0)
    smooth = _leave_out_smooth(whole)[:, part] * keep[:, None]
    known = np.isfinite(whole[:, part])
    thinned = random.binomial(np.where(known, whole[:, part], 0).astype(np.int64), keep[:, None])

    names = [f"a{at:02d}" for at in range(len(sites))]
    zones = pl.DataFrame({"zone_id": names, "sector_id": ["auckland"] * len(names), "kind": ["belt"] * len(names)})
    true = np.zeros((1, len(sites), len(DIRECTIONS), thinned.shape[1]), dtype=np.int64)
    spoken = np.zeros(true.shape, dtype=bool)
    true[0, :, 0], spoken[0, :, 0] = thinned, True
    counts = Counts(
        start=start,
        zones=zones,
        carriers={"carrier-a": 1.0},
        true=true,
        noise=simulated_noise(random, SIGMA, true.shape),
        spoken=spoken,
        complete=spoken & known[None, :, None, :],
    )
    calendar = Calendar("Pacific/Auckland", "NZ", ())
    mean = np.stack([smooth, np.zeros_like(smooth)], axis=1)
    kappa = _kappa_of(thinned, smooth, known)
    world = World(
        name=f"Auckland from {begins:%Y-%m}, seed {seed}",
        history=pl.DataFrame(),
        true_mean=_means(counts, begins, mean, np.broadcast_to(kappa[:, None, None], mean.shape)),
        neighbours=_touching(names),
        calendar=calendar,
        truth=pl.DataFrame(schema=PLANTED_SCHEMA),
        learn_until=begins - hold,
        hold_until=begins,
        end=end,
        regimes=_regimes(counts, begins, calendar, {}),
        counts=counts,
        seed=seed,
        directions=("arrival",),
    )
    return _published(world)


def young(world: World, zones: Sequence[str], days: int) -> World:
    """The world in which some zones began to report only so many days before the test span."""
    at = int((world.hold_until - world.counts.start) / HOUR_SPAN) - 24 * days
    spoken = world.counts.spoken.copy()
    spoken[:, [world.counts.zones["zone_id"].to_list().index(zone) for zone in zones], :, :at] = False
    return replace(world, counts=replace(world.counts, spoken=spoken))


def _published(world: World) -> World:
    return replace(world, history=world.counts.history())


def _polluted(world: World) -> World:
    """The world with surges that nobody marked in the time that is learned from."""
    hours = int((world.learn_until - world.counts.start) / HOUR_SPAN)
    number = round(UNLABELLED_PER_ZONE_MONTH * len(world.belts) * hours / 730.5)
    plan = [ORDINARY_PLAN[at % len(ORDINARY_PLAN)] for at in range(number)]
    surges = plant_plan(plan, world.belts, world.directions, world.neighbours, hours, seed=world.seed, name="unmarked")
    return replace(world, counts=_with_surges(world.counts, surges, 0, world.seed))


def _with_surges(counts: Counts, surges: Sequence[Planted], offset: int, seed: int) -> Counts:
    true = counts.true.copy()
    zone_ids = counts.zones["zone_id"].to_list()
    shares = np.array(list(counts.carriers.values()))
    for surge in surges:
        random = np.random.default_rng([seed, 92, *surge.surge_id.encode()])
        way = [str(direction) for direction in DIRECTIONS].index(surge.direction)
        begins = offset + surge.first_hour
        for zone, by_hour in zip(surge.zone_ids, surge.movements, strict=True):
            at = slice(begins, min(begins + by_hour.size, true.shape[-1]))
            seen = random.multinomial(by_hour, shares / shares.sum()).T
            true[:, zone_ids.index(zone), way, at] += seen[:, : at.stop - at.start]
    return replace(counts, true=true)


def _line(zones: int) -> tuple[ZoneGrid, dict[str, tuple[str, ...]]]:
    """Belts in a line in sectors of ten, each sector with a crossing point that touches its middle belts."""
    belts = [f"b{at:03d}" for at in range(zones)]
    touching: dict[str, set[str]] = {name: set(near) for name, near in _touching(belts).items()}
    made = [
        Zone(name, f"s{at // 10:02d}", ZoneKind.BELT, name, shapely.box(at, 0, at + 1, 1))
        for at, name in enumerate(belts)
    ]
    for sector in range(-(-zones // 10)):
        name, middle = f"x{sector:03d}", min(sector * 10 + 4, zones - 1)
        made.append(Zone(name, f"s{sector:02d}", ZoneKind.CROSSING_POINT, name, shapely.box(middle, 1, middle + 1, 2)))
        touching[name] = {belts[middle]}
        touching[belts[middle]].add(name)
    document = {"border_id": "VN-KH", "home": "VN"}
    grid = ZoneGrid("sha256:bench", datetime(2020, 1, 1, tzinfo=UTC), 20, tuple(made), document)
    return grid, {name: tuple(sorted(near)) for name, near in touching.items()}


def _touching(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(names[n] for n in (at - 1, at + 1) if 0 <= n < len(names)) for at, name in enumerate(names)}


def _zone_table(grid: ZoneGrid) -> pl.DataFrame:
    return pl.DataFrame(
        [(zone.zone_id, zone.sector_id, str(zone.kind)) for zone in grid.zones],
        schema=["zone_id", "sector_id", "kind"],
        orient="row",
    )


def _level_shifts(random: np.random.Generator, belt: Bools, hours: int, test: int) -> tuple[Floats, Bools]:
    """What new cells do, by zone and hour, and where that is still news."""
    lift, news = np.ones((belt.size, hours)), np.zeros((belt.size, hours), dtype=bool)
    share, (low, high) = LEVEL_SHIFTS
    felt = int(SHIFT_FELT / HOUR_SPAN)
    chosen = random.permutation(np.nonzero(belt)[0])[: max(2, round(share * belt.sum()))]
    for number, zone in enumerate(chosen):
        since = int(random.integers(test, max(hours - felt, test + 1)) if number % 2 else random.integers(0, test))
        lift[zone, since:] = random.uniform(low, high)
        news[zone, since : since + felt] = True
    return lift, news


def _outages(
    random: np.random.Generator, carriers: int, sector_ix: npt.NDArray[np.int64], hours: int
) -> tuple[Bools, Bools, Floats]:
    """Where an outage is felt (zone, hour), which (carrier, hour) says it is complete, what is left (carrier, zone, hour)."""
    felt = np.zeros((sector_ix.size, hours), dtype=bool)
    complete = np.ones((carriers, hours), dtype=bool)
    left = np.ones((carriers, sector_ix.size, hours))
    for carrier in range(carriers):
        for _ in range(random.poisson(OUTAGES_PER_CARRIER_MONTH * hours / 730.5)):
            first, lasts = int(random.integers(hours)), int(random.integers(1, 7))
            zones = np.nonzero(sector_ix == random.integers(sector_ix.max() + 1))[0]
            left[carrier, zones, first : first + lasts] = random.uniform(0, 0.5)
            felt[zones, first : first + lasts + DROP_OUT_FELT_HOURS] = True
            complete[carrier, first : first + lasts] &= random.random() < SILENT_SHARE
    return felt, complete, left


def _regimes(counts: Counts, begins: datetime, calendar: Calendar, known: Mapping[Regime, Bools]) -> pl.DataFrame:
    """zone_id, window_start, regime from `begins` on; what comes later in Regime goes before."""
    zones, hours = counts.true.shape[1], counts.true.shape[3]
    windows = pl.datetime_range(
        counts.start, counts.start + (hours - 1) * HOUR_SPAN, "1h", eager=True, time_unit="us", time_zone="UTC"
    )
    days = windows.dt.convert_time_zone(calendar.time_zone).dt.date()
    by_day = {day: _regime_of_day(day, calendar) for day in days.unique().to_list()}
    of_hour = np.array([str(by_day[day]) for day in days.to_list()], dtype=object)
    regime = np.broadcast_to(of_hour, (zones, hours)).copy()
    for name in (Regime.FESTIVAL, Regime.LEVEL_SHIFT, Regime.DROP_OUT):
        if name in known:
            regime[known[name]] = str(name)
    at = int((begins - counts.start) / HOUR_SPAN)
    key = np.indices((zones, hours - at)).reshape(2, -1)
    return pl.DataFrame(
        {
            "zone_id": counts.zones["zone_id"].gather(key[0]),
            "window_start": windows.gather(key[1] + at),
            "regime": pl.Series(regime[:, at:].ravel().tolist(), dtype=pl.Categorical),
        }
    )


def _regime_of_day(day: date, calendar: Calendar) -> Regime:
    years = (day.year - 1, day.year, day.year + 1)
    if calendar.home == "VN" and any(-8 <= (day - first).days <= 8 for first in lunar_new_years(years)):
        return Regime.LUNAR_NEW_YEAR
    for country in (calendar.home, *calendar.across):
        listed = holidays.country_holidays(country, years=years)
        if any(day + timedelta(days=n) in listed for n in (-1, 0, 1)):
            return Regime.HOLIDAY
    return Regime.QUIET


def _means(counts: Counts, begins: datetime, mean: Floats, kappa: Floats) -> pl.DataFrame:
    """zone_id, direction, window_start, mean, kappa from `begins` on."""
    at = int((begins - counts.start) / HOUR_SPAN)
    zones, directions, hours = mean[..., at:].shape
    windows = pl.datetime_range(
        begins, begins + (hours - 1) * HOUR_SPAN, "1h", eager=True, time_unit="us", time_zone="UTC"
    )
    key = np.indices((zones, directions, hours), dtype=np.int32).reshape(3, -1)
    return pl.DataFrame(
        {
            "zone_id": counts.zones["zone_id"].gather(key[0]),
            "direction": pl.Series([str(way) for way in DIRECTIONS]).gather(key[1]),
            "window_start": windows.gather(key[2]),
            "mean": mean[..., at:].ravel(),
            "kappa": kappa[..., at:].ravel(),
        }
    )


def _leave_out_smooth(whole: Floats) -> Floats:
    """An hour's mean without looking at the hour itself: the median of the same hour of the week in the weeks around, times
    the ratio by which the hours just before and after stand above that same median."""
    weeks = [k for k in range(-SMOOTHED_WEEKS, SMOOTHED_WEEKS + 1) if k]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where no week is known the mean is 0 and nothing is judged
        base = np.nanmedian(np.stack([_moved(whole, 168 * k) for k in weeks]), axis=0)
    known = np.isfinite(whole) & np.isfinite(base)
    real, usual = np.where(known, whole, 0.0), np.where(known, base, 0.0)
    near = {1: 1.0, 2: 0.5, 3: 0.25}
    now = np.sum([w * (_moved(real, k, 0.0) + _moved(real, -k, 0.0)) for k, w in near.items()], axis=0)
    then = np.sum([w * (_moved(usual, k, 0.0) + _moved(usual, -k, 0.0)) for k, w in near.items()], axis=0)
    prior = 0.1 * np.nanmean(whole, axis=1, keepdims=True)
    return np.asarray(np.nan_to_num(base) * (now + prior) / (then + prior))


def _moved(array: Floats, hours: int, fill: float = np.nan) -> Floats:
    """The array some hours later."""
    answer = np.full_like(array, fill)
    if hours >= 0:
        answer[:, hours:] = array[:, : array.shape[1] - hours]
    else:
        answer[:, :hours] = array[:, -hours:]
    return answer


def _kappa_of(counted: Ints, mean: Floats, known: Bools) -> Floats:
    """By zone, the kappa that explains the ordinary scatter of counts around a mean: by moments, outliers cut at 4 sd."""
    answer = np.full(len(mean), 0.03)
    for _ in range(5):
        sd = np.sqrt(mean + answer[:, None] * mean**2)
        squared = np.minimum((counted - mean) ** 2, 16 * sd**2)
        weight = known / np.maximum(sd**2, 1.0) ** 2
        beyond = (weight * (squared - mean) * mean**2).sum(axis=1) / np.maximum((weight * mean**4).sum(axis=1), 1e-9)
        answer = np.clip(beyond, 1e-3, 1.0)
    return answer
