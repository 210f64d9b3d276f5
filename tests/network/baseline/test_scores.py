"""Predictive scores of mixtures, against densities computed one by one."""

import numpy as np
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from metavoxel.network.baseline import components as module_of_components
from metavoxel.network.baseline import scores as module_of_scores
from metavoxel.network.baseline.components import Components
from metavoxel.network.baseline.scores import ClassPoints, predictive_scores
from metavoxel.parts.features.scalar import RESIDUAL

RNG = np.random.default_rng(1)
FACTORS = RNG.normal(size=(2, 4, 4))
COVARIANCES = FACTORS @ FACTORS.transpose(0, 2, 1) + 0.3 * np.eye(4)
MEANS = RNG.normal(size=(2, 4))
WEIGHTS = np.array([0.4, 0.6])
PLACES = [slice(0, 1), slice(1, 3), slice(3, 4)]
POINTS = np.array([[1.5, -0.5], [-0.5, 1.5], [-0.7, -0.7]])
SHARES = np.array([0.2, 0.3, 0.5])


def log_joint(row, dimensions):
    """Return the log-density of these features of a row, each with a small measurement error."""
    parts = [
        np.log(weight)
        + multivariate_normal(
            mean[dimensions], covariance[np.ix_(dimensions, dimensions)] + RESIDUAL * np.eye(len(dimensions))
        ).logpdf(row[dimensions])
        for weight, mean, covariance in zip(WEIGHTS, MEANS, COVARIANCES, strict=True)
    ]
    return logsumexp(parts)


def at_class(row, known):
    """Return the log-density of a row's numbers and the point of each class."""
    found = []
    for point in POINTS:
        parts = []
        for weight, mean, covariance in zip(WEIGHTS, MEANS, COVARIANCES, strict=True):
            dimensions = [*known, 1, 2]
            noise = np.diag([RESIDUAL] * len(known) + [RESIDUAL] * 2)
            whole = multivariate_normal(mean[dimensions], covariance[np.ix_(dimensions, dimensions)] + noise)
            parts.append(np.log(weight) + whole.logpdf(np.concatenate([row[known], point])))
        found.append(logsumexp(parts))
    return np.array(found)


def test_each_variable_is_scored_given_all_other_known_ones():
    components = Components(*map(torch.from_numpy, (WEIGHTS, MEANS, COVARIANCES)))
    categories = {1: ClassPoints(torch.from_numpy(POINTS), torch.from_numpy(np.log(SHARES)))}
    rows = RNG.normal(size=(3, 4))
    rows[:, 1:3] = POINTS[[0, 2, 1]]
    seen = np.array([[1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 1]], dtype=bool)
    tensors = torch.from_numpy(np.where(seen, rows, 0)), torch.from_numpy(seen)
    found = predictive_scores(components, *tensors, PLACES, categories).sum(1)
    prior = categories[1].log_prior(components, slice(1, 3)).numpy()
    for row, truth in ((0, 0), (1, 2), (2, None)):
        here = list(np.flatnonzero(seen[row]))
        expected = 0.0
        for number in (0, 3):
            if number in here:
                rest = [dimension for dimension in here if dimension != number]
                expected += log_joint(rows[row], here) - log_joint(rows[row], rest)
        if truth is not None:
            log_class = at_class(rows[row], [dimension for dimension in here if dimension not in (1, 2)]) + prior
            expected += log_class[truth] - logsumexp(log_class)
        np.testing.assert_allclose(found[row], expected, atol=2e-3)


def test_without_evidence_a_class_has_its_frequency():
    components = Components(*map(torch.from_numpy, (WEIGHTS, MEANS, COVARIANCES)))
    category = ClassPoints(torch.from_numpy(POINTS), torch.from_numpy(np.log(SHARES)))
    prior = category.log_prior(components, slice(1, 3)).numpy()
    density = logsumexp(
        [
            np.log(weight) + multivariate_normal(mean[1:3], covariance[1:3, 1:3]).logpdf(POINTS)
            for weight, mean, covariance in zip(WEIGHTS, MEANS, COVARIANCES, strict=True)
        ],
        axis=0,
    )
    np.testing.assert_allclose(prior + density, np.log(SHARES), atol=1e-9)


def test_blocks_of_rows_have_the_scores_of_all(monkeypatch):
    rows = torch.from_numpy(RNG.normal(size=(30, 4)))
    seen = torch.from_numpy(RNG.random((30, 4)) < 0.7)
    seen[:, 2] = seen[:, 1]
    components = Components(*map(torch.from_numpy, (WEIGHTS, MEANS, COVARIANCES)))
    categories = {1: ClassPoints(torch.from_numpy(POINTS), torch.from_numpy(SHARES).log())}
    whole = predictive_scores(components, torch.where(seen, rows, 0.0), seen, PLACES, categories)
    for module in (module_of_components, module_of_scores):
        monkeypatch.setattr(module, "BLOCK_NUMBERS", 20)
    parts = predictive_scores(components, torch.where(seen, rows, 0.0), seen, PLACES, categories)
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)
    assert (whole != 0).sum() > 50
