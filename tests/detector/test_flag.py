"""What may be called unusual."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from detector.combine import HISTORY_SCHEMA
from detector.flag import WRONG_LOG_SD, WRONG_SHARE, judge, passes_floor, tail_probability
from detector.likelihood import Dispersion
from detector.policy import Arming, Policy
from tests.detector.border import SIGMA, START, THRESHOLD

SPREAD = Dispersion(1.0, 0.0)
LOOSEST = Policy(tail_p=1e-3, min_history_days=14, proposed_by="a", approved_by="b", reason="test", valid_from=START)
ARMED = [Arming("south", "decree", "assessment", START - timedelta(days=1), START + timedelta(days=100))]


def zone_hours(
    observed: Sequence[int | None],
    expected: float | Sequence[float],
    *,
    kind: str = "belt",
    complete: bool = True,
    history_days: float = 60.0,
) -> pl.DataFrame:
    """Zone-hours of one carrier; a value of None is below the threshold."""
    number = len(observed)
    values = [v if v is not None and v >= THRESHOLD else None for v in observed]
    return pl.DataFrame(
        {
            "zone_id": ["b00"] * number,
            "sector_id": ["south"] * number,
            "kind": [kind] * number,
            "direction": ["arrival"] * number,
            "window_start": [START] * number,
            "value": values,
            "suppressed": [v is None for v in values],
            "sigma": [SIGMA] * number,
            "threshold": [THRESHOLD] * number,
            "known_sum": [v or 0 for v in values],
            "known_sigma": [SIGMA if v is not None else 0.0 for v in values],
            "censor_bound": [THRESHOLD if v is None else v for v in values],
            "carriers_expected": [1] * number,
            "carriers_present": [1] * number,
            "complete": [complete] * number,
            "carrier_values": [[v] for v in values],
            "carrier_sigmas": [[SIGMA]] * number,
            "carrier_thresholds": [[THRESHOLD]] * number,
            "release_digests": [["sha256:x"]] * number,
        },
        schema=HISTORY_SCHEMA,
    ).with_columns(
        pl.Series("expected", np.broadcast_to(np.asarray(expected, dtype=float), number)),
        pl.lit(0.0).alias("spread"),
        pl.lit(history_days).alias("history_days"),
    )


def states(rows: pl.DataFrame, policy: Policy = LOOSEST, armings: Sequence[Arming] = ARMED) -> list[str]:
    return judge(rows, SPREAD, policy, armings, "m-test")["state"].to_list()


def test_no_excess_below_sixty_is_flagged_however_improbable() -> None:
    rows = zone_hours([62, 65, 69, 70], 9.5)
    judged = judge(rows, SPREAD, LOOSEST, ARMED, "m-test")
    assert judged["tail_p"].max() < 1e-3  # the policy alone would flag them all
    assert judged["state"].to_list() == ["usual", "usual", "usual", "unusual"]


def test_on_a_busy_background_the_floor_rises_with_the_combined_sd() -> None:
    floor = 30 + 1.96 * np.sqrt(SIGMA**2 + 400)
    assert states(zone_hours([400 + int(floor), 400 + int(floor) + 4], 400.0), LOOSEST) == ["usual", "unusual"]


@pytest.mark.parametrize("background", [0.5, 40, 100, 300, 1500])
def test_a_group_of_thirty_stays_hidden_on_any_background(background: float) -> None:
    random = np.random.default_rng(int(background))
    draws = 10_000
    counts = random.poisson(background, draws) + 30 + np.round(random.normal(0, SIGMA, draws))
    flagged = np.mean([s == "unusual" for s in states(zone_hours(counts.astype(int).tolist(), background))])
    assert flagged < 0.025


@pytest.mark.parametrize("kappa", [0.001, 0.04])
@pytest.mark.parametrize("background", [0.5, 10, 40, 100, 300, 600, 1500])
def test_the_floor_alone_hides_a_group_of_thirty(background: float, kappa: float) -> None:
    """Whatever a policy says, and however skewed the counts are."""
    random = np.random.default_rng(7)
    draws = 100_000
    counts = random.negative_binomial(1 / kappa, 1 / (1 + kappa * background), draws) + 30.0
    counts += np.round(random.normal(0, SIGMA, draws))
    expected, noise, spread = (np.full(draws, value) for value in (background, SIGMA, 0.0))
    assert passes_floor(counts, expected, noise, noise, spread, Dispersion(1.0, kappa)).mean() < 0.025


def test_a_surge_far_above_the_floor_is_flagged() -> None:
    assert states(zone_hours([220], 20.0)) == ["unusual"]


def test_an_improbable_enough_excess_needs_the_policy_as_well() -> None:
    strict = Policy(
        tail_p=1e-12, min_history_days=14, proposed_by="a", approved_by="b", reason="test", valid_from=START
    )
    assert states(zone_hours([85], 20.0)) == ["unusual"]
    assert states(zone_hours([85], 20.0), strict) == ["usual"]


def test_a_degraded_hour_is_not_judged_and_shows_no_sum() -> None:
    row = judge(zone_hours([900], 20.0, complete=False), SPREAD, LOOSEST, ARMED, "m-test").row(0, named=True)
    assert (row["state"], row["observed"], row["excess"], row["tail_p"]) == ("degraded", None, None, None)


def test_a_sector_that_is_not_armed_publishes_but_never_flags() -> None:
    row = judge(zone_hours([900], 20.0), SPREAD, LOOSEST, [], "m-test").row(0, named=True)
    assert (row["state"], row["abstained"], row["observed"]) == ("not_judged", "unarmed", 900)
    assert (row["excess"], row["tail_p"]) == (None, None)


def test_an_arming_that_has_run_out_flags_nothing() -> None:
    over = [Arming("south", "decree", "assessment", START - timedelta(days=9), START)]
    assert states(zone_hours([900], 20.0), armings=over) == ["not_judged"]


def test_a_zone_that_is_warming_up_is_not_judged() -> None:
    rows = zone_hours([900], 20.0, history_days=13.9)
    assert judge(rows, SPREAD, LOOSEST, ARMED, "m-test")["abstained"].to_list() == ["warming_up"]


def test_a_crossing_point_is_expected_but_never_flagged() -> None:
    rows = zone_hours([900], 20.0, kind="crossing_point")
    assert judge(rows, SPREAD, LOOSEST, ARMED, "m-test")["abstained"].to_list() == ["crossing_point"]


def test_a_drop_is_shown_as_a_drop_and_not_as_unusual() -> None:
    assert states(zone_hours([80, None], 300.0)) == ["unusual_drop", "unusual_drop"]


def test_a_null_is_below_the_threshold_and_has_no_excess() -> None:
    row = judge(zone_hours([None], 12.0), SPREAD, LOOSEST, ARMED, "m-test").row(0, named=True)
    assert (row["state"], row["observed"], row["excess"]) == ("below_threshold", None, None)
    assert row["upper"] > 30


def test_a_sum_of_some_carriers_is_flagged_only_by_what_they_published() -> None:
    half = zone_hours([200, 75], 20.0).with_columns(
        pl.lit(None, pl.Int64).alias("value"),
        pl.lit(value=True).alias("suppressed"),
        (pl.col("known_sum") + 50).alias("censor_bound"),
        pl.lit(SIGMA * 2**0.5).alias("sigma"),
        pl.lit(100).alias("threshold"),
    )
    judged = judge(half, SPREAD, LOOSEST, ARMED, "m-test")
    assert judged["state"].to_list() == ["unusual", "below_threshold"]
    assert judged["observed"].to_list() == [200, None]


@pytest.mark.parametrize(("mean", "observed"), [(2.0, 40), (20.0, 75), (150.0, 260)])
def test_the_tail_is_that_of_count_and_noise_together(mean: float, observed: int) -> None:
    random = np.random.default_rng(3)
    kappa = 0.03 + 4.0 / mean**2
    beyond = 0.3 * mean + kappa * mean**2
    size = mean**2 / beyond
    number = 2_000_000
    drawn = random.negative_binomial(size, size / (size + mean), number) + np.round(random.normal(0, SIGMA, number))
    found = float(np.mean(drawn >= observed))
    told = tail_probability(
        np.array([float(observed)]), np.array([mean]), np.array([SIGMA]), np.array([0.0]), Dispersion(1.3, kappa)
    )
    assert told[0] == pytest.approx(found, rel=0.1)


@pytest.mark.parametrize(("spread", "observed"), [(10.0, 330), (40.0, 380)])
def test_the_tail_knows_that_an_expectation_is_sometimes_wrong_by_far(spread: float, observed: int) -> None:
    random = np.random.default_rng(5)
    number, mean, dispersion = 4_000_000, 150.0, Dispersion(1.3, 0.03)
    multiple = np.exp(np.where(random.random(number) < WRONG_SHARE, WRONG_LOG_SD * random.standard_normal(number), 0.0))
    beyond = 0.3 * mean * multiple + (0.03 * mean**2 + spread**2) * multiple**2
    size = (mean * multiple) ** 2 / beyond
    drawn = random.negative_binomial(size, size / (size + mean * multiple)) + random.normal(0, SIGMA, number)
    at = (np.array([each]) for each in (float(observed), mean, SIGMA, spread))
    assert tail_probability(*at, dispersion)[0] == pytest.approx(float(np.mean(drawn >= observed - 0.5)), rel=0.15)


def test_the_floor_is_no_looser_where_the_expectation_is_unsure() -> None:
    observed = np.arange(60.0, 900.0)
    before = np.ones(observed.size, dtype=bool)
    for spread in (0.0, 5.0, 20.0, 60.0):
        mean, noise, wide = (np.full(observed.size, value) for value in (120.0, SIGMA, spread))
        passes = passes_floor(observed, mean, noise, noise, wide, Dispersion(1.3, 0.03))
        assert not (passes & ~before).any()
        before = passes
