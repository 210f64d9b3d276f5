"""Sampling and posterior means of a user-defined denoiser: python examples/own_denoiser.py

Sampling requires the protocol :class:`metavoxel.sampling.conditional.JointDenoiser`: kernels, code shapes, a device and
E[x_0 | states]. The denoiser here is exact, for two standard normal numbers with correlation .8.
"""

import torch

from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.sampling.evidence import Evidence
from metavoxel.sampling.posterior_mean import posterior_mean
from metavoxel.sampling.sample import row_streams, sample_codes
from metavoxel.sampling.settings import Sampling

CORRELATION = 0.8


class ExactPair:
    """E[x_0 | x_t] of a bivariate normal distribution, each number at its own time."""

    def __init__(self):
        self.kernels = {"a": GaussianKernel(), "b": GaussianKernel()}
        self.code_shapes = {"a": (1,), "b": (1,)}
        self.device = torch.device("cpu")

    def denoise(self, states, times, observed):
        """Return posterior means under x_t = signal x_0 + noise e; an observed number has the time 0, without noise."""
        signal, noise = (torch.stack(each, 1)[..., 0] for each in zip(*(
            kernel.scales(times[name][:, None]) for name, kernel in self.kernels.items()), strict=True))  # fmt: skip
        prior = torch.tensor([[1, CORRELATION], [CORRELATION, 1]]).double()
        seen = signal[:, :, None] * prior * signal[:, None] + torch.diag_embed(noise**2 + 1e-9)
        x = torch.cat(list(states.values()), 1).double()
        mean = (prior @ (signal * torch.linalg.solve(seen, x))[..., None])[..., 0].float()
        return {"a": mean[:, :1], "b": mean[:, 1:]}


if __name__ == "__main__":
    rows = row_streams(seed=0, keys=[f"row {number}" for number in range(4000)], draw=0)
    given = {"a": Evidence(torch.full((4000, 1), 1.5), torch.ones(4000, 1, dtype=torch.bool))}
    b = sample_codes(ExactPair(), given, rows, Sampling(steps=20))["b"]
    mean = posterior_mean(ExactPair(), given, rows, evaluations=1)["b"].mean()
    print(f"b given a = 1.5: mean {b.mean():.3f}, sd {b.std():.3f}, posterior mean {mean:.3f}; exact 1.2, .6, 1.2")
