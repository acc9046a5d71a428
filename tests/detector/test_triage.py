"""The second look ranks what may be flagged; it never makes a flag."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from detector import model
from detector.alerts import group_flags
from detector.calendar import Calendar, calendar_features
from detector.calibrate import choose_rarity, hour_probability, ranked_bands
from detector.features import FEATURES
from detector.flag import State
from detector.likelihood import Dispersion
from detector.model import BundleError, load_bundle, raw_scores, save_bundle, seal_bundle
from detector.residual import hours_of
from detector.triage import (
    EXCESS_FEATURES,
    LEAD_H,
    TRIAGE_FEATURES,
    Found,
    Ranking,
    Scale,
    alerts_by_rank,
    blocks_of,
    learn_ranking,
    ranked,
    tail_score,
    triage_features,
)
from tests.detector.border import START, Border, make_border

DAYS = 150
DISPERSION = Dispersion(1.2, 0.04)
FESTIVALS = tuple(range(8, DAYS, 9))  # every ninth day the whole sector has half as much again
LEVELS = [25.0, 30.0, 40.0, 50.0, 60.0, 45.0, 35.0, 28.0]


@pytest.fixture(scope="module")
def festivals() -> Border:
    crowds = [
        (zone, way, day * 24, 24, int(24 * LEVELS[zone] * 1.6))
        for day in FESTIVALS
        for zone in range(8)
        for way in (0, 1)
    ]
    return make_border(LEVELS, days=DAYS, surges=tuple(crowds))


def rows_of(border: Border) -> pl.DataFrame:
    """The history with the true rate of days without a festival for its expectation."""
    history = border.history().sort("zone_id", "direction", "window_start")
    zones = border.zones["zone_id"].to_list()
    order = np.argsort(zones)
    expected = border.rates[order].reshape(-1)
    calendar = calendar_features(history["window_start"], Calendar())
    return history.with_columns(
        *calendar.iter_columns(),
        pl.Series("expected", expected),
        pl.Series("spread", 0.05 * expected),
        pl.lit(60.0).alias("history_days"),
        pl.lit(value=False).alias("marked"),
        *(pl.lit(0.0).alias(name) for name in ("own_7d", "opposite_24h", "shift_z")),
    )


@pytest.fixture(scope="module")
def rows(festivals):
    return rows_of(festivals)


@pytest.fixture(scope="module")
def learned(rows, festivals):
    blocks = blocks_of(rows, "marked", festivals.neighbours, DISPERSION, (1.0,), first=START)
    found = learn_ranking(blocks, DISPERSION, (1.0,), seed=1)
    assert found is not None
    assert found.ranking.booster is not None
    return found


@pytest.fixture(scope="module")
def surge():
    """One zone far above its expectation on a quiet day, as a history of its own."""
    quiet = 40 * 24 + 5
    return quiet, make_border(
        LEVELS,
        days=60,
        seed=3,
        surges=(
            (3, 0, quiet, 2, 400),
            *((zone, way, 35 * 24, 24, int(24 * LEVELS[zone] * 1.6)) for zone in range(8) for way in (0, 1)),
        ),
    )


def test_a_surge_ranks_above_a_festival_of_the_whole_sector(learned, surge):
    hour, border = surge
    hours = hours_of(rows_of(border), border.neighbours, DISPERSION, (1.0,))
    found = triage_features(hours, DISPERSION)
    rarity = learned.ranking.of(found)
    zone = hours.series.with_row_index().filter((pl.col("zone_id") == "b03") & (pl.col("direction") == "arrival"))[
        "index"
    ][0]
    of_surge = rarity[(found.series == zone) & (found.hour == hour)]
    of_festival = rarity[found.hour // 24 == 35]
    assert of_surge.size == 1
    assert of_surge[0] > np.quantile(of_festival, 0.95)


def test_no_larger_excess_ever_ranks_lower(learned):
    start = learned.golden
    before = raw_scores(learned.ranking.booster, start)
    for name in EXCESS_FEATURES:
        higher = start.copy()
        higher[:, TRIAGE_FEATURES.index(name)] *= 1.5
        higher[:, TRIAGE_FEATURES.index(name)] += 1.0
        assert (raw_scores(learned.ranking.booster, higher) >= before - 1e-9).all(), name


def judged(rows: pl.DataFrame) -> pl.DataFrame:
    """Every hour that may be flagged as a flag, every third of them with a suppressed carrier."""
    return rows.with_columns(
        pl.lit(str(State.UNUSUAL)).alias("state"),
        pl.col("known_sum").alias("observed"),
        pl.lit(1.0).alias("excess"),
        pl.lit(1e-9).alias("tail_p"),
    )


def test_ranking_only_takes_flags_away(learned, rows, festivals):
    part = rows.filter(pl.col("window_start") < START + timedelta(days=20))
    flags = judged(part).with_columns(
        pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("usual")).otherwise("state").alias("state")
    )
    hours = hours_of(part, festivals.neighbours, DISPERSION, (1.0,))
    least = dict.fromkeys(part["sector_id"].unique().to_list(), 1.0)
    after = ranked(flags, hours, learned.ranking, least, DISPERSION)
    was, now = ((frame["state"] == "unusual").to_numpy() for frame in (flags, after))
    assert now.sum() < was.sum()
    assert not (now & ~was).any()
    assert (after.filter(pl.Series(now))["rarity"] >= 1.0).all()


def test_a_flag_of_a_part_of_the_carriers_that_is_taken_away_says_no_more_than_below_the_threshold(
    learned, rows, festivals
):
    part = rows.filter(pl.col("window_start") < START + timedelta(days=6)).with_columns(
        pl.lit(value=True).alias("suppressed")
    )
    hours = hours_of(part, festivals.neighbours, DISPERSION, (1.0,))
    least = dict.fromkeys(part["sector_id"].unique().to_list(), 99.0)
    after = ranked(judged(part), hours, learned.ranking, least, DISPERSION)
    assert after["state"].unique().to_list() == ["below_threshold"]
    assert after["observed"].is_null().all()
    assert after["tail_p"].is_null().all()


def test_scores_do_not_look_ahead(learned, rows, festivals):
    until = START + timedelta(days=17, hours=10)  # within a festival
    whole = rows.filter(pl.col("window_start") < START + timedelta(days=20))
    cut = whole.filter(pl.col("window_start") <= until)
    seen = []
    for part in (whole, cut):
        hours = hours_of(part, festivals.neighbours, DISPERSION, (1.0,))
        found = triage_features(hours, DISPERSION)
        at = found.hour <= 17 * 24 + 10
        seen.append((found.series[at].tolist(), learned.ranking.of(found)[at].round(9).tolist()))
    assert seen[0][0]
    assert seen[0] == seen[1]


def test_a_lead_is_long_enough(learned, rows, festivals):
    since = START + timedelta(days=17)
    parts = []
    for first in (START, since - timedelta(hours=LEAD_H)):
        part = rows.filter(pl.col("window_start").is_between(first, since + timedelta(days=2)))
        hours = hours_of(part, festivals.neighbours, DISPERSION, (1.0,))
        found = triage_features(hours, DISPERSION, since=int((since - first) / timedelta(hours=1)))
        parts.append(learned.ranking.of(found))
    assert parts[0].size
    np.testing.assert_allclose(parts[0], parts[1], atol=1e-6)


def test_what_is_very_large_is_not_demoted_by_the_second_model(learned):
    found = Found(np.array([0]), np.array([0]), np.array([1e-80]), learned.golden[:1].copy())
    tail = learned.ranking.tail.of(tail_score(found))
    assert learned.ranking.of(found)[0] >= tail[0] + np.log10(0.2) - 1e-9


def test_alerts_are_counted_as_flags_are_merged(festivals):
    random = np.random.default_rng(2)
    hours = hours_of(
        rows_of(festivals).filter(pl.col("window_start") < START + timedelta(days=9)),
        festivals.neighbours,
        DISPERSION,
        (1.0,),
    )
    belts = np.nonzero(hours.around.belt)[0]
    cells = np.unique(np.stack([random.choice(belts, 150), random.integers(0, 200, 150)], axis=1), axis=0)
    order = random.permutation(len(cells))
    counted = alerts_by_rank(cells[:, 0], cells[:, 1], order, hours.around)
    for first in (1, 20, 60, len(cells)):
        taken = cells[order[:first]]
        flags = hours.series[taken[:, 0]].with_columns(
            pl.Series("window_start", [START + timedelta(hours=int(hour)) for hour in taken[:, 1]])
        )
        assert counted[first - 1] == len(group_flags(flags, festivals.neighbours))


def test_the_threshold_keeps_clean_hours_within_the_budget(learned):
    least, by_sector = choose_rarity(learned, budget=0.3, unmarked=0.0)
    rarities, alerts = learned.alerts
    passed = int((rarities >= least).sum())
    assert passed
    assert alerts[passed - 1] <= 0.3 * learned.zone_months
    assert alerts[min(passed, alerts.size - 1)] <= 0.3 * learned.zone_months + 1
    assert all(abs(own - least) <= 0.3 + 1e-9 for own in by_sector.values())


def test_surges_that_nobody_marked_are_allowed_on_top(learned):
    strict, _ = choose_rarity(learned, budget=0.2, unmarked=0.0)
    with_unmarked, _ = choose_rarity(learned, budget=0.2, unmarked=0.5)
    assert with_unmarked < strict


def test_probabilities_rise_with_rarity_and_what_cannot_be_flagged_is_improbable(learned, festivals):
    least, _ = choose_rarity(learned, budget=0.3, unmarked=0.0)
    bands = ranked_bands(learned, festivals.neighbours, least, unmarked=0.0)
    told = [band["probability"] for band in bands["bands"]]
    assert told == sorted(told)
    hourly = hour_probability(np.array([np.nan, 0.0, 1.0, 2.0, 5.0]), bands)
    assert hourly[0] < 0.01
    assert (np.diff(hourly[1:]) >= 0).all()
    assert hourly[-1] > 0.5


def test_a_scale_that_falls_or_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="rises"):
        Scale((1.0, 0.5), (0.0, 1.0), 1.0)
    with pytest.raises(ValueError, match="finite"):
        Scale((1.0, float("nan")), (0.0, 1.0), 1.0)


def test_a_ranking_survives_its_document(learned):
    again = Ranking.from_document(learned.ranking.document(), learned.ranking.booster)
    for name in ("tail", "triage", "both"):
        assert getattr(again, name) == getattr(learned.ranking, name)


def test_a_history_with_little_to_flag_is_ranked_by_nothing():
    calm = make_border([5.0, 6.0], days=50, seed=4)
    blocks = blocks_of(rows_of(calm), "marked", calm.neighbours, DISPERSION, (1.0,), first=START)
    assert learn_ranking(blocks, DISPERSION, (1.0,), seed=1) is None


@pytest.fixture
def folder(trained, learned, tmp_path):
    """A bundle with both models."""
    of = trained.bundle
    golden = pl.DataFrame(of.document["golden"]["inputs"], schema=list(FEATURES), orient="row")
    sealed = seal_bundle(
        of.booster,
        golden,
        expectation=of.expectation,
        triage=(learned.ranking.booster, TRIAGE_FEATURES, learned.golden),
        dispersion=of.dispersion,
        shares=of.shares,
        calibration=of.calibration,
        metrics={},
        training_window={},
        seed=0,
    )
    return save_bundle(sealed, tmp_path)


def test_a_bundle_brings_the_second_model_back_the_same(folder, learned):
    bundle = load_bundle(folder)
    assert bundle.triage is not None
    here, there = (raw_scores(booster, learned.golden) for booster in (learned.ranking.booster, bundle.triage))
    np.testing.assert_allclose(here, there, atol=1e-9)


def test_a_damaged_second_model_reaches_no_loader(folder, monkeypatch):
    loaded = []
    monkeypatch.setattr(model, "load_in_process", lambda text: loaded.append(text))
    random = np.random.default_rng(5)
    sound = (folder / "triage.txt").read_bytes()
    for trial in range(20):
        damaged = bytearray(sound)
        at = int(random.integers(len(damaged)))
        if trial % 2:
            del damaged[at:]
        else:
            damaged[at] ^= int(random.integers(1, 256))
        (folder / "triage.txt").write_bytes(damaged)
        with pytest.raises(BundleError, match=r"triage\.txt"):
            load_bundle(folder)
    (folder / "triage.txt").unlink()
    with pytest.raises(BundleError, match=r"triage\.txt"):
        load_bundle(folder)
    assert loaded == []
