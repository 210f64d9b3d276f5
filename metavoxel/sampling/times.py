"""Time discretisation: falling grids from 1 (the prior) to 0 (the data)."""

from collections.abc import Mapping

import torch
from jaxtyping import Float64
from torch import Tensor

from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.sampling.choices import GridName

LOG_SNR_BOUND = 8.0
"""Bound of the interior times' absolute log-SNR: beyond it most steps are nearly the identity."""
FINEST_LOG_SNR = 12.0
"""Its upper bound with many steps: posteriors a hundred times narrower than the prior have structure up to there."""
CLOSEST = 0.4
"""Smallest step in log-SNR before further steps raise the upper bound."""


def uniform_grid(steps: int) -> Float64[Tensor, "n"]:
    """Return t = 1, 1 - 1/steps, ..., 0: with 50 steps, every 20th time of a 1000-step schedule."""
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


def log_snr_grid(steps: int, kernel: AbstractKernel) -> Float64[Tensor, "n"]:
    """Return 1, interior times uniform in the kernel's log-SNR between bounds, and 0.

    The upper bound is 8 for up to 41 steps, and rises to 12 for 51: few steps are best spent on the coarse structure of
    a draw; of many, some can resolve its fine structure.
    """
    if steps <= 1:
        return uniform_grid(1)
    reach = float(kernel.log_snr(torch.tensor([0.999], dtype=torch.float64))[0])
    first = max(-LOG_SNR_BOUND, reach)
    last = min(max(first + CLOSEST * (steps - 2), LOG_SNR_BOUND), FINEST_LOG_SNR)
    wanted = torch.linspace(first, last, steps - 1, dtype=torch.float64)
    ends = torch.tensor([1.0, 0.0], dtype=torch.float64)
    return torch.cat([ends[:1], kernel.time_of(wanted), ends[1:]])


def own_grids(name: GridName, steps: int, kernels: Mapping[str, AbstractKernel]) -> dict[str, Float64[Tensor, "n"]]:
    """Return the grids of variables that do not have the common one: uniform for kernels with ``even_steps``."""
    if name == "uniform":
        return {}
    return {variable: uniform_grid(steps) for variable, kernel in kernels.items() if kernel.even_steps}


def time_grid(name: GridName, steps: int, kernels: list[AbstractKernel]) -> Float64[Tensor, "n"]:
    """Return the common grid by name: log-SNR is that of the first Gaussian kernel; uniform if there is none."""
    real = [kernel for kernel in kernels if kernel.is_gaussian]
    if name == "uniform" or not real:
        return uniform_grid(steps)
    return log_snr_grid(steps, real[0])
