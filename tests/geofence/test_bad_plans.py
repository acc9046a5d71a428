"""Bad cell plans: each refused whole, by the rule that it breaks, with nothing of it told again."""

from pathlib import Path

import pytest

from geofence.cell_plan import MOST_ROWS_NAMED, CellPlanError, plan_faults, read_cell_plan

from .bad_plans import BROKEN_ROWS, bad_plans, line, text


def test_each_bad_plan_is_refused_by_its_rule_without_echo(tmp_path: Path) -> None:
    seen = set()
    for bad in bad_plans(tmp_path):
        with pytest.raises(CellPlanError) as refused:
            read_cell_plan(bad.path)
        assert refused.value.rule.startswith(bad.rule), bad.name
        told = str(refused.value) + repr(refused.value.__cause__)
        assert not any(marker in told for marker in bad.markers if len(marker) > 3), bad.name
        assert refused.value.__suppress_context__ or refused.value.__context__ is None, bad.name
        assert plan_faults(bad.path)[0].rule == refused.value.rule, bad.name
        seen.add(bad.name)
    assert len(seen) >= 40


def test_a_broken_row_is_named_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "plan.csv").write_bytes(text(line(), line(cell_id="0000002", range_m="0")))
    with pytest.raises(CellPlanError, match="row 2"):
        read_cell_plan(tmp_path / "plan.csv")


def test_the_same_lines_are_read_once_they_are_mended(tmp_path: Path) -> None:
    (tmp_path / "plan.csv").write_bytes(text(line(), line(cell_id="0000002"), line(cell_id="0000003")))
    assert read_cell_plan(tmp_path / "plan.csv").height == 3


def test_a_report_names_every_rule_and_few_rows_of_each(tmp_path: Path) -> None:
    wrong = [line(cell_id=f"{n:07x}", range_m="0", rat="LTEMARK") for n in range(5_000)]
    (tmp_path / "plan.csv").write_bytes(text(*wrong))
    faults = plan_faults(tmp_path / "plan.csv")
    assert [fault.rows for fault in faults] == [5_000] * 3
    assert all(fault.first == tuple(range(1, MOST_ROWS_NAMED + 1)) for fault in faults)
    assert len(repr(faults)) < 1_000
    assert "LTEMARK" not in repr(faults)


def test_lines_that_end_as_windows_writes_them_are_read(tmp_path: Path) -> None:
    (tmp_path / "plan.csv").write_bytes(text(line(valid_to="2026-03-01T00:00:00Z")).replace(b"\n", b"\r\n"))
    assert read_cell_plan(tmp_path / "plan.csv").height == 1


@pytest.mark.parametrize("name", ["unknown-rat", "range-of-0", "naive-time"])
def test_a_broken_row_does_not_hide_behind_good_ones(tmp_path: Path, name: str) -> None:
    changed, rule = next((changed, rule) for title, changed, rule in BROKEN_ROWS if title == name)
    good = [line(cell_id=f"{n:07x}") for n in range(2, 3_000)]
    (tmp_path / "plan.csv").write_bytes(text(*good, line(**changed)))
    with pytest.raises(CellPlanError) as refused:
        read_cell_plan(tmp_path / "plan.csv")
    assert (refused.value.row, refused.value.rule.startswith(rule)) == (2_999, True)
