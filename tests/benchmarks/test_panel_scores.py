"""The panel's scores by known answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.panel_scores import (
    crps,
    crps_of_values,
    interval,
    label_scores,
    mean_and_error,
    mean_ranks,
    number_scores,
    share_between,
    width_ratios,
)


def test_crps_of_a_normal_distribution():
    """Gneiting and Raftery 2007, eq. 21: z(2F(z) - 1) + 2f(z) - 1/sqrt(pi); standard error of the estimate .004."""
    truth = np.array([-1.0, 0.0, 2.5])
    drawn = np.random.default_rng(0).normal(0, 1, (3, 40_000))
    exact = truth * (2 * stats.norm.cdf(truth) - 1) + 2 * stats.norm.pdf(truth) - 1 / np.sqrt(np.pi)
    assert crps(drawn, truth) == pytest.approx(exact, abs=0.02)


def test_crps_of_few_draws_is_right_on_average():
    """Of two draws, as of many: 2/sqrt(pi) - 1/sqrt(pi) where truth and draws are standard normal."""
    random = np.random.default_rng(1)
    for count in (2, 3, 20):
        scores = crps(random.normal(0, 1, (40_000, count)), random.normal(0, 1, 40_000))
        assert scores.mean() == pytest.approx(1 / np.sqrt(np.pi), abs=5 * scores.std() / 200)


def test_crps_of_one_draw_is_refused():
    with pytest.raises(ValueError, match="2 or more"):
        crps(np.zeros((3, 1)), np.zeros(3))


@given(
    st.lists(st.floats(-100, 100), min_size=2, max_size=8),
    st.floats(-100, 100),
)
def test_crps_is_that_of_all_pairs(values, truth):
    row = np.array([values])
    near = np.abs(row[0] - truth).mean()
    pairs = np.abs(row[0][:, None] - row[0]).sum()
    count = len(values)
    assert crps_of_values(row, np.array([truth]))[0] == pytest.approx(near - pairs / (2 * count**2), abs=1e-9)
    assert crps(row, np.array([truth]))[0] == pytest.approx(near - pairs / (2 * count * (count - 1)), abs=1e-9)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8), st.floats(-100, 100))
def test_crps_of_values_is_the_area_between_distribution_functions(values, truth):
    """The integral of (F(y) - 1(y >= truth))^2, exact for a step function."""
    edges = np.sort([*values, truth])
    middles = (edges[1:] + edges[:-1]) / 2
    below = (np.array(values)[:, None] <= middles).mean(0)
    area = float(((below - (middles >= truth)) ** 2 * np.diff(edges)).sum())
    assert crps_of_values(np.array([values]), np.array([truth]))[0] == pytest.approx(area, abs=1e-9)


@pytest.mark.parametrize("count", [20, 40, 99])
def test_intervals_of_exact_draws_cover_nine_in_ten_however_many_there_are(count):
    random = np.random.default_rng(2)
    low, high = interval(random.random((20_000, count)))
    assert (high - low).mean() == pytest.approx(0.9, abs=0.005)


def test_scores_of_numbers():
    drawn = np.tile(np.arange(1.0, 20.0), (2, 1))  # 19 draws: the ends of 90 % are the least and the greatest
    found = number_scores(drawn, np.array([10.0, 12.0]), np.array([10.0, 30.0]))
    assert found["squared"].tolist() == [0.0, 324.0]
    assert found["covered"].tolist() == [1.0, 0.0]
    assert found["width"] == pytest.approx([18.0, 18.0])


def test_scores_of_labels():
    chances = np.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
    found = label_scores(chances, np.array([0, 2]))
    assert found["log_loss"] == pytest.approx([np.log(2), np.log(1e4)])
    assert found["brier"] == pytest.approx([0.25 + 2 * 0.0625, 2.0])
    assert found["wrong"].tolist() == [0.0, 1.0]


def test_share_of_draws_in_the_valley():
    assert share_between(np.array([[-3.0, -1.0, 0.5, 2.5], [0.0, 4.0, 1.5, -5.0]]), np.array([2.0, 1.0])) == 3 / 8


def test_widths_are_compared_by_group():
    base = np.random.default_rng(3).normal(0, 1, (6, 50))
    drawn = base * np.array([2, 2, 2, 3, 3, 3])[:, None]
    assert width_ratios(drawn, base, np.array([0, 0, 0, 1, 1, 1])) == pytest.approx([2.0, 3.0])


def test_ranks_share_ties_and_leave_out_tasks_without_all_methods():
    scores = np.array([[1.0, 2.0, 3.0], [5.0, 4.0, 5.0], [0.0, np.nan, 9.0]])
    assert mean_ranks(scores) == pytest.approx([(1 + 2.5) / 2, (2 + 1) / 2, (3 + 2.5) / 2])


def test_standard_errors():
    assert mean_and_error(np.array([1.0, 2.0, 3.0])) == pytest.approx((2.0, 1 / np.sqrt(3)))
    mean, error = mean_and_error(np.array([4.0]))
    assert mean == 4.0 and np.isnan(error)
