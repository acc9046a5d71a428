"""Element alarms, planned work, and what makes a window's feed complete: never a count of devices."""

import ast
import inspect
import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ingest.feed
from ingest.alarms import (
    Alarm,
    AlarmFeed,
    AlarmKind,
    AlarmRefused,
    degraded_hours,
    open_outages,
    parse_alarm,
    read_alarms,
    touched_cells,
)
from ingest.feed import Doubt, FeedWatch, doubts, feed_complete
from ingest.release import HOUR

DAY = datetime(2026, 3, 2, 2, tzinfo=UTC)
HOURS = [DAY + HOUR * number for number in range(24)]
ZONES = {
    zone: [f"EUTRA/452-04/{number:07x}" for number in range(first, first + 10)]
    for zone, first in (("belt-01", 0), ("belt-02", 10), ("gate-01", 20))
}
TWO_SITES = frozenset(ZONES["belt-02"][:2])
LINE = {"source": "oss", "element": "site-7", "kind": "outage", "starts_at": "2026-03-02T05:10:00Z"}


def alarm(kind, start, end=None, cells=TWO_SITES, element="site-7"):
    """Times in hours from the turn."""
    at = [None if hour is None else DAY + HOUR * hour for hour in (start, end)]
    return Alarm("oss", element, AlarmKind(kind), at[0], at[1], cells)


def touched(*alarms, **rule):
    return [HOURS.index(hour) for hour in sorted(degraded_hours(alarms, ZONES, HOURS, **rule))]


def test_an_outage_touches_its_hours_and_the_hour_after_its_end():
    assert touched(alarm("outage", 3.2, 5.5)) == [3, 4, 5, 6]
    assert touched(alarm("outage", 3.2, 5)) == [3, 4, 5]
    assert touched(alarm("planned_work", 3, 4)) == [3, 4]


def test_an_outage_lasts_until_something_ends_it():
    assert touched(alarm("outage", 20)) == [20, 21, 22, 23]
    assert touched(alarm("outage", 3.2), alarm("restored", 4.5, cells=None)) == [3, 4, 5]
    assert touched(alarm("outage", 3.2), alarm("outage", 3.2, 4.5)) == [3, 4, 5]  # said again, with its end
    assert touched(alarm("outage", 20), alarm("restored", 21, element="site-8")) == [20, 21, 22, 23]


def test_a_repair_of_something_unheard_of_touches_its_own_hours():
    assert touched(alarm("restored", 4.5)) == [4, 5]


def test_a_new_site_is_no_crowd_in_its_first_three_hours():
    assert touched(alarm("new_site", 7.5)) == [7, 8, 9, 10]


def test_one_cell_of_ten_is_out_somewhere_at_any_time_and_touches_nothing():
    one = frozenset(ZONES["belt-02"][:1])
    assert touched(alarm("outage", 3, 5, one)) == []
    assert touched(alarm("outage", 3, 5, one), alarm("outage", 4.5, 6, frozenset(ZONES["belt-01"][:1]))) == []
    # A fifth of one zone, by two alarms that overlap in one hour and the hour after a repair.
    assert touched(alarm("outage", 3, 5, one), alarm("outage", 4.5, 6, frozenset(ZONES["belt-02"][5:6]))) == [4, 5]
    assert touched(alarm("outage", 3, 5, one), share=0.1) == [3, 4, 5]


def test_cells_outside_the_zones_touch_nothing_and_an_element_without_cells_touches_all():
    assert touched(alarm("outage", 3, 5, frozenset({"EUTRA/452-04/fffffff"}))) == []
    assert touched(alarm("outage", 3, 4, None, element="core-1")) == [3, 4]


def test_the_cells_of_all_alarms_of_an_hour_are_known_together():
    said = [alarm("outage", 3, 4), alarm("new_site", 3.5, cells=frozenset({"EUTRA/452-04/fffffff"}))]
    found = touched_cells(said, HOURS)
    assert found[HOURS[3]] == TWO_SITES | {"EUTRA/452-04/fffffff"}
    assert found[HOURS[6]] == {"EUTRA/452-04/fffffff"}
    assert found[HOURS[8]] == frozenset()
    assert touched_cells([*said, alarm("outage", 3, 4, None)], HOURS[3:4]) == {HOURS[3]: None}


@given(st.permutations([alarm("outage", 3.2), alarm("outage", 3.2, 4.1), alarm("restored", 4.5), alarm("outage", 9)]))
def test_the_order_in_which_alarms_come_in_changes_nothing(said):
    assert touched(*said) == [3, 4, 5, *range(9, 24)]
    assert [outage.starts_at for outage in open_outages(said)] == [DAY + HOUR * 9]


@given(st.floats(0, 23), st.floats(0.01, 5), st.lists(st.sampled_from(ZONES["belt-02"] + ZONES["gate-01"]), min_size=1))
def test_a_longer_outage_of_more_cells_never_touches_less(start, length, cells):
    shorter = alarm("outage", start, start + length / 2, frozenset(cells[:-1]) or TWO_SITES)
    longer = alarm("outage", start, start + length, frozenset(cells) | (shorter.cells or frozenset()))
    assert set(touched(shorter)) <= set(touched(longer))


def test_an_alarm_is_read_from_its_line():
    line = json.dumps({**LINE, "ends_at": "2026-03-02T12:40:00+07:00", "cells": ["EUTRA/452-04/000000a"]})
    assert parse_alarm(line) == Alarm(
        "oss",
        "site-7",
        AlarmKind.OUTAGE,
        datetime(2026, 3, 2, 5, 10, tzinfo=UTC),
        datetime(2026, 3, 2, 5, 40, tzinfo=UTC),
        frozenset({"EUTRA/452-04/000000a"}),
    )


@pytest.mark.parametrize(
    "line",
    [
        "7",
        "{",
        "[" * 100_000,
        json.dumps({**LINE, "devices": 5000}),
        json.dumps({**LINE, "cells": 5000}),
        json.dumps({name: value for name, value in LINE.items() if name != "element"}),
        json.dumps({**LINE, "element": "452040123456789"}),
        json.dumps({**LINE, "element": "north ridge"}),
        json.dumps({**LINE, "element": 7}),
        json.dumps({**LINE, "kind": "flood"}),
        json.dumps({**LINE, "kind": ["outage"]}),
        json.dumps({**LINE, "kind": "planned_work"}),
        json.dumps({**LINE, "kind": "restored", "ends_at": "2026-03-02T06:00:00Z"}),
        json.dumps({**LINE, "kind": "new_site", "ends_at": "2026-03-02T06:00:00Z"}),
        json.dumps({**LINE, "starts_at": "2026-03-02T05:10:00"}),
        json.dumps({**LINE, "starts_at": 1772428200}),
        json.dumps({**LINE, "ends_at": "2026-03-02T05:10:00Z"}),
        json.dumps({**LINE, "ends_at": "9999-12-31T23:59:59Z"}),
        json.dumps({**LINE, "cells": []}),
        json.dumps({**LINE, "cells": ["EUTRA/452-4/000000a"]}),
        json.dumps({**LINE, "cells": ["EUTRA/452-04/A"]}),
        json.dumps({**LINE, "cells": [None]}),
        json.dumps(LINE)[:-1] + ', "kind": "restored"}',
        json.dumps({**LINE, "element": "é"}, ensure_ascii=False),
    ],
)
def test_an_alarm_that_breaks_its_contract_is_refused(line):
    with pytest.raises(AlarmRefused):
        parse_alarm(line)


def test_a_line_that_cannot_be_read_is_named_and_the_others_count(tmp_path):
    (tmp_path / "a.ndjson").write_bytes(json.dumps(LINE).encode() + b"\n\n\xff\xfe\n" + b'{"devices": 7}\n')
    (tmp_path / "b.ndjson").write_text(json.dumps(LINE) + "\n" + json.dumps(LINE)[:30])  # still being written
    found = read_alarms(tmp_path)
    assert found.alarms == (parse_alarm(json.dumps(LINE)),) * 2
    assert [place.partition(": ")[0] for place in found.unread] == ["a.ndjson:3", "a.ndjson:4"]
    assert "7" not in "".join(place.partition(": ")[2] for place in found.unread)


def test_an_alarm_feed_that_is_not_there_is_not_taken_for_a_quiet_one(tmp_path):
    assert read_alarms(tmp_path) == AlarmFeed()
    assert read_alarms(tmp_path / "none").unread
    (tmp_path / "odd.ndjson").mkdir()
    assert read_alarms(tmp_path).unread == ("odd.ndjson: the file cannot be read",)


WHOLE = FeedWatch(covered_until=DAY + HOUR * 5 + timedelta(minutes=15))
WINDOW = DAY + HOUR * 3


def test_a_window_whose_marks_cover_it_and_that_nothing_touches_is_complete():
    assert feed_complete(WINDOW, DAY, WHOLE)


@pytest.mark.parametrize(
    ("watch", "doubt"),
    [
        (FeedWatch(WHOLE.covered_until - timedelta(seconds=1)), Doubt.MARKS),
        (FeedWatch(None), Doubt.MARKS),
        (FeedWatch(WHOLE.covered_until, touched=frozenset({WINDOW})), Doubt.ALARM),
        (FeedWatch(WHOLE.covered_until, lost=frozenset({DAY})), Doubt.LOST_ROWS),
        (FeedWatch(WHOLE.covered_until, lost=frozenset({WINDOW + HOUR})), Doubt.LOST_ROWS),
        (FeedWatch(WHOLE.covered_until, alarm_unread=True), Doubt.UNREAD_ALARM),
    ],
)
def test_each_doubt_alone_makes_a_window_incomplete(watch, doubt):
    assert doubts(WINDOW, DAY, watch) == (doubt,)
    assert not feed_complete(WINDOW, DAY, watch)


def test_what_was_lost_earlier_in_the_day_is_missing_from_the_tracks_for_six_hours():
    lost = FeedWatch(DAY + HOUR * 24, lost=frozenset({DAY + HOUR * 2}))
    doubtful = [number for number in range(20) if not feed_complete(DAY + HOUR * number, DAY, lost)]
    assert doubtful == [1, 2, 3, 4, 5, 6, 7, 8]


def test_what_lies_outside_a_window_does_not_make_it_incomplete():
    elsewhere = FeedWatch(
        WHOLE.covered_until,
        touched=frozenset({WINDOW - HOUR, WINDOW + HOUR}),
        lost=frozenset({DAY - HOUR, WINDOW + HOUR * 2}),
    )
    assert feed_complete(WINDOW, DAY, elsewhere)


def test_completeness_cannot_be_made_of_counts():
    """Nothing that goes into it can hold a number, and its module knows nothing but instants, hours and releases' names."""
    kinds = {str(field.type) for field in fields(FeedWatch)}
    kinds |= {str(kind.annotation) for kind in inspect.signature(feed_complete).parameters.values()}
    words = {"datetime", "None", "frozenset", "bool", "FeedWatch", "class"}
    spelled = " ".join(kinds)
    for mark in "<>'[]|.":
        spelled = spelled.replace(mark, " ")
    assert set(spelled.split()) - words <= {"ingest", "feed", "datetime"}
    tree = ast.parse(Path(inspect.getfile(ingest.feed)).read_text(encoding="utf-8"))
    brought = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert brought == {"dataclasses", "datetime", "enum", "ingest.attachment", "ingest.release"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
