"""Re-checking a ledger from inside the carrier: the public facts, and behind them every draw and what was made of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from ingest.release import Level, Release
from privacy.chain import Link
from privacy.draw import estimates_of, published
from privacy.levels import DAY_LEVELS, public_cells
from privacy.policy import ReleasePolicy
from privacy.public import public_faults
from privacy.suppression import suppress
from privacy.upward import DayEstimates


@dataclass(frozen=True, slots=True)
class DayRow:
    """A token-day as stored: what it rests on and what it was charged by level."""

    lineage: str
    grid_id: str
    policy: str
    zones: str | None
    closed: bool
    charges: Mapping[str, Fraction]


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """A release as stored: the draw, which stays inside, and the document that was made of it."""

    level: str
    window_start: str
    token_day: str
    noisy: str | None
    sums: str | None  # the windows whose noisy hours a day level was joined with
    document: str
    digest: str


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a ledger holds."""

    carrier: str
    chain: tuple[Link, ...]
    days: Mapping[str, DayRow]
    releases: tuple[ReleaseRow, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found: how much was checked, and every rule that does not hold."""

    releases: int
    token_days: int
    faults: tuple[str, ...]


def check(contents: Contents) -> Verdict:
    """Every rule that a ledger breaks: its chain and public facts, and the tables beside them."""
    faults = public_faults(contents.chain)
    faults += _days_differ(contents)
    faults += _releases_differ(contents)
    drawn = _draws(contents)
    for row in contents.releases:
        day = contents.days.get(row.token_day)
        if day is None:
            found = ["its token-day is unknown"]
        else:
            try:
                found = _release_faults(row, day, contents.carrier, drawn.get(row.token_day, {}))
            except (KeyError, TypeError, ValueError):
                found = ["what it was made of is not there any more"]
        faults += [f"{row.level} {row.window_start}: {fault}" for fault in found]
    return Verdict(len(contents.releases), len(contents.days), tuple(faults))


_Draws = dict[tuple[str, str], list[int]]


def _draws(contents: Contents) -> dict[str, _Draws]:
    """What was drawn of each token-day, by level and window."""
    by_day: dict[str, _Draws] = {}
    for row in contents.releases:
        if row.noisy is not None:
            by_day.setdefault(row.token_day, {})[row.level, row.window_start] = json.loads(row.noisy)
    return by_day


def _stated(contents: Contents, kind: str) -> list[dict[str, object]]:
    return [entry.document for entry in contents.chain if entry.document.get("kind") == kind]


def _days_differ(contents: Contents) -> list[str]:
    stated = {
        (day["token_day"], day["lineage"], day["grid_id"], day["policy_digest"])
        for day in _stated(contents, "token-day")
    }
    stored = {
        (name, day.lineage, day.grid_id, ReleasePolicy(**json.loads(day.policy)).digest)
        for name, day in contents.days.items()
    }
    charged = {(c["token_day"], c["level"], c["rho"]) for c in _stated(contents, "charge")}
    spent = {(name, level, str(rho)) for name, day in contents.days.items() for level, rho in day.charges.items()}
    closed = {day["token_day"] for day in _stated(contents, "closed")}
    shut = {name for name, day in contents.days.items() if day.closed}
    return [
        f"{what} differ from those in the chain"
        for what, differ in (
            ("token-days", stated != stored),
            ("charges", charged != spent),
            ("closed token-days", closed != shut),
        )
        if differ
    ]


def _releases_differ(contents: Contents) -> list[str]:
    stated = [
        (r["level"], r["window_start"], r["token_day"], r["release_digest"], r["drawn"])
        for r in _stated(contents, "release")
    ]
    stored = [(r.level, r.window_start, r.token_day, r.digest, r.noisy is not None) for r in contents.releases]
    return [] if stated == stored else ["releases differ from those in the chain"]


def _release_faults(row: ReleaseRow, day: DayRow, carrier: str, drawn: _Draws) -> list[str]:
    try:
        release = Release.model_validate_json(row.document)
    except ValueError:
        return ["the release breaks its contract"]
    level, policy = Level(row.level), ReleasePolicy(**json.loads(day.policy))
    faults = [] if release.digest == row.digest else ["the digest differs from the stored one"]
    if (release.carrier, release.lineage, release.grid_id) != (carrier, day.lineage, day.grid_id):
        faults.append("carrier, lineage or grid differ from those of the token-day")
    expected = policy.mechanism(level)
    if {**release.mechanism.model_dump(), "sigma": expected["sigma"]} != expected or release.level is not level:
        faults.append("the mechanism is not that of the policy")
    said = [count.value for count in release.counts]
    if level is Level.ZONE_HOUR:
        made = _hour_values(row, policy, len(said))
        if release.mechanism.sigma != policy.sigma:
            faults.append("the mechanism is not that of the policy")
    else:
        estimates = _day_estimates(row, day, policy, drawn)
        own = estimates.sector_day if level is Level.SECTOR_DAY else estimates.border_day
        made = [None] * len(said) if row.noisy is None else published(own, policy.threshold_day)
        if [getattr(count, "sigma", None) for count in release.counts] != [estimate.sigma for estimate in own]:
            faults.append("the stated deviations are not those of the estimates")
    if said != made:
        faults.append("the published values are not those of the stored draw")
    return faults


def _hour_values(row: ReleaseRow, policy: ReleasePolicy, cells: int) -> list[int | None]:
    if row.noisy is None:
        return [None] * cells
    return [suppress(value, policy.threshold) for value in json.loads(row.noisy)]


def _day_estimates(row: ReleaseRow, day: DayRow, policy: ReleasePolicy, drawn: _Draws) -> DayEstimates:
    """The estimates that follow from the stored draws of a token-day, made again."""
    cells = public_cells([tuple(zone) for zone in json.loads(day.zones or "[]")])
    own = [drawn.get((level.value, row.window_start), [0] * len(cells.at(level))) for level in DAY_LEVELS]
    windows = json.loads(row.sums or "[]")
    hours = [drawn[Level.ZONE_HOUR.value, window] for window in windows] if windows else None
    return estimates_of(cells, policy, hours, *own)
