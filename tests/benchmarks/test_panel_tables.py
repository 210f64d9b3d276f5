"""Rows and questions of the panel's tables."""

import numpy as np
import pandas
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes

from benchmarks.panel_tables import FEW, TARGETS, few_task, real_tables, real_task, world_task
from benchmarks.panel_worlds import WORLDS


def test_a_world_is_asked_from_its_predictor_alone():
    task = world_task("shapes", 3, 50, 70)
    assert (len(task.training.rows), len(task.test)) == (50, 70)
    assert [(question.target, question.predictors) for question in task.questions] == [
        ("bim", ("age",)),
        ("het", ("age",)),
    ]
    again, other = world_task("shapes", 3, 50, 70), world_task("shapes", 4, 50, 70)
    pandas.testing.assert_frame_equal(again.test, task.test)
    pandas.testing.assert_frame_equal(world_task("shapes", 3, 50, 20).test, task.test.head(20))
    assert not other.test.equals(task.test)


def test_no_two_worlds_share_their_predictors():
    rows = [world_task(name, 0, 20, 20).training.rows for name in ("zero_inflated", "counts")]
    assert not np.allclose(rows[0]["x"], rows[1]["x"])
    assert set(WORLDS) >= {"shapes", "log_normal", "zero_inflated", "bounded", "counts", "two_branches"}


def test_the_shipped_tables_are_scikit_learns(tmp_path):
    found = real_tables(tmp_path / "absent.csv")
    assert list(found) == ["diabetes", "wine", "cancer"]
    rows, classes = found["diabetes"]
    raw = load_diabetes(scaled=False)
    assert classes == {"sex": 2}
    assert rows["sex"].to_numpy() == pytest.approx(raw.data[:, 1] - 1)
    assert rows["bmi"].to_numpy() == pytest.approx(raw.data[:, 2])
    assert rows["target"].to_numpy() == pytest.approx(raw.target)
    rows, classes = found["cancer"]
    assert rows["mean_smoothness"].to_numpy() == pytest.approx(load_breast_cancer().data[:, 4])
    for name, (rows, classes) in found.items():
        assert all(column.isidentifier() for column in rows)
        assert set(TARGETS[name]) <= set(rows)
        for label, count in classes.items():
            assert sorted(rows[label].unique()) == list(range(count))


def test_a_split_has_every_row_once_and_another_seed_another_split():
    rows = pandas.DataFrame({name: np.arange(10.0) for name in ("target", "alcohol", "proline", "ash")})
    task, other = (real_task("wine", rows, {}, seed) for seed in (0, 1))
    both = pandas.concat([task.training.rows, task.test])
    assert sorted(both["ash"]) == list(range(10)) and len(task.training.rows) == 6
    assert list(other.test["ash"]) != list(task.test["ash"])
    assert task.questions[1].predictors == ("target", "proline", "ash")


def test_few_rows_leave_all_others_to_test_on():
    task = few_task(5, 20)
    assert (len(task.training.rows), len(task.test)) == (20, 422)
    assert task.questions[0].predictors == FEW
    assert not few_task(6, 20).training.rows.equals(task.training.rows)
    assert len(task.cut(10, 30).training.rows) == 10 and len(task.cut(10, 30).test) == 30
