"""Every bad zone file is refused by the command that people use, by the rule that it breaks, and none of it is told."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from geofence.check import MAX_AREA_M2
from geofence.grid import MAX_BYTES, MAX_GRID_VERTICES, MAX_VERTICES, MAX_ZONES, NAME, GridError
from geofence.rules import BorderRule, FileRule, GridRule
from jobs.cli import app

from .bad_zones import BAD_ZONES, PLANTED_NUMBER, PLANTED_WORD, BadZones, good, lines

BETWEEN_VERSIONS = (GridRule.SAME_TURN, GridRule.LATER)
OF_GEOJSON_ELSEWHERE = (FileRule.GEOJSON_SIZE, FileRule.ONE_DOCUMENT, FileRule.GEOJSON, FileRule.WGS84)
PAGE = Path(__file__).parents[2] / "docs" / "zones.md"


@pytest.fixture(scope="module")
def borders(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    return lines(tmp_path_factory.mktemp("lines"))


def refusal(path: Path, border: Path, *options: str) -> tuple[GridError, str]:
    """The error that `zones check` ends with, and all that was said."""
    done = CliRunner().invoke(app, ["zones", "check", str(path), "--border", str(border), *options])
    assert isinstance(done.exception, GridError)
    return done.exception, done.output + str(done.exception) + repr(done.exception.__cause__)


@pytest.mark.parametrize("bad", BAD_ZONES, ids=lambda bad: bad.title.replace(" ", "-"))
def test_a_bad_zone_file_is_refused_by_its_rule_and_nothing_of_it_is_told(
    bad: BadZones, tmp_path: Path, borders: dict[bool, Path]
) -> None:
    error, said = refusal(bad.write(tmp_path), borders[bad.long_border], *bad.options)
    assert error.rule is bad.rule
    assert f"[{bad.rule.label}]" in str(error)
    assert PLANTED_WORD not in said
    assert PLANTED_NUMBER not in said


def test_the_file_that_the_bad_ones_are_made_from_is_good(tmp_path: Path, borders: dict[bool, Path]) -> None:
    import json

    (tmp_path / "zones.geojson").write_text(json.dumps(good()))
    done = CliRunner().invoke(
        app,
        ["zones", "check", str(tmp_path / "zones.geojson"), "--border", str(borders[False]), "--home", "A", "--json"],
    )
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["longest_gap_m"] == 0
    assert PLANTED_NUMBER in (tmp_path / "zones.geojson").read_text()


def test_every_rule_of_a_zone_file_has_a_file_that_breaks_it() -> None:
    # By kind and name: two rules of one sentence are equal texts.
    broken = {repr(bad.rule) for bad in BAD_ZONES}
    asked_elsewhere = {repr(rule) for rule in (*BETWEEN_VERSIONS, *OF_GEOJSON_ELSEWHERE)}
    assert broken == {repr(rule) for rule in (*GridRule, *FileRule)} - asked_elsewhere
    assert len({bad.title for bad in BAD_ZONES}) == len(BAD_ZONES) >= 60


def test_the_sentences_state_the_limits_that_the_code_keeps() -> None:
    assert f"{MAX_BYTES // 2**20} MiB" in GridRule.GRID_SIZE
    assert f"{MAX_ZONES:,} features" in GridRule.ZONE_COUNT
    assert f"{MAX_VERTICES:,} vertices" in GridRule.ZONE_VERTICES
    assert f"{MAX_GRID_VERTICES:,} vertices" in GridRule.GRID_VERTICES
    assert f"{MAX_AREA_M2 / 1e6:,.0f} km2" in GridRule.AREA
    assert f"^{NAME.pattern}$" in GridRule.ZONE_ID
    assert f"^{NAME.pattern}$" in GridRule.SECTOR_ID


def test_the_page_for_planners_lists_the_rules_that_the_code_keeps() -> None:
    listed = re.findall(r"^\| `([a-z0-9-]+)` \| (.+?) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert listed == [(rule.label, rule.value) for rules in (GridRule, FileRule, BorderRule) for rule in rules]
