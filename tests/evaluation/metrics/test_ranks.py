"""Uniformity of the ranks of true values among draws, and scores with known values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from metavoxel.evaluation.metrics.ranks import bins_for, components, crps, histogram, transforms


@pytest.mark.parametrize("draws", [1, 3, 20])
@pytest.mark.parametrize("discrete", [False, True])
def test_transforms_of_exchangeable_draws_are_uniform(draws, discrete):
    rng = np.random.default_rng(0)
    every = rng.normal(size=(4000, draws + 1))
    if discrete:
        every = np.round(every)
    u = transforms(every[:, 1:], every[:, 0])
    assert stats.kstest(u, "uniform").pvalue > 0.01
    assert u.min() >= 0 and u.max() < 1


def test_a_transform_lies_in_the_interval_of_its_rank():
    u = transforms(np.array([[1.0, 2.0, 3.0]] * 4), np.array([0.0, 1.5, 9.0, np.nan]))
    assert (np.floor(4 * u[:3]) == [0, 1, 3]).all() and np.isnan(u[3])


@given(st.integers(0, 3), st.integers(0, 3))
def test_ties_are_spread_over_their_ranks(below, equal):
    draws = np.array([[0.0] * below + [1.0] * equal + [2.0]] * 500)
    u = transforms(draws, np.ones(500), seed=1) * (draws.shape[1] + 1)
    assert (u >= below).all() and (u <= below + equal + 1).all()
    assert u.max() - u.min() > 0.9 * (equal + 1)


def test_components_are_orthonormal_under_uniformity():
    """Checked by Gauss-Legendre quadrature with 8 nodes, exact up to degree 15."""
    x, w = np.polynomial.legendre.leggauss(8)
    b = components((x + 1) / 2)
    assert w / 2 @ b == pytest.approx(np.zeros(4), abs=1e-12)
    assert (b.T * w / 2) @ b == pytest.approx(np.eye(4), abs=1e-12)
    assert components(np.array([1.0]))[0] == pytest.approx(np.sqrt([3, 5, 7, 9]))


def test_the_band_contains_all_bins_in_95_percent_of_histograms():
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(400):
        found = histogram(rng.uniform(size=200), 10)
        assert found.counts.sum() == 200
        inside.append(((found.counts >= found.low) & (found.counts <= found.high)).all())
    assert 0.93 <= np.mean(inside) <= 1
    peaked = histogram(rng.beta(3, 3, size=200), 10)
    assert not ((peaked.counts >= peaked.low) & (peaked.counts <= peaked.high)).all()
    assert [bins_for(rows) for rows in (3, 22, 500)] == [2, 4, 10]


def test_crps_is_unbiased_in_the_number_of_draws():
    """At a Gaussian's mean: sigma (sqrt 2 - 1) / sqrt pi (Gneiting et al. 2005, eq. 5), for any number of draws."""
    rng = np.random.default_rng(0)
    expected = 2 * (np.sqrt(2) - 1) / np.sqrt(np.pi)
    for draws in (2, 5, 40):
        found = crps(rng.normal(0, 2, (20000, draws)), np.zeros(20000))
        assert found.mean() == pytest.approx(expected, abs=5 * found.std() / np.sqrt(20000))


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.floats(-5, 5))
def test_crps_matches_its_definition(draws, truth):
    x = np.array(draws)
    k = len(x)
    expected = np.abs(x - truth).mean() - np.abs(x[:, None] - x[None]).sum() / (2 * k * (k - 1))
    assert crps(x[None], np.array([truth]))[0] == pytest.approx(expected, abs=1e-9)


def test_crps_of_one_draw_is_the_absolute_error():
    assert crps(np.array([[3.0]]), np.array([1.0])).tolist() == [2.0]
