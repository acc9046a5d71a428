"""The coarse fidelity: releases of months."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from geofence.grid import neighbours
from ingest.release import Release
from simulator.counts import SimulatedCounts, simulate_counts, simulated_noise, write_releases
from simulator.surges import SurgeSize, place_surges
from tests.simulator.small_border import small_grid

START, END = datetime(2026, 1, 30, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
CARRIERS = {"beta": 0.3, "alpha": 0.5}


def month(seed: int = 11) -> SimulatedCounts:
    grid = small_grid()
    beside = neighbours(grid)
    surges = place_surges(grid, beside, start=START, end=END, seed=seed, plan=[SurgeSize(500, 2, "burst")] * 2)
    return simulate_counts(grid, beside, start=START, end=END, carriers=CARRIERS, surges=surges, seed=seed)


def test_releases_keep_the_contract() -> None:
    for at, document in enumerate(month().releases):
        if at % 97 == 0:
            Release.model_validate(document)


def test_releases_come_by_window_and_then_carrier_and_say_that_they_are_simulated() -> None:
    order = [(doc["window_start"], doc["carrier"]) for doc in month().releases]
    assert order == sorted(order)
    assert len(set(order)) == len(order) == 31 * 24 * 2
    assert next(month().releases)["lineage"].startswith("simulated-")


def test_a_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = (write_releases(month().releases, tmp_path / name) for name in ("one", "two"))
    assert [path.name for path in one] == [f"releases-2026-0{m}.ndjson.gz" for m in (1, 2, 3)]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    assert next(month(12).releases)["digest"] != next(month(11).releases)["digest"]


def test_published_values_are_truth_and_noise_of_known_size_above_the_threshold() -> None:
    sim = month()
    truth = {
        (r["carrier"], r["window_start"], r["zone_id"], r["direction"]): r["movements"] for r in sim.truth.to_dicts()
    }
    off, suppressed, low = [], 0, 0
    for doc in sim.releases:
        if not doc["feed"]["complete"]:
            continue
        start = datetime.fromisoformat(doc["window_start"])
        for count in doc["counts"]:
            real = truth[doc["carrier"], start, count["zone_id"], count["direction"]]
            if count["value"] is None:
                suppressed += 1
                low += real < 90
            elif real > 100:
                off.append(count["value"] - real)
    assert np.std(off) == pytest.approx(9.45, rel=0.05)
    assert np.mean(off) == pytest.approx(0, abs=0.5)
    assert low == suppressed > 0


def test_outages_are_declared_and_some_windows_go_out_empty() -> None:
    sim = month(21)
    incomplete = {(d["carrier"], d["window_start"]) for d in sim.releases if not d["feed"]["complete"]}
    declared = sim.outages["hours"].sum()
    assert 0 < len(incomplete) <= declared
    sims = [month(seed) for seed in (22, 23, 24, 25, 26, 27)]
    unreleased = 0
    for sim in sims:
        failed = sim.outages.filter("unreleased").select("carrier", "window_start").rows()
        for doc in sim.releases:
            if (doc["carrier"], datetime.fromisoformat(doc["window_start"])) in failed:
                unreleased += 1
                assert not doc["feed"]["complete"]
                assert all(count["value"] is None for count in doc["counts"])
    assert unreleased > 0


def test_a_planted_surge_stands_in_the_truth_of_its_zone_and_hours_only() -> None:
    truth = month().truth
    planted = truth.filter(pl.col("surge") > 0)
    assert planted["surge"].sum() == pytest.approx(2 * 500 * 0.8, abs=8)
    assert planted.height == 2 * 2 * 2  # surges, hours, carriers
    classes = truth.select(pl.sum_horizontal("local", "official", "flip_residue", "surge") == pl.col("movements"))
    assert classes.to_series().all()


def test_simulated_noise_is_a_discrete_gaussian() -> None:
    noise = simulated_noise(np.random.default_rng(0), 9.45, (400_000,))
    assert noise.dtype == np.int64
    assert noise.mean() == pytest.approx(0, abs=0.06)
    assert noise.std() == pytest.approx(9.45, rel=0.005)
    assert (np.abs(noise) > 28).mean() == pytest.approx(0.00256, rel=0.15)


def test_plain_files_hold_one_release_a_line(tmp_path: Path) -> None:
    plain = write_releases(month().releases, tmp_path / "plain", compress=False)
    packed = write_releases(month().releases, tmp_path / "packed")
    assert [path.read_bytes() for path in plain] == [gzip.decompress(path.read_bytes()) for path in packed]
    lines = plain[1].read_bytes().splitlines()
    assert len(lines) == 28 * 24 * 2
    assert json.loads(lines[0])["window_start"] == "2026-02-01T00:00:00Z"
