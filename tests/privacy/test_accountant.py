"""What the budget means, three ways."""

import math

import pytest

from ingest.release import Level
from privacy.accountant import CASES, Case, cost, epsilon, mechanism_epsilon
from privacy.mechanism import DiscreteGaussian, zcdp_epsilon
from privacy.policy import ReleasePolicy

POLICY = ReleasePolicy()


@pytest.mark.parametrize(
    ("case", "published"),
    [
        (Case(), 1.00),
        (Case(carriers=2), 1.45),
        (Case(days=7), 2.89),
        (Case(days=30), 6.59),
        (Case(days=365), 31.2),
    ],
)
def test_the_table_says_what_the_notes_measured(case, published):
    assert cost(POLICY, case).epsilon == pytest.approx(published, rel=0.005)


def test_the_discrete_mechanism_and_the_gaussian_of_its_budget_cost_the_same():
    for case in (Case(), Case(group=10), Case(days=7, carriers=2)):
        found = cost(POLICY, case)
        assert found.epsilon_mechanism == pytest.approx(found.epsilon_budget, rel=0.002)
        assert found.epsilon == max(found.epsilon_mechanism, found.epsilon_budget)


def test_opendp_beside_it_is_looser_and_never_below():
    for case in CASES:
        if case.days < 365:
            rho = POLICY.rho_day * case.device_days * case.group**2
            assert 1.0 < zcdp_epsilon(rho, 1e-6) / epsilon(rho, 1e-6) < 1.1


def test_two_carriers_cost_two_days_and_a_group_its_square():
    assert cost(POLICY, Case(carriers=2)).epsilon == cost(POLICY, Case(days=2)).epsilon
    assert cost(POLICY, Case(group=5)).rho == pytest.approx(25 * POLICY.rho_day)
    assert cost(POLICY, Case(group=2)).epsilon == pytest.approx(mechanism_epsilon(POLICY, Case(days=4)), rel=0.001)


def test_the_levels_together_cost_no_more_than_the_day():
    total = math.fsum(DiscreteGaussian(POLICY, level).rho for level in Level)
    assert 0.99 * POLICY.rho_day < total <= POLICY.rho_day


def test_a_stricter_policy_costs_less():
    strict = ReleasePolicy(policy_id="half", rho_day=0.014, sigma=13.4, sigma_sector_day=53.5, sigma_border_day=53.5)
    assert cost(strict, Case()).epsilon < 0.7
