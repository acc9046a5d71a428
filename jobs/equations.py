"""The ledger equations of the edge: every row that came in, and every sighting and movement, is accounted for, exactly.

They hold per source and hour at the door, and per hour in the close. What they add up never leaves the carrier.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ingest.release import HOUR
from ingest.token_day import HOURS_IN_DAY, folder_name
from movement.sight_rows import OUTCOMES, RECEIVED
from movement.sighting import Fate

KEPT = (Fate.SIGHTING.value, Fate.ROAMING_KEPT.value)
MOVEMENT_ENDS = ("counted", "over_k", "same_zone_hour", "flip", "outside_6h", "inland", "pending_after")


@dataclass(frozen=True, slots=True)
class Unaccounted:
    """An equation that does not hold: which, for what, and by how many."""

    equation: str
    source: str | None
    hour: str | None
    rows: int

    def sentence(self) -> str:
        """The fault in words."""
        of = f" of {self.source}" if self.source else ""
        return f"{self.rows} unaccounted for in `{self.equation}`{of}, hour {self.hour or 'unknown'}"


JOIN = "received = refused + outside_belt + sighting + roaming_kept + roaming_other + unknown_cell"
TABLE = "sighting + roaming_kept = sightings + after_freeze"
CLOSE = "sightings = distinct + duplicate"
MOVEMENTS = "candidates + pending_before = " + " + ".join(MOVEMENT_ENDS)


def unaccounted_rows(rows: Iterable[Mapping[str, Any]]) -> list[Unaccounted]:
    """Every source and hour whose rows do not add up, from the rows of batch records (source, hour, what, rows).

    >>> unaccounted_rows([{"source": "core", "hour": None, "what": "received", "rows": 2}])[0].rows
    2
    """
    left: defaultdict[tuple[str, str | None], int] = defaultdict(int)
    for row in rows:
        if row["what"] == RECEIVED:
            left[row["source"], row["hour"]] += row["rows"]
        elif row["what"] in OUTCOMES:
            left[row["source"], row["hour"]] -= row["rows"]
        else:
            left[row["source"], row["hour"]] += 0  # no fate that the equation knows: what is received stays unaccounted
    return [Unaccounted(JOIN, source, hour, rest) for (source, hour), rest in sorted(left.items(), key=str) if rest]


def unaccounted_sightings(
    rows: Iterable[Mapping[str, Any]], numbers: Mapping[str, Mapping[str, int]], day_start: datetime
) -> list[Unaccounted]:
    """Every closed hour of a token-day whose sightings or movements do not add up.

    `numbers` holds for each closed hour the tally of its close and `after_freeze`, the rows that came too late for it. The
    hour after the turn settles the day without rows of its own: those that it has are the next day's.
    """
    turn = folder_name(day_start + HOUR * HOURS_IN_DAY)
    kept: defaultdict[str, int] = defaultdict(int)
    for row in rows:
        if row["what"] in KEPT and row["hour"] not in (None, turn):
            kept[row["hour"]] += row["rows"]
    found = []
    for hour, tally in sorted(numbers.items()):
        ends = sum(tally[name] for name in MOVEMENT_ENDS)
        rests = {
            TABLE: kept[hour] - tally["sightings"] - tally["after_freeze"],
            CLOSE: tally["sightings"] - tally["distinct"] - tally["duplicate"],
            MOVEMENTS: tally["candidates"] + tally["pending_before"] - ends,
        }
        found += [Unaccounted(equation, None, hour, rest) for equation, rest in rests.items() if rest]
    return found
