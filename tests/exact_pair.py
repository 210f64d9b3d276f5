"""Exact denoiser of a bivariate normal distribution, and checks of samples of one variable given the other."""

import math

import torch

from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.rng import Rng
from metavoxel.sampling.conditional import Conditional
from metavoxel.sampling.evidence import Evidence

Z = 5.0
RHO = 0.9
GIVEN = 1.5
MEAN, VARIANCE = RHO * GIVEN, 1 - RHO**2
"""Moments of x given y = 1.5, if both are standard normal with correlation .9."""

_COVARIANCE = torch.tensor([[1.0, RHO], [RHO, 1.0]], dtype=torch.float64)
KERNELS = {"x": GaussianKernel(), "y": GaussianKernel()}


def denoiser(states, times, observed):
    """Return E[x, y | states], with a separate time for each variable, equal in all rows."""
    log_snr = torch.stack([KERNELS[name].log_snr(times[name][0]) for name in KERNELS])
    signal, noise = torch.diag(torch.sigmoid(log_snr).sqrt()), torch.diag(torch.sigmoid(-log_snr))
    gain = _COVARIANCE @ signal @ torch.linalg.inv(signal @ _COVARIANCE @ signal + noise)
    means = torch.cat([states["x"], states["y"]], 1) @ gain.T
    return {"x": means[:, :1], "y": means[:, 1:]}


def question(rows, name, *, sd=None, marginal=()):
    """Build the question p(x | y = 1.5), where y has measurement error of standard deviation ``sd``."""
    code = torch.full((rows, 1), GIVEN, dtype=torch.float64)
    given = {"y": Evidence(code, torch.ones(rows, 1, dtype=torch.bool), sd)}
    like = torch.zeros((), dtype=torch.float64)
    return Conditional(KERNELS, {"x": (1,), "y": (1,)}, given, marginal, like, Rng.for_rows(rows, name))


def last_of(trajectory):
    """Return the final states of a trajectory."""
    *_, last = trajectory
    return last


def assert_normal(x, mean, variance, slack=0.0):
    """Check mean and variance to Z standard errors plus the known bias of the method."""
    assert abs(float(x.mean()) - mean) < Z * math.sqrt(variance / len(x)) + slack
    assert abs(float(x.var()) - variance) < Z * variance * math.sqrt(2 / len(x)) + slack
