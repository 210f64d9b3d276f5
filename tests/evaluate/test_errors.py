"""Bootstrap intervals."""

import numpy as np
import pytest

from metavoxel.evaluate.errors import bootstrap_mean


def test_the_interval_is_that_of_the_mean() -> None:
    errors = np.random.default_rng(0).normal(3.0, 2.0, 400)
    estimate = bootstrap_mean(errors)
    standard_error = errors.std() / np.sqrt(len(errors))
    assert estimate.value == pytest.approx(errors.mean())
    assert (estimate.high - estimate.low) / (2 * 1.96 * standard_error) == pytest.approx(1, abs=0.1)
    assert estimate.low < estimate.value < estimate.high


def test_the_same_errors_give_the_same_interval() -> None:
    assert bootstrap_mean(np.arange(10.0)) == bootstrap_mean(np.arange(10.0))


def test_an_estimate_prints_with_its_interval() -> None:
    assert str(bootstrap_mean(np.ones(5))) == "1.00 [1.00, 1.00]"
