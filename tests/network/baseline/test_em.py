"""Recovery of Gaussian mixtures from their draws, with gaps and without."""

import pytest
import torch

from metavoxel.network.baseline.em import fit_components
from metavoxel.rng import Rng

ROWS = 4000
WHOLE = torch.ones(2, 2, dtype=torch.float64)


def two_clusters(rows=ROWS):
    """Return rows of two clusters: one third at (-2, 0), sd .3 and correlation .8; else (1, 0), variances 1 and .25."""
    rng = Rng.for_rows(rows, "groups")
    first = rng.fork("which").uniform((rows,)) < 1 / 3
    x, y = rng.fork("noise").normal((rows, 2)).double().T
    tight = torch.stack([-2 + 0.3 * x, 0.3 * (0.8 * x + 0.6 * y)], 1)
    return torch.where(first[:, None], tight, torch.stack([1 + x, 0.5 * y], 1))


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_two_clusters_are_recovered(missing):
    rows = two_clusters()
    seen = Rng.for_rows(ROWS, "gaps").uniform((ROWS, 2)) >= missing
    found = fit_components(torch.where(seen, rows, 0.0), seen, 2, WHOLE)
    order = found.means[:, 0].argsort()
    weights, means, covariances = (part[order] for part in found)
    tolerance = 0.05 if missing == 0 else 0.1
    torch.testing.assert_close(weights, torch.tensor([1 / 3, 2 / 3]).double(), rtol=0, atol=tolerance / 2)
    torch.testing.assert_close(means, torch.tensor([[-2.0, 0.0], [1.0, 0.0]]).double(), rtol=0, atol=tolerance)
    expected = torch.tensor([[[0.09, 0.072], [0.072, 0.09]], [[1.0, 0.0], [0.0, 0.25]]]).double()
    torch.testing.assert_close(covariances, expected, rtol=0, atol=1.5 * tolerance)


def test_a_value_shared_by_many_rows_has_a_positive_variance():
    rows = torch.zeros(200, 1, dtype=torch.float64)
    rows[:100, 0] = Rng.for_rows(100, "others").normal((100,)).double()
    found = fit_components(rows, torch.ones(200, 1, dtype=torch.bool), 2, WHOLE[:1, :1])
    assert torch.isfinite(found.means).all() and float(found.covariances.min()) >= 1e-3


def test_covariances_that_are_not_kept_are_zero():
    found = fit_components(
        two_clusters(500), torch.ones(500, 2, dtype=torch.bool), 2, torch.eye(2, dtype=torch.float64)
    )
    assert float(found.covariances[:, 0, 1].abs().max()) == 0
