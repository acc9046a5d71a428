"""The release contract: closed, canonical, and said once."""

import copy

import pytest
from pydantic import ValidationError

from ingest.release import Feed, Mechanism, Release, ZoneCount, release_digest, seal


def content():
    return {
        "carrier": "carrier-a",
        "grid_id": "sha256:" + "0" * 64,
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
            "policy_id": "default-1",
        },
        "lineage": "live-abc",
        "counts": [
            {"zone_id": "z1", "direction": "arrival", "value": 73},
            {"zone_id": "z1", "direction": "departure", "value": None},
        ],
        "feed": {"complete": True},
    }


def test_a_sealed_release_reads_back_to_the_same_document():
    release = seal(content())
    assert Release.model_validate(release.document()).document() == release.document()


def change(path, value):
    document = copy.deepcopy(content())
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("token",), "aaaaaaaaaaaaaaaaaaaaaaaaaa"),
        (("counts", 0, "device"), "x"),
        (("counts", 0, "nationality"), "KH"),
        (("counts", 0, "value"), 49),
        (("counts", 0, "value"), 73.0),
        (("counts", 0, "value"), "73"),
        (("counts", 0, "value"), -3),
        (("counts", 1, "direction"), "arrival"),
        (("counts",), []),
        (("window_end",), "2026-03-02T05:30:00Z"),
        (("window_start",), "2026-03-02T05:10:00Z"),
        (("window_start",), "2026-03-02T05:00:00"),
        (("window_start",), 1772427600),
        (("window_start",), "1772427600"),
        (("level",), "cell-hour"),
        (("mechanism", "sigma"), float("nan")),
        (("mechanism", "k"), True),
        (("feed", "complete"), 1),
    ],
)
def test_a_release_that_breaks_its_contract_is_refused(path, value):
    with pytest.raises((ValidationError, ValueError)):
        seal(change(path, value))


@pytest.mark.parametrize("extra", ["token", "imsi", "device_id", "nationality", "home_country", "position"])
def test_no_part_of_a_release_has_room_for_a_device(extra):
    document = seal(content()).document()
    for model, part in (
        (ZoneCount, document["counts"][0]),
        (Mechanism, document["mechanism"]),
        (Feed, document["feed"]),
    ):
        model.model_validate(part)
        with pytest.raises(ValidationError, match="extra"):
            model.model_validate({**part, extra: "x"})


def test_a_changed_value_no_longer_fits_its_digest():
    document = seal(content()).document()
    document["counts"][0]["value"] = 74
    with pytest.raises(ValidationError, match="digest"):
        Release.model_validate(document)
    document["digest"] = release_digest(document)
    assert Release.model_validate(document).counts[0].value == 74
