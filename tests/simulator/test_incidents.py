"""Masts that fail and masts that are switched on."""

from datetime import timedelta
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bench.simulator import Edge, counted
from geofence.grid import ZoneKind
from ingest.alarms import AlarmKind, degraded_hours, read_alarms
from ingest.release import HOUR
from simulator.carrier_day import simulate_day, write_day
from simulator.events import SimulatedEvents
from simulator.incidents import Incident, NewSite, SiteOutage, parse_new_site, parse_outage
from simulator.rates import SimulationRefused
from simulator.serving import Serving
from tests.simulator.small_border import TOKEN_DAY, small_carrier, small_day, small_grid, small_place

FIRST, LAST = 6, 8
BELTS = [ix for ix, zone in enumerate(small_grid().zones) if zone.kind is ZoneKind.BELT]


@cache
def day_with(*incidents: Incident) -> SimulatedEvents:
    return simulate_day(small_day(scale=0.002, incidents=incidents), small_place().ground)


@cache
def edge() -> Edge:
    return Edge.of(small_place(), small_carrier(), day_with().plan)


def recovered(sim: SimulatedEvents) -> np.ndarray:
    return counted(edge().sightings(sim.events), edge(), TOKEN_DAY, len(small_grid().zones))


def an_outage(zone: int) -> SiteOutage:
    return SiteOutage(small_grid().zones[zone].zone_id, TOKEN_DAY + FIRST * HOUR, 2.0, 5_000)


def outages() -> list[tuple[SimulatedEvents, np.ndarray]]:
    usual = recovered(day_with())
    return [(sim, recovered(sim) - usual) for sim in (day_with(an_outage(zone)) for zone in BELTS[:4])]


def test_an_outage_of_two_hours_makes_alarms_that_the_edge_can_read(tmp_path: Path) -> None:
    sim = day_with(an_outage(BELTS[1]))
    write_day(sim, "carrier-a", tmp_path)
    feed = read_alarms(tmp_path / "alarms")
    assert feed.unread == ()
    assert [alarm.kind for alarm in feed.alarms] == [AlarmKind.OUTAGE, AlarmKind.RESTORED]
    cells = {"here": feed.alarms[0].cells or frozenset()}
    hours = [TOKEN_DAY + hour * HOUR for hour in range(24)]
    assert degraded_hours(feed.alarms, cells, hours) == set(hours[FIRST : LAST + 1])


def test_five_thousand_phones_attach_within_minutes_of_the_repair() -> None:
    sim = day_with(an_outage(BELTS[1]))
    repaired = TOKEN_DAY + LAST * HOUR
    soon = pl.col("event_time").is_between(repaired, repaired + timedelta(minutes=15))
    crowd, usual = (day.events.filter(soon)["token"].n_unique() for day in (sim, day_with()))
    assert crowd - usual > 4_500


def test_a_silent_mast_says_nothing() -> None:
    sim = day_with(an_outage(BELTS[1]))
    silent = [name.rpartition("/")[2] for name in sorted(sim.alarms[0].cells or ())]
    first = TOKEN_DAY + FIRST * HOUR
    heard = sim.events.filter(pl.col("cell_id").is_in(silent))["event_time"]
    # Clocks are wrong by seconds, of a few masts by minutes; a cell id is now and then another one's.
    inside = heard.is_between(first + timedelta(minutes=6), first + timedelta(minutes=114))
    assert inside.sum() < 0.01 * heard.len()


def test_what_an_outage_adds_to_the_counts_is_who_fell_onto_a_network_across() -> None:
    for sim, more in outages():
        fallen = int(sim.truth["fallen"].sum())
        assert more[more > 0].sum() == pytest.approx(fallen, abs=0.1 * fallen + 12)


def test_a_crowd_that_only_comes_back_is_no_movement() -> None:
    quiet = [more for sim, more in outages() if not sim.truth["fallen"].sum()]
    assert quiet, "no mast whose phones stay in reach of the own network"
    for more in quiet:
        assert more.max() <= 8  # of 5,000


def test_a_phone_whose_usual_cells_are_all_silent_looks_on() -> None:
    """Six candidates can stand on one mast; a phone that any other reaches does not fall for that."""
    one_mast = np.zeros((3, 2), dtype=np.int32) + np.array([0, 1], dtype=np.int32)
    serving = Serving(
        cell=one_mast,
        up_to=np.array([[0.5, 1.0]] * 3),
        in_reach=np.array([[True, True], [True, True], [False, False]]),
        refuge=np.array([2, -1, 2], dtype=np.int32),
        site=np.array([0, 0, 1]),
        site_xy=np.zeros((3, 2)),
        nearest_m=np.zeros(3),
    )
    served = serving.draw_without(np.random.default_rng(1), np.arange(3), np.array([True, True, False]))
    assert served.tolist() == [2, -1, 2]


def test_rows_of_everybody_else_stay_what_they_are() -> None:
    usual, with_it = day_with(), day_with(an_outage(BELTS[1]))
    before = TOKEN_DAY + FIRST * HOUR - HOUR
    early = pl.col("event_time") < before
    assert with_it.events.filter(early).equals(usual.events.filter(early))
    assert with_it.truth.drop("fallen").equals(usual.truth.drop("fallen"))


def test_a_new_site_is_in_the_plan_from_its_start_and_silent_before(tmp_path: Path) -> None:
    starts_at = TOKEN_DAY + 10 * HOUR
    sim = day_with(NewSite(small_grid().zones[BELTS[2]].zone_id, starts_at, 1_500))
    (alarm,) = sim.alarms
    assert (alarm.kind, alarm.starts_at) == (AlarmKind.NEW_SITE, starts_at)
    new = sim.plan.filter(pl.col("valid_from") == starts_at)["cell_id"].to_list()
    assert {name.rpartition("/")[2] for name in alarm.cells or ()} == set(new)
    heard = sim.events.filter(pl.col("cell_id").is_in(new))["event_time"]
    assert (heard < starts_at - timedelta(minutes=6)).sum() < 0.01 * heard.len()
    assert heard.is_between(starts_at, starts_at + 3 * HOUR).sum() > 1_000


def test_an_incident_that_cannot_be_is_refused() -> None:
    assert parse_outage("B01,6,2,5000", TOKEN_DAY) == an_outage(small_grid().zone_ix("B01"))
    assert parse_new_site("B01,0.5,100", TOKEN_DAY).starts_at == TOKEN_DAY + HOUR / 2
    for wrong in ("B01", "B01,six,2,5000", "B01,6,2,many", "B01,6,2,5000,7"):
        with pytest.raises(SimulationRefused):
            parse_outage(wrong, TOKEN_DAY)
    for wrong_incident in (SiteOutage("nowhere", TOKEN_DAY + HOUR), SiteOutage("B01", TOKEN_DAY - HOUR)):
        with pytest.raises(SimulationRefused):
            day_with(wrong_incident)
