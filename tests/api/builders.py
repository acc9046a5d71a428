"""What the stories about the centre are made of: a small border, two carriers, their releases, what was seen in them."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from api.app import create_app
from api.intake import accept_release
from api.settings import ApiSettings
from api.store import Store
from ingest.release import HOUR, Release, format_utc, seal

GRID_ID = "sha256:" + "9a" * 32
ZONES = {"belt-01": "north", "belt-02": "north", "belt-03": "south", "gate-01": "south"}
MORNING = datetime(2026, 3, 2, 5, tzinfo=UTC)
NOW = MORNING + timedelta(hours=2, minutes=30)
CARRIERS = ("carrier-a", "carrier-b")
SECRET = "452049876543210"  # looks like a subscriber: must not come back from anywhere


def grid_document(**changes: Any) -> dict[str, Any]:
    """A grid of three belts and a crossing point."""
    features = [
        {
            "type": "Feature",
            "properties": {
                "zone_id": zone_id,
                "sector_id": sector_id,
                "kind": "belt" if zone_id.startswith("belt") else "crossing_point",
                "name": zone_id.title(),
                "note": "of the grid's maker",
            },
            "geometry": {"type": "Polygon", "coordinates": [[[105, 11], [106, 11], [106, 12], [105, 11]]]},
        }
        for zone_id, sector_id in ZONES.items()
    ]
    return {
        "type": "FeatureCollection",
        "grid_id": GRID_ID,
        "valid_from": "2026-01-01T20:00:00Z",
        "turn_hour_utc": 20,
        "attribution": "a border that is not there",
        "features": features,
    } | changes


def mechanism(**changes: Any) -> dict[str, Any]:
    """The mechanism of design.md, section 6."""
    return {
        "name": "discrete_gaussian",
        "sigma": 9.45,
        "rho_day": 0.028,
        "rho_level": 0.0224,
        "delta": 1e-6,
        "k": 2,
        "threshold": 50,
        "policy_id": "policy-1",
    } | changes


def release_content(
    carrier: str = "carrier-a",
    start: datetime = MORNING,
    values: Mapping[tuple[str, str], int] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """A release's document without digest: null everywhere but in `values`."""
    known = values or {("belt-01", "arrival"): 120}
    return {
        "carrier": carrier,
        "grid_id": GRID_ID,
        "level": "zone-hour",
        "window_start": format_utc(start),
        "window_end": format_utc(start + HOUR),
        "mechanism": mechanism(),
        "lineage": "f00d",
        "counts": [
            {"zone_id": zone_id, "direction": direction, "value": known.get((zone_id, direction))}
            for zone_id in sorted(ZONES)
            for direction in ("arrival", "departure")
        ],
        "feed": {"complete": True},
    } | changes


DAY_START = datetime(2026, 3, 1, 20, tzinfo=UTC)
SECTOR_CELLS = [("north", "belt"), ("south", "belt"), ("south", "crossing_point")]
BORDER_CELLS = [("belt",), ("crossing_point",)]


def day_content(level: str = "sector-day", carrier: str = "carrier-a", **changes: Any) -> dict[str, Any]:
    """A day level's document without digest: the token-day that holds MORNING, all null."""
    names, places = {
        "sector-day": (("sector_id", "kind"), SECTOR_CELLS),
        "border-day": (("kind",), BORDER_CELLS),
    }[level]
    day = {"rho_level": 0.0028, "threshold": 150, "sigma": 34.9, "noise_sigma": 37.8}
    return {
        "carrier": carrier,
        "grid_id": GRID_ID,
        "level": level,
        "window_start": format_utc(DAY_START),
        "window_end": format_utc(DAY_START + 24 * HOUR),
        "mechanism": mechanism(**day, estimate="weighted_least_squares"),
        "lineage": "f00d",
        "counts": [
            dict(zip(names, place, strict=True)) | {"direction": direction, "value": None, "sigma": 34.9}
            for place in places
            for direction in ("arrival", "departure")
        ],
        "feed": {"complete": True},
    } | changes


def release(*args: Any, **changes: Any) -> Release:
    """A sealed release."""
    return seal(release_content(*args, **changes))


def a_store(folder: Path, *, lineages: Iterable[str] = ("live",), carriers: Iterable[str] = CARRIERS) -> Store:
    """A store in a folder, with the grid and the carriers."""
    store = Store(f"sqlite:///{folder / 'centre.db'}", accept_lineages=lineages)
    store.put_grid(grid_document())
    for carrier in carriers:
        store.put_carrier(carrier, carrier.title())
    return store


def with_releases(store: Store, *starts: datetime, carriers: Iterable[str] = CARRIERS) -> list[Release]:
    """Releases of some hours by some carriers, taken in."""
    taken = [release(carrier, start) for start in starts or (MORNING,) for carrier in carriers]
    for one in taken:
        accept_release(store, one, carrier=None, now=NOW)
    return taken


def expectation(zone_id: str = "belt-01", direction: str = "arrival", **changes: Any) -> dict[str, Any]:
    """A usual hour."""
    return {
        "zone_id": zone_id,
        "direction": direction,
        "window_start": MORNING,
        "expected": 101.23456,
        "lower": 70.0,
        "upper": 133.0,
        "sd": 16.0,
        "observed": 120,
        "excess": 18.76544,
        "tail_p": 0.1234567890123456,
        "state": "usual",
        "abstained": None,
        "model_version": "m-1",
        "policy_version": "p-1",
    } | changes


def every_expectation(**changes: Any) -> list[dict[str, Any]]:
    """One expectation for each zone and direction."""
    return [expectation(zone_id, direction, **changes) for zone_id in ZONES for direction in ("arrival", "departure")]


def alert(digest: str, alert_id: str = "a-1", **changes: Any) -> dict[str, Any]:
    """An alert as the detector writes it."""
    return {
        "alert_id": alert_id,
        "revision": 1,
        "status": "open",
        "sector_id": "north",
        "zone_ids": ["belt-01", "belt-02"],
        "direction": "arrival",
        "window_start": format_utc(MORNING),
        "window_end": format_utc(MORNING + HOUR),
        "observed": {"value": 402, "interval": [365, 439]},
        "expected": {"value": 118, "interval": [92, 144]},
        "excess": {"value": 284, "interval": [239, 329]},
        "probability": "75-90 %",
        "severity": "high",
        "reasons": ["151 more arrivals than the 63 expected in the strongest hour."],
        "coverage": {"expected": 2, "present": 2},
        "model_version": "m-1",
        "policy_version": "p-1",
        "disposition": None,
        "closed_by": None,
        "release_digests": [digest],
        "exercise": False,
        "simulated": False,
    } | changes


def policy(**changes: Any) -> dict[str, Any]:
    """A thresholds policy as the detector writes it."""
    return {
        "policy_version": "p-1",
        "tail_p": 1e-5,
        "proposed_by": "An",
        "approved_by": "Binh",
        "reason": "first season",
        "valid_from": "2026-01-01T00:00:00Z",
        "previous": None,
    } | changes


def a_client(store: Store, role: str | None = None, **settings: Any) -> TestClient:
    """A client on this machine, signed in for development if a role is named."""
    static = {"static_dir": Path("no-static-files")}
    app = create_app(store, ApiSettings(sign_in="development", **{"clock": lambda: NOW} | static | settings))
    client = TestClient(app, base_url="http://localhost:8000", client=("127.0.0.1", 50000))
    if role is not None:
        client.headers["Authorization"] = f"Bearer {sign_in(client, role)}"
        client.cookies.clear()
    return client


def sign_in(client: TestClient, role: str) -> str:
    """A development credential."""
    answer = client.post("/dev/sign-in", json={"role": role})
    assert answer.status_code == 200
    credential: str = answer.json()["credential"]
    return credential
