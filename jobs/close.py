"""`close`: one deterministic batch a clock hour, from sightings to one release.

The close of hour P is a pure function of its frozen manifest, the carry-over of P-1, the ground and the policy. It settles
and releases window P-1. Running it again gives the same counts and the same carry-over, however many buckets, tasks and
machines do it; the ledger decides what is said.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pyspark.sql import SparkSession

from ingest.release import HOUR, Direction
from ingest.token_day import HOURS_IN_DAY, hours_of, token_day_start
from jobs.closing import CLOSED_SCHEMA, LEAVES, NO_LEAVES, HourOrder, StepDone, bytes_of, close_task, steps_of
from jobs.grounds import DayGround, GroundMissing, Pin, choose_pin, read_ground
from jobs.milestone import Milestone
from jobs.sealed import SealedFile
from jobs.stop import leave_to_speak
from jobs.tables import CarryOver, EdgeFolder, TableDamaged
from jobs.watch import FeedMonitor
from movement.advance import DIRECTIONS, Tally
from privacy.ledger import DayClosed, Entry, Ledger, LedgerRefused, Noise
from privacy.mechanism import DiscreteGaussian
from privacy.policy import ReleasePolicy

_NOTHING = CarryOver(leaves=NO_LEAVES, totals=(), files=(), sightings=(), tally={})


class CarryOverLost(RuntimeError):
    """What the close of an hour left behind is not there as it was; the day's own tables give it again."""


@dataclass(frozen=True, slots=True)
class Edge:
    """What every close rests on.

    `current` and the policy of `noise` are those of the settings: what a token-day will have that was not begun yet. One
    that was is ended on its own ground, and under its own policy by what `noise_under` gives.
    """

    folder: EdgeFolder
    ledger: Ledger
    current: Pin
    current_valid_from: datetime
    turn_hour_utc: int
    noise: Noise
    feed: FeedMonitor
    milestone: Milestone
    noise_under: Callable[[ReleasePolicy], Noise] = DiscreteGaussian

    def pin_of(self, day: datetime) -> Pin:
        """What a token-day rests on, from now on at the latest."""
        store = self.folder.grounds
        return store.pin(day, choose_pin(day, store.pins(), self.current, self.current_valid_from))

    def ground_of(self, day: datetime) -> DayGround:
        """The ground of a token-day: its zones, its grid, what overlaps; raises DayClosed if it is gone."""
        try:
            return read_ground(self.folder.grounds.of(self.pin_of(day).ground))
        except GroundMissing as gone:
            self.ledger.close_day(day, str(gone))
            raise DayClosed(str(gone)) from gone

    def noise_of(self, day: datetime) -> Noise:
        """What draws for a token-day."""
        policy = self.ledger.policy_of(day)
        return self.noise if policy in (None, self.noise.policy) else self.noise_under(policy)

    def cells_of(self, day: datetime) -> tuple[tuple[str, Direction], ...]:
        """A token-day's whole public grid, in the order in which it is drawn and published."""
        return self.ground_of(day).cells


@dataclass(frozen=True, slots=True)
class Closed:
    """What a close gives: the settled hour's exact counts as (zone, direction, count), and what it leaves behind."""

    counts: tuple[tuple[int, int, int], ...]
    left: CarryOver

    @property
    def tally(self) -> Tally:
        """What became of the hour's rows."""
        return Tally(**self.left.tally)


def close_window(spark: SparkSession, edge: Edge, window_start: datetime) -> Entry:
    """Settle and release one window: the stored release, or one drawn now; all null if its day is closed.

    Earlier hours of the same token-day that were not closed yet are closed first, in order. Raises EdgeStopped while the
    stop switch is on.
    """
    stored = edge.ledger.entry(window_start)
    if stored is not None:
        return stored
    day = token_day_start(window_start, edge.turn_hour_utc)
    try:
        lineage = open_day(edge, day)
        _refuse_ledger_behind(edge, day)
        closed = _settle(spark, edge, day, window_start + HOUR)
        counts = _on_grid(edge.ground_of(day), closed.counts)
        with leave_to_speak(edge.folder.root):
            return edge.ledger.release(
                window_start,
                counts,
                turn_hour_utc=edge.turn_hour_utc,
                lineage=lineage,
                carry_over_digest=closed.left.digest,
                complete=edge.feed.complete(window_start, day, edge.pin_of(day).ground),
                noise=edge.noise_of(day),
            )
    except DayClosed:
        with leave_to_speak(edge.folder.root):
            return edge.ledger.release_null(window_start, turn_hour_utc=edge.turn_hour_utc)


def _refuse_ledger_behind(edge: Edge, day: datetime) -> None:
    # A close leaves its carry-over before the ledger knows of it, and begins no hour before that: a ledger that lacks the
    # hour before the newest one on the disk was restored from a backup, and would draw again what was said.
    newest = edge.folder.newest_carry_over(day)
    if newest is not None and newest > day and edge.ledger.carry_over_digest(day, newest - HOUR) is None:
        edge.ledger.close_day(day, "the ledger does not know an hour that was closed")
        raise DayClosed("the ledger does not know an hour that was closed")


def close_day_levels(spark: SparkSession, edge: Edge, day: datetime) -> tuple[Entry, Entry]:
    """The sector-day and border-day releases of a token-day all of whose windows were said; null if the day is closed.

    Raises EdgeStopped while the stop switch is on.
    """
    try:
        lineage = open_day(edge, day)
        totals = day_totals(spark, edge, day)
        # The ledger adds its own word: complete only if every hour was drawn, and complete.
        complete = not edge.folder.lost(hours_of(day))
        with leave_to_speak(edge.folder.root):
            return edge.ledger.release_day(day, totals, lineage=lineage, complete=complete, noise=edge.noise_of(day))
    except DayClosed:
        return null_day_levels(edge, day)


def null_day_levels(edge: Edge, day: datetime) -> tuple[Entry, Entry]:
    """The all-null releases of a token-day that can no longer be told; raises EdgeStopped while the stop switch is on."""
    with leave_to_speak(edge.folder.root):
        return edge.ledger.release_day_null(day)


def null_window(edge: Edge, window_start: datetime) -> Entry:
    """The all-null release of a window that can no longer be told, whatever its day rests on now.

    Raises EdgeStopped while the stop switch is on.
    """
    with leave_to_speak(edge.folder.root):
        # Closed, or opened with other settings: null is said of the day as it was opened.
        with suppress(LedgerRefused):
            open_day(edge, token_day_start(window_start, edge.turn_hour_utc))
        return edge.ledger.release_null(window_start, turn_hour_utc=edge.turn_hour_utc)


def open_day(edge: Edge, day: datetime) -> str:
    """The lineage of a token-day, tied to its tables; raises DayClosed or LedgerRefused."""
    ground = edge.ground_of(day)
    if day < ground.grid_valid_from:
        raise LedgerRefused("the zone grid is not valid yet on this token-day")
    lineage = edge.ledger.open_day(
        day,
        lineage_on_disk=edge.folder.lineage(day),
        grid_id=ground.grid_id,
        plan_digest=ground.digest,
        policy=edge.noise_of(day).policy,
        cells=ground.cells,
        zones=[(zone.zone_id, zone.sector_id, zone.kind.value) for zone in ground.zones],
    )
    if edge.folder.lineage(day) is None:
        edge.folder.write_lineage(day, lineage)
    return lineage


def day_totals(spark: SparkSession, edge: Edge, day: datetime) -> list[int]:
    """The exact counts of a whole token-day in the order of `Edge.cells_of`; for after its last window.

    They are part of what the last close left, and rebuilt with it when lost; raises DayClosed where that cannot be.
    """
    turn = day + HOUR * HOURS_IN_DAY
    left = edge.folder.read_carry_over(day, turn, edge.ledger.carry_over_digest(day, turn))
    totals = left.totals if left is not None else _settle(spark, edge, day, turn).left.totals
    return _on_grid(edge.ground_of(day), totals)


def _settle(spark: SparkSession, edge: Edge, day: datetime, hour: datetime) -> Closed:
    """What closing `hour` gives, its carry-over written; raises DayClosed."""
    try:
        closed = _close(spark, edge, day, hour)
    except CarryOverLost:
        # Its files are as they were written, and yet not what the ledger knows: without its record it is rebuilt.
        edge.folder.carry_over(day, hour - HOUR).unlink(missing_ok=True)
        closed = _close(spark, edge, day, hour)
    edge.milestone("before-carry-over")
    left = edge.folder.write_carry_over(day, hour, closed.left)
    edge.milestone("after-carry-over")
    return replace(closed, left=left)


def _close(spark: SparkSession, edge: Edge, day: datetime, hour: datetime) -> Closed:
    carried = _NOTHING if hour == day else _carried(spark, edge, day, hour - HOUR)
    try:
        return close_hour(spark, _hour_order(edge, day, hour, carried), carried)
    except TableDamaged as damaged:
        edge.ledger.close_day(day, str(damaged))
        raise DayClosed(str(damaged)) from damaged


def _carried(spark: SparkSession, edge: Edge, day: datetime, hour: datetime) -> CarryOver:
    """What the close of an hour left: as it lies there, or rebuilt from the day's own tables, digit for digit."""
    known = edge.ledger.carry_over_digest(day, hour)
    left = None if known is None else edge.folder.read_carry_over(day, hour, known)
    if left is not None:
        return left
    again = _settle(spark, edge, day, hour).left
    if known is None:
        edge.ledger.settle(day, hour, again.digest)
    elif again.digest != known:
        edge.ledger.close_day(day, "a carry-over was lost and cannot be rebuilt")
        raise DayClosed("a carry-over was lost and cannot be rebuilt")
    return again


def _hour_order(edge: Edge, day: datetime, hour: datetime, carried: CarryOver) -> HourOrder:
    """What an hour is closed with: its files as they were frozen, every one as it was recorded; raises TableDamaged."""
    pin = edge.pin_of(day)
    # After the last hour of a token-day there are no more of its rows: pending movements settle as they stand.
    past_the_turn = hour - day == HOUR * HOURS_IN_DAY
    manifest: dict[str, Any] = {"files": []}
    if not past_the_turn:
        edge.folder.begin_close(day, hour)
        manifest = edge.folder.manifest(day, hour, pin.ground)
    frozen = edge.ledger.freeze(day, hour, manifest)
    sightings = [SealedFile.of(file) for file in frozen["files"]]
    edge.folder.check(edge.folder.sightings, sightings)
    return hour_order(edge.folder, day, hour, pin, sightings, carried, k=edge.noise_of(day).policy.k)


def hour_order(
    folder: EdgeFolder,
    day: datetime,
    hour: datetime,
    pin: Pin,
    sightings: Iterable[SealedFile],
    carried: CarryOver = _NOTHING,
    *,
    k: int,
) -> HourOrder:
    """What the tasks of a close are told; the files were checked."""
    room = folder.carry_over(day, hour - HOUR).parent.relative_to(folder.root)
    return HourOrder(
        root=folder.root.absolute(),
        day=day,
        hour=hour,
        ground=pin.ground,
        buckets=pin.buckets,
        k=k,
        sightings=tuple(sightings),
        memories=tuple(replace(file, path=(room / file.path).as_posix()) for file in carried.files),
        leaves=carried.leaves,
    )


def close_hour(spark: SparkSession, order: HourOrder, carried: CarryOver = _NOTHING) -> Closed:
    """`movement.advance` on every core, some buckets at a time: one job, one collect, no shuffle.

    The files of what it leaves are in the staging folder. Raises TableDamaged, CarryOverLost.
    """
    shutil.rmtree(order.folder, ignore_errors=True)
    steps = steps_of(order.rows, spark.sparkContext.defaultParallelism)
    read = {byte for step in steps for byte in bytes_of(step, order.buckets)}
    if any(leaf and byte not in read for byte, leaf in enumerate(order.leaves)):
        raise CarryOverLost("a carry-over lacks tokens that its digest knows")
    done: list[StepDone] = []
    if steps:
        numbers = spark.range(0, len(steps), 1, numPartitions=len(steps)).toDF("step")
        answers = numbers.mapInArrow(close_task(order, steps), CLOSED_SCHEMA).collect()
        done = [StepDone.from_json(answer.closed) for answer in answers]
    damaged = {step.damaged for step in done}
    if "sightings" in damaged:
        raise TableDamaged("a sightings file is gone or differs from its manifest")
    if "carry-over" in damaged:
        raise CarryOverLost("a carry-over differs from its digest")
    counts: Counter[tuple[int, int]] = Counter()
    leaves = dict(enumerate(NO_LEAVES))
    for step in done:
        counts.update({(zone, direction): count for zone, direction, count in step.counts})
        leaves |= step.leaves or {}
    totals = counts + Counter({(zone, direction): count for zone, direction, count in carried.totals})
    tally = sum((Tally(**step.tally) for step in done if step.tally), Tally())
    left = CarryOver(
        leaves=tuple(leaves[byte] for byte in range(LEAVES)),
        totals=_listed(totals),
        files=tuple(step.file for step in done if step.file is not None),
        sightings=tuple(file.path for file in order.sightings),
        tally={name: getattr(tally, name) for name in tally.__slots__},
    )
    return Closed(_listed(counts), left)


def _listed(counts: Counter[tuple[int, int]]) -> tuple[tuple[int, int, int], ...]:
    return tuple((zone, direction, count) for (zone, direction), count in sorted(counts.items()))


def _on_grid(ground: DayGround, counts: Sequence[tuple[int, int, int]]) -> list[int]:
    """The counts over the whole public grid, zeros included, in the order of `DayGround.cells`."""
    found = {(ground.zones[zone].zone_id, DIRECTIONS[direction]): count for zone, direction, count in counts}
    return [found.get(cell, 0) for cell in ground.cells]
