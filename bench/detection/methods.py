"""The methods that are compared, each as fit(world) -> Scorer, and what all of them share: the product's own floor.

A Scorer answers for the belt zone-hours of a world from a first to a last window with SCORE_COLUMNS: only those in which
it may flag are there, the most unusual with the highest score. Nothing that comes after an hour may change its score
(`bench.detection.causality`).

The classical methods know neither the noise nor what a `null` is: they read it as half its carrier's threshold. Their
spread (phi x mean + kappa x mean^2) is that of their own residuals before the test span. All are under the same floor,
asked with their own expectation and spread, unless their name says `without floors`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import Any, Final, Protocol

import numpy as np
import polars as pl

from bench.detection.planting import HOUR_SPAN
from bench.detection.series import SCORE_COLUMNS, Bools, Floats, Series, floor_of, read_series
from bench.detection.worlds import World
from detector.detect import Trained, detect, train
from detector.features import LOOKBACK_DAYS, carrier_shares, cells_of
from detector.flag import MIN_EXCESS, State, passes_floor, sighted, tail_probability
from detector.likelihood import PRIOR_DISPERSION, Dispersion, estimate_dispersion
from detector.policy import MAX_ARMED, MAX_TAIL_P, Arming

KEY: Final = ["zone_id", "direction", "window_start"]
LEAST_LEAD: Final = timedelta(days=LOOKBACK_DAYS)


class Scorer(Protocol):
    """Scores of a world's belt zone-hours; `threshold` is the method's own, where it brings one."""

    @property
    def threshold(self) -> float | None:
        """Scores at or above it are flags, as the method itself decided before the test span."""

    def __call__(self, world: World, first: datetime, last: datetime) -> pl.DataFrame:
        """SCORE_COLUMNS of the hours from the first to the last window, both included, that it may flag."""


class Method(Protocol):
    """A way to find surges."""

    @property
    def name(self) -> str:
        """What the tables call it."""

    def fit(self, world: World) -> Scorer:
        """What it learned from the history before the test span."""


# --- the product ---


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """The product as it is run: `detector.detect.train` once, then `detect`, with its own policy kept aside.

    `sees` changes the history that it is shown, for ablations; floors are then asked again with what is true.
    """

    name: str = "tidemark"
    rounds: int | None = None
    rows: int | None = None
    sees: Callable[[pl.DataFrame], pl.DataFrame] | None = None
    seed: int = 0

    def fit(self, world: World) -> "ProductScorer":
        """Trained on everything before the test span; the hold-out inside it is the product's own."""
        history = world.history.filter(pl.col("window_start") < world.hold_until)
        options: dict[str, Any] = {"rounds": self.rounds, "rows": self.rows}
        trained = train(
            self.sees(history) if self.sees else history,
            world.neighbours,
            world.calendar,
            proposed_by="bench",
            approved_by=None,
            reason="bench",
            seed=self.seed,
            **{name: value for name, value in options.items() if value},
        )
        return ProductScorer(trained, self.sees)


@dataclass(frozen=True, slots=True, eq=False)
class ProductScorer:
    """The trained product, asked under the loosest policy there may be, so that a threshold can be laid afterwards.

    The score is what its policy decides by: by how much the rarity of its second look exceeds what the policy asks for in
    that sector, else -log10 of the tail probability. With `first_look` it is the latter alone.
    """

    trained: Trained
    sees: Callable[[pl.DataFrame], pl.DataFrame] | None = None
    first_look: bool = False
    _told: dict[tuple[int, datetime, datetime], tuple[World, pl.DataFrame]] = field(default_factory=dict, repr=False)

    @property
    def has_second_look(self) -> bool:
        """Whether its policy decides by rarity."""
        return getattr(self.trained.policy, "least_rarity", None) is not None

    @property
    def threshold(self) -> float | None:
        """That of the policy it was trained to; none for the first look where the second decides."""
        if self.first_look and self.has_second_look:
            return None
        return 0.0 if self.has_second_look else float(-np.log10(self.trained.policy.tail_p))

    def alone(self) -> "ProductScorer":
        """The same without its second look."""
        return replace(self, first_look=True)

    def expectations(self, world: World, first: datetime, last: datetime) -> pl.DataFrame:
        """What `detect` says of the belt under the loosest policy: EXPECTATION_SCHEMA, and what it adds. Kept."""
        asked = (id(world), first, last)
        if asked not in self._told:
            loosest: dict[str, Any] = {"tail_p": MAX_TAIL_P}
            if self.has_second_look:
                loosest |= {"least_rarity": None, "sector_rarity": {}}
            found = detect(
                self.sees(world.history) if self.sees else world.history,
                self.trained.bundle,
                replace(self.trained.policy, **loosest),
                armings(world, first, last),
                world.neighbours,
                world.calendar,
                [],
                first_window=first,
                last_window=last,
            )
            self._told[asked] = (world, found.expectations.filter(pl.col("zone_id").is_in(world.belts)))
        return self._told[asked][1]

    def __call__(self, world: World, first: datetime, last: datetime) -> pl.DataFrame:
        """SCORE_COLUMNS of what is unusual under the loosest policy."""
        flagged = self.expectations(world, first, last).filter(pl.col("state") == State.UNUSUAL)
        score = -pl.col("tail_p").log10()
        if self.has_second_look and not self.first_look:
            # What the policy's own tail probability leaves out no rarity brings back.
            flagged = flagged.filter(pl.col("rarity").is_not_null() & (pl.col("tail_p") <= self.trained.policy.tail_p))
            policy: Any = self.trained.policy
            zones = world.counts.zones.select("zone_id", "sector_id").iter_rows()
            least = {zone: float(policy.rarity_of(sector)) for zone, sector in zones}
            score = pl.col("rarity") - pl.col("zone_id").replace_strict(least, return_dtype=pl.Float64)
        scores = flagged.select(
            *KEY,
            score.alias("score"),
            pl.lit(value=True).alias("may_flag"),
            pl.col("observed").cast(pl.Float64),
            "expected",
            "excess",
        )
        return (
            scores if self.sees is None else scores.filter(_true_floor(world, scores, self.trained.bundle.dispersion))
        )


def armings(world: World, first: datetime, last: datetime) -> list[Arming]:
    """Every sector armed from the first window to the end of the last."""
    answer = []
    for sector in world.counts.zones["sector_id"].unique().sort():
        since = first
        while since <= last:
            until = min(since + MAX_ARMED, last + HOUR_SPAN)
            answer.append(Arming(sector, "bench", "bench", since, until))
            since = until
    return answer


def _true_floor(world: World, scores: pl.DataFrame, dispersion: Dispersion) -> pl.Series:
    if scores.is_empty():
        return pl.Series([], dtype=pl.Boolean)
    rows = scores.select(KEY).join(world.history, on=KEY, how="left", maintain_order="left")
    observed, noise = sighted(rows)
    expected = scores["expected"].to_numpy()
    zero = np.zeros(expected.size)
    passes = passes_floor(observed, expected, rows["sigma"].to_numpy(), noise, zero, dispersion)
    return pl.Series(passes & np.isfinite(observed))


def without_known_variance(history: pl.DataFrame) -> pl.DataFrame:
    """The history as if nobody had said how much noise is in it."""
    nothing = pl.lit(1e-3)
    return history.with_columns(
        pl.when(pl.col("sigma").is_not_null()).then(nothing).alias("sigma"),
        pl.when(pl.col("known_sigma") > 0).then(nothing).otherwise(pl.col("known_sigma")).alias("known_sigma"),
        pl.col("carrier_sigmas").list.eval(pl.element() * 0.0 + 1e-3),
    )


def without_censoring(history: pl.DataFrame) -> pl.DataFrame:
    """The history with half its threshold in the place of every `null`."""
    filled = (
        history.select(
            pl.int_range(pl.len()).alias("row"),
            "carrier_values",
            (pl.col("carrier_thresholds").list.eval(pl.element() // 2)).alias("half"),
        )
        .explode("carrier_values", "half")
        .group_by("row", maintain_order=True)
        .agg(pl.coalesce("carrier_values", "half").alias("carrier_values"))
    )["carrier_values"]
    spoken = pl.col("carriers_present") > 0
    return history.with_columns(
        pl.when(spoken).then(filled).otherwise(pl.col("carrier_values")).alias("carrier_values")
    ).with_columns(
        pl.when(spoken).then(pl.col("carrier_values").list.sum()).alias("value"),
        pl.lit(value=False).alias("suppressed"),
    )


# --- classical methods ---


@lru_cache(maxsize=8)
def series_until(world: World, last: datetime) -> Series:
    """The series of a world up to a window; kept, as one method after another asks for them."""
    return read_series(world.history.filter(pl.col("window_start") <= last))


Expect = Callable[[Series], Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Classical:
    """A method that is an expectation and a score of what lies above it."""

    name: str
    expect: Expect
    rank: Callable[[Series, Floats, Dispersion], Floats]
    floors: bool = True

    def fit(self, world: World) -> "ClassicalScorer":
        """Its spread, from its residuals between learn_until and hold_until."""
        series = series_until(world, world.hold_until - HOUR_SPAN)
        expected = self.expect(series)
        spread = _spread(world, series, expected)
        return ClassicalScorer(self, spread, _count_spread(series, expected, series.at(world.learn_until)))


@dataclass(frozen=True, slots=True, eq=False)
class ClassicalScorer:
    """A classical method with its spread: the counts' own (for the floor) and the whole (for its score)."""

    method: Classical
    own: Dispersion
    whole: Dispersion
    threshold: float | None = None

    def __call__(self, world: World, first: datetime, last: datetime) -> pl.DataFrame:
        """Scores by the method's rank."""
        series = series_until(world, last)
        expected = self.method.expect(series)
        if self.method.floors:
            may_flag = floor_of(series, expected, self.own)
        else:
            may_flag = np.isfinite(series.observed) & (series.observed > expected)
        score = np.full(expected.shape, -np.inf)
        start = series.at(first)
        may_flag[:, :start] = False
        score[may_flag] = self.method.rank(taken(series, may_flag), expected[may_flag], self.whole)
        return series.scores(first, last, expected, score, may_flag)


def taken(series: Series, at: Bools) -> Series:
    """The chosen cells of a series, as flat arrays."""
    parts = {name: getattr(series, name)[at] for name in ("value", "observed", "noise", "sigma", "complete")}
    return replace(series, **parts)


def _spread(world: World, series: Series, expected: Floats) -> Dispersion:
    """The counts' own spread around an expectation, noise and threshold taken out, as the product estimates its own."""
    span = slice(series.at(world.learn_until), series.value.shape[1])
    keys = series.key.with_row_index("series").join(
        pl.DataFrame({"hour": np.arange(span.start, span.stop)}), how="cross"
    )
    windows = pl.Series([series.start]).cast(pl.Datetime("us", "UTC"))[0]
    rows = (
        keys.with_columns(
            (pl.lit(windows) + pl.duration(hours=pl.col("hour"))).alias("window_start"),
            pl.Series("mean", expected[:, span].ravel()),
        )
        .filter(pl.col("mean").is_finite() & (pl.col("mean") > 0))
        .join(world.history, on=KEY, how="inner", maintain_order="left")
        .filter("complete")
    )
    if rows.is_empty():
        return PRIOR_DISPERSION
    return estimate_dispersion(rows["mean"].to_numpy(), cells_of(rows, carrier_shares(world.history)))


def _count_spread(series: Series, expected: Floats, since: int) -> Dispersion:
    """phi (at least 1) and kappa of what is seen around an expectation, noise and all, by moments."""
    mean, value = expected[:, since:], series.value[:, since:]
    use = np.isfinite(mean) & np.isfinite(value) & (mean > 1)
    mu, squared = mean[use], (value[use] - mean[use]) ** 2
    phi, kappa = 1.5, 0.03
    for _ in range(6):
        variance = phi * mu + kappa * mu**2
        target = np.minimum(squared, 16 * variance) / variance
        design = np.stack([mu / variance, mu**2 / variance])
        answer = np.linalg.lstsq(design @ design.T + 1e-9 * np.eye(2), design @ target, rcond=None)[0]
        phi, kappa = max(float(answer[0]), 1.0), max(float(answer[1]), 1e-4)
    return Dispersion(phi, kappa)


def earlier(value: Floats, hours: Sequence[int]) -> Floats:
    """For each hour what stood some hours before it, stacked first; nan before the first.

    >>> earlier(np.array([[1.0, 2.0, 3.0]]), [1])[0]
    array([[nan,  1.,  2.]])
    """
    answer = np.full((len(hours), *value.shape), np.nan)
    for row, lag in enumerate(hours):
        answer[row, :, lag:] = value[:, : value.shape[1] - lag]
    return answer


def mean_of(stack: Floats) -> Floats:
    """The mean over the first axis of what is known; nan where nothing is."""
    known = np.isfinite(stack)
    number = known.sum(axis=0)
    return np.asarray(np.where(number > 0, np.where(known, stack, 0.0).sum(axis=0) / np.maximum(number, 1), np.nan))


def same_hour_of_week(series: Series, weeks: int = 4) -> Floats:
    """The mean of the same hour of the last weeks."""
    return mean_of(earlier(series.value, [168 * week for week in range(1, weeks + 1)]))


EARS_LAGS: Final = tuple(24 * day for day in range(3, 10))  # C2: seven days that end two days before


def ears_mean(series: Series) -> Floats:
    """The mean of the same hour of seven days that end two days before."""
    return mean_of(earlier(series.value, EARS_LAGS))


def holt_winters(series: Series, *, level: float, season: float) -> Floats:
    """One step ahead, additive, a season of a week, no trend; a surprise counts for at most three of its usual sizes."""
    value = series.value
    rows, hours = value.shape
    first = stretches(value, 168, 2)
    mean = np.nan_to_num(mean_of(np.moveaxis(first, 0, 1).reshape(rows, -1).T), nan=25.0)
    seasonal = np.nan_to_num(mean_of(first) - mean[:, None])
    usual = np.sqrt(np.maximum(mean, 1.0)) + 5.0
    expected = np.empty_like(value)
    for hour in range(hours):
        at = hour % 168
        expected[:, hour] = mean + seasonal[:, at]
        surprise = np.nan_to_num(np.clip(value[:, hour] - expected[:, hour], -3 * usual, 3 * usual))
        usual = np.maximum(usual + 0.005 * (1.25 * np.abs(surprise) - usual), 1.0)
        mean = mean + level * surprise
        seasonal[:, at] += season * (1 - level) * surprise
    expected[:, : min(336, hours)] = np.nan
    return np.where(np.isfinite(expected), np.maximum(expected, 0.5), np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class HoltWinters:
    """Holt-Winters with a season of a week, its two rates those with the smallest mean error on the hold-out."""

    name: str = "Holt-Winters + NB"

    def fit(self, world: World) -> "ClassicalScorer":
        """The rates, out of HOLT_WINTERS_RATES, and the spread."""
        before = world.history.filter(
            pl.col("window_start").is_between(world.learn_until - LEAST_LEAD, world.hold_until)
        )
        series = read_series(before)
        since = series.at(world.learn_until)

        def error(rates: tuple[float, float]) -> float:
            expected = holt_winters(series, level=rates[0], season=rates[1])
            return float(np.nanmean(np.abs(series.value - expected)[:, since:]))

        level, season = min(HOLT_WINTERS_RATES, key=error)
        return Classical(self.name, partial(holt_winters, level=level, season=season), by_tail).fit(world)


HOLT_WINTERS_RATES: Final = tuple((level, season) for level in (0.005, 0.02, 0.08, 0.2) for season in (0.1, 0.3))


def stretches(value: Floats, length: int, blocks: int) -> Floats:
    """The first `blocks` stretches of `length` hours, stacked first."""
    padded = np.full((value.shape[0], length * blocks), np.nan)
    part = value[:, : length * blocks]
    padded[:, : part.shape[1]] = part
    return np.moveaxis(padded.reshape(value.shape[0], blocks, length), 1, 0)


def by_tail(series: Series, expected: Floats, whole: Dispersion) -> Floats:
    """-log10 of a negative binomial tail that knows nothing of the noise."""
    zero = np.zeros(expected.size)
    mean = np.maximum(expected, 0.5)
    return np.asarray(-np.log10(tail_probability(series.observed, mean, zero, zero, whole)))


def by_floor(series: Series, expected: Floats, whole: Dispersion) -> Floats:
    """How many times the floor the excess is."""
    sd = np.sqrt(series.sigma**2 + PRIOR_DISPERSION.variance(np.maximum(expected, 0.0)))
    return np.asarray((series.observed - expected) / np.maximum(60.0, 30.0 + 1.96 * sd))


@dataclass(frozen=True, slots=True, eq=False)
class Ears:
    """EARS C2 on the same hour of the day."""

    name: str = "EARS C2"
    floors: bool = True

    def fit(self, world: World) -> "EarsScorer":
        """Its spread is only for the floor."""
        base = Classical(self.name, ears_mean, by_tail, self.floors).fit(world)
        return EarsScorer(base.own, self.floors)


@dataclass(frozen=True, slots=True, eq=False)
class EarsScorer:
    """Standard deviations (at least 1) above the mean of the seven days."""

    own: Dispersion
    floors: bool
    threshold: float | None = None

    def __call__(self, world: World, first: datetime, last: datetime) -> pl.DataFrame:
        """Scores in standard deviations."""
        series = series_until(world, last)
        stack = earlier(series.value, EARS_LAGS)
        expected = mean_of(stack)
        number = np.maximum(np.isfinite(stack).sum(axis=0), 2)
        squares = np.where(np.isfinite(stack), (stack - expected) ** 2, 0.0).sum(axis=0)
        score = (series.observed - expected) / np.maximum(np.sqrt(squares / (number - 1)), 1.0)
        may_flag = floor_of(series, expected, self.own) if self.floors else np.isfinite(score) & (score > 0)
        return series.scores(first, last, expected, score, may_flag)


# --- the oracle ---


@dataclass(frozen=True, slots=True, eq=False)
class Oracle:
    """Told the true mean and spread of every zone-hour, under the same floors."""

    name: str = "oracle"

    def fit(self, world: World) -> "OracleScorer":
        """Nothing to learn."""
        return OracleScorer()


@dataclass(frozen=True, slots=True, eq=False)
class OracleScorer:
    """-log10 of the tail probability under the truth, noise and all."""

    threshold: float | None = None

    def __call__(self, world: World, first: datetime, last: datetime) -> pl.DataFrame:
        """Scores as the product's, with the truth for its expectation."""
        rows = world.history.filter(
            (pl.col("kind") == "belt") & pl.col("complete") & pl.col("window_start").is_between(first, last)
        ).join(world.true_mean, on=KEY, how="inner", maintain_order="left")
        observed, noise = sighted(rows)
        mean, kappa = rows["mean"].to_numpy(), rows["kappa"].to_numpy()
        at = np.nonzero(np.isfinite(observed) & (observed - mean >= MIN_EXCESS))[0]
        # variance = mean + kappa x mean^2, kappa by row: told as a spread beside a Poisson count.
        poisson, spread = Dispersion(1.0, 0.0), np.sqrt(kappa[at]) * mean[at]
        sigma, noise = rows["sigma"].to_numpy()[at], noise[at]
        passes, score = np.zeros(rows.height, dtype=bool), np.zeros(rows.height)
        passes[at] = passes_floor(observed[at], mean[at], sigma, noise, spread, poisson)
        score[at] = -np.log10(tail_probability(observed[at], mean[at], noise, spread, poisson))
        return (
            rows.select(*KEY, pl.lit(value=True).alias("may_flag"), pl.col("mean").alias("expected"))
            .with_columns(pl.Series("score", score), pl.Series("observed", observed))
            .with_columns((pl.col("observed") - pl.col("expected")).alias("excess"))
            .filter(pl.Series(passes))
            .select(SCORE_COLUMNS)
        )


SEASONAL_NAIVE: Final = Classical("seasonal naive + NB", same_hour_of_week, by_tail)
FLOORS_ALONE: Final = Classical("floors alone", same_hour_of_week, by_floor)
ABLATIONS: Final = {
    "tidemark without known variance": without_known_variance,
    "tidemark without censoring": without_censoring,
}
