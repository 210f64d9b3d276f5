"""The posterior of a Gaussian mixture given rows with gaps, against scipy and direct formulas."""

import numpy as np
import torch
from scipy.stats import multivariate_normal

from metavoxel.network.baseline.components import Components, log_density, posterior
from metavoxel.parts.features.scalar import RESIDUAL

RNG = np.random.default_rng(0)
SIZE = 4
FACTORS = RNG.normal(size=(3, SIZE, SIZE))
COVARIANCES = FACTORS @ FACTORS.transpose(0, 2, 1) + 0.2 * np.eye(SIZE)
MEANS = RNG.normal(size=(3, SIZE))
WEIGHTS = np.array([0.5, 0.3, 0.2])
COMPONENTS = Components(*map(torch.from_numpy, (WEIGHTS, MEANS, COVARIANCES)))


def test_densities_and_regressions_of_rows_with_gaps():
    rows = RNG.normal(size=(6, SIZE))
    seen = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 1, 0], [1, 1, 0, 1]], dtype=bool)
    found = posterior(COMPONENTS, torch.from_numpy(np.where(seen, rows, 0)), torch.from_numpy(seen))
    for row in range(6):
        here = np.flatnonzero(seen[row])
        log_joint = np.log(WEIGHTS)
        for k in range(3):
            noisy = COVARIANCES[k][np.ix_(here, here)] + RESIDUAL * np.eye(len(here))
            if len(here):
                log_joint[k] += multivariate_normal(MEANS[k, here], noisy).logpdf(rows[row, here])
                gain = COVARIANCES[k][:, here] @ np.linalg.inv(noisy)
                expected = MEANS[k] + gain @ (rows[row, here] - MEANS[k, here])
                remaining = COVARIANCES[k] - gain @ COVARIANCES[k][here]
            else:
                expected, remaining = MEANS[k], COVARIANCES[k]
            np.testing.assert_allclose(found.means[row, k], expected, atol=1e-8)
            np.testing.assert_allclose(found.covariances[k, found.pattern[row]], remaining, atol=1e-8)
        joint = np.exp(log_joint - log_joint.max())
        np.testing.assert_allclose(found.responsibilities[row], joint / joint.sum(), atol=1e-8)


def test_the_density_equals_that_of_scipy():
    points = torch.from_numpy(RNG.normal(size=(5, SIZE)))
    found = log_density(points, torch.from_numpy(MEANS[0]), torch.linalg.inv(COMPONENTS.covariances[0]))
    np.testing.assert_allclose(found, multivariate_normal(MEANS[0], COVARIANCES[0]).logpdf(points), atol=1e-9)
