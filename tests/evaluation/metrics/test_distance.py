"""Distances between sets of volumes, against Gaussians with known distance."""

import numpy as np
import pytest

from metavoxel.evaluation.metrics.distance import (
    fewest_volumes,
    fid,
    frechet,
    frechet_of_planes,
    kernel_distance,
    precision_recall,
    volume_vectors,
)


def whitened(rng, rows, mean, sd):
    """Rows with exactly this sample mean and diagonal sample covariance."""
    x = rng.normal(size=(rows, len(mean)))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return x * sd + mean


def test_frechet_distance_of_gaussians_matches_the_closed_form():
    """For commuting covariances, the squared distance of the means plus that of the standard deviations."""
    rng = np.random.default_rng(0)
    means, sds = rng.normal(size=(2, 6)), rng.uniform(0.5, 2, (2, 6))
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    a, b = (whitened(rng, 50, mean, sd) @ turn for mean, sd in zip(means, sds, strict=True))
    expected = ((means[0] - means[1]) ** 2).sum() + ((sds[0] - sds[1]) ** 2).sum()
    assert frechet(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_the_interval_resamples_whole_volumes():
    """Identical slices of a volume give the same interval as one of them."""
    rng = np.random.default_rng(1)
    real, generated = (rng.normal(shift, 1, (40, 1, 3)) for shift in (0.0, 0.7))
    once = fid([generated], [real])
    repeated = fid([np.repeat(generated, 8, 1)], [np.repeat(real, 8, 1)])
    assert repeated.value == pytest.approx(once.value, rel=0.05)
    assert (repeated.high - repeated.low) / (once.high - once.low) == pytest.approx(1, abs=0.15)
    assert once.low <= once.value <= once.high


def test_planes_are_averaged():
    rng = np.random.default_rng(2)
    real, generated = ([rng.normal(shift, 1, (30, 2, 3)) for _ in range(3)] for shift in (0.0, 0.5))
    assert fid(generated, real).value == pytest.approx(np.mean(frechet_of_planes(generated, real)))


def test_fewest_volumes_give_a_covariance_of_full_rank():
    assert fewest_volumes(slices=4, features=10) == 3
    assert fewest_volumes(slices=100, features=10) == 2


def test_kernel_distance_is_unbiased():
    """Its mean over pairs of small sets of one distribution is 0."""
    rng = np.random.default_rng(3)
    found = [kernel_distance(*rng.normal(size=(2, 6, 4))) for _ in range(400)]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(len(found))
    apart = kernel_distance(rng.normal(size=(30, 4)), rng.normal(1.5, 1, (30, 4)))
    assert apart > 4 * np.std(found)


def test_precision_and_recall_distinguish_low_quality_from_low_diversity():
    rng = np.random.default_rng(4)
    real = np.concatenate([rng.normal(-10, 1, (40, 2)), rng.normal(10, 1, (40, 2))])
    one_mode = rng.normal(10, 1, (80, 2))
    outliers = np.concatenate([real + rng.normal(0, 0.1, real.shape), rng.normal(60, 1, (80, 2))])
    assert precision_recall(real, real) == (1.0, 1.0)
    precision, recall = precision_recall(one_mode, real)
    assert precision > 0.8 and recall < 0.6
    precision, recall = precision_recall(outliers, real)
    assert precision < 0.6 and recall > 0.9


def test_volume_vectors_are_standardised_by_the_real_volumes():
    rng = np.random.default_rng(5)
    planes = [rng.normal(3, [1, 100], (20, 5, 2))]
    vectors = volume_vectors(planes, planes)
    assert vectors.mean(0) == pytest.approx(np.zeros(2), abs=1e-9) and vectors.std(0) == pytest.approx(np.ones(2))
