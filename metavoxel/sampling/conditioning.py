"""Ways to hold what is known while the rest is sampled."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from metavoxel.kernels.base import AbstractKernel
from metavoxel.rng import Rng
from metavoxel.sampling.evidence import Held, times_of_cells
from metavoxel.typing import Code, Mask, Time


class Entered(NamedTuple):
    """A variable's state with what is known put in, its time and which cells are given clean."""

    state: Code
    time: Time
    observed: Mask


class AbstractConditioning(ABC):
    """How known cells enter the network at each time, and which times are visited."""

    @abstractmethod
    def enter(self, kernel: AbstractKernel, state: Code, held: Held, t: Float64[Tensor, ""], rng: Rng) -> Entered:
        """The state at time t with the known cells put in."""

    def walked(self, held: Held, t: Float64[Tensor, ""]) -> Time:
        """Times of those cells of a variable that are sampled, when the walk is at t."""
        return t.expand(len(held.state))

    def moves(self, grid: Float64[Tensor, "n"]) -> Iterator[tuple[int, int]]:
        """Pairs of places on the grid to go between: forward on the grid is denoising, backward is noising again."""
        yield from ((step, step + 1) for step in range(len(grid) - 1))


class Clean(AbstractConditioning):
    """Known cells at their own t = 0: exact, for models trained with a time for each variable. Final.

    A value with noise is held at the time that is as uncertain as it is. When the walk has come down to that time, the
    variable goes on with the others, and ends as a draw of what was measured.
    """

    def enter(self, kernel: AbstractKernel, state: Code, held: Held, t: Float64[Tensor, ""], rng: Rng) -> Entered:
        entered = torch.where(held.at(t), held.state, state)
        time = times_of_cells(held.known, torch.minimum(held.time, t), t)
        return Entered(entered, time, held.known if held.exact else torch.zeros_like(held.known))

    def walked(self, held: Held, t: Float64[Tensor, ""]) -> Time:
        if held.exact:
            return t.expand(len(held.state))
        return times_of_cells(held.known, torch.minimum(held.time, t), t)


class Replace(AbstractConditioning):
    """The paper's (MetaVoxel 3.2): known cells overwritten by their own noised value; RePaint with more passes.

    With one pass it is biased even for a perfect network, however many steps. ``resamplings`` passes over each
    stretch of ``jump`` steps (Lugmayr et al. 2022) lessen the bias and cost as many times more. Kept to compare with
    the paper, and for models that have one shared time. Final.
    """

    def __init__(self, resamplings: int = 1, jump: int = 1) -> None:
        self._resamplings, self._jump = resamplings, jump

    def enter(self, kernel: AbstractKernel, state: Code, held: Held, t: Float64[Tensor, ""], rng: Rng) -> Entered:
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
