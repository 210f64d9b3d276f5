"""Classifier two-sample test on samples with known separability."""

import numpy as np
import pytest

from metavoxel.evaluation.metrics.two_sample import c2st, two_sample

ROWS = 1000


def sample(seed, rows=ROWS, mean=0.0):
    return np.random.default_rng(seed).normal(mean, 1, (rows, 2))


def test_samples_of_one_distribution_are_indistinguishable():
    """Accuracy over 2 x 1000 rows has standard error .011."""
    assert c2st(sample(0), sample(1), trees=20) == pytest.approx(0.5, abs=0.05)


def test_distant_samples_are_distinguished():
    assert c2st(sample(0), sample(1, mean=20.0), trees=5) == 1.0


def test_accuracy_does_not_exceed_that_of_the_bayes_classifier():
    """For means 2 apart on the diagonal, the Bayes classifier has accuracy Phi(1) = .841."""
    found = c2st(sample(0), sample(1, mean=2 / np.sqrt(2)), trees=40)
    assert 0.77 < found < 0.875


def test_columns_are_standardised_and_constant_columns_allowed():
    first, second = (np.column_stack([sample(seed) * 1e6, np.ones(ROWS)]) for seed in (0, 1))
    assert c2st(first, second, trees=20) == pytest.approx(0.5, abs=0.05)


def test_the_same_seed_gives_the_same_accuracy():
    assert c2st(sample(0, 100), sample(1, 100), trees=3) == c2st(sample(0, 100), sample(1, 100), trees=3)


@pytest.mark.slow
def test_the_standard_error_is_calibrated_for_equal_samples():
    """Over repetitions, accuracy is .5 on average with a standard deviation within its standard error."""
    z = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        found = two_sample(rng.normal(size=(40, 2)), rng.normal(size=(40, 2)), np.arange(80), trees=10, seed=seed)
        z.append((found.accuracy - 0.5) / found.error)
        assert found.error == pytest.approx(1.5 * np.sqrt(0.25 / 80), rel=0.1)
    assert abs(np.mean(z)) < 0.5 and np.std(z) < 1.3


def test_a_shift_is_detected_with_missing_cells():
    first, second = sample(0, 200), sample(1, 200, mean=2 / np.sqrt(2))
    for seed, values in enumerate((first, second)):
        values[np.random.default_rng(seed + 10).uniform(size=values.shape) < 0.2] = np.nan
    found = two_sample(first, second, np.arange(400), trees=30)
    assert 0.65 < found.accuracy < 0.86 and found.accuracy - 4 * found.error > 0.5


def test_rows_of_one_subject_are_in_one_fold():
    """Each subject has ten equal rows, which a classifier would recognise in different folds."""
    rng = np.random.default_rng(0)
    first, second = (np.repeat(rng.normal(size=(20, 2)), 10, 0) for _ in range(2))
    together = two_sample(first, second, np.repeat(np.arange(40), 10), trees=20)
    assert two_sample(first, second, np.arange(400), trees=20).accuracy > 0.95
    assert abs(together.accuracy - 0.5) < 3 * together.error and together.error > 0.08
