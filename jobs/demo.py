"""The demo: a simulated Vietnam-Cambodia border, months of counts, one day of events through Spark, alerts on a map.

Every number comes out of the real parts: the simulator only stands in for carriers' networks and for past months.
"""

import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from geofence.border import read_border
from geofence.build import build_zone_grid
from geofence.grid import neighbours, write_zone_grid
from ingest.release import HOUR
from jobs.centre import open_store, read_releases, release_files, run_backtest, run_detect, run_train, take_in
from jobs.edge import open_edge, place_cells, row_tally, run_close, run_sight
from jobs.milestone import milestones
from jobs.settings import CentreSettings, EdgeSettings, read_settings
from jobs.spark import edge_session
from jobs.tables import EdgeFolder
from simulator.counts import simulate_counts
from simulator.events import SimulatedEvents, simulate_events, write_events
from simulator.network import simulate_network
from simulator.rates import draw_law
from simulator.surges import SURGE_PLAN, SurgeSize, place_surges, surge_truth

CARRIER = "carrier-a"
SHARE = 0.45  # of the market; the other carriers do not take part in the demo
OWN_PLMN = "452-04"
ACROSS_PLMNS = ("456-01", "456-06", "456-08")
TURN_HOUR_UTC = 20  # 03:00 in Vietnam
EVENT_DAY = datetime(2026, 6, 24, TURN_HOUR_UTC, tzinfo=UTC)
HISTORY = timedelta(days=180)
TESTED = timedelta(days=30)  # at the end of the history: never learned from, surges planted in it
SHOWN_UNTIL = EVENT_DAY + timedelta(hours=14)  # what the carrier has delivered when the demo ends: 17:00 in Vietnam
LAST_WINDOW = EVENT_DAY + timedelta(hours=11)  # the newest that is then due: settled, late rows in, released
# Fixed here, before any seed is drawn.
EVENT_SURGES = (SurgeSize(300, 1, "burst"), SurgeSize(500, 2, "burst"), SurgeSize(500, 3, "ramp", 2))
BYSTANDERS = 0.01
"""How many of the people who go nowhere are simulated; those who move all are."""


class DemoRefused(ValueError):
    """The demo cannot run where it was asked to."""


@dataclass
class Stages:
    """Seconds of each stage, told as they pass."""

    tell: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, title: str) -> Iterator[None]:
        """Time one stage."""
        self.tell(title)
        began = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - began, 1)


def run_demo(folder: Path, *, seed: int | None, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the whole way into an empty folder; give the report that `tidemark demo --json` prints."""
    seed = secrets.randbelow(2**31) if seed is None else seed
    _empty(folder)
    edge_settings, centre_settings = demo_settings(folder)
    stages = Stages(tell)
    border = read_border("VN-KH")

    with stages.stage("zones", "Building the zone grid of Vietnam-Cambodia"):
        grid = build_zone_grid(
            border, "VN", valid_from=EVENT_DAY - HISTORY - timedelta(days=1), turn_hour_utc=TURN_HOUR_UTC
        )
        write_zone_grid(grid, folder / "zones.geojson")
        touching = neighbours(grid)

    law = draw_law(grid, touching, seed=seed)
    history_start, test_start = EVENT_DAY - HISTORY, EVENT_DAY - TESTED
    tested = place_surges(grid, touching, start=test_start, end=EVENT_DAY - HOUR * 6, seed=seed, plan=SURGE_PLAN)
    planted = place_surges(
        grid, touching, start=EVENT_DAY + HOUR * 3, end=LAST_WINDOW + HOUR, seed=seed + 1, plan=EVENT_SURGES
    )

    with stages.stage("history", "Simulating six months of published counts"):
        store = open_store(centre_settings)
        store.put_grid(grid.document)
        store.put_carrier(CARRIER, "Carrier A (simulated)", share=SHARE)
        simulated = simulate_counts(
            grid,
            touching,
            start=history_start,
            end=EVENT_DAY,
            carriers={CARRIER: SHARE},
            surges=tested,
            seed=seed,
            law=law,
        )
        past = take_in(store, simulated.releases, now=EVENT_DAY + HOUR * 2)
    with stages.stage("events", "Simulating a day of cell-attachment events"):
        plan = simulate_network(grid, border, plmn=OWN_PLMN, seed=seed)
        plan.write_csv(folder / "cells.csv", datetime_format="%Y-%m-%dT%H:%M:%SZ")
        day = simulate_events(
            grid,
            plan,
            border,
            token_day_start=EVENT_DAY,
            carrier_share=SHARE,
            own_plmn=OWN_PLMN,
            across_plmns=ACROSS_PLMNS,
            surges=planted,
            seed=seed,
            neighbours=touching,
            scale=BYSTANDERS,
            law=law,
        )
        write_events(_delivered(day, SHOWN_UNTIL), folder / "feed")
    edge_folder, quiet, now = EdgeFolder(edge_settings.state), milestones(None), datetime.now(UTC)
    with edge_folder.held():
        with stages.stage("spark", "Starting Spark"):
            placed = place_cells(edge_settings)
            spark = edge_session(master=edge_settings.master, scratch=edge_folder.scratch)
        try:
            with stages.stage("sight", "Sighting: events to the sightings table"):
                run_sight(spark, edge_settings, placed, quiet, now=now)
            edge = open_edge(edge_settings, placed, quiet)
            with stages.stage("close", "Closing the hours: counts, noise, releases"):
                entries = run_close(spark, edge_settings, edge, now=now, progress=lambda _: None)
            tally = row_tally(edge_folder)
        finally:
            spark.stop()
    with stages.stage("intake", "Taking the day's releases in at the centre"):
        taken = take_in(store, read_releases(release_files(edge_folder.releases)), now=SHOWN_UNTIL)
    with stages.stage("train", "Learning what is usual"):
        for sector_id in sorted({zone.sector_id for zone in grid.zones}):
            store.put_arming(
                sector_id,
                legal_basis="none needed: a demonstration on simulated data",
                impact_assessment="none needed: a demonstration on simulated data",
                armed_from=test_start,
                expires_at=EVENT_DAY + timedelta(days=2),
            )
        trained = run_train(
            store,
            centre_settings,
            first_window=history_start,
            last_window=test_start - HOUR,
            proposed_by="demo",
            approved_by="demo, second person",
            reason="first thresholds, from the held-out part of the simulated history",
        )
    with stages.stage("detect", "Flagging what is unusual"):
        run_detect(store, centre_settings, first_window=test_start, last_window=EVENT_DAY - HOUR, simulated=True)
        run_detect(store, centre_settings, first_window=EVENT_DAY, last_window=LAST_WINDOW, simulated=True)
    with stages.stage("backtest", "Holding it against what was planted"):
        month = run_backtest(
            store, centre_settings, surge_truth(tested), first_window=test_start, last_window=EVENT_DAY - HOUR
        )
        through_spark = run_backtest(
            store, centre_settings, surge_truth(planted), first_window=EVENT_DAY, last_window=LAST_WINDOW
        )
    digests = {entry.digest for entry in entries}
    alerts = [alert for alert in store.alerts_ending_after(EVENT_DAY) if digests & set(alert["release_digests"])]
    store.close()
    values = [count["value"] for entry in entries for count in entry.document["counts"]]
    refused = {name.removeprefix("refused:"): n for name, n in tally.items() if name.startswith(("refused:", "file_"))}
    return {
        "seed": seed,
        "simulated": True,
        "events_read": tally.get("received", 0),
        "refused_by_reason": refused,
        "sightings": tally.get("sighting", 0) + tally.get("roaming_kept", 0),
        "rows": {name: n for name, n in sorted(tally.items()) if ":" not in name},
        "hours_closed": len(entries),
        "releases": {"history": past, "from_this_run": taken},
        "share_suppressed": round(sum(value is None for value in values) / max(len(values), 1), 4),
        "model": trained,
        "false_flags_per_zone_month": round(month["false_flags_per_zone_month"], 4),
        "false_alerts_per_zone_month": round(month["false_alerts_per_zone_month"], 4),
        "zone_months": round(month["zone_months"], 1),
        "surges_in_the_month": _found(month),
        "surges_through_spark": _found(through_spark),
        "alerts": [_told(alert, digests) for alert in alerts],
        "ledger": asdict(edge.ledger.verify()),
        "seconds": stages.seconds,
    }


def _empty(folder: Path) -> None:
    """An empty folder of the demo's own; raises DemoRefused rather than touch another one."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / "tidemark.toml").is_file() or _FIRST_LINE not in (folder / "tidemark.toml").read_text():
            raise DemoRefused("the demo's folder holds something that is not the demo's: name an empty one")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)


def demo_settings(folder: Path) -> tuple[EdgeSettings, CentreSettings]:
    """What the demo runs with; the same values are written to `tidemark.toml` in its folder."""
    path = folder / "tidemark.toml"
    path.write_text(_SETTINGS.format(store=(folder / "centre.sqlite").as_posix()), encoding="utf-8")
    settings = read_settings(path)
    assert settings.edge is not None
    return settings.edge, settings.centre


def demo_clock(began: float) -> Callable[[], datetime]:
    """The hour of the border that the demo's page shows: that of the last delivery, and time goes on from there."""
    return lambda: SHOWN_UNTIL + timedelta(seconds=time.monotonic() - began)


def _delivered(day: SimulatedEvents, until: datetime) -> SimulatedEvents:
    """What of a simulated day has arrived, and been vouched for, by an instant."""
    return replace(
        day,
        events=day.events.filter(pl.col("ingest_time") <= until),
        marks=day.marks.filter(pl.col("covers_until") <= until),
    )


def _found(result: dict[str, Any]) -> dict[str, Any]:
    sizes = {
        size: f"{result['found_by_size'].get(size, 0)}/{count}" for size, count in result["planted_by_size"].items()
    }
    return {"found": result["found"], "planted": result["planted"], "by_size": sizes}


def _told(alert: dict[str, Any], digests: set[str]) -> dict[str, Any]:
    names = ("alert_id", "sector_id", "zone_ids", "direction", "window_start", "window_end", "severity", "observed")
    told = {name: alert[name] for name in (*names, "expected", "excess", "probability", "reasons")}
    return {**told, "rests_on_releases_of_this_run": sorted(digests & set(alert["release_digests"]))}


_FIRST_LINE = "# The demo's settings. Everything in it is simulated."
_SETTINGS = (
    f"{_FIRST_LINE}\n"
    + """\
[edge]
carrier = "carrier-a"
own_networks = ["452-04"]
networks_across = ["456-01", "456-06", "456-08"]
border = "VN-KH"
zone_grid = "zones.geojson"
cell_plan = "cells.csv"
source = "feed"
marks = "feed"
state = "edge"
replay = true

[centre]
store = "sqlite:///{store}"
models = "models"
sign_in = "development"
accept_lineages = ["live", "replay", "simulated"]

[centre.notice]
operator = "nobody: this border is simulated"
complaints = "nobody is counted here; a real deployment names a person and an address"
authority = "a real deployment names the data protection authority"
opt_out = "a real deployment says how a carrier leaves a SIM out before tokens are made"
ends_on = 2026-12-31
"""
)
