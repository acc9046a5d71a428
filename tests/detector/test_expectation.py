"""How an expectation follows what it is told, and how sure it is of itself."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from detector.calendar import Calendar
from detector.expectation import learn_expectation, learn_spread, sample, with_spread
from detector.features import LUNAR_DAYS, Memory, add_features, add_features_and_memory, cells_of
from detector.likelihood import (
    PRIOR_DISPERSION,
    Dispersion,
    expected_count,
    negative_log_likelihood,
)
from detector.reaction import DOUBTS, REACTION_FEATURES, Reaction, Uncertainty, fit_reaction, fit_uncertainty
from tests.detector.border import START, Border, make_border

DAYS = 60


@pytest.fixture(scope="module")
def busy() -> Border:
    return make_border([40.0, 60.0, 60.0, 80.0, 90.0, 120.0], days=DAYS, seed=6)


@pytest.fixture(scope="module")
def table(busy: Border) -> pl.DataFrame:
    return add_features(busy.history(), busy.neighbours, Calendar(), (1.0,)).filter(pl.col("history_days") >= 14)


def test_the_reaction_is_the_most_likely_one(table: pl.DataFrame) -> None:
    cells = cells_of(table, (1.0,))
    found = fit_reaction(table, cells, PRIOR_DISPERSION)
    belt = table.filter((pl.col("kind") == "belt") & (pl.col("direction") == "arrival"))
    belt_cells = cells_of(belt, (1.0,))

    def loss(reaction: Reaction, held: np.ndarray) -> float:
        raw = np.log(belt["level"].to_numpy()) + reaction.log_factor(belt)
        return float(negative_log_likelihood(raw, belt_cells, held).sum())

    raw = np.log(belt["level"].to_numpy()) + found.log_factor(belt)
    held = belt_cells.variance(expected_count(raw), PRIOR_DISPERSION)
    weights = np.array(found.weights["belt_arrival"])
    for name in ("own_24h", "sector_6h", "opposite_6h"):
        slopes = []
        for step in (1e-4, -1e-4):
            other = weights.copy()
            other[REACTION_FEATURES.index(name)] += step
            slopes.append(loss(Reaction({**found.weights, "belt_arrival": tuple(other)}), held))
        ridge = 20.0 * weights[REACTION_FEATURES.index(name)]
        assert abs((slopes[0] - slopes[1]) / 2e-4 + ridge) < 3.0  # gradients are clipped, so not quite 0


def test_a_reaction_reads_back_as_it_was_written(table: pl.DataFrame) -> None:
    found = fit_reaction(table, cells_of(table, (1.0,)), PRIOR_DISPERSION)
    assert Reaction.from_document(found.document()) == found
    with pytest.raises(ValueError, match="learned with"):
        Reaction.from_document({**found.document(), "features": ["device"]})


def test_what_each_feature_adds_adds_up(table: pl.DataFrame) -> None:
    few = sample(table, 2000, np.random.default_rng(1))
    learned = learn_expectation(few, (1.0,), PRIOR_DISPERSION, seed=1, rounds=5)
    rows = learned.rows(few)
    told = np.sum(list(learned.contributions(rows).values()), axis=0)
    plain = np.log(few["level"].to_numpy())
    # What is left is the constants of the reaction and of the trees: one number for each place.
    left = np.log(rows["expected"].to_numpy()) - plain - told
    for _, part in rows.with_columns(left=pl.Series(left)).group_by("kind", "direction"):
        assert part["left"].std() < 1e-4


def test_a_festival_in_the_sector_is_expected_of_its_zones() -> None:
    """The first one that this border has seen: no tree could know."""
    quiet = make_border([60.0] * 12, days=70, seed=3)
    history = quiet.history()
    table = add_features(history, quiet.neighbours, Calendar(), (1.0,)).filter(pl.col("history_days") >= 14)
    told = learn_expectation(table, (1.0,), PRIOR_DISPERSION, seed=1, rounds=20)
    row = table.filter((pl.col("zone_id") == "b03") & (pl.col("direction") == "arrival")).tail(1)
    lifted = ("sector_now", "sector_6h", "region_now", "official_now", "official_6h")
    festival = row.with_columns(pl.lit(0.9, pl.Float32).alias(name) for name in lifted)
    assert told.rows(festival)["expected"].item() > 1.2 * told.rows(row)["expected"].item()


def unsure(rows: pl.DataFrame, *, misses: float, seed: int = 2) -> pl.DataFrame:
    """Rows whose expectation is wrong by a factor wherever their own last day was odd."""
    random = np.random.default_rng(seed)
    odd = np.abs(rows["own_24h"].to_numpy()) > 0.05
    error = np.where(odd, misses, 0.02) * random.standard_normal(rows.height)
    mean = 200.0 * np.exp(error)
    value = random.negative_binomial(40, 40 / (40 + mean)) + np.round(random.normal(0, 9.45, rows.height))
    return rows.with_columns(
        pl.Series("expected", np.full(rows.height, 200.0)),
        pl.lit(200.0).alias("level"),
        pl.lit(0.0).alias("log_move"),
        pl.Series("value", value.astype(int)),
        pl.Series("carrier_values", [[int(v)] for v in value]),
    )


def test_it_is_learned_what_tells_that_an_expectation_is_wrong(table: pl.DataFrame) -> None:
    rows = unsure(table.filter((pl.col("kind") == "belt") & (pl.col("carriers_present") == 1)), misses=0.4)
    learned = fit_uncertainty(rows, cells_of(rows, (1.0,)))
    variance = learned.variance(rows)
    odd = rows["own_24h"].abs().to_numpy() > 0.05
    assert variance[odd].mean() > 2 * variance[~odd].mean()
    assert 0.02 < variance[~odd].mean() < 0.12  # 1/40 is the scatter of the counts


def test_the_gradient_of_the_uncertainty_ends_at_its_best(table: pl.DataFrame) -> None:
    rows = unsure(table.filter(pl.col("kind") == "belt"), misses=0.3)
    cells = cells_of(rows, (1.0,))
    found = fit_uncertainty(rows, cells)

    def loss(learned: Uncertainty) -> float:
        expected = rows["expected"].to_numpy()
        variance = cells.noise_variance + learned.phi * expected + learned.variance(rows) * expected**2
        seen = np.isfinite(cells.value)
        ratio = np.where(seen, (cells.value - expected) ** 2, 0.0) / variance
        value = np.where(ratio < 16, ratio, 16 * (1 + np.log(np.maximum(ratio, 16) / 16)))
        return float(0.5 * (np.log(variance) + value)[seen].sum())

    at_best = loss(found)
    for step in (0.05, -0.05):
        assert loss(Uncertainty(found.phi, found.constant + step, found.weights)) > at_best


def test_no_doubt_ever_makes_surer(table: pl.DataFrame) -> None:
    rows = table.head(50).with_columns(
        pl.lit(90.0).alias("expected"), pl.lit(90.0).alias("level"), pl.lit(0.0).alias("log_move")
    )
    with pytest.raises(ValueError, match="not negative"):
        Uncertainty(1.2, -3.0, {**dict.fromkeys((*DOUBTS, "own_scatter", "log_expected"), 0.0), "own_24h": -0.1})
    sure = Uncertainty(1.2, -3.0, dict.fromkeys((*DOUBTS, "own_scatter", "log_expected"), 0.5))
    doubled = rows.with_columns(pl.col("own_24h", "sector_6h", "opposite_4h", "level_spread") * 2)
    assert (sure.variance(doubled) >= sure.variance(rows)).all()


def test_the_spread_is_never_less_than_the_level_leaves_open(table: pl.DataFrame) -> None:
    learned = learn_expectation(table, (1.0,), PRIOR_DISPERSION, seed=1, rounds=5)
    rows = learned.rows(table)
    uncertainty, dispersion = learn_spread(rows, (1.0,), seed=1)
    spread = with_spread(rows, uncertainty, dispersion)
    assert (spread["spread"] >= spread["expected"] * pl.Series(np.minimum(spread["level_spread"], 1.0)) - 1e-6).all()
    wide = with_spread(rows.with_columns(pl.col("level_spread") * 0 + 0.9), uncertainty, dispersion)
    assert (wide["spread"] >= spread["spread"] - 1e-6).all()


def test_a_zone_remembers_what_the_lunar_new_year_did_to_it() -> None:
    border = make_border([80.0] * 4, days=120, seed=8)
    start = START - timedelta(days=80)  # 12 December 2025, ten weeks before the feast of 17 February 2026
    history = border.history().with_columns(pl.col("window_start") - timedelta(days=80))
    feast = pl.col("window_start").is_between(start + timedelta(days=67), start + timedelta(days=70))
    louder = feast & (pl.col("zone_id") == "b00")

    def times(factor: int, where: pl.Expr) -> list[pl.Expr]:
        return [
            pl.when(where).then(pl.col("value") * factor).otherwise("value").alias("value"),
            pl.when(where)
            .then(pl.col("carrier_values").list.eval(pl.element() * factor))
            .otherwise("carrier_values")
            .alias("carrier_values"),
        ]

    history = history.with_columns(times(2, feast & ~louder)).with_columns(times(4, louder))
    _, memory = add_features_and_memory(history, border.neighbours, Calendar(), (1.0,))
    day = LUNAR_DAYS.index(2)
    assert memory.places["belt|arrival"][day] > 0.3
    assert memory.zones["b00|arrival"][day] > memory.zones["b02|arrival"][day] > 0.2
    assert abs(memory.zones["b00|arrival"][LUNAR_DAYS.index(-15)]) < 0.3
    assert Memory.from_document(memory.document()) == memory


def test_a_memory_of_other_days_is_refused() -> None:
    with pytest.raises(ValueError, match="log factor"):
        Memory({"b00|arrival": (0.1,)}, {})


def test_a_sample_has_more_of_what_is_rare(table: pl.DataFrame) -> None:
    rare = pl.col("own_24h").abs() > 0.5
    odd = table.with_columns(pl.when(pl.int_range(pl.len()) % 50 == 0).then(0.9).otherwise("own_24h").alias("own_24h"))
    kept = sample(odd, odd.height // 10, np.random.default_rng(1))
    assert kept.height == odd.height // 10
    assert kept.filter(rare).height / kept.height > 1.5 * odd.filter(rare).height / odd.height


def test_a_wider_spread_makes_what_lies_far_out_likelier() -> None:
    from detector.flag import passes_floor, tail_probability

    number = 30
    observed, expected, noise = np.full(number, 400.0), np.full(number, 200.0), np.full(number, 9.45)
    spread = np.linspace(0.0, 150.0, number)
    tail = tail_probability(observed, expected, noise, spread, Dispersion(1.2, 0.03))
    assert (np.diff(tail) > 0).all()
    passes = passes_floor(observed, expected, noise, noise, spread, Dispersion(1.2, 0.03))
    assert passes[0]
    assert not passes[-1]
    assert (np.diff(passes.astype(int)) <= 0).all()
