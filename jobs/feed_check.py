"""`feed check`: whether a carrier's files are fit to be read, told without storing a row or showing a value.

Every file goes through the same readers, the same door and the same lookup of cells as in the edge. Memory is bounded however
much is checked: counts by reason and hour, a histogram of lateness by the second, and a sample of rows by their hash.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from geofence.cell_plan import read_cell_plan
from ingest.attachment import LATENESS, Refusal
from ingest.door import is_time, judge_rows
from ingest.files import ENDINGS, FileFormat, Layout
from ingest.read import FileDamaged, read_rows
from ingest.release import format_utc
from jobs.settings import EdgeSettings
from movement.sight_rows import RECEIVED, Lookup, sight_rows
from movement.sighting import Fate, Networks

MOST_SAMPLED = 1_000_000
"""Distinct rows of which hashes are held (16 bytes each). Up to here the share of duplicates is exact, beyond an estimate."""
SAME_EVENT = ("token", "event_time", "event_type", "rat", "plmn", "cell_id", "previous_plmn")
_EARLIEST_S, _LATEST_S = -3600, 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_QUANTILES = (0.5, 0.9, 0.99)

# What is usual in such feeds, doubled (docs/feeds.md says where from): above, a person should look.
MOST_MALFORMED = 0.05
MOST_LATE = 0.02
MOST_AHEAD = 0.02
MOST_UNKNOWN = 0.05
MOST_DUPLICATES = 0.05
MOST_FORBIDDEN = 0.01
"""Rows with what must not be in the feed at all: above, it is no slip."""
LATEST_USUAL = LATENESS * 2 / 3
"""A tenth of the rows later than this, and a slow file more makes them late."""
_FORBIDDEN = (Refusal.IDENTITY_LIKE, Refusal.UNKNOWN_FIELD)
_BY_TIME = (Refusal.LATE, Refusal.FUTURE)


class FeedUnknown(ValueError):
    """What is to be checked is not known to be a feed; names the option and its rule."""


@dataclass(slots=True)
class HashSample:
    """Rows by their hash, how often each came; of more than MOST_SAMPLED only those whose hash ends in `level` zero bits.

    Equal rows have equal hashes, so they are kept or left together, and the share of repeats among them is that of all.
    """

    level: int = 0
    kept: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema={"hash": pl.UInt64, "rows": pl.UInt64}))

    def add(self, rows: pl.DataFrame) -> None:
        """Take in rows that were accepted."""
        hashes = rows.select(SAME_EVENT).hash_rows().alias("hash")
        self._take(hashes.to_frame().group_by("hash").len("rows").cast({"rows": pl.UInt64}))

    def merge(self, other: "HashSample") -> None:
        """Take in what another sample holds."""
        self.level = max(self.level, other.level)
        self._take(pl.concat([self._thinned(self.kept), self._thinned(other.kept)]), whole=True)

    def repeated(self) -> float:
        """The share of rows that came before."""
        rows = int(self.kept["rows"].sum())
        return 1 - self.kept.height / rows if rows else 0.0

    def _take(self, found: pl.DataFrame, *, whole: bool = False) -> None:
        found = self._thinned(found if whole else pl.concat([self.kept, found]))
        self.kept = found.group_by("hash").agg(pl.col("rows").sum())
        while self.kept.height > MOST_SAMPLED:
            self.level += 1
            self.kept = self._thinned(self.kept)

    def _thinned(self, found: pl.DataFrame) -> pl.DataFrame:
        return found.filter(pl.col("hash") % (1 << self.level) == 0) if self.level else found


@dataclass(slots=True)
class Seen:
    """What the rows of some files come to."""

    tally: Counter[str] = field(default_factory=Counter)
    hours: set[int] = field(default_factory=set)
    delays: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_LATEST_S - _EARLIEST_S + 1, np.int64))
    sample: HashSample = field(default_factory=HashSample)

    def add(self, rows: pl.DataFrame, lookup: Lookup) -> None:
        """Judge and count a table of rows (ROW_TABLE)."""
        by_hour = sight_rows(rows, lookup).tallies
        for what, count in by_hour.group_by("what").agg(pl.col("rows").sum()).iter_rows():
            self.tally[what] += count
        fates = by_hour.filter(pl.col("what").is_in([fate.value for fate in Fate]) & (pl.col("rows") > 0))
        self.hours |= set(fates["hour"].drop_nulls())
        event, ingest = (rows[name].to_physical().fill_null(0).to_numpy() for name in ("event_time", "ingest_time"))
        timely = is_time(event) & is_time(ingest)
        delay_s = (ingest[timely] - event[timely]) // 1_000_000
        self.delays += np.bincount(np.clip(delay_s, _EARLIEST_S, _LATEST_S) - _EARLIEST_S, minlength=len(self.delays))
        self.sample.add(rows.filter(judge_rows(rows).is_null()))

    def merge(self, other: "Seen") -> None:
        """Take in what other files come to."""
        self.tally += other.tally
        self.hours |= other.hours
        self.delays += other.delays
        self.sample.merge(other.sample)


@dataclass(frozen=True, slots=True)
class FeedCheck:
    """What files come to, and the verdict; shares are 0..1, None where it could not be asked."""

    verdict: str
    not_fit: tuple[str, ...]
    warnings: tuple[str, ...]
    files: int
    files_refused: Mapping[str, int]
    rows: int
    accepted: int
    refused: Mapping[str, int]
    lateness_s: Mapping[str, int] | None
    unknown_cells: float | None
    duplicates: float
    duplicates_from: str
    first_hour: str | None
    last_hour: str | None
    hours_covered: int
    hours_missing: int

    def share(self, *reasons: Refusal) -> float:
        """The share of rows that are refused for one of these reasons."""
        return sum(self.refused.get(reason.value, 0) for reason in reasons) / self.rows if self.rows else 0.0

    @property
    def is_fit(self) -> bool:
        """Whether the feed can be read, warnings or not."""
        return not self.not_fit

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def feed_files(paths: Sequence[Path], kind: FileFormat | None) -> list[Path]:
    """The files named, and those of the format (or of any) in the folders named."""
    endings = tuple(ending for one in ENDINGS if kind in (None, one) for ending in ENDINGS[one])
    found: list[Path] = []
    for path in paths:
        inside = (file for file in sorted(path.rglob("*")) if file.is_file() and file.name.endswith(endings))
        found += inside if path.is_dir() else [path]
    return found


def format_of(path: Path) -> FileFormat | None:
    """The format that a file's name tells; multimno's files are named like any Parquet."""
    return next((one for one, endings in ENDINGS.items() if path.name.endswith(endings)), None)


def check_files(
    paths: Sequence[Path], settings: EdgeSettings | None, kind: str | None, cells: Path | None
) -> FeedCheck:
    """What files and folders come to, by the edge's settings if there are any."""
    if kind is not None and kind not in set(FileFormat):
        raise FeedUnknown(f"--format is one of {', '.join(FileFormat)}")
    asked = FileFormat(kind) if kind is not None else settings.format if settings is not None else None
    plan = cells or (settings.cell_plan if settings is not None else None)
    return check_feed(
        feed_files(paths, asked),
        asked,
        settings.layout if settings is not None else None,
        read_cell_plan(plan) if plan is not None else None,
        _networks(settings) if settings is not None else None,
        most_refused=settings.most_refused if settings is not None else 0.5,
    )


def check_feed(
    files: Iterable[Path],
    kind: FileFormat | None,
    layout: Layout | None = None,
    plan: pl.DataFrame | None = None,
    networks: Networks | None = None,
    *,
    most_refused: float = 0.5,
) -> FeedCheck:
    """What the files come to. `plan` is a checked cell plan; without it cells are not looked up."""
    lookup = _lookup(plan, networks)
    seen, refused, count = Seen(), Counter[str](), 0
    for path in files:
        count += 1
        of_file, its_kind = Seen(), kind or format_of(path)
        try:
            if its_kind is None:
                raise FileDamaged
            for table in read_rows(path, its_kind, layout):
                of_file.add(table, lookup)
        except FileDamaged as damaged:
            refused[damaged.reason.value] += 1
        else:
            seen.merge(of_file)
    return _judged(seen, refused, count, knows_cells=plan is not None, layout=layout, most_refused=most_refused)


def _judged(
    seen: Seen,
    files_refused: Counter[str],
    files: int,
    *,
    knows_cells: bool,
    layout: Layout | None,
    most_refused: float,
) -> FeedCheck:
    tally, rows = seen.tally, seen.tally[RECEIVED]
    refused = {reason.value: tally[f"refused:{reason.value}"] for reason in Refusal if tally[f"refused:{reason.value}"]}
    accepted = sum(tally[fate.value] for fate in Fate)
    on_cells = accepted - tally[Fate.ROAMING_KEPT.value] - tally[Fate.ROAMING_OTHER.value]
    hours = sorted(seen.hours)
    found = FeedCheck(
        verdict="",
        not_fit=(),
        warnings=(),
        files=files,
        files_refused=dict(files_refused),
        rows=rows,
        accepted=accepted,
        refused=refused,
        lateness_s=_lateness(seen.delays),
        unknown_cells=tally[Fate.UNKNOWN_CELL.value] / on_cells if knows_cells and on_cells else None,
        duplicates=seen.sample.repeated(),
        duplicates_from=f"1 row in {1 << seen.sample.level}" if seen.sample.level else "all rows",
        first_hour=_hour(hours[0]) if hours else None,
        last_hour=_hour(hours[-1]) if hours else None,
        hours_covered=len(hours),
        hours_missing=hours[-1] - hours[0] + 1 - len(hours) if hours else 0,
    )
    bad = rows - accepted + (tally[Fate.UNKNOWN_CELL.value] if knows_cells else 0)
    not_fit = tuple(_not_fit(found, bad, most_refused))
    warnings = tuple(_warnings(found))
    if not knows_cells:
        warnings += ("cells were not looked up: no cell plan",)
    if layout is not None and layout.is_arrival_made_up:
        warnings += ("no arrival was given (ingest_time is event_time): late rows cannot be told",)
    return replace(
        found,
        verdict="not fit" if not_fit else "fit with warnings" if warnings else "fit",
        not_fit=not_fit,
        warnings=warnings,
    )


def _not_fit(found: FeedCheck, bad: int, most_refused: float) -> Iterator[str]:
    if found.files_refused:
        yield "a file is refused whole"
    if not found.rows:
        yield "no row was read"
    if bad > most_refused * found.rows:
        yield f"more than {most_refused:.0%} of the rows are refused or on unknown cells: the edge would stop"
    if found.share(*_FORBIDDEN) > MOST_FORBIDDEN:
        yield f"more than {MOST_FORBIDDEN:.0%} of the rows carry identities or fields that must not be in the feed"


def _warnings(found: FeedCheck) -> Iterator[str]:
    if 0 < found.share(*_FORBIDDEN) <= MOST_FORBIDDEN:
        yield "rows carry identities or fields that must not be in the feed"
    if found.share(*(reason for reason in Refusal if reason not in _BY_TIME)) > MOST_MALFORMED:
        yield f"more than {MOST_MALFORMED:.0%} of the rows break the contract"
    if found.share(Refusal.LATE) > MOST_LATE:
        yield f"more than {MOST_LATE:.0%} of the rows are late"
    if found.share(Refusal.FUTURE) > MOST_AHEAD:
        yield f"more than {MOST_AHEAD:.0%} of the rows are from the future: a clock is ahead"
    if found.lateness_s is not None and found.lateness_s["p90"] > LATEST_USUAL.total_seconds():
        yield "a tenth of the rows arrive more than 10 minutes after the event"
    if found.unknown_cells is not None and found.unknown_cells > MOST_UNKNOWN:
        yield f"more than {MOST_UNKNOWN:.0%} of the rows are on cells that the plan does not know"
    if found.duplicates > MOST_DUPLICATES:
        yield f"more than {MOST_DUPLICATES:.0%} of the rows came before"
    if found.hours_missing:
        yield "hours between the first and the last hold no row"


def show(check: FeedCheck, console: Console) -> None:
    """The check as a person reads it."""
    console.print(f"[bold]{check.verdict}[/]")
    for rule in check.not_fit:
        console.print(f"  not fit: {rule}")
    for rule in check.warnings:
        console.print(f"  warning: {rule}")
    table = Table(box=None, show_header=False)
    table.add_row("files", f"{check.files:,}")
    for reason, files in check.files_refused.items():
        table.add_row(f"  refused: {reason}", f"{files:,}")
    table.add_row("rows", f"{check.rows:,}")
    table.add_row("accepted", _part(check.accepted, check.rows))
    for reason, rows in sorted(check.refused.items(), key=lambda entry: -entry[1]):
        table.add_row(f"  refused: {reason}", _part(rows, check.rows))
    for name, seconds in (check.lateness_s or {}).items():
        table.add_row(f"lateness {name}", f"{seconds:,} s")
    table.add_row("on unknown cells", "not looked up" if check.unknown_cells is None else f"{check.unknown_cells:.2%}")
    table.add_row("came before", f"{check.duplicates:.2%} (of {check.duplicates_from})")
    if check.first_hour is not None:
        table.add_row(
            "hours", f"{check.first_hour} to {check.last_hour}: {check.hours_covered}, {check.hours_missing} missing"
        )
    console.print(table)


def _part(rows: int, of: int) -> str:
    return f"{rows:,} ({rows / of:.2%})" if of else "0"


def _networks(settings: EdgeSettings) -> Networks:
    return Networks(frozenset(settings.own_networks), frozenset(settings.networks_across))


def _lookup(plan: pl.DataFrame | None, networks: Networks | None) -> Lookup:
    """Which cells there are; where they lie is not asked."""
    keys = {"rat": pl.String(), "plmn": pl.String(), "cell_id": pl.String()}
    times = {"valid_from": pl.Datetime("us", "UTC"), "valid_to": pl.Datetime("us", "UTC")}
    cells = pl.DataFrame(schema={**keys, **times}) if plan is None else plan.select(*keys, *times)
    placed = cells.with_columns(
        pl.int_range(pl.len(), dtype=pl.Int32).alias("cell"), pl.lit(-1, dtype=pl.Int32).alias("zone")
    )
    return Lookup(placed, networks or Networks(frozenset({"000-00"}), frozenset({"000-01"})))


def _lateness(delays: NDArray[np.int64]) -> dict[str, int] | None:
    total = int(delays.sum())
    if not total:
        return None
    at = np.searchsorted(np.cumsum(delays), [np.ceil(share * total) for share in _QUANTILES])
    return {f"p{share * 100:.0f}": int(second) + _EARLIEST_S for share, second in zip(_QUANTILES, at, strict=True)}


def _hour(number: int) -> str:
    return format_utc(_EPOCH + timedelta(hours=number))
