"""The fine fidelity: a token-day of device events."""

import json
import re
from collections import Counter
from datetime import timedelta
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from geofence.grid import ZoneKind, neighbours
from geofence.locate import locate_cells
from ingest.attachment import TOKEN_PATTERN, Attachment, AttachmentRefused, Refusal, judge, parse_line
from ingest.release import HOUR
from movement.advance import SIGHTING_SCHEMA, advance, empty_carry_over
from movement.ground import make_ground
from movement.sighting import Networks, Place, side_of
from simulator.counts import simulate_counts
from simulator.events import EVENT_SCHEMA, SimulatedEvents, simulate_events, write_events
from simulator.rates import draw_law
from simulator.realism import Gate, gates_text, realism_gates
from simulator.surges import Surge, SurgeSize, place_surges
from tests.simulator.small_border import ACROSS, OWN, TOKEN_DAY, small_border, small_grid, small_ground, small_plan

SHARE = 0.12


@cache
def surges() -> tuple[Surge, ...]:
    grid = small_grid()
    plan = [SurgeSize(300, 2, "burst"), SurgeSize(500, 3, "ramp", 2)]
    return place_surges(grid, neighbours(grid), start=TOKEN_DAY, end=TOKEN_DAY + 24 * HOUR, seed=5, plan=plan)


def day(seed: int = 5, scale: float = 0.02) -> SimulatedEvents:
    return simulate_events(
        small_grid(),
        small_plan(),
        small_border(),
        token_day_start=TOKEN_DAY,
        carrier_share=SHARE,
        own_plmn=OWN,
        across_plmns=ACROSS,
        surges=surges(),
        seed=seed,
        scale=scale,
        ground=small_ground(),
    )


@cache
def one_day() -> SimulatedEvents:
    return day()


def test_a_seed_gives_the_same_day() -> None:
    assert day().events.equals(one_day().events)
    assert not day(seed=6).events.equals(one_day().events)


def test_rows_keep_the_columns_and_the_order_of_the_contract() -> None:
    events = one_day().events
    assert events.schema == pl.Schema(EVENT_SCHEMA)
    assert events["ingest_time"].is_sorted()
    assert events["event_time"].is_between(TOKEN_DAY, TOKEN_DAY + 24 * HOUR, closed="left").all()
    grammar = re.compile(TOKEN_PATTERN)
    assert all(grammar.fullmatch(token) for token in events["token"].unique())


def test_the_door_refuses_only_what_the_feed_spoiled(tmp_path: Path) -> None:
    write_events(one_day(), tmp_path, format="ndjson")
    lines = pl.read_ndjson(sorted(tmp_path.glob("attachments-20260303T03*"))[0], infer_schema_length=None)
    verdicts: Counter[str] = Counter()
    for line in lines.write_ndjson().encode().splitlines():
        try:
            judge(parse_line(line))
        except AttachmentRefused as refused:
            verdicts[refused.reason] += 1
        else:
            verdicts["taken in"] += 1
    spoiled = {Refusal.LATE, Refusal.FUTURE, Refusal.CELL_ID, Refusal.CELL_MISSING}
    assert set(verdicts) - {"taken in"} <= spoiled
    assert verdicts["taken in"] / verdicts.total() > 0.95


def test_truth_is_that_of_the_counts_of_the_same_seed() -> None:
    grid = small_grid()
    counts = simulate_counts(
        grid,
        neighbours(grid),
        start=TOKEN_DAY,
        end=TOKEN_DAY + 24 * HOUR,
        carriers={OWN: SHARE},
        surges=surges(),
        seed=5,
    )
    assert counts.outages.is_empty()
    keys = ["window_start", "zone_id", "direction"]
    assert one_day().truth.drop("cancelled").sort(keys).equals(counts.truth.drop("carrier").sort(keys))


def test_the_law_the_truth_and_what_the_movement_rules_recover_agree() -> None:
    recovered = recover(day(scale=0.005).events)
    truth = one_day().truth["movements"].to_numpy().reshape(24, -1, 2)
    law = draw_law(small_grid(), neighbours(small_grid()), seed=5).intensity(TOKEN_DAY, 24).sum(axis=0) * SHARE
    planted = one_day().truth["surge"].to_numpy().reshape(24, -1, 2)

    assert truth.sum() - planted.sum() == pytest.approx(law.sum(), rel=0.05)
    # Rows lost on the way cost a little; some tracks run along the edge of a zone.
    assert recovered.sum() == pytest.approx(truth.sum(), rel=0.03)
    by_zone = (truth.sum(axis=(0, 2)), recovered.sum(axis=(0, 2)))
    expected, found = by_zone
    assert (np.abs(found - expected) <= 0.15 * expected + 3 * np.sqrt(expected)).mean() >= 0.9
    assert np.abs(recovered - truth).sum() / truth.sum() < 0.15
    gates = np.array([zone.kind is ZoneKind.CROSSING_POINT for zone in small_grid().zones])
    assert found[gates].sum() == pytest.approx(expected[gates].sum(), rel=0.05)


def test_flips_are_in_the_feed_and_not_in_the_truth_of_movements() -> None:
    truth = one_day().truth
    assert truth["cancelled"].sum() > 20
    assert (
        truth["movements"] == truth.select(pl.sum_horizontal("local", "official", "flip_residue", "surge")).to_series()
    ).all()


def test_movements_stay_when_the_bystanders_are_thinned() -> None:
    fewer = day(scale=0.005)
    assert fewer.truth["movements"].equals(one_day().truth["movements"])
    assert fewer.events.height < one_day().events.height


def test_a_surge_is_made_of_devices_in_its_own_zones() -> None:
    sim = one_day()
    planted = sum(surge.size for surge in surges()) * SHARE
    crowd = sim.trace.filter(pl.col("class") == "surge")
    assert crowd["device"].n_unique() == pytest.approx(planted, abs=8)
    zones = {sim.spots["zone"][spot] for spot in crowd["spot"].unique() if spot >= 0}
    named = {zone_id for surge in surges() for zone_id in surge.zone_ids}
    assert {small_grid().zones[zone].zone_id for zone in zones} <= named


def test_drop_files_are_hourly_by_ingest_and_marks_pass_the_last_cut(tmp_path: Path) -> None:
    sim = one_day()
    paths = write_events(sim, tmp_path)
    drops = [path for path in paths if path.suffix == ".parquet"]
    assert len(drops) >= 24
    whole = pl.concat([pl.read_parquet(path) for path in drops])
    assert whole.equals(sim.events)
    first = pl.read_parquet(drops[0])["ingest_time"]
    assert first.is_between(TOKEN_DAY, TOKEN_DAY + HOUR, closed="left").all()
    marks = [json.loads(line) for line in (tmp_path / "marks.ndjson").read_text().splitlines()]
    assert set(marks[0]) == {"source", "partition", "covers_until"}
    assert sim.marks["covers_until"].max() >= TOKEN_DAY + timedelta(hours=25)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths}  # no truth beside them


def test_the_gates_of_the_feed_and_of_people_hold() -> None:
    gates = realism_gates(day(scale=0.05), small_plan(), small_ground())
    failed = set(gates.filter(~pl.col("passed"))["gate"])
    # The law asks for busy belts, so that something is published; real borders see far more at their crossing points.
    assert failed <= {"official share of movements", "cell error, median in town (km)", "serving mast is the nearest"}
    assert gates_text(gates).count("\n") == gates.height - 1


def test_a_figure_out_of_range_or_missing_fails_its_gate() -> None:
    assert not Gate("speed", 141.0, 0, 140, "section 10").passed
    assert not Gate("speed", float("nan"), 0, 140, "section 10").passed
    assert Gate("speed", 140.0, 0, 140, "section 10").passed


def test_a_day_that_does_not_start_at_the_turn_is_refused() -> None:
    with pytest.raises(ValueError, match="turn hour"):
        simulate_events(
            small_grid(),
            small_plan(),
            small_border(),
            token_day_start=TOKEN_DAY + HOUR,
            carrier_share=SHARE,
            own_plmn=OWN,
            across_plmns=ACROSS,
            surges=(),
            seed=1,
        )


def recover(events: pl.DataFrame) -> np.ndarray:
    """Movements by (hour, zone, direction) that the edge would count, by its own rules."""
    grid = small_grid()
    located = locate_cells(small_plan(), grid, small_border().line)
    networks = Networks(frozenset({OWN}), frozenset(ACROSS))
    zone = {(r["rat"], r["plmn"], r["cell_id"]): (r["cell"], r["zone"]) for r in located.cells.to_dicts()}
    numbers: dict[str, bytes] = {}
    rows: list[tuple[bytes, int, int, int]] = []
    text = events.with_columns(pl.col("event_time", "ingest_time").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
    for row in text.iter_rows(named=True):
        try:
            seen: Attachment = judge(row)
        except AttachmentRefused:
            continue
        cell, at = zone.get((seen.rat, seen.plmn, seen.cell_id), (-1, -1)) if seen.rat else (-1, -1)
        place = (
            Place.NONE if seen.rat is None else Place.UNKNOWN if cell < 0 else Place.BELT if at >= 0 else Place.INLAND
        )
        decision = side_of(
            seen.event_type, seen.domain, networks.network_of(seen.plmn), networks.network_of(seen.previous_plmn), place
        )
        if decision.side is not None:
            token = numbers.setdefault(seen.token, len(numbers).to_bytes(16, "big"))
            rows.append((token, round(seen.event_time.timestamp() * 1000), cell, int(decision.side)))
    sightings = pl.DataFrame(rows, schema=SIGHTING_SCHEMA, orient="row")
    ground = make_ground(
        located.cells["zone"].to_numpy(),
        np.array([zone.kind is ZoneKind.CROSSING_POINT for zone in grid.zones]),
        located.overlaps.to_numpy(),
    )
    counted = np.zeros((24, len(grid.zones), 2), dtype=np.int64)
    carried = empty_carry_over()
    first = int(TOKEN_DAY.timestamp() * 1000)
    for hour in range(25):
        start = first + hour * 3_600_000
        part = sightings.filter(pl.col("event_time").is_between(start, start + 3_600_000, closed="left"))
        step = advance(carried, part, ground, hour_start_ms=start, k=2)
        carried = step.carry_over
        for zone_ix, direction, count in step.counts.iter_rows():
            counted[hour - 1, zone_ix, direction] += count
    return counted
