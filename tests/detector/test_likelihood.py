"""The censored likelihood that knows the noise."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.likelihood import (
    Cells,
    Dispersion,
    estimate_dispersion,
    expected_count,
    gradient_hessian,
    hazard,
    negative_log_likelihood,
)


@st.composite
def zone_hours(draw: st.DrawFn) -> tuple[np.ndarray, Cells, np.ndarray]:
    """One zone-hour seen by one to three carriers, some of them below their thresholds, and a score for it."""
    carriers = draw(st.integers(1, 3))
    each = st.lists(st.floats(0.2, 1.0), min_size=carriers, max_size=carriers)
    share = np.array(draw(each))
    share /= share.sum()
    censored = np.array(draw(st.lists(st.booleans(), min_size=carriers, max_size=carriers)))[:, None]
    value = np.array(draw(st.lists(st.floats(50, 900), min_size=carriers, max_size=carriers)))[:, None]
    sigma = draw(st.floats(1, 30))
    cells = Cells(
        np.where(censored, np.nan, value),
        np.full((carriers, 1), 49.5),
        censored,
        np.full((carriers, 1), sigma**2),
        share,
    )
    raw = np.array([draw(st.floats(-1.0, 7.0))])
    return raw, cells, cells.variance(expected_count(raw), Dispersion(1.4, 0.04))


@given(zone_hours())
def test_the_gradient_is_that_of_the_likelihood(case: tuple[np.ndarray, Cells, np.ndarray]) -> None:
    raw, cells, variance = case
    step = 1e-5
    up, down = (negative_log_likelihood(raw + sign * step, cells, variance) for sign in (1, -1))
    gradient, _ = gradient_hessian(raw, cells, variance, clip_sd=np.inf)
    np.testing.assert_allclose(gradient, (up - down) / (2 * step), rtol=1e-4, atol=1e-5)


@given(zone_hours())
def test_the_hessian_is_the_curvature_by_the_expected_count_and_positive(
    case: tuple[np.ndarray, Cells, np.ndarray],
) -> None:
    raw, cells, variance = case
    mean = expected_count(raw)
    step = 1e-3 * np.sqrt(variance.max())

    def loss(expected: np.ndarray) -> np.ndarray:
        return negative_log_likelihood(np.log(expected), cells, variance)

    _, hessian = gradient_hessian(raw, cells, variance)
    assert (hessian > 0).all()
    if (mean > 4 * step).all():
        second = (loss(mean + step) - 2 * loss(mean) + loss(mean - step)) / step**2
        np.testing.assert_allclose(hessian, second * mean**2, rtol=2e-2, atol=2e-3)


@given(zone_hours())
def test_no_cell_pulls_with_more_than_four_sd(case: tuple[np.ndarray, Cells, np.ndarray]) -> None:
    raw, cells, variance = case
    gradient, _ = gradient_hessian(raw, cells, variance)
    limit = (4 * cells.mean(expected_count(raw)) / np.sqrt(variance)).sum(axis=0)
    assert (np.abs(gradient) <= limit + 1e-9).all()


def test_the_hazard_stays_finite_in_both_tails() -> None:
    np.testing.assert_allclose(hazard(np.array([-1e4, 0.0, 60.0])), [1e4, 0.7978845608, 0.0], rtol=1e-4)


def published_at(level: float, threshold: float, *, number: int = 40_000, seed: int = 5) -> Cells:
    random = np.random.default_rng(seed)
    noisy = np.round(random.negative_binomial(25, 25 / (25 + level), number) + random.normal(0, 9.45, number))
    censored = (noisy < threshold)[None, :]
    return Cells(
        np.where(censored, np.nan, noisy),
        np.full((1, number), threshold - 0.5),
        censored,
        np.full((1, number), 9.45**2),
        np.ones(1),
    )


def test_nulls_are_not_zeros_and_the_level_behind_them_is_found() -> None:
    cells = published_at(38.0, 50.0)
    values = np.nan_to_num(cells.value)  # what a model would learn that reads null as zero
    raw = np.full(cells.value.shape[1], 3.0)
    for _ in range(40):
        gradient, hessian = gradient_hessian(raw, cells, cells.variance(expected_count(raw), Dispersion(1.0, 0.04)))
        raw = raw - gradient.sum() / hessian.sum()
    assert cells.censored.mean() > 0.7
    assert abs(expected_count(raw)[0] - 38.0) < 1.5
    assert values.mean() < 20


def test_the_spread_is_found_through_noise_and_threshold() -> None:
    parts = [published_at(level, 50.0, seed=int(level)) for level in (60.0, 120.0, 240.0)]
    together = Cells(
        *(
            np.concatenate([getattr(p, name) for p in parts], axis=1)
            for name in ("value", "bound", "censored", "noise_variance")
        ),
        share=np.ones(1),
    )
    found = estimate_dispersion(np.repeat([60.0, 120.0, 240.0], 40_000), together)
    for level in (60.0, 120.0, 240.0):
        true = level + level**2 / 25
        assert abs(float(found.variance(np.array(level))) / true - 1) < 0.12
