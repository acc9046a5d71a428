"""The centre's jobs: take releases in, learn what is usual, flag what is not, serve. Wiring only."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from api.intake import Receipt, ReleaseRefused, accept_many, parse_json
from api.store import Store
from detector.alerts import EXPLAINED, SHIFTED
from detector.backtest import backtest
from detector.calendar import Calendar
from detector.calibrate import BUDGET_PER_ZONE_MONTH
from detector.combine import PUBLISHED_SCHEMA, combine
from detector.detect import detect, train
from detector.features import LOOKBACK_DAYS
from detector.model import Bundle, load_bundle, save_bundle
from detector.policy import CONTROL_REASON, Arming, Policy, controlled, not_looser, succeed
from detector.register import AROUND, EventKind, EventRefused, RegisteredEvent
from geofence.grid import grid_from_document, neighbours
from ingest.files import open_plain
from ingest.release import HOUR
from jobs.settings import CentreSettings
from privacy.public import public_faults, read_public_ledger, reconcile


class CentreNotReady(RuntimeError):
    """Something that this job rests on is not there yet; says what to do first."""


class ReleasesWait(CentreNotReady):
    """Releases stay on their topics until the centre is ready for them; names the topics and the reasons."""


NOT_YET = {
    "unknown_grid": "add the carrier's zone grid",
    "grid_not_in_force": "add the zone grid that is valid then",
    "unknown_carrier": "add the carrier",
    "window_unsettled": "its window has not settled by this machine's clock",
}
"""Refusals that are over once the centre, or the clock, has come so far: such a release is not done with."""


@dataclass(frozen=True, slots=True)
class Border:
    """What the centre knows of its border: zones, which of them touch, and whose calendar it lives by."""

    zones: pl.DataFrame  # zone_id, sector_id, kind
    neighbours: Mapping[str, tuple[str, ...]]
    calendar: Calendar


def open_store(settings: CentreSettings) -> Store:
    """The centre's store, its folder made if it is a file."""
    prefix = "sqlite:///"
    if settings.store.startswith(prefix):
        Path(settings.store.removeprefix(prefix)).parent.mkdir(parents=True, exist_ok=True)
    return Store(settings.store, accept_lineages=settings.accept_lineages)


def read_releases(paths: Iterable[Path]) -> Iterator[Any]:
    """The release documents of files: one JSON document a file, or one a line in `.ndjson[.gz]`.

    What is no JSON is handed on as None, so that intake refuses it, counts it and goes on.
    """
    for path in paths:
        if path.suffix == ".json":
            yield _parsed(path.read_bytes())
            continue
        with open_plain(path) as lines:
            for line in lines:
                if line.strip():
                    yield _parsed(line)


def _parsed(text: bytes) -> Any:
    try:
        return parse_json(text)
    except ReleaseRefused:
        return None


def release_files(folder: Path) -> list[Path]:
    """The release files of a drop folder, in the order of their names."""
    return sorted(path for pattern in ("*.json", "*.ndjson", "*.ndjson.gz") for path in folder.glob(pattern))


def take_in(
    store: Store, documents: Iterable[Any], *, now: datetime, progress: Callable[[], None] = lambda: None
) -> dict[str, int]:
    """Take releases in from a path that the centre trusts; how many were accepted, known already, or refused by reason."""
    outcomes: Counter[str] = Counter()
    for outcome in accept_many(store, documents, carrier=None, now=now):
        if isinstance(outcome, Receipt):
            outcomes[outcome.outcome] += 1
        else:
            assert isinstance(outcome, ReleaseRefused)
            outcomes[f"refused:{outcome.reason}"] += 1
        progress()
    return dict(outcomes)


def consume(store: Store, settings: CentreSettings, *, now: datetime, quiet_s: float = 5.0) -> dict[str, int]:
    """Take in what the carriers' topics hold that was not taken in yet: how many releases were accepted, known, or refused.

    A topic speaks for the one carrier that the settings name: a release of another on it is refused. Raises CentreNotReady
    without topics, and ReleasesWait, once every topic had its turn, if a release was refused for now only (NOT_YET): it
    stays on its topic, and so do those behind it.
    """
    # A centre that takes releases by push needs no Kafka client.
    from ingest.kafka import consume_releases

    kafka = settings.kafka
    if kafka is None:
        raise CentreNotReady("centre.kafka: the topics that releases come in by are not set")
    outcomes: Counter[str] = Counter()
    waiting: list[str] = []
    for topic, carrier in sorted(kafka.topics.items()):

        def accept(content: bytes, carrier: str = carrier) -> bool:
            (outcome,) = accept_many(store, [_parsed(content)], carrier=carrier, now=now)
            if isinstance(outcome, Receipt):
                outcomes[outcome.outcome] += 1
                return True
            assert isinstance(outcome, ReleaseRefused)
            if outcome.reason in NOT_YET:
                raise ReleasesWait(outcome.reason)
            outcomes[f"refused:{outcome.reason}"] += 1
            return False

        try:
            consume_releases(kafka.bootstrap, kafka.group, accept, kafka.client_login, topic=topic, quiet_s=quiet_s)
        except ReleasesWait as wait:
            waiting.append(f"{topic}: {wait} ({NOT_YET[str(wait)]})")
    if waiting:
        done = ", ".join(f"{outcome} {count}" for outcome, count in sorted(outcomes.items())) or "nothing"
        raise ReleasesWait(f"releases wait on their topics: {'; '.join(waiting)}. Taken in before: {done}")
    return dict(outcomes)


def reconcile_ledger(store: Store, content: bytes) -> dict[str, Any]:
    """Whether a carrier's public ledger keeps its own rules and says what this centre was told; raises NoPublicLedger."""
    carrier, chain = read_public_ledger(content)
    told = store.digests_told(carrier)
    return {"carrier": carrier, "told": len(told), "faults": [*public_faults(chain), *reconcile(chain, told)]}


def border_of(store: Store, settings: CentreSettings) -> Border:
    """The zones in force; raises CentreNotReady without a grid."""
    record = store.active_grid()
    if record is None:
        raise CentreNotReady("the centre has no zone grid yet: tidemark centre add-grid FILE")
    grid = grid_from_document(record.document)
    zones = pl.DataFrame(
        [(zone.zone_id, zone.sector_id, zone.kind.value) for zone in grid.zones],
        schema=["zone_id", "sector_id", "kind"],
        orient="row",
    )
    calendar = Calendar(settings.time_zone, settings.holidays[0], tuple(settings.holidays[1:]))
    return Border(zones, neighbours(grid), calendar)


def history(store: Store, border: Border, first_window: datetime, last_window: datetime) -> pl.DataFrame:
    """What all carriers published of these windows, both included, as the detector reads it."""
    columns = store.counts_rows(first_window, last_window + HOUR)
    published = pl.DataFrame({name: columns[name] for name in PUBLISHED_SCHEMA}, schema=PUBLISHED_SCHEMA)
    expected = [carrier["carrier_id"] for carrier in store.carriers()]
    if not expected:
        raise CentreNotReady("the centre expects no carrier yet: tidemark centre add-carrier NAME")
    return combine(published, border.zones, expected, first_window=first_window, last_window=last_window)


def run_train(
    store: Store,
    settings: CentreSettings,
    *,
    first_window: datetime,
    last_window: datetime,
    proposed_by: str,
    approved_by: str | None,
    reason: str,
) -> dict[str, Any]:
    """Learn from a span of windows; save the bundle, serve it, and record the thresholds that belong to it."""
    border = border_of(store, settings)
    now = datetime.now(UTC)
    before = store.active_policy(last_window + HOUR)
    trained = train(
        history(store, border, first_window, last_window),
        border.neighbours,
        border.calendar,
        proposed_by=proposed_by,
        approved_by=approved_by,
        reason=reason,
        previous=before["policy_version"] if before else None,
    )
    folder = save_bundle(trained.bundle, settings.models)
    record = {"folder": folder.name, "digest": trained.bundle.document["digest"]}
    store.put_bundle(trained.bundle.model_version, record, recorded_at=now)
    # Alone, a training only tightens.
    policy = trained.policy
    if approved_by is None and before is not None:
        policy = not_looser(Policy.from_document(before), policy)
    store.put_policy(policy.document(), recorded_at=now)
    return {
        "model_version": trained.bundle.model_version,
        "policy_version": policy.policy_version,
        "tail_p": policy.tail_p,
        "least_rarity": policy.least_rarity,
        "metrics": trained.bundle.document["metrics"],
    }


def register_event(
    store: Store,
    *,
    sector_id: str,
    zone_ids: tuple[str, ...],
    starts_at: datetime,
    ends_at: datetime,
    kind: str,
    registered_by: str,
    reason: str,
    now: datetime,
) -> dict[str, Any]:
    """Record a known crowd; raises EventRefused, and CentreNotReady where the grid in force has no such sector or zone."""
    grid = store.active_grid(starts_at)
    if grid is None:
        raise CentreNotReady("the centre has no zone grid: tidemark centre add-grid")
    places = {(zone["sector_id"], zone["zone_id"]) for zone in (f["properties"] for f in grid.document["features"])}
    if sector_id not in {sector for sector, _ in places} or any((sector_id, zone) not in places for zone in zone_ids):
        raise EventRefused("the grid in force has no such sector, or no such zone in it")
    if kind not in set(EventKind):
        raise EventRefused(f"an event is one of: {', '.join(sorted(EventKind))}")
    event = RegisteredEvent(sector_id, zone_ids, starts_at, ends_at, EventKind(kind), registered_by, now, reason)
    store.put_event(event, recorded_at=now)
    return event.document()


CONTROL_SPAN = timedelta(days=28)
_REAL = frozenset({"confirmed_unusual", "relief_need"})


def adjust_policy(
    store: Store, *, proposed_by: str, approved_by: str | None, now: datetime, budget: float = BUDGET_PER_ZONE_MONTH
) -> dict[str, Any]:
    """One slow step of the policy in force towards the budget; the answer says what was seen and which policy is in force.

    An alert of the last CONTROL_SPAN is false unless a desk has called it real. Exercises, simulations, what a registered
    event explains and suspected level shifts are left out. At most one step a week.
    """
    document = store.active_policy(now)
    if document is None:
        raise CentreNotReady("no thresholds policy is in force: tidemark train")
    policy = Policy.from_document(document)
    trained, steps = policy, 0
    while trained.reason.startswith(CONTROL_REASON) and trained.previous and (last := store.policy(trained.previous)):
        trained, steps = Policy.from_document(last), steps + 1
    since = now - CONTROL_SPAN
    false: Counter[str] = Counter()
    for alert in store.alerts_ending_after(since):
        counted = not (alert["exercise"] or alert["simulated"] or alert["disposition"] in _REAL)
        if counted and not any(reason.startswith((EXPLAINED, SHIFTED)) for reason in alert["reasons"]):
            false[alert["sector_id"]] += 1
    months = store.judged_zone_months(since, now)
    report = {"false_alerts": dict(false), "zone_months": months, "budget": budget, "steps_so_far": steps}
    if steps and now - policy.valid_from < timedelta(days=7):
        return {**report, "policy_version": policy.policy_version, "changed": False}
    after = controlled(
        policy,
        trained,
        false,
        months,
        budget=budget,
        valid_from=now,
        proposed_by=proposed_by,
        approved_by=approved_by,
    )
    if after != policy:
        store.put_policy(succeed(policy, after).document(), recorded_at=now)
    return {**report, "policy_version": after.policy_version, "changed": after != policy}


def served_bundle(store: Store, settings: CentreSettings) -> Bundle:
    """The bundle that serves, checked in a throw-away process first; raises CentreNotReady or BundleError."""
    record = store.active_bundle()
    if record is None:
        raise CentreNotReady("the centre has no model yet: tidemark train")
    bundle = load_bundle(settings.models / record["folder"], digest=record["digest"])
    if len(bundle.shares) != len(store.carriers()):
        raise CentreNotReady("the model was learned from another number of carriers: tidemark train")
    return bundle


def run_detect(
    store: Store,
    settings: CentreSettings,
    *,
    first_window: datetime,
    last_window: datetime,
    exercise: bool = False,
    simulated: bool = False,
) -> dict[str, Any]:
    """Judge every zone-hour of a span of windows, both included, and store expectations and changed alerts."""
    border = border_of(store, settings)
    bundle = served_bundle(store, settings)
    document = store.active_policy(last_window + HOUR)
    if document is None:
        raise CentreNotReady("no thresholds policy is in force: tidemark train")
    policy = Policy.from_document(document)
    # Open alerts whose last hour has passed must be seen too, or they would never close.
    known = {alert["alert_id"]: alert for alert in [*store.alerts_ending_after(first_window), *store.open_alerts()]}
    begins = [datetime.fromisoformat(alert["window_start"]) for alert in known.values()]
    since = min([first_window, *begins]) - timedelta(days=LOOKBACK_DAYS)
    found = detect(
        history(store, border, since, last_window),
        bundle,
        policy,
        [Arming(**arming) for arming in store.armings()],
        border.neighbours,
        border.calendar,
        known.values(),
        first_window=first_window,
        last_window=last_window,
        events=store.events_ending_after(min([first_window, *begins]) - AROUND),
        exercise=exercise,
        simulated=simulated,
    )
    rows = found.expectations.to_dicts()
    changed = store.save_detection(expectations=rows, alerts=found.alerts, recorded_at=datetime.now(UTC))
    states = found.expectations["state"].value_counts().iter_rows()
    return {
        "zone_hours": found.expectations.height,
        "states": dict(states),
        "alerts_changed": [alert["alert_id"] for alert in changed],
        "level_shifts": found.level_shifts,
        "model_version": bundle.model_version,
        "policy_version": policy.policy_version,
    }


def run_backtest(
    store: Store,
    settings: CentreSettings,
    truth: pl.DataFrame,
    *,
    first_window: datetime,
    last_window: datetime,
) -> dict[str, Any]:
    """How the served model and the policy in force would have done on a span with planted surges; stores nothing."""
    border = border_of(store, settings)
    bundle = served_bundle(store, settings)
    document = store.active_policy(last_window + HOUR)
    if document is None:
        raise CentreNotReady("no thresholds policy is in force: tidemark train")
    found = detect(
        history(store, border, first_window - timedelta(days=LOOKBACK_DAYS), last_window),
        bundle,
        Policy.from_document(document),
        # A back-test asks what would have been flagged, were every sector armed for the time.
        _armed_throughout(border, first_window, last_window),
        border.neighbours,
        border.calendar,
        [],
        first_window=first_window,
        last_window=last_window,
    )
    return backtest(found.expectations, found.alerts, truth, border.neighbours).document()


def _armed_throughout(border: Border, first_window: datetime, last_window: datetime) -> list[Arming]:
    return [
        Arming(sector_id, "back-test", "none: nothing leaves this run", first_window, last_window + HOUR)
        for sector_id in border.zones["sector_id"].unique().to_list()
    ]


def serve(store: Store, settings: CentreSettings, *, clock: Callable[[], datetime]) -> None:
    """Serve the API and the page until stopped."""
    import uvicorn

    from api.app import create_app
    from api.settings import ApiSettings, Notice

    notice = Notice(**settings.notice.model_dump())
    api_settings = ApiSettings(bind_host=settings.host, sign_in=settings.sign_in, clock=clock, notice=notice)
    uvicorn.run(
        create_app(store, api_settings),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,  # a query string may hold anything
        proxy_headers=False,
        server_header=False,
    )
