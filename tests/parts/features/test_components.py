"""Probabilistic principal components against their dense Gaussian distribution."""

import pytest
import torch

from metavoxel.parts.features import components as features
from metavoxel.parts.features.components import Components
from metavoxel.parts.features.rows import Rows
from metavoxel.rng import Rng

SHAPE = (2, 3, 4)
SIZE = 24
ROWS = 5


def normal(*shape):
    return Rng.for_rows(shape[0], "components", *shape).normal(shape)


def fit(components, batches):
    fold = torch.repeat_interleave(torch.arange(len(batches)), torch.tensor([len(batch) for batch in batches]))
    components.fit(Rows(torch.cat(tuple(batches))), fold)


@pytest.fixture
def fitted():
    codes = normal(40, *SHAPE) * torch.linspace(0.3, 3, 4) + 5
    components = Components(6, SHAPE)
    fit(components, [codes])
    return components, codes


def posterior(components, x, log_snr):
    """Return the posterior mean of the scores given x."""
    scales = torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
    precision, weighted = components.likelihood(x, scales)
    return torch.linalg.solve(precision + torch.eye(precision.shape[-1]), weighted)


def test_loadings_are_directions_of_greatest_variance(fitted):
    components, codes = fitted
    rows = codes.flatten(1) - codes.flatten(1).mean(0)
    values, vectors = torch.linalg.eigh(rows.T @ rows / (len(rows) - 1))
    torch.testing.assert_close(components.loadings.square().sum(1), values.flip(0)[:6], rtol=1e-4, atol=1e-5)
    agreement = torch.nn.functional.cosine_similarity(components.loadings, vectors.T.flip(0)[:6])
    torch.testing.assert_close(agreement.abs(), torch.ones(6), rtol=0, atol=1e-3)
    torch.testing.assert_close(components.residual, values.flip(0)[6:].sum() / SIZE, rtol=1e-3, atol=1e-5)


def test_scores_of_the_training_codes_are_white(fitted):
    components, codes = fitted
    scores = components.scores(codes)
    torch.testing.assert_close(scores.mean(0), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(scores.T @ scores / (len(codes) - 1), torch.eye(6), atol=1e-3, rtol=0)
    torch.testing.assert_close(components.along(torch.eye(6)).flatten(1), components.loadings)


@pytest.mark.parametrize("cells", [False, True], ids=["rows", "cells"])
def test_the_posterior_mean_is_exact(fitted, cells):
    """For any noise of any cell, some clean and some pure noise."""
    components, _ = fitted
    alpha_bar = torch.tensor([0.9, 0.5, 0.1, 0.999, 0.0], dtype=torch.float64).reshape(-1, 1, 1, 1)
    if cells:
        clean = torch.ones_like(alpha_bar)
        alpha_bar = torch.cat([alpha_bar, clean, alpha_bar.flip(0)], 2).expand(-1, -1, 3, 4)
    x = normal(ROWS, *SHAPE) + 2
    scores = posterior(components, x, torch.logit(alpha_bar))
    loadings, center = components.loadings.double(), components.center.double()
    covariance = loadings.T @ loadings + float(components.residual) * torch.eye(SIZE)
    for row in range(ROWS):
        signal = alpha_bar.expand(ROWS, *SHAPE)[row].flatten().sqrt()
        noise = 1 - signal.square()
        seen = signal[:, None] * covariance * signal + torch.diag(noise)
        exact = loadings * signal @ torch.linalg.solve(seen, x[row].flatten().double() - signal * center)
        torch.testing.assert_close(scores[row].double(), exact, rtol=0, atol=2e-4)


def test_pure_noise_is_uninformative(fitted):
    components, codes = fitted
    scores = posterior(components, normal(ROWS, *SHAPE), torch.full((ROWS, 1, 1, 1), -torch.inf).double())
    assert torch.equal(scores, torch.zeros(ROWS, 6))
    torch.testing.assert_close(components.reconstruct(scores), codes.mean(0).expand(ROWS, *SHAPE), rtol=0, atol=1e-5)


def test_variances_are_those_of_held_out_codes():
    """With 60 codes of 200 cells, most variance that the components explain in the training codes is overfitted."""
    spreads = torch.cat([torch.tensor([8.0, 5.0]), torch.ones(198)])
    seen, fresh = (Rng.for_rows(rows, "unseen").normal((rows, 200)) * spreads for rows in (60, 5000))
    naive, validated = Components(12, (200,)), Components(12, (200,))
    fit(naive, [seen])
    fit(validated, seen.split(12))
    assert torch.allclose(validated.center, naive.center)
    wrong, right = (components.scores(fresh).square().mean(0) for components in (naive, validated))
    assert wrong[4:].max() < 0.5
    assert (right[2:] - 1).abs().mean() < 0.35 and (right[:2] - 1).abs().max() < 0.5
    residual = (fresh - validated.center - validated.along(validated.scores(fresh))).square().mean()
    assert abs(float(validated.residual / residual) - 1) < 0.1 < abs(float(naive.residual / residual) - 1)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_fewer_rows_than_components(rows):
    components = Components(8, SHAPE)
    fit(components, [normal(rows, *SHAPE)])
    scores = posterior(components, normal(ROWS, *SHAPE), torch.zeros(ROWS, 1, 1, 1).double())
    assert torch.isfinite(scores).all() and torch.isfinite(components.reconstruct(scores)).all()
    assert int(components.loadings.any(1).sum()) <= rows - 1
    assert torch.isfinite(components.scores(normal(ROWS, *SHAPE))).all()


@pytest.mark.parametrize("folds", [1, 5])
def test_wide_codes_have_the_same_components_and_likelihood(folds, monkeypatch):
    """By sums over the channels of a cell: up to rounding and signs."""
    codes, found = normal(40, *SHAPE) * torch.linspace(0.3, 3, 4) + 5, []
    scales = (torch.rand(ROWS, 1, 3, 4).sqrt(), torch.rand(ROWS, 1, 3, 4).sqrt())
    for many in (100, 2):
        monkeypatch.setattr(features, "MANY_CHANNELS", many)
        components = Components(6, SHAPE)
        fit(components, codes.split(40 // folds))
        found.append((components, components.likelihood(normal(ROWS, *SHAPE), scales)))
    (few, expected), (wide, likelihood) = found
    signs = (few.loadings * wide.loadings).sum(1).sign()
    torch.testing.assert_close(signs[:, None] * wide.loadings, few.loadings, rtol=0, atol=1e-3)
    torch.testing.assert_close(wide.residual, few.residual, rtol=1e-3, atol=0)
    torch.testing.assert_close(likelihood.weighted * signs, expected.weighted, rtol=0, atol=1e-2)
    between = likelihood.precision * signs[:, None] * signs
    torch.testing.assert_close(between, expected.precision, rtol=1e-3, atol=1e-2)


def test_wide_codes_of_fewer_rows_than_components():
    codes = normal(4, features.MANY_CHANNELS, 2, 2)
    components = Components(6, codes.shape[1:])
    fit(components, [codes])
    assert torch.isfinite(components.loadings).all()
    assert (components.loadings.square().sum(1) > 0).tolist() == [True] * 3 + [False] * 3
    torch.testing.assert_close(components.reconstruct(components.scores(codes)), codes, rtol=0, atol=1e-3)
