"""The public side of the ledger on the command line: export, tables, the policy file."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ingest.release import HOUR
from jobs.budget import bias_rows, cost_rows
from jobs.centre import open_store, take_in
from jobs.cli import app
from jobs.settings import SettingsRefused, read_settings
from privacy.accountant import Case
from privacy.ledger import Ledger
from privacy.policy import ReleasePolicy, WeakerPolicy
from privacy.public import chain_of, public_faults, public_ledger
from tests.api.builders import grid_document
from tests.jobs.test_cli import EDGE, settings_file
from tests.privacy.builders import DAY, GRID, ZONES, CountingNoise, open_day, open_ledger, release, tell_day, tell_hours

RUN = CliRunner()
FEATURES = [
    {"properties": {"zone_id": zone_id, "sector_id": sector_id, "kind": kind, "name": zone_id}}
    for zone_id, sector_id, kind in ZONES
]
PAGE = Path(__file__).parents[2] / "docs" / "budget.md"
POLICY_FILE = 'policy_id = "{name}"\nproposed_by = "An"\ndated = 2026-03-01\nreason = "trial"\n'


def test_the_committed_page_holds_the_generated_tables():
    page = PAGE.read_text(encoding="utf-8")
    for row in (*cost_rows(ReleasePolicy(), [Case(), Case(days=30), Case(carriers=2), Case(group=30)]), *bias_rows()):
        assert "| " + " | ".join(str(value) for value in row.values()) + " |" in page


def test_the_public_ledger_is_exported_and_a_stranger_finds_it_sound(tmp_path):
    settings = settings_file(tmp_path)
    (tmp_path / "state").mkdir()
    ledger = Ledger(tmp_path / "state" / "ledger.sqlite", carrier="carrier-a", mode="replay")
    lineage = open_day(ledger)
    tell_hours(ledger, lineage, CountingNoise())
    tell_day(ledger, lineage, CountingNoise())
    ledger.close()
    shown = RUN.invoke(app, ["ledger", "export", "--config", str(settings)])
    document = json.loads(shown.stdout)
    assert public_faults(chain_of(document)[1]) == []
    assert sum(entry["document"]["kind"] == "release" for entry in document["entries"]) == 26
    written = tmp_path / "public.json"
    RUN.invoke(app, ["ledger", "export", "--config", str(settings), "--out", str(written)])
    assert json.loads(written.read_text(encoding="utf-8")) == document


CENTRE = '[centre]\nstore = "sqlite:///{folder}/centre.sqlite"\n'


def test_the_centre_holds_an_export_against_what_it_was_told(tmp_path):
    ledger = open_ledger(tmp_path)
    lineage, noise = open_day(ledger), CountingNoise()
    told = [release(ledger, lineage, noise, window=DAY + HOUR * hour) for hour in range(3)]
    older = public_ledger("carrier-a", "live", ledger.chain()[:-1])
    export = tmp_path / "public.json"
    export.write_text(json.dumps(public_ledger("carrier-a", "live", ledger.chain())), encoding="utf-8")
    settings = settings_file(tmp_path, CENTRE.format(folder=tmp_path))
    store = open_store(read_settings(settings).centre)
    store.put_grid(grid_document(grid_id=GRID, valid_from="2026-01-01T02:00:00Z", turn_hour_utc=2, features=FEATURES))
    store.put_carrier("carrier-a", "A")
    taken = take_in(store, [entry.document for entry in told], now=DAY + HOUR * 30)
    assert taken == {"accepted": 3}
    sound = RUN.invoke(app, ["centre", "reconcile", str(export), "--config", str(settings), "--json"])
    assert (sound.exit_code, json.loads(sound.stdout)) == (0, {"carrier": "carrier-a", "told": 3, "faults": []})
    export.write_text(json.dumps(older), encoding="utf-8")
    restored = RUN.invoke(app, ["centre", "reconcile", str(export), "--config", str(settings), "--json"])
    assert restored.exit_code == 1
    assert json.loads(restored.stdout)["faults"] == [
        "zone-hour 2026-03-02T04:00:00Z: the centre was told what the ledger does not know"
    ]


def test_a_market_factor_is_recorded_with_who_when_and_why(tmp_path):
    settings = settings_file(tmp_path, CENTRE.format(folder=tmp_path))
    store = open_store(read_settings(settings).centre)
    store.put_carrier("carrier-a", "A")
    words = [
        "centre",
        "add-factor",
        "carrier-a",
        "1.25",
        "--sd",
        "0.1",
        "--valid-from",
        "2026-03-01",
        "--proposed-by",
        "An",
    ]
    told = RUN.invoke(app, [*words, "--reason", "regulator", "--config", str(settings), "--json"])
    assert json.loads(told.stdout)["valid_from"] == "2026-03-01T00:00:00Z"
    assert [(f.carrier, f.factor, f.reason) for f in store.factors()] == [("carrier-a", 1.25, "regulator")]


def test_a_policy_file_rules_and_a_weaker_one_does_not_start(tmp_path):
    settings = settings_file(tmp_path, EDGE + 'policy_file = "policy.toml"\n')
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY_FILE.format(name="trial-1") + "threshold = 90\n", encoding="utf-8")
    edge = read_settings(settings).edge
    assert (edge.release_policy().policy_id, edge.release_policy().threshold) == ("trial-1", 90)
    policy.write_text(POLICY_FILE.format(name="trial-2") + "threshold = 20\n", encoding="utf-8")
    with pytest.raises(WeakerPolicy, match=r"policy\.threshold is 20; it must be at least 50"):
        read_settings(settings).edge.release_policy()


def test_a_policy_stands_in_one_place(tmp_path):
    both = EDGE + 'policy_file = "policy.toml"\n[edge.policy]\nthreshold = 80\n'
    with pytest.raises(SettingsRefused, match="not in both"):
        read_settings(settings_file(tmp_path, both))
