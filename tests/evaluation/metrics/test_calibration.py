"""Calibration curves of predictions whose calibration is known."""

import numpy as np
import pytest

from metavoxel.evaluation.metrics.calibration import calibration_error, coverage, reliability


@pytest.mark.parametrize("draws", [20, 60])
def test_intervals_of_the_truth_s_own_distribution_hold_as_often_as_they_say(draws):
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(3000, 1))
    every = centre + rng.normal(size=(3000, draws + 1))
    curve = coverage(every[:, 1:], every[:, 0])
    error = np.sqrt(curve.said * (1 - curve.said) / 3000)
    assert (np.abs(curve.found - curve.said) < 4 * error).all()
    assert (curve.low < curve.found).all() and (curve.found < curve.high).all()
    narrow = coverage(centre + (every[:, 1:] - centre) / 2, every[:, 0])
    assert (narrow.found < curve.found - 0.03).all()


def test_levels_beyond_the_draws_are_left_out():
    rng = np.random.default_rng(0)
    assert coverage(rng.normal(size=(50, 3)), rng.normal(size=50)).said.tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_rows_without_a_truth_do_not_count():
    draws = np.tile(np.arange(21.0), (4, 1))
    curve = coverage(draws, np.array([10, np.nan, 10, np.nan]))
    assert curve.found.tolist() == [1.0] * len(curve.said)


def test_probabilities_that_come_true():
    rng = np.random.default_rng(1)
    p = rng.uniform(size=4000)
    curve = reliability(p, (rng.uniform(size=4000) < p).astype(np.int64))
    assert calibration_error(curve) < 0.03 and len(curve.said) == 8
    sure = reliability(np.clip(3 * p - 1, 0, 1), (rng.uniform(size=4000) < p).astype(np.int64))
    assert calibration_error(sure) > 0.1
