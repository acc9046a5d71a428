"""The law of movement: how many countable movements a zone-hour has, for all home carriers together.

Both fidelities draw from this law: `counts` takes its draws as true counts, `events` builds devices that make them.
"Countable" means after the movement rules (design.md, section 5), so accidental roaming appears only as the residue
that the 60-minute rule leaves. A carrier sees its market share. Figures are proposals in the spirit of
notes/telecom.md, sections 9 and 10; none is a measurement of a real border.

Noise is a function of (seed, absolute hour), never of where a simulation starts: two windows agree where they overlap.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import TypeVar, cast

import holidays
import numpy as np
from numpy.typing import NDArray

from geofence.grid import ZoneGrid, ZoneKind
from ingest.release import HOUR, Direction

DIRECTIONS = (Direction.ARRIVAL, Direction.DEPARTURE)
ARRIVAL, DEPARTURE = 0, 1

# All home carriers together, one direction. The busiest is near one big crossing point: 19,200 passages in a day of
# 16 open hours (notes/telecom.md, section 3). A mean of 286/h makes 4-10 k devices a day on 100 km with 1-3 such points.
CROSSING_POINT_PER_H = (60.0, 800.0)
LOCAL_TO_OFFICIAL = (0.06, 0.20)
"""Movements at local openings for one at a crossing point, drawn for a border. Section 10 of notes/telecom.md has 0.2-1.5 k
devices a day at local openings beside 5-19 k at crossing points (0.01-0.30); the busier part, so that belts have something
to tell."""
BUSIEST_TO_QUIETEST_BELT = 150.0  # few openings carry most of it
MOSTLY_QUIET = 1.4  # over 1 bends the log-uniform law of belts towards quiet ones
BELT_ALONE_PER_H = 8.0  # mean of a border without crossing points, about 0.8 k devices a day on 100 km
FLIP_RESIDUE_PER_H = (0.5, 4.0)
WEATHER_SPREAD = 0.45  # of the logarithm of a sector's flips: rain and ducting
MARKET_LIFT = (2.0, 4.0)  # within the x2-5 of notes/telecom.md, section 9, like what follows
LUNAR_LIFT = (0.7, 1.4)  # power of what the lunar new year does in a zone
FESTIVALS_PER_YEAR, FESTIVAL_LIFT = 3.0, (1.5, 3.0)  # by sector, in no calendar
LABOUR_SHARE, LABOUR_LIFT = 0.4, (1.5, 3.0)  # of belts whose people leave for a season's work, and by how much more
LABOUR_OPENS_DAY, LABOUR_LASTS_DAYS, LABOUR_PEAK_DAYS = (20.0, 60.0), (75.0, 110.0), 6.0

SHORT_TRIP_H, LONG_TRIP_H = (2, 3, 4), (8, 9, 10, 11)
RETURNED = 0.85  # share of arrivals that are somebody's return; the rest began abroad

OPENING_HOURS = ((6, 18), (6, 20), (7, 17), (6, 22))
UNSTATED_COUNTRIES = ("VN", "KH")
OBSERVE_LUNAR_NEW_YEAR = {"VN", "CN"}

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Drawn = TypeVar("Drawn", np.float64, np.int64)


class SimulationRefused(ValueError):
    """What cannot be simulated as asked; names the rule."""


class MovementClass(StrEnum):
    """Why a movement happened; known only to the simulation."""

    LOCAL = "local"
    OFFICIAL = "official"
    FLIP_RESIDUE = "flip_residue"
    SURGE = "surge"


LAW_CLASSES = (MovementClass.LOCAL, MovementClass.OFFICIAL, MovementClass.FLIP_RESIDUE)


@dataclass(frozen=True, slots=True, eq=False)
class TrafficLaw:
    """The character of every zone of one grid, drawn once from a seed. Arrays are by zone, in the grid's order."""

    zone_ids: tuple[str, ...]
    seed: int
    utc_offset_h: int
    home: str
    across: str
    sector_ix: Ints
    crossing_point: NDArray[np.bool_]
    base_per_h: Floats  # ordinary-day mean over 24 h (belt) or over opening hours (crossing point)
    morning_h: Floats
    evening_h: Floats
    evening_weight: Floats
    weekend_lift: Floats
    market_weekday: Ints  # 0 = Monday, -1 = no market
    market_lift: Floats
    season_amplitude: Floats
    season_peak_day: Floats
    harvest_lift: Floats
    labour_lift: Floats  # at the opening of the season for those who leave, at its end for those who come back
    labour_opens_day: Floats
    labour_closes_day: Floats
    lunar_lift: Floats
    opens_h: Ints
    closes_h: Ints
    flip_residue_per_h: Floats
    dispersion_k: Floats  # negative binomial size: variance = mean + mean^2 / k
    mixing: Floats  # zone x zone: how a zone's noise is its neighbours' too

    def intensity(self, start: datetime, hours: int, *, noise: bool = True) -> Floats:
        """Mean movements per hour of the whole market, shape (law class, hour, zone, direction).

        `noise=False` leaves out the slow (autoregressive) wandering of zones and sectors.
        """
        start = whole_hour(start)
        lead = max(LONG_TRIP_H)
        first = start - lead * HOUR
        span = hours + lead
        day = _calendar(self, first, span)
        wander = self._wander(first, span) if noise else np.ones((span, len(self.zone_ids)))
        local = self._local(day, wander, lead)
        official = self._official(day, wander)[lead:]
        weather = self.weather(start, hours)[:, self.sector_ix] if noise else np.ones((hours, len(self.zone_ids)))
        residue = self._flip_residue(day.local_hour[lead:], weather)
        return np.stack([local, official, residue])

    def weather(self, start: datetime, hours: int) -> Floats:
        """How much more phones flip in each sector, shape (hour, sector), mean 1: wet days, ducting."""
        sectors = int(self.sector_ix.max()) + 1
        wet = _wandering(self.seed, 6, whole_hour(start), hours, sectors, keep=0.96)
        return np.asarray(np.exp(WEATHER_SPREAD * wet - WEATHER_SPREAD**2 / 2))

    def _local(self, day: "_Calendar", wander: Floats, lead: int) -> Floats:
        belt = np.where(self.crossing_point, 0.0, self.base_per_h)
        level = belt * day.factor * wander
        out_profile = _two_peaks(day.local_hour, self.morning_h, self.evening_h, self.evening_weight)
        in_profile = _two_peaks(day.local_hour, self.morning_h + 2.5, self.evening_h + 0.5, self.evening_weight + 0.5)
        departures = level * out_profile * day.departure_lift
        returns = np.zeros((len(wander) - lead, len(belt)))
        for trips, weight in ((SHORT_TRIP_H, 0.7), (LONG_TRIP_H, 0.3)):
            for lag in trips:
                returns += weight / len(trips) * departures[lead - lag : len(wander) - lag]
        visits = (level * in_profile * day.arrival_lift)[lead:]
        arrivals = RETURNED * returns + (1 - RETURNED) * visits
        # Who leaves for a season does not come back in the evening.
        arrivals += (level * in_profile * day.labour_returns)[lead:]
        return np.stack([arrivals, (departures + level * out_profile * day.labour_leaves)[lead:]], axis=-1)

    def _official(self, day: "_Calendar", wander: Floats) -> Floats:
        gate = np.where(self.crossing_point, self.base_per_h, 0.0)
        level = gate * day.factor * wander
        arrivals = level * self._opening_profile(day.local_hour, early=0.35, late=0.8)
        departures = level * self._opening_profile(day.local_hour, early=0.15, late=0.6)
        return np.stack([arrivals * day.gate_arrival_lift, departures * day.gate_departure_lift], axis=-1)

    def _opening_profile(self, local_hour: Ints, *, early: float, late: float) -> Floats:
        """Two peaks within opening hours, mean 1 over them and 0 outside, shape (hour, zone)."""
        hour = np.arange(24)[:, None]
        through = (hour + 0.5 - self.opens_h) / (self.closes_h - self.opens_h)
        shape = 0.25 + np.exp(-(((through - early) / 0.13) ** 2)) + 0.8 * np.exp(-(((through - late) / 0.13) ** 2))
        shape *= (hour >= self.opens_h) & (hour < self.closes_h)
        return np.asarray((shape / shape.sum(axis=0) * (self.closes_h - self.opens_h))[local_hour])

    def _flip_residue(self, local_hour: Ints, weather: Floats) -> Floats:
        # Radio depends on weather and on who is awake, hardly on the calendar.
        awake = np.where((local_hour >= 6) & (local_hour < 23), 1.2, 0.53)[:, None]
        level = self.flip_residue_per_h * awake * weather
        return np.stack([level, level], axis=-1)

    def _wander(self, start: datetime, hours: int) -> Floats:
        zones, sectors = len(self.zone_ids), int(self.sector_ix.max()) + 1
        regional = _wandering(self.seed, 1, start, hours, sectors, keep=0.97) * 0.10
        own = _wandering(self.seed, 2, start, hours, zones, keep=0.90) @ self.mixing.T * 0.12
        return np.asarray(np.exp(regional[:, self.sector_ix] + own - (0.10**2 + 0.12**2) / 2))


def draw_law(
    grid: ZoneGrid,
    neighbours: Mapping[str, Sequence[str]],
    *,
    seed: int,
    home: str | None = None,
    across: str | None = None,
) -> TrafficLaw:
    """The law of a grid: each zone's character, drawn from the seed; the two countries are the grid's unless given.

    Levels are log-uniform and stratified, so that every border has quiet zones (suppressed) and a few busy ones; belts
    are scaled together to what `LOCAL_TO_OFFICIAL` leaves beside the crossing points. A country whose public holidays
    nobody lists has none.
    """
    rng = np.random.default_rng([seed, 0])
    zones = grid.zones
    n = len(zones)
    crossing_point = np.array([zone.kind is ZoneKind.CROSSING_POINT for zone in zones], dtype=np.bool_)
    sectors = sorted({zone.sector_id for zone in zones})
    base = np.zeros(n)
    for members, (low, high), bend in (
        (~crossing_point, (1.0, BUSIEST_TO_QUIETEST_BELT), MOSTLY_QUIET),
        (crossing_point, CROSSING_POINT_PER_H, 1.0),
    ):
        count = int(members.sum())
        quantile = ((rng.permutation(count) + rng.random(count)) / max(count, 1)) ** bend
        base[members] = low * (high / low) ** quantile
    opening = rng.integers(0, len(OPENING_HOURS), n)
    hours = np.array(OPENING_HOURS, dtype=np.int64)
    open_h = hours[opening, 1] - hours[opening, 0]
    ratio = rng.uniform(*LOCAL_TO_OFFICIAL)
    belts = base[~crossing_point]
    if crossing_point.any():
        base[~crossing_point] *= ratio * (base * open_h)[crossing_point].sum() / (24 * max(belts.sum(), 1e-9))
    else:
        base *= BELT_ALONE_PER_H / base.mean()
    labour_opens = rng.uniform(*LABOUR_OPENS_DAY, n)
    offset = (3 - grid.turn_hour_utc) % 24
    low, high = FLIP_RESIDUE_PER_H
    return TrafficLaw(
        zone_ids=tuple(zone.zone_id for zone in zones),
        seed=seed,
        utc_offset_h=offset if offset <= 14 else offset - 24,
        home=home or countries(grid)[0],
        across=across or countries(grid)[1],
        sector_ix=np.array([sectors.index(zone.sector_id) for zone in zones], dtype=np.int64),
        crossing_point=crossing_point,
        base_per_h=base,
        morning_h=rng.uniform(5.8, 8.2, n),
        evening_h=rng.uniform(15.0, 18.0, n),
        evening_weight=rng.uniform(0.25, 0.6, n),
        weekend_lift=np.where(crossing_point, rng.uniform(0.9, 1.4, n), rng.uniform(0.75, 1.15, n)),
        market_weekday=np.where(rng.random(n) < 0.4, rng.integers(0, 7, n), -1),
        market_lift=rng.uniform(*MARKET_LIFT, n),
        season_amplitude=rng.uniform(0.02, 0.2, n),
        season_peak_day=rng.uniform(0, 365, n),
        harvest_lift=np.where(crossing_point, 1.0, rng.uniform(1.0, 1.5, n)),
        labour_lift=np.where(crossing_point | (rng.random(n) > LABOUR_SHARE), 1.0, rng.uniform(*LABOUR_LIFT, n)),
        labour_opens_day=labour_opens,
        labour_closes_day=labour_opens + rng.uniform(*LABOUR_LASTS_DAYS, n),
        lunar_lift=rng.uniform(*LUNAR_LIFT, n),
        opens_h=hours[opening, 0],
        closes_h=hours[opening, 1],
        flip_residue_per_h=rng.uniform(low, high, n),
        dispersion_k=rng.uniform(15, 80, n),
        mixing=_mixing([zone.zone_id for zone in zones], neighbours),
    )


def countries(grid: ZoneGrid) -> tuple[str, str]:
    """Home and the country across (ISO 3166 alpha-2), as the builder of a grid wrote them; a user's own grid is VN-KH."""
    home, border = grid.document.get("home"), str(grid.document.get("border_id", ""))
    sides = border.split("-")
    if len(sides) == 2 and home in sides:
        return str(home), sides[1 - sides.index(home)]
    return UNSTATED_COUNTRIES


def draw_movements(law: TrafficLaw, start: datetime, hours: int, shares: Mapping[str, float]) -> Ints:
    """True movements, shape (carrier, law class, hour, zone, direction), carriers in the mapping's order.

    What people do (over-dispersion) is common to all carriers; who serves them is Poisson by market share. A carrier's
    draw depends on its name, its share and the hour only.
    """
    check_shares(shares)
    mean = law.intensity(start, hours)
    _, n_hours, zones, _ = mean.shape
    k = law.dispersion_k[None, :, None]
    crowd = _by_day(start, n_hours, lambda rng: rng.gamma(k, 1 / k, (24, zones, 2)), law.seed, 3)
    # A radio residue has no crowd in it.
    lively = mean * np.stack([crowd, crowd, np.ones_like(crowd)])
    drawn = []
    for carrier, share in shares.items():
        stream = int.from_bytes(carrier.encode(), "big")
        # One Poisson draw per uniform keeps a day's numbers the same whatever else is simulated.
        keys = _by_day(start, n_hours, lambda rng: rng.integers(0, 2**63, (24,), dtype=np.int64), law.seed, 4, stream)
        seen = [np.random.default_rng(int(keys[h])).poisson(lively[:, h] * share) for h in range(n_hours)]
        drawn.append(np.stack(seen, axis=1))
    return np.asarray(np.stack(drawn), dtype=np.int64)


def check_shares(shares: Mapping[str, float]) -> None:
    """Refuse market shares that are not shares of one market."""
    if not shares or any(not 0 < share <= 1 for share in shares.values()) or sum(shares.values()) > 1 + 1e-9:
        raise SimulationRefused("market shares lie in (0, 1] and add up to at most 1")


def whole_hour(at: datetime) -> datetime:
    """The same instant in UTC; refuses a naive time and one that is not a whole hour."""
    if at.tzinfo is None:
        raise SimulationRefused("a simulation starts at an aware time")
    at = at.astimezone(UTC)
    if at.minute or at.second or at.microsecond:
        raise SimulationRefused("a simulation starts at a whole UTC hour")
    return at


@dataclass(frozen=True, slots=True, eq=False)
class _Calendar:
    local_hour: Ints  # by hour
    factor: Floats  # hour x zone: weekday, market, season, harvest
    arrival_lift: Floats  # hour x zone, on visits of people who live abroad or come home for a feast
    departure_lift: Floats
    gate_arrival_lift: Floats
    gate_departure_lift: Floats
    labour_leaves: Floats  # hour x zone, beside what is usual: for a season's work, and back from it
    labour_returns: Floats


def _calendar(law: TrafficLaw, start: datetime, hours: int) -> _Calendar:
    local = [start + (hour + law.utc_offset_h) * HOUR for hour in range(hours)]
    days = [at.date() for at in local]
    local_hour = np.array([at.hour for at in local], dtype=np.int64)
    weekday = np.array([day.weekday() for day in days])[:, None]
    day_of_year = np.array([day.timetuple().tm_yday for day in days])[:, None]
    market_hours = ((local_hour >= 4) & (local_hour < 15))[:, None]

    factor = np.where(weekday >= 5, law.weekend_lift, 1.0)
    factor = factor * np.where((weekday == law.market_weekday) & market_hours, law.market_lift, 1.0)
    factor = factor * (1 + law.season_amplitude * np.cos(2 * np.pi * (day_of_year - law.season_peak_day) / 365.25))
    # Two rice harvests in the delta, about March and August.
    harvest = np.exp(-(((day_of_year - 75) / 18) ** 2)) + np.exp(-(((day_of_year - 225) / 18) ** 2))
    factor = factor * (1 + (law.harvest_lift - 1) * harvest)
    factor = factor * _festivals(law, days)[:, law.sector_ix]

    years = range(days[0].year - 1, days[-1].year + 2)
    home_feasts, across_feasts = _public_holidays(law.home, years), _public_holidays(law.across, years)
    tomorrow = timedelta(days=1)
    feast = np.array([1.3 if d in home_feasts else 1.15 if d + tomorrow in home_feasts else 1.0 for d in days])
    abroad = np.array([1.4 if d in across_feasts else 1.0 for d in days])
    since = np.full(hours, 999)
    if law.home in OBSERVE_LUNAR_NEW_YEAR:
        feasts = [lunar_new_year(year) for year in years]
        since = np.array([min((d - f).days if (d - f).days >= -20 else 999 for f in feasts) for d in days])
    before, during = (since >= -12) & (since < 0), (since >= 0) & (since <= 3)
    after = (since > 3) & (since <= 15)
    lift = law.lunar_lift[None, :]

    def lunar(going_home: float, feast_days: float, going_back: float) -> Floats:
        power = before * np.log(going_home) + during * np.log(feast_days) + after * np.log(going_back)
        return np.asarray(np.exp(power[:, None] * lift))

    # The days of the lunar new year have their own law.
    feast_, abroad_ = np.where((since >= -1) & (since <= 3), 1.0, feast)[:, None], abroad[:, None]
    return _Calendar(
        local_hour=local_hour,
        factor=factor,
        # Most arrivals are the returns of the same day: for all of them to double, the others must come tenfold.
        arrival_lift=lunar(10.0, 0.7, 1.0) * feast_ * abroad_,
        departure_lift=lunar(0.95, 0.5, 1.4) * feast_,
        gate_arrival_lift=lunar(2.0, 0.7, 1.0) * feast_ * abroad_,
        gate_departure_lift=lunar(1.0, 0.6, 1.7) * feast_,
        labour_leaves=_season(day_of_year, law.labour_opens_day, law),
        labour_returns=_season(day_of_year, law.labour_closes_day, law),
    )


def _season(day_of_year: Ints, peak_day: Floats, law: TrafficLaw) -> Floats:
    """Those who leave for a season's work, or come back from it, for one of the usual; shape (hour, zone)."""
    return np.asarray((law.labour_lift - 1) * np.exp(-(((day_of_year - peak_day) / LABOUR_PEAK_DAYS) ** 2)))


def _festivals(law: TrafficLaw, days: Sequence[date]) -> Floats:
    """What local festivals that no calendar lists do to a sector's traffic, shape (hour, sector)."""
    sectors = int(law.sector_ix.max()) + 1
    lift = np.ones((len(days), sectors))
    for year in {day.year for day in days}:
        rng = np.random.default_rng([law.seed, 5, year])
        into_year = np.array([(day - date(year, 1, 1)).days for day in days])
        for sector in range(sectors):
            count = int(rng.poisson(FESTIVALS_PER_YEAR))
            first, lasts = rng.integers(0, 365, count), rng.integers(1, 4, count)
            for opens, length, by in zip(first, lasts, rng.uniform(*FESTIVAL_LIFT, count), strict=True):
                lift[(into_year >= opens) & (into_year < opens + length), sector] = by
    return lift


def _public_holidays(country: str, years: range) -> Mapping[date, str]:
    if country not in holidays.list_supported_countries():
        return {}
    return cast("Mapping[date, str]", holidays.country_holidays(country, years=years))


def lunar_new_year(year: int) -> date:
    """The first day of the lunar year that begins in a year."""
    found = holidays.country_holidays("VN", years=year, language="en_US")
    return next(day for day, name in found.items() if day.year == year and name == "Lunar New Year")


def _two_peaks(local_hour: Ints, morning: Floats, evening: Floats, evening_weight: Floats) -> Floats:
    """An hour-of-day profile of mean 1, shape (hour, zone)."""

    def shape(hour: Floats) -> Floats:
        to_morning = np.abs((hour[:, None] + 0.5 - morning + 12) % 24 - 12)
        to_evening = np.abs((hour[:, None] + 0.5 - evening + 12) % 24 - 12)
        peaks = np.exp(-((to_morning / 2.2) ** 2)) + evening_weight * np.exp(-((to_evening / 2.5) ** 2))
        return np.asarray(0.1 + peaks)

    day = np.arange(24, dtype=np.float64)
    return np.asarray(shape(local_hour.astype(np.float64)) / shape(day).mean(axis=0))


def _mixing(zone_ids: Sequence[str], neighbours: Mapping[str, Sequence[str]]) -> Floats:
    """Rows of unit length, so that mixed noise keeps its variance."""
    index = {zone_id: ix for ix, zone_id in enumerate(zone_ids)}
    mixing = np.eye(len(zone_ids))
    for zone_id, others in neighbours.items():
        for other in others:
            mixing[index[zone_id], index[other]] = 0.35
    return np.asarray(mixing / np.linalg.norm(mixing, axis=1, keepdims=True))


def _wandering(seed: int, stream: int, start: datetime, hours: int, width: int, *, keep: float) -> Floats:
    """Unit-variance autoregressive noise, shape (hour, width); an hour's is the same whatever the start (to 0.1 %)."""
    warm_up = 24 * 10
    shocks = _by_day(
        start - warm_up * HOUR, hours + warm_up, lambda rng: rng.standard_normal((24, width)), seed, stream
    )
    shocks *= np.sqrt(1 - keep**2)
    level = np.zeros(width)
    path = np.empty_like(shocks)
    for hour, shock in enumerate(shocks):
        level = keep * level + shock
        path[hour] = level
    return path[warm_up:]


def _by_day(
    start: datetime, hours: int, draw: Callable[[np.random.Generator], NDArray[Drawn]], *key: int
) -> NDArray[Drawn]:
    """Hours [start, start + hours) of what `draw` gives for each UTC day from that day's own generator."""
    start = whole_hour(start)
    first = start.date()
    last = (start + (hours - 1) * HOUR).date()
    days = [first + timedelta(days=d) for d in range((last - first).days + 1)]
    blocks = [draw(np.random.default_rng([*key, day.toordinal()])) for day in days]
    return np.concatenate(blocks)[start.hour : start.hour + hours]
