"""The attacks, small: what needs no luck is met, and the builds that a small size can tell are caught."""

import subprocess
import sys

import pytest

from bench import privacy_audit
from bench.audit import loss
from bench.audit.finding import Broken, Finding, Size, markdown
from bench.privacy_audit import ATTACKS, audit, page

SMALL = Size(runs=2_000, workers=1)
# At this size the noise of the noise alone decides whether these are met, and hides these broken builds.
BY_CHANCE = {"mechanism_loss", "mechanism_loss_hours", "membership", "publication", "flags", "released_minus_true"}
HIDDEN = {"sigma 5 % low", "a fifth contribution"}
BLIND = {"mechanism_loss_hours"}  # it reads what mechanism_loss drew, and sees less
ELSEWHERE = {"lives", "canary"}  # tests/privacy/test_ledger.py and tests/campaigns/test_canary.py run them small


@pytest.fixture(scope="module")
def found():
    """Every attack's finding, made when first asked for."""
    made = {}

    def finding(name):
        if name not in made:
            made[name] = ATTACKS[name](SMALL)
        return made[name]

    return finding


@pytest.mark.parametrize("name", sorted(ATTACKS.keys() - ELSEWHERE - BY_CHANCE))
def test_what_needs_no_luck_is_met_and_every_broken_build_is_caught(found, name):
    assert found(name).passed, found(name).figure
    assert found(name).broken_caught, found(name).broken


@pytest.mark.parametrize("name", sorted(BY_CHANCE - BLIND))
def test_a_badly_broken_build_is_caught_at_any_size(found, name):
    told = [build for build in found(name).broken if build.build not in HIDDEN]
    assert told
    assert all(build.caught for build in told), told


def test_a_lower_bound_of_mu_lies_below_the_mu_of_gaussian_noise():
    """Samples whose mu is known: the bound is near it and not above it, and that of half the noise is far above."""
    import numpy as np

    draw, mu = np.random.default_rng(3), 0.5
    without, with_it = draw.normal(0, 1, 100_000), draw.normal(mu, 1, 100_000)
    assert mu - 0.03 < loss.mu_lower_bound(without, with_it, mu / 2) < mu
    assert loss.mu_lower_bound(2 * without, 2 * with_it, mu) < mu
    assert loss.mu_lower_bound(without, with_it + mu, mu) > 0.9


def test_the_device_of_the_attack_moves_all_that_the_policy_grants():
    builds = {build.name: build.effect for build in loss.builds()}
    assert (builds["product"].hours, builds["product"].arrivals, builds["product"].departures) == ((1,) * 4, 2, 2)
    assert len(builds["a fifth contribution"].hours) == 5


def test_a_missed_target_and_an_uncaught_build_are_told_and_fail(monkeypatch):
    sound = Finding("a", "0", "0", True, (Broken("b", "1", True),))
    cases = {
        "sound": (sound, True),
        "missed": (Finding("a", "1", "0", False, sound.broken), False),
        "blind": (Finding("a", "0", "0", True, (Broken("b", "0", False),)), False),
        "unproved": (Finding("a", "0", "0", True, ()), False),
    }
    for name, (finding, holds) in cases.items():
        monkeypatch.setitem(ATTACKS, name, lambda _, finding=finding: finding)
        report = audit([name], SMALL)
        assert report["sound"] is holds
        assert ("Every target is met" in page(report)) is holds
    assert markdown([cases["blind"][0]]).count("**NO**") == 1


def test_the_command_ends_with_the_verdict():
    command = [sys.executable, "-m", "bench.privacy_audit", "--runs", "2000", "--workers", "1", "--json"]
    asked = subprocess.run([*command, "--attack", "schema_walk"], capture_output=True, text=True, check=False)
    assert asked.returncode == 0, asked.stderr
    assert '"sound": true' in asked.stdout
    assert privacy_audit.__doc__.splitlines()[0].startswith("`make evidence-privacy`")
