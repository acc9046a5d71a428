"""Rows become sightings, all at once as one by one; what became of every row adds up exactly."""

import base64
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.attachment import EARLIEST, FIELD_NAMES, LATEST, AttachmentRefused, judge_timed
from ingest.door import Admission
from ingest.rows import LAYOUT, ROW_TABLE
from movement.sight_rows import OUTCOMES, RECEIVED, SIGHTED_SCHEMA, TALLY_SCHEMA, Lookup, sight_rows
from movement.sighting import Networks, Place, side_of
from tests.jobs.border import token

OWN, ACROSS, COMPATRIOT, ELSEWHERE = "204-99", "206-98", "204-01", "208-01"
NETWORKS = Networks(frozenset({OWN, "204-98"}), frozenset({ACROSS}))
HOUR = timedelta(hours=1)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PLAN = [
    # rat, plmn, cell_id, zone, valid_from, valid_to
    ("EUTRA", OWN, "0000001", 0, None, None),
    ("EUTRA", OWN, "0000002", -1, None, None),
    ("EUTRA", OWN, "0000003", 1, None, NOON),  # moved at noon
    ("EUTRA", OWN, "0000003", 2, NOON, None),
    ("EUTRA", OWN, "0000004", 3, NOON - HOUR, NOON),  # a gap of an hour
    ("EUTRA", OWN, "0000004", 4, NOON + HOUR, None),
    ("UTRA", OWN, "0000001", 5, None, None),  # the same id on another technology
    ("EUTRA", "204-98", "0000001", 6, None, NOON),  # and on another network
    ("NR", OWN, "000000001", 7, NOON, None),
    ("GERA", COMPATRIOT, "00000001", 8, None, None),
    ("EUTRA", "204-98", "0000004", 9, None, None),
]
CELLS = pl.DataFrame(
    [(number, *cell) for number, cell in enumerate(PLAN)],
    schema={
        "cell": pl.Int32,
        "rat": pl.String,
        "plmn": pl.String,
        "cell_id": pl.String,
        "zone": pl.Int32,
        "valid_from": pl.Datetime("us", "UTC"),
        "valid_to": pl.Datetime("us", "UTC"),
    },
    orient="row",
)
LOOKUP = Lookup(CELLS, NETWORKS)
GOOD = {
    "token": token(random.Random(1)),
    "event_time": NOON,
    "ingest_time": NOON + timedelta(seconds=3),
    "event_type": "service_request",
    "rat": "EUTRA",
    "plmn": OWN,
    "cell_id": "0000001",
    "previous_plmn": None,
    "domain": "domestic",
    LAYOUT: None,
}


def table(*rows):
    return pl.DataFrame([{**GOOD, **row} for row in rows], schema=ROW_TABLE)


def row_lookup(event):
    """Cell number and place of one accepted row, read off the plan."""
    if event.cell_id is None:
        return -1, Place.NONE
    for number, (rat, plmn, cell_id, zone, start, end) in enumerate(PLAN):
        valid = (start is None or start <= event.event_time) and (end is None or event.event_time < end)
        if (rat, plmn, cell_id) == (event.rat, event.plmn, event.cell_id) and valid:
            return number, Place.BELT if zone >= 0 else Place.INLAND
    return -1, Place.UNKNOWN


def hour_of(row, admission):
    event_time, ingest_time = row["event_time"], row["ingest_time"]
    if ingest_time is None or not EARLIEST <= ingest_time < LATEST or (admission and ingest_time > admission.not_after):
        return None
    believed = event_time is not None and event_time >= EARLIEST and event_time <= ingest_time
    believed = believed and ingest_time - event_time <= timedelta(days=1)
    return ((event_time if believed else ingest_time) - EPOCH) // HOUR


def plainly(rows, admission):
    """Sightings and tallies of rows, one by one."""
    sightings, tallies = [], Counter()
    for row in rows:
        hour = hour_of(row, admission)
        tallies[hour, RECEIVED] += 1
        try:
            if row[LAYOUT] is not None:
                tallies[hour, f"refused:{row[LAYOUT]}"] += 1
                continue
            event = judge_timed(row, row["event_time"], row["ingest_time"])
        except AttachmentRefused as refused:
            tallies[hour, f"refused:{refused.reason.value}"] += 1
            continue
        if admission and event.ingest_time > admission.not_after:
            tallies[hour, "refused:future"] += 1
            continue
        if admission and event.event_time < admission.not_before:
            tallies[hour, "refused:late"] += 1
            continue
        cell, place = row_lookup(event)
        serving, previous = NETWORKS.network_of(event.plmn), NETWORKS.network_of(event.previous_plmn)
        decision = side_of(event.event_type, event.domain, serving, previous, place)
        tallies[hour, decision.fate.value] += 1
        if decision.side is not None:
            raw = base64.b32decode(event.token.upper() + "======")
            at = (event.event_time - EPOCH) // timedelta(milliseconds=1)
            sightings.append((raw, at, cell, int(decision.side), (event.event_time - EPOCH) // HOUR))
    return sightings, dict(tallies)


def at_once(rows, admission=None, lookup=LOOKUP):
    sighted = sight_rows(rows, lookup, admission)
    assert sighted.sightings.schema == SIGHTED_SCHEMA
    assert sighted.tallies.schema == TALLY_SCHEMA
    return sighted.sightings.rows(), {(hour, what): rows for hour, what, rows in sighted.tallies.iter_rows()}


TIMES = st.one_of(
    st.none(),
    st.sampled_from([EARLIEST, LATEST, EPOCH, datetime(2099, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)]),
    st.timedeltas(-3 * HOUR, 3 * HOUR).map(lambda away: NOON + away),
    st.sampled_from([NOON + minutes * timedelta(minutes=1) for minutes in (-1500, -1440, -15, -1, 0, 1, 14, 60)]),
)
ANY = {
    "token": st.sampled_from([token(random.Random(seed)) for seed in range(5)] + ["a" * 27, "", None]),
    "event_time": TIMES,
    "ingest_time": TIMES,
    "event_type": st.sampled_from(
        ["attach", "registration_update", "handover", "detach", "implicit_detach", "sms", None]
        + ["roaming_registration", "roaming_cancel"] * 3
    ),
    "rat": st.sampled_from(["EUTRA", "UTRA", "NR", "GERA", "LTE", None]),
    "plmn": st.sampled_from([OWN, "204-98", ACROSS, COMPATRIOT, ELSEWHERE, "45204", None]),
    "cell_id": st.sampled_from([cell[2] for cell in PLAN] + ["0ffffff", "ABCDEF0", "12345678901234", None]),
    "previous_plmn": st.sampled_from([None, OWN, ACROSS, COMPATRIOT, ELSEWHERE, "x"]),
    "domain": st.sampled_from(["domestic", "inbound", "KH", None]),
    LAYOUT: st.sampled_from([None, None, "not_json", "duplicate_key"]),
}


@st.composite
def any_rows(draw):
    cell = draw(st.sampled_from(PLAN))
    row = {**GOOD, "rat": cell[0], "plmn": cell[1], "cell_id": cell[2]}
    row["event_time"] = NOON + draw(st.timedeltas(-2 * HOUR, 2 * HOUR))
    row["ingest_time"] = row["event_time"] + draw(st.timedeltas(timedelta(0), timedelta(minutes=15)))
    if draw(st.integers(0, 3)) == 0:
        row |= {"event_type": draw(st.sampled_from(["roaming_registration", "roaming_cancel"]))}
        row |= {"rat": None, "cell_id": None, "plmn": draw(ANY["plmn"]), "domain": draw(ANY["domain"])}
    for name in draw(st.lists(st.sampled_from([*FIELD_NAMES, LAYOUT]), max_size=3)):
        row[name] = draw(ANY[name])
    if row[LAYOUT] is not None:
        row |= dict.fromkeys(FIELD_NAMES)
    return row


@settings(max_examples=400, deadline=None)
@given(
    st.lists(any_rows(), max_size=15),
    st.none() | st.builds(Admission, *[st.sampled_from([NOON - HOUR, NOON, NOON + HOUR])] * 2),
)
def test_rows_are_sighted_at_once_as_they_are_one_by_one(rows, admission):
    assert at_once(table(*rows), admission) == plainly(rows, admission)


@settings(max_examples=100, deadline=None)
@given(st.lists(any_rows(), min_size=1, max_size=15))
def test_in_every_hour_what_came_is_what_became_of_it(rows):
    tallies = sight_rows(table(*rows), LOOKUP).tallies
    sums = tallies.group_by("hour", pl.col("what") == RECEIVED).agg(pl.col("rows").sum())
    by_hour = sums.group_by("hour").agg(pl.col("rows").n_unique(), pl.len())
    assert by_hour.select(pl.col("rows").unique(), pl.col("len").unique()).rows() == [(1, 2)]
    assert tallies.filter(pl.col("what") == RECEIVED)["rows"].sum() == len(rows)
    assert set(tallies["what"]) <= {RECEIVED, *OUTCOMES}


@pytest.mark.parametrize(
    ("cell_id", "at", "cell"),
    [
        ("0000003", NOON - timedelta(microseconds=1), 2),
        ("0000003", NOON, 3),
        ("0000004", NOON - HOUR, 4),
        ("0000004", NOON, None),
        ("0000004", NOON + HOUR, 5),
        ("0000009", NOON, None),
    ],
)
def test_a_cell_is_the_one_that_is_valid_at_the_event(cell_id, at, cell):
    sightings, tallies = at_once(table({"cell_id": cell_id, "event_time": at, "ingest_time": at}))
    assert [sighting[2] for sighting in sightings] == ([] if cell is None else [cell])
    assert tallies[(at - EPOCH) // HOUR, "unknown_cell" if cell is None else "sighting"] == 1


def test_one_id_on_two_technologies_and_two_networks_is_three_cells():
    rows = table(
        {"event_time": NOON - HOUR, "ingest_time": NOON - HOUR},
        {"rat": "UTRA"},
        {"plmn": "204-98", "event_time": NOON - HOUR, "ingest_time": NOON - HOUR},
        {"plmn": COMPATRIOT},
    )
    assert [sighting[2] for sighting in at_once(rows)[0]] == [0, 6, 7]


def test_a_cell_that_a_network_does_not_have_is_not_the_next_one_that_it_has():
    sightings, tallies = at_once(table({"plmn": "204-98", "cell_id": "0000003"}))
    assert sightings == []
    assert tallies == {((NOON - EPOCH) // HOUR, what): 1 for what in (RECEIVED, "unknown_cell")}


def test_a_row_of_garbage_times_is_tallied_at_the_hour_in_which_it_came_in():
    rows = table(
        {"event_time": datetime(2000, 1, 1, tzinfo=UTC)}, {"event_time": None}, {"event_time": NOON + 5 * HOUR}
    )
    noon = (NOON - EPOCH) // HOUR
    assert at_once(rows)[1] == {
        (noon, RECEIVED): 3,
        (noon, "refused:late"): 1,
        (noon, "refused:time"): 1,
        (noon, "refused:future"): 1,
    }


def test_a_late_row_is_tallied_at_its_own_hour_and_one_that_no_clock_vouches_for_at_none():
    rows = table({"event_time": NOON - 3 * HOUR}, {"ingest_time": None})
    assert at_once(rows)[1] == {
        ((NOON - EPOCH) // HOUR - 3, RECEIVED): 1,
        ((NOON - EPOCH) // HOUR - 3, "refused:late"): 1,
        (None, RECEIVED): 1,
        (None, "refused:time"): 1,
    }


def test_hours_that_lie_decades_apart_are_all_tallied():
    ages = [datetime(year, 1, 1, tzinfo=UTC) for year in (2000, 2026, 2099)]
    rows = table(*[{"event_time": at, "ingest_time": at} for at in ages], {"ingest_time": None})
    assert [(hour, count) for (hour, what), count in at_once(rows)[1].items() if what == RECEIVED] == [
        (None, 1),
        *[((at - EPOCH) // HOUR, 1) for at in ages],
    ]


def test_no_rows_are_no_sightings():
    assert at_once(ROW_TABLE.to_frame()) == ([], {})


def test_a_lookup_is_the_same_after_a_journey():
    stored = LOOKUP.to_bytes()
    again = Lookup.from_bytes(stored)
    assert again.to_bytes() == stored == Lookup(CELLS.reverse(), NETWORKS).to_bytes()
    rows = table(*[{"rat": cell[0], "plmn": cell[1], "cell_id": cell[2]} for cell in PLAN])
    assert at_once(rows, lookup=again) == at_once(rows)
    assert again.networks == NETWORKS


def test_a_plan_without_cells_knows_none():
    assert at_once(table({}), lookup=Lookup(CELLS.clear(), NETWORKS))[1][(NOON - EPOCH) // HOUR, "unknown_cell"] == 1
