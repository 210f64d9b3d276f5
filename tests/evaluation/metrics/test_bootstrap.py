"""Bootstrap intervals."""

import numpy as np
import pytest

from metavoxel.evaluation.metrics.bootstrap import bootstrap, bootstrap_mean, bootstrap_totals, clusters


def test_the_interval_matches_the_standard_error_of_the_mean() -> None:
    errors = np.random.default_rng(0).normal(3.0, 2.0, 400)
    estimate = bootstrap_mean(errors)
    standard_error = errors.std() / np.sqrt(len(errors))
    assert estimate.value == pytest.approx(errors.mean())
    assert (estimate.high - estimate.low) / (2 * 1.96 * standard_error) == pytest.approx(1, abs=0.1)
    assert estimate.low < estimate.value < estimate.high


def test_rows_of_a_subject_are_drawn_together() -> None:
    """Four copies of every subject's row give the same interval as one."""
    errors = np.random.default_rng(0).normal(3.0, 2.0, 100)
    once = bootstrap_mean(errors)
    copied = bootstrap_mean(np.repeat(errors, 4), subjects=np.repeat(np.arange(100), 4).tolist())
    alone = bootstrap_mean(np.repeat(errors, 4))
    assert copied == pytest.approx(once)
    assert (alone.high - alone.low) / (once.high - once.low) == pytest.approx(0.5, abs=0.05)


def test_the_bootstrap_of_any_statistic_matches_that_of_the_mean() -> None:
    errors = np.random.default_rng(0).normal(3.0, 2.0, 200)
    subjects = [str(row // 2) for row in range(200)]
    mean = bootstrap_mean(errors, subjects=subjects)
    same = bootstrap(lambda rows: float(errors[rows].mean()), 200, subjects=subjects)
    assert same.value == pytest.approx(mean.value)
    assert same.high - same.low == pytest.approx(mean.high - mean.low, rel=0.15)
    undefined = bootstrap(lambda rows: float("nan"), 5)
    assert np.isnan(undefined).all()


def test_a_ratio_of_sums_matches_the_mean() -> None:
    errors = np.random.default_rng(0).normal(3.0, 2.0, 200)
    subjects = [str(row // 2) for row in range(200)]
    statistics = np.stack([errors, np.ones(200)], 1)
    found = bootstrap_totals(statistics, lambda totals: float(totals[0] / totals[1]), subjects=subjects, rounds=2000)
    assert found == pytest.approx(bootstrap_mean(errors, subjects=subjects))


def test_subject_ids_follow_first_appearance() -> None:
    assert clusters(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]


def test_the_same_errors_give_the_same_interval() -> None:
    assert bootstrap_mean(np.arange(10.0)) == bootstrap_mean(np.arange(10.0))


def test_an_estimate_prints_with_its_interval() -> None:
    assert str(bootstrap_mean(np.arange(10.0))).startswith("4.50 [2.")


def test_few_subjects_or_equal_rows_have_no_interval() -> None:
    assert str(bootstrap_mean(np.ones(50))) == "1.00"
    few = np.arange(4.0)
    for estimate in (bootstrap_mean(few), bootstrap(lambda rows: float(few[rows].mean()), 4)):
        assert estimate.value == 1.5 and np.isnan(estimate.low) and np.isnan(estimate.high)
    assert np.isfinite(bootstrap_mean(np.arange(5.0)).low)
