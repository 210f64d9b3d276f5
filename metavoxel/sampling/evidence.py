"""What is known of each variable when a question is asked, in code space."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from metavoxel.kernels.base import AbstractKernel
from metavoxel.typing import Code, Mask, Time


def times_of_cells(known: Mask, time: Float64[Tensor, "..."], other: float | Float64[Tensor, ""]) -> Time:
    """Some times (one, or one a row or cell) in known cells and one other in the rest: (b,) for a scalar."""
    if time.ndim == 1:
        time = time.reshape(-1, *[1] * (known.ndim - 1))
    times = torch.where(known.cpu(), time, other)
    return times[:, 0] if known.ndim == 2 else times


class Held(NamedTuple):
    """States of the walk that say of a variable just what is known of it.

    Attributes:
        state: in known cells.
        known: which cells are.
        time: that the state is of: 0 for an exact value, and later the noisier it is.
    """

    state: Code
    known: Mask
    time: Float64[Tensor, ""]

    @property
    def exact(self) -> bool:
        """Whether the state is the value itself."""
        return bool(self.time == 0)

    def at(self, t: Float64[Tensor, ""]) -> Mask:
        """Cells that are held when the walk is at t: those of a noisy value down to their time, and then no more."""
        return self.known if t >= self.time else torch.zeros_like(self.known)


class Given(NamedTuple):
    """Known code of one variable.

    ``known`` marks the cells that are known: (b, 1), or (b, 1, *s) for a grid. ``sd``, in code units, says that the
    value was measured with that much noise; None means exactly.
    """

    code: Code
    known: Mask
    sd: float | None = None

    def held(self, kernel: AbstractKernel) -> Held:
        """The value as a state: itself at t = 0; if it has noise, sqrt(alpha_bar) y of the time as uncertain as that.

        That is where (1 - alpha_bar) / alpha_bar = sd squared. The value is not noised as well, which would count its
        noise twice.
        """
        if not self.sd:
            return Held(self.code, self.known, torch.zeros((), dtype=torch.float64))
        log_snr = torch.tensor(-2 * math.log(self.sd), dtype=torch.float64)
        signal = torch.sqrt(torch.sigmoid(log_snr)).to(self.code)
        return Held(signal * self.code, self.known, kernel.time_of(log_snr))
