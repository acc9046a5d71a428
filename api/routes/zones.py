"""The zone grid on a map, with the newest state of each zone for those who may see it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from api import examples
from api.answers import ZoneCollection
from api.door import StrictRoute
from api.identity import Caller, caller_of
from api.problems import Problem
from api.routes.counts import rounded
from api.standing import Standing
from api.store import Document, ZoneGridRecord
from api.wire import (
    UNCHANGED,
    TheSettings,
    TheStanding,
    TheStore,
    answer,
    given,
    not_modified,
    problems,
    spelled_times,
    weak_etag,
)
from ingest.release import Direction

router = APIRouter(prefix="/v1", tags=["public"], route_class=StrictRoute)

GEOJSON = "application/geo+json"


class GeoJsonResponse(Response):
    """A GeoJSON answer (RFC 7946)."""

    media_type = GEOJSON


# What a zone is coloured by: of its two directions the state that comes first here.
STATES = ("unusual", "degraded", "no_coverage", "unusual_drop", "usual", "below_threshold", "not_judged")
_SHOWN = ("state", "window_start", "expected", "lower", "upper", "observed", "excess")
_UNKNOWN = dict.fromkeys(_SHOWN) | {"state": "no_coverage"}


@router.get(
    "/zones",
    operation_id="listZones",
    summary="The zone grid as GeoJSON, with states for those who may see them",
    response_model=ZoneCollection,
    response_class=GeoJsonResponse,
    responses=given("The grid in force.", examples.ZONE_COLLECTION, media_type=GEOJSON)
    | UNCHANGED
    | problems("credential_invalid", "not_found", "unknown_parameter"),
)
def list_zones(
    request: Request,
    caller: Annotated[Caller, Depends(caller_of)],
    store: TheStore,
    settings: TheSettings,
    standing: TheStanding,
) -> Response:
    """Zones are public. What is unusual in them is for callers who may read alerts; others get null states."""
    grid = store.active_grid(settings.clock()) or store.active_grid()
    if grid is None:
        raise Problem("not_found")
    shown = "alerts:read" in caller.scopes
    etag = weak_etag(grid.grid_id, shown, standing.fingerprint())
    unchanged = not_modified(request, etag)
    if unchanged is not None:
        return unchanged
    states = {(row["zone_id"], row["direction"]): row for row in store.latest_states()} if shown else None
    return answer(zone_collection(grid, states, standing), media_type=GEOJSON, headers={"ETag": etag})


def zone_collection(
    grid: ZoneGridRecord, states: Mapping[tuple[str, str], Document] | None, standing: Standing
) -> dict[str, Any]:
    """The grid's GeoJSON with each zone's state; with no states at all, none is shown.

    Only the properties named in the contract are served, whatever else the grid's file holds.
    """
    return {
        "type": "FeatureCollection",
        "grid_id": grid.grid_id,
        "valid_from": grid.document["valid_from"],
        "turn_hour_utc": grid.turn_hour_utc,
        "attribution": grid.document.get("attribution"),
        "states_shown": states is not None,
        **standing.document(),
        "features": [_feature(feature, states) for feature in grid.document["features"]],
    }


def _feature(feature: Mapping[str, Any], states: Mapping[tuple[str, str], Document] | None) -> dict[str, Any]:
    properties = {name: feature["properties"][name] for name in ("zone_id", "sector_id", "kind", "name")}
    zone_id = properties["zone_id"]
    by_direction: dict[str, Any] = dict.fromkeys(Direction)
    if states is not None:
        by_direction = {direction: _state(states.get((zone_id, direction))) for direction in Direction}
    properties |= {"state": zone_state([state["state"] for state in by_direction.values() if state]), **by_direction}
    return {"type": "Feature", "id": zone_id, "properties": properties, "geometry": feature["geometry"]}


def _state(row: Document | None) -> dict[str, Any]:
    if row is None:
        return dict(_UNKNOWN)
    shown = {
        name: rounded(row[name]) if name in ("expected", "lower", "upper", "excess") else row[name] for name in _SHOWN
    }
    return spelled_times(shown)


def zone_state(states: Sequence[str]) -> str | None:
    """Of a zone's states the one that matters more.

    >>> zone_state(["usual", "unusual"])
    'unusual'
    """
    return min(states, key=STATES.index, default=None)
