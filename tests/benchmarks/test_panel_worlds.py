"""The panel's worlds against their distribution functions, by scipy."""

import numpy as np
import pandas
import pytest
from scipy import stats

from benchmarks.panel_worlds import WORLDS, shapes_mode

DRAWS = 20_000


def bim(y, age):
    mode = 4 * (age - 30) / 55
    return (stats.norm.cdf(y, mode, 0.4) + stats.norm.cdf(y, -mode, 0.4)) / 2


def zero_inflated(y, x):
    zero = stats.logistic.sf(x)
    return zero + (1 - zero) * stats.gamma.cdf(y, 2, scale=np.exp(0.5 + 0.5 * x))


def angle(y, x):
    """A normal about each branch, its turns added up from -pi on."""
    found = 0.0
    for centre in (np.arcsin(x), np.pi - np.arcsin(x)):
        for turn in range(-2, 3):
            at = centre + 2 * np.pi * turn
            found = found + (stats.norm.cdf(y, at, 0.15) - stats.norm.cdf(-np.pi, at, 0.15)) / 2
    return found


@pytest.mark.parametrize(
    ("world", "target", "given", "distribution"),
    [
        ("shapes", "bim", {"age": 80.0}, lambda y: bim(y, 80.0)),
        ("shapes", "bim", {"age": 33.0}, lambda y: bim(y, 33.0)),
        ("shapes", "het", {"age": 40.0}, stats.norm(10, 0.1 + 0.6).cdf),
        ("log_normal", "y", {"x": 1.5}, stats.lognorm(0.2 + 0.6, scale=np.exp(2.0)).cdf),
        ("bounded", "y", {"x": 0.0}, stats.beta(1.5, 1.5).cdf),
        ("bounded", "y", {"x": 1.0}, stats.beta(3 * stats.logistic.cdf(2), 3 * stats.logistic.sf(2)).cdf),
        ("two_branches", "angle", {"x": 0.3}, lambda y: angle(y, 0.3)),
        ("two_branches", "angle", {"x": -0.9}, lambda y: angle(y, -0.9)),
    ],
)
def test_exact_draws_have_the_distribution_that_the_world_states(world, target, given, distribution):
    """Kolmogorov-Smirnov: the largest distance of 20,000 draws exceeds 1.95 / sqrt(20,000) once in a thousand."""
    drawn = WORLDS[world].exact(pandas.DataFrame(given, index=[0]), DRAWS, np.random.default_rng(3))[target][0]
    assert stats.kstest(drawn, distribution).statistic < 1.95 / np.sqrt(DRAWS)


@pytest.mark.parametrize("x", [-1.0, 0.5])
def test_a_share_of_the_zero_inflated_world_is_zero_and_the_rest_gamma(x):
    drawn = WORLDS["zero_inflated"].exact(pandas.DataFrame({"x": [x]}), DRAWS, np.random.default_rng(4))["y"][0]
    assert (drawn == 0).mean() == pytest.approx(stats.logistic.sf(x), abs=0.015)
    for y in (0.5, 2.0, 5.0):
        assert (drawn <= y).mean() == pytest.approx(zero_inflated(y, x), abs=0.015)


@pytest.mark.parametrize("x", [-1.0, 1.0])
def test_counts_have_the_chances_of_a_poisson_distribution(x):
    drawn = WORLDS["counts"].exact(pandas.DataFrame({"x": [x]}), DRAWS, np.random.default_rng(5))["y"][0]
    for count in range(6):
        assert (drawn == count).mean() == pytest.approx(stats.poisson.pmf(count, np.exp(0.5 + 0.7 * x)), abs=0.015)


@pytest.mark.parametrize("name", WORLDS)
def test_rows_are_exact_draws_given_their_own_predictors(name):
    """The rank of each row's target among draws that are given its predictors is uniform (simulation-based calibration)."""
    world = WORLDS[name]
    rows = world.sample(400, np.random.default_rng(6))
    for target, drawn in world.exact(rows, 199, np.random.default_rng(7)).items():
        value = rows[target].to_numpy()[:, None]
        ties = np.random.default_rng(8).random(len(rows)) * (drawn == value).sum(1)
        rank = ((drawn < value).sum(1) + ties) / 199
        assert stats.kstest(rank, stats.uniform.cdf).statistic < 1.95 / np.sqrt(400)


def test_a_row_has_its_own_draws_in_order():
    rows = pandas.DataFrame({"age": [31.0, 85.0], "het": [0.0, 0.0]})
    drawn = WORLDS["shapes"].exact(rows, 500, np.random.default_rng(9))
    assert drawn["het"].shape == (2, 500)
    assert drawn["het"].std(1) == pytest.approx([0.16, 3.4], rel=0.15)
    assert shapes_mode(np.array([30.0, 85.0])).tolist() == [0.0, 4.0]
    assert np.abs(drawn["bim"][1]).mean() == pytest.approx(4.0, abs=0.1)
