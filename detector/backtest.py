"""What detection would have found of surges that are known, and what it would have raised besides."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from detector.calibrate import HOURS_PER_MONTH
from detector.combine import HOUR, Schema
from detector.features import span
from detector.flag import State

TRUTH_SCHEMA: Final[Schema] = {
    "surge_id": pl.String,
    "zone_ids": pl.List(pl.String),
    "direction": pl.String,
    "window_start": HOUR,  # first hour
    "hours": pl.Int64,
    "size": pl.Int64,  # movements beyond the usual, over all its hours and zones
}
MARGIN: Final = timedelta(hours=3)  # around a surge, and in touching zones, a flag is neither found nor false
LATE: Final = timedelta(hours=1)  # a flag this long after the last hour still finds it


@dataclass(frozen=True, slots=True)
class Backtest:
    """Recall by size and the false rate, over the belt zone-hours that were judged."""

    planted: int
    found: int
    planted_by_size: dict[str, int]
    found_by_size: dict[str, int]
    zone_months: float
    false_flags: int
    false_alerts: int
    mean_delay_hours: float | None  # from the first hour of a found surge to its first flag
    suppressed_share: float
    degraded_share: float

    @property
    def recall(self) -> float | None:
        """Found of planted; None where nothing was planted."""
        return self.found / self.planted if self.planted else None

    @property
    def false_flags_per_zone_month(self) -> float:
        """Flagged zone-hours that no surge explains."""
        return self.false_flags / max(self.zone_months, 1e-9)

    @property
    def false_alerts_per_zone_month(self) -> float:
        """Alerts of which no part lies near a surge."""
        return self.false_alerts / max(self.zone_months, 1e-9)

    def document(self) -> dict[str, Any]:
        """All figures as JSON."""
        return {
            **asdict(self),
            "recall": self.recall,
            "false_flags_per_zone_month": self.false_flags_per_zone_month,
            "false_alerts_per_zone_month": self.false_alerts_per_zone_month,
        }


def backtest(
    expectations: pl.DataFrame,
    alerts: Iterable[Mapping[str, Any]],
    truth: pl.DataFrame,
    neighbours: Mapping[str, Sequence[str]],
) -> Backtest:
    """The expectations and alerts of a time, as `detect` gave them, held against its planted surges (TRUTH_SCHEMA).

    A surge is found by a flag of its direction in one of its zones from its first hour to LATE after its last. Surges
    that begin outside the time of the expectations are left out.
    """
    first, last = span(expectations)
    surges = truth.filter(pl.col("window_start").is_between(first, last))
    flagged = expectations.filter(pl.col("state") == State.UNUSUAL)
    found: dict[str, datetime] = {}
    explained = pl.lit(value=False)
    excused: list[tuple[frozenset[str], str, datetime, datetime]] = []
    for surge in surges.iter_rows(named=True):
        begins, ends = surge["window_start"], surge["window_start"] + timedelta(hours=surge["hours"])
        same_direction = pl.col("direction") == surge["direction"]
        hits = flagged.filter(
            same_direction
            & pl.col("zone_id").is_in(surge["zone_ids"])
            & pl.col("window_start").is_between(begins, ends - timedelta(hours=1) + LATE)
        )
        at = hits["window_start"].min()
        if isinstance(at, datetime):
            found[surge["surge_id"]] = at
        near = frozenset(surge["zone_ids"]).union(*(neighbours.get(zone, ()) for zone in surge["zone_ids"]))
        excused.append((near, surge["direction"], begins - MARGIN, ends + MARGIN))
        explained |= (
            same_direction
            & pl.col("zone_id").is_in(sorted(near))
            & (pl.col("window_start") >= begins - MARGIN)
            & (pl.col("window_start") < ends + MARGIN)
        )

    def is_excused(alert: Mapping[str, Any]) -> bool:
        start, end = (datetime.fromisoformat(alert[edge]) for edge in ("window_start", "window_end"))
        return any(
            alert["direction"] == direction and near & set(alert["zone_ids"]) and start < until and end > since
            for near, direction, since, until in excused
        )

    raised = [alert for alert in alerts if first <= datetime.fromisoformat(alert["window_start"]) <= last]
    judged = expectations.filter(
        pl.col("state").is_in([State.USUAL, State.UNUSUAL, State.UNUSUAL_DROP, State.BELOW_THRESHOLD])
    )
    delays = [
        (found[surge["surge_id"]] - surge["window_start"]) / timedelta(hours=1)
        for surge in surges.iter_rows(named=True)
        if surge["surge_id"] in found
    ]
    is_found = pl.col("surge_id").is_in(sorted(found))
    return Backtest(
        planted=surges.height,
        found=len(found),
        planted_by_size=_by_size(surges),
        found_by_size=_by_size(surges.filter(is_found)),
        zone_months=judged.height / max(judged["direction"].n_unique(), 1) / HOURS_PER_MONTH,
        false_flags=flagged.filter(~explained).height,
        false_alerts=sum(not is_excused(alert) for alert in raised),
        mean_delay_hours=sum(delays) / len(delays) if delays else None,
        suppressed_share=_share(expectations, pl.col("observed").is_null() & pl.col("state").is_in(_SILENT)),
        degraded_share=_share(expectations, pl.col("state").is_in([State.DEGRADED, State.NO_COVERAGE])),
    )


_SILENT: Final = (State.BELOW_THRESHOLD, State.UNUSUAL_DROP, State.NOT_JUDGED)


def _share(table: pl.DataFrame, what: pl.Expr) -> float:
    return float(table.select(what.mean()).item() or 0.0)


def _by_size(surges: pl.DataFrame) -> dict[str, int]:
    counts = surges.group_by("size").len().sort("size")
    return {str(size): number for size, number in counts.iter_rows()}
