"""Simple methods of the panel by known answers."""

import numpy as np
import pandas
import pytest
from scipy import stats

from benchmarks.panel_methods import Design, Exact, Marginal, Neighbours, smoothed
from benchmarks.panel_regressions import Linear, Trees
from benchmarks.panel_tables import Question, Training
from benchmarks.panel_worlds import WORLDS

QUESTION = Question("y", ("x", "site"))
LABEL = Question("site", ("x", "y"))


def training(count=400, seed=0):
    """y is 2x + 3 at site 1, 2x at site 0, with a spread of 1; the site is 1 with a logistic chance in 2x."""
    random = np.random.default_rng(seed)
    x = random.normal(size=count)
    site = (random.random(count) < stats.logistic.cdf(2 * x)).astype(float)
    y = 2 * x + 3 * site + random.normal(size=count)
    return Training("made", pandas.DataFrame({"x": x, "site": site, "y": y}), {"site": 2}, seed)


ASKED = pandas.DataFrame({"x": [-0.5, 0.0, 0.8], "site": [1.0, 0.0, 1.0]})
EXPECTED = np.array([2.0, 0.0, 4.6])


def test_predictors_are_standardised_and_categories_indicators():
    rows = pandas.DataFrame({"x": [1.0, 3.0, np.nan], "k": [0.0, 2.0, np.nan], "same": [5.0, 5.0, 5.0]})
    design = Design(rows, ["x", "k", "same"], {"k": 3})
    assert design(rows).tolist() == [[-1, 1, 0, 0, 0], [1, 0, 0, 1, 0], [0, 0, 0, 0, 0]]


def test_the_marginal_ignores_predictors():
    known = training()
    fitted = Marginal().fit_number(known, QUESTION)
    drawn = fitted.draws(ASKED, 5000, np.random.default_rng(1))
    y = known.rows["y"]
    assert set(drawn.ravel()) <= set(y)
    assert fitted.means(ASKED) == pytest.approx(y.mean())
    assert drawn.mean(1) == pytest.approx([y.mean()] * 3, abs=5 * y.std() / np.sqrt(5000))
    chances = Marginal().fit_label(known, LABEL).probabilities(ASKED)
    ones = known.rows["site"].sum()
    assert chances == pytest.approx(np.tile([(400 - ones + 0.5) / 401, (ones + 0.5) / 401], (3, 1)))


def test_neighbours_draw_the_values_of_rows_nearby():
    """Two clusters, far apart: no value of the other is drawn."""
    random = np.random.default_rng(2)
    x = np.repeat([0.0, 10.0], 60) + random.normal(0, 0.1, 120)
    rows = pandas.DataFrame({"x": x, "y": np.repeat([0.0, 5.0], 60) + random.normal(0, 0.1, 120)})
    fitted = Neighbours().fit_number(Training("clusters", rows, {}, 0), Question("y", ("x",)))
    asked = pandas.DataFrame({"x": [0.0, 10.0]})
    drawn = fitted.draws(asked, 200, random)
    assert np.abs(drawn - [[0.0], [5.0]]).max() < 0.5
    assert fitted.means(asked) == pytest.approx([0.0, 5.0], abs=0.1)


def test_the_number_of_neighbours_is_chosen_by_rows_left_out():
    """Where the predictor is of no use, many neighbours are better than few."""
    random = np.random.default_rng(3)
    rows = pandas.DataFrame(random.normal(size=(300, 2)), columns=["x", "y"])
    fitted = Neighbours().fit_number(Training("noise", rows, {}, 0), Question("y", ("x",)))
    drawn = fitted.draws(pandas.DataFrame({"x": [0.0]}), 5000, random)
    assert len(set(drawn.ravel())) == 80


def test_equal_rows_are_their_own_neighbours_but_once():
    rows = pandas.DataFrame({"x": np.zeros(30), "y": np.arange(30.0)})
    fitted = Neighbours().fit_number(Training("equal", rows, {}, 0), Question("y", ("x",)))
    assert np.isfinite(fitted.means(pandas.DataFrame({"x": [0.0]}))).all()


def test_frequencies_of_neighbours_are_smoothed_by_one_row():
    labels = np.array([[0.0, 0.0, 1.0]])
    assert smoothed(labels, np.array([0.5, 0.25, 0.25]))[0] == pytest.approx([2.5 / 4, 1.25 / 4, 0.25 / 4])


def test_ridge_has_the_line_and_the_spread():
    """Coefficients of 400 rows are off by .05, the spread by .035."""
    fitted = Linear().fit_number(training(), QUESTION)
    assert fitted.means(ASKED) == pytest.approx(EXPECTED, abs=0.3)
    assert fitted.spread == pytest.approx(1.0, abs=0.12)
    drawn = fitted.draws(ASKED, 4000, np.random.default_rng(4))
    assert drawn.mean(1) == pytest.approx(fitted.means(ASKED), abs=0.1)
    assert drawn.std(1) == pytest.approx([fitted.spread] * 3, rel=0.06)


@pytest.mark.parametrize("method", [Linear(), Trees(quick=True), Neighbours()])
def test_labels_have_probabilities_that_go_with_the_predictor(method):
    rows = training()
    chances = method.fit_label(rows, LABEL).probabilities(pandas.DataFrame({"x": [-2.0, 2.0], "y": [-4.0, 7.0]}))
    assert chances.sum(1) == pytest.approx([1, 1])
    assert chances[0, 0] > 0.6 and chances[1, 1] > 0.6


def test_a_class_that_no_row_has_gets_a_column():
    rows = training()
    three = Training(rows.name, rows.rows, {"site": 3}, 0)
    for method in (Linear(), Trees(quick=True), Neighbours(), Marginal()):
        assert method.fit_label(three, LABEL).probabilities(ASKED.assign(y=0.0)).shape == (3, 3)


@pytest.mark.slow
def test_quantiles_of_trees_cover_and_follow_the_predictor():
    rows, test = training(800), training(400, seed=9).rows
    fitted = Trees().fit_number(rows, QUESTION)
    drawn = fitted.draws(test, 200, np.random.default_rng(5))
    low, high = np.quantile(drawn, [0.05, 0.95], axis=1)
    assert ((low <= test["y"]) & (test["y"] <= high)).mean() == pytest.approx(0.9, abs=0.08)
    assert np.corrcoef(fitted.means(test), test["y"])[0, 1] > 0.9
    assert drawn.mean(1) == pytest.approx(fitted.means(test), abs=0.6)


@pytest.mark.parametrize("method", [Marginal(), Neighbours(), Linear(), Trees(quick=True)])
def test_gaps_in_predictors_and_targets_are_taken(method):
    rows = training()
    gaps = rows.rows.mask(np.random.default_rng(6).random((400, 3)) < 0.1)
    made = Training("gaps", gaps, rows.classes, 0)
    asked = pandas.DataFrame({"x": [np.nan, 1.0], "site": [1.0, np.nan], "y": [0.0, np.nan]})
    drawn = method.fit_number(made, QUESTION).draws(asked, 20, np.random.default_rng(7))
    assert drawn.shape == (2, 20) and np.isfinite(drawn).all()
    assert np.isfinite(method.fit_label(made, LABEL).probabilities(asked)).all()


def test_the_exact_method_draws_from_the_world():
    fitted = Exact(WORLDS["shapes"]).fit_number(training(), Question("het", ("age",)))
    asked = pandas.DataFrame({"age": [30.0, 80.0]})
    drawn = fitted.draws(asked, 4000, np.random.default_rng(8))
    assert drawn.std(1) == pytest.approx([0.1, 3.1], rel=0.06)
    assert fitted.means(asked) == pytest.approx([10.0, 10.0], abs=0.5)
