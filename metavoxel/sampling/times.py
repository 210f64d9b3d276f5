"""Grids of times that a solver walks, from 1 (the prior) to 0 (data)."""

from typing import Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from metavoxel.parts.kernels.base import AbstractKernel

GridName = Literal["log_snr", "uniform"]

LOG_SNR_BOUND = 8.0
"""Interior times stay where log(signal/noise) is within this: beyond it most steps are nearly the identity."""
FINEST_LOG_SNR = 12.0
"""Where many steps may end: posteriors a hundred times narrower than the prior have structure up to there."""
CLOSEST = 0.4
"""Steps in log(signal/noise) come no closer than this before they reach further."""


def uniform_grid(steps: int) -> Float64[Tensor, "n"]:
    """t = 1, 1 - 1/steps, ..., 0. With 50 steps of a 1000-step table this visits every 20th of its times."""
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


def log_snr_grid(steps: int, kernel: AbstractKernel) -> Float64[Tensor, "n"]:
    """Interior times uniform in the kernel's log(alpha_bar / (1 - alpha_bar)), between bounds; 1 and 0 at the ends.

    The upper bound is 8 for up to 41 steps, and rises to 12 for 51: few steps are best spent where most of a draw is
    decided, many have some to spare for the last digits.
    """
    if steps <= 1:
        return uniform_grid(1)
    reach = float(kernel.log_snr(torch.tensor([0.999], dtype=torch.float64))[0])
    first = max(-LOG_SNR_BOUND, reach)
    last = min(max(first + CLOSEST * (steps - 2), LOG_SNR_BOUND), FINEST_LOG_SNR)
    wanted = torch.linspace(first, last, steps - 1, dtype=torch.float64)
    ends = torch.tensor([1.0, 0.0], dtype=torch.float64)
    return torch.cat([ends[:1], kernel.time_of(wanted), ends[1:]])


def time_grid(name: GridName, steps: int, kernels: list[AbstractKernel]) -> Float64[Tensor, "n"]:
    """A grid by name; one for all variables, after the first of these kernels that has real codes."""
    real = [kernel for kernel in kernels if kernel.is_gaussian]
    if name == "uniform" or not real:
        return uniform_grid(steps)
    return log_snr_grid(steps, real[0])
