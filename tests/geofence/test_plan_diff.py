"""What a later cell plan changes, and what a plan's own dates switch."""

from datetime import UTC, datetime, timedelta

import polars as pl

from geofence.locate import locate_cells
from geofence.plan_diff import Rezoned, ZoneCells, cells_at, diff_cells
from geofence.switches import switched_hours, switched_shares, switches

from .builders import LINE, cell, grid, plan

AT = datetime(2026, 3, 2, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)


def cells_of(*rows: dict[str, object], at: datetime = AT) -> pl.DataFrame:
    """The table of a plan's cells at an instant."""
    checked = plan(*rows)
    return cells_at(checked, locate_cells(checked, grid(), LINE), at)


def test_cells_come_and_go_and_move_and_turn() -> None:
    kept = [cell(f"00000a{n}", east_km=-5 + n / 10) for n in range(6)]
    before = cells_of(*kept, cell("0000001"), cell("0000002"), cell("0000003"))
    after = cells_of(
        *kept,
        cell("0000002", north_km=18.0),
        cell("0000003", azimuth_deg=90, beamwidth_deg=65),
        cell("0000004"),
    )
    found = diff_cells(before, after, grid())
    assert found.added == ("EUTRA/204-99/0000004",)
    assert found.removed == ("EUTRA/204-99/0000001",)
    assert found.moved == ("EUTRA/204-99/0000002",)
    assert found.turned == ("EUTRA/204-99/0000003",)
    assert found.rezoned == (Rezoned("EUTRA/204-99/0000002", "south", "north"),)
    assert found.unchanged == 6
    assert found.zones == (ZoneCells("north", 0, 1, 1.0), ZoneCells("south", 9, 8, 0.4))


def test_a_plan_does_not_differ_from_itself_written_with_fewer_decimals() -> None:
    before = cells_of(cell(lon=6.0571234567), cell("0000002"))
    found = diff_cells(before, cells_of(cell(lon=6.057123), cell("0000002")), grid())
    assert (found.unchanged, found.zones, found.moved) == (2, (), ())


def test_one_plan_at_two_instants_tells_what_its_dates_do() -> None:
    turn = "2026-03-02T00:00:00Z"
    rows = [cell(valid_to=turn), cell(north_km=18.0, valid_from=turn), cell("0000002", valid_from=turn)]
    found = diff_cells(cells_of(*rows, at=AT - timedelta(days=1)), cells_of(*rows), grid())
    assert found.added == ("EUTRA/204-99/0000002",)
    assert [one.after for one in found.rezoned] == ["north"]


def dated(*rows: tuple[str, str, datetime | None, datetime | None]) -> pl.DataFrame:
    """Cells in zones with their validity."""
    instant = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        rows,
        schema={"cell": pl.String, "zone_id": pl.String, "valid_from": instant, "valid_to": instant},
        orient="row",
    )


def test_new_cells_of_a_zone_are_planned_work_for_three_hours() -> None:
    old = [(f"old{n}", "south", None, None) for n in range(7)]
    cells = dated(*old, *((f"new{n}", "south", AT, None) for n in range(3)))
    assert switched_hours(cells, [AT + HOUR * n for n in range(-2, 6)]) == {AT, AT + HOUR, AT + 2 * HOUR}
    assert switched_shares(cells, AT) == {"south": 0.3}


def test_one_new_site_among_many_is_no_work_worth_a_word() -> None:
    old = [(f"old{n}", "south", None, None) for n in range(12)]
    assert switched_hours(dated(*old, ("new", "south", AT, None)), [AT]) == frozenset()


def test_cells_that_go_off_touch_their_hour_and_the_next() -> None:
    rows = [(f"a{n}", "south", None, AT if n < 4 else None) for n in range(8)]
    hours = [AT + HOUR * n for n in range(-2, 4)]
    assert switched_hours(dated(*rows), hours) == {AT}
    later = AT + HOUR / 2
    rows = [(f"a{n}", "south", None, later if n < 4 else None) for n in range(8)]
    assert switched_hours(dated(*rows), hours) == {AT, AT + HOUR}


def test_a_new_validity_of_the_same_cell_in_the_same_zone_switches_nothing() -> None:
    rows = [(f"a{n}", "south", begin, end) for n in range(5) for begin, end in ((None, AT), (AT, None))]
    assert switches(dated(*rows)).is_empty()
    moved = [("a", "south", None, AT), ("a", "north", AT, None)]
    assert switches(dated(*moved))["what"].to_list() == ["on", "off"]


def test_the_beginning_of_a_whole_plan_is_no_switch() -> None:
    begun = [(f"a{n}", "south", AT, None) for n in range(5)]
    assert switched_hours(dated(*begun), [AT]) == frozenset()
    assert switched_hours(dated(*begun, ("old", "south", None, None)), [AT]) == {AT}
