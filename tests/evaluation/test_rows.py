"""Real and generated rows of numbers and labels, their decimals and missing cells."""

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metavoxel.evaluation.rows import Rows, as_recorded, drawn_rows, real_rows, scalars, with_gaps


def rows(values, classes=None):
    values = np.asarray(values, float)
    return Rows(
        values, [f"v{place}" for place in range(values.shape[1])], classes or {}, [str(n) for n in range(len(values))]
    )


def test_real_rows_are_the_cells_of_the_cohort(table_part):
    found = real_rows(table_part.model, table_part.cohort)
    assert found.names == scalars(table_part.model) == ["age", "sex", "score"]
    np.testing.assert_array_equal(found.values[:, 0], table_part.numbers("age"))
    assert [found.classes["sex"][int(place)] for place in found.values[:, 1]] == table_part.truth("sex")
    assert list(found.subjects) == table_part.subjects


def test_images_are_not_scalars(scan_part):
    assert scalars(scan_part.model) == ["age", "sex"]


def test_drawn_rows_are_read_from_the_table(table_part):
    table = pandas.DataFrame({"sample": [1, 2], "age": [33.5, "41"], "sex": ["male", "female"], "score": [1.0, 2.0]})
    assert drawn_rows(table_part.model, table).values.tolist() == [[33.5, 1, 1], [41, 0, 2]]


def test_features_are_numbers_and_indicators():
    found, owners = rows([[1.5, 2, 0], [np.nan, 0, np.nan]], {"v1": list("abc"), "v2": list("no")}).encoded()
    assert owners.tolist() == [0, 1, 1, 1, 2]
    np.testing.assert_array_equal(found, [[1.5, 0, 0, 1, 0], [np.nan, 1, 0, 0, np.nan]])


def test_generated_numbers_have_the_decimals_of_the_table():
    real = rows([[34, 1.25, np.pi], [50, 1.5, np.e], [np.nan, 1, 1]])
    found = as_recorded(rows([[34.21, 1.236, 1.23456789]]), real)
    assert found.values.tolist() == [[34.0, 1.24, 1.23456789]]


@given(st.integers(0, 1000))
def test_generated_rows_take_each_missingness_pattern_once(seed):
    rng = np.random.default_rng(seed)
    real, drawn = rng.normal(size=(12, 3)), rows(rng.normal(size=(12, 3)))
    real[rng.uniform(size=real.shape) < 0.3] = np.nan
    found = with_gaps(drawn, rows(real))
    assert sorted(map(tuple, found.known)) == sorted(map(tuple, np.isfinite(real)))
    assert (found.values[found.known] == drawn.values[found.known]).all()


def test_missingness_keeps_its_dependence_on_other_columns():
    """Scores of rows above 0 are missing; so they are for generated rows, in any order."""
    rng = np.random.default_rng(0)
    real, drawn = rng.normal(size=(200, 2)), rng.normal(size=(200, 2))
    real[real[:, 0] > 0, 1] = np.nan
    found = with_gaps(rows(drawn), rows(real))
    missing = ~found.known[:, 1]
    assert missing.sum() == (real[:, 0] > 0).sum()
    assert np.mean(missing == (drawn[:, 0] > 0)) > 0.9


def test_rows_of_a_subject_share_an_id():
    found = Rows(np.zeros((3, 1)), ["a"], {}, ["x", "y", "x"])
    assert found.owners.tolist() == [0, 1, 0] and found.take(np.array([2, 1])).subjects == ["x", "y"]
    assert len(found) == 3 and found.known.all() and pytest.approx(0) == found.values.sum()
