"""Known crowds explain what is unusual; they hide nothing."""

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from detector.alerts import EXPLAINED, merge
from detector.register import EventKind, EventRefused, RegisteredEvent, explanations
from tests.detector.border import START
from tests.detector.test_alerts import BANDS, NEIGHBOURS, flags_of, judged_until

HOUR = timedelta(hours=1)
EVENT = RegisteredEvent(
    "south", ("a", "b"), START + 4 * HOUR, START + 8 * HOUR, EventKind.FESTIVAL, "planner", START, "boat race"
)


def alerts_of(cells, events, now, existing=()):
    flags = flags_of(cells)
    flags = flags.with_columns(pl.Series("event", explanations(events, flags), dtype=pl.String))
    judged = judged_until(now, cells)
    at = {"judged_from": START, "now_window": START + now * HOUR}
    return merge(flags, judged, existing, NEIGHBOURS, BANDS, **at)


def test_an_explained_crowd_is_an_acknowledged_alert_that_names_the_event():
    (alert,) = alerts_of([("a", 5), ("b", 5)], [EVENT], 5)
    assert alert["status"] == "acknowledged"
    assert any(reason.startswith(EXPLAINED) and "festival" in reason for reason in alert["reasons"])
    assert alert["observed"]["value"] == 300


def test_without_the_event_the_same_crowd_is_open():
    (alert,) = alerts_of([("a", 5), ("b", 5)], [], 5)
    assert alert["status"] == "open"
    assert not any(reason.startswith(EXPLAINED) for reason in alert["reasons"])


def test_what_outgrows_the_event_in_place_is_an_open_alert_of_its_own():
    alerts = alerts_of([("a", 5), ("b", 5), ("c", 5)], [EVENT], 5)
    assert {(tuple(alert["zone_ids"]), alert["status"]) for alert in alerts} == {
        (("a", "b"), "acknowledged"),
        (("c",), "open"),
    }


def test_what_outlasts_the_event_is_an_open_alert_of_its_own():
    inside, after = 5, 12  # three hours after the end are still people going home
    (told,) = alerts_of([("a", inside)], [EVENT], inside)
    changed = alerts_of([("a", inside), ("a", 9), ("a", after)], [EVENT], after, [told])
    assert {(a["status"], a["window_start"][11:13]) for a in changed} == {("acknowledged", "05"), ("open", "12")}


def test_an_explained_alert_grows_under_one_id():
    (told,) = alerts_of([("a", 5)], [EVENT], 5)
    (grown,) = alerts_of([("a", 5), ("b", 6)], [EVENT], 6, [told])
    assert (grown["alert_id"], grown["revision"], grown["status"]) == (told["alert_id"], 2, "acknowledged")


def test_an_event_registered_late_acknowledges_the_open_alert():
    (seen,) = alerts_of([("a", 5)], [], 5)
    (after,) = alerts_of([("a", 5)], [EVENT], 6, [seen])
    assert (after["alert_id"], after["status"], after["revision"]) == (seen["alert_id"], "acknowledged", 2)
    assert alerts_of([("a", 5)], [EVENT], 6, [after]) == []


def test_an_event_of_another_sector_or_time_explains_nothing():
    flags = flags_of([("a", 5), ("z", 5), ("a", 20)])
    assert [said is not None for said in explanations([EVENT], flags)] == [True, False, False]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"registered_by": " "}, "who registered"),
        ({"reason": ""}, "why"),
        ({"ends_at": START}, "14 days"),
        ({"ends_at": START + timedelta(days=19)}, "14 days"),
        ({"starts_at": START.replace(tzinfo=None)}, "offset"),
    ],
)
def test_an_event_without_an_author_a_reason_or_an_end_is_refused(change, rule):
    with pytest.raises(EventRefused, match=rule):
        replace(EVENT, **change)


def test_an_event_survives_its_document_and_an_edited_one_is_refused():
    document = EVENT.document()
    assert RegisteredEvent.from_document(document) == EVENT
    with pytest.raises(EventRefused, match="id"):
        RegisteredEvent.from_document({**document, "reason": "another"})
