"""Farrington flexible comes from R's own package; without it nothing here is asked."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from bench.detection import farrington
from bench.detection.farrington import ROWS, Farrington
from bench.detection.planting import Planted
from bench.detection.worlds import plant, simulated

pytestmark = pytest.mark.skipif(farrington.missing() is not None, reason=farrington.missing() or "")


def test_a_steady_series_is_expected_to_stay_as_it_is():
    random = np.random.default_rng(1)
    steady = random.poisson(80, size=(2, ROWS)).astype(float)
    steady[1, -1] = 200
    answer = farrington._ask(steady, None)
    assert answer[:, 0] == pytest.approx(80, rel=0.15)
    assert answer[1, 1] > 1 > answer[0, 1]


def test_a_holiday_term_expects_more_where_a_holiday_brings_more():
    steady = np.full((1, ROWS), 80.0) + np.random.default_rng(1).integers(-5, 6, (1, ROWS))
    population = np.ones((1, ROWS))
    population[0, -1] = 2.0
    assert farrington._ask(steady, population)[0, 0] == pytest.approx(160, rel=0.1)


def test_it_finds_a_surge_where_it_is_asked():
    world = simulated(3, zones=4, months=0.5, learn_days=90)
    crowd = Planted("one", (world.belts[0],), "arrival", 100, np.array([[700]]), "burst")
    copy = plant(world, [crowd])
    asked = replace(copy, end=world.end)
    scores = Farrington().fit(world)(asked, world.hold_until, asked.last_window)
    assert scores.filter(pl.col("window_start") == copy.truth["window_start"][0])["zone_id"].to_list() == [
        world.belts[0]
    ]
