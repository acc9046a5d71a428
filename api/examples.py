"""Examples for the API's description: a quiet morning with one surge on a simulated border. Tests hold them true."""

from typing import Any

from ingest.release import release_digest

GRID_ID = "sha256:" + "9a" * 32
_COVERAGE = {
    "window_start": "2026-03-02T05:00:00Z",
    "expected": 2,
    "present": 2,
    "missing": [],
    "incomplete": [],
    "simulated": True,
}
_STANDING: dict[str, Any] = {
    "watermark": "2026-03-02T06:00:00Z",
    "coverage": _COVERAGE,
    "degraded": False,
    "degraded_reasons": [],
    "generated_at": "2026-03-02T07:24:10Z",
}
_CONTENT: dict[str, Any] = {
    "carrier": "carrier-a",
    "grid_id": GRID_ID,
    "level": "zone-hour",
    "window_start": "2026-03-02T05:00:00Z",
    "window_end": "2026-03-02T06:00:00Z",
    "mechanism": {
        "name": "discrete_gaussian",
        "sigma": 9.45,
        "rho_day": 0.028,
        "rho_level": 0.0224,
        "delta": 1e-6,
        "k": 2,
        "threshold": 50,
        "policy_id": "policy-1",
    },
    "lineage": "simulated-5c1f",
    "counts": [
        {"zone_id": "belt-07", "direction": "arrival", "value": 214},
        {"zone_id": "belt-07", "direction": "departure", "value": None},
    ],
    "feed": {"complete": True},
}
RELEASE = _CONTENT | {"digest": release_digest(_CONTENT)}
RECEIPT: dict[str, Any] = {
    "outcome": "accepted",
    "carrier": "carrier-a",
    "level": "zone-hour",
    "window_start": "2026-03-02T05:00:00Z",
    "digest": RELEASE["digest"],
    "received_at": "2026-03-02T07:20:02Z",
}
ALERT: dict[str, Any] = {
    "alert_id": "a-5d0c1b7a90e2f314",
    "revision": 1,
    "status": "open",
    "exercise": False,
    "simulated": True,
    "sector_id": "sector-2",
    "zone_ids": ["belt-07", "belt-08"],
    "direction": "arrival",
    "window_start": "2026-03-02T04:00:00Z",
    "window_end": "2026-03-02T06:00:00Z",
    "observed": {"value": 402, "interval": [365, 439]},
    "expected": {"value": 118, "interval": [92, 144]},
    "excess": {"value": 284, "interval": [239, 329]},
    "probability": "75-90 %",
    "severity": "high",
    "reasons": ["151 more arrivals than the 63 expected in the strongest hour.", "Flagged in 2 hours so far."],
    "coverage": {"expected": 2, "present": 2},
    "model_version": "m-20260301",
    "policy_version": "p-1",
    "disposition": None,
    "closed_by": None,
    "release_digests": [RELEASE["digest"]],
}
ACKNOWLEDGED = ALERT | {"revision": 2, "status": "acknowledged"}
CLOSED = ALERT | {"revision": 3, "status": "closed", "disposition": "expected_event", "closed_by": "command"}
ALERT_PAGE: dict[str, Any] = {
    "items": [ALERT],
    "next_cursor": "WyI1ZjQ2IiwibG9nIiwwLDFd",
    "links": [{"rel": "self", "href": "/v1/alerts"}],
    **_STANDING,
}
ALERT_ANSWER: dict[str, Any] = {
    "alert": ALERT,
    "history": [{"revision": 1, "at": "2026-03-02T07:21:40Z", "who": "detector", "act": "opened", "disposition": None}],
    **_STANDING,
}
COUNT_PAGE: dict[str, Any] = {
    "level": "zone-hour",
    "items": [
        {
            "carrier": "carrier-a",
            "zone_id": "belt-07",
            "sector_id": "sector-2",
            "kind": "belt",
            "direction": "arrival",
            "window_start": "2026-03-02T05:00:00Z",
            "window_end": "2026-03-02T06:00:00Z",
            "value": 214,
            "sigma": 9.45,
            "threshold": 50,
            "feed_complete": True,
            "simulated": True,
            "release_digest": RELEASE["digest"],
            "state": "published",
            "interval": [195.5, 232.5],
        },
        {
            "carrier": "carrier-a",
            "zone_id": "belt-07",
            "sector_id": "sector-2",
            "kind": "belt",
            "direction": "departure",
            "window_start": "2026-03-02T05:00:00Z",
            "window_end": "2026-03-02T06:00:00Z",
            "value": None,
            "sigma": 9.45,
            "threshold": 50,
            "feed_complete": True,
            "simulated": True,
            "release_digest": RELEASE["digest"],
            "state": "below_threshold",
            "interval": None,
        },
    ],
    "next_cursor": None,
    "links": [{"rel": "self", "href": "/v1/counts?zone_id=belt-07"}],
    **_STANDING,
}
ESTIMATE_ANSWER: dict[str, Any] = {
    "level": "sector-day",
    "factors": [
        {
            "carrier": carrier,
            "factor": 1.25,
            "factor_sd": 0.08,
            "valid_from": "2026-01-01T20:00:00Z",
            "proposed_by": "statistics desk",
            "approved_by": "planning desk",
            "reason": "subscriptions of 2025 as published by the regulator: 80 % of the market",
        }
        for carrier in ("carrier-a", "carrier-b")
    ],
    "items": [
        {
            "sector_id": "sector-2",
            "kind": "belt",
            "direction": "arrival",
            "window_start": "2026-03-01T20:00:00Z",
            "window_end": "2026-03-02T20:00:00Z",
            "counted": {"value": 1840.0, "sd": 49.1, "at_least": 1743.8, "at_most": 1936.2},
            "market": {"value": 2300.0, "sd": 159.5, "at_least": 1987.4, "at_most": 2612.6},
            "carriers_expected": 2,
            "carriers_present": 2,
            "suppressed": 0,
            "complete": True,
            "simulated": True,
        },
        {
            "sector_id": "sector-2",
            "kind": "belt",
            "direction": "departure",
            "window_start": "2026-03-01T20:00:00Z",
            "window_end": "2026-03-02T20:00:00Z",
            "counted": {"value": None, "sd": 49.1, "at_least": 452.0, "at_most": 766.2},
            "market": {"value": None, "sd": 81.5, "at_least": 532.2, "at_most": 997.2},
            "carriers_expected": 2,
            "carriers_present": 2,
            "suppressed": 1,
            "complete": True,
            "simulated": True,
        },
    ],
    **_STANDING,
}
EXPECTATION_PAGE: dict[str, Any] = {
    "items": [
        {
            "zone_id": "belt-07",
            "direction": "arrival",
            "window_start": "2026-03-02T05:00:00Z",
            "expected": 63.4,
            "lower": 27.0,
            "upper": 99.8,
            "observed": 214,
            "excess": 150.6,
            "state": "unusual",
            "abstained": None,
            "model_version": "m-20260301",
            "policy_version": "p-1",
            "window_end": "2026-03-02T06:00:00Z",
        }
    ],
    "next_cursor": None,
    "links": [{"rel": "self", "href": "/v1/expectations?zone_id=belt-07&direction=arrival"}],
    **_STANDING,
}
ZONE_COLLECTION: dict[str, Any] = {
    "type": "FeatureCollection",
    "grid_id": GRID_ID,
    "valid_from": "2026-01-01T20:00:00Z",
    "turn_hour_utc": 20,
    "attribution": "border line: geoBoundaries, CC BY 4.0",
    "states_shown": True,
    **_STANDING,
    "features": [
        {
            "type": "Feature",
            "id": "belt-07",
            "properties": {
                "zone_id": "belt-07",
                "sector_id": "sector-2",
                "kind": "belt",
                "name": "Belt 7",
                "state": "unusual",
                "arrival": {
                    "state": "unusual",
                    "window_start": "2026-03-02T05:00:00Z",
                    "expected": 63.4,
                    "lower": 27.0,
                    "upper": 99.8,
                    "observed": 214,
                    "excess": 150.6,
                },
                "departure": {
                    "state": "below_threshold",
                    "window_start": "2026-03-02T05:00:00Z",
                    "expected": 12.1,
                    "lower": 0.0,
                    "upper": 34.7,
                    "observed": None,
                    "excess": None,
                },
            },
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[105.8, 11.0], [106.0, 11.0], [106.0, 11.1], [105.8, 11.1], [105.8, 11.0]]],
            },
        }
    ],
}
LEDGER_PAGE: dict[str, Any] = {
    "unit": "all events of one token in one token-day at one carrier; token-days and carriers add up",
    "since": None,
    "promise": {
        "rho_day": 0.028,
        "delta": 1e-6,
        "epsilon_day": 1.0,
        "k": 2,
        "threshold": 50,
        "threshold_day": 150,
    },
    "policies": [
        {
            "carrier": "carrier-a",
            "policy_id": "policy-1",
            "takes_effect": "2026-03-01T20:00:00Z",
            "last_token_day": "2026-03-01T20:00:00Z",
            "previous": None,
            "rho_day": 0.028,
            "epsilon_day": 1.0,
            "delta": 1e-6,
            "k": 2,
            "levels": [{"level": "zone-hour", "rho": 0.0224, "sigma": 9.45, "threshold": 50}],
        }
    ],
    "composition": {
        "policy_id": "default-1",
        "rho_day": 0.028,
        "delta": 1e-6,
        "method": "dp-accounting's privacy loss distributions",
        "rows": [{"days": 30, "carriers": 1, "group": 1, "rho": 0.84, "epsilon": 6.59}],
    },
    "verification": {
        "verifier": "/verify_ledger.py",
        "verifier_sha256": "5d" * 32,
        "command": "python verify_ledger.py LEDGER RELEASES --centre PAGES",
        "carrier_ledgers": [{"carrier": "carrier-a", "href": "https://carrier-a.example/ledger.json"}],
    },
    "notice": {
        "operator": "Border Command South",
        "complaints": "privacy@border-command.example",
        "authority": "Data protection authority",
        "opt_out": "Ask your carrier; it leaves your SIM out before any token is made.",
        "ends_on": "2026-12-31",
        "ended": False,
    },
    "items": [
        {
            "carrier": "carrier-a",
            "token_day_start": "2026-03-01T20:00:00Z",
            "token_day_end": "2026-03-02T20:00:00Z",
            "simulated": True,
            "releases": 1,
            "incomplete_feeds": 0,
            "incidents": 0,
            "cells": 2,
            "suppressed": 1,
            "suppressed_share": 0.5,
            "rho_spent": 0.0224,
            "rho_day": 0.028,
            "epsilon_spent": 0.89,
            "within_budget": True,
            "grid_ids": [GRID_ID],
            "lineages": ["simulated-5c1f"],
            "levels": [
                {
                    "level": "zone-hour",
                    "releases": 1,
                    "lineages": 1,
                    "rho": 0.0224,
                    "sigma": 9.45,
                    "noise_sigma": 9.45,
                    "threshold": 50,
                    "k": 2,
                    "delta": 1e-6,
                    "policy_ids": ["policy-1"],
                }
            ],
            "digests": [
                {
                    "level": "zone-hour",
                    "window_start": "2026-03-02T05:00:00Z",
                    "digest": RELEASE["digest"],
                    "policy_id": "policy-1",
                    "cells": 2,
                    "suppressed": 1,
                    "feed_complete": True,
                }
            ],
        }
    ],
    "next_cursor": None,
    "links": [{"rel": "self", "href": "/v1/privacy/ledger"}],
    **_STANDING,
}
