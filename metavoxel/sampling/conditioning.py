"""Conditioning methods: how known cells enter the denoiser at time t, and which times are visited.

A state has signal a_t and noise n_t, x_t = a_t x_0 + n_t e, and SNR_t = a_t^2 / n_t^2.

:class:`Clean`. Exact evidence enters at t = 0. A measurement y = x_0 + sd e', with e' independent of e, is Gaussian
given x_0 with precision 1 / sd^2, as x_t / a_t is with precision SNR_t. Independent precisions add, so

    SNR_u = SNR_t + 1 / sd^2,    x_u = a_u (SNR_t x_t / a_t + y / sd^2) / SNR_u                                  (1)

is a sufficient statistic of both, distributed as a state at time u: the denoiser is evaluated at (x_u, u).

:class:`Replace`. Known cells are drawn from their forward process, all others from the reverse step (Lugmayr et al.
2022, "RePaint", eq. 8): with m the mask of known cells,

    x_t = m x_t^known + (1 - m) x_t^reverse,    x_t^known ~ q(x_t | x_u),                                        (2)

where x_u is the value itself at u = 0 or, of a measurement, a_u y at the u with SNR_u = 1 / sd^2; then only for t >= u.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.rng import Rng
from metavoxel.sampling.evidence import ConditionState, times_of_cells
from metavoxel.typing import Code, Mask, Time


class DenoiserInput(NamedTuple):
    """Inputs of the denoiser for one variable: its state with the evidence, its time, and the cells given clean."""

    state: Code
    time: Time
    observed: Mask


class AbstractConditioning(ABC):
    """How known cells enter the network at each time, and which times are visited."""

    @abstractmethod
    def enter(
        self, kernel: AbstractKernel, state: Code, condition: ConditionState, t: Float64[Tensor, ""], rng: Rng
    ) -> DenoiserInput:
        """Return the denoiser's input at time t, with the evidence in the known cells."""

    def start_of_step(self, state: Code, entered: Code) -> Code:
        """Return the state that the solver's step starts from: the denoiser's input, or the trajectory's state."""
        return entered

    def moves(self, grid: Float64[Tensor, "n"]) -> Iterator[tuple[int, int]]:
        """Yield (from, to) indices of the grid: a larger index is less noise, a smaller one renoises."""
        yield from ((step, step + 1) for step in range(len(grid) - 1))


class Clean(AbstractConditioning):
    """Known cells at their own t = 0: exact, for models trained with a time for each variable. Final.

    A variable measured with noise is sampled with the others, and its measurement enters by eq. (1).
    """

    def enter(
        self, kernel: AbstractKernel, state: Code, condition: ConditionState, t: Float64[Tensor, ""], rng: Rng
    ) -> DenoiserInput:
        if condition.exact:
            entered = torch.where(condition.known, condition.value, state)
            return DenoiserInput(entered, times_of_cells(condition.known, condition.time, t), condition.known)
        log_snr = kernel.log_snr(t)
        combined = torch.logaddexp(log_snr, condition.log_snr)
        u = kernel.time_of(combined)
        share, signal = torch.sigmoid(log_snr - condition.log_snr), kernel.scales(u)[0]
        of_state = torch.where(torch.isneginf(log_snr), 0.0, signal * share / kernel.scales(t)[0])
        of_value = signal * (1 - share)
        together = of_state.to(state) * state + of_value.to(state) * condition.value
        times = times_of_cells(condition.known, u, t)
        return DenoiserInput(torch.where(condition.known, together, state), times, torch.zeros_like(condition.known))

    def start_of_step(self, state: Code, entered: Code) -> Code:
        return state


class Replace(AbstractConditioning):
    """Known cells replaced by their own noised value, eq. (2), as in MetaVoxel 3.2; RePaint with more passes. Final.

    One pass is biased even for a perfect network, at any number of steps. ``resamplings`` passes over each stretch of
    ``jump`` steps (Lugmayr et al. 2022) reduce the bias, at a proportional cost. For comparison with the paper, and for
    models with one shared time.
    """

    def __init__(self, resamplings: int = 1, jump: int = 1) -> None:
        self._resamplings, self._jump = resamplings, jump

    def enter(
        self, kernel: AbstractKernel, state: Code, condition: ConditionState, t: Float64[Tensor, ""], rng: Rng
    ) -> DenoiserInput:
        times = t.expand(len(state))
        noised = kernel.renoise(condition.state, torch.minimum(condition.time, t).expand(len(state)), times, rng=rng)
        return DenoiserInput(torch.where(condition.at(t), noised, state), times, torch.zeros_like(condition.known))

    def moves(self, grid: Float64[Tensor, "n"]) -> Iterator[tuple[int, int]]:
        last = len(grid) - 1
        for start in range(0, last, self._jump):
            stop = min(start + self._jump, last)
            for visit in range(self._resamplings):
                yield from ((step, step + 1) for step in range(start, stop))
                if visit < self._resamplings - 1:
                    yield stop, start
