"""What a stranger holds: a public ledger, its releases, and saved pages of the centre's ledger, made by the real parts."""

import copy
import hashlib
import importlib.util
import json
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

from starlette.testclient import TestClient

from api.app import create_app
from api.intake import Receipt, accept_many
from api.settings import ApiSettings
from api.store import Store
from ingest.release import HOUR, canonical_json, release_digest
from privacy.ledger import Ledger
from privacy.public import public_ledger
from tests.privacy.builders import (
    COUNTS,
    DAY,
    GRID,
    POLICY,
    STRICTER,
    ZONES,
    CountingNoise,
    open_day,
    open_ledger,
    release,
)

VERIFIER = Path(__file__).parents[2] / "api" / "static" / "verify_ledger.py"
NEXT_DAY, THIRD_DAY = DAY + timedelta(days=1), DAY + timedelta(days=2)

Document = dict[str, Any]


def verifier() -> ModuleType:
    """The verifier as a module, to run it many times in one process."""
    spec = importlib.util.spec_from_file_location("verify_ledger", VERIFIER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@dataclass
class Held:
    """What lies on the stranger's desk; a fault is planted by changing it."""

    ledger: Document
    releases: dict[str, Document]
    pages: list[Document]

    def copy(self) -> "Held":
        """Another desk with the same things on it."""
        return copy.deepcopy(self)

    def entries(self, kind: str) -> list[Document]:
        """The documents of the ledger's entries of a kind, in order."""
        return [entry["document"] for entry in self.ledger["entries"] if entry["document"].get("kind") == kind]

    def entry(self, kind: str, **keys: Any) -> Document:
        """The first of them that has these keys."""
        return next(entry for entry in self.entries(kind) if entry.items() >= keys.items())

    def at(self, document: Document) -> int:
        """The place in the ledger of an entry's document."""
        return next(i for i, entry in enumerate(self.ledger["entries"]) if entry["document"] is document)

    def insert(self, document: Document, at: int | None = None) -> None:
        """Put an entry into the ledger, without digest, link or number."""
        entries = self.ledger["entries"]
        entries.insert(
            len(entries) if at is None else at, {"number": 0, "digest": "", "link": "", "document": document}
        )

    def reseal(self) -> None:
        """Make the chain whole again: what a forger does who holds all of the carrier's machines."""
        link = "0" * 64
        for number, entry in enumerate(self.ledger["entries"], start=1):
            entry["number"] = number
            entry["digest"] = "sha256:" + hashlib.sha256(canonical_json(entry["document"])).hexdigest()
            link = hashlib.sha256(f"{link}|{entry['digest']}".encode()).hexdigest()
            entry["link"] = link
        self.ledger["head"] = link

    def release_of(self, level: str, window_start: str) -> Document:
        """The release document of a window."""
        return next(
            release
            for release in self.releases.values()
            if (release["level"], release["window_start"]) == (level, window_start)
        )

    def reseal_release(self, document: Document) -> None:
        """Give a release a new digest, and write it into the ledger as if it had always been so."""
        document["digest"] = release_digest(document)
        entry = self.entry("release", level=document["level"], window_start=document["window_start"])
        entry["release_digest"] = document["digest"]
        entry["cells"] = len(document["counts"])
        entry["suppressed"] = sum(count["value"] is None for count in document["counts"])
        entry["complete"] = document["feed"]["complete"]

    def write(self, folder: Path) -> list[str]:
        """Write it all down; the words of the command that checks it."""
        releases, pages = folder / "releases", folder / "centre"
        for place in (releases, pages):
            place.mkdir(parents=True)
        (folder / "ledger.json").write_text(json.dumps(self.ledger), encoding="utf-8")
        for name, document in self.releases.items():
            (releases / name).write_text(json.dumps(document), encoding="utf-8")
        for number, page in enumerate(self.pages):
            (pages / f"page-{number}.json").write_text(json.dumps(page), encoding="utf-8")
        words = [str(folder / "ledger.json"), str(releases)]
        return [*words, "--centre", str(pages)] if self.pages else words


def said(folder: Path) -> Held:
    """Three token-days of a real ledger: one told whole, one under a stricter policy that was lost at noon, one begun."""
    ledger = open_ledger(folder)
    _tell(ledger, DAY, POLICY, hours=24, lost=False)
    _tell(ledger, NEXT_DAY, STRICTER, hours=12, lost=True)
    _tell(ledger, THIRD_DAY, STRICTER, hours=5, lost=False)
    assert ledger.verify().faults == ()
    entries = ledger.entries()
    releases = {f"{entry.level.value}_{entry.window_start:%Y%m%dT%H}.json": entry.document for entry in entries}
    held = Held(public_ledger(ledger.carrier, ledger.mode, ledger.chain()), releases, [])
    held.pages = centre_pages(folder, list(releases.values()))
    return held.copy()


def _tell(ledger: Ledger, day: Any, policy: Any, *, hours: int, lost: bool) -> None:
    noise = CountingNoise(policy)
    lineage = open_day(ledger, day=day, policy=policy)
    for hour in range(hours):
        release(ledger, lineage, noise, window=day + HOUR * hour, day=day)
    if lost:
        ledger.close_day(day, "a carry-over was lost and cannot be rebuilt")
        for hour in range(hours, 24):
            ledger.release_null(day + HOUR * hour, turn_hour_utc=2)
        ledger.release_day_null(day)
    elif hours == 24:
        ledger.release_day(day, [24 * count for count in COUNTS], lineage=lineage, complete=True, noise=noise)


def centre_pages(folder: Path, releases: list[Document]) -> list[Document]:
    """The pages of the public ledger of a centre that took these releases in, one token-day a page."""
    store = Store(f"sqlite:///{folder / 'centre.db'}")
    store.put_carrier("carrier-a", "Carrier A")
    store.put_grid(grid_document())
    now = THIRD_DAY + timedelta(days=3)
    outcomes = list(accept_many(store, releases, carrier="carrier-a", now=now))
    assert all(isinstance(outcome, Receipt) for outcome in outcomes), outcomes
    client = TestClient(create_app(store, ApiSettings(clock=lambda: now)), base_url="http://localhost")
    pages, path = [], "/v1/privacy/ledger?limit=1"
    while path:
        page = client.get(path).json()
        pages.append(page)
        path = next((link["href"] for link in page["links"] if link["rel"] == "next"), "")
    store.close()
    return pages


def grid_document() -> Document:
    """The zone grid of the ledger's builders, as a centre keeps it."""
    corner = [[105, 11], [106, 11], [106, 12], [105, 11]]
    return {
        "type": "FeatureCollection",
        "grid_id": GRID,
        "valid_from": "2026-01-01T02:00:00Z",
        "turn_hour_utc": 2,
        "features": [
            {
                "type": "Feature",
                "properties": {"zone_id": zone_id, "sector_id": sector_id, "kind": kind, "name": zone_id},
                "geometry": {"type": "Polygon", "coordinates": [corner]},
            }
            for zone_id, sector_id, kind in ZONES
        ],
    }
