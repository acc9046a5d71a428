"""The mechanism, its floors and what the budget means."""

import math

import pytest

from privacy.accountant import epsilon
from privacy.mechanism import BudgetExceeded, DiscreteGaussian
from privacy.policy import ReleasePolicy, WeakerPolicy


def test_the_default_policy_costs_no_more_than_its_share():
    assert DiscreteGaussian(ReleasePolicy()).rho <= ReleasePolicy().rho_level


@pytest.mark.parametrize(
    "weaker",
    [
        {"rho_day": 0.0281},
        {"sigma": 9.4},
        {"delta": 1e-5},
        {"k": 3},
        {"k": 0},
        {"threshold": 49},
        {"rho_day": 0.014},  # half the budget asks for more noise
        {"sigma": float("nan")},
    ],
)
def test_a_weaker_policy_does_not_start_and_names_the_setting(weaker):
    (name,) = weaker
    with pytest.raises(WeakerPolicy, match=r"policy\."):
        ReleasePolicy(**weaker)
    if name != "rho_day":
        with pytest.raises(WeakerPolicy, match=name):
            ReleasePolicy(**weaker)


def test_a_stricter_policy_is_free():
    strict = ReleasePolicy(policy_id="strict", sigma=20.0, threshold=100, k=1)
    assert DiscreteGaussian(strict).rho < strict.rho_level


def test_nothing_is_drawn_beyond_the_budget():
    mechanism = DiscreteGaussian(ReleasePolicy())
    object.__setattr__(mechanism.policy, "rho_day", 0.02)
    with pytest.raises(BudgetExceeded):
        mechanism.draw([1, 2, 3])


def test_noise_covers_every_cell_zeros_included_with_the_sigma_that_is_stated():
    mechanism = DiscreteGaussian(ReleasePolicy())
    drawn = [value for _ in range(200) for value in mechanism.draw([0] * 100)]
    assert all(isinstance(value, int) for value in drawn)
    mean = sum(drawn) / len(drawn)
    sd = math.sqrt(sum((value - mean) ** 2 for value in drawn) / len(drawn))
    assert abs(mean) < 4 * 9.45 / math.sqrt(len(drawn))
    assert abs(sd / 9.45 - 1) < 4 / math.sqrt(2 * len(drawn))


@pytest.mark.parametrize(("days", "published"), [(1, 1.00), (7, 2.89), (30, 6.59)])
def test_epsilon_is_what_the_notes_measured(days, published):
    assert epsilon(0.0280, 1e-6, days=days) == pytest.approx(published, abs=0.01)
