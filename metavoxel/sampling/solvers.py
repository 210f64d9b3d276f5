"""Solvers: from an estimate of the data to the next state. They change x0_hat alone, so one serves every kernel.

DDIM (Song et al. 2021, "Denoising diffusion implicit models", eq. 12 and 16). For a variance-preserving Gaussian
kernel, x_t = a_t x_0 + n_t e with alpha_bar_t = a_t^2, a step from t to s < t is

    x_s = a_s x0_hat + sqrt(n_s^2 - sd^2) (x_t - a_t x0_hat) / n_t + sd z,    z ~ N(0, 1),
    sd = eta n_s / n_t sqrt(1 - alpha_bar_t / alpha_bar_s).                                                      (1)

DPM-Solver++(2M) (Lu et al. 2022, algorithm 2). With lambda = log(a / n), half the log-SNR, and the estimate x0_hat_r of
the previous step, from r to t, DDIM's step is taken with x0_hat extrapolated linearly in lambda to the middle of the
step from t to s:

    x0_hat + (lambda_s - lambda_t) / (2 (lambda_t - lambda_r)) (x0_hat - x0_hat_r).                              (2)
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch

from metavoxel.parts.kernels.base import AbstractKernel, AbstractTransition, along
from metavoxel.typing import Code, Time


class DataEstimate(NamedTuple):
    """The network's estimate of the data, and the time of its state."""

    x0_hat: Code
    t: Time


class Move(NamedTuple):
    """A step of one variable from time t to s, and the previous step's estimate; None at the start and after a jump."""

    t: Time
    s: Time
    before: DataEstimate | None = None


class AbstractSolver(ABC):
    """One step from time t to s."""

    @abstractmethod
    def transition(self, kernel: AbstractKernel, x0_hat: Code, xt: Code, move: Move) -> AbstractTransition:
        """Return the distribution of the state at time s."""


class DDIM(AbstractSolver):
    """DDIM, eq. (1): deterministic for ``eta`` 0, ancestral for 1. The kernel computes the step. Final."""

    def __init__(self, eta: float = 0.0) -> None:
        self._eta = eta

    def transition(self, kernel: AbstractKernel, x0_hat: Code, xt: Code, move: Move) -> AbstractTransition:
        return kernel.transition(x0_hat, xt, move.t, move.s, eta=self._eta)


class DPMSolver2M(AbstractSolver):
    """DPM-Solver++(2M), eq. (2). Final.

    Deterministic for ``eta`` 0; for 1 it is their SDE-DPM-Solver++(2M), with the noise of an ancestral step and a tenth
    of its error. Kernels that are not Gaussian take their exact step without extrapolation.
    """

    def __init__(self, eta: float = 0.0) -> None:
        self._eta = eta

    def transition(self, kernel: AbstractKernel, x0_hat: Code, xt: Code, move: Move) -> AbstractTransition:
        if move.before is not None and kernel.is_gaussian:
            earlier, now, later = (kernel.log_snr(time) for time in (move.before.t, move.t, move.s))
            weight = (later - now) / (2 * (now - earlier))
            # No signal before (infinite step behind) or no noise after (infinite step ahead): first order.
            weight = torch.where(torch.isfinite(weight) & torch.isfinite(later), weight, 0.0)
            x0_hat = x0_hat + along(weight, xt).to(x0_hat.dtype) * (x0_hat - move.before.x0_hat)
        return kernel.transition(x0_hat, xt, move.t, move.s, eta=self._eta)
