"""Ways to hold what is known while the rest is sampled."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from metavoxel.kernels.base import AbstractKernel
from metavoxel.rng import Rng
from metavoxel.sampling.evidence import Given
from metavoxel.typing import Code, Mask, Time


class Entered(NamedTuple):
    """A variable's state with what is known put in, its time and which cells are given clean."""

    state: Code
    time: Time
    observed: Mask


class AbstractConditioning(ABC):
    """How known cells enter the network at each time, and which times are visited."""

    @abstractmethod
    def enter(self, kernel: AbstractKernel, state: Code, given: Given, t: Float64[Tensor, ""], rng: Rng) -> Entered:
        """The state at time t with the known cells put in."""

    def moves(self, grid: Float64[Tensor, "n"]) -> Iterator[tuple[int, int]]:
        """Pairs of places on the grid to go between: forward on the grid is denoising, backward is noising again."""
        yield from ((step, step + 1) for step in range(len(grid) - 1))


class Clean(AbstractConditioning):
    """Known cells at their own t = 0: exact, for models trained with a time for each variable. Final.

    A value with noise of standard deviation sd is held, unnoised, as the state sqrt(alpha_bar) y of the time where
    (1 - alpha_bar) / alpha_bar = sd squared: there it is as uncertain as the measurement. Noising it as well would
    count
    the noise twice.
    """

    def enter(self, kernel: AbstractKernel, state: Code, given: Given, t: Float64[Tensor, ""], rng: Rng) -> Entered:
        if given.sd is None:
            time = torch.where(given.known.cpu(), 0.0, t.reshape([1] * state.ndim)) if state.ndim > 2 else None
            held = torch.where(given.known, given.code, state)
            rows = torch.where(given.known[:, 0].cpu(), 0.0, t) if time is None else time
            return Entered(held, rows, given.known)
        log_snr = torch.tensor([-2.0], dtype=torch.float64) * torch.log(torch.tensor(given.sd, dtype=torch.float64))
        time = _time_of(kernel, log_snr).expand(len(state))
        signal = torch.sqrt(torch.sigmoid(log_snr)).to(state)
        held = torch.where(given.known, signal * given.code, state)
        return Entered(held, time, torch.zeros_like(given.known))


def _time_of(kernel: AbstractKernel, log_snr: Float64[Tensor, "b"]) -> Float64[Tensor, "b"]:
    low, high = torch.zeros_like(log_snr), torch.ones_like(log_snr)
    for _ in range(60):
        middle = (low + high) / 2
        earlier = kernel.log_snr(middle) > log_snr
        low, high = torch.where(earlier, middle, low), torch.where(earlier, high, middle)
    return (low + high) / 2


class Replace(AbstractConditioning):
    """The paper's (MetaVoxel 3.2): known cells overwritten by their own noised value; RePaint with more passes.

    With one pass it is biased even for a perfect network, at any number of steps. ``resamplings`` passes over each
    stretch of ``jump`` steps (Lugmayr et al. 2022) lessen the bias and cost as many times more. Kept to compare with
    the
    paper, and for models that have one shared time, which know no other way. Final.
    """

    def __init__(self, resamplings: int = 1, jump: int = 1) -> None:
        self._resamplings, self._jump = resamplings, jump

    def enter(self, kernel: AbstractKernel, state: Code, given: Given, t: Float64[Tensor, ""], rng: Rng) -> Entered:
        times = t.expand(len(state))
        noised = kernel.noise(given.code, times, rng=rng).state
        return Entered(torch.where(given.known, noised, state), times, torch.zeros_like(given.known))

    def moves(self, grid: Float64[Tensor, "n"]) -> Iterator[tuple[int, int]]:
        last = len(grid) - 1
        for start in range(0, last, self._jump):
            stop = min(start + self._jump, last)
            for visit in range(self._resamplings):
                yield from ((step, step + 1) for step in range(start, stop))
                if visit < self._resamplings - 1:
                    yield stop, start
