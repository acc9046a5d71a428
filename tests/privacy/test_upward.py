"""Weighted least squares upwards: consistent, unbiased, as precise as it says, and never revising an hour."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.draw import draw_day, draw_hour
from privacy.levels import day_totals, public_cells
from privacy.mechanism import DiscreteGaussian
from privacy.policy import ReleasePolicy
from privacy.upward import Sigmas, estimate_day

ZONES = [(f"z{i:02}", f"s{i % 3}", "belt" if i % 4 else "crossing_point") for i in range(12)]
CELLS = public_cells(ZONES)
SIGMAS = Sigmas(9.45, 37.8, 37.8)
noisy_hour = st.lists(st.integers(-60, 900), min_size=len(CELLS.zone_hour), max_size=len(CELLS.zone_hour))
noisy_sectors = st.lists(st.integers(-200, 9000), min_size=len(CELLS.sector_day), max_size=len(CELLS.sector_day))
noisy_border = st.lists(st.integers(-200, 30000), min_size=len(CELLS.border_day), max_size=len(CELLS.border_day))


def by_matrix(hours, sector_day, border_day):
    """The textbook: minimise the weighted squares over all sector totals at once (hours summed by sector)."""
    sectors = len(CELLS.sector_day)
    rows, readings, weights = [], [], []
    if hours is not None:
        for place in range(sectors):
            zones = [i for i, sector in enumerate(CELLS.sector_of) if sector == place]
            rows.append(np.eye(sectors)[place])
            readings.append(sum(hour[i] for hour in hours for i in zones))
            weights.append(1 / (len(zones) * len(hours) * SIGMAS.zone_hour**2))
    for place, noisy in enumerate(sector_day):
        rows.append(np.eye(sectors)[place])
        readings.append(noisy)
        weights.append(1 / SIGMAS.sector_day**2)
    for place, noisy in enumerate(border_day):
        rows.append((np.array(CELLS.border_of) == place).astype(float))
        readings.append(noisy)
        weights.append(1 / SIGMAS.border_day**2)
    a, y, w = np.array(rows), np.array(readings, float), np.array(weights)
    covariance = np.linalg.inv(a.T @ (w[:, None] * a))
    border = (np.array(CELLS.border_of)[None, :] == np.arange(len(border_day))[:, None]).astype(float)
    return (
        covariance @ a.T @ (w * y),
        np.sqrt(np.diag(covariance)),
        np.sqrt(np.diag(border @ covariance @ border.T)),
    )


@given(
    hours=st.one_of(st.none(), st.lists(noisy_hour, min_size=2, max_size=4)), sectors=noisy_sectors, border=noisy_border
)
def test_it_is_the_least_squares_solution_with_its_own_deviation(hours, sectors, border):
    found = estimate_day(CELLS, SIGMAS, hours=hours, sector_day=sectors, border_day=border)
    solution, sector_sd, border_sd = by_matrix(hours, sectors, border)
    assert [e.value for e in found.sector_day] == pytest.approx(list(solution), abs=0.5 + 1e-6)
    # Beside the noise there is the rounding of every part.
    assert [e.sigma**2 for e in found.sector_day] == pytest.approx(list(sector_sd**2 + 1 / 12), rel=1e-4)
    parts = np.bincount(CELLS.border_of)
    assert [e.sigma**2 for e in found.border_day] == pytest.approx(list(border_sd**2 + parts / 12), rel=1e-4)


@given(hours=st.lists(noisy_hour, min_size=1, max_size=3), sectors=noisy_sectors, border=noisy_border)
def test_the_sectors_add_up_to_the_border_exactly(hours, sectors, border):
    found = estimate_day(CELLS, SIGMAS, hours=hours, sector_day=sectors, border_day=border)
    for place, whole in enumerate(found.border_day):
        parts = [e.value for e, at in zip(found.sector_day, CELLS.border_of, strict=True) if at == place]
        assert sum(parts) == whole.value


def test_an_estimate_may_be_below_zero_and_is_not_clipped():
    quiet = [[0] * len(CELLS.zone_hour)] * 24
    found = estimate_day(
        CELLS, SIGMAS, hours=quiet, sector_day=[-60] * len(CELLS.sector_day), border_day=[-90] * len(CELLS.border_day)
    )
    assert all(e.value < 0 for e in (*found.sector_day, *found.border_day))


def test_joining_with_the_hours_is_more_precise_than_the_draw_alone():
    hours = [[10] * len(CELLS.zone_hour)] * 24
    zeros = {"sector_day": [0] * len(CELLS.sector_day), "border_day": [0] * len(CELLS.border_day)}
    joined = estimate_day(CELLS, SIGMAS, hours=hours, **zeros)
    alone = estimate_day(CELLS, SIGMAS, hours=None, **zeros)
    for one, other in zip(joined.sector_day + joined.border_day, alone.sector_day + alone.border_day, strict=True):
        assert one.sigma < other.sigma


def test_a_day_leaves_its_hours_as_they_were():
    noise = DiscreteGaussian(ReleasePolicy())
    hours = [draw_hour([20] * len(CELLS.zone_hour), noise).noisy for _ in range(24)]
    before = [list(hour) for hour in hours]
    draw_day(CELLS, [480] * len(CELLS.zone_hour), hours, noise)
    assert hours == before


def test_day_estimates_are_unbiased_with_the_deviation_that_is_published():
    """300 token-days through the ledger's own functions; the bounds are five standard errors, fixed before."""
    noise = DiscreteGaussian(ReleasePolicy())
    counts = [[(7 * hour + 3 * place) % 40 for place in range(len(CELLS.zone_hour))] for hour in range(24)]
    totals = [sum(column) for column in zip(*counts, strict=True)]
    truth = day_totals(CELLS, totals)
    scores: list[list[float]] = [[], []]
    for _ in range(300):
        hours = [draw_hour(hour, noise).noisy for hour in counts]
        drawn = draw_day(CELLS, totals, hours, noise).estimates
        for level, (estimates, exact) in enumerate(zip((drawn.sector_day, drawn.border_day), truth, strict=True)):
            scores[level] += [(e.value - x) / e.sigma for e, x in zip(estimates, exact, strict=True)]
    for level in scores:
        z = np.array(level)
        # Cells of one day and direction share the border's reading: count only one independent cell a day.
        assert abs(z.mean()) < 5 / np.sqrt(300)
        assert abs(z.std() - 1) < 5 / np.sqrt(2 * 300)
