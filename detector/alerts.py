"""Alerts: flags that belong together, told as one thing that grows, is revised and ends (design.md, 4.5).

Flags of one sector and direction belong together when their zones are the same or touch and at most GAP_HOURS hours
lie between them. What a registered event explains is told apart from the rest, in an alert that is born acknowledged: the
planner who registered the crowd took note of it beforehand. An alert is rebuilt from its flags each time, so the same
releases give the same alert, whatever was done before: what a person did (status, disposition) is kept, and a closed alert
is never changed.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, cast

import numpy as np
import polars as pl

from detector.combine import HOUR, Schema
from detector.flag import BAND_SD, State
from ingest.release import canonical_json, format_utc

GAP_HOURS: Final = 3
_REACH: Final = timedelta(hours=GAP_HOURS + 1)  # from start to start of two flags with GAP_HOURS between them

FLAG_SCHEMA: Final[Schema] = {
    "zone_id": pl.String,
    "sector_id": pl.String,
    "direction": pl.String,
    "window_start": HOUR,
    "observed": pl.Int64,
    "observed_noise": pl.Float64,  # known sd of observed
    "expected": pl.Float64,
    "sd": pl.Float64,  # combined: noise, spread of counts, uncertainty of the expectation
    "tail_p": pl.Float64,
    "rarity": pl.Float64,  # -log10 of clean alerts per zone-month (detector/triage.py); null where nothing is ranked
    "suppressed": pl.Boolean,  # true: observed is "at least"
    "carriers_expected": pl.Int32,
    "carriers_present": pl.Int32,
    "release_digests": pl.List(pl.String),
    "past_factor": pl.Float64,  # by how much the zone's own recent days move the expectation over its usual level
    "surroundings_factor": pl.Float64,
    "calendar_factor": pl.Float64,
    "feed_factor": pl.Float64,
    "level_shift": pl.Float64,  # log of the new level over the expectation, where one is suspected; else 0
    "outage_near": pl.Boolean,  # a carrier was incomplete in the sector within OUTAGE_HOURS before
    "holiday": pl.Boolean,  # today, yesterday or tomorrow, or days around the lunar new year
    "event": pl.String,  # what the registered event says that explains it; null: none does
    "model_version": pl.String,
    "policy_version": pl.String,
}
OUTAGE_HOURS: Final = 12

Alert = dict[str, Any]  # the JSON document of design.md, 4.5

_CLOSED: Final = {"status": "closed", "closed_by": "system"}
# A change in one of these, or in the status, makes a revision.
_SUBSTANCE: Final = ("zone_ids", "window_start", "window_end", "observed", "expected", "excess", "release_digests")


def group_flags(flags: pl.DataFrame, neighbours: Mapping[str, Sequence[str]]) -> list[pl.DataFrame]:
    """The flags that belong together, each group sorted by window and zone, groups by their first flag."""
    rows = flags.sort("window_start", "zone_id", "direction")
    windows, zones = rows["window_start"].to_list(), rows["zone_id"].to_list()
    event = rows["event"].to_list() if "event" in rows.columns else [None] * rows.height
    lanes = list(zip(rows["sector_id"].to_list(), rows["direction"].to_list(), event, strict=True))
    parent = list(range(rows.height))

    def root(of: int) -> int:
        while parent[of] != of:
            parent[of] = parent[parent[of]]
            of = parent[of]
        return of

    recent: dict[tuple[str, str, str | None], list[int]] = {}
    for row in range(rows.height):
        near = [r for r in recent.get(lanes[row], []) if windows[row] - windows[r] <= _REACH]
        for other in near:
            if zones[other] == zones[row] or zones[other] in neighbours.get(zones[row], ()):
                low, high = sorted((root(other), root(row)))
                parent[high] = low
        recent[lanes[row]] = [*near, row]
    labels = [root(row) for row in range(rows.height)]
    return [rows.filter(np.array(labels) == label) for label in sorted(set(labels))]


def merge(
    flags: pl.DataFrame,
    judged: pl.DataFrame,
    existing_alerts: Iterable[Mapping[str, Any]],
    neighbours: Mapping[str, Sequence[str]],
    calibration: Mapping[str, Any],
    *,
    judged_from: datetime,
    first_window: datetime | None = None,
    now_window: datetime,
    exercise: bool = False,
    simulated: bool = False,
) -> list[Alert]:
    """The alert documents that are new or changed, sorted by start and id; running it again gives none.

    `existing_alerts` holds every alert, closed ones too, that overlaps the windows judged. `flags` (FLAG_SCHEMA) are all
    flags of the windows from `judged_from` to `now_window`, and `judged` (at least zone_id, direction, window_start,
    state) says what became of every zone-hour of that time. `judged_from` reaches back to the start of every alert that
    is not closed; alerts are rebuilt, so less would shrink them. A group that lies wholly before `first_window` (if named)
    only rebuilds an alert that is not closed and never opens one: its time was judged before.
    """
    alerts = sorted((dict(alert) for alert in existing_alerts), key=_order)
    unfinished = [alert for alert in alerts if alert["status"] != "closed"]
    if any(_start(alert) < judged_from for alert in unfinished):
        raise ValueError("judged_from reaches back to the start of every unfinished alert")

    flags = _outside(flags, [alert for alert in alerts if alert["status"] == "closed"])
    unclaimed = list(unfinished)
    changed: list[Alert] = []
    # What nothing explains goes first: an alert that a desk has seen goes on with it.
    for group in sorted(group_flags(flags, neighbours), key=lambda rows: rows["event"].first() is not None):
        mine = [alert for alert in unclaimed if _meets(group, alert, neighbours)]
        if not mine and first_window is not None and cast(datetime, group["window_start"].max()) < first_window:
            continue
        unclaimed = [alert for alert in unclaimed if alert not in mine]
        built = _build(group, calibration, exercise=exercise, simulated=simulated)
        alert = _continued(mine[0], built) if mine else built
        if alert["status"] == "open" and built["status"] == "acknowledged":
            alert = {**alert, "status": "acknowledged", "reasons": built["reasons"]}
        if _is_over(group["zone_id"].unique().to_list(), group, judged, now_window):
            alert = {**alert, **_CLOSED}
        if not mine:
            changed.append(alert)
        elif alert != mine[0]:
            changed.append({**alert, "revision": mine[0]["revision"] + 1})
        # Two alerts that have grown into one: the elder goes on, the others end and say where it goes on.
        changed += [_ended(other, f"Goes on in alert {alert['alert_id']}.") for other in mine[1:]]
    # A model, a policy or an arming that is now in force flags none of these hours.
    changed += [_ended(alert, "Not flagged any more when judged again.") for alert in unclaimed]
    return sorted(changed, key=_order)


def alert_id(sector_id: str, zone_id: str, direction: str, window_start: datetime) -> str:
    """The name of the alert that begins with this flag; it knows nothing of carriers and holds no chance."""
    first = [sector_id, zone_id, direction, format_utc(window_start)]
    return "a-" + hashlib.sha256(canonical_json(first)).hexdigest()[:16]


def severity(excess: float, probability: float) -> str:
    """`moderate`, `high` or `very_high`, by how many and how sure.

    >>> severity(400, 0.3), severity(400, 0.8)
    ('high', 'very_high')
    """
    size = 2 if excess >= 300 else 1 if excess >= 120 else 0
    sure = 1 if probability >= 0.75 else 0
    return ("moderate", "moderate", "high", "very_high")[size + sure]


def _build(group: pl.DataFrame, calibration: Mapping[str, Any], *, exercise: bool, simulated: bool) -> Alert:
    first = group.row(0, named=True)
    totals = group.select(
        pl.col("observed").sum(),
        pl.col("expected").sum(),
        (pl.col("observed_noise") ** 2).sum().sqrt().alias("noise"),
        (pl.col("sd") ** 2).sum().sqrt().alias("sd"),
    ).row(0, named=True)
    own_sd = float(np.sqrt(max(totals["sd"] ** 2 - totals["noise"] ** 2, 0.0)))
    excess = totals["observed"] - totals["expected"]
    band = probability_band(_score(group), calibration)
    last = cast(datetime, group["window_start"].max())
    return {
        "alert_id": alert_id(first["sector_id"], first["zone_id"], first["direction"], first["window_start"]),
        "revision": 1,
        "status": "open" if first["event"] is None else "acknowledged",
        "sector_id": first["sector_id"],
        "zone_ids": group["zone_id"].unique().sort().to_list(),
        "direction": first["direction"],
        "window_start": format_utc(first["window_start"]),
        "window_end": format_utc(last + timedelta(hours=1)),
        "observed": _sized(totals["observed"], totals["noise"]),
        "expected": _sized(totals["expected"], own_sd),
        "excess": _sized(excess, totals["sd"]),
        "probability": band["label"],
        "severity": severity(excess, band["probability"]),
        "reasons": reasons(group),
        "coverage": {"expected": group["carriers_expected"].max(), "present": group["carriers_present"].min()},
        "model_version": group["model_version"].last(),
        "policy_version": group["policy_version"].last(),
        "disposition": None,
        "closed_by": None,
        "release_digests": group["release_digests"].explode().unique().sort().to_list(),
        "exercise": exercise,
        "simulated": simulated,
    }


def _score(group: pl.DataFrame) -> float:
    rarity = cast(float | None, group["rarity"].max())
    return -float(np.log10(group["tail_p"].cast(pl.Float64).to_numpy().min())) if rarity is None else rarity


def probability_band(score: float, calibration: Mapping[str, Any]) -> Mapping[str, Any]:
    """The band of a score (rarity, else -log10 of the smallest tail probability): the last that begins at or below it."""
    bands: list[Mapping[str, Any]] = calibration["bands"]
    return [band for band in bands if band["score_from"] <= score or band is bands[0]][-1]


def reasons(group: pl.DataFrame) -> list[str]:
    """Five plain sentences on a group of flags: how far above normal, how long, neighbours, calendar, feed; then what
    speaks against a surge: a registered event, a level shift, an outage, a holiday.

    The factors are those by which the model's contributions (`pred_contrib`) move the expectation of the strongest hour
    from the usual level of that hour of the week.
    """
    peak = group.sort("tail_p", "window_start", "zone_id").row(0, named=True)
    movements = f"{peak['direction']}s"
    excess = peak["observed"] - peak["expected"]
    at_least = "At least " if peak["suppressed"] else ""
    hours = group["window_start"].n_unique()
    others = group["zone_id"].n_unique() - 1
    across = (
        f"{others} touching {'zone is' if others == 1 else 'zones are'} unusual as well"
        if others
        else ("No touching zone is unusual")
    )
    feed = f"{peak['carriers_present']} of {peak['carriers_expected']} carriers reported a complete feed" + (
        ", one or more stayed below the threshold, so the size is a lower bound" if peak["suppressed"] else ""
    )
    return [
        f"{at_least}{excess:.0f} more {movements} than the {peak['expected']:.0f} expected in the strongest hour, "
        f"{excess / peak['sd']:.1f} times what noise and ordinary scatter explain. "
        f"Recent days: {_moved(peak['past_factor'])}.",
        f"Flagged in {hours} {'hour' if hours == 1 else 'hours'} so far.",
        f"{across}. Surroundings and official crossing points: {_moved(peak['surroundings_factor'])}.",
        f"Calendar (hour, weekday, holidays, season): {_moved(peak['calendar_factor'])}.",
        f"{feed}. Feed and noise: {_moved(peak['feed_factor'])}.",
        *counter_reasons(group),
    ]


def counter_reasons(group: pl.DataFrame) -> list[str]:
    """What speaks for another explanation of a group of flags, one sentence each; empty where nothing does."""
    event, shift = cast(str | None, group["event"].first()), cast(float | None, group["level_shift"].max()) or 0.0
    says = [f"{EXPLAINED}{event}."] if event is not None else []
    if shift > 0:
        percent = round(100 * (float(np.exp(shift)) - 1))
        says.append(
            f"{SHIFTED}higher by about {percent} % for days while all around is as usual. The expectation "
            "starts from the new level; ask the carriers for a new cell."
        )
    if group["outage_near"].any():
        says.append(f"A carrier's feed was incomplete in this sector within the {OUTAGE_HOURS} hours before.")
    if group["holiday"].any():
        says.append("A holiday is near; what is usual then is known less well.")
    return says


EXPLAINED: Final = "Explained by a registered event: "
SHIFTED: Final = "Level shift suspected: "


def _moved(factor: float) -> str:
    percent = round(100 * (factor - 1.0))
    if abs(percent) < 3:
        return "expectation as usual"
    return f"expectation {'raised' if percent > 0 else 'lowered'} by {abs(percent)} %"


def _sized(value: float, sd: float) -> dict[str, Any]:
    low, high = value - BAND_SD * sd, value + BAND_SD * sd
    return {"value": round(value), "interval": [max(round(low), 0), round(high)]}


def _continued(old: Alert, built: Alert) -> Alert:
    if all(old[key] == built[key] for key in _SUBSTANCE):
        return old
    kept = ("alert_id", "revision", "status", "disposition", "closed_by", "exercise", "simulated")
    return {**old, **built, **{key: old[key] for key in kept}}


def _ended(alert: Alert, reason: str) -> Alert:
    return {**alert, **_CLOSED, "revision": alert["revision"] + 1, "reasons": [*alert["reasons"], reason]}


def _is_over(zones: list[str], group: pl.DataFrame, judged: pl.DataFrame, now_window: datetime) -> bool:
    """Whether movement has been usual for more than GAP_HOURS: hours without a judgement prove nothing."""
    last = group["window_start"].max()
    after = judged.filter(
        pl.col("zone_id").is_in(zones)
        & (pl.col("direction") == group["direction"].first())
        & (pl.col("window_start") > last)
        & (pl.col("window_start") <= now_window)
        & pl.col("state").is_in([State.USUAL, State.BELOW_THRESHOLD, State.UNUSUAL_DROP])
    )
    usual = after.group_by("window_start").len().filter(pl.col("len") == len(zones))
    return usual.height > GAP_HOURS


def _outside(flags: pl.DataFrame, closed: Iterable[Alert]) -> pl.DataFrame:
    """The flags that no closed alert has told already."""
    told = pl.lit(value=False)
    for alert in closed:
        told |= (
            pl.col("zone_id").is_in(alert["zone_ids"])
            & (pl.col("direction") == alert["direction"])
            & (pl.col("window_start") >= _start(alert))
            & (pl.col("window_start") < _end(alert))
        )
    return flags.filter(~told)


def _meets(group: pl.DataFrame, alert: Alert, neighbours: Mapping[str, Sequence[str]]) -> bool:
    first = group.row(0, named=True)
    if (first["sector_id"], first["direction"]) != (alert["sector_id"], alert["direction"]):
        return False
    if first["event"] is None and any(reason.startswith(EXPLAINED) for reason in alert["reasons"]):
        return False
    near = set(alert["zone_ids"]).union(*(neighbours.get(zone, ()) for zone in alert["zone_ids"]))
    start, end = _start(alert) - _REACH, _end(alert) - timedelta(hours=1) + _REACH
    return not group.filter(
        pl.col("zone_id").is_in(sorted(near)) & pl.col("window_start").is_between(start, end)
    ).is_empty()


def _start(alert: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(alert["window_start"])


def _end(alert: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(alert["window_end"])


def _order(alert: Mapping[str, Any]) -> tuple[str, str]:
    return str(alert["window_start"]), str(alert["alert_id"])
