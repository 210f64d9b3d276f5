"""Calibration curves of predictions with known calibration."""

import numpy as np
import pytest

from metavoxel.evaluation.metrics.calibration import calibration_error, coverage, reliability


@pytest.mark.parametrize("draws", [20, 60])
def test_intervals_of_calibrated_draws_have_nominal_coverage(draws):
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(3000, 1))
    every = centre + rng.normal(size=(3000, draws + 1))
    curve = coverage(every[:, 1:], every[:, 0])
    error = np.sqrt(curve.predicted * (1 - curve.predicted) / 3000)
    assert (np.abs(curve.observed - curve.predicted) < 4 * error).all()
    assert (curve.low < curve.observed).all() and (curve.observed < curve.high).all()
    narrow = coverage(centre + (every[:, 1:] - centre) / 2, every[:, 0])
    assert (narrow.observed < curve.observed - 0.03).all()


def test_levels_beyond_the_range_of_the_draws_are_omitted():
    rng = np.random.default_rng(0)
    assert coverage(rng.normal(size=(50, 3)), rng.normal(size=50)).predicted.tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_rows_without_a_true_value_are_ignored():
    draws = np.tile(np.arange(21.0), (4, 1))
    curve = coverage(draws, np.array([10, np.nan, 10, np.nan]))
    assert curve.observed.tolist() == [1.0] * len(curve.predicted)


def test_calibrated_probabilities_have_a_small_calibration_error():
    rng = np.random.default_rng(1)
    p = rng.uniform(size=4000)
    curve = reliability(p, (rng.uniform(size=4000) < p).astype(np.int64))
    assert calibration_error(curve) < 0.03 and len(curve.predicted) == 8
    over_confident = reliability(np.clip(3 * p - 1, 0, 1), (rng.uniform(size=4000) < p).astype(np.int64))
    assert calibration_error(over_confident) > 0.1
