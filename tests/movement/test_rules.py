"""Every rule has a story, a line in docs/movement.md, and a property that fails without it."""

import importlib.util
import re
import sys
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.attachment import Domain, EventType
from movement import sighting
from movement.sighting import Network, Place
from tests.movement.oracle import counts_of_day, side_said
from tests.movement.rules import ADVANCE, RULES, SIGHTING
from tests.movement.token_days import ORACLE, day_counts, examples, named, token_days

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "movement.md").read_text(encoding="utf-8")
EXAMPLES = 800


@given(st.lists(token_days(), max_size=3), st.integers(1, 3))
@settings(max_examples=80, deadline=None)
def test_the_hourly_chain_equals_the_plain_oracle_at_every_limit(days, k):
    counts, _, _ = day_counts(named(days), k=k)
    assert counts == dict(counts_of_day(named(days), ORACLE, k))


def sides_by(module):
    """What a module's side_of makes of every kind of row."""
    kinds = product(EventType, Domain, [one for one in Network if one is not Network.NONE], Network, Place)
    found = {}
    for event_type, domain, serving, previous, place in kinds:
        member = (module.Network(serving.value), module.Network(previous.value), module.Place(place.value))
        side = module.side_of(event_type, domain, *member).side
        found[event_type, domain, serving, previous, place] = None if side is None else int(side)
    return found


def test_every_kind_of_row_says_what_the_oracle_says_that_it_says():
    assert sides_by(sighting) == {kind: side_said(*(word.value for word in kind)) for kind in sides_by(sighting)}


@pytest.fixture(scope="module")
def tried():
    """Token-days that the property is tried on, and what the oracle counts of them."""
    tokens = named(examples(token_days(), EXAMPLES))
    return tokens, dict(counts_of_day(tokens, ORACLE, 2))


def test_the_examples_agree_with_the_oracle_while_every_rule_stands(tried):
    tokens, wanted = tried
    assert day_counts(tokens)[0] == wanted


def without(rule, folder, monkeypatch):
    """The module of a rule with the rule taken out."""
    source = (ROOT / rule.file).read_text(encoding="utf-8")
    assert source.count(rule.text) == 1, f"{rule.number}: the text of this rule has moved"
    path = folder / f"without_{rule.number}.py"
    path.write_text(source.replace(rule.text, rule.instead), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.file == ADVANCE], ids=lambda rule: rule.number)
def test_without_a_rule_the_property_fails(rule, tried, tmp_path, monkeypatch):
    tokens, wanted = tried
    assert day_counts(tokens, by=without(rule, tmp_path, monkeypatch))[0] != wanted


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.file == SIGHTING], ids=lambda rule: rule.number)
def test_without_a_rule_a_row_says_something_else(rule, tmp_path, monkeypatch):
    assert sides_by(without(rule, tmp_path, monkeypatch)) != sides_by(sighting)


def test_every_rule_has_a_line_on_the_page_and_every_line_is_a_rule():
    lines = re.findall(r"^\| (\d[a-z]) \|", PAGE.split("## 7.")[0], flags=re.MULTILINE)
    assert lines == [rule.number for rule in RULES]


def test_every_story_that_a_rule_names_is_told_and_the_page_names_it():
    for rule in RULES:
        told = re.search(rf"^\| {rule.number} \|(.*)\|$", PAGE.split("## 7.")[1], flags=re.MULTILINE)
        assert told, rule.number
        for story in rule.stories:
            file, name = story.split("::")
            assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), story
            assert f"`{name}`" in told[1], story
