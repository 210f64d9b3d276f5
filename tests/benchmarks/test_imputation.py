"""Ways to fill a table whose columns tell of each other."""

import numpy as np
import pandas
import pytest

from benchmarks.imputation import imputation_errors, iterative, miss_forest, simple

ROWS, CLASSES = 300, {"site": 3}


@pytest.fixture(scope="module")
def table():
    """Numbers of one factor with a fifth of it in noise, and a category that is the factor's third: (truth, removed)."""
    draws = np.random.default_rng(0)
    factor = draws.normal(size=ROWS)
    columns = {f"x{n}": 10.0 * n + (n + 1) * (factor + 0.2 * draws.normal(size=ROWS)) for n in range(4)}
    truth = pandas.DataFrame({**columns, "site": np.digitize(factor, [-0.43, 0.43]).astype(float)})
    return truth, pandas.DataFrame(draws.random(truth.shape) < 0.2, columns=truth.columns)


def forest(table, classes, seed):
    return miss_forest(table, classes, seed, trees=10, rounds=3)


methods = pytest.mark.parametrize("fill", [iterative, forest])


@methods
def test_what_the_other_columns_tell_beats_the_mean_and_the_mode(fill, table):
    truth, removed = table
    gaps = truth.mask(removed)
    blind = imputation_errors(simple(gaps, CLASSES), truth, removed, CLASSES)
    found = imputation_errors(fill(gaps, CLASSES, 0), truth, removed, CLASSES)
    # About 60 cells of each column: the mean errs by a spread, .95 to 1.05, and the mode in two of three.
    assert 0.85 < blind["numbers"] < 1.15 and 0.45 < blind["categories"] < 0.85
    assert found["numbers"] < 0.5 * blind["numbers"] and found["categories"] < 0.6 * blind["categories"]


@methods
def test_known_cells_are_kept_and_categories_are_classes(fill, table):
    truth, removed = table
    filled = fill(truth.mask(removed), CLASSES, 0)
    assert list(filled) == list(truth) and filled.notna().to_numpy().all()
    pandas.testing.assert_frame_equal(filled[~removed], truth[~removed])
    assert set(filled["site"]) <= {0.0, 1.0, 2.0}


@methods
def test_the_same_seed_fills_alike(fill, table):
    truth, removed = table
    gaps = truth.mask(removed)
    before = gaps.copy()
    first, again = fill(gaps, CLASSES, 3), fill(gaps, CLASSES, 3)
    pandas.testing.assert_frame_equal(first, again)
    pandas.testing.assert_frame_equal(gaps, before)


def test_another_seed_grows_other_forests(table):
    truth, removed = table
    gaps = truth.mask(removed)
    assert not forest(gaps, CLASSES, 3).equals(forest(gaps, CLASSES, 4))


def test_a_table_without_gaps_stays_as_it_is(table):
    truth, _ = table
    for fill in (iterative, forest):
        pandas.testing.assert_frame_equal(fill(truth, CLASSES, 0), truth)


def test_mean_and_mode():
    gaps = pandas.DataFrame({"x": [1.0, 3.0, np.nan], "site": [2.0, np.nan, 2.0]})
    assert simple(gaps, CLASSES).to_numpy().tolist() == [[1, 2], [3, 2], [2, 2]]


def test_errors_count_removed_cells_alone():
    truth = pandas.DataFrame({"x": [0.0, 2.0, 4.0], "site": [0.0, 1.0, 2.0]})
    removed = pandas.DataFrame({"x": [True, False, False], "site": [True, True, False]})
    filled = pandas.DataFrame({"x": [1.0, 9.0, 9.0], "site": [0.0, 2.0, 0.0]})
    # An error of 1 where the column's variance is 4; one of two classes wrong.
    assert imputation_errors(filled, truth, removed, CLASSES) == {"numbers": 0.5, "categories": 0.5}
    assert imputation_errors(filled, truth, removed & False, CLASSES) == {}
