"""The documents for those who must sign: made from the code, each figure with evidence that is there."""

import json
import re
from pathlib import Path

import pytest

from bench import documents
from bench.documents import OUT, ROOT, TEMPLATES, Fact, FactMissing, facts, filled

LINK = re.compile(r"\]\((?!https?:)([^)\s\"]+)(?: \"([^\"]*)\")?\)")
NAMED = re.compile(r"\{\{([\w.]+)")


def test_what_is_committed_is_what_the_code_says_today() -> None:
    for path, text in documents.documents().items():
        assert path.read_text(encoding="utf-8") == text, "run: make documents"
    assert {path.name for path in OUT.glob("*.md")} == {path.name for path in TEMPLATES.glob("*.md")}


def test_another_noise_would_be_another_text(monkeypatch: pytest.MonkeyPatch) -> None:
    before = documents.documents()
    monkeypatch.setattr(documents, "ReleasePolicy", lambda: documents_policy(sigma=19.0))
    after = documents.documents()
    assert before[OUT / "data-card.md"] != after[OUT / "data-card.md"]
    assert "[19](" in after[OUT / "data-card.md"]


def documents_policy(**changes: float):
    from privacy.policy import ReleasePolicy

    return ReleasePolicy(policy_id="other", **changes)


def test_every_link_leads_to_a_file_and_every_named_test_is_in_it() -> None:
    seen = 0
    for path in OUT.glob("*.md"):
        for target, name in LINK.findall(path.read_text(encoding="utf-8")):
            place = (OUT / target.partition("#")[0]).resolve()
            assert place.exists(), (path.name, target)
            if name:
                seen += 1
                assert name in place.read_text(encoding="utf-8"), (path.name, name)
    assert seen > 50


def test_evidence_that_is_gone_stops_the_command() -> None:
    for evidence in ("tests/no_such_file.py", "privacy/policy.py::NO_SUCH_NAME"):
        with pytest.raises(FactMissing):
            Fact("1", evidence).check()
    with pytest.raises(FactMissing, match=r"no fact is called epsilon\.hour"):
        filled("{{epsilon.hour}}", facts(), "a.md")


def test_a_template_types_no_figure_of_its_own() -> None:
    for template in TEMPLATES.glob("*.md"):
        typed = re.findall(r"\d+\.\d+", NAMED.sub("", template.read_text(encoding="utf-8")))
        assert typed in ([], ["0.1"]), template.name  # the aim of the detection issue is no measurement


def test_the_two_summaries_say_the_same_figures() -> None:
    english, vietnamese = (
        set(NAMED.findall((TEMPLATES / f"summary.{lang}.md").read_text(encoding="utf-8"))) for lang in ("en", "vi")
    )
    assert english - {"not_claimed.en", "delete.after"} == vietnamese - {"not_claimed.vi", "delete.hours"}


def test_what_was_measured_comes_from_the_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert facts()["measured.false_alerts"].words
    monkeypatch.setattr(documents, "EVIDENCE_FILE", tmp_path / "evidence.json")
    assert documents._measured_facts()["measured.false_alerts"].words == documents.UNMEASURED
    month = {"found": 3, "planted": 12}
    run = {"false_alerts_per_zone_month": 0.16, "share_suppressed": 0.67, "surges_in_the_month": month}
    evidence = {
        "privacy": {"commit": "abc", "machine": "2 cores"},
        "demo": [run, {**run, "false_alerts_per_zone_month": 0.2}],
    }
    (tmp_path / "evidence.json").write_text(json.dumps(evidence), encoding="utf-8")
    measured = documents._measured_facts()
    assert measured["measured.false_alerts"].words == "0.16 to 0.20 (2 seeds)"
    assert measured["measured.surges"].words == "3/12, 3/12"
    assert measured["measured.provenance"].words == "commit abc, 2 cores"


def test_the_chance_of_being_published_is_what_the_mechanism_draws() -> None:
    from privacy.mechanism import DiscreteGaussian
    from privacy.policy import ReleasePolicy

    policy, draws = ReleasePolicy(), 40_000
    drawn = DiscreteGaussian(policy).draw([30] * draws)
    found = sum(value >= policy.threshold for value in drawn) / draws
    assert found == pytest.approx(documents.published_share(30, policy.sigma, policy.threshold), abs=0.0035)  # 5 sd


def test_how_to_check_names_the_rules_exit_codes_of_the_program() -> None:
    told = (ROOT / "docs" / "verify.md").read_text(encoding="utf-8")
    program = (ROOT / "api" / "static" / "verify_ledger.py").read_text(encoding="utf-8")
    codes = re.search(r"HOLDS, BROKEN, UNREADABLE, MISSING = (.*)", program)
    assert codes
    assert [f"| {code.strip()} |" in told for code in codes[1].split(",")] == [True] * 4
