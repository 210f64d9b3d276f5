"""Distances between sets of volumes, against normals whose distance is known."""

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
    """Rows whose mean and covariance are exactly those of a normal with independent parts."""
    x = rng.normal(size=(rows, len(mean)))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return x * sd + mean


def test_the_distance_of_two_normals_is_the_closed_form():
    """Of commuting covariances it is the distance of the means plus that of the standard deviations."""
    rng = np.random.default_rng(0)
    means, sds = rng.normal(size=(2, 6)), rng.uniform(0.5, 2, (2, 6))
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    a, b = (whitened(rng, 50, mean, sd) @ turn for mean, sd in zip(means, sds, strict=True))
    expected = ((means[0] - means[1]) ** 2).sum() + ((sds[0] - sds[1]) ** 2).sum()
    assert frechet(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_the_interval_holds_whole_volumes_together():
    """Slices of a volume that are all alike are no more evidence than one of them."""
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


def test_fewest_volumes_leave_no_covariance_degenerate():
    assert fewest_volumes(slices=4, features=10) == 3
    assert fewest_volumes(slices=100, features=10) == 2


def test_kernel_distance_is_without_bias():
    """Its mean over pairs of sets of one distribution is 0, however small they are."""
    rng = np.random.default_rng(3)
    found = [kernel_distance(*rng.normal(size=(2, 6, 4))) for _ in range(400)]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(len(found))
    apart = kernel_distance(rng.normal(size=(30, 4)), rng.normal(1.5, 1, (30, 4)))
    assert apart > 4 * np.std(found)


def test_precision_and_recall_tell_the_two_failures_apart():
    rng = np.random.default_rng(4)
    real = np.concatenate([rng.normal(-10, 1, (40, 2)), rng.normal(10, 1, (40, 2))])
    one_kind = rng.normal(10, 1, (80, 2))
    besides = np.concatenate([real + rng.normal(0, 0.1, real.shape), rng.normal(60, 1, (80, 2))])
    assert precision_recall(real, real) == (1.0, 1.0)
    precision, recall = precision_recall(one_kind, real)
    assert precision > 0.8 and recall < 0.6
    precision, recall = precision_recall(besides, real)
    assert precision < 0.6 and recall > 0.9


def test_volumes_are_compared_in_the_units_of_the_real_ones():
    rng = np.random.default_rng(5)
    planes = [rng.normal(3, [1, 100], (20, 5, 2))]
    vectors = volume_vectors(planes, planes)
    assert vectors.mean(0) == pytest.approx(np.zeros(2), abs=1e-9) and vectors.std(0) == pytest.approx(np.ones(2))
