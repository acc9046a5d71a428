"""The door for releases: what a carrier sends is kept whole, once, or refused by a named reason.

Push, file and topic all come through here. A refusal names the reason and the place, never the value.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Literal, NoReturn

from pydantic import ValidationError

from api.store import Store, Stored, ZoneGridRecord, grid_in_force
from ingest.release import SHAPE_TAGS, Level, Mechanism, Release
from privacy.policy import MAX_DELTA, MAX_K, MAX_RHO_DAY, MIN_THRESHOLD, MIN_THRESHOLD_DAY, SHARES

BODY_LIMIT_BYTES = 2_000_000
SETTLED_AFTER = timedelta(minutes=75)
"""60 minutes for movements to settle and 15 for late rows (design.md, section 5): no honest release comes sooner."""

_NUMBER_LENGTH = 18
_RHO_TOLERANCE = 0.01
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where, as a JSON pointer to a known field, and which rule it breaks."""

    pointer: str
    rule: str


class ReleaseRefused(ValueError):
    """A release that is not taken in: a reason code and the faults found; never a value of the release."""

    def __init__(self, reason: str, *faults: Fault) -> None:
        super().__init__(reason)
        self.reason = reason
        self.faults = faults


@dataclass(frozen=True, slots=True)
class ReleaseFloor:
    """The weakest mechanism the centre takes in (design.md, section 6). It can be made stricter, not weaker.

    >>> ReleaseFloor(threshold=10)
    Traceback (most recent call last):
    ...
    ValueError: threshold is weaker than the design's floor
    """

    rho_day: float = MAX_RHO_DAY
    threshold: int = MIN_THRESHOLD
    threshold_day: int = MIN_THRESHOLD_DAY
    k: int = MAX_K
    sigma: float = 9.45
    sigma_day: float = 37.8
    delta: float = MAX_DELTA

    def __post_init__(self) -> None:
        for name, weaker in (
            ("rho_day", self.rho_day > MAX_RHO_DAY),
            ("threshold", self.threshold < MIN_THRESHOLD),
            ("threshold_day", self.threshold_day < MIN_THRESHOLD_DAY),
            ("k", self.k > MAX_K),
            ("sigma", self.sigma < 9.45),
            ("sigma_day", self.sigma_day < 37.8),
            ("delta", self.delta > MAX_DELTA),
        ):
            if weaker:
                raise ValueError(f"{name} is weaker than the design's floor")

    def threshold_at(self, level: Level) -> int:
        """The least threshold of a level."""
        return self.threshold if level is Level.ZONE_HOUR else self.threshold_day

    def sigma_at(self, level: Level) -> float:
        """The least noise of a level."""
        return self.sigma if level is Level.ZONE_HOUR else self.sigma_day


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a carrier is told of a release that stands: taken in now, or known already with this very digest."""

    outcome: Literal["accepted", "same_digest"]
    digest: str
    received_at: datetime


def parse_json(body: bytes) -> Any:
    """The JSON value of a body: UTF-8, no key twice, no NaN or infinity, no absurd numbers, no bottomless nesting.

    Python's parser alone would keep the last of two equal keys and read `NaN`.

    >>> parse_json(b'{"value": 1, "value": 2}')
    Traceback (most recent call last):
    ...
    api.intake.ReleaseRefused: duplicate_key
    """
    if len(body) > BODY_LIMIT_BYTES:
        raise ReleaseRefused("too_large")
    try:
        return json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_without_doubles,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_short_integer,
        )
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ReleaseRefused("not_json") from None


def parse_release(body: bytes) -> Release:
    """The release in a body; raises ReleaseRefused."""
    return release_from(parse_json(body))


def release_from(document: object) -> Release:
    """The release in a JSON document; raises ReleaseRefused with every fault against the contract."""
    try:
        return Release.model_validate(document)
    except ValidationError as invalid:
        faults = faults_of(invalid.errors(include_url=False, include_input=False))
    raise ReleaseRefused("contract", *faults)


def faults_of(errors: Iterable[Mapping[str, Any]], *, skip: int = 0) -> list[Fault]:
    """Pydantic's errors as faults, without input and without names that came from the caller.

    `skip` leaves out leading parts of the place, such as FastAPI's `body`.
    """
    faults = []
    for error in errors:
        place = [str(part) for part in error["loc"][skip:] if part not in SHAPE_TAGS]
        rule = error["type"]
        if rule == "extra_forbidden":
            place, rule = place[:-1], "unknown_field"
        elif rule == "value_error":
            rule = str(error["ctx"]["error"])
        faults.append(Fault("".join(f"/{part}" for part in place), rule))
    return faults


def accept_release(
    store: Store,
    document: Release | Mapping[str, Any],
    *,
    carrier: str | None,
    now: datetime,
    floor: ReleaseFloor | None = None,
) -> Receipt:
    """Take one release in, whole and once; raises ReleaseRefused.

    `carrier` is whom the credential speaks for; None for a path that the centre itself trusts, such as a drop folder.
    """
    (outcome,) = accept_many(store, [document], carrier=carrier, now=now, floor=floor)
    if isinstance(outcome, ReleaseRefused):
        raise outcome
    return outcome


def accept_many(
    store: Store,
    documents: Iterable[Release | Mapping[str, Any]],
    *,
    carrier: str | None,
    now: datetime,
    floor: ReleaseFloor | None = None,
    batch: int = 128,
) -> Iterator[Receipt | ReleaseRefused]:
    """What became of each release, in order; `batch` of them share a transaction.

    A refused release leaves the others of its batch alone. Nothing of a batch counts before its outcomes are given.
    """
    rule = floor or ReleaseFloor()
    carriers = frozenset(row["carrier_id"] for row in store.carriers())
    grids = store.grids()
    waiting = iter(documents)
    while chunk := list(islice(waiting, batch)):
        outcomes: list[Receipt | ReleaseRefused | None] = []
        admitted: list[tuple[Release, ZoneGridRecord, bool]] = []
        for document in chunk:
            try:
                release = document if isinstance(document, Release) else release_from(document)
                kind = lineage_kind(release.lineage)
                grid = _admit(release, carrier, carriers, grids, rule, kind in store.accept_lineages, now)
            except ReleaseRefused as refusal:
                outcomes.append(refusal)
            else:
                outcomes.append(None)
                admitted.append((release, grid, kind != "live"))
        stored = iter(store.accept(admitted, now=now))
        yield from (_receipt(next(stored)) if outcome is None else outcome for outcome in outcomes)


def lineage_kind(lineage: str) -> str:
    """What made a release: `replay` and `simulated` lineages say so in front, any other is live.

    >>> lineage_kind("replay-7f3a"), lineage_kind("7f3a")
    ('replay', 'live')
    """
    prefix, dash, _ = lineage.partition("-")
    return prefix if dash and prefix in {"replay", "simulated"} else "live"


def _receipt(stored: Stored) -> Receipt | ReleaseRefused:
    if stored.outcome == "other_digest":
        return ReleaseRefused("second_digest", Fault("/digest", "a window is spoken of once, ever"))
    return Receipt(stored.outcome, stored.digest, stored.received_at)


def _admit(
    release: Release,
    carrier: str | None,
    carriers: frozenset[str],
    grids: list[ZoneGridRecord],
    floor: ReleaseFloor,
    lineage_accepted: bool,
    now: datetime,
) -> ZoneGridRecord:
    """The grid a release speaks of, if nothing speaks against the release."""
    if carrier is not None and release.carrier != carrier:
        raise ReleaseRefused("other_carrier", Fault("/carrier", "a credential speaks for its own carrier"))
    if release.carrier not in carriers:
        raise ReleaseRefused("unknown_carrier", Fault("/carrier", "an active carrier of this centre"))
    if not lineage_accepted:
        raise ReleaseRefused("lineage", Fault("/lineage", "this centre does not take in replays or simulations"))
    if now < release.window_end:
        raise ReleaseRefused("window_open", Fault("/window_end", "nothing is released before the hour has closed"))
    if now < release.window_end + SETTLED_AFTER:
        raise ReleaseRefused("window_unsettled", Fault("/window_end", "movements settle for 75 minutes first"))
    _hold_floor(release, floor)
    if not any(grid.grid_id == release.grid_id for grid in grids):
        raise ReleaseRefused("unknown_grid", Fault("/grid_id", "a zone grid of this centre"))
    grid = grid_in_force(grids, release.window_start)
    if grid is None or grid.grid_id != release.grid_id:
        raise ReleaseRefused("grid_not_in_force", Fault("/grid_id", "the zone grid valid at the window"))
    _whole_grid(release, grid)
    return grid


def _hold_floor(release: Release, floor: ReleaseFloor) -> None:
    mechanism, level = release.mechanism, release.level
    share = SHARES[level] * mechanism.rho_day
    faults = [
        Fault(f"/mechanism/{name}", rule)
        for name, weaker, rule in (
            ("rho_day", mechanism.rho_day > floor.rho_day, "at most the policy's rho"),
            ("rho_level", mechanism.rho_level > share + _ROUNDING, "at most the level's share of the day's rho"),
            ("delta", mechanism.delta > floor.delta, "at most the policy's delta"),
            ("k", mechanism.k > floor.k, "at most the policy's k"),
            ("threshold", mechanism.threshold < floor.threshold_at(level), "at least the policy's threshold"),
            (_noise_name(level), mechanism.drawn_sigma < floor.sigma_at(level), "at least the policy's sigma"),
        )
        if weaker
    ]
    if faults:
        raise ReleaseRefused("weaker_mechanism", *faults)
    if mechanism.rho_level < (1 - _RHO_TOLERANCE) * noise_cost(level, mechanism):
        raise ReleaseRefused(
            "mechanism_inconsistent", Fault("/mechanism/rho_level", "not less than k and sigma together cost")
        )


def _noise_name(level: Level) -> str:
    return "sigma" if level is Level.ZONE_HOUR else "noise_sigma"


def noise_cost(level: Level, mechanism: Mechanism) -> float:
    """What the noise stated costs a token-day in zCDP: L2^2 / (2 sigma^2).

    k movements per direction touch 2 k zone-hours by 1 each, but one cell of a day level and direction by k.
    """
    square_l2 = 2 * mechanism.k if level is Level.ZONE_HOUR else 2 * mechanism.k**2
    return square_l2 / (2 * mechanism.drawn_sigma**2)


def _whole_grid(release: Release, grid: ZoneGridRecord) -> None:
    # The contract has refused doubles already.
    cells = grid.cells(release.level)
    if any(count.cell not in cells for count in release.counts):
        raise ReleaseRefused("unknown_zone", Fault("/counts", "zones of the grid only"))
    if len(release.counts) != len(cells):
        raise ReleaseRefused("missing_zone", Fault("/counts", "every zone and direction of the grid"))
    start = release.window_start
    if release.level is not Level.ZONE_HOUR and grid.token_day_start(start) != start:
        raise ReleaseRefused("not_a_token_day", Fault("/window_start", "a day level speaks of a whole token-day"))


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ReleaseRefused("duplicate_key")
    return unique


def _no_constant(_: str) -> NoReturn:
    raise ReleaseRefused("not_finite")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ReleaseRefused("not_finite")
    return number


def _short_integer(text: str) -> int:
    if len(text) > _NUMBER_LENGTH:
        raise ReleaseRefused("not_finite")
    return int(text)
