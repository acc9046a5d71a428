"""Three carriers on one border."""

from functools import cache
from pathlib import Path

import polars as pl
import pytest

from geofence.grid import neighbours
from ingest.release import HOUR
from simulator.carrier_day import simulate_day, simulate_days
from simulator.carriers import Carrier, chosen_carriers, networks_across, shares_of, three_carriers
from simulator.counts import simulate_counts
from simulator.events import SimulatedEvents
from simulator.network import simulate_network
from simulator.rates import SimulationRefused
from simulator.surges import SurgeSize, place_surges
from tests.simulator.small_border import TOKEN_DAY, small_border, small_day, small_grid, small_ground

CARRIERS = three_carriers("VN")


@cache
def surges():
    grid = small_grid()
    plan = [SurgeSize(500, 2, "burst")]
    return place_surges(grid, neighbours(grid), start=TOKEN_DAY, end=TOKEN_DAY + 24 * HOUR, seed=5, plan=plan)


@cache
def days() -> list[SimulatedEvents]:
    return [
        simulate_day(small_day(carrier=carrier, scale=0.002, surges=surges()), small_ground()) for carrier in CARRIERS
    ]


def test_three_carriers_share_one_market_on_networks_of_their_own() -> None:
    assert [carrier.share for carrier in CARRIERS] == [0.45, 0.35, 0.20]
    assert len({carrier.plmn for carrier in CARRIERS}) == 3
    assert not {carrier.plmn for carrier in CARRIERS} & set(networks_across("KH"))
    assert len(three_carriers("MC")) == 3  # a country with fewer networks in the list
    with pytest.raises(SimulationRefused):
        shares_of([Carrier("a", "452-04", 0.6), Carrier("b", "452-02", 0.5)])


def test_every_device_has_one_carrier_and_names_its_network() -> None:
    tokens = [set(sim.events["token"].unique()) for sim in days()]
    assert len(set().union(*tokens)) == sum(map(len, tokens))
    for sim, carrier in zip(days(), CARRIERS, strict=True):
        assert set(sim.events.filter(pl.col("rat").is_not_null())["plmn"].unique()) == {carrier.plmn}


def test_carriers_see_their_share_of_the_law_and_of_a_surge() -> None:
    moved = [int(sim.truth["movements"].sum()) for sim in days()]
    crowd = [int(sim.truth["surge"].sum()) for sim in days()]
    for carrier, mine, surge in zip(CARRIERS, moved, crowd, strict=True):
        assert mine / sum(moved) == pytest.approx(carrier.share, abs=0.02)
        assert surge == pytest.approx(500 * carrier.share, abs=3)


def test_counts_of_several_carriers_are_the_truth_of_their_events() -> None:
    grid = small_grid()
    counts = simulate_counts(
        grid,
        neighbours(grid),
        start=TOKEN_DAY,
        end=TOKEN_DAY + 24 * HOUR,
        carriers=shares_of(CARRIERS),
        surges=surges(),
        seed=5,
        outages_per_month=0.0,
    )
    keys = ["window_start", "zone_id", "direction"]
    for sim, carrier in zip(days(), CARRIERS, strict=True):
        mine = counts.truth.filter(pl.col("carrier") == carrier.name).drop("carrier").sort(keys)
        assert mine.equals(sim.truth.drop("cancelled", "fallen").sort(keys))


def test_some_masts_are_shared_and_most_are_not() -> None:
    plans = [
        simulate_network(small_grid(), small_border(), plmn=carrier.plmn, seed=5, ground=small_ground())
        for carrier in CARRIERS
    ]
    masts = [set(plan.select("lon", "lat").unique().iter_rows()) for plan in plans]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert 0.05 < len(masts[one] & masts[other]) / len(masts[one]) < 0.6


def test_carriers_go_to_folders_of_their_own_and_more_processes_change_nothing(tmp_path: Path) -> None:
    asked = [small_day(carrier=carrier, scale=0.001) for carrier in CARRIERS[1:]]
    one = list(simulate_days(asked, tmp_path / "one"))
    two = list(simulate_days(asked, tmp_path / "two", processes=2))
    assert one == two
    files = [sorted((tmp_path / name).rglob("*.*")) for name in ("one", "two")]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]
    for carrier in CARRIERS[1:]:
        names = {path.name for path in (tmp_path / "one" / carrier.name).iterdir()}
        assert names == {"cells.csv", "feed", "alarms", "truth.parquet"}


def test_a_carrier_that_nobody_knows_is_refused() -> None:
    assert [carrier.name for carrier in chosen_carriers([], home="VN")] == ["carrier-a", "carrier-b", "carrier-c"]
    for wrong in ("nobody", "a=452-04", "a=45204=0.5", "a=452-04=2"):
        with pytest.raises(SimulationRefused):
            chosen_carriers([wrong], home="VN")
