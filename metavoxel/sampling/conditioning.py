"""Ways to hold what is known while the rest is sampled."""

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


class Entered(NamedTuple):
    """A variable's state with what is known put in, its time and which cells are given clean."""

    state: Code
    time: Time
    observed: Mask


class AbstractConditioning(ABC):
    """How known cells enter the network at each time, and which times are visited."""

    @abstractmethod
    def enter(
        self, kernel: AbstractKernel, state: Code, held: ConditionState, t: Float64[Tensor, ""], rng: Rng
    ) -> Entered:
        """The state at time t with the known cells put in."""

    def moved(self, state: Code, entered: Code) -> Code:
        """From which the next state is made: what went in, or the state as the walk left it."""
        return entered

    def moves(self, grid: Float64[Tensor, "n"]) -> Iterator[tuple[int, int]]:
        """Pairs of places on the grid to go between: forward on the grid is denoising, backward is noising again."""
        yield from ((step, step + 1) for step in range(len(grid) - 1))


class Clean(AbstractConditioning):
    """Known cells at their own t = 0: exact, for models trained with a time for each variable. Final.

    A value with noise is not held, but is a second look at its variable, which is walked with the rest: the state x_t
    and the value y have independent noise, so together they are worth one state of more signal,

        x_u = signal_u (SNR_t x_t / signal_t + y / sd^2) / SNR_u,    SNR_u = SNR_t + 1 / sd^2

    and the network is asked about that, at its time u.
    """

    def enter(
        self, kernel: AbstractKernel, state: Code, held: ConditionState, t: Float64[Tensor, ""], rng: Rng
    ) -> Entered:
        if held.exact:
            entered = torch.where(held.known, held.value, state)
            return Entered(entered, times_of_cells(held.known, held.time, t), held.known)
        now = kernel.log_snr(t)
        both = torch.logaddexp(now, held.log_snr)
        u = kernel.time_of(both)
        share, signal = torch.sigmoid(now - held.log_snr), kernel.scales(u)[0]
        of_state = torch.where(torch.isneginf(now), 0.0, signal * share / kernel.scales(t)[0])
        of_value = signal * (1 - share)
        together = of_state.to(state) * state + of_value.to(state) * held.value
        times = times_of_cells(held.known, u, t)
        return Entered(torch.where(held.known, together, state), times, torch.zeros_like(held.known))

    def moved(self, state: Code, entered: Code) -> Code:
        return state


class Replace(AbstractConditioning):
    """The paper's (MetaVoxel 3.2): known cells overwritten by their own noised value; RePaint with more passes.

    With one pass it is biased even for a perfect network, however many steps. ``resamplings`` passes over each
    stretch of ``jump`` steps (Lugmayr et al. 2022) lessen the bias and cost as many times more. Kept to compare with
    the paper, and for models that have one shared time. Final.
    """

    def __init__(self, resamplings: int = 1, jump: int = 1) -> None:
        self._resamplings, self._jump = resamplings, jump

    def enter(
        self, kernel: AbstractKernel, state: Code, held: ConditionState, t: Float64[Tensor, ""], rng: Rng
    ) -> Entered:
        times = t.expand(len(state))
        noised = kernel.renoise(held.state, torch.minimum(held.time, t).expand(len(state)), times, rng=rng)
        return Entered(torch.where(held.at(t), noised, state), times, torch.zeros_like(held.known))

    def moves(self, grid: Float64[Tensor, "n"]) -> Iterator[tuple[int, int]]:
        last = len(grid) - 1
        for start in range(0, last, self._jump):
            stop = min(start + self._jump, last)
            for visit in range(self._resamplings):
                yield from ((step, step + 1) for step in range(start, stop))
                if visit < self._resamplings - 1:
                    yield stop, start
