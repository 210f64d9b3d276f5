"""Solvers: from beliefs about the data to the next state. They work on x0_hat, so one serves every kernel."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch

from metavoxel.parts.kernels.base import AbstractKernel, AbstractTransition, along
from metavoxel.typing import Code, Time


class Estimate(NamedTuple):
    """What the network believed of the data at an earlier time of the walk."""

    x0_hat: Code
    t: Time


class Move(NamedTuple):
    """A step of one variable from time t to s, and the belief of the step before: None after a start or a jump."""

    t: Time
    s: Time
    before: Estimate | None = None


class AbstractSolver(ABC):
    """One step from time t to s."""

    @abstractmethod
    def transition(self, kernel: AbstractKernel, x0_hat: Code, xt: Code, move: Move) -> AbstractTransition:
        """Distribution of the state at the end of the move."""


class DDIM(AbstractSolver):
    """Song et al. (2021), eq. 12: deterministic at ``eta`` 0, ancestral at 1. Final."""

    def __init__(self, eta: float = 0.0) -> None:
        self._eta = eta

    def transition(self, kernel: AbstractKernel, x0_hat: Code, xt: Code, move: Move) -> AbstractTransition:
        return kernel.transition(x0_hat, xt, move.t, move.s, eta=self._eta)


class DPMSolver2M(AbstractSolver):
    """DPM-Solver++(2M) of Lu et al. (2022): DDIM's step with x0_hat extrapolated from the last two beliefs. Final.

    Deterministic at ``eta`` 0; at 1, their SDE-DPM-Solver++(2M), which has an ancestral step's noise and a tenth of its
    error. For kernels that say their beliefs may be extrapolated; others (probabilities) take their exact step.
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
