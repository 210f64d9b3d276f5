"""Choice of the mixture's components and of the shrinkage of their correlations."""

import pytest
import torch

from metavoxel.network.baseline.gaussian import GaussianBaseline
from metavoxel.network.baseline.selection import Rows, one_gaussian, select_components
from metavoxel.rng import Rng

SIZES = {"x": 1, "y": 1, "z": 1}
PARTS = [slice(0, 1), slice(1, 2), slice(2, 3)]


def selected(rows):
    seen, fold = torch.ones_like(rows, dtype=torch.bool), torch.arange(len(rows)) % 5
    gaussian = GaussianBaseline(SIZES)
    found = gaussian.fit(rows, seen, [], fold)
    single = one_gaussian(gaussian.covariance(), rows, seen)
    return select_components(gaussian, single, Rows(rows, seen, fold), PARTS, {}, found)[0]


def fork(count=450):
    """y = x or -x for x in (0, 2), with noise of .1; z is independent of both."""
    rng = Rng.for_rows(count, "fork")
    x = 2 * rng.fork("x").uniform((count, 1))
    sign = torch.where(rng.fork("sign").uniform((count, 1)) < 0.5, 1.0, -1.0)
    y = sign * x + 0.1 * rng.fork("noise").normal((count, 1))
    return torch.cat([x - 1, y, rng.fork("z").normal((count, 1))], 1).double()


@pytest.mark.slow
def test_branches_of_a_fork_keep_their_slopes():
    """One Gaussian has no correlation between x and y; each branch has a strong one.

    Shrunk as one Gaussian is, a branch would have its variance along y, some .08, in place of its noise, .01.
    """
    found = selected(fork())
    covariance = found.covariances
    residual = covariance[:, 1, 1] - covariance[:, 1, 0] ** 2 / covariance[:, 0, 0]
    steep = found.means[:, 1].abs() > 0.5
    assert steep.sum() >= 2
    assert float((residual * found.weights)[steep].sum() / found.weights[steep].sum()) < 0.02


def test_independent_numbers_have_one_component():
    assert len(selected(Rng.for_rows(300, "plain").normal((300, 3)).double()).weights) == 1
