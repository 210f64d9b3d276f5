"""Two numbers of known joint distribution, as a perfect network would know them, and what is drawn of one given the other."""

import math

import torch

from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.rng import Rng
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.trajectory import Question

Z = 5.0
RHO = 0.9
GIVEN = 1.5
MEAN, VARIANCE = RHO * GIVEN, 1 - RHO**2
"""Of x given y = 1.5, when both are standard normal with correlation .9."""

_COVARIANCE = torch.tensor([[1.0, RHO], [RHO, 1.0]], dtype=torch.float64)
KERNELS = {"x": GaussianKernel(), "y": GaussianKernel()}


def denoiser(states, times, observed):
    """E[x, y | states], each variable at a time of its own, one for all rows."""
    log_snr = torch.stack([KERNELS[name].log_snr(times[name][0]) for name in KERNELS])
    signal, noise = torch.diag(torch.sigmoid(log_snr).sqrt()), torch.diag(torch.sigmoid(-log_snr))
    gain = _COVARIANCE @ signal @ torch.linalg.inv(signal @ _COVARIANCE @ signal + noise)
    means = torch.cat([states["x"], states["y"]], 1) @ gain.T
    return {"x": means[:, :1], "y": means[:, 1:]}


def question(rows, name, *, sd=None, marginal=()):
    """x when y was measured to be 1.5."""
    code = torch.full((rows, 1), GIVEN, dtype=torch.float64)
    given = {"y": Evidence(code, torch.ones(rows, 1, dtype=torch.bool), sd)}
    like = torch.zeros((), dtype=torch.float64)
    return Question(KERNELS, {"x": (1,), "y": (1,)}, given, marginal, like, Rng.for_rows(rows, name))


def last_of(path):
    """The states that a walk ends with."""
    *_, last = path
    return last


def assert_normal(x, mean, variance, slack=0.0):
    """Mean and variance, to Z standard errors and what the method is known to be off by."""
    assert abs(float(x.mean()) - mean) < Z * math.sqrt(variance / len(x)) + slack
    assert abs(float(x.var()) - variance) < Z * variance * math.sqrt(2 / len(x)) + slack
