"""The ground of each token-day: cell plan, zone grid and networks as they were when the day was first touched.

A ground is stored once, under the digest of what it holds. A token-day is pinned to one ground and to one number of buckets;
a plan or grid that is changed in the settings takes effect at the next token-day, and what was begun is ended on its own.
"""

import hashlib
import io
import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geofence.cover import Cover
from geofence.grid import ZoneGrid, ZoneKind
from geofence.locate import LocatedPlan
from ingest.release import Direction, canonical_json, format_utc
from ingest.token_day import folder_name, instant_of
from jobs.disk import sync, write_whole
from movement.ground import Ground, make_ground
from movement.sight_rows import Lookup
from movement.sighting import Networks

LOOKUP, CELLS, OVERLAPS, PLACES = "lookup.arrow", "cell_zone.npy", "overlaps.npy", "places.json"
COVER, TILES = "cover.npy", "tiles.npy"
_PIN, _ENDING = "token_day=", ".pin"


class GroundMissing(RuntimeError):
    """The ground that a token-day was pinned to is gone, or is not what was stored."""


@dataclass(frozen=True, slots=True)
class ZonePlace:
    """What a zone is called, which sector it belongs to and what kind it is."""

    zone_id: str
    sector_id: str
    kind: ZoneKind


@dataclass(frozen=True, slots=True)
class Pin:
    """What a token-day rests on: the digest of its ground, and in how many buckets its tables lie."""

    ground: str
    buckets: int


@dataclass(frozen=True, slots=True, eq=False)
class DayGround:
    """All that a close needs to know of a ground; zones are in the order of their numbers."""

    digest: str
    grid_id: str
    grid_valid_from: datetime
    zones: tuple[ZonePlace, ...]
    ground: Ground

    @property
    def cells(self) -> tuple[tuple[str, Direction], ...]:
        """The whole public grid, in the order in which it is drawn and published."""
        return tuple(sorted((zone.zone_id, direction) for zone in self.zones for direction in Direction))


@dataclass(frozen=True, slots=True)
class GroundStore:
    """The grounds and pins of one edge's folder."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "grounds"

    def put(self, grid: ZoneGrid, located: LocatedPlan, networks: Networks) -> str:
        """Store a ground, if it is new, and give its digest."""
        cells = located.cells.sort("cell")
        places = {
            "grid_id": grid.grid_id,
            "grid_valid_from": format_utc(grid.valid_from),
            "zones": [asdict(ZonePlace(zone.zone_id, zone.sector_id, zone.kind)) for zone in grid.zones],
        }
        contents = {
            LOOKUP: Lookup(cells, networks).to_bytes(),
            CELLS: _npy(cells["zone"].to_numpy()),
            OVERLAPS: _npy(located.overlaps.to_numpy()),
            PLACES: canonical_json(places),
            COVER: _npy(located.cover.cells),
            TILES: _npy(located.cover.tiles),
        }
        digest = _digest(contents)
        folder = self.of(digest)
        if not folder.exists():
            draft = self.folder / f".{secrets.token_hex(8)}.draft"
            for name, content in contents.items():
                write_whole(draft / name, content)
            draft.rename(folder)
            sync(self.folder)
        return digest

    def of(self, digest: str) -> Path:
        """The folder of a ground."""
        return self.folder / digest.removeprefix("sha256:")

    # Which ground a token-day has

    def pins(self) -> dict[datetime, Pin]:
        """Every pinned token-day, oldest first."""
        found = {}
        for path in sorted(self.folder.glob(f"{_PIN}*{_ENDING}")):
            name = path.name.removeprefix(_PIN).removesuffix(_ENDING)
            found[instant_of(name)] = Pin(**json.loads(path.read_bytes()))
        return found

    def pinned(self, day_start: datetime) -> Pin | None:
        """What a token-day rests on, or None if nothing has touched it yet."""
        path = self._pin_path(day_start)
        return Pin(**json.loads(path.read_bytes())) if path.exists() else None

    def pin(self, day_start: datetime, current: Pin) -> Pin:
        """What a token-day rests on from now on: what it was pinned to, else what is current."""
        known = self.pinned(day_start)
        if known is not None:
            return known
        write_whole(self._pin_path(day_start), canonical_json(asdict(current)))
        return current

    def unpin(self, day_start: datetime, current: Pin) -> None:
        """Forget a token-day that was deleted, and every ground but the current one that no other token-day rests on.

        The newest pin stays: where the grid in the settings is not valid yet, its ground is the one in force.
        """
        pins = self.pins()
        if day_start in pins and day_start != max(pins):
            self._pin_path(day_start).unlink()
            del pins[day_start]
        used = {self.of(pin.ground).name for pin in (*pins.values(), current)}
        for folder in self.folder.glob("*"):
            if folder.is_dir() and folder.name not in used:
                shutil.rmtree(folder)

    def _pin_path(self, day_start: datetime) -> Path:
        return self.folder / f"{_PIN}{folder_name(day_start)}{_ENDING}"


def choose_pin(day_start: datetime, pins: Mapping[datetime, Pin], current: Pin, current_valid_from: datetime) -> Pin:
    """What a token-day rests on, or will when it is pinned: before a new grid is valid, what the day before rests on.

    >>> from datetime import UTC
    >>> old, new = Pin("sha256:old", 64), Pin("sha256:new", 64)
    >>> first, second = datetime(2026, 3, 1, 2, tzinfo=UTC), datetime(2026, 3, 2, 2, tzinfo=UTC)
    >>> choose_pin(second, {first: old}, new, current_valid_from=first).ground
    'sha256:new'
    >>> choose_pin(second, {first: old}, new, current_valid_from=datetime(2026, 3, 9, 2, tzinfo=UTC)).ground
    'sha256:old'
    """
    if day_start in pins:
        return pins[day_start]
    earlier = [day for day in pins if day < day_start]
    if day_start < current_valid_from and earlier:
        return pins[max(earlier)]
    return current


@lru_cache(maxsize=4)
def read_ground(folder: Path) -> DayGround:
    """The ground in a folder of the store, checked against its digest; raises GroundMissing."""
    contents = _checked(folder)
    places = json.loads(contents[PLACES])
    zones = tuple(ZonePlace(**{**zone, "kind": ZoneKind(zone["kind"])}) for zone in places["zones"])
    points = np.array([zone.kind is ZoneKind.CROSSING_POINT for zone in zones])
    return DayGround(
        digest=f"sha256:{folder.name}",
        grid_id=places["grid_id"],
        grid_valid_from=datetime.fromisoformat(places["grid_valid_from"]),
        zones=zones,
        ground=make_ground(_array(contents[CELLS]), points, _array(contents[OVERLAPS])),
    )


@lru_cache(maxsize=4)
def read_lookup(folder: Path) -> Lookup:
    """How rows are sighted on the ground in a folder of the store; raises GroundMissing."""
    return Lookup.from_bytes(_checked(folder)[LOOKUP])


@lru_cache(maxsize=4)
def read_cover(folder: Path) -> Cover:
    """What the cells on the ground in a folder of the store reach by the border line; raises GroundMissing."""
    contents = _checked(folder)
    return Cover(_array(contents[COVER]), _array(contents[TILES]))


def _checked(folder: Path) -> dict[str, bytes]:
    try:
        contents = {name: (folder / name).read_bytes() for name in (LOOKUP, CELLS, OVERLAPS, PLACES, COVER, TILES)}
    except FileNotFoundError:
        contents = {}
    if _digest(contents) != f"sha256:{folder.name}":
        raise GroundMissing("the ground of a token-day is gone or differs from its digest")
    return contents


def _digest(contents: dict[str, bytes]) -> str:
    stated: Sequence[Any] = sorted([name, hashlib.sha256(content).hexdigest()] for name, content in contents.items())
    return "sha256:" + hashlib.sha256(canonical_json(stated)).hexdigest()


def _npy(array: NDArray[np.int32]) -> bytes:
    content = io.BytesIO()
    np.save(content, np.ascontiguousarray(array), allow_pickle=False)
    return content.getvalue()


def _array(content: bytes) -> NDArray[np.int32]:
    array: NDArray[np.int32] = np.load(io.BytesIO(content), allow_pickle=False)
    return array
