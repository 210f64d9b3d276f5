"""The two-sample test on samples whose distance is known."""

import numpy as np
import pytest

from metavoxel.evaluate.two_sample import c2st

ROWS = 1000


def sample(seed, rows=ROWS, mean=0.0):
    return np.random.default_rng(seed).normal(mean, 1, (rows, 2))


def test_samples_of_one_distribution_cannot_be_told_apart():
    """Accuracy is a share of 2 x 1000 rows with standard error .011."""
    assert c2st(sample(0), sample(1), trees=20) == pytest.approx(0.5, abs=0.05)


def test_samples_far_apart_are_told_apart():
    assert c2st(sample(0), sample(1, mean=20.0), trees=5) == 1.0


def test_no_forest_beats_the_best_classifier():
    """Means 2 apart on the diagonal: the best rule is right with chance Phi(1) = .841."""
    found = c2st(sample(0), sample(1, mean=2 / np.sqrt(2)), trees=40)
    assert 0.77 < found < 0.875


def test_columns_are_standardised_by_the_first_sample_and_a_constant_one_is_harmless():
    first, second = (np.column_stack([sample(seed) * 1e6, np.ones(ROWS)]) for seed in (0, 1))
    assert c2st(first, second, trees=20) == pytest.approx(0.5, abs=0.05)


def test_the_same_seed_gives_the_same_figure():
    assert c2st(sample(0, 100), sample(1, 100), trees=3) == c2st(sample(0, 100), sample(1, 100), trees=3)
