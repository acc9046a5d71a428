"""Groups: whether so many people together are published, and whether they are flagged, on any background."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import numpy as np
import numpy.typing as npt
import polars as pl

from bench.audit.drawing import drawers, pieces
from bench.audit.finding import Broken, Finding, Size
from detector import flag
from detector.combine import HOUR, PUBLISHED_SCHEMA, combine
from detector.expand import MAX_FACTOR, CarrierCount, ExpansionRefused, MarketFactor, together
from detector.flag import HIDDEN_GROUP, judge, passes_floor, sighted, tail_probability
from detector.likelihood import Bools, Dispersion, Floats
from detector.policy import MAX_TAIL_P, MIN_HISTORY_DAYS, Arming, Policy
from ingest.release import Level
from privacy.draw import draw_hour
from privacy.mechanism import DiscreteGaussian
from privacy.policy import ReleasePolicy

GROUPS = (5, 10, 20, 30, 50, 100)
BACKGROUNDS = (0, 10, 20, 40, 60, 100, 200, 500, 1000)
CARRIERS = (1, 3, 5)
FACTORS = (1.0, 1.7, 3.0, 10.0, MAX_FACTOR)
MOST_SEEN = 0.025
_START = datetime.fromisoformat("2026-03-02T02:00:00Z")
_SPREADS = {"Poisson": Dispersion(1.0, 0.0), "over-dispersed": Dispersion(1.3, 0.03)}
_PIECE = 10_000
_DRAWN_AGAIN = 6

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Case:
    """A zone-hour: its background, the group on it, how many carriers see it, whether one of them sees the whole group."""

    background: int
    group: int
    carriers: int
    together: bool
    spread: str

    def words(self) -> str:
        """The case in short."""
        seen = "1 carrier" if self.carriers == 1 else f"{self.carriers} carriers"
        where = ", all at one" if self.together and self.carriers > 1 else ""
        return f"{self.group} on {self.background} ({seen}{where}; {self.spread})"


Judge = Callable[[pl.DataFrame, Dispersion], Bools]
"""Which rows of a history with its expectation are flagged."""


def publication(size: Size) -> Finding:
    """Whether a zone-hour whose whole true count is a group's is published at all."""
    draws = size.share(0.2, 10_000)
    noise, policy = DiscreteGaussian(ReleasePolicy()), ReleasePolicy()
    shown, bare = {}, 0.0
    for group in GROUPS:
        drawn = [draw_hour([group] * n, noise) for n in pieces(draws, _PIECE)]
        shown[group] = sum(value is not None for part in drawn for value in part.values) / draws
        if group == HIDDEN_GROUP:
            low = sum(value >= policy.threshold - 20 for part in drawn for value in part.noisy) / draws
            bare = sum(value is not None for part in drawn for value in part.noisy) / draws
    return Finding(
        "group visibility: published",
        ", ".join(f"{group}: {share:.2%}" for group, share in shown.items()) + f" ({draws:,} draws each)",
        f"30: under {MOST_SEEN:.1%}",
        shown[round(HIDDEN_GROUP)] < MOST_SEEN,
        (
            Broken("no threshold", f"30: {bare:.0%}", bare >= MOST_SEEN),
            Broken("a threshold of 30", f"30: {low:.0%}", low >= MOST_SEEN),
        ),
    )


def flags(size: Size) -> Finding:
    """Whether a group is flagged on any background, with one, three and five carriers and any market factor."""
    hours, few, many = size.share(0.02, 1_000), size.share(0.01, 1_000), size.share(0.4, 2_000)
    gate = [
        Case(background, 30, carriers, whole, spread)
        for background in BACKGROUNDS
        for carriers, whole in ((1, True), *((n, whole) for n in CARRIERS[1:] for whole in (True, False)))
        for spread in (_SPREADS if carriers == 1 else ("Poisson",))
    ]
    by_group = [Case(background, group, 1, True, "Poisson") for group in GROUPS for background in (0, 40, 100)]
    probes = [Case(40, 30, 1, True, "Poisson"), Case(20, 30, 3, True, "Poisson"), Case(60, 30, 1, True, "Poisson")]
    with drawers(size.workers) as run:
        first = _shares(run, gate, hours, size.seed, floor_alone)
        # The highest of many is high by chance: the highest are drawn again, afresh and far more often.
        highest = sorted(gate, key=lambda case: first[case], reverse=True)[:_DRAWN_AGAIN]
        found = _shares(run, highest, many, size.seed + 1_000, floor_alone)
        small = _shares(run, by_group, few, size.seed, as_served)
        bare = _shares(run, probes, few, size.seed, without_floor)
        expanded = _shares(run, probes, few, size.seed, on_expanded)
    worst = max(found, key=lambda case: found[case])
    taken = _factors_taken()
    table = {group: max(share for case, share in small.items() if case.group == group) for group in GROUPS}
    return Finding(
        "group visibility: flagged",
        f"30 at most {found[worst]:.2%}, {worst.words()}: of {len(gate)} cases of {hours:,} hours the {_DRAWN_AGAIN} highest "
        f"were drawn again for {many:,} hours each; market factors taken: {taken} of {len(FACTORS)}",
        f"under {MOST_SEEN:.1%} on any background, with 1, 3 and 5 carriers and any market factor",
        found[worst] < MOST_SEEN and not taken,
        (
            Broken("no floor", f"{max(bare.values()):.0%}", max(bare.values()) >= MOST_SEEN),
            Broken("floor on expanded values", f"{max(expanded.values()):.0%}", max(expanded.values()) >= MOST_SEEN),
        ),
        "The gate asks the floor alone, whatever a policy says; as served under the loosest policy the worst of the "
        "backgrounds 0, 40 and 100 is " + ", ".join(f"{group}: {share:.1%}" for group, share in table.items()) + ". "
        "A zone-hour is never expanded (`detector.expand` refuses it at every factor), so a factor cannot make a flag.",
    )


def _shares(run: object, cases: Iterable[Case], hours: int, seed: int, judge_by: Judge) -> dict[Case, float]:
    listed = list(cases)
    jobs = [(case, n, seed + number) for case in listed for number, n in enumerate(pieces(hours, _PIECE))]
    seen = run(partial(_flagged, judge_by), jobs)  # type: ignore[operator]
    totals = dict.fromkeys(listed, 0)
    for (case, _, _), number in zip(jobs, seen, strict=True):
        totals[case] += number
    return {case: total / hours for case, total in totals.items()}


def _flagged(judge_by: Judge, case: Case, hours: int, seed: int) -> int:
    """In how many hours of a case a flag is raised. What is there is made up with our seed; the noise never is."""
    rows = _history(case, hours, np.random.default_rng([seed, case.background, case.carriers, case.group]))
    return int(judge_by(rows, _SPREADS[case.spread]).sum())


def _history(case: Case, hours: int, draw: np.random.Generator) -> pl.DataFrame:
    """So many hours of one zone as the centre combines them, beside the expectation of a model that knows the mean."""
    dispersion, noise = _SPREADS[case.spread], DiscreteGaussian(ReleasePolicy())
    there = _backgrounds(case, dispersion, hours, draw)
    policy = noise.policy
    windows = pl.datetime_range(_START, _START + timedelta(hours=hours - 1), "1h", eager=True, time_unit="us")
    parts = []
    for carrier in range(case.carriers):
        group = case.group * (carrier == 0) if case.together else len(range(carrier, case.group, case.carriers))
        drawn = draw_hour((there[carrier] + group).tolist(), noise)
        parts.append(
            pl.DataFrame({"value": pl.Series(drawn.values, dtype=pl.Int64), "window_start": windows}).with_columns(
                carrier=pl.lit(f"carrier-{carrier}"),
                zone_id=pl.lit("z1"),
                direction=pl.lit("arrival"),
                sigma=policy.sigma,
                threshold=policy.threshold,
                feed_complete=True,
                release_digest=pl.lit("sha256:x"),
            )
        )
    published = pl.concat(parts).select(pl.col(name).cast(kind) for name, kind in PUBLISHED_SCHEMA.items())
    zones = pl.DataFrame({"zone_id": ["z1"], "sector_id": ["north"], "kind": ["belt"]})
    history = combine(published, zones, [f"carrier-{number}" for number in range(case.carriers)])
    return history.filter(direction="arrival").with_columns(
        expected=pl.lit(float(case.background)),
        spread=pl.lit(0.0),
        history_days=pl.lit(60.0),
        window_start=pl.col("window_start").cast(HOUR),
    )


def _backgrounds(case: Case, dispersion: Dispersion, hours: int, draw: np.random.Generator) -> Counts:
    """What else moves, at each carrier: counts of the whole zone, split by equal shares."""
    if case.background == 0:
        return np.zeros((case.carriers, hours), np.int64)
    mean = float(case.background)
    beyond = (dispersion.phi - 1) * mean + dispersion.kappa * mean**2
    if beyond > 0:
        size = mean**2 / beyond
        whole = draw.negative_binomial(size, size / (size + mean), hours)
    else:
        whole = draw.poisson(mean, hours)
    return draw.multinomial(whole, [1 / case.carriers] * case.carriers).T


# Who flags


def floor_alone(rows: pl.DataFrame, dispersion: Dispersion) -> Bools:
    """The product's floor on what was published, however probable it is: more than any policy may flag."""
    observed, noise = sighted(rows)
    expected, spread, sigma = (rows[name].to_numpy() for name in ("expected", "spread", "sigma"))
    seen = np.isfinite(observed)
    passed = np.zeros(len(observed), bool)
    passed[seen] = passes_floor(observed[seen], expected[seen], sigma[seen], noise[seen], spread[seen], dispersion)
    return passed


def as_served(rows: pl.DataFrame, dispersion: Dispersion) -> Bools:
    """The product's verdict under the loosest policy that it lets anybody set."""
    states = judge(rows, dispersion, _LOOSEST, _ARMED, "m-audit")["state"]
    return np.asarray((states == str(flag.State.UNUSUAL)).to_numpy())


def without_floor(rows: pl.DataFrame, dispersion: Dispersion) -> Bools:
    """Broken: what the policy's tail probability alone would flag."""
    observed, noise = sighted(rows)
    expected, spread = rows["expected"].to_numpy(), rows["spread"].to_numpy()
    seen = np.isfinite(observed)
    improbable = np.zeros(len(observed), bool)
    improbable[seen] = (
        tail_probability(observed[seen], expected[seen], noise[seen], spread[seen], dispersion) <= MAX_TAIL_P
    )
    return improbable


def on_expanded(rows: pl.DataFrame, dispersion: Dispersion) -> Bools:
    """Broken: the floor asked of what a carrier's counts stand for in the whole market, three times as many."""
    factor = 3
    observed, noise = sighted(rows)
    expected = rows["expected"].to_numpy()
    excess = np.nan_to_num(factor * (observed - expected), nan=-np.inf)
    seen: Floats = np.sqrt(noise**2 + dispersion.variance(expected))
    return np.asarray(flag.may_flag(excess, seen))


_LOOSEST = Policy(
    tail_p=MAX_TAIL_P,
    min_history_days=MIN_HISTORY_DAYS,
    proposed_by="audit",
    approved_by="audit too",
    reason="the loosest there is",
    valid_from=_START,
)
_ARMED = [
    Arming("north", "audit", "audit", _START + timedelta(days=n * 180), _START + timedelta(days=(n + 1) * 180))
    for n in range(4)
]


def _factors_taken() -> int:
    """How many market factors the product lets anybody use on zone-hours."""
    taken = 0
    count = CarrierCount("carrier-0", Level.ZONE_HOUR, 80, 9.45, 50, complete=True)
    for factor in FACTORS:
        stands_for = MarketFactor("carrier-0", factor, 0.1, _START, "audit", "audit too", "tried on a zone-hour")
        try:
            together([count], ["carrier-0"], {"carrier-0": stands_for})
        except ExpansionRefused:
            continue
        taken += 1
    return taken
