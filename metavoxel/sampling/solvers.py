"""Solvers: from beliefs about the data to the next state. They work on x0_hat, so one serves every kernel."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from metavoxel.kernels.base import AbstractKernel, AbstractTransition
from metavoxel.typing import Code


class Belief(NamedTuple):
    """What the network believed of the data at an earlier time of the walk."""

    x0_hat: Code
    t: Float64[Tensor, ""]


class AbstractSolver(ABC):
    """One step from time t to s."""

    @abstractmethod
    def transition(
        self,
        kernel: AbstractKernel,
        x0_hat: Code,
        xt: Code,
        t: Float64[Tensor, ""],
        s: Float64[Tensor, ""],
        before: Belief | None,
    ) -> AbstractTransition:
        """Distribution of the state at s. ``before`` is the previous step's belief, None after a start or a jump."""


def _rows(t: Tensor, x: Code) -> Tensor:
    return t.expand(len(x))


class DDIM(AbstractSolver):
    """Song et al. (2021), eq. 12: deterministic at ``eta`` 0, ancestral at 1. Final."""

    def __init__(self, eta: float = 0.0) -> None:
        self._eta = eta

    def transition(
        self,
        kernel: AbstractKernel,
        x0_hat: Code,
        xt: Code,
        t: Float64[Tensor, ""],
        s: Float64[Tensor, ""],
        before: Belief | None,
    ) -> AbstractTransition:
        return kernel.transition(x0_hat, xt, _rows(t, xt), _rows(s, xt), eta=self._eta)


class DPMSolver2M(AbstractSolver):
    """DPM-Solver++(2M) of Lu et al. (2022): DDIM's step with x0_hat extrapolated from the last two beliefs. Final.

    For kernels that say their beliefs may be extrapolated; others (probabilities) take their exact step.
    """

    def transition(
        self,
        kernel: AbstractKernel,
        x0_hat: Code,
        xt: Code,
        t: Float64[Tensor, ""],
        s: Float64[Tensor, ""],
        before: Belief | None,
    ) -> AbstractTransition:
        if before is not None and kernel.extrapolates:
            earlier, now, later = kernel.log_snr(torch.stack([before.t, t, s]))
            weight = (later - now) / (2 * (now - earlier))
            # No signal before (infinite step behind) or no noise after (infinite step ahead): first order.
            if torch.isfinite(weight) and torch.isfinite(later):
                x0_hat = x0_hat + weight.to(x0_hat.dtype) * (x0_hat - before.x0_hat)
        return kernel.transition(x0_hat, xt, _rows(t, xt), _rows(s, xt), eta=0.0)
