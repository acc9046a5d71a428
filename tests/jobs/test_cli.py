"""The command: quick to answer, plain when it refuses, one JSON object when asked."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.settings import SettingsRefused, origins, read_settings
from tests.jobs.border import FIXTURES

RUN = CliRunner()
EDGE = """
[edge]
carrier = "carrier-a"
own_networks = ["204-99"]
networks_across = ["206-98"]
border = "border.geojson"
zone_grid = "zones.geojson"
cell_plan = "cells.csv"
source = "feed"
state = "state"
replay = true
"""


def settings_file(folder, text=EDGE):
    path = folder / "tidemark.toml"
    path.write_text(text, encoding="utf-8")
    return path


def command(*words, **environment):
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=environment or None,
    )


def test_help_brings_in_nothing_heavy():
    asked = "import sys; sys.argv = ['tidemark', '--help']\nimport jobs.cli\n"
    asked += "try:\n    jobs.cli.main()\nexcept SystemExit:\n    pass\n"
    heavy = "{'pyspark', 'opendp', 'lightgbm', 'geopandas', 'polars', 'numpy', 'pandas', 'sqlalchemy', 'fastapi', 'shapely'}"
    asked += f"print(sorted({heavy} & {{name.partition('.')[0] for name in sys.modules}}))"
    answer = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"


def test_every_command_that_the_issue_names_is_there():
    def names(room):
        return {command.name or command.callback.__name__ for command in room.registered_commands}

    groups = {group.name: names(group.typer_instance) for group in app.registered_groups}
    commands = names(app)
    assert {"demo", "sight", "close", "intake", "train", "detect", "backtest", "serve", "purge"} <= commands
    assert groups["zones"] == {"build", "check", "diff"}
    assert {"events", "counts"} <= groups["simulate"]
    assert groups["ledger"] == {"show", "verify", "export", "table", "bias"}
    assert {"run", "status", "left", "stop", "start"} <= groups["edge"]
    assert "push" in groups["release"]


def test_paths_of_a_settings_file_start_where_it_lies(tmp_path):
    edge = read_settings(settings_file(tmp_path)).edge
    assert edge.cell_plan == tmp_path / "cells.csv"
    assert edge.border == str(tmp_path / "border.geojson")
    assert read_settings(settings_file(tmp_path, EDGE.replace("border.geojson", "VN-KH"))).edge.border == "VN-KH"


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ('colour = "blue"', "edge.colour"),
        ('[edge.policy]\nsecret = "452040123456789"', "edge.policy.secret"),
        ("driver_memory = 452040123456789", "edge.driver_memory"),
        ('[edge.policy]\npolicy_id = "no name"', "edge.policy.policy_id"),
        ("turn_hour_utc = 24", "edge.turn_hour_utc"),
    ],
)
def test_settings_that_break_a_rule_are_named_and_not_repeated(tmp_path, line, rule):
    with pytest.raises(SettingsRefused, match=rule) as refused:
        read_settings(settings_file(tmp_path, EDGE + line))
    assert "452040123456789" not in str(refused.value)


def test_a_weaker_policy_does_not_start(tmp_path):
    path = settings_file(tmp_path, EDGE + "[edge.policy]\nthreshold = 30\n")
    result = command("settings", "show", "--config", path)
    assert result.returncode == 2
    assert "policy.threshold is 30; it must be at least 50" in " ".join(result.stderr.split())


def test_settings_say_where_they_come_from(tmp_path, monkeypatch):
    path = settings_file(tmp_path)
    monkeypatch.setenv("TIDEMARK_EDGE__MASTER", "local[1]")
    found = origins(read_settings(path), path)
    assert found["edge.master"] == ("local[1]", "environment")
    assert found["edge.carrier"] == ("carrier-a", "file")
    assert found["edge.policy.k"] == (2, "default")


def test_zones_are_checked_by_name_and_rule(tmp_path):
    grid = json.loads((FIXTURES / "network_a_zones.geojson").read_text())
    words = (
        "--border",
        FIXTURES / "network_a_border.geojson",
        "--turn-hour",
        2,
        "--valid-from",
        "2026-03-01T02:00:00Z",
    )
    good = command("zones", "check", FIXTURES / "network_a_zones.geojson", *words, "--json")
    assert json.loads(good.stdout)["zones"] == 3
    grid["features"][1]["properties"]["zone_id"] = grid["features"][0]["properties"]["zone_id"]
    (tmp_path / "bad.geojson").write_text(json.dumps(grid))
    bad = command("zones", "check", tmp_path / "bad.geojson", *words)
    assert bad.returncode == 2
    assert bad.stderr.strip().splitlines()[-1].startswith("refused:")
    assert "Traceback" not in bad.stderr


def test_a_command_without_its_settings_says_which(tmp_path):
    result = command("ledger", "show", "--config", settings_file(tmp_path, ""))
    assert result.returncode == 2
    assert "[edge]" in result.stderr


def test_a_centre_that_is_not_ready_says_what_to_do_first(tmp_path):
    path = settings_file(tmp_path, f'[centre]\nstore = "sqlite:///{tmp_path}/centre.sqlite"\nmodels = "models"\n')
    result = command("detect", "--start", "2026-03-02", "--end", "2026-03-03", "--config", path)
    assert result.returncode == 2
    assert "add-grid" in result.stderr


@pytest.mark.parametrize(
    ("sound", "broken", "rule"),
    [
        ('own_networks = ["204-99"]', 'own_networks = ["20499"]', "own_networks"),
        ('networks_across = ["206-98"]', 'networks_across = ["206-98 "]', "networks_across"),
        ('networks_across = ["206-98"]', 'networks_across = ["204-99"]', "not both"),
        ("replay = true", "replay = false", "a live edge needs marks"),
    ],
)
def test_settings_that_would_count_nothing_do_not_start(tmp_path, sound, broken, rule):
    with pytest.raises(SettingsRefused, match=rule):
        read_settings(settings_file(tmp_path, EDGE.replace(sound, broken)))


def test_a_mistyped_variable_is_not_ignored(tmp_path, monkeypatch):
    monkeypatch.setenv("TIDEMARK_EGDE__MASTER", "local[1]")
    with pytest.raises(SettingsRefused, match="TIDEMARK_EGDE__MASTER"):
        read_settings(settings_file(tmp_path))


def test_a_ledger_that_is_not_there_is_not_called_sound(tmp_path):
    result = command("ledger", "verify", "--config", settings_file(tmp_path))
    assert result.returncode == 2
    assert not (tmp_path / "state").exists()


def test_the_demo_does_not_empty_a_folder_that_is_not_its_own(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    result = command("demo", "--no-serve", "--folder", tmp_path)
    assert result.returncode == 2
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_file_that_is_not_there_is_named(tmp_path):
    result = command("zones", "check", tmp_path / "none.geojson", "--border", "VN-KH")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


NOTICE = """
[centre.notice]
complaints = "privacy@border-command.example"
ends_on = 2026-12-31
[centre.notice.carrier_ledgers]
carrier-a = "https://carrier-a.example/ledger.json"
"""


def test_what_the_operator_owes_the_public_is_a_setting(tmp_path):
    notice = read_settings(settings_file(tmp_path, EDGE + NOTICE)).centre.notice
    assert (notice.complaints, str(notice.ends_on), notice.operator) == (
        "privacy@border-command.example",
        "2026-12-31",
        None,
    )
    assert notice.carrier_ledgers == {"carrier-a": "https://carrier-a.example/ledger.json"}


@pytest.mark.parametrize("address", ["http://a.example/", "javascript:alert(1)", "https://a b", ""])
def test_a_carriers_ledger_is_linked_by_https_only(tmp_path, address):
    with pytest.raises(SettingsRefused, match="carrier_ledgers"):
        read_settings(settings_file(tmp_path, EDGE + NOTICE.replace("https://carrier-a.example/ledger.json", address)))
