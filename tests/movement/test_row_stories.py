"""Stories from the carrier's rows to counted movements: what a message says, and what comes of it."""

from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.rows import ROW_TABLE
from movement.sight_rows import Lookup, sight_rows
from tests.movement.oracle import ARRIVAL, DEPARTURE, counts_of_day, side_said
from tests.movement.test_sight_rows import ACROSS, CELLS, COMPATRIOT, ELSEWHERE, GOOD, NETWORKS, OWN
from tests.movement.token_days import CELL_ZONE, DAY, ORACLE, STEPS, day_counts

START = datetime.fromtimestamp(DAY / 1000, UTC)
PLAN = pl.DataFrame(
    [(number, "EUTRA", OWN, f"{number:07x}", zone, None, None) for number, zone in enumerate(CELL_ZONE)],
    schema=CELLS.schema,
    orient="row",
)
LOOKUP = Lookup(PLAN, NETWORKS)
BELT, NEXT_DOOR, APART, CROSSING_POINT, AIRPORT = 0, 1, 2, 3, 5
UNKNOWN = 99
WORDS = {None: "none", OWN: "own", ACROSS: "across", COMPATRIOT: "compatriot", ELSEWHERE: "elsewhere"}


def row(minute, event_type, cell=BELT, *, previous=None, domain="domestic", plmn=OWN):
    """A row of the contract; a roaming row has no cell."""
    at = START + timedelta(minutes=minute)
    roams = event_type.startswith("roaming")
    return {
        **GOOD,
        "event_time": at,
        "ingest_time": at + timedelta(seconds=5),
        "event_type": event_type,
        "rat": None if roams else "EUTRA",
        "plmn": plmn,
        "cell_id": None if roams else f"{cell:07x}",
        "previous_plmn": previous,
        "domain": domain,
    }


def abroad(minute, plmn=ACROSS, domain="domestic"):
    return row(minute, "roaming_registration", plmn=plmn, domain=domain)


def seen(minute, cell=BELT, **said):
    return row(minute, "service_request", cell, **said)


def day_of(rows):
    found = sight_rows(pl.DataFrame(rows, schema=ROW_TABLE), LOOKUP).sightings
    return {token: [(at, cell, side) for _, at, cell, side, _ in found.rows()] for token in found["token"].unique()}


def counted(*rows):
    """(hour, zone, direction) of all that is counted of one token's rows."""
    counts, _, _ = day_counts(day_of(rows))
    return sorted(((at - DAY) // 3_600_000, zone, direction) for at, zone, direction in counts)


@st.composite
def row_days(draw):
    """The rows of one token-day, whatever a feed may hold."""
    at, rows = 0, []
    for _ in range(draw(st.integers(1, 20))):
        kind = draw(
            st.sampled_from(
                ["service_request", "attach", "detach", "implicit_detach", "roaming_cancel"]
                + ["roaming_registration"] * 3
            )
        )
        roams = kind.startswith("roaming")
        rows.append(
            row(
                at / 60_000,
                kind,
                draw(st.sampled_from([*range(7), UNKNOWN])),
                previous=None
                if roams
                else draw(st.sampled_from([None, None, ACROSS, ACROSS, ELSEWHERE, COMPATRIOT, OWN])),
                domain=draw(st.sampled_from(["domestic", "domestic", "inbound"])),
                plmn=draw(st.sampled_from([ACROSS, ACROSS, ELSEWHERE, COMPATRIOT, OWN])) if roams else OWN,
            )
        )
        at += draw(st.sampled_from(STEPS))
        if at >= 24 * 3_600_000:
            break
    return rows


@given(row_days())
@settings(max_examples=60, deadline=None)
def test_from_rows_to_counts_the_edge_tells_what_the_oracle_tells(rows):
    told = []
    for one in rows:
        known = one["cell_id"] is not None and int(one["cell_id"], 16) < len(CELL_ZONE)
        cell = int(one["cell_id"], 16) if known else -1
        place = (
            ("belt" if CELL_ZONE[cell] >= 0 else "inland") if known else "none" if one["cell_id"] is None else "unknown"
        )
        side = side_said(one["event_type"], one["domain"], WORDS[one["plmn"]], WORDS[one["previous_plmn"]], place)
        if side is not None:
            told.append(((one["event_time"] - START) // timedelta(milliseconds=1) + DAY, cell, side))
    assert day_counts(day_of(rows))[0] == dict(counts_of_day({b"t": told}, ORACLE, 2))


def test_who_lands_at_an_airport_has_not_crossed_here():
    assert counted(abroad(0), row(90, "attach", AIRPORT), seen(200)) == []
    assert counted(abroad(0), seen(90, AIRPORT), seen(200)) == [(3, 0, ARRIVAL)]


def test_an_implicit_detach_an_hour_later_is_no_return():
    assert counted(seen(0), abroad(10), row(75, "implicit_detach")) == [(0, 0, DEPARTURE)]


def test_a_registration_in_a_third_country_ends_the_track():
    assert counted(seen(0), abroad(10, plmn=ELSEWHERE), abroad(20)) == []
    assert counted(abroad(0), abroad(10, plmn=ELSEWHERE), seen(90)) == []


def test_a_registration_on_another_network_at_home_ends_the_track():
    assert counted(seen(0), abroad(10, plmn=COMPATRIOT), abroad(20)) == []


def test_a_visiting_sim_that_is_cancelled_has_not_left():
    assert counted(seen(0, domain="inbound"), row(10, "roaming_cancel", plmn=ACROSS, domain="inbound")) == []


def test_a_domestic_cancel_says_nothing():
    cancel = row(20, "roaming_cancel", plmn=ACROSS)
    assert counted(seen(0), abroad(10), cancel, seen(100)) == counted(seen(0), abroad(10), seen(100))
    assert counted(seen(0), abroad(10), cancel, seen(100)) == [(0, 0, DEPARTURE), (1, 0, ARRIVAL)]


def test_a_network_of_the_same_country_is_no_country_of_origin():
    assert counted(abroad(0), seen(90, previous=COMPATRIOT)) == [(1, 0, ARRIVAL)]
    assert counted(abroad(0), seen(90, previous=ELSEWHERE)) == []


def test_domain_is_read_row_by_row():
    """A domestic row beside a visiting one of the same token: each is read by its own word."""
    assert counted(seen(0, domain="inbound"), abroad(10)) == [(0, 0, DEPARTURE)]
    assert counted(seen(0), abroad(10, domain="inbound")) == []


def test_a_detach_and_an_attach_at_one_instant_both_stand():
    """The phone leaves cell 2 and is taken up by cell 0 in one instant: cell 2 is the later in order, and the home side."""
    moved = [row(10, "detach", APART), row(10, "attach", BELT)]
    assert counted(*moved, abroad(30)) == [(0, 1, DEPARTURE)]
    assert counted(abroad(0), *moved) == [(0, 0, ARRIVAL)]


def test_a_visiting_sim_that_is_first_seen_without_a_previous_network_is_no_arrival():
    assert counted(seen(10, domain="inbound")) == []
    assert counted(seen(10, domain="inbound", previous=ACROSS)) == [(0, 0, ARRIVAL)]


def test_a_late_registration_of_a_flip_at_the_crossing_point_is_no_movement():
    rows = [seen(0, CROSSING_POINT), seen(30, CROSSING_POINT, previous=ACROSS), abroad(31), seen(100, CROSSING_POINT)]
    assert counted(*rows) == []


def test_a_return_next_door_within_the_hour_cancels_and_one_further_on_does_not():
    assert counted(seen(0), abroad(10), seen(40, NEXT_DOOR)) == []
    assert counted(seen(0), abroad(10), seen(40, APART)) == [(0, 0, DEPARTURE), (0, 1, ARRIVAL)]
