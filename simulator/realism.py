"""Realism gates: figures of a simulated day beside those of notes/telecom.md, with a verdict.

A failed gate is shown, not tuned away. The sections named are those of notes/telecom.md.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time

import numpy as np
import polars as pl
import shapely

from ingest.release import HOUR
from simulator.diary import BYSTANDERS
from simulator.events import SimulatedEvents
from simulator.ground import Floats, Ground, distances_m
from simulator.radio import NO_CELL
from simulator.rates import ARRIVAL, DEPARTURE, OBSERVE_LUNAR_NEW_YEAR, MovementClass, TrafficLaw, lunar_new_year

RESIDENTS = ("still", "commuter")
TOWN_MAST_M, RURAL_MAST_M = 700.0, 1_500.0
LATE = pl.duration(minutes=10)
FLIP_S = 3_600.0
BEYOND_LINE_M = 2_000.0
MOST_ROWS = 500_000
OFFICIAL_SHARE = "official share of movements"
STEP_S = 1.0  # shorter gaps between spots say nothing of a speed


@dataclass(frozen=True, slots=True)
class Gate:
    """One figure and the range it should lie in."""

    name: str
    measured: float
    low: float
    high: float
    source: str

    @property
    def passed(self) -> bool:
        """Whether the figure lies in its range; a figure that could not be measured does not."""
        return bool(self.low <= self.measured <= self.high)


def realism_gates(sim: SimulatedEvents, plan: pl.DataFrame, ground: Ground, law: TrafficLaw) -> pl.DataFrame:
    """Columns gate, measured, low, high, source, passed; one row a gate. `law` is the one that the day was drawn from."""
    gates = [*_talk(sim), *_radio(sim, plan, ground), *_feed(sim, plan), *_people(sim), *_calendar_shapes(sim, law)]
    return pl.DataFrame(
        {
            "gate": [gate.name for gate in gates],
            "measured": [round(gate.measured, 4) for gate in gates],
            "low": [float(gate.low) for gate in gates],
            "high": [float(gate.high) for gate in gates],
            "source": [gate.source for gate in gates],
            "passed": [gate.passed for gate in gates],
        }
    )


def gates_text(gates: pl.DataFrame) -> str:
    """The gates as lines to print."""
    lines = []
    for row in gates.iter_rows(named=True):
        verdict = "ok  " if row["passed"] else "FAIL"
        span = f"{row['low']:g} .. {row['high']:g}"
        lines.append(f"{verdict} {row['gate']:<44} {row['measured']:>10.4g}   {span:<16} {row['source']}")
    return "\n".join(lines)


def _talk(sim: SimulatedEvents) -> list[Gate]:
    residents = sim.trace.filter(pl.col("class").is_in(RESIDENTS), pl.col("cell") != NO_CELL)
    per_device = residents.group_by("device").len()["len"].mean()
    waits = residents.select(
        wait=pl.col("at_s").diff().over("device", order_by="at_s"),
    )["wait"].drop_nulls()
    mean, spread = waits.mean(), waits.std()
    cells = residents.filter(
        (pl.col("cell") != pl.col("cell").shift(1).over("device", order_by="at_s")).fill_null(True)
    ).with_columns(before_last=pl.col("cell").shift(2).over("device", order_by="at_s"))
    triples = cells.filter(pl.col("before_last").is_not_null())
    back = (triples["cell"] == triples["before_last"]).mean()
    return [
        Gate("events per resident device and day", _number(per_device), 80, 250, "section 10"),
        Gate("inter-event coefficient of variation", _number(spread) / _number(mean), 2, 20, "section 10"),
        Gate("A-B-A share of cell changes", _number(back), 0.40, 0.75, "section 10"),
    ]


def _radio(sim: SimulatedEvents, plan: pl.DataFrame, ground: Ground) -> list[Gate]:
    x, y = ground.plane.xy(plan["lon"].to_numpy(), plan["lat"].to_numpy())
    masts = np.column_stack([x, y])
    rows = sim.trace.filter(pl.col("cell") != NO_CELL, pl.col("spot") >= 0)
    spot, cell = rows["spot"].to_numpy(), rows["cell"].to_numpy()
    at = sim.spots.select("x_m", "y_m").to_numpy()
    error_m = np.hypot(*(at[spot] - masts[cell]).T)
    nearest_m = sim.spots["nearest_mast_m"].to_numpy()[spot]
    town, rural = nearest_m < TOWN_MAST_M, nearest_m > RURAL_MAST_M
    reach = plan["range_m"].to_numpy()
    beyond = _beyond_line(ground)
    served = (distances_m(beyond, masts) < reach).any(axis=1).mean() if len(beyond) else np.nan
    return [
        Gate("serving mast is the nearest", float(np.mean(error_m < nearest_m + 1)), 0.40, 0.75, "section 10"),
        Gate("cell error, median in town (km)", _median_km(error_m[town]), 0.3, 1.0, "section 10"),
        Gate("cell error, median rural (km)", _median_km(error_m[rural]), 2.0, 5.0, "section 10"),
        Gate("cell error, 95th percentile (km)", float(np.percentile(error_m, 95)) / 1e3, 0.0, 20.0, "section 10"),
        Gate("home service 2 km beyond the line", float(served), 0.30, 0.98, "section 10"),
    ]


def _beyond_line(ground: Ground) -> Floats:
    """Points 2 km beyond the line, straight across from the doors."""
    doors = np.concatenate(ground.doors)
    foot = shapely.get_coordinates(shapely.shortest_line(shapely.points(doors), ground.line))[1::2]
    across = foot - doors
    return np.asarray(foot + across / np.maximum(np.hypot(*across.T), 1.0)[:, None] * BEYOND_LINE_M)


def _feed(sim: SimulatedEvents, plan: pl.DataFrame) -> list[Gate]:
    events = sim.events
    if events.height > MOST_ROWS:
        # Tokens are random, so those of some first letters are a fair sample of devices.
        events = events.filter(pl.col("token").str.head(1).is_in(list("abcd")))
    late = events.select((pl.col("ingest_time") - pl.col("event_time") > LATE).mean()).item()
    pair = pl.col("event_time").diff().over("token", mapping_strategy="group_to_rows")
    disordered = events.select((pair < pl.duration(seconds=0)).mean()).item()
    doubles = 1 - events.n_unique() / events.height
    placed = events.filter(pl.col("rat").is_not_null())
    moments = placed.group_by("token", "event_time").agg(cells=pl.col("cell_id").drop_nulls().n_unique())
    elsewhere = (moments["cells"] > 1).mean()
    planned = placed.join(plan.select("rat", "plmn", "cell_id").unique(), on=["rat", "plmn", "cell_id"], how="semi")
    formed = placed.filter(pl.col("cell_id").str.contains(r"^(?:[0-9a-f]{7}|[0-9a-f]{8}|[0-9a-f]{9})$"))
    width = pl.col("rat").replace_strict({"GERA": 8, "UTRA": 7, "EUTRA": 7, "NR": 9}, return_dtype=pl.UInt32)
    formed = formed.filter(pl.col("cell_id").str.len_chars() == width)
    null = placed["cell_id"].null_count()
    count = placed.height
    return [
        Gate("rows later than 10 min", _number(late), 0.005, 0.02, "section 10"),
        Gate("pairs of a token out of order", _number(disordered), 0.03, 0.08, "section 6"),
        Gate("exact duplicates", doubles, 0.005, 0.02, "section 6"),
        Gate("same token and time, other cell", _number(elsewhere), 0.001, 0.005, "section 6"),
        Gate("null cells", null / count, 0.01, 0.03, "section 6"),
        Gate("malformed cells", (count - null - formed.height) / count, 0.003, 0.01, "section 6"),
        Gate("cells not in the plan", (formed.height - planned.height) / count, 0.005, 0.02, "section 6"),
    ]


def _people(sim: SimulatedEvents) -> list[Gate]:
    trace = sim.trace
    at_spot = trace.filter(pl.col("spot") >= 0).join(
        sim.spots.with_row_index("spot").select(pl.col("spot").cast(pl.Int32), "x_m", "y_m", "zone"), on="spot"
    )
    moves = at_spot.select(
        step=(
            pl.col("x_m").diff().over("device", order_by="at_s") ** 2
            + pl.col("y_m").diff().over("device", order_by="at_s") ** 2
        ).sqrt(),
        wait=pl.col("at_s").diff().over("device", order_by="at_s"),
    ).filter(pl.col("step") > 0)
    fastest = moves.select((pl.col("step") / pl.col("wait").clip(STEP_S) * 3.6).max()).item()

    home = pl.col("cell") != NO_CELL
    bystanders = trace.filter(pl.col("class").is_in(list(BYSTANDERS)))
    flips = bystanders.with_columns(home=home).filter(
        ~pl.col("home"),
        pl.col("home").shift(1).over("device", order_by="at_s").fill_null(False),
        pl.col("home").shift(-1).over("device", order_by="at_s").fill_null(False),
        pl.col("at_s").shift(-1).over("device", order_by="at_s") - pl.col("at_s") < FLIP_S,
    )
    in_belt = at_spot.filter(pl.col("class").is_in(list(BYSTANDERS)), pl.col("zone") >= 0)["device"].n_unique()
    silent = _number(sim.events.filter(pl.col("event_type") == "implicit_detach").height)
    local = int(sim.truth[str(MovementClass.LOCAL)].sum())
    official = int(sim.truth[str(MovementClass.OFFICIAL)].sum())
    usual = local + official + int(sim.truth[str(MovementClass.FLIP_RESIDUE)].sum())
    return [
        Gate("fastest device (km/h)", _number(fastest), 0, 140, "section 10"),
        Gate("belt devices that flip in a day", flips["device"].n_unique() / max(in_belt, 1), 0.01, 0.04, "section 7"),
        Gate("implicit detaches", silent, 1, float("inf"), "section 1"),
        # 5-19 k devices at crossing points beside 0.2-1.5 k at local openings, per 100 km; a planted surge is neither.
        Gate(OFFICIAL_SHARE, official / max(official + local, 1), 0.77, 0.99, "section 10"),
        Gate("official share with what radio leaves behind", official / max(usual, 1), 0.77, 0.99, "section 10"),
    ]


def _calendar_shapes(sim: SimulatedEvents, law: TrafficLaw) -> list[Gate]:
    """Shapes of the day, the week and the year: of the events themselves, and of the law without its noise."""
    said = sim.trace.filter(pl.col("class").is_in(RESIDENTS), pl.col("cell") != NO_CELL)
    by_hour = np.bincount((said["at_s"].to_numpy() // 3_600).astype(np.int64), minlength=24)
    # Four weeks of late autumn: no harvest, no season of labour, hardly a public holiday.
    first = datetime(sim.token_day_start.year, 11, 2, tzinfo=UTC) - law.utc_offset_h * HOUR
    local, official, _ = law.intensity(first, 24 * 28, noise=False)
    belt, gate = ~law.crossing_point, law.crossing_point
    weekday = (first + law.utc_offset_h * HOUR).weekday()
    days = (np.arange(28) + weekday) % 7
    at_market = local[..., DEPARTURE].reshape(28, 24, -1)[:, 4:15].sum(axis=1)
    with_market = np.flatnonzero(belt & (law.market_weekday >= 0))
    market = [
        float(
            at_market[days == law.market_weekday[zone], zone].mean()
            / at_market[days != law.market_weekday[zone], zone].mean()
        )
        for zone in with_market
    ]
    gates = [
        Gate("busiest hour of events, over the mean", float(by_hour.max() / by_hour.mean()), 1.8, 3.0, "section 3"),
        Gate("busiest hour at local openings, over the mean", _peak(local[:, belt]), 2.0, 5.0, "section 9"),
        Gate("busiest hour at crossing points, over the mean", _peak(official[:, gate]), 2.0, 5.0, "section 9"),
        Gate("market day, over the other days", float(np.median(market)) if market else np.nan, 2.0, 5.0, "section 9"),
    ]
    if law.home in OBSERVE_LUNAR_NEW_YEAR:
        feast = datetime.combine(lunar_new_year(first.year), time(0), UTC) - law.utc_offset_h * HOUR
        coming = law.intensity(feast - 7 * 24 * HOUR, 24 * 7, noise=False)[0][:, belt, ARRIVAL].sum(axis=0)
        usual = local[:, belt, ARRIVAL].sum(axis=0) / 4
        name = "arrivals in the week before the lunar new year"
        gates.append(Gate(name, float(np.median(coming / usual)), 2.0, 5.0, "section 9"))
    return gates


def _peak(by_hour: Floats) -> float:
    """The busiest hour of the day over the mean hour, median of zones; `by_hour` by (hour, zone, direction)."""
    if not by_hour.shape[1]:
        return float("nan")
    day = by_hour.sum(axis=2).reshape(-1, 24, by_hour.shape[1]).mean(axis=0)
    return float(np.median(day.max(axis=0) / day.mean(axis=0)))


def _median_km(distance_m: Floats) -> float:
    return float(np.median(distance_m)) / 1e3 if len(distance_m) else float("nan")


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
