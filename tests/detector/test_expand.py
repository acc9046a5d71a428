"""Carriers together and the whole market: known noise, censored nulls, dated factors, and no way to a flag."""

import ast
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.expand import CarrierCount, ExpansionRefused, MarketFactor, factors_in_force, together
from ingest.release import Level

ROOT = Path(__file__).parents[2]
START = datetime(2026, 3, 2, 2, tzinfo=UTC)


def said(carrier="alpha", value=400, sigma=30.0, level=Level.SECTOR_DAY, complete=True):
    return CarrierCount(carrier, level, value, sigma, 150, complete)


def factor(carrier="alpha", by=1.25, sd=0.1, days=0, **changes):
    return MarketFactor(
        **{
            "carrier": carrier,
            "factor": by,
            "factor_sd": sd,
            "valid_from": START + timedelta(days=days),
            "proposed_by": "An",
            "approved_by": "Binh",
            "reason": "regulator's figures of 2025",
            **changes,
        }
    )


BOTH = {"alpha": factor(), "beta": factor("beta")}


def test_counts_add_up_and_so_do_the_variances_of_their_noise():
    found = together([said(sigma=30.0), said("beta", 300, sigma=40.0)], ["alpha", "beta"])
    assert (found.value, found.sd, found.complete) == (700, 50.0, True)
    assert (found.at_least, found.at_most) == (700 - 1.96 * 50, 700 + 1.96 * 50)


def test_a_null_is_censored_and_not_nought():
    found = together([said(), said("beta", None)], ["alpha", "beta"])
    assert (found.value, found.suppressed) == (None, 1)
    assert found.at_least == pytest.approx(400 - 1.96 * 30)
    assert found.at_most == pytest.approx(400 + 150 + 1.96 * 1800**0.5)


def test_a_carrier_that_says_nothing_leaves_the_sum_open_above():
    found = together([said()], ["alpha", "beta"])
    assert (found.value, found.at_most, found.complete, found.carriers_present) == (None, None, False, 1)


def test_a_factor_brings_its_own_uncertainty():
    plain = together([said(), said("beta", 300)], ["alpha", "beta"])
    market = together([said(), said("beta", 300)], ["alpha", "beta"], BOTH)
    assert market.value == pytest.approx(1.25 * plain.value)
    # Noise grows with the factor; the factors err together: a tenth of everything counted.
    assert market.sd**2 == pytest.approx((1.25 * plain.sd) ** 2 + (0.1 * 700) ** 2)


def test_a_factor_rules_from_its_date_on():
    factors = [factor(days=0, by=1.2), factor(days=10, by=1.4), factor("beta", days=5)]
    assert factors_in_force(factors, START - timedelta(seconds=1)) == {}
    assert factors_in_force(factors, START)["alpha"].factor == 1.2
    later = factors_in_force(reversed(factors), START + timedelta(days=10))
    assert (later["alpha"].factor, later["beta"].factor) == (1.4, 1.25)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"by": 0.9}, "between 1 and 100"),
        ({"by": float("nan")}, "between 1 and 100"),
        ({"sd": 0.0}, "uncertainty"),
        ({"sd": float("inf")}, "uncertainty"),
        ({"proposed_by": " "}, "who proposed"),
        ({"reason": ""}, "why"),
        ({"valid_from": datetime(2026, 3, 2)}, "offset"),  # noqa: DTZ001
    ],
)
def test_a_factor_without_its_uncertainty_or_its_story_is_refused(changes, rule):
    with pytest.raises(ExpansionRefused, match=rule):
        factor(**changes)


@pytest.mark.parametrize(
    ("counts", "factors", "rule"),
    [
        ([said(level=Level.ZONE_HOUR)], None, "levels are not mixed"),
        ([said(), said("beta", level=Level.BORDER_DAY)], None, "levels are not mixed"),
        ([said(), said()], None, "speaks once"),
        ([said(), said("beta")], {"alpha": factor()}, "has a market factor"),
    ],
)
def test_what_does_not_go_together_is_refused(counts, factors, rule):
    with pytest.raises(ExpansionRefused, match=rule):
        together(counts, ["alpha", "beta"], factors)


@given(st.lists(st.one_of(st.none(), st.integers(150, 5000)), min_size=1, max_size=5))
def test_the_bounds_enclose_what_was_published(values):
    counts = [said(f"c{place}", value) for place, value in enumerate(values)]
    found = together(counts, [count.carrier for count in counts])
    published = sum(value for value in values if value is not None)
    assert found.at_least <= published <= found.at_most
    assert found.at_least >= 0


def test_the_bounds_hold_in_19_of_20_days_with_nulls_and_factors_that_err():
    """4,000 days of two carriers at 50 % and 30 % of a market; the second is mostly below its threshold."""
    rng, inside, days = random.Random(5), 0, 4_000
    for _ in range(days):
        market = rng.uniform(200, 900)
        stated = 1.25 + rng.gauss(0, 0.05)
        counts = []
        for carrier, share in (("alpha", 0.5), ("beta", 0.3)):
            noisy = round(market * share + rng.gauss(0, 30))
            counts.append(said(carrier, noisy if noisy >= 150 else None))
        factors = {name: factor(name, by=max(stated, 1.0), sd=0.05) for name in ("alpha", "beta")}
        found = together(counts, ["alpha", "beta"], factors)
        inside += found.at_least <= market <= found.at_most
    assert inside / days >= 0.95


# What is structural


def modules(*folders):
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_nothing_that_makes_a_flag_can_see_a_market_factor():
    """Flags come from detector/ and jobs/centre.py's detect; only the API's estimates and the command read factors."""
    readers = {
        path.relative_to(ROOT).as_posix()
        for path in modules("detector", "api", "jobs")
        if any("detector.expand" in name for name in imported(path))
    }
    assert readers <= {"api/routes/estimates.py", "api/store.py", "jobs/cli.py"}
    words = ("factor", "expand")
    for path in modules("detector"):
        if path.name != "expand.py":
            names = {n.id for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Name)}
            assert not {name for name in names for word in words if name.lower().startswith(f"market_{word}")}


LEVEL_NAMES = {
    "ZONE_HOUR": "hour",
    "zone_count": "hour",
    "counts_rows": "hour",
    "SECTOR_DAY": "sector",
    "BORDER_DAY": "border",
    "day_count": "day",
    "day_counts": "day",
    "day_counts_page": "day",
}


def subtracting(tree):
    """The functions that name two levels and subtract anything: there, one product could be taken from another."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        nodes = list(ast.walk(function))
        named = {n.attr for n in nodes if isinstance(n, ast.Attribute)} | {
            n.id for n in nodes if isinstance(n, ast.Name)
        }
        levels = {LEVEL_NAMES[name] for name in named if name in LEVEL_NAMES}
        if len(levels) > 1 and any(map(takes_away, nodes)):
            yield function.name


def takes_away(node):
    """Whether something is subtracted that is no plain number: `rows[limit - 1]` is a place, not a product."""
    if isinstance(node, ast.AugAssign):
        return isinstance(node.op, ast.Sub) and not isinstance(node.value, ast.Constant)
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and not isinstance(node.right, ast.Constant)


def test_no_product_is_subtracted_from_another_at_the_centre():
    """Sums of what is published stay above the floors; a difference of two levels need not."""
    found = {
        f"{path.relative_to(ROOT).as_posix()}:{name}"
        for path in [*modules("detector", "api"), ROOT / "jobs" / "centre.py"]
        for name in subtracting(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == {"api/store.py:purge"}  # takes the retention from the clock


def test_the_search_for_subtractions_would_see_one():
    planted = "def rest(store):\n    return store.day_counts(Level.BORDER_DAY) - store.counts_rows()\n"
    assert list(subtracting(ast.parse(planted))) == ["rest"]
