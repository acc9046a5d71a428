"""What the stories about the ledger are made of: a grid of three zones, real noise that can be counted, and ledgers."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingest.release import HOUR, Level
from privacy.ledger import Entry, Ledger
from privacy.levels import public_cells
from privacy.mechanism import DiscreteGaussian
from privacy.policy import ReleasePolicy

DAY = datetime(2026, 3, 2, 2, tzinfo=UTC)
TURN = 2
ZONES = [("z1", "north", "belt"), ("z2", "north", "crossing_point"), ("z3", "south", "belt")]
PUBLIC = public_cells(ZONES)
CELLS = PUBLIC.zone_hour
GRID = "sha256:" + "1" * 64
POLICY = ReleasePolicy()
STRICTER = ReleasePolicy(policy_id="stricter", threshold=80)
COUNTS = (200, 0, 60, 10, 90, 300)


class CountingNoise:
    """The real mechanism; it tells of every draw."""

    def __init__(
        self,
        policy: ReleasePolicy = POLICY,
        level: Level = Level.ZONE_HOUR,
        told: Callable[[Level], None] | None = None,
    ) -> None:
        self._mechanism = DiscreteGaussian(policy, level)
        self.policy, self.rho, self.level = policy, self._mechanism.rho, level
        self.drawn: list[Level] = []
        self._told = told or self.drawn.append

    @property
    def draws(self) -> int:
        return len(self.drawn)

    def at(self, level: Level) -> "CountingNoise":
        return type(self)(self.policy, level, self._told)

    def draw(self, counts: Sequence[int]) -> list[int]:
        self._told(self.level)
        return self._mechanism.draw(counts)


class NoNoise(CountingNoise):
    """What the mechanism would say of a border without any noise."""

    def draw(self, counts: Sequence[int]) -> list[int]:
        self._told(self.level)
        return list(counts)


def open_ledger(folder: Path, **changes: Any) -> Ledger:
    return Ledger(folder / "ledger.sqlite", **{"carrier": "carrier-a", "mode": "live", **changes})


def open_day(
    ledger: Ledger,
    lineage: str | None = None,
    day: datetime = DAY,
    policy: ReleasePolicy = POLICY,
    grid: str = GRID,
    plan: str = "sha256:p",
    zones: Any = ZONES,
) -> str:
    return ledger.open_day(
        day, lineage_on_disk=lineage, grid_id=grid, plan_digest=plan, policy=policy, cells=CELLS, zones=zones
    )


def release(
    ledger: Ledger,
    lineage: str,
    noise: Any,
    window: datetime = DAY,
    counts: Sequence[int] = COUNTS,
    digest: str = "sha256:c",
    complete: bool = True,
    day: datetime = DAY,
) -> Entry:
    ledger.freeze(day, window + HOUR, {"files": []})
    return ledger.release(
        window,
        counts,
        turn_hour_utc=TURN,
        lineage=lineage,
        carry_over_digest=digest,
        complete=complete,
        noise=noise,
    )


def tell_hours(ledger: Ledger, lineage: str, noise: Any, hours: int = 24, **changes: Any) -> list[Entry]:
    return [release(ledger, lineage, noise, window=DAY + HOUR * hour, **changes) for hour in range(hours)]


def tell_day(ledger: Ledger, lineage: str, noise: Any, **changes: Any) -> tuple[Entry, Entry]:
    totals = [24 * count for count in COUNTS]
    return ledger.release_day(DAY, totals, **{"lineage": lineage, "complete": True, "noise": noise, **changes})
