"""`make documents`: what people must sign, and the composition table that the centre serves, from the code's own facts.

    python -m bench.documents                  # docs/sign/*.md from docs/sign/templates/*.md
    python -m bench.documents --composition    # first api/composition.json, by the accountant (half a minute)

A template is Markdown with `{{name}}`: the fact, linked to its evidence. `{{name|bare}}` leaves the link out, for tables and
for text in which the link stands beside. A name without a fact, and a fact whose evidence is gone, stop the command; a
test fails when the committed text is not this one. Measured figures come from docs/evidence.json (`make evidence`); what is
not in it is said to be unmeasured.
"""

import argparse
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from ingest.release import Level
from privacy.accountant import CASES, Cost, cost_table
from privacy.policy import SHARES, ReleasePolicy

ROOT = Path(__file__).parents[1]
COMPOSITION_FILE = ROOT / "api" / "composition.json"
EVIDENCE_FILE = ROOT / "docs" / "evidence.json"
OUT = ROOT / "docs" / "sign"
TEMPLATES = OUT / "templates"
METHOD = (
    "dp-accounting's privacy loss distributions of the discrete Gaussian at all three levels, and of the Gaussian of the "
    "whole budget; the larger, to two digits"
)
UNMEASURED = "*not measured yet (`make evidence`)*"
_NAMED = re.compile(r"\{\{([\w.]+)(\|bare)?\}\}")


class FactMissing(LookupError):
    """A template names what no fact gives, or a fact rests on evidence that is not there."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something true of the code or measured, as it is written, and where one can check it.

    `evidence` is a path from the project's root; `path::name` points at a test or a name in that file.
    """

    words: str
    evidence: str

    def linked(self) -> str:
        """The fact as a Markdown link to its evidence."""
        path, _, name = self.evidence.partition("::")
        target = Path(os.path.relpath(ROOT / path, OUT)).as_posix()
        return f"[{self.words}]({target}" + (f' "{name}")' if name else ")")

    def check(self) -> None:
        """Raise FactMissing if the evidence is gone."""
        path, _, name = self.evidence.partition("::")
        place = ROOT / path
        if not place.is_file() or (name and name not in place.read_text(encoding="utf-8")):
            raise FactMissing(f"the evidence {self.evidence} is not there")


def composition(costs: list[Cost], policy: ReleasePolicy) -> dict[str, Any]:
    """The composition table as the centre serves it."""
    return {
        "policy_id": policy.policy_id,
        "rho_day": policy.rho_day,
        "delta": policy.delta,
        "method": METHOD,
        "rows": [
            {
                "days": cost.case.days,
                "carriers": cost.case.carriers,
                "group": cost.case.group,
                "rho": round(cost.rho, 9),
                "epsilon": round(cost.epsilon, 2),
            }
            for cost in costs
        ],
    }


# Facts


def facts() -> dict[str, Fact]:
    """Every fact that a template may name."""
    found = _privacy_facts() | _time_facts() | _shape_facts() | _detection_facts() | _said_facts() | _measured_facts()
    for fact in found.values():
        fact.check()
    return found


def _privacy_facts() -> dict[str, Fact]:
    policy = ReleasePolicy()
    rule, table = "privacy/policy.py", "tests/api/test_ledger.py::test_what_a_month_costs_is_the_accountants_own_table"
    rows = {
        (row["days"], row["carriers"], row["group"]): f"{row['epsilon']:.2f}"
        for row in json.loads(COMPOSITION_FILE.read_text(encoding="utf-8"))["rows"]
    }
    found = {
        "epsilon.day": Fact(rows[1, 1, 1], table),
        "epsilon.week": Fact(rows[7, 1, 1], table),
        "epsilon.month": Fact(rows[30, 1, 1], table),
        "epsilon.year": Fact(rows[365, 1, 1], table),
        "epsilon.two_carriers": Fact(rows[1, 2, 1], table),
        "epsilon.month_two_carriers": Fact(rows[30, 2, 1], table),
        "epsilon.group_5": Fact(rows[1, 1, 5], table),
        "epsilon.group_30": Fact(rows[1, 1, 30], table),
        "rho.day": Fact(f"{policy.rho_day:.4f}", f"{rule}::MAX_RHO_DAY"),
        "delta": Fact(f"1/{round(1 / policy.delta):,}", f"{rule}::MAX_DELTA"),
        "k": Fact(str(policy.k), f"{rule}::MAX_K"),
        "threshold.hour": Fact(str(policy.threshold), f"{rule}::MIN_THRESHOLD"),
        "threshold.day": Fact(str(policy.threshold_day), f"{rule}::MIN_THRESHOLD_DAY"),
        "shares": Fact(" / ".join(f"{share:.0%}" for share in SHARES.values()), f"{rule}::SHARES"),
    }
    for true_count in (30, 50, 100):
        share = published_share(true_count, policy.sigma, policy.threshold)
        found[f"published.{true_count}"] = Fact(f"{share:.1%}", "bench/evidence.py::group_visibility")
    for level in Level:
        name = level.value.replace("-", "_")
        found[f"sigma.{name}"] = Fact(f"{policy.sigma_at(level):g}", f"{rule}::sigma_at")
        found[f"rho.{name}"] = Fact(f"{policy.rho_at(level):.4f}", f"{rule}::rho_at")
    return found


def published_share(true_count: int, sigma: float, threshold: int) -> float:
    """In which share of draws a zone-hour of this true count is published, by the discrete Gaussian's own weights.

    >>> round(published_share(30, sigma=9.45, threshold=50), 3)
    0.019
    """
    weights = {noise: math.exp(-(noise**2) / (2 * sigma**2)) for noise in range(-400, 401)}
    return sum(weight for noise, weight in weights.items() if true_count + noise >= threshold) / sum(weights.values())


def _time_facts() -> dict[str, Fact]:
    from api import schema, store
    from ingest import attachment, token_day
    from jobs import edge
    from movement import advance

    return {
        "late": Fact(_span(attachment.LATENESS), "ingest/attachment.py::LATENESS"),
        "settle": Fact(_span(timedelta(milliseconds=advance.FLIP_MS)), "movement/advance.py::FLIP_MS"),
        "release.after": Fact(_span(edge.RELEASE_AFTER), "jobs/edge.py::RELEASE_AFTER"),
        "marks.wait": Fact(_span(edge.WAIT_FOR_MARKS), "jobs/edge.py::WAIT_FOR_MARKS"),
        "token_day.hours": Fact(f"{token_day.HOURS_IN_DAY} hours", "ingest/token_day.py::HOURS_IN_DAY"),
        "delete.after": Fact(_span(token_day.DELETE_AFTER), "ingest/token_day.py::DELETE_AFTER"),
        "delete.hours": Fact(str(token_day.DELETE_AFTER // timedelta(hours=1)), "ingest/token_day.py::DELETE_AFTER"),
        "retention": Fact(f"{store.RETENTION.days} days", "api/store.py::RETENTION"),
        "arming": Fact(f"{schema.ARMING_LIMIT.days} days", "api/schema.py::ARMING_LIMIT"),
    }


def _shape_facts() -> dict[str, Fact]:
    from api import identity
    from api.alert import Disposition
    from ingest import attachment
    from ingest.release import Release

    release = sorted(Release.model_json_schema()["properties"])
    roles = [
        f"| {role} | {', '.join(sorted(scopes)) or 'nothing beyond what is public'} |"
        for role, scopes in identity.SCOPES.items()
    ]
    return {
        "release.fields": Fact(
            _code(release), "tests/api/test_no_device.py::test_no_field_of_a_release_names_a_device"
        ),
        "attachment.fields": Fact(_code(attachment.FIELD_NAMES), "ingest/attachment.py::FIELD_NAMES"),
        "attachment.refusals": Fact(
            _code([reason.value for reason in attachment.Refusal]), "ingest/attachment.py::Refusal"
        ),
        "dispositions": Fact(_code([one.value for one in Disposition]), "api/alert.py::Disposition"),
        "roles": Fact("\n".join(["| role | may |", "|---|---|", *roles]), "api/identity.py::SCOPES"),
        "no_device": Fact("walks every table, route, field and parameter", "tests/api/test_no_device.py"),
        "scrubber": Fact("nothing in a log, a warning or a fault", "tests/jobs/test_scrub.py"),
        "one_word": Fact("one release a level and window, ever", "tests/privacy/test_ledger.py"),
        "verifier": Fact("`verify_ledger.py`", "api/static/verify_ledger.py"),
        "verifier.rules": Fact(
            "planted fault for every rule", "tests/privacy/test_strangers.py::test_every_rule_has_a_fault"
        ),
        "guards": Fact("taken out, a named test fails", "tests/test_mutations.py"),
        "second_person": Fact("a second person", "detector/policy.py::a policy is approved by a second person"),
        "bundle": Fact("checked in a process that is thrown away", "detector/model.py::load_bundle"),
        "degraded": Fact("every answer says so", "api/standing.py::degraded_reasons"),
    }


def _detection_facts() -> dict[str, Fact]:
    from detector import calendar, features, flag, model
    from detector import policy as thresholds

    kept = {
        name: model.PARAMS[name] for name in ("learning_rate", "num_leaves", "min_data_in_leaf", "lambda_l2", "max_bin")
    }
    return {
        "excess.floor": Fact(
            f"{flag.MIN_EXCESS:g}", "tests/detector/test_flag.py::test_no_excess_below_sixty_is_flagged"
        ),
        "hidden.group": Fact(f"{flag.HIDDEN_GROUP:g}", "detector/flag.py::HIDDEN_GROUP"),
        "hidden.share": Fact(f"{flag.MAX_GROUP_SEEN:.1%}", "detector/flag.py::MAX_GROUP_SEEN"),
        "tail.most": Fact(f"1/{round(1 / thresholds.MAX_TAIL_P):,}", "detector/policy.py::MAX_TAIL_P"),
        "history.least": Fact(f"{thresholds.MIN_HISTORY_DAYS} days", "detector/policy.py::MIN_HISTORY_DAYS"),
        "features.own": Fact(_code(features.OWN_FEATURES), "detector/features.py::OWN_FEATURES"),
        "features.surroundings": Fact(
            _code(features.SURROUNDING_FEATURES), "detector/features.py::SURROUNDING_FEATURES"
        ),
        "features.calendar": Fact(_code(calendar.CALENDAR_FEATURES), "detector/calendar.py::CALENDAR_FEATURES"),
        "features.place": Fact(_code(features.PLACE_FEATURES), "detector/features.py::PLACE_FEATURES"),
        "features.feed": Fact(_code(features.FEED_FEATURES), "detector/features.py::FEED_FEATURES"),
        "model.params": Fact(
            ", ".join(f"{name} {value:g}" for name, value in kept.items()), "detector/model.py::PARAMS"
        ),
        "model.rounds": Fact(str(model.ROUNDS), "detector/model.py::ROUNDS"),
    }


def _said_facts() -> dict[str, Fact]:
    found = {}
    for lang in ("en", "vi"):
        path = f"api/static/locales/privacy.{lang}.json"
        words = json.loads((ROOT / path).read_text(encoding="utf-8"))
        claims = [words[key] for key in words if key.startswith("not.") and key != "not.title"]
        found[f"not_claimed.{lang}"] = Fact("\n".join(f"* {claim}" for claim in claims), path)
    return found


def _measured_facts() -> dict[str, Fact]:
    """Figures of docs/evidence.json; without the file, or where it has none, the words say that nothing was measured."""
    known: Mapping[str, Any] = json.loads(EVIDENCE_FILE.read_text(encoding="utf-8")) if EVIDENCE_FILE.is_file() else {}
    beside = "docs/evidence.json" if known else "bench/evidence.py"

    def figure(read: Callable[[Mapping[str, Any]], str]) -> Fact:
        try:
            return Fact(read(known), beside)
        except (KeyError, IndexError, TypeError, ValueError):
            return Fact(UNMEASURED, "bench/evidence.py")

    def runs(name: str, words: Callable[[list[float]], str]) -> Fact:
        return figure(lambda evidence: words([float(run[name]) for run in evidence["demo"]]))

    def span(values: list[float]) -> str:
        return f"{min(values):.2f} to {max(values):.2f} ({len(values)} seeds)"

    return {
        "measured.provenance": figure(lambda e: f"commit {e['privacy']['commit']}, {e['privacy']['machine']}"),
        "measured.false_alerts": runs("false_alerts_per_zone_month", span),
        "measured.suppressed": runs("share_suppressed", span),
        "measured.surges": figure(
            lambda e: ", ".join(
                f"{run['surges_in_the_month']['found']}/{run['surges_in_the_month']['planted']}" for run in e["demo"]
            )
        ),
    }


def _span(span: timedelta) -> str:
    minutes = round(span / timedelta(minutes=1))
    return f"{minutes} minutes" if minutes % 60 or minutes < 120 else f"{minutes // 60} hours"


def _code(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


# Documents


def filled(template: str, known: Mapping[str, Fact], source: str) -> str:
    """The document of a template; raises FactMissing for a name without a fact."""

    def fact(found: re.Match[str]) -> str:
        if found[1] not in known:
            raise FactMissing(f"{source}: no fact is called {found[1]}")
        return known[found[1]].words if found[2] else known[found[1]].linked()

    head = f"<!-- Made by `make documents` from templates/{source}: change that, not this. -->\n\n"
    return head + _NAMED.sub(fact, template)


def documents() -> dict[Path, str]:
    """Every document by its place."""
    known = facts()
    return {
        OUT / template.name: filled(template.read_text(encoding="utf-8"), known, template.name)
        for template in sorted(TEMPLATES.glob("*.md"))
    }


def main() -> None:
    """Write what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--composition", action="store_true", help="reckon the composition table anew")
    asked = parser.parse_args()
    if asked.composition:
        policy = ReleasePolicy()
        table = composition(cost_table(policy, CASES), policy)
        COMPOSITION_FILE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    for path, text in documents().items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
